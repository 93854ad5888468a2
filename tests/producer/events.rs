//! Listeners for events: each kind once, on a thread that holds up nobody, and whatever a listener does.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use kafka_producer::{
    ErrorCode, Producer, ProducerConfig, ProducerEvent, SecurityProtocol,
    testing::{Api, Cluster, Fault},
};

use crate::harness::{DeadAddress, LONG, World, build, quick, send, send_to, until};

/// An event, and the name of the thread that told it.
type Told = (ProducerEvent, Option<String>);

#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<Told>>>);

impl Diary {
    fn listen(&self, config: ProducerConfig) -> ProducerConfig {
        let diary = self.clone();
        config.event_listener(move |event| {
            let thread = thread::current().name().map(String::from);
            diary.0.lock().unwrap().push((event.clone(), thread));
        })
    }

    fn producer(&self, world: &World, settings: &[(&str, &str)]) -> Producer {
        build(self.listen(world.config()), settings)
    }

    fn events(&self) -> Vec<ProducerEvent> {
        self.0.lock().unwrap().iter().map(|(event, _)| event.clone()).collect()
    }

    /// Waits for the first event that this takes something out of.
    fn wait_for<T>(&self, what: &str, take: impl Fn(&ProducerEvent) -> Option<T>) -> T {
        let mut found = None;
        until(what, || {
            found = self.events().iter().find_map(&take);
            found.is_some()
        });
        found.expect("it was waited for")
    }
}

