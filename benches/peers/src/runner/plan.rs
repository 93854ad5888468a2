//! What is run: the workloads, and who takes part in each.

use serde::{Deserialize, Serialize};

use super::drivers::Driver;

/// Rows that are compared with each other, in rounds of their own.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) kind: Kind,
    pub(crate) rounds: u32,
    pub(crate) contestants: Vec<Contestant>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum Kind {
    /// Everybody's throughput under the same circumstances.
    Comparison,
    /// Throughput under several.
    Throughput,
    Latency,
}

#[derive(Clone, Debug)]
pub(crate) struct Contestant {
    /// The row's name.
    pub(crate) label: String,
    pub(crate) driver: Driver,
    pub(crate) setup: Setup,
}

/// One row's circumstances.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) records: u64,
    pub(crate) size: usize,
    pub(crate) batch_size: usize,
    pub(crate) linger_ms: u64,
    pub(crate) compression: &'static str,
    pub(crate) topics: u32,
    /// Of each topic.
    pub(crate) partitions: u32,
    pub(crate) threads: usize,
    pub(crate) keys: bool,
    pub(crate) mode: &'static str,
    pub(crate) variant: &'static str,
    pub(crate) rate: Option<Rate>,
    /// One core for the producer and one for the sink; otherwise both may use both.
    pub(crate) pinned: bool,
    pub(crate) sink: Sink,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Rate {
    /// Records a second.
    Fixed(u64),
    /// A part of what the same driver reaches in the workload `PEAK`.
    OfPeak(f64),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Sink {
    Sleeping,
    Spinning,
    /// Answers after so many milliseconds.
    Slow(u64),
    Tls,
}

impl Workload {
    fn new(id: &str, title: &str, kind: Kind, contestants: Vec<Contestant>) -> Self {
        Self { id: id.to_owned(), title: title.to_owned(), kind, rounds: ROUNDS, contestants }
    }

    /// Fewer records and rounds.
    pub(crate) fn shorten(&mut self) {
        self.rounds = self.rounds.min(QUICK_ROUNDS);
        for contestant in &mut self.contestants {
            contestant.setup.records /= QUICK_PART;
        }
    }
}

/// All workloads, or those of the quick run.
pub(crate) fn workloads(quick: bool) -> Vec<Workload> {
    let mut all = throughput();
    all.extend(codecs());
    all.push(encrypted());
    all.push(variants());
    all.extend(threads());
    all.push(partitions());
    all.extend(latency());
    all.extend(fanin());
    all.extend(rates());
    if quick {
        all.retain(|workload| QUICK.contains(&&*workload.id));
        all.iter_mut().for_each(Workload::shorten);
    }
    all
}

fn throughput() -> Vec<Workload> {
    let base = Setup::default();
    let sized = |size, batch_size, records| Setup { size, batch_size, records, ..Setup::default() };
    let rows = [
        (PEAK, "100 B records, 16 KiB batches", base.clone()),
        ("1K-16K", "1 KiB records, 16 KiB batches", sized(KIB, 16 * KIB, 1_000_000)),
        ("10K-16K", "10 KiB records, 16 KiB batches", sized(10 * KIB, 16 * KIB, 150_000)),
        ("100B-1M", "100 B records, 1 MiB batches", sized(100, 1024 * KIB, 5_000_000)),
        ("1K-1M", "1 KiB records, 1 MiB batches", sized(KIB, 1024 * KIB, 2_000_000)),
        ("10K-1M", "10 KiB records, 1 MiB batches", sized(10 * KIB, 1024 * KIB, 300_000)),
        (FREE, "100 B records, 16 KiB batches, not pinned", Setup { pinned: false, ..base.clone() }),
        (
            "100B-16K-5ms",
            "100 B records, 16 KiB batches, a broker that answers after 5 ms",
            Setup { sink: Sink::Slow(5), records: 400_000, ..base },
        ),
    ];
    let workload = |(id, title, setup): (&str, &str, Setup)| {
        let takes_part = |driver: &Driver| match driver {
            Driver::Encode => setup.sink == Sink::Sleeping,
            // It is there for TLS alone.
            Driver::LibrdkafkaTls => false,
            _ => true,
        };
        let contestants =
            Driver::ALL.into_iter().filter(takes_part).map(|driver| Contestant::of(driver, &setup)).collect();
        Workload::new(id, title, Kind::Comparison, contestants)
    };
    rows.into_iter().map(workload).collect()
}

/// Among those that do the same work, since the others have no sequences to compress around.
fn codecs() -> Vec<Workload> {
    let lz4 = [
        ("100B-16K", 100, 16, 5_000_000),
        ("100B-1M", 100, 1024, 5_000_000),
        ("1K-16K", KIB, 16, 1_000_000),
        ("1K-1M", KIB, 1024, 2_000_000),
        ("10K-1M", 10 * KIB, 1024, 300_000),
    ];
    let others = [("1K-16K", KIB, 16, 500_000), ("1K-1M", KIB, 1024, 500_000)];
    let of = |codec: &'static str, rows: &[(&str, usize, usize, u64)]| -> Vec<Workload> {
        let workload = |&(id, size, batch, records): &(&str, usize, usize, u64)| {
            let setup =
                Setup { compression: codec, size, batch_size: batch * KIB, records, ..Setup::default() };
            let size = if size < KIB { format!("{size} B") } else { format!("{} KiB", size / KIB) };
            let title = format!("{size} records, {batch} KiB batches, {codec}");
            let drivers = [Driver::Ours, Driver::Librdkafka, Driver::FranzGo, Driver::Java];
            let contestants = drivers.map(|driver| Contestant::of(driver, &setup)).to_vec();
            let workload = Workload::new(&format!("{id}-{codec}"), &title, Kind::Comparison, contestants);
            Workload { rounds: CODEC_ROUNDS, ..workload }
        };
        rows.iter().map(workload).collect()
    };
    let mut all = of("lz4", &lz4);
    for codec in ["gzip", "snappy", "zstd"] {
        all.extend(of(codec, &others));
    }
    all
}

