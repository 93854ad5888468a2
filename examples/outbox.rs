//! Sends the rows of a table to Kafka: the application writes a row in the same transaction of its database as
//! what the row tells of, and this program brings it to the cluster. Needs nothing: without a database it makes one in
//! memory, and the cluster is part of the process.
//!
//! ```text
//! cargo run --example outbox
//! cargo run --example outbox -- --bootstrap-server localhost:9092 --topic orders --database shop.db
//! ```
//!
//! The table:
//!
//! ```sql
//! CREATE TABLE outbox (
//!     id INTEGER PRIMARY KEY AUTOINCREMENT, -- left to the database
//!     key BLOB,                             -- the record's; the id's digits if NULL
//!     value BLOB,                           -- the record's
//!     sent INTEGER NOT NULL DEFAULT 0       -- left to this program
//! );
//! ```
//!
//! Rows are sent in the order of their ids, a batch of them in one transaction of Kafka; when that is committed, they
//! are marked as sent. Each record has its row's id in the header `outbox-id`.
//!
//! # What is promised
//!
//! To readers with `isolation.level=read_committed`:
//!
//! - Each row arrives at least once.
//! - Those of a batch arrive together or not at all.
//! - A row arrives a second time only if the program died, or lost the cluster for good, between Kafka's commit and the
//!   mark. The rows of that one batch are sent again then.
//! - In each partition ids rise, but for such rows.
//!
//! So a reader has each row exactly once, and in order, if it drops every record whose id is not above the highest
//! that it has seen in that partition (and keeps that highest id with what it makes of the records). This rule needs
//! the key, which leads a row that is sent again to its first partition, and so it does not hold for rows that are in
//! doubt while partitions are added to the topic. A reader that looks an id up among all that it has seen needs neither.
//!
//! Why rows may come twice at all: a new producer with the old one's `transactional.id` ends the old one's transaction,
//! but is not told whether it was committed before. And why transactions nevertheless: no row is seen before those in
//! front of it, which the rule stands on; and a program that was thought dead cannot go on sending.
//!
//! The order of ids is the order of commits only because SQLite has one writer at a time. In other databases an id may
//! be given before another and be committed after it.

mod shared;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use kafka_producer::{
    ErrorCode, Producer, ProducerConfig, ProducerRecord, SendError, SendErrorKind, TransactionError,
    testing::{Cluster, Fault},
};
use rusqlite::{Connection, named_params};

use shared::{Failure, termination::Stop};

/// Sends the rows of a table in SQLite, and marks them as sent.
#[derive(clap::Parser)]
#[command(name = "outbox")]
struct Flags {
    #[command(flatten)]
    connection: shared::Connection,
    /// The database. Without it there is one in memory with some orders in it, and a cluster inside this process.
    #[arg(long, value_name = "FILE")]
    database: Option<PathBuf>,
    /// The topic to send to.
    #[arg(long, default_value = "orders")]
    topic: String,
    /// The name that the transactions go by. Of two programs with one name the later goes on, the earlier ends.
    #[arg(long, value_name = "ID", default_value = "outbox-1")]
    transactional_id: String,
    /// How many rows a transaction has at most.
    #[arg(long, value_name = "COUNT", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    batch_rows: u32,
    /// End when all rows are sent, instead of waiting for more.
    #[arg(long)]
    once: bool,
}

fn main() -> ExitCode {
    shared::run(|mut flags: Flags| match &flags.database {
        Some(file) => {
            let outbox = Outbox::open(Connection::open(file)?, flags.batch_rows)?;
            let id = ("transactional.id", Some(&*flags.transactional_id));
            relay(&flags, flags.connection.config(&[], &[id])?, &outbox)
        }
        None if flags.connection.is_given() => {
            Err("--database is missing: which rows are to be sent?".into())
        }
        None => {
            flags.once = true;
            demonstrate(&flags)
        }
    })
}

/// With a shop's database, and a cluster that refuses the first transaction.
fn demonstrate(flags: &Flags) -> Result<(), Failure> {
    let mut outbox = Outbox::open(Connection::open_in_memory()?, 4)?;
    outbox.database.execute("CREATE TABLE orders (customer TEXT, goods TEXT)", [])?;
    for i in 1..=10 {
        let order = [format!("customer-{}", i % 4), format!("{i} apples")];
        // The order and the word about it are written both, or neither.
        let transaction = outbox.database.transaction()?;
        transaction.execute("INSERT INTO orders (customer, goods) VALUES (?1, ?2)", order.each_ref())?;
        transaction.execute("INSERT INTO outbox (key, value) VALUES (?1, ?2)", order.each_ref())?;
        transaction.commit()?;
    }
    let cluster = Cluster::builder().topic(&*flags.topic, 3).start()?;
    cluster.fault(Fault::Error(ErrorCode::TRANSACTION_ABORTABLE));
    let config = ProducerConfig::new(&cluster.bootstrap()).transactional_id(&flags.transactional_id);
    relay(flags, config, &outbox)?;
    let mut out = io::stdout().lock();
    for record in cluster.committed_records(&flags.topic) {
        let id = record.header(ID).flatten().map(String::from_utf8_lossy).unwrap_or_default();
        let (key, value) = (record.key_str().unwrap_or_default(), record.value_str().unwrap_or_default());
        writeln!(out, "{}-{}: {key}, {value} (row {id})", record.topic, record.partition)?;
    }
    Ok(())
}

