//! buffer.memory: a limit that holds, a wait that ends, and a line in which nobody is passed.

use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use kafka_producer::{DeliveryFuture, Producer, ProducerRecord, SendError, SendErrorKind};

use crate::harness::{LONG, World, arrived, send, until};

fn sized(producer: &Producer, bytes: usize) -> Result<DeliveryFuture, SendError> {
    producer.send(ProducerRecord::new("t", &vec![b'v'; bytes]).partition(0))
}

/// A producer whose broker answers nothing from now on, so that what is accepted stays.
fn held_up(world: &World, settings: &[(&str, &str)]) -> Producer {
    let producer = world.producer(settings);
    send(&producer, "first").get().unwrap();
    world.stall(1);
    producer
}

#[test]
fn a_full_one_is_waited_for_and_then_refused() {
    let world = World::with_partitions(1);
    let producer = held_up(&world, &[("buffer.memory", "10000"), ("max.block.ms", "300")]);
    let mut accepted = Vec::new();
    let (error, waited) = loop {
        let began = Instant::now();
        match sized(&producer, 1000) {
            Ok(handle) => accepted.push(handle),
            Err(error) => break (error, began.elapsed()),
        }
    };
    assert!((5..10).contains(&accepted.len()), "10000 bytes hold some records of 1000: {}", accepted.len());
    assert!(waited >= Duration::from_millis(300) && waited < LONG, "{waited:?}");
    assert!(
        matches!(error.kind(), SendErrorKind::BufferFull { limit: 10000, waited, .. } if *waited == Duration::from_millis(300)),
        "{error:?}"
    );
    let text = error.to_string();
    assert!(text.contains("buffer.memory=10000") && text.contains("300ms (max.block.ms)"), "{text}");
    assert!(error.is_retriable() && !error.is_fatal() && !error.may_have_been_written());
    world.resume(1);
    assert_eq!(arrived(&accepted).len(), accepted.len());
    assert_eq!(world.record_count("t"), 1 + accepted.len() as u64, "the refused one was not taken");
    sized(&producer, 1000).unwrap().get().unwrap();
}

#[test]
fn with_max_block_zero_nothing_is_waited_for() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[("buffer.memory", "2000"), ("max.block.ms", "0"), ("linger.ms", "0")]);
    let error = sized(&producer, 100).unwrap_err();
    assert!(
        matches!(error.kind(), SendErrorKind::MetadataTimeout { .. }) && error.is_retriable(),
        "{error:?}"
    );
    let mut first = None;
    until("the metadata has come", || {
        first = sized(&producer, 100).ok();
        first.is_some()
    });
    first.unwrap().get().unwrap();
    world.stall(1);
    let held = sized(&producer, 1500).unwrap();
    assert!(matches!(sized(&producer, 1500).unwrap_err().kind(), SendErrorKind::BufferFull { .. }));
    world.resume(1);
    held.get().unwrap();
    // What came back is there at once or a moment later.
    let mut next = None;
    until("there is room again", || {
        next = sized(&producer, 1500).ok();
        next.is_some()
    });
    next.unwrap().get().unwrap();
}

#[test]
fn try_send_takes_what_fits_and_never_waits() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[("buffer.memory", "2000"), ("linger.ms", "0")]);
    let try_send = |bytes| producer.try_send(ProducerRecord::new("t", &vec![b'v'; bytes]));
    let error = try_send(100).unwrap_err();
    assert!(matches!(error.kind(), SendErrorKind::WouldBlock { topic, what: "metadata" } if topic == "t"));
    assert!(error.is_retriable() && !error.is_fatal());
    let mut first = None;
    until("it has asked for the metadata", || {
        first = try_send(100).ok();
        first.is_some()
    });
    first.unwrap().get().unwrap();

    world.stall(1);
    let held = try_send(1500).unwrap();
    let error = try_send(1500).unwrap_err();
    assert!(matches!(error.kind(), SendErrorKind::WouldBlock { .. }), "{error:?}");
    assert!(error.to_string().contains("buffer.memory"), "{error}");
    world.resume(1);
    held.get().unwrap();
    let mut next = None;
    until("there is room again", || {
        next = try_send(1500).ok();
        next.is_some()
    });
    next.unwrap().get().unwrap();
}

/// Records that linger hold the memory, and nobody but the one who waits needs it: they must go.
#[test]
fn whoever_waits_for_memory_ends_the_linger() {
    let world = World::with_partitions(3);
    let producer =
        world.producer(&[("buffer.memory", "20000"), ("linger.ms", "60000"), ("batch.size", "16384")]);
    let began = Instant::now();
    let send = |i: i32| producer.send(ProducerRecord::new("t", &[b'v'; 900]).partition(i % 3)).unwrap();
    let handles: Vec<_> = (0..300).map(send).collect();
    producer.flush().unwrap();
    assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
    assert_eq!(arrived(&handles).len(), 300);
}

