//! What a producer counts: [`Metrics`].
//!
//! `windows` holds figures over the last seconds, `numbers` what the sender thread counts and `waits` what callers do;
//! `list` gives them Java's names.

mod counting;
#[cfg(test)]
mod docs;
mod list;
mod metric;
mod numbers;
mod prometheus;
mod waits;
mod windows;

pub use self::metric::{Metric, MetricKind};
pub(crate) use self::{
    counting::{Counting, wait_of},
    numbers::{Numbers, SentBatch},
    waits::Wait,
    windows::Shape,
};

/// What a [`Producer`](crate::Producer) has counted, as it was when [`metrics`](crate::Producer::metrics) was called.
///
/// Groups and names are those of Java's producer; `docs/metrics.md` lists them. Names that end in `-rate` count by the
/// second, `-total` from the beginning, `-avg` and `-max` are about the last `metrics.num.samples` windows of
/// `metrics.sample.window.ms`, a minute by default, and not a number (`NaN`) while there is nothing in them.
///
/// ```
/// use kafka_producer::{Producer, ProducerConfig, ProducerRecord};
/// # let cluster = kafka_producer::testing::Cluster::builder().topic("orders", 1).start()?;
///
/// let producer = Producer::new(ProducerConfig::new(&cluster.bootstrap()))?;
/// producer.send(ProducerRecord::new("orders", "42 apples"))?.get()?;
///
/// let metrics = producer.metrics();
/// assert_eq!(metrics.get("record-send-total"), Some(1.0));
/// assert_eq!(metrics.topic("orders", "record-error-total"), Some(0.0));
/// print!("{}", metrics.to_prometheus());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Metrics {
    list: Vec<Metric>,
}

impl Metrics {
    pub(crate) fn new(list: Vec<Metric>) -> Self {
        Self { list }
    }

    /// All of them, by group, tags and name.
    pub fn iter(&self) -> std::slice::Iter<'_, Metric> {
        self.list.iter()
    }

    /// A figure about the whole producer, of the group `producer-metrics`. `None` if there is none of this name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.find("producer-metrics", name, None)
    }

    /// A figure about a topic, of the group `producer-topic-metrics`. `None` if there is none of this name, or if
    /// nothing was sent to the topic yet.
    pub fn topic(&self, topic: &str, name: &str) -> Option<f64> {
        self.find("producer-topic-metrics", name, Some(("topic", topic)))
    }

    /// A figure about a broker, of the group `producer-node-metrics`. `None` if there is none of this name, or if
    /// nothing was asked of the broker yet. Addresses of `bootstrap.servers` count from -1 downwards until it is known
    /// which broker they lead to.
    pub fn node(&self, id: i32, name: &str) -> Option<f64> {
        self.find("producer-node-metrics", name, Some(("node-id", &format!("node-{id}"))))
    }

    /// All of them in Prometheus' text format, version 0.0.4: serve it as `text/plain; version=0.0.4`.
    ///
    /// `record-send-total` becomes `kafka_producer_record_send_total`; names of a topic's figures begin with
    /// `kafka_producer_topic_`, those of a broker's with `kafka_producer_node_`. Tags are labels. What is not a number
    /// is left out.
    pub fn to_prometheus(&self) -> String {
        let mut text = String::new();
        prometheus::write(&self.list, &mut text).expect("a string takes whatever is written");
        text
    }

    fn find(&self, group: &str, name: &str, tag: Option<(&str, &str)>) -> Option<f64> {
        let is_it = |metric: &&Metric| {
            metric.group == group
                && metric.name == name
                && tag.is_none_or(|(key, value)| metric.tags.iter().any(|(k, v)| *k == key && v == value))
        };
        self.list.iter().find(is_it).map(|metric| metric.value)
    }
}

impl<'a> IntoIterator for &'a Metrics {
    type Item = &'a Metric;
    type IntoIter = std::slice::Iter<'a, Metric>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
