//! What is counted, as a user reads it.

use std::{collections::BTreeMap, time::Duration};

use kafka_producer::{
    ErrorCode, MetricKind, Metrics, Producer, ProducerRecord,
    testing::{Cluster, Fault},
};

use crate::harness::{World, arrived, send, send_to};

/// A figure of the whole producer, which has to be there.
fn of(metrics: &Metrics, name: &str) -> f64 {
    metrics.get(name).unwrap_or_else(|| panic!("there is no {name}"))
}

fn value(producer: &Producer, name: &str) -> f64 {
    of(&producer.metrics(), name)
}

#[test]
fn a_new_producer_has_counted_nothing() {
    let world = World::with_partitions(1);
    let metrics = world.producer(&[("buffer.memory", "8388608")]).metrics();
    for metric in metrics.iter().filter(|metric| metric.kind() == MetricKind::Counter) {
        let counts_turns = metric.name().starts_with("io-") || metric.name().starts_with("select-");
        assert!(metric.value() == 0.0 || counts_turns, "{metric:?}");
    }
    assert!(of(&metrics, "batch-size-avg").is_nan() && of(&metrics, "metadata-age").is_nan());
    assert_eq!(of(&metrics, "connection-count"), 0.0);
    let (total, free) = (of(&metrics, "buffer-total-bytes"), of(&metrics, "buffer-available-bytes"));
    assert!(total <= 8_388_608.0 && total > 7_000_000.0 && free == total, "{free} of {total}");
    assert_eq!(metrics.topic("t", "record-send-total"), None);
    assert_eq!(metrics.get("no-such-name"), None);
}

#[test]
fn batches_requests_and_connections_are_counted() {
    let world = World::with_brokers(2);
    let producer = world.producer(&[("linger.ms", "60000"), ("client.id", "till-7")]);
    let handles: Vec<_> = (0..20).map(|i| send_to(&producer, i % 2, &"x".repeat(100))).collect();
    producer.flush().unwrap();
    arrived(&handles);
    let metrics = producer.metrics();
    assert_eq!(of(&metrics, "record-send-total"), 20.0);
    assert!(of(&metrics, "record-send-rate") > 0.0);
    assert_eq!(of(&metrics, "records-per-request-avg"), 10.0);
    assert_eq!(of(&metrics, "compression-rate-avg"), 1.0);
    let (record, batch) = (of(&metrics, "record-size-max"), of(&metrics, "batch-size-max"));
    assert!((105.0..120.0).contains(&record), "{record}");
    assert!((10.0 * 105.0..10.0 * 120.0 + 61.0).contains(&batch), "{batch}");
    assert_eq!(of(&metrics, "record-error-total") + of(&metrics, "record-retry-total"), 0.0);
    assert!(of(&metrics, "request-latency-max") >= of(&metrics, "request-latency-avg"));
    assert!(of(&metrics, "metadata-age") >= 0.0);
    assert_eq!(of(&metrics, "requests-in-flight"), 0.0);

    assert_eq!(of(&metrics, "connection-count"), world.connection_count() as f64);
    assert_eq!(of(&metrics, "connection-creation-total"), world.connection_count() as f64);
    assert_eq!(of(&metrics, "request-total"), of(&metrics, "response-total"));
    assert_eq!(of(&metrics, "request-total"), world.requests().values().sum::<u64>() as f64);
    assert!(of(&metrics, "outgoing-byte-total") > 20.0 * 100.0);
    assert!(of(&metrics, "request-size-max") > 1000.0 && of(&metrics, "incoming-byte-total") > 0.0);
    assert!(of(&metrics, "io-time-ns-total") > 0.0 && of(&metrics, "select-total") > 0.0);

    assert_eq!(metrics.topic("t", "record-send-total"), Some(20.0));
    assert!(metrics.topic("t", "byte-total").unwrap() >= 2.0 * batch);
    for node in [1, 2] {
        let requests = metrics.node(node, "request-total").unwrap();
        assert!(requests >= 2.0, "node {node}: {requests}");
        assert!(metrics.node(node, "request-latency-avg").unwrap() > 0.0, "node {node}");
    }
    let names = |tag: &str| {
        let tags = metrics.iter().flat_map(|metric| metric.tags());
        tags.filter(|(name, _)| *name == tag).map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    assert!(names("client-id").iter().all(|name| name == "till-7") && !names("client-id").is_empty());

    drop(metrics);
    producer.close().unwrap();
    let last = producer.clone().metrics();
    assert_eq!(of(&last, "record-send-total"), 20.0, "what was counted stays");
    assert_eq!(of(&last, "connection-count"), 0.0);
    assert_eq!(of(&last, "connection-close-total"), of(&last, "connection-creation-total"));
    assert!(of(&last, "flush-time-ns-total") > 0.0 && of(&last, "metadata-wait-time-ns-total") > 0.0);
}

#[test]
fn what_goes_wrong_is_counted() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[]);
    arrived(&[send(&producer, "first")]);

    world.fail_next(ErrorCode::NOT_ENOUGH_REPLICAS, 2);
    arrived(&[send(&producer, "again and again")]);
    assert_eq!(value(&producer, "record-retry-total"), 2.0);
    assert_eq!(value(&producer, "record-send-total"), 4.0, "every sending counts");

    world.fail_next(ErrorCode::TOPIC_AUTHORIZATION_FAILED, 1);
    send(&producer, "refused by the broker").get().unwrap_err();
    producer.send(ProducerRecord::new("t", "refused by send").partition(-1)).unwrap_err();
    let metrics = producer.metrics();
    assert_eq!(of(&metrics, "record-error-total"), 2.0);
    assert!(of(&metrics, "record-error-rate") > 0.0);
    assert_eq!(
        metrics.topic("t", "record-error-total"),
        Some(1.0),
        "send's refusals belong to no topic, as in Java"
    );
    assert_eq!(metrics.topic("t", "record-retry-total"), Some(2.0));

    world.fault(Fault::Throttle(Duration::from_millis(30)));
    arrived(&[send(&producer, "throttled")]);
    assert_eq!(value(&producer, "produce-throttle-time-max"), 30.0);

    world.cut_next_connection();
    arrived(&[send(&producer, "over another connection")]);
    let metrics = producer.metrics();
    assert_eq!(of(&metrics, "connection-close-total"), 1.0);
    let open = of(&metrics, "connection-creation-total") - of(&metrics, "connection-close-total");
    assert_eq!(of(&metrics, "connection-count"), open);
}

