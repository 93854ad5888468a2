//! The drivers: what they are called, how each is built and started. One that cannot be built is left out with a line
//! that says why.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{plan::Workload, results::Results};

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Driver {
    Ours,
    Librdkafka,
    /// The same with OpenSSL.
    LibrdkafkaTls,
    RustRdkafka,
    FranzGo,
    Java,
    Rskafka,
    /// The same library with batches that its caller makes.
    RskafkaByHand,
    Kafka,
    /// Requests that were encoded beforehand, with a batch for six partitions each.
    Raw,
    /// The same with one partition a request.
    RawOne,
    Encode,
}

/// What can be started, and from where.
pub(crate) struct Built {
    /// Where the programs are.
    pub(crate) folder: PathBuf,
    drivers: BTreeSet<Driver>,
}

impl Driver {
    pub(crate) const ALL: [Self; 12] = [
        Self::Ours,
        Self::Librdkafka,
        Self::LibrdkafkaTls,
        Self::RustRdkafka,
        Self::FranzGo,
        Self::Java,
        Self::Rskafka,
        Self::RskafkaByHand,
        Self::Kafka,
        Self::Raw,
        Self::RawOne,
        Self::Encode,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "kafka-producer",
            Self::Librdkafka => "librdkafka",
            Self::LibrdkafkaTls => "librdkafka-tls",
            Self::RustRdkafka => "rust-rdkafka",
            Self::FranzGo => "franz-go",
            Self::Java => "java",
            Self::Rskafka => "rskafka",
            Self::RskafkaByHand => "rskafka-by-hand",
            Self::Kafka => "kafka",
            Self::Raw => "raw",
            Self::RawOne => "raw-1",
            Self::Encode => "encode",
        }
    }

    /// As the tables say it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Ours => "kafka-producer",
            Self::Librdkafka => "librdkafka (C)",
            Self::LibrdkafkaTls => "librdkafka (C), OpenSSL",
            Self::RustRdkafka => "rust-rdkafka",
            Self::FranzGo => "franz-go",
            Self::Java => "Java KafkaProducer",
            Self::Rskafka => "rskafka",
            Self::RskafkaByHand => "rskafka, batches by hand",
            Self::Kafka => "kafka, batches by hand",
            Self::Raw => "raw requests, 6 partitions each",
            Self::RawOne => "raw requests, 1 partition each",
            Self::Encode => "encoding alone",
        }
    }

    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|driver| driver.name() == name)
    }

    /// A producer that others can use, and not ours.
    pub(crate) fn is_peer(self) -> bool {
        !matches!(self, Self::Ours | Self::Raw | Self::RawOne | Self::Encode)
    }

    /// Whether its batches must carry sequences when it waits for all replicas.
    pub(crate) fn is_idempotent(self) -> bool {
        matches!(
            self,
            Self::Ours
                | Self::Librdkafka
                | Self::LibrdkafkaTls
                | Self::RustRdkafka
                | Self::FranzGo
                | Self::Java
        )
    }

    /// A peer that does the same work: it makes the batches, and numbers them.
    pub(crate) fn is_equal(self) -> bool {
        self.is_peer() && self.is_idempotent()
    }

    /// The program and what it takes beside the common flags.
    pub(crate) fn command(self, folder: &Path) -> Vec<String> {
        let program = |name: &str| folder.join(name).display().to_string();
        match self {
            Self::Ours => vec![program("ours")],
            Self::Librdkafka => vec![program("librdkafka")],
            Self::LibrdkafkaTls => vec![program("librdkafka_tls")],
            Self::RustRdkafka => vec![program("rust_rdkafka")],
            Self::FranzGo => vec![program("franz-go")],
            Self::Java => {
                let java = java_folder(folder);
                let class_path = format!("{}:{}/*", java.display(), java.join("jars").display());
                ["java", "-cp", &class_path, "Driver"].map(str::to_owned).to_vec()
            }
            Self::Rskafka => vec![program("rskafka")],
            Self::RskafkaByHand => vec![program("rskafka"), "--by-hand".to_owned()],
            Self::Kafka => vec![program("kafka")],
            Self::Raw => vec![program("raw")],
            Self::RawOne => vec![program("raw"), "--partitions-a-request".to_owned(), "1".to_owned()],
            Self::Encode => vec![program("encode")],
        }
    }

    /// What makes it speak TLS with the sink, in its own words.
    pub(crate) fn tls(self) -> [(&'static str, String); 2] {
        let authority = match self {
            Self::LibrdkafkaTls => "ssl.ca.location",
            _ => "ssl.truststore.location",
        };
        [("security.protocol", "SSL".to_owned()), (authority, home("tls/ca.pem").display().to_string())]
    }

    fn build(self, folder: &Path) -> Result<(), String> {
        match self {
            Self::Ours | Self::Raw | Self::RawOne | Self::Encode => Ok(()),
            Self::Librdkafka => cargo(&["--features", "librdkafka", "--bin", "librdkafka"]),
            Self::LibrdkafkaTls => cargo(&["--features", "librdkafka-tls", "--bin", "librdkafka_tls"]),
            Self::RustRdkafka => cargo(&["--features", "librdkafka", "--bin", "rust_rdkafka"]),
            Self::Rskafka | Self::RskafkaByHand => cargo(&["--features", "rskafka", "--bin", "rskafka"]),
            Self::Kafka => cargo(&["--features", "kafka", "--bin", "kafka"]),
            Self::FranzGo => {
                let mut go = Command::new("go");
                go.args(["build", "-o"]).arg(folder.join("franz-go")).arg(".").current_dir(home("franz-go"));
                run(go)
            }
            Self::Java => build_java(folder),
        }
    }

    /// The version of what is measured, from the file that pins it.
    fn version(self) -> Option<String> {
        match self {
            Self::Rskafka | Self::RskafkaByHand | Self::Kafka => {
                let name = if self == Self::Kafka { "kafka" } else { "rskafka" };
                let lock = fs::read_to_string(home("Cargo.lock")).ok()?;
                let entry = lock
                    .split("[[package]]")
                    .find(|entry| entry.lines().any(|line| line == format!("name = \"{name}\"")))?;
                let version = entry.lines().find_map(|line| line.strip_prefix("version = "))?;
                Some(version.trim_matches('"').to_owned())
            }
            Self::Java => Some(kafka_clients()?.to_owned()),
            // These say it themselves, or are no library.
            _ => None,
        }
    }
}

