//! The examples as programs: what they take, what they print, how they end. `cargo test` builds them.

#![allow(clippy::disallowed_methods, reason = "a program's output is read on a thread of its own")]

#[path = "../examples/console_producer/lines.rs"]
#[allow(dead_code)]
mod lines;
#[path = "../examples/producer_performance/meter.rs"]
#[allow(dead_code)]
mod meter;

use std::{
    collections::{HashMap, HashSet},
    env, fs,
    io::{self, Read, Write},
    ops::{Range, RangeInclusive},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use kafka_producer::{
    ErrorCode, Headers,
    testing::{Api, Cluster, Fault, Record},
};
use serde_json::Value;

use lines::{LineFormat, Lines, Parts};
use meter::Meter;

// quickstart and send_json

#[test]
fn quickstart_needs_nothing_and_says_where_the_records_went() {
    let out = run("quickstart", &[], "");
    out.succeeds();
    let lines: Vec<_> = out.stdout.lines().collect();
    assert_eq!(lines.len(), 10, "{out:?}");
    assert!(lines.iter().all(|line| shape(line) == "quickstart-#@#"), "{out:?}");
}

#[test]
fn quickstart_uses_a_real_cluster() {
    let cluster = cluster(&[("quickstart", 3)]);
    let out = run("quickstart", &["--bootstrap-server", &cluster.bootstrap()], "");
    out.succeeds();
    assert_eq!(sorted(out.stdout.lines()), sorted(cluster.records("quickstart").iter().map(place)));
}

#[test]
fn transactional_transfer_moves_money_in_spite_of_trouble() {
    let out = run("transactional_transfer", &[], "");
    out.succeeds();
    let lines: Vec<_> = out.stdout.lines().collect();
    assert_eq!(lines[0], "alice -> bob: 42 (at attempt 1)", "{out:?}");
    assert!(lines[..5].iter().any(|line| line.ends_with("(at attempt 2)")), "{out:?}");
    assert_eq!(lines[5..], ["alice: -60", "bob: 40", "carol: -5", "dave: 25", "together: 0"], "{out:?}");
}

#[test]
fn transactional_transfer_uses_a_real_cluster() {
    let cluster = cluster(&[("accounts", 3)]);
    run("transactional_transfer", &["--bootstrap-server", &cluster.bootstrap()], "").succeeds();
    assert_eq!((cluster.committed_records("accounts").len(), cluster.record_count("accounts")), (10, 10));
}

#[test]
fn metrics_are_served_to_whoever_asks() {
    use std::{
        io::{BufRead, BufReader},
        net::TcpStream,
    };

    let mut child = start("metrics", &["--listen", "127.0.0.1:0", "--throughput", "1000"]);
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("a line");
    let address = line.trim().strip_prefix("http://").and_then(|rest| rest.strip_suffix("/metrics"));
    let address = address.unwrap_or_else(|| panic!("{line:?}"));
    let ask = |path: &str| {
        let mut connection = TcpStream::connect(address).expect("it listens");
        connection.set_read_timeout(Some(DEADLINE)).expect("there is such a limit");
        write!(connection, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it reads");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("it answers");
        answer
    };
    let answer = ask("/metrics");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n"), "{answer}");
    assert!(answer.contains("\n# TYPE kafka_producer_record_send_total counter\n"), "{answer}");
    assert!(ask("/").starts_with("HTTP/1.1 404 "));
    kill("-TERM", &child);
    finish(child).succeeds();
}

#[test]
fn send_json_sends_json() {
    let cluster = cluster(&[("testTopic", 1)]);
    let out = run("send_json", &["--bootstrap-server", &cluster.bootstrap(), "--topic", "testTopic"], "");
    out.succeeds();
    assert_eq!(out.stdout, "testTopic-0@0\n");
    let records = cluster.records("testTopic");
    let value: Value = serde_json::from_slice(records[0].value.as_deref().expect("a value")).expect("JSON");
    assert!(value.is_object(), "{value}");
}

// embed_in_threads

#[test]
fn embed_in_threads_counts_what_became_of_each_record() {
    let cluster = cluster(&[("orders", 3)]);
    let bootstrap = cluster.bootstrap();
    // A buffer of a few batches, so that the threads are held back.
    let args = ["--bootstrap-server", &bootstrap, "--records", "5000", "--threads", "3"];
    let out = run("embed_in_threads", &[&args[..], &["--buffer-memory", "100000"]].concat(), "");
    out.succeeds();
    assert_eq!(out.stdout.lines().count(), 4, "{out:?}");
    assert!(out.stdout.ends_with("5000 accepted = 5000 acknowledged + 0 failed\n"), "{out:?}");
    assert_eq!(cluster.record_count("orders"), 5000);
}

#[test]
fn embed_in_threads_counts_what_was_not_delivered() {
    let cluster = cluster(&[("orders", 1)]);
    cluster.fail_next(ErrorCode::TOPIC_AUTHORIZATION_FAILED, 1);
    let args = ["--bootstrap-server", &cluster.bootstrap(), "--records", "500"];
    let out = run("embed_in_threads", &args, "");
    out.fails_with("TOPIC_AUTHORIZATION_FAILED");
    let account = format!("500 accepted = {} acknowledged", cluster.record_count("orders"));
    assert!(out.stdout.contains(&account), "{account} is expected: {out:?}");
}

#[cfg(unix)]
#[test]
fn embed_in_threads_ends_in_order_when_told_to() {
    let cluster =
        Cluster::builder().topic("orders", 3).keep_records(false).start().expect("loopback sockets");
    for (i, signal) in ["-TERM", "-INT"].into_iter().enumerate() {
        let before = cluster.record_count("orders");
        let endless = u64::MAX.to_string();
        let args = ["--bootstrap-server", &cluster.bootstrap(), "--records", &endless];
        let child = start("embed_in_threads", &args);
        assert!(cluster.wait_for_records("orders", before + 1, DEADLINE), "{i}");
        kill(signal, &child);
        let out = finish(child);
        out.succeeds();
        let sent = cluster.record_count("orders") - before;
        let account = format!("{sent} accepted = {sent} acknowledged + 0 failed\n");
        assert!(out.stdout.ends_with(&account), "{account} is expected: {out:?}");
    }
}

// log_shipper

/// Killed after its lines were written and before it heard so: it sends them again, and all that came later.
#[cfg(unix)]
#[test]
fn log_shipper_loses_nothing_when_it_is_killed() {
    let cluster = cluster(&[("logs", 3)]);
    let folder = tempfile::tempdir().expect("a folder");
    let log = LogFile::new(&folder);
    log.write(0..500);
    let mut child = log.ship(&cluster, &["--from-start"]);
    assert!(cluster.wait_for_records("logs", 500, DEADLINE));
    // What comes next is sent after the first lines were remembered.
    cluster.fault(Fault::NeverAnswer.api(Api::Produce));
    log.write(500..1000);
    assert!(cluster.wait_for_records("logs", 501, DEADLINE));
    child.kill().expect("it runs");
    child.wait().expect("it was killed");
    cluster.clear_faults();
    log.write(1000..1100);

    let child = log.ship(&cluster, &[]);
    wait_until(|| shipped(&cluster).iter().any(|line| line == "1099"));
    kill("-TERM", &child);
    finish(child).succeeds();
    let sent = shipped(&cluster);
    let mut seen = HashSet::new();
    let firsts: Vec<_> = sent.iter().filter(|line| seen.insert(*line)).cloned().collect();
    assert_eq!(firsts, numbers(0..1100));
    assert!(sent.len() > 1100, "it was killed too late to send anything twice");
    assert_eq!(sent[..500], numbers(0..500));
    assert!(!sent[500..].contains(&"499".to_owned()), "it goes on from the place that it remembered");
    let partitions: Vec<i32> = cluster.records("logs").iter().map(|record| record.partition).collect();
    assert!(partitions.iter().all(|&partition| partition == partitions[0]), "one file, one partition");
}

#[cfg(unix)]
#[test]
fn log_shipper_follows_rotation_and_truncation() {
    let cluster = cluster(&[("logs", 1)]);
    let folder = tempfile::tempdir().expect("a folder");
    let log = LogFile::new(&folder);
    let rotated = folder.path().join("app.log.1");
    log.write(0..10);
    let child = log.ship(&cluster, &["--from-start"]);
    assert!(cluster.wait_for_records("logs", 10, DEADLINE));

    // The writer has the old file open for a while, and ends its last line never.
    let mut old = fs::OpenOptions::new().append(true).open(&log.path).expect("it is there");
    fs::rename(&log.path, &rotated).expect("renamed");
    fs::write(&log.path, "").expect("written");
    write!(old, "10\n11\n").expect("written");
    assert!(cluster.wait_for_records("logs", 12, DEADLINE));
    write!(old, "12").expect("written");
    log.write(13..20);
    assert!(cluster.wait_for_records("logs", 20, DEADLINE));

    // Longer than what was there, so that its length does not give it away.
    let longer: String = (20..100).map(|i| format!("{i}\n")).collect();
    fs::write(&log.path, longer).expect("written");
    assert!(cluster.wait_for_records("logs", 100, DEADLINE));
    kill("-INT", &child);
    finish(child).succeeds();

    // Nobody looks.
    log.write(100..110);
    fs::rename(&log.path, &rotated).expect("renamed");
    log.write(110..120);
    let child = log.ship(&cluster, &[]);
    assert!(cluster.wait_for_records("logs", 120, DEADLINE));
    kill("-TERM", &child);
    finish(child).succeeds();
    assert_eq!(shipped(&cluster), numbers(0..120));
}

#[cfg(unix)]
#[test]
fn log_shipper_begins_at_the_end_and_stops_although_nobody_answers() {
    let cluster = cluster(&[("logs", 1)]);
    let folder = tempfile::tempdir().expect("a folder");
    let log = LogFile::new(&folder);
    log.write(0..10);
    let child = log.ship(&cluster, &[]);
    let memory = folder.path().join("app.log.shipped");
    wait_until(|| memory.exists());
    cluster.fault(Fault::NeverAnswer.api(Api::Produce));
    log.write(10..11);
    assert!(cluster.wait_for_records("logs", 1, DEADLINE));
    kill("-TERM", &child);
    let out = finish(child);
    out.succeeds();
    assert_eq!(out.stderr, "");
    cluster.clear_faults();

    let child = log.ship(&cluster, &[]);
    assert!(cluster.wait_for_records("logs", 2, DEADLINE));
    kill("-TERM", &child);
    finish(child).succeeds();
    assert_eq!(shipped(&cluster), ["10", "10"], "what was not acknowledged is sent again");

    fs::write(&memory, "nonsense").expect("written");
    finish(log.ship(&cluster, &[])).fails_with("app.log.shipped: not what log_shipper has written");
}

/// A log of numbers, one a line.
struct LogFile {
    path: PathBuf,
}

impl LogFile {
    fn new(folder: &tempfile::TempDir) -> Self {
        Self { path: folder.path().join("app.log") }
    }

    fn write(&self, numbers: Range<u64>) {
        let lines: String = numbers.map(|i| format!("{i}\n")).collect();
        let mut file = fs::OpenOptions::new().create(true).append(true).open(&self.path).expect("opened");
        file.write_all(lines.as_bytes()).expect("written");
    }

    fn ship(&self, cluster: &Cluster, args: &[&str]) -> Child {
        let path = self.path.to_str().expect("a path in UTF-8");
        let bootstrap = cluster.bootstrap();
        let always = ["--bootstrap-server", &bootstrap, "--topic", "logs", "--file", path];
        start("log_shipper", &[&always, args].concat())
    }
}

fn shipped(cluster: &Cluster) -> Vec<String> {
    cluster.records("logs").iter().map(|record| record.value_str().expect("text").to_owned()).collect()
}

fn numbers(range: Range<u64>) -> Vec<String> {
    range.map(|i| i.to_string()).collect()
}

// outbox

#[test]
fn outbox_shows_itself_without_anything() {
    let out = run("outbox", &[], "");
    out.succeeds();
    let lines: Vec<_> = out.stdout.lines().collect();
    let batches = [
        "rows 1 to 4: sent (at attempt 2)",
        "rows 5 to 8: sent (at attempt 1)",
        "rows 9 to 10: sent (at attempt 1)",
    ];
    assert_eq!(lines[..3], batches, "{out:?}");
    assert_eq!(lines.len(), 13, "{out:?}");
    assert!(lines.iter().any(|line| line.ends_with(": customer-3, 7 apples (row 7)")), "{out:?}");
    let shop = Shop::new();
    run("outbox", &["--bootstrap-server", "localhost:1"], "").fails_with("--database is missing");
    run("outbox", &["--database", &shop.path], "").fails_with("bootstrap.servers");
}

/// The commit is done, and the program dies before it knows: the rows are sent again, and a reader can tell.
#[cfg(unix)]
#[test]
fn outbox_sends_a_batch_again_whose_commit_it_has_not_heard_of() {
    let cluster = cluster(&[("orders", 3)]);
    let shop = Shop::new();
    shop.order(1..=10);
    let mut child = shop.relay(&cluster, &[]);
    wait_until(|| shop.waiting() == 0);
    cluster.fault(Fault::NeverAnswer.api(Api::EndTxn));
    shop.order(11..=30);
    // All twenty are one transaction: they were written in one.
    wait_until(|| cluster.committed_records("orders").len() == 30);
    child.kill().expect("it runs");
    child.wait().expect("it was killed");
    assert_eq!(shop.waiting(), 20);
    cluster.clear_faults();
    shop.order(31..=35);

    finish(shop.relay(&cluster, &["--once"])).succeeds();
    assert_eq!(shop.waiting(), 0);
    assert_eq!(cluster.committed_records("orders").len(), 30 + 25, "the twenty came twice");
    Shop::arrived(&cluster, 1..=35);
}

/// It dies before the commit: the next one ends that transaction, and nothing of it is seen.
#[cfg(unix)]
#[test]
fn outbox_sends_a_batch_that_was_not_committed_as_if_for_the_first_time() {
    let cluster = cluster(&[("orders", 3)]);
    let shop = Shop::new();
    shop.order(1..=20);
    cluster.fault(Fault::Close.api(Api::EndTxn).times(u32::MAX));
    let mut child = shop.relay(&cluster, &[]);
    assert!(cluster.wait_for_requests(Api::EndTxn, 1, DEADLINE));
    child.kill().expect("it runs");
    child.wait().expect("it was killed");
    assert_eq!(cluster.record_count("orders"), 20, "written, in a transaction that is open");
    assert_eq!(cluster.committed_records("orders").len(), 0);
    cluster.clear_faults();

    finish(shop.relay(&cluster, &["--once", "--batch-rows", "7"])).succeeds();
    assert_eq!((shop.waiting(), cluster.committed_records("orders").len()), (0, 20));
    Shop::arrived(&cluster, 1..=20);
    assert_eq!(cluster.open_transactions(), [""; 0]);
}

#[cfg(unix)]
#[test]
fn outbox_gives_way_to_another_of_its_name_and_to_a_signal() {
    let cluster = cluster(&[("orders", 1)]);
    let shop = Shop::new();
    shop.order(1..=5);
    let first = shop.relay(&cluster, &[]);
    wait_until(|| shop.waiting() == 0);
    // Its rows are elsewhere: it takes none from the first.
    let elsewhere = Shop::new();
    let second = elsewhere.relay(&cluster, &[]);
    assert!(cluster.wait_for_requests(Api::InitProducerId, 2, DEADLINE));
    shop.order(6..=7);
    finish(first).fails_with("fenced");
    assert_eq!((shop.waiting(), cluster.committed_records("orders").len()), (2, 5));
    kill("-TERM", &second);
    finish(second).succeeds();
}

#[test]
fn outbox_stops_at_a_row_that_can_never_be_sent() {
    let cluster = cluster(&[("orders", 1)]);
    let shop = Shop::new();
    shop.order(1..=2);
    shop.database.execute("INSERT INTO outbox (value) VALUES (zeroblob(2000000))", []).expect("inserted");
    let args = ["--once", "--batch-rows", "2"];
    finish(shop.relay(&cluster, &args)).fails_with("more than max.request.size");
    assert_eq!((shop.waiting(), cluster.committed_records("orders").len()), (1, 2));
}

/// A database with an outbox.
struct Shop {
    _folder: tempfile::TempDir,
    path: String,
    database: rusqlite::Connection,
}

impl Shop {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("shop.db").to_str().expect("a path in UTF-8").to_owned();
        let database = rusqlite::Connection::open(&path).expect("opened");
        let columns = "id INTEGER PRIMARY KEY AUTOINCREMENT, key, value, sent INTEGER NOT NULL DEFAULT 0";
        database.execute(&format!("CREATE TABLE outbox ({columns})"), []).expect("created");
        Self { _folder: folder, path, database }
    }

    /// Orders with these numbers, in one transaction; every third without a key.
    fn order(&self, numbers: RangeInclusive<u64>) {
        let transaction = self.database.unchecked_transaction().expect("begun");
        for i in numbers {
            let key = (i % 3 != 0).then(|| format!("customer-{}", i % 5));
            let insert = "INSERT INTO outbox (key, value) VALUES (?1, ?2)";
            transaction.execute(insert, (key, format!("order {i}"))).expect("inserted");
        }
        transaction.commit().expect("committed");
    }

    fn waiting(&self) -> u32 {
        let count = "SELECT count(*) FROM outbox WHERE sent = 0";
        self.database.query_row(count, [], |row| row.get(0)).expect("counted")
    }

    fn relay(&self, cluster: &Cluster, args: &[&str]) -> Child {
        let bootstrap = cluster.bootstrap();
        let always = ["--bootstrap-server", &bootstrap, "--topic", "orders", "--database", &self.path];
        start("outbox", &[&always, args].concat())
    }

    /// What is there for a reader that goes by the rule: drop what is not above the highest id of its partition.
    #[track_caller]
    fn arrived(cluster: &Cluster, want: RangeInclusive<u64>) {
        let mut highest = HashMap::new();
        let mut seen = Vec::new();
        for record in cluster.committed_records("orders") {
            let id = record.header("outbox-id").flatten().expect("each has its id");
            let id: u64 = str::from_utf8(id).expect("digits").parse().expect("a number");
            let key = if id.is_multiple_of(3) { id.to_string() } else { format!("customer-{}", id % 5) };
            assert_eq!(record.key_str(), Some(&*key));
            assert_eq!(record.value_str(), Some(&*format!("order {id}")));
            let highest = highest.entry(record.partition).or_insert(0);
            if id > *highest {
                *highest = id;
                seen.push(id);
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, want.collect::<Vec<_>>());
    }
}

// console_producer

#[test]
fn console_producer_sends_keys_headers_and_nulls() {
    let cluster = cluster(&[("t", 1)]);
    let input = "n:1,é:ü\tkey\tvalue with\ttab\n\
                 NIL\tNIL\tno headers, no key\n\
                 empty:,null:NIL\tkey\tNIL\r\n\
                 a:1\t\t";
    let out = run(
        "console_producer",
        &[
            &[
                "--bootstrap-server",
                &cluster.bootstrap(),
                "--topic",
                "t",
                "--reader-property",
                "parse.key=true",
            ][..],
            &[
                "--reader-property",
                "parse.headers=true",
                "null.marker=NIL",
                "--command-property",
                "linger.ms=0",
            ],
        ]
        .concat(),
        input,
    );
    out.succeeds();
    assert_eq!(out.stdout, "");
    let text = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|b| String::from_utf8_lossy(b).into_owned());
    let records: Vec<_> = cluster
        .records("t")
        .iter()
        .map(|r| {
            let headers: Vec<_> = r.headers.iter().map(|(k, v)| (k.clone(), text(v))).collect();
            (headers, text(&r.key), text(&r.value))
        })
        .collect();
    let some = |text: &str| Some(text.to_owned());
    let header = |key: &str, value| (key.to_owned(), value);
    assert_eq!(
        records,
        [
            (vec![header("n", some("1")), header("é", some("ü"))], some("key"), some("value with\ttab")),
            (vec![], None, some("no headers, no key")),
            (vec![header("empty", some("")), header("null", None)], some("key"), None),
            (vec![header("a", some("1"))], some(""), some("")),
        ]
    );
}

#[test]
fn console_producer_reads_how_lines_are_read_from_a_file() {
    let cluster = cluster(&[("t", 1)]);
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    writeln!(file, "# Java's format\nparse.key = true\nkey.separator=\\t\nnull.marker=x").expect("written");
    let file = file.path().to_str().expect("a path in UTF-8");
    let bootstrap = cluster.bootstrap();
    let args = ["--bootstrap-server", &bootstrap, "--topic", "t", "--reader-config", file];
    run("console_producer", &[&args[..], &["--reader-property", "null.marker=v"]].concat(), "x\tv\n")
        .succeeds();
    let records = cluster.records("t");
    assert_eq!(
        (records[0].key_str(), records[0].value_str()),
        (Some("x"), None),
        "the flag stands above the file"
    );
}

#[test]
fn console_producer_stops_at_a_bad_line_and_has_sent_those_before() {
    let cluster = cluster(&[("t", 1)]);
    let args =
        ["--bootstrap-server", &cluster.bootstrap(), "--topic", "t", "--reader-property", "parse.key=true"];
    let out = run("console_producer", &args, "k\tfirst\nno key here\nk\tnever\n");
    out.fails_with("No key separator found on line number 2: 'no key here'");
    assert_eq!(cluster.record_count("t"), 1);
}

#[test]
fn console_producer_reports_what_was_not_delivered() {
    for sync in [false, true] {
        let cluster = cluster(&[("t", 1)]);
        cluster.fail_next(ErrorCode::TOPIC_AUTHORIZATION_FAILED, 1);
        let bootstrap = cluster.bootstrap();
        let mut args =
            vec!["--bootstrap-server", &bootstrap, "--topic", "t", "--command-property", "batch.size=0"];
        args.extend(sync.then_some("--sync"));
        let out = run("console_producer", &args, "one\ntwo\n");
        out.fails_with("TOPIC_AUTHORIZATION_FAILED");
        assert_eq!(
            cluster.record_count("t"),
            u64::from(!sync),
            "--sync ends with the first failure: {out:?}"
        );
    }
}

#[cfg(unix)]
#[test]
fn console_producer_ends_on_a_signal_although_there_may_be_more_input() {
    let cluster = cluster(&[("t", 1)]);
    let mut child = start("console_producer", &["--bootstrap-server", &cluster.bootstrap(), "--topic", "t"]);
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(b"one\n").expect("it reads");
    assert!(cluster.wait_for_records("t", 1, DEADLINE));
    kill("-TERM", &child);
    let out = finish(child);
    assert_eq!(out.status.code(), Some(128 + 15), "as shells report SIGTERM: {out:?}");
    assert_eq!(out.stderr, "");
    drop(stdin);
}

// verifiable_producer

#[test]
fn verifiable_producer_tells_what_became_of_each_record() {
    let cluster = cluster(&[("v", 2)]);
    let out = run(
        "verifiable_producer",
        &[
            &[
                "--bootstrap-server",
                &cluster.bootstrap(),
                "--topic",
                "v",
                "--max-messages",
                "7",
                "--acks",
                "-1",
            ][..],
            &["--repeating-keys", "3", "--value-prefix", "5", "--message-create-time", "1700000000000"],
        ]
        .concat(),
        "",
    );
    out.succeeds();
    let events = out.events();
    assert_eq!(names(&events[..1]), ["startup_complete"]);
    assert_eq!(names(&events[8..]), ["shutdown_complete", "tool_data"]);
    let tool_data = &events[9];
    assert_eq!((&tool_data["sent"], &tool_data["acked"]), (&7.into(), &7.into()), "{tool_data}");
    assert_eq!(tool_data["target_throughput"], -1);
    assert!(tool_data["avg_throughput"].is_f64(), "{tool_data}");

    let records = cluster.records("v");
    let mut told = Vec::new();
    for event in &events[1..8] {
        assert_eq!(event["name"], "producer_send_success", "{event}");
        assert!(event["timestamp"].is_u64(), "{event}");
        told.push((event["partition"].as_i64(), event["offset"].as_i64()));
        let record = records
            .iter()
            .find(|r| event["partition"] == r.partition && event["offset"] == r.offset)
            .unwrap_or_else(|| panic!("{event} names a place where nothing is"));
        assert_eq!(event["topic"], "v");
        assert_eq!(event["key"].as_str(), record.key_str());
        assert_eq!(event["value"].as_str(), record.value_str());
        let i: u64 =
            record.value_str().and_then(|v| v.strip_prefix("5.")).expect("a prefix").parse().unwrap();
        assert_eq!(record.key_str(), Some(&*(i % 3).to_string()));
        assert!(record.timestamp >= 1_700_000_000_000, "{record:?}");
        if i == 0 {
            assert_eq!(record.timestamp, 1_700_000_000_000);
        }
    }
    told.sort_unstable();
    told.dedup();
    assert_eq!(told.len(), 7);
}

#[test]
fn verifiable_producer_without_keys_says_null() {
    let cluster = cluster(&[("v", 1)]);
    let args = ["--bootstrap-server", &cluster.bootstrap(), "--topic", "v", "--max-messages", "1"];
    let out = run("verifiable_producer", &args, "");
    out.succeeds();
    let events = out.events();
    assert_eq!((&events[1]["key"], &events[1]["value"]), (&Value::Null, &"0".into()));
}

#[test]
fn verifiable_producer_tells_of_failures_and_goes_on() {
    let cluster = cluster(&[("v", 1)]);
    cluster.fail_next(ErrorCode::TOPIC_AUTHORIZATION_FAILED, 1);
    let mut settings = tempfile::NamedTempFile::new().expect("a file");
    writeln!(settings, "batch.size=0").expect("written");
    let settings = settings.path().to_str().expect("a path in UTF-8");
    let bootstrap = cluster.bootstrap();
    let args = [
        "--bootstrap-server",
        &bootstrap,
        "--topic",
        "v",
        "--max-messages",
        "3",
        "--command-config",
        settings,
    ];
    let out = run("verifiable_producer", &args, "");
    out.fails_with("1 of 3 records");
    let events = out.events();
    let failure =
        events.iter().find(|e| e["name"] == "producer_send_error").expect("an event for the failure");
    assert_eq!(failure["exception"], "TOPIC_AUTHORIZATION_FAILED");
    assert_eq!(failure["topic"], "v");
    assert!(failure["message"].as_str().is_some_and(|m| m.contains("topic v")), "{failure}");
    let acked = events.iter().filter(|e| e["name"] == "producer_send_success").count();
    assert_eq!(acked, 2, "{out:?}");
    assert_eq!(events.last().map(|e| (&e["sent"], &e["acked"])), Some((&3.into(), &2.into())));
}

#[cfg(unix)]
#[test]
fn verifiable_producer_ends_in_order_when_told_to() {
    use std::io::{BufRead, BufReader};

    for signal in ["-TERM", "-INT"] {
        let cluster = cluster(&[("v", 1)]);
        // Paced so that the signal meets it waiting for the next record's time.
        let args = ["--bootstrap-server", &cluster.bootstrap(), "--topic", "v", "--throughput", "2"];
        let mut child = start("verifiable_producer", &args);
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut line =
            || lines.next().map(|line| serde_json::from_str::<Value>(&line.unwrap()).expect("JSON"));
        while line().expect("no end before the signal")["name"] != "producer_send_success" {}
        kill(signal, &child);
        let mut rest = Vec::new();
        while let Some(event) = line() {
            rest.push(event);
        }
        let out = finish(child);
        out.succeeds();
        let tail = &rest[rest.len() - 2..];
        assert_eq!(names(tail), ["shutdown_complete", "tool_data"]);
        assert_eq!(tail[1]["acked"], cluster.record_count("v"), "{signal}");
        assert_eq!(tail[1]["sent"], tail[1]["acked"], "{signal}");
    }
}

// producer_performance

#[cfg(unix)]
#[test]
fn producer_performance_sums_up_when_told_to_end() {
    let cluster = Cluster::builder().topic("p", 1).keep_records(false).start().expect("loopback sockets");
    let endless = u64::MAX.to_string();
    let args = ["--topic", "p", "--record-size", "10", "--num-records", &endless];
    let bootstrap = ["--bootstrap-server", &cluster.bootstrap()];
    // As fast as it can, and waiting for the next record's time.
    for (i, more) in
        [&["--transaction-duration-ms", "50"][..], &["--throughput", "0.1"]].into_iter().enumerate()
    {
        let before = cluster.record_count("p");
        let child = start("producer_performance", &[&args, &bootstrap[..], more].concat());
        assert!(cluster.wait_for_records("p", before + 1, DEADLINE), "{i}");
        kill("-INT", &child);
        let out = finish(child);
        out.succeeds();
        let sent = cluster.record_count("p") - before;
        assert!(
            out.stdout.lines().last().is_some_and(|line| line.starts_with(&format!("{sent} records sent"))),
            "{sent}: {out:?}"
        );
    }
}

#[test]
fn producer_performance_prints_the_lines_of_kafkas_tool() {
    let cluster = cluster(&[("p", 3)]);
    let out = run(
        "producer_performance",
        &[
            &["--topic", "p", "--num-records", "2000", "--record-size", "100", "--throughput", "-1"][..],
            &[
                "--bootstrap-server",
                &cluster.bootstrap(),
                "--command-property",
                "linger.ms=0",
                "client.id=perf",
            ],
        ]
        .concat(),
        "",
    );
    out.succeeds();
    assert_eq!(shape(&out.stdout), format!("{SUMMARY}\n"), "{out:?}");
    assert!(out.stdout.starts_with("2000 records sent, "), "{out:?}");
    assert_eq!(out.stderr, "", "the progress bar is for terminals");
    let records = cluster.records("p");
    assert_eq!(records.len(), 2000);
    let is_payload = |v: &[u8]| v.len() == 100 && v.iter().all(u8::is_ascii_uppercase);
    assert!(records.iter().all(|r| r.value.as_deref().is_some_and(is_payload)));
}

#[test]
fn producer_performance_prints_metrics_as_kafkas_tool_does() {
    let cluster = cluster(&[("p", 1)]);
    let args = ["--topic", "p", "--num-records", "20", "--record-size", "10", "--print-metrics"];
    let server = ["--bootstrap-server", &cluster.bootstrap(), "--command-property", "client.id=perf"];
    let out = run("producer_performance", &[&args[..], &server].concat(), "");
    out.succeeds();
    let (_, metrics) = out.stdout.split_once("\n\nMetric Name ").unwrap_or_else(|| panic!("{out:?}"));
    let mut lines = metrics.lines();
    assert_eq!(lines.next().map(str::trim), Some("Value"));
    let rows: Vec<_> = lines.map(|line| line.split_once(" : ").expect("a name and a value")).collect();
    assert!(rows.is_sorted(), "{out:?}");
    let value = |name: &str| rows.iter().find(|(known, _)| known.trim() == name).map(|(_, value)| *value);
    assert_eq!(value("producer-metrics:record-send-total:{client-id=perf}"), Some("20.000"));
    assert_eq!(value("producer-topic-metrics:record-send-total:{client-id=perf, topic=p}"), Some("20.000"));
}

#[test]
fn producer_performance_sends_in_transactions() {
    for flags in [&["--transaction-duration-ms", "5"][..], &["--transactional-id", "perf"]] {
        let cluster = cluster(&[("p", 1)]);
        let args = ["--topic", "p", "--num-records", "2000", "--record-size", "10", "--throughput", "20000"];
        let out = run(
            "producer_performance",
            &[&args[..], &["--bootstrap-server", &cluster.bootstrap()], flags].concat(),
            "",
        );
        out.succeeds();
        assert_eq!(cluster.committed_records("p").len(), 2000, "{flags:?}");
        let transactions = cluster.request_count(Api::EndTxn);
        assert_eq!(transactions > 1, flags[0].ends_with("ms"), "{transactions} transactions with {flags:?}");
    }
}

#[test]
fn producer_performance_keeps_the_warm_up_apart() {
    let cluster = cluster(&[("p", 1)]);
    let out = run(
        "producer_performance",
        &[
            &["--topic", "p", "--num-records", "50", "--record-size", "10", "--warmup-records", "20"][..],
            &["--bootstrap-server", &cluster.bootstrap(), "--throughput", "1000.5"],
        ]
        .concat(),
        "",
    );
    out.succeeds();
    let lines: Vec<_> = out.stdout.lines().collect();
    assert_eq!(
        lines[0],
        "Warmup first 20 records. Steady state results will print after the complete test summary."
    );
    assert!(lines[1].starts_with("50 records sent, "), "{out:?}");
    assert!(lines[2].starts_with("30 steady state records sent, "), "{out:?}");
    assert_eq!(shape(lines[2]), SUMMARY.replacen("#", "# steady state", 1));
}

#[test]
fn producer_performance_sends_the_entries_of_a_file() {
    let cluster = cluster(&[("p", 1)]);
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    write!(file, "one;two\nlines;;three").expect("written");
    let path = file.path().to_str().expect("a path in UTF-8");
    let out = run(
        "producer_performance",
        &[
            &["--topic", "p", "--num-records", "200", "--payload-file", path, "--payload-delimiter", ";"][..],
            &["--bootstrap-server", &cluster.bootstrap()],
        ]
        .concat(),
        "",
    );
    out.succeeds();
    assert!(out.stdout.starts_with(&format!("Reading payloads from: {path}\nNumber of messages read: 4\n")));
    let mut values: Vec<_> = cluster.records("p").iter().map(|r| r.value_str().unwrap().to_owned()).collect();
    values.sort();
    values.dedup();
    assert_eq!(values, ["", "one", "three", "two\nlines"]);
}

#[test]
fn producer_performance_sends_numbers_and_reports_as_often_as_told() {
    let cluster = cluster(&[("p", 1)]);
    let args = ["--topic", "p", "--num-records", "12", "--payload-monotonic", "--throughput", "100"];
    let more = ["--bootstrap-server", &cluster.bootstrap(), "--reporting-interval", "1"];
    let out = run("producer_performance", &[&args[..], &more].concat(), "");
    out.succeeds();
    let values: Vec<_> = cluster.records("p").iter().map(|r| r.value_str().unwrap().to_owned()).collect();
    assert_eq!(values, numbers(0..12));
    assert!(out.stdout.lines().count() > 2, "a line for each record, nearly: {out:?}");
}

#[test]
fn producer_performance_measures_without_the_records_own_timestamps() {
    let cluster = cluster(&[("p", 1)]);
    cluster.set_log_append_time("p", true);
    let bootstrap = cluster.bootstrap();
    // Longer than it takes to believe in timestamps.
    let args = ["--topic", "p", "--num-records", "1000", "--record-size", "10", "--throughput", "2000"];
    let out = run("producer_performance", &[&args[..], &["--bootstrap-server", &bootstrap]].concat(), "");
    out.succeeds();
    assert!(out.stdout.starts_with("1000 records sent, "), "{out:?}");
}

#[test]
fn producer_performance_counts_what_was_not_delivered() {
    let cluster = cluster(&[("p", 1)]);
    cluster.fail_next(ErrorCode::TOPIC_AUTHORIZATION_FAILED, 1);
    let out = run(
        "producer_performance",
        &[
            &["--topic", "p", "--num-records", "5", "--record-size", "10"][..],
            &["--bootstrap-server", &cluster.bootstrap(), "--command-property", "batch.size=0"],
        ]
        .concat(),
        "",
    );
    out.fails_with("1 of 5 records were not delivered");
    assert!(out.stdout.starts_with("4 records sent, "), "{out:?}");
    assert!(out.stderr.contains("TOPIC_AUTHORIZATION_FAILED"), "{out:?}");
}

#[test]
fn a_line_every_five_seconds_is_javas() {
    let mut meter = Meter::new(false, 5000, 0);
    let megabyte = 1024 * 1024;
    assert_eq!(meter.record(1, megabyte, 4_999), None);
    let line = meter.record(4, megabyte, 5_000).expect("five seconds are over");
    assert_eq!(
        line,
        "2 records sent, 0.4 records/sec (0.40 MB/sec), 2.5 ms avg latency, 4.0 ms max latency."
    );
    assert_eq!(meter.record(9, 0, 5_001), None, "the next window has begun");
    assert_eq!(
        meter.summary(10_000),
        "3 records sent, 0.300000 records/sec (0.20 MB/sec), 4.67 ms avg latency, 9.00 ms max latency, \
         4 ms 50th, 9 ms 95th, 9 ms 99th, 9 ms 99.9th."
    );
}

#[test]
fn the_steady_state_announces_itself_once() {
    let mut meter = Meter::new(true, 5000, 7_000);
    let line = |meter: &mut Meter, now| meter.record(0, 0, now).expect("five seconds are over");
    assert!(line(&mut meter, 12_000).starts_with("In steady state.\n1 records sent, 0.2 records/sec"));
    assert!(line(&mut meter, 17_000).starts_with("1 records sent, "));
}

#[test]
fn percentiles_are_those_of_all_records() {
    let mut meter = Meter::new(false, 5000, 0);
    for latency in 0..1000 {
        meter.record(latency, 0, 0);
    }
    let summary = meter.summary(1_000);
    assert!(summary.ends_with("500 ms 50th, 950 ms 95th, 990 ms 99th, 999 ms 99.9th."), "{summary}");
    assert!(Meter::new(false, 5000, 0).summary(0).starts_with("0 records sent, 0.000000 records/sec"));
}

// What all tools have in common

#[test]
fn every_tool_explains_itself_and_knows_its_flags() {
    let cluster = cluster(&[]);
    for tool in [
        "quickstart",
        "send_json",
        "transactional_transfer",
        "metrics",
        "embed_in_threads",
        "console_producer",
        "producer_performance",
        "verifiable_producer",
    ] {
        let help = run(tool, &["--help"], "");
        help.succeeds();
        assert!(help.stdout.contains("--bootstrap-server"), "{help:?}");

        let out = run(tool, &["--bootstrap-server", &cluster.bootstrap(), "--no-such-flag"], "");
        out.fails_with("unexpected argument '--no-such-flag'");
        assert_eq!(out.stdout, "");
    }
    for tool in ["console_producer", "producer_performance", "verifiable_producer"] {
        run(tool, &["--bootstrap-server", &cluster.bootstrap()], "").fails_with("--topic");
    }
    assert_eq!(cluster.connection_count(), 0, "nothing was asked before the flags were read");
}

#[test]
fn old_flags_are_refused_by_their_new_names() {
    for (tool, flag, new) in [
        ("console_producer", "--producer-property", "--command-property"),
        ("console_producer", "--producer.config", "--command-config"),
        ("console_producer", "--property", "--reader-property"),
        ("console_producer", "--broker-list", "--bootstrap-server"),
        ("producer_performance", "--producer-props", "--command-property"),
        ("verifiable_producer", "--producer.config", "--command-config"),
    ] {
        let out = run(tool, &["--topic", "t", flag, "acks=all"], "");
        out.fails_with(&format!("{flag} is not taken here"));
        assert!(out.stderr.contains(new), "{out:?}");
    }
}

#[test]
fn bad_addresses_are_refused_by_name() {
    for address in ["localhost", "localhost:99999", "", ":9092", "localhost:port"] {
        for tool in TOOLS {
            let out = run(tool.0, &[tool.1, &["--bootstrap-server", address]].concat(), "x\n");
            out.fails_with("bootstrap.servers");
        }
    }
    for tool in TOOLS {
        run(tool.0, tool.1, "x\n").fails_with("bootstrap.servers");
    }
}

#[test]
fn wrong_settings_are_reported_together_and_with_a_hint() {
    let out = console(&["--command-property", "lingr.ms=5"]);
    out.fails_with("lingr.ms=5");
    assert!(out.stderr.contains("linger.ms?"), "{out:?}");

    let out = console(&["--command-property", "linger.ms=-1", "--command-property", "batch.size=-5"]);
    out.fails_with("linger.ms=-1");
    assert!(out.stderr.contains("batch.size=-5"), "{out:?}");

    let jaas = "sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username=\"u\" \
                password=\"hunter2\";";
    let out = console(&["--command-property", jaas, "linger.ms=-1"]);
    out.fails_with("linger.ms");
    assert!(!out.stderr.contains("hunter2"), "{out:?}");

    console(&["--command-property", "linger.ms"]).fails_with("--command-property linger.ms: name=value");
    console(&["--command-config", "no/such/file"]).fails_with("no/such/file");
    console(&["--request-required-acks", "7"]).fails_with("acks=7");
    console(&["--compression-codec", "brotli"]).fails_with("compression.type=brotli");
    console(&["--reader-property", "parse.keys=true"]).fails_with("parse.keys");
    console(&["--reader-config", "no/such/file"]).fails_with("--reader-config no/such/file: ");
    for (flag, setting) in [
        ("--message-send-max-retries", "retries"),
        ("--retry-backoff-ms", "retry.backoff.ms"),
        ("--request-timeout-ms", "request.timeout.ms"),
        ("--max-block-ms", "max.block.ms"),
        ("--max-memory-bytes", "buffer.memory"),
        ("--metadata-expiry-ms", "metadata.max.age.ms"),
        ("--socket-buffer-size", "send.buffer.bytes"),
    ] {
        console(&[flag, "-7"]).fails_with(&format!("{setting}=-7: "));
    }
    console(&["--reader-property", "headers.separator=:"])
        .fails_with("headers.separator and headers.key.separator may not be equal");
}

#[test]
fn a_flag_stands_above_a_property_and_that_above_the_file() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    writeln!(file, "linger.ms=-1\nbatch.size=-2\nacks=bad").expect("written");
    let file = file.path().to_str().expect("a path in UTF-8");
    let out = console(&["--timeout", "-3", "--command-property", "batch.size=-4", "--command-config", file]);
    out.fails_with("linger.ms=-3");
    assert!(out.stderr.contains("batch.size=-4") && out.stderr.contains("acks=bad"), "{out:?}");
    assert!(out.stderr.starts_with("3 settings are wrong"), "{out:?}");
}

