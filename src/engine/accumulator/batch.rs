//! One batch: the records of one partition that travel together.
//!
//! ```text
//!  Open --------> Sealed --------> InFlight --------> settled
//!   records        bytes frozen     ^   |  retried:
//!   are appended   and numbered     +---+  the same bytes again
//! ```

use std::{sync::Arc, time::Instant};

use crate::{
    config::Compression,
    handoff::{Cells, PendingCallback, Run, charge},
    wire::{
        batch::{self, BatchHeader, HEADER_LEN},
        codec::{self, Compressor},
        record::{self, RecordHead},
        sequence::Sequence,
    },
};

/// A partition's queue; stable for the life of the producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::engine) struct Slot(pub(super) u32);

pub(in crate::engine) struct Batch {
    pub(in crate::engine) slot: Slot,
    /// When its first record was sent: linger and delivery timeout count from here.
    pub(in crate::engine) created: Instant,
    bytes: Bytes,
    /// What the bytes of its records are compressed with by now.
    codec: Compression,
    limit: usize,
    /// What a byte is expected to become; `None`: it stays as it is.
    ratio: Option<f32>,
    pub(in crate::engine) records: i32,
    /// Its bytes in the batch, uncompressed.
    pub(in crate::engine) largest_record: usize,
    /// What compression has made of a byte: 1 without.
    pub(in crate::engine) achieved_ratio: f64,
    base_timestamp: i64,
    max_timestamp: i64,
    /// What its records took from `buffer.memory`.
    pub(in crate::engine) charge: usize,
    pub(in crate::engine) runs: Vec<Run>,
    /// With the index of the record each belongs to, ascending.
    pub(in crate::engine) callbacks: Vec<(i32, PendingCallback)>,
    pub(in crate::engine) sequence: Option<Sequence>,
    /// How often it was sent.
    pub(in crate::engine) attempts: u32,
    /// How often under its present sequence: a broker cannot know earlier ones by it.
    pub(in crate::engine) attempts_as_numbered: u32,
    /// Whether the broker may have taken it under its present sequence.
    pub(in crate::engine) open_as_numbered: bool,
    pub(in crate::engine) retry_at: Option<Instant>,
    /// The leader's epoch at the last attempt: a newer leader need not be waited for.
    pub(in crate::engine) attempt_epoch: i32,
    /// The last attempt did not wait for its time, since there was a newer leader.
    pub(in crate::engine) hurried: bool,
    pub(in crate::engine) may_have_been_written: bool,
    pub(in crate::engine) in_flight: bool,
    /// Somebody waits for it, or must not be kept waiting: linger is over.
    pub(in crate::engine) urgent: bool,
    pub(in crate::engine) flush_epoch: u64,
    /// It belongs to a transaction.
    pub(super) transactional: bool,
    /// Its handles are settled (it expired), but its request has not ended: the memory is still in use.
    pub(in crate::engine) expired: bool,
    pub(in crate::engine) last_cause: Option<String>,
}

enum Bytes {
    /// The header's room, then records.
    Open(Vec<u8>),
    /// Frozen: shared with the transport, sent again as they are.
    Sealed(Arc<Vec<u8>>),
}

impl Batch {
    pub(super) fn new(
        slot: Slot,
        created: Instant,
        mut buffer: Vec<u8>,
        limit: usize,
        ratio: Option<f32>,
        flush_epoch: u64,
    ) -> Self {
        buffer.clear();
        buffer.resize(HEADER_LEN, 0);
        Self {
            slot,
            created,
            bytes: Bytes::Open(buffer),
            codec: Compression::None,
            limit,
            ratio,
            records: 0,
            largest_record: 0,
            achieved_ratio: 1.0,
            base_timestamp: 0,
            max_timestamp: 0,
            charge: 0,
            runs: Vec::new(),
            callbacks: Vec::new(),
            sequence: None,
            attempts: 0,
            attempts_as_numbered: 0,
            open_as_numbered: false,
            retry_at: None,
            attempt_epoch: -1,
            hurried: false,
            may_have_been_written: false,
            in_flight: false,
            urgent: false,
            flush_epoch,
            transactional: false,
            expired: false,
            last_cause: None,
        }
    }

