//! GetTelemetrySubscriptions: which metrics a broker wants to be pushed, and how often (KIP-714).

use super::{
    api::ApiKey,
    primitives::{DecodeError, Reader, Uuid, put_tags_empty, put_uuid},
};
use crate::error::ErrorCode;

pub(crate) struct GetTelemetrySubscriptionsRequest {
    /// What the brokers call this client; all zeros before the first answer.
    pub(crate) client_instance_id: Uuid,
}

impl GetTelemetrySubscriptionsRequest {
    pub(crate) fn encode(&self, version: i16, out: &mut Vec<u8>) {
        put_uuid(out, &self.client_instance_id);
        if ApiKey::GetTelemetrySubscriptions.is_flexible(version) {
            put_tags_empty(out);
        }
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct GetTelemetrySubscriptionsResponse {
    pub(crate) throttle_time_ms: i32,
    pub(crate) error: ErrorCode,
    pub(crate) client_instance_id: Uuid,
    pub(crate) subscription_id: i32,
    /// The codecs' numbers, the one that the broker likes best first; empty for none.
    pub(crate) accepted_compression_types: Vec<i8>,
    pub(crate) push_interval_ms: i32,
    /// How large a push may be.
    pub(crate) telemetry_max_bytes: i32,
    /// Whether counters are told as what they have grown by.
    pub(crate) delta_temporality: bool,
    /// Beginnings of names. An empty one is all metrics; no name is none.
    pub(crate) requested_metrics: Vec<String>,
}

impl GetTelemetrySubscriptionsResponse {
    pub(crate) fn decode(version: i16, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let flexible = ApiKey::GetTelemetrySubscriptions.is_flexible(version);
        let response = Self {
            throttle_time_ms: r.i32("throttle time")?,
            error: ErrorCode(r.i16("error code")?),
            client_instance_id: r.uuid("client instance id")?,
            subscription_id: r.i32("subscription id")?,
            accepted_compression_types: r
                .list(flexible, 1, "accepted compression types", |r| r.i8("accepted compression type"))?,
            push_interval_ms: r.i32("push interval")?,
            telemetry_max_bytes: r.i32("largest push")?,
            delta_temporality: r.bool("delta temporality")?,
            requested_metrics: r.list(flexible, 1, "requested metrics", |r| {
                r.string(flexible, "requested metric").map(str::to_owned)
            })?,
        };
        if flexible {
            r.skip_tags()?;
        }
        r.finish("GetTelemetrySubscriptions response")?;
        Ok(response)
    }
}
