//! Exponential backoff with jitter (KIP-580), as a pure function of the attempt and a random number.

use std::time::Duration;

/// Doubles from `base` to `max`, each delay moved by up to a fifth either way and never above `max`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    pub(super) base: Duration,
    pub(super) max: Duration,
}

impl Backoff {
    pub(super) fn new((base, max): (Duration, Duration)) -> Self {
        Self { base, max }
    }

    /// The delay after `attempts` earlier failures. Jitter is off where there is nothing to double (`base >= max`):
    /// whoever sets both to one value asks for exactly that value.
    pub(super) fn delay(self, attempts: u32, random: u64) -> Duration {
        if self.base >= self.max {
            return self.max.min(self.base);
        }
        let doubled = self.base.saturating_mul(1_u32 << attempts.min(30)).min(self.max);
        let jitter = 0.8 + 0.4 * (random >> 11) as f64 / (1_u64 << 53) as f64;
        doubled.mul_f64(jitter).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_within_a_fifth_and_stay_below_the_maximum() {
        let backoff = Backoff::new((Duration::from_millis(100), Duration::from_millis(1000)));
        for (attempts, low, high) in
            [(0, 80, 120), (1, 160, 240), (2, 320, 480), (3, 640, 960), (4, 800, 1000), (60, 800, 1000)]
        {
            for random in [0, 1 << 60, 1 << 63, u64::MAX] {
                let delay = backoff.delay(attempts, random).as_micros();
                assert!((low * 1000..=high * 1000).contains(&delay), "attempt {attempts}: {delay} us");
            }
        }
    }

    #[test]
    fn one_value_for_both_is_constant() {
        let same = Duration::from_millis(70);
        assert_eq!(Backoff::new((same, same)).delay(9, u64::MAX), same);
        let zero = Backoff::new((Duration::ZERO, Duration::from_secs(1)));
        assert_eq!(zero.delay(3, 5), Duration::ZERO);
    }
}
