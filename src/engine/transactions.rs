//! How a transactional producer stands, which call may come next, and what must be asked of whom: a pure state machine.
//!
//! Brokers, connections, batches and clocks are strangers here. It is told what callers want ([`Transactions::call`]), which
//! partitions records go to ([`Transactions::add`]), that records failed, and what became of each request; it says what to ask
//! next ([`Transactions::wanted`]), one request at a time, and what came of it all ([`Transactions::pop_output`]).
//!
//! ```text
//!                 init                     begin                 commit
//!  Uninitialized -----> Initializing -> Ready ----> InTransaction ----> Committing -> Ready
//!        ^                   |                       |   |                  |
//!        +----- refused -----+          a failure    |   | abort            | a failure
//!                                                    v   v                  v
//!                                    Abortable -abort-> Aborting -> Ready   Abortable
//!
//!  Fatal: from anywhere, for good
//! ```
//!
//! There are two protocols (KIP-890). In the first one a partition must be added at the coordinator before anything is sent
//! to it, and the epoch stays; the epoch is then raised by a request of ours where something went wrong. In the second
//! one brokers add partitions by themselves, and each end brings the next epoch.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    error::{ErrorCode, TransactionError, TransactionErrorKind},
    handoff::{TopicId, TransactionCall, TransactionReply},
    offsets::{ConsumerGroupMetadata, OffsetAndMetadata, TopicPartition},
    wire::{find_coordinator::CoordinatorType, sequence::Identity},
};

/// A partition.
pub(super) type Place = (TopicId, i32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Uninitialized,
    Initializing,
    Ready,
    InTransaction,
    Committing,
    Aborting,
    Abortable,
    Fatal,
}

/// What must be asked next.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    FindCoordinator(CoordinatorType, Arc<str>),
    /// An identity; with the present one, to raise its epoch.
    Identity(Option<Identity>),
    AddPartitions(Vec<Place>),
    AddOffsets(Arc<Offsets>),
    CommitOffsets(Arc<Offsets>),
    End {
        commit: bool,
    },
}

/// Whom to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recipient {
    Anybody,
    Coordinator,
    GroupCoordinator,
}

/// Offsets of a consumer group that belong to the transaction.
#[derive(Debug)]
pub(super) struct Offsets {
    pub(super) offsets: Vec<(TopicPartition, OffsetAndMetadata)>,
    pub(super) group: ConsumerGroupMetadata,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Output {
    Answer(TransactionReply, Result<(), TransactionError>),
    /// The transaction, or the producer, cannot go on.
    Failed(TransactionError),
    /// An abort deals with what failed.
    Mended,
    /// Records may be sent to these partitions.
    Admitted(Vec<Place>),
    /// Sequences begin anew under this identity.
    Identity(Identity),
    /// No partition belongs to a transaction any more.
    Ended,
}

pub(super) struct Transactions {
    state: State,
    /// The protocol of the present transaction; never changes inside one.
    second_protocol: bool,
    identity: Option<Identity>,
    /// The coordinator raises epochs on request (InitProducerId 3).
    bumps: bool,
    coordinator: Option<i32>,
    group_coordinator: Option<(Arc<str>, i32)>,
    /// Partitions to be added: nothing may be sent to them before.
    newcomers: BTreeSet<Place>,
    /// The coordinator may know of something in this transaction, so its end must be told.
    started: bool,
    offsets: VecDeque<Commit>,
    /// Who waits for the initialization, the commit or the abort.
    reply: Option<TransactionReply>,
    /// A request is under way.
    asked: bool,
    failures: u32,
    not_before: Option<Instant>,
    /// The end was told, or need not be.
    ended: bool,
    needs_bump: bool,
    /// A request was sent and not answered: it may still be on its way, and would meddle with the next transaction.
    in_doubt: bool,
    error: Option<TransactionError>,
    outputs: VecDeque<Output>,
}

struct Commit {
    offsets: Arc<Offsets>,
    /// The coordinator knows that this group belongs to the transaction.
    added: bool,
    reply: TransactionReply,
}

impl Ask {
    pub(super) fn recipient(&self) -> Recipient {
        match self {
            Self::FindCoordinator(..) => Recipient::Anybody,
            Self::CommitOffsets(_) => Recipient::GroupCoordinator,
            _ => Recipient::Coordinator,
        }
    }

