//! Limits on the size of a record: exact to the byte, named in the error, and a refused record has taken nothing.

use kafka_producer::{Producer, ProducerRecord, SendError, SendErrorKind, testing::Cluster};

use crate::harness::{World, send};

/// Some key, value and headers, and what they can take at most in a batch of their own: 61 bytes of batch header, 21 of
/// framing at the worst, and each length before its bytes.
struct Shape {
    key: Option<usize>,
    value: Option<usize>,
    headers: usize,
    bound: usize,
}

const SHAPES: [Shape; 6] = [
    Shape { key: None, value: Some(1000), headers: 0, bound: 61 + 21 + 1 + 2 + 1000 + 1 },
    Shape { key: Some(0), value: Some(1000), headers: 0, bound: 61 + 21 + 1 + 2 + 1000 + 1 },
    Shape { key: Some(1000), value: None, headers: 0, bound: 61 + 21 + 2 + 1000 + 1 + 1 },
    Shape { key: Some(63), value: Some(8191), headers: 1, bound: 61 + 21 + 64 + 2 + 8191 + 1 + 7 },
    Shape { key: Some(64), value: Some(8192), headers: 64, bound: 61 + 21 + 66 + 3 + 8192 + 2 + 64 * 7 },
    Shape { key: None, value: Some(300_000), headers: 0, bound: 61 + 21 + 1 + 3 + 300_000 + 1 },
];

impl Shape {
    fn send(&self, producer: &Producer) -> Result<(), SendError> {
        let bytes = vec![b'x'; self.key.max(self.value).unwrap_or_default()];
        let part = |len: Option<usize>| len.map(|len| &bytes[..len]);
        let mut record = ProducerRecord::with_value("t", part(self.value)).with_key(part(self.key));
        for _ in 0..self.headers {
            // 1 + 2 for the name, 1 + 3 for the value.
            record = record.header("nm", "val");
        }
        producer.send(record)?.get().expect("what was accepted can be sent");
        Ok(())
    }
}

#[test]
fn a_record_may_be_as_large_as_a_request_and_not_a_byte_larger() {
    let world = World::with_partitions(1);
    for shape in SHAPES {
        let bound = shape.bound;
        shape.send(&world.producer(&[("max.request.size", &bound.to_string())])).unwrap();
        let error =
            shape.send(&world.producer(&[("max.request.size", &(bound - 1).to_string())])).unwrap_err();
        check_too_large(&error, bound, bound - 1, "max.request.size");
    }
    assert_eq!(world.record_count("t"), SHAPES.len() as u64);
}

#[test]
fn a_record_may_be_as_large_as_the_memory_and_not_a_byte_larger() {
    let world = World::with_partitions(1);
    for shape in SHAPES {
        let bound = shape.bound;
        let producer = world.producer(&[("buffer.memory", &bound.to_string())]);
        for _ in 0..5 {
            shape.send(&producer).unwrap();
        }
        let producer = world.producer(&[("buffer.memory", &(bound - 1).to_string())]);
        for _ in 0..5 {
            check_too_large(&shape.send(&producer).unwrap_err(), bound, bound - 1, "buffer.memory");
        }
        // A refused record has taken nothing of the memory: one that needs nearly all of it still fits.
        let almost = vec![b'x'; bound - 1 - (61 + 21 + 1 + 3 + 1)];
        producer.send(ProducerRecord::new("t", &almost)).unwrap().get().unwrap();
    }
    assert_eq!(world.record_count("t"), 6 * SHAPES.len() as u64);
}

#[test]
fn of_two_limits_the_smaller_one_is_named() {
    let world = World::with_partitions(1);
    let value = vec![b'x'; 3000];
    let bound = 61 + 21 + 1 + 2 + 3000 + 1;
    for (settings, limit, name) in [
        ([("max.request.size", "2000"), ("buffer.memory", "1000000")], 2000, "max.request.size"),
        ([("max.request.size", "1000000"), ("buffer.memory", "2000")], 2000, "buffer.memory"),
    ] {
        let error = world.producer(&settings).send(ProducerRecord::new("t", &value)).unwrap_err();
        check_too_large(&error, bound, limit, name);
    }
}

#[test]
fn sixteen_megabytes_pass_where_everybody_agrees() {
    let world = World::start(Cluster::builder().topic("t", 1).max_message_bytes(20 << 20));
    let producer = world.producer(&[("max.request.size", "20000000")]);
    let value: Vec<u8> = (0..16_000_000_u32).map(|i| (i % 253) as u8).collect();
    producer.send(ProducerRecord::new("t", &value)).unwrap().get().unwrap();
    assert!(world.records("t")[0].value.as_deref() == Some(&value[..]));
}

/// The broker's own limit is not known here: the handle tells, and those behind go on.
#[test]
fn what_only_the_broker_finds_too_large_fails_alone() {
    let world = World::with_partitions(1);
    world.set_max_message_bytes("t", 2000);
    let producer = world.producer(&[("batch.size", "0")]);
    let small = send(&producer, "small");
    let large = producer.send(ProducerRecord::new("t", &[b'x'; 3000])).unwrap();
    let behind = send(&producer, "behind");
    small.get().unwrap();
    let error = large.get().unwrap_err();
    assert_eq!(error.code(), Some(kafka_producer::ErrorCode::MESSAGE_TOO_LARGE), "{error}");
    assert!(!error.may_have_been_written() && !error.is_retriable(), "{error}");
    behind.get().unwrap();
    assert_eq!(world.values("t"), ["small", "behind"]);
}

fn check_too_large(error: &SendError, size: usize, limit: usize, setting: &str) {
    let SendErrorKind::RecordTooLarge { topic, size: s, limit: l, setting: n } = error.kind() else {
        panic!("{error:?}")
    };
    assert_eq!((&**topic, *s, *l, *n), ("t", size, limit, setting));
    let text = error.to_string();
    for named in ["\"t\"", &size.to_string(), &limit.to_string(), setting] {
        assert!(text.contains(named), "{text} does not name {named}");
    }
    assert!(!error.is_retriable() && !error.is_fatal() && !error.may_have_been_written());
}
