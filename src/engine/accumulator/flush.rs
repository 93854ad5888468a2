//! Which batches a flush waits for: those begun before it, and no later ones.
//!
//! Batches are counted per epoch; a flush ends the present epoch and is answered when it and all earlier ones are
//! empty. That is one counter per flush, however many batches there are.

use std::collections::VecDeque;

#[derive(Debug)]
pub(super) struct FlushLedger<P> {
    /// The epoch of the first entry.
    first: u64,
    /// Never empty; the last is the present epoch, which no flush has ended yet.
    epochs: VecDeque<Epoch<P>>,
}

#[derive(Debug)]
struct Epoch<P> {
    unsettled: usize,
    promise: Option<P>,
}

impl<P> FlushLedger<P> {
    pub(super) fn new() -> Self {
        Self { first: 0, epochs: VecDeque::from([Epoch { unsettled: 0, promise: None }]) }
    }

    /// A batch begins; it belongs to the epoch returned.
    pub(super) fn begin_batch(&mut self) -> u64 {
        self.present().unsettled += 1;
        self.first + self.epochs.len() as u64 - 1
    }

    /// A batch of `epoch` has become two.
    pub(super) fn add_batch(&mut self, epoch: u64) {
        self.epochs[(epoch - self.first) as usize].unsettled += 1;
    }

    /// A flush begins. Batches of the epoch returned, and of earlier ones, are what it waits for.
    pub(super) fn begin_flush(&mut self, promise: P) -> u64 {
        self.present().promise = Some(promise);
        self.epochs.push_back(Epoch { unsettled: 0, promise: None });
        self.first + self.epochs.len() as u64 - 2
    }

    /// A batch of `epoch` is settled.
    pub(super) fn settle_batch(&mut self, epoch: u64) {
        let epoch = &mut self.epochs[(epoch - self.first) as usize];
        epoch.unsettled -= 1;
    }

    /// The next flush that is done, in the order they began.
    pub(super) fn pop_done(&mut self) -> Option<P> {
        if self.epochs.len() > 1 && self.epochs[0].unsettled == 0 {
            self.first += 1;
            return self.epochs.pop_front()?.promise;
        }
        None
    }

    fn present(&mut self) -> &mut Epoch<P> {
        self.epochs.back_mut().expect("there is always a present epoch")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_waits_for_what_came_before_it_only() {
        let mut ledger = FlushLedger::new();
        let first = ledger.begin_batch();
        assert_eq!(ledger.begin_flush('a'), first);
        let second = ledger.begin_batch();
        assert!(second > first);
        ledger.begin_flush('b');
        assert_eq!(ledger.pop_done(), None);
        ledger.settle_batch(second);
        assert_eq!(ledger.pop_done(), None, "flush b also covers the first batch");
        ledger.settle_batch(first);
        assert_eq!((ledger.pop_done(), ledger.pop_done(), ledger.pop_done()), (Some('a'), Some('b'), None));
    }

    #[test]
    fn a_flush_of_nothing_is_done_at_once() {
        let mut ledger = FlushLedger::new();
        ledger.begin_flush('a');
        assert_eq!(ledger.pop_done(), Some('a'));
    }
}
