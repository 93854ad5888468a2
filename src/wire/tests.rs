//! The messages as a whole, against bytes that Java wrote, against the independent codec of the crate
//! `kafka-protocol`, and against nonsense.

use std::fmt::Write;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        self, BrokerId, TopicName, add_partitions_to_txn_response, api_versions_response,
        find_coordinator_response, metadata_response, produce_response, txn_offset_commit_response,
    },
    protocol::{Decodable, Encodable, HeaderVersion, StrBytes, decode_request_header_from_buffer},
    records::{Compression, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType},
};

use super::{
    add_offsets_to_txn::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse},
    add_partitions_to_txn::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse},
    api::ApiKey,
    api_versions::{ApiVersionsRequest, ApiVersionsResponse},
    batch::{self, BatchHeader, HEADER_LEN, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, TRANSACTIONAL},
    end_txn::{EndTxnRequest, EndTxnResponse},
    find_coordinator::{Coordinator, CoordinatorType, FindCoordinatorRequest, FindCoordinatorResponse},
    frame::{self, FrameReader},
    get_telemetry_subscriptions::{GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse},
    init_producer_id::{InitProducerIdRequest, InitProducerIdResponse},
    metadata::{Broker, MetadataRequest, MetadataResponse, Partition, Topic},
    primitives::{DecodeError, Reader, Uuid},
    produce::{
        PartitionResponse, ProduceFrame, ProducePartition, ProduceRequest, ProduceResponse, ProduceTopic,
        TopicResponse,
    },
    push_telemetry::{PushTelemetryRequest, PushTelemetryResponse},
    record::{RecordHead, put_body, put_record},
    sasl_authenticate::{self, SaslAuthenticateResponse},
    sasl_handshake::{self, SaslHandshakeResponse},
    sequence::Identity,
    txn_offset_commit::{
        TxnOffsetCommitAnswer, TxnOffsetCommitPartition, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
        TxnOffsetCommitTopic,
    },
};
use crate::{error::ErrorCode, record::Headers};

// Bytes that Java wrote.

#[test]
fn the_checksum_is_castagnoli_s() {
    assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
}

#[test]
fn batches_as_java_writes_them() {
    let header_h = [("h", None)].into_iter().collect::<Headers>();
    let none = Headers::new();
    let two = [(0, Some(&b"k"[..]), Some(&b"v"[..]), &none), (5, None, Some(&b"hello"[..]), &header_h)];
    let one = &two[..1];
    let backwards = [(0, None, None, &none), (-1, Some(&b""[..]), None, &none)];
    let identity = |header| BatchHeader { producer_id: 4000, producer_epoch: 3, base_sequence: 7, ..header };
    let late = BatchHeader { max_timestamp: BASE + 5, ..PLAIN };
    for (records, header, want) in [
        (
            &two[..],
            late,
            "000000000000000000000049ffffffff02af2ff9f60000000000010000018bcfe568000000018bcfe56805ffffffffffffffffffff\
             ffffffff0000000210000000026b0276001c000a02010a68656c6c6f02026801",
        ),
        (
            &two,
            identity(late),
            "000000000000000000000049ffffffff02d3a4d9bc0000000000010000018bcfe568000000018bcfe568050000000000000fa00003\
             000000070000000210000000026b0276001c000a02010a68656c6c6f02026801",
        ),
        (
            &two,
            BatchHeader { attributes: TRANSACTIONAL, ..identity(late) },
            "000000000000000000000049ffffffff02b2ad4a640010000000010000018bcfe568000000018bcfe568050000000000000fa00003\
             000000070000000210000000026b0276001c000a02010a68656c6c6f02026801",
        ),
        (
            &backwards,
            PLAIN,
            "00000000000000000000003fffffffff023e6bfe5a0000000000010000018bcfe568000000018bcfe56800ffffffffffffffffffff\
             ffffffff000000020c0000000101000c000102000100",
        ),
        (one, PLAIN, B1),
    ] {
        assert_eq!(hex(&batch(header, records)), want);
    }
}

#[test]
fn requests_as_java_writes_them() {
    let versions = ApiVersionsRequest { software_name: "rs", software_version: "0.1.0", addressee: None };
    let checked = ApiVersionsRequest { addressee: Some(("c1", 2)), ..versions };
    let init = |transactional_id| InitProducerIdRequest {
        transactional_id,
        transaction_timeout_ms: if transactional_id.is_some() { 60_000 } else { i32::MAX },
        producer_id: -1,
        producer_epoch: -1,
    };
    let metadata = MetadataRequest { topics: Some(&["t"]), allow_auto_topic_creation: true };
    let find = FindCoordinatorRequest { kind: CoordinatorType::Transaction, key: "tx" };
    let (t, topics) = (("t", vec![0]), [offsets_of("t", &[(0, 42, Some(""))])]);
    let add = AddPartitionsToTxnRequest { transactional_id: "tx", identity: ME, topics: &[t] };
    let end = EndTxnRequest { transactional_id: "tx", identity: ME, committed: true };
    let commit = offset_commit(&topics);
    for (api, version, correlation_id, encode, want) in [
        (
            ApiKey::ApiVersions,
            0,
            0,
            &(|out: &mut Vec<u8>| versions.encode(0, out)) as &dyn Fn(&mut Vec<u8>),
            "0000000c001200000000000000027031",
        ),
        (
            ApiKey::ApiVersions,
            4,
            0,
            &|out| versions.encode(4, out),
            "000000170012000400000000000270310003727306302e312e3000",
        ),
        (
            ApiKey::ApiVersions,
            5,
            0,
            &|out| versions.encode(5, out),
            "0000001c0012000500000000000270310003727306302e312e3000ffffffff00",
        ),
        (
            ApiKey::ApiVersions,
            5,
            0,
            &|out| checked.encode(5, out),
            "0000001e0012000500000000000270310003727306302e312e300363310000000200",
        ),
        (
            ApiKey::InitProducerId,
            1,
            2,
            &|out| init(Some("tx")).encode(1, out),
            "00000014001600010000000200027031000274780000ea60",
        ),
        (
            ApiKey::InitProducerId,
            5,
            2,
            &|out| init(Some("tx")).encode(5, out),
            "0000001f001600050000000200027031000374780000ea60ffffffffffffffffffff00",
        ),
        (
            ApiKey::InitProducerId,
            5,
            2,
            &|out| init(None).encode(5, out),
            "0000001d00160005000000020002703100007fffffffffffffffffffffffffff00",
        ),
        (
            ApiKey::Metadata,
            4,
            3,
            &|out| metadata.encode(4, out),
            "000000140003000400000003000270310000000100017401",
        ),
        (
            ApiKey::Metadata,
            13,
            3,
            &|out| metadata.encode(13, out),
            "000000240003000d0000000300027031000200000000000000000000000000000000027400010000",
        ),
        (
            ApiKey::FindCoordinator,
            6,
            4,
            &|out| find.encode(6, out),
            "00000013000a0006000000040002703100010203747800",
        ),
        (
            ApiKey::AddPartitionsToTxn,
            3,
            5,
            &|out| add.encode(3, out),
            "00000024001800030000000500027031000374780000000000000fa0000302027402000000000000",
        ),
        (
            ApiKey::EndTxn,
            5,
            6,
            &|out| end.encode(5, out),
            "0000001c001a00050000000600027031000374780000000000000fa000030100",
        ),
        (
            ApiKey::TxnOffsetCommit,
            5,
            7,
            &|out| commit.encode(5, out),
            "0000003b001c000500000007000270310003747802670000000000000fa0000300000007026d0002027402000000000000000000000\
             02affffffff01000000",
        ),
        (
            ApiKey::TxnOffsetCommit,
            6,
            7,
            &|out| commit.encode(6, out),
            "00000049001c000600000007000270310003747802670000000000000fa0000300000007026d00020123456789abcdef11223344556\
             677880200000000000000000000002affffffff01000000",
        ),
    ] {
        let frame = frame::request(api, version, correlation_id, "p1", encode);
        assert_eq!(hex(&frame), want, "{api:?} {version}");
    }
}

