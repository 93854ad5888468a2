//! A cluster with an authorizer: what somebody is told who is let in, and may not do what it wants.

use std::time::{Duration, Instant};

use kafka_producer::{ConsumerGroupMetadata, ErrorCode, Producer, ProducerRecord};

use crate::{
    harness::{Case, Cluster, Spec, owned, poll_until},
    security::{build, way_in},
};

pub(crate) fn cases(secured: Spec) -> Vec<Case> {
    let locked = Spec { props: AUTHORIZER, ..secured };
    vec![owned(locked, "locked::who_may_not_do_it_learns_what_is_missing", who_may_not_do_it)]
}

fn who_may_not_do_it(cluster: &mut Cluster) {
    let kafka = cluster.kafka();
    let hidden = kafka.create_topic("hidden", 1, &[]);
    let visible = kafka.create_topic("visible", 1, &[]);
    let open = kafka.create_topic("open", 1, &[]);
    let (secret_id, seen_id) = (kafka.unused_topic_name("secret"), kafka.unused_topic_name("seen"));
    let (good_id, group) = (kafka.unused_topic_name("good"), kafka.unused_topic_name("group"));
    kafka.allow("alice", "Describe", "--topic", &visible);
    kafka.allow("alice", "Describe", "--transactional-id", &seen_id);
    // Far longer than the test may take: what ends the wait is an answer.
    let patient = [("max.block.ms", "600000"), ("delivery.timeout.ms", "600000")];
    let alice = |settings: &[(&'static str, &str)]| {
        let mut all = way_in(cluster, "SASL_PLAINTEXT", "SCRAM-SHA-256");
        all.extend(patient.iter().chain(settings).map(|(name, value)| (*name, (*value).to_owned())));
        build(&all)
    };

    let producer = alice(&[]);
    let (text, code) = refused("a topic that may not even be seen", || send(&producer, &hidden));
    assert_eq!(code, Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED), "{text}");
    assert_names(&text, &[&hidden, "TOPIC_AUTHORIZATION_FAILED", "ACL"]);

    let (text, code) = refused("no right to write anything, so no producer id", || send(&producer, &visible));
    assert_eq!(code, Some(ErrorCode::CLUSTER_AUTHORIZATION_FAILED), "{text}");
    assert_names(
        &text,
        &[&visible, "CLUSTER_AUTHORIZATION_FAILED", "enable.idempotence", "ACL", "127.0.0.1:"],
    );

    let simple = alice(&[("enable.idempotence", "false")]);
    let (text, code) = refused("a topic that may be seen alone", || send(&simple, &visible));
    assert_eq!(code, Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED), "{text}");
    assert_names(&text, &[&visible, "TOPIC_AUTHORIZATION_FAILED", "ACL", "127.0.0.1:"]);

    for (what, id) in [
        ("a transactional id that may not even be seen", &secret_id),
        ("a transactional id that may be seen alone", &seen_id),
    ] {
        let producer = alice(&[("transactional.id", id)]);
        let (text, code) =
            refused(what, || producer.init_transactions().map_err(|error| (error.to_string(), error.code())));
        assert_eq!(code, Some(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED), "{text}");
        assert_names(&text, &[id, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", "ACL", "127.0.0.1:"]);
    }

    kafka.allow("alice", "Write", "--topic", &open);
    kafka.allow("alice", "Write", "--transactional-id", &good_id);
    // Brokers learn of it a moment later; the producer that was refused goes on then.
    let granted = poll_until(LONG, || send(&producer, &open).ok());
    assert!(granted.is_some(), "what was granted meanwhile does not count");

    let producer = alice(&[("transactional.id", &good_id)]);
    producer.init_transactions().unwrap_or_else(|error| panic!("{error}"));
    producer.begin_transaction().unwrap();
    let (text, code) = refused("a group that nobody may commit for", || {
        let offsets = [((open.as_str(), 0), 1)];
        let committed = producer.send_offsets_to_transaction(offsets, &ConsumerGroupMetadata::new(&group));
        committed.map_err(|error| (error.to_string(), error.code()))
    });
    assert_eq!(code, Some(ErrorCode::GROUP_AUTHORIZATION_FAILED), "{text}");
    assert_names(&text, &[&group, "GROUP_AUTHORIZATION_FAILED", "ACL", "127.0.0.1:"]);
    producer.abort_transaction().unwrap_or_else(|error| panic!("{error}"));

    producer.begin_transaction().unwrap();
    let (text, code) =
        refused("a topic that may be seen alone, in a transaction", || send(&producer, &visible));
    assert_eq!(code, Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED), "{text}");
    assert_names(&text, &[&visible, "TOPIC_AUTHORIZATION_FAILED", "ACL"]);
    producer.abort_transaction().unwrap_or_else(|error| panic!("{error}"));
    producer.begin_transaction().unwrap();
    send(&producer, &open).unwrap_or_else(|(text, _)| panic!("{text}"));
    producer.commit_transaction().unwrap_or_else(|error| panic!("{error}"));
}

type Told = (String, Option<ErrorCode>);

fn send(producer: &Producer, topic: &str) -> Result<(), Told> {
    let handle =
        producer.send(ProducerRecord::new(topic, "v")).map_err(|error| (error.to_string(), error.code()))?;
    handle.get().map(drop).map_err(|error| (error.to_string(), error.code()))
}

fn refused(what: &str, call: impl FnOnce() -> Result<(), Told>) -> Told {
    let began = Instant::now();
    let told = call().expect_err(what);
    let elapsed = began.elapsed();
    println!("{what}, after {} ms: {}", elapsed.as_millis(), told.0);
    assert!(elapsed < LONG, "{what}: {elapsed:?} {}", told.0);
    told
}

fn assert_names(text: &str, parts: &[&str]) {
    assert!(
        parts.iter().all(|part| text.contains(part)) && !text.contains("alice-secret"),
        "{parts:?}: {text}"
    );
}

/// The tests' tools come over the listener without security, and may do everything.
const AUTHORIZER: &[(&str, &str)] = &[
    ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
    ("super.users", "User:ANONYMOUS;User:admin"),
];

const LONG: Duration = Duration::from_secs(60);
