//! The checker: what was promised to callers, compared with what lies in the logs, after every step.
//!
//! It is told what callers did and what went over the wire, and reads the logs of the cluster. How the world makes
//! trouble is not known here, and what the engine thinks of it neither: a promise is kept or broken whatever happened.
//! What is broken ends the night with a panic that names the invariant:
//!
//! | | |
//! |---|---|
//! | I1 once | every record that was accepted ends once, its callback is called once and before that, flushes are answered |
//! | I2 time | a record ends within `delivery.timeout.ms`, a close within the same |
//! | I3 truth | what is acknowledged lies where it was said to lie, byte for byte |
//! | I4 loss | what is acknowledged is not lost, whatever comes later |
//! | I5 twice | nothing lies in a log twice |
//! | I6 order | the records of one caller lie in each partition in the order sent |
//! | I7 honesty | what was said not to be written is not written, now or later |
//! | I8 memory | what is not done is paid for, what is paid is in the budget, and at the end all of it is given back |
//! | I10 alive | no step panics, and the engine comes to rest (seen by whoever drives it) |
//! | I11 calm | dials and requests for metadata keep to their backoff |
//! | I13 wire | one name for one batch of bytes, numbers without overlap, no more in flight than allowed |
//! | I14 atomic | transactions are seen whole or not at all (kept by the [ledger](super::ledger)) |
//! | I15 recovery | once the trouble is over, the producer works again, without help and soon (seen by the night) |

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use crate::{
    DeliveryError, DeliveryFuture, Headers, RecordMetadata,
    config::Settings,
    handoff::{Partition, promise::Answer},
    partitioner::partition_for_key,
    testing::{Record, model::ClusterModel},
    wire::batch::HEADER_LEN,
};

/// What counts as broken.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// I5 holds.
    once: bool,
    order: Order,
    /// Topics go by ids when records are sent. If not, what is in flight when a topic is created again can go to the new
    /// one, which takes any number for the first: whoever was refused just before then comes too late.
    pub(super) topics_have_ids: bool,
    /// Callbacks run in the order sent.
    pub(super) callbacks_in_order: bool,
    /// Transactions end with marks, which take offsets of their own.
    marks: bool,
    /// Acknowledgements name an offset.
    offsets: bool,
    /// I2 for records.
    time_limit: Duration,
    memory: usize,
    max_in_flight: usize,
    retry_backoff: (Duration, Duration),
    reconnect_backoff: (Duration, Duration),
    max_idle: Option<Duration>,
}

/// How I6 holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Strict,
    /// Without idempotence a record can lie there again, but its first copy is where it belongs.
    FirstCopies,
    NotPromised,
}

