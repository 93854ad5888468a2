//! What a batch says of its producer.

/// What names a producer session to a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
}

/// The numbers a batch carries for good once it has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sequence {
    pub(crate) identity: Identity,
    /// Of the batch's first record.
    pub(crate) base: i32,
}
