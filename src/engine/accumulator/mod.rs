//! Batches, one queue a partition: what is open, what is due, what is in flight and what comes back.
//!
//! Brokers, sockets and clocks are strangers here: callers pass `now`, say who leads what, and take what is due for a
//! node. A batch that is tried again goes back to where it stood in its queue. Queues are never forgotten, however
//! their topic comes and goes: a sequence that started again under the same epoch would be taken for a duplicate.

mod batch;
mod flush;
mod ratio;
mod sequences;
mod sticky;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

pub(super) use self::batch::{Batch, Slot};
use self::{
    flush::FlushLedger,
    ratio::Ratio,
    sequences::Sequences,
    sticky::{Candidate, Sticky},
};
use crate::{
    config::Compression,
    handoff::{Cells, Promise, RecordView, TopicId},
    wire::{batch::HEADER_LEN, codec::Compressor, sequence::Identity},
};

/// Names a batch until it is finished, and nothing after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BatchKey {
    index: u32,
    generation: u32,
}

#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) batch_size: usize,
    pub(super) compression: Compression,
    pub(super) compression_level: i32,
    pub(super) linger: Duration,
    pub(super) delivery_timeout: Duration,
    pub(super) idempotent: bool,
    /// One batch of a partition in flight at most: what keeps the order without idempotence.
    pub(super) one_in_flight: bool,
    pub(super) adaptive: bool,
    pub(super) availability_timeout: Option<Duration>,
    /// Batches belong to transactions: a partition gets none before it is [admitted](Accumulator::admit), and a sequence
    /// that breaks stays broken until the next identity.
    pub(super) transactional: bool,
}

pub(super) struct Accumulator {
    limits: Limits,
    topics: Vec<TopicQueues>,
    queues: Vec<Queue>,
    batches: Vec<Entry>,
    /// Where the last record without a partition went, and the next one goes if there is room: the way there through
    /// topics and queues takes as long as all the rest.
    filling: Option<Filling>,
    /// Of the last choice; kept for its memory.
    candidates: Vec<Candidate>,
    free: Vec<u32>,
    /// Slots with something to send, by leader; each at most once (`Queue::scheduled`), stale entries are skipped.
    ready: BTreeMap<i32, VecDeque<Slot>>,
    linger: Deadlines,
    expiry: Deadlines,
    backoff: BTreeSet<(Instant, Slot)>,
    flushes: FlushLedger<Promise>,
    /// Batches up to this epoch are being flushed.
    flushing: Option<u64>,
    /// Memory is short, or the producer is closing: nothing lingers.
    hurry: bool,
    /// Nothing can be sent before the producer has an id.
    identity: Option<Identity>,
    wants_new_identity: bool,
    /// Partitions with batches that nobody has been told of, and all that do not stand outside.
    newcomers: Vec<Slot>,
    members: Vec<Slot>,
    /// Brokers that know nothing of the producer take no other number than 0 for the first.
    gaps_are_refused: bool,
    leaderless: bool,
    /// Since when a node has had something to send and could not take it.
    blocked: BTreeMap<i32, Instant>,
    doomed: Vec<BatchKey>,
    /// Partitions whose sequence has begun anew, for whoever listens.
    restarted: Vec<(TopicId, i32, Identity)>,
    compressor: Option<Compressor>,
    /// Buffers for the records of a batch.
    spares: Vec<Vec<u8>>,
    /// Buffers for what they are compressed into.
    packed_spares: Vec<Vec<u8>>,
    unsettled: usize,
    in_flight: usize,
    round: u64,
    serial: u64,
}

struct TopicQueues {
    slots: Vec<Slot>,
    sticky: Sticky,
    /// What a byte of its records has become of late.
    ratio: Ratio,
}

struct Queue {
    topic: TopicId,
    partition: i32,
    /// Oldest first; the last may be open.
    batches: VecDeque<BatchKey>,
    /// What the broker has not confirmed, and what was numbered after it, in sequence order.
    unresolved: VecDeque<Unresolved>,
    in_flight: usize,
    /// Where they are. Another node gets nothing before they have come back, or it could append a later batch first.
    in_flight_node: i32,
    leader: Option<i32>,
    leader_epoch: i32,
    in_rack: bool,
    exists: bool,
    membership: Membership,
    sequences: Sequences,
    /// Nothing under the broken sequence can get into the log any more, not even late: what is unresolved may be sent
    /// anew whatever became of its last attempt.
    refused_for_good: bool,
    /// When the broker last took a batch under the present sequence. Before that, and again some time after it, it may
    /// know nothing of this producer, and then it takes any number for the first: were the first batch lost and the
    /// second taken, the first could never be written any more, and its retry would look like a duplicate.
    confirmed: Option<Instant>,
    /// The latest batch that the broker has taken and told the offset of: its serial, and that offset.
    last_taken: Option<(u64, i64)>,
    scheduled: bool,
    round: u64,
}

/// Whether a partition belongs to the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Membership {
    Outside,
    Waiting,
    Admitted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unresolved {
    /// In flight, or in `batches` to be sent again.
    Batch(BatchKey),
    /// The numbers of a batch that was refused and will never be sent again: the broker takes nothing behind them.
    Gap,
    /// The numbers of a batch that is done. It counts among the batches that a broker remembers, as long as one before
    /// it is open.
    Used,
}

struct Entry {
    generation: u32,
    /// Ascending in the order of the records of a partition.
    serial: u64,
    /// How many serials from there on are this batch's own, for what it may be split into.
    serials: u64,
    batch: Option<Batch>,
}

/// The last batch of its queue, in the partition where the built-in partitioner stays at present.
#[derive(Clone, Copy)]
struct Filling {
    topic: TopicId,
    partition: i32,
    slot: Slot,
    key: BatchKey,
}

