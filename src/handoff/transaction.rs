//! Calls about transactions, and their answers, which a caller may ask for more than once.
//!
//! What a transaction is to a broker is not known here. When records are let in stands in [`gates`](super::gates).

use std::time::Instant;

use super::{
    promise::{Answer, Awaited, Promise},
    sync::{Arc, OnceLock},
};
use crate::{
    error::TransactionError,
    offsets::{ConsumerGroupMetadata, OffsetAndMetadata, TopicPartition},
};

/// What a caller wants.
#[derive(Debug)]
pub(crate) enum TransactionCall {
    Init,
    Begin,
    SendOffsets(Vec<(TopicPartition, OffsetAndMetadata)>, ConsumerGroupMetadata),
    Commit,
    Abort,
}

impl TransactionCall {
    /// The method of [`Producer`](crate::Producer) that it comes from.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Init => "init_transactions",
            Self::Begin => "begin_transaction",
            Self::SendOffsets(..) => "send_offsets_to_transaction",
            Self::Commit => crate::error::COMMIT,
            Self::Abort => "abort_transaction",
        }
    }
}

/// A call on its way, and the answer that it waits for.
#[derive(Debug)]
pub(crate) struct TransactionRequest {
    pub(crate) call: TransactionCall,
    reply: TransactionReply,
}

/// The side that answers a call.
#[derive(Debug)]
pub(crate) struct TransactionReply {
    promise: Promise,
    outcome: Arc<OnceLock<Result<(), TransactionError>>>,
}

/// The side that waits for the answer, more than once if it likes.
pub(crate) struct TransactionAnswer {
    awaited: Awaited,
    outcome: Arc<OnceLock<Result<(), TransactionError>>>,
}

impl TransactionRequest {
    pub(crate) fn new(call: TransactionCall) -> (Self, TransactionAnswer) {
        let (promise, awaited) = Promise::new();
        let outcome = Arc::new(OnceLock::new());
        let reply = TransactionReply { promise, outcome: Arc::clone(&outcome) };
        (Self { call, reply }, TransactionAnswer { awaited, outcome })
    }

    pub(crate) fn into_parts(self) -> (TransactionCall, TransactionReply) {
        (self.call, self.reply)
    }
}

impl TransactionReply {
    /// Lays the outcome down. Whoever waits sees it once the promise is fulfilled.
    pub(crate) fn settle(self, outcome: Result<(), TransactionError>) -> Promise {
        // It is laid down once, because that takes the reply.
        let _ = self.outcome.set(outcome);
        self.promise
    }
}

impl TransactionAnswer {
    /// `None` if `deadline` passes first. `Some(None)`: nobody is left to answer.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Option<Option<Result<(), TransactionError>>> {
        Some(match self.awaited.wait(deadline)? {
            Answer::Fulfilled => self.outcome.get().cloned(),
            Answer::Broken => None,
        })
    }
}
