//! AddPartitionsToTxn: tells the coordinator which partitions a transaction is going to write to.

use super::{
    api::ApiKey,
    metadata::topic_name,
    primitives::{DecodeError, Reader, put_array_len, put_i16, put_i32, put_i64, put_string, put_tags_empty},
    sequence::Identity,
};
use crate::error::ErrorCode;

/// Version 4 and later are for brokers among themselves.
pub(crate) struct AddPartitionsToTxnRequest<'a> {
    pub(crate) transactional_id: &'a str,
    pub(crate) identity: Identity,
    /// Each topic with its partitions.
    pub(crate) topics: &'a [(&'a str, Vec<i32>)],
}

impl AddPartitionsToTxnRequest<'_> {
    pub(crate) fn encode(&self, version: i16, out: &mut Vec<u8>) {
        let flexible = ApiKey::AddPartitionsToTxn.is_flexible(version);
        put_string(out, flexible, self.transactional_id);
        put_i64(out, self.identity.id);
        put_i16(out, self.identity.epoch);
        put_array_len(out, flexible, self.topics.len());
        for (name, partitions) in self.topics {
            put_string(out, flexible, name);
            put_array_len(out, flexible, partitions.len());
            for partition in partitions {
                put_i32(out, *partition);
            }
            if flexible {
                put_tags_empty(out);
            }
        }
        if flexible {
            put_tags_empty(out);
        }
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct AddPartitionsToTxnResponse {
    pub(crate) throttle_time_ms: i32,
    /// Each topic with its partitions.
    pub(crate) topics: Vec<(String, Vec<(i32, ErrorCode)>)>,
}

impl AddPartitionsToTxnResponse {
    pub(crate) fn decode(version: i16, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let flexible = ApiKey::AddPartitionsToTxn.is_flexible(version);
        let throttle_time_ms = r.i32("throttle time")?;
        let topics = r.list(flexible, MIN_TOPIC_LEN, "topics", |r| {
            let at = r.position();
            let name = topic_name(flexible, r)?.ok_or(DecodeError { what: "topic name", at })?;
            let partitions = partition_errors(flexible, r)?;
            Ok((name, partitions))
        })?;
        if flexible {
            r.skip_tags()?;
        }
        r.finish("AddPartitionsToTxn response")?;
        Ok(Self { throttle_time_ms, topics })
    }
}

/// The end of a topic in an answer: its partitions, each with what became of it.
pub(super) fn partition_errors(
    flexible: bool,
    r: &mut Reader<'_>,
) -> Result<Vec<(i32, ErrorCode)>, DecodeError> {
    let partitions = r.list(flexible, MIN_PARTITION_LEN, "partitions", |r| {
        let partition = (r.i32("partition index")?, ErrorCode(r.i16("error code")?));
        if flexible {
            r.skip_tags()?;
        }
        Ok(partition)
    })?;
    if flexible {
        r.skip_tags()?;
    }
    Ok(partitions)
}

/// An empty name, no partitions, no tags.
pub(super) const MIN_TOPIC_LEN: usize = 3;
/// An index and a code.
const MIN_PARTITION_LEN: usize = 6;
