//! Real brokers, as child processes of the test, to be killed, frozen and stopped at will.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    hash::{BuildHasher, Hasher, RandomState},
    io::{Read, Seek, SeekFrom},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{
    jars, java,
    kafka::{Kafka, read_text},
    log_dump::{self, Batch},
    process::{self, Process, poll_until},
    ready,
    secured::{self, Keys},
};

/// What a cluster is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spec {
    /// Each is broker and controller in one, but for those of [old versions](Self::has_zookeeper).
    pub(crate) nodes: usize,
    /// Kafka's version.
    pub(crate) version: &'static str,
    /// Properties of every broker, beyond those that the harness sets or in their place.
    pub(crate) props: &'static [(&'static str, &'static str)],
    /// Whether it also listens with TLS and with SASL, in every combination that `security.protocol` has.
    pub(crate) secured: bool,
}

impl Spec {
    /// Whether the brokers need ZooKeeper: those before 3.3, with which KRaft was declared ready.
    fn has_zookeeper(&self) -> bool {
        let mut numbers = self.version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
        let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        (major, minor) < (3, 3)
    }
}

/// Brokers on loopback ports, with ids from 1.
pub(crate) struct Cluster {
    spec: Spec,
    nodes: BTreeMap<i32, Node>,
    /// Outlives the brokers, and whatever is done to them.
    zookeeper: Option<Process>,
    jars: PathBuf,
    kafka: Kafka,
    /// Of a [secured](Spec::secured) cluster.
    keys: Option<Box<Keys>>,
    /// Removed when dropped, after the brokers: fields are dropped in order.
    folder: TempDir,
}

struct Node {
    port: u16,
    controller_port: u16,
    folder: PathBuf,
    /// `None` after it was killed or stopped.
    process: Option<Process>,
    frozen: bool,
}

impl Cluster {
    /// Formats the disks, starts the brokers, and returns when each of them lists all of them.
    pub(crate) fn start(spec: Spec) -> Result<Self, String> {
        let mut tries = 0;
        loop {
            tries += 1;
            match Self::start_once(spec) {
                // Somebody took a port between our choosing it and the broker's binding it.
                Err(e) if e.contains("Address already in use") && tries < 3 => {}
                started => return started,
            }
        }
    }

