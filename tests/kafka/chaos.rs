//! Three brokers are killed, frozen and stopped by chance, sometimes two or all of them at once, while four threads send
//! records with keys: all are acknowledged, and the log holds each of them once, where it is said to be, in order.
//!
//! `cargo test` runs one round of forty seconds, of another seed each time. `CHAOS_MINUTES=30` runs as many rounds of a
//! minute, with one producer for all of them; each round has the seed after the one before it. It also runs the example
//! `verifiable_producer` for a minute, which then has to be built. `CHAOS_SEED=n` begins with that seed: the same blows
//! are struck after the same pauses, though what they hit is up to the machine. Every blow is printed as it falls.

use std::{
    collections::VecDeque,
    env, fmt,
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use kafka_producer::{DeliveryFuture, Producer, ProducerRecord};
use serde_json::Value;

use crate::{
    harness::{Case, Cluster, Process, Spec, bound_command, owned, poll_until},
    sending::{Outcome, StopOnDrop, assert_the_log_agrees, at_a_steady_rate, producer},
};

/// The tests on `spec`, three brokers.
pub(crate) fn cases(spec: Spec) -> Vec<Case> {
    let threads = owned(spec, "chaos::four_threads_with_keys", four_threads_with_keys);
    let Some(minutes) = minutes() else { return vec![threads.and_lasts(ONE_ROUND)] };
    let program = owned(spec, "chaos::the_verifiable_producer", the_verifiable_producer);
    // Reading back takes its time.
    vec![threads.and_lasts(2 * minutes * MINUTE), program.and_lasts(2 * MINUTE)]
}

fn four_threads_with_keys(cluster: &mut Cluster) {
    let seed = seed();
    let (rounds, length) = minutes().map_or((1, ONE_ROUND), |minutes| (minutes, MINUTE));
    // The seed chooses this too: a short one sends again what a frozen broker has received, a long one waits for it.
    let request_timeout = if seed.is_multiple_of(2) { "3000" } else { "30000" };
    let producer = producer(cluster.kafka(), &[("request.timeout.ms", request_timeout)]);
    say(format_args!("request.timeout.ms={request_timeout}"));
    for round in 0..rounds {
        run_round(cluster, &producer, seed + u64::from(round), length);
    }
    producer.close().expect("everything is acknowledged");
}

fn run_round(cluster: &mut Cluster, producer: &Producer, seed: u64, length: Duration) {
    say(format_args!("for {length:?}; again with CHAOS_SEED={seed}"));
    let topic = cluster.kafka().create_topic("chaos", PARTITIONS, &[]);
    let stop = AtomicBool::new(false);
    let (sent, blows) = thread::scope(|scope| {
        let (topic, stop) = (&*topic, &stop);
        let sender = |thread| scope.spawn(move || send_until(stop, producer, topic, thread));
        let senders: Vec<_> = (0..THREADS).map(sender).collect();
        let ended = StopOnDrop(stop);
        let blows = Storm { random: Random(seed), began: Instant::now() }.rage(cluster, length);
        drop(ended);
        let join = |sender: thread::ScopedJoinHandle<'_, Vec<Outcome>>| {
            sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        (senders.into_iter().map(join).collect::<Vec<_>>(), blows)
    });
    let arrived = assert_the_log_agrees(cluster.kafka(), &topic, &sent);
    arrived.assert_nothing_is_lost();
    let records = arrived.count(|_| true);
    assert_eq!(records, sent.iter().map(Vec::len).sum::<usize>(), "each was acknowledged, and is there");
    say(format_args!("{blows} blows, {records} records: all acknowledged, none lost, none twice, in order"));
}

/// The example `verifiable_producer` under a minute of chaos: what it prints as acknowledged is there. Tells its memory.
fn the_verifiable_producer(cluster: &mut Cluster) {
    let seed = seed();
    say(format_args!("verifiable_producer for {MINUTE:?}; again with CHAOS_SEED={seed}"));
    let topic = cluster.kafka().create_topic("verifiable", PARTITIONS, &[]);
    let records = RATE * MINUTE.as_secs() as usize;
    let events = tempfile::NamedTempFile::new().expect("there is room for a file");
    let mut command = bound_command(&example("verifiable_producer"));
    command.args(["--bootstrap-server", cluster.kafka().bootstrap(), "--topic", &topic]);
    command.args(["--throughput", &RATE.to_string(), "--max-messages", &records.to_string()]);
    command.stdin(Stdio::null()).stdout(events.reopen().expect("it was just made"));
    let mut program = Process::start(command).unwrap_or_else(|e| panic!("cannot start the example: {e}"));

    let (blows, peak) = thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut peak = 0;
            let status = poll_until(3 * MINUTE, || {
                peak = program.peak_memory().unwrap_or(0).max(peak);
                program.wait(Duration::ZERO)
            });
            (status, peak)
        });
        let blows = Storm { random: Random(seed), began: Instant::now() }.rage(cluster, MINUTE);
        let (status, peak) = watch.join().expect("watching does not panic");
        let status = status.expect("the example ends");
        assert!(status.success(), "it could not send everything: {status}");
        (blows, peak)
    });
    let mut sent = vec![Outcome::NotWritten; records];
    let text = std::fs::read_to_string(events.path()).expect("the example writes text");
    for event in text.lines().map(|line| serde_json::from_str::<Value>(line).expect("each line is an event"))
    {
        if event["name"] == "producer_send_success" {
            let n: usize =
                event["value"].as_str().and_then(|value| value.parse().ok()).expect("values are numbers");
            let place = event["partition"].as_i64().zip(event["offset"].as_i64()).expect("it says where");
            sent[n] = Outcome::Acknowledged((place.0 as i32, place.1));
        }
    }
    let sent = [sent];
    let arrived = assert_the_log_agrees(cluster.kafka(), &topic, &sent);
    arrived.assert_nothing_is_lost();
    assert_eq!(arrived.count(|_| true), records, "each was acknowledged, and is there");
    say(format_args!(
        "{blows} blows, {records} records: all acknowledged, none lost, none twice, in order; {:.1} MiB at most",
        peak as f64 / f64::from(1 << 20)
    ));
}

