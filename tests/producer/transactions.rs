//! Transactions, with both of Kafka's protocols: what readers see of them, which call may follow which, and what every
//! error means for the next one.

use std::{
    thread,
    time::{Duration, Instant},
};

use kafka_producer::{
    ConsumerGroupMetadata, DeliveryCause, ErrorCode, OffsetAndMetadata, Producer, ProducerConfig,
    ProducerRecord, SendErrorKind, TransactionError, TransactionErrorKind,
    testing::{Api, Cluster, Fault},
};

use crate::harness::{LONG, World, build, send, send_to, until};

/// A cluster with topic `t` of three partitions, with the protocol of this version.
fn world(version: i16) -> World {
    let world = World::start(Cluster::builder().auto_create_topics(false).brokers(3).topic("t", 3));
    world.set_transaction_version(version);
    world
}

fn config(world: &World) -> ProducerConfig {
    world.config().transactional_id("tx")
}

fn ready(world: &World) -> Producer {
    ready_with(world, &[])
}

fn ready_with(world: &World, settings: &[(&str, &str)]) -> Producer {
    let producer = build(config(world), settings);
    producer.init_transactions().unwrap();
    producer
}

/// What a reader of committed records sees, as text, in the order of partitions and offsets.
fn committed(world: &World) -> Vec<String> {
    let value = |record: &kafka_producer::testing::Record| record.value_str().expect("a text").to_owned();
    world.committed_records("t").iter().map(value).collect()
}

fn out_of_place(error: TransactionError, word: &str) {
    assert!(matches!(error.kind(), TransactionErrorKind::OutOfPlace { .. }), "{error:?}");
    assert!(error.to_string().contains(word), "{error}");
    assert!(!error.is_abortable() && !error.is_fatal() && !error.is_retriable());
}

fn both(test: impl Fn(i16)) {
    for version in [1, 2] {
        test(version);
    }
}

#[test]
fn what_is_committed_is_seen_and_what_is_aborted_is_not() {
    both(|version| {
        let world = world(version);
        let producer = ready(&world);
        let mut expected = Vec::new();
        for round in 0..6 {
            let transaction = producer.transaction().unwrap();
            for partition in 0..3 {
                for i in 0..20 {
                    let value = format!("{round} {partition} {i}");
                    transaction.send(ProducerRecord::new("t", &value).partition(partition)).unwrap();
                    if round % 3 != 2 {
                        expected.push((partition, value));
                    }
                }
            }
            if round % 3 == 2 { transaction.abort().unwrap() } else { transaction.commit().unwrap() }
        }
        expected.sort_by_key(|(partition, _)| *partition);
        let expected: Vec<String> = expected.into_iter().map(|(_, value)| value).collect();
        assert_eq!(committed(&world), expected, "transaction.version {version}");
        assert_eq!(world.open_transactions(), [""; 0]);
        let adds = world.request_count(Api::AddPartitionsToTxn);
        assert_eq!(adds == 0, version == 2, "{adds} requests to add partitions");
    });
}

#[test]
fn an_open_transaction_is_not_seen_and_its_records_are_acknowledged() {
    both(|version| {
        let world = world(version);
        let producer = ready(&world);
        let transaction = producer.transaction().unwrap();
        let handle = transaction.send(ProducerRecord::new("t", "early").partition(0)).unwrap();
        assert_eq!(handle.get().unwrap().offset(), 0);
        assert_eq!((committed(&world).len(), world.record_count("t")), (0, 1));
        assert_eq!(world.open_transactions(), ["tx"]);
        transaction.commit().unwrap();
        assert_eq!(committed(&world), ["early"]);
    });
}

#[test]
fn a_guard_that_is_dropped_aborts() {
    both(|version| {
        let world = world(version);
        let producer = ready(&world);
        {
            let transaction = producer.transaction().unwrap();
            transaction.send(ProducerRecord::new("t", "lost").partition(1)).unwrap().get().unwrap();
        }
        assert_eq!((committed(&world).len(), world.open_transactions().len()), (0, 0));
        let transaction = producer.transaction().unwrap();
        transaction.send(ProducerRecord::new("t", "kept").partition(1)).unwrap();
        transaction.commit().unwrap();
        assert_eq!(committed(&world), ["kept"]);
    });
}

