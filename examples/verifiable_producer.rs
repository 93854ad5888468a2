//! Sends rising numbers and says what became of each: one JSON object a line, like `VerifiableProducer` of Kafka's
//! system tests.
//!
//! ```text
//! cargo run --example verifiable_producer -- --bootstrap-server localhost:9092 --topic numbers --max-messages 10
//! ```

#![allow(clippy::disallowed_methods, reason = "events carry the time")]

mod shared;

use std::{
    fmt,
    io::{self, Write},
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use kafka_producer::{DeliveryError, ErrorCode, Producer, ProducerRecord, RecordMetadata, SendError};
use serde::Serialize;

use shared::{Connection, Failure, pace::Pace, termination::Stop};

/// Sends rising numbers and prints, as JSON, what became of each.
#[derive(clap::Parser)]
#[command(name = "verifiable_producer")]
struct Flags {
    #[command(flatten)]
    connection: Connection,
    /// The topic to send to.
    #[arg(long)]
    topic: String,
    /// How many records to send; without end if negative.
    #[arg(long, value_name = "COUNT", default_value_t = -1, allow_negative_numbers = true)]
    max_messages: i64,
    /// How many records to send per second, on average; as many as possible if negative.
    #[arg(long, value_name = "RECORDS", default_value_t = -1, allow_negative_numbers = true)]
    throughput: i64,
    /// When a record counts as written, -1, 0, 1 or all: acks.
    #[arg(long, allow_negative_numbers = true)]
    acks: Option<String>,
    /// The first record's timestamp, in milliseconds since 1970; later ones count on from it.
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    message_create_time: Option<i64>,
    /// Makes the values PREFIX.0, PREFIX.1 and so on.
    #[arg(long, value_name = "PREFIX", allow_negative_numbers = true)]
    value_prefix: Option<i64>,
    /// Gives the records keys, from 0 to one less than this, over and over.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    repeating_keys: Option<u64>,
}

fn main() -> ExitCode {
    shared::run(verify)
}

fn verify(flags: Flags) -> Result<(), Failure> {
    let config = flags.connection.config(&[], &[("acks", flags.acks.as_deref())])?;
    let producer = Producer::new(config)?;
    let stop = Stop::on_signal({
        let producer = producer.clone();
        // It is waiting in `send`. This ends that.
        move || drop(producer.close())
    })?;

    let start = Instant::now();
    let events = Arc::new(Events::default());
    events.print(&Plain { timestamp: now(), name: "startup_complete" });
    let (sent, outcome) = send_numbers(&flags, &producer, &events, &stop);
    stop.ended();
    let closed = producer.close();
    events.print(&Plain { timestamp: now(), name: "shutdown_complete" });
    let State { acked, failed, broken } = events.take();
    events.print(&ToolData {
        timestamp: now(),
        name: "tool_data",
        sent,
        acked,
        target_throughput: flags.throughput,
        avg_throughput: acked as f64 / start.elapsed().as_secs_f64(),
    });

    outcome?;
    closed?;
    if let Some(error) = broken.or(events.take().broken) {
        return Err(format!("cannot write to standard output: {error}").into());
    }
    match failed {
        0 => Ok(()),
        _ => Err(format!("{failed} of {sent} records were not acknowledged: see producer_send_error").into()),
    }
}

/// Returns how many were attempted, and why it ended early if no signal asked for that.
fn send_numbers(
    flags: &Flags,
    producer: &Producer,
    events: &Arc<Events>,
    stop: &Stop,
) -> (u64, Result<(), Failure>) {
    let most = u64::try_from(flags.max_messages).unwrap_or(u64::MAX);
    let pace = Pace::new(flags.throughput as f64);
    let start = Instant::now();
    for i in 0..most {
        let key = flags.repeating_keys.map(|keys| (i % keys).to_string());
        let value = match flags.value_prefix {
            Some(prefix) => format!("{prefix}.{i}"),
            None => i.to_string(),
        };
        let mut record =
            ProducerRecord::new(&flags.topic, &value).with_key(key.as_deref().map(str::as_bytes));
        if let Some(first) = flags.message_create_time.filter(|&ms| ms != -1) {
            let passed = if i == 0 { 0 } else { start.elapsed().as_millis() as i64 };
            record = record.timestamp(first + passed);
        }
        let refused = producer.send_with(record, {
            let (events, topic) = (Arc::clone(events), flags.topic.clone());
            let (key, value) = (key.clone(), value.clone());
            move |outcome| match outcome {
                Ok(metadata) => events.success(key, value, &metadata),
                Err(error) => events.error(key, value, &topic, &error),
            }
        });
        if let Err(error) = refused {
            events.error(key, value, &flags.topic, &error);
            if error.is_fatal() {
                return (i + 1, if stop.is_asked() { Ok(()) } else { Err(error.into()) });
            }
        }
        if events.is_broken() || must_stop(&pace, i + 1, stop) {
            return (i + 1, Ok(()));
        }
    }
    (most, Ok(()))
}

/// Waits until the next record is due; true if a signal came first.
fn must_stop(pace: &Pace, sent: u64, stop: &Stop) -> bool {
    while let Some(wait) = pace.wait(sent) {
        if stop.wait(wait) {
            return true;
        }
    }
    stop.is_asked()
}

/// Prints what happens, and counts it.
#[derive(Default)]
struct Events(Mutex<State>);

#[derive(Default)]
struct State {
    acked: u64,
    failed: u64,
    /// Why nothing can be printed any more.
    broken: Option<io::Error>,
}

#[derive(Serialize)]
struct Plain {
    timestamp: u64,
    name: &'static str,
}

#[derive(Serialize)]
struct SendSuccess<'a> {
    timestamp: u64,
    name: &'static str,
    key: Option<String>,
    value: String,
    topic: &'a str,
    partition: i32,
    offset: i64,
}

