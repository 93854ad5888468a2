//! The transactions of a night: somebody begins and ends them one after the other, whatever goes wrong, and keeps a
//! ledger of what readers may see.
//!
//! | | |
//! |---|---|
//! | I14 atomic | of each transaction a reader of committed records sees everything or nothing, its offsets included: everything if the commit has succeeded, nothing if it was aborted or is open, either if nobody knows |
//!
//! A record belongs to the transaction that was open when it was accepted, so a transaction is a range of their numbers.

use std::{collections::BTreeSet, ops::Range, time::Duration};

use super::{
    account::broken,
    world::{ORDERS, World},
};
use crate::{
    ConsumerGroupMetadata, OffsetAndMetadata, TransactionError,
    handoff::{TransactionCall, transaction::TransactionAnswer},
};

/// Everything that was begun in a night.
pub(super) struct Ledger {
    phase: Phase,
    ended: Vec<(Range<usize>, Fate)>,
    /// The offsets that a group may have committed: one, unless nobody knows.
    offsets: BTreeSet<Option<i64>>,
    next_offset: i64,
    /// Why no more transactions can be made.
    death: Option<TransactionError>,
    pub(super) committed: u64,
    pub(super) aborted: u64,
}

enum Phase {
    Fresh,
    Initializing(TransactionAnswer),
    Ready,
    Beginning(TransactionAnswer),
    Open(Open),
    Ending(Open, Fate, TransactionAnswer),
    Dead,
}

#[derive(Default)]
struct Open {
    from: usize,
    offset: Option<i64>,
    /// A call about offsets that has not been answered.
    unanswered: Option<TransactionAnswer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Committed,
    Aborted,
    /// The producer came to its end, or was ended, on the way.
    Unknown,
}

/// What somebody who makes transactions has in mind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// This and that.
    Anything,
    /// One that takes records.
    BeOpen,
    /// None.
    BeDone,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Fresh,
            ended: Vec::new(),
            offsets: BTreeSet::from([None]),
            next_offset: 0,
            death: None,
            committed: 0,
            aborted: 0,
        }
    }

    fn end(&mut self, open: &Open, to: usize, fate: Fate) {
        match fate {
            Fate::Committed => self.committed += 1,
            Fate::Aborted => self.aborted += 1,
            Fate::Unknown => {}
        }
        if let (Some(offset), true) = (open.offset, fate != Fate::Aborted) {
            if fate == Fate::Committed {
                self.offsets.clear();
            }
            self.offsets.insert(Some(offset));
        }
        self.ended.push((open.from..to, fate));
    }
}

impl World {
    /// Why no more transactions can be made.
    pub(super) fn transactions_are_over(&self) -> Option<&TransactionError> {
        self.ledger.as_ref()?.death.as_ref()
    }

    fn is_open(&self) -> bool {
        matches!(self.ledger.as_ref().map(|ledger| &ledger.phase), Some(Phase::Open(_)))
            && self.transaction_failure().is_none()
    }

    fn is_done(&self) -> bool {
        matches!(self.ledger.as_ref().map(|ledger| &ledger.phase), Some(Phase::Ready | Phase::Dead))
    }

    /// Goes on until a transaction takes records, or the producer is at its end; nothing if it makes none.
    pub(super) fn open_transaction(&mut self, limit: Duration) {
        self.drive(Wish::BeOpen, limit, Self::is_open);
    }

    /// Goes on until no transaction is open.
    pub(super) fn end_transaction(&mut self, limit: Duration) {
        self.drive(Wish::BeDone, limit, Self::is_done);
    }

    fn drive(&mut self, wish: Wish, limit: Duration, done: impl Fn(&Self) -> bool) {
        if self.ledger.is_none() {
            return;
        }
        let end = self.now + limit;
        while !done(self) && self.transactions_are_over().is_none() {
            self.step_transactions(wish);
            self.run_for(Duration::from_millis(10));
            if self.now > end {
                broken(
                    "I15 recovery",
                    format!("a transaction is not where it should be after {limit:?}: {wish:?}"),
                );
            }
        }
    }

    /// The next step of whoever makes transactions.
    pub(super) fn step_transactions(&mut self, wish: Wish) {
        let Some(mut ledger) = self.ledger.take() else { return };
        let phase = std::mem::replace(&mut ledger.phase, Phase::Dead);
        ledger.phase = match phase {
            Phase::Fresh => Phase::Initializing(self.call(TransactionCall::Init)),
            Phase::Initializing(answer) => match self.heard(&answer) {
                None => Phase::Initializing(answer),
                Some(Ok(())) => Phase::Ready,
                Some(Err(error)) if !error.is_fatal() => Phase::Fresh,
                Some(Err(error)) => self.die(&mut ledger, error),
            },
            Phase::Ready if wish == Wish::BeDone || (wish == Wish::Anything && self.dice.chance(400)) => {
                Phase::Ready
            }
            Phase::Ready => Phase::Beginning(self.call(TransactionCall::Begin)),
            Phase::Beginning(answer) => match self.heard(&answer) {
                None => Phase::Beginning(answer),
                Some(Ok(())) => {
                    self.let_records_in();
                    Phase::Open(Open { from: self.account.sent().len(), ..Open::default() })
                }
                Some(Err(error)) => self.die(&mut ledger, error),
            },
            Phase::Open(open) => self.go_on(&mut ledger, open, wish),
            Phase::Ending(open, fate, answer) => match self.heard(&answer) {
                None => Phase::Ending(open, fate, answer),
                Some(outcome) => self.ended(&mut ledger, open, fate, outcome),
            },
            Phase::Dead => Phase::Dead,
        };
        self.ledger = Some(ledger);
    }

