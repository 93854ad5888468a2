//! The engine in a world of its own: a virtual clock, links with delays, a cluster that is a model, and troubles drawn
//! from a seed. Thousands of nights in a minute, each of them repeatable.
//!
//! What must hold, after every turn and at the end:
//! - every record that was accepted ends exactly once, within its time;
//! - an acknowledged record lies where it was said to lie; one said not to be written is not there; none is there twice;
//! - the records of one caller lie in each partition in the order sent;
//! - bytes of one sequence number never change (the model audits that); memory is given back to the last byte;
//! - when the trouble is over, the producer works without help.
//!
//! One seed again: `SIM_SEED=17 cargo test --lib engine::sim`; more of them: `SIM_RUNS=10000 cargo test --lib engine::sim`.

#![allow(clippy::disallowed_methods, reason = "an `Instant` to begin with comes from nowhere else")]

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    pin::Pin,
    sync::Arc,
    task::{Context, Waker},
    time::{Duration, Instant},
};

use super::{Action, ConnId, Engine, Random, Transmit};
use crate::{
    DeliveryError, DeliveryFuture, ErrorCode, Headers, ProducerConfig, RecordMetadata,
    config::Settings,
    handoff::{Bell, Command, Entry, Hub, HubConfig, HubReceiver, Partition, Patience, Promise},
    testing::{
        Api, Fault,
        model::{ClusterModel, ModelConfig, Reaction},
    },
    wire::record::body_len,
};

const TOPIC: &str = "t";
const PARTITIONS: i32 = 3;
const NODES: i32 = 3;

struct NoBell;

impl Bell for NoBell {
    fn ring(&self) {}
}

struct Sim {
    seed: u64,
    random: Random,
    settings: Arc<Settings>,
    base: Instant,
    now: Duration,
    engine: Engine,
    hub: Arc<Hub>,
    receiver: HubReceiver,
    model: ClusterModel,
    conns: HashMap<ConnId, Conn>,
    down: [bool; NODES as usize],
    events: BTreeMap<(Duration, u64), Event>,
    serial: u64,
    records: Vec<Sent>,
    flushes: u32,
    turns: u32,
    /// Chance in a thousand that a turn brings trouble.
    trouble: u64,
    troubles: BTreeMap<&'static str, u32>,
}

/// Both ends of a connection. The far end lives on for a while after ours has hung up: what is in the pipe arrives.
struct Conn {
    node: i32,
    open: bool,
    inbox: VecDeque<Vec<u8>>,
    last_arrival: Duration,
    last_delivery: Duration,
}

enum Event {
    Connected(ConnId, i32),
    Refused(ConnId),
    Written(ConnId),
    Arrive(ConnId, Vec<u8>),
    Serve(ConnId),
    Deliver(ConnId, Vec<u8>),
    Closed(ConnId),
    NodeUp(i32),
    Thaw(i32),
}

struct Sent {
    value: String,
    at: Duration,
    future: DeliveryFuture,
    outcome: Option<Result<RecordMetadata, DeliveryError>>,
}

impl Sim {
    fn new(seed: u64, set: &[(&str, &str)]) -> Self {
        let mut config = ProducerConfig::new("node-1:9092,node-2:9092,node-3:9092");
        for (name, value) in [
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
            ("buffer.memory", "1000000"),
        ]
        .iter()
        .chain(set)
        {
            config = config.set(name, value);
        }
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
        let base = Instant::now();
        let mut model = ClusterModel::new(ModelConfig { brokers: NODES, seed, ..ModelConfig::default() });
        model.create_topic(TOPIC, PARTITIONS);
        let mut sim = Self {
            seed,
            random: Random(seed.wrapping_mul(0x9e37_79b9)),
            engine: Engine::new(Arc::clone(&settings), Arc::clone(&hub), seed, base),
            settings,
            base,
            now: Duration::ZERO,
            hub,
            receiver,
            model,
            conns: HashMap::new(),
            down: [false; NODES as usize],
            events: BTreeMap::new(),
            serial: 0,
            records: Vec::new(),
            flushes: 0,
            turns: 0,
            trouble: 0,
            troubles: BTreeMap::new(),
        };
        // The first send asks for the metadata and is refused.
        sim.send(None);
        sim.run_for(Duration::from_secs(2));
        assert!(sim.send(None), "seed {seed}: no metadata after two quiet seconds");
        sim
    }

    fn chance(&mut self, in_thousand: u64) -> bool {
        self.random.next() % 1000 < in_thousand
    }

