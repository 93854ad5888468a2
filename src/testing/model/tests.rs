use kafka_protocol::{
    messages::{
        AddPartitionsToTxnRequest, BrokerId, EndTxnRequest, FindCoordinatorRequest, ProduceRequest,
        TransactionalId, add_partitions_to_txn_request::AddPartitionsToTxnTopic,
        metadata_response::MetadataResponseTopic, produce_request::TopicProduceData,
    },
    protocol::Request,
};

use super::{
    super::probe::{
        BASE_TIMESTAMP, altered, answer, api_versions, batch, frame, init_producer_id, metadata, produce,
        produce_by_id, response,
    },
    *,
};

/// A model with connection 1 to broker 1, and requests that expect an answer at once.
struct Probe {
    model: ClusterModel,
    now: Duration,
    correlation_id: i32,
}

impl Probe {
    fn new(config: ModelConfig) -> Self {
        Self { model: ClusterModel::new(config), now: Duration::ZERO, correlation_id: 0 }
    }

    /// Three brokers, and "t" with three partitions that they lead in turn.
    fn three_brokers() -> Self {
        let mut probe = Self::new(ModelConfig { brokers: 3, ..ModelConfig::default() });
        probe.model.create_topic("t", 3);
        probe
    }

    fn react<R: Request>(&mut self, node: i32, version: i16, request: &R) -> Reaction {
        self.correlation_id += 1;
        self.model.handle(node, 1, &frame(version, self.correlation_id, request), self.now)
    }

    fn ask<R: Request>(&mut self, node: i32, version: i16, request: &R) -> R::Response {
        match self.react(node, version, request) {
            Reaction::Reply(bytes) => response::<R>(version, self.correlation_id, &bytes),
            other => panic!("no reply at once but {other:?}, violations {:?}", self.model.violations()),
        }
    }

    /// Code and base offset.
    fn produce(&mut self, node: i32, version: i16, request: &ProduceRequest) -> (i16, i64) {
        let answer = self.ask(node, version, request).responses[0].partition_responses[0].clone();
        (answer.error_code, answer.base_offset)
    }

    fn topic(&mut self, version: i16, name: &str) -> MetadataResponseTopic {
        self.ask(1, version, &metadata(&[name])).topics[0].clone()
    }

