//! What the tests here share: a cluster that is looked over at its end, settings that fail fast, an end to hanging, and a
//! process of its own for a test that counts what all tests of a process have together.

use std::{
    env, fmt,
    io::{self, Write},
    net::SocketAddr,
    ops::Deref,
    process::{self, Command, Output},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

use kafka_producer::{
    DeliveryFuture, Producer, ProducerConfig, ProducerRecord, RecordMetadata,
    testing::{Cluster, ClusterBuilder},
};
use socket2::{Domain, Socket, Type};

/// A cluster whose end is part of the test: a producer that only got away with something has failed.
pub(crate) struct World {
    cluster: Cluster,
    /// Whether what the producer is told can be believed.
    honest: bool,
    _watch: Watch,
}

impl World {
    pub(crate) fn start(builder: ClusterBuilder) -> Self {
        let cluster = builder.start().expect("loopback sockets can be had");
        Self { cluster, honest: true, _watch: Watch::new() }
    }

    /// One broker with one topic `t`, and no others unless they are created.
    pub(crate) fn with_partitions(partitions: i32) -> Self {
        Self::start(Cluster::builder().auto_create_topics(false).topic("t", partitions))
    }

    /// One partition of `t` for each broker, which leads the partition of its number less one.
    pub(crate) fn with_brokers(brokers: i32) -> Self {
        Self::start(Cluster::builder().auto_create_topics(false).brokers(brokers).topic("t", brokers))
    }

    /// The producer will be told lies, and what it does in good faith then is not held against it.
    pub(crate) fn expect_lies(mut self) -> Self {
        self.honest = false;
        self
    }

    /// Settings for this cluster: see [`quick`].
    pub(crate) fn config(&self) -> ProducerConfig {
        quick(&self.bootstrap())
    }

    pub(crate) fn producer(&self, settings: &[(&str, &str)]) -> Producer {
        build(self.config(), settings)
    }

    /// The values of a topic as text, by partition and offset.
    pub(crate) fn values(&self, topic: &str) -> Vec<String> {
        self.records(topic).iter().map(|record| record.value_str().expect("a text").to_owned()).collect()
    }
}

impl Deref for World {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A test that has failed already says more than this would.
        if self.honest && !thread::panicking() {
            assert_eq!(self.violations(), [""; 0], "the producer did what no broker would have noticed");
        }
    }
}

/// Defaults, but whatever is tried again is tried again at once.
pub(crate) fn quick(bootstrap: &str) -> ProducerConfig {
    ProducerConfig::new(bootstrap)
        .set("retry.backoff.ms", "10")
        .set("retry.backoff.max.ms", "100")
        .set("reconnect.backoff.ms", "10")
        .set("reconnect.backoff.max.ms", "100")
}

pub(crate) fn build(config: ProducerConfig, settings: &[(&str, &str)]) -> Producer {
    let config = settings.iter().fold(config, |config, (name, value)| config.set(name, value));
    Producer::new(config).unwrap_or_else(|error| panic!("{settings:?}: {error}"))
}

/// Sends a text to partition 0 of `t`.
pub(crate) fn send(producer: &Producer, value: &str) -> DeliveryFuture {
    send_to(producer, 0, value)
}

/// Sends a text to a partition of `t`.
pub(crate) fn send_to(producer: &Producer, partition: i32, value: &str) -> DeliveryFuture {
    let record = ProducerRecord::new("t", value).partition(partition);
    producer.send(record).unwrap_or_else(|error| panic!("{value:?} was refused: {error}"))
}

/// Waits for all and expects them to have arrived.
pub(crate) fn arrived(handles: &[DeliveryFuture]) -> Vec<RecordMetadata> {
    let outcome = |handle: &DeliveryFuture| handle.get().unwrap_or_else(|error| panic!("{error}"));
    handles.iter().map(outcome).collect()
}

/// An address of this machine that nobody listens at, and nobody else can take meanwhile.
pub(crate) struct DeadAddress(Socket);

impl DeadAddress {
    pub(crate) fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket can be had");
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port is free");
        Self(socket)
    }
}

impl fmt::Display for DeadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.0.local_addr().expect("it was bound");
        write!(f, "{}", address.as_socket().expect("to an IPv4 address"))
    }
}

/// Asks again and again, for want of anything that would tell.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < LONG, "{what}: not within {LONG:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Ends the process if it lives for far longer than any test takes: a test that hangs has failed, and says so. Whatever is logged
/// meanwhile is seen if `RUST_LOG` asks for it.
pub(crate) struct Watch {
    _alive: Sender<()>,
}

impl Watch {
    pub(crate) fn new() -> Self {
        if env::var_os("RUST_LOG").is_some() {
            // A test before this one in the same process may have done it.
            let _ = env_logger::try_init();
        }
        let (alive, ended) = mpsc::channel::<()>();
        let test = thread::current().name().unwrap_or("a test").to_owned();
        thread::spawn(move || {
            if ended.recv_timeout(8 * LONG) == Err(RecvTimeoutError::Timeout) {
                // Past what the harness captures of a test that has not ended.
                let _ = writeln!(io::stderr(), "{test} hangs");
                process::abort();
            }
        });
        Self { _alive: alive }
    }
}

/// Runs the test of this name once more in a process of its own, and says what came of it. `None`: this is that process.
pub(crate) fn in_a_process_of_its_own(test: &str) -> Option<Output> {
    if env::var_os(ALONE).is_some() {
        return None;
    }
    let program = env::current_exe().expect("a test is a program");
    let output = Command::new(program)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(ALONE, "1")
        .output()
        .expect("a program can be run twice");
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && stdout.contains("1 passed"), "{test}: {stdout}\n{stderr}");
    Some(output)
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// More than ten times of whatever limit it is compared with.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// Set in a process that [`in_a_process_of_its_own`] started.
const ALONE: &str = "PRODUCER_TEST_ALONE";
