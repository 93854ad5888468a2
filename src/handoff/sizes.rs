//! The numbers that are compiled in. The model check (`tests/handoff_model`) has smaller ones, to come to the edges
//! sooner.

/// More than this share a lane, which costs waiting for its lock and nothing else. One lane for all threads was a
/// fifth slower than one each with two threads, and a third with eight.
pub(crate) const LANES: usize = 16;

/// How many records share one allocation for their handles. At most 256: [`CellSet`](super::cells::CellSet) counts
/// so far.
pub(crate) const CELLS: usize = 256;
