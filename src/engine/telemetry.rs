//! Metrics for brokers that ask for them (KIP-714): when to ask what they want, when to push it, and what it looks like.
//!
//! ```text
//!               due                   wants some                  due                  read
//!  Unsubscribed ---> Subscribing ---------------------> Waiting --------> Reading -----------> Pushing
//!    ^   ^               |                                 ^                                     |  |
//!    |   '- wants none --'                                 '-------------- taken ----------------'  |
//!    '---------------------------- refused for now, or nobody answers -----------------------------'
//! ```
//!
//! From anywhere to `Over`: a broker refuses for good, or the last push is made at the end.
//!
//! Brokers and sockets are strangers here, and what is measured too: a reading comes in, bytes go out.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    config::Compression,
    error::ErrorCode,
    telemetry::{ClientInstanceId, Reading, Sample},
    wire::{
        codec::{self, Compressor},
        get_telemetry_subscriptions::GetTelemetrySubscriptionsResponse,
        otlp::{self, Attributes, Metric, Value},
        primitives::Uuid,
    },
};

pub(super) struct Telemetry {
    state: State,
    /// All zeros before the first subscription.
    instance: Uuid,
    /// The broker that was asked last. It stays the one as long as it takes requests.
    pub(super) node: Option<i32>,
    /// Somebody waits for the id: a reason to connect.
    wished: bool,
    told: Told,
    /// Until when the last push is waited for, once nothing else is left to do.
    ends_by: Option<Instant>,
}

enum State {
    Unsubscribed {
        not_before: Instant,
    },
    Subscribing,
    Waiting {
        subscription: Arc<Subscription>,
        push_at: Instant,
    },
    Reading {
        subscription: Arc<Subscription>,
    },
    Pushing {
        subscription: Arc<Subscription>,
        /// What brokers know if they take it.
        telling: Told,
    },
    Over,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Subscribe,
    Push,
}

/// What brokers want.
#[derive(Debug, PartialEq)]
struct Subscription {
    id: i32,
    interval: Duration,
    max_bytes: usize,
    compression: Compression,
    is_delta: bool,
    /// Beginnings of names.
    wanted: Vec<String>,
}

/// The counters that were told as what they have grown by.
#[derive(Clone, Default)]
struct Told {
    /// When, in nanoseconds since 1970.
    at: Option<u64>,
    is_delta: bool,
    counters: BTreeMap<(String, Attributes), f64>,
}

/// A push, ready to be sent.
pub(super) struct Push {
    pub(super) instance: Uuid,
    pub(super) subscription: i32,
    pub(super) is_last: bool,
    /// The codec's number.
    pub(super) compression: i8,
    pub(super) metrics: Vec<u8>,
}

