//! When records are let in: only while a transaction is open, if the producer makes transactions at all.
//!
//! What a transaction is to a broker is not known here. The gates are the lanes' own
//! ([`Lane::barred`](super::lane::Lane::barred)), read under the lane's lock, so a record is on one side of a change:
//! what was accepted lies before the command that ends its transaction, and nothing slips into the next one.
//!
//! ```text
//!   begin:  the sender thread agrees ----> lanes let records in
//!   commit: lanes bar records, then the command goes through the channel behind all that they held
//!   a failure, found by whomever: lanes bar records and say why; until the transaction is aborted
//! ```
//!
//! All changes are made under the lock of the [`Standing`](super::hub::Standing), so that lanes and standing never
//! disagree, and so a failure is not undone by a begin that comes at the same time.

use super::hub::Hub;
use crate::error::TransactionError;

impl Hub {
    /// Refuses records from now on: one is accepted before this call or not at all.
    ///
    /// With [`send_after_records`](Self::send_after_records) behind it, the records of a transaction lie before the
    /// command that ends it, and none slips in later.
    pub(crate) fn bar_records(&self) {
        let mut standing = self.standing.lock();
        standing.open = false;
        self.set_bars(true);
    }

    /// Takes back [`bar_records`](Self::bar_records), unless something has failed meanwhile.
    pub(crate) fn let_records_in(&self) {
        let mut standing = self.standing.lock();
        if standing.failure.is_none() {
            standing.open = true;
            self.set_bars(false);
        }
    }

    /// The transaction cannot go on: no more records, and whoever tries to send one is told why. The first failure
    /// counts, unless a later one is final.
    pub(crate) fn fail_transaction(&self, error: TransactionError) {
        let mut standing = self.standing.lock();
        if standing.failure.is_none() || error.is_fatal() {
            standing.failure = Some(error);
        }
        standing.open = false;
        self.set_bars(true);
    }

    /// A record was refused that should have been part of the transaction. Without it the transaction is not what it
    /// should have been. Of no effect if none is open.
    pub(crate) fn spoil_transaction(&self, error: impl FnOnce() -> TransactionError) {
        let mut standing = self.standing.lock();
        if standing.open {
            standing.failure = Some(error());
            standing.open = false;
            self.set_bars(true);
        }
    }

    /// The transaction that failed is being aborted: the next one begins without its failure.
    pub(crate) fn mend_transaction(&self) {
        let mut standing = self.standing.lock();
        if standing.failure.as_ref().is_some_and(|failure| !failure.is_fatal()) {
            standing.failure = None;
        }
    }

    /// Why the transaction cannot go on.
    pub(crate) fn transaction_failure(&self) -> Option<TransactionError> {
        self.standing.lock().failure.clone()
    }

    fn set_bars(&self, barred: bool) {
        for lane in &self.lanes {
            lane.0.lock().barred = barred;
        }
    }
}