#[derive(Serialize)]
struct SendFailure<'a> {
    timestamp: u64,
    name: &'static str,
    key: Option<String>,
    value: String,
    topic: &'a str,
    exception: String,
    message: String,
}

#[derive(Serialize)]
struct ToolData {
    timestamp: u64,
    name: &'static str,
    sent: u64,
    acked: u64,
    target_throughput: i64,
    avg_throughput: f64,
}

impl Events {
    fn success(&self, key: Option<String>, value: String, metadata: &RecordMetadata) {
        let (topic, partition, offset) = (metadata.topic(), metadata.partition(), metadata.offset());
        let name = "producer_send_success";
        self.print(&SendSuccess { timestamp: now(), name, key, value, topic, partition, offset });
        self.with(|state| state.acked += 1);
    }

    fn error(&self, key: Option<String>, value: String, topic: &str, error: &impl NamedError) {
        let (exception, message) = (error.name(), error.to_string());
        let name = "producer_send_error";
        self.print(&SendFailure { timestamp: now(), name, key, value, topic, exception, message });
        self.with(|state| state.failed += 1);
    }

    fn print(&self, event: &impl Serialize) {
        let mut line = serde_json::to_vec(event).expect("an event holds nothing that JSON has no words for");
        line.push(b'\n');
        // Whole lines only, so that they can be taken for what they say when this process is killed.
        let written = io::stdout().write_all(&line);
        self.with(|state| state.broken = state.broken.take().or(written.err()));
    }

    fn is_broken(&self) -> bool {
        self.with(|state| state.broken.is_some())
    }

    fn take(&self) -> State {
        self.with(std::mem::take)
    }

    fn with<T>(&self, what: impl FnOnce(&mut State) -> T) -> T {
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An error that says what kind it is.
trait NamedError: fmt::Display {
    fn name(&self) -> String;
}

impl NamedError for DeliveryError {
    fn name(&self) -> String {
        kafka_name(self.code()).unwrap_or_else(|| variant(self.cause()))
    }
}

impl NamedError for SendError {
    fn name(&self) -> String {
        kafka_name(self.code()).unwrap_or_else(|| variant(self.kind()))
    }
}

fn kafka_name(code: Option<ErrorCode>) -> Option<String> {
    code.and_then(ErrorCode::name).map(str::to_owned)
}

/// The name of an enum's variant, which is how its `Debug` text begins.
fn variant(kind: &impl fmt::Debug) -> String {
    format!("{kind:?}").chars().take_while(char::is_ascii_alphanumeric).collect()
}

/// Milliseconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
