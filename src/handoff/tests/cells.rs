use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Wake, Waker},
};

use super::{
    super::{
        cells::{Cells, Outcome, Run, Settling},
        hub::Hub,
        topics::{TopicId, Topics},
    },
    failure,
};
use crate::error::DeliveryCause;

fn cells() -> Arc<Cells> {
    let topics = Topics::new();
    topics.intern("t").unwrap();
    Cells::new(3, Arc::new(topics), Weak::<Hub>::new())
}

fn run(cells: &Arc<Cells>, numbers: &[u16]) -> Run {
    let mut run = Run::start(cells, numbers[0]);
    for &number in &numbers[1..] {
        assert!(run.extend(cells, number));
    }
    run
}

fn offset(cells: &Cells, cell: u16) -> Option<i64> {
    match cells.outcome(cell)? {
        Outcome::Acknowledged { offset, .. } => Some(offset),
        Outcome::Failed(error) => panic!("{error}"),
    }
}

#[test]
fn a_cell_costs_sixteen_bytes() {
    assert!(size_of::<Cells>() <= 4096 + 192, "{}", size_of::<Cells>());
    assert!(size_of::<Run>() <= 48, "{}", size_of::<Run>());
}

#[test]
fn offsets_follow_the_order_of_the_run_whatever_lies_between() {
    let cells = cells();
    let mut settling = Settling::new();
    settling.acknowledge(run(&cells, &[0, 1, 63, 64, 200, 255]), Some(40), None);
    settling.acknowledge(run(&cells, &[2, 65]), Some(7), Some(99));
    for (cell, want) in [(0, 40), (1, 41), (63, 42), (64, 43), (200, 44), (255, 45), (2, 7), (65, 8)] {
        assert_eq!(offset(&cells, cell), Some(want), "cell {cell}");
    }
    assert!(matches!(cells.outcome(65), Some(Outcome::Acknowledged { append_time: Some(99), .. })));
    assert!(matches!(cells.outcome(0), Some(Outcome::Acknowledged { append_time: None, .. })));
    assert!(cells.is_pending(3) && cells.outcome(3).is_none());
}

#[test]
fn offsets_at_the_edges() {
    const HIGHEST: i64 = (1 << 62) - 3;
    let cells = cells();
    let mut settling = Settling::new();
    for (cell, base, time, want) in [
        (0, None, None, -1),
        (1, None, Some(5), -1),
        (2, Some(0), None, 0),
        (3, Some(HIGHEST), Some(1), HIGHEST),
        (4, Some(HIGHEST + 1), None, HIGHEST),
        (5, Some(i64::MAX), None, HIGHEST),
        (6, Some(-1), None, -1),
    ] {
        settling.acknowledge(Run::start(&cells, cell), base, time);
        assert_eq!(offset(&cells, cell), Some(want), "{base:?}");
    }
}

#[test]
fn failures_are_told_apart() {
    let cells = cells();
    let mut settling = Settling::new();
    settling.fail(run(&cells, &[0, 2]), failure(DeliveryCause::Closed));
    settling.fail(run(&cells, &[1]), failure(DeliveryCause::SenderDied("disk".into())));
    let cause = |cell| match cells.outcome(cell) {
        Some(Outcome::Failed(error)) => error.cause().clone(),
        other => panic!("{other:?}"),
    };
    assert!(matches!(cause(0), DeliveryCause::Closed));
    assert!(matches!(cause(1), DeliveryCause::SenderDied(_)));
    assert!(matches!(cause(2), DeliveryCause::Closed));
}

#[test]
fn a_run_takes_only_what_follows_in_the_same_cells() {
    let (one, two) = (cells(), cells());
    let mut run = Run::start(&one, 5);
    assert!(!run.extend(&two, 6), "other cells");
    assert!(!run.extend(&one, 5), "the same cell");
    assert!(!run.extend(&one, 4), "an earlier record");
    assert!(run.extend(&one, 9));
    assert!(run.len() == 2 && run.contains(&one, 5) && run.contains(&one, 9));
}

#[test]
fn a_split_run_keeps_its_order() {
    let cells = cells();
    let mut front = run(&cells, &[3, 70, 71, 250]);
    let back = front.split_off(1);
    assert_eq!((front.len(), back.len()), (1, 3));
    let mut settling = Settling::new();
    settling.acknowledge(back, Some(10), None);
    settling.acknowledge(front, Some(500), None);
    let offsets: Vec<_> = [3, 70, 71, 250].map(|cell| offset(&cells, cell).unwrap()).to_vec();
    assert_eq!(offsets, [500, 10, 11, 12]);
}

#[test]
fn a_dropped_run_fails_its_records_where_they_were() {
    let cells = cells();
    cells.set_place(8, TopicId(0), 2);
    drop(run(&cells, &[8, 9]));
    let Some(Outcome::Failed(error)) = cells.outcome(9) else { panic!("not settled") };
    assert_eq!((error.topic(), error.partition()), ("t", Some(2)));
    assert!(error.may_have_been_written());
    assert!(cells.is_pending(7));
}

#[test]
fn places_have_room_for_all_topics_and_partitions() {
    let cells = cells();
    assert_eq!(cells.place(0), None);
    for place in [(TopicId(0), 0), (TopicId(u32::MAX), i32::MAX), (TopicId(7), 1)] {
        cells.set_place(0, place.0, place.1);
        assert_eq!(cells.place(0), Some(place));
    }
}

struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

struct Panicking;

impl Wake for Panicking {
    fn wake(self: Arc<Self>) {
        panic!("this waker panics, as the test wants it");
    }
}

#[test]
fn settling_wakes_who_waits_and_nobody_else() {
    let cells = cells();
    let counters: Vec<_> = (0..3).map(|_| Arc::new(Counter(AtomicUsize::new(0)))).collect();
    for (cell, counter) in counters.iter().enumerate() {
        // The second registration takes the place of the first.
        cells.register_waker(cell as u16, Waker::noop().clone());
        cells.register_waker(cell as u16, Waker::from(Arc::clone(counter)));
    }
    cells.unregister_waker(2);
    let mut settling = Settling::new();
    settling.acknowledge(run(&cells, &[1, 2]), Some(0), None);
    assert!(settling.finish());
    assert!(!settling.finish(), "there is nothing left to do");
    let woken: Vec<_> = counters.iter().map(|counter| counter.0.load(Ordering::SeqCst)).collect();
    assert_eq!(woken, [0, 1, 0]);
}

#[test]
fn a_waker_that_panics_harms_nobody() {
    let cells = cells();
    let counter = Arc::new(Counter(AtomicUsize::new(0)));
    cells.register_waker(0, Waker::from(Arc::new(Panicking)));
    cells.register_waker(1, Waker::from(Arc::clone(&counter)));
    Settling::new().acknowledge(run(&cells, &[0, 1]), None, None);
    assert_eq!(counter.0.load(Ordering::SeqCst), 1);
}
