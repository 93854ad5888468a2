//! Which requests there are, by number and version.

/// A kind of request that this producer makes.
///
/// A new kind needs its numbers here and a file for its messages.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum ApiKey {
    Produce = 0,
    Metadata = 3,
    FindCoordinator = 10,
    #[cfg(feature = "sasl")]
    SaslHandshake = 17,
    ApiVersions = 18,
    InitProducerId = 22,
    AddPartitionsToTxn = 24,
    AddOffsetsToTxn = 25,
    EndTxn = 26,
    TxnOffsetCommit = 28,
    #[cfg(feature = "sasl")]
    SaslAuthenticate = 36,
    GetTelemetrySubscriptions = 71,
    PushTelemetry = 72,
}

impl ApiKey {
    pub(crate) const ALL: &[Self] = &[
        Self::Produce,
        Self::Metadata,
        Self::FindCoordinator,
        #[cfg(feature = "sasl")]
        Self::SaslHandshake,
        Self::ApiVersions,
        Self::InitProducerId,
        Self::AddPartitionsToTxn,
        Self::AddOffsetsToTxn,
        Self::EndTxn,
        Self::TxnOffsetCommit,
        #[cfg(feature = "sasl")]
        Self::SaslAuthenticate,
        Self::GetTelemetrySubscriptions,
        Self::PushTelemetry,
    ];

    /// The number on the wire.
    pub(crate) fn key(self) -> i16 {
        self as i16
    }

    /// The protocol's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Produce => "Produce",
            Self::Metadata => "Metadata",
            Self::FindCoordinator => "FindCoordinator",
            Self::ApiVersions => "ApiVersions",
            Self::InitProducerId => "InitProducerId",
            Self::AddPartitionsToTxn => "AddPartitionsToTxn",
            Self::AddOffsetsToTxn => "AddOffsetsToTxn",
            Self::EndTxn => "EndTxn",
            Self::TxnOffsetCommit => "TxnOffsetCommit",
            #[cfg(feature = "sasl")]
            Self::SaslHandshake => "SaslHandshake",
            #[cfg(feature = "sasl")]
            Self::SaslAuthenticate => "SaslAuthenticate",
            Self::GetTelemetrySubscriptions => "GetTelemetrySubscriptions",
            Self::PushTelemetry => "PushTelemetry",
        }
    }

    /// The most bytes that an answer may take: what a peer can make us hold for a connection. Beyond it a length is a mistake
    /// or an attack.
    pub(crate) fn largest_answer(self) -> usize {
        match self {
            // A few numbers, a host.
            Self::InitProducerId
            | Self::FindCoordinator
            | Self::AddOffsetsToTxn
            | Self::EndTxn
            | Self::PushTelemetry => 64 << 10,
            // Beginnings of names.
            Self::GetTelemetrySubscriptions => 1 << 20,
            // Some eighty ranges of versions, and features: a few KiB. Read before anybody is known.
            Self::ApiVersions => 1 << 20,
            // Some 50 bytes for a partition, and what a broker has to say about single records.
            Self::Produce | Self::AddPartitionsToTxn | Self::TxnOffsetCommit => 8 << 20,
            // Some 50 bytes for a partition of the topics asked for: a million of them.
            Self::Metadata => 64 << 20,
            // A list of mechanisms; a challenge, and what a broker has to say. Read before anybody is known.
            #[cfg(feature = "sasl")]
            Self::SaslHandshake | Self::SaslAuthenticate => 1 << 20,
        }
    }

    /// The lowest version that is written and read here.
    pub(crate) fn min_version(self) -> i16 {
        match self {
            // Brokers advertise 0 to 2 for the sake of old clients and refuse them: record batches begin with 3.
            Self::Produce => 3,
            // With 0 an empty list of topics would mean all of them.
            Self::Metadata => 1,
            // Version 0 knows coordinators of groups alone.
            Self::FindCoordinator => 1,
            Self::ApiVersions
            | Self::InitProducerId
            | Self::AddPartitionsToTxn
            | Self::AddOffsetsToTxn
            | Self::EndTxn
            | Self::TxnOffsetCommit
            | Self::GetTelemetrySubscriptions
            | Self::PushTelemetry => 0,
            // After version 0 proofs travel without a header, and with a broker that nobody runs any more.
            #[cfg(feature = "sasl")]
            Self::SaslHandshake => 1,
            #[cfg(feature = "sasl")]
            Self::SaslAuthenticate => 0,
        }
    }

    /// The highest version that is written and read here.
    pub(crate) fn max_version(self) -> i16 {
        match self {
            Self::Produce | Self::Metadata => 13,
            Self::ApiVersions | Self::InitProducerId | Self::EndTxn => 5,
            Self::FindCoordinator | Self::TxnOffsetCommit => 6,
            // From 4 on it is for brokers among themselves.
            Self::AddPartitionsToTxn => 3,
            Self::AddOffsetsToTxn => 4,
            Self::GetTelemetrySubscriptions | Self::PushTelemetry => 0,
            #[cfg(feature = "sasl")]
            Self::SaslHandshake => 1,
            #[cfg(feature = "sasl")]
            Self::SaslAuthenticate => 2,
        }
    }

    /// The first version with compact lengths and tag sections.
    pub(crate) fn flexible_from(self) -> i16 {
        match self {
            Self::Produce | Self::Metadata => 9,
            Self::InitProducerId => 2,
            Self::GetTelemetrySubscriptions | Self::PushTelemetry => 0,
            Self::ApiVersions
            | Self::FindCoordinator
            | Self::AddPartitionsToTxn
            | Self::AddOffsetsToTxn
            | Self::EndTxn
            | Self::TxnOffsetCommit => 3,
            // There is none.
            #[cfg(feature = "sasl")]
            Self::SaslHandshake => 2,
            #[cfg(feature = "sasl")]
            Self::SaslAuthenticate => 2,
        }
    }

    pub(crate) fn is_flexible(self, version: i16) -> bool {
        version >= self.flexible_from()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ranges_with_the_flexible_ones_at_the_end() {
        for api in ApiKey::ALL {
            assert!(
                api.min_version() <= api.flexible_from() && api.flexible_from() <= api.max_version() + 1,
                "{api:?}"
            );
            assert!(
                !api.is_flexible(api.flexible_from() - 1) && api.is_flexible(api.max_version().max(2)),
                "{api:?}"
            );
            assert_eq!(api.name(), format!("{api:?}"));
        }
    }
}
