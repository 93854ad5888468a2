//! Which partition a record goes to, and who is asked.

use std::{
    collections::BTreeSet,
    error::Error,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use kafka_producer::{
    BoxError, ErrorCode, Partitioner, ProducerRecord, RoundRobinPartitioner, SendErrorKind, TopicPartitions,
    testing::{Api, Cluster, Fault},
};

use crate::harness::{World, arrived, build};

#[test]
fn one_that_the_record_names_is_used_whatever_the_key() {
    let world = World::with_partitions(4);
    let producer = world.producer(&[]);
    for partition in [3, 0, 2, 1] {
        let record = ProducerRecord::new("t", "v").key("the same").partition(partition);
        assert_eq!(producer.send(record).unwrap().get().unwrap().partition(), partition);
    }
}

#[test]
fn keys_go_where_java_puts_them() {
    let world = World::with_partitions(10);
    let producer = world.producer(&[]);
    for (key, partition) in [("21", 0), ("foobar", 6), ("abc", 7), ("", 1), ("k", 2)] {
        let metadata = producer.send(ProducerRecord::new("t", "v").key(key)).unwrap().get().unwrap();
        assert_eq!(metadata.partition(), partition, "{key:?}");
    }
}

/// The hash is over all partitions: one that nobody leads for a while keeps its keys.
#[test]
fn a_key_waits_for_its_partition() {
    let world = World::with_partitions(10);
    world.fault(Fault::Error(ErrorCode::LEADER_NOT_AVAILABLE).api(Api::Metadata).partition(6).times(3));
    let producer = world.producer(&[]);
    let led = producer.send(ProducerRecord::new("t", "v").key("21")).unwrap();
    let waiting = producer.send(ProducerRecord::new("t", "v").key("foobar")).unwrap();
    assert_eq!(led.get().unwrap().partition(), 0);
    assert_eq!(waiting.get().unwrap().partition(), 6);
}

#[test]
fn keys_can_be_ignored() {
    let world = World::with_partitions(3);
    let producer = world.producer(&[("partitioner.ignore.keys", "true"), ("batch.size", "0")]);
    let send = |_| producer.send(ProducerRecord::new("t", "v").key("the same")).unwrap();
    assert_eq!(partitions_of(&arrived(&(0..200).map(send).collect::<Vec<_>>())), [0, 1, 2]);
}

/// A partition at a time, until a batch is full; over many batches each has its turn.
#[test]
fn records_without_a_key_stay_for_a_batch_and_reach_all() {
    let world = World::with_partitions(3);
    let producer = world.producer(&[("batch.size", "1000"), ("linger.ms", "60000")]);
    let send = |_| producer.send(ProducerRecord::new("t", &[b'v'; 100])).unwrap();
    let handles: Vec<_> = (0..2000).map(send).collect();
    producer.flush().unwrap();
    assert_eq!(partitions_of(&arrived(&handles)), [0, 1, 2]);
    let batches = world.batches("t");
    let full = batches.iter().filter(|batch| batch.records >= 7).count();
    assert!(full >= batches.len() - 3, "all batches but the last of each partition are full: {batches:?}");
}

#[test]
fn a_partition_without_a_leader_gets_no_record_that_can_go_elsewhere() {
    let world = World::with_partitions(3);
    world
        .fault(Fault::Error(ErrorCode::LEADER_NOT_AVAILABLE).api(Api::Metadata).partition(1).times(u32::MAX));
    let producer = world.producer(&[("batch.size", "0")]);
    let send = |_| producer.send(ProducerRecord::new("t", "v")).unwrap();
    assert_eq!(partitions_of(&arrived(&(0..200).map(send).collect::<Vec<_>>())), [0, 2]);
}

/// KIP-1123, from the racks in the brokers' metadata to the leader that a record reaches.
#[test]
fn records_without_a_key_stay_in_the_clients_rack() {
    let builder =
        Cluster::builder().auto_create_topics(false).brokers(3).racks(["a", "b", "a"]).topic("t", 6);
    let world = World::start(builder);
    let led_from = |nodes: &[i32]| -> BTreeSet<i32> {
        (0..6).filter(|&p| nodes.contains(&world.leader("t", p).unwrap())).collect()
    };
    let reached = |rack: &str, keyed: bool| -> BTreeSet<i32> {
        let aware = [("partitioner.rack.aware", "true"), ("client.rack", rack), ("batch.size", "0")];
        let producer = world.producer(&aware);
        let send = |i: usize| {
            let (record, key) = (ProducerRecord::new("t", "v"), i.to_string());
            producer.send(if keyed { record.key(&key) } else { record }).unwrap()
        };
        let handles: Vec<_> = (0..300).map(send).collect();
        arrived(&handles).iter().map(|metadata| metadata.partition()).collect()
    };
    assert_eq!(reached("a", false), led_from(&[1, 3]));
    assert_eq!(reached("b", false), led_from(&[2]));
    assert_eq!(reached("A", false), led_from(&[1, 2, 3]), "a rack that leads nothing is as none");
    assert_eq!(reached("b", true), led_from(&[1, 2, 3]), "keys go where they always go");
}

#[test]
fn round_robin_takes_turns() {
    let world = World::with_partitions(3);
    let producer = build(world.config().partitioner(RoundRobinPartitioner::default()), &[]);
    let send = |_| producer.send(ProducerRecord::new("t", "v").key("the same")).unwrap();
    let placed: Vec<_> =
        arrived(&(0..6).map(send).collect::<Vec<_>>()).iter().map(|m| m.partition()).collect();
    assert_eq!(placed, [0, 1, 2, 0, 1, 2]);
}

/// Does what its answers say, one after the other, and writes down what it was asked.
struct Scripted {
    answers: Mutex<Vec<Answer>>,
    asked: Arc<Mutex<Vec<String>>>,
    closed: Arc<AtomicUsize>,
}

#[derive(Clone)]
enum Answer {
    Partition(i32),
    Error,
    Panic,
}

impl Partitioner for Scripted {
    fn partition(
        &self,
        partitions: TopicPartitions<'_>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<i32, BoxError> {
        let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let TopicPartitions { topic, count, available, .. } = partitions;
        let asked = format!("{topic} {count} {available:?} {:?} {:?}", text(key), text(value));
        self.asked.lock().unwrap().push(asked);
        let answer = self.answers.lock().unwrap().remove(0);
        match answer {
            Answer::Partition(partition) => Ok(partition),
            Answer::Error => Err("out of ideas".into()),
            Answer::Panic => panic!("this panic is part of a test"),
        }
    }

    fn close(&self) {
        self.closed.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_partitioner_is_asked_once_a_record_that_names_no_partition() {
    let world = World::with_partitions(3);
    world.fault(Fault::Error(ErrorCode::LEADER_NOT_AVAILABLE).api(Api::Metadata).partition(1).times(1));
    let (asked, closed) = (Arc::default(), Arc::default());
    let script = Scripted {
        answers: Mutex::new(vec![Answer::Partition(2); 2]),
        asked: Arc::clone(&asked),
        closed: Arc::clone(&closed),
    };
    let producer = build(world.config().partitioner(script), &[]);
    let record = ProducerRecord::new("t", "v");
    let named = producer.send(record.clone().partition(0)).unwrap();
    let chosen = producer.send(record.key("k")).unwrap();
    let empty = producer.send(ProducerRecord::tombstone("t")).unwrap();
    let places = arrived(&[named, chosen, empty]).iter().map(|m| m.partition()).collect::<Vec<_>>();
    assert_eq!(places, [0, 2, 2]);
    {
        let asked = asked.lock().unwrap();
        assert_eq!(asked.len(), 2, "{asked:?}");
        // What is known to be led can have changed between the two.
        assert!(
            asked[0].starts_with("t 3 [0, ") && asked[0].ends_with("2] Some(\"k\") Some(\"v\")"),
            "{asked:?}"
        );
        assert!(asked[1].ends_with("2] None None"), "{asked:?}");
    }
    producer.close().unwrap();
    drop(producer);
    assert_eq!(closed.load(Ordering::SeqCst), 1);
}

#[test]
fn a_choice_that_does_not_exist_is_refused_and_takes_nothing() {
    let world = World::with_partitions(3);
    let bad = [
        (Answer::Partition(-1), "-1"),
        (Answer::Partition(i32::MIN), "-2147483648"),
        (Answer::Partition(3), "partition 3"),
        (Answer::Partition(i32::MAX), "2147483647"),
        (Answer::Error, "out of ideas"),
        (Answer::Panic, "this panic is part of a test"),
    ];
    let mut answers: Vec<_> = bad.iter().map(|(answer, _)| answer.clone()).collect();
    answers.push(Answer::Partition(1));
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let script = Scripted { answers: Mutex::new(answers), asked: Arc::clone(&asked), closed: Arc::default() };
    // One record fills the memory, so that a byte that is not given back is missed.
    let producer = build(world.config().partitioner(script), &[("buffer.memory", "500")]);
    let value = [b'v'; 400];
    for (answer, says) in bad {
        let error = producer.send(ProducerRecord::new("t", &value)).unwrap_err();
        let chain = format!("{error}: {}", error.source().map(ToString::to_string).unwrap_or_default());
        assert!(chain.contains(says) && chain.contains("\"t\""), "{chain}");
        match answer {
            Answer::Partition(chosen) => {
                assert!(chain.contains("0 to 2"), "{chain}");
                assert!(
                    matches!(error.kind(), SendErrorKind::InvalidPartition { partition, .. } if *partition == chosen)
                );
            }
            _ => assert!(matches!(error.kind(), SendErrorKind::Partitioner { .. })),
        }
        assert!(!error.is_retriable() && !error.is_fatal() && !error.may_have_been_written());
    }
    assert_eq!(producer.send(ProducerRecord::new("t", &value)).unwrap().get().unwrap().partition(), 1);
    assert_eq!(asked.lock().unwrap().len(), 7, "once for each record");
    assert_eq!(world.record_count("t"), 1);
}

/// The answer is kept while the record waits for memory.
#[test]
fn a_partitioner_is_not_asked_again_for_a_record_that_waits() {
    let world = World::with_partitions(3);
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let script = Scripted {
        answers: Mutex::new(vec![Answer::Partition(2); 20]),
        asked: Arc::clone(&asked),
        closed: Arc::default(),
    };
    let producer =
        build(world.config().partitioner(script), &[("buffer.memory", "1000"), ("linger.ms", "0")]);
    let send = |_| producer.send(ProducerRecord::new("t", &[b'v'; 800])).unwrap();
    arrived(&(0..20).map(send).collect::<Vec<_>>());
    assert_eq!(asked.lock().unwrap().len(), 20);
}

fn partitions_of(metadata: &[kafka_producer::RecordMetadata]) -> Vec<i32> {
    metadata.iter().map(|m| m.partition()).collect::<BTreeSet<_>>().into_iter().collect()
}
