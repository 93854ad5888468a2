//! Which topics there are and who leads their partitions, and when to ask again.
//!
//! Knows no broker and no request: it is told what was asked and answered. An epoch never goes back: an answer from a
//! broker that is behind does not undo what a newer one said, unless the topic was created anew.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    error::ErrorCode,
    handoff::{PartitionView, Snapshot, TopicId, TopicView},
    wire::{
        metadata::{MetadataResponse, Topic as TopicAnswer},
        primitives::Uuid,
    },
};

pub(super) struct Metadata {
    max_age: Duration,
    max_idle: Duration,
    topics: BTreeMap<TopicId, Topic>,
    by_name: HashMap<Arc<str>, TopicId>,
    last_success: Option<Instant>,
    /// Since when an answer has been wanted and not had.
    wanted_since: Option<Instant>,
    not_before: Instant,
    failures: u32,
    /// Answers in a row that brought nothing new although something was missing.
    fruitless: u32,
    /// When the request went out whose answer is awaited.
    asked: Option<Instant>,
    /// Requests that were neither answered nor given up: that one, and those that were not waited for any longer.
    outstanding: u32,
    /// How long an answer is waited for before somebody else is asked as well.
    patience: Duration,
    /// Something was asked for that the request under way does not ask for.
    want_again: bool,
    pub(super) cluster_id: Option<String>,
    /// The cluster that was given up, until an answer says which one this is now.
    given_up: Option<String>,
    moved: bool,
    /// What stands in the way of an answer, for whoever waits for one.
    pub(super) last_error: Option<String>,
    /// That nobody lets us in: how often it was found so, and why the last time.
    rejection: (u64, String),
}

struct Topic {
    name: Arc<str>,
    id: Uuid,
    partitions: Vec<Partition>,
    error: Option<ErrorCode>,
    used: Instant,
    view: Option<Arc<TopicView>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Partition {
    leader: Option<i32>,
    /// The last one that was known and told.
    told: Option<i32>,
    epoch: i32,
    replicas: Vec<i32>,
    isr: Vec<i32>,
}

/// What the queues have to be told about a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leadership {
    pub(super) topic: TopicId,
    pub(super) partition: i32,
    pub(super) leader: Option<i32>,
    /// Who led it before, as far as was known, if that is somebody else.
    pub(super) moved_from: Option<i32>,
    pub(super) epoch: i32,
    pub(super) recreated: bool,
    /// The partition is among those that the topic has.
    pub(super) exists: bool,
}

impl Metadata {
    pub(super) fn new(now: Instant, max_age: Duration, max_idle: Duration, patience: Duration) -> Self {
        Self {
            max_age,
            max_idle,
            topics: BTreeMap::new(),
            by_name: HashMap::new(),
            last_success: None,
            wanted_since: None,
            not_before: now,
            failures: 0,
            fruitless: 0,
            asked: None,
            outstanding: 0,
            patience,
            want_again: false,
            cluster_id: None,
            given_up: None,
            moved: false,
            last_error: None,
            rejection: (0, String::new()),
        }
    }

    /// A caller uses this topic. An unknown one is asked for at once, whatever the backoff.
    pub(super) fn track(&mut self, now: Instant, id: TopicId, name: &Arc<str>) {
        if let Some(topic) = self.topics.get_mut(&id) {
            topic.used = now;
            if topic.view.as_ref().is_none_or(|v| v.count == 0 || v.error.is_some()) {
                self.want(now);
            }
            return;
        }
        let topic = Topic {
            name: Arc::clone(name),
            id: NO_ID,
            partitions: Vec::new(),
            error: None,
            used: now,
            view: None,
        };
        self.topics.insert(id, topic);
        self.by_name.insert(Arc::clone(name), id);
        self.fruitless = 0;
        self.failures = 0;
        self.not_before = now;
        self.want_newer(now);
    }

    /// Somebody needs to know more than is known: a partition beyond the last, a leader.
    pub(super) fn want(&mut self, now: Instant) {
        self.wanted_since.get_or_insert(now);
    }

    pub(super) fn tracks_anything(&self) -> bool {
        !self.topics.is_empty()
    }

    /// Forgets who leads what and which cluster this is, and asks anew. Topics and their partitions stay known.
    pub(super) fn start_again(&mut self, now: Instant) -> Vec<Leadership> {
        self.wanted_since = Some(now);
        self.given_up = self.cluster_id.take().or(self.given_up.take());
        let mut changes = Vec::new();
        for (id, topic) in &mut self.topics {
            topic.id = NO_ID;
            topic.view = None;
            for (index, partition) in topic.partitions.iter_mut().enumerate() {
                partition.leader = None;
                changes.push(partition.leadership(*id, index, false));
            }
        }
        changes
    }

    /// What an answer that is under way says may be outdated already: another one is needed after it.
    pub(super) fn want_newer(&mut self, now: Instant) {
        self.want(now);
        self.want_again |= self.asked.is_some();
    }

