//! Many threads with one producer: each thread's order is kept, and nothing is lost or doubled.

use std::{collections::HashMap, thread, time::Instant};

use kafka_producer::{ErrorCode, ProducerRecord, testing::Fault};

use crate::harness::{LONG, World, arrived};

/// Every record of a thread and partition in the order sent.
fn assert_orders_kept(world: &World, threads: usize, each: usize) {
    let records = world.records("t");
    assert_eq!(records.len(), threads * each);
    let mut last: HashMap<(i32, String), usize> = HashMap::new();
    for record in records {
        let (thread, number) = record.value_str().unwrap().split_once(' ').unwrap();
        let number: usize = number.parse().unwrap();
        if let Some(before) = last.insert((record.partition, thread.to_owned()), number) {
            assert!(
                before < number,
                "partition {}: thread {thread} sent {number} before {before}",
                record.partition
            );
        }
    }
}

fn send_from_many(world: &World, settings: &[(&str, &str)], threads: usize, each: usize, keyed: bool) {
    let producer = world.producer(settings);
    thread::scope(|scope| {
        for thread in 0..threads {
            let producer = producer.clone();
            scope.spawn(move || {
                let key = format!("key {thread}");
                let send = |i: usize| {
                    let value = format!("{thread} {i:06}");
                    let record = ProducerRecord::new("t", &value);
                    producer.send(if keyed { record.key(&key) } else { record }).unwrap()
                };
                let handles: Vec<_> = (0..each).map(send).collect();
                let places = arrived(&handles);
                let mut last = HashMap::new();
                for metadata in places {
                    if let Some(before) = last.insert(metadata.partition(), metadata.offset()) {
                        assert!(before < metadata.offset());
                    }
                }
            });
        }
    });
    assert_orders_kept(world, threads, each);
}

#[test]
fn each_threads_order_is_kept() {
    for (settings, keyed) in [
        (&[("linger.ms", "0")][..], true),
        (&[("linger.ms", "0")], false),
        (&[("linger.ms", "5"), ("batch.size", "1000")], true),
        (&[("linger.ms", "5"), ("batch.size", "1000")], false),
        // Everybody waits for memory most of the time.
        (&[("buffer.memory", "20000"), ("batch.size", "2000")], false),
    ] {
        let world = World::with_partitions(6);
        send_from_many(&world, settings, 8, 1000, keyed);
    }
}

/// More threads than there are lanes, with a key each.
#[test]
fn sixty_four_threads() {
    let world = World::with_partitions(6);
    send_from_many(&world, &[], 64, 300, true);
}

#[test]
fn each_threads_order_is_kept_in_trouble() {
    let world = World::with_brokers(3);
    world.fault(Fault::AppendThenClose.times(10));
    world.fault(Fault::Error(ErrorCode::NOT_ENOUGH_REPLICAS).times(10));
    world.fault(Fault::Close.times(10));
    send_from_many(&world, &[("batch.size", "500")], 8, 500, true);
}

/// One record at a time, each waited for: no wake-up may be lost, or a thread would stand for the linger of a minute.
#[test]
fn blocking_one_by_one_from_many_threads() {
    for linger in ["0", "5", "60000"] {
        let world = World::with_partitions(3);
        let producer = world.producer(&[("linger.ms", linger)]);
        let began = Instant::now();
        thread::scope(|scope| {
            for thread in 0..8 {
                let producer = &producer;
                scope.spawn(move || {
                    for i in 0..200 {
                        let value = format!("{thread} {i:06}");
                        let record = ProducerRecord::new("t", &value).partition((thread + i) % 3);
                        producer.send(record).unwrap().get().unwrap();
                    }
                });
            }
        });
        assert!(began.elapsed() < 2 * LONG, "linger.ms={linger}: {:?}", began.elapsed());
        assert_orders_kept(&world, 8, 200);
    }
}

/// Handles can be waited for where they were not made.
#[test]
fn handles_change_hands() {
    let world = World::with_partitions(3);
    let producer = world.producer(&[("linger.ms", "60000")]);
    let (give, take) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        for thread in 0..4 {
            let (producer, give) = (&producer, give.clone());
            scope.spawn(move || {
                for i in 0..250 {
                    let value = format!("{thread} {i:06}");
                    give.send(producer.send(ProducerRecord::new("t", &value)).unwrap()).unwrap();
                }
            });
        }
        drop(give);
        let mut count = 0;
        for handle in take {
            handle.get().unwrap();
            count += 1;
        }
        assert_eq!(count, 1000);
    });
    assert_orders_kept(&world, 4, 250);
}
