use kafka_protocol::{
    messages::ProduceRequest,
    protocol::{Request, StrBytes},
};

use super::{
    super::probe::{answer, api_versions, batch, frame, init_producer_id, metadata, produce, response},
    *,
};

/// A blocking connection to one broker.
struct Client {
    stream: TcpStream,
    sent: i32,
    received: i32,
}

impl Client {
    fn new(cluster: &Cluster, node: i32) -> Self {
        let stream = TcpStream::connect(cluster.address(node)).unwrap();
        stream.set_read_timeout(Some(GENEROUS)).unwrap();
        Self { stream, sent: 0, received: 0 }
    }

    fn send<R: Request>(&mut self, version: i16, request: &R) {
        self.sent += 1;
        let frame = frame(version, self.sent, request);
        let length = (frame.len() as i32).to_be_bytes();
        self.stream.write_all(&[&length[..], &frame].concat()).unwrap();
    }

    fn receive_bytes(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; 4];
        self.stream.read_exact(&mut bytes)?;
        let length = i32::from_be_bytes(bytes[..].try_into().unwrap());
        bytes.resize(4 + length as usize, 0);
        self.stream.read_exact(&mut bytes[4..])?;
        self.received += 1;
        Ok(bytes)
    }

    fn receive<R: Request>(&mut self, version: i16) -> R::Response {
        let bytes = self.receive_bytes().unwrap();
        response::<R>(version, self.received, &bytes)
    }

    fn ask<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.send(version, request);
        self.receive::<R>(version)
    }

    /// Code and base offset of the next answer.
    fn receive_produced(&mut self) -> (i16, i64) {
        let bytes = self.receive_bytes().unwrap();
        let answer = answer(9, self.received, &bytes);
        (answer.error_code, answer.base_offset)
    }

    fn produce(&mut self, request: &ProduceRequest) -> (i16, i64) {
        self.send(9, request);
        self.receive_produced()
    }

    /// Everything until the broker closes.
    fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            Ok(_) => bytes,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => bytes,
            Err(error) => panic!("{error}"),
        }
    }

    fn has_answer_within(&mut self, wait: Duration) -> bool {
        self.stream.set_read_timeout(Some(wait)).unwrap();
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_read_timeout(Some(GENEROUS)).unwrap();
        peeked.is_ok()
    }
}

fn request(sequence: i32, value: &str) -> ProduceRequest {
    produce("t", 0, batch(5, 0, sequence, &[value]))
}

/// Far more than anything here takes, on any machine.
const GENEROUS: Duration = Duration::from_secs(60);

#[test]
fn three_brokers_are_told_apart() {
    let cluster = Cluster::builder().brokers(3).racks(["x", "y", "z"]).topic("t", 3).start().unwrap();
    let mut client = Client::new(&cluster, 1);
    assert_eq!(client.ask(3, &api_versions()).error_code, 0);
    let told = client.ask(12, &metadata(&["t"]));
    let addresses: Vec<String> =
        told.brokers.iter().map(|broker| format!("{}:{}", &*broker.host, broker.port)).collect();
    assert_eq!(addresses.join(","), cluster.bootstrap());
    assert_eq!(told.brokers[2].rack, Some(StrBytes::from_static_str("z")));

    for partition in told.topics[0].partitions.iter() {
        let mut client = Client::new(&cluster, partition.leader_id.0);
        let to = partition.partition_index;
        assert_eq!(client.produce(&produce("t", to, batch(5, 0, 0, &["a", "b"]))), (0, 0));
        let wrong = Client::new(&cluster, partition.leader_id.0 % 3 + 1).produce(&produce(
            "t",
            to,
            batch(5, 0, 2, &["c"]),
        ));
        assert_eq!(wrong, (6, -1));
    }
    let records = cluster.records("t");
    let found: Vec<_> =
        records.iter().map(|record| (record.partition, record.offset, record.value_str())).collect();
    let want: Vec<_> =
        (0..3).flat_map(|partition| [(partition, 0, Some("a")), (partition, 1, Some("b"))]).collect();
    assert_eq!(found, want);
    assert_eq!(cluster.records_of("t", 1).len(), 2);
    assert_eq!(cluster.records("unknown"), []);
    assert_eq!((cluster.request_count(Api::Produce), cluster.requests()[&Api::Metadata]), (6, 1));
    assert_eq!(cluster.connection_count(), 7);
    assert!(cluster.violations().is_empty(), "{:?}", cluster.violations());
}

