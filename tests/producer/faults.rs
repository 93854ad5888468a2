//! Brokers that answer wrongly, late or never: what was acknowledged is there, once, and in order.

use std::time::{Duration, Instant};

use kafka_producer::{
    DeliveryCause, ErrorCode, Producer, ProducerRecord,
    testing::{Api, Fault},
};

use crate::harness::{LONG, World, arrived, send, send_to, until};

/// The kernel has taken the request, and nobody reads it before the connection ends.
#[test]
fn requests_that_nobody_has_read() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[]);
    send(&producer, "first").get().unwrap();
    for round in 0..10 {
        world.stall(1);
        let handle = send(&producer, &round.to_string());
        assert!(handle.get_timeout(Duration::from_millis(10)).is_none());
        world.close_connections(1);
        world.resume(1);
        handle.get().unwrap();
    }
    let expected: Vec<_> = ["first".to_owned()].into_iter().chain((0..10).map(|i| i.to_string())).collect();
    assert_eq!(world.values("t"), expected);
}

/// Whether a record is on its way at that moment or not.
#[test]
fn connections_that_are_closed_again_and_again() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[]);
    for i in 0..100 {
        if i % 2 == 0 {
            send(&producer, &i.to_string()).get().unwrap();
            world.close_connections(1);
        } else {
            let handle = send(&producer, &i.to_string());
            world.close_connections(1);
            handle.get().unwrap();
        }
    }
    assert_eq!(world.values("t"), (0..100).map(|i| i.to_string()).collect::<Vec<_>>());
}

/// Sends three times a hundred records with faults before each hundred, and expects all of them, once and in order.
fn hundreds(settings: &[(&str, &str)], mut trouble: impl FnMut(&World)) {
    let world = World::with_partitions(1);
    let producer = world.producer(settings);
    send(&producer, "first").get().unwrap();
    let mut expected = vec!["first".to_owned()];
    for round in 0..3 {
        trouble(&world);
        let values: Vec<_> = (0..100).map(|i| format!("{round} {i:02}")).collect();
        let handles: Vec<_> = values.iter().map(|value| send(&producer, value)).collect();
        let offsets: Vec<_> = arrived(&handles).iter().map(|m| m.offset()).collect();
        let base = expected.len() as i64;
        assert!(offsets == (base..base + 100).collect::<Vec<_>>(), "{offsets:?}");
        expected.extend(values);
    }
    assert_eq!(world.values("t"), expected);
}

const SMALL_BATCHES: [(&str, &str); 2] = [("batch.size", "200"), ("linger.ms", "0")];

#[test]
fn answers_that_are_lost() {
    hundreds(&SMALL_BATCHES, |world| world.fault(Fault::AppendThenClose.times(5)));
}

#[test]
fn requests_that_are_lost() {
    hundreds(&SMALL_BATCHES, |world| world.fault(Fault::Close.times(5)));
}

#[test]
fn errors_of_every_kind_that_can_be_retried() {
    for code in [
        ErrorCode::UNKNOWN_SERVER_ERROR,
        ErrorCode::CORRUPT_MESSAGE,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode::LEADER_NOT_AVAILABLE,
        ErrorCode::NOT_LEADER_OR_FOLLOWER,
        ErrorCode::REQUEST_TIMED_OUT,
        ErrorCode::BROKER_NOT_AVAILABLE,
        ErrorCode::NETWORK_EXCEPTION,
        ErrorCode::NOT_ENOUGH_REPLICAS,
        ErrorCode::KAFKA_STORAGE_ERROR,
        ErrorCode(9999),
    ] {
        hundreds(&SMALL_BATCHES, |world| world.fault(Fault::Error(code).times(2)));
    }
}

#[test]
fn errors_after_which_the_records_are_there_all_the_same() {
    for code in [
        ErrorCode::UNKNOWN_SERVER_ERROR,
        ErrorCode::REQUEST_TIMED_OUT,
        ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        ErrorCode::KAFKA_STORAGE_ERROR,
    ] {
        hundreds(&SMALL_BATCHES, |world| world.fault(Fault::AppendThenError(code).times(3)));
    }
}

