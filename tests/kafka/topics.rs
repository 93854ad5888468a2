//! Topics that change under a producer that writes to them, and topics that take only some records.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use kafka_producer::{DeliveryFuture, ErrorCode, Producer, ProducerRecord, partition_for_key};

use crate::{
    harness::{Kafka, Timestamp, poll_until},
    sending::{
        Outcome, StopOnDrop, assert_all_arrived_once, assert_the_log_agrees, at_a_steady_rate, places,
        producer,
    },
};

/// A topic of the same name is another topic: what was acknowledged for the old one is gone with it, and not in the new
/// one; what the new one acknowledged is there; and every record ends, those for partitions that are no more too.
pub(crate) fn one_is_deleted_and_created_anew(kafka: &Kafka) {
    let topic = kafka.unused_topic_name("anew");
    kafka.create_topic_named(&topic, 6, &[]);
    let producer = producer(kafka, &[("delivery.timeout.ms", "15000"), ("request.timeout.ms", "5000")]);
    let pending = while_sending(&producer, &topic, || {
        wait_until_written(kafka, &topic, 6);
        kafka.delete_topic(&topic);
        kafka.create_topic_named(&topic, 3, &[]);
        wait_until_written(kafka, &topic, 3);
    });
    let mut outcomes: Vec<_> = pending.iter().map(|future| Outcome::of(&future.get())).collect();
    // By now the producer knows the new topic, and nothing stands in the way.
    let more = outcomes.len()..outcomes.len() + 1_000;
    let after = places(more.map(|n| send_numbered(&producer, &topic, n)).collect());
    outcomes.extend(after.into_iter().map(Outcome::Acknowledged));

    let outcomes = [outcomes];
    let arrived = assert_the_log_agrees(kafka, &topic, &outcomes);
    for (_, n, (partition, offset)) in arrived.lost() {
        let first = outcomes[0].iter().enumerate().position(|(n, outcome)| {
            matches!(outcome, Outcome::Acknowledged((p, _)) if *p == partition) && arrived.is_there(0, n)
        });
        assert!(
            first.is_none_or(|first| n < first),
            "record {n}, acknowledged at offset {offset} of partition {partition}, is lost: the new topic holds one \
             that was sent before it, {first:?}"
        );
    }
    let [there, failed] = [arrived.count(|_| true), outcomes[0].iter().filter(|o| o.is_failure()).count()];
    println!("anew: of {} records {failed} failed, and {there} are in the new topic", outcomes[0].len());
}

/// What is sent to a topic that is no more ends in its time, and the producer is of use for others.
pub(crate) fn one_is_deleted_for_good(kafka: &Kafka) {
    let (topic, other) = (kafka.unused_topic_name("gone"), kafka.create_topic("other", 1, &[]));
    kafka.create_topic_named(&topic, 3, &[]);
    let settings =
        [("delivery.timeout.ms", "5000"), ("request.timeout.ms", "2000"), ("max.block.ms", "1000")];
    let producer = producer(kafka, &settings);
    let stop = AtomicBool::new(false);
    let (mut pending, refused) = thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut pending = Vec::new();
            let mut refused = None;
            // Until the producer knows.
            while refused.is_none() && !stop.load(Ordering::Relaxed) {
                let number = pending.len().to_string();
                match producer.send(ProducerRecord::new(&topic, &number).key(&number)) {
                    Ok(future) => pending.push(future),
                    Err(e) => refused = Some(e),
                }
                thread::sleep(Duration::from_millis(2));
            }
            pending.push(producer.send(ProducerRecord::new(&other, "v")).expect("this one is there"));
            (pending, refused)
        });
        let _at_the_latest = StopOnDrop(&stop);
        wait_until_written(kafka, &topic, 3);
        kafka.delete_topic(&topic);
        sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let refused = refused.expect("the sender ends with it").to_string();
    assert!(refused.contains("UNKNOWN_TOPIC_OR_PARTITION"), "{refused}");
    pending.pop().expect("the other topic's").get().expect("the other topic is there");
    producer.flush().expect("everything ends");
    let results: Vec<_> = pending.iter().map(|future| future.get()).collect();
    let failed: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    for error in &failed {
        assert!(error.is_retriable() && !error.is_fatal() && error.topic() == topic, "{error}");
        // One that was sent tells what became of its last attempt: the leader may have been gone before the topic.
        assert!(error.attempts() > 0 || error.to_string().contains("UNKNOWN_TOPIC_OR_PARTITION"), "{error}");
    }
    println!("gone: {} of {} records failed", failed.len(), results.len());
}