fn encrypted() -> Workload {
    let setup =
        Setup { size: KIB, batch_size: 1024 * KIB, records: 1_000_000, sink: Sink::Tls, ..Setup::default() };
    let contestants =
        [Driver::Ours, Driver::LibrdkafkaTls].map(|driver| Contestant::of(driver, &setup)).to_vec();
    Workload::new("1K-1M-tls", "1 KiB records, 1 MiB batches, TLS", Kind::Comparison, contestants)
}

fn variants() -> Workload {
    let base = Setup { records: 3_000_000, ..Setup::default() };
    let with = |variant| Setup { variant, ..base.clone() };
    let keyed = Setup { keys: true, ..base.clone() };
    let contestants = vec![
        Contestant::of(Driver::Ours, &base),
        Contestant::named(Driver::Ours, HANDLES, &with("handles")),
        Contestant::named(Driver::Ours, CALLBACKS, &with("callback")),
        Contestant::named(Driver::Ours, KEYS, &keyed),
        Contestant::of(Driver::Librdkafka, &base),
        Contestant::named(Driver::Librdkafka, CALLBACKS, &with("callback")),
        Contestant::named(Driver::Librdkafka, KEYS, &keyed),
        Contestant::named(Driver::FranzGo, "its only way, callbacks", &base),
        Contestant::named(Driver::FranzGo, KEYS, &keyed),
        Contestant::named(Driver::Java, HANDLES, &with("handles")),
        Contestant::named(Driver::Java, CALLBACKS, &with("callback")),
        Contestant::named(Driver::Java, KEYS, &keyed),
    ];
    let title = "100 B records, 16 KiB batches: handles, callbacks, keys";
    Workload::new("variants", title, Kind::Throughput, contestants)
}

