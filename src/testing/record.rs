//! What a test reads back from a [`Cluster`](super::Cluster).

/// One record in the log of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// The topic that the record lies in.
    pub topic: String,
    /// The partition that the record lies in.
    pub partition: i32,
    /// The record's place in its partition, counted from 0.
    pub offset: i64,
    /// Milliseconds since 1970-01-01 UTC: the producer's, or the cluster's for a topic that stamps on append.
    pub timestamp: i64,
    /// The key, if it has one.
    pub key: Option<Vec<u8>>,
    /// The value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// The headers in the order in which they were added. Keys may repeat.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// The id of the idempotent producer that wrote the record, else -1.
    pub producer_id: i64,
    /// The epoch of that id, else -1.
    pub producer_epoch: i16,
    /// The record's sequence number in that epoch, else -1.
    pub sequence: i32,
}

impl Record {
    /// The key as text, if it has one that is UTF-8.
    pub fn key_str(&self) -> Option<&str> {
        std::str::from_utf8(self.key.as_deref()?).ok()
    }

    /// The value as text, if it has one that is UTF-8.
    pub fn value_str(&self) -> Option<&str> {
        std::str::from_utf8(self.value.as_deref()?).ok()
    }

    /// The value of the last header with this key, as Kafka's consumers read it. `Some(None)` is a null value.
    pub fn header(&self, key: &str) -> Option<Option<&[u8]>> {
        self.headers.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_deref())
    }
}

/// One batch in the log of a partition: how the producer grouped its records.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Batch {
    /// The topic that the batch lies in.
    pub topic: String,
    /// The partition that the batch lies in.
    pub partition: i32,
    /// The offset of its first record.
    pub base_offset: i64,
    /// How many records it has.
    pub records: u32,
    /// Its size in bytes as it was sent: compressed, header included.
    pub bytes: usize,
    /// 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    pub codec: i8,
    /// The broker that took it.
    pub leader: i32,
    /// The id of the idempotent producer that wrote it, else -1.
    pub producer_id: i64,
    /// The epoch of that id, else -1.
    pub producer_epoch: i16,
    /// The sequence number of its first record, else -1.
    pub base_sequence: i32,
}
