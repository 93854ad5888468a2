//! What callers count: how long they had to wait, and for what. Nobody comes here who did not.

use super::windows::{Meter, Moment};
use std::time::Duration;

/// Times are in nanoseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waits {
    pub(super) memory: Meter,
    pub(super) exhausted: Meter,
    /// Records that `send` refused.
    pub(super) refused: Meter,
    pub(super) metadata: u64,
    pub(super) flush: u64,
    pub(super) init: u64,
    pub(super) begin: u64,
    pub(super) send_offsets: u64,
    pub(super) commit: u64,
    pub(super) abort: u64,
}

/// What was waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wait {
    Memory,
    Metadata,
    Flush,
    Init,
    Begin,
    SendOffsets,
    Commit,
    Abort,
}

impl Waits {
    pub(crate) fn waited(&mut self, at: Moment, wait: Wait, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let total = match wait {
            Wait::Memory => return self.memory.add(at, took),
            Wait::Metadata => &mut self.metadata,
            Wait::Flush => &mut self.flush,
            Wait::Init => &mut self.init,
            Wait::Begin => &mut self.begin,
            Wait::SendOffsets => &mut self.send_offsets,
            Wait::Commit => &mut self.commit,
            Wait::Abort => &mut self.abort,
        };
        *total = total.saturating_add(took);
    }

    /// `buffer.memory` was full for too long.
    pub(crate) fn exhausted(&mut self, at: Moment) {
        self.exhausted.add(at, 1);
    }

    pub(crate) fn refused(&mut self, at: Moment) {
        self.refused.add(at, 1);
    }
}
