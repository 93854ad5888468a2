//! A Kafka cluster without sockets, clock or threads: frames in, [`Reaction`]s out.
//!
//! Owns topics, logs, leaders, the faults to come and the audit. Time is an argument, counted from the start; the same
//! calls in the same order give the same answers. Sockets are driven by `cluster.rs`, virtual links by whoever
//! simulates.
//!
//! The driver's side of the contract:
//! - a frame is handed in once, without its length prefix, in the order of its connection; after [`Reaction::Stall`]
//!   the same frame is handed in again when [`ClusterModel::is_stalled`] has become false, and nothing is read before;
//! - answers of a connection leave in the order of their requests, at the earliest when their delay is over;
//! - a connection is announced by [`ClusterModel::connected`], its end by [`ClusterModel::disconnected`].

mod discovery;
mod produce;
mod telemetry;
mod transactions;

use std::{
    collections::{BTreeMap, HashMap},
    ops::RangeInclusive,
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, ApiKey, ApiVersionsRequest, EndTxnRequest,
        FindCoordinatorRequest, GetTelemetrySubscriptionsRequest, InitProducerIdRequest, MetadataRequest,
        ProduceRequest, PushTelemetryRequest, RequestHeader, ResponseHeader, TopicName,
        TxnOffsetCommitRequest,
    },
    protocol::{Decodable, Encodable, StrBytes},
};

use self::{
    discovery::NEWEST_TRANSACTIONS, produce::is_idempotent, telemetry::Receiver, transactions::Coordinators,
};
use super::{
    Api,
    audit::Audit,
    fault::{Drawn, Fault, Faults, Injection},
    log::{PartitionLog, StoredBatch},
    record::Batch,
    telemetry::Subscription,
};
use crate::ErrorCode;

/// What a cluster is made of when it starts.
#[derive(Clone, Debug)]
pub(crate) struct ModelConfig {
    /// How many brokers there are; their ids count from 1.
    pub(crate) brokers: i32,
    /// The rack of each broker, in the order of the ids; brokers beyond the end have none.
    pub(crate) racks: Vec<String>,
    /// Whether asking for an unknown topic creates it.
    pub(crate) auto_create_topics: bool,
    /// How many partitions a topic has that was created by asking for it.
    pub(crate) partitions: i32,
    /// Whether records are kept to be read back, or only checked and counted.
    pub(crate) keep_records: bool,
    /// The largest batch in bytes, unless the topic says otherwise.
    pub(crate) max_message_bytes: usize,
    /// What the time 0 is in milliseconds since 1970, for topics that stamp on append.
    pub(crate) epoch_millis: i64,
    /// Whether the brokers say that they can be logged in to.
    pub(crate) sasl: bool,
    /// `Some` if the brokers have a receiver for metrics.
    pub(crate) telemetry: Option<Subscription>,
    /// Where topic ids and producer ids come from.
    pub(crate) seed: u64,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            brokers: 1,
            racks: Vec::new(),
            auto_create_topics: true,
            partitions: 1,
            keep_records: true,
            max_message_bytes: DEFAULT_MAX_MESSAGE_BYTES,
            epoch_millis: DEFAULT_EPOCH_MILLIS,
            sasl: false,
            telemetry: None,
            seed: 0,
        }
    }
}

/// What a broker does about a frame. Bytes include the length prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// Send this now.
    Reply(Vec<u8>),
    /// Send this after so long, and whatever follows on this connection after it.
    ReplyAfter(Duration, Vec<u8>),
    /// Send this after so long, then close the connection.
    ReplyThenClose(Duration, Vec<u8>),
    /// The request asks for no answer, or gets none.
    Nothing,
    /// Close the connection now, with whatever was still to be sent.
    Close,
    /// The broker does not even read: keep the frame, read nothing, come again when it no longer stalls.
    Stall,
}

/// Everything that the brokers of a cluster know.
#[derive(Debug)]
pub(crate) struct ClusterModel {
    config: ModelConfig,
    nodes: BTreeMap<i32, Node>,
    topics: BTreeMap<String, Topic>,
    names_by_id: HashMap<u128, String>,
    /// What Metadata says about a topic instead of the truth.
    topic_errors: BTreeMap<String, i16>,
    /// Leaders and epochs as Metadata shows them while it is frozen.
    frozen_leaders: Option<HashMap<(String, i32), (i32, i32)>>,
    versions: BTreeMap<Api, RangeInclusive<i16>>,
    faults: Faults,
    /// How much later than at once every response is sent.
    delay: Duration,
    /// When the last response of a connection leaves, for those that had one which did not leave at once.
    last_due: HashMap<u64, Duration>,
    audit: Audit,
    requests: BTreeMap<Api, u64>,
    connections: u64,
    next_producer_id: i64,
    coordinators: Coordinators,
    receiver: Option<Receiver>,
    /// The level of the feature `transaction.version`, and how often the features were changed.
    transaction_version: i16,
    features_epoch: i64,
    random: u64,
}

