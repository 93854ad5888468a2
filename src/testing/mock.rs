//! [`MockProducer`]: a producer whose other end is the test itself.
//!
//! The caller's half is the real one; what it hands over is taken here instead of by `net/`, and each record is held
//! until the test says what became of it. One thread stands at that end, for whoever waits: for a topic's partitions, a
//! flush, a call about transactions, the end. Everything else is done under one lock, by whichever thread comes first.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::Record;
use crate::{
    BytesSerializer, ConfigError, DeliveryCause, DeliveryError, ErrorCode, OffsetAndMetadata, Producer,
    ProducerConfig, RecordMetadata, Serializer, TopicPartition, TransactionError, TransactionErrorKind,
    engine::leaves_in_doubt,
    error::DeliveryFailure,
    handoff::{
        Bell, Command, HubReceiver, Level, PartitionView, PendingCallback, Promise, RecordView, Run,
        Settling, Snapshot, TopicId, TopicView, TransactionCall, TransactionReply, charge, context,
    },
    metrics::Numbers,
    net::{self, Callbacks, FarEnd, Inquiries, Parts},
    wire::primitives::{DecodeError, Reader},
};

/// A producer for tests, in the manner of Java's class of this name: it sends nothing anywhere, tells what it was given,
/// and lets the test decide what becomes of each record.
///
/// [`producer`](Self::producer) hands out a real [`Producer`] for the code under test. Its serializers, partitioner,
/// interceptors, callbacks and limits are the real ones, only that nobody is at the other end: no sockets, no batches, no
/// retries; its metrics know only what callers count. For those there is [`Cluster`](super::Cluster).
///
/// ```
/// use kafka_producer::{ErrorCode, ProducerRecord, testing::MockProducer};
///
/// let mock = MockProducer::new();
/// let producer = mock.producer(); // for the code under test
/// let sent = producer.send(ProducerRecord::new("orders", "42 apples").key("customer-7"))?;
/// let lost = producer.send(ProducerRecord::new("orders", "7 pears"))?;
///
/// assert_eq!(mock.history()[0].value_str(), Some("42 apples"));
/// assert!(!sent.is_done());
/// assert!(mock.complete_next());
/// assert_eq!(sent.get()?.offset(), 0);
/// assert!(mock.error_next(ErrorCode::TOPIC_AUTHORIZATION_FAILED));
/// assert_eq!(lost.get().unwrap_err().code(), Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Offsets count from 0 in every partition. A topic that was not [declared](MockProducerBuilder::topic) has one partition; a
/// record that leaves its partition open goes to partition 0. A record for a partition that its topic does not have is
/// refused after `max.block.ms`, as always.
///
/// `flush`, `close` and the end of a transaction complete what is pending, in the order sent: otherwise a test with a
/// single thread would wait for itself. `send()?.get()` on such a thread does wait for itself: use
/// [`autocomplete`](Self::autocomplete). Closing in the middle of a transaction aborts it. Dropping the mock fails what is
/// pending then, and acknowledges what is sent later.
pub struct MockProducer<K: ?Sized = [u8], V: ?Sized = [u8]> {
    producer: Producer<K, V>,
    stage: Stage,
}

/// Settings of a [`MockProducer`].
#[derive(Clone, Debug)]
pub struct MockProducerBuilder {
    config: ProducerConfig,
    topics: BTreeMap<String, i32>,
    autocomplete: bool,
    auto_create_topics: bool,
}

/// A call about transactions that is to [fail](MockProducer::fail_next).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum MockCall {
    /// [`Producer::init_transactions`].
    InitTransactions,
    /// [`Producer::begin_transaction`].
    BeginTransaction,
    /// [`Producer::send_offsets_to_transaction`].
    SendOffsets,
    /// [`Producer::commit_transaction`].
    CommitTransaction,
    /// [`Producer::abort_transaction`].
    AbortTransaction,
}

/// The offsets that a transaction has committed for a consumer group, by group and partition.
pub type MockOffsets = BTreeMap<(String, TopicPartition), OffsetAndMetadata>;

