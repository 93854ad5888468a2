//! What a broker looks at before it takes a record batch.
//!
//! The header is read at its fixed offsets and the records are walked once, because the crate `kafka-protocol` hides
//! three things that a broker checks: the last offset delta, bytes after the last record, and header keys that occur
//! more than once. It still has the last word: a batch that it cannot decode is refused. Nothing of the producer's
//! own encoder is used here, or it would be tested with itself.

use std::io;

use bytes::{Buf, Bytes};
use kafka_protocol::{
    ResponseError,
    records::{Compression, Record, RecordBatchDecoder},
};

use super::inflate::inflate;

/// A batch that passed the checks which need nothing but its own bytes.
#[derive(Clone, Debug)]
pub(super) struct CheckedBatch {
    pub(super) header: BatchHeader,
    /// The whole batch as it came, header included.
    pub(super) bytes: Bytes,
    /// The largest timestamp of the records; what the header claims if they were not looked at.
    pub(super) found_max_timestamp: i64,
}

/// The fixed part of a record batch, format 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchHeader {
    pub(super) crc: u32,
    pub(super) attributes: i16,
    pub(super) last_offset_delta: i32,
    pub(super) base_timestamp: i64,
    pub(super) max_timestamp: i64,
    pub(super) producer_id: i64,
    pub(super) producer_epoch: i16,
    pub(super) base_sequence: i32,
    pub(super) count: i32,
}

/// One record as it lies in a batch, with what `kafka-protocol` made of it.
pub(super) struct DecodedRecord {
    pub(super) timestamp: i64,
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
    pub(super) headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Why a broker does not append a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: i16,
    pub(super) message: String,
    /// Index in the batch and complaint, for the records that are at fault.
    pub(super) records: Vec<(i32, String)>,
}

/// What of the topic and of the request decides whether a batch is legal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) produce_version: i16,
    pub(super) max_message_bytes: usize,
    /// A compacted topic takes no record without a key.
    pub(super) compacted: bool,
    /// Whether the records are looked at, or only the header and the checksum.
    pub(super) read_records: bool,
}

impl CheckedBatch {
    /// Checks `bytes` in the order in which a broker does, so that the first complaint is the broker's.
    pub(super) fn check(bytes: Bytes, rules: Rules) -> Result<Self, Refusal> {
        if bytes.is_empty() {
            return Err(Refusal::invalid(
                "a partition of a produce request carries exactly one batch, this one none",
            ));
        }
        if bytes.len() < HEADER_BYTES {
            let problem = format!("{} bytes are no batch: its header alone has {HEADER_BYTES}", bytes.len());
            return Err(Refusal::corrupt(problem));
        }
        let magic = bytes[MAGIC_AT] as i8;
        if magic != 2 {
            return Err(Refusal::invalid(format!("the batch has magic {magic}, only 2 is allowed")));
        }
        let announced = (&bytes[LENGTH_AT..]).get_i32();
        let found = bytes.len() - LENGTH_COUNTS_FROM;
        if usize::try_from(announced).is_ok_and(|announced| announced < found) {
            let problem =
                format!("{} bytes follow the batch: exactly one is allowed", found - announced as usize);
            return Err(Refusal::invalid(problem));
        }
        if announced as usize != found {
            return Err(Refusal::corrupt(format!(
                "the batch says it has {announced} bytes more, but has {found}"
            )));
        }
        let header = BatchHeader::read(&bytes);
        if header.codec() == ZSTD && rules.produce_version < 7 {
            let problem =
                format!("zstd in a produce request of version {}: it needs 7", rules.produce_version);
            return Err(Refusal::new(ResponseError::UnsupportedCompressionType, problem));
        }
        if bytes.len() > rules.max_message_bytes {
            let problem =
                format!("a batch of {} bytes: max.message.bytes is {}", bytes.len(), rules.max_message_bytes);
            return Err(Refusal::new(ResponseError::MessageTooLarge, problem));
        }
        let crc = crc32c::crc32c(&bytes[CRC_COVERS_FROM..]);
        if crc != header.crc {
            return Err(Refusal::corrupt(format!(
                "the batch has the CRC {:08x}, but {crc:08x} was computed",
                header.crc
            )));
        }
        header.check()?;
        let mut batch = Self { header, bytes, found_max_timestamp: header.max_timestamp };
        if rules.read_records {
            batch.found_max_timestamp = batch.check_records(rules.compacted)?;
        }
        Ok(batch)
    }