    /// Appends a record and says how many bytes it takes, or may be expected to take; `None` if the batch has no room. An empty batch takes a
    /// record of any size.
    #[inline]
    pub(super) fn try_append(
        &mut self,
        timestamp: i64,
        body: &[u8],
        cells: &Arc<Cells>,
        cell: u16,
    ) -> Option<usize> {
        let bytes = self.put(timestamp, body, self.limit)?;
        if !self.runs.last_mut().is_some_and(|run| run.extend(cells, cell)) {
            self.runs.push(Run::start(cells, cell));
        }
        Some(bytes)
    }

    #[inline]
    fn put(&mut self, timestamp: i64, body: &[u8], limit: usize) -> Option<usize> {
        let Bytes::Open(buffer) = &mut self.bytes else { return None };
        if self.records == 0 {
            self.base_timestamp = timestamp;
            self.max_timestamp = timestamp;
        }
        let head = RecordHead::new(body.len(), timestamp.wrapping_sub(self.base_timestamp), self.records);
        if self.records > 0 && compressed(buffer.len(), self.ratio) + head.record_len() > limit {
            return None;
        }
        let ratio = self.ratio;
        make_room(buffer, head.record_len(), || uncompressed(limit, ratio));
        record::put_record(buffer, &head, body);
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.records += 1;
        self.largest_record = self.largest_record.max(head.record_len());
        self.charge += charge(body.len());
        Some(ratio.map_or(head.record_len(), |ratio| (head.record_len() as f32 * ratio) as usize))
    }

    /// Takes over a record from another batch, of whatever size; its cell comes by itself.
    fn take_over(&mut self, timestamp: i64, body: &[u8]) {
        self.put(timestamp, body, usize::MAX).expect("a batch that was just made is open");
    }

    pub(super) fn is_full(&self) -> bool {
        match &self.bytes {
            Bytes::Open(buffer) => compressed(buffer.len(), self.ratio) >= self.limit,
            Bytes::Sealed(_) => true,
        }
    }

    /// How long it is, or may be expected to be.
    pub(in crate::engine) fn size(&self) -> usize {
        match &self.bytes {
            Bytes::Open(buffer) => compressed(buffer.len(), self.ratio),
            Bytes::Sealed(bytes) => bytes.len(),
        }
    }

    /// Compresses the records into another buffer, and gives back the one they were in. `Err`: it was done before, and
    /// the other buffer is not needed.
    pub(super) fn compress(
        &mut self,
        compressor: &mut Compressor,
        mut packed: Vec<u8>,
    ) -> Result<Vec<u8>, Vec<u8>> {
        let buffer = match &mut self.bytes {
            Bytes::Open(buffer) if self.codec == Compression::None => buffer,
            _ => return Err(packed),
        };
        packed.clear();
        packed.resize(HEADER_LEN, 0);
        compressor.compress(&buffer[HEADER_LEN..], &mut packed);
        self.achieved_ratio = packed.len() as f64 / buffer.len() as f64;
        self.codec = compressor.codec();
        self.ratio = None;
        self.limit = 0;
        Ok(std::mem::replace(buffer, packed))
    }

    pub(super) fn is_compressed(&self) -> bool {
        self.codec != Compression::None
    }

    /// Freezes the bytes under the batch's sequence. A batch that was frozen keeps its bytes.
    pub(in crate::engine) fn seal(&mut self) -> Arc<Vec<u8>> {
        if let Bytes::Open(buffer) = &mut self.bytes {
            let mut buffer = std::mem::take(buffer);
            self.write_header(&mut buffer);
            self.bytes = Bytes::Sealed(Arc::new(buffer));
        }
        match &self.bytes {
            Bytes::Sealed(bytes) => Arc::clone(bytes),
            Bytes::Open(_) => unreachable!("sealed above"),
        }
    }