#[test]
fn pieces_of_a_batch_and_compression_are_counted() {
    let world = World::start(Cluster::builder().topic("t", 1).max_message_bytes(2_000));
    let producer = world.producer(&[("linger.ms", "60000"), ("batch.size", "100000")]);
    let handles: Vec<_> = (0..40).map(|_| send(&producer, &"x".repeat(100))).collect();
    producer.flush().unwrap();
    arrived(&handles);
    assert!(value(&producer, "batch-split-total") >= 3.0);

    let world = World::with_partitions(1);
    let producer = world.producer(&[("compression.type", "lz4"), ("linger.ms", "60000")]);
    let handles: Vec<_> = (0..40).map(|_| send(&producer, &"x".repeat(100))).collect();
    producer.flush().unwrap();
    arrived(&handles);
    let metrics = producer.metrics();
    let ratio = of(&metrics, "compression-rate-avg");
    assert!(ratio > 0.0 && ratio < 0.5, "{ratio}");
    assert_eq!(metrics.topic("t", "compression-rate"), Some(ratio));
}

#[test]
fn waiting_for_memory_is_counted() {
    let world = World::with_partitions(1);
    let settings = [("buffer.memory", "100000"), ("max.block.ms", "100"), ("linger.ms", "0")];
    let producer = world.producer(&settings);
    arrived(&[send(&producer, "metadata")]);
    world.stall(1);
    let record = "x".repeat(10_000);
    while producer.send(ProducerRecord::new("t", &record)).is_ok() {}
    let metrics = producer.metrics();
    assert_eq!(of(&metrics, "buffer-exhausted-total"), 1.0);
    assert!(
        of(&metrics, "bufferpool-wait-time-ns-total") > 0.0 && of(&metrics, "bufferpool-wait-ratio") > 0.0
    );
    assert!(of(&metrics, "buffer-available-bytes") < 20_000.0);
    assert!(of(&metrics, "requests-in-flight") >= 1.0);
    let asked = producer.try_send(ProducerRecord::new("t", &record)).unwrap_err();
    assert!(asked.to_string().contains("memory"), "{asked}");
    assert_eq!(value(&producer, "record-error-total"), 1.0, "who does not want to wait has not failed");
    world.resume(1);
    producer.close().unwrap();
}

