//! A Kafka that can be reached, ours or anybody's: topics are made, filled and read back by Kafka's own Java tools, so
//! that nothing of the crate under test is checked with itself.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{self, ChildStdout, Command},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use super::{jars, java, process::poll_until};

/// Where a cluster is, and the tools to ask it.
pub(crate) struct Kafka {
    bootstrap: String,
    tools: PathBuf,
    created: Mutex<Vec<String>>,
}

/// A record as Java's consumer read it; what it borrows lives until the next one.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    timestamp: &'a [u8],
    headers: &'a [u8],
}

/// Who set a record's timestamp, and to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timestamp {
    Create(i64),
    LogAppend(i64),
}

/// A record with everything that Java's consumer saw of it.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp: Timestamp,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
}

impl Kafka {
    pub(super) fn at(bootstrap: String) -> Result<Self, String> {
        Ok(Self { bootstrap, tools: jars::folder(jars::TOOLS)?, created: Mutex::new(Vec::new()) })
    }

    /// For `bootstrap.servers`.
    pub(crate) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// A name that no other topic has, made of `what`.
    pub(crate) fn unused_topic_name(&self, what: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        format!("{what}-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Creates a topic, named after `what`, replicated as the brokers do by default; returns its name.
    pub(crate) fn create_topic(&self, what: &str, partitions: i32, config: &[(&str, &str)]) -> String {
        let topic = self.unused_topic_name(what);
        self.create_topic_named(&topic, partitions, config);
        self.created.lock().unwrap_or_else(PoisonError::into_inner).push(topic.clone());
        topic
    }

    /// Creates a topic of a name that was chosen before.
    pub(crate) fn create_topic_named(&self, topic: &str, partitions: i32, config: &[(&str, &str)]) {
        // A controller that moves meanwhile may have done what is asked of the next one once more.
        let mut args: Vec<String> =
            ["--create", "--if-not-exists", "--topic", topic, "--partitions", &partitions.to_string()]
                .map(Into::into)
                .into();
        for (name, value) in config {
            args.extend(["--config".into(), format!("{name}={value}")]);
        }
        self.tool_text(TOPICS, &args);
    }

    /// Deletes a topic.
    pub(crate) fn delete_topic(&self, topic: &str) {
        self.tool_text(TOPICS, &["--delete", "--topic", topic].map(Into::into));
    }

    /// Gives a topic more partitions, so that it has `total`.
    pub(crate) fn raise_partitions(&self, topic: &str, total: i32) {
        self.tool_text(
            TOPICS,
            &["--alter", "--topic", topic, "--partitions", &total.to_string()].map(Into::into),
        );
    }

    /// Allows clients of this `client.id` so many bytes a second at each broker, in place of as many as they like.
    pub(crate) fn limit_producers(&self, client_id: &str, bytes_a_second: u32) {
        let limit = format!("producer_byte_rate={bytes_a_second}");
        let args =
            ["--alter", "--add-config", &limit, "--entity-type", "clients", "--entity-name", client_id];
        self.tool_text("kafka.admin.ConfigCommand", &args.map(Into::into));
    }

    /// The leader of each partition, as soon as each has one.
    pub(crate) fn leaders(&self, topic: &str) -> BTreeMap<i32, i32> {
        let args = ["--describe".into(), "--topic".into(), topic.into()];
        let mut last = String::new();
        poll_until(TOOL_LIMIT, || {
            // The broker that is asked may not know yet of a topic that another one has just created.
            last = self.tool(TOPICS, &args, b"", read_text).unwrap_or_else(|e| e);
            let lines = || last.lines().filter(|line| line.contains("\tPartition: "));
            let leaders: BTreeMap<i32, i32> = lines().filter_map(leader_in).collect();
            (lines().count() > 0 && leaders.len() == lines().count()).then_some(leaders)
        })
        .unwrap_or_else(|| panic!("partitions of {topic} were without a leader for {TOOL_LIMIT:?}: {last}"))
    }

    /// How many records lie in each partition of a topic that never lost any: the next offset.
    pub(crate) fn end_offsets(&self, topic: &str) -> BTreeMap<i32, i64> {
        let args = ["--topic".into(), topic.into()];
        let mut last = Ok(String::new());
        let said = poll_until(TOOL_LIMIT, || {
            // As in `leaders`.
            last = self.tool("org.apache.kafka.tools.GetOffsetShell", &args, b"", read_text);
            let is_unknown = last.as_ref().is_err_and(|e| e.contains("Could not match any topic-partitions"));
            (!is_unknown).then(|| last.clone())
        });
        said.unwrap_or(last)
            .unwrap_or_else(|e| panic!("{e}"))
            .lines()
            .map(|line| {
                let mut fields = line.rsplit(':');
                let offset = fields.next().and_then(|n| n.parse().ok());
                let partition = fields.next().and_then(|n| n.parse().ok());
                partition.zip(offset).unwrap_or_else(|| panic!("GetOffsetShell said {line:?} of {topic}"))
            })
            .collect()
    }

    /// Reads everything that lies in a topic, as a stream; returns how many records that were.
    ///
    /// Values and keys may be any bytes but those that separate fields and records here.
    pub(crate) fn read_all(&self, topic: &str, mut each: impl FnMut(Seen<'_>)) -> u64 {
        let there = self.end_offsets(topic).values().sum::<i64>() as u64;
        let mut read = 0;
        if there > 0 {
            let result = self.consume_with(topic, there, |out| {
                let ended = for_each_record(out, |seen| {
                    read += 1;
                    each(seen);
                });
                ended.unwrap_or_else(|e| {
                    panic!("Java's consumer said something else after {read} records: {e}")
                });
            });
            result.unwrap_or_else(|e| panic!("{read} of {there} records of {topic} were read: {e}"));
        }
        assert_eq!(read, there, "records read from {topic}, and the sum of its end offsets");
        read
    }

    /// Everything that lies in a topic, by partition and offset.
    pub(crate) fn consume(&self, topic: &str) -> Vec<Record> {
        let mut records = Vec::new();
        self.read_all(topic, |seen| records.push(seen.to_record()));
        records.sort_by_key(|record| (record.partition, record.offset));
        records
    }

    /// The values of a topic, as a consumer with this isolation level sees them: all that come before it has to wait for
    /// long.
    pub(crate) fn consume_isolated(&self, topic: &str, level: &str) -> Vec<String> {
        let args = ["--topic", topic, "--from-beginning", "--isolation-level", level, "--timeout-ms", "8000"];
        let args = args.map(Into::into);
        let text = self.tool_text("org.apache.kafka.tools.consumer.ConsoleConsumer", &args);
        text.lines().map(Into::into).collect()
    }

    /// The broker that coordinates a transactional id.
    pub(crate) fn coordinator_of_transactions(&self, id: &str) -> i32 {
        let args = ["describe", "--transactional-id", id].map(Into::into);
        let text = self.tool_text(TRANSACTIONS, &args);
        let line = text.lines().nth(1).and_then(|line| line.split_whitespace().next()?.parse().ok());
        line.unwrap_or_else(|| panic!("TransactionsCommand said {text:?} of {id}"))
    }

    /// What the coordinators say of a transactional id, if they do not say that its last transaction is over.
    pub(crate) fn open_transactions(&self, id: &str) -> Vec<String> {
        let text = self.tool_text(TRANSACTIONS, &["list".into()]);
        let mut of_it = text.lines().filter(|line| line.split_whitespace().next() == Some(id)).peekable();
        assert!(of_it.peek().is_some(), "{id} is not listed: {text}");
        of_it.filter(|line| !line.contains("Complete") && !line.contains("Empty")).map(Into::into).collect()
    }

    /// What a consumer group has committed of a topic, by partition.
    pub(crate) fn group_offsets(&self, group: &str, topic: &str) -> BTreeMap<i32, i64> {
        let args = ["--describe", "--offsets", "--group", group].map(Into::into);
        let text = self.tool_text("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", &args);
        let offset = |line: &str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let at = fields.iter().position(|field| *field == topic)?;
            Some((fields.get(at + 1)?.parse().ok()?, fields.get(at + 2)?.parse().ok()?))
        };
        text.lines().filter_map(offset).collect()
    }

    /// Has the cluster agree on a protocol of transactions: 2, or 1 for the one before.
    pub(crate) fn set_transaction_version(&self, level: i16) {
        let direction = if level < 2 { "downgrade" } else { "upgrade" };
        let args = [direction, "--feature", &format!("transaction.version={level}")].map(Into::into);
        self.tool_text("org.apache.kafka.tools.FeatureCommand", &args);
    }

    /// Lets a user do this with what `kind` (`--topic`, `--group`, `--transactional-id`) and a name say.
    pub(crate) fn allow(&self, user: &str, operation: &str, kind: &str, name: &str) {
        let principal = format!("User:{user}");
        let args = ["--add", "--allow-principal", &principal, "--operation", operation, kind, name];
        self.tool_text("org.apache.kafka.tools.AclCommand", &args.map(Into::into));
    }

    /// Sends keys and values with Java's console producer; neither may hold a tab or an end of line.
    pub(crate) fn produce_with_java<'a>(
        &self,
        topic: &str,
        records: impl Iterator<Item = (&'a str, &'a str)>,
    ) {
        let mut lines = String::new();
        for (key, value) in records {
            lines.extend([key, "\t", value, "\n"]);
        }
        let args: Vec<String> =
            ["--topic", topic, "--reader-property", "parse.key=true"].map(Into::into).into();
        self.tool("org.apache.kafka.tools.ConsoleProducer", &args, lines.as_bytes(), read_text)
            .unwrap_or_else(|e| panic!("{e}"));
    }

    /// Deletes what [`create_topic`](Self::create_topic) made, on a cluster that lives longer than the tests.
    pub(super) fn delete_created_topics(&self) -> Result<(), String> {
        let topics = std::mem::take(&mut *self.created.lock().unwrap_or_else(PoisonError::into_inner));
        if topics.is_empty() {
            return Ok(());
        }
        let args = ["--delete".into(), "--topic".into(), topics.join("|")];
        self.tool(TOPICS, &args, b"", read_text).map(drop)
    }

    fn consume_with(
        &self,
        topic: &str,
        records: u64,
        read: impl FnOnce(BufReader<ChildStdout>),
    ) -> Result<(), String> {
        let mut args: Vec<String> = ["--topic", topic, "--from-beginning"].map(Into::into).into();
        args.extend(["--max-messages".into(), records.to_string()]);
        args.extend(["--timeout-ms".into(), CONSUMER_PATIENCE.as_millis().to_string()]);
        for property in [
            "print.timestamp=true",
            "print.partition=true",
            "print.offset=true",
            "print.headers=true",
            "print.key=true",
            "key.separator=\x1f",
            "line.separator=\x1e\n",
            "headers.separator=\x1c",
            "null.literal=\x1d",
        ] {
            args.extend(["--formatter-property".into(), property.into()]);
        }
        self.tool("org.apache.kafka.tools.consumer.ConsoleConsumer", &args, b"", read)
    }

    fn tool_text(&self, class: &str, args: &[String]) -> String {
        self.tool(class, args, b"", read_text).unwrap_or_else(|e| panic!("{e}"))
    }

    fn tool<T>(
        &self,
        class: &str,
        args: &[String],
        input: &[u8],
        read: impl FnOnce(BufReader<ChildStdout>) -> T,
    ) -> Result<T, String> {
        let mut command = tool_command(&self.tools, class);
        command.args(["--bootstrap-server", &self.bootstrap]).args(args);
        run_tool(class, command, input, read)
    }
}

impl<'a> Seen<'a> {
    /// What stands between two ends of record: the timestamp, partition, offset, headers, key and value, in the order in
    /// which Java's formatter prints them.
    fn parse(mut line: &'a [u8]) -> Result<Self, String> {
        let whole = line;
        let wrong = || format!("not a record: {:?}", String::from_utf8_lossy(whole));
        let mut field = || {
            let at = line.iter().position(|&b| b == FIELD_END)?;
            let (head, tail) = line.split_at(at);
            line = &tail[1..];
            Some(head)
        };
        let mut five = || Some([field()?, field()?, field()?, field()?, field()?]);
        let [timestamp, partition, offset, headers, key] = five().ok_or_else(wrong)?;
        Ok(Self {
            partition: number(partition, "Partition:").ok_or_else(wrong)?,
            offset: number(offset, "Offset:").ok_or_else(wrong)?,
            key: present(key),
            value: present(line),
            timestamp,
            headers,
        })
    }

