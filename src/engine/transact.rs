//! Transactions: this brings their state machine together with batches, brokers and callers.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Action, Answered, Engine, Purpose, broken,
    transactions::{Ask, Offsets, Output, State},
};
use crate::{
    error::{DeliveryCause, ErrorCode, TransactionErrorKind},
    handoff::TransactionRequest,
    wire::{
        add_offsets_to_txn::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse},
        add_partitions_to_txn::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse},
        api::ApiKey,
        end_txn::{EndTxnRequest, EndTxnResponse},
        find_coordinator::{CoordinatorType, FindCoordinatorRequest, FindCoordinatorResponse},
        init_producer_id::{InitProducerIdRequest, InitProducerIdResponse},
        primitives::Reader,
        sequence::Identity,
        txn_offset_commit::{
            FIRST_WITH_MEMBERS, LAST_BY_NAME, TxnOffsetCommitPartition, TxnOffsetCommitRequest,
            TxnOffsetCommitResponse, TxnOffsetCommitTopic,
        },
    },
};

impl Engine {
    pub(crate) fn handle_transaction(&mut self, now: Instant, request: TransactionRequest) {
        self.woken(now);
        let (call, reply) = request.into_parts();
        match &mut self.transactions {
            Some(transactions) => transactions.call(call, reply),
            None => {
                let error = TransactionErrorKind::NotTransactional { call: call.name() };
                self.actions.push_back(Action::Answer(reply.settle(Err(error.into()))));
            }
        }
    }

    /// What the transaction goes by.
    #[cfg(test)]
    pub(super) fn identity(&self) -> Option<Identity> {
        self.transactions.as_ref()?.identity()
    }

    /// Whether a close need not wait for a transaction: there is none, or it was given up.
    pub(super) fn has_no_open_transaction(&self) -> bool {
        self.transactions.as_ref().is_none_or(|t| !t.is_open())
    }

    /// Moves the transaction on, as far as it goes without an answer.
    pub(super) fn transact(&mut self, now: Instant) {
        if self.transactions.is_none() {
            return;
        }
        self.carry_out(now);
        self.account_for_records();
        self.give_up_records(now);
        let (quiet, second) = (self.accumulator.is_quiet(), self.brokers.have_second_protocol());
        if let Some(transactions) = &mut self.transactions {
            if self.closing && self.transaction_ends_by.is_some_and(|at| at <= now) {
                transactions.fatal(
                    None,
                    "its transaction could not be ended within delivery.timeout.ms of the close",
                );
            }
            transactions.advance(quiet, second);
        }
        self.carry_out(now);
        self.set_hurry(now);
        self.ask(now, quiet);
        self.carry_out(now);
    }

    /// Tells the state machine which partitions have records, and which records failed.
    fn account_for_records(&mut self) {
        let Some(transactions) = &mut self.transactions else { return };
        for place in self.accumulator.take_newcomers() {
            transactions.add(place);
        }
        if let Some((error, numbered)) = self.spoiled.take() {
            transactions.lose_records(error.code(), format!("a record was not delivered: {error}"), numbered);
        }
    }

    /// Records that will not be committed need not be sent. Those that were sent are followed until their fate is clear:
    /// what arrives behind the end of its transaction would belong to the next one.
    fn give_up_records(&mut self, now: Instant) {
        let Some(transactions) = &self.transactions else { return };
        let why = match transactions.state() {
            State::InTransaction | State::Committing => return,
            _ if self.accumulator.unsettled() == 0 => return,
            _ => transactions.error().map_or_else(|| "it is aborted".into(), ToString::to_string),
        };
        let is_over = transactions.state() == State::Fatal;
        let cause = DeliveryCause::TransactionAborted(why.into());
        for key in self.accumulator.all() {
            let batch = self.accumulator.batch(key).expect("listed just now");
            if !batch.expired && (is_over || batch.attempts == 0) {
                self.fail(now, key, cause.clone(), None);
            }
        }
    }