#[test]
fn it_can_be_asked_anywhere() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[]);
    let clone = producer.clone();
    let (tell, told) = std::sync::mpsc::channel();
    producer
        .send_with(ProducerRecord::new("t", "x"), move |_| {
            tell.send(value(&clone, "record-send-total")).unwrap();
        })
        .unwrap();
    assert_eq!(told.recv_timeout(Duration::from_secs(30)), Ok(1.0), "in a callback");
    // The clone in the callback is gone by now or soon: either way this one is the last.
    let metrics = producer.metrics();
    let mut families: BTreeMap<&str, &str> = BTreeMap::new();
    let text = metrics.to_prometheus();
    for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        let (name, kind) = line["# TYPE ".len()..].split_once(' ').unwrap();
        assert!(families.insert(name, kind).is_none(), "{name} stands twice");
    }
    assert_eq!(families["kafka_producer_record_send_total"], "counter");
    assert_eq!(families["kafka_producer_topic_byte_rate"], "gauge");
    assert!(!text.contains("NaN"), "{text}");
    let samples = text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(samples, metrics.iter().filter(|metric| !metric.value().is_nan()).count());
}

#[test]
fn transactions_are_counted() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[("transactional.id", "till")]);
    producer.init_transactions().unwrap();
    producer.begin_transaction().unwrap();
    arrived(&[send(&producer, "x")]);
    producer.commit_transaction().unwrap();
    producer.begin_transaction().unwrap();
    producer.abort_transaction().unwrap();
    let metrics = producer.metrics();
    for call in ["init", "begin", "commit", "abort"] {
        assert!(of(&metrics, &format!("txn-{call}-time-ns-total")) > 0.0, "{call}");
    }
    assert_eq!(of(&metrics, "txn-send-offsets-time-ns-total"), 0.0);
}

#[test]
fn many_ask_at_once_while_much_is_sent() {
    let world = World::with_partitions(3);
    let producer = world.producer(&[]);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut last = 0.0;
                for _ in 0..200 {
                    let sent = value(&producer, "record-send-total");
                    assert!(sent >= last, "{sent} after {last}");
                    last = sent;
                }
            });
        }
        for i in 0..5_000 {
            drop(send_to(&producer, i % 3, "x"));
        }
    });
    producer.close().unwrap();
    assert_eq!(value(&producer, "record-send-total"), 5_000.0);
}

#[test]
fn a_part_of_the_time_is_never_more_than_all_of_it() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[("metrics.sample.window.ms", "1"), ("metrics.num.samples", "1")]);
    arrived(&[send(&producer, "x")]);
    std::thread::sleep(Duration::from_millis(200));
    for _ in 0..10 {
        let metrics = producer.metrics();
        for name in ["io-wait-ratio", "io-ratio"] {
            assert!((0.0..=1.0).contains(&of(&metrics, name)), "{name}: {}", of(&metrics, name));
        }
    }
}

/// A waker runs there, and so does a logger.
#[test]
fn what_the_sender_thread_calls_does_not_wait_for_it() {
    use std::{
        future::Future,
        sync::{Arc, Mutex, mpsc},
        task::{Context, Poll, Wake},
    };

    struct Caller(Producer, Mutex<mpsc::Sender<(bool, bool)>>);
    impl Wake for Caller {
        fn wake(self: Arc<Self>) {
            let refused = self.0.flush().is_err() && self.0.close().is_err();
            let told = self.0.metrics().get("record-send-total").is_some();
            self.1.lock().unwrap().send((refused, told)).unwrap();
        }
    }

    let world = World::with_partitions(1);
    let producer = world.producer(&[("linger.ms", "60000")]);
    let (tell, told) = mpsc::channel();
    let waker = Arc::new(Caller(producer.clone(), Mutex::new(tell))).into();
    let mut handle = Box::pin(send(&producer, "x"));
    assert!(matches!(handle.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Pending));
    drop(waker);
    producer.flush().unwrap();
    assert_eq!(told.recv_timeout(Duration::from_secs(30)), Ok((true, true)));
}
