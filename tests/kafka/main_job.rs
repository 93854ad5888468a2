//! The main job: many records from several threads, each on its partition, in order, all of them and none twice.

use std::{collections::HashMap, thread};

use kafka_producer::ProducerRecord;
use sha2::{Digest, Sha256};

use crate::{
    harness::Kafka,
    sending::{Place, places, producer},
};

pub(crate) fn a_million_records_of_four_threads(kafka: &Kafka) {
    main_job(kafka, 250_000);
}

pub(crate) fn twenty_thousand_records_of_four_threads(kafka: &Kafka) {
    main_job(kafka, 5_000);
}

fn main_job(kafka: &Kafka, per_thread: usize) {
    let topic = kafka.create_topic("main-job", PARTITIONS, &[]);
    let placed = send_from_all_threads(kafka, &topic, per_thread);

    let mut values = Vec::with_capacity(THREADS * per_thread);
    let mut partition_of = HashMap::new();
    let mut next_of_key: HashMap<String, usize> = HashMap::new();
    kafka.read_all(&topic, |record| {
        let value: [u8; SIZE] =
            record.value.and_then(|v| v.try_into().ok()).expect("values of one size were sent");
        let key = std::str::from_utf8(record.key.expect("every record has a key")).expect("keys are text");
        let (thread, n) = sender_of(&value);
        assert_eq!(key, key_of(thread, n), "the key of record {n} of thread {thread}");
        assert_eq!(
            (record.partition, record.offset),
            placed[thread][n],
            "where record {n} of thread {thread} is said to be"
        );

        let next = next_of_key.entry(key.into()).or_insert(first_with_key_of(n));
        assert_eq!(n, *next, "the next record with key {key}");
        *next = next_with_key_of(n);
        let partition = *partition_of.entry(key.to_string()).or_insert(record.partition);
        assert_eq!(record.partition, partition, "the partition of key {key}");
        values.push(value);
    });

    values.sort_unstable();
    // Values begin with the thread and the number: the order of sending is the sorted one.
    let sent = (0..THREADS).flat_map(|thread| (0..per_thread).map(move |n| value_of(thread, n)));
    assert_eq!(values.len(), THREADS * per_thread, "records read back");
    assert_eq!(sha256(values.iter().copied()), sha256(sent), "the SHA-256 of all values, sorted");
    assert_eq!(partition_of, partitions_of_java(kafka, partition_of.keys()), "the partition of each key");
}

/// Returns where each thread's records were acknowledged.
fn send_from_all_threads(kafka: &Kafka, topic: &str, per_thread: usize) -> Vec<Vec<Place>> {
    let producer = producer(kafka, &[]);
    let placed = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let producer = producer.clone();
                scope.spawn(move || {
                    let send = |n| {
                        let (key, value) = (key_of(thread, n), value_of(thread, n));
                        producer
                            .send(ProducerRecord::new(topic, &value).key(&key))
                            .expect("the record is good")
                    };
                    places((0..per_thread).map(send).collect())
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    producer.close().expect("everything is acknowledged");
    placed
}

/// Where Java's console producer puts the same keys, in a topic of as many partitions.
fn partitions_of_java<'a>(kafka: &Kafka, keys: impl Iterator<Item = &'a String>) -> HashMap<String, i32> {
    let topic = kafka.create_topic("java-places", PARTITIONS, &[]);
    kafka.produce_with_java(&topic, keys.map(|key| (&**key, "")));
    let mut partitions = HashMap::new();
    kafka.read_all(&topic, |record| {
        let key = String::from_utf8_lossy(record.key.expect("every record has a key")).into_owned();
        partitions.insert(key, record.partition);
    });
    partitions
}

/// Each key comes several times in a row, which shows whether neighbours change places, and again after all others.
fn key_of(thread: usize, n: usize) -> String {
    format!("{thread}-key-{}", n / RUN % KEYS_PER_THREAD)
}

fn first_with_key_of(n: usize) -> usize {
    n / RUN % KEYS_PER_THREAD * RUN
}

fn next_with_key_of(n: usize) -> usize {
    let ends_a_run = (n + 1).is_multiple_of(RUN);
    n + 1 + if ends_a_run { (KEYS_PER_THREAD - 1) * RUN } else { 0 }
}

fn value_of(thread: usize, n: usize) -> [u8; SIZE] {
    let noise = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let text = format!("{thread}-{n:09}-{noise:0>88x}");
    text.into_bytes().try_into().expect("the fields fill a value")
}

fn sender_of(value: &[u8; SIZE]) -> (usize, usize) {
    let text = std::str::from_utf8(value).expect("values are text");
    let mut fields = text.split('-').map(|field| field.parse().expect("a value begins with two numbers"));
    (fields.next().expect("the thread"), fields.next().expect("the number"))
}

fn sha256(values: impl Iterator<Item = [u8; SIZE]>) -> String {
    let mut hash = Sha256::new();
    values.for_each(|value| hash.update(value));
    format!("{:x}", hash.finalize())
}

const THREADS: usize = 4;
const PARTITIONS: i32 = 6;
const KEYS_PER_THREAD: usize = 1_000;
const RUN: usize = 4;
const SIZE: usize = 100;