    /// Takes the sequence away, so that the next [`seal`](Self::seal) writes a new one. The records stay.
    pub(in crate::engine) fn unseal(&mut self) {
        self.sequence = None;
        self.attempts_as_numbered = 0;
        self.open_as_numbered = false;
        if let Bytes::Sealed(bytes) = &mut self.bytes {
            // The transport may hold the old bytes still: it keeps them, and this batch goes on with a copy.
            let buffer = Arc::try_unwrap(std::mem::take(bytes)).unwrap_or_else(|shared| (*shared).clone());
            self.limit = 0;
            self.bytes = Bytes::Open(buffer);
        }
    }

    /// Two batches with the same records in the same order, each about half as large, under the same sequence. At least
    /// two records are in it.
    pub(super) fn halve(mut self) -> (Self, Self) {
        let bytes = self.seal_uncompressed();
        let middle = HEADER_LEN + (bytes.len() - HEADER_LEN) / 2;
        let mut first = self.child(self.sequence);
        let mut second = self.child(None);
        for record in batch::records(&bytes) {
            let record = record.expect("a batch of our own can be read");
            let fits = first.records == 0 || first.size() < middle;
            let half = if fits && first.records < self.records - 1 { &mut first } else { &mut second };
            half.take_over(record.timestamp, record.body);
        }
        second.sequence = self.sequence.map(|sequence| sequence.after(first.records));
        for mut run in std::mem::take(&mut self.runs) {
            let missing = first.records as usize - first.runs.iter().map(Run::len).sum::<usize>();
            if run.len() > missing {
                second.runs.push(run.split_off(missing));
            }
            if missing > 0 {
                first.runs.push(run);
            }
        }
        for (index, callback) in std::mem::take(&mut self.callbacks) {
            match index - first.records {
                index if index >= 0 => second.callbacks.push((index, callback)),
                _ => first.callbacks.push((index, callback)),
            }
        }
        (first, second)
    }

    /// Takes the records at `bad` out, each into a batch of its own, and leaves the others together, if there are any.
    /// All of them are to be numbered anew. `bad` is ascending and without repetition.
    pub(super) fn sort_out(mut self, bad: &[i32]) -> (Option<Self>, Vec<(i32, Self)>) {
        let bytes = self.seal_uncompressed();
        let mut good = self.child(None);
        let mut outcasts = Vec::new();
        let mut runs = std::mem::take(&mut self.runs).into_iter().flat_map(Run::into_singles);
        let mut callbacks = std::mem::take(&mut self.callbacks).into_iter().peekable();
        for (index, record) in (0..).zip(batch::records(&bytes)) {
            let record = record.expect("a batch of our own can be read");
            let is_bad = bad.binary_search(&index).is_ok();
            if is_bad {
                outcasts.push((index, self.child(None)));
            }
            let home = if is_bad { &mut outcasts.last_mut().expect("just pushed").1 } else { &mut good };
            if let Some((_, callback)) = callbacks.next_if(|(at, _)| *at == index) {
                home.callbacks.push((home.records, callback));
            }
            home.take_over(record.timestamp, record.body);
            home.runs.extend(runs.next());
        }
        ((good.records > 0).then_some(good), outcasts)
    }

    /// The whole batch as it would be without compression.
    fn seal_uncompressed(&mut self) -> Arc<Vec<u8>> {
        let bytes = self.seal();
        if !self.is_compressed() {
            return bytes;
        }
        let mut batch = vec![0; HEADER_LEN];
        codec::decompress(std::mem::take(&mut self.codec), &bytes[HEADER_LEN..], &mut batch)
            .expect("what was compressed here can be read");
        self.write_header(&mut batch);
        Arc::new(batch)
    }

