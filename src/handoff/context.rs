//! Where the calling thread stands: inside a callback or not, in the process that made the producer or in a forked
//! child, with time to wait or without; and what became of the sender thread, in the words of each caller.

use std::{
    cell::Cell,
    marker::PhantomData,
    process,
    time::{Duration, Instant},
};

use super::sync::{Arc, now, thread_local};
use crate::error::{DeliveryCause, FlushError, SendErrorKind, TransactionErrorKind};

/// Why there is no sender thread any more.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// The producer was closed, and the thread has done what was left to do.
    Closed,
    /// The thread ended on its own: a panic, or a system call without which it cannot go on.
    SenderDied(Arc<str>),
}

impl End {
    /// For a record that was accepted and will not be acknowledged.
    pub(crate) fn delivery_cause(&self) -> DeliveryCause {
        match self {
            Self::Closed => DeliveryCause::Closed,
            Self::SenderDied(cause) => DeliveryCause::SenderDied(Arc::clone(cause)),
        }
    }

    /// For a record that is refused.
    pub(crate) fn send_error(&self) -> SendErrorKind {
        match self {
            Self::Closed => SendErrorKind::Closed,
            Self::SenderDied(cause) => SendErrorKind::Failed { cause: cause.to_string() },
        }
    }

    /// For a flush that cannot be answered.
    pub(crate) fn flush_error(&self) -> FlushError {
        match self {
            Self::Closed => FlushError::Closed,
            Self::SenderDied(cause) => FlushError::Failed { cause: cause.to_string() },
        }
    }

    /// For a call about transactions that cannot be answered.
    pub(crate) fn transaction_error(&self) -> TransactionErrorKind {
        match self {
            Self::Closed => TransactionErrorKind::Closed,
            Self::SenderDied(cause) => TransactionErrorKind::Failed { cause: cause.to_string() },
        }
    }

    /// The cause, unless the end was an orderly one.
    pub(crate) fn cause(&self) -> Option<&Arc<str>> {
        match self {
            Self::Closed => None,
            Self::SenderDied(cause) => Some(cause),
        }
    }
}

/// A text alone is the cause of a death.
impl<T: Into<Arc<str>>> From<T> for End {
    fn from(cause: T) -> Self {
        Self::SenderDied(cause.into())
    }
}

/// How long one call may wait in all: for metadata, for memory and for room in the channel together.
///
/// The clock is read when the call first has to wait, so a call that finds everything at hand reads none.
#[derive(Debug)]
pub(crate) struct Patience {
    limit: Option<Duration>,
    /// `Some` once the call has begun to wait; the inner `None` is a limit too far away to be an instant.
    deadline: Option<Option<Instant>>,
    /// How long it has waited for memory or for room in the channel, which is lacking when memory soon will be.
    pub(crate) for_memory: Duration,
    pub(crate) for_metadata: Duration,
}

impl Patience {
    /// Waits up to `limit`, which is `max.block.ms`.
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit: Some(limit), ..Self::never() }
    }

    /// Whether the call had to wait.
    #[inline]
    pub(crate) fn has_waited(&self) -> bool {
        self.deadline.is_some()
    }

    /// Refuses to wait.
    pub(crate) fn never() -> Self {
        Self { limit: None, deadline: None, for_memory: Duration::ZERO, for_metadata: Duration::ZERO }
    }

    /// The limit, and the deadline that follows from it since the first wait; `None` if the call must not wait.
    pub(crate) fn begin(&mut self) -> Option<(Duration, Option<Instant>)> {
        let limit = self.limit?;
        Some((limit, *self.deadline.get_or_insert_with(|| deadline(limit))))
    }
}

/// When a wait of this length that begins now is over. `None`: so far away that it never is.
pub(crate) fn deadline(limit: Duration) -> Option<Instant> {
    now().checked_add(limit)
}

thread_local! {
    static CALLBACKS: Cell<u32> = const { Cell::new(0) };
}

/// Marks the current thread as one that runs a callback, until it is dropped.
#[must_use]
pub(crate) struct CallbackScope(PhantomData<*const ()>);

impl CallbackScope {
    pub(crate) fn enter() -> Self {
        CALLBACKS.with(|depth| depth.set(depth.get() + 1));
        Self(PhantomData)
    }
}

impl Drop for CallbackScope {
    fn drop(&mut self) {
        CALLBACKS.with(|depth| depth.set(depth.get() - 1));
    }
}

/// Whether the calling thread is running a callback or an interceptor. What completes records waits for that thread,
/// so it must not wait for them.
pub(crate) fn inside_callback() -> bool {
    // Gone already: then this is a destructor at the end of a thread, and no callback is running.
    CALLBACKS.try_with(Cell::get).unwrap_or(0) > 0
}

/// Whether this is a child forked after process `creator` made the producer: the sender thread is not in it.
pub(crate) fn forked(creator: u32) -> bool {
    process::id() != creator
}
