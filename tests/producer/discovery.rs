//! Finding brokers, topics and leaders: at the start, when they change, and when some cannot be reached.

use std::{
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use kafka_producer::{
    ErrorCode, ProducerRecord, SendErrorKind,
    testing::{Api, Cluster, Fault},
};

use crate::harness::{DeadAddress, LONG, World, arrived, build, quick, send, send_to, until};

#[test]
fn a_bootstrap_server_that_is_dead_is_passed_over() {
    let world = World::with_partitions(1);
    let dead = [DeadAddress::new(), DeadAddress::new()];
    for servers in [
        format!("{},{},{}", dead[0], dead[1], world.bootstrap()),
        format!("{},{},{}", world.bootstrap(), dead[0], dead[1]),
        format!("{},{},{}", dead[0], world.bootstrap(), dead[1]),
    ] {
        for _ in 0..5 {
            send(&build(quick(&servers), &[]), "v").get().unwrap();
        }
    }
}

#[test]
fn a_bootstrap_server_that_is_silent_is_passed_over() {
    let world = World::with_partitions(1);
    // Accepted by the kernel, and never looked at.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let servers = format!("{},{}", silent.local_addr().unwrap(), world.bootstrap());
    for _ in 0..5 {
        let producer = build(quick(&servers), &[("socket.connection.setup.timeout.ms", "200")]);
        send(&producer, "v").get().unwrap();
    }
}

/// The name of this machine may stand for several addresses, of which the brokers use one.
#[test]
fn all_addresses_of_a_name_are_tried() {
    let world = World::with_partitions(1);
    let port = world.address(1).port();
    let producer = build(quick(&format!("localhost:{port}")), &[]);
    send(&producer, "v").get().unwrap();
}

#[test]
fn a_producer_can_be_made_before_its_brokers() {
    let world = World::with_partitions(1);
    world.stop(1);
    let producer = world.producer(&[]);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| send(&producer, "v").get().unwrap());
        world.start_again(1).unwrap();
        waiting.join().unwrap();
    });
    assert_eq!(world.values("t"), ["v"]);
}

#[test]
fn a_topic_is_created_when_it_is_asked_for() {
    let world = World::start(Cluster::builder().partitions(4));
    let producer = world.producer(&[]);
    assert_eq!(
        producer.send(ProducerRecord::new("new", "v").key("foobar")).unwrap().get().unwrap().offset(),
        0
    );
    assert_eq!(world.partition_count("new"), 4);
}

#[test]
fn a_topic_that_is_created_while_a_send_waits() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[]);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| producer.send(ProducerRecord::new("late", "v")).unwrap().get().unwrap());
        assert!(world.wait_for_requests(Api::Metadata, 2, LONG));
        world.create_topic("late", 1);
        assert_eq!(waiting.join().unwrap().to_string(), "late-0@0");
    });
}

#[test]
fn partitions_that_are_added_while_a_send_waits() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[]);
    send(&producer, "first").get().unwrap();
    let asked = world.request_count(Api::Metadata);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| send_to(&producer, 2, "v").get().unwrap());
        assert!(world.wait_for_requests(Api::Metadata, asked + 2, LONG));
        world.add_partitions("t", 3);
        assert_eq!(waiting.join().unwrap().to_string(), "t-2@0");
    });
}

#[test]
fn partitions_for_lists_them() {
    let world = World::with_brokers(3);
    let producer = world.producer(&[]);
    let partitions = producer.partitions_for("t").unwrap();
    let seen: Vec<_> = partitions.iter().map(|p| (p.partition, p.leader)).collect();
    assert_eq!(seen, [(0, Some(1)), (1, Some(2)), (2, Some(3))]);
    assert!(
        partitions.iter().all(|p| p.replicas.contains(&p.leader.unwrap()) && !p.in_sync_replicas.is_empty())
    );
}

