//! What cannot be: an error that names the value, the limit and the setting, in time, with nothing half done.

use std::time::{Duration, Instant};

use kafka_producer::{
    ConfigError, ErrorCode, Producer, ProducerConfig, ProducerRecord, SendErrorKind,
    testing::{Api, Cluster, Fault},
};

use crate::harness::{DeadAddress, LONG, World, quick, send};

#[test]
fn a_topic_name_that_no_broker_takes() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[]);
    let too_long = "x".repeat(250);
    let enormous = "x".repeat(100_000);
    for name in ["", ".", "..", "a/b", "a b", "ü", "a\0b", "a\nb", "a,b", &too_long, &enormous] {
        let record = || ProducerRecord::new(name, "v");
        let attempts = [
            producer.send(record()).map(drop),
            producer.send(record().partition(0)).map(drop),
            producer.try_send(record()).map(drop),
            producer.partitions_for(name).map(drop),
        ];
        for refused in attempts {
            let error = refused.unwrap_err();
            assert!(
                matches!(error.kind(), SendErrorKind::InvalidTopic { topic, .. } if topic == name),
                "{name:?}: {error:?}"
            );
            assert!(error.to_string().contains("topic name"), "{error}");
            assert!(!error.is_retriable() && !error.is_fatal() && !error.may_have_been_written());
        }
    }
    assert_eq!(world.connection_count(), 0, "nobody need be asked");
    send(&producer, "good").get().unwrap();
}

#[test]
fn every_topic_name_that_brokers_take() {
    let longest = "x".repeat(249);
    let names = ["a", "...", "_", "-", "A.b_c-9", &longest];
    let mut builder = Cluster::builder().auto_create_topics(false);
    for name in names {
        builder = builder.topic(name, 1);
    }
    let world = World::start(builder);
    let producer = world.producer(&[]);
    for name in names {
        producer.send(ProducerRecord::new(name, "v")).unwrap().get().unwrap();
        assert_eq!(world.values(name), ["v"]);
    }
}

#[test]
fn a_topic_that_does_not_exist() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[("max.block.ms", "300")]);
    let began = Instant::now();
    let error = producer.send(ProducerRecord::new("missing", "v")).unwrap_err();
    assert!(began.elapsed() >= Duration::from_millis(300) && began.elapsed() < LONG);
    assert!(
        matches!(error.kind(), SendErrorKind::MetadataTimeout { topic, .. } if topic == "missing"),
        "{error:?}"
    );
    let text = error.to_string();
    for named in ["\"missing\"", "300ms (max.block.ms)", "UNKNOWN_TOPIC_OR_PARTITION"] {
        assert!(text.contains(named), "{named}: {text}");
    }
    assert!(error.is_retriable() && !error.is_fatal() && !error.may_have_been_written());
    let error = producer.partitions_for("missing").unwrap_err();
    assert!(matches!(error.kind(), SendErrorKind::MetadataTimeout { .. }), "{error:?}");

    send(&producer, "good").get().unwrap();
    // Somebody may create it later.
    world.create_topic("missing", 1);
    producer.send(ProducerRecord::new("missing", "v")).unwrap().get().unwrap();
}

#[test]
fn a_topic_that_may_not_be_written() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[]);
    world.set_topic_error("secret", Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED));
    let error = producer.send(ProducerRecord::new("secret", "v")).unwrap_err();
    assert!(matches!(error.kind(), SendErrorKind::Refused { topic, .. } if topic == "secret"), "{error:?}");
    assert_eq!(error.code(), Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED));
    assert!(error.to_string().contains("TOPIC_AUTHORIZATION_FAILED") && !error.is_retriable(), "{error}");
    send(&producer, "good").get().unwrap();

    world.create_topic("secret", 1);
    world.set_topic_error("secret", None);
    crate::harness::until("what was granted meanwhile counts", || {
        producer.send(ProducerRecord::new("secret", "v")).is_ok_and(|handle| handle.get().is_ok())
    });
}

