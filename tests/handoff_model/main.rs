//! A model check of `src/handoff`: its files are compiled here once more over [shuttle](https://docs.rs/shuttle)'s
//! locks, atomics and threads, and small plays of callers against a sender thread are run with thousands of different
//! schedules. A schedule that leaves every thread asleep is reported as a deadlock, with a text that replays it
//! (`shuttle::replay`).
//!
//! The sender thread here sleeps *without limit* wherever it is promised that somebody will ring, so that a record
//! that was stranded or a waiter that was forgotten is such a deadlock.
//!
//! # What the check has been seen to catch
//!
//! A check that cannot fail proves nothing. Each of these changes, made by hand in `src/`, is found:
//!
//! | in | change |
//! |---|---|
//! | `receiver` | `doze` does not look into the lanes again, or at the channel, the gets, the count of flushes |
//! | `receiver` | a lane that was held is not looked into again; the sender thread pushes what it stole after unlocking the lane |
//! | `receiver` | close does not look into the lanes, or not into the channel after them; idle memory is not collected, or not given out before a sleep |
//! | `append` | the level is read before the lane is locked; a lane is counted as used after the level was read |
//! | `append` | a place in the channel is held while waiting for memory |
//! | `gates` | records are let in although something failed; the command that ends a transaction is sent before the records are barred |
//! | `hub` | a push is rung for before it is done; `get` does not push its record, or does not ring |
//! | `hub` | too few places are held while others are waited for; at level 3, few chunks so large that somebody waits for their places wake nobody |
//! | `hub` | flush does not push the lanes, or does not look whether it came after the last look into the channel; death only tries the lanes |
//! | `budget` | a waiter does not serve itself; one who is served does not wake the next; one who gives up does not let the next one pass |
//! | `cells`, `delivery` | waiters are woken before the cells are written; `get` does not look again before it parks; a dropped run settles nothing |
//!
//! Not found, because it harms nobody: ringing before the push at level 1, where the sender thread meets a lane
//! that is held and looks again. It has found that levels 3 and 4 did not see a flush that was already in the
//! channel.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "most of these files is meant for the rest of the crate, which is not here"
)]

#[path = "../../src"]
mod source {
    pub(crate) mod delivery;
    pub(crate) mod error;
    pub(crate) mod offsets;
    pub(crate) mod partitioner;
    pub(crate) mod record;
    pub(crate) mod wire {
        pub(crate) mod primitives;
        pub(crate) mod record;
    }
    pub(crate) mod handoff {
        pub(crate) mod append;
        pub(crate) mod budget;
        pub(crate) mod callback;
        pub(crate) mod cells;
        pub(crate) mod chunk;
        pub(crate) mod context;
        pub(crate) mod gates;
        pub(crate) mod hub;
        pub(crate) mod lane;
        pub(crate) mod promise;
        pub(crate) mod receiver;
        #[path = "../../tests/handoff_model/sizes.rs"]
        pub(crate) mod sizes;
        pub(crate) mod snapshot;
        pub(crate) mod spare;
        #[path = "../../tests/handoff_model/sync.rs"]
        pub(crate) mod sync;
        pub(crate) mod topics;
        pub(crate) mod transaction;
    }
}

use std::{collections::HashMap, time::Duration};

use shuttle::{
    Config,
    rand::{Rng, thread_rng},
    scheduler::{PctScheduler, RandomScheduler, Scheduler},
    sync::{Arc, Condvar, Mutex, atomic::AtomicUsize, atomic::Ordering},
    thread,
};

pub(crate) use source::{delivery, error, handoff, offsets, partitioner, record, wire};

use delivery::DeliveryFuture;
use error::{FlushError, SendError, SendErrorKind, TransactionErrorKind};
use handoff::{
    append::{Entry, Partition},
    budget::{Budget, Exhausted},
    cells::{Run, Settling},
    chunk::{Chunk, charge},
    context::{End, Patience},
    hub::{Bell, Command, Hub, HubConfig, Level},
    receiver::HubReceiver,
    snapshot::{Snapshot, TopicView},
    transaction::{TransactionCall, TransactionRequest},
};
use record::Headers;
use wire::record::body_len;

