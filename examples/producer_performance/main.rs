//! Sends many records and reports throughput and latency, like `kafka-producer-perf-test.sh`.
//!
//! ```text
//! cargo run --release --example producer_performance -- --bootstrap-server localhost:9092 --topic load \
//!     --num-records 1000000 --record-size 100
//! ```
//!
//! A record's latency is the time from before its `send` until its callback runs, in whole milliseconds, as in Java.
//! Values are made beforehand, unless they are numbers, and what is done for each record besides is two looks at the clock: what is measured is
//! the producer. SIGINT and SIGTERM end it early, with a summary of what was sent until then.

#![allow(clippy::disallowed_methods, reason = "a tool that measures looks at the clock")]

mod meter;
mod metrics;
mod payload;
#[path = "../shared/mod.rs"]
mod shared;

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    path::{self, PathBuf},
    process::{self, ExitCode},
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use kafka_producer::{DeliveryError, Producer, ProducerRecord, RecordMetadata};

use meter::Meter;
use payload::Payloads;
use shared::{Connection, Failure, Failures, pace::Pace, termination::Stop};

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
    /// Sends the numbers from 0 on, in digits.
    #[arg(long, group = "payload")]
    payload_monotonic: bool,
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
    /// How many milliseconds lie between two lines at least.
    #[arg(long, value_name = "MS", default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..))]
    reporting_interval: u64,
}

fn main() -> ExitCode {
    shared::run(measure)
}

fn measure(flags: Flags) -> Result<(), Failure> {
    flags.check()?;
    let id = flags.transactional_id();
    let config = flags.connection.config(&flags.command_property, &[("transactional.id", id.as_deref())])?;
    let mut payloads = flags.payloads()?;
    let producer = Producer::new(config)?;
    let mut transactions = id.is_some().then(|| Transactions::new(&flags, &producer));
    if let Some(transactions) = &mut transactions {
        transactions.init()?;
    }
    if flags.warmup_records > 0 {
        writeln!(
            io::stdout(),
            "Warmup first {} records. Steady state results will print after the complete test summary.",
            flags.warmup_records
        )?;
    }

    let report = REPORT.get_or_init(|| Report::new(&flags));
    let stop = Stop::on_signal({
        let producer = producer.clone();
        // It waits for a cluster that does not answer. This fails what is left.
        move || drop(producer.close_timeout(Duration::ZERO))
    })?;
    let (sent, outcome) = send_all(&flags, &producer, &mut payloads, report, &mut transactions, &stop);
    let flushed = producer.flush();
    stop.ended();
    report.finish()?;
    let closed = producer.close();
    outcome?;
    flushed?;
    closed?;
    if flags.print_metrics {
        metrics::print(&producer.metrics(), &mut io::stdout().lock())?;
    }
    report.failures.check(sent)
}

/// Returns how many records were accepted, and why the next one was not, if no signal asked for the end.
fn send_all(
    flags: &Flags,
    producer: &Producer,
    payloads: &mut Payloads,
    report: &'static Report,
    transactions: &mut Option<Transactions<'_>>,
    stop: &Stop,
) -> (u64, Result<(), Failure>) {
    let pace = Pace::new(flags.throughput);
    let mut sent = 0;
    'sending: while sent < flags.num_records && !(sent % LOOK == 0 && stop.is_asked()) {
        if let Some(Err(error)) = transactions.as_mut().map(Transactions::begin_if_none_is_open) {
            return (sent, Err(error));
        }
        let begin = now();
        let record = ProducerRecord::new(&flags.topic, payloads.next()).timestamp(begin as i64);
        let accepted = if report.timestamps.come_back() {
            // This closure captures nothing, so that boxing it allocates nothing. One that captures is allocated by
            // this thread and freed by another, which costs about half as much as sending a small record does.
            producer.send_with(record, |outcome| {
                if let Some(report) = REPORT.get() {
                    report.note(None, outcome);
                }
            })
        } else {
            producer.send_with(record, move |outcome| report.note(Some(begin), outcome))
        };
        if let Err(error) = accepted {
            return (sent, Err(error.into()));
        }
        sent += 1;
        if let Some(Err(error)) = transactions.as_mut().map(|t| t.commit_if_due(begin)) {
            return (sent, Err(error));
        }
        while let Some(wait) = pace.wait(sent) {
            if stop.wait(wait) {
                break 'sending;
            }
        }
    }
    (sent, transactions.as_mut().map_or(Ok(()), Transactions::commit_if_open))
}

/// One transaction after the other, each as long as it was told.
struct Transactions<'a> {
    producer: &'a Producer,
    /// In milliseconds.
    duration: u64,
    /// When the one that is open was begun.
    begun: Option<u64>,
}

impl<'a> Transactions<'a> {
    fn new(flags: &Flags, producer: &'a Producer) -> Self {
        Self { producer, duration: flags.transaction_duration_ms.unwrap_or(3000), begun: None }
    }

    fn init(&mut self) -> Result<(), Failure> {
        Ok(self.producer.init_transactions()?)
    }

    fn begin_if_none_is_open(&mut self) -> Result<(), Failure> {
        if self.begun.is_none() {
            self.producer.begin_transaction()?;
            self.begun = Some(now());
        }
        Ok(())
    }

    fn commit_if_due(&mut self, now: u64) -> Result<(), Failure> {
        match self.begun {
            Some(begun) if now.saturating_sub(begun) >= self.duration => self.commit_if_open(),
            _ => Ok(()),
        }
    }

