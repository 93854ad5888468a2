//! The record batch, format v2: a header of 61 bytes and records back to back.
//!
//! ```text
//!  0 base offset 8 | 8 batch length 4 | 12 leader epoch 4 | 16 magic 1 | 17 crc 4 | 21 attributes 2 | 23 last offset delta 4
//! 27 base timestamp 8 | 35 max timestamp 8 | 43 producer id 8 | 51 producer epoch 2 | 53 base sequence 4 | 57 count 4 | 61
//! ```
//!
//! The checksum covers everything from the attributes on, compressed records as they are. What lies before it a
//! broker may rewrite. Compression is for others: a header is written in front of whatever the records are by then,
//! and reading takes records that are not compressed any more.

use byteorder::{BigEndian, ByteOrder};

use super::{
    primitives::{DecodeError, Reader},
    record::BATCH_HEADER_LEN,
};

pub(crate) const HEADER_LEN: usize = BATCH_HEADER_LEN;

/// The bit in the attributes that says the batch belongs to a transaction.
pub(crate) const TRANSACTIONAL: i16 = 0x10;

pub(crate) const NO_PRODUCER_ID: i64 = -1;
pub(crate) const NO_PRODUCER_EPOCH: i16 = -1;
pub(crate) const NO_SEQUENCE: i32 = -1;

/// The codec in the attributes; 0 is none.
pub(crate) const COMPRESSION_MASK: i16 = 0x07;

/// What a producer decides about a batch; the rest of the header follows from it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct BatchHeader {
    pub(crate) attributes: i16,
    pub(crate) base_timestamp: i64,
    pub(crate) max_timestamp: i64,
    /// [`NO_PRODUCER_ID`], [`NO_PRODUCER_EPOCH`] and [`NO_SEQUENCE`] come together.
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    /// At least 1: brokers refuse an empty batch.
    pub(crate) records_count: i32,
}

/// Fills the first [`HEADER_LEN`] bytes of a buffer whose other bytes are the records.
pub(crate) fn write_header(batch: &mut [u8], header: &BatchHeader) {
    debug_assert!(header.records_count > 0, "an empty batch is never sent");
    let length =
        i32::try_from(batch.len() - LENGTH_END).expect("a batch is limited to 2 GiB by max.request.size");
    BigEndian::write_i64(&mut batch[0..8], 0);
    BigEndian::write_i32(&mut batch[8..LENGTH_END], length);
    BigEndian::write_i32(&mut batch[12..16], NO_LEADER_EPOCH);
    batch[16] = MAGIC.cast_unsigned();
    BigEndian::write_i16(&mut batch[21..23], header.attributes);
    BigEndian::write_i32(&mut batch[23..27], header.records_count - 1);
    BigEndian::write_i64(&mut batch[27..35], header.base_timestamp);
    BigEndian::write_i64(&mut batch[35..43], header.max_timestamp);
    BigEndian::write_i64(&mut batch[43..51], header.producer_id);
    BigEndian::write_i16(&mut batch[51..53], header.producer_epoch);
    BigEndian::write_i32(&mut batch[53..57], header.base_sequence);
    BigEndian::write_i32(&mut batch[57..HEADER_LEN], header.records_count);
    let crc = crc32c::crc32c(&batch[CHECKED_FROM..]);
    BigEndian::write_u32(&mut batch[17..CHECKED_FROM], crc);
}

/// Reads a header, with the batch length and the checksum as they stand in it: neither is compared with the rest.
pub(crate) fn read_header(batch: &[u8]) -> Result<(BatchHeader, i32, u32), DecodeError> {
    let mut r = Reader::new(batch);
    r.i64("base offset")?;
    let length = r.i32("batch length")?;
    r.i32("leader epoch")?;
    let at = r.position();
    if r.i8("magic")? != MAGIC {
        return Err(DecodeError { what: "magic", at });
    }
    let crc = r.u32("checksum")?;
    let attributes = r.i16("attributes")?;
    r.i32("last offset delta")?;
    let header = BatchHeader {
        attributes,
        base_timestamp: r.i64("base timestamp")?,
        max_timestamp: r.i64("max timestamp")?,
        producer_id: r.i64("producer id")?,
        producer_epoch: r.i16("producer epoch")?,
        base_sequence: r.i32("base sequence")?,
        records_count: r.i32("record count")?,
    };
    Ok((header, length, crc))
}

