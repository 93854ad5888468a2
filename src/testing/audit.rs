//! Watches a producer for what no answer of a broker would punish.
//!
//! A broker accepts a repeated sequence with other bytes as a duplicate, and a sixth request in flight as luck; both
//! lose or duplicate records under the next fault. The audit remembers what was seen and never changes an answer.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Duration,
};

use super::batch::{BatchHeader, CheckedBatch};

/// What was seen, and what was wrong with it.
#[derive(Debug)]
pub(super) struct Audit {
    batches: BTreeMap<BatchName, Seen>,
    /// The names in `batches`, oldest first.
    order: VecDeque<BatchName>,
    /// How many batches are remembered at most.
    limit: usize,
    /// When the produce requests of a connection will be answered: those of idempotent producers that ask for an answer.
    unanswered: HashMap<u64, VecDeque<Duration>>,
    violations: Vec<String>,
}

/// What names one batch for ever: producer id, epoch, topic id, partition, first sequence.
type BatchName = (i64, i16, u128, i32, i32);

/// What is remembered of a batch. Length and CRC stand for the bytes: the CRC was verified before.
#[derive(Clone, Copy, Debug)]
struct Seen {
    bytes: usize,
    crc: u32,
    records: i32,
    /// It lies in a log, whatever the producer was told.
    taken: bool,
}

impl Audit {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            batches: BTreeMap::new(),
            order: VecDeque::new(),
            limit,
            unanswered: HashMap::new(),
            violations: Vec::new(),
        }
    }

    pub(super) fn violation(&mut self, problem: String) {
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(problem);
        }
    }

    pub(super) fn violations(&self) -> &[String] {
        &self.violations
    }

    /// A batch arrived, whatever will be answered.
    pub(super) fn on_batch(&mut self, topic_id: u128, topic: &str, partition: i32, batch: &CheckedBatch) {
        let header = &batch.header;
        if batch.found_max_timestamp != header.max_timestamp {
            let (claimed, found) = (header.max_timestamp, batch.found_max_timestamp);
            self.violation(format!(
                "{topic}-{partition}: a batch claims the timestamp {claimed}, its largest is {found}"
            ));
        }
        if !header.is_idempotent() {
            return;
        }
        let name = name_of(topic_id, partition, header);
        let (bytes, crc) = (batch.bytes.len(), header.crc);
        match self.batches.get(&name) {
            None => {
                self.look_for_overlap(name, topic, header.count);
                if self.order.len() == self.limit
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.batches.remove(&oldest);
                }
                self.batches.insert(name, Seen { bytes, crc, records: header.count, taken: false });
                self.order.push_back(name);
            }
            Some(known) if (known.bytes, known.crc) != (bytes, crc) => {
                let (id, epoch, .., base) = name;
                let known = format!("{} bytes with the CRC {:08x}", known.bytes, known.crc);
                self.violation(format!(
                    "{topic}-{partition}: producer {id} epoch {epoch} sequence {base} named a batch of {known}, now \
                     one of {bytes} bytes with {crc:08x}"
                ));
            }
            Some(_) => {}
        }
    }

    /// Every number names one record.
    fn look_for_overlap(&mut self, name: BatchName, topic: &str, records: i32) {
        let (id, epoch, topic_id, partition, base) = name;
        let of_partition = |base| (id, epoch, topic_id, partition, base);
        let before = self.batches.range(of_partition(0)..name).next_back();
        let behind = self.batches.range(name..=of_partition(i32::MAX)).next();
        let reaches = |base: i32, records: i32, to: i32| i64::from(base) + i64::from(records) > i64::from(to);
        let overlap = before.filter(|((.., other), seen)| reaches(*other, seen.records, base));
        let overlap = overlap.or_else(|| behind.filter(|((.., other), _)| reaches(base, records, *other)));
        if let Some(((.., other), seen)) = overlap {
            let (count, other) = (seen.records, *other);
            self.violation(format!(
                "{topic}-{partition}: producer {id} epoch {epoch}: the sequences {base}+{records} overlap with \
                 {other}+{count}"
            ));
        }
    }

    /// A batch lies in the log now, or did before.
    pub(super) fn on_taken(&mut self, topic_id: u128, partition: i32, header: &BatchHeader) {
        if let Some(seen) = self.batches.get_mut(&name_of(topic_id, partition, header)) {
            seen.taken = true;
        }
    }

    /// A batch was refused as too large: its parts may start with the same sequence, unless it was taken before.
    pub(super) fn on_too_large(&mut self, topic_id: u128, partition: i32, header: &BatchHeader) {
        let name = name_of(topic_id, partition, header);
        if self.batches.get(&name).is_some_and(|seen| !seen.taken) {
            // The name stays in `order`: it is evicted once more at most, which does no harm.
            self.batches.remove(&name);
        }
    }

    /// What was seen so far names nothing any more.
    pub(super) fn forget_batches(&mut self) {
        self.batches.clear();
        self.order.clear();
    }

    /// A produce request of an idempotent producer arrived at `now` and is answered at `due`.
    pub(super) fn on_produce(&mut self, connection: u64, now: Duration, due: Duration) {
        let unanswered = self.unanswered.entry(connection).or_default();
        unanswered.retain(|due| *due > now);
        unanswered.push_back(due);
        let count = unanswered.len();
        if count > MAX_IN_FLIGHT {
            self.violation(format!("{count} unanswered produce requests on connection {connection}"));
        }
    }

    /// So many produce requests of idempotent producers have arrived besides, and were not looked at yet.
    pub(super) fn on_backlog(&mut self, connection: u64, now: Duration, backlog: usize) {
        let waiting =
            self.unanswered.get(&connection).map_or(0, |dues| dues.iter().filter(|due| **due > now).count());
        if waiting + backlog > MAX_IN_FLIGHT {
            self.violation(format!(
                "{} unanswered produce requests on connection {connection}",
                waiting + backlog
            ));
        }
    }

    pub(super) fn on_disconnect(&mut self, connection: u64) {
        self.unanswered.remove(&connection);
    }
}

fn name_of(topic_id: u128, partition: i32, header: &BatchHeader) -> BatchName {
    (header.producer_id, header.producer_epoch, topic_id, partition, header.base_sequence)
}

/// Kafka remembers five batches of a producer: a sixth in flight could not be recognised when it is repeated.
pub(super) const MAX_IN_FLIGHT: usize = 5;
/// A producer that is wrong is wrong every time; the first complaints are enough.
const MAX_VIOLATIONS: usize = 1_000;
