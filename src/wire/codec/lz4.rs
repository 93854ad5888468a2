//! LZ4 in the frame format, with the settings that brokers accept: blocks of at most 64 KiB that do not look back at
//! each other, without checksums and sizes.
//!
//! ```text
//!  04 22 4d 18 | flags 60 | largest block 40 | checksum of both 82 | { length u32, little end first | block }* | 0 u32
//! ```
//!
//! The highest bit of a length says that the block is stored as it is, which no block may be larger than.

use byteorder::{ByteOrder, LittleEndian};
use lz4_flex::block::{self, CompressTable};

use super::{
    super::primitives::{DecodeError, Reader},
    encode::Encode,
    lz4_hc::HighCompression,
};

pub(super) enum Encoder {
    Fast(CompressTable),
    High(Box<HighCompression>),
}

impl Encoder {
    /// `level`: from 1 to 17. As in Java 9 is the fast compressor, and any other the one that searches.
    pub(super) fn new(level: i32) -> Self {
        match level {
            FAST => Self::Fast(CompressTable::default()),
            level => Self::High(Box::new(HighCompression::new(level))),
        }
    }
}

impl Encode for Encoder {
    fn compress(&mut self, records: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&HEADER);
        for block in records.chunks(BLOCK_LEN) {
            let start = out.len() + LENGTH_LEN;
            out.resize(start + block::get_maximum_output_size(block.len()), 0);
            let len = match self {
                Self::Fast(table) => block::compress_into_with_table(block, &mut out[start..], table)
                    .expect("there is room for the longest outcome"),
                Self::High(high) => high.compress(block, &mut out[start..]),
            };
            let mut word = u32::try_from(len).expect("a block is small");
            if len >= block.len() {
                word = u32::try_from(block.len()).expect("a block is small") | STORED;
                out.truncate(start);
                out.extend_from_slice(block);
            } else {
                out.truncate(start + len);
            }
            LittleEndian::write_u32(&mut out[start - LENGTH_LEN..start], word);
        }
        out.extend_from_slice(&END);
    }
}

pub(super) fn decompress(stream: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let mut r = Reader::new(stream);
    if r.take(HEADER.len(), "lz4 header")? != HEADER {
        return Err(DecodeError { what: "lz4 header", at: 0 });
    }
    loop {
        let at = r.position();
        let word = LittleEndian::read_u32(r.take(LENGTH_LEN, "lz4 block length")?);
        let len = usize::try_from(word & !STORED).expect("usize has 32 bits at least");
        if len == 0 {
            return r.finish("end of the lz4 frame");
        }
        let block = r.take(len, "lz4 block")?;
        if word & STORED != 0 {
            out.extend_from_slice(block);
            continue;
        }
        let start = out.len();
        out.resize(start + BLOCK_LEN, 0);
        let len = block::decompress_into(block, &mut out[start..])
            .map_err(|_| DecodeError { what: "lz4 block", at })?;
        out.truncate(start + len);
    }
}

/// The level that means the fast compressor.
const FAST: i32 = 9;

const HEADER: [u8; 7] = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82];

const BLOCK_LEN: usize = 64 * 1024;

const LENGTH_LEN: usize = size_of::<u32>();

/// In a block's length: it is not compressed.
const STORED: u32 = 1 << 31;

const END: [u8; LENGTH_LEN] = [0; LENGTH_LEN];
