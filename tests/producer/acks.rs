//! acks=0 and acks=1, and idempotence switched off: what is promised less, and what is promised still.

use std::time::Duration;

use kafka_producer::{
    Acks, DeliveryCause, ErrorCode, ProducerRecord,
    testing::{Api, Fault},
};

use crate::harness::{LONG, World, arrived, build, send};

#[test]
fn without_acknowledgements_a_handle_knows_no_offset() {
    let world = World::with_partitions(1);
    let producer = build(world.config().acks(Acks::None), &[]);
    let record = ProducerRecord::new("t", "value").key("k").timestamp(1_700_000_000_000);
    let metadata = producer.send(record).unwrap().get().unwrap();
    assert_eq!((metadata.topic(), metadata.partition(), metadata.offset()), ("t", 0, -1));
    assert!(!metadata.has_offset() && metadata.has_timestamp());
    assert_eq!(metadata.timestamp(), 1_700_000_000_000);
    assert_eq!((metadata.serialized_key_size(), metadata.serialized_value_size()), (1, 5));
    assert!(world.wait_for_records("t", 1, LONG));
    assert_eq!(world.request_count(Api::InitProducerId), 0, "there is nothing to number");
    assert_eq!(world.records("t")[0].producer_id, -1);
}

/// Nobody confirms it, so the connection must not be torn away from under what was written.
#[test]
fn without_acknowledgements_a_close_still_sends_everything() {
    let world = World::with_partitions(3);
    for _ in 0..10 {
        let before = world.record_count("t");
        let producer = build(world.config().acks(Acks::None), &[]);
        for i in 0..3000 {
            producer.send(ProducerRecord::new("t", &[b'v'; 500]).partition(i % 3)).unwrap();
        }
        producer.close().unwrap();
        assert!(world.wait_for_records("t", before + 3000, LONG), "{}", world.record_count("t") - before);
    }
}

#[test]
fn without_acknowledgements_a_broker_that_does_not_read_fills_the_memory() {
    let world = World::with_partitions(1);
    let settings = [
        ("buffer.memory", "1000000"),
        ("max.block.ms", "200"),
        ("request.timeout.ms", "60000"),
        ("linger.ms", "0"),
    ];
    let producer = build(world.config().acks(Acks::None), &settings);
    send(&producer, "first").get().unwrap();
    assert!(world.wait_for_records("t", 1, LONG));
    world.stall(1);
    // What the kernel holds is counted as sent; it has room for some megabytes.
    let mut sent = 0;
    while producer.send(ProducerRecord::new("t", &[b'v'; 10_000])).is_ok() {
        sent += 1;
        assert!(sent < 10_000, "the memory has no end");
    }
    world.resume(1);
    producer.close().unwrap();
    assert!(world.wait_for_records("t", 1 + sent, LONG));
}

#[test]
fn of_the_leader_alone() {
    let world = World::with_partitions(1);
    let producer = build(world.config().acks(Acks::Leader), &[]);
    let handles: Vec<_> = (0..1000).map(|i| send(&producer, &i.to_string())).collect();
    let offsets: Vec<_> = arrived(&handles).iter().map(|m| m.offset()).collect();
    assert_eq!(offsets, (0..1000).collect::<Vec<_>>());
    assert_eq!(world.request_count(Api::InitProducerId), 0);
}

/// What was lost on the way may have arrived; a retry writes it twice, and that is what was asked for.
#[test]
fn without_idempotence_a_lost_answer_can_duplicate() {
    let world = World::with_partitions(1);
    let producer = build(world.config().enable_idempotence(false), &[]);
    send(&producer, "first").get().unwrap();
    world.fault(Fault::AppendThenClose);
    assert_eq!(send(&producer, "twice").get().unwrap().offset(), 2);
    assert_eq!(world.values("t"), ["first", "twice", "twice"]);
}

#[test]
fn without_retries_one_failure_is_the_end() {
    let world = World::with_partitions(1);
    let producer = build(world.config().retries(0), &[]);
    send(&producer, "first").get().unwrap();
    world.fail_next(ErrorCode::NOT_ENOUGH_REPLICAS, 1);
    let error = send(&producer, "once").get().unwrap_err();
    assert_eq!((error.code(), error.attempts()), (Some(ErrorCode::NOT_ENOUGH_REPLICAS), 1), "{error}");
    assert!(error.is_retriable() && !error.may_have_been_written());

    world.fault(Fault::Close);
    let error = send(&producer, "lost").get().unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NETWORK_EXCEPTION), "{error}");
    assert!(error.may_have_been_written(), "nobody can say: {error}");
    send(&producer, "last").get().unwrap();
    assert_eq!(world.values("t"), ["first", "last"]);
}

/// One request in flight keeps the order of a producer that numbers nothing.
#[test]
fn one_in_flight_keeps_the_order_without_idempotence() {
    let world = World::with_partitions(1);
    let settings =
        [("max.in.flight.requests.per.connection", "1"), ("batch.size", "200"), ("linger.ms", "0")];
    let producer = build(world.config().enable_idempotence(false), &settings);
    for _ in 0..5 {
        world.fault(Fault::Error(ErrorCode::NOT_ENOUGH_REPLICAS).times(2));
        let handles: Vec<_> = (0..200).map(|i| send(&producer, &format!("{i:05}"))).collect();
        arrived(&handles);
    }
    let expected: Vec<_> = (0..5).flat_map(|_| (0..200).map(|i| format!("{i:05}"))).collect();
    assert_eq!(world.values("t"), expected);
}

#[test]
fn one_in_flight_is_never_more() {
    let world = World::with_partitions(3);
    world.delay(Duration::from_millis(2));
    let settings =
        [("max.in.flight.requests.per.connection", "1"), ("batch.size", "200"), ("linger.ms", "0")];
    let producer = world.producer(&settings);
    let handles: Vec<_> =
        (0..300).map(|i| producer.send(ProducerRecord::new("t", "v").partition(i % 3)).unwrap()).collect();
    arrived(&handles);
}

#[test]
fn times_that_are_as_short_or_as_long_as_can_be_do_no_harm() {
    let world = World::with_partitions(1);
    let longest = "9223372036854775807";
    let producer = world.producer(&[
        ("delivery.timeout.ms", "2147483647"),
        ("request.timeout.ms", "2147483647"),
        ("linger.ms", "0"),
        ("max.block.ms", longest),
        ("drop.timeout.ms", longest),
        ("metadata.max.age.ms", longest),
        ("connections.max.idle.ms", longest),
        ("retry.backoff.max.ms", longest),
        ("reconnect.backoff.max.ms", longest),
        ("socket.connection.setup.timeout.max.ms", longest),
    ]);
    send(&producer, "v").get().unwrap();
    drop(producer);

    let settings = [("delivery.timeout.ms", "0"), ("request.timeout.ms", "0"), ("linger.ms", "0")];
    let hasty = world.producer(&settings);
    let error = hasty.send(ProducerRecord::new("t", "too late"));
    // No answer can arrive in no time: if even the metadata did, the record has expired.
    if let Ok(handle) = error {
        let error = handle.get().unwrap_err();
        assert!(matches!(error.cause(), DeliveryCause::DeliveryTimeout { .. }), "{error:?}");
    }
}
