//! The loops that are the same for every producer with a `send` for single records.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::{
    flags::{Flags, Mode, Variant},
    measure::{Latency, Report, Span, Spent, peak_rss_kib},
    payload,
};

/// A producer, as the loops see it. A record that is refused or lost ends the program: there is nothing to measure then.
pub trait Producer: Sync {
    /// What a thread needs to send: names of topics, handles that it keeps.
    type Sender<'a>: Send
    where
        Self: 'a;

    fn sender(&self) -> Self::Sender<'_>;

    /// Hands a record over, and waits only for room.
    fn send(&self, sender: &mut Self::Sender<'_>, record: Record<'_>);

    /// Hands a record over with a callback that notes when it was acknowledged.
    fn send_timed(&self, sender: &mut Self::Sender<'_>, record: Record<'_>, timer: Timer);

    /// Sends a record and waits for its acknowledgement.
    fn send_and_wait(&self, sender: &mut Self::Sender<'_>, record: Record<'_>);

    /// Waits until everything sent is acknowledged, by any thread.
    fn flush(&self);

    /// Looks at the handles that are still kept, if any are.
    fn settle(&self, _sender: &mut Self::Sender<'_>) {}
}

#[derive(Clone, Copy)]
pub struct Record<'a> {
    /// Index of its topic.
    pub topic: usize,
    pub key: Option<&'a [u8]>,
    pub value: &'a [u8],
}

/// Notes how long a record took, once it is done.
pub struct Timer {
    due: Instant,
    samples: Samples,
}

type Samples = Arc<Mutex<Vec<u64>>>;

impl Timer {
    pub fn done(self) {
        let took = self.due.elapsed().as_nanos() as u64;
        self.samples.lock().unwrap_or_else(PoisonError::into_inner).push(took);
    }
}

/// Does what the flags say, and prints it.
pub fn run(driver: &str, version: Option<String>, flags: &Flags, producer: &impl Producer) {
    let (warmup_records, spent, latency) = match flags.mode {
        Mode::Throughput => throughput(flags, producer),
        Mode::Latency | Mode::Fanin => send_and_wait(flags, producer),
        Mode::Rate => rate(flags, producer),
    };
    print(driver, version, flags.records, warmup_records, spent, latency);
}

/// The one line that a driver prints.
pub fn print(
    driver: &str,
    version: Option<String>,
    records: u64,
    warmup_records: u64,
    spent: Spent,
    latency: Option<Latency>,
) {
    let report = Report {
        driver: driver.to_owned(),
        version,
        records,
        warmup_records,
        seconds: spent.seconds,
        cpu_seconds: spent.cpu_seconds,
        switches: Some(spent.switches),
        rss_kib: peak_rss_kib(),
        latency,
    };
    println!("{}", serde_json::to_string(&report).expect("a report is plain numbers"));
}

fn throughput<P: Producer>(flags: &Flags, producer: &P) -> (u64, Spent, Option<Latency>) {
    let value = payload::value(flags.size);
    let send = |records: u64, until: Option<Instant>, first: u64| {
        let mut sender = producer.sender();
        let mut sent = 0;
        // The clock is read once in a thousand records.
        while sent < records
            && (!sent.is_multiple_of(1024) || until.is_none_or(|until| Instant::now() < until))
        {
            with_record(flags, &value, first + sent, |record| producer.send(&mut sender, record));
            sent += 1;
        }
        producer.settle(&mut sender);
        sent
    };
    let warmup =
        in_threads(flags, |_| send(u64::MAX, Some(Instant::now() + flags.warmup()), 0)).into_iter().sum();
    producer.flush();

    let span = Span::begin();
    in_threads(flags, |thread| send(flags.share(thread), None, thread as u64 * flags.records));
    producer.flush();
    (warmup, span.end(), None)
}

fn send_and_wait<P: Producer>(flags: &Flags, producer: &P) -> (u64, Spent, Option<Latency>) {
    let value = payload::value(flags.size);
    let send = |records: u64, until: Option<Instant>| {
        let mut sender = producer.sender();
        let mut took = Vec::with_capacity(records.min(flags.records) as usize);
        let mut begun = Instant::now();
        while (took.len() as u64) < records && until.is_none_or(|until| begun < until) {
            let i = took.len() as u64;
            with_record(flags, &value, i, |record| producer.send_and_wait(&mut sender, record));
            let now = Instant::now();
            took.push((now - begun).as_nanos() as u64);
            begun = now;
        }
        took
    };
    let warmup = in_threads(flags, |_| {
        // The first one waits for connections and metadata; the time counts from then on.
        send(1, None).len() as u64 + send(u64::MAX, Some(Instant::now() + flags.warmup())).len() as u64
    });

    let span = Span::begin();
    let took = in_threads(flags, |thread| send(flags.share(thread), None));
    let spent = span.end();
    (warmup.into_iter().sum(), spent, Latency::of(took.concat()))
}

/// Sends what is due once a millisecond. A record's time counts from when it was due, so that a producer which holds up
/// its caller does not look the better for it.
fn rate<P: Producer>(flags: &Flags, producer: &P) -> (u64, Spent, Option<Latency>) {
    let value = payload::value(flags.size);
    let mut sender = producer.sender();
    let mut send = |records: u64, samples: &Samples| {
        let every = flags.records.div_ceil(MOST_SAMPLES);
        let begun = Instant::now();
        let mut sent = 0;
        for tick in 1.. {
            let due = begun + tick * TICK;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let target = (flags.rate as f64 * TICK.as_secs_f64() * f64::from(tick)) as u64;
            while sent < target.min(records) {
                with_record(flags, &value, sent, |record| {
                    if sent.is_multiple_of(every) {
                        let timer = Timer { due, samples: Arc::clone(samples) };
                        producer.send_timed(&mut sender, record, timer);
                    } else {
                        producer.send(&mut sender, record);
                    }
                });
                sent += 1;
            }
            if sent == records {
                break;
            }
        }
        producer.flush();
    };
    let warmup = (flags.rate as f64 * flags.warmup_seconds) as u64;
    send(warmup, &Samples::default());

    let samples = Samples::default();
    let span = Span::begin();
    send(flags.records, &samples);
    let spent = span.end();
    let took = std::mem::take(&mut *samples.lock().unwrap_or_else(PoisonError::into_inner));
    (warmup, spent, Latency::of(took))
}

fn with_record(flags: &Flags, value: &[u8], i: u64, send: impl FnOnce(Record<'_>)) {
    let topic = if flags.topics == 1 { 0 } else { (i % u64::from(flags.topics)) as usize };
    let key = flags.keys.then(|| payload::key(i));
    send(Record { topic, key: key.as_ref().map(<[u8; 8]>::as_slice), value });
}

fn in_threads<T: Send>(flags: &Flags, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    if flags.threads == 1 {
        return vec![work(0)];
    }
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..flags.threads).map(|thread| scope.spawn(move || work(thread))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a sending thread does not panic")).collect()
    })
}

/// Ends the program where a variant has no meaning.
pub fn only(driver: &str, flags: &Flags, modes: &[Mode], variants: &[Variant]) {
    if !modes.contains(&flags.mode) || !variants.contains(&flags.variant) {
        eprintln!("{driver} has no --mode {:?} with --variant {:?}", flags.mode, flags.variant);
        std::process::exit(2);
    }
}

const TICK: Duration = Duration::from_millis(1);

/// Enough for a 99.9th percentile; more would cost time that is measured.
const MOST_SAMPLES: u64 = 100_000;
