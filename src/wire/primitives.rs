//! The protocol's elementary types: fixed-width integers, varints, strings, byte strings, arrays, tag sections.
//!
//! Which field comes in which version is for the messages to know. The reader believes nothing: every length is
//! compared with the bytes that are really there before it is used, so a lie costs an error and not memory.
//!
//! Two families of varints exist side by side: *unsigned* ones in the flexible versions of messages, *zigzag* ones
//! inside records.

use byteorder::{BigEndian, ByteOrder, LittleEndian};
use thiserror::Error;

/// The id of a topic; all zeros is none.
pub(crate) type Uuid = [u8; 16];

/// Bytes that are not what they should be.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("truncated or malformed {what} at byte {at}")]
pub(crate) struct DecodeError {
    /// The field that could not be read.
    pub(crate) what: &'static str,
    /// Where it begins, counted from the start of what the [`Reader`] was made for.
    pub(crate) at: usize,
}

/// Takes values off the front of bytes that a peer sent.
///
/// After an error the position is where the bad field begins; there is no sense in going on.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    /// `at <= bytes.len()`
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Refuses bytes that nobody has read: the peer and we do not mean the same message.
    pub(crate) fn finish(&self, what: &'static str) -> Result<(), DecodeError> {
        if self.remaining() == 0 { Ok(()) } else { Err(self.bad(what)) }
    }

    pub(crate) fn i8(&mut self, what: &'static str) -> Result<i8, DecodeError> {
        Ok(i8::from_be_bytes(self.fixed(what)?))
    }

    pub(crate) fn i16(&mut self, what: &'static str) -> Result<i16, DecodeError> {
        Ok(BigEndian::read_i16(&self.fixed::<2>(what)?))
    }

    pub(crate) fn i32(&mut self, what: &'static str) -> Result<i32, DecodeError> {
        Ok(BigEndian::read_i32(&self.fixed::<4>(what)?))
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        Ok(BigEndian::read_u32(&self.fixed::<4>(what)?))
    }

    pub(crate) fn i64(&mut self, what: &'static str) -> Result<i64, DecodeError> {
        Ok(BigEndian::read_i64(&self.fixed::<8>(what)?))
    }

    pub(crate) fn bool(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        Ok(self.i8(what)? != 0)
    }

    pub(crate) fn uuid(&mut self, what: &'static str) -> Result<Uuid, DecodeError> {
        self.fixed(what)
    }

    /// An unsigned varint of at most five bytes.
    pub(crate) fn uvarint(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        let long = self.base128(what, MAX_VARINT_LEN)?;
        u32::try_from(long.value).map_err(|_| DecodeError { what, at: long.at })
    }

    /// A zigzag varint of at most five bytes.
    pub(crate) fn varint(&mut self, what: &'static str) -> Result<i32, DecodeError> {
        let zigzag = self.uvarint(what)?;
        Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }

    /// A zigzag varint of at most ten bytes.
    pub(crate) fn varlong(&mut self, what: &'static str) -> Result<i64, DecodeError> {
        let zigzag = self.base128(what, MAX_VARLONG_LEN)?.value;
        Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }

    /// A string that may not be null.
    pub(crate) fn string(&mut self, flexible: bool, what: &'static str) -> Result<&'a str, DecodeError> {
        let at = self.at;
        self.nullable_string(flexible, what)?.ok_or(DecodeError { what, at })
    }

    pub(crate) fn nullable_string(
        &mut self,
        flexible: bool,
        what: &'static str,
    ) -> Result<Option<&'a str>, DecodeError> {
        let at = self.at;
        let len =
            if flexible { self.compact_len(what)? } else { plain_len(self.i16(what)?.into(), what, at)? };
        let Some(len) = len else { return Ok(None) };
        match std::str::from_utf8(self.take(len, what)?) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(DecodeError { what, at }),
        }
    }

    /// Bytes with their length in front; null is none.
    #[cfg(feature = "sasl")]
    pub(crate) fn bytes(&mut self, flexible: bool, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let at = self.at;
        let len = if flexible { self.compact_len(what)? } else { plain_len(self.i32(what)?, what, at)? };
        self.take(len.unwrap_or(0), what)
    }

    /// `len` bytes that have no length in front.
    pub(crate) fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        if len > self.remaining() {
            return Err(self.bad(what));
        }
        let taken = &self.bytes[self.at..self.at + len];
        self.at += len;
        Ok(taken)
    }

    /// A reader of the next `len` bytes alone. Its positions are counted from the same start as this one's.
    pub(crate) fn part(&mut self, len: usize, what: &'static str) -> Result<Self, DecodeError> {
        let at = self.at;
        self.take(len, what)?;
        Ok(Self { bytes: &self.bytes[..self.at], at })
    }

    /// What was not read yet, and stays unread.
    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// The count of an array that may not be null. See [`nullable_array`](Self::nullable_array).
    pub(crate) fn array(
        &mut self,
        flexible: bool,
        min_element_size: usize,
        what: &'static str,
    ) -> Result<usize, DecodeError> {
        let at = self.at;
        self.nullable_array(flexible, min_element_size, what)?.ok_or(DecodeError { what, at })
    }

    /// The count of an array whose elements take at least `min_element_size` bytes each, which is at least 1. A count
    /// that the bytes left over cannot hold is refused.
    pub(crate) fn nullable_array(
        &mut self,
        flexible: bool,
        min_element_size: usize,
        what: &'static str,
    ) -> Result<Option<usize>, DecodeError> {
        debug_assert!(min_element_size >= 1, "elements without bytes would make every count believable");
        let at = self.at;
        match self.length(flexible, what)? {
            Some(count) if count > self.remaining() / min_element_size => Err(DecodeError { what, at }),
            count => Ok(count),
        }
    }

    /// A whole array that may not be null.
    pub(crate) fn list<T>(
        &mut self,
        flexible: bool,
        min_element_size: usize,
        what: &'static str,
        mut element: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.array(flexible, min_element_size, what)?;
        let mut list = Vec::with_capacity(unproven_capacity::<T>(count));
        for _ in 0..count {
            list.push(element(self)?);
        }
        Ok(list)
    }

    /// A tag section nobody here wants anything of.
    pub(crate) fn skip_tags(&mut self) -> Result<(), DecodeError> {
        self.tags(|_, _| Ok(()))
    }

    /// A tag section: `field` is called for each tag with a reader of its payload alone. It may leave a payload unread, but not
    /// some of it: then the peer and we do not mean the same field.
    pub(crate) fn tags(
        &mut self,
        mut field: impl FnMut(u32, &mut Reader<'a>) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let count = self.uvarint("tag count")?;
        let mut last = None;
        for _ in 0..count {
            let at = self.at;
            let tag = self.uvarint("tag")?;
            if last.is_some_and(|last| tag <= last) {
                return Err(DecodeError { what: "order of tags", at });
            }
            last = Some(tag);
            let size = self.uvarint("tag size")? as usize;
            let mut payload = self.part(size, "tagged field")?;
            let begin = payload.at;
            field(tag, &mut payload)?;
            if payload.at > begin {
                payload.finish("tagged field")?;
            }
        }
        Ok(())
    }

    fn bad(&self, what: &'static str) -> DecodeError {
        DecodeError { what, at: self.at }
    }

    fn fixed<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let Some(bytes) = self.bytes[self.at..].first_chunk() else { return Err(self.bad(what)) };
        self.at += N;
        Ok(*bytes)
    }

    /// The length of an array; `None` is null.
    fn length(&mut self, flexible: bool, what: &'static str) -> Result<Option<usize>, DecodeError> {
        let at = self.at;
        if flexible { self.compact_len(what) } else { plain_len(self.i32(what)?, what, at) }
    }

    fn compact_len(&mut self, what: &'static str) -> Result<Option<usize>, DecodeError> {
        Ok((self.uvarint(what)? as usize).checked_sub(1))
    }

    fn base128(&mut self, what: &'static str, max_len: usize) -> Result<Base128, DecodeError> {
        let at = self.at;
        let mut value = 0_u64;
        for (i, &byte) in self.bytes[at..].iter().take(max_len).enumerate() {
            let group = u64::from(byte & 0x7f);
            value |= group << (7 * i);
            if byte < 0x80 {
                // The tenth byte has room for one bit of the 64.
                if i == MAX_VARLONG_LEN - 1 && group > 1 {
                    break;
                }
                self.at = at + i + 1;
                return Ok(Base128 { value, at });
            }
        }
        Err(DecodeError { what, at })
    }
}

