//! What can go wrong in a night, one function for each.
//!
//! Everything here is something that honest brokers, networks and administrators do, or that broken ones do without
//! lying about what they wrote: no promise survives a broker that says it has what it has not.

use kafka_protocol::messages::{
    ApiKey, BrokerId,
    metadata_response::MetadataResponseBroker,
    produce_response::{LeaderIdAndEpoch, PartitionProduceResponse},
};

use super::world::{NODES, ORDERS, Rewrite, TOPICS, World};
use crate::{
    ErrorCode,
    testing::{Api, Fault, Injection},
};

/// Something that goes wrong. `false`: not now.
pub(super) struct Trouble {
    pub(super) name: &'static str,
    pub(super) make: fn(&mut World) -> bool,
    /// Whether a night has it only if it asks for it by name.
    pub(super) on_request: bool,
    /// Whether the fate of a record can be known before that of one sent earlier to the same partition.
    pub(super) overtakes: bool,
}

impl World {
    pub(super) fn make_trouble(&mut self, from: &[&'static Trouble]) {
        if from.is_empty() {
            return;
        }
        let trouble = self.dice.pick(from);
        if (trouble.make)(self) {
            *self.troubles.entry(trouble.name).or_default() += 1;
        }
    }

    /// Meets any produce request, or one for a certain partition.
    fn produce_fault(&mut self, fault: Fault) -> bool {
        let mut injection = Injection::from(fault);
        if self.dice.chance(400) {
            let (topic, partition) = self.partition();
            injection = injection.topic(topic).partition(partition);
        }
        self.fault(injection);
        true
    }

    fn produce_error(&mut self, codes: &[i16]) -> bool {
        let code = ErrorCode(self.dice.pick(codes));
        self.produce_fault(Fault::Error(code))
    }

    /// One that exists.
    fn topic(&mut self) -> &'static str {
        let topic = self.dice.pick(&TOPICS);
        if self.has(topic) { topic } else { ORDERS }
    }

    fn partition(&mut self) -> (&'static str, i32) {
        let topic = self.topic();
        let count = self.cluster.partition_count(topic).unsigned_abs();
        (topic, self.dice.below(count.into()) as i32)
    }

    fn any_api(&mut self) -> Api {
        if self.ledger.is_some() && self.dice.chance(500) {
            return self.any_api_of_transactions();
        }
        self.dice.pick(&[Api::Produce, Api::Produce, Api::Metadata, Api::ApiVersions, Api::InitProducerId])
    }

    fn any_api_of_transactions(&mut self) -> Api {
        self.dice.pick(&[
            Api::FindCoordinator,
            Api::InitProducerId,
            Api::AddPartitionsToTxn,
            Api::AddOffsetsToTxn,
            Api::TxnOffsetCommit,
            Api::EndTxn,
            Api::EndTxn,
        ])
    }

    fn is_up(&self, node: i32) -> bool {
        !self.hosts[&node].down
    }
}

const fn trouble(name: &'static str, make: fn(&mut World) -> bool) -> Trouble {
    Trouble { name, make, on_request: false, overtakes: false }
}

const fn overtaking(name: &'static str, make: fn(&mut World) -> bool) -> Trouble {
    Trouble { overtakes: true, ..trouble(name, make) }
}

const fn on_request(name: &'static str, make: fn(&mut World) -> bool) -> Trouble {
    Trouble { on_request: true, ..trouble(name, make) }
}

