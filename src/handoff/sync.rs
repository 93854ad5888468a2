//! The only place in `handoff/` that knows where locks, atomics, threads, channels and clocks come from.
//!
//! The model check (`tests/handoff_model`) compiles the rest of `handoff/` over a stand-in for this file, which
//! hands every step to a scheduler of its own. So what is offered here is no more than what that stand-in can offer
//! as well.
//!
//! A lock is never poisoned: no code of a user runs while one is held, and a panic elsewhere must not turn into
//! panics of every other thread.

use std::{
    cell::Cell,
    sync::{self, PoisonError, TryLockError, atomic::AtomicUsize as Counter},
    time::{Duration, Instant, SystemTime},
};

use crossbeam_channel::TrySendError;

pub(crate) use std::{
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence},
    },
    thread::{Thread, current},
    thread_local,
};

pub(crate) type MutexGuard<'a, T> = sync::MutexGuard<'a, T>;

/// A lock that a panic does not poison.
#[derive(Default)]
pub(crate) struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` if another thread holds it.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// Waiting for a change of what a lock guards.
#[derive(Default)]
pub(crate) struct Condvar(sync::Condvar);

impl Condvar {
    pub(crate) const fn new() -> Self {
        Self(sync::Condvar::new())
    }

    /// Waits to be woken, at most until `deadline`. The second value is false once the deadline has passed; like
    /// everywhere, the wait can end for no reason.
    pub(crate) fn wait_until<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Option<Instant>,
    ) -> (MutexGuard<'a, T>, bool) {
        let Some(deadline) = deadline else {
            return (self.0.wait(guard).unwrap_or_else(PoisonError::into_inner), true);
        };
        let left = time_left(deadline);
        if left.is_zero() {
            return (guard, false);
        }
        let (guard, _) = self.0.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner);
        (guard, true)
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// Waits for an `unpark` of this thread, at most until `deadline`. False once the deadline has passed; otherwise the
/// caller looks again at what it waits for, since the wait can end for no reason.
pub(crate) fn park_until(deadline: Option<Instant>) -> bool {
    let Some(deadline) = deadline else {
        std::thread::park();
        return true;
    };
    let left = time_left(deadline);
    if left.is_zero() {
        return false;
    }
    std::thread::park_timeout(left);
    true
}

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// A small number that belongs to the calling thread as long as it lives.
#[inline]
pub(crate) fn thread_number() -> usize {
    static NEXT: Counter = Counter::new(0);
    // A record may be sent by the destructor of another thread-local, when this one is gone already.
    NUMBER
        .try_with(|number| {
            if number.get() == usize::MAX {
                number.set(NEXT.fetch_add(1, Ordering::Relaxed));
            }
            number.get()
        })
        .unwrap_or(0)
}

/// For a test that plays several threads, in an order of its own: the calling thread is this one from now on.
#[cfg(test)]
pub(crate) fn act_as_thread(number: usize) {
    NUMBER.with(|own| own.set(number));
}

/// Waits are measured from here, and `linger.ms` and `delivery.timeout.ms` from the first record of a chunk.
#[allow(
    clippy::disallowed_methods,
    reason = "a caller's thread has nobody to ask for the time but the clock"
)]
#[inline]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Milliseconds since 1970-01-01 UTC: what a record without a timestamp of its own gets.
#[allow(
    clippy::disallowed_methods,
    reason = "a caller's thread has nobody to ask for the time but the clock"
)]
#[inline]
pub(crate) fn wall_clock() -> i64 {
    match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        // A clock before 1970 is a clock not set; a negative timestamp is none that a broker takes.
        Err(_) => 0,
    }
}

fn time_left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(now())
}

/// A bounded queue between threads; both ends can be shared.
pub(crate) struct Channel<T> {
    sender: crossbeam_channel::Sender<T>,
    receiver: crossbeam_channel::Receiver<T>,
}

impl<T> Channel<T> {
    pub(crate) fn bounded(capacity: usize) -> Self {
        let (sender, receiver) = crossbeam_channel::bounded(capacity);
        Self { sender, receiver }
    }

    /// Hands the message back if there is no room.
    pub(crate) fn try_send(&self, message: T) -> Result<(), T> {
        self.sender.try_send(message).map_err(TrySendError::into_inner)
    }

    pub(crate) fn try_recv(&self) -> Option<T> {
        self.receiver.try_recv().ok()
    }

    pub(crate) fn len(&self) -> usize {
        self.sender.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sender.is_empty()
    }
}
