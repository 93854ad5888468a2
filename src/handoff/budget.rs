//! A number of things to share out, first come, first served: the bytes of `buffer.memory`, the places in the
//! channel.
//!
//! What the things are is not known here. Whoever gives some back hands them to the one who has waited longest; a
//! newcomer never passes those who wait, and nobody is woken to find nothing.
//!
//! # Nobody is forgotten
//!
//! A waiter enters the line, then looks at what is free; a giver adds to what is free, then looks at the line;
//! between the two steps either has a `SeqCst` fence, so at least one of them sees the other. If it is the giver,
//! it serves the line. If it is the waiter, it serves itself.
//!
//! What is free, but too little to be worth a wake-up, is given out when the sender thread is about to sleep
//! ([`Budget::give_when_idle`]). A waiter that is served wakes the next one if there is something left for it: one
//! after the other, and by threads that have time for it.

use std::{collections::VecDeque, mem, time::Instant};

use super::sync::{
    Arc, AtomicBool, AtomicUsize, Mutex, MutexGuard, Ordering, Thread, current, fence, park_until,
};

/// What is shared out, and the line of those who wait for it.
pub(crate) struct Budget {
    limit: usize,
    /// So much has to be free before somebody is woken.
    worth: usize,
    /// `<= limit`
    free: AtomicUsize,
    line: Mutex<VecDeque<Arc<Waiter>>>,
    /// The length of `line`; changed under its lock.
    waiting: AtomicUsize,
    /// How often somebody came who could not be served at once.
    arrivals: AtomicUsize,
    ended: AtomicBool,
}

/// A place in the line. Dropping it gives back whatever it was served.
#[must_use]
pub(crate) struct Ticket<'a> {
    budget: &'a Budget,
    waiter: Arc<Waiter>,
    /// Whether the waiter may still be in the line, or have been served without knowing.
    open: bool,
}

/// Why a wait came to nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Exhausted {
    /// The deadline passed.
    TimedOut,
    /// Nothing will be given out any more.
    Ended,
}

struct Waiter {
    /// Less than this is of no use.
    need: usize,
    /// More than this is not asked for; `>= need`.
    want: usize,
    /// What it was served, 0 while it is in the line; changed under the line's lock.
    served: AtomicUsize,
    thread: Thread,
}

impl Budget {
    /// An eighth is worth waking somebody: less would wake a thread for a handful of records.
    pub(crate) fn new(limit: usize) -> Self {
        Self::handed_out_from(limit, limit / 8)
    }

