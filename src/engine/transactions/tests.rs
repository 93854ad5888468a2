//! The states as tables: what each call does in each state, and what becomes of the transaction with each answer.

#![allow(clippy::disallowed_methods, reason = "an `Instant` to begin with comes from nowhere else")]

use super::*;
use crate::handoff::{Promise, TransactionRequest, transaction::TransactionAnswer};

const ME: Identity = Identity { id: 7, epoch: 0 };
const NEXT: Identity = Identity { id: 7, epoch: 1 };
const PLACE: Place = (TopicId(3), 0);

/// One cell each: the state after the call, or `no` and a word of the refusal, which leaves the state as it is. An error
/// of the past is repeated word by word.
#[test]
fn which_call_may_follow_which() {
    let table = "
        state         | init               | begin            | offsets       | commit           | abort
        Uninitialized | Initializing       | no init_trans    | no init_trans | no init_trans    | no init_trans
        Initializing  | no initialized     | no init_trans    | no init_trans | no init_trans    | no init_trans
        Ready         | no initialized     | InTransaction    | no begin_tran | no begin_tran    | no begin_tran
        InTransaction | no initialized     | no is open       | InTransaction | Committing       | Aborting
        Committing    | no initialized     | no committed     | no committed  | no committed     | no committed
        Aborting      | no initialized     | no being aborted | no aborted    | no being aborted | no being aborted
        Abortable     | no a played error  | no a played      | no a played   | no a played      | Aborting
        Fatal         | no a played error  | no a played      | no a played   | no a played      | no a played";
    for second in [false, true] {
        for [state, cells @ ..] in rows::<6>(table) {
            for (name, cell) in CALLS.into_iter().zip(cells) {
                let mut play = Play::at(state, second);
                let answer = play.call(call(name));
                match cell.strip_prefix("no ") {
                    Some(word) => {
                        let error = outcome(&answer).expect("a refusal comes at once").unwrap_err();
                        assert!(error.to_string().contains(word), "{name} in {state}: {error}");
                        assert_eq!(play.state(), state, "{name} in {state}");
                    }
                    None => {
                        assert_eq!(play.state(), cell, "{name} in {state}");
                        let at_once = (name == "begin").then_some(Ok(()));
                        assert_eq!(outcome(&answer).map(drop_error), at_once, "{name} in {state}");
                    }
                }
            }
        }
    }
}

/// Request, code, and what becomes of the transaction: `again`, or another state. In the first protocol.
#[test]
fn what_becomes_of_it_with_each_answer() {
    let table = "
        FindCoordinator | 14 15 16 51           | again
        FindCoordinator | 30                    | Abortable
        FindCoordinator | 53 42 -1              | Fatal
        Init            | 14 15 16 51           | again
        Init            | 31 53 120             | Uninitialized
        Init            | 47 90 50 48 42 -1 999 | Fatal
        AddPartitions   | 3 14 15 16 51 100     | again
        AddPartitions   | 29 30 31 55 59 43 120 | Abortable
        AddPartitions   | 22 25 50 -1 999       | Abortable
        AddPartitions   | 47 90 48 49 53        | Fatal
        AddOffsets      | 14 15 16 51           | again
        AddOffsets      | 30 59 120             | Abortable
        AddOffsets      | 47 90 48 49 53 31 -1  | Fatal
        CommitOffsets   | 3 7 14 15 16 51 100   | again
        CommitOffsets   | 22 25 30 69 82 113    | Abortable
        CommitOffsets   | 120                   | Abortable
        CommitOffsets   | 47 90 53 43 48 49 59  | Fatal
        Commit          | 14 15 16 51           | again
        Commit          | 59 120                | Abortable
        Commit          | 47 90 48 49 53 42 -1  | Fatal
        Abort           | 14 15 16 51           | again
        Abort           | 47 90 48 49 53 120 -1 | Fatal
        Bump            | 14 15 16 51           | again
        Bump            | 47 90 31 53 120 -1    | Fatal";
    for [request, codes, becomes] in rows::<3>(table) {
        for code in codes.split_whitespace().map(|code| ErrorCode(code.parse().unwrap())) {
            let (mut play, answer) = Play::asking(request);
            let before = play.state();
            let ask = play.asked();
            play.machine.refused(play.now, &ask, code, "played".into(), PAUSE);
            play.deliver();
            let story = format!("{request} answered with {code}");
            if becomes == "again" {
                assert_eq!((play.state(), outcome(&answer).is_none()), (before, true), "{story}");
                assert!(play.machine.not_before().is_some_and(|at| at > play.now), "{story}");
                let next = play.machine.wanted(true).expect("it is asked again");
                let coordinator_in_doubt = matches!(code.0, 15 | 16) && request != "FindCoordinator"
                    || code.0 == 7 && request == "CommitOffsets";
                assert_eq!(
                    matches!(next, Ask::FindCoordinator(..)),
                    coordinator_in_doubt || request == "FindCoordinator",
                    "{story}: {next:?}"
                );
                continue;
            }
            assert_eq!(play.state(), becomes, "{story}");
            let error = outcome(&answer).expect("whoever waits is told").unwrap_err();
            assert_eq!(error.code(), Some(code), "{story}");
            assert_eq!(
                (error.is_abortable(), error.is_fatal()),
                (becomes == "Abortable", becomes == "Fatal")
            );
            assert_eq!(error.is_fenced(), matches!(code.0, 47 | 90), "{story}");
            assert!(play.machine.wanted(true).is_none(), "{story}: nothing more is asked");
        }
    }
}

