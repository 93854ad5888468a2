//! The sender thread's half: what it takes from the lanes and the channel, and how it goes to sleep.
//!
//! What the sender thread does with records is not known here, nor how it sleeps. In a turn it takes commands
//! ([`HubReceiver::try_recv`]), waiting handles ([`HubReceiver::take_gets`]) and topics asked for
//! ([`HubReceiver::take_wishes`]); looks into the lanes once a [`tick`](Hub::tick) while anything is open or in
//! flight ([`HubReceiver::steal_all`]) and never otherwise, because chunks of a few records keep it busy with
//! nothing; and collects idle memory while somebody waits for some ([`HubReceiver::reclaim_credit`]). Before it
//! sleeps it calls [`HubReceiver::doze`], and after it [`HubReceiver::awake`].

use std::{mem, time::Duration};

use super::{
    cells::Cells,
    hub::{Bell, Command, Hub, HubConfig, Level},
    sync::{Arc, Ordering, fence},
    topics::TopicId,
};

/// Held by the sender thread alone. Dropping it is the thread's death, unless [`Hub::die`] was called before.
pub(crate) struct HubReceiver {
    hub: Arc<Hub>,
    /// Waiters for handles whose records are not in a batch yet.
    kept: Vec<(Arc<Cells>, u16)>,
    /// A lane was held by its thread, or the channel had no place: what lies there must be looked for again soon.
    look_again: bool,
    /// [`Budget::arrivals`](super::budget::Budget::arrivals) when idle memory was collected last.
    arrivals: usize,
    /// How many commands other than chunks were received from the channel.
    urgent: usize,
    /// [`Command::Close`] was received.
    closed: bool,
}

impl Hub {
    /// A hub, and the half of it for the sender thread, which is woken by `bell`.
    pub(crate) fn new(config: HubConfig, bell: Box<dyn Bell>) -> (Arc<Self>, HubReceiver) {
        let hub = Self::alone(config, bell);
        let receiver = HubReceiver {
            hub: Arc::clone(&hub),
            kept: Vec::new(),
            look_again: false,
            arrivals: 0,
            urgent: 0,
            closed: false,
        };
        (hub, receiver)
    }
}

impl HubReceiver {
    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// The next command, in the order of each thread's calls.
    #[inline]
    pub(crate) fn try_recv(&mut self) -> Option<Command> {
        let command = self.receive();
        if command.is_some() {
            return command;
        }
        if self.closed || !self.hub.closing.load(Ordering::SeqCst) {
            return None;
        }
        // The lanes are shut: what is not in the channel after all of them were looked into is nowhere.
        if self.steal_all() {
            return None;
        }
        let command = self.receive();
        if command.is_some() {
            return command;
        }
        self.closed = true;
        Some(Command::Close)
    }

    /// Pushes a lane's open chunk into the channel. True if that must be tried again soon, because a thread is just
    /// inside `send` there, or for want of a place.
    pub(crate) fn steal(&mut self, lane: u8) -> bool {
        // Not locked but tried: a thread that is preempted inside `send` must not stall the brokers.
        let again = match self.hub.lanes[usize::from(lane)].0.try_lock() {
            Some(mut lane) => self.hub.push(&mut lane, None).is_err(),
            None => true,
        };
        self.look_again |= again;
        again
    }

    /// Pushes the open chunks of all lanes; true if that must be tried again soon.
    pub(crate) fn steal_all(&mut self) -> bool {
        let mut again = false;
        for lane in 0..self.used_lanes() {
            again |= self.steal(lane as u8);
        }
        again
    }

    /// Gives back the memory that lanes have taken and not spent, for somebody who waits for some.
    pub(crate) fn reclaim_credit(&mut self) {
        // Before the lanes are looked into: who comes later counts as new.
        self.arrivals = self.hub.budget.0.arrivals();
        let mut credit = 0;
        for lane in &self.hub.lanes[..self.used_lanes()] {
            match lane.0.try_lock() {
                Some(mut lane) => credit += mem::take(&mut lane.credit),
                None => self.look_again = true,
            }
        }
        if credit > 0 {
            self.hub.budget.0.release(credit);
        }
    }

