//! What a producer asks before it sends records: versions, topics and their leaders, a producer id.

use std::time::Duration;

use kafka_protocol::{
    ResponseError,
    messages::{
        ApiKey, ApiVersionsResponse, BrokerId, InitProducerIdRequest, InitProducerIdResponse,
        MetadataRequest, MetadataResponse,
        api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey},
        metadata_request::MetadataRequestTopic,
        metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic},
    },
};

use super::{
    super::{Api, fault::Injection},
    Asked, ClusterModel, NO_LEADER, Reaction, encode, injected_error, text, topic_name,
};

impl ClusterModel {
    pub(super) fn api_versions(
        &self,
        asked: &Asked,
        throttle: i32,
        injection: Option<&Injection>,
    ) -> Vec<u8> {
        let mut response = ApiVersionsResponse::default().with_throttle_time_ms(throttle);
        match injection.and_then(injected_error) {
            Some(code) => response.error_code = code,
            None => {
                response.api_keys = self.versions.keys().map(|api| self.api_version(*api)).collect();
                if asked.version >= FIRST_WITH_FEATURES {
                    let level = self.transaction_version;
                    response.supported_features = vec![
                        SupportedFeatureKey::default()
                            .with_name(text(TRANSACTION_VERSION))
                            .with_max_version(NEWEST_TRANSACTIONS),
                    ];
                    response.finalized_features_epoch = self.features_epoch;
                    response.finalized_features = vec![
                        FinalizedFeatureKey::default()
                            .with_name(text(TRANSACTION_VERSION))
                            .with_max_version_level(level)
                            .with_min_version_level(level),
                    ];
                }
            }
        }
        if self.config.sasl && response.error_code == 0 {
            for (key, newest) in [(ApiKey::SaslHandshake, 1), (ApiKey::SaslAuthenticate, 2)] {
                response
                    .api_keys
                    .push(ApiVersion::default().with_api_key(key as i16).with_max_version(newest));
            }
        }
        encode(asked.api, asked.version, asked.correlation_id, &response)
    }

    /// KIP-511: the answer to a version that is not served has the format of version 0 and names only the versions of
    /// ApiVersions itself. Brokers before that name nothing.
    pub(super) fn unsupported_api_versions(
        &mut self,
        frame: &[u8],
        connection: u64,
        now: Duration,
    ) -> Reaction {
        let Some(correlation_id) = frame.get(4..8).and_then(|id| id.first_chunk::<4>()) else {
            self.audit.violation(format!(
                "connection {connection}: a frame of {} bytes has no header",
                frame.len()
            ));
            self.disconnected(connection);
            return Reaction::Close;
        };
        let mut response =
            ApiVersionsResponse::default().with_error_code(ResponseError::UnsupportedVersion.code());
        if *self.versions[&Api::ApiVersions].end() >= 3 {
            response.api_keys.push(self.api_version(Api::ApiVersions));
        }
        let response = encode(Api::ApiVersions, 0, i32::from_be_bytes(*correlation_id), &response);
        self.send(connection, now, Duration::ZERO, response)
    }

    fn api_version(&self, api: Api) -> ApiVersion {
        let served = &self.versions[&api];
        ApiVersion::default()
            .with_api_key(api.kafka() as i16)
            .with_min_version(*served.start())
            .with_max_version(*served.end())
    }

