//! Metrics that brokers ask for (KIP-714): who gets which, when, in what form; and that nobody pays who is not asked.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use kafka_producer::{
    ErrorCode, TelemetryError,
    testing::{Api, Cluster, ClusterBuilder, Fault, Subscription},
};

use crate::harness::{LONG, World, send, send_to, until};

/// As often as a broker can want them.
const OFTEN: Duration = Duration::from_millis(100);

const BUFFER: &str = "org.apache.kafka.producer.buffer.total.bytes";

fn builder() -> ClusterBuilder {
    Cluster::builder().auto_create_topics(false).topic("t", 1)
}

fn world(subscription: Subscription) -> World {
    World::start(builder().telemetry(subscription))
}

#[test]
fn brokers_get_what_they_ask_for_as_often_as_they_ask_for_it() {
    let world = world(Subscription::new(OFTEN).metrics(["org.apache.kafka.producer.buffer"]));
    let producer = world.producer(&[("buffer.memory", "1000000"), ("client.rack", "r1")]);
    send(&producer, "v").get().unwrap();
    assert!(world.wait_for_pushes(3, LONG));
    let pushes = world.pushes();
    let id = producer.client_instance_id(Duration::ZERO).unwrap();
    assert!(id.as_bytes() != &[0; 16]);
    for push in &pushes {
        assert_eq!((push.client_instance_id, push.terminating, push.codec), (id, false, 0));
        assert_eq!(push.get(BUFFER), Some(1_000_000.0), "{push:?}");
        assert!(push.metrics.iter().all(|metric| !metric.labels.contains_key("client_id")));
        assert_eq!(push.resource.get("client_rack").map(String::as_str), Some("r1"));
    }
    assert_eq!(world.request_count(Api::GetTelemetrySubscriptions), 1, "asked once");
}

#[test]
fn metrics_of_the_applications_own_go_with_them() {
    let world = world(Subscription::new(OFTEN).metrics(["org.apache.kafka.shop"]));
    let producer = world.producer(&[]);
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    producer.register_metric_for_subscription("shop.queue-depth", move || {
        count.fetch_add(1, Ordering::SeqCst);
        let thread = thread::current();
        assert!(thread.name().unwrap_or_default().starts_with("kafka-producer-callback-thread"));
        42.0
    });
    producer.register_metric_for_subscription("shop.broken", || panic!("this panic is part of a test"));
    producer.register_metric_for_subscription("shop.unknown", || f64::NAN);
    send(&producer, "v").get().unwrap();
    assert!(world.wait_for_pushes(2, LONG));
    let pushes = world.pushes();
    for push in &pushes {
        let told: Vec<_> = push.metrics.iter().map(|metric| (&*metric.name, metric.value)).collect();
        assert_eq!(told, [("org.apache.kafka.shop.queue.depth", 42.0)]);
    }
    assert!(calls.load(Ordering::SeqCst) >= 2);
    assert!(producer.unregister_metric_for_subscription("shop.queue-depth"));
    assert!(!producer.unregister_metric_for_subscription("shop.queue-depth"));
    until("a push without it", || world.pushes().last().is_some_and(|push| push.metrics.is_empty()));
}

