//! The log of one partition, and what it remembers of idempotent producers.
//!
//! Knows batches, offsets and sequences; leaders, topics and requests are strangers here. A batch is appended exactly
//! once: a producer that repeats one of its last five batches is told the offset of the first copy.

use std::collections::{HashMap, VecDeque};

use kafka_protocol::ResponseError;

use super::{
    batch::{CheckedBatch, Refusal, add_to_sequence},
    record::{Batch, Record},
};

/// The appended batches of one partition.
#[derive(Debug, Default)]
pub(super) struct PartitionLog {
    next_offset: i64,
    records: u64,
    bytes: u64,
    batches: Vec<StoredBatch>,
    producers: HashMap<i64, ProducerState>,
    /// Where the open transaction of a producer begins.
    open: HashMap<i64, i64>,
}

/// What decides how a batch is appended.
#[derive(Clone, Copy, Debug)]
pub(super) struct AppendRules {
    /// Records are kept.
    pub(super) keep: bool,
    /// A producer that is not known must start with the sequence 0.
    pub(super) first_is_zero: bool,
}

/// Where a batch was put, now or when it came the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Appended {
    pub(super) base_offset: i64,
    /// Milliseconds since 1970, -1 for a topic that keeps the producer's timestamps.
    pub(super) log_append_time: i64,
    pub(super) duplicate: bool,
}

impl PartitionLog {
    /// Appends a batch that a leader received, or says why it does not.
    pub(super) fn append(
        &mut self,
        batch: CheckedBatch,
        log_append_time: i64,
        leader: i32,
        rules: AppendRules,
    ) -> Result<Appended, Refusal> {
        let header = batch.header;
        match self.producers.get(&header.producer_id).filter(|_| header.is_idempotent()) {
            Some(state) => {
                if let Some(known) = state.find_duplicate(&batch) {
                    return Ok(Appended { duplicate: true, ..known });
                }
                state.check(&batch)?;
            }
            None if rules.first_is_zero && header.base_sequence != 0 => {
                let problem =
                    format!("an unknown producer starts with the sequence {}", header.base_sequence);
                return Err(Refusal::new(ResponseError::OutOfOrderSequenceNumber, problem));
            }
            None => {}
        }
        let base_offset = self.next_offset;
        let appended = Appended { base_offset, log_append_time, duplicate: false };
        if header.is_idempotent() {
            self.producers.entry(header.producer_id).or_default().remember(&batch, appended);
        }
        if header.is_transactional() {
            self.open.entry(header.producer_id).or_insert(base_offset);
        }
        self.next_offset += i64::from(header.count);
        self.records += u64::from(header.count.unsigned_abs());
        self.bytes += batch.bytes.len() as u64;
        if rules.keep {
            let fate = if header.is_transactional() { Fate::Open } else { Fate::Committed };
            self.batches.push(StoredBatch { batch, base_offset, log_append_time, leader, fate });
        }
        Ok(appended)
    }

    /// A transaction has ended: the mark takes an offset of its own, and no earlier epoch may write any more.
    pub(super) fn mark(&mut self, producer_id: i64, epoch: i16, commit: bool) {
        self.next_offset += 1;
        let state = self.producers.entry(producer_id).or_default();
        if epoch > state.epoch {
            state.epoch = epoch;
            state.recent.clear();
        }
        self.open.remove(&producer_id);
        let open = |batch: &&mut StoredBatch| {
            batch.fate == Fate::Open && batch.batch.header.producer_id == producer_id
        };
        for batch in self.batches.iter_mut().filter(open) {
            batch.fate = if commit { Fate::Committed } else { Fate::Aborted };
        }
    }

    /// The batches that a reader with `isolation.level=read_committed` sees: nothing of transactions that were aborted,
    /// and nothing behind the beginning of one that is open.
    pub(super) fn committed(&self) -> impl Iterator<Item = &StoredBatch> {
        let stable = self.open.values().min().copied().unwrap_or(i64::MAX);
        self.batches.iter().filter(move |b| b.fate == Fate::Committed && b.base_offset < stable)
    }

    /// Forgets every producer, as a broker does when their state expired: any sequence is accepted next.
    pub(super) fn forget_producers(&mut self) {
        self.producers.clear();
    }

    /// How many records were appended.
    pub(super) fn record_count(&self) -> u64 {
        self.records
    }

    /// How many bytes the appended batches have, headers included.
    pub(super) fn byte_count(&self) -> u64 {
        self.bytes
    }

    pub(super) fn batches(&self) -> &[StoredBatch] {
        &self.batches
    }
}

