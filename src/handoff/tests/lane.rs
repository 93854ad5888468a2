use super::super::{
    lane::{Clock, Familiar},
    snapshot::{Published, Snapshot, TopicView},
    sync::Arc,
    topics::Topics,
};

/// Also where both ends of the names are the same, and where there are more of them than places.
#[test]
fn every_topic_has_its_own_number_and_count_however_many_there_are() {
    let names = |count: usize, name: fn(usize) -> String| (0..count).map(name).collect::<Vec<_>>();
    for names in [
        names(1, |_| "t".into()),
        names(50, |i| format!("bench-{i}")),
        names(50, |i| format!("{i}")),
        names(300, |i| format!("production.eu-west.{i:03}.orders.v1")),
        names(3000, |i| format!("events-{i:04}")),
    ] {
        let (topics, published) = (Topics::new(), Published::new());
        let mut familiar = Familiar::default();
        for round in 1..4 {
            let view = |i| Some(Arc::new(TopicView { count: i as i32 + round, ..TopicView::default() }));
            published
                .publish(Snapshot { topics: (0..names.len()).map(view).collect(), ..Snapshot::default() });
            for _ in 0..2 {
                for (i, name) in names.iter().enumerate() {
                    let (id, count) = familiar.look_up(name, &topics, &published).unwrap();
                    assert_eq!((id.0 as usize, count), (i, i as i32 + round), "{name}");
                    assert_eq!(familiar.look_up(name, &topics, &published), Ok((id, count)));
                }
            }
        }
        familiar.look_up("not/legal", &topics, &published).unwrap_err();
    }
}

/// Stamps a record at each of these times, and says what they got and how often the clock was read.
fn stamps(clock: &mut Clock, times: &[i64]) -> (Vec<i64>, usize) {
    let mut reads = 0;
    let stamps = times
        .iter()
        .map(|&time| {
            clock.stamp(|| {
                reads += 1;
                time
            })
        })
        .collect();
    (stamps, reads)
}

#[test]
fn records_of_one_millisecond_share_reads_of_the_clock() {
    let (got, reads) = stamps(&mut Clock::default(), &[5; 200]);
    assert_eq!(got, [5; 200]);
    // After 1, 2, 4, 8 records, then every sixteenth.
    assert_eq!(reads, 16);
}

#[test]
fn who_sends_more_slowly_than_once_a_millisecond_gets_it_exactly() {
    let times: Vec<_> = (1..100).collect();
    assert_eq!(stamps(&mut Clock::default(), &times), (times, 99));
}

#[test]
fn after_a_burst_the_clock_is_read_more_often_again() {
    let mut clock = Clock::default();
    stamps(&mut clock, &[5; 200]);
    let times: Vec<_> = (6..106).collect();
    let (got, _) = stamps(&mut clock, &times);
    for (got, time) in got.iter().zip(&times).skip(32) {
        assert_eq!(got, time);
    }
    assert!(got.iter().zip(&times).all(|(got, time)| got <= time && time - got < 16), "{got:?}");
}

#[test]
fn every_chunk_begins_with_a_read() {
    let mut clock = Clock::default();
    stamps(&mut clock, &[5; 200]);
    clock.forget();
    assert_eq!(stamps(&mut clock, &[6]), (vec![6], 1));
}
