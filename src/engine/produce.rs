//! Produce requests and what becomes of them: this brings queues, brokers, metadata and verdicts together.

use std::{sync::Arc, time::Instant};

use super::{
    Action, Answered, Engine, InFlight, Purpose, Sent, Transmit,
    accumulator::{Batch, BatchKey, Taken},
    broken,
    completion::{CompletedBatch, Outcome, settle},
    verdict::{Verdict, judge},
};
use crate::{
    config::Compression,
    error::{DeliveryCause, DeliveryError, DeliveryFailure, ErrorCode},
    event::ProducerEvent,
    handoff::TopicId,
    metrics::SentBatch,
    wire::{
        api::ApiKey,
        primitives::Reader,
        produce::{
            PartitionResponse, ProducePartition, ProduceRequest, ProduceResponse, ProduceTopic, TopicResponse,
        },
    },
};

impl Engine {
    pub(super) fn send_ready(&mut self, now: Instant) {
        for node in self.accumulator.ready_nodes(now) {
            let Some(broker) = self.brokers.get(node) else {
                // A leader without an address: metadata that is being put together.
                self.metadata.want(now);
                continue;
            };
            if broker.may_dial(now) {
                self.dial(now, node);
            }
            let mut could = false;
            while self.send_produce(now, node) {
                could = true;
            }
            self.accumulator.set_blocked(now, node, !could);
        }
    }

    /// Sends one request with everything that is due for a node. `false`: nothing was due, or the node cannot take it.
    fn send_produce(&mut self, now: Instant, node: i32) -> bool {
        let max = self.settings.max_in_flight;
        let Some(broker) = self.brokers.get(node) else { return false };
        let Some(session) = broker.can_take(now, max) else { return false };
        // A later version would ask the broker to follow the second protocol of transactions.
        let first_protocol = self.transactions.as_ref().is_some_and(|t| !t.is_second_protocol());
        let highest =
            if first_protocol { LAST_VERSION_OF_FIRST_PROTOCOL } else { ApiKey::Produce.max_version() };
        let usable = session.usable(ApiKey::Produce, highest);
        let by_name = session.usable(ApiKey::Produce, highest.min(LAST_VERSION_BY_NAME));
        let mut taken = self.accumulator.take_ready(now, node, self.settings.max_request_size);
        if taken.is_empty() {
            return false;
        }
        taken.sort_by_key(|t| t.topic);
        let known = taken.iter().all(|t| self.metadata.topic_id(t.topic) != [0; 16]);
        match if known { usable } else { by_name } {
            Ok(version)
                if version < FIRST_VERSION_WITH_ZSTD && self.settings.compression == Compression::Zstd =>
            {
                let message = format!(
                    "compression.type=zstd needs Produce v{FIRST_VERSION_WITH_ZSTD} (Kafka 2.1), and this broker \
                     takes v{version} at most"
                );
                self.refuse(now, node, taken, ErrorCode::UNSUPPORTED_COMPRESSION_TYPE, &message);
            }
            Ok(version) => self.transmit_batches(now, node, version, &taken),
            Err(reason) => {
                self.refuse(now, node, taken, ErrorCode::UNSUPPORTED_VERSION, &reason);
                self.negotiate_anew(now, node, &reason);
            }
        }
        true
    }

    /// Batches that this node could do nothing with fail before they are sent.
    fn refuse(&mut self, now: Instant, node: i32, taken: Vec<Taken>, code: ErrorCode, reason: &str) {
        for entry in taken {
            let cause = DeliveryCause::Broker { code, message: Some(reason.to_owned()) };
            self.fail(now, entry.key, cause, Some(node));
        }
    }

