//! Sends records, and serves what the producer has counted to Prometheus.
//!
//! ```text
//! cargo run --example metrics -- --listen 127.0.0.1:9404 --seconds 60
//! curl http://127.0.0.1:9404/metrics
//! ```

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "an application has a clock and a port"
)]

mod shared;

use std::{
    io::{self, BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use kafka_producer::{Producer, ProducerConfig, ProducerRecord, testing::Cluster};

use shared::{Failure, termination::on_termination};

/// Sends a record now and then, and serves the producer's metrics at /metrics in Prometheus' text format.
#[derive(clap::Parser)]
#[command(name = "metrics")]
struct Flags {
    /// A real cluster, instead of one inside this process.
    #[arg(long, value_name = "HOST:PORT[,HOST:PORT...]")]
    bootstrap_server: Option<String>,
    /// The topic to send to.
    #[arg(long, default_value = "metrics")]
    topic: String,
    /// Where to serve the metrics; port 0 is any that is free.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9404")]
    listen: String,
    /// How many records to send a second.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    throughput: u32,
    /// When to end; not given, on SIGINT.
    #[arg(long)]
    seconds: Option<u64>,
}

fn main() -> ExitCode {
    shared::run(|flags: Flags| match &flags.bootstrap_server {
        Some(bootstrap) => flags.serve(bootstrap),
        None => {
            let cluster = Cluster::builder().topic(&*flags.topic, 3).start()?;
            flags.serve(&cluster.bootstrap())
        }
    })
}

impl Flags {
    fn serve(&self, bootstrap: &str) -> Result<(), Failure> {
        let producer = Producer::new(ProducerConfig::new(bootstrap))?;
        let listener =
            TcpListener::bind(&self.listen).map_err(|e| format!("--listen {}: {e}", self.listen))?;
        writeln!(io::stdout(), "http://{}/metrics", listener.local_addr()?)?;
        let ended = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&ended);
        on_termination(move |_| asked.store(true, Ordering::Relaxed))?;

        let clone = producer.clone();
        // It ends with the process: a connection that nobody makes cannot be waited for.
        thread::Builder::new().name("scrapes".into()).spawn(move || {
            for connection in listener.incoming() {
                if let Err(e) = connection.and_then(|connection| answer(connection, &clone)) {
                    log::info!("a scrape failed: {e}");
                }
            }
        })?;
        self.send(&producer, &ended)?;
        Ok(producer.close()?)
    }

    fn send(&self, producer: &Producer, ended: &AtomicBool) -> Result<(), Failure> {
        let begun = Instant::now();
        for n in 0u64.. {
            let late = self.seconds.is_some_and(|seconds| begun.elapsed() >= Duration::from_secs(seconds));
            if late || ended.load(Ordering::Relaxed) {
                break;
            }
            producer.send(ProducerRecord::new(&self.topic, &format!("record {n}")))?;
            thread::sleep(Duration::from_secs(1) / self.throughput);
        }
        Ok(())
    }
}

/// One request, one answer: what a scraper needs of HTTP.
fn answer(connection: TcpStream, producer: &Producer) -> io::Result<()> {
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(&connection).lines().take(MOST_LINES);
    let request = lines.next().transpose()?.unwrap_or_default();
    // The rest of the request has to be read, or the client hears of a broken connection.
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let (status, text) = match request.split(' ').nth(1) {
        Some("/metrics") => ("200 OK", producer.metrics().to_prometheus()),
        _ => ("404 Not Found", "look at /metrics\n".to_owned()),
    };
    write!(
        &connection,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    )
}

const PATIENCE: Duration = Duration::from_secs(5);
const MOST_LINES: usize = 100;