#[test]
fn a_panic_aborts_and_does_not_wait_for_it() {
    let world = world(2);
    let producer = ready(&world);
    let panicking = thread::spawn({
        let producer = producer.clone();
        move || {
            let transaction = producer.transaction().unwrap();
            transaction.send(ProducerRecord::new("t", "lost").partition(1)).unwrap().get().unwrap();
            std::panic::resume_unwind(Box::new("part of a test"));
        }
    });
    panicking.join().unwrap_err();
    if let Err(error) = producer.abort_transaction() {
        // Already done, however little the panic has waited.
        out_of_place(error, "no transaction is open");
    }
    assert_eq!((committed(&world).len(), world.open_transactions().len()), (0, 0));
    let transaction = producer.transaction().unwrap();
    transaction.send(ProducerRecord::new("t", "kept").partition(1)).unwrap();
    transaction.commit().unwrap();
    assert_eq!(committed(&world), ["kept"]);
}

#[test]
fn an_abort_does_not_send_what_was_not_sent() {
    both(|version| {
        let world = world(version);
        let producer = ready_with(&world, &[("linger.ms", "60000")]);
        producer.begin_transaction().unwrap();
        let handle = send(&producer, "never");
        producer.abort_transaction().unwrap();
        let error = handle.get().unwrap_err();
        assert!(matches!(error.cause(), DeliveryCause::TransactionAborted(_)), "{error}");
        assert!(!error.may_have_been_written() && world.record_count("t") == 0);
    });
}

#[test]
fn transactions_without_records_cost_no_request_to_end() {
    both(|version| {
        let world = world(version);
        let producer = ready(&world);
        for _ in 0..3 {
            producer.transaction().unwrap().commit().unwrap();
            producer.transaction().unwrap().abort().unwrap();
        }
        assert_eq!(world.request_count(Api::EndTxn), 0);
    });
}

#[test]
fn calls_out_of_place_say_so_and_change_nothing() {
    let world = world(2);
    let producer = build(config(&world), &[]);
    let group = ConsumerGroupMetadata::new("g");
    out_of_place(producer.begin_transaction().unwrap_err(), "call init_transactions first");
    out_of_place(producer.commit_transaction().unwrap_err(), "call init_transactions first");
    let refused = producer.send(ProducerRecord::new("t", "early")).unwrap_err();
    assert!(matches!(refused.kind(), SendErrorKind::Transaction(_)), "{refused}");
    producer.init_transactions().unwrap();
    out_of_place(producer.init_transactions().unwrap_err(), "initialized already");
    out_of_place(producer.commit_transaction().unwrap_err(), "no transaction is open");
    out_of_place(producer.abort_transaction().unwrap_err(), "no transaction is open");
    out_of_place(
        producer.send_offsets_to_transaction([(("t", 0), 1)], &group).unwrap_err(),
        "no transaction is open",
    );
    let refused = producer.send(ProducerRecord::new("t", "outside")).unwrap_err();
    assert_eq!(refused.to_string(), "send: no transaction is open; call begin_transaction first");
    producer.begin_transaction().unwrap();
    out_of_place(producer.begin_transaction().unwrap_err(), "a transaction is open");
    for (offsets, group, word) in [
        ([(("t", 0), -1)], &group, "counted from 0"),
        ([(("", 0), 1)], &group, "name"),
        ([(("t", 0), 1)], &ConsumerGroupMetadata::new(""), "no name"),
        ([(("t", 0), 1)], &ConsumerGroupMetadata::new("g").member("", 3), "id of a member"),
    ] {
        out_of_place(producer.send_offsets_to_transaction(offsets, group).unwrap_err(), word);
    }
    send(&producer, "inside");
    producer.commit_transaction().unwrap();
    assert_eq!(committed(&world), ["inside"]);

    let plain = world.producer(&[]);
    let error = plain.init_transactions().unwrap_err();
    assert_eq!(
        error.to_string(),
        "init_transactions: this producer is not transactional; set transactional.id"
    );
    assert!(matches!(error.kind(), TransactionErrorKind::NotTransactional { .. }));
}

