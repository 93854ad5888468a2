//! What the threads that share a lane keep under its lock: the open chunk, and all that a record needs without asking
//! anybody else.
//!
//! The channel, the bell and the sender thread are not known here. A thread uses one lane all its life, so the order
//! of a lane is the order of its threads' sends.

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

/// The topics that the lane has met last, as one snapshot has them.
#[derive(Default)]
struct Familiar {
    version: u64,
    topics: Vec<Topic>,
    /// The one that the last record went to.
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
    fn look_up(
        &mut self,
        name: &str,
        topics: &Topics,
        published: &Published,
    ) -> Result<(TopicId, i32), &'static str> {
        if published.version() != self.version {
            self.renew(&published.current());
        }
        match self.topics.get(self.last) {
            Some(topic) if *topic.name == *name => Ok((topic.id, topic.count)),
            _ => self.find_or_learn(name, topics, published),
        }
    }

    fn find_or_learn(
        &mut self,
        name: &str,
        topics: &Topics,
        published: &Published,
    ) -> Result<(TopicId, i32), &'static str> {
        if let Some(place) = self.topics.iter().position(|topic| *topic.name == *name) {
            self.last = place;
        } else {
            let id = topics.intern(name)?;
            let snapshot = published.current();
            if snapshot.version != self.version {
                self.renew(&snapshot);
            }
            let topic = Topic { name: Arc::clone(topics.name(id)), id, count: usable_count(&snapshot, id) };
            if self.topics.len() < FAMILIAR {
                self.last = self.topics.len();
                self.topics.push(topic);
            } else {
                // In turn: whoever goes round more topics than this pays for it with a look-up a record.
                self.last = (self.last + 1) % FAMILIAR;
                self.topics[self.last] = topic;
            }
        }
        let topic = &self.topics[self.last];
        Ok((topic.id, topic.count))
    }

    #[cold]
    fn renew(&mut self, snapshot: &Snapshot) {
        for topic in &mut self.topics {
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

/// How many topics a lane tells apart without the table that all lanes share.
const FAMILIAR: usize = 8;