/// Runs a play with many schedules: wholly random ones, and such as switch threads seldom but at any place.
fn check(play: fn()) {
    fn run(scheduler: impl Scheduler + 'static, play: fn()) {
        let mut config = Config::new();
        config.silence_warnings = true;
        shuttle::Runner::new(scheduler, config).run(play);
    }
    run(RandomScheduler::new(ROUNDS), play);
    run(PctScheduler::new(3, ROUNDS), play);
}

const ROUNDS: usize = 1000;

/// What the sender thread sleeps on.
#[derive(Clone)]
struct Sleep(Arc<(Mutex<bool>, Condvar)>);

impl Bell for Sleep {
    fn ring(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

impl Sleep {
    /// Until somebody rings.
    fn sleep(&self) {
        let mut rung = self.0.0.lock().unwrap();
        while !*rung {
            rung = self.0.1.wait(rung).unwrap();
        }
        *rung = false;
    }
}

/// The sender thread of a play.
struct Sender {
    receiver: HubReceiver,
    sleep: Sleep,
    /// The levels that it sleeps at, in any order.
    levels: &'static [Level],
    /// Sleeps until somebody rings at every level, as if a tick never came.
    tickless: bool,
    /// In the order in which they came.
    values: Vec<String>,
}

/// How a turn ended.
#[derive(PartialEq)]
enum Turn {
    GoesOn,
    Closed,
}

impl Sender {
    fn start(config: HubConfig) -> (Arc<Hub>, Self) {
        let sleep = Sleep(Arc::new((Mutex::new(false), Condvar::new())));
        let (hub, receiver) = Hub::new(config, Box::new(sleep.clone()));
        let sender = Self { receiver, sleep, levels: &ALL, tickless: false, values: Vec::new() };
        publish(&hub, 1);
        (hub, sender)
    }

    /// Takes what there is, and acknowledges it.
    fn turn(&mut self) -> Turn {
        let hub = Arc::clone(self.receiver.hub());
        for (cells, cell) in self.receiver.take_gets() {
            if cells.place(cell).is_none() {
                self.receiver.keep_get(cells, cell);
            }
        }
        while let Some(command) = self.receiver.try_recv() {
            match command {
                Command::Chunk(chunk) => self.acknowledge(&hub, chunk),
                Command::Flush(promise) => promise.fulfil(),
                Command::Transaction(request) => {
                    let (call, reply) = request.into_parts();
                    self.values.push(call.name().to_owned());
                    reply.settle(Ok(())).fulfil();
                }
                Command::Close => return Turn::Closed,
            }
        }
        Turn::GoesOn
    }

    fn acknowledge(&mut self, hub: &Hub, mut chunk: Chunk) {
        let mut settling = Settling::new();
        let mut runs: Vec<Run> = Vec::new();
        let mut done = 0;
        while let Some(record) = chunk.take_next() {
            record.cells.set_place(record.cell, record.topic, 0);
            // A key of null, one byte of length, the value, a count of no headers.
            let value = &record.body[2..record.body.len() - 1];
            self.values.push(String::from_utf8_lossy(value).into_owned());
            done += charge(record.body.len());
            if !runs.last_mut().is_some_and(|run| run.extend(record.cells, record.cell)) {
                runs.push(Run::start(record.cells, record.cell));
            }
        }
        for run in runs {
            settling.acknowledge(run, Some(0), None);
        }
        hub.recycle(chunk.into_buffer());
        settling.finish();
        hub.budget().release(done);
    }

    fn sleep(&mut self) {
        let level = self.levels[thread_rng().gen_range(0..self.levels.len())];
        let Some(limit) = self.receiver.doze(level) else { return };
        if limit == Duration::MAX || (self.tickless && limit != BUSY) {
            self.sleep.sleep();
        } else {
            thread::yield_now();
        }
        self.receiver.awake();
        if limit != Duration::MAX && limit != BUSY && !self.tickless {
            self.receiver.steal_all();
            if self.receiver.lacks_memory() {
                self.receiver.reclaim_credit();
            }
        }
    }

    /// Goes on until so many records have come, and says which.
    fn until(mut self, records: usize) -> Vec<String> {
        while self.values.len() < records {
            self.turn();
            if self.values.len() < records {
                self.sleep();
            }
        }
        self.ended()
    }

    /// Goes on until it is closed, and says what has come.
    fn until_closed(mut self) -> Vec<String> {
        while self.turn() == Turn::GoesOn {
            self.sleep();
        }
        self.ended()
    }

    fn ended(self) -> Vec<String> {
        self.receiver.hub().die(End::Closed);
        self.values
    }
}

const ALL: [Level; 4] = [Level::AnyRecord, Level::AnyChunk, Level::ManyChunks, Level::NothingButUrgent];

/// How long a thread sleeps that has met a lane in use.
const BUSY: Duration = Duration::from_millis(1);

fn publish(hub: &Hub, count: i32) {
    let id = hub.topics().intern("t").unwrap().0 as usize;
    let view = TopicView { count, ..TopicView::default() };
    let mut snapshot = Snapshot { topics: vec![None; id + 1], ..Snapshot::default() };
    snapshot.topics[id] = Some(std::sync::Arc::new(view));
    hub.published().publish(snapshot);
}

/// Two small records to a chunk.
fn config() -> HubConfig {
    HubConfig {
        buffer_memory: 1 << 20,
        chunk_bytes: 64,
        memory_for_chunks: 0,
        channel_capacity: 2,
        linger: Duration::from_millis(5),
        ring_threshold: 2,
    }
}

fn send(hub: &Hub, value: &str) -> Result<DeliveryFuture, SendErrorKind> {
    send_within(hub, value, Duration::MAX)
}

/// A limit other than the longest is one that may pass at any time.
fn send_within(hub: &Hub, value: &str, limit: Duration) -> Result<DeliveryFuture, SendErrorKind> {
    let entry = Entry {
        topic: "t",
        partition: Partition::Open,
        timestamp: None,
        key: None,
        value: Some(value.as_bytes()),
        headers: &Headers::new(),
        body_len: body_len(None, Some(value.as_bytes()), &[]),
        callback: None,
    };
    hub.append(entry, &mut Patience::new(limit)).map_err(SendError::into_kind)
}

/// So large that it has a chunk to itself, or with `chunk_bytes: 64` a buffer of its own.
fn large(value: &str) -> String {
    format!("{value:-<50}")
}

fn send_three_large(hub: &Hub, caller: usize) {
    for number in 0..3 {
        send(hub, &large(&format!("{caller} {number}"))).unwrap();
    }
}

fn spawn_callers<T: Send + 'static>(
    hub: &Arc<Hub>,
    count: usize,
    caller: impl Fn(&Hub, usize) -> T + Send + Sync + 'static,
) -> Vec<thread::JoinHandle<T>> {
    let caller = Arc::new(caller);
    (0..count)
        .map(|number| {
            let (hub, caller) = (Arc::clone(hub), Arc::clone(&caller));
            thread::spawn(move || caller(&hub, number))
        })
        .collect()
}

fn join<T>(threads: Vec<thread::JoinHandle<T>>) -> Vec<T> {
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

/// Values are `caller number`: those of one caller must have come in the order of their numbers, none missing.
fn assert_in_order(values: &[String]) {
    let mut next = HashMap::<&str, usize>::new();
    for value in values {
        let (caller, number) = value.trim_end_matches('-').split_once(' ').unwrap();
        let next = next.entry(caller).or_default();
        assert_eq!(number, next.to_string(), "caller {caller} out of order: {values:?}");
        *next += 1;
    }
}

/// Everything that was taken of the memory has come back.
fn assert_nothing_held(hub: &Hub) {
    assert_eq!(hub.budget().free(), hub.budget().limit());
}

#[test]
fn an_idle_sender_thread_learns_of_every_record() {
    check(|| {
        let (hub, mut sender) = Sender::start(config());
        sender.levels = &[Level::AnyRecord];
        // Four callers on three lanes; nobody waits for anything.
        let callers = spawn_callers(&hub, 4, |hub, caller| {
            for number in 0..2 {
                send(hub, &format!("{caller} {number}")).unwrap();
            }
        });
        assert_in_order(&sender.until(8));
        join(callers);
        assert_nothing_held(&hub);
    });
}

#[test]
fn an_idle_sender_thread_learns_of_the_first_record_of_all() {
    check(|| {
        let (hub, mut sender) = Sender::start(config());
        sender.levels = &[Level::AnyRecord];
        let callers = spawn_callers(&hub, 1, |hub, _| drop(send(hub, "0 0").unwrap()));
        assert_in_order(&sender.until(1));
        join(callers);
    });
}

#[test]
fn a_sender_thread_that_waits_for_chunks_learns_of_every_chunk() {
    check(|| {
        // With a place for each: a chunk that finds none is left in its lane, for the next tick.
        let (hub, mut sender) = Sender::start(HubConfig { channel_capacity: 6, ..config() });
        sender.levels = &[Level::AnyChunk];
        sender.tickless = true;
        let callers = spawn_callers(&hub, 3, |hub, caller| {
            for number in 0..2 {
                send(hub, &large(&format!("{caller} {number}"))).unwrap();
            }
        });
        assert_in_order(&sender.until(6));
        join(callers);
    });
}

#[test]
fn who_waits_for_a_record_needs_no_tick() {
    check(|| {
        let (hub, mut sender) = Sender::start(config());
        sender.tickless = true;
        // A thread of its own for each: some wait at once, some for all that they have sent.
        let callers = spawn_callers(&hub, 3, |hub, caller| {
            let handles: Vec<_> =
                (0..2).map(|number| send(hub, &format!("{caller} {number}")).unwrap()).collect();
            for handle in handles.iter().rev() {
                handle.get().unwrap();
            }
        });
        assert_in_order(&sender.until(6));
        join(callers);
    });
}

#[test]
fn without_linger_either() {
    check(|| {
        let (hub, mut sender) = Sender::start(HubConfig { linger: Duration::ZERO, ..config() });
        // With room in flight: see `Level::AnyRecord`.
        sender.levels = &[Level::AnyRecord];
        let callers = spawn_callers(&hub, 3, |hub, caller| {
            for number in 0..2 {
                send(hub, &format!("{caller} {number}")).unwrap().get().unwrap();
            }
        });
        assert_in_order(&sender.until(6));
        join(callers);
    });
}

#[test]
fn several_threads_and_a_task_wait_for_one_record() {
    check(|| {
        let (hub, mut sender) = Sender::start(config());
        sender.tickless = true;
        let sender = thread::spawn(move || sender.until(2));
        let handle = Arc::new(send(&hub, "a 0").unwrap());
        let task = send(&hub, "a 1").unwrap();
        let waiting: Vec<_> = (0..2)
            .map(|_| {
                let handle = Arc::clone(&handle);
                thread::spawn(move || handle.get().map(drop))
            })
            .collect();
        let patient = {
            let handle = Arc::clone(&handle);
            // Looks after its time is over as well.
            thread::spawn(move || while handle.get_timeout(BUSY).is_none() {})
        };
        shuttle::future::block_on(task).unwrap();
        join(waiting).into_iter().for_each(Result::unwrap);
        patient.join().unwrap();
        sender.join().unwrap();
    });
}

#[test]
fn a_full_channel_lets_everybody_pass_in_the_end() {
    check(|| {
        let (hub, mut sender) = Sender::start(HubConfig { channel_capacity: 1, ..config() });
        sender.levels = &[Level::AnyRecord, Level::AnyChunk, Level::NothingButUrgent];
        let callers = spawn_callers(&hub, 4, send_three_large);
        assert_in_order(&sender.until(12));
        join(callers);
        assert_nothing_held(&hub);
    });
}

#[test]
fn a_full_channel_wakes_a_sender_thread_that_waits_for_nothing_else() {
    check(|| {
        let (hub, mut sender) = Sender::start(config());
        sender.levels = &[Level::ManyChunks, Level::NothingButUrgent];
        sender.tickless = true;
        let sender = thread::spawn(move || sender.until_closed());
        let callers = spawn_callers(&hub, 3, |hub, caller| {
            send_three_large(hub, caller);
            hub.flush(None).unwrap();
        });
        join(callers);
        hub.close_lanes();
        hub.close_command();
        let values = sender.join().unwrap();
        assert_eq!(values.len(), 9);
        assert_in_order(&values);
    });
}

/// Who needs several places neither holds some of them while waiting for the others, nor lets those pass who come later.
#[test]
fn records_of_several_places_let_everybody_pass_in_the_end() {
    check(|| {
        let config = HubConfig { chunk_bytes: 24, channel_capacity: 3, ..config() };
        let (hub, mut sender) = Sender::start(config);
        sender.levels = &[Level::AnyChunk, Level::ManyChunks, Level::NothingButUrgent];
        sender.tickless = true;
        let sender = thread::spawn(move || sender.until_closed());
        let callers = spawn_callers(&hub, 3, |hub, caller| {
            // Of two places, of one, and of all that there are.
            for (number, size) in [30, 3, 60].into_iter().enumerate() {
                let value = format!("{caller} {number}");
                send(hub, &format!("{value:-<size$}")).unwrap();
            }
            hub.flush(None).unwrap();
        });
        join(callers);
        hub.close_lanes();
        hub.close_command();
        let values = sender.join().unwrap();
        assert_eq!(values.len(), 9);
        assert_in_order(&values);
        assert_nothing_held(&hub);
    });
}

#[test]
fn flush_waits_for_what_was_sent_before_it() {
    check(|| {
        let (hub, mut sender) = Sender::start(config());
        sender.tickless = true;
        let sender = thread::spawn(move || sender.until_closed());
        let callers = spawn_callers(&hub, 3, |hub, caller| {
            for number in 0..2 {
                let handle = send(hub, &format!("{caller} {number}")).unwrap();
                hub.flush(None).unwrap();
                assert!(handle.is_done(), "flush came back too early");
            }
        });
        join(callers);
        hub.close_lanes();
        hub.close_command();
        let values = sender.join().unwrap();
        assert_eq!(values.len(), 6);
        assert_in_order(&values);
    });
}

#[test]
fn waiting_for_memory_ends() {
    check(|| {
        // Memory for three of them, and a place in the channel for one.
        let memory = 3 * charge(3 + 50);
        let (hub, mut sender) =
            Sender::start(HubConfig { buffer_memory: memory, channel_capacity: 1, ..config() });
        sender.levels = &[Level::AnyRecord];
        let callers = spawn_callers(&hub, 4, send_three_large);
        assert_in_order(&sender.until(12));
        join(callers);
        assert_nothing_held(&hub);
    });
}

#[test]
fn waiting_for_memory_ends_although_a_broker_stalls() {
    check(|| {
        // What the stalled broker leaves is less than an eighth, and room for one record.
        let (stalled, small) = (1000, charge(3 + 50));
        let (hub, mut sender) = Sender::start(HubConfig { buffer_memory: stalled + small + 10, ..config() });
        sender.levels = &[Level::AnyRecord];
        assert!(hub.budget().try_take(stalled));
        let callers = spawn_callers(&hub, 3, |hub, caller| {
            send(hub, &large(&format!("{caller} 0"))).unwrap();
        });
        assert_in_order(&sender.until(3));
        join(callers);
        hub.budget().release(stalled);
        assert_nothing_held(&hub);
    });
}

#[test]
fn waiting_for_memory_that_idles_in_lanes_ends() {
    check(|| {
        // Also where something is in flight all the time, and only the tick has it collected.
        for levels in [&[Level::AnyRecord, Level::NothingButUrgent][..], &[Level::ManyChunks]] {
            memory_that_idles_in_lanes_is_needed(levels);
        }
    });
}

fn memory_that_idles_in_lanes_is_needed(levels: &'static [Level]) {
    // A lane takes a sixty-fourth at a time, and one record needs all there is.
    let memory = 64 * 200;
    let (hub, mut sender) = Sender::start(HubConfig { buffer_memory: memory, ..config() });
    sender.levels = levels;
    let callers = spawn_callers(&hub, 3, move |hub, caller| {
        if caller == 0 {
            send(hub, &format!("{:-<1$}", "0 0", memory - 64 - 6)).unwrap();
        } else {
            send(hub, &format!("{caller} 0")).unwrap();
            send(hub, &format!("{caller} 1")).unwrap();
        }
    });
    sender.until(5);
    join(callers);
    assert_nothing_held(&hub);
}

#[test]
fn one_release_serves_all_for_whom_there_is_enough() {
    check(|| {
        let budget = Arc::new(Budget::new(3));
        assert!(budget.try_take(3));
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let budget = Arc::clone(&budget);
                thread::spawn(move || budget.take(1, None).unwrap())
            })
            .collect();
        budget.release(3);
        join(waiters);
        assert_eq!((budget.free(), budget.waiting()), (0, 0));
    });
}

