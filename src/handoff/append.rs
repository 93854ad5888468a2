//! `send`'s way into a lane: what a record needs, and how its thread waits for what is lacking.
//!
//! What happens to the record afterwards is not known here. A thread never waits while it holds a lane: it lets go,
//! waits, and begins anew, because anything may have changed meanwhile.

use std::time::{Duration, Instant};

use super::{
    budget::{Exhausted, Ticket},
    callback::{Callback, PendingCallback},
    cells::Cells,
    chunk::{RecordHead, charge, encode_alone, size},
    context::{Patience, forked, inside_callback},
    hub::{Held, Hub, HubConfig, Level},
    lane::{refuses, usable_count},
    sizes::LANES,
    snapshot::{Snapshot, TopicView},
    spare,
    sync::{Arc, Ordering, Weak, fence, now, thread_number},
    topics::TopicId,
};
use crate::{
    delivery::DeliveryFuture,
    error::{ErrorCode, SendError, SendErrorKind, TransactionErrorKind},
    partitioner::partition_for_key,
    record::Headers,
};

/// A record on its way in.
pub(crate) struct Entry<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: Partition,
    /// `None` is the time of the call.
    pub(crate) timestamp: Option<i64>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a Headers,
    /// Of key, value and headers in wire form.
    pub(crate) body_len: usize,
    pub(crate) callback: Option<Callback>,
}

/// How a record finds its partition.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Partition {
    /// The record or a partitioner names it.
    Explicit(i32),
    /// The hash of its key decides; without a key like `Open`.
    Key,
    /// The sender thread chooses when it puts the record into a batch.
    Open,
}

/// What a record lacks to be appended.
enum Lack {
    /// The lane is shut.
    Life,
    /// An open transaction.
    Transaction,
    /// No topic can have this name; the rule that it breaks.
    Name(&'static str),
    Metadata(TopicId),
    Memory,
    /// So many places in the channel.
    Room(usize),
}

/// What `append` works out before it locks the lane.
struct Draft {
    body_len: usize,
    charge: usize,
    /// The encoded record, if it is too large to share a buffer.
    alone: Option<Vec<u8>>,
}

impl Hub {
    /// Accepts a record: it lies in this thread's lane when the call returns, in the order of the thread's calls.
    ///
    /// The partition, if explicit, is not negative; key, value and headers together were compared with
    /// `max.request.size` and `buffer.memory`.
    pub(crate) fn append(
        &self,
        mut entry: Entry<'_>,
        patience: &mut Patience,
    ) -> Result<DeliveryFuture, SendError> {
        let mut draft = Draft::new(&entry, &self.config);
        if draft.charge > self.budget.0.limit() {
            return Err(self.too_large(entry.topic, draft.charge).into());
        }
        let mut held = Held::nothing(self);
        loop {
            match self.try_append(&mut entry, &mut draft, &mut held) {
                Ok(future) => return Ok(future),
                Err(lack) => self.supply(lack, &entry, draft.charge, &mut held, patience)?,
            }
        }
    }

    /// A topic's number and what is known of it: at least how many partitions it has, and that `partition` is one of
    /// them. Waits for metadata as [`append`](Self::append) does.
    pub(crate) fn topic_view(
        &self,
        topic: &str,
        partition: Option<i32>,
        patience: &mut Patience,
    ) -> Result<(TopicId, Arc<TopicView>), SendErrorKind> {
        let id = self.topics.intern(topic).map_err(|reason| illegal(topic, reason))?;
        Ok((id, self.await_view(id, topic, partition, patience)?))
    }

    #[inline]
    fn try_append(
        &self,
        entry: &mut Entry<'_>,
        draft: &mut Draft,
        held: &mut Held<'_>,
    ) -> Result<DeliveryFuture, Lack> {
        let number = thread_number() % LANES;
        self.mark_used(number);
        let mut lane = self.lanes[number].0.lock();
        if lane.shut {
            return Err(Lack::Life);
        }
        if lane.barred {
            return Err(Lack::Transaction);
        }
        let (topic, count) = lane.know(entry.topic, &self.topics, &self.published).map_err(Lack::Name)?;
        let partition = match entry.partition {
            Partition::Explicit(partition) if (0..count).contains(&partition) => partition,
            Partition::Key | Partition::Open if count > 0 => match entry.key {
                Some(key) if entry.partition == Partition::Key => partition_for_key(key, count),
                _ => OPEN,
            },
            _ => return Err(Lack::Metadata(topic)),
        };
        let short = draft.charge.saturating_sub(lane.credit + held.memory);
        if short > 0 {
            let stride = self.stride().max(short);
            lane.credit += self.budget.0.try_take_some(short, stride).ok_or(Lack::Memory)?;
        }
        let mut pushed = false;
        let fits = match &lane.open {
            Some(chunk) => draft.alone.is_none() && chunk.has_room(size(draft.body_len)),
            None => true,
        };
        if !fits {
            self.push(&mut lane, Some(held)).map_err(Lack::Room)?;
            pushed = true;
        }

        lane.credit = lane.credit + std::mem::take(&mut held.memory) - draft.charge;
        lane.chunk(
            || if draft.alone.is_some() { Vec::new() } else { self.buffer() },
            || Cells::new(number as u8, Arc::clone(&self.topics), Weak::clone(&self.home)),
        );
        let timestamp = match entry.timestamp {
            Some(timestamp) => timestamp,
            None => lane.stamp(),
        };
        let head = RecordHead { topic, partition, timestamp };
        let chunk = lane.open.as_mut().expect("a chunk was begun");
        let cell = match draft.alone.take() {
            Some(record) => chunk.adopt(head, record),
            None => chunk.append(head, draft.body_len, entry.key, entry.value, entry.headers),
        };
        let (key_size, value_size) = (length(entry.key), length(entry.value));
        let future = DeliveryFuture::new(
            spare::reference(chunk.cells()),
            cell,
            topic,
            timestamp,
            key_size,
            value_size,
        );
        if let Some(call) = entry.callback.take() {
            chunk.add_callback(PendingCallback { cell, timestamp, key_size, value_size, call });
        }
        let full = !chunk.has_room(SMALLEST_RECORD);
        lane.count_cell();

        // Read under the lock: see the module's words on level 1.
        let level = self.level.0.load(Ordering::SeqCst);
        if (full || level == Level::AnyRecord as u8) && self.push(&mut lane, Some(held)).is_ok() {
            pushed = true;
        }
        drop(lane);
        if level == Level::AnyRecord as u8 {
            self.ring();
        } else if pushed {
            self.ring_for_push();
        }
        Ok(future)
    }

