//! What a user has to do with the metrics that brokers ask for (KIP-714): the name under which they get them, and metrics
//! of the user's own.
//!
//! When something is pushed, and to whom, is for the engine to say; the user's code is called by `net/`.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant as Time},
};

use thiserror::Error;

use crate::{
    handoff::{
        Bell,
        sync::{Arc, AtomicBool, Condvar, Mutex, Ordering},
    },
    metrics::{Metric, MetricKind},
};

/// What brokers call a client when they speak of its metrics (KIP-714). One of them makes it up for the first
/// subscription; it stays the same as long as the producer lives.
///
/// [`Display`](fmt::Display) writes it as Kafka's tools do: `dz3Emv-xTYyNqjZSTjYCBQ`.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClientInstanceId([u8; 16]);

/// Why [`client_instance_id`](crate::Producer::client_instance_id) knows none.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum TelemetryError {
    /// No metrics are pushed: `enable.metrics.push` is `false`.
    #[error("no metrics are pushed, so no broker has a name for this client (enable.metrics.push=false)")]
    Disabled,
    /// No broker has given one within the time. Brokers do that only if they have a receiver for metrics.
    #[error(
        "no broker gave this client an id for its metrics within {limit:?}; do they have a receiver for metrics?"
    )]
    TimedOut {
        /// The time given.
        limit: Duration,
    },
    /// The call was made inside a callback, and would hold up all others.
    #[error("waiting for an id inside a callback would hold up all callbacks; call it from another thread")]
    InsideCallback,
    /// The process was forked after the producer was made.
    #[error("this producer was made by process {parent}; a forked child must make its own")]
    Forked {
        /// The process that made the producer.
        parent: u32,
    },
    /// The producer has ended, and had none.
    #[error("the producer has ended")]
    Ended,
}

impl ClientInstanceId {
    pub(crate) const fn new(id: [u8; 16]) -> Self {
        Self(id)
    }

    /// The sixteen bytes of the id.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Base64 for addresses, without padding.
impl fmt::Display for ClientInstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = u128::from_be_bytes(self.0);
        // 21 digits of six bits, and one of two.
        for digit in 0..21 {
            let value = (bits >> (122 - 6 * digit)) & 0x3f;
            write!(f, "{}", char::from(DIGITS[value as usize]))?;
        }
        write!(f, "{}", char::from(DIGITS[(bits << 4 & 0x3f) as usize]))
    }
}

impl fmt::Debug for ClientInstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientInstanceId({self})")
    }
}

impl TelemetryError {
    /// Whether the same call may succeed later.
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::TimedOut { .. })
    }
}

/// Reads a metric of the user's own.
pub(crate) type Gauge = Arc<dyn Fn() -> f64 + Send + Sync>;

/// A metric as it was read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) group: String,
    pub(crate) name: String,
    pub(crate) tags: Vec<(String, String)>,
    pub(crate) value: f64,
    /// It only grows.
    pub(crate) is_counter: bool,
}

impl Sample {
    pub(crate) fn of(metric: &Metric) -> Self {
        Self {
            group: metric.group().to_owned(),
            name: metric.name().to_owned(),
            tags: metric.tags().iter().map(|(tag, value)| ((*tag).to_owned(), value.clone())).collect(),
            value: metric.value(),
            is_counter: metric.kind() == MetricKind::Counter,
        }
    }
}

/// Everything that is measured, at one time. Times are nanoseconds since 1970.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reading {
    pub(crate) at: u64,
    /// When the counters began.
    pub(crate) since: u64,
    pub(crate) samples: Vec<Sample>,
}

/// Where callers and the sender thread meet.
pub(crate) struct Desk {
    instance: Mutex<Instance>,
    changed: Condvar,
    /// Somebody waits for the id, and the sender thread does not know it yet.
    wished: AtomicBool,
    bell: Box<dyn Bell>,
    gauges: Mutex<BTreeMap<String, Gauge>>,
}

/// ```text
///  Unknown --(a broker gives one)--> Known
///     '------(the producer ends)---> Over
/// ```
#[derive(Clone, Copy)]
enum Instance {
    Unknown,
    Known(ClientInstanceId),
    Over,
}

impl Desk {
    pub(crate) fn new(bell: Box<dyn Bell>) -> Self {
        Self {
            instance: Mutex::new(Instance::Unknown),
            changed: Condvar::new(),
            wished: AtomicBool::new(false),
            bell,
            gauges: Mutex::default(),
        }
    }

    /// The id, if there is one or none will come.
    pub(crate) fn instance(&self) -> Option<Result<ClientInstanceId, TelemetryError>> {
        match *self.instance.lock() {
            Instance::Unknown => None,
            Instance::Known(id) => Some(Ok(id)),
            Instance::Over => Some(Err(TelemetryError::Ended)),
        }
    }

    /// As [`instance`](Self::instance), but waits for one.
    pub(crate) fn wait(&self, deadline: Option<Time>) -> Option<Result<ClientInstanceId, TelemetryError>> {
        self.wished.store(true, Ordering::SeqCst);
        self.ring();
        let mut instance = self.instance.lock();
        while matches!(*instance, Instance::Unknown) {
            let (guard, in_time) = self.changed.wait_until(instance, deadline);
            instance = guard;
            if !in_time {
                break;
            }
        }
        drop(instance);
        self.instance()
    }

    /// Whether somebody came to wait since this was last asked.
    pub(crate) fn take_wish(&self) -> bool {
        self.wished.load(Ordering::SeqCst) && self.wished.swap(false, Ordering::SeqCst)
    }

    /// Wakes the sender thread.
    pub(crate) fn ring(&self) {
        self.bell.ring();
    }

    pub(crate) fn introduce(&self, id: ClientInstanceId) {
        *self.instance.lock() = Instance::Known(id);
        self.changed.notify_all();
    }

    /// Ends every wait, now and later.
    pub(crate) fn end(&self) {
        let mut instance = self.instance.lock();
        if matches!(*instance, Instance::Unknown) {
            *instance = Instance::Over;
        }
        drop(instance);
        self.changed.notify_all();
        // What they hold may hold the producer.
        drop(std::mem::take(&mut *self.gauges.lock()));
    }

    /// Takes a metric of the user's own, in the place of one of the same name.
    pub(crate) fn register(&self, name: String, gauge: Gauge) {
        let before = self.gauges.lock().insert(name, gauge);
        // Foreign code, which may come back here: not under the lock.
        drop(before);
    }

    /// Whether there was one of that name.
    pub(crate) fn unregister(&self, name: &str) -> bool {
        let before = self.gauges.lock().remove(name);
        before.is_some()
    }

    pub(crate) fn gauges(&self) -> Vec<(String, Gauge)> {
        self.gauges.lock().iter().map(|(name, gauge)| (name.clone(), Arc::clone(gauge))).collect()
    }
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_as_kafka_writes_them() {
        for (id, text) in [
            ([0; 16], "AAAAAAAAAAAAAAAAAAAAAA"),
            ([0xff; 16], "_____________________w"),
            (*b"\x01\x23\x45\x67\x89\xab\xcd\xef\x11\x22\x33\x44\x55\x66\x77\x88", "ASNFZ4mrze8RIjNEVWZ3iA"),
        ] {
            assert_eq!(ClientInstanceId::new(id).to_string(), text);
        }
        assert_eq!(
            format!("{:?}", ClientInstanceId::new([0; 16])),
            "ClientInstanceId(AAAAAAAAAAAAAAAAAAAAAA)"
        );
    }
}
