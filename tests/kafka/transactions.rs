//! Transactions on real brokers, read back by Java's consumer with both of its isolation levels: whole ones alone are seen,
//! whatever happens to brokers and producers.

use std::{env, io::Write, process::ExitCode, thread, time::Duration};

use kafka_producer::{ConsumerGroupMetadata, Producer, ProducerRecord, TransactionError};

use crate::{
    harness::{Case, Cluster, Kafka, Process, Spec, bound_command, owned, poll_until},
    sending::producer,
};

/// The tests of one cluster of three, by the protocol that it has agreed on.
pub(crate) fn cases(three: Spec) -> Vec<Case> {
    let name = |test: &str| format!("transactions::{}::{test}", three.version);
    vec![
        owned(
            three,
            name("a_leader_and_the_coordinator_are_killed"),
            a_leader_and_the_coordinator_are_killed,
        ),
        owned(three, name("the_later_of_two_producers_goes_on"), the_later_of_two_producers_goes_on),
        owned(three, name("a_killed_process_holds_nobody_up"), a_killed_process_holds_nobody_up),
        owned(three, name("offsets_count_with_their_transaction"), offsets_count_with_their_transaction),
    ]
}

/// The same again, on a cluster whose feature `transaction.version` is lowered, and in the end raised beneath a producer.
pub(crate) fn cases_of_a_lowered_cluster(three: Spec) -> Vec<Case> {
    vec![owned(three, "transactions::lowered::all_of_it", on_a_lowered_cluster)]
}

fn on_a_lowered_cluster(cluster: &mut Cluster) {
    cluster.kafka().set_transaction_version(1);
    the_later_of_two_producers_goes_on(cluster);
    offsets_count_with_their_transaction(cluster);
    a_killed_process_holds_nobody_up(cluster);
    a_leader_and_the_coordinator_are_killed(cluster);
    the_protocol_changes_beneath_a_producer(cluster);
}

/// 200 transactions of 100 records, every third of them aborted, while brokers are killed.
fn a_leader_and_the_coordinator_are_killed(cluster: &mut Cluster) {
    let topic = cluster.kafka().create_topic("transactions", 3, &[]);
    let id = cluster.kafka().unused_topic_name("killed");
    let producer = ready(cluster.kafka(), &id);
    let mut killed = None;
    let mut tries = 0;
    for number in 0..TRANSACTIONS {
        match number {
            60 => killed = Some(kill(cluster, |kafka| kafka.coordinator_of_transactions(&id))),
            75 | 145 => killed.take().into_iter().for_each(|node| cluster.restart(node)),
            // Two of three must be in sync for a record to be taken.
            129 => cluster.wait_until_ready().unwrap(),
            130 => killed = Some(kill(cluster, |kafka| kafka.leaders(&topic)[&0])),
            _ => {}
        }
        let aborts = is_aborted(number);
        while !transact(&producer, &topic, number, aborts) {
            tries += 1;
            assert!(tries < 100, "transactions fail again and again");
        }
    }
    cluster.wait_until_ready().unwrap();
    producer.close().unwrap();

    let kafka = cluster.kafka();
    let expected: Vec<String> =
        (0..TRANSACTIONS).filter(|number| !is_aborted(*number)).flat_map(values).collect();
    assert_eq!(sorted(kafka.consume_isolated(&topic, "read_committed")), sorted(expected));
    let everything = kafka.consume_isolated(&topic, "read_uncommitted");
    for aborted in (0..TRANSACTIONS).filter(|number| is_aborted(*number)).flat_map(values) {
        assert!(everything.contains(&aborted), "{aborted} was acknowledged, and nobody sees it");
    }
    assert_eq!(kafka.open_transactions(&id), [""; 0]);
    println!("transactions: {tries} of them had to be made again");
}

