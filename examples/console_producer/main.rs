//! Sends each line of standard input as a record, like `kafka-console-producer.sh`.
//!
//! ```text
//! printf 'customer-7\t42 apples\n' | cargo run --example console_producer -- \
//!     --bootstrap-server localhost:9092 --topic orders --reader-property parse.key=true
//! ```

mod lines;
#[path = "../shared/mod.rs"]
mod shared;

use std::{
    io::{self, IsTerminal, Write},
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
    /// How lines are read, as name=value: parse.key (false), key.separator (a tab), parse.headers (false),
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
    let properties =
        flags.reader_property.iter().map(|property| split_property("--reader-property", property));
    let format = LineFormat::new(properties.collect::<Result<Vec<_>, _>>()?)?;
    let config = flags.connection.config(
        &flags.command_property,
        &[
            ("linger.ms", flags.timeout.as_deref()),
            ("batch.size", flags.batch_size.as_deref()),
            ("compression.type", flags.compression_codec.as_deref()),
            ("acks", flags.request_required_acks.as_deref()),
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
