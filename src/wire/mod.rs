//! Bytes to values and back: the part of Kafka's protocol that a producer speaks.
//!
//! No time, no sockets, no policy. A message knows the layout of its versions and nothing of what its fields lead to.
//! Encoders cannot fail, since sizes are checked where records and settings are accepted. Decoders end in a value or
//! in a [`DecodeError`](primitives::DecodeError) that names the field, and never panic, whatever the bytes.
//!
//! # Memory
//!
//! A peer's word costs nothing, its bytes cost a constant factor: a frame is collected as its bytes arrive
//! ([`frame`]), a count that the bytes left over cannot hold is refused, and a possible count reserves at most 64 KiB before
//! its elements turn up ([`primitives`]). Arrays nest three deep at most, and only the innermost ones that are being
//! read can have a false count, so a decoder holds no more than the values that were really sent and three times
//! 64 KiB. Every element takes bytes of its own, so that the values are in proportion to the frame, whose size the
//! caller limits. Texts that are kept for people are cut and made fit for a terminal.
//!
//! # Order of the files
//!
//! `primitives` and `record` lie at the bottom, below what passes between the threads, since the caller's thread
//! writes records in wire form. Above them come `batch`, `codec`, `api`, `frame`, and one file per message. A new message needs
//! a file here, a line in [`api::ApiKey`] and a row in every table of `tests`.

pub(crate) mod add_offsets_to_txn;
pub(crate) mod add_partitions_to_txn;
pub(crate) mod api;
pub(crate) mod api_versions;
pub(crate) mod batch;
pub(crate) mod codec;
pub(crate) mod end_txn;
pub(crate) mod find_coordinator;
pub(crate) mod frame;
pub(crate) mod get_telemetry_subscriptions;
pub(crate) mod init_producer_id;
pub(crate) mod metadata;
pub(crate) mod otlp;
pub(crate) mod primitives;
pub(crate) mod produce;
pub(crate) mod push_telemetry;
pub(crate) mod record;
#[cfg(feature = "sasl")]
pub(crate) mod sasl_authenticate;
#[cfg(feature = "sasl")]
pub(crate) mod sasl_handshake;
pub(crate) mod sequence;
pub(crate) mod txn_offset_commit;

#[cfg(test)]
pub(crate) mod tests;
