//! Opens the records of a compressed batch.
//!
//! A codec that was not compiled in is refused as a broker without it would: with UNSUPPORTED_COMPRESSION_TYPE. A cluster
//! that keeps no records never comes here, and takes every codec.

use std::io;

use bytes::Bytes;

use crate::{config::Compression, wire::codec};

/// The records of a batch as they were before `codec` was applied.
pub(super) fn inflate(codec: i8, records: Bytes) -> io::Result<Bytes> {
    let compression = match codec {
        0 => return Ok(records),
        1 => Compression::Gzip,
        2 => Compression::Snappy,
        3 => Compression::Lz4,
        4 => Compression::Zstd,
        other => {
            return Err(io::Error::new(io::ErrorKind::Unsupported, format!("there is no codec {other}")));
        }
    };
    let mut plain = Vec::new();
    codec::decompress(compression, &records, &mut plain).map_err(|problem| {
        io::Error::new(
            io::ErrorKind::Unsupported,
            format!("codec {codec}: the testing cluster cannot open it, so it cannot keep the records (keep_records): {problem}"),
        )
    })?;
    Ok(plain.into())
}