    fn carry_out(&mut self, now: Instant) {
        while let Some(output) = self.transactions.as_mut().and_then(|t| t.pop_output()) {
            self.dirty = true;
            match output {
                Output::Answer(reply, outcome) => {
                    self.actions.push_back(Action::Answer(reply.settle(outcome)));
                }
                Output::Failed(error) => {
                    log::warn!("{error}");
                    self.hub.fail_transaction(error);
                }
                Output::Mended => self.hub.mend_transaction(),
                Output::Admitted(places) => {
                    places.into_iter().for_each(|place| self.accumulator.admit(now, place));
                }
                Output::Identity(Identity { id, epoch }) => {
                    log::debug!("producer id {id} epoch {epoch}");
                    self.accumulator.begin_identity(now, Identity { id, epoch });
                }
                Output::Ended => self.accumulator.expel_all(),
            }
        }
        let second = self.transactions.as_ref().is_some_and(|t| t.is_second_protocol());
        self.accumulator.set_gaps_are_refused(second);
    }

    // ---- requests

    /// When the transaction needs the engine again, and the node that it waits to send to, if it must be a certain one.
    pub(super) fn transaction_waits(&self) -> Option<(Option<Instant>, Option<i32>)> {
        let transactions = self.transactions.as_ref()?;
        let ask = transactions.wanted(self.accumulator.is_quiet())?;
        Some((transactions.not_before(), transactions.node(ask.recipient())))
    }

    fn ask(&mut self, now: Instant, quiet: bool) {
        let Some(transactions) = &self.transactions else { return };
        let Some(ask) = transactions.wanted(quiet) else { return };
        if transactions.not_before().is_some_and(|at| at > now) {
            return;
        }
        let node = match transactions.node(ask.recipient()) {
            None => self.any_broker(now, false),
            Some(node) => self.reach(now, node),
        };
        let Some(node) = node else { return };
        let (api, at_most) = self.api_of(&ask);
        let version = match self.usable_up_to(node, api, at_most) {
            Ok(version) => version,
            Err(reason) => return self.cannot_ask(&reason),
        };
        if let Ask::CommitOffsets(offsets) = &ask
            && version < FIRST_WITH_MEMBERS
            && offsets.group.names_a_member()
        {
            return self.cannot_ask("brokers before Kafka 2.5 cannot check the member of a group");
        }
        let head = self.encoded(&ask, version);
        let transactions = self.transactions.as_mut().expect("looked at above");
        transactions.mark_asked(&ask);
        self.request(now, node, api, version, Purpose::Transaction(ask), |out| out.extend(head));
    }

    /// The node, if it can be asked now. One that is not connected is dialed.
    fn reach(&mut self, now: Instant, node: i32) -> Option<i32> {
        let max = self.settings.max_in_flight;
        let Some(broker) = self.brokers.get(node) else {
            if let Some(transactions) = &mut self.transactions {
                transactions.node_lost(node);
                self.dirty = true;
            }
            return None;
        };
        if broker.may_dial(now) {
            self.dial(now, node);
            return None;
        }
        broker.can_take(now, max).is_some().then_some(node)
    }

    fn cannot_ask(&mut self, reason: &str) {
        if let Some(transactions) = &mut self.transactions {
            transactions.fatal(Some(ErrorCode::UNSUPPORTED_VERSION), reason);
        }
    }

