//! Every decision of the producer, without a clock, a socket or a thread.
//!
//! # Contract
//! Whoever drives an [`Engine`] tells it what happened (`handle_*`, each with the time), then calls
//! [`poll_action`](Engine::poll_action) until it returns `None` and carries the actions out in that order, then sleeps
//! no longer than until [`poll_timeout`](Engine::poll_timeout) and calls [`handle_timeout`](Engine::handle_timeout).
//! The same inputs in the same order give the same actions: randomness comes from the seed alone.
//!
//! ```text
//!  handle_chunk ----> accumulator ---- take_ready ----> produce ----> Transmit
//!  handle_wish -----> metadata  <------ refresh ------+    ^
//!  handle_received -> broker (frames, correlation) ---+----+--- answers -> verdict
//! ```
//!
//! The rooms beside this file do not know each other; this file, `produce.rs`, `transact.rs`, `login.rs` and `push.rs` bring
//! them together.

mod accumulator;
mod backoff;
mod broker;
#[cfg(all(feature = "testing", any(test, fuzzing)))]
pub(crate) mod by_hand;
mod completion;
#[cfg(feature = "sasl")]
mod login;
mod metadata;
mod produce;
mod push;
#[cfg(test)]
mod sim;
mod telemetry;
mod transact;
mod transactions;
mod verdict;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

#[cfg(feature = "testing")]
pub(crate) use self::verdict::leaves_in_doubt;
use self::{
    accumulator::{Accumulator, BatchKey, Limits},
    backoff::Backoff,
    broker::{Brokers, InFlight, Link, Overdue, Versions},
    metadata::{Leadership, Metadata},
    telemetry::Telemetry,
    transactions::{Ask, Transactions},
};
pub(crate) use self::{broker::ConnId, completion::CompletedBatch};
use crate::{
    config::Settings,
    error::{DeliveryCause, DeliveryError, ErrorCode},
    event::ProducerEvent,
    handoff::{Cells, Chunk, Hub, Level, Promise, Settling, TopicId},
    metrics::Numbers,
    telemetry::ClientInstanceId,
    wire::{
        api::ApiKey,
        api_versions::{ApiVersionsRequest, ApiVersionsResponse},
        frame::{self, FrameError},
        init_producer_id::{InitProducerIdRequest, InitProducerIdResponse},
        metadata::{MetadataRequest, MetadataResponse},
        primitives::{DecodeError, Reader, Uuid},
        sequence::Identity,
    },
};

/// What the shell has to do.
pub(crate) enum Action {
    /// Connect, trying every address of the host, within the time given.
    Dial { conn: ConnId, host: Arc<str>, port: u16, timeout: Duration },
    /// Work out what a mechanism has to say next, where it disturbs nobody: `handle_login` takes the outcome.
    #[cfg(feature = "sasl")]
    Login { conn: ConnId, step: crate::sasl::Step },
    /// Write a request.
    Transmit { conn: ConnId, transmit: Transmit },
    /// Close a connection; nothing more is heard of it.
    HangUp { conn: ConnId },
    /// Run the callbacks of a batch and then complete its handles, on the callback thread.
    Complete(CompletedBatch),
    /// A flush or a call about transactions is done; answer it after the callbacks that were handed over before it.
    Answer(Promise),
    /// Tell whoever listens, on the callback thread. There is somebody.
    Tell(ProducerEvent),
    /// Read everything that is measured: `handle_reading` takes it.
    ReadMetrics,
    /// Tell whoever waits for it what brokers call this client.
    Introduce(ClientInstanceId),
}

/// How a connection ended or failed to come about, as far as that says something about the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It broke, or nobody could be reached.
    Broken,
    /// The other side closed it.
    Closed,
    /// The other side closed it before the handshake of TLS was over.
    ClosedInHandshake,
    /// The other side does not let us in, or must not be trusted; the next time it will be the same.
    #[cfg_attr(
        not(feature = "tls"),
        expect(dead_code, reason = "without TLS nobody but the engine finds that out")
    )]
    Refused,
}

/// A request on its way to a socket: `head` with `bodies` put in at the positions given.
///
/// Bodies are shared, never copied: a batch that is sent again is the same bytes, and its memory is the transport's
/// until it is written or the socket is closed.
pub(crate) struct Transmit {
    pub(crate) head: Vec<u8>,
    pub(crate) bodies: Vec<(usize, Arc<Vec<u8>>)>,
}

/// A password may be in it.
#[cfg(feature = "sasl")]
impl Drop for Transmit {
    fn drop(&mut self) {
        if self.head.get(4..6) == Some(&ApiKey::SaslAuthenticate.key().to_be_bytes()) {
            zeroize::Zeroize::zeroize(&mut self.head);
        }
    }
}

/// See the [module](self).
pub(crate) struct Engine {
    settings: Arc<Settings>,
    hub: Arc<Hub>,
    random: Random,
    accumulator: Accumulator,
    metadata: Metadata,
    brokers: Brokers<Purpose>,
    /// `retry.backoff.ms`: batches, metadata, the producer id.
    retry: Backoff,
    /// `reconnect.backoff.ms`
    reconnect: Backoff,
    /// `socket.connection.setup.timeout.ms`, which grows like a backoff.
    setup: Backoff,
    producer_id: ProducerId,
    /// The last one that was given out. No cluster gives it out again, unless it is another one.
    last_producer_id: Option<i64>,
    /// Why there is none yet.
    no_id_because: Option<String>,
    /// `Some` if there is a `transactional.id`: then the identity comes from there.
    transactions: Option<Transactions>,
    /// The first record that failed since this was last looked at, for the transaction that it belongs to; and whether one
    /// of those that did was numbered.
    spoiled: Option<(DeliveryError, bool)>,
    /// `Some` if metrics are pushed to brokers that ask for them.
    telemetry: Option<Telemetry>,
    /// Until when a close waits for the end of a transaction. After that the coordinator will abort it by itself.
    transaction_ends_by: Option<Instant>,
    /// Callers wait for memory.
    pressed: bool,
    actions: VecDeque<Action>,
    settling: Settling,
    numbers: Numbers,
    /// Records that failed in this turn: how many, and the first error.
    lost: Option<(usize, DeliveryError)>,
    released: usize,
    /// The latest time heard of; nothing up to here is left to do.
    now: Instant,
    dirty: bool,
    closing: bool,
    closed: bool,
}