    fn below(&mut self, n: u64) -> u64 {
        self.random.next() % n
    }

    fn instant(&self) -> Instant {
        self.base + self.now
    }

    fn at(&mut self, when: Duration, event: Event) {
        self.serial += 1;
        self.events.insert((when, self.serial), event);
    }

    /// Between a fifth of a millisecond and, now and then, a very slow 300.
    fn latency(&mut self) -> Duration {
        let micros = if self.chance(10) { 50_000 + self.below(250_000) } else { 200 + self.below(1_000) };
        Duration::from_micros(micros)
    }

    fn send(&mut self, partition: Option<i32>) -> bool {
        let value = format!("{:08}", self.records.len());
        let entry = Entry {
            topic: TOPIC,
            partition: partition.map_or(Partition::Open, Partition::Explicit),
            timestamp: Some(1_700_000_000_000 + self.now.as_millis() as i64),
            key: None,
            value: Some(value.as_bytes()),
            headers: &Headers::new(),
            body_len: body_len(None, Some(value.as_bytes()), &[]),
            callback: None,
        };
        match self.hub.append(entry, &mut Patience::never()) {
            Ok(future) => {
                let at = self.now;
                self.records.push(Sent { value, at, future, outcome: None });
                true
            }
            Err(_) => false,
        }
    }

    // ---- one turn of the shell

