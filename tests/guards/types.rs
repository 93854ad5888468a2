//! What callers hold many of is small, and what they share between threads can be shared.

use std::{
    error::Error,
    mem::size_of,
    panic::{RefUnwindSafe, UnwindSafe},
    sync::Arc,
};

use kafka_producer::{
    ConfigError, DeliveryError, DeliveryFuture, FlushError, Headers, Producer, ProducerConfig,
    ProducerRecord, RecordMetadata, SendError, testing::Cluster,
};

#[test]
fn what_there_is_a_record_is_small() {
    for (what, size, most) in [
        ("DeliveryFuture", size_of::<DeliveryFuture>(), 40),
        ("what send returns", size_of::<Result<DeliveryFuture, SendError>>(), 48),
        ("SendError", size_of::<SendError>(), size_of::<usize>()),
        ("DeliveryError", size_of::<DeliveryError>(), size_of::<usize>()),
        ("RecordMetadata", size_of::<RecordMetadata>(), 48),
        ("what get returns", size_of::<Result<RecordMetadata, DeliveryError>>(), 56),
        ("ProducerRecord", size_of::<ProducerRecord<'_>>(), 112),
        ("Producer", size_of::<Producer>(), 5 * size_of::<usize>()),
        ("Headers", size_of::<Headers>(), 3 * size_of::<usize>()),
    ] {
        println!("{what}: {size} bytes");
        assert!(size <= most, "{what} has {size} bytes, more than {most}");
    }
}

#[test]
fn threads_can_share_what_they_should() {
    fn shared<T: Send + Sync + 'static>() {}
    fn error<T: Error + Send + Sync + 'static>() {}
    shared::<Producer>();
    shared::<Producer<str, Arc<str>>>();
    shared::<DeliveryFuture>();
    shared::<RecordMetadata>();
    shared::<ProducerConfig>();
    shared::<ProducerRecord<'static>>();
    shared::<Cluster>();
    error::<SendError>();
    error::<DeliveryError>();
    error::<FlushError>();
    error::<ConfigError>();
    // Used behind catch_unwind without being wrapped.
    fn unwinds<T: UnwindSafe + RefUnwindSafe>() {}
    unwinds::<Producer>();
    unwinds::<Producer<str, Arc<str>>>();
    // Awaited without being pinned first.
    fn unpin<T: Future + Unpin>() {}
    unpin::<DeliveryFuture>();
}
