//! What single steps cost the thread that takes them, without a broker's part in it: records are collected and not sent
//! while the clock runs. The whole way to a broker, beside other producers, is measured in `benches/peers`.
//!
//! `cargo bench --bench micro`

use std::{hint::black_box, sync::LazyLock, time::Duration};

use divan::{Bencher, counter::ItemsCount};
use kafka_producer::{
    DeliveryFuture, Producer, ProducerConfig, ProducerRecord, partition_for_key, testing::Cluster,
};

fn main() {
    divan::main();
}

#[divan::bench(threads = THREADS, args = [100, 1024])]
fn send(bencher: Bencher<'_, '_>, size: usize) {
    let value = vec![7; size];
    each_record(bencher, |_| drop(PRODUCER.send(ProducerRecord::new(TOPIC, &value)).expect(ACCEPTED)));
}

#[divan::bench(threads = THREADS)]
fn send_with_key(bencher: Bencher<'_, '_>) {
    each_record(bencher, |i| {
        let key = i.to_be_bytes();
        drop(PRODUCER.send(ProducerRecord::new(TOPIC, &VALUE).key(&key)).expect(ACCEPTED));
    });
}

#[divan::bench(threads = THREADS)]
fn send_with_headers(bencher: Bencher<'_, '_>) {
    each_record(bencher, |_| {
        let record = ProducerRecord::new(TOPIC, &VALUE).header("trace", "4bf92f35").header("source", "bench");
        drop(PRODUCER.send(record).expect(ACCEPTED));
    });
}

#[divan::bench(threads = THREADS)]
fn send_with_callback(bencher: Bencher<'_, '_>) {
    each_record(bencher, |_| {
        let done = |outcome| drop(black_box(outcome));
        drop(PRODUCER.send_with(ProducerRecord::new(TOPIC, &VALUE), done).expect(ACCEPTED));
    });
}

/// Handles that are kept cost when they are dropped, too.
#[divan::bench(threads = THREADS)]
fn send_and_keep_the_handle(bencher: Bencher<'_, '_>) {
    bencher
        .counter(ItemsCount::new(RECORDS))
        .with_inputs(|| {
            PRODUCER.flush().expect(FLUSHED);
            Vec::with_capacity(RECORDS)
        })
        .bench_values(|mut kept| {
            for _ in 0..RECORDS {
                kept.push(PRODUCER.send(ProducerRecord::new(TOPIC, &VALUE)).expect(ACCEPTED));
            }
            drop(kept);
        });
}

/// Of handles that are done.
#[divan::bench(threads = THREADS)]
fn get(bencher: Bencher<'_, '_>) {
    bencher
        .counter(ItemsCount::new(RECORDS))
        .with_inputs(|| {
            let send = |_| PRODUCER.send(ProducerRecord::new(TOPIC, &VALUE)).expect(ACCEPTED);
            let handles: Vec<DeliveryFuture> = (0..RECORDS).map(send).collect();
            PRODUCER.flush().expect(FLUSHED);
            handles
        })
        .bench_refs(|handles| {
            for handle in handles {
                black_box(handle.get().expect("the cluster acknowledges"));
            }
        });
}

#[divan::bench(args = [8, 36, 256])]
fn partition(bencher: Bencher<'_, '_>, key_size: usize) {
    let key = vec![7; key_size];
    bencher.bench(|| partition_for_key(black_box(&key), PARTITIONS));
}

/// Times `RECORDS` calls at a stretch, each time with nothing collected before.
fn each_record(bencher: Bencher<'_, '_>, call: impl Fn(usize) + Sync) {
    bencher
        .counter(ItemsCount::new(RECORDS))
        .with_inputs(|| PRODUCER.flush().expect(FLUSHED))
        .bench_values(|()| (0..RECORDS).for_each(&call));
}

static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| {
    let builder = Cluster::builder().keep_records(false).topic(TOPIC, PARTITIONS);
    let cluster = builder.start().expect("loopback ports are free");
    cluster.set_max_message_bytes(TOPIC, MAX_REQUEST);
    cluster
});

/// Nothing is sent before it is flushed: no batch becomes full, and no linger passes.
static PRODUCER: LazyLock<Producer> = LazyLock::new(|| {
    let config = ProducerConfig::new(&CLUSTER.bootstrap())
        .linger(Duration::from_secs(60))
        .set("batch.size", &MAX_REQUEST.to_string())
        .set("max.request.size", &MAX_REQUEST.to_string())
        .set("buffer.memory", &(2 * MAX_REQUEST).to_string());
    Producer::new(config).expect("the settings are right")
});

const THREADS: [usize; 2] = [1, 4];

const TOPIC: &str = "bench";
const PARTITIONS: i32 = 6;
const VALUE: [u8; 100] = [7; 100];

/// At a stretch: enough for many chunks, few enough for the buffer.
const RECORDS: usize = 4096;

/// More than all threads send at a stretch.
const MAX_REQUEST: usize = 32 * 1024 * 1024;

const ACCEPTED: &str = "there is room for the record";
const FLUSHED: &str = "nothing stands in the way of waiting";