    /// An empty batch in the place of this one. It takes no new records, and need not linger.
    fn child(&self, sequence: Option<Sequence>) -> Self {
        let buffer = Vec::with_capacity(self.size());
        let mut child = Self::new(self.slot, self.created, buffer, 0, None, self.flush_epoch);
        child.sequence = sequence;
        child.transactional = self.transactional;
        child.may_have_been_written = self.may_have_been_written;
        child.urgent = true;
        child
    }

    fn write_header(&self, buffer: &mut [u8]) {
        let (producer_id, producer_epoch, base_sequence) = match self.sequence {
            Some(s) => (s.identity.id, s.identity.epoch, s.base),
            None => (batch::NO_PRODUCER_ID, batch::NO_PRODUCER_EPOCH, batch::NO_SEQUENCE),
        };
        let transactional = if self.transactional { batch::TRANSACTIONAL } else { 0 };
        let header = BatchHeader {
            attributes: codec::attribute(self.codec) | transactional,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id,
            producer_epoch,
            base_sequence,
            records_count: self.records,
        };
        batch::write_header(buffer, &header);
    }

    pub(super) fn holds(&self, cells: &Arc<Cells>, cell: u16) -> bool {
        self.runs.iter().any(|run| run.contains(cells, cell))
    }

    /// The buffer, for the next batch, if the transport is done with it.
    pub(super) fn into_buffer(self) -> Option<Vec<u8>> {
        match self.bytes {
            Bytes::Open(buffer) => Some(buffer),
            Bytes::Sealed(bytes) => Arc::into_inner(bytes),
        }
    }
}

/// What so many bytes of a batch may become, and the other way round. The header is never compressed.
#[inline]
fn compressed(len: usize, ratio: Option<f32>) -> usize {
    match ratio {
        Some(ratio) => HEADER_LEN + ((len - HEADER_LEN) as f32 * ratio) as usize,
        None => len,
    }
}

fn uncompressed(len: usize, ratio: Option<f32>) -> usize {
    match ratio {
        Some(ratio) => HEADER_LEN + (len.saturating_sub(HEADER_LEN) as f32 / ratio) as usize,
        None => len,
    }
}

/// Room for a record. A buffer grows twofold as any, but not beyond what a batch of records of this size takes:
/// `buffer.memory` counts what is in a batch, and nothing for what it leaves empty.
#[inline]
fn make_room(buffer: &mut Vec<u8>, record: usize, limit: impl FnOnce() -> usize) {
    let needed = record + SLACK;
    if buffer.capacity() - buffer.len() < needed {
        let fit = limit().saturating_sub(buffer.len()) / record * record + SLACK;
        buffer.reserve_exact(fit.min(buffer.capacity()).max(needed));
    }
}

/// What writing a record may need beyond its bytes.
const SLACK: usize = size_of::<u64>();

#[cfg(test)]
mod tests {
    use super::*;

    /// Twofold growth alone would have kept half as much again as a batch of 16 KiB can hold.
    #[test]
    fn a_buffer_is_no_larger_than_what_it_is_for() {
        for record in [1, 100, 300, 1_000, 10_000] {
            let limit = 16_384;
            let mut buffer = Vec::with_capacity(HEADER_LEN + record);
            buffer.resize(HEADER_LEN, 0);
            while buffer.len() + record <= limit {
                make_room(&mut buffer, record, || limit);
                buffer.resize(buffer.len() + record, 0);
            }
            let unused = buffer.capacity() - buffer.len();
            assert!(unused <= SLACK, "{unused} bytes are unused with records of {record} bytes");
        }
        // A record that is larger than a batch fills one alone.
        let mut buffer = Vec::with_capacity(HEADER_LEN);
        make_room(&mut buffer, 50_000, || 16_384);
        assert!((50_000..51_000).contains(&buffer.capacity()), "{}", buffer.capacity());
    }
}