/// Put together by hand from the protocol's tables.
#[test]
fn telemetry_byte_by_byte() {
    let subscribe = GetTelemetrySubscriptionsRequest { client_instance_id: TOPIC_ID };
    let api = ApiKey::GetTelemetrySubscriptions;
    assert_eq!(
        hex(&frame::request(api, 0, 8, "p1", |out| subscribe.encode(0, out))),
        "0000001e0047000000000008000270310001234567 89abcdef112233445566778800".replace(' ', "")
    );
    let push = PushTelemetryRequest {
        client_instance_id: TOPIC_ID,
        subscription_id: 9,
        terminating: true,
        compression_type: 2,
        metrics: b"abc",
    };
    assert_eq!(
        hex(&frame::request(ApiKey::PushTelemetry, 0, 8, "p1", |out| push.encode(0, out))),
        "000000280048000000000008000270310001234567 89abcdef1122334455667788 00000009 01 02 04616263 00"
            .replace(' ', "")
    );
    let answer = bytes(
        &"00000000 0000 0123456789abcdef1122334455667788 00000009 03 02 00 00007530 00100000 01 02 0261 00"
            .replace(' ', ""),
    );
    assert_eq!(
        GetTelemetrySubscriptionsResponse::decode(0, &mut Reader::new(&answer)),
        Ok(GetTelemetrySubscriptionsResponse {
            throttle_time_ms: 0,
            error: ErrorCode::NONE,
            client_instance_id: TOPIC_ID,
            subscription_id: 9,
            accepted_compression_types: vec![2, 0],
            push_interval_ms: 30_000,
            telemetry_max_bytes: 1 << 20,
            delta_temporality: true,
            requested_metrics: vec!["a".into()],
        })
    );
}

#[test]
fn produce_requests_as_java_writes_them() {
    let records = bytes(B1);
    for (version, before, after) in [
        (3, "0000006d000000030000000100027031ffffffff0000753000000001000174000000010000000000000046", ""),
        (9, "000000660000000900000001000270310000ffff00007530020274020000000047", "000000"),
        (12, "000000660000000c00000001000270310000ffff00007530020274020000000047", "000000"),
        (
            13,
            "000000740000000d00000001000270310000ffff00007530020123456789abcdef1122334455667788020000000047",
            "000000",
        ),
    ] {
        let partitions = [ProducePartition { index: 0, records_len: records.len() }];
        let topics = [ProduceTopic { name: "t", topic_id: TOPIC_ID, partitions: &partitions }];
        let request =
            ProduceRequest { transactional_id: None, acks: -1, timeout_ms: 30_000, topics: &topics };
        let frame = request.encode_frame(version, 1, "p1");
        assert_eq!(hex(&frame.head), format!("{before}{after}"), "{version}");
        assert_eq!(frame.cuts, [before.len() / 2], "{version}");
        assert_eq!(hex(&filled(&frame, &[&records])), format!("{before}{B1}{after}"), "{version}");
    }
}

#[test]
fn responses_as_java_writes_them() {
    let (version, body) = (
        4,
        received(
            ApiKey::ApiVersions,
            4,
            0,
            "000000390000000000000200000000000d00000000000201080000000000000001021a02147472616e73616374696f6e2e7665727369\
             6f6e0002000200",
        ),
    );
    assert_eq!(
        ApiVersionsResponse::decode(version, &body),
        Ok(ApiVersionsResponse {
            error: ErrorCode::NONE,
            api_keys: vec![(0, 0, 13)],
            throttle_time_ms: 0,
            finalized_features: vec![("transaction.version".to_owned(), 2, 2)],
            finalized_features_epoch: 1,
        })
    );

    let body = received(ApiKey::InitProducerId, 5, 2, "0000001600000002000000000000000000000000000fa0000300");
    assert_eq!(
        InitProducerIdResponse::decode(5, &mut Reader::new(&body)),
        Ok(InitProducerIdResponse {
            throttle_time_ms: 0,
            error: ErrorCode::NONE,
            producer_id: 4000,
            producer_epoch: 3
        })
    );

    let body = received(
        ApiKey::Produce,
        9,
        1,
        "000000300000000100020274020000000000000000000000000005ffffffffffffffff0000000000000000010000000000000000",
    );
    let written = PartitionResponse {
        index: 0,
        error: ErrorCode::NONE,
        base_offset: 5,
        log_append_time_ms: -1,
        log_start_offset: 0,
        record_errors: vec![],
        error_message: None,
        current_leader: None,
    };
    assert_eq!(
        ProduceResponse::decode(9, &mut Reader::new(&body)),
        Ok(ProduceResponse {
            topics: vec![TopicResponse {
                name: Some("t".to_owned()),
                topic_id: Uuid::default(),
                partitions: vec![written.clone()]
            }],
            throttle_time_ms: 0,
            node_endpoints: vec![],
        })
    );

    let body = received(
        ApiKey::Produce,
        13,
        1,
        "000000580000000100020123456789abcdef112233445566778802000000000006ffffffffffffffffffffffffffffffffffffffffffff\
         ffff0100010009000000020000000900000000000001000d02000000020268000023840000",
    );
    assert_eq!(
        ProduceResponse::decode(13, &mut Reader::new(&body)),
        Ok(ProduceResponse {
            topics: vec![TopicResponse {
                name: None,
                topic_id: TOPIC_ID,
                partitions: vec![PartitionResponse {
                    error: ErrorCode::NOT_LEADER_OR_FOLLOWER,
                    base_offset: -1,
                    log_start_offset: -1,
                    current_leader: Some((2, 9)),
                    ..written
                }],
            }],
            throttle_time_ms: 0,
            node_endpoints: vec![Broker { node_id: 2, host: "h".to_owned(), port: 9092, rack: None }],
        })
    );
}

// The independent codec reads what we write.

#[test]
fn every_version_of_every_request_is_read_by_an_independent_codec() {
    for version in versions(ApiKey::ApiVersions) {
        let request = ApiVersionsRequest {
            software_name: "kafka-producer",
            software_version: "0.1.0",
            addressee: None,
        };
        let frame =
            frame::request(ApiKey::ApiVersions, version, 1, CLIENT, |out| request.encode(version, out));
        let read: messages::ApiVersionsRequest = understood(ApiKey::ApiVersions, version, &frame);
        let sent = version >= 3;
        assert_eq!(&*read.client_software_name, if sent { "kafka-producer" } else { "" });
        assert_eq!(&*read.client_software_version, if sent { "0.1.0" } else { "" });
    }
    for version in versions(ApiKey::InitProducerId) {
        for transactional_id in [None, Some("tx")] {
            let request = InitProducerIdRequest {
                transactional_id,
                transaction_timeout_ms: 60_000,
                producer_id: 4000,
                producer_epoch: 3,
            };
            let frame = frame::request(ApiKey::InitProducerId, version, 1, CLIENT, |out| {
                request.encode(version, out)
            });
            let read: messages::InitProducerIdRequest = understood(ApiKey::InitProducerId, version, &frame);
            assert_eq!(read.transactional_id.as_ref().map(|id| &*id.0), transactional_id);
            assert_eq!(read.transaction_timeout_ms, 60_000);
            let sent = version >= 3;
            assert_eq!(read.producer_id.0, if sent { 4000 } else { -1 });
            assert_eq!(read.producer_epoch, if sent { 3 } else { -1 });
        }
    }
    for version in versions(ApiKey::SaslHandshake) {
        let frame = frame::request(ApiKey::SaslHandshake, version, 1, CLIENT, |out| {
            sasl_handshake::encode("PLAIN", out);
        });
        let read: messages::SaslHandshakeRequest = understood(ApiKey::SaslHandshake, version, &frame);
        assert_eq!(&*read.mechanism, "PLAIN");
    }
    for version in versions(ApiKey::SaslAuthenticate) {
        let frame = frame::request(ApiKey::SaslAuthenticate, version, 1, CLIENT, |out| {
            sasl_authenticate::encode(version, b"\0alice\0secret", out);
        });
        let read: messages::SaslAuthenticateRequest = understood(ApiKey::SaslAuthenticate, version, &frame);
        assert_eq!(&*read.auth_bytes, b"\0alice\0secret");
    }
    for version in versions(ApiKey::GetTelemetrySubscriptions) {
        let request = GetTelemetrySubscriptionsRequest { client_instance_id: TOPIC_ID };
        let api = ApiKey::GetTelemetrySubscriptions;
        let frame = frame::request(api, version, 1, CLIENT, |out| request.encode(version, out));
        let read: messages::GetTelemetrySubscriptionsRequest = understood(api, version, &frame);
        assert_eq!(read.client_instance_id.as_bytes(), &TOPIC_ID);
    }
    for version in versions(ApiKey::PushTelemetry) {
        for (terminating, metrics) in [(true, &b""[..]), (false, &[7; 300])] {
            let request = PushTelemetryRequest {
                client_instance_id: TOPIC_ID,
                subscription_id: -7,
                terminating,
                compression_type: 4,
                metrics,
            };
            let api = ApiKey::PushTelemetry;
            let frame = frame::request(api, version, 1, CLIENT, |out| request.encode(version, out));
            let read: messages::PushTelemetryRequest = understood(api, version, &frame);
            assert_eq!(read.client_instance_id.as_bytes(), &TOPIC_ID);
            assert_eq!(
                (read.subscription_id, read.terminating, read.compression_type, &*read.metrics),
                (-7, terminating, 4, metrics)
            );
        }
    }
    for version in versions(ApiKey::Metadata) {
        for topics in [None, Some(&[][..]), Some(&["orders", "t"])] {
            for create in [true, false] {
                let request = MetadataRequest { topics, allow_auto_topic_creation: create };
                let frame =
                    frame::request(ApiKey::Metadata, version, 1, CLIENT, |out| request.encode(version, out));
                let read: messages::MetadataRequest = understood(ApiKey::Metadata, version, &frame);
                let names = read.topics.map(|topics| {
                    assert!(topics.iter().all(|topic| topic.topic_id.is_nil()));
                    topics.iter().map(|topic| topic.name.as_ref().unwrap().to_string()).collect::<Vec<_>>()
                });
                assert_eq!(names, topics.map(|topics| topics.iter().map(|&t| t.to_owned()).collect()));
                assert_eq!(read.allow_auto_topic_creation, create || version < 4);
                assert!(
                    !read.include_cluster_authorized_operations && !read.include_topic_authorized_operations
                );
            }
        }
    }
}

