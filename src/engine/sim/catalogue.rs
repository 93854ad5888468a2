//! Nights with a script, as in the [`museum`](super::museum), for faults that no producer is known to have fallen for. Which
//! fault of the catalogue each of them holds is said in `docs/faults.md`.

use std::time::Duration;

use kafka_protocol::{
    messages::{
        BrokerId, MetadataResponse,
        metadata_response::{MetadataResponseBroker, MetadataResponseTopic},
        produce_response::{BatchIndexAndErrorMessage, LeaderIdAndEpoch},
    },
    protocol::StrBytes,
};

use super::{
    museum::begin,
    world::{AUDIT, FRESH, Letter, NODES, ORDERS, Rewrite, World},
};
use crate::{
    DeliveryCause, ErrorCode, ProducerEvent,
    handoff::Partition,
    testing::{Api, Fault},
};

impl World {
    /// Changes so many answers to metadata requests.
    fn rewrite_metadata(&mut self, times: usize, change: fn(&mut MetadataResponse)) {
        self.rewrites.extend((0..times).map(|_| Rewrite::Metadata(Box::new(change))));
    }

    fn offsets(&self, numbers: &[usize]) -> Vec<i64> {
        numbers.iter().map(|number| self.offset(*number)).collect()
    }
}

// ---- brokers

/// Five batches are written, and the connection with their answers is lost. They come again, and no more than these: brokers
/// remember five.
#[test]
fn five_batches_whose_answers_are_lost_are_recognised() {
    let mut world = begin(&[("linger.ms", "0"), ("batch.size", "1")]);
    world.fault(Fault::NeverAnswer.topic(ORDERS).partition(0).times(5));
    let numbers: Vec<usize> = (0..8).map(|_| world.send_one(ORDERS, 0)).collect();
    world.pass(500);
    assert_eq!(world.batches(ORDERS, 0).len(), 1 + 5, "a sixth went out");
    world.pass(3_000);
    assert_eq!(world.offsets(&numbers), [1, 2, 3, 4, 5, 6, 7, 8]);
    world.settle();
}

/// A broker comes back under another address. Who waits for its answer is served there, and the old address is forgotten.
#[test]
fn a_broker_with_another_address_is_found_there() {
    let mut world = begin(&[("linger.ms", "0"), ("metadata.max.age.ms", "100")]);
    let node = world.leader(ORDERS, 0);
    world.fault(Fault::NeverAnswer.topic(ORDERS).partition(0));
    let number = world.send_one(ORDERS, 0);
    world.pass(50);
    world.cluster.set_address(node, &format!("moved-{node}"), 9092);
    world.pass(500);
    assert_eq!(world.offset(number), 1, "long before request.timeout.ms");
    let host = world.engine().brokers.get(node).map(|broker| broker.host.to_string());
    assert_eq!(host, Some(format!("moved-{node}")));
    world.settle();
}

/// Two brokers stand in one another's place for a while. A record goes to the node that leads, wherever that is now.
#[test]
fn brokers_that_change_places_get_each_their_own() {
    let mut world = begin(&[("linger.ms", "0"), ("metadata.max.age.ms", "100")]);
    world.rewrite_metadata(3, |answer| {
        for broker in &mut answer.brokers {
            let node = if broker.node_id.0 == 3 { 3 } else { 3 - broker.node_id.0 };
            broker.host = StrBytes::from_string(format!("swapped-{node}"));
        }
    });
    let mut numbers = Vec::new();
    for _ in 0..20 {
        numbers.extend((0..3).map(|partition| world.send_one(ORDERS, partition)));
        world.pass(50);
    }
    world.pass(3_000);
    assert!(numbers.iter().all(|number| world.offset(*number) > 0));
    world.settle();
}