/// What a metric of the user's own holds is let go: a circle would keep the producer for ever.
#[test]
fn what_was_registered_is_dropped_at_the_end() {
    let world = world(Subscription::new(OFTEN));
    let producer = world.producer(&[]);
    let held = Arc::new(());
    let kept = Arc::clone(&held);
    producer.register_metric_for_subscription("shop.x", move || Arc::strong_count(&kept) as f64);
    producer.close().unwrap();
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn the_name_of_a_metric_of_the_producers_is_its_own() {
    let world = world(Subscription::new(OFTEN).metrics([BUFFER]));
    let producer = world.producer(&[("buffer.memory", "1000000")]);
    producer.register_metric_for_subscription("producer.buffer-total-bytes", || 7.0);
    send(&producer, "v").get().unwrap();
    assert!(world.wait_for_pushes(1, LONG));
    let push = &world.pushes()[0];
    assert_eq!((push.metrics.len(), push.get(BUFFER)), (1, Some(1_000_000.0)));
}

#[test]
fn every_codec_that_the_broker_likes() {
    for codec in 1..=4 {
        let world = world(Subscription::new(OFTEN).codecs([codec, 0]));
        let producer = world.producer(&[]);
        send(&producer, "v").get().unwrap();
        assert!(world.wait_for_pushes(1, LONG));
        let push = &world.pushes()[0];
        assert_eq!(push.codec, codec);
        assert!(push.get(BUFFER).is_some(), "{push:?}");
    }
}

#[test]
fn a_close_is_told_with_a_last_push() {
    // The next push would be far away.
    let world = world(Subscription::new(Duration::from_secs(3600)));
    let producer = world.producer(&[]);
    producer.register_metric_for_subscription("shop.x", || 1.0);
    let id = producer.client_instance_id(LONG).unwrap();
    send(&producer, "v").get().unwrap();
    assert_eq!(world.pushes(), []);
    producer.close().unwrap();
    let pushes = world.pushes();
    assert_eq!(pushes.len(), 1);
    assert!(pushes[0].terminating && pushes[0].client_instance_id == id);
    assert_eq!(pushes[0].get("org.apache.kafka.shop.x"), Some(1.0));
    assert_eq!(producer.client_instance_id(Duration::ZERO), Ok(id), "it is still known");
}

#[test]
fn a_close_without_time_pushes_nothing_and_one_is_not_held_up_by_a_broker_that_hangs() {
    let world = world(Subscription::new(Duration::from_secs(3600)));
    let producer = world.producer(&[]);
    producer.client_instance_id(LONG).unwrap();
    producer.close_timeout(Duration::ZERO).unwrap();
    assert_eq!(world.pushes(), []);

    let producer = world.producer(&[]);
    producer.client_instance_id(LONG).unwrap();
    world.stall(1);
    producer.close().unwrap();
    world.resume(1);
}

#[test]
fn a_changed_subscription_is_asked_for_at_once() {
    let world = world(Subscription::new(OFTEN).metrics(["org.apache.kafka.shop"]));
    let producer = world.producer(&[]);
    send(&producer, "v").get().unwrap();
    assert!(world.wait_for_pushes(1, LONG));
    world.set_subscription(Subscription::new(OFTEN).metrics(["org.apache.kafka.producer.buffer"]));
    until("what is wanted now", || world.pushes().last().is_some_and(|push| push.get(BUFFER).is_some()));
    assert_eq!(world.request_count(Api::GetTelemetrySubscriptions), 2);
}

#[test]
fn errors_after_which_it_goes_on_and_errors_after_which_nothing_more_is_pushed() {
    for (code, goes_on) in [
        (ErrorCode::UNKNOWN_SUBSCRIPTION_ID, true),
        (ErrorCode::TELEMETRY_TOO_LARGE, true),
        (ErrorCode::THROTTLING_QUOTA_EXCEEDED, true),
        (ErrorCode::UNSUPPORTED_COMPRESSION_TYPE, true),
        (ErrorCode::INVALID_REQUEST, false),
        (ErrorCode::INVALID_RECORD, false),
        (ErrorCode::UNSUPPORTED_VERSION, false),
        (ErrorCode(9999), false),
    ] {
        let world = world(Subscription::new(OFTEN));
        world.fault(Fault::Error(code).api(Api::PushTelemetry));
        let producer = world.producer(&[]);
        send(&producer, "v").get().unwrap();
        assert!(world.wait_for_requests(Api::PushTelemetry, 1, LONG));
        if goes_on {
            assert!(world.wait_for_pushes(1, LONG), "{code}");
        }
        // Records do not mind.
        send(&producer, "w").get().unwrap();
        producer.close().unwrap();
        assert_eq!(!world.pushes().is_empty(), goes_on, "{code}: also at the end");
    }
}

#[test]
fn a_push_that_is_lost_costs_no_record() {
    for fault in [Fault::AppendThenClose, Fault::Close, Fault::CutResponse(5), Fault::WrongCorrelationId] {
        let world = world(Subscription::new(OFTEN));
        world.fault(fault.api(Api::PushTelemetry));
        let producer = world.producer(&[("linger.ms", "0")]);
        send(&producer, "0").get().unwrap();
        assert!(world.wait_for_requests(Api::PushTelemetry, 1, LONG));
        for i in 1..100 {
            send(&producer, &i.to_string()).get().unwrap();
        }
        producer.close().unwrap();
        assert_eq!(world.values("t"), (0..100).map(|i| i.to_string()).collect::<Vec<_>>());
    }
}

#[test]
fn the_same_broker_is_asked_again_and_another_one_if_that_is_gone() {
    let world = World::start(
        Cluster::builder()
            .auto_create_topics(false)
            .brokers(2)
            .topic("t", 2)
            .telemetry(Subscription::new(Duration::from_secs(1))),
    );
    let producer = world.producer(&[("linger.ms", "0")]);
    for partition in [0, 1] {
        send_to(&producer, partition, "v").get().unwrap();
    }
    assert!(world.wait_for_pushes(3, LONG));
    let nodes: Vec<i32> = world.pushes()[1..].iter().map(|push| push.node).collect();
    assert!(nodes.iter().all(|node| *node == nodes[0]), "{nodes:?}");
    // What is lost on the way is not asked for again for five minutes, as in Java.
    until("an answer to the push", || producer.metrics().get("requests-in-flight") == Some(0.0));
    world.stop(nodes[0]);
    world.fail_over(nodes[0]);
    until("a push to the other one", || {
        let _ = producer.partitions_for("t");
        world.pushes().last().is_some_and(|push| push.node != nodes[0])
    });
}

#[test]
fn an_idle_producer_whose_connection_is_closed_connects_for_a_push() {
    let world = world(Subscription::new(Duration::from_millis(400)));
    let producer = world.producer(&[("connections.max.idle.ms", "50")]);
    send(&producer, "v").get().unwrap();
    assert!(world.wait_for_pushes(3, LONG));
    assert!(world.connection_count() > 2, "{}", world.connection_count());
}

#[test]
fn who_waits_for_the_id_connects_without_a_record() {
    let world = world(Subscription::new(Duration::from_secs(3600)));
    let producer = world.producer(&[]);
    let ids: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| producer.client_instance_id(LONG))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(ids[0].to_string().len(), 22);
    let other = world.producer(&[]);
    assert_ne!(other.client_instance_id(LONG).unwrap(), ids[0]);
}

