//! rskafka, in both its ways: a `BatchProducer` takes single records, a future for each; `PartitionClient::produce`
//! takes batches that its caller made, and sends each at once.
//!
//! It has no idempotence, and a connection for each partition.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Parser;
use futures::stream::{FuturesUnordered, StreamExt};
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
        producer::{BatchProducer, BatchProducerBuilder, aggregator::RecordAggregator},
    },
    record::Record,
};
use tokio::runtime::Runtime;

#[derive(Parser)]
struct RskafkaFlags {
    #[command(flatten)]
    common: Flags,
    /// Make the batches here, instead of by a `BatchProducer`.
    #[arg(long)]
    by_hand: bool,
}

fn main() {
    let RskafkaFlags { common: flags, by_hand } = RskafkaFlags::parse();
    flags.expect_no_compression();
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
    let producer = |partition: &Arc<PartitionClient>| {
        BatchProducerBuilder::new(Arc::clone(partition))
            .with_linger(Duration::from_millis(flags.linger_ms))
            .with_compression(Compression::NoCompression)
            .build(RecordAggregator::new(flags.batch_size))
    };
    let send = |records: u64, until: Option<Instant>| {
        let left = Arc::new(Left { records: AtomicU64::new(records), in_batch, until });
        let mut tasks = Vec::new();
        for partition in &partitions {
            if by_hand {
                tasks.extend((0..in_flight).map(|_| {
                    runtime.spawn(batches(Arc::clone(partition), Arc::clone(&left), value.clone()))
                }));
            } else {
                let at_once = in_flight * in_batch as usize;
                tasks.push(runtime.spawn(singles(
                    producer(partition),
                    Arc::clone(&left),
                    value.clone(),
                    at_once,
                )));
            }
        }
        tasks.into_iter().map(|task| runtime.block_on(task).expect("no task panics")).sum()
    };
    let warmup: u64 = send(u64::MAX, Some(Instant::now() + flags.warmup()));
    let span = Span::begin();
    let records: u64 = send(flags.records, None);
    drive::print("rskafka", None, records, warmup, span.end(), None);
}

/// What all tasks together have still to send.
struct Left {
    records: AtomicU64,
    in_batch: u64,
    until: Option<Instant>,
}

impl Left {
    /// Takes as many records as a batch holds; none if it is too late, or nothing is left.
    fn take(&self) -> u64 {
        if self.until.is_some_and(|until| Instant::now() >= until) {
            return 0;
        }
        let take = |left: u64| Some(left.saturating_sub(self.in_batch));
        let before = self.records.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        self.in_batch.min(before.expect("the update always has a value"))
    }
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

/// Sends batches that are made here, one after the other.
async fn batches(partition: Arc<PartitionClient>, left: Arc<Left>, value: Vec<u8>) -> u64 {
    let mut sent = 0;
    loop {
        let records: Vec<_> = (0..left.take()).map(|_| record(&value)).collect();
        if records.is_empty() {
            return sent;
        }
        sent += records.len() as u64;
        partition.produce(records, Compression::NoCompression).await.expect("the sink acknowledges");
    }
}

/// Sends single records, so many at once.
async fn singles(
    producer: BatchProducer<RecordAggregator>,
    left: Arc<Left>,
    value: Vec<u8>,
    at_once: usize,
) -> u64 {
    let mut sent = 0;
    let mut pending = FuturesUnordered::new();
    loop {
        let records = left.take();
        for _ in 0..records {
            pending.push(producer.produce(record(&value)));
        }
        sent += records;
        while pending.len() >= if records == 0 { 1 } else { at_once } {
            let done = pending.next().await.expect("it is not empty");
            done.expect("the sink acknowledges");
        }
        if records == 0 {
            return sent;
        }
    }
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