/// What went wrong with records, and what becomes of the transaction; with brokers that cannot raise an epoch as well.
#[test]
fn what_becomes_of_it_when_records_fail() {
    let table = "
        code | numbered | brokers | becomes
        none | no       | new     | Abortable
        none | yes      | new     | Abortable
        none | no       | old     | Abortable
        none | yes      | old     | Fatal
        10   | yes      | new     | Abortable
        47   | yes      | new     | Abortable
        48   | yes      | new     | Abortable
        120  | yes      | new     | Abortable
        31   | yes      | new     | Fatal
        35   | yes      | new     | Fatal
        49   | yes      | new     | Fatal
        53   | yes      | new     | Fatal
        90   | yes      | new     | Fatal";
    for [code, numbered, brokers, becomes] in rows::<4>(table) {
        for state in ["InTransaction", "Committing"] {
            let mut play = Play::at(state, false);
            play.machine.bumps = brokers == "new";
            play.machine.lose_records(code.parse().ok().map(ErrorCode), "played".into(), numbered == "yes");
            assert_eq!(play.state(), becomes, "{code}, {numbered}, {brokers} in {state}");
        }
    }
    // In an abort it makes no difference any more, unless the producer itself is at its end.
    let mut play = Play::at("Aborting", false);
    play.machine.lose_records(Some(ErrorCode::MESSAGE_TOO_LARGE), "played".into(), true);
    assert_eq!(play.state(), "Aborting");
    play.machine.lose_records(Some(ErrorCode::PRODUCER_FENCED), "played".into(), true);
    assert_eq!(play.state(), "Fatal");
}

/// The requests of whole transactions, in both protocols.
#[test]
fn the_way_of_a_transaction() {
    for (second, way) in [
        (false, "FindCoordinator Identity | AddPartitions AddOffsets FindCoordinator CommitOffsets End"),
        (true, "FindCoordinator Identity | FindCoordinator CommitOffsets End"),
    ] {
        for commit in [true, false] {
            let mut play = Play::new(second);
            let mut asked = Vec::new();
            let init = play.call(TransactionCall::Init);
            asked.extend(play.ask_all());
            assert_eq!(outcome(&init).map(drop_error), Some(Ok(())));
            asked.push("|");
            play.call(TransactionCall::Begin);
            play.machine.add(PLACE);
            let offsets = play.call(call("offsets"));
            asked.extend(play.ask_all());
            assert_eq!(outcome(&offsets).map(drop_error), Some(Ok(())));
            let end = play.call(call(if commit { "commit" } else { "abort" }));
            asked.extend(play.ask_all());
            assert_eq!(outcome(&end).map(drop_error), Some(Ok(())));
            assert_eq!(asked.join(" "), way, "commit {commit}");
            assert_eq!(play.state(), "Ready");
            assert_eq!(play.machine.identity(), Some(if second { NEXT } else { ME }));
        }
    }
}

