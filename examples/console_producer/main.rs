//! Sends each line of standard input as a record, like `kafka-console-producer.sh`.
//!
//! ```text
//! printf 'customer-7\t42 apples\n' | cargo run --example console_producer -- \
//!     --bootstrap-server localhost:9092 --topic orders --reader-property parse.key=true
//! ```

mod lines;
#[path = "../../src/config/properties.rs"]
mod properties;
#[path = "../shared/mod.rs"]
mod shared;

use std::{
    fmt::Display,
    fs,
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::{self, ExitCode},
    sync::Arc,
};

use kafka_producer::{Producer, ProducerRecord};

use lines::{LineFormat, Lines, Parts};
use shared::{
    Connection, Failure, Failures, split_property,
    termination::{exit_code, on_termination},
};

/// Sends each line of standard input as a record.
#[derive(clap::Parser)]
#[command(name = "console_producer")]
struct Flags {
    #[command(flatten)]
    connection: Connection,
    /// The topic to send to.
    #[arg(long)]
    topic: String,
    /// Wait for each record's acknowledgement before reading the next line.
    #[arg(long)]
    sync: bool,
    /// How long a batch waits for more records, in milliseconds: linger.ms.
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    timeout: Option<String>,
    /// How many bytes a batch may hold: batch.size.
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    batch_size: Option<String>,
    /// none, gzip, snappy, lz4 or zstd, and gzip if no word follows: compression.type.
    #[arg(long, value_name = "CODEC", num_args = 0..=1, default_missing_value = "gzip")]
    compression_codec: Option<String>,
    /// When a record counts as written, -1, 0, 1 or all: acks.
    #[arg(long, value_name = "ACKS", allow_negative_numbers = true)]
    request_required_acks: Option<String>,
    /// How often a record is sent again: retries.
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    message_send_max_retries: Option<String>,
    /// How long to wait before it is sent again, in milliseconds: retry.backoff.ms.
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    retry_backoff_ms: Option<String>,
    /// How long to wait for a broker's answer, in milliseconds: request.timeout.ms.
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    request_timeout_ms: Option<String>,
    /// How long a line may wait for metadata and for room, in milliseconds: max.block.ms.
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    max_block_ms: Option<String>,
    /// How many bytes may wait for the brokers: buffer.memory.
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    max_memory_bytes: Option<String>,
    /// When metadata is asked for again, in milliseconds: metadata.max.age.ms.
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    metadata_expiry_ms: Option<String>,
    /// How large a socket's buffer for sending is: send.buffer.bytes.
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    socket_buffer_size: Option<String>,
    /// A file that says how lines are read, in Java's format for properties.
    #[arg(long, value_name = "FILE")]
    reader_config: Option<PathBuf>,
    /// How lines are read, as name=value; stands above --reader-config: parse.key (false), key.separator (a tab), parse.headers (false),
    /// headers.delimiter (a tab), headers.separator (,), headers.key.separator (:), null.marker (none),
    /// ignore.error (false). With both, a line is "h1:v1,h2:v2 TAB key TAB value".
    #[arg(long, value_name = "NAME=VALUE", num_args = 1..)]
    reader_property: Vec<String>,
    /// A setting of the producer; stands above those of --command-config.
    #[arg(long, value_name = "NAME=VALUE", num_args = 1..)]
    command_property: Vec<String>,
}

fn main() -> ExitCode {
    shared::run(produce)
}

fn produce(flags: Flags) -> Result<(), Failure> {
    let format = flags.format()?;
    let config = flags.connection.config(
        &flags.command_property,
        &[
            ("linger.ms", flags.timeout.as_deref()),
            ("batch.size", flags.batch_size.as_deref()),
            ("compression.type", flags.compression_codec.as_deref()),
            ("acks", flags.request_required_acks.as_deref()),
            ("retries", flags.message_send_max_retries.as_deref()),
            ("retry.backoff.ms", flags.retry_backoff_ms.as_deref()),
            ("request.timeout.ms", flags.request_timeout_ms.as_deref()),
            ("max.block.ms", flags.max_block_ms.as_deref()),
            ("buffer.memory", flags.max_memory_bytes.as_deref()),
            ("metadata.max.age.ms", flags.metadata_expiry_ms.as_deref()),
            ("send.buffer.bytes", flags.socket_buffer_size.as_deref()),
        ],
    )?;
    let producer = Producer::new(config)?;

    // Nothing else ends a read of standard input.
    on_termination({
        let producer = producer.clone();
        move |signal| {
            end_prompt();
            if let Err(error) = producer.close() {
                eprintln!("{error}");
            }
            process::exit(exit_code(signal));
        }
    })?;

    let failures = Arc::new(Failures::default());
    let mut sent = 0;
    let outcome = send_lines(&flags, &format, &producer, &failures, &mut sent);
    // What was read before a line that is wrong is sent.
    let closed = producer.close();
    outcome?;
    closed?;
    failures.check(sent)
}

impl Flags {
    fn format(&self) -> Result<LineFormat, Failure> {
        let mut from_file = Vec::new();
        if let Some(file) = &self.reader_config {
            let explain = |why: &dyn Display| format!("--reader-config {}: {why}", file.display());
            let text = fs::read(file).map_err(|error| explain(&error))?;
            from_file = properties::parse(&text).map_err(|error| explain(&error))?;
        }
        let mut properties: Vec<_> =
            from_file.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        for property in &self.reader_property {
            properties.push(split_property("--reader-property", property)?);
        }
        Ok(LineFormat::new(properties)?)
    }
}

fn send_lines(
    flags: &Flags,
    format: &LineFormat,
    producer: &Producer,
    failures: &Arc<Failures>,
    sent: &mut u64,
) -> Result<(), Failure> {
    let mut lines = Lines::new(io::stdin().lock());
    loop {
        if prompts() {
            print!(">");
            io::stdout().flush()?;
        }
        let Some((line, number)) = lines.next()? else {
            end_prompt();
            return Ok(());
        };
        let Parts { headers, key, value } = format.parse(line, number)?;
        let record = ProducerRecord::with_value(&flags.topic, value).with_key(key).headers(headers);
        if flags.sync {
            producer.send(record)?.get()?;
        } else {
            let failures = Arc::clone(failures);
            producer.send_with(record, move |outcome| {
                if let Err(error) = outcome {
                    failures.note(error);
                }
            })?;
        }
        *sent += 1;
    }
}

fn prompts() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// What comes next, the shell's prompt most often, begins on a line of its own.
fn end_prompt() {
    if prompts() {
        println!();
    }
}
