//! What became of a record that `send` accepted: [`DeliveryFuture`].

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use crate::{
    error::{DeliveryCause, DeliveryError, DeliveryFailure},
    handoff::{
        cells::{Cells, Outcome},
        context::{forked, inside_callback},
        spare,
        sync::{Arc, now, park_until},
        topics::TopicId,
    },
    record::RecordMetadata,
};

/// The handle of one record that was accepted.
///
/// Wait for it with [`get`](Self::get) or [`get_timeout`](Self::get_timeout), look at it with
/// [`try_get`](Self::try_get), or `.await` it in any executor: the handle starts no thread and needs no runtime.
/// Several threads can wait for one handle at a time, and the answer can be asked for again.
///
/// Dropping a handle cancels nothing and costs nothing; the record is sent all the same. Handles of up to 256
/// records share one allocation of 4 KiB, which is kept as long as one of them is. A thread keeps the one that it has
/// dropped a handle of last, until it sends the next record or ends.
///
/// ```
/// use kafka_producer::{Producer, ProducerConfig, ProducerRecord};
/// # let cluster = kafka_producer::testing::Cluster::builder().topic("orders", 1).start()?;
/// # let producer = Producer::new(ProducerConfig::new(&cluster.bootstrap()))?;
///
/// let delivery = producer.send(ProducerRecord::new("orders", "42 apples"))?;
/// if delivery.try_get().is_none() {
///     println!("still on its way");
/// }
/// println!("{}", delivery.get()?); // waits
/// assert!(delivery.is_done());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Every handle gets an answer: at the latest when `delivery.timeout.ms` has passed, when the producer is closed, or
/// when its sender thread ends. A record's callback has returned before its handle has the answer: handles of records
/// with callbacks wait for these and for all callbacks before them, so with slow ones their answers come later than
/// that.
pub struct DeliveryFuture {
    /// `None` only while it is dropped.
    cells: Option<Arc<Cells>>,
    timestamp: i64,
    key_size: i32,
    value_size: i32,
    topic: TopicId,
    cell: u16,
    /// A waker may be registered in `cells`.
    polled: bool,
}

impl DeliveryFuture {
    pub(crate) fn new(
        cells: Arc<Cells>,
        cell: u16,
        topic: TopicId,
        timestamp: i64,
        key_size: i32,
        value_size: i32,
    ) -> Self {
        Self { cells: Some(cells), timestamp, key_size, value_size, topic, cell, polled: false }
    }

    /// Waits until the record is acknowledged or has failed.
    ///
    /// Ends the linger of the batch that holds the record, and of that batch only: who waits for a record does not
    /// wait for `linger.ms` as well.
    ///
    /// # Errors
    /// Whatever became of the record instead. Inside a callback, and in a process forked after the producer was made,
    /// an unfinished handle is [`DeliveryCause::CannotWait`] at once, because that wait could never end; it says
    /// nothing about the record.
    pub fn get(&self) -> Result<RecordMetadata, DeliveryError> {
        loop {
            // Without a deadline the wait ends with an answer.
            if let Some(answer) = self.wait(None) {
                return answer;
            }
        }
    }

    /// Like [`get`](Self::get), but waits at most for `timeout`: `None` if there is no answer by then.
    ///
    /// The record is still on its way then, and the handle can be asked again.
    pub fn get_timeout(&self, timeout: Duration) -> Option<Result<RecordMetadata, DeliveryError>> {
        self.try_get().or_else(|| self.wait(now().checked_add(timeout)))
    }

    /// The answer, if there is one yet. Never waits.
    pub fn try_get(&self) -> Option<Result<RecordMetadata, DeliveryError>> {
        Some(match self.cells().outcome(self.cell)? {
            Outcome::Acknowledged { offset, append_time } => Ok(RecordMetadata {
                topic: Arc::clone(self.cells().topics().name(self.topic)),
                partition: self.cells().place(self.cell).map_or(-1, |(_, partition)| partition),
                offset,
                timestamp: append_time.unwrap_or(self.timestamp),
                serialized_key_size: self.key_size,
                serialized_value_size: self.value_size,
            }),
            Outcome::Failed(error) => Err(error),
        })
    }

    /// Whether there is an answer.
    pub fn is_done(&self) -> bool {
        !self.cells().is_pending(self.cell)
    }

    #[inline]
    fn cells(&self) -> &Arc<Cells> {
        self.cells.as_ref().expect("only the drop takes it")
    }

    /// `None` once `deadline` has passed.
    fn wait(&self, deadline: Option<Instant>) -> Option<Result<RecordMetadata, DeliveryError>> {
        if self.is_done() {
            return self.try_get();
        }
        if inside_callback() {
            return Some(
                Err(self.cannot_wait("get() inside a callback would wait for that callback itself")),
            );
        }
        if let Some(error) = self.orphaned() {
            return Some(Err(error));
        }
        let registered = self.cells().register_thread(self.cell);
        self.hurry();
        while !self.is_done() && park_until(deadline) {}
        drop(registered);
        self.try_get()
    }

    /// Has what holds the record back end, unless there is an answer already. The caller has registered before.
    fn hurry(&self) {
        if !self.is_done()
            && let Some(home) = self.cells().home()
        {
            home.hurry(self.cells(), self.cell);
        }
    }

    fn orphaned(&self) -> Option<DeliveryError> {
        let home = self.cells().home()?;
        forked(home.creator()).then(|| {
            self.cannot_wait("the producer was made by the process that this one was forked from; only there its handles get answers")
        })
    }

    #[cold]
    fn cannot_wait(&self, why: &'static str) -> DeliveryError {
        DeliveryError::new(DeliveryFailure {
            cause: DeliveryCause::CannotWait(why),
            topic: Arc::clone(self.cells().topics().name(self.topic)),
            partition: -1,
            broker: None,
            attempts: 0,
            elapsed: Duration::ZERO,
            may_have_been_written: true,
            last_attempt: None,
        })
    }
}

/// Resolves to what [`get`](DeliveryFuture::get) returns, and ends the linger like it.
impl Future for DeliveryFuture {
    type Output = Result<RecordMetadata, DeliveryError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(answer) = self.try_get() {
            return Poll::Ready(answer);
        }
        if !self.polled
            && let Some(error) = self.orphaned()
        {
            return Poll::Ready(Err(error));
        }
        let first = !std::mem::replace(&mut self.polled, true);
        self.cells().register_waker(self.cell, context.waker().clone());
        if first {
            self.hurry();
        }
        self.try_get().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for DeliveryFuture {
    #[inline]
    fn drop(&mut self) {
        if self.polled {
            self.cells().unregister_waker(self.cell);
        }
        if let Some(cells) = self.cells.take() {
            spare::give_back(cells);
        }
    }
}

/// Says where the record went, and nothing of what it says.
impl fmt::Debug for DeliveryFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeliveryFuture")
            .field("topic", self.cells().topics().name(self.topic))
            .field("answer", &self.try_get())
            .finish_non_exhaustive()
    }
}
