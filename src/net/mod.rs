//! The sender thread: one loop round the engine, and every system call there is.
//!
//! The loop carries things between four parties and decides nothing that is about Kafka: callers reach it through the
//! [`Hub`], sockets through the poller, user code through the callback thread, and the [`Engine`] says what to do next.
//! It sees actions and bytes and knows no message.
//!
//! A turn reads the clock once, does a bounded amount of work for everybody, and sleeps only if nobody has any left.
//! Nothing else in it may block: a look-up of a name has a thread of its own ([`dial`]), callbacks have one
//! ([`callbacks`]), and a socket that takes no more bytes is left until it does ([`connection`]).

mod callbacks;
mod connection;
mod dial;
mod events;
mod inquiries;
#[cfg(feature = "sasl")]
mod login;
mod readings;
#[cfg(feature = "tls")]
mod tls;
mod token;

use std::{
    collections::HashMap,
    io::{self, ErrorKind},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use mio::{Events, Poll, Waker};

#[cfg(feature = "sasl")]
use self::login::Logins;
pub(crate) use self::{callbacks::Callbacks, inquiries::Inquiries};
use self::{
    connection::{Connection, Security},
    dial::{Dialer, Outcome, Peer, SocketOptions, system_lookup},
    events::Events as ToldEvents,
    readings::Readings,
    token::{WAKER, token},
};
use crate::{
    config::Settings,
    engine::{Action, ConnId, Ending, Engine},
    error::panic_text,
    handoff::{
        Awaited, Bell, CallbackScope, Command, End, Hub, HubConfig, HubReceiver, LANES, Level, Promise,
        fail_here, sync::Mutex,
    },
    metrics::{Counting, Numbers},
    telemetry::{Desk, Sample},
};

/// The sender thread, for whoever ends it.
pub(crate) struct SenderThread {
    pub(crate) hub: Arc<Hub>,
    /// Where callers meet the metrics that are pushed.
    pub(crate) desk: Arc<Desk>,
    thread: Mutex<Option<JoinHandle<()>>>,
    inquiries: Arc<Inquiries>,
    pub(crate) counting: Arc<Counting>,
    settled: Awaited,
    ended: Awaited,
}

impl SenderThread {
    /// Waits until the thread has ended, and all of the user's code with it; `false` if the deadline passes first.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> bool {
        let ended = self.ended.wait(deadline).is_some();
        if ended && let Some(thread) = self.thread.lock().take() {
            // It has nothing left to do but to return. A panic of its own was reported as the hub's end.
            let _ = thread.join();
        }
        ended
    }

    /// What the thread has counted; from its end on, what it had counted by then. `None`: it never began to count.
    ///
    /// Waits for the thread to come round, unless it is not in this process.
    pub(crate) fn numbers(&self, forked: bool) -> Option<Numbers> {
        if forked { self.inquiries.last() } else { self.inquiries.ask() }
    }

    /// Waits until every record has its outcome, but for those whose callbacks have not returned.
    pub(crate) fn wait_until_settled(&self, deadline: Option<Instant>) {
        let _ = self.settled.wait(deadline);
    }
}

/// Starts a producer's machinery: the hub, the engine and the thread that drives it. `seed` is for the engine's chances.
///
/// The thread ends once it was told to close and everything that was accepted is done, or else by a fault. Either way the
/// hub is dead then and every record has its outcome. Last of all the thread waits for the callbacks, for as long as
/// these take, and after them it runs `farewell`, which may be the user's code as well.
pub(crate) fn start(
    settings: Arc<Settings>,
    seed: u64,
    farewell: impl FnOnce() + Send + 'static,
) -> io::Result<SenderThread> {
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
    let sockets =
        SocketOptions { send_buffer: settings.send_buffer, receive_buffer: settings.receive_buffer };
    #[cfg(feature = "sasl")]
    let logins = Logins::new(Arc::clone(&waker));
    let dialer = Dialer::new(poll.registry().try_clone()?, Arc::clone(&waker), sockets, system_lookup);
    let bell = move || Box::new(Ringer(Arc::clone(&waker))) as Box<dyn Bell>;
    launch(Arc::clone(&settings), bell, farewell, move |parts| {
        let network = Network {
            poll,
            dialer,
            security: Security::of(&settings),
            #[cfg(feature = "sasl")]
            logins,
            abort_on_hang_up: settings.acks != 0,
        };
        let office = Office {
            told: ToldEvents::new(&settings.event_listeners),
            readings: Readings::new(parts.desk),
            inquiries: parts.inquiries,
            counting: parts.counting,
            client_id: settings.client_id.clone(),
        };
        let hub = Arc::clone(parts.receiver.hub());
        let engine = Engine::new(settings, hub, seed, read_clock());
        Sender::new(engine, parts.receiver, parts.callbacks, office, network)
    })
}

