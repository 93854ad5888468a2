//! Sends many records and reports throughput and latency, like `kafka-producer-perf-test.sh`.
//!
//! ```text
//! cargo run --release --example producer_performance -- --bootstrap-server localhost:9092 --topic load \
//!     --num-records 1000000 --record-size 100
//! ```
//!
//! A record's latency is the time from before its `send` until its callback runs. Values are made beforehand, and what
//! is done for each record besides is two looks at the clock: what is measured is the producer.

#![allow(
    clippy::disallowed_methods,
    reason = "a tool that measures looks at the clock, and one that paces itself sleeps"
)]

mod meter;
mod payload;
#[path = "../shared/mod.rs"]
mod shared;

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::{self, ExitCode},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use indicatif::{ProgressBar, ProgressStyle};
use kafka_producer::{DeliveryError, Producer, ProducerRecord, RecordMetadata};

use meter::Meter;
use payload::Payloads;
use shared::{Connection, Failure, Failures, pace::Pace};

/// Sends many records and reports throughput and latency.
#[derive(clap::Parser)]
#[command(name = "producer_performance")]
#[command(group = clap::ArgGroup::new("payload").required(true))]
struct Flags {
    #[command(flatten)]
    connection: Connection,
    /// The topic to send to.
    #[arg(long)]
    topic: String,
    /// How many records to send.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    num_records: u64,
    /// Sends values of this many random letters.
    #[arg(long, value_name = "BYTES", group = "payload", value_parser = clap::value_parser!(u32).range(1..))]
    record_size: Option<u32>,
    /// Sends entries of this file, chosen at random.
    #[arg(long, value_name = "FILE", group = "payload")]
    payload_file: Option<PathBuf>,
    /// What stands between the entries of --payload-file.
    #[arg(long, value_name = "TEXT", default_value = "\\n")]
    payload_delimiter: String,
    /// How many records to send per second, on average; -1 for as many as possible.
    #[arg(long, value_name = "RECORDS", default_value_t = -1.0, allow_negative_numbers = true)]
    throughput: f64,
    /// A setting of the producer; stands above those of --command-config.
    #[arg(long, value_name = "NAME=VALUE", num_args = 1..)]
    command_property: Vec<String>,
    /// Print the producer's metrics at the end.
    #[arg(long)]
    print_metrics: bool,
    /// Send in transactions, under this name: transactional.id.
    #[arg(long, value_name = "ID")]
    transactional_id: Option<String>,
    /// Send in transactions, and commit one after this many milliseconds, 3000 if not given.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    transaction_duration_ms: Option<u64>,
    /// How many records at the beginning count in the first summary only, and not in the steady state's.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    warmup_records: u64,
}

fn main() -> ExitCode {
    shared::run(measure)
}

fn measure(flags: Flags) -> Result<(), Failure> {
    flags.check()?;
    let id = flags.transactional_id();
    let config = flags.connection.config(&flags.command_property, &[("transactional.id", id.as_deref())])?;
    let mut out = io::stdout();
    let mut payloads = match (flags.record_size, &flags.payload_file) {
        (_, Some(file)) => {
            writeln!(out, "Reading payloads from: {}", std::path::absolute(file)?.display())?;
            let payloads = Payloads::from_file(file, &flags.payload_delimiter)?;
            writeln!(out, "Number of messages read: {}", payloads.len())?;
            payloads
        }
        (size, None) => Payloads::random(size.expect("one of the two is required") as usize),
    };
    let producer = Producer::new(config)?;
    if flags.warmup_records > 0 {
        writeln!(
            out,
            "Warmup first {} records. Steady state results will print after the complete test summary.",
            flags.warmup_records
        )?;
    }

    let report = Report::start(flags.num_records);
    let (sent, outcome) = send_all(&flags, &producer, &mut payloads, report);
    let flushed = producer.flush();
    report.finish()?;
    let closed = producer.close();
    outcome?;
    flushed?;
    closed?;
    report.failures.check(sent)
}