/// What a request in flight is for.
enum Purpose {
    ApiVersions,
    #[cfg(feature = "sasl")]
    SaslHandshake,
    #[cfg(feature = "sasl")]
    SaslAuthenticate,
    Metadata,
    InitProducerId,
    Transaction(Ask),
    Produce(Vec<Sent>),
    /// For metrics.
    Subscribe,
    /// Of metrics.
    Push,
}

/// A batch as it was named in its request: an answer is read by these names, whatever metadata says by then.
pub(super) struct Sent {
    key: BatchKey,
    topic: TopicId,
    topic_id: Uuid,
    partition: i32,
}

/// ```text
///  NotNeeded      (idempotence off)
///  Wanted --sent--> Requested --answered--> Known --used up--> Wanted
///     ^                 |
///     +---- failed -----+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProducerId {
    NotNeeded,
    Wanted { not_before: Instant, failures: u32 },
    Requested { failures: u32 },
    Known,
}

impl Engine {
    /// `hub`: topics are looked up there, and what callers should know of the cluster is published there.
    pub(crate) fn new(settings: Arc<Settings>, hub: Arc<Hub>, seed: u64, now: Instant) -> Self {
        let limits = Limits {
            batch_size: settings.batch_size,
            compression: settings.compression,
            compression_level: settings.compression_level,
            linger: settings.linger,
            delivery_timeout: settings.delivery_timeout,
            idempotent: settings.idempotence,
            one_in_flight: settings.max_in_flight == 1,
            adaptive: settings.partitioner_adaptive,
            availability_timeout: settings.partitioner_availability_timeout,
            transactional: settings.transactional_id.is_some(),
        };
        let producer_id = if settings.idempotence && settings.transactional_id.is_none() {
            ProducerId::Wanted { not_before: now, failures: 0 }
        } else {
            ProducerId::NotNeeded
        };
        Self {
            accumulator: Accumulator::new(limits),
            metadata: Metadata::new(
                now,
                settings.metadata_max_age,
                settings.metadata_max_idle,
                patience(&settings),
            ),
            brokers: Brokers::new(&settings.bootstrap),
            retry: Backoff::new(settings.retry_backoff),
            reconnect: Backoff::new(settings.reconnect_backoff),
            setup: Backoff::new(settings.setup_timeout),
            producer_id,
            last_producer_id: None,
            no_id_because: None,
            transactions: settings.transactional_id.as_ref().map(|_| Transactions::new()),
            spoiled: None,
            telemetry: settings.metrics_push.then(|| Telemetry::new(now)),
            transaction_ends_by: None,
            pressed: false,
            actions: VecDeque::new(),
            settling: Settling::new(),
            numbers: Numbers::new(settings.metrics_shape),
            lost: None,
            released: 0,
            now,
            dirty: false,
            closing: false,
            closed: false,
            random: Random(seed),
            settings,
            hub,
        }
    }

    // ---- what callers did

    pub(crate) fn handle_chunk(&mut self, now: Instant, mut chunk: Chunk) {
        self.woken(now);
        let opened = chunk.opened();
        let mut last_topic = None;
        while let Some(record) = chunk.take_next() {
            if last_topic != Some(record.topic) {
                last_topic = Some(record.topic);
                self.metadata.track(now, record.topic, self.hub.topics().name(record.topic));
            }
            let random = &mut self.random;
            self.accumulator.append(now, opened, record, &mut || random.next());
        }
        self.hub.recycle(chunk.into_buffer());
    }

    /// A caller needs a topic's metadata, or newer ones than there are.
    pub(crate) fn handle_wish(&mut self, now: Instant, topic: TopicId) {
        self.woken(now);
        self.metadata.track(now, topic, self.hub.topics().name(topic));
        self.metadata.want(now);
    }

    /// A caller blocks on a handle: the batch that holds its record lingers no longer. `false` if the record has not
    /// arrived here yet.
    pub(crate) fn handle_get(&mut self, now: Instant, cells: &Arc<Cells>, cell: u16) -> bool {
        self.woken(now);
        if !cells.is_pending(cell) {
            return true;
        }
        let Some(place) = cells.place(cell) else { return false };
        self.accumulator.hasten(now, place, cells, cell);
        true
    }

    /// Callers wait for memory, or do not any more.
    pub(crate) fn handle_memory_pressure(&mut self, now: Instant, waiting: bool) {
        self.woken(now);
        self.pressed = waiting;
        self.set_hurry(now);
    }

    /// Whether batches linger.
    fn set_hurry(&mut self, now: Instant) {
        let completing = self.transactions.as_ref().is_some_and(Transactions::is_completing);
        self.accumulator.set_hurry(now, self.pressed || self.closing || completing);
    }

    pub(crate) fn handle_flush(&mut self, now: Instant, promise: Promise) {
        self.woken(now);
        self.accumulator.begin_flush(now, promise);
    }

    /// Nothing more will come: send what there is.
    pub(crate) fn handle_close(&mut self, now: Instant) {
        self.woken(now);
        self.closing = true;
        self.set_hurry(now);
        if let Some(transactions) = &mut self.transactions {
            transactions.close();
            self.transaction_ends_by = Some(now + self.settings.delivery_timeout);
        }
    }

