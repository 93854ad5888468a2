//! Where handles find out what became of their records.
//!
//! Who sends what, and where chunks and batches are, is not known here. A cell is given to one record, settled
//! once, and never used again. From `send` until it is settled it belongs to exactly one owner: the record's chunk,
//! then a [`Run`] in the record's batch; either settles on its drop what is not settled yet, so that no handle
//! waits for ever.
//!
//! # No waiter is forgotten
//!
//! A waiter registers, then looks at the cell; a settler writes the cell, then looks for registered waiters;
//! between the two steps either has a `SeqCst` fence, so at least one of them sees the other. The settler's fence
//! is one for all the cells that it settles at a time ([`Settling::finish`]), not one each.

use std::{fmt, mem, task::Waker, time::Duration};

use super::{
    callback::PendingCallback,
    context::{CallbackScope, End},
    sizes::CELLS,
    sync::{Arc, AtomicU64, AtomicUsize, Mutex, Ordering, Thread, Weak, current, fence},
    topics::{TopicId, Topics},
};
use crate::error::{DeliveryError, DeliveryFailure, guarded};

/// The cells of up to 256 records in one allocation: a record costs a 256th of one, and a kept handle keeps 4 KiB.
pub(crate) struct Cells {
    cells: [Cell; CELLS],
    /// The lane whose records these are. Another thread than the sender of a record may wait for it.
    lane: u8,
    topics: Arc<Topics>,
    /// Weak, because the hub holds its lanes and a lane its cells. With the hub gone there is nothing to hurry.
    home: Weak<dyn Home>,
    /// The length of `waiters`; changed under its lock.
    waiting: AtomicUsize,
    waiters: Mutex<Vec<Waiter>>,
    told: Mutex<Told>,
}

/// What cells and chunks ask of the hub they come from.
pub(crate) trait Home: Send + Sync {
    /// Somebody waits for the record of this cell: whatever holds it back in order to collect more ends now.
    fn hurry(&self, cells: &Arc<Cells>, cell: u16);
    /// Why the sender thread ended, if it did.
    fn end(&self) -> Option<&End>;
    /// The process that made the producer.
    fn creator(&self) -> u32;
    /// The callbacks of records that failed before they came into a batch; to be run before the handles are released.
    fn fail_callbacks(&self, callbacks: Vec<PendingCallback>, error: &DeliveryError);
    /// Memory of records that came into no batch.
    fn release(&self, bytes: usize);
}

/// What became of a record.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Acknowledged {
        /// -1 if no broker said.
        offset: i64,
        /// The broker's time, if the topic goes by that.
        append_time: Option<i64>,
    },
    Failed(DeliveryError),
}

/// The cells, among those of one [`Cells`], of records that follow each other in one batch. Dropped without being
/// settled, it fails them.
pub(crate) struct Run {
    /// `None` once settled.
    cells: Option<Arc<Cells>>,
    set: CellSet,
    /// The last of the set.
    last: u16,
}

/// Settles cells. The waiters are woken by [`finish`](Self::finish), which dropping does as well.
#[derive(Default)]
pub(crate) struct Settling {
    /// Those with cells settled since the last `finish`.
    touched: Vec<Arc<Cells>>,
    /// Empty between calls; kept for its memory.
    woken: Vec<Waiter>,
}

/// A set of cells of one [`Cells`], in ascending order.
#[derive(Clone, Copy, Default)]
pub(crate) struct CellSet {
    words: [u64; 4],
}

/// One cell: 16 bytes.
struct Cell {
    /// 0 while pending; see [`FAILED`], [`APPEND_TIME`] and [`encode`].
    word: AtomicU64,
    /// `topic << 32 | partition`, or [`NOWHERE`]. Written by the sender thread only.
    place: AtomicU64,
}

/// What a word cannot hold. Written before the words that refer to it.
#[derive(Default)]
struct Told {
    failures: Vec<(CellSet, DeliveryError)>,
    append_times: Vec<(CellSet, i64)>,
}

struct Waiter {
    cell: u16,
    how: Wake,
}

enum Wake {
    Thread(Thread),
    Waker(Waker),
}

impl Cells {
    pub(crate) fn new(lane: u8, topics: Arc<Topics>, home: Weak<dyn Home>) -> Arc<Self> {
        Arc::new(Self {
            cells: [const { Cell { word: AtomicU64::new(PENDING), place: AtomicU64::new(NOWHERE) } }; CELLS],
            lane,
            topics,
            home,
            waiting: AtomicUsize::new(0),
            waiters: Mutex::new(Vec::new()),
            told: Mutex::new(Told::default()),
        })
    }