impl Telemetry {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            state: State::Unsubscribed { not_before: now },
            instance: NOBODY,
            node: None,
            wished: false,
            told: Told::default(),
            ends_by: None,
        }
    }

    pub(super) fn instance(&self) -> Uuid {
        self.instance
    }

    /// Somebody waits for the id, unless it is known already.
    pub(super) fn wish(&mut self) {
        self.wished = self.instance == NOBODY;
    }

    /// What is due.
    pub(super) fn step(&self, now: Instant) -> Option<Step> {
        match &self.state {
            State::Unsubscribed { not_before } if *not_before <= now => Some(Step::Subscribe),
            State::Waiting { push_at, .. } if *push_at <= now || self.ends_by.is_some() => Some(Step::Push),
            _ => None,
        }
    }

    /// Whether what is due is worth a connection of its own.
    pub(super) fn may_dial(&self, step: Step) -> bool {
        self.ends_by.is_none() && (self.wished || step == Step::Push)
    }

    /// A broker is connected, and takes no metrics: whoever waits for the id is no reason to connect again.
    pub(super) fn in_vain(&mut self) {
        self.wished = false;
    }

    /// When [`step`](Self::step) may have another answer.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let due = match &self.state {
            State::Unsubscribed { not_before } => Some(*not_before),
            State::Waiting { push_at, .. } => Some(*push_at),
            State::Subscribing | State::Reading { .. } | State::Pushing { .. } | State::Over => None,
        };
        due.into_iter().chain(self.ends_by.filter(|_| !self.is_over())).min()
    }

    /// Nothing else is left to do: whoever has asked for metrics gets them once more.
    pub(super) fn say_farewell(&mut self, now: Instant) {
        self.ends_by.get_or_insert(now + FAREWELL);
        if let State::Unsubscribed { .. } | State::Subscribing = self.state {
            self.state = State::Over;
        }
    }

    /// Whether the end need not wait for the last push, or not any longer.
    pub(super) fn has_said_farewell(&self, now: Instant) -> bool {
        self.is_over() || self.ends_by.is_some_and(|by| by <= now)
    }

    fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Nothing more is pushed.
    pub(super) fn end(&mut self) {
        self.state = State::Over;
    }

    pub(super) fn subscribing(&mut self, node: i32) {
        self.node = Some(node);
        self.state = State::Subscribing;
    }

    /// A broker says what it wants. Returns what it calls this client, if that was not known.
    pub(super) fn subscribed(
        &mut self,
        now: Instant,
        answer: GetTelemetrySubscriptionsResponse,
        random: u64,
    ) -> Option<ClientInstanceId> {
        if !matches!(self.state, State::Subscribing) {
            return None;
        }
        if answer.error != ErrorCode::NONE {
            self.refused(now, answer.error);
            return None;
        }
        let interval = match u64::try_from(answer.push_interval_ms) {
            Ok(ms) if ms > 0 => Duration::from_millis(ms).max(SHORTEST_INTERVAL),
            _ => USUAL_INTERVAL,
        };
        let subscription = Subscription {
            id: answer.subscription_id,
            interval,
            max_bytes: usize::try_from(answer.telemetry_max_bytes).unwrap_or(0),
            compression: agreed(&answer.accepted_compression_types),
            is_delta: answer.delta_temporality,
            wanted: answer.requested_metrics,
        };
        if self.told.is_delta != subscription.is_delta {
            self.told = Told { is_delta: subscription.is_delta, ..Told::default() };
        }
        self.state = if self.ends_by.is_some() {
            State::Over
        } else if subscription.wanted.is_empty() {
            State::Unsubscribed { not_before: now + interval }
        } else {
            // Not all clients of a broker that was restarted at the same time.
            let share = 0.5 + random as f64 / u64::MAX as f64;
            State::Waiting { subscription: Arc::new(subscription), push_at: now + interval.mul_f64(share) }
        };
        let is_news = self.instance == NOBODY && answer.client_instance_id != NOBODY;
        if is_news {
            self.instance = answer.client_instance_id;
            self.wished = false;
        }
        is_news.then(|| ClientInstanceId::new(self.instance))
    }

    /// A push is due, and somebody will take it: [`read`](Self::read) follows.
    pub(super) fn reading(&mut self, node: i32) {
        self.node = Some(node);
        if let State::Waiting { subscription, .. } = &self.state {
            self.state = State::Reading { subscription: Arc::clone(subscription) };
        }
    }

    /// Nobody takes it any more; whoever takes requests next is given a new reading.
    pub(super) fn postpone(&mut self, now: Instant) {
        if let State::Reading { subscription } = &self.state {
            self.state = State::Waiting { subscription: Arc::clone(subscription), push_at: now };
        }
    }

    /// What is to be pushed. `resource`: what is said of all metrics. `None`: nothing was to be read.
    pub(super) fn read(&mut self, reading: Reading, resource: &[(&str, &str)]) -> Option<Push> {
        let State::Reading { subscription } = &self.state else { return None };
        let subscription = Arc::clone(subscription);
        let mut telling = self.told.clone();
        telling.at = Some(reading.at);
        let since = self.told.at.filter(|_| subscription.is_delta).unwrap_or(reading.since);
        let mut metrics: Vec<Metric> = Vec::new();
        for sample in reading.samples {
            if let Some(metric) = subscription.pick(sample, reading.at, since, &mut telling.counters)
                // The producer's own metrics come first, and nobody else's may look like them.
                && !metrics.iter().any(|m| m.name == metric.name && m.attributes == metric.attributes)
            {
                metrics.push(metric);
            }
        }
        let mut packed = subscription.pack(resource, &metrics);
        // Some are better than none, which is what would come of a push that is refused.
        while packed.len() > subscription.max_bytes && metrics.len() > 1 {
            metrics.truncate(metrics.len() / 2);
            packed = subscription.pack(resource, &metrics);
        }
        let push = Push {
            instance: self.instance,
            subscription: subscription.id,
            is_last: self.ends_by.is_some(),
            compression: codec::attribute(subscription.compression) as i8,
            metrics: packed,
        };
        self.state = State::Pushing { subscription, telling };
        Some(push)
    }

    /// A broker has answered a push.
    pub(super) fn pushed(&mut self, now: Instant, code: ErrorCode) {
        let State::Pushing { subscription, telling } = &mut self.state else { return };
        if code != ErrorCode::NONE {
            self.refused(now, code);
            return;
        }
        self.told = std::mem::take(telling);
        self.state = if self.ends_by.is_some() {
            State::Over
        } else {
            let push_at = now + subscription.interval;
            State::Waiting { subscription: Arc::clone(subscription), push_at }
        };
    }

    /// No answer will come. What was pushed may have been taken, so it is not told again.
    pub(super) fn lost(&mut self, now: Instant) {
        if let State::Pushing { telling, .. } = &mut self.state {
            self.told = std::mem::take(telling);
        }
        if !self.is_over() {
            self.resubscribe(now + USUAL_INTERVAL);
        }
    }

    fn refused(&mut self, now: Instant, code: ErrorCode) {
        let interval = match &self.state {
            State::Pushing { subscription, .. } => subscription.interval,
            _ => USUAL_INTERVAL,
        };
        match code {
            // Somebody has changed what brokers want. It is no answer to the question what that is.
            ErrorCode::UNKNOWN_SUBSCRIPTION_ID | ErrorCode::UNSUPPORTED_COMPRESSION_TYPE
                if matches!(self.state, State::Pushing { .. }) =>
            {
                self.resubscribe(now);
            }
            ErrorCode::TELEMETRY_TOO_LARGE | ErrorCode::THROTTLING_QUOTA_EXCEEDED => {
                self.resubscribe(now + interval);
            }
            code if code.is_retriable() => self.resubscribe(now + USUAL_INTERVAL),
            code => {
                log::warn!("metrics are not pushed any more (enable.metrics.push): {code}");
                self.state = State::Over;
            }
        }
    }

    fn resubscribe(&mut self, not_before: Instant) {
        self.state = if self.ends_by.is_some() { State::Over } else { State::Unsubscribed { not_before } };
    }
}