#[test]
fn every_version_of_the_requests_about_transactions_is_read_by_an_independent_codec() {
    for version in versions(ApiKey::FindCoordinator) {
        for (kind, number) in [(CoordinatorType::Group, 0), (CoordinatorType::Transaction, 1)] {
            let request = FindCoordinatorRequest { kind, key: "tx" };
            let frame = frame::request(ApiKey::FindCoordinator, version, 1, CLIENT, |out| {
                request.encode(version, out)
            });
            let read: messages::FindCoordinatorRequest = understood(ApiKey::FindCoordinator, version, &frame);
            assert_eq!(read.key_type, number);
            let keys: Vec<&str> = read.coordinator_keys.iter().map(|key| &**key).collect();
            let listed = version >= 4;
            assert_eq!((&*read.key, keys), if listed { ("", vec!["tx"]) } else { ("tx", vec![]) });
        }
    }
    for version in versions(ApiKey::AddPartitionsToTxn) {
        let topics = [("first", vec![0, 7]), ("second", vec![2])];
        let request = AddPartitionsToTxnRequest { transactional_id: "tx", identity: ME, topics: &topics };
        let frame = frame::request(ApiKey::AddPartitionsToTxn, version, 1, CLIENT, |out| {
            request.encode(version, out)
        });
        let read: messages::AddPartitionsToTxnRequest =
            understood(ApiKey::AddPartitionsToTxn, version, &frame);
        assert_eq!(&*read.v3_and_below_transactional_id.0, "tx");
        assert_eq!((read.v3_and_below_producer_id.0, read.v3_and_below_producer_epoch), (ME.id, ME.epoch));
        let read = read.v3_and_below_topics.iter().map(|topic| (&**topic.name, topic.partitions.clone()));
        assert_eq!(read.collect::<Vec<_>>(), topics);
    }
    for version in versions(ApiKey::AddOffsetsToTxn) {
        let request = AddOffsetsToTxnRequest { transactional_id: "tx", identity: ME, group_id: "g" };
        let frame =
            frame::request(ApiKey::AddOffsetsToTxn, version, 1, CLIENT, |out| request.encode(version, out));
        let read: messages::AddOffsetsToTxnRequest = understood(ApiKey::AddOffsetsToTxn, version, &frame);
        assert_eq!((&*read.transactional_id.0, &*read.group_id.0), ("tx", "g"));
        assert_eq!((read.producer_id.0, read.producer_epoch), (ME.id, ME.epoch));
    }
    for version in versions(ApiKey::EndTxn) {
        for committed in [true, false] {
            let request = EndTxnRequest { transactional_id: "tx", identity: ME, committed };
            let frame =
                frame::request(ApiKey::EndTxn, version, 1, CLIENT, |out| request.encode(version, out));
            let read: messages::EndTxnRequest = understood(ApiKey::EndTxn, version, &frame);
            assert_eq!((&*read.transactional_id.0, read.committed), ("tx", committed));
            assert_eq!((read.producer_id.0, read.producer_epoch), (ME.id, ME.epoch));
        }
    }
    for version in versions(ApiKey::TxnOffsetCommit) {
        let topics = [
            offsets_of("first", &[(0, 42, Some("here")), (7, 5_000_000_000, None)]),
            offsets_of("second", &[(2, 0, Some(""))]),
        ];
        let request = TxnOffsetCommitRequest { group_instance_id: Some("i"), ..offset_commit(&topics) };
        let frame =
            frame::request(ApiKey::TxnOffsetCommit, version, 1, CLIENT, |out| request.encode(version, out));
        let read: messages::TxnOffsetCommitRequest = understood(ApiKey::TxnOffsetCommit, version, &frame);
        assert_eq!((&*read.transactional_id.0, &*read.group_id.0), ("tx", "g"));
        assert_eq!((read.producer_id.0, read.producer_epoch), (ME.id, ME.epoch));
        let members = version >= 3;
        let member = (read.generation_id, &*read.member_id, read.group_instance_id.as_deref());
        assert_eq!(member, if members { (7, "m", Some("i")) } else { (-1, "", None) });
        for (read, sent) in read.topics.iter().zip(&topics) {
            assert_eq!((&**read.name, read.partitions.len()), (sent.name, sent.partitions.len()));
            for (read, sent) in read.partitions.iter().zip(&sent.partitions) {
                assert_eq!((read.partition_index, read.committed_offset), (sent.index, sent.offset));
                assert_eq!(read.committed_metadata.as_deref(), sent.metadata);
                assert_eq!(read.committed_leader_epoch, if version >= 2 { sent.leader_epoch } else { -1 });
            }
        }
    }
}

#[test]
fn every_version_of_a_produce_request_is_read_by_an_independent_codec() {
    let batches: Vec<Vec<u8>> = [1, 100, 9000].iter().map(|&len| batch_of(len)).collect();
    let partition = |index, batch: usize| ProducePartition { index, records_len: batches[batch].len() };
    let first = [partition(0, 0), partition(7, 1)];
    let second = [partition(2, 2)];
    for version in versions(ApiKey::Produce) {
        for transactional_id in [None, Some("tx")] {
            let topics = [
                ProduceTopic { name: "first", topic_id: TOPIC_ID, partitions: &first },
                ProduceTopic { name: "second", topic_id: [9; 16], partitions: &second },
            ];
            let request = ProduceRequest { transactional_id, acks: -1, timeout_ms: 30_000, topics: &topics };
            let frame = request.encode_frame(version, 1, CLIENT);
            let frame = filled(&frame, &batches.iter().map(|b| &b[..]).collect::<Vec<_>>());
            let read: messages::ProduceRequest = understood(ApiKey::Produce, version, &frame);
            assert_eq!(read.transactional_id.as_ref().map(|id| &*id.0), transactional_id);
            assert_eq!((read.acks, read.timeout_ms), (-1, 30_000));
            let mut seen = Vec::new();
            for (topic, sent) in read.topic_data.iter().zip(&topics) {
                if version >= 13 {
                    assert_eq!(topic.topic_id.as_bytes(), &sent.topic_id);
                } else {
                    assert_eq!(&**topic.name, sent.name);
                }
                for partition in &topic.partition_data {
                    seen.push((partition.index, partition.records.clone().unwrap()));
                }
            }
            let want: Vec<_> =
                [0, 7, 2].iter().zip(&batches).map(|(&index, b)| (index, Bytes::from(b.clone()))).collect();
            assert_eq!(seen, want, "{version}");
        }
    }
}

