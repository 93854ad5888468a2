//! Kafka's error codes: their numbers, their names, and what a client may do about them.
//!
//! One table holds everything. A code that is not in it keeps its number and counts as final: a newer broker may
//! send codes that this version has never heard of.

use std::fmt;

/// An error code of the Kafka protocol. A code that is not known here keeps its number.
///
/// ```
/// use kafka_producer::ErrorCode;
///
/// assert_eq!(ErrorCode(6), ErrorCode::NOT_LEADER_OR_FOLLOWER);
/// assert_eq!(ErrorCode(6).name(), Some("NOT_LEADER_OR_FOLLOWER"));
/// assert!(ErrorCode(6).is_retriable());
/// assert_eq!(ErrorCode(9999).to_string(), "error code 9999");
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ErrorCode(pub i16);

impl ErrorCode {
    /// The protocol's name of the code, if this version knows it.
    pub fn name(self) -> Option<&'static str> {
        self.entry().map(|entry| entry.name)
    }

    /// Whether Kafka's protocol calls it retriable: the same request may succeed later.
    pub fn is_retriable(self) -> bool {
        self.entry().is_some_and(|entry| entry.class != Class::Final)
    }

    /// Whether it says that the client's picture of the cluster is out of date. Every such code is retriable.
    pub fn is_invalid_metadata(self) -> bool {
        self.entry().is_some_and(|entry| entry.class == Class::StaleMetadata)
    }

    /// What the code means, in one sentence without a trailing dot.
    pub fn description(self) -> &'static str {
        self.entry()
            .map_or("this version of the client does not know what the code means", |entry| entry.sentence)
    }
}

/// `NOT_LEADER_OR_FOLLOWER (6): ` and the description; `error code 9999` for an unknown code.
impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entry() {
            Some(entry) => write!(f, "{} ({}): {}", entry.name, self.0, entry.sentence),
            None => write!(f, "error code {}", self.0),
        }
    }
}

/// What a client can do about an error.
#[derive(Clone, Copy, PartialEq)]
enum Class {
    /// Nothing: the same request fails again.
    Final,
    /// Try again.
    Retriable,
    /// Fetch the metadata, then try again.
    StaleMetadata,
}

struct Entry {
    name: &'static str,
    class: Class,
    sentence: &'static str,
}

macro_rules! codes {
    ($($code:literal $name:ident $class:ident $sentence:literal,)*) => {
        impl ErrorCode {
            $(
                #[doc = concat!("Code ", stringify!($code), ": ", $sentence, ".")]
                pub const $name: Self = Self($code);
            )*

            fn entry(self) -> Option<Entry> {
                match self.0 {
                    $($code => Some(Entry { name: stringify!($name), class: Class::$class, sentence: $sentence }),)*
                    _ => None,
                }
            }

            #[cfg(test)]
            const ALL: &'static [Self] = &[$(Self::$name,)*];
        }
    };
}

