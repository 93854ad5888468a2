//! close: everything that was accepted has its answer afterwards, whoever calls it, however often, and in whatever state.

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use kafka_producer::{DeliveryCause, FlushError, ProducerRecord, SendErrorKind, testing::Api};

use crate::harness::{LONG, World, arrived, build, quick, send, send_to};

#[test]
fn it_sends_what_there_is_and_then_accepts_nothing() {
    let world = World::with_partitions(3);
    let producer = world.producer(&[("linger.ms", "60000")]);
    let handles: Vec<_> = (0..300).map(|i| send_to(&producer, i % 3, &i.to_string())).collect();
    producer.close().unwrap();
    assert!(handles.iter().all(|handle| handle.try_get().is_some_and(|outcome| outcome.is_ok())));
    assert_eq!(world.record_count("t"), 300);

    let closed = [
        producer.send(ProducerRecord::new("t", "v")).map(drop),
        producer.send_with(ProducerRecord::new("t", "v"), |_| panic!("it was refused")).map(drop),
        producer.try_send(ProducerRecord::new("t", "v")).map(drop),
        producer.send(ProducerRecord::new("unheard-of", "v")).map(drop),
        producer.partitions_for("t").map(drop),
        producer.clone().send(ProducerRecord::new("t", "v")).map(drop),
    ];
    for refused in closed {
        let error = refused.unwrap_err();
        assert!(matches!(error.kind(), SendErrorKind::Closed), "{error:?}");
        assert!(error.to_string().contains("closed") && error.is_fatal() && !error.is_retriable());
    }
    assert_eq!(world.record_count("t"), 300);
}

#[test]
fn a_second_call_returns_at_once() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[]);
    send(&producer, "v");
    producer.close().unwrap();
    producer.close().unwrap();
    producer.close_timeout(Duration::ZERO).unwrap();
    producer.clone().close().unwrap();
    drop(producer);
    assert_eq!(world.values("t"), ["v"]);
}

#[test]
fn two_threads_can_close_at_once() {
    let world = World::with_partitions(1);
    for _ in 0..20 {
        let producer = world.producer(&[]);
        let handle = send(&producer, "v");
        thread::scope(|scope| {
            let closers: Vec<_> = (0..2).map(|_| scope.spawn(|| producer.close())).collect();
            for closer in closers {
                closer.join().unwrap().unwrap();
            }
        });
        handle.try_get().expect("both wait until the end").unwrap();
    }
    assert_eq!(world.record_count("t"), 20);
}

#[test]
fn one_that_was_never_used_closes_and_drops() {
    let world = World::with_partitions(1);
    world.producer(&[]).close().unwrap();
    world.producer(&[]).close_timeout(Duration::ZERO).expect("no record had to be failed");
    drop(world.producer(&[]));
    build(quick("127.0.0.1:1"), &[]).close().unwrap();
    assert_eq!(world.connection_count(), 0);
}

#[test]
fn without_time_everything_fails_and_nothing_is_sent() {
    for _ in 0..50 {
        let world = World::with_partitions(1);
        let producer = world.producer(&[("linger.ms", "60000")]);
        let handles: Vec<_> = (0..100).map(|i| send(&producer, &i.to_string())).collect();
        let error = producer.close_timeout(Duration::ZERO).unwrap_err();
        assert!(matches!(error, FlushError::TimedOut { what: "close", .. }), "{error:?}");
        for handle in handles {
            let error = handle.try_get().expect("it is over").unwrap_err();
            assert!(matches!(error.cause(), DeliveryCause::Closed), "{error:?}");
            assert_eq!((error.topic(), error.may_have_been_written()), ("t", false), "{error}");
            assert!(error.is_fatal() && !error.is_retriable());
        }
        assert_eq!((world.record_count("t"), world.request_count(Api::Produce)), (0, 0));
    }
}

#[test]
fn with_a_limit_it_fails_what_is_not_answered() {
    let world = World::with_brokers(2);
    let producer = world.producer(&[]);
    arrived(&[send_to(&producer, 0, "first"), send_to(&producer, 1, "first")]);
    world.stall(2);
    let held = send_to(&producer, 1, "held");
    let good = send_to(&producer, 0, "good");
    let began = Instant::now();
    let error = producer.close_timeout(Duration::from_millis(300)).unwrap_err();
    assert!(began.elapsed() >= Duration::from_millis(300) && began.elapsed() < LONG);
    assert!(
        matches!(error, FlushError::TimedOut { what: "close", .. }) && error.to_string().contains("300ms")
    );
    good.try_get().unwrap().unwrap();
    let error = held.try_get().unwrap().unwrap_err();
    assert!(matches!(error.cause(), DeliveryCause::Closed), "{error:?}");
    assert!(error.may_have_been_written(), "it was on its way: {error}");
}

#[test]
fn with_a_dead_broker_it_returns_in_time() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[]);
    send(&producer, "first").get().unwrap();
    world.stop(1);
    let handles: Vec<_> = (0..10).map(|i| send(&producer, &i.to_string())).collect();
    let began = Instant::now();
    producer.close_timeout(Duration::from_millis(500)).unwrap_err();
    assert!(began.elapsed() >= Duration::from_millis(500) && began.elapsed() < LONG);
    for handle in handles {
        assert!(matches!(handle.try_get().unwrap().unwrap_err().cause(), DeliveryCause::Closed));
    }
}

