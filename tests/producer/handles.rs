//! Handles: every way of waiting for one, alone and together, and that waiting ends the linger.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use kafka_producer::{DeliveryFuture, Producer, ProducerRecord, testing::Fault};

use crate::harness::{LONG, World, arrived, send, send_to, until};

/// The smallest executor there is: it runs one future, and parks in between.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Counts how often it was woken.
#[derive(Default)]
struct Alarm(AtomicUsize);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll(handle: &mut DeliveryFuture, alarm: &Arc<Alarm>) -> bool {
    let waker = Waker::from(Arc::clone(alarm));
    Pin::new(handle).poll(&mut Context::from_waker(&waker)).is_ready()
}

#[test]
fn all_ways_of_asking_say_the_same() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[]);
    let handle = send(&producer, "v");
    let metadata = handle.get().unwrap();
    assert_eq!(metadata.to_string(), "t-0@0");
    assert!(metadata.has_offset() && metadata.has_timestamp());
    assert!(handle.is_done());
    assert_eq!(handle.try_get().unwrap().unwrap(), metadata);
    assert_eq!(handle.get_timeout(Duration::ZERO).unwrap().unwrap(), metadata);
    assert_eq!(handle.get().unwrap(), metadata, "it can be asked again");
    assert_eq!(block_on(handle).unwrap(), metadata);
}

#[test]
fn a_handle_says_that_there_is_no_answer_yet() {
    let world = World::with_partitions(1);
    world.stall(1);
    let producer = world.producer(&[]);
    world.resume(1);
    send(&producer, "first").get().unwrap();
    world.stall(1);
    let handle = send(&producer, "v");
    assert!(!handle.is_done() && handle.try_get().is_none());
    assert!(handle.get_timeout(Duration::ZERO).is_none());
    let began = Instant::now();
    assert!(handle.get_timeout(Duration::from_millis(50)).is_none());
    assert!(began.elapsed() >= Duration::from_millis(50));
    world.resume(1);
    handle.get_timeout(Duration::MAX).expect("no time is too long").unwrap();
}

/// With a linger of a minute, and well within the half of one.
#[test]
fn whoever_waits_does_not_wait_for_the_linger() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[("linger.ms", "60000")]);
    let began = Instant::now();
    for _ in 0..20 {
        send(&producer, "get").get().unwrap();
        send(&producer, "get_timeout").get_timeout(LONG).expect("in time").unwrap();
        block_on(send(&producer, "await")).unwrap();
        let handle = send(&producer, "another thread");
        thread::scope(|scope| scope.spawn(|| handle.get().unwrap()).join().unwrap());
    }
    assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
    assert_eq!(world.record_count("t"), 80);
}

#[test]
fn only_the_batch_of_the_record_that_is_waited_for_stops_lingering() {
    let world = World::with_partitions(2);
    let producer = world.producer(&[("linger.ms", "60000")]);
    let before = send_to(&producer, 0, "in the same batch");
    let other = send_to(&producer, 1, "in another");
    let wanted = send_to(&producer, 0, "wanted");
    wanted.get().unwrap();
    assert!(before.is_done(), "it was in the batch");
    assert!(!other.is_done());
    assert_eq!((world.records_of("t", 0).len(), world.records_of("t", 1).len()), (2, 0));
    // Asking without waiting is no reason to send.
    assert!(other.try_get().is_none() && !other.is_done());
    producer.flush().unwrap();
    assert!(other.is_done());
}

#[test]
fn many_can_wait_for_one() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[("linger.ms", "60000")]);
    let handle = send(&producer, "v");
    thread::scope(|scope| {
        let get = || handle.get().unwrap().to_string();
        let waiters: Vec<_> = (0..8).map(|_| scope.spawn(get)).collect();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), "t-0@0");
        }
    });
}

#[test]
fn one_thread_waits_for_many_in_any_order() {
    let world = World::with_partitions(3);
    let producer = world.producer(&[]);
    let mut handles: Vec<_> = (0..999).map(|i| send_to(&producer, i % 3, &i.to_string())).collect();
    handles.reverse();
    arrived(&handles);
    assert_eq!(world.record_count("t"), 999);
}

#[test]
fn many_can_be_awaited_together() {
    let world = World::with_partitions(3);
    let producer = world.producer(&[("linger.ms", "60000")]);
    let mut handles: Vec<_> = (0..600).map(|i| send_to(&producer, i % 3, &i.to_string())).collect();
    block_on(std::future::poll_fn(|context| {
        handles.retain_mut(|handle| match Pin::new(handle).poll(context) {
            Poll::Ready(outcome) => outcome.map(|_| false).unwrap(),
            Poll::Pending => true,
        });
        if handles.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }));
    assert_eq!(world.record_count("t"), 600);
}