#[derive(Debug)]
struct Node {
    host: String,
    port: u16,
    rack: Option<String>,
    stalled: bool,
    /// Whether Metadata lists it.
    listed: bool,
}

#[derive(Debug)]
struct Topic {
    id: u128,
    max_message_bytes: usize,
    log_append_time: bool,
    compacted: bool,
    partitions: Vec<Partition>,
}

#[derive(Debug)]
struct Partition {
    leader: i32,
    leader_epoch: i32,
    replicas: Vec<i32>,
    log: PartitionLog,
}

/// A request whose header was understood and whose version is served.
struct Asked {
    node: i32,
    connection: u64,
    api: Api,
    version: i16,
    correlation_id: i32,
    now: Duration,
}

enum Body {
    ApiVersions,
    Metadata(MetadataRequest),
    InitProducerId(InitProducerIdRequest),
    Produce(ProduceRequest),
    FindCoordinator(FindCoordinatorRequest),
    AddPartitions(AddPartitionsToTxnRequest),
    AddOffsets(AddOffsetsToTxnRequest),
    CommitOffsets(TxnOffsetCommitRequest),
    EndTransaction(EndTxnRequest),
    Subscribe(GetTelemetrySubscriptionsRequest),
    Push(PushTelemetryRequest),
}

impl ClusterModel {
    pub(crate) fn new(config: ModelConfig) -> Self {
        let nodes = (1..=config.brokers)
            .map(|id| {
                let rack = config.racks.get(id as usize - 1).cloned();
                (id, Node { host: format!("node-{id}"), port: 9092, rack, stalled: false, listed: true })
            })
            .collect();
        let limit = if config.keep_records { usize::MAX } else { AUDITED_BATCHES_WITHOUT_RECORDS };
        Self {
            nodes,
            topics: BTreeMap::new(),
            names_by_id: HashMap::new(),
            topic_errors: BTreeMap::new(),
            frozen_leaders: None,
            versions: Api::ALL
                .into_iter()
                .filter(|api| !api.is_for_metrics() || config.telemetry.is_some())
                .map(|api| (api, api.default_versions()))
                .collect(),
            faults: Faults::default(),
            delay: Duration::ZERO,
            last_due: HashMap::new(),
            audit: Audit::new(limit),
            requests: BTreeMap::new(),
            connections: 0,
            next_producer_id: FIRST_PRODUCER_ID,
            coordinators: Coordinators::default(),
            receiver: config.telemetry.clone().map(Receiver::new),
            transaction_version: NEWEST_TRANSACTIONS,
            features_epoch: 1,
            random: config.seed,
            config,
        }
    }

    /// A connection to `node` was accepted. False: close it at once.
    pub(crate) fn connected(&mut self, node: i32) -> bool {
        self.connections += 1;
        !self.faults.draw_close_on_accept(node)
    }

    /// A connection has ended, whoever ended it.
    pub(crate) fn disconnected(&mut self, connection: u64) {
        self.last_due.remove(&connection);
        self.audit.on_disconnect(connection);
    }

    /// Answers one frame that arrived at `node`, `now` after the start. Connections have numbers of their own, over
    /// all brokers.
    pub(crate) fn handle(&mut self, node: i32, connection: u64, frame: &[u8], now: Duration) -> Reaction {
        if self.is_stalled(node) {
            return Reaction::Stall;
        }
        self.expire_transactions(now);
        let (asked, body) = match self.read_request(node, connection, frame, now) {
            Ok(Some(request)) => request,
            Ok(None) => return self.unsupported_api_versions(frame, connection, now),
            Err(problem) => {
                self.audit.violation(format!("connection {connection} to broker {node}: {problem}"));
                self.disconnected(connection);
                return Reaction::Close;
            }
        };
        let drawn = if self.faults.is_empty() {
            Drawn::default()
        } else {
            let targets = self.targets(&body);
            self.faults.draw(node, asked.api, &targets)
        };
        self.answer(&asked, body, drawn)
    }