// Lines of the console producer

#[test]
fn lines_are_taken_apart_as_java_does() {
    let headers = |pairs: &[(&str, Option<&str>)]| -> Headers {
        pairs.iter().map(|&(k, v)| (k, v.map(str::as_bytes))).collect()
    };
    let none: &[(&str, Option<&str>)] = &[];
    let both = "parse.key=true parse.headers=true";
    for (properties, line, want) in [
        ("", "k\tv", (none, None, Some("k\tv"))),
        ("", "", (none, None, Some(""))),
        ("parse.key=TRUE", "k\tv", (none, Some("k"), Some("v"))),
        ("parse.key=true key.separator=::", "k::v::w", (none, Some("k"), Some("v::w"))),
        (both, "a:1,b:2:3\tk\tv", (&[("a", Some("1")), ("b", Some("2:3"))], Some("k"), Some("v"))),
        (both, "a:1,,\tk\tv", (&[("a", Some("1"))], Some("k"), Some("v"))),
        (both, ",\tk\tv", (none, Some("k"), Some("v"))),
        ("parse.headers=true headers.separator=| headers.key.separator==", "a=1|b=\tv", {
            (&[("a", Some("1")), ("b", Some(""))], None, Some("v"))
        }),
        ("parse.headers=true headers.delimiter=;", "a:1;v", (&[("a", Some("1"))], None, Some("v"))),
        ("parse.key=true ignore.error=true", "no key", (none, None, Some("no key"))),
        (
            "parse.key=true parse.headers=true ignore.error=true",
            "pair\tno key",
            (&[("pair", None)], None, Some("no key")),
        ),
        ("null.marker=NULL parse.key=true", "NULL\tNULL", (none, None, None)),
        ("null.marker=NULL", "NULLS", (none, None, Some("NULLS"))),
    ] {
        let (want_headers, key, value) = want;
        let want = Parts {
            headers: headers(want_headers),
            key: key.map(str::as_bytes),
            value: value.map(str::as_bytes),
        };
        assert_eq!(
            format(properties).unwrap().parse(line.as_bytes(), 1),
            Ok(want),
            "{properties:?} {line:?}"
        );
    }
}

