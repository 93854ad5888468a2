//! The cluster on loopback sockets: one thread that accepts per broker, one thread per connection, one model.
//!
//! Owns sockets, threads and the clock; what a broker answers is the model's business. Every thread ends when its
//! broker is stopped or the cluster is dropped: its socket is shut down, or it is woken from its condition variable.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a broker listens, has a clock and ends its accept threads by connecting to them"
)]

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    ops::{Range, RangeInclusive},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use self::{
    gate::{Gate, Verdict},
    wire::Wire,
};
use super::{
    Api, Batch, Fault, Injection, Push, Record, Subscription,
    audit::MAX_IN_FLIGHT,
    model::{ClusterModel, ModelConfig, Reaction, no_broker},
};
use crate::ErrorCode;

mod gate;
mod wire;

/// A Kafka cluster on loopback sockets, for tests. Ends with its last use: dropping it closes every socket.
///
/// Broker ids count from 1. A method that names a topic, partition or broker that does not exist panics, unless it
/// only asks: a test that is wrong should fail where it is wrong.
///
/// ```
/// use kafka_producer::testing::{Cluster, Fault};
///
/// let cluster = Cluster::start()?;
/// cluster.create_topic("orders", 3);
/// cluster.fault(Fault::AppendThenClose.topic("orders"));
/// assert_eq!(cluster.leader("orders", 2), Some(1));
/// assert_eq!(cluster.record_count("orders"), 0);
/// # std::io::Result::Ok(())
/// ```
pub struct Cluster {
    shared: Arc<Shared>,
}

impl Cluster {
    /// Starts one broker that creates topics when asked for them, with one partition.
    pub fn start() -> io::Result<Self> {
        Self::builder().start()
    }