impl Built {
    pub(crate) fn has(&self, driver: Driver) -> bool {
        self.drivers.contains(&driver)
    }
}

/// Builds what the workloads need, and notes in the results what cannot be built.
pub(crate) fn build(workloads: &[Workload], results: &mut Results) -> Result<Built, String> {
    let this = env::current_exe().map_err(|error| format!("cannot tell where this program is: {error}"))?;
    let folder = this.parent().expect("a program lies in a folder").to_owned();
    eprintln!("building the sink and the drivers");
    cargo(&["--bin", "sink", "--bin", "ours", "--bin", "raw", "--bin", "encode"])?;
    let mut drivers = BTreeSet::new();
    let contestants = workloads.iter().flat_map(|workload| &workload.contestants);
    for driver in contestants.map(|contestant| contestant.driver).collect::<BTreeSet<_>>() {
        match driver.build(&folder) {
            Ok(()) => {
                drivers.insert(driver);
                if let Some(version) = driver.version() {
                    results.note_version(driver.title(), &version);
                }
            }
            Err(reason) => {
                eprintln!("{} is left out: {reason}", driver.title());
                results.left_out.push(format!("{}: cannot be built here: {reason}", driver.title()));
            }
        }
    }
    Ok(Built { folder, drivers })
}

fn cargo(arguments: &[&str]) -> Result<(), String> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--locked", "--quiet", "--manifest-path"]).arg(home("Cargo.toml"));
    cargo.args(arguments);
    run(cargo)
}

fn build_java(folder: &Path) -> Result<(), String> {
    let target = java_folder(folder);
    let jars = target.join("jars");
    let version = kafka_clients().ok_or("java/pom.xml names no version of kafka-clients")?;
    if !jars.join(format!("kafka-clients-{version}.jar")).exists() {
        // A jar of another version beside it would be found first or not, as it pleases.
        let _ = fs::remove_dir_all(&jars);
        let mut maven = Command::new("mvn");
        maven.args(["--quiet", "--batch-mode", "--file"]).arg(home("java/pom.xml"));
        maven.arg("dependency:copy-dependencies").arg(format!("-DoutputDirectory={}", jars.display()));
        run(maven)?;
    }
    let mut javac = Command::new("javac");
    javac
        .arg("-cp")
        .arg(format!("{}/*", jars.display()))
        .arg("-d")
        .arg(&target)
        .arg(home("java/Driver.java"));
    run(javac)
}

fn kafka_clients() -> Option<&'static str> {
    let pom = include_str!("../../java/pom.xml");
    let (_, rest) = pom.split_once("<artifactId>kafka-clients</artifactId>")?;
    Some(rest.split_once("<version>")?.1.split_once("</version>")?.0)
}

fn java_folder(folder: &Path) -> PathBuf {
    folder.join("java-driver")
}

fn home(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Runs a tool; if it fails, the first line that says why.
fn run(mut command: Command) -> Result<(), String> {
    let tool = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{tool}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said =
        format!("{}\n{}", String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let why = lines.clone().find(|line| line.to_lowercase().contains("error")).or_else(|| lines.next_back());
    Err(format!("{tool} ({}): {}", output.status, why.unwrap_or("it says nothing")))
}