struct Base128 {
    value: u64,
    at: usize,
}

fn plain_len(len: i32, what: &'static str, at: usize) -> Result<Option<usize>, DecodeError> {
    match usize::try_from(len) {
        Ok(len) => Ok(Some(len)),
        Err(_) if len == -1 => Ok(None),
        Err(_) => Err(DecodeError { what, at }),
    }
}

/// What to reserve for a count that is possible but not proven: the rest is taken as elements really turn up.
fn unproven_capacity<T>(count: usize) -> usize {
    count.min(MAX_UNPROVEN / size_of::<T>().max(1))
}

/// Text of a peer in a form that is fit for a log and for a terminal: no control characters, nothing that turns the
/// direction of writing, and not long.
pub(crate) fn escaped(text: &str) -> String {
    let mut kept = String::with_capacity(text.len().min(MAX_TEXT_LEN));
    for c in text.chars() {
        if kept.len() + c.len_utf8() > MAX_TEXT_LEN {
            kept.push_str("...");
            break;
        }
        match c {
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                kept.extend(c.escape_unicode());
            }
            c if c.is_control() => kept.extend(c.escape_default()),
            c => kept.push(c),
        }
    }
    kept
}

pub(crate) fn put_i16(out: &mut Vec<u8>, value: i16) {
    let mut bytes = [0; 2];
    BigEndian::write_i16(&mut bytes, value);
    out.extend_from_slice(&bytes);
}

