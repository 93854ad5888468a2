//! One record of a batch (record batch format v2, all varints zigzag).
//!
//! A record is written in two steps. The caller's thread writes its *body* (key, value, headers), which does not
//! depend on the batch it will lie in; the sender thread puts length, timestamp and offset in front of it when it knows them:
//!
//! ```text
//! length | attributes = 0 | timestamp delta | offset delta | key length, key | value length, value | headers
//!          `------------------------ length counts ------------------------------------------------------'
//!                                                            `----------------- body --------------------'
//! ```

use super::primitives::{base128_len, put_base128, put_varint, varlong_len, zigzag, zigzag_long};

/// A header: its name, and bytes or null.
pub(crate) type Header = (Box<str>, Option<Box<[u8]>>);

/// How many bytes [`put_body`] writes.
#[inline]
pub(crate) fn body_len(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header]) -> usize {
    saturating_body_len(key.map(<[u8]>::len), value.map(<[u8]>::len), headers)
}

/// Writes key, value and headers. The record was measured before with [`size_upper_bound`]: no part of it exceeds
/// what an `i32` can count.
#[inline(always)]
pub(crate) fn put_body(out: &mut Vec<u8>, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header]) {
    put_sized(out, key);
    put_sized(out, value);
    put_varint(out, counted(headers.len()));
    for (key, value) in headers {
        put_sized(out, Some(key.as_bytes()));
        put_sized(out, value.as_deref());
    }
}

/// What a record with a body of this length can take at most in a batch of its own, before compression:
/// `max.request.size` and `buffer.memory` are compared with it. Saturates, so that no size escapes the comparison.
#[inline]
pub(crate) fn size_upper_bound(body_len: usize) -> usize {
    (BATCH_HEADER_LEN + MAX_RECORD_OVERHEAD).saturating_add(body_len)
}

/// What stands in front of a record's body in its batch: length, attributes, timestamp and offset.
///
/// It is worked out once, to see whether the record fits and to write it. Kept as numbers: bytes put together on the
/// stack would be read back before they are all written, which costs as much as the rest.
pub(crate) struct RecordHead {
    /// As unsigned varints; the attributes are 0.
    length: u64,
    timestamp: u64,
    offset: u64,
    len: usize,
    body_len: usize,
}

impl RecordHead {
    #[inline]
    pub(crate) fn new(body_len: usize, timestamp_delta: i64, offset_delta: i32) -> Self {
        let (timestamp, offset) = (zigzag_long(timestamp_delta), u64::from(zigzag(offset_delta)));
        let counted_len = ATTRIBUTES_LEN + base128_len(timestamp) + base128_len(offset);
        let length = u64::from(zigzag(counted(counted_len + body_len)));
        Self { length, timestamp, offset, len: base128_len(length) + counted_len, body_len }
    }

    /// How many bytes the record takes, its body included.
    #[inline]
    pub(crate) fn record_len(&self) -> usize {
        self.len + self.body_len
    }

    /// All of it in one register, first byte lowest, then zeros: so nearly every record has it.
    #[inline]
    fn word(&self) -> Option<u64> {
        let Self { length, timestamp, offset, .. } = *self;
        if (length | timestamp | offset) >= 1 << 14 {
            return None;
        }
        let (mut word, mut len) = two_bytes(length);
        len += ATTRIBUTES_LEN;
        for value in [timestamp, offset] {
            let (bytes, n) = two_bytes(value);
            word |= bytes << (8 * len);
            len += n;
        }
        debug_assert_eq!(len, self.len);
        Some(word)
    }
}

/// A varint below 2^14, first byte lowest, and how many bytes it has.
#[inline]
fn two_bytes(value: u64) -> (u64, usize) {
    if value < 0x80 { (value, 1) } else { (value & 0x7f | 0x80 | (value >> 7) << 8, 2) }
}

/// Puts a record with a finished body at the end of a batch.
#[inline]
pub(crate) fn put_record(out: &mut Vec<u8>, head: &RecordHead, body: &[u8]) {
    debug_assert_eq!(head.body_len, body.len());
    // Hardly a byte more than needed: a batch that is filled to the brim must not be moved into a larger buffer.
    out.reserve(head.record_len().max(WORD));
    if let Some(word) = head.word() {
        // A word of known length costs a store, a slice of any length a call.
        let end = out.len() + head.len;
        out.extend_from_slice(&word.to_le_bytes());
        out.truncate(end);
    } else {
        put_base128(out, head.length);
        out.push(NO_ATTRIBUTES);
        put_base128(out, head.timestamp);
        put_base128(out, head.offset);
    }
    out.extend_from_slice(body);
}

