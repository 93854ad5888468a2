//! Sends ten records and says where they went. Needs nothing: the cluster is part of the process.
//!
//! ```text
//! cargo run --example quickstart
//! ```

mod shared;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use kafka_producer::{DeliveryFuture, Producer, ProducerConfig, ProducerRecord, testing::Cluster};

use shared::Failure;

/// Sends ten records and prints topic-partition@offset of each.
#[derive(clap::Parser)]
#[command(name = "quickstart")]
struct Flags {
    /// A real cluster, instead of one inside this process.
    #[arg(long, value_name = "HOST:PORT[,HOST:PORT...]")]
    bootstrap_server: Option<String>,
}

fn main() -> ExitCode {
    shared::run(|flags: Flags| match flags.bootstrap_server {
        Some(bootstrap) => send_to(&bootstrap),
        None => {
            let cluster = Cluster::builder().topic(TOPIC, 3).start()?;
            send_to(&cluster.bootstrap())
        }
    })
}

fn send_to(bootstrap: &str) -> Result<(), Failure> {
    let producer = Producer::new(ProducerConfig::new(bootstrap))?;

    // Nothing waits here: the records travel together.
    let sent: Vec<DeliveryFuture> = (1..=10)
        .map(|i| {
            let (key, value) = (format!("customer-{}", i % 4), format!("order {i}"));
            producer.send(ProducerRecord::new(TOPIC, &value).key(&key))
        })
        .collect::<Result<_, _>>()?;

    let mut out = io::stdout().lock();
    for delivery in &sent {
        writeln!(out, "{}", delivery.get()?)?;
    }
    Ok(producer.close()?)
}

const TOPIC: &str = "quickstart";
