//! The world round one engine: a virtual clock, callers, the shell's part, a callback thread, links with delays, and a
//! cluster that is a model. It does what it is told; what goes wrong, and when, is decided elsewhere.
//!
//! Time passes from event to event, and the same seed makes the same events. The shell's part is a plain copy of what
//! `net/` does in a turn, without its threads and sockets.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    pin::Pin,
    sync::{Arc, Mutex, OnceLock, Weak},
    task::{Context, Waker},
    time::{Duration, Instant},
};

use kafka_protocol::{
    messages::{
        ApiKey, InitProducerIdResponse, MetadataResponse, ProduceRequest, ProduceResponse, RequestHeader,
        ResponseHeader,
    },
    protocol::{Decodable, Encodable},
};

use super::{
    account::{Account, Call, Post, Rules, Sent, lock, number_of, value_of},
    ledger::Ledger,
    sabotage::Sabotage,
};
use crate::{
    DeliveryError, ErrorCode, Headers, ProducerConfig, ProducerEvent, RecordMetadata, TransactionError,
    config::Settings,
    engine::{Action, CompletedBatch, ConnId, Engine, Random, Transmit},
    error::{SendError, SendErrorKind},
    handoff::{
        Awaited, Bell, CallbackScope, Command, End, Entry, Hub, HubConfig, HubReceiver, Partition, Patience,
        Promise, TransactionCall, TransactionRequest, charge, sync::act_as_thread,
        transaction::TransactionAnswer,
    },
    telemetry::{Reading, Sample},
    testing::{
        Injection, Subscription,
        model::{ClusterModel, ModelConfig, Reaction},
    },
    wire::record::body_len,
};

pub(super) const NODES: i32 = 3;
pub(super) const ORDERS: &str = "orders";
pub(super) const AUDIT: &str = "audit";
/// Does not exist until somebody asks for it.
pub(super) const FRESH: &str = "fresh";
pub(super) const TOPICS: [&str; 3] = [ORDERS, AUDIT, FRESH];

pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) settings: Arc<Settings>,
    /// Since the night began.
    pub(super) now: Duration,
    pub(super) cluster: ClusterModel,
    pub(super) account: Account,
    pub(super) hosts: BTreeMap<i32, Host>,
    pub(super) links: BTreeMap<u64, Link>,
    /// What is done to the next answer of its kind.
    pub(super) rewrites: Vec<Rewrite>,
    /// Requests of a connection that was given up may arrive all the same, and late.
    pub(super) ghosts: bool,
    /// Lanes keep no memory that they have not spent, so that every byte that is in use is some record's.
    pub(super) collects: bool,
    /// New links take so many bytes a millisecond.
    pub(super) bandwidth: Option<u64>,
    /// Producer ids are given out with this epoch.
    pub(super) first_epoch: i16,
    pub(super) sabotage: Option<Sabotage>,
    /// The transactions, if this producer makes any.
    pub(super) ledger: Option<Ledger>,
    /// The producer may come to an end of its own.
    pub(super) mortal: bool,
    pub(super) troubles: BTreeMap<&'static str, u32>,
    /// How many outcomes, actions and bytes there were, all in one number: two equal nights have the same.
    pub(super) digest: u64,
    base: Instant,
    hub: Arc<Hub>,
    post: Arc<Mutex<Post>>,
    sender: Option<Sender>,
    /// What the engine said last about when it must be called.
    deadline: Option<Instant>,
    /// Something happened that the sender thread has to see.
    awake: bool,
    /// A caller was refused for want of memory, and would wait for it.
    short_of_memory: bool,
    pressed: bool,
    dialing: BTreeMap<u64, String>,
    events: BTreeMap<(Duration, u64), Event>,
    serial: u64,
    /// The callback thread's.
    jobs: VecDeque<Job>,
    callbacks_started: bool,
    flushes: Vec<(usize, Awaited)>,
    topics_used: BTreeMap<&'static str, Duration>,
    unsettled: usize,
    /// Events, in order.
    pub(super) heard: Vec<ProducerEvent>,
    /// For the sabotage that writes a batch into the memory of another.
    last_body: Arc<Vec<u8>>,
    /// For the sabotage that gives memory back before its time.
    released_early: usize,
    turns: u32,
    tells: bool,
}

/// What the sender thread owns.
struct Sender {
    engine: Engine,
    receiver: HubReceiver,
}

/// A machine with a broker on it.
#[derive(Default)]
pub(super) struct Host {
    /// Nobody listens.
    pub(super) down: bool,
    /// Nothing that is sent to it arrives, and nothing comes back, not even a refusal.
    pub(super) vanished: bool,
}

/// Both ends of a connection. The far end lives on for a while after ours has hung up: what is under way arrives.
pub(super) struct Link {
    pub(super) node: i32,
    host: String,
    /// Ours has not hung up.
    open: bool,
    /// The far end reads.
    alive: bool,
    /// Requests vanish on the way.
    mute: bool,
    /// Answers vanish on the way.
    deaf: bool,
    bandwidth: Option<u64>,
    /// The socket takes nothing until then.
    stuck_until: Duration,
    /// What is under way stays there until then.
    held_until: Duration,
    /// Handed to the socket, not taken by it.
    outgoing: VecDeque<Transmit>,
    writing: bool,
    last_told: Duration,
    /// Taken, not arrived.
    under_way: VecDeque<Vec<u8>>,
    last_arrival: Duration,
    /// Arrived, not read by the broker.
    inbox: VecDeque<Vec<u8>>,
    last_delivery: Duration,
    /// Come in, not read by us.
    incoming: Vec<u8>,
    /// Bytes of an answer that has not come in completely.
    partial: Vec<u8>,
}

enum Event {
    Connect(u64, i32),
    Refused(u64),
    Write(u64),
    Written(u64),
    Arrive(u64),
    Deliver(u64, Vec<u8>),
    Read(u64),
    Closed(u64),
    Callback,
    Later(Box<dyn FnOnce(&mut World)>),
}

enum Job {
    Batch(CompletedBatch),
    Answer(Promise),
}

