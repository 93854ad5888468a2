//! Some records of one lane on their way to the sender thread: one buffer, one message in the channel.
//!
//! Which batch a record will lie in is not known here, nor what a key or a value is. A chunk owns its buffer, the
//! cells of its records and their charge on the memory budget; what is taken out goes over to the taker, and a
//! chunk that is dropped fails and gives back the rest.
//!
//! ```text
//! body length u32 | topic u32 | partition i32, -1 = open | timestamp i64 | body: key, value, headers as in a batch
//! ```
//! once a record, in the order of the sends; all of it little-endian.

use std::{collections::VecDeque, fmt, mem, time::Instant};

use super::{
    callback::{PendingCallback, fail_here},
    cells::{CellSet, Cells, Settling, Stage, abandoned},
    sizes::CELLS,
    sync::Arc,
    topics::TopicId,
};
use crate::{record::Headers, wire::record::put_body};

/// Records in the order of their sends. Never empty, except in the hands of whoever takes the last one.
pub(crate) struct Chunk {
    bytes: Vec<u8>,
    /// Where the next record that was not taken begins; `<= bytes.len()`.
    at: usize,
    cells: Arc<Cells>,
    /// The cell of the next record that was not taken; the others follow it.
    next: u16,
    /// How many were not taken; `next + count <= CELLS`.
    count: u16,
    opened: Instant,
    /// In ascending order of their cells.
    callbacks: VecDeque<PendingCallback>,
}

/// What a lane knows of a record besides its body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordHead {
    pub(crate) topic: TopicId,
    /// -1 if the sender thread chooses.
    pub(crate) partition: i32,
    pub(crate) timestamp: i64,
}

/// A record taken out of its chunk.
///
/// Its cell must go into a [`Run`](super::cells::Run) at once, which is what settles it from now on; its charge
/// must be given back when the batch is done.
#[derive(Debug)]
pub(crate) struct RecordView<'a> {
    pub(crate) topic: TopicId,
    /// -1 if the sender thread chooses.
    pub(crate) partition: i32,
    pub(crate) timestamp: i64,
    pub(crate) body: &'a [u8],
    pub(crate) cells: &'a Arc<Cells>,
    pub(crate) cell: u16,
    pub(crate) callback: Option<PendingCallback>,
}

impl Chunk {
    /// A chunk to be filled at once with at least one record, the first of which gets the cell `first`.
    pub(super) fn new(buffer: Vec<u8>, cells: Arc<Cells>, first: u16, opened: Instant) -> Self {
        debug_assert!(buffer.is_empty());
        Self { bytes: buffer, at: 0, cells, next: first, count: 0, opened, callbacks: VecDeque::new() }
    }

    /// Whether another record of `size` bytes, head included, goes in without a larger buffer and with a cell for it.
    #[inline]
    pub(super) fn has_room(&self, size: usize) -> bool {
        self.bytes.capacity() - self.bytes.len() >= size && usize::from(self.next + self.count) < CELLS
    }

    /// Puts a record at the end and returns its cell.
    #[inline]
    pub(super) fn append(
        &mut self,
        head: RecordHead,
        body_len: usize,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &Headers,
    ) -> u16 {
        self.bytes.extend_from_slice(&encode_head(head, body_len));
        let body = self.bytes.len();
        put_body(&mut self.bytes, key, value, headers.entries());
        debug_assert_eq!(self.bytes.len() - body, body_len);
        self.count_one()
    }

    /// Makes `record`, which [`encode_alone`] wrote, the only record, and returns its cell.
    pub(super) fn adopt(&mut self, head: RecordHead, mut record: Vec<u8>) -> u16 {
        debug_assert_eq!(self.count, 0);
        let body_len = record.len() - HEAD_LEN;
        record[..HEAD_LEN].copy_from_slice(&encode_head(head, body_len));
        self.bytes = record;
        self.count_one()
    }

    pub(super) fn add_callback(&mut self, callback: PendingCallback) {
        self.callbacks.push_back(callback);
    }

    /// Whether the cell belongs to a record that lies in here.
    pub(super) fn holds(&self, cells: &Arc<Cells>, cell: u16) -> bool {
        Arc::ptr_eq(&self.cells, cells) && (self.next..self.next + self.count).contains(&cell)
    }

    /// How many bytes its records take in here, those that were taken out included.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// When its first record was appended: `linger.ms` and `delivery.timeout.ms` count from here.
    pub(crate) fn opened(&self) -> Instant {
        self.opened
    }

    /// For a world with a clock of its own.
    #[cfg(test)]
    pub(crate) fn set_opened(&mut self, opened: Instant) {
        self.opened = opened;
    }

    pub(crate) fn lane(&self) -> u8 {
        self.cells.lane()
    }

    pub(crate) fn cells(&self) -> &Arc<Cells> {
        &self.cells
    }

