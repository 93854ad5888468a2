//! [`Producer`]: the caller's half of everything.

mod turns;

use std::{
    borrow::Cow,
    fmt,
    hash::{BuildHasher, RandomState},
    io,
    net::ToSocketAddrs,
    panic::{RefUnwindSafe, UnwindSafe},
    sync::Arc,
    time::Duration,
};

use self::turns::Turns;
use crate::{
    config::{ProducerConfig, Settings},
    delivery::DeliveryFuture,
    error::{
        BoxError, ConfigError, ConfigProblem, DeliveryError, FlushError, SendError, SendErrorKind,
        TransactionError, TransactionErrorKind, guarded,
    },
    handoff::{Callback, Entry, Hub, Partition, Patience, TransactionCall, context},
    metrics::{self, Metrics, Wait},
    net::{self, SenderThread},
    partitioner::TopicPartitions,
    record::{Headers, ProducerRecord, RecordMetadata},
    serializer::{Serialized, Serializer},
    telemetry::{ClientInstanceId, TelemetryError},
    wire::record::{body_len, size_upper_bound},
};

/// Sends records to Kafka. Cheap to clone; clones share one sender thread, its memory and its connections, and may be
/// used from any number of threads.
///
/// [`send`](Self::send) copies the record into memory and returns at once; a thread of the producer's own collects
/// records into batches and sends them. The [`DeliveryFuture`] it returns tells where the record lies, once the broker
/// has acknowledged it:
///
/// ```
/// use kafka_producer::{Producer, ProducerConfig, ProducerRecord};
/// # let cluster = kafka_producer::testing::Cluster::builder().topic("orders", 1).start()?;
/// # let servers = cluster.bootstrap();
///
/// let producer = Producer::new(ProducerConfig::new(&servers))?;
/// let metadata = producer.send(ProducerRecord::new("orders", "42 apples").key("customer-7"))?.get()?;
/// assert_eq!(metadata.to_string(), "orders-0@0");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Or let many be on their way, and wait for all of them:
///
/// ```
/// # use kafka_producer::{Producer, ProducerConfig, ProducerRecord};
/// # let cluster = kafka_producer::testing::Cluster::builder().topic("orders", 1).start()?;
/// # let producer = Producer::new(ProducerConfig::new(&cluster.bootstrap()))?;
/// let pending: Vec<_> =
///     (0..100).map(|i| producer.send(ProducerRecord::new("orders", &i.to_string()))).collect::<Result<_, _>>()?;
/// producer.flush()?;
/// assert!(pending.iter().all(|handle| handle.is_done()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Order
/// Records of one thread to one partition are written in the order sent, also when they are sent again after an error
/// (with idempotence, which is on unless it was turned off).
///
/// # The end
/// [`close`](Self::close) waits until everything is acknowledged or has failed. Dropping the last clone waits for
/// `drop.timeout.ms` (5 seconds; not at all while panicking), and then fails what is left, with an error in the log.
/// A producer in a `static` is never dropped, and `std::process::exit` drops nothing: records that still wait are then
/// lost without a word. Call `close` first.
pub struct Producer<K: ?Sized = [u8], V: ?Sized = [u8]> {
    core: Arc<Core>,
    key: Encoding<K>,
    value: Encoding<V>,
}

/// What the far end calls last of all.
pub(crate) type Farewell = Box<dyn FnOnce() + Send>;

/// How a producer's keys or values become bytes.
enum Encoding<T: ?Sized> {
    /// They are bytes: no user code is called, so nothing has to be caught.
    Bytes(fn(&T) -> &[u8]),
    Serializer(Arc<dyn Serializer<T>>),
}

/// What all clones share. Its drop is the last clone's.
struct Core {
    settings: Arc<Settings>,
    hub: Arc<Hub>,
    sender: SenderThread,
    turns: Turns,
    creator: u32,
}

/// A partition of a topic, as [`partitions_for`](Producer::partitions_for) lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionInfo {
    /// The partition's number, from 0.
    pub partition: i32,
    /// The id of the broker that leads it, if one is known.
    pub leader: Option<i32>,
    /// The ids of the brokers that hold it.
    pub replicas: Vec<i32>,
    /// Those among them that are in sync with the leader.
    pub in_sync_replicas: Vec<i32>,
}

