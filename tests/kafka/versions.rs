//! What brokers of every version must take: the oldest that runs on Java 17, the last of the old protocol's, the usual
//! one and the newest.
//!
//! `cargo test` runs the oldest and the newest on one broker. `KAFKA_VERSIONS=all cargo test --test kafka -- versions`
//! runs all of them, and those that want three brokers too; a list, `KAFKA_VERSIONS=2.8.2,3.9.2`, names any that Maven
//! can fetch.

use std::env;

use crate::{
    bad_input, batches, delivery,
    harness::{Case, Spec, any, owned},
    main_job, transactions,
};

/// The tests of the versions that `KAFKA_VERSIONS` names, by one version after the other.
pub(crate) fn cases() -> Vec<Case> {
    let named = env::var("KAFKA_VERSIONS").unwrap_or_default();
    match &*named {
        "" => [OLDEST, NEWEST].into_iter().flat_map(with_one_broker).collect(),
        "all" => ALL.into_iter().flat_map(with_one_and_three_brokers).collect(),
        // The list is as long as somebody's patience: what it takes may as well be kept.
        list => list
            .split(',')
            .map(|v| &*v.trim().to_owned().leak())
            .flat_map(with_one_and_three_brokers)
            .collect(),
    }
}

fn with_one_broker(version: &'static str) -> Vec<Case> {
    let one = Spec { nodes: 1, version, props: &[], secured: false };
    let name = |test: &str| format!("versions::{version}::{test}");
    vec![
        any(one, name("the_main_job"), main_job::twenty_thousand_records_of_four_threads),
        owned(
            one,
            name("every_batch_is_valid_and_in_sequence"),
            batches::every_batch_is_valid_and_in_sequence,
        ),
        any(one, name("a_record_too_large_among_others"), bad_input::a_record_too_large_among_others),
        owned(
            one,
            name("offsets_count_with_their_transaction"),
            transactions::offsets_count_with_their_transaction,
        ),
        owned(
            one,
            name("the_later_of_two_producers_goes_on"),
            transactions::the_later_of_two_producers_goes_on,
        ),
    ]
}

fn with_one_and_three_brokers(version: &'static str) -> Vec<Case> {
    let three = Spec { nodes: 3, version, props: &[], secured: false };
    let mut cases = with_one_broker(version);
    cases.push(owned(
        three,
        format!("versions::{version}::a_leader_is_killed"),
        delivery::a_leader_is_killed,
    ));
    cases
}

/// With ZooKeeper, without topic ids, and without the newest ApiVersions. Older ones do not start on Java 17.
const OLDEST: &str = "2.8.2";
const NEWEST: &str = "4.4.0";
const ALL: [&str; 4] = [OLDEST, "3.9.2", "4.3.1", NEWEST];
