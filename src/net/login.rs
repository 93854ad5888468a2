//! Steps of a login, each on a short-lived thread of its own: they may hash a password a million times, or run the
//! application's code.

use std::{io, sync::Arc, thread};

use crossbeam_channel::{Receiver, Sender, unbounded};
use mio::Waker;

use crate::{
    engine::ConnId,
    sasl::{Outcome, Step},
};

pub(super) struct Logins {
    outcomes: Receiver<(ConnId, Outcome)>,
    outcome: Sender<(ConnId, Outcome)>,
    waker: Arc<Waker>,
}

impl Logins {
    pub(super) fn new(waker: Arc<Waker>) -> Self {
        let (outcome, outcomes) = unbounded();
        Self { outcomes, outcome, waker }
    }

    /// An outcome will follow; the poller is woken for it.
    pub(super) fn start(&self, conn: ConnId, step: Step) -> io::Result<()> {
        let (outcome, waker) = (self.outcome.clone(), Arc::clone(&self.waker));
        thread::Builder::new().name("kafka-producer-login".into()).spawn(move || {
            // Nobody may be left to hear it: the producer can be closed while an issuer of tokens keeps silent.
            if outcome.send((conn, step.run())).is_ok()
                && let Err(e) = waker.wake()
            {
                log::error!("the sender thread cannot be woken for a login: {e}");
            }
        })?;
        Ok(())
    }

    pub(super) fn poll_outcome(&self) -> Option<(ConnId, Outcome)> {
        self.outcomes.try_recv().ok()
    }
}