/// Records with keys go where the key belongs among as many partitions as are known, and from one moment on among more.
pub(crate) fn partitions_are_added(kafka: &Kafka) {
    let topic = kafka.create_topic("growing", 2, &[]);
    let producer = producer(kafka, &[("metadata.max.age.ms", "500")]);
    let pending = while_sending(&producer, &topic, || {
        wait_until_written(kafka, &topic, 2);
        kafka.raise_partitions(&topic, 5);
        wait_until_written(kafka, &topic, 5);
    });
    let places = places(pending);
    let is_among = |n: usize, count| places[n].0 == partition_for_key(n.to_string().as_bytes(), count);
    let of_two = (0..places.len()).take_while(|&n| is_among(n, 2)).count();
    let wrong = (of_two..places.len()).find(|&n| !is_among(n, 5));
    assert_eq!(
        wrong, None,
        "a record that is not where it belongs among five partitions, as others were before it"
    );
    assert_all_arrived_once(kafka, &topic, &places);
}

/// The broker refuses the batch for two of its records, and names them: those two fail with its reason, their neighbours
/// are sent again without them.
pub(crate) fn a_compacted_one_refuses_records_without_a_key(kafka: &Kafka) {
    let config = [("cleanup.policy", "compact"), ("message.timestamp.type", "LogAppendTime")];
    let topic = kafka.create_topic("compacted", 1, &config);
    // Time enough for all of them to meet in one batch.
    let producer = producer(kafka, &[("linger.ms", "200"), ("batch.size", "100000")]);
    let mut good: Vec<_> = (0..10).map(|n| send_numbered(&producer, &topic, n)).collect();
    let without_key = || producer.send(ProducerRecord::new(&topic, "no key")).expect("only the broker knows");
    let mut bad = vec![without_key()];
    good.extend((10..20).map(|n| send_numbered(&producer, &topic, n)));
    bad.push(without_key());
    good.extend((20..30).map(|n| send_numbered(&producer, &topic, n)));

    for future in bad {
        let error = future.get().expect_err("compaction goes by keys");
        assert_eq!(error.code(), Some(ErrorCode::INVALID_RECORD), "{error}");
        assert!(!error.is_retriable() && !error.is_fatal() && !error.may_have_been_written(), "{error}");
        assert!(
            error.to_string().contains("cannot accept message without key"),
            "the broker's reason: {error}"
        );
    }
    good.extend((30..40).map(|n| send_numbered(&producer, &topic, n)));
    let times: Vec<_> = good.iter().map(|future| future.get().map(|metadata| metadata.timestamp())).collect();
    assert_all_arrived_once(kafka, &topic, &places(good));
    let read = kafka.consume(&topic);
    for (record, time) in read.iter().zip(times) {
        let time = time.expect("all of them were acknowledged");
        assert_eq!(
            record.timestamp,
            Timestamp::LogAppend(time),
            "the acknowledgement tells the broker's time"
        );
    }
}

/// Sends numbers with themselves as keys, from another thread, as long as `what` takes.
fn while_sending(producer: &Producer, topic: &str, what: impl FnOnce()) -> Vec<DeliveryFuture> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut pending = Vec::new();
            let go_on = |_| !stop.load(Ordering::Relaxed);
            at_a_steady_rate(RATE, go_on, |n| pending.push(send_numbered(producer, topic, n)));
            pending
        });
        let ended = StopOnDrop(&stop);
        what();
        drop(ended);
        sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn send_numbered(producer: &Producer, topic: &str, n: usize) -> DeliveryFuture {
    let number = n.to_string();
    producer.send(ProducerRecord::new(topic, &number).key(&number)).expect("the record is good")
}

/// Returns when there is something in each of so many partitions.
fn wait_until_written(kafka: &Kafka, topic: &str, partitions: usize) {
    let written = || kafka.end_offsets(topic).values().filter(|&&records| records > 0).count();
    let all = poll_until(PATIENCE, || (written() == partitions).then_some(()));
    assert!(all.is_some(), "{} of {partitions} partitions have records after {PATIENCE:?}", written());
}

/// Records a second.
const RATE: usize = 500;
const PATIENCE: Duration = Duration::from_secs(60);
