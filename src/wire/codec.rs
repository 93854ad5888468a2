//! Codecs: what makes the records of a batch smaller, each in the framing that Kafka's brokers and consumers read.
//!
//! A codec sees the records of one batch back to back and gives one stream. What a batch or a header is stands in
//! `batch.rs`. Nothing here is a judge of hostile input: what is opened again is what this process has closed itself.
//!
//! A codec that was not compiled in does not exist here; that its setting is refused is the configuration's business.

mod encode;
#[cfg(feature = "gzip")]
mod gzip;
#[cfg(feature = "lz4")]
mod lz4;
#[cfg(feature = "lz4")]
mod lz4_hc;
#[cfg(feature = "snappy")]
mod snappy;
#[cfg(feature = "zstd")]
mod zstd;

use self::encode::Encode;
use super::primitives::DecodeError;
use crate::config::Compression;

/// Compresses one batch after the other, with one codec at one level.
pub(crate) struct Compressor {
    codec: Compression,
    encoder: Box<dyn Encode>,
}

impl Compressor {
    /// `level`: as the codec's own setting has it; snappy has none. `None`: there is nothing to compress with.
    #[allow(unused_variables, reason = "the level, in a build without codecs")]
    pub(crate) fn new(codec: Compression, level: i32) -> Option<Self> {
        match codec {
            #[cfg(feature = "gzip")]
            Compression::Gzip => Some(Self { codec, encoder: Box::new(gzip::Encoder::new(level)) }),
            #[cfg(feature = "snappy")]
            Compression::Snappy => Some(Self { codec, encoder: Box::new(snappy::Encoder::new()) }),
            #[cfg(feature = "lz4")]
            Compression::Lz4 => Some(Self { codec, encoder: Box::new(lz4::Encoder::new(level)) }),
            #[cfg(feature = "zstd")]
            Compression::Zstd => Some(Self { codec, encoder: Box::new(zstd::Encoder::new(level)) }),
            #[allow(unreachable_patterns, reason = "none, and what was not compiled in")]
            _ => None,
        }
    }

    pub(crate) fn codec(&self) -> Compression {
        self.codec
    }

    /// Appends what the records become.
    pub(crate) fn compress(&mut self, records: &[u8], out: &mut Vec<u8>) {
        self.encoder.compress(records, out);
    }
}

/// The codec's number in a batch's attributes.
pub(crate) fn attribute(codec: Compression) -> i16 {
    match codec {
        Compression::None => 0,
        Compression::Gzip => 1,
        Compression::Snappy => 2,
        Compression::Lz4 => 3,
        Compression::Zstd => 4,
    }
}

