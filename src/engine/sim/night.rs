//! Nights: which kinds there are, what happens in one, and how it ends.
//!
//! A night draws from its seed which troubles it has, half of all kinds, and then brings them among the sends, flushes and
//! waits of its callers. It ends in quiet, with the account settled and a producer that works again; or with a close in
//! the middle of it all, orderly or forced, after which what is under way arrives all the same.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use super::{
    account::{Tally, broken},
    ledger::Wish,
    troubles::{TROUBLES, Trouble, named},
    world::{AUDIT, Callback, FRESH, Letter, ORDERS, TOPICS, World},
};
use crate::{handoff::Partition, testing::Api};

/// A kind of night.
#[derive(Clone, Copy)]
pub(super) struct Profile {
    pub(super) name: &'static str,
    settings: &'static [(&'static str, &'static str)],
    /// What brokers offer, if not everything.
    versions: &'static [(Api, RangeInclusive<i16>)],
    /// Chance in a thousand that an operation comes with trouble.
    trouble: u64,
    /// Kinds of trouble that other nights do not have.
    also: &'static [&'static str],
    /// Kinds of trouble that this night does not have.
    without: &'static [&'static str],
    shape: Shape,
}

/// What a night has besides its trouble.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Plain,
    /// Sequences begin shortly before the last one.
    NearTheWrap,
    /// The epochs of every producer id are nearly used up.
    LastEpochs,
    /// Hours without a record, after which brokers know nothing of the producer.
    LongPauses,
    /// Records that are as large as batches, and larger.
    LargeRecords,
    /// Transactions, with the protocol of this version at first.
    Transactions(i16),
    /// Transactions that take longer than they may, so that brokers end them.
    ShortTransactions(i16),
}

const PLAIN: Profile = Profile {
    name: "plain",
    settings: &[],
    versions: &[],
    trouble: 100,
    also: &[],
    without: &[],
    shape: Shape::Plain,
};

const PROFILES: &[Profile] = &[
    Profile { name: "quiet", trouble: 0, ..PLAIN },
    PLAIN,
    Profile { name: "stormy", trouble: 250, ..PLAIN },
    Profile { name: "topics created again", trouble: 60, also: &["topic created again"], ..PLAIN },
    Profile { name: "without linger", settings: &[("linger.ms", "0")], ..PLAIN },
    Profile {
        name: "one request in flight",
        settings: &[("max.in.flight.requests.per.connection", "1")],
        ..PLAIN
    },
    Profile {
        name: "two requests in flight",
        settings: &[("max.in.flight.requests.per.connection", "2")],
        ..PLAIN
    },
    Profile {
        name: "without idempotence, one request in flight",
        settings: &[("enable.idempotence", "false"), ("max.in.flight.requests.per.connection", "1")],
        ..PLAIN
    },
    Profile { name: "without idempotence", settings: &[("enable.idempotence", "false")], ..PLAIN },
    Profile { name: "one ack", settings: &[("enable.idempotence", "false"), ("acks", "1")], ..PLAIN },
    Profile { name: "no acks", settings: &[("enable.idempotence", "false"), ("acks", "0")], ..PLAIN },
    Profile { name: "no retries", settings: &[("enable.idempotence", "false"), ("retries", "0")], ..PLAIN },
    Profile { name: "few retries", settings: &[("retries", "2")], ..PLAIN },
    Profile { name: "little memory", settings: &[("buffer.memory", "4000")], ..PLAIN },
    Profile { name: "little time", settings: &[("delivery.timeout.ms", "1005")], ..PLAIN },
    Profile { name: "small requests", settings: &[("max.request.size", "300")], ..PLAIN },
    Profile {
        name: "old brokers",
        versions: &[
            (Api::ApiVersions, 0..=2),
            (Api::Produce, 0..=7),
            (Api::Metadata, 0..=7),
            (Api::InitProducerId, 0..=1),
        ],
        ..PLAIN
    },
    Profile {
        name: "brokers that go by names",
        versions: &[(Api::ApiVersions, 0..=3), (Api::Produce, 0..=11), (Api::Metadata, 0..=12)],
        also: &["topic created again"],
        ..PLAIN
    },
    Profile { name: "near the wrap", shape: Shape::NearTheWrap, ..PLAIN },
    Profile {
        name: "last epochs",
        also: &["sequence refused", "sequence refused", "retriable error"],
        shape: Shape::LastEpochs,
        ..PLAIN
    },
    Profile { name: "long pauses", shape: Shape::LongPauses, ..PLAIN },
    Profile { name: "large records", shape: Shape::LargeRecords, ..PLAIN },
];

