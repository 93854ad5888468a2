//! Wishes, and the settings that they come down to: [`Preset`].

/// What a producer should be best at. Each is a handful of settings, which [`ProducerConfig::preset`](crate::ProducerConfig::preset)
/// sets and later calls may set again; nothing else depends on it. None weakens a guarantee.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Preset {
    /// A record leaves at once: `linger.ms=0`, `compression.type=none`.
    ///
    /// The price: with many records a second, more and smaller requests, and so more work for both sides. A thread that
    /// blocks in [`get`](crate::DeliveryFuture::get) does not need it, as its record does not linger anyway.
    LowestLatency,
    /// Large batches, and the memory for them: `linger.ms=20`, `batch.size=131072`, `buffer.memory=134217728`.
    ///
    /// The price: up to 128 MiB of memory instead of 32, and a record of a quiet partition waits 15 ms longer. Compression,
    /// which is worth it where the network is what is short, stays as it is: each codec is a feature of this crate.
    HighestThroughput,
    /// Nothing is given up for being late: `acks=all`, `enable.idempotence=true`, `retries` and `delivery.timeout.ms` of
    /// 2147483647 (24 days), `drop.timeout.ms=60000`.
    ///
    /// The price: while a partition has no leader, or too few replicas, its records are kept, `buffer.memory` fills up,
    /// `send` waits and fails after `max.block.ms`, and `flush` and `close` may take as long as the trouble lasts. How many
    /// replicas `acks=all` means is the topic's `min.insync.replicas`: 2 or more.
    StrictestDelivery,
}

impl Preset {
    pub(super) fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::LowestLatency => &[("linger.ms", "0"), ("compression.type", "none")],
            Self::HighestThroughput => {
                &[("linger.ms", "20"), ("batch.size", "131072"), ("buffer.memory", "134217728")]
            }
            Self::StrictestDelivery => &[
                ("acks", "all"),
                ("enable.idempotence", "true"),
                ("retries", "2147483647"),
                ("delivery.timeout.ms", "2147483647"),
                ("drop.timeout.ms", "60000"),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::ProducerConfig;

    #[test]
    fn a_preset_is_settings_that_its_page_names_and_later_calls_override() {
        let source = include_str!("preset.rs");
        let docs: String = source.lines().filter(|line| line.trim_start().starts_with("///")).collect();
        for preset in [Preset::LowestLatency, Preset::HighestThroughput, Preset::StrictestDelivery] {
            let config = ProducerConfig::new("a:1").preset(preset);
            assert!(config.validate().is_ok(), "{preset:?}");
            for (name, value) in preset.settings() {
                assert!(config.to_string().contains(&format!("{name}={value}")), "{config}");
                assert!(
                    docs.contains(name) && docs.contains(value),
                    "{preset:?} does not name {name}={value}"
                );
            }
        }
        let config =
            ProducerConfig::new("a:1").preset(Preset::LowestLatency).linger(Duration::from_millis(3));
        assert!(config.to_string().contains("linger.ms=3"), "{config}");
    }
}