codes! {
    -1 UNKNOWN_SERVER_ERROR Final "the broker met an error that it has no code for; its log says more",
    0 NONE Final "no error",
    1 OFFSET_OUT_OF_RANGE Final "the offset is not within the log",
    2 CORRUPT_MESSAGE Retriable "the batch arrived damaged, or a record lacks the key that a compacted topic needs",
    3 UNKNOWN_TOPIC_OR_PARTITION StaleMetadata "the broker does not host this topic or partition",
    4 INVALID_FETCH_SIZE Final "the fetch size is not legal",
    5 LEADER_NOT_AVAILABLE StaleMetadata "the partition has no leader at the moment",
    6 NOT_LEADER_OR_FOLLOWER StaleMetadata "the broker is not the partition's leader any more",
    7 REQUEST_TIMED_OUT Retriable "the broker could not finish the request within its timeout",
    8 BROKER_NOT_AVAILABLE Final "the broker is not available",
    9 REPLICA_NOT_AVAILABLE StaleMetadata "the broker has no replica of the partition ready",
    10 MESSAGE_TOO_LARGE Final "the batch is larger than the topic's max.message.bytes",
    11 STALE_CONTROLLER_EPOCH Final "the controller has moved to another node",
    12 OFFSET_METADATA_TOO_LARGE Final "the text committed with an offset is too long",
    13 NETWORK_EXCEPTION StaleMetadata "the connection ended before the answer arrived",
    14 COORDINATOR_LOAD_IN_PROGRESS Retriable "the coordinator is still loading its state",
    15 COORDINATOR_NOT_AVAILABLE Retriable "there is no coordinator at the moment",
    16 NOT_COORDINATOR Retriable "the broker is not the coordinator any more",
    17 INVALID_TOPIC_EXCEPTION Final "the topic's name is not legal, or clients may not write to it",
    18 RECORD_LIST_TOO_LARGE Final "the batch is larger than the topic's segment.bytes",
    19 NOT_ENOUGH_REPLICAS Retriable "fewer replicas are in sync than min.insync.replicas asks for; nothing was written",
    20 NOT_ENOUGH_REPLICAS_AFTER_APPEND Retriable "written by the leader, but by fewer replicas than min.insync.replicas",
    21 INVALID_REQUIRED_ACKS Final "acks is none of 0, 1 and -1",
    22 ILLEGAL_GENERATION Final "the consumer group has moved on to another generation",
    23 INCONSISTENT_GROUP_PROTOCOL Final "the group's members have no protocol in common",
    24 INVALID_GROUP_ID Final "the group's name is not legal",
    25 UNKNOWN_MEMBER_ID Final "the coordinator does not know this member of the group",
    26 INVALID_SESSION_TIMEOUT Final "the session timeout is outside the range that the broker allows",
    27 REBALANCE_IN_PROGRESS Final "the consumer group is being rebalanced",
    28 INVALID_COMMIT_OFFSET_SIZE Final "the committed offset takes too much room",
    29 TOPIC_AUTHORIZATION_FAILED Final "this client may not do that with the topic: its ACLs lack Describe or Write for it",
    30 GROUP_AUTHORIZATION_FAILED Final "this client may not do that with the group: its ACLs lack Read for it",
    31 CLUSTER_AUTHORIZATION_FAILED Final "this client may not do that in the cluster: its ACLs lack IdempotentWrite, or Write for a topic",
    32 INVALID_TIMESTAMP Final "a record's timestamp is too far from the broker's clock for this topic",
    33 UNSUPPORTED_SASL_MECHANISM Final "the broker does not offer this SASL mechanism",
    34 ILLEGAL_SASL_STATE Final "the request does not fit the state of the authentication",
    35 UNSUPPORTED_VERSION Final "the broker does not speak this version of the request",
    36 TOPIC_ALREADY_EXISTS Final "a topic of this name exists already",
    37 INVALID_PARTITIONS Final "the number of partitions is not legal",
    38 INVALID_REPLICATION_FACTOR Final "the replication factor is below 1 or above the number of brokers",
    39 INVALID_REPLICA_ASSIGNMENT Final "the assignment of replicas is not legal",
    40 INVALID_CONFIG Final "a configuration is not legal",
    41 NOT_CONTROLLER Retriable "the node is not the controller",
    42 INVALID_REQUEST Final "the broker could not make sense of the request; its log says more",
    43 UNSUPPORTED_FOR_MESSAGE_FORMAT Final "the topic's message format is too old for the request",
    44 POLICY_VIOLATION Final "a policy of the cluster forbids the request",
    45 OUT_OF_ORDER_SEQUENCE_NUMBER Final "a batch before this one is missing in the log",
    46 DUPLICATE_SEQUENCE_NUMBER Final "the broker has this batch already",
    47 INVALID_PRODUCER_EPOCH Final "a newer producer has taken over this producer's identity",
    48 INVALID_TXN_STATE Final "the transaction is not in a state that allows the request",
    49 INVALID_PRODUCER_ID_MAPPING Final "the producer id does not belong to the transactional.id",
    50 INVALID_TRANSACTION_TIMEOUT Final "transaction.timeout.ms is above the broker's transaction.max.timeout.ms",
    51 CONCURRENT_TRANSACTIONS Retriable "the previous transaction of this transactional.id is still being finished",
    52 TRANSACTION_COORDINATOR_FENCED Final "the transaction's coordinator has been replaced",
    53 TRANSACTIONAL_ID_AUTHORIZATION_FAILED Final "this client may not use the transactional.id: its ACLs lack Describe or Write for it",
    54 SECURITY_DISABLED Final "the cluster runs without security",
    55 OPERATION_NOT_ATTEMPTED Final "the broker did not get as far as this part of the request",
    56 KAFKA_STORAGE_ERROR StaleMetadata "the broker's disk failed",
    57 LOG_DIR_NOT_FOUND Final "the broker has no such log directory",
    58 SASL_AUTHENTICATION_FAILED Final "the broker refused the credentials",
    59 UNKNOWN_PRODUCER_ID Final "the broker has forgotten this producer, whose records were all deleted",
    60 REASSIGNMENT_IN_PROGRESS Final "the partition is being moved between brokers",
    61 DELEGATION_TOKEN_AUTH_DISABLED Final "the cluster does not use delegation tokens",
    62 DELEGATION_TOKEN_NOT_FOUND Final "the delegation token does not exist",
    63 DELEGATION_TOKEN_OWNER_MISMATCH Final "the delegation token belongs to somebody else",
    64 DELEGATION_TOKEN_REQUEST_NOT_ALLOWED Final "delegation tokens may not be asked for on this connection",
    65 DELEGATION_TOKEN_AUTHORIZATION_FAILED Final "this client may not do that with the delegation token",
    66 DELEGATION_TOKEN_EXPIRED Final "the delegation token has expired",
    67 INVALID_PRINCIPAL_TYPE Final "the kind of principal is not supported",
    68 NON_EMPTY_GROUP Final "the group still has members",
    69 GROUP_ID_NOT_FOUND Final "the group does not exist",
    70 FETCH_SESSION_ID_NOT_FOUND Retriable "the broker does not know the fetch session",
    71 INVALID_FETCH_SESSION_EPOCH Retriable "the fetch session has moved on to another epoch",
    72 LISTENER_NOT_FOUND StaleMetadata "the partition's leader does not listen where this client asked",
    73 TOPIC_DELETION_DISABLED Final "the cluster does not delete topics",
    74 FENCED_LEADER_EPOCH StaleMetadata "the client's leader epoch is older than the broker's",
    75 UNKNOWN_LEADER_EPOCH Retriable "the client's leader epoch is newer than the broker's",
    76 UNSUPPORTED_COMPRESSION_TYPE Final "the broker does not take this compression in this version of the request",
    77 STALE_BROKER_EPOCH Final "the broker has registered anew since",
    78 OFFSET_NOT_AVAILABLE Retriable "a new leader does not know the end of the log yet",
    79 MEMBER_ID_REQUIRED Final "a member must have an id before it joins the group",
    80 PREFERRED_LEADER_NOT_AVAILABLE StaleMetadata "the preferred leader is not available",
    81 GROUP_MAX_SIZE_REACHED Final "the group is full",
    82 FENCED_INSTANCE_ID Final "another member has taken over this group.instance.id",
    83 ELIGIBLE_LEADERS_NOT_AVAILABLE StaleMetadata "no replica may become the partition's leader at the moment",
    84 ELECTION_NOT_NEEDED StaleMetadata "the partition has the leader that was asked for",
    85 NO_REASSIGNMENT_IN_PROGRESS Final "the partition is not being moved",
    86 GROUP_SUBSCRIBED_TO_TOPIC Final "the group still reads the topic",
    87 INVALID_RECORD Final "the broker found a record that is not legal for this topic",
    88 UNSTABLE_OFFSET_COMMIT Retriable "offsets of an open transaction are in the way",
    89 THROTTLING_QUOTA_EXCEEDED Retriable "the client's quota is used up",
    90 PRODUCER_FENCED Final "a newer producer uses the same transactional.id",
    91 RESOURCE_NOT_FOUND Final "the resource does not exist",
    92 DUPLICATE_RESOURCE Final "the request names the same resource twice",
    93 UNACCEPTABLE_CREDENTIAL Final "the new credentials do not meet the broker's rules",
    94 INCONSISTENT_VOTER_SET Final "sender or receiver is not one of the expected voters",
    95 INVALID_UPDATE_VERSION Final "the version to update to is not legal",
    96 FEATURE_UPDATE_FAILED Final "the cluster's features could not be updated",
    97 PRINCIPAL_DESERIALIZATION_FAILURE Final "a forwarded request names its principal in an unreadable way",
    98 SNAPSHOT_NOT_FOUND Final "the snapshot does not exist",
    99 POSITION_OUT_OF_RANGE Final "the position is not within the snapshot",
    100 UNKNOWN_TOPIC_ID StaleMetadata "the broker does not know a topic of this id; it may have been deleted",
    101 DUPLICATE_BROKER_REGISTRATION Final "another broker uses this node id",
    102 BROKER_ID_NOT_REGISTERED Final "no broker has this node id",
    103 INCONSISTENT_TOPIC_ID StaleMetadata "the log belongs to another topic id; the topic may have been made anew",
    104 INCONSISTENT_CLUSTER_ID Final "the request was meant for another cluster",
    105 TRANSACTIONAL_ID_NOT_FOUND Final "the transactional.id is not known",
    106 FETCH_SESSION_TOPIC_ID_ERROR Retriable "the fetch session mixes topic ids and names",
    107 INELIGIBLE_REPLICA Final "a replica may not be in sync that should be",
    108 NEW_LEADER_ELECTED Final "the partition has got a new leader meanwhile",
    109 OFFSET_MOVED_TO_TIERED_STORAGE Final "the offset lies in tiered storage",
    110 FENCED_MEMBER_EPOCH Final "the group has fenced this member off",
    111 UNRELEASED_INSTANCE_ID Final "another member still holds this instance id",
    112 UNSUPPORTED_ASSIGNOR Final "the group does not support this assignor",
    113 STALE_MEMBER_EPOCH Final "the member's epoch is out of date",
    114 MISMATCHED_ENDPOINT_TYPE Final "the request was sent to the wrong kind of node",
    115 UNSUPPORTED_ENDPOINT_TYPE Final "this kind of node is not supported",
    116 UNKNOWN_CONTROLLER_ID Final "no controller has this id",
    117 UNKNOWN_SUBSCRIPTION_ID Final "the telemetry subscription has changed",
    118 TELEMETRY_TOO_LARGE Final "the telemetry is larger than the broker takes",
    119 INVALID_REGISTRATION Final "the controller does not accept the broker's registration",
    120 TRANSACTION_ABORTABLE Final "the transaction has failed; after an abort the next one can begin",
    121 INVALID_RECORD_STATE Final "the shared record is not in a state that allows this",
    122 SHARE_SESSION_NOT_FOUND Retriable "the broker does not know the share session",
    123 INVALID_SHARE_SESSION_EPOCH Retriable "the share session has moved on to another epoch",
    124 FENCED_STATE_EPOCH Final "the share group's state has moved on to another epoch",
    125 INVALID_VOTER_KEY Final "the voter's key is not the receiver's",
    126 DUPLICATE_VOTER Final "the node is a voter already",
    127 VOTER_NOT_FOUND Final "the node is not a voter",
    128 INVALID_REGULAR_EXPRESSION Final "the regular expression is not legal",
    129 REBOOTSTRAP_REQUIRED Final "the client knows the wrong cluster and must start again from bootstrap.servers",
    130 STREAMS_INVALID_TOPOLOGY Final "the streams topology is not legal",
    131 STREAMS_INVALID_TOPOLOGY_EPOCH Final "the streams topology's epoch is not legal",
    132 STREAMS_TOPOLOGY_FENCED Final "the streams topology is out of date",
    133 SHARE_SESSION_LIMIT_REACHED Retriable "the broker holds as many share sessions as it may",
}

