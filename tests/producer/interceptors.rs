//! Interceptors: the order in which they are asked, what they see, and that no panic of theirs goes further.

use std::{
    sync::{Arc, Mutex, mpsc},
    thread::{self, ThreadId},
};

use kafka_producer::{
    DeliveryError, Headers, Producer, ProducerInterceptor, ProducerRecord, RecordMetadata, SendError,
    SendErrorKind,
};

use crate::harness::{World, build, send, until};

type Diary = Arc<Mutex<Vec<String>>>;

/// Writes down what it is told, and leaves a header with its name that lists those that were there before.
struct Scribe {
    name: &'static str,
    diary: Diary,
    panics: bool,
}

impl Scribe {
    fn new(name: &'static str, diary: &Diary) -> Self {
        Self { name, diary: Arc::clone(diary), panics: false }
    }

    fn panicking(name: &'static str, diary: &Diary) -> Self {
        Self { panics: true, ..Self::new(name, diary) }
    }

    fn note(&self, what: &str) {
        self.diary.lock().unwrap().push(format!("{}: {what}", self.name));
        assert!(!self.panics, "this panic is part of a test");
    }
}

impl ProducerInterceptor for Scribe {
    fn on_send(&self, topic: &str, partition: Option<i32>, headers: &mut Headers) {
        let seen: Vec<_> = headers.iter().map(|(key, _)| key.to_owned()).collect();
        headers.add(self.name, Some(seen.join(",").as_bytes()));
        self.note(&format!("send {topic} {partition:?}"));
    }

    fn on_acknowledgement(&self, outcome: Result<&RecordMetadata, &DeliveryError>) {
        self.note(&match outcome {
            Ok(metadata) => format!("acknowledged {metadata}"),
            Err(error) => format!("failed {}", error.topic()),
        });
    }

    fn on_send_error(&self, topic: &str, error: &SendError) {
        self.note(&format!(
            "refused {topic} {}",
            matches!(error.kind(), SendErrorKind::InvalidTimestamp { .. })
        ));
    }

    fn close(&self) {
        self.note("close");
    }
}

fn take(diary: &Diary) -> Vec<String> {
    std::mem::take(&mut *diary.lock().unwrap())
}

#[test]
fn they_are_asked_in_order_and_before_the_callback_and_the_handle() {
    let world = World::with_partitions(1);
    let diary = Diary::default();
    let config = world.config().interceptor(Scribe::new("a", &diary)).interceptor(Scribe::new("b", &diary));
    let producer = build(config, &[]);

    let note = Arc::clone(&diary);
    let record = ProducerRecord::new("t", "v").partition(0).header("own", "h");
    let callback = move |outcome: Result<RecordMetadata, DeliveryError>| {
        note.lock().unwrap().push(format!("callback: {}", outcome.unwrap()));
    };
    producer.send_with(record, callback).unwrap().get().unwrap();
    assert_eq!(
        take(&diary),
        [
            "a: send t Some(0)",
            "b: send t Some(0)",
            "a: acknowledged t-0@0",
            "b: acknowledged t-0@0",
            "callback: t-0@0"
        ]
    );
    let header = |key: &str, value: &str| (key.to_owned(), Some(value.as_bytes().to_vec()));
    assert_eq!(world.records("t")[0].headers, [header("own", "h"), header("a", "own"), header("b", "own,a")]);

    send(&producer, "no callback of its own").get().unwrap();
    assert_eq!(take(&diary).len(), 4, "the handle waits for them all the same");

    producer.close().unwrap();
    producer.close().unwrap();
    drop(producer);
    assert_eq!(take(&diary), ["a: close", "b: close"], "once, however often the producer is closed");
}

#[test]
fn a_refused_record_is_told_once_on_the_callers_thread() {
    let world = World::with_partitions(1);
    let diary = Diary::default();
    let config = world.config().interceptor(Scribe::new("a", &diary)).interceptor(Scribe::new("b", &diary));
    let producer = build(config, &[]);
    producer.send(ProducerRecord::new("t", "v").timestamp(-5)).unwrap_err();
    assert_eq!(take(&diary), ["a: send t None", "b: send t None", "a: refused t true", "b: refused t true"]);
    producer.close().unwrap();
    take(&diary);
    producer.send(ProducerRecord::new("t", "v")).unwrap_err();
    assert_eq!(take(&diary).len(), 4, "also when it is refused because the producer is closed");
}

