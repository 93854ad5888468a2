//! One run after the other: a fresh sink, a driver, and the sink's word on what arrived.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use kafka_producer_peers::{measure::Report, sink};

use super::{
    drivers::{Built, Driver},
    plan::{Contestant, Kind, NO_COMPRESSION, PEAK, RATE_SECONDS, Rate, Setup, Sink, Workload},
    results::{Metric, Outcome, Results, Row, Run},
};

pub(crate) struct Setting {
    /// The producer's and the sink's.
    pub(crate) cores: [usize; 2],
    /// Instead of the workload's own.
    pub(crate) rounds: Option<u32>,
    /// Seconds.
    pub(crate) java_warmup: f64,
}

/// Runs a workload: every contestant once with everything checked, and then round by round. No second round is begun
/// that would probably end after `until`.
pub(crate) fn run(
    workload: &Workload,
    until: Option<Instant>,
    built: &Built,
    setting: &Setting,
    results: &mut Results,
) {
    let contestants: Vec<_> = workload
        .contestants
        .iter()
        .filter(|contestant| built.has(contestant.driver))
        .filter_map(|contestant| settled(contestant, results))
        .collect();
    let row = |contestant: &Contestant| Row {
        label: contestant.label.clone(),
        driver: contestant.driver.name().to_owned(),
        runs: Vec::new(),
        failures: Vec::new(),
    };
    let mut rows: Vec<_> = contestants.iter().map(row).collect();
    if workload.kind != Kind::Latency {
        for (contestant, row) in contestants.iter().zip(&mut rows) {
            if let Err(why) = verify(contestant, built, setting) {
                fail(workload, row, format!("with everything checked: {why}"));
            }
        }
    }
    let rounds = setting.rounds.unwrap_or(workload.rounds);
    let mut longest = Duration::ZERO;
    for round in 0..rounds {
        let begun = Instant::now();
        if round > 0 && until.is_some_and(|until| begun + longest > until) {
            eprintln!("{}: {round} of {rounds} rounds, as time is up", workload.title);
            break;
        }
        eprintln!("{}, round {} of {rounds}", workload.title, round + 1);
        // Nobody always comes first, or always after the same one.
        for turn in 0..contestants.len() {
            let index = (turn + round as usize) % contestants.len();
            let (contestant, row) = (&contestants[index], &mut rows[index]);
            let outcome = run_once(contestant, built, setting, Check::Counts);
            match &outcome {
                Ok(run) => say(&row.label, &run.report),
                Err(why) => fail(workload, row, format!("round {}: {why}", round + 1)),
            }
            if let Some(version) = outcome.as_ref().ok().and_then(|run| run.report.version.as_deref()) {
                results.note_version(contestant.driver.title(), version);
            }
            row.runs.push(outcome.ok());
        }
        longest = longest.max(begun.elapsed());
    }
    let Workload { id, title, kind, .. } = workload;
    results.outcomes.push(Outcome { id: id.clone(), title: title.clone(), kind: *kind, rows });
}

/// A contestant whose rate is a number. Without its peak there is none.
fn settled(contestant: &Contestant, results: &Results) -> Option<Contestant> {
    let mut settled = contestant.clone();
    if let Some(rate) = contestant.setup.rate {
        let rate = match rate {
            Rate::Fixed(rate) => rate,
            Rate::OfPeak(part) => {
                let peak = results.outcome(PEAK).and_then(|outcome| outcome.row_of(contestant.driver));
                let Some(peak) = peak.and_then(|row| row.median(Metric::RecordsPerSecond)) else {
                    eprintln!("{}: its peak is not known; run {PEAK}, too", contestant.label);
                    return None;
                };
                (part * peak) as u64
            }
        };
        settled.setup.rate = Some(Rate::Fixed(rate));
        settled.setup.records = (rate as f64 * RATE_SECONDS) as u64;
        settled.label = format!("{}, {}/s", contestant.label, super::markdown::count(rate as f64));
    }
    Some(settled)
}

/// How closely the sink looks.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Check {
    /// Counts and sequences: next to nothing.
    Counts,
    /// Checksums and records, too.
    Everything,
}

fn verify(contestant: &Contestant, built: &Built, setting: &Setting) -> Result<(), String> {
    let mut short = contestant.clone();
    let bytes = short.setup.size as u64 + RECORD_OVERHEAD;
    short.setup.records = (VERIFIED_BYTES / bytes).min(short.setup.records);
    run_once(&short, built, setting, Check::Everything).map(|_| ())
}

fn run_once(contestant: &Contestant, built: &Built, setting: &Setting, check: Check) -> Result<Run, String> {
    let mut sink = RunningSink::start(&contestant.setup, built, setting, check)?;
    let report = drive(contestant, &sink.address, built, setting, check)?;
    let counts = sink.counts()?;
    judge(contestant, &report, &counts)?;
    Ok(Run { report, sink: counts })
}