    /// In what a request is asked, and the highest version for it. The versions from the second protocol on ask a broker
    /// to follow it.
    fn api_of(&self, ask: &Ask) -> (ApiKey, i16) {
        let second = self.transactions.as_ref().is_some_and(|t| t.is_second_protocol());
        match ask {
            Ask::FindCoordinator(..) => (ApiKey::FindCoordinator, i16::MAX),
            Ask::Identity(_) => (ApiKey::InitProducerId, i16::MAX),
            Ask::AddPartitions(_) => (ApiKey::AddPartitionsToTxn, i16::MAX),
            Ask::AddOffsets(_) => (ApiKey::AddOffsetsToTxn, i16::MAX),
            Ask::CommitOffsets(_) if !second => (ApiKey::TxnOffsetCommit, LAST_OFFSETS_OF_FIRST_PROTOCOL),
            Ask::CommitOffsets(offsets) => {
                let by_id = offsets.offsets.iter().all(|(p, _)| self.metadata.id_of(p.topic()) != [0; 16]);
                (ApiKey::TxnOffsetCommit, if by_id { i16::MAX } else { LAST_BY_NAME })
            }
            Ask::End { .. } => (ApiKey::EndTxn, if second { i16::MAX } else { LAST_END_OF_FIRST_PROTOCOL }),
        }
    }

    fn encoded(&self, ask: &Ask, version: i16) -> Vec<u8> {
        let mut out = Vec::new();
        let transactional_id = self.settings.transactional_id.as_deref().unwrap_or_default();
        let present = self.transactions.as_ref().and_then(|t| t.identity());
        let identity = present.unwrap_or(NO_IDENTITY);
        match ask {
            Ask::FindCoordinator(kind, key) => {
                let key = if *kind == CoordinatorType::Transaction { transactional_id } else { key };
                FindCoordinatorRequest { kind: *kind, key }.encode(version, &mut out);
            }
            Ask::Identity(present) => {
                let Identity { id, epoch } = present.unwrap_or(NO_IDENTITY);
                let timeout = self.settings.transaction_timeout.as_millis();
                InitProducerIdRequest {
                    transactional_id: Some(transactional_id),
                    transaction_timeout_ms: i32::try_from(timeout).unwrap_or(i32::MAX),
                    producer_id: id,
                    producer_epoch: epoch,
                }
                .encode(version, &mut out);
            }
            Ask::AddPartitions(places) => {
                let mut topics: Vec<(&str, Vec<i32>)> = Vec::new();
                for group in places.chunk_by(|a, b| a.0 == b.0) {
                    let name = self.hub.topics().name(group[0].0);
                    topics.push((name, group.iter().map(|(_, partition)| *partition).collect()));
                }
                AddPartitionsToTxnRequest { transactional_id, identity, topics: &topics }
                    .encode(version, &mut out);
            }
            Ask::AddOffsets(offsets) => {
                AddOffsetsToTxnRequest { transactional_id, identity, group_id: &offsets.group.group_id }
                    .encode(version, &mut out);
            }
            Ask::CommitOffsets(offsets) => {
                let group = &offsets.group;
                TxnOffsetCommitRequest {
                    transactional_id,
                    group_id: &group.group_id,
                    identity,
                    generation: group.generation,
                    member_id: &group.member_id,
                    group_instance_id: group.group_instance_id.as_deref(),
                    topics: &self.by_topic(offsets),
                }
                .encode(version, &mut out);
            }
            Ask::End { commit } => {
                EndTxnRequest { transactional_id, identity, committed: *commit }.encode(version, &mut out);
            }
        }
        out
    }