impl MockProducer {
    /// One that holds every record until it is told what becomes of it.
    ///
    /// # Panics
    /// If its thread cannot be started.
    pub fn new() -> Self {
        Self::builder().build().expect("the defaults are right, and a thread can be started")
    }

    /// One that acknowledges every record at once.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    pub fn autocomplete() -> Self {
        Self::builder()
            .autocomplete(true)
            .build()
            .expect("the defaults are right, and a thread can be started")
    }

    /// To be told what it should be like.
    pub fn builder() -> MockProducerBuilder {
        MockProducerBuilder {
            config: ProducerConfig::new("mock:9092"),
            topics: BTreeMap::new(),
            autocomplete: false,
            auto_create_topics: true,
        }
    }
}

impl Default for MockProducer {
    fn default() -> Self {
        Self::new()
    }
}

impl MockProducerBuilder {
    /// The producer's settings: its `transactional.id`, partitioner, interceptors, `max.block.ms` and so on. What is about
    /// brokers has no effect; it is checked all the same, and `bootstrap.servers` must be a host and a port, whichever.
    /// Default: none.
    #[must_use]
    pub fn config(mut self, config: ProducerConfig) -> Self {
        self.config = config;
        self
    }

    /// A topic with so many partitions.
    #[must_use]
    pub fn topic(mut self, name: impl Into<String>, partitions: i32) -> Self {
        assert!(partitions > 0, "a topic has at least one partition, not {partitions}");
        self.topics.insert(name.into(), partitions);
        self
    }

    /// Whether every record is acknowledged at once. Default false.
    #[must_use]
    pub fn autocomplete(mut self, on: bool) -> Self {
        self.autocomplete = on;
        self
    }

    /// Whether a topic that was not declared has one partition. Otherwise a record for it is refused after `max.block.ms`.
    /// Default true.
    #[must_use]
    pub fn auto_create_topics(mut self, on: bool) -> Self {
        self.auto_create_topics = on;
        self
    }

    /// A mock of a producer of bytes and strings.
    ///
    /// # Errors
    /// As [`Producer::new`].
    pub fn build(self) -> Result<MockProducer, ConfigError> {
        self.build_with_serializers(BytesSerializer, BytesSerializer)
    }

    /// A mock of a producer whose keys and values go through serializers.
    ///
    /// # Errors
    /// As [`Producer::new`].
    pub fn build_with_serializers<K: ?Sized, V: ?Sized>(
        self,
        key: impl Serializer<K> + 'static,
        value: impl Serializer<V> + 'static,
    ) -> Result<MockProducer<K, V>, ConfigError> {
        let Self { config, topics, autocomplete, auto_create_topics } = self;
        let (ring, rung) = bounded(1);
        let mut stage = None;
        let producer = Producer::mocked(config, key, value, |settings, farewell| {
            let bell = {
                let ring = ring.clone();
                move || Box::new(MockBell(ring.clone())) as Box<dyn Bell>
            };
            let (tell, told) = bounded(1);
            let shape = settings.metrics_shape;
            let thread = net::launch(settings, bell, farewell, move |parts: Parts| {
                let Parts { receiver, callbacks, inquiries, .. } = parts;
                let state =
                    State::new(receiver, callbacks, Numbers::new(shape), autocomplete, auto_create_topics);
                let stage = Stage(Arc::new(Mutex::new(state)));
                stage.lock().declare(topics);
                let _ = tell.send(stage.clone());
                MockEnd { stage, inquiries, rung }
            })?;
            stage = told.recv().ok();
            Ok(thread)
        })?;
        let stage = stage.expect("the thread has set the stage before anything else");
        Ok(MockProducer { producer, stage })
    }
}

impl<K: ?Sized, V: ?Sized> MockProducer<K, V> {
    /// The producer, for the code under test. All that are handed out are clones of one.
    pub fn producer(&self) -> Producer<K, V> {
        self.producer.clone()
    }

    /// Acknowledges the oldest record that is pending, and returns when its callback has. `false`: none is.
    pub fn complete_next(&self) -> bool {
        self.settle_next(None)
    }

