//! What a user sees of the producer, on real sockets against the cluster for tests: one file a theme.
//!
//! No test says how fast something is. Limits from above are more than ten times of what they stand for, so that they hold
//! on any machine; limits from below are those that a setting promises.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "users have threads and clocks, and their networks have other peers than brokers"
)]

mod acks;
mod bad_input;
mod callbacks;
mod close;
mod compression;
mod discovery;
mod drop;
mod events;
mod faults;
mod flush;
mod handles;
mod harness;
mod hostile;
mod interceptors;
mod issuer;
mod memory;
mod metrics;
mod mock;
mod partitions;
mod peers;
#[path = "../pki/mod.rs"]
mod pki;
mod proxy;
mod resources;
mod sasl;
mod serializers;
mod shapes;
mod sizes;
mod storms;
mod streams;
mod telemetry;
mod threads;
mod tls;
mod transactions;
