//! What passes between the threads that send and the sender thread.
//!
//! ```text
//! caller threads                                             the sender thread
//!
//!   send --> lane (a lock, an open chunk) --push--> channel --try_recv--> batches (runs of cells) --> brokers
//!              ^  16 of them                ^                     |
//!              |                            `--------steal--------+
//!   buffers <--+------------------------------ pool <--recycle----'
//!
//!   get <-------- cell <-------------------------------------------------- settle
//!   waiting for memory, for room in the channel <----------------------- release
//!   waiting for metadata <---------------------------------------------- publish
//!
//!   whoever pushes or waits rings the bell, if it can matter: see the level
//! ```
//!
//! A producer has sixteen lanes; a thread always uses the same one. `send` locks its lane, appends the encoded
//! record to the lane's open chunk, gives out a cell for the handle, and unlocks. A chunk, of 32 KiB at most,
//! goes through the channel as one message. So a record costs no allocation, no message and no wake-up of its own.
//!
//! Batches, sockets, partitions' leaders, retries are not known here. Above this floor are the engine and its
//! shell; below it are only the public vocabulary (errors, records) and the wire form of a record.
//!
//! # Order
//!
//! *Records of one thread reach the sender thread in the order of its sends.* The thread's records lie in one lane,
//! in chunks, in the order of the sends. An open chunk is moved into the channel only under the lane's lock
//! ([`Hub::push`](hub::Hub::push)), whoever does it: the thread itself, the sender thread that steals it, a waiting
//! handle, flush, close. So the chunks of a lane enter the channel in the lane's order, and the channel keeps it.
//! There are no sequence numbers because there is nothing to sort.
//!
//! *What was sent before a flush or a close comes before it.* Both first go through all lanes, taking each lock: a
//! `send` that has returned has left its record there or in the channel. The flush is pushed after that; the close
//! is handed out once shut lanes and the channel have been found empty, in that order
//! ([`HubReceiver::try_recv`](receiver::HubReceiver::try_recv)).
//!
//! # No record is stranded
//!
//! Before it sleeps, the sender thread stores in `level` what must wake it, passes a `SeqCst` fence, and looks
//! again at everything the level is about ([`HubReceiver::doze`](receiver::HubReceiver::doze)). A caller does its
//! deed first and reads the level after it, with a fence in between. Of two threads that both write, pass a fence
//! and read what the other wrote, at least one sees the other's write: the sender thread sees the deed and does not
//! sleep, or the caller sees the level and rings. A ring before the sleep ends the sleep as it begins.
//!
//! | level | what wakes | deed | looked at again |
//! |---|---|---|---|
//! | 1 any record | a record | its append | all lanes, then the channel |
//! | 2 any chunk | a chunk | its push | whether the channel is empty |
//! | 3 many chunks | the eighth chunk | its push | the channel's length |
//! | 4 nothing but | a full channel | its push, or waiting for a place | its length and the waiters |
//! | every level | a waiting handle, a flush, a topic wished for, a wait for memory, a close | its entry in a list, a count, a flag | the list, the count, the flag |
//!
//! *Level 1 needs no fence a record.* The sender thread stores the level, then locks every lane in turn. A caller
//! reads the level inside its critical section, after its append. If that section came before the sender thread's,
//! the sender thread finds the record and takes it. If it came after, the lock hands over what the sender thread
//! had written before, so the caller sees the level, pushes and rings. A lane that is held just then is tried again
//! after a millisecond of sleep at most: its thread may have been preempted, and must not stall the others.
//!
//! *A lane never used need not be locked.* A caller counts its lane as used, passes a fence, and reads the level
//! later; the sender thread stores the level, passes a fence, and reads how many are used. Again one sees the
//! other.
//!
//! *Above level 1 a record may lie in its lane, and a chunk in the channel, without a ring.* Then something is open
//! or in flight, and the sleep ends after a [tick](hub::Hub::tick), 50 ms at most, after which the lanes are looked
//! into. What is missed costs a tick and never a record.
//!
//! # No waiter is forgotten
//!
//! | who waits | for | woken by | argument |
//! |---|---|---|---|
//! | `get`, `.await` | a cell | whoever settles it | [`cells`]: fence on both sides; a chunk or run that is dropped settles |
//! | `send` | memory, a place in the channel | whoever gives some back | [`budget`]: fence on both sides; idle memory is collected while anybody waits, see below |
//! | `send`, `partitions_for` | a snapshot | the next one published | [`snapshot`]: under one lock |
//! | `flush`, calls about transactions | their answer | the promise, also by being dropped | [`promise`]: under one lock |
//!
//! Whoever is about to wait rings first, at any level, so the sender thread is awake when it matters. Memory that
//! lanes have taken and not spent is collected while somebody waits: before every sleep if nothing is in flight, and
//! otherwise once a tick, since what is in flight brings memory back, and since a lane that loses its credit all the
//! time has its threads wait all the time. A lane that gets some afterwards either rings with the record it was for, or
//! is looked into after a tick. A place in the channel is never kept by a thread that waits for memory, because the
//! memory may be held by a chunk that needs the place.
//!
//! # A record is part of the open transaction, or refused
//!
//! Lanes let records in only while a transaction is open, if the producer makes transactions: see [`gates`].
//! Whoever ends one bars all lanes first, each under its lock, and only then pushes what they hold and the command: a
//! `send` that has returned lies before it, and one that comes later finds the lane barred. A call about transactions
//! waits for its answer as a flush does.
//!
//! # The end
//!
//! [`Hub::die`](hub::Hub::die) locks every lane, not only tries to, and shuts it: what was appended before is swept
//! up and fails, what comes after is refused. A flush that slips into the channel behind the last look sees that it
//! was the last and empties the channel itself. All waits are ended. A sender thread that panics does this by
//! dropping its [`HubReceiver`].
//!
//! # Checked
//!
//! `tests/handoff_model` compiles these files over a scheduler that tries thousands of interleavings; this is why
//! every lock, atomic, thread and clock comes from [`sync`], and why the tests of these files stand in a folder of
//! their own.

pub(crate) mod append;
pub(crate) mod budget;
pub(crate) mod callback;
pub(crate) mod cells;
pub(crate) mod chunk;
pub(crate) mod context;
mod gates;
pub(crate) mod hub;
mod lane;
pub(crate) mod promise;
pub(crate) mod receiver;
mod sizes;
pub(crate) mod snapshot;
pub(crate) mod spare;
pub(crate) mod sync;
pub(crate) mod topics;
pub(crate) mod transaction;

#[cfg(test)]
mod tests;

pub(crate) use self::{
    append::{Entry, Partition},
    callback::{Callback, PendingCallback, fail_here},
    cells::{Cells, Run, Settling},
    chunk::{Chunk, RecordView, charge},
    context::{CallbackScope, End, Patience},
    hub::{Bell, Command, Hub, HubConfig, Level},
    promise::{Awaited, Promise},
    receiver::HubReceiver,
    sizes::LANES,
    snapshot::{PartitionView, Snapshot, TopicView},
    topics::TopicId,
    transaction::{TransactionCall, TransactionReply, TransactionRequest},
};