    /// Starts with other settings than those of [`start`](Self::start).
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::default()
    }

    /// The addresses of all brokers, for `bootstrap.servers`: `127.0.0.1:40001,127.0.0.1:40002`.
    pub fn bootstrap(&self) -> String {
        let state = self.shared.lock();
        let addresses: Vec<String> =
            state.brokers.values().map(|broker| broker.address.to_string()).collect();
        addresses.join(",")
    }

    /// The address of one broker.
    #[track_caller]
    pub fn address(&self, node: i32) -> SocketAddr {
        self.shared.lock().broker(node).address
    }

    // ---- topics and leaders -----------------------------------------------------------------------------------

    /// Creates a topic. Its partitions are led by the brokers in turn.
    #[track_caller]
    pub fn create_topic(&self, name: &str, partitions: i32) {
        self.shared.lock().model.create_topic(name, partitions);
    }

    /// Deletes a topic with its records. Created again it has another id; that happens as soon as a producer asks for it,
    /// unless the builder said `auto_create_topics(false)`.
    #[track_caller]
    pub fn delete_topic(&self, name: &str) {
        self.shared.lock().model.delete_topic(name);
    }

    /// Raises the number of partitions of a topic to `total`.
    #[track_caller]
    pub fn add_partitions(&self, name: &str, total: i32) {
        self.shared.lock().model.add_partitions(name, total);
    }

    /// Makes another broker the leader of a partition. The old one answers NOT_LEADER_OR_FOLLOWER from now on.
    #[track_caller]
    pub fn move_leader(&self, topic: &str, partition: i32, node: i32) {
        self.shared.lock().model.move_leader(topic, partition, node);
    }

    /// The broker that leads a partition. `None`: no such partition, or no broker is left to lead it.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<i32> {
        self.shared.lock().model.leader(topic, partition)
    }

    /// How many partitions a topic has, 0 if there is no such topic.
    pub fn partition_count(&self, topic: &str) -> i32 {
        self.shared.lock().model.partition_count(topic)
    }

    /// Sets the largest batch in bytes that a topic takes (`max.message.bytes`, 1,048,588 by default). A larger one is
    /// refused with MESSAGE_TOO_LARGE.
    #[track_caller]
    pub fn set_max_message_bytes(&self, topic: &str, bytes: usize) {
        self.shared.lock().model.set_max_message_bytes(topic, bytes);
    }

    /// Sets whether the records of a topic get the broker's time when they are appended
    /// (`message.timestamp.type=LogAppendTime`), off by default.
    #[track_caller]
    pub fn set_log_append_time(&self, topic: &str, on: bool) {
        self.shared.lock().model.set_log_append_time(topic, on);
    }

    /// Sets whether a topic is compacted (`cleanup.policy=compact`), off by default: then a record without a key is
    /// refused with INVALID_RECORD, and named in the answer. Nothing is ever compacted away.
    #[track_caller]
    pub fn set_compacted(&self, topic: &str, on: bool) {
        self.shared.lock().model.set_compacted(topic, on);
    }

    /// Lets Metadata report an error for a topic, which need not exist, until it is taken back with `None`.
    pub fn set_topic_error(&self, topic: &str, code: Option<ErrorCode>) {
        self.shared.lock().model.set_topic_error(topic, code);
    }

    /// Lets Metadata report the leaders of this moment, wherever they move, until it is taken back with `false`.
    pub fn freeze_metadata(&self, frozen: bool) {
        self.shared.lock().model.freeze_metadata(frozen);
    }

    /// Sets which versions of an API the brokers offer and serve, to resemble older ones. A request of another version
    /// is a [violation](Self::violations) and closes the connection, except that ApiVersions is answered with
    /// UNSUPPORTED_VERSION.
    #[track_caller]
    pub fn set_versions(&self, api: Api, versions: RangeInclusive<i16>) {
        self.shared.lock().model.set_versions(api, versions);
    }

    /// Lets the brokers forget every idempotent producer, as they do when one was silent for a week. Any sequence
    /// number is accepted next.
    pub fn forget_producers(&self) {
        self.shared.lock().model.forget_producers();
    }

    // ---- what arrived -----------------------------------------------------------------------------------------

    /// The records of a topic, by partition and offset. Empty if there is no such topic, or no records are
    /// [kept](ClusterBuilder::keep_records).
    pub fn records(&self, topic: &str) -> Vec<Record> {
        self.read(topic, None)
    }

    /// The records of one partition, by offset.
    pub fn records_of(&self, topic: &str, partition: i32) -> Vec<Record> {
        self.read(topic, Some(partition))
    }

    /// The records of a topic that a reader with `isolation.level=read_committed` sees, by partition and offset: nothing of
    /// transactions that were aborted, and nothing behind the first record of one that is open.
    pub fn committed_records(&self, topic: &str) -> Vec<Record> {
        let stored = self.shared.lock().model.stored_and_committed(topic);
        stored.iter().flat_map(|(partition, batch)| batch.records(topic, *partition)).collect()
    }

    /// The offset that a consumer group has committed in transactions that were committed.
    pub fn committed_offset(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        self.shared.lock().model.committed_offset(group, topic, partition)
    }

    /// The transactional ids that have an open transaction. One that is over its time counts until the next request comes.
    pub fn open_transactions(&self) -> Vec<String> {
        self.shared.lock().model.open_transactions()
    }

    /// The broker that coordinates a transactional id or a consumer group. `None`: no broker is left to do it.
    pub fn coordinator(&self, key: &str) -> Option<i32> {
        self.shared.lock().model.coordinator(key)
    }

    /// Makes another broker the coordinator of a transactional id or a consumer group. The old one answers NOT_COORDINATOR
    /// from now on.
    pub fn move_coordinator(&self, key: &str, node: i32) {
        self.shared.lock().model.move_coordinator(key, node);
    }

    /// Sets the level of the feature `transaction.version`: 2, the default, or a lower one for the protocol before KIP-890.
    /// Connections that exist do not notice.
    pub fn set_transaction_version(&self, level: i16) {
        self.shared.lock().model.set_transaction_version(level);
    }

    /// The batches of a topic, by partition and offset. Empty if no records are kept.
    pub fn batches(&self, topic: &str) -> Vec<Batch> {
        self.shared.lock().model.batches(topic)
    }

    /// The metrics that clients have pushed, see [`ClusterBuilder::telemetry`]. A push that makes no sense is a
    /// [violation](Self::violations), and so is a metric that nobody has asked for.
    pub fn pushes(&self) -> Vec<Push> {
        self.shared.lock().model.pushes().to_vec()
    }

    /// Waits until so many pushes were taken since the start. False if fewer were after `at_most`.
    pub fn wait_for_pushes(&self, count: usize, at_most: Duration) -> bool {
        self.shared.wait_until(at_most, |state| state.model.pushes().len() >= count)
    }

    /// Asks clients for other metrics from now on: what they push for the last subscription is refused with
    /// UNKNOWN_SUBSCRIPTION_ID.
    #[track_caller]
    pub fn set_subscription(&self, subscription: Subscription) {
        self.shared.lock().model.set_subscription(subscription);
    }

    /// How many records lie in a topic, whether they are kept or only counted.
    pub fn record_count(&self, topic: &str) -> u64 {
        self.shared.lock().model.record_count(topic)
    }

    /// How many bytes the batches of a topic had on the wire, headers included, whether they are kept or only counted.
    pub fn byte_count(&self, topic: &str) -> u64 {
        self.shared.lock().model.byte_count(topic)
    }

    /// How many requests of each API arrived, those that failed included.
    pub fn requests(&self) -> BTreeMap<Api, u64> {
        self.shared.lock().model.requests().clone()
    }

    /// How many requests of one API arrived, those that failed included.
    pub fn request_count(&self, api: Api) -> u64 {
        self.shared.lock().model.request_count(api)
    }

    /// How often a client has proved who it is, see [`ClusterBuilder::sasl_plain`].
    pub fn authentication_count(&self) -> u64 {
        self.shared.lock().proofs
    }

    /// How many connections were accepted since the start.
    pub fn connection_count(&self) -> u64 {
        self.shared.lock().model.connection_count()
    }

    /// What the producer did that a broker would not have noticed, but that loses or duplicates records when something
    /// else goes wrong: a sequence number that named two different batches, a sixth request in flight, a malformed
    /// batch, an unreadable request. A test ends by asserting that there is none.
    pub fn violations(&self) -> Vec<String> {
        self.shared.lock().model.violations().to_vec()
    }

    /// Waits until a topic has so many records. False if it has fewer after `at_most`.
    ///
    /// Not needed after a delivery was confirmed; with `acks=0` nothing else tells when records have arrived.
    pub fn wait_for_records(&self, topic: &str, count: u64, at_most: Duration) -> bool {
        self.shared.wait_until(at_most, |state| state.model.record_count(topic) >= count)
    }

    /// Waits until so many requests of an API have arrived since the start. False if fewer have after `at_most`.
    pub fn wait_for_requests(&self, api: Api, count: u64, at_most: Duration) -> bool {
        self.shared.wait_until(at_most, |state| state.model.request_count(api) >= count)
    }

    // ---- what goes wrong --------------------------------------------------------------------------------------

    /// Answers the next `times` produce requests with an error, and appends nothing of them.
    pub fn fail_next(&self, code: ErrorCode, times: u32) {
        self.fault(Fault::Error(code).times(times));
    }

    /// Closes the connection that the next produce request comes on, as if the request had never arrived.
    pub fn cut_next_connection(&self) {
        self.fault(Fault::Close);
    }

    /// Sends every response this much later; requests that follow are taken meanwhile. Zero by default.
    pub fn delay(&self, delay: Duration) {
        self.shared.lock().model.set_delay(delay);
    }

    /// Lets something go wrong: a [`Fault`], or one with its [`Injection`].
    pub fn fault(&self, injection: impl Into<Injection>) {
        self.shared.lock().model.fault(injection);
    }

    /// Forgets the faults that have not happened yet.
    pub fn clear_faults(&self) {
        self.shared.lock().model.clear_faults();
    }

    /// Closes the connections that a broker has now. It keeps accepting others.
    #[track_caller]
    pub fn close_connections(&self, node: i32) {
        self.shared.lock().broker_mut(node).close_connections();
        self.shared.changed.notify_all();
    }

    /// Lets a broker hang: it accepts connections, but from now on reads nothing and answers nothing. What was being
    /// read at this moment may still be read, but is not looked at.
    #[track_caller]
    pub fn stall(&self, node: i32) {
        self.shared.lock().model.set_stalled(node, true);
    }

    /// Ends [`stall`](Self::stall): the broker goes on with what has piled up.
    #[track_caller]
    pub fn resume(&self, node: i32) {
        self.shared.lock().model.set_stalled(node, false);
        self.shared.changed.notify_all();
    }

    /// Ends a broker: its connections are closed and new ones refused.
    ///
    /// Nobody else notices, as in the first seconds after a crash: Metadata still names it. See
    /// [`fail_over`](Self::fail_over).
    #[track_caller]
    pub fn stop(&self, node: i32) {
        self.shared.lock().broker(node);
        self.shared.stop(&[node]);
    }

    /// Lets other brokers lead what `node` led, and Metadata name it no more, as a controller does some seconds after
    /// a broker crashed. A broker that is still running answers NOT_LEADER_OR_FOLLOWER then.
    #[track_caller]
    pub fn fail_over(&self, node: i32) {
        self.shared.lock().model.fail_over(node);
    }

    /// Starts a broker again that was [stopped](Self::stop), at the same address. It leads what nobody else leads.
    ///
    /// Fails if something else has taken its port meanwhile.
    #[track_caller]
    pub fn start_again(&self, node: i32) -> io::Result<()> {
        let address = {
            let state = self.shared.lock();
            let broker = state.broker(node);
            assert!(!broker.running, "broker {node} is running");
            broker.address
        };
        let listener = TcpListener::bind(address)?;
        let mut state = self.shared.lock();
        state.model.recover(node);
        self.shared.run(&mut state, node, listener)
    }

    fn read(&self, topic: &str, partition: Option<i32>) -> Vec<Record> {
        // Decoding a large log takes long: not while brokers wait for the model.
        let stored = self.shared.lock().model.stored(topic, partition);
        stored.iter().flat_map(|(partition, batch)| batch.records(topic, *partition)).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let nodes: Vec<i32> = self.shared.lock().brokers.keys().copied().collect();
        self.shared.stop(&nodes);
        self.shared.wait_until(ENOUGH_TO_END, |state| state.threads == 0);
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("bootstrap", &self.bootstrap()).finish_non_exhaustive()
    }
}

