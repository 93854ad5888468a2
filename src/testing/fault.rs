//! Faults: what may go wrong in a [`Cluster`](super::Cluster), to which request, and how often.
//!
//! Owns the list of what is still to come; what a fault means to a request is decided in `model.rs`.

use std::time::Duration;

use super::Api;
use crate::ErrorCode;

/// Something that goes wrong.
///
/// By itself a fault meets the next produce request; [`Injection`] says otherwise, and every one of its methods can be
/// called on a fault:
///
/// ```
/// # use kafka_producer::{ErrorCode, testing::{Api, Cluster, Fault}};
/// # let cluster = Cluster::start()?;
/// cluster.fault(Fault::AppendThenClose);
/// cluster.fault(Fault::Error(ErrorCode(7)).topic("orders").partition(0).times(3));
/// cluster.fault(Fault::CutResponse(5).api(Api::Metadata).node(1));
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The request is answered with this code and has no effect. In a request that names several partitions only those
    /// that match are meant.
    Error(ErrorCode),
    /// The records are appended, but the answer says that they were not, with this code. Produce only; with another
    /// API it is [`Error`](Self::Error).
    AppendThenError(ErrorCode),
    /// The request has its effect, but the connection is closed instead of answering.
    AppendThenClose,
    /// The connection is closed as if the request had never arrived.
    Close,
    /// The next connection is closed as soon as it is accepted.
    CloseOnAccept,
    /// The request has its effect and is never answered; the connection stays open.
    NeverAnswer,
    /// Only this many bytes of the response are sent, its length prefix included, then the connection is closed.
    CutResponse(usize),
    /// These bytes are sent instead of the response, exactly as they are. The request has its effect.
    Garbage(Vec<u8>),
    /// The response carries a correlation id that nobody asked with. The request has its effect.
    WrongCorrelationId,
    /// The response is sent this much later. Requests that follow are taken meanwhile, and answered in order.
    Delay(Duration),
    /// The response asks the client to send nothing for this long (`throttle_time_ms`).
    Throttle(Duration),
}

impl Fault {
    /// Happens to this many requests instead of one.
    pub fn times(self, times: u32) -> Injection {
        Injection::from(self).times(times)
    }

    /// Happens to requests of this API instead of Produce.
    pub fn api(self, api: Api) -> Injection {
        Injection::from(self).api(api)
    }

    /// Happens to requests of every API.
    pub fn any_api(self) -> Injection {
        Injection::from(self).any_api()
    }

    /// Happens only at this broker.
    pub fn node(self, node: i32) -> Injection {
        Injection::from(self).node(node)
    }

    /// Happens only to requests that name this topic.
    pub fn topic(self, topic: impl Into<String>) -> Injection {
        Injection::from(self).topic(topic)
    }

    /// Happens only to requests that name this partition, of any topic unless [`topic`](Self::topic) is called too.
    pub fn partition(self, partition: i32) -> Injection {
        Injection::from(self).partition(partition)
    }
}

/// A [`Fault`] with what it applies to. By default: one produce request, of any topic, at any broker.
///
/// Of several injections that match a request the oldest is used up. Delays and throttling come on top of others.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "an injection does nothing until it is given to Cluster::fault"]
pub struct Injection {
    pub(super) fault: Fault,
    api: Option<Api>,
    node: Option<i32>,
    topic: Option<String>,
    partition: Option<i32>,
    times: u32,
}

impl Injection {
    /// Happens to this many requests instead of one.
    pub fn times(self, times: u32) -> Self {
        Self { times, ..self }
    }

    /// Happens to requests of this API instead of Produce.
    pub fn api(self, api: Api) -> Self {
        Self { api: Some(api), ..self }
    }

    /// Happens to requests of every API.
    pub fn any_api(self) -> Self {
        Self { api: None, ..self }
    }

    /// Happens only at this broker.
    pub fn node(self, node: i32) -> Self {
        Self { node: Some(node), ..self }
    }

    /// Happens only to requests that name this topic.
    pub fn topic(self, topic: impl Into<String>) -> Self {
        Self { topic: Some(topic.into()), ..self }
    }

