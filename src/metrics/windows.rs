//! Figures over the last seconds, as Java's producer keeps them: in samples of some length, the newest few of which count.
//!
//! Knows no clock: every figure comes with its time.

use std::time::{Duration, Instant};

/// How many samples count, and how long one lasts: `metrics.num.samples`, `metrics.sample.window.ms`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    samples: usize,
    length: Duration,
}

/// A time, and how samples are shaped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) now: Instant,
    pub(crate) shape: Shape,
}

/// What was recorded within the samples that count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Windows {
    /// Empty until something is recorded: most topics never have an error.
    samples: Vec<Sample>,
    current: usize,
}

/// How much there was in all, and of late.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter {
    total: u64,
    windows: Windows,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    begun: Instant,
    count: u64,
    sum: f64,
    max: f64,
}

/// Kafka's defaults.
impl Default for Shape {
    fn default() -> Self {
        Self::new(2, Duration::from_secs(30))
    }
}

impl Shape {
    pub(crate) fn new(samples: usize, length: Duration) -> Self {
        Self { samples: samples.max(1), length: length.max(Duration::from_millis(1)) }
    }

    /// A sample that began so long ago does not count.
    fn memory(&self) -> Duration {
        self.length.saturating_mul(u32::try_from(self.samples).unwrap_or(u32::MAX))
    }
}

impl Windows {
    pub(crate) fn record(&mut self, at: Moment, value: f64) {
        let sample = self.sample(at);
        sample.count += 1;
        sample.sum += value;
        sample.max = sample.max.max(value);
    }

    /// Not a number if nothing was recorded of late.
    pub(crate) fn average(&self, at: Moment) -> f64 {
        let (count, sum) = self.live(at).fold((0, 0.0), |(count, sum), s| (count + s.count, sum + s.sum));
        if count == 0 { f64::NAN } else { sum / count as f64 }
    }

    /// As [`average`](Self::average).
    pub(crate) fn max(&self, at: Moment) -> f64 {
        self.live(at).filter(|s| s.count > 0).map(|s| s.max).fold(f64::NAN, f64::max)
    }

    /// What was recorded, by the second. All samples but the newest are taken for whole ones, so that what came in the
    /// first second does not look like what comes every second.
    pub(crate) fn rate(&self, at: Moment) -> f64 {
        let Some(oldest) = self.live(at).map(|s| s.begun).min() else { return 0.0 };
        let sum: f64 = self.live(at).map(|s| s.sum).sum();
        let length = at.shape.length.as_secs_f64();
        let elapsed = at.now.saturating_duration_since(oldest).as_secs_f64();
        let missing = (at.shape.samples - 1) as f64 - (elapsed / length).floor();
        sum / (elapsed + missing.max(0.0) * length).max(f64::MIN_POSITIVE)
    }

    fn live(&self, at: Moment) -> impl Iterator<Item = &Sample> {
        let memory = at.shape.memory();
        self.samples.iter().filter(move |s| at.now.saturating_duration_since(s.begun) < memory)
    }

    fn sample(&mut self, at: Moment) -> &mut Sample {
        let fresh = Sample { begun: at.now, count: 0, sum: 0.0, max: f64::NEG_INFINITY };
        match self.samples.get(self.current) {
            None => self.samples.push(fresh),
            Some(current) if at.now.saturating_duration_since(current.begun) >= at.shape.length => {
                self.current = (self.current + 1) % at.shape.samples;
                match self.samples.get_mut(self.current) {
                    Some(oldest) => *oldest = fresh,
                    None => self.samples.push(fresh),
                }
            }
            Some(_) => {}
        }
        &mut self.samples[self.current]
    }
}

impl Meter {
    pub(crate) fn add(&mut self, at: Moment, amount: u64) {
        self.total += amount;
        self.windows.record(at, amount as f64);
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// By the second.
    pub(crate) fn rate(&self, at: Moment) -> f64 {
        self.windows.rate(at)
    }

    /// Of a single recording.
    pub(crate) fn average(&self, at: Moment) -> f64 {
        self.windows.average(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(start: Instant, seconds: u64) -> Moment {
        let shape = Shape::new(2, Duration::from_secs(30));
        Moment { now: start + Duration::from_secs(seconds), shape }
    }

    #[expect(clippy::disallowed_methods, reason = "some time to begin with")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn nothing_recorded_is_no_number_and_no_rate() {
        let (start, windows) = (start(), Windows::default());
        assert!(windows.average(seconds(start, 0)).is_nan() && windows.max(seconds(start, 0)).is_nan());
        assert_eq!(windows.rate(seconds(start, 0)), 0.0);
    }

    #[test]
    fn what_is_old_does_not_count() {
        let (start, mut windows) = (start(), Windows::default());
        for (at, value) in [(0, 8.0), (1, 2.0), (31, 4.0)] {
            windows.record(seconds(start, at), value);
        }
        assert_eq!(windows.average(seconds(start, 31)), 14.0 / 3.0);
        assert_eq!(windows.max(seconds(start, 59)), 8.0);
        assert_eq!(windows.max(seconds(start, 60)), 4.0, "the first sample began sixty seconds ago");
        assert_eq!(windows.average(seconds(start, 60)), 4.0);
        assert!(windows.average(seconds(start, 91)).is_nan());
        assert_eq!(windows.rate(seconds(start, 91)), 0.0);
        windows.record(seconds(start, 200), 1.0);
        assert_eq!(windows.max(seconds(start, 200)), 1.0, "a sample is emptied before it is used again");
    }

    #[test]
    fn a_rate_is_about_whole_samples_as_in_java() {
        let (start, mut meter) = (start(), Meter::default());
        meter.add(seconds(start, 0), 60);
        assert_eq!(meter.rate(seconds(start, 0)), 2.0, "over the thirty seconds that a sample lasts");
        meter.add(seconds(start, 30), 60);
        assert_eq!(meter.rate(seconds(start, 30)), 4.0);
        assert_eq!(meter.rate(seconds(start, 45)), 120.0 / 45.0);
        assert_eq!(meter.total(), 120);
        assert_eq!(meter.rate(seconds(start, 60)), 2.0);
        assert_eq!(meter.total(), 120, "a total is for ever");
    }

    #[test]
    fn more_samples_make_it_smoother() {
        let (start, shape) = (start(), Shape::new(4, Duration::from_secs(1)));
        let at = |ms| Moment { now: start + Duration::from_millis(ms), shape };
        let mut windows = Windows::default();
        for second in 0..10 {
            windows.record(at(second * 1000), second as f64);
        }
        assert_eq!(windows.average(at(9000)), 7.5);
        assert_eq!(windows.average(at(10_500)), 8.0, "7 to 9 count then");
    }
}