    /// The records, in order. Fails only for a batch whose records were not looked at when it came.
    pub(super) fn decode(&self) -> Result<Vec<DecodedRecord>, String> {
        let (walked, decoded) = self.read_records()?;
        Ok(decoded
            .into_iter()
            .zip(walked)
            .map(|(record, walked)| DecodedRecord {
                timestamp: record.timestamp,
                key: record.key,
                value: record.value,
                headers: walked.headers,
            })
            .collect())
    }

    /// Looks at every record and returns the largest timestamp.
    fn check_records(&self, compacted: bool) -> Result<i64, Refusal> {
        if let Err(problem) = self.plain_records()
            && self.header.codec() != 0
        {
            return Err(Refusal::new(ResponseError::UnsupportedCompressionType, problem));
        }
        let (walked, _) = self.read_records().map_err(Refusal::invalid)?;
        let mut refusal = Refusal::invalid("a compacted topic takes no record without a key");
        for (index, record) in (0..).zip(&walked) {
            if compacted && !record.has_key {
                refusal.records.push((index, "the record has no key".to_owned()));
            }
        }
        if !refusal.records.is_empty() {
            return Err(refusal);
        }
        Ok(walked.iter().map(|record| record.timestamp).max().unwrap_or(self.header.max_timestamp))
    }

    fn read_records(&self) -> Result<(Vec<WalkedRecord>, Vec<Record>), String> {
        let plain = self.plain_records()?;
        let walked = walk(&plain, &self.header)?;
        let opened = |_: &mut Bytes, _: Compression| Ok(plain.clone());
        let decoded =
            RecordBatchDecoder::decode_with_custom_compression(&mut self.bytes.clone(), Some(opened))
                .map_err(|problem| problem.to_string())?;
        if decoded.records.len() != walked.len() {
            return Err(format!(
                "{} records were decoded, but {} walked",
                decoded.records.len(),
                walked.len()
            ));
        }
        Ok((walked, decoded.records))
    }

    fn plain_records(&self) -> Result<Bytes, String> {
        inflate(self.header.codec(), self.bytes.slice(HEADER_BYTES..))
            .map_err(|problem: io::Error| problem.to_string())
    }
}

impl BatchHeader {
    /// The header of a batch that was not checked, if there are bytes enough for one.
    pub(super) fn of(batch: &[u8]) -> Option<Self> {
        (batch.len() >= HEADER_BYTES).then(|| Self::read(batch))
    }

    /// Reads the fields behind the CRC of a slice that is known to hold a whole header.
    fn read(batch: &[u8]) -> Self {
        let mut at = &batch[CRC_AT..HEADER_BYTES];
        Self {
            crc: at.get_u32(),
            attributes: at.get_i16(),
            last_offset_delta: at.get_i32(),
            base_timestamp: at.get_i64(),
            max_timestamp: at.get_i64(),
            producer_id: at.get_i64(),
            producer_epoch: at.get_i16(),
            base_sequence: at.get_i32(),
            count: at.get_i32(),
        }
    }

    pub(super) fn codec(&self) -> i8 {
        (self.attributes & CODEC_BITS) as i8
    }

    pub(super) fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    pub(super) fn is_idempotent(&self) -> bool {
        self.producer_id >= 0
    }

    /// The sequence of the record `index` in the batch: after the largest one comes 0.
    pub(super) fn sequence(&self, index: i32) -> i32 {
        add_to_sequence(self.base_sequence, index)
    }

    pub(super) fn last_sequence(&self) -> i32 {
        self.sequence(self.last_offset_delta)
    }

    fn check(&self) -> Result<(), Refusal> {
        if self.attributes & CONTROL_BIT != 0 {
            return Err(Refusal::invalid("a client may not write control records"));
        }
        if self.attributes & LOG_APPEND_TIME_BIT != 0 {
            return Err(Refusal::new(
                ResponseError::InvalidTimestamp,
                "a client may not choose the log append time",
            ));
        }
        if self.attributes & !(CODEC_BITS | TRANSACTIONAL_BIT) != 0 {
            return Err(Refusal::invalid(format!("unknown attribute bits in {:#06x}", self.attributes)));
        }
        if self.count <= 0 || self.last_offset_delta != self.count - 1 {
            let (count, delta) = (self.count, self.last_offset_delta);
            return Err(Refusal::invalid(format!(
                "{count} records and the last offset delta {delta} contradict"
            )));
        }
        if self.is_idempotent() && (self.base_sequence < 0 || self.producer_epoch < 0) {
            let (epoch, sequence) = (self.producer_epoch, self.base_sequence);
            return Err(Refusal::invalid(format!(
                "a producer id with the epoch {epoch}, the sequence {sequence}"
            )));
        }
        if self.is_transactional() && !self.is_idempotent() {
            return Err(Refusal::invalid("a batch of a transaction has no producer id"));
        }
        Ok(())
    }
}

