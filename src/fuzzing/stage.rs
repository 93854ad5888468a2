//! One engine, callers, links and a cluster model, driven by a script of bytes: sends, pauses, deliveries, losses, closed
//! connections, moved leaders, error codes, and answers that were tampered with.
//!
//! What must hold whatever the script says: no step panics, the engine comes to rest after each, and once the trouble is
//! over every handle has its answer and all memory is given back. If no answer was tampered with, what was acknowledged
//! lies in the log, nothing lies there twice, and the cluster has nothing to complain about.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use super::Feed;
use crate::{
    DeliveryFuture, ErrorCode, Headers, ProducerConfig,
    engine::{Action, ConnId, Ending, Engine, Transmit},
    handoff::{Bell, Command, Entry, Hub, HubConfig, HubReceiver, Partition, Patience, Promise},
    testing::{
        Fault,
        model::{ClusterModel, ModelConfig, Reaction},
    },
    wire::record::body_len,
};

pub(super) fn play(mut feed: Feed<'_>) {
    let mut stage = Stage::new();
    while !feed.is_used_up() {
        stage.act(&mut feed);
        stage.turn();
    }
    stage.end();
}

struct Stage {
    engine: Engine,
    receiver: HubReceiver,
    hub: Arc<Hub>,
    cluster: ClusterModel,
    base: Instant,
    now: Duration,
    links: BTreeMap<u64, Link>,
    sent: Vec<DeliveryFuture>,
    limit: usize,
    /// No answer was tampered with.
    honest: bool,
}

struct Link {
    node: i32,
    connected: bool,
    /// Requests that have not arrived.
    requests: VecDeque<Vec<u8>>,
}

struct NoBell;

impl Bell for NoBell {
    fn ring(&self) {}
}

impl Stage {
    #[expect(clippy::disallowed_methods, reason = "an `Instant` to begin with comes from nowhere else")]
    fn new() -> Self {
        let config =
            SETTINGS.iter().fold(ProducerConfig::new("boot-1:9092,boot-2:9092"), |config, (name, value)| {
                config.set(name, value)
            });
        let settings = Arc::new(config.resolve().expect("these settings are right"));
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
        let mut cluster =
            ClusterModel::new(ModelConfig { brokers: NODES, seed: 1, ..ModelConfig::default() });
        cluster.create_topic(TOPIC, PARTITIONS);
        let base = Instant::now();
        let limit = settings.buffer_memory;
        let engine = Engine::new(settings, Arc::clone(&hub), 1, base);
        Self {
            engine,
            receiver,
            hub,
            cluster,
            base,
            now: Duration::ZERO,
            links: BTreeMap::new(),
            sent: Vec::new(),
            limit,
            honest: true,
        }
    }

    fn instant(&self) -> Instant {
        self.base + self.now
    }

    fn act(&mut self, feed: &mut Feed<'_>) {
        match feed.below(16) {
            0..=3 => self.send(feed.byte()),
            4 | 5 => self.now += Duration::from_millis(4 * u64::from(feed.byte())),
            6 => {
                let node = 1 + feed.below(NODES as usize) as i32;
                self.cluster.move_leader(TOPIC, feed.below(PARTITIONS as usize) as i32, node);
            }
            7 => self.deliver_all(),
            8 => {
                let (promise, _) = Promise::new();
                self.receiver.steal_all();
                self.take_commands();
                let now = self.instant();
                self.engine.handle_flush(now, promise);
            }
            9 => {
                let code = ErrorCode(CODES[feed.below(CODES.len())]);
                self.cluster.fault(Fault::Error(code));
            }
            10 => self.cluster.fault(Fault::AppendThenError(ErrorCode::REQUEST_TIMED_OUT)),
            11 => self.with_link(feed, |stage, conn, _| stage.close(conn)),
            // The request arrives, and its answer is lost with the connection.
            12 => self.with_link(feed, |stage, conn, _| {
                stage.pass_on(conn);
                stage.close(conn);
            }),
            13 => self.with_link(feed, |stage, conn, _| drop(stage.pass_on(conn))),
            14 => self.with_link(feed, |stage, conn, feed| {
                let Some(mut answer) = stage.pass_on(conn) else { return };
                let at = feed.below(answer.len().max(1)) % answer.len().max(1);
                if let Some(byte) = answer.get_mut(at) {
                    *byte ^= feed.byte() | 1;
                }
                stage.honest = false;
                stage.receive(conn, &answer);
            }),
            _ => self.with_link(feed, |stage, conn, feed| {
                let len = feed.below(64);
                let bytes = feed.some(len);
                stage.honest = false;
                stage.receive(conn, bytes);
            }),
        }
    }