#[test]
fn a_record_that_fails_forbids_the_commit_and_not_the_next_transaction() {
    both(|version| {
        let world = world(version);
        let producer = ready(&world);
        let group = ConsumerGroupMetadata::new("g");
        for round in 0..3 {
            producer.begin_transaction().unwrap();
            world.fault(Fault::Error(ErrorCode::INVALID_RECORD).topic("t"));
            let failed = send_to(&producer, 0, "bad");
            let other = send_to(&producer, 1, "good");
            let error = producer.commit_transaction().unwrap_err();
            assert!(error.is_abortable() && !error.is_fatal(), "round {round}: {error}");
            assert_eq!(error.code(), Some(ErrorCode::INVALID_RECORD), "{error}");
            assert!(failed.get().is_err() || other.get().is_err());
            // Every other call is refused for the same cause.
            for again in [
                producer.commit_transaction(),
                producer.begin_transaction(),
                producer.send_offsets_to_transaction([(("t", 0), 1)], &group),
            ] {
                assert_eq!(again.unwrap_err().to_string(), error.to_string());
            }
            let refused = producer.send(ProducerRecord::new("t", "late")).unwrap_err();
            assert_eq!(refused.to_string(), error.to_string());
            producer.abort_transaction().unwrap();

            producer.begin_transaction().unwrap();
            for partition in 0..3 {
                send_to(&producer, partition, &format!("round {round}"));
            }
            producer.commit_transaction().unwrap();
        }
        let mut seen = committed(&world);
        seen.sort();
        let expected: Vec<String> = (0..9).map(|i| format!("round {}", i / 3)).collect();
        assert_eq!(seen, expected);
    });
}

#[test]
fn a_record_that_is_refused_forbids_the_commit_too() {
    let world = world(2);
    let producer = ready_with(&world, &[("max.request.size", "1000"), ("max.block.ms", "30000")]);
    producer.begin_transaction().unwrap();
    send(&producer, "small");
    let too_large = producer.send(ProducerRecord::new("t", &"x".repeat(2000))).unwrap_err();
    assert!(matches!(too_large.kind(), SendErrorKind::RecordTooLarge { .. }));
    let error = producer.commit_transaction().unwrap_err();
    assert!(error.is_abortable() && error.to_string().contains("a record was refused"), "{error}");
    producer.abort_transaction().unwrap();
    producer.begin_transaction().unwrap();
    send(&producer, "next");
    producer.commit_transaction().unwrap();
    assert_eq!(committed(&world), ["next"]);
}

#[test]
fn the_later_of_two_producers_fences_the_earlier() {
    both(|version| {
        let world = world(version);
        let zombie = ready(&world);
        zombie.begin_transaction().unwrap();
        send(&zombie, "zombie").get().unwrap();
        let successor = ready(&world);
        successor.begin_transaction().unwrap();
        send(&successor, "successor");
        let error = zombie.commit_transaction().unwrap_err();
        assert!(error.is_fenced() && error.is_fatal(), "{error}");
        assert!(matches!(error.code(), Some(ErrorCode::PRODUCER_FENCED | ErrorCode::INVALID_PRODUCER_EPOCH)));
        for again in [zombie.begin_transaction(), zombie.abort_transaction(), zombie.init_transactions()] {
            assert_eq!(again.unwrap_err().to_string(), error.to_string());
        }
        let refused = zombie.send(ProducerRecord::new("t", "undead")).unwrap_err();
        assert!(refused.is_fatal() && refused.to_string() == error.to_string(), "{refused}");
        successor.commit_transaction().unwrap();
        assert_eq!(committed(&world), ["successor"]);
    });
}

#[test]
fn a_producer_that_dies_holds_nobody_up() {
    both(|version| {
        let world = world(version);
        let dead = ready(&world);
        dead.begin_transaction().unwrap();
        send(&dead, "dead").get().unwrap();
        std::mem::forget(dead);
        let successor = ready(&world);
        successor.begin_transaction().unwrap();
        send(&successor, "alive");
        successor.commit_transaction().unwrap();
        assert_eq!(committed(&world), ["alive"]);
    });
}

