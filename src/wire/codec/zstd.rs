//! zstd: plain frames, without a checksum; the batch has its own.

use std::io::Read;

use structured_zstd::{
    decoding::StreamingDecoder,
    encoding::{CompressionLevel, FrameCompressor},
};

use super::{super::primitives::DecodeError, encode::Encode};

pub(super) struct Encoder {
    frames: FrameCompressor,
    /// The library begins its output where a vector begins.
    frame: Vec<u8>,
}

impl Encoder {
    /// `level`: from -131072 to 22.
    pub(super) fn new(level: i32) -> Self {
        let mut frames = FrameCompressor::new(CompressionLevel::from_level(level));
        frames.set_content_checksum(false);
        Self { frames, frame: Vec::new() }
    }
}

impl Encode for Encoder {
    fn compress(&mut self, records: &[u8], out: &mut Vec<u8>) {
        self.frames.compress_independent_frame_into(records, &mut self.frame);
        out.extend_from_slice(&self.frame);
    }
}

pub(super) fn decompress(stream: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let read = StreamingDecoder::new(stream).read_to_end(out);
    read.map(drop).map_err(|_| DecodeError { what: "zstd stream", at: 0 })
}
