//! What every driver takes. The drivers in other languages take the same.

use std::time::Duration;

use clap::{Parser, ValueEnum};

#[derive(Clone, Debug, Parser)]
pub struct Flags {
    /// The sink.
    #[arg(long, default_value = "127.0.0.1:9092")]
    pub bootstrap: String,
    /// Records that are measured.
    #[arg(long, default_value_t = 1_000_000)]
    pub records: u64,
    /// Bytes of a value.
    #[arg(long, default_value_t = 100)]
    pub size: usize,
    /// `batch.size`, or what comes closest.
    #[arg(long, default_value_t = 16_384)]
    pub batch_size: usize,
    #[arg(long, default_value_t = 5)]
    pub linger_ms: u64,
    /// none, gzip, snappy, lz4 or zstd, at its usual level.
    #[arg(long, default_value = "none")]
    pub compression: String,
    /// Topics, written to in turn.
    #[arg(long, default_value_t = 1)]
    pub topics: u32,
    /// Partitions of each topic.
    #[arg(long, default_value_t = 6)]
    pub partitions: u32,
    #[arg(long, default_value = "all")]
    pub acks: Acks,
    /// Threads that send.
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// Give each record a key of eight bytes, which chooses its partition.
    #[arg(long)]
    pub keys: bool,
    #[arg(long, default_value = "throughput")]
    pub mode: Mode,
    /// What becomes of the handles.
    #[arg(long, default_value = "plain")]
    pub variant: Variant,
    /// With `--mode rate`: records a second.
    #[arg(long, default_value_t = 100_000)]
    pub rate: u64,
    /// `buffer.memory`, or what comes closest.
    #[arg(long, default_value_t = 32 * 1024 * 1024)]
    pub buffer_bytes: usize,
    /// One more setting, NAME=VALUE in the producer's own words; it wins over those above.
    #[arg(long, value_parser = parse_property)]
    pub property: Vec<(String, String)>,
    /// Do the same for so long before it is measured.
    #[arg(long, default_value_t = 0.2)]
    pub warmup_seconds: f64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Acks {
    All,
    #[value(name = "1")]
    One,
    #[value(name = "0")]
    None,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Mode {
    /// As many records as it takes, as fast as it takes them; the clock stops when all are acknowledged.
    Throughput,
    /// Send one, wait for its acknowledgement, send the next.
    Latency,
    /// The same in each of `--threads` threads at once.
    Fanin,
    /// `--rate` records a second; how long each takes.
    Rate,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Variant {
    /// They are dropped.
    Plain,
    /// They are kept, and every one is asked, 4096 at a time.
    Handles,
    /// Each record has a callback instead.
    Callback,
}

impl Flags {
    pub fn acks_property(&self) -> &'static str {
        match self.acks {
            Acks::All => "all",
            Acks::One => "1",
            Acks::None => "0",
        }
    }

    pub fn acks_on_the_wire(&self) -> i16 {
        match self.acks {
            Acks::All => -1,
            Acks::One => 1,
            Acks::None => 0,
        }
    }

    /// For drivers that have no codecs.
    pub fn expect_no_compression(&self) {
        assert_eq!(self.compression, "none", "this driver compresses nothing");
    }

    pub fn warmup(&self) -> Duration {
        Duration::from_secs_f64(self.warmup_seconds)
    }

    /// The share of thread `thread`: all shares together are `--records`.
    pub fn share(&self, thread: usize) -> u64 {
        let threads = self.threads as u64;
        self.records / threads + u64::from((thread as u64) < self.records % threads)
    }
}

fn parse_property(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a property is NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
