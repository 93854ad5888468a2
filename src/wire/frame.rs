//! Where a message begins and ends in a stream of bytes, and the headers in front of requests and responses.
//!
//! The stream itself belongs to others. A length is believed as far as the bytes for it have arrived: a peer that
//! announces two gigabytes and sends ten bytes costs ten bytes.

use byteorder::{BigEndian, ByteOrder};
use thiserror::Error;

use super::{
    api::ApiKey,
    primitives::{DecodeError, Reader, put_i16, put_i32, put_string, put_tags_empty},
};

/// The stream cannot be cut into responses; nothing after this point makes sense.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub(crate) enum FrameError {
    #[error("the peer announced a response of {0} bytes: is it a Kafka broker?")]
    Negative(i32),
    #[error(
        "the peer announced an answer to {} of {len} bytes, and {} are the most that are taken: is it a Kafka broker?",
        .api.name(),
        .api.largest_answer()
    )]
    TooLarge { api: ApiKey, len: usize },
    #[error("the peer announced a response too short for a correlation id: is it a Kafka broker?")]
    TooShort,
    #[error("not a Kafka broker: a TLS server answered; is security.protocol=SSL or SASL_SSL needed?")]
    Tls,
    #[error("not a Kafka broker: {0}")]
    NotKafka(&'static str),
}

/// Cuts received bytes into responses, each without its length.
///
/// After an error every further call returns it again.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    received: Vec<u8>,
    /// What was given out already: `taken <= received.len()`.
    taken: usize,
}

impl FrameReader {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Takes bytes as they came from the stream.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            // What is left is part of one frame at most if `next` was called until `None`, as it should be.
            self.received.drain(..self.taken);
            self.taken = 0;
        }
        self.received.extend_from_slice(bytes);
    }

    /// The next whole response, from its header on; `None` if more bytes must come first. One that is larger than what
    /// may be answered to `api` is refused before its bytes arrive.
    pub(crate) fn next(&mut self, api: ApiKey) -> Result<Option<Vec<u8>>, FrameError> {
        let Some((prefix, rest)) = self.received[self.taken..].split_first_chunk::<LENGTH_LEN>() else {
            return Ok(None);
        };
        let announced = BigEndian::read_i32(prefix);
        let len = usize::try_from(announced).map_err(|_| FrameError::Negative(announced))?;
        if len > api.largest_answer() {
            return Err(not_kafka(*prefix).unwrap_or(FrameError::TooLarge { api, len }));
        }
        if len < CORRELATION_ID_LEN {
            return Err(FrameError::TooShort);
        }
        let Some(frame) = rest.get(..len) else { return Ok(None) };
        let frame = frame.to_vec();
        self.taken += LENGTH_LEN + len;
        if self.taken == self.received.len() {
            self.taken = 0;
            self.received.clear();
            self.received.shrink_to(MAX_IDLE_CAPACITY);
        }
        Ok(Some(frame))
    }

    /// Whether a response has begun and not ended: a stream that ends here was cut.
    pub(crate) fn is_mid_frame(&self) -> bool {
        self.taken < self.received.len()
    }
}

/// A whole request: length, header, and what `body` writes.
pub(crate) fn request(
    api: ApiKey,
    version: i16,
    correlation_id: i32,
    client_id: &str,
    body: impl FnOnce(&mut Vec<u8>),
) -> Vec<u8> {
    let mut out = vec![0; LENGTH_LEN];
    put_request_header(&mut out, api, version, correlation_id, client_id);
    body(&mut out);
    write_length(&mut out, 0);
    out
}

/// Writes the header of a request: version 2 for flexible versions, which is version 1 and a tag section.
pub(super) fn put_request_header(
    out: &mut Vec<u8>,
    api: ApiKey,
    version: i16,
    correlation_id: i32,
    client_id: &str,
) {
    put_i16(out, api.key());
    put_i16(out, version);
    put_i32(out, correlation_id);
    // The client id stays in the old form for ever: a broker must be able to read it before it knows the version.
    put_string(out, false, client_id);
    if api.is_flexible(version) {
        put_tags_empty(out);
    }
}

