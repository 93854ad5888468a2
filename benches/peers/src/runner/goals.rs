//! What this producer wants to reach, and whether it does.

use std::fmt::Write;

use super::{
    drivers::Driver,
    plan::{
        CALLBACKS, FEW_PARTITIONS, FREE, HANDLES, LATENCY, LATENCY_FREE, LATENCY_SPIN, MANY_PARTITIONS,
        PARTITIONS, PEAK, RAW_RECORDS, THREADS_FREE, label, threads_label,
    },
    results::{Metric, Results, Row},
};

/// A figure with its bound.
struct Goal {
    what: String,
    /// `None` if it was not measured.
    reached: Option<f64>,
    bound: Bound,
}

#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// A table of all goals; those that were not measured are not in it.
pub(crate) fn page(results: &Results) -> String {
    let mut page = "## Goals\n\n| | reached | goal | |\n|---|---|---|---|\n".to_owned();
    for Goal { what, reached, bound } in goals(results) {
        let Some(reached) = reached else { continue };
        let (good, bound) = match bound {
            Bound::AtLeast(bound) => (reached >= bound, format!("at least {bound}")),
            Bound::AtMost(bound) => (reached <= bound, format!("at most {bound}")),
        };
        let mark = if good { "yes" } else { "**no**" };
        writeln!(page, "| {what} | {reached:.2} | {bound} | {mark} |").expect("a string takes everything");
    }
    page
}

fn goals(results: &Results) -> Vec<Goal> {
    let mut goals = Vec::new();
    for Throughput { id, lib_rate, lib_cpu, best_rate, best_cpu } in THROUGHPUT {
        let Some(outcome) = results.outcome(id) else { continue };
        let (ours, lib) = (outcome.row_of(Driver::Ours), outcome.row_of(Driver::Librdkafka));
        let best = outcome.best_peer(Metric::RecordsPerSecond);
        let best_name = best.map_or("the best", |row| &row.label);
        let title = &outcome.title;
        let mut add = |what: String, metric, other, bound| {
            goals.push(Goal { what: format!("{title}: {what}"), reached: ratio(ours, metric, other), bound });
        };
        if let Some(bound) = lib_rate {
            add(
                "records/s, of librdkafka's".to_owned(),
                Metric::RecordsPerSecond,
                lib,
                Bound::AtLeast(bound),
            );
        }
        if let Some(bound) = lib_cpu {
            add("CPU, of librdkafka's".to_owned(), Metric::CpuPerRecord, lib, Bound::AtMost(bound));
        }
        add(
            format!("records/s, of {best_name}'s"),
            Metric::RecordsPerSecond,
            best,
            Bound::AtLeast(best_rate),
        );
        if let Some(bound) = best_cpu {
            add(format!("CPU, of {best_name}'s"), Metric::CpuPerRecord, best, Bound::AtMost(bound));
        }
    }
    goals.extend(latency(results));
    goals.extend(others(results));
    goals
}

fn latency(results: &Results) -> Vec<Goal> {
    let against = |id, metric, label: &str| {
        let outcome = results.outcome(id)?;
        ratio(outcome.row_of(Driver::Ours), metric, outcome.row(label))
    };
    let goal = |what: &str, reached, bound| Goal { what: what.to_owned(), reached, bound };
    let mut goals = vec![
        goal("send and wait: p50, of raw's", against(LATENCY, Metric::P50, RAW_RECORDS), Bound::AtMost(1.2)),
        goal(
            "send and wait: CPU, of raw's",
            against(LATENCY, Metric::CpuPerRecord, RAW_RECORDS),
            Bound::AtMost(1.5),
        ),
        goal(
            "send and wait, a sink that never sleeps: p50, of raw's",
            against(LATENCY_SPIN, Metric::P50, RAW_RECORDS),
            Bound::AtMost(1.3),
        ),
    ];
    for driver in [Driver::Librdkafka, Driver::Java, Driver::FranzGo] {
        let what = format!("send and wait: p50, of {}'s", driver.title());
        goals.push(goal(&what, against(LATENCY, Metric::P50, driver.title()), Bound::AtMost(1.0)));
    }
    if let Some(best) = results.outcome(LATENCY_FREE).and_then(|outcome| outcome.best_peer(Metric::P50)) {
        let what = format!("send and wait, not pinned: p50, of {}'s", best.label);
        goals.push(goal(&what, against(LATENCY_FREE, Metric::P50, &best.label), Bound::AtMost(1.1)));
    }
    goals
}

