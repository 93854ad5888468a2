use std::{
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use super::{
    super::{
        append::{Entry, Partition},
        cells::{Run, Settling},
        chunk::charge,
        context::{CallbackScope, Patience},
        hub::{Command, HubConfig, Level},
        sizes::LANES,
        snapshot::Snapshot,
        sync::{thread_number, wall_clock},
    },
    AGES, Rig, append, config, deliver, entry, filling, values,
};
use crate::{
    error::{DeliveryCause, ErrorCode, FlushError, SendErrorKind, TransactionErrorKind},
    partitioner::partition_for_key,
    record::Headers,
};

const NO_TIME: Duration = Duration::ZERO;

#[test]
fn records_keep_their_order_across_chunks() {
    let mut rig = Rig::new();
    let sent: Vec<_> = (0..1000).map(|number| format!("record {number}")).collect();
    let mut got = Vec::new();
    let mut cells = Vec::new();
    for value in &sent {
        rig.send(value);
        while let Some(chunk) = rig.chunk() {
            cells.push(Arc::clone(chunk.cells()));
            got.extend(deliver(&rig.hub, chunk));
        }
    }
    got.extend(rig.deliver_all());
    assert_eq!(values(&got), sent);
    cells.dedup_by(|next, last| Arc::ptr_eq(next, last));
    assert_eq!(cells.len(), 4, "256 records share their cells");
}

#[test]
fn a_record_that_fits_no_buffer_has_one_of_its_own_in_its_place() {
    let mut rig = Rig::with(HubConfig { channel_capacity: 64, ..config() });
    let large = "x".repeat(10_000);
    for value in ["a", &large, "b", &large, &large, "c"] {
        rig.send(value);
    }
    assert_eq!(values(&rig.deliver_all()), ["a", &large, "b", &large, &large, "c"]);
    rig.receiver.reclaim_credit();
    assert_eq!(rig.hub.budget().free(), rig.hub.budget().limit());
}

/// What lies in the channel is memory: a large record takes as much of it as small ones of the same size.
#[test]
fn a_record_takes_the_places_of_as_many_chunks() {
    let mut rig = Rig::new();
    // Ten places of sixteen, once it is pushed; one larger than the channel takes all of them.
    rig.send(&"x".repeat(10 * 1024));
    assert_eq!(rig.hub.room.0.free(), 6);
    rig.send(&"x".repeat(100 * 1024));
    let headers = Headers::new();
    let refused = append(&rig.hub, entry("v", &headers), Patience::never()).unwrap_err();
    assert!(matches!(refused, SendErrorKind::WouldBlock { .. }), "{refused:?}");
    let first = rig.chunk().expect("the first was pushed");
    deliver(&rig.hub, first);
    assert_eq!(rig.hub.room.0.free(), 16);
    assert!(!rig.receiver.steal_all(), "there is room for the second");
    assert_eq!(rig.hub.room.0.free(), 0);
    rig.deliver_all();
    assert_eq!(rig.hub.room.0.free(), 16);
}

#[test]
fn a_record_knows_its_partition_or_leaves_it_open() {
    let mut rig = Rig::new();
    let headers = Headers::new();
    let key = Some(&b"customer-7"[..]);
    for (partition, key, want) in [
        (Partition::Explicit(3), key, 3),
        (Partition::Key, key, partition_for_key(b"customer-7", 4)),
        (Partition::Key, None, -1),
        (Partition::Open, key, -1),
    ] {
        append(&rig.hub, Entry { partition, key, ..entry("v", &headers) }, Patience::never()).unwrap();
        rig.receiver.steal_all();
        let mut chunk = rig.chunk().unwrap();
        let record = chunk.take_next().unwrap();
        assert_eq!(record.partition, want, "{partition:?}");
        drop(Run::start(record.cells, record.cell));
    }
}

#[test]
fn more_topics_than_a_lane_remembers() {
    let mut rig = Rig::new();
    let names: Vec<_> = (0..20).map(|number| format!("topic-{number}")).collect();
    rig.publish(&names.iter().map(String::as_str).collect::<Vec<_>>(), 2);
    for round in 0..3 {
        for name in &names {
            rig.try_send(name, &format!("{name} {round}")).unwrap();
        }
    }
    for record in rig.deliver_all() {
        let value = String::from_utf8(record.value).unwrap();
        assert!(value.starts_with(&format!("{} ", record.topic)), "{value} went to {}", record.topic);
    }
}

#[test]
fn the_timestamp_is_the_records_own_or_that_of_the_call() {
    let mut rig = Rig::new();
    let headers = Headers::new();
    let before = wall_clock();
    rig.send("now");
    append(&rig.hub, Entry { timestamp: Some(17), ..entry("then", &headers) }, Patience::never()).unwrap();
    rig.receiver.steal_all();
    let mut chunk = rig.chunk().unwrap();
    let mut timestamps = Vec::new();
    while let Some(record) = chunk.take_next() {
        timestamps.push(record.timestamp);
        drop(Run::start(record.cells, record.cell));
    }
    assert!((before..=wall_clock()).contains(&timestamps[0]));
    assert_eq!(timestamps[1], 17);
}

#[test]
fn refusals_for_want_of_metadata() {
    let rig = Rig::without_metadata(config());
    let headers = Headers::new();
    let send = |topic: &str, partition: Partition, patience: Patience| {
        append(&rig.hub, Entry { topic, partition, ..entry("v", &headers) }, patience).unwrap_err()
    };
    let text = |error: SendErrorKind| error.to_string();

    assert!(matches!(send("t", Partition::Open, Patience::never()), SendErrorKind::WouldBlock { .. }));
    assert_eq!(
        text(send("t", Partition::Open, Patience::new(NO_TIME))),
        "no metadata for topic \"t\" after 0ns (max.block.ms): no broker has answered yet"
    );
    rig.hub.published().publish(Snapshot {
        last_error: Some("cannot connect to 127.0.0.1:1: connection refused".into()),
        ..Snapshot::default()
    });
    assert!(
        text(send("t", Partition::Open, Patience::new(NO_TIME))).ends_with("127.0.0.1:1: connection refused")
    );
    rig.publish_error("t", ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    let unknown = text(send("t", Partition::Open, Patience::new(NO_TIME)));
    assert!(unknown.contains("UNKNOWN_TOPIC_OR_PARTITION"), "{unknown}");
    assert!(unknown.ends_with("; check the topic's name, or create it"), "{unknown}");

    rig.publish(&["t"], 4);
    let error = send("t", Partition::Explicit(4), Patience::new(NO_TIME));
    assert!(matches!(error, SendErrorKind::UnknownPartition { partition: 4, count: 4, .. }), "{error}");
    let error = send("t", Partition::Explicit(-1), Patience::new(AGES));
    assert!(matches!(error, SendErrorKind::InvalidPartition { partition: -1, .. }), "{error}");

    // What waiting does not change is said at once.
    rig.publish_error("t", ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    let error = send("t", Partition::Open, Patience::new(AGES));
    assert!(matches!(error, SendErrorKind::Refused { .. }), "{error}");
    rig.publish_error("t", ErrorCode::INVALID_TOPIC_EXCEPTION);
    let error = send("t", Partition::Open, Patience::new(AGES));
    assert!(matches!(error, SendErrorKind::InvalidTopic { .. }), "{error}");
}

#[test]
fn a_refusal_is_seen_by_lanes_that_know_the_topic() {
    let rig = Rig::new();
    rig.send("v");
    rig.publish_error("t", ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    assert!(matches!(rig.try_send("t", "v"), Err(SendErrorKind::Refused { .. })));
}

#[test]
fn metadata_is_wished_for_once_and_waited_for() {
    let mut rig = Rig::without_metadata(config());
    let waiting: Vec<_> = [Partition::Open, Partition::Explicit(2)]
        .into_iter()
        .map(|partition| {
            let hub = Arc::clone(&rig.hub);
            thread::spawn(move || {
                let headers = Headers::new();
                append(&hub, Entry { partition, ..entry("v", &headers) }, Patience::new(AGES)).map(drop)
            })
        })
        .collect();
    let id = rig.hub.topics().intern("t").unwrap();
    let mut wishes = Vec::new();
    while wishes.is_empty() {
        wishes = rig.receiver.take_wishes();
        thread::yield_now();
    }
    assert_eq!(wishes, [id]);
    // The second thread needs a partition that is not there yet, and asks again.
    rig.publish(&["t"], 2);
    let mut snapshots = 1;
    while !waiting.iter().all(thread::JoinHandle::is_finished) {
        if !rig.receiver.take_wishes().is_empty() {
            rig.publish(&["t"], 3);
            snapshots += 1;
        }
        thread::yield_now();
    }
    for thread in waiting {
        thread.join().unwrap().unwrap();
    }
    assert!(snapshots >= 2);
}

#[test]
fn a_view_of_a_topic_can_be_had() {
    let rig = Rig::new();
    let (id, view) = rig.hub.topic_view("t", Some(3), &mut Patience::never()).unwrap();
    assert_eq!((&**rig.hub.topics().name(id), view.count), ("t", 4));
    let error = rig.hub.topic_view("t", Some(4), &mut Patience::never()).unwrap_err();
    assert!(matches!(error, SendErrorKind::WouldBlock { .. }));
}

/// Runs `action` on a thread whose lane is not that of the calling one.
fn on_another_lane(action: impl Fn() + Sync) {
    let own = thread_number() % LANES;
    let on_another = || {
        let other = thread_number() % LANES != own;
        if other {
            action();
        }
        other
    };
    while !thread::scope(|scope| scope.spawn(on_another).join().unwrap()) {}
}

fn narrow() -> HubConfig {
    HubConfig { buffer_memory: 2000, ..config() }
}

#[test]
fn memory_is_counted_and_refused() {
    let mut rig = Rig::with(narrow());
    let value = "x".repeat(1000);
    rig.send(&value);
    assert!(matches!(rig.try_send("t", &value), Err(SendErrorKind::WouldBlock { .. })));
    let error = append(&rig.hub, entry(&value, &Headers::new()), Patience::new(NO_TIME)).unwrap_err();
    let needed = charge(1004);
    assert!(
        matches!(error, SendErrorKind::BufferFull { needed: n, limit: 2000, .. } if n == needed),
        "{error}"
    );
    rig.deliver_all();
    rig.send(&value);
    let error = rig.try_send("t", &"x".repeat(2000)).unwrap_err();
    assert!(matches!(error, SendErrorKind::RecordTooLarge { setting: "buffer.memory", .. }), "{error}");
}

#[test]
fn memory_that_idles_in_lanes_is_collected_for_who_waits() {
    let mut rig = Rig::new();
    // Takes a stride of a sixty-fourth and spends little of it.
    on_another_lane(|| drop(rig.send("small")));
    assert_eq!(rig.deliver_all().len(), 1);
    let all = rig.hub.budget().limit();
    assert!(rig.hub.budget().free() < all);
    let waiting = {
        let hub = Arc::clone(&rig.hub);
        // The most that can be had at all, so everything idle is needed.
        let value = filling(all);
        thread::spawn(move || append(&hub, entry(&value, &Headers::new()), Patience::new(AGES)).map(drop))
    };
    while rig.hub.budget().waiting() == 0 {
        thread::yield_now();
    }
    assert_eq!(rig.receiver.doze(Level::NothingButUrgent), None, "somebody came to wait");
    let tick = rig.hub.tick();
    assert_eq!(rig.receiver.doze(Level::NothingButUrgent), Some(tick), "what is in flight may bring it back");
    assert!(rig.receiver.lacks_memory());
    assert!(rig.hub.budget().free() < all);
    while !waiting.is_finished() {
        // With nothing in flight it is not put off.
        let _ = rig.receiver.doze(Level::AnyChunk);
        thread::yield_now();
    }
    waiting.join().unwrap().unwrap();
    assert_eq!(rig.hub.budget().free(), 0);
}

#[test]
fn memory_that_idles_in_lanes_is_collected_once_a_tick_while_something_is_in_flight() {
    let mut rig = Rig::new();
    on_another_lane(|| drop(rig.send("small")));
    rig.deliver_all();
    let value = filling(rig.hub.budget().limit());
    assert!(matches!(rig.try_send("t", &value), Err(SendErrorKind::WouldBlock { .. })));
    assert_eq!(rig.receiver.doze(Level::ManyChunks), None, "somebody was refused");
    assert!(rig.receiver.doze(Level::ManyChunks).is_some());
    assert!(matches!(rig.try_send("t", &value), Err(SendErrorKind::WouldBlock { .. })));
    assert!(rig.receiver.lacks_memory());
    rig.receiver.reclaim_credit();
    assert!(!rig.receiver.lacks_memory());
    rig.send(&value);
}

#[test]
fn who_does_not_wait_for_memory_has_idle_memory_collected_all_the_same() {
    let mut rig = Rig::new();
    on_another_lane(|| drop(rig.send("small")));
    rig.deliver_all();
    let value = filling(rig.hub.budget().limit());
    assert!(matches!(rig.try_send("t", &value), Err(SendErrorKind::WouldBlock { .. })));
    assert_eq!(rig.receiver.doze(Level::AnyChunk), None);
    rig.send(&value);
}

#[test]
fn a_full_channel_is_waited_for_without_holding_the_lane() {
    let mut rig = Rig::with(HubConfig { channel_capacity: 1, ..config() });
    let large = "x".repeat(5000);
    rig.send(&large);
    // Stays in the lane: there is no place for it.
    rig.send(&large);
    assert!(matches!(rig.try_send("t", "v"), Err(SendErrorKind::WouldBlock { .. })));
    let error = append(&rig.hub, entry("v", &Headers::new()), Patience::new(NO_TIME)).unwrap_err();
    assert!(matches!(error, SendErrorKind::BufferFull { .. }), "{error}");
    let waiting = {
        let hub = Arc::clone(&rig.hub);
        thread::spawn(move || {
            for _ in 0..3 {
                append(&hub, entry("v", &Headers::new()), Patience::new(AGES)).unwrap();
                hub.flush(Some(AGES)).unwrap();
            }
        })
    };
    let mut got = Vec::new();
    while !waiting.is_finished() || got.len() < 5 {
        match rig.receiver.try_recv() {
            Some(Command::Chunk(chunk)) => got.extend(deliver(&rig.hub, chunk)),
            Some(Command::Flush(promise)) => promise.fulfil(),
            Some(other) => panic!("nobody does anything else: {other:?}"),
            None => {
                rig.receiver.steal_all();
                thread::yield_now();
            }
        }
    }
    waiting.join().unwrap();
    // The first may have overtaken the others, which waited for room; the order of lanes is no promise.
    assert_eq!(values(&got).iter().filter(|value| **value == "v").count(), 3);
}

#[test]
fn inside_a_callback_nothing_waits() {
    let rig = Rig::without_metadata(config());
    let _scope = CallbackScope::enter();
    let error = append(&rig.hub, entry("v", &Headers::new()), Patience::new(AGES)).unwrap_err();
    assert!(matches!(error, SendErrorKind::WouldBlock { what: "metadata", .. }), "{error}");
    assert!(matches!(rig.hub.flush(None), Err(FlushError::InsideCallback { .. })));
}

#[test]
fn flush_comes_after_what_was_sent_before() {
    let mut rig = Rig::new();
    rig.send("a");
    rig.send("b");
    let flushing = {
        let hub = Arc::clone(&rig.hub);
        thread::spawn(move || hub.flush(Some(AGES)))
    };
    let mut seen = Vec::new();
    loop {
        match rig.receiver.try_recv() {
            Some(Command::Chunk(chunk)) => seen.extend(deliver(&rig.hub, chunk)),
            Some(Command::Flush(promise)) => {
                assert_eq!(values(&seen), ["a", "b"]);
                promise.fulfil();
                break;
            }
            other => assert!(other.is_none(), "{other:?}"),
        }
        thread::yield_now();
    }
    flushing.join().unwrap().unwrap();
    assert!(matches!(rig.hub.flush(Some(NO_TIME)), Err(FlushError::TimedOut { .. })));
}

#[test]
fn records_are_barred_between_transactions_and_let_in_again() {
    let mut rig = Rig::new();
    rig.send("a");
    rig.hub.bar_records();
    let refused = rig.try_send("t", "b").unwrap_err();
    assert_eq!(refused.to_string(), "send: no transaction is open; call begin_transaction first");
    rig.hub.let_records_in();
    rig.send("c");
    rig.hub.close_lanes();
    rig.hub.let_records_in();
    assert!(matches!(rig.try_send("t", "d"), Err(SendErrorKind::Closed)));
    assert_eq!(values(&rig.deliver_all()), ["a", "c"]);
}

#[test]
fn a_failure_bars_records_and_says_why_until_it_is_mended() {
    let failure = |cause: &str| TransactionErrorKind::Abortable { code: None, cause: cause.into() };
    let rig = Rig::new();
    rig.hub.bar_records();
    rig.hub.spoil_transaction(|| unreachable!("no transaction is open"));
    rig.hub.let_records_in();
    rig.hub.spoil_transaction(|| failure("first").into());
    rig.hub.fail_transaction(failure("second").into());
    rig.hub.let_records_in();
    let refused = rig.try_send("t", "a").unwrap_err().to_string();
    assert_eq!(refused, "the transaction cannot be committed, abort it: first");
    rig.hub.mend_transaction();
    rig.hub.let_records_in();
    rig.send("b");
    let fatal = TransactionErrorKind::Fenced { code: ErrorCode::PRODUCER_FENCED, cause: "third".into() };
    rig.hub.fail_transaction(fatal.into());
    rig.hub.mend_transaction();
    rig.hub.let_records_in();
    let refused = rig.try_send("t", "c").unwrap_err().to_string();
    assert!(refused.starts_with("this producer was fenced: third: PRODUCER_FENCED (90)"), "{refused}");
}

#[test]
fn close_comes_last_and_refuses_what_comes_later() {
    let mut rig = Rig::with(HubConfig { channel_capacity: 1, ..config() });
    let large = "x".repeat(5000);
    rig.send(&large);
    rig.send(&large);
    rig.hub.close_lanes();
    assert!(rig.hub.is_closed());
    assert!(matches!(rig.try_send("t", "v"), Err(SendErrorKind::Closed)));
    assert!(rig.chunk().is_some_and(|chunk| deliver(&rig.hub, chunk).len() == 1));
    assert!(rig.receiver.try_recv().is_none(), "Close is given out when it was asked for");
    rig.hub.close_command();
    assert!(rig.chunk().is_some_and(|chunk| deliver(&rig.hub, chunk).len() == 1));
    assert!(matches!(rig.receiver.try_recv(), Some(Command::Close)));
    assert!(rig.receiver.try_recv().is_none(), "Close is given out once");
    assert_eq!(rig.hub.budget().free(), rig.hub.budget().limit());
}

#[test]
fn a_forced_close_needs_no_place_in_the_channel() {
    let mut rig = Rig::with(HubConfig { channel_capacity: 1, ..config() });
    let handles = ["x".repeat(5000), "y".repeat(5000)].map(|value| rig.send(&value));
    rig.hub.force_close();
    assert!(rig.receiver.is_forced());
    assert_eq!(rig.receiver.doze(Level::AnyRecord), None);
    rig.hub.die(super::super::context::End::Closed);
    for handle in handles {
        let error = handle.get().unwrap_err();
        assert!(matches!(error.cause(), DeliveryCause::Closed) && !error.may_have_been_written(), "{error}");
    }
    assert!(matches!(rig.try_send("t", "v"), Err(SendErrorKind::Closed)));
    assert_eq!(rig.hub.death(), None);
}

#[test]
fn death_fails_all_there_is_and_all_who_wait() {
    let mut rig = Rig::with(HubConfig { channel_capacity: 1, ..narrow() });
    let log = Arc::new(Mutex::new(Vec::new()));
    rig.hub.set_callback_sink(Box::new({
        let log = Arc::clone(&log);
        move |callbacks, error| {
            for callback in callbacks {
                log.lock().unwrap().push(callback.key_size);
                (callback.call)(Err(error.clone()));
            }
        }
    }));
    let called = Arc::new(Mutex::new(0));
    let headers = Headers::new();
    let mut handles = vec![rig.send("in a batch")];
    rig.receiver.steal_all();
    let mut batched = rig.chunk().unwrap();
    let record = batched.take_next().unwrap();
    let run = Run::start(record.cells, record.cell);
    handles.push(rig.send("in the channel"));
    rig.receiver.steal_all();
    let called2 = Arc::clone(&called);
    let callback = Box::new(move |_| *called2.lock().unwrap() += 1);
    let with_callback = Entry { key: Some(b"k"), callback: Some(callback), ..entry("in a lane", &headers) };
    handles.push(append(&rig.hub, with_callback, Patience::never()).unwrap());

    let hub = &rig.hub;
    thread::scope(|scope| {
        let memory = scope.spawn(|| {
            let value = "x".repeat(1900);
            append(hub, entry(&value, &Headers::new()), Patience::new(AGES)).map(drop)
        });
        let metadata = scope.spawn(|| hub.topic_view("unknown", None, &mut Patience::new(AGES)).map(drop));
        let flush = scope.spawn(|| hub.flush(Some(AGES)));
        let get = scope.spawn(|| handles[2].get());
        while hub.budget().waiting() == 0 {
            thread::yield_now();
        }
        hub.die("a test killed it");
        drop(run);
        for refused in [memory.join().unwrap(), metadata.join().unwrap()] {
            assert!(
                matches!(&refused, Err(SendErrorKind::Failed { cause }) if cause == "a test killed it"),
                "{refused:?}"
            );
        }
        assert!(matches!(flush.join().unwrap(), Err(FlushError::Failed { .. })));
        get.join().unwrap().unwrap_err();
    });
    for (handle, written) in handles.iter().zip([true, false, false]) {
        let error = handle.try_get().unwrap().unwrap_err();
        assert!(matches!(error.cause(), DeliveryCause::SenderDied(cause) if &**cause == "a test killed it"));
        assert_eq!(error.may_have_been_written(), written, "{error}");
    }
    assert_eq!((log.lock().unwrap().as_slice(), *called.lock().unwrap()), (&[1][..], 1));
    assert!(matches!(rig.hub.flush(None), Err(FlushError::Failed { .. })));
    assert_eq!(rig.hub.death().as_deref(), Some("a test killed it"));
    drop(batched);
    // All but the record in the batch, whose memory is for the engine to give back.
    assert_eq!(rig.hub.budget().free() + charge(4 + "in a batch".len()), 2000 + 1);
}

#[test]
fn a_dropped_receiver_is_a_death() {
    let rig = Rig::new();
    let handle = rig.send("v");
    drop(rig.receiver);
    assert!(matches!(handle.get().unwrap_err().cause(), DeliveryCause::SenderDied(_)));
}

#[test]
fn an_answer_without_an_end_says_so() {
    let mut rig = Rig::new();
    let hub = Arc::clone(&rig.hub);
    let flushing = thread::spawn(move || hub.flush(None));
    loop {
        if let Some(Command::Flush(promise)) = rig.receiver.try_recv() {
            drop(promise);
            break;
        }
        thread::yield_now();
    }
    let error = flushing.join().unwrap().unwrap_err();
    assert!(matches!(error, FlushError::Failed { .. }), "{error}");
}

#[test]
fn commands_are_small() {
    assert!(size_of::<Command>() <= 128, "{}", size_of::<Command>());
}

#[test]
fn settling_gives_the_place_that_the_sender_thread_chose() {
    let mut rig = Rig::new();
    let handle = rig.send("v");
    rig.receiver.steal_all();
    let mut chunk = rig.chunk().unwrap();
    let record = chunk.take_next().unwrap();
    record.cells.set_place(record.cell, record.topic, 3);
    let mut settling = Settling::new();
    settling.acknowledge(Run::start(record.cells, record.cell), Some(41), Some(1234));
    settling.finish();
    let metadata = handle.get().unwrap();
    assert_eq!(metadata.to_string(), "t-3@41");
    assert_eq!(
        (metadata.timestamp(), metadata.serialized_key_size(), metadata.serialized_value_size()),
        (1234, -1, 1)
    );
}