    /// For errors.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::FindCoordinator(..) => "asking for the coordinator",
            Self::Identity(None) => "asking for a producer id",
            Self::Identity(Some(_)) => "asking for the next epoch",
            Self::AddPartitions(_) => "adding partitions to the transaction",
            Self::AddOffsets(_) => "adding a consumer group to the transaction",
            Self::CommitOffsets(_) => "committing a consumer group's offsets",
            Self::End { commit: true } => "committing the transaction",
            Self::End { commit: false } => "aborting the transaction",
        }
    }
}

impl Transactions {
    pub(super) fn new() -> Self {
        Self {
            state: State::Uninitialized,
            second_protocol: false,
            identity: None,
            bumps: false,
            coordinator: None,
            group_coordinator: None,
            newcomers: BTreeSet::new(),
            started: false,
            offsets: VecDeque::new(),
            reply: None,
            asked: false,
            failures: 0,
            not_before: None,
            ended: false,
            needs_bump: false,
            in_doubt: false,
            error: None,
            outputs: VecDeque::new(),
        }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    pub(super) fn identity(&self) -> Option<Identity> {
        self.identity
    }

    pub(super) fn is_second_protocol(&self) -> bool {
        self.second_protocol
    }

    /// Why it cannot go on, in `Abortable` and `Fatal`.
    pub(super) fn error(&self) -> Option<&TransactionError> {
        self.error.as_ref()
    }

    /// A transaction that somebody has begun and nobody has ended.
    pub(super) fn is_open(&self) -> bool {
        use State::*;
        matches!(self.state, InTransaction | Committing | Aborting | Abortable)
    }

    /// Nothing must linger: somebody waits for the end of all records.
    pub(super) fn is_completing(&self) -> bool {
        matches!(self.state, State::Committing | State::Aborting)
    }

    pub(super) fn pop_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    // ---- calls

    pub(super) fn call(&mut self, call: TransactionCall, reply: TransactionReply) {
        if let Err(error) = self.allows(&call) {
            self.outputs.push_back(Output::Answer(reply, Err(error)));
            return;
        }
        match call {
            TransactionCall::Init => {
                self.state = State::Initializing;
                self.reply = Some(reply);
            }
            TransactionCall::Begin => {
                self.state = State::InTransaction;
                self.outputs.push_back(Output::Answer(reply, Ok(())));
            }
            TransactionCall::SendOffsets(offsets, group) => {
                let offsets = Arc::new(Offsets { offsets, group });
                self.offsets.push_back(Commit { offsets, added: false, reply });
            }
            TransactionCall::Commit => {
                self.state = State::Committing;
                self.reply = Some(reply);
            }
            TransactionCall::Abort => {
                self.begin_abort();
                self.reply = Some(reply);
            }
        }
    }

    fn allows(&self, call: &TransactionCall) -> Result<(), TransactionError> {
        use TransactionCall::{Abort, Begin, Commit, Init, SendOffsets};
        let reason = match (call, self.state) {
            (Init, State::Uninitialized)
            | (Begin, State::Ready)
            | (SendOffsets(..) | Commit | Abort, State::InTransaction)
            | (Abort, State::Abortable) => return Ok(()),
            (_, State::Abortable | State::Fatal) => {
                return Err(self.error.clone().expect("a state of failure has a cause"));
            }
            (Init, _) => "the producer is initialized already",
            (_, State::Uninitialized | State::Initializing) => "call init_transactions first",
            (_, State::Ready) => "no transaction is open; call begin_transaction first",
            (_, State::InTransaction) => "a transaction is open; commit or abort it first",
            (_, State::Committing) => "the transaction is being committed",
            (_, State::Aborting) => "the transaction is being aborted",
        };
        Err(TransactionErrorKind::OutOfPlace { call: call.name(), reason }.into())
    }

    fn begin_abort(&mut self) {
        self.state = State::Aborting;
        self.error = None;
        self.newcomers.clear();
        self.proceed();
        self.outputs.push_back(Output::Mended);
        let error = abortable(None, "it was aborted before the offsets were committed");
        self.refuse_offsets(&error);
    }

    /// The producer is being closed: what is open will not be committed.
    pub(super) fn close(&mut self) {
        if matches!(self.state, State::InTransaction | State::Abortable) {
            self.begin_abort();
        }
    }

    // ---- records

    /// Records are waiting to be sent to a partition.
    pub(super) fn add(&mut self, place: Place) {
        if !matches!(self.state, State::InTransaction | State::Committing) {
            return;
        }
        if self.second_protocol {
            self.started = true;
            self.outputs.push_back(Output::Admitted(vec![place]));
        } else {
            self.newcomers.insert(place);
        }
    }

    /// Records failed. `numbered`: under numbers that brokers may have seen, or will miss.
    pub(super) fn lose_records(&mut self, code: Option<ErrorCode>, cause: String, numbered: bool) {
        match code {
            Some(code) if ends_the_producer(code) => self.fatal(Some(code), cause),
            _ if numbered && !self.can_mend() => {
                let cause = format!("{cause}; brokers before Kafka 2.5 do not let it go on after that");
                self.fatal(code, cause);
            }
            // The abort goes on, and what is broken is mended behind it.
            _ if self.state == State::Aborting && numbered && !self.second_protocol => self.require_bump(),
            _ => self.fail(abortable(code, cause)),
        }
    }

    // ---- what to ask

    /// Ends what can end without asking anybody. `quiet`: no record is on its way.
    pub(super) fn advance(&mut self, quiet: bool, cluster_has_second: bool) {
        if !self.is_completing() || self.asked {
            return;
        }
        let nothing_to_end = quiet && !self.started && self.newcomers.is_empty() && self.offsets.is_empty();
        if !self.ended && nothing_to_end {
            self.over(cluster_has_second);
        }
        if self.ended && !self.needs_bump {
            self.complete();
        }
    }

    /// When there is something to ask that must not be asked before.
    pub(super) fn not_before(&self) -> Option<Instant> {
        self.not_before
    }

    /// What is [wanted](Self::wanted) was sent.
    pub(super) fn mark_asked(&mut self, ask: &Ask) {
        self.asked = true;
        // In the second protocol the coordinator of the group adds them to the transaction, whatever it answers.
        self.started |= matches!(ask, Ask::CommitOffsets(_));
    }

    /// The next request, once it may be sent; `None` while one is under way, or if there is nothing to ask. `quiet`: no
    /// record is on its way.
    pub(super) fn wanted(&self, quiet: bool) -> Option<Ask> {
        if self.asked {
            return None;
        }
        let takes_records = matches!(self.state, State::InTransaction | State::Committing) && !self.ended;
        let ask = match (self.state, self.offsets.front()) {
            (State::Initializing, _) => Ask::Identity(None),
            _ if takes_records && !self.newcomers.is_empty() => {
                Ask::AddPartitions(self.newcomers.iter().copied().collect())
            }
            (_, Some(commit)) if takes_records && !commit.added && !self.second_protocol => {
                Ask::AddOffsets(Arc::clone(&commit.offsets))
            }
            (_, Some(commit)) if takes_records => Ask::CommitOffsets(Arc::clone(&commit.offsets)),
            (State::Committing | State::Aborting, _) if self.ended && self.needs_bump => {
                Ask::Identity(self.identity)
            }
            (State::Committing | State::Aborting, _) if !self.ended && quiet && self.started => {
                Ask::End { commit: self.state == State::Committing }
            }
            _ => return None,
        };
        match ask.recipient() {
            Recipient::Coordinator if self.coordinator.is_none() => {
                Some(Ask::FindCoordinator(CoordinatorType::Transaction, Arc::default()))
            }
            Recipient::GroupCoordinator if self.group_coordinator().is_none() => {
                let group = &self.offsets.front()?.offsets.group.group_id;
                Some(Ask::FindCoordinator(CoordinatorType::Group, group.as_str().into()))
            }
            _ => Some(ask),
        }
    }

    /// The node to ask; `None`: any will do.
    pub(super) fn node(&self, recipient: Recipient) -> Option<i32> {
        match recipient {
            Recipient::Anybody => None,
            Recipient::Coordinator => self.coordinator,
            Recipient::GroupCoordinator => self.group_coordinator(),
        }
    }

    fn group_coordinator(&self) -> Option<i32> {
        let (group, node) = self.group_coordinator.as_ref()?;
        let wanted = &self.offsets.front()?.offsets.group.group_id;
        (**group == **wanted).then_some(*node)
    }

    // ---- answers

    pub(super) fn coordinator_found(&mut self, kind: CoordinatorType, key: &Arc<str>, node: i32) {
        self.proceed_after_answer();
        match kind {
            CoordinatorType::Transaction => self.coordinator = Some(node),
            CoordinatorType::Group => self.group_coordinator = Some((Arc::clone(key), node)),
        }
    }

    /// An identity was given out. `bumps`: by a coordinator that raises epochs on request.
    pub(super) fn identified(&mut self, identity: Identity, bumps: bool, cluster_has_second: bool) {
        self.proceed_after_answer();
        self.bumps = bumps;
        self.needs_bump = false;
        self.identity = Some(identity);
        self.outputs.push_back(Output::Identity(identity));
        if self.state == State::Initializing {
            self.second_protocol = cluster_has_second;
            self.state = State::Ready;
            self.answer(Ok(()));
        }
    }

    pub(super) fn partitions_added(&mut self, places: Vec<Place>) {
        self.proceed_after_answer();
        self.started = true;
        self.newcomers.retain(|place| !places.contains(place));
        if matches!(self.state, State::InTransaction | State::Committing) {
            self.outputs.push_back(Output::Admitted(places));
        }
    }

    pub(super) fn offsets_added(&mut self, offsets: &Arc<Offsets>) {
        self.proceed_after_answer();
        self.started = true;
        if let Some(commit) = self.offsets.front_mut().filter(|c| Arc::ptr_eq(&c.offsets, offsets)) {
            commit.added = true;
        }
    }

    pub(super) fn offsets_committed(&mut self, offsets: &Arc<Offsets>) {
        self.proceed_after_answer();
        // They may have been given up meanwhile.
        if self.offsets.front().is_some_and(|c| Arc::ptr_eq(&c.offsets, offsets))
            && let Some(commit) = self.offsets.pop_front()
        {
            self.outputs.push_back(Output::Answer(commit.reply, Ok(())));
        }
    }

    /// The end was taken note of; `next` is what the next transaction goes by, if that is another identity.
    pub(super) fn end_answered(&mut self, next: Option<Identity>, cluster_has_second: bool) {
        self.proceed_after_answer();
        if let Some(identity) = next {
            self.identity = Some(identity);
            self.outputs.push_back(Output::Identity(identity));
        }
        self.over(cluster_has_second);
    }

    /// A request was refused. The pause is for another try.
    pub(super) fn refused(
        &mut self,
        now: Instant,
        ask: &Ask,
        code: ErrorCode,
        cause: String,
        pause: Duration,
    ) {
        self.asked = false;
        match judge(ask, code) {
            Reaction::Retry => {
                let first_partition = matches!(ask, Ask::AddPartitions(_)) && !self.started;
                let shortly = code == ErrorCode::CONCURRENT_TRANSACTIONS && first_partition;
                self.pause(now, if shortly { pause.min(SHORTLY) } else { pause });
            }
            Reaction::FindAgain => {
                self.forget(ask.recipient());
                self.pause(now, pause);
            }
            // Nobody waits for it any more.
            _ if self.state == State::Aborting && !matches!(ask, Ask::End { .. } | Ask::Identity(_)) => {
                if ends_the_producer(code) {
                    self.fatal(Some(code), cause);
                }
            }
            Reaction::Abortable if matches!(ask, Ask::End { commit: false }) && self.bumps => {
                self.require_bump();
                self.ended = true;
            }
            Reaction::Abortable if matches!(ask, Ask::End { commit: false }) => self.fatal(Some(code), cause),
            Reaction::Abortable if code == ErrorCode::UNKNOWN_PRODUCER_ID && !self.can_mend() => {
                self.fatal(Some(code), cause);
            }
            Reaction::Abortable if self.state == State::Initializing => self.back_to_start(code, cause),
            Reaction::Abortable => self.fail(abortable(Some(code), cause)),
            Reaction::BackToStart if self.state == State::Initializing => self.back_to_start(code, cause),
            Reaction::BackToStart | Reaction::Fatal => self.fatal(Some(code), cause),
        }
    }

    /// A request will not be answered: it may or may not have been heard.
    pub(super) fn unanswered(&mut self, now: Instant, ask: &Ask, pause: Duration) {
        self.asked = false;
        self.in_doubt |= !matches!(ask, Ask::FindCoordinator(..) | Ask::Identity(_));
        self.forget(ask.recipient());
        self.pause(now, pause);
    }

    /// A node cannot be reached, or belongs to the past.
    pub(super) fn node_lost(&mut self, node: i32) {
        if self.coordinator == Some(node) {
            self.coordinator = None;
        }
        if self.group_coordinator.as_ref().is_some_and(|(_, at)| *at == node) {
            self.group_coordinator = None;
        }
    }

    /// The producer cannot go on, whatever it was doing.
    pub(super) fn fatal(&mut self, code: Option<ErrorCode>, cause: impl Into<String>) {
        if self.state == State::Fatal {
            return;
        }
        let cause = cause.into();
        let committed = self.state == State::Committing && self.ended;
        let committing = self.state == State::Committing && !committed;
        let error: TransactionError = match code {
            Some(code @ (ErrorCode::INVALID_PRODUCER_EPOCH | ErrorCode::PRODUCER_FENCED)) => {
                TransactionErrorKind::Fenced { code, cause }.into()
            }
            _ => TransactionErrorKind::Fatal { code, cause, committing }.into(),
        };
        self.state = State::Fatal;
        self.error = Some(error.clone());
        self.newcomers.clear();
        self.not_before = None;
        self.outputs.push_back(Output::Failed(error.clone()));
        self.answer(if committed { Ok(()) } else { Err(error.clone()) });
        self.refuse_offsets(&error);
    }

    // ----

    fn fail(&mut self, error: TransactionError) {
        if !matches!(self.state, State::InTransaction | State::Committing) || self.ended {
            return;
        }
        if !self.second_protocol {
            self.require_bump();
        }
        self.state = State::Abortable;
        self.error = Some(error.clone());
        self.newcomers.clear();
        self.proceed();
        self.outputs.push_back(Output::Failed(error.clone()));
        self.answer(Err(error.clone()));
        self.refuse_offsets(&error);
    }

    fn back_to_start(&mut self, code: ErrorCode, cause: String) {
        self.state = State::Uninitialized;
        self.answer(Err(TransactionErrorKind::Refused { code, cause }.into()));
    }

    fn over(&mut self, cluster_has_second: bool) {
        self.ended = true;
        let in_doubt = std::mem::take(&mut self.in_doubt);
        if (in_doubt || cluster_has_second) && !self.second_protocol {
            self.require_bump();
        }
        self.second_protocol = cluster_has_second;
    }

    fn complete(&mut self) {
        self.state = State::Ready;
        self.ended = false;
        self.started = false;
        self.outputs.push_back(Output::Ended);
        self.answer(Ok(()));
    }

    fn require_bump(&mut self) {
        self.needs_bump = self.bumps;
    }

    fn can_mend(&self) -> bool {
        self.bumps || self.second_protocol
    }

    fn answer(&mut self, outcome: Result<(), TransactionError>) {
        if let Some(reply) = self.reply.take() {
            self.outputs.push_back(Output::Answer(reply, outcome));
        }
    }

    fn refuse_offsets(&mut self, error: &TransactionError) {
        for commit in self.offsets.drain(..) {
            self.outputs.push_back(Output::Answer(commit.reply, Err(error.clone())));
        }
    }

    fn forget(&mut self, recipient: Recipient) {
        match recipient {
            Recipient::Anybody => {}
            Recipient::Coordinator => self.coordinator = None,
            Recipient::GroupCoordinator => self.group_coordinator = None,
        }
    }

    fn pause(&mut self, now: Instant, pause: Duration) {
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(now + pause);
    }

    /// How often in a row a request has failed.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    fn proceed(&mut self) {
        self.failures = 0;
        self.not_before = None;
    }

