//! The tables.

use std::fmt::Write;

use super::{
    drivers::Driver,
    plan::Kind,
    results::{Metric, Outcome, Results, Row},
};

/// The page with all tables.
pub(crate) fn page(results: &Results) -> String {
    let mut page = Page(String::new());
    page.head(results);
    page.summary(results);
    for outcome in &results.outcomes {
        page.outcome(outcome);
    }
    page.0
}

/// The file of the plot beside the page.
pub(crate) fn plot_name(results: &Results) -> &'static str {
    if results.quick { "quick.svg" } else { "peers.svg" }
}

/// A number as a person says it: three digits and a unit.
pub(crate) fn count(value: f64) -> String {
    match value {
        1e6.. => format!("{} M", three_digits(value / 1e6)),
        1e3.. => format!("{} k", three_digits(value / 1e3)),
        _ => format!("{value:.0}"),
    }
}

/// Microseconds or a ratio.
pub(crate) fn three_digits(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

struct Page(String);

impl Page {
    fn line(&mut self, text: impl AsRef<str>) {
        writeln!(self.0, "{}", text.as_ref()).expect("a string takes everything");
    }

    fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<_> = cells.into_iter().collect();
        self.line(format!("| {} |", cells.join(" | ")));
    }

    fn header(&mut self, columns: &[&str]) {
        self.row(columns.iter().map(|&column| column.to_owned()));
        let rules = (0..columns.len()).map(|column| if column == 0 { "---" } else { "---:" }.to_owned());
        self.row(rules);
    }

    fn head(&mut self, results: &Results) {
        let (title, command, note) = if results.quick {
            ("# Benchmarks, the quick run", "benches/peers/run --quick", QUICK_NOTE)
        } else {
            ("# Benchmarks", "benches/peers/run", "")
        };
        self.line(format!("{title}\n\n<!-- Written by {command} -->\n\n{INTRO}{note}\n"));
        self.line(format!("```sh\n{command}\n```\n\n![The same as a plot]({})\n", plot_name(results)));
        self.header(&["", ""]);
        for (name, value) in results.machine.iter().chain(&results.versions) {
            self.row([name.clone(), value.clone()]);
        }
        let failures = results.failures();
        if !results.left_out.is_empty() || !failures.is_empty() {
            self.line("\nLeft out:\n");
            for reason in results.left_out.iter().chain(&failures) {
                self.line(format!("- {reason}"));
            }
        }
        self.line("");
    }

    /// Ours beside librdkafka and whoever is best, a line a workload.
    fn summary(&mut self, results: &Results) {
        let outcomes: Vec<_> =
            results.outcomes.iter().filter(|outcome| outcome.kind == Kind::Comparison).collect();
        if outcomes.is_empty() {
            return;
        }
        self.line("## In short\n");
        self.header(&[
            "kafka-producer",
            "records/s",
            "CPU, us a record",
            "librdkafka's records/s",
            "CPU",
            "the best other's records/s",
            "CPU",
            "",
        ]);
        for outcome in outcomes {
            let Some(ours) = outcome.row_of(Driver::Ours) else { continue };
            let lib = outcome.librdkafka();
            let best = outcome.best_peer(Metric::RecordsPerSecond);
            let against =
                |metric, other: Option<&Row>| times(other.and_then(|other| ours.ratio(metric, other)));
            self.row([
                outcome.title.clone(),
                shown(ours.median(Metric::RecordsPerSecond), count),
                shown(ours.median(Metric::CpuPerRecord), three_digits),
                against(Metric::RecordsPerSecond, lib),
                against(Metric::CpuPerRecord, lib),
                against(Metric::RecordsPerSecond, best),
                against(Metric::CpuPerRecord, best),
                best.map_or_else(String::new, |best| best.label.clone()),
            ]);
        }
        self.line("");
    }

    fn outcome(&mut self, outcome: &Outcome) {
        let rounds = outcome.rows.iter().map(|row| row.runs.len()).max().unwrap_or(0);
        let plural = if rounds == 1 { "" } else { "s" };
        self.line(format!("## {}\n\nMedians of {rounds} round{plural}.\n", capital(&outcome.title)));
        if outcome.kind == Kind::Latency {
            self.latency(outcome)
        } else {
            self.throughput(outcome)
        }
        self.line("");
    }

    fn throughput(&mut self, outcome: &Outcome) {
        self.header(&[
            "",
            "records/s",
            "least to most",
            "CPU, us a record",
            "of librdkafka's records/s",
            "of its CPU",
            "switches a 1000",
            "peak RSS, MiB",
        ]);
        let drivers = [Driver::Librdkafka.name(), Driver::LibrdkafkaTls.name()];
        let lib = outcome.rows.iter().find(|row| drivers.contains(&&*row.driver));
        let against = |row: &Row, metric| times(lib.and_then(|lib| row.ratio(metric, lib)));
        for row in &outcome.rows {
            let range = row.range(Metric::RecordsPerSecond);
            self.row([
                name(row),
                shown(row.median(Metric::RecordsPerSecond), count),
                range.map_or_else(missing, |(least, most)| format!("{} to {}", count(least), count(most))),
                shown(row.median(Metric::CpuPerRecord), three_digits),
                against(row, Metric::RecordsPerSecond),
                against(row, Metric::CpuPerRecord),
                shown(row.median(Metric::SwitchesPerRecord), |switches| three_digits(1000.0 * switches)),
                shown(row.median(Metric::RssMib), |mib| format!("{mib:.0}")),
            ]);
        }
    }

    fn latency(&mut self, outcome: &Outcome) {
        self.header(&[
            "microseconds",
            "p50",
            "p90",
            "p99",
            "p99.9",
            "CPU, us a record",
            "switches a record",
            "records/s",
        ]);
        for row in &outcome.rows {
            let metric = |metric, show: fn(f64) -> String| shown(row.median(metric), show);
            self.row([
                name(row),
                metric(Metric::P50, three_digits),
                metric(Metric::P90, three_digits),
                metric(Metric::P99, three_digits),
                metric(Metric::P999, three_digits),
                metric(Metric::CpuPerRecord, three_digits),
                metric(Metric::SwitchesPerRecord, three_digits),
                metric(Metric::RecordsPerSecond, count),
            ]);
        }
    }
}

