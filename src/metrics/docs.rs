//! The tables of `docs/metrics.md`, made from the list; a test keeps the two alike.

use std::{collections::BTreeSet, env, fmt::Write as _, fs, path::Path, sync::Arc, time::Duration};

use super::{
    Metric, MetricKind, Metrics,
    list::{Memory, Source},
    numbers::Numbers,
    waits::Waits,
    windows::{Moment, Shape},
};

/// The metrics of a producer that has sent to one topic and asked one broker.
fn metrics() -> Metrics {
    #[expect(clippy::disallowed_methods, reason = "some time to begin with")]
    let now = std::time::Instant::now();
    let shape = Shape::new(2, Duration::from_secs(30));
    let mut numbers = Numbers::new(shape);
    numbers.topics.push(Some(Box::default()));
    numbers.nodes.insert(1, Default::default());
    let source = Source {
        at: Moment { now, shape },
        numbers: &numbers,
        waits: &Waits::default(),
        memory: Memory::default(),
        client_id: "producer-1",
        started_ms: 0,
        topic: &|_| Arc::from("orders"),
    };
    Metrics::new(source.list())
}

fn tables() -> String {
    let mut text = String::new();
    let metrics = metrics();
    let groups: BTreeSet<_> = metrics.iter().map(Metric::group).collect();
    for group in groups {
        let of_group: Vec<_> = metrics.iter().filter(|metric| metric.group() == group).collect();
        let tags: Vec<_> = of_group[0].tags().iter().map(|(tag, _)| format!("`{tag}`")).collect();
        write!(
            text,
            "\n### `{group}`\n\nTags: {}\n\n| name | kind | what it is |\n|---|---|---|\n",
            tags.join(", ")
        )
        .expect("a String takes everything");
        for metric in of_group {
            let kind = if metric.kind() == MetricKind::Counter { "counter" } else { "gauge" };
            writeln!(text, "| `{}` | {kind} | {} |", metric.name(), metric.description())
                .expect("a String takes everything");
        }
    }
    text
}

#[test]
fn the_page_lists_what_there_is() {
    const BEGIN: &str = "<!-- Written by UPDATE_DOCS=1 cargo test --lib metrics -->\n";
    const END: &str = "\n<!-- end -->";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let page = fs::read_to_string(&path).expect("the page can be read");
    let (head, rest) = page.split_once(BEGIN).expect("the tables begin somewhere");
    let (listed, tail) = rest.split_once(END).expect("the tables end somewhere");
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, format!("{head}{BEGIN}{}{END}{tail}", tables())).expect("the page can be written");
        return;
    }
    assert_eq!(listed, tables(), "docs/metrics.md is out of date: UPDATE_DOCS=1 cargo test --lib metrics");
}

/// Java's producer metrics as Kafka 4.4 lists them, each there or left out for a reason on the page.
#[test]
fn every_name_of_javas_is_there_or_accounted_for() {
    let page = include_str!("../../docs/metrics.md");
    let (_, left_out) =
        page.split_once("## What Java has and this does not\n").expect("the page has that part");
    let metrics = metrics();
    let there = |group: &str, name: &str| metrics.iter().any(|m| m.group() == group && m.name() == name);
    for (group, names) in JAVA {
        for name in names.split_whitespace() {
            let excused = left_out.contains(&format!("`{name}`"));
            assert!(there(group, name) != excused, "{group}: {name}: there, or excused, and not both");
        }
    }
}

const JAVA: [(&str, &str); 5] = [
    (
        "producer-metrics",
        "batch-size-avg batch-size-max compression-rate-avg record-queue-time-avg record-queue-time-max \
         request-latency-avg request-latency-max record-send-rate record-send-total records-per-request-avg \
         record-retry-rate record-retry-total record-error-rate record-error-total record-size-max record-size-avg \
         batch-split-rate batch-split-total produce-throttle-time-avg produce-throttle-time-max requests-in-flight \
         metadata-age waiting-threads buffer-total-bytes buffer-available-bytes bufferpool-wait-ratio \
         bufferpool-wait-time-ns-total buffer-exhausted-rate buffer-exhausted-total flush-time-ns-total \
         metadata-wait-time-ns-total txn-init-time-ns-total txn-begin-time-ns-total txn-send-offsets-time-ns-total \
         txn-commit-time-ns-total txn-abort-time-ns-total txn-prepare-time-ns-total connection-close-rate \
         connection-close-total connection-creation-rate connection-creation-total connection-count \
         successful-authentication-rate successful-authentication-total failed-authentication-rate \
         failed-authentication-total successful-reauthentication-rate successful-reauthentication-total \
         failed-reauthentication-rate failed-reauthentication-total successful-authentication-no-reauth-total \
         reauthentication-latency-avg reauthentication-latency-max network-io-rate network-io-total \
         outgoing-byte-rate outgoing-byte-total incoming-byte-rate incoming-byte-total request-rate request-total \
         request-size-avg request-size-max response-rate response-total select-rate select-total \
         io-wait-time-ns-avg io-wait-ratio io-wait-time-ns-total io-time-ns-avg io-ratio io-time-ns-total \
         connections",
    ),
    (
        "producer-topic-metrics",
        "record-send-rate record-send-total byte-rate byte-total compression-rate record-retry-rate \
         record-retry-total record-error-rate record-error-total",
    ),
    (
        "producer-node-metrics",
        "request-rate request-total response-rate response-total outgoing-byte-rate outgoing-byte-total \
         incoming-byte-rate incoming-byte-total request-size-avg request-size-max request-latency-avg \
         request-latency-max",
    ),
    ("app-info", "version commit-id start-time-ms"),
    ("kafka-metrics-count", "count"),
];