#[test]
fn a_transaction_that_is_open_for_too_long_is_fenced() {
    both(|version| {
        let world = world(version);
        let producer = ready_with(&world, &[("transaction.timeout.ms", "300")]);
        producer.begin_transaction().unwrap();
        let began = Instant::now();
        send(&producer, "slow").get().unwrap();
        until("the time is over", || began.elapsed() > Duration::from_millis(400));
        let error = producer.commit_transaction().unwrap_err();
        assert!(error.is_fenced(), "{error}");
        assert_eq!((committed(&world).len(), world.open_transactions().len()), (0, 0));
    });
}

#[test]
fn offsets_count_once_their_transaction_is_committed() {
    both(|version| {
        let world = world(version);
        let producer = ready(&world);
        let group = ConsumerGroupMetadata::new("g").member("m", 7).group_instance_id("i");
        let transaction = producer.transaction().unwrap();
        let offset = OffsetAndMetadata::new(42).leader_epoch(3).metadata("here");
        transaction.send_offsets([(("t", 0), offset)], &group).unwrap();
        transaction.send_offsets([(("t", 1), 43), (("t", 2), 44)], &group).unwrap();
        transaction.send_offsets([(("t", 1), 7)], &ConsumerGroupMetadata::new("other")).unwrap();
        assert_eq!(world.committed_offset("g", "t", 0), None);
        transaction.send(ProducerRecord::new("t", "made of them").partition(0)).unwrap();
        transaction.commit().unwrap();
        let offsets: Vec<_> = (0..3).map(|p| world.committed_offset("g", "t", p)).collect();
        assert_eq!(offsets, [Some(42), Some(43), Some(44)]);
        assert_eq!(world.committed_offset("other", "t", 1), Some(7));

        let transaction = producer.transaction().unwrap();
        transaction.send_offsets([(("t", 0), 99)], &group).unwrap();
        transaction.abort().unwrap();
        assert_eq!(world.committed_offset("g", "t", 0), Some(42));
        assert_eq!(committed(&world), ["made of them"]);
    });
}

#[test]
fn no_offsets_are_no_request() {
    let world = world(2);
    let producer = ready(&world);
    let none: [((&str, i32), i64); 0] = [];
    producer.begin_transaction().unwrap();
    producer.send_offsets_to_transaction(none, &ConsumerGroupMetadata::new("g")).unwrap();
    producer.commit_transaction().unwrap();
    assert_eq!((world.request_count(Api::TxnOffsetCommit), world.request_count(Api::EndTxn)), (0, 0));
}

/// Everything that passes by itself: coordinators that load, move or finish the transaction before.
#[test]
fn what_passes_is_waited_for() {
    let passing = [
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
        ErrorCode::COORDINATOR_NOT_AVAILABLE,
        ErrorCode::NOT_COORDINATOR,
        ErrorCode::CONCURRENT_TRANSACTIONS,
    ];
    both(|version| {
        let world = world(version);
        let producer = build(config(&world), &[]);
        for api in [
            Api::FindCoordinator,
            Api::InitProducerId,
            Api::AddPartitionsToTxn,
            Api::AddOffsetsToTxn,
            Api::TxnOffsetCommit,
            Api::EndTxn,
        ] {
            for code in passing {
                world.fault(Fault::Error(code).api(api).times(2));
            }
        }
        producer.init_transactions().unwrap();
        producer.begin_transaction().unwrap();
        send(&producer, "patient");
        producer.send_offsets_to_transaction([(("t", 0), 5)], &ConsumerGroupMetadata::new("g")).unwrap();
        producer.commit_transaction().unwrap();
        assert_eq!(committed(&world), ["patient"]);
        assert_eq!(world.committed_offset("g", "t", 0), Some(5));
    });
}