#[test]
fn who_gives_up_does_not_stand_in_the_way() {
    check(|| {
        let budget = Arc::new(Budget::new(3));
        assert!(budget.try_take(2));
        let greedy = budget.queue_up(2, 2);
        let modest = {
            let budget = Arc::clone(&budget);
            thread::spawn(move || budget.take(1, None).unwrap())
        };
        drop(greedy);
        modest.join().unwrap();
        assert_eq!((budget.free(), budget.waiting()), (0, 0));
    });
}

#[test]
fn memory_is_given_out_in_order_and_never_lost() {
    check(|| {
        let budget = Arc::new(Budget::new(2));
        assert!(budget.try_take(2));
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tickets = Vec::new();
        for number in 0..3 {
            let (other, order) = (Arc::clone(&budget), Arc::clone(&order));
            tickets.push(thread::spawn(move || {
                // The second one loses its patience, perhaps.
                let deadline = (number == 1).then(handoff::sync::now);
                if other.take(2, deadline).is_ok() {
                    order.lock().unwrap().push(number);
                    other.release(2);
                }
            }));
            while budget.arrivals() <= number {
                thread::yield_now();
            }
        }
        budget.release(1);
        budget.release(1);
        join(tickets);
        assert_eq!((budget.free(), budget.waiting()), (2, 0));
        let order = order.lock().unwrap();
        assert!(order.first() == Some(&0) && order.contains(&2), "{order:?}");
    });
}