/// Nobody gives metadata for longer than `metadata.recovery.rebootstrap.trigger.ms`: the addresses that the user gave count
/// again, under which there may be other brokers by now.
#[test]
fn without_metadata_for_long_the_first_addresses_count_again() {
    let mut world = begin(&[("metadata.max.age.ms", "100")]);
    let counts = |world: &mut World| {
        world.engine().brokers.nodes.iter().filter(|(node, broker)| **node < 0 && broker.listed).count()
    };
    assert_eq!(counts(&mut world), 0);
    world.fault(Fault::NeverAnswer.api(Api::Metadata).times(1_000));
    world.pass(6_000);
    assert_eq!(counts(&mut world), 3);
    world.heal();
    let number = world.send_one(ORDERS, 0);
    world.pass(2_000);
    assert_eq!(world.offset(number), 1);
    world.settle();
}

/// A leader that moves ten times a second: nothing changes its place, and metadata is not asked for without end.
#[test]
fn a_leader_that_never_rests_causes_no_storm() {
    let mut world = begin(&[("linger.ms", "0")]);
    let before = world.cluster.request_count(Api::Metadata);
    let mut numbers = Vec::new();
    for round in 0..50 {
        world.cluster.move_leader(ORDERS, 0, 1 + round % NODES);
        numbers.push(world.send_one(ORDERS, 0));
        world.pass(100);
    }
    world.pass(2_000);
    assert_eq!(world.offsets(&numbers), (1..=50).collect::<Vec<_>>());
    let asked = world.cluster.request_count(Api::Metadata) - before;
    assert!(asked <= 10 * 7, "{asked} in seven seconds");
    world.settle();
}

/// A process of the broker's cluster answers with another cluster's name: that is said in the log, and the work goes on.
#[test]
fn another_name_of_the_cluster_stops_nothing() {
    let mut world = begin(&[("metadata.max.age.ms", "100")]);
    world.rewrite_metadata(3, |answer| answer.cluster_id = Some(StrBytes::from_static_str("another")));
    world.pass(200);
    let number = world.send_one(ORDERS, 0);
    world.pass(500);
    assert_eq!(world.offset(number), 1);
    let id = world.names(ORDERS, 0)[0].0;
    assert_eq!(world.names(ORDERS, 0), [(id, 0, 0), (id, 0, 1)], "it was not left, so the id is still ours");
    world.settle();
}

// ---- leaders and metadata

/// Five batches are at the old leader, which takes the first and refuses the others. They go to the new one in their order.
#[test]
fn batches_behind_one_that_was_taken_follow_the_leader_in_order() {
    let mut world = begin(&[("linger.ms", "0"), ("batch.size", "1")]);
    let old = world.leader(ORDERS, 0);
    let taken = world.batches(ORDERS, 0).len() + 1;
    let mut numbers = vec![world.send_one(ORDERS, 0)];
    let end = world.now + Duration::from_secs(5);
    assert!(world.run_until(end, |world| world.batches(ORDERS, 0).len() == taken));
    world.cluster.move_leader(ORDERS, 0, 1 + old % NODES);
    numbers.extend((0..4).map(|_| world.send_one(ORDERS, 0)));
    world.pass(2_000);
    assert_eq!(world.offsets(&numbers), [1, 2, 3, 4, 5]);
    let leaders: Vec<i32> = world.batches(ORDERS, 0).iter().map(|batch| batch.leader).collect();
    let new = 1 + old % NODES;
    assert_eq!(leaders, [old, old, new, new, new, new]);
    world.settle();
}

/// A broker names the leader when it refuses. A name with an older epoch, of nobody, or of somebody unknown is not believed.
#[test]
fn a_hint_that_cannot_be_is_not_followed() {
    for (leader, epoch) in [(2, -1), (2, 0), (99, 50), (-1, -1), (-1, 50), (i32::MIN, i32::MAX)] {
        let mut world = begin(&[("linger.ms", "0")]);
        world.rewrites.push(Rewrite::Produce(Box::new(move |answer| {
            for partition in answer.responses.iter_mut().flat_map(|topic| &mut topic.partition_responses) {
                partition.current_leader =
                    LeaderIdAndEpoch::default().with_leader_id(BrokerId(leader)).with_leader_epoch(epoch);
            }
        })));
        world.fault(Fault::Error(ErrorCode::NOT_LEADER_OR_FOLLOWER).topic(ORDERS).partition(0));
        let before = world.cluster.request_count(Api::Metadata);
        let number = world.send_one(ORDERS, 0);
        world.pass(1_000);
        assert_eq!(world.offset(number), 1, "{leader} in epoch {epoch}");
        assert!(world.cluster.request_count(Api::Metadata) > before, "metadata has to tell");
        world.settle();
    }
}

