//! What the threads that share a lane keep under its lock: the open chunk, and all that a record needs without asking
//! anybody else.
//!
//! The channel, the bell and the sender thread are not known here. A thread uses one lane all its life, so the order
//! of a lane is the order of its threads' sends.

use std::mem;

use super::{
    cells::Cells,
    chunk::Chunk,
    sizes::CELLS,
    snapshot::{Published, Snapshot},
    sync::{Arc, now, wall_clock},
    topics::{TopicId, Topics},
};
use crate::error::ErrorCode;

#[derive(Default)]
pub(super) struct Lane {
    /// No record is let in any more. Read and changed under the lane's lock, so that each record is before or
    /// behind.
    pub(super) shut: bool,
    /// No record is let in for the time being: the producer is transactional, and no transaction takes any.
    pub(super) barred: bool,
    /// The records that were not pushed yet; never an empty chunk.
    pub(super) open: Option<Chunk>,
    /// Memory taken from the budget and not spent.
    pub(super) credit: usize,
    /// The cells for records to come, from `next_cell` on. A chunk that is small leaves the others to the next one.
    cells: Option<Arc<Cells>>,
    next_cell: u16,
    topics: Familiar,
    clock: Clock,
}

impl Lane {
    /// The topic's number, and how many partitions it has: 0 if no record can be accepted for it now. An error is the
    /// rule that its name breaks.
    #[inline]
    pub(super) fn know(
        &mut self,
        topic: &str,
        topics: &Topics,
        published: &Published,
    ) -> Result<(TopicId, i32), &'static str> {
        self.topics.look_up(topic, topics, published)
    }

    /// The open chunk. If there is none, one is begun: with a buffer from `buffer` and, if the cells are used up, new
    /// ones from `cells`.
    #[inline]
    pub(super) fn chunk(
        &mut self,
        buffer: impl FnOnce() -> Vec<u8>,
        cells: impl FnOnce() -> Arc<Cells>,
    ) -> &mut Chunk {
        let (own, next) = (&mut self.cells, &mut self.next_cell);
        let clock = &mut self.clock;
        self.open.get_or_insert_with(|| {
            clock.forget();
            if usize::from(*next) == CELLS {
                *own = None;
            }
            let cells = own.get_or_insert_with(|| {
                *next = 0;
                cells()
            });
            Chunk::new(buffer(), Arc::clone(cells), *next, now())
        })
    }

    /// Counts the cell that the open chunk has given out.
    #[inline]
    pub(super) fn count_cell(&mut self) {
        self.next_cell += 1;
    }

    /// The timestamp of a record that has none of its own.
    #[inline]
    pub(super) fn stamp(&mut self) -> i64 {
        self.clock.stamp(wall_clock)
    }

    /// What is left in the lane when nothing is appended any more; to be dropped without its lock.
    pub(super) fn shut(&mut self) -> (Option<Chunk>, Option<Arc<Cells>>) {
        self.shut = true;
        (self.open.take(), self.cells.take())
    }
}

/// How many partitions a record can choose from; 0 if it must not be accepted now.
pub(super) fn usable_count(snapshot: &Snapshot, topic: TopicId) -> i32 {
    match snapshot.topic(topic) {
        Some(view) if !view.error.is_some_and(refuses) => view.count.max(0),
        _ => 0,
    }
}

/// Whether the cluster refuses the topic in a way that waiting does not change.
pub(super) fn refuses(error: ErrorCode) -> bool {
    matches!(error, ErrorCode::INVALID_TOPIC_EXCEPTION | ErrorCode::TOPIC_AUTHORIZATION_FAILED)
}

/// The topics that the lane has met, as one snapshot has them.
///
/// A name chooses two neighbouring places, and its topic lies in one of them.
#[derive(Default)]
pub(super) struct Familiar {
    version: u64,
    /// None at all, or a power of two.
    places: Vec<Option<Topic>>,
    known: usize,
    /// The place of the topic that the last record went to.
    last: usize,
}

struct Topic {
    name: Arc<str>,
    id: TopicId,
    /// See [`usable_count`].
    count: i32,
}