/// As when a task moves to another executor: who polled last is woken, and nobody else.
#[test]
fn the_last_waker_is_the_one_that_is_woken() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[]);
    send(&producer, "first").get().unwrap();
    world.stall(1);
    let mut handle = send(&producer, "v");
    let (old, new) = (Arc::new(Alarm::default()), Arc::new(Alarm::default()));
    assert!(!poll(&mut handle, &old) && !poll(&mut handle, &old) && !poll(&mut handle, &new));
    world.resume(1);
    until("the new waker is woken", || new.0.load(Ordering::SeqCst) == 1);
    assert!(poll(&mut handle, &new));
    assert_eq!((old.0.load(Ordering::SeqCst), new.0.load(Ordering::SeqCst)), (0, 1));
}

#[test]
fn a_future_that_is_dropped_half_way_cancels_nothing() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[]);
    send(&producer, "first").get().unwrap();
    world.stall(1);
    let mut handle = send(&producer, "dropped");
    let alarm = Arc::new(Alarm::default());
    assert!(!poll(&mut handle, &alarm));
    drop(handle);
    assert_eq!(Arc::strong_count(&alarm), 1, "the waker is not kept");
    world.resume(1);
    send(&producer, "last").get().unwrap();
    assert_eq!(world.values("t"), ["first", "dropped", "last"]);
    assert_eq!(alarm.0.load(Ordering::SeqCst), 0);
}

#[test]
fn a_waker_that_panics_harms_nobody_else() {
    struct Bomb;
    impl Wake for Bomb {
        fn wake(self: Arc<Self>) {
            panic!("this panic is part of a test");
        }
    }
    let world = World::with_partitions(1);
    let producer = world.producer(&[]);
    send(&producer, "first").get().unwrap();
    world.stall(1);
    let mut bomb = send(&producer, "bomb");
    let next = send(&producer, "next");
    let waker = Waker::from(Arc::new(Bomb));
    assert!(Pin::new(&mut bomb).poll(&mut Context::from_waker(&waker)).is_pending());
    world.resume(1);
    next.get().unwrap();
    bomb.get().unwrap();
    send(&producer, "last").get().unwrap();
}

/// As when an executor runs a task, or drops it, where it is woken: which may be the thread that sends.
#[test]
fn a_waker_may_send_and_may_drop_the_last_clone() {
    struct Task(Mutex<Option<Producer>>, Mutex<Vec<DeliveryFuture>>);
    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            let producer = self.0.lock().unwrap().take().expect("it is woken once");
            let mut handles = self.1.lock().unwrap();
            while let Ok(handle) = producer.send(ProducerRecord::new("t", &[b'v'; 1000])) {
                handles.push(handle);
            }
        }
    }
    let world = World::with_partitions(1);
    let settings = [("buffer.memory", "10000"), ("drop.timeout.ms", "600000"), ("max.block.ms", "600000")];
    let producer = world.producer(&settings);
    send(&producer, "first").get().unwrap();
    world.stall(1);
    let mut handle = send(&producer, "v");
    let task = Arc::new(Task(Mutex::new(Some(producer)), Mutex::default()));
    let waker = Waker::from(Arc::clone(&task));
    assert!(Pin::new(&mut handle).poll(&mut Context::from_waker(&waker)).is_pending());
    world.resume(1);
    handle.get().unwrap();
    until("the task has run", || task.1.try_lock().is_ok_and(|handles| !handles.is_empty()));
    arrived(&task.1.lock().unwrap());
}

#[test]
fn a_handle_outlives_its_producer_and_its_cluster() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[]);
    let good = send(&producer, "good");
    good.get().unwrap();
    world.fault(Fault::Error(kafka_producer::ErrorCode::TOPIC_AUTHORIZATION_FAILED));
    let bad = send(&producer, "bad");
    drop(producer);
    drop(world);
    assert_eq!(good.get().unwrap().to_string(), "t-0@0");
    assert_eq!(bad.get().unwrap_err().topic(), "t");
    assert_eq!(block_on(bad).unwrap_err().partition(), Some(0));
}

#[test]
fn handles_that_nobody_keeps_cost_no_record() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[]);
    for i in 0..1000 {
        drop(producer.send(ProducerRecord::new("t", &i.to_string())).unwrap());
    }
    producer.flush().unwrap();
    assert_eq!(world.record_count("t"), 1000);
}