#[test]
fn requests_may_be_pipelined_and_arrive_in_pieces() {
    let cluster = Cluster::builder().topic("t", 1).start().unwrap();
    let mut client = Client::new(&cluster, 1);
    let large = "x".repeat(300_000);
    let mut all = Vec::new();
    for sequence in 0..5 {
        let frame = frame(9, sequence + 1, &request(sequence, &large));
        all.extend_from_slice(&(frame.len() as i32).to_be_bytes());
        all.extend_from_slice(&frame);
    }
    client.stream.set_nodelay(true).unwrap();
    let (small, rest) = all.split_at(100);
    for byte in small {
        client.stream.write_all(&[*byte]).unwrap();
    }
    client.stream.write_all(rest).unwrap();
    for offset in 0..5 {
        assert_eq!(client.receive_produced(), (0, offset));
    }
    assert_eq!(cluster.records("t").len(), 5);
    assert_eq!(cluster.batches("t").len(), 5);
}

#[test]
fn a_cut_connection_leaves_nothing_behind() {
    let cluster = Cluster::builder().topic("t", 1).start().unwrap();
    cluster.cut_next_connection();
    let mut client = Client::new(&cluster, 1);
    client.send(9, &request(0, "a"));
    assert_eq!(client.rest(), b"");
    assert_eq!(cluster.record_count("t"), 0);
    cluster.fail_next(ErrorCode(19), 2);
    let mut client = Client::new(&cluster, 1);
    let codes: Vec<i16> = (0..3).map(|_| client.produce(&request(0, "a")).0).collect();
    assert_eq!(codes, [19, 19, 0]);
}

#[test]
fn a_response_is_cut_at_every_byte() {
    let cluster = Cluster::builder().topic("t", 1).start().unwrap();
    let mut client = Client::new(&cluster, 1);
    client.send(9, &request(0, "a"));
    let whole = client.receive_bytes().unwrap();
    for cut in 0..=whole.len() {
        cluster.fault(Fault::CutResponse(cut));
        let mut client = Client::new(&cluster, 1);
        client.send(9, &request(0, "a"));
        assert_eq!(client.rest(), whole[..cut], "after {cut} bytes");
    }
}

#[test]
fn other_ways_to_lose_a_connection() {
    let cluster = Cluster::builder().topic("t", 1).start().unwrap();
    cluster.fault(Fault::CloseOnAccept);
    assert_eq!(Client::new(&cluster, 1).rest(), b"");

    let mut client = Client::new(&cluster, 1);
    cluster.fault(Fault::AppendThenClose);
    client.send(9, &request(0, "a"));
    assert_eq!(client.rest(), b"");
    assert_eq!(cluster.record_count("t"), 1);

    let mut client = Client::new(&cluster, 1);
    assert_eq!(client.produce(&request(0, "a")), (0, 0), "a duplicate");
    cluster.close_connections(1);
    assert_eq!(client.rest(), b"");

    let mut client = Client::new(&cluster, 1);
    client.stream.write_all(&i32::MAX.to_be_bytes()).unwrap();
    assert_eq!(client.rest(), b"");
    assert_eq!(cluster.violations().len(), 1);
}

#[test]
fn a_stalled_broker_answers_when_it_is_resumed() {
    let cluster = Cluster::builder().brokers(2).topic("t", 2).start().unwrap();
    let mut client = Client::new(&cluster, 1);
    assert_eq!(client.produce(&request(0, "a")), (0, 0));
    cluster.stall(1);
    client.send(9, &request(1, "b"));
    assert!(!client.has_answer_within(Duration::from_millis(50)));
    let mut healthy = Client::new(&cluster, 2);
    assert_eq!(healthy.produce(&produce("t", 1, batch(5, 0, 0, &["c"]))), (0, 0));
    let mut late = Client::new(&cluster, 1);
    late.send(3, &init_producer_id());
    assert_eq!(cluster.record_count("t"), 2);
    cluster.resume(1);
    assert_eq!(client.receive_produced(), (0, 1));
    assert_eq!(late.receive::<kafka_protocol::messages::InitProducerIdRequest>(3).error_code, 0);
    assert!(cluster.violations().is_empty());
}

#[test]
fn a_stalled_broker_can_be_stopped() {
    let cluster = Cluster::builder().topic("t", 1).start().unwrap();
    let mut client = Client::new(&cluster, 1);
    client.ask(3, &api_versions());
    cluster.stall(1);
    client.send(9, &request(0, "a"));
    cluster.stop(1);
    assert_eq!(client.rest(), b"");
    cluster.resume(1);
    cluster.start_again(1).unwrap();
    assert_eq!(cluster.record_count("t"), 0);
    assert_eq!(Client::new(&cluster, 1).produce(&request(0, "a")), (0, 0));
}

#[test]
fn a_sixth_request_that_waits_is_noticed() {
    let cluster = Cluster::builder().topic("t", 1).start().unwrap();
    cluster.stall(1);
    let mut client = Client::new(&cluster, 1);
    for sequence in 0..7 {
        client.send(9, &request(sequence, "a"));
    }
    cluster.resume(1);
    for offset in 0..7 {
        assert_eq!(client.receive_produced(), (0, offset));
    }
    assert!(!cluster.violations().is_empty());
}

