//! A producer whose other end is the test.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use kafka_producer::{
    BytesSerializer, ConsumerGroupMetadata, DeliveryCause, ErrorCode, LongSerializer, OffsetAndMetadata,
    Partitioner, Producer, ProducerConfig, ProducerRecord, SendErrorKind, TopicPartition, TopicPartitions,
    TransactionErrorKind,
    testing::{MockCall, MockProducer},
};

use crate::harness::{Watch, send};

fn transactional() -> MockProducer {
    let config = ProducerConfig::new("mock:9092").set("transactional.id", "till-7");
    let mock = MockProducer::builder().config(config).topic("t", 1).build().unwrap();
    mock.producer().init_transactions().unwrap();
    mock
}

fn values(records: &[kafka_producer::testing::Record]) -> Vec<&str> {
    records.iter().map(|record| record.value_str().expect("a text")).collect()
}

#[test]
fn records_are_held_until_the_test_says_what_became_of_them() {
    let _watch = Watch::new();
    let mock = MockProducer::new();
    let producer = mock.producer();
    let handles: Vec<_> = ["a", "b", "c", "d"].map(|value| send(&producer, value)).into();
    assert_eq!(values(&mock.history()), ["a", "b", "c", "d"]);
    assert_eq!((mock.pending(), mock.flushed()), (4, false));
    assert!(handles.iter().all(|handle| !handle.is_done()));

    assert!(mock.complete_next());
    assert_eq!(handles[0].get().unwrap().to_string(), "t-0@0");
    assert!(mock.error_next(ErrorCode::RECORD_LIST_TOO_LARGE));
    let error = handles[1].get().unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::RECORD_LIST_TOO_LARGE));
    assert!(!error.may_have_been_written());
    assert!(mock.error_next(DeliveryCause::DeliveryTimeout { limit: Duration::from_secs(120) }));
    assert!(handles[2].get().unwrap_err().may_have_been_written());
    assert!(!handles[3].is_done());

    producer.flush().unwrap();
    assert_eq!(handles[3].get().unwrap().offset(), 3);
    assert!(!mock.complete_next() && !mock.error_next(ErrorCode::NONE) && mock.flushed());
    mock.clear();
    assert_eq!(mock.history(), []);
    assert!(!mock.closed());
    send(&producer, "e");
    producer.close().unwrap();
    assert!(mock.closed());
    assert_eq!(values(&mock.history()), ["e"], "what was sent can be read after the end");
    let refused = producer.send(ProducerRecord::new("t", "late")).unwrap_err();
    assert!(matches!(refused.kind(), SendErrorKind::Closed), "{refused}");
}

#[test]
fn autocomplete_acknowledges_at_once() {
    let _watch = Watch::new();
    let mock = MockProducer::autocomplete();
    let producer = mock.producer();
    for offset in 0..100 {
        assert_eq!(send(&producer, "x").get().unwrap().offset(), offset);
    }
    assert_eq!((mock.history().len(), mock.pending()), (100, 0));
}

#[test]
fn callers_have_the_real_half() {
    struct Last;
    impl Partitioner for Last {
        fn partition(
            &self,
            partitions: TopicPartitions<'_>,
            _key: Option<&[u8]>,
            _value: Option<&[u8]>,
        ) -> Result<i32, kafka_producer::BoxError> {
            Ok(partitions.count - 1)
        }
    }
    let _watch = Watch::new();
    let config = ProducerConfig::new("mock:9092").set("max.request.size", "200").set("max.block.ms", "50");
    let mock = MockProducer::builder()
        .config(config.clone())
        .topic("t", 10)
        .auto_create_topics(false)
        .autocomplete(true)
        .build_with_serializers(BytesSerializer, LongSerializer)
        .unwrap();
    let producer: Producer<str, i64> = mock.producer();
    let record =
        ProducerRecord::with_value("t", Some(&7)).with_key(Some("21")).header("h", b"v").timestamp(5);
    let metadata = producer.send(record).unwrap().get().unwrap();
    assert_eq!((metadata.partition(), metadata.timestamp(), metadata.serialized_value_size()), (0, 5, 8));
    let [record] = &mock.history()[..] else { panic!("one record") };
    assert_eq!((record.key_str(), record.value.as_deref()), (Some("21"), Some(&7i64.to_be_bytes()[..])));
    assert_eq!((record.header("h"), record.timestamp), (Some(Some(&b"v"[..])), 5));
    let tombstone = ProducerRecord::with_value("t", None).with_key(Some("foobar"));
    assert_eq!(producer.send(tombstone).unwrap().get().unwrap().partition(), 6, "as Java's murmur2 has it");
    assert_eq!(mock.history()[1].value, None);
    assert_eq!(producer.partitions_for("t").unwrap().len(), 10);

    let unknown = producer.send(ProducerRecord::with_value("u", Some(&7))).unwrap_err();
    assert!(matches!(unknown.kind(), SendErrorKind::MetadataTimeout { .. }), "{unknown}");
    mock.set_topic_error("t", Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED));
    let refused = producer.send(ProducerRecord::with_value("t", Some(&7))).unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED));
    mock.set_topic_error("t", None);

    let mock = MockProducer::builder().config(config.partitioner(Last)).topic("t", 10).build().unwrap();
    let producer = mock.producer();
    producer.send(ProducerRecord::new("t", "x")).unwrap();
    assert_eq!(mock.history()[0].partition, 9);
    let large = producer.send(ProducerRecord::new("t", &"x".repeat(300))).unwrap_err();
    assert!(matches!(large.kind(), SendErrorKind::RecordTooLarge { .. }), "{large}");
}