impl Refusal {
    pub(super) fn new(code: ResponseError, message: impl Into<String>) -> Self {
        Self { code: code.code(), message: message.into(), records: Vec::new() }
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::new(ResponseError::InvalidRecord, message)
    }

    fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ResponseError::CorruptMessage, message)
    }
}

struct WalkedRecord {
    timestamp: i64,
    has_key: bool,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

/// The sequence `steps` records after `sequence`.
pub(super) fn add_to_sequence(sequence: i32, steps: i32) -> i32 {
    let sum = i64::from(sequence) + i64::from(steps);
    // Sequences count from 0 to i32::MAX and then start over, so there are 2^31 of them.
    (sum % (i64::from(i32::MAX) + 1)) as i32
}

/// Whether a batch that was not checked yet says that an idempotent producer wrote it.
pub(super) fn claims_a_producer_id(batch: &Bytes) -> bool {
    BatchHeader::of(batch).is_some_and(|header| header.is_idempotent())
}

fn walk(records: &[u8], header: &BatchHeader) -> Result<Vec<WalkedRecord>, String> {
    let mut rest = records;
    let mut walked = Vec::new();
    for index in 0..header.count {
        let record =
            walk_one(&mut rest, header, index).map_err(|problem| format!("record {index}: {problem}"))?;
        walked.push(record);
    }
    if !rest.is_empty() {
        return Err(format!("{} bytes follow the last of {} records", rest.len(), header.count));
    }
    Ok(walked)
}

fn walk_one(rest: &mut &[u8], header: &BatchHeader, index: i32) -> Result<WalkedRecord, String> {
    let length = take_varint(rest, "length")?;
    let mut record = take(rest, length, "record")?;
    let attributes = take(&mut record, 1, "attributes")?[0];
    if attributes != 0 {
        return Err(format!("attributes {attributes}, none are defined"));
    }
    let timestamp_delta = take_varint(&mut record, "timestamp delta")?;
    let timestamp = header.base_timestamp.checked_add(timestamp_delta).ok_or("the timestamp overflows")?;
    let offset_delta = take_varint(&mut record, "offset delta")?;
    if offset_delta != i64::from(index) {
        return Err(format!("offset delta {offset_delta}: they count from 0 without a gap"));
    }
    let has_key = take_nullable(&mut record, "key")?.is_some();
    take_nullable(&mut record, "value")?;
    let count = take_varint(&mut record, "number of headers")?;
    let mut headers = Vec::new();
    for _ in 0..count {
        let key = take_nullable(&mut record, "header key")?.ok_or("a header without a key")?;
        let key = std::str::from_utf8(key).map_err(|_| "a header key that is not UTF-8")?.to_owned();
        let value = take_nullable(&mut record, "header value")?.map(<[u8]>::to_vec);
        headers.push((key, value));
    }
    if count < 0 || !record.is_empty() {
        return Err(format!("{count} headers and {} bytes left", record.len()));
    }
    Ok(WalkedRecord { timestamp, has_key, headers })
}

fn take_nullable<'a>(rest: &mut &'a [u8], what: &str) -> Result<Option<&'a [u8]>, String> {
    match take_varint(rest, what)? {
        -1 => Ok(None),
        length => take(rest, length, what).map(Some),
    }
}

fn take<'a>(rest: &mut &'a [u8], length: i64, what: &str) -> Result<&'a [u8], String> {
    let taken = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length));
    let (taken, behind) =
        taken.ok_or_else(|| format!("{what} of {length} bytes, {} are left", rest.len()))?;
    *rest = behind;
    Ok(taken)
}

/// A zigzag varint: inside of records they all are.
fn take_varint(rest: &mut &[u8], what: &str) -> Result<i64, String> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let [byte, behind @ ..] = *rest else { return Err(format!("{what} is cut off")) };
        *rest = behind;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    Err(format!("{what} has more than ten bytes"))
}

/// Base offset, length, leader epoch, magic, CRC and the nine fields behind it.
pub(super) const HEADER_BYTES: usize = 61;
const LENGTH_AT: usize = 8;
/// The length leaves out the base offset and itself.
const LENGTH_COUNTS_FROM: usize = 12;
const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
/// The CRC leaves out what a broker writes into a batch: base offset and leader epoch.
const CRC_COVERS_FROM: usize = 21;

const CODEC_BITS: i16 = 0x07;
const LOG_APPEND_TIME_BIT: i16 = 0x08;
const TRANSACTIONAL_BIT: i16 = 0x10;
const CONTROL_BIT: i16 = 0x20;
const ZSTD: i8 = 4;
