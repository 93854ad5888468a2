//! Every broker is frozen for longer than `delivery.timeout.ms`: nobody answers, and no connection breaks.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use kafka_producer::{DeliveryCause, DeliveryError, Producer, ProducerRecord, RecordMetadata};

use crate::{
    harness::{Cluster, poll_until},
    sending::{Outcome, assert_the_log_agrees, at_a_steady_rate, producer},
};

/// Each record ends in its time, with an error that is right about whether it may have been written; and after the thaw
/// the same producer goes on.
pub(crate) fn all_brokers_for_longer_than_the_delivery_timeout(cluster: &mut Cluster) {
    let topic = cluster.kafka().create_topic("frozen", 6, &[]);
    let settings = [("delivery.timeout.ms", "6000"), ("request.timeout.ms", "2000")];
    let producer = producer(cluster.kafka(), &settings);
    let ends = Ends::default();
    let began = Instant::now();
    let mut frozen_from = None;
    at_a_steady_rate(
        RATE,
        |_| began.elapsed() < Duration::from_secs(5),
        |n| {
            if frozen_from.is_none() && began.elapsed() >= Duration::from_secs(1) {
                cluster.ids().into_iter().for_each(|node| cluster.freeze(node));
                frozen_from = Some(n);
            }
            ends.send(&producer, &topic, n);
        },
    );
    let frozen_from = frozen_from.expect("records were sent for longer than a second");
    let sent = ends.wait_for_all();
    let acknowledged = sent[frozen_from..].iter().position(|end| end.result.is_ok());
    assert_eq!(acknowledged, None, "nobody can acknowledge what is sent while all are frozen");
    let unsuccessful: Vec<_> = sent.iter().filter_map(|end| end.result.as_ref().err()).collect();
    for error in &unsuccessful {
        assert!(matches!(error.cause(), DeliveryCause::DeliveryTimeout { .. }), "{error}");
        assert!(error.is_retriable() && !error.is_fatal(), "{error}");
        // What never left was not written. What left and was not answered may have been.
        assert_eq!(error.may_have_been_written(), error.attempts() > 0, "{error}");
    }
    let in_flight = unsuccessful.iter().filter(|error| error.may_have_been_written()).count();
    assert!(
        0 < in_flight && in_flight < unsuccessful.len(),
        "{in_flight} of {} may be written",
        unsuccessful.len()
    );
    let latest = sent.iter().map(|end| end.after).max().expect("records were sent");
    assert!(latest < DELIVERY_TIMEOUT + GENEROSITY, "a record ended after {latest:?}");

    let records = sent.len();
    cluster.ids().into_iter().for_each(|node| cluster.thaw(node));
    cluster.wait_until_ready().unwrap_or_else(|e| panic!("{e}"));
    cluster.kafka().leaders(&topic);
    (records..records + RATE).for_each(|n| ends.send(&producer, &topic, n));
    let sent = ends.wait_for_all();
    for end in &sent[records..] {
        assert!(end.result.is_ok(), "after the thaw: {:?}", end.result);
    }
    producer.close().expect("everything has ended");

    let outcomes = [sent.iter().map(|end| Outcome::of(&end.result)).collect::<Vec<_>>()];
    let arrived = assert_the_log_agrees(cluster.kafka(), &topic, &outcomes);
    arrived.assert_nothing_is_lost();
    println!(
        "frozen: {} of {records} records failed, {} of them may have been written and {} were; the last one ended \
         after {latest:.2?}",
        outcomes[0].iter().filter(|outcome| outcome.is_failure()).count(),
        outcomes[0].iter().filter(|&&outcome| outcome == Outcome::MaybeWritten).count(),
        arrived.count(|outcome| outcome == Outcome::MaybeWritten)
    );
}

/// How records ended, in the order of sending.
#[derive(Clone, Default)]
struct Ends(Arc<Mutex<Vec<Option<End>>>>);

#[derive(Clone)]
struct End {
    result: Result<RecordMetadata, DeliveryError>,
    after: Duration,
}

impl Ends {
    /// Sends record `n`, one more than there were.
    fn send(&self, producer: &Producer, topic: &str, n: usize) {
        self.with(|ends| ends.push(None));
        let (ends, began) = (self.clone(), Instant::now());
        let note = move |result| {
            let end = End { result, after: began.elapsed() };
            let before = ends.with(|ends| ends[n].replace(end));
            assert!(before.is_none(), "a callback runs once");
        };
        let number = n.to_string();
        producer
            .send_with(ProducerRecord::new(topic, &number).key(&number), note)
            .expect("the record is good");
    }

    fn wait_for_all(&self) -> Vec<End> {
        let all = poll_until(DELIVERY_TIMEOUT + 2 * GENEROSITY, || {
            self.with(|ends| ends.iter().cloned().collect())
        });
        all.unwrap_or_else(|| {
            let (ended, sent) = self.with(|ends| (ends.iter().flatten().count(), ends.len()));
            panic!("{ended} of {sent} records have ended")
        })
    }

    fn with<T>(&self, what: impl FnOnce(&mut Vec<Option<End>>) -> T) -> T {
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

const DELIVERY_TIMEOUT: Duration = Duration::from_secs(6);
/// Records end within half a second of their time; a machine may be busy.
const GENEROSITY: Duration = Duration::from_secs(10);
/// Records a second.
const RATE: usize = 1_000;