/// A record that a caller wants to send.
#[derive(Clone)]
pub(super) struct Letter {
    pub(super) topic: &'static str,
    pub(super) caller: usize,
    pub(super) to: Partition,
    pub(super) key: Option<Vec<u8>>,
    pub(super) size: usize,
    pub(super) header: bool,
    pub(super) callback: Option<Callback>,
}

/// What a callback does besides telling the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Callback {
    Tell,
    SendAgain,
    Panic,
}

/// What is done to an answer before it leaves its broker.
pub(super) enum Rewrite {
    Produce(Box<dyn FnOnce(&mut ProduceResponse)>),
    Metadata(Box<dyn FnOnce(&mut MetadataResponse)>),
    ProducerId(Box<dyn FnOnce(&mut InitProducerIdResponse)>),
    /// It is sent twice.
    Again(ApiKey),
}

/// Chance, the same for the same seed.
pub(super) struct Dice(Random);

struct NoBell;

impl Bell for NoBell {
    fn ring(&self) {}
}

impl Letter {
    pub(super) fn to(topic: &'static str, partition: i32) -> Self {
        Self {
            topic,
            caller: 0,
            to: Partition::Explicit(partition),
            key: None,
            size: 0,
            header: false,
            callback: None,
        }
    }
}

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9));
        random.next();
        Self(random)
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0.next() % n
    }

    pub(super) fn chance(&mut self, in_thousand: u64) -> bool {
        self.below(1000) < in_thousand
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    pub(super) fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_micros(1000 * from + self.below(1000 * (to - from)))
    }

    pub(super) fn node(&mut self) -> i32 {
        1 + self.below(NODES as u64) as i32
    }
}

impl World {
    pub(super) fn new(seed: u64, set: &[(&str, &str)]) -> Self {
        let mut config = ProducerConfig::new("boot-1:9092,boot-2:9092,boot-3:9092");
        for (name, value) in SETTINGS.iter().chain(set) {
            config = config.set(name, value);
        }
        let config = config.event_listener(|_| {});
        let settings = Arc::new(config.resolve().expect("the simulation's settings are right"));
        let (hub, receiver) = Hub::new(
            HubConfig {
                buffer_memory: settings.buffer_memory,
                chunk_bytes: 1024,
                memory_for_chunks: 0,
                channel_capacity: 64,
                linger: settings.linger,
                ring_threshold: 8,
            },
            Box::new(NoBell),
        );
        if settings.transactional_id.is_some() {
            hub.bar_records();
        }
        let base = Instant::now();
        // The brokers of every third night ask for metrics, seldom enough for the longest ones; scripts that count requests have other seeds.
        let telemetry =
            seed.is_multiple_of(3).then(|| Subscription::new(Duration::from_secs(20)).delta(true));
        let config = ModelConfig { brokers: NODES, seed, telemetry, ..ModelConfig::default() };
        let mut cluster = ClusterModel::new(config);
        cluster.create_topic(ORDERS, 3);
        cluster.create_topic(AUDIT, 2);
        let ghosts = settings.idempotence;
        let engine = Engine::new(Arc::clone(&settings), Arc::clone(&hub), seed, base);
        Self {
            dice: Dice::new(seed),
            now: Duration::ZERO,
            cluster,
            account: Account::new(Rules::new(&settings, ghosts)),
            hosts: (1..=NODES).map(|node| (node, Host::default())).collect(),
            links: BTreeMap::new(),
            rewrites: Vec::new(),
            ghosts,
            collects: false,
            bandwidth: None,
            first_epoch: 0,
            sabotage: None,
            ledger: settings.transactional_id.as_ref().map(|_| Ledger::new()),
            mortal: false,
            troubles: BTreeMap::new(),
            digest: 0,
            base,
            hub,
            post: Arc::default(),
            sender: Some(Sender { engine, receiver }),
            deadline: None,
            awake: true,
            short_of_memory: false,
            pressed: false,
            dialing: BTreeMap::new(),
            events: BTreeMap::new(),
            serial: 0,
            jobs: VecDeque::new(),
            callbacks_started: false,
            flushes: Vec::new(),
            topics_used: BTreeMap::new(),
            unsettled: 0,
            heard: Vec::new(),
            last_body: Arc::default(),
            released_early: 0,
            turns: 0,
            tells: std::env::var_os("SIM_TELLS").is_some(),
            settings,
        }
    }

    fn instant(&self) -> Instant {
        self.base + self.now
    }

    fn at(&mut self, when: Duration, event: Event) {
        self.serial += 1;
        self.events.insert((when, self.serial), event);
    }

    /// Does something later, whatever is going on then.
    pub(super) fn after(&mut self, pause: Duration, what: impl FnOnce(&mut Self) + 'static) {
        self.at(self.now + pause, Event::Later(Box::new(what)));
    }

    /// Between a fifth of a millisecond and, now and then, a very slow 300.
    fn latency(&mut self) -> Duration {
        if self.dice.chance(10) {
            self.dice.millis(50, 300)
        } else {
            Duration::from_micros(200 + self.dice.below(1_000))
        }
    }

    /// Part of what two equal nights have in common.
    fn note(&mut self, what: u64) {
        self.digest =
            (self.digest ^ what ^ self.now.as_nanos() as u64).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.tells {
            println!("{:>12?} {}", self.now, what());
        }
    }

    // ---- callers

    /// Sends, without waiting for anything: whoever would have to wait is refused, which is no failure.
    pub(super) fn send(&mut self, letter: Letter) -> Option<usize> {
        let used = self.topics_used.insert(letter.topic, self.now);
        if used.is_none_or(|used| self.now - used >= self.settings.metadata_max_idle) {
            self.account.on_new_topic();
        }
        self.awake = true;
        lock(&self.post).now = self.now;
        let result = post_letter(&self.hub, &self.post, letter);
        self.account.collect(&self.post);
        let error = match result {
            Ok(number) => return Some(number),
            Err(error) => error,
        };
        match error.kind() {
            SendErrorKind::WouldBlock { what, .. } => self.short_of_memory |= what.starts_with("memory"),
            SendErrorKind::Closed if self.hub.is_closed() => {}
            SendErrorKind::Refused { .. } | SendErrorKind::RecordTooLarge { .. } => {}
            SendErrorKind::Transaction(_) if self.ledger.is_some() => {}
            _ => panic!("a record was refused: {error}"),
        }
        None
    }

