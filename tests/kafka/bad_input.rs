//! What cannot be sent is refused by name, within its time, and harms nothing else.

use std::time::{Duration, Instant};

use kafka_producer::{ErrorCode, ProducerRecord, SendErrorKind};

use crate::{
    harness::{Cluster, Kafka},
    sending::{assert_all_arrived_once, places, producer},
};

/// Our own brokers do not create topics that somebody asks for.
pub(crate) fn a_topic_that_does_not_exist(cluster: &mut Cluster) {
    let kafka = cluster.kafka();
    let missing = kafka.unused_topic_name("missing");
    let producer = producer(kafka, &[("max.block.ms", "1500")]);
    let began = Instant::now();
    let error = producer.send(ProducerRecord::new(&missing, "v")).expect_err("there is no such topic");
    let waited = began.elapsed();

    assert!(
        matches!(error.kind(), SendErrorKind::MetadataTimeout { topic, .. } if *topic == missing),
        "{error:?}"
    );
    let text = error.to_string();
    assert!(text.contains(&missing) && text.contains("max.block.ms"), "{text}");
    assert!(text.contains("UNKNOWN_TOPIC_OR_PARTITION"), "the broker's answer is named: {text}");
    assert!(error.is_retriable() && !error.is_fatal() && !error.may_have_been_written());
    // It may come to exist as long as there is time; and however busy the machine, this is not for ever.
    assert!(waited >= Duration::from_millis(1500), "it gave up after {waited:?}");
    assert!(waited < Duration::from_secs(30), "it waited for {waited:?}");

    let topic = kafka.create_topic("present", 1, &[]);
    producer.send(ProducerRecord::new(&topic, "v")).expect("this one exists").get().unwrap();
}

pub(crate) fn a_partition_that_does_not_exist(kafka: &Kafka) {
    let topic = kafka.create_topic("three-partitions", 3, &[]);
    let producer = producer(kafka, &[("max.block.ms", "1500")]);
    let error = producer.send(ProducerRecord::new(&topic, "v").partition(3)).expect_err("0, 1 and 2 exist");
    let named = matches!(
        error.kind(),
        SendErrorKind::UnknownPartition { topic: t, partition: 3, count: 3, .. } if *t == topic
    );
    assert!(named && error.is_retriable(), "{error:?}");

    let error = producer.send(ProducerRecord::new(&topic, "v").partition(-1)).expect_err("it is negative");
    assert!(matches!(error.kind(), SendErrorKind::InvalidPartition { partition: -1, .. }), "{error:?}");
    producer.send(ProducerRecord::new(&topic, "v").partition(2)).expect("it exists").get().unwrap();
}

/// The broker refuses the record, whose handle says so; the partition's sequence goes on without a gap for the others.
pub(crate) fn a_record_too_large_for_its_topic(kafka: &Kafka) {
    let topic = kafka.create_topic("small-messages", 1, &[("max.message.bytes", "10000")]);
    let producer = producer(kafka, &[]);
    let send =
        |n: usize| producer.send(ProducerRecord::new(&topic, &n.to_string())).expect("the record is good");
    let mut good = places((0..10).map(send).collect());
    let large = ProducerRecord::new(&topic, &[b'x'; 20_000]);
    for round in 1..=3 {
        // Nothing else waits to be sent: the record has a batch of its own.
        let refused = producer.send(large.clone()).expect("the producer's own limit is higher");
        let error = refused.get().expect_err("the topic takes 10000 bytes");
        assert_eq!(error.code(), Some(ErrorCode::MESSAGE_TOO_LARGE), "{error}");
        assert!(!error.is_retriable() && !error.is_fatal() && !error.may_have_been_written(), "{error}");
        assert_eq!((error.topic(), error.partition()), (&*topic, Some(0)));
        good.extend(places((round * 10..(round + 1) * 10).map(send).collect()));
    }
    assert_all_arrived_once(kafka, &topic, &good);
}

/// The broker refuses the batch with the large record; those that shared it are sent again without it, in order.
pub(crate) fn a_record_too_large_among_others(kafka: &Kafka) {
    let topic = kafka.create_topic("small-messages", 1, &[("max.message.bytes", "10000")]);
    // Time enough for the small and the large to meet in one batch.
    let producer = producer(kafka, &[("linger.ms", "200"), ("batch.size", "100000")]);
    let send =
        |n: usize| producer.send(ProducerRecord::new(&topic, &n.to_string())).expect("the record is good");
    let before: Vec<_> = (0..10).map(send).collect();
    let large = producer
        .send(ProducerRecord::new(&topic, &[b'x'; 20_000]))
        .expect("the producer's own limit is higher");
    let after: Vec<_> = (10..20).map(send).collect();

    let error = large.get().expect_err("the topic takes 10000 bytes");
    assert_eq!(error.code(), Some(ErrorCode::MESSAGE_TOO_LARGE), "{error}");
    assert!(!error.is_retriable() && !error.is_fatal() && !error.may_have_been_written(), "{error}");
    assert_eq!((error.topic(), error.partition()), (&*topic, Some(0)));
    let all = before.into_iter().chain(after).chain((20..30).map(send)).collect();
    assert_all_arrived_once(kafka, &topic, &places(all));
}
