//! gzip: one member of RFC 1952, with nothing of Kafka's own in it.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::{super::primitives::DecodeError, encode::Encode};

pub(super) struct Encoder {
    deflate: Compress,
    /// For what does not get smaller: level 1 makes it larger.
    store: Option<Compress>,
}

impl Encoder {
    /// `level`: from 1 to 9, or -1 for zlib's own choice.
    pub(super) fn new(level: i32) -> Self {
        let level = u32::try_from(level).map_or(Compression::default(), Compression::new);
        Self { deflate: Compress::new_gzip(level, WINDOW_BITS), store: None }
    }
}

impl Encode for Encoder {
    fn compress(&mut self, records: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        run(&mut self.deflate, records, out);
        if out.len() - start > records.len() + LEAST_ROOM {
            out.truncate(start);
            let store = || Compress::new_gzip(Compression::none(), WINDOW_BITS);
            run(self.store.get_or_insert_with(store), records, out);
        }
    }
}

fn run(stream: &mut Compress, records: &[u8], out: &mut Vec<u8>) {
    stream.reset();
    loop {
        let done = usize::try_from(stream.total_in()).expect("no more than there is");
        out.reserve((records.len() - done) / 4 + LEAST_ROOM);
        let status = stream
            .compress_vec(&records[done..], out, FlushCompress::Finish)
            .expect("a stream that was begun anew takes everything");
        if status == Status::StreamEnd {
            return;
        }
    }
}

pub(super) fn decompress(stream: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let mut decoder = Decompress::new_gzip(WINDOW_BITS);
    loop {
        let done = usize::try_from(decoder.total_in()).expect("no more than there is");
        let before = decoder.total_out();
        out.reserve(4 * (stream.len() - done) + LEAST_ROOM);
        let status = decoder
            .decompress_vec(&stream[done..], out, FlushDecompress::None)
            .map_err(|_| DecodeError { what: "gzip stream", at: done })?;
        if status == Status::StreamEnd {
            return Ok(());
        }
        if decoder.total_out() == before && done == stream.len() {
            return Err(DecodeError { what: "end of the gzip stream", at: done });
        }
    }
}

/// The largest window, which every reader takes.
const WINDOW_BITS: u8 = 15;

/// For header, trailer, and the bits that are still to come.
const LEAST_ROOM: usize = 256;