impl Producer {
    /// A producer of bytes and strings. Starts its thread; connects when the first record is sent.
    ///
    /// # Errors
    /// Settings that are wrong, all of them at once; none of the `bootstrap.servers` can be resolved; the thread
    /// cannot be started.
    pub fn new(config: ProducerConfig) -> Result<Self, ConfigError> {
        Self::start(config, Encoding::Bytes(|key| key), Encoding::Bytes(|value| value))
    }
}

impl<K: ?Sized, V: ?Sized> Producer<K, V> {
    /// A producer whose keys and values go through serializers. Use [`BytesSerializer`](crate::BytesSerializer) for one that is bytes already.
    ///
    /// ```
    /// use kafka_producer::{BytesSerializer, JsonSerializer, Producer, ProducerConfig, ProducerRecord};
    /// # let cluster = kafka_producer::testing::Cluster::builder().topic("orders", 1).start()?;
    /// # let servers = cluster.bootstrap();
    ///
    /// let producer: Producer<str, serde_json::Value> =
    ///     Producer::with_serializers(ProducerConfig::new(&servers), BytesSerializer, JsonSerializer)?;
    /// let order = serde_json::json!({"apples": 42});
    /// producer.send(ProducerRecord::with_value("orders", Some(&order)).with_key(Some("customer-7")))?.get()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`new`](Producer::new).
    pub fn with_serializers(
        config: ProducerConfig,
        key: impl Serializer<K> + 'static,
        value: impl Serializer<V> + 'static,
    ) -> Result<Self, ConfigError> {
        Self::start(config, Encoding::Serializer(Arc::new(key)), Encoding::Serializer(Arc::new(value)))
    }

    fn start(config: ProducerConfig, key: Encoding<K>, value: Encoding<V>) -> Result<Self, ConfigError> {
        let settings = Arc::new(config.resolve()?);
        if settings.resolve_at_start {
            resolve_bootstrap(&settings)?;
        }
        let seed = RandomState::new().hash_one(std::process::id());
        Self::over(settings, key, value, |settings, farewell| net::start(settings, seed, farewell))
    }

    /// The caller's half, over whatever far end `start` starts.
    fn over(
        settings: Arc<Settings>,
        key: Encoding<K>,
        value: Encoding<V>,
        start: impl FnOnce(Arc<Settings>, Farewell) -> io::Result<SenderThread>,
    ) -> Result<Self, ConfigError> {
        let farewell = {
            let settings = Arc::clone(&settings);
            Box::new(move || close_user_code(&settings))
        };
        let sender = start(Arc::clone(&settings), farewell).map_err(|error| cannot_start(&error))?;
        let (hub, creator) = (Arc::clone(&sender.hub), std::process::id());
        let core = Core { settings, hub, sender, turns: Turns::default(), creator };
        Ok(Self { core: Arc::new(core), key, value })
    }

    /// A producer over a far end that is no network, which needs no `bootstrap.servers`.
    #[cfg(feature = "testing")]
    pub(crate) fn mocked(
        config: ProducerConfig,
        key: impl Serializer<K> + 'static,
        value: impl Serializer<V> + 'static,
        start: impl FnOnce(Arc<Settings>, Farewell) -> io::Result<SenderThread>,
    ) -> Result<Self, ConfigError> {
        let settings = Arc::new(config.resolve()?);
        let (key, value) =
            (Encoding::Serializer(Arc::new(key) as _), Encoding::Serializer(Arc::new(value) as _));
        Self::over(settings, key, value, start)
    }

    /// Takes a record to be sent. Waits for the topic's metadata and for room in `buffer.memory` if it must, no longer
    /// than `max.block.ms` for both.
    ///
    /// The handle may be dropped; the record is sent all the same. A thread that blocks in
    /// [`get`](DeliveryFuture::get) does not wait for `linger.ms`.
    ///
    /// # Errors
    /// The record was refused: nothing of it was taken, and it will never be written.
    pub fn send(&self, record: ProducerRecord<'_, K, V>) -> Result<DeliveryFuture, SendError> {
        self.accept(record, None, Patience::new(self.core.settings.max_block))
    }

