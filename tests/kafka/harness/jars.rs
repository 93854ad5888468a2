//! Kafka's jars by version, fetched by Maven into a cache that all runs share.
//!
//! A version's folder appears whole or not at all: it is filled under another name and renamed, so that two processes
//! may fetch the same version at once, and a fetch that was cut off leaves nothing that looks finished.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::process;

/// The version of Kafka's command-line tools, whichever broker they talk to: not every broker's version has them.
pub(super) const TOOLS: &str = "4.3.1";

/// The folder with the jars of a version, fetched if this is the first time that they are asked for.
pub(super) fn folder(version: &str) -> Result<PathBuf, String> {
    let folder = cache().join(version);
    if !folder.is_dir() {
        // A second try, since a registry may be busy for a moment and Maven gives up at once.
        fetch(version, &folder).or_else(|_| fetch(version, &folder))?;
    }
    Ok(folder)
}

/// Whether Maven has nothing to do any more for a version.
pub(super) fn are_cached(version: &str) -> bool {
    cache().join(version).is_dir()
}

fn cache() -> PathBuf {
    env::var_os("KAFKA_PRODUCER_TEST_CACHE")
        .map_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("kafka-jars"), PathBuf::from)
}

fn fetch(version: &str, folder: &Path) -> Result<(), String> {
    let io = |e| format!("cannot fill the cache of Kafka's jars in {}: {e}", cache().display());
    fs::create_dir_all(cache()).map_err(io)?;
    let work = tempfile::Builder::new().prefix("fetch-").tempdir_in(cache()).map_err(io)?;
    let pom_file = work.path().join("pom.xml");
    fs::write(&pom_file, pom(version)).map_err(io)?;
    let jars = work.path().join("jars");

    let mut maven = Command::new("mvn");
    maven.args(["--quiet", "--batch-mode", "--file"]).arg(&pom_file).arg("dependency:copy-dependencies");
    maven.arg(format!("-DoutputDirectory={}", jars.display()));
    let errors = process::run(&format!("Maven, fetching Kafka {version}"), maven, b"", FETCH_LIMIT, |out| {
        std::io::read_to_string(out).unwrap_or_default()
    })?;
    if !jars.is_dir() {
        return Err(format!("Maven brought no jars of Kafka {version}: {}", process::tail(&errors, 20)));
    }
    match fs::rename(&jars, folder) {
        // Another process was quicker, with the same jars.
        Err(_) if folder.is_dir() => Ok(()),
        renamed => renamed.map_err(io),
    }
}

fn pom(version: &str) -> String {
    // Built for several versions of Scala; the old ones everywhere for this one.
    let broker = if version.starts_with("2.") { "kafka_2.12" } else { "kafka_2.13" };
    let mut artifacts = vec![("org.apache.kafka", broker, version), ("org.slf4j", "slf4j-simple", "1.7.36")];
    if version == TOOLS {
        artifacts.push(("org.apache.kafka", "kafka-tools", version));
    }
    let dependencies: String = artifacts
        .iter()
        .map(|(group, artifact, version)| {
            format!(
                "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
                 <version>{version}</version></dependency>\n"
            )
        })
        .collect();
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n<modelVersion>4.0.0</modelVersion>\n\
         <groupId>test</groupId><artifactId>kafka-jars</artifactId><version>1</version><packaging>pom</packaging>\n\
         <dependencies>\n{dependencies}</dependencies>\n</project>\n"
    )
}

/// 54 MB over a slow line.
const FETCH_LIMIT: Duration = Duration::from_secs(300);
