//! Breaks the engine on purpose, one place at a time, and shows that its simulation notices.
//!
//! A checker that nobody has seen complain proves nothing. Every change here is a bug that a producer could have, most of
//! them one that some producer has had. The engine itself carries no hooks for this: the changes are made to a copy of
//! its source.
//!
//! ```sh
//! cargo test --test mutants                                  # whether every change still fits the source
//! cargo test --test mutants -- --ignored --nocapture         # make them, one after the other: half an hour
//! MUTANT="wrap" cargo test --test mutants -- --ignored --nocapture   # those with this in their name
//! ```
//!
//! The second prints for each change after how many nights of the simulation it was noticed, what was broken, and how
//! many of the tests in `engine/sim/museum.rs` fail besides. A few changes break no promise, because a second line of
//! defence holds, the sequences of the brokers for one: these are noticed by the museum alone, which looks at the ways
//! as well.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A bug, and how it is made.
struct Mutant {
    bug: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
}

const fn mutant(bug: &'static str, file: &'static str, from: &'static str, to: &'static str) -> Mutant {
    Mutant { bug, file, from, to }
}

const ACCUMULATOR: &str = "src/engine/accumulator/mod.rs";
const BROKER: &str = "src/engine/broker.rs";
const COMPLETION: &str = "src/engine/completion.rs";
const ENGINE: &str = "src/engine/mod.rs";
const METADATA: &str = "src/engine/metadata.rs";
const PRODUCE: &str = "src/engine/produce.rs";
const SEQUENCES: &str = "src/engine/accumulator/sequences.rs";
const TRANSACT: &str = "src/engine/transact.rs";
const TRANSACTIONS: &str = "src/engine/transactions.rs";
const VERDICT: &str = "src/engine/verdict.rs";

