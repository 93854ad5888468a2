//! A broker that costs next to nothing: it says yes to everything, keeps nothing, and counts.
//!
//! `protocol` turns bytes into counts and answers, `ledger` holds the counts and judges what was sent, `serve` owns the
//! sockets. None of them copies a record.

mod ledger;
mod protocol;
mod serve;
mod tls;

pub use ledger::{Ledger, Report, Shape};
pub use protocol::Conversation;
pub use serve::{Service, serve};
