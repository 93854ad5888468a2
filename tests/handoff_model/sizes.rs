//! Stands in for `src/handoff/sizes.rs`: threads share lanes, and cells run out, within a few records.

pub(crate) const LANES: usize = 3;

pub(crate) const CELLS: usize = 3;