#[test]
fn why_there_is_no_id() {
    let world = World::with_partitions(1);
    let limit = Duration::from_millis(50);
    let off = world.producer(&[("enable.metrics.push", "false")]);
    assert_eq!(off.client_instance_id(limit), Err(TelemetryError::Disabled));
    let producer = world.producer(&[]);
    assert_eq!(producer.client_instance_id(limit), Err(TelemetryError::TimedOut { limit }));
    let inside = Arc::new(std::sync::Mutex::new(None));
    let (tell, clone) = (Arc::clone(&inside), producer.clone());
    let record = kafka_producer::ProducerRecord::new("t", "v");
    let ask = move |_| *tell.lock().unwrap() = Some(clone.client_instance_id(LONG));
    producer.send_with(record, ask).unwrap().get().unwrap();
    assert_eq!(inside.lock().unwrap().take(), Some(Err(TelemetryError::InsideCallback)));
    // Whoever waits is not left behind.
    thread::scope(|scope| {
        let waiting = scope.spawn(|| producer.client_instance_id(8 * LONG));
        producer.close().unwrap();
        assert_eq!(waiting.join().unwrap(), Err(TelemetryError::Ended));
    });
}

#[test]
fn who_has_it_turned_off_asks_nobody() {
    let world = world(Subscription::new(OFTEN));
    let producer = world.producer(&[("enable.metrics.push", "false")]);
    producer.register_metric_for_subscription("shop.x", || panic!("nobody reads it"));
    send(&producer, "v").get().unwrap();
    producer.close().unwrap();
    let asked =
        (world.request_count(Api::GetTelemetrySubscriptions), world.request_count(Api::PushTelemetry));
    assert_eq!(asked, (0, 0));
}

#[test]
fn brokers_that_want_nothing_get_nothing() {
    let world = world(Subscription::new(OFTEN).metrics([""; 0]));
    let producer = world.producer(&[]);
    send(&producer, "v").get().unwrap();
    // They are asked again whether they still want nothing.
    assert!(world.wait_for_requests(Api::GetTelemetrySubscriptions, 3, LONG));
    producer.close().unwrap();
    assert_eq!(world.request_count(Api::PushTelemetry), 0);
}
