//! What callers and the sender thread share: the lanes, the channel, the bell, and how a producer ends.
//!
//! Sockets, batches and partitions' leaders are not known here; neither is what happens when a [`Bell`] is rung.
//! How a record comes into a lane stands in [`append`](super::append), what the sender thread does with it in
//! [`receiver`](super::receiver), and why none is stranded in the [module's](super) own words.

use std::time::{Duration, Instant};

use super::{
    budget::{Budget, Exhausted},
    callback::{PendingCallback, fail_here},
    cells::{Cells, Home},
    chunk::Chunk,
    context::{End, deadline, forked, inside_callback},
    lane::Lane,
    promise::{Answer, Promise},
    sizes::LANES,
    snapshot::Published,
    sync::{Arc, AtomicBool, AtomicU8, AtomicUsize, Channel, Mutex, OnceLock, Ordering, Weak, fence},
    topics::{TopicId, Topics},
    transaction::TransactionRequest,
};
use crate::error::{DeliveryError, FlushError, TransactionError};

/// Wakes the sender thread from its sleep, or makes its next one end at once. Called by any thread, seldom, and never
/// under a lock.
pub(crate) trait Bell: Send + Sync {
    fn ring(&self);
}

/// The measures of a hub.
#[derive(Clone, Debug)]
pub(crate) struct HubConfig {
    /// `buffer.memory`
    pub(crate) buffer_memory: usize,
    /// What the buffers of chunks may take of it: `<= buffer_memory`, and the rest is for records.
    pub(crate) memory_for_chunks: usize,
    /// A chunk is pushed when it is so large. With 4 KiB the threads switch twice as often.
    pub(crate) chunk_bytes: usize,
    /// In chunks of `chunk_bytes`; one that is larger takes several places.
    pub(crate) channel_capacity: usize,
    /// `linger.ms`
    pub(crate) linger: Duration,
    /// So many chunks wake a sender thread that will be woken by a broker anyway.
    pub(crate) ring_threshold: usize,
}

/// What wakes the sender thread: it stores before it sleeps what it sleeps for, and callers read it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Level {
    /// Awake: nothing needs to.
    Awake = 0,
    /// Idle, or `linger.ms=0` with room in flight: any record.
    AnyRecord = 1,
    /// Batches are open, and nothing is in flight: any chunk.
    AnyChunk = 2,
    /// Something is in flight, whose answer will wake it: so many chunks that it could fall behind.
    ManyChunks = 3,
    /// All that may be in flight is: a full channel, and what rings at every level.
    NothingButUrgent = 4,
}

/// What goes through the channel.
#[derive(Debug)]
pub(crate) enum Command {
    Chunk(Chunk),
    /// To be fulfilled once everything that came before is done.
    Flush(Promise),
    /// Records of the transaction that is open have come before it.
    Transaction(TransactionRequest),
    /// Everything that was accepted has come before this.
    Close,
}

/// What both halves hold. One a producer.
pub(crate) struct Hub {
    pub(super) config: HubConfig,
    pub(super) lanes: [Padded<Mutex<Lane>>; LANES],
    /// Lanes from this one on have never been locked by a caller.
    pub(super) used_lanes: AtomicUsize,
    /// A [`Level`].
    pub(super) level: Padded<AtomicU8>,
    bell: Box<dyn Bell>,
    pub(super) channel: Channel<Command>,
    /// How many commands other than chunks have been sent: each of them is worth a sleep.
    pub(super) urgent: AtomicUsize,
    /// Empty buffers on their way back to the callers.
    pool: Channel<Vec<u8>>,
    /// Bytes of `buffer.memory`.
    pub(super) budget: Padded<Budget>,
    /// Places in the channel. Whoever sends has taken one, so that sending cannot fail, and who must wait for one
    /// waits in a line, not all at once.
    pub(super) room: Padded<Budget>,
    pub(super) topics: Arc<Topics>,
    pub(super) published: Published,
    pub(super) gets: Mailbox<(Arc<Cells>, u16)>,
    pub(super) wishes: Mailbox<TopicId>,
    pub(super) standing: Mutex<Standing>,
    callback_sink: OnceLock<CallbackSink>,
    /// `close` was called; no lane takes anything any more, or will soon.
    closed: AtomicBool,
    /// All lanes are shut: once they and the channel are empty, everything has arrived.
    pub(super) closing: AtomicBool,
    /// What is not done yet is to be given up.
    pub(super) forced: AtomicBool,
    end: OnceLock<End>,
    abandoned: OnceLock<(usize, DeliveryError)>,
    creator: u32,
    pub(super) home: Weak<dyn Home>,
}