#[test]
fn a_stopped_broker_refuses_and_comes_back() {
    let cluster = Cluster::builder().brokers(2).topic("t", 2).start().unwrap();
    let mut client = Client::new(&cluster, 1);
    assert_eq!(client.produce(&request(0, "a")), (0, 0));
    cluster.stop(1);
    assert_eq!(client.rest(), b"");
    let refused = TcpStream::connect(cluster.address(1)).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);

    let mut other = Client::new(&cluster, 2);
    let brokers = other.ask(12, &metadata(&[])).brokers.len();
    assert_eq!((brokers, cluster.leader("t", 0)), (2, Some(1)), "nobody has noticed");
    cluster.fail_over(1);
    assert_eq!((other.ask(12, &metadata(&[])).brokers.len(), cluster.leader("t", 0)), (1, Some(2)));
    assert_eq!(other.produce(&request(1, "b")), (0, 1));

    cluster.start_again(1).unwrap();
    cluster.move_leader("t", 0, 1);
    assert_eq!(Client::new(&cluster, 1).produce(&request(2, "c")), (0, 2));
    let values: Vec<_> =
        cluster.records("t").iter().map(|record| record.value_str().map(str::to_owned)).collect();
    assert_eq!(values, [Some("a".to_owned()), Some("b".to_owned()), Some("c".to_owned())]);
}

#[test]
fn delayed_answers_come_in_order_and_do_not_add_up() {
    let cluster = Cluster::builder().topic("t", 1).start().unwrap();
    cluster.delay(Duration::from_millis(200));
    let mut client = Client::new(&cluster, 1);
    for sequence in 0..4 {
        client.send(9, &request(sequence, "a"));
    }
    assert!(cluster.wait_for_requests(Api::Produce, 4, GENEROUS));
    cluster.delay(Duration::ZERO);
    client.send(9, &request(4, "a"));
    for offset in 0..5 {
        assert_eq!(client.receive_produced(), (0, offset));
    }
}

#[test]
fn records_without_answers_can_be_waited_for() {
    let cluster = Cluster::builder().topic("t", 1).start().unwrap();
    let mut client = Client::new(&cluster, 1);
    client.send(9, &request(0, "a").with_acks(0));
    assert!(cluster.wait_for_records("t", 1, GENEROUS));
    assert!(!cluster.wait_for_records("t", 2, Duration::ZERO));
}

#[test]
fn topics_change_under_way() {
    let cluster = Cluster::builder().auto_create_topics(false).start().unwrap();
    let mut client = Client::new(&cluster, 1);
    assert_eq!(client.produce(&request(0, "a")), (3, -1));
    cluster.create_topic("t", 1);
    assert_eq!(client.produce(&request(0, "a")), (0, 0));
    cluster.add_partitions("t", 3);
    assert_eq!((cluster.partition_count("t"), cluster.partition_count("unknown")), (3, 0));
    cluster.set_topic_error("t", Some(ErrorCode(29)));
    assert_eq!(client.ask(12, &metadata(&["t"])).topics[0].error_code, 29);
    cluster.set_topic_error("t", None);
    cluster.set_max_message_bytes("t", 80);
    assert_eq!(client.produce(&request(1, "too long to be taken")), (10, -1));
    cluster.delete_topic("t");
    assert_eq!(client.produce(&request(1, "b")), (3, -1));
}

#[test]
fn without_records_only_their_number_is_known() {
    let cluster = Cluster::builder().topic("t", 1).keep_records(false).start().unwrap();
    let mut client = Client::new(&cluster, 1);
    assert_eq!(client.produce(&request(0, "a")), (0, 0));
    assert_eq!((cluster.records("t").len(), cluster.record_count("t")), (0, 1));
    assert!(cluster.byte_count("t") > 61);
}

#[test]
fn dropping_a_cluster_ends_its_connections_and_threads() {
    let cluster = Cluster::builder().brokers(2).topic("t", 1).start().unwrap();
    let addresses = [cluster.address(1), cluster.address(2)];
    let mut idle = Client::new(&cluster, 1);
    idle.ask(3, &api_versions());
    let mut waiting = Client::new(&cluster, 2);
    cluster.fault(Fault::Delay(GENEROUS * 60).any_api());
    waiting.send(3, &api_versions());
    assert!(cluster.wait_for_requests(Api::ApiVersions, 2, GENEROUS));
    let shared = Arc::downgrade(&cluster.shared);
    drop(cluster);
    assert_eq!((idle.rest(), waiting.rest()), (vec![], vec![]));
    for address in addresses {
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
    // Threads let go of what they share at their very end, after they were counted as ended.
    let threads =
        |shared: &std::sync::Weak<Shared>| shared.upgrade().map_or(0, |shared| shared.lock().threads);
    assert_eq!(threads(&shared), 0);
}