#[cfg(test)]
mod tests {
    use kafka_protocol::{ResponseError, error::ParseResponseErrorCode};

    use super::*;

    #[test]
    fn the_table_is_whole() {
        let codes: Vec<i16> = ErrorCode::ALL.iter().map(|code| code.0).collect();
        assert_eq!(codes, (-1..=133).collect::<Vec<i16>>());
    }

    #[test]
    fn names_agree_with_an_independent_table() {
        for code in (-1..=133).filter(|&code| code != 0) {
            let theirs: ResponseError = code.err().expect("every code but 0 is an error");
            let ours = ErrorCode(code).name().expect("the table is whole");
            let camel: String =
                ours.split('_').map(|word| word[..1].to_owned() + &word[1..].to_lowercase()).collect();
            assert_eq!(camel, format!("{theirs:?}"), "{code}");
        }
    }

    #[test]
    fn classes_are_those_of_kafka() {
        let retriable = [
            2, 3, 5, 6, 7, 9, 13, 14, 15, 16, 19, 20, 41, 51, 56, 70, 71, 72, 74, 75, 78, 80, 83, 84, 88, 89,
            100, 103, 106, 122, 123, 133,
        ];
        let stale_metadata = [3, 5, 6, 9, 13, 56, 72, 74, 80, 83, 84, 100, 103];
        for code in i16::MIN..=i16::MAX {
            assert_eq!(ErrorCode(code).is_retriable(), retriable.contains(&code), "{code}");
            assert_eq!(ErrorCode(code).is_invalid_metadata(), stale_metadata.contains(&code), "{code}");
        }
    }

    #[test]
    fn a_code_reads_as_a_sentence_and_an_unknown_one_as_its_number() {
        assert_eq!(
            ErrorCode::NOT_LEADER_OR_FOLLOWER.to_string(),
            "NOT_LEADER_OR_FOLLOWER (6): the broker is not the partition's leader any more"
        );
        assert_eq!(ErrorCode(9999).to_string(), "error code 9999");
        assert_eq!(ErrorCode(9999).name(), None);
        for code in ErrorCode::ALL {
            assert!(!code.description().ends_with('.'), "{code}");
        }
    }
}
