//! Events on their way from the engine to the user's listeners.
//!
//! Listeners are user code: they run on the callback thread, each under `catch_unwind`. What waits for them is bounded,
//! since nothing but their own speed ends it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::callbacks::Callbacks;
use crate::{
    error::guarded,
    event::{EventListener, ProducerEvent},
};

pub(super) struct Events {
    listeners: Arc<[EventListener]>,
    /// How many were given to the callback thread and are not yet told.
    waiting: Arc<AtomicUsize>,
    /// How many were dropped since the last one that was given.
    missed: u64,
}

impl Events {
    pub(super) fn new(listeners: &[EventListener]) -> Self {
        Self { listeners: listeners.into(), waiting: Arc::default(), missed: 0 }
    }

    /// Has the listeners told, behind the callbacks and events before it.
    pub(super) fn tell(&mut self, callbacks: &Callbacks, event: ProducerEvent) {
        if self.waiting.load(Ordering::Relaxed) >= MOST_WAITING {
            self.missed += 1;
            return;
        }
        self.finish(callbacks);
        self.give(callbacks, event);
    }

    /// Tells of what was dropped, however many wait.
    pub(super) fn finish(&mut self, callbacks: &Callbacks) {
        if self.missed > 0 {
            let events = std::mem::take(&mut self.missed);
            self.give(callbacks, ProducerEvent::Missed { events });
        }
    }

    fn give(&self, callbacks: &Callbacks, event: ProducerEvent) {
        let (listeners, waiting) = (Arc::clone(&self.listeners), Arc::clone(&self.waiting));
        waiting.fetch_add(1, Ordering::Relaxed);
        callbacks.run(move || {
            for listener in &*listeners {
                if let Err(panic) = guarded(|| listener(&event)) {
                    log::warn!("a listener for events panicked ({event}): {panic}");
                }
            }
            waiting.fetch_sub(1, Ordering::Relaxed);
            0
        });
    }
}

/// A hundred kilobytes or two. A storm of connections that break is over by then, or will not be understood any better
/// from more of it.
const MOST_WAITING: usize = 1024;

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use super::*;

    #[test]
    fn a_listener_that_hangs_is_told_what_it_has_missed() {
        let callbacks = Callbacks::new("events".into(), Arc::new(|_| {}));
        let (open, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let tell = Arc::clone(&heard);
        let listener: EventListener = Arc::new(move |event| {
            // Once open, for ever.
            let _ = gate.lock().unwrap().recv();
            tell.lock().unwrap().push(event.clone());
        });
        let mut events = Events::new(&[listener]);
        let event = |epoch| ProducerEvent::ProducerIdAssigned { producer_id: 7, epoch };
        let (given, all) = (MOST_WAITING as i16, MOST_WAITING as i16 + 5);
        for epoch in 0..all {
            events.tell(&callbacks, event(epoch));
        }
        drop(open);
        events.finish(&callbacks);
        callbacks.finish();
        let mut expected: Vec<_> = (0..given).map(event).collect();
        expected.push(ProducerEvent::Missed { events: 5 });
        assert_eq!(*heard.lock().unwrap(), expected);
    }
}