/// Brokers that name each other as the leader, in ever newer epochs: each attempt waits for its backoff, and the record's time
/// ends it.
#[test]
fn hints_that_lead_in_a_circle_end_with_the_records_time() {
    let mut world = begin(&[("linger.ms", "0")]);
    for epoch in 0..1_000 {
        world.rewrites.push(Rewrite::Produce(Box::new(move |answer| {
            for partition in answer.responses.iter_mut().flat_map(|topic| &mut topic.partition_responses) {
                let leader = BrokerId(1 + epoch % NODES);
                partition.current_leader =
                    LeaderIdAndEpoch::default().with_leader_id(leader).with_leader_epoch(100 + epoch);
            }
        })));
    }
    world.fault(Fault::Error(ErrorCode::NOT_LEADER_OR_FOLLOWER).topic(ORDERS).partition(0).times(1_000));
    let before = world.cluster.request_count(Api::Produce);
    let number = world.send_one(ORDERS, 0);
    world.pass(6_000);
    assert!(matches!(world.error(number).cause(), DeliveryCause::DeliveryTimeout { .. }));
    assert!(!world.error(number).may_have_been_written());
    let attempts = world.cluster.request_count(Api::Produce) - before;
    // 50, 100, 200, 400 and then 500 ms, each a fifth shorter at the least; and after each one that did not wait.
    assert!((3..=32).contains(&attempts), "{attempts} attempts in five seconds");
}

/// Metadata of a broker that is behind names the leader that was. It does not undo what a newer answer said.
#[test]
fn an_older_answer_moves_no_leader_back() {
    let mut world = begin(&[("linger.ms", "0"), ("metadata.max.age.ms", "100")]);
    let new = 1 + world.leader(ORDERS, 0) % NODES;
    world.cluster.freeze_metadata(true);
    world.cluster.move_leader(ORDERS, 0, new);
    let first = world.send_one(ORDERS, 0);
    world.pass(1_000);
    assert_eq!(world.offset(first), 1, "the old leader's refusal named the new one");
    let (asked, sent) =
        (world.cluster.request_count(Api::Metadata), world.cluster.request_count(Api::Produce));
    world.pass(1_000);
    assert!(world.cluster.request_count(Api::Metadata) > asked + 2, "and every answer names the old one");
    let second = world.send_one(ORDERS, 0);
    world.pass(100);
    assert_eq!(world.offset(second), 2);
    assert_eq!(world.cluster.request_count(Api::Produce), sent + 1, "nobody else was tried");
    world.settle();
}

/// Answers that leave partitions out, as if the topic had become smaller: their records wait.
#[test]
fn partitions_that_an_answer_leaves_out_keep_their_records() {
    let mut world = begin(&[("linger.ms", "0"), ("metadata.max.age.ms", "100")]);
    world.fault(Fault::Close.topic(ORDERS).partition(2));
    world.rewrite_metadata(6, |answer| {
        answer.topics.iter_mut().for_each(|topic| topic.partitions.truncate(1))
    });
    let held = world.send_one(ORDERS, 2);
    world.pass(300);
    let other = world.send_one(ORDERS, 0);
    world.pass(100);
    assert!(!world.has_ended_for(held));
    assert_eq!(world.offset(other), 1);
    world.pass(3_000);
    assert_eq!(world.offset(held), 1);
    assert!(world.batches(ORDERS, 2).iter().all(|batch| batch.producer_epoch == 0));
    world.settle();
}