    /// Waits for what is lacking, without holding the lane.
    #[cold]
    fn supply(
        &self,
        lack: Lack,
        entry: &Entry<'_>,
        charge: usize,
        held: &mut Held<'_>,
        patience: &mut Patience,
    ) -> Result<(), SendErrorKind> {
        match lack {
            Lack::Life => Err(self.ended().send_error()),
            Lack::Transaction => Err(self.not_in_transaction()),
            Lack::Name(reason) => Err(illegal(entry.topic, reason)),
            Lack::Metadata(topic) => {
                let partition = match entry.partition {
                    Partition::Explicit(partition) => Some(partition),
                    Partition::Key | Partition::Open => None,
                };
                self.await_view(topic, entry.topic, partition, patience).map(drop)
            }
            Lack::Memory => {
                // A place in the channel may be what the memory waits for.
                held.give_up_room();
                let (limit, deadline) = self
                    .may_wait(entry.topic, "memory: buffer.memory is full", patience)
                    .inspect_err(|_| {
                        self.budget.0.note_refusal();
                        self.ring();
                    })?;
                let ticket = self.budget.0.queue_up(charge, charge.max(self.memory_at_a_time()));
                held.memory += self.await_ticket(ticket, deadline, charge, limit, patience)?;
                Ok(())
            }
            Lack::Room(places) => {
                let (limit, deadline) = self
                    .may_wait(
                        entry.topic,
                        "the sender thread, which has not taken earlier records yet",
                        patience,
                    )
                    .inspect_err(|_| self.ring())?;
                let ticket = self.room.0.queue_up(places, places);
                held.room += self.await_ticket(ticket, deadline, charge, limit, patience)?;
                Ok(())
            }
        }
    }

    fn await_ticket(
        &self,
        ticket: Ticket<'_>,
        deadline: Option<Instant>,
        needed: usize,
        waited: Duration,
        patience: &mut Patience,
    ) -> Result<usize, SendErrorKind> {
        self.ring();
        let begun = now();
        let served = ticket.wait(deadline);
        patience.for_memory += now().saturating_duration_since(begun);
        served.map_err(|why| match why {
            Exhausted::TimedOut => {
                SendErrorKind::BufferFull { needed, limit: self.config.buffer_memory, waited }
            }
            Exhausted::Ended => self.ended().send_error(),
        })
    }

    /// Waits until a snapshot has the topic, and `partition` in it; one wait for each snapshot that does not.
    #[cold]
    fn await_view(
        &self,
        id: TopicId,
        topic: &str,
        partition: Option<i32>,
        patience: &mut Patience,
    ) -> Result<Arc<TopicView>, SendErrorKind> {
        if let Some(partition @ ..0) = partition {
            let reason = "partitions are counted from 0".to_owned();
            return Err(SendErrorKind::InvalidPartition { topic: topic.to_owned(), partition, reason });
        }
        let mut rejections = None;
        loop {
            if self.is_closed() {
                return Err(self.ended().send_error());
            }
            let snapshot = self.published.current();
            let (count, reason) = &snapshot.rejection;
            if count > rejections.get_or_insert(*count) {
                return Err(SendErrorKind::Rejected { topic: topic.to_owned(), reason: reason.clone() });
            }
            let view = snapshot.topic(id);
            if let Some(code) = view.and_then(|view| view.error).filter(|&code| refuses(code)) {
                return Err(self.refused(id, topic, code));
            }
            let count = usable_count(&snapshot, id);
            if let Some(view) = view
                && count > partition.unwrap_or(0)
            {
                return Ok(Arc::clone(view));
            }
            self.wish(id);
            let (limit, deadline) = self.may_wait(topic, "metadata", patience)?;
            let begun = now();
            let came = self.published.wait(snapshot.version, deadline);
            patience.for_metadata += now().saturating_duration_since(begun);
            if !came && !self.is_closed() {
                return Err(no_metadata(&self.published.current(), id, topic, partition, limit));
            }
        }
    }

