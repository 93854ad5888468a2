//! Records per second, kept on average: after a pause they come faster until the average is reached again.

#![allow(clippy::disallowed_methods, reason = "a tool that paces itself looks at the clock")]

use std::time::{Duration, Instant};

/// When the next record is due.
pub(crate) struct Pace {
    start: Instant,
    /// Negative: as fast as possible. Zero: never.
    per_second: f64,
}

impl Pace {
    pub(crate) fn new(per_second: f64) -> Self {
        Self { start: Instant::now(), per_second }
    }

    /// How long to wait after `sent` records before the next one; `None` if it is due.
    pub(crate) fn wait(&self, sent: u64) -> Option<Duration> {
        if self.per_second < 0.0 {
            return None;
        }
        let due = Duration::try_from_secs_f64(sent as f64 / self.per_second).unwrap_or(LONGEST);
        let wait = due.saturating_sub(self.start.elapsed()).min(LONGEST);
        (wait >= SHORTEST).then_some(wait)
    }
}

/// A shorter wait costs more time than it spreads the records by.
const SHORTEST: Duration = Duration::from_millis(1);
/// Who is told to wait for ever asks again every day.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
