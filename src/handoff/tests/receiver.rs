use std::{thread, time::Duration};

use super::{
    super::{
        hub::{Command, HubConfig, Level},
        sizes::LANES,
        sync::thread_number,
    },
    AGES, Rig, config, deliver, values,
};

/// A value that fills a chunk on its own.
fn chunkful() -> String {
    "x".repeat(1100)
}

fn own_lane() -> usize {
    thread_number() % LANES
}

#[test]
fn rings_by_level_and_deed() {
    use Level::*;
    for (level, chunks, records, rings) in [
        (Awake, 20, 1, 0),
        (AnyRecord, 0, 1, 1),
        (AnyRecord, 3, 0, 1),
        (AnyChunk, 0, 1, 0),
        (AnyChunk, 1, 0, 1),
        (ManyChunks, 7, 1, 0),
        (ManyChunks, 8, 0, 1),
        (NothingButUrgent, 15, 1, 0),
        (NothingButUrgent, 16, 0, 1),
    ] {
        let mut rig = Rig::with(HubConfig { channel_capacity: 24, ..config() });
        if level == NothingButUrgent {
            rig = Rig::with(HubConfig { channel_capacity: 16, ..config() });
        }
        let _ = rig.receiver.doze(level);
        let before = rig.rings();
        for _ in 0..chunks {
            rig.send(&chunkful());
        }
        for _ in 0..records {
            rig.send("small");
        }
        assert_eq!(rig.rings() - before, rings, "{level:?}, {chunks} chunks, {records} records");
    }
}

#[test]
fn a_record_at_level_one_is_pushed_at_once() {
    let mut rig = Rig::new();
    assert_eq!(rig.receiver.doze(Level::AnyRecord), Some(Duration::MAX));
    rig.send("a");
    rig.send("b");
    rig.receiver.awake();
    let first = rig.chunk().expect("the record that rang");
    assert_eq!(values(&deliver(&rig.hub, first)), ["a"]);
    assert!(rig.chunk().is_none(), "the ring had set the level back, so the second stays in its lane");
    assert_eq!(rig.receiver.doze(Level::AnyRecord), None, "and is found there before the next sleep");
    assert_eq!(values(&rig.deliver_all()), ["b"]);
}

#[test]
fn what_came_before_the_level_is_found() {
    use Level::*;
    let tick = Some(Duration::from_millis(5));
    for (level, chunks, sleep) in [
        (AnyChunk, 0, tick),
        (AnyChunk, 1, None),
        (ManyChunks, 7, tick),
        (ManyChunks, 8, None),
        (NothingButUrgent, 15, tick),
        (NothingButUrgent, 16, None),
        (Awake, 0, None),
    ] {
        let mut rig = Rig::new();
        // A chunk that is full is pushed at once.
        for _ in 0..chunks {
            rig.send(&chunkful());
        }
        assert_eq!(rig.receiver.doze(level), sleep, "{level:?}, {chunks} chunks");
    }
}

#[test]
fn the_tick_is_linger_within_bounds() {
    for (linger, tick) in [(0, 1), (1, 1), (5, 5), (50, 50), (60_000, 50)] {
        let linger = Duration::from_millis(linger);
        let rig = Rig::with(HubConfig { linger, ..config() });
        assert_eq!(rig.hub.tick(), Duration::from_millis(tick));
    }
}

#[test]
fn a_lane_that_is_held_is_tried_again_soon() {
    let mut rig = Rig::new();
    rig.send("v");
    let hub = rig.hub.clone();
    let held = hub.lanes[own_lane()].0.lock();
    assert!(rig.receiver.steal_all());
    assert_eq!(rig.receiver.doze(Level::AnyRecord), Some(Duration::from_millis(1)));
    drop(held);
    assert_eq!(rig.receiver.doze(Level::AnyRecord), None);
    assert_eq!(rig.deliver_all().len(), 1);
    assert_eq!(rig.receiver.doze(Level::AnyRecord), Some(Duration::MAX));
}

#[test]
fn a_close_waits_for_a_lane_that_is_held() {
    let mut rig = Rig::new();
    rig.send("v");
    rig.hub.close_lanes();
    let hub = rig.hub.clone();
    rig.hub.close_command();
    let held = hub.lanes[own_lane()].0.lock();
    assert_eq!(rig.chunk().map(|chunk| deliver(&hub, chunk).len()), Some(1));
    assert!(rig.receiver.try_recv().is_none());
    assert_eq!(rig.receiver.doze(Level::AnyChunk), Some(Duration::from_millis(1)));
    drop(held);
    assert!(matches!(rig.receiver.try_recv(), Some(Command::Close)));
    assert_eq!(rig.receiver.doze(Level::AnyRecord), Some(Duration::MAX));
}

/// A flush was pushed while the sender thread was awake, so nobody rang for it. It is one command, fewer than
/// levels 3 and 4 look for, and it waited for a tick.
#[test]
fn a_flush_keeps_the_sender_thread_awake_at_every_level() {
    for level in [Level::AnyRecord, Level::AnyChunk, Level::ManyChunks, Level::NothingButUrgent] {
        let mut rig = Rig::new();
        let hub = rig.hub.clone();
        let flushing = thread::spawn(move || hub.flush(Some(AGES)));
        while rig.hub.channel.is_empty() {
            thread::yield_now();
        }
        while rig.receiver.doze(level).is_some() {
            // It was pushed, and will be counted in an instant.
            rig.receiver.awake();
        }
        let Some(Command::Flush(promise)) = rig.receiver.try_recv() else { panic!("no flush") };
        promise.fulfil();
        flushing.join().unwrap().unwrap();
        assert!(rig.receiver.doze(level).is_some());
    }
}

#[test]
fn wishes_and_refusals_keep_the_sender_thread_awake() {
    let mut rig = Rig::new();
    assert_eq!(rig.receiver.doze(Level::NothingButUrgent), Some(Duration::from_millis(5)));
    rig.try_send("unknown", "v").unwrap_err();
    assert_eq!(rig.rings(), 1);
    rig.receiver.awake();
    assert_eq!(rig.receiver.doze(Level::NothingButUrgent), None);
    assert_eq!(rig.receiver.take_wishes(), [rig.hub.topics().intern("unknown").unwrap()]);
    assert!(rig.receiver.doze(Level::NothingButUrgent).is_some());
}

#[test]
fn records_are_stolen_without_a_place_as_soon_as_there_is_one() {
    let mut rig = Rig::with(HubConfig { channel_capacity: 1, ..config() });
    rig.send(&chunkful());
    rig.send("v");
    assert!(rig.receiver.steal_all(), "there is no place");
    assert_eq!(rig.deliver_all().len(), 1);
    assert_eq!(values(&rig.deliver_all()), ["v"]);
}