#[test]
fn coordinators_move_and_lose_connections_in_the_middle() {
    both(|version| {
        let world = world(version);
        let producer = ready(&world);
        for round in 0..8 {
            world.move_coordinator("tx", 1 + round % 3);
            world.move_coordinator("g", 1 + (round + 1) % 3);
            producer.begin_transaction().unwrap();
            send_to(&producer, round % 3, &round.to_string());
            world.fault(Fault::Close.api(Api::TxnOffsetCommit));
            producer
                .send_offsets_to_transaction([(("t", 0), i64::from(round))], &ConsumerGroupMetadata::new("g"))
                .unwrap();
            world.move_coordinator("tx", 1 + (round + 1) % 3);
            world.fault(Fault::AppendThenClose.api(Api::EndTxn));
            producer.commit_transaction().unwrap();
        }
        let mut seen = committed(&world);
        seen.sort();
        assert_eq!(seen, (0..8).map(|i| i.to_string()).collect::<Vec<_>>());
        assert_eq!(world.committed_offset("g", "t", 0), Some(7));
    });
}

/// An end whose answer was lost may be under way still, and under the same epoch it would end the next transaction: so in
/// the first protocol the epoch is raised before that.
#[test]
fn after_an_end_in_doubt_the_epoch_is_another_one() {
    both(|version| {
        let world = world(version);
        let producer = ready(&world);
        for _ in 0..2 {
            producer.begin_transaction().unwrap();
            send(&producer, "v");
            producer.commit_transaction().unwrap();
        }
        let epochs = |world: &World| -> Vec<i16> {
            world.batches("t").iter().map(|batch| batch.producer_epoch).collect()
        };
        assert_eq!(epochs(&world), if version == 1 { [0, 0] } else { [0, 1] });
        producer.begin_transaction().unwrap();
        send(&producer, "v");
        world.fault(Fault::AppendThenClose.api(Api::EndTxn));
        producer.commit_transaction().unwrap();
        producer.begin_transaction().unwrap();
        send(&producer, "v");
        producer.commit_transaction().unwrap();
        assert_eq!(epochs(&world), if version == 1 { vec![0, 0, 0, 1] } else { vec![0, 1, 2, 3] });
        assert_eq!(committed(&world).len(), 4);
    });
}

#[test]
fn a_call_that_times_out_is_made_again_and_no_other() {
    both(|version| {
        let world = world(version);
        let producer = build(config(&world), &[("max.block.ms", "300")]);
        let node = world.coordinator("tx").unwrap();
        world.stall(node);
        let error = producer.init_transactions().unwrap_err();
        assert!(error.is_retriable() && error.to_string().contains("max.block.ms"), "{error}");
        let other = producer.begin_transaction().unwrap_err();
        assert_eq!(
            other.to_string(),
            "begin_transaction: an earlier init_transactions has not ended; call init_transactions again"
        );
        world.resume(node);
        until("the initialization ends", || producer.init_transactions().is_ok());

        producer.begin_transaction().unwrap();
        send(&producer, "v").get().unwrap();
        world.stall(node);
        let error = producer.commit_transaction().unwrap_err();
        assert!(error.is_retriable() && error.may_have_been_written(), "{error}");
        let other = producer.abort_transaction().unwrap_err();
        assert!(matches!(other.kind(), TransactionErrorKind::Unfinished { .. }), "{other}");
        assert!(producer.send(ProducerRecord::new("t", "between")).is_err());
        world.resume(node);
        until("the commit ends", || producer.commit_transaction().is_ok());
        assert_eq!(committed(&world), ["v"]);
        producer.begin_transaction().unwrap();
        producer.abort_transaction().unwrap();
    });
}