#[test]
fn answers_that_never_come() {
    let settings = [("request.timeout.ms", "300"), ("batch.size", "200"), ("linger.ms", "0")];
    hundreds(&settings, |world| world.fault(Fault::NeverAnswer.times(5)));
}

#[test]
fn answers_with_a_number_that_nobody_asked_with() {
    hundreds(&SMALL_BATCHES, |world| world.fault(Fault::WrongCorrelationId.times(3)));
    for api in [Api::ApiVersions, Api::Metadata, Api::InitProducerId] {
        let world = World::with_partitions(1);
        world.fault(Fault::WrongCorrelationId.api(api).times(2));
        send(&world.producer(&[]), "v").get().unwrap();
    }
}

/// At every byte of every kind of answer.
#[test]
fn answers_that_are_cut() {
    let world = World::with_partitions(1);
    let quickest =
        [("reconnect.backoff.ms", "0"), ("reconnect.backoff.max.ms", "0"), ("retry.backoff.ms", "1")];
    let producer = world.producer(&quickest);
    send(&producer, "first").get().unwrap();
    for bytes in 0..70 {
        world.fault(Fault::CutResponse(bytes));
        send(&producer, &bytes.to_string()).get().unwrap();
    }
    let expected: Vec<_> = ["first".to_owned()].into_iter().chain((0..70).map(|i| i.to_string())).collect();
    assert_eq!(world.values("t"), expected);

    for (api, longest) in [(Api::ApiVersions, 60), (Api::Metadata, 120), (Api::InitProducerId, 24)] {
        for bytes in 0..longest {
            world.clear_faults();
            world.fault(Fault::CutResponse(bytes).api(api));
            send(&world.producer(&quickest), "v").get().unwrap();
        }
    }
}

#[test]
fn answers_that_make_no_sense() {
    let prefixed = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat();
    let garbage = [
        vec![0; 100],
        vec![0xff; 100],
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        prefixed(&[]),
        prefixed(&[0, 0]),
        prefixed(&[0xff; 50]),
        prefixed(&[0; 4]),
        prefixed(&[0; 5000]),
        0x7fff_ffff_u32.to_be_bytes().to_vec(),
        0x8000_0000_u32.to_be_bytes().to_vec(),
        (1_u32 << 20).to_be_bytes().to_vec(),
    ];
    for bytes in garbage {
        for api in [Api::Produce, Api::Metadata, Api::ApiVersions, Api::InitProducerId] {
            let world = World::with_partitions(1);
            world.fault(Fault::Garbage(bytes.clone()).api(api));
            let producer = world
                .producer(&[("request.timeout.ms", "500"), ("socket.connection.setup.timeout.ms", "500")]);
            send(&producer, "v").get().unwrap();
            assert_eq!(world.values("t"), ["v"], "{api:?} {bytes:?}");
        }
    }
}

