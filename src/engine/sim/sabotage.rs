//! Proof that the checker sees: the world is made to cheat, and every cheat must be found, by the invariant that it breaks.
//!
//! These are faults of a shell or of a broker. What the nights see of faults in the engine itself is shown by
//! `tests/mutants.rs`.

use super::night::Night;
use crate::error::guarded;

/// A deliberate fault of the world, which no honest shell or broker has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sabotage {
    /// Errors of brokers are changed into success.
    LieAboutErrors,
    /// A broker takes the same batch twice.
    AppendTwice,
    /// A broker takes a batch and says for good that it has not.
    AppendAndRefuse,
    /// The next batch is written into the memory of one that waits for the socket.
    ReuseMemory,
    /// A batch with callbacks is dropped.
    ForgetCallbacks,
    /// A flush that is done is not answered.
    ForgetFlushes,
    /// Flushes are answered before the callbacks that were handed over earlier.
    AnswerEarly,
    /// Callbacks run in the wrong order.
    ShuffleCallbacks,
    /// Memory is given back before its time. (Giving it back twice is found by the budget itself.)
    ReleaseEarly,
    /// Memory is given back in part.
    KeepMemory,
    /// The engine's timers are not looked at.
    SleepOn,
}

#[test]
fn every_cheat_is_found() {
    use Sabotage::*;
    for (sabotage, broken) in [
        (LieAboutErrors, "I3 I4"),
        (AppendTwice, "I5"),
        (AppendAndRefuse, "I7"),
        (ReuseMemory, "I3 I4 I5 I13"),
        (ForgetCallbacks, "I1"),
        (ForgetFlushes, "I1"),
        (AnswerEarly, "I1"),
        (ShuffleCallbacks, "I1 I6"),
        (ReleaseEarly, "I8"),
        (KeepMemory, "I8"),
        (SleepOn, "I2 I15"),
    ] {
        let mut found = None;
        for seed in 0..MOST_NIGHTS {
            let night = guarded(|| {
                let mut night = Night::new(seed);
                night.world.sabotage = Some(sabotage);
                night.run()
            });
            if let Err(story) = night {
                found = Some((seed + 1, story));
                break;
            }
        }
        let Some((nights, story)) = found else {
            panic!("{sabotage:?} is not found in {MOST_NIGHTS} nights")
        };
        println!("{sabotage:?}: found after {nights} nights: {story}");
        let invariant = story.split(' ').next().unwrap_or_default();
        assert!(broken.split(' ').any(|broken| broken == invariant), "{sabotage:?} is found as {story}");
    }
}

/// Each is found far sooner.
const MOST_NIGHTS: u64 = 300;