#[test]
fn callbacks_have_returned_when_the_test_goes_on() {
    let _watch = Watch::new();
    let mock = Arc::new(MockProducer::new());
    let producer = mock.producer();
    let called = Arc::new(AtomicUsize::new(0));
    for nested in [false, true] {
        let (called, own) = (Arc::clone(&called), Arc::clone(&mock));
        let record = ProducerRecord::new("t", "x");
        let call = move |outcome: Result<_, _>| {
            outcome.unwrap();
            called.fetch_add(1, Ordering::SeqCst);
            if nested {
                assert!(!own.complete_next(), "in a callback it does not wait, and nothing is pending");
            }
        };
        producer.send_with(record, call).unwrap();
    }
    for calls in [1, 2] {
        assert!(mock.complete_next());
        assert_eq!(called.load(Ordering::SeqCst), calls);
    }
    let panics =
        producer.send_with(ProducerRecord::new("t", "x"), |_| panic!("this panic is part of a test"));
    assert!(mock.complete_next());
    panics.unwrap().get().unwrap();
}

#[test]
fn a_full_buffer_holds_the_caller_back() {
    let _watch = Watch::new();
    let config = ProducerConfig::new("mock:9092").set("buffer.memory", "100000").set("max.block.ms", "60000");
    let mock = MockProducer::builder().config(config).build().unwrap();
    let producer = mock.producer();
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..20 {
                drop(producer.send(ProducerRecord::new("t", &"x".repeat(10_000))).unwrap());
            }
            tell.send(()).unwrap();
        });
        assert!(told.recv_timeout(Duration::from_millis(200)).is_err(), "twenty do not fit");
        while told.try_recv().is_err() {
            mock.complete_next();
        }
    });
    assert_eq!(mock.history().len(), 20);
}

#[test]
fn transactions_are_seen_when_they_are_committed() {
    let _watch = Watch::new();
    let mock = transactional();
    let producer = mock.producer();
    assert!(mock.transaction_initialized() && !mock.transaction_in_flight());
    producer.begin_transaction().unwrap();
    let handle = send(&producer, "a");
    assert!(mock.transaction_in_flight() && mock.history().is_empty());
    assert_eq!(values(&mock.uncommitted_records()), ["a"]);
    let group = ConsumerGroupMetadata::new("g");
    producer
        .send_offsets_to_transaction([(TopicPartition::new("in", 0), OffsetAndMetadata::new(42))], &group)
        .unwrap();
    assert!(mock.sent_offsets());
    producer.commit_transaction().unwrap();
    handle.get().unwrap();
    assert_eq!(values(&mock.history()), ["a"]);
    assert_eq!((mock.commit_count(), mock.transaction_committed()), (1, true));
    let [offsets] = &mock.consumer_group_offsets_history()[..] else { panic!("one commit had some") };
    assert_eq!(offsets.keys().next().unwrap(), &("g".to_owned(), TopicPartition::new("in", 0)));

    producer.begin_transaction().unwrap();
    send(&producer, "b");
    producer.abort_transaction().unwrap();
    assert_eq!(values(&mock.history()), ["a"], "what was aborted is not seen");
    assert!(mock.transaction_aborted() && !mock.transaction_committed() && !mock.sent_offsets());

    let early = producer.commit_transaction().unwrap_err();
    assert!(matches!(early.kind(), TransactionErrorKind::OutOfPlace { .. }), "{early}");
    let twice = producer.init_transactions().unwrap_err();
    assert!(matches!(twice.kind(), TransactionErrorKind::OutOfPlace { .. }), "{twice}");
}

#[test]
fn transactions_fail_when_the_test_says_so() {
    let _watch = Watch::new();
    let mock = transactional();
    let producer = mock.producer();
    producer.begin_transaction().unwrap();
    let cause = "the coordinator is away".to_owned();
    mock.fail_next(MockCall::CommitTransaction, TransactionErrorKind::Abortable { code: None, cause });
    assert!(producer.commit_transaction().unwrap_err().to_string().contains("the coordinator is away"));
    producer.commit_transaction().unwrap();

    producer.begin_transaction().unwrap();
    let handle = send(&producer, "lost");
    assert!(mock.error_next(ErrorCode::NOT_ENOUGH_REPLICAS));
    handle.get().unwrap_err();
    assert!(producer.send(ProducerRecord::new("t", "x")).is_err(), "the transaction cannot go on");
    producer.commit_transaction().unwrap_err();
    producer.abort_transaction().unwrap();
    producer.begin_transaction().unwrap();
    let handle = send(&producer, "y");

    mock.fence_producer();
    assert_eq!(handle.get().unwrap_err().code(), Some(ErrorCode::PRODUCER_FENCED));
    let fenced = producer.commit_transaction().unwrap_err();
    assert!(matches!(fenced.kind(), TransactionErrorKind::Fenced { .. }) && fenced.is_fatal(), "{fenced}");
    assert!(producer.send(ProducerRecord::new("t", "x")).is_err());
}