#[test]
fn complaints_about_lines_are_javas() {
    for (properties, line, want) in [
        ("parse.key=true", "v", "No key separator found on line number 9: 'v'"),
        ("parse.headers=true", "v", "No headers delimiter found on line number 9: 'v'"),
        ("parse.headers=true", "\tv", "No header key separator found in pair '' on line number 9"),
        ("parse.headers=true", "a:1,b\tv", "No header key separator found in pair 'b' on line number 9"),
        (
            "parse.headers=true null.marker=N",
            "N:1\tv",
            "Header keys should not be equal to the null marker 'N' as they can't be null, on line number 9",
        ),
    ] {
        assert_eq!(
            format(properties).unwrap().parse(line.as_bytes(), 9),
            Err(want.to_owned()),
            "{properties:?}"
        );
    }
    for (properties, want) in [
        ("parse.key=yes", "parse.key=yes: must be true or false"),
        ("key.separator=", "key.separator may not be empty"),
        ("headers.delimiter=,", "headers.delimiter and headers.separator may not be equal"),
        ("headers.delimiter=:", "headers.delimiter and headers.key.separator may not be equal"),
        ("null.marker=:", "null.marker and headers.key.separator may not be equal"),
        ("null.marker=\t", "null.marker and key.separator may not be equal"),
    ] {
        assert_eq!(format(properties).unwrap_err(), want, "{properties:?}");
    }
}

