//! The caller's half of calls about transactions: one at a time, each within `max.block.ms`, and what becomes of one
//! whose time was not enough.
//!
//! Which call may follow which is for the sender thread to say. Here is only what it cannot know: that a call was not
//! waited for to its end, and that records must be barred before the end of their transaction is asked for.

use std::time::{Duration, Instant};

use crate::{
    error::{TransactionError, TransactionErrorKind},
    handoff::{
        Command, Hub, TransactionCall, TransactionRequest,
        budget::Exhausted,
        context,
        sync::{Condvar, Mutex},
        transaction::TransactionAnswer,
    },
};

/// Whose turn it is. One for all clones of a producer.
#[derive(Default)]
pub(crate) struct Turns {
    state: Mutex<State>,
    free: Condvar,
}

#[derive(Default)]
struct State {
    taken: bool,
    /// A call that was given up before it was answered: by its name, and where the answer will be.
    unfinished: Option<(&'static str, TransactionAnswer)>,
}

/// The right to make a call, given back on drop.
struct Turn<'a>(&'a Turns);

impl Turns {
    /// Makes a call and waits for its answer, for `limit` at most.
    pub(crate) fn call(
        &self,
        hub: &Hub,
        call: TransactionCall,
        limit: Duration,
    ) -> Result<(), TransactionError> {
        let name = call.name();
        if context::inside_callback() {
            return Err(TransactionErrorKind::InsideCallback { call: name }.into());
        }
        if context::forked(hub.creator()) {
            return Err(TransactionErrorKind::Forked { parent: hub.creator() }.into());
        }
        let (is_begin, is_step) =
            (matches!(call, TransactionCall::Begin), !matches!(call, TransactionCall::SendOffsets(..)));
        let deadline = context::deadline(limit);
        let timed_out = |cause| TransactionErrorKind::TimedOut { call: name, limit, cause };
        let turn = self.take(deadline).ok_or_else(|| timed_out(Some("another call is under way".into())))?;
        let answer = match turn.resume(name)? {
            Some(answer) => answer,
            None => begin(hub, call, deadline).map_err(|error| {
                error.unwrap_or_else(|| timed_out(hub.published().current().last_error.clone()).into())
            })?,
        };
        match answer.wait(deadline) {
            Some(Some(outcome)) => {
                if outcome.is_ok() && is_begin {
                    hub.let_records_in();
                }
                outcome
            }
            Some(None) => Err(hub.ended().transaction_error().into()),
            None => {
                // Offsets are no step of the transaction: another call for some is another call.
                if is_step {
                    self.state.lock().unfinished = Some((name, answer));
                }
                Err(timed_out(hub.published().current().last_error.clone()).into())
            }
        }
    }

    fn take(&self, deadline: Option<Instant>) -> Option<Turn<'_>> {
        let mut state = self.state.lock();
        while state.taken {
            let (guard, in_time) = self.free.wait_until(state, deadline);
            state = guard;
            if !in_time && state.taken {
                return None;
            }
        }
        state.taken = true;
        Some(Turn(self))
    }
}

impl Turn<'_> {
    /// What an earlier call of this name still waits for. Fails if an earlier call of another name does.
    fn resume(&self, name: &'static str) -> Result<Option<TransactionAnswer>, TransactionError> {
        let mut state = self.0.state.lock();
        match &state.unfinished {
            Some((earlier, _)) if *earlier != name => {
                Err(TransactionErrorKind::Unfinished { call: name, earlier }.into())
            }
            _ => Ok(state.unfinished.take().map(|(_, answer)| answer)),
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.state.lock().taken = false;
        self.0.free.notify_all();
    }
}

/// Sends a call to the sender thread. `Err(None)`: there was no room for it in time.
fn begin(
    hub: &Hub,
    call: TransactionCall,
    deadline: Option<Instant>,
) -> Result<TransactionAnswer, Option<TransactionError>> {
    // Of a record that was refused the sender thread knows nothing.
    if !matches!(call, TransactionCall::Init | TransactionCall::Abort)
        && let Some(failure) = hub.transaction_failure()
    {
        return Err(Some(failure));
    }
    if matches!(call, TransactionCall::Commit | TransactionCall::Abort) {
        hub.bar_records();
    }
    let (request, answer) = TransactionRequest::new(call);
    hub.send_after_records(Command::Transaction(request), deadline).map_err(|why| match why {
        Exhausted::TimedOut => None,
        Exhausted::Ended => Some(hub.ended().transaction_error().into()),
    })?;
    Ok(answer)
}