/// A topic is deleted and created again with fewer partitions. What was meant for one that is not there any more fails when its
/// time is over, and says that it is not written; what can be sent is sent.
#[test]
fn a_topic_created_again_may_be_smaller() {
    let mut world = begin(&[("linger.ms", "0"), ("metadata.max.age.ms", "100")]);
    let node = world.leader(ORDERS, 2);
    world.kill(node, false, Duration::from_millis(300));
    world.pass(50);
    let lost = world.send_one(ORDERS, 2);
    world.recreate(ORDERS, 1);
    world.pass(1_000);
    let numbers: Vec<usize> = (0..3).map(|_| world.send_one(ORDERS, 0)).collect();
    world.pass(5_000);
    assert_eq!(world.offsets(&numbers), [0, 1, 2]);
    assert!(matches!(world.error(lost).cause(), DeliveryCause::DeliveryTimeout { .. }));
    assert!(!world.error(lost).may_have_been_written());
    world.settle();
}

/// A topic is created again with fewer partitions, and for a while nobody leads any of them: a record that may go anywhere does
/// not go to one that is not there any more.
#[test]
fn records_that_may_go_anywhere_go_where_there_is_something() {
    let mut world = begin(&[("linger.ms", "0"), ("batch.size", "1"), ("metadata.max.age.ms", "100")]);
    let anywhere = Letter { to: Partition::Open, ..Letter::to(ORDERS, 0) };
    world.recreate(ORDERS, 1);
    world.rewrite_metadata(4, |answer| {
        let partitions = answer.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
        partitions.for_each(|partition| partition.leader_id = BrokerId(-1));
    });
    world.pass(400);
    let numbers: Vec<usize> =
        (0..20).map(|_| world.send(anywhere.clone()).expect("the topic is known")).collect();
    world.pass(3_000);
    assert_eq!(world.offsets(&numbers), (0..20).collect::<Vec<_>>());
    world.settle();
}

/// Two nodes at one address, nodes that no cluster has, and addresses that lead nowhere: the others work.
#[test]
fn brokers_that_cannot_be_are_left_out() {
    let mut world = begin(&[("metadata.max.age.ms", "100")]);
    world.rewrite_metadata(5, |answer| {
        let long = "x".repeat(300);
        for (node, host, port) in [
            (-5, "node-1", 9092),
            (i32::MIN, "node-1", 9092),
            (7, "", 9092),
            (8, "node-1", 0),
            (9, "node-1", 70_000),
            (10, &*long, 9092),
            (11, "a\0b", 9092),
        ] {
            let broker = MetadataResponseBroker::default().with_node_id(BrokerId(node)).with_port(port);
            answer.brokers.push(broker.with_host(StrBytes::from_string(host.to_owned())));
        }
        let twin = answer.brokers[0].clone().with_node_id(BrokerId(12));
        answer.brokers.push(twin);
        answer.throttle_time_ms = -5;
    });
    world.pass(300);
    let nodes = world.engine().brokers.nodes.keys().copied().filter(|node| *node >= 0);
    assert_eq!(nodes.collect::<Vec<_>>(), [1, 2, 3, 12]);
    for _ in 0..5 {
        let numbers = [world.send_one(ORDERS, 0), world.send_one(ORDERS, 1), world.send_one(AUDIT, 0)];
        world.pass(200);
        assert!(numbers.iter().all(|number| world.offset(*number) > 0));
    }
    world.settle();
}

/// An answer with a thousand topics that nobody asked for: only those in use are kept.
#[test]
fn topics_that_nobody_asked_for_are_not_kept() {
    let mut world = begin(&[("metadata.max.age.ms", "100")]);
    let known = world.engine().metadata.snapshot().topics.len();
    world.rewrite_metadata(3, |answer| {
        let partitions = answer.topics[0].partitions.clone();
        answer.topics.extend((0..1_000).map(|i| {
            let name = StrBytes::from_string(format!("other-{i}"));
            MetadataResponseTopic::default().with_name(Some(name.into())).with_partitions(partitions.clone())
        }));
    });
    world.pass(300);
    assert_eq!(world.engine().metadata.snapshot().topics.len(), known);
    let number = world.send_one(ORDERS, 0);
    world.pass(200);
    assert_eq!(world.offset(number), 1);
    world.settle();
}

