//! What a network may do to a stream of bytes: crumbs, drops, cuts in the middle, and answers out of turn.

use std::{
    env,
    hash::{BuildHasher, RandomState},
    io::{self, ErrorKind, Write},
    net::TcpStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

use kafka_producer::{Producer, testing::Api};

use crate::{
    harness::{LONG, World, arrived, build, quick, send, until},
    proxy::{PRODUCE, Proxy, Tampering},
};

/// A cluster, a proxy before it, and a producer that knows the proxy alone.
fn through(tampering: Arc<impl Tampering>, settings: &[(&str, &str)]) -> (Producer, Proxy, World) {
    let world = World::with_partitions(1);
    let proxy = Proxy::new(&world, tampering);
    let producer = build(quick(&proxy.address()), settings);
    (producer, proxy, world)
}

/// How many of something are still to be tampered with.
#[derive(Default)]
struct Left(AtomicUsize);

impl Left {
    fn set(&self, count: usize) {
        self.0.store(count, Ordering::SeqCst);
    }

    fn take(&self) -> bool {
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }
}

fn cut() -> io::Error {
    ErrorKind::ConnectionAborted.into()
}

#[test]
fn a_byte_at_a_time_in_both_directions() {
    struct Crumbs;
    impl Tampering for Crumbs {
        fn request(&self, frame: &[u8], broker: &mut TcpStream) -> io::Result<()> {
            frame.iter().try_for_each(|byte| broker.write_all(&[*byte]))
        }
        fn response(&self, _: i16, frame: &[u8], producer: &mut TcpStream) -> io::Result<()> {
            frame.iter().try_for_each(|byte| producer.write_all(&[*byte]))
        }
    }
    let (producer, _proxy, world) = through(Arc::new(Crumbs), &[("batch.size", "500")]);
    let handles: Vec<_> = (0..300).map(|i| send(&producer, &i.to_string())).collect();
    arrived(&handles);
    assert_eq!(world.values("t"), (0..300).map(|i| i.to_string()).collect::<Vec<_>>());
    producer.close().unwrap();
}

/// It never pauses for as long as request.timeout.ms, and takes many times that in all.
#[test]
fn an_answer_that_drips_is_given_up_in_time() {
    #[derive(Default)]
    struct Drip {
        left: Left,
        whole: AtomicBool,
    }
    impl Tampering for Drip {
        fn response(&self, api: i16, frame: &[u8], producer: &mut TcpStream) -> io::Result<()> {
            if api != PRODUCE || !self.left.take() {
                return producer.write_all(frame);
            }
            let (last, before) = frame.split_last().expect("an answer has bytes");
            for byte in before {
                producer.write_all(&[*byte])?;
                thread::sleep(Duration::from_millis(200));
            }
            self.whole.store(true, Ordering::SeqCst);
            producer.write_all(&[*last])
        }
    }
    let drip = Arc::new(Drip::default());
    let (producer, _proxy, world) = through(Arc::clone(&drip), &[("request.timeout.ms", "500")]);
    send(&producer, "first").get().unwrap();
    drip.left.set(1);
    let began = Instant::now();
    send(&producer, "second").get().unwrap();
    assert!(began.elapsed() >= Duration::from_millis(500) && began.elapsed() < LONG, "{:?}", began.elapsed());
    assert!(!drip.whole.load(Ordering::SeqCst), "it was waited for");
    assert_eq!(world.values("t"), ["first", "second"]);
    producer.close().unwrap();
}

/// A request that the broker got a part of was not written, and is sent again from its first byte.
#[test]
fn a_request_that_is_cut() {
    #[derive(Default)]
    struct CutRequest {
        left: Left,
        bytes: AtomicUsize,
    }
    impl Tampering for CutRequest {
        fn request(&self, frame: &[u8], broker: &mut TcpStream) -> io::Result<()> {
            if i16::from_be_bytes([frame[4], frame[5]]) != PRODUCE || !self.left.take() {
                return broker.write_all(frame);
            }
            let bytes = self.bytes.load(Ordering::SeqCst).min(frame.len());
            broker.write_all(&frame[..bytes])?;
            Err(cut())
        }
    }
    let tampering = Arc::new(CutRequest::default());
    let (producer, _proxy, world) = through(Arc::clone(&tampering), &[]);
    send(&producer, "first").get().unwrap();
    let lengths = (0..12).chain((12..220).step_by(13)).chain([usize::MAX]);
    let mut expected = vec!["first".to_owned()];
    for bytes in lengths {
        tampering.bytes.store(bytes, Ordering::SeqCst);
        tampering.left.set(1);
        let value = format!("cut after {bytes}");
        send(&producer, &value).get().unwrap();
        expected.push(value);
    }
    assert_eq!(world.values("t"), expected);
    producer.close().unwrap();
}

/// An answer in the place of another must not be taken for it.
#[test]
fn answers_in_the_wrong_order() {
    #[derive(Default)]
    struct Swap {
        left: Left,
        held: Mutex<Option<Vec<u8>>>,
    }
    impl Tampering for Swap {
        fn response(&self, api: i16, frame: &[u8], producer: &mut TcpStream) -> io::Result<()> {
            if api != PRODUCE || !self.left.take() {
                return producer.write_all(frame);
            }
            let mut held = self.held.lock().unwrap();
            match held.take() {
                None => {
                    *held = Some(frame.to_vec());
                    Ok(())
                }
                Some(first) => producer.write_all(&[frame, &first].concat()),
            }
        }
    }
    let swap = Arc::new(Swap::default());
    let (producer, _proxy, world) = through(Arc::clone(&swap), &[("linger.ms", "0")]);
    send(&producer, "first").get().unwrap();
    for round in 0..5 {
        swap.left.set(2);
        let sent = world.request_count(Api::Produce);
        let (one, two) = {
            let one = send(&producer, "one");
            assert!(world.wait_for_requests(Api::Produce, sent + 1, LONG));
            (one, send(&producer, "two"))
        };
        assert_eq!(one.get().unwrap().offset(), 1 + 2 * round);
        assert_eq!(two.get().unwrap().offset(), 2 + 2 * round);
    }
    let values = world.values("t");
    assert_eq!(values[1..], ["one", "two"].repeat(5));
    producer.close().unwrap();
}

#[test]
fn an_answer_that_comes_twice() {
    #[derive(Default)]
    struct Twice(Left);
    impl Tampering for Twice {
        fn response(&self, api: i16, frame: &[u8], producer: &mut TcpStream) -> io::Result<()> {
            producer.write_all(frame)?;
            if api == PRODUCE && self.0.take() { producer.write_all(frame) } else { Ok(()) }
        }
    }
    let twice = Arc::new(Twice::default());
    let (producer, _proxy, world) = through(Arc::clone(&twice), &[("linger.ms", "0"), ("batch.size", "100")]);
    send(&producer, "first").get().unwrap();
    for _ in 0..5 {
        twice.0.set(3);
        let handles: Vec<_> = (0..50).map(|i| send(&producer, &i.to_string())).collect();
        arrived(&handles);
    }
    let expected: Vec<_> = (0..5).flat_map(|_| (0..50).map(|i| i.to_string())).collect();
    assert_eq!(world.values("t")[1..], expected);
    producer.close().unwrap();
}

#[test]
fn an_answer_that_nobody_asked_for_ends_the_connection_only() {
    struct Untouched;
    impl Tampering for Untouched {}
    let (producer, proxy, world) = through(Arc::new(Untouched), &[]);
    send(&producer, "first").get().unwrap();
    for round in 0..5_u32 {
        let connections = world.connection_count();
        let frame = [&4_u32.to_be_bytes()[..], &round.to_be_bytes()].concat();
        proxy.inject(&frame);
        until("the connection is made anew", || {
            send(&producer, "v").get().unwrap();
            world.connection_count() > connections
        });
    }
    let values = world.values("t");
    assert!(values[1..].iter().all(|value| value == "v"));
    producer.close().unwrap();
}

/// Brokers answer nothing to what is sent with acks=0. One that does is as mad as any other.
#[test]
fn an_answer_where_none_is_due_ends_the_connection_only() {
    struct Untouched;
    impl Tampering for Untouched {}
    let (producer, proxy, world) = through(Arc::new(Untouched), &[("acks", "0")]);
    send(&producer, "v").get().unwrap();
    world.wait_for_records("t", 1, LONG);
    let connections = world.connection_count();
    proxy.inject(&[0, 0, 0, 4, 0, 0, 0, 1]);
    until("the connection is made anew", || {
        send(&producer, "v").get().unwrap();
        world.connection_count() > connections
    });
    producer.close().unwrap();
}

/// Well-formed answers with contents that cannot be: what was asked about and is not in them is tried again, the rest is
/// believed as far as it makes sense.
#[test]
fn answers_that_say_what_cannot_be() {
    type Part = (&'static str, i32, i64);
    /// In version 3, in which every field has its place.
    struct Replace(Mutex<Option<&'static [Part]>>);
    impl Tampering for Replace {
        fn response(&self, api: i16, frame: &[u8], producer: &mut TcpStream) -> io::Result<()> {
            let replacement = if api == PRODUCE { self.0.lock().unwrap().take() } else { None };
            let Some(parts) = replacement else { return producer.write_all(frame) };
            let mut body = frame[4..8].to_vec();
            body.extend((parts.len() as i32).to_be_bytes());
            for (topic, partition, offset) in parts {
                body.extend((topic.len() as i16).to_be_bytes());
                body.extend(topic.as_bytes());
                body.extend(1_i32.to_be_bytes());
                body.extend(partition.to_be_bytes());
                body.extend(0_i16.to_be_bytes());
                body.extend(offset.to_be_bytes());
                body.extend((-1_i64).to_be_bytes());
            }
            body.extend(0_i32.to_be_bytes());
            producer.write_all(&[&(body.len() as u32).to_be_bytes()[..], &body].concat())
        }
    }
    let replace = Arc::new(Replace(Mutex::default()));
    let (producer, _proxy, world) = through(Arc::clone(&replace), &[("linger.ms", "0")]);
    world.set_versions(Api::Produce, 3..=3);
    send(&producer, "0").get().unwrap();
    let mut expected = vec!["0".to_owned()];
    for (parts, offset) in [
        (&[][..], Some(1)),
        (&[("u", 0, 7)], Some(2)),
        (&[("t", 1, 7)], Some(3)),
        (&[("t", -1, 7)], Some(4)),
        (&[("t", i32::MIN, 7)], Some(5)),
        (&[("t", 0, 6), ("t", 0, 99)], Some(6)),
        (&[("t", 0, -1)], None),
        (&[("t", 0, i64::MIN)], None),
    ] {
        *replace.0.lock().unwrap() = Some(parts);
        let value = expected.len().to_string();
        let metadata = send(&producer, &value).get().unwrap_or_else(|error| panic!("{parts:?}: {error}"));
        assert_eq!(metadata.has_offset().then(|| metadata.offset()), offset, "{parts:?}");
        expected.push(value);
    }
    // No log will ever be that long; a handle has no room for so much.
    *replace.0.lock().unwrap() = Some(&[("t", 0, i64::MAX)]);
    assert!(send(&producer, "last").get().unwrap().offset() > 1 << 60);
    expected.push("last".to_owned());
    assert_eq!(world.values("t"), expected);
    producer.close().unwrap();
}

/// The producer has given it up and sent it again, on another connection, when the first copy reaches the broker.
#[test]
fn a_request_that_arrives_late() {
    struct Late {
        left: Left,
        gate: Mutex<Receiver<()>>,
        passed: AtomicUsize,
    }
    impl Tampering for Late {
        fn request(&self, frame: &[u8], broker: &mut TcpStream) -> io::Result<()> {
            let late = i16::from_be_bytes([frame[4], frame[5]]) == PRODUCE && self.left.take();
            if late {
                self.gate.lock().unwrap().recv().unwrap();
            }
            broker.write_all(frame)?;
            self.passed.fetch_add(usize::from(late), Ordering::SeqCst);
            Ok(())
        }
    }
    let (open, gate) = mpsc::channel();
    let late = Arc::new(Late { left: Left::default(), gate: Mutex::new(gate), passed: AtomicUsize::new(0) });
    let (producer, _proxy, world) = through(Arc::clone(&late), &[("request.timeout.ms", "200")]);
    send(&producer, "first").get().unwrap();
    for round in 1..=5 {
        late.left.set(1);
        send(&producer, &round.to_string()).get().unwrap();
        let asked = world.request_count(Api::Produce);
        open.send(()).unwrap();
        assert!(world.wait_for_requests(Api::Produce, asked + 1, LONG));
        until("it was the first copy", || late.passed.load(Ordering::SeqCst) == round);
    }
    send(&producer, "last").get().unwrap();
    assert_eq!(world.values("t"), ["first", "1", "2", "3", "4", "5", "last"]);
    producer.close().unwrap();
}

/// A flipped bit can say anything, and be believed; but nobody waits for ever for it, and the producer goes on.
#[test]
fn answers_with_flipped_bits() {
    struct Flip {
        left: Left,
        random: AtomicUsize,
    }
    impl Tampering for Flip {
        fn response(&self, api: i16, frame: &[u8], producer: &mut TcpStream) -> io::Result<()> {
            if api != PRODUCE || !self.left.take() {
                return producer.write_all(frame);
            }
            let random = self.random.fetch_add(0x9e37_79b9, Ordering::SeqCst).wrapping_mul(0x2545_f491);
            let mut flipped = frame.to_vec();
            // Not in the pause that the broker asks for, near the end: it would be right to keep one of days.
            let bit = (random >> 16) % (8 * (frame.len() - 5));
            flipped[bit / 8] ^= 1 << (bit % 8);
            producer.write_all(&flipped)
        }
    }
    let fresh = RandomState::new().hash_one(0) as usize % 1_000_000;
    let seed = env::var("FLIP_SEED").map_or(fresh, |seed| seed.parse().expect("a number"));
    eprintln!("FLIP_SEED={seed}");
    let flip = Arc::new(Flip { left: Left::default(), random: AtomicUsize::new(seed) });
    let settings = [("request.timeout.ms", "200"), ("delivery.timeout.ms", "800"), ("linger.ms", "0")];
    let (producer, _proxy, world) = through(Arc::clone(&flip), &settings);
    let _world = world.expect_lies();
    for _ in 0..40 {
        flip.left.set(2);
        let handles: Vec<_> = (0..3).map(|i| send(&producer, &i.to_string())).collect();
        for handle in handles {
            let _ = handle.get();
        }
    }
    flip.left.set(0);
    until("it works again", || send(&producer, "last").get().is_ok());
    producer.close().unwrap();
}