    pub(crate) fn lane(&self) -> u8 {
        self.lane
    }

    pub(crate) fn topics(&self) -> &Topics {
        &self.topics
    }

    pub(crate) fn home(&self) -> Option<Arc<dyn Home>> {
        self.home.upgrade()
    }

    #[inline]
    pub(crate) fn is_pending(&self, cell: u16) -> bool {
        self.at(cell).word.load(Ordering::Acquire) == PENDING
    }

    /// The partition whose batch the record lies in, once it lies in one.
    pub(crate) fn place(&self, cell: u16) -> Option<(TopicId, i32)> {
        // Relaxed: the sender thread wrote it, and everybody else reads it after the word.
        let place = self.at(cell).place.load(Ordering::Relaxed);
        (place != NOWHERE).then_some((TopicId((place >> 32) as u32), place as u32 as i32))
    }

    /// The record goes to this partition. Called by the sender thread, before the cell is settled.
    #[inline]
    pub(crate) fn set_place(&self, cell: u16, topic: TopicId, partition: i32) {
        debug_assert!(partition >= 0);
        self.at(cell).place.store(u64::from(topic.0) << 32 | u64::from(partition as u32), Ordering::Relaxed);
    }

    /// What became of the record, if that is settled.
    pub(crate) fn outcome(&self, cell: u16) -> Option<Outcome> {
        let word = self.at(cell).word.load(Ordering::Acquire);
        if word == PENDING {
            return None;
        }
        if word & FAILED != 0 {
            let told = self.told.lock();
            let (_, error) = told
                .failures
                .iter()
                .find(|(set, _)| set.contains(cell))
                .expect("a failure is told before its cell says so");
            return Some(Outcome::Failed(error.clone()));
        }
        let append_time = (word & APPEND_TIME != 0).then(|| {
            let told = self.told.lock();
            let (_, time) = told
                .append_times
                .iter()
                .find(|(set, _)| set.contains(cell))
                .expect("an append time is told before its cell says so");
            *time
        });
        Some(Outcome::Acknowledged { offset: decode(word & !APPEND_TIME), append_time })
    }

    /// Registers the calling thread: it is unparked when the cell is settled. The caller looks at the cell once more
    /// before it parks.
    pub(crate) fn register_thread(&self, cell: u16) -> Registered<'_> {
        let mut waiters = self.waiters.lock();
        waiters.push(Waiter { cell, how: Wake::Thread(current()) });
        self.waiting.store(waiters.len(), Ordering::Relaxed);
        drop(waiters);
        fence(Ordering::SeqCst);
        Registered { cells: self, cell }
    }

    /// Registers a waker, in the place of the one that the same handle had registered before. The caller looks at the
    /// cell once more.
    pub(crate) fn register_waker(&self, cell: u16, waker: Waker) {
        let how = Wake::Waker(waker);
        let mut waiters = self.waiters.lock();
        // A handle is not cloned, so there is one future for a cell.
        let last = match waiters.iter_mut().find(|waiter| waiter.cell == cell && waiter.how.is_waker()) {
            Some(waiter) => Some(mem::replace(&mut waiter.how, how)),
            None => {
                waiters.push(Waiter { cell, how });
                self.waiting.store(waiters.len(), Ordering::Relaxed);
                None
            }
        };
        drop(waiters);
        fence(Ordering::SeqCst);
        // Here and not before: what a waker does when it is dropped is not ours, and must not meet our lock.
        drop(last);
    }

    /// Takes back what [`register_waker`](Self::register_waker) registered, if it was not used up.
    pub(crate) fn unregister_waker(&self, cell: u16) {
        drop(self.unregister(|waiter| waiter.cell == cell && waiter.how.is_waker()));
    }

    fn unregister(&self, which: impl FnMut(&Waiter) -> bool) -> Option<Waiter> {
        let mut waiters = self.waiters.lock();
        let gone = waiters.iter().position(which).map(|place| waiters.swap_remove(place));
        self.waiting.store(waiters.len(), Ordering::Relaxed);
        gone
    }

    /// Moves the waiters of settled cells to `woken`.
    fn collect_woken(&self, woken: &mut Vec<Waiter>) {
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut waiters = self.waiters.lock();
        woken.extend(waiters.extract_if(.., |waiter| !self.is_pending(waiter.cell)));
        self.waiting.store(waiters.len(), Ordering::Relaxed);
    }

    fn settle(&self, cell: u16, word: u64) {
        let target = &self.at(cell).word;
        debug_assert_eq!(target.load(Ordering::Relaxed), PENDING, "cell {cell} is settled twice");
        target.store(word, Ordering::Release);
    }

    #[inline]
    fn at(&self, cell: u16) -> &Cell {
        &self.cells[usize::from(cell)]
    }
}