#[test]
fn one_that_panics_is_as_if_it_were_not_there() {
    let world = World::with_partitions(1);
    let diary = Diary::default();
    let config = world
        .config()
        .interceptor(Scribe::new("a", &diary))
        .interceptor(Scribe::panicking("b", &diary))
        .interceptor(Scribe::new("c", &diary));
    let producer = build(config, &[]);
    let note = Arc::clone(&diary);
    let callback = move |_| note.lock().unwrap().push("callback".into());
    producer.send_with(ProducerRecord::new("t", "v"), callback).unwrap().get().unwrap();
    let asked = take(&diary);
    assert_eq!(
        asked,
        [
            "a: send t None",
            "b: send t None",
            "c: send t None",
            "a: acknowledged t-0@0",
            "b: acknowledged t-0@0",
            "c: acknowledged t-0@0",
            "callback"
        ]
    );
    let header = |key: &str, value: &str| (key.to_owned(), Some(value.as_bytes().to_vec()));
    assert_eq!(
        world.records("t")[0].headers,
        [header("a", ""), header("c", "a")],
        "what b changed is dropped"
    );

    producer.send(ProducerRecord::new("t", "v").timestamp(-5)).unwrap_err();
    assert_eq!(take(&diary)[3..], ["a: refused t true", "b: refused t true", "c: refused t true"]);
    producer.close().unwrap();
    assert_eq!(take(&diary), ["a: close", "b: close", "c: close"]);
}

#[test]
fn sends_are_seen_by_the_caller_and_outcomes_by_the_callback_thread() {
    #[derive(Default)]
    struct Threads {
        sent: Mutex<Vec<ThreadId>>,
        acknowledged: Mutex<Vec<ThreadId>>,
        refused: Mutex<Vec<ThreadId>>,
    }
    struct Shared(Arc<Threads>);
    impl ProducerInterceptor for Shared {
        fn on_send(&self, _: &str, _: Option<i32>, _: &mut Headers) {
            self.0.sent.lock().unwrap().push(thread::current().id());
        }
        fn on_acknowledgement(&self, _: Result<&RecordMetadata, &DeliveryError>) {
            self.0.acknowledged.lock().unwrap().push(thread::current().id());
        }
        fn on_send_error(&self, _: &str, _: &SendError) {
            self.0.refused.lock().unwrap().push(thread::current().id());
        }
    }
    let world = World::with_partitions(1);
    let threads = Arc::new(Threads::default());
    let producer = build(world.config().interceptor(Shared(Arc::clone(&threads))), &[]);
    let (sender, callback) = mpsc::channel();
    let tell = move |_| sender.send(thread::current().id()).unwrap();
    producer.send_with(ProducerRecord::new("t", "v"), tell).unwrap().get().unwrap();
    producer.send(ProducerRecord::new("t", "v").timestamp(-1)).unwrap_err();

    let me = thread::current().id();
    assert_eq!(*threads.sent.lock().unwrap(), [me, me]);
    assert_eq!(*threads.refused.lock().unwrap(), [me]);
    assert_eq!(*threads.acknowledged.lock().unwrap(), [callback.recv().unwrap()]);
    assert_ne!(threads.acknowledged.lock().unwrap()[0], me);
}

/// Where nobody may wait, they are closed all the same: after everything else, and without harm if they close in turn.
#[test]
fn they_are_closed_when_the_last_clone_is_dropped_in_a_callback() {
    struct Closer(Diary);
    impl ProducerInterceptor for Closer {
        fn on_acknowledgement(&self, outcome: Result<&RecordMetadata, &DeliveryError>) {
            self.0.lock().unwrap().push(outcome.unwrap().to_string());
        }
        fn close(&self) {
            self.0.lock().unwrap().push("close".into());
        }
    }
    let world = World::with_partitions(1);
    let diary = Diary::default();
    let producer = build(world.config().interceptor(Closer(Arc::clone(&diary))), &[]);
    let (hand_over, handed) = mpsc::channel::<Producer>();
    let callback = move |_| {
        let last = handed.recv().unwrap();
        drop(last.send(ProducerRecord::new("t", "late")).unwrap());
    };
    producer.send_with(ProducerRecord::new("t", "v"), callback).unwrap();
    hand_over.send(producer).unwrap();
    until("it is closed", || diary.lock().unwrap().len() == 3);
    assert_eq!(take(&diary), ["t-0@0", "t-0@1", "close"]);
}

#[test]
fn one_that_waits_for_the_end_in_its_own_close_is_refused() {
    struct Keeper(Arc<Mutex<Option<Producer>>>, Diary);
    impl ProducerInterceptor for Keeper {
        fn close(&self) {
            let own = self.0.lock().unwrap().take().expect("it was given one");
            let refused = own.close().unwrap_err();
            self.1.lock().unwrap().push(refused.to_string());
        }
    }
    let world = World::with_partitions(1);
    let (own, diary) = (Arc::new(Mutex::new(None)), Diary::default());
    let producer = build(world.config().interceptor(Keeper(Arc::clone(&own), Arc::clone(&diary))), &[]);
    *own.lock().unwrap() = Some(producer.clone());
    producer.close().unwrap();
    assert_eq!(take(&diary).len(), 1);
}

#[test]
fn a_record_that_fails_later_is_told_as_well() {
    let world = World::with_partitions(1);
    let diary = Diary::default();
    let producer = build(world.config().interceptor(Scribe::new("a", &diary)), &[("linger.ms", "60000")]);
    let handle = producer.send(ProducerRecord::new("t", "v")).unwrap();
    producer.close_timeout(std::time::Duration::ZERO).unwrap_err();
    handle.get().unwrap_err();
    until("it is closed", || diary.lock().unwrap().len() == 3);
    assert_eq!(take(&diary), ["a: send t None", "a: failed t", "a: close"]);
}
