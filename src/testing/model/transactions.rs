//! The coordinators: who may write under a transactional id, what belongs to its transaction, and how that ends.
//!
//! As Kafka's, with two liberties: the marks that end a transaction are written at once, and every broker knows what the
//! coordinators know. Both protocols are served, told apart by the versions of the requests (KIP-890).

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use kafka_protocol::{
    ResponseError,
    messages::{
        AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest,
        AddPartitionsToTxnResponse, BrokerId, EndTxnRequest, EndTxnResponse, FindCoordinatorRequest,
        FindCoordinatorResponse, InitProducerIdRequest, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
        add_partitions_to_txn_response::{AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult},
        find_coordinator_response::Coordinator,
        txn_offset_commit_response::{TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic},
    },
};

use super::{
    super::{
        batch::{BatchHeader, Refusal},
        fault::Injection,
    },
    Asked, ClusterModel, encode, injected_error, text,
};

/// What the coordinators know.
#[derive(Debug, Default)]
pub(super) struct Coordinators {
    transactions: BTreeMap<String, Transaction>,
    /// Offsets that count, by group, topic and partition.
    offsets: BTreeMap<(String, String, i32), i64>,
    /// Which broker coordinates a key, if a test has moved it.
    moved: BTreeMap<String, i32>,
}

/// A transactional id, and its latest transaction.
#[derive(Debug)]
struct Transaction {
    producer_id: i64,
    epoch: i16,
    /// What it went by before the last change, by which a repeated request is recognised.
    last: (i64, i16),
    state: State,
    partitions: BTreeSet<(String, i32)>,
    /// Offsets that will count if it is committed, and the groups that belong to it.
    offsets: BTreeMap<(String, String, i32), i64>,
    groups: BTreeSet<String>,
    timeout: Duration,
    begun: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Empty,
    Ongoing,
    Committed,
    Aborted,
}

impl Transaction {
    /// Whether a request comes from the producer that may make it.
    fn check(&self, producer_id: i64, epoch: i16, knows_fencing: bool) -> Result<(), ResponseError> {
        if producer_id != self.producer_id {
            return Err(ResponseError::InvalidProducerIdMapping);
        }
        match epoch == self.epoch {
            true => Ok(()),
            false if knows_fencing => Err(ResponseError::ProducerFenced),
            false => Err(ResponseError::InvalidProducerEpoch),
        }
    }

    fn begin(&mut self, now: Duration) {
        if self.state != State::Ongoing {
            self.state = State::Ongoing;
            self.begun = now;
        }
    }

    /// The next epoch; `fresh` is the id to go on with when they are used up.
    fn bump(&mut self, fresh: &mut i64) {
        self.last = (self.producer_id, self.epoch);
        if self.epoch >= i16::MAX - 1 {
            self.producer_id = *fresh;
            *fresh += 1;
            self.epoch = 0;
        } else {
            self.epoch += 1;
        }
    }
}

impl ClusterModel {
    // ---- what a test may change and ask

    /// Lets a broker coordinate a transactional id or a group.
    pub(crate) fn move_coordinator(&mut self, key: &str, node: i32) {
        self.node_mut(node);
        self.coordinators.moved.insert(key.to_owned(), node);
    }

    /// The broker that coordinates a transactional id or a group, if any is there.
    pub(crate) fn coordinator(&self, key: &str) -> Option<i32> {
        let listed: Vec<i32> = self.nodes.iter().filter(|(_, node)| node.listed).map(|(id, _)| *id).collect();
        let moved = self.coordinators.moved.get(key).copied().filter(|node| listed.contains(node));
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        moved.or_else(|| listed.get(hasher.finish() as usize % listed.len().max(1)).copied())
    }

    /// The transactional ids that have an open transaction.
    pub(crate) fn open_transactions(&self) -> Vec<String> {
        let transactions = self.coordinators.transactions.iter();
        transactions.filter(|(_, t)| t.state == State::Ongoing).map(|(id, _)| id.clone()).collect()
    }

    /// The offset that a group has committed.
    pub(crate) fn committed_offset(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        self.coordinators.offsets.get(&(group.to_owned(), topic.to_owned(), partition)).copied()
    }

    /// Aborts the transactions that were open for too long, and fences their producers.
    pub(super) fn expire_transactions(&mut self, now: Duration) {
        let transactions = &self.coordinators.transactions;
        let expired = |t: &&Transaction| t.state == State::Ongoing && t.begun + t.timeout <= now;
        if !transactions.values().any(|t| expired(&t)) {
            return;
        }
        let ids: Vec<String> =
            transactions.iter().filter(|(_, t)| expired(t)).map(|(id, _)| id.clone()).collect();
        for id in ids {
            self.end(&id, false, true);
        }
    }

