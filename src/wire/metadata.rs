//! Metadata: the brokers, and for each topic its partitions with their leaders.

use super::{
    api::ApiKey,
    primitives::{
        DecodeError, Reader, Uuid, escaped, put_array_len, put_bool, put_null_array, put_string,
        put_tags_empty, put_uuid,
    },
};
use crate::error::ErrorCode;

pub(crate) struct MetadataRequest<'a> {
    /// `None` asks for all topics, an empty list for the brokers alone.
    pub(crate) topics: Option<&'a [&'a str]>,
    /// Cannot be said before version 4: such a broker creates topics as its own configuration has it.
    pub(crate) allow_auto_topic_creation: bool,
}

impl MetadataRequest<'_> {
    pub(crate) fn encode(&self, version: i16, out: &mut Vec<u8>) {
        let flexible = ApiKey::Metadata.is_flexible(version);
        match self.topics {
            None => put_null_array(out, flexible),
            Some(topics) => {
                put_array_len(out, flexible, topics.len());
                for topic in topics {
                    if version >= 10 {
                        put_uuid(out, &Uuid::default());
                    }
                    put_string(out, flexible, topic);
                    if flexible {
                        put_tags_empty(out);
                    }
                }
            }
        }
        if version >= 4 {
            put_bool(out, self.allow_auto_topic_creation);
        }
        if (8..=10).contains(&version) {
            put_bool(out, NO_AUTHORIZED_OPERATIONS);
        }
        if version >= 8 {
            put_bool(out, NO_AUTHORIZED_OPERATIONS);
        }
        if flexible {
            put_tags_empty(out);
        }
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct MetadataResponse {
    pub(crate) throttle_time_ms: i32,
    pub(crate) brokers: Vec<Broker>,
    pub(crate) cluster_id: Option<String>,
    /// -1 if there is none at the moment.
    pub(crate) controller_id: i32,
    pub(crate) topics: Vec<Topic>,
    /// Of the answer as a whole.
    pub(crate) error: ErrorCode,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Broker {
    pub(crate) node_id: i32,
    pub(crate) host: String,
    /// As the broker advertises it, in range or not.
    pub(crate) port: i32,
    pub(crate) rack: Option<String>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Topic {
    pub(crate) error: ErrorCode,
    /// `None` only in answers about an id that the broker does not know.
    pub(crate) name: Option<String>,
    /// All zeros before version 10.
    pub(crate) topic_id: Uuid,
    pub(crate) is_internal: bool,
    pub(crate) partitions: Vec<Partition>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Partition {
    pub(crate) error: ErrorCode,
    pub(crate) index: i32,
    /// -1 if there is none at the moment.
    pub(crate) leader_id: i32,
    /// -1 before version 7, and not to be relied on before version 9.
    pub(crate) leader_epoch: i32,
    pub(crate) replicas: Vec<i32>,
    pub(crate) isr: Vec<i32>,
    pub(crate) offline: Vec<i32>,
}

impl MetadataResponse {
    pub(crate) fn decode(version: i16, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let flexible = ApiKey::Metadata.is_flexible(version);
        let throttle_time_ms = if version >= 3 { r.i32("throttle time")? } else { 0 };
        let brokers = r.list(flexible, MIN_BROKER_LEN, "brokers", |r| Broker::decode(flexible, r))?;
        let cluster_id =
            if version >= 2 { r.nullable_string(flexible, "cluster id")?.map(escaped) } else { None };
        let controller_id = r.i32("controller id")?;
        let topics = r.list(flexible, MIN_TOPIC_LEN, "topics", |r| Topic::decode(version, r))?;
        if (8..=10).contains(&version) {
            r.i32("authorized operations")?;
        }
        let error = if version >= 13 { ErrorCode(r.i16("error code")?) } else { ErrorCode::NONE };
        if flexible {
            r.skip_tags()?;
        }
        r.finish("Metadata response")?;
        Ok(Self { throttle_time_ms, brokers, cluster_id, controller_id, topics, error })
    }
}

impl Broker {
    pub(super) fn decode(flexible: bool, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let broker = Self {
            node_id: r.i32("node id")?,
            host: host(flexible, r)?,
            port: r.i32("port")?,
            rack: r.nullable_string(flexible, "rack")?.map(escaped),
        };
        if flexible {
            r.skip_tags()?;
        }
        Ok(broker)
    }
}

impl Topic {
    fn decode(version: i16, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let flexible = ApiKey::Metadata.is_flexible(version);
        let error = ErrorCode(r.i16("topic error")?);
        let name = topic_name(flexible, r)?;
        let topic_id = if version >= 10 { r.uuid("topic id")? } else { Uuid::default() };
        let is_internal = r.bool("internal")?;
        let partitions =
            r.list(flexible, MIN_PARTITION_LEN, "partitions", |r| Partition::decode(version, r))?;
        if version >= 8 {
            r.i32("authorized operations")?;
        }
        if flexible {
            r.skip_tags()?;
        }
        Ok(Self { error, name, topic_id, is_internal, partitions })
    }
}

impl Partition {
    fn decode(version: i16, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let flexible = ApiKey::Metadata.is_flexible(version);
        let nodes = |r: &mut Reader<'_>, what| r.list(flexible, size_of::<i32>(), what, |r| r.i32(what));
        let partition = Self {
            error: ErrorCode(r.i16("partition error")?),
            index: r.i32("partition index")?,
            leader_id: r.i32("leader id")?,
            leader_epoch: if version >= 7 { r.i32("leader epoch")? } else { -1 },
            replicas: nodes(r, "replicas")?,
            isr: nodes(r, "in-sync replicas")?,
            offline: if version >= 5 { nodes(r, "offline replicas")? } else { Vec::new() },
        };
        if flexible {
            r.skip_tags()?;
        }
        Ok(partition)
    }
}

/// The name of a topic, which is short: nobody asks for another one.
pub(super) fn topic_name(flexible: bool, r: &mut Reader<'_>) -> Result<Option<String>, DecodeError> {
    let at = r.position();
    match r.nullable_string(flexible, "topic name")? {
        Some(name) if name.len() > MAX_TOPIC_NAME_LEN => Err(DecodeError { what: "topic name", at }),
        name => Ok(name.map(str::to_owned)),
    }
}

/// A host's name or address. It will be resolved and printed, so what cannot be one is none: the broker is left out, and those
/// beside it are not.
pub(super) fn host(flexible: bool, r: &mut Reader<'_>) -> Result<String, DecodeError> {
    let host = r.string(flexible, "host")?;
    if host.len() > MAX_HOST_LEN || host.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Ok(String::new());
    }
    Ok(host.to_owned())
}

/// What a producer has no use for, and a broker would have to work out.
const NO_AUTHORIZED_OPERATIONS: bool = false;

/// Brokers do not create topics with longer names.
const MAX_TOPIC_NAME_LEN: usize = 249;
/// A name in the DNS ends at 253 characters.
const MAX_HOST_LEN: usize = 255;

// The least an element can take in any version, which is what its count is measured against.

/// Two numbers, an empty host, no rack, no tags.
pub(super) const MIN_BROKER_LEN: usize = 11;
/// The fields of version 1 with an empty name and no partitions.
const MIN_TOPIC_LEN: usize = 9;
/// The fields of version 1, or those of version 9, with no replicas.
const MIN_PARTITION_LEN: usize = 18;

#[cfg(test)]
mod tests {
    use super::*;

    fn with_host(host: &str) -> Vec<u8> {
        let mut bytes = vec![0, 0, 0, 1, 0, 0, 0, 7];
        put_string(&mut bytes, false, host);
        bytes.extend([0, 0, 0x23, 0x84, 0xff, 0xff, 0, 0, 0, 7, 0, 0, 0, 0]);
        bytes
    }

    #[test]
    fn what_cannot_be_a_host_is_none() {
        let read = |host| MetadataResponse::decode(1, &mut Reader::new(&with_host(host))).map(|r| r.brokers);
        let broker = |host: &str| Broker { node_id: 7, host: host.to_owned(), port: 9092, rack: None };
        let (longest, too_long) = ("h".repeat(255), "h".repeat(256));
        for host in ["kafka.example", "2001:db8::1", "", &longest] {
            assert_eq!(read(host), Ok(vec![broker(host)]));
        }
        for host in ["a b", "a\nb", "a\0b", "a\u{1b}[2J", &too_long] {
            assert_eq!(read(host), Ok(vec![broker("")]), "{host:?}");
        }
    }

    #[test]
    fn a_name_that_no_topic_can_have_is_refused() {
        for (len, legal) in [(0, true), (249, true), (250, false), (32_767, false)] {
            let mut bytes = Vec::new();
            put_string(&mut bytes, true, &"t".repeat(len));
            assert_eq!(topic_name(true, &mut Reader::new(&bytes)).is_ok(), legal, "{len}");
        }
    }
}