const MUTANTS: &[Mutant] = &[
    // ---- what a mad cluster says
    mutant(
        "every newer leader is tried at once",
        ACCUMULATOR,
        "queue.leader_epoch > batch.attempt_epoch && !batch.hurried",
        "queue.leader_epoch > batch.attempt_epoch",
    ),
    mutant(
        "records may go to partitions that are not there any more",
        ACCUMULATOR,
        ".filter(|queue| queue.exists)",
        ".filter(|queue| queue.exists || queue.topic.0 < u32::MAX)",
    ),
    mutant(
        "a producer id is taken a second time",
        ENGINE,
        "self.last_producer_id == Some(answer.producer_id)",
        "self.last_producer_id == Some(-answer.producer_id)",
    ),
    mutant(
        "nobody else is asked for metadata",
        METADATA,
        "return Some(asked + self.patience);",
        "return Some(asked + self.patience * 1_000);",
    ),
    // ---- numbers
    mutant(
        "a retry gets new numbers",
        ACCUMULATOR,
        "            batch.retry_at = Some(retry_at);\n",
        "            batch.retry_at = Some(retry_at);\n            batch.unseal();\n",
    ),
    mutant(
        "batches are numbered anew while others are in flight",
        ACCUMULATOR,
        "if queue.sequences.is_broken() && queue.in_flight == 0 {",
        "if queue.sequences.is_broken() {",
    ),
    mutant(
        "what may have been written is sent under new numbers",
        ACCUMULATOR,
        "if batch.may_have_been_written && !safe {",
        "if false && !safe {",
    ),
    mutant(
        "a batch that is refused leaves no gap",
        ACCUMULATOR,
        "if refused { Unresolved::Gap } else { Unresolved::Used }",
        "Unresolved::Used",
    ),
    mutant(
        "the second batch does not wait for the first",
        ACCUMULATOR,
        "if is_known { MAX_UNRESOLVED } else { 1 }",
        "MAX_UNRESOLVED",
    ),
    mutant(
        "brokers are thought never to forget",
        ACCUMULATOR,
        "const CONFIRMED_FOR: Duration = Duration::from_secs(60);",
        "const CONFIRMED_FOR: Duration = Duration::from_secs(60_000_000);",
    ),
    mutant(
        "more batches are open than brokers remember",
        ACCUMULATOR,
        "const MAX_UNRESOLVED: usize = 5;",
        "const MAX_UNRESOLVED: usize = 9;",
    ),
    mutant(
        "what is done behind an open batch does not count",
        ACCUMULATOR,
        "            queue.unresolved[at] = if refused { Unresolved::Gap } else { Unresolved::Used };\n",
        "            if refused { queue.unresolved[at] = Unresolved::Gap } else { queue.unresolved.remove(at); }\n",
    ),
    mutant(
        "a retry does not wait for those before it",
        ACCUMULATOR,
        "queue.unresolved.front() != Some(&Unresolved::Batch(head))\n",
        "false\n",
    ),
    mutant(
        "a new leader is sent to while the old one has batches",
        ACCUMULATOR,
        "queue.in_flight > 0 && (self.limits.one_in_flight || queue.in_flight_node != leader)",
        "queue.in_flight > 0 && self.limits.one_in_flight",
    ),
    mutant(
        "a batch that may have been written is split",
        ACCUMULATOR,
        "b.records < 2 || b.expired || b.open_as_numbered",
        "b.records < 2 || b.expired",
    ),
    mutant(
        "a topic that was created again is numbered anew",
        ACCUMULATOR,
        "            queue.confirmed = None;\n        }\n        self.touch",
        "            queue.sequences.break_off();\n            queue.refused_for_good = true;\n        }\n        self.touch",
    ),
    mutant(
        "offsets that go back mean nothing",
        ACCUMULATOR,
        "            if is_lower {\n",
        "            if false && is_lower {\n",
    ),
    mutant("the epoch stays as it is", SEQUENCES, "                mine.epoch += 1;\n", ""),
    mutant(
        "a new producer id is used in the middle of a sequence",
        SEQUENCES,
        "is_some_and(|mine| mine.id != current.id) && nothing_unresolved;",
        "is_some_and(|mine| mine.id != current.id);",
    ),
    mutant(
        "sequences do not wrap",
        "src/wire/sequence.rs",
        "(i64::from(self.base) + i64::from(count)) & i64::from(i32::MAX)",
        "i64::from(self.base) + i64::from(count)",
    ),
    mutant(
        "starting again always takes a new producer id",
        METADATA,
        "self.given_up.take().is_some_and(|given_up| answer.cluster_id != Some(given_up))",
        "self.given_up.take().is_some()",
    ),
    // ---- verdicts
    mutant(
        "an error that says nothing is a refusal",
        VERDICT,
        "Verdict::Retry { refresh: false, may_have_been_written: true }",
        "Verdict::Fail { may_have_been_written: false }",
    ),
    mutant(
        "a timeout of the broker is a refusal",
        VERDICT,
        "ErrorCode::REQUEST_TIMED_OUT\n        | ErrorCode::NETWORK_EXCEPTION",
        "ErrorCode::NETWORK_EXCEPTION",
    ),
    mutant(
        "a duplicate is always delivered",
        VERDICT,
        "if idempotent && open => Verdict::DeliveredEarlier",
        "if idempotent => Verdict::DeliveredEarlier",
    ),
    mutant(
        "a lost answer is a refusal",
        PRODUCE,
        "self.retry_or_fail(now, node, entry.key, cause, true);",
        "self.retry_or_fail(now, node, entry.key, cause, false);",
    ),
    mutant(
        "the neighbours of a bad record are always sent again",
        PRODUCE,
        ".filter(|b| !b.expired && !b.may_have_been_written)\n",
        ".filter(|b| !b.expired)\n",
    ),
    // ---- answers
    mutant(
        "the batches of a lost connection are forgotten",
        PRODUCE,
        "self.retry_or_fail(now, node, entry.key, cause, true);",
        "let _ = (node, entry.key, cause);",
    ),
    mutant(
        "a partition that is left out of an answer is forgotten",
        PRODUCE,
        "if !forgotten.is_empty() {",
        "if false {",
    ),
    mutant(
        "an answer is matched by its place alone",
        PRODUCE,
        "s.partition == partition.index && self.is_same_topic(s, topic, version)",
        "self.is_same_topic(s, topic, version)",
    ),
    mutant(
        "an answer is read whatever its correlation id",
        ENGINE,
        "Ok(correlation) if correlation != request.correlation",
        "Ok(correlation) if correlation < 0",
    ),
    // ---- memory and time
    mutant(
        "memory is given back twice",
        PRODUCE,
        "            self.released += batch.charge;\n        } else {",
        "            self.released += batch.charge * 2;\n        } else {",
    ),
    mutant(
        "memory is given back while the socket has the bytes",
        PRODUCE,
        "self.accumulator.expire_in_flight(key).expect(\"looked at above\");\n",
        "self.accumulator.expire_in_flight(key).expect(\"looked at above\");\n        self.released += std::mem::take(&mut batch.charge);\n",
    ),
    mutant(
        "the memory of expired batches is kept",
        PRODUCE,
        "            self.released += batch.charge;\n            self.accumulator.recycle(batch);",
        "            self.accumulator.recycle(batch);",
    ),
    mutant(
        "a timer is forgotten",
        ENGINE,
        "            self.accumulator.next_deadline(),\n",
        "            None,\n",
    ),
    mutant(
        "the delivery timeout is too long",
        ACCUMULATOR,
        "self.expiry.push(opened + self.limits.delivery_timeout, key);",
        "self.expiry.push(opened + self.limits.delivery_timeout * 2, key);",
    ),
    mutant(
        "connections are dialed without a pause",
        BROKER,
        "broker.retry_at = Some(now + pause(broker.failures));",
        "broker.retry_at = Some(now + pause(broker.failures).min(Duration::from_millis(1)));",
    ),
    mutant(
        "metadata are asked for without a pause",
        METADATA,
        "            self.not_before = now + pause(self.fruitless);",
        "            self.not_before = now + pause(self.fruitless).min(Duration::from_millis(1));",
    ),
    // ---- ends
    mutant(
        "a flush is answered at once",
        "src/engine/accumulator/flush.rs",
        "self.epochs.len() > 1 && self.epochs[0].unsettled == 0",
        "self.epochs.len() > 1",
    ),
    mutant(
        "the callbacks of a batch run backwards",
        COMPLETION,
        "for (index, callback) in std::mem::take(&mut self.callbacks) {",
        "for (index, callback) in std::mem::take(&mut self.callbacks).into_iter().rev() {",
    ),
    mutant(
        "handles are done before their callbacks",
        COMPLETION,
        "        for (index, callback) in std::mem::take(&mut self.callbacks) {",
        "        settle(&mut Settling::new(), std::mem::take(&mut self.runs), &self.outcome);\n        for (index, callback) in std::mem::take(&mut self.callbacks) {",
    ),
    // ---- transactions
    mutant(
        "a transaction is ended before all of it has arrived",
        TRANSACTIONS,
        "if !self.ended && quiet && self.started",
        "if !self.ended && self.started",
    ),
    mutant(
        "a transaction is committed although a record has failed",
        TRANSACT,
        "if let Some((error, numbered)) = self.spoiled.take() {",
        "if let Some((error, numbered)) = self.spoiled.take().filter(|_| false) {",
    ),
    mutant(
        "an answer that was lost leaves the epoch as it is",
        TRANSACTIONS,
        "if (in_doubt || cluster_has_second) && !self.second_protocol {",
        "if cluster_has_second && !self.second_protocol {",
    ),
    mutant(
        "numbers that an abort gives up are not missed",
        PRODUCE,
        "batch.sequence.is_some() || batch.attempts > 0",
        "batch.attempts > 0",
    ),
    mutant(
        "a sequence goes on under the next epoch",
        ACCUMULATOR,
        "            queue.sequences = Sequences::default();\n",
        "",
    ),
    mutant(
        "a partition is sent to before it was added",
        ACCUMULATOR,
        "queue.membership != Membership::Admitted",
        "false",
    ),
    mutant(
        "an epoch is raised within a transaction",
        ACCUMULATOR,
        "        if self.limits.transactional {\n            // The epoch",
        "        if false {\n            // The epoch",
    ),
    mutant(
        "offsets are committed outside of the transaction",
        TRANSACTIONS,
        "(_, Some(commit)) if takes_records && !commit.added && !self.second_protocol => {",
        "(_, Some(commit)) if takes_records && !commit.added && false => {",
    ),
    mutant(
        "a close does not wait for what is open",
        ENGINE,
        "self.closing && self.accumulator.unsettled() == 0 && self.has_no_open_transaction()",
        "self.closing",
    ),
];

