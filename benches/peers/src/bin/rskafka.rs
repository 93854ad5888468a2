//! rskafka: its `PartitionClient::produce` takes batches that its caller made, and sends each at once.
//!
//! It has no idempotence, and one connection for each partition. (Its `BatchProducer` makes batches from single records,
//! and costs more.)

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use clap::Parser;
use kafka_producer_peers::{
    drive,
    flags::{Flags, Mode, Variant},
    measure::{Latency, Span},
    payload, wire,
};
use rskafka::{
    client::{
        ClientBuilder,
        partition::{Compression, PartitionClient, UnknownTopicHandling},
    },
    record::Record,
};
use tokio::runtime::Runtime;

fn main() {
    let flags = Flags::parse();
    drive::only("rskafka", &flags, &[Mode::Throughput, Mode::Latency], &[Variant::Plain]);
    let runtime = Runtime::new().expect("the runtime starts");
    let partitions = runtime.block_on(connect(&flags));
    let value = payload::value(flags.size);

    if flags.mode == Mode::Latency {
        let send = |records: u64, until: Option<Instant>| {
            runtime.block_on(one_by_one(&partitions[0], &value, records, until))
        };
        let warmup = send(u64::MAX, Some(Instant::now() + flags.warmup())).len();
        let span = Span::begin();
        let took = send(flags.records, None);
        drive::print("rskafka", None, flags.records, warmup as u64, span.end(), Latency::of(took));
        return;
    }

    let in_batch = u64::from(wire::records_in_batch(flags.batch_size, flags.size));
    // So many batches of each partition at once as the buffer would hold; beyond that only memory grows.
    let in_flight = flags.buffer_bytes / flags.batch_size / partitions.len();
    let in_flight = in_flight.clamp(1, MOST_IN_FLIGHT);
    let send = |records: u64, until: Option<Instant>| {
        let left = Arc::new(AtomicU64::new(records));
        let tasks: Vec<_> = partitions
            .iter()
            .flat_map(|partition| std::iter::repeat_n(partition, in_flight))
            .map(|partition| {
                let (partition, left, value) = (Arc::clone(partition), Arc::clone(&left), value.clone());
                runtime.spawn(batches(partition, left, in_batch, value, until))
            })
            .collect();
        tasks.into_iter().map(|task| runtime.block_on(task).expect("no task panics")).sum()
    };
    let warmup: u64 = send(u64::MAX, Some(Instant::now() + flags.warmup()));
    let span = Span::begin();
    let records: u64 = send(flags.records, None);
    drive::print("rskafka", None, records, warmup, span.end(), None);
}

async fn connect(flags: &Flags) -> Vec<Arc<PartitionClient>> {
    let client = ClientBuilder::new(vec![flags.bootstrap.clone()]).build().await.expect("the sink answers");
    let mut partitions = Vec::new();
    for partition in 0..flags.partitions as i32 {
        let client = client.partition_client(payload::topic(0), partition, UnknownTopicHandling::Error);
        partitions.push(Arc::new(client.await.expect("the sink has the partition")));
    }
    partitions
}

/// Sends batches, one after the other, while there are records left and it is not too late.
async fn batches(
    partition: Arc<PartitionClient>,
    left: Arc<AtomicU64>,
    in_batch: u64,
    value: Vec<u8>,
    until: Option<Instant>,
) -> u64 {
    let mut sent = 0;
    while until.is_none_or(|until| Instant::now() < until) {
        let before = left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(in_batch)))
            .expect("the update always has a value");
        let records: Vec<_> = (0..in_batch.min(before)).map(|_| record(&value)).collect();
        if records.is_empty() {
            break;
        }
        sent += records.len() as u64;
        partition.produce(records, Compression::NoCompression).await.expect("the sink acknowledges");
    }
    sent
}

async fn one_by_one(
    partition: &PartitionClient,
    value: &[u8],
    records: u64,
    until: Option<Instant>,
) -> Vec<u64> {
    let mut took = Vec::new();
    let mut begun = Instant::now();
    while (took.len() as u64) < records && until.is_none_or(|until| begun < until) {
        partition
            .produce(vec![record(value)], Compression::NoCompression)
            .await
            .expect("the sink acknowledges");
        let now = Instant::now();
        took.push((now - begun).as_nanos() as u64);
        begun = now;
    }
    took
}

fn record(value: &[u8]) -> Record {
    let timestamp = chrono::Utc::now();
    Record { key: None, value: Some(value.to_vec()), headers: BTreeMap::new(), timestamp }
}

/// It leaves Nagle's algorithm on: with few batches on the way, each waits for a delayed acknowledgement.
const MOST_IN_FLIGHT: usize = 32;
