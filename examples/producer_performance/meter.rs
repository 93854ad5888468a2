//! Counts acknowledgements and their latencies, and reports them in the words of Kafka's own tool.
//!
//! Knows no producer and no clock: times come in as milliseconds.

use std::mem;

/// Of all records, or of those after the warm-up.
pub(crate) struct Meter {
    total: Tally,
    window: Tally,
    window_began: u64,
    /// Between two lines.
    interval: u64,
    began: u64,
    /// How many records had which latency. It grows with the longest.
    by_latency: Vec<u64>,
    is_steady_state: bool,
}

#[derive(Clone, Copy, Default)]
struct Tally {
    count: u64,
    bytes: u64,
    latency_sum: u64,
    latency_max: u64,
}

impl Meter {
    pub(crate) fn new(is_steady_state: bool, interval: u64, now: u64) -> Self {
        Self {
            total: Tally::default(),
            window: Tally::default(),
            window_began: now,
            interval,
            began: now,
            by_latency: Vec::new(),
            is_steady_state,
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.total.count
    }

    /// A record was acknowledged at `now`. Returns the line to print if the last one was long enough ago.
    pub(crate) fn record(&mut self, latency: u64, bytes: u64, now: u64) -> Option<String> {
        self.total.add(latency, bytes);
        self.window.add(latency, bytes);
        let bucket = usize::try_from(latency).unwrap_or(usize::MAX).min(LONGEST);
        if bucket >= self.by_latency.len() {
            self.by_latency.resize(bucket + 1, 0);
        }
        self.by_latency[bucket] += 1;

        let elapsed = now.saturating_sub(self.window_began);
        if elapsed < self.interval {
            return None;
        }
        let window = mem::take(&mut self.window);
        self.window_began = now;
        let is_first = window.count == self.total.count;
        Some(format!(
            "{}{} records sent, {:.1} records/sec ({:.2} MB/sec), {:.1} ms avg latency, {:.1} ms max latency.",
            if self.is_steady_state && is_first { "In steady state.\n" } else { "" },
            window.count,
            per_second(window.count as f64, elapsed),
            per_second(window.bytes as f64 / MIB, elapsed),
            window.average_latency(),
            window.latency_max as f64,
        ))
    }

    /// The last line, for what was measured until `now`.
    pub(crate) fn summary(&self, now: u64) -> String {
        let Tally { count, bytes, latency_max, .. } = self.total;
        let elapsed = now.saturating_sub(self.began);
        format!(
            "{count}{} records sent, {:.6} records/sec ({:.2} MB/sec), {:.2} ms avg latency, {:.2} ms max latency, \
             {} ms 50th, {} ms 95th, {} ms 99th, {} ms 99.9th.",
            if self.is_steady_state { " steady state" } else { "" },
            per_second(count as f64, elapsed),
            per_second(bytes as f64 / MIB, elapsed),
            self.total.average_latency(),
            latency_max as f64,
            self.percentile(0.5),
            self.percentile(0.95),
            self.percentile(0.99),
            self.percentile(0.999),
        )
    }

    /// The latency of the record that this share of all were quicker than.
    fn percentile(&self, share: f64) -> usize {
        let rank = (self.total.count as f64 * share) as u64;
        let mut quicker = 0;
        let reaches = |&records: &u64| {
            quicker += records;
            quicker > rank
        };
        self.by_latency.iter().position(reaches).unwrap_or(0)
    }
}

impl Tally {
    fn add(&mut self, latency: u64, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
        self.latency_sum += latency;
        self.latency_max = self.latency_max.max(latency);
    }

    fn average_latency(&self) -> f64 {
        self.latency_sum as f64 / self.count.max(1) as f64
    }
}

fn per_second(amount: f64, millis: u64) -> f64 {
    amount / (millis.max(1) as f64 / 1e3)
}

/// Longer latencies count as this one in percentiles: an hour is 29 MB of counters, a mistyped timeout a machine's memory.
const LONGEST: usize = 60 * 60 * 1000;
const MIB: f64 = 1024.0 * 1024.0;
