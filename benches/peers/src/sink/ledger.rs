//! What arrived: counts per partition, and whether it is what should have arrived.
//!
//! The sequences of an idempotent producer are judged from the batches' headers, always. Checksums and the records
//! themselves cost time, and are judged only on request.

use serde::{Deserialize, Serialize};

use crate::payload;

/// What there is to write to, and how closely to look.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Topics, named by [`payload::topic`].
    pub topics: u32,
    /// Partitions of each topic.
    pub partitions: u32,
    /// Check the checksum of every batch, and decode every record.
    pub verify: bool,
    /// With `verify`: the size that every record's value must have.
    pub size: Option<usize>,
}

/// What the sink prints.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Report {
    pub connections: u64,
    pub requests: u64,
    pub batches: u64,
    pub records: u64,
    /// Of the batches, with their headers.
    pub bytes: u64,
    /// Batches of a producer without an id, whose order nobody can judge.
    pub unsequenced_batches: u64,
    pub sequence_errors: u64,
    pub checksum_errors: u64,
    pub record_errors: u64,
    /// Connections that were closed on what they sent; the first reason.
    pub refused: Option<String>,
    /// Partitions that got a record.
    pub partitions: u64,
    pub cpu_seconds: f64,
}

/// The counts of all partitions.
#[derive(Debug)]
pub struct Ledger {
    shape: Shape,
    report: Report,
    partitions: Vec<Partition>,
    /// What a value must be, if `Shape::size` says how long.
    expected: Option<Vec<u8>>,
    next_producer: i64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Partition {
    next_offset: i64,
    /// Whose batch came last, and the sequence that must follow.
    last: Option<(i64, i16, i32)>,
}

impl Ledger {
    pub fn new(shape: Shape) -> Self {
        let partitions = vec![Partition::default(); (shape.topics * shape.partitions) as usize];
        let expected = shape.size.map(payload::value);
        Self { shape, report: Report::default(), partitions, expected, next_producer: 1000 }
    }

    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The counts so far; the caller adds what it knows of CPU time.
    pub fn report(&self) -> Report {
        let partitions = self.partitions.iter().filter(|p| p.next_offset > 0).count() as u64;
        Report { partitions, ..self.report.clone() }
    }

    pub(super) fn on_connection(&mut self) {
        self.report.connections += 1;
    }

    pub(super) fn on_request(&mut self) {
        self.report.requests += 1;
    }

    pub(super) fn on_refused(&mut self, reason: String) {
        self.report.refused.get_or_insert(reason);
    }

    pub(super) fn take_producer_id(&mut self) -> i64 {
        self.next_producer += 1;
        self.next_producer
    }

    /// Counts a batch by its header, and returns the offset of its first record.
    pub(super) fn on_batch(&mut self, topic: u32, partition: i32, header: &BatchHeader) -> Option<i64> {
        self.report.batches += 1;
        self.report.records += u64::from(header.records);
        self.report.bytes += header.bytes as u64;
        let partition = u32::try_from(partition).ok().filter(|p| *p < self.shape.partitions)?;
        let partition = &mut self.partitions[(topic * self.shape.partitions + partition) as usize];
        match header.producer {
            None => self.report.unsequenced_batches += 1,
            Some((id, epoch, sequence)) => {
                let expected = match partition.last {
                    Some((last_id, last_epoch, next)) if (last_id, last_epoch) == (id, epoch) => next,
                    _ => 0,
                };
                self.report.sequence_errors += u64::from(sequence != expected);
                // Sequences begin again at 0 behind 2^31 - 1.
                let next = (i64::from(sequence) + i64::from(header.records)) & i64::from(i32::MAX);
                partition.last = Some((id, epoch, next as i32));
            }
        }
        let base = partition.next_offset;
        partition.next_offset += i64::from(header.records);
        Some(base)
    }

    /// Looks at all of a batch of format 2.
    pub(super) fn verify(&mut self, batch: &[u8]) {
        let checksum = u32::from_be_bytes(batch[17..21].try_into().expect("four bytes"));
        self.report.checksum_errors += u64::from(crc32c::crc32c(&batch[21..]) != checksum);
        if batch[22] & CODEC_BITS != 0 {
            // To open it is another library's work, whose word would have to be taken.
            return;
        }
        let declared = i32::from_be_bytes(batch[57..61].try_into().expect("four bytes"));
        let mut rest = &batch[61..];
        let mut good = 0;
        while !rest.is_empty() {
            let Some((value, offset_delta)) = take_record(&mut rest) else { break };
            let as_expected = self.expected.as_ref().is_none_or(|expected| value == expected);
            if !as_expected || offset_delta != good {
                break;
            }
            good += 1;
        }
        self.report.record_errors += u64::from(good != i64::from(declared) || !rest.is_empty());
    }
}

/// What counts need to know of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchHeader {
    pub(super) records: u32,
    pub(super) bytes: usize,
    /// Id, epoch and first sequence.
    pub(super) producer: Option<(i64, i16, i32)>,
}

/// The value and the offset delta of the record at the front, if it is whole and its lengths agree.
fn take_record<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], i64)> {
    let length = usize::try_from(take_varint(rest)?).ok()?;
    let mut body = rest.split_off(..length)?;
    body.split_off_first()?;
    take_varint(&mut body)?;
    let offset_delta = take_varint(&mut body)?;
    take_bytes(&mut body)?;
    let value = take_bytes(&mut body)?;
    let headers = u32::try_from(take_varint(&mut body)?).ok()?;
    for _ in 0..headers {
        take_bytes(&mut body)?;
        take_bytes(&mut body)?;
    }
    body.is_empty().then_some((value, offset_delta))
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    match take_varint(rest)? {
        -1 => Some(&[]),
        length => rest.split_off(..usize::try_from(length).ok()?),
    }
}

fn take_varint(rest: &mut &[u8]) -> Option<i64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *rest.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    None
}

/// Of the attributes' second byte.
const CODEC_BITS: u8 = 0x07;
