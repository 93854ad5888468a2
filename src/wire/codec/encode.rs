//! What a codec is.

/// Compresses one batch after the other. What that needs is kept from batch to batch.
pub(super) trait Encode {
    /// Appends what the records become.
    fn compress(&mut self, records: &[u8], out: &mut Vec<u8>);
}
