//! The bug museum: how other producers lost, doubled or swapped records, and what the nights found here, each as a small
//! night with a script. Every test tells the story first. What has to hold besides what it says holds as in every
//! night: the account is settled at the end.
//!
//! Of other producers, by the numbers of the museum:
//!
//! | | |
//! |---|---|
//! | M1 | [`an_expired_batch_keeps_its_bytes_and_its_memory_until_they_are_written`] |
//! | M2 | [`an_indefinite_error_is_tried_again_under_the_same_number`] |
//! | M3 | [`a_gap_in_one_partition_changes_nothing_in_another`] |
//! | M4 | [`a_topic_that_disappears_for_a_while_keeps_its_numbers`] |
//! | M6 | [`what_may_have_been_written_does_not_advance_the_sequence`] |
//! | M7 | [`a_batch_that_was_sent_once_takes_no_more_records`] |
//! | M8 | [`a_new_producer_id_begins_at_0_in_idle_partitions_too`] |
//! | M9 | [`a_timeout_is_not_a_refusal`] |
//! | M10 | [`metadata_without_partitions_acknowledges_nothing`] |
//! | M13 | [`a_batch_that_ends_while_a_request_is_built_harms_no_other`] |
//! | M14 | [`an_answer_is_read_by_the_names_of_its_request`] |
//! | M15 | [`a_topic_that_is_gone_for_good_holds_up_nobody`] |
//! | M16 | [`sequences_wrap_to_0`] |
//! | M17 | [`callbacks_that_send_with_full_memory_hold_up_nobody`] |
//! | M18 | [`a_broker_that_understands_no_version_is_asked_in_turns`] |
//! | M19 | [`brokers_that_freeze_in_turns_leave_no_gap`] |
//! | M20 | [`an_answer_that_is_cut_anywhere_is_a_lost_connection`] |
//! | M5 | [`a_broken_sequence_does_not_begin_a_transaction_beneath_another`] |
//! | M11 | [`an_indefinite_answer_to_a_commit_is_no_success`] |
//! | M12 | [`an_end_that_comes_late_ends_nothing_else`] |

use std::{collections::BTreeSet, time::Duration};

use super::world::{AUDIT, Callback, Letter, ORDERS, Rewrite, World};
use crate::{
    DeliveryError, ErrorCode, RecordMetadata, TransactionError,
    handoff::{Partition, TransactionCall},
    testing::{Api, Batch, Fault},
    wire::{api::ApiKey, end_txn::EndTxnRequest, frame},
};

/// A quiet night with transactions of the first protocol, one of which is open and has a record in every partition.
fn begin_transactions() -> World {
    let mut world = World::new(1, &[("transactional.id", "tx"), ("linger.ms", "0")]);
    // This night has a script instead.
    world.ledger = None;
    world.cluster.set_transaction_version(1);
    world.make(TransactionCall::Init).unwrap();
    world.begin_one();
    // The first records ask for the metadata, and are refused.
    let _ = [ORDERS, AUDIT].map(|topic| world.send(Letter::to(topic, 0)));
    world.pass(1_000);
    world.warm_up();
    world
}

/// A quiet night, with a record in every partition.
pub(super) fn begin(set: &[(&str, &str)]) -> World {
    let mut world = World::new(1, set);
    world.warm_up();
    world
}

impl World {
    pub(super) fn send_one(&mut self, topic: &'static str, partition: i32) -> usize {
        self.send(Letter::to(topic, partition)).expect("there is room, and metadata")
    }

    /// Makes a call about transactions, with time enough for its answer.
    fn make(&mut self, call: TransactionCall) -> Result<(), TransactionError> {
        let answer = self.call(call);
        self.pass(3_000);
        self.heard(&answer).expect("three seconds are enough")
    }

    fn begin_one(&mut self) {
        self.make(TransactionCall::Begin).unwrap();
        self.let_records_in();
    }

    pub(super) fn pass(&mut self, millis: u64) {
        self.run_for(Duration::from_millis(millis));
    }

    pub(super) fn outcome(&self, number: usize) -> Option<&Result<RecordMetadata, DeliveryError>> {
        self.account.sent()[number].outcome.as_ref()
    }

    pub(super) fn offset(&self, number: usize) -> i64 {
        match self.outcome(number) {
            Some(Ok(metadata)) => metadata.offset(),
            other => panic!("{number} is not delivered: {other:?}"),
        }
    }

    pub(super) fn error(&self, number: usize) -> &DeliveryError {
        match self.outcome(number) {
            Some(Err(error)) => error,
            other => panic!("{number} has not failed: {other:?}"),
        }
    }

