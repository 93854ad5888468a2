//! The engine in a world of its own: a virtual clock, callers, links with delays, a cluster that is a model, and troubles
//! drawn from a seed. Thousands of nights in a minute, each of them repeatable.
//!
//! ```text
//!  night ----- sends, troubles ----> world ---- engine, hub, links, cluster model
//!    |                                 |  what was sent, what went over the wire, what lies in the logs
//!    `------ is it over? ----------> account: what must hold, after every step
//! ```
//!
//! - [`account`] is the checker, with the list of what must hold;
//! - [`ledger`] makes transactions, in nights that have them, and checks what readers see of them;
//! - [`night`] has the kinds of nights, and how one begins and ends;
//! - [`troubles`] is what can go wrong;
//! - [`world`] carries things between the engine and the model;
//! - [`museum`] tells the bugs of other producers, and those found here, as small scripted nights;
//! - [`catalogue`] has such nights for the faults that `docs/faults.md` lists;
//! - [`sabotage`] shows that the checker sees, by making the world cheat. What it would see of an engine that is wrong is
//!   shown by `tests/mutants.rs`, which changes the engine's source.
//!
//! | | |
//! |---|---|
//! | `cargo test --lib engine::sim` | as many nights as in CI, and the museum |
//! | `SIM_RUNS=100000 cargo test --lib engine::sim::nights -- --nocapture` | more of them, and what they came to |
//! | `SIM_FROM=100000 SIM_RUNS=200000 ...` | others |
//! | `SIM_SEED=17 cargo test --lib engine::sim::nights` | one again; with `SIM_TELLS=1` and `--nocapture` it tells its story |

#![allow(clippy::disallowed_methods, reason = "an `Instant` to begin with comes from nowhere else")]

mod account;
mod catalogue;
mod ledger;
mod museum;
mod night;
mod sabotage;
mod troubles;
mod world;

use std::{collections::BTreeMap, ops::Range, time::Instant};

use self::{
    account::Tally,
    night::{FIRST_WITH_TRANSACTIONS, Night, Report, profile_of},
};
use crate::error::guarded;

/// What many nights came to.
#[derive(Default)]
struct Summary {
    nights: u64,
    troubles: BTreeMap<&'static str, u32>,
    tally: Tally,
    /// What was broken, by seed.
    failures: BTreeMap<u64, String>,
}

impl Summary {
    fn add(&mut self, seed: u64, night: Result<Report, String>) {
        self.nights += 1;
        match night {
            Ok(report) => self.count(report.troubles, &report.tally),
            Err(story) => {
                self.failures.insert(seed, story);
            }
        }
    }

    fn join(&mut self, other: Self) {
        self.nights += other.nights;
        self.count(other.troubles, &other.tally);
        self.failures.extend(other.failures);
    }

    fn count(&mut self, troubles: BTreeMap<&'static str, u32>, tally: &Tally) {
        troubles.into_iter().for_each(|(name, n)| *self.troubles.entry(name).or_default() += n);
        self.tally.add(tally);
    }
}

/// Runs one night; `Err` says what was broken.
fn night(seed: u64) -> Result<Report, String> {
    guarded(|| Night::new(seed).run())
}

/// The seeds to run, of those from `first` on.
fn runs(first: u64, runs_by_default: u64) -> Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    match number("SIM_SEED") {
        Some(seed) if (seed < FIRST_WITH_TRANSACTIONS) == (first < FIRST_WITH_TRANSACTIONS) => seed..seed + 1,
        Some(_) => first..first,
        None => {
            let runs = number("SIM_RUNS").unwrap_or(runs_by_default);
            first + number("SIM_FROM").unwrap_or(0)..first + runs
        }
    }
}

#[test]
fn nights() {
    run(runs(0, RUNS));
}

#[test]
fn nights_with_transactions() {
    run(runs(FIRST_WITH_TRANSACTIONS, RUNS_WITH_TRANSACTIONS));
}

fn run(runs: Range<u64>) {
    let begun = Instant::now();
    let workers = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let work = |worker: u64| {
        let mut summary = Summary::default();
        for seed in runs.clone().filter(|seed| seed % workers == worker) {
            summary.add(seed, night(seed));
            if summary.failures.len() == MOST_FAILURES {
                break;
            }
        }
        summary
    };
    let mut summary = Summary::default();
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..workers).map(|worker| scope.spawn(move || work(worker))).collect();
        threads
            .into_iter()
            .for_each(|thread| summary.join(thread.join().expect("a night's panic is caught")));
    });
    println!("{} nights in {:.1?}: {:?}", summary.nights, begun.elapsed(), summary.tally);
    println!("{} troubles: {:#?}", summary.troubles.values().sum::<u32>(), summary.troubles);
    for (seed, story) in &summary.failures {
        println!("night {seed} ({}): {story}", profile_of(*seed).name);
    }
    if let Some(seed) = summary.failures.keys().next() {
        panic!(
            "{} nights were broken; the first again: SIM_TELLS=1 SIM_SEED={seed} cargo test --lib engine::sim::nights -- \
             --nocapture",
            summary.failures.len()
        );
    }
}

/// A failing seed is worth something only if it fails again.
#[test]
fn the_same_seed_is_the_same_night() {
    for seed in (0..100).chain(FIRST_WITH_TRANSACTIONS..FIRST_WITH_TRANSACTIONS + 30) {
        let (one, other) = (Night::new(seed).run(), Night::new(seed).run());
        assert_eq!(one.digest, other.digest, "night {seed}");
        assert_eq!(one.troubles, other.troubles, "night {seed}");
    }
}

/// Under a minute on two cores that do nothing else.
const RUNS: u64 = 10_000;
const RUNS_WITH_TRANSACTIONS: u64 = 3_000;

/// More say no more.
const MOST_FAILURES: usize = 8;