    /// Fails the oldest record that is pending with an error that a broker might give, or with another cause, and returns
    /// when its callback has. `false`: none is pending.
    pub fn error_next(&self, cause: impl Into<DeliveryCause>) -> bool {
        self.settle_next(Some(cause.into()))
    }

    /// How many records are pending.
    pub fn pending(&self) -> usize {
        self.stage.look().pending.len()
    }

    /// Every record that was sent, in the order sent, whatever became of it; those of transactions once they are
    /// committed.
    pub fn history(&self) -> Vec<Record> {
        self.stage.look().history.clone()
    }

    /// The records of the transaction that is open.
    pub fn uncommitted_records(&self) -> Vec<Record> {
        self.stage.look().uncommitted.clone()
    }

    /// The offsets that were sent to the transaction that is open.
    pub fn uncommitted_offsets(&self) -> MockOffsets {
        self.stage.look().uncommitted_offsets.clone()
    }

    /// The offsets of each transaction that was committed with some.
    pub fn consumer_group_offsets_history(&self) -> Vec<MockOffsets> {
        self.stage.look().offsets_history.clone()
    }

    /// Forgets the history, what is uncommitted, and how often something was committed. What is pending stays so.
    pub fn clear(&self) {
        let mut state = self.stage.look();
        state.history.clear();
        state.uncommitted.clear();
        state.uncommitted_offsets.clear();
        state.offsets_history.clear();
        state.commits = 0;
        (state.committed, state.aborted) = (false, false);
    }

    /// Has the next such call fail with an error. Calls of other kinds are not affected, nor is the state of the
    /// transaction.
    pub fn fail_next(&self, call: MockCall, error: TransactionErrorKind) {
        self.stage.look().failures.push_back((call, error));
    }

    /// Another producer has taken over the `transactional.id`: records and calls of this one fail from now on.
    pub fn fence_producer(&self) {
        self.stage.look().fence();
    }

    /// Has `send` refuse records for a topic with this error, or take them again. Only
    /// [`TOPIC_AUTHORIZATION_FAILED`](ErrorCode::TOPIC_AUTHORIZATION_FAILED) and
    /// [`INVALID_TOPIC_EXCEPTION`](ErrorCode::INVALID_TOPIC_EXCEPTION) are refused at once; after other errors `send` waits for
    /// `max.block.ms`.
    pub fn set_topic_error(&self, topic: &str, code: Option<ErrorCode>) {
        self.stage.look().set_topic_error(topic, code);
    }

    /// Whether [`Producer::init_transactions`] has succeeded.
    pub fn transaction_initialized(&self) -> bool {
        self.stage.look().initialized
    }

    /// Whether a transaction is open.
    pub fn transaction_in_flight(&self) -> bool {
        self.stage.look().in_flight
    }

    /// Whether the last transaction was committed.
    pub fn transaction_committed(&self) -> bool {
        self.stage.look().committed
    }

    /// Whether the last transaction was aborted.
    pub fn transaction_aborted(&self) -> bool {
        self.stage.look().aborted
    }

    /// How many transactions were committed.
    pub fn commit_count(&self) -> u64 {
        self.stage.look().commits
    }

    /// Whether offsets were sent to the transaction that is open.
    pub fn sent_offsets(&self) -> bool {
        !self.stage.look().uncommitted_offsets.is_empty()
    }

    /// Whether nothing is pending.
    pub fn flushed(&self) -> bool {
        self.pending() == 0
    }

    /// Whether the producer was closed.
    pub fn closed(&self) -> bool {
        self.stage.look().over
    }

    fn settle_next(&self, cause: Option<DeliveryCause>) -> bool {
        let settled = {
            let mut state = self.stage.look();
            state.pending.pop_front().map(|pending| state.settle(pending, cause))
        };
        let Some(callback) = settled else { return false };
        // In a callback that would be to wait for itself.
        if let Some(done) = callback
            && !context::inside_callback()
        {
            let _ = done.recv();
        }
        true
    }
}

impl<K: ?Sized, V: ?Sized> fmt::Debug for MockProducer<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockProducer").field("producer", &self.producer).finish_non_exhaustive()
    }
}