#[test]
fn record_batches_are_read_by_an_independent_codec() {
    let long = vec![b'x'; 100_000];
    let some =
        [("trace", Some(&b"a1"[..])), ("empty", Some(b"")), ("null", None)].into_iter().collect::<Headers>();
    let none = Headers::new();
    let records = [
        (0, Some(&b"k"[..]), Some(&b"v"[..]), &some),
        (-3, None, None, &none),
        (5_000_000_000, Some(b""), Some(b""), &none),
        (1, Some(b"key"), Some(&long[..]), &some),
    ];
    let header = BatchHeader {
        attributes: TRANSACTIONAL,
        max_timestamp: BASE + 5_000_000_000,
        producer_id: 4000,
        producer_epoch: 3,
        base_sequence: 70,
        ..PLAIN
    };
    let mut bytes = Bytes::from(batch(header, &records));
    // The decoder verifies the checksum.
    let set = RecordBatchDecoder::decode(&mut bytes).unwrap();
    assert!(!bytes.has_remaining());
    assert_eq!(set.version, 2);
    assert_eq!(set.records.len(), records.len());
    for (i, (read, (delta, key, value, headers))) in set.records.iter().zip(records).enumerate() {
        assert_eq!((read.offset, read.sequence, read.timestamp), (i as i64, 70 + i as i32, BASE + delta));
        assert_eq!((read.producer_id, read.producer_epoch, read.transactional), (4000, 3, true));
        assert!(!read.control && read.timestamp_type == TimestampType::Creation);
        assert_eq!((read.key.as_deref(), read.value.as_deref()), (key, value));
        let read_headers: Vec<_> = read.headers.iter().map(|(k, v)| (&**k, v.as_deref())).collect();
        assert_eq!(read_headers, headers.iter().collect::<Vec<_>>());
    }
}

#[test]
fn record_batches_of_an_independent_codec_are_read() {
    let ours = batch_of(100);
    let set = RecordBatchDecoder::decode(&mut Bytes::from(ours.clone())).unwrap();
    let mut theirs = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut theirs, &set.records, &options).unwrap();
    let read = |batch| batch::records(batch).collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(read(&theirs), read(&ours));
}

// We read what the independent codec writes.

#[test]
fn every_version_of_every_response_of_an_independent_codec_is_read() {
    for version in versions(ApiKey::ApiVersions) {
        let bytes = their_api_versions(version);
        let flexible = version >= 3;
        assert_eq!(
            ApiVersionsResponse::decode(version, &bytes),
            Ok(ApiVersionsResponse {
                error: ErrorCode::NONE,
                api_keys: vec![(0, 0, 13), (18, 0, 4)],
                throttle_time_ms: if version >= 1 { 250 } else { 0 },
                finalized_features: if flexible {
                    vec![("transaction.version".to_owned(), 2, 1), ("x".to_owned(), 1, 1)]
                } else {
                    vec![]
                },
                finalized_features_epoch: if flexible { 42 } else { -1 },
            }),
            "{version}"
        );
    }
    for version in versions(ApiKey::InitProducerId) {
        assert_eq!(
            InitProducerIdResponse::decode(version, &mut Reader::new(&their_init_producer_id(version))),
            Ok(InitProducerIdResponse {
                throttle_time_ms: 250,
                error: ErrorCode::CONCURRENT_TRANSACTIONS,
                producer_id: 4000,
                producer_epoch: 3,
            }),
            "{version}"
        );
    }
    for version in versions(ApiKey::SaslHandshake) {
        assert_eq!(
            SaslHandshakeResponse::decode(&mut Reader::new(&their_sasl_handshake(version))),
            Ok(SaslHandshakeResponse {
                error: ErrorCode::UNSUPPORTED_SASL_MECHANISM,
                mechanisms: vec!["PLAIN".into(), "SCRAM-SHA-256".into()],
            })
        );
    }
    for version in versions(ApiKey::SaslAuthenticate) {
        assert_eq!(
            SaslAuthenticateResponse::decode(version, &mut Reader::new(&their_sasl_authenticate(version))),
            Ok(SaslAuthenticateResponse {
                error: ErrorCode::SASL_AUTHENTICATION_FAILED,
                error_message: Some("no".into()),
                token: b"token",
                session_lifetime_ms: if version >= 1 { 3000 } else { 0 },
            }),
            "{version}"
        );
    }
    for version in versions(ApiKey::GetTelemetrySubscriptions) {
        assert_eq!(
            GetTelemetrySubscriptionsResponse::decode(
                version,
                &mut Reader::new(&their_subscriptions(version))
            ),
            Ok(GetTelemetrySubscriptionsResponse {
                throttle_time_ms: 250,
                error: ErrorCode::THROTTLING_QUOTA_EXCEEDED,
                client_instance_id: TOPIC_ID,
                subscription_id: -7,
                accepted_compression_types: vec![4, 1],
                push_interval_ms: 300_000,
                telemetry_max_bytes: 1 << 20,
                delta_temporality: true,
                requested_metrics: vec!["org.apache.kafka.producer.".into(), String::new()],
            })
        );
    }
    for version in versions(ApiKey::PushTelemetry) {
        assert_eq!(
            PushTelemetryResponse::decode(version, &mut Reader::new(&their_push(version))),
            Ok(PushTelemetryResponse { throttle_time_ms: 250, error: ErrorCode::UNKNOWN_SUBSCRIPTION_ID })
        );
    }
    for version in versions(ApiKey::Metadata) {
        assert_eq!(
            MetadataResponse::decode(version, &mut Reader::new(&their_metadata(version))),
            Ok(our_metadata(version)),
            "{version}"
        );
    }
    for version in versions(ApiKey::Produce) {
        assert_eq!(
            ProduceResponse::decode(version, &mut Reader::new(&their_produce(version))),
            Ok(our_produce(version)),
            "{version}"
        );
    }
}

#[test]
fn every_version_of_the_responses_about_transactions_of_an_independent_codec_is_read() {
    let refused = ErrorCode::CONCURRENT_TRANSACTIONS;
    for version in versions(ApiKey::FindCoordinator) {
        assert_eq!(
            FindCoordinatorResponse::decode(version, &mut Reader::new(&their_find_coordinator(version))),
            Ok(FindCoordinatorResponse { throttle_time_ms: 250, coordinators: our_coordinators(version) }),
            "{version}"
        );
    }
    for version in versions(ApiKey::AddPartitionsToTxn) {
        assert_eq!(
            AddPartitionsToTxnResponse::decode(version, &mut Reader::new(&their_add_partitions(version))),
            Ok(AddPartitionsToTxnResponse {
                throttle_time_ms: 250,
                topics: vec![("t".to_owned(), vec![(0, ErrorCode::NONE), (7, refused)])],
            }),
            "{version}"
        );
    }
    for version in versions(ApiKey::AddOffsetsToTxn) {
        assert_eq!(
            AddOffsetsToTxnResponse::decode(version, &mut Reader::new(&their_add_offsets(version))),
            Ok(AddOffsetsToTxnResponse { throttle_time_ms: 250, error: refused }),
            "{version}"
        );
    }
    for version in versions(ApiKey::EndTxn) {
        assert_eq!(
            EndTxnResponse::decode(version, &mut Reader::new(&their_end_txn(version))),
            Ok(EndTxnResponse {
                throttle_time_ms: 250,
                error: ErrorCode::NONE,
                next: (version >= 5).then_some(Identity { epoch: 4, ..ME }),
            }),
            "{version}"
        );
    }
    for version in versions(ApiKey::TxnOffsetCommit) {
        assert_eq!(
            TxnOffsetCommitResponse::decode(version, &mut Reader::new(&their_offset_commit(version))),
            Ok(TxnOffsetCommitResponse {
                throttle_time_ms: 250,
                topics: vec![TxnOffsetCommitAnswer {
                    name: Some("t".to_owned()),
                    topic_id: Uuid::default(),
                    partitions: vec![(0, ErrorCode::NONE), (7, refused)],
                }],
            }),
            "{version}"
        );
    }
}

/// The independent codec ends one version earlier; this one differs from it in how topics are named.
#[test]
fn offsets_committed_by_topic_id_are_answered_by_topic_id() {
    let bytes = [&[0, 0, 0, 250, 2][..], &TOPIC_ID, &[2, 0, 0, 0, 7, 0, 100, 0, 0, 0]].concat();
    let answer = TxnOffsetCommitAnswer {
        name: None,
        topic_id: TOPIC_ID,
        partitions: vec![(7, ErrorCode::UNKNOWN_TOPIC_ID)],
    };
    assert_eq!(
        TxnOffsetCommitResponse::decode(6, &mut Reader::new(&bytes)),
        Ok(TxnOffsetCommitResponse { throttle_time_ms: 250, topics: vec![answer] })
    );
    for end in 0..bytes.len() {
        assert!(TxnOffsetCommitResponse::decode(6, &mut Reader::new(&bytes[..end])).is_err(), "cut at {end}");
    }
}

