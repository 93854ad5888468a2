//! An application with threads: each works with a clone of one producer, a full buffer holds them back, SIGINT and
//! SIGTERM end them in order, and in the end the numbers must add up. Needs nothing: the cluster is part of the process.
//!
//! ```text
//! cargo run --example embed_in_threads
//! ```

#![allow(clippy::disallowed_methods, reason = "an application that says how long it was held back")]

mod shared;

use std::{
    io::{self, Write},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use kafka_producer::{Producer, ProducerConfig, ProducerRecord, SendError, testing::Cluster};

use shared::{Failure, Failures, termination::Stop};

/// Sends from several threads, and counts what became of it.
#[derive(clap::Parser)]
#[command(name = "embed_in_threads")]
struct Flags {
    /// A real cluster, instead of one inside this process.
    #[arg(long, value_name = "HOST:PORT[,HOST:PORT...]")]
    bootstrap_server: Option<String>,
    /// The topic to send to.
    #[arg(long, default_value = "orders")]
    topic: String,
    /// How many threads work.
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=1000))]
    threads: u64,
    /// How many records they send in all, if no signal comes first.
    #[arg(long, value_name = "COUNT", default_value_t = 100_000)]
    records: u64,
    /// How many bytes of records may wait for the brokers: buffer.memory. Whoever sends more is held back.
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20)]
    buffer_memory: usize,
}

fn main() -> ExitCode {
    shared::run(|flags: Flags| match &flags.bootstrap_server {
        Some(bootstrap) => work(&flags, bootstrap),
        None => {
            let cluster = Cluster::builder().topic(&*flags.topic, 6).keep_records(false).start()?;
            work(&flags, &cluster.bootstrap())
        }
    })
}

fn work(flags: &Flags, bootstrap: &str) -> Result<(), Failure> {
    let config = ProducerConfig::new(bootstrap).buffer_memory(flags.buffer_memory);
    let producer = Producer::new(config)?;
    let stop = Stop::on_signal({
        let producer = producer.clone();
        // A thread waits in `send` for a cluster that does not answer. This fails what is left.
        move || drop(producer.close_timeout(Duration::ZERO))
    })?;
    let ledger = Arc::new(Ledger::default());

    let outcomes: Vec<Outcome> = thread::scope(|scope| {
        let start = |_| {
            let (producer, ledger) = (producer.clone(), Arc::clone(&ledger));
            let stop = &stop;
            scope.spawn(move || send_orders(flags, &producer, &ledger, stop))
        };
        let threads: Vec<_> = (0..flags.threads).map(start).collect();
        threads.into_iter().map(|thread| thread.join().expect("a worker does not panic")).collect()
    });

    // Whatever was accepted is acknowledged after this, or has failed; and its callback has run.
    producer.close()?;
    let was_asked = stop.is_asked();
    stop.ended();
    ledger.report(&outcomes)?;
    match outcomes.into_iter().find_map(|outcome| outcome.error) {
        Some(error) if !was_asked => Err(error.into()),
        _ => Ok(()),
    }
}

/// One thread's work: takes the next order as long as there is one.
fn send_orders(flags: &Flags, producer: &Producer, ledger: &Arc<Ledger>, stop: &Stop) -> Outcome {
    let mut outcome = Outcome::default();
    while !stop.is_asked() {
        let order = ledger.taken.fetch_add(1, Ordering::Relaxed);
        if order >= flags.records {
            break;
        }
        let (key, value) = (format!("customer-{}", order % 1000), format!("order {order}: 42 apples"));
        let begin = Instant::now();
        let accepted = producer.send_with(ProducerRecord::new(&flags.topic, &value).key(&key), {
            let ledger = Arc::clone(ledger);
            move |result| match result {
                Ok(_metadata) => drop(ledger.acknowledged.fetch_add(1, Ordering::Relaxed)),
                Err(error) => ledger.failures.note(error),
            }
        });
        outcome.held_back += begin.elapsed();
        match accepted {
            Ok(_handle) => outcome.accepted += 1,
            // The order was not taken: here it would go back to where it came from.
            Err(error) => {
                outcome.error = Some(error);
                break;
            }
        }
    }
    outcome
}

/// What became of one thread's work.
#[derive(Default)]
struct Outcome {
    accepted: u64,
    /// The time in `send`: next to nothing, unless the buffer was full.
    held_back: Duration,
    error: Option<SendError>,
}

/// What all threads share.
#[derive(Default)]
struct Ledger {
    /// The number of the next order.
    taken: AtomicU64,
    acknowledged: AtomicU64,
    failures: Failures,
}

impl Ledger {
    fn report(&self, outcomes: &[Outcome]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        for (i, outcome) in outcomes.iter().enumerate() {
            let Outcome { accepted, held_back, .. } = outcome;
            writeln!(out, "thread {i}: {accepted} accepted, {} ms in send", held_back.as_millis())?;
        }
        let accepted: u64 = outcomes.iter().map(|outcome| outcome.accepted).sum();
        let acknowledged = self.acknowledged.load(Ordering::Relaxed);
        let failed = self.failures.count();
        writeln!(out, "{accepted} accepted = {acknowledged} acknowledged + {failed} failed")?;
        if accepted != acknowledged + failed {
            return Err("records are missing in this account".into());
        }
        self.failures.check(accepted)
    }
}