    fn transmit_batches(&mut self, now: Instant, node: i32, version: i16, taken: &[Taken]) {
        let mut bodies = Vec::with_capacity(taken.len());
        let mut sent = Vec::with_capacity(taken.len());
        let mut partitions = Vec::with_capacity(taken.len());
        for entry in taken {
            let bytes = self.accumulator.seal(entry.key);
            partitions.push(ProducePartition { index: entry.partition, records_len: bytes.len() });
            bodies.push(bytes);
            sent.push(Sent {
                key: entry.key,
                topic: entry.topic,
                topic_id: self.metadata.topic_id(entry.topic),
                partition: entry.partition,
            });
        }
        let mut topics = Vec::new();
        let mut start = 0;
        for group in taken.chunk_by(|a, b| a.topic == b.topic) {
            topics.push(ProduceTopic {
                name: self.hub.topics().name(group[0].topic),
                topic_id: self.metadata.topic_id(group[0].topic),
                partitions: &partitions[start..start + group.len()],
            });
            start += group.len();
        }
        let request = ProduceRequest {
            transactional_id: self.settings.transactional_id.as_deref(),
            acks: self.settings.acks,
            timeout_ms: i32::try_from(self.settings.request_timeout.as_millis()).unwrap_or(i32::MAX),
            topics: &topics,
        };
        let batches = taken.iter().zip(&bodies).filter_map(|(entry, bytes)| {
            let batch = self.accumulator.batch(entry.key)?;
            Some(SentBatch {
                topic: entry.topic.0 as usize,
                records: batch.records,
                bytes: bytes.len(),
                largest_record: batch.largest_record,
                ratio: batch.achieved_ratio,
                created: batch.created,
            })
        });
        self.numbers.batches_sent(now, batches);
        let session =
            self.brokers.get(node).and_then(|b| b.session()).expect("a node that takes is connected");
        let correlation = session.next_correlation();
        let frame = request.encode_frame(version, correlation, &self.settings.client_id);
        let (conn, deadline) = (session.conn, now + self.settings.request_timeout);
        let purpose = Purpose::Produce(sent);
        if self.settings.acks == 0 {
            session.sent_without_answer(now, deadline, purpose);
        } else {
            let api = ApiKey::Produce;
            session.sent(now, InFlight { correlation, api, version, sent: now, deadline, purpose });
        }
        let bytes = frame.head.len() + bodies.iter().map(|body| body.len()).sum::<usize>();
        self.numbers.request_sent(now, node, bytes);
        let bodies = frame.cuts.into_iter().zip(bodies).collect();
        self.actions.push_back(Action::Transmit { conn, transmit: Transmit { head: frame.head, bodies } });
    }

    // ---- answers

    pub(super) fn produce_answered(
        &mut self,
        now: Instant,
        node: i32,
        version: i16,
        body: &[u8],
        sent: Vec<Sent>,
    ) -> Answered {
        let answer = match ProduceResponse::decode(version, &mut Reader::new(body)) {
            Ok(answer) => answer,
            Err(error) => return Err((Purpose::Produce(sent), broken(ApiKey::Produce, &error))),
        };
        self.throttle(now, node, version >= 6, answer.throttle_time_ms);
        self.brokers.update(&answer.node_endpoints, false);
        let mut open: Vec<Option<Sent>> = sent.into_iter().map(Some).collect();
        let mut expected = 0;
        for topic in &answer.topics {
            for partition in &topic.partitions {
                // Answers come in the order of the request, except from brokers that we have not met.
                let at = (expected..open.len()).chain(0..expected).find(|i| {
                    open[*i].as_ref().is_some_and(|s| {
                        s.partition == partition.index && self.is_same_topic(s, topic, version)
                    })
                });
                match at.and_then(|i| open[i].take().map(|s| (i, s))) {
                    Some((i, entry)) => {
                        expected = i + 1;
                        self.batch_answered(now, node, &entry, partition);
                    }
                    None => {
                        log::warn!("a broker answered for partition {} that was not asked", partition.index)
                    }
                }
            }
        }
        let forgotten: Vec<Sent> = open.into_iter().flatten().collect();
        if !forgotten.is_empty() {
            self.produce_unanswered(now, node, forgotten, "the broker's answer leaves the partition out");
        }
        Ok(())
    }

    fn is_same_topic(&self, sent: &Sent, answer: &TopicResponse, version: i16) -> bool {
        if version > LAST_VERSION_BY_NAME {
            answer.topic_id == sent.topic_id
        } else {
            answer.name.as_deref() == Some(&**self.hub.topics().name(sent.topic))
        }
    }

