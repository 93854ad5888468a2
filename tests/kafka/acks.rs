//! Acknowledgements by fewer brokers than all, or by none.

use std::time::Duration;

use kafka_producer::ProducerRecord;

use crate::{
    harness::{Kafka, poll_until},
    sending::{assert_all_arrived_once, places, producer},
};

/// With `acks=0` a record is done when it was written to the socket, and nobody knows its offset.
pub(crate) fn without_acknowledgements(kafka: &Kafka) {
    let topic = kafka.create_topic("acks-0", 2, &[]);
    let producer = producer(kafka, &[("acks", "0")]);
    for n in 0..RECORDS {
        let value = n.to_string();
        let future = producer.send(ProducerRecord::new(&topic, &value)).unwrap();
        if n % 100 == 0 {
            let metadata = future.get().unwrap();
            assert_eq!((metadata.offset(), metadata.has_offset()), (-1, false));
            assert!((0..2).contains(&metadata.partition()), "{metadata:?}");
        }
    }
    producer.close().expect("everything is written to a socket");
    let arrived = || kafka.end_offsets(&topic).values().sum::<i64>();
    // Nothing tells when the broker has appended the last of them.
    let all = poll_until(Duration::from_secs(60), || (arrived() >= RECORDS as i64).then_some(()));
    assert!(all.is_some(), "{} of {RECORDS} records arrived", arrived());

    let mut values: Vec<usize> = kafka
        .consume(&topic)
        .into_iter()
        .map(|record| String::from_utf8(record.value.unwrap()).unwrap().parse().unwrap())
        .collect();
    values.sort_unstable();
    assert_eq!(values.len(), RECORDS);
    let wrong = values.iter().zip(0..).find(|&(&value, n)| value != n);
    assert_eq!(wrong, None, "the first value that is not the next one, and the next one");
}

pub(crate) fn of_the_leader_alone(kafka: &Kafka) {
    let topic = kafka.create_topic("acks-1", 2, &[]);
    let producer = producer(kafka, &[("acks", "1")]);
    let send = |n: usize| producer.send(ProducerRecord::new(&topic, &n.to_string())).unwrap();
    let places = places((0..RECORDS).map(send).collect());
    assert_all_arrived_once(kafka, &topic, &places);
}

const RECORDS: usize = 2_000;
