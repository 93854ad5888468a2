//! Hooks around every record: [`ProducerInterceptor`].

use crate::{
    error::{DeliveryError, SendError},
    record::{Headers, RecordMetadata},
};

/// Sees every record on its way in and every outcome on its way back, as in Java. Property `interceptor.classes` there;
/// here [`ProducerConfig::interceptor`](crate::ProducerConfig::interceptor).
///
/// A panic in an interceptor is logged and goes no further: the record is sent as if that interceptor were not there.
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