    // ---- requests

    pub(super) fn find_coordinator(
        &self,
        asked: &Asked,
        request: &FindCoordinatorRequest,
        throttle: i32,
        injection: Option<&Injection>,
    ) -> Vec<u8> {
        let coordinator = |key: &str| {
            let injected = injection.and_then(injected_error);
            let missing = ResponseError::CoordinatorNotAvailable.code();
            let found = self.coordinator(key).filter(|_| injected.is_none());
            let node = found.map(|node| (node, &self.nodes[&node]));
            Coordinator::default()
                .with_key(text(key))
                .with_node_id(BrokerId(found.unwrap_or(-1)))
                .with_host(text(node.map_or("", |(_, node)| &node.host)))
                .with_port(node.map_or(-1, |(_, node)| i32::from(node.port)))
                .with_error_code(injected.unwrap_or(if found.is_some() { 0 } else { missing }))
        };
        let mut response = FindCoordinatorResponse::default().with_throttle_time_ms(throttle);
        if asked.version >= 4 {
            response.coordinators = request.coordinator_keys.iter().map(|key| coordinator(key)).collect();
        } else {
            let found = coordinator(&request.key);
            response.error_code = found.error_code;
            response.node_id = found.node_id;
            response.host = found.host;
            response.port = found.port;
        }
        encode(asked.api, asked.version, asked.correlation_id, &response)
    }

    /// An identity for a transactional id, or why there is none.
    pub(super) fn identify(
        &mut self,
        asked: &Asked,
        id: &str,
        request: &InitProducerIdRequest,
    ) -> Result<(i64, i16), ResponseError> {
        self.must_coordinate(asked, id)?;
        let timeout = u64::try_from(request.transaction_timeout_ms).unwrap_or(0);
        if !(1..=LONGEST_TIMEOUT_MS).contains(&timeout) {
            return Err(ResponseError::InvalidTransactionTimeout);
        }
        let timeout = Duration::from_millis(timeout);
        let Some(transaction) = self.coordinators.transactions.get_mut(id) else {
            let producer_id = self.next_producer_id;
            self.next_producer_id += 1;
            let transaction = Transaction {
                producer_id,
                epoch: 0,
                last: (-1, -1),
                state: State::Empty,
                partitions: BTreeSet::new(),
                offsets: BTreeMap::new(),
                groups: BTreeSet::new(),
                timeout,
                begun: Duration::ZERO,
            };
            self.coordinators.transactions.insert(id.to_owned(), transaction);
            return Ok((producer_id, 0));
        };
        let present = (request.producer_id.0, request.producer_epoch);
        if present.0 >= 0 {
            if present == transaction.last {
                return Ok((transaction.producer_id, transaction.epoch));
            }
            transaction.check(present.0, present.1, asked.version >= 4)?;
        }
        if transaction.state == State::Ongoing {
            self.end(id, false, true);
            return Err(ResponseError::ConcurrentTransactions);
        }
        transaction.bump(&mut self.next_producer_id);
        if present.0 < 0 {
            // Nobody can repeat a request that did not say who made it.
            transaction.last = (-1, -1);
        }
        transaction.timeout = timeout;
        transaction.state = State::Empty;
        Ok((transaction.producer_id, transaction.epoch))
    }

    pub(super) fn add_to_transaction(
        &mut self,
        asked: &Asked,
        request: &AddPartitionsToTxnRequest,
        throttle: i32,
        injection: Option<&Injection>,
    ) -> Vec<u8> {
        let id = request.v3_and_below_transactional_id.0.to_string();
        let me = (request.v3_and_below_producer_id.0, request.v3_and_below_producer_epoch);
        let missing = request.v3_and_below_topics.iter().any(|topic| {
            topic.partitions.iter().any(|index| self.leader_or_none(&topic.name, *index).is_none())
        });
        let code = match (injection.and_then(injected_error), self.member(asked, &id, me)) {
            (Some(code), _) => code,
            (None, Err(error)) => error.code(),
            (None, Ok(_)) => 0,
        };
        if code == 0 && !missing {
            let transaction = self.coordinators.transactions.get_mut(&id).expect("looked up above");
            transaction.begin(asked.now);
            for topic in &request.v3_and_below_topics {
                let partitions = topic.partitions.iter().map(|index| (topic.name.to_string(), *index));
                transaction.partitions.extend(partitions);
            }
        }
        let code = if code == 0 && missing { ResponseError::OperationNotAttempted.code() } else { code };
        let mut topics = Vec::new();
        for topic in &request.v3_and_below_topics {
            let results = topic.partitions.iter().map(|index| {
                let unknown = self.leader_or_none(&topic.name, *index).is_none();
                let unknown = unknown.then(|| ResponseError::UnknownTopicOrPartition.code());
                AddPartitionsToTxnPartitionResult::default()
                    .with_partition_index(*index)
                    .with_partition_error_code(unknown.unwrap_or(code))
            });
            topics.push(
                AddPartitionsToTxnTopicResult::default()
                    .with_name(topic.name.clone())
                    .with_results_by_partition(results.collect()),
            );
        }
        let response = AddPartitionsToTxnResponse::default()
            .with_throttle_time_ms(throttle)
            .with_results_by_topic_v3_and_below(topics);
        encode(asked.api, asked.version, asked.correlation_id, &response)
    }

