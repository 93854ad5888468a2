//! From numbers to metrics, by Java's names.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    metric::{Metric, MetricKind},
    numbers::{NodeNumbers, Numbers, TopicNumbers, Traffic},
    waits::Waits,
    windows::{Meter, Moment, Windows},
};

/// What the metrics of a producer are made of.
pub(crate) struct Source<'a> {
    pub(crate) at: Moment,
    pub(crate) numbers: &'a Numbers,
    pub(crate) waits: &'a Waits,
    pub(crate) memory: Memory,
    pub(crate) client_id: &'a str,
    pub(crate) started_ms: i64,
    /// The names of topics, by their numbers.
    pub(crate) topic: &'a dyn Fn(usize) -> Arc<str>,
}

/// How it stands with `buffer.memory`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) limit: usize,
    pub(crate) free: usize,
    pub(crate) waiting: usize,
}

/// Metrics of one group with the same tags.
struct Sheet<'a> {
    list: &'a mut Vec<Metric>,
    at: Moment,
    group: &'static str,
    tags: Arc<[(&'static str, String)]>,
}

impl Sheet<'_> {
    fn push(&mut self, kind: MetricKind, name: &'static str, description: &'static str, value: f64) {
        let (group, tags) = (self.group, Arc::clone(&self.tags));
        self.list.push(Metric { group, name, description, tags, value, kind });
    }

    fn gauge(&mut self, name: &'static str, description: &'static str, value: f64) {
        self.push(MetricKind::Gauge, name, description, value);
    }

    fn counter(&mut self, name: &'static str, description: &'static str, value: u64) {
        self.push(MetricKind::Counter, name, description, value as f64);
    }
}

/// `NAME-rate` and `NAME-total`.
macro_rules! meter {
    ($sheet:ident, $name:literal, $meter:expr, $what:literal) => {{
        let meter: &Meter = $meter;
        let rate = meter.rate($sheet.at);
        $sheet.gauge(concat!($name, "-rate"), concat!($what, ", a second"), rate);
        $sheet.counter(concat!($name, "-total"), concat!($what, ", in all"), meter.total());
    }};
}

/// `NAME-avg` and `NAME-max`.
macro_rules! spread {
    ($sheet:ident, $name:literal, $windows:expr, $what:literal) => {{
        let windows: &Windows = $windows;
        let (average, max) = (windows.average($sheet.at), windows.max($sheet.at));
        $sheet.gauge(concat!($name, "-avg"), concat!($what, ", on average"), average);
        $sheet.gauge(concat!($name, "-max"), concat!($what, ", at most"), max);
    }};
}