type CallbackSink = Box<dyn Fn(Vec<PendingCallback>, DeliveryError) + Send + Sync>;

/// How the transaction stands, for callers.
#[derive(Default)]
pub(super) struct Standing {
    /// Records are let in.
    pub(super) open: bool,
    /// Why the transaction cannot go on.
    pub(super) failure: Option<TransactionError>,
}

/// Keeps what one thread writes all the time off the cache lines of the others.
#[repr(align(128))]
pub(super) struct Padded<T>(pub(super) T);

/// Things laid down for the sender thread, with a flag so that an empty box costs no lock.
pub(super) struct Mailbox<T> {
    full: AtomicBool,
    things: Mutex<Vec<T>>,
}

/// What a caller has waited for and not used yet; given back on drop.
pub(super) struct Held<'a> {
    hub: &'a Hub,
    pub(super) memory: usize,
    /// Places in the channel.
    pub(super) room: usize,
}

impl Hub {
    pub(super) fn alone(config: HubConfig, bell: Box<dyn Bell>) -> Arc<Self> {
        Arc::new_cyclic(|home: &Weak<Self>| Self {
            lanes: std::array::from_fn(|_| Padded(Mutex::new(Lane::default()))),
            used_lanes: AtomicUsize::new(0),
            level: Padded(AtomicU8::new(Level::Awake as u8)),
            bell,
            channel: Channel::bounded(config.channel_capacity),
            urgent: AtomicUsize::new(0),
            // Every buffer that can exist at a time, so that none is thrown away.
            pool: Channel::bounded(config.channel_capacity + LANES + 1),
            budget: Padded(Budget::new(config.buffer_memory - config.memory_for_chunks)),
            // With an eighth, records that fill a chunk each have the threads switch three times as often.
            room: Padded(Budget::handed_out_from(config.channel_capacity, config.channel_capacity / 2)),
            topics: Arc::new(Topics::new()),
            published: Published::new(),
            gets: Mailbox::new(),
            wishes: Mailbox::new(),
            standing: Mutex::new(Standing::default()),
            callback_sink: OnceLock::new(),
            closed: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            forced: AtomicBool::new(false),
            end: OnceLock::new(),
            abandoned: OnceLock::new(),
            creator: std::process::id(),
            home: Weak::clone(home) as Weak<dyn Home>,
            config,
        })
    }

    /// The bytes of `buffer.memory`. The sender thread gives back here what [`charge`](super::chunk::charge) says a
    /// record took.
    pub(crate) fn budget(&self) -> &Budget {
        &self.budget.0
    }

    /// Gives memory back on another thread than the sender thread. What is too little to wake a waiter for is given out
    /// by that one when it goes to sleep, and it may sleep already.
    pub(crate) fn give_back(&self, bytes: usize) {
        self.budget.0.release(bytes);
        if self.budget.0.waiting() > 0 {
            self.ring();
        }
    }

    pub(crate) fn topics(&self) -> &Arc<Topics> {
        &self.topics
    }

    pub(crate) fn published(&self) -> &Published {
        &self.published
    }

    /// Where the callbacks of records go that fail before they come into a batch. Set once, before the first
    /// callback.
    pub(crate) fn set_callback_sink(&self, sink: CallbackSink) {
        let _ = self.callback_sink.set(sink);
    }