/// Appends the records as they were before [`Compressor::compress`].
pub(crate) fn decompress(codec: Compression, stream: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
    match codec {
        Compression::None => out.extend_from_slice(stream),
        #[cfg(feature = "gzip")]
        Compression::Gzip => return gzip::decompress(stream, out),
        #[cfg(feature = "snappy")]
        Compression::Snappy => return snappy::decompress(stream, out),
        #[cfg(feature = "lz4")]
        Compression::Lz4 => return lz4::decompress(stream, out),
        #[cfg(feature = "zstd")]
        Compression::Zstd => return zstd::decompress(stream, out),
        #[allow(unreachable_patterns, reason = "what was not compiled in")]
        _ => return Err(DecodeError { what: "codec: it was not compiled in", at: 0 }),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODECS: [Compression; 4] =
        [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    /// Levels from end to end; snappy has none.
    fn levels(codec: Compression) -> &'static [i32] {
        match codec {
            Compression::Gzip => &[-1, 1, 6, 9],
            Compression::Lz4 => &[1, 3, 8, 9, 10, 17],
            Compression::Zstd => &[-131_072, -1, 1, 3, 19, 22],
            Compression::Snappy | Compression::None => &[0],
        }
    }

    /// Bytes that no codec can do anything with.
    fn noise(len: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    fn samples() -> Vec<Vec<u8>> {
        let mut samples: Vec<Vec<u8>> = Vec::new();
        for len in [1, 4, 11, 12, 13, 17, 100, 32_768, 32_769, 65_535, 65_536, 65_537, 200_000] {
            samples.push(vec![b'a'; len]);
            samples.push(noise(len));
            samples
                .push((0..len).map(|i| b"to be delivered before noon; "[i % 29] ^ (i / 997) as u8).collect());
        }
        // Far matches, long literals, long matches.
        let mut mixed = noise(30_000);
        mixed.extend(vec![0; 5_000]);
        mixed.extend_from_within(..20_000);
        samples.push(mixed);
        samples
    }

    #[test]
    fn what_is_compressed_is_read_back_with_every_codec_and_level() {
        for codec in CODECS {
            for &level in levels(codec) {
                let mut compressor = Compressor::new(codec, level).expect("every codec is compiled in");
                for sample in samples() {
                    let mut stream = b"before".to_vec();
                    compressor.compress(&sample, &mut stream);
                    let mut plain = b"there".to_vec();
                    decompress(codec, &stream[6..], &mut plain).unwrap();
                    assert!(plain[5..] == sample, "{codec:?} at {level}, {} bytes", sample.len());
                }
            }
        }
    }

    /// Java's streams of one record of a hundred equal bytes, as the facts of the wire format have them.
    #[test]
    fn what_java_has_compressed_is_read() {
        let streams = [
            (Compression::Gzip, "1f8b08000000000000ffbbc6c8c0c0c0788231910e8001005e5478516d000000"),
            (
                Compression::Snappy,
                "82534e41505059000000000100000001000000136d20d60100000001c80161fe01008a01000000",
            ),
            (Compression::Lz4, "04224d18604082130000009fd60100000001c8016101004c50616161610000000000"),
            (Compression::Zstd, "28b52ffd005884000050d60100000001c80161000100200547010000"),
        ];
        let mut expected = vec![0xd6, 0x01, 0, 0, 0, 1, 0xc8, 0x01];
        expected.extend([b'a'; 100]);
        expected.push(0);
        for (codec, stream) in streams {
            let stream: Vec<u8> = (0..stream.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&stream[at..at + 2], 16).unwrap())
                .collect();
            let mut plain = Vec::new();
            decompress(codec, &stream, &mut plain).unwrap();
            assert_eq!(plain, expected, "{codec:?}");
        }
    }

    /// A level above fast is there for smaller batches.
    #[test]
    fn a_higher_level_is_smaller() {
        let text: Vec<u8> = (0..3_000_u32)
            .flat_map(|i| format!("{{\"customer\":{},\"apples\":{}}}", i * 7919 % 3001, i % 17).into_bytes())
            .collect();
        let len = |codec, level| {
            let mut stream = Vec::new();
            Compressor::new(codec, level).unwrap().compress(&text, &mut stream);
            stream.len()
        };
        for (codec, fast, small) in
            [(Compression::Gzip, 1, 9), (Compression::Lz4, 9, 12), (Compression::Zstd, -5, 19)]
        {
            assert!(len(codec, small) < len(codec, fast), "{codec:?}");
        }
    }

    #[test]
    fn noise_grows_by_next_to_nothing() {
        let noise = noise(100_000);
        for codec in CODECS {
            for &level in levels(codec) {
                let mut stream = Vec::new();
                Compressor::new(codec, level).unwrap().compress(&noise, &mut stream);
                let most = noise.len() + noise.len() / 200;
                assert!(stream.len() < most, "{codec:?} at {level}: {}", stream.len());
            }
        }
    }

    #[test]
    fn a_cut_stream_is_an_error() {
        for codec in CODECS {
            let mut stream = Vec::new();
            Compressor::new(codec, 9).unwrap().compress(&noise(1_000), &mut stream);
            for len in 0..stream.len() {
                // Snappy's framing has no end mark: between blocks is as good as any.
                let may_end = codec == Compression::Snappy && len == 16;
                let result = decompress(codec, &stream[..len], &mut Vec::new());
                assert!(result.is_err() || may_end, "{codec:?}, cut after {len} of {}", stream.len());
            }
        }
    }
}