#[test]
fn memory_that_comes_back_wakes_those_who_wait() {
    let world = World::with_partitions(1);
    let producer = held_up(&world, &[("buffer.memory", "3000"), ("linger.ms", "0")]);
    let held = sized(&producer, 2500).unwrap();
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..8 {
            let (producer, tell) = (&producer, tell.clone());
            scope.spawn(move || {
                assert!(producer.try_send(ProducerRecord::new("t", &[b'v'; 2500])).is_err());
                tell.send(()).unwrap();
                sized(producer, 2500).unwrap().get().unwrap();
            });
        }
        (0..8).for_each(|_| told.recv_timeout(LONG).unwrap());
        world.resume(1);
    });
    held.get().unwrap();
    assert_eq!(world.record_count("t"), 10);
}

/// There is room for small ones, for longer than this test would take, and a large one was there before.
#[test]
fn a_newcomer_does_not_pass_those_who_wait() {
    let world = World::with_partitions(1);
    world.set_max_message_bytes("t", 20_000_000);
    let settings = [("buffer.memory", "20000000"), ("max.request.size", "16000000"), ("linger.ms", "0")];
    let producer = held_up(&world, &settings);
    let held = sized(&producer, 10_000_000).unwrap();
    thread::scope(|scope| {
        let large = scope.spawn(|| sized(&producer, 15_000_000).unwrap().get().unwrap());
        let small = || producer.try_send(ProducerRecord::new("t", &[b'v'; 100]));
        until("the large one waits", || small().is_err());
        world.resume(1);
        large.join().unwrap();
        small().unwrap().get().unwrap();
    });
    held.get().unwrap();
}

/// One that needs nearly everything stands first; small ones would fit all the time, and must not pass it for ever.
#[test]
fn a_large_one_is_not_starved_by_small_ones() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[("buffer.memory", "50000"), ("linger.ms", "0")]);
    send(&producer, "first").get().unwrap();
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !enough.load(Ordering::SeqCst) {
                    sized(&producer, 3000).unwrap();
                }
            });
        }
        for _ in 0..20 {
            sized(&producer, 45_000).unwrap().get().unwrap();
        }
        enough.store(true, Ordering::SeqCst);
    });
}

/// What threads have put aside for themselves and do not use must not stop one that needs everything.
#[test]
fn all_of_it_can_be_had_after_many_threads_have_used_it() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[("buffer.memory", "200000"), ("max.request.size", "1000000")]);
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| send(&producer, "small").get().unwrap());
        }
    });
    // The largest that is accepted at all.
    let largest = 200_000 - (61 + 21 + 1 + 3 + 1);
    for _ in 0..3 {
        sized(&producer, largest).unwrap().get().unwrap();
    }
    assert_eq!(world.record_count("t"), 23);
}

/// Records that failed, were refused, timed out or came back late: none keeps a byte.
#[test]
fn nothing_is_lost_of_it_whatever_becomes_of_the_records() {
    let world = World::with_partitions(1);
    let settings = [
        ("buffer.memory", "20000"),
        ("max.block.ms", "2000"),
        ("linger.ms", "0"),
        ("request.timeout.ms", "100"),
        ("delivery.timeout.ms", "300"),
        ("batch.size", "2000"),
    ];
    let producer = world.producer(&settings);
    send(&producer, "first").get().unwrap();
    for round in 0..5 {
        match round % 3 {
            0 => world.stall(1),
            1 => world.fail_next(kafka_producer::ErrorCode::TOPIC_AUTHORIZATION_FAILED, 3),
            _ => world.fault(kafka_producer::testing::Fault::NeverAnswer.times(3)),
        }
        let handles: Vec<_> = (0..10).map(|_| sized(&producer, 1500).unwrap()).collect();
        for handle in &handles {
            let _ = handle.get();
        }
        world.resume(1);
        world.clear_faults();
        // A batch that expired in flight holds its memory until its request has ended.
        let largest = 20_000 - (61 + 21 + 1 + 3 + 1);
        until("all of the memory is free", || sized(&producer, largest).is_ok());
    }
    producer.close().unwrap();
}

/// The same deadline for metadata and memory together.
#[test]
fn one_deadline_covers_all_waits_of_a_send() {
    let world = World::with_partitions(1);
    world.create_topic("late", 1);
    let producer = held_up(&world, &[("buffer.memory", "3000"), ("max.block.ms", "400"), ("linger.ms", "0")]);
    let held = sized(&producer, 2500).unwrap();
    let began = Instant::now();
    let error = producer.send(ProducerRecord::new("late", &[b'v'; 2500])).unwrap_err();
    assert!(began.elapsed() >= Duration::from_millis(400) && began.elapsed() < LONG);
    assert!(matches!(error.kind(), SendErrorKind::MetadataTimeout { .. }), "{error:?}");
    world.resume(1);
    held.get().unwrap();
}