    /// Takes the next record.
    #[inline]
    pub(crate) fn take_next(&mut self) -> Option<RecordView<'_>> {
        if self.count == 0 {
            return None;
        }
        let (RecordHead { topic, partition, timestamp }, body_len) = self.head();
        let body = self.at + HEAD_LEN;
        self.at = body + body_len;
        let cell = self.next;
        self.next += 1;
        self.count -= 1;
        let callback = match self.callbacks.front() {
            Some(callback) if callback.cell == cell => self.callbacks.pop_front(),
            _ => None,
        };
        Some(RecordView {
            topic,
            partition,
            timestamp,
            body: &self.bytes[body..body + body_len],
            cells: &self.cells,
            cell,
            callback,
        })
    }

    /// The emptied buffer, for [`Hub::recycle`](super::hub::Hub::recycle). Records that were not taken fail.
    pub(crate) fn into_buffer(mut self) -> Vec<u8> {
        self.abandon_rest();
        let mut buffer = mem::take(&mut self.bytes);
        buffer.clear();
        buffer
    }

    #[inline]
    fn count_one(&mut self) -> u16 {
        let cell = self.next + self.count;
        self.count += 1;
        cell
    }

    /// The next record's head and the length of its body.
    #[inline]
    fn head(&self) -> (RecordHead, usize) {
        let head = self.bytes[self.at..].first_chunk().expect("every record has a whole head");
        decode_head(head)
    }

    #[cold]
    fn abandon_rest(&mut self) {
        if self.count == 0 {
            return;
        }
        let home = self.cells.home();
        let mut settling = Settling::new();
        let mut charged = 0;
        // Mostly, all records are of one topic and share one error.
        let mut group = Group { place: (TopicId(0), -1), set: CellSet::default(), callbacks: Vec::new() };
        let mut fail = |cells: &Arc<Cells>, group: &mut Group| {
            if group.set.len() == 0 {
                return;
            }
            let error = abandoned(cells, Some(group.place), Stage::Unbatched);
            let callbacks = mem::take(&mut group.callbacks);
            if !callbacks.is_empty() {
                // Before the handles: whoever waits for one finds its callback on its way.
                match &home {
                    Some(home) => home.fail_callbacks(callbacks, &error),
                    None => fail_here(callbacks, &error),
                }
            }
            settling.fail_set(Arc::clone(cells), mem::take(&mut group.set), error);
        };
        while let Some(view) = self.take_next() {
            let place = (view.topic, view.partition);
            charged += charge(view.body.len());
            if place != group.place {
                fail(view.cells, &mut group);
                group.place = place;
            }
            group.set.insert(view.cell);
            group.callbacks.extend(view.callback);
        }
        fail(&self.cells, &mut group);
        if let Some(home) = home {
            home.release(charged);
        }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if self.count > 0 {
            self.abandon_rest();
        }
    }
}

/// Names how many records there are, and nothing of what they say.
impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunk")
            .field("lane", &self.lane())
            .field("records", &self.count)
            .field("bytes", &(self.bytes.len() - self.at))
            .finish_non_exhaustive()
    }
}

/// Consecutive records that fail with the same error.
struct Group {
    place: (TopicId, i32),
    set: CellSet,
    callbacks: Vec<PendingCallback>,
}

/// What a record takes of `buffer.memory`: the caller takes so much, and the sender thread gives so much back.
#[inline]
pub(crate) fn charge(body_len: usize) -> usize {
    body_len.saturating_add(OVERHEAD)
}

/// What a record takes of a chunk's buffer.
#[inline]
pub(super) const fn size(body_len: usize) -> usize {
    body_len.saturating_add(HEAD_LEN)
}

/// Writes a record that is too large to share a buffer into one of its own, without its head. Done before the lane is
/// locked, so that nobody waits for a megabyte being copied.
pub(super) fn encode_alone(
    body_len: usize,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &Headers,
) -> Vec<u8> {
    let mut record = Vec::with_capacity(size(body_len));
    record.resize(HEAD_LEN, 0);
    put_body(&mut record, key, value, headers.entries());
    record
}

#[inline]
fn encode_head(head: RecordHead, body_len: usize) -> [u8; HEAD_LEN] {
    let body_len = u32::try_from(body_len).expect("a record is limited to 2 GiB by max.request.size");
    let mut bytes = [0; HEAD_LEN];
    bytes[0..4].copy_from_slice(&body_len.to_le_bytes());
    bytes[4..8].copy_from_slice(&head.topic.0.to_le_bytes());
    bytes[8..12].copy_from_slice(&head.partition.to_le_bytes());
    bytes[12..20].copy_from_slice(&head.timestamp.to_le_bytes());
    bytes
}

#[inline]
fn decode_head(bytes: &[u8; HEAD_LEN]) -> (RecordHead, usize) {
    let word = |at: usize| {
        u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes of twenty are four bytes"))
    };
    let timestamp = i64::from_le_bytes(bytes[12..].try_into().expect("the last eight of twenty bytes"));
    (RecordHead { topic: TopicId(word(4)), partition: word(8) as i32, timestamp }, word(0) as usize)
}

const HEAD_LEN: usize = 20;

/// Framing in the batch, the head here, the cell, and some slack.
const OVERHEAD: usize = 64;
