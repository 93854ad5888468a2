//! SIGINT and SIGTERM: the first one ends a tool in order, the second one at once.

use std::io;

/// Calls `end` with the number of the first signal, on a thread of its own.
#[cfg(unix)]
pub(crate) fn on_termination(end: impl FnOnce(i32) + Send + 'static) -> io::Result<()> {
    use std::{
        sync::{Arc, atomic::AtomicBool},
        thread,
    };

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