    /// Whoever waits is woken once `worth` is free.
    pub(super) fn handed_out_from(limit: usize, worth: usize) -> Self {
        Self {
            limit,
            worth,
            free: AtomicUsize::new(limit),
            line: Mutex::new(VecDeque::new()),
            waiting: AtomicUsize::new(0),
            arrivals: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
        }
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// What nobody has.
    pub(crate) fn free(&self) -> usize {
        self.free.load(Ordering::Relaxed)
    }

    /// How many wait.
    #[inline]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// How often somebody was not served at once: who compares it with what it was can tell a new waiter from one
    /// that nothing more can be done for.
    pub(crate) fn arrivals(&self) -> usize {
        self.arrivals.load(Ordering::Relaxed)
    }

    /// Counts a caller that was not served and will not wait, so that the sender thread looks for what lies idle.
    pub(crate) fn note_refusal(&self) {
        self.arrivals.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes `n`, unless that would mean to wait, or to pass somebody who does.
    #[inline]
    pub(crate) fn try_take(&self, n: usize) -> bool {
        self.try_take_some(n, n).is_some()
    }

    /// Like [`try_take`](Self::try_take), but takes up to `want` if it can have at least `need`.
    #[inline]
    pub(crate) fn try_take_some(&self, need: usize, want: usize) -> Option<usize> {
        if self.waiting() > 0 {
            return None;
        }
        self.grab(need, want)
    }

    /// Takes `n`, and waits for it until `deadline`.
    #[cfg(test)]
    pub(crate) fn take(&self, n: usize, deadline: Option<Instant>) -> Result<(), Exhausted> {
        if self.try_take(n) {
            return Ok(());
        }
        self.queue_up(n, n).wait(deadline).map(drop)
    }

    /// Enters the line for at least `need`, which is not 0, and up to `want`.
    ///
    /// Apart from [`Ticket::wait`], so that the caller can wake the sender thread in between.
    pub(crate) fn queue_up(&self, need: usize, want: usize) -> Ticket<'_> {
        debug_assert!(need > 0 && need <= self.limit, "a need of {need} can never be met");
        let waiter =
            Arc::new(Waiter { need, want: want.max(need), served: AtomicUsize::new(0), thread: current() });
        let mut line = self.line.lock();
        // Looked at under the lock that `end` holds when it empties the line.
        if !self.ended.load(Ordering::Relaxed) {
            line.push_back(Arc::clone(&waiter));
            self.waiting.store(line.len(), Ordering::Relaxed);
            self.arrivals.fetch_add(1, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if line.len() == 1 {
                // It is this thread itself that is served, so there is nobody to wake.
                let _ = self.serve(&mut line, 0);
            }
        }
        drop(line);
        Ticket { budget: self, waiter, open: true }
    }

    /// Gives `n` back, and wakes the head of the line once enough is free to be worth it.
    #[inline]
    pub(crate) fn release(&self, n: usize) {
        // Release, and Acquire where it is taken: whoever takes a place in the channel must see that it is empty.
        let before = self.free.fetch_add(n, Ordering::Release);
        debug_assert!(before + n <= self.limit, "more was given back than taken");
        fence(Ordering::SeqCst);
        if self.waiting() > 0 {
            self.hand_out(self.worth);
        }
    }

    /// The sender thread is about to sleep, and nothing may come back for long: the head of the line gets what it
    /// needs, if it is there.
    pub(crate) fn give_when_idle(&self) {
        if self.waiting() > 0 {
            self.hand_out(0);
        }
    }

    /// Ends every wait, now and later. What was taken can still be given back.
    pub(crate) fn end(&self) {
        let mut line = self.line.lock();
        self.ended.store(true, Ordering::Relaxed);
        let waiters = mem::take(&mut *line);
        self.waiting.store(0, Ordering::Relaxed);
        drop(line);
        for waiter in waiters {
            waiter.thread.unpark();
        }
    }

    fn hand_out(&self, floor: usize) {
        let served = self.serve(&mut self.line.lock(), floor);
        if let Some(waiter) = served {
            waiter.thread.unpark();
        }
    }

    /// Serves the head of the line if its need can be met and at least `floor` is free; the caller unparks it,
    /// without the lock.
    fn serve(&self, line: &mut MutexGuard<'_, VecDeque<Arc<Waiter>>>, floor: usize) -> Option<Arc<Waiter>> {
        let head = line.front()?;
        if self.free() < floor {
            return None;
        }
        let amount = self.grab(head.need, head.want)?;
        head.served.store(amount, Ordering::Release);
        let head = line.pop_front();
        self.waiting.store(line.len(), Ordering::Relaxed);
        head
    }

    #[inline]
    fn grab(&self, need: usize, want: usize) -> Option<usize> {
        let mut free = self.free();
        while free >= need {
            let amount = want.min(free);
            match self.free.compare_exchange_weak(free, free - amount, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some(amount),
                Err(now) => free = now,
            }
        }
        None
    }
}

impl Ticket<'_> {
    /// Waits to be served, until `deadline`, and says how much it was.
    pub(crate) fn wait(mut self, deadline: Option<Instant>) -> Result<usize, Exhausted> {
        loop {
            let served = self.waiter.served.load(Ordering::Acquire);
            if served > 0 {
                self.open = false;
                if self.budget.waiting() > 0 {
                    self.budget.hand_out(0);
                }
                return Ok(served);
            }
            if self.budget.ended.load(Ordering::Relaxed) {
                return Err(Exhausted::Ended);
            }
            if !park_until(deadline) {
                // Served at the last moment is served.
                return match self.leave() {
                    0 => Err(Exhausted::TimedOut),
                    served => Ok(served),
                };
            }
        }
    }

    /// Leaves the line, and says what it was served meanwhile.
    fn leave(&mut self) -> usize {
        self.open = false;
        let mut line = self.budget.line.lock();
        let served = self.waiter.served.load(Ordering::Acquire);
        let mut next = None;
        if let Some(place) = line.iter().position(|other| Arc::ptr_eq(other, &self.waiter)) {
            line.remove(place);
            self.budget.waiting.store(line.len(), Ordering::Relaxed);
            // Behind one who needed much there may be one who needs little, and nothing may come back for long.
            next = self.budget.serve(&mut line, 0);
        }
        drop(line);
        if let Some(next) = next {
            next.thread.unpark();
        }
        served
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if self.open {
            match self.leave() {
                0 => {}
                served => self.budget.release(served),
            }
        }
    }
}