    fn start_once(spec: Spec) -> Result<Self, String> {
        let jars = jars::folder(spec.version)?;
        let io = |e| format!("cannot prepare a folder for the brokers: {e}");
        let folder =
            tempfile::Builder::new().prefix("kafka-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).map_err(io)?;
        let ports = free_ports(2 * spec.nodes + 1)?;
        let (ports, zookeeper) = (&ports[1..], ports[0]);
        let nodes: BTreeMap<i32, Node> = (1..)
            .zip(ports.chunks_exact(2))
            .map(|(id, ports)| {
                let folder = folder.path().join(format!("node-{id}"));
                (id, Node { port: ports[0], controller_port: ports[1], folder, process: None, frozen: false })
            })
            .collect();
        let bootstrap: Vec<_> = nodes.values().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        let kafka = Kafka::at(bootstrap.join(","))?;
        let keys = if spec.secured { Some(Box::new(Keys::make(folder.path())?)) } else { None };
        let mut cluster = Self { spec, nodes, zookeeper: None, jars, kafka, keys, folder };

        for (&node, at) in &cluster.nodes {
            fs::create_dir_all(&at.folder).map_err(io)?;
            fs::write(at.properties(), cluster.properties(node, zookeeper)).map_err(io)?;
        }
        if spec.has_zookeeper() {
            let process = start_zookeeper(&cluster.jars, cluster.folder.path(), zookeeper)?;
            cluster.zookeeper = Some(process);
        } else {
            // Unpadded base64 of sixteen bytes, as Kafka wants it.
            let id = format!("{:016x}AAAAAA", random());
            thread::scope(|scope| {
                let formats: Vec<_> = cluster
                    .nodes
                    .values()
                    .map(|node| scope.spawn(|| node.format(&cluster.jars, &id, spec.secured)))
                    .collect();
                formats.into_iter().try_for_each(|format| format.join().expect("formatting does not panic"))
            })?;
        }
        for node in cluster.nodes.values_mut() {
            node.start(&cluster.jars, spec)?;
        }
        cluster.wait_until_ready()?;
        Ok(cluster)
    }

    /// The brokers' ids.
    pub(crate) fn ids(&self) -> Vec<i32> {
        self.nodes.keys().copied().collect()
    }

    /// The ports with security, and what clients need there.
    pub(crate) fn keys(&self) -> &Keys {
        self.keys.as_ref().expect("the cluster was started with security")
    }

    /// What it was started as.
    pub(crate) fn spec(&self) -> Spec {
        self.spec
    }

    /// The cluster as clients see it.
    pub(crate) fn kafka(&self) -> &Kafka {
        &self.kafka
    }

    /// SIGKILL: the broker is gone in the middle of whatever it did.
    pub(crate) fn kill(&mut self, node: i32) {
        if let Some(mut process) = self.node(node).process.take() {
            process.kill();
        }
    }

    /// SIGTERM, and returns when the broker has handed its partitions over and ended.
    pub(crate) fn terminate(&mut self, node: i32) {
        let node = self.node(node);
        if let Some(mut process) = node.process.take() {
            process.signal("TERM").unwrap_or_else(|e| panic!("{e}"));
            let ended = process.wait(START_LIMIT);
            assert!(ended.is_some(), "the broker did not stop within {START_LIMIT:?}: {}", node.log_tail());
        }
    }

    /// SIGTERM to all of them, and SIGKILL to those that have not ended after `grace`, as whoever runs services does it:
    /// without a majority an orderly stop has nobody to hand over to. Returns those that were killed.
    pub(crate) fn stop(&mut self, nodes: &[i32], grace: Duration) -> Vec<i32> {
        let end = Instant::now() + grace;
        for &node in nodes {
            if let Some(process) = &mut self.node(node).process {
                // One that has ended by itself is what is wanted.
                let _ = process.signal("TERM");
            }
        }
        let mut killed = Vec::new();
        for &node in nodes {
            let Some(mut process) = self.node(node).process.take() else { continue };
            if process.wait(end.saturating_duration_since(Instant::now())).is_none() {
                process.kill();
                killed.push(node);
            }
        }
        killed
    }

    /// SIGSTOP: the broker's sockets stay open, and nobody is at home.
    pub(crate) fn freeze(&mut self, node: i32) {
        assert!(self.try_freeze(node), "broker {node} has ended: {}", self.nodes[&node].log_tail());
    }

    /// [`freeze`](Self::freeze), if the broker is there; whether it was.
    pub(crate) fn try_freeze(&mut self, node: i32) -> bool {
        let node = self.node(node);
        node.frozen = node.process.as_mut().is_some_and(|process| process.signal("STOP").is_ok());
        node.frozen
    }

    /// Ends what [`freeze`](Self::freeze) began.
    pub(crate) fn thaw(&mut self, node: i32) {
        let node = self.node(node);
        node.signal("CONT");
        node.frozen = false;
    }

    /// Starts a broker that was killed or stopped, and does not wait for it.
    pub(crate) fn restart(&mut self, node: i32) {
        let (spec, jars) = (self.spec, self.jars.clone());
        let node = self.node(node);
        if node.process.is_none() {
            node.start(&jars, spec).unwrap_or_else(|e| panic!("{e}"));
        }
    }

    /// Returns when every broker that runs answers and lists all that run.
    pub(crate) fn wait_until_ready(&mut self) -> Result<(), String> {
        let running: BTreeSet<i32> =
            self.nodes.iter().filter(|(_, n)| n.process.is_some()).map(|(&id, _)| id).collect();
        let mut waiting_for = running.clone();
        let ready = poll_until(START_LIMIT, || {
            for (id, node) in &mut self.nodes {
                if node.process.as_mut().is_some_and(|process| !process.is_running()) {
                    return Some(Err(format!("broker {id} ended: {}", node.log_tail())));
                }
            }
            waiting_for.retain(|id| {
                !ready::brokers_listed_by(self.nodes[id].port)
                    .is_ok_and(|listed| listed.is_superset(&running))
            });
            waiting_for.is_empty().then_some(Ok(()))
        });
        ready.unwrap_or_else(|| {
            let first = waiting_for.first().expect("somebody was waited for");
            let tail = self.nodes[first].log_tail();
            Err(format!(
                "of the brokers {running:?}, {waiting_for:?} were not ready within {START_LIMIT:?}: {tail}"
            ))
        })
    }

    /// All brokers up and ready again, whatever the last test did to them.
    pub(crate) fn heal(&mut self) -> Result<(), String> {
        for (&id, node) in &mut self.nodes {
            if node.frozen {
                node.signal("CONT");
                node.frozen = false;
            }
            if node.process.as_mut().is_some_and(|process| !process.is_running()) {
                eprintln!("broker {id} had ended by itself: {}", node.log_tail());
                node.process = None;
            }
            if node.process.is_none() {
                node.start(&self.jars, self.spec)?;
            }
        }
        self.wait_until_ready()
    }

    /// Returns when all other brokers that run have given this one up, and its partitions to others.
    pub(crate) fn wait_until_given_up(&self, node: i32) {
        let others = || self.nodes.iter().filter(|&(&id, other)| id != node && other.process.is_some());
        let given_up = poll_until(START_LIMIT, || {
            others()
                .all(|(_, other)| {
                    ready::brokers_listed_by(other.port).is_ok_and(|listed| !listed.contains(&node))
                })
                .then_some(())
        });
        assert!(given_up.is_some(), "broker {node} was still listed after {START_LIMIT:?}");
    }

    /// What each broker said last, on standard error.
    pub(super) fn print_log_tails(&self) {
        for (id, node) in &self.nodes {
            eprintln!("the end of broker {id}'s log:\n{}\n", node.log_tail());
        }
    }

    /// The batches of each partition of a topic, as they lie on the disk of a broker.
    pub(crate) fn dump_logs(&self, node: i32, topic: &str) -> BTreeMap<i32, Vec<Batch>> {
        jars::folder(jars::TOOLS)
            .and_then(|tools| log_dump::dump(&tools, &self.nodes[&node].logs(), topic))
            .unwrap_or_else(|e| panic!("{e}"))
    }

    fn node(&mut self, id: i32) -> &mut Node {
        self.nodes.get_mut(&id).unwrap_or_else(|| panic!("there is no broker {id}"))
    }

    fn properties(&self, id: i32, zookeeper: u16) -> String {
        let node = &self.nodes[&id];
        let replicas = self.spec.nodes.min(3).to_string();
        let in_sync = self.spec.nodes.min(3).div_ceil(2).to_string();
        let listener = format!("PLAINTEXT://127.0.0.1:{}", node.port);
        let mut properties: BTreeMap<&str, String> = BTreeMap::from([
            ("advertised.listeners", listener.clone()),
            ("inter.broker.listener.name", "PLAINTEXT".into()),
            ("log.dirs", node.logs().display().to_string()),
            ("auto.create.topics.enable", "false".into()),
            ("default.replication.factor", replicas.clone()),
            ("min.insync.replicas", in_sync.clone()),
            ("group.initial.rebalance.delay.ms", "0".into()),
            ("offsets.topic.num.partitions", "1".into()),
            ("offsets.topic.replication.factor", replicas.clone()),
            ("transaction.state.log.num.partitions", "3".into()),
            ("transaction.state.log.replication.factor", replicas.clone()),
            ("transaction.state.log.min.isr", in_sync),
        ]);
        // Where there are several, a dead one is noticed in three seconds instead of nine or more.
        let quick = self.spec.nodes > 1;
        if self.spec.has_zookeeper() {
            properties.extend([
                ("broker.id", id.to_string()),
                ("listeners", listener),
                ("zookeeper.connect", format!("127.0.0.1:{zookeeper}")),
                ("zookeeper.connection.timeout.ms", "60000".into()),
            ]);
            if quick {
                properties.extend([("zookeeper.session.timeout.ms", "3000".into())]);
            }
        } else {
            let controller = format!("CONTROLLER://127.0.0.1:{}", node.controller_port);
            let voter = |(id, node): (&i32, &Node)| format!("{id}@127.0.0.1:{}", node.controller_port);
            properties.extend([
                ("process.roles", "broker,controller".into()),
                ("node.id", id.to_string()),
                ("controller.quorum.voters", self.nodes.iter().map(voter).collect::<Vec<_>>().join(",")),
                ("listeners", format!("{listener},{controller}")),
                ("controller.listener.names", "CONTROLLER".into()),
                ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".into()),
                ("share.coordinator.state.topic.replication.factor", replicas),
                ("share.coordinator.state.topic.min.isr", "1".into()),
            ]);
            if quick {
                properties.extend([
                    ("broker.session.timeout.ms", "3000".into()),
                    ("broker.heartbeat.interval.ms", "500".into()),
                    ("controller.quorum.fetch.timeout.ms", "1000".into()),
                    ("controller.quorum.election.timeout.ms", "500".into()),
                ]);
            }
        }
        if let Some(keys) = &self.keys {
            keys.add_to(&mut properties);
        }
        properties.extend(self.spec.props.iter().map(|&(name, value)| (name, value.to_string())));
        to_text(&properties)
    }
}

impl Node {
    fn format(&self, jars: &Path, cluster_id: &str, secured: bool) -> Result<(), String> {
        let mut command = java::class(jars, 256, "warn", "kafka.tools.StorageTool");
        command.args(["format", "-t", cluster_id, "-c"]).arg(self.properties());
        if secured {
            for user in secured::USERS {
                command.args(["--add-scram", user]);
            }
        }
        process::run("formatting a broker's disk", command, b"", START_LIMIT, read_text).map(drop)
    }