/// One try; `false`: it was aborted against its will.
fn transact(producer: &Producer, topic: &str, number: usize, abort: bool) -> bool {
    producer.begin_transaction().unwrap_or_else(|e| panic!("transaction {number}: {e}"));
    let mut refused = None;
    for (n, value) in values(number).into_iter().enumerate() {
        let record = ProducerRecord::new(topic, &value).partition(n as i32 % 3);
        refused = refused.or(producer.send(record).err());
    }
    if abort {
        // So that they are there to be taken back.
        producer.flush().expect("no callback, no fork");
    }
    let end = || if abort { producer.abort_transaction() } else { producer.commit_transaction() };
    let mut ended = end();
    while ended.as_ref().is_err_and(TransactionError::is_retriable) {
        ended = end();
    }
    match ended {
        Ok(()) => true,
        Err(error) if error.is_abortable() => {
            producer.abort_transaction().unwrap_or_else(|e| panic!("transaction {number}: {e}"));
            false
        }
        Err(error) => panic!("transaction {number}: {error}; {refused:?}"),
    }
}

pub(crate) fn the_later_of_two_producers_goes_on(cluster: &mut Cluster) {
    let kafka = cluster.kafka();
    let topic = kafka.create_topic("zombies", 1, &[]);
    let id = kafka.unused_topic_name("zombie");
    let zombie = ready(kafka, &id);
    zombie.begin_transaction().unwrap();
    zombie.send(ProducerRecord::new(&topic, "zombie")).unwrap().get().unwrap();
    let successor = ready(kafka, &id);
    successor.begin_transaction().unwrap();
    successor.send(ProducerRecord::new(&topic, "successor")).unwrap();
    let late = zombie.send(ProducerRecord::new(&topic, "late"));
    let error = zombie.commit_transaction().unwrap_err();
    let fenced = if error.is_abortable() { zombie.abort_transaction().unwrap_err() } else { error };
    assert!(fenced.is_fenced() && fenced.is_fatal(), "{fenced}");
    assert!(late.is_ok_and(|late| late.get().is_err()), "a fenced producer's record is acknowledged");
    successor.commit_transaction().unwrap();
    assert_eq!(kafka.consume_isolated(&topic, "read_committed"), ["successor"]);
}

fn a_killed_process_holds_nobody_up(cluster: &mut Cluster) {
    let kafka = cluster.kafka();
    let topic = kafka.create_topic("orphans", 1, &[]);
    let id = kafka.unused_topic_name("orphan");
    let mut command = bound_command(&env::current_exe().expect("a program has a file").display().to_string());
    command.env(CHILD, format!("{} {topic} {id}", kafka.bootstrap()));
    let mut child = Process::start(command).expect("this program can be started again");
    let began = poll_until(LIMIT, || (kafka.end_offsets(&topic)[&0] >= ORPHANS as i64).then_some(()));
    assert!(began.is_some(), "the program did not send {ORPHANS} records");
    child.kill();
    let successor = ready(kafka, &id);
    successor.begin_transaction().unwrap();
    successor.send(ProducerRecord::new(&topic, "successor")).unwrap();
    successor.commit_transaction().unwrap();
    assert_eq!(kafka.consume_isolated(&topic, "read_committed"), ["successor"]);
    assert_eq!(kafka.consume_isolated(&topic, "read_uncommitted").len(), ORPHANS + 1);
}

/// If this process is the one to be killed, begins a transaction and waits for that; `None`: it is the one that tests.
pub(crate) fn as_the_killed_program() -> Option<ExitCode> {
    let order = env::var(CHILD).ok()?;
    let [bootstrap, topic, id] = order.split(' ').collect::<Vec<_>>()[..] else { panic!("{CHILD}={order}") };
    let config = kafka_producer::ProducerConfig::new(bootstrap).transactional_id(id);
    let producer = Producer::new(config).expect("the settings are good");
    producer.init_transactions().expect("the brokers answer");
    producer.begin_transaction().expect("none is open");
    for n in 0..ORPHANS {
        producer.send(ProducerRecord::new(topic, &n.to_string())).expect("the record is good");
    }
    producer.flush().expect("no callback, no fork");
    loop {
        thread::sleep(LIMIT);
    }
}

