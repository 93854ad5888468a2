//! What compression makes of a topic's records: a guess, from which follows how many of them fit into a batch.
//!
//! As in Java the guess rises at once and falls slowly, since a batch that came out too large costs a request, and one
//! that came out too small nearly nothing.

#[derive(Debug)]
pub(super) struct Ratio(f32);

impl Default for Ratio {
    fn default() -> Self {
        Self(1.0)
    }
}

impl Ratio {
    /// With some room for records that are harder to compress.
    pub(super) fn estimate(&self) -> f32 {
        self.0 * MARGIN
    }

    /// A batch came out at so much of what it was.
    pub(super) fn observe(&mut self, ratio: f32) {
        let nearer = if ratio > self.0 { self.0 + RISE } else { self.0 - FALL };
        self.0 = nearer.max(ratio);
    }

    /// A broker found a batch too large: begin anew.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

const MARGIN: f32 = 1.05;
const RISE: f32 = 0.05;
const FALL: f32 = 0.005;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_at_once_and_falls_slowly() {
        let mut ratio = Ratio::default();
        ratio.observe(0.3);
        assert_eq!(ratio.0, 0.995);
        for _ in 0..200 {
            ratio.observe(0.3);
        }
        assert_eq!(ratio.0, 0.3);
        ratio.observe(0.31);
        assert_eq!(ratio.0, 0.3 + RISE);
        ratio.observe(0.9);
        assert_eq!(ratio.0, 0.9);
        ratio.forget();
        assert_eq!(ratio.estimate(), 1.05);
    }
}
