//! A blocking, synchronous Apache Kafka producer in pure Rust: no async runtime, no C library, no JVM.
//!
//! [`Producer::send`] copies a record into memory and returns a [`DeliveryFuture`]; one thread of the producer's own
//! collects records into batches, sends them, and completes the handle when the broker has acknowledged.
//! [`get`](DeliveryFuture::get) on the handle blocks. Names, settings, defaults and guarantees are those of Java's
//! `KafkaProducer`.
//!
//! # A script
//! ```
//! use kafka_producer::{Producer, ProducerConfig, ProducerRecord};
//! # let cluster = kafka_producer::testing::Cluster::builder().topic("greetings", 1).start()?;
//! # let servers = cluster.bootstrap();
//!
//! let producer = Producer::new(ProducerConfig::new(&servers))?;
//! let metadata = producer.send(ProducerRecord::new("greetings", "hello"))?.get()?;
//! println!("{metadata}"); // greetings-0@0
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # An application
//! Clone the [`Producer`] into every thread. `send` blocks only while the topic's metadata is fetched for the first
//! time, and while `buffer.memory` is full: that is the backpressure, bounded by `max.block.ms`.
//! [`send_with`](Producer::send_with) takes a callback; a [`DeliveryFuture`] can also be polled or awaited.
//!
//! # Guarantees
//! By default `acks=all` and idempotence are on: what is acknowledged is on all in-sync replicas, once, and in the order
//! sent per thread and partition, whatever is sent again. A record ends with an acknowledgement or with an error that
//! says whether it [may have been written](DeliveryError::may_have_been_written), within `delivery.timeout.ms`.
//!
//! # Transactions
//! With a `transactional.id` the producer sends in transactions, which readers with `isolation.level=read_committed` see
//! whole or not at all: [`Producer::transaction`], or Java's five calls.
//!
//! # Features
//! None is on by default.
//!
//! | feature | what for |
//! |---|---|
//! | `json` | `JsonSerializer`: any `serde::Serialize` as key or value |
//! | `testing` | [`testing`]: a Kafka cluster on loopback sockets inside the test's own process |
//! | `gzip` `snappy` `lz4` `zstd` | `compression.type`: each a codec, in pure Rust |
//! | `tls` | `security.protocol=SSL`: encryption, and certificates for brokers and clients |
//! | `sasl` | `security.protocol=SASL_SSL` and `SASL_PLAINTEXT`: PLAIN, SCRAM and OAUTHBEARER |
//! | `oauth-http` | tokens for OAUTHBEARER from their issuer; brings `tls` and `sasl` |
//! | `full` | all of them except `testing` |
//!
//! # Logging
//! Through the crate `log`. `error`: a producer was dropped with records that had to be given up, or its thread died.
//! `warn`: somebody should act; records that were not delivered are counted here, whether or not anybody kept their
//! handles, and a broker that cannot be reached is named, once a minute. `info`: the life of connections. `debug`: single requests and retries. Keys, values and secrets are never
//! logged.
//!
//! # Versions
//! Brokers from Kafka 2.1 to 4.4. The oldest compiler is in `rust-version`; raising it is a minor release.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(any(feature = "tls", feature = "sasl"))]
mod base64;
mod config;
mod delivery;
mod engine;
mod error;
mod event;
#[cfg(all(feature = "testing", any(test, fuzzing)))]
#[doc(hidden)]
pub mod fuzzing;
mod handoff;
mod interceptor;
#[cfg(any(feature = "tls", feature = "sasl"))]
mod kdf;
mod metrics;
mod net;
mod offsets;
mod partitioner;
mod producer;
mod record;
#[cfg(feature = "sasl")]
mod sasl;
mod serializer;
mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
mod transaction;
mod wire;

/// What the pages beside the source show is compiled and run like any other example.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../README.md")]
    mod readme {}
    #[doc = include_str!("../docs/batching.md")]
    mod batching {}
    #[doc = include_str!("../docs/errors.md")]
    mod errors {}
    #[doc = include_str!("../docs/events.md")]
    mod events {}
    #[doc = include_str!("../docs/getting-started.md")]
    mod getting_started {}
    #[doc = include_str!("../docs/guarantees.md")]
    mod guarantees {}
    #[doc = include_str!("../docs/metrics.md")]
    mod metrics {}
    #[doc = include_str!("../docs/migrating/java.md")]
    mod migrating_java {}
    #[doc = include_str!("../docs/migrating/kafka-crate.md")]
    mod migrating_kafka_crate {}
    #[doc = include_str!("../docs/migrating/kafka-python.md")]
    mod migrating_kafka_python {}
    #[doc = include_str!("../docs/migrating/rdkafka.md")]
    mod migrating_rdkafka {}
    #[doc = include_str!("../docs/partitioning.md")]
    mod partitioning {}
    #[doc = include_str!("../docs/performance.md")]
    mod performance {}
    #[doc = include_str!("../docs/security.md")]
    mod security {}
    #[doc = include_str!("../docs/sending.md")]
    mod sending {}
    #[doc = include_str!("../docs/serializers.md")]
    mod serializers {}
    #[doc = include_str!("../docs/telemetry.md")]
    mod telemetry {}
    #[doc = include_str!("../docs/testing.md")]
    mod testing {}
    #[doc = include_str!("../docs/transactions.md")]
    mod transactions {}
}

#[cfg(feature = "sasl")]
pub use crate::sasl::OAuthBearerToken;
#[cfg(feature = "json")]
pub use crate::serializer::JsonSerializer;
pub use crate::{
    config::{Acks, Compression, MetadataRecoveryStrategy, Preset, ProducerConfig, SecurityProtocol},
    delivery::DeliveryFuture,
    error::{
        BoxError, ConfigError, ConfigProblem, DeliveryCause, DeliveryError, ErrorCode, FlushError, SendError,
        SendErrorKind, TransactionError, TransactionErrorKind,
    },
    event::ProducerEvent,
    interceptor::ProducerInterceptor,
    metrics::{Metric, MetricKind, Metrics},
    offsets::{ConsumerGroupMetadata, OffsetAndMetadata, TopicPartition},
    partitioner::{Partitioner, RoundRobinPartitioner, TopicPartitions, partition_for_key},
    producer::{PartitionInfo, Producer},
    record::{Headers, ProducerRecord, RecordMetadata},
    serializer::{
        BooleanSerializer, BytesSerializer, DoubleSerializer, FloatSerializer, IntegerSerializer,
        LongSerializer, Serialized, Serializer, ShortSerializer, StringSerializer, UuidSerializer,
        VoidSerializer,
    },
    telemetry::{ClientInstanceId, TelemetryError},
    transaction::Transaction,
};
