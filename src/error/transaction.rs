//! What can go wrong with a transaction, and which call may follow.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use super::ErrorCode;

/// A call about transactions did not do what it was asked.
///
/// Three answers tell what to do: after one that [is abortable](Self::is_abortable) call
/// [`abort_transaction`](crate::Producer::abort_transaction) and begin anew; after one that
/// [is retriable](Self::is_retriable) make the same call again; after one that [is fatal](Self::is_fatal) this producer
/// is of no more use. None of them: the call was out of place, and nothing has changed.
///
/// Cheap to clone: all who fail for one reason share one error.
#[derive(Clone)]
pub struct TransactionError(Arc<TransactionErrorKind>);

/// Why a call about transactions failed. New variants may be added: prefer the predicates of [`TransactionError`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TransactionErrorKind {
    /// The producer has no `transactional.id`.
    NotTransactional {
        /// The call.
        call: &'static str,
    },
    /// The call is not allowed now. Nothing has changed.
    OutOfPlace {
        /// The call.
        call: &'static str,
        /// How things stand, and what would be allowed.
        reason: &'static str,
    },
    /// The time for an earlier call was over before it was done. It goes on: make that call again, to learn how it ends.
    Unfinished {
        /// The call.
        call: &'static str,
        /// The one that must be made again.
        earlier: &'static str,
    },
    /// `max.block.ms` passed before the call was done. It goes on; make it again to wait for it again.
    TimedOut {
        /// The call.
        call: &'static str,
        /// The time that it had.
        limit: Duration,
        /// What stands in the way, as far as is known.
        cause: Option<String>,
    },
    /// This transaction cannot be committed any more. After an abort the next one can begin.
    Abortable {
        /// Kafka's error, if there is one.
        code: Option<ErrorCode>,
        /// What went wrong.
        cause: String,
    },
    /// Another producer has taken over the `transactional.id`, or the transaction was open for longer than
    /// `transaction.timeout.ms`. This producer can do no more harm, and nothing else.
    Fenced {
        /// Kafka's error.
        code: ErrorCode,
        /// What was asked.
        cause: String,
    },
    /// The producer cannot go on.
    Fatal {
        /// Kafka's error, if there is one.
        code: Option<ErrorCode>,
        /// What went wrong.
        cause: String,
        /// Whether a commit was under way, whose fate is not known.
        committing: bool,
    },
    /// The producer could not be initialized, and another try may succeed once its cause is removed.
    Refused {
        /// Kafka's error.
        code: ErrorCode,
        /// What was asked.
        cause: String,
    },
    /// The call was made inside a callback: it would have to wait for its own thread.
    InsideCallback {
        /// The call.
        call: &'static str,
    },
    /// The producer is closed.
    Closed,
    /// The producer's sender thread ended.
    Failed {
        /// The first cause.
        cause: String,
    },
    /// The process was forked after the producer was made.
    Forked {
        /// The process that made the producer.
        parent: u32,
    },
}

impl TransactionError {
    /// What exactly went wrong.
    pub fn kind(&self) -> &TransactionErrorKind {
        &self.0
    }

    /// Whether the transaction must be aborted, and can be: after that the next one can begin.
    pub fn is_abortable(&self) -> bool {
        matches!(*self.0, TransactionErrorKind::Abortable { .. })
    }

    /// Whether the same call should be made again, to wait for what it began.
    pub fn is_retriable(&self) -> bool {
        matches!(*self.0, TransactionErrorKind::TimedOut { .. })
    }

    /// Whether this producer is of no more use.
    pub fn is_fatal(&self) -> bool {
        matches!(
            *self.0,
            TransactionErrorKind::Fenced { .. }
                | TransactionErrorKind::Fatal { .. }
                | TransactionErrorKind::Closed
                | TransactionErrorKind::Failed { .. }
                | TransactionErrorKind::Forked { .. }
        )
    }

    /// Whether another producer with the same `transactional.id` has taken over.
    pub fn is_fenced(&self) -> bool {
        matches!(*self.0, TransactionErrorKind::Fenced { .. })
    }

    /// Whether the transaction may have been committed, or still may be, although the commit failed. Always `false` for
    /// other calls.
    pub fn may_have_been_written(&self) -> bool {
        match &*self.0 {
            TransactionErrorKind::TimedOut { call, .. } => *call == COMMIT,
            TransactionErrorKind::Fatal { committing, .. } => *committing,
            _ => false,
        }
    }

    /// Kafka's error code, if a broker's answer is the reason.
    pub fn code(&self) -> Option<ErrorCode> {
        match *self.0 {
            TransactionErrorKind::Abortable { code, .. } | TransactionErrorKind::Fatal { code, .. } => code,
            TransactionErrorKind::Fenced { code, .. } | TransactionErrorKind::Refused { code, .. } => {
                Some(code)
            }
            _ => None,
        }
    }
}

impl From<TransactionErrorKind> for TransactionError {
    #[cold]
    fn from(kind: TransactionErrorKind) -> Self {
        Self(Arc::new(kind))
    }
}

impl fmt::Debug for TransactionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As the other errors do it; this one has no source.
        if f.alternate() { fmt::Debug::fmt(&self.0, f) } else { fmt::Display::fmt(self, f) }
    }
}

impl fmt::Display for TransactionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use TransactionErrorKind as Kind;
        let because = |f: &mut fmt::Formatter<'_>, cause: &str, code: Option<ErrorCode>| match code {
            Some(code) => write!(f, "{cause}: {code}"),
            None => f.write_str(cause),
        };
        match &*self.0 {
            Kind::NotTransactional { call } => {
                write!(f, "{call}: this producer is not transactional; set transactional.id")
            }
            Kind::OutOfPlace { call, reason } => write!(f, "{call}: {reason}"),
            Kind::Unfinished { call, earlier } => {
                write!(f, "{call}: an earlier {earlier} has not ended; call {earlier} again")
            }
            Kind::TimedOut { call, limit, cause } => {
                write!(f, "{call} did not end within {limit:?} (max.block.ms); call it again")?;
                cause.iter().try_for_each(|cause| write!(f, " ({cause})"))
            }
            Kind::Abortable { code, cause } => {
                f.write_str("the transaction cannot be committed, abort it: ")?;
                because(f, cause, *code)
            }
            Kind::Fenced { code, cause } => {
                f.write_str("this producer was fenced: ")?;
                because(f, cause, Some(*code))
            }
            Kind::Fatal { code, cause, committing } => {
                f.write_str("the producer cannot go on: ")?;
                because(f, cause, *code)?;
                f.write_str(if *committing { "; the transaction may have been committed" } else { "" })
            }
            Kind::Refused { code, cause } => because(f, cause, Some(*code)),
            Kind::InsideCallback { call } => {
                write!(f, "{call} inside a callback would wait for itself; call it from another thread")
            }
            Kind::Closed => f.write_str("the producer is closed"),
            Kind::Failed { cause } => write!(f, "the producer has failed: {cause}"),
            Kind::Forked { parent } => {
                write!(f, "this producer was made by process {parent}; a forked child must make its own")
            }
        }
    }
}

impl Error for TransactionError {}

/// The call whose failure may leave open whether it has happened all the same.
pub(crate) const COMMIT: &str = "commit_transaction";