    /// Somebody waits for a record, and does not want to be kept waiting.
    pub(super) fn wait_for(&mut self, number: usize) {
        let handle = Arc::clone(&self.account.sent()[number].handle);
        let _ = Pin::new(&mut *lock(&handle)).poll_unpinned();
        self.awake = true;
    }

    pub(super) fn flush(&mut self) {
        let (promise, answered) = Promise::new();
        self.command(Command::Flush(promise));
        self.flushes.push((self.account.sent().len(), answered));
    }

    /// Makes a call about transactions. Whoever ends one has barred records first.
    pub(super) fn call(&mut self, call: TransactionCall) -> TransactionAnswer {
        self.tell(|| call.name().into());
        if matches!(call, TransactionCall::Commit | TransactionCall::Abort) {
            self.hub.bar_records();
        }
        let (request, answer) = TransactionRequest::new(call);
        self.command(Command::Transaction(request));
        answer
    }

    /// What a call has led to; `None` while it is not answered, and after the producer's end.
    pub(super) fn heard(&self, answer: &TransactionAnswer) -> Option<Result<(), TransactionError>> {
        answer.wait(Some(self.base)).flatten()
    }

    pub(super) fn let_records_in(&mut self) {
        self.hub.let_records_in();
    }

    pub(super) fn transaction_failure(&self) -> Option<TransactionError> {
        self.hub.transaction_failure()
    }

    /// The numbers of the records that readers of committed ones see.
    pub(super) fn committed_records(&self) -> BTreeSet<usize> {
        let records = TOPICS.iter().flat_map(|topic| self.cluster.committed_records(topic));
        records.filter_map(|record| number_of(&record)).collect()
    }

    /// Hands something over behind all that was sent.
    fn command(&mut self, command: Command) {
        let now = self.instant();
        let Some(Sender { engine, receiver }) = &mut self.sender else { return };
        receiver.steal_all();
        while let Some(earlier) = receiver.try_recv() {
            carry(engine, now, earlier);
        }
        carry(engine, now, command);
        self.awake = true;
    }

    /// Nothing more is accepted, and what was accepted is done before the end.
    pub(super) fn close(&mut self) {
        self.tell(|| "close".into());
        self.hub.close_lanes();
        self.hub.close_command();
        self.awake = true;
    }

    /// What is not done is given up.
    pub(super) fn force_close(&mut self) {
        self.tell(|| "close, without waiting".into());
        self.hub.force_close();
        self.awake = true;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.sender.is_none()
    }

    /// Whether the engine has nothing that was not answered.
    pub(super) fn is_idle(&self) -> bool {
        self.sender
            .as_ref()
            .is_none_or(|s| s.engine.accumulator.unsettled() == 0 && s.engine.accumulator.in_flight() == 0)
    }

    pub(super) fn engine(&mut self) -> &mut Engine {
        &mut self.sender.as_mut().expect("the sender thread has not ended").engine
    }

    pub(super) fn unanswered_flushes(&self) -> usize {
        self.flushes.len()
    }

    /// What nobody has of `buffer.memory`, with what lies idle in lanes collected.
    pub(super) fn free_memory(&mut self) -> Option<usize> {
        let Sender { receiver, .. } = self.sender.as_mut()?;
        receiver.reclaim_credit();
        Some(self.hub.budget().free())
    }

    // ---- the shell

    fn turn(&mut self) {
        self.turns += 1;
        assert!(self.turns < MAX_TURNS, "I10 alive: the engine never comes to rest");
        self.awake = false;
        let now = self.instant();
        let Some(Sender { engine, receiver }) = &mut self.sender else { return };
        let forced = receiver.is_forced();
        receiver.steal_all();
        if self.short_of_memory || self.collects {
            receiver.reclaim_credit();
        }
        while let Some(command) = receiver.try_recv() {
            carry(engine, now, command);
        }
        for topic in receiver.take_wishes() {
            engine.handle_wish(now, topic);
        }
        for (cells, cell) in receiver.take_gets() {
            if !engine.handle_get(now, &cells, cell) {
                receiver.keep_get(cells, cell);
            }
        }
        if self.short_of_memory || self.pressed {
            self.pressed = self.short_of_memory;
            engine.handle_memory_pressure(now, self.short_of_memory);
        }
        if forced && let Some((count, first)) = engine.handle_forced_close(now) {
            self.hub.note_abandoned(count, first);
        }
        if self.deadline.is_some_and(|at| at <= now) {
            engine.handle_timeout(now);
        }
        while let Some(action) = self.sender.as_mut().and_then(|s| s.engine.poll_action(now)) {
            self.act(action);
        }
        let Some(Sender { engine, .. }) = &mut self.sender else { return };
        let released = engine.take_released();
        self.deadline = engine.poll_timeout().filter(|_| self.sabotage != Some(Sabotage::SleepOn));
        let unsettled = engine.accumulator.unsettled();
        let finished = engine.is_finished();
        self.release(released);
        if released > 0 || unsettled != self.unsettled {
            self.unsettled = unsettled;
            self.account.look(self.now);
        }
        if finished {
            self.end();
        }
    }

    fn release(&mut self, mut bytes: usize) {
        if self.sabotage == Some(Sabotage::KeepMemory) {
            bytes /= 2;
        }
        if self.sabotage == Some(Sabotage::ReleaseEarly) {
            let paid = bytes.min(self.released_early);
            self.released_early -= paid;
            bytes -= paid;
            self.account.collect(&self.post);
            self.account.look(self.now);
            if self.collects && self.released_early == 0 && self.account.charged() > 200 {
                self.released_early = 100;
                bytes += 100;
            }
        }
        self.hub.budget().release(bytes);
    }