#[test]
fn the_end_waits_for_every_record_and_nothing_is_asked_before() {
    let mut play = Play::at("InTransaction", true);
    play.machine.add(PLACE);
    play.call(TransactionCall::Commit);
    assert!(play.machine.wanted(false).is_none());
    play.machine.advance(false, true);
    assert_eq!(play.state(), "Committing");
    assert!(matches!(play.machine.wanted(true), Some(Ask::End { commit: true })));
}

#[test]
fn what_was_not_begun_needs_no_end() {
    for second in [false, true] {
        for end in ["commit", "abort"] {
            let mut play = Play::at("InTransaction", second);
            let answer = play.call(call(end));
            play.machine.advance(true, second);
            play.deliver();
            assert_eq!((play.state(), outcome(&answer).map(drop_error)), ("Ready".into(), Some(Ok(()))));
            assert_eq!(play.machine.identity(), Some(ME));
        }
    }
}

#[test]
fn in_the_first_protocol_the_epoch_is_raised_after_a_failure() {
    let mut play = Play::with_a_partition();
    play.machine.lose_records(None, "played".into(), true);
    let answer = play.call(TransactionCall::Abort);
    assert_eq!(play.ask_all(), ["End", "Identity"]);
    assert_eq!(outcome(&answer).map(drop_error), Some(Ok(())));
    assert_eq!((play.state(), play.machine.identity()), ("Ready".into(), Some(NEXT)));
}

#[test]
fn in_the_first_protocol_the_epoch_is_raised_after_a_failure_in_an_abort() {
    let mut play = Play::with_a_partition();
    play.call(TransactionCall::Abort);
    play.machine.lose_records(Some(ErrorCode::INVALID_PRODUCER_EPOCH), "played".into(), true);
    assert_eq!(play.ask_all(), ["End", "Identity"]);
    assert_eq!(play.state(), "Ready");
}

#[test]
fn in_the_first_protocol_the_epoch_is_raised_after_an_end_in_doubt() {
    let mut play = Play::with_a_partition();
    let answer = play.call(TransactionCall::Commit);
    let end = play.asked();
    play.machine.unanswered(play.now, &end, Duration::ZERO);
    assert_eq!(play.ask_all(), ["FindCoordinator", "End", "Identity"]);
    assert_eq!(outcome(&answer).map(drop_error), Some(Ok(())));
}

#[test]
fn a_commit_that_was_taken_note_of_succeeds_whatever_comes_after_it() {
    let mut play = Play::with_a_partition();
    let answer = play.call(TransactionCall::Commit);
    let end = play.asked();
    play.machine.unanswered(play.now, &end, Duration::ZERO);
    play.answer_all_until("Identity");
    let bump = play.asked();
    play.machine.refused(play.now, &bump, ErrorCode::PRODUCER_FENCED, "played".into(), PAUSE);
    play.deliver();
    assert_eq!(outcome(&answer).map(drop_error), Some(Ok(())));
    assert_eq!(play.state(), "Fatal");
}

#[test]
fn the_protocol_changes_at_the_end_of_a_transaction_with_another_epoch() {
    let mut play = Play::with_a_partition();
    play.second = true;
    assert!(!play.machine.is_second_protocol());
    play.call(TransactionCall::Commit);
    assert_eq!(play.ask_all(), ["End", "Identity"]);
    assert!(play.machine.is_second_protocol());
    play.second = false;
    play.call(TransactionCall::Begin);
    play.machine.add(PLACE);
    play.call(TransactionCall::Commit);
    assert_eq!(play.ask_all(), ["End"]);
    assert!(!play.machine.is_second_protocol());
}