    /// Ends at once: whatever is not acknowledged fails. Returns how many records that were, and the first error.
    pub(crate) fn handle_forced_close(&mut self, now: Instant) -> Option<(usize, DeliveryError)> {
        self.woken(now);
        self.closing = true;
        self.closed = true;
        let failed = self.fail_all(now, &DeliveryCause::Closed);
        let conns: Vec<ConnId> = self.brokers.nodes.values().filter_map(broker::Broker::conn).collect();
        for conn in conns {
            self.actions.push_back(Action::HangUp { conn });
        }
        failed
    }

    // ---- what the network did

    pub(crate) fn handle_connected(&mut self, now: Instant, conn: ConnId) {
        self.woken(now);
        let Some(node) = self.brokers.node_of(conn) else { return };
        if self.brokers.connected(now, node).is_some() {
            self.numbers.connections_made.add(self.numbers.at(now), 1);
            self.ask_versions(now, node);
        }
    }

    /// A dial failed or a connection ended; `cause` says why and where.
    pub(crate) fn handle_disconnected(&mut self, now: Instant, conn: ConnId, ending: Ending, cause: String) {
        self.woken(now);
        match ending {
            Ending::Broken => self.lose(now, conn, &cause),
            Ending::Closed | Ending::ClosedInHandshake => {
                match self.brokers.closed_without_answer(conn, ending == Ending::ClosedInHandshake) {
                    None => self.lose(now, conn, &cause),
                    Some(telling) => self.refused(now, conn, &format!("{cause}; {telling}")),
                }
            }
            Ending::Refused => self.refused(now, conn, &cause),
        }
    }

    pub(crate) fn handle_received(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.woken(now);
        if let Some(node) = self.brokers.node_of(conn) {
            self.numbers.bytes_received(now, node, bytes.len());
        }
        if let Some(session) = self.session(conn) {
            session.frames.push(bytes);
        }
        loop {
            let Some(session) = self.session(conn) else { return };
            let Some(oldest) = session.in_flight.front() else {
                self.hang_up(now, conn, "it sent an answer that nobody asked for");
                return;
            };
            match session.frames.next(oldest.api) {
                Ok(None) => return,
                Ok(Some(frame)) => {
                    let request = session.in_flight.pop_front().expect("looked at above");
                    self.handle_answer(now, conn, request, &frame);
                    if self.session(conn).is_none_or(|s| s.in_flight.is_empty() && !s.frames.is_mid_frame()) {
                        return;
                    }
                }
                Err(error @ FrameError::Tls) => {
                    self.actions.push_back(Action::HangUp { conn });
                    self.refused(now, conn, &error.to_string());
                    return;
                }
                Err(error) => {
                    self.hang_up(now, conn, &error.to_string());
                    return;
                }
            }
        }
    }