#[test]
fn impatient_callers_leave_nothing_behind() {
    check(|| {
        let memory = charge(3 + 50);
        let (hub, mut sender) =
            Sender::start(HubConfig { buffer_memory: memory, channel_capacity: 1, ..config() });
        sender.levels = &[Level::AnyRecord];
        let sender = thread::spawn(move || sender.until_closed());
        let callers = spawn_callers(&hub, 3, |hub, caller| {
            (0..2)
                .filter(|number| send_within(hub, &large(&format!("{caller} {number}")), BUSY).is_ok())
                .count()
        });
        let accepted: usize = join(callers).iter().sum();
        hub.close_lanes();
        hub.close_command();
        assert_eq!(sender.join().unwrap().len(), accepted);
        assert_nothing_held(&hub);
    });
}

#[test]
fn close_loses_nothing_that_was_accepted() {
    check(|| {
        let (hub, mut sender) = Sender::start(config());
        sender.tickless = true;
        let sender = thread::spawn(move || sender.until_closed());
        let callers = spawn_callers(&hub, 3, |hub, caller| {
            let mut handles = Vec::new();
            for number in 0..3 {
                match send(hub, &large(&format!("{caller} {number}"))) {
                    Ok(handle) => handles.push(handle),
                    Err(error) => {
                        assert!(matches!(error, SendErrorKind::Closed), "{error}");
                        break;
                    }
                }
            }
            for handle in &handles {
                handle.get().unwrap();
            }
            handles.len()
        });
        hub.close_lanes();
        hub.close_command();
        let accepted: usize = join(callers).iter().sum();
        let values = sender.join().unwrap();
        assert_eq!(values.len(), accepted);
        assert_in_order(&values);
        assert_nothing_held(&hub);
    });
}