pub(crate) fn put_i32(out: &mut Vec<u8>, value: i32) {
    let mut bytes = [0; 4];
    BigEndian::write_i32(&mut bytes, value);
    out.extend_from_slice(&bytes);
}

pub(crate) fn put_i64(out: &mut Vec<u8>, value: i64) {
    let mut bytes = [0; 8];
    BigEndian::write_i64(&mut bytes, value);
    out.extend_from_slice(&bytes);
}

/// Kafka's numbers begin with the highest byte; those of protocol buffers with the lowest.
pub(crate) fn put_u64_le(out: &mut Vec<u8>, value: u64) {
    let mut bytes = [0; 8];
    LittleEndian::write_u64(&mut bytes, value);
    out.extend_from_slice(&bytes);
}

pub(crate) fn put_bool(out: &mut Vec<u8>, value: bool) {
    out.push(value.into());
}

pub(crate) fn put_uuid(out: &mut Vec<u8>, value: &Uuid) {
    out.extend_from_slice(value);
}

#[inline]
pub(crate) fn put_uvarint(out: &mut Vec<u8>, value: u32) {
    put_base128(out, value.into());
}

#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, value: i32) {
    put_uvarint(out, zigzag(value));
}

#[cfg(any(test, fuzzing))]
pub(crate) fn put_varlong(out: &mut Vec<u8>, value: i64) {
    put_base128(out, zigzag_long(value));
}

/// How many bytes [`put_varint`] writes.
#[cfg(test)]
pub(crate) fn varint_len(value: i32) -> usize {
    base128_len(zigzag(value).into())
}

/// How many bytes [`put_varlong`] writes.
#[inline]
pub(crate) fn varlong_len(value: i64) -> usize {
    base128_len(zigzag_long(value))
}