fn others(results: &Results) -> Vec<Goal> {
    let within = |id: &str, ours: &str, other: &str, metric| {
        let outcome = results.outcome(id)?;
        ratio(outcome.row(ours), metric, outcome.row(other))
    };
    let ours = |what: &str| label(Driver::Ours, what);
    let (eight, one) = (ours(&threads_label(8)), ours(&threads_label(1)));
    let (many, few) = (ours(MANY_PARTITIONS), ours(FEW_PARTITIONS));
    let lib = Driver::Librdkafka.title();
    let rss = results.outcome(PEAK).and_then(|outcome| outcome.row_of(Driver::Ours)?.median(Metric::RssMib));
    let mut goals = vec![
        Goal {
            what: "8 threads, not pinned: CPU, of one thread's".to_owned(),
            reached: within(THREADS_FREE, &eight, &one, Metric::CpuPerRecord),
            bound: Bound::AtMost(1.3),
        },
        Goal {
            what: "8 threads, not pinned: records/s, of one thread's".to_owned(),
            reached: within(THREADS_FREE, &eight, &one, Metric::RecordsPerSecond),
            bound: Bound::AtLeast(0.8),
        },
        Goal {
            what: "10,000 partitions: records/s, of those with 6".to_owned(),
            reached: within(PARTITIONS, &many, &few, Metric::RecordsPerSecond),
            bound: Bound::AtLeast(0.67),
        },
        Goal {
            what: "peak RSS in MiB, with a buffer.memory of 32 MiB".to_owned(),
            reached: rss,
            bound: Bound::AtMost(32.0 * 1.1 + 8.0),
        },
    ];
    for (what, bound) in [(CALLBACKS, 3.0), (HANDLES, 4.0)] {
        goals.push(Goal {
            what: format!("{what}: records/s, of librdkafka's without"),
            reached: within("variants", &ours(what), lib, Metric::RecordsPerSecond),
            bound: Bound::AtLeast(bound),
        });
    }
    goals
}

fn ratio(ours: Option<&Row>, metric: Metric, other: Option<&Row>) -> Option<f64> {
    ours?.ratio(metric, other?)
}

/// What a workload's throughput shall be, by librdkafka's and by the best peer's.
struct Throughput {
    id: &'static str,
    /// Nothing is wanted of codecs here that the best peer does not say.
    lib_rate: Option<f64>,
    lib_cpu: Option<f64>,
    best_rate: f64,
    best_cpu: Option<f64>,
}

const fn throughput(id: &'static str, lib: (f64, Option<f64>), best: (f64, Option<f64>)) -> Throughput {
    Throughput { id, lib_rate: Some(lib.0), lib_cpu: lib.1, best_rate: best.0, best_cpu: best.1 }
}

const fn codec(id: &'static str, best_rate: f64) -> Throughput {
    Throughput { id, lib_rate: None, lib_cpu: None, best_rate, best_cpu: None }
}

const THROUGHPUT: [Throughput; 19] = [
    throughput(PEAK, (5.0, Some(0.20)), (3.0, Some(0.33))),
    throughput("1K-16K", (6.0, Some(0.17)), (2.0, Some(0.5))),
    throughput("10K-16K", (5.0, Some(0.2)), (1.3, Some(0.77))),
    throughput("100B-1M", (3.5, Some(0.28)), (3.0, Some(0.33))),
    throughput("1K-1M", (2.2, Some(0.45)), (1.5, Some(0.67))),
    throughput("10K-1M", (1.7, Some(0.6)), (1.15, Some(0.85))),
    throughput(FREE, (4.0, Some(0.25)), (3.0, Some(0.33))),
    // Here everybody waits for the broker, and CPU says little.
    throughput("100B-16K-5ms", (5.0, None), (1.0, None)),
    codec("100B-16K-lz4", 2.0),
    codec("100B-1M-lz4", 2.0),
    codec("1K-16K-lz4", 1.4),
    codec("1K-1M-lz4", 1.2),
    codec("10K-1M-lz4", 1.15),
    codec("1K-16K-gzip", 1.1),
    codec("1K-1M-gzip", 1.1),
    codec("1K-16K-snappy", 1.1),
    codec("1K-1M-snappy", 1.1),
    codec("1K-16K-zstd", 1.1),
    codec("1K-1M-zstd", 1.1),
];
