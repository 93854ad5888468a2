//! The harness looked at with Java's own producer: what these tests see of a cluster is what is there.

use crate::harness::Cluster;

/// What Java's producer wrote is read back whole, and lies on the disk as Java's producer is known to write it.
pub(crate) fn what_java_writes_is_seen(cluster: &mut Cluster) {
    let kafka = cluster.kafka();
    let topic = kafka.create_topic("java", 2, &[]);
    let sent = [("21", "a"), ("foobar", "b"), ("21", "c"), ("abc", "")];
    kafka.produce_with_java(&topic, sent.into_iter());

    let text = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(|b| String::from_utf8_lossy(b).into_owned());
    let seen: Vec<_> = kafka.consume(&topic);
    let mut values: Vec<_> = seen.iter().map(|r| (text(&r.key).unwrap(), text(&r.value).unwrap())).collect();
    values.sort();
    let mut wanted = sent.map(|(key, value)| (key.to_string(), value.to_string()));
    wanted.sort();
    assert_eq!(values, wanted);
    assert!(seen.iter().all(|record| record.headers.is_empty()));

    let logs = cluster.dump_logs(1, &topic);
    assert_eq!(logs.len(), 2);
    for (partition, batches) in logs {
        let here: Vec<_> = seen.iter().filter(|r| r.partition == partition).collect();
        let on_disk: Vec<_> = batches.iter().flat_map(|batch| &batch.records).collect();
        assert_eq!(here.len(), on_disk.len());
        for (seen, logged) in here.iter().zip(on_disk) {
            assert_eq!(seen.offset, logged.offset);
            assert_eq!(seen.value.as_ref().unwrap().len() as i32, logged.value_size);
            assert_eq!(seen.key.as_ref().unwrap().len() as i32, logged.key_size);
        }
        for batch in batches {
            assert!(batch.is_valid && batch.producer_id >= 0 && batch.base_sequence >= 0, "{batch:?}");
        }
    }
}