#[test]
fn a_partition_without_a_leader_holds_its_records_and_nobody_elses() {
    let world = World::with_partitions(2);
    world.fault(Fault::Error(ErrorCode::LEADER_NOT_AVAILABLE).api(Api::Metadata).partition(1).times(5));
    let producer = world.producer(&[]);
    let held = send_to(&producer, 1, "held");
    send_to(&producer, 0, "good").get().unwrap();
    held.get().unwrap();
    assert!(world.request_count(Api::Metadata) > 5);
}

/// A broker that refuses names the leader (KIP-951): metadata that is out of date is not needed for that.
#[test]
fn a_leader_that_moved_is_found_by_the_brokers_hint() {
    let world = World::with_brokers(2);
    let producer = world.producer(&[]);
    send(&producer, "first").get().unwrap();
    world.freeze_metadata(true);
    world.move_leader("t", 0, 2);
    send(&producer, "second").get().unwrap();
    send(&producer, "third").get().unwrap();
    assert_eq!(world.values("t"), ["first", "second", "third"]);
    assert_eq!(world.batches("t").iter().map(|batch| batch.leader).collect::<Vec<_>>(), [1, 2, 2]);
}

#[test]
fn a_leader_that_moved_is_found_by_metadata_where_brokers_give_no_hints() {
    let world = World::with_brokers(2);
    world.set_versions(Api::Produce, 3..=9);
    let producer = world.producer(&[]);
    for round in 0..6 {
        world.move_leader("t", 0, 1 + round % 2);
        send(&producer, &round.to_string()).get().unwrap();
    }
    assert_eq!(world.values("t"), ["0", "1", "2", "3", "4", "5"]);
}

#[test]
fn leaders_that_move_all_the_time_lose_and_reorder_nothing() {
    let world = World::with_brokers(3);
    let producer = world.producer(&[("batch.size", "300")]);
    let handles: Vec<_> = (0..600)
        .map(|i| {
            if i % 20 == 0 {
                world.move_leader("t", i / 20 % 3, 1 + i / 60 % 3);
            }
            send_to(&producer, i % 3, &format!("{i:05}"))
        })
        .collect();
    arrived(&handles);
    for partition in 0..3 {
        let values: Vec<_> =
            world.records_of("t", partition).iter().map(|r| r.value_str().unwrap().to_owned()).collect();
        let expected: Vec<_> = (0..600).filter(|i| i % 3 == partition).map(|i| format!("{i:05}")).collect();
        assert_eq!(values, expected, "partition {partition}");
    }
}

#[test]
fn a_broker_that_stops_and_starts_is_waited_for() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[]);
    send(&producer, "first").get().unwrap();
    for round in 0..5 {
        world.stop(1);
        let handles: Vec<_> = (0..20).map(|i| send(&producer, &format!("{round} {i}"))).collect();
        assert!(!handles[0].is_done());
        world.start_again(1).unwrap();
        arrived(&handles);
    }
    assert_eq!(world.record_count("t"), 101);
}

#[test]
fn records_of_a_broker_that_died_go_to_its_heir() {
    let world = World::with_brokers(3);
    let producer = world.producer(&[]);
    arrived(&(0..3).map(|p| send_to(&producer, p, "first")).collect::<Vec<_>>());
    world.stop(2);
    let handles: Vec<_> = (0..300).map(|i| send_to(&producer, i % 3, &i.to_string())).collect();
    world.fail_over(2);
    arrived(&handles);
    assert_eq!(world.record_count("t"), 303);
    world.start_again(2).unwrap();
    world.move_leader("t", 1, 2);
    send_to(&producer, 1, "back again").get().unwrap();
}