/// Fills in the length at the front of a frame, of which `elsewhere` bytes are not in this buffer.
pub(super) fn write_length(frame: &mut [u8], elsewhere: usize) {
    let len = i32::try_from(frame.len() - LENGTH_LEN + elsewhere)
        .expect("a request is limited to 2 GiB by max.request.size");
    BigEndian::write_i32(&mut frame[..LENGTH_LEN], len);
}

/// Room for the length that [`write_length`] fills in.
pub(super) const LENGTH_LEN: usize = 4;

/// Reads the header of a response and returns the correlation id.
pub(crate) fn response_header(
    api: ApiKey,
    version: i16,
    reader: &mut Reader<'_>,
) -> Result<i32, DecodeError> {
    let correlation_id = reader.i32("correlation id")?;
    // A client that asks for versions cannot know yet which header the broker would write, so it is always the old one.
    if api.is_flexible(version) && api != ApiKey::ApiVersions {
        reader.skip_tags()?;
    }
    Ok(correlation_id)
}

/// Who answers with these bytes where a length should be. Only asked of lengths that are out of the question.
fn not_kafka(prefix: [u8; LENGTH_LEN]) -> Option<FrameError> {
    match prefix {
        [b'H', b'T', b'T', b'P'] => Some(FrameError::NotKafka("an HTTP server answered")),
        [TLS_ALERT | TLS_HANDSHAKE, TLS_MAJOR_VERSION, ..] => Some(FrameError::Tls),
        text if text.iter().all(|c| c.is_ascii_graphic() || c.is_ascii_whitespace()) => {
            Some(FrameError::NotKafka("a server answered in plain text; does it speak another protocol?"))
        }
        _ => None,
    }
}

const CORRELATION_ID_LEN: usize = 4;

const TLS_ALERT: u8 = 0x15;
const TLS_HANDSHAKE: u8 = 0x16;
/// All versions of TLS, and SSL 3, say 3 here.
const TLS_MAJOR_VERSION: u8 = 0x03;

