//! Real Kafka for tests: brokers as child processes, and Kafka's own Java tools to look at what arrived.
//!
//! Nothing here uses the crate under test.

mod cluster;
mod jars;
mod java;
mod kafka;
mod log_dump;
mod policy;
mod process;
mod ready;
mod secured;

pub(crate) use self::{
    cluster::{Cluster, Spec},
    kafka::{Kafka, Timestamp},
    log_dump::Batch,
    policy::{Case, any, owned, run},
    process::{Process, bound_command, peak_memory, poll_until, run as run_command},
};