    fn not_in_transaction(&self) -> SendErrorKind {
        let failure = self.transaction_failure();
        SendErrorKind::Transaction(failure.unwrap_or_else(|| {
            let reason = "no transaction is open; call begin_transaction first";
            TransactionErrorKind::OutOfPlace { call: "send", reason }.into()
        }))
    }

    fn refused(&self, id: TopicId, topic: &str, code: ErrorCode) -> SendErrorKind {
        if code == ErrorCode::INVALID_TOPIC_EXCEPTION {
            return illegal(topic, "the cluster refuses it (INVALID_TOPIC_EXCEPTION)");
        }
        // An administrator may have granted by the next call what was lacking at the last look.
        self.wish(id);
        SendErrorKind::Refused { topic: topic.to_owned(), code }
    }

    #[cold]
    fn too_large(&self, topic: &str, size: usize) -> SendErrorKind {
        let (size, limit) = (size + self.config.memory_for_chunks, self.config.buffer_memory);
        SendErrorKind::RecordTooLarge { topic: topic.to_owned(), size, limit, setting: "buffer.memory" }
    }

    fn may_wait(
        &self,
        topic: &str,
        what: &'static str,
        patience: &mut Patience,
    ) -> Result<(Duration, Option<Instant>), SendErrorKind> {
        let would_block = || SendErrorKind::WouldBlock { topic: topic.to_owned(), what };
        if inside_callback() {
            return Err(would_block());
        }
        let time = patience.begin().ok_or_else(would_block)?;
        if forked(self.creator()) {
            return Err(SendErrorKind::Forked { parent: self.creator() });
        }
        Ok(time)
    }

    fn wish(&self, topic: TopicId) {
        self.wishes.put_once(topic);
        self.ring();
    }

    /// How much memory a lane takes at a time.
    fn stride(&self) -> usize {
        LARGEST_STRIDE.min(self.memory_at_a_time())
    }

    /// How much memory a thread is served that had to wait. With less, threads that are faster than the brokers take turns
    /// for every few records; what is not spent is collected when somebody lacks it.
    fn memory_at_a_time(&self) -> usize {
        self.config.buffer_memory / 64
    }

    #[inline]
    fn mark_used(&self, lane: usize) {
        if self.used_lanes.load(Ordering::Acquire) <= lane {
            // Before the lane is locked for the first time. The sender thread stores the level, then reads this;
            // here it is written, then the level is read. So the lane is looked into, or the level is seen; also by
            // a thread that finds its lane counted by another one, since it reads this first and the level in
            // SeqCst order.
            self.used_lanes.fetch_max(lane + 1, Ordering::SeqCst);
            fence(Ordering::SeqCst);
        }
    }
}

impl Draft {
    #[inline]
    fn new(entry: &Entry<'_>, config: &HubConfig) -> Self {
        let body_len = entry.body_len;
        let charge = charge(body_len);
        // What could never be accepted is not worth encoding.
        let alone = (size(body_len) > config.chunk_bytes && charge <= config.buffer_memory)
            .then(|| encode_alone(body_len, entry.key, entry.value, entry.headers));
        Self { body_len, charge, alone }
    }
}

fn illegal(topic: &str, reason: &'static str) -> SendErrorKind {
    SendErrorKind::InvalidTopic { topic: topic.to_owned(), reason }
}

fn length(bytes: Option<&[u8]>) -> i32 {
    bytes.map_or(-1, |bytes| i32::try_from(bytes.len()).unwrap_or(i32::MAX))
}

fn no_metadata(
    snapshot: &Snapshot,
    id: TopicId,
    topic: &str,
    partition: Option<i32>,
    waited: Duration,
) -> SendErrorKind {
    let topic = topic.to_owned();
    let view = snapshot.topic(id);
    if let (Some(partition), Some(view)) = (partition, view)
        && view.count > 0
    {
        return SendErrorKind::UnknownPartition { topic, partition, count: view.count, waited };
    }
    let cause = match (view.and_then(|view| view.error), &snapshot.last_error) {
        (Some(code @ ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), _) => {
            format!("{code}; check the topic's name, or create it")
        }
        (Some(code), _) => code.to_string(),
        (None, Some(error)) => error.clone(),
        (None, None) => "no broker has answered yet".to_owned(),
    };
    SendErrorKind::MetadataTimeout { topic, waited, cause }
}

/// The partition of a record whose partition the sender thread chooses.
const OPEN: i32 = -1;

/// A chunk that cannot hold this, three bytes of body, can hold no record at all.
const SMALLEST_RECORD: usize = size(3);

/// A lane takes memory for some hundred records at a time: less would have all lanes write the same counter.
const LARGEST_STRIDE: usize = 64 * 1024;
