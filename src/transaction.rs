//! Transactions, for callers: Java's five calls, and a guard beside them.

use std::{fmt, mem, thread, time::Duration};

use crate::{
    delivery::DeliveryFuture,
    error::{DeliveryError, SendError, TransactionError, TransactionErrorKind},
    handoff::TransactionCall,
    offsets::{ConsumerGroupMetadata, LONGEST_TEXT, OffsetAndMetadata, TopicPartition},
    producer::Producer,
    record::{ProducerRecord, RecordMetadata},
};

/// Transactions: all records of one are seen by readers with `isolation.level=read_committed`, or none. They need a
/// `transactional.id`. One is open at a time; clones of a producer share it, and any thread may send.
impl<K: ?Sized, V: ?Sized> Producer<K, V> {
    /// Gets this producer its identity, fences off earlier ones with the same `transactional.id`, and waits until what they
    /// left open is ended. Once, before everything else.
    ///
    /// # Errors
    /// See [`TransactionError`]. After a timeout call it again.
    pub fn init_transactions(&self) -> Result<(), TransactionError> {
        self.call(TransactionCall::Init)
    }

    /// Begins a transaction. Records that are sent from now on belong to it.
    ///
    /// # Errors
    /// See [`TransactionError`].
    pub fn begin_transaction(&self) -> Result<(), TransactionError> {
        self.call(TransactionCall::Begin)
    }

    /// Commits a consumer group's offsets with the transaction: they count if it is committed. The offset is that of the
    /// next record to read. Waits until the group's coordinator has taken them.
    ///
    /// ```no_run
    /// # use kafka_producer::{ConsumerGroupMetadata, Producer};
    /// # fn f(producer: &Producer) -> Result<(), kafka_producer::TransactionError> {
    /// producer.send_offsets_to_transaction([(("orders", 0), 42)], &ConsumerGroupMetadata::new("billing"))
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`TransactionError`]. After a timeout another call commits them once more, which does no harm.
    pub fn send_offsets_to_transaction<P, O>(
        &self,
        offsets: impl IntoIterator<Item = (P, O)>,
        group: &ConsumerGroupMetadata,
    ) -> Result<(), TransactionError>
    where
        P: Into<TopicPartition>,
        O: Into<OffsetAndMetadata>,
    {
        let offsets: Vec<(TopicPartition, OffsetAndMetadata)> =
            offsets.into_iter().map(|(place, offset)| (place.into(), offset.into())).collect();
        let is_empty = offsets.is_empty();
        let problem = group.problem().or_else(|| offsets.iter().find_map(|(p, o)| problem_of(p, o)));
        let call = TransactionCall::SendOffsets(offsets, group.clone());
        match problem {
            Some(reason) => Err(TransactionErrorKind::OutOfPlace { call: call.name(), reason }.into()),
            None if is_empty && self.is_transactional() => Ok(()),
            None => self.call(call),
        }
    }

    /// Waits until all records of the transaction are acknowledged, and commits it. If one has failed the transaction
    /// cannot be committed: abort it.
    ///
    /// # Errors
    /// See [`TransactionError`]. After a timeout the commit goes on: only this call may be made, to learn how it ends.
    pub fn commit_transaction(&self) -> Result<(), TransactionError> {
        self.call(TransactionCall::Commit)
    }

    /// Takes the transaction back. Records that were not sent yet fail, and are not sent.
    ///
    /// # Errors
    /// See [`TransactionError`]. After a timeout call it again.
    pub fn abort_transaction(&self) -> Result<(), TransactionError> {
        self.call(TransactionCall::Abort)
    }

    /// Begins a transaction that is aborted unless it is committed.
    ///
    /// ```
    /// use kafka_producer::{Producer, ProducerConfig, ProducerRecord};
    /// # let cluster = kafka_producer::testing::Cluster::builder().topic("accounts", 1).start()?;
    /// # let config = ProducerConfig::new(&cluster.bootstrap());
    ///
    /// let producer = Producer::new(config.transactional_id("transfers-1"))?;
    /// producer.init_transactions()?;
    ///
    /// let transaction = producer.transaction()?;
    /// transaction.send(ProducerRecord::new("accounts", "-42").key("alice"))?;
    /// transaction.send(ProducerRecord::new("accounts", "+42").key("bob"))?;
    /// transaction.commit()?;
    /// # assert_eq!(cluster.records("accounts").len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`begin_transaction`](Self::begin_transaction).
    pub fn transaction(&self) -> Result<Transaction<'_, K, V>, TransactionError> {
        self.begin_transaction()?;
        Ok(Transaction { producer: self, open: true })
    }
}