/// The settings of a [`Cluster`].
#[derive(Clone, Debug, Default)]
#[must_use = "a cluster runs once it is started"]
pub struct ClusterBuilder {
    config: ModelConfig,
    topics: Vec<(String, i32)>,
    versions: Vec<(Api, RangeInclusive<i16>)>,
    security: wire::Security,
    user: Option<gate::User>,
}

impl ClusterBuilder {
    /// How many brokers there are, 1 by default. Their ids count from 1.
    #[track_caller]
    pub fn brokers(mut self, brokers: i32) -> Self {
        assert!(brokers > 0, "a cluster has at least one broker, not {brokers}");
        self.config.brokers = brokers;
        self
    }

    /// The rack of each broker, in the order of their ids. By default they have none.
    pub fn racks<R: Into<String>>(mut self, racks: impl IntoIterator<Item = R>) -> Self {
        self.config.racks = racks.into_iter().map(Into::into).collect();
        self
    }

    /// Adds a topic that exists from the start.
    pub fn topic(mut self, name: impl Into<String>, partitions: i32) -> Self {
        self.topics.push((name.into(), partitions));
        self
    }

    /// Whether a topic is created when its metadata is asked for (`auto.create.topics.enable`), true by default. As
    /// with Kafka the first answer still is UNKNOWN_TOPIC_OR_PARTITION.
    pub fn auto_create_topics(mut self, on: bool) -> Self {
        self.config.auto_create_topics = on;
        self
    }

