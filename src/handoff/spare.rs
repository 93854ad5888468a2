//! A handle's reference to its cells, kept by its thread for the next record.
//!
//! To count a reference up and down again is two atomic writes, as much as a tenth of what a small record costs, and
//! most handles are dropped at once by the thread that has sent the record. So that thread keeps the reference, and
//! hands it on with the next record from the same cells. What cells are is not known here.

use std::cell::Cell;

use super::{
    cells::Cells,
    sync::{Arc, thread_local},
};

/// Another reference to `cells`: the one that this thread has kept, if it is to the same, or a new one.
#[inline]
pub(crate) fn reference(cells: &Arc<Cells>) -> Arc<Cells> {
    match SPARE.try_with(|spare| spare.replace(Spare::Wanted)) {
        Ok(Spare::Kept(kept)) if Arc::ptr_eq(&kept, cells) => kept,
        _ => Arc::clone(cells),
    }
}

/// Keeps a reference that is no longer needed, if this thread has sent a record since it kept the last one.
#[inline]
pub(crate) fn give_back(cells: Arc<Cells>) {
    // Destructors of other thread-locals may drop handles when this one is gone already.
    let _ = SPARE.try_with(|spare| {
        let last = spare.replace(Spare::Unwanted);
        spare.set(if matches!(last, Spare::Wanted) { Spare::Kept(cells) } else { last });
    });
}

thread_local! {
    static SPARE: Cell<Spare> = const { Cell::new(Spare::Unwanted) };
}

enum Spare {
    /// A thread that only drops handles keeps nothing: it may never send.
    Unwanted,
    Wanted,
    Kept(Arc<Cells>),
}
