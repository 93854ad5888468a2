//! InitProducerId: the identity under which a broker recognizes a producer's batches.

use super::{
    api::ApiKey,
    primitives::{DecodeError, Reader, put_i16, put_i32, put_i64, put_nullable_string, put_tags_empty},
};
use crate::error::ErrorCode;

/// Before version 3 the current identity cannot be sent, and the broker always gives a new one.
pub(crate) struct InitProducerIdRequest<'a> {
    pub(crate) transactional_id: Option<&'a str>,
    pub(crate) transaction_timeout_ms: i32,
    /// -1 for a producer that has none.
    pub(crate) producer_id: i64,
    /// -1 for a producer that has none.
    pub(crate) producer_epoch: i16,
}

impl InitProducerIdRequest<'_> {
    pub(crate) fn encode(&self, version: i16, out: &mut Vec<u8>) {
        let flexible = ApiKey::InitProducerId.is_flexible(version);
        put_nullable_string(out, flexible, self.transactional_id);
        put_i32(out, self.transaction_timeout_ms);
        if version >= 3 {
            put_i64(out, self.producer_id);
            put_i16(out, self.producer_epoch);
        }
        if flexible {
            put_tags_empty(out);
        }
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct InitProducerIdResponse {
    pub(crate) throttle_time_ms: i32,
    pub(crate) error: ErrorCode,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
}

impl InitProducerIdResponse {
    pub(crate) fn decode(version: i16, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let response = Self {
            throttle_time_ms: r.i32("throttle time")?,
            error: ErrorCode(r.i16("error code")?),
            producer_id: r.i64("producer id")?,
            producer_epoch: r.i16("producer epoch")?,
        };
        if ApiKey::InitProducerId.is_flexible(version) {
            r.skip_tags()?;
        }
        r.finish("InitProducerId response")?;
        Ok(response)
    }
}