#[test]
fn input_is_cut_into_lines_as_java_does() {
    for (input, want) in [
        ("", &[][..]),
        ("a", &["a"]),
        ("a\n", &["a"]),
        ("a\n\nb", &["a", "", "b"]),
        ("a\r\nb\r\n", &["a", "b"]),
        ("a\rb\r\r\nc\r", &["a", "b", "", "c"]),
        ("\n", &[""]),
    ] {
        let mut lines = Lines::new(input.as_bytes());
        let mut seen = Vec::new();
        while let Some((line, number)) = lines.next().unwrap() {
            seen.push(String::from_utf8(line.to_vec()).unwrap());
            assert_eq!(number, seen.len() as u64, "{input:?}");
        }
        assert_eq!(seen, want, "{input:?}");
    }
}

fn format(properties: &str) -> Result<LineFormat, String> {
    LineFormat::new(properties.split(' ').filter_map(|property| property.split_once('=')))
}

// The harness

/// What a program left behind.
#[derive(Debug)]
struct Output {
    status: ExitStatus,
    stdout: String,
    stderr: String,
}

impl Output {
    #[track_caller]
    fn succeeds(&self) {
        assert!(self.status.success(), "{self:?}");
    }

    /// Exit code 1, and one line on stderr that contains `what`.
    #[track_caller]
    fn fails_with(&self, what: &str) {
        assert_eq!(self.status.code(), Some(1), "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        assert!(self.stderr.contains(what), "expected {what:?} in {self:?}");
    }

    fn events(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        self.stdout.lines().map(parse).collect()
    }
}

fn cluster(topics: &[(&str, i32)]) -> Cluster {
    let builder = topics.iter().fold(Cluster::builder(), |builder, &(name, n)| builder.topic(name, n));
    builder.start().expect("loopback sockets")
}

fn console(args: &[&str]) -> Output {
    let cluster = cluster(&[("t", 1)]);
    let out = run(
        "console_producer",
        &[&["--bootstrap-server", &cluster.bootstrap(), "--topic", "t"], args].concat(),
        "x\n",
    );
    assert_eq!(cluster.connection_count(), 0, "a wrong setting is refused before anything is sent: {out:?}");
    out
}

/// Runs an example to its end.
fn run(name: &str, args: &[&str], input: &str) -> Output {
    let mut child = start(name, args);
    let written = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    if let Err(error) = written {
        // A program that refuses its flags does not read.
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe, "{name} {args:?}");
    }
    finish(child)
}

