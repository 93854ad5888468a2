//! SIGINT and SIGTERM: the first one ends a tool in order, the second one at once.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Whether a signal has asked for the end. Clones are about the same signal.
#[derive(Clone, Default)]
pub(crate) struct Stop(Arc<Shared>);

#[derive(Default)]
struct Shared {
    phase: Mutex<Phase>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Phase {
    #[default]
    Running,
    Asked,
    Ended,
}

impl Stop {
    /// Listens for the signal. A tool that has not called [`ended`](Self::ended) two seconds after it waits for
    /// something: `rescue` ends that wait.
    pub(crate) fn on_signal(rescue: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let stop = Self::default();
        on_termination({
            let stop = stop.clone();
            move |_signal| {
                let mut phase = stop.phase();
                if *phase == Phase::Running {
                    *phase = Phase::Asked;
                    stop.0.changed.notify_all();
                }
                let asked = |phase: &mut Phase| *phase == Phase::Asked;
                let waited = stop.0.changed.wait_timeout_while(phase, GRACE, asked);
                let (phase, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                drop(phase);
                if timeout.timed_out() {
                    rescue();
                }
            }
        })?;
        Ok(stop)
    }

    pub(crate) fn is_asked(&self) -> bool {
        *self.phase() == Phase::Asked
    }

    /// Waits that long; true, and at once, if a signal has come.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let running = |phase: &mut Phase| *phase == Phase::Running;
        let waited = self.0.changed.wait_timeout_while(self.phase(), time, running);
        *waited.unwrap_or_else(PoisonError::into_inner).0 == Phase::Asked
    }

    /// Nothing waits any more that a signal would have to end.
    pub(crate) fn ended(&self) {
        *self.phase() = Phase::Ended;
        self.0.changed.notify_all();
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.0.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Calls `end` with the number of the first signal, on a thread of its own.
#[cfg(unix)]
pub(crate) fn on_termination(end: impl FnOnce(i32) + Send + 'static) -> io::Result<()> {
    use std::{sync::atomic::AtomicBool, thread};

    use signal_hook::{
        consts::{SIGINT, SIGTERM},
        flag,
        iterator::Signals,
    };

    let asked_before = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag unset, and sets it.
        flag::register_conditional_shutdown(signal, exit_code(signal), Arc::clone(&asked_before))?;
        flag::register(signal, Arc::clone(&asked_before))?;
    }
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            end(signal);
        }
    })?;
    Ok(())
}

/// Elsewhere such a request ends the process as it always does.
#[cfg(not(unix))]
pub(crate) fn on_termination(_end: impl FnOnce(i32) + Send + 'static) -> io::Result<()> {
    Ok(())
}

/// The exit code of a process that a signal has ended, as shells report it.
pub(crate) fn exit_code(signal: i32) -> i32 {
    128 + signal
}

/// How long a tool may go on waiting after a signal, for a cluster that does not answer.
const GRACE: Duration = Duration::from_secs(2);
