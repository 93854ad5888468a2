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
        keep: bool,
    ) -> Result<Appended, Refusal> {
        let header = batch.header;
        if header.is_idempotent()
            && let Some(state) = self.producers.get(&header.producer_id)
        {
            if let Some(known) = state.find_duplicate(&batch) {
                return Ok(Appended { duplicate: true, ..known });
            }
            state.check(&batch)?;
        }
        let base_offset = self.next_offset;
        let appended = Appended { base_offset, log_append_time, duplicate: false };
        if header.is_idempotent() {
            self.producers.entry(header.producer_id).or_default().remember(&batch, appended);
        }
        self.next_offset += i64::from(header.count);
        self.records += u64::from(header.count.unsigned_abs());
        self.bytes += batch.bytes.len() as u64;
        if keep {
            self.batches.push(StoredBatch { batch, base_offset, log_append_time, leader });
        }
        Ok(appended)
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
    /// The latest batches of this epoch, oldest first, at most [`REMEMBERED_BATCHES`]; never empty once stored.
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
        let last = self.recent.back().expect("a known producer has a batch").last_sequence;
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