    fn go_on(&mut self, ledger: &mut Ledger, mut open: Open, wish: Wish) -> Phase {
        match open.unanswered.take().map(|answer| (self.heard(&answer), answer)) {
            Some((None, answer)) if self.dice.chance(950) => {
                open.unanswered = Some(answer);
                return Phase::Open(open);
            }
            // Refused, or its caller waits no longer: what becomes of it is what becomes of the transaction.
            _ => {}
        }
        let failed = self.transaction_failure().is_some();
        let what = match wish {
            Wish::BeOpen if !failed => return Phase::Open(open),
            Wish::BeOpen => 60,
            Wish::BeDone if failed => 60,
            Wish::BeDone => 0,
            Wish::Anything => self.dice.below(1000),
        };
        match what {
            0..60 => self.ask_for_the_end(open, Fate::Committed),
            60..90 => self.ask_for_the_end(open, Fate::Aborted),
            90..160 if open.unanswered.is_none() => {
                ledger.next_offset += 1;
                open.offset = Some(ledger.next_offset);
                let offsets = vec![((ORDERS, 0).into(), OffsetAndMetadata::new(ledger.next_offset))];
                let group = ConsumerGroupMetadata::new(GROUP);
                open.unanswered = Some(self.call(TransactionCall::SendOffsets(offsets, group)));
                Phase::Open(open)
            }
            _ => Phase::Open(open),
        }
    }

    fn ask_for_the_end(&mut self, open: Open, fate: Fate) -> Phase {
        let call = if fate == Fate::Committed { TransactionCall::Commit } else { TransactionCall::Abort };
        Phase::Ending(open, fate, self.call(call))
    }

    fn ended(
        &mut self,
        ledger: &mut Ledger,
        open: Open,
        fate: Fate,
        outcome: Result<(), TransactionError>,
    ) -> Phase {
        let to = self.account.sent().len();
        match outcome {
            Ok(()) => {
                ledger.end(&open, to, fate);
                self.check_transactions(ledger);
                Phase::Ready
            }
            Err(error) if error.is_abortable() => self.ask_for_the_end(open, Fate::Aborted),
            Err(error) => {
                let in_doubt = fate == Fate::Committed && error.may_have_been_written();
                ledger.end(&open, to, if in_doubt { Fate::Unknown } else { Fate::Aborted });
                self.check_transactions(ledger);
                self.die(ledger, error)
            }
        }
    }

    fn die(&mut self, ledger: &mut Ledger, error: TransactionError) -> Phase {
        if !error.is_fatal() {
            broken("I14 atomic", format!("a call was out of place: {error}"));
        }
        if !self.mortal {
            broken("I15 recovery", format!("a producer came to its end without a reason: {error}"));
        }
        ledger.death = Some(error);
        Phase::Dead
    }

    /// The producer is gone; what was open will not be committed, unless it was about to be.
    pub(super) fn close_ledger(&mut self) {
        let Some(mut ledger) = self.ledger.take() else { return };
        let to = self.account.sent().len();
        match std::mem::replace(&mut ledger.phase, Phase::Dead) {
            Phase::Open(open) => ledger.end(&open, to, Fate::Aborted),
            Phase::Ending(open, Fate::Committed, _) => ledger.end(&open, to, Fate::Unknown),
            Phase::Ending(open, ..) => ledger.end(&open, to, Fate::Aborted),
            _ => {}
        }
        self.check_transactions(&ledger);
        self.ledger = Some(ledger);
    }

    fn check_transactions(&self, ledger: &Ledger) {
        let seen = self.committed_records();
        for (records, fate) in &ledger.ended {
            let (from, to) = (records.start, records.end);
            let visible = seen.range(records.clone()).count();
            let fits = match fate {
                Fate::Committed => visible == records.len(),
                Fate::Aborted => visible == 0,
                Fate::Unknown => visible == 0 || visible == records.len(),
            };
            if !fits {
                broken(
                    "I14 atomic",
                    format!("of the transaction of records {from}..{to}, {fate:?}, {visible} are seen"),
                );
            }
        }
        // Nothing lies between transactions.
        let known = ledger.ended.last().map_or(0, |(records, _)| records.end);
        let in_transactions: usize = ledger.ended.iter().map(|(records, _)| records.len()).sum();
        if in_transactions != known {
            broken("I14 atomic", format!("{} records were accepted outside", known - in_transactions));
        }
        if let Some(early) = seen.range(known..).next() {
            broken("I14 atomic", format!("record {early} is seen before the end of its transaction"));
        }
        let offset = self.cluster.committed_offset(GROUP, ORDERS, 0);
        if !ledger.offsets.contains(&offset) {
            broken(
                "I14 atomic",
                format!("the group is at {offset:?}, and should be at {:?}", ledger.offsets),
            );
        }
    }
}

const GROUP: &str = "group";