    /// The sender thread ends.
    fn end(&mut self) {
        self.tell(|| "the end".into());
        self.hub.die(End::Closed);
        self.sender = None;
        for link in self.links.values_mut() {
            link.open = false;
            link.outgoing.clear();
        }
        self.dialing.clear();
        self.account.collect(&self.post);
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Dial { conn, host, .. } => {
                self.note(conn.0);
                self.tell(|| format!("{} dials {host}", conn.0));
                self.account.on_dial(self.now, &host);
                let (_, node) = host.rsplit_once('-').expect("hosts are called after their nodes");
                let node = node.parse().expect("hosts are called after their nodes");
                self.dialing.insert(conn.0, host.to_string());
                let at = self.now + self.latency();
                self.at(at, Event::Connect(conn.0, node));
            }
            Action::Transmit { conn, transmit } => self.transmit(conn.0, transmit),
            Action::Login { .. } => unreachable!("nobody here asks who a client is"),
            Action::HangUp { conn } => self.hang_up(conn.0),
            Action::Complete(batch) => {
                self.note(batch.callbacks.len() as u64);
                if self.sabotage != Some(Sabotage::ForgetCallbacks) {
                    self.give(Job::Batch(batch));
                }
            }
            Action::Answer(promise) => match self.sabotage {
                Some(Sabotage::ForgetFlushes) => {}
                Some(Sabotage::AnswerEarly) => self.run_job(Job::Answer(promise)),
                _ => self.give(Job::Answer(promise)),
            },
            Action::Introduce(_) => {}
            Action::ReadMetrics => {
                let (now, at) = (self.instant(), 1 + self.now.as_nanos() as u64);
                let samples = vec![Sample {
                    group: "night-metrics".into(),
                    name: "age-total".into(),
                    tags: Vec::new(),
                    value: self.now.as_secs_f64(),
                    is_counter: true,
                }];
                let reading = Reading { at, since: 1, samples };
                self.engine().handle_reading(now, reading);
            }
            Action::Tell(event) => {
                self.tell(|| format!("event: {event}"));
                self.heard.push(event);
            }
        }
    }

    fn transmit(&mut self, conn: u64, transmit: Transmit) {
        let api = i16::from_be_bytes([transmit.head[4], transmit.head[5]]);
        let size = transmit.head.len() + transmit.bodies.iter().map(|(_, body)| body.len()).sum::<usize>();
        self.note(size as u64);
        self.tell(|| format!("{conn} > api {api} of {size} bytes"));
        let Some(link) = self.links.get_mut(&conn).filter(|link| link.open) else { return };
        link.outgoing.push_back(transmit);
        let expects_answer = api != ApiKey::Produce as i16 || self.settings.acks != 0;
        self.account.on_request(self.now, conn, api, expects_answer);
        self.start_write(conn);
    }

    fn start_write(&mut self, conn: u64) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        let Some(transmit) = link.outgoing.front().filter(|_| !link.writing) else { return };
        let size = transmit.head.len() + transmit.bodies.iter().map(|(_, body)| body.len()).sum::<usize>();
        let time = link.bandwidth.map_or(Duration::ZERO, |rate| Duration::from_millis(size as u64 / rate));
        link.writing = true;
        let at = self.now.max(link.stuck_until) + time;
        self.at(at, Event::Write(conn));
    }

    /// The socket has taken all of a request.
    fn write(&mut self, conn: u64) {
        let latency = self.latency();
        let slip = if self.dice.chance(30) { self.dice.millis(0, 50) } else { Duration::ZERO };
        let Some(link) = self.links.get_mut(&conn).filter(|link| link.open) else { return };
        if link.stuck_until > self.now {
            let at = link.stuck_until;
            self.at(at, Event::Write(conn));
            return;
        }
        link.writing = false;
        let Some(mut transmit) = link.outgoing.pop_front() else { return };
        if self.sabotage == Some(Sabotage::ReuseMemory) {
            for (_, body) in &mut transmit.bodies {
                let last = std::mem::replace(&mut self.last_body, Arc::clone(body));
                if last.len() == body.len() && self.dice.chance(100) {
                    *body = last;
                }
            }
        }
        let bytes = flatten(&transmit);
        link.under_way.push_back(bytes);
        let arrival = (self.now + latency).max(link.last_arrival);
        link.last_arrival = arrival;
        let told = (self.now + slip).max(link.last_told);
        link.last_told = told;
        self.at(arrival, Event::Arrive(conn));
        self.at(told, Event::Written(conn));
        self.start_write(conn);
    }

    fn hang_up(&mut self, conn: u64) {
        self.note(conn);
        self.tell(|| format!("{conn} is hung up"));
        if let Some(host) = self.dialing.remove(&conn) {
            self.account.on_end(self.now, conn, &host);
            return;
        }
        let survives = self.ghosts && self.dice.chance(500);
        let held = if self.dice.chance(300) { self.dice.millis(0, 8_000) } else { Duration::ZERO };
        let Some(link) = self.links.get_mut(&conn).filter(|link| link.open) else { return };
        link.open = false;
        link.outgoing.clear();
        link.held_until = self.now + held;
        self.account.on_end(self.now, conn, &link.host);
        if !survives {
            self.links.remove(&conn);
            self.cluster.disconnected(conn);
        }
    }

    // ---- the callback thread

    fn give(&mut self, job: Job) {
        if !self.callbacks_started && matches!(job, Job::Answer(_)) {
            self.run_job(job);
            return;
        }
        self.callbacks_started = true;
        self.jobs.push_back(job);
        let at = self.now + if self.dice.chance(20) { self.dice.millis(0, 50) } else { Duration::ZERO };
        self.at(at, Event::Callback);
    }

    fn run_job(&mut self, job: Job) {
        lock(&self.post).now = self.now;
        let scope = CallbackScope::enter();
        let freed = match job {
            Job::Batch(batch) => batch.run(),
            Job::Answer(promise) => {
                promise.fulfil();
                0
            }
        };
        drop(scope);
        self.release(freed);
        self.account.collect(&self.post);
        self.account.look(self.now);
        let past = Some(self.base);
        let account = &mut self.account;
        self.flushes.retain(|(upto, answered)| {
            let answer = answered.wait(past);
            if let Some(answer) = answer {
                account.on_flushed(*upto, answer);
            }
            answer.is_none()
        });
        self.awake = true;
    }

    // ---- what happens

    fn happen(&mut self, event: Event) {
        match event {
            Event::Connect(conn, node) => self.connect(conn, node),
            Event::Refused(conn) => {
                if let Some(host) = self.dialing.remove(&conn) {
                    self.account.on_end(self.now, conn, &host);
                    self.lose(conn, "connection refused");
                }
            }
            Event::Write(conn) => self.write(conn),
            Event::Written(conn) => {
                if self.links.get(&conn).is_some_and(|link| link.open) {
                    let now = self.instant();
                    self.wake().handle_written(now, ConnId(conn));
                }
            }
            Event::Arrive(conn) => self.arrive(conn),
            Event::Deliver(conn, bytes) => self.take_in(conn, &bytes),
            Event::Read(conn) => self.read(conn),
            Event::Closed(conn) => {
                self.read(conn);
                if let Some(link) = self.links.remove(&conn).filter(|link| link.open) {
                    self.account.on_end(self.now, conn, &link.host);
                    self.lose(conn, "connection reset");
                }
            }
            Event::Callback => {
                let next = match self.sabotage {
                    Some(Sabotage::ShuffleCallbacks) => self.jobs.pop_back(),
                    _ => self.jobs.pop_front(),
                };
                if let Some(job) = next {
                    self.run_job(job);
                }
            }
            Event::Later(what) => what(self),
        }
    }

    /// For what only the sender thread hears of.
    fn wake(&mut self) -> &mut Engine {
        self.awake = true;
        self.engine()
    }

    fn lose(&mut self, conn: u64, cause: &str) {
        self.note(conn);
        self.tell(|| format!("{conn}: {cause}"));
        let now = self.instant();
        self.wake().handle_disconnected(now, ConnId(conn), crate::engine::Ending::Broken, cause.into());
    }

    fn connect(&mut self, conn: u64, node: i32) {
        if !self.dialing.contains_key(&conn) || self.hosts[&node].vanished {
            return;
        }
        if self.hosts[&node].down {
            self.happen(Event::Refused(conn));
            return;
        }
        let host = self.dialing.remove(&conn).expect("looked at above");
        let link = Link {
            node,
            host,
            open: true,
            alive: true,
            mute: false,
            deaf: false,
            bandwidth: self.bandwidth,
            stuck_until: Duration::ZERO,
            held_until: Duration::ZERO,
            outgoing: VecDeque::new(),
            writing: false,
            last_told: Duration::ZERO,
            under_way: VecDeque::new(),
            last_arrival: Duration::ZERO,
            inbox: VecDeque::new(),
            last_delivery: Duration::ZERO,
            incoming: Vec::new(),
            partial: Vec::new(),
        };
        self.links.insert(conn, link);
        let now = self.instant();
        self.wake().handle_connected(now, ConnId(conn));
        if !self.cluster.connected(node) {
            self.close_far_end(conn);
        }
    }

    fn arrive(&mut self, conn: u64) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        if link.held_until > self.now {
            let at = link.held_until;
            self.at(at, Event::Arrive(conn));
            return;
        }
        let Some(frame) = link.under_way.pop_front() else { return };
        if link.alive && !link.mute {
            link.inbox.push_back(frame);
            self.serve(conn);
        }
        self.forget_if_over(conn);
    }

    /// The broker takes what has arrived, in order.
    fn serve(&mut self, conn: u64) {
        while let Some(link) = self.links.get(&conn) {
            let node = link.node;
            let Some(frame) = link.inbox.front().cloned() else { return };
            let mut reaction = self.cluster.handle(node, conn, &frame[4..], self.now);
            if reaction == Reaction::Stall {
                return;
            }
            if self.sabotage == Some(Sabotage::AppendTwice) && self.dice.chance(20) {
                self.cluster.forget_producers();
                reaction = self.cluster.handle(node, conn, &frame[4..], self.now);
            }
            self.account.read_logs(&self.cluster, &TOPICS);
            if let Some(link) = self.links.get_mut(&conn) {
                link.inbox.pop_front();
            }
            self.tell(|| format!("{conn} < {}", describe(&frame, &reaction)));
            match reaction {
                Reaction::Reply(bytes) => self.answer(conn, Duration::ZERO, &frame, bytes),
                Reaction::ReplyAfter(delay, bytes) => self.answer(conn, delay, &frame, bytes),
                Reaction::ReplyThenClose(delay, bytes) => {
                    self.answer(conn, delay, &frame, bytes);
                    self.close_far_end(conn);
                }
                Reaction::Nothing => {}
                Reaction::Close => self.close_far_end(conn),
                Reaction::Stall => unreachable!("looked at above"),
            }
        }
    }

    fn answer(&mut self, conn: u64, delay: Duration, request: &[u8], mut bytes: Vec<u8>) {
        let key = i16::from_be_bytes([request[4], request[5]]);
        if self.first_epoch != 0 && key == ApiKey::InitProducerId as i16 {
            let epoch = self.first_epoch;
            let raise = |answer: &mut InitProducerIdResponse| {
                if answer.error_code == 0 {
                    answer.producer_epoch = epoch;
                }
            };
            rewrite(ApiKey::InitProducerId, request, &mut bytes, raise);
        }
        if self.sabotage == Some(Sabotage::AppendAndRefuse)
            && key == ApiKey::Produce as i16
            && self.dice.chance(20)
        {
            rewrite(ApiKey::Produce, request, &mut bytes, |answer: &mut ProduceResponse| {
                for partition in answer.responses.iter_mut().flat_map(|topic| &mut topic.partition_responses)
                {
                    partition.error_code = ErrorCode::TOPIC_AUTHORIZATION_FAILED.0;
                }
            });
        }
        if self.sabotage == Some(Sabotage::LieAboutErrors) && key == ApiKey::Produce as i16 {
            rewrite(ApiKey::Produce, request, &mut bytes, |answer: &mut ProduceResponse| {
                for partition in answer.responses.iter_mut().flat_map(|topic| &mut topic.partition_responses)
                {
                    if partition.error_code != 0 {
                        partition.error_code = 0;
                        partition.base_offset = 0;
                    }
                }
            });
        }
        if let Some(at) = self.rewrites.iter().position(|rewrite| rewrite.api() as i16 == key) {
            match self.rewrites.remove(at) {
                Rewrite::Produce(change) => rewrite(ApiKey::Produce, request, &mut bytes, change),
                Rewrite::Metadata(change) => rewrite(ApiKey::Metadata, request, &mut bytes, change),
                Rewrite::ProducerId(change) => rewrite(ApiKey::InitProducerId, request, &mut bytes, change),
                // Two halves must not become one whole.
                Rewrite::Again(_) if answer_to(request, &bytes).is_some() => {
                    self.deliver(conn, delay, bytes.clone());
                }
                Rewrite::Again(_) => {}
            }
        }
        self.deliver(conn, delay, bytes);
    }

    fn deliver(&mut self, conn: u64, delay: Duration, bytes: Vec<u8>) {
        let latency = self.latency();
        // In one piece, in two, cut anywhere, or in crumbs.
        let pieces: Vec<&[u8]> = match self.dice.below(20) {
            0 => bytes.chunks(1 + self.dice.below(9) as usize).collect(),
            1..=9 => {
                let (first, second) = bytes.split_at(self.dice.below(bytes.len() as u64 + 1) as usize);
                vec![first, second]
            }
            _ => vec![&bytes],
        };
        let Some(link) = self.links.get_mut(&conn) else { return };
        let at = (self.now + delay + latency).max(link.last_delivery);
        link.last_delivery = at;
        for piece in pieces {
            let piece = piece.to_vec();
            self.at(at, Event::Deliver(conn, piece));
        }
    }

    fn take_in(&mut self, conn: u64, bytes: &[u8]) {
        let waits = self.dice.chance(150);
        let Some(link) = self.links.get_mut(&conn).filter(|link| link.open && !link.deaf) else { return };
        link.incoming.extend_from_slice(bytes);
        if waits {
            // What comes next is read together with it.
            let at = self.now + Duration::from_micros(300);
            self.at(at, Event::Read(conn));
        } else {
            self.read(conn);
        }
    }

    fn read(&mut self, conn: u64) {
        let Some(link) = self.links.get_mut(&conn).filter(|link| link.open && !link.incoming.is_empty())
        else {
            return;
        };
        let bytes = std::mem::take(&mut link.incoming);
        link.partial.extend_from_slice(&bytes);
        while let Some(length) = link.partial.first_chunk::<4>() {
            let end = 4 + i32::from_be_bytes(*length).clamp(0, i32::MAX - 4) as usize;
            if link.partial.len() < end {
                break;
            }
            link.partial.drain(..end);
            self.account.on_answer(self.now, conn, &link.host);
        }
        self.note(bytes.len() as u64);
        let now = self.instant();
        self.wake().handle_received(now, ConnId(conn), &bytes);
    }

    fn forget_if_over(&mut self, conn: u64) {
        if self.links.get(&conn).is_some_and(|l| !l.open && l.under_way.is_empty() && l.inbox.is_empty()) {
            self.links.remove(&conn);
            self.cluster.disconnected(conn);
        }
    }

    /// The broker, or its machine's kernel, ends a connection; what it has said before arrives.
    fn close_far_end(&mut self, conn: u64) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        link.alive = false;
        link.inbox.clear();
        link.under_way.clear();
        let at = link.last_delivery.max(self.now);
        let silent = link.mute && link.deaf;
        self.cluster.disconnected(conn);
        if !silent {
            self.at(at, Event::Closed(conn));
        }
    }

    // ---- time

    /// Lets time pass: nothing that is due later happens.
    pub(super) fn run_for(&mut self, time: Duration) {
        self.run_until(self.now + time, |_| false);
    }

    /// Lets time pass until `done`, at most until `end`; whether it was done.
    pub(super) fn run_until(&mut self, end: Duration, done: impl Fn(&Self) -> bool) -> bool {
        loop {
            let timer = self
                .deadline
                .filter(|_| self.sender.is_some())
                .map(|at| at.saturating_duration_since(self.base));
            if self.awake || timer.is_some_and(|at| at <= self.now) {
                self.turn();
            }
            // Callbacks that wait for their turn hold up their records, and need no memory of the batch any more.
            let pays = self.sender.is_some() && self.jobs.is_empty();
            let free = pays.then(|| self.hub.budget().free());
            let waiting = self.links.values().flat_map(|link| &link.outgoing);
            let in_sockets: Vec<&[u8]> =
                waiting.flat_map(|transmit| &transmit.bodies).map(|(_, body)| body.as_slice()).collect();
            self.account.after_step(self.now, free, &in_sockets, self.cluster.violations());
            if done(self) {
                return true;
            }
            let event = self.events.first_key_value().map(|(key, _)| key.0);
            let timer = self
                .deadline
                .filter(|_| self.sender.is_some())
                .map(|at| at.saturating_duration_since(self.base));
            let Some(next) = event.into_iter().chain(timer).min().filter(|at| *at <= end) else {
                self.now = end;
                return false;
            };
            self.now = self.now.max(next);
            while let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let event = entry.remove();
                self.happen(event);
            }
        }
    }

    // ---- what others do to it

    pub(super) fn fault(&mut self, injection: impl Into<Injection>) {
        let injection = injection.into();
        self.tell(|| format!("to come: {injection:?}"));
        self.cluster.fault(injection);
    }

    /// The broker's process ends. `for_good`: the controller notices, and others take over.
    pub(super) fn kill(&mut self, node: i32, for_good: bool, pause: Duration) {
        self.host(node).down = true;
        self.cluster.set_stalled(node, false);
        if for_good {
            self.cluster.fail_over(node);
        }
        self.cut(node);
        self.after(pause, move |world| world.bring_up(node));
    }

    pub(super) fn bring_up(&mut self, node: i32) {
        *self.host(node) = Host::default();
        self.cluster.recover(node);
    }

    /// The broker's machine is gone, without a word.
    pub(super) fn vanish(&mut self, node: i32, pause: Duration) {
        self.host(node).vanished = true;
        let gone: Vec<u64> =
            self.links.iter().filter(|(_, l)| l.node == node).map(|(conn, _)| *conn).collect();
        for conn in gone {
            let link = self.links.get_mut(&conn).expect("listed above");
            (link.mute, link.deaf) = (true, true);
            self.cluster.disconnected(conn);
        }
        self.after(pause, move |world| world.host(node).vanished = false);
    }

    pub(super) fn freeze(&mut self, node: i32, pause: Duration) {
        self.cluster.set_stalled(node, true);
        self.after(pause, move |world| world.thaw(node));
    }

    pub(super) fn thaw(&mut self, node: i32) {
        self.cluster.set_stalled(node, false);
        for conn in self.links_of(node) {
            self.serve(conn);
            self.forget_if_over(conn);
        }
    }

    /// Every connection to a broker ends.
    pub(super) fn cut(&mut self, node: i32) {
        for conn in self.links_of(node) {
            self.close_far_end(conn);
        }
    }

    /// What a broker answers on its present connections is lost.
    pub(super) fn deafen(&mut self, node: i32) {
        for conn in self.links_of(node) {
            self.links.get_mut(&conn).expect("listed above").deaf = true;
        }
    }

    /// The sockets of a broker take nothing for a while.
    pub(super) fn jam(&mut self, node: i32, pause: Duration) {
        for conn in self.links_of(node) {
            self.links.get_mut(&conn).expect("listed above").stuck_until = self.now + pause;
        }
    }

    fn links_of(&self, node: i32) -> Vec<u64> {
        self.links.iter().filter(|(_, link)| link.node == node && link.alive).map(|(conn, _)| *conn).collect()
    }

    fn host(&mut self, node: i32) -> &mut Host {
        self.hosts.get_mut(&node).expect("nodes are numbered from 1")
    }

    pub(super) fn has(&self, topic: &str) -> bool {
        self.cluster.partition_count(topic) > 0
    }

    /// Deletes a topic and creates it again, with another id and so many partitions.
    pub(super) fn recreate(&mut self, topic: &'static str, partitions: i32) {
        self.account.bury(&self.cluster, topic);
        self.cluster.delete_topic(topic);
        self.cluster.create_topic(topic, partitions);
    }

    /// Everything works again, as far as it is the world's doing: what a connection has lost stays lost.
    pub(super) fn heal(&mut self) {
        self.tell(|| "the trouble is over".into());
        self.cluster.clear_faults();
        self.rewrites.clear();
        self.cluster.freeze_metadata(false);
        self.bandwidth = None;
        for topic in TOPICS {
            self.cluster.set_topic_error(topic, None);
            if self.has(topic) {
                self.cluster.set_max_message_bytes(topic, usize::MAX);
                self.cluster.set_compacted(topic, false);
            }
        }
        for node in 1..=NODES {
            self.bring_up(node);
            self.thaw(node);
        }
        for link in self.links.values_mut() {
            link.stuck_until = self.now;
            link.bandwidth = None;
        }
    }

    /// Nothing of what was sent is on its way any more.
    pub(super) fn nothing_is_under_way(&self) -> bool {
        self.is_idle() && self.links.values().all(|link| link.under_way.is_empty() && link.inbox.is_empty())
    }
}