/// The account of one night.
pub(super) struct Account {
    pub(super) rules: Rules,
    /// By their number, which is in their value.
    sent: Vec<Sent>,
    /// The numbers of those that have not ended, oldest first.
    pending: VecDeque<usize>,
    /// What `pending` takes of `buffer.memory`.
    charged: usize,
    logs: BTreeMap<(&'static str, i32), Log>,
    /// How often a topic was deleted.
    lives: BTreeMap<&'static str, u32>,
    /// The last record whose callback ran, by topic, partition and caller.
    called: BTreeMap<(&'static str, i32, usize), usize>,
    hosts: BTreeMap<String, Dials>,
    requests: BTreeMap<u64, VecDeque<i16>>,
    last_metadata: Option<Duration>,
    /// Topics that were used for the first time: what is new is asked for at once.
    news: u32,
    pub(super) tally: Tally,
}

/// What a night came to, for the report.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) records: u64,
    pub(super) delivered: u64,
    /// Failed, and surely not written.
    pub(super) refused: u64,
    /// Failed, and nobody knows.
    pub(super) doubtful: u64,
    pub(super) callbacks: u64,
    pub(super) flushes: u64,
    pub(super) dials: u64,
    pub(super) requests: u64,
    pub(super) steps: u64,
    /// Transactions.
    pub(super) committed: u64,
    pub(super) aborted: u64,
}

/// A record that was accepted.
pub(super) struct Sent {
    pub(super) topic: &'static str,
    pub(super) caller: usize,
    pub(super) to: Partition,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Vec<u8>,
    pub(super) headers: Headers,
    pub(super) timestamp: i64,
    pub(super) at: Duration,
    pub(super) charge: usize,
    pub(super) handle: Handle,
    pub(super) has_callback: bool,
    pub(super) outcome: Option<Result<RecordMetadata, DeliveryError>>,
    calls: u32,
    /// Where it lies, or lay before its topic was deleted: life of the topic, partition, offset.
    places: Vec<(u32, i32, i64)>,
}

pub(super) type Handle = Arc<Mutex<DeliveryFuture>>;

/// What callers and callbacks, wherever they run, tell the account.
#[derive(Default)]
pub(super) struct Post {
    pub(super) now: Duration,
    /// The number of the next record that is accepted.
    pub(super) next: usize,
    pub(super) sent: Vec<Sent>,
    pub(super) calls: Vec<Call>,
}

/// A callback was called.
pub(super) struct Call {
    pub(super) record: usize,
    pub(super) outcome: Result<RecordMetadata, DeliveryError>,
    pub(super) handle: Arc<OnceLock<Handle>>,
    pub(super) handle_was_done: bool,
}

#[derive(Default)]
struct Log {
    batches: usize,
    /// Behind the last record.
    end: i64,
    /// The latest record of each caller.
    latest: BTreeMap<usize, usize>,
}

/// What is known of one address.
#[derive(Default)]
struct Dials {
    /// Connections and dials that ended in a row before the broker said anything, and the last one that did.
    fruitless: u32,
    ended: Option<Duration>,
    /// When it last answered.
    heard: Duration,
}

impl Rules {
    /// `ghosts`: what a connection carried can arrive after it was given up.
    pub(super) fn new(settings: &Settings, ghosts: bool) -> Self {
        let order = match (settings.idempotence, settings.max_in_flight, settings.acks) {
            (true, ..) => Order::Strict,
            (false, 1, 1 | -1) if !ghosts => Order::FirstCopies,
            _ => Order::NotPromised,
        };
        Self {
            once: settings.idempotence,
            order,
            topics_have_ids: true,
            // An abort fails at once what was not sent, and waits for what was.
            callbacks_in_order: order == Order::Strict && settings.transactional_id.is_none(),
            marks: settings.transactional_id.is_some(),
            offsets: settings.acks != 0,
            time_limit: settings.delivery_timeout + GRACE,
            memory: settings.buffer_memory,
            max_in_flight: settings.max_in_flight,
            retry_backoff: settings.retry_backoff,
            reconnect_backoff: settings.reconnect_backoff,
            max_idle: settings.connections_max_idle,
        }
    }
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.delivered += other.delivered;
        self.refused += other.refused;
        self.doubtful += other.doubtful;
        self.callbacks += other.callbacks;
        self.flushes += other.flushes;
        self.dials += other.dials;
        self.requests += other.requests;
        self.steps += other.steps;
        self.committed += other.committed;
        self.aborted += other.aborted;
    }
}