    fn with_link(&mut self, feed: &mut Feed<'_>, what: fn(&mut Self, u64, &mut Feed<'_>)) {
        let connected: Vec<u64> =
            self.links.iter().filter(|(_, link)| link.connected).map(|(conn, _)| *conn).collect();
        if !connected.is_empty() {
            what(self, connected[feed.below(connected.len())], feed);
        }
    }

    fn send(&mut self, choice: u8) {
        let value = self.sent.len().to_string();
        let partition = i32::from(choice) % (PARTITIONS + 1);
        let entry = Entry {
            topic: TOPIC,
            partition: if partition == PARTITIONS { Partition::Open } else { Partition::Explicit(partition) },
            timestamp: Some(1_700_000_000_000),
            key: None,
            value: Some(value.as_bytes()),
            headers: &Headers::new(),
            body_len: body_len(None, Some(value.as_bytes()), &[]),
            callback: None,
        };
        // Refused where a caller would wait, for metadata at first.
        if let Ok(handle) = self.hub.append(entry, &mut Patience::never()) {
            self.sent.push(handle);
        }
    }

    // ---- the shell's part

    fn take_commands(&mut self) {
        let now = self.instant();
        while let Some(command) = self.receiver.try_recv() {
            match command {
                Command::Chunk(mut chunk) => {
                    chunk.set_opened(now);
                    self.engine.handle_chunk(now, chunk);
                }
                Command::Flush(promise) => self.engine.handle_flush(now, promise),
                Command::Close => self.engine.handle_close(now),
                Command::Transaction(request) => self.engine.handle_transaction(now, request),
            }
        }
    }

    fn turn(&mut self) {
        let now = self.instant();
        self.receiver.steal_all();
        self.take_commands();
        for topic in self.receiver.take_wishes() {
            self.engine.handle_wish(now, topic);
        }
        self.engine.handle_timeout(now);
        for actions in 0.. {
            assert!(actions < 10_000, "the engine never comes to rest");
            let Some(action) = self.engine.poll_action(now) else { break };
            match action {
                Action::Dial { conn, host, .. } => {
                    let node = host.rsplit_once('-').and_then(|(_, node)| node.parse().ok());
                    // Who was lied to may dial anybody.
                    let node = node.filter(|node| (1..=NODES).contains(node)).unwrap_or(0);
                    self.links.insert(conn.0, Link { node, connected: false, requests: VecDeque::new() });
                }
                Action::Transmit { conn, transmit } => {
                    if let Some(link) = self.links.get_mut(&conn.0) {
                        link.requests.push_back(flatten(&transmit));
                        self.engine.handle_written(now, conn);
                    }
                }
                #[cfg(feature = "sasl")]
                Action::Login { .. } => unreachable!("nobody here asks who a client is"),
                Action::HangUp { conn } => {
                    self.links.remove(&conn.0);
                    self.cluster.disconnected(conn.0);
                }
                Action::Complete(batch) => self.hub.budget().release(batch.run()),
                Action::Answer(promise) => promise.fulfil(),
                Action::Tell(_) | Action::Introduce(_) => {}
                Action::ReadMetrics => unreachable!("no broker here asks for metrics"),
            }
        }
        let released = self.engine.take_released();
        self.hub.budget().release(released);
        assert!(self.engine.poll_timeout().is_none_or(|at| at > now), "a timer that is over");
    }

    // ---- the network's part

    /// Everything that is dialed is connected, everything that is sent arrives, and all answers come.
    fn deliver_all(&mut self) {
        for conn in self.links.keys().copied().collect::<Vec<_>>() {
            let Some(link) = self.links.get_mut(&conn) else { continue };
            if !link.connected {
                let node = link.node;
                link.connected = true;
                if node == 0 || !self.cluster.connected(node) {
                    self.close(conn);
                    continue;
                }
                let now = self.instant();
                self.engine.handle_connected(now, ConnId(conn));
            }
            while let Some(answer) = self.pass_on(conn) {
                self.receive(conn, &answer);
                self.turn();
            }
        }
    }

    /// The oldest request arrives; what the broker says to it, if anything.
    fn pass_on(&mut self, conn: u64) -> Option<Vec<u8>> {
        let link = self.links.get_mut(&conn)?;
        let (node, frame) = (link.node, link.requests.pop_front()?);
        match self.cluster.handle(node, conn, &frame[4..], self.now) {
            Reaction::Reply(bytes) | Reaction::ReplyAfter(_, bytes) => Some(bytes),
            Reaction::ReplyThenClose(_, bytes) => {
                self.receive(conn, &bytes);
                self.close(conn);
                None
            }
            Reaction::Close => {
                self.close(conn);
                None
            }
            Reaction::Nothing | Reaction::Stall => None,
        }
    }

    fn receive(&mut self, conn: u64, bytes: &[u8]) {
        let now = self.instant();
        self.engine.handle_received(now, ConnId(conn), bytes);
    }

    fn close(&mut self, conn: u64) {
        self.links.remove(&conn);
        self.cluster.disconnected(conn);
        let now = self.instant();
        self.engine.handle_disconnected(now, ConnId(conn), Ending::Closed, "closed".into());
    }

    // ---- the end

    fn pending(&self) -> usize {
        self.sent.iter().filter(|handle| !handle.is_done()).count()
    }

    fn end(mut self) {
        self.cluster.clear_faults();
        for _ in 0..200 {
            self.now += Duration::from_millis(100);
            self.turn();
            self.deliver_all();
            self.turn();
            self.receiver.reclaim_credit();
            if self.pending() == 0 && self.hub.budget().free() == self.limit {
                break;
            }
        }
        assert_eq!(self.pending(), 0, "records without an answer");
        assert_eq!(self.hub.budget().free(), self.limit, "memory was not given back");
        if !self.honest {
            return;
        }
        assert_eq!(self.cluster.violations(), [""; 0]);
        let records = self.cluster.records(TOPIC, None);
        let places: BTreeSet<_> = records.iter().map(|record| (record.partition, record.offset)).collect();
        let values: BTreeSet<_> = records.iter().map(|record| record.value.clone()).collect();
        assert_eq!(values.len(), records.len(), "a record lies there twice");
        for outcome in self.sent.iter().filter_map(DeliveryFuture::try_get) {
            match outcome {
                Ok(metadata) if metadata.has_offset() => {
                    assert!(
                        places.contains(&(metadata.partition(), metadata.offset())),
                        "{metadata} is not there"
                    );
                }
                _ => {}
            }
        }
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

const NODES: i32 = 2;
const TOPIC: &str = "t";
const PARTITIONS: i32 = 3;

const CODES: [i16; 24] =
    [-1, 2, 3, 5, 6, 7, 8, 9, 10, 13, 17, 18, 19, 20, 29, 32, 45, 47, 56, 59, 74, 87, 100, 9999];

const SETTINGS: [(&str, &str); 10] = [
    ("client.id", "stage"),
    ("batch.size", "200"),
    ("linger.ms", "5"),
    ("delivery.timeout.ms", "5000"),
    ("request.timeout.ms", "1000"),
    ("retry.backoff.ms", "50"),
    ("retry.backoff.max.ms", "500"),
    ("reconnect.backoff.ms", "50"),
    ("reconnect.backoff.max.ms", "500"),
    ("buffer.memory", "100000"),
];