enum Readiness {
    Ready(i32),
    NotReady,
}

/// A batch in the engine's hands on its way to a request.
pub(super) struct Taken {
    pub(super) key: BatchKey,
    pub(super) topic: TopicId,
    pub(super) partition: i32,
}

impl Accumulator {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            compressor: Compressor::new(limits.compression, limits.compression_level),
            limits,
            topics: Vec::new(),
            queues: Vec::new(),
            batches: Vec::new(),
            filling: None,
            candidates: Vec::new(),
            free: Vec::new(),
            ready: BTreeMap::new(),
            linger: Deadlines::default(),
            expiry: Deadlines::default(),
            backoff: BTreeSet::new(),
            flushes: FlushLedger::new(),
            flushing: None,
            hurry: false,
            identity: None,
            wants_new_identity: false,
            newcomers: Vec::new(),
            members: Vec::new(),
            gaps_are_refused: false,
            leaderless: false,
            blocked: BTreeMap::new(),
            doomed: Vec::new(),
            restarted: Vec::new(),
            spares: Vec::new(),
            packed_spares: Vec::new(),
            unsettled: 0,
            in_flight: 0,
            round: 0,
            serial: 0,
        }
    }

    /// Batches whose handles are not settled.
    pub(super) fn unsettled(&self) -> usize {
        self.unsettled
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    // ---- who leads what

    /// The leader of a partition as metadata or a hint says. `recreated`: the topic is not the one it was.
    pub(super) fn set_leader(
        &mut self,
        now: Instant,
        (topic, partition): (TopicId, i32),
        leader: Option<i32>,
        epoch: i32,
        in_rack: bool,
        recreated: bool,
    ) {
        let slot = self.slot(topic, partition);
        let queue = &mut self.queues[slot.0 as usize];
        if queue.leader != leader {
            queue.scheduled = false;
        }
        queue.leader = leader;
        queue.leader_epoch = epoch;
        queue.in_rack = in_rack;
        if recreated {
            // The new log knows nothing of this producer: it takes any number for the first, so the present ones go on.
            // To begin anew would be wrong where brokers go by names: what was sent may lie in the new log already.
            queue.confirmed = None;
        }
        self.touch(now, slot);
    }

    /// Whether a partition is among those that the topic has now: it may have been created again with fewer.
    pub(super) fn set_existing(&mut self, (topic, partition): (TopicId, i32), exists: bool) {
        let slot = self.slot(topic, partition);
        self.queues[slot.0 as usize].exists = exists;
        let sticky = &mut self.topics[topic.0 as usize].sticky;
        if !exists && sticky.current() == Some(partition) {
            sticky.leave();
            self.filling = self.filling.filter(|open| open.slot != slot);
        }
    }

    /// Whether batches were seen that nobody is known to lead, since this was last asked.
    pub(super) fn take_leaderless(&mut self) -> bool {
        std::mem::take(&mut self.leaderless)
    }

    pub(super) fn has_batches(&self, topic: TopicId) -> bool {
        self.topics.get(topic.0 as usize).is_some_and(|t| {
            t.slots.iter().any(|s| {
                let queue = &self.queues[s.0 as usize];
                queue.in_flight > 0 || !queue.batches.is_empty()
            })
        })
    }

    #[inline]
    fn slot(&mut self, topic: TopicId, partition: i32) -> Slot {
        match self.topics.get(topic.0 as usize).and_then(|t| t.slots.get(partition as usize)) {
            Some(slot) => *slot,
            None => self.new_slot(topic, partition),
        }
    }

    #[cold]
    fn new_slot(&mut self, topic: TopicId, partition: i32) -> Slot {
        let (t, p) = (topic.0 as usize, partition as usize);
        if self.topics.len() <= t {
            self.topics.resize_with(t + 1, || TopicQueues {
                slots: Vec::new(),
                sticky: Sticky::new(),
                ratio: Ratio::default(),
            });
        }
        while self.topics[t].slots.len() <= p {
            let slot = Slot(self.queues.len() as u32);
            self.queues.push(Queue::new(topic, self.topics[t].slots.len() as i32));
            self.topics[t].slots.push(slot);
        }
        self.topics[t].slots[p]
    }

    // ---- in

    /// Appends a record. Without a partition of its own it goes where the built-in partitioner stays at present.
    pub(super) fn append(
        &mut self,
        now: Instant,
        opened: Instant,
        record: RecordView<'_>,
        random: &mut impl FnMut() -> u64,
    ) {
        let sticky = record.partition < 0;
        if sticky
            && let Some(open) = self.filling
            && open.topic == record.topic
            && let Some(batch) = self.batches[open.key.index as usize].get_mut(open.key)
            && let Some(bytes) = batch.try_append(record.timestamp, record.body, record.cells, record.cell)
        {
            return self.appended(now, open, record, bytes);
        }
        let RecordView { topic, body, .. } = record;
        let mut partition = if sticky { self.sticky_partition(now, topic, random) } else { record.partition };
        let mut slot = self.slot(topic, partition);
        let mut key = self.queues[slot.0 as usize].batches.back().copied();
        let mut bytes = key.and_then(|key| self.append_to(key, &record));
        if bytes.is_none() {
            // The open batch is full, and enough has gone there: the next one is another partition's.
            if sticky && self.topics[topic.0 as usize].sticky.is_due(self.limits.batch_size) {
                if let Some(left) = key.and_then(|key| self.batch_mut(key)) {
                    // As full as it gets: what would not fit is gone elsewhere, and the next may be long in coming.
                    left.urgent = true;
                    self.touch(now, slot);
                }
                self.topics[topic.0 as usize].sticky.leave();
                partition = self.sticky_partition(now, topic, random);
                slot = self.slot(topic, partition);
                key = self.queues[slot.0 as usize].batches.back().copied();
                bytes = key.and_then(|key| self.append_to(key, &record));
            }
        }
        let (key, bytes) = match (key, bytes) {
            (Some(key), Some(bytes)) => (key, bytes),
            _ => {
                let key = self.begin_batch(slot, opened, body.len());
                let bytes = self.append_to(key, &record).expect("an empty batch takes any record");
                // The one before it is full now, whatever room it had left.
                self.touch(now, slot);
                (key, bytes)
            }
        };
        let open = Filling { topic, partition, slot, key };
        if sticky {
            self.filling = Some(open);
        }
        self.appended(now, open, record, bytes);
    }

    /// What remains to be done for a record that lies in its batch.
    #[inline]
    fn appended(&mut self, now: Instant, open: Filling, record: RecordView<'_>, bytes: usize) {
        let Filling { topic, partition, slot, key } = open;
        record.cells.set_place(record.cell, topic, partition);
        let batch = self.batches[key.index as usize].batch.as_mut().expect("appended to just now");
        if let Some(callback) = record.callback {
            let index = batch.records - 1;
            batch.callbacks.push((index, callback));
        }
        let full = batch.is_full();
        if full {
            self.touch(now, slot);
        }
        if record.partition < 0
            && self.topics[topic.0 as usize].sticky.appended(bytes, self.limits.batch_size, full)
        {
            self.filling = None;
        }
    }

    #[inline]
    fn append_to(&mut self, key: BatchKey, record: &RecordView<'_>) -> Option<usize> {
        // The last batch of a queue is never finished without leaving the queue, so the key is not stale.
        let batch = self.batches[key.index as usize].batch.as_mut()?;
        batch.try_append(record.timestamp, record.body, record.cells, record.cell)
    }

    #[inline]
    fn sticky_partition(&mut self, now: Instant, topic: TopicId, random: &mut impl FnMut() -> u64) -> i32 {
        match self.topics.get(topic.0 as usize).and_then(|t| t.sticky.current()) {
            Some(partition) => partition,
            None => self.choose_partition(now, topic, random),
        }
    }

    #[cold]
    fn choose_partition(&mut self, now: Instant, topic: TopicId, random: &mut impl FnMut() -> u64) -> i32 {
        let t = topic.0 as usize;
        if self.topics.get(t).is_none_or(|t| t.slots.is_empty()) {
            self.slot(topic, 0);
        }
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.clear();
        let queues = self.topics[t].slots.iter().map(|slot| &self.queues[slot.0 as usize]);
        candidates.extend(queues.filter(|queue| queue.exists).map(|queue| {
            let stuck = self.limits.availability_timeout.is_some_and(|timeout| {
                !queue.batches.is_empty()
                    && queue
                        .leader
                        .and_then(|l| self.blocked.get(&l))
                        .is_some_and(|since| now.saturating_duration_since(*since) > timeout)
            });
            Candidate {
                partition: queue.partition,
                queued: queue.batches.len(),
                available: queue.leader.is_some(),
                stuck,
                in_rack: queue.in_rack,
            }
        }));
        let partition = sticky::pick(&candidates, self.limits.adaptive, random());
        self.candidates = candidates;
        self.topics[t].sticky.choose(partition);
        partition
    }

    fn begin_batch(&mut self, slot: Slot, opened: Instant, body: usize) -> BatchKey {
        // While it is known what the one before has become: how much goes into this one depends on it.
        if let Some(&full) = self.queues[slot.0 as usize].batches.back() {
            self.compress(full);
        }
        let buffer =
            self.spares.pop().unwrap_or_else(|| Vec::with_capacity(HEADER_LEN + body + MAX_RECORD_OVERHEAD));
        // A record that is larger than a batch fills one alone.
        let limit = self.limits.batch_size.max(HEADER_LEN + body);
        let epoch = self.flushes.begin_batch();
        let topic = self.queues[slot.0 as usize].topic;
        let ratio = self.compressor.as_ref().map(|_| self.topics[topic.0 as usize].ratio.estimate());
        let mut batch = Batch::new(slot, opened, buffer, limit, ratio, epoch);
        batch.transactional = self.limits.transactional;
        self.filling = self.filling.filter(|open| open.slot != slot);
        self.serial += SERIALS_A_BATCH;
        let key = self.store(batch, self.serial, SERIALS_A_BATCH);
        let queue = &mut self.queues[slot.0 as usize];
        queue.batches.push_back(key);
        if self.limits.transactional && queue.membership == Membership::Outside {
            queue.membership = Membership::Waiting;
            self.newcomers.push(slot);
            self.members.push(slot);
        }
        self.unsettled += 1;
        self.linger.push(opened + self.limits.linger, key);
        self.expiry.push(opened + self.limits.delivery_timeout, key);
        if self.limits.linger.is_zero() || self.hurry {
            self.linger_over_at_once(slot);
        }
        key
    }

    fn store(&mut self, batch: Batch, serial: u64, serials: u64) -> BatchKey {
        let index = self.free.pop().unwrap_or_else(|| {
            self.batches.push(Entry { generation: 0, serial: 0, serials: 0, batch: None });
            self.batches.len() as u32 - 1
        });
        let entry = &mut self.batches[index as usize];
        entry.serial = serial;
        entry.serials = serials;
        entry.batch = Some(batch);
        BatchKey { index, generation: entry.generation }
    }

    /// With no linger a batch is due as soon as it exists; it is looked at once the record is in it.
    fn linger_over_at_once(&mut self, slot: Slot) {
        let key = *self.queues[slot.0 as usize].batches.back().expect("just begun");
        self.batch_mut(key).expect("just begun").urgent = true;
    }

    /// Ends the linger of the batch that holds the cell, if it has not been sent.
    pub(super) fn hasten(
        &mut self,
        now: Instant,
        (topic, partition): (TopicId, i32),
        cells: &Arc<Cells>,
        cell: u16,
    ) {
        let Some(&slot) = self.topics.get(topic.0 as usize).and_then(|t| t.slots.get(partition as usize))
        else {
            return;
        };
        let Some(&open) = self.queues[slot.0 as usize].batches.back() else { return };
        let Some(batch) = self.batch_mut(open) else { return };
        if !batch.urgent && batch.holds(cells, cell) {
            batch.urgent = true;
            self.touch(now, slot);
        }
    }

    // ---- what is due

    pub(super) fn set_hurry(&mut self, now: Instant, hurry: bool) {
        if hurry != self.hurry {
            self.hurry = hurry;
            if hurry {
                self.touch_all(now);
            }
        }
    }

    pub(super) fn set_identity(&mut self, now: Instant, identity: Option<Identity>) {
        self.identity = identity;
        self.wants_new_identity = false;
        if identity.is_some() {
            self.touch_all(now);
        }
    }

    /// A partition has used up its epochs, or the broker refuses them: a new producer id is needed.
    pub(super) fn wants_new_identity(&self) -> bool {
        self.wants_new_identity
    }

    /// Whether brokers that know nothing of the producer take no other number than 0 for the first.
    pub(super) fn set_gaps_are_refused(&mut self, refused: bool) {
        self.gaps_are_refused = refused;
    }

    // ---- transactions

    /// The partitions that have batches and do not belong to the transaction yet, each once.
    pub(super) fn take_newcomers(&mut self) -> Vec<(TopicId, i32)> {
        let queues = &self.queues;
        let place = |slot: Slot| (queues[slot.0 as usize].topic, queues[slot.0 as usize].partition);
        std::mem::take(&mut self.newcomers).into_iter().map(place).collect()
    }

    /// A partition belongs to the transaction: its batches may be sent.
    pub(super) fn admit(&mut self, now: Instant, (topic, partition): (TopicId, i32)) {
        let slot = self.slot(topic, partition);
        self.queues[slot.0 as usize].membership = Membership::Admitted;
        self.touch(now, slot);
    }

    /// The transaction is over.
    pub(super) fn expel_all(&mut self) {
        self.newcomers.clear();
        for slot in std::mem::take(&mut self.members) {
            self.queues[slot.0 as usize].membership = Membership::Outside;
        }
    }

    /// Every sequence begins anew, under another identity. Nothing is under way.
    pub(super) fn begin_identity(&mut self, now: Instant, identity: Identity) {
        for queue in &mut self.queues {
            queue.sequences = Sequences::default();
            queue.unresolved.clear();
            queue.refused_for_good = false;
            queue.confirmed = None;
        }
        self.set_identity(now, Some(identity));
    }

    /// Nothing is here, and nothing is under way.
    pub(super) fn is_quiet(&self) -> bool {
        self.unsettled == 0 && self.in_flight == 0
    }

    pub(super) fn begin_flush(&mut self, now: Instant, promise: Promise) {
        self.flushing = Some(self.flushes.begin_flush(promise));
        self.touch_all(now);
    }

    pub(super) fn pop_flushed(&mut self) -> Option<Promise> {
        self.flushes.pop_done()
    }

    fn touch_all(&mut self, now: Instant) {
        for slot in 0..self.queues.len() as u32 {
            if !self.queues[slot as usize].batches.is_empty() {
                self.touch(now, Slot(slot));
            }
        }
    }

    /// Lets time pass: batches whose linger or backoff is over become ready.
    pub(super) fn advance(&mut self, now: Instant) {
        while let Some(key) = self.linger.pop_due(now) {
            if let Some(batch) = self.batch(key) {
                let slot = batch.slot;
                self.touch(now, slot);
            }
        }
        while let Some(&(at, slot)) = self.backoff.first() {
            if at > now {
                break;
            }
            self.backoff.pop_first();
            self.touch(now, slot);
        }
        self.linger.compact(&self.batches, self.unsettled);
        self.expiry.compact(&self.batches, self.unsettled);
    }

    /// The next batch whose delivery timeout has passed.
    pub(super) fn pop_expired(&mut self, now: Instant) -> Option<BatchKey> {
        while let Some(key) = self.expiry.pop_due(now) {
            if self.batch(key).is_some_and(|b| !b.expired) {
                return Some(key);
            }
        }
        None
    }

    /// When [`advance`](Self::advance) or [`pop_expired`](Self::pop_expired) has something to do next.
    pub(super) fn next_deadline(&mut self) -> Option<Instant> {
        self.linger.drop_stale(&self.batches, |b| b.in_flight || b.attempts > 0 || b.urgent);
        self.expiry.drop_stale(&self.batches, |b| b.expired);
        let backoff = self.backoff.first().map(|(at, _)| *at);
        [self.linger.next(), self.expiry.next(), backoff].into_iter().flatten().min()
    }

    /// Looks at a partition again after something about it changed.
    fn touch(&mut self, now: Instant, slot: Slot) {
        let queue = &mut self.queues[slot.0 as usize];
        if queue.sequences.is_broken() && queue.in_flight == 0 {
            self.restart_sequence(slot);
        }
        let queue = &self.queues[slot.0 as usize];
        self.leaderless |= queue.leader.is_none() && !queue.batches.is_empty();
        if let Readiness::Ready(leader) = self.readiness(now, slot) {
            let queue = &mut self.queues[slot.0 as usize];
            if !queue.scheduled {
                queue.scheduled = true;
                self.ready.entry(leader).or_default().push_back(slot);
            }
        }
    }

    fn readiness(&self, now: Instant, slot: Slot) -> Readiness {
        let queue = &self.queues[slot.0 as usize];
        let (Some(&head), Some(leader)) = (queue.batches.front(), queue.leader) else {
            return Readiness::NotReady;
        };
        let batch = self.batch(head).expect("a queued batch exists");
        if self.limits.transactional && queue.membership != Membership::Admitted {
            return Readiness::NotReady;
        }
        let waits_its_turn =
            if queue.in_flight > 0 && (self.limits.one_in_flight || queue.in_flight_node != leader) {
                true
            } else if !self.limits.idempotent {
                false
            } else if self.identity.is_none() || queue.sequences.is_broken() {
                true
            } else if batch.sequence.is_some() {
                queue.unresolved.front() != Some(&Unresolved::Batch(head))
            } else if queue.unresolved.contains(&Unresolved::Gap) {
                true
            } else {
                let is_known = self.gaps_are_refused || queue.is_confirmed(now);
                queue.unresolved.len() >= if is_known { MAX_UNRESOLVED } else { 1 }
            };
        // A newer leader need not be waited for, but not twice in a row: brokers may send us in a circle.
        let has_newer_leader = queue.leader_epoch > batch.attempt_epoch && !batch.hurried;
        let backing_off = batch.retry_at.is_some_and(|at| at > now) && !has_newer_leader;
        if waits_its_turn || backing_off {
            return Readiness::NotReady;
        }
        let due = queue.batches.len() > 1
            || batch.is_full()
            || batch.attempts > 0
            || batch.urgent
            || self.hurry
            || self.flushing.is_some_and(|epoch| batch.flush_epoch <= epoch)
            || now.saturating_duration_since(batch.created) >= self.limits.linger;
        if due { Readiness::Ready(leader) } else { Readiness::NotReady }
    }

    // ---- out

    /// Nodes that have something to send.
    pub(super) fn ready_nodes(&mut self, now: Instant) -> Vec<i32> {
        let mut ready = std::mem::take(&mut self.ready);
        ready.retain(|node, slots| {
            // Entries whose partition has another leader by now, or nothing to send any more, are found out here.
            while let Some(slot) = slots.front() {
                match self.readiness(now, *slot) {
                    Readiness::Ready(leader) if leader == *node => break,
                    _ => {}
                }
                let queue = &mut self.queues[slot.0 as usize];
                if queue.leader == Some(*node) {
                    queue.scheduled = false;
                }
                slots.pop_front();
            }
            !slots.is_empty()
        });
        self.ready = ready;
        self.ready.keys().copied().collect()
    }

    /// Notes whether a node with something to send could take it.
    pub(super) fn set_blocked(&mut self, now: Instant, node: i32, blocked: bool) {
        if self.limits.availability_timeout.is_none() {
            return;
        }
        if blocked {
            self.blocked.entry(node).or_insert(now);
        } else {
            self.blocked.remove(&node);
        }
    }

    /// Takes what is due for a node: at most one batch of a partition, and not more than `max_bytes` unless a single
    /// batch is larger. They are numbered and in flight from here on.
    pub(super) fn take_ready(&mut self, now: Instant, node: i32, max_bytes: usize) -> Vec<Taken> {
        self.round += 1;
        let mut taken = Vec::new();
        let mut bytes = 0;
        let waiting = self.ready.get(&node).map_or(0, VecDeque::len);
        for _ in 0..waiting {
            let slot = self.ready.get_mut(&node).and_then(VecDeque::pop_front).expect("counted above");
            let queue = &mut self.queues[slot.0 as usize];
            if !std::mem::take(&mut queue.scheduled) || queue.round == self.round {
                continue;
            }
            match self.readiness(now, slot) {
                Readiness::Ready(leader) if leader == node => {}
                _ => {
                    self.touch(now, slot);
                    continue;
                }
            }
            let key = self.queues[slot.0 as usize].batches[0];
            let size = self.batch(key).expect("a queued batch exists").size();
            if !taken.is_empty() && bytes + size > max_bytes {
                self.queues[slot.0 as usize].scheduled = true;
                self.ready.entry(node).or_default().push_front(slot);
                break;
            }
            bytes += size;
            taken.push(self.take(now, node, slot));
        }
        for entry in &taken {
            let slot = self.batch(entry.key).expect("taken above").slot;
            self.touch(now, slot);
        }
        taken
    }

    fn take(&mut self, now: Instant, node: i32, slot: Slot) -> Taken {
        let round = self.round;
        let queue = &mut self.queues[slot.0 as usize];
        let key = queue.batches.pop_front().expect("a ready partition has a batch");
        let batch = self.batches[key.index as usize].batch.as_mut().expect("a queued batch exists");
        if self.limits.idempotent && batch.sequence.is_none() {
            let identity = self.identity.expect("nothing is ready without an id");
            let nothing_unresolved = queue.unresolved.is_empty();
            let sequence = queue.sequences.assign(identity, batch.records, nothing_unresolved);
            if sequence.base == 0 {
                queue.confirmed = None;
            }
            batch.sequence = Some(sequence);
            queue.unresolved.push_back(Unresolved::Batch(key));
        }
        batch.in_flight = true;
        batch.attempts += 1;
        batch.attempts_as_numbered += 1;
        batch.hurried = batch.retry_at.take().is_some_and(|at| at > now);
        batch.attempt_epoch = queue.leader_epoch;
        queue.in_flight += 1;
        queue.in_flight_node = node;
        queue.round = round;
        self.in_flight += 1;
        Taken { key, topic: queue.topic, partition: queue.partition }
    }

    /// Freezes a batch, compressed if that is wished for: its bytes stay the same as long as its numbers do.
    pub(super) fn seal(&mut self, key: BatchKey) -> Arc<Vec<u8>> {
        self.compress(key);
        self.batch_mut(key).expect("a batch on its way out exists").seal()
    }

    /// Compresses a batch that takes no more records, if that is wished for and has not been done.
    fn compress(&mut self, key: BatchKey) {
        let Some(compressor) = &mut self.compressor else { return };
        let Some(batch) = self.batches[key.index as usize].batch.as_mut() else { return };
        let packed = self.packed_spares.pop().unwrap_or_default();
        match batch.compress(compressor, packed) {
            Ok(raw) => {
                let topic = self.queues[batch.slot.0 as usize].topic;
                let (before, after) = (raw.len() - HEADER_LEN, batch.size() - HEADER_LEN);
                self.topics[topic.0 as usize].ratio.observe(after as f32 / before as f32);
                // It held what buffer.memory counts, and the next batch takes it before it allocates another.
                if self.spares.len() < MAX_SPARES {
                    self.spares.push(raw);
                }
            }
            Err(packed) => self.packed_spares.push(packed),
        }
    }

    // ---- back

    /// Whether the batch is the oldest of its partition whose fate is open.
    pub(super) fn is_oldest_unresolved(&self, key: BatchKey) -> bool {
        self.batch(key).is_some_and(|b| {
            self.queues[b.slot.0 as usize].unresolved.front() == Some(&Unresolved::Batch(key))
        })
    }

    /// Puts a batch that was in flight back where it stood.
    pub(super) fn requeue(&mut self, now: Instant, key: BatchKey, retry_at: Instant) {
        self.landed(key);
        let slot = {
            let batch = self.batch_mut(key).expect("a batch in flight exists");
            batch.retry_at = Some(retry_at);
            batch.slot
        };
        self.enqueue(slot, key);
        self.backoff.insert((retry_at, slot));
        self.touch(now, slot);
    }

    /// Puts a batch into its queue, where its records belong.
    fn enqueue(&mut self, slot: Slot, key: BatchKey) {
        let serial = self.batches[key.index as usize].serial;
        let queue = &self.queues[slot.0 as usize];
        let at = queue.batches.iter().take_while(|k| self.batches[k.index as usize].serial < serial).count();
        self.queues[slot.0 as usize].batches.insert(at, key);
    }

    /// Puts two halves in the place of a batch in flight that its broker finds too large. The halves carry the numbers
    /// of the whole, which was refused, so what follows stays as it is. `false` if it is a single record, or if the
    /// broker may have taken the whole before: it would not know the halves again.
    pub(super) fn split(&mut self, now: Instant, key: BatchKey) -> bool {
        if self.batch(key).is_none_or(|b| b.records < 2 || b.expired || b.open_as_numbered) {
            return false;
        }
        self.landed(key);
        let entry = &mut self.batches[key.index as usize];
        let (serial, half) = (entry.serial, entry.serials / 2);
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(key.index);
        let whole = entry.batch.take().expect("looked at above");
        if whole.is_compressed() {
            let topic = self.queues[whole.slot.0 as usize].topic;
            self.topics[topic.0 as usize].ratio.forget();
        }
        let (first, second) = whole.halve();
        let (slot, deadline) = (first.slot, first.created + self.limits.delivery_timeout);
        self.flushes.add_batch(first.flush_epoch);
        self.unsettled += 1;
        let halves = [self.store(first, serial, half), self.store(second, serial + half, half)];
        for half in halves {
            self.enqueue(slot, half);
            self.expiry.insert(deadline, half);
        }
        let queue = &mut self.queues[slot.0 as usize];
        if let Some(at) = queue.unresolved.iter().position(|u| *u == Unresolved::Batch(key)) {
            queue.unresolved[at] = Unresolved::Batch(halves[0]);
            queue.unresolved.insert(at + 1, Unresolved::Batch(halves[1]));
        }
        self.touch(now, slot);
        true
    }

    /// Takes the records at `bad` out of a batch in flight that was refused because of them, each into a batch of its
    /// own, which is no longer here. The others go back to where they stood.
    pub(super) fn sort_out(&mut self, now: Instant, key: BatchKey, bad: &[i32]) -> Vec<(i32, Batch)> {
        self.landed(key);
        let entry = &mut self.batches[key.index as usize];
        let (serial, serials) = (entry.serial, entry.serials);
        let Some(whole) = entry.batch.take() else { return Vec::new() };
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(key.index);
        let (slot, deadline, epoch) =
            (whole.slot, whole.created + self.limits.delivery_timeout, whole.flush_epoch);
        let (good, outcasts) = whole.sort_out(bad);
        self.close_gap(slot, key, true);
        match good {
            Some(good) => {
                let good = self.store(good, serial, serials);
                self.enqueue(slot, good);
                self.expiry.insert(deadline, good);
            }
            None => {
                self.unsettled -= 1;
                self.flushes.settle_batch(epoch);
            }
        }
        self.touch(now, slot);
        outcasts
    }

    /// Takes a batch out for good, wherever it is. `refused`: it is not in the log and will not get there.
    pub(super) fn finish(&mut self, now: Instant, key: BatchKey, refused: bool) -> Option<Batch> {
        self.batch(key)?;
        let was_queued = !self.landed(key);
        let entry = &mut self.batches[key.index as usize];
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(key.index);
        let batch = entry.batch.take()?;
        let queue = &mut self.queues[batch.slot.0 as usize];
        if was_queued {
            queue.batches.retain(|k| *k != key);
        }
        if !batch.expired {
            self.unsettled -= 1;
            self.flushes.settle_batch(batch.flush_epoch);
        }
        self.close_gap(batch.slot, key, refused);
        self.touch(now, batch.slot);
        Some(batch)
    }

    /// A batch is no longer unresolved: its numbers are in the log, or may be, or will never be.
    fn close_gap(&mut self, slot: Slot, key: BatchKey, refused: bool) {
        let queue = &mut self.queues[slot.0 as usize];
        if let Some(at) = queue.unresolved.iter().position(|u| *u == Unresolved::Batch(key)) {
            queue.unresolved[at] = if refused { Unresolved::Gap } else { Unresolved::Used };
        }
        while queue.unresolved.front() == Some(&Unresolved::Used) {
            queue.unresolved.pop_front();
        }
        if queue.unresolved.front() == Some(&Unresolved::Gap) {
            queue.sequences.break_off();
            queue.refused_for_good = true;
        }
    }

    /// The handles of a batch in flight are settled early: nobody waits for it any more, its memory stays.
    pub(super) fn expire_in_flight(&mut self, key: BatchKey) -> Option<&mut Batch> {
        let entry = &mut self.batches[key.index as usize];
        let batch = entry.batch.as_mut().filter(|b| b.in_flight && !b.expired)?;
        batch.expired = true;
        batch.may_have_been_written = true;
        self.unsettled -= 1;
        self.flushes.settle_batch(batch.flush_epoch);
        Some(batch)
    }

    /// The broker has taken a batch, at this offset if it says so.
    pub(super) fn confirm(&mut self, now: Instant, key: BatchKey, offset: Option<i64>) {
        let entry = &self.batches[key.index as usize];
        let (Some(batch), serial) = (self.batch(key), entry.serial) else { return };
        let slot = batch.slot;
        let queue = &mut self.queues[slot.0 as usize];
        let was_confirmed = queue.is_confirmed(now);
        queue.confirmed = Some(now);
        if let Some(offset) = offset
            && queue.last_taken.is_none_or(|(last, _)| last < serial)
        {
            let is_lower = queue.last_taken.is_some_and(|(_, last)| offset < last);
            queue.last_taken = Some((serial, offset));
            if is_lower {
                self.doubt(slot);
            }
        }
        if !was_confirmed {
            self.touch(now, slot);
        }
    }

    /// A partition's offsets went back: its topic was created again under the same name. What is open was sent to the log
    /// that was, or to this one, so that a duplicate here proves nothing.
    fn doubt(&mut self, slot: Slot) {
        for unresolved in &self.queues[slot.0 as usize].unresolved {
            if let Unresolved::Batch(key) = unresolved
                && let Some(batch) = self.batches[key.index as usize].batch.as_mut()
            {
                batch.open_as_numbered = false;
            }
        }
    }

    /// The broker takes no batch of this partition under its present sequence: it starts again once nothing is in
    /// flight.
    pub(super) fn break_sequence(&mut self, now: Instant, slot: Slot) {
        self.queues[slot.0 as usize].sequences.break_off();
        self.touch(now, slot);
    }

    /// The producer's id is no longer valid for this partition.
    pub(super) fn abandon_identity(&mut self, now: Instant, slot: Slot) {
        self.wants_new_identity = true;
        self.identity = None;
        let queue = &mut self.queues[slot.0 as usize];
        queue.sequences.exhaust();
        queue.refused_for_good = true;
        self.touch(now, slot);
    }

    /// The cluster is another one: its brokers know nothing of what was numbered before.
    pub(super) fn forget_identity(&mut self, now: Instant) {
        for slot in 0..self.queues.len() as u32 {
            self.abandon_identity(now, Slot(slot));
        }
    }

    /// Batches that can neither be sent again nor be said not to be in the log, oldest first.
    pub(super) fn take_doomed(&mut self) -> Vec<BatchKey> {
        std::mem::take(&mut self.doomed)
    }

    /// Partitions that have begun anew since this was last asked, and what they go by from now on.
    pub(super) fn take_restarted(&mut self) -> Vec<(TopicId, i32, Identity)> {
        std::mem::take(&mut self.restarted)
    }

    /// Every batch there is, oldest first.
    pub(super) fn all(&self) -> Vec<BatchKey> {
        let mut all: Vec<(u64, BatchKey)> = self
            .batches
            .iter()
            .enumerate()
            .filter(|(_, entry)| entry.batch.is_some())
            .map(|(i, e)| (e.serial, BatchKey { index: i as u32, generation: e.generation }))
            .collect();
        all.sort_unstable();
        all.into_iter().map(|(_, key)| key).collect()
    }

    /// Every batch whose partition is led by this node.
    pub(super) fn led_by(&self, node: i32) -> Vec<BatchKey> {
        let is_led = |key: &BatchKey| self.batch(*key).is_some_and(|batch| self.leader(batch) == Some(node));
        self.all().into_iter().filter(is_led).collect()
    }

    /// Every partition goes on with this number.
    #[cfg(test)]
    pub(super) fn skip_sequences(&mut self, next: i32) {
        for queue in &mut self.queues {
            queue.sequences.skip_to(next);
        }
    }

    pub(super) fn batch(&self, key: BatchKey) -> Option<&Batch> {
        let entry = self.batches.get(key.index as usize)?;
        entry.batch.as_ref().filter(|_| entry.generation == key.generation)
    }

    pub(super) fn batch_mut(&mut self, key: BatchKey) -> Option<&mut Batch> {
        self.batches.get_mut(key.index as usize)?.get_mut(key)
    }

    /// Where a batch goes, for requests and errors.
    pub(super) fn place(&self, batch: &Batch) -> (TopicId, i32) {
        let queue = &self.queues[batch.slot.0 as usize];
        (queue.topic, queue.partition)
    }

    pub(super) fn leader(&self, batch: &Batch) -> Option<i32> {
        self.queues[batch.slot.0 as usize].leader
    }

    /// Keeps the memory of a finished batch for the next one.
    pub(super) fn recycle(&mut self, batch: Batch) {
        let spares = if batch.is_compressed() { &mut self.packed_spares } else { &mut self.spares };
        if spares.len() < MAX_SPARES
            && let Some(buffer) = batch.into_buffer()
            && buffer.capacity() <= 2 * self.limits.batch_size.max(HEADER_LEN)
        {
            spares.push(buffer);
        }
    }

    /// Notes that a batch is not in flight any more; whether it was.
    fn landed(&mut self, key: BatchKey) -> bool {
        let Some(batch) = self.batches[key.index as usize].batch.as_mut() else { return false };
        let was_in_flight = std::mem::take(&mut batch.in_flight);
        if was_in_flight {
            self.queues[batch.slot.0 as usize].in_flight -= 1;
            self.in_flight -= 1;
        }
        was_in_flight
    }

    /// Numbers what is unresolved anew, in the same order; nothing is in flight.
    ///
    /// The broker has refused it, because a batch before it is missing. But a batch that was also sent on a connection
    /// that was lost may still arrive from there, after the missing one, and then lie in the log twice. It is given up
    /// instead, unless the missing one can never arrive.
    fn restart_sequence(&mut self, slot: Slot) {
        let queue = &mut self.queues[slot.0 as usize];
        if self.limits.transactional {
            // The epoch belongs to the transaction, which cannot be committed any more.
            let lost =
                std::mem::take(&mut queue.unresolved).into_iter().filter_map(|unresolved| match unresolved {
                    Unresolved::Batch(key) => Some(key),
                    Unresolved::Gap | Unresolved::Used => None,
                });
            self.doomed.extend(lost);
            return;
        }
        if !queue.sequences.restart(self.identity) {
            self.wants_new_identity = true;
            self.identity = None;
        } else if let Some(identity) = queue.sequences.identity() {
            self.restarted.push((queue.topic, queue.partition, identity));
        }
        let safe = std::mem::take(&mut queue.refused_for_good);
        queue.confirmed = None;
        for unresolved in std::mem::take(&mut queue.unresolved) {
            let Unresolved::Batch(key) = unresolved else { continue };
            let Some(batch) = self.batches[key.index as usize].batch.as_mut() else { continue };
            if batch.may_have_been_written && !safe {
                self.doomed.push(key);
            }
            batch.unseal();
        }
    }
}

