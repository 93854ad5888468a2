//! What the poller calls things.

use mio::Token;

use crate::engine::ConnId;

/// A connection's name in the poller. One is never reused, so a late event of a closed socket finds nobody.
pub(super) fn token(conn: ConnId) -> Token {
    Token(conn.0 as usize)
}

/// No connection has it: they are counted from 0.
pub(super) const WAKER: Token = Token(usize::MAX);