/// Longer than the records may take: what was never sent is surely not written, and the producer is as good as new
/// afterwards.
#[test]
fn all_brokers_down_for_longer_than_records_wait() {
    let world = World::with_brokers(2);
    let settings = [("request.timeout.ms", "200"), ("delivery.timeout.ms", "600"), ("linger.ms", "0")];
    let producer = world.producer(&settings);
    arrived(&[send_to(&producer, 0, "first"), send_to(&producer, 1, "first")]);
    world.stop(1);
    world.stop(2);
    let began = Instant::now();
    let handles: Vec<_> = (0..20).map(|i| send_to(&producer, i % 2, &i.to_string())).collect();
    for handle in handles {
        let error = handle.get().unwrap_err();
        assert!(began.elapsed() >= Duration::from_millis(600) && began.elapsed() < LONG);
        let text = error.to_string();
        assert!(text.contains("600ms (delivery.timeout.ms)") && text.contains("topic t partition"), "{text}");
        assert!(error.is_retriable() && !error.is_fatal());
        if error.attempts() == 0 {
            assert!(!error.may_have_been_written(), "{text}");
        }
    }
    world.start_again(1).unwrap();
    world.start_again(2).unwrap();
    until("it works again", || (0..2).all(|partition| send_to(&producer, partition, "after").get().is_ok()));
}

/// Reconnecting follows its backoff, whatever waits.
#[test]
fn a_dead_broker_is_not_hammered() {
    let world = World::with_partitions(1);
    world.fault(Fault::CloseOnAccept.times(u32::MAX));
    let settings =
        [("reconnect.backoff.ms", "100"), ("reconnect.backoff.max.ms", "100"), ("max.block.ms", "2000")];
    let producer = world.producer(&settings);
    let began = Instant::now();
    producer.send(ProducerRecord::new("t", "v")).unwrap_err();
    let most = began.elapsed().as_millis() / 80 + 2;
    assert!(u128::from(world.connection_count()) <= most, "{} connections", world.connection_count());
    world.clear_faults();
    send(&producer, "v").get().unwrap();
}

#[test]
fn an_idle_producer_asks_nobody_anything() {
    let world = World::with_partitions(1);
    let unused = world.producer(&[]);
    let used = world.producer(&[]);
    send(&used, "v").get().unwrap();
    let before = (world.requests(), world.connection_count());
    // A wait that is meant to be in vain, not one for something to settle.
    let more: u64 = before.0.values().sum::<u64>() + 1;
    assert!(!world.wait_for_requests(Api::Metadata, more, Duration::from_millis(1500)));
    assert_eq!((world.requests(), world.connection_count()), before);
    drop((unused, used));
}

#[test]
fn an_idle_connection_is_closed_and_made_again_when_it_is_needed() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[("connections.max.idle.ms", "100")]);
    send(&producer, "first").get().unwrap();
    let before = (world.requests(), world.connection_count());
    let more: u64 = before.0.values().sum::<u64>() + 1;
    assert!(!world.wait_for_requests(Api::Metadata, more, Duration::from_millis(1500)));
    assert_eq!((world.requests(), world.connection_count()), before, "nothing is asked for its sake alone");
    send(&producer, "second").get().unwrap();
    assert!(world.connection_count() > before.1, "the first connection is gone");
}

#[test]
fn metadata_is_asked_for_again_when_it_is_old() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[("metadata.max.age.ms", "100")]);
    send(&producer, "v").get().unwrap();
    assert!(world.wait_for_requests(Api::Metadata, 4, LONG));
}

#[test]
fn a_topic_that_is_made_anew_is_a_new_one() {
    let world = World::with_partitions(2);
    let producer = world.producer(&[]);
    for round in 0..5 {
        let handles: Vec<_> = (0..20).map(|i| send_to(&producer, i % 2, &format!("{round} {i}"))).collect();
        arrived(&handles);
        assert_eq!(world.record_count("t"), 20);
        world.delete_topic("t");
        world.create_topic("t", 2);
    }
}