    pub(super) fn metadata(
        &mut self,
        asked: &Asked,
        request: MetadataRequest,
        throttle: i32,
        injection: Option<&Injection>,
    ) -> Vec<u8> {
        let wanted = match request.topics {
            Some(topics) if asked.version > 0 || !topics.is_empty() => topics,
            // No list is all topics; so was an empty one, once.
            _ => self
                .topics
                .keys()
                .map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name))))
                .collect(),
        };
        let code = injection.and_then(injected_error);
        let mut topics = Vec::new();
        for topic in wanted {
            let name = self.name_of(&topic);
            let met = name
                .as_deref()
                .is_some_and(|name| injection.is_some_and(|injection| injection.meets_topic(name)));
            let by_partition = injection.is_some_and(Injection::names_partition);
            let answer = match (code, name) {
                (Some(code), name) if met && !by_partition => failed_topic(name.as_deref(), &topic, code),
                (_, None) => failed_topic(None, &topic, ResponseError::UnknownTopicId.code()),
                (_, Some(name)) => self.metadata_of(&name, request.allow_auto_topic_creation),
            };
            topics.push(match (code, injection) {
                (Some(code), Some(injection)) if met && by_partition => {
                    fail_partitions(answer, code, injection)
                }
                _ => answer,
            });
        }
        let listed = self.nodes.iter().filter(|(_, node)| node.listed);
        let brokers = listed.clone().map(|(id, node)| {
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(*id))
                .with_host(text(&node.host))
                .with_port(i32::from(node.port))
                .with_rack(node.rack.as_deref().map(text))
        });
        let mut response = MetadataResponse::default()
            .with_throttle_time_ms(throttle)
            .with_brokers(brokers.collect())
            .with_cluster_id(Some(text(CLUSTER_ID)))
            .with_controller_id(BrokerId(listed.map(|(id, _)| *id).next().unwrap_or(NO_LEADER)))
            .with_topics(topics);
        if code == Some(ResponseError::RebootstrapRequired.code()) && asked.version >= 13 {
            // The only code that is about the client and not about a topic.
            response.topics.clear();
            response.error_code = ResponseError::RebootstrapRequired.code();
        }
        encode(asked.api, asked.version, asked.correlation_id, &response)
    }

    /// The name that a topic of a Metadata request has, or belongs to the id that it has.
    pub(super) fn name_of(&self, topic: &MetadataRequestTopic) -> Option<String> {
        match &topic.name {
            Some(name) if topic.topic_id.is_nil() => Some(name.to_string()),
            _ => self.names_by_id.get(&topic.topic_id.as_u128()).cloned(),
        }
    }

    fn metadata_of(&mut self, name: &str, may_create: bool) -> MetadataResponseTopic {
        let named = MetadataResponseTopic::default().with_name(Some(topic_name(name)));
        if let Some(code) = self.topic_errors.get(name) {
            return named.with_error_code(*code);
        }
        let Some(topic) = self.topics.get(name) else {
            if !is_legal_topic_name(name) {
                return named.with_error_code(ResponseError::InvalidTopicException.code());
            }
            if may_create && self.config.auto_create_topics {
                self.create_topic(name, self.config.partitions);
            }
            // A broker that creates a topic does not know it yet: the next request finds it.
            return named.with_error_code(ResponseError::UnknownTopicOrPartition.code());
        };
        let partitions = (0..).zip(&topic.partitions).map(|(index, partition)| {
            let shown = (partition.leader, partition.leader_epoch);
            let frozen =
                self.frozen_leaders.as_ref().and_then(|frozen| frozen.get(&(name.to_owned(), index)));
            let (leader, epoch) = *frozen.unwrap_or(&shown);
            let code = if leader == NO_LEADER { ResponseError::LeaderNotAvailable.code() } else { 0 };
            let (up, down): (Vec<_>, Vec<_>) =
                partition.replicas.iter().map(|id| BrokerId(*id)).partition(|id| self.nodes[&id.0].listed);
            MetadataResponsePartition::default()
                .with_error_code(code)
                .with_partition_index(index)
                .with_leader_id(BrokerId(leader))
                .with_leader_epoch(epoch)
                .with_replica_nodes(partition.replicas.iter().map(|id| BrokerId(*id)).collect())
                .with_isr_nodes(up)
                .with_offline_replicas(down)
        });
        named.with_topic_id(uuid(topic.id)).with_partitions(partitions.collect())
    }

    pub(super) fn init_producer_id(
        &mut self,
        asked: &Asked,
        request: InitProducerIdRequest,
        throttle: i32,
        injection: Option<&Injection>,
    ) -> Vec<u8> {
        let mut response = InitProducerIdResponse::default().with_throttle_time_ms(throttle);
        let identity = match (injection.and_then(injected_error), &request.transactional_id) {
            (Some(code), _) => Err(code),
            (None, Some(id)) => {
                let id = id.0.to_string();
                self.identify(asked, &id, &request).map_err(|error| error.code())
            }
            (None, None) => {
                // An id that is given along is only a transactional producer's; everybody else gets a fresh one.
                self.next_producer_id += 1;
                Ok((self.next_producer_id - 1, 0))
            }
        };
        let (id, epoch) = identity.unwrap_or((-1, -1));
        response.error_code = identity.err().unwrap_or(0);
        response.producer_id = id.into();
        response.producer_epoch = epoch;
        encode(asked.api, asked.version, asked.correlation_id, &response)
    }
}

fn failed_topic(name: Option<&str>, asked: &MetadataRequestTopic, code: i16) -> MetadataResponseTopic {
    // A topic that is known by its id alone has a null name from version 12, and an empty one before.
    MetadataResponseTopic::default()
        .with_name(Some(name.map(topic_name).unwrap_or_default()))
        .with_topic_id(asked.topic_id)
        .with_error_code(code)
}

fn fail_partitions(
    mut topic: MetadataResponseTopic,
    code: i16,
    injection: &Injection,
) -> MetadataResponseTopic {
    let name = topic.name.as_deref().map(|name| name.to_string()).unwrap_or_default();
    for partition in &mut topic.partitions {
        if injection.meets(&name, partition.partition_index) {
            partition.error_code = code;
            partition.leader_id = BrokerId(NO_LEADER);
        }
    }
    topic
}

fn is_legal_topic_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !matches!(name, "" | "." | "..") && name.len() <= MAX_TOPIC_NAME && name.bytes().all(legal)
}

/// The type of topic ids belongs to a crate that is not among the dependencies, so it is only ever converted into.
pub(super) fn uuid<T: TryFrom<Vec<u8>>>(id: u128) -> T {
    let converted = T::try_from(id.to_be_bytes().to_vec()).ok();
    converted.expect("sixteen bytes are an id")
}

/// Kafka's own limit: a directory is named after the topic.
const MAX_TOPIC_NAME: usize = 249;
/// The first version of ApiVersions that tells what the cluster has agreed on.
const FIRST_WITH_FEATURES: i16 = 3;
const TRANSACTION_VERSION: &str = "transaction.version";
/// The second protocol of transactions (KIP-890).
pub(super) const NEWEST_TRANSACTIONS: i16 = 2;
const CLUSTER_ID: &str = "kafka-producer-testing";