trait PollUnpinned {
    fn poll_unpinned(self) -> bool;
}

impl<F: Future> PollUnpinned for Pin<&mut F> {
    fn poll_unpinned(self) -> bool {
        self.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }
}

impl Rewrite {
    fn api(&self) -> ApiKey {
        match self {
            Self::Produce(_) => ApiKey::Produce,
            Self::Metadata(_) => ApiKey::Metadata,
            Self::ProducerId(_) => ApiKey::InitProducerId,
            Self::Again(api) => *api,
        }
    }
}

fn carry(engine: &mut Engine, now: Instant, command: Command) {
    match command {
        Command::Chunk(mut chunk) => {
            chunk.set_opened(now);
            engine.handle_chunk(now, chunk);
        }
        Command::Flush(promise) => engine.handle_flush(now, promise),
        Command::Transaction(request) => engine.handle_transaction(now, request),
        Command::Close => engine.handle_close(now),
    }
}

/// A caller's side of a send; callbacks do the same, from their own thread.
fn post_letter(hub: &Arc<Hub>, post: &Arc<Mutex<Post>>, letter: Letter) -> Result<usize, SendError> {
    let Letter { topic, caller, to, key, size, header, callback } = letter;
    act_as_thread(caller);
    let (number, at) = {
        let post = lock(post);
        (post.next, post.now)
    };
    let value = value_of(number, size);
    let timestamp = FIRST_TIMESTAMP + at.as_millis() as i64 - (number % 3) as i64;
    let mut headers = Headers::new();
    if header {
        headers.add("n", Some(number.to_string().as_bytes()));
        headers.add("empty", None);
    }
    let slot = Arc::new(OnceLock::new());
    let call = callback.map(|what| {
        let (slot, post, hub) = (Arc::clone(&slot), Arc::clone(post), Arc::downgrade(hub));
        Box::new(move |outcome| call_back(number, outcome, slot, &post, &hub, (topic, what)))
            as crate::handoff::Callback
    });
    let body_len = body_len(key.as_deref(), Some(&value), headers.entries());
    let entry = Entry {
        topic,
        partition: to,
        timestamp: Some(timestamp),
        key: key.as_deref(),
        value: Some(&value),
        headers: &headers,
        body_len,
        callback: call,
    };
    let handle = Arc::new(Mutex::new(hub.append(entry, &mut Patience::never())?));
    let _ = slot.set(Arc::clone(&handle));
    let sent = Sent::new(
        (topic, caller, to),
        (key, value, headers),
        (at, timestamp),
        charge(body_len),
        handle,
        callback.is_some(),
    );
    let mut post = lock(post);
    post.next += 1;
    post.sent.push(sent);
    Ok(number)
}

