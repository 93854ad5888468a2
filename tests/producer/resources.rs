//! What a producer takes from the system it gives back: threads, and whatever has a file descriptor.

use std::{
    fs,
    process::Command,
    sync::mpsc,
    thread,
    time::{Duration, SystemTime},
};

use kafka_producer::{DeliveryCause, ProducerRecord, SendErrorKind, testing::Cluster};

use crate::harness::{Watch, World, build, in_a_process_of_its_own, quick, send, text, until};

/// Threads and open files of this process; what the cluster has for connections that are gone is gone with them.
fn held() -> Option<(usize, usize)> {
    let count = |folder| fs::read_dir(folder).ok().map(Iterator::count);
    Some((count("/proc/self/task")?, count("/proc/self/fd")?))
}

#[test]
fn two_hundred_producers_in_turn_leave_nothing_behind() {
    if in_a_process_of_its_own("resources::two_hundred_producers_in_turn_leave_nothing_behind").is_some() {
        return;
    }
    if held().is_none() {
        eprintln!("this system does not say what a process holds");
        return;
    }
    let world = World::with_partitions(3);
    let one = |round: usize| {
        let producer = world.producer(&[]);
        match round % 5 {
            // Never used.
            0 => {}
            1 => drop(send(&producer, "v").get().unwrap()),
            2 => drop(producer.send_with(ProducerRecord::new("t", "v"), |_| {}).unwrap()),
            3 => drop(producer.send(ProducerRecord::new("t", "v"))),
            // A name is looked up on a thread of its own.
            _ => {
                let port = world.address(1).port();
                send(&build(quick(&format!("localhost:{port}")), &[]), "v").get().unwrap();
            }
        }
        match round % 3 {
            0 => producer.close().unwrap(),
            1 => drop(producer.close_timeout(Duration::ZERO)),
            _ => drop(producer),
        }
    };
    (0..15).for_each(one);
    let settled = |limit: (usize, usize)| held().is_some_and(|now| now.0 <= limit.0 && now.1 <= limit.1);
    // Threads of the cluster end when their connections do, a moment later.
    let base = {
        let mut last = held().unwrap();
        until("the first ones are gone", || {
            let now = held().unwrap();
            let same = now == last && world_is_quiet(&world);
            last = now;
            same
        });
        last
    };
    (0..200).for_each(one);
    until("all of them are gone", || settled(base));
}

/// Nobody is connected: a broker's threads for connections end with them.
fn world_is_quiet(_: &World) -> bool {
    let names = |entry: Result<fs::DirEntry, _>| {
        entry.ok().and_then(|entry: fs::DirEntry| fs::read_to_string(entry.path().join("comm")).ok())
    };
    let mut comms = fs::read_dir("/proc/self/task").into_iter().flatten().filter_map(names);
    !comms.any(|name| name.starts_with("kafka-testing-1") && name.trim().len() > 15)
}

#[test]
fn failed_starts_leave_nothing_behind() {
    if in_a_process_of_its_own("resources::failed_starts_leave_nothing_behind").is_some() {
        return;
    }
    let Some(base) = held() else { return };
    for _ in 0..50 {
        kafka_producer::Producer::new(quick("no-such-host.invalid:9092")).map(drop).unwrap_err();
        kafka_producer::Producer::new(quick("localhost:9092").set("acks", "7")).map(drop).unwrap_err();
    }
    until("nothing is left", || held() == Some(base));
}

/// A laptop that was closed, a container that was paused: every timer is overdue when the process goes on, and the system says
/// of waits that they were interrupted.
#[test]
fn a_process_that_stood_still_for_longer_than_its_records_wait() {
    if in_a_process_of_its_own("resources::a_process_that_stood_still_for_longer_than_its_records_wait")
        .is_some()
    {
        return;
    }
    let world = World::with_partitions(1);
    let settings = [("request.timeout.ms", "300"), ("delivery.timeout.ms", "1000"), ("linger.ms", "0")];
    let producer = world.producer(&settings);
    send(&producer, "first").get().unwrap();
    world.stall(1);
    let held: Vec<_> = (0..20).map(|i| send(&producer, &i.to_string())).collect();
    let pause = format!("kill -STOP {0}; sleep 2; kill -CONT {0}", std::process::id());
    let began = SystemTime::now();
    let Ok(stopped) = Command::new("sh").args(["-c", &pause]).status() else {
        eprintln!("this system has no shell");
        return;
    };
    assert!(stopped.success() && began.elapsed().unwrap() >= Duration::from_secs(2));
    for handle in &held {
        let error = handle.get().unwrap_err();
        assert!(matches!(error.cause(), DeliveryCause::DeliveryTimeout { .. }), "{error}");
    }
    world.resume(1);
    until("it works again", || send(&producer, "after").get().is_ok());
    producer.close().unwrap();
}

/// No file descriptor is left when a connection is needed: that is tried again like any other that fails, and told.
#[test]
fn a_process_that_may_open_no_more_files() {
    let test = "resources::a_process_that_may_open_no_more_files";
    if std::env::var_os(FEW_FILES).is_none() {
        let program = std::env::current_exe().unwrap();
        let few = "ulimit -n 64; exec \"$0\" --exact \"$1\" --nocapture --test-threads=1";
        let mut shell = Command::new("sh");
        match shell.args(["-c", few]).arg(program).arg(test).env(FEW_FILES, "1").output() {
            Ok(output) => {
                assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr))
            }
            Err(error) => eprintln!("this system has no shell: {error}"),
        }
        return;
    }
    let world = World::with_partitions(1);
    let producer = world.producer(&[("max.block.ms", "300")]);
    let mut files = Vec::new();
    while let Ok(file) = fs::File::open("/dev/null") {
        files.push(file);
    }
    assert!(files.len() < 64);
    let error = producer.send(ProducerRecord::new("t", "v")).unwrap_err();
    assert!(matches!(error.kind(), SendErrorKind::MetadataTimeout { .. }), "{error:?}");
    assert!(error.to_string().contains("os error 24"), "{error}");
    drop(files);
    until("it works again", || producer.send(ProducerRecord::new("t", "v")).is_ok_and(|h| h.get().is_ok()));
    producer.close().unwrap();
}

/// Set in a process that may have few files open.
const FEW_FILES: &str = "PRODUCER_TEST_FEW_FILES";

#[test]
fn fifty_at_once() {
    let world = World::with_partitions(3);
    let producers: Vec<_> = (0..50).map(|_| world.producer(&[])).collect();
    let handles: Vec<_> = producers.iter().map(|producer| send(producer, "v")).collect();
    for handle in handles {
        handle.get().unwrap();
    }
    thread::scope(|scope| {
        for producer in producers {
            scope.spawn(move || producer.close().unwrap());
        }
    });
    assert_eq!(world.record_count("t"), 50);
}

/// Threads with names that say whose they are.
#[test]
fn threads_are_named_after_their_client() {
    let _watch = Watch::new();
    let cluster = Cluster::builder().topic("t", 1).start().unwrap();
    let producer = build(quick(&cluster.bootstrap()), &[("client.id", "invoices")]);
    let (tell, told) = mpsc::channel();
    let callback = move |_| tell.send(thread::current().name().map(str::to_owned)).unwrap();
    producer.send_with(ProducerRecord::new("t", "v"), callback).unwrap();
    let name = told.recv().unwrap().expect("it has a name");
    assert!(name.contains("kafka-producer") && name.contains("invoices"), "{name}");
    producer.close().unwrap();
}
