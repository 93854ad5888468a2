//! What can go wrong, and what it means for the application.
//!
//! Every error answers three questions without matching on variants: [`is_retriable`](DeliveryError::is_retriable)
//! (may the same call succeed later?), [`is_fatal`](DeliveryError::is_fatal) (is this producer of no more use?) and
//! [`may_have_been_written`](DeliveryError::may_have_been_written) (could the record lie in the log all the same?).
//!
//! Messages start with what happened and to whom, then name the limit and the setting that holds it.

mod code;
mod transaction;

use std::{
    any::Any,
    error::Error,
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use thiserror::Error;

pub(crate) use self::transaction::COMMIT;
pub use self::{
    code::ErrorCode,
    transaction::{TransactionError, TransactionErrorKind},
};

/// A boxed error of user code: a serializer, a partitioner.
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// A record was refused: nothing of it was taken, and it will never be written.
///
/// The caller still holds everything it passed in, because a record only borrows.
///
/// ```
/// use kafka_producer::{Producer, ProducerConfig, ProducerRecord, SendErrorKind};
/// # let cluster = kafka_producer::testing::Cluster::builder().topic("orders", 1).start()?;
/// # let servers = cluster.bootstrap();
///
/// let producer = Producer::new(ProducerConfig::new(&servers).max_request_size(1_000))?;
/// let error = producer.send(ProducerRecord::new("orders", &[0; 5_000])).unwrap_err();
/// assert!(!error.is_retriable() && !error.is_fatal() && !error.may_have_been_written());
/// assert!(matches!(error.kind(), SendErrorKind::RecordTooLarge { limit: 1_000, .. }));
/// println!("{error}"); // names size, limit and setting
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Error)]
#[error(transparent)]
pub struct SendError(Box<SendErrorKind>);

/// Why a record was refused. New variants may be added: prefer the predicates of [`SendError`].
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SendErrorKind {
    /// The topic's name is one that no broker accepts: empty, `.`, `..`, longer than 249 characters, or with a
    /// character other than ASCII letters, digits, `.`, `_` and `-`; or a broker said so (INVALID_TOPIC_EXCEPTION).
    #[error("the topic name {topic:?} is not legal: {reason}")]
    InvalidTopic {
        /// The name as it was given.
        topic: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// The topic's metadata did not arrive within `max.block.ms`.
    ///
    /// Either no broker could be reached, or the topic does not exist and is not created automatically.
    #[error("no metadata for topic {topic:?} after {waited:?} (max.block.ms): {cause}")]
    MetadataTimeout {
        /// The topic asked for.
        topic: String,
        /// How long the call waited.
        waited: Duration,
        /// What the last answer, or the lack of one, was.
        cause: String,
    },
    /// The record names a partition that the topic does not have, and none was added within `max.block.ms`.
    #[error(
        "partition {partition} of topic {topic:?} does not exist: the topic has {count} partitions, and no more appeared within {waited:?} (max.block.ms)"
    )]
    UnknownPartition {
        /// The topic asked for.
        topic: String,
        /// The partition that the record names.
        partition: i32,
        /// How many partitions the topic has.
        count: i32,
        /// How long the call waited for more.
        waited: Duration,
    },
    /// The record's partition is negative, or a custom partitioner chose one that does not exist.
    #[error("partition {partition} for topic {topic:?} is out of range: {reason}")]
    InvalidPartition {
        /// The topic asked for.
        topic: String,
        /// The partition chosen.
        partition: i32,
        /// Who chose it, and what would have been legal.
        reason: String,
    },
    /// The record's timestamp is negative.
    #[error("the timestamp {timestamp} is negative: milliseconds since 1970-01-01 UTC are expected")]
    InvalidTimestamp {
        /// The timestamp given.
        timestamp: i64,
    },
    /// The record could not fit into a request, or not into the producer's memory.
    #[error("the record for topic {topic:?} takes up to {size} bytes, more than {setting}={limit}")]
    RecordTooLarge {
        /// The topic asked for.
        topic: String,
        /// The upper bound of the record's size in a batch of its own, in bytes, before compression.
        size: usize,
        /// The limit it exceeds, in bytes.
        limit: usize,
        /// The setting that holds the limit: `max.request.size` or `buffer.memory`.
        setting: &'static str,
    },
    /// A serializer refused the key or the value, or panicked.
    #[error("cannot serialize the {part} of a record for topic {topic:?}")]
    Serialization {
        /// The topic asked for.
        topic: String,
        /// `key` or `value`.
        part: &'static str,
        /// What the serializer said.
        #[source]
        source: BoxError,
    },
    /// The partitioner failed or panicked.
    #[error("the partitioner failed for a record of topic {topic:?}")]
    Partitioner {
        /// The topic asked for.
        topic: String,
        /// What the partitioner said.
        #[source]
        source: BoxError,
    },
    /// `buffer.memory` stayed full for `max.block.ms`: records are sent faster than the brokers take them.
    #[error(
        "no room for {needed} bytes after {waited:?} (max.block.ms): all of buffer.memory={limit} is taken by records that the brokers have not acknowledged"
    )]
    BufferFull {
        /// What the record needs, in bytes.
        needed: usize,
        /// `buffer.memory`, in bytes.
        limit: usize,
        /// How long the call waited.
        waited: Duration,
    },
    /// The call would have had to wait, and was made where waiting is not allowed: by
    /// [`try_send`](crate::Producer::try_send) or inside a callback.
    #[error("the record for topic {topic:?} would have to wait for {what}, and this call never waits")]
    WouldBlock {
        /// The topic asked for.
        topic: String,
        /// What it would have waited for.
        what: &'static str,
    },
    /// A broker refused the topic or this client, in a way that waiting does not change.
    #[error("topic {topic:?} is refused by the cluster: {code}")]
    Refused {
        /// The topic asked for.
        topic: String,
        /// The broker's answer.
        code: ErrorCode,
    },
    /// The producer has a `transactional.id`, and no transaction is open that takes records: see the error for which
    /// call must come first.
    #[error(transparent)]
    Transaction(TransactionError),
    /// No broker lets this client in, or none can be trusted: a wrong password, a certificate of an unknown authority, a
    /// port with another `security.protocol`. Those that could be reached were asked, and waiting does not change it.
    #[error("no broker can be used for topic {topic:?}: {reason}")]
    Rejected {
        /// The topic asked for.
        topic: String,
        /// Which broker, why, and the setting to look at.
        reason: String,
    },
    /// The producer is closed, or was closed while this call waited.
    #[error("the producer is closed")]
    Closed,
    /// The producer cannot go on: its sender thread ended.
    #[error("the producer has failed and cannot send any more: {cause}")]
    Failed {
        /// The first cause, the same for every call.
        cause: String,
    },
    /// The process was forked after the producer was made: its sender thread exists in the parent only.
    #[error(
        "this producer was made by process {parent}; a forked child has no sender thread and must make its own"
    )]
    Forked {
        /// The process that made the producer.
        parent: u32,
    },
}