    /// Tells the audit about the complete frames that have arrived on a connection and are yet to be handed in.
    pub(crate) fn audit_backlog(&mut self, connection: u64, frames: &[&[u8]], now: Duration) {
        let counts = |frame: &[u8]| {
            let Ok(Some((_, Body::Produce(request)))) = self.decode(0, connection, frame, now) else {
                return false;
            };
            request.acks != 0 && is_idempotent(&request)
        };
        let backlog = frames.iter().filter(|frame| counts(frame)).count();
        self.audit.on_backlog(connection, now, backlog);
    }

    /// Records something that the driver saw the producer do.
    pub(crate) fn violation(&mut self, problem: String) {
        self.audit.violation(problem);
    }

    // ---- what a test may change -------------------------------------------------------------------------------

    /// Where clients reach a broker.
    #[track_caller]
    pub(crate) fn set_address(&mut self, node: i32, host: &str, port: u16) {
        let node = self.node_mut(node);
        node.host = host.to_owned();
        node.port = port;
    }

    /// Creates a topic. Panics if it exists.
    #[track_caller]
    pub(crate) fn create_topic(&mut self, name: &str, partitions: i32) {
        assert!(!self.topics.contains_key(name), "the topic {name:?} exists already");
        assert!(partitions > 0, "a topic has at least one partition, {name:?} was to have {partitions}");
        let id = self.next_topic_id();
        let mut topic = Topic {
            id,
            max_message_bytes: self.config.max_message_bytes,
            log_append_time: false,
            compacted: false,
            partitions: Vec::new(),
        };
        self.extend(&mut topic, partitions);
        self.names_by_id.insert(id, name.to_owned());
        self.topics.insert(name.to_owned(), topic);
    }

    /// Deletes a topic with its records. Creating it again gives it a new id. Panics if there is none.
    #[track_caller]
    pub(crate) fn delete_topic(&mut self, name: &str) {
        let Some(topic) = self.topics.remove(name) else { no_topic(name) };
        self.names_by_id.remove(&topic.id);
        if let Some(frozen) = &mut self.frozen_leaders {
            // No broker shows the leaders of a topic that is gone for those of another one.
            frozen.retain(|(topic, _), _| topic != name);
        }
    }

    /// Raises a topic's number of partitions to `total`. Panics if it has more.
    #[track_caller]
    pub(crate) fn add_partitions(&mut self, name: &str, total: i32) {
        let count = self.topic_mut(name).partitions.len() as i32;
        assert!(total >= count, "{name:?} has {count} partitions, it cannot shrink to {total}");
        let mut topic = self.topics.remove(name).expect("the topic was just looked at");
        self.extend(&mut topic, total);
        self.topics.insert(name.to_owned(), topic);
    }

    /// Makes `node` the leader of a partition, with the next epoch.
    #[track_caller]
    pub(crate) fn move_leader(&mut self, name: &str, partition: i32, node: i32) {
        self.node_mut(node);
        let partition = self.partition_mut(name, partition);
        partition.leader = node;
        partition.leader_epoch += 1;
        if !partition.replicas.contains(&node) {
            partition.replicas.push(node);
        }
    }

    /// Takes every partition from `node` and stops listing it, as a controller does with a broker that died.
    #[track_caller]
    pub(crate) fn fail_over(&mut self, node: i32) {
        self.node_mut(node).listed = false;
        let heirs: Vec<i32> = self.nodes.iter().filter(|(_, node)| node.listed).map(|(id, _)| *id).collect();
        for topic in self.topics.values_mut() {
            for (index, partition) in topic.partitions.iter_mut().enumerate() {
                if partition.leader == node {
                    partition.leader = heirs.get(index % heirs.len().max(1)).copied().unwrap_or(NO_LEADER);
                    partition.leader_epoch += 1;
                }
            }
        }
    }

    /// Lists `node` again, and gives it the partitions that nobody leads.
    #[track_caller]
    pub(crate) fn recover(&mut self, node: i32) {
        self.node_mut(node).listed = true;
        for partition in self.topics.values_mut().flat_map(|topic| &mut topic.partitions) {
            if partition.leader == NO_LEADER {
                partition.leader = node;
                partition.leader_epoch += 1;
            }
        }
    }

