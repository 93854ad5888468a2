//! Produce: batches to the leaders of their partitions, and what became of them.
//!
//! Record bytes are not copied into a request. The frame is written with gaps, and the batches go into the gaps on
//! their way to the socket.

use super::{
    api::ApiKey,
    frame::{LENGTH_LEN, put_request_header, write_length},
    metadata::{Broker, MIN_BROKER_LEN, topic_name},
    primitives::{
        DecodeError, Reader, Uuid, escaped, put_array_len, put_bytes_len, put_i16, put_i32,
        put_nullable_string, put_string, put_tags_empty, put_uuid,
    },
};
use crate::error::ErrorCode;

pub(crate) struct ProduceRequest<'a> {
    pub(crate) transactional_id: Option<&'a str>,
    pub(crate) acks: i16,
    pub(crate) timeout_ms: i32,
    pub(crate) topics: &'a [ProduceTopic<'a>],
}

pub(crate) struct ProduceTopic<'a> {
    /// Goes over the wire up to version 12.
    pub(crate) name: &'a str,
    /// Goes over the wire from version 13 on, and must not be all zeros there.
    pub(crate) topic_id: Uuid,
    pub(crate) partitions: &'a [ProducePartition],
}

pub(crate) struct ProducePartition {
    pub(crate) index: i32,
    /// The length of the one batch that goes to this partition.
    pub(crate) records_len: usize,
}

/// A frame without its batches.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct ProduceFrame {
    /// Everything but the records, the length of the whole frame included.
    pub(crate) head: Vec<u8>,
    /// Where in `head` the records of the first partition belong, of the second, and so on: in ascending order.
    pub(crate) cuts: Vec<usize>,
}

impl ProduceRequest<'_> {
    pub(crate) fn encode_frame(&self, version: i16, correlation_id: i32, client_id: &str) -> ProduceFrame {
        let flexible = ApiKey::Produce.is_flexible(version);
        let partitions = self.topics.iter().map(|topic| topic.partitions.len()).sum();
        let mut cuts = Vec::with_capacity(partitions);
        let mut records_len = 0;
        // Names and numbers of each, and what stands round them at most.
        let names: usize = self.topics.iter().map(|topic| topic.name.len() + 24).sum();
        let mut head = Vec::with_capacity(64 + client_id.len() + names + 10 * partitions);
        head.resize(LENGTH_LEN, 0);
        let out = &mut head;
        put_request_header(out, ApiKey::Produce, version, correlation_id, client_id);
        put_nullable_string(out, flexible, self.transactional_id);
        put_i16(out, self.acks);
        put_i32(out, self.timeout_ms);
        put_array_len(out, flexible, self.topics.len());
        for topic in self.topics {
            if version >= 13 {
                debug_assert_ne!(
                    topic.topic_id,
                    Uuid::default(),
                    "version 13 is not for topics without an id"
                );
                put_uuid(out, &topic.topic_id);
            } else {
                put_string(out, flexible, topic.name);
            }
            put_array_len(out, flexible, topic.partitions.len());
            for partition in topic.partitions {
                put_i32(out, partition.index);
                put_bytes_len(out, flexible, partition.records_len);
                cuts.push(out.len());
                records_len += partition.records_len;
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
        write_length(out, records_len);
        ProduceFrame { head, cuts }
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ProduceResponse {
    pub(crate) topics: Vec<TopicResponse>,
    pub(crate) throttle_time_ms: i32,
    /// Where to find the leaders that the partitions name.
    pub(crate) node_endpoints: Vec<Broker>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct TopicResponse {
    /// `None` from version 13 on.
    pub(crate) name: Option<String>,
    /// All zeros before version 13.
    pub(crate) topic_id: Uuid,
    pub(crate) partitions: Vec<PartitionResponse>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct PartitionResponse {
    pub(crate) index: i32,
    pub(crate) error: ErrorCode,
    pub(crate) base_offset: i64,
    /// -1 unless the topic has the broker's time.
    pub(crate) log_append_time_ms: i64,
    /// -1 if the broker does not say.
    pub(crate) log_start_offset: i64,
    /// The records that made the broker refuse the batch, by their place in it, which the broker may have invented.
    pub(crate) record_errors: Vec<(i32, Option<String>)>,
    pub(crate) error_message: Option<String>,
    /// Node id and leader epoch of a leader that the broker recommends instead of itself.
    pub(crate) current_leader: Option<(i32, i32)>,
}

impl ProduceResponse {
    pub(crate) fn decode(version: i16, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let flexible = ApiKey::Produce.is_flexible(version);
        let topics = r.list(flexible, MIN_TOPIC_LEN, "topics", |r| TopicResponse::decode(version, r))?;
        let throttle_time_ms = r.i32("throttle time")?;
        let mut node_endpoints = Vec::new();
        if flexible {
            r.tags(|tag, r| {
                if tag == 0 && version >= 10 {
                    node_endpoints =
                        r.list(true, MIN_BROKER_LEN, "node endpoints", |r| Broker::decode(true, r))?;
                }
                Ok(())
            })?;
        }
        r.finish("Produce response")?;
        Ok(Self { topics, throttle_time_ms, node_endpoints })
    }
}

impl TopicResponse {
    fn decode(version: i16, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let flexible = ApiKey::Produce.is_flexible(version);
        let (name, topic_id) = if version >= 13 {
            (None, r.uuid("topic id")?)
        } else {
            let at = r.position();
            let name = topic_name(flexible, r)?.ok_or(DecodeError { what: "topic name", at })?;
            (Some(name), Uuid::default())
        };
        let partitions =
            r.list(flexible, MIN_PARTITION_LEN, "partitions", |r| PartitionResponse::decode(version, r))?;
        if flexible {
            r.skip_tags()?;
        }
        Ok(Self { name, topic_id, partitions })
    }
}

impl PartitionResponse {
    fn decode(version: i16, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let flexible = ApiKey::Produce.is_flexible(version);
        let mut response = Self {
            index: r.i32("partition index")?,
            error: ErrorCode(r.i16("error code")?),
            base_offset: r.i64("base offset")?,
            log_append_time_ms: r.i64("log append time")?,
            log_start_offset: if version >= 5 { r.i64("log start offset")? } else { -1 },
            record_errors: Vec::new(),
            error_message: None,
            current_leader: None,
        };
        if version >= 8 {
            response.record_errors = r.list(flexible, MIN_RECORD_ERROR_LEN, "record errors", |r| {
                let index = r.i32("batch index")?;
                let message = r.nullable_string(flexible, "record error message")?.map(escaped);
                if flexible {
                    r.skip_tags()?;
                }
                Ok((index, message))
            })?;
            response.error_message = r.nullable_string(flexible, "error message")?.map(escaped);
        }
        if flexible {
            r.tags(|tag, r| {
                if tag == 0 && version >= 10 {
                    let (id, epoch) = (r.i32("leader id")?, r.i32("leader epoch")?);
                    r.skip_tags()?;
                    response.current_leader = (id >= 0).then_some((id, epoch));
                }
                Ok(())
            })?;
        }
        Ok(response)
    }
}

// The least an element can take in any version, which is what its count is measured against.

/// An empty name, no partitions, no tags.
const MIN_TOPIC_LEN: usize = 3;
/// The fields of version 3, which all later versions have too.
const MIN_PARTITION_LEN: usize = 22;
/// An index, no message, no tags.
const MIN_RECORD_ERROR_LEN: usize = 6;