/// Returns how many records were accepted, and why the next one was not.
fn send_all(
    flags: &Flags,
    producer: &Producer,
    payloads: &mut Payloads,
    report: &'static Report,
) -> (u64, Result<(), Failure>) {
    let pace = Pace::new(flags.throughput);
    for i in 0..flags.num_records {
        if flags.warmup_records > 0 && i == flags.warmup_records {
            report.begin_steady_state();
        }
        let is_steady = flags.warmup_records > 0 && i >= flags.warmup_records;
        let begin = report.now();
        let record = ProducerRecord::new(&flags.topic, payloads.next());
        let accepted = producer.send_with(record, move |outcome| report.note(begin, is_steady, outcome));
        if let Err(error) = accepted {
            return (i, Err(error.into()));
        }
        while let Some(wait) = pace.wait(i + 1) {
            thread::sleep(wait);
        }
    }
    (flags.num_records, Ok(()))
}

impl Flags {
    fn check(&self) -> Result<(), Failure> {
        if self.warmup_records >= self.num_records {
            return Err(format!(
                "--warmup-records {}: must be less than --num-records, which is {}",
                self.warmup_records, self.num_records
            )
            .into());
        }
        if self.throughput == 0.0 || self.throughput.is_nan() {
            return Err(
                format!("--throughput {}: must be above 0, or -1 for no limit", self.throughput).into()
            );
        }
        if self.print_metrics {
            return Err("--print-metrics: this version of the producer has no metrics to print".into());
        }
        Ok(())
    }

    /// Transactions need a name; one of them asks for transactions, and either flag does.
    fn transactional_id(&self) -> Option<String> {
        let unique = || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            format!("performance-producer-{}-{}", process::id(), since.as_nanos())
        };
        self.transactional_id.clone().or_else(|| self.transaction_duration_ms.map(|_| unique()))
    }
}

/// What the callbacks report to. One for the whole process, so that a callback carries a reference only.
struct Report {
    origin: Instant,
    meters: Mutex<Meters>,
    failures: Failures,
    bar: ProgressBar,
}

struct Meters {
    all: Meter,
    steady: Option<Meter>,
    bar_drawn: u64,
}

impl Report {
    fn start(records: u64) -> &'static Self {
        let bar = if io::stderr().is_terminal() {
            let style = ProgressStyle::with_template("{bar:40} {pos}/{len} records, {per_sec}, {eta} to go");
            ProgressBar::new(records).with_style(style.expect("the template is well formed"))
        } else {
            ProgressBar::hidden()
        };
        Box::leak(Box::new(Self {
            origin: Instant::now(),
            meters: Mutex::new(Meters { all: Meter::new(false, 0), steady: None, bar_drawn: 0 }),
            failures: Failures::default(),
            bar,
        }))
    }

    /// Microseconds since the beginning.
    fn now(&self) -> u64 {
        self.origin.elapsed().as_micros() as u64
    }

    fn begin_steady_state(&self) {
        let now = self.now();
        self.lock().steady = Some(Meter::new(true, now));
    }

    /// What became of a record whose `send` began at `begin`.
    fn note(&self, begin: u64, is_steady: bool, outcome: Result<RecordMetadata, DeliveryError>) {
        let metadata = match outcome {
            Ok(metadata) => metadata,
            Err(error) => return self.failures.note(error),
        };
        let now = self.now();
        let (latency, bytes) = (now - begin, metadata.serialized_value_size() as u64);
        let mut meters = self.lock();
        let mut line = meters.all.record(latency, bytes, now);
        if let Some(steady) = &mut meters.steady {
            // From here on its lines are the ones of interest.
            line = if is_steady { steady.record(latency, bytes, now) } else { None };
        }
        if let Some(line) = line {
            // A report that cannot be printed is missed at the end, where that is an error.
            let _ = self.bar.suspend(|| writeln!(io::stdout(), "{line}"));
        }
        if now - meters.bar_drawn >= REDRAW {
            meters.bar_drawn = now;
            self.bar.set_position(meters.all.count());
        }
    }

    /// Prints what was measured until now.
    fn finish(&self) -> io::Result<()> {
        let now = self.now();
        self.bar.finish_and_clear();
        let meters = self.lock();
        let mut out = io::stdout().lock();
        for meter in [Some(&meters.all), meters.steady.as_ref()].into_iter().flatten() {
            writeln!(out, "{}", meter.summary(now))?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Meters> {
        self.meters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Microseconds after which the progress bar is drawn again.
const REDRAW: u64 = 100_000;
