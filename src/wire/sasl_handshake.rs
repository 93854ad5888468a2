//! SaslHandshake: by which mechanism a client will prove who it is.

use super::primitives::{DecodeError, Reader, escaped, put_string};
use crate::error::ErrorCode;

/// In version 1, after which proofs travel in requests of their own.
pub(crate) fn encode(mechanism: &str, out: &mut Vec<u8>) {
    put_string(out, false, mechanism);
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SaslHandshakeResponse {
    pub(crate) error: ErrorCode,
    /// What the broker would accept.
    pub(crate) mechanisms: Vec<String>,
}

impl SaslHandshakeResponse {
    pub(crate) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let response = Self {
            error: ErrorCode(r.i16("error code")?),
            // An empty name takes the two bytes of its length.
            mechanisms: r.list(false, 2, "mechanisms", |r| Ok(escaped(r.string(false, "mechanism")?)))?,
        };
        r.finish("SaslHandshake response")?;
        Ok(response)
    }
}
