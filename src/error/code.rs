//! Kafka's error codes.
use std::fmt;

/// An error code of the Kafka protocol. A code that is not known here keeps its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub i16);

impl ErrorCode {
    /// Whether Kafka's protocol calls it retriable.
    pub fn is_retriable(self) -> bool { false }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, "{}", self.0) }
}