    /// The records that somebody waits for, and that were pending just now: the batch that holds such a record does
    /// not wait for more. What has no place yet is to be [kept](Self::keep_get).
    pub(crate) fn take_gets(&mut self) -> Vec<(Arc<Cells>, u16)> {
        let mut gets = mem::take(&mut self.kept);
        gets.append(&mut self.hub.gets.take());
        gets.retain(|(cells, cell)| cells.is_pending(*cell));
        gets
    }

    /// Keeps a waiter whose record is not in a batch yet for the next [`take_gets`](Self::take_gets), and looks for
    /// the record in its lane.
    pub(crate) fn keep_get(&mut self, cells: Arc<Cells>, cell: u16) {
        self.steal(cells.lane());
        self.kept.push((cells, cell));
    }

    /// The topics that callers wait to see in the next snapshot.
    pub(crate) fn take_wishes(&mut self) -> Vec<TopicId> {
        self.hub.wishes.take()
    }

    /// Whether everything is to be given up now: the sender thread drops what it has and calls [`Hub::die`].
    pub(crate) fn is_forced(&self) -> bool {
        self.hub.forced.load(Ordering::SeqCst)
    }

    /// Announces that the sender thread is about to sleep, and what must wake it. `None` if it must not, because
    /// something came meanwhile that another turn has to see; else how long it may sleep at most.
    ///
    /// Call [`awake`](Self::awake) when the sleep is over. The level must fit the engine's state, and stay true
    /// while the thread sleeps: see [`Level`].
    #[must_use]
    pub(crate) fn doze(&mut self, level: Level) -> Option<Duration> {
        self.hub.level.0.store(level as u8, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        // From here on, whoever does something that matters at this level rings. What was done before is looked for.
        let limit = self.look_once_more(level);
        if limit.is_none() {
            self.awake();
        }
        limit
    }

    /// The sleep is over: callers need not ring.
    pub(crate) fn awake(&mut self) {
        self.hub.level.0.store(Level::Awake as u8, Ordering::Relaxed);
    }

    #[inline]
    fn receive(&mut self) -> Option<Command> {
        let command = self.hub.channel.try_recv()?;
        self.hub.room.0.release(self.hub.places(&command));
        if !matches!(command, Command::Chunk(_)) {
            self.urgent += 1;
        }
        Some(command)
    }

    fn look_once_more(&mut self, level: Level) -> Option<Duration> {
        let newcomers = self.hub.budget.0.arrivals() != self.arrivals;
        if level == Level::AnyRecord || newcomers {
            self.steal_all();
        }
        if newcomers || self.hub.budget.0.waiting() > 0 {
            self.reclaim_credit();
        }
        self.hub.budget.0.give_when_idle();
        self.hub.room.0.give_when_idle();

        let look_again = mem::take(&mut self.look_again) || !self.kept.is_empty();
        let hub = &*self.hub;
        let commands = match level {
            Level::Awake => true,
            Level::AnyRecord | Level::AnyChunk => !hub.channel.is_empty(),
            Level::ManyChunks => !hub.channel.is_empty() && hub.has_many(),
            Level::NothingButUrgent => !hub.channel.is_empty() && hub.is_crowded(),
        };
        // Counted by the sender of a command after it was sent, so this side may be ahead.
        let urgent = hub.urgent.load(Ordering::Relaxed) > self.urgent;
        let closing = !self.closed && !look_again && hub.closing.load(Ordering::SeqCst);
        if commands
            || urgent
            || newcomers
            || closing
            || hub.gets.is_full()
            || hub.wishes.is_full()
            || self.is_forced()
        {
            return None;
        }
        if look_again {
            return Some(BUSY_NAP);
        }
        if level == Level::AnyRecord { Some(Duration::MAX) } else { Some(hub.tick()) }
    }

    fn used_lanes(&self) -> usize {
        // After the level was stored; see `Hub::mark_used`.
        self.hub.used_lanes.load(Ordering::SeqCst)
    }
}

impl Drop for HubReceiver {
    fn drop(&mut self) {
        self.hub.die("it ended unexpectedly");
    }
}

/// A thread inside `send` is out of it sooner, unless it was preempted, and then it needs the core.
const BUSY_NAP: Duration = Duration::from_millis(1);