    /// One request, in order, has gone to the kernel completely.
    pub(crate) fn handle_written(&mut self, now: Instant, conn: ConnId) {
        let written = self.session(conn).and_then(|s| s.unwritten.pop_front());
        if let Some(Purpose::Produce(sent)) = written.and_then(|w| w.purpose) {
            self.woken(now);
            self.unacknowledged(now, sent);
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.woken(now);
    }

    // ---- what is to be done

    /// The next thing to do, in order.
    pub(crate) fn poll_action(&mut self, now: Instant) -> Option<Action> {
        loop {
            if let Some(action) = self.actions.pop_front() {
                return Some(action);
            }
            if !std::mem::take(&mut self.dirty) {
                self.settling.finish();
                return None;
            }
            self.work(now);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due; `None`: not before something else happens.
    pub(crate) fn poll_timeout(&mut self) -> Option<Instant> {
        let now = self.now;
        let transaction = self.transaction_waits();
        let (transaction_at, coordinator) = transaction.unwrap_or_default();
        let transaction_is_due = transaction.is_some() && transaction_at.is_none_or(|at| at <= now);
        let wants_any_broker = self.metadata.next_due().is_some_and(|at| at <= now)
            || self.id_is_due(now)
            || (transaction_is_due && coordinator.is_none())
            || self.metrics_want_a_broker(now);
        let id = match self.producer_id {
            ProducerId::Wanted { not_before, .. } if self.has_use_for_an_id() => Some(not_before),
            _ => None,
        };
        let ready = self.accumulator.ready_nodes(now);
        let brokers = self.brokers.nodes.iter().filter_map(|(node, broker)| {
            let wanted = ready.contains(node)
                || (wants_any_broker && broker.listed)
                || (transaction_is_due && coordinator == Some(*node))
                || self.has_metrics_for(now, &broker.link);
            let retry = if matches!(broker.link, Link::Down) { broker.retry_at } else { None };
            wanted.then_some([retry, broker.throttled_until])
        });
        let brokers = brokers.flatten().flatten().filter(|at| *at > now).min();
        [
            self.accumulator.next_deadline(),
            self.brokers.next_deadline(self.settings.connections_max_idle),
            self.metadata.next_due(),
            id,
            brokers,
            transaction_at,
            self.transaction_ends_by.filter(|_| self.closing),
            self.telemetry.as_ref().and_then(Telemetry::next_due),
        ]
        .into_iter()
        .flatten()
        .filter(|at| *at > now)
        .min()
    }

    /// What must wake the shell from its sleep.
    pub(crate) fn appetite(&mut self) -> Level {
        let in_flight = self.accumulator.in_flight();
        if in_flight == 0 && self.accumulator.unsettled() == 0 {
            return Level::AnyRecord;
        }
        if in_flight == 0 {
            return if self.settings.linger.is_zero() { Level::AnyRecord } else { Level::AnyChunk };
        }
        let (now, max) = (self.now, self.settings.max_in_flight);
        // The addresses that the user gave lead nothing.
        let mut leaders = self.brokers.nodes.range_mut(0..);
        let has_room = leaders.any(|(_, broker)| broker.can_take(now, max).is_some());
        match (has_room, self.settings.linger.is_zero()) {
            (false, _) => Level::NothingButUrgent,
            (true, true) => Level::AnyRecord,
            (true, false) => Level::ManyChunks,
        }
    }

    /// Whether a broker has batches that it has not answered for.
    pub(crate) fn has_in_flight(&self) -> bool {
        self.accumulator.in_flight() > 0
    }

    /// Bytes to give back to `buffer.memory`.
    pub(crate) fn take_released(&mut self) -> usize {
        std::mem::take(&mut self.released)
    }

    /// What was counted up to now.
    pub(crate) fn numbers(&mut self, now: Instant) -> Numbers {
        let sessions = || self.brokers.nodes.values().filter_map(broker::Broker::peek);
        let mut numbers = self.numbers.clone();
        numbers.connections = sessions().count();
        numbers.requests_in_flight = sessions().map(|session| session.in_flight.len()).sum();
        numbers.metadata_age = self.metadata.age(now).map_or(f64::NAN, |age| age.as_secs_f64());
        numbers
    }

    /// As [`numbers`](Self::numbers), once everything is over and all connections are about to be closed.
    pub(crate) fn last_numbers(&mut self, now: Instant) -> Numbers {
        let mut numbers = self.numbers(now);
        numbers.connections_closed.add(numbers.at(now), numbers.connections as u64);
        numbers.connections = 0;
        numbers
    }

    /// The thread has slept since `begun`, and had worked since `woken`.
    pub(crate) fn turned(&mut self, woken: Instant, begun: Instant, now: Instant) {
        self.numbers.turned(woken, begun, now);
    }

    /// A close was asked for, and nothing is left to do.
    pub(crate) fn is_finished(&self) -> bool {
        self.closed || (self.is_drained() && self.has_said_farewell())
    }

    fn is_drained(&self) -> bool {
        self.closing && self.accumulator.unsettled() == 0 && self.has_no_open_transaction()
    }

    fn has_said_farewell(&self) -> bool {
        self.telemetry.as_ref().is_none_or(|telemetry| telemetry.has_said_farewell(self.now))
    }

    // ---- the work of a turn

    fn work(&mut self, now: Instant) {
        self.accumulator.advance(now);
        self.expire(now);
        self.give_up_doomed(now);
        for (conn, overdue) in self.brokers.overdue(now, self.settings.connections_max_idle) {
            self.hang_up_overdue(now, conn, overdue);
        }
        if self.accumulator.take_leaderless() {
            self.metadata.want(now);
        }
        #[cfg(feature = "sasl")]
        self.renew_logins(now);
        self.refresh_metadata(now);
        self.get_producer_id(now);
        self.transact(now);
        self.send_ready(now);
        self.give_up_doomed(now);
        self.push_metrics(now);
        while let Some(promise) = self.accumulator.pop_flushed() {
            self.actions.push_back(Action::Answer(promise));
        }
        for (topic, partition, identity) in self.accumulator.take_restarted() {
            self.tell(|engine| ProducerEvent::EpochRaised {
                topic: Arc::clone(engine.hub.topics().name(topic)),
                partition,
                producer_id: identity.id,
                epoch: identity.epoch,
            });
        }
        // Their handles may have been dropped: then this is all that anybody learns. One line a turn, however many fail.
        if let Some((records, first)) = self.lost.take() {
            log::warn!("{records} records were not delivered, the first of them because: {first}");
        }
    }

    fn refresh_metadata(&mut self, now: Instant) {
        if self.settings.metadata_recovery_rebootstrap
            && self.metadata.overdue(now) > self.settings.rebootstrap_trigger
        {
            self.rebootstrap(now, "no metadata for metadata.recovery.rebootstrap.trigger.ms");
        }
        if !self.metadata.is_due(now) {
            return;
        }
        let Some(node) = self.any_broker(now, self.metadata.is_awaited()) else { return };
        let version = match self.usable(node, ApiKey::Metadata) {
            Ok(version) => version,
            Err(reason) => {
                let pause = self.pause_of_metadata();
                self.metadata.postpone(now, pause);
                self.negotiate_anew(now, node, &reason);
                self.note_metadata_error(reason);
                return;
            }
        };
        let names = self.metadata.begin(now);
        let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        let request = MetadataRequest { topics: Some(&names), allow_auto_topic_creation: true };
        self.request(now, node, ApiKey::Metadata, version, Purpose::Metadata, |out| {
            request.encode(version, out)
        });
    }

    /// A broker that can be asked now. If there is none, one is dialed. `promptly`: not one that keeps others waiting.
    fn any_broker(&mut self, now: Instant, promptly: bool) -> Option<i32> {
        let (max, patience) = (self.settings.max_in_flight, patience(&self.settings));
        for _ in 0..2 {
            let random = self.random.next();
            match self.brokers.least_loaded(now, max, patience, promptly, random) {
                Ok(node) => return Some(node),
                Err(Some(node)) => {
                    self.dial(now, node);
                    return None;
                }
                Err(None) => {
                    let rebootstrap = self.settings.metadata_recovery_rebootstrap;
                    if !rebootstrap || self.brokers.any_ready() || self.brokers.any_connecting() {
                        return None;
                    }
                    self.brokers.use_bootstrap();
                }
            }
        }
        None
    }

    /// Whoever is known is not to be trusted any more: starts again from the addresses that the user gave (KIP-899,
    /// KIP-1102). Records wait meanwhile.
    fn rebootstrap(&mut self, now: Instant, why: &str) {
        log::warn!("starting again from bootstrap.servers: {why}");
        self.tell(|_| ProducerEvent::Rebootstrapped { reason: why.to_owned() });
        let conns: Vec<ConnId> =
            self.brokers.nodes.iter().filter(|(node, _)| **node >= 0).filter_map(|(_, b)| b.conn()).collect();
        for conn in conns {
            self.hang_up(now, conn, why);
        }
        self.brokers.use_bootstrap_alone();
        for change in self.metadata.start_again(now) {
            self.lead(now, change);
        }
        self.publish();
    }

    fn has_use_for_an_id(&self) -> bool {
        self.accumulator.unsettled() > 0 || self.metadata.tracks_anything()
    }

    fn id_is_due(&self, now: Instant) -> bool {
        matches!(self.producer_id, ProducerId::Wanted { not_before, .. } if not_before <= now)
            && self.has_use_for_an_id()
    }

    fn get_producer_id(&mut self, now: Instant) {
        if self.accumulator.wants_new_identity() && self.producer_id == ProducerId::Known {
            self.producer_id = ProducerId::Wanted { not_before: now, failures: 0 };
        }
        let ProducerId::Wanted { failures, .. } = self.producer_id else { return };
        if !self.id_is_due(now) {
            return;
        }
        let Some(node) = self.any_broker(now, false) else { return };
        let version = match self.usable(node, ApiKey::InitProducerId) {
            Ok(version) => version,
            Err(reason) => {
                self.negotiate_anew(now, node, &reason);
                self.no_producer_id(now, failures, ErrorCode::UNSUPPORTED_VERSION, Some(reason));
                return;
            }
        };
        self.producer_id = ProducerId::Requested { failures };
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: i32::MAX,
            producer_id: -1,
            producer_epoch: -1,
        };
        self.request(now, node, ApiKey::InitProducerId, version, Purpose::InitProducerId, |out| {
            request.encode(version, out);
        });
    }

    fn no_producer_id(&mut self, now: Instant, failures: u32, code: ErrorCode, message: Option<String>) {
        let pause = self.retry.delay(failures, self.random.next());
        self.producer_id =
            ProducerId::Wanted { not_before: now + pause, failures: failures.saturating_add(1) };
        let what = "asking for a producer id (enable.idempotence)";
        let message = message.map_or_else(|| what.to_owned(), |message| format!("{what}: {message}"));
        if code.is_retriable() {
            log::debug!("{message}: {code}");
            self.no_id_because = Some(code.named_with(Some(&message)));
            return;
        }
        log::warn!("{message}: {code}");
        self.fail_all(now, &DeliveryCause::Broker { code, message: Some(message) });
    }

    // ---- answers

    fn handle_answer(&mut self, now: Instant, conn: ConnId, request: InFlight<Purpose>, frame: &[u8]) {
        let mut reader = Reader::new(frame);
        let correlation = frame::response_header(request.api, request.version, &mut reader);
        let body = &frame[reader.position()..];
        let Some(node) = self.brokers.node_of(conn) else { return };
        self.numbers.response_received(now, node);
        let result = match correlation {
            Ok(correlation) if correlation != request.correlation => Err((
                request.purpose,
                format!("it answered request {correlation} where {} was due", request.correlation),
            )),
            Err(error) => Err((request.purpose, broken(request.api, &error))),
            Ok(_) => match request.purpose {
                Purpose::ApiVersions => self.versions_answered(now, node, request.version, body),
                #[cfg(feature = "sasl")]
                Purpose::SaslHandshake => self.handshake_answered(now, conn, body),
                #[cfg(feature = "sasl")]
                Purpose::SaslAuthenticate => self.proof_answered(now, conn, request.version, body),
                Purpose::Metadata => {
                    self.brokers.answered(node);
                    self.metadata_answered(now, node, request.version, body)
                }
                Purpose::InitProducerId => self.id_answered(now, node, request.version, body),
                Purpose::Transaction(ask) => self.transaction_answered(now, node, request.version, body, ask),
                Purpose::Produce(sent) => {
                    self.numbers.produce_answered(now, node, request.sent);
                    self.produce_answered(now, node, request.version, body, sent)
                }
                Purpose::Subscribe => self.subscription_answered(now, request.version, body),
                Purpose::Push => self.push_answered(now, request.version, body),
            },
        };
        if let Err((purpose, cause)) = result {
            self.give_up(now, node, purpose, &cause);
            self.hang_up(now, conn, &cause);
        }
    }

    fn versions_answered(&mut self, now: Instant, node: i32, version: i16, body: &[u8]) -> Answered {
        let answer = ApiVersionsResponse::decode(version, body)
            .map_err(|e| (Purpose::ApiVersions, broken(ApiKey::ApiVersions, &e)))?;
        if answer.error == ErrorCode::UNSUPPORTED_VERSION && version > 0 {
            // The broker lists what it can do in any case; if not, every broker knows version 0.
            let offered = answer.api_keys.iter().find(|(key, ..)| *key == ApiKey::ApiVersions.key());
            let lower = offered.map_or(0, |(_, _, max)| (*max).clamp(0, version - 1));
            if let Some(broker) = self.brokers.get(node) {
                broker.greets_in = lower;
            }
            self.ask_versions(now, node);
            return Ok(());
        }
        if answer.error == ErrorCode::REBOOTSTRAP_REQUIRED && self.settings.metadata_recovery_rebootstrap {
            self.rebootstrap(now, "a broker belongs to another cluster or is another node than it was");
            return Ok(());
        }
        if answer.error != ErrorCode::NONE {
            return Err((Purpose::ApiVersions, format!("it refused ApiVersions: {}", answer.error)));
        }
        self.brokers.note_features(&answer);
        let (pause, versions) = (answer.throttle_time_ms, Versions::new(&answer));
        #[cfg(feature = "sasl")]
        if self.settings.login.is_some()
            && let Some(session) = self.brokers.get(node).and_then(|broker| broker.session())
            && matches!(session.proof, broker::Proof::Absent)
        {
            session.versions = versions;
            return self.begin_login(now, node);
        }
        self.opened(now, node, versions);
        self.throttle(now, node, version >= 2, pause);
        Ok(())
    }

    /// The broker takes requests.
    fn opened(&mut self, now: Instant, node: i32, versions: Versions) {
        self.brokers.negotiated(now, node, versions);
        if let Some(broker) = self.brokers.get(node) {
            log::info!("connected to {}", broker.label);
        }
        self.tell_of(node, |node, broker| ProducerEvent::Connected { node, broker });
    }

    fn metadata_answered(&mut self, now: Instant, node: i32, version: i16, body: &[u8]) -> Answered {
        let answer = MetadataResponse::decode(version, &mut Reader::new(body))
            .map_err(|e| (Purpose::Metadata, broken(ApiKey::Metadata, &e)))?;
        self.throttle(now, node, version >= 6, answer.throttle_time_ms);
        if answer.error != ErrorCode::NONE || answer.brokers.is_empty() {
            self.metadata_failed(now);
            if answer.error == ErrorCode::REBOOTSTRAP_REQUIRED && self.settings.metadata_recovery_rebootstrap
            {
                self.rebootstrap(now, "a broker asked for it");
            }
            self.note_metadata_error(match answer.error {
                ErrorCode::NONE => "the broker named no brokers in its answer".into(),
                code => code.to_string(),
            });
            return Ok(());
        }
        for moved in self.brokers.update(&answer.brokers, true) {
            if let Some(conn) = self.brokers.get(moved.node_id).and_then(|b| b.conn()) {
                self.hang_up(now, conn, "the node has moved to another address");
            }
            self.brokers.replace(&moved);
        }
        let (accumulator, retry, random) = (&self.accumulator, self.retry, self.random.next());
        let pause = |fruitless| retry.delay(fruitless, random);
        let changes =
            self.metadata.apply(now, &answer, version >= 9, pause, |topic| accumulator.has_batches(topic));
        let moved = self.metadata.take_moved();
        if moved && let Some(transactions) = &mut self.transactions {
            transactions.fatal(None, "the cluster is another one than it was");
        } else if moved && self.producer_id != ProducerId::NotNeeded {
            // The id may be another producer's here. In the cluster that was left it is still ours, so it must be
            // certain that this is another one: whatever may lie there is sent again under other numbers.
            self.accumulator.forget_identity(now);
            self.last_producer_id = None;
        }
        for change in changes {
            self.lead(now, change);
        }
        self.publish();
        Ok(())
    }

    fn id_answered(&mut self, now: Instant, node: i32, version: i16, body: &[u8]) -> Answered {
        let answer = InitProducerIdResponse::decode(version, &mut Reader::new(body))
            .map_err(|e| (Purpose::InitProducerId, broken(ApiKey::InitProducerId, &e)))?;
        self.throttle(now, node, version >= 1, answer.throttle_time_ms);
        let ProducerId::Requested { failures } = self.producer_id else { return Ok(()) };
        if answer.error != ErrorCode::NONE {
            self.no_producer_id(now, failures, answer.error, None);
        } else if answer.producer_id < 0 || answer.producer_epoch < 0 {
            let nonsense = format!("producer id {} epoch {}", answer.producer_id, answer.producer_epoch);
            return Err((Purpose::InitProducerId, format!("it gave out {nonsense}")));
        } else if self.last_producer_id == Some(answer.producer_id) {
            // Its numbers are used, so what is sent under them would be taken for what was sent before.
            let twice = format!("it gave out producer id {} a second time", answer.producer_id);
            return Err((Purpose::InitProducerId, twice));
        } else {
            self.producer_id = ProducerId::Known;
            self.last_producer_id = Some(answer.producer_id);
            self.no_id_because = None;
            let identity = Identity { id: answer.producer_id, epoch: answer.producer_epoch };
            log::debug!("producer id {} epoch {}", identity.id, identity.epoch);
            self.tell_identity(identity);
            self.accumulator.set_identity(now, Some(identity));
        }
        Ok(())
    }

    fn metadata_failed(&mut self, now: Instant) {
        let pause = self.pause_of_metadata();
        self.metadata.fail(now, pause);
    }

    fn pause_of_metadata(&mut self) -> Duration {
        self.retry.delay(self.metadata.failures(), self.random.next())
    }

    /// What becomes of a request that will not be answered.
    fn give_up(&mut self, now: Instant, node: i32, purpose: Purpose, cause: &str) {
        match purpose {
            Purpose::ApiVersions => {}
            #[cfg(feature = "sasl")]
            Purpose::SaslHandshake | Purpose::SaslAuthenticate => {}
            Purpose::Metadata => self.metadata_failed(now),
            Purpose::InitProducerId => {
                if let ProducerId::Requested { failures } = self.producer_id {
                    self.no_producer_id(now, failures, ErrorCode::NETWORK_EXCEPTION, Some(cause.to_owned()));
                }
            }
            Purpose::Transaction(ask) => self.transaction_unanswered(now, &ask),
            Purpose::Produce(sent) => self.produce_unanswered(now, node, sent, cause),
            Purpose::Subscribe | Purpose::Push => self.metrics_lost(now),
        }
    }

    fn throttle(&mut self, now: Instant, node: i32, by_client: bool, pause_ms: i32) {
        self.numbers.throttle_time.record(self.numbers.at(now), f64::from(pause_ms.max(0)));
        if by_client
            && pause_ms > 0
            && let Some(broker) = self.brokers.get(node)
        {
            // A pause that outlasts every record that waits for its end is a mistake, and would never be noticed.
            let pause = Duration::from_millis(pause_ms as u64).min(self.settings.delivery_timeout);
            broker.throttle(now, pause);
            self.tell_of(node, |node, broker| ProducerEvent::Throttled { node, broker, duration: pause });
        }
    }

    fn lead(&mut self, now: Instant, change: Leadership) {
        let rack = self.settings.rack_aware.then_some(self.settings.client_rack.as_str());
        let in_rack = rack.is_some_and(|rack| self.brokers.in_rack(change.leader, rack));
        let place = (change.topic, change.partition);
        if let (Some(from), Some(to)) = (change.moved_from, change.leader) {
            let partition = change.partition;
            self.tell(|engine| {
                let topic = Arc::clone(engine.hub.topics().name(change.topic));
                ProducerEvent::LeaderMoved { topic, partition, from, to }
            });
        }
        self.accumulator.set_existing(place, change.exists);
        self.accumulator.set_leader(now, place, change.leader, change.epoch, in_rack, change.recreated);
    }

    fn publish(&mut self) {
        self.hub.published().publish(self.metadata.snapshot());
    }

    /// Tells whoever waits for metadata what stands in the way.
    fn note_metadata_error(&mut self, error: String) {
        if self.metadata.last_error.as_ref() != Some(&error) {
            self.metadata.last_error = Some(error);
            self.publish();
        }
    }

    // ---- connections

    fn dial(&mut self, now: Instant, node: i32) {
        let (setup, random) = (self.setup, self.random.next());
        let (conn, timeout) = self.brokers.dial(now, node, |failures| setup.delay(failures, random));
        let broker = self.brokers.get(node).expect("dialed above");
        log::debug!("connecting to {}", broker.label);
        let (host, port) = (Arc::clone(&broker.host), broker.port);
        self.actions.push_back(Action::Dial { conn, host, port, timeout });
    }

    fn hang_up_overdue(&mut self, now: Instant, conn: ConnId, overdue: Overdue) {
        match overdue {
            Overdue::Setup => {
                self.hang_up(now, conn, "no connection within socket.connection.setup.timeout.ms");
            }
            Overdue::Request(api, waited) => {
                let limit = self.settings.request_timeout;
                self.hang_up(
                    now,
                    conn,
                    &format!(
                        "no answer to {} in {waited:.1?} (request.timeout.ms={})",
                        api.name(),
                        limit.as_millis()
                    ),
                );
            }
            Overdue::Write => {
                let limit = self.settings.request_timeout.as_millis();
                self.hang_up(
                    now,
                    conn,
                    &format!("a request could not be written (request.timeout.ms={limit})"),
                );
            }
            Overdue::Idle => self.retire(now, conn),
        }
    }

    /// Closes a connection that nobody uses. Unlike one that is lost it casts no doubt on anything: were metadata asked for
    /// because of it, an idle producer would connect again for ever.
    fn retire(&mut self, now: Instant, conn: ConnId) {
        self.count_end(now, conn);
        if let Some(retired) = self.brokers.lost(now, conn, |_| Duration::ZERO) {
            log::info!("closed the connection to {}: {IDLE}", retired.label);
            self.tell_of(retired.node, |node, broker| ProducerEvent::Disconnected {
                node,
                broker,
                reason: IDLE.to_owned(),
            });
            self.actions.push_back(Action::HangUp { conn });
        }
    }

    /// A connection ends, if it ever was one.
    fn count_end(&mut self, now: Instant, conn: ConnId) {
        if self.session(conn).is_some() {
            self.numbers.connections_closed.add(self.numbers.at(now), 1);
        }
    }

    fn hang_up(&mut self, now: Instant, conn: ConnId, cause: &str) {
        if self.brokers.node_of(conn).is_some() {
            self.actions.push_back(Action::HangUp { conn });
            self.lose(now, conn, cause);
        }
    }

    fn lose(&mut self, now: Instant, conn: ConnId, cause: &str) {
        self.count_end(now, conn);
        let (reconnect, random) = (self.reconnect, self.random.next());
        let Some(lost) = self.brokers.lost(now, conn, |failures| reconnect.delay(failures, random)) else {
            return;
        };
        if lost.is_unreachable {
            let look_at =
                if lost.node < 0 { "bootstrap.servers" } else { "the brokers' advertised.listeners" };
            log::warn!(
                "no connection to {}: {cause}; it is tried again and again (look at the network, the broker and {look_at})",
                lost.label
            );
        } else {
            log::info!("no connection to {}: {cause}", lost.label);
        }
        self.tell_of(lost.node, |node, broker| {
            let reason = cause.to_owned();
            if lost.was_ready {
                ProducerEvent::Disconnected { node, broker, reason }
            } else {
                ProducerEvent::ConnectionFailed { node, broker, reason }
            }
        });
        for purpose in lost.requests {
            self.give_up(now, lost.node, purpose, cause);
        }
        if let Some(transactions) = &mut self.transactions {
            transactions.node_lost(lost.node);
        }
        // Whatever it led may have another leader by now: a broker that cannot be reached is as telling as one that
        // hangs up.
        self.metadata.want_newer(now);
        self.note_metadata_error(format!("no connection to {}: {cause}", lost.label));
        if let Some(reason) = self.brokers.refusal_of_all() {
            self.metadata.note_rejection(reason.to_string());
            self.publish();
        }
        self.dirty = true;
    }

    /// A broker does not let us in, or must not be trusted. That is no matter of time: what only it could take fails at
    /// once, and so does whoever waits for metadata, once nobody else is left to ask. It is tried again as long as
    /// somebody has a use for it, since the cause can be mended at the other end.
    fn refused(&mut self, now: Instant, conn: ConnId, cause: &str) {
        let Some(node) = self.brokers.node_of(conn) else { return };
        let Some(broker) = self.brokers.get(node) else { return };
        let reason: Arc<str> = format!("{}: {cause}", broker.label).into();
        if broker.refusal.replace(Arc::clone(&reason)).as_deref() != Some(&*reason) {
            log::error!("a broker cannot be used: {reason}");
        }
        self.lose(now, conn, cause);
        self.fail_led_by(now, node, &DeliveryCause::Rejected { reason });
    }

    fn session(&mut self, conn: ConnId) -> Option<&mut broker::Session<Purpose>> {
        let node = self.brokers.node_of(conn)?;
        self.brokers.get(node)?.session()
    }

    fn usable(&mut self, node: i32, api: ApiKey) -> Result<i16, String> {
        self.usable_up_to(node, api, i16::MAX)
    }

    fn usable_up_to(&mut self, node: i32, api: ApiKey, at_most: i16) -> Result<i16, String> {
        let broker = self.brokers.get(node).expect("a node that was chosen is known");
        let label = Arc::clone(&broker.label);
        let session = broker.session().expect("a node that was chosen is connected");
        session
            .usable(api, at_most)
            .map_err(|reason| format!("broker {label} is too old or too new: {reason}"))
    }

    /// What a broker offers is asked once a connection, and this one cannot be used with it. The next one may tell
    /// another story: the broker was upgraded, or the answer was damaged.
    pub(super) fn negotiate_anew(&mut self, now: Instant, node: i32, reason: &str) {
        if let Some(conn) = self.brokers.get(node).and_then(|b| b.conn()) {
            self.hang_up(now, conn, reason);
        }
    }

    /// The first request on a connection. Only a broker that can check it is told whom it is meant for, and only where
    /// it is known: at a bootstrap address any broker will do.
    fn ask_versions(&mut self, now: Instant, node: i32) {
        let greets_in = self.brokers.get(node).map_or(0, |b| b.greets_in);
        let checks = self.checks_cluster(node);
        let cluster = self.metadata.cluster_id.clone().filter(|_| checks);
        let version = greets_in.min(if cluster.is_some() { CHECKING_VERSION } else { CHECKING_VERSION - 1 });
        let request = ApiVersionsRequest {
            software_name: SOFTWARE_NAME,
            software_version: SOFTWARE_VERSION,
            addressee: cluster.as_deref().map(|cluster| (cluster, node)),
        };
        self.request(now, node, ApiKey::ApiVersions, version, Purpose::ApiVersions, |out| {
            request.encode(version, out);
        });
    }

    /// Whether a broker is to be told whom a request is meant for. That it may check only once it knows who asks.
    fn checks_cluster(&mut self, node: i32) -> bool {
        let settings = &self.settings;
        let checks = settings.cluster_check && settings.metadata_recovery_rebootstrap && node >= 0;
        #[cfg(feature = "sasl")]
        if checks && settings.login.is_some() {
            let session = self.brokers.get(node).and_then(|broker| broker.session());
            return self.metadata.cluster_id.is_some()
                && session.is_some_and(|session| {
                    matches!(session.proof, broker::Proof::Given { .. })
                        && session.versions.offers(ApiKey::ApiVersions, CHECKING_VERSION)
                });
        }
        checks
    }

    fn request(
        &mut self,
        now: Instant,
        node: i32,
        api: ApiKey,
        version: i16,
        purpose: Purpose,
        body: impl FnOnce(&mut Vec<u8>),
    ) {
        let deadline = now + self.settings.request_timeout;
        let session =
            self.brokers.get(node).and_then(|b| b.session()).expect("a node that is asked is connected");
        let correlation = session.next_correlation();
        let head = frame::request(api, version, correlation, &self.settings.client_id, body);
        let conn = session.conn;
        session.sent(now, InFlight { correlation, api, version, sent: now, deadline, purpose });
        self.numbers.request_sent(now, node, head.len());
        self.actions.push_back(Action::Transmit { conn, transmit: Transmit { head, bodies: Vec::new() } });
    }

    // ---- who listens

    /// Tells of what happened, if anybody listens.
    fn tell(&mut self, event: impl FnOnce(&Self) -> ProducerEvent) {
        if !self.settings.event_listeners.is_empty() {
            let event = event(self);
            self.actions.push_back(Action::Tell(event));
        }
    }

    /// As [`tell`](Self::tell), of something that has to do with a broker.
    fn tell_of(&mut self, node: i32, event: impl FnOnce(Option<i32>, Arc<str>) -> ProducerEvent) {
        self.tell(|engine| {
            let label = engine.brokers.nodes.get(&node).map(|broker| Arc::clone(&broker.label));
            event((node >= 0).then_some(node), label.unwrap_or_default())
        });
    }

    fn tell_identity(&mut self, identity: Identity) {
        self.tell(|_| ProducerEvent::ProducerIdAssigned { producer_id: identity.id, epoch: identity.epoch });
    }

    fn woken(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.dirty = true;
    }
}

/// Done, or the request is not answered and the broker does not make sense: why.
type Answered = Result<(), (Purpose, String)>;

fn broken(api: ApiKey, error: &DecodeError) -> String {
    format!("its answer to {} makes no sense: {error}", api.name())
}

/// How long a broker may owe an answer before it is asked last: three seconds by default. It may be stalled, and
/// `request.timeout.ms` is a long time for whoever waits for metadata.
fn patience(settings: &Settings) -> Duration {
    settings.request_timeout / 10
}

/// Small, fast and the same for the same seed; jitter and the choice of partitions need no more.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// The version of ApiVersions that says whom it is meant for.
const CHECKING_VERSION: i16 = 5;

const IDLE: &str = "idle for connections.max.idle.ms";

const SOFTWARE_NAME: &str = env!("CARGO_PKG_NAME");
const SOFTWARE_VERSION: &str = env!("CARGO_PKG_VERSION");