#[test]
fn errors_of_the_coordinator_are_abortable_or_final() {
    for (version, api, code, abortable) in [
        (1, Api::AddPartitionsToTxn, ErrorCode::TOPIC_AUTHORIZATION_FAILED, true),
        (1, Api::AddPartitionsToTxn, ErrorCode::TRANSACTION_ABORTABLE, true),
        (1, Api::AddPartitionsToTxn, ErrorCode::INVALID_TXN_STATE, false),
        (1, Api::AddPartitionsToTxn, ErrorCode::INVALID_PRODUCER_ID_MAPPING, false),
        (1, Api::AddOffsetsToTxn, ErrorCode::GROUP_AUTHORIZATION_FAILED, true),
        (2, Api::TxnOffsetCommit, ErrorCode::ILLEGAL_GENERATION, true),
        (2, Api::TxnOffsetCommit, ErrorCode::GROUP_AUTHORIZATION_FAILED, true),
        (2, Api::TxnOffsetCommit, ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED, false),
        (2, Api::EndTxn, ErrorCode::TRANSACTION_ABORTABLE, true),
        (2, Api::EndTxn, ErrorCode::INVALID_TXN_STATE, false),
        (2, Api::EndTxn, ErrorCode::UNKNOWN_SERVER_ERROR, false),
        (1, Api::EndTxn, ErrorCode::PRODUCER_FENCED, false),
    ] {
        let world = world(version);
        let producer = ready(&world);
        producer.begin_transaction().unwrap();
        world.fault(Fault::Error(code).api(api));
        let _handle = send(&producer, "v");
        let offsets = producer.send_offsets_to_transaction([(("t", 0), 5)], &ConsumerGroupMetadata::new("g"));
        let error = offsets.and_then(|()| producer.commit_transaction()).unwrap_err();
        assert_eq!(
            (error.is_abortable(), error.is_fatal()),
            (abortable, !abortable),
            "{api:?} {code}: {error}"
        );
        assert_eq!(error.code(), Some(code), "{error}");
        assert_eq!(producer.abort_transaction().is_ok(), abortable, "{api:?} {code}");
        if abortable {
            producer.begin_transaction().unwrap();
            send(&producer, "next");
            producer.commit_transaction().unwrap();
            assert_eq!(committed(&world), ["next"], "{api:?} {code}");
        }
    }
}

#[test]
fn an_initialization_that_is_refused_can_be_tried_again_or_not() {
    for (code, again) in [
        (ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED, true),
        (ErrorCode::CLUSTER_AUTHORIZATION_FAILED, true),
        (ErrorCode::INVALID_TRANSACTION_TIMEOUT, false),
    ] {
        let world = world(2);
        let producer = build(config(&world), &[]);
        world.fault(Fault::Error(code).api(Api::InitProducerId));
        let error = producer.init_transactions().unwrap_err();
        assert_eq!((error.code(), error.is_fatal()), (Some(code), !again), "{error}");
        assert_eq!(producer.init_transactions().is_ok(), again, "{code}");
    }
    let world = world(2);
    let producer = build(config(&world), &[("transaction.timeout.ms", "900001")]);
    let error = producer.init_transactions().unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::INVALID_TRANSACTION_TIMEOUT), "{error}");
}

#[test]
fn the_protocol_changes_between_transactions_only() {
    let world = world(1);
    let producer = ready(&world);
    for (round, version) in [1, 2, 2, 1, 1, 2, 2].into_iter().enumerate() {
        producer.begin_transaction().unwrap();
        send(&producer, &format!("{round} a")).get().unwrap();
        // Brokers are asked for the features on each new connection.
        world.set_transaction_version(version);
        for node in 1..=3 {
            world.close_connections(node);
        }
        send(&producer, &format!("{round} b"));
        producer.commit_transaction().unwrap();
    }
    assert_eq!(committed(&world).len(), 14);
}

#[test]
fn threads_send_while_another_ends_the_transaction() {
    both(|version| {
        let world = world(version);
        let producer = ready(&world);
        let threads = 4;
        let accepted: usize = thread::scope(|scope| {
            let senders: Vec<_> = (0..threads)
                .map(|thread| {
                    let producer = producer.clone();
                    scope.spawn(move || {
                        let mut accepted = 0;
                        for i in 0..3000 {
                            let value = format!("{thread} {i}");
                            let record = ProducerRecord::new("t", &value).partition(i % 3);
                            match producer.send(record) {
                                Ok(_) => accepted += 1,
                                Err(error) => {
                                    assert!(matches!(error.kind(), SendErrorKind::Transaction(_)), "{error}");
                                    thread::yield_now();
                                }
                            }
                        }
                        accepted
                    })
                })
                .collect();
            while senders.iter().any(|sender| !sender.is_finished()) {
                producer.begin_transaction().unwrap();
                thread::sleep(Duration::from_millis(1));
                producer.commit_transaction().unwrap();
            }
            senders.into_iter().map(|sender| sender.join().unwrap()).sum()
        });
        assert_eq!(committed(&world).len(), accepted);
    });
}