/// Brokers that know no ids of topics, or forget to say them: batches go by the name.
#[test]
fn without_an_id_a_topic_goes_by_its_name() {
    let mut world = begin(&[("metadata.max.age.ms", "100")]);
    world.rewrite_metadata(50, |answer| {
        answer.topics.iter_mut().for_each(|topic| topic.topic_id = Default::default());
    });
    world.pass(300);
    let number = world.send_one(ORDERS, 0);
    world.pass(200);
    assert_eq!(world.offset(number), 1);
    world.settle();
}

/// The broker that was asked for metadata says nothing. Another one is asked long before `request.timeout.ms`.
#[test]
fn a_broker_that_keeps_metadata_waiting_is_passed_over() {
    let mut world = begin(&[("request.timeout.ms", "30000"), ("delivery.timeout.ms", "60000")]);
    world.fault(Fault::NeverAnswer.api(Api::Metadata).times(2));
    assert_eq!(world.send(Letter::to(FRESH, 0)), None, "it is not known yet");
    let asked = world.cluster.request_count(Api::Metadata);
    world.pass(10_000);
    let number = world.send_one(FRESH, 0);
    assert!((3..=5).contains(&(world.cluster.request_count(Api::Metadata) - asked)), "not again and again");
    world.pass(1_000);
    assert_eq!(world.offset(number), 0);
    world.settle();
}

/// All of them say nothing: each is asked once, and not again before it was given up.
#[test]
fn brokers_that_all_keep_metadata_waiting_are_not_pressed() {
    let mut world = begin(&[
        ("request.timeout.ms", "30000"),
        ("delivery.timeout.ms", "60000"),
        ("metadata.recovery.rebootstrap.trigger.ms", "300000"),
    ]);
    world.fault(Fault::NeverAnswer.api(Api::Metadata).times(1_000));
    assert_eq!(world.send(Letter::to(FRESH, 0)), None, "it is not known yet");
    let asked = world.cluster.request_count(Api::Metadata);
    world.pass(28_000);
    assert_eq!(world.cluster.request_count(Api::Metadata) - asked, 3);
    world.heal();
    world.settle();
}

// ---- sequences and producer ids

/// The first of five batches in flight is refused for the moment, and so are those behind it, for coming too early. All are
/// sent again under their numbers.
#[test]
fn a_refusal_for_the_moment_renumbers_nothing() {
    let mut world = begin(&[("linger.ms", "0"), ("batch.size", "1")]);
    world.fault(Fault::Error(ErrorCode::NOT_ENOUGH_REPLICAS).topic(ORDERS).partition(0));
    let numbers: Vec<usize> = (0..5).map(|_| world.send_one(ORDERS, 0)).collect();
    world.pass(2_000);
    assert_eq!(world.offsets(&numbers), [1, 2, 3, 4, 5]);
    let id = world.names(ORDERS, 0)[0].0;
    assert_eq!(world.names(ORDERS, 0), (0..6).map(|sequence| (id, 0, sequence)).collect::<Vec<_>>());
    world.settle();
}

/// A batch whose time is over before it could be sent has no number yet: there is no gap behind it.
#[test]
fn a_batch_that_was_never_sent_uses_no_number() {
    let mut world = begin(&[("delivery.timeout.ms", "1005"), ("linger.ms", "0")]);
    let node = world.leader(ORDERS, 0);
    world.kill(node, false, Duration::from_millis(1_500));
    world.pass(100);
    let expires = world.send_one(ORDERS, 0);
    world.pass(1_200);
    assert!(!world.error(expires).may_have_been_written());
    world.pass(2_000);
    let next = world.send_one(ORDERS, 0);
    world.pass(500);
    assert_eq!(world.offset(next), 1);
    let id = world.names(ORDERS, 0)[0].0;
    assert_eq!(world.names(ORDERS, 0), [(id, 0, 0), (id, 0, 1)]);
    world.settle();
}

