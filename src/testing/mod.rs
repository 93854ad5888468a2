//! An Apache Kafka cluster inside your test's own process: no Kafka, no JVM, no containers.
//!
//! A [`Cluster`] listens on loopback sockets and speaks the part of Kafka's protocol that a producer needs: it
//! negotiates versions, knows topics and leaders, checks every batch as a broker does, enforces the sequences of
//! idempotent producers, keeps the records to be read back, and lets things go wrong when told to ([`Fault`]).
//!
//! ```
//! use kafka_producer::testing::Cluster;
//!
//! let cluster = Cluster::builder().brokers(3).topic("orders", 6).start()?;
//! let bootstrap = cluster.bootstrap(); // for bootstrap.servers
//! // ... run the code that produces to "orders" ...
//! assert_eq!(cluster.records("orders"), []);
//! assert!(cluster.violations().is_empty(), "{:?}", cluster.violations());
//! # assert_eq!(bootstrap.split(',').count(), 3);
//! # std::io::Result::Ok(())
//! ```
//!
//! Transactions are served with both of Kafka's protocols: coordinators, fencing, timeouts, and what a reader with
//! `isolation.level=read_committed` would see.
//!
//! What it is not: durable, replicated, or able to serve consumers. Of SASL it knows PLAIN.
//!
//! Requests are decoded by the crate `kafka-protocol`, never by this crate's own wire format, so that the producer is
//! not tested with itself.

mod audit;
mod batch;
mod cluster;
mod fault;
mod inflate;
mod log;
mod mock;
pub(crate) mod model;
#[cfg(test)]
mod probe;
mod record;
mod telemetry;

pub use self::{
    cluster::{Cluster, ClusterBuilder},
    fault::{Fault, Injection},
    mock::{MockCall, MockOffsets, MockProducer, MockProducerBuilder},
    record::{Batch, Record},
    telemetry::{Push, PushedMetric, Subscription},
};

/// The requests that a [`Cluster`] serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Api {
    /// Records for partitions that the broker leads. Versions 3 to 13, topic ids from 13.
    Produce,
    /// Brokers, topics, partitions and their leaders. Versions 0 to 13.
    Metadata,
    /// Which versions the broker serves. Versions 0 to 4.
    ApiVersions,
    /// A producer id for an idempotent or transactional producer. Versions 0 to 5.
    InitProducerId,
    /// Which broker coordinates a transactional id or a consumer group. Versions 0 to 6.
    FindCoordinator,
    /// Partitions that a transaction is going to write to. Versions 0 to 3.
    AddPartitionsToTxn,
    /// A consumer group whose offsets belong to a transaction. Versions 0 to 4.
    AddOffsetsToTxn,
    /// The offsets of a consumer group, as part of a transaction. Versions 0 to 5.
    TxnOffsetCommit,
    /// The end of a transaction. Versions 0 to 5.
    EndTxn,
    /// Which metrics the brokers want. Version 0, with [`ClusterBuilder::telemetry`] alone.
    GetTelemetrySubscriptions,
    /// A client's metrics. Version 0, with [`ClusterBuilder::telemetry`] alone.
    PushTelemetry,
}