impl Subscription {
    /// A metric as it is told, if it is wanted.
    fn pick(
        &self,
        sample: Sample,
        time: u64,
        since: u64,
        counters: &mut BTreeMap<(String, Attributes), f64>,
    ) -> Option<Metric> {
        let name = full_name(&sample.group, &sample.name);
        let is_wanted = self.wanted.iter().any(|prefix| prefix == "*" || name.starts_with(&**prefix));
        // Nothing was measured yet.
        if !is_wanted || sample.value.is_nan() {
            return None;
        }
        let attributes: Attributes = sample
            .tags
            .into_iter()
            .map(|(key, value)| (cleaned(&key, "_"), value))
            .filter(|(key, _)| key != KNOWN_ATTRIBUTE)
            .collect();
        let value = match (sample.is_counter, self.is_delta) {
            (false, _) => Value::Gauge(sample.value),
            (true, false) => Value::Sum { value: sample.value, since, is_delta: false },
            (true, true) => {
                let before = counters.insert((name.clone(), attributes.clone()), sample.value).unwrap_or(0.0);
                // One that has shrunk has begun anew.
                let grown = if sample.value < before { sample.value } else { sample.value - before };
                Value::Sum { value: grown, since, is_delta: true }
            }
        };
        Some(Metric { name, attributes, value, time })
    }

