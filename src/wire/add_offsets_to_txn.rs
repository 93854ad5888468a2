//! AddOffsetsToTxn: tells the coordinator of a transaction that a consumer group's offsets belong to it.

use super::{
    api::ApiKey,
    primitives::{DecodeError, Reader, put_i16, put_i64, put_string, put_tags_empty},
    sequence::Identity,
};
use crate::error::ErrorCode;

pub(crate) struct AddOffsetsToTxnRequest<'a> {
    pub(crate) transactional_id: &'a str,
    pub(crate) identity: Identity,
    pub(crate) group_id: &'a str,
}

impl AddOffsetsToTxnRequest<'_> {
    pub(crate) fn encode(&self, version: i16, out: &mut Vec<u8>) {
        let flexible = ApiKey::AddOffsetsToTxn.is_flexible(version);
        put_string(out, flexible, self.transactional_id);
        put_i64(out, self.identity.id);
        put_i16(out, self.identity.epoch);
        put_string(out, flexible, self.group_id);
        if flexible {
            put_tags_empty(out);
        }
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct AddOffsetsToTxnResponse {
    pub(crate) throttle_time_ms: i32,
    pub(crate) error: ErrorCode,
}

impl AddOffsetsToTxnResponse {
    pub(crate) fn decode(version: i16, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let response =
            Self { throttle_time_ms: r.i32("throttle time")?, error: ErrorCode(r.i16("error code")?) };
        if ApiKey::AddOffsetsToTxn.is_flexible(version) {
            r.skip_tags()?;
        }
        r.finish("AddOffsetsToTxn response")?;
        Ok(response)
    }
}
