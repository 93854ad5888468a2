//! What a run cost: time, CPU, switches, memory, and how long single records took.

use std::{fs, time::Instant};

use nix::sys::{
    resource::{Usage, UsageWho, getrusage},
    time::TimeValLike,
};
use serde::{Deserialize, Serialize};

/// What a driver prints, as one line of JSON.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Report {
    pub driver: String,
    /// What the library calls itself, where it says so at run time.
    #[serde(default)]
    pub version: Option<String>,
    /// Sent while it was measured.
    pub records: u64,
    /// Sent before.
    pub warmup_records: u64,
    pub seconds: f64,
    /// User and system time of the whole process, in the same span.
    pub cpu_seconds: f64,
    /// Context switches, in the same span.
    #[serde(default)]
    pub switches: Option<u64>,
    /// The most memory that the process ever held.
    pub rss_kib: u64,
    #[serde(default)]
    pub latency: Option<Latency>,
}

/// Microseconds from handing a record over until its acknowledgement was known.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Latency {
    pub samples: u64,
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

/// A stretch of time that is being measured.
pub struct Span {
    begun: Instant,
    usage: Usage,
}

/// What it came to.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    pub seconds: f64,
    pub cpu_seconds: f64,
    pub switches: u64,
}

impl Span {
    pub fn begin() -> Self {
        Self { usage: usage(), begun: Instant::now() }
    }

    pub fn end(self) -> Spent {
        let seconds = self.begun.elapsed().as_secs_f64();
        let now = usage();
        let switches = |usage: &Usage| {
            (usage.voluntary_context_switches() + usage.involuntary_context_switches()) as u64
        };
        Spent {
            seconds,
            cpu_seconds: cpu_seconds_of(&now) - cpu_seconds_of(&self.usage),
            switches: switches(&now) - switches(&self.usage),
        }
    }
}

impl Latency {
    /// Of single durations, in nanoseconds.
    pub fn of(mut nanoseconds: Vec<u64>) -> Option<Self> {
        nanoseconds.sort_unstable();
        let last = *nanoseconds.last()?;
        let at = |share: f64| {
            let rank = (share * nanoseconds.len() as f64).ceil() as usize;
            nanoseconds[rank.clamp(1, nanoseconds.len()) - 1] as f64 / 1000.0
        };
        Some(Self {
            samples: nanoseconds.len() as u64,
            mean: nanoseconds.iter().sum::<u64>() as f64 / nanoseconds.len() as f64 / 1000.0,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: last as f64 / 1000.0,
        })
    }
}

/// User and system time of this process so far.
pub fn cpu_seconds() -> f64 {
    cpu_seconds_of(&usage())
}

/// The most memory this process ever held. Not `ru_maxrss`: that begins with what the parent held when it forked.
pub fn peak_rss_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn usage() -> Usage {
    getrusage(UsageWho::RUSAGE_SELF).expect("a process may ask for its own usage")
}

fn cpu_seconds_of(usage: &Usage) -> f64 {
    (usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_rank() {
        let latency = Latency::of((1..=1000).rev().map(|us| us * 1000).collect()).expect("there are samples");
        assert_eq!((latency.p50, latency.p90, latency.p99, latency.p999), (500.0, 900.0, 990.0, 999.0));
        assert_eq!((latency.max, latency.mean), (1000.0, 500.5));
        assert_eq!(Latency::of(Vec::new()), None);
    }
}
