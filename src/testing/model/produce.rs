//! Produce: from a request to appended batches, partition by partition.

use std::collections::BTreeMap;

use kafka_protocol::{
    ResponseError,
    messages::{
        BrokerId, ProduceRequest, ProduceResponse,
        produce_request::PartitionProduceData,
        produce_response::{
            BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse,
            TopicProduceResponse,
        },
    },
};

use super::{
    super::{
        batch::{BatchHeader, CheckedBatch, Refusal, Rules, claims_a_producer_id},
        fault::{Fault, Injection},
        log::AppendRules,
    },
    Asked, ClusterModel, encode, text,
    transactions::FIRST_PRODUCE_THAT_ADDS,
};

impl ClusterModel {
    /// The response, and whether any partition of it carries an error.
    pub(super) fn produce(
        &mut self,
        asked: &Asked,
        request: ProduceRequest,
        throttle: i32,
        injection: Option<&Injection>,
    ) -> (Vec<u8>, bool) {
        let mut failed = false;
        let mut endpoints = BTreeMap::new();
        let acks_are_legal = matches!(request.acks, -1..=1);
        let transactional_id = request.transactional_id.as_ref().map(|id| id.0.to_string());
        let transactional_id = transactional_id.as_deref();
        let mut responses = Vec::new();
        for topic in request.topic_data {
            let by_id = asked.version >= 13;
            let name = if by_id {
                self.names_by_id.get(&topic.topic_id.as_u128()).cloned()
            } else {
                Some(topic.name.to_string()).filter(|name| self.topics.contains_key(name))
            };
            let mut partitions = Vec::new();
            for data in topic.partition_data {
                let index = data.index;
                let outcome = match &name {
                    _ if !acks_are_legal => {
                        let problem = format!("acks={}: 0, 1 and -1 are legal", request.acks);
                        Err(Refusal::new(ResponseError::InvalidRequiredAcks, problem))
                    }
                    Some(name) => self.produce_to(asked, transactional_id, name, data, injection),
                    None if by_id => Err(Refusal::new(ResponseError::UnknownTopicId, "no topic has this id")),
                    None => {
                        Err(Refusal::new(ResponseError::UnknownTopicOrPartition, "no topic has this name"))
                    }
                };
                let mut answer = match outcome {
                    Ok(answer) => answer,
                    Err(refusal) => refused(refusal, asked.version),
                };
                answer.index = index;
                failed |= answer.error_code != 0;
                if answer.error_code == ResponseError::NotLeaderOrFollower.code()
                    && asked.version >= LEADER_HINT_VERSION
                    && let Some(name) = &name
                    && let Some(partition) = self.topics[name].partition(index)
                    && let Some(node) = self.nodes.get(&partition.leader)
                {
                    answer.current_leader = LeaderIdAndEpoch::default()
                        .with_leader_id(BrokerId(partition.leader))
                        .with_leader_epoch(partition.leader_epoch);
                    endpoints.insert(
                        partition.leader,
                        NodeEndpoint::default()
                            .with_node_id(BrokerId(partition.leader))
                            .with_host(text(&node.host))
                            .with_port(i32::from(node.port))
                            .with_rack(node.rack.as_deref().map(text)),
                    );
                }
                partitions.push(answer);
            }
            responses.push(
                TopicProduceResponse::default()
                    .with_name(topic.name)
                    .with_topic_id(topic.topic_id)
                    .with_partition_responses(partitions),
            );
        }
        let response = ProduceResponse::default()
            .with_responses(responses)
            .with_throttle_time_ms(throttle)
            .with_node_endpoints(endpoints.into_values().collect());
        (encode(asked.api, asked.version, asked.correlation_id, &response), failed)
    }

