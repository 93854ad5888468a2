//! The names of topics, each written down once and called by its number from then on.
//!
//! Whether a topic exists is not known here, only whether it could. Numbers are given out in order and never taken back.

use std::{collections::HashMap, fmt};

use super::sync::{Arc, Mutex, OnceLock};

/// A topic's number within one producer.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct TopicId(pub(crate) u32);

/// Names to numbers under a lock, numbers to names without one: every handle asks for a name, but a lane asks for a
/// number only when it meets a topic that it has not met lately.
pub(crate) struct Topics {
    ids: Mutex<HashMap<Arc<str>, TopicId>>,
    /// Segment `n` holds `FIRST_SEGMENT << n` names. What is written once stays where it is, so that a name can be
    /// borrowed as long as the producer lives.
    segments: [OnceLock<Segment>; SEGMENTS],
}

type Segment = Box<[OnceLock<Arc<str>>]>;

impl Topics {
    pub(crate) fn new() -> Self {
        Self { ids: Mutex::new(HashMap::new()), segments: [const { OnceLock::new() }; SEGMENTS] }
    }

    /// The number of a topic; gives it one if it has none. A name that no broker accepts gets none; the error is the rule
    /// that it breaks.
    ///
    /// Such a name must not come any further: brokers answer one request for all topics, and with it none of them.
    pub(crate) fn intern(&self, name: &str) -> Result<TopicId, &'static str> {
        let mut ids = self.ids.lock();
        if let Some(&id) = ids.get(name) {
            return Ok(id);
        }
        check(name)?;
        let id = TopicId(u32::try_from(ids.len()).expect("four billion topic names do not fit into memory"));
        let name: Arc<str> = name.into();
        let (segment, slot) = place(id);
        let names = self.segments[segment]
            .get_or_init(|| std::iter::repeat_with(OnceLock::new).take(FIRST_SEGMENT << segment).collect());
        names[slot].set(Arc::clone(&name)).expect("numbers are given out once, under the lock");
        ids.insert(name, id);
        Ok(id)
    }

    /// The name of a topic that [`intern`](Self::intern) gave a number to.
    pub(crate) fn name(&self, id: TopicId) -> &Arc<str> {
        let (segment, slot) = place(id);
        self.segments[segment]
            .get()
            .and_then(|names| names[slot].get())
            .expect("a topic has its number from this table")
    }
}

impl fmt::Debug for Topics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topics").finish_non_exhaustive()
    }
}

/// Kafka's rules for the names of topics.
fn check(name: &str) -> Result<(), &'static str> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() {
        Err("it is empty")
    } else if matches!(name, "." | "..") {
        Err("it stands for a directory")
    } else if !name.bytes().all(legal) {
        Err("it has other characters than ASCII letters, digits, '.', '_' and '-'")
    } else if name.len() > MAX_NAME {
        Err("it is longer than 249 characters")
    } else {
        Ok(())
    }
}

fn place(id: TopicId) -> (usize, usize) {
    let number = id.0 as usize + FIRST_SEGMENT;
    let segment = (number.ilog2() - FIRST_SEGMENT.ilog2()) as usize;
    (segment, number - (FIRST_SEGMENT << segment))
}

/// Brokers name directories after topics, and need some characters for themselves.
const MAX_NAME: usize = 249;

/// Most producers write to a handful of topics.
const FIRST_SEGMENT: usize = 16;

/// Enough for every `u32`: 16 + 32 + ... + 16 * 2^28 > 2^32.
const SEGMENTS: usize = 29;
