//! Dropping the last clone: what was accepted is sent if there is time, and what is not is never lost in silence.

use std::{
    panic::catch_unwind,
    sync::{Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use kafka_producer::{DeliveryCause, Producer};

use crate::harness::{LONG, World, in_a_process_of_its_own, send, text};

#[test]
fn it_sends_what_there_is() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[("linger.ms", "60000")]);
    let handles: Vec<_> = (0..100).map(|i| send(&producer, &i.to_string())).collect();
    drop(producer);
    assert!(handles.iter().all(|handle| handle.try_get().is_some_and(|outcome| outcome.is_ok())));
    assert_eq!(world.record_count("t"), 100);
}

#[test]
fn only_the_last_clone_counts() {
    let world = World::with_partitions(1);
    let first = world.producer(&[("linger.ms", "60000")]);
    let last = first.clone();
    let handle = send(&first, "v");
    drop(first);
    assert!(!handle.is_done());
    send(&last, "w");
    drop(last);
    assert!(handle.is_done());
    assert_eq!(world.values("t"), ["v", "w"]);
}

#[test]
fn it_waits_no_longer_than_it_was_told() {
    let world = World::with_partitions(1);
    let producer = held_up(&world, "300");
    let handle = send(&producer, "held");
    let began = Instant::now();
    drop(producer);
    assert!(began.elapsed() >= Duration::from_millis(300) && began.elapsed() < LONG);
    assert!(matches!(handle.try_get().expect("it is over").unwrap_err().cause(), DeliveryCause::Closed));
}

/// A minute would be allowed.
#[test]
fn while_panicking_it_does_not_wait() {
    let world = World::with_partitions(1);
    let producer = held_up(&world, "600000");
    let handle = send(&producer, "held");
    let unwound = catch_unwind(move || {
        let _producer = producer;
        panic!("this panic is part of a test");
    });
    assert!(unwound.is_err());
    assert!(handle.try_get().expect("it is over").is_err());
}

#[test]
fn a_callback_that_never_returns_does_not_hold_it() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[("drop.timeout.ms", "100")]);
    let (_open, gate) = mpsc::channel::<()>();
    let record = kafka_producer::ProducerRecord::new("t", "v");
    let wait = move |_| {
        let _ = gate.recv_timeout(8 * LONG);
    };
    let handle = producer.send_with(record, wait).unwrap();
    assert!(world.wait_for_records("t", 1, LONG));
    let began = Instant::now();
    drop(producer);
    assert!(began.elapsed() < LONG);
    assert!(!handle.is_done(), "its callback runs still");
}

#[test]
fn it_can_happen_in_a_destructor_at_the_end_of_a_thread() {
    thread_local! {
        static LAST: Mutex<Option<Producer>> = const { Mutex::new(None) };
    }
    let world = World::with_partitions(1);
    let producer = world.producer(&[("linger.ms", "60000")]);
    let handle = send(&producer, "v");
    let thread = thread::spawn(move || {
        LAST.with(|last| *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(producer));
    });
    thread.join().unwrap();
    handle.get().unwrap();
}

/// Where no logger was installed, that is the only place left.
#[test]
fn what_is_lost_is_said_on_stderr() {
    if let Some(output) = in_a_process_of_its_own("drop::what_is_lost_is_said_on_stderr") {
        let stderr = text(&output.stderr);
        for part in
            ["kafka-producer: ", "17 records", "50ms", "drop.timeout.ms", "topic t partition 0", "close()"]
        {
            assert!(stderr.contains(part), "{part}: {stderr}");
        }
        assert_eq!(stderr.matches("kafka-producer: ").count(), 1, "{stderr}");
        return;
    }
    let world = World::with_partitions(1);
    let quiet = world.producer(&[]);
    send(&quiet, "arrives");
    drop(quiet);
    let producer = held_up(&world, "50");
    for i in 0..17 {
        send(&producer, &i.to_string());
    }
    drop(producer);
}

/// No time is named that nobody meant to wait.
#[test]
fn what_a_panic_loses_is_said_as_it_is() {
    if let Some(output) = in_a_process_of_its_own("drop::what_a_panic_loses_is_said_as_it_is") {
        let stderr = text(&output.stderr);
        for part in [
            "1 record not acknowledged",
            "is panicking",
            "none of drop.timeout.ms was waited",
            "topic t partition 0",
        ] {
            assert!(stderr.contains(part), "{part}: {stderr}");
        }
        assert!(!stderr.contains("0ns") && !stderr.contains("600s"), "{stderr}");
        return;
    }
    let world = World::with_partitions(1);
    let producer = held_up(&world, "600000");
    send(&producer, "held");
    let unwound = catch_unwind(move || {
        let _producer = producer;
        panic!("this panic is part of a test");
    });
    assert!(unwound.is_err());
}

#[test]
fn what_is_lost_is_said_in_the_log_if_there_is_one() {
    struct Lines(Mutex<Vec<String>>);
    impl log::Log for Lines {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            let line = format!("{} {}", record.level(), record.args());
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
        fn flush(&self) {}
    }
    static LINES: Lines = Lines(Mutex::new(Vec::new()));

    if let Some(output) = in_a_process_of_its_own("drop::what_is_lost_is_said_in_the_log_if_there_is_one") {
        let stderr = text(&output.stderr);
        assert!(!stderr.contains("kafka-producer: "), "{stderr}");
        return;
    }
    log::set_logger(&LINES).expect("there is none yet");
    log::set_max_level(log::LevelFilter::Error);
    let world = World::with_partitions(1);
    let producer = held_up(&world, "50");
    for i in 0..17 {
        send(&producer, &i.to_string());
    }
    drop(producer);
    let lines = LINES.0.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("ERROR") && lines[0].contains("17 records"), "{lines:?}");
}

/// A producer whose broker has stopped reading.
fn held_up(world: &World, drop_timeout: &str) -> Producer {
    let producer = world.producer(&[("drop.timeout.ms", drop_timeout)]);
    send(&producer, "first").get().unwrap();
    world.stall(1);
    producer
}