#[inline(always)]
fn put_sized(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            put_varint(out, counted(bytes.len()));
            out.extend_from_slice(bytes);
        }
        None => put_varint(out, -1),
    }
}

#[inline]
fn saturating_body_len(key_len: Option<usize>, value_len: Option<usize>, headers: &[Header]) -> usize {
    let keyed =
        sized_len(key_len).saturating_add(sized_len(value_len)).saturating_add(count_len(headers.len()));
    headers.iter().fold(keyed, |sum, (key, value)| {
        let value = value.as_deref().map(<[u8]>::len);
        sum.saturating_add(sized_len(Some(key.len()))).saturating_add(sized_len(value))
    })
}

#[inline]
fn sized_len(len: Option<usize>) -> usize {
    // Null is the length -1, which takes one byte.
    len.map_or(1, |len| count_len(len).saturating_add(len))
}

#[inline]
fn count_len(count: usize) -> usize {
    varlong_len(i64::try_from(count).unwrap_or(i64::MAX))
}

#[inline]
fn counted(len: usize) -> i32 {
    i32::try_from(len).expect("a record is limited to 2 GiB by max.request.size")
}

/// What the batch around a record begins with.
pub(super) const BATCH_HEADER_LEN: usize = 61;

/// The longest forms of length (5), attributes (1), timestamp delta (10) and offset delta (5).
const MAX_RECORD_OVERHEAD: usize = 21;

const NO_ATTRIBUTES: u8 = 0;
const ATTRIBUTES_LEN: usize = size_of::<u8>();

const WORD: usize = size_of::<u64>();

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, Option<&[u8]>)]) -> Vec<Header> {
        pairs.iter().map(|(key, value)| ((*key).into(), value.map(Into::into))).collect()
    }

    #[test]
    fn the_size_bound_is_that_of_java() {
        let none = [];
        assert_eq!(size_upper_bound(saturating_body_len(None, None, &none)), 85);
        assert_eq!(size_upper_bound(saturating_body_len(Some(1), Some(1), &none)), 87);
        assert_eq!(size_upper_bound(saturating_body_len(None, Some(5), &headers(&[("h", None)]))), 93);
        assert_eq!(size_upper_bound(saturating_body_len(None, Some(100), &none)), 186);
        assert_eq!(
            size_upper_bound(saturating_body_len(Some(usize::MAX), Some(usize::MAX), &none)),
            usize::MAX
        );
    }

    #[test]
    fn lengths_are_those_of_what_is_written() {
        let long = vec![7; 9000];
        for key in [None, Some(&b""[..]), Some(b"k"), Some(&long)] {
            for value in [None, Some(&b""[..]), Some(&long[..64]), Some(&long)] {
                for headers in [headers(&[]), headers(&[("", None), ("h", Some(b"")), ("h", Some(&long))])] {
                    let mut body = Vec::new();
                    put_body(&mut body, key, value, &headers);
                    assert_eq!(body.len(), body_len(key, value, &headers));
                    for (timestamp, offset) in [(0, 0), (-1, 64), (i64::MIN, i32::MAX)] {
                        let mut record = Vec::new();
                        let head = RecordHead::new(body.len(), timestamp, offset);
                        put_record(&mut record, &head, &body);
                        assert_eq!(record.len(), head.record_len());
                        let bound = size_upper_bound(body.len());
                        assert!(BATCH_HEADER_LEN + record.len() <= bound);
                    }
                }
            }
        }
    }

    #[test]
    fn a_record_that_fits_exactly_does_not_move_the_batch() {
        let head = RecordHead::new(100, 5, 1);
        let mut batch = Vec::with_capacity(head.record_len());
        let room = batch.capacity();
        put_record(&mut batch, &head, &[0; 100]);
        assert_eq!((batch.len(), batch.capacity()), (room, room));
    }

    #[test]
    fn a_record_as_java_writes_it() {
        let mut body = Vec::new();
        put_body(&mut body, None, Some(b"hello"), &headers(&[("h", None)]));
        let mut record = Vec::new();
        put_record(&mut record, &RecordHead::new(body.len(), 5, 1), &body);
        assert_eq!(record, b"\x1c\x00\x0a\x02\x01\x0ahello\x02\x02h\x01");
    }
}
