//! One figure and what it is called.

use std::sync::Arc;

/// One figure among [`Metrics`](crate::Metrics).
#[derive(Clone, Debug)]
pub struct Metric {
    pub(super) group: &'static str,
    pub(super) name: &'static str,
    pub(super) description: &'static str,
    pub(super) tags: Arc<[(&'static str, String)]>,
    pub(super) value: f64,
    pub(super) kind: MetricKind,
}

/// What a metric does over time.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum MetricKind {
    /// It only grows, from 0 when the producer is made.
    Counter,
    /// It goes up and down.
    Gauge,
}

impl Metric {
    /// Java's group: `producer-metrics`, `producer-topic-metrics`, `producer-node-metrics`, `app-info` or
    /// `kafka-metrics-count`.
    pub fn group(&self) -> &'static str {
        self.group
    }

    /// Java's name, as in `record-send-rate`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it is, and in which unit.
    pub fn description(&self) -> &'static str {
        self.description
    }

    /// What it is about: `client-id`, and `topic` or `node-id` where that makes a difference.
    pub fn tags(&self) -> &[(&'static str, String)] {
        &self.tags
    }

    /// Not a number (`NaN`) if there is nothing to tell yet.
    pub fn value(&self) -> f64 {
        self.value
    }

    /// Whether it only grows.
    pub fn kind(&self) -> MetricKind {
        self.kind
    }
}