/// Writes a string of at most 32767 bytes.
pub(crate) fn put_string(out: &mut Vec<u8>, flexible: bool, text: &str) {
    let len =
        i16::try_from(text.len()).expect("names and ids are limited to 32767 bytes where they are accepted");
    if flexible {
        put_uvarint(out, u32::from(len.cast_unsigned()) + 1);
    } else {
        put_i16(out, len);
    }
    out.extend_from_slice(text.as_bytes());
}

/// Writes a string of at most 32767 bytes, or null.
pub(crate) fn put_nullable_string(out: &mut Vec<u8>, flexible: bool, text: Option<&str>) {
    match text {
        Some(text) => put_string(out, flexible, text),
        None if flexible => put_uvarint(out, 0),
        None => put_i16(out, -1),
    }
}

/// Writes what stands in front of an array of `count` elements.
pub(crate) fn put_array_len(out: &mut Vec<u8>, flexible: bool, count: usize) {
    put_len(out, flexible, count);
}

/// Writes an array that is null, which is not the same as an empty one.
pub(crate) fn put_null_array(out: &mut Vec<u8>, flexible: bool) {
    if flexible {
        put_uvarint(out, 0);
    } else {
        put_i32(out, -1);
    }
}

/// Writes what stands in front of `len` bytes.
pub(crate) fn put_bytes_len(out: &mut Vec<u8>, flexible: bool, len: usize) {
    put_len(out, flexible, len);
}

/// Ends a struct of a flexible version that has no tagged fields.
pub(crate) fn put_tags_empty(out: &mut Vec<u8>) {
    out.push(0);
}

fn put_len(out: &mut Vec<u8>, flexible: bool, len: usize) {
    let len = i32::try_from(len).expect("a request is limited to 2 GiB by max.request.size");
    if flexible {
        put_uvarint(out, len.cast_unsigned() + 1);
    } else {
        put_i32(out, len);
    }
}

#[inline]
pub(super) fn zigzag(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)).cast_unsigned()
}

