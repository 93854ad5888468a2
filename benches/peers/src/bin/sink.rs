//! A broker that costs next to nothing. Prints where it listens; a line on its standard input makes it print its
//! counts, and the end of the input ends it.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use clap::Parser;
use kafka_producer_peers::{
    measure,
    sink::{Ledger, Report, Service, Shape, serve},
};

#[derive(Parser)]
#[command(about = "A broker that costs next to nothing: acknowledges everything, keeps nothing, and counts")]
struct Flags {
    /// Where to listen; 0 takes any free port.
    #[arg(long, default_value_t = 0)]
    port: u16,
    #[arg(long, default_value_t = 1)]
    topics: u32,
    /// Partitions of each topic.
    #[arg(long, default_value_t = 6)]
    partitions: u32,
    /// Answer a request only after so long.
    #[arg(long, default_value_t = 0, conflicts_with = "spin")]
    delay_ms: u64,
    /// Never sleep.
    #[arg(long)]
    spin: bool,
    /// Speak TLS, with a certificate of tls/ca.pem.
    #[arg(long, conflicts_with_all = ["spin", "delay_ms"])]
    tls: bool,
    /// Check every batch's checksum and decode every record.
    #[arg(long)]
    verify: bool,
    /// With --verify: how long every record's value must be.
    #[arg(long, requires = "verify")]
    size: Option<usize>,
}

fn main() -> io::Result<()> {
    let flags = Flags::parse();
    let shape =
        Shape { topics: flags.topics, partitions: flags.partitions, verify: flags.verify, size: flags.size };
    let ledger = Arc::new(Mutex::new(Ledger::new(shape)));
    let service = if flags.spin {
        Service::Spinning
    } else if flags.tls {
        Service::Tls
    } else {
        Service::Sleeping { delay: Duration::from_millis(flags.delay_ms) }
    };
    let port = serve(flags.port, service, &ledger)?;
    println!("127.0.0.1:{port}");
    for line in io::stdin().lines() {
        line?;
        let counts = ledger.lock().unwrap_or_else(PoisonError::into_inner).report();
        let report = Report { cpu_seconds: measure::cpu_seconds(), ..counts };
        println!("{}", serde_json::to_string(&report).expect("a report is plain numbers"));
    }
    Ok(())
}