    /// Waits until everything that was accepted before the call is done, at most for `limit`.
    pub(crate) fn flush(&self, limit: Option<Duration>) -> Result<(), FlushError> {
        const WHAT: &str = "flush";
        if inside_callback() {
            return Err(FlushError::InsideCallback { what: WHAT });
        }
        if forked(self.creator) {
            return Err(FlushError::Forked { parent: self.creator });
        }
        let deadline = limit.and_then(deadline);
        let timed_out = || FlushError::TimedOut { what: WHAT, limit: limit.unwrap_or_default() };
        let (promise, done) = Promise::new();
        self.send_after_records(Command::Flush(promise), deadline).map_err(|why| match why {
            Exhausted::TimedOut => timed_out(),
            Exhausted::Ended => self.ended().flush_error(),
        })?;
        match done.wait(deadline) {
            Some(Answer::Fulfilled) => Ok(()),
            Some(Answer::Broken) => Err(self.ended().flush_error()),
            None => Err(timed_out()),
        }
    }

    /// Begins an orderly end: nothing is accepted any more, and whoever waits to send is refused. Waits for nobody.
    pub(crate) fn close_lanes(&self) {
        self.closed.store(true, Ordering::SeqCst);
        for lane in &self.lanes {
            let mut lane = lane.0.lock();
            lane.shut = true;
            // Without room it stays where it is, and the sender thread takes it before it says that all have come.
            let _ = self.push(&mut lane, None);
            let credit = std::mem::take(&mut lane.credit);
            drop(lane);
            self.budget.0.release(credit);
        }
        self.end_waits();
    }

    /// After [`close_lanes`](Self::close_lanes): has the sender thread receive [`Command::Close`] once it has
    /// received everything that was accepted. That is a flag and not a place in the channel, so it does not wait
    /// for one.
    pub(crate) fn close_command(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.ring();
    }

    /// Closes without waiting for what is not done: see
    /// [`HubReceiver::is_forced`](super::receiver::HubReceiver::is_forced).
    pub(crate) fn force_close(&self) {
        self.close_lanes();
        self.forced.store(true, Ordering::SeqCst);
        self.ring();
    }

    /// What a forced close had to give up: how many records, and the error of the first. The first call counts.
    pub(crate) fn note_abandoned(&self, records: usize, first: DeliveryError) {
        let _ = self.abandoned.set((records, first));
    }

    /// See [`note_abandoned`](Self::note_abandoned).
    pub(crate) fn abandoned(&self) -> Option<&(usize, DeliveryError)> {
        self.abandoned.get()
    }

    /// `buffer.memory`: what is shared out, and what chunks in the channel may take.
    pub(crate) fn buffer_memory(&self) -> usize {
        self.config.buffer_memory
    }

    /// Whether `close` was called or the sender thread is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Why the sender thread ended before it was told to, if it did.
    #[cfg(test)]
    pub(crate) fn death(&self) -> Option<Arc<str>> {
        self.end.get()?.cause().cloned()
    }

    /// The process that made this producer; the sender thread is in no other.
    pub(crate) fn creator(&self) -> u32 {
        self.creator
    }

    /// The sender thread ends, whyever: everything that is still here fails, and everybody who waits is told.
    ///
    /// The first call counts. What the caller has received must be dropped or settled by it.
    pub(crate) fn die(&self, end: impl Into<End>) {
        if self.end.set(end.into()).is_err() {
            return;
        }
        self.closed.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.end_waits();
        for lane in &self.lanes {
            // Not tried but locked: who held the lock has appended, and who comes after finds the lane shut.
            let (rest, credit) = {
                let mut lane = lane.0.lock();
                (lane.shut(), std::mem::take(&mut lane.credit))
            };
            drop(rest);
            self.budget.0.release(credit);
        }
        self.drain_channel();
        drop(self.gets.take());
        drop(self.wishes.take());
    }

    /// Takes back a chunk's buffer for the next one. Larger ones are not kept: they would hold memory that nobody
    /// counts.
    pub(crate) fn recycle(&self, buffer: Vec<u8>) {
        debug_assert!(buffer.is_empty());
        if buffer.capacity() == self.config.chunk_bytes {
            let _ = self.pool.try_send(buffer);
        }
    }

    /// How often the sender thread looks into the lanes while it has something to do, and how long it sleeps at most
    /// then. Bounded on both sides: `linger.ms=0` must not spin, and a missed ring must not cost a minute.
    pub(crate) fn tick(&self) -> Duration {
        self.config.linger.clamp(Duration::from_millis(1), Duration::from_millis(50))
    }