impl SendError {
    /// What exactly was refused.
    pub fn kind(&self) -> &SendErrorKind {
        &self.0
    }

    /// Whether the same record may be accepted later, without anything being changed.
    pub fn is_retriable(&self) -> bool {
        matches!(
            *self.0,
            SendErrorKind::MetadataTimeout { .. }
                | SendErrorKind::UnknownPartition { .. }
                | SendErrorKind::BufferFull { .. }
                | SendErrorKind::WouldBlock { .. }
        )
    }

    /// Whether this producer is of no more use.
    pub fn is_fatal(&self) -> bool {
        match &*self.0 {
            SendErrorKind::Closed | SendErrorKind::Failed { .. } | SendErrorKind::Forked { .. } => true,
            SendErrorKind::Transaction(error) => error.is_fatal(),
            _ => false,
        }
    }

    /// Always `false`: a refused record was never taken.
    pub fn may_have_been_written(&self) -> bool {
        false
    }

    /// Kafka's error code, if a broker's answer is the reason.
    pub fn code(&self) -> Option<ErrorCode> {
        match &*self.0 {
            SendErrorKind::Refused { code, .. } => Some(*code),
            SendErrorKind::Transaction(error) => error.code(),
            _ => None,
        }
    }
}

impl SendError {
    /// For tests that compare kinds by value.
    #[cfg(test)]
    pub(crate) fn into_kind(self) -> SendErrorKind {
        *self.0
    }
}

impl fmt::Debug for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(&self.0, self, f)
    }
}

impl From<SendErrorKind> for SendError {
    #[cold]
    fn from(kind: SendErrorKind) -> Self {
        Self(Box::new(kind))
    }
}

