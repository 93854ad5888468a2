//! Stands in for `src/handoff/sync.rs`: every lock, atomic and thread belongs to shuttle's scheduler, and a wait
//! with a deadline may meet it at any time.
//!
//! All atomics are sequentially consistent here, so what is checked is the order of steps and not the strength of
//! orderings: the fences are argued for in the source.

use std::{collections::VecDeque, sync::PoisonError, time::Instant};

use shuttle::{
    rand::{Rng, thread_rng},
    sync::{self, TryLockError},
    thread,
};

pub(crate) use shuttle::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence},
    },
    thread::{Thread, current},
    thread_local,
};
pub(crate) use std::sync::OnceLock;

pub(crate) type MutexGuard<'a, T> = sync::MutexGuard<'a, T>;

#[derive(Default)]
pub(crate) struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

#[derive(Default)]
pub(crate) struct Condvar(sync::Condvar);

impl Condvar {
    pub(crate) const fn new() -> Self {
        Self(sync::Condvar::new())
    }

    pub(crate) fn wait_until<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Option<Instant>,
    ) -> (MutexGuard<'a, T>, bool) {
        if passes(deadline) {
            return (guard, false);
        }
        (self.0.wait(guard).unwrap_or_else(PoisonError::into_inner), true)
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

pub(crate) fn park_until(deadline: Option<Instant>) -> bool {
    if passes(deadline) {
        thread::yield_now();
        return false;
    }
    thread::park();
    true
}

fn passes(deadline: Option<Instant>) -> bool {
    deadline.is_some() && thread_rng().gen_bool(0.5)
}

pub(crate) fn thread_number() -> usize {
    current().id().into()
}

#[allow(clippy::disallowed_methods, reason = "that there is a deadline matters here, and not when it is")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

pub(crate) fn wall_clock() -> i64 {
    1
}

/// Not crossbeam's, whose threads shuttle cannot schedule, but with the same promises.
pub(crate) struct Channel<T> {
    messages: Mutex<VecDeque<T>>,
    capacity: usize,
}

impl<T> Channel<T> {
    pub(crate) fn bounded(capacity: usize) -> Self {
        Self { messages: Mutex::new(VecDeque::new()), capacity }
    }

    pub(crate) fn try_send(&self, message: T) -> Result<(), T> {
        let mut messages = self.messages.lock();
        if messages.len() == self.capacity {
            return Err(message);
        }
        messages.push_back(message);
        Ok(())
    }

    pub(crate) fn try_recv(&self) -> Option<T> {
        self.messages.lock().pop_front()
    }

    pub(crate) fn len(&self) -> usize {
        self.messages.lock().len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