/// What takes from a hub what callers put in, on a thread of its own.
pub(crate) trait FarEnd {
    /// Until it was told to close and everything that was accepted is done. Fails if the system does not let it go on.
    fn run(&mut self) -> io::Result<()>;

    /// What it has counted, after the last turn.
    fn last_numbers(&mut self) -> Numbers;
}

/// What a far end is made of.
pub(crate) struct Parts {
    pub(crate) receiver: HubReceiver,
    pub(crate) callbacks: Arc<Callbacks>,
    pub(crate) inquiries: Arc<Inquiries>,
    pub(crate) counting: Arc<Counting>,
    pub(crate) desk: Arc<Desk>,
}

/// Starts a hub and the thread at its far end, as [`start`] says. `bell` makes what wakes that thread.
pub(crate) fn launch<F: FarEnd>(
    settings: Arc<Settings>,
    bell: impl Fn() -> Box<dyn Bell>,
    farewell: impl FnOnce() + Send + 'static,
    new: impl FnOnce(Parts) -> F + Send + 'static,
) -> io::Result<SenderThread> {
    let chunks = (settings.buffer_memory / SHARE_OF_CHUNKS / CHUNK_BYTES).min(CHANNEL_CAPACITY);
    let config = HubConfig {
        buffer_memory: settings.buffer_memory,
        memory_for_chunks: if chunks < FEWEST_CHUNKS { 0 } else { (chunks + LANES) * CHUNK_BYTES },
        chunk_bytes: CHUNK_BYTES,
        channel_capacity: chunks.max(FEWEST_CHUNKS),
        linger: settings.linger,
        ring_threshold: RING_THRESHOLD,
    };
    let inquiries = Arc::new(Inquiries::new(bell()));
    let desk = Arc::new(Desk::new(bell()));
    let counting = Arc::new(Counting::new(settings.metrics_shape));
    let (hub, receiver) = Hub::new(config, bell());
    if settings.transactional_id.is_some() {
        hub.bar_records();
    }
    // A client.id may hold a NUL; the name of a thread must not.
    let client_id = settings.client_id.replace('\0', "");
    let callbacks = start_callbacks(&client_id, &hub);

    let (promise_settled, settled) = Promise::new();
    let (promise_ended, ended) = Promise::new();
    let thread = thread::Builder::new().name(format!("kafka-producer-network-thread | {client_id}")).spawn({
        let (hub, callbacks, desk) = (Arc::clone(&hub), Arc::clone(&callbacks), Arc::clone(&desk));
        let (inquiries, counting) = (Arc::clone(&inquiries), Arc::clone(&counting));
        move || {
            let parts = Parts {
                receiver,
                callbacks: Arc::clone(&callbacks),
                inquiries: Arc::clone(&inquiries),
                counting,
                desk: Arc::clone(&desk),
            };
            // What waits for this thread would wait for itself, as in a callback: also a logger that it calls.
            let _scope = CallbackScope::enter();
            inquiries.begin();
            live_and_die(move || new(parts), &hub, &inquiries);
            promise_settled.fulfil();
            callbacks.finish();
            desk.end();
            farewell();
            promise_ended.fulfil();
        }
    });
    // The callbacks hold the hub and the hub holds the callbacks, until they are told that it is over.
    let thread = thread.inspect_err(|_| callbacks.finish())?;
    Ok(SenderThread { hub, desk, thread: Mutex::new(Some(thread)), inquiries, counting, settled, ended })
}

/// Has a place for callbacks to run, also for those of records that never come to the engine.
fn start_callbacks(client_id: &str, hub: &Arc<Hub>) -> Arc<Callbacks> {
    let owner = Arc::clone(hub);
    let release = move |bytes| owner.give_back(bytes);
    let name = format!("kafka-producer-callback-thread | {client_id}");
    let callbacks = Arc::new(Callbacks::new(name, Arc::new(release)));
    let refusals = Arc::clone(&callbacks);
    hub.set_callback_sink(Box::new(move |refused, error| {
        refusals.run(move || {
            fail_here(refused, &error);
            0
        });
    }));
    callbacks
}