    fn batch_answered(&mut self, now: Instant, node: i32, sent: &Sent, answer: &PartitionResponse) {
        if let Some((leader, epoch)) = answer.current_leader
            && leader >= 0
            && epoch >= 0
            && self.brokers.get(leader).is_some()
            && let Some(change) = self.metadata.hint(sent.topic, sent.partition, leader, epoch)
        {
            self.lead(now, change);
        }
        let Some(batch) = self.accumulator.batch(sent.key) else { return };
        let (code, slot) = (answer.error, batch.slot);
        let verdict =
            judge(code, self.settings.idempotence, batch.attempts_as_numbered, batch.open_as_numbered);
        if code != ErrorCode::NONE {
            log::debug!("{}-{}: {code}, {verdict:?}", self.hub.topics().name(sent.topic), sent.partition);
        }
        match verdict {
            Verdict::Delivered => {
                let base_offset = (answer.base_offset >= 0).then_some(answer.base_offset);
                let append_time = (answer.log_append_time_ms >= 0).then_some(answer.log_append_time_ms);
                self.complete(now, sent.key, Outcome::Acknowledged { base_offset, append_time });
            }
            Verdict::DeliveredEarlier => {
                let base_offset = (answer.base_offset >= 0).then_some(answer.base_offset);
                self.complete(now, sent.key, Outcome::Acknowledged { base_offset, append_time: None });
            }
            Verdict::Retry { refresh, may_have_been_written } => {
                if refresh {
                    self.metadata.want(now);
                }
                let cause = broker_says(answer);
                self.retry_or_fail(now, node, sent.key, cause, may_have_been_written);
            }
            Verdict::OutOfOrder => {
                // Behind a batch of open fate this is to be expected. In front, the broker misses something that is
                // never sent again: the sequence starts anew, once all that is in flight has come back.
                if self.accumulator.is_oldest_unresolved(sent.key) {
                    self.accumulator.break_sequence(now, slot);
                }
                self.retry_or_fail(now, node, sent.key, broker_says(answer), false);
            }
            Verdict::Split => {
                let records = batch.records as usize;
                if self.accumulator.split(now, sent.key) {
                    self.numbers.splits.add(self.numbers.at(now), 1);
                    self.tell(|engine| ProducerEvent::BatchSplit {
                        topic: Arc::clone(engine.hub.topics().name(sent.topic)),
                        partition: sent.partition,
                        records,
                    });
                } else {
                    self.fail(now, sent.key, broker_says(answer), Some(node));
                }
            }
            Verdict::NewProducerId if self.transactions.is_some() => {
                // Whether another producer has taken over is for the coordinator to say.
                self.fail(now, sent.key, broker_says(answer), Some(node));
                self.accumulator.break_sequence(now, slot);
            }
            Verdict::NewProducerId => {
                self.fail(now, sent.key, broker_says(answer), Some(node));
                self.accumulator.abandon_identity(now, slot);
            }
            Verdict::Fail { .. } if self.fail_bad_records(now, node, sent, answer) => {}
            Verdict::Fail { may_have_been_written } => {
                if let Some(batch) = self.accumulator.batch_mut(sent.key) {
                    batch.may_have_been_written |= may_have_been_written;
                }
                self.fail(now, sent.key, broker_says(answer), Some(node));
            }
        }
    }

    /// The broker refused a batch because of some of its records, and says which (KIP-467): those fail, each for its
    /// own reason, and the others are sent again without them. `false`: it does not say, or nothing that makes sense.
    fn fail_bad_records(&mut self, now: Instant, node: i32, sent: &Sent, answer: &PartitionResponse) -> bool {
        if !matches!(answer.error, ErrorCode::INVALID_RECORD | ErrorCode::INVALID_TIMESTAMP) {
            return false;
        }
        // A batch of which an earlier attempt may have got into the log must not go there again in other company.
        let Some(batch) = self.accumulator.batch(sent.key).filter(|b| !b.expired && !b.may_have_been_written)
        else {
            return false;
        };
        let mut bad: Vec<i32> = answer.record_errors.iter().map(|(index, _)| *index).collect();
        bad.sort_unstable();
        bad.dedup();
        if bad.is_empty() || bad[0] < 0 || bad.last().is_some_and(|last| *last >= batch.records) {
            return false;
        }
        let attempts = batch.attempts;
        for (index, mut outcast) in self.accumulator.sort_out(now, sent.key, &bad) {
            let said =
                answer.record_errors.iter().find(|(at, _)| *at == index).and_then(|(_, text)| text.clone());
            let message = said.or_else(|| answer.error_message.clone()).map(|text| printable(&text));
            outcast.attempts = attempts;
            let cause = DeliveryCause::Broker { code: answer.error, message };
            let error = self.describe(now, &outcast, cause, Some(node), false);
            self.settle(outcast, Outcome::Failed(error));
        }
        true
    }

    /// No answer will come: the batches may or may not be in the log.
    pub(super) fn produce_unanswered(&mut self, now: Instant, node: i32, sent: Vec<Sent>, cause: &str) {
        self.metadata.want(now);
        for entry in sent {
            let cause =
                DeliveryCause::Broker { code: ErrorCode::NETWORK_EXCEPTION, message: Some(cause.to_owned()) };
            self.retry_or_fail(now, node, entry.key, cause, true);
        }
    }

