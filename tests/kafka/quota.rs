//! A broker that answers late on purpose, because the client has sent more than it is allowed to.

use kafka_producer::ProducerRecord;

use crate::{
    harness::Kafka,
    sending::{assert_all_arrived_once, places, producer},
};

/// More is sent at once than the quota allows for, and all of it arrives: a pause that a broker asks for is no failure.
pub(crate) fn more_than_is_allowed_arrives_late(kafka: &Kafka) {
    let topic = kafka.create_topic("quota", 2, &[]);
    let client_id = kafka.unused_topic_name("spendthrift");
    kafka.limit_producers(&client_id, QUOTA);
    let producer = producer(kafka, &[("client.id", &client_id), ("request.timeout.ms", "2000")]);
    let text = "x".repeat(1_000);
    let send = |n: usize| {
        let number = n.to_string();
        producer.send(ProducerRecord::new(&topic, &number).key(&text)).expect("the record is good")
    };
    let places = places((0..SECONDS * QUOTA as usize / text.len()).map(send).collect());
    producer.close().expect("everything is acknowledged");
    assert_all_arrived_once(kafka, &topic, &places);
}

/// Bytes a second.
const QUOTA: u32 = 200_000;
/// The broker looks back for eleven seconds, so that as much as that may come at once.
const SECONDS: usize = 13;