#[inline]
pub(super) fn zigzag_long(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// Seven bits a byte, the lowest first.
#[inline]
pub(super) fn put_base128(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Seven bits a byte without a division: nine sixty-fourths, rounded up, are the same for up to 64 bits.
#[inline]
pub(super) fn base128_len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    (bits * 9 + 64) / 64
}

const MAX_VARINT_LEN: usize = 5;
const MAX_VARLONG_LEN: usize = 10;

/// In bytes: small enough for every connection to lie at once.
const MAX_UNPROVEN: usize = 64 * 1024;

/// A sentence or two; longer texts are attacks on the log.
const MAX_TEXT_LEN: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn written(put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out);
        out
    }

    #[test]
    fn zigzag_varints() {
        for (value, bytes) in [
            (0, &[0x00_u8][..]),
            (-1, &[0x01]),
            (1, &[0x02]),
            (63, &[0x7e]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
            (-65, &[0x81, 0x01]),
            (300, &[0xd8, 0x04]),
            (8191, &[0xfe, 0x7f]),
            (8192, &[0x80, 0x80, 0x01]),
            (i32::MAX, &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (i32::MIN, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ] {
            assert_eq!(written(|out| put_varint(out, value)), bytes, "{value}");
            assert_eq!(varint_len(value), bytes.len(), "{value}");
            assert_eq!(Reader::new(bytes).varint("v"), Ok(value));
            assert_eq!(written(|out| put_varlong(out, value.into())), bytes, "{value}");
            assert_eq!(Reader::new(bytes).varlong("v"), Ok(value.into()));
        }
    }

    #[test]
    fn zigzag_varlongs() {
        for (value, bytes) in [
            (5_000_000_000, &[0x80_u8, 0xc8, 0xaf, 0xa0, 0x25][..]),
            (-5_000_000_000, &[0xff, 0xc7, 0xaf, 0xa0, 0x25]),
            (i64::MAX, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
            (i64::MIN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ] {
            assert_eq!(written(|out| put_varlong(out, value)), bytes, "{value}");
            assert_eq!(varlong_len(value), bytes.len(), "{value}");
            assert_eq!(Reader::new(bytes).varlong("v"), Ok(value));
        }
    }

    #[test]
    fn unsigned_varints() {
        for (value, bytes) in [
            (63, &[0x3f_u8][..]),
            (64, &[0x40]),
            (300, &[0xac, 0x02]),
            (8191, &[0xff, 0x3f]),
            (8192, &[0x80, 0x40]),
            (i32::MAX.cast_unsigned(), &[0xff, 0xff, 0xff, 0xff, 0x07]),
            (u32::MAX, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ] {
            assert_eq!(written(|out| put_uvarint(out, value)), bytes, "{value}");
            assert_eq!(Reader::new(bytes).uvarint("v"), Ok(value));
        }
    }

    #[test]
    fn the_length_of_a_varint_is_right_on_both_sides_of_every_power_of_two() {
        for bit in 0..64 {
            for value in [(1_u64 << bit) - 1, 1 << bit, (1 << bit) + 1] {
                let long = value.cast_signed();
                assert_eq!(written(|out| put_varlong(out, long)).len(), varlong_len(long), "{long}");
                let int = value as i32;
                assert_eq!(written(|out| put_varint(out, int)).len(), varint_len(int), "{int}");
            }
        }
    }

    #[test]
    fn varints_that_do_not_fit_are_refused_and_padded_ones_are_not() {
        let error = Err(DecodeError { what: "v", at: 0 });
        assert_eq!(Reader::new(&[0x80, 0x80, 0x00]).uvarint("v"), Ok(0));
        for bytes in [
            &[][..],
            &[0x80],
            &[0xff, 0xff, 0xff, 0xff, 0x10],
            &[0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
            &[0xff; 6],
        ] {
            assert_eq!(Reader::new(bytes).uvarint("v"), error, "{bytes:?}");
        }
        for bytes in [
            &[0x80; 9][..],
            &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02],
            &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
        ] {
            assert_eq!(Reader::new(bytes).varlong("v"), error.map(i64::from), "{bytes:?}");
        }
    }

    #[test]
    fn strings_in_both_forms() {
        for flexible in [false, true] {
            for text in [None, Some(""), Some("é"), Some("a\0b")] {
                let bytes = written(|out| put_nullable_string(out, flexible, text));
                assert_eq!(Reader::new(&bytes).nullable_string(flexible, "s"), Ok(text));
                assert_eq!(
                    Reader::new(&bytes).string(flexible, "s").ok(),
                    text,
                    "null is refused, and only null"
                );
                for end in 0..bytes.len() {
                    assert!(Reader::new(&bytes[..end]).nullable_string(flexible, "s").is_err());
                }
            }
            let long = "x".repeat(32_767);
            let bytes = written(|out| put_string(out, flexible, &long));
            assert_eq!(Reader::new(&bytes).string(flexible, "s"), Ok(&*long));
        }
    }

    #[test]
    fn hostile_strings_are_refused() {
        for bytes in [&[0xff, 0xfe][..], &[0x80, 0x00], &[0x7f, 0xff, b'a'], &[0, 2, b'a', 0xff]] {
            assert!(Reader::new(bytes).nullable_string(false, "s").is_err(), "{bytes:?}");
        }
        for bytes in [&[3, b'a'][..], &[0xff, 0xff, 0xff, 0xff, 0x0f], &[3, b'a', 0xff]] {
            assert!(Reader::new(bytes).nullable_string(true, "s").is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_count_must_fit_into_the_bytes_left_over() {
        assert_eq!(Reader::new(&[0, 0, 0, 2, 1, 2, 3, 4]).array(false, 2, "a"), Ok(2));
        assert!(Reader::new(&[0, 0, 0, 2, 1, 2, 3]).array(false, 2, "a").is_err());
        assert_eq!(Reader::new(&[3, 1, 2, 3, 4]).array(true, 2, "a"), Ok(2));
        assert!(Reader::new(&[3, 1, 2, 3]).array(true, 2, "a").is_err());
        assert_eq!(Reader::new(&[0]).nullable_array(true, 1, "a"), Ok(None));
        assert!(Reader::new(&[0]).array(true, 1, "a").is_err());
        for count in [i32::MAX, -2, i32::MIN] {
            let mut bytes = written(|out| put_i32(out, count));
            bytes.resize(50, 0);
            assert!(Reader::new(&bytes).nullable_array(false, 1, "a").is_err(), "{count}");
        }
        let mut bytes = written(|out| put_uvarint(out, u32::MAX));
        bytes.resize(50, 0);
        assert!(Reader::new(&bytes).nullable_array(true, 1, "a").is_err());
    }

    #[test]
    fn a_possible_count_reserves_little_before_its_elements_turn_up() {
        assert_eq!(unproven_capacity::<[u8; 1024]>(10), 10);
        assert_eq!(unproven_capacity::<[u8; 1024]>(1 << 20), 64);
        assert_eq!(unproven_capacity::<u8>(usize::MAX), 64 * 1024);
        let mut bytes = written(|out| put_i32(out, 1 << 20));
        bytes.resize(4 + (1 << 20), 0);
        let list = Reader::new(&bytes).list(false, 1, "a", |r| r.i32("element"));
        assert_eq!(list, Err(DecodeError { what: "element", at: bytes.len() }));
    }

    #[test]
    fn tags_are_bounded_ordered_and_skipped_when_unknown() {
        let read = |bytes: &[u8]| {
            let mut seen = Vec::new();
            let mut reader = Reader::new(bytes);
            reader.tags(|tag, payload| {
                seen.push((tag, payload.position(), payload.remaining()));
                Ok(())
            })?;
            reader.finish("tags")?;
            Ok::<_, DecodeError>(seen)
        };
        assert_eq!(read(&[0]), Ok(vec![]));
        assert_eq!(read(&[2, 0, 1, 0xaa, 5, 0]), Ok(vec![(0, 3, 1), (5, 6, 0)]));
        for (bytes, what) in [
            (&[2, 1, 0, 1, 0][..], "order of tags"),
            (&[2, 1, 0, 0, 0], "order of tags"),
            (&[1, 0, 2, 0], "tagged field"),
            (&[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0], "tag"),
            (&[1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f], "tagged field"),
            (&[0, 0], "tags"),
        ] {
            assert_eq!(read(bytes).unwrap_err().what, what, "{bytes:?}");
        }
    }

    #[test]
    fn a_tagged_field_cannot_read_beyond_its_payload() {
        let mut reader = Reader::new(&[1, 0, 2, 1, 2, 9, 9]);
        let error = reader.tags(|_, payload| payload.i32("inner").map(drop)).unwrap_err();
        assert_eq!(error, DecodeError { what: "inner", at: 3 });
    }

    #[test]
    fn a_tagged_field_is_read_as_a_whole_or_not_at_all() {
        let bytes = [1, 0, 2, 1, 2];
        let read = |some: usize| Reader::new(&bytes).tags(|_, payload| payload.take(some, "inner").map(drop));
        assert_eq!((read(0), read(2)), (Ok(()), Ok(())));
        assert_eq!(read(1), Err(DecodeError { what: "tagged field", at: 4 }));
    }

    #[test]
    fn text_of_a_peer_is_made_harmless() {
        assert_eq!(escaped("Größe"), "Größe");
        assert_eq!(escaped("a\n\u{1b}[31m\u{202e}"), "a\\n\\u{1b}[31m\\u{202e}");
        let long = escaped(&"é\r".repeat(10_000_000 / 3));
        assert!(long.len() <= MAX_TEXT_LEN + 16, "{}", long.len());
        assert!(long.ends_with("..."));
    }

    #[test]
    fn an_error_says_what_and_where() {
        let mut reader = Reader::new(&[0, 1, 2]);
        reader.i16("error code").expect("two bytes are there");
        assert_eq!(reader.i32("topics").unwrap_err().to_string(), "truncated or malformed topics at byte 2");
    }
}