    fn pack(&self, resource: &[(&str, &str)], metrics: &[Metric]) -> Vec<u8> {
        let mut plain = Vec::new();
        otlp::encode(resource, metrics, &mut plain);
        let Some(mut compressor) = compressor(self.compression) else { return plain };
        let mut packed = Vec::new();
        compressor.compress(&plain, &mut packed);
        packed
    }
}

/// What Kafka makes of a metric's group and name: `producer-metrics`, `record-send-total` is
/// `org.apache.kafka.producer.record.send.total`.
fn full_name(group: &str, name: &str) -> String {
    let group = cleaned(group, ".").replace(".metrics", "");
    format!("{DOMAIN}.{group}.{}", cleaned(name, "."))
}

fn cleaned(text: &str, dash: &str) -> String {
    text.to_lowercase().replace('-', dash)
}

/// The broker's favourite among those that were compiled in.
fn agreed(accepted: &[i8]) -> Compression {
    let codecs = accepted
        .iter()
        .filter_map(|number| CODECS.into_iter().find(|codec| codec::attribute(*codec) == i16::from(*number)));
    let mut usable = codecs.filter(|codec| *codec == Compression::None || compressor(*codec).is_some());
    usable.next().unwrap_or(Compression::None)
}

/// At the level that is the codec's default in Kafka. `None`: there is nothing to compress with.
fn compressor(codec: Compression) -> Option<Compressor> {
    let level = match codec {
        Compression::Gzip => -1,
        Compression::Lz4 => 9,
        Compression::Zstd => 3,
        Compression::Snappy | Compression::None => 0,
    };
    Compressor::new(codec, level)
}

const CODECS: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

const NOBODY: Uuid = [0; 16];

/// Every metric of a Kafka client begins so.
const DOMAIN: &str = "org.apache.kafka";

/// Brokers know it from the request's header.
const KNOWN_ATTRIBUTE: &str = "client_id";

/// Kafka's, also for a broker that says nothing sensible, and after an answer that never came.
const USUAL_INTERVAL: Duration = Duration::from_secs(300);

/// The shortest that a broker can be configured to want.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// Nobody waits for metrics; a broker that is well takes them in a few milliseconds.
const FAREWELL: Duration = Duration::from_secs(1);

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "an `Instant` to begin with comes from nowhere else")]
mod tests {
    use super::*;

    const ID: Uuid = [7; 16];
    const INTERVAL: Duration = Duration::from_secs(10);

    fn answer() -> GetTelemetrySubscriptionsResponse {
        GetTelemetrySubscriptionsResponse {
            throttle_time_ms: 0,
            error: ErrorCode::NONE,
            client_instance_id: ID,
            subscription_id: 3,
            accepted_compression_types: vec![],
            push_interval_ms: 10_000,
            telemetry_max_bytes: 1 << 20,
            delta_temporality: false,
            requested_metrics: vec!["".into()],
        }
    }

    fn sample(name: &str, value: f64, is_counter: bool) -> Sample {
        let tags = vec![("client-id".into(), "me".into()), ("node-id".into(), "node-1".into())];
        Sample { group: "producer-node-metrics".into(), name: name.into(), tags, value, is_counter }
    }

    fn reading(at: u64, samples: Vec<Sample>) -> Reading {
        Reading { at, since: 1, samples }
    }