    /// Lets a broker read nothing and answer nothing, or ends that.
    #[track_caller]
    pub(crate) fn set_stalled(&mut self, node: i32, stalled: bool) {
        self.node_mut(node).stalled = stalled;
    }

    /// The largest batch in bytes that a topic takes.
    #[track_caller]
    pub(crate) fn set_max_message_bytes(&mut self, name: &str, bytes: usize) {
        self.topic_mut(name).max_message_bytes = bytes;
    }

    /// Whether a topic's records carry the broker's time (`message.timestamp.type=LogAppendTime`).
    #[track_caller]
    pub(crate) fn set_log_append_time(&mut self, name: &str, on: bool) {
        self.topic_mut(name).log_append_time = on;
    }

    /// Whether a topic is compacted, and so takes no record without a key.
    #[track_caller]
    pub(crate) fn set_compacted(&mut self, name: &str, on: bool) {
        self.topic_mut(name).compacted = on;
    }

    /// What Metadata says about a topic from now on; `None` is the truth again.
    pub(crate) fn set_topic_error(&mut self, name: &str, code: Option<ErrorCode>) {
        match code {
            Some(code) => self.topic_errors.insert(name.to_owned(), code.0),
            None => self.topic_errors.remove(name),
        };
    }

    /// Lets Metadata show the leaders of this moment for ever, or the truth again.
    pub(crate) fn freeze_metadata(&mut self, frozen: bool) {
        self.frozen_leaders = frozen.then(|| {
            let mut leaders = HashMap::new();
            for (name, topic) in &self.topics {
                for (index, partition) in (0..).zip(&topic.partitions) {
                    leaders.insert((name.clone(), index), (partition.leader, partition.leader_epoch));
                }
            }
            leaders
        });
    }

    /// Which versions of an API are offered and served. Panics beyond what this model can decode.
    #[track_caller]
    pub(crate) fn set_versions(&mut self, api: Api, versions: RangeInclusive<i16>) {
        let known = api.default_versions();
        assert!(
            known.contains(versions.start()) && known.contains(versions.end()) && !versions.is_empty(),
            "{api:?} can be served in the versions {known:?}, not in {versions:?}"
        );
        self.versions.insert(api, versions);
    }

    /// Which protocol of transactions the cluster agrees on: 2, or what was there before.
    pub(crate) fn set_transaction_version(&mut self, level: i16) {
        self.transaction_version = level;
        self.features_epoch += 1;
    }

    /// How much later than at once every response is sent.
    pub(crate) fn set_delay(&mut self, delay: Duration) {
        self.delay = delay;
    }

    /// Lets something go wrong.
    pub(crate) fn fault(&mut self, injection: impl Into<Injection>) {
        self.faults.add(injection.into());
    }

    /// Forgets the faults that have not happened yet.
    pub(crate) fn clear_faults(&mut self) {
        self.faults.clear();
    }

    /// Forgets the sequences of every producer, as brokers do after a week: any sequence is accepted next.
    pub(crate) fn forget_producers(&mut self) {
        // In that time a producer may have used every number once, and begun anew.
        self.audit.forget_batches();
        for partition in self.topics.values_mut().flat_map(|topic| &mut topic.partitions) {
            partition.log.forget_producers();
        }
    }

    // ---- what a test may ask ----------------------------------------------------------------------------------

    pub(crate) fn is_stalled(&self, node: i32) -> bool {
        self.nodes.get(&node).is_some_and(|node| node.stalled)
    }

    pub(crate) fn partition_count(&self, name: &str) -> i32 {
        self.topics.get(name).map_or(0, |topic| topic.partitions.len() as i32)
    }

    /// The broker that leads a partition, if there is one.
    pub(crate) fn leader(&self, name: &str, partition: i32) -> Option<i32> {
        let partition = self.topics.get(name)?.partition(partition)?;
        (partition.leader != NO_LEADER).then_some(partition.leader)
    }