    fn produce_to(
        &mut self,
        asked: &Asked,
        transactional_id: Option<&str>,
        name: &str,
        data: PartitionProduceData,
        injection: Option<&Injection>,
    ) -> Result<PartitionProduceResponse, Refusal> {
        let topic = self.topics.get_mut(name).expect("the name was looked up");
        let rules = Rules {
            produce_version: asked.version,
            max_message_bytes: topic.max_message_bytes,
            compacted: topic.compacted,
            read_records: self.config.keep_records,
        };
        let bytes = data.records.unwrap_or_default();
        let batch = CheckedBatch::check(bytes.clone(), rules);
        match &batch {
            Ok(batch) => self.audit.on_batch(topic.id, name, data.index, batch),
            Err(refusal) if refusal.blames_the_encoder() => {
                let (index, message) = (data.index, &refusal.message);
                self.audit.violation(format!("{name}-{index}: a malformed batch: {message}"));
            }
            Err(_) => {}
        }

        let injection = injection.filter(|injection| injection.meets(name, data.index));
        let injected = match injection.map(|injection| &injection.fault) {
            Some(Fault::Error(code)) => Some(code.0),
            _ => None,
        };
        let refused = injected.or_else(|| batch.as_ref().err().map(|refusal| refusal.code));
        if refused == Some(ResponseError::MessageTooLarge.code())
            && let Some(header) = BatchHeader::of(&bytes)
        {
            self.audit.on_too_large(topic.id, data.index, &header);
        }
        if let Some(code) = injected {
            return Err(Refusal::injected(code));
        }
        let Some(partition) =
            usize::try_from(data.index).ok().and_then(|index| topic.partitions.get_mut(index))
        else {
            let problem = format!("{name} has {} partitions", topic.partitions.len());
            return Err(Refusal::new(ResponseError::UnknownTopicOrPartition, problem));
        };
        if partition.leader != asked.node {
            let problem = format!("broker {} leads, this is {}", partition.leader, asked.node);
            return Err(Refusal::new(ResponseError::NotLeaderOrFollower, problem));
        }
        let elapsed = i64::try_from(asked.now.as_millis()).unwrap_or(i64::MAX);
        let stamp = if topic.log_append_time { self.config.epoch_millis.saturating_add(elapsed) } else { -1 };
        let batch = batch?;
        let header = batch.header;
        if header.is_transactional() {
            self.admit(asked, transactional_id, (name, data.index), &header)?;
        }
        let first_is_zero = header.is_transactional() && asked.version >= FIRST_PRODUCE_THAT_ADDS;
        let rules = AppendRules { keep: self.config.keep_records, first_is_zero };
        let topic = self.topics.get_mut(name).expect("the name was looked up");
        let topic_id = topic.id;
        let partition = &mut topic.partitions[data.index as usize];
        let appended = partition.log.append(batch, stamp, asked.node, rules)?;
        self.audit.on_taken(topic_id, data.index, &header);
        if let Some(Fault::AppendThenError(code)) = injection.map(|injection| &injection.fault) {
            return Err(Refusal::injected(code.0));
        }
        Ok(PartitionProduceResponse::default()
            .with_base_offset(appended.base_offset)
            .with_log_append_time_ms(appended.log_append_time)
            .with_log_start_offset(0))
    }
}

impl Refusal {
    fn injected(code: i16) -> Self {
        Self { code, message: "injected by the test".to_owned(), records: Vec::new() }
    }

    /// Whether the bytes themselves are wrong, rather than what they ask for.
    fn blames_the_encoder(&self) -> bool {
        let malformed = [ResponseError::CorruptMessage.code(), ResponseError::InvalidRecord.code()];
        malformed.contains(&self.code) && self.records.is_empty()
    }
}

/// Whether any batch of the request says that an idempotent producer wrote it.
pub(super) fn is_idempotent(request: &ProduceRequest) -> bool {
    let mut batches = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
    batches.any(|data| data.records.as_ref().is_some_and(claims_a_producer_id))
}

fn refused(refusal: Refusal, version: i16) -> PartitionProduceResponse {
    let mut answer = PartitionProduceResponse::default().with_error_code(refusal.code).with_base_offset(-1);
    if version >= RECORD_ERRORS_VERSION {
        answer.error_message = Some(text(&refusal.message));
        answer.record_errors = refusal
            .records
            .into_iter()
            .map(|(index, message)| {
                BatchIndexAndErrorMessage::default()
                    .with_batch_index(index)
                    .with_batch_index_error_message(Some(text(&message)))
            })
            .collect();
    }
    answer
}

const RECORD_ERRORS_VERSION: i16 = 8;
const LEADER_HINT_VERSION: i16 = 10;