    /// Drives to a subscription with this answer.
    fn subscribed(answer: GetTelemetrySubscriptionsResponse, random: u64) -> (Telemetry, Instant) {
        let now = Instant::now();
        let mut telemetry = Telemetry::new(now);
        telemetry.subscribing(1);
        let _ = telemetry.subscribed(now, answer, random);
        (telemetry, now)
    }

    /// Drives to a push in flight.
    fn pushing(answer: GetTelemetrySubscriptionsResponse) -> (Telemetry, Instant) {
        let (mut telemetry, now) = subscribed(answer, 0);
        telemetry.reading(1);
        telemetry.read(reading(2, vec![]), &[]).expect("a reading was asked for");
        (telemetry, now)
    }

    #[test]
    fn the_first_push_comes_at_half_to_one_and_a_half_intervals_and_the_next_after_one() {
        for (random, share) in [(0, 0.5), (u64::MAX / 2, 1.0), (u64::MAX, 1.5)] {
            let (mut telemetry, now) = subscribed(answer(), random);
            let due = telemetry.next_due().expect("a push is due");
            let wanted = now + INTERVAL.mul_f64(share);
            assert!(due.max(wanted) - due.min(wanted) < Duration::from_millis(1), "{random}");
            assert_eq!(telemetry.step(due), Some(Step::Push));
            telemetry.reading(1);
            telemetry.read(reading(2, vec![]), &[]).expect("a reading was asked for");
            assert_eq!(telemetry.next_due(), None, "nothing before an answer");
            telemetry.pushed(due, ErrorCode::NONE);
            assert_eq!(telemetry.next_due(), Some(due + INTERVAL));
        }
    }

    #[test]
    fn an_interval_that_makes_no_sense_is_a_usual_one() {
        for (ms, first) in
            [(0, 150_000), (-1, 150_000), (i32::MIN, 150_000), (1, 50), (100, 50), (1_000, 500)]
        {
            let (telemetry, now) =
                subscribed(GetTelemetrySubscriptionsResponse { push_interval_ms: ms, ..answer() }, 0);
            assert_eq!(telemetry.next_due(), Some(now + Duration::from_millis(first)), "{ms}");
        }
    }

    /// What becomes of an error, and after how many seconds a subscription is asked for anew; `None`: never.
    #[test]
    fn what_an_error_leads_to() {
        for (code, of_push, of_subscription) in [
            (ErrorCode::UNKNOWN_SUBSCRIPTION_ID, Some(0), None),
            (ErrorCode::UNSUPPORTED_COMPRESSION_TYPE, Some(0), None),
            (ErrorCode::TELEMETRY_TOO_LARGE, Some(10), Some(300)),
            (ErrorCode::THROTTLING_QUOTA_EXCEEDED, Some(10), Some(300)),
            (ErrorCode::NOT_LEADER_OR_FOLLOWER, Some(300), Some(300)),
            (ErrorCode::INVALID_REQUEST, None, None),
            (ErrorCode::INVALID_RECORD, None, None),
            (ErrorCode::UNSUPPORTED_VERSION, None, None),
            (ErrorCode(9999), None, None),
        ] {
            let due = |seconds: Option<u64>, now| seconds.map(|seconds| now + Duration::from_secs(seconds));
            let (mut telemetry, now) = pushing(answer());
            telemetry.pushed(now, code);
            assert_eq!(telemetry.next_due(), due(of_push, now), "{code} for a push");
            let (telemetry, now) =
                subscribed(GetTelemetrySubscriptionsResponse { error: code, ..answer() }, 0);
            assert_eq!(telemetry.next_due(), due(of_subscription, now), "{code} for a subscription");
        }
    }

    #[test]
    fn what_is_lost_is_asked_for_again_after_five_minutes() {
        let (mut telemetry, now) = pushing(answer());
        telemetry.lost(now);
        assert_eq!(telemetry.step(now), None);
        assert_eq!(telemetry.step(now + Duration::from_secs(300)), Some(Step::Subscribe));
    }