    /// How many partitions a topic gets that is created when it is asked for (`num.partitions`), 1 by default.
    #[track_caller]
    pub fn partitions(mut self, partitions: i32) -> Self {
        assert!(partitions > 0, "a topic has at least one partition, not {partitions}");
        self.config.partitions = partitions;
        self
    }

    /// Whether records are kept to be read back, true by default.
    ///
    /// Without, a cluster costs almost nothing and can run for ever: it checks the header, CRC and sequence of every
    /// batch, but does not look at the records, and only counts them.
    pub fn keep_records(mut self, on: bool) -> Self {
        self.config.keep_records = on;
        self
    }

    /// The largest batch in bytes that a topic takes unless it is
    /// [told otherwise](Cluster::set_max_message_bytes), 1,048,588 by default.
    pub fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.config.max_message_bytes = bytes;
        self
    }

    /// Which versions of an API the brokers serve, see [`Cluster::set_versions`]. All that [`Api`] names by default.
    pub fn versions(mut self, api: Api, versions: RangeInclusive<i16>) -> Self {
        self.versions.push((api, versions));
        self
    }

    /// Has every broker speak TLS, for `security.protocol=SSL`. The certificate has to be for 127.0.0.1.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: impl Into<Arc<rustls::ServerConfig>>) -> Self {
        self.security.tls = Some(config.into());
        self
    }

    /// Lets nobody in but this user, by SASL with PLAIN. `session`: after this time a connection has to prove it again
    /// (`connections.max.reauth.ms`), or is closed.
    pub fn sasl_plain(mut self, user: &str, password: &str, session: Option<Duration>) -> Self {
        self.config.sasl = true;
        self.user = Some(gate::User::with_password(user, password, session));
        self
    }

    /// Lets nobody in but who shows this token, by SASL with OAUTHBEARER. `session` as in
    /// [`sasl_plain`](Self::sasl_plain).
    pub fn sasl_oauthbearer(mut self, token: &str, session: Option<Duration>) -> Self {
        self.config.sasl = true;
        self.user = Some(gate::User::with_token(token, session));
        self
    }

    /// Has the brokers ask clients for metrics (KIP-714), as those with a receiver for metrics do. By default they do not.
    pub fn telemetry(mut self, subscription: Subscription) -> Self {
        self.config.telemetry = Some(subscription);
        self
    }

    /// Where topic ids come from, 0 by default. The same seed gives the same ids.
    pub fn seed(mut self, seed: u64) -> Self {
        self.config.seed = seed;
        self
    }

    /// Starts the brokers, on free ports of 127.0.0.1.
    #[track_caller]
    pub fn start(mut self) -> io::Result<Cluster> {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.config.epoch_millis = i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX);
        let brokers = self.config.brokers;
        let mut model = ClusterModel::new(self.config);
        for (name, partitions) in self.topics {
            model.create_topic(&name, partitions);
        }
        for (api, versions) in self.versions {
            model.set_versions(api, versions);
        }

        let mut listeners = Vec::new();
        let mut state =
            State { model, brokers: BTreeMap::new(), threads: 0, waiting: 0, next_connection: 1, proofs: 0 };
        for node in 1..=brokers {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let address = listener.local_addr()?;
            state.model.set_address(node, &address.ip().to_string(), address.port());
            let broker = Broker { address, running: false, listening: false, connections: HashMap::new() };
            state.brokers.insert(node, broker);
            listeners.push((node, listener));
        }
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            started: Instant::now(),
            security: self.security,
            user: self.user,
        });
        // From here on a failure drops the cluster, which ends what has been started.
        let cluster = Cluster { shared };
        let mut state = cluster.shared.lock();
        for (node, listener) in listeners {
            cluster.shared.run(&mut state, node, listener)?;
        }
        drop(state);
        Ok(cluster)
    }
}

