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

use super::primitives::{put_varint, put_varlong, varint_len, varlong_len};
use crate::record::Headers;

/// How many bytes [`put_body`] writes.
#[inline]
pub(crate) fn body_len(key: Option<&[u8]>, value: Option<&[u8]>, headers: &Headers) -> usize {
    saturating_body_len(key.map(<[u8]>::len), value.map(<[u8]>::len), headers)
}

/// Writes key, value and headers. The record was measured before with [`size_upper_bound`]: no part of it exceeds
/// what an `i32` can count.
#[inline]
pub(crate) fn put_body(out: &mut Vec<u8>, key: Option<&[u8]>, value: Option<&[u8]>, headers: &Headers) {
    put_sized(out, key);
    put_sized(out, value);
    put_varint(out, counted(headers.len()));
    for (key, value) in headers.iter() {
        put_sized(out, Some(key.as_bytes()));
        put_sized(out, value);
    }
}

/// What a record can take at most in a batch of its own, before compression: `max.request.size` and `buffer.memory`
/// are compared with it. Saturates, so that no size escapes the comparison.
pub(crate) fn size_upper_bound(key_len: Option<usize>, value_len: Option<usize>, headers: &Headers) -> usize {
    (BATCH_HEADER_LEN + MAX_RECORD_OVERHEAD).saturating_add(saturating_body_len(key_len, value_len, headers))
}

/// How many bytes [`put_record`] writes.
#[inline]
pub(crate) fn record_len(body_len: usize, timestamp_delta: i64, offset_delta: i32) -> usize {
    let length = length_field(body_len, timestamp_delta, offset_delta);
    varint_len(counted(length)) + length
}

/// Puts a record with a finished body at the end of a batch.
#[inline]
pub(crate) fn put_record(out: &mut Vec<u8>, body: &[u8], timestamp_delta: i64, offset_delta: i32) {
    let length = length_field(body.len(), timestamp_delta, offset_delta);
    let counted = counted(length);
    // Not a byte more than needed: a batch that is filled to the brim must not be moved into a larger buffer.
    out.reserve(varint_len(counted) + length);
    put_varint(out, counted);
    out.push(0);
    put_varlong(out, timestamp_delta);
    put_varint(out, offset_delta);
    out.extend_from_slice(body);
}

#[inline]
fn length_field(body_len: usize, timestamp_delta: i64, offset_delta: i32) -> usize {
    1 + varlong_len(timestamp_delta) + varint_len(offset_delta) + body_len
}

#[inline]
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
fn saturating_body_len(key_len: Option<usize>, value_len: Option<usize>, headers: &Headers) -> usize {
    let keyed =
        sized_len(key_len).saturating_add(sized_len(value_len)).saturating_add(count_len(headers.len()));
    headers.iter().fold(keyed, |sum, (key, value)| {
        sum.saturating_add(sized_len(Some(key.len()))).saturating_add(sized_len(value.map(<[u8]>::len)))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, Option<&[u8]>)]) -> Headers {
        pairs.iter().copied().collect()
    }

    #[test]
    fn the_size_bound_is_that_of_java() {
        let none = Headers::new();
        assert_eq!(size_upper_bound(None, None, &none), 85);
        assert_eq!(size_upper_bound(Some(1), Some(1), &none), 87);
        assert_eq!(size_upper_bound(None, Some(5), &headers(&[("h", None)])), 93);
        assert_eq!(size_upper_bound(None, Some(100), &none), 186);
        assert_eq!(size_upper_bound(Some(usize::MAX), Some(usize::MAX), &none), usize::MAX);
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
                        put_record(&mut record, &body, timestamp, offset);
                        assert_eq!(record.len(), record_len(body.len(), timestamp, offset));
                        let bound = size_upper_bound(key.map(<[u8]>::len), value.map(<[u8]>::len), &headers);
                        assert!(BATCH_HEADER_LEN + record.len() <= bound);
                    }
                }
            }
        }
    }

    #[test]
    fn a_record_that_fits_exactly_does_not_move_the_batch() {
        let mut batch = Vec::with_capacity(record_len(100, 5, 1));
        let room = batch.capacity();
        put_record(&mut batch, &[0; 100], 5, 1);
        assert_eq!((batch.len(), batch.capacity()), (room, room));
    }

    #[test]
    fn a_record_as_java_writes_it() {
        let mut body = Vec::new();
        put_body(&mut body, None, Some(b"hello"), &headers(&[("h", None)]));
        let mut record = Vec::new();
        put_record(&mut record, &body, 5, 1);
        assert_eq!(record, b"\x1c\x00\x0a\x02\x01\x0ahello\x02\x02h\x01");
    }
}
