//! The producer against real Apache Kafka, read back by Java's consumer and by Kafka's own tools.
//!
//! Needs Java 17 and Maven, which fetches Kafka's jars; `harness/policy.rs` says what happens without them, and which
//! environment variables change that. The tests run one at a time, on clusters that they share and this process starts.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "processes are waited for, sends are paced, free ports are looked for: this is the world outside the crate"
)]

mod acks;
mod bad_input;
mod batches;
mod chaos;
mod compression;
mod delivery;
mod frozen;
mod harness;
mod locked;
mod logins;
mod main_job;
mod memory;
#[path = "../pki/mod.rs"]
mod pki;
mod quota;
mod security;
mod sending;
mod shapes;
mod the_tools;
mod topics;
mod transactions;
mod versions;

use std::process::ExitCode;

use harness::{Spec, any, owned};

/// Tests of the same cluster stand together, since a change of cluster costs its start.
fn main() -> ExitCode {
    // Says nothing unless RUST_LOG asks for it: many tests are about what goes wrong.
    logins::count_and_log(
        env_logger::Builder::new().filter_level(log::LevelFilter::Off).parse_default_env().build(),
    );
    if let Some(ended) = memory::as_the_measured_program() {
        return ended;
    }
    if let Some(ended) = transactions::as_the_killed_program() {
        return ended;
    }
    let mut cases = vec![
        owned(ONE, "the_tools::what_java_writes_is_seen", the_tools::what_java_writes_is_seen),
        any(ONE, "main_job::a_million_records_of_four_threads", main_job::a_million_records_of_four_threads),
        any(ONE, "shapes::null_is_not_empty", shapes::null_is_not_empty),
        any(ONE, "shapes::any_bytes_arrive_as_they_are", shapes::any_bytes_arrive_as_they_are),
        any(ONE, "shapes::headers_keep_order_and_nulls", shapes::headers_keep_order_and_nulls),
        any(ONE, "shapes::a_partition_that_is_named_is_used", shapes::a_partition_that_is_named_is_used),
        any(ONE, "shapes::a_timestamp_that_is_given_is_kept", shapes::a_timestamp_that_is_given_is_kept),
        any(ONE, "shapes::the_broker_may_set_the_timestamp", shapes::the_broker_may_set_the_timestamp),
        owned(
            ONE,
            "batches::every_batch_is_valid_and_in_sequence",
            batches::every_batch_is_valid_and_in_sequence,
        ),
        any(ONE, "compression::every_codec_and_level", compression::every_codec_and_level),
        any(ONE, "compression::a_topic_with_another_codec", compression::a_topic_with_another_codec),
        owned(ONE, "compression::the_codec_lies_on_the_disk", compression::the_codec_lies_on_the_disk),
        any(ONE, "acks::without_acknowledgements", acks::without_acknowledgements),
        any(ONE, "acks::of_the_leader_alone", acks::of_the_leader_alone),
        owned(ONE, "bad_input::a_topic_that_does_not_exist", bad_input::a_topic_that_does_not_exist),
        any(ONE, "bad_input::a_partition_that_does_not_exist", bad_input::a_partition_that_does_not_exist),
        any(ONE, "bad_input::a_record_too_large_for_its_topic", bad_input::a_record_too_large_for_its_topic),
        any(ONE, "bad_input::a_record_too_large_among_others", bad_input::a_record_too_large_among_others),
        owned(ONE, "memory::stays_within_its_limit", memory::stays_within_its_limit),
        any(ONE, "topics::one_is_deleted_and_created_anew", topics::one_is_deleted_and_created_anew),
        any(ONE, "topics::one_is_deleted_for_good", topics::one_is_deleted_for_good),
        any(ONE, "quota::more_than_is_allowed_arrives_late", quota::more_than_is_allowed_arrives_late),
        any(ONE, "topics::partitions_are_added", topics::partitions_are_added),
        any(
            ONE,
            "topics::a_compacted_one_refuses_records_without_a_key",
            topics::a_compacted_one_refuses_records_without_a_key,
        ),
        owned(THREE, "delivery::a_leader_is_killed", delivery::a_leader_is_killed),
        owned(
            THREE,
            "delivery::brokers_restart_in_turn_and_one_freezes",
            delivery::brokers_restart_in_turn_and_one_freezes,
        ),
        owned(
            THREE,
            "frozen::all_brokers_for_longer_than_the_delivery_timeout",
            frozen::all_brokers_for_longer_than_the_delivery_timeout,
        ),
    ];
    cases.extend(security::cases(SECURED));
    cases.extend(locked::cases(SECURED));
    cases.extend(chaos::cases(THREE));
    cases.extend(transactions::cases(THREE));
    cases.extend(transactions::cases_of_a_lowered_cluster(THREE));
    cases.extend(transactions::cases(THREE_OF_KAFKA_3));
    cases.extend(versions::cases());
    harness::run(cases)
}

const ONE: Spec = Spec { nodes: 1, version: "4.3.1", props: &[], secured: false };
const THREE: Spec = Spec { nodes: 3, version: "4.3.1", props: &[], secured: false };
const THREE_OF_KAFKA_3: Spec = Spec { version: "3.9.2", ..THREE };
const SECURED: Spec = Spec { secured: true, ..ONE };