    /// Like [`send`](Self::send), and calls `callback` with the outcome on a thread of the producer's own, before the
    /// handle is done.
    ///
    /// Callbacks of one partition run in the order sent, unless the outcome of a record is known before that of an
    /// earlier one: a broker can refuse a later record for good, or acknowledge it, while it leaves open what became of
    /// the earlier. A slow callback holds up those behind it, never the sending. On that thread nothing waits: a `send`
    /// that would have to is refused, and so are `flush`, `close` and `get` on a handle that is not done. A panic ends
    /// that callback only.
    ///
    /// # Errors
    /// As [`send`](Self::send); the callback is then dropped without being called.
    pub fn send_with(
        &self,
        record: ProducerRecord<'_, K, V>,
        callback: impl FnOnce(Result<RecordMetadata, DeliveryError>) + Send + 'static,
    ) -> Result<DeliveryFuture, SendError> {
        self.accept(record, Some(Box::new(callback)), Patience::new(self.core.settings.max_block))
    }

    /// Like [`send`](Self::send), and never waits: what would have to wait is refused with
    /// [`SendErrorKind::WouldBlock`]. On a topic that is not known yet it asks for the metadata, so that a later try
    /// can succeed.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn try_send(&self, record: ProducerRecord<'_, K, V>) -> Result<DeliveryFuture, SendError> {
        self.accept(record, None, Patience::never())
    }

    /// Sends everything at once and waits until all records sent before this call are acknowledged or have failed, and
    /// their callbacks have returned.
    ///
    /// It does not tell what became of a record: that is in its handle and its callback. The wait is bounded by
    /// `delivery.timeout.ms`, which ends every record, and by the callbacks, which nothing ends.
    ///
    /// # Errors
    /// The call could not wait: inside a callback, in a forked child, or because the producer has ended.
    pub fn flush(&self) -> Result<(), FlushError> {
        self.core.sender.counting.timed(Wait::Flush, || self.core.hub.flush(None))
    }

    /// Like [`flush`](Self::flush), but waits no longer than `limit`. The records stay on their way.
    ///
    /// # Errors
    /// As [`flush`](Self::flush), and [`FlushError::TimedOut`].
    pub fn flush_timeout(&self, limit: Duration) -> Result<(), FlushError> {
        self.core.sender.counting.timed(Wait::Flush, || self.core.hub.flush(Some(limit)))
    }

    /// Accepts no more records, waits until all are acknowledged or have failed and all callbacks have returned, and ends
    /// the thread. A second call returns at once.
    ///
    /// # Errors
    /// The call could not wait: inside a callback or in a forked child.
    pub fn close(&self) -> Result<(), FlushError> {
        self.core.may_wait("close")?;
        self.core.close(None);
        Ok(())
    }

    /// Like [`close`](Self::close), but fails what is not acknowledged within `limit`. Zero fails it at once.
    ///
    /// # Errors
    /// As [`close`](Self::close), and [`FlushError::TimedOut`] if records had to be failed.
    pub fn close_timeout(&self, limit: Duration) -> Result<(), FlushError> {
        self.core.may_wait("close")?;
        if self.core.close(Some(limit)) { Ok(()) } else { Err(FlushError::TimedOut { what: "close", limit }) }
    }

    /// The partitions of a topic. Waits for its metadata up to `max.block.ms`.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn partitions_for(&self, topic: &str) -> Result<Vec<PartitionInfo>, SendError> {
        let mut patience = Patience::new(self.core.settings.max_block);
        let view = self.core.hub.topic_view(topic, None, &mut patience);
        self.core.sender.counting.note_waits(&patience);
        let (_, view) = view?;
        let info = |p: &crate::handoff::PartitionView| PartitionInfo {
            partition: p.index,
            leader: p.leader,
            replicas: p.replicas.clone(),
            in_sync_replicas: p.isr.clone(),
        };
        Ok(view.partitions.iter().map(info).collect())
    }

    /// What the producer has counted, by the names of Java's metrics; see `docs/metrics.md`.
    ///
    /// Counting is always on and costs next to nothing. A call wakes the producer's thread, which answers between two
    /// pieces of work; once the producer is closed it tells what had been counted by then. In a forked child there is
    /// nothing to tell.
    pub fn metrics(&self) -> Metrics {
        let core = &*self.core;
        let numbers = core.sender.numbers(context::forked(core.creator));
        Metrics::new(core.sender.counting.list(numbers.as_ref(), &core.hub, &core.settings.client_id))
    }

    /// What brokers call this client when they speak of its metrics (KIP-714). Waits up to `limit` until a broker has
    /// said so; connects for that if it must. Known once, it is answered at once.
    ///
    /// # Errors
    /// `enable.metrics.push` is off; no broker has given one within `limit`, as those without a receiver for metrics never
    /// do; the call could not wait: inside a callback, in a forked child, or because the producer has ended.
    pub fn client_instance_id(&self, limit: Duration) -> Result<ClientInstanceId, TelemetryError> {
        let Core { settings, sender, creator, .. } = &*self.core;
        if !settings.metrics_push {
            return Err(TelemetryError::Disabled);
        }
        if let Some(known) = sender.desk.instance() {
            return known;
        }
        if context::inside_callback() {
            return Err(TelemetryError::InsideCallback);
        }
        if context::forked(*creator) {
            return Err(TelemetryError::Forked { parent: *creator });
        }
        sender.desk.wait(context::deadline(limit)).unwrap_or(Err(TelemetryError::TimedOut { limit }))
    }

    /// Has a metric of the application's own pushed with those of this producer, to brokers that ask for it (KIP-714).
    ///
    /// `name` is a group and a name with a dot between them. Brokers get `shop.queue-depth` as
    /// `org.apache.kafka.shop.queue.depth`. A metric of the same name is replaced; one that has the name of a metric of
    /// this producer is not pushed. With `enable.metrics.push=false` nothing happens.
    ///
    /// `read` is called before each push on the thread that callbacks run on, under `catch_unwind`, and may be slow; NaN is
    /// left out. If it owns a clone of this producer it keeps that alive, until
    /// [`unregister_metric_for_subscription`](Self::unregister_metric_for_subscription).
    pub fn register_metric_for_subscription(
        &self,
        name: &str,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        if self.core.settings.metrics_push {
            self.core.sender.desk.register(name.to_owned(), Arc::new(read));
        }
    }

    /// Takes back what [`register_metric_for_subscription`](Self::register_metric_for_subscription) registered under this
    /// name. `false`: there was nothing.
    pub fn unregister_metric_for_subscription(&self, name: &str) -> bool {
        self.core.sender.desk.unregister(name)
    }

    fn accept(
        &self,
        mut record: ProducerRecord<'_, K, V>,
        callback: Option<Callback>,
        mut patience: Patience,
    ) -> Result<DeliveryFuture, SendError> {
        let interceptors = &self.core.settings.interceptors;
        if interceptors.is_empty() {
            let taken = self.append(&mut record, callback, &mut patience);
            return self.core.noted(taken, &patience);
        }
        for interceptor in interceptors {
            let (topic, partition) = (record.topic(), record.partition_ref());
            let before = record.headers_ref().clone();
            let headers = record.headers_mut();
            if guarded(|| interceptor.on_send(topic, partition, headers)).is_err() {
                log::warn!("an interceptor panicked in on_send (topic {topic}); its changes are dropped");
                *headers = before;
            }
        }
        let callback = self.core.intercepted(callback);
        let taken = self.append(&mut record, Some(callback), &mut patience);
        self.core.noted(taken, &patience).inspect_err(|error| {
            for interceptor in interceptors {
                if guarded(|| interceptor.on_send_error(record.topic(), error)).is_err() {
                    log::warn!("an interceptor panicked in on_send_error (topic {})", record.topic());
                }
            }
        })
    }

    fn append(
        &self,
        record: &mut ProducerRecord<'_, K, V>,
        callback: Option<Callback>,
        patience: &mut Patience,
    ) -> Result<DeliveryFuture, SendError> {
        let Core { settings, hub, .. } = &*self.core;
        let topic = record.topic();
        if let Some(timestamp) = record.timestamp_ref()
            && timestamp < 0
        {
            return Err(SendErrorKind::InvalidTimestamp { timestamp }.into());
        }
        if let Some(partition) = record.partition_ref()
            && partition < 0
        {
            let reason = "the record names it; partitions count from 0".to_owned();
            return Err(SendErrorKind::InvalidPartition { topic: topic.to_owned(), partition, reason }.into());
        }
        let (key, value) = (record.key_ref(), record.value_ref());
        let key = self.key.encode("key", topic, record.headers_mut(), key)?;
        let value = self.value.encode("value", topic, record.headers_mut(), value)?;
        let (key, value, headers) = (key.as_deref(), value.as_deref(), record.headers_ref());
        let body_len = body_len(key, value, headers.entries());
        check_size(settings, topic, size_upper_bound(body_len))?;
        let partition = match (record.partition_ref(), &settings.partitioner) {
            (Some(partition), _) => Partition::Explicit(partition),
            (None, Some(_)) => Partition::Explicit(self.custom_partition(topic, key, value, patience)?),
            (None, None) if key.is_some() && !settings.partitioner_ignore_keys => Partition::Key,
            (None, None) => Partition::Open,
        };
        let timestamp = record.timestamp_ref();
        hub.append(Entry { topic, partition, timestamp, key, value, headers, body_len, callback }, patience)
    }

    #[cold]
    fn custom_partition(
        &self,
        topic: &str,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        patience: &mut Patience,
    ) -> Result<i32, SendError> {
        let Core { settings, hub, .. } = &*self.core;
        let partitioner = settings.partitioner.as_ref().expect("the caller has seen one");
        let (_, view) = hub.topic_view(topic, None, patience)?;
        let partitions = TopicPartitions { topic, count: view.count, available: &view.available };
        let partition = guarded(|| partitioner.partition(partitions, key, value))
            .unwrap_or_else(|panic| Err(panicked("the partitioner", &panic)))
            .map_err(|source| SendErrorKind::Partitioner { topic: topic.to_owned(), source })?;
        if !(0..view.count).contains(&partition) {
            let reason = format!("the partitioner chose it; 0 to {} exist", view.count - 1);
            return Err(SendErrorKind::InvalidPartition { topic: topic.to_owned(), partition, reason }.into());
        }
        Ok(partition)
    }
}

