//! Codecs as brokers and Java's consumer see them: each at several levels, read back record by record, and named by the
//! batches on the broker's disk.

use kafka_producer::ProducerRecord;

use crate::{
    harness::{Cluster, Kafka},
    sending::{assert_all_arrived_once, places, producer},
};

/// Brokers open every batch and look at its records; so does the consumer.
pub(crate) fn every_codec_and_level(kafka: &Kafka) {
    for (codec, level) in LEVELS {
        let topic = kafka.create_topic(&format!("codec-{codec}{}", level.unwrap_or("")), 2, &[]);
        send_through(kafka, &topic, codec, *level);
    }
}

/// A topic may insist on a codec of its own: then the broker compresses anew, and has to open ours for that.
pub(crate) fn a_topic_with_another_codec(kafka: &Kafka) {
    for (codec, topics_own) in
        [("lz4", "zstd"), ("zstd", "gzip"), ("gzip", "snappy"), ("snappy", "uncompressed")]
    {
        let topic = kafka.create_topic(&format!("recoded-{codec}"), 2, &[("compression.type", topics_own)]);
        send_through(kafka, &topic, codec, None);
    }
}

pub(crate) fn the_codec_lies_on_the_disk(cluster: &mut Cluster) {
    let codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
    let topics: Vec<String> = codecs
        .iter()
        .map(|codec| {
            let topic = cluster.kafka().create_topic(&format!("disk-{codec}"), 2, &[]);
            send_through(cluster.kafka(), &topic, codec, None);
            topic
        })
        .collect();
    for (codec, topic) in codecs.iter().zip(&topics) {
        let logs = cluster.dump_logs(1, topic);
        let mut batches = logs.values().flatten().peekable();
        assert!(batches.peek().is_some(), "nothing of {topic} lies on the disk");
        for batch in batches {
            assert!(batch.is_valid && batch.codec == *codec, "{topic}: {batch:?}");
        }
    }
}

fn send_through(kafka: &Kafka, topic: &str, codec: &str, level: Option<&str>) {
    let name = format!("compression.{codec}.level");
    let mut settings = vec![("compression.type", codec)];
    settings.extend(level.map(|level| (&*name, level)));
    let producer = producer(kafka, &settings);
    let send = |n: usize| {
        let (key, value) = ((n % 100).to_string(), n.to_string());
        let record = ProducerRecord::new(topic, &value).key(&key).header("wish", &wish_of(n));
        producer.send(record).expect("the record is good")
    };
    let places = places((0..RECORDS).map(send).collect());
    producer.close().expect("everything is acknowledged");
    assert_all_arrived_once(kafka, topic, &places);
}

/// Something to compress that differs from record to record, with a large one among them now and then.
fn wish_of(n: usize) -> String {
    let repeat = if n % 500 == 499 { 3_000 } else { 2 };
    format!("customer-{} wants {} apples; ", n % 13, n * 31 % 1009).repeat(repeat)
}

const RECORDS: usize = 3_000;

const LEVELS: &[(&str, Option<&str>)] = &[
    ("gzip", None),
    ("gzip", Some("1")),
    ("gzip", Some("9")),
    ("snappy", None),
    ("lz4", None),
    ("lz4", Some("1")),
    ("lz4", Some("12")),
    ("zstd", None),
    ("zstd", Some("-7")),
    ("zstd", Some("19")),
];
