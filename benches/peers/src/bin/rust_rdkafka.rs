//! librdkafka through rust-rdkafka's `ThreadedProducer`.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, Thread},
    time::Duration,
};

use clap::Parser;
use kafka_producer_peers::{
    drive::{self, Record, Timer},
    flags::{Acks, Flags, Mode, Variant},
    payload,
};
use rdkafka::{
    ClientConfig, ClientContext,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer},
    util::get_rdkafka_version,
};

struct RustRdkafka {
    producer: ThreadedProducer<Deliveries>,
    topics: Vec<String>,
}

/// Hands a delivery to whoever waits for it. A record names its waiter by a number, so that none costs an allocation.
struct Deliveries {
    waiters: Vec<Waiter>,
}

#[derive(Default)]
struct Waiter {
    taken: AtomicBool,
    done: AtomicBool,
    thread: Mutex<Option<Thread>>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    /// 0 is nobody; others are the index of the waiter, plus 1.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, waiter: usize) {
        if let Err((error, _)) = result {
            panic!("rust-rdkafka lost a record: {error}");
        }
        if let Some(waiter) = waiter.checked_sub(1) {
            let waiter = &self.waiters[waiter];
            waiter.done.store(true, Ordering::Release);
            let thread = waiter.thread.lock().unwrap_or_else(PoisonError::into_inner);
            thread.as_ref().expect("whoever waits has said who it is").unpark();
        }
    }
}

impl drive::Producer for RustRdkafka {
    /// The index of its waiter.
    type Sender<'a> = usize;

    fn sender(&self) -> usize {
        let waiters = &self.producer.context().waiters;
        let free = waiters.iter().position(|waiter| !waiter.taken.swap(true, Ordering::Relaxed));
        let index = free.expect("there is one for every thread, and one for each of its turns");
        *waiters[index].thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread::current());
        index
    }

    fn send(&self, _: &mut usize, record: Record<'_>) {
        self.produce(record, 0);
    }

    fn send_timed(&self, _: &mut usize, _: Record<'_>, _: Timer) {
        unreachable!("main has refused --mode rate");
    }

    fn send_and_wait(&self, index: &mut usize, record: Record<'_>) {
        let waiter = &self.producer.context().waiters[*index];
        waiter.done.store(false, Ordering::Relaxed);
        self.produce(record, *index + 1);
        while !waiter.done.load(Ordering::Acquire) {
            thread::park();
        }
    }

    fn flush(&self) {
        self.producer.flush(FLUSH).expect("everything is delivered in time");
    }
}

impl RustRdkafka {
    fn produce(&self, record: Record<'_>, waiter: usize) {
        let mut theirs = BaseRecord::<[u8], [u8], usize>::with_opaque_to(&self.topics[record.topic], waiter)
            .payload(record.value);
        theirs.key = record.key;
        while let Err((error, back)) = self.producer.send(theirs) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                panic!("rust-rdkafka refused a record: {error}");
            }
            thread::sleep(QUEUE_FULL_PAUSE);
            theirs = back;
        }
    }
}

fn main() {
    let flags = Flags::parse();
    let modes = [Mode::Throughput, Mode::Latency, Mode::Fanin];
    drive::only("rust-rdkafka", &flags, &modes, &[Variant::Plain]);
    let waiters = (0..3 * flags.threads).map(|_| Waiter::default()).collect();
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &flags.bootstrap)
        .set("acks", flags.acks_property())
        .set("enable.idempotence", (flags.acks == Acks::All).to_string())
        .set("max.in.flight.requests.per.connection", "5")
        .set("linger.ms", flags.linger_ms.to_string())
        .set("batch.size", flags.batch_size.to_string())
        .set("compression.type", &flags.compression)
        // Only bytes shall bound a batch and the queue, as everywhere else.
        .set("batch.num.messages", "1000000")
        .set("queue.buffering.max.messages", "10000000")
        .set("queue.buffering.max.kbytes", (flags.buffer_bytes / 1024).to_string())
        .set("message.max.bytes", "8388608")
        .set("partitioner", "murmur2_random")
        .extend(flags.property.iter().cloned());
    let producer = config.create_with_context(Deliveries { waiters }).expect("the settings are right");
    let topics = (0..flags.topics).map(payload::topic).collect();
    let (_, version) = get_rdkafka_version();
    drive::run("rust-rdkafka", Some(version), &flags, &RustRdkafka { producer, topics });
}

/// The library has no call that waits for room.
const QUEUE_FULL_PAUSE: Duration = Duration::from_micros(100);

const FLUSH: Duration = Duration::from_secs(120);