const TRANSACTIONS: &[Profile] = &[
    Profile { name: "transactions, quiet", trouble: 0, shape: Shape::Transactions(2), ..TRANSACTIONAL },
    Profile { name: "transactions, first protocol", shape: Shape::Transactions(1), ..TRANSACTIONAL },
    TRANSACTIONAL,
    Profile {
        name: "transactions, changing protocols",
        also: &["coordinator busy", "coordinator moved", "transaction refused", "protocol changed"],
        ..TRANSACTIONAL
    },
    Profile {
        name: "transactions that are too long, first protocol",
        settings: SHORT_TRANSACTIONS,
        shape: Shape::ShortTransactions(1),
        ..TRANSACTIONAL
    },
    Profile {
        name: "transactions that are too long",
        settings: SHORT_TRANSACTIONS,
        shape: Shape::ShortTransactions(2),
        ..TRANSACTIONAL
    },
];

const TRANSACTIONAL: Profile = Profile {
    name: "transactions",
    settings: &[("transactional.id", "tx"), ("transaction.timeout.ms", "900000")],
    also: &["coordinator busy", "coordinator moved", "transaction refused"],
    // Final, if it comes at the wrong time: the id is another producer's then, or the broker makes no sense.
    without: &["producer id refused"],
    shape: Shape::Transactions(2),
    ..PLAIN
};

const SHORT_TRANSACTIONS: &[(&str, &str)] = &[("transactional.id", "tx"), ("transaction.timeout.ms", "700")];

/// What a night came to.
pub(super) struct Report {
    pub(super) troubles: BTreeMap<&'static str, u32>,
    pub(super) tally: Tally,
    pub(super) digest: u64,
}

/// One night; everything about it follows from the seed.
pub(super) struct Night {
    pub(super) world: World,
    profile: Profile,
    troubles: Vec<&'static Trouble>,
}

impl Night {
    pub(super) fn new(seed: u64) -> Self {
        let profile = profile_of(seed);
        let mut world = World::new(seed, profile.settings);
        world.collects = world.dice.chance(500);
        for (api, versions) in profile.versions {
            world.cluster.set_versions(*api, versions.clone());
            if *api == Api::Produce {
                world.account.rules.topics_have_ids = *versions.end() >= 13;
            }
        }
        if let Shape::Transactions(version) | Shape::ShortTransactions(version) = profile.shape {
            world.cluster.set_transaction_version(version);
            world.mortal = matches!(profile.shape, Shape::ShortTransactions(_));
        }
        if profile.shape == Shape::LastEpochs {
            world.first_epoch = i16::MAX - world.dice.below(3) as i16;
        }
        // Half of all kinds: a night with everything is like any other.
        let mut troubles: Vec<&Trouble> =
            TROUBLES.iter().filter(|trouble| !trouble.on_request && world.dice.chance(500)).collect();
        troubles.retain(|trouble| !profile.without.contains(&trouble.name));
        troubles.extend(profile.also.iter().map(|name| named(name)));
        if world.dice.chance(300) {
            troubles.retain(|trouble| !trouble.overtakes);
        }
        world.account.rules.callbacks_in_order &= !troubles.iter().any(|trouble| trouble.overtakes);
        Self { world, profile, troubles }
    }