#[test]
fn an_end_without_an_identity_leaves_the_present_one() {
    let bytes = encoded(&messages::EndTxnResponse::default(), 5);
    assert_eq!(EndTxnResponse::decode(5, &mut Reader::new(&bytes)).unwrap().next, None);
}

#[test]
fn response_headers_of_an_independent_codec_are_read() {
    for &api in ApiKey::ALL {
        for version in versions(api) {
            let header_version = match api {
                ApiKey::Produce => messages::ProduceResponse::header_version(version),
                ApiKey::Metadata => messages::MetadataResponse::header_version(version),
                ApiKey::ApiVersions => messages::ApiVersionsResponse::header_version(version),
                ApiKey::InitProducerId => messages::InitProducerIdResponse::header_version(version),
                ApiKey::FindCoordinator => messages::FindCoordinatorResponse::header_version(version),
                ApiKey::AddPartitionsToTxn => messages::AddPartitionsToTxnResponse::header_version(version),
                ApiKey::AddOffsetsToTxn => messages::AddOffsetsToTxnResponse::header_version(version),
                ApiKey::EndTxn => messages::EndTxnResponse::header_version(version),
                ApiKey::TxnOffsetCommit => messages::TxnOffsetCommitResponse::header_version(version),
                ApiKey::SaslHandshake => messages::SaslHandshakeResponse::header_version(version),
                ApiKey::SaslAuthenticate => messages::SaslAuthenticateResponse::header_version(version),
                ApiKey::GetTelemetrySubscriptions => {
                    messages::GetTelemetrySubscriptionsResponse::header_version(version)
                }
                ApiKey::PushTelemetry => messages::PushTelemetryResponse::header_version(version),
            };
            let mut header = messages::ResponseHeader::default().with_correlation_id(77);
            if header_version > 0 {
                header = header.with_unknown_tagged_field(5, Bytes::from_static(b"unknown"));
            }
            let bytes = encoded(&header, header_version);
            let mut reader = Reader::new(&bytes);
            assert_eq!(frame::response_header(api, version, &mut reader), Ok(77));
            reader.finish("header").unwrap();
        }
    }
}

#[test]
fn error_text_is_cut_and_made_harmless() {
    let partition = produce_response::PartitionProduceResponse::default()
        .with_error_code(87)
        .with_error_message(Some(StrBytes::from_static_str("line\nbreak\u{1b}[31m")))
        .with_record_errors(vec![
            produce_response::BatchIndexAndErrorMessage::default()
                .with_batch_index(-1)
                .with_batch_index_error_message(Some(StrBytes::from_string("é".repeat(10_000_000)))),
        ]);
    let topic = produce_response::TopicProduceResponse::default().with_partition_responses(vec![partition]);
    let bytes = encoded(&messages::ProduceResponse::default().with_responses(vec![topic]), 9);
    let read = ProduceResponse::decode(9, &mut Reader::new(&bytes)).unwrap();
    let partition = &read.topics[0].partitions[0];
    assert_eq!(partition.error_message.as_deref(), Some("line\\nbreak\\u{1b}[31m"));
    let (index, message) = &partition.record_errors[0];
    assert_eq!(*index, -1);
    assert!(message.as_ref().unwrap().len() < 600);
}

#[test]
fn a_leader_that_is_none_is_no_hint() {
    let partition = produce_response::PartitionProduceResponse::default()
        .with_current_leader(produce_response::LeaderIdAndEpoch::default().with_leader_epoch(4));
    let topic = produce_response::TopicProduceResponse::default().with_partition_responses(vec![partition]);
    let bytes = encoded(&messages::ProduceResponse::default().with_responses(vec![topic]), 10);
    let read = ProduceResponse::decode(10, &mut Reader::new(&bytes)).unwrap();
    assert_eq!(read.topics[0].partitions[0].current_leader, None);
}

// Nonsense.