    pub(super) fn has_ended_for(&self, number: usize) -> bool {
        self.outcome(number).is_some()
    }

    pub(super) fn batches(&self, topic: &str, partition: i32) -> Vec<Batch> {
        self.cluster.batches(topic).into_iter().filter(|batch| batch.partition == partition).collect()
    }

    /// The names of a partition's batches: producer id, epoch, first sequence.
    pub(super) fn names(&self, topic: &str, partition: i32) -> Vec<(i64, i16, i32)> {
        let batches = self.batches(topic, partition);
        batches.iter().map(|batch| (batch.producer_id, batch.producer_epoch, batch.base_sequence)).collect()
    }

    pub(super) fn leader(&self, topic: &str, partition: i32) -> i32 {
        self.cluster.leader(topic, partition).expect("every partition has a leader")
    }
}

// ---- of other producers

/// KAFKA-19012: a batch expired while its request was still being written. Its buffer went back to the pool, the next
/// batch was written into it, and these bytes went out under the old topic's name: records in the wrong topic, and the
/// callback said it was well. Here the bytes are the socket's until it has taken them, and so is their memory.
#[test]
fn an_expired_batch_keeps_its_bytes_and_its_memory_until_they_are_written() {
    let mut world = begin(&[("delivery.timeout.ms", "1005"), ("linger.ms", "0")]);
    let limit = world.settings.buffer_memory;
    let node = world.leader(ORDERS, 0);
    // The first attempt takes some of the batch's time, so that it ends before its second request does.
    world.fault(Fault::Error(ErrorCode::NOT_ENOUGH_REPLICAS).topic(ORDERS).partition(0).times(5));
    let expires = world.send_one(ORDERS, 0);
    world.pass(400);
    world.cluster.clear_faults();
    world.jam(node, Duration::from_millis(900));
    world.pass(700);
    assert!(world.error(expires).may_have_been_written(), "it lies in the socket: {}", world.error(expires));
    assert!(world.free_memory() < Some(limit), "its memory was given back while the socket has it");
    let others: Vec<usize> = (0..3).map(|_| world.send_one(AUDIT, 1)).collect();
    world.pass(2_000);
    for other in others {
        assert!(world.offset(other) > 0);
    }
    world.settle();
}

/// librdkafka #3575: OUT_OF_ORDER_SEQUENCE in the middle of a transaction had the epoch raised at once. That ended the
/// transaction at the coordinator and began the next one beneath the application, whose commit then succeeded without the
/// records from before. Here the transaction must be aborted, and no epoch is asked for before that.
#[test]
fn a_broken_sequence_does_not_begin_a_transaction_beneath_another() {
    let mut world = begin_transactions();
    let identities = world.cluster.request_count(Api::InitProducerId);
    world.fault(Fault::Error(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER).topic(ORDERS).partition(0));
    world.send_one(ORDERS, 0);
    world.pass(1_000);
    assert_eq!(world.cluster.request_count(Api::InitProducerId), identities);
    assert!(world.make(TransactionCall::Commit).unwrap_err().is_abortable());
    world.make(TransactionCall::Abort).unwrap();
    world.begin_one();
    let after = world.send_one(ORDERS, 0);
    world.make(TransactionCall::Commit).unwrap();
    assert_eq!(world.committed_records(), [after].into());
}

/// Found here: a batch was too large and had been halved when its transaction was aborted. The second half, which had not
/// been sent, was given up with its numbers; as nothing that was sent had failed, the epoch stayed as it was, and the
/// partition waited for those numbers for ever.
#[test]
fn numbers_that_an_abort_gives_up_are_not_waited_for() {
    let mut world = begin_transactions();
    // Under a new epoch, so that the second half waits for the first.
    world.fault(Fault::Error(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER).topic(ORDERS).partition(0));
    world.send_one(ORDERS, 0);
    world.pass(1_000);
    world.make(TransactionCall::Abort).unwrap();
    world.begin_one();
    world.fault(Fault::Error(ErrorCode::MESSAGE_TOO_LARGE).topic(ORDERS).partition(0));
    world.fault(Fault::NeverAnswer.topic(ORDERS).partition(0));
    let halves = [world.send_one(ORDERS, 0), world.send_one(ORDERS, 0)];
    world.pass(300);
    world.make(TransactionCall::Abort).unwrap();
    assert!(world.outcome(halves[0]).is_some_and(Result::is_ok), "{:?}", world.outcome(halves[0]));
    assert!(!world.error(halves[1]).may_have_been_written());
    world.begin_one();
    let after = world.send_one(ORDERS, 0);
    world.make(TransactionCall::Commit).unwrap();
    assert_eq!(world.committed_records(), [after].into());
}