impl Familiar {
    #[inline]
    pub(super) fn look_up(
        &mut self,
        name: &str,
        topics: &Topics,
        published: &Published,
    ) -> Result<(TopicId, i32), &'static str> {
        if published.version() != self.version {
            self.renew(&published.current());
        }
        if self.at(self.last, name).is_none() {
            self.last = self.find(name, topics, published)?;
        }
        let topic = self.places[self.last].as_ref().expect("looked at or found above");
        Ok((topic.id, topic.count))
    }

    /// The place of a topic.
    fn find(&mut self, name: &str, topics: &Topics, published: &Published) -> Result<usize, &'static str> {
        let first = self.first_place(name);
        for place in [first, first + 1] {
            if self.at(place, name).is_some() {
                return Ok(place);
            }
        }
        self.learn(name, topics, published)
    }

    #[cold]
    fn learn(&mut self, name: &str, topics: &Topics, published: &Published) -> Result<usize, &'static str> {
        let id = topics.intern(name)?;
        let snapshot = published.current();
        if snapshot.version != self.version {
            self.renew(&snapshot);
        }
        let topic = Topic { name: Arc::clone(topics.name(id)), id, count: usable_count(&snapshot, id) };
        if self.places.is_empty() {
            self.places.resize_with(FEWEST_PLACES, || None);
        }
        // More places part what has met in two of them; unless names are alike just where they are looked at.
        while self.is_taken(name) && self.places.len() < MOST_PLACES && self.known * 4 >= self.places.len() {
            self.grow();
        }
        if self.is_taken(name) {
            // Whoever goes round more topics than there are places for pays for it with a look-up a record.
            let first = self.first_place(name);
            self.places[first] = None;
            self.known -= 1;
        }
        Ok(self.put(topic))
    }

    fn at(&self, place: usize, name: &str) -> Option<&Topic> {
        self.places.get(place)?.as_ref().filter(|topic| *topic.name == *name)
    }

    /// Whether both places of a name have other topics.
    fn is_taken(&self, name: &str) -> bool {
        let first = self.first_place(name);
        self.places[first].is_some() && self.places[first + 1].is_some()
    }

    /// Puts a topic into a place that is not taken.
    fn put(&mut self, topic: Topic) -> usize {
        let first = self.first_place(&topic.name);
        let place = first + usize::from(self.places[first].is_some());
        debug_assert!(self.places[place].is_none());
        self.places[place] = Some(topic);
        self.known += 1;
        place
    }

    /// What shared two places gets four.
    fn grow(&mut self) {
        let len = self.places.len() * 2;
        let topics = mem::take(&mut self.places);
        self.places.resize_with(len, || None);
        self.known = 0;
        for topic in topics.into_iter().flatten() {
            self.put(topic);
        }
    }

    /// The first of the two places for a name: by both ends of it, since that is where names differ.
    fn first_place(&self, name: &str) -> usize {
        let name = name.as_bytes();
        let short = || name.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
        let begin = name.first_chunk().map_or_else(short, |chunk| u64::from_le_bytes(*chunk));
        let end = name.last_chunk().map_or(name.len() as u64, |chunk| u64::from_le_bytes(*chunk));
        let spread = (begin ^ end.rotate_left(32)).wrapping_mul(SPREAD);
        let pairs = (self.places.len() / 2).max(1);
        // The upper bits: twice the pairs mean one bit more, and each pair is parted into two.
        (spread.checked_shr(u64::BITS - pairs.trailing_zeros()).unwrap_or(0) as usize) * 2
    }

    #[cold]
    fn renew(&mut self, snapshot: &Snapshot) {
        for topic in self.places.iter_mut().flatten() {
            topic.count = usable_count(snapshot, topic.id);
        }
        self.version = snapshot.version;
    }
}

/// The clock, read as seldom as the promise at [`ProducerRecord::timestamp`](crate::ProducerRecord::timestamp)
/// allows: on the first stamp of a chunk and then on every `period`-th, which doubles while reads fall into the
/// same millisecond and halves when they do not. Reading it for each record takes a third of all the time a record
/// takes.
#[derive(Default)]
pub(super) struct Clock {
    last: i64,
    /// Stamps until the clock is read again.
    left: u8,
    /// `<= LONGEST_PERIOD`
    period: u8,
}

impl Clock {
    /// The next stamp reads the clock: between chunks any time may have passed.
    pub(super) fn forget(&mut self) {
        self.left = 0;
    }

    #[inline]
    pub(super) fn stamp(&mut self, read: impl FnOnce() -> i64) -> i64 {
        if self.left > 0 {
            self.left -= 1;
            return self.last;
        }
        let now = read();
        self.period =
            if now == self.last { (self.period * 2).min(LONGEST_PERIOD) } else { self.period / 2 }.max(1);
        self.left = self.period - 1;
        self.last = now;
        now
    }
}

/// Longer periods saved nothing that could be measured, and this many records is what can be stamped too early after
/// a pause.
const LONGEST_PERIOD: u8 = 16;

/// Most producers write to a handful of topics.
const FEWEST_PLACES: usize = 8;

/// 24 KiB in each lane that meets so many topics. Others are looked up in the table that all lanes share.
const MOST_PLACES: usize = 1024;

/// An odd number with bits everywhere: 2^64 divided by the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