    pub(super) fn add_offsets(
        &mut self,
        asked: &Asked,
        request: &AddOffsetsToTxnRequest,
        throttle: i32,
        injection: Option<&Injection>,
    ) -> Vec<u8> {
        let me = (request.producer_id.0, request.producer_epoch);
        let code = match injection.and_then(injected_error) {
            Some(code) => code,
            None => match self.member(asked, &request.transactional_id.0, me) {
                Ok(transaction) => {
                    transaction.begin(asked.now);
                    transaction.groups.insert(request.group_id.0.to_string());
                    0
                }
                Err(error) => error.code(),
            },
        };
        let response =
            AddOffsetsToTxnResponse::default().with_throttle_time_ms(throttle).with_error_code(code);
        encode(asked.api, asked.version, asked.correlation_id, &response)
    }

    pub(super) fn commit_offsets(
        &mut self,
        asked: &Asked,
        request: &TxnOffsetCommitRequest,
        throttle: i32,
        injection: Option<&Injection>,
    ) -> Vec<u8> {
        let code = match injection.and_then(injected_error) {
            Some(code) => code,
            None => self.take_offsets(asked, request).err().map_or(0, |error| error.code()),
        };
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                TxnOffsetCommitResponsePartition::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(code)
            });
            TxnOffsetCommitResponseTopic::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect())
        });
        let response =
            TxnOffsetCommitResponse::default().with_throttle_time_ms(throttle).with_topics(topics.collect());
        encode(asked.api, asked.version, asked.correlation_id, &response)
    }

    fn take_offsets(&mut self, asked: &Asked, request: &TxnOffsetCommitRequest) -> Result<(), ResponseError> {
        let group = request.group_id.0.to_string();
        self.must_coordinate(asked, &group)?;
        let transaction = self.coordinators.transactions.get_mut(&*request.transactional_id.0);
        let transaction = transaction.ok_or(ResponseError::InvalidProducerIdMapping)?;
        transaction.check(request.producer_id.0, request.producer_epoch, false)?;
        if asked.version >= FIRST_COMMIT_THAT_ADDS {
            transaction.begin(asked.now);
            transaction.groups.insert(group.clone());
        } else if transaction.state != State::Ongoing || !transaction.groups.contains(&group) {
            return Err(ResponseError::InvalidTxnState);
        }
        for topic in &request.topics {
            for partition in &topic.partitions {
                let place = (group.clone(), topic.name.to_string(), partition.partition_index);
                transaction.offsets.insert(place, partition.committed_offset);
            }
        }
        Ok(())
    }

    pub(super) fn end_transaction(
        &mut self,
        asked: &Asked,
        request: &EndTxnRequest,
        throttle: i32,
        injection: Option<&Injection>,
    ) -> Vec<u8> {
        let mut response = EndTxnResponse::default().with_throttle_time_ms(throttle);
        let outcome = match injection.and_then(injected_error) {
            Some(code) => Err(code),
            None => self.finish(asked, request).map_err(|error| error.code()),
        };
        match outcome {
            Ok((producer_id, epoch)) if asked.version >= FIRST_END_THAT_BUMPS => {
                response.producer_id = producer_id.into();
                response.producer_epoch = epoch;
            }
            Ok(_) => {}
            Err(code) => response.error_code = code,
        }
        encode(asked.api, asked.version, asked.correlation_id, &response)
    }

    fn finish(&mut self, asked: &Asked, request: &EndTxnRequest) -> Result<(i64, i16), ResponseError> {
        let id = request.transactional_id.0.to_string();
        self.must_coordinate(asked, &id)?;
        let second = asked.version >= FIRST_END_THAT_BUMPS;
        let transaction = self.coordinators.transactions.get(&id);
        let transaction = transaction.ok_or(ResponseError::InvalidProducerIdMapping)?;
        let me = (request.producer_id.0, request.producer_epoch);
        let done = if request.committed { State::Committed } else { State::Aborted };
        if second && me == transaction.last && transaction.state == done {
            return Ok((transaction.producer_id, transaction.epoch));
        }
        transaction.check(me.0, me.1, asked.version >= 2)?;
        match transaction.state {
            State::Ongoing => self.end(&id, request.committed, second),
            state if state == done && !second => {}
            // An abort of nothing is an abort all the same.
            _ if second && !request.committed => self.end(&id, false, true),
            _ => return Err(ResponseError::InvalidTxnState),
        }
        let transaction = &self.coordinators.transactions[&id];
        Ok((transaction.producer_id, transaction.epoch))
    }

    /// Ends a transaction: the marks are written, and the offsets count or are forgotten. `bump`: under the next epoch.
    fn end(&mut self, id: &str, commit: bool, bump: bool) {
        let transaction = self.coordinators.transactions.get_mut(id).expect("it was looked up");
        let old = (transaction.producer_id, transaction.epoch);
        if bump {
            transaction.bump(&mut self.next_producer_id);
        }
        transaction.state = if commit { State::Committed } else { State::Aborted };
        let mark_epoch =
            if transaction.producer_id == old.0 { transaction.epoch } else { old.1.saturating_add(1) };
        for (topic, index) in std::mem::take(&mut transaction.partitions) {
            let topic = self.topics.get_mut(&topic);
            let partition = topic.and_then(|t| t.partitions.get_mut(usize::try_from(index).ok()?));
            if let Some(partition) = partition {
                partition.log.mark(old.0, mark_epoch, commit);
            }
        }
        let offsets = std::mem::take(&mut transaction.offsets);
        transaction.groups.clear();
        if commit {
            self.coordinators.offsets.extend(offsets);
        }
    }

    // ---- checks

    fn must_coordinate(&self, asked: &Asked, key: &str) -> Result<(), ResponseError> {
        if self.coordinator(key) == Some(asked.node) { Ok(()) } else { Err(ResponseError::NotCoordinator) }
    }

    fn member(
        &mut self,
        asked: &Asked,
        id: &str,
        (producer_id, epoch): (i64, i16),
    ) -> Result<&mut Transaction, ResponseError> {
        self.must_coordinate(asked, id)?;
        let transaction =
            self.coordinators.transactions.get_mut(id).ok_or(ResponseError::InvalidProducerIdMapping)?;
        transaction.check(producer_id, epoch, asked.version >= 2)?;
        Ok(transaction)
    }

    /// Whether a batch may be appended as part of a transaction; in the second protocol that makes it part of it.
    pub(super) fn admit(
        &mut self,
        asked: &Asked,
        id: Option<&str>,
        (topic, partition): (&str, i32),
        header: &BatchHeader,
    ) -> Result<(), Refusal> {
        let no_transaction = |problem: &str| Refusal::new(ResponseError::InvalidTxnState, problem.to_owned());
        let id = id.ok_or_else(|| no_transaction("the request names no transactional id"))?;
        let Some(transaction) = self.coordinators.transactions.get_mut(id) else {
            return Err(no_transaction("nobody has initialized the transactional id"));
        };
        if (header.producer_id, header.producer_epoch) != (transaction.producer_id, transaction.epoch) {
            let problem = format!("the epoch {} is not {}", header.producer_epoch, transaction.epoch);
            return Err(Refusal::new(ResponseError::InvalidProducerEpoch, problem));
        }
        let place = (topic.to_owned(), partition);
        if asked.version >= FIRST_PRODUCE_THAT_ADDS {
            transaction.begin(asked.now);
            transaction.partitions.insert(place);
            return Ok(());
        }
        if transaction.state == State::Ongoing && transaction.partitions.contains(&place) {
            return Ok(());
        }
        let problem = "the partition was not added to the transaction";
        if asked.version == FIRST_PRODUCE_THAT_ADDS - 1 {
            return Err(Refusal::new(ResponseError::TransactionAbortable, problem));
        }
        Err(no_transaction(problem))
    }

    fn leader_or_none(&self, topic: &str, partition: i32) -> Option<()> {
        self.topics.get(topic)?.partition(partition).map(|_| ())
    }
}

// The first versions of the second protocol.
pub(super) const FIRST_PRODUCE_THAT_ADDS: i16 = 12;
const FIRST_COMMIT_THAT_ADDS: i16 = 5;
const FIRST_END_THAT_BUMPS: i16 = 5;

/// Kafka's `transaction.max.timeout.ms`.
const LONGEST_TIMEOUT_MS: u64 = 900_000;
