//! A blocking, synchronous Apache Kafka producer in pure Rust.

mod delivery;
mod error;
mod handoff;
mod interceptor;
mod partitioner;
mod record;
mod serializer;
mod wire;

pub use crate::{
    delivery::DeliveryFuture,
    error::{
        BoxError, ConfigError, ConfigProblem, DeliveryCause, DeliveryError, ErrorCode, FlushError, SendError,
        SendErrorKind,
    },
    interceptor::ProducerInterceptor,
    partitioner::{Partitioner, TopicPartitions, partition_for_key},
    record::{Headers, ProducerRecord, RecordMetadata},
    serializer::{BytesSerializer, Serialized, Serializer},
};
#[cfg(feature = "json")]
pub use crate::serializer::JsonSerializer;