    fn start(&mut self, jars: &Path, spec: Spec) -> Result<(), String> {
        let mut command = java::class(jars, if spec.nodes > 1 { 384 } else { 512 }, "info", "kafka.Kafka");
        command.arg(self.properties());
        self.process = Some(start_logging_to(&self.log(), command)?);
        Ok(())
    }

    fn signal(&mut self, name: &str) {
        let process = self.process.as_mut().expect("only a broker that runs is frozen or thawed");
        process.signal(name).unwrap_or_else(|e| panic!("{e}"));
    }

    fn properties(&self) -> PathBuf {
        self.folder.join("server.properties")
    }

    fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("broker.log")
    }

    fn log_tail(&self) -> String {
        let read = || {
            let mut file = File::open(self.log())?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(8192)))?;
            let mut end = Vec::new();
            file.read_to_end(&mut end)?;
            std::io::Result::Ok(process::tail(&String::from_utf8_lossy(&end), 25))
        };
        read().unwrap_or_else(|e| format!("its log cannot be read: {e}"))
    }
}

/// A child whose output goes to the end of a file.
fn start_logging_to(log: &Path, mut command: Command) -> Result<Process, String> {
    let open = || File::options().create(true).append(true).open(log);
    let io = |e| format!("cannot write {}: {e}", log.display());
    command.stdin(Stdio::null()).stdout(open().map_err(io)?).stderr(open().map_err(io)?);
    Process::start(command).map_err(|e| format!("cannot start a broker: {e}"))
}