/// franz-go and librdkafka took an indefinite answer to a commit for a success, or for something to be tried again in
/// the next transaction. Nobody knows what became of this one: the call fails and says so.
#[test]
fn an_indefinite_answer_to_a_commit_is_no_success() {
    for code in [ErrorCode::UNKNOWN_SERVER_ERROR, ErrorCode::INVALID_REQUEST, ErrorCode(9999)] {
        let mut world = begin_transactions();
        world.fault(Fault::Error(code).api(Api::EndTxn));
        let error = world.make(TransactionCall::Commit).unwrap_err();
        assert!(error.is_fatal() && error.may_have_been_written(), "{error}");
    }
}

/// Found with Jepsen, in Kafka itself: a request that ends a transaction is lost from sight and sent again. The next
/// transaction goes by the same epoch, so that the first request, when it comes after all, ends that one: half of it was
/// committed, or all of it although it was aborted later. Here the epoch is raised first.
#[test]
fn an_end_that_comes_late_ends_nothing_else() {
    let mut world = begin_transactions();
    let first: BTreeSet<usize> = (0..world.account.sent().len()).collect();
    let identity = world.engine().identity().expect("it was initialized");
    world.fault(Fault::Close.api(Api::EndTxn));
    world.make(TransactionCall::Commit).unwrap();
    world.begin_one();
    world.send_one(ORDERS, 0);
    world.pass(1_000);
    let late = frame::request(ApiKey::EndTxn, 4, 7, "late", |out| {
        EndTxnRequest { transactional_id: "tx", identity, committed: true }.encode(4, out);
    });
    let coordinator = world.cluster.coordinator("tx").expect("there is one");
    world.cluster.handle(coordinator, 999, &late[4..], world.now);
    world.make(TransactionCall::Abort).unwrap();
    assert_eq!(world.committed_records(), first);
}