impl<K: ?Sized, V: ?Sized> Producer<K, V> {
    /// Whether it has a `transactional.id`.
    pub(crate) fn is_transactional(&self) -> bool {
        self.core.settings.transactional_id.is_some()
    }

    /// Makes a call about transactions, in its turn.
    pub(crate) fn call(&self, call: TransactionCall) -> Result<(), TransactionError> {
        self.call_within(call, self.core.settings.max_block)
    }

    /// As [`call`](Self::call), but waits no longer than `limit`: what is not done by then goes on.
    pub(crate) fn call_within(&self, call: TransactionCall, limit: Duration) -> Result<(), TransactionError> {
        if !self.is_transactional() {
            return Err(TransactionErrorKind::NotTransactional { call: call.name() }.into());
        }
        let wait = metrics::wait_of(&call);
        self.core.sender.counting.timed(wait, || self.core.turns.call(&self.core.hub, call, limit))
    }
}

impl Core {
    /// Counts what was waited for, and a record that was refused.
    #[inline]
    fn noted(
        &self,
        taken: Result<DeliveryFuture, SendError>,
        patience: &Patience,
    ) -> Result<DeliveryFuture, SendError> {
        if patience.has_waited() {
            self.sender.counting.note_waits(patience);
        }
        taken.inspect_err(|error| {
            self.sender.counting.note_refusal(error);
            self.note_refusal(error);
        })
    }