    fn by_topic<'a>(&self, offsets: &'a Offsets) -> Vec<TxnOffsetCommitTopic<'a>> {
        let mut topics: BTreeMap<&str, Vec<TxnOffsetCommitPartition<'_>>> = BTreeMap::new();
        for (place, offset) in &offsets.offsets {
            topics.entry(place.topic()).or_default().push(TxnOffsetCommitPartition {
                index: place.partition(),
                offset: offset.offset,
                leader_epoch: offset.leader_epoch.unwrap_or(-1),
                metadata: Some(&offset.metadata),
            });
        }
        let topic = |(name, partitions)| TxnOffsetCommitTopic {
            name,
            topic_id: self.metadata.id_of(name),
            partitions,
        };
        topics.into_iter().map(topic).collect()
    }

    // ---- answers

    pub(super) fn transaction_answered(
        &mut self,
        now: Instant,
        node: i32,
        version: i16,
        body: &[u8],
        ask: Ask,
    ) -> Answered {
        let mut reader = Reader::new(body);
        let (api, _) = self.api_of(&ask);
        let throttled = if api == ApiKey::FindCoordinator { version >= 2 } else { version >= 1 };
        let read = match &ask {
            Ask::FindCoordinator(..) => FindCoordinatorResponse::decode(version, &mut reader)
                .map(|answer| (answer.throttle_time_ms, Heard::Coordinator(answer))),
            Ask::Identity(_) => InitProducerIdResponse::decode(version, &mut reader)
                .map(|answer| (answer.throttle_time_ms, Heard::Identity(answer))),
            Ask::AddPartitions(_) => AddPartitionsToTxnResponse::decode(version, &mut reader)
                .map(|answer| (answer.throttle_time_ms, Heard::Partitions(answer))),
            Ask::AddOffsets(_) => AddOffsetsToTxnResponse::decode(version, &mut reader)
                .map(|answer| (answer.throttle_time_ms, Heard::Code(answer.error))),
            Ask::CommitOffsets(_) => TxnOffsetCommitResponse::decode(version, &mut reader)
                .map(|answer| (answer.throttle_time_ms, Heard::Offsets(answer))),
            Ask::End { .. } => EndTxnResponse::decode(version, &mut reader)
                .map(|answer| (answer.throttle_time_ms, Heard::End(answer.error, answer.next))),
        };
        let (pause, heard) = match read {
            Ok(read) => read,
            Err(error) => return Err((Purpose::Transaction(ask), broken(api, &error))),
        };
        self.throttle(now, node, throttled, pause);
        match self.understand(version, &ask, heard) {
            Ok(()) => Ok(()),
            Err(Refusal::Nonsense(cause)) => Err((Purpose::Transaction(ask), cause)),
            Err(Refusal::Code(code, about)) => {
                let label = self.brokers.get(node).map(|b| Arc::clone(&b.label)).unwrap_or_default();
                // Brokers have an empty text where there is nothing to say.
                let about = about.filter(|about| !about.is_empty());
                let about = about.map(|about| format!(" ({about})")).unwrap_or_default();
                let cause = format!("{}{about}, {}, {label}", ask.name(), self.subject_of(&ask));
                log::debug!("{cause}: {code}");
                self.transaction_refused(now, &ask, code, cause);
                Ok(())
            }
        }
    }

    /// What a request is about, as whoever grants rights has to know it.
    fn subject_of(&self, ask: &Ask) -> String {
        match ask {
            Ask::FindCoordinator(CoordinatorType::Group, group) => format!("group.id={group}"),
            Ask::AddOffsets(offsets) | Ask::CommitOffsets(offsets) => {
                format!("group.id={}", offsets.group.group_id)
            }
            _ => {
                format!("transactional.id={}", self.settings.transactional_id.as_deref().unwrap_or_default())
            }
        }
    }

    fn understand(&mut self, version: i16, ask: &Ask, heard: Heard) -> Result<(), Refusal> {
        let second = self.brokers.have_second_protocol();
        let Some(transactions) = &mut self.transactions else { return Ok(()) };
        match (ask, heard) {
            (Ask::FindCoordinator(kind, key), Heard::Coordinator(answer)) => {
                let [found] = &answer.coordinators[..] else {
                    let count = answer.coordinators.len();
                    return Err(Refusal::Nonsense(format!("it named {count} coordinators instead of one")));
                };
                checked(found.error, found.error_message.clone())?;
                let node = found.broker.node_id;
                self.brokers.update(std::slice::from_ref(&found.broker), false);
                if self.brokers.get(node).is_none() {
                    return Err(Refusal::Nonsense(format!(
                        "it named node {node} as coordinator, at no address"
                    )));
                }
                transactions.coordinator_found(*kind, key, node);
            }
            (Ask::Identity(_), Heard::Identity(answer)) => {
                checked(answer.error, None)?;
                let identity = Identity { id: answer.producer_id, epoch: answer.producer_epoch };
                if identity.id < 0 || identity.epoch < 0 {
                    let nonsense =
                        format!("it gave out producer id {} epoch {}", identity.id, identity.epoch);
                    return Err(Refusal::Nonsense(nonsense));
                }
                transactions.identified(identity, version >= FIRST_WITH_BUMPS, second);
                self.tell_identity(identity);
            }
            (Ask::AddPartitions(places), Heard::Partitions(answer)) => {
                let partitions =
                    || answer.topics.iter().flat_map(|(name, ps)| ps.iter().map(move |p| (name, p)));
                let refused = partitions().find(|(_, (_, code))| *code != ErrorCode::NONE);
                if let Some((_, &(_, code))) = refused {
                    let same = partitions().filter(|(_, (_, other))| *other == code);
                    let names: Vec<String> = same.map(|(name, (p, _))| format!("{name}-{p}")).collect();
                    return Err(Refusal::Code(code, Some(names.join(", "))));
                }
                if partitions().count() != places.len() {
                    return Err(Refusal::Nonsense("it left partitions out of its answer".into()));
                }
                transactions.partitions_added(places.clone());
            }
            (Ask::AddOffsets(offsets), Heard::Code(code)) => {
                checked(code, Some(format!("group {}", offsets.group.group_id)))?;
                transactions.offsets_added(offsets);
            }
            (Ask::CommitOffsets(offsets), Heard::Offsets(answer)) => {
                let codes =
                    || answer.topics.iter().flat_map(|topic| &topic.partitions).map(|(_, code)| *code);
                let refused = codes().find(|code| *code != ErrorCode::NONE && !code.is_retriable());
                let code = refused.or_else(|| codes().find(|code| *code != ErrorCode::NONE));
                checked(code.unwrap_or(ErrorCode::NONE), Some(format!("group {}", offsets.group.group_id)))?;
                transactions.offsets_committed(offsets);
            }
            (Ask::End { .. }, Heard::End(code, next)) => {
                checked(code, None)?;
                transactions.end_answered(next, second);
            }
            _ => unreachable!("an answer is read as what was asked"),
        }
        Ok(())
    }

    fn transaction_refused(&mut self, now: Instant, ask: &Ask, code: ErrorCode, cause: String) {
        let pause = self.transaction_pause();
        if let Some(transactions) = &mut self.transactions {
            transactions.refused(now, ask, code, cause, pause);
        }
    }

    pub(super) fn transaction_unanswered(&mut self, now: Instant, ask: &Ask) {
        let pause = self.transaction_pause();
        if let Some(transactions) = &mut self.transactions {
            transactions.unanswered(now, ask, pause);
        }
    }

    fn transaction_pause(&mut self) -> Duration {
        let failures = self.transactions.as_ref().map_or(0, |t| t.failures());
        self.retry.delay(failures, self.random.next())
    }
}

/// An answer, read.
enum Heard {
    Coordinator(FindCoordinatorResponse),
    Identity(InitProducerIdResponse),
    Partitions(AddPartitionsToTxnResponse),
    Code(ErrorCode),
    Offsets(TxnOffsetCommitResponse),
    End(ErrorCode, Option<Identity>),
}

/// Why an answer is not the one hoped for.
enum Refusal {
    /// A broker's error, and what it is about.
    Code(ErrorCode, Option<String>),
    Nonsense(String),
}

fn checked(code: ErrorCode, about: Option<String>) -> Result<(), Refusal> {
    if code == ErrorCode::NONE { Ok(()) } else { Err(Refusal::Code(code, about)) }
}

const NO_IDENTITY: Identity = Identity { id: -1, epoch: -1 };

/// The first version of InitProducerId in which a producer can have its epoch raised.
const FIRST_WITH_BUMPS: i16 = 3;

const LAST_OFFSETS_OF_FIRST_PROTOCOL: i16 = 4;
const LAST_END_OF_FIRST_PROTOCOL: i16 = 4;