fn call_back(
    record: usize,
    outcome: Result<RecordMetadata, DeliveryError>,
    handle: Arc<OnceLock<super::account::Handle>>,
    post: &Arc<Mutex<Post>>,
    hub: &Weak<Hub>,
    (topic, what): (&'static str, Callback),
) {
    let handle_was_done = handle.get().is_some_and(|handle| lock(handle).is_done());
    lock(post).calls.push(Call { record, outcome, handle, handle_was_done });
    match what {
        Callback::Tell => {}
        Callback::SendAgain => {
            if let Some(hub) = hub.upgrade() {
                let letter = Letter { caller: CALLBACK_THREAD, to: Partition::Open, ..Letter::to(topic, 0) };
                // Refused if it would have to wait, as always here.
                let _ = post_letter(&hub, post, letter);
            }
        }
        // Without the message of a panic hook: there are many.
        Callback::Panic => std::panic::resume_unwind(Box::new("a callback's own")),
    }
}

fn flatten(transmit: &Transmit) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut from = 0;
    for (at, body) in &transmit.bodies {
        bytes.extend_from_slice(&transmit.head[from..*at]);
        bytes.extend_from_slice(body);
        from = *at;
    }
    bytes.extend_from_slice(&transmit.head[from..]);
    bytes
}

