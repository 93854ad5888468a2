//! Everything at once, at random: several brokers, threads and topics, faults all the time, and then a look at what is
//! there. A seed that fails is printed, and `STORM_SEED` runs it again.

use std::{
    env,
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use kafka_producer::{
    ErrorCode, ProducerRecord,
    testing::{Api, Cluster, Fault},
};

use crate::harness::World;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    fn node(&mut self) -> i32 {
        1 + self.below(BROKERS as u64) as i32
    }
}

#[test]
fn what_was_acknowledged_is_there_once_and_in_order() {
    let seeds: Vec<u64> = match env::var("STORM_SEED") {
        Ok(seed) => vec![seed.parse().expect("a number")],
        Err(_) => {
            let fresh = RandomState::new().hash_one(0) % 1_000_000;
            (0..4).chain([fresh]).collect()
        }
    };
    for seed in seeds {
        eprintln!("STORM_SEED={seed}");
        storm(seed);
    }
}

fn storm(seed: u64) {
    let builder = Cluster::builder().auto_create_topics(false).brokers(BROKERS).topic("t", 4).topic("u", 2);
    let world = World::start(builder.seed(seed));
    let mut random = Random(seed);
    let (batch, memory) = (200 + random.below(3000), 30_000 + random.below(300_000));
    let linger = random.below(10);
    let producer = world.producer(&[
        ("batch.size", &batch.to_string()),
        ("buffer.memory", &memory.to_string()),
        ("linger.ms", &linger.to_string()),
        ("request.timeout.ms", "500"),
        ("metadata.max.age.ms", "300"),
    ]);
    let over = AtomicBool::new(false);
    let acknowledged = thread::scope(|scope| {
        let weather = scope.spawn(|| {
            // It lies over the whole time that the records take, and clears up in the end: faults that come faster than
            // they are met would keep any producer busy for ever.
            for _ in 0..TROUBLES {
                if over.load(Ordering::SeqCst) {
                    break;
                }
                trouble(&world, &mut random);
                thread::sleep(Duration::from_millis(5));
            }
            world.clear_faults();
        });
        let senders: Vec<_> = (0..THREADS)
            .map(|thread| {
                let producer = producer.clone();
                let mut random = Random(seed ^ (thread + 1) << 32);
                scope.spawn(move || {
                    let handles: Vec<_> = (0..EACH)
                        .map(|i| {
                            let value = format!("{thread} {i:06}");
                            let record = ProducerRecord::new(["t", "u"][random.below(2) as usize], &value);
                            let key = random.below(5).to_string();
                            let record = if random.below(2) == 0 { record.key(&key) } else { record };
                            let handle = producer.send(record).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
                            if random.below(50) == 0 {
                                let _ = handle.get_timeout(Duration::from_millis(1));
                            }
                            (value, handle)
                        })
                        .collect();
                    producer.flush().unwrap();
                    handles
                        .into_iter()
                        .map(|(value, handle)| {
                            let outcome = handle.try_get().expect("it was flushed");
                            (value, outcome.unwrap_or_else(|error| panic!("seed {seed}: {error}")))
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let acknowledged: Vec<_> = senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect();
        over.store(true, Ordering::SeqCst);
        weather.join().unwrap();
        acknowledged
    });
    producer.close().unwrap();

    let mut stored = 0;
    for topic in ["t", "u"] {
        for record in world.records(topic) {
            stored += 1;
            let value = record.value_str().unwrap();
            let (_, metadata) = acknowledged.iter().find(|(sent, _)| sent == value).expect("it was sent");
            let place = (metadata.topic(), metadata.partition());
            assert_eq!(place, (&*record.topic, record.partition), "seed {seed}: {value}");
            assert_eq!(metadata.offset(), record.offset, "seed {seed}: {value}");
        }
    }
    assert_eq!(stored, acknowledged.len(), "seed {seed}");
    // One thread's records of one partition rise, as their offsets do.
    let mut last = std::collections::HashMap::new();
    for (value, metadata) in &acknowledged {
        let thread = value.split_once(' ').unwrap().0;
        let place = (thread, metadata.topic().to_owned(), metadata.partition());
        if let Some(before) = last.insert(place, metadata.offset()) {
            assert!(before < metadata.offset(), "seed {seed}: {value} at {metadata}");
        }
    }
}

fn trouble(world: &World, random: &mut Random) {
    let api =
        [Api::Produce, Api::Produce, Api::Produce, Api::Metadata, Api::ApiVersions, Api::InitProducerId];
    let api = api[random.below(6) as usize];
    let retried = [-1, 3, 5, 6, 7, 19, 20, 56].map(ErrorCode);
    let code = retried[random.below(8) as usize];
    match random.below(12) {
        0 => world.fault(Fault::AppendThenClose),
        1 => world.fault(Fault::Close.api(api)),
        2 => world.fault(Fault::Error(code)),
        3 => world.fault(Fault::AppendThenError(
            [ErrorCode(-1), ErrorCode(7), ErrorCode(20)][random.below(3) as usize],
        )),
        4 => world.fault(Fault::CutResponse(random.below(60) as usize).api(api)),
        5 => world.fault(Fault::WrongCorrelationId.api(api)),
        6 => world.fault(Fault::Delay(Duration::from_millis(random.below(30))).api(api)),
        7 => world.close_connections(random.node()),
        8 => world.move_leader("t", random.below(4) as i32, random.node()),
        9 => world.move_leader("u", random.below(2) as i32, random.node()),
        10 => {
            let node = random.node();
            world.stall(node);
            thread::sleep(Duration::from_millis(random.below(20)));
            world.resume(node);
        }
        _ => world.fault(Fault::NeverAnswer),
    }
}

const BROKERS: i32 = 3;
const THREADS: u64 = 4;
const EACH: usize = 600;
const TROUBLES: usize = 200;
