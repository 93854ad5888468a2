//! Metrics that clients push (KIP-714): what the brokers ask for, and what they got.
//!
//! OTLP is read here by a reader of its own, which knows nothing of the producer's writer.

use std::{collections::BTreeMap, time::Duration};

use super::inflate::inflate;
use crate::telemetry::ClientInstanceId;

/// What brokers ask of their clients, see [`ClusterBuilder::telemetry`](super::ClusterBuilder::telemetry).
///
/// ```
/// use std::time::Duration;
/// use kafka_producer::testing::{Cluster, Subscription};
///
/// let subscription = Subscription::new(Duration::from_millis(100)).metrics(["org.apache.kafka.producer."]);
/// let cluster = Cluster::builder().telemetry(subscription).start()?;
/// assert_eq!(cluster.pushes(), []);
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a subscription does nothing until it is given to a cluster"]
pub struct Subscription {
    pub(super) interval: Duration,
    pub(super) metrics: Vec<String>,
    pub(super) is_delta: bool,
    pub(super) codecs: Vec<i8>,
    pub(super) max_bytes: i32,
}

/// One push of one client.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Push {
    /// The broker that took it.
    pub node: i32,
    /// The client.
    pub client_instance_id: ClientInstanceId,
    /// Whether it was announced as the client's last one.
    pub terminating: bool,
    /// 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    pub codec: i8,
    /// Its size in bytes as it was sent: compressed.
    pub bytes: usize,
    /// What is said of all metrics: `client_rack`, `transactional_id`.
    pub resource: BTreeMap<String, String>,
    /// The metrics, in the order sent.
    pub metrics: Vec<PushedMetric>,
}

/// One metric of a [`Push`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PushedMetric {
    /// `org.apache.kafka.producer.record.send.total`
    pub name: String,
    /// For example `node_id`, `topic`.
    pub labels: BTreeMap<String, String>,
    /// The number.
    pub value: f64,
    /// `None` for a gauge; of a counter, whether it is what has been added since the push before.
    pub delta: Option<bool>,
}

impl Subscription {
    /// Asks for all metrics, this often; clients let it be at least 100 ms.
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            metrics: vec![String::new()],
            is_delta: false,
            codecs: Vec::new(),
            max_bytes: DEFAULT_MAX_BYTES,
        }
    }

    /// Asks for metrics whose names begin so. An empty text is all; no text is none.
    pub fn metrics<P: Into<String>>(mut self, prefixes: impl IntoIterator<Item = P>) -> Self {
        self.metrics = prefixes.into_iter().map(Into::into).collect();
        self
    }

    /// Asks for what counters have grown by, not for what they are. Off by default.
    pub fn delta(mut self, on: bool) -> Self {
        self.is_delta = on;
        self
    }

    /// The codecs that are taken, by number, the best first. None by default.
    pub fn codecs(mut self, codecs: impl IntoIterator<Item = i8>) -> Self {
        self.codecs = codecs.into_iter().collect();
        self
    }

    /// The largest push in bytes, 1 MiB by default. A larger one is refused.
    pub fn max_bytes(mut self, bytes: i32) -> Self {
        self.max_bytes = bytes;
        self
    }
}

impl Push {
    /// The value of the first metric of this name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.metrics.iter().find(|metric| metric.name == name).map(|metric| metric.value)
    }

    /// Reads what a client has sent; `Err` says what makes no sense.
    pub(super) fn read(mut self, packed: &[u8]) -> Result<Self, String> {
        self.bytes = packed.len();
        let plain = inflate(self.codec, packed.to_vec().into()).map_err(|error| error.to_string())?;
        for (field, resource_metrics) in fields(&plain)? {
            let (1, Field::Bytes(resource_metrics)) = (field, resource_metrics) else {
                return Err(format!("field {field} of MetricsData"));
            };
            for (field, value) in fields(resource_metrics)? {
                match (field, value) {
                    (1, Field::Bytes(resource)) => self.resource.extend(attributes(resource, 1)?),
                    (2, Field::Bytes(scope)) => self.read_scope(scope)?,
                    _ => return Err(format!("field {field} of ResourceMetrics")),
                }
            }
        }
        Ok(self)
    }

    fn read_scope(&mut self, scope: &[u8]) -> Result<(), String> {
        for (field, metric) in fields(scope)? {
            let (2, Field::Bytes(metric)) = (field, metric) else {
                return Err(format!("field {field} of ScopeMetrics"));
            };
            self.metrics.push(read_metric(metric)?);
        }
        Ok(())
    }
}

