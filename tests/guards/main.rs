//! What may not change unnoticed: allocations and system calls per record, what an idle producer does, sizes of what
//! callers hold, the public names, the dependencies.
//!
//! Counts and sizes, never times: a guard says the same on every machine.

mod allocations;
mod api;
mod dependencies;
mod source;
mod system;
mod types;