    /// Pushes what all lanes hold, then `command`: it comes after everything that was accepted before this call.
    pub(crate) fn send_after_records(
        &self,
        command: Command,
        deadline: Option<Instant>,
    ) -> Result<(), Exhausted> {
        let mut held = Held::nothing(self);
        for lane in &self.lanes[..self.used_lanes.load(Ordering::SeqCst)] {
            // Either this thread finds the lane empty, or it pushes; a lane's lock is never held while waiting.
            loop {
                let pushed = self.push(&mut lane.0.lock(), Some(&mut held));
                let Err(places) = pushed else { break };
                held.wait_for_room(places, deadline)?;
            }
        }
        while !held.take_room(1) {
            held.wait_for_room(1, deadline)?;
        }
        self.send(command);
        self.urgent.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.end.get().is_some() {
            // The sender thread's last look into the channel may have been before the command was there.
            self.drain_channel();
        }
        self.ring();
        Ok(())
    }

    /// Moves a lane's open chunk into the channel, so that none is left in the lane. `Err`: the channel lacks so many
    /// places. Only ever called under the lane's lock, by callers and by the sender thread alike: so the channel's
    /// order is the lane's.
    pub(super) fn push(&self, lane: &mut Lane, held: Option<&mut Held<'_>>) -> Result<(), usize> {
        let Some(chunk) = &lane.open else { return Ok(()) };
        let places = self.places_of(chunk);
        let has_room = match held {
            Some(held) => held.take_room(places),
            None => self.room.0.try_take(places),
        };
        if !has_room {
            return Err(places);
        }
        if let Some(chunk) = lane.open.take() {
            self.send(Command::Chunk(chunk));
        }
        Ok(())
    }

    /// How much of the channel a command takes: what lies in there is memory, which chunks of one record take at will.
    pub(super) fn places(&self, command: &Command) -> usize {
        match command {
            Command::Chunk(chunk) => self.places_of(chunk),
            _ => 1,
        }
    }

    fn places_of(&self, chunk: &Chunk) -> usize {
        // To the nearest: most records that fit no buffer are hardly larger than one.
        let places = (chunk.len() + self.config.chunk_bytes / 2) / self.config.chunk_bytes;
        places.clamp(1, self.config.channel_capacity)
    }

    /// Sends a command for which a place was taken.
    fn send(&self, command: Command) {
        let sent = self.channel.try_send(command);
        assert!(sent.is_ok(), "the channel has a place for everybody who has taken one");
    }

    /// Rings if the sender thread sleeps for what was just pushed.
    pub(super) fn ring_for_push(&self) {
        // The push, then the look at the level; the sender thread stores the level, then looks at the channel.
        fence(Ordering::SeqCst);
        let level = self.level.0.load(Ordering::Relaxed);
        let due = if level == Level::ManyChunks as u8 {
            self.has_many()
        } else if level == Level::NothingButUrgent as u8 {
            self.is_crowded()
        } else {
            level != Level::Awake as u8
        };
        if due {
            self.ring();
        }
    }

    /// Wakes the sender thread if it sleeps, at whatever level. Only the first of several callers goes to the
    /// trouble.
    pub(super) fn ring(&self) {
        fence(Ordering::SeqCst);
        let level = &self.level.0;
        if level.load(Ordering::Relaxed) != Level::Awake as u8
            && level.swap(Level::Awake as u8, Ordering::SeqCst) != Level::Awake as u8
        {
            self.bell.ring();
        }
    }

    /// Whether there are so many chunks in the channel that the sender thread could fall behind, or few that are so
    /// large that somebody waits.
    pub(super) fn has_many(&self) -> bool {
        self.channel.len() >= self.config.ring_threshold || self.is_crowded()
    }

    /// Whether the channel is full, or somebody waits for a place in it.
    pub(super) fn is_crowded(&self) -> bool {
        self.room.0.waiting() > 0 || self.room.0.free() == 0
    }

    /// An empty buffer. Only while the pool fills up is one allocated.
    pub(super) fn buffer(&self) -> Vec<u8> {
        self.pool.try_recv().unwrap_or_else(|| Vec::with_capacity(self.config.chunk_bytes))
    }