/// Makes a call and waits for its answer.
fn call(hub: &Hub, call: TransactionCall) {
    let (request, answer) = TransactionRequest::new(call);
    hub.send_after_records(Command::Transaction(request), None).unwrap();
    answer.wait(None).unwrap().unwrap().unwrap();
}

/// One thread makes transactions, others send all the time. Each record lies between a begin and its commit, and none
/// that was accepted is missing: so it is part of one transaction, the one that was open when it was accepted.
#[test]
fn a_record_is_part_of_the_open_transaction_or_refused() {
    check(|| {
        let (hub, sender) = Sender::start(config());
        hub.bar_records();
        let sender = thread::spawn(move || sender.until_closed());
        let callers = spawn_callers(&hub, 2, |hub, caller| {
            let mut accepted = 0;
            for _ in 0..4 {
                match send(hub, &format!("{caller} {accepted}")) {
                    Ok(_) => accepted += 1,
                    Err(error) => assert!(matches!(error, SendErrorKind::Transaction(_)), "{error}"),
                }
            }
            accepted
        });
        for _ in 0..2 {
            call(&hub, TransactionCall::Begin);
            hub.let_records_in();
            assert!(send(&hub, "me 0").is_ok());
            hub.bar_records();
            assert!(send(&hub, "me 1").is_err());
            call(&hub, TransactionCall::Commit);
        }
        let accepted: usize = join(callers).into_iter().sum();
        hub.close_lanes();
        hub.close_command();
        let values = sender.join().unwrap();
        let (mut open, mut records, mut transactions) = (false, 0, 0);
        for value in &values {
            match &**value {
                "begin_transaction" => open = true,
                "commit_transaction" => {
                    open = false;
                    transactions += 1;
                }
                _ => {
                    assert!(open, "{value} lies outside: {values:?}");
                    records += 1;
                }
            }
        }
        assert_eq!((records, transactions), (accepted + 2, 2), "{values:?}");
    });
}

