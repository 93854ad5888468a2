//! The built-in partitioner for records without a key (KIP-794): stay with one partition for about a batch, then move
//! on, preferring partitions with short queues and, if asked, leaders in the client's rack (KIP-1123).

/// What is known of one partition when a choice is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) partition: i32,
    pub(super) queued: usize,
    /// Its leader is known.
    pub(super) available: bool,
    /// Its leader has taken nothing for longer than `partitioner.availability.timeout.ms`, and records wait for it.
    pub(super) stuck: bool,
    pub(super) in_rack: bool,
}

#[derive(Debug)]
pub(super) struct Sticky {
    current: Option<i32>,
    produced: usize,
}

impl Sticky {
    pub(super) fn new() -> Self {
        Self { current: None, produced: 0 }
    }

    pub(super) fn current(&self) -> Option<i32> {
        self.current
    }

    /// The next record goes elsewhere.
    pub(super) fn leave(&mut self) {
        self.current = None;
    }

    pub(super) fn choose(&mut self, partition: i32) {
        self.current = Some(partition);
        self.produced = 0;
    }

    /// Counts what was appended to the current partition, and leaves it if that was enough; says whether it has.
    ///
    /// A partition is left at the end of a batch once `batch.size` bytes went to it. Leaving earlier would cut batches
    /// short; past twice that much it is left in any case.
    pub(super) fn appended(&mut self, bytes: usize, batch_size: usize, batch_is_full: bool) -> bool {
        self.produced += bytes;
        let enough = (batch_is_full && self.is_due(batch_size)) || self.produced >= 2 * batch_size;
        if enough {
            self.leave();
        }
        enough
    }

    /// Whether a record that does not fit into the open batch should go elsewhere instead of beginning another.
    pub(super) fn is_due(&self, batch_size: usize) -> bool {
        self.produced >= batch_size
    }
}

/// The next partition. `adaptive`: weigh by queue length.
pub(super) fn pick(candidates: &[Candidate], adaptive: bool, random: u64) -> i32 {
    debug_assert!(!candidates.is_empty());
    let is_usable = |c: &Candidate| c.available && !c.stuck;
    let mut queued = candidates.iter().filter(|c| is_usable(c)).map(|c| c.queued);
    if adaptive
        && candidates.len() >= 2
        && let Some(first) = queued.next()
    {
        let dropped = candidates.iter().any(|c| c.available && c.stuck);
        if dropped || !queued.all(|other| other == first) {
            return weighted(near_if_any(candidates, is_usable), random);
        }
    }
    if !candidates.iter().any(|c| c.available) {
        return even(candidates.iter(), random);
    }
    even(near_if_any(candidates, |c| c.available), random)
}

/// Those of them in the client's rack, if any are.
fn near_if_any(
    candidates: &[Candidate],
    among: impl Fn(&Candidate) -> bool + Copy,
) -> impl Iterator<Item = &Candidate> + Clone {
    let near = candidates.iter().any(|c| c.in_rack && among(c));
    candidates.iter().filter(move |c| among(c) && (c.in_rack || !near))
}

fn even<'a>(mut pool: impl Iterator<Item = &'a Candidate> + Clone, random: u64) -> i32 {
    let at = random % pool.clone().count() as u64;
    pool.nth(at as usize).expect("less than there are").partition
}

/// A partition's weight is how much shorter its queue is than the longest, plus one.
fn weighted<'a>(usable: impl Iterator<Item = &'a Candidate> + Clone, random: u64) -> i32 {
    let longest = usable.clone().map(|c| c.queued).max().unwrap_or(0);
    let weight = |c: &Candidate| (longest + 1 - c.queued) as u64;
    let total: u64 = usable.clone().map(weight).sum();
    let mut at = random % total;
    for candidate in usable {
        if at < weight(candidate) {
            return candidate.partition;
        }
        at -= weight(candidate);
    }
    unreachable!("the weights add up to the total")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(partition: i32, queued: usize) -> Candidate {
        Candidate { partition, queued, available: true, stuck: false, in_rack: false }
    }

    #[test]
    fn weights_follow_the_queues() {
        // Queues 0, 3, 1 weigh 4, 1, 3.
        let candidates = [candidate(0, 0), candidate(1, 3), candidate(2, 1)];
        let picks: Vec<i32> = (0..8).map(|random| pick(&candidates, true, random)).collect();
        assert_eq!(picks, [0, 0, 0, 0, 1, 2, 2, 2]);
        assert_eq!((0..3).map(|r| pick(&candidates, false, r)).collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn leaderless_and_stuck_partitions_are_avoided() {
        let mut candidates = [candidate(0, 0), candidate(1, 0), candidate(2, 0)];
        candidates[0].available = false;
        candidates[1].stuck = true;
        assert!((0..9).all(|random| pick(&candidates, true, random) == 2));
        candidates[1].available = false;
        candidates[2].available = false;
        assert_eq!((0..3).map(|r| pick(&candidates, true, r)).collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn the_rack_comes_first_if_it_leads_anything() {
        let mut candidates = [candidate(0, 0), candidate(1, 0), candidate(2, 5)];
        candidates[2].in_rack = true;
        assert!((0..9).all(|random| pick(&candidates, true, random) == 2));
        candidates[2].available = false;
        assert!((0..9).all(|random| pick(&candidates, true, random) != 2));
    }

    #[test]
    fn a_partition_is_left_at_the_end_of_a_batch() {
        let mut sticky = Sticky::new();
        sticky.choose(3);
        sticky.appended(900, 1000, false);
        assert!(!sticky.is_due(1000));
        sticky.appended(100, 1000, false);
        assert!(sticky.is_due(1000));
        assert_eq!(sticky.current(), Some(3), "enough bytes, but the batch has room");
        sticky.appended(50, 1000, true);
        assert_eq!(sticky.current(), None);
        sticky.choose(4);
        sticky.appended(2000, 1000, false);
        assert_eq!(sticky.current(), None, "twice the size is enough in any case");
    }
}