    fn end_waits(&self) {
        self.published.end();
        self.budget.0.end();
        self.room.0.end();
    }

    /// Drops everything in the channel, which fails it.
    fn drain_channel(&self) {
        while let Some(command) = self.channel.try_recv() {
            self.room.0.release(self.places(&command));
        }
    }

    /// What to tell a caller that is refused because nothing goes on.
    pub(crate) fn ended(&self) -> End {
        // In this order: a death sets the one, then the other.
        let closed = self.is_closed();
        if let Some(end) = self.end.get() {
            return end.clone();
        }
        if closed {
            return End::Closed;
        }
        "it dropped what it was asked to do".into()
    }
}

impl Home for Hub {
    fn hurry(&self, cells: &Arc<Cells>, cell: u16) {
        let (found, pushed) = {
            let mut lane = self.lanes[usize::from(cells.lane())].0.lock();
            let found = lane.open.as_ref().is_some_and(|chunk| chunk.holds(cells, cell));
            (found, found && self.push(&mut lane, None).is_ok())
        };
        if self.config.linger.is_zero() && found == pushed {
            // No batch waits for more, so there is nothing to end once the sender thread has the record; a second
            // ring would only switch threads once more.
            if pushed {
                self.ring();
            }
            return;
        }
        self.gets.put((Arc::clone(cells), cell));
        self.ring();
    }

    fn end(&self) -> Option<&End> {
        self.end.get()
    }

    fn creator(&self) -> u32 {
        self.creator
    }

    fn fail_callbacks(&self, callbacks: Vec<PendingCallback>, error: &DeliveryError) {
        match self.callback_sink.get() {
            Some(sink) => sink(callbacks, error.clone()),
            None => fail_here(callbacks, error),
        }
    }

    fn release(&self, bytes: usize) {
        self.budget.0.release(bytes);
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub")
            .field("config", &self.config)
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

impl<T> Mailbox<T> {
    fn new() -> Self {
        Self { full: AtomicBool::new(false), things: Mutex::new(Vec::new()) }
    }

    fn put(&self, thing: T) {
        let mut things = self.things.lock();
        things.push(thing);
        self.full.store(true, Ordering::Relaxed);
    }

    /// To be asked after a fence that follows the store of the level: whoever puts something rings afterwards.
    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    pub(super) fn take(&self) -> Vec<T> {
        if !self.is_full() {
            return Vec::new();
        }
        let mut things = self.things.lock();
        self.full.store(false, Ordering::Relaxed);
        std::mem::take(&mut *things)
    }
}

impl<T: PartialEq> Mailbox<T> {
    pub(super) fn put_once(&self, thing: T) {
        let mut things = self.things.lock();
        if !things.contains(&thing) {
            things.push(thing);
        }
        self.full.store(true, Ordering::Relaxed);
    }
}

impl<'a> Held<'a> {
    pub(super) fn nothing(hub: &'a Hub) -> Self {
        Self { hub, memory: 0, room: 0 }
    }

    /// Uses the places that are held if they are enough, or takes as many if that is possible without waiting. Too few
    /// of them are given up before anybody waits: two who wait for each other's would wait for ever.
    pub(super) fn take_room(&mut self, places: usize) -> bool {
        if self.room < places {
            self.give_up_room();
            return self.hub.room.0.try_take(places);
        }
        // Another chunk was waited for, which somebody else has pushed.
        self.room -= places;
        self.give_up_room();
        true
    }

    pub(super) fn wait_for_room(
        &mut self,
        places: usize,
        deadline: Option<Instant>,
    ) -> Result<(), Exhausted> {
        let ticket = self.hub.room.0.queue_up(places, places);
        self.hub.ring();
        self.room += ticket.wait(deadline)?;
        Ok(())
    }

    pub(super) fn give_up_room(&mut self) {
        match std::mem::take(&mut self.room) {
            0 => {}
            places => self.hub.room.0.release(places),
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.give_up_room();
        if self.memory > 0 {
            self.hub.budget.0.release(self.memory);
        }
    }
}
