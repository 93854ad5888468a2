//! What the tools have in common: how they end, where their properties come from, what failed.
//!
//! Knows flags and files, and nothing of what a tool does with its producer.

#![allow(dead_code, reason = "each tool is compiled with its own copy, and none uses everything")]

pub(crate) mod pace;
pub(crate) mod termination;

use std::{
    error::Error,
    path::PathBuf,
    process::ExitCode,
    sync::{Mutex, MutexGuard, PoisonError},
};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use kafka_producer::{DeliveryError, ProducerConfig};

/// Why a tool ends with exit code 1.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// Runs a tool with its flags. What goes wrong is one sentence on stderr, wrong flags included, and exit code 1.
///
/// The library's log goes to stderr, too: errors, or what the variable `RUST_LOG` asks for.
pub(crate) fn run<F: clap::Parser>(tool: impl FnOnce(F) -> Result<(), Failure>) -> ExitCode {
    env_logger::init();
    let outcome = match F::try_parse() {
        Ok(flags) => tool(flags).map_err(|failure| sentence(&*failure)),
        Err(help) if !help.use_stderr() => help.print().map_err(|e| sentence(&e)),
        Err(wrong) => Err(usage_sentence(&wrong)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("{sentence}");
            ExitCode::FAILURE
        }
    }
}

/// Where the cluster is, and a file of settings for the producer.
#[derive(clap::Args)]
pub(crate) struct Connection {
    /// The brokers to ask first.
    #[arg(long, value_name = "HOST:PORT[,HOST:PORT...]")]
    bootstrap_server: Option<String>,
    /// A file of settings for the producer, in Java's format for properties.
    #[arg(long, value_name = "FILE")]
    command_config: Option<PathBuf>,
}

impl Connection {
    pub(crate) fn is_given(&self) -> bool {
        self.bootstrap_server.is_some() || self.command_config.is_some()
    }

    /// The producer's settings: what the file says, then `properties` as `name=value`, then the flags that were given.
    /// The later wins; a flag that was not given is `None` and replaces nothing.
    pub(crate) fn config(
        &self,
        properties: &[String],
        flags: &[(&str, Option<&str>)],
    ) -> Result<ProducerConfig, Failure> {
        let mut config = match &self.command_config {
            Some(file) => ProducerConfig::from_file(file)?,
            None => ProducerConfig::default(),
        };
        for property in properties {
            let (name, value) = split_property("--command-property", property)?;
            config = config.set(name, value);
        }
        let bootstrap = ("bootstrap.servers", self.bootstrap_server.as_deref());
        for (name, value) in [&[bootstrap], flags].concat() {
            if let Some(value) = value {
                config = config.set(name, value);
            }
        }
        Ok(config)
    }
}

/// Cuts `name=value` in two. The value may be empty, and may contain `=`.
pub(crate) fn split_property<'a>(flag: &str, property: &'a str) -> Result<(&'a str, &'a str), Failure> {
    property.split_once('=').ok_or_else(|| format!("{flag} {property}: name=value is expected").into())
}

/// Deliveries that failed, as callbacks saw them.
#[derive(Default)]
pub(crate) struct Failures(Mutex<Option<(u64, DeliveryError)>>);

impl Failures {
    pub(crate) fn note(&self, error: DeliveryError) {
        log::info!("not delivered: {error}");
        match &mut *self.lock() {
            Some((count, _first)) => *count += 1,
            none => *none = Some((1, error)),
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.lock().as_ref().map_or(0, |(count, _first)| *count)
    }

    /// Fails with the first one, if there was any among the records that were sent.
    pub(crate) fn check(&self, sent: u64) -> Result<(), Failure> {
        match &*self.lock() {
            None => Ok(()),
            Some((count, first)) => Err(format!(
                "{count} of {sent} records were not delivered, the first of them because of {first}"
            )
            .into()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<(u64, DeliveryError)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An error with its causes, on one line.
fn sentence(error: &dyn Error) -> String {
    let mut sentence = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Some errors quote their cause.
        let text = cause.to_string();
        if !sentence.contains(&text) {
            sentence = format!("{sentence}: {text}");
        }
        source = cause.source();
    }
    one_line(&sentence)
}

/// What is wrong with the flags, without the usage that clap prints below it.
fn usage_sentence(error: &clap::Error) -> String {
    if let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg)
        && error.kind() == ErrorKind::UnknownArgument
        && let Some((_, instead)) = OLD_FLAGS.iter().find(|(old, _)| old == flag)
    {
        return format!("{flag} is not taken here: {instead}");
    }
    let text = error.render().to_string();
    let end = ["\n\nUsage:", "\n\nFor more information"].iter().filter_map(|mark| text.find(mark)).min();
    let text = text[..end.unwrap_or(text.len())].trim_start_matches("error: ");
    one_line(&format!("{text}; --help says what there is").replace("\n\n", "; "))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What Kafka's tools took before version 4.2, or take for the sake of Java.
const OLD_FLAGS: [(&str, &str); 8] = [
    ("--producer-props", "since Kafka 4.2 it is --command-property"),
    ("--producer-property", "since Kafka 4.2 it is --command-property"),
    ("--producer.config", "since Kafka 4.2 it is --command-config"),
    ("--property", "since Kafka 4.2 it is --reader-property"),
    ("--broker-list", "since Kafka 4.0 it is --bootstrap-server"),
    ("--zookeeper", "a producer asks brokers, which --bootstrap-server names"),
    ("--max-partition-memory-bytes", "it is --batch-size"),
    ("--line-reader", "lines are read as Java's LineMessageReader does, and --reader-property says how"),
];