#[test]
fn a_response_cut_anywhere_is_an_error() {
    for (api, version, bytes) in responses() {
        let whole = decoded(api, version, &bytes);
        assert!(whole.is_ok(), "{api:?} {version}");
        for end in 0..bytes.len() {
            let cut = decoded(api, version, &bytes[..end]);
            // Versions 1 and 2 are version 0 with a number behind it, and version 0 is always understood.
            let first_layout =
                api == ApiKey::ApiVersions && matches!(version, 1 | 2) && end == bytes.len() - 4;
            assert_eq!(cut.is_ok(), first_layout, "{api:?} {version} cut at {end} of {}", bytes.len());
            if let Err(error) = cut {
                assert!(error.at <= end, "{api:?} {version} cut at {end}: {error}");
            }
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(decoded(api, version, &longer).is_err(), "{api:?} {version} with a byte too many");
    }
}

#[test]
fn counts_that_cannot_be_are_refused_in_every_place() {
    let uvarint_max = [0xff, 0xff, 0xff, 0xff, 0x0f];
    for (api, version, bytes) in responses() {
        for at in 0..bytes.len() {
            for lie in
                [&i32::MAX.to_be_bytes()[..], &(-2_i32).to_be_bytes(), &i32::MIN.to_be_bytes(), &uvarint_max]
            {
                let mut lying = bytes.clone();
                lying.truncate(at);
                lying.extend_from_slice(lie);
                lying.extend_from_slice(bytes.get(at + lie.len()..).unwrap_or_default());
                check(api, version, &lying, &format!("{lie:?} at {at}"));
            }
        }
    }
}

/// Every outcome is fine except a panic and memory out of proportion.
#[test]
fn damaged_responses_are_values_or_errors() {
    let responses = responses();
    let mut random = Random(SEED);
    for round in 0..20_000 {
        let (api, version, bytes) = &responses[random.below(responses.len())];
        let mut damaged = bytes.clone();
        for _ in 0..=random.below(6) {
            damage(&mut damaged, &mut random);
        }
        check(*api, *version, &damaged, &format!("seed {SEED:#x} round {round}"));
    }
}

#[test]
fn noise_is_a_value_or_an_error() {
    let mut random = Random(SEED);
    for round in 0..5_000 {
        let len = random.below(200);
        let noise: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
        let trace = format!("seed {SEED:#x} round {round}");
        for &api in ApiKey::ALL {
            check(
                api,
                api.min_version() + (round % 14).min(api.max_version() - api.min_version()),
                &noise,
                &trace,
            );
        }
        for record in batch::records(&noise) {
            drop(record);
        }
        let mut reader = FrameReader::new();
        reader.push(&noise);
        while let Ok(Some(_)) = reader.next(ApiKey::Produce) {}
    }
}

#[test]
fn damaged_batches_are_records_or_errors() {
    let whole = batch_of(60);
    let mut random = Random(SEED);
    for round in 0..5_000 {
        let mut damaged = whole.clone();
        damage(&mut damaged, &mut random);
        let read: Vec<_> = batch::records(&damaged).collect();
        let errors = read.iter().filter(|record| record.is_err()).count();
        assert!(errors <= 1, "seed {SEED:#x} round {round}: {read:?}");
    }
}

// Helpers: the other codec.

pub(crate) type Api = (ApiKey, i16, Vec<u8>);

/// A full response of every version of everything.
pub(crate) fn responses() -> Vec<Api> {
    let mut all = Vec::new();
    for &api in ApiKey::ALL {
        for version in versions(api) {
            all.push((
                api,
                version,
                match api {
                    ApiKey::Produce => their_produce(version),
                    ApiKey::Metadata => their_metadata(version),
                    ApiKey::ApiVersions => their_api_versions(version),
                    ApiKey::InitProducerId => their_init_producer_id(version),
                    ApiKey::FindCoordinator => their_find_coordinator(version),
                    ApiKey::AddPartitionsToTxn => their_add_partitions(version),
                    ApiKey::AddOffsetsToTxn => their_add_offsets(version),
                    ApiKey::EndTxn => their_end_txn(version),
                    ApiKey::TxnOffsetCommit => their_offset_commit(version),
                    ApiKey::SaslHandshake => their_sasl_handshake(version),
                    ApiKey::SaslAuthenticate => their_sasl_authenticate(version),
                    ApiKey::GetTelemetrySubscriptions => their_subscriptions(version),
                    ApiKey::PushTelemetry => their_push(version),
                },
            ));
        }
    }
    all
}

/// Every version of ours that the independent codec knows as well. It ends at ApiVersions 4, and version 5 differs in
/// the request alone, which the golden vectors hold; and at TxnOffsetCommit 5, and 6 has a test of its own.
fn versions(api: ApiKey) -> impl Iterator<Item = i16> {
    let last = match api {
        ApiKey::ApiVersions => 4,
        ApiKey::TxnOffsetCommit => 5,
        _ => api.max_version(),
    };
    api.min_version()..=last
}

/// Puts a field that nobody knows into a struct of a flexible version.
macro_rules! with_unknown_tag {
    ($flexible:expr, $message:expr) => {
        if $flexible {
            $message.with_unknown_tagged_field(99, Bytes::from_static(b"unknown"))
        } else {
            $message
        }
    };
}

fn their_api_versions(version: i16) -> Vec<u8> {
    use api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
    let flexible = version >= 3;
    let range = |key, max| {
        with_unknown_tag!(
            flexible,
            ApiVersion::default().with_api_key(key).with_min_version(0).with_max_version(max)
        )
    };
    let mut response =
        messages::ApiVersionsResponse::default().with_api_keys(vec![range(0, 13), range(18, 4)]);
    if version >= 1 {
        response.throttle_time_ms = 250;
    }
    if flexible {
        let feature = |name, max, min| {
            FinalizedFeatureKey::default()
                .with_name(StrBytes::from_static_str(name))
                .with_max_version_level(max)
                .with_min_version_level(min)
                .with_unknown_tagged_field(99, Bytes::from_static(b"unknown"))
        };
        response.supported_features = vec![
            SupportedFeatureKey::default().with_name(StrBytes::from_static_str("x")).with_max_version(3),
        ];
        response.finalized_features = vec![feature("transaction.version", 2, 1), feature("x", 1, 1)];
        response.finalized_features_epoch = 42;
        response.zk_migration_ready = true;
    }
    encoded(&with_unknown_tag!(flexible, response), version)
}

fn their_init_producer_id(version: i16) -> Vec<u8> {
    let response = messages::InitProducerIdResponse::default()
        .with_throttle_time_ms(250)
        .with_error_code(51)
        .with_producer_id(4000.into())
        .with_producer_epoch(3);
    encoded(&with_unknown_tag!(version >= 2, response), version)
}

fn their_find_coordinator(version: i16) -> Vec<u8> {
    let response = messages::FindCoordinatorResponse::default().with_throttle_time_ms(250);
    let ours = our_coordinators(version);
    let response = if version < 4 {
        let Coordinator { error, error_message, broker, .. } = &ours[0];
        response
            .with_error_code(error.0)
            .with_error_message(error_message.as_deref().map(text))
            .with_node_id(broker.node_id.into())
            .with_host(text(&broker.host))
            .with_port(broker.port)
    } else {
        let coordinators = ours.iter().map(|c| {
            find_coordinator_response::Coordinator::default()
                .with_key(text(c.key.as_deref().unwrap_or_default()))
                .with_node_id(c.broker.node_id.into())
                .with_host(text(&c.broker.host))
                .with_port(c.broker.port)
                .with_error_code(c.error.0)
                .with_error_message(c.error_message.as_deref().map(text))
                .with_unknown_tagged_field(99, Bytes::from_static(b"unknown"))
        });
        response.with_coordinators(coordinators.collect())
    };
    encoded(&with_unknown_tag!(version >= 3, response), version)
}

fn our_coordinators(version: i16) -> Vec<Coordinator> {
    let listed = version >= 4;
    let found = Coordinator {
        key: listed.then(|| "tx".to_owned()),
        error: ErrorCode::NONE,
        error_message: None,
        broker: Broker { node_id: 2, host: "two.example".to_owned(), port: 9093, rack: None },
    };
    let missing = Coordinator {
        key: listed.then(|| "other".to_owned()),
        error: ErrorCode::COORDINATOR_NOT_AVAILABLE,
        error_message: Some("not yet".to_owned()),
        broker: Broker { node_id: -1, host: String::new(), port: -1, rack: None },
    };
    match version {
        4.. => vec![found, missing],
        2 => vec![missing],
        _ => vec![found],
    }
}

fn their_add_partitions(version: i16) -> Vec<u8> {
    use add_partitions_to_txn_response::{
        AddPartitionsToTxnPartitionResult as Partition, AddPartitionsToTxnTopicResult as Topic,
    };
    let flexible = version >= 3;
    let partition = |index, code| {
        with_unknown_tag!(
            flexible,
            Partition::default().with_partition_index(index).with_partition_error_code(code)
        )
    };
    let topic = Topic::default()
        .with_name(topic_name("t"))
        .with_results_by_partition(vec![partition(0, 0), partition(7, 51)]);
    let response = messages::AddPartitionsToTxnResponse::default()
        .with_throttle_time_ms(250)
        .with_results_by_topic_v3_and_below(vec![with_unknown_tag!(flexible, topic)]);
    encoded(&with_unknown_tag!(flexible, response), version)
}

fn their_add_offsets(version: i16) -> Vec<u8> {
    let response =
        messages::AddOffsetsToTxnResponse::default().with_throttle_time_ms(250).with_error_code(51);
    encoded(&with_unknown_tag!(version >= 3, response), version)
}

fn their_end_txn(version: i16) -> Vec<u8> {
    let mut response = messages::EndTxnResponse::default().with_throttle_time_ms(250);
    if version >= 5 {
        response = response.with_producer_id(ME.id.into()).with_producer_epoch(ME.epoch + 1);
    }
    encoded(&with_unknown_tag!(version >= 3, response), version)
}

fn their_offset_commit(version: i16) -> Vec<u8> {
    use txn_offset_commit_response::{
        TxnOffsetCommitResponsePartition as Partition, TxnOffsetCommitResponseTopic as Topic,
    };
    let flexible = version >= 3;
    let partition = |index, code| {
        with_unknown_tag!(flexible, Partition::default().with_partition_index(index).with_error_code(code))
    };
    let topic =
        Topic::default().with_name(topic_name("t")).with_partitions(vec![partition(0, 0), partition(7, 51)]);
    let response = messages::TxnOffsetCommitResponse::default()
        .with_throttle_time_ms(250)
        .with_topics(vec![with_unknown_tag!(flexible, topic)]);
    encoded(&with_unknown_tag!(flexible, response), version)
}

fn their_sasl_handshake(version: i16) -> Vec<u8> {
    let response = messages::SaslHandshakeResponse::default()
        .with_error_code(33)
        .with_mechanisms(vec![text("PLAIN"), text("SCRAM-SHA-256")]);
    encoded(&response, version)
}

fn their_sasl_authenticate(version: i16) -> Vec<u8> {
    let mut response = messages::SaslAuthenticateResponse::default()
        .with_error_code(58)
        .with_error_message(Some(text("no")))
        .with_auth_bytes(Bytes::from_static(b"token"));
    if version >= 1 {
        response = response.with_session_lifetime_ms(3000);
    }
    encoded(&with_unknown_tag!(version >= 2, response), version)
}

fn their_subscriptions(version: i16) -> Vec<u8> {
    let response = messages::GetTelemetrySubscriptionsResponse::default()
        .with_throttle_time_ms(250)
        .with_error_code(89)
        .with_client_instance_id(hex(&TOPIC_ID).parse().expect("32 digits are an id"))
        .with_subscription_id(-7)
        .with_accepted_compression_types(vec![4, 1])
        .with_push_interval_ms(300_000)
        .with_telemetry_max_bytes(1 << 20)
        .with_delta_temporality(true)
        .with_requested_metrics(vec![text("org.apache.kafka.producer."), text("")]);
    encoded(&with_unknown_tag!(true, response), version)
}

fn their_push(version: i16) -> Vec<u8> {
    let response = messages::PushTelemetryResponse::default().with_throttle_time_ms(250).with_error_code(117);
    encoded(&with_unknown_tag!(true, response), version)
}

fn their_metadata(version: i16) -> Vec<u8> {
    use metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic};
    let flexible = version >= 9;
    let ours = our_metadata(version);
    let nodes = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect::<Vec<_>>();
    let partition = |p: &Partition| {
        let partition = MetadataResponsePartition::default()
            .with_error_code(p.error.0)
            .with_partition_index(p.index)
            .with_leader_id(p.leader_id.into())
            .with_leader_epoch(p.leader_epoch)
            .with_replica_nodes(nodes(&p.replicas))
            .with_isr_nodes(nodes(&p.isr))
            .with_offline_replicas(nodes(&p.offline));
        with_unknown_tag!(flexible, partition)
    };
    let topic = |t: &Topic| {
        let topic = MetadataResponseTopic::default()
            .with_error_code(t.error.0)
            .with_name(t.name.as_deref().map(topic_name))
            .with_topic_id(hex(&t.topic_id).parse().expect("32 digits are an id"))
            .with_is_internal(t.is_internal)
            .with_partitions(t.partitions.iter().map(partition).collect());
        let topic = if version >= 8 { topic.with_topic_authorized_operations(0xff) } else { topic };
        with_unknown_tag!(flexible, topic)
    };
    let broker = |b: &Broker| {
        let broker = MetadataResponseBroker::default()
            .with_node_id(b.node_id.into())
            .with_host(text(&b.host))
            .with_port(b.port)
            .with_rack(b.rack.as_deref().map(text));
        with_unknown_tag!(flexible, broker)
    };
    let response = messages::MetadataResponse::default()
        .with_throttle_time_ms(ours.throttle_time_ms)
        .with_brokers(ours.brokers.iter().map(broker).collect())
        .with_cluster_id(ours.cluster_id.as_deref().map(text))
        .with_controller_id(ours.controller_id.into())
        .with_topics(ours.topics.iter().map(topic).collect())
        .with_error_code(ours.error.0);
    let response = if (8..=10).contains(&version) {
        response.with_cluster_authorized_operations(0xff)
    } else {
        response
    };
    encoded(&with_unknown_tag!(flexible, response), version)
}