    /// A record that should have been part of a transaction and is not there spoils it, unless the caller is at fault or
    /// did not want to wait for it.
    #[cold]
    fn note_refusal(&self, error: &SendError) {
        if self.settings.transactional_id.is_none() {
            return;
        }
        if let SendErrorKind::MetadataTimeout { .. }
        | SendErrorKind::UnknownPartition { .. }
        | SendErrorKind::BufferFull { .. }
        | SendErrorKind::RecordTooLarge { .. }
        | SendErrorKind::InvalidTopic { .. }
        | SendErrorKind::Refused { .. } = error.kind()
        {
            self.hub.spoil_transaction(|| {
                let cause = format!("a record was refused: {error}");
                TransactionErrorKind::Abortable { code: error.code(), cause }.into()
            });
        }
    }

    fn may_wait(&self, what: &'static str) -> Result<(), FlushError> {
        if context::inside_callback() {
            return Err(FlushError::InsideCallback { what });
        }
        if context::forked(self.creator) {
            return Err(FlushError::Forked { parent: self.creator });
        }
        Ok(())
    }

    /// Tells the interceptors the outcome, then the record's own callback.
    fn intercepted(&self, callback: Option<Callback>) -> Callback {
        let interceptors = self.settings.interceptors.clone();
        Box::new(move |outcome| {
            for interceptor in &interceptors {
                if guarded(|| interceptor.on_acknowledgement(outcome.as_ref())).is_err() {
                    log::warn!("an interceptor panicked in on_acknowledgement");
                }
            }
            if let Some(callback) = callback {
                callback(outcome);
            }
        })
    }

