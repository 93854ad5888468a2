//! What a fuzzer feeds: functions that take bytes which somebody else has chosen, and panic if something does not hold.
//!
//! The package in `fuzz/` hands them to a fuzzer that watches which code they reach. The tests here hand them samples that
//! a seed has damaged, as part of every run. Like `testing`, this stands beside the house and sees all of it.

mod stage;

use std::ops::RangeInclusive;

use bytes::Bytes;
use kafka_protocol::{messages, protocol::Decodable, records::RecordBatchDecoder};

#[cfg(feature = "sasl")]
use crate::wire::{sasl_authenticate::SaslAuthenticateResponse, sasl_handshake::SaslHandshakeResponse};
use crate::{
    config::{ProducerConfig, properties},
    record::Headers,
    wire::{
        add_offsets_to_txn::AddOffsetsToTxnResponse,
        add_partitions_to_txn::AddPartitionsToTxnResponse,
        api::ApiKey,
        api_versions::ApiVersionsResponse,
        batch::{self, BatchHeader, HEADER_LEN},
        end_txn::EndTxnResponse,
        find_coordinator::FindCoordinatorResponse,
        frame::FrameReader,
        get_telemetry_subscriptions::GetTelemetrySubscriptionsResponse,
        init_producer_id::InitProducerIdResponse,
        metadata::MetadataResponse,
        primitives::{Reader, put_uvarint, put_varint, put_varlong},
        produce::ProduceResponse,
        push_telemetry::PushTelemetryResponse,
        record::{RecordHead, put_body, put_record},
        txn_offset_commit::TxnOffsetCommitResponse,
    },
};

/// Takes choices off the front of the bytes; when they are used up, everything is 0.
pub(super) struct Feed<'a>(&'a [u8]);

impl<'a> Feed<'a> {
    fn byte(&mut self) -> u8 {
        self.some(1).first().copied().unwrap_or_default()
    }

    fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    /// As many as there are, up to `count`.
    fn some(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn number(&mut self) -> i64 {
        let bytes = self.some(8);
        bytes.iter().fold(0, |number, byte| number << 8 | i64::from(*byte))
    }

    fn version(&mut self, among: RangeInclusive<i16>) -> i16 {
        among.start() + i16::from(self.byte()) % (among.end() - among.start() + 1)
    }

    fn is_used_up(&self) -> bool {
        self.0.is_empty()
    }
}

/// An answer of any kind and version is a value or an error. What we take for a value, an independent codec does too, and it
/// says the same about what was written where.
pub fn response(data: &[u8]) {
    is_answer(data);
}

fn is_answer(data: &[u8]) -> bool {
    let mut feed = Feed(data);
    let api = ApiKey::ALL[feed.below(ApiKey::ALL.len())];
    let version = feed.version(api.min_version()..=api.max_version());
    let body = feed.0;
    let mut reader = Reader::new(body);
    let error = match api {
        ApiKey::Produce => match ProduceResponse::decode(version, &mut reader) {
            Ok(ours) => {
                let Some(theirs) = theirs::<messages::ProduceResponse>(body, version) else { return true };
                let ours = ours.topics.iter().flat_map(|topic| &topic.partitions);
                let ours = ours.map(|p| (p.index, p.error.0, p.base_offset, p.log_append_time_ms));
                let theirs = theirs.responses.iter().flat_map(|topic| &topic.partition_responses);
                let theirs = theirs.map(|p| (p.index, p.error_code, p.base_offset, p.log_append_time_ms));
                assert!(ours.eq(theirs), "version {version}");
                return true;
            }
            Err(error) => error,
        },
        ApiKey::Metadata => match MetadataResponse::decode(version, &mut reader) {
            Ok(ours) => {
                let Some(theirs) = theirs::<messages::MetadataResponse>(body, version) else { return true };
                let ours = ours.topics.iter().flat_map(|topic| &topic.partitions);
                let ours = ours.map(|p| (p.index, p.error.0, p.leader_id, p.leader_epoch));
                let theirs = theirs.topics.iter().flat_map(|topic| &topic.partitions);
                let theirs = theirs.map(|p| (p.partition_index, p.error_code, p.leader_id.0, p.leader_epoch));
                assert!(ours.eq(theirs), "version {version}");
                return true;
            }
            Err(error) => error,
        },
        ApiKey::InitProducerId => match InitProducerIdResponse::decode(version, &mut reader) {
            Ok(ours) => {
                let Some(theirs) = theirs::<messages::InitProducerIdResponse>(body, version) else {
                    return true;
                };
                let ours = (ours.error.0, ours.producer_id, ours.producer_epoch);
                assert_eq!(ours, (theirs.error_code, theirs.producer_id.0, theirs.producer_epoch));
                return true;
            }
            Err(error) => error,
        },
        ApiKey::FindCoordinator => match FindCoordinatorResponse::decode(version, &mut reader) {
            Ok(_) => return true,
            Err(error) => error,
        },
        ApiKey::AddPartitionsToTxn => match AddPartitionsToTxnResponse::decode(version, &mut reader) {
            Ok(_) => return true,
            Err(error) => error,
        },
        ApiKey::AddOffsetsToTxn => match AddOffsetsToTxnResponse::decode(version, &mut reader) {
            Ok(_) => return true,
            Err(error) => error,
        },
        ApiKey::EndTxn => match EndTxnResponse::decode(version, &mut reader) {
            Ok(_) => return true,
            Err(error) => error,
        },
        ApiKey::TxnOffsetCommit => match TxnOffsetCommitResponse::decode(version, &mut reader) {
            Ok(_) => return true,
            Err(error) => error,
        },
        ApiKey::GetTelemetrySubscriptions => {
            match GetTelemetrySubscriptionsResponse::decode(version, &mut reader) {
                Ok(_) => return true,
                Err(error) => error,
            }
        }
        ApiKey::PushTelemetry => match PushTelemetryResponse::decode(version, &mut reader) {
            Ok(_) => return true,
            Err(error) => error,
        },
        #[cfg(feature = "sasl")]
        ApiKey::SaslHandshake => match SaslHandshakeResponse::decode(&mut reader) {
            Ok(_) => return true,
            Err(error) => error,
        },
        #[cfg(feature = "sasl")]
        ApiKey::SaslAuthenticate => match SaslAuthenticateResponse::decode(version, &mut reader) {
            Ok(_) => return true,
            Err(error) => error,
        },
        // Brokers may answer in another version than they were asked in, and only we know that.
        ApiKey::ApiVersions => match ApiVersionsResponse::decode(version, body) {
            Ok(_) => return true,
            Err(error) => error,
        },
    };
    assert!(error.at <= body.len(), "{api:?} {version}: {error}");
    false
}

/// What the other codec makes of bytes that are a value to ours. `None`: it refuses a field of a later version, where we skip
/// what we do not know.
fn theirs<T: Decodable>(body: &[u8], version: i16) -> Option<T> {
    match T::decode(&mut Bytes::copy_from_slice(body), version) {
        Ok(value) => Some(value),
        Err(error) if error.to_string().contains("is not valid for version") => None,
        Err(error) => panic!("ours is a value: {error}"),
    }
}

/// A stream gives the same answers however it is cut, and none that is larger than it may be.
pub fn frames(data: &[u8]) {
    let mut feed = Feed(data);
    let api = ApiKey::ALL[feed.below(ApiKey::ALL.len())];
    let step = 1 + feed.below(64);
    let stream = feed.0;
    let cut = |step: usize| {
        let mut reader = FrameReader::new();
        let mut frames = Vec::new();
        for bytes in stream.chunks(step) {
            reader.push(bytes);
            loop {
                match reader.next(api) {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(error) => return (frames, Some(error), false),
                }
            }
        }
        (frames, None, reader.is_mid_frame())
    };
    let whole = cut(stream.len().max(1));
    assert!(whole.0.iter().all(|frame| frame.len() <= api.largest_answer()));
    assert_eq!(cut(step), whole, "{step} bytes a time");
}

/// The records of a batch of any bytes are records, and at most one error at their end.
pub fn records(data: &[u8]) {
    let read: Vec<_> = batch::records(data).take(data.len() + 2).collect();
    assert!(read.len() <= data.len() + 1, "{} records of {} bytes", read.len(), data.len());
    let first_error = read.iter().position(Result::is_err).unwrap_or(read.len());
    assert!(first_error + 1 >= read.len(), "it goes on behind an error");
}

/// Whatever records a batch has, an independent codec reads them back, and finds the checksum right.
pub fn batch(data: &[u8]) {
    let mut bytes = Vec::new();
    let sent = write_batch(&mut Feed(data), &mut bytes);
    let read = RecordBatchDecoder::decode(&mut Bytes::from(bytes)).expect("it was written well");
    assert_eq!(read.records.len(), sent.len());
    for (record, (timestamp, key, value, headers)) in read.records.iter().zip(&sent) {
        assert_eq!(record.timestamp, *timestamp);
        assert_eq!((record.key.as_deref(), record.value.as_deref()), (key.as_deref(), value.as_deref()));
        // The other codec keeps the last of several headers of one name, in the first one's place.
        for (name, _) in headers.iter() {
            let last = headers.iter().filter(|(other, _)| *other == name).last().expect("it is one of them");
            let read = record.headers.iter().find(|(read, _)| &***read == name).expect("it was written");
            assert_eq!(read.1.as_deref(), last.1);
        }
    }
}

/// Timestamp, key, value and headers of a record.
type Written = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Headers);