fn our_metadata(version: i16) -> MetadataResponse {
    let since = |first| version >= first;
    let topic_id = |id| if since(10) { id } else { Uuid::default() };
    let partition = |index, leader_id, error| Partition {
        error,
        index,
        leader_id,
        leader_epoch: if since(7) { 12 } else { -1 },
        replicas: vec![1, 2, 3],
        isr: vec![2],
        offline: if since(5) { vec![1, 3] } else { vec![] },
    };
    let mut topics = vec![
        Topic {
            error: ErrorCode::NONE,
            name: Some("orders".to_owned()),
            topic_id: topic_id(TOPIC_ID),
            is_internal: true,
            partitions: vec![
                partition(0, 2, ErrorCode::NONE),
                partition(1, -1, ErrorCode::LEADER_NOT_AVAILABLE),
            ],
        },
        Topic {
            error: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            name: Some("nowhere".to_owned()),
            topic_id: Uuid::default(),
            is_internal: false,
            partitions: vec![],
        },
    ];
    if since(12) {
        topics.push(Topic {
            error: ErrorCode::UNKNOWN_TOPIC_ID,
            name: None,
            topic_id: [7; 16],
            is_internal: false,
            partitions: vec![],
        });
    }
    MetadataResponse {
        throttle_time_ms: if since(3) { 250 } else { 0 },
        brokers: vec![
            Broker { node_id: 1, host: "one.example".to_owned(), port: 9092, rack: Some("a".to_owned()) },
            Broker { node_id: 2, host: "::1".to_owned(), port: 65_536, rack: None },
        ],
        cluster_id: since(2).then(|| "cluster".to_owned()),
        controller_id: 2,
        topics,
        error: if since(13) { ErrorCode::REBOOTSTRAP_REQUIRED } else { ErrorCode::NONE },
    }
}

fn their_produce(version: i16) -> Vec<u8> {
    use produce_response::{
        BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse,
        TopicProduceResponse,
    };
    let flexible = version >= 9;
    let ours = our_produce(version);
    let partition = |p: &PartitionResponse| {
        let errors = p.record_errors.iter().map(|(index, message)| {
            let error = BatchIndexAndErrorMessage::default()
                .with_batch_index(*index)
                .with_batch_index_error_message(message.as_deref().map(text));
            with_unknown_tag!(flexible, error)
        });
        let mut partition = PartitionProduceResponse::default()
            .with_index(p.index)
            .with_error_code(p.error.0)
            .with_base_offset(p.base_offset)
            .with_log_append_time_ms(p.log_append_time_ms)
            .with_log_start_offset(p.log_start_offset)
            .with_record_errors(errors.collect())
            .with_error_message(p.error_message.as_deref().map(text));
        if let Some((id, epoch)) = p.current_leader {
            let leader = LeaderIdAndEpoch::default().with_leader_id(id.into()).with_leader_epoch(epoch);
            partition = partition.with_current_leader(with_unknown_tag!(flexible, leader));
        }
        with_unknown_tag!(flexible, partition)
    };
    let topic = |t: &TopicResponse| {
        let topic = TopicProduceResponse::default()
            .with_name(topic_name(t.name.as_deref().unwrap_or_default()))
            .with_topic_id(hex(&t.topic_id).parse().expect("32 digits are an id"))
            .with_partition_responses(t.partitions.iter().map(partition).collect());
        with_unknown_tag!(flexible, topic)
    };
    let node = |b: &Broker| {
        let node = NodeEndpoint::default()
            .with_node_id(b.node_id.into())
            .with_host(text(&b.host))
            .with_port(b.port)
            .with_rack(b.rack.as_deref().map(text));
        with_unknown_tag!(flexible, node)
    };
    let response = messages::ProduceResponse::default()
        .with_responses(ours.topics.iter().map(topic).collect())
        .with_throttle_time_ms(ours.throttle_time_ms)
        .with_node_endpoints(ours.node_endpoints.iter().map(node).collect());
    encoded(&with_unknown_tag!(flexible, response), version)
}

fn our_produce(version: i16) -> ProduceResponse {
    let since = |first| version >= first;
    let written = PartitionResponse {
        index: 3,
        error: ErrorCode::NONE,
        base_offset: 5_000_000_000,
        log_append_time_ms: BASE,
        log_start_offset: if since(5) { 17 } else { -1 },
        record_errors: vec![],
        error_message: None,
        current_leader: None,
    };
    let refused = PartitionResponse {
        index: 4,
        error: ErrorCode::INVALID_RECORD,
        base_offset: -1,
        log_append_time_ms: -1,
        record_errors: if since(8) { vec![(0, None), (7, Some("no key".to_owned()))] } else { vec![] },
        error_message: since(8).then(|| "one or more records have been rejected".to_owned()),
        ..written.clone()
    };
    let moved = PartitionResponse {
        index: 0,
        error: ErrorCode::NOT_LEADER_OR_FOLLOWER,
        current_leader: since(10).then_some((2, 9)),
        ..written.clone()
    };
    let topic = |name: &str, id, partitions| TopicResponse {
        name: (!since(13)).then(|| name.to_owned()),
        topic_id: if since(13) { id } else { Uuid::default() },
        partitions,
    };
    ProduceResponse {
        topics: vec![
            topic("orders", TOPIC_ID, vec![written, refused]),
            topic("t", [9; 16], vec![moved]),
            topic("empty", [1; 16], vec![]),
        ],
        throttle_time_ms: 250,
        node_endpoints: if since(10) {
            vec![Broker {
                node_id: 2,
                host: "two.example".to_owned(),
                port: 9093,
                rack: Some("b".to_owned()),
            }]
        } else {
            vec![]
        },
    }
}

fn encoded(message: &impl Encodable, version: i16) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    message.encode(&mut bytes, version).unwrap();
    bytes.to_vec()
}