/// A record was accepted by `send`, and then not acknowledged.
///
/// Cheap to clone: the records of one batch share one error.
///
/// ```
/// use kafka_producer::{ErrorCode, Producer, ProducerConfig, ProducerRecord};
/// # let cluster = kafka_producer::testing::Cluster::builder().topic("orders", 1).start()?;
/// # let servers = cluster.bootstrap();
/// # cluster.fail_next(ErrorCode::TOPIC_AUTHORIZATION_FAILED, 1);
///
/// let producer = Producer::new(ProducerConfig::new(&servers))?;
/// let delivery = producer.send(ProducerRecord::new("orders", "42 apples"))?;
/// let error = delivery.get().unwrap_err(); // the broker does not let this client write
/// assert_eq!(error.code(), Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED));
/// assert!(!error.may_have_been_written()); // it can be sent again, once the right is granted
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct DeliveryError(Arc<DeliveryFailure>);

/// All that is known about a failed delivery.
#[derive(Clone, Debug)]
pub(crate) struct DeliveryFailure {
    pub(crate) cause: DeliveryCause,
    pub(crate) topic: Arc<str>,
    /// -1 while no partition was chosen.
    pub(crate) partition: i32,
    /// Who answered or failed to, as `host:port (node n)`.
    pub(crate) broker: Option<Arc<str>>,
    pub(crate) attempts: u32,
    pub(crate) elapsed: Duration,
    pub(crate) may_have_been_written: bool,
    /// What went wrong on the last attempt before the time ran out.
    pub(crate) last_attempt: Option<String>,
}

/// Why a delivery failed. New variants may be added: prefer the predicates of [`DeliveryError`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum DeliveryCause {
    /// A broker answered with an error that is not retried, or that was still there on the last retry.
    Broker {
        /// Kafka's error.
        code: ErrorCode,
        /// What the broker added to it.
        message: Option<String>,
    },
    /// `delivery.timeout.ms` passed before the broker acknowledged.
    DeliveryTimeout {
        /// The setting's value.
        limit: Duration,
    },
    /// The transaction was aborted, or could not go on, before the record was sent; the text says why. It will not be
    /// sent.
    TransactionAborted(Arc<str>),
    /// The broker that leads the record's partition does not let this client in, or cannot be trusted.
    Rejected {
        /// Which broker, why, and the setting to look at.
        reason: Arc<str>,
    },
    /// The producer was closed before the record was acknowledged.
    Closed,
    /// The sender thread ended unexpectedly; the text says why.
    SenderDied(Arc<str>),
    /// The call was made where waiting could never end: inside a callback, or in a forked child.
    CannotWait(&'static str),
}

/// What a broker said, and no more than that.
impl From<ErrorCode> for DeliveryCause {
    fn from(code: ErrorCode) -> Self {
        Self::Broker { code, message: None }
    }
}

impl DeliveryError {
    pub(crate) fn new(failure: DeliveryFailure) -> Self {
        Self(Arc::new(failure))
    }

    /// Why the delivery failed.
    pub fn cause(&self) -> &DeliveryCause {
        &self.0.cause
    }

    /// The record's topic.
    pub fn topic(&self) -> &str {
        &self.0.topic
    }

    /// The record's partition, if one was chosen.
    pub fn partition(&self) -> Option<i32> {
        (self.0.partition >= 0).then_some(self.0.partition)
    }

    /// The broker that answered, or that was asked last.
    pub fn broker(&self) -> Option<&str> {
        self.0.broker.as_deref()
    }

    /// How many times the record was sent.
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// How much time had passed since the record's batch was begun.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed
    }

    /// Kafka's error code, if a broker's answer is the cause.
    pub fn code(&self) -> Option<ErrorCode> {
        match self.0.cause {
            DeliveryCause::Broker { code, .. } => Some(code),
            _ => None,
        }
    }

    /// Whether sending the same record again may succeed, without anything being changed.
    ///
    /// If the record [may have been written](Self::may_have_been_written), sending it again may write it twice.
    pub fn is_retriable(&self) -> bool {
        match self.0.cause {
            DeliveryCause::Broker { code, .. } => code.is_retriable(),
            DeliveryCause::DeliveryTimeout { .. } => true,
            _ => false,
        }
    }

    /// Whether this producer is of no more use.
    pub fn is_fatal(&self) -> bool {
        matches!(self.0.cause, DeliveryCause::SenderDied(_) | DeliveryCause::Closed)
    }

    /// Whether the record could lie in the log, now or later, although no acknowledgement arrived.
    ///
    /// `false` is a promise: the record is not in the log and will not get there.
    pub fn may_have_been_written(&self) -> bool {
        self.0.may_have_been_written
    }
}

impl fmt::Debug for DeliveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(&self.0, self, f)
    }
}

