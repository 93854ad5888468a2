//! How often the heap is asked for memory: by the thread that sends, and by the sender thread.
//!
//! One test at a time has the sender thread's count for itself; see [`Bench`].

mod counting;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kafka_producer::{
    DeliveryFuture, Headers, Producer, ProducerConfig, ProducerRecord,
    testing::{Api, Cluster},
};

#[test]
fn a_send_costs_its_thread_a_hundredth_of_an_allocation_at_most() {
    let bench = Bench::start();
    let large = "v".repeat(1024);
    let record = |value| ProducerRecord::new(TOPIC, value);
    let headers: Headers = [("trace", Some(&b"0123456789abcdef"[..])), ("empty", None)].into_iter().collect();
    let with_headers = record(VALUE).headers(headers);
    for (what, record) in [
        ("a value", record(VALUE)),
        ("a key and a value", record(VALUE).key("customer-7")),
        ("a partition and a timestamp", record(VALUE).partition(0).timestamp(1_700_000_000_000)),
        ("two headers", with_headers),
        ("a value of 1 KiB", record(&large)),
        ("a tombstone", ProducerRecord::tombstone(TOPIC).key("customer-7")),
    ] {
        let sent = bench.send(&record, drop);
        bench.expect(&format!("{what}, the handle dropped"), sent, 0.01);

        let mut handles = Vec::with_capacity(BURST);
        let sent = bench.send(&record, |handle| {
            if handles.len() == BURST {
                handles.clear();
            }
            handles.push(handle);
        });
        bench.expect(&format!("{what}, the handle kept"), sent, 0.01);
    }
}

#[test]
fn what_surrounds_a_send_costs_no_allocation() {
    let bench = Bench::start();
    let handle = bench.producer.send(ProducerRecord::new(TOPIC, VALUE)).unwrap();
    handle.get().unwrap();
    for (what, count) in [
        ("a clone of the producer", counting::here(|| drop(bench.producer.clone()))),
        ("a record", counting::here(|| drop(ProducerRecord::<[u8]>::new(TOPIC, VALUE).key("k")))),
        ("the answer of a handle", counting::here(|| drop(handle.get()))),
        ("a look at a handle", counting::here(|| assert!(handle.is_done() && handle.try_get().is_some()))),
    ] {
        assert_eq!(count, 0, "{what}");
    }
}

#[test]
fn the_sender_thread_allocates_by_the_batch_and_not_by_the_record() {
    let bench = Bench::start();
    for (what, value, most) in [("100 bytes", VALUE, 0.2), ("1 KiB", &"v".repeat(1024), 2.0)] {
        let (requests, before) =
            (bench.cluster.request_count(Api::Produce), counting::on_the_sender_thread());
        let sent = bench.send(&ProducerRecord::new(TOPIC, value), drop);
        let allocations = counting::on_the_sender_thread() - before;
        // With one partition, a request is a batch.
        let batches = bench.cluster.request_count(Api::Produce) - requests;
        let each = ratio(allocations, batches);
        println!("{what}: {each:.1} allocations a batch of {:.0} records", ratio(sent.records, batches));
        assert!(each <= 40.0, "{what}: {allocations} in {batches} batches, {each} each");
        bench.expect(&format!("the sender thread, values of {what}"), Sent { allocations, ..sent }, most);
    }
}

#[test]
fn waiting_for_every_record_costs_the_sender_thread_what_a_batch_costs() {
    const ROUNDS: u64 = 2_000;
    let bench = Bench::start();
    let send_and_wait = || {
        let record = ProducerRecord::new(TOPIC, VALUE);
        counting::here(|| drop(bench.producer.send(record).unwrap().get().unwrap()))
    };
    send_and_wait();
    let before = counting::on_the_sender_thread();
    let allocations = (0..ROUNDS).map(|_| send_and_wait()).sum();
    let sender = counting::on_the_sender_thread() - before;
    bench.expect("send and get, this thread", Sent { records: ROUNDS, allocations }, 2.0);
    bench.expect("send and get, the sender thread", Sent { records: ROUNDS, allocations: sender }, 40.0);
}

/// A producer in its steady state, with a cluster that keeps nothing.
pub(crate) struct Bench {
    pub(crate) producer: Producer,
    pub(crate) cluster: Cluster,
    /// Nobody else has a producer: what a sender thread does is counted in one place.
    _alone: MutexGuard<'static, ()>,
}

/// What was sent, and what that cost.
struct Sent {
    records: u64,
    allocations: u64,
}

impl Bench {
    fn start() -> Self {
        // So that a batch ends because it is full or flushed, however slow the machine is.
        Self::with_linger(Duration::from_secs(60))
    }

    pub(crate) fn with_linger(linger: Duration) -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        counting::know_the_sender_thread();
        let cluster = Cluster::builder().topic(TOPIC, 1).keep_records(false).start().unwrap();
        let config = ProducerConfig::new(&cluster.bootstrap()).linger(linger);
        let producer = Producer::new(config).unwrap();
        let bench = Self { producer, cluster, _alone: alone };
        let before = counting::on_the_sender_thread();
        bench.send(&ProducerRecord::new(TOPIC, VALUE), drop);
        assert!(counting::on_the_sender_thread() > before, "the sender thread was not recognised");
        bench
    }

    /// Sends in bursts that buffers and channel can hold, so that what a thread that waits needs is not in the count;
    /// nor is `then`, what is done with a handle.
    ///
    /// Buffers are made until there are as many as a burst fills, if the sender thread sleeps through it.
    fn send(&self, record: &ProducerRecord<'_>, mut then: impl FnMut(DeliveryFuture)) -> Sent {
        let mut allocations = 0;
        for _ in 0..BURSTS {
            for _ in 0..BURST {
                let record = record.clone();
                let mut handle = None;
                allocations += counting::here(|| handle = self.producer.send(record).ok());
                then(handle.expect("there is room"));
            }
            self.producer.flush().unwrap();
        }
        Sent { records: (BURSTS * BURST) as u64, allocations }
    }

    fn expect(&self, what: &str, sent: Sent, most: f64) {
        let each = ratio(sent.allocations, sent.records);
        println!("{what}: {each:.4} allocations a record");
        assert!(each <= most, "{what}: {} in {} records, {each} each", sent.allocations, sent.records);
        assert!(self.cluster.violations().is_empty(), "{:?}", self.cluster.violations());
    }
}

fn ratio(count: u64, of: u64) -> f64 {
    count as f64 / of as f64
}

pub(crate) const TOPIC: &str = "counted";

/// 100 bytes.
pub(crate) const VALUE: &str = "0123456789012345678901234567890123456789\
                     012345678901234567890123456789012345678901234567890123456789";

const BURST: usize = 1_000;
const BURSTS: usize = 40;