/// Sends records with keys, each key always from the same thread, until told to stop; and then waits for the last one.
fn send_until(stop: &AtomicBool, producer: &Producer, topic: &str, thread: usize) -> Vec<Outcome> {
    let mut pending: VecDeque<(usize, DeliveryFuture)> = VecDeque::new();
    let mut outcomes = Vec::new();
    let mut settle = |(n, future): (usize, DeliveryFuture)| match future.get() {
        Ok(metadata) => outcomes.push(Outcome::of(&Ok(metadata))),
        Err(e) => panic!("record {n} of thread {thread} was not delivered: {e}"),
    };
    at_a_steady_rate(
        RATE / THREADS,
        |_| !stop.load(Ordering::Relaxed),
        |n| {
            let (key, value) = (format!("{thread}-key-{}", n % KEYS), format!("{thread}-{n}"));
            let record = ProducerRecord::new(topic, &value).key(&key);
            let future =
                producer.send(record).unwrap_or_else(|e| panic!("record {n} of thread {thread}: {e}"));
            pending.push_back((n, future));
            // A failure is seen when it comes, and what is done is kept no longer.
            while pending.front().is_some_and(|(_, future)| future.is_done()) {
                pending.pop_front().into_iter().for_each(&mut settle);
            }
        },
    );
    pending.into_iter().for_each(&mut settle);
    outcomes
}

/// Strikes one blow after the other.
struct Storm {
    random: Random,
    began: Instant,
}

#[derive(Clone, Copy, Debug)]
enum Blow {
    Kill,
    Freeze,
    Stop,
}

impl Storm {
    /// Returns how many blows there were; then all brokers are up again.
    fn rage(mut self, cluster: &mut Cluster, length: Duration) -> usize {
        let mut blows = 0;
        while self.began.elapsed() < length {
            self.pause(100, 800);
            self.strike(cluster);
            blows += 1;
            // One time in four the next blow falls before they have recovered from this one.
            if self.random.below(4) > 0 {
                cluster.heal().unwrap_or_else(|e| panic!("{e}"));
            }
        }
        cluster.heal().unwrap_or_else(|e| panic!("{e}"));
        blows
    }

    fn strike(&mut self, cluster: &mut Cluster) {
        let mut victims = cluster.ids();
        let count = [1, 1, 1, 2, 3][self.random.below(5) as usize].min(victims.len());
        while victims.len() > count {
            victims.swap_remove(self.random.below(victims.len() as u64) as usize);
        }
        let blow = [Blow::Kill, Blow::Freeze, Blow::Stop][self.random.below(3) as usize];
        let at = self.began.elapsed();
        let mut killed = Vec::new();
        match blow {
            Blow::Kill => victims.iter().for_each(|&node| cluster.kill(node)),
            // One may be down already, since the last blow, by itself.
            Blow::Freeze => victims.retain(|&node| cluster.try_freeze(node)),
            Blow::Stop => killed = cluster.stop(&victims, GRACE),
        }
        let length = self.pause(500, 4000);
        match blow {
            Blow::Kill | Blow::Stop => victims.iter().for_each(|&node| cluster.restart(node)),
            Blow::Freeze => victims.iter().for_each(|&node| cluster.thaw(node)),
        }
        let hard =
            if killed.is_empty() { String::new() } else { format!(" ({killed:?} did not end in time)") };
        say(format_args!("{:5.1} s: {blow:?} {victims:?}{hard} for {length:.1?}", at.as_secs_f64()));
    }

    fn pause(&mut self, at_least: u64, at_most: u64) -> Duration {
        let pause = Duration::from_millis(at_least + self.random.below(at_most - at_least));
        thread::sleep(pause);
        pause
    }
}

/// The same numbers for the same seed; no more is asked of them.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 31)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        (mixed ^ (mixed >> 32)) % limit
    }
}

fn seed() -> u64 {
    from_environment("CHAOS_SEED").unwrap_or_else(|| u64::from(std::process::id()))
}

/// Where `cargo` put an example: beside this test's folder.
fn example(name: &str) -> String {
    let test = env::current_exe().expect("a running program has a file");
    let profile = test.ancestors().nth(2).expect("a test lies in its profile's folder deps");
    let path = profile.join("examples").join(name);
    assert!(path.exists(), "{} is missing: `cargo build --examples` makes it", path.display());
    path.display().to_string()
}

fn say(what: fmt::Arguments<'_>) {
    println!("chaos: {what}");
}

fn minutes() -> Option<u32> {
    from_environment("CHAOS_MINUTES")
}

fn from_environment<T: std::str::FromStr>(name: &str) -> Option<T> {
    let value = env::var(name).ok().filter(|value| !value.is_empty())?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value}: a whole number is wanted")))
}

const ONE_ROUND: Duration = Duration::from_secs(40);
const MINUTE: Duration = Duration::from_secs(60);
/// What an orderly stop is given.
const GRACE: Duration = Duration::from_secs(8);
const THREADS: usize = 4;
/// Records a second, of all threads together.
const RATE: usize = 2_000;
const PARTITIONS: i32 = 6;
/// Of each thread.
const KEYS: usize = 50;