#[test]
fn the_end_of_the_mock_is_the_end_of_what_is_pending() {
    let _watch = Watch::new();
    let mock = MockProducer::new();
    let producer = mock.producer();
    let handle = send(&producer, "x");
    drop(mock);
    assert!(matches!(handle.get().unwrap_err().cause(), DeliveryCause::Closed));
    send(&producer, "nobody waits for a test that is over").get().unwrap();

    let mock = MockProducer::new();
    let handle = send(&mock.producer(), "x");
    mock.producer().close_timeout(Duration::ZERO).unwrap_err();
    handle.get().unwrap_err();
    let metrics = mock.producer().metrics();
    assert_eq!(metrics.get("record-send-total"), Some(0.0));
}

#[test]
fn many_threads_send_and_one_completes() {
    let _watch = Watch::new();
    let mock = MockProducer::builder().topic("t", 1).build().unwrap();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let producer = mock.producer();
                scope.spawn(move || {
                    for _ in 0..200 {
                        send(&producer, "x").get().unwrap();
                    }
                })
            })
            .collect();
        while !threads.iter().all(|thread| thread.is_finished()) {
            if !mock.complete_next() {
                thread::yield_now();
            }
        }
    });
    assert_eq!(mock.history().len(), 800);
    let offsets: Vec<i64> = mock.history().iter().map(|record| record.offset).collect();
    assert_eq!(offsets, (0..800).collect::<Vec<_>>());
}

/// A flush that lies in the queue behind the close is answered by nobody.
#[test]
fn whoever_flushes_while_it_is_closed_hears_of_it() {
    let _watch = Watch::new();
    for round in 0..300 {
        let mock = MockProducer::new();
        let producer = mock.producer();
        thread::scope(|scope| {
            scope.spawn(|| while producer.flush().is_ok() {});
            scope.spawn(|| {
                while !mock.closed() {
                    mock.complete_next();
                }
            });
            (0..round * 10).for_each(|_| std::hint::spin_loop());
            producer.close().unwrap();
        });
    }
}

#[test]
fn errors_say_what_they_would_say_of_a_broker() {
    let _watch = Watch::new();
    let mock = MockProducer::new();
    for (code, maybe) in [
        (ErrorCode::REQUEST_TIMED_OUT, true),
        (ErrorCode::NETWORK_EXCEPTION, true),
        (ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND, true),
        (ErrorCode::UNKNOWN_SERVER_ERROR, true),
        (ErrorCode::NOT_ENOUGH_REPLICAS, false),
        (ErrorCode::TOPIC_AUTHORIZATION_FAILED, false),
        (ErrorCode::RECORD_LIST_TOO_LARGE, false),
    ] {
        let handle = send(&mock.producer(), "x");
        assert!(mock.error_next(code));
        assert_eq!(handle.get().unwrap_err().may_have_been_written(), maybe, "{code}");
    }
}

#[test]
fn a_topic_with_an_error_is_waited_for_and_refused() {
    let _watch = Watch::new();
    let config = ProducerConfig::new("mock:9092").set("max.block.ms", "50");
    let mock = MockProducer::builder().config(config.clone()).topic("t", 3).build().unwrap();
    let producer = mock.producer();
    for code in [ErrorCode::LEADER_NOT_AVAILABLE, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION] {
        mock.set_topic_error("t", Some(code));
        let error = producer.send(ProducerRecord::new("t", "x")).unwrap_err();
        assert!(error.to_string().contains(code.name().unwrap()), "{error}");
    }
    mock.set_topic_error("t", None);
    assert_eq!(producer.partitions_for("t").unwrap().len(), 3, "it is what it was");
    send(&producer, "x");

    let mock = MockProducer::builder().config(config).auto_create_topics(false).build().unwrap();
    let error = mock.producer().send(ProducerRecord::new("u", "x")).unwrap_err();
    assert!(error.to_string().contains("UNKNOWN_TOPIC_OR_PARTITION"), "{error}");
}

#[test]
fn closing_in_a_transaction_aborts_it() {
    let _watch = Watch::new();
    let mock = transactional();
    let producer = mock.producer();
    producer.begin_transaction().unwrap();
    let handle = send(&producer, "x");
    producer.close().unwrap();
    let error = handle.get().unwrap_err();
    assert!(matches!(error.cause(), DeliveryCause::TransactionAborted(_)), "{error}");
    assert!(mock.transaction_aborted() && !mock.transaction_in_flight() && mock.history().is_empty());
}
