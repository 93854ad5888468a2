//! What drives an engine without threads and sockets, for the simulation and for what a fuzzer feeds.
//!
//! It knows nothing of what they play: only that nobody sleeps, and that a request arrives as one piece.

use std::sync::Arc;

use super::Transmit;
use crate::{
    config::Settings,
    handoff::{Bell, Hub, HubConfig, HubReceiver},
};

struct NoBell;

impl Bell for NoBell {
    fn ring(&self) {}
}

/// A hub whose other half is asked by hand. Its chunks and its channel are small, so that few records fill them.
pub(crate) fn hub(settings: &Settings) -> (Arc<Hub>, HubReceiver) {
    let config = HubConfig {
        buffer_memory: settings.buffer_memory,
        chunk_bytes: 1024,
        memory_for_chunks: 0,
        channel_capacity: 64,
        linger: settings.linger,
        ring_threshold: 8,
    };
    Hub::new(config, Box::new(NoBell))
}

/// The bytes of a request as a socket takes them.
pub(crate) fn flatten(transmit: &Transmit) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut from = 0;
    for (at, body) in &transmit.bodies {
        bytes.extend_from_slice(&transmit.head[from..*at]);
        bytes.extend_from_slice(body);
        from = *at;
    }
    bytes.extend_from_slice(&transmit.head[from..]);
    bytes
}