pub(super) static TROUBLES: &[Trouble] = &[
    // ---- brokers
    trouble("broker killed", |world| {
        let (node, pause) = (world.dice.node(), world.dice.millis(200, 2_700));
        let can = world.is_up(node) && (1..=NODES).filter(|node| world.is_up(*node)).count() > 1;
        if can {
            world.kill(node, true, pause);
        }
        can
    }),
    trouble("broker restarted", |world| {
        let (node, pause) = (world.dice.node(), world.dice.millis(20, 1_500));
        let can = world.is_up(node);
        if can {
            world.kill(node, false, pause);
        }
        can
    }),
    trouble("broker frozen", |world| {
        let (node, pause) = (world.dice.node(), world.dice.millis(100, 4_000));
        world.freeze(node, pause);
        true
    }),
    trouble("broker gone without a word", |world| {
        let (node, pause) = (world.dice.node(), world.dice.millis(100, 3_000));
        world.vanish(node, pause);
        true
    }),
    trouble("all brokers down for long", |world| {
        let pause = world.dice.millis(500, 8_000);
        (1..=NODES).for_each(|node| world.kill(node, false, pause));
        true
    }),
    trouble("all brokers frozen for long", |world| {
        let pause = world.dice.millis(500, 8_000);
        (1..=NODES).for_each(|node| world.freeze(node, pause));
        true
    }),
    // ---- links
    trouble("connections cut", |world| {
        let node = world.dice.node();
        world.cut(node);
        true
    }),
    trouble("answers lost", |world| {
        let node = world.dice.node();
        world.deafen(node);
        true
    }),
    trouble("sockets full", |world| {
        let (node, pause) = (world.dice.node(), world.dice.millis(5, 2_000));
        world.jam(node, pause);
        true
    }),
    trouble("links slow", |world| {
        world.bandwidth = Some(1 + world.dice.below(20));
        let pause = world.dice.millis(100, 3_000);
        // Those that stand are fast still, so that both kinds are there.
        let node = world.dice.node();
        world.cut(node);
        world.after(pause, |world| world.bandwidth = None);
        true
    }),
    trouble("connection closed at once", |world| {
        let node = world.dice.node();
        world.fault(Fault::CloseOnAccept.node(node));
        true
    }),
    // ---- leaders and topics
    trouble("leader moved", |world| {
        let ((topic, partition), node) = (world.partition(), world.dice.node());
        let can = world.is_up(node);
        if can {
            world.cluster.move_leader(topic, partition, node);
        }
        can
    }),
    trouble("partition without a leader", |world| {
        let (topic, partition) = world.partition();
        let code = ErrorCode::LEADER_NOT_AVAILABLE;
        world.fault(Fault::Error(code).api(Api::Metadata).topic(topic).partition(partition).times(3));
        true
    }),
    trouble("metadata stale", |world| {
        world.cluster.freeze_metadata(true);
        let pause = world.dice.millis(50, 1_500);
        world.after(pause, |world| world.cluster.freeze_metadata(false));
        true
    }),
    trouble("topic missing for a while", |world| {
        let (topic, code) = (world.dice.pick(&TOPICS), world.dice.pick(&[3, 3, 5, 29]));
        world.cluster.set_topic_error(topic, Some(ErrorCode(code)));
        let pause = world.dice.millis(10, 1_000);
        world.after(pause, move |world| world.cluster.set_topic_error(topic, None));
        true
    }),
    trouble("metadata without partitions", |world| {
        world.rewrites.push(Rewrite::Metadata(Box::new(|answer| {
            answer.topics.iter_mut().for_each(|topic| topic.partitions.clear());
        })));
        true
    }),
    trouble("metadata with fewer partitions", |world| {
        let keep = 1 + world.dice.below(2) as usize;
        world.rewrites.push(Rewrite::Metadata(Box::new(move |answer| {
            answer.topics.iter_mut().for_each(|topic| topic.partitions.truncate(keep));
        })));
        true
    }),
    trouble("metadata without brokers", |world| {
        world.rewrites.push(Rewrite::Metadata(Box::new(|answer| answer.brokers.clear())));
        true
    }),
    trouble("metadata with impossible brokers", |world| {
        let leader = world.dice.pick(&[-7, 77, i32::MAX]);
        world.rewrites.push(Rewrite::Metadata(Box::new(move |answer| {
            for (node, host, port) in
                [(-5, "node-1", 9092), (7, "", 9092), (8, "node-1", 0), (9, "a\0b", 70_000)]
            {
                let host = kafka_protocol::protocol::StrBytes::from_static_str(host);
                let broker = MetadataResponseBroker::default().with_node_id(BrokerId(node)).with_host(host);
                answer.brokers.push(broker.with_port(port));
            }
            let partitions = answer.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
            partitions.step_by(2).for_each(|partition| partition.leader_id = BrokerId(leader));
        })));
        true
    }),
    trouble("partitions added", |world| {
        let topic = world.topic();
        let count = world.cluster.partition_count(topic);
        let can = count < MOST_PARTITIONS;
        if can {
            world.cluster.add_partitions(topic, count + 1);
        }
        can
    }),
    on_request("topic created again", |world| {
        let topic = world.topic();
        let partitions = 1 + world.dice.below(4) as i32;
        world.recreate(topic, partitions);
        true
    }),
    // ---- what becomes of a request
    trouble("appended, connection closed", |world| world.produce_fault(Fault::AppendThenClose)),
    overtaking("appended, error answered", |world| {
        let code = ErrorCode(world.dice.pick(&[-1, 7, 20, 56]));
        world.produce_fault(Fault::AppendThenError(code))
    }),
    overtaking("retriable error", |world| {
        world.produce_error(&[-1, 2, 3, 5, 6, 7, 8, 9, 13, 19, 20, 56, 72, 74, 75, 89, 100, 103, 9999])
    }),
    overtaking("final error", |world| world.produce_error(&[17, 18, 29, 32, 42, 43, 44, 87])),
    overtaking("batch too large", |world| world.produce_error(&[10])),
    overtaking("sequence refused", |world| world.produce_error(&[45, 59])),
    trouble("request lost", |world| {
        let api = world.any_api();
        world.fault(Fault::Close.api(api));
        true
    }),
    trouble("never answered", |world| {
        let api = world.any_api();
        world.fault(Fault::NeverAnswer.api(api));
        true
    }),
    trouble("answer cut", |world| {
        let (api, cut) = (world.any_api(), world.dice.below(60) as usize);
        world.fault(Fault::CutResponse(cut).api(api));
        true
    }),
    trouble("answer garbled", |world| {
        let api = world.any_api();
        let nonsense: &[u8] = world.dice.pick(&[
            &[0, 0, 0, 5, 1, 2, 3, 4, 5],
            &[0, 0, 0, 0],
            &[0xff, 0xff, 0xff, 0xff, 0, 0],
            &[0x7f, 0xff, 0xff, 0xff, 0],
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
        ]);
        world.fault(Fault::Garbage(nonsense.to_vec()).api(api));
        true
    }),
    trouble("wrong correlation id", |world| {
        let api = world.any_api();
        world.fault(Fault::WrongCorrelationId.api(api));
        true
    }),
    trouble("late answer", |world| {
        let (api, delay) = (world.any_api(), world.dice.millis(0, 3_000));
        world.fault(Fault::Delay(delay).api(api));
        true
    }),
    trouble("throttled", |world| {
        let (api, pause) = (world.any_api(), world.dice.millis(10, 400));
        world.fault(Fault::Throttle(pause).api(api));
        true
    }),
    trouble("answered twice", |world| {
        let api = world.dice.pick(&[ApiKey::Produce, ApiKey::Metadata]);
        world.rewrites.push(Rewrite::Again(api));
        true
    }),
    overtaking("partition left out of the answer", |world| {
        world.rewrites.push(Rewrite::Produce(Box::new(|answer| {
            answer.responses.iter_mut().for_each(|topic| drop(topic.partition_responses.pop()));
        })));
        true
    }),
    trouble("partition answered twice, another one besides", |world| {
        world.rewrites.push(Rewrite::Produce(Box::new(|answer| {
            for topic in &mut answer.responses {
                topic.partition_responses.extend(topic.partition_responses.first().cloned());
                for index in [-1, 99] {
                    let nobody_asked =
                        PartitionProduceResponse::default().with_index(index).with_base_offset(5);
                    topic.partition_responses.insert(0, nobody_asked);
                }
            }
            answer.responses.reverse();
        })));
        true
    }),
    overtaking("wrong hint", |world| {
        let (leader, epoch) = world.dice.pick(&[(1, 0), (2, 0), (99, 50), (-1, -1), (-1, 50), (3, -1)]);
        world.rewrites.push(Rewrite::Produce(Box::new(move |answer| {
            let partitions = answer.responses.iter_mut().flat_map(|topic| &mut topic.partition_responses);
            for partition in partitions.filter(|partition| partition.error_code == 6) {
                partition.current_leader =
                    LeaderIdAndEpoch::default().with_leader_id(BrokerId(leader)).with_leader_epoch(epoch);
            }
        })));
        world.produce_error(&[6])
    }),
    overtaking("topic takes smaller batches for a while", |world| {
        let topic = world.topic();
        let bytes = 90 + world.dice.below(150) as usize;
        world.cluster.set_max_message_bytes(topic, bytes);
        let pause = world.dice.millis(10, 500);
        world.after(pause, move |world| world.cluster.set_max_message_bytes(topic, usize::MAX));
        true
    }),
    overtaking("topic takes only records with keys for a while", |world| {
        let topic = world.topic();
        world.cluster.set_compacted(topic, true);
        let pause = world.dice.millis(10, 500);
        world.after(pause, move |world| world.cluster.set_compacted(topic, false));
        true
    }),
    // ---- transactions
    on_request("coordinator busy", |world| {
        let (api, code) = (world.any_api_of_transactions(), world.dice.pick(&[14, 15, 16, 51]));
        let times = 1 + world.dice.below(3) as u32;
        world.fault(Fault::Error(ErrorCode(code)).api(api).times(times));
        true
    }),
    on_request("coordinator moved", |world| {
        let (key, node) = (world.dice.pick(&["tx", "group"]), world.dice.node());
        world.cluster.move_coordinator(key, node);
        true
    }),
    on_request("transaction refused", |world| {
        let (api, code) = world.dice.pick(&[
            (Api::AddPartitionsToTxn, 29),
            (Api::AddPartitionsToTxn, 120),
            (Api::AddOffsetsToTxn, 30),
            (Api::TxnOffsetCommit, 22),
            (Api::TxnOffsetCommit, 120),
            (Api::Produce, 47),
            (Api::Produce, 48),
            (Api::Produce, 120),
        ]);
        world.fault(Fault::Error(ErrorCode(code)).api(api));
        true
    }),
    on_request("protocol changed", |world| {
        let (version, node) = (world.dice.pick(&[1, 2]), world.dice.node());
        world.cluster.set_transaction_version(version);
        world.cut(node);
        true
    }),
    // ---- metadata and the producer id
    trouble("metadata refused", |world| {
        let code = ErrorCode(world.dice.pick(&[-1, 3, 5, 9, 15]));
        world.fault(Fault::Error(code).api(Api::Metadata));
        true
    }),
    trouble("versions refused", |world| {
        let code = ErrorCode(world.dice.pick(&[-1, 35, 42]));
        world.fault(Fault::Error(code).api(Api::ApiVersions));
        true
    }),
    trouble("told to start again", |world| {
        let api = world.dice.pick(&[Api::ApiVersions, Api::Metadata]);
        world.fault(Fault::Error(ErrorCode::REBOOTSTRAP_REQUIRED).api(api));
        true
    }),
    trouble("producer id refused", |world| {
        let code = ErrorCode(world.dice.pick(&[-1, 7, 14, 15, 15, 31, 42]));
        world.fault(Fault::Error(code).api(Api::InitProducerId));
        true
    }),
    trouble("producer id impossible", |world| {
        let (id, epoch) = world.dice.pick(&[(-1, -1), (-1, 0), (7, -1)]);
        world.rewrites.push(Rewrite::ProducerId(Box::new(move |answer| {
            answer.producer_id = id.into();
            answer.producer_epoch = epoch;
        })));
        true
    }),
];

/// Names that exist, or a night that asks for one would quietly go without it.
pub(super) fn named(name: &str) -> &'static Trouble {
    TROUBLES
        .iter()
        .find(|trouble| trouble.name == name)
        .unwrap_or_else(|| panic!("no trouble is called {name:?}"))
}

pub(super) const MOST_PARTITIONS: i32 = 5;
