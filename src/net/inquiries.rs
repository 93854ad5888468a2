//! Questions about what the sender thread has counted: asked by callers, answered between two turns.
//!
//! The numbers are the thread's own, and counting costs no lock: a copy is made for whoever asks, and the last one stays
//! when the thread ends.

use std::{
    mem,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, ThreadId},
};

use crate::{
    handoff::{Bell, Promise, sync::Mutex},
    metrics::Numbers,
};

pub(crate) struct Inquiries {
    bell: Box<dyn Bell>,
    /// Whether somebody waits. Looked at in every turn, so it is no lock.
    asked: AtomicBool,
    state: Mutex<State>,
    /// The sender thread, once it has begun.
    answerer: OnceLock<ThreadId>,
}

#[derive(Default)]
struct State {
    waiting: Vec<Inquiry>,
    last: Option<Numbers>,
    over: bool,
}

struct Inquiry {
    place: Arc<Mutex<Option<Numbers>>>,
    answered: Promise,
}

impl Inquiries {
    pub(super) fn new(bell: Box<dyn Bell>) -> Self {
        Self { bell, asked: AtomicBool::new(false), state: Mutex::default(), answerer: OnceLock::new() }
    }

    /// The calling thread is the one that will answer.
    pub(super) fn begin(&self) {
        let _ = self.answerer.set(thread::current().id());
    }

    /// The numbers as they are now, or as they were at the end. `None`: the thread ended before it had any.
    ///
    /// Waits for the thread to come round, unless this is that thread. Never call it in a forked child.
    pub(super) fn ask(&self) -> Option<Numbers> {
        // A logger that the thread calls.
        if self.answerer.get() == Some(&thread::current().id()) {
            return self.last();
        }
        let (answered, answer) = Promise::new();
        let place = Arc::default();
        {
            let mut state = self.state.lock();
            if state.over {
                return state.last.clone();
            }
            state.waiting.push(Inquiry { place: Arc::clone(&place), answered });
            self.asked.store(true, Ordering::Release);
        }
        // A ring is kept until the thread sleeps next, so it cannot come too early.
        self.bell.ring();
        let _ = answer.wait(None);
        place.lock().take()
    }

    /// What was counted before the process was forked is of no use to the child, but harms nobody.
    pub(super) fn last(&self) -> Option<Numbers> {
        self.state.lock().last.clone()
    }

    #[inline]
    pub(crate) fn answer(&self, numbers: impl FnOnce() -> Numbers) {
        if self.asked.load(Ordering::Acquire) {
            self.asked.store(false, Ordering::Relaxed);
            let waiting = mem::take(&mut self.state.lock().waiting);
            if waiting.is_empty() {
                return;
            }
            tell(waiting, &Some(numbers()));
        }
    }

    /// Nothing more will be counted.
    pub(super) fn end(&self, last: Option<Numbers>) {
        let waiting = {
            let mut state = self.state.lock();
            state.over = true;
            state.last.clone_from(&last);
            mem::take(&mut state.waiting)
        };
        tell(waiting, &last);
    }
}

fn tell(waiting: Vec<Inquiry>, numbers: &Option<Numbers>) {
    for inquiry in waiting {
        inquiry.place.lock().clone_from(numbers);
        inquiry.answered.fulfil();
    }
}
