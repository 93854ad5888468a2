//! How a record finds its partition: [`Partitioner`], [`RoundRobinPartitioner`], and Java's murmur2 for keys.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::error::BoxError;

/// What a partitioner is told about a topic.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct TopicPartitions<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// How many partitions the topic has: 0 to `count - 1` can be chosen. Never 0.
    pub count: i32,
    /// Those among them whose leader is known, in ascending order.
    pub available: &'a [i32],
}

/// Chooses the partition of records that do not name one. Runs on the thread that calls `send`, once a record.
/// Property `partitioner.class` in Java; here [`ProducerConfig::partitioner`](crate::ProducerConfig::partitioner).
///
/// Without one, a record with a key goes to `murmur2(key) mod count` as in Java, and a record without a key to a
/// partition that the producer keeps for a batch and then changes, preferring those whose brokers are quick (KIP-794).
///
/// ```
/// use kafka_producer::{BoxError, Partitioner, ProducerConfig, TopicPartitions, partition_for_key};
///
/// /// By what stands before the colon: `berlin:17` and `berlin:18` belong together.
/// struct ByTown;
///
/// impl Partitioner for ByTown {
///     fn partition(
///         &self,
///         topic: TopicPartitions<'_>,
///         key: Option<&[u8]>,
///         _value: Option<&[u8]>,
///     ) -> Result<i32, BoxError> {
///         let town = key.and_then(|key| key.split(|byte| *byte == b':').next()).ok_or("a record needs a key")?;
///         Ok(partition_for_key(town, topic.count))
///     }
/// }
///
/// let config = ProducerConfig::new("localhost:9092").partitioner(ByTown);
/// # assert!(config.validate().is_ok());
/// ```
pub trait Partitioner: Send + Sync {
    /// The partition for a record. One that does not exist, or an error, makes `send` fail, and nothing is taken.
    fn partition(
        &self,
        partitions: TopicPartitions<'_>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<i32, BoxError>;

    /// The producer is closed; called once, on a thread of the producer's own.
    fn close(&self) {}
}

/// Each record of a topic to the next partition, whether or not it has a key: Java's `RoundRobinPartitioner`.
///
/// Takes turns among the partitions whose leader is known, or among all if none is. Records with one key end in many
/// partitions, so their order is lost; and as every partition fills its batches slowly, more and smaller batches are sent
/// than without a partitioner.
///
/// ```
/// use kafka_producer::{ProducerConfig, RoundRobinPartitioner};
///
/// let config = ProducerConfig::new("localhost:9092").partitioner(RoundRobinPartitioner::default());
/// # assert!(config.validate().is_ok());
/// ```
#[derive(Debug, Default)]
pub struct RoundRobinPartitioner {
    /// How many records each topic has had.
    turns: Mutex<HashMap<String, usize>>,
}

impl Partitioner for RoundRobinPartitioner {
    fn partition(
        &self,
        partitions: TopicPartitions<'_>,
        _key: Option<&[u8]>,
        _value: Option<&[u8]>,
    ) -> Result<i32, BoxError> {
        let turn = self.next_turn(partitions.topic);
        Ok(match partitions.available {
            [] => (turn % partitions.count as usize) as i32,
            available => available[turn % available.len()],
        })
    }
}

impl RoundRobinPartitioner {
    fn next_turn(&self, topic: &str) -> usize {
        // A count is whole whenever the lock is free, so a panic elsewhere spoils nothing.
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(turn) = turns.get_mut(topic) else {
            turns.insert(topic.to_owned(), 1);
            return 0;
        };
        let now = *turn;
        *turn = turn.wrapping_add(1);
        now
    }
}

/// The partition of a key among `count`, where Java's producer puts it.
///
/// # Panics
/// If `count` is not positive.
pub fn partition_for_key(key: &[u8], count: i32) -> i32 {
    assert!(count > 0, "a topic has at least one partition");
    (murmur2(key) & 0x7fff_ffff) % count
}

/// Kafka's 32-bit murmur2, seed 0x9747b28c.
pub(crate) fn murmur2(data: &[u8]) -> i32 {
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    let mut h = 0x9747_b28c_u32 ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes(word.try_into().expect("chunks of four bytes"));
        k = k.wrapping_mul(M);
        k ^= k >> R;
        k = k.wrapping_mul(M);
        h = h.wrapping_mul(M) ^ k;
    }
    let tail = words.remainder();
    if !tail.is_empty() {
        for (i, &byte) in tail.iter().enumerate() {
            h ^= u32::from(byte) << (8 * i);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    (h ^ (h >> 15)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_is_javas() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
            ("", 275_646_681),
            ("k", -1_567_496_736),
        ] {
            assert_eq!(murmur2(key.as_bytes()), hash, "{key:?}");
        }
    }

    #[test]
    fn round_robin_takes_turns_per_topic_among_those_available() {
        let partitioner = RoundRobinPartitioner::default();
        let ask = |topic, available| {
            let partitions = TopicPartitions { topic, count: 4, available };
            partitioner.partition(partitions, Some(b"one key"), None).expect("never fails")
        };
        assert_eq!([0; 5].map(|_| ask("a", &[0, 1, 3])), [0, 1, 3, 0, 1]);
        assert_eq!(ask("b", &[0, 1, 3]), 0, "every topic has its own turns");
        assert_eq!(ask("a", &[2]), 2);
        assert_eq!([0; 3].map(|_| ask("a", &[])), [2, 3, 0], "the seventh turn among all four, and so on");
    }

    #[test]
    fn keys_go_where_java_puts_them() {
        for (key, partition) in [("21", 0), ("foobar", 6), ("abc", 7), ("", 1), ("k", 2)] {
            assert_eq!(partition_for_key(key.as_bytes(), 10), partition, "{key:?}");
        }
    }
}
