//! A consumer's position, for whoever commits it together with what was made of the records read.

use std::fmt;

/// One partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    topic: String,
    partition: i32,
}

impl TopicPartition {
    /// A partition, counted from 0.
    pub fn new(topic: impl Into<String>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The partition's number.
    pub fn partition(&self) -> i32 {
        self.partition
    }
}

impl<T: Into<String>> From<(T, i32)> for TopicPartition {
    fn from((topic, partition): (T, i32)) -> Self {
        Self::new(topic, partition)
    }
}

/// `orders-3`
impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// Where a consumer goes on: the offset of the *next* record to read, one behind the last that was processed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetAndMetadata {
    pub(crate) offset: i64,
    pub(crate) leader_epoch: Option<i32>,
    pub(crate) metadata: String,
}

impl OffsetAndMetadata {
    /// The offset of the next record to read.
    pub fn new(offset: i64) -> Self {
        Self { offset, leader_epoch: None, metadata: String::new() }
    }

    /// The epoch of the leader that the last record was read from.
    #[must_use]
    pub fn leader_epoch(mut self, epoch: i32) -> Self {
        self.leader_epoch = Some(epoch);
        self
    }

    /// A text that is kept with the offset.
    #[must_use]
    pub fn metadata(mut self, metadata: impl Into<String>) -> Self {
        self.metadata = metadata.into();
        self
    }
}

impl From<i64> for OffsetAndMetadata {
    fn from(offset: i64) -> Self {
        Self::new(offset)
    }
}

/// The consumer group whose offsets are committed, and which of its members commits them.
///
/// With the group's name alone nobody checks whether the member still owns the partitions. A consumer that can say its
/// member id and generation should, so that offsets of a member that was thrown out of the group are refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupMetadata {
    pub(crate) group_id: String,
    pub(crate) generation: i32,
    pub(crate) member_id: String,
    pub(crate) group_instance_id: Option<String>,
}

impl ConsumerGroupMetadata {
    /// A group, by its name (`group.id`).
    pub fn new(group_id: impl Into<String>) -> Self {
        Self { group_id: group_id.into(), generation: -1, member_id: String::new(), group_instance_id: None }
    }

    /// The member that commits, and the generation or member epoch that it has in the group.
    #[must_use]
    pub fn member(mut self, member_id: impl Into<String>, generation: i32) -> Self {
        self.member_id = member_id.into();
        self.generation = generation;
        self
    }

    /// The member's `group.instance.id`, if it has one.
    #[must_use]
    pub fn group_instance_id(mut self, id: impl Into<String>) -> Self {
        self.group_instance_id = Some(id.into());
        self
    }

    /// Whether a broker would have to know of members to check what this says.
    pub(crate) fn names_a_member(&self) -> bool {
        !self.member_id.is_empty() || self.generation >= 0 || self.group_instance_id.is_some()
    }

    /// What is wrong with it, if anything is.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        let texts = [Some(&self.group_id), Some(&self.member_id), self.group_instance_id.as_ref()];
        if self.group_id.is_empty() {
            return Some("the group has no name");
        }
        if self.generation > 0 && self.member_id.is_empty() {
            return Some("a generation needs the id of a member");
        }
        if texts.into_iter().flatten().any(|text| text.len() > LONGEST_TEXT) {
            return Some("the names of group and member have at most 32767 bytes");
        }
        None
    }
}

/// What the protocol has room for.
pub(crate) const LONGEST_TEXT: usize = i16::MAX as usize;
