//! Reading what is measured, for the engine to push.
//!
//! Metrics of the user's own are user code: they are read on the callback thread, each under `catch_unwind`, and the
//! reading comes back from there. Without any nothing waits for that thread, nor is it started.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::callbacks::Callbacks;
use crate::{
    error::guarded,
    handoff::sync::wall_clock,
    telemetry::{Desk, Gauge, Reading, Sample},
};

pub(super) struct Readings {
    desk: Arc<Desk>,
    /// When this producer began, in nanoseconds since 1970.
    since: u64,
    done: Receiver<Reading>,
    tell: Sender<Reading>,
}

impl Readings {
    pub(super) fn new(desk: Arc<Desk>) -> Self {
        let (tell, done) = unbounded();
        Self { desk, since: nanos_since_1970(), done, tell }
    }

    pub(super) fn desk(&self) -> &Desk {
        &self.desk
    }

    /// A reading of `samples` and of the user's own metrics. `None`: it will follow, and the desk's bell is rung for it.
    pub(super) fn take(&self, callbacks: &Callbacks, samples: Vec<Sample>) -> Option<Reading> {
        let mut reading = Reading { at: nanos_since_1970(), since: self.since, samples };
        let gauges = self.desk.gauges();
        if gauges.is_empty() {
            return Some(reading);
        }
        let (tell, desk) = (self.tell.clone(), Arc::clone(&self.desk));
        callbacks.run(move || {
            reading.samples.extend(gauges.iter().filter_map(|(name, gauge)| read(name, gauge)));
            // Nobody may be left to hear it.
            if tell.send(reading).is_ok() {
                desk.ring();
            }
            0
        });
        None
    }

    pub(super) fn poll(&self) -> Option<Reading> {
        self.done.try_recv().ok()
    }
}

fn read(name: &str, gauge: &Gauge) -> Option<Sample> {
    match guarded(|| gauge()) {
        Ok(value) => {
            let (group, name) = name.rsplit_once('.').unwrap_or(("", name));
            let (group, name) = (group.to_owned(), name.to_owned());
            Some(Sample { group, name, tags: Vec::new(), value, is_counter: false })
        }
        Err(panic) => {
            log::warn!("reading the metric {name} panicked: {panic}");
            None
        }
    }
}

fn nanos_since_1970() -> u64 {
    wall_clock().unsigned_abs().saturating_mul(1_000_000)
}
