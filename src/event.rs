//! What a producer tells of its own life: [`ProducerEvent`].

use std::{fmt, sync::Arc, time::Duration};

/// Something that happened to a producer and is no record's outcome, for whoever
/// [listens](crate::ProducerConfig::event_listener).
///
/// `node` is the broker's id, or `None` where an address of `bootstrap.servers` was used, behind which any broker may be.
/// `broker` is the same for people, as in errors and logs. [`Display`](fmt::Display) gives one line for a log. More kinds
/// may be added, and none of them holds a key, a value or a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProducerEvent {
    /// A broker takes requests: the connection stands, versions are agreed on, and it knows who we are if it asked.
    Connected {
        /// The broker's id.
        node: Option<i32>,
        /// Its address, and its id.
        broker: Arc<str>,
    },
    /// A connection that stood has ended, whoever ended it. What was in flight on it is sent again.
    Disconnected {
        /// The broker's id.
        node: Option<i32>,
        /// Its address, and its id.
        broker: Arc<str>,
        /// Why it ended.
        reason: String,
    },
    /// A connection did not come about. The next attempt follows after `reconnect.backoff.ms`, as long as somebody has a
    /// use for it.
    ConnectionFailed {
        /// The broker's id.
        node: Option<i32>,
        /// Its address, and its id.
        broker: Arc<str>,
        /// Why.
        reason: String,
    },
    /// A broker has accepted who we say we are (SASL).
    Authenticated {
        /// The broker's id.
        node: Option<i32>,
        /// Its address, and its id.
        broker: Arc<str>,
        /// Whether this was a renewal on a connection that stood already (KIP-368).
        again: bool,
    },
    /// A broker wants a pause, because this client is over its quota (KIP-219): nothing is sent there meanwhile.
    Throttled {
        /// The broker's id.
        node: Option<i32>,
        /// Its address, and its id.
        broker: Arc<str>,
        /// How long the pause is.
        duration: Duration,
    },
    /// A partition is led by another broker than the last one known.
    LeaderMoved {
        /// The partition's topic.
        topic: Arc<str>,
        /// The partition.
        partition: i32,
        /// The id of the broker that led it.
        from: i32,
        /// The id of the broker that leads it now.
        to: i32,
    },
    /// A batch was too large for its broker, and is sent again as two.
    BatchSplit {
        /// The batch's topic.
        topic: Arc<str>,
        /// Its partition.
        partition: i32,
        /// How many records it had.
        records: usize,
    },
    /// The cluster has given this producer the id by which brokers know its batches again (KIP-98): at the start, and
    /// when the one before cannot be used any more. For a transactional producer, whenever its epoch was asked for.
    ProducerIdAssigned {
        /// The id.
        producer_id: i64,
        /// The epoch that goes with it.
        epoch: i16,
    },
    /// The sequence of a partition was broken, and begins anew under the next epoch.
    EpochRaised {
        /// The partition's topic.
        topic: Arc<str>,
        /// The partition.
        partition: i32,
        /// The producer's id.
        producer_id: i64,
        /// The epoch from now on.
        epoch: i16,
    },
    /// The known brokers are given up for those of `bootstrap.servers` (KIP-899, KIP-1102).
    Rebootstrapped {
        /// Why.
        reason: String,
    },
    /// Listeners are too slow: so many events, which happened before this one is told, were dropped.
    Missed {
        /// How many.
        events: u64,
    },
}

/// Called with every event, on the callback thread.
pub(crate) type EventListener = Arc<dyn Fn(&ProducerEvent) + Send + Sync>;

impl fmt::Display for ProducerEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected { broker, .. } => write!(f, "connected to {broker}"),
            Self::Disconnected { broker, reason, .. } => write!(f, "disconnected from {broker}: {reason}"),
            Self::ConnectionFailed { broker, reason, .. } => write!(f, "no connection to {broker}: {reason}"),
            Self::Authenticated { broker, again: false, .. } => write!(f, "authenticated with {broker}"),
            Self::Authenticated { broker, again: true, .. } => write!(f, "authenticated again with {broker}"),
            Self::Throttled { broker, duration, .. } => write!(f, "throttled by {broker} for {duration:?}"),
            Self::LeaderMoved { topic, partition, from, to } => {
                write!(f, "the leader of {topic}-{partition} moved from node {from} to node {to}")
            }
            Self::BatchSplit { topic, partition, records } => {
                write!(f, "a batch of {records} records for {topic}-{partition} was too large and is split")
            }
            Self::ProducerIdAssigned { producer_id, epoch } => {
                write!(f, "producer id {producer_id} epoch {epoch}")
            }
            Self::EpochRaised { topic, partition, producer_id, epoch } => {
                write!(f, "{topic}-{partition} begins anew as producer id {producer_id} epoch {epoch}")
            }
            Self::Rebootstrapped { reason } => write!(f, "starting again from bootstrap.servers: {reason}"),
            Self::Missed { events } => write!(f, "{events} events were dropped: the listeners are too slow"),
        }
    }
}
