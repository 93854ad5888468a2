//! What the sender thread counts. Plain numbers of its own: nobody else reads them, a copy is made for whoever asks.
//!
//! Counted by batch, request, connection and turn, never by record.

use std::{collections::BTreeMap, time::Instant};

use super::windows::{Meter, Moment, Shape, Windows};

#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers {
    shape: Shape,
    pub(crate) batch_bytes: Windows,
    pub(crate) compression: Windows,
    /// Milliseconds, as all times that are not said to be something else.
    pub(crate) queue_time: Windows,
    pub(crate) request_latency: Windows,
    /// The largest of each batch.
    pub(crate) record_bytes: Windows,
    pub(crate) records_per_request: Windows,
    pub(crate) throttle_time: Windows,
    pub(crate) records: Meter,
    pub(crate) retries: Meter,
    pub(crate) errors: Meter,
    pub(crate) splits: Meter,
    pub(crate) connections_made: Meter,
    pub(crate) connections_closed: Meter,
    pub(crate) logins: Meter,
    pub(crate) failed_logins: Meter,
    pub(crate) renewals: Meter,
    pub(crate) failed_renewals: Meter,
    pub(crate) renewal_latency: Windows,
    /// Logins whose broker wants no second one.
    pub(crate) logins_for_ever: u64,
    pub(crate) traffic: Traffic,
    pub(crate) turns: Meter,
    /// Nanoseconds.
    pub(crate) wait_time: Meter,
    pub(crate) work_time: Meter,
    pub(crate) topics: Vec<Option<Box<TopicNumbers>>>,
    pub(crate) nodes: BTreeMap<i32, NodeNumbers>,
    pub(crate) requests_in_flight: usize,
    pub(crate) connections: usize,
    /// Seconds.
    pub(crate) metadata_age: f64,
}

/// What goes over connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) sent_bytes: Meter,
    pub(crate) received_bytes: Meter,
    pub(crate) request_bytes: Windows,
    pub(crate) requests: Meter,
    pub(crate) responses: Meter,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct TopicNumbers {
    pub(crate) records: Meter,
    pub(crate) bytes: Meter,
    pub(crate) compression: Windows,
    pub(crate) retries: Meter,
    pub(crate) errors: Meter,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct NodeNumbers {
    pub(crate) traffic: Traffic,
    pub(crate) latency: Windows,
}

/// A batch as it is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SentBatch {
    pub(crate) topic: usize,
    pub(crate) records: i32,
    pub(crate) bytes: usize,
    pub(crate) largest_record: usize,
    /// Its length by what it was before compression.
    pub(crate) ratio: f64,
    pub(crate) created: Instant,
}

impl Numbers {
    pub(crate) fn new(shape: Shape) -> Self {
        Self { shape, metadata_age: f64::NAN, ..Self::default() }
    }

    pub(crate) fn at(&self, now: Instant) -> Moment {
        Moment { now, shape: self.shape }
    }

    /// The batches of one request.
    pub(crate) fn batches_sent(&mut self, now: Instant, batches: impl Iterator<Item = SentBatch>) {
        let at = self.at(now);
        let mut records = 0;
        for batch in batches {
            let count = u64::try_from(batch.records).unwrap_or(0);
            records += count;
            self.batch_bytes.record(at, batch.bytes as f64);
            self.compression.record(at, batch.ratio);
            self.queue_time.record(at, milliseconds(now, batch.created));
            self.record_bytes.record(at, batch.largest_record as f64);
            if self.topics.len() <= batch.topic {
                self.topics.resize_with(batch.topic + 1, || None);
            }
            let topic = self.topics[batch.topic].get_or_insert_default();
            topic.records.add(at, count);
            topic.bytes.add(at, batch.bytes as u64);
            topic.compression.record(at, batch.ratio);
        }
        self.records.add(at, records);
        self.records_per_request.record(at, records as f64);
    }

    pub(crate) fn batch_retried(&mut self, now: Instant, topic: usize, records: i32) {
        let (at, records) = (self.at(now), u64::try_from(records).unwrap_or(0));
        self.retries.add(at, records);
        if let Some(topic) = self.topic(topic) {
            topic.retries.add(at, records);
        }
    }

    pub(crate) fn batch_failed(&mut self, now: Instant, topic: usize, records: i32) {
        let (at, records) = (self.at(now), u64::try_from(records).unwrap_or(0));
        self.errors.add(at, records);
        if let Some(topic) = self.topic(topic) {
            topic.errors.add(at, records);
        }
    }

    /// As in Java, a topic has figures from its first batch on: errors before that are in the total alone.
    fn topic(&mut self, topic: usize) -> Option<&mut TopicNumbers> {
        self.topics.get_mut(topic)?.as_deref_mut()
    }

    pub(crate) fn request_sent(&mut self, now: Instant, node: i32, bytes: usize) {
        let at = self.at(now);
        for traffic in [&mut self.traffic, &mut self.nodes.entry(node).or_default().traffic] {
            traffic.requests.add(at, 1);
            traffic.request_bytes.record(at, bytes as f64);
            traffic.sent_bytes.add(at, bytes as u64);
        }
    }

    pub(crate) fn bytes_received(&mut self, now: Instant, node: i32, bytes: usize) {
        let at = self.at(now);
        for traffic in [&mut self.traffic, &mut self.nodes.entry(node).or_default().traffic] {
            traffic.received_bytes.add(at, bytes as u64);
        }
    }

    pub(crate) fn response_received(&mut self, now: Instant, node: i32) {
        let at = self.at(now);
        for traffic in [&mut self.traffic, &mut self.nodes.entry(node).or_default().traffic] {
            traffic.responses.add(at, 1);
        }
    }

    /// A produce request was answered.
    pub(crate) fn produce_answered(&mut self, now: Instant, node: i32, sent: Instant) {
        let (at, took) = (self.at(now), milliseconds(now, sent));
        self.request_latency.record(at, took);
        self.nodes.entry(node).or_default().latency.record(at, took);
    }

    /// The sender thread slept from `begun` to `now`, having worked since `woken`.
    pub(crate) fn turned(&mut self, woken: Instant, begun: Instant, now: Instant) {
        let at = self.at(now);
        self.turns.add(at, 1);
        self.work_time.add(at, nanoseconds(begun, woken));
        self.wait_time.add(at, nanoseconds(now, begun));
    }
}

fn milliseconds(now: Instant, since: Instant) -> f64 {
    now.saturating_duration_since(since).as_secs_f64() * 1000.0
}

fn nanoseconds(now: Instant, since: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(since).as_nanos()).unwrap_or(u64::MAX)
}