impl<K: ?Sized, V: ?Sized> Drop for MockProducer<K, V> {
    fn drop(&mut self) {
        let mut state = self.stage.look();
        state.fail_all(&DeliveryCause::Closed);
        // Who still has the producer is not to wait for a test that is over.
        state.autocomplete = true;
    }
}

/// What the test and the far end share.
#[derive(Clone)]
struct Stage(Arc<Mutex<State>>);

impl Stage {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// With everything that was sent before this call.
    fn look(&self) -> MutexGuard<'_, State> {
        loop {
            let mut state = self.lock();
            if state.drain() {
                return state;
            }
            drop(state);
            // Somebody is inside `send`.
            thread::yield_now();
        }
    }
}

struct State {
    receiver: HubReceiver,
    callbacks: Arc<Callbacks>,
    numbers: Numbers,
    views: Vec<Option<Arc<TopicView>>>,
    /// How many partitions a topic has, also while it is said to have an error.
    partitions: HashMap<TopicId, i32>,
    autocomplete: bool,
    auto_create_topics: bool,
    /// What the thread has to answer.
    commands: VecDeque<Command>,
    pending: VecDeque<Pending>,
    offsets: HashMap<(TopicId, i32), i64>,
    history: Vec<Record>,
    uncommitted: Vec<Record>,
    uncommitted_offsets: MockOffsets,
    offsets_history: Vec<MockOffsets>,
    failures: VecDeque<(MockCall, TransactionErrorKind)>,
    initialized: bool,
    in_flight: bool,
    committed: bool,
    aborted: bool,
    fenced: bool,
    commits: u64,
    over: bool,
}

/// A record whose fate is open.
struct Pending {
    run: Run,
    callback: Option<PendingCallback>,
    topic: Arc<str>,
    partition: i32,
    offset: i64,
    charge: usize,
}

impl State {
    fn new(
        receiver: HubReceiver,
        callbacks: Arc<Callbacks>,
        numbers: Numbers,
        autocomplete: bool,
        auto_create_topics: bool,
    ) -> Self {
        Self {
            receiver,
            callbacks,
            numbers,
            views: Vec::new(),
            partitions: HashMap::new(),
            autocomplete,
            auto_create_topics,
            commands: VecDeque::new(),
            pending: VecDeque::new(),
            offsets: HashMap::new(),
            history: Vec::new(),
            uncommitted: Vec::new(),
            uncommitted_offsets: MockOffsets::new(),
            offsets_history: Vec::new(),
            failures: VecDeque::new(),
            initialized: false,
            in_flight: false,
            committed: false,
            aborted: false,
            fenced: false,
            commits: 0,
            over: false,
        }
    }

    /// Takes everything that callers have handed over; `false`: a lane was held, so something may be missing.
    fn drain(&mut self) -> bool {
        if self.over {
            return true;
        }
        let held = self.receiver.steal_all();
        while let Some(command) = self.receiver.try_recv() {
            match command {
                Command::Chunk(mut chunk) => {
                    while let Some(record) = chunk.take_next() {
                        let (record, pending) = taken(&mut self.offsets, &self.receiver, record);
                        if self.in_flight { &mut self.uncommitted } else { &mut self.history }.push(record);
                        self.pending.push_back(pending);
                    }
                    self.receiver.hub().recycle(chunk.into_buffer());
                }
                other => self.commands.push_back(other),
            }
        }
        if self.fenced {
            self.fail_all(&ErrorCode::PRODUCER_FENCED.into());
        } else if self.autocomplete {
            self.complete_all();
        }
        !held
    }

    fn complete_all(&mut self) {
        while let Some(pending) = self.pending.pop_front() {
            let _ = self.settle(pending, None);
        }
    }

    fn fail_all(&mut self, cause: &DeliveryCause) {
        while let Some(pending) = self.pending.pop_front() {
            let _ = self.settle(pending, Some(cause.clone()));
        }
    }