/// A batch with records as they are drawn.
fn write_batch(feed: &mut Feed<'_>, bytes: &mut Vec<u8>) -> Vec<Written> {
    let base = feed.number() >> 2;
    bytes.resize(HEADER_LEN, 0);
    let mut sent = Vec::new();
    let mut latest = i64::MIN;
    for _ in 0..1 + feed.below(8) {
        // Timestamps may go back within a batch, as far as its deltas reach.
        let delta = feed.number() >> 2;
        let mut optional = |most: usize| {
            let len = feed.below(most);
            (len > 0).then(|| feed.some(len - 1).to_vec())
        };
        let (key, value) = (optional(40), optional(200));
        let mut headers = Headers::new();
        for _ in 0..feed.below(4) {
            let name = String::from_utf8_lossy(feed.some(5)).into_owned();
            let len = feed.below(9);
            headers.add(&name, (len > 0).then(|| feed.some(len - 1)));
        }
        let mut body = Vec::new();
        put_body(&mut body, key.as_deref(), value.as_deref(), headers.entries());
        put_record(bytes, &RecordHead::new(body.len(), delta, sent.len() as i32), &body);
        latest = latest.max(base + delta);
        sent.push((base + delta, key, value, headers));
    }
    let header = BatchHeader {
        attributes: 0,
        base_timestamp: base,
        max_timestamp: latest,
        producer_id: 4000,
        producer_epoch: 3,
        base_sequence: 7,
        records_count: sent.len() as i32,
    };
    batch::write_header(bytes, &header);
    sent
}

/// Numbers of variable length come back, and no bytes are more than one number.
pub fn varints(data: &[u8]) {
    let mut feed = Feed(data);
    let number = feed.number();
    let mut bytes = Vec::new();
    put_uvarint(&mut bytes, number as u32);
    put_varint(&mut bytes, number as i32);
    put_varlong(&mut bytes, number);
    let mut reader = Reader::new(&bytes);
    assert_eq!(reader.uvarint("a number"), Ok(number as u32));
    assert_eq!(reader.varint("a number"), Ok(number as i32));
    assert_eq!(reader.varlong("a number"), Ok(number));
    assert_eq!(reader.remaining(), 0);

    let bytes = feed.0;
    let ends = bytes.iter().take(5).position(|byte| byte & 0x80 == 0);
    let expected = ends.and_then(|end| {
        let number = bytes[..=end].iter().rev().fold(0, |number, byte| number << 7 | u64::from(byte & 0x7f));
        u32::try_from(number).ok()
    });
    assert_eq!(Reader::new(bytes).uvarint("a number").ok(), expected);
}