#[test]
fn the_first_partition_waits_for_the_transaction_before_only_shortly() {
    let mut play = Play::at("InTransaction", false);
    play.machine.add(PLACE);
    let ask = play.asked();
    play.machine.refused(play.now, &ask, ErrorCode::CONCURRENT_TRANSACTIONS, "played".into(), PAUSE);
    assert_eq!(play.machine.not_before(), Some(play.now + SHORTLY));
    play.now += PAUSE;
    play.ask_all();
    play.machine.add((TopicId(3), 1));
    let ask = play.asked();
    play.machine.refused(play.now, &ask, ErrorCode::CONCURRENT_TRANSACTIONS, "played".into(), PAUSE);
    assert_eq!(play.machine.not_before(), Some(play.now + PAUSE));
}

#[test]
fn an_abort_forgets_what_was_still_to_be_added() {
    let mut play = Play::at("InTransaction", false);
    play.machine.add(PLACE);
    let added = play.asked();
    play.machine.add((TopicId(3), 1));
    let answer = play.call(TransactionCall::Abort);
    play.machine.advance(true, false);
    assert_eq!(play.state(), "Aborting", "a request is under way");
    let Ask::AddPartitions(places) = added else { panic!("{added:?}") };
    play.machine.partitions_added(places);
    assert_eq!(play.ask_all(), ["End"]);
    assert_eq!(outcome(&answer).map(drop_error), Some(Ok(())));
}

// ---- the players

/// A machine and the brokers that it talks to.
struct Play {
    machine: Transactions,
    now: Instant,
    /// What the cluster has agreed on.
    second: bool,
}

impl Play {
    fn new(second: bool) -> Self {
        Self { machine: Transactions::new(), now: Instant::now(), second }
    }

    fn at(state: &str, second: bool) -> Self {
        let mut play = Self::new(second);
        if state == "Uninitialized" {
            return play;
        }
        play.call(TransactionCall::Init);
        if state == "Initializing" {
            return play;
        }
        play.ask_all();
        if state == "Ready" {
            return play;
        }
        play.call(TransactionCall::Begin);
        match state {
            "Committing" => drop(play.call(TransactionCall::Commit)),
            "Aborting" => drop(play.call(TransactionCall::Abort)),
            "Abortable" => play.machine.lose_records(None, "a played error".into(), false),
            "Fatal" => play.machine.fatal(None, "a played error"),
            _ => {}
        }
        play.deliver();
        play
    }

    /// In the first protocol, in a transaction that has a partition, and the coordinator knows of it.
    fn with_a_partition() -> Self {
        let mut play = Self::at("InTransaction", false);
        play.machine.add(PLACE);
        play.ask_all();
        play
    }

    /// In the first protocol, with this request to be asked next, and who waits for what it is about.
    fn asking(request: &str) -> (Self, TransactionAnswer) {
        let mut play =
            Self::at(if matches!(request, "Init") { "Uninitialized" } else { "InTransaction" }, false);
        let answer = match request {
            "Init" => {
                let answer = play.call(TransactionCall::Init);
                play.answer_all_until("Identity");
                answer
            }
            "FindCoordinator" => {
                play.machine.coordinator = None;
                play.call(call("offsets"))
            }
            "AddPartitions" => {
                play.machine.add(PLACE);
                play.call(TransactionCall::Commit)
            }
            "AddOffsets" => play.call(call("offsets")),
            "CommitOffsets" => {
                let answer = play.call(call("offsets"));
                play.answer_all_until("CommitOffsets");
                answer
            }
            end => {
                play.machine.add(PLACE);
                play.ask_all();
                if end == "Bump" {
                    play.machine.lose_records(None, "played".into(), true);
                }
                let answer = play.call(call(if end == "Commit" { "commit" } else { "abort" }));
                if end == "Bump" {
                    play.answer_all_until("Identity");
                }
                answer
            }
        };
        (play, answer)
    }

    fn state(&self) -> String {
        format!("{:?}", self.machine.state())
    }

