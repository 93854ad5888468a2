//! The socket's limit: requests that were encoded beforehand, written and acknowledged, and nothing else.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Instant,
};

use clap::Parser;
use kafka_producer_peers::{
    drive,
    flags::{Flags, Mode, Variant},
    measure::{Latency, Span},
    payload, wire,
};

#[derive(Parser)]
struct RawFlags {
    #[command(flatten)]
    common: Flags,
    /// Partitions with a batch in each request.
    #[arg(long, default_value_t = 6)]
    partitions_a_request: u32,
}

struct Raw {
    stream: TcpStream,
    request: Vec<u8>,
    records_a_request: u64,
    in_flight: usize,
    answers: Vec<u8>,
    /// Bytes in `answers` that were read and belong to an answer that is not whole yet.
    partial: usize,
}

impl Raw {
    fn connect(flags: &RawFlags) -> Self {
        let stream = TcpStream::connect(&flags.common.bootstrap).expect("the sink listens");
        stream.set_nodelay(true).expect("a connected socket has this option");
        let value = payload::value(flags.common.size);
        let one = flags.common.mode == Mode::Latency;
        let records =
            if one { 1 } else { wire::records_in_batch(flags.common.batch_size, flags.common.size) };
        let partitions = if one { 1 } else { flags.partitions_a_request };
        let mut batch = Vec::new();
        wire::push_batch(&mut batch, records, &value, TIMESTAMP);
        let batches: Vec<_> = (0..partitions as i32).map(|partition| (partition, &*batch)).collect();
        let request = wire::produce_request(1, flags.common.acks_on_the_wire(), &batches);
        let records_a_request = u64::from(records) * u64::from(partitions);
        Self { stream, request, records_a_request, in_flight: 0, answers: vec![0; 64 * 1024], partial: 0 }
    }

    /// Writes a request, and waits only if five are unanswered.
    fn send(&mut self) -> u64 {
        while self.in_flight >= IN_FLIGHT {
            self.read();
        }
        self.stream.write_all(&self.request).expect("the sink reads");
        self.in_flight += 1;
        self.records_a_request
    }

    fn flush(&mut self) {
        while self.in_flight > 0 {
            self.read();
        }
    }

    /// Waits for answers, and counts them.
    fn read(&mut self) {
        let bytes = self.stream.read(&mut self.answers[self.partial..]).expect("the sink answers");
        assert_ne!(bytes, 0, "the sink has closed the connection");
        let end = self.partial + bytes;
        let mut start = 0;
        while let Some(length) = self.answers[start..end].first_chunk::<4>() {
            let next = start + 4 + u32::from_be_bytes(*length) as usize;
            if next > end {
                break;
            }
            self.in_flight -= 1;
            start = next;
        }
        self.answers.copy_within(start..end, 0);
        self.partial = end - start;
    }
}

fn main() {
    let flags = RawFlags::parse();
    flags.common.expect_no_compression();
    drive::only("raw", &flags.common, &[Mode::Throughput, Mode::Latency], &[Variant::Plain]);
    let mut raw = Raw::connect(&flags);
    let latency = flags.common.mode == Mode::Latency;
    let mut took = Vec::new();
    let mut send = |records: u64, until: Option<Instant>| {
        let (mut sent, mut begun) = (0, Instant::now());
        took.clear();
        while sent < records && until.is_none_or(|until| Instant::now() < until) {
            sent += raw.send();
            if latency {
                raw.flush();
                let now = Instant::now();
                took.push((now - begun).as_nanos() as u64);
                begun = now;
            }
        }
        raw.flush();
        sent
    };
    let warmup = send(u64::MAX, Some(Instant::now() + flags.common.warmup()));
    let span = Span::begin();
    let records = send(flags.common.records, None);
    let spent = span.end();
    drive::print("raw", None, records, warmup, spent, Latency::of(took));
}

/// As many as an idempotent producer may have.
const IN_FLIGHT: usize = 5;

const TIMESTAMP: i64 = 1_700_000_000_000;
