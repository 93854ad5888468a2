//! An answer that a blocked caller waits for. Dropping the promise is an answer too, so that nobody waits for ever.

use std::time::Instant;

use super::sync::{Arc, Condvar, Mutex};

/// The side that answers.
#[derive(Debug)]
pub(crate) struct Promise(Arc<Shared>);

/// The side that waits.
pub(crate) struct Awaited(Arc<Shared>);

/// How a wait came out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Answer {
    /// What was asked for is done.
    Fulfilled,
    /// Nobody is left to do it.
    Broken,
}

struct Shared {
    answer: Mutex<Option<Answer>>,
    answered: Condvar,
}

impl Promise {
    pub(crate) fn new() -> (Self, Awaited) {
        let shared = Arc::new(Shared { answer: Mutex::new(None), answered: Condvar::new() });
        (Self(Arc::clone(&shared)), Awaited(shared))
    }

    /// What was asked for is done.
    pub(crate) fn fulfil(self) {
        self.answer(Answer::Fulfilled);
    }

    /// The first answer counts.
    fn answer(&self, answer: Answer) {
        self.0.answer.lock().get_or_insert(answer);
        self.0.answered.notify_all();
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.answer(Answer::Broken);
    }
}

impl Awaited {
    /// `None` if `deadline` passes first.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Option<Answer> {
        let mut answer = self.0.answer.lock();
        loop {
            if answer.is_some() {
                return *answer;
            }
            let (guard, in_time) = self.0.answered.wait_until(answer, deadline);
            answer = guard;
            if !in_time {
                return *answer;
            }
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}