impl Sent {
    pub(super) fn new(
        letter: (&'static str, usize, Partition),
        (key, value, headers): (Option<Vec<u8>>, Vec<u8>, Headers),
        (at, timestamp): (Duration, i64),
        charge: usize,
        handle: Handle,
        has_callback: bool,
    ) -> Self {
        let (topic, caller, to) = letter;
        Self {
            topic,
            caller,
            to,
            key,
            value,
            headers,
            timestamp,
            at,
            charge,
            handle,
            has_callback,
            outcome: None,
            calls: 0,
            places: Vec::new(),
        }
    }

    fn is_done(&self) -> bool {
        lock(&self.handle).is_done()
    }
}

impl Account {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            sent: Vec::new(),
            pending: VecDeque::new(),
            charged: 0,
            logs: BTreeMap::new(),
            lives: BTreeMap::new(),
            called: BTreeMap::new(),
            hosts: BTreeMap::new(),
            requests: BTreeMap::new(),
            last_metadata: None,
            news: 0,
            tally: Tally::default(),
        }
    }

    pub(super) fn sent(&self) -> &[Sent] {
        &self.sent
    }

    /// What records that have not ended take of `buffer.memory`, as far as is known.
    pub(super) fn charged(&self) -> usize {
        self.charged
    }

    // ---- what callers did and heard

    /// Takes in what callers sent and which callbacks ran.
    pub(super) fn collect(&mut self, post: &Mutex<Post>) {
        let mut post = lock(post);
        for sent in post.sent.drain(..) {
            self.charged += sent.charge;
            self.tally.records += 1;
            self.pending.push_back(self.sent.len());
            self.sent.push(sent);
        }
        for call in post.calls.drain(..) {
            self.on_call(call);
        }
    }

    fn on_call(&mut self, call: Call) {
        let Call { record, outcome, handle, handle_was_done } = call;
        self.tally.callbacks += 1;
        let sent = &mut self.sent[record];
        sent.calls += 1;
        if sent.calls > 1 || !sent.has_callback {
            broken("I1 once", format!("the callback of {record} was called {} times", sent.calls));
        }
        if handle_was_done || handle.get().is_none() {
            broken(
                "I1 once",
                format!("the handle of {record} had its answer before its callback was called"),
            );
        }
        let partition = match &outcome {
            Ok(metadata) => Some(metadata.partition()),
            Err(error) => error.partition(),
        };
        if let Some(partition) = partition.filter(|_| self.rules.callbacks_in_order) {
            let place = (sent.topic, partition, sent.caller);
            if let Some(last) = self.called.insert(place, record)
                && last > record
            {
                broken("I6 order", format!("the callback of {record} ran after that of {last}: {place:?}"));
            }
        }
    }

    /// Topics that are new are asked for at once, whatever the backoff.
    pub(super) fn on_new_topic(&mut self) {
        self.news += 1;
    }

    /// A flush that was begun when there were `upto` records has been answered.
    pub(super) fn on_flushed(&mut self, upto: usize, answer: Answer) {
        self.tally.flushes += 1;
        if answer == Answer::Broken {
            broken("I1 once", "a flush was dropped".into());
        }
        if let Some(open) = self.sent[..upto].iter().position(|sent| !sent.is_done()) {
            broken("I1 once", format!("a flush was answered, and {open}, sent before it, is not done"));
        }
    }

    // ---- what went over the wire

    pub(super) fn on_dial(&mut self, now: Duration, host: &str) {
        self.tally.dials += 1;
        let Some(dials) = self.hosts.get(host) else { return };
        let Some(ended) = dials.ended else { return };
        let due = ended + least(self.rules.reconnect_backoff, dials.fruitless.saturating_sub(1));
        if now < due {
            let times = dials.fruitless;
            broken(
                "I11 calm",
                format!("{host} is dialed at {now:?}, not before {due:?} were due: {times} fruitless"),
            );
        }
    }

    /// A connection stands no more, or never stood.
    pub(super) fn on_end(&mut self, now: Duration, connection: u64, host: &str) {
        self.requests.remove(&connection);
        let dials = self.hosts.entry(host.to_owned()).or_default();
        if self.rules.max_idle.is_some_and(|idle| now >= dials.heard + idle) {
            // Closed because nobody needed it: there is no reason to wait when somebody does.
            dials.ended = None;
            return;
        }
        dials.fruitless += 1;
        dials.ended = Some(now);
    }

    pub(super) fn on_request(&mut self, now: Duration, connection: u64, api: i16, expects_answer: bool) {
        self.tally.requests += 1;
        if expects_answer {
            let open = self.requests.entry(connection).or_default();
            open.push_back(api);
            let in_flight = open.iter().filter(|api| **api == PRODUCE).count();
            if in_flight > self.rules.max_in_flight {
                broken(
                    "I13 wire",
                    format!("{in_flight} produce requests in flight on connection {connection}"),
                );
            }
        }
        if api == METADATA {
            let due = self.last_metadata.map(|last| last + least(self.rules.retry_backoff, 0));
            if due.is_some_and(|due| now < due) {
                if self.news == 0 {
                    broken(
                        "I11 calm",
                        format!("metadata are asked for at {now:?}, and were at {:?}", self.last_metadata),
                    );
                }
                self.news -= 1;
            }
            self.last_metadata = Some(now);
        }
    }

    /// A whole answer has come in on a connection.
    pub(super) fn on_answer(&mut self, now: Duration, connection: u64, host: &str) {
        if let Some(open) = self.requests.get_mut(&connection) {
            open.pop_front();
        }
        let dials = self.hosts.entry(host.to_owned()).or_default();
        dials.fruitless = 0;
        dials.heard = now;
    }

    // ---- what lies in the logs

    /// Reads what was appended since the last time.
    pub(super) fn read_logs(&mut self, cluster: &ClusterModel, topics: &[&'static str]) {
        for &topic in topics {
            for partition in 0..cluster.partition_count(topic) {
                let log = self.logs.entry((topic, partition)).or_default();
                let (batches, records) = cluster.records_after(topic, partition, log.batches);
                log.batches = batches;
                for record in records {
                    self.on_record(topic, &record);
                }
            }
        }
    }

    /// The topic is about to be deleted: what lies in it lies in no other of the same name.
    pub(super) fn bury(&mut self, cluster: &ClusterModel, topic: &'static str) {
        self.read_logs(cluster, &[topic]);
        self.logs.retain(|(name, _), _| *name != topic);
        *self.lives.entry(topic).or_default() += 1;
    }

    fn on_record(&mut self, topic: &'static str, record: &Record) {
        let partition = record.partition;
        let life = self.lives.get(topic).copied().unwrap_or(0);
        let number = number_of(record).filter(|number| *number < self.sent.len());
        let Some(number) = number else {
            broken("I3 truth", format!("nobody sent this: {record:?}"));
        };
        let sent = &mut self.sent[number];
        let same = sent.topic == topic
            && sent.key == record.key
            && Some(&sent.value) == record.value.as_ref()
            && sent.timestamp == record.timestamp
            && sent.headers.iter().eq(record.headers.iter().map(|(k, v)| (k.as_str(), v.as_deref())));
        let belongs = match (sent.to, &sent.key) {
            (Partition::Explicit(to), _) => to == partition,
            (Partition::Key, Some(key)) => {
                (1..=MOST_PARTITIONS).any(|count| partition_for_key(key, count) == partition)
            }
            _ => true,
        };
        if !same || !belongs {
            let to = (sent.topic, sent.to);
            broken("I3 truth", format!("{number}, sent to {to:?}, lies there like this: {record:?}"));
        }
        if self.rules.once && sent.places.iter().any(|(l, ..)| *l == life) {
            broken(
                "I5 twice",
                format!("{number} lies at {:?} and at {partition}@{}", sent.places, record.offset),
            );
        }
        if let Some(Err(error)) = &sent.outcome
            && !error.may_have_been_written()
        {
            broken("I7 honesty", format!("{number} lies at {partition}@{}: {error}", record.offset));
        }
        let first = !sent.places.iter().any(|(l, ..)| *l == life);
        sent.places.push((life, partition, record.offset));
        let caller = sent.caller;
        let log = self.logs.get_mut(&(topic, partition)).expect("it is being read");
        if log.end != record.offset && !(self.rules.marks && log.end < record.offset) {
            broken("I3 truth", format!("the log of {topic}-{partition} has a hole before {}", record.offset));
        }
        log.end = record.offset + 1;
        let latest = log.latest.entry(caller).or_insert(number);
        let promised = match self.rules.order {
            Order::Strict => life == 0 || self.rules.topics_have_ids,
            Order::FirstCopies => first,
            Order::NotPromised => false,
        };
        if promised && *latest > number {
            broken("I6 order", format!("{number} lies behind {latest} in {topic}-{partition}"));
        }
        *latest = number.max(*latest);
    }

    // ---- after every step

    /// Looks at everything that has not ended.
    pub(super) fn look(&mut self, now: Duration) {
        for _ in 0..self.pending.len() {
            let number = self.pending.pop_front().expect("counted above");
            let sent = &self.sent[number];
            let answer = lock(&sent.handle).try_get();
            match answer {
                None => {
                    if now > sent.at + self.rules.time_limit {
                        broken(
                            "I2 time",
                            format!("{number} was sent at {:?} and has not ended at {now:?}", sent.at),
                        );
                    }
                    self.pending.push_back(number);
                }
                Some(answer) => {
                    self.charged -= sent.charge;
                    self.on_outcome(number, answer);
                }
            }
        }
    }

    fn on_outcome(&mut self, number: usize, outcome: Result<RecordMetadata, DeliveryError>) {
        let sent = &self.sent[number];
        if sent.has_callback && sent.calls == 0 {
            broken("I1 once", format!("the handle of {number} has its answer, its callback was not called"));
        }
        match &outcome {
            Ok(metadata) => {
                self.tally.delivered += 1;
                let lies_there = sent
                    .places
                    .iter()
                    .any(|(_, p, offset)| (*p, *offset) == (metadata.partition(), metadata.offset()));
                if metadata.topic() != sent.topic || metadata.timestamp() != sent.timestamp {
                    broken(
                        "I3 truth",
                        format!("{number}, stamped {}, was said to be {metadata:?}", sent.timestamp),
                    );
                }
                // A topic that was created again refuses as a duplicate what the one before it has taken.
                let lay_elsewhere = self.lives.contains_key(sent.topic) && !sent.places.is_empty();
                if self.rules.offsets != metadata.has_offset() && !lay_elsewhere {
                    broken(
                        "I3 truth",
                        format!("{number} was acknowledged as {metadata}, and lies at {:?}", sent.places),
                    );
                }
                if self.rules.offsets && sent.places.is_empty() {
                    broken("I4 loss", format!("{number} was acknowledged as {metadata}, and lies nowhere"));
                }
                if metadata.has_offset() && !lies_there {
                    broken(
                        "I3 truth",
                        format!("{number} was acknowledged as {metadata}, and lies at {:?}", sent.places),
                    );
                }
            }
            Err(error) if error.may_have_been_written() => self.tally.doubtful += 1,
            Err(error) => {
                self.tally.refused += 1;
                if !sent.places.is_empty() {
                    broken("I7 honesty", format!("{number} lies at {:?}: {error}", sent.places));
                }
            }
        }
        self.sent[number].outcome = Some(outcome);
    }

    /// What can be seen without looking at anything in particular. `free`: what nobody has of `buffer.memory`.
    /// `in_sockets`: batches that were handed to sockets and not taken by them.
    pub(super) fn after_step(
        &mut self,
        now: Duration,
        free: Option<usize>,
        in_sockets: &[&[u8]],
        complaints: &[String],
    ) {
        self.tally.steps += 1;
        if let Some(complaint) = complaints.first() {
            broken("I13 wire", complaint.clone());
        }
        if let Some(&oldest) = self.pending.front()
            && now > self.sent[oldest].at + self.rules.time_limit
        {
            self.look(now);
        }
        let Some(free) = free else { return };
        if free > self.rules.memory {
            broken(
                "I8 memory",
                format!("{free} bytes are free, there were never more than {}", self.rules.memory),
            );
        }
        let used = self.rules.memory - free;
        if used < self.charged + self.owed_to(in_sockets) {
            // Some of them may have ended since the last look.
            self.look(now);
            let (charged, owed) = (self.charged, self.owed_to(in_sockets));
            if used < charged + owed {
                let what = format!("records of {charged} bytes have not ended, {owed} more wait for sockets");
                broken("I8 memory", format!("{what}, only {used} are accounted for"));
            }
        }
    }

    /// The bytes of batches whose records have ended: they are in use nevertheless.
    fn owed_to(&self, in_sockets: &[&[u8]]) -> usize {
        let has_ended = |batch: &&&[u8]| {
            let number = batch.windows(NUMBER_LEN + 1).find_map(|bytes| match bytes.split_last() {
                Some((b' ', number)) if number.iter().all(u8::is_ascii_digit) => {
                    std::str::from_utf8(number).ok()?.parse::<usize>().ok()
                }
                _ => None,
            });
            number.and_then(|number| self.sent.get(number)).is_some_and(|sent| sent.outcome.is_some())
        };
        in_sockets.iter().filter(has_ended).map(|batch| batch.len() - HEADER_LEN).sum()
    }

    /// The night is over and every record has ended. `free`: what nobody has of `buffer.memory`, while the producer
    /// lives.
    pub(super) fn close(&mut self, now: Duration, free: Option<usize>) {
        self.look(now);
        if let Some(open) = self.pending.front() {
            broken("I1 once", format!("{open} never ended"));
        }
        if free.is_some_and(|free| free != self.rules.memory) {
            broken(
                "I8 memory",
                format!("of {} bytes {free:?} are free, and nothing is left to do", self.rules.memory),
            );
        }
        for (number, sent) in self.sent.iter().enumerate() {
            if sent.calls != u32::from(sent.has_callback) {
                broken("I1 once", format!("the callback of {number} was called {} times", sent.calls));
            }
            let answer = lock(&sent.handle).try_get();
            let same = match (&sent.outcome, &answer) {
                (Some(Ok(a)), Some(Ok(b))) => a == b,
                (Some(Err(a)), Some(Err(b))) => a.to_string() == b.to_string(),
                _ => false,
            };
            if !same {
                broken("I1 once", format!("{number} ended as {:?} and then as {answer:?}", sent.outcome));
            }
        }
    }
}

/// A promise was not kept.
#[track_caller]
pub(super) fn broken(invariant: &str, story: String) -> ! {
    panic!("{invariant}: {story}");
}

/// A lock that a panic in another night does not spoil.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a record's value begins with; the rest of it is there for its size.
pub(super) fn value_of(number: usize, size: usize) -> Vec<u8> {
    let mut value = format!("{number:0NUMBER_LEN$} ").into_bytes();
    value.resize(value.len().max(size), b'.');
    value
}

pub(super) fn number_of(record: &Record) -> Option<usize> {
    record.value_str()?.split(' ').next()?.parse().ok()
}

/// The shortest that a backoff may be after so many failures: jitter takes a fifth at most.
fn least((base, max): (Duration, Duration), failures: u32) -> Duration {
    base.saturating_mul(1 << failures.min(20)).min(max).mul_f64(0.8)
}

/// What a batch may take beyond its time: its end is looked at once a step, and its callback comes first.
const GRACE: Duration = Duration::from_millis(500);

/// A night has fewer records than there are such numbers.
const NUMBER_LEN: usize = 6;

/// No topic of any night has more.
const MOST_PARTITIONS: i32 = 8;

const PRODUCE: i16 = 0;
const METADATA: i16 = 3;
