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

impl Sequence {
    /// The numbers behind `count` records: they wrap from `i32::MAX` to 0 and are never negative.
    pub(crate) fn after(self, count: i32) -> Self {
        let base = (i64::from(self.base) + i64::from(count)) & i64::from(i32::MAX);
        Self { base: base as i32, ..self }
    }
}