    fn turn(&mut self) {
        self.turns += 1;
        let now = self.instant();
        self.receiver.steal_all();
        if self.hub.budget().waiting() > 0 {
            self.receiver.reclaim_credit();
        }
        let gets = self.receiver.take_gets();
        while let Some(command) = self.receiver.try_recv() {
            match command {
                Command::Chunk(mut chunk) => {
                    chunk.set_opened(now);
                    self.engine.handle_chunk(now, chunk);
                }
                Command::Flush(promise) => self.engine.handle_flush(now, promise),
                Command::Close => self.engine.handle_close(now),
            }
        }
        for topic in self.receiver.take_wishes() {
            self.engine.handle_wish(now, topic);
        }
        for (cells, cell) in gets {
            if !self.engine.handle_get(now, &cells, cell) {
                self.receiver.keep_get(cells, cell);
            }
        }
        self.engine.handle_timeout(now);
        while let Some(action) = self.engine.poll_action(now) {
            self.act(action);
        }
        let released = self.engine.take_released();
        self.hub.budget().release(released);
        self.look_at_handles();
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Dial { conn, host, .. } => {
                let node: i32 = host.trim_start_matches("node-").parse().expect("hosts are node-n");
                let when = self.now + self.latency();
                let event = if self.down[node as usize - 1] || !self.model.connected(node) {
                    Event::Refused(conn)
                } else {
                    Event::Connected(conn, node)
                };
                self.at(when, event);
            }
            Action::Transmit { conn, transmit } => {
                let bytes = flatten(&transmit);
                let latency = self.latency();
                let Some(c) = self.conns.get_mut(&conn) else { return };
                let arrival = (self.now + latency).max(c.last_arrival);
                c.last_arrival = arrival;
                self.at(self.now, Event::Written(conn));
                self.at(arrival, Event::Arrive(conn, bytes));
            }
            Action::HangUp { conn } => {
                let survives = self.chance(500);
                if let Some(c) = self.conns.get_mut(&conn) {
                    c.open = false;
                    if !survives {
                        c.inbox.clear();
                        self.conns.remove(&conn);
                        self.model.disconnected(conn.0);
                    }
                }
            }
            Action::Complete(_) => unreachable!("no callbacks here"),
            Action::Answer(promise) => {
                self.flushes -= 1;
                promise.fulfil();
            }
        }
    }

    fn happen(&mut self, event: Event) {
        let now = self.instant();
        match event {
            Event::Connected(conn, node) => {
                if self.down[node as usize - 1] {
                    self.happen(Event::Refused(conn));
                    return;
                }
                let fresh = Conn {
                    node,
                    open: true,
                    inbox: VecDeque::new(),
                    last_arrival: self.now,
                    last_delivery: self.now,
                };
                self.conns.insert(conn, fresh);
                self.engine.handle_connected(now, conn);
            }
            Event::Refused(conn) => self.engine.handle_disconnected(now, conn, "connection refused".into()),
            Event::Written(conn) => {
                if self.conns.get(&conn).is_some_and(|c| c.open) {
                    self.engine.handle_written(now, conn);
                }
            }
            Event::Arrive(conn, bytes) => {
                if let Some(c) = self.conns.get_mut(&conn) {
                    c.inbox.push_back(bytes);
                    self.serve(conn);
                }
            }
            Event::Serve(conn) => self.serve(conn),
            Event::Deliver(conn, bytes) => {
                if self.conns.get(&conn).is_some_and(|c| c.open) {
                    self.engine.handle_received(now, conn, &bytes);
                }
            }
            Event::Closed(conn) => {
                if self.conns.remove(&conn).is_some_and(|c| c.open) {
                    self.engine.handle_disconnected(now, conn, "connection reset".into());
                }
            }
            Event::NodeUp(node) => {
                self.down[node as usize - 1] = false;
                self.model.recover(node);
            }
            Event::Thaw(node) => self.model.set_stalled(node, false),
        }
    }

    /// The broker takes what has arrived, in order.
    fn serve(&mut self, conn: ConnId) {
        while let Some(c) = self.conns.get(&conn) {
            let node = c.node;
            let Some(frame) = c.inbox.front().cloned() else { return };
            let reaction = self.model.handle(node, conn.0, &frame[4..], self.now);
            if reaction == Reaction::Stall {
                self.at(self.now + Duration::from_millis(20), Event::Serve(conn));
                return;
            }
            if let Some(c) = self.conns.get_mut(&conn) {
                c.inbox.pop_front();
            }
            match reaction {
                Reaction::Reply(bytes) => self.deliver(conn, Duration::ZERO, bytes),
                Reaction::ReplyAfter(delay, bytes) => self.deliver(conn, delay, bytes),
                Reaction::ReplyThenClose(delay, bytes) => {
                    self.deliver(conn, delay, bytes);
                    self.close_far_end(conn);
                }
                Reaction::Nothing => {}
                Reaction::Close => self.close_far_end(conn),
                Reaction::Stall => unreachable!("looked at above"),
            }
        }
    }

    fn deliver(&mut self, conn: ConnId, delay: Duration, bytes: Vec<u8>) {
        let latency = self.latency();
        let Some(c) = self.conns.get_mut(&conn) else { return };
        let at = (self.now + delay + latency).max(c.last_delivery);
        c.last_delivery = at;
        // In two pieces, cut anywhere.
        let cut = (self.random.next() % (bytes.len() as u64 + 1)) as usize;
        let (first, second) = bytes.split_at(cut);
        let (first, second) = (first.to_vec(), second.to_vec());
        self.at(at, Event::Deliver(conn, first));
        self.at(at, Event::Deliver(conn, second));
    }

    fn close_far_end(&mut self, conn: ConnId) {
        let Some(c) = self.conns.get_mut(&conn) else { return };
        c.inbox.clear();
        let at = c.last_delivery.max(self.now);
        self.model.disconnected(conn.0);
        self.at(at, Event::Closed(conn));
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.turn();
            let event = self.events.first_key_value().map(|(key, _)| key.0);
            let timer = self.engine.poll_timeout().map(|at| at.saturating_duration_since(self.base));
            let next = event.into_iter().chain(timer).min().filter(|at| *at <= end);
            let Some(next) = next else { break };
            assert!(self.turns < 3_000_000, "seed {}: the engine never comes to rest", self.seed);
            self.now = self.now.max(next);
            while let Some(entry) = self.events.first_entry().filter(|e| e.key().0 <= self.now) {
                let event = entry.remove();
                self.happen(event);
            }
        }
        self.now = end;
    }

    // ---- troubles

    fn make_trouble(&mut self) {
        let node = 1 + self.below(NODES as u64) as i32;
        let partition = self.below(PARTITIONS as u64) as i32;
        let fault = |sim: &mut Self, name, fault: Fault| {
            *sim.troubles.entry(name).or_default() += 1;
            sim.model.fault(fault);
        };
        match self.below(18) {
            0 => {
                if self.down.iter().filter(|d| **d).count() < 2 {
                    *self.troubles.entry("broker killed").or_default() += 1;
                    self.kill(node);
                }
            }
            1 => {
                *self.troubles.entry("broker frozen").or_default() += 1;
                self.model.set_stalled(node, true);
                let until = self.now + Duration::from_millis(100 + self.below(4_000));
                self.at(until, Event::Thaw(node));
            }
            2 | 3 => {
                if !self.down[node as usize - 1] {
                    *self.troubles.entry("leader moved").or_default() += 1;
                    self.model.move_leader(TOPIC, partition, node);
                }
            }
            4 => {
                *self.troubles.entry("connections cut").or_default() += 1;
                self.cut(node);
            }
            5 => fault(self, "appended, connection closed", Fault::AppendThenClose),
            6 => {
                let code = [-1, 7, 20, 56][self.below(4) as usize];
                fault(self, "appended, error answered", Fault::AppendThenError(ErrorCode(code)));
            }
            7 | 8 => {
                let code =
                    [2, 3, 5, 6, 7, 9, 13, 19, 20, 56, 72, 74, 75, 89, 100, 9999][self.below(16) as usize];
                fault(self, "retriable error", Fault::Error(ErrorCode(code)));
            }
            9 => {
                let code = [10, 10, 17, 29, 42, 44, 87][self.below(7) as usize];
                let name = if code == 10 { "batch too large" } else { "final error" };
                fault(self, name, Fault::Error(ErrorCode(code)));
            }
            10 => fault(self, "request lost", Fault::Close),
            11 => fault(self, "never answered", Fault::NeverAnswer),
            12 => {
                let cut = self.below(60) as usize;
                fault(self, "answer cut", Fault::CutResponse(cut));
            }
            13 => fault(self, "answer garbled", Fault::Garbage(vec![0, 0, 0, 5, 1, 2, 3, 4, 5])),
            14 => fault(self, "wrong correlation id", Fault::WrongCorrelationId),
            15 => {
                let delay = Duration::from_millis(self.below(3_000));
                fault(self, "late answer", Fault::Delay(delay));
            }
            16 => fault(self, "throttled", Fault::Throttle(Duration::from_millis(200))),
            _ => {
                *self.troubles.entry("metadata or id refused").or_default() += 1;
                let api = if self.chance(500) { Api::Metadata } else { Api::InitProducerId };
                let code = if api == Api::Metadata { 5 } else { 15 };
                self.model.fault(Fault::Error(ErrorCode(code)).api(api));
            }
        }
    }

    fn kill(&mut self, node: i32) {
        if self.down[node as usize - 1] {
            return;
        }
        self.down[node as usize - 1] = true;
        self.model.fail_over(node);
        self.cut(node);
        let until = self.now + Duration::from_millis(200 + self.below(2_500));
        self.at(until, Event::NodeUp(node));
    }

    fn cut(&mut self, node: i32) {
        let conns: Vec<ConnId> =
            self.conns.iter().filter(|(_, c)| c.node == node).map(|(id, _)| *id).collect();
        for conn in conns {
            self.close_far_end(conn);
        }
    }

    /// A night: sends, flushes and waits, under trouble; then quiet, and the account.
    fn night(mut self, operations: u32, trouble: u64) -> BTreeMap<&'static str, u32> {
        self.trouble = trouble;
        for _ in 0..operations {
            if self.chance(self.trouble) {
                self.make_trouble();
            }
            match self.below(20) {
                0 => {
                    let (promise, _) = Promise::new();
                    self.flushes += 1;
                    self.receiver.steal_all();
                    self.turn();
                    let now = self.instant();
                    self.engine.handle_flush(now, promise);
                }
                1 => {
                    // Somebody waits for the newest record: a poll registers, like `get`.
                    if let Some(last) = self.records.last_mut() {
                        let _ = Pin::new(&mut last.future).as_mut().poll_once();
                    }
                }
                2..=11 => {
                    let partition = self.chance(500).then(|| self.below(PARTITIONS as u64) as i32);
                    for _ in 0..=self.below(12) {
                        self.send(partition);
                    }
                }
                _ => {}
            }
            let pause = Duration::from_micros(self.below(40_000));
            self.run_for(pause);
        }
        self.model.clear_faults();
        for node in 1..=NODES {
            self.model.set_stalled(node, false);
        }
        self.run_for(Duration::from_secs(10));
        self.settle_accounts();
        std::mem::take(&mut self.troubles)
    }

    // ---- what must hold

    fn look_at_handles(&mut self) {
        let (seed, now) = (self.seed, self.now);
        // A batch begins with its chunk, and its end is looked at once a turn.
        let limit = self.settings.delivery_timeout + Duration::from_millis(500);
        for sent in &mut self.records {
            let outcome = sent.future.try_get();
            match (&sent.outcome, &outcome) {
                (None, None) => assert!(now - sent.at <= limit, "seed {seed}: {} never ends", sent.value),
                (None, Some(_)) => sent.outcome = outcome,
                (Some(Ok(a)), Some(Ok(b))) => assert_eq!(a, b, "seed {seed}: an outcome changed"),
                (Some(Err(_)), Some(Err(_))) => {}
                (before, after) => panic!("seed {seed}: {} ended twice: {before:?}, {after:?}", sent.value),
            }
        }
    }

    fn settle_accounts(&mut self) {
        let seed = self.seed;
        assert_eq!(self.model.violations(), &[] as &[String], "seed {seed}");
        let mut copies: HashMap<String, u32> = HashMap::new();
        let mut places: HashMap<(i32, i64), String> = HashMap::new();
        for partition in 0..PARTITIONS {
            let mut before = String::new();
            for record in self.model.records(TOPIC, Some(partition)) {
                let value = record.value_str().expect("values are text").to_owned();
                if self.settings.idempotence {
                    assert!(value > before, "seed {seed}: partition {partition}: {before} before {value}");
                }
                before.clone_from(&value);
                *copies.entry(value.clone()).or_default() += 1;
                places.insert((partition, record.offset), value);
            }
        }
        let mut delivered = 0;
        for sent in &self.records {
            let count = copies.get(&sent.value).copied().unwrap_or(0);
            let value = &sent.value;
            if self.settings.idempotence {
                assert!(count <= 1, "seed {seed}: {value} lies in the log {count} times");
            }
            match sent.outcome.as_ref() {
                None => panic!("seed {seed}: {value} never ended"),
                Some(Ok(metadata)) => {
                    delivered += 1;
                    assert!(count >= 1, "seed {seed}: {value} was acknowledged and is lost: {metadata:?}");
                    if metadata.has_offset() {
                        let found = places.get(&(metadata.partition(), metadata.offset()));
                        assert_eq!(found, Some(value), "seed {seed}: not at {metadata}");
                    }
                }
                Some(Err(error)) => {
                    assert!(
                        count == 0 || error.may_have_been_written(),
                        "seed {seed}: {value} was said not to be written and is: {error}"
                    );
                }
            }
        }
        assert_eq!(self.engine.accumulator.unsettled(), 0, "seed {seed}");
        assert_eq!(self.engine.accumulator.in_flight(), 0, "seed {seed}");
        assert_eq!(self.flushes, 0, "seed {seed}: a flush was never answered");
        self.receiver.reclaim_credit();
        assert_eq!(self.hub.budget().free(), self.settings.buffer_memory, "seed {seed}: memory is missing");
        // The trouble is over: what is sent now arrives.
        let before = self.records.len();
        assert!(
            self.send(Some(0)) && self.send(Some(1)) && self.send(Some(2)),
            "seed {seed}: refused after the night"
        );
        self.run_for(Duration::from_secs(3));
        for sent in &self.records[before..] {
            assert!(matches!(sent.outcome, Some(Ok(_))), "seed {seed}: after the night: {:?}", sent.outcome);
        }
        assert!(delivered > 0, "seed {seed}: nothing was delivered all night");
    }
}