/// A batch's time is over while it is in flight, and then its acknowledgement comes. The handle keeps its error; the numbers go
/// on behind it, since it was written.
#[test]
fn an_acknowledgement_that_comes_too_late_is_still_good_for_the_numbers() {
    let mut world = begin(&[("delivery.timeout.ms", "1005"), ("linger.ms", "0")]);
    world.fault(Fault::Error(ErrorCode::NOT_ENOUGH_REPLICAS).topic(ORDERS).partition(0).times(5));
    let late = world.send_one(ORDERS, 0);
    world.pass(400);
    world.cluster.clear_faults();
    world.fault(Fault::Delay(Duration::from_millis(900)).topic(ORDERS).partition(0));
    world.pass(700);
    assert!(world.error(late).may_have_been_written());
    let next = world.send_one(ORDERS, 0);
    world.pass(1_500);
    assert!(matches!(world.error(late).cause(), DeliveryCause::DeliveryTimeout { .. }), "told once");
    assert_eq!(world.offset(next), 2);
    let id = world.names(ORDERS, 0)[0].0;
    assert_eq!(world.names(ORDERS, 0), [(id, 0, 0), (id, 0, 1), (id, 0, 2)]);
    world.settle();
}

/// The coordinator of producer ids is not there for three seconds: records wait for it.
#[test]
fn records_wait_for_a_producer_id() {
    let mut world = World::new(1, &[]);
    world.fault(Fault::Error(ErrorCode(15)).api(Api::InitProducerId).times(1_000));
    world.send(Letter::to(ORDERS, 0));
    world.pass(1_000);
    let number = world.send_one(ORDERS, 0);
    world.pass(3_000);
    assert!(!world.has_ended_for(number));
    assert!(world.cluster.request_count(Api::InitProducerId) <= 15, "with a backoff");
    world.cluster.clear_faults();
    world.pass(1_000);
    assert_eq!(world.offset(number), 0);
    world.settle();
}

/// Asked for a new producer id, a cluster gives out the old one. Its numbers are used, from 0 on: a broker would call what comes
/// under them a duplicate, and not write it. So it is not taken.
#[test]
fn a_producer_id_that_comes_back_loses_nothing() {
    let mut world = begin(&[("linger.ms", "0")]);
    let (id, epoch, _) = world.names(ORDERS, 0)[0];
    world.rewrites.push(Rewrite::ProducerId(Box::new(move |answer| {
        answer.producer_id = id.into();
        answer.producer_epoch = epoch;
    })));
    world.fault(Fault::Error(ErrorCode::INVALID_PRODUCER_EPOCH).topic(ORDERS).partition(0));
    let refused = world.send_one(ORDERS, 0);
    world.pass(1_000);
    assert_eq!(world.error(refused).code(), Some(ErrorCode::INVALID_PRODUCER_EPOCH));
    let numbers: Vec<usize> = (0..3).map(|_| world.send_one(ORDERS, 0)).collect();
    world.pass(2_000);
    assert_eq!(world.offsets(&numbers), [1, 2, 3]);
    world.settle();
}

/// A broker refuses a batch because of records that are not in it. That explains nothing, so all of it fails.
#[test]
fn bad_records_that_a_batch_does_not_have_are_nobodys() {
    let mut world = begin(&[]);
    for indexes in [&[-1][..], &[2], &[0, 2], &[i32::MIN, i32::MAX]] {
        world.rewrites.push(Rewrite::Produce(Box::new(|answer| {
            for partition in answer.responses.iter_mut().flat_map(|topic| &mut topic.partition_responses) {
                let error = BatchIndexAndErrorMessage::default();
                partition.record_errors =
                    indexes.iter().map(|i| error.clone().with_batch_index(*i)).collect();
            }
        })));
        world.fault(Fault::Error(ErrorCode::INVALID_RECORD).topic(ORDERS).partition(0));
        let numbers = [world.send_one(ORDERS, 0), world.send_one(ORDERS, 0)];
        world.pass(500);
        for number in numbers {
            assert_eq!(world.error(number).code(), Some(ErrorCode::INVALID_RECORD));
            assert!(!world.error(number).may_have_been_written());
        }
    }
    world.settle();
}

