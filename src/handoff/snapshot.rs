//! What the sender thread knows about the cluster, published for the threads that send.
//!
//! A snapshot is never changed: a new one takes its place, with a higher version. Who asks for what, and when, is not
//! decided here.

use std::time::Instant;

use super::{
    sync::{Arc, AtomicU64, Condvar, Mutex, Ordering},
    topics::TopicId,
};
use crate::error::ErrorCode;

/// The cluster as it was last seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// Set by [`Published::publish`]; the empty snapshot that there is first has version 0.
    pub(crate) version: u64,
    /// Indexed by [`TopicId`]; `None`, and what lies beyond the end, was never answered.
    pub(crate) topics: Vec<Option<Arc<TopicView>>>,
    /// Why no newer metadata can be had at the moment: `no connection to 127.0.0.1:1 (bootstrap.servers): cannot connect: connection refused`.
    pub(crate) last_error: Option<String>,
    /// How often it was found that no broker lets this client in, and why the last time. Who waits for metadata gives up
    /// when the number grows: time does not help.
    pub(crate) rejection: (u64, String),
}

/// A topic as it was last seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct TopicView {
    /// How many partitions there are; 0 if that is not known.
    pub(crate) count: i32,
    /// The partitions whose leader is known, in ascending order.
    pub(crate) available: Vec<i32>,
    /// What the last answer said about the topic instead.
    pub(crate) error: Option<ErrorCode>,
    /// In ascending order of their index.
    pub(crate) partitions: Vec<PartitionView>,
}

/// A partition as it was last seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct PartitionView {
    pub(crate) index: i32,
    /// The node that leads it, if one is known.
    pub(crate) leader: Option<i32>,
    pub(crate) replicas: Vec<i32>,
    pub(crate) isr: Vec<i32>,
}

/// The place where the snapshot lies.
pub(crate) struct Published {
    /// The version of `current`, to be compared without a lock by every record.
    version: AtomicU64,
    current: Mutex<Current>,
    changed: Condvar,
}

struct Current {
    snapshot: Arc<Snapshot>,
    ended: bool,
}

impl Snapshot {
    pub(crate) fn topic(&self, id: TopicId) -> Option<&Arc<TopicView>> {
        self.topics.get(id.0 as usize)?.as_ref()
    }
}

impl Published {
    pub(crate) fn new() -> Self {
        Self {
            version: AtomicU64::new(0),
            current: Mutex::new(Current { snapshot: Arc::default(), ended: false }),
            changed: Condvar::new(),
        }
    }

    /// Puts a snapshot in the place of the last one, numbers it, and wakes who waits for one.
    pub(crate) fn publish(&self, mut snapshot: Snapshot) {
        let mut current = self.current.lock();
        snapshot.version = current.snapshot.version + 1;
        let version = snapshot.version;
        let last = std::mem::replace(&mut current.snapshot, Arc::new(snapshot));
        // Inside the lock: whoever has seen the snapshot sees its version as well.
        self.version.store(version, Ordering::Release);
        drop(current);
        self.changed.notify_all();
        drop(last);
    }

    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub(crate) fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.lock().snapshot)
    }

    /// Waits for a version above `seen`. False if `deadline` passed before, or if there will be none.
    pub(crate) fn wait(&self, seen: u64, deadline: Option<Instant>) -> bool {
        let mut current = self.current.lock();
        loop {
            if current.snapshot.version > seen {
                return true;
            }
            if current.ended {
                return false;
            }
            let (guard, in_time) = self.changed.wait_until(current, deadline);
            current = guard;
            if !in_time {
                return current.snapshot.version > seen;
            }
        }
    }

    /// Ends every wait, now and later.
    pub(crate) fn end(&self) {
        self.current.lock().ended = true;
        self.changed.notify_all();
    }
}