    fn assert_no_violations(&self) {
        assert_eq!(self.model.violations(), [] as [String; 0]);
    }
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

/// One record k/v, as Kafka's own classes write it.
const GOLDEN_BATCH: &str = "00000000000000000000003affffffff02e99b8dd80000000000000000018bcfe568000000018bcfe56800ffffffffffffffffffffffffffff0000000110000000026b027600";

#[test]
fn frames_of_kafkas_own_client_are_understood() {
    let mut model = ClusterModel::new(ModelConfig::default());
    model.create_topic("t", 1);
    let v3 = format!(
        "000000030000000100027031ffffffff0000753000000001000174000000010000000000000046{GOLDEN_BATCH}"
    );
    let v9 = format!("00000009000000010002703100 00ffff00007530020274020000000047{GOLDEN_BATCH}000000")
        .replace(' ', "");
    for _ in 0..5 {
        assert!(matches!(model.handle(1, 1, &bytes_of(&v3), Duration::ZERO), Reaction::Reply(_)));
    }
    let want = "000000300000000100020274020000000000000000000000000005ffffffffffffffff0000000000000000010000000000000000";
    assert_eq!(model.handle(1, 1, &bytes_of(&v9), Duration::ZERO), Reaction::Reply(bytes_of(want)));
    assert_eq!(model.violations(), [] as [String; 0]);

    let records = model.records("t", None);
    assert_eq!(records.len(), 6);
    assert_eq!((records[5].key_str(), records[5].value_str(), records[5].offset), (Some("k"), Some("v"), 5));
    assert_eq!(
        (records[5].timestamp, records[5].producer_id, records[5].sequence),
        (1_700_000_000_000, -1, -1)
    );
}

#[test]
fn null_keys_and_null_headers_survive() {
    let two_records = "000000000000000000000049ffffffff02d3a4d9bc0000000000010000018bcfe568000000018bcfe568050000000000000fa00003000000070000000210000000026b0276001c000a02010a68656c6c6f02026801";
    let mut probe = Probe::three_brokers();
    assert_eq!(probe.produce(1, 9, &produce("t", 0, bytes_of(two_records))), (0, 0));
    let records = probe.model.records("t", Some(0));
    let second = &records[1];
    assert_eq!((second.key.as_deref(), second.value_str()), (None, Some("hello")));
    assert_eq!((second.header("h"), second.header("g")), (Some(None), None));
    assert_eq!((second.producer_id, second.producer_epoch, second.sequence), (4000, 3, 8));
    assert_eq!(second.timestamp - records[0].timestamp, 5);
    probe.assert_no_violations();
}

#[test]
fn repeated_header_keys_keep_their_order() {
    let repeated = altered(&batch(-1, -1, -1, &["v"]), |bytes| {
        let at = bytes.windows(2).position(|two| two == b"h2").unwrap();
        bytes[at + 1] = b'1';
    });
    let mut probe = Probe::three_brokers();
    assert_eq!(probe.produce(1, 9, &produce("t", 0, repeated)), (0, 0));
    let headers = &probe.model.records("t", Some(0))[0].headers;
    assert_eq!(headers[..], [("h1".to_owned(), Some(b"one".to_vec())), ("h1".to_owned(), None)]);
}

#[test]
fn sequences_are_enforced() {
    const MAX: i32 = i32::MAX;
    /// (epoch, base sequence, records) -> (code, base offset)
    type Step = (i16, i32, usize, i16, i64);
    const OVERLAP: &str = "an overlap is no duplicate";
    let stories: [(&str, &[Step]); 9] = [
        ("in order", &[(0, 0, 2, 0, 0), (0, 2, 1, 0, 2), (0, 3, 3, 0, 3)]),
        ("no state accepts any sequence", &[(4, 77, 2, 0, 0), (4, 79, 1, 0, 2)]),
        ("a gap", &[(0, 0, 2, 0, 0), (0, 3, 1, 45, -1), (0, 2, 1, 0, 2)]),
        (
            "duplicates get the first offset",
            &[(0, 0, 2, 0, 0), (0, 2, 1, 0, 2), (0, 0, 2, 0, 0), (0, 2, 1, 0, 2)],
        ),
        (
            "five batches are remembered",
            &[
                (0, 0, 1, 0, 0),
                (0, 1, 1, 0, 1),
                (0, 2, 1, 0, 2),
                (0, 3, 1, 0, 3),
                (0, 4, 1, 0, 4),
                (0, 0, 1, 0, 0),
                (0, 5, 1, 0, 5),
                (0, 1, 1, 0, 1),
                (0, 0, 1, 46, -1),
            ],
        ),
        (OVERLAP, &[(0, 0, 2, 0, 0), (0, 1, 2, 45, -1)]),
        (
            "sequences wrap to 0",
            &[(0, MAX - 1, 2, 0, 0), (0, 0, 1, 0, 2), (0, MAX - 1, 2, 0, 0), (0, 2, 1, 45, -1)],
        ),
        (
            "a batch may wrap inside",
            &[(0, MAX, 3, 0, 0), (0, 2, 1, 0, 3), (0, MAX, 3, 0, 0), (0, MAX - 2, 1, 46, -1)],
        ),
        (
            "a new epoch starts at 0, an old one is fenced",
            &[
                (0, 0, 2, 0, 0),
                (1, 2, 1, 45, -1),
                (1, 0, 1, 0, 2),
                (0, 2, 1, 47, -1),
                (0, 0, 2, 47, -1),
                (1, 1, 1, 0, 3),
            ],
        ),
    ];
    for (story, steps) in stories {
        let mut probe = Probe::three_brokers();
        for (step, &(epoch, sequence, count, code, offset)) in steps.iter().enumerate() {
            let bytes = batch(9, epoch, sequence, &vec!["v"; count]);
            let got = probe.produce(1, 9, &produce("t", 0, bytes));
            assert_eq!(got, (code, offset), "{story}, step {step}");
        }
        let violations = probe.model.violations();
        assert_eq!(violations.len(), usize::from(story == OVERLAP), "{story}: {violations:?}");
    }
}

#[test]
fn sequences_in_the_log_wrap() {
    let mut probe = Probe::three_brokers();
    probe.produce(1, 9, &produce("t", 0, batch(9, 0, i32::MAX - 1, &["a", "b", "c"])));
    let sequences: Vec<i32> = probe.model.records("t", None).iter().map(|record| record.sequence).collect();
    assert_eq!(sequences, [i32::MAX - 1, i32::MAX, 0]);
}

#[test]
fn producers_and_partitions_have_their_own_sequences() {
    let mut probe = Probe::three_brokers();
    for (producer, node, partition) in [(1, 1, 0), (2, 1, 0), (1, 2, 1)] {
        let got = probe.produce(node, 9, &produce("t", partition, batch(producer, 0, 0, &["v"]))).0;
        assert_eq!(got, 0, "producer {producer} partition {partition}");
    }
    probe.model.forget_producers();
    assert_eq!(probe.produce(1, 9, &produce("t", 0, batch(1, 0, 50, &["v"]))), (0, 2));
}

#[test]
fn malformed_and_unwanted_batches_are_refused() {
    let good = batch(5, 0, 0, &["a", "b"]);
    let twice: Bytes = [&good[..], &good[..]].concat().into();
    let flipped: Bytes = {
        let mut bytes = good.to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        bytes.into()
    };
    let longer = altered(&[&good[..], b"x"].concat().into(), |bytes| {
        let length = (bytes.len() - 12) as i32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
    });
    let second_delta = good.len() - (good.len() - 61) / 2 + 3;
    for (what, bytes, code) in [
        ("nothing", Bytes::new(), 87),
        ("half a header", good.slice(..40), 2),
        ("cut off", good.slice(..good.len() - 1), 2),
        ("two batches", twice, 87),
        ("a flipped bit", flipped, 2),
        ("an old format", altered(&good, |bytes| bytes[16] = 1), 87),
        ("a byte behind the last record", longer, 87),
        ("control records", altered(&good, |bytes| bytes[22] = 0x20), 87),
        ("a transaction", altered(&good, |bytes| bytes[22] = 0x10), 48),
        ("log append time", altered(&good, |bytes| bytes[22] = 0x08), 32),
        ("an unknown attribute", altered(&good, |bytes| bytes[21] = 0x01), 87),
        ("a codec that is not opened", altered(&good, |bytes| bytes[22] = 0x07), 76),
        ("a wrong last offset delta", altered(&good, |bytes| bytes[26] = 7), 87),
        ("a wrong count", altered(&good, |bytes| bytes[60] = 3), 87),
        ("no sequence", altered(&good, |bytes| bytes[53..57].fill(0xff)), 87),
        ("a gap of offsets", altered(&good, |bytes| bytes[second_delta] = 4), 87),
        ("too large", batch(5, 0, 0, &["x".repeat(300).as_str()]), 10),
    ] {
        let mut probe = Probe::three_brokers();
        probe.model.set_max_message_bytes("t", 200);
        assert_eq!(probe.produce(1, 9, &produce("t", 0, bytes)), (code, -1), "{what}");
        assert_eq!(probe.model.record_count("t"), 0, "{what}");
        let blamed = !probe.model.violations().is_empty();
        assert_eq!(blamed, code == 2 || code == 87, "{what}: {:?}", probe.model.violations());
        assert_eq!(probe.produce(1, 9, &produce("t", 0, good.clone())), (0, 0), "after {what}");
    }
}

#[test]
fn zstd_needs_version_7() {
    let zstd = altered(&batch(5, 0, 0, &["a"]), |bytes| bytes[22] = 0x04);
    let config = ModelConfig { keep_records: false, ..ModelConfig::default() };
    for (version, code) in [(6, 76), (7, 0)] {
        let mut probe = Probe::new(config.clone());
        probe.model.create_topic("t", 1);
        assert_eq!(probe.produce(1, version, &produce("t", 0, zstd.clone())).0, code, "version {version}");
    }
}

#[test]
fn a_wrong_maximum_timestamp_is_noticed() {
    let mut probe = Probe::three_brokers();
    let wrong = altered(&batch(5, 0, 0, &["a", "b"]), |bytes| bytes[42] ^= 1);
    assert_eq!(probe.produce(1, 9, &produce("t", 0, wrong)), (0, 0));
    assert_eq!(probe.model.violations().len(), 1);
}

#[test]
fn without_records_they_are_counted_and_sequences_enforced() {
    let mut probe = Probe::new(ModelConfig { keep_records: false, ..ModelConfig::default() });
    probe.model.create_topic("t", 1);
    let first = batch(5, 0, 0, &["a", "b"]);
    assert_eq!(probe.produce(1, 9, &produce("t", 0, first.clone())), (0, 0));
    assert_eq!(probe.produce(1, 9, &produce("t", 0, first.clone())), (0, 0));
    assert_eq!(probe.produce(1, 9, &produce("t", 0, batch(5, 0, 3, &["d"]))), (45, -1));
    assert_eq!((probe.model.record_count("t"), probe.model.byte_count("t")), (2, first.len() as u64));
    assert_eq!((probe.model.records("t", None).len(), probe.model.batches("t").len()), (0, 0));
}

#[test]
fn batches_are_described() {
    let mut probe = Probe::three_brokers();
    let bytes = batch(5, 0, 0, &["a", "b"]);
    probe.produce(2, 9, &produce("t", 1, bytes.clone()));
    let batches = probe.model.batches("t");
    let [only] = &batches[..] else { panic!("{batches:?}") };
    assert_eq!((only.partition, only.base_offset, only.records, only.leader), (1, 0, 2, 2));
    assert_eq!((only.bytes, only.codec, only.base_sequence), (bytes.len(), 0, 0));
}

#[test]
fn compacted_topics_name_the_records_without_a_key() {
    let no_key_in_the_second = "000000000000000000000049ffffffff02af2ff9f60000000000010000018bcfe568000000018bcfe56805ffffffffffffffffffffffffffff0000000210000000026b0276001c000a02010a68656c6c6f02026801";
    let mut probe = Probe::three_brokers();
    probe.model.set_compacted("t", true);
    for (version, named) in [(7, 0), (8, 1), (12, 1)] {
        let response = probe.ask(1, version, &produce("t", 0, bytes_of(no_key_in_the_second)));
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!((answer.error_code, answer.record_errors.len()), (87, named), "version {version}");
        assert!(answer.record_errors.iter().all(|error| error.batch_index == 1));
    }
    probe.assert_no_violations();
}

#[test]
fn append_time_comes_from_the_cluster() {
    let mut probe = Probe::new(ModelConfig { epoch_millis: 1_000_000, ..ModelConfig::default() });
    probe.model.create_topic("t", 1);
    probe.model.set_log_append_time("t", true);
    probe.now = Duration::from_millis(250);
    let request = produce("t", 0, batch(5, 0, 0, &["a", "b"]));
    let first = probe.ask(1, 9, &request).responses[0].partition_responses[0].log_append_time_ms;
    assert_eq!(first, 1_000_250);
    probe.now = Duration::from_secs(9);
    let again = probe.ask(1, 9, &request).responses[0].partition_responses[0].log_append_time_ms;
    assert_eq!(again, 1_000_250, "a duplicate is told the time of the first copy");
    assert!(probe.model.records("t", None).iter().all(|record| record.timestamp == 1_000_250));

    probe.model.set_log_append_time("t", false);
    let create = probe.ask(1, 9, &produce("t", 0, batch(5, 0, 2, &["c"])));
    assert_eq!(create.responses[0].partition_responses[0].log_append_time_ms, -1);
    assert_eq!(probe.model.records("t", None)[2].timestamp, BASE_TIMESTAMP);
}

#[test]
fn every_version_of_every_api_is_answered_in_kind() {
    let mut probe = Probe::three_brokers();
    for version in 0..=4 {
        let served = probe.ask(2, version, &api_versions());
        // Nobody here receives metrics.
        let count = Api::ALL.len() - 2;
        assert_eq!((served.error_code, served.api_keys.len()), (0, count), "ApiVersions {version}");
    }
    for version in 0..=13 {
        let told = probe.ask(2, version, &metadata(&["t"]));
        assert_eq!((told.brokers.len(), told.topics.len()), (3, 1), "Metadata {version}");
        assert_eq!(told.topics[0].partitions.len(), 3, "Metadata {version}");
        assert_eq!(told.topics[0].topic_id.is_nil(), version < 10, "Metadata {version}");
    }
    for version in 0..=5 {
        let given = probe.ask(2, version, &init_producer_id());
        assert_eq!(
            (given.error_code, given.producer_id.0),
            (0, 1_000 + i64::from(version)),
            "version {version}"
        );
        assert_eq!(given.producer_epoch, 0);
    }
    let topic = probe.topic(12, "t");
    for version in 3..=13 {
        let bytes = batch(5, 0, i32::from(version), &["v"]);
        let request = if version < 13 { produce("t", 0, bytes) } else { produce_by_id(&topic, 0, bytes) };
        assert_eq!(probe.produce(1, version, &request), (0, i64::from(version) - 3), "Produce {version}");
    }
    probe.assert_no_violations();
    let counts: Vec<u64> = Api::ALL.into_iter().map(|api| probe.model.request_count(api)).collect();
    assert_eq!(counts, [11, 15, 5, 6, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn an_older_broker_serves_less() {
    let mut probe = Probe::three_brokers();
    probe.model.set_versions(Api::Produce, 3..=8);
    let served = probe.ask(1, 3, &api_versions());
    let produce_versions = served.api_keys.iter().find(|api| api.api_key == 0).unwrap();
    assert_eq!((produce_versions.min_version, produce_versions.max_version), (3, 8));
    let request = produce("t", 0, batch(5, 0, 0, &["a"]));
    assert_eq!(probe.produce(1, 8, &request), (0, 0));
    assert_eq!(probe.react(1, 9, &request), Reaction::Close);
    assert_eq!(probe.model.violations().len(), 1);
}

#[test]
fn versions_below_3_are_offered_and_refused() {
    let mut probe = Probe::three_brokers();
    let mut old = frame(3, 1, &produce("t", 0, batch(5, 0, 0, &["a"])));
    old[3] = 2;
    assert_eq!(probe.model.handle(1, 1, &old, Duration::ZERO), Reaction::Close);
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
    // Length and header as of version 4, then what the future may bring.
    let mut future = frame(4, 7, &api_versions());
    future[3] = 5;
    future.extend_from_slice(b"whatever");
    for (most, named) in [(4, 1), (3, 1), (2, 0)] {
        let mut probe = Probe::three_brokers();
        probe.model.set_versions(Api::ApiVersions, 0..=most);
        let Reaction::Reply(bytes) = probe.model.handle(1, 1, &future, Duration::ZERO) else { panic!() };
        let told = response::<ApiVersionsRequest>(0, 7, &bytes);
        assert_eq!((told.error_code, told.api_keys.len()), (35, named), "up to {most}");
        assert!(told.api_keys.iter().all(|api| api.api_key == 18 && api.max_version == most));
        probe.assert_no_violations();
    }
}

#[test]
fn unreadable_requests_close_the_connection() {
    let good = frame(9, 1, &produce("t", 0, batch(5, 0, 0, &["a"])));
    let mut fetch = good.clone();
    fetch[1] = 1;
    for (what, bytes) in [
        ("nothing", vec![]),
        ("half a header", good[..6].to_vec()),
        ("half a request", good[..good.len() - 5].to_vec()),
        ("trailing bytes", [&good[..], b"x"].concat()),
        ("another API", fetch),
    ] {
        let mut probe = Probe::three_brokers();
        assert_eq!(probe.model.handle(1, 1, &bytes, Duration::ZERO), Reaction::Close, "{what}");
        assert_eq!(probe.model.violations().len(), 1, "{what}");
    }
}

#[test]
fn metadata_knows_names_ids_and_errors() {
    let mut probe = Probe::new(ModelConfig {
        brokers: 2,
        racks: vec!["a".into(), "b".into()],
        auto_create_topics: false,
        ..ModelConfig::default()
    });
    probe.model.create_topic("t", 4);
    probe.model.set_address(2, "127.0.0.1", 7777);
    probe.model.set_topic_error("secret", Some(ErrorCode(29)));

    let long = "x".repeat(250);
    for (name, code) in [
        ("t", 0),
        ("unknown", 3),
        ("secret", 29),
        ("", 17),
        ("..", 17),
        ("a b", 17),
        ("ä", 17),
        (long.as_str(), 17),
    ] {
        assert_eq!(probe.topic(12, name).error_code, code, "{name:?}");
    }
    let told = probe.ask(1, 13, &metadata(&["t"]));
    let second = &told.brokers[1];
    assert_eq!(
        (second.node_id.0, &*second.host, second.port, second.rack.as_deref()),
        (2, "127.0.0.1", 7777, Some("b"))
    );
    let leaders: Vec<i32> = told.topics[0].partitions.iter().map(|partition| partition.leader_id.0).collect();
    assert_eq!(leaders, [1, 2, 1, 2]);

    let mut by_id = metadata(&["t"]);
    let asked = &mut by_id.topics.as_mut().unwrap()[0];
    asked.name = None;
    asked.topic_id = told.topics[0].topic_id;
    let found = probe.ask(1, 12, &by_id);
    assert_eq!(found.topics[0].name.as_deref().map(|name| &**name), Some("t"));
    probe.model.delete_topic("t");
    assert_eq!(probe.ask(1, 12, &by_id).topics[0].error_code, 100);

    probe.model.create_topic("s", 1);
    let all = |request: &mut MetadataRequest, topics| request.topics = topics;
    let mut request = metadata(&[]);
    assert_eq!(probe.ask(1, 0, &request).topics.len(), 1, "version 0 means all by an empty list");
    assert_eq!(probe.ask(1, 1, &request).topics.len(), 0);
    all(&mut request, None);
    assert_eq!(probe.ask(1, 12, &request).topics.len(), 1);
    probe.assert_no_violations();
}

#[test]
fn a_topic_is_created_when_asked_for() {
    let mut probe = Probe::new(ModelConfig { partitions: 5, ..ModelConfig::default() });
    let mut politely = metadata(&["new"]);
    politely.allow_auto_topic_creation = false;
    assert_eq!(probe.ask(1, 4, &politely).topics[0].error_code, 3);
    assert_eq!(probe.ask(1, 4, &politely).topics[0].error_code, 3);
    assert_eq!(probe.topic(4, "new").error_code, 3, "a broker creates it behind its answer");
    assert_eq!(probe.topic(4, "new").partitions.len(), 5);
}

#[test]
fn leaders_move_and_the_old_one_says_where() {
    let mut probe = Probe::three_brokers();
    probe.model.set_address(3, "h", 9092);
    probe.model.move_leader("t", 0, 3);
    assert_eq!(probe.model.leader("t", 0), Some(3));
    for (version, hinted) in [(9, false), (10, true), (12, true)] {
        let request = produce("t", 0, batch(5, 0, 0, &["a"]));
        let response = probe.ask(1, version, &request);
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!(answer.error_code, 6, "version {version}");
        let hint = (answer.current_leader.leader_id.0, answer.current_leader.leader_epoch);
        assert_eq!(hint, if hinted { (3, 1) } else { (-1, -1) }, "version {version}");
        let endpoints: Vec<_> =
            response.node_endpoints.iter().map(|node| (node.node_id.0, node.port)).collect();
        assert_eq!(endpoints, if hinted { vec![(3, 9092)] } else { vec![] }, "version {version}");
    }
    let partition = probe.topic(12, "t").partitions[0].clone();
    assert_eq!((partition.leader_id.0, partition.leader_epoch), (3, 1));
    // What producers did is known to the new leader.
    assert_eq!(probe.produce(3, 12, &produce("t", 0, batch(5, 0, 0, &["a"]))), (0, 0));
    probe.model.move_leader("t", 0, 1);
    assert_eq!(probe.produce(1, 12, &produce("t", 0, batch(5, 0, 0, &["a"]))), (0, 0));
    assert_eq!(probe.model.record_count("t"), 1);
}

#[test]
fn metadata_may_be_stale() {
    let mut probe = Probe::three_brokers();
    probe.model.freeze_metadata(true);
    probe.model.move_leader("t", 0, 2);
    assert_eq!(probe.topic(12, "t").partitions[0].leader_id.0, 1);
    probe.model.freeze_metadata(false);
    assert_eq!(probe.topic(12, "t").partitions[0].leader_id.0, 2);
}

#[test]
fn a_dead_brokers_partitions_are_inherited() {
    let mut probe = Probe::new(ModelConfig { brokers: 2, ..ModelConfig::default() });
    probe.model.create_topic("t", 2);
    probe.model.fail_over(1);
    let told = probe.ask(2, 12, &metadata(&["t"]));
    assert_eq!(told.brokers.iter().map(|broker| broker.node_id.0).collect::<Vec<_>>(), [2]);
    assert!(told.topics[0].partitions.iter().all(|partition| partition.leader_id == 2));
    assert_eq!(told.topics[0].partitions[0].offline_replicas, [BrokerId(1)]);
    probe.model.fail_over(2);
    assert_eq!(probe.model.leader("t", 0), None);
    assert_eq!(probe.topic(12, "t").partitions[1].error_code, 5);
    probe.model.recover(1);
    assert_eq!(probe.model.leader("t", 1), Some(1));
}

#[test]
fn a_recreated_topic_is_another_one() {
    let mut probe = Probe::three_brokers();
    let old = probe.topic(13, "t");
    assert_eq!(probe.produce(1, 13, &produce_by_id(&old, 0, batch(5, 0, 0, &["a"]))), (0, 0));
    probe.model.delete_topic("t");
    assert_eq!(probe.produce(1, 12, &produce("t", 0, batch(5, 0, 1, &["b"]))), (3, -1));
    probe.model.create_topic("t", 1);
    assert_eq!(probe.produce(1, 13, &produce_by_id(&old, 0, batch(5, 0, 1, &["b"]))), (100, -1));
    let new = probe.topic(13, "t");
    assert_ne!(new.topic_id, old.topic_id);
    assert_eq!(probe.produce(1, 13, &produce_by_id(&new, 0, batch(5, 0, 1, &["b"]))), (0, 0));
    assert_eq!(probe.produce(1, 13, &produce_by_id(&new, 1, batch(5, 0, 0, &["c"]))), (3, -1));
    probe.model.add_partitions("t", 2);
    assert_eq!(probe.produce(2, 13, &produce_by_id(&new, 1, batch(5, 0, 0, &["c"]))), (0, 0));
}

#[test]
fn acks_decide_about_the_answer() {
    let mut probe = Probe::three_brokers();
    let with = |acks, bytes| produce("t", 0, bytes).with_acks(acks);
    assert_eq!(probe.produce(1, 9, &with(1, batch(5, 0, 0, &["a"]))), (0, 0));
    assert_eq!(probe.produce(1, 9, &with(2, batch(5, 0, 1, &["b"]))), (21, -1));
    assert_eq!(probe.react(1, 9, &with(0, batch(5, 0, 1, &["b"]))), Reaction::Nothing);
    assert_eq!(probe.react(1, 9, &with(0, batch(5, 0, 9, &["c"]))), Reaction::Close);
    assert_eq!(probe.model.record_count("t"), 2);
}

#[test]
fn errors_are_injected_where_they_are_meant() {
    let mut probe = Probe::three_brokers();
    probe.model.create_topic("u", 3);
    probe.model.fault(Fault::Error(ErrorCode(19)).topic("t").partition(0).times(2));
    let mut both = produce("t", 0, batch(5, 0, 0, &["a"]));
    let other: TopicProduceData = produce("u", 0, batch(5, 0, 0, &["a"])).topic_data.remove(0);
    assert_eq!(
        probe.produce(1, 9, &produce("u", 0, batch(6, 0, 0, &["b"]))).0,
        0,
        "another topic uses nothing up"
    );
    both.topic_data.push(other);
    for (first, second) in [(19, 0), (19, 0), (0, 0)] {
        let response = probe.ask(1, 9, &both);
        let codes: Vec<i16> =
            response.responses.iter().map(|topic| topic.partition_responses[0].error_code).collect();
        assert_eq!(codes, [first, second]);
    }
    assert_eq!((probe.model.record_count("t"), probe.model.record_count("u")), (1, 2));

    probe.model.fault(Fault::Error(ErrorCode(7)).node(2));
    assert_eq!(probe.produce(1, 9, &produce("t", 0, batch(5, 0, 1, &["b"]))).0, 0);
    assert_eq!(probe.produce(2, 9, &produce("t", 1, batch(5, 0, 0, &["b"]))).0, 7);
    probe.model.fault(Fault::Error(ErrorCode(7)).times(0));
    probe.model.fault(Fault::Error(ErrorCode(7)));
    probe.model.clear_faults();
    assert_eq!(probe.produce(2, 9, &produce("t", 1, batch(5, 0, 0, &["b"]))).0, 0);
    probe.assert_no_violations();
}

#[test]
fn other_apis_fail_too() {
    let mut probe = Probe::three_brokers();
    probe.model.fault(Fault::Error(ErrorCode(35)).api(Api::ApiVersions));
    probe.model.fault(Fault::Error(ErrorCode(14)).api(Api::InitProducerId).times(2));
    assert_eq!(probe.ask(1, 3, &api_versions()).error_code, 35);
    assert_eq!(probe.ask(1, 3, &api_versions()).error_code, 0);
    let codes: Vec<i16> = (0..3).map(|_| probe.ask(1, 4, &init_producer_id()).error_code).collect();
    assert_eq!(codes, [14, 14, 0]);
    probe.model.fault(Fault::Error(ErrorCode(5)).api(Api::Metadata).topic("t").partition(1));
    let told = probe.topic(12, "t");
    let codes: Vec<i16> = told.partitions.iter().map(|partition| partition.error_code).collect();
    assert_eq!((told.error_code, codes), (0, vec![0, 5, 0]));
    probe.model.fault(Fault::Error(ErrorCode(5)).api(Api::Metadata));
    assert_eq!(probe.topic(12, "t").error_code, 5);
    assert_eq!(probe.topic(12, "t").error_code, 0);
    probe.model.fault(Fault::Error(ErrorCode(129)).api(Api::Metadata));
    assert_eq!(probe.ask(1, 13, &metadata(&["t"])).error_code, 129);
}

/// Who coordinates the transactional id "tx", and the requests about it.
struct Transactions {
    probe: Probe,
    node: i32,
    me: (i64, i16),
    sequence: i32,
}

impl Transactions {
    fn begin() -> Self {
        let mut probe = Probe::three_brokers();
        let found = probe.ask(1, 6, &find_coordinator("tx"));
        let node = found.coordinators[0].node_id.0;
        assert_eq!(Some(node), probe.model.coordinator("tx"));
        let mut transactions = Self { probe, node, me: (-1, -1), sequence: 0 };
        assert_eq!(transactions.init(), 0);
        transactions
    }

    /// A new identity for somebody who says nothing of an earlier one.
    fn init(&mut self) -> i16 {
        let given = self.probe.ask(self.node, 5, &init_producer_id().with_transactional_id(Some(tx())));
        if given.error_code == 0 {
            self.me = (given.producer_id.0, given.producer_epoch);
            self.sequence = 0;
        }
        given.error_code
    }

    fn produce(&mut self, version: i16, value: &str) -> i16 {
        let plain = batch(self.me.0, self.me.1, self.sequence, &[value]);
        let batch = altered(&plain, |bytes| bytes[22] |= 0x10);
        let request = produce("t", 0, batch).with_transactional_id(Some(tx()));
        let (code, _) = self.probe.produce(1, version, &request);
        self.sequence += i32::from(code == 0);
        code
    }

    fn add(&mut self) -> i16 {
        let topic = AddPartitionsToTxnTopic::default().with_name(topic_name("t")).with_partitions(vec![0]);
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(tx())
            .with_v3_and_below_producer_id(self.me.0.into())
            .with_v3_and_below_producer_epoch(self.me.1)
            .with_v3_and_below_topics(vec![topic]);
        let added = self.probe.ask(self.node, 3, &request);
        added.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code
    }

    fn end(&mut self, version: i16, commit: bool) -> i16 {
        let request = EndTxnRequest::default()
            .with_transactional_id(tx())
            .with_producer_id(self.me.0.into())
            .with_producer_epoch(self.me.1)
            .with_committed(commit);
        let ended = self.probe.ask(self.node, version, &request);
        if version >= 5 && ended.error_code == 0 {
            self.me = (ended.producer_id.0, ended.producer_epoch);
            self.sequence = 0;
        }
        ended.error_code
    }

    fn committed(&self) -> Vec<String> {
        let records = self.probe.model.committed_records("t");
        records.iter().map(|record| record.value_str().unwrap().to_owned()).collect()
    }
}

fn tx() -> TransactionalId {
    TransactionalId(StrBytes::from_static_str("tx"))
}

fn find_coordinator(key: &'static str) -> FindCoordinatorRequest {
    FindCoordinatorRequest::default()
        .with_key_type(1)
        .with_coordinator_keys(vec![StrBytes::from_static_str(key)])
}

#[test]
fn a_transaction_of_the_first_protocol() {
    let mut t = Transactions::begin();
    assert_eq!((t.produce(11, "a"), t.produce(9, "a")), (120, 48), "the partition was not added");
    assert_eq!(t.end(4, true), 48, "nothing was begun");
    assert_eq!((t.add(), t.produce(11, "a"), t.produce(9, "b")), (0, 0, 0));
    assert_eq!((t.committed().len(), t.probe.model.open_transactions()), (0, vec!["tx".to_owned()]));
    assert_eq!((t.end(4, true), t.end(4, true), t.end(4, false)), (0, 0, 48), "once more, and otherwise");
    assert_eq!(t.committed(), ["a", "b"]);
    assert_eq!(t.produce(11, "c"), 120);
    assert_eq!((t.add(), t.produce(11, "c"), t.end(4, false)), (0, 0, 0));
    assert_eq!(t.committed(), ["a", "b"]);
    // Two marks take an offset each.
    let offsets: Vec<i64> = t.probe.model.records("t", Some(0)).iter().map(|r| r.offset).collect();
    assert_eq!(offsets, [0, 1, 3]);
    t.probe.assert_no_violations();
}

#[test]
fn a_transaction_of_the_second_protocol() {
    let mut t = Transactions::begin();
    let first = t.me;
    assert_eq!((t.produce(12, "a"), t.end(5, true)), (0, 0));
    assert_eq!((t.me, t.committed().len()), ((first.0, first.1 + 1), 1));
    let second = std::mem::replace(&mut t.me, first);
    assert_eq!((t.end(5, true), t.me), (0, second), "the same request once more has the same answer");
    t.me = first;
    assert_eq!((t.produce(12, "late"), t.end(5, false)), (47, 90));
    t.me = second;
    t.sequence = 1;
    assert_eq!(t.produce(12, "gap"), 45, "every epoch begins at 0");
    t.sequence = 0;
    assert_eq!((t.produce(12, "b"), t.end(5, false)), (0, 0));
    assert_eq!((t.end(5, false), t.end(5, true)), (0, 48), "nothing can be aborted, not committed");
    assert_eq!(t.committed(), ["a"]);
}

#[test]
fn a_successor_ends_the_transaction_of_whoever_was_there() {
    let mut t = Transactions::begin();
    assert_eq!((t.add(), t.produce(11, "a")), (0, 0));
    let zombie = t.me;
    assert_eq!((t.init(), t.init()), (51, 0), "the transaction is ended first");
    let successor = std::mem::replace(&mut t.me, zombie);
    assert_eq!((t.add(), t.end(4, true), t.produce(11, "b")), (90, 90, 47));
    t.me = successor;
    assert_eq!((t.add(), t.produce(11, "c"), t.end(4, true)), (0, 0, 0));
    assert_eq!(t.committed(), ["c"]);
}

#[test]
fn a_transaction_that_is_open_for_too_long_is_aborted() {
    let mut t = Transactions::begin();
    assert_eq!((t.add(), t.produce(11, "a")), (0, 0));
    t.probe.now = Duration::from_millis(59_999);
    assert_eq!(t.produce(11, "b"), 0);
    t.probe.now = Duration::from_secs(60);
    assert_eq!((t.produce(11, "c"), t.end(4, true)), (47, 90));
    assert_eq!((t.committed().len(), t.probe.model.open_transactions().len()), (0, 0));
}

#[test]
fn only_the_coordinator_answers_for_a_transaction() {
    let mut t = Transactions::begin();
    let other = t.node % 3 + 1;
    t.probe.model.move_coordinator("tx", other);
    assert_eq!((t.add(), t.end(4, true), t.init()), (16, 16, 16));
    assert_eq!(t.probe.ask(1, 1, &find_coordinator_of_one("tx")).node_id.0, other);
    t.node = other;
    assert_eq!((t.init(), t.add()), (0, 0));
}

fn find_coordinator_of_one(key: &'static str) -> FindCoordinatorRequest {
    FindCoordinatorRequest::default().with_key_type(1).with_key(StrBytes::from_static_str(key))
}

#[test]
fn what_readers_see_ends_where_an_open_transaction_begins() {
    let mut t = Transactions::begin();
    assert_eq!(t.probe.produce(1, 9, &produce("t", 0, batch(5, 0, 0, &["before"]))).0, 0);
    assert_eq!(t.produce(12, "inside"), 0);
    assert_eq!(t.probe.produce(1, 9, &produce("t", 0, batch(5, 0, 1, &["behind"]))).0, 0);
    assert_eq!(t.committed(), ["before"]);
    assert_eq!(t.end(5, true), 0);
    assert_eq!(t.committed(), ["before", "inside", "behind"]);
}

#[test]
fn appended_or_not_is_what_the_fault_says() {
    for (fault, appended) in [
        (Fault::Error(ErrorCode(7)), 0),
        (Fault::AppendThenError(ErrorCode(7)), 1),
        (Fault::AppendThenClose, 1),
        (Fault::Close, 0),
        (Fault::NeverAnswer, 1),
        (Fault::CutResponse(3), 1),
        (Fault::Garbage(b"HTTP/1.1 400".to_vec()), 1),
        (Fault::WrongCorrelationId, 1),
    ] {
        let mut probe = Probe::three_brokers();
        let request = produce("t", 0, batch(5, 0, 0, &["a"]));
        let answered = {
            let mut untouched = Probe::three_brokers();
            let Reaction::Reply(bytes) = untouched.react(1, 9, &request) else { panic!() };
            bytes
        };
        probe.model.fault(fault.clone());
        match (&fault, probe.react(1, 9, &request)) {
            (Fault::Error(_) | Fault::AppendThenError(_), Reaction::Reply(bytes)) => {
                assert_eq!(answer(9, 1, &bytes).error_code, 7);
            }
            (Fault::AppendThenClose | Fault::Close, Reaction::Close)
            | (Fault::NeverAnswer, Reaction::Nothing) => {}
            (Fault::CutResponse(_), Reaction::ReplyThenClose(Duration::ZERO, bytes)) => {
                assert_eq!(bytes, answered[..3]);
            }
            (Fault::Garbage(garbage), Reaction::Reply(bytes)) => assert_eq!(&bytes, garbage),
            (Fault::WrongCorrelationId, Reaction::Reply(bytes)) => {
                assert_eq!((&bytes[..4], &bytes[8..]), (&answered[..4], &answered[8..]));
                assert_ne!(bytes[4..8], answered[4..8]);
            }
            (fault, reaction) => panic!("{fault:?} gave {reaction:?}"),
        }
        assert_eq!(probe.model.record_count("t"), appended, "{fault:?}");
        // However it ended, a retry of the same bytes ends with one copy, at offset 0.
        assert_eq!(probe.produce(1, 9, &request), (0, 0), "{fault:?}");
        assert_eq!(probe.model.record_count("t"), 1, "{fault:?}");
        probe.assert_no_violations();
    }
}

#[test]
fn connections_are_closed_when_accepted() {
    let mut probe = Probe::three_brokers();
    probe.model.fault(Fault::CloseOnAccept.node(2));
    assert_eq!(
        (probe.model.connected(1), probe.model.connected(2), probe.model.connected(2)),
        (true, false, true)
    );
    assert_eq!(probe.model.connection_count(), 3);
}

#[test]
fn answers_keep_their_order_when_delayed() {
    let mut probe = Probe::three_brokers();
    let ms = Duration::from_millis;
    let request = |sequence| produce("t", 0, batch(5, 0, sequence, &["a"]));
    probe.model.fault(Fault::Delay(ms(100)));
    assert!(matches!(probe.react(1, 9, &request(0)), Reaction::ReplyAfter(after, _) if after == ms(100)));
    probe.now = ms(30);
    assert!(matches!(probe.react(1, 9, &request(1)), Reaction::ReplyAfter(after, _) if after == ms(70)));
    probe.now = ms(100);
    assert!(matches!(probe.react(1, 9, &request(2)), Reaction::Reply(_)));

    probe.model.set_delay(ms(10));
    probe.model.fault(Fault::Delay(ms(5)));
    probe.model.fault(Fault::CutResponse(2));
    assert!(matches!(probe.react(1, 9, &request(3)), Reaction::ReplyThenClose(after, _) if after == ms(15)));
    assert!(matches!(probe.react(1, 9, &request(4)), Reaction::ReplyAfter(after, _) if after == ms(10)));
}

#[test]
fn throttling_is_announced() {
    let mut probe = Probe::three_brokers();
    let half_a_second = || Fault::Throttle(Duration::from_millis(500)).any_api().times(4);
    probe.model.fault(half_a_second());
    assert_eq!(probe.ask(1, 9, &produce("t", 0, batch(5, 0, 0, &["a"]))).throttle_time_ms, 500);
    assert_eq!(probe.ask(1, 9, &metadata(&["t"])).throttle_time_ms, 500);
    assert_eq!(probe.ask(1, 3, &api_versions()).throttle_time_ms, 500);
    assert_eq!(probe.ask(1, 3, &init_producer_id()).throttle_time_ms, 500);
    assert_eq!(probe.ask(1, 3, &init_producer_id()).throttle_time_ms, 0);
}

#[test]
fn a_stalled_broker_leaves_the_frame_alone() {
    let mut probe = Probe::three_brokers();
    probe.model.set_stalled(1, true);
    assert!(probe.model.is_stalled(1) && !probe.model.is_stalled(2));
    let request = produce("t", 0, batch(5, 0, 0, &["a"]));
    assert_eq!(probe.react(1, 9, &request), Reaction::Stall);
    assert_eq!((probe.model.request_count(Api::Produce), probe.model.record_count("t")), (0, 0));
    probe.model.set_stalled(1, false);
    assert_eq!(probe.produce(1, 9, &request), (0, 0));
}

#[test]
fn a_sequence_may_not_name_other_bytes() {
    let mut probe = Probe::three_brokers();
    probe.model.fault(Fault::Error(ErrorCode(6)));
    assert_eq!(probe.produce(1, 9, &produce("t", 0, batch(5, 0, 0, &["a"]))).0, 6);
    probe.assert_no_violations();
    assert_eq!(
        probe.produce(1, 9, &produce("t", 0, batch(5, 0, 0, &["b"]))).0,
        0,
        "a broker notices nothing"
    );
    assert_eq!(probe.model.violations().len(), 1);
    let another_epoch = probe.produce(1, 9, &produce("t", 0, batch(5, 1, 0, &["c"])));
    assert_eq!((another_epoch.0, probe.model.violations().len()), (0, 1));
}

#[test]
fn parts_of_a_batch_that_was_too_large_may_start_with_its_sequence() {
    let mut probe = Probe::three_brokers();
    probe.model.fault(Fault::Error(ErrorCode(10)));
    assert_eq!(probe.produce(1, 9, &produce("t", 0, batch(5, 0, 0, &["a", "b"]))).0, 10);
    assert_eq!(probe.produce(1, 9, &produce("t", 0, batch(5, 0, 0, &["a"]))), (0, 0));
    assert_eq!(probe.produce(1, 9, &produce("t", 0, batch(5, 0, 1, &["b"]))), (0, 1));
    probe.assert_no_violations();
}

#[test]
fn a_sixth_request_in_flight_is_noticed() {
    let late = Fault::Delay(Duration::from_millis(10));
    for (producer, at, violations) in [(5, 0, 1), (-1, 0, 0), (5, 10, 0)] {
        let mut probe = Probe::three_brokers();
        probe.model.fault(late.clone().times(5));
        for sequence in 0..6 {
            // The first five are answered at 10 ms.
            probe.now = Duration::from_millis(if sequence < 5 { 0 } else { at });
            let epoch = if producer < 0 { -1 } else { 0 };
            probe.react(1, 9, &produce("t", 0, batch(producer, epoch, sequence, &["a"])));
        }
        assert_eq!(probe.model.violations().len(), violations, "producer {producer}, the sixth at {at} ms");
    }
}

#[test]
fn a_backlog_counts_as_in_flight() {
    let frames: Vec<Vec<u8>> =
        (0..6).map(|sequence| frame(9, sequence, &produce("t", 0, batch(5, 0, sequence, &["a"])))).collect();
    let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    let mut probe = Probe::three_brokers();
    probe.model.audit_backlog(1, &frames[..5], Duration::ZERO);
    probe.assert_no_violations();
    probe.model.audit_backlog(1, &frames, Duration::ZERO);
    assert_eq!(probe.model.violations().len(), 1);
}

#[test]
fn the_same_seed_gives_the_same_ids() {
    let ids = |seed| {
        let mut probe = Probe::new(ModelConfig { seed, ..ModelConfig::default() });
        probe.model.create_topic("a", 1);
        probe.model.create_topic("b", 1);
        [probe.topic(12, "a").topic_id, probe.topic(12, "b").topic_id]
    };
    assert_eq!(ids(1), ids(1));
    assert_ne!(ids(1), ids(2));
    assert_ne!(ids(1)[0], ids(1)[1]);
}

#[test]
#[should_panic(expected = "has no partition 7")]
fn misuse_is_reported_by_name() {
    Probe::three_brokers().model.move_leader("t", 7, 1);
}
