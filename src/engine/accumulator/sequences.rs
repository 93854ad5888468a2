//! Producer id, epoch and sequence numbers.
//!
//! A broker keeps the epoch and the sequence per partition. So does this producer: a partition whose sequence broke is
//! restarted at 0 under the next epoch by itself, and the batches of every other partition stay exactly what they were
//! (raising the epoch of all at once is how peers came to write records twice).
//!
//! ```text
//!            InitProducerId                    batch drained: id, epoch, next
//!  Wanted ------------------> Known   Fresh ----------------------------------> Running
//!    ^                          |       ^                                           |
//!    +---- epochs used up ------+       +-- sequence broken and nothing in flight --+
//! ```

use crate::wire::sequence::{Identity, Sequence};

/// The sequence of one partition.
#[derive(Debug, Default)]
pub(super) struct Sequences {
    /// `None` before the first batch, and after a restart that must wait for a new producer id.
    identity: Option<Identity>,
    next: i32,
    broken: bool,
}

impl Sequences {
    /// Numbers for a batch of `count` records. `current` is the producer's own id; a partition that has nothing in
    /// flight moves to it when it is new.
    pub(super) fn assign(&mut self, current: Identity, count: i32, nothing_unresolved: bool) -> Sequence {
        debug_assert!(!self.broken, "a broken sequence is restarted before it is used");
        let moved = self.identity.is_some_and(|mine| mine.id != current.id) && nothing_unresolved;
        if self.identity.is_none() || moved {
            self.identity = Some(current);
            self.next = 0;
        }
        let identity = self.identity.expect("set above");
        let sequence = Sequence { identity, base: self.next };
        self.next = sequence.after(count).base;
        sequence
    }

    /// What the next batch goes by, if that is known already.
    pub(super) fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// The broker will take no batch under the present numbers any more.
    pub(super) fn break_off(&mut self) {
        self.broken = self.identity.is_some();
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Starts again at 0 under the next epoch, or under the producer's `current` id once that is another one. `false`:
    /// no epoch is left (all are used up or [`exhaust`](Self::exhaust)ed), a new producer id is needed.
    ///
    /// The caller makes sure that nothing of this partition is in flight: a batch of the old epoch that arrived after
    /// one of the new epoch would be refused, one that arrived before it keeps its place.
    pub(super) fn restart(&mut self, current: Option<Identity>) -> bool {
        self.broken = false;
        self.next = 0;
        match &mut self.identity {
            Some(mine) if mine.epoch < i16::MAX => {
                mine.epoch += 1;
                true
            }
            mine => mine.take().is_none_or(|mine| current.is_some_and(|current| current.id != mine.id)),
        }
    }

    #[cfg(test)]
    pub(super) fn skip_to(&mut self, next: i32) {
        self.next = next;
    }

    /// The broker has seen a newer epoch under this id: only a new id helps.
    pub(super) fn exhaust(&mut self) {
        if let Some(identity) = &mut self.identity {
            identity.epoch = i16::MAX;
            self.broken = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Identity = Identity { id: 7, epoch: 0 };

    #[test]
    fn sequences_are_contiguous_and_wrap_to_zero() {
        let mut sequences = Sequences::default();
        assert_eq!(sequences.assign(ME, 3, true).base, 0);
        assert_eq!(sequences.assign(ME, 2, false).base, 3);
        for (from, count, to) in [(i32::MAX - 2, 7, 4), (i32::MAX, 1, 0), (2_147_483_547, 200, 99)] {
            assert_eq!(Sequence { identity: ME, base: from }.after(count).base, to, "{from} + {count}");
        }
    }

    #[test]
    fn a_restart_raises_the_epoch_and_begins_at_zero() {
        let mut sequences = Sequences::default();
        sequences.assign(ME, 3, true);
        sequences.break_off();
        assert!(sequences.is_broken());
        assert!(sequences.restart(Some(ME)));
        let again = sequences.assign(ME, 1, true);
        assert_eq!(again, Sequence { identity: Identity { id: 7, epoch: 1 }, base: 0 });
    }

    #[test]
    fn used_up_epochs_need_a_new_id() {
        let mut sequences = Sequences::default();
        sequences.assign(Identity { id: 7, epoch: i16::MAX }, 3, true);
        sequences.break_off();
        assert!(!sequences.restart(Some(Identity { id: 7, epoch: i16::MAX })));
        let other = Identity { id: 8, epoch: 0 };
        assert_eq!(sequences.assign(other, 1, true), Sequence { identity: other, base: 0 });
    }

    #[test]
    fn a_new_id_is_taken_up_only_when_nothing_is_unresolved() {
        let mut sequences = Sequences::default();
        sequences.assign(ME, 3, true);
        let other = Identity { id: 8, epoch: 0 };
        assert_eq!(sequences.assign(other, 1, false), Sequence { identity: ME, base: 3 });
        assert_eq!(sequences.assign(other, 1, true), Sequence { identity: other, base: 0 });
    }
}