    fn to_record(self) -> Record {
        let timestamp = number(self.timestamp, "CreateTime:")
            .map(Timestamp::Create)
            .or_else(|| number(self.timestamp, "LogAppendTime:").map(Timestamp::LogAppend));
        let headers = match self.headers {
            b"NO_HEADERS" => Vec::new(),
            some => some.split(|&b| b == HEADER_END).map(header).collect(),
        };
        Record {
            partition: self.partition,
            offset: self.offset,
            timestamp: timestamp.unwrap_or_else(|| panic!("no timestamp: {self:?}")),
            headers,
            key: self.key.map(Into::into),
            value: self.value.map(Into::into),
        }
    }
}

impl fmt::Debug for Seen<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, offset, .. } = self;
        let [key, value] = [self.key, self.value].map(|part| part.map(String::from_utf8_lossy));
        write!(f, "key {key:?} and value {value:?} at offset {offset} of partition {partition}")
    }
}

/// A tool of Kafka's, without the address that most of them want.
pub(super) fn tool_command(jars: &Path, class: &str) -> Command {
    java::class(jars, 512, "error", class)
}

pub(super) fn run_tool<T>(
    class: &str,
    command: Command,
    input: &[u8],
    read: impl FnOnce(BufReader<ChildStdout>) -> T,
) -> Result<T, String> {
    let name = class.rsplit('.').next().unwrap_or(class);
    super::process::run(&format!("Kafka's {name}"), command, input, TOOL_LIMIT, read)
}

