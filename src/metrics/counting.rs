//! What callers count, and how it becomes metrics together with what the sender thread has counted.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    list::{Memory, Source},
    metric::Metric,
    numbers::Numbers,
    waits::{Wait, Waits},
    windows::{Moment, Shape},
};
use crate::{
    error::{SendError, SendErrorKind},
    handoff::{
        Hub, Patience, TopicId, TransactionCall,
        sync::{Mutex, now, wall_clock},
    },
};

pub(crate) struct Counting {
    shape: Shape,
    started_ms: i64,
    waits: Mutex<Waits>,
}

impl Counting {
    pub(crate) fn new(shape: Shape) -> Self {
        Self { shape, started_ms: wall_clock(), waits: Mutex::default() }
    }

    /// Counts the time of a call, also if it fails: that is time, too.
    pub(crate) fn timed<T>(&self, wait: Wait, call: impl FnOnce() -> T) -> T {
        let begun = now();
        let outcome = call();
        let now = now();
        self.waits.lock().waited(self.at(now), wait, now.saturating_duration_since(begun));
        outcome
    }

    #[cold]
    pub(crate) fn note_waits(&self, patience: &Patience) {
        let at = self.at(now());
        let mut waits = self.waits.lock();
        for (wait, took) in [(Wait::Memory, patience.for_memory), (Wait::Metadata, patience.for_metadata)] {
            if took > Duration::ZERO {
                waits.waited(at, wait, took);
            }
        }
    }

    /// A caller that does not want to wait tries again, which is no error.
    #[cold]
    pub(crate) fn note_refusal(&self, error: &SendError) {
        if matches!(error.kind(), SendErrorKind::WouldBlock { .. }) {
            return;
        }
        let at = self.at(now());
        let mut waits = self.waits.lock();
        waits.refused(at);
        if matches!(error.kind(), SendErrorKind::BufferFull { .. }) {
            waits.exhausted(at);
        }
    }

    /// `numbers`: those of the sender thread, if there are any.
    pub(crate) fn list(&self, numbers: Option<&Numbers>, hub: &Hub, client_id: &str) -> Vec<Metric> {
        let nothing = Numbers::new(self.shape);
        let budget = hub.budget();
        let waits = self.waits.lock().clone();
        let source = Source {
            at: self.at(now()),
            numbers: numbers.unwrap_or(&nothing),
            waits: &waits,
            memory: Memory {
                limit: hub.buffer_memory(),
                free: hub.buffer_memory() - budget.limit() + budget.free(),
                waiting: budget.waiting(),
            },
            client_id,
            started_ms: self.started_ms,
            topic: &|number| Arc::clone(hub.topics().name(TopicId(number as u32))),
        };
        source.list()
    }

    fn at(&self, now: Instant) -> Moment {
        Moment { now, shape: self.shape }
    }
}

/// What a call about transactions is counted as.
pub(crate) fn wait_of(call: &TransactionCall) -> Wait {
    match call {
        TransactionCall::Init => Wait::Init,
        TransactionCall::Begin => Wait::Begin,
        TransactionCall::SendOffsets(..) => Wait::SendOffsets,
        TransactionCall::Commit => Wait::Commit,
        TransactionCall::Abort => Wait::Abort,
    }
}
