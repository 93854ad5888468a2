//! How a record finds its partition: [`Partitioner`], and Java's murmur2 for keys.

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
    fn keys_go_where_java_puts_them() {
        for (key, partition) in [("21", 0), ("foobar", 6), ("abc", 7), ("", 1), ("k", 2)] {
            assert_eq!(partition_for_key(key.as_bytes(), 10), partition, "{key:?}");
        }
    }
}