    fn commit_if_open(&mut self) -> Result<(), Failure> {
        if self.begun.take().is_some() {
            self.producer.commit_transaction()?;
        }
        Ok(())
    }
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
        Ok(())
    }

    fn payloads(&self) -> Result<Payloads, Failure> {
        let Some(file) = &self.payload_file else {
            return Ok(match self.record_size {
                Some(size) => Payloads::random(size as usize),
                None => Payloads::monotonic(),
            });
        };
        let mut out = io::stdout();
        writeln!(out, "Reading payloads from: {}", path::absolute(file)?.display())?;
        let payloads = Payloads::from_file(file, &self.payload_delimiter)?;
        writeln!(out, "Number of messages read: {}", payloads.len())?;
        Ok(payloads)
    }

    /// Transactions need a name; one of them asks for transactions, and either flag does.
    fn transactional_id(&self) -> Option<String> {
        let unique = || format!("performance-producer-{}-{}", process::id(), now());
        self.transactional_id.clone().or_else(|| self.transaction_duration_ms.map(|_| unique()))
    }
}

/// What the callbacks report to.
struct Report {
    warmup_records: u64,
    reporting_interval: u64,
    timestamps: Timestamps,
    meters: Mutex<Meters>,
    failures: Failures,
    bar: ProgressBar,
}

struct Meters {
    all: Meter,
    /// After the warm-up, if there is one.
    steady: Option<Meter>,
    bar_drawn: u64,
}

impl Report {
    fn new(flags: &Flags) -> Self {
        let bar = if io::stderr().is_terminal() {
            let style = ProgressStyle::with_template("{bar:40} {pos}/{len} records, {rate}, {eta} to go");
            let style = style.expect("the template is well formed").with_key("rate", write_rate);
            ProgressBar::new(flags.num_records).with_style(style)
        } else {
            ProgressBar::hidden()
        };
        let all = Meter::new(false, flags.reporting_interval, now());
        Self {
            warmup_records: flags.warmup_records,
            reporting_interval: flags.reporting_interval,
            timestamps: Timestamps::default(),
            meters: Mutex::new(Meters { all, steady: None, bar_drawn: 0 }),
            failures: Failures::default(),
            bar,
        }
    }

    /// What became of a record. Without `begin`, its timestamp says when its `send` began.
    fn note(&self, begin: Option<u64>, outcome: Result<RecordMetadata, DeliveryError>) {
        let metadata = match outcome {
            Ok(metadata) => metadata,
            Err(error) => return self.failures.note(error),
        };
        let now = now();
        let timestamp = metadata.timestamp() as u64;
        if let Some(begin) = begin {
            self.timestamps.compare(begin, timestamp);
        }
        let latency = now.saturating_sub(begin.unwrap_or(timestamp));
        let bytes = metadata.serialized_value_size() as u64;

        let mut meters = self.lock();
        let mut line = meters.all.record(latency, bytes, now);
        if self.warmup_records > 0 && meters.all.count() > self.warmup_records {
            // From here on its lines are the ones of interest.
            let steady = || Meter::new(true, self.reporting_interval, now);
            line = meters.steady.get_or_insert_with(steady).record(latency, bytes, now);
        }
        if let Some(line) = line {
            // Standard output that is gone is an error at the end.
            let _ = self.bar.suspend(|| writeln!(io::stdout(), "{line}"));
        }
        if now.saturating_sub(meters.bar_drawn) >= REDRAW {
            meters.bar_drawn = now;
            self.bar.set_position(meters.all.count());
        }
    }

    /// Prints what was measured until now.
    fn finish(&self) -> io::Result<()> {
        let now = now();
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

/// Whether acknowledged records have the timestamps that they were sent with. With
/// `message.timestamp.type=LogAppendTime` they have the broker's instead, and those say nothing about when they were
/// sent. Only the topic's settings tell, and a producer does not see them: so timestamps are compared first.
#[derive(Default)]
struct Timestamps {
    /// The last one that was equal, in milliseconds.
    equal: AtomicU64,
    /// How many different ones were equal; [`NEVER`] after one that was not.
    equals: AtomicU32,
}

impl Timestamps {
    /// Both are equal by chance when a record is appended in the millisecond in which it is sent: not so many times.
    fn come_back(&self) -> bool {
        let equals = self.equals.load(Ordering::Relaxed);
        equals >= ENOUGH && equals != NEVER
    }

    fn compare(&self, sent: u64, acknowledged: u64) {
        // Callbacks run one after the other; atomics are for the sending thread that looks on.
        if sent != acknowledged {
            self.equals.store(NEVER, Ordering::Relaxed);
        } else if self.equal.swap(sent, Ordering::Relaxed) != sent {
            let equals = self.equals.load(Ordering::Relaxed);
            self.equals.store(equals.saturating_add(1), Ordering::Relaxed);
        }
    }
}

/// A bar's own rate has four places behind the point.
fn write_rate(state: &ProgressState, out: &mut dyn fmt::Write) {
    // Nothing can be done about a terminal that is gone.
    let _ = write!(out, "{:.0} records/sec", state.per_sec());
}

/// Milliseconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// One for the whole process, so that callbacks need not carry a reference to it.
static REPORT: OnceLock<Report> = OnceLock::new();
/// Milliseconds after which the progress bar is drawn again.
const REDRAW: u64 = 100;
/// After so many records it looks whether a signal has come: a lock for each would be measured.
const LOOK: u64 = 1024;
const ENOUGH: u32 = 100;
const NEVER: u32 = u32::MAX;