#[test]
fn a_topic_that_vanishes_for_a_moment_keeps_its_sequences() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[("metadata.max.age.ms", "50")]);
    send(&producer, "first").get().unwrap();
    for round in 0..5 {
        world.set_topic_error("t", Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
        let asked = world.request_count(Api::Metadata);
        assert!(world.wait_for_requests(Api::Metadata, asked + 2, LONG), "it has been seen to be gone");
        thread::scope(|scope| {
            let waiting = scope.spawn(|| send(&producer, &round.to_string()).get().unwrap());
            world.set_topic_error("t", None);
            waiting.join().unwrap();
        });
    }
    assert_eq!(world.values("t"), ["first", "0", "1", "2", "3", "4"]);
}

#[test]
fn older_brokers_are_spoken_to_in_their_own_way() {
    // The lowest of all, and those of Kafka 2.1, 2.8 and 3.9.
    for (produce, metadata, versions, init) in [
        (3..=3, 1..=1, 0..=0, 0..=0),
        (3..=7, 0..=7, 0..=2, 0..=1),
        (3..=9, 0..=11, 0..=3, 0..=4),
        (3..=11, 0..=12, 0..=4, 0..=5),
    ] {
        let world = World::start(
            Cluster::builder()
                .auto_create_topics(false)
                .topic("t", 3)
                .versions(Api::Produce, produce)
                .versions(Api::Metadata, metadata)
                .versions(Api::ApiVersions, versions)
                .versions(Api::InitProducerId, init),
        );
        let producer = world.producer(&[]);
        let handles: Vec<_> = (0..300).map(|i| send_to(&producer, i % 3, &i.to_string())).collect();
        arrived(&handles);
        world.cut_next_connection();
        send(&producer, "again").get().unwrap();
        assert_eq!(world.record_count("t"), 301);
    }
}

#[test]
fn a_broker_that_is_too_old_is_told_from_one_that_is_away() {
    let world = World::start(Cluster::builder().topic("t", 1).versions(Api::Metadata, 0..=0));
    let producer = world.producer(&[("max.block.ms", "500")]);
    let error = producer.send(ProducerRecord::new("t", "v")).unwrap_err();
    let text = error.to_string();
    for part in
        [&world.address(1).to_string(), "too old", "Metadata in versions 0 to 0", "500ms (max.block.ms)"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    producer.close().unwrap();
}

/// Where a key goes depends on the number of partitions; a producer follows when it hears of new ones.
#[test]
fn keys_follow_when_partitions_are_added() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[("metadata.max.age.ms", "50")]);
    let send =
        || producer.send(ProducerRecord::new("t", "v").key("foobar")).unwrap().get().unwrap().partition();
    assert_eq!(send(), 0);
    world.add_partitions("t", 10);
    until("it has heard of them", || send() == 6);
}

/// It can come back until the records' time is over; nobody waits for longer than that.
#[test]
fn a_topic_that_is_deleted_under_its_records() {
    let world = World::with_partitions(1);
    world.create_topic("u", 1);
    let settings = [
        ("request.timeout.ms", "300"),
        ("delivery.timeout.ms", "600"),
        ("linger.ms", "0"),
        ("max.block.ms", "600"),
    ];
    let producer = world.producer(&settings);
    send(&producer, "first").get().unwrap();
    world.delete_topic("t");
    let mut accepted = 0;
    for _ in 0..5 {
        match producer.send(ProducerRecord::new("t", "v")) {
            Ok(handle) => {
                accepted += 1;
                let error = handle.get().unwrap_err();
                assert!(error.is_retriable() && !error.may_have_been_written(), "{error}");
                assert!(error.to_string().contains("delivery.timeout.ms"), "{error}");
            }
            Err(error) => assert!(matches!(error.kind(), SendErrorKind::MetadataTimeout { .. }), "{error}"),
        }
    }
    assert!(accepted > 0, "it was known until the first record came back");
    producer.flush().unwrap();
    producer.send(ProducerRecord::new("u", "v")).unwrap().get().unwrap();
}
