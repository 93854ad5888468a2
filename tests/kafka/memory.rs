//! What `buffer.memory` promises: a process does not grow beyond it, however long its broker does not answer.
//!
//! Memory is measured in a process of its own, which is this program started again: what the tests themselves need
//! would drown it.

use std::{
    env,
    io::BufRead,
    process::{self, Command, ExitCode},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use kafka_producer::{Producer, ProducerConfig, ProducerRecord, SendErrorKind};

use crate::harness::{Cluster, bound_command, peak_memory, run_command};

/// Four threads send to a frozen broker, until memory is full and for a while after; records expire meanwhile, and
/// others take their place.
pub(crate) fn stays_within_its_limit(cluster: &mut Cluster) {
    if peak_memory(process::id()).is_none() {
        println!("memory: only Linux tells how much it is");
        return;
    }
    for size in RECORD_SIZES {
        let topic = cluster.kafka().create_topic("memory", 6, &[]);
        let mut command = this_program();
        command.env(CHILD, format!("{} {topic} {size}", cluster.kafka().bootstrap()));
        let (mut empty, mut full, mut refused) = (0, 0, 0);
        let ran = run_command("the program that is measured", command, b"", LIMIT, |out| {
            for line in out.lines().map_while(Result::ok) {
                match line.split_whitespace().collect::<Vec<_>>()[..] {
                    ["empty", bytes] => {
                        empty = number(bytes);
                        cluster.freeze(1);
                    }
                    ["full", bytes, "refused", records] => {
                        full = number(bytes);
                        refused = number(records);
                    }
                    _ => panic!("it said {line:?}"),
                }
            }
        });
        cluster.thaw(1);
        ran.unwrap_or_else(|e| panic!("{e}"));
        let grown = full - empty;
        println!(
            "memory: records of {size} bytes: {:.1} MiB with an empty producer, {:.1} MiB more with a full one of {:.0} \
             MiB ({:+.1} %); {refused} records found no room",
            mebibytes(empty),
            mebibytes(grown),
            mebibytes(BUFFER_MEMORY),
            100.0 * (grown as f64 / BUFFER_MEMORY as f64 - 1.0)
        );
        assert!(refused > 0, "memory was never full");
        assert!(grown <= BUFFER_MEMORY + BUFFER_MEMORY / 10, "a process of {empty} bytes grew by {grown}");
    }
}

/// If this process is the one to be measured, does what it is for; `None`: it is the one that tests.
pub(crate) fn as_the_measured_program() -> Option<ExitCode> {
    let order = env::var(CHILD).ok()?;
    let [bootstrap, topic, size] = order.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{CHILD}={order}")
    };
    let config = ProducerConfig::new(bootstrap)
        .set("buffer.memory", &BUFFER_MEMORY.to_string())
        .set("max.block.ms", "1000")
        .set("request.timeout.ms", "2000")
        .set("delivery.timeout.ms", "5000");
    let producer = Producer::new(config).expect("the settings are good");
    for partition in 0..6 {
        let record = ProducerRecord::new(topic, "v").partition(partition);
        producer.send(record).expect("the record is good").get().expect("the broker answers");
    }
    let peak = || peak_memory(process::id()).expect("Linux tells each process about itself");
    println!("empty {}", peak());
    let value = vec![b'x'; size.parse().expect("a size is a number")];
    let refused = AtomicUsize::new(0);
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while began.elapsed() < SENDING {
                    match producer.send(ProducerRecord::new(topic, &value)) {
                        Ok(_) => {}
                        Err(e) if matches!(e.kind(), SendErrorKind::BufferFull { .. }) => {
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(e) => panic!("{e}"),
                    }
                }
            });
        }
    });
    println!("full {} refused {}", peak(), refused.into_inner());
    // What waits for the frozen broker is not waited for.
    let _ = producer.close_timeout(Duration::ZERO);
    Some(ExitCode::SUCCESS)
}

fn this_program() -> Command {
    bound_command(&env::current_exe().expect("a running program has a file").display().to_string())
}

fn number(text: &str) -> usize {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is not a number"))
}

fn mebibytes(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

const CHILD: &str = "KAFKA_PRODUCER_TEST_MEMORY";
const BUFFER_MEMORY: usize = 32 << 20;
/// Handles and bookkeeping weigh more where there are many small ones, batches where each has one record.
const RECORD_SIZES: [usize; 3] = [100, 1_000, 10_000];
/// Longer than a record lives: those that fail make room for others.
const SENDING: Duration = Duration::from_secs(7);
const LIMIT: Duration = Duration::from_secs(60);
