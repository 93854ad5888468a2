//! flush: what it waits for, what it does not wait for, and how it ends.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use kafka_producer::{ErrorCode, FlushError};

use crate::harness::{LONG, World, quick, send, send_to};

#[test]
fn everything_sent_before_is_done_after() {
    let world = World::with_partitions(3);
    let producer = world.producer(&[("linger.ms", "60000"), ("batch.size", "1000")]);
    for round in 1..=5 {
        let handles: Vec<_> = (0..300).map(|i| send_to(&producer, i % 3, &i.to_string())).collect();
        producer.flush().unwrap();
        assert!(handles.iter().all(|handle| handle.try_get().is_some_and(|outcome| outcome.is_ok())));
        assert_eq!(world.record_count("t"), 300 * round);
    }
}

#[test]
fn it_covers_the_records_of_other_threads() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[("linger.ms", "60000")]);
    let handles: Vec<_> = thread::scope(|scope| {
        (0..40).map(|_| scope.spawn(|| send(&producer, "v")).join().unwrap()).collect()
    });
    producer.flush().unwrap();
    assert!(handles.iter().all(|handle| handle.is_done()));
}

#[test]
fn many_threads_can_flush_at_once() {
    let world = World::with_partitions(3);
    let producer = world.producer(&[("linger.ms", "60000")]);
    thread::scope(|scope| {
        for thread in 0..8 {
            let producer = producer.clone();
            scope.spawn(move || {
                for i in 0..50 {
                    let handle = send_to(&producer, (thread + i) % 3, "v");
                    producer.flush().unwrap();
                    assert!(handle.is_done());
                }
            });
        }
    });
    assert_eq!(world.record_count("t"), 400);
}

/// With answers that take a while something is in flight all the time, and a flush that waited for a pause would not
/// return before the others stop.
#[test]
fn it_does_not_wait_for_what_others_send_later() {
    let world = World::with_partitions(2);
    let producer = world.producer(&[("linger.ms", "0")]);
    send(&producer, "first").get().unwrap();
    world.delay(Duration::from_millis(20));
    let flushed = AtomicBool::new(false);
    thread::scope(|scope| {
        let stream = scope.spawn(|| {
            while !flushed.load(Ordering::SeqCst) {
                let handles: Vec<_> = (0..10).map(|_| send_to(&producer, 1, "stream")).collect();
                handles[9].get().unwrap();
            }
        });
        for _ in 0..5 {
            let own = send(&producer, "own");
            producer.flush().unwrap();
            assert!(own.is_done());
        }
        flushed.store(true, Ordering::SeqCst);
        stream.join().unwrap();
    });
}

#[test]
fn nothing_to_flush_asks_nobody() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[]);
    producer.flush().unwrap();
    producer.flush_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(world.connection_count(), 0, "and needs no broker");
    send(&producer, "v").get().unwrap();
    producer.flush().unwrap();
}

#[test]
fn with_a_limit_it_gives_up_and_the_records_go_on() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[]);
    send(&producer, "first").get().unwrap();
    world.stall(1);
    let handle = send(&producer, "held");
    let began = Instant::now();
    let error = producer.flush_timeout(Duration::from_millis(100)).unwrap_err();
    assert!(began.elapsed() >= Duration::from_millis(100) && began.elapsed() < LONG);
    assert!(
        matches!(error, FlushError::TimedOut { what: "flush", limit } if limit == Duration::from_millis(100))
    );
    assert!(error.to_string().contains("100ms") && error.is_retriable() && !error.is_fatal(), "{error}");
    assert!(matches!(producer.flush_timeout(Duration::ZERO), Err(FlushError::TimedOut { .. })));
    assert!(!handle.is_done());
    world.resume(1);
    producer.flush().unwrap();
    handle.get().unwrap();
}

#[test]
fn it_does_not_judge_what_became_of_the_records() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[("linger.ms", "60000")]);
    world.fail_next(ErrorCode::TOPIC_AUTHORIZATION_FAILED, 1);
    let handle = send(&producer, "v");
    producer.flush().unwrap();
    assert!(handle.try_get().expect("it is done").is_err());
}

/// The wait has no limit of its own: the records have.
#[test]
fn it_ends_with_the_records_if_no_broker_answers() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[
        ("request.timeout.ms", "300"),
        ("delivery.timeout.ms", "600"),
        ("linger.ms", "0"),
        ("max.block.ms", "5000"),
    ]);
    send(&producer, "first").get().unwrap();
    world.stop(1);
    let handle = send(&producer, "v");
    producer.flush().unwrap();
    assert!(handle.try_get().expect("it is done").unwrap_err().is_retriable());
}

#[test]
fn after_a_close_there_is_nothing_to_wait_for() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[]);
    send(&producer, "v").get().unwrap();
    producer.close().unwrap();
    let error = producer.flush().unwrap_err();
    assert!(matches!(error, FlushError::Closed) && error.is_fatal(), "{error:?}");
    assert!(matches!(producer.flush_timeout(Duration::from_secs(5)), Err(FlushError::Closed)));
    let unused = crate::harness::build(quick("127.0.0.1:1"), &[]);
    unused.close().unwrap();
    assert!(matches!(unused.flush(), Err(FlushError::Closed)));
}
