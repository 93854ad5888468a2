//! A client of a few functions, made of `kafka-protocol`, for the tests of the cluster itself.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ApiKey, ApiVersionsRequest, InitProducerIdRequest, MetadataRequest, ProduceRequest, RequestHeader,
        ResponseHeader, TopicName,
        metadata_request::MetadataRequestTopic,
        metadata_response::MetadataResponseTopic,
        produce_request::{PartitionProduceData, TopicProduceData},
        produce_response::PartitionProduceResponse,
    },
    protocol::{Decodable, Encodable, Request, StrBytes},
    records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType},
};

/// A request without its length prefix.
pub(super) fn frame<R: Request>(version: i16, correlation_id: i32, request: &R) -> Vec<u8> {
    let mut frame = BytesMut::new();
    RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(StrBytes::from_static_str("probe")))
        .encode(&mut frame, R::header_version(version))
        .unwrap();
    request.encode(&mut frame, version).unwrap();
    frame.into()
}

/// Decodes a response with its length prefix; nothing may be left over.
pub(super) fn response<R: Request>(version: i16, correlation_id: i32, frame: &[u8]) -> R::Response {
    let length = i32::from_be_bytes(frame[..4].try_into().unwrap());
    assert_eq!(length as usize, frame.len() - 4);
    let mut rest = Bytes::copy_from_slice(&frame[4..]);
    let key = ApiKey::try_from(R::KEY).unwrap();
    let header = ResponseHeader::decode(&mut rest, key.response_header_version(version)).unwrap();
    assert_eq!(header.correlation_id, correlation_id);
    let response = R::Response::decode(&mut rest, version).unwrap();
    assert!(rest.is_empty(), "{} bytes are left over", rest.len());
    response
}

pub(super) fn api_versions() -> ApiVersionsRequest {
    ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str("probe"))
        .with_client_software_version(StrBytes::from_static_str("1"))
}

pub(super) fn metadata(topics: &[&str]) -> MetadataRequest {
    let topics = topics.iter().map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name))));
    MetadataRequest::default().with_topics(Some(topics.collect())).with_allow_auto_topic_creation(true)
}

pub(super) fn init_producer_id() -> InitProducerIdRequest {
    InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(60_000)
        .with_producer_id((-1).into())
        .with_producer_epoch(-1)
}

/// acks=all, one partition, by name.
pub(super) fn produce(topic: &str, partition: i32, batch: impl Into<Bytes>) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch.into()));
    let topic = TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![topic])
}

/// The same, by the id that Metadata told.
pub(super) fn produce_by_id(
    topic: &MetadataResponseTopic,
    partition: i32,
    batch: impl Into<Bytes>,
) -> ProduceRequest {
    let mut request = produce("", partition, batch);
    request.topic_data[0].topic_id = topic.topic_id;
    request
}

/// The answer for the only partition of a produce request.
pub(super) fn answer(version: i16, correlation_id: i32, frame: &[u8]) -> PartitionProduceResponse {
    let response = response::<ProduceRequest>(version, correlation_id, frame);
    response.responses[0].partition_responses[0].clone()
}

/// A batch of these values, of an idempotent producer unless the id is -1.
pub(super) fn batch(producer_id: i64, epoch: i16, sequence: i32, values: &[&str]) -> Bytes {
    let records: Vec<Record> = (0..)
        .zip(values)
        .map(|(index, value)| Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: -1,
            producer_id,
            producer_epoch: epoch,
            timestamp_type: TimestampType::Creation,
            offset: i64::from(index),
            sequence: sequence.wrapping_add(index),
            timestamp: BASE_TIMESTAMP + i64::from(index),
            key: Some(Bytes::from_static(b"key")),
            value: Some(Bytes::copy_from_slice(value.as_bytes())),
            headers: [("h1".into(), Some("one".into())), ("h2".into(), None)].into(),
        })
        .collect();
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut bytes, &records, &options).unwrap();
    bytes.freeze()
}

/// A batch with something changed behind the CRC, and the CRC made right again.
pub(super) fn altered(batch: &Bytes, alter: impl FnOnce(&mut [u8])) -> Bytes {
    let mut bytes = batch.to_vec();
    alter(&mut bytes);
    let crc = crc32c::crc32c(&bytes[21..]);
    (&mut bytes[17..21]).put_u32(crc);
    bytes.into()
}

pub(super) fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

pub(super) const BASE_TIMESTAMP: i64 = 1_600_000_000_000;
