//! PushTelemetry: a client's metrics, for a broker that has asked for them (KIP-714). What is in them stands in
//! [`otlp`](super::otlp).

use super::{
    api::ApiKey,
    primitives::{DecodeError, Reader, Uuid, put_bool, put_bytes_len, put_i32, put_tags_empty, put_uuid},
};
use crate::error::ErrorCode;

pub(crate) struct PushTelemetryRequest<'a> {
    pub(crate) client_instance_id: Uuid,
    pub(crate) subscription_id: i32,
    /// This is the client's last push.
    pub(crate) terminating: bool,
    /// The codec's number.
    pub(crate) compression_type: i8,
    pub(crate) metrics: &'a [u8],
}

impl PushTelemetryRequest<'_> {
    pub(crate) fn encode(&self, version: i16, out: &mut Vec<u8>) {
        let flexible = ApiKey::PushTelemetry.is_flexible(version);
        put_uuid(out, &self.client_instance_id);
        put_i32(out, self.subscription_id);
        put_bool(out, self.terminating);
        out.push(self.compression_type.cast_unsigned());
        put_bytes_len(out, flexible, self.metrics.len());
        out.extend_from_slice(self.metrics);
        if flexible {
            put_tags_empty(out);
        }
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct PushTelemetryResponse {
    pub(crate) throttle_time_ms: i32,
    pub(crate) error: ErrorCode,
}

impl PushTelemetryResponse {
    pub(crate) fn decode(version: i16, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let response =
            Self { throttle_time_ms: r.i32("throttle time")?, error: ErrorCode(r.i16("error code")?) };
        if ApiKey::PushTelemetry.is_flexible(version) {
            r.skip_tags()?;
        }
        r.finish("PushTelemetry response")?;
        Ok(response)
    }
}
