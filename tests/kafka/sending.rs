//! What the tests do again and again with a producer, and what they demand of the outcome.

use kafka_producer::{DeliveryFuture, Producer, ProducerConfig};

use crate::harness::Kafka;

/// A producer for a cluster, with settings by their names.
pub(crate) fn producer(kafka: &Kafka, settings: &[(&str, &str)]) -> Producer {
    let config = ProducerConfig::new(kafka.bootstrap());
    let config = settings.iter().fold(config, |config, (name, value)| config.set(name, value));
    Producer::new(config).expect("the settings are good")
}

/// Where a record lies, as its acknowledgement says.
pub(crate) type Place = (i32, i64);

/// Waits for every acknowledgement, and fails at the first that is an error.
pub(crate) fn places(pending: Vec<DeliveryFuture>) -> Vec<Place> {
    let place = |(n, future): (usize, DeliveryFuture)| match future.get() {
        Ok(metadata) => (metadata.partition(), metadata.offset()),
        Err(e) => panic!("record {n} was not delivered: {e}"),
    };
    pending.into_iter().enumerate().map(place).collect()
}

/// Demands of a topic whose records have their number as value, sent in that order by one thread: each lies where its
/// acknowledgement said, none twice, none that was not sent, and each partition in the order of sending.
pub(crate) fn assert_all_arrived_once(kafka: &Kafka, topic: &str, places: &[Place]) {
    let mut seen = vec![false; places.len()];
    let mut last = std::collections::BTreeMap::new();
    kafka.read_all(topic, |record| {
        let value = record.value.and_then(|v| std::str::from_utf8(v).ok()?.parse::<usize>().ok());
        let n = value.filter(|&n| n < places.len()).unwrap_or_else(|| panic!("nobody sent {record:?}"));
        assert!(!seen[n], "record {n} was written twice: the second time at {record:?}");
        seen[n] = true;
        assert_eq!(
            (record.partition, record.offset),
            places[n],
            "where record {n} is, and where it is said to be"
        );
        if let Some(before) = last.insert(record.partition, n) {
            assert!(before < n, "in partition {} record {n} comes after {before}", record.partition);
        }
    });
    let lost: Vec<_> = (0..seen.len()).filter(|&n| !seen[n]).collect();
    assert!(
        lost.is_empty(),
        "{} acknowledged records are lost, the first ones {:?}",
        lost.len(),
        &lost[..lost.len().min(10)]
    );
}
