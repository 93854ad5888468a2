//! A partition's log as it lies on a broker's disk, told by Kafka's DumpLogSegments.

use std::{
    collections::{BTreeMap, HashMap},
    io::BufRead,
    path::{Path, PathBuf},
};

use super::kafka::{run_tool, tool_command};

/// A record batch. A sequence is -1 where the producer was not idempotent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) base_offset: i64,
    pub(crate) last_offset: i64,
    pub(crate) count: i32,
    pub(crate) base_sequence: i32,
    pub(crate) last_sequence: i32,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) codec: String,
    /// Whether its checksum is right.
    pub(crate) is_valid: bool,
    pub(crate) records: Vec<LogRecord>,
}

/// A record inside a batch; a size is -1 for null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogRecord {
    pub(crate) offset: i64,
    pub(crate) sequence: i32,
    pub(crate) key_size: i32,
    pub(crate) value_size: i32,
}

/// The batches of every partition of `topic` whose log lies in the folder `logs`.
pub(super) fn dump(tools: &Path, logs: &Path, topic: &str) -> Result<BTreeMap<i32, Vec<Batch>>, String> {
    let segments = segments(logs, topic).map_err(|e| format!("cannot list {}: {e}", logs.display()))?;
    if segments.is_empty() {
        return Err(format!("no log of topic {topic} in {}", logs.display()));
    }
    let class = "org.apache.kafka.tools.DumpLogSegments";
    let mut command = tool_command(tools, class);
    let paths: Vec<_> = segments.values().flatten().map(|path| path.display().to_string()).collect();
    command.arg("--files").arg(paths.join(","));
    command.args(["--deep-iteration", "--print-data-log"]);
    run_tool(class, command, b"", |out| {
        let mut partitions: BTreeMap<i32, Vec<Batch>> = segments.keys().map(|&p| (p, Vec::new())).collect();
        let mut batches = None;
        for line in out.split(b'\n') {
            let line = line.map_err(|e| e.to_string())?;
            // Values are printed as they are, and need not be text.
            let line = String::from_utf8_lossy(&line);
            if let Some(path) = line.strip_prefix("Dumping ") {
                let of = segments.iter().find(|(_, paths)| paths.iter().any(|p| p.as_os_str() == path));
                batches = of.and_then(|(partition, _)| partitions.get_mut(partition));
            } else if line.starts_with("baseOffset: ") || line.starts_with("| offset: ") {
                let batches = batches.as_mut().ok_or_else(|| format!("a batch of no file: {line}"))?;
                add(batches, &line)
                    .ok_or_else(|| format!("DumpLogSegments says what is not known here: {line}"))?;
            }
        }
        Ok(partitions)
    })?
}

fn segments(logs: &Path, topic: &str) -> std::io::Result<BTreeMap<i32, Vec<PathBuf>>> {
    let mut segments = BTreeMap::new();
    for folder in std::fs::read_dir(logs)? {
        let folder = folder?;
        let name = folder.file_name();
        let partition =
            name.to_str().and_then(|name| name.strip_prefix(topic)?.strip_prefix('-')?.parse().ok());
        let Some(partition) = partition else { continue };
        let mut files = Vec::new();
        for file in std::fs::read_dir(folder.path())? {
            let path = file?.path();
            if path.extension().is_some_and(|e| e == "log") {
                files.push(path);
            }
        }
        files.sort();
        segments.insert(partition, files);
    }
    Ok(segments)
}

fn add(batches: &mut Vec<Batch>, line: &str) -> Option<()> {
    let fields = fields(line);
    let text = |name: &str| fields.get(name).copied();
    let number = |name: &str| text(name)?.parse::<i64>().ok();
    let small = |name: &str| number(name)?.try_into().ok();
    if line.starts_with('|') {
        batches.last_mut()?.records.push(LogRecord {
            offset: number("offset")?,
            sequence: small("sequence")?,
            key_size: small("keySize")?,
            value_size: small("valueSize")?,
        });
    } else {
        batches.push(Batch {
            base_offset: number("baseOffset")?,
            last_offset: number("lastOffset")?,
            count: small("count")?,
            base_sequence: small("baseSequence")?,
            last_sequence: small("lastSequence")?,
            producer_id: number("producerId")?,
            producer_epoch: number("producerEpoch")?.try_into().ok()?,
            codec: text("compresscodec")?.into(),
            is_valid: text("isvalid")? == "true",
            records: Vec::new(),
        });
    }
    Some(())
}

/// `name: value name: value ...`, up to where names of headers, the key and the payload begin, which can be anything.
fn fields(line: &str) -> HashMap<&str, &str> {
    let mut fields = HashMap::new();
    let mut words = line.split_whitespace();
    while let Some(word) = words.next() {
        let Some(name) = word.strip_suffix(':') else { continue };
        if name == "headerKeys" {
            break;
        }
        fields.insert(name, words.next().unwrap_or_default());
    }
    fields
}
