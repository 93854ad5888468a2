//! kafka-producer, as a program would use it.

use std::time::Duration;

use clap::Parser;
use kafka_producer::{Acks, DeliveryFuture, Producer, ProducerConfig, ProducerRecord};
use kafka_producer_peers::{
    drive::{self, Record, Timer},
    flags::{self, Flags, Variant},
    payload,
};

struct Ours {
    producer: Producer,
    variant: Variant,
    topics: Vec<String>,
}

impl drive::Producer for Ours {
    /// The handles that a thread keeps.
    type Sender<'a> = Vec<DeliveryFuture>;

    fn sender(&self) -> Self::Sender<'_> {
        Vec::with_capacity(KEPT)
    }

    fn send(&self, kept: &mut Vec<DeliveryFuture>, record: Record<'_>) {
        let record = self.record(record);
        match self.variant {
            Variant::Plain => drop(self.producer.send(record).expect("send takes the record")),
            Variant::Handles => {
                kept.push(self.producer.send(record).expect("send takes the record"));
                if kept.len() == KEPT {
                    get_all(kept);
                }
            }
            Variant::Callback => drop(
                self.producer
                    .send_with(record, |outcome| {
                        outcome.expect("the sink acknowledges");
                    })
                    .expect("send takes the record"),
            ),
        }
    }

    fn send_timed(&self, _: &mut Vec<DeliveryFuture>, record: Record<'_>, timer: Timer) {
        let done = |outcome: Result<_, _>| {
            outcome.expect("the sink acknowledges");
            timer.done();
        };
        self.producer.send_with(self.record(record), done).expect("send takes the record");
    }

    fn send_and_wait(&self, _: &mut Vec<DeliveryFuture>, record: Record<'_>) {
        let handle = self.producer.send(self.record(record)).expect("send takes the record");
        handle.get().expect("the sink acknowledges");
    }

    fn flush(&self) {
        self.producer.flush().expect("nothing stands in the way of waiting");
    }

    fn settle(&self, kept: &mut Vec<DeliveryFuture>) {
        get_all(kept);
    }
}

impl Ours {
    fn record<'a>(&'a self, record: Record<'a>) -> ProducerRecord<'a> {
        let ours = ProducerRecord::new(&self.topics[record.topic], record.value);
        match record.key {
            Some(key) => ours.key(key),
            None => ours,
        }
    }
}

fn get_all(kept: &mut Vec<DeliveryFuture>) {
    for handle in kept.drain(..) {
        handle.get().expect("the sink acknowledges");
    }
}

fn main() {
    let flags = Flags::parse();
    let acks = match flags.acks {
        flags::Acks::All => Acks::All,
        flags::Acks::One => Acks::Leader,
        flags::Acks::None => Acks::None,
    };
    let mut config = ProducerConfig::new(&flags.bootstrap)
        .acks(acks)
        .linger(Duration::from_millis(flags.linger_ms))
        .set("batch.size", &flags.batch_size.to_string())
        .set("compression.type", &flags.compression)
        .set("buffer.memory", &flags.buffer_bytes.to_string())
        .set("max.request.size", MAX_REQUEST);
    if flags.acks != flags::Acks::All {
        config = config.set("enable.idempotence", "false");
    }
    for (name, value) in &flags.property {
        config = config.set(name, value);
    }
    let producer = Producer::new(config).expect("the settings are right");
    let ours =
        Ours { producer, variant: flags.variant, topics: (0..flags.topics).map(payload::topic).collect() };
    drive::run("ours", None, &flags, &ours);
    ours.producer.close().expect("nothing stands in the way of waiting");
}

/// Handles that are kept before all are asked.
const KEPT: usize = 4096;

/// Six batches of 1 MiB.
const MAX_REQUEST: &str = "8388608";