fn start(name: &str, args: &[&str]) -> Child {
    let program = path(name);
    Command::new(&program)
        .args(args)
        .env_remove("RUST_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| {
            panic!("{}: {e}; `cargo test` or `cargo build --examples` builds it", program.display())
        })
}

fn finish(mut child: Child) -> Output {
    drop(child.stdin.take());
    let (stdout, stderr) = (reader(child.stdout.take()), reader(child.stderr.take()));
    let read = |from: mpsc::Receiver<String>| from.recv_timeout(DEADLINE);
    let (Ok(stdout), Ok(stderr)) = (read(stdout), read(stderr)) else {
        child.kill().expect("it can be killed");
        panic!("{child:?} does not end");
    };
    let status = child.wait().expect("it has closed its outputs");
    Output { status, stdout, stderr }
}

#[cfg(unix)]
fn kill(signal: &str, child: &Child) {
    let status = Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(status.expect("a command on every Unix").success());
}

/// For what no cluster can tell.
fn wait_until(condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < DEADLINE, "it does not happen");
        thread::yield_now();
    }
}

/// Reads to the end, on a thread of its own.
fn reader(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        if let Some(mut pipe) = pipe {
            pipe.read_to_string(&mut text).expect("text");
        }
        // Nobody listens if the test has failed meanwhile.
        let _ = tell.send(text);
    });
    told
}