/// Changes the answer to a request, unless it is none.
fn rewrite<R: Decodable + Encodable>(
    api: ApiKey,
    request: &[u8],
    bytes: &mut Vec<u8>,
    change: impl FnOnce(&mut R),
) {
    let version = i16::from_be_bytes([request[6], request[7]]);
    let header_version = api.response_header_version(version);
    let Some(mut rest) = answer_to(request, bytes) else { return };
    let Ok(header) = ResponseHeader::decode(&mut rest, header_version) else { return };
    let Ok(mut body) = R::decode(&mut rest, version) else { return };
    change(&mut body);
    let mut frame = bytes::BytesMut::new();
    header.encode(&mut frame, header_version).expect("it was decoded");
    body.encode(&mut frame, version).expect("what is changed is in every version");
    *bytes = (frame.len() as i32).to_be_bytes().into_iter().chain(frame).collect();
}

/// What is behind the length of an answer, if it is one: a decoder for tests would believe every count in nonsense.
fn answer_to(request: &[u8], bytes: &[u8]) -> Option<bytes::Bytes> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let complete = usize::try_from(i32::from_be_bytes(*length)) == Ok(rest.len());
    (complete && rest.get(..4) == request.get(8..12)).then(|| bytes::Bytes::copy_from_slice(rest))
}

