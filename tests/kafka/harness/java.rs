//! How Kafka's classes are started.

use std::{path::Path, process::Command};

use super::process;

/// `java -cp FOLDER/* CLASS`, with a heap of `megabytes`; the log, of `level` and up, goes to standard error.
///
/// The serial collector and the first compiler alone: these machines are small, and most of these JVMs live a second.
pub(super) fn class(jars: &Path, megabytes: u32, level: &str, class: &str) -> Command {
    let mut command = process::bound_command("java");
    command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dfile.encoding=UTF-8"]);
    command.arg(format!("-Xmx{megabytes}m"));
    command.arg(format!("-Dorg.slf4j.simpleLogger.defaultLogLevel={level}"));
    command.arg("-cp").arg(jars.join("*")).arg(class);
    command
}
