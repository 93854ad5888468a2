//! Serializers: what they return is what arrives, and one that fails has cost nothing but the record.

use std::{borrow::Cow, error::Error};

use kafka_producer::{
    BytesSerializer, Headers, JsonSerializer, Producer, ProducerRecord, SendError, SendErrorKind, Serialized,
    Serializer,
};
use serde_json::json;

use crate::harness::World;

/// Makes of an order what a test wants.
enum Order {
    Text(&'static str),
    Null,
    Fail,
    Panic,
    /// A text, and a header of that many bytes.
    Headed(&'static str, usize),
}

struct OrderSerializer;

impl Serializer<Order> for OrderSerializer {
    fn serialize<'a>(&self, topic: &str, headers: &mut Headers, order: &'a Order) -> Serialized<'a> {
        assert_eq!(topic, "t");
        match order {
            Order::Text(text) => Ok(Some(Cow::Borrowed(text.as_bytes()))),
            Order::Null => Ok(None),
            Order::Fail => Err("the order is illegible".into()),
            Order::Panic => panic!("this panic is part of a test"),
            Order::Headed(text, bytes) => {
                headers.add("by-serializer", Some(&vec![b'h'; *bytes]));
                Ok(Some(text.as_bytes().to_vec().into()))
            }
        }
    }
}

fn producer(world: &World, settings: &[(&str, &str)]) -> Producer<Order, Order> {
    let config = settings.iter().fold(world.config(), |config, (name, value)| config.set(name, value));
    Producer::with_serializers(config, OrderSerializer, OrderSerializer).unwrap()
}

fn record<'a>(key: Option<&'a Order>, value: Option<&'a Order>) -> ProducerRecord<'a, Order, Order> {
    ProducerRecord::with_value("t", value).with_key(key)
}

#[test]
fn what_they_return_is_what_arrives() {
    let world = World::with_partitions(1);
    let producer = producer(&world, &[]);
    let metadata =
        producer.send(record(Some(&Order::Text("key")), Some(&Order::Text("value")))).unwrap().get();
    let metadata = metadata.unwrap();
    assert_eq!((metadata.serialized_key_size(), metadata.serialized_value_size()), (3, 5));

    let metadata = producer.send(record(Some(&Order::Null), Some(&Order::Null))).unwrap().get().unwrap();
    assert_eq!((metadata.serialized_key_size(), metadata.serialized_value_size()), (-1, -1));
    // Without a key or a value there is nothing to ask them.
    producer.send(record(None, None)).unwrap().get().unwrap();

    let records = world.records("t");
    assert_eq!((records[0].key_str(), records[0].value_str()), (Some("key"), Some("value")));
    assert_eq!((&records[1].key, &records[1].value), (&None, &None));
    assert_eq!((&records[2].key, &records[2].value), (&None, &None));
}

#[test]
fn one_that_fails_or_panics_takes_the_record_alone() {
    let world = World::with_partitions(1);
    // Room for one record, so that a byte that is not given back is missed.
    let producer = producer(&world, &[("buffer.memory", "1000")]);
    let good = Order::Text("good");
    for (bad, says) in [(Order::Fail, "illegible"), (Order::Panic, "this panic is part of a test")] {
        for _ in 0..50 {
            for (part, refused) in [
                ("key", producer.send(record(Some(&bad), Some(&good)))),
                ("value", producer.send(record(Some(&good), Some(&bad)))),
            ] {
                check_refusal(&refused.unwrap_err(), part, says);
            }
        }
    }
    assert_eq!(world.record_count("t"), 0);
    producer.send(record(None, Some(&Order::Headed("fits", 880)))).unwrap().get().unwrap();
    assert_eq!(world.values("t"), ["fits"]);
}

fn check_refusal(error: &SendError, part: &str, says: &str) {
    assert!(
        matches!(error.kind(), SendErrorKind::Serialization { topic, part: p, .. } if topic == "t" && *p == part),
        "{error:?}"
    );
    assert!(error.to_string().contains(part) && error.to_string().contains("\"t\""), "{error}");
    let source = error.source().expect("what the serializer said").to_string();
    assert!(source.contains(says), "{source}");
    assert!(!error.is_retriable() && !error.is_fatal() && !error.may_have_been_written());
}

#[test]
fn headers_that_they_add_are_sent_and_counted() {
    let world = World::with_partitions(1);
    let producer = producer(&world, &[("max.request.size", "1000")]);
    // 61 + 21 for the batch and the record, a byte for no key, 1 + 4 for the value, 1 for the number of headers,
    // 1 + 13 for the name, 2 + n for the value.
    let fixed = 61 + 21 + 1 + 5 + 1 + 14 + 2;
    let (fits, too_large) = (Order::Headed("text", 1000 - fixed), Order::Headed("text", 1001 - fixed));
    let error = producer.send(record(None, Some(&too_large))).unwrap_err();
    assert!(
        matches!(error.kind(), SendErrorKind::RecordTooLarge { size: 1001, limit: 1000, .. }),
        "{error:?}"
    );
    producer.send(record(None, Some(&fits))).unwrap().get().unwrap();
    let headers = &world.records("t")[0].headers;
    assert_eq!(headers, &[("by-serializer".to_owned(), Some(vec![b'h'; 1000 - fixed]))]);
}

#[test]
fn json_is_what_serde_makes_of_it() {
    let world = World::with_partitions(1);
    let producer: Producer<str, serde_json::Value> =
        Producer::with_serializers(world.config(), BytesSerializer, JsonSerializer).unwrap();
    let order = json!({"apples": 42, "note": "é"});
    let record = ProducerRecord::with_value("t", Some(&order)).with_key(Some("customer"));
    producer.send(record).unwrap().get().unwrap();
    let stored: serde_json::Value =
        serde_json::from_slice(world.records("t")[0].value.as_deref().unwrap()).unwrap();
    assert_eq!(stored, order);
}
