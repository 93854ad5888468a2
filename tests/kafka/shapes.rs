//! What a record can look like, and that it still looks like that when Java's consumer reads it.

use kafka_producer::{Headers, ProducerRecord};

use crate::{
    harness::{Kafka, Timestamp},
    sending::producer,
};

pub(crate) fn null_is_not_empty(kafka: &Kafka) {
    let topic = kafka.create_topic("null-or-empty", 1, &[]);
    let producer = producer(kafka, &[]);
    let pairs = [
        (None, None),
        (None, Some("")),
        (None, Some("v")),
        (Some(""), None),
        (Some(""), Some("")),
        (Some("k"), Some("v")),
    ];
    for ((key, value), offset) in pairs.into_iter().zip(0..) {
        let record = match value {
            Some(value) => ProducerRecord::new(&topic, value),
            None => ProducerRecord::tombstone(&topic),
        };
        let record = match key {
            Some(key) => record.key(key),
            None => record,
        };
        let metadata = producer.send(record).unwrap().get().unwrap();
        let size = |part: Option<&str>| part.map_or(-1, |text| text.len() as i32);
        assert_eq!(metadata.serialized_key_size(), size(key));
        assert_eq!(metadata.serialized_value_size(), size(value));
        assert_eq!((metadata.topic(), metadata.partition(), metadata.offset()), (&*topic, 0, offset));
    }
    let read: Vec<_> = kafka.consume(&topic).into_iter().map(|record| (record.key, record.value)).collect();
    let bytes = |part: Option<&str>| part.map(|text| text.as_bytes().to_vec());
    assert_eq!(read, pairs.map(|(key, value)| (bytes(key), bytes(value))));
}

pub(crate) fn any_bytes_arrive_as_they_are(kafka: &Kafka) {
    let topic = kafka.create_topic("any-bytes", 1, &[]);
    let producer = producer(kafka, &[]);
    // But for those five that separate fields in the text that the consumer prints.
    let alphabet: Vec<u8> = (0..=255).filter(|byte| !(0x1c..=0x1f).contains(byte)).collect();
    let long: Vec<u8> = alphabet.iter().copied().cycle().take(300_000).collect();
    for value in [&alphabet, &long] {
        producer.send(ProducerRecord::new(&topic, value).key(&alphabet)).unwrap().get().unwrap();
    }
    let read = kafka.consume(&topic);
    assert!(read.iter().all(|record| record.key.as_ref() == Some(&alphabet)), "the key of both records");
    let values: Vec<_> = read.into_iter().map(|record| record.value.unwrap()).collect();
    assert!(values == [alphabet, long], "lengths {:?}", values.iter().map(Vec::len).collect::<Vec<_>>());
}

pub(crate) fn headers_keep_order_and_nulls(kafka: &Kafka) {
    let topic = kafka.create_topic("headers", 1, &[]);
    let producer = producer(kafka, &[]);
    let pairs = [
        ("trace", Some(&b"a1"[..])),
        ("empty", Some(b"")),
        ("null", None),
        ("trace", Some(b"a2")),
        ("\u{e9}", Some(b"\xff")),
    ];
    let headers: Headers = pairs.into_iter().collect();
    let first = producer.send(ProducerRecord::new(&topic, "v").headers(headers)).unwrap();
    let second = producer.send(ProducerRecord::new(&topic, "w")).unwrap();
    producer.flush().unwrap();
    assert!(first.is_done() && second.is_done(), "flush waits for what was sent before it");

    let read = kafka.consume(&topic);
    let wanted = pairs.map(|(name, value)| (name.to_string(), value.map(<[u8]>::to_vec)));
    assert_eq!(read[0].headers, wanted);
    assert!(read[1].headers.is_empty());
}

pub(crate) fn a_partition_that_is_named_is_used(kafka: &Kafka) {
    let topic = kafka.create_topic("named-partition", 4, &[]);
    let producer = producer(kafka, &[]);
    for partition in [3, 0, 2, 3] {
        // The same key everywhere: it has no say.
        let record = ProducerRecord::new(&topic, "v").key("k").partition(partition);
        let metadata = producer.send(record).unwrap().get().unwrap();
        assert_eq!(metadata.partition(), partition);
    }
    let partitions: Vec<_> = kafka.consume(&topic).iter().map(|record| record.partition).collect();
    assert_eq!(partitions, [0, 2, 3, 3]);
}

pub(crate) fn a_timestamp_that_is_given_is_kept(kafka: &Kafka) {
    let topic = kafka.create_topic("timestamps", 1, &[]);
    let producer = producer(kafka, &[]);
    // Going back in time is allowed, also inside a batch.
    let times = [1_700_000_000_123, 1_600_000_000_000, 0, 1_700_000_000_124];
    let pending: Vec<_> = times
        .iter()
        .map(|&time| producer.send(ProducerRecord::new(&topic, "v").timestamp(time)).unwrap())
        .collect();
    let acknowledged: Vec<_> = pending.iter().map(|future| future.get().unwrap().timestamp()).collect();
    assert_eq!(acknowledged, times);
    let read: Vec<_> = kafka.consume(&topic).iter().map(|record| record.timestamp).collect();
    assert_eq!(read, times.map(Timestamp::Create));
}

pub(crate) fn the_broker_may_set_the_timestamp(kafka: &Kafka) {
    let topic = kafka.create_topic("append-time", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let producer = producer(kafka, &[]);
    let metadata = producer.send(ProducerRecord::new(&topic, "v").timestamp(1)).unwrap().get().unwrap();
    assert!(metadata.timestamp() > 1_700_000_000_000, "{metadata:?}");
    assert_eq!(kafka.consume(&topic)[0].timestamp, Timestamp::LogAppend(metadata.timestamp()));
}
