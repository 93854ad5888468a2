//! Callbacks: once each, in order, before the handle; whatever they do, sending goes on.

use std::{
    panic::panic_any,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::Duration,
};

use kafka_producer::{
    DeliveryCause, DeliveryError, ErrorCode, FlushError, Producer, ProducerRecord, RecordMetadata,
    SendErrorKind, testing::Fault,
};

use crate::harness::{LONG, World, send, until};

type Outcome = Result<RecordMetadata, DeliveryError>;

fn value(text: &str) -> ProducerRecord<'_> {
    ProducerRecord::new("t", text).partition(0)
}

/// A callback that waits until it is let go, and the way to let it go.
fn gate() -> (impl FnOnce(Outcome) + Send + 'static, Sender<()>) {
    let (open, gate) = mpsc::channel();
    let wait = move |_| {
        let _ = gate.recv_timeout(8 * LONG);
    };
    (wait, open)
}

/// Has `inside` run in a callback of a record that is sent to `t`, and returns what it returns.
fn inside_a_callback<T: Send + 'static>(
    producer: &Producer,
    inside: impl FnOnce(Outcome) -> T + Send + 'static,
) -> T {
    let (tell, told) = mpsc::channel();
    let callback = move |outcome| tell.send(inside(outcome)).unwrap();
    let handle = producer.send_with(value("with a callback"), callback).unwrap();
    // However short the wait, it ends the linger.
    let _ = handle.get_timeout(Duration::from_millis(1));
    told.recv_timeout(LONG).expect("the callback returns")
}

#[test]
fn they_run_once_each_in_the_order_of_the_partition() {
    let world = World::with_partitions(3);
    let producer = world.producer(&[("batch.size", "500")]);
    let order: Arc<Mutex<Vec<Vec<i64>>>> = Arc::new(Mutex::new(vec![Vec::new(); 3]));
    let mut handles = Vec::new();
    for i in 0..3000 {
        let order = Arc::clone(&order);
        let text = i.to_string();
        let record = ProducerRecord::new("t", &text).partition(i % 3);
        let callback = move |outcome: Outcome| {
            let metadata = outcome.unwrap();
            order.lock().unwrap()[metadata.partition() as usize].push(metadata.offset());
        };
        handles.push(producer.send_with(record, callback).unwrap());
    }
    for handle in &handles {
        let metadata = handle.get().unwrap();
        let order = order.lock().unwrap();
        let mine = &order[metadata.partition() as usize];
        assert_eq!(mine.get(metadata.offset() as usize), Some(&metadata.offset()), "its callback has run");
    }
    producer.flush().unwrap();
    let expected: Vec<i64> = (0..1000).collect();
    assert_eq!(*order.lock().unwrap(), [expected.clone(), expected.clone(), expected]);
}

#[test]
fn they_are_told_what_the_handle_is_told() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[]);
    let (tell, told) = mpsc::channel();
    let record = value("good").key("k");
    let handle = producer.send_with(record, move |outcome| tell.send(outcome).unwrap()).unwrap();
    assert_eq!(handle.get().unwrap(), told.recv().unwrap().unwrap());

    world.fail_next(ErrorCode::TOPIC_AUTHORIZATION_FAILED, 1);
    let (tell, told) = mpsc::channel();
    let handle = producer.send_with(value("bad"), move |outcome| tell.send(outcome).unwrap()).unwrap();
    let (seen, heard) = (handle.get().unwrap_err(), told.recv().unwrap().unwrap_err());
    assert_eq!(seen.to_string(), heard.to_string());
    assert_eq!(heard.code(), Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED));
}

#[test]
fn a_refused_record_drops_its_callback_without_a_call() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[]);
    let held = Arc::new(());
    let callback = Arc::clone(&held);
    let refused = producer.send_with(value("v").timestamp(-1), move |_| panic!("{callback:?} was called"));
    refused.unwrap_err();
    assert_eq!(Arc::strong_count(&held), 1);
    producer.close().unwrap();
}

#[test]
fn a_handle_is_not_done_before_its_callback_has_returned() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[("linger.ms", "60000")]);
    let (callback, open) = gate();
    let first = producer.send_with(value("first"), callback).unwrap();
    let second = producer.send(value("second")).unwrap();
    producer.flush_timeout(Duration::from_millis(10)).unwrap_err();
    assert!(world.wait_for_records("t", 2, LONG));
    assert_eq!(world.batches("t").len(), 1);
    assert!(!first.is_done() && !second.is_done(), "a batch is done as a whole");
    open.send(()).unwrap();
    first.get().unwrap();
    second.get().unwrap();
}