impl Entry {
    /// The batch, unless it is gone.
    #[inline]
    fn get_mut(&mut self, key: BatchKey) -> Option<&mut Batch> {
        self.batch.as_mut().filter(|_| self.generation == key.generation)
    }
}

impl Queue {
    fn new(topic: TopicId, partition: i32) -> Self {
        Self {
            topic,
            partition,
            batches: VecDeque::new(),
            unresolved: VecDeque::new(),
            in_flight: 0,
            in_flight_node: i32::MIN,
            leader: None,
            leader_epoch: -1,
            exists: true,
            in_rack: false,
            membership: Membership::Outside,
            sequences: Sequences::default(),
            refused_for_good: false,
            confirmed: None,
            last_taken: None,
            scheduled: false,
            round: 0,
        }
    }

    fn is_confirmed(&self, now: Instant) -> bool {
        self.confirmed.is_some_and(|at| now.saturating_duration_since(at) < CONFIRMED_FOR)
    }
}

/// Deadlines that all lie the same time after their start, so that a queue keeps them sorted. Entries of batches that
/// are gone stay until they come to the front, or until there are far more of them than batches.
#[derive(Debug, Default)]
struct Deadlines {
    queue: VecDeque<(Instant, BatchKey)>,
}

impl Deadlines {
    /// Lanes hand over in turns, so starts may go back a little; an entry then waits for the one before it.
    fn push(&mut self, at: Instant, key: BatchKey) {
        let at = self.queue.back().map_or(at, |(last, _)| at.max(*last));
        self.queue.push_back((at, key));
    }