fn live_and_die<F: FarEnd>(new: impl FnOnce() -> F, hub: &Hub, inquiries: &Inquiries) {
    let mut sender = None;
    let life = catch_unwind(AssertUnwindSafe(|| sender.insert(new()).run()));
    let end = match life {
        Ok(Ok(())) => End::Closed,
        Ok(Err(e)) => format!("the system does not let the sender thread wait for its sockets: {e}").into(),
        Err(panic) => format!("the sender thread panicked: {}", panic_text(&*panic)).into(),
    };
    if let Some(cause) = end.cause() {
        log::error!("a producer has ended without being told to: {cause}");
    }
    // First the hub, so that nothing is accepted any more and everything that fails from here on knows why; then the
    // engine, whose records fail as they are dropped. The callbacks of both are left to whoever comes after.
    hub.die(end);
    inquiries.end(sender.as_mut().map(FarEnd::last_numbers));
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(sender))) {
        log::error!("the end of the sender thread panicked: {}", panic_text(&*panic));
    }
}

/// How far a socket is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Until {
    /// To its end, or until it says that there is nothing: the poller has reported all that it will.
    Dry,
    /// Until it gives less than was asked for, where that says as much.
    ShortRead,
}

/// Wakes the sender thread.
struct Ringer(Arc<Waker>);

impl Bell for Ringer {
    fn ring(&self) {
        if let Err(e) = self.0.wake() {
            log::error!("the sender thread cannot be woken: {e}");
        }
    }
}

/// What connections are made of.
struct Network {
    poll: Poll,
    dialer: Dialer,
    #[cfg(feature = "sasl")]
    logins: Logins,
    security: Security,
    /// Whether what the kernel has not sent yet is lost when the engine hangs up: yes, unless nobody would ever learn
    /// that it was.
    abort_on_hang_up: bool,
}

/// Who is told of what happens, besides those whose records they are.
struct Office {
    told: ToldEvents,
    readings: Readings,
    inquiries: Arc<Inquiries>,
    counting: Arc<Counting>,
    client_id: String,
}

struct Sender {
    engine: Engine,
    receiver: HubReceiver,
    callbacks: Arc<Callbacks>,
    office: Office,
    network: Network,
    connections: HashMap<ConnId, Connection>,
    /// What the engine said last about when it must be called.
    deadline: Option<Instant>,
    /// When to look into the lanes although nobody rang.
    next_steal: Instant,
    /// Whether somebody waits for a record that the engine has.
    waited_for: bool,
    /// Whether the engine was told that callers wait for memory.
    pressed: bool,
    /// Connections to write to: something was pushed, or there is room again.
    unwritten: Vec<ConnId>,
    /// Connections that have more bytes than one turn takes. The poller does not report them again.
    unread: Vec<ConnId>,
    buffer: Box<[u8]>,
}

impl FarEnd for Sender {
    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        let mut slept = None;
        loop {
            let now = read_clock();
            if let Some((woken, begun)) = slept {
                self.engine.turned(woken, begun, now);
            }
            self.handle_sockets(now, &events);
            self.handle_callers(now);
            if self.deadline.is_some_and(|at| at <= now) {
                self.engine.handle_timeout(now);
            }
            self.act(now);
            let woken = self.release();
            self.office.inquiries.answer(|| self.engine.numbers(now));
            if self.engine.is_finished() {
                self.office.told.finish(&self.callbacks);
                return Ok(());
            }
            if woken && !self.engine.has_in_flight() {
                // On a busy core the waiter that was just woken sends its next record now, to a thread that is awake
                // and need not be rung. Otherwise it would find it asleep. With more on its way there is something to
                // wait for, and the waiter may have more handles to ask, which are done by then.
                thread::yield_now();
                // One turn for that record before the sockets are looked at again, as they were in this one.
                if !events.is_empty() {
                    events.clear();
                    slept = None;
                    continue;
                }
            }
            slept = Some((now, read_clock()));
            self.sleep(now, &mut events)?;
        }
    }

    fn last_numbers(&mut self) -> Numbers {
        self.engine.last_numbers(read_clock())
    }
}

impl Sender {
    fn new(
        engine: Engine,
        receiver: HubReceiver,
        callbacks: Arc<Callbacks>,
        office: Office,
        network: Network,
    ) -> Self {
        Self {
            engine,
            receiver,
            callbacks,
            office,
            network,
            connections: HashMap::new(),
            deadline: None,
            next_steal: read_clock(),
            waited_for: false,
            pressed: false,
            unwritten: Vec::new(),
            unread: Vec::new(),
            buffer: vec![0; READ_BUFFER].into(),
        }
    }

