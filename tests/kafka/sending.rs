//! What the tests do again and again with a producer, and what they demand of the outcome.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use kafka_producer::{DeliveryError, DeliveryFuture, Producer, ProducerConfig, RecordMetadata};

use crate::harness::Kafka;

/// A producer for a cluster, with settings by their names.
pub(crate) fn producer(kafka: &Kafka, settings: &[(&str, &str)]) -> Producer {
    let config = ProducerConfig::new(kafka.bootstrap());
    let config = settings.iter().fold(config, |config, (name, value)| config.set(name, value));
    Producer::new(config).expect("the settings are good")
}

/// Where a record lies, as its acknowledgement says.
pub(crate) type Place = (i32, i64);

/// What a record's handle said in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Acknowledged(Place),
    /// An error that leaves open whether it was written.
    MaybeWritten,
    /// An error that rules it out.
    NotWritten,
}

impl Outcome {
    pub(crate) fn of(result: &Result<RecordMetadata, DeliveryError>) -> Self {
        match result {
            Ok(metadata) => Self::Acknowledged((metadata.partition(), metadata.offset())),
            Err(e) if e.may_have_been_written() => Self::MaybeWritten,
            Err(_) => Self::NotWritten,
        }
    }

    pub(crate) fn is_failure(self) -> bool {
        !matches!(self, Self::Acknowledged(_))
    }
}

/// Waits for every acknowledgement, and fails at the first that is an error.
pub(crate) fn places(pending: Vec<DeliveryFuture>) -> Vec<Place> {
    let place = |(n, future): (usize, DeliveryFuture)| match future.get() {
        Ok(metadata) => (metadata.partition(), metadata.offset()),
        Err(e) => panic!("record {n} was not delivered: {e}"),
    };
    pending.into_iter().enumerate().map(place).collect()
}

/// Calls `send` with numbers from 0, `rate` a second, as long as `go_on` says so for the next one.
pub(crate) fn at_a_steady_rate(
    rate: usize,
    mut go_on: impl FnMut(usize) -> bool,
    mut send: impl FnMut(usize),
) {
    let began = Instant::now();
    let mut n = 0;
    while go_on(n) {
        let due = began + Duration::from_secs(1).mul_f64(n as f64 / rate as f64);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        send(n);
        n += 1;
    }
}

/// Tells another thread to end, also when this one panics: a scope waits for both.
pub(crate) struct StopOnDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Demands of a topic whose records have their number as value, sent in that order by one thread: each lies where its
/// acknowledgement said, none twice, none that was not sent, and each partition in the order of sending.
pub(crate) fn assert_all_arrived_once(kafka: &Kafka, topic: &str, places: &[Place]) {
    let outcomes: Vec<_> = places.iter().copied().map(Outcome::Acknowledged).collect();
    assert_the_log_agrees(kafka, topic, &[outcomes]).assert_nothing_is_lost();
}

/// What lies in a topic, of what was sent there.
pub(crate) struct Arrived<'a> {
    sent: &'a [Vec<Outcome>],
    seen: Vec<Vec<bool>>,
}

/// Demands of a topic that what lies there agrees with what the handles said: nothing that was not sent or was called
/// not written, nothing twice, what was acknowledged at its place, and each partition in each thread's order of sending.
///
/// Record `n` of thread `t` has the value `t-n`, or `n` alone if only the first thread sends.
pub(crate) fn assert_the_log_agrees<'a>(kafka: &Kafka, topic: &str, sent: &'a [Vec<Outcome>]) -> Arrived<'a> {
    let mut seen: Vec<_> = sent.iter().map(|outcomes| vec![false; outcomes.len()]).collect();
    let mut last = BTreeMap::new();
    kafka.read_all(topic, |record| {
        let sender = record.value.and_then(|value| sender_of(std::str::from_utf8(value).ok()?));
        let known = sender.filter(|&(thread, n)| sent.get(thread).is_some_and(|outcomes| n < outcomes.len()));
        let (thread, n) = known.unwrap_or_else(|| panic!("nobody sent {record:?}"));
        assert!(!seen[thread][n], "record {n} was written twice: the second time at {record:?}");
        seen[thread][n] = true;
        match sent[thread][n] {
            Outcome::Acknowledged(place) => assert_eq!(
                (record.partition, record.offset),
                place,
                "where record {n} of thread {thread} is, and where it is said to be"
            ),
            Outcome::MaybeWritten => {}
            Outcome::NotWritten => panic!("record {n} of thread {thread} was called not written: {record:?}"),
        }
        if let Some(before) = last.insert((record.partition, thread), n) {
            let partition = record.partition;
            assert!(
                before < n,
                "in partition {partition} record {n} of thread {thread} comes after {before}"
            );
        }
    });
    Arrived { sent, seen }
}

impl Arrived<'_> {
    /// Everything that was acknowledged is there.
    pub(crate) fn assert_nothing_is_lost(&self) {
        let lost = self.lost();
        let first = &lost[..lost.len().min(10)];
        assert!(
            lost.is_empty(),
            "{} acknowledged records are lost, the first ones (thread, number, place) {first:?}",
            lost.len()
        );
    }

    /// What was acknowledged and is not there: thread, number and place.
    pub(crate) fn lost(&self) -> Vec<(usize, usize, Place)> {
        let mut lost = Vec::new();
        for (thread, outcomes) in self.sent.iter().enumerate() {
            for (n, outcome) in outcomes.iter().enumerate() {
                match *outcome {
                    Outcome::Acknowledged(place) if !self.is_there(thread, n) => {
                        lost.push((thread, n, place))
                    }
                    _ => {}
                }
            }
        }
        lost
    }

    pub(crate) fn is_there(&self, thread: usize, n: usize) -> bool {
        self.seen[thread][n]
    }

    /// How many of the records with an outcome that `which` selects are there.
    pub(crate) fn count(&self, which: impl Fn(Outcome) -> bool) -> usize {
        let outcomes = self.sent.iter().flatten().zip(self.seen.iter().flatten());
        outcomes.filter(|&(&outcome, &seen)| seen && which(outcome)).count()
    }
}

fn sender_of(value: &str) -> Option<(usize, usize)> {
    let (thread, n) = value.split_once('-').unwrap_or(("0", value));
    thread.parse().ok().zip(n.parse().ok())
}
