//! What a record is made of arrives as it was given: absent, empty, large, many, and when.

use std::time::{SystemTime, UNIX_EPOCH};

use kafka_producer::{Headers, ProducerRecord, SendErrorKind};

use crate::harness::{World, arrived, send};

#[test]
fn absent_is_not_empty() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[]);
    let mut headers = Headers::new();
    headers.add("absent", None);
    headers.add("empty", Some(b""));
    headers.add("", Some(b"an empty name"));
    let shapes = [
        (None, None),
        (None, Some(&b""[..])),
        (Some(&b""[..]), None),
        (Some(b""), Some(b"")),
        (Some(b"\0\xff"), Some(b"\xfe\0")),
    ];
    for (index, (key, value)) in shapes.into_iter().enumerate() {
        let record = ProducerRecord::with_value("t", value).with_key(key).headers(headers.clone());
        let metadata = producer.send(record).unwrap().get().unwrap();
        let length = |bytes: Option<&[u8]>| bytes.map_or(-1, |bytes| bytes.len() as i32);
        assert_eq!(
            (metadata.offset(), metadata.serialized_key_size(), metadata.serialized_value_size()),
            (index as i64, length(key), length(value))
        );
    }
    for (record, (key, value)) in world.records("t").iter().zip(shapes) {
        assert_eq!((record.key.as_deref(), record.value.as_deref()), (key, value));
        let header = |name: &str, value: Option<&[u8]>| (name.to_owned(), value.map(<[u8]>::to_vec));
        assert_eq!(
            record.headers,
            [header("absent", None), header("empty", Some(b"")), header("", Some(b"an empty name"))]
        );
    }
    assert_eq!(world.records("t").len(), shapes.len());
}

#[test]
fn ten_thousand_headers_keep_their_order_and_a_large_one_its_bytes() {
    let world = World::with_partitions(1);
    world.set_max_message_bytes("t", 4 << 20);
    let producer = world.producer(&[("max.request.size", "4000000")]);
    let mut headers = Headers::new();
    for index in 0..10_000 {
        // Names repeat, and their order is all that tells them apart.
        headers.add(["a", "b", "c"][index % 3], Some(index.to_string().as_bytes()));
    }
    producer.send(ProducerRecord::new("t", "many").headers(headers)).unwrap().get().unwrap();
    let large: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 251) as u8).collect();
    producer.send(ProducerRecord::new("t", "large").header("h", &large)).unwrap().get().unwrap();

    let records = world.records("t");
    let many = records[0].headers.iter().enumerate();
    assert!(records[0].headers.len() == 10_000);
    for (index, (name, value)) in many {
        assert_eq!(
            (name.as_str(), value.as_deref()),
            (["a", "b", "c"][index % 3], Some(index.to_string().as_bytes()))
        );
    }
    assert!(records[1].header("h") == Some(Some(&large[..])));
}

/// Also when they go back, or leap as far as an i64 goes, within one batch.
#[test]
fn timestamps_are_kept_to_the_millisecond() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[("linger.ms", "60000")]);
    let given = [1_700_000_000_000, 0, i64::MAX, 1, i64::MAX - 1, 1_699_999_999_999, 1_700_000_000_001];
    let record = ProducerRecord::new("t", "v");
    let handles: Vec<_> =
        given.iter().map(|&time| producer.send(record.clone().timestamp(time)).unwrap()).collect();
    producer.flush().unwrap();
    let told: Vec<_> = arrived(&handles).iter().map(|m| m.timestamp()).collect();
    let stored: Vec<_> = world.records("t").iter().map(|r| r.timestamp).collect();
    assert_eq!((&told[..], &stored[..]), (&given[..], &given[..]));
    assert_eq!(world.batches("t").len(), 1);
}

#[test]
fn a_negative_timestamp_is_refused() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[]);
    for timestamp in [-1, i64::MIN] {
        let error = producer.send(ProducerRecord::new("t", "v").timestamp(timestamp)).unwrap_err();
        assert!(matches!(error.kind(), SendErrorKind::InvalidTimestamp { timestamp: t } if *t == timestamp));
        assert!(error.to_string().contains(&timestamp.to_string()), "{error}");
    }
    send(&producer, "good").get().unwrap();
    assert_eq!(world.values("t"), ["good"]);
}

#[test]
fn without_a_timestamp_it_is_the_time_of_the_send() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[("linger.ms", "20")]);
    // Metadata takes time, and is not what is asked for here.
    send(&producer, "first").get().unwrap();
    let before = millis();
    let handles: Vec<_> = (0..1000).map(|i| send(&producer, &i.to_string())).collect();
    let after = millis();
    for metadata in arrived(&handles) {
        assert!((before - 20..=after).contains(&metadata.timestamp()), "{before} {after} {metadata:?}");
    }
    for record in &world.records("t")[1..] {
        assert!((before - 20..=after).contains(&record.timestamp));
    }
}

#[test]
fn a_topic_may_go_by_the_time_of_its_broker() {
    let world = World::with_partitions(1);
    world.set_log_append_time("t", true);
    let producer = world.producer(&[("linger.ms", "60000")]);
    let record = ProducerRecord::new("t", "v");
    let handles: Vec<_> = (0..10).map(|i| producer.send(record.clone().timestamp(i)).unwrap()).collect();
    producer.flush().unwrap();
    let stored: Vec<_> = world.records("t").iter().map(|r| r.timestamp).collect();
    let told: Vec<_> = arrived(&handles).iter().map(|m| m.timestamp()).collect();
    assert_eq!(told, stored);
    assert!(told.iter().all(|&time| time > 1_000_000_000_000), "{told:?}");
}

fn millis() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}