    /// Happens only to requests that name this partition, of any topic unless [`topic`](Self::topic) is called too.
    ///
    /// An error for Metadata then is the partition's, not the topic's.
    pub fn partition(self, partition: i32) -> Self {
        Self { partition: Some(partition), ..self }
    }

    /// Whether it meets this partition of a request that it was drawn for.
    pub(super) fn meets(&self, topic: &str, partition: i32) -> bool {
        self.meets_topic(topic) && self.partition.is_none_or(|wanted| wanted == partition)
    }

    pub(super) fn meets_topic(&self, topic: &str) -> bool {
        self.topic.as_deref().is_none_or(|wanted| wanted == topic)
    }

    pub(super) fn names_topic(&self) -> bool {
        self.topic.is_some()
    }

    pub(super) fn names_partition(&self) -> bool {
        self.partition.is_some()
    }

    fn meets_request(&self, node: i32, api: Api, targets: &[(String, i32)]) -> bool {
        let here =
            self.node.is_none_or(|wanted| wanted == node) && self.api.is_none_or(|wanted| wanted == api);
        let named = self.names_topic() || (self.names_partition() && api == Api::Produce);
        here && (!named || targets.iter().any(|(topic, partition)| self.meets_target(api, topic, *partition)))
    }

    fn meets_target(&self, api: Api, topic: &str, partition: i32) -> bool {
        // Only a produce request names partitions; any other names whole topics.
        if api == Api::Produce { self.meets(topic, partition) } else { self.meets_topic(topic) }
    }
}

impl From<Fault> for Injection {
    fn from(fault: Fault) -> Self {
        Self { fault, api: Some(Api::Produce), node: None, topic: None, partition: None, times: 1 }
    }
}

/// The faults that are still to come.
#[derive(Debug, Default)]
pub(super) struct Faults {
    coming: Vec<Injection>,
}

/// What goes wrong with one request.
#[derive(Debug, Default)]
pub(super) struct Drawn {
    pub(super) injection: Option<Injection>,
    pub(super) delay: Duration,
    pub(super) throttle: Duration,
}

impl Faults {
    pub(super) fn add(&mut self, injection: Injection) {
        if injection.times > 0 {
            self.coming.push(injection);
        }
    }

    pub(super) fn clear(&mut self) {
        self.coming.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.coming.is_empty()
    }

    /// Uses up what meets a request. `targets` are the topics and partitions that it names.
    pub(super) fn draw(&mut self, node: i32, api: Api, targets: &[(String, i32)]) -> Drawn {
        let mut take = |kind: fn(&Fault) -> bool| {
            self.take(|coming| kind(&coming.fault) && coming.meets_request(node, api, targets))
        };
        let delay = take(|fault| matches!(fault, Fault::Delay(_)));
        let throttle = take(|fault| matches!(fault, Fault::Throttle(_)));
        let injection =
            take(|fault| !matches!(fault, Fault::Delay(_) | Fault::Throttle(_) | Fault::CloseOnAccept));
        let duration = |drawn: Option<Injection>| match drawn.map(|drawn| drawn.fault) {
            Some(Fault::Delay(duration) | Fault::Throttle(duration)) => duration,
            _ => Duration::ZERO,
        };
        Drawn { injection, delay: duration(delay), throttle: duration(throttle) }
    }

    /// Whether a connection that `node` just accepted is closed at once.
    pub(super) fn draw_close_on_accept(&mut self, node: i32) -> bool {
        let here = |coming: &Injection| coming.node.is_none_or(|wanted| wanted == node);
        self.take(|coming| coming.fault == Fault::CloseOnAccept && here(coming)).is_some()
    }

    fn take(&mut self, wanted: impl Fn(&Injection) -> bool) -> Option<Injection> {
        let at = self.coming.iter().position(wanted)?;
        let found = &mut self.coming[at];
        found.times -= 1;
        if found.times == 0 { Some(self.coming.remove(at)) } else { Some(found.clone()) }
    }
}