pub(super) fn read_text(mut out: BufReader<ChildStdout>) -> String {
    let mut text = Vec::new();
    let _ = out.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn for_each_record(mut out: impl BufRead, mut each: impl FnMut(Seen<'_>)) -> Result<(), String> {
    let mut line = Vec::new();
    loop {
        line.clear();
        // A value may hold ends of line: only one after the mark ends a record.
        while !line.ends_with(RECORD_END) {
            let n = out.read_until(b'\n', &mut line).map_err(|e: io::Error| e.to_string())?;
            if n == 0 {
                return if line.is_empty() { Ok(()) } else { Err("the last record is cut off".into()) };
            }
        }
        each(Seen::parse(&line[..line.len() - RECORD_END.len()])?);
    }
}

fn leader_in(line: &str) -> Option<(i32, i32)> {
    let after = |name: &str| line.split(name).nth(1)?.split_whitespace().next()?.parse().ok();
    Some((after("\tPartition: ")?, after("\tLeader: ")?))
}

fn number<T: std::str::FromStr>(field: &[u8], name: &str) -> Option<T> {
    std::str::from_utf8(field).ok()?.strip_prefix(name)?.parse().ok()
}

fn header(field: &[u8]) -> (String, Option<Vec<u8>>) {
    let at = field.iter().position(|&b| b == b':').unwrap_or(field.len());
    let (name, value) = (&field[..at], field.get(at + 1..).unwrap_or_default());
    (String::from_utf8_lossy(name).into_owned(), present(value).map(Into::into))
}

fn present(field: &[u8]) -> Option<&[u8]> {
    (field != NULL).then_some(field)
}

const TRANSACTIONS: &str = "org.apache.kafka.tools.TransactionsCommand";
const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";

// What the formatter of `consume_with` is told to print.
const FIELD_END: u8 = 0x1f;
const RECORD_END: &[u8] = b"\x1e\n";
const HEADER_END: u8 = 0x1c;
const NULL: &[u8] = b"\x1d";

/// Far more than a million records take on a busy machine of two cores.
const TOOL_LIMIT: Duration = Duration::from_secs(180);
/// How long Java's consumer waits for a record that the end offsets promise.
const CONSUMER_PATIENCE: Duration = Duration::from_secs(45);
