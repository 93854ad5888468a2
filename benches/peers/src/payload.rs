//! What the records hold: the same bytes whatever the producer and the language it is written in.

/// A record's value: byte `i` is `31 i + 7`, modulo 256. The sink compares.
pub fn value(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i.wrapping_mul(31).wrapping_add(7) % 256) as u8).collect()
}

/// The key of record `i`: eight bytes that spread over all partitions.
pub fn key(i: u64) -> [u8; 8] {
    i.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()
}

/// The name of topic `index`. The sink knows topics by it.
pub fn topic(index: u32) -> String {
    format!("{TOPIC_PREFIX}{index}")
}

/// The index of a topic by its name, if it is one of ours.
pub fn topic_index(name: &[u8]) -> Option<u32> {
    std::str::from_utf8(name.strip_prefix(TOPIC_PREFIX.as_bytes())?).ok()?.parse().ok()
}

const TOPIC_PREFIX: &str = "bench-";
