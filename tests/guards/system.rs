//! How often a producer's threads ask the system for something: to write, and to sleep.
//!
//! Linux counts both for each thread. One test at a time has a sender thread, so that it is known by its name; see
//! [`Bench`].

use std::{fs, path::PathBuf, thread, time::Duration};

use kafka_producer::ProducerRecord;

use crate::allocations::{Bench, TOPIC, VALUE};

/// Whatever it did before, and whatever its linger is: with nothing on its way it sleeps without limit.
#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "only Linux counts what a single thread does")]
fn a_connected_producer_with_nothing_to_do_is_never_woken() {
    for linger in [Duration::ZERO, Duration::from_millis(5), Duration::from_secs(60)] {
        let bench = Bench::with_linger(linger);
        let mut kept = Vec::new();
        for _ in 0..100 {
            kept.push(bench.producer.send(record()).unwrap());
            drop(bench.producer.send_with(record(), |outcome| drop(outcome.unwrap())).unwrap());
        }
        kept.iter().for_each(|handle| drop(handle.get().unwrap()));
        bench.producer.flush().unwrap();

        // The network thread and the one for callbacks.
        let threads = threads_of_producers();
        assert_eq!(threads.len(), 2);
        let counts = || threads.iter().map(Thread::counts).collect::<Vec<_>>();
        let mut last = counts();
        let came_to_rest = (0..100).any(|_| {
            pause(Duration::from_millis(50));
            let before = std::mem::replace(&mut last, counts());
            before == last
        });
        assert!(came_to_rest, "linger {linger:?}: still busy after five seconds, {last:?}");
        pause(QUIET);
        assert_eq!(counts(), last, "linger {linger:?}: somebody was awake within {QUIET:?}");
    }
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "only Linux counts what a single thread does")]
fn a_record_that_is_waited_for_costs_one_write_and_two_sleeps() {
    for linger in [Duration::ZERO, Duration::from_millis(5)] {
        let bench = Bench::with_linger(linger);
        let [sender] = &threads_of_producers()[..] else { panic!("there is one sender thread") };
        let caller = Thread::this();
        let send_and_wait = || drop(bench.producer.send(record()).unwrap().get().unwrap());
        send_and_wait();
        let before = (sender.counts(), caller.counts());
        (0..ROUNDS).for_each(|_| send_and_wait());
        let what = format!("send and get, linger {linger:?}");
        // The request. One sleep for the record, one for its answer.
        sender.expect(&format!("{what}, the sender thread"), before.0, ROUNDS, 1_050, 2_150);
        // The bell, if the sender thread sleeps already; one sleep for the answer.
        caller.expect(&format!("{what}, the caller"), before.1, ROUNDS, 1_050, 1_150);
    }
}

/// With one partition, a request is a batch of 150 records, and so is a chunk.
#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "only Linux counts what a single thread does")]
fn records_that_nobody_waits_for_share_their_system_calls() {
    const BURST: u64 = 1_000;
    let bench = Bench::with_linger(Duration::from_secs(60));
    let [sender] = &threads_of_producers()[..] else { panic!("there is one sender thread") };
    let caller = Thread::this();
    let before = (sender.counts(), caller.counts());
    for _ in 0..ROUNDS / BURST * 10 {
        for _ in 0..BURST {
            drop(bench.producer.send(record()).unwrap());
        }
        bench.producer.flush().unwrap();
    }
    let records = ROUNDS * 10;
    // Seven requests for each burst, each of which may be taken in two pieces; a sleep before each, and one after.
    sender.expect("bursts, the sender thread", before.0, records, 16, 24);
    // Seven chunks and a flush; a sleep for the flush.
    caller.expect("bursts, the caller", before.1, records, 10, 10);
}

fn record() -> ProducerRecord<'static> {
    ProducerRecord::new(TOPIC, VALUE)
}

/// A thread of this process.
struct Thread(PathBuf);

/// What it has done so far.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Counts {
    writes: u64,
    /// How often it gave up its core of its own accord.
    sleeps: u64,
}

impl Thread {
    fn this() -> Self {
        Self(fs::read_link("/proc/thread-self").map(|link| PathBuf::from("/proc").join(link)).unwrap())
    }

    fn counts(&self) -> Counts {
        let read = |file: &str, field: &str| {
            let text = fs::read_to_string(self.0.join(file)).unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix(field));
            line.and_then(|rest| rest.trim().parse().ok()).expect("the system counts it")
        };
        Counts { writes: read("io", "syscw:"), sleeps: read("status", "voluntary_ctxt_switches:") }
    }

    /// At most so many `writes` and `sleeps` for a thousand records.
    fn expect(&self, what: &str, before: Counts, records: u64, writes: u64, sleeps: u64) {
        let now = self.counts();
        let wrote = (now.writes - before.writes) * 1_000 / records;
        let slept = (now.sleeps - before.sleeps) * 1_000 / records;
        println!("{what}: {wrote} writes and {slept} sleeps for a thousand records");
        assert!(wrote <= writes, "{what}: {wrote} writes for a thousand records, not {writes}");
        assert!(slept <= sleeps, "{what}: {slept} sleeps for a thousand records, not {sleeps}");
    }
}

/// The system shows the first fifteen characters of a thread's name.
fn threads_of_producers() -> Vec<Thread> {
    let folders = fs::read_dir("/proc/self/task").unwrap().map(|entry| entry.unwrap().path());
    folders
        .filter(|folder| {
            fs::read_to_string(folder.join("comm")).is_ok_and(|name| name == "kafka-producer-\n")
        })
        .map(Thread)
        .collect()
}

/// Not for something to happen, but to see that nothing does.
#[allow(clippy::disallowed_methods, reason = "an interval in which nothing may happen has to pass")]
fn pause(time: Duration) {
    thread::sleep(time);
}

const ROUNDS: u64 = 2_000;

const QUIET: Duration = Duration::from_secs(1);