    pub(super) fn run(mut self) -> Report {
        let operations = 40 + self.world.dice.below(40);
        self.world.open_transaction(IN_QUIET);
        if self.profile.shape == Shape::NearTheWrap || self.world.dice.chance(800) {
            self.world.warm_up();
        }
        if self.profile.shape == Shape::NearTheWrap {
            // Nothing is known of the producer, so any number is as good as the next.
            self.world.run_for(Duration::from_secs(100));
            self.world.cluster.forget_producers();
            let left = self.world.dice.below(30) as i32;
            self.world.engine().accumulator.skip_sequences(i32::MAX - left);
        }
        let end = self.world.dice.below(10);
        let cut = if end < 2 { self.world.dice.below(operations) } else { operations };
        for _ in 0..cut {
            if self.world.dice.chance(self.profile.trouble) {
                self.world.make_trouble(&self.troubles);
            }
            self.operation();
            self.world.step_transactions(Wish::Anything);
        }
        match end {
            0 => self.world.forced_end(),
            1 => self.world.orderly_end(),
            _ => {
                self.world.recover();
                self.world.settle();
            }
        }
        let World { troubles, mut account, digest, ledger, .. } = self.world;
        if let Some(ledger) = ledger {
            (account.tally.committed, account.tally.aborted) = (ledger.committed, ledger.aborted);
        }
        Report { troubles, tally: account.tally, digest }
    }

    fn operation(&mut self) {
        match self.world.dice.below(20) {
            0 => self.world.flush(),
            1 => {
                let sent = self.world.account.sent().len();
                if sent > 0 {
                    let back = self.world.dice.below(sent.min(20) as u64) as usize;
                    self.world.wait_for(sent - 1 - back);
                }
            }
            2..=12 => {
                let letter = self.letter();
                for _ in 0..=self.world.dice.below(12) {
                    let mut next = letter.clone();
                    if self.world.dice.chance(100) {
                        next.callback = None;
                    }
                    if self.world.dice.chance(150) {
                        next.key = None;
                    }
                    self.world.send(next);
                }
            }
            13 if self.profile.shape == Shape::LongPauses => self.long_pause(),
            _ => {}
        }
        let pause = self.world.dice.millis(0, 40);
        self.world.run_for(pause);
    }

    fn letter(&mut self) -> Letter {
        let dice = &mut self.world.dice;
        let topic = dice.pick(&[ORDERS, ORDERS, ORDERS, ORDERS, AUDIT, AUDIT, FRESH]);
        let size = match (self.profile.shape, dice.below(10)) {
            (Shape::LargeRecords, 0..=5) => 80 + dice.below(400) as usize,
            (_, 0) => 30 + dice.below(60) as usize,
            _ => 0,
        };
        let key = dice.chance(400).then(|| vec![b'k', dice.below(9) as u8]);
        let to = match dice.below(4) {
            0 => Partition::Open,
            1 if key.is_some() => Partition::Key,
            _ => Partition::Explicit(dice.below(4) as i32),
        };
        let callback = match dice.below(12) {
            0 => Some(Callback::SendAgain),
            1 => Some(Callback::Panic),
            2..=4 => Some(Callback::Tell),
            _ => None,
        };
        Letter { topic, caller: dice.below(3) as usize, to, key, size, header: dice.chance(100), callback }
    }

    /// Long enough for brokers to forget the producer, for connections to be closed and topics to be dropped.
    fn long_pause(&mut self) {
        self.world.heal();
        self.world.run_for(Duration::from_secs(20));
        let pause = self.world.dice.below(7_200);
        self.world.run_for(Duration::from_secs(600 + pause));
        if self.world.nothing_is_under_way() {
            self.world.cluster.forget_producers();
        }
    }
}

impl World {
    /// The first send asks for the metadata and is refused.
    pub(super) fn warm_up(&mut self) {
        for topic in [ORDERS, AUDIT] {
            self.send(Letter::to(topic, 0));
        }
        self.run_for(Duration::from_secs(1));
        for topic in [ORDERS, AUDIT] {
            for partition in 0..self.cluster.partition_count(topic) {
                if self.send(Letter::to(topic, partition)).is_none() {
                    broken("I15 recovery", "no metadata after a quiet second".into());
                }
            }
        }
        self.run_for(Duration::from_secs(1));
    }

    /// The trouble ends: what is sent from now on is acknowledged soon.
    pub(super) fn recover(&mut self) {
        self.heal();
        let healed = self.now;
        let begun = self.account.sent().len();
        let settings = &self.settings;
        let mut limit = settings.reconnect_backoff.1 * 2
            + settings.request_timeout
            + settings.setup_timeout.1
            + settings.retry_backoff.1 * 2;
        if settings.transactional_id.is_some() {
            // Before that an abort may wait until the fate of every record is clear.
            limit += settings.delivery_timeout;
        }
        let mut recovered = false;
        while !recovered {
            self.step_transactions(Wish::BeOpen);
            if self.transactions_are_over().is_some() {
                return;
            }
            self.send(Letter::to(ORDERS, 0));
            let until = self.now + Duration::from_millis(100);
            recovered = self.run_until(until, |world| {
                world.account.sent()[begun..].iter().any(|sent| matches!(sent.outcome, Some(Ok(_))))
            });
            if self.now > healed + limit {
                broken("I15 recovery", format!("{limit:?} after the trouble nothing is acknowledged"));
            }
        }
    }