    /// The records of a topic by partition and offset; of one partition if it is given.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn records(&self, name: &str, partition: Option<i32>) -> Vec<super::Record> {
        let stored = self.stored(name, partition);
        stored.iter().flat_map(|(partition, batch)| batch.records(name, *partition)).collect()
    }

    /// The records of a partition behind its first `batches` batches, and how many batches it has.
    #[cfg(test)]
    pub(crate) fn records_after(
        &self,
        name: &str,
        partition: i32,
        batches: usize,
    ) -> (usize, Vec<super::Record>) {
        let found = self.topics.get(name).and_then(|topic| topic.partition(partition));
        let stored = found.map_or(&[][..], |found| found.log.batches());
        let records = stored.iter().skip(batches).flat_map(|batch| batch.records(name, partition));
        (stored.len(), records.collect())
    }

    /// The records of a topic that a reader with `isolation.level=read_committed` sees.
    #[cfg(test)]
    pub(crate) fn committed_records(&self, name: &str) -> Vec<super::Record> {
        let stored = self.stored_and_committed(name);
        stored.iter().flat_map(|(partition, batch)| batch.records(name, *partition)).collect()
    }

    /// What a reader with `isolation.level=read_committed` sees of a topic, by partition and offset.
    pub(super) fn stored_and_committed(&self, name: &str) -> Vec<(i32, StoredBatch)> {
        let partitions = self.topics.get(name).map_or(&[][..], |topic| &topic.partitions);
        let batches = (0..).zip(partitions).flat_map(|(index, partition)| {
            partition.log.committed().map(move |batch| (index, batch.clone()))
        });
        batches.collect()
    }

    /// The batches of a topic, by partition and offset.
    pub(crate) fn batches(&self, name: &str) -> Vec<Batch> {
        self.stored(name, None).iter().map(|(partition, batch)| batch.describe(name, *partition)).collect()
    }

    /// Batches with their partitions. They share their bytes with the log, so that they can be decoded elsewhere.
    pub(super) fn stored(&self, name: &str, partition: Option<i32>) -> Vec<(i32, StoredBatch)> {
        let mut stored = Vec::new();
        let partitions = self.topics.get(name).map_or(&[][..], |topic| &topic.partitions);
        for (index, found) in (0..).zip(partitions) {
            if partition.is_none_or(|wanted| wanted == index) {
                stored.extend(found.log.batches().iter().map(|batch| (index, batch.clone())));
            }
        }
        stored
    }

    /// How many records a topic has, whether they are kept or not.
    pub(crate) fn record_count(&self, name: &str) -> u64 {
        self.topics
            .get(name)
            .map_or(0, |topic| topic.partitions.iter().map(|one| one.log.record_count()).sum())
    }

    /// How many bytes the batches of a topic have, whether they are kept or not.
    pub(crate) fn byte_count(&self, name: &str) -> u64 {
        self.topics.get(name).map_or(0, |topic| topic.partitions.iter().map(|one| one.log.byte_count()).sum())
    }

    /// How many requests of each API arrived.
    pub(crate) fn requests(&self) -> &BTreeMap<Api, u64> {
        &self.requests
    }

    pub(crate) fn request_count(&self, api: Api) -> u64 {
        self.requests.get(&api).copied().unwrap_or(0)
    }

    /// How many connections were accepted.
    pub(crate) fn connection_count(&self) -> u64 {
        self.connections
    }

    /// What the producer did that no broker would have noticed, or that it may never do.
    pub(crate) fn violations(&self) -> &[String] {
        self.audit.violations()
    }

    // ---- a request's way --------------------------------------------------------------------------------------

    fn read_request(
        &mut self,
        node: i32,
        connection: u64,
        frame: &[u8],
        now: Duration,
    ) -> Result<Option<(Asked, Body)>, String> {
        if let Some(api) = frame.first_chunk::<2>().and_then(|key| Api::from_key(i16::from_be_bytes(*key))) {
            *self.requests.entry(api).or_default() += 1;
        }
        self.decode(node, connection, frame, now)
    }

    /// `None` is the one request that is answered although its version is not served.
    fn decode(
        &self,
        node: i32,
        connection: u64,
        frame: &[u8],
        now: Duration,
    ) -> Result<Option<(Asked, Body)>, String> {
        let Some(&[k0, k1, v0, v1]) = frame.first_chunk::<4>() else {
            return Err(format!("a frame of {} bytes has no header", frame.len()));
        };
        let (key, version) = (i16::from_be_bytes([k0, k1]), i16::from_be_bytes([v0, v1]));
        let api = Api::from_key(key).ok_or_else(|| format!("the API {key} is not served"))?;
        let served = self.versions.get(&api).ok_or_else(|| format!("{api:?} is not served"))?;
        if !served.contains(&version) || api.undecodable(version) {
            if api == Api::ApiVersions {
                return Ok(None);
            }
            return Err(format!("{api:?} of version {version}, served are {served:?}"));
        }
        let mut rest = Bytes::copy_from_slice(frame);
        let header = RequestHeader::decode(&mut rest, api.kafka().request_header_version(version))
            .map_err(|problem| format!("the header of {api:?} of version {version}: {problem}"))?;
        let body = match api {
            Api::ApiVersions => ApiVersionsRequest::decode(&mut rest, version).map(|_| Body::ApiVersions),
            Api::Metadata => MetadataRequest::decode(&mut rest, version).map(Body::Metadata),
            Api::InitProducerId => {
                InitProducerIdRequest::decode(&mut rest, version).map(Body::InitProducerId)
            }
            Api::Produce => ProduceRequest::decode(&mut rest, version).map(Body::Produce),
            Api::FindCoordinator => {
                FindCoordinatorRequest::decode(&mut rest, version).map(Body::FindCoordinator)
            }
            Api::AddPartitionsToTxn => {
                AddPartitionsToTxnRequest::decode(&mut rest, version).map(Body::AddPartitions)
            }
            Api::AddOffsetsToTxn => AddOffsetsToTxnRequest::decode(&mut rest, version).map(Body::AddOffsets),
            Api::TxnOffsetCommit => {
                TxnOffsetCommitRequest::decode(&mut rest, version).map(Body::CommitOffsets)
            }
            Api::EndTxn => EndTxnRequest::decode(&mut rest, version).map(Body::EndTransaction),
            Api::GetTelemetrySubscriptions => {
                GetTelemetrySubscriptionsRequest::decode(&mut rest, version).map(Body::Subscribe)
            }
            Api::PushTelemetry => PushTelemetryRequest::decode(&mut rest, version).map(Body::Push),
        };
        let body = body.map_err(|problem| format!("{api:?} of version {version}: {problem}"))?;
        if !rest.is_empty() {
            return Err(format!("{} bytes follow {api:?} of version {version}", rest.len()));
        }
        let correlation_id = header.correlation_id;
        Ok(Some((Asked { node, connection, api, version, correlation_id, now }, body)))
    }

    /// The topics and partitions that a request names; a topic without a partition has -1.
    fn targets(&self, body: &Body) -> Vec<(String, i32)> {
        match body {
            Body::ApiVersions
            | Body::InitProducerId(_)
            | Body::FindCoordinator(_)
            | Body::AddOffsets(_)
            | Body::EndTransaction(_)
            | Body::Subscribe(_)
            | Body::Push(_) => Vec::new(),
            Body::AddPartitions(request) => {
                let topics = request.v3_and_below_topics.iter();
                topics.map(|topic| (topic.name.to_string(), -1)).collect()
            }
            Body::CommitOffsets(request) => {
                request.topics.iter().map(|topic| (topic.name.to_string(), -1)).collect()
            }
            Body::Metadata(request) => {
                let topics = request.topics.iter().flatten();
                topics.filter_map(|topic| Some((self.name_of(topic)?, -1))).collect()
            }
            Body::Produce(request) => {
                let mut targets = Vec::new();
                for topic in &request.topic_data {
                    let name = if topic.topic_id.is_nil() {
                        topic.name.to_string()
                    } else {
                        self.names_by_id.get(&topic.topic_id.as_u128()).cloned().unwrap_or_default()
                    };
                    targets.extend(topic.partition_data.iter().map(|data| (name.clone(), data.index)));
                }
                targets
            }
        }
    }

    fn answer(&mut self, asked: &Asked, body: Body, drawn: Drawn) -> Reaction {
        let Drawn { injection, delay, throttle } = drawn;
        let injection = injection.as_ref();
        if injection.is_some_and(|injection| injection.fault == Fault::Close) {
            self.disconnected(asked.connection);
            return Reaction::Close;
        }
        let acks_and_idempotence = match &body {
            Body::Produce(request) => Some((request.acks, is_idempotent(request))),
            _ => None,
        };
        let throttle = i32::try_from(throttle.as_millis()).unwrap_or(i32::MAX);
        let (response, failed) = match body {
            Body::ApiVersions => (self.api_versions(asked, throttle, injection), false),
            Body::Metadata(request) => (self.metadata(asked, request, throttle, injection), false),
            Body::InitProducerId(request) => {
                (self.init_producer_id(asked, request, throttle, injection), false)
            }
            Body::Produce(request) => self.produce(asked, request, throttle, injection),
            Body::FindCoordinator(request) => {
                (self.find_coordinator(asked, &request, throttle, injection), false)
            }
            Body::AddPartitions(request) => {
                (self.add_to_transaction(asked, &request, throttle, injection), false)
            }
            Body::AddOffsets(request) => (self.add_offsets(asked, &request, throttle, injection), false),
            Body::CommitOffsets(request) => {
                (self.commit_offsets(asked, &request, throttle, injection), false)
            }
            Body::EndTransaction(request) => {
                (self.end_transaction(asked, &request, throttle, injection), false)
            }
            Body::Subscribe(request) => {
                (self.telemetry_subscription(asked, &request, throttle, injection), false)
            }
            Body::Push(request) => (self.telemetry_push(asked, &request, throttle, injection), false),
        };

        let fault = injection.map(|injection| &injection.fault);
        if fault == Some(&Fault::AppendThenClose) {
            self.disconnected(asked.connection);
            return Reaction::Close;
        }
        if let Some((acks, idempotent)) = acks_and_idempotence {
            if acks == 0 {
                if failed {
                    self.disconnected(asked.connection);
                }
                // A broker has no other way to tell a producer that wants no answers.
                return if failed { Reaction::Close } else { Reaction::Nothing };
            }
            if idempotent {
                let never = fault == Some(&Fault::NeverAnswer);
                let due = if never { Duration::MAX } else { self.due(asked.connection, asked.now, delay) };
                self.audit.on_produce(asked.connection, asked.now, due);
            }
        }
        match fault {
            Some(Fault::NeverAnswer) => Reaction::Nothing,
            Some(Fault::Garbage(bytes)) => self.send(asked.connection, asked.now, delay, bytes.clone()),
            Some(Fault::WrongCorrelationId) => {
                let mut response = response;
                for byte in &mut response[LENGTH_BYTES..LENGTH_BYTES + 4] {
                    *byte ^= 0x5a;
                }
                self.send(asked.connection, asked.now, delay, response)
            }
            Some(Fault::CutResponse(bytes)) => {
                let mut response = response;
                response.truncate(*bytes);
                let due = self.due(asked.connection, asked.now, delay);
                self.disconnected(asked.connection);
                Reaction::ReplyThenClose(due - asked.now, response)
            }
            _ => self.send(asked.connection, asked.now, delay, response),
        }
    }

    /// When a response leaves that is ready now: never before one that is waiting.
    fn due(&self, connection: u64, now: Duration, delay: Duration) -> Duration {
        let due = now + self.delay + delay;
        self.last_due.get(&connection).map_or(due, |last| due.max(*last))
    }

    fn send(&mut self, connection: u64, now: Duration, delay: Duration, response: Vec<u8>) -> Reaction {
        let due = self.due(connection, now, delay);
        if due == now {
            return Reaction::Reply(response);
        }
        self.last_due.insert(connection, due);
        Reaction::ReplyAfter(due - now, response)
    }

    fn extend(&self, topic: &mut Topic, total: i32) {
        let ids: Vec<i32> = self.nodes.keys().copied().collect();
        let replicas = ids.len().min(MAX_REPLICAS);
        for index in topic.partitions.len()..total.unsigned_abs() as usize {
            let replicas: Vec<i32> =
                ids.iter().copied().cycle().skip(index % ids.len()).take(replicas).collect();
            let listed = replicas.iter().copied().find(|id| self.nodes[id].listed);
            topic.partitions.push(Partition {
                leader: listed.unwrap_or(NO_LEADER),
                leader_epoch: 0,
                replicas,
                log: PartitionLog::default(),
            });
        }
    }

    fn next_topic_id(&mut self) -> u128 {
        let mut next = || {
            // SplitMix64: every id differs, and the same seed gives the same ids.
            self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.random;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        };
        u128::from(next()) << 64 | u128::from(next())
    }

    #[track_caller]
    fn node_mut(&mut self, node: i32) -> &mut Node {
        let count = self.nodes.len();
        let Some(node) = self.nodes.get_mut(&node) else { no_broker(node, count) };
        node
    }

    #[track_caller]
    fn topic_mut(&mut self, name: &str) -> &mut Topic {
        let Some(topic) = self.topics.get_mut(name) else { no_topic(name) };
        topic
    }

    #[track_caller]
    fn partition_mut(&mut self, name: &str, partition: i32) -> &mut Partition {
        let partitions = &mut self.topic_mut(name).partitions;
        let found = usize::try_from(partition).ok().and_then(|index| partitions.get_mut(index));
        let Some(found) = found else { panic!("the topic {name:?} has no partition {partition}") };
        found
    }
}