impl Source<'_> {
    /// By group, then tags, then name.
    pub(crate) fn list(&self) -> Vec<Metric> {
        let mut list = Vec::new();
        self.producer(&mut list);
        // By name, since their numbers are of no interest to anybody.
        let topics: BTreeMap<Arc<str>, &TopicNumbers> = (self.numbers.topics.iter().enumerate())
            .filter_map(|(place, topic)| Some(((self.topic)(place), topic.as_deref()?)))
            .collect();
        for (name, topic) in topics {
            self.topic(&mut list, &name, topic);
        }
        for (node, numbers) in &self.numbers.nodes {
            self.node(&mut list, *node, numbers);
        }
        let mut info = self.sheet(&mut list, "app-info", [("version", env!("CARGO_PKG_VERSION").to_owned())]);
        info.gauge(
            "start-time-ms",
            "When the producer was made, in milliseconds since 1970",
            self.started_ms as f64,
        );
        let count = list.len() as u64 + 1;
        let mut sheet = self.sheet(&mut list, "kafka-metrics-count", []);
        sheet.gauge("count", "How many metrics there are, this one among them", count as f64);
        list.sort_by(|a, b| (a.group, &a.tags, a.name).cmp(&(b.group, &b.tags, b.name)));
        list
    }

    fn sheet<'a, const N: usize>(
        &self,
        list: &'a mut Vec<Metric>,
        group: &'static str,
        tags: [(&'static str, String); N],
    ) -> Sheet<'a> {
        let client = [("client-id", self.client_id.to_owned())];
        Sheet { list, at: self.at, group, tags: client.into_iter().chain(tags).collect() }
    }

    fn producer(&self, list: &mut Vec<Metric>) {
        let (numbers, waits, memory) = (self.numbers, self.waits, self.memory);
        let mut sheet = self.sheet(list, "producer-metrics", []);
        let s = &mut sheet;
        spread!(s, "batch-size", &numbers.batch_bytes, "Bytes of a batch as it is sent");
        let ratio = numbers.compression.average(s.at);
        s.gauge(
            "compression-rate-avg",
            "The length of a batch by what it was before compression, on average",
            ratio,
        );
        spread!(
            s,
            "record-queue-time",
            &numbers.queue_time,
            "Milliseconds from a batch's first record to its sending"
        );
        spread!(
            s,
            "request-latency",
            &numbers.request_latency,
            "Milliseconds until a produce request is answered"
        );
        meter!(s, "record-send", &numbers.records, "Records sent, again and again if it must be");
        let records = numbers.records_per_request.average(s.at);
        s.gauge("records-per-request-avg", "Records of a produce request, on average", records);
        meter!(s, "record-retry", &numbers.retries, "Records put back to be sent again");
        let errors = numbers.errors.rate(s.at) + waits.refused.rate(s.at);
        s.gauge("record-error-rate", "Records that failed or were refused by send, a second", errors);
        let errors = numbers.errors.total() + waits.refused.total();
        s.counter("record-error-total", "Records that failed or were refused by send, in all", errors);
        spread!(s, "record-size", &numbers.record_bytes, "Bytes of a batch's largest record");
        meter!(
            s,
            "batch-split",
            &numbers.splits,
            "Batches that were sent in pieces because their broker found them too large"
        );
        spread!(
            s,
            "produce-throttle-time",
            &numbers.throttle_time,
            "Milliseconds of a pause that a broker asked for"
        );
        s.gauge(
            "requests-in-flight",
            "Requests that are not answered yet",
            numbers.requests_in_flight as f64,
        );
        s.gauge("metadata-age", "Seconds since the last metadata came", numbers.metadata_age);

        s.gauge("waiting-threads", "Threads that wait for room in buffer.memory", memory.waiting as f64);
        s.gauge("buffer-total-bytes", "buffer.memory", memory.limit as f64);
        s.gauge("buffer-available-bytes", "Bytes of buffer.memory that nobody has taken", memory.free as f64);
        let share = waits.memory.rate(s.at) / NANOSECONDS;
        s.gauge("bufferpool-wait-ratio", "Seconds a second that threads waited for buffer.memory", share);
        let total = waits.memory.total();
        s.counter(
            "bufferpool-wait-time-ns-total",
            "Nanoseconds that threads waited for buffer.memory",
            total,
        );
        meter!(
            s,
            "buffer-exhausted",
            &waits.exhausted,
            "Records refused because buffer.memory was full for too long"
        );
        s.counter("flush-time-ns-total", "Nanoseconds spent in flush", waits.flush);
        s.counter("metadata-wait-time-ns-total", "Nanoseconds that send waited for metadata", waits.metadata);
        s.counter("txn-init-time-ns-total", "Nanoseconds spent in init_transactions", waits.init);
        s.counter("txn-begin-time-ns-total", "Nanoseconds spent in begin_transaction", waits.begin);
        let offsets = "Nanoseconds spent in send_offsets_to_transaction";
        s.counter("txn-send-offsets-time-ns-total", offsets, waits.send_offsets);
        s.counter("txn-commit-time-ns-total", "Nanoseconds spent in commit_transaction", waits.commit);
        s.counter("txn-abort-time-ns-total", "Nanoseconds spent in abort_transaction", waits.abort);

        meter!(s, "connection-creation", &numbers.connections_made, "Connections made");
        meter!(s, "connection-close", &numbers.connections_closed, "Connections closed, by whichever side");
        s.gauge("connection-count", "Connections that are open", numbers.connections as f64);
        meter!(s, "successful-authentication", &numbers.logins, "Logins that succeeded");
        meter!(s, "failed-authentication", &numbers.failed_logins, "Logins that were turned away");
        meter!(s, "successful-reauthentication", &numbers.renewals, "Logins that were renewed");
        meter!(
            s,
            "failed-reauthentication",
            &numbers.failed_renewals,
            "Logins whose renewal was turned away"
        );
        spread!(
            s,
            "reauthentication-latency",
            &numbers.renewal_latency,
            "Milliseconds that the renewal of a login took"
        );
        s.counter(
            "successful-authentication-no-reauth-total",
            "Logins that the broker does not want renewed, in all",
            numbers.logins_for_ever,
        );
        let io = numbers.traffic.requests.rate(s.at) + numbers.traffic.responses.rate(s.at);
        s.gauge("network-io-rate", "Requests and answers, a second", io);
        let io = numbers.traffic.requests.total() + numbers.traffic.responses.total();
        s.counter("network-io-total", "Requests and answers, in all", io);
        traffic(s, &numbers.traffic);
        meter!(s, "select", &numbers.turns, "Turns of the sender thread");
        let (wait, work) = (&numbers.wait_time, &numbers.work_time);
        s.gauge(
            "io-wait-time-ns-avg",
            "Nanoseconds that the sender thread slept in a turn, on average",
            wait.average(s.at),
        );
        s.counter("io-wait-time-ns-total", "Nanoseconds that the sender thread slept", wait.total());
        s.gauge(
            "io-wait-ratio",
            "The part of its time that the sender thread slept",
            part_of_time(wait, s.at),
        );
        s.gauge(
            "io-time-ns-avg",
            "Nanoseconds that the sender thread worked in a turn, on average",
            work.average(s.at),
        );
        s.counter("io-time-ns-total", "Nanoseconds that the sender thread worked", work.total());
        s.gauge("io-ratio", "The part of its time that the sender thread worked", part_of_time(work, s.at));
    }

    fn topic(&self, list: &mut Vec<Metric>, name: &str, topic: &TopicNumbers) {
        let mut sheet = self.sheet(list, "producer-topic-metrics", [("topic", name.to_owned())]);
        let s = &mut sheet;
        meter!(s, "record-send", &topic.records, "Records sent to the topic");
        meter!(s, "byte", &topic.bytes, "Bytes of batches sent to the topic");
        let ratio = topic.compression.average(s.at);
        s.gauge(
            "compression-rate",
            "The length of the topic's batches by what it was before compression",
            ratio,
        );
        meter!(s, "record-retry", &topic.retries, "Records put back to be sent to the topic again");
        meter!(s, "record-error", &topic.errors, "Records to the topic that failed");
    }

    fn node(&self, list: &mut Vec<Metric>, node: i32, numbers: &NodeNumbers) {
        let mut sheet = self.sheet(list, "producer-node-metrics", [("node-id", format!("node-{node}"))]);
        let s = &mut sheet;
        traffic(s, &numbers.traffic);
        spread!(s, "request-latency", &numbers.latency, "Milliseconds until a produce request is answered");
    }
}

fn traffic(s: &mut Sheet<'_>, traffic: &Traffic) {
    meter!(s, "outgoing-byte", &traffic.sent_bytes, "Bytes of requests");
    meter!(s, "incoming-byte", &traffic.received_bytes, "Bytes of answers");
    meter!(s, "request", &traffic.requests, "Requests");
    spread!(s, "request-size", &traffic.request_bytes, "Bytes of a request");
    meter!(s, "response", &traffic.responses, "Answers");
}

/// What was slept is counted when the sleep is over, and may have begun long before the windows.
fn part_of_time(meter: &Meter, at: Moment) -> f64 {
    (meter.rate(at) / NANOSECONDS).min(1.0)
}

const NANOSECONDS: f64 = 1e9;