    /// Tells what became of a record. If it has a callback, that is told on its own thread, and here when it has
    /// returned.
    fn settle(&mut self, pending: Pending, cause: Option<DeliveryCause>) -> Option<Receiver<()>> {
        let Pending { run, callback, topic, partition, offset, charge } = pending;
        let may_have_been_written = match &cause {
            Some(DeliveryCause::Broker { code, .. }) => leaves_in_doubt(*code),
            Some(DeliveryCause::DeliveryTimeout { .. } | DeliveryCause::SenderDied(_)) => true,
            _ => false,
        };
        let error = cause.map(|cause| failure(&topic, partition, 1, cause, may_have_been_written));
        if self.in_flight
            && let Some(error) = &error
        {
            let (code, cause) = (error.code(), format!("a record was not delivered: {error}"));
            self.receiver.hub().fail_transaction(TransactionErrorKind::Abortable { code, cause }.into());
        }
        let finish = move |error: Option<DeliveryError>| {
            let mut settling = Settling::new();
            match error {
                None => settling.acknowledge(run, Some(offset), None),
                Some(error) => settling.fail(run, error),
            }
            settling.finish();
        };
        let Some(callback) = callback else {
            finish(error);
            self.receiver.hub().give_back(charge);
            return None;
        };
        let (tell, told) = bounded(1);
        self.callbacks.run(move || {
            let outcome = match &error {
                Some(error) => Err(error.clone()),
                None => Ok(RecordMetadata {
                    topic,
                    partition,
                    offset,
                    timestamp: callback.timestamp,
                    serialized_key_size: callback.key_size,
                    serialized_value_size: callback.value_size,
                }),
            };
            let call = callback.call;
            // What panicked, and with what message, the panic hook has said.
            let _ = crate::error::guarded(|| call(outcome));
            finish(error);
            let _ = tell.send(());
            charge
        });
        Some(told)
    }

    // Topics

    fn declare(&mut self, topics: BTreeMap<String, i32>) {
        for (name, partitions) in topics {
            match self.receiver.hub().topics().intern(&name) {
                Ok(topic) => {
                    self.partitions.insert(topic, partitions);
                    self.set_view(topic, view(partitions));
                }
                Err(reason) => panic!("no topic can be called {name:?}: {reason}"),
            }
        }
        self.publish();
    }

    fn set_view(&mut self, topic: TopicId, view: TopicView) {
        let place = topic.0 as usize;
        if self.views.len() <= place {
            self.views.resize(place + 1, None);
        }
        self.views[place] = Some(Arc::new(view));
    }

    fn set_topic_error(&mut self, name: &str, code: Option<ErrorCode>) {
        let Ok(topic) = self.receiver.hub().topics().intern(name) else {
            panic!("no topic can be called {name:?}");
        };
        let view = match code {
            Some(code) => broken(code),
            None => view(self.partitions.get(&topic).copied().unwrap_or(1)),
        };
        self.set_view(topic, view);
        self.publish();
    }

    fn answer_wishes(&mut self) {
        let mut is_new = false;
        for topic in self.receiver.take_wishes() {
            if self.views.get(topic.0 as usize).is_none_or(Option::is_none) {
                let code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
                self.set_view(topic, if self.auto_create_topics { view(1) } else { broken(code) });
                is_new = true;
            }
        }
        // Nothing new is no answer: who waits would only ask again.
        if is_new {
            self.publish();
        }
    }

    fn publish(&self) {
        let snapshot = Snapshot { topics: self.views.clone(), ..Snapshot::default() };
        self.receiver.hub().published().publish(snapshot);
    }

    // Transactions

    fn call(&mut self, call: TransactionCall, reply: TransactionReply) {
        let kind = MockCall::of(&call);
        let outcome = match self.failures.iter().position(|(failing, _)| *failing == kind) {
            Some(at) => {
                let (_, error) = self.failures.remove(at).expect("it was found there");
                Err(error.into())
            }
            None => self.perform(call),
        };
        let promise = reply.settle(outcome);
        self.callbacks.run_in_turn(move || promise.fulfil());
    }