    fn hub(&self) -> &Hub {
        self.receiver.hub()
    }

    /// What the network has brought.
    fn handle_sockets(&mut self, now: Instant, events: &Events) {
        for conn in mem::take(&mut self.unread) {
            self.receive(now, conn, Until::Dry);
        }
        for event in events.iter().filter(|event| event.token() != WAKER) {
            let conn = ConnId(event.token().0 as u64);
            // A connection that was given up between the poll and now is in neither place.
            if self.connections.contains_key(&conn) {
                if event.is_writable() {
                    self.unwritten.push(conn);
                }
                let over = event.is_read_closed() || event.is_error();
                self.receive(now, conn, if over { Until::Dry } else { Until::ShortRead });
            } else {
                self.network.dialer.handle_ready(now, conn);
            }
        }
        #[cfg(feature = "sasl")]
        while let Some((conn, outcome)) = self.network.logins.poll_outcome() {
            self.engine.handle_login(now, conn, outcome);
        }
        self.network.dialer.handle_timeout(now);
        while let Some((conn, outcome)) = self.network.dialer.poll_outcome() {
            match outcome {
                Outcome::Connected(stream, peer) => {
                    let registry = self.network.poll.registry();
                    match Connection::new(stream, peer, &self.network.security, registry, token(conn)) {
                        Ok(connection) => {
                            self.connections.insert(conn, connection);
                            // The handshake has to be begun, if there is one.
                            self.unwritten.push(conn);
                            self.engine.handle_connected(now, conn);
                        }
                        Err(e) => self.engine.handle_disconnected(now, conn, ending_of(&e), e.to_string()),
                    }
                }
                Outcome::Failed(cause) => {
                    self.engine.handle_disconnected(now, conn, Ending::Broken, cause);
                }
            }
        }
    }

    /// What the callers want: first their lanes, then the channel that these are emptied into, then what refers to
    /// records that came through it.
    fn handle_callers(&mut self, now: Instant) {
        let forced = self.receiver.is_forced();
        if forced || self.next_steal <= now {
            let busy = self.receiver.steal_all();
            if self.receiver.lacks_memory() {
                self.receiver.reclaim_credit();
            }
            self.next_steal = now + if busy { BUSY_LANE_RETRY } else { self.hub().tick() };
        }
        // Behind the look for those who lack memory: whoever came since then is seen here, or keeps the thread awake.
        let short_of_memory = self.hub().budget().waiting() > 0;
        // What is given up is counted, so all of it has to be here.
        for _ in 0..if forced { usize::MAX } else { MAX_COMMANDS_PER_TURN } {
            match self.receiver.try_recv() {
                Some(Command::Chunk(chunk)) => self.engine.handle_chunk(now, chunk),
                Some(Command::Flush(promise)) => self.engine.handle_flush(now, promise),
                Some(Command::Transaction(request)) => self.engine.handle_transaction(now, request),
                Some(Command::Close) => self.engine.handle_close(now),
                None => break,
            }
        }
        for topic in self.receiver.take_wishes() {
            self.engine.handle_wish(now, topic);
        }
        if self.office.readings.desk().take_wish() {
            self.engine.handle_instance_wish(now);
        }
        while let Some(reading) = self.office.readings.poll() {
            self.engine.handle_reading(now, reading);
        }
        for (cells, cell) in self.receiver.take_gets() {
            if self.engine.handle_get(now, &cells, cell) {
                self.waited_for = true;
            } else {
                self.receiver.keep_get(cells, cell);
            }
        }
        if short_of_memory || self.pressed {
            self.pressed = short_of_memory;
            self.engine.handle_memory_pressure(now, short_of_memory);
        }
        if forced && let Some((count, first)) = self.engine.handle_forced_close(now) {
            self.hub().note_abandoned(count, first);
        }
    }

    /// What this producer measures of itself.
    fn samples(&mut self, now: Instant) -> Vec<Sample> {
        let numbers = self.engine.numbers(now);
        let office = &self.office;
        let metrics = office.counting.list(Some(&numbers), self.receiver.hub(), &office.client_id);
        metrics.iter().map(Sample::of).collect()
    }