/// Until all is sent, or a signal asks for the end.
fn relay(flags: &Flags, config: ProducerConfig, outbox: &Outbox) -> Result<(), Failure> {
    let producer = Producer::new(config)?;
    let stop = Stop::on_signal({
        let producer = producer.clone();
        // It waits for a cluster that does not answer. What is not marked is sent by the next start.
        move || drop(producer.close_timeout(Duration::ZERO))
    })?;
    let outcome = send_all(flags, &producer, outbox, &stop);
    let closed = producer.close();
    let was_asked = stop.is_asked();
    stop.ended();
    match outcome {
        Err(failure) if was_asked => {
            log::info!("what is left is for the next start: {failure}");
            Ok(())
        }
        outcome => outcome.and(closed.map_err(Failure::from)),
    }
}

fn send_all(flags: &Flags, producer: &Producer, outbox: &Outbox, stop: &Stop) -> Result<(), Failure> {
    // From here on an earlier program of this name can commit nothing more.
    patiently(|| producer.init_transactions())?;
    while !stop.is_asked() {
        let rows = outbox.next_rows()?;
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            if flags.once {
                break;
            }
            stop.wait(POLL);
            continue;
        };
        let attempts = send(producer, &flags.topic, &rows, stop)?;
        outbox.mark(first.id, last.id)?;
        writeln!(io::stdout(), "rows {} to {}: sent (at attempt {attempts})", first.id, last.id)?;
    }
    Ok(())
}

/// Sends all of them in one transaction, and tries that again if nothing of it has happened.
fn send(producer: &Producer, topic: &str, rows: &[Row], stop: &Stop) -> Result<u32, Failure> {
    for attempt in 1.. {
        match try_send(producer, topic, rows) {
            Ok(()) => return Ok(attempt),
            Err(failure) if attempt == ATTEMPTS || !is_worth_another(&failure) => return Err(failure),
            Err(failure) => log::warn!("{failure}"),
        }
        stop.wait(POLL * attempt);
    }
    unreachable!("the attempts end above")
}

fn try_send(producer: &Producer, topic: &str, rows: &[Row]) -> Result<(), Failure> {
    producer.begin_transaction()?;
    let sent = rows.iter().try_for_each(|row| {
        let id = row.id.to_string();
        let record = ProducerRecord::with_value(topic, row.value.as_deref())
            .with_key(Some(row.key.as_deref().unwrap_or(id.as_bytes())))
            .header(ID, &id);
        producer.send(record).map(drop)
    });
    let outcome = match sent {
        Ok(()) => patiently(|| producer.commit_transaction()).map_err(Failure::from),
        Err(error) => Err(error.into()),
    };
    if outcome.is_err() {
        // A producer that can do no more cannot do this either, and says why when the next transaction begins.
        let _ = patiently(|| producer.abort_transaction());
    }
    outcome
}

/// Not done within max.block.ms, it may be done by now: only the same call can tell.
fn patiently(call: impl Fn() -> Result<(), TransactionError>) -> Result<(), TransactionError> {
    loop {
        match call() {
            Err(error) if error.is_retriable() => log::warn!("{error}"),
            outcome => return outcome,
        }
    }
}

fn is_worth_another(failure: &Failure) -> bool {
    let refused = failure.downcast_ref().map(SendError::kind);
    if let Some(SendErrorKind::Transaction(error)) = refused {
        return error.is_abortable();
    }
    failure.downcast_ref().is_some_and(SendError::is_retriable)
        || failure.downcast_ref().is_some_and(TransactionError::is_abortable)
}

/// The table.
struct Outbox {
    database: Connection,
    batch_rows: u32,
}

struct Row {
    id: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

impl Outbox {
    fn open(database: Connection, batch_rows: u32) -> rusqlite::Result<Self> {
        database.execute_batch(SCHEMA)?;
        Ok(Self { database, batch_rows })
    }

    fn next_rows(&self) -> rusqlite::Result<Vec<Row>> {
        let mut select = self.database.prepare(NEXT)?;
        let rows = select.query_map([self.batch_rows], |row| {
            Ok(Row { id: row.get("id")?, key: row.get("key")?, value: row.get("value")? })
        })?;
        rows.collect()
    }

    /// Both ends are included. No row has come in between meanwhile: ids rise.
    fn mark(&self, first: i64, last: i64) -> rusqlite::Result<()> {
        let rows = named_params! { ":first": first, ":last": last };
        self.database.execute("UPDATE outbox SET sent = 1 WHERE id BETWEEN :first AND :last", rows)?;
        Ok(())
    }
}

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS outbox (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        key BLOB,
        value BLOB,
        sent INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX IF NOT EXISTS outbox_waiting ON outbox (id) WHERE sent = 0;";
/// The casts are for columns that hold text or a number: SQLite has types for values, not for columns.
const NEXT: &str = "
    SELECT id, CAST(key AS BLOB) AS key, CAST(value AS BLOB) AS value
    FROM outbox WHERE sent = 0 ORDER BY id LIMIT ?1";
/// The header with a row's id.
const ID: &str = "outbox-id";
/// How long it waits for rows when there are none.
const POLL: Duration = Duration::from_millis(200);
/// A batch that was aborted so often fails for a reason of its own.
const ATTEMPTS: u32 = 10;