    #[test]
    fn nothing_wanted_is_asked_for_again_after_an_interval() {
        let none = GetTelemetrySubscriptionsResponse { requested_metrics: vec![], ..answer() };
        let (telemetry, now) = subscribed(none, 0);
        assert_eq!(telemetry.next_due(), Some(now + INTERVAL));
        assert_eq!(telemetry.step(now + INTERVAL), Some(Step::Subscribe));
    }

    #[test]
    fn who_waits_for_the_id_is_a_reason_to_connect_until_it_is_known() {
        let now = Instant::now();
        let mut telemetry = Telemetry::new(now);
        assert!(!telemetry.may_dial(Step::Subscribe));
        telemetry.wish();
        assert!(telemetry.may_dial(Step::Subscribe));
        telemetry.subscribing(1);
        assert_eq!(telemetry.subscribed(now, answer(), 0), Some(ClientInstanceId::new(ID)));
        telemetry.wish();
        assert!(!telemetry.may_dial(Step::Subscribe) && telemetry.may_dial(Step::Push));
    }

    #[test]
    fn the_end_waits_for_one_last_push_and_for_a_second_at_most() {
        let (mut telemetry, now) = subscribed(answer(), 0);
        assert!(!telemetry.has_said_farewell(now));
        telemetry.say_farewell(now);
        assert_eq!(telemetry.step(now), Some(Step::Push), "whenever the next one would be");
        telemetry.reading(1);
        assert!(telemetry.read(reading(2, vec![]), &[]).expect("a reading was asked for").is_last);
        assert!(!telemetry.has_said_farewell(now));
        assert!(telemetry.has_said_farewell(now + FAREWELL));
        telemetry.pushed(now, ErrorCode::NONE);
        assert!(telemetry.has_said_farewell(now));
        // Who was never asked for metrics has nothing to say.
        let mut silent = Telemetry::new(now);
        silent.say_farewell(now);
        assert!(silent.has_said_farewell(now));
        // Nor does a refusal hold anybody up.
        for code in [ErrorCode::UNKNOWN_SUBSCRIPTION_ID, ErrorCode::INVALID_REQUEST] {
            let (mut telemetry, now) = pushing(answer());
            telemetry.say_farewell(now);
            telemetry.pushed(now, code);
            assert!(telemetry.has_said_farewell(now));
        }
    }

    #[test]
    fn names_are_kafkas_and_labels_are_without_the_client() {
        for (group, name, full) in [
            ("producer-metrics", "record-send-total", "org.apache.kafka.producer.record.send.total"),
            ("producer-node-metrics", "request-rate", "org.apache.kafka.producer.node.request.rate"),
            ("app-info", "Start-Time", "org.apache.kafka.app.info.start.time"),
        ] {
            assert_eq!(full_name(group, name), full);
        }
        let (telemetry, _) = subscribed(answer(), 0);
        let State::Waiting { subscription, .. } = &telemetry.state else { panic!("not subscribed") };
        let metric = subscription.pick(sample("x", 1.0, false), 9, 1, &mut BTreeMap::new());
        let metric = metric.expect("everything is wanted");
        assert_eq!(metric.attributes, [("node_id".to_owned(), "node-1".to_owned())]);
        assert_eq!((metric.value, metric.time), (Value::Gauge(1.0), 9));
    }

    #[test]
    fn what_is_wanted_is_told_by_the_beginnings_of_names() {
        for (wanted, is) in [
            (&["org.apache.kafka.producer."][..], true),
            (&["org.apache.kafka.consumer.", "org.apache.kafka.producer.node.x"], true),
            (&["org.apache.kafka.producer.node.xy", "producer"], false),
            (&["*"], true),
            (&[""], true),
        ] {
            let requested_metrics = wanted.iter().map(|prefix| prefix.to_string()).collect();
            let (telemetry, _) =
                subscribed(GetTelemetrySubscriptionsResponse { requested_metrics, ..answer() }, 0);
            let State::Waiting { subscription, .. } = &telemetry.state else { panic!("not subscribed") };
            let pick = |value| subscription.pick(sample("x", value, false), 9, 1, &mut BTreeMap::new());
            assert_eq!(pick(1.0).is_some(), is, "{wanted:?}");
            assert!(pick(f64::NAN).is_none(), "nothing was measured");
        }
    }