    /// Among earlier and later ones.
    fn insert(&mut self, at: Instant, key: BatchKey) {
        let place = self.queue.partition_point(|(other, _)| *other <= at);
        self.queue.insert(place, (at, key));
    }

    fn pop_due(&mut self, now: Instant) -> Option<BatchKey> {
        if self.queue.front()?.0 > now {
            return None;
        }
        self.queue.pop_front().map(|(_, key)| key)
    }

    fn next(&self) -> Option<Instant> {
        self.queue.front().map(|(at, _)| *at)
    }

    fn drop_stale(&mut self, batches: &[Entry], past: impl Fn(&Batch) -> bool) {
        while let Some((_, key)) = self.queue.front() {
            let entry = &batches[key.index as usize];
            if entry.generation == key.generation && entry.batch.as_ref().is_some_and(|b| !past(b)) {
                break;
            }
            self.queue.pop_front();
        }
    }

    fn compact(&mut self, batches: &[Entry], live: usize) {
        if self.queue.len() > 1024 + 4 * live {
            self.queue.retain(|(_, key)| {
                let entry = &batches[key.index as usize];
                entry.generation == key.generation && entry.batch.is_some()
            });
        }
    }
}

/// A broker remembers the last five batches of a producer and partition; one that is sent again after five later ones
/// would be refused as a duplicate without the offset of its records.
const MAX_UNRESOLVED: usize = 5;

/// Far less than brokers remember an idle producer for (`producer.id.expiration.ms`, a day unless set), and long enough
/// that a partition in use never notices.
const CONFIRMED_FOR: Duration = Duration::from_secs(60);

/// Enough for every partition of a busy broker, and at the usual batch size no more than 2 MiB.
const MAX_SPARES: usize = 128;

/// A batch can be halved 32 times, and then has one record left in any case.
const SERIALS_A_BATCH: u64 = 1 << 32;

/// Length, attributes and the two deltas of a record, each at its longest.
const MAX_RECORD_OVERHEAD: usize = 21;