/// Settings from any file, and any values of those that there are, are settings or a list of what is wrong with them.
pub fn config(data: &[u8]) {
    let pairs = properties::parse(data).unwrap_or_default();
    let config = ProducerConfig::from_properties(pairs.iter().map(|(name, value)| (name, value)));
    if let Err(error) = config.validate() {
        assert!(!error.problems().is_empty() && !error.to_string().is_empty());
    }
    let servers = String::from_utf8_lossy(data);
    if let Ok(settings) = ProducerConfig::new(&servers).resolve() {
        assert!(settings.bootstrap.iter().all(|(host, port)| !host.is_empty() && *port > 0));
    }
}

/// A producer's engine between callers and a cluster, as the bytes will have it: see [`stage`].
pub fn engine(data: &[u8]) {
    stage::play(Feed(data));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Random;

    type Target = fn(&[u8]);

    /// Runs a target with noise, and with samples that were damaged. A seed that fails is printed.
    fn feed(name: &str, target: Target, rounds: u64, samples: &[Vec<u8>]) {
        for seed in 0..rounds {
            let mut random = Random(seed);
            let mut below = |end: usize| (random.next() % end as u64) as usize;
            let mut data: Vec<u8> = match samples.get(below(samples.len() + 1)) {
                Some(sample) => sample.clone(),
                None => (0..below(400)).map(|_| below(256) as u8).collect(),
            };
            for _ in 0..below(6) {
                let at = below(data.len() + 1);
                match below(5) {
                    0 if at < data.len() => data[at] ^= 1 << below(8),
                    1 if at < data.len() => data[at] = [0, 1, 0x7f, 0x80, 0xff][below(5)],
                    2 => data.truncate(at),
                    3 => data.insert(at, below(256) as u8),
                    _ => {
                        let copied = data[at..].to_vec();
                        data.splice(at..at, copied.into_iter().take(below(20)));
                    }
                }
            }
            if let Err(panic) = crate::error::guarded(|| target(&data)) {
                panic!("{name}, seed {seed}: {panic}\n{data:?}");
            }
        }
    }

    #[test]
    fn responses_of_any_bytes() {
        let answers = answers();
        assert!(answers.iter().all(|answer| is_answer(answer)), "what is to be damaged is whole");
        feed("response", response, 30_000, &answers);
    }

    #[test]
    fn frames_of_any_stream() {
        let mut stream = vec![3, 5];
        for frame in [&[7; 4][..], &[8; 300], &[9; 4]] {
            stream.extend((frame.len() as u32).to_be_bytes());
            stream.extend(frame);
        }
        feed("frames", frames, 10_000, &[stream]);
    }

    #[test]
    fn records_of_any_bytes() {
        let mut batch = Vec::new();
        write_batch(&mut Feed(&[0x5a; 300]), &mut batch);
        feed("records", records, 10_000, &[batch]);
    }

    #[test]
    fn batches_of_any_records() {
        feed("batch", batch, 10_000, &[vec![3; 300]]);
    }

    #[test]
    fn numbers_of_any_length() {
        feed("varints", varints, 10_000, &[vec![0xff; 20], vec![0x80; 13]]);
    }

    #[test]
    fn settings_of_any_text() {
        let file = b"bootstrap.servers=[::1]:9092,h:1\nacks = all\nlinger.ms:5\n! no\n\\u0061\\\n  b c";
        let servers = [&b"a:1,[fe80::1%eth0]:9,SSL://h:9"[..], b"localhost:9092"];
        let samples: Vec<_> = [&file[..]].into_iter().chain(servers).map(<[u8]>::to_vec).collect();
        feed("config", config, 1_000, &samples);
    }

    #[test]
    fn engines_between_any_callers_and_brokers() {
        let calm: Vec<u8> = (0..60).map(|i| [0, i, 7, 4][i as usize % 4]).collect();
        feed("engine", engine, 1_500, &[calm]);
    }

    /// Of every kind and version, behind the bytes that choose it.
    fn answers() -> Vec<Vec<u8>> {
        let answers = crate::wire::tests::responses().into_iter();
        let chosen = |(api, version, body): (ApiKey, i16, Vec<u8>)| {
            let place = ApiKey::ALL.iter().position(|other| *other == api).expect("all are there");
            [&[place as u8, (version - api.min_version()) as u8][..], &body].concat()
        };
        answers.map(chosen).collect()
    }
}