    fn proceed_after_answer(&mut self) {
        self.asked = false;
        self.proceed();
    }
}

fn abortable(code: Option<ErrorCode>, cause: impl Into<String>) -> TransactionError {
    TransactionErrorKind::Abortable { code, cause: cause.into() }.into()
}

/// Whether records that a broker refuses with this code are the last that this producer could send.
fn ends_the_producer(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::CLUSTER_AUTHORIZATION_FAILED
            | ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED
            | ErrorCode::PRODUCER_FENCED
            | ErrorCode::UNSUPPORTED_VERSION
            | ErrorCode::INVALID_PRODUCER_ID_MAPPING
    )
}

/// What to do about a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reaction {
    Retry,
    /// Somebody else coordinates by now.
    FindAgain,
    Abortable,
    /// Nothing was begun, and the cause may be removed.
    BackToStart,
    Fatal,
}

fn judge(ask: &Ask, code: ErrorCode) -> Reaction {
    match (ask, code) {
        (Ask::FindCoordinator(..), _) if code.is_retriable() => Reaction::Retry,
        (_, ErrorCode::COORDINATOR_NOT_AVAILABLE | ErrorCode::NOT_COORDINATOR)
        | (Ask::CommitOffsets(_), ErrorCode::REQUEST_TIMED_OUT) => Reaction::FindAgain,
        _ if code.is_retriable() => Reaction::Retry,
        (_, ErrorCode::INVALID_PRODUCER_EPOCH | ErrorCode::PRODUCER_FENCED)
        | (
            Ask::AddPartitions(_) | Ask::AddOffsets(_) | Ask::CommitOffsets(_) | Ask::End { .. },
            ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        )
        | (Ask::AddPartitions(_), ErrorCode::INVALID_TXN_STATE | ErrorCode::INVALID_PRODUCER_ID_MAPPING)
        | (Ask::End { commit: false }, ErrorCode::TRANSACTION_ABORTABLE) => Reaction::Fatal,
        (
            Ask::Identity(_),
            ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED
            | ErrorCode::CLUSTER_AUTHORIZATION_FAILED
            | ErrorCode::TRANSACTION_ABORTABLE,
        ) => Reaction::BackToStart,
        (_, ErrorCode::TRANSACTION_ABORTABLE)
        | (
            Ask::FindCoordinator(..) | Ask::AddOffsets(_) | Ask::CommitOffsets(_),
            ErrorCode::GROUP_AUTHORIZATION_FAILED,
        )
        | (
            Ask::CommitOffsets(_),
            ErrorCode::ILLEGAL_GENERATION
            | ErrorCode::UNKNOWN_MEMBER_ID
            | ErrorCode::FENCED_INSTANCE_ID
            | ErrorCode::GROUP_ID_NOT_FOUND
            | ErrorCode::STALE_MEMBER_EPOCH,
        )
        | (Ask::AddOffsets(_) | Ask::End { .. }, ErrorCode::UNKNOWN_PRODUCER_ID)
        // Whatever else a partition is refused for, it is about the partition.
        | (Ask::AddPartitions(_), _) => Reaction::Abortable,
        _ => Reaction::Fatal,
    }
}

/// The marks of the transaction before are being written, which does not take longer.
const SHORTLY: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests;
