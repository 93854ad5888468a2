//! What was measured, and medians of it.
//!
//! Ratios are taken inside a round, between runs that came right after each other, and only then is their median taken:
//! a machine that is slower for a minute is slower for both.

use std::{fs, path::Path};

use kafka_producer_peers::{measure::Report, sink};
use serde::{Deserialize, Serialize};

use super::{drivers::Driver, plan::Kind};

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Results {
    pub(crate) quick: bool,
    pub(crate) machine: Vec<(String, String)>,
    pub(crate) versions: Vec<(String, String)>,
    /// Who is missing, and why.
    pub(crate) left_out: Vec<String>,
    pub(crate) outcomes: Vec<Outcome>,
}

/// What a workload came to.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Outcome {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) kind: Kind,
    pub(crate) rows: Vec<Row>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Row {
    pub(crate) label: String,
    pub(crate) driver: String,
    /// One a round; `None` if it failed.
    pub(crate) runs: Vec<Option<Run>>,
    pub(crate) failures: Vec<String>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Run {
    pub(crate) report: Report,
    pub(crate) sink: sink::Report,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Metric {
    RecordsPerSecond,
    /// Microseconds.
    CpuPerRecord,
    SwitchesPerRecord,
    P50,
    P90,
    P99,
    P999,
    RssMib,
}

impl Results {
    pub(crate) fn new(quick: bool, machine: Vec<(String, String)>) -> Self {
        Self { quick, machine, versions: Vec::new(), left_out: Vec::new(), outcomes: Vec::new() }
    }

    pub(crate) fn read(file: &Path) -> Result<Self, String> {
        let text = fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        serde_json::from_slice(&text).map_err(|error| format!("{} holds no results: {error}", file.display()))
    }

    pub(crate) fn write(&self, file: &Path) -> Result<(), String> {
        let text = serde_json::to_vec(self).expect("results are plain numbers and texts");
        fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))
    }

    pub(crate) fn note_version(&mut self, title: &str, version: &str) {
        if !self.versions.iter().any(|(known, _)| known == title) {
            self.versions.push((title.to_owned(), version.to_owned()));
        }
    }

    pub(crate) fn outcome(&self, id: &str) -> Option<&Outcome> {
        self.outcomes.iter().find(|outcome| outcome.id == id)
    }

    pub(crate) fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for outcome in &self.outcomes {
            for row in &outcome.rows {
                let name = format!("{}, {}", outcome.title, row.label);
                failures.extend(row.failures.iter().map(|why| format!("{name}: {why}")));
            }
        }
        failures
    }
}

impl Outcome {
    pub(crate) fn row(&self, label: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.label == label)
    }

    pub(crate) fn row_of(&self, driver: Driver) -> Option<&Row> {
        self.row(driver.title())
    }

    /// The one with OpenSSL takes its place where TLS is spoken.
    pub(crate) fn librdkafka(&self) -> Option<&Row> {
        self.row_of(Driver::Librdkafka).or_else(|| self.row_of(Driver::LibrdkafkaTls))
    }

    /// The peer that is best by a metric, among those that do the same work.
    pub(crate) fn best_peer(&self, metric: Metric) -> Option<&Row> {
        let peers = self.rows.iter().filter(|row| row.peer().is_some_and(Driver::is_equal));
        let mut ranked: Vec<_> = peers.filter_map(|row| Some((row.median(metric)?, row))).collect();
        ranked.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let best = if metric == Metric::RecordsPerSecond { ranked.last() } else { ranked.first() };
        best.map(|(_, row)| *row)
    }
}

impl Row {
    /// The driver, if it is another's producer.
    pub(crate) fn peer(&self) -> Option<Driver> {
        Driver::by_name(&self.driver).filter(|driver| driver.is_peer())
    }

    pub(crate) fn median(&self, metric: Metric) -> Option<f64> {
        median(self.values(metric).into_iter().flatten().collect())
    }

    /// The least and the most of all rounds.
    pub(crate) fn range(&self, metric: Metric) -> Option<(f64, f64)> {
        let values = self.values(metric).into_iter().flatten();
        values.fold(None, |range, value| {
            let (least, most) = range.unwrap_or((value, value));
            Some((value.min(least), value.max(most)))
        })
    }

    /// This row's metric divided by another's, round by round; the median of that.
    pub(crate) fn ratio(&self, metric: Metric, other: &Self) -> Option<f64> {
        let pairs = self.values(metric).into_iter().zip(other.values(metric));
        median(
            pairs
                .filter_map(|(ours, theirs)| Some(ours? / theirs?))
                .filter(|ratio| ratio.is_finite())
                .collect(),
        )
    }

    fn values(&self, metric: Metric) -> Vec<Option<f64>> {
        self.runs.iter().map(|run| run.as_ref().and_then(|run| run.report.value(metric))).collect()
    }
}

trait Value {
    fn value(&self, metric: Metric) -> Option<f64>;
}

impl Value for Report {
    fn value(&self, metric: Metric) -> Option<f64> {
        let records = self.records as f64;
        match metric {
            Metric::RecordsPerSecond => Some(records / self.seconds),
            Metric::CpuPerRecord => Some(self.cpu_seconds * 1e6 / records),
            Metric::SwitchesPerRecord => Some(self.switches? as f64 / records),
            Metric::P50 => Some(self.latency?.p50),
            Metric::P90 => Some(self.latency?.p90),
            Metric::P99 => Some(self.latency?.p99),
            Metric::P999 => Some(self.latency?.p999),
            Metric::RssMib => Some(self.rss_kib as f64 / 1024.0),
        }
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(label: &str, seconds: &[Option<f64>]) -> Row {
        let run = |seconds: f64| Run {
            report: Report { records: 1000, seconds, ..Report::default() },
            sink: sink::Report::default(),
        };
        let runs = seconds.iter().map(|seconds| seconds.map(run)).collect();
        Row { label: label.to_owned(), driver: "librdkafka".to_owned(), runs, failures: Vec::new() }
    }

    #[test]
    fn a_ratio_is_taken_inside_each_round() {
        // The machine is ten times slower in the second round, for both; the third failed for one.
        let fast = row("fast", &[Some(1.0), Some(10.0), Some(1.0)]);
        let slow = row("slow", &[Some(2.0), Some(20.0), None]);
        assert_eq!(fast.ratio(Metric::RecordsPerSecond, &slow), Some(2.0));
        assert_eq!(slow.ratio(Metric::RecordsPerSecond, &fast), Some(0.5));
        assert_eq!(fast.median(Metric::RecordsPerSecond), Some(1000.0));
        assert_eq!(slow.range(Metric::RecordsPerSecond), Some((50.0, 500.0)));
    }

    #[test]
    fn the_best_peer_has_the_most_records_and_the_least_of_all_else() {
        let rows = vec![row("a", &[Some(2.0)]), row("b", &[Some(1.0)])];
        let outcome = Outcome { id: String::new(), title: String::new(), kind: Kind::Comparison, rows };
        assert_eq!(outcome.best_peer(Metric::RecordsPerSecond).map(|row| &*row.label), Some("b"));
    }
}
