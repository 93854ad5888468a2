//! Sends one value as JSON and says where it went: the script that every Kafka client begins with.
//!
//! ```text
//! cargo run --example send_json -- --bootstrap-server localhost:9092 --topic testTopic
//! ```

mod shared;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use kafka_producer::{BytesSerializer, JsonSerializer, Producer, ProducerConfig, ProducerRecord};

use shared::Failure;

/// Sends one value as JSON and prints topic-partition@offset.
#[derive(clap::Parser)]
#[command(name = "send_json")]
struct Flags {
    /// The brokers to ask first.
    #[arg(long, value_name = "HOST:PORT[,HOST:PORT...]", default_value = "localhost:9092")]
    bootstrap_server: String,
    /// Where to send it.
    #[arg(long, default_value = "testTopic")]
    topic: String,
}

#[derive(serde::Serialize)]
struct Order<'a> {
    customer: &'a str,
    apples: u32,
}

fn main() -> ExitCode {
    shared::run(send_json)
}

fn send_json(flags: Flags) -> Result<(), Failure> {
    let config = ProducerConfig::new(&flags.bootstrap_server);
    let producer = Producer::with_serializers(config, BytesSerializer, JsonSerializer)?;
    let order = Order { customer: "Ada", apples: 42 };
    let metadata = producer.send(ProducerRecord::<str, _>::with_value(&flags.topic, Some(&order)))?.get()?;
    Ok(writeln!(io::stdout(), "{metadata}")?)
}
