//! The batches as they lie on the broker's disk.

use kafka_producer::ProducerRecord;

use crate::{
    harness::{Batch, Cluster},
    sending::{assert_all_arrived_once, places, producer},
};

/// An idempotent producer has one id and one epoch for all partitions, and in each its sequence has no gap.
pub(crate) fn every_batch_is_valid_and_in_sequence(cluster: &mut Cluster) {
    let topic = cluster.kafka().create_topic("batches", 3, &[]);
    // Small batches, so that there are many; several in flight, as by default.
    let producer = producer(cluster.kafka(), &[("batch.size", "4096")]);
    let send = |n: usize| {
        let (key, value) = ((n % 100).to_string(), n.to_string());
        producer.send(ProducerRecord::new(&topic, &value).key(&key)).expect("the record is good")
    };
    let places = places((0..RECORDS).map(send).collect());
    producer.close().expect("everything is acknowledged");
    assert_all_arrived_once(cluster.kafka(), &topic, &places);

    let logs = cluster.dump_logs(1, &topic);
    let all: Vec<&Batch> = logs.values().flatten().collect();
    let first = all[0];
    assert!(first.producer_id >= 0 && first.producer_epoch >= 0, "{first:?}");
    for batch in &all {
        assert!(batch.is_valid, "{batch:?}");
        assert_eq!(batch.codec, "none", "{batch:?}");
        let identity = (batch.producer_id, batch.producer_epoch);
        assert_eq!(identity, (first.producer_id, first.producer_epoch), "one producer wrote {batch:?}");
    }
    for (partition, batches) in &logs {
        assert!(batches.len() > 1, "partition {partition} has one batch, and nothing to compare");
        let mut next = 0;
        for batch in batches {
            let count = batch.count;
            assert_eq!(batch.base_sequence, next, "partition {partition}: {batch:?}");
            assert_eq!(batch.last_sequence, next + count - 1, "partition {partition}: {batch:?}");
            assert_eq!(batch.base_offset, i64::from(next), "partition {partition}: {batch:?}");
            assert_eq!(batch.last_offset, i64::from(next + count - 1), "partition {partition}: {batch:?}");
            assert_eq!(batch.records.len() as i32, count, "partition {partition}: {batch:?}");
            for (record, n) in batch.records.iter().zip(next..) {
                assert_eq!(
                    (record.sequence, record.offset),
                    (n, i64::from(n)),
                    "partition {partition}: {batch:?}"
                );
            }
            next += count;
        }
    }
    assert_eq!(all.iter().map(|batch| batch.count as usize).sum::<usize>(), RECORDS);
}

const RECORDS: usize = 20_000;