/// For whoever reads what happened in a night.
fn describe(frame: &[u8], reaction: &Reaction) -> String {
    let (api, version) = (i16::from_be_bytes([frame[4], frame[5]]), i16::from_be_bytes([frame[6], frame[7]]));
    let (what, bytes) = match reaction {
        Reaction::Reply(bytes) => (String::new(), bytes),
        Reaction::ReplyAfter(delay, bytes) => (format!("after {delay:?} "), bytes),
        Reaction::ReplyThenClose(_, bytes) => ("cut ".into(), bytes),
        other => return format!("api {api}: {other:?}"),
    };
    let Some(mut rest) = answer_to(frame, bytes).filter(|_| api == ApiKey::Produce as i16) else {
        return format!("api {api}: {what}{} bytes", bytes.len());
    };
    let request = &mut bytes::Bytes::copy_from_slice(&frame[4..]);
    let mut asked = Vec::new();
    if let Ok(_header) = RequestHeader::decode(request, ApiKey::Produce.request_header_version(version))
        && let Ok(body) = ProduceRequest::decode(request, version)
    {
        for topic in body.topic_data {
            for data in topic.partition_data {
                let batch = data.records.unwrap_or_default();
                let number =
                    |at: usize| i32::from_be_bytes(batch[at..at + 4].try_into().expect("four bytes"));
                let epoch = i16::from_be_bytes([batch[51], batch[52]]);
                let last = &topic.name.0;
                asked.push(format!("{last}-{} e{epoch} {}+{}", data.index, number(53), number(57)));
            }
        }
    }
    let header = ResponseHeader::decode(&mut rest, ApiKey::Produce.response_header_version(version));
    let answer = header.and_then(|_| ProduceResponse::decode(&mut rest, version));
    let answered = answer.map(|answer| {
        let partitions = answer.responses.into_iter().flat_map(|topic| topic.partition_responses);
        partitions
            .map(|p| format!("{}:{}@{}", p.index, p.error_code, p.base_offset))
            .collect::<Vec<_>>()
            .join(" ")
    });
    format!("{} -> {what}{}", asked.join(", "), answered.unwrap_or_else(|_| "nonsense".into()))
}

/// Short times, so that a night has room for many of them.
const SETTINGS: [(&str, &str); 14] = [
    // A name by default has a number in it that counts the producers of the process, and its length is time on a slow
    // link.
    ("client.id", "sim"),
    ("batch.size", "200"),
    ("linger.ms", "5"),
    ("delivery.timeout.ms", "5000"),
    ("request.timeout.ms", "1000"),
    ("retry.backoff.ms", "50"),
    ("retry.backoff.max.ms", "500"),
    ("reconnect.backoff.ms", "50"),
    ("reconnect.backoff.max.ms", "500"),
    ("socket.connection.setup.timeout.ms", "1000"),
    ("socket.connection.setup.timeout.max.ms", "1000"),
    ("metadata.max.age.ms", "30000"),
    ("metadata.recovery.rebootstrap.trigger.ms", "3000"),
    ("buffer.memory", "1000000"),
];

const FIRST_TIMESTAMP: i64 = 1_700_000_000_000;

/// The caller that callbacks are.
const CALLBACK_THREAD: usize = 9;

/// A night has some thousands.
const MAX_TURNS: u32 = 100_000;