// Misuse is reported where it is: in the test, not here.

#[track_caller]
pub(super) fn no_broker(node: i32, count: usize) -> ! {
    panic!("no broker {node}: there are {count}, counted from 1")
}

#[track_caller]
fn no_topic(name: &str) -> ! {
    panic!("no topic {name:?}")
}

impl Topic {
    fn partition(&self, index: i32) -> Option<&Partition> {
        self.partitions.get(usize::try_from(index).ok()?)
    }
}

fn injected_error(injection: &Injection) -> Option<i16> {
    match injection.fault {
        Fault::Error(code) | Fault::AppendThenError(code) => Some(code.0),
        _ => None,
    }
}

fn encode(api: Api, version: i16, correlation_id: i32, body: &impl Encodable) -> Vec<u8> {
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    let header_version = api.kafka().response_header_version(version);
    ResponseHeader::default()
        .with_correlation_id(correlation_id)
        .encode(&mut frame, header_version)
        .expect("a response header can always be encoded");
    body.encode(&mut frame, version).expect("a response sets only what its version has");
    let length = (frame.len() - LENGTH_BYTES) as i32;
    frame[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    frame.into()
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

impl Api {
    pub(super) const ALL: [Self; 11] = [
        Self::Produce,
        Self::Metadata,
        Self::ApiVersions,
        Self::InitProducerId,
        Self::FindCoordinator,
        Self::AddPartitionsToTxn,
        Self::AddOffsetsToTxn,
        Self::TxnOffsetCommit,
        Self::EndTxn,
        Self::GetTelemetrySubscriptions,
        Self::PushTelemetry,
    ];

    /// Whether it is served only where there is a receiver for metrics.
    fn is_for_metrics(self) -> bool {
        matches!(self, Self::GetTelemetrySubscriptions | Self::PushTelemetry)
    }

    fn from_key(key: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|api| api.kafka() as i16 == key)
    }

    fn kafka(self) -> ApiKey {
        match self {
            Self::Produce => ApiKey::Produce,
            Self::Metadata => ApiKey::Metadata,
            Self::ApiVersions => ApiKey::ApiVersions,
            Self::InitProducerId => ApiKey::InitProducerId,
            Self::FindCoordinator => ApiKey::FindCoordinator,
            Self::AddPartitionsToTxn => ApiKey::AddPartitionsToTxn,
            Self::AddOffsetsToTxn => ApiKey::AddOffsetsToTxn,
            Self::TxnOffsetCommit => ApiKey::TxnOffsetCommit,
            Self::EndTxn => ApiKey::EndTxn,
            Self::GetTelemetrySubscriptions => ApiKey::GetTelemetrySubscriptions,
            Self::PushTelemetry => ApiKey::PushTelemetry,
        }
    }

    fn default_versions(self) -> RangeInclusive<i16> {
        match self {
            // Brokers offer 0 for the sake of old clients that insist on it, and then refuse everything below 3.
            Self::Produce => 0..=13,
            Self::Metadata => 0..=13,
            Self::ApiVersions | Self::AddOffsetsToTxn => 0..=4,
            Self::InitProducerId | Self::TxnOffsetCommit | Self::EndTxn => 0..=5,
            Self::FindCoordinator => 0..=6,
            Self::AddPartitionsToTxn => 0..=3,
            Self::GetTelemetrySubscriptions | Self::PushTelemetry => 0..=0,
        }
    }

    /// Whether a version that may be offered is refused all the same.
    fn undecodable(self, version: i16) -> bool {
        self == Self::Produce && version < 3
    }
}

const LENGTH_BYTES: usize = 4;
const NO_LEADER: i32 = -1;
/// What people run, and no more than there are brokers.
const MAX_REPLICAS: usize = 3;
/// Kafka's default: 1 MiB and the twelve bytes of offset and length in front of a batch.
const DEFAULT_MAX_MESSAGE_BYTES: usize = 1_048_588;
/// 2023-11-14T22:13:20Z. Any time does; a fixed one repeats.
const DEFAULT_EPOCH_MILLIS: i64 = 1_700_000_000_000;
/// Not 0, which an uninitialised field could hold by luck.
const FIRST_PRODUCER_ID: i64 = 1_000;
/// Enough for every batch that a producer can still repeat, and bounded however long it runs.
const AUDITED_BATCHES_WITHOUT_RECORDS: usize = 65_536;

#[cfg(test)]
mod tests;