/// A transaction that was begun: [`commit`](Self::commit) it, or it is aborted when it is dropped. The drop waits for the
/// abort, unless it is that of a panic: then the abort goes on, and [`Producer::abort_transaction`] waits for it.
///
/// From [`Producer::transaction`].
#[must_use = "a transaction that is dropped is aborted"]
pub struct Transaction<'a, K: ?Sized = [u8], V: ?Sized = [u8]> {
    producer: &'a Producer<K, V>,
    open: bool,
}

impl<K: ?Sized, V: ?Sized> Transaction<'_, K, V> {
    /// As [`Producer::send`].
    ///
    /// # Errors
    /// As there. A record that is refused because of the cluster, or for its size, spoils the transaction.
    pub fn send(&self, record: ProducerRecord<'_, K, V>) -> Result<DeliveryFuture, SendError> {
        self.producer.send(record)
    }

    /// As [`Producer::send_with`].
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_with(
        &self,
        record: ProducerRecord<'_, K, V>,
        callback: impl FnOnce(Result<RecordMetadata, DeliveryError>) + Send + 'static,
    ) -> Result<DeliveryFuture, SendError> {
        self.producer.send_with(record, callback)
    }

    /// As [`Producer::send_offsets_to_transaction`].
    ///
    /// # Errors
    /// As there.
    pub fn send_offsets<P, O>(
        &self,
        offsets: impl IntoIterator<Item = (P, O)>,
        group: &ConsumerGroupMetadata,
    ) -> Result<(), TransactionError>
    where
        P: Into<TopicPartition>,
        O: Into<OffsetAndMetadata>,
    {
        self.producer.send_offsets_to_transaction(offsets, group)
    }

    /// As [`Producer::commit_transaction`]. If it cannot be committed it is aborted.
    ///
    /// # Errors
    /// As there. After a timeout the commit goes on, and [`Producer::commit_transaction`] waits for it again.
    pub fn commit(mut self) -> Result<(), TransactionError> {
        let outcome = self.producer.commit_transaction();
        self.open = outcome.as_ref().is_err_and(TransactionError::is_abortable);
        outcome
    }

    /// As [`Producer::abort_transaction`].
    ///
    /// # Errors
    /// As there. After a timeout the abort goes on, and [`Producer::abort_transaction`] waits for it again.
    pub fn abort(mut self) -> Result<(), TransactionError> {
        self.open = false;
        self.producer.abort_transaction()
    }
}

impl<K: ?Sized, V: ?Sized> Drop for Transaction<'_, K, V> {
    fn drop(&mut self) {
        if !mem::take(&mut self.open) {
            return;
        }
        let outcome = if thread::panicking() {
            // A panic is not kept waiting: the abort goes on without it.
            self.producer.call_within(TransactionCall::Abort, Duration::ZERO)
        } else {
            self.producer.abort_transaction()
        };
        match outcome {
            Err(error) if !(thread::panicking() && error.is_retriable()) => {
                log::error!("a transaction was dropped and could not be aborted: {error}");
            }
            _ => {}
        }
    }
}

impl<K: ?Sized, V: ?Sized> fmt::Debug for Transaction<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("producer", self.producer).finish_non_exhaustive()
    }
}

fn problem_of(place: &TopicPartition, offset: &OffsetAndMetadata) -> Option<&'static str> {
    if !(1..=LONGEST_TOPIC).contains(&place.topic().len()) {
        return Some("a topic's name has 1 to 249 characters");
    }
    if place.partition() < 0 || offset.offset < 0 {
        return Some("partitions and offsets are counted from 0");
    }
    (offset.metadata.len() > LONGEST_TEXT).then_some("the text beside an offset has at most 32767 bytes")
}

/// Kafka's own limit.
const LONGEST_TOPIC: usize = 249;