/// What all threads of a cluster share.
struct Shared {
    state: Mutex<State>,
    /// Something happened that somebody waits for: a stall ended, a socket was shut down, a request was handled.
    changed: Condvar,
    started: Instant,
    security: wire::Security,
    user: Option<gate::User>,
}

struct State {
    model: ClusterModel,
    brokers: BTreeMap<i32, Broker>,
    /// How many threads have been started and have not ended.
    threads: usize,
    /// How many callers wait for requests to be handled.
    waiting: usize,
    next_connection: u64,
    /// How often a client has proved who it is.
    proofs: u64,
}

struct Broker {
    address: SocketAddr,
    /// Whether it is meant to accept.
    running: bool,
    /// Whether its listener still exists.
    listening: bool,
    /// Handles to shut the connections down by. A connection that is not listed any more has ended or must end.
    connections: HashMap<u64, TcpStream>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in the model is the misuse that it reports, and leaves it as it was.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, at_most: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, at_most).unwrap_or_else(PoisonError::into_inner).0
    }

    fn wait_until(&self, at_most: Duration, done: impl Fn(&State) -> bool) -> bool {
        let deadline = Instant::now() + at_most;
        let mut state = self.lock();
        state.waiting += 1;
        while !done(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.wait(state, left);
        }
        state.waiting -= 1;
        done(&state)
    }

    /// Lets a broker accept.
    fn run(self: &Arc<Self>, state: &mut State, node: i32, listener: TcpListener) -> io::Result<()> {
        let shared = Arc::clone(self);
        self.spawn(state, format!("kafka-testing-{node}"), move || shared.accept(node, listener))?;
        let broker = state.broker_mut(node);
        broker.running = true;
        broker.listening = true;
        Ok(())
    }

    /// Ends brokers; returns when nothing of them listens any more.
    fn stop(&self, nodes: &[i32]) {
        let mut wake = Vec::new();
        {
            let mut state = self.lock();
            for node in nodes {
                let broker = state.broker_mut(*node);
                broker.running = false;
                broker.close_connections();
                if broker.listening {
                    wake.push(broker.address);
                }
            }
        }
        self.changed.notify_all();
        for address in wake {
            // A listener cannot be shut down. It returns to its thread with this connection, or has done so already.
            let _ = TcpStream::connect_timeout(&address, ENOUGH_TO_END);
        }
        self.wait_until(ENOUGH_TO_END, |state| nodes.iter().all(|node| !state.broker(*node).listening));
    }

    fn spawn(&self, state: &mut State, name: String, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        thread::Builder::new().name(name).spawn(run)?;
        state.threads += 1;
        Ok(())
    }

    fn accept(self: Arc<Self>, node: i32, listener: TcpListener) {
        loop {
            let accepted = listener.accept();
            let mut state = self.lock();
            if !state.broker(node).running {
                // Whoever stops the broker may rely on refused connections once it sees that this thread has ended.
                drop(listener);
                state.broker_mut(node).listening = false;
                state.threads -= 1;
                self.changed.notify_all();
                return;
            }
            match accepted {
                Ok((stream, _)) => self.welcome(&mut state, node, stream),
                // Out of file descriptors, most likely: some connection may end meanwhile.
                Err(_) => drop(self.wait(state, PAUSE_AFTER_FAILED_ACCEPT)),
            }
        }
    }

    /// Starts a thread for a connection, or lets it go.
    fn welcome(self: &Arc<Self>, state: &mut State, node: i32, stream: TcpStream) {
        let welcome = state.model.connected(node);
        let handle = stream.try_clone();
        let (true, Ok(handle)) = (welcome, handle) else { return };
        let number = state.next_connection;
        state.next_connection += 1;
        state.broker_mut(node).connections.insert(number, handle);
        let shared = Arc::clone(self);
        // The connection is made inside of its thread: it locks the state when it is dropped.
        let spawned = self.spawn(state, format!("kafka-testing-{node}-{number}"), move || {
            let (inbox, outbox) = (Inbox::default(), VecDeque::new());
            let stream = Wire::new(stream, &shared.security);
            let gate = Gate::default();
            Connection { shared, node, number, stream, gate, inbox, outbox }.serve();
        });
        if spawned.is_err() {
            state.broker_mut(node).connections.remove(&number);
        }
    }
}