/// The sender thread finds that something failed while a caller lets records in: whichever comes first, none is let in
/// afterwards.
#[test]
fn a_failure_is_not_undone_by_a_begin() {
    check(|| {
        let (hub, mut sender) = Sender::start(config());
        hub.bar_records();
        let failing = {
            let hub = Arc::clone(&hub);
            let failure = TransactionErrorKind::Abortable { code: None, cause: "a play".into() };
            thread::spawn(move || hub.fail_transaction(failure.into()))
        };
        let sending = spawn_callers(&hub, 1, |hub, _| _ = send(hub, "0 0"));
        hub.let_records_in();
        failing.join().unwrap();
        let refused = send(&hub, "1 0").unwrap_err();
        assert!(matches!(refused, SendErrorKind::Transaction(_)), "{refused}");
        join(sending);
        hub.mend_transaction();
        hub.let_records_in();
        assert!(send(&hub, "2 0").is_ok());
        sender.receiver.steal_all();
        sender.turn();
    });
}

#[test]
fn a_forced_close_ends_every_wait() {
    check(|| {
        let memory = 2 * charge(3 + 50);
        let (hub, sender) =
            Sender::start(HubConfig { buffer_memory: memory, channel_capacity: 1, ..config() });
        // It takes nothing any more: all that it does is to see that it has to end.
        let mut sender = sender;
        let sender = thread::spawn(move || {
            while !sender.receiver.is_forced() {
                if sender.receiver.doze(Level::NothingButUrgent).is_some() {
                    sender.sleep.sleep();
                    sender.receiver.awake();
                } else {
                    thread::yield_now();
                }
            }
            sender.ended()
        });
        let callers = spawn_callers(&hub, 3, |hub, caller| {
            for number in 0..2 {
                if let Ok(handle) = send(hub, &large(&format!("{caller} {number}"))) {
                    assert!(handle.get().is_err());
                }
            }
        });
        hub.force_close();
        join(callers);
        sender.join().unwrap();
        assert_nothing_held(&hub);
    });
}