impl fmt::Debug for Cells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cells").field("lane", &self.lane).finish_non_exhaustive()
    }
}

/// A thread that waits for a cell, until it is dropped.
#[must_use]
pub(crate) struct Registered<'a> {
    cells: &'a Cells,
    cell: u16,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        let me = current().id();
        drop(self.cells.unregister(|waiter| {
            waiter.cell == self.cell && matches!(&waiter.how, Wake::Thread(thread) if thread.id() == me)
        }));
    }
}

impl Run {
    /// A run of one record.
    #[inline]
    pub(crate) fn start(cells: &Arc<Cells>, cell: u16) -> Self {
        let mut set = CellSet::default();
        set.insert(cell);
        Self { cells: Some(Arc::clone(cells)), set, last: cell }
    }

    /// Takes in the record that follows in the batch, if its cell is of the same [`Cells`] and behind the others;
    /// there may be cells of other batches between them. False if it needs a run of its own.
    #[inline]
    pub(crate) fn extend(&mut self, cells: &Arc<Cells>, cell: u16) -> bool {
        let same = self.cells.as_ref().is_some_and(|own| Arc::ptr_eq(own, cells));
        if !same || self.last >= cell {
            return false;
        }
        self.set.insert(cell);
        self.last = cell;
        true
    }

    /// How many records it covers.
    pub(crate) fn len(&self) -> usize {
        self.set.len()
    }

    /// Whether it covers this cell.
    pub(crate) fn contains(&self, cells: &Arc<Cells>, cell: u16) -> bool {
        self.cells.as_ref().is_some_and(|own| Arc::ptr_eq(own, cells)) && self.set.contains(cell)
    }

    /// Keeps the first `at` records and returns the others as a run of their own, for a batch that is split.
    pub(crate) fn split_off(&mut self, at: usize) -> Self {
        let mut back = CellSet::default();
        for cell in self.set.iter().skip(at) {
            back.insert(cell);
        }
        for (front, back) in self.set.words.iter_mut().zip(back.words) {
            *front &= !back;
        }
        let last = std::mem::replace(&mut self.last, self.set.last().unwrap_or(0));
        Self { cells: self.cells.clone(), set: back, last }
    }

