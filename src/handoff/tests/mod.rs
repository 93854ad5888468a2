//! The tests of these files, apart from them: see the [module's](super) last words.

#![allow(clippy::disallowed_methods, reason = "real threads meet here, at times of a real clock")]

mod budget;
mod cells;
mod chunk;
mod context;
mod delivery;
mod hub;
mod lane;
mod promise;
mod receiver;
mod snapshot;
mod threads;
mod topics;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{
    append::{Entry, Partition},
    cells::{Run, Settling},
    chunk::{Chunk, charge},
    context::Patience,
    hub::{Bell, Command, Hub, HubConfig},
    receiver::HubReceiver,
    snapshot::{Snapshot, TopicView},
};
use crate::{
    delivery::DeliveryFuture,
    error::{DeliveryCause, DeliveryError, DeliveryFailure, ErrorCode, SendError, SendErrorKind},
    record::Headers,
    wire::record::body_len,
};

/// A hub without a sender thread: the test is the sender thread.
struct Rig {
    hub: Arc<Hub>,
    receiver: HubReceiver,
    rings: Arc<AtomicUsize>,
}

struct Counting(Arc<AtomicUsize>);

impl Bell for Counting {
    fn ring(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// What a test reads of a record that it takes out of a chunk.
#[derive(Debug, Eq, PartialEq)]
struct Taken {
    topic: String,
    partition: i32,
    value: Vec<u8>,
}

impl Rig {
    /// With the topics `t` and `u`, of four partitions each, known.
    fn new() -> Self {
        Self::with(config())
    }

    fn with(config: HubConfig) -> Self {
        let rig = Self::without_metadata(config);
        rig.publish(&["t", "u"], 4);
        rig
    }

    fn without_metadata(config: HubConfig) -> Self {
        let rings = Arc::new(AtomicUsize::new(0));
        let (hub, receiver) = Hub::new(config, Box::new(Counting(Arc::clone(&rings))));
        Self { hub, receiver, rings }
    }

    fn publish(&self, topics: &[&str], count: i32) {
        let mut snapshot = Snapshot::default();
        for name in topics {
            let id = self.hub.topics().intern(name).unwrap().0 as usize;
            snapshot.topics.resize(snapshot.topics.len().max(id + 1), None);
            snapshot.topics[id] = Some(Arc::new(TopicView { count, ..TopicView::default() }));
        }
        self.hub.published().publish(snapshot);
    }

    fn publish_error(&self, topic: &str, code: ErrorCode) {
        let id = self.hub.topics().intern(topic).unwrap().0 as usize;
        let mut snapshot = Snapshot { topics: vec![None; id + 1], ..Snapshot::default() };
        snapshot.topics[id] = Some(Arc::new(TopicView { error: Some(code), ..TopicView::default() }));
        self.hub.published().publish(snapshot);
    }

    fn send(&self, value: &str) -> DeliveryFuture {
        self.try_send("t", value).expect("there is room and metadata")
    }

    fn try_send(&self, topic: &str, value: &str) -> Result<DeliveryFuture, SendErrorKind> {
        append(&self.hub, Entry { topic, ..entry(value, &Headers::new()) }, Patience::never())
    }

    /// Takes the next chunk out of the channel.
    fn chunk(&mut self) -> Option<Chunk> {
        match self.receiver.try_recv()? {
            Command::Chunk(chunk) => Some(chunk),
            other => panic!("a chunk was expected, not {other:?}"),
        }
    }

    /// Steals everything and acknowledges it at offsets from 0 in partition 0; says what it was.
    fn deliver_all(&mut self) -> Vec<Taken> {
        self.receiver.steal_all();
        let mut taken = Vec::new();
        while let Some(chunk) = self.chunk() {
            taken.extend(deliver(&self.hub, chunk));
        }
        taken
    }

    fn rings(&self) -> usize {
        self.rings.load(Ordering::SeqCst)
    }
}

fn config() -> HubConfig {
    HubConfig {
        buffer_memory: 1 << 20,
        chunk_bytes: 1024,
        memory_for_chunks: 0,
        channel_capacity: 16,
        linger: Duration::from_millis(5),
        ring_threshold: 8,
    }
}

fn entry<'a>(value: &'a str, headers: &'a Headers) -> Entry<'a> {
    Entry {
        topic: "t",
        partition: Partition::Open,
        timestamp: None,
        key: None,
        value: Some(value.as_bytes()),
        headers,
        body_len: 0,
        callback: None,
    }
}

fn append(hub: &Hub, mut entry: Entry<'_>, mut patience: Patience) -> Result<DeliveryFuture, SendErrorKind> {
    entry.body_len = body_len(entry.key, entry.value, entry.headers.entries());
    hub.append(entry, &mut patience).map_err(SendError::into_kind)
}

/// A value whose record takes so much of the memory.
fn filling(memory: usize) -> String {
    let mut value = "x".repeat(memory - charge(0));
    while charge(body_len(None, Some(value.as_bytes()), &[])) > memory {
        value.pop();
    }
    value
}

/// Acknowledges a chunk's records as a batch each would, and gives their memory back.
fn deliver(hub: &Hub, mut chunk: Chunk) -> Vec<Taken> {
    let mut settling = Settling::new();
    let mut taken = Vec::new();
    let mut done = 0;
    while let Some(record) = chunk.take_next() {
        let partition = record.partition.max(0);
        record.cells.set_place(record.cell, record.topic, partition);
        let topic = hub.topics().name(record.topic).to_string();
        // A key of null, the value's length, the value, a count of no headers.
        let length = record.body[1..].iter().position(|byte| byte & 0x80 == 0).expect("a varint ends") + 1;
        let value = record.body[1 + length..record.body.len() - 1].to_vec();
        taken.push(Taken { topic, partition: record.partition, value });
        let offset = taken.len() as i64 - 1;
        settling.acknowledge(Run::start(record.cells, record.cell), Some(offset), None);
        done += charge(record.body.len());
    }
    hub.recycle(chunk.into_buffer());
    hub.budget().release(done);
    settling.finish();
    taken
}

fn values(taken: &[Taken]) -> Vec<&str> {
    taken.iter().map(|record| std::str::from_utf8(&record.value).expect("tests send text")).collect()
}

fn failure(cause: DeliveryCause) -> DeliveryError {
    DeliveryError::new(DeliveryFailure {
        cause,
        topic: "t".into(),
        partition: 3,
        broker: None,
        attempts: 1,
        elapsed: Duration::ZERO,
        may_have_been_written: false,
        last_attempt: None,
    })
}

/// Long enough that a test which needs it all has failed.
const AGES: Duration = Duration::from_secs(60);

/// A list that threads and callbacks write to.
type Log<T> = Arc<Mutex<Vec<T>>>;
