//! Hooks around every record: [`ProducerInterceptor`].

use crate::{
    error::{DeliveryError, SendError},
    record::{Headers, RecordMetadata},
};

/// Sees every record on its way in and every outcome on its way back, as in Java. Property `interceptor.classes` there;
/// here [`ProducerConfig::interceptor`](crate::ProducerConfig::interceptor).
///
/// A panic in an interceptor is logged and goes no further: the record is sent as if that interceptor were not there.
///
/// ```
/// use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
/// use kafka_producer::{
///     DeliveryError, Headers, Producer, ProducerConfig, ProducerInterceptor, ProducerRecord, RecordMetadata,
/// };
/// # let cluster = kafka_producer::testing::Cluster::builder().topic("orders", 1).start()?;
/// # let servers = cluster.bootstrap();
///
/// /// Says where a record comes from, and counts what was acknowledged.
/// struct Origin(Arc<AtomicU64>);
///
/// impl ProducerInterceptor for Origin {
///     fn on_send(&self, _topic: &str, _partition: Option<i32>, headers: &mut Headers) {
///         headers.add("origin", Some(b"billing"));
///     }
///     fn on_acknowledgement(&self, outcome: Result<&RecordMetadata, &DeliveryError>) {
///         self.0.fetch_add(u64::from(outcome.is_ok()), Ordering::Relaxed);
///     }
/// }
///
/// let acknowledged = Arc::new(AtomicU64::new(0));
/// let config = ProducerConfig::new(&servers).interceptor(Origin(Arc::clone(&acknowledged)));
/// Producer::new(config)?.send(ProducerRecord::new("orders", "42 apples"))?.get()?;
/// assert_eq!(acknowledged.load(Ordering::Relaxed), 1);
/// # assert_eq!(cluster.records("orders")[0].header("origin"), Some(Some(&b"billing"[..])));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait ProducerInterceptor: Send + Sync {
    /// Before serialization, on the thread that calls `send`. Interceptors see what the ones before them added.
    fn on_send(&self, topic: &str, partition: Option<i32>, headers: &mut Headers) {
        let _ = (topic, partition, headers);
    }

    /// The outcome of a record that was accepted, on the callback thread, before the record's own callback.
    ///
    /// Unlike Java's since 4.1 it does not see the record's headers: a record is borrowed from its caller and not kept, so
    /// nothing but a copy of every record's headers could show them here. What must be known of a single record goes into
    /// the closure of [`send_with`](crate::Producer::send_with).
    fn on_acknowledgement(&self, outcome: Result<&RecordMetadata, &DeliveryError>) {
        let _ = outcome;
    }

    /// A record that was refused, on the thread that called `send`.
    fn on_send_error(&self, topic: &str, error: &SendError) {
        let _ = (topic, error);
    }

    /// The producer is closed; called once, after the last outcome, on a thread of the producer's own.
    fn close(&self) {}
}