/// Of any kind: text or not, and one whose payload panics again when it is dropped.
#[test]
fn a_panic_ends_one_callback_only() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("this panic is part of a test");
        }
    }
    let world = World::with_partitions(1);
    // What one record holds of the memory is missed if it does not come back.
    let producer = world.producer(&[("linger.ms", "60000"), ("buffer.memory", "2000")]);
    let calls = Arc::new(AtomicUsize::new(0));
    for round in 0..10 {
        let mut handles = Vec::new();
        for i in 0..8 {
            let calls = Arc::clone(&calls);
            let callback = move |outcome: Outcome| {
                outcome.unwrap();
                calls.fetch_add(1, Ordering::SeqCst);
                match i {
                    1 => panic!("this panic is part of a test"),
                    3 => panic!("this panic is part of a test: {i}"),
                    5 => panic_any(i),
                    6 => panic_any(Bomb),
                    _ => {}
                }
            };
            handles.push(producer.send_with(value("a hundred bytes or so"), callback).unwrap());
        }
        producer.flush().unwrap();
        for handle in handles {
            handle.get().unwrap();
        }
        assert_eq!(calls.load(Ordering::SeqCst), 8 * (round + 1));
    }
    producer.close().unwrap();
}

#[test]
fn one_that_blocks_does_not_stop_the_sending() {
    let world = World::with_partitions(2);
    let producer = world.producer(&[]);
    let (callback, open) = gate();
    let blocked = producer.send_with(value("blocks"), callback).unwrap();
    assert!(world.wait_for_records("t", 1, LONG));
    for i in 0..100 {
        let record = ProducerRecord::new("t", "without a callback").partition(i % 2);
        producer.send(record).unwrap().get().unwrap();
    }
    let next = producer.send_with(value("behind it"), |_| {}).unwrap();
    assert!(world.wait_for_records("t", 102, LONG), "it is sent, whenever its callback runs");
    assert!(!blocked.is_done() && !next.is_done());
    open.send(()).unwrap();
    next.get().unwrap();
    assert!(blocked.is_done());
}

#[test]
fn a_flush_waits_for_the_callbacks_before_it() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[]);
    let (callback, open) = gate();
    producer.send_with(value("v"), callback).unwrap();
    assert!(matches!(producer.flush_timeout(Duration::from_millis(50)), Err(FlushError::TimedOut { .. })));
    open.send(()).unwrap();
    producer.flush().unwrap();
}

/// Those of a batch hold their memory until they have returned, so that callbacks that cannot keep up stop the callers
/// and not the machine.
#[test]
fn callbacks_that_fall_behind_fill_the_memory() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[("buffer.memory", "2000"), ("max.block.ms", "100"), ("linger.ms", "0")]);
    let (callback, open) = gate();
    producer.send_with(ProducerRecord::new("t", &[b'v'; 1000]), callback).unwrap();
    assert!(world.wait_for_records("t", 1, LONG));
    let error = producer.send(ProducerRecord::new("t", &[b'v'; 1000])).unwrap_err();
    assert!(matches!(error.kind(), SendErrorKind::BufferFull { .. }), "{error}");
    open.send(()).unwrap();
    producer.flush().unwrap();
    producer.send(ProducerRecord::new("t", &[b'v'; 1000])).unwrap().get().unwrap();
}

#[test]
fn a_callback_can_send() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[]);
    let clone = producer.clone();
    let handle = inside_a_callback(&producer, move |_| clone.send(value("from within"))).unwrap();
    handle.get().unwrap();
    assert_eq!(world.values("t"), ["with a callback", "from within"]);
}

#[test]
fn a_send_in_a_callback_never_waits() {
    let world = World::with_partitions(1);
    world.create_topic("unknown-yet", 1);
    let producer = world.producer(&[("buffer.memory", "3000"), ("linger.ms", "60000")]);
    let clone = producer.clone();
    let (first, second) = inside_a_callback(&producer, move |_| {
        let metadata = clone.send(ProducerRecord::new("unknown-yet", "v")).unwrap_err();
        // The record of this very callback holds its memory still.
        let mut memory = None;
        for _ in 0..100 {
            memory = clone.send(ProducerRecord::new("t", &[b'v'; 500])).err();
            if memory.is_some() {
                break;
            }
        }
        (metadata, memory.expect("the memory has an end"))
    });
    for (error, what) in [(first, "metadata"), (second, "buffer.memory")] {
        assert!(matches!(error.kind(), SendErrorKind::WouldBlock { .. }), "{error:?}");
        assert!(error.to_string().contains(what) && error.is_retriable(), "{error}");
    }
    producer.flush().unwrap();
}

