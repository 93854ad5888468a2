//! Real threads against a sender thread that sleeps: nothing is lost, nothing is out of order, everybody is answered.

use std::{
    collections::HashMap,
    sync::{
        Arc, Barrier, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use super::{
    super::{
        append::{Entry, Partition},
        context::{End, Patience},
        hub::{Bell, Command, Hub, HubConfig, Level},
        receiver::HubReceiver,
        snapshot::{Snapshot, TopicView},
    },
    AGES, Taken, append, config, deliver, entry,
};
use crate::record::Headers;

/// The poller of the real thing, reduced to its waker.
#[derive(Default)]
struct Sleep {
    rung: Mutex<bool>,
    changed: Condvar,
}

struct Ringing(Arc<Sleep>);

impl Bell for Ringing {
    fn ring(&self) {
        *self.0.rung.lock().unwrap() = true;
        self.0.changed.notify_one();
    }
}

impl Sleep {
    fn sleep(&self, limit: Duration) {
        let limit = limit.min(AGES);
        let (mut rung, timeout) =
            self.changed.wait_timeout_while(self.rung.lock().unwrap(), limit, |rung| !*rung).unwrap();
        assert!(limit < AGES || !timeout.timed_out() || *rung, "the sender thread overslept");
        *rung = false;
    }
}

fn start(config: HubConfig) -> (Arc<Hub>, HubReceiver, Arc<Sleep>) {
    let sleep = Arc::new(Sleep::default());
    let (hub, receiver) = Hub::new(config, Box::new(Ringing(Arc::clone(&sleep))));
    let id = hub.topics().intern("t").unwrap().0;
    assert_eq!(id, 0);
    let view = TopicView { count: 4, ..TopicView::default() };
    hub.published().publish(Snapshot { topics: vec![Some(Arc::new(view))], ..Snapshot::default() });
    (hub, receiver, sleep)
}

/// Acknowledges whatever comes, and sleeps at a level that changes from turn to turn, until it is closed.
fn sender(mut receiver: HubReceiver, sleep: &Sleep, dies_after: usize) -> Vec<Taken> {
    use Level::*;
    let hub = Arc::clone(receiver.hub());
    let mut taken = Vec::new();
    let mut levels = [AnyRecord, AnyChunk, AnyRecord, ManyChunks, NothingButUrgent].into_iter().cycle();
    loop {
        for (cells, cell) in receiver.take_gets() {
            receiver.keep_get(cells, cell);
        }
        while let Some(command) = receiver.try_recv() {
            match command {
                Command::Chunk(chunk) => taken.extend(deliver(&hub, chunk)),
                Command::Flush(promise) => promise.fulfil(),
                Command::Transaction(request) => panic!("nobody makes transactions: {request:?}"),
                Command::Close => {
                    hub.die(End::Closed);
                    return taken;
                }
            }
            if taken.len() >= dies_after {
                return taken;
            }
        }
        let level = levels.next().unwrap();
        if let Some(limit) = receiver.doze(level) {
            sleep.sleep(limit);
            receiver.awake();
            if level != AnyRecord {
                receiver.steal_all();
                if receiver.lacks_memory() {
                    receiver.reclaim_credit();
                }
            }
        }
    }
}

fn tight() -> HubConfig {
    HubConfig {
        buffer_memory: 8 * 1024,
        chunk_bytes: 512,
        memory_for_chunks: 0,
        channel_capacity: 3,
        linger: Duration::from_millis(1),
        ring_threshold: 2,
    }
}

#[test]
fn many_threads_keep_their_order_and_get_their_answers() {
    const THREADS: usize = 20;
    const RECORDS: usize = 400;
    for config in [config(), tight()] {
        let (hub, receiver, sleep) = start(config);
        let sender = {
            let sleep = Arc::clone(&sleep);
            thread::spawn(move || sender(receiver, &sleep, usize::MAX))
        };
        let barrier = Barrier::new(THREADS);
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (hub, barrier) = (&hub, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let mut handles = Vec::new();
                    for number in 0..RECORDS {
                        let value = format!("{thread} {number}");
                        let headers = Headers::new();
                        let entry = Entry { partition: Partition::Key, ..entry(&value, &headers) };
                        handles.push(append(hub, entry, Patience::new(AGES)).unwrap());
                        if number % 50 == thread {
                            handles.last().unwrap().get().unwrap();
                        }
                        if number % 100 == thread {
                            hub.flush(Some(AGES)).unwrap();
                            assert!(handles.iter().all(|handle| handle.is_done()));
                        }
                    }
                    for handle in handles {
                        handle.get().unwrap();
                    }
                });
            }
        });
        hub.close_lanes();
        hub.close_command();
        let taken = sender.join().unwrap();
        let mut next = HashMap::<String, usize>::new();
        for record in taken {
            let value = String::from_utf8(record.value).unwrap();
            let (thread, number) = value.split_once(' ').unwrap();
            let next = next.entry(thread.to_owned()).or_default();
            assert_eq!(number, next.to_string(), "thread {thread} is out of order");
            *next += 1;
        }
        assert_eq!(next.len(), THREADS);
        assert!(next.values().all(|&sent| sent == RECORDS));
        assert_eq!(hub.budget().free(), hub.budget().limit());
        assert_eq!(hub.room.0.free(), hub.room.0.limit());
    }
}

#[test]
fn a_sender_thread_that_dies_leaves_nobody_waiting() {
    for dies_after in [0, 1, 7, 60, 300] {
        let (hub, receiver, sleep) = start(tight());
        let sender = thread::spawn(move || sender(receiver, &sleep, dies_after).len());
        let stop = AtomicBool::new(false);
        let accepted = thread::scope(|scope| {
            let threads: Vec<_> = (0..6)
                .map(|thread| {
                    let (hub, stop) = (&hub, &stop);
                    scope.spawn(move || {
                        let mut accepted = 0;
                        while !stop.load(Ordering::Relaxed) {
                            match append(hub, entry("v", &Headers::new()), Patience::new(AGES)) {
                                Ok(handle) if accepted % 8 == thread => _ = handle.get(),
                                Ok(_) => {}
                                Err(_) => stop.store(true, Ordering::Relaxed),
                            }
                            accepted += 1;
                            if accepted % 32 == thread {
                                let _ = hub.flush(Some(AGES));
                            }
                        }
                        accepted
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
        });
        assert!(sender.join().unwrap() <= accepted);
        assert!(hub.death().is_some());
        assert_eq!(hub.budget().free(), hub.budget().limit());
    }
}

#[test]
fn closing_while_threads_send_loses_nothing_that_was_accepted() {
    for _ in 0..20 {
        let (hub, receiver, sleep) = start(tight());
        let sender = thread::spawn(move || sender(receiver, &sleep, usize::MAX).len());
        let accepted = thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut handles = Vec::new();
                        while let Ok(handle) = append(&hub, entry("v", &Headers::new()), Patience::new(AGES))
                        {
                            handles.push(handle);
                        }
                        handles.iter().for_each(|handle| _ = handle.get().unwrap());
                        handles.len()
                    })
                })
                .collect();
            hub.flush(Some(AGES)).unwrap();
            hub.close_lanes();
            hub.close_command();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
        });
        assert_eq!(sender.join().unwrap(), accepted);
    }
}