/// Then the records' own limit is what ends it.
#[test]
fn without_a_limit_it_waits_for_the_delivery_timeout() {
    let world = World::with_partitions(1);
    let settings = [("request.timeout.ms", "200"), ("delivery.timeout.ms", "500"), ("linger.ms", "0")];
    let producer = world.producer(&settings);
    send(&producer, "first").get().unwrap();
    world.stop(1);
    let handle = send(&producer, "v");
    producer.close().unwrap();
    let error = handle.try_get().unwrap().unwrap_err();
    assert!(matches!(error.cause(), DeliveryCause::DeliveryTimeout { .. }), "{error:?}");
}

/// At once, and not when the close has come to its end.
#[test]
fn a_send_that_waits_for_memory_is_refused() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[("buffer.memory", "2000"), ("linger.ms", "0")]);
    send(&producer, "first").get().unwrap();
    world.stall(1);
    let large = [b'v'; 1500];
    let held = producer.send(ProducerRecord::new("t", &large)).unwrap();
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    // From outside nobody can tell that it waits; but a try that is refused says that it would have to.
                    assert!(producer.try_send(ProducerRecord::new("t", &large)).is_err());
                    tell.send(()).unwrap();
                    let error = producer.send(ProducerRecord::new("t", &large)).unwrap_err();
                    assert!(matches!(error.kind(), SendErrorKind::Closed), "{error:?}");
                })
            })
            .collect();
        (0..3).for_each(|_| told.recv_timeout(LONG).unwrap());
        let close = scope.spawn(|| producer.close());
        for waiter in waiters {
            waiter.join().unwrap();
        }
        assert!(!close.is_finished() && !held.is_done());
        world.resume(1);
        close.join().unwrap().unwrap();
    });
    held.get().unwrap();
}

#[test]
fn a_send_that_waits_for_metadata_is_refused() {
    let world = World::with_brokers(2);
    let producer = world.producer(&[]);
    arrived(&[send_to(&producer, 0, "first"), send_to(&producer, 1, "first")]);
    thread::scope(|scope| {
        let asked = world.request_count(Api::Metadata);
        let send = || producer.send(ProducerRecord::new("missing", "v")).map(drop);
        let senders: Vec<_> = (0..3).map(|_| scope.spawn(send)).collect();
        assert!(world.wait_for_requests(Api::Metadata, asked + 3, LONG), "they wait");
        // Not earlier: the broker that holds up the close may be the one that is asked for metadata.
        world.stall(2);
        let held = send_to(&producer, 1, "held");
        let close = scope.spawn(|| producer.close());
        for sender in senders {
            let error = sender.join().unwrap().unwrap_err();
            assert!(matches!(error.kind(), SendErrorKind::Closed), "{error:?}");
        }
        assert!(!close.is_finished() && !held.is_done());
        world.resume(2);
        close.join().unwrap().unwrap();
        held.get().unwrap();
    });
}

#[test]
fn a_second_call_can_end_the_wait_of_the_first() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[]);
    send(&producer, "first").get().unwrap();
    world.stall(1);
    let handle = send(&producer, "held");
    thread::scope(|scope| {
        let patient = scope.spawn(|| producer.close());
        // Whichever of the two came first.
        let _ = producer.close_timeout(Duration::from_millis(100));
        patient.join().unwrap().unwrap();
    });
    assert!(handle.try_get().expect("it is over").is_err());
}

#[test]
fn a_flush_that_waits_is_ended_by_a_close_that_does_not() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[]);
    send(&producer, "first").get().unwrap();
    world.stall(1);
    send(&producer, "held");
    thread::scope(|scope| {
        let flush = scope.spawn(|| producer.flush());
        producer.close_timeout(Duration::from_millis(100)).unwrap_err();
        // Everything it waited for is over: that may be said either way.
        let _ = flush.join().unwrap();
    });
}

#[test]
fn everything_sent_while_somebody_closes_is_answered_or_refused() {
    let world = World::with_partitions(3);
    for round in 0..20 {
        let before = world.record_count("t");
        let producer = world.producer(&[("linger.ms", "1")]);
        let (tell, told) = mpsc::channel();
        let accepted: usize = thread::scope(|scope| {
            let senders: Vec<_> = (0..4)
                .map(|thread| {
                    let (producer, tell) = (&producer, tell.clone());
                    scope.spawn(move || {
                        let mut handles = Vec::new();
                        loop {
                            match producer.send(ProducerRecord::new("t", "v").partition(thread % 3)) {
                                Ok(handle) => handles.push(handle),
                                Err(error) => {
                                    assert!(matches!(error.kind(), SendErrorKind::Closed), "{error:?}");
                                    break;
                                }
                            }
                            if handles.len() == 10 {
                                tell.send(()).unwrap();
                            }
                        }
                        arrived(&handles).len()
                    })
                })
                .collect();
            (0..4).for_each(|_| told.recv_timeout(LONG).unwrap());
            producer.close().unwrap();
            senders.into_iter().map(|sender| sender.join().unwrap()).sum()
        });
        assert_eq!(world.record_count("t") - before, accepted as u64, "round {round}");
    }
}
