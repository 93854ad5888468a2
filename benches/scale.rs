//! What a record costs a producer's threads with many partitions, brokers and threads that send.
//!
//! `cargo bench --bench scale`
//!
//! The brokers are threads of the same process, and decode all that they get: so records a second say little here, and
//! the processor time of the producer's own threads is what to look at. It needs Linux, which counts that. Beside other
//! producers, with a sink that costs nothing, 10,000 partitions are measured in `benches/peers`.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Instant,
};

use kafka_producer::{
    Producer, ProducerConfig, ProducerRecord,
    testing::{Api, Cluster},
};

fn main() {
    println!(
        "topics x partitions, brokers, callers: ns a record of callers and of the sender thread; records a request; records/s"
    );
    measure(&Scale { topics: 1, partitions: 6, brokers: 1, callers: 1 });
    for brokers in [1, 3, 6, 12] {
        for callers in [1, 2, 4, 8] {
            measure(&Scale { topics: 50, partitions: 200, brokers, callers });
        }
    }
}

struct Scale {
    topics: usize,
    /// Of each topic.
    partitions: i32,
    brokers: i32,
    callers: usize,
}

#[allow(clippy::disallowed_methods, reason = "a bench reads the clock")]
fn measure(scale: &Scale) {
    let topics: Vec<String> = (0..scale.topics).map(|topic| format!("scale-{topic}")).collect();
    let mut builder = Cluster::builder().brokers(scale.brokers).keep_records(false);
    for topic in &topics {
        builder = builder.topic(topic, scale.partitions);
    }
    let cluster = builder.start().expect("loopback ports are free");
    let producer = Producer::new(ProducerConfig::new(&cluster.bootstrap())).expect("the settings are right");
    // Topics, connections, buffers.
    send(&producer, &topics, RECORDS / 10);
    producer.flush().expect(FLUSHED);

    let sender = sender_thread();
    let (spent, requests, begun) =
        (processor_time(&sender), cluster.request_count(Api::Produce), Instant::now());
    let of_callers: u64 = thread::scope(|scope| {
        let caller = || {
            let this = this_thread();
            let before = processor_time(&this);
            send(&producer, &topics, RECORDS / scale.callers);
            processor_time(&this) - before
        };
        let callers: Vec<_> = (0..scale.callers).map(|_| scope.spawn(caller)).collect();
        callers.into_iter().map(|caller| caller.join().expect("a caller does not panic")).sum()
    });
    producer.flush().expect(FLUSHED);
    let seconds = begun.elapsed().as_secs_f64();
    let spent = processor_time(&sender) - spent;
    let requests = cluster.request_count(Api::Produce) - requests;
    assert_eq!(cluster.violations(), Vec::<String>::new());

    let each = |nanoseconds: u64| nanoseconds as f64 / RECORDS as f64;
    println!(
        "{:2} x {:3}, {:2}, {}: {:6.1} {:6.1}; {:6.0}; {:9.0}",
        scale.topics,
        scale.partitions,
        scale.brokers,
        scale.callers,
        each(of_callers),
        each(spent),
        RECORDS as f64 / requests as f64,
        RECORDS as f64 / seconds,
    );
}

/// To all topics in turn.
fn send(producer: &Producer, topics: &[String], records: usize) {
    for topic in topics.iter().cycle().take(records) {
        drop(producer.send(ProducerRecord::new(topic, &VALUE)).expect("there is room for the record"));
    }
}

fn this_thread() -> PathBuf {
    fs::canonicalize("/proc/thread-self").expect("Linux has a folder for each thread")
}

/// There is one producer at a time.
fn sender_thread() -> PathBuf {
    let threads = fs::read_dir("/proc/self/task").expect("Linux has a folder for each thread");
    let is_sender = |folder: &PathBuf| {
        fs::read_to_string(folder.join("comm")).is_ok_and(|name| name.starts_with("kafka-producer-"))
    };
    let folder = threads.filter_map(Result::ok).map(|entry| entry.path()).find(is_sender);
    folder.expect("the producer has a thread")
}

/// In nanoseconds.
fn processor_time(thread: &Path) -> u64 {
    let text = fs::read_to_string(thread.join("schedstat")).expect("the thread lives");
    text.split(' ').next().and_then(|time| time.parse().ok()).expect("the first of three numbers")
}

const RECORDS: usize = 400_000;

const VALUE: [u8; 100] = [7; 100];

const FLUSHED: &str = "nothing stands in the way of waiting";