#[test]
fn a_partition_that_does_not_exist() {
    let world = World::with_partitions(3);
    let producer = world.producer(&[("max.block.ms", "300")]);
    for partition in [3, 4, i32::MAX] {
        let began = Instant::now();
        let error = producer.send(ProducerRecord::new("t", "v").partition(partition)).unwrap_err();
        assert!(began.elapsed() >= Duration::from_millis(300) && began.elapsed() < LONG);
        let named = matches!(
            error.kind(),
            SendErrorKind::UnknownPartition { topic, partition: p, count: 3, .. } if topic == "t" && *p == partition
        );
        assert!(named, "{error:?}");
        let text = error.to_string();
        for part in [&partition.to_string(), "\"t\"", "3 partitions", "300ms (max.block.ms)"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(error.is_retriable() && !error.may_have_been_written());
    }
    for partition in [-1, -2, i32::MIN] {
        let error = producer.send(ProducerRecord::new("t", "v").partition(partition)).unwrap_err();
        assert!(
            matches!(error.kind(), SendErrorKind::InvalidPartition { partition: p, .. } if *p == partition),
            "{error:?}"
        );
        assert!(error.to_string().contains(&partition.to_string()) && !error.is_retriable(), "{error}");
    }
    assert_eq!(world.record_count("t"), 0);
    producer.send(ProducerRecord::new("t", "v").partition(2)).unwrap().get().unwrap();
}

/// An answer without an error and without partitions is no answer: least of all is it a success.
#[test]
fn a_topic_without_partitions() {
    let world = World::with_partitions(1);
    world.set_topic_error("hollow", Some(ErrorCode::NONE));
    let producer = world.producer(&[("max.block.ms", "300")]);
    let error = producer.send(ProducerRecord::new("hollow", "v")).unwrap_err();
    assert!(matches!(error.kind(), SendErrorKind::MetadataTimeout { .. }), "{error:?}");
    producer.close().unwrap();
}

#[test]
fn brokers_that_are_not_there() {
    let _watch = crate::harness::Watch::new();
    let free = DeadAddress::new();
    let producer = Producer::new(quick(&free.to_string()).max_block(Duration::from_millis(300))).unwrap();
    let began = Instant::now();
    let error = producer.send(ProducerRecord::new("t", "v")).unwrap_err();
    assert!(began.elapsed() >= Duration::from_millis(300) && began.elapsed() < LONG);
    assert!(matches!(error.kind(), SendErrorKind::MetadataTimeout { .. }), "{error:?}");
    let text = error.to_string();
    for named in ["\"t\"", "300ms (max.block.ms)", &free.to_string(), "refused"] {
        assert!(text.contains(named), "{named}: {text}");
    }
    assert!(error.is_retriable() && !error.is_fatal());
    producer.close().unwrap();
}

#[test]
fn bootstrap_servers_that_cannot_be() {
    for (servers, says) in [
        ("", "at least one"),
        ("localhost", "no port"),
        ("localhost:", "no port"),
        (":9092", "no host"),
        ("localhost:99999", "1 to 65535"),
        ("localhost:0", "1 to 65535"),
        ("localhost:-1", "1 to 65535"),
        ("localhost:kafka", "1 to 65535"),
        ("local host:9092", "host"),
        ("::1:9092", "brackets"),
        ("localhost:9092,other", "no port"),
        ("no-such-host.invalid:9092", "no-such-host.invalid:9092: cannot be resolved"),
        (
            "no-such-host.invalid:9092,neither.invalid:1",
            "none of them can be resolved: no-such-host.invalid:9092: ",
        ),
    ] {
        let error = Producer::new(ProducerConfig::new(servers)).map(drop).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("bootstrap.servers") && text.contains(says), "{servers:?}: {text}");
        assert!(text.contains(servers), "{servers:?}: {text}");
        assert!(error.is_fatal() && !error.is_retriable() && !error.may_have_been_written());
    }
    let nothing_at_all = Producer::new(ProducerConfig::default()).map(drop).unwrap_err();
    assert!(nothing_at_all.to_string().contains("bootstrap.servers"), "{nothing_at_all}");
}

