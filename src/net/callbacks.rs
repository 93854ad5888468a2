//! The thread on which user code runs once a record's outcome is known.
//!
//! It knows jobs, not what they are: each runs in the order in which it was given, and says how many bytes of
//! `buffer.memory` are free after it. A callback that is slow, panics or never returns holds back the jobs behind it,
//! and no broker.
//!
//! The thread starts with the first job that may run user code: a producer without callbacks never has one.

use std::{
    io, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use crossbeam_channel::{Sender, unbounded};

use crate::{error::panic_text, handoff::CallbackScope};

pub(crate) struct Callbacks {
    state: Mutex<State>,
}

/// Gives bytes back to the budget. Called on the callback thread.
pub(super) type Release = Arc<dyn Fn(usize) + Send + Sync>;

/// ```text
///  Idle --(run)--> Running --(finish)--> Over
///    '-------------(finish)----------------^
/// ```
enum State {
    Idle { name: String, release: Release },
    Running { jobs: Sender<Job>, thread: JoinHandle<()> },
    Over,
}

/// Returns the number of bytes to give back.
type Job = Box<dyn FnOnce() -> usize + Send>;

impl Callbacks {
    /// `name` is the thread's.
    pub(super) fn new(name: String, release: Release) -> Self {
        Self { state: Mutex::new(State::Idle { name, release }) }
    }

    /// Has `job`, which may run user code, run after all that were given before.
    pub(crate) fn run(&self, job: impl FnOnce() -> usize + Send + 'static) {
        let mut state = self.lock();
        if let State::Idle { name, release } = &*state {
            match start(name, release) {
                Ok((jobs, thread)) => *state = State::Running { jobs, thread },
                Err(e) => {
                    log::error!("no thread for callbacks, they hold up the sender thread instead: {e}");
                    let release = Arc::clone(release);
                    drop(state);
                    run_job(Box::new(job), &*release);
                    return;
                }
            }
        }
        give(state, Box::new(job));
    }

    /// Has `job`, which runs no user code, run after all that were given before: at once if none ever was.
    pub(crate) fn run_in_turn(&self, job: impl FnOnce() + Send + 'static) {
        give(
            self.lock(),
            Box::new(|| {
                job();
                0
            }),
        );
    }

    /// Waits until every job has run. Never call it on the callback thread.
    pub(super) fn finish(&self) {
        let state = mem::replace(&mut *self.lock(), State::Over);
        if let State::Running { jobs, thread } = state {
            drop(jobs);
            if let Err(panic) = thread.join() {
                log::error!("the callback thread panicked: {}", panic_text(&*panic));
            }
        }
    }

    /// Jobs never run under this lock, so it cannot be poisoned by one.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// To the thread, if there is one. Where there is none, no earlier job is left to wait for, and no budget to give
/// anything back to: before the first job nothing was lent, and after the end the late outcomes of a producer that is
/// gone are owed to their callbacks only.
fn give(state: MutexGuard<'_, State>, job: Job) {
    let left = match &*state {
        State::Running { jobs, .. } => jobs.send(job).err().map(|unsent| unsent.0),
        State::Idle { .. } | State::Over => Some(job),
    };
    drop(state);
    if let Some(job) = left {
        run_job(job, &|_| {});
    }
}

fn start(name: &str, release: &Release) -> io::Result<(Sender<Job>, JoinHandle<()>)> {
    let (jobs, queue) = unbounded::<Job>();
    let release = Arc::clone(release);
    let thread = thread::Builder::new().name(name.into()).spawn(move || {
        for job in queue {
            run_job(job, &*release);
        }
    })?;
    Ok((jobs, thread))
}

fn run_job(job: Job, release: &dyn Fn(usize)) {
    let _scope = CallbackScope::enter();
    // A job catches what its callbacks do. What gets here is a fault of ours, and must not silence the jobs behind.
    match catch_unwind(AssertUnwindSafe(job)) {
        Ok(0) => {}
        Ok(bytes) => release(bytes),
        Err(panic) => log::error!("the completion of a batch panicked: {}", panic_text(&*panic)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn callbacks() -> (Arc<Callbacks>, Arc<AtomicUsize>) {
        let freed = Arc::new(AtomicUsize::new(0));
        let release = Arc::clone(&freed);
        let release = Arc::new(move |bytes| {
            release.fetch_add(bytes, Ordering::SeqCst);
        });
        (Arc::new(Callbacks::new("callbacks".into(), release)), freed)
    }

    #[test]
    fn without_user_code_there_is_no_thread() {
        let (callbacks, _) = callbacks();
        let (tell, told) = unbounded();
        callbacks.run_in_turn(move || tell.send(thread::current().id()).unwrap());
        assert_eq!(
            told.try_recv().unwrap(),
            thread::current().id(),
            "run at once, on the caller's own thread"
        );
        assert!(matches!(*callbacks.lock(), State::Idle { .. }));
        callbacks.finish();
    }

    #[test]
    fn jobs_run_in_order_on_one_named_thread_and_finish_waits_for_all() {
        let (callbacks, freed) = callbacks();
        let (tell, told) = unbounded();
        let (go, gate) = unbounded::<()>();
        callbacks.run(move || {
            gate.recv().unwrap();
            0
        });
        for i in 0..100 {
            let tell = tell.clone();
            let report = move || tell.send((i, thread::current().name().map(String::from))).unwrap();
            if i % 3 == 0 {
                callbacks.run_in_turn(report);
            } else {
                callbacks.run(move || {
                    report();
                    i
                });
            }
        }
        assert!(told.is_empty(), "the first job still holds the thread");
        go.send(()).unwrap();
        callbacks.finish();
        let told: Vec<_> = told.try_iter().collect();
        assert_eq!(told, (0..100).map(|i| (i, Some("callbacks".to_owned()))).collect::<Vec<_>>());
        assert_eq!(freed.load(Ordering::SeqCst), (0..100).filter(|i| i % 3 != 0).sum::<usize>());
    }

    #[test]
    fn a_panic_ends_its_job_only() {
        let (callbacks, freed) = callbacks();
        callbacks.run(|| panic!("this panic is part of a test"));
        callbacks.run(|| 7);
        callbacks.finish();
        assert_eq!(freed.load(Ordering::SeqCst), 7);
    }

    #[test]
    fn after_the_end_a_late_job_still_runs() {
        let (callbacks, freed) = callbacks();
        callbacks.run(|| 1);
        callbacks.finish();
        let (tell, told) = unbounded();
        callbacks.run(move || {
            tell.send(()).unwrap();
            5
        });
        assert_eq!(told.len(), 1);
        assert_eq!(freed.load(Ordering::SeqCst), 1, "the budget is gone with its producer");
        callbacks.finish();
    }

    #[test]
    fn nothing_that_was_lent_to_it_is_kept_after_the_end() {
        let lent = Arc::new(());
        let held = Arc::clone(&lent);
        let callbacks = Callbacks::new(String::new(), Arc::new(move |_| drop(Arc::clone(&held))));
        callbacks.run(|| 1);
        callbacks.finish();
        assert_eq!(
            Arc::strong_count(&lent),
            1,
            "the budget's owner owns the callbacks: a circle would leak both"
        );
    }
}