#[test]
fn connections_come_and_go() {
    let world = World::with_partitions(1);
    let diary = Diary::default();
    let producer = diary.producer(&world, &[("linger.ms", "0")]);
    send(&producer, "v").get().unwrap();
    let address = world.address(1).to_string();
    let (node, broker) = diary.wait_for("a connection to the leader", |event| match event {
        ProducerEvent::Connected { node: Some(node), broker } => Some((*node, broker.to_string())),
        _ => None,
    });
    assert_eq!((node, broker), (1, format!("{address} (node 1)")));
    // First of all somebody was asked who the leader is.
    let ProducerEvent::Connected { node: None, broker } = &diary.events()[0] else {
        panic!("{:?}", diary.events());
    };
    assert_eq!(**broker, *format!("{address} (bootstrap.servers)"));

    world.close_connections(1);
    let reason = diary.wait_for("the end of the connection", |event| match event {
        ProducerEvent::Disconnected { node: Some(1), reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert!(reason.contains(&address), "{reason}");
    producer.close().unwrap();
}

#[test]
fn connections_that_do_not_come_about() {
    let dead = DeadAddress::new();
    let diary = Diary::default();
    let producer = build(diary.listen(quick(&dead.to_string())), &[("max.block.ms", "100")]);
    producer.partitions_for("t").unwrap_err();
    let (node, broker, reason) = diary.wait_for("an attempt", |event| match event {
        ProducerEvent::ConnectionFailed { node, broker, reason } => {
            Some((*node, broker.clone(), reason.clone()))
        }
        _ => None,
    });
    assert_eq!((node, &*broker), (None, &*format!("{dead} (bootstrap.servers)")));
    assert!(!reason.is_empty());
    assert!(!diary.events().iter().any(|event| matches!(event, ProducerEvent::Disconnected { .. })));
}

#[test]
fn idle_connections_are_closed_aloud() {
    let world = World::with_partitions(1);
    let diary = Diary::default();
    let producer = diary.producer(&world, &[("connections.max.idle.ms", "50")]);
    send(&producer, "v").get().unwrap();
    let reason = diary.wait_for("the end of an idle connection", |event| match event {
        ProducerEvent::Disconnected { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert_eq!(reason, "idle for connections.max.idle.ms");
}

#[test]
fn a_broker_that_wants_a_pause() {
    let world = World::with_partitions(1);
    let diary = Diary::default();
    let producer = diary.producer(&world, &[]);
    world.fault(Fault::Throttle(Duration::from_millis(30)));
    send(&producer, "v").get().unwrap();
    let (node, duration) = diary.wait_for("the pause", |event| match event {
        ProducerEvent::Throttled { node, duration, .. } => Some((*node, *duration)),
        _ => None,
    });
    assert_eq!((node, duration), (Some(1), Duration::from_millis(30)));
}

#[test]
fn a_leader_that_moves() {
    let world = World::with_brokers(2);
    let diary = Diary::default();
    let producer = diary.producer(&world, &[("linger.ms", "0"), ("metadata.max.age.ms", "10")]);
    let several_answers = || {
        let before = world.request_count(Api::Metadata);
        assert!(world.wait_for_requests(Api::Metadata, before + 3, LONG));
    };
    send_to(&producer, 0, "before").get().unwrap();
    several_answers();
    assert!(!diary.events().iter().any(|event| matches!(event, ProducerEvent::LeaderMoved { .. })));
    world.move_leader("t", 0, 2);
    send_to(&producer, 0, "after").get().unwrap();
    several_answers();
    producer.close().unwrap();
    let moves: Vec<_> = diary
        .events()
        .into_iter()
        .filter(|event| matches!(event, ProducerEvent::LeaderMoved { .. }))
        .collect();
    let expected = ProducerEvent::LeaderMoved { topic: "t".into(), partition: 0, from: 1, to: 2 };
    assert_eq!(moves, [expected], "once, and not with every metadata");
}

#[test]
fn a_batch_that_is_split() {
    let world = World::with_partitions(1);
    let diary = Diary::default();
    let producer = diary.producer(&world, &[("linger.ms", "60000")]);
    world.fail_next(ErrorCode::MESSAGE_TOO_LARGE, 1);
    let handles = [send(&producer, "1"), send(&producer, "2"), send(&producer, "3")];
    producer.flush().unwrap();
    assert!(handles.iter().all(|handle| handle.get().is_ok()));
    let split = ProducerEvent::BatchSplit { topic: "t".into(), partition: 0, records: 3 };
    diary.wait_for("the split", |event| (*event == split).then_some(()));
}

#[test]
fn an_id_is_given_out_and_an_epoch_raised() {
    let world = World::with_partitions(1);
    let diary = Diary::default();
    let producer = diary.producer(&world, &[("linger.ms", "0")]);
    send(&producer, "1").get().unwrap();
    let first = diary.wait_for("an id", |event| match event {
        ProducerEvent::ProducerIdAssigned { producer_id, epoch: 0 } => Some(*producer_id),
        _ => None,
    });
    world.fail_next(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, 1);
    send(&producer, "2").get().unwrap();
    let raised = ProducerEvent::EpochRaised { topic: "t".into(), partition: 0, producer_id: first, epoch: 1 };
    diary.wait_for("another epoch", |event| (*event == raised).then_some(()));
    // The record fails with it, and the next one goes under another id.
    world.fail_next(ErrorCode::INVALID_PRODUCER_EPOCH, 1);
    send(&producer, "3").get().unwrap_err();
    send(&producer, "4").get().unwrap();
    diary.wait_for("another id", |event| match event {
        ProducerEvent::ProducerIdAssigned { producer_id, .. } => (*producer_id != first).then_some(()),
        _ => None,
    });
}

#[test]
fn a_transactional_producers_epoch() {
    let world = World::with_partitions(1);
    let diary = Diary::default();
    let producer = diary.producer(&world, &[("transactional.id", "tx")]);
    producer.init_transactions().unwrap();
    diary.wait_for("an id", |event| match event {
        ProducerEvent::ProducerIdAssigned { producer_id, epoch: 0 } => (*producer_id >= 0).then_some(()),
        _ => None,
    });
}

#[test]
fn starting_again_from_the_first_addresses() {
    let world = World::with_partitions(1);
    let diary = Diary::default();
    let producer = diary.producer(&world, &[("max.block.ms", "1000")]);
    send(&producer, "v").get().unwrap();
    world.fault(Fault::Error(ErrorCode::REBOOTSTRAP_REQUIRED).api(Api::Metadata));
    // A topic that is not known yet asks for metadata.
    producer.partitions_for("another").unwrap_err();
    diary.wait_for("a new beginning", |event| match event {
        ProducerEvent::Rebootstrapped { reason } => (!reason.is_empty()).then_some(()),
        _ => None,
    });
}

#[test]
fn who_we_are_is_believed_and_believed_again() {
    let session = Duration::from_millis(1500);
    let builder =
        Cluster::builder().auto_create_topics(false).topic("t", 1).sasl_plain("me", "secret", Some(session));
    let world = World::start(builder);
    let diary = Diary::default();
    let config = world.config().security_protocol(SecurityProtocol::SaslPlaintext).sasl_plain("me", "secret");
    let producer = build(diary.listen(config), &[("linger.ms", "0")]);
    let again = || {
        let renewal =
            |event: &ProducerEvent| matches!(event, ProducerEvent::Authenticated { again: true, .. });
        diary.events().iter().any(renewal)
    };
    until("a renewal", || {
        send(&producer, "v").get().unwrap();
        again()
    });
    let events = diary.events();
    assert!(
        matches!(
            events[..2],
            [ProducerEvent::Authenticated { again: false, .. }, ProducerEvent::Connected { .. }]
        ),
        "{events:?}"
    );
    assert!(!events.iter().any(|event| format!("{event:?} {event}").contains("secret")));
}

#[test]
fn events_come_in_order_on_the_callback_thread_and_all_before_close_returns() {
    let world = World::with_partitions(1);
    let (first, second) = (Diary::default(), Diary::default());
    let producer = build(second.listen(first.listen(world.config())), &[("client.id", "me")]);
    send(&producer, "v").get().unwrap();
    producer.close().unwrap();
    let told = first.0.lock().unwrap();
    assert!(told.len() >= 3, "{told:?}");
    assert!(
        told.iter().all(|(_, thread)| thread.as_deref() == Some("kafka-producer-callback-thread | me")),
        "{told:?}"
    );
    assert_eq!(*told, *second.0.lock().unwrap());
}

#[test]
fn a_panic_ends_one_call_only() {
    let world = World::with_partitions(1);
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let config = world.config().event_listener(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        panic!("this panic is part of a test");
    });
    let diary = Diary::default();
    let producer = build(diary.listen(config), &[]);
    send(&producer, "v").get().unwrap();
    producer.close().unwrap();
    assert!(calls.load(Ordering::SeqCst) >= 3);
    assert_eq!(calls.load(Ordering::SeqCst), diary.events().len(), "the next listener is told all the same");
}

#[test]
fn a_listener_that_hangs_holds_up_no_record() {
    let world = World::with_partitions(1);
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let (tell, told) = mpsc::channel();
    let config = world.config().event_listener(move |event| {
        let _ = tell.send(event.clone());
        // Once open, for ever.
        let _ = gate.lock().unwrap().recv_timeout(8 * LONG);
    });
    let producer = build(config, &[("linger.ms", "0")]);
    for i in 0..100 {
        send(&producer, &i.to_string()).get().unwrap();
    }
    assert_eq!(told.try_iter().count(), 1, "it hangs in its first call");
    drop(open);
    producer.close().unwrap();
    assert!(told.try_iter().count() >= 2);
}

/// As in a callback: what would wait for this very thread is refused.
#[test]
fn inside_a_listener_nothing_waits() {
    let world = World::with_partitions(1);
    let cell: Arc<Mutex<Option<Producer>>> = Arc::default();
    let (tell, told) = mpsc::channel();
    let inside = Arc::clone(&cell);
    let config = world.config().event_listener(move |_| {
        if let Some(producer) = inside.lock().unwrap().take() {
            let _ = tell.send(producer.flush());
        }
    });
    let producer = build(config, &[]);
    *cell.lock().unwrap() = Some(producer.clone());
    send(&producer, "v").get().unwrap();
    told.recv_timeout(LONG).expect("the listener returns").unwrap_err();
}