/// The records of a batch that is not compressed. The checksum is not verified.
pub(crate) fn records(batch: &[u8]) -> Records<'_> {
    match read_header(batch) {
        Ok((header, ..)) if header.attributes & COMPRESSION_MASK == 0 => {
            let mut r = Reader::new(batch);
            r.take(HEADER_LEN, "batch header").expect("the header was read");
            Records {
                state: State::Reading(r),
                base_timestamp: header.base_timestamp,
                left: header.records_count,
            }
        }
        Ok(_) => Records::failed(DecodeError { what: "records: they are compressed", at: HEADER_LEN }),
        Err(error) => Records::failed(error),
    }
}

/// An iterator that ends after its first error.
pub(crate) struct Records<'a> {
    state: State<'a>,
    base_timestamp: i64,
    left: i32,
}

enum State<'a> {
    Reading(Reader<'a>),
    Failed(DecodeError),
    Done,
}

/// A record where it lies in its batch.
#[derive(Debug, PartialEq)]
pub(crate) struct RecordView<'a> {
    pub(crate) timestamp: i64,
    pub(crate) offset_delta: i32,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: Vec<(&'a str, Option<&'a [u8]>)>,
    /// Key, value and headers as they are, for [`put_record`](super::record::put_record) into another batch.
    pub(crate) body: &'a [u8],
}

impl Records<'_> {
    fn failed(error: DecodeError) -> Self {
        Self { state: State::Failed(error), base_timestamp: 0, left: 0 }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RecordView<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut reader = match std::mem::replace(&mut self.state, State::Done) {
            State::Reading(reader) => reader,
            State::Failed(error) => return Some(Err(error)),
            State::Done => return None,
        };
        if self.left <= 0 {
            return reader.finish("end of the batch").err().map(Err);
        }
        let record = read_record(&mut reader, self.base_timestamp);
        if record.is_ok() {
            self.left -= 1;
            self.state = State::Reading(reader);
        }
        Some(record)
    }
}

fn read_record<'a>(reader: &mut Reader<'a>, base_timestamp: i64) -> Result<RecordView<'a>, DecodeError> {
    let at = reader.position();
    let length = read_len(reader, "record length")?.ok_or(DecodeError { what: "record length", at })?;
    let mut r = reader.part(length, "record")?;
    r.i8("record attributes")?;
    let timestamp_delta = r.varlong("timestamp delta")?;
    let offset_delta = r.varint("offset delta")?;
    let body = r.rest();
    let key = read_sized(&mut r, "key")?;
    let value = read_sized(&mut r, "value")?;
    let headers = read_headers(&mut r)?;
    r.finish("record")?;
    Ok(RecordView {
        // Wraps like every sum of a broker's numbers here: a timestamp is only ever shown.
        timestamp: base_timestamp.wrapping_add(timestamp_delta),
        offset_delta,
        key,
        value,
        headers,
        body,
    })
}

type HeaderView<'a> = (&'a str, Option<&'a [u8]>);

fn read_headers<'a>(r: &mut Reader<'a>) -> Result<Vec<HeaderView<'a>>, DecodeError> {
    let at = r.position();
    let bad = |what| DecodeError { what, at };
    let count = read_len(r, "header count")?.ok_or(bad("header count"))?;
    if count > r.remaining() / MIN_RECORD_HEADER_LEN {
        return Err(bad("header count"));
    }
    let mut headers = Vec::new();
    for _ in 0..count {
        let key = read_sized(r, "header key")?.ok_or(bad("header key"))?;
        let key = std::str::from_utf8(key).map_err(|_| bad("header key"))?;
        headers.push((key, read_sized(r, "header value")?));
    }
    Ok(headers)
}

