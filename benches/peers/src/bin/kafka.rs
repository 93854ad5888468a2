//! The crate kafka: its `Producer::send_all` takes records that its caller has gathered, and returns when all brokers
//! have answered.
//!
//! It has no idempotence and no pipelining, and writes Kafka's old message format (0), which brokers from 4.0 on refuse.

use std::time::{Duration, Instant};

use clap::Parser;
use kafka::producer::{Producer, Record, RequiredAcks};
use kafka_producer_peers::{
    drive,
    flags::{Acks, Flags, Mode, Variant},
    measure::{Latency, Span},
    payload, wire,
};

fn main() {
    let flags = Flags::parse();
    flags.expect_no_compression();
    drive::only("kafka", &flags, &[Mode::Throughput, Mode::Latency], &[Variant::Plain]);
    let acks = match flags.acks {
        Acks::All => RequiredAcks::All,
        Acks::One => RequiredAcks::One,
        Acks::None => RequiredAcks::None,
    };
    let mut producer = Producer::from_hosts(vec![flags.bootstrap.clone()])
        .with_required_acks(acks)
        .with_ack_timeout(Duration::from_secs(30))
        .create()
        .expect("the sink answers");
    let value = payload::value(flags.size);
    let topic = payload::topic(0);
    let latency = flags.mode == Mode::Latency;
    // It spreads records over the partitions in turn, so that each gets a batch of about `batch.size`.
    let in_batch = u64::from(wire::records_in_batch(flags.batch_size, flags.size));
    let at_once = if latency { 1 } else { in_batch * u64::from(flags.partitions) };

    let mut took = Vec::new();
    let mut send = |records: u64, until: Option<Instant>| {
        let (mut sent, mut begun) = (0, Instant::now());
        took.clear();
        while sent < records && until.is_none_or(|until| begun < until) {
            let gathered: Vec<_> =
                (0..at_once.min(records - sent)).map(|_| Record::from_value(&topic, &*value)).collect();
            let confirmed = producer.send_all(&gathered).expect("the sink answers");
            let refused =
                confirmed.iter().flat_map(|topic| &topic.partition_confirms).find(|p| p.offset.is_err());
            assert!(refused.is_none(), "the sink acknowledges: {refused:?}");
            sent += gathered.len() as u64;
            let now = Instant::now();
            took.push((now - begun).as_nanos() as u64);
            begun = now;
        }
        sent
    };
    let warmup = send(u64::MAX, Some(Instant::now() + flags.warmup()));
    let span = Span::begin();
    let records = send(flags.records, None);
    let spent = span.end();
    let took = if latency { Latency::of(took) } else { None };
    drive::print("kafka", None, records, warmup, spent, took);
}