    /// Whether the end has come within the time, and without records being failed for it.
    fn close(&self, limit: Option<Duration>) -> bool {
        let until = limit.and_then(context::deadline);
        self.hub.close_lanes();
        if limit != Some(Duration::ZERO) {
            self.hub.close_command();
        }
        if self.sender.wait(until) {
            return true;
        }
        self.hub.force_close();
        // The thread gets there within a turn, and whoever called finds every handle done. That is not so with
        // callbacks: one that does not return is left behind.
        self.sender.wait_until_settled(context::deadline(FORCED_END));
        self.sender.wait(context::deadline(LAST_CALLBACKS)) && self.hub.abandoned().is_none()
    }
}

/// The last thing that interceptors and the partitioner hear.
fn close_user_code(settings: &Settings) {
    for interceptor in &settings.interceptors {
        if guarded(|| interceptor.close()).is_err() {
            log::warn!("an interceptor panicked in close");
        }
    }
    if let Some(partitioner) = &settings.partitioner
        && guarded(|| partitioner.close()).is_err()
    {
        log::warn!("the partitioner panicked in close");
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if context::forked(self.creator) || self.hub.is_closed() {
            return;
        }
        if context::inside_callback() {
            // Waiting would be for this very thread. What was accepted is still sent.
            self.hub.close_lanes();
            self.hub.close_command();
            return;
        }
        let patience = (!std::thread::panicking()).then_some(self.settings.drop_timeout);
        if !self.close(Some(patience.unwrap_or(Duration::ZERO)))
            && let Some((records, first)) = self.hub.abandoned()
        {
            complain(*records, first, patience);
        }
    }
}

/// The last word on records that nobody may have waited for: in the log, or on stderr where there is none.
/// Without patience a panic was the end of them.
fn complain(records: usize, first: &DeliveryError, patience: Option<Duration>) {
    let waited = match patience {
        Some(limit) => format!("after {limit:?} (drop.timeout.ms)"),
        None => "by a thread that is panicking, so that none of drop.timeout.ms was waited,".to_owned(),
    };
    let plural = if records == 1 { "" } else { "s" };
    let text = format!(
        "a producer was dropped {waited} with {records} record{plural} not acknowledged, which failed; the first with: \
         {first}. Call close() or flush() before the end"
    );
    if log::log_enabled!(log::Level::Error) {
        log::error!("{text}");
    } else {
        eprintln!("kafka-producer: {text}");
    }
}

// Code of a user that panics inside is caught on its way (`guarded`), no lock is held meanwhile, and none is poisoned
// (`handoff/sync.rs`): whoever catches a panic has a producer that works.
impl<K: ?Sized, V: ?Sized> UnwindSafe for Producer<K, V> {}
impl<K: ?Sized, V: ?Sized> RefUnwindSafe for Producer<K, V> {}

impl<K: ?Sized, V: ?Sized> Clone for Producer<K, V> {
    fn clone(&self) -> Self {
        Self { core: Arc::clone(&self.core), key: self.key.clone(), value: self.value.clone() }
    }
}