/// What the other codec makes of one of our frames, down to its last byte.
fn understood<T: Decodable + HeaderVersion>(api: ApiKey, version: i16, frame: &[u8]) -> T {
    let mut bytes = Bytes::copy_from_slice(frame);
    assert_eq!(bytes.get_i32() as usize, frame.len() - 4, "{api:?} {version}");
    let header = decode_request_header_from_buffer(&mut bytes).unwrap();
    assert_eq!((header.request_api_key, header.request_api_version), (api.key(), version));
    assert_eq!((header.correlation_id, header.client_id.as_deref()), (1, Some(CLIENT)));
    let message = T::decode(&mut bytes, version).unwrap();
    assert!(!bytes.has_remaining(), "{api:?} {version}");
    message
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

// Helpers: ours.

fn offsets_of<'a>(name: &'a str, partitions: &[(i32, i64, Option<&'a str>)]) -> TxnOffsetCommitTopic<'a> {
    let partition =
        |&(index, offset, metadata)| TxnOffsetCommitPartition { index, offset, leader_epoch: -1, metadata };
    TxnOffsetCommitTopic { name, topic_id: TOPIC_ID, partitions: partitions.iter().map(partition).collect() }
}

fn offset_commit<'a>(topics: &'a [TxnOffsetCommitTopic<'a>]) -> TxnOffsetCommitRequest<'a> {
    TxnOffsetCommitRequest {
        transactional_id: "tx",
        group_id: "g",
        identity: ME,
        generation: 7,
        member_id: "m",
        group_instance_id: None,
        topics,
    }
}

type TestRecord<'a> = (i64, Option<&'a [u8]>, Option<&'a [u8]>, &'a Headers);

fn batch(header: BatchHeader, records: &[TestRecord<'_>]) -> Vec<u8> {
    let mut batch = vec![0xaa; HEADER_LEN];
    let mut body = Vec::new();
    for (offset, &(timestamp_delta, key, value, headers)) in records.iter().enumerate() {
        body.clear();
        put_body(&mut body, key, value, headers.entries());
        put_record(&mut batch, &RecordHead::new(body.len(), timestamp_delta, offset as i32), &body);
    }
    batch::write_header(&mut batch, &BatchHeader { records_count: records.len() as i32, ..header });
    batch
}

fn batch_of(len: usize) -> Vec<u8> {
    let value = vec![b'v'; len];
    let headers = [("h", Some(&b"x"[..])), ("n", None)].into_iter().collect();
    let none = Headers::new();
    batch(
        BatchHeader { max_timestamp: BASE + 5, ..PLAIN },
        &[(0, Some(b"k"), Some(&value), &headers), (5, None, None, &none)],
    )
}

/// A frame as it goes over the wire.
fn filled(frame: &ProduceFrame, batches: &[&[u8]]) -> Vec<u8> {
    assert_eq!(frame.cuts.len(), batches.len());
    let mut bytes = Vec::new();
    let mut from = 0;
    for (&cut, batch) in frame.cuts.iter().zip(batches) {
        bytes.extend_from_slice(&frame.head[from..cut]);
        bytes.extend_from_slice(batch);
        from = cut;
    }
    bytes.extend_from_slice(&frame.head[from..]);
    bytes
}

/// The body of a response that arrives as these bytes.
fn received(api: ApiKey, version: i16, correlation_id: i32, hex: &str) -> Vec<u8> {
    let mut frames = FrameReader::new();
    frames.push(&bytes(hex));
    let frame = frames.next(api).unwrap().unwrap();
    assert!(!frames.is_mid_frame());
    let mut reader = Reader::new(&frame);
    assert_eq!(frame::response_header(api, version, &mut reader), Ok(correlation_id));
    reader.rest().to_vec()
}

/// What a response weighs on the heap, or why there is none.
fn decoded(api: ApiKey, version: i16, bytes: &[u8]) -> Result<usize, DecodeError> {
    let mut r = Reader::new(bytes);
    Ok(match api {
        ApiKey::Produce => {
            let response = ProduceResponse::decode(version, &mut r)?;
            let mut weight = heap(&response.topics) + brokers_heap(&response.node_endpoints);
            for topic in &response.topics {
                weight += string_heap(&topic.name) + heap(&topic.partitions);
                for partition in &topic.partitions {
                    weight += heap(&partition.record_errors) + string_heap(&partition.error_message);
                    weight +=
                        partition.record_errors.iter().map(|(_, text)| string_heap(text)).sum::<usize>();
                }
            }
            weight
        }
        ApiKey::Metadata => {
            let response = MetadataResponse::decode(version, &mut r)?;
            let mut weight =
                heap(&response.topics) + brokers_heap(&response.brokers) + string_heap(&response.cluster_id);
            for topic in &response.topics {
                weight += string_heap(&topic.name) + heap(&topic.partitions);
                for p in &topic.partitions {
                    weight += heap(&p.replicas) + heap(&p.isr) + heap(&p.offline);
                }
            }
            weight
        }
        ApiKey::GetTelemetrySubscriptions => {
            let response = GetTelemetrySubscriptionsResponse::decode(version, &mut r)?;
            let names: usize = response.requested_metrics.iter().map(String::capacity).sum();
            heap(&response.accepted_compression_types) + heap(&response.requested_metrics) + names
        }
        ApiKey::PushTelemetry => {
            PushTelemetryResponse::decode(version, &mut r)?;
            0
        }
        ApiKey::ApiVersions => {
            let response = ApiVersionsResponse::decode(version, bytes)?;
            let names: usize = response.finalized_features.iter().map(|(name, ..)| name.capacity()).sum();
            heap(&response.api_keys) + heap(&response.finalized_features) + names
        }
        ApiKey::InitProducerId => {
            InitProducerIdResponse::decode(version, &mut r)?;
            0
        }
        ApiKey::FindCoordinator => {
            let response = FindCoordinatorResponse::decode(version, &mut r)?;
            let texts: usize = response
                .coordinators
                .iter()
                .map(|c| string_heap(&c.key) + string_heap(&c.error_message) + c.broker.host.capacity())
                .sum();
            heap(&response.coordinators) + texts
        }
        ApiKey::AddPartitionsToTxn => {
            let response = AddPartitionsToTxnResponse::decode(version, &mut r)?;
            let topics: usize =
                response.topics.iter().map(|(name, partitions)| name.capacity() + heap(partitions)).sum();
            heap(&response.topics) + topics
        }
        ApiKey::AddOffsetsToTxn => {
            AddOffsetsToTxnResponse::decode(version, &mut r)?;
            0
        }
        ApiKey::EndTxn => {
            EndTxnResponse::decode(version, &mut r)?;
            0
        }
        ApiKey::TxnOffsetCommit => {
            let response = TxnOffsetCommitResponse::decode(version, &mut r)?;
            let topics: usize =
                response.topics.iter().map(|t| string_heap(&t.name) + heap(&t.partitions)).sum();
            heap(&response.topics) + topics
        }
        ApiKey::SaslHandshake => {
            let response = SaslHandshakeResponse::decode(&mut r)?;
            heap(&response.mechanisms) + response.mechanisms.iter().map(String::capacity).sum::<usize>()
        }
        ApiKey::SaslAuthenticate => {
            string_heap(&SaslAuthenticateResponse::decode(version, &mut r)?.error_message)
        }
    })
}

fn heap<T>(list: &Vec<T>) -> usize {
    list.capacity() * size_of::<T>()
}

fn string_heap(text: &Option<String>) -> usize {
    text.as_ref().map_or(0, String::capacity)
}

fn brokers_heap(brokers: &Vec<Broker>) -> usize {
    let texts: usize = brokers.iter().map(|b| b.host.capacity() + string_heap(&b.rack)).sum();
    heap(brokers) + texts
}

/// No panic, no memory out of proportion, no error that points outside the bytes.
fn check(api: ApiKey, version: i16, bytes: &[u8], trace: &str) {
    match decoded(api, version, bytes) {
        Ok(weight) => {
            let limit = bytes.len() * MAX_HEAP_PER_BYTE;
            assert!(
                weight <= limit,
                "{api:?} {version}, {trace}: {weight} bytes of memory for {}",
                bytes.len()
            );
        }
        Err(error) => assert!(error.at <= bytes.len(), "{api:?} {version}, {trace}: {error}"),
    }
}

fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    if bytes.is_empty() {
        bytes.push(random.next() as u8);
    }
    let at = random.below(bytes.len());
    match random.below(6) {
        0 | 1 => bytes[at] ^= 1 << random.below(8),
        2 => bytes[at] = random.next() as u8,
        3 => {
            let number = match random.below(4) {
                0 => i32::MAX,
                1 => -1,
                2 => random.below(1000) as i32,
                _ => random.next() as i32,
            };
            for (place, byte) in bytes[at..].iter_mut().zip(number.to_be_bytes()) {
                *place = byte;
            }
        }
        4 => bytes.truncate(at),
        _ => {
            let more: Vec<u8> = (0..random.below(9)).map(|_| random.next() as u8).collect();
            bytes.splice(at..at, more);
        }
    }
}

/// SplitMix64: the same damage every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

const CLIENT: &str = "p1";
const BASE: i64 = 1_700_000_000_000;
const ME: Identity = Identity { id: 4000, epoch: 3 };
const TOPIC_ID: Uuid =
    [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88];

/// A batch of one record, k and v.
const B1: &str = "00000000000000000000003affffffff02e99b8dd80000000000000000018bcfe568000000018bcfe56800ffffffffffffffffffff\
                  ffffffff0000000110000000026b027600";

const PLAIN: BatchHeader = BatchHeader {
    attributes: 0,
    base_timestamp: BASE,
    max_timestamp: BASE,
    producer_id: NO_PRODUCER_ID,
    producer_epoch: NO_PRODUCER_EPOCH,
    base_sequence: NO_SEQUENCE,
    records_count: 1,
};

/// The largest value for its bytes is a topic of a Produce response: three bytes, and 64 bytes of memory.
const MAX_HEAP_PER_BYTE: usize = 32;

const SEED: u64 = 0x6b61_666b_6121;