/// Brokers wait for it: it is not waited for here.
fn start_zookeeper(jars: &Path, folder: &Path, port: u16) -> Result<Process, String> {
    let properties = BTreeMap::from([
        ("dataDir", folder.join("zookeeper").display().to_string()),
        ("clientPort", port.to_string()),
        ("clientPortAddress", "127.0.0.1".into()),
        ("admin.enableServer", "false".into()),
        // Sessions last at least two of these.
        ("tickTime", "500".into()),
    ]);
    let file = folder.join("zookeeper.properties");
    fs::write(&file, to_text(&properties)).map_err(|e| format!("cannot write {}: {e}", file.display()))?;
    let mut command = java::class(jars, 128, "warn", "org.apache.zookeeper.server.quorum.QuorumPeerMain");
    command.arg(file);
    start_logging_to(&folder.join("zookeeper.log"), command)
}

fn to_text(properties: &BTreeMap<&str, String>) -> String {
    properties.iter().map(|(name, value)| format!("{name}={value}\n")).collect()
}

/// Ports that nobody listens on, below those that the system gives to outgoing connections: a broker that is restarted
/// must find its own port free.
pub(super) fn free_ports(count: usize) -> Result<Vec<u16>, String> {
    let mut held = Vec::new();
    for _ in 0..1000 {
        if held.len() == count {
            return held
                .iter()
                .map(|socket: &TcpListener| socket.local_addr().map(|a| a.port()).map_err(|e| e.to_string()))
                .collect();
        }
        let port = 15_000 + (random() % 15_000) as u16;
        held.extend(TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
    }
    Err(format!("no {count} free ports between 15000 and 30000"))
}

fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Three brokers take ten seconds when nothing else runs.
const START_LIMIT: Duration = Duration::from_secs(120);
