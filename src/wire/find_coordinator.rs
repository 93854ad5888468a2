//! FindCoordinator: which broker looks after a transactional id or a consumer group.

use super::{
    api::ApiKey,
    metadata::{Broker, host},
    primitives::{DecodeError, Reader, escaped, put_array_len, put_string, put_tags_empty},
};
use crate::error::ErrorCode;

/// What a coordinator is asked for.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum CoordinatorType {
    Group = 0,
    Transaction = 1,
}

/// Asks for one coordinator, which from version 4 on is a list of one.
pub(crate) struct FindCoordinatorRequest<'a> {
    pub(crate) kind: CoordinatorType,
    pub(crate) key: &'a str,
}

impl FindCoordinatorRequest<'_> {
    pub(crate) fn encode(&self, version: i16, out: &mut Vec<u8>) {
        let flexible = ApiKey::FindCoordinator.is_flexible(version);
        if version < FIRST_WITH_LISTS {
            put_string(out, flexible, self.key);
        }
        out.push(self.kind as u8);
        if version >= FIRST_WITH_LISTS {
            put_array_len(out, flexible, 1);
            put_string(out, flexible, self.key);
        }
        if flexible {
            put_tags_empty(out);
        }
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct FindCoordinatorResponse {
    pub(crate) throttle_time_ms: i32,
    pub(crate) coordinators: Vec<Coordinator>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Coordinator {
    /// `None` before version 4, where the answer is about the only key there is.
    pub(crate) key: Option<String>,
    pub(crate) error: ErrorCode,
    pub(crate) error_message: Option<String>,
    /// Makes sense only without an error.
    pub(crate) broker: Broker,
}

impl FindCoordinatorResponse {
    pub(crate) fn decode(version: i16, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let flexible = ApiKey::FindCoordinator.is_flexible(version);
        let throttle_time_ms = r.i32("throttle time")?;
        let coordinators = if version < FIRST_WITH_LISTS {
            let error = ErrorCode(r.i16("error code")?);
            let error_message = r.nullable_string(flexible, "error message")?.map(escaped);
            vec![Coordinator { key: None, error, error_message, broker: broker(flexible, r)? }]
        } else {
            r.list(flexible, MIN_COORDINATOR_LEN, "coordinators", |r| {
                let key = r.string(flexible, "coordinator key")?.to_owned();
                let broker = broker(flexible, r)?;
                let error = ErrorCode(r.i16("error code")?);
                let error_message = r.nullable_string(flexible, "error message")?.map(escaped);
                r.skip_tags()?;
                Ok(Coordinator { key: Some(key), error, error_message, broker })
            })?
        };
        if flexible {
            r.skip_tags()?;
        }
        r.finish("FindCoordinator response")?;
        Ok(Self { throttle_time_ms, coordinators })
    }
}

fn broker(flexible: bool, r: &mut Reader<'_>) -> Result<Broker, DecodeError> {
    Ok(Broker { node_id: r.i32("node id")?, host: host(flexible, r)?, port: r.i32("port")?, rack: None })
}

/// From here on one request asks for several coordinators.
const FIRST_WITH_LISTS: i16 = 4;

/// An empty key, a node without a host, no message, no tags.
const MIN_COORDINATOR_LEN: usize = 14;