    /// Quiet, until everything has ended and is accounted for.
    pub(super) fn settle(&mut self) {
        self.run_for(self.settings.delivery_timeout + Duration::from_secs(10));
        if !self.is_idle() {
            broken("I2 time", "something is still in flight".into());
        }
        if self.unanswered_flushes() > 0 {
            broken("I1 once", format!("{} flushes were never answered", self.unanswered_flushes()));
        }
        let free = self.free_memory();
        self.account.close(self.now, free);
        self.end_transaction(IN_QUIET);
        if self.transactions_are_over().is_some() {
            return self.close_ledger();
        }
        let mut places = Vec::new();
        for topic in TOPICS {
            places.extend((0..self.cluster.partition_count(topic)).map(|partition| (topic, partition)));
        }
        // What was said of topics at night is said once more when somebody asks, and a connection that lost its far end
        // is noticed when it is used: only retries, or another try, get over that.
        let has_one_try =
            self.settings.retries == 0 || self.settings.delivery_timeout < self.settings.request_timeout * 2;
        for attempt in 0..2 {
            self.open_transaction(IN_QUIET);
            let begun = self.account.sent().len();
            let sent =
                places.iter().filter(|(topic, partition)| self.send(Letter::to(topic, *partition)).is_some());
            let all_sent = sent.count() == places.len();
            self.run_for(Duration::from_secs(3));
            self.end_transaction(IN_QUIET);
            if self.transactions_are_over().is_some() {
                return self.close_ledger();
            }
            let lost = self.account.sent()[begun..].iter().find(|sent| !matches!(sent.outcome, Some(Ok(_))));
            match lost {
                None if all_sent => break,
                _ if attempt == 0 && (!all_sent || has_one_try) => {}
                None => broken("I15 recovery", "a record is refused long after the night".into()),
                Some(sent) => {
                    broken("I15 recovery", format!("{:?} after the night: {:?}", sent.to, sent.outcome));
                }
            }
        }
    }

    /// Closed in the middle of it all, and everything that was accepted is done first.
    pub(super) fn orderly_end(&mut self) {
        if self.dice.chance(500) {
            self.heal();
        }
        self.close();
        if self.send(Letter::to(ORDERS, 0)).is_some() {
            broken("I1 once", "a closed producer takes a record".into());
        }
        let end = self.now + self.settings.delivery_timeout + Duration::from_millis(500);
        if !self.run_until(end, Self::has_ended) {
            broken("I2 time", "the producer does not end".into());
        }
        self.afterwards();
    }

    /// Closed in the middle of it all, without waiting for anything.
    pub(super) fn forced_end(&mut self) {
        self.force_close();
        self.run_for(Duration::ZERO);
        if !self.has_ended() {
            broken("I2 time", "the producer does not end".into());
        }
        self.afterwards();
    }

    /// What is under way arrives late, after the producer is gone.
    fn afterwards(&mut self) {
        self.heal();
        self.run_for(Duration::from_secs(15));
        if self.unanswered_flushes() > 0 {
            broken("I1 once", format!("{} flushes were never answered", self.unanswered_flushes()));
        }
        self.account.close(self.now, None);
        self.close_ledger();
    }
}

/// When everything works: longer than every backoff and every answer that is late.
const IN_QUIET: Duration = Duration::from_secs(20);

pub(super) fn profile_of(seed: u64) -> Profile {
    let profiles = if seed < FIRST_WITH_TRANSACTIONS { PROFILES } else { TRANSACTIONS };
    profiles[(seed % profiles.len() as u64) as usize]
}

/// The seeds from here on are those of nights with transactions.
pub(super) const FIRST_WITH_TRANSACTIONS: u64 = 1_000_000_000;