impl fmt::Display for DeliveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failure = &*self.0;
        match &failure.cause {
            DeliveryCause::CannotWait(why) => return f.write_str(why),
            DeliveryCause::Broker { code, message } => {
                write!(f, "{code}")?;
                if let Some(message) = message {
                    write!(f, " ({message})")?;
                }
            }
            DeliveryCause::DeliveryTimeout { limit } => {
                write!(f, "no acknowledgement within {limit:?} (delivery.timeout.ms)")?;
            }
            DeliveryCause::TransactionAborted(why) => write!(f, "not sent, as the transaction ends: {why}")?,
            DeliveryCause::Rejected { reason } => write!(f, "the broker cannot be used: {reason}")?,
            DeliveryCause::Closed => {
                f.write_str("the producer was closed before the record was acknowledged")?
            }
            DeliveryCause::SenderDied(why) => write!(f, "the sender thread ended: {why}")?,
        }
        write!(f, "; topic {}", failure.topic)?;
        if failure.partition >= 0 {
            write!(f, " partition {}", failure.partition)?;
        }
        if let Some(broker) = &failure.broker {
            write!(f, ", broker {broker}")?;
        }
        let plural = if failure.attempts == 1 { "" } else { "s" };
        write!(f, ", {} attempt{plural} in {:.1?}", failure.attempts, failure.elapsed)?;
        if let Some(last) = &failure.last_attempt {
            write!(f, ", last: {last}")?;
        }
        f.write_str(if failure.may_have_been_written {
            "; it may have been written"
        } else {
            "; it was not written"
        })
    }
}

impl Error for DeliveryError {}

/// What `unwrap`, and a `main` that returns an error, print: the sentence, and its causes. `{:#?}` shows the parts.
fn debug(parts: &dyn fmt::Debug, error: &dyn Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if f.alternate() {
        return parts.fmt(f);
    }
    write!(f, "{error}")?;
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(f, ": {error}")?;
        cause = error.source();
    }
    Ok(())
}

/// `flush` or `close` could not do what it was asked.
///
/// Neither of them reports what became of single records: that is in each record's handle and callback.
#[derive(Error)]
#[non_exhaustive]
pub enum FlushError {
    /// Records were still not acknowledged when the time given was over.
    #[error(
        "{what} did not finish within {limit:?}: records still wait for their acknowledgement, or callbacks have not returned"
    )]
    TimedOut {
        /// The call.
        what: &'static str,
        /// The time given.
        limit: Duration,
    },
    /// The call was made inside a callback, or an interceptor's `on_acknowledgement`: it would have to wait for its own
    /// thread.
    #[error("{what} inside a callback would wait for itself; call it from another thread")]
    InsideCallback {
        /// The call.
        what: &'static str,
    },
    /// The producer is closed.
    #[error("the producer is closed")]
    Closed,
    /// The producer cannot go on.
    #[error("the producer has failed: {cause}")]
    Failed {
        /// The first cause.
        cause: String,
    },
    /// The process was forked after the producer was made.
    #[error("this producer was made by process {parent}; a forked child must make its own")]
    Forked {
        /// The process that made the producer.
        parent: u32,
    },
}

impl fmt::Debug for FlushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It has no parts that the sentence leaves out.
        fmt::Display::fmt(self, f)
    }
}

impl FlushError {
    /// Whether the same call may succeed later.
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::TimedOut { .. })
    }

    /// Whether this producer is of no more use.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Closed | Self::Failed { .. } | Self::Forked { .. })
    }

    /// Whether records sent before the call may be written although it failed.
    pub fn may_have_been_written(&self) -> bool {
        true
    }
}

/// The settings do not make a producer: every problem found, not only the first.
///
/// ```
/// use kafka_producer::{Producer, ProducerConfig};
///
/// let config = ProducerConfig::new("localhost:9092").set("acks", "2").set("lingr.ms", "5");
/// let error = Producer::new(config).unwrap_err();
/// let wrong: Vec<&str> = error.problems().iter().map(|problem| &*problem.name).collect();
/// assert_eq!(wrong, ["acks", "lingr.ms"]);
/// ```
pub struct ConfigError {
    problems: Vec<ConfigProblem>,
}

/// One setting that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigProblem {
    /// The property's name, as in Java.
    pub name: String,
    /// The value given; `[hidden]` for a secret; empty if there was none.
    pub value: String,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}

impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(&self.problems, self, f)
    }
}

impl ConfigError {
    pub(crate) fn new(problems: Vec<ConfigProblem>) -> Self {
        debug_assert!(!problems.is_empty());
        Self { problems }
    }