trait PollOnce {
    fn poll_once(self) -> bool;
}

impl PollOnce for Pin<&mut DeliveryFuture> {
    fn poll_once(self) -> bool {
        self.poll(&mut Context::from_waker(Waker::noop())).is_ready()
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

fn runs() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    match (number("SIM_SEED"), number("SIM_RUNS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, runs) => 0..runs.unwrap_or(300),
    }
}

fn nights(set: &[(&str, &str)], operations: u32, trouble: u64) {
    let mut troubles: BTreeMap<&str, u32> = BTreeMap::new();
    let runs = runs();
    for seed in runs.clone() {
        let night = std::panic::catch_unwind(|| Sim::new(seed, set).night(operations, trouble));
        match night {
            Ok(met) => met.into_iter().for_each(|(name, n)| *troubles.entry(name).or_default() += n),
            Err(panic) => {
                eprintln!("seed {seed} with {set:?}: SIM_SEED={seed} shows it again");
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("{} nights with {set:?}: {troubles:?}", runs.end - runs.start);
}

#[test]
fn quiet_nights() {
    nights(&[], 60, 0);
}

#[test]
fn nights_full_of_trouble() {
    nights(&[], 80, 120);
}

#[test]
fn nights_without_linger() {
    nights(&[("linger.ms", "0")], 60, 100);
}

#[test]
fn nights_with_one_request_in_flight_and_no_idempotence() {
    nights(&[("enable.idempotence", "false"), ("max.in.flight.requests.per.connection", "1")], 60, 80);
}
