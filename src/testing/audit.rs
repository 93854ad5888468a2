//! Watches a producer for what no answer of a broker would punish.
//!
//! A broker accepts a repeated sequence with other bytes as a duplicate, and a sixth request in flight as luck; both
//! lose or duplicate records under the next fault. The audit remembers what was seen and never changes an answer.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use super::batch::CheckedBatch;

/// What was seen, and what was wrong with it.
#[derive(Debug)]
pub(super) struct Audit {
    batches: HashMap<BatchName, Fingerprint>,
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

/// Length and CRC stand for the bytes: the CRC was verified before.
type Fingerprint = (usize, u32);

impl Audit {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            batches: HashMap::new(),
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
        let name = name_of(topic_id, partition, batch);
        let print = (batch.bytes.len(), header.crc);
        match self.batches.get(&name) {
            None => {
                if self.order.len() == self.limit
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.batches.remove(&oldest);
                }
                self.batches.insert(name, print);
                self.order.push_back(name);
            }
            Some(&known) if known != print => self.violation(format!(
                "{topic}-{partition}: producer {} epoch {} sequence {} named a batch of {} bytes with the CRC {:08x}, now one of {} bytes with {:08x}",
                name.0, name.1, name.4, known.0, known.1, print.0, print.1
            )),
            Some(_) => {}
        }
    }

    /// A batch was refused as too large: its parts may start with the same sequence.
    pub(super) fn forget_batch(&mut self, topic_id: u128, partition: i32, batch: &CheckedBatch) {
        // The name stays in `order`: it is evicted once more at most, which does no harm.
        self.batches.remove(&name_of(topic_id, partition, batch));
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

fn name_of(topic_id: u128, partition: i32, batch: &CheckedBatch) -> BatchName {
    let header = &batch.header;
    (header.producer_id, header.producer_epoch, topic_id, partition, header.base_sequence)
}

/// Kafka remembers five batches of a producer: a sixth in flight could not be recognised when it is repeated.
pub(super) const MAX_IN_FLIGHT: usize = 5;
/// A producer that is wrong is wrong every time; the first complaints are enough.
const MAX_VIOLATIONS: usize = 1_000;
