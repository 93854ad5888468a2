//! snappy in the framing of Java's snappy-java ("xerial"): a header, then blocks behind their lengths.
//!
//! ```text
//!  82 'S' 'N' 'A' 'P' 'P' 'Y' 00 | version i32 | oldest version that can read it i32 | { length i32 | block }*
//! ```

use byteorder::{BigEndian, ByteOrder};
use snap::raw;

use super::{
    super::primitives::{DecodeError, Reader},
    encode::Encode,
};

pub(super) struct Encoder(raw::Encoder);

impl Encoder {
    pub(super) fn new() -> Self {
        Self(raw::Encoder::new())
    }
}

impl Encode for Encoder {
    fn compress(&mut self, records: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&HEADER);
        for block in records.chunks(BLOCK_LEN) {
            let start = out.len() + LENGTH_LEN;
            out.resize(start + raw::max_compress_len(block.len()), 0);
            let len =
                self.0.compress(block, &mut out[start..]).expect("there is room for the longest outcome");
            BigEndian::write_u32(
                &mut out[start - LENGTH_LEN..start],
                u32::try_from(len).expect("a block is small"),
            );
            out.truncate(start + len);
        }
    }
}

pub(super) fn decompress(stream: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let mut r = Reader::new(stream);
    if r.take(HEADER.len(), "snappy header")? != HEADER {
        return Err(DecodeError { what: "snappy header", at: 0 });
    }
    while r.remaining() > 0 {
        let at = r.position();
        let bad = |_| DecodeError { what: "snappy block", at };
        let len = usize::try_from(r.i32("snappy block length")?)
            .map_err(|_| DecodeError { what: "snappy block length", at })?;
        let block = r.take(len, "snappy block")?;
        let start = out.len();
        out.resize(start + raw::decompress_len(block).map_err(bad)?, 0);
        let len = raw::Decoder::new().decompress(block, &mut out[start..]).map_err(bad)?;
        out.truncate(start + len);
    }
    Ok(())
}

const HEADER: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";

/// What snappy-java writes. Other readers have been met that take no larger ones.
const BLOCK_LEN: usize = 32 * 1024;

const LENGTH_LEN: usize = size_of::<u32>();
