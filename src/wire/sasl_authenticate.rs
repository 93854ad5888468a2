//! SaslAuthenticate: what a mechanism has to say, back and forth.

use super::{
    api::ApiKey,
    primitives::{DecodeError, Reader, escaped, put_bytes_len, put_tags_empty},
};
use crate::error::ErrorCode;

pub(crate) fn encode(version: i16, token: &[u8], out: &mut Vec<u8>) {
    let flexible = ApiKey::SaslAuthenticate.is_flexible(version);
    // Reserved once: what grows leaves copies behind, and this may be a password.
    out.reserve_exact(token.len() + 8);
    put_bytes_len(out, flexible, token.len());
    out.extend_from_slice(token);
    if flexible {
        put_tags_empty(out);
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SaslAuthenticateResponse<'a> {
    pub(crate) error: ErrorCode,
    pub(crate) error_message: Option<String>,
    pub(crate) token: &'a [u8],
    /// After which the broker wants to see the proof again; 0 if never.
    pub(crate) session_lifetime_ms: i64,
}

impl<'a> SaslAuthenticateResponse<'a> {
    pub(crate) fn decode(version: i16, r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let flexible = ApiKey::SaslAuthenticate.is_flexible(version);
        let response = Self {
            error: ErrorCode(r.i16("error code")?),
            error_message: r.nullable_string(flexible, "error message")?.map(escaped),
            token: r.bytes(flexible, "auth bytes")?,
            session_lifetime_ms: if version >= 1 { r.i64("session lifetime")? } else { 0 },
        };
        if flexible {
            r.skip_tags()?;
        }
        r.finish("SaslAuthenticate response")?;
        Ok(response)
    }
}