fn read_metric(metric: &[u8]) -> Result<PushedMetric, String> {
    let mut read =
        PushedMetric { name: String::new(), labels: BTreeMap::new(), value: f64::NAN, delta: None };
    for (field, value) in fields(metric)? {
        match (field, value) {
            (1, Field::Bytes(name)) => read.name = text(name)?,
            (5, Field::Bytes(gauge)) => {
                for (field, value) in fields(gauge)? {
                    let (1, Field::Bytes(point)) = (field, value) else {
                        return Err(format!("field {field} of Gauge"));
                    };
                    read_point(point, &mut read, false)?;
                }
            }
            (7, Field::Bytes(sum)) => {
                let (mut temporality, mut monotonic) = (0, 0);
                for (field, value) in fields(sum)? {
                    match (field, value) {
                        (1, Field::Bytes(point)) => read_point(point, &mut read, true)?,
                        (2, Field::Number(number)) => temporality = number,
                        (3, Field::Number(number)) => monotonic = number,
                        _ => return Err(format!("field {field} of Sum")),
                    }
                }
                read.delta = match (temporality, monotonic) {
                    (1, 1) => Some(true),
                    (2, 1) => Some(false),
                    other => return Err(format!("a sum of temporality and monotony {other:?}")),
                };
            }
            _ => return Err(format!("field {field} of Metric")),
        }
    }
    if read.name.is_empty() || read.value.is_nan() {
        return Err(format!("a metric without a name or a value: {read:?}"));
    }
    Ok(read)
}

fn read_point(point: &[u8], read: &mut PushedMetric, is_sum: bool) -> Result<(), String> {
    let (mut since, mut time) = (0, 0);
    for (field, value) in fields(point)? {
        match (field, value) {
            (2, Field::Fixed(nanos)) => since = nanos,
            (3, Field::Fixed(nanos)) => time = nanos,
            (4, Field::Fixed(bits)) => read.value = f64::from_bits(bits),
            (7, Field::Bytes(_)) => {}
            _ => return Err(format!("field {field} of NumberDataPoint")),
        }
    }
    read.labels = attributes(point, 7)?;
    if time == 0 || is_sum != (since > 0) || since > time {
        return Err(format!("{} from {since} to {time}", read.name));
    }
    Ok(())
}

/// The pairs of a message that has them under this number.
fn attributes(message: &[u8], number: u64) -> Result<BTreeMap<String, String>, String> {
    let mut attributes = BTreeMap::new();
    for (field, value) in fields(message)? {
        let (true, Field::Bytes(pair)) = (field == number, value) else { continue };
        let (mut key, mut value) = (None, None);
        for (field, part) in fields(pair)? {
            match (field, part) {
                (1, Field::Bytes(bytes)) => key = Some(text(bytes)?),
                (2, Field::Bytes(any)) => match fields(any)?[..] {
                    [(1, Field::Bytes(bytes))] => value = Some(text(bytes)?),
                    _ => return Err("an attribute that is no text".into()),
                },
                _ => return Err(format!("field {field} of KeyValue")),
            }
        }
        let (Some(key), Some(value)) = (key, value) else { return Err("half an attribute".into()) };
        if attributes.insert(key.clone(), value).is_some() {
            return Err(format!("the attribute {key} twice"));
        }
    }
    Ok(attributes)
}

/// A field's value, by how it is written.
#[derive(Clone, Copy)]
enum Field<'a> {
    Number(u64),
    Fixed(u64),
    Bytes(&'a [u8]),
}

fn fields(mut message: &[u8]) -> Result<Vec<(u64, Field<'_>)>, String> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let value = match tag & 7 {
            0 => Field::Number(varint(&mut message)?),
            1 => {
                let (bytes, rest) = message.split_first_chunk().ok_or("eight bytes that are not there")?;
                message = rest;
                Field::Fixed(u64::from_le_bytes(*bytes))
            }
            2 => {
                let length = usize::try_from(varint(&mut message)?).map_err(|error| error.to_string())?;
                let (bytes, rest) = message.split_at_checked(length).ok_or("a length that is too large")?;
                message = rest;
                Field::Bytes(bytes)
            }
            other => return Err(format!("a field of kind {other}")),
        };
        fields.push((tag >> 3, value));
    }
    Ok(fields)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or("a number that does not end")?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err("a number of more than 64 bits".into())
}

fn text(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|error| error.to_string())
}

/// Kafka's `telemetry.max.bytes`.
const DEFAULT_MAX_BYTES: i32 = 1 << 20;