    fn perform(&mut self, call: TransactionCall) -> Result<(), TransactionError> {
        let name = call.name();
        let out_of_place = |reason| Err(TransactionErrorKind::OutOfPlace { call: name, reason }.into());
        if self.fenced {
            return Err(fenced());
        }
        match call {
            TransactionCall::Init if self.initialized => out_of_place("the producer is initialized already"),
            TransactionCall::Init => {
                self.initialized = true;
                Ok(())
            }
            _ if !self.initialized => out_of_place("call init_transactions first"),
            TransactionCall::Begin if self.in_flight => {
                out_of_place("a transaction is open; commit or abort it first")
            }
            TransactionCall::Begin => {
                (self.in_flight, self.committed, self.aborted) = (true, false, false);
                Ok(())
            }
            _ if !self.in_flight => out_of_place("no transaction is open; call begin_transaction first"),
            TransactionCall::SendOffsets(offsets, group) => {
                let group = group.group_id;
                let offsets = offsets.into_iter().map(|(place, offset)| ((group.clone(), place), offset));
                self.uncommitted_offsets.extend(offsets);
                Ok(())
            }
            TransactionCall::Commit => {
                self.complete_all();
                self.history.append(&mut self.uncommitted);
                let offsets = std::mem::take(&mut self.uncommitted_offsets);
                if !offsets.is_empty() {
                    self.offsets_history.push(offsets);
                }
                (self.in_flight, self.committed) = (false, true);
                self.commits += 1;
                Ok(())
            }
            TransactionCall::Abort => {
                self.complete_all();
                self.uncommitted.clear();
                self.uncommitted_offsets.clear();
                (self.in_flight, self.aborted) = (false, true);
                self.receiver.hub().mend_transaction();
                Ok(())
            }
        }
    }

    /// As a real one: what is in a transaction that nobody has committed is not sent.
    fn close(&mut self) {
        if self.in_flight {
            self.fail_all(&DeliveryCause::TransactionAborted("the producer was closed".into()));
            self.uncommitted.clear();
            self.uncommitted_offsets.clear();
            (self.in_flight, self.aborted) = (false, true);
        }
        self.complete_all();
        self.end();
    }

    /// Nobody is left to answer. Whoever waits hears of it when what asked is dropped.
    fn end(&mut self) {
        self.over = true;
        self.commands.clear();
    }

    fn fence(&mut self) {
        self.fenced = true;
        self.fail_all(&ErrorCode::PRODUCER_FENCED.into());
        self.receiver.hub().fail_transaction(fenced());
    }
}

/// What becomes of a record that nobody was asked to take.
fn failure(
    topic: &Arc<str>,
    partition: i32,
    attempts: u32,
    cause: DeliveryCause,
    may_have_been_written: bool,
) -> DeliveryError {
    DeliveryError::new(DeliveryFailure {
        cause,
        topic: Arc::clone(topic),
        partition,
        broker: None,
        attempts,
        elapsed: Duration::ZERO,
        may_have_been_written,
        last_attempt: None,
    })
}

fn fenced() -> TransactionError {
    let cause = "the test has fenced the producer".to_owned();
    TransactionErrorKind::Fenced { code: ErrorCode::PRODUCER_FENCED, cause }.into()
}

/// A topic as it is published.
fn view(partitions: i32) -> TopicView {
    let partition =
        |index| PartitionView { index, leader: Some(NODE), replicas: vec![NODE], isr: vec![NODE] };
    TopicView {
        count: partitions,
        available: (0..partitions).collect(),
        error: None,
        partitions: (0..partitions).map(partition).collect(),
    }
}

/// A topic with an error.
fn broken(code: ErrorCode) -> TopicView {
    TopicView { error: Some(code), ..TopicView::default() }
}

/// A record as it came, for the test to read and to be settled later.
fn taken(
    offsets: &mut HashMap<(TopicId, i32), i64>,
    receiver: &HubReceiver,
    record: RecordView<'_>,
) -> (Record, Pending) {
    let partition = record.partition.max(0);
    record.cells.set_place(record.cell, record.topic, partition);
    let next = offsets.entry((record.topic, partition)).or_default();
    let offset = *next;
    *next += 1;
    let topic = Arc::clone(receiver.hub().topics().name(record.topic));
    let (key, value, headers) = parts(record.body).expect("what was encoded here can be read");
    let read = Record {
        topic: topic.to_string(),
        partition,
        offset,
        timestamp: record.timestamp,
        key,
        value,
        headers,
        producer_id: -1,
        producer_epoch: -1,
        sequence: -1,
    };
    let pending = Pending {
        run: Run::start(record.cells, record.cell),
        callback: record.callback,
        topic,
        partition,
        offset,
        charge: charge(record.body.len()),
    };
    (read, pending)
}