impl State {
    #[track_caller]
    fn broker(&self, node: i32) -> &Broker {
        let Some(broker) = self.brokers.get(&node) else { no_broker(node, self.brokers.len()) };
        broker
    }

    #[track_caller]
    fn broker_mut(&mut self, node: i32) -> &mut Broker {
        let count = self.brokers.len();
        let Some(broker) = self.brokers.get_mut(&node) else { no_broker(node, count) };
        broker
    }
}

impl Broker {
    fn close_connections(&mut self) {
        for (_, stream) in self.connections.drain() {
            // It fails if the other side was faster, which is what is wanted.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// One connection and its thread.
struct Connection {
    shared: Arc<Shared>,
    node: i32,
    number: u64,
    stream: Wire,
    gate: Gate,
    inbox: Inbox,
    /// Responses that are not due yet, in the order in which they leave.
    outbox: VecDeque<Outgoing>,
}

struct Outgoing {
    due: Instant,
    bytes: Vec<u8>,
    /// Whether the connection is closed behind it.
    last: bool,
}

/// Why a connection's thread ends.
struct Ended;

impl Connection {
    fn serve(mut self) {
        let _ = self.stream.socket().set_nodelay(true);
        while self.turn().is_ok() {}
    }

    /// Sends what is due, then handles a request or reads.
    fn turn(&mut self) -> Result<(), Ended> {
        self.send_due()?;
        let Some(frame) = self.inbox.frame().map_err(|length| self.refuse_length(length))? else {
            return self.read();
        };
        if let Some(user) = &self.shared.user {
            let now = self.shared.started.elapsed();
            let proofs = self.gate.proofs;
            let verdict = self.gate.judge(user, self.inbox.bytes(&frame), now);
            self.shared.lock().proofs += self.gate.proofs - proofs;
            let (bytes, last) = match verdict {
                Verdict::Pass => (None, false),
                Verdict::Reply(bytes) => (Some(bytes), false),
                Verdict::ReplyThenClose(bytes) => (Some(bytes), true),
                Verdict::Close => return Err(Ended),
            };
            if let Some(bytes) = bytes {
                self.inbox.consume(&frame);
                self.push(Duration::ZERO, bytes, last);
                return if last { self.send_last() } else { Ok(()) };
            }
        }
        let reaction = {
            let mut state = self.wait_while_stalled()?;
            let now = self.shared.started.elapsed();
            let reaction = state.model.handle(self.node, self.number, self.inbox.bytes(&frame), now);
            if state.waiting > 0 {
                self.shared.changed.notify_all();
            }
            reaction
        };
        if reaction == Reaction::Stall {
            return Ok(());
        }
        self.inbox.consume(&frame);
        match reaction {
            Reaction::Reply(bytes) if self.outbox.is_empty() => self.write(&bytes)?,
            Reaction::Reply(bytes) => self.push(Duration::ZERO, bytes, false),
            Reaction::ReplyAfter(delay, bytes) => self.push(delay, bytes, false),
            Reaction::ReplyThenClose(delay, bytes) => {
                self.push(delay, bytes, true);
                return self.send_last();
            }
            Reaction::Nothing | Reaction::Stall => {}
            Reaction::Close => return Err(Ended),
        }
        Ok(())
    }

    fn push(&mut self, delay: Duration, bytes: Vec<u8>, last: bool) {
        self.outbox.push_back(Outgoing { due: Instant::now() + delay, bytes, last });
    }

    fn send_due(&mut self) -> Result<(), Ended> {
        while self.outbox.front().is_some_and(|next| next.due <= Instant::now()) {
            let next = self.outbox.pop_front().expect("the front was just looked at");
            self.write(&next.bytes)?;
            if next.last {
                self.close_gently();
                return Err(Ended);
            }
        }
        Ok(())
    }

    /// Sends everything, however long it takes, without reading any more.
    fn send_last(&mut self) -> Result<(), Ended> {
        loop {
            self.send_due()?;
            let due = self.outbox.front().map_or_else(Instant::now, |next| next.due);
            let state = self.listed()?;
            drop(self.shared.wait(state, due.saturating_duration_since(Instant::now())));
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        self.stream.write_all(bytes).map_err(|_| Ended)
    }

    /// Reads until the other side closes, or this one is shut down: a socket that is closed with unread bytes resets
    /// the connection, and that may destroy what was just sent.
    fn close_gently(&mut self) {
        let _ = self.stream.socket().shutdown(Shutdown::Write);
        let _ = self.stream.socket().set_read_timeout(None);
        let _ = io::copy(&mut self.stream, &mut io::sink());
    }

    fn read(&mut self) -> Result<(), Ended> {
        drop(self.wait_while_stalled()?);
        // Linux takes a timeout of zero for none, and rounds down what is below a microsecond.
        let wait = |next: &Outgoing| {
            next.due.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
        };
        let timeout = self.outbox.front().map(wait);
        if timeout.is_some() || self.inbox.has_timeout {
            self.stream.socket().set_read_timeout(timeout).map_err(|_| Ended)?;
            self.inbox.has_timeout = timeout.is_some();
        }
        match self.stream.read(self.inbox.room()) {
            Ok(0) => Err(Ended),
            Ok(count) => {
                self.inbox.filled(count);
                self.audit_backlog();
                Ok(())
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => Ok(()),
                _ => Err(Ended),
            },
        }
    }

    fn audit_backlog(&self) {
        let frames = self.inbox.frames();
        if frames.len() + self.outbox.len() > MAX_IN_FLIGHT {
            let now = self.shared.started.elapsed();
            self.shared.lock().model.audit_backlog(self.number, &frames, now);
        }
    }

    fn refuse_length(&self, length: i32) -> Ended {
        let problem =
            format!("connection {} to broker {}: a frame of {length} bytes", self.number, self.node);
        self.shared.lock().model.violation(problem);
        Ended
    }

    fn wait_while_stalled(&self) -> Result<MutexGuard<'_, State>, Ended> {
        let mut state = self.listed()?;
        while state.model.is_stalled(self.node) {
            drop(self.shared.wait(state, LONG));
            state = self.listed()?;
        }
        Ok(state)
    }

    /// The state, as long as nobody has ended this connection.
    fn listed(&self) -> Result<MutexGuard<'_, State>, Ended> {
        let state = self.shared.lock();
        if state.broker(self.node).connections.contains_key(&self.number) { Ok(state) } else { Err(Ended) }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.broker_mut(self.node).connections.remove(&self.number);
        state.model.disconnected(self.number);
        state.threads -= 1;
        self.shared.changed.notify_all();
    }
}

/// Bytes that were read and not handled yet.
#[derive(Default)]
struct Inbox {
    /// Those of interest are at `start..end`; the rest is room.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// Whether the socket's read timeout is set.
    has_timeout: bool,
}

impl Inbox {
    /// Where the first frame is, if it is complete. An error is a length that no frame has.
    fn frame(&self) -> Result<Option<Range<usize>>, i32> {
        self.frame_at(self.start)
    }

    /// The complete frames.
    fn frames(&self) -> Vec<&[u8]> {
        let mut frames = Vec::new();
        let mut at = self.start;
        while let Ok(Some(frame)) = self.frame_at(at) {
            at = frame.end;
            frames.push(self.bytes(&frame));
        }
        frames
    }

    fn bytes(&self, frame: &Range<usize>) -> &[u8] {
        &self.bytes[frame.clone()]
    }

    fn consume(&mut self, frame: &Range<usize>) {
        self.start = frame.end;
    }

    /// Room for at least the rest of the first frame.
    fn room(&mut self) -> &mut [u8] {
        let wanted =
            self.length_at(self.start).map_or(0, |length| LENGTH_BYTES + length.unsigned_abs() as usize);
        let wanted = wanted.max(USUAL_ROOM);
        if self.start + wanted > self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.bytes.len() < wanted {
            self.bytes.resize(wanted, 0);
        }
        &mut self.bytes[self.end..]
    }

    fn filled(&mut self, count: usize) {
        self.end += count;
    }

    fn frame_at(&self, at: usize) -> Result<Option<Range<usize>>, i32> {
        let Some(length) = self.length_at(at) else { return Ok(None) };
        if !(0..=MAX_FRAME).contains(&length) {
            return Err(length);
        }
        let body = at + LENGTH_BYTES;
        let frame = body..body + length.unsigned_abs() as usize;
        Ok((frame.end <= self.end).then_some(frame))
    }

    fn length_at(&self, at: usize) -> Option<i32> {
        self.bytes[at..self.end].first_chunk().map(|length| i32::from_be_bytes(*length))
    }
}

const LENGTH_BYTES: usize = 4;
/// Kafka's `socket.request.max.bytes`.
const MAX_FRAME: i32 = 104_857_600;
/// What a producer sends at a time with Kafka's default settings fits in a few reads.
const USUAL_ROOM: usize = 64 * 1024;
/// A thread that was told to end needs microseconds; this is for machines that have none to spare.
const ENOUGH_TO_END: Duration = Duration::from_secs(5);
const PAUSE_AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(20);
/// Every wait also ends by a notification; none of them is lost, so its length does not matter.
const LONG: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