#[test]
fn one_good_bootstrap_server_is_enough() {
    let world = World::with_partitions(1);
    let servers = format!("no-such-host.invalid:9092,{}", world.bootstrap());
    let producer = Producer::new(quick(&servers)).unwrap();
    send(&producer, "v").get().unwrap();
    // A list with a mistake in it was not meant that way, though.
    let servers = format!("{},localhost:99999", world.bootstrap());
    Producer::new(quick(&servers)).map(drop).unwrap_err();
}

#[test]
fn settings_that_cannot_be_are_told_all_at_once() {
    let config = ProducerConfig::new("localhost:99999")
        .set("acks", "2")
        .set("lingr.ms", "5")
        .set("batch.size", "-1")
        .set("max.in.flight.requests.per.connection", "6")
        .set("buffer.memory", "much");
    let error = Producer::new(config).map(drop).unwrap_err();
    for (name, value, says) in [
        ("bootstrap.servers", "localhost:99999", "65535"),
        ("acks", "2", "all"),
        ("lingr.ms", "5", "linger.ms"),
        ("batch.size", "-1", "0"),
        ("max.in.flight.requests.per.connection", "6", "enable.idempotence"),
        ("buffer.memory", "much", "number"),
    ] {
        check_problem(&error, name, value, says);
    }
    assert_eq!(error.problems().len(), 6, "{error}");
}

#[test]
fn settings_that_contradict_each_other() {
    type Settings<'a> = &'a [(&'a str, &'a str)];
    let contradictions: [(Settings<'_>, &str, &str); 4] = [
        (&[("enable.idempotence", "true"), ("acks", "1")], "acks", "enable.idempotence"),
        (&[("enable.idempotence", "true"), ("retries", "0")], "retries", "enable.idempotence"),
        (
            &[("enable.idempotence", "true"), ("max.in.flight.requests.per.connection", "6")],
            "max.in.flight.requests.per.connection",
            "5",
        ),
        (&[("delivery.timeout.ms", "1000")], "delivery.timeout.ms", "request.timeout.ms"),
    ];
    for (settings, name, says) in contradictions {
        let config =
            settings.iter().fold(quick("localhost:9092"), |config, (name, value)| config.set(name, value));
        let error = Producer::new(config).map(drop).unwrap_err();
        let problem =
            error.problems().iter().find(|p| p.name == name).unwrap_or_else(|| panic!("{name}: {error}"));
        assert!(problem.problem.contains(says), "{problem:?}");
    }
}

fn check_problem(error: &ConfigError, name: &str, value: &str, says: &str) {
    let problem =
        error.problems().iter().find(|p| p.name == name).unwrap_or_else(|| panic!("{name}: {error}"));
    assert_eq!(problem.value, value, "{problem:?}");
    assert!(problem.problem.contains(says), "{problem:?}");
}

/// A cluster that refuses producer ids (an old or locked one) is told by the records, not by silence.
#[test]
fn a_cluster_that_gives_no_producer_id() {
    let world = World::with_partitions(1);
    let refusal = Fault::Error(ErrorCode::CLUSTER_AUTHORIZATION_FAILED).api(Api::InitProducerId);
    world.fault(refusal.times(u32::MAX));
    let producer = world.producer(&[]);
    let error = send(&producer, "v").get().unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::CLUSTER_AUTHORIZATION_FAILED), "{error}");
    assert!(!error.may_have_been_written() && error.to_string().contains("enable.idempotence"), "{error}");
    world.clear_faults();
    crate::harness::until("it asks again", || send(&producer, "v").get().is_ok());
    assert_eq!(world.record_count("t"), 1);
}
