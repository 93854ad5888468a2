//! The floor of encoding: records are copied into batches, framed and checksummed, and nothing is sent.

use std::{hint::black_box, time::Instant};

use clap::Parser;
use kafka_producer_peers::{
    drive,
    flags::{Flags, Mode, Variant},
    measure::Span,
    payload, wire,
};

fn main() {
    let flags = Flags::parse();
    flags.expect_no_compression();
    drive::only("encode", &flags, &[Mode::Throughput], &[Variant::Plain]);
    let value = payload::value(flags.size);
    let in_batch = wire::records_in_batch(flags.batch_size, flags.size);
    let mut batch = Vec::new();
    let mut encode = |records: u64, until: Option<Instant>| {
        let mut encoded = 0;
        while encoded < records && until.is_none_or(|until| Instant::now() < until) {
            batch.clear();
            wire::push_batch(&mut batch, in_batch, black_box(&value), TIMESTAMP);
            black_box(&batch);
            encoded += u64::from(in_batch);
        }
        encoded
    };
    let warmup = encode(u64::MAX, Some(Instant::now() + flags.warmup()));
    let span = Span::begin();
    let records = encode(flags.records, None);
    drive::print("encode", None, records, warmup, span.end(), None);
}

const TIMESTAMP: i64 = 1_700_000_000_000;