#[test]
fn two_threads_that_end_one_transaction_do_not_end_two() {
    let world = world(2);
    let producer = ready(&world);
    for _ in 0..20 {
        producer.begin_transaction().unwrap();
        send(&producer, "v");
        let ends: Vec<bool> = thread::scope(|scope| {
            let ends: Vec<_> =
                (0..3).map(|_| scope.spawn(|| producer.commit_transaction().is_ok())).collect();
            ends.into_iter().map(|end| end.join().unwrap()).collect()
        });
        assert_eq!(ends.iter().filter(|ok| **ok).count(), 1);
    }
    assert_eq!(committed(&world).len(), 20);
}

#[test]
fn closing_aborts_what_is_open() {
    both(|version| {
        let world = world(version);
        let producer = ready(&world);
        producer.begin_transaction().unwrap();
        send(&producer, "half").get().unwrap();
        producer.close().unwrap();
        assert_eq!((committed(&world).len(), world.open_transactions().len()), (0, 0));
        assert!(matches!(
            producer.commit_transaction().unwrap_err().kind(),
            TransactionErrorKind::Closed | TransactionErrorKind::Abortable { .. }
        ));
    });
}

#[test]
fn dropping_the_producer_aborts_what_is_open() {
    let world = world(2);
    let producer = ready(&world);
    producer.begin_transaction().unwrap();
    send(&producer, "half").get().unwrap();
    drop(producer);
    assert_eq!((committed(&world).len(), world.open_transactions().len()), (0, 0));
}

#[test]
fn a_close_by_force_ends_whoever_waits() {
    let world = world(2);
    let producer = ready(&world);
    producer.begin_transaction().unwrap();
    send(&producer, "v").get().unwrap();
    (1..=3).for_each(|node| world.stall(node));
    let waiting = thread::spawn({
        let producer = producer.clone();
        move || producer.commit_transaction()
    });
    until("the commit is asked for", || producer.send(ProducerRecord::new("t", "late")).is_err());
    // It fails if a record had to be failed: if one of those was sent before the commit was asked for.
    drop(producer.close_timeout(Duration::from_millis(50)));
    let error = waiting.join().unwrap().unwrap_err();
    assert!(error.is_fatal(), "{error}");
}

#[test]
fn no_call_waits_inside_a_callback() {
    let world = world(2);
    let producer = ready(&world);
    producer.begin_transaction().unwrap();
    let (told, outcome) = std::sync::mpsc::channel();
    let inner = producer.clone();
    let callback = move |_| drop(told.send(inner.commit_transaction().unwrap_err().to_string()));
    producer.send_with(ProducerRecord::new("t", "v"), callback).unwrap();
    let error = outcome.recv_timeout(LONG).unwrap();
    assert!(error.contains("inside a callback"), "{error}");
    producer.commit_transaction().unwrap();
}

#[test]
fn troubles_on_the_way_leave_transactions_whole() {
    both(|version| {
        let world = world(version);
        let producer = ready(&world);
        let mut expected = 0;
        for round in 0..30_u32 {
            match round % 6 {
                0 => world.fault(Fault::AppendThenClose.topic("t")),
                1 => world.fault(Fault::AppendThenError(ErrorCode::REQUEST_TIMED_OUT).topic("t")),
                2 => world.move_leader("t", (round % 3) as i32, 1 + (round % 3) as i32),
                3 => world.fault(Fault::Close.any_api().times(2)),
                4 => world.fault(Fault::Error(ErrorCode::NOT_ENOUGH_REPLICAS).topic("t").times(2)),
                _ => {}
            }
            producer.begin_transaction().unwrap();
            for i in 0..30 {
                send_to(&producer, i % 3, &format!("{round} {i}"));
            }
            if round % 4 == 3 {
                producer.abort_transaction().unwrap();
            } else {
                producer.commit_transaction().unwrap();
                expected += 30;
            }
        }
        assert_eq!(committed(&world).len(), expected, "transaction.version {version}");
    });
}