    /// Counts what counters have grown by, until a push is taken or may have been.
    #[test]
    fn deltas_go_on_from_what_a_broker_has_taken() {
        let delta = || GetTelemetrySubscriptionsResponse { delta_temporality: true, ..answer() };
        let (mut telemetry, now) = subscribed(delta(), 0);
        let told = |telemetry: &mut Telemetry, at, value| {
            telemetry.reading(1);
            let push = telemetry.read(reading(at, vec![sample("x", value, true)]), &[]);
            push.expect("a reading was asked for").metrics
        };
        let expected = |at, value, since| {
            let value = Value::Sum { value, since, is_delta: true };
            let name = "org.apache.kafka.producer.node.x".to_owned();
            let attributes = vec![("node_id".to_owned(), "node-1".to_owned())];
            let mut out = Vec::new();
            otlp::encode(&[], &[Metric { name, attributes, value, time: at }], &mut out);
            out
        };
        assert_eq!(told(&mut telemetry, 10, 5.0), expected(10, 5.0, 1));
        telemetry.pushed(now, ErrorCode::NONE);
        assert_eq!(told(&mut telemetry, 20, 8.0), expected(20, 3.0, 10));
        // Refused: it comes again with the next one.
        telemetry.pushed(now, ErrorCode::UNKNOWN_SUBSCRIPTION_ID);
        telemetry.subscribing(1);
        assert_eq!(telemetry.subscribed(now, delta(), 0), None, "the id is known");
        assert_eq!(told(&mut telemetry, 30, 9.0), expected(30, 4.0, 10));
        // Nobody knows: it does not come again.
        telemetry.lost(now);
        telemetry.subscribing(1);
        telemetry.subscribed(now, delta(), 0);
        assert_eq!(told(&mut telemetry, 40, 11.0), expected(40, 2.0, 30));
        telemetry.pushed(now, ErrorCode::NONE);
        // Begun anew.
        assert_eq!(told(&mut telemetry, 50, 1.0), expected(50, 1.0, 40));
        telemetry.pushed(now, ErrorCode::UNKNOWN_SUBSCRIPTION_ID);
        // Who wants something else for a while is told everything afterwards.
        for is_delta in [false, true] {
            telemetry.subscribing(1);
            telemetry.subscribed(
                now,
                GetTelemetrySubscriptionsResponse { delta_temporality: is_delta, ..answer() },
                0,
            );
            telemetry.resubscribe(now);
        }
        telemetry.subscribing(1);
        telemetry.subscribed(now, delta(), 0);
        assert_eq!(told(&mut telemetry, 60, 7.0), expected(60, 7.0, 1));
    }

    #[test]
    fn the_brokers_favourite_codec_is_used_if_it_is_there() {
        for (accepted, codec) in [
            (&[][..], Compression::None),
            (&[0, 4], Compression::None),
            (&[4, 1], Compression::Zstd),
            (&[99, -1, 2], Compression::Snappy),
            (&[99], Compression::None),
        ] {
            assert_eq!(agreed(accepted), codec, "{accepted:?}");
        }
    }

    #[test]
    fn a_push_that_would_be_refused_is_cut() {
        let small = GetTelemetrySubscriptionsResponse { telemetry_max_bytes: 500, ..answer() };
        let (mut telemetry, _) = subscribed(small, 0);
        telemetry.reading(1);
        let samples = (0..100).map(|i| sample(&format!("x{i}"), 1.0, false)).collect();
        let push = telemetry.read(reading(2, samples), &[]).expect("a reading was asked for");
        assert!((100..=500).contains(&push.metrics.len()), "{}", push.metrics.len());
    }
}