    /// Requests that expect no answer are done once they are written (acks=0).
    pub(super) fn unacknowledged(&mut self, now: Instant, sent: Vec<Sent>) {
        for entry in sent {
            self.complete(now, entry.key, Outcome::Acknowledged { base_offset: None, append_time: None });
        }
    }

    fn retry_or_fail(
        &mut self,
        now: Instant,
        node: i32,
        key: BatchKey,
        cause: DeliveryCause,
        maybe_written: bool,
    ) {
        let Some(batch) = self.accumulator.batch_mut(key) else { return };
        batch.may_have_been_written |= maybe_written;
        batch.open_as_numbered |= maybe_written;
        if batch.expired {
            self.drop_expired(now, key);
            return;
        }
        // `attempts` counts the first sending, `retries` does not.
        if batch.attempts > self.settings.retries {
            self.fail(now, key, cause, Some(node));
            return;
        }
        if let DeliveryCause::Broker { code, message } = &cause {
            batch.last_cause = Some(match message {
                Some(message) => format!("{} ({message})", code.name().unwrap_or("an unknown error")),
                None => code.name().unwrap_or("an unknown error").to_owned(),
            });
        }
        let (attempts, records) = (batch.attempts - 1, batch.records);
        if let Some((topic, _)) = self.accumulator.batch(key).map(|batch| self.accumulator.place(batch)) {
            self.numbers.batch_retried(now, topic.0 as usize, records);
        }
        let pause = self.retry.delay(attempts, self.random.next());
        self.accumulator.requeue(now, key, now + pause);
    }

    // ---- ends