/// Examples lie next to the folder of the tests' own executables.
fn path(name: &str) -> PathBuf {
    let tests = env::current_exe().expect("a test is a file");
    let profile = tests.ancestors().nth(2).expect("target/<profile>/deps/<test>");
    profile.join("examples").join(format!("{name}{}", env::consts::EXE_SUFFIX))
}

/// A text with every number replaced by `#`.
fn shape(text: &str) -> String {
    let mut shape = String::new();
    for c in text.chars() {
        match c {
            '0'..='9' if shape.ends_with('#') => {}
            '0'..='9' => shape.push('#'),
            _ => shape.push(c),
        }
    }
    shape
}

fn place(record: &Record) -> String {
    format!("{}-{}@{}", record.topic, record.partition, record.offset)
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["name"].as_str()).collect()
}

fn sorted(lines: impl IntoIterator<Item = impl Into<String>>) -> Vec<String> {
    let mut lines: Vec<String> = lines.into_iter().map(Into::into).collect();
    lines.sort();
    lines
}

/// Those that take a cluster from properties, too, with flags that are enough but for that.
const TOOLS: [(&str, &[&str]); 3] = [
    ("console_producer", &["--topic", "t"]),
    ("producer_performance", &["--topic", "t", "--num-records", "1", "--record-size", "1"]),
    ("verifiable_producer", &["--topic", "t", "--max-messages", "1"]),
];

const SUMMARY: &str = "# records sent, #.# records/sec (#.# MB/sec), #.# ms avg latency, #.# ms max latency, \
                       # ms #th, # ms #th, # ms #th, # ms #.#th.";

/// Longer than anything takes here, on any machine.
const DEADLINE: Duration = Duration::from_secs(180);
