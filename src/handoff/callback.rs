//! A user's callback on its way from `send` to the thread that runs it.

use std::fmt;

use super::context::CallbackScope;
use crate::{
    error::{DeliveryError, guarded},
    record::RecordMetadata,
};

/// What `send_with` takes.
pub(crate) type Callback = Box<dyn FnOnce(Result<RecordMetadata, DeliveryError>) + Send>;

/// A callback, and what its record's metadata will say besides place and offset.
pub(crate) struct PendingCallback {
    /// The record's cell.
    pub(crate) cell: u16,
    pub(crate) timestamp: i64,
    pub(crate) key_size: i32,
    pub(crate) value_size: i32,
    pub(crate) call: Callback,
}

impl fmt::Debug for PendingCallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingCallback").field("cell", &self.cell).finish_non_exhaustive()
    }
}

/// Runs callbacks on this very thread, for want of the one that is there for it. None of them can harm the others.
pub(crate) fn fail_here(callbacks: Vec<PendingCallback>, error: &DeliveryError) {
    let _scope = CallbackScope::enter();
    for callback in callbacks {
        let error = error.clone();
        // What panicked, and with what message, the panic hook has said.
        let _ = guarded(move || (callback.call)(Err(error)));
    }
}