    /// A run for each of its records, in their order.
    pub(crate) fn into_singles(self) -> impl Iterator<Item = Self> {
        let mut rest = Some(self);
        std::iter::from_fn(move || {
            let mut run = rest.take()?;
            if run.len() > 1 {
                rest = Some(run.split_off(1));
            }
            Some(run)
        })
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let Some(cells) = self.cells.take() else { return };
        let error = abandoned(&cells, self.set.first().and_then(|cell| cells.place(cell)), Stage::Batched);
        Settling::default().fail_set(cells, self.set, error);
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Settling {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The broker has the records of `run`: the first of them at `base_offset`, the others behind it.
    ///
    /// Without an offset (`acks=0`, or a batch that the broker had already) it is acknowledged all the same.
    pub(crate) fn acknowledge(&mut self, mut run: Run, base_offset: Option<i64>, append_time: Option<i64>) {
        let Some(cells) = run.cells.take() else { return };
        let mut flags = 0;
        if let Some(time) = append_time {
            cells.told.lock().append_times.push((run.set, time));
            flags = APPEND_TIME;
        }
        for (index, cell) in run.set.iter().enumerate() {
            let offset = base_offset.map(|base| base.saturating_add(index as i64));
            cells.settle(cell, encode(offset) | flags);
        }
        self.touch(cells);
    }

    /// The records of `run` are lost, or so it must be assumed.
    pub(crate) fn fail(&mut self, mut run: Run, error: DeliveryError) {
        if let Some(cells) = run.cells.take() {
            self.fail_set(cells, run.set, error);
        }
    }

    /// Makes what was settled known to those who wait for it; true if there were any.
    pub(crate) fn finish(&mut self) -> bool {
        if self.touched.is_empty() {
            return false;
        }
        fence(Ordering::SeqCst);
        for cells in self.touched.drain(..) {
            cells.collect_woken(&mut self.woken);
        }
        let any = !self.woken.is_empty();
        for waiter in self.woken.drain(..) {
            waiter.how.wake();
        }
        any
    }

    pub(super) fn fail_set(&mut self, cells: Arc<Cells>, set: CellSet, error: DeliveryError) {
        cells.told.lock().failures.push((set, error));
        for cell in set.iter() {
            cells.settle(cell, FAILED);
        }
        self.touch(cells);
    }

    fn touch(&mut self, cells: Arc<Cells>) {
        if !self.touched.last().is_some_and(|last| Arc::ptr_eq(last, &cells)) {
            self.touched.push(cells);
        }
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        self.finish();
    }
}

impl CellSet {
    #[inline]
    pub(crate) fn insert(&mut self, cell: u16) {
        self.words[usize::from(cell / 64)] |= 1 << (cell % 64);
    }

    pub(crate) fn contains(&self, cell: u16) -> bool {
        self.words[usize::from(cell / 64)] & 1 << (cell % 64) != 0
    }

    pub(crate) fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    fn first(&self) -> Option<u16> {
        self.iter().next()
    }

    #[inline]
    fn last(&self) -> Option<u16> {
        let (index, word) = self.words.iter().enumerate().rev().find(|&(_, &word)| word != 0)?;
        Some(index as u16 * 64 + word.ilog2() as u16)
    }

    fn iter(&self) -> impl Iterator<Item = u16> + use<> {
        let words = self.words;
        (0..4_u16).flat_map(move |index| {
            let mut word = words[usize::from(index)];
            std::iter::from_fn(move || {
                let bit = (word != 0).then(|| word.trailing_zeros() as u16)?;
                word &= word - 1;
                Some(index * 64 + bit)
            })
        })
    }
}

impl Wake {
    fn is_waker(&self) -> bool {
        matches!(self, Self::Waker(_))
    }

    fn wake(self) {
        match self {
            Self::Thread(thread) => thread.unpark(),
            // The only foreign code on the sender thread. If it panics its task is not woken, which is its own doing. An
            // executor may run the task, or drop it, right here: what would wait for this thread must be told.
            Self::Waker(waker) => {
                let _scope = CallbackScope::enter();
                let _ = guarded(|| waker.wake());
            }
        }
    }
}

/// How far a record came that nobody settled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// It did not reach a batch, and so no broker.
    Unbatched,
    /// It was in a batch, and nobody is left to say whether that was sent.
    Batched,
}

/// What the handle of a record says whose chunk or batch was dropped.
pub(super) fn abandoned(cells: &Cells, place: Option<(TopicId, i32)>, stage: Stage) -> DeliveryError {
    let home = cells.home();
    let end = home.as_deref().and_then(Home::end).cloned().unwrap_or_else(|| "the batch was dropped".into());
    DeliveryError::new(DeliveryFailure {
        cause: end.delivery_cause(),
        topic: place.map_or_else(|| "".into(), |(topic, _)| Arc::clone(cells.topics.name(topic))),
        partition: place.map_or(-1, |(_, partition)| partition),
        broker: None,
        attempts: 0,
        elapsed: Duration::ZERO,
        may_have_been_written: stage == Stage::Batched,
        last_attempt: None,
    })
}

fn encode(offset: Option<i64>) -> u64 {
    match offset {
        // Clamped: 2^62 records are more than any partition has held, and must not be mistaken for flags.
        Some(offset @ 0..) => (offset as u64).min(APPEND_TIME - 1 - OFFSET_BIAS) + OFFSET_BIAS,
        _ => WITHOUT_OFFSET,
    }
}

fn decode(word: u64) -> i64 {
    if word == WITHOUT_OFFSET { -1 } else { (word - OFFSET_BIAS) as i64 }
}

const PENDING: u64 = 0;
const WITHOUT_OFFSET: u64 = 1;
const OFFSET_BIAS: u64 = 2;
/// In a word: what the broker said stands in [`Told`].
const FAILED: u64 = 1 << 63;
/// In a word: the broker's time of appending stands in [`Told`].
const APPEND_TIME: u64 = 1 << 62;
/// In a place: none yet.
const NOWHERE: u64 = u64::MAX;