/// What an idle connection keeps: enough for the usual responses, nothing of a huge one.
const MAX_IDLE_CAPACITY: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(body: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend_from_slice(body);
        bytes
    }

    fn after(bytes: &[u8], api: ApiKey) -> Result<Option<Vec<u8>>, FrameError> {
        let mut reader = FrameReader::new();
        reader.push(bytes);
        reader.next(api)
    }

    #[test]
    fn frames_come_out_whole_however_the_bytes_arrive() {
        let bodies: [&[u8]; 3] = [b"first", &[7; 70_000], b"last"];
        let stream: Vec<u8> = bodies.iter().flat_map(|body| frame(body)).collect();
        for step in [1, 3, 4, 5, 1000, stream.len()] {
            let mut reader = FrameReader::new();
            let mut frames = Vec::new();
            for bytes in stream.chunks(step) {
                reader.push(bytes);
                while let Some(frame) = reader.next(ApiKey::Produce).unwrap() {
                    frames.push(frame);
                }
            }
            assert_eq!(frames, bodies, "{step} bytes a time");
            assert!(!reader.is_mid_frame());
            assert!(reader.received.capacity() <= MAX_IDLE_CAPACITY);
        }
    }

    #[test]
    fn an_announced_length_takes_no_memory() {
        let mut reader = FrameReader::new();
        reader.push(&60_000_000_i32.to_be_bytes());
        for _ in 0..10 {
            reader.push(&[0]);
            assert_eq!(reader.next(ApiKey::Metadata), Ok(None));
        }
        assert!(reader.is_mid_frame());
        assert!(reader.received.capacity() <= 64, "{}", reader.received.capacity());
    }

    #[test]
    fn lengths_out_of_range_are_refused_for_good() {
        let announce = |len: i32| len.to_be_bytes();
        let api = ApiKey::Produce;
        assert_eq!(after(&announce(-1), api), Err(FrameError::Negative(-1)));
        assert_eq!(after(&announce(i32::MIN), api), Err(FrameError::Negative(i32::MIN)));
        assert_eq!(after(&announce(i32::MAX), api), Err(FrameError::TooLarge { api, len: 0x7fff_ffff }));
        for len in 0..4 {
            assert_eq!(after(&announce(len), api), Err(FrameError::TooShort));
        }
        let mut reader = FrameReader::new();
        reader.push(&announce(-1));
        assert!(reader.next(api).is_err());
        reader.push(&frame(b"good"));
        assert!(reader.next(api).is_err(), "a good frame does not mend the stream");
    }

    #[test]
    fn every_api_has_a_limit_of_its_own() {
        for (api, limit) in [
            (ApiKey::InitProducerId, 65_536),
            (ApiKey::FindCoordinator, 65_536),
            (ApiKey::AddOffsetsToTxn, 65_536),
            (ApiKey::EndTxn, 65_536),
            (ApiKey::PushTelemetry, 65_536),
            (ApiKey::GetTelemetrySubscriptions, 1_048_576),
            (ApiKey::ApiVersions, 1_048_576),
            (ApiKey::SaslHandshake, 1_048_576),
            (ApiKey::SaslAuthenticate, 1_048_576),
            (ApiKey::Produce, 8_388_608),
            (ApiKey::AddPartitionsToTxn, 8_388_608),
            (ApiKey::TxnOffsetCommit, 8_388_608),
            (ApiKey::Metadata, 67_108_864),
        ] {
            assert_eq!(after(&i32::to_be_bytes(limit), api), Ok(None), "{api:?}");
            let error = after(&i32::to_be_bytes(limit + 1), api).unwrap_err();
            assert_eq!(error, FrameError::TooLarge { api, len: limit as usize + 1 });
            let text = error.to_string();
            for part in [api.name(), &limit.to_string(), &(limit + 1).to_string()] {
                assert!(text.contains(part), "{part}: {text}");
            }
        }
        assert_eq!(ApiKey::ALL.len(), 13, "a new one needs its line above");
    }

    #[test]
    fn somebody_else_s_protocol_is_named() {
        for (bytes, word) in [
            (&b"HTTP/1.1 400 Bad Request\r\n"[..], "an HTTP server"),
            (&[0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x46], "a TLS server"),
            (&[0x16, 0x03, 0x03, 0x00, 0x7a], "a TLS server"),
            (b"SSH-2.0-OpenSSH_9.6\r\n", "plain text"),
            (b"220 mail ESMTP\r\n", "plain text"),
            (b"-ERR unknown command", "plain text"),
        ] {
            let error = after(bytes, ApiKey::ApiVersions).unwrap_err();
            let error_is_right = matches!(error, FrameError::NotKafka(_) | FrameError::Tls);
            assert!(error_is_right && error.to_string().contains(word), "{error}");
        }
        // The greeting of a database is no text, and still no response.
        let error = after(b"J\0\0\0\x0a8.0.36\0", ApiKey::ApiVersions).unwrap_err();
        assert!(error.to_string().ends_with("is it a Kafka broker?"), "{error}");
    }

    #[test]
    fn request_headers() {
        let frame = request(ApiKey::InitProducerId, 1, 2, "p1", |out| out.push(9));
        assert_eq!(frame, b"\0\0\0\x0d\0\x16\0\x01\0\0\0\x02\0\x02p1\x09");
        let flexible = request(ApiKey::InitProducerId, 2, 2, "", |_| {});
        assert_eq!(flexible, b"\0\0\0\x0b\0\x16\0\x02\0\0\0\x02\0\0\0");
    }

    #[test]
    fn response_headers() {
        for (api, version, bytes, left) in [
            (ApiKey::Metadata, 8, &[0, 0, 0, 7, 0][..], 1),
            (ApiKey::Metadata, 9, &[0, 0, 0, 7, 0], 0),
            (ApiKey::Metadata, 9, &[0, 0, 0, 7, 1, 3, 1, 9], 0),
            (ApiKey::ApiVersions, 4, &[0, 0, 0, 7, 0], 1),
        ] {
            let mut reader = Reader::new(bytes);
            assert_eq!(response_header(api, version, &mut reader), Ok(7));
            assert_eq!(reader.remaining(), left, "{api:?} {version}");
        }
        assert!(response_header(ApiKey::Metadata, 9, &mut Reader::new(&[0, 0, 0, 7])).is_err());
    }
}