/// How much a peer can make us hold depends on what it was asked for.
#[test]
fn answers_that_are_announced_too_large_say_how_large_they_may_be() {
    for (api, name, limit) in [
        (Api::ApiVersions, "ApiVersions", 1_048_576_u32),
        (Api::Metadata, "Metadata", 67_108_864),
        (Api::InitProducerId, "InitProducerId", 65_536),
        (Api::Produce, "Produce", 8_388_608),
    ] {
        let world = World::with_partitions(1);
        world.fault(Fault::Garbage((limit + 1).to_be_bytes().to_vec()).api(api).times(u32::MAX));
        let settings = [
            ("max.block.ms", "300"),
            ("linger.ms", "0"),
            ("request.timeout.ms", "300"),
            ("delivery.timeout.ms", "300"),
        ];
        let producer = world.producer(&settings);
        let told = match producer.send(ProducerRecord::new("t", "v")) {
            Ok(handle) => handle.get().unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        let (size, limit) = ((limit + 1).to_string(), limit.to_string());
        for part in [name, &size, &limit, &world.address(1).to_string()] {
            assert!(told.contains(part), "{part}: {told}");
        }
        producer.close().unwrap();
    }
}

#[test]
fn a_connection_that_is_closed_at_once() {
    let world = World::with_partitions(1);
    world.fault(Fault::CloseOnAccept.times(5));
    send(&world.producer(&[]), "v").get().unwrap();
}

#[test]
fn an_error_that_is_final_fails_its_records_and_no_others() {
    for code in [
        ErrorCode::TOPIC_AUTHORIZATION_FAILED,
        ErrorCode::INVALID_RECORD,
        ErrorCode::POLICY_VIOLATION,
        ErrorCode::MESSAGE_TOO_LARGE,
        ErrorCode::RECORD_LIST_TOO_LARGE,
    ] {
        let world = World::with_partitions(2);
        let producer = world.producer(&[]);
        arrived(&[send_to(&producer, 0, "first"), send_to(&producer, 1, "first")]);
        world.fault(Fault::Error(code).partition(0));
        let (bad, good) = (send_to(&producer, 0, "bad"), send_to(&producer, 1, "good"));
        let error = bad.get().unwrap_err();
        assert_eq!((error.code(), error.partition(), error.topic()), (Some(code), Some(0), "t"), "{error}");
        assert!(!error.may_have_been_written() && !error.is_retriable() && !error.is_fatal(), "{error}");
        let text = error.to_string();
        assert!(text.contains(code.name().unwrap()) && text.contains("topic t partition 0"), "{text}");
        assert!(text.contains(&world.address(1).to_string()), "the broker is named: {text}");
        good.get().unwrap();
        // The sequence of the partition goes on.
        let handles: Vec<_> = (0..20).map(|i| send(&producer, &i.to_string())).collect();
        arrived(&handles);
        assert_eq!(world.records_of("t", 0).len(), 21);
    }
}

#[test]
fn what_a_broker_explains_is_passed_on() {
    let world = World::with_partitions(1);
    world.set_compacted("t", true);
    let producer = world.producer(&[("linger.ms", "60000")]);
    let without_a_key = send(&producer, "v");
    let error = without_a_key.get().unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::INVALID_RECORD), "{error}");
    assert!(error.to_string().contains("key"), "{error}");
    let record = ProducerRecord::new("t", "v").key("k");
    producer.send(record).unwrap().get().unwrap();
}

#[test]
fn a_broker_that_does_not_answer_stops_nobody_elses_records() {
    let world = World::with_brokers(3);
    let producer = world.producer(&[("request.timeout.ms", "1000")]);
    arrived(&(0..3).map(|p| send_to(&producer, p, "first")).collect::<Vec<_>>());
    world.stall(2);
    let mut held = vec![send_to(&producer, 1, "held")];
    for i in 0..200 {
        send_to(&producer, 2 * (i % 2), &i.to_string()).get().unwrap();
        if i % 20 == 0 {
            held.push(send_to(&producer, 1, "held"));
        }
    }
    assert!(held.iter().all(|handle| !handle.is_done()));
    let connections = world.connection_count();
    until("it is given up and dialled again", || world.connection_count() > connections);
    world.resume(2);
    arrived(&held);
    assert_eq!(world.records_of("t", 1).len(), 1 + held.len());
}

/// More than the kernel takes: a write that does not go on must not stop the thread, nor last for ever.
#[test]
fn a_broker_that_does_not_read_stops_nobody_elses_records() {
    let world = World::with_brokers(2);
    let settings = [("request.timeout.ms", "1000"), ("buffer.memory", "33554432"), ("batch.size", "1000000")];
    let producer = world.producer(&settings);
    arrived(&[send_to(&producer, 0, "first"), send_to(&producer, 1, "first")]);
    world.stall(2);
    let large = "v".repeat(500_000);
    let held: Vec<_> = (0..40).map(|_| send_to(&producer, 1, &large)).collect();
    for i in 0..100 {
        send_to(&producer, 0, &i.to_string()).get().unwrap();
    }
    let connections = world.connection_count();
    until("it is given up and dialled again", || world.connection_count() > connections);
    world.resume(2);
    arrived(&held);
    assert_eq!(world.records_of("t", 1).len(), 41);
}