    /// When the next request is due; `None` while nothing is tracked.
    pub(super) fn next_due(&self) -> Option<Instant> {
        if let Some(asked) = self.asked {
            return Some(asked + self.patience);
        }
        if self.wanted_since.is_some() {
            return Some(self.not_before);
        }
        let expires = self.last_success? + self.max_age;
        Some(expires.max(self.not_before))
    }

    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let due = self.next_due().is_some_and(|at| at <= now);
        if due {
            self.want(now);
        }
        due
    }

    /// For how long the newest answer has been here.
    pub(super) fn age(&self, now: Instant) -> Option<Duration> {
        self.last_success.map(|at| now.saturating_duration_since(at))
    }

    /// For how long an answer has been wanted.
    pub(super) fn overdue(&self, now: Instant) -> Duration {
        self.wanted_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Whether an answer is awaited, so that another request would be for want of patience.
    pub(super) fn is_awaited(&self) -> bool {
        self.asked.is_some()
    }

    /// A request for every tracked topic goes out.
    pub(super) fn begin(&mut self, now: Instant) -> Vec<Arc<str>> {
        self.asked = Some(now);
        self.outstanding += 1;
        self.topics.values().map(|t| Arc::clone(&t.name)).collect()
    }

    /// Nobody lets us in: whoever waits need not wait any longer.
    pub(super) fn note_rejection(&mut self, reason: String) {
        self.rejection = (self.rejection.0 + 1, reason);
    }

    /// How often in a row a request failed.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// A request was not answered, or not with what was asked for. Unless the answer has come from elsewhere, or may
    /// still come, the next one waits for `pause`.
    pub(super) fn fail(&mut self, now: Instant, pause: Duration) {
        self.outstanding -= 1;
        if self.asked.is_some() && self.outstanding == 0 {
            self.postpone(now, pause);
        }
    }

    /// The next request waits for `pause`.
    pub(super) fn postpone(&mut self, now: Instant, pause: Duration) {
        self.asked = None;
        self.want(now);
        self.not_before = now + pause;
        self.failures = self.failures.saturating_add(1);
    }

    /// Takes in an answer. The next request waits for a `pause` that grows with the number of answers in a row that
    /// left something open. `keep`: topics that must stay although nobody used them for long.
    pub(super) fn apply(
        &mut self,
        now: Instant,
        answer: &MetadataResponse,
        epochs_are_reliable: bool,
        pause: impl Fn(u32) -> Duration,
        keep: impl Fn(TopicId) -> bool,
    ) -> Vec<Leadership> {
        self.asked = None;
        self.outstanding -= 1;
        self.failures = 0;
        self.last_success = Some(now);
        self.wanted_since = None;
        self.last_error = None;
        if let Some(cluster) = &answer.cluster_id {
            if let Some(before) = self.cluster_id.as_ref().filter(|before| *before != cluster) {
                log::warn!(
                    "the cluster was called {before} before and is called {cluster} now: do the brokers belong together?"
                );
            }
            self.moved |= self.given_up.take().is_some_and(|given_up| answer.cluster_id != Some(given_up));
            self.cluster_id.clone_from(&answer.cluster_id);
        }
        let mut changes = Vec::new();
        let mut incomplete = false;
        for topic in &answer.topics {
            let Some(id) = topic.name.as_deref().and_then(|name| self.by_name.get(name).copied()) else {
                continue;
            };
            let known = self.topics.get_mut(&id).expect("every name belongs to a tracked topic");
            incomplete |= known.apply(id, topic, epochs_are_reliable, &mut changes);
        }
        let (max_idle, by_name) = (self.max_idle, &mut self.by_name);
        self.topics.retain(|id, topic| {
            let stays = now.saturating_duration_since(topic.used) < max_idle || keep(*id);
            if !stays {
                by_name.remove(&topic.name);
            }
            stays
        });
        if incomplete {
            self.want(now);
            self.not_before = now + pause(self.fruitless);
            self.fruitless = self.fruitless.saturating_add(1);
        } else {
            self.fruitless = 0;
            self.not_before = now + pause(0);
        }
        if std::mem::take(&mut self.want_again) {
            self.want(now);
        }
        changes
    }

    /// Whether the cluster is another one than it was, since this was last asked.
    pub(super) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// A broker that refused a batch names the leader. Believed only if it is newer than what is known.
    pub(super) fn hint(
        &mut self,
        id: TopicId,
        partition: i32,
        leader: i32,
        epoch: i32,
    ) -> Option<Leadership> {
        let topic = self.topics.get_mut(&id)?;
        let known = topic.partitions.get_mut(usize::try_from(partition).ok()?)?;
        if epoch <= known.epoch {
            return None;
        }
        known.leader = Some(leader);
        known.epoch = epoch;
        let change = known.leadership(id, partition as usize, false);
        topic.view = None;
        Some(change)
    }

    /// The topic's id on the brokers; zero while it is not known.
    pub(super) fn topic_id(&self, id: TopicId) -> Uuid {
        self.topics.get(&id).map_or(NO_ID, |t| t.id)
    }

    /// As [`topic_id`](Self::topic_id), of a topic that may not be used here at all.
    pub(super) fn id_of(&self, name: &str) -> Uuid {
        self.by_name.get(name).map_or(NO_ID, |id| self.topic_id(*id))
    }

    /// What stands in the way of a topic: what the last answer says of it, or else why there was none.
    pub(super) fn obstacle(&self, id: TopicId) -> Option<String> {
        let of_topic = self.topics.get(&id).and_then(|t| t.error).map(|code| code.to_string());
        of_topic.or_else(|| self.last_error.clone())
    }

    /// What callers see.
    pub(super) fn snapshot(&mut self) -> Snapshot {
        let len = self.topics.last_key_value().map_or(0, |(id, _)| id.0 as usize + 1);
        let mut topics = vec![None; len];
        for (id, topic) in &mut self.topics {
            let view = topic.view.take().unwrap_or_else(|| Arc::new(topic.build_view()));
            topic.view = Some(Arc::clone(&view));
            topics[id.0 as usize] = Some(view);
        }
        Snapshot {
            topics,
            last_error: self.last_error.clone(),
            rejection: self.rejection.clone(),
            ..Snapshot::default()
        }
    }
}

