//! EndTxn: commits or aborts a transaction.

use super::{
    api::ApiKey,
    primitives::{DecodeError, Reader, put_bool, put_i16, put_i64, put_string, put_tags_empty},
    sequence::Identity,
};
use crate::error::ErrorCode;

pub(crate) struct EndTxnRequest<'a> {
    pub(crate) transactional_id: &'a str,
    pub(crate) identity: Identity,
    pub(crate) committed: bool,
}

impl EndTxnRequest<'_> {
    pub(crate) fn encode(&self, version: i16, out: &mut Vec<u8>) {
        let flexible = ApiKey::EndTxn.is_flexible(version);
        put_string(out, flexible, self.transactional_id);
        put_i64(out, self.identity.id);
        put_i16(out, self.identity.epoch);
        put_bool(out, self.committed);
        if flexible {
            put_tags_empty(out);
        }
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct EndTxnResponse {
    pub(crate) throttle_time_ms: i32,
    pub(crate) error: ErrorCode,
    /// What the next transaction goes by; `None` before version 5, and where the broker does not say: the same as
    /// this one.
    pub(crate) next: Option<Identity>,
}

impl EndTxnResponse {
    pub(crate) fn decode(version: i16, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let throttle_time_ms = r.i32("throttle time")?;
        let error = ErrorCode(r.i16("error code")?);
        let mut next = None;
        if version >= 5 {
            let identity = Identity { id: r.i64("producer id")?, epoch: r.i16("producer epoch")? };
            next = (identity.id >= 0 && identity.epoch >= 0).then_some(identity);
        }
        if ApiKey::EndTxn.is_flexible(version) {
            r.skip_tags()?;
        }
        r.finish("EndTxn response")?;
        Ok(Self { throttle_time_ms, error, next })
    }
}
