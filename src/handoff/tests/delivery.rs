use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

use super::{
    super::{
        cells::{Run, Settling},
        context::CallbackScope,
        hub::{HubConfig, Level},
    },
    AGES, Rig, config, failure,
};
use crate::{delivery::DeliveryFuture, error::DeliveryCause};

#[test]
fn a_handle_is_small_and_can_cross_threads() {
    fn crosses<T: Send + Sync + Unpin + 'static>() {}
    crosses::<DeliveryFuture>();
    assert_eq!(size_of::<DeliveryFuture>(), 32);
}

#[test]
fn an_answer_can_be_asked_for_again_and_in_every_way() {
    let mut rig = Rig::new();
    let mut handle = rig.send("v");
    assert!(!handle.is_done() && handle.try_get().is_none());
    assert!(handle.get_timeout(Duration::ZERO).is_none());
    rig.deliver_all();
    assert!(handle.is_done());
    let metadata = handle.get().unwrap();
    assert_eq!(handle.try_get().unwrap().unwrap(), metadata);
    assert_eq!(handle.get_timeout(Duration::ZERO).unwrap().unwrap(), metadata);
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(polled) = pin!(&mut handle).poll(&mut context) else { panic!("it is done") };
    assert_eq!(polled.unwrap(), metadata);
}

#[test]
fn get_pushes_its_record_and_asks_for_haste() {
    let mut rig = Rig::new();
    let handle = rig.send("v");
    let behind = rig.send("w");
    let _ = rig.receiver.doze(Level::NothingButUrgent);
    let waiting = thread::spawn(move || handle.get());
    let gets = loop {
        let gets = rig.receiver.take_gets();
        if !gets.is_empty() {
            break gets;
        }
        thread::yield_now();
    };
    while rig.rings() == 0 {
        thread::yield_now();
    }
    rig.receiver.awake();
    assert_eq!((gets.len(), gets[0].1), (1, 0));
    // Not in a batch yet: it is kept, and shows up again until it is.
    let (cells, cell) = gets.into_iter().next().unwrap();
    assert_eq!(cells.place(cell), None);
    rig.receiver.keep_get(cells, cell);
    assert_eq!(rig.receiver.doze(Level::NothingButUrgent), Some(Duration::from_millis(1)));
    assert_eq!(rig.receiver.take_gets().len(), 1);

    let mut chunk = rig.chunk().expect("get has pushed it");
    let mut settling = Settling::new();
    let record = chunk.take_next().unwrap();
    record.cells.set_place(record.cell, record.topic, 0);
    settling.acknowledge(Run::start(record.cells, record.cell), Some(5), None);
    settling.finish();
    assert_eq!(waiting.join().unwrap().unwrap().offset(), 5);
    assert!(!behind.is_done());
}

#[test]
fn without_linger_a_record_that_was_pushed_needs_no_second_ring() {
    let mut rig = Rig::with(HubConfig { linger: Duration::ZERO, ..config() });
    let _ = rig.receiver.doze(Level::AnyRecord);
    let handle = rig.send("v");
    rig.receiver.awake();
    let _ = rig.receiver.doze(Level::NothingButUrgent);
    assert_eq!(rig.rings(), 1);
    assert!(handle.get_timeout(Duration::from_millis(1)).is_none());
    assert_eq!(rig.rings(), 1);
    assert!(rig.receiver.take_gets().is_empty());
    // But one that lies in its lane is pushed.
    rig.receiver.awake();
    let handle = rig.send("w");
    let _ = rig.receiver.doze(Level::NothingButUrgent);
    assert!(handle.get_timeout(Duration::from_millis(1)).is_none());
    assert_eq!(rig.rings(), 2);
    assert!(rig.chunk().is_some() && rig.chunk().is_some());
}

#[test]
fn waiting_where_it_could_not_end_is_an_error() {
    let mut rig = Rig::new();
    let handle = rig.send("v");
    {
        let _scope = CallbackScope::enter();
        let error = handle.get().unwrap_err();
        assert!(matches!(error.cause(), DeliveryCause::CannotWait(_)), "{error}");
        assert_eq!(error.topic(), "t");
        assert!(handle.get_timeout(AGES).unwrap().is_err());
        assert!(handle.try_get().is_none());
        rig.deliver_all();
        assert!(handle.get().is_ok(), "what is finished need not be waited for");
    }
}

#[test]
fn several_threads_wait_for_one_handle() {
    let mut rig = Rig::new();
    let handle = rig.send("v");
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..4).map(|_| scope.spawn(|| handle.get())).collect();
        let mut seen = 0;
        while seen < 4 {
            seen += rig.receiver.take_gets().len();
            thread::yield_now();
        }
        rig.deliver_all();
        for thread in waiting {
            thread.join().unwrap().unwrap();
        }
    });
}

struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn the_last_waker_is_woken_and_a_dropped_handle_wakes_nobody() {
    let mut rig = Rig::new();
    let counters: Vec<_> = (0..3).map(|_| Arc::new(Counter(AtomicUsize::new(0)))).collect();
    let mut handle = rig.send("v");
    let mut dropped = rig.send("w");
    let poll = |handle: &mut DeliveryFuture, counter: usize| {
        let waker = Waker::from(Arc::clone(&counters[counter]));
        pin!(handle).poll(&mut Context::from_waker(&waker)).is_ready()
    };
    assert!(!poll(&mut handle, 0));
    assert!(!poll(&mut handle, 1));
    assert!(!poll(&mut dropped, 2));
    assert_eq!(rig.receiver.take_gets().len(), 2, "polling again does not ask again");
    drop(dropped);
    rig.deliver_all();
    let woken: Vec<_> = counters.iter().map(|counter| counter.0.load(Ordering::SeqCst)).collect();
    assert_eq!(woken, [0, 1, 0]);
    assert!(poll(&mut handle, 0));
    drop(handle);
    assert!(counters.iter().all(|counter| Arc::strong_count(counter) == 1), "no waker is left behind");
}

#[test]
fn a_handle_outlives_its_producer() {
    let mut rig = Rig::new();
    let (done, failed, lost) = (rig.send("v"), rig.send("w"), rig.send("x"));
    rig.receiver.steal_all();
    let mut chunk = rig.chunk().unwrap();
    let mut settling = Settling::new();
    let record = chunk.take_next().unwrap();
    record.cells.set_place(record.cell, record.topic, 1);
    settling.acknowledge(Run::start(record.cells, record.cell), Some(9), None);
    let record = chunk.take_next().unwrap();
    settling.fail(Run::start(record.cells, record.cell), failure(DeliveryCause::Closed));
    drop(settling);
    let Rig { hub, receiver, .. } = rig;
    drop((hub, receiver));
    assert_eq!(done.get().unwrap().to_string(), "t-1@9");
    assert!(failed.get().is_err());
    drop(chunk);
    assert!(lost.get().is_err());
}

#[test]
fn payloads_do_not_show_in_debug_text() {
    let rig = Rig::new();
    let handle = rig.send("secret");
    assert_eq!(format!("{handle:?}"), "DeliveryFuture { topic: \"t\", answer: None, .. }");
}