    /// Batches whose delivery timeout has passed.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(key) = self.accumulator.pop_expired(now) {
            let cause = DeliveryCause::DeliveryTimeout { limit: self.settings.delivery_timeout };
            self.fail(now, key, cause, None);
        }
    }

    /// Batches that cannot be sent again without the risk of being written twice.
    pub(super) fn give_up_doomed(&mut self, now: Instant) {
        for key in self.accumulator.take_doomed() {
            let message = "a batch before it was lost, and what was lost may still arrive; sending it again could \
                           write it twice";
            let code = ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER;
            self.fail(now, key, DeliveryCause::Broker { code, message: Some(message.into()) }, None);
        }
    }

    /// Every batch there is fails. Returns how many records that were, and the first error.
    pub(super) fn fail_all(&mut self, now: Instant, cause: &DeliveryCause) -> Option<(usize, DeliveryError)> {
        let mut failed = None;
        for key in self.accumulator.all() {
            if let Some(batch) = self.accumulator.batch(key).filter(|b| !b.expired) {
                let error = self.describe(now, batch, cause.clone(), None, batch.in_flight);
                failed.get_or_insert((0, error)).0 += batch.records as usize;
            }
            self.fail(now, key, cause.clone(), None);
        }
        failed
    }

    /// Every batch that only this node could take fails.
    pub(super) fn fail_led_by(&mut self, now: Instant, node: i32, cause: &DeliveryCause) {
        for key in self.accumulator.led_by(node) {
            self.fail(now, key, cause.clone(), Some(node));
        }
    }

    /// Ends a batch with an error. One that is in flight keeps its memory until its request has ended.
    pub(super) fn fail(&mut self, now: Instant, key: BatchKey, cause: DeliveryCause, node: Option<i32>) {
        let Some(batch) = self.accumulator.batch(key) else { return };
        if batch.expired {
            self.drop_expired(now, key);
            return;
        }
        // An answer ends the flight; without one the batch is still out there.
        let in_flight = batch.in_flight && node.is_none();
        let (error, records) = (self.describe(now, batch, cause, node, in_flight), batch.records);
        if !in_flight {
            self.complete(now, key, Outcome::Failed(error));
            return;
        }
        let batch = self.accumulator.expire_in_flight(key).expect("looked at above");
        let (runs, callbacks) = (std::mem::take(&mut batch.runs), std::mem::take(&mut batch.callbacks));
        let batch = self.accumulator.batch(key).expect("it stays until its request has ended");
        let (topic, partition) = self.accumulator.place(batch);
        self.note_loss(topic, records, &error, true);
        let outcome = Outcome::Failed(error);
        if callbacks.is_empty() {
            settle(&mut self.settling, runs, &outcome);
        } else {
            let topic = Arc::clone(self.hub.topics().name(topic));
            let batch = CompletedBatch { topic, partition, outcome, runs, callbacks, charge: 0 };
            self.actions.push_back(Action::Complete(batch));
        }
    }

    /// `numbered`: under numbers that brokers have seen, or that were given out and will be missing.
    fn note_loss(&mut self, topic: TopicId, records: i32, error: &DeliveryError, numbered: bool) {
        self.numbers.batch_failed(self.now, topic.0 as usize, records);
        self.lost.get_or_insert_with(|| (0, error.clone())).0 += records as usize;
        // A close that gives records up ends the transaction without a word, as it ends everything.
        if self.transactions.is_some() && !self.closed {
            self.spoiled.get_or_insert_with(|| (error.clone(), false)).1 |= numbered;
            self.dirty = true;
        }
    }

    /// The request of a batch that expired in flight has ended: its memory is free.
    fn drop_expired(&mut self, now: Instant, key: BatchKey) {
        if let Some(batch) = self.accumulator.finish(now, key, false) {
            self.released += batch.charge;
            self.accumulator.recycle(batch);
        }
    }

    fn complete(&mut self, now: Instant, key: BatchKey, outcome: Outcome) {
        let failed = matches!(outcome, Outcome::Failed(_));
        let refused = failed && self.accumulator.batch(key).is_some_and(|b| !b.may_have_been_written);
        if let Outcome::Acknowledged { base_offset, .. } = outcome {
            self.accumulator.confirm(now, key, base_offset);
        }
        let Some(batch) = self.accumulator.finish(now, key, refused) else { return };
        self.settle(batch, outcome);
    }

    /// Tells the handles of a batch that is out of every queue, by way of its callbacks if it has any.
    fn settle(&mut self, mut batch: Batch, outcome: Outcome) {
        if let Outcome::Failed(error) = &outcome {
            let (topic, _) = self.accumulator.place(&batch);
            self.note_loss(topic, batch.records, error, batch.sequence.is_some() || batch.attempts > 0);
        }
        let runs = std::mem::take(&mut batch.runs);
        if batch.callbacks.is_empty() {
            settle(&mut self.settling, runs, &outcome);
            self.released += batch.charge;
        } else {
            let callbacks = std::mem::take(&mut batch.callbacks);
            let (topic, partition) = self.accumulator.place(&batch);
            let topic = Arc::clone(self.hub.topics().name(topic));
            let charge = batch.charge;
            self.actions.push_back(Action::Complete(CompletedBatch {
                topic,
                partition,
                outcome,
                runs,
                callbacks,
                charge,
            }));
        }
        self.accumulator.recycle(batch);
    }

    fn describe(
        &self,
        now: Instant,
        batch: &Batch,
        cause: DeliveryCause,
        node: Option<i32>,
        in_flight: bool,
    ) -> DeliveryError {
        let (topic, partition) = self.accumulator.place(batch);
        let node = node.or_else(|| self.accumulator.leader(batch));
        DeliveryError::new(DeliveryFailure {
            cause,
            topic: Arc::clone(self.hub.topics().name(topic)),
            partition,
            broker: node.and_then(|n| self.brokers.nodes.get(&n)).map(|b| Arc::clone(&b.label)),
            attempts: batch.attempts,
            elapsed: now.saturating_duration_since(batch.created),
            may_have_been_written: batch.may_have_been_written || in_flight,
            last_attempt: batch
                .last_cause
                .clone()
                .or_else(|| self.metadata.obstacle(topic))
                .or_else(|| self.no_id_because.clone()),
        })
    }
}

fn broker_says(answer: &PartitionResponse) -> DeliveryCause {
    let message = answer.error_message.clone().or_else(|| {
        let (index, message) = answer.record_errors.first()?;
        Some(format!("record {index}: {}", message.as_deref().unwrap_or("no reason given")))
    });
    DeliveryCause::Broker { code: answer.error, message: message.map(|m| printable(&m)) }
}

/// What a broker writes goes into logs and terminals: no control characters, and not without end.
fn printable(text: &str) -> String {
    text.chars().take(MAX_BROKER_TEXT).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// From the next version on, topics go by id.
const LAST_VERSION_BY_NAME: i16 = 12;

const FIRST_VERSION_WITH_ZSTD: i16 = 7;

/// From the next version on, brokers add partitions to transactions by themselves.
const LAST_VERSION_OF_FIRST_PROTOCOL: i16 = 11;

const MAX_BROKER_TEXT: usize = 512;