impl Topic {
    /// Whether something is still missing afterwards.
    fn apply(
        &mut self,
        id: TopicId,
        answer: &TopicAnswer,
        epochs_are_reliable: bool,
        changes: &mut Vec<Leadership>,
    ) -> bool {
        self.view = None;
        if answer.error != ErrorCode::NONE {
            self.error = Some(answer.error);
            // Leaders are unknown; the partitions are remembered, a topic can be missing for a moment.
            for (index, partition) in self.partitions.iter_mut().enumerate() {
                partition.leader = None;
                changes.push(partition.leadership(id, index, false));
            }
            return answer.error.is_retriable();
        }
        if answer.partitions.is_empty() {
            return true;
        }
        self.error = None;
        // With an id that is not the one known, or where none is known any more, epochs may begin anew.
        let is_other = answer.topic_id != NO_ID && self.id != answer.topic_id;
        let recreated = is_other && self.id != NO_ID;
        self.id = answer.topic_id;
        let count = answer.partitions.iter().map(|p| p.index + 1).max().unwrap_or(0).clamp(0, MAX_PARTITIONS)
            as usize;
        for (index, gone) in self.partitions.iter_mut().enumerate().skip(count) {
            gone.leader = None;
            changes.push(Leadership { exists: false, ..gone.leadership(id, index, recreated) });
        }
        self.partitions.resize(count, Partition::UNKNOWN);
        let mut incomplete = false;
        for partition in &answer.partitions {
            incomplete |= partition.error.is_invalid_metadata() || partition.leader_id < 0;
            let Some(known) = usize::try_from(partition.index).ok().and_then(|i| self.partitions.get_mut(i))
            else {
                continue;
            };
            let outdated = epochs_are_reliable
                && !is_other
                && partition.leader_epoch >= 0
                && partition.leader_epoch < known.epoch;
            if !outdated {
                *known = Partition {
                    leader: (partition.leader_id >= 0).then_some(partition.leader_id),
                    told: known.told,
                    epoch: partition.leader_epoch,
                    replicas: partition.replicas.clone(),
                    isr: partition.isr.clone(),
                };
            }
            changes.push(known.leadership(id, partition.index as usize, recreated));
        }
        incomplete
    }

    fn build_view(&self) -> TopicView {
        let usable = self.error.is_none();
        let count = if usable { self.partitions.len() as i32 } else { 0 };
        let available = self
            .partitions
            .iter()
            .enumerate()
            .filter(|(_, p)| usable && p.leader.is_some())
            .map(|(i, _)| i as i32)
            .collect();
        let partitions = self
            .partitions
            .iter()
            .enumerate()
            .take(count as usize)
            .map(|(i, p)| PartitionView {
                index: i as i32,
                leader: p.leader,
                replicas: p.replicas.clone(),
                isr: p.isr.clone(),
            })
            .collect();
        TopicView { count, available, error: self.error, partitions }
    }
}

impl Partition {
    const UNKNOWN: Self = Self { leader: None, told: None, epoch: -1, replicas: Vec::new(), isr: Vec::new() };

    fn leadership(&mut self, topic: TopicId, index: usize, recreated: bool) -> Leadership {
        let (leader, epoch) = (self.leader, self.epoch);
        let moved_from = self.told.filter(|before| leader.is_some_and(|leader| leader != *before));
        self.told = leader.or(self.told);
        Leadership { topic, partition: index as i32, leader, moved_from, epoch, recreated, exists: true }
    }
}

const NO_ID: Uuid = [0; 16];

/// More partitions of one topic than any cluster has: what a broken answer may make us allocate.
const MAX_PARTITIONS: i32 = 200_000;
