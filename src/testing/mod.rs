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
//! What it is not: durable, replicated, or able to serve consumers. Transactions are refused; of SASL it knows PLAIN.
//!
//! Requests are decoded by the crate `kafka-protocol`, never by this crate's own wire format, so that the producer is
//! not tested with itself.

mod audit;
mod batch;
mod cluster;
mod fault;
mod inflate;
mod log;
pub(crate) mod model;
#[cfg(test)]
mod probe;
mod record;

pub use self::{
    cluster::{Cluster, ClusterBuilder},
    fault::{Fault, Injection},
    record::{Batch, Record},
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
    /// A producer id for an idempotent producer. Versions 0 to 5.
    InitProducerId,
}