    /// Does what the engine says until it has nothing more to say.
    fn act(&mut self, now: Instant) {
        loop {
            while let Some(action) = self.engine.poll_action(now) {
                match action {
                    Action::Dial { conn, host, port, timeout } => {
                        self.network.dialer.dial(now, conn, host, port, timeout)
                    }
                    #[cfg(feature = "sasl")]
                    Action::Login { conn, step } => {
                        if let Err(e) = self.network.logins.start(conn, step) {
                            let why = format!("no thread for the login: {e}");
                            self.engine.handle_login(now, conn, crate::sasl::Outcome::Unable(why));
                        }
                    }
                    Action::Transmit { conn, transmit } => {
                        if let Some(connection) = self.connections.get_mut(&conn)
                            && connection.push(transmit)
                        {
                            self.unwritten.push(conn);
                        }
                    }
                    Action::HangUp { conn } => self.hang_up(conn),
                    Action::Complete(batch) => self.callbacks.run(move || batch.run()),
                    Action::Answer(promise) => self.callbacks.run_in_turn(move || promise.fulfil()),
                    Action::Tell(event) => self.office.told.tell(&self.callbacks, event),
                    Action::ReadMetrics => {
                        let samples = self.samples(now);
                        if let Some(reading) = self.office.readings.take(&self.callbacks, samples) {
                            self.engine.handle_reading(now, reading);
                        }
                    }
                    Action::Introduce(id) => self.office.readings.desk().introduce(id),
                }
            }
            // All transmits of a connection together, and at once instead of when the poller says so: there nearly
            // always is room.
            if self.unwritten.is_empty() {
                break;
            }
            for conn in mem::take(&mut self.unwritten) {
                self.write(now, conn);
            }
        }
        self.deadline = self.engine.poll_timeout();
    }

    /// Gives back what was done with; says whether somebody was woken by it.
    fn release(&mut self) -> bool {
        let bytes = self.engine.take_released();
        if bytes == 0 {
            return false;
        }
        self.hub().budget().release(bytes);
        mem::take(&mut self.waited_for)
    }

    /// Waits for whatever comes first: a socket, a caller, a deadline. Does not wait if there is work already.
    fn sleep(&mut self, now: Instant, events: &mut Events) -> io::Result<()> {
        let level = self.engine.appetite();
        let mut wake_at = earlier(self.deadline, self.network.dialer.poll_timeout());
        // Above the lowest level nobody rings for a record in an open chunk.
        if level != Level::AnyRecord {
            wake_at = earlier(wake_at, Some(self.next_steal));
        }
        let left = wake_at.map_or(Duration::MAX, |at| at.saturating_duration_since(now));
        let idle = !left.is_zero() && self.unread.is_empty() && !self.network.dialer.has_outcome();
        let limit = if idle { self.receiver.doze(level) } else { None };
        let timeout = limit.map_or(Duration::ZERO, |limit| limit.min(left));
        let polled = self.network.poll.poll(events, (timeout < Duration::MAX).then_some(timeout));
        self.receiver.awake();
        match polled {
            // A signal. The events of the poll before must not be seen again.
            Err(e) if e.kind() == ErrorKind::Interrupted => events.clear(),
            other => return other,
        }
        Ok(())
    }

    fn receive(&mut self, now: Instant, conn: ConnId, until: Until) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let mut received = 0;
        let end = loop {
            if received >= MAX_BYTES_PER_TURN {
                self.unread.push(conn);
                break None;
            }
            match connection.read(&mut self.buffer) {
                Ok(0) => {
                    break Some((Ending::Closed, format!("{} closed the connection", connection.peer())));
                }
                Ok(n) => {
                    received += n;
                    self.engine.handle_received(now, conn, &self.buffer[..n]);
                    if until == Until::ShortRead && connection.is_drained_by(n, self.buffer.len()) {
                        break None;
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => break None,
                Err(e) => {
                    break Some((ending_of(&e), broken(&e, connection.peer())));
                }
            }
        };
        match end {
            Some((ending, cause)) => self.lose(now, conn, ending, cause),
            None if connection.wants_to_write() => self.unwritten.push(conn),
            None => {}
        }
    }

    fn write(&mut self, now: Instant, conn: ConnId) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let (written, outcome) = connection.write(self.network.poll.registry(), token(conn));
        for _ in 0..written {
            self.engine.handle_written(now, conn);
        }
        if let Err(e) = outcome {
            let cause = broken(&e, connection.peer());
            // A broker that answers and then closes has answered.
            self.receive(now, conn, Until::Dry);
            self.lose(now, conn, ending_of(&e), cause);
        }
    }