    fn call(&mut self, call: TransactionCall) -> TransactionAnswer {
        let (request, answer) = TransactionRequest::new(call);
        let (call, reply) = request.into_parts();
        self.machine.call(call, reply);
        self.deliver();
        answer
    }

    fn deliver(&mut self) {
        while let Some(output) = self.machine.pop_output() {
            if let Output::Answer(reply, outcome) = output {
                Promise::fulfil(reply.settle(outcome));
            }
        }
    }

    /// The next request, sent.
    fn asked(&mut self) -> Ask {
        let ask = self.machine.wanted(true).expect("there is something to ask");
        self.machine.mark_asked(&ask);
        ask
    }

    /// Asks and answers until there is nothing left to ask, and says what that was.
    fn ask_all(&mut self) -> Vec<&'static str> {
        let mut asked = Vec::new();
        loop {
            self.machine.advance(true, self.second);
            let Some(ask) = self.machine.wanted(true) else { break };
            asked.push(name_of(&ask));
            self.machine.mark_asked(&ask);
            self.answer(&ask);
        }
        self.deliver();
        asked
    }

    fn answer_all_until(&mut self, name: &str) {
        loop {
            self.machine.advance(true, self.second);
            let ask = self.machine.wanted(true).expect("the request comes");
            if name_of(&ask) == name {
                return;
            }
            self.machine.mark_asked(&ask);
            self.answer(&ask);
        }
    }

    fn answer(&mut self, ask: &Ask) {
        match ask {
            Ask::FindCoordinator(kind, key) => self.machine.coordinator_found(*kind, key, 1),
            Ask::Identity(present) => {
                self.machine.identified(if present.is_some() { NEXT } else { ME }, true, self.second);
            }
            Ask::AddPartitions(places) => self.machine.partitions_added(places.clone()),
            Ask::AddOffsets(offsets) => self.machine.offsets_added(offsets),
            Ask::CommitOffsets(offsets) => self.machine.offsets_committed(offsets),
            Ask::End { .. } => {
                let next = self.machine.is_second_protocol().then_some(NEXT);
                self.machine.end_answered(next, self.second);
            }
        }
    }
}

fn name_of(ask: &Ask) -> &'static str {
    match ask {
        Ask::FindCoordinator(..) => "FindCoordinator",
        Ask::Identity(_) => "Identity",
        Ask::AddPartitions(_) => "AddPartitions",
        Ask::AddOffsets(_) => "AddOffsets",
        Ask::CommitOffsets(_) => "CommitOffsets",
        Ask::End { .. } => "End",
    }
}

const CALLS: [&str; 5] = ["init", "begin", "offsets", "commit", "abort"];

fn call(name: &str) -> TransactionCall {
    match name {
        "init" => TransactionCall::Init,
        "begin" => TransactionCall::Begin,
        "commit" => TransactionCall::Commit,
        "abort" => TransactionCall::Abort,
        _ => TransactionCall::SendOffsets(
            vec![(TopicPartition::new("t", 0), OffsetAndMetadata::new(42))],
            ConsumerGroupMetadata::new("g"),
        ),
    }
}

/// What a caller hears now; `None`: nothing yet.
fn outcome(answer: &TransactionAnswer) -> Option<Result<(), TransactionError>> {
    answer.wait(Some(Instant::now())).map(|outcome| outcome.expect("every call is answered"))
}

fn drop_error(outcome: Result<(), TransactionError>) -> Result<(), String> {
    outcome.map_err(|error| error.to_string())
}

/// The rows of a table, without its head if it has one.
fn rows<const N: usize>(table: &str) -> Vec<[&str; N]> {
    let rows = table.lines().filter(|line| !line.trim().is_empty());
    let rows = rows.map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        <[&str; N]>::try_from(cells).unwrap_or_else(|cells| panic!("{} cells: {line}", cells.len()))
    });
    rows.filter(|row| !matches!(row[0], "state" | "code")).collect()
}

const PAUSE: Duration = Duration::from_millis(100);