/// Brokers are replaced by older ones while a batch waits for its next attempt: the same bytes go out in the older request.
#[test]
fn a_retry_at_an_older_broker_has_the_same_bytes() {
    let mut world = begin(&[("linger.ms", "0")]);
    world.fault(Fault::AppendThenClose.topic(ORDERS).partition(0));
    let number = world.send_one(ORDERS, 0);
    world.pass(10);
    world.cluster.set_versions(Api::Produce, 0..=7);
    (1..=NODES).for_each(|node| world.cut(node));
    world.pass(2_000);
    assert_eq!(world.offset(number), 1);
    assert_eq!(world.batches(ORDERS, 0).len(), 2);
    world.settle();
}

// ---- the cluster's strength

/// Too few replicas for three seconds: everything waits, with a backoff, and arrives.
#[test]
fn too_few_replicas_for_a_while_cost_time_only() {
    let mut world = begin(&[("linger.ms", "0")]);
    let before = world.cluster.request_count(Api::Produce);
    world.fault(Fault::Error(ErrorCode::NOT_ENOUGH_REPLICAS).topic(ORDERS).partition(0).times(1_000));
    let numbers: Vec<usize> = (0..5).map(|_| world.send_one(ORDERS, 0)).collect();
    world.pass(3_000);
    let attempts = world.cluster.request_count(Api::Produce) - before;
    assert!(attempts <= 12, "{attempts} requests in three seconds");
    world.cluster.clear_faults();
    world.pass(1_000);
    assert_eq!(world.offsets(&numbers), [1, 2, 3, 4, 5]);
    world.settle();
}

// ---- what is told

/// Whoever listens is told what happened, in order, and of nothing else. The nights listen, too.
#[test]
fn events_are_told_in_the_order_in_which_things_happened() {
    let mut world = begin(&[("linger.ms", "0")]);
    let at_the_start = std::mem::take(&mut world.heard);
    let count =
        |wanted: fn(&ProducerEvent) -> bool| at_the_start.iter().filter(|event| wanted(event)).count();
    assert_eq!(count(|event| matches!(event, ProducerEvent::ProducerIdAssigned { epoch: 0, .. })), 1);
    assert_eq!(
        count(|event| matches!(event, ProducerEvent::Connected { node: Some(_), .. })),
        NODES as usize
    );
    assert_eq!(count(|event| matches!(event, ProducerEvent::Connected { .. })), at_the_start.len() - 1);

    let from = world.leader(ORDERS, 0);
    let to = 1 + from % NODES;
    world.cluster.move_leader(ORDERS, 0, to);
    world.send_one(ORDERS, 0);
    world.pass(500);
    world.fault(Fault::Throttle(Duration::from_millis(50)).topic(ORDERS).partition(0));
    world.send_one(ORDERS, 0);
    world.pass(500);
    world.fault(Fault::Error(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER).topic(ORDERS).partition(0));
    world.send_one(ORDERS, 0);
    world.pass(500);
    let told: Vec<String> = world.heard.iter().map(ToString::to_string).collect();
    let id = world.names(ORDERS, 0)[0].0;
    let expected = [
        format!("the leader of orders-0 moved from node {from} to node {to}"),
        format!("throttled by node-{to}:9092 (node {to}) for 50ms"),
        format!("orders-0 begins anew as producer id {id} epoch 1"),
    ];
    assert_eq!(told, expected);
    world.settle();
}

/// Brokers ask for metrics, refuse some, and leave others unanswered, while nobody sends anything. What was taken of a counter
/// is never more than what it came to.
#[test]
fn metrics_that_are_pushed_through_troubles_are_never_counted_twice() {
    let mut world = World::new(6, &[("request.timeout.ms", "500"), ("linger.ms", "0")]);
    world.warm_up();
    world.fault(Fault::Error(ErrorCode::UNKNOWN_SUBSCRIPTION_ID).api(Api::PushTelemetry));
    world.fault(Fault::NeverAnswer.api(Api::PushTelemetry));
    world.pass(1_000_000);
    let pushes = world.cluster.pushes();
    let told: f64 = pushes.iter().filter_map(|push| push.get("org.apache.kafka.night.age.total")).sum();
    assert!(pushes.len() > 10, "{}", pushes.len());
    assert!(told > 300.0 && told <= world.now.as_secs_f64(), "{told} of {:?}", world.now);
    world.settle();
}
