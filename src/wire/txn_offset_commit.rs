//! TxnOffsetCommit: a consumer group's offsets, which count once their transaction is committed.

use super::{
    add_partitions_to_txn::{MIN_TOPIC_LEN, partition_errors},
    api::ApiKey,
    metadata::topic_name,
    primitives::{
        DecodeError, Reader, Uuid, put_array_len, put_i16, put_i32, put_i64, put_nullable_string, put_string,
        put_tags_empty, put_uuid,
    },
    sequence::Identity,
};
use crate::error::ErrorCode;

/// Before version 3 the group's generation and member cannot be sent, and nobody checks them.
pub(crate) struct TxnOffsetCommitRequest<'a> {
    pub(crate) transactional_id: &'a str,
    pub(crate) group_id: &'a str,
    pub(crate) identity: Identity,
    pub(crate) generation: i32,
    pub(crate) member_id: &'a str,
    pub(crate) group_instance_id: Option<&'a str>,
    pub(crate) topics: &'a [TxnOffsetCommitTopic<'a>],
}

pub(crate) struct TxnOffsetCommitTopic<'a> {
    /// Goes over the wire up to version 5.
    pub(crate) name: &'a str,
    /// Goes over the wire from version 6 on, and must not be all zeros there.
    pub(crate) topic_id: Uuid,
    pub(crate) partitions: Vec<TxnOffsetCommitPartition<'a>>,
}

pub(crate) struct TxnOffsetCommitPartition<'a> {
    pub(crate) index: i32,
    pub(crate) offset: i64,
    /// -1 if it is not known.
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: Option<&'a str>,
}

impl TxnOffsetCommitRequest<'_> {
    pub(crate) fn encode(&self, version: i16, out: &mut Vec<u8>) {
        let flexible = ApiKey::TxnOffsetCommit.is_flexible(version);
        put_string(out, flexible, self.transactional_id);
        put_string(out, flexible, self.group_id);
        put_i64(out, self.identity.id);
        put_i16(out, self.identity.epoch);
        if version >= FIRST_WITH_MEMBERS {
            put_i32(out, self.generation);
            put_string(out, flexible, self.member_id);
            put_nullable_string(out, flexible, self.group_instance_id);
        }
        put_array_len(out, flexible, self.topics.len());
        for topic in self.topics {
            if version > LAST_BY_NAME {
                put_uuid(out, &topic.topic_id);
            } else {
                put_string(out, flexible, topic.name);
            }
            put_array_len(out, flexible, topic.partitions.len());
            for partition in &topic.partitions {
                put_i32(out, partition.index);
                put_i64(out, partition.offset);
                if version >= 2 {
                    put_i32(out, partition.leader_epoch);
                }
                put_nullable_string(out, flexible, partition.metadata);
                if flexible {
                    put_tags_empty(out);
                }
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
pub(crate) struct TxnOffsetCommitResponse {
    pub(crate) throttle_time_ms: i32,
    pub(crate) topics: Vec<TxnOffsetCommitAnswer>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct TxnOffsetCommitAnswer {
    /// `None` from version 6 on.
    pub(crate) name: Option<String>,
    /// All zeros before version 6.
    pub(crate) topic_id: Uuid,
    pub(crate) partitions: Vec<(i32, ErrorCode)>,
}

impl TxnOffsetCommitResponse {
    pub(crate) fn decode(version: i16, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let flexible = ApiKey::TxnOffsetCommit.is_flexible(version);
        let throttle_time_ms = r.i32("throttle time")?;
        let topics = r.list(flexible, MIN_TOPIC_LEN, "topics", |r| {
            let (name, topic_id) = if version > LAST_BY_NAME {
                (None, r.uuid("topic id")?)
            } else {
                let at = r.position();
                let name = topic_name(flexible, r)?.ok_or(DecodeError { what: "topic name", at })?;
                (Some(name), Uuid::default())
            };
            let partitions = partition_errors(flexible, r)?;
            Ok(TxnOffsetCommitAnswer { name, topic_id, partitions })
        })?;
        if flexible {
            r.skip_tags()?;
        }
        r.finish("TxnOffsetCommit response")?;
        Ok(Self { throttle_time_ms, topics })
    }
}

/// The first version that says which member of the group commits.
pub(crate) const FIRST_WITH_MEMBERS: i16 = 3;
/// From the next version on, topics go by id.
pub(crate) const LAST_BY_NAME: i16 = 5;
