//! Three brokers that are killed, stopped and frozen while records flow: what was acknowledged is there, once, in order.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use kafka_producer::{DeliveryFuture, Producer, ProducerRecord};

use crate::{
    harness::Cluster,
    sending::{StopOnDrop, assert_all_arrived_once, at_a_steady_rate, places, producer},
};

/// `kill -9` of a leader, and its return, in the middle of a steady stream.
pub(crate) fn a_leader_is_killed(cluster: &mut Cluster) {
    let topic = cluster.kafka().create_topic("killed-leader", 6, &[]);
    let victim = cluster.kafka().leaders(&topic)[&0];
    let producer = producer(cluster.kafka(), &[]);
    let records = 30 * RATE;
    let pending = send_steadily(&producer, &topic, |n| {
        match n {
            _ if n == records / 3 => cluster.kill(victim),
            _ if n == records * 2 / 3 => cluster.restart(victim),
            _ => {}
        }
        n < records
    });
    let places = places(pending);
    assert_eq!(places.len(), records);
    cluster.wait_until_ready().unwrap();
    assert_all_arrived_once(cluster.kafka(), &topic, &places);
}

/// A rolling restart, and then a broker that stops answering without a word: its partitions move, and are written while
/// it is still frozen; what it says when it wakes changes nothing.
pub(crate) fn brokers_restart_in_turn_and_one_freezes(cluster: &mut Cluster) {
    let topic = cluster.kafka().create_topic("rolling", 6, &[]);
    let probes = cluster.kafka().create_topic("probes", 6, &[]);
    // A frozen broker's connections are given up after this time alone.
    let producer = producer(cluster.kafka(), &[("request.timeout.ms", "5000")]);
    let stop = AtomicBool::new(false);
    let pending = thread::scope(|scope| {
        let stream = scope.spawn(|| send_steadily(&producer, &topic, |_| !stop.load(Ordering::Relaxed)));
        let ended = StopOnDrop(&stop);
        for node in 1..=3 {
            cluster.terminate(node);
            cluster.restart(node);
            cluster.wait_until_ready().unwrap();
        }
        let frozen = cluster.kafka().leaders(&probes)[&0];
        cluster.freeze(frozen);
        cluster.wait_until_given_up(frozen);
        for partition in 0..6 {
            let record = ProducerRecord::new(&probes, "v").partition(partition);
            producer.send(record).expect("the record is good").get().expect("two brokers are enough");
        }
        cluster.thaw(frozen);
        cluster.wait_until_ready().unwrap();
        drop(ended);
        stream.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    assert_all_arrived_once(cluster.kafka(), &topic, &places(pending));
}

/// Sends numbers from 0, [`RATE`] a second, as long as `go_on` says so for the next one.
fn send_steadily(producer: &Producer, topic: &str, go_on: impl FnMut(usize) -> bool) -> Vec<DeliveryFuture> {
    let mut pending = Vec::new();
    at_a_steady_rate(RATE, go_on, |n| {
        pending.push(producer.send(ProducerRecord::new(topic, &n.to_string())).expect("the record is good"));
    });
    pending
}

/// Records a second.
const RATE: usize = 2_000;