#[test]
fn every_change_fits_the_source() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for Mutant { bug, file, from, to } in MUTANTS {
        let source = fs::read_to_string(root.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert_eq!(source.matches(from).count(), 1, "{bug}: {file} has this not once:\n{from}");
        assert_ne!(from, to, "{bug}");
    }
}

#[test]
#[ignore = "builds the crate once for each of its bugs"]
fn every_change_is_noticed() -> io::Result<()> {
    let wanted = env::var("MUTANT").unwrap_or_default();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutants");
    let mut unnoticed = Vec::new();
    for mutant in MUTANTS.iter().filter(|mutant| mutant.bug.contains(&wanted)) {
        copy_crate(root, &copy)?;
        let file = copy.join(mutant.file);
        let source = fs::read_to_string(&file)?;
        fs::write(&file, source.replacen(mutant.from, mutant.to, 1))?;
        match notice(&copy)? {
            Some(how) => println!("{}: {how}", mutant.bug),
            None => {
                println!("{}: NOT NOTICED", mutant.bug);
                unnoticed.push(mutant.bug);
            }
        }
    }
    assert!(unnoticed.is_empty(), "nobody notices that {unnoticed:#?}");
    Ok(())
}

/// Runs the simulation of a copy; what it says of it, if it complains.
fn notice(copy: &Path) -> io::Result<Option<String>> {
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "test",
            "--lib",
            "--offline",
            "--",
            "--nocapture",
            "engine::sim::nights",
            "engine::sim::museum",
            "engine::sim::catalogue",
        ])
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", copy.with_extension("target"))
        .env("RUST_BACKTRACE", "0")
        .env("SIM_RUNS", NIGHTS.to_string())
        .env_remove("SIM_SEED")
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("running "), "it was not built:\n{complaints}");
    if output.status.success() {
        return Ok(None);
    }
    let is_scripted = |line: &str| line.contains("::museum::") || line.contains("::catalogue::");
    let scripted = said.lines().filter(|line| is_scripted(line) && line.ends_with("FAILED")).count();
    let story = said.lines().find_map(|line| line.strip_prefix("night ")?.split_once(' '));
    Ok(match story {
        Some((seed, story)) => {
            let nights = seed.parse::<u64>().map_or(0, |seed| seed + 1);
            let story: String = story.chars().take(160).collect();
            Some(format!("after {nights} nights, and by {scripted} with a script: {story}"))
        }
        // The process itself did not survive: an assertion of the hand-off's own, met twice.
        None if !said.contains("test result") => {
            Some("at once, by an assertion that ends the process".into())
        }
        None => Some(format!("by {scripted} nights with a script alone")),
    })
}

/// What a build needs, and nothing that was left from before.
fn copy_crate(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for name in ["Cargo.toml", "Cargo.lock", "README.md", "src", "tests", "examples", "benches", "docs"] {
        let (from, to) = (from.join(name), to.join(name));
        if from.is_dir() {
            copy_folder(&from, &to)?;
        } else if from.exists() {
            copy_file(&from, &to)?;
        }
    }
    Ok(())
}

fn copy_folder(from: &Path, to: &PathBuf) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (from, to) = {
            let entry = entry?;
            (entry.path(), to.join(entry.file_name()))
        };
        if from.is_dir() {
            if !from.ends_with("target") {
                copy_folder(&from, &to)?;
            }
        } else {
            copy_file(&from, &to)?;
        }
    }
    Ok(())
}

/// A file that is the same already keeps its time, so that not everything is built anew.
fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let content = fs::read(from)?;
    if fs::read(to).is_ok_and(|there| there == content) {
        return Ok(());
    }
    fs::write(to, content)
}

/// As many as in CI.
const NIGHTS: u32 = 10_000;