fn read_sized<'a>(r: &mut Reader<'a>, what: &'static str) -> Result<Option<&'a [u8]>, DecodeError> {
    match read_len(r, what)? {
        Some(len) => r.take(len, what).map(Some),
        None => Ok(None),
    }
}

fn read_len(r: &mut Reader<'_>, what: &'static str) -> Result<Option<usize>, DecodeError> {
    let at = r.position();
    match r.varint(what)? {
        -1 => Ok(None),
        len => usize::try_from(len).map(Some).map_err(|_| DecodeError { what, at }),
    }
}

/// Where the length of a batch begins to count.
const LENGTH_END: usize = 12;
/// Where the checksum begins to cover.
const CHECKED_FROM: usize = 21;
const MAGIC: i8 = 2;
/// The broker puts its own in.
const NO_LEADER_EPOCH: i32 = -1;
/// Two lengths of one byte.
const MIN_RECORD_HEADER_LEN: usize = 2;

#[cfg(test)]
mod tests {
    use super::{
        super::record::{RecordHead, put_body, put_record},
        *,
    };
    use crate::record::Headers;

    /// The batch of two records that the facts of the wire format describe.
    fn two_records() -> Vec<u8> {
        let mut batch = vec![0; HEADER_LEN];
        let mut body = Vec::new();
        put_body(&mut body, Some(b"k"), Some(b"v"), &[]);
        put_record(&mut batch, &RecordHead::new(body.len(), 0, 0), &body);
        body.clear();
        let headers = [("h", None)].into_iter().collect::<Headers>();
        put_body(&mut body, None, Some(b"hello"), headers.entries());
        put_record(&mut batch, &RecordHead::new(body.len(), 5, 1), &body);
        write_header(&mut batch, &HEADER);
        batch
    }

    const HEADER: BatchHeader = BatchHeader {
        attributes: 0,
        base_timestamp: 1_700_000_000_000,
        max_timestamp: 1_700_000_000_005,
        producer_id: 4000,
        producer_epoch: 3,
        base_sequence: 7,
        records_count: 2,
    };

    #[test]
    fn what_is_written_is_read_back() {
        let batch = two_records();
        let (header, length, crc) = read_header(&batch).unwrap();
        assert_eq!(header, HEADER);
        assert_eq!(length as usize, batch.len() - 12);
        assert_eq!(crc, 0xd3a4_d9bc);
        let records: Vec<_> = records(&batch).collect::<Result<_, _>>().unwrap();
        assert_eq!(
            records,
            [
                RecordView {
                    timestamp: 1_700_000_000_000,
                    offset_delta: 0,
                    key: Some(b"k"),
                    value: Some(b"v"),
                    headers: vec![],
                    body: b"\x02k\x02v\x00",
                },
                RecordView {
                    timestamp: 1_700_000_000_005,
                    offset_delta: 1,
                    key: None,
                    value: Some(b"hello"),
                    headers: vec![("h", None)],
                    body: b"\x01\x0ahello\x02\x02h\x01",
                },
            ]
        );
    }

    #[test]
    fn compressed_records_are_refused() {
        let mut compressed = two_records();
        write_header(&mut compressed, &BatchHeader { attributes: 2, ..HEADER });
        let error = records(&compressed).next().unwrap().unwrap_err();
        assert_eq!(error, DecodeError { what: "records: they are compressed", at: HEADER_LEN });
    }

    #[test]
    fn a_cut_batch_is_refused_once_and_the_iteration_ends() {
        let batch = two_records();
        for end in 0..batch.len() {
            let read: Vec<_> = records(&batch[..end]).collect();
            assert!(read.last().unwrap().is_err(), "{end}");
            assert_eq!(read.iter().filter(|r| r.is_err()).count(), 1, "{end}");
        }
        let mut longer = batch;
        longer.push(0);
        assert_eq!(records(&longer).last().unwrap().unwrap_err().what, "end of the batch");
    }

    #[test]
    fn an_older_format_is_refused() {
        let mut batch = two_records();
        batch[16] = 1;
        assert_eq!(read_header(&batch).unwrap_err(), DecodeError { what: "magic", at: 16 });
    }
}