type Body = (Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>);

/// Key, value and headers.
fn parts(body: &[u8]) -> Result<Body, DecodeError> {
    let mut reader = Reader::new(body);
    let bytes = |reader: &mut Reader<'_>| {
        // Negative for null.
        let Ok(len) = usize::try_from(reader.varint("length")?) else { return Ok(None) };
        reader.take(len, "bytes").map(|bytes| Some(bytes.to_vec()))
    };
    let (key, value) = (bytes(&mut reader)?, bytes(&mut reader)?);
    let count = reader.varint("headers")?;
    let headers = (0..count).map(|_| {
        let name = bytes(&mut reader)?.unwrap_or_default();
        Ok((String::from_utf8_lossy(&name).into_owned(), bytes(&mut reader)?))
    });
    Ok((key, value, headers.collect::<Result<_, DecodeError>>()?))
}

impl MockCall {
    fn of(call: &TransactionCall) -> Self {
        match call {
            TransactionCall::Init => Self::InitTransactions,
            TransactionCall::Begin => Self::BeginTransaction,
            TransactionCall::SendOffsets(..) => Self::SendOffsets,
            TransactionCall::Commit => Self::CommitTransaction,
            TransactionCall::Abort => Self::AbortTransaction,
        }
    }
}

/// The thread's part.
struct MockEnd {
    stage: Stage,
    inquiries: Arc<Inquiries>,
    rung: Receiver<()>,
}

impl FarEnd for MockEnd {
    fn run(&mut self) -> std::io::Result<()> {
        loop {
            let limit = {
                let mut state = self.stage.look();
                if state.receiver.is_forced() {
                    self.give_up(&mut state);
                    return Ok(());
                }
                while let Some(command) = state.commands.pop_front() {
                    match command {
                        Command::Flush(promise) => flush(&mut state, promise),
                        Command::Transaction(request) => {
                            let (call, reply) = request.into_parts();
                            state.call(call, reply);
                        }
                        Command::Close => {
                            state.close();
                            return Ok(());
                        }
                        Command::Chunk(_) => unreachable!("its records were taken out"),
                    }
                }
                state.answer_wishes();
                // Nothing lingers here, so whoever waits need not hurry anything.
                drop(state.receiver.take_gets());
                self.inquiries.answer(|| state.numbers.clone());
                // It is never told that this thread is awake: who sends rings, since the test may look at any time.
                state.receiver.doze(Level::AnyRecord)
            };
            match limit {
                None => {}
                Some(Duration::MAX) => drop(self.rung.recv()),
                Some(limit) => drop(self.rung.recv_timeout(limit)),
            }
        }
    }

    fn last_numbers(&mut self) -> Numbers {
        self.stage.lock().numbers.clone()
    }
}

impl MockEnd {
    fn give_up(&self, state: &mut State) {
        let (count, first) = (state.pending.len(), state.pending.front());
        if let Some(first) = first {
            let error = failure(&first.topic, first.partition, 0, DeliveryCause::Closed, false);
            state.receiver.hub().note_abandoned(count, error);
        }
        state.fail_all(&DeliveryCause::Closed);
        state.end();
    }
}

impl Drop for MockEnd {
    fn drop(&mut self) {
        self.stage.lock().end();
    }
}

fn flush(state: &mut State, promise: Promise) {
    state.complete_all();
    state.callbacks.run_in_turn(move || promise.fulfil());
}

/// Wakes the thread; a ring that nobody has heard yet is enough.
struct MockBell(Sender<()>);

impl Bell for MockBell {
    fn ring(&self) {
        let _ = self.0.try_send(());
    }
}

/// Who leads every partition.
const NODE: i32 = 1;