pub(crate) fn offsets_count_with_their_transaction(cluster: &mut Cluster) {
    let kafka = cluster.kafka();
    let topic = kafka.create_topic("offsets", 2, &[]);
    let group = kafka.unused_topic_name("group");
    let producer = ready(kafka, &kafka.unused_topic_name("offsets"));
    let metadata = ConsumerGroupMetadata::new(&group);
    let here = |partition| (topic.as_str(), partition);

    let transaction = producer.transaction().unwrap();
    for partition in 0..2 {
        for _ in 0..5 {
            transaction.send(ProducerRecord::new(&topic, "v").partition(partition)).unwrap();
        }
    }
    transaction.send_offsets([(here(0), 3), (here(1), 4)], &metadata).unwrap();
    transaction.commit().unwrap();
    let transaction = producer.transaction().unwrap();
    transaction.send_offsets([(here(0), 5)], &metadata).unwrap();
    transaction.abort().unwrap();
    assert_eq!(kafka.group_offsets(&group, &topic), [(0, 3), (1, 4)].into());

    // Of a group that has members, nobody else may commit for one of them.
    let stranger = metadata.member("nobody", 7);
    let transaction = producer.transaction().unwrap();
    let error = transaction.send_offsets([(here(0), 6)], &stranger).unwrap_err();
    assert!(error.is_abortable(), "{error}");
    drop(transaction);
    assert_eq!(kafka.group_offsets(&group, &topic), [(0, 3), (1, 4)].into());
}

/// The cluster is upgraded while a producer makes transactions, which goes on with the next one.
fn the_protocol_changes_beneath_a_producer(cluster: &mut Cluster) {
    let topic = cluster.kafka().create_topic("upgraded", 3, &[]);
    let id = cluster.kafka().unused_topic_name("upgrade");
    // A connection that is closed tells at its next beginning what the cluster has agreed on.
    let idle = [("transactional.id", id.as_str()), ("connections.max.idle.ms", "200")];
    let producer = producer(cluster.kafka(), &idle);
    producer.init_transactions().unwrap();
    for number in 0..6 {
        if number == 2 {
            cluster.kafka().set_transaction_version(2);
        }
        thread::sleep(Duration::from_millis(500));
        assert!(transact(&producer, &topic, number, is_aborted(number)), "transaction {number}");
    }
    let expected: Vec<String> = (0..6).filter(|number| !is_aborted(*number)).flat_map(values).collect();
    let seen = cluster.kafka().consume_isolated(&topic, "read_committed");
    assert_eq!(sorted(seen), sorted(expected));
}

fn ready(kafka: &Kafka, id: &str) -> Producer {
    let producer = producer(kafka, &[("transactional.id", id)]);
    producer.init_transactions().unwrap_or_else(|e| panic!("{id}: {e}"));
    producer
}

fn kill(cluster: &mut Cluster, which: impl FnOnce(&Kafka) -> i32) -> i32 {
    let node = which(cluster.kafka());
    println!("transactions: broker {node} is killed");
    let _ = std::io::stdout().flush();
    cluster.kill(node);
    node
}

fn is_aborted(number: usize) -> bool {
    number % 3 == 2
}

fn values(number: usize) -> Vec<String> {
    (0..RECORDS).map(|n| format!("{number} {n}")).collect()
}

fn sorted(mut values: Vec<String>) -> Vec<String> {
    values.sort_unstable();
    values
}

const CHILD: &str = "KAFKA_PRODUCER_TEST_TRANSACTION";
const TRANSACTIONS: usize = 200;
const RECORDS: usize = 100;
const ORPHANS: usize = 100;
const LIMIT: Duration = Duration::from_secs(60);