#[test]
fn what_would_wait_for_itself_is_refused_inside() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[("linger.ms", "60000")]);
    let done = send(&producer, "done");
    done.get().unwrap();
    let pending = send(&producer, "pending");
    let own = Arc::new(Mutex::new(None));
    let (clone, cell) = (producer.clone(), Arc::clone(&own));
    let (tell, told) = mpsc::channel();
    let (begin, begun) = mpsc::channel::<()>();
    let handle = producer
        .send_with(value("v"), move |_| {
            begun.recv().unwrap();
            let own: kafka_producer::DeliveryFuture = cell.lock().unwrap().take().unwrap();
            let later = clone.send(value("later")).unwrap();
            tell.send((
                clone.flush(),
                clone.flush_timeout(Duration::from_secs(1)),
                clone.close(),
                clone.close_timeout(Duration::ZERO),
                own.get(),
                later.get_timeout(LONG).expect("an answer at once"),
                done.get(),
                own.is_done(),
            ))
            .unwrap();
            *cell.lock().unwrap() = Some(own);
        })
        .unwrap();
    *own.lock().unwrap() = Some(handle);
    begin.send(()).unwrap();
    producer.flush().unwrap();
    pending.try_get().expect("it was flushed").unwrap();
    let (flush, flush_timeout, close, close_timeout, own_get, later_get, done_get, own_done) =
        told.recv().unwrap();
    for refused in [flush, flush_timeout, close, close_timeout] {
        let error = refused.unwrap_err();
        assert!(matches!(error, FlushError::InsideCallback { .. }), "{error:?}");
        assert!(error.to_string().contains("callback") && !error.is_fatal());
    }
    for waiting in [own_get, later_get] {
        let error = waiting.unwrap_err();
        assert!(matches!(error.cause(), DeliveryCause::CannotWait(_)), "{error:?}");
        assert!(error.may_have_been_written(), "nothing is known of it yet");
    }
    done_get.unwrap();
    assert!(!own_done, "it is done when its callback has returned");
    until("its own handle is done", || own.lock().unwrap().as_ref().is_some_and(|own| own.is_done()));
    producer.close().unwrap();
    assert_eq!(world.record_count("t"), 4, "nothing was closed from within");
}

#[test]
fn the_last_clone_can_be_dropped_inside() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[]);
    let (tell, told) = mpsc::channel();
    let (hand_over, handed) = mpsc::channel::<Producer>();
    let handle = producer
        .send_with(value("v"), move |_| {
            let last = handed.recv().unwrap();
            let late = last.send(value("sent by the last clone, at its end")).unwrap();
            drop(last);
            tell.send(late).unwrap();
        })
        .unwrap();
    hand_over.send(producer).unwrap();
    let late = told.recv_timeout(LONG).expect("dropping it does not wait for this very thread");
    handle.get().unwrap();
    late.get().unwrap();
    assert_eq!(world.record_count("t"), 2, "what was accepted is still sent");
}

/// A callback thread exists for producers that have callbacks, one each, so that one producer's never wait for another's.
#[test]
fn two_producers_do_not_wait_for_each_other() {
    let world = World::with_partitions(1);
    let (a, b) = (world.producer(&[]), world.producer(&[]));
    let (callback, open) = gate();
    let blocked = a.send_with(value("a"), callback).unwrap();
    assert!(world.wait_for_records("t", 1, LONG));
    inside_a_callback(&b, |outcome| outcome.unwrap());
    assert!(!blocked.is_done());
    open.send(()).unwrap();
    blocked.get().unwrap();
}

#[test]
fn a_callback_runs_when_its_record_fails_at_the_close() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[("linger.ms", "60000")]);
    let outcomes: Receiver<Outcome> = {
        let (tell, told) = mpsc::channel();
        for i in 0..100 {
            let tell = tell.clone();
            producer.send_with(value(&i.to_string()), move |outcome| tell.send(outcome).unwrap()).unwrap();
        }
        told
    };
    producer.close_timeout(Duration::ZERO).unwrap_err();
    let outcomes: Vec<_> = outcomes.iter().collect();
    assert_eq!(outcomes.len(), 100, "once each");
    for outcome in outcomes {
        assert!(matches!(outcome.unwrap_err().cause(), DeliveryCause::Closed));
    }
    assert_eq!(world.record_count("t"), 0);
}

#[test]
fn callbacks_can_send_from_many_threads_records_for_ever_and_close_ends_it() {
    fn again(producer: Producer, count: Arc<AtomicUsize>, stop: Arc<AtomicBool>) {
        let (next, counter, stopped) = (producer.clone(), Arc::clone(&count), Arc::clone(&stop));
        let sent = producer.send_with(value("again"), move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
            if !stopped.load(Ordering::SeqCst) {
                again(next, counter, stopped);
            }
        });
        if let Err(error) = sent {
            assert!(matches!(error.kind(), SendErrorKind::Closed), "{error}");
        }
    }
    let world = World::with_partitions(1);
    let producer = world.producer(&[("linger.ms", "0")]);
    let (count, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| again(producer.clone(), Arc::clone(&count), Arc::clone(&stop)));
        }
    });
    until("the chains run", || count.load(Ordering::SeqCst) > 200);
    producer.close().unwrap();
    assert_eq!(world.record_count("t"), count.load(Ordering::SeqCst) as u64);
}

#[test]
fn a_callback_of_a_record_that_was_sent_twice_runs_once() {
    let world = World::with_partitions(1);
    let producer = world.producer(&[]);
    let calls = Arc::new(AtomicUsize::new(0));
    for _ in 0..20 {
        world.fault(Fault::AppendThenClose);
        let calls = Arc::clone(&calls);
        let callback = move |outcome: Outcome| {
            outcome.unwrap();
            calls.fetch_add(1, Ordering::SeqCst);
        };
        producer.send_with(value("v"), callback).unwrap().get().unwrap();
    }
    producer.close().unwrap();
    assert_eq!((calls.load(Ordering::SeqCst), world.record_count("t")), (20, 20));
}