    /// Unless the connection is lost already.
    fn lose(&mut self, now: Instant, conn: ConnId, ending: Ending, cause: String) {
        if self.forget(conn).is_some() {
            log::debug!("{cause}");
            self.engine.handle_disconnected(now, conn, ending, cause);
        }
    }

    fn hang_up(&mut self, conn: ConnId) {
        if self.network.dialer.cancel(conn) {
            return;
        }
        if let Some(connection) = self.forget(conn) {
            log::debug!("hung up on {}", connection.peer());
            if self.network.abort_on_hang_up {
                connection.abort();
            } else {
                connection.close();
            }
        }
    }

    fn forget(&mut self, conn: ConnId) -> Option<Connection> {
        let connection = self.connections.remove(&conn)?;
        self.network.dialer.handle_lost(connection.peer(), connection.heard());
        Some(connection)
    }
}

#[cfg(feature = "tls")]
fn ending_of(error: &io::Error) -> Ending {
    tls::ending_of(error)
}

#[cfg(not(feature = "tls"))]
fn ending_of(_: &io::Error) -> Ending {
    Ending::Broken
}

/// Who turns us away is named by whoever tells of it.
fn broken(error: &io::Error, peer: &Peer) -> String {
    match ending_of(error) {
        Ending::Refused => error.to_string(),
        _ => format!("the connection to {peer} broke: {error}"),
    }
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    a.into_iter().chain(b).min()
}

#[expect(clippy::disallowed_methods, reason = "time has to enter somewhere: here, once a turn")]
fn read_clock() -> Instant {
    Instant::now()
}

/// What a thread hands over at a time: about as much as 256 small records take, which is where a chunk ends in any case.
/// With 4 KiB the threads switch twice as often; with 16 KiB a record of 10 KiB is alone in its chunk.
const CHUNK_BYTES: usize = 32 * 1024;

/// 4 MiB. With a quarter of it, callers with records of 1 KiB block although the sender thread could take more.
const CHANNEL_CAPACITY: usize = 128;

/// A sixteenth of `buffer.memory` is for chunks in the channel, 64 of them with the usual 32 MiB, and some more of it
/// for those that lanes are filling.
const SHARE_OF_CHUNKS: usize = 16;

/// Below 4 MiB nobody looks at the megabyte: all of `buffer.memory` is for records, which may be as large as that.
const FEWEST_CHUNKS: usize = 8;

/// So many chunks wake a sender thread that an answer will wake anyway.
const RING_THRESHOLD: usize = 4;

/// A megabyte of full chunks. With more, a slow codec keeps the sockets waiting for too long.
const MAX_COMMANDS_PER_TURN: usize = 32;

/// More than a turn's answers, but for a hostile peer or an enormous cluster's metadata, which must not keep the other
/// sockets waiting.
const MAX_BYTES_PER_TURN: usize = 256 * 1024;

/// Most answers fit, so that one read takes them whole.
const READ_BUFFER: usize = 64 * 1024;

/// What does not fit is reported by the next poll.
const EVENTS: usize = 256;

/// A lane is busy while its owner is inside `send`, for less than a microsecond unless it lost its core there.
const BUSY_LANE_RETRY: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn a_ring_from_another_thread_ends_the_sleep_also_when_it_came_before() {
        let mut poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), WAKER).unwrap());
        let mut events = Events::with_capacity(8);
        let mut sleep = || {
            poll.poll(&mut events, Some(LONG)).unwrap();
            assert!(events.iter().any(|event| event.token() == WAKER), "nobody rang within {LONG:?}");
        };
        for _ in 0..100 {
            let ringer = Ringer(Arc::clone(&waker));
            let thread = thread::Builder::new().spawn(move || ringer.ring()).unwrap();
            sleep();
            thread.join().unwrap();
        }
        Ringer(Arc::clone(&waker)).ring();
        sleep();
    }

    #[test]
    fn the_earlier_of_two_deadlines_counts_and_none_is_never() {
        let now = read_clock();
        let later = now + LONG;
        for (a, b, want) in [
            (None, None, None),
            (Some(now), None, Some(now)),
            (None, Some(now), Some(now)),
            (Some(now), Some(later), Some(now)),
            (Some(later), Some(now), Some(now)),
        ] {
            assert_eq!(earlier(a, b), want);
        }
    }
}