/// A batch in the log.
#[derive(Clone, Debug)]
pub(super) struct StoredBatch {
    batch: CheckedBatch,
    base_offset: i64,
    log_append_time: i64,
    leader: i32,
    fate: Fate,
}

/// What became of the transaction that a batch belongs to; a batch that belongs to none is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    Committed,
    Aborted,
}

impl StoredBatch {
    pub(super) fn describe(&self, topic: &str, partition: i32) -> Batch {
        let header = &self.batch.header;
        Batch {
            topic: topic.to_owned(),
            partition,
            base_offset: self.base_offset,
            records: header.count.unsigned_abs(),
            bytes: self.batch.bytes.len(),
            codec: header.codec(),
            leader: self.leader,
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
        }
    }

    pub(super) fn records(&self, topic: &str, partition: i32) -> Vec<Record> {
        let header = &self.batch.header;
        let decoded = self.batch.decode().expect("a batch is decoded before it is kept");
        (0..)
            .zip(decoded)
            .map(|(index, record)| Record {
                topic: topic.to_owned(),
                partition,
                offset: self.base_offset + i64::from(index),
                timestamp: if self.log_append_time >= 0 { self.log_append_time } else { record.timestamp },
                key: record.key.map(|key| key.to_vec()),
                value: record.value.map(|value| value.to_vec()),
                headers: record.headers,
                producer_id: header.producer_id,
                producer_epoch: header.producer_epoch,
                sequence: if header.is_idempotent() { header.sequence(index) } else { -1 },
            })
            .collect()
    }
}

/// What a partition knows of one producer id.
#[derive(Debug, Default)]
struct ProducerState {
    epoch: i16,
    /// The latest batches of this epoch, oldest first, at most [`REMEMBERED_BATCHES`]; empty after the mark that began it.
    recent: VecDeque<RememberedBatch>,
}

#[derive(Clone, Copy, Debug)]
struct RememberedBatch {
    base_sequence: i32,
    last_sequence: i32,
    appended: Appended,
}

impl ProducerState {
    fn find_duplicate(&self, batch: &CheckedBatch) -> Option<Appended> {
        let header = &batch.header;
        if header.producer_epoch != self.epoch {
            return None;
        }
        let same = |known: &&RememberedBatch| {
            known.base_sequence == header.base_sequence && known.last_sequence == header.last_sequence()
        };
        self.recent.iter().find(same).map(|known| known.appended)
    }

    fn check(&self, batch: &CheckedBatch) -> Result<(), Refusal> {
        let header = &batch.header;
        let (epoch, base) = (header.producer_epoch, header.base_sequence);
        if epoch < self.epoch {
            let problem = format!("the epoch {epoch} is older than {}, the last one seen", self.epoch);
            return Err(Refusal::new(ResponseError::InvalidProducerEpoch, problem));
        }
        if epoch > self.epoch {
            if base == 0 {
                return Ok(());
            }
            let problem = format!("the new epoch {epoch} starts with the sequence {base} instead of 0");
            return Err(Refusal::new(ResponseError::OutOfOrderSequenceNumber, problem));
        }
        let Some(last) = self.recent.back().map(|batch| batch.last_sequence) else {
            if base == 0 {
                return Ok(());
            }
            let problem = format!("the epoch {epoch} starts with the sequence {base} instead of 0");
            return Err(Refusal::new(ResponseError::OutOfOrderSequenceNumber, problem));
        };
        let expected = add_to_sequence(last, 1);
        if base == expected {
            return Ok(());
        }
        // Half of the circle of sequences lies behind the last one, half before it.
        let behind = last.wrapping_sub(header.last_sequence()) & i32::MAX;
        let problem = format!("the sequences {base} to {}, {expected} was expected", header.last_sequence());
        if behind < i32::MAX / 2 {
            return Err(Refusal::new(ResponseError::DuplicateSequenceNumber, problem));
        }
        Err(Refusal::new(ResponseError::OutOfOrderSequenceNumber, problem))
    }

    fn remember(&mut self, batch: &CheckedBatch, appended: Appended) {
        let header = &batch.header;
        if header.producer_epoch != self.epoch {
            self.epoch = header.producer_epoch;
            self.recent.clear();
        }
        if self.recent.len() == REMEMBERED_BATCHES {
            self.recent.pop_front();
        }
        let (base_sequence, last_sequence) = (header.base_sequence, header.last_sequence());
        self.recent.push_back(RememberedBatch { base_sequence, last_sequence, appended });
    }
}

/// Kafka's number: it is why a producer has at most five requests in flight.
const REMEMBERED_BATCHES: usize = 5;