    /// Every problem, in the order of the settings.
    pub fn problems(&self) -> &[ConfigProblem] {
        &self.problems
    }

    /// Always `false`: settings do not mend themselves. A host that could not be resolved is the exception that an
    /// application may want to wait for; its problem names `bootstrap.servers`.
    pub fn is_retriable(&self) -> bool {
        false
    }

    /// Always `true`: there is no producer.
    pub fn is_fatal(&self) -> bool {
        true
    }

    /// Always `false`.
    pub fn may_have_been_written(&self) -> bool {
        false
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.problems.len() > 1 {
            write!(f, "{} settings are wrong: ", self.problems.len())?;
        }
        for (i, p) in self.problems.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{}={}: {}", p.name, p.value, p.problem)?;
        }
        Ok(())
    }
}

impl Error for ConfigError {}

/// Runs what a user wrote. A panic in it goes no further; the error is its text.
pub(crate) fn guarded<T>(foreign: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(foreign)).map_err(|payload| {
        let text = panic_text(&*payload).to_owned();
        // What was thrown is foreign, too, and may panic when it is dropped. What that throws nobody looks at any more.
        if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            mem::forget(another);
        }
        text
    })
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "with something that is not text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_quoted() {
        let text = |panic: fn()| panic_text(&*catch_unwind(panic).unwrap_err()).to_owned();
        assert_eq!(text(|| panic!("plain")), "plain");
        assert_eq!(text(|| panic!("with {}", 1)), "with 1");
        assert_eq!(text(|| std::panic::panic_any(1)), "with something that is not text");
    }

    #[test]
    fn a_panic_goes_no_further_and_neither_does_its_payload() {
        struct Bomb(u32);
        impl Drop for Bomb {
            fn drop(&mut self) {
                if self.0 > 0 {
                    std::panic::panic_any(Self(self.0 - 1));
                }
            }
        }
        assert_eq!(guarded(|| 7), Ok(7));
        assert_eq!(guarded(|| -> u32 { panic!("part of a test") }), Err("part of a test".to_owned()));
        guarded(|| std::panic::panic_any(Bomb(5))).unwrap_err();
    }

    #[test]
    fn errors_are_small_and_can_cross_threads() {
        fn crosses<T: Send + Sync + 'static>() {}
        crosses::<SendError>();
        crosses::<DeliveryError>();
        crosses::<FlushError>();
        crosses::<TransactionError>();
        crosses::<ConfigError>();
        assert_eq!(size_of::<SendError>(), size_of::<usize>());
        assert_eq!(size_of::<DeliveryError>(), size_of::<usize>());
    }

    #[test]
    fn a_main_that_returns_an_error_prints_its_sentence() {
        let refused = TransactionErrorKind::OutOfPlace { call: "send", reason: "no transaction is open" };
        let refused = TransactionError::from(refused);
        assert_eq!(format!("{refused:?}"), "send: no transaction is open");
        assert!(format!("{refused:#?}").contains("OutOfPlace"), "{refused:#?}");
        let send = SendError::from(SendErrorKind::Transaction(refused));
        assert_eq!(format!("{send:?}"), send.to_string());
        for flush in [FlushError::Closed, FlushError::TimedOut { what: "flush", limit: Duration::ZERO }] {
            assert_eq!(format!("{flush:?}"), flush.to_string());
        }
    }

    #[test]
    fn a_delivery_error_reads_as_one_sentence() {
        let failure = DeliveryFailure {
            cause: DeliveryCause::DeliveryTimeout { limit: Duration::from_secs(120) },
            topic: "orders".into(),
            partition: 3,
            broker: Some("10.0.0.1:9092 (node 2)".into()),
            attempts: 4,
            elapsed: Duration::from_millis(120_040),
            may_have_been_written: true,
            last_attempt: Some("NETWORK_EXCEPTION".into()),
        };
        let once = DeliveryError::new(DeliveryFailure { attempts: 1, ..failure.clone() });
        assert_eq!(format!("{once:?}"), once.to_string(), "what a `main` that returns it prints");
        assert!(format!("{once:#?}").contains("attempts: 1"), "{once:#?}");
        assert!(once.to_string().contains(", 1 attempt in 120.0s"), "{once}");
        assert_eq!(
            DeliveryError::new(failure).to_string(),
            "no acknowledgement within 120s (delivery.timeout.ms); topic orders partition 3, broker 10.0.0.1:9092 \
             (node 2), 4 attempts in 120.0s, last: NETWORK_EXCEPTION; it may have been written"
        );
    }
}