fn threads() -> Vec<Workload> {
    let workload = |id: &str, title: &str, pinned| {
        let rows =
            [(Driver::Ours, &[1, 2, 4, 8][..]), (Driver::Librdkafka, &[1, 8]), (Driver::FranzGo, &[1, 8])];
        let contestants = rows.into_iter().flat_map(|(driver, counts)| {
            counts.iter().map(move |&threads| {
                let setup = Setup { threads, pinned, records: 4_000_000, ..Setup::default() };
                Contestant::named(driver, &threads_label(threads), &setup)
            })
        });
        Workload::new(id, title, Kind::Throughput, contestants.collect())
    };
    vec![
        workload("threads", "100 B records, 16 KiB batches: threads that send", true),
        workload(THREADS_FREE, "100 B records, 16 KiB batches, not pinned: threads that send", false),
    ]
}

fn partitions() -> Workload {
    let few = Setup { records: 2_000_000, ..Setup::default() };
    let many = Setup { topics: 50, partitions: 200, ..few.clone() };
    let keyed = Setup { keys: true, ..many.clone() };
    let contestants = vec![
        Contestant::named(Driver::Ours, FEW_PARTITIONS, &few),
        Contestant::named(Driver::Ours, MANY_PARTITIONS, &many),
        Contestant::named(Driver::Ours, "10,000 partitions, keys", &keyed),
        Contestant::named(Driver::Librdkafka, FEW_PARTITIONS, &few),
        Contestant::named(Driver::Librdkafka, MANY_PARTITIONS, &many),
        Contestant::named(Driver::FranzGo, FEW_PARTITIONS, &few),
        Contestant::named(Driver::FranzGo, MANY_PARTITIONS, &many),
        Contestant::named(Driver::Java, MANY_PARTITIONS, &many),
    ];
    let title = "100 B records, 16 KiB batches: 50 topics of 200 partitions, written to in turn";
    Workload::new(PARTITIONS, title, Kind::Throughput, contestants)
}

fn latency() -> Vec<Workload> {
    let workload = |id: &str, title: &str, pinned, sink| {
        let setup =
            Setup { mode: "latency", records: 20_000, linger_ms: 0, pinned, sink, ..Setup::default() };
        let ours = Setup { linger_ms: 5, ..setup.clone() };
        let mut contestants = vec![
            Contestant::of(Driver::Ours, &ours),
            Contestant::named(Driver::Ours, "linger.ms=0", &setup),
            Contestant { label: RAW_RECORDS.to_owned(), ..Contestant::of(Driver::RawOne, &setup) },
        ];
        contestants.extend(SINGLE_RECORD_PEERS.map(|driver| Contestant::of(driver, &setup)));
        // A single record is a batch, by hand or not.
        contestants.extend([Driver::Rskafka, Driver::Kafka].map(|driver| {
            let label = driver.name().to_owned();
            Contestant { label, ..Contestant::of(driver, &setup) }
        }));
        Workload::new(id, title, Kind::Latency, contestants)
    };
    vec![
        workload(LATENCY, "send and wait, 100 B", true, Sink::Sleeping),
        workload(LATENCY_SPIN, "send and wait, 100 B, a sink that never sleeps", true, Sink::Spinning),
        workload(LATENCY_FREE, "send and wait, 100 B, not pinned", false, Sink::Sleeping),
    ]
}

fn fanin() -> Vec<Workload> {
    let workload = |id: &str, title: &str, pinned| {
        let setup =
            Setup { mode: "fanin", threads: 8, records: 40_000, linger_ms: 0, pinned, ..Setup::default() };
        let ours = Setup { linger_ms: 5, ..setup.clone() };
        let mut contestants =
            vec![Contestant::of(Driver::Ours, &ours), Contestant::named(Driver::Ours, "linger.ms=0", &setup)];
        contestants.extend(SINGLE_RECORD_PEERS.map(|driver| Contestant::of(driver, &setup)));
        Workload::new(id, title, Kind::Latency, contestants)
    };
    vec![
        workload("fanin", "8 threads, each sends and waits, 100 B", true),
        workload("fanin-free", "8 threads, each sends and waits, 100 B, not pinned", false),
    ]
}