impl<T: ?Sized> Clone for Encoding<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Bytes(bytes) => Self::Bytes(*bytes),
            Self::Serializer(serializer) => Self::Serializer(Arc::clone(serializer)),
        }
    }
}

impl<K: ?Sized, V: ?Sized> fmt::Debug for Producer<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("client_id", &self.core.settings.client_id)
            .field("bootstrap", &self.core.settings.bootstrap)
            .field("closed", &self.core.hub.is_closed())
            .finish()
    }
}

impl<T: ?Sized> Encoding<T> {
    #[inline(always)]
    fn encode<'a>(
        &self,
        part: &'static str,
        topic: &str,
        headers: &mut Headers,
        data: Option<&'a T>,
    ) -> Result<Option<Cow<'a, [u8]>>, SendError> {
        let Some(data) = data else { return Ok(None) };
        match self {
            Self::Bytes(bytes) => Ok(Some(Cow::Borrowed(bytes(data)))),
            Self::Serializer(serializer) => serialize(&**serializer, part, topic, headers, data),
        }
    }
}

fn serialize<'a, T: ?Sized>(
    serializer: &dyn Serializer<T>,
    part: &'static str,
    topic: &str,
    headers: &mut Headers,
    data: &'a T,
) -> Result<Option<Cow<'a, [u8]>>, SendError> {
    let serialized: Serialized<'a> = guarded(|| serializer.serialize(topic, headers, data))
        .unwrap_or_else(|panic| Err(panicked("the serializer", &panic)));
    serialized.map_err(|source| SendErrorKind::Serialization { topic: topic.to_owned(), part, source }.into())
}

#[inline]
fn check_size(settings: &Settings, topic: &str, size: usize) -> Result<(), SendError> {
    if size <= settings.max_request_size && size <= settings.buffer_memory {
        return Ok(());
    }
    Err(too_large(settings, topic, size))
}

#[cold]
fn too_large(settings: &Settings, topic: &str, size: usize) -> SendError {
    let (limit, setting) = if size > settings.max_request_size {
        (settings.max_request_size, "max.request.size")
    } else {
        (settings.buffer_memory, "buffer.memory")
    };
    SendErrorKind::RecordTooLarge { topic: topic.to_owned(), size, limit, setting }.into()
}

#[cold]
fn panicked(who: &str, panic: &str) -> BoxError {
    format!("{who} panicked: {panic}").into()
}

/// A name that nobody can resolve is a mistake to be told at once, and not after `max.block.ms`.
fn resolve_bootstrap(settings: &Settings) -> Result<(), ConfigError> {
    let mut causes = Vec::new();
    for (host, port) in &settings.bootstrap {
        match (host.as_str(), *port).to_socket_addrs() {
            Ok(addresses) if addresses.len() > 0 => return Ok(()),
            Ok(_) => causes.push("it has no address".to_owned()),
            Err(error) => causes.push(error.to_string()),
        }
    }
    let servers: Vec<_> = settings.bootstrap.iter().map(|(h, p)| format!("{h}:{p}")).collect();
    let problem = match &causes[..] {
        // The setting's value says already which one it is.
        [cause] => format!("cannot be resolved: {cause}"),
        causes => {
            let each: Vec<_> = servers.iter().zip(causes).map(|(s, cause)| format!("{s}: {cause}")).collect();
            format!("none of them can be resolved: {}", each.join("; "))
        }
    };
    Err(ConfigError::new(vec![ConfigProblem {
        name: "bootstrap.servers".into(),
        value: servers.join(","),
        problem,
    }]))
}

fn cannot_start(error: &std::io::Error) -> ConfigError {
    let problem = format!("cannot start the sender thread: {error}");
    ConfigError::new(vec![ConfigProblem { name: "client.id".into(), value: String::new(), problem }])
}

/// The sender thread has nothing left to wait for then; this is for a machine that gives it no time.
const FORCED_END: Duration = Duration::from_secs(10);

/// Longer than callbacks take that do not wait for anything, shorter than anybody minds.
const LAST_CALLBACKS: Duration = Duration::from_millis(200);