/// KAFKA-14034: UNKNOWN_SERVER_ERROR on the first of five batches in flight was taken for a refusal, and the four behind
/// it were numbered anew. The first had been written after all, so the others were there twice.
#[test]
fn an_indefinite_error_is_tried_again_under_the_same_number() {
    let mut world = begin(&[("linger.ms", "0"), ("batch.size", "1")]);
    world.fault(Fault::AppendThenError(ErrorCode::UNKNOWN_SERVER_ERROR).topic(ORDERS).partition(0));
    let numbers: Vec<usize> = (0..5).map(|_| world.send_one(ORDERS, 0)).collect();
    world.pass(1_000);
    assert_eq!(numbers.iter().map(|number| world.offset(*number)).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert!(world.batches(ORDERS, 0).iter().all(|batch| batch.producer_epoch == 0));
    world.settle();
}

/// librdkafka #4953: OUT_OF_ORDER_SEQUENCE for a batch of one partition raised the epoch of the whole producer. Another
/// partition had a batch in flight that had been written; it was sent again from 0 in the new epoch, and was there twice.
#[test]
fn a_gap_in_one_partition_changes_nothing_in_another() {
    let mut world = begin(&[("linger.ms", "0")]);
    world.fault(Fault::AppendThenClose.topic(ORDERS).partition(1));
    let written = world.send_one(ORDERS, 1);
    world.fault(Fault::Error(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER).topic(ORDERS).partition(0));
    let refused = world.send_one(ORDERS, 0);
    world.pass(2_000);
    assert_eq!((world.offset(written), world.offset(refused)), (1, 1));
    let (first, other) = (world.names(ORDERS, 0), world.names(ORDERS, 1));
    let id = first[0].0;
    assert_eq!(first, [(id, 0, 0), (id, 1, 0)], "the partition begins anew");
    assert_eq!(other, [(id, 0, 0), (id, 0, 1)], "the other goes on");
    world.settle();
}

/// librdkafka 1.8: a restarting broker left a topic out of one metadata answer. The client dropped the partition's state,
/// began again at 0 when the topic was back, and the broker took the new records for duplicates: acknowledged and lost.
#[test]
fn a_topic_that_disappears_for_a_while_keeps_its_numbers() {
    let mut world = begin(&[("metadata.max.age.ms", "100")]);
    world.cluster.set_topic_error(ORDERS, Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    world.pass(500);
    assert_eq!(world.send(Letter::to(ORDERS, 0)), None, "nothing is accepted for a topic that is not there");
    world.cluster.set_topic_error(ORDERS, None);
    world.pass(500);
    let number = world.send_one(ORDERS, 0);
    world.pass(500);
    assert_eq!(world.offset(number), 1);
    let id = world.names(ORDERS, 0)[0].0;
    assert_eq!(world.names(ORDERS, 0), [(id, 0, 0), (id, 0, 1)]);
    world.settle();
}

/// librdkafka #3584: an error that left open whether the batch was written advanced what was taken for confirmed, and the
/// refusals after that made no sense any more: the producer died.
#[test]
fn what_may_have_been_written_does_not_advance_the_sequence() {
    let mut world = begin(&[("linger.ms", "0"), ("batch.size", "1")]);
    world.fault(Fault::AppendThenClose.topic(ORDERS).partition(0));
    let numbers: Vec<usize> = (0..5).map(|_| world.send_one(ORDERS, 0)).collect();
    world.pass(30);
    world.fault(Fault::Error(ErrorCode::NOT_ENOUGH_REPLICAS).topic(ORDERS).partition(0));
    world.pass(2_000);
    assert_eq!(numbers.iter().map(|number| world.offset(*number)).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert!(world.batches(ORDERS, 0).iter().all(|batch| batch.producer_epoch == 0));
    world.settle();
}

/// librdkafka #4736: a batch was put together again for its retry, with other records than before under the same number.
#[test]
fn a_batch_that_was_sent_once_takes_no_more_records() {
    let mut world = begin(&[]);
    world.fault(Fault::AppendThenError(ErrorCode::REQUEST_TIMED_OUT).topic(ORDERS).partition(0));
    let first = world.send_one(ORDERS, 0);
    world.pass(10);
    assert!(!world.has_ended_for(first), "its first attempt is over, its second has not begun");
    let second = world.send_one(ORDERS, 0);
    world.pass(1_000);
    assert_eq!((world.offset(first), world.offset(second)), (1, 2));
    assert_eq!(world.batches(ORDERS, 0).iter().map(|batch| batch.records).collect::<Vec<_>>(), [1, 1, 1]);
    world.settle();
}

/// KAFKA-12152: when the producer's epoch or id was renewed, partitions with nothing in flight kept their sequence.
#[test]
fn a_new_producer_id_begins_at_0_in_idle_partitions_too() {
    let mut world = World::new(1, &[]);
    world.first_epoch = i16::MAX;
    world.warm_up();
    world.fault(Fault::Error(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER).topic(ORDERS).partition(0));
    world.send_one(ORDERS, 0);
    world.pass(1_000);
    let id = world.names(ORDERS, 0)[0].0;
    assert_eq!(world.names(ORDERS, 0), [(id, i16::MAX, 0), (id + 1, i16::MAX, 0)], "its epochs are used up");
    world.send_one(ORDERS, 1);
    world.pass(1_000);
    assert_eq!(world.names(ORDERS, 1), [(id, i16::MAX, 0), (id + 1, i16::MAX, 0)]);
    world.settle();
}

/// franz-go #1217: REQUEST_TIMED_OUT was taken for "not written" when a record was given up. The next record got its
/// number, and the broker dropped that one as a duplicate.
#[test]
fn a_timeout_is_not_a_refusal() {
    let mut world = begin(&[("delivery.timeout.ms", "1005")]);
    world.fault(Fault::AppendThenError(ErrorCode::REQUEST_TIMED_OUT).topic(ORDERS).partition(0).times(1_000));
    let given_up = world.send_one(ORDERS, 0);
    world.pass(1_500);
    assert!(world.error(given_up).may_have_been_written());
    world.cluster.clear_faults();
    let next = world.send_one(ORDERS, 0);
    world.pass(1_000);
    assert_eq!(world.offset(next), 2, "the one that was given up lies before it");
    world.settle();
}

/// franz-go: a metadata answer without an error and without partitions completed every waiting record as if it had been
/// written.
#[test]
fn metadata_without_partitions_acknowledges_nothing() {
    let mut world = begin(&[("metadata.max.age.ms", "100")]);
    let node = world.leader(ORDERS, 0);
    world.freeze(node, Duration::from_millis(700));
    let number = world.send_one(ORDERS, 0);
    for _ in 0..5 {
        world.rewrites.push(Rewrite::Metadata(Box::new(|answer| {
            answer.topics.iter_mut().for_each(|topic| topic.partitions.clear());
        })));
    }
    world.pass(600);
    assert!(!world.has_ended_for(number));
    world.pass(3_000);
    assert_eq!(world.offset(number), 1);
    world.settle();
}

/// franz-go #1359: a batch that failed while its request was being written left half a field behind, and the whole
/// request was garbage. Here a batch expires at the very moment at which its request is due.
#[test]
fn a_batch_that_ends_while_a_request_is_built_harms_no_other() {
    let mut world = begin(&[("delivery.timeout.ms", "1005"), ("linger.ms", "0")]);
    let node = world.leader(ORDERS, 0);
    world.cluster.move_leader(AUDIT, 0, node);
    world.pass(100);
    world.kill(node, false, Duration::from_millis(900));
    let mut numbers = Vec::new();
    for _ in 0..50 {
        numbers.extend([world.send_one(ORDERS, 0), world.send_one(AUDIT, 0)]);
        world.pass(23);
    }
    world.pass(2_000);
    assert!(
        numbers.iter().any(|number| matches!(world.outcome(*number), Some(Err(_)))),
        "some came too late"
    );
    assert!(numbers.iter().any(|number| matches!(world.outcome(*number), Some(Ok(_)))), "some did not");
    world.settle();
}

/// KAFKA-19397: a request was made with the topic ids of one metadata answer, and its answer was read with those of the
/// next. No batch was found for it, and `flush` waited for ever.
#[test]
fn an_answer_is_read_by_the_names_of_its_request() {
    let mut world = begin(&[("metadata.max.age.ms", "50")]);
    world.fault(Fault::Delay(Duration::from_millis(600)).topic(ORDERS));
    let number = world.send_one(ORDERS, 0);
    world.flush();
    world.pass(20);
    world.recreate(ORDERS, 3);
    world.pass(400);
    assert!(!world.has_ended_for(number), "the topic is known to be another one, the answer is not there");
    world.pass(1_000);
    assert_eq!(world.offset(number), 1, "in the topic that was");
    assert_eq!(world.unanswered_flushes(), 0);
    world.settle();
}

/// KAFKA-20077: after a topic was deleted, something was tried again for ever, and `flush` hung with it.
#[test]
fn a_topic_that_is_gone_for_good_holds_up_nobody() {
    let mut world = begin(&[]);
    let node = world.leader(ORDERS, 0);
    world.freeze(node, Duration::from_millis(200));
    let number = world.send_one(ORDERS, 0);
    world.flush();
    world.cluster.set_topic_error(ORDERS, Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    world.fault(Fault::Error(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION).topic(ORDERS).times(1_000));
    let other = world.send_one(AUDIT, 0);
    world.pass(5_600);
    assert_eq!(world.offset(other), 1);
    assert!(world.error(number).to_string().contains("delivery.timeout.ms"));
    assert_eq!(world.unanswered_flushes(), 0);
    world.heal();
    world.settle();
}

/// franz-go: after 2^31 records of one partition the sequence became negative. It wraps to 0, in the middle of a batch if
/// need be.
#[test]
fn sequences_wrap_to_0() {
    let mut world = begin(&[]);
    world.pass(100_000);
    world.cluster.forget_producers();
    world.engine().accumulator.skip_sequences(i32::MAX - 2);
    let wraps: Vec<usize> = (0..7).map(|_| world.send_one(ORDERS, 0)).collect();
    world.pass(100);
    let next = world.send_one(ORDERS, 0);
    world.pass(100);
    assert_eq!((world.offset(wraps[0]), world.offset(wraps[6]), world.offset(next)), (1, 7, 8));
    let sequences: Vec<i32> = world.batches(ORDERS, 0).iter().map(|batch| batch.base_sequence).collect();
    assert_eq!(sequences, [0, i32::MAX - 2, 4]);
    world.settle();
}

/// KAFKA-10335, and three bugs of franz-go: a callback that sends while the memory is used up waited for what only its own
/// thread could give back. Here it is refused at once.
#[test]
fn callbacks_that_send_with_full_memory_hold_up_nobody() {
    let mut world = begin(&[("buffer.memory", "2000")]);
    let letter = Letter { callback: Some(Callback::SendAgain), to: Partition::Open, ..Letter::to(ORDERS, 0) };
    let mut accepted = 0;
    while world.send(letter.clone()).is_some() {
        accepted += 1;
    }
    assert!(accepted > 10, "{accepted} were accepted");
    world.pass(2_000);
    assert!(world.account.sent().iter().all(|sent| matches!(sent.outcome, Some(Ok(_)))));
    world.settle();
}

/// franz-go: a broker that refused every version of ApiVersions was asked in a loop without a pause. Here the version goes
/// down with every refusal, and when there is none left the connection is given up, with a backoff like any other.
#[test]
fn a_broker_that_understands_no_version_is_asked_in_turns() {
    let mut world = World::new(1, &[]);
    world.fault(Fault::Error(ErrorCode::UNSUPPORTED_VERSION).api(Api::ApiVersions).times(u32::MAX));
    world.send(Letter::to(ORDERS, 0));
    world.pass(10_000);
    let (asked, connections) =
        (world.cluster.request_count(Api::ApiVersions), world.cluster.connection_count());
    assert!(asked <= 5 * connections, "{asked} requests on {connections} connections");
    // Three addresses, each 50 ms at first and 500 ms at last.
    assert!(connections <= 3 * 25, "{connections} connections in ten seconds");
    world.cluster.clear_faults();
    world.pass(2_000);
    world.warm_up();
    world.settle();
}

/// librdkafka #4134: two of three brokers were frozen, thawed and frozen again. What was acknowledged had gaps.
#[test]
fn brokers_that_freeze_in_turns_leave_no_gap() {
    let mut world = begin(&[]);
    for round in 0..4 {
        let pause = Duration::from_millis(3_000 + 1_500 * round);
        for node in [1 + round as i32 % 3, 1 + (round as i32 + 1) % 3] {
            world.freeze(node, pause);
        }
        for i in 0..100 {
            world.send(Letter::to(ORDERS, i % 3));
            world.pass(70);
        }
        world.pass(2_000);
    }
    world.recover();
    world.settle();
    // That order and truth hold is in the account. Nothing that was sent before and failed may be missing silently.
    let silent = world.account.sent().iter().filter(|sent| match &sent.outcome {
        Some(Ok(metadata)) => !metadata.has_offset(),
        Some(Err(error)) => {
            !error.may_have_been_written() && !error.to_string().contains("delivery.timeout.ms")
        }
        None => true,
    });
    assert_eq!(silent.count(), 0);
}

/// franz-go 1.21: an answer that ended in the middle counted as a final error, and failed what was waiting. It is a lost
/// connection, wherever the cut is.
#[test]
fn an_answer_that_is_cut_anywhere_is_a_lost_connection() {
    let mut world = begin(&[]);
    for api in [Api::Produce, Api::Metadata, Api::ApiVersions, Api::InitProducerId] {
        for cut in 0..70 {
            world.fault(Fault::CutResponse(cut).api(api));
            let number = world.send_one(ORDERS, 0);
            world.pass(400);
            world.pass(if world.has_ended_for(number) { 0 } else { 1_500 });
            assert!(world.offset(number) > 0, "{api:?} cut after {cut} bytes");
            if api != Api::Produce {
                world.cut(1);
                world.cut(2);
                world.cut(3);
            }
        }
    }
    world.settle();
}

/// No producer's bug, but what sets a refusal apart from a loss: the first of two batches is refused for good, so the second,
/// whose request got lost, cannot be in the log. It is sent again under new numbers instead of being given up.
#[test]
fn what_stands_behind_a_refused_batch_is_sent_again() {
    let mut world = begin(&[("linger.ms", "0"), ("batch.size", "1")]);
    world.fault(Fault::Error(ErrorCode::TOPIC_AUTHORIZATION_FAILED).topic(ORDERS).partition(0));
    let numbers: Vec<usize> = (0..3).map(|_| world.send_one(ORDERS, 0)).collect();
    world.fault(Fault::Close.topic(ORDERS).partition(0));
    world.pass(2_000);
    assert!(!world.error(numbers[0]).may_have_been_written());
    assert_eq!((world.offset(numbers[1]), world.offset(numbers[2])), (1, 2));
    world.settle();
}

/// No producer's bug, but the order when a leader moves: a frozen broker may still have in hand what it was sent, so its
/// successor gets nothing of the partition until that has come back or its connection is closed.
#[test]
fn a_new_leader_gets_nothing_while_the_old_one_has_something() {
    let mut world = begin(&[("linger.ms", "0"), ("metadata.max.age.ms", "50")]);
    let old = world.leader(ORDERS, 0);
    let new = 1 + old % 3;
    world.freeze(old, Duration::from_secs(4));
    let in_hand = world.send_one(ORDERS, 0);
    world.pass(10);
    world.cluster.move_leader(ORDERS, 0, new);
    world.pass(150);
    let before = world.cluster.request_count(Api::Produce);
    let behind: Vec<usize> = (0..3).map(|_| world.send_one(ORDERS, 0)).collect();
    world.pass(600);
    assert_eq!(
        world.cluster.request_count(Api::Produce),
        before,
        "the frozen broker reads nothing, and nobody else may"
    );
    world.pass(3_000);
    assert_eq!(world.offset(in_hand), 1);
    assert_eq!(behind.iter().map(|number| world.offset(*number)).collect::<Vec<_>>(), [2, 3, 4]);
    world.settle();
}

/// No producer's bug either, but the order when the producer's id changes: to a broker a new id is another producer, and its
/// first batch would be taken although an older one under the old id is still to be tried again.
#[test]
fn a_partition_keeps_its_producer_id_until_nothing_is_open() {
    let mut world = World::new(1, &[("linger.ms", "0"), ("batch.size", "1")]);
    world.first_epoch = i16::MAX;
    world.warm_up();
    let node = world.leader(ORDERS, 1);
    world.freeze(node, Duration::from_millis(200));
    world.fault(Fault::Error(ErrorCode::NOT_ENOUGH_REPLICAS).topic(ORDERS).partition(1));
    let open = world.send_one(ORDERS, 1);
    world.fault(Fault::Error(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER).topic(ORDERS).partition(0));
    let refused = world.send_one(ORDERS, 0);
    world.pass(100);
    assert_eq!(world.offset(refused), 1, "under a new id");
    let behind = world.send_one(ORDERS, 1);
    world.pass(2_000);
    assert_eq!((world.offset(open), world.offset(behind)), (1, 2));
    let last = world.send_one(ORDERS, 1);
    world.pass(100);
    assert_eq!(world.offset(last), 3);
    let names = world.names(ORDERS, 1);
    assert_eq!((names[3].0, names[3].2), (names[0].0 + 1, 0), "nothing was open, so the new id has begun");
    world.settle();
}

// ---- found by the nights

/// A broker forgets a producer that was idle for a day, and takes any number for its first. Two batches went out: the first
/// was refused for the moment, the second was taken, and the retry of the first was called a duplicate. It was
/// acknowledged, and lay nowhere.
#[test]
fn a_duplicate_of_what_was_always_refused_is_not_delivered() {
    let mut world = begin(&[("linger.ms", "0"), ("batch.size", "1")]);
    world.fault(Fault::Error(ErrorCode::NOT_ENOUGH_REPLICAS).topic(ORDERS).partition(0).times(2));
    world.cluster.forget_producers();
    let numbers: Vec<usize> = (0..2).map(|_| world.send_one(ORDERS, 0)).collect();
    world.pass(20);
    // As if the broker had taken the number of the first for another batch.
    world.fault(Fault::Error(ErrorCode::DUPLICATE_SEQUENCE_NUMBER).topic(ORDERS).partition(0));
    world.pass(2_000);
    assert_eq!(numbers.iter().map(|number| world.offset(*number)).collect::<Vec<_>>(), [1, 2]);
    world.settle();
}

/// The same broker, and the order: the second batch lay before the first. After a pause the first batch of a partition
/// goes alone, until the broker has taken it.
#[test]
fn after_a_pause_the_first_batch_goes_alone() {
    let mut world = begin(&[("linger.ms", "0"), ("batch.size", "1")]);
    world.pass(100_000);
    world.cluster.forget_producers();
    world.fault(Fault::Error(ErrorCode::NOT_ENOUGH_REPLICAS).topic(ORDERS).partition(0));
    let numbers: Vec<usize> = (0..4).map(|_| world.send_one(ORDERS, 0)).collect();
    world.pass(2_000);
    assert_eq!(numbers.iter().map(|number| world.offset(*number)).collect::<Vec<_>>(), [1, 2, 3, 4]);
    world.settle();
}

/// Brokers up to 3.9 know topics by their names when records come. A topic was deleted and created again, took batches under
/// the name, and their answers were lost. When metadata said that it was another topic, the batches were numbered anew, and
/// lay there twice.
#[test]
fn a_topic_created_again_goes_on_with_its_numbers() {
    let mut world = World::new(1, &[("linger.ms", "0")]);
    world.cluster.set_versions(Api::Produce, 0..=11);
    world.warm_up();
    world.recreate(ORDERS, 3);
    world.fault(Fault::AppendThenClose.topic(ORDERS).partition(0));
    let number = world.send_one(ORDERS, 0);
    world.pass(2_000);
    assert_eq!(world.offset(number), 0, "the first in the new topic");
    assert_eq!(world.batches(ORDERS, 0).len(), 1);
    world.settle();
}

/// The same brokers, and the same topic, with several batches in flight at that moment. The first met a disk error, which
/// leaves open whether it was written; the new topic took the second for the first it had ever seen of the producer. The
/// retry of the first was a duplicate to it, and counted as delivered, but it lay nowhere. That the offsets went back gives
/// the new topic away.
#[test]
fn a_duplicate_in_a_topic_created_again_proves_nothing() {
    let mut world = World::new(1, &[("linger.ms", "0"), ("batch.size", "1")]);
    world.cluster.set_versions(Api::Produce, 0..=11);
    world.warm_up();
    let before: Vec<usize> = (0..3).map(|_| world.send_one(ORDERS, 0)).collect();
    world.pass(100);
    assert_eq!(world.offset(before[2]), 3);
    world.recreate(ORDERS, 3);
    world.fault(Fault::Error(ErrorCode::KAFKA_STORAGE_ERROR).topic(ORDERS).partition(0));
    let numbers: Vec<usize> = (0..3).map(|_| world.send_one(ORDERS, 0)).collect();
    world.pass(2_000);
    assert!(world.error(numbers[0]).may_have_been_written(), "nobody can know");
    assert_eq!((world.offset(numbers[1]), world.offset(numbers[2])), (0, 1));
    world.settle();
}

/// A batch was written and its answer lost. Then the topic's limit was lowered, the retry was too large, and its halves went
/// out under the numbers of the whole, which lay there already.
#[test]
fn a_batch_that_may_have_been_written_is_not_split() {
    let mut world = begin(&[]);
    world.fault(Fault::AppendThenClose.topic(ORDERS).partition(0));
    let numbers: Vec<usize> = (0..4).map(|_| world.send_one(ORDERS, 0)).collect();
    world.pass(20);
    world.cluster.set_max_message_bytes(ORDERS, 90);
    world.pass(2_000);
    for number in numbers {
        let error = world.error(number);
        assert_eq!(error.code(), Some(ErrorCode::MESSAGE_TOO_LARGE));
        assert!(error.may_have_been_written());
    }
    world.heal();
    world.settle();
}

/// A batch was written and its answer lost. Then the topic wanted keys, and refused the retry because of the records without
/// one. Their neighbours were sent again without them, and lay there twice.
#[test]
fn the_neighbours_of_a_bad_record_are_not_sent_again_if_they_may_be_there() {
    let mut world = begin(&[]);
    world.fault(Fault::AppendThenClose.topic(ORDERS).partition(0));
    let with_key =
        world.send(Letter { key: Some(b"k".to_vec()), ..Letter::to(ORDERS, 0) }).expect("there is room");
    let without = world.send_one(ORDERS, 0);
    world.pass(20);
    world.cluster.set_compacted(ORDERS, true);
    world.pass(2_000);
    for number in [with_key, without] {
        assert!(world.error(number).may_have_been_written(), "{}", world.error(number));
    }
    world.heal();
    world.settle();
}

/// Five batches were written, and the answer left out the first. It was tried again together with five new ones, of which
/// no more than five were open at a time. But brokers remember five batches, and the first was the sixth before the
/// last: a duplicate, and nobody could say where it lay.
#[test]
fn five_batches_count_from_the_oldest_that_is_open() {
    let mut world = begin(&[("linger.ms", "0"), ("batch.size", "1")]);
    world.rewrites.push(Rewrite::Produce(Box::new(|answer| {
        answer.responses.iter_mut().for_each(|topic| topic.partition_responses.clear());
    })));
    let numbers: Vec<usize> = (0..5).map(|_| world.send_one(ORDERS, 0)).collect();
    world.pass(20);
    assert!(!world.has_ended_for(numbers[0]) && world.has_ended_for(numbers[4]));
    // Its retry is refused once more, while what comes behind it is taken.
    world.fault(Fault::Error(ErrorCode::NOT_ENOUGH_REPLICAS).topic(ORDERS).partition(0));
    for _ in 0..20 {
        world.send_one(ORDERS, 0);
        world.pass(10);
    }
    world.pass(2_000);
    assert_eq!(world.offset(numbers[0]), 1);
    world.settle();
}

/// Brokers of 4.4 say when a client takes them for another node or cluster, and then it starts again from its bootstrap
/// addresses. It took a new producer id at once, although it was the same cluster after all; what had been written under the
/// old one, and not been answered, was written again.
#[test]
fn starting_again_in_the_same_cluster_keeps_the_producer_id() {
    let mut world = begin(&[("linger.ms", "0")]);
    let node = world.leader(ORDERS, 0);
    world.fault(Fault::AppendThenClose.topic(ORDERS).partition(0));
    world.fault(Fault::Error(ErrorCode::REBOOTSTRAP_REQUIRED).api(Api::ApiVersions).node(node));
    let number = world.send_one(ORDERS, 0);
    world.pass(3_000);
    assert_eq!(world.offset(number), 1);
    let id = world.names(ORDERS, 0)[0].0;
    assert_eq!(world.names(ORDERS, 0), [(id, 0, 0), (id, 0, 1)]);
    world.settle();
}