fn name(row: &Row) -> String {
    if row.driver == Driver::Ours.name() { format!("**{}**", row.label) } else { row.label.clone() }
}

fn shown(value: Option<f64>, show: impl Fn(f64) -> String) -> String {
    value.map_or_else(missing, show)
}

fn times(ratio: Option<f64>) -> String {
    shown(ratio, |ratio| format!("{ratio:.2}x"))
}

fn missing() -> String {
    "-".to_owned()
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

const INTRO: &str = "\
Every producer sends the same records to the same sink: a broker that acknowledges everything, keeps nothing, and costs
next to nothing, so that what is measured is the producer. `acks=all`, idempotent where the producer can be, no
compression, one topic with six partitions, `linger.ms` 5, a buffer of 32 MiB, records without keys, unless a row says
otherwise. *Pinned*, which is the rule: the producer with all its threads on one core, the sink on another.

Each row is a process of its own. A round runs every row once, beginning with another one each time; ratios are taken
inside a round, and figures are medians over the rounds. The sink counts what arrives and follows the sequences in every
run; before the rounds it checks every row's checksums and records, too. CPU is user and system time of the whole
process. The raw and encoding rows are no producers: they are what the socket and the copying cost alone.

`rskafka` and `kafka` have no idempotence, and where a row says *by hand* its caller has gathered the records into
batches; so *the best other* is looked for among those that do the same work: librdkafka, rust-rdkafka (its
`ThreadedProducer`), franz-go and Java's `KafkaProducer`. `kafka` writes the old message format, which brokers from
Kafka 4.0 on refuse.

For sending one record and waiting for it, the others have a `linger.ms` of 0; kafka-producer has 5, which ends when
somebody waits. At a given rate a record's time counts from when it was due.
";

const QUICK_NOTE: &str =
    "\nThis is the quick run: few workloads, a fifth of the records, and two seconds for Java's JIT
compiler instead of eight. It says whether something is far off, and no more.\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        for (value, text) in [
            (12_345_678.0, "12.3 M"),
            (999_999.0, "1000 k"),
            (43_210.0, "43.2 k"),
            (950.4, "950"),
            (1_000.0, "1.00 k"),
        ] {
            assert_eq!(count(value), text);
        }
    }
}