/// The records of a rate are set when it is known: so many as fit in `RATE_SECONDS`.
fn rates() -> Vec<Workload> {
    let workload = |id: &str, title: &str, rate| {
        let setup = Setup { mode: "rate", rate: Some(rate), ..Setup::default() };
        let drivers = [Driver::Ours, Driver::Librdkafka, Driver::FranzGo, Driver::Java];
        let contestants = drivers.map(|driver| Contestant::of(driver, &setup)).to_vec();
        Workload { rounds: RATE_ROUNDS, ..Workload::new(id, title, Kind::Latency, contestants) }
    };
    vec![
        workload("rate-10", "100 B at 10 % of each one's own peak, linger 5 ms", Rate::OfPeak(0.1)),
        workload("rate-50", "100 B at 50 % of each one's own peak, linger 5 ms", Rate::OfPeak(0.5)),
        workload("rate-90", "100 B at 90 % of each one's own peak, linger 5 ms", Rate::OfPeak(0.9)),
        workload("rate-same", "100 B at 500,000 a second, linger 5 ms", Rate::Fixed(500_000)),
    ]
}

impl Contestant {
    fn of(driver: Driver, setup: &Setup) -> Self {
        Self { label: driver.title().to_owned(), driver, setup: setup.clone() }
    }

    fn named(driver: Driver, what: &str, setup: &Setup) -> Self {
        Self { label: label(driver, what), driver, setup: setup.clone() }
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            records: 5_000_000,
            size: 100,
            batch_size: 16 * KIB,
            linger_ms: 5,
            compression: NO_COMPRESSION,
            topics: 1,
            partitions: 6,
            threads: 1,
            keys: false,
            mode: "throughput",
            variant: "plain",
            rate: None,
            pinned: true,
            sink: Sink::Sleeping,
        }
    }
}

/// The name of a driver's row that says more than the driver.
pub(crate) fn label(driver: Driver, what: &str) -> String {
    format!("{}: {what}", driver.title())
}

pub(crate) fn threads_label(threads: usize) -> String {
    format!("{threads} thread{}", if threads == 1 { "" } else { "s" })
}

/// The workload whose rates are everybody's peak.
pub(crate) const PEAK: &str = "100B-16K";
pub(crate) const FREE: &str = "100B-16K-free";
pub(crate) const THREADS_FREE: &str = "threads-free";
pub(crate) const PARTITIONS: &str = "partitions";
pub(crate) const LATENCY: &str = "latency";
pub(crate) const LATENCY_SPIN: &str = "latency-spin";
pub(crate) const LATENCY_FREE: &str = "latency-free";

pub(crate) const RAW_RECORDS: &str = "raw requests, 1 record each";
pub(crate) const HANDLES: &str = "every handle kept and asked";
pub(crate) const CALLBACKS: &str = "a callback each";
const KEYS: &str = "keys of 8 bytes";
pub(crate) const FEW_PARTITIONS: &str = "6 partitions";
pub(crate) const MANY_PARTITIONS: &str = "10,000 partitions";

/// How long a run at a given rate lasts.
pub(crate) const RATE_SECONDS: f64 = 2.0;

pub(crate) const NO_COMPRESSION: &str = "none";

const SINGLE_RECORD_PEERS: [Driver; 4] =
    [Driver::Librdkafka, Driver::RustRdkafka, Driver::FranzGo, Driver::Java];

const QUICK: [&str; 4] = [PEAK, "1K-1M", FREE, LATENCY];

const ROUNDS: u32 = 5;
const RATE_ROUNDS: u32 = 3;
const CODEC_ROUNDS: u32 = 3;
const QUICK_ROUNDS: u32 = 3;

/// The quick run sends one record of so many.
const QUICK_PART: u64 = 5;

const KIB: usize = 1024;
