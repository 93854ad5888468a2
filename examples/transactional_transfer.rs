//! Moves money between accounts: what is taken from one is given to the other, or neither happens. Needs nothing: the
//! cluster is part of the process, and one of its brokers makes trouble.
//!
//! ```text
//! cargo run --example transactional_transfer
//! ```

mod shared;

use std::{
    collections::BTreeMap,
    io::{self, Write},
    process::ExitCode,
};

use kafka_producer::{
    ErrorCode, Producer, ProducerConfig, ProducerRecord, SendError, TransactionError,
    testing::{Cluster, Fault},
};

use shared::Failure;

/// Moves money between accounts in transactions, and prints what each came to.
#[derive(clap::Parser)]
#[command(name = "transactional_transfer")]
struct Flags {
    /// A real cluster, instead of one inside this process.
    #[arg(long, value_name = "HOST:PORT[,HOST:PORT...]")]
    bootstrap_server: Option<String>,
    /// The name that the transactions go by. Of two programs with one name the later goes on, the earlier ends.
    #[arg(long, value_name = "ID", default_value = "transfers-1")]
    transactional_id: String,
}

fn main() -> ExitCode {
    shared::run(|flags: Flags| match &flags.bootstrap_server {
        Some(bootstrap) => transfer_all(bootstrap, &flags.transactional_id),
        None => {
            let cluster = Cluster::builder().brokers(3).topic(TOPIC, 3).start()?;
            // The third transaction will be refused, and made again.
            cluster.fault(Fault::Error(ErrorCode::TRANSACTION_ABORTABLE).partition(2).times(1));
            transfer_all(&cluster.bootstrap(), &flags.transactional_id)?;
            report(&cluster)
        }
    })
}

fn transfer_all(bootstrap: &str, transactional_id: &str) -> Result<(), Failure> {
    let producer = Producer::new(ProducerConfig::new(bootstrap).transactional_id(transactional_id))?;
    producer.init_transactions()?;
    for (from, to, amount) in TRANSFERS {
        let tries = transfer(&producer, from, to, amount)?;
        writeln!(io::stdout(), "{from} -> {to}: {amount} ({tries})")?;
    }
    Ok(producer.close()?)
}

/// One transfer, tried until it has happened. Says how often that was.
fn transfer(producer: &Producer, from: &str, to: &str, amount: i64) -> Result<String, TransactionError> {
    for attempt in 1.. {
        match try_transfer(producer, from, to, amount) {
            Ok(()) => return Ok(format!("at attempt {attempt}")),
            // Nothing of it has happened: it was aborted, or is taken back here.
            Err(Trouble::Refused(error)) => log::warn!("a record was refused: {error}"),
            Err(Trouble::Transaction(error)) if error.is_abortable() => log::warn!("{error}"),
            // The producer is of no more use: another one has taken over, or the cluster denies it.
            Err(Trouble::Transaction(error)) => return Err(error),
        }
    }
    unreachable!("the attempts have no end")
}

fn try_transfer(producer: &Producer, from: &str, to: &str, amount: i64) -> Result<(), Trouble> {
    let transaction = producer.transaction()?;
    transaction.send(ProducerRecord::new(TOPIC, &(-amount).to_string()).key(from))?;
    transaction.send(ProducerRecord::new(TOPIC, &amount.to_string()).key(to))?;
    let mut outcome = transaction.commit();
    // Not within max.block.ms: it may have happened by now, and only the same call can tell.
    while outcome.as_ref().is_err_and(TransactionError::is_retriable) {
        outcome = producer.commit_transaction();
        // The guard, which would abort it, is gone.
        if outcome.as_ref().is_err_and(TransactionError::is_abortable) {
            producer.abort_transaction()?;
        }
    }
    Ok(outcome?)
}

/// What keeps a transfer from happening.
enum Trouble {
    Refused(SendError),
    Transaction(TransactionError),
}

impl From<SendError> for Trouble {
    fn from(error: SendError) -> Self {
        Self::Refused(error)
    }
}

impl From<TransactionError> for Trouble {
    fn from(error: TransactionError) -> Self {
        Self::Transaction(error)
    }
}

/// What a reader with `isolation.level=read_committed` makes of it.
fn report(cluster: &Cluster) -> Result<(), Failure> {
    let mut balances: BTreeMap<String, i64> = BTreeMap::new();
    for record in cluster.committed_records(TOPIC) {
        let account = record.key_str().unwrap_or_default().to_owned();
        *balances.entry(account).or_default() +=
            record.value_str().and_then(|amount| amount.parse::<i64>().ok()).unwrap_or_default();
    }
    let mut out = io::stdout().lock();
    for (account, balance) in &balances {
        writeln!(out, "{account}: {balance}")?;
    }
    writeln!(out, "together: {}", balances.values().sum::<i64>())?;
    Ok(())
}

const TOPIC: &str = "accounts";
const TRANSFERS: [(&str, &str, i64); 5] = [
    ("alice", "bob", 42),
    ("bob", "carol", 7),
    ("carol", "alice", 12),
    ("alice", "dave", 30),
    ("dave", "bob", 5),
];
