//! The little of Kafka's protocol that the raw driver, the encode floor and the sink's own tests write.
//!
//! It is written here a second time, apart from the producer's own, so that the floor is not moved by a change up there.

use crate::payload;

/// Appends a record batch of `count` records with the same value and no key, with its checksum, and without producer
/// id and sequence.
pub fn push_batch(out: &mut Vec<u8>, count: u32, value: &[u8], timestamp: i64) {
    let start = out.len();
    out.extend_from_slice(&[0; BATCH_HEADER]);
    for delta in 0..count {
        push_record(out, delta, value);
    }
    seal(&mut out[start..], count, timestamp);
}

/// Appends one record: no key, no headers, the timestamp of the batch.
pub fn push_record(out: &mut Vec<u8>, delta: u32, value: &[u8]) {
    let (attributes_and_timestamp, key, headers) = (2, 1, 1);
    let body = attributes_and_timestamp
        + varint_len(delta.into())
        + key
        + varint_len(value.len() as i64)
        + value.len()
        + headers;
    push_varint(out, body as i64);
    out.extend_from_slice(&[0, 0]);
    push_varint(out, delta.into());
    push_varint(out, -1);
    push_varint(out, value.len() as i64);
    out.extend_from_slice(value);
    push_varint(out, 0);
}

/// Fills in the header of a batch whose records are all there.
pub fn seal(batch: &mut [u8], count: u32, timestamp: i64) {
    let length = batch.len() as i32 - 12;
    put(batch, 0, &0_i64.to_be_bytes());
    put(batch, 8, &length.to_be_bytes());
    put(batch, 12, &(-1_i32).to_be_bytes());
    batch[16] = 2;
    put(batch, 21, &0_i16.to_be_bytes());
    put(batch, 23, &(count as i32 - 1).to_be_bytes());
    put(batch, 27, &timestamp.to_be_bytes());
    put(batch, 35, &timestamp.to_be_bytes());
    identify(batch, -1, -1, -1);
    put(batch, 57, &(count as i32).to_be_bytes());
    checksum(batch);
}

/// Says who sent a batch, and in what place; the checksum is the caller's to renew.
pub fn identify(batch: &mut [u8], producer: i64, epoch: i16, sequence: i32) {
    put(batch, 43, &producer.to_be_bytes());
    put(batch, 51, &epoch.to_be_bytes());
    put(batch, 53, &sequence.to_be_bytes());
}

/// Renews the checksum of a batch.
pub fn checksum(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[21..]);
    put(batch, 17, &crc.to_be_bytes());
}

/// A whole produce request (version 3) with one batch for each of some partitions of the first topic.
pub fn produce_request(correlation: i32, acks: i16, batches: &[(i32, &[u8])]) -> Vec<u8> {
    let mut out = vec![0; 4];
    out.extend_from_slice(&0_i16.to_be_bytes());
    out.extend_from_slice(&3_i16.to_be_bytes());
    out.extend_from_slice(&correlation.to_be_bytes());
    push_string(&mut out, "raw");
    out.extend_from_slice(&(-1_i16).to_be_bytes());
    out.extend_from_slice(&acks.to_be_bytes());
    out.extend_from_slice(&30_000_i32.to_be_bytes());
    out.extend_from_slice(&1_i32.to_be_bytes());
    push_string(&mut out, &payload::topic(0));
    out.extend_from_slice(&(batches.len() as i32).to_be_bytes());
    for (partition, batch) in batches {
        out.extend_from_slice(&partition.to_be_bytes());
        out.extend_from_slice(&(batch.len() as i32).to_be_bytes());
        out.extend_from_slice(batch);
    }
    let length = out.len() as i32 - 4;
    put(&mut out, 0, &length.to_be_bytes());
    out
}

/// How many records of this size fill a batch of `batch.size` bytes; at least one.
pub fn records_in_batch(batch_size: usize, value: usize) -> u32 {
    let framing = 2 + varint_len(value as i64 + 8) + 3 + 1 + varint_len(value as i64) + 1;
    (batch_size.saturating_sub(BATCH_HEADER) / (value + framing)).max(1) as u32
}

fn push_string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as i16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn push_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn varint_len(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn put(at: &mut [u8], offset: usize, bytes: &[u8]) {
    at[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// Bytes of a batch before its first record.
pub const BATCH_HEADER: usize = 61;
