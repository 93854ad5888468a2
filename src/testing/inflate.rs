//! Opens the records of a compressed batch.
//!
//! A codec that is not listed is refused as a broker without it would: with UNSUPPORTED_COMPRESSION_TYPE. A cluster
//! that keeps no records never comes here, and takes every codec.

use std::io;

use bytes::Bytes;

/// The records of a batch as they were before `codec` was applied.
pub(super) fn inflate(codec: i8, records: Bytes) -> io::Result<Bytes> {
    match codec {
        0 => Ok(records),
        other => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!(
                "codec {other}: the testing cluster cannot open it, so it cannot keep the records (keep_records)"
            ),
        )),
    }
}