#[test]
fn the_death_of_the_sender_thread_ends_every_wait() {
    check(|| {
        let memory = 3 * charge(3 + 50);
        let (hub, mut sender) =
            Sender::start(HubConfig { buffer_memory: memory, channel_capacity: 1, ..config() });
        let sender = thread::spawn(move || {
            for _ in 0..thread_rng().gen_range(0..4) {
                sender.turn();
            }
            // A record in a batch that nobody settles.
            let lost = match sender.receiver.try_recv() {
                Some(Command::Chunk(mut chunk)) => {
                    let record = chunk.take_next().unwrap();
                    let memory = charge(record.body.len());
                    let run = Run::start(record.cells, record.cell);
                    Some((chunk, run, memory))
                }
                _ => None,
            };
            let hub = Arc::clone(sender.receiver.hub());
            drop(sender);
            if let Some((chunk, run, memory)) = lost {
                drop((chunk, run));
                hub.budget().release(memory);
            }
        });
        let mut threads = spawn_callers(&hub, 2, |hub, caller| {
            for number in 0..3 {
                match send(hub, &large(&format!("{caller} {number}"))) {
                    Ok(handle) if number % 2 == caller => _ = handle.get(),
                    Ok(_) => {}
                    Err(error) => assert!(matches!(error, SendErrorKind::Failed { .. }), "{error}"),
                }
            }
        });
        threads.extend(spawn_callers(&hub, 1, |hub, _| {
            if let Err(error) = hub.flush(None) {
                assert!(matches!(error, FlushError::Failed { .. }), "{error}");
            }
        }));
        threads.extend(spawn_callers(&hub, 1, |hub, _| {
            let error = hub.topic_view("unknown", None, &mut Patience::new(Duration::MAX)).unwrap_err();
            assert!(matches!(error, SendErrorKind::Failed { .. }), "{error}");
        }));
        join(threads);
        sender.join().unwrap();
        assert_nothing_held(&hub);
    });
}

#[test]
fn metadata_that_is_wished_for_arrives() {
    check(|| {
        let (hub, mut sender) = Sender::start(config());
        sender.tickless = true;
        // Every wish is granted with one partition more.
        let sender = thread::spawn(move || {
            let hub = Arc::clone(sender.receiver.hub());
            let mut count = 1;
            while sender.turn() == Turn::GoesOn {
                if !sender.receiver.take_wishes().is_empty() {
                    count += 1;
                    publish(&hub, count);
                }
                sender.sleep();
            }
            sender.ended();
        });
        let callers = spawn_callers(&hub, 2, |hub, caller| {
            let partition = Some(caller as i32 + 1);
            hub.topic_view("t", partition, &mut Patience::new(Duration::MAX)).unwrap();
            send(hub, &format!("{caller} 0")).unwrap().get().unwrap();
        });
        join(callers);
        hub.close_lanes();
        hub.close_command();
        sender.join().unwrap();
    });
}