#[test]
fn records_that_time_out_say_what_is_known_of_them() {
    let world = World::with_partitions(1);
    let settings = [("request.timeout.ms", "200"), ("delivery.timeout.ms", "500"), ("linger.ms", "0")];
    let producer = world.producer(&settings);
    send(&producer, "first").get().unwrap();
    world.stall(1);
    let began = Instant::now();
    let error = send(&producer, "held").get().unwrap_err();
    assert!(began.elapsed() >= Duration::from_millis(500) && began.elapsed() < LONG, "{:?}", began.elapsed());
    assert!(
        matches!(error.cause(), DeliveryCause::DeliveryTimeout { limit } if *limit == Duration::from_millis(500)),
        "{error:?}"
    );
    assert!(error.may_have_been_written(), "it was sent, and nobody answered: {error}");
    assert!(error.attempts() >= 1 && error.elapsed() >= Duration::from_millis(500), "{error:?}");
    world.resume(1);
    until("it works again", || send(&producer, "after").get().is_ok());
    // It may have been written or not, but not twice.
    let held = world.values("t").iter().filter(|value| *value == "held").count();
    assert!(held <= 1, "{held}");
}

#[test]
fn a_broker_that_asks_for_a_pause_gets_one() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[("linger.ms", "0")]);
    send(&producer, "first").get().unwrap();
    world.fault(Fault::Throttle(Duration::from_millis(400)));
    let began = Instant::now();
    send(&producer, "second").get().unwrap();
    send(&producer, "third").get().unwrap();
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
}

/// Twenty-four days, as long as a broker can ask for: a pause that no record lives to see the end of is a mistake.
#[test]
fn a_pause_without_end_ends_with_the_records_that_wait_for_it() {
    let world = World::with_partitions(1);
    let settings = [("request.timeout.ms", "300"), ("delivery.timeout.ms", "600"), ("linger.ms", "0")];
    let producer = world.producer(&settings);
    world.fault(Fault::Throttle(Duration::from_millis(i32::MAX as u64)));
    send(&producer, "first").get().unwrap();
    until("it goes on", || match send(&producer, "next").get() {
        Ok(_) => true,
        Err(error) => {
            assert!(matches!(error.cause(), DeliveryCause::DeliveryTimeout { .. }), "{error:?}");
            assert!(!error.may_have_been_written(), "{error}");
            false
        }
    });
    assert_eq!(world.values("t"), ["first", "next"]);
}

#[test]
fn a_pause_does_not_hold_up_a_close_with_a_limit() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[]);
    world.fault(Fault::Throttle(Duration::from_secs(60)));
    send(&producer, "first").get().unwrap();
    let handle = send(&producer, "held");
    producer.close_timeout(Duration::from_millis(50)).unwrap_err();
    let error = handle.try_get().unwrap().unwrap_err();
    assert!(!error.may_have_been_written(), "{error}");
    assert_eq!(world.values("t"), ["first"]);
}

#[test]
fn a_broker_that_forgets_its_producers_takes_what_comes() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[]);
    for round in 0..5 {
        send(&producer, &round.to_string()).get().unwrap();
        world.forget_producers();
    }
    assert_eq!(world.values("t"), ["0", "1", "2", "3", "4"]);
}

#[test]
fn an_epoch_or_a_sequence_that_is_refused_is_replaced() {
    for code in [
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
        ErrorCode::UNKNOWN_PRODUCER_ID,
        ErrorCode::INVALID_PRODUCER_EPOCH,
        ErrorCode::DUPLICATE_SEQUENCE_NUMBER,
    ] {
        let world = World::with_partitions(1);
        let producer = world.producer(&[]);
        send(&producer, "first").get().unwrap();
        world.fail_next(code, 1);
        let second = send(&producer, "second").get();
        check_goes_on(&world, &producer, second.is_ok());
    }
}

/// Whatever became of the second record, it is told as it is, and those after it arrive.
fn check_goes_on(world: &World, producer: &Producer, second_arrived: bool) {
    send(producer, "third").get().unwrap();
    let mut expected = vec!["first", "third"];
    if second_arrived {
        expected.insert(1, "second");
    }
    assert_eq!(world.values("t"), expected);
}