fn drive(
    contestant: &Contestant,
    address: &str,
    built: &Built,
    setting: &Setting,
    check: Check,
) -> Result<Report, String> {
    let setup = &contestant.setup;
    let core = if setup.pinned { setting.cores[0].to_string() } else { both(setting) };
    let mut command = Command::new("timeout");
    command.arg(RUN_LIMIT_SECONDS.to_string()).args(["taskset", "-c", &core]);
    command.args(contestant.driver.command(&built.folder));
    let mut flag = |name: &str, value: String| {
        command.arg(format!("--{name}")).arg(value);
    };
    flag("bootstrap", address.to_owned());
    flag("records", setup.records.to_string());
    flag("size", setup.size.to_string());
    flag("batch-size", setup.batch_size.to_string());
    flag("linger-ms", setup.linger_ms.to_string());
    flag("topics", setup.topics.to_string());
    flag("partitions", setup.partitions.to_string());
    flag("threads", setup.threads.to_string());
    flag("mode", setup.mode.to_owned());
    flag("variant", setup.variant.to_owned());
    if let Some(Rate::Fixed(rate)) = setup.rate {
        flag("rate", rate.to_string());
    }
    let warmup = match (check, contestant.driver) {
        (Check::Everything, _) => 0.0,
        (Check::Counts, Driver::Java) => setting.java_warmup,
        (Check::Counts, _) => WARMUP,
    };
    flag("warmup-seconds", warmup.to_string());
    if setup.keys {
        command.arg("--keys");
    }
    if setup.sink == Sink::Tls {
        for (name, value) in contestant.driver.tls() {
            command.arg("--property").arg(format!("{name}={value}"));
        }
    }
    // The drivers that never compress do not know the flag.
    if setup.compression != NO_COMPRESSION {
        command.args(["--compression", setup.compression]);
    }
    let output = command.output().map_err(|error| format!("cannot start timeout: {error}"))?;
    if output.status.code() == Some(124) {
        return Err(format!("not done after {RUN_LIMIT_SECONDS} seconds"));
    }
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}: {}", output.status, said.lines().last().unwrap_or("it says nothing")));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("its report cannot be read: {error}"))
}

/// Whether what arrived is what was sent.
fn judge(contestant: &Contestant, report: &Report, sink: &sink::Report) -> Result<(), String> {
    if contestant.driver == Driver::Encode {
        return Ok(());
    }
    let sent = report.records + report.warmup_records;
    if sink.records != sent {
        return Err(format!("{sent} records were sent, and {} arrived", sink.records));
    }
    if let Some(reason) = &sink.refused {
        return Err(format!("the sink refused: {reason}"));
    }
    for (count, what) in [
        (sink.sequence_errors, "batches out of sequence"),
        (sink.checksum_errors, "batches with a wrong checksum"),
        (sink.record_errors, "batches with wrong records"),
    ] {
        if count > 0 {
            return Err(format!("{count} {what}"));
        }
    }
    if contestant.driver.is_idempotent() && sink.unsequenced_batches > 0 {
        return Err(format!("{} batches without a producer id", sink.unsequenced_batches));
    }
    Ok(())
}

struct RunningSink {
    child: Child,
    lines: BufReader<ChildStdout>,
    address: String,
}

impl RunningSink {
    fn start(setup: &Setup, built: &Built, setting: &Setting, check: Check) -> Result<Self, String> {
        let core = if setup.pinned { setting.cores[1].to_string() } else { both(setting) };
        let mut command = Command::new("taskset");
        command.args(["-c", &core]).arg(built.folder.join("sink"));
        command.args(["--topics", &setup.topics.to_string(), "--partitions", &setup.partitions.to_string()]);
        match setup.sink {
            Sink::Sleeping => {}
            Sink::Spinning => drop(command.arg("--spin")),
            Sink::Tls => drop(command.arg("--tls")),
            Sink::Slow(ms) => drop(command.args(["--delay-ms", &ms.to_string()])),
        }
        if check == Check::Everything {
            command.args(["--verify", "--size", &setup.size.to_string()]);
        }
        let cannot = |error| format!("the sink cannot be started: {error}");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(cannot)?;
        let lines = BufReader::new(child.stdout.take().expect("its output was asked for"));
        let mut sink = Self { child, lines, address: String::new() };
        sink.address = sink.line()?;
        Ok(sink)
    }

    fn counts(&mut self) -> Result<sink::Report, String> {
        let input = self.child.stdin.as_mut().expect("its input was asked for, and is open until the end");
        input.write_all(b"\n").map_err(|error| format!("the sink is gone: {error}"))?;
        let line = self.line()?;
        serde_json::from_str(&line).map_err(|error| format!("the sink's report cannot be read: {error}"))
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        self.lines.read_line(&mut line).map_err(|error| format!("the sink is gone: {error}"))?;
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for RunningSink {
    fn drop(&mut self) {
        // It ends by itself when its input does, but one that spins would slow down what comes next until then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn both(setting: &Setting) -> String {
    format!("{},{}", setting.cores[0], setting.cores[1])
}

fn fail(workload: &Workload, row: &mut Row, why: String) {
    eprintln!("  {}, {}: {why}", workload.title, row.label);
    row.failures.push(why);
}

fn say(label: &str, report: &Report) {
    let (rate, cpu) =
        (report.records as f64 / report.seconds, report.cpu_seconds * 1e6 / report.records as f64);
    let latency = report.latency.map_or_else(String::new, |latency| format!(", p50 {:.1} us", latency.p50));
    eprintln!("  {label:48} {:>12.0} records/s, {cpu:.3} us of CPU each{latency}", rate);
}

/// For a run that is checked thoroughly.
const VERIFIED_BYTES: u64 = 20_000_000;

/// Of a record's size on the wire; about.
const RECORD_OVERHEAD: u64 = 20;

/// Seconds; connects, asks for metadata and fills the caches.
const WARMUP: f64 = 0.2;

/// Ten times as long as the slowest takes.
const RUN_LIMIT_SECONDS: u32 = 180;
