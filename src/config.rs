//! What a producer can be told: [`ProducerConfig`].
//!
//! Everything is kept as the text that was given, under Java's names; typed setters write that text, too. So there is
//! one table (`keys.rs`) and one way from text to a value (`parse.rs`), and whatever is wrong comes out in one place
//! (`resolve.rs`), all at once, when the producer is built. Nothing here opens a connection or looks up a host.

mod bootstrap;
mod compression;
#[cfg(test)]
mod docs;
mod given;
mod keys;
mod parse;
mod preset;
pub(crate) mod properties;
mod resolve;
#[cfg(feature = "tls")]
mod tls;

use std::{
    env,
    ffi::OsString,
    fmt, fs, io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

pub(crate) use self::resolve::Settings;
pub use self::{compression::Compression, preset::Preset};
use self::{given::Given, resolve::Resolved};
use crate::{
    error::ConfigError, event::ProducerEvent, interceptor::ProducerInterceptor, partitioner::Partitioner,
};

/// What a [`Producer`](crate::Producer) is told: every setting by its Java name, or by a typed setter of that name.
///
/// Setting something never fails. What is wrong is reported when the producer is built, all of it at once, each problem
/// with name, value and what would have been right; [`validate`](Self::validate) reports the same earlier. A setting
/// that is set again has the later value. Names that no setting has are errors, with the nearest name as a hint.
///
/// ```
/// use std::time::Duration;
/// use kafka_producer::{Acks, ProducerConfig};
///
/// let config = ProducerConfig::new("localhost:9092")
///     .acks(Acks::All)
///     .linger(Duration::from_millis(20))
///     .set("batch.size", "65536");
/// config.validate()?;
///
/// let problems = config.set("lingr.ms", "5").set("acks", "7").validate().unwrap_err();
/// assert_eq!(problems.problems().len(), 2);
/// # Ok::<(), kafka_producer::ConfigError>(())
/// ```
///
/// A `Duration` is rounded up to whole milliseconds, so that one that is not zero stays so. Where Java counts in a
/// `long`, a longer one than that can hold means the longest.
///
/// `docs/configuration.md` lists every name with its type, default, range and meaning. [`Debug`] and [`Display`](fmt::Display)
/// show what was set, with `[hidden]` for passwords, keys and certificates.
#[derive(Clone, Default)]
pub struct ProducerConfig {
    given: Given,
}

/// When a record counts as written: the property `acks`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Acks {
    /// `0`: at once. Nobody answers, so nobody knows; offsets are unknown, too.
    None,
    /// `1`: when the partition's leader has it. Lost if the leader fails before others have copied it.
    Leader,
    /// `all`: when every replica that is in sync has it. What idempotence needs.
    #[default]
    All,
}

/// What to do when no known broker can be reached: the property `metadata.recovery.strategy` (KIP-899).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum MetadataRecoveryStrategy {
    /// Keep trying the known brokers.
    None,
    /// Begin again with `bootstrap.servers`.
    #[default]
    Rebootstrap,
}

/// What goes round Kafka's protocol on every connection: the property `security.protocol`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum SecurityProtocol {
    /// `PLAINTEXT`: nothing. Whoever is on the way can read and change everything.
    #[default]
    Plaintext,
    /// `SSL`: TLS, in which this client may have a certificate, too. Needs the feature `tls`.
    Ssl,
    /// `SASL_PLAINTEXT`: credentials are checked, and nothing is encrypted. Needs the feature `sasl`.
    SaslPlaintext,
    /// `SASL_SSL`: credentials are checked inside TLS. Needs the features `tls` and `sasl`.
    SaslSsl,
}

impl ProducerConfig {
    /// Settings for the cluster that these brokers belong to; everything else has its default.
    ///
    /// `bootstrap`: `host:port`, several separated by commas; an IPv6 address in brackets. Property `bootstrap.servers`.
    pub fn new(bootstrap: &str) -> Self {
        Self::default().set("bootstrap.servers", bootstrap)
    }

    /// Settings from names and values as Java knows them. `bootstrap.servers` must be among them, or be [`set`](Self::set)
    /// later. Of several values for one name the last counts.
    ///
    /// ```
    /// use kafka_producer::ProducerConfig;
    ///
    /// let config = ProducerConfig::from_properties([("bootstrap.servers", "localhost:9092"), ("linger.ms", "20")]);
    /// assert!(config.validate().is_ok());
    /// ```
    pub fn from_properties(pairs: impl IntoIterator<Item = (impl AsRef<str>, impl AsRef<str>)>) -> Self {
        pairs
            .into_iter()
            .fold(Self::default(), |config, (name, value)| config.set(name.as_ref(), value.as_ref()))
    }

    /// Settings from a file in Java's format for properties: `name=value` lines, `#` and `!` for comments, a backslash
    /// to continue a line or to escape a character, `\uXXXX`.
    ///
    /// The file is read as UTF-8, or as ISO 8859-1 if it is not that.
    ///
    /// # Errors
    /// If the file cannot be read, or holds an escape that means nothing. Wrong settings are no errors yet.
    pub fn from_file(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let explain = |kind, cause: &dyn fmt::Display| {
            io::Error::new(kind, format!("cannot read the settings in {}: {cause}", path.display()))
        };
        let bytes = fs::read(path).map_err(|error| explain(error.kind(), &error))?;
        #[cfg(any(feature = "tls", feature = "sasl"))]
        let bytes = zeroize::Zeroizing::new(bytes);
        let pairs = properties::parse(&bytes).map_err(|error| explain(io::ErrorKind::InvalidData, &error))?;
        // There may be a password among them, which is not to be left behind in memory.
        Ok(Self::from_properties(pairs.into_iter().map(|(name, value)| (name, given::Text::from(value)))))
    }

    /// Settings from the process's environment: [`from_env_with_prefix`](Self::from_env_with_prefix) with
    /// `KAFKA_PRODUCER_`.
    pub fn from_env() -> Self {
        Self::from_env_with_prefix("KAFKA_PRODUCER_")
    }

    /// Settings from those variables of the process's environment whose names begin with `prefix`.
    ///
    /// The rest of the name is the setting's, in small letters and with a dot for each `_`: with the prefix
    /// `KAFKA_PRODUCER_`, `KAFKA_PRODUCER_LINGER_MS` is `linger.ms`. No setting has a `_` in its name. A name that no
    /// setting has is an error, as always, so the prefix should be nobody else's. What is not Unicode in a value
    /// becomes U+FFFD. The environment is read once, in this call.
    pub fn from_env_with_prefix(prefix: &str) -> Self {
        Self::from_variables(prefix, env::vars_os())
    }

    fn from_variables(prefix: &str, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut found: Vec<_> = variables
            .into_iter()
            .filter_map(|(name, value)| {
                let name = name.to_str()?.strip_prefix(prefix)?.to_ascii_lowercase().replace('_', ".");
                Some((name, given::Text::from(value.to_string_lossy().into_owned())))
            })
            .collect();
        // The environment has no order of its own; problems should come in the same one each time.
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        Self::from_properties(found)
    }

    /// Sets all that a wish comes down to: [`Preset`] says which settings, and what they cost. What is set later
    /// counts, and so does a preset for what was set before it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use kafka_producer::{Preset, ProducerConfig};
    ///
    /// let config = ProducerConfig::new("localhost:9092")
    ///     .preset(Preset::HighestThroughput)
    ///     .linger(Duration::from_millis(10));
    /// # assert!(config.validate().is_ok());
    /// ```
    #[must_use]
    pub fn preset(self, preset: Preset) -> Self {
        preset.settings().iter().fold(self, |config, (name, value)| config.set(name, value))
    }

    /// Sets a property by its Java name, to a value as it would stand in a file.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        if let Some((place, _)) = keys::find(name) {
            self.given.values.insert(place, given::Text::from(value.to_owned()));
        } else if let Some((_, known)) = self.given.unknown.iter_mut().find(|(known, _)| known == name) {
            value.clone_into(known);
        } else {
            self.given.unknown.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Says what building a producer would say about these settings, without building one.
    ///
    /// # Errors
    /// If anything is wrong: all of it.
    pub fn validate(&self) -> Result<(), ConfigError> {
        resolve::resolve(&self.given).map(drop)
    }

    // Guarantees

    /// When a record counts as written. Default [`Acks::All`]. Property `acks`.
    ///
    /// [`enable_idempotence`](Self::enable_idempotence) needs `All`, and is off with anything else unless it was set.
    #[must_use]
    pub fn acks(self, acks: Acks) -> Self {
        self.set("acks", &acks.to_string())
    }

    /// Whether brokers drop the duplicates that retries can make, and keep the order of a partition's records.
    /// Default `true`. Property `enable.idempotence` (KIP-98).
    ///
    /// It needs [`Acks::All`], [`retries`](Self::retries) above 0, and
    /// [`max_in_flight_requests_per_connection`](Self::max_in_flight_requests_per_connection) of at most 5. Not set, it
    /// gives way to the first two; set to `true`, it makes them errors.
    #[must_use]
    pub fn enable_idempotence(self, enable: bool) -> Self {
        self.set_to("enable.idempotence", enable)
    }

    /// How often a batch is sent again after an error that may pass. Default and largest value 2147483647. Property
    /// `retries`.
    ///
    /// Best left alone: [`delivery_timeout`](Self::delivery_timeout) bounds the time.
    #[must_use]
    pub fn retries(self, retries: u32) -> Self {
        self.set_to("retries", retries)
    }

    /// How many requests a broker may owe an answer to. Default 5, at least 1, and at most 5 with
    /// [`enable_idempotence`](Self::enable_idempotence). Property `max.in.flight.requests.per.connection`.
    #[must_use]
    pub fn max_in_flight_requests_per_connection(self, requests: usize) -> Self {
        self.set_to("max.in.flight.requests.per.connection", requests)
    }

    /// How long after the beginning of a record's batch its delivery has succeeded or failed at the latest: waiting,
    /// sending and retries together. Default 2 minutes, at most 2147483647 ms. Property `delivery.timeout.ms` (KIP-91).
    ///
    /// At least [`linger`](Self::linger) + [`request_timeout`](Self::request_timeout). Not set, it is raised to that.
    #[must_use]
    pub fn delivery_timeout(self, timeout: Duration) -> Self {
        self.set_millis("delivery.timeout.ms", timeout)
    }

    // Batches and memory

    /// How long a batch that is not full waits for more records. Default 5 ms; more than 2147483647 ms count as that.
    /// Property `linger.ms`.
    ///
    /// Waiting in [`DeliveryFuture::get`](crate::DeliveryFuture::get) ends it for the batch that holds the record.
    #[must_use]
    pub fn linger(self, linger: Duration) -> Self {
        self.set_millis("linger.ms", linger)
    }

    /// How many bytes a batch for one partition may hold before it is sent without waiting for
    /// [`linger`](Self::linger). Default 16384, at most 2147483647; 0 gives every record a batch of its own. Property
    /// `batch.size`.
    #[must_use]
    pub fn batch_size(self, bytes: usize) -> Self {
        self.set_to("batch.size", bytes)
    }

    /// How many bytes records may take from `send` until their acknowledgement. Default 33554432 (32 MiB). Property
    /// `buffer.memory`.
    ///
    /// Once they are taken, `send` waits, up to [`max_block`](Self::max_block).
    #[must_use]
    pub fn buffer_memory(self, bytes: usize) -> Self {
        self.set_to("buffer.memory", bytes)
    }

    /// The size of the largest request, and with it of the largest record, in bytes before compression. Default 1048576
    /// (1 MiB), at most 2147483647. Property `max.request.size`.
    ///
    /// Brokers have a limit of their own, `message.max.bytes`.
    #[must_use]
    pub fn max_request_size(self, bytes: usize) -> Self {
        self.set_to("max.request.size", bytes)
    }

    /// How long `send` may wait in all, for a topic's metadata and for room in [`buffer_memory`](Self::buffer_memory).
    /// Default 1 minute; zero never waits. Property `max.block.ms`.
    #[must_use]
    pub fn max_block(self, limit: Duration) -> Self {
        self.set_millis("max.block.ms", limit)
    }

    /// How long dropping the last clone of a producer waits for records that are not yet acknowledged. Default 5 s; zero
    /// does not wait. Property `drop.timeout.ms`, which Java does not have.
    ///
    /// What is left then fails, and is reported in the log. [`close`](crate::Producer::close) has no such limit.
    #[must_use]
    pub fn drop_timeout(self, timeout: Duration) -> Self {
        self.set_millis("drop.timeout.ms", timeout)
    }

    // Metrics

    /// Whether metrics are pushed to brokers that ask for them. Default `true`. Property `enable.metrics.push` (KIP-714).
    #[must_use]
    pub fn enable_metrics_push(self, enable: bool) -> Self {
        self.set_to("enable.metrics.push", enable)
    }

    // Transactions

    /// A name under which this producer's [transactions](crate::Producer::transaction) survive its restarts. With it the
    /// producer sends in transactions only. Of two producers with one name the later fences the earlier off. Not set by
    /// default. Property `transactional.id`.
    #[must_use]
    pub fn transactional_id(self, id: impl Into<String>) -> Self {
        self.set("transactional.id", &id.into())
    }

    /// How long a transaction may stay open before the broker aborts it. Default 1 minute. Property
    /// `transaction.timeout.ms`.
    #[must_use]
    pub fn transaction_timeout(self, timeout: Duration) -> Self {
        self.set_millis("transaction.timeout.ms", timeout)
    }

    // Compression

    /// How batches are compressed. Default [`Compression::None`]. Property `compression.type`.
    #[must_use]
    pub fn compression(self, compression: Compression) -> Self {
        self.set_to("compression.type", compression)
    }

    /// How hard gzip tries: from 1 (fast) to 9 (small), or -1, the default, for what zlib thinks best. Property
    /// `compression.gzip.level` (KIP-390).
    #[must_use]
    pub fn compression_gzip_level(self, level: i32) -> Self {
        self.set_to("compression.gzip.level", level)
    }

    /// How hard LZ4 tries, from 1 to 17. Default 9, which is, as in Java, the fast compressor; any other level is that
    /// of the high-compression one. Property `compression.lz4.level` (KIP-390).
    #[must_use]
    pub fn compression_lz4_level(self, level: i32) -> Self {
        self.set_to("compression.lz4.level", level)
    }

    /// How hard Zstandard tries, from -131072 (fast) to 22 (small). Default 3. Property `compression.zstd.level`
    /// (KIP-390).
    #[must_use]
    pub fn compression_zstd_level(self, level: i32) -> Self {
        self.set_to("compression.zstd.level", level)
    }

    // Choosing partitions

    /// Chooses the partition of records that do not name one. Property `partitioner.class` in Java.
    ///
    /// Without one, records with a key go where Java's producer puts them, and others to a partition that changes with
    /// every batch.
    #[must_use]
    pub fn partitioner(self, partitioner: impl Partitioner + 'static) -> Self {
        Self { given: Given { partitioner: Some(Arc::new(partitioner)), ..self.given } }
    }

    /// Whether records without a key go more often to partitions whose brokers are quick. Default `true`. Property
    /// `partitioner.adaptive.partitioning.enable` (KIP-794).
    #[must_use]
    pub fn partitioner_adaptive_partitioning_enable(self, enable: bool) -> Self {
        self.set_to("partitioner.adaptive.partitioning.enable", enable)
    }

    /// After how long a broker that takes nothing although batches wait for it gets no more records without a key.
    /// Default zero: never. Property `partitioner.availability.timeout.ms` (KIP-794).
    #[must_use]
    pub fn partitioner_availability_timeout(self, timeout: Duration) -> Self {
        self.set_millis("partitioner.availability.timeout.ms", timeout)
    }

    /// Whether records with a key are spread like those without one. Default `false`. Property
    /// `partitioner.ignore.keys` (KIP-794).
    #[must_use]
    pub fn partitioner_ignore_keys(self, ignore: bool) -> Self {
        self.set_to("partitioner.ignore.keys", ignore)
    }

    /// Whether records without a key prefer partitions whose leader is in [`client_rack`](Self::client_rack), which
    /// must then be set. Default `false`. Property `partitioner.rack.aware` (KIP-1123).
    #[must_use]
    pub fn partitioner_rack_aware(self, aware: bool) -> Self {
        self.set_to("partitioner.rack.aware", aware)
    }

    // Finding the cluster

    /// A name for this producer in the brokers' logs, metrics and quotas. Default `producer-1`, `producer-2` and so on,
    /// counted per process. Property `client.id`.
    #[must_use]
    pub fn client_id(self, id: &str) -> Self {
        self.set("client.id", id)
    }

    /// The rack or zone in which this producer runs, in the words of the brokers' `broker.rack`. Default empty.
    /// Property `client.rack` (KIP-1123).
    #[must_use]
    pub fn client_rack(self, rack: &str) -> Self {
        self.set("client.rack", rack)
    }

    /// How old the picture of topics, partitions and leaders may become before it is asked for again. Default 5 minutes.
    /// Property `metadata.max.age.ms`.
    #[must_use]
    pub fn metadata_max_age(self, age: Duration) -> Self {
        self.set_millis("metadata.max.age.ms", age)
    }

    /// After how long without a record a topic is forgotten. Default 5 minutes, at least 5 s. Property
    /// `metadata.max.idle.ms` (KIP-526).
    #[must_use]
    pub fn metadata_max_idle(self, idle: Duration) -> Self {
        self.set_millis("metadata.max.idle.ms", idle)
    }

    /// What to do when no known broker can be reached. Default [`MetadataRecoveryStrategy::Rebootstrap`]. Property
    /// `metadata.recovery.strategy` (KIP-899).
    #[must_use]
    pub fn metadata_recovery_strategy(self, strategy: MetadataRecoveryStrategy) -> Self {
        self.set_to("metadata.recovery.strategy", strategy)
    }

    /// With [`MetadataRecoveryStrategy::Rebootstrap`], how long metadata may fail to arrive before the producer begins
    /// again with the bootstrap servers. Default 5 minutes. Property `metadata.recovery.rebootstrap.trigger.ms`
    /// (KIP-1102).
    #[must_use]
    pub fn metadata_recovery_rebootstrap_trigger(self, after: Duration) -> Self {
        self.set_millis("metadata.recovery.rebootstrap.trigger.ms", after)
    }

    /// Whether a broker is told which cluster and node it should be, so that it can refuse when addresses were reused.
    /// Brokers before 4.4 are not asked. Default true. Property `metadata.cluster.check.enable` (KIP-1242).
    #[must_use]
    pub fn metadata_cluster_check_enable(self, enable: bool) -> Self {
        self.set_to("metadata.cluster.check.enable", enable)
    }

    // Connections and retries

    /// With `Duration::ZERO` the names of the bootstrap servers are looked up when the producer is built, which fails
    /// if none is known; with any other value they are looked up when a connection is about to be opened. Default
    /// zero. Property `bootstrap.resolve.timeout.ms` (KIP-909).
    #[must_use]
    pub fn bootstrap_resolve_timeout(self, timeout: Duration) -> Self {
        self.set_millis("bootstrap.resolve.timeout.ms", timeout)
    }

    /// How long a broker may take to answer a request. Default 30 s, at most 2147483647 ms. Property
    /// `request.timeout.ms`.
    #[must_use]
    pub fn request_timeout(self, timeout: Duration) -> Self {
        self.set_millis("request.timeout.ms", timeout)
    }

    /// How long to wait before a failed request is sent again; doubles with each failure in a row. Default 100 ms.
    /// Property `retry.backoff.ms`.
    #[must_use]
    pub fn retry_backoff(self, backoff: Duration) -> Self {
        self.set_millis("retry.backoff.ms", backoff)
    }

    /// The longest that [`retry_backoff`](Self::retry_backoff) can grow to. Default 1 s. Property
    /// `retry.backoff.max.ms` (KIP-580).
    #[must_use]
    pub fn retry_backoff_max(self, backoff: Duration) -> Self {
        self.set_millis("retry.backoff.max.ms", backoff)
    }

    /// How long to wait before a broker is dialled again; doubles with each failure in a row. Default 50 ms. Property
    /// `reconnect.backoff.ms`.
    ///
    /// Set without [`reconnect_backoff_max`](Self::reconnect_backoff_max), every wait is as long as the first.
    #[must_use]
    pub fn reconnect_backoff(self, backoff: Duration) -> Self {
        self.set_millis("reconnect.backoff.ms", backoff)
    }

    /// The longest that [`reconnect_backoff`](Self::reconnect_backoff) can grow to. Default 1 s. Property
    /// `reconnect.backoff.max.ms` (KIP-144).
    #[must_use]
    pub fn reconnect_backoff_max(self, backoff: Duration) -> Self {
        self.set_millis("reconnect.backoff.max.ms", backoff)
    }

    /// How long opening a connection may take, TLS and SASL included; doubles with each failure in a row. Default 10 s.
    /// Property `socket.connection.setup.timeout.ms` (KIP-601).
    #[must_use]
    pub fn socket_connection_setup_timeout(self, timeout: Duration) -> Self {
        self.set_millis("socket.connection.setup.timeout.ms", timeout)
    }

    /// The longest that [`socket_connection_setup_timeout`](Self::socket_connection_setup_timeout) can grow to. Default
    /// 30 s. Property `socket.connection.setup.timeout.max.ms` (KIP-601).
    #[must_use]
    pub fn socket_connection_setup_timeout_max(self, timeout: Duration) -> Self {
        self.set_millis("socket.connection.setup.timeout.max.ms", timeout)
    }

    /// After how long without traffic a connection is closed; `None` for never. Default 9 minutes. Property
    /// `connections.max.idle.ms`.
    #[must_use]
    pub fn connections_max_idle(self, idle: impl Into<Option<Duration>>) -> Self {
        match idle.into() {
            Some(idle) => self.set_millis("connections.max.idle.ms", idle),
            None => self.set("connections.max.idle.ms", "-1"),
        }
    }

    /// The size of a socket's send buffer in bytes; `None` leaves it to the operating system. Default 131072, at most
    /// 2147483647. Property `send.buffer.bytes`.
    #[must_use]
    pub fn send_buffer_bytes(self, bytes: impl Into<Option<usize>>) -> Self {
        self.set_bytes("send.buffer.bytes", bytes.into())
    }

    /// The size of a socket's receive buffer in bytes; `None` leaves it to the operating system. Default 32768, at most
    /// 2147483647. Property `receive.buffer.bytes`.
    #[must_use]
    pub fn receive_buffer_bytes(self, bytes: impl Into<Option<usize>>) -> Self {
        self.set_bytes("receive.buffer.bytes", bytes.into())
    }

    // Security

    /// What goes round Kafka's protocol on every connection. Default [`SecurityProtocol::Plaintext`]. Property
    /// `security.protocol`.
    ///
    /// What each of them needs is set by its property: `docs/security.md` shows how.
    #[must_use]
    pub fn security_protocol(self, protocol: SecurityProtocol) -> Self {
        self.set_to("security.protocol", protocol)
    }

    /// A user and a password, for `sasl.mechanism=PLAIN`. They travel as they are: use it inside TLS
    /// ([`SecurityProtocol::SaslSsl`]). Property `sasl.jaas.config`.
    #[cfg(feature = "sasl")]
    #[must_use]
    pub fn sasl_plain(self, user: &str, password: &str) -> Self {
        self.set("sasl.mechanism", "PLAIN")
            .set("sasl.jaas.config", &crate::sasl::jaas::entry("PlainLoginModule", user, password))
    }

    /// A user and a password, for `sasl.mechanism=SCRAM-SHA-256`. Property `sasl.jaas.config`.
    #[cfg(feature = "sasl")]
    #[must_use]
    pub fn sasl_scram_sha_256(self, user: &str, password: &str) -> Self {
        self.set("sasl.mechanism", "SCRAM-SHA-256")
            .set("sasl.jaas.config", &crate::sasl::jaas::entry("ScramLoginModule", user, password))
    }

    /// A user and a password, for `sasl.mechanism=SCRAM-SHA-512`. Property `sasl.jaas.config`.
    #[cfg(feature = "sasl")]
    #[must_use]
    pub fn sasl_scram_sha_512(self, user: &str, password: &str) -> Self {
        self.set("sasl.mechanism", "SCRAM-SHA-512")
            .set("sasl.jaas.config", &crate::sasl::jaas::entry("ScramLoginModule", user, password))
    }

    /// Tokens for `sasl.mechanism=OAUTHBEARER`. Property `sasl.login.callback.handler.class` in Java.
    ///
    /// The callback is asked whenever a connection is authenticated, and again before its session ends, on a thread of
    /// its own: it may take its time, within `socket.connection.setup.timeout.ms`. A token that is still good may be
    /// given again.
    #[cfg(feature = "sasl")]
    #[must_use]
    pub fn sasl_oauthbearer(
        mut self,
        token: impl Fn() -> Result<crate::OAuthBearerToken, crate::BoxError> + Send + Sync + 'static,
    ) -> Self {
        self.given.token = Some(Arc::new(token));
        self.set("sasl.mechanism", "OAUTHBEARER")
    }

    /// The versions of TLS that may be spoken. Default `TLSv1.2` and `TLSv1.3`. Property `ssl.enabled.protocols`.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn ssl_enabled_protocols(self, protocols: &[&str]) -> Self {
        self.set("ssl.enabled.protocols", &protocols.join(","))
    }

    /// The newest version of TLS that may be spoken. Default `TLSv1.3`. Property `ssl.protocol`.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn ssl_protocol(self, protocol: &str) -> Self {
        self.set("ssl.protocol", protocol)
    }

    /// The cipher suites that may be used, by their IANA names. Default all that are sound. Property
    /// `ssl.cipher.suites`.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn ssl_cipher_suites(self, suites: &[&str]) -> Self {
        self.set("ssl.cipher.suites", &suites.join(","))
    }

    /// `https`, the default, demands that a broker's certificate names the host that was dialled; an empty one does
    /// not. Property `ssl.endpoint.identification.algorithm`.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn ssl_endpoint_identification_algorithm(self, algorithm: &str) -> Self {
        self.set("ssl.endpoint.identification.algorithm", algorithm)
    }

    /// The format of what [`ssl_truststore_location`](Self::ssl_truststore_location) names: `PEM`. Property
    /// `ssl.truststore.type`.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn ssl_truststore_type(self, format: &str) -> Self {
        self.set("ssl.truststore.type", format)
    }

    /// A file with the certificates of the authorities that brokers' certificates are checked against. Default those of
    /// the operating system. Property `ssl.truststore.location`.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn ssl_truststore_location(self, path: &str) -> Self {
        self.set("ssl.truststore.location", path)
    }

    /// The password of that file. A PEM file has none, and refuses one. Property `ssl.truststore.password`.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn ssl_truststore_password(self, password: &str) -> Self {
        self.set("ssl.truststore.password", password)
    }

    /// The certificates of authorities as PEM text, instead of a file. Property `ssl.truststore.certificates`
    /// (KIP-651).
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn ssl_truststore_certificates(self, pem: &str) -> Self {
        self.set("ssl.truststore.certificates", pem)
    }

    /// The format of what [`ssl_keystore_location`](Self::ssl_keystore_location) names: `PEM`. Property
    /// `ssl.keystore.type`.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn ssl_keystore_type(self, format: &str) -> Self {
        self.set("ssl.keystore.type", format)
    }

    /// A file with this client's private key and certificate chain. Default none. Property `ssl.keystore.location`.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn ssl_keystore_location(self, path: &str) -> Self {
        self.set("ssl.keystore.location", path)
    }

    /// The password of that file. A PEM file has none, and refuses one. Property `ssl.keystore.password`.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn ssl_keystore_password(self, password: &str) -> Self {
        self.set("ssl.keystore.password", password)
    }

    /// This client's private key as PEM text (PKCS#8), instead of a file. Property `ssl.keystore.key` (KIP-651).
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn ssl_keystore_key(self, pem: &str) -> Self {
        self.set("ssl.keystore.key", pem)
    }

    /// This client's certificate chain as PEM text, instead of a file. Property `ssl.keystore.certificate.chain`
    /// (KIP-651).
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn ssl_keystore_certificate_chain(self, pem: &str) -> Self {
        self.set("ssl.keystore.certificate.chain", pem)
    }

    /// The password of the private key, if it is encrypted. Property `ssl.key.password`.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn ssl_key_password(self, password: &str) -> Self {
        self.set("ssl.key.password", password)
    }

    /// A TLS configuration of the application's own, in place of all `ssl.*` settings: keys in hardware, certificates
    /// that are checked in another way. Java's `ssl.engine.factory.class`.
    ///
    /// Of use with [`SecurityProtocol::Ssl`] and [`SecurityProtocol::SaslSsl`]. It is that of `rustls` 0.23.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls_config(mut self, config: impl Into<Arc<rustls::ClientConfig>>) -> Self {
        self.given.tls = Some(config.into());
        self
    }

    // Metrics

    /// How many windows an average, a maximum or a rate among the [`Metrics`](crate::Metrics) is about. Default 2, at
    /// least 1. Property `metrics.num.samples`.
    #[must_use]
    pub fn metrics_num_samples(self, samples: usize) -> Self {
        self.set_to("metrics.num.samples", samples)
    }

    /// How long such a window lasts. Default 30 seconds. Property `metrics.sample.window.ms`.
    #[must_use]
    pub fn metrics_sample_window(self, length: Duration) -> Self {
        self.set_millis("metrics.sample.window.ms", length)
    }

    // Hooks

    /// Adds a hook around every record; several are called in the order added. Property `interceptor.classes` in Java.
    #[must_use]
    pub fn interceptor(mut self, interceptor: impl ProducerInterceptor + 'static) -> Self {
        self.given.interceptors.push(Arc::new(interceptor));
        self
    }

    /// Has this closure told what happens to the producer besides the outcomes of records: connections that come and go,
    /// throttling, leaders that move. Several are called in the order added. Java has nothing of the kind.
    ///
    /// Events come in the order in which they happened, on the thread that callbacks run on, and are all told when
    /// [`close`](crate::Producer::close) returns. A slow listener holds up callbacks and other listeners, never the
    /// sending; of more than 1024 events that wait for it the later ones are dropped and
    /// [counted](ProducerEvent::Missed). A panic ends that call only. A listener that owns a clone of its producer keeps
    /// the producer alive.
    ///
    /// ```
    /// use kafka_producer::{Producer, ProducerConfig, ProducerEvent, ProducerRecord};
    /// # let cluster = kafka_producer::testing::Cluster::builder().topic("orders", 1).start()?;
    /// # let servers = cluster.bootstrap();
    ///
    /// let config = ProducerConfig::new(&servers).event_listener(|event| match event {
    ///     ProducerEvent::Throttled { node, duration, .. } => eprintln!("{node:?} wants a pause of {duration:?}"),
    ///     other => println!("{other}"), // connected to 127.0.0.1:9092 (node 1)
    /// });
    /// let producer = Producer::new(config)?;
    /// producer.send(ProducerRecord::new("orders", "42 apples"))?.get()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn event_listener(mut self, listener: impl Fn(&ProducerEvent) + Send + Sync + 'static) -> Self {
        self.given.event_listeners.push(Arc::new(listener));
        self
    }

    /// What the producer works with. Says in the log what Java's producer would, and gives a producer that has no name
    /// the next number: call it once per producer.
    pub(crate) fn resolve(&self) -> Result<Settings, ConfigError> {
        let Resolved { mut settings, is_unnamed, notices } = resolve::resolve(&self.given)?;
        for (level, notice) in notices {
            log::log!(level, "{notice}");
        }
        if is_unnamed {
            settings.client_id = match &settings.transactional_id {
                Some(id) => format!("producer-{id}"),
                None => format!("producer-{}", NEXT_CLIENT.fetch_add(1, Ordering::Relaxed)),
            };
        }
        Ok(settings)
    }

    fn set_to(self, name: &str, value: impl fmt::Display) -> Self {
        self.set(name, &value.to_string())
    }

    fn set_millis(self, name: &str, duration: Duration) -> Self {
        const LONGEST: u128 = i64::MAX as u128;
        self.set_to(name, duration.as_nanos().div_ceil(1_000_000).min(LONGEST))
    }

    fn set_bytes(self, name: &str, bytes: Option<usize>) -> Self {
        match bytes {
            Some(bytes) => self.set_to(name, bytes),
            None => self.set(name, "-1"),
        }
    }
}

impl fmt::Debug for ProducerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Entries<'a>(&'a ProducerConfig);
        impl fmt::Debug for Entries<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_map().entries(self.0.given.entries()).finish()
            }
        }
        f.debug_struct("ProducerConfig")
            .field("settings", &Entries(self))
            .field("partitioners", &usize::from(self.given.partitioner.is_some()))
            .field("interceptors", &self.given.interceptors.len())
            .field("event_listeners", &self.given.event_listeners.len())
            .finish()
    }
}

/// What was set, as `name=value`, separated by commas.
impl fmt::Display for ProducerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, value)) in self.given.entries().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{name}={value}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Acks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "0",
            Self::Leader => "1",
            Self::All => "all",
        })
    }
}

impl fmt::Display for SecurityProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        })
    }
}

impl fmt::Display for MetadataRecoveryStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Rebootstrap => "rebootstrap",
        })
    }
}

/// The number of the next producer in this process that has no name of its own.
static NEXT_CLIENT: AtomicU32 = AtomicU32::new(1);

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::{error::BoxError, partitioner::TopicPartitions};

    const SECRET: &str = "hunter2";

    struct First;

    impl Partitioner for First {
        fn partition(
            &self,
            _partitions: TopicPartitions<'_>,
            _key: Option<&[u8]>,
            _value: Option<&[u8]>,
        ) -> Result<i32, BoxError> {
            Ok(0)
        }
    }

    struct Silent;

    impl ProducerInterceptor for Silent {}

    fn given(config: &ProducerConfig) -> String {
        config.to_string().split_once(", ").map(|(_bootstrap, rest)| rest.to_owned()).unwrap_or_default()
    }

    #[test]
    fn a_typed_setter_writes_the_property() {
        let ms = Duration::from_millis;
        let new = || ProducerConfig::new("localhost:9092");
        for (config, want) in [
            (new().acks(Acks::All), "acks=all"),
            (new().acks(Acks::Leader), "acks=1"),
            (new().acks(Acks::None), "acks=0"),
            (new().enable_idempotence(false), "enable.idempotence=false"),
            (new().retries(3), "retries=3"),
            (new().max_in_flight_requests_per_connection(1), "max.in.flight.requests.per.connection=1"),
            (new().delivery_timeout(ms(60_000)), "delivery.timeout.ms=60000"),
            (new().linger(ms(20)), "linger.ms=20"),
            (new().linger(Duration::from_nanos(1)), "linger.ms=1"),
            (new().linger(Duration::from_micros(1001)), "linger.ms=2"),
            (new().linger(Duration::ZERO), "linger.ms=0"),
            (new().linger(Duration::MAX), "linger.ms=9223372036854775807"),
            (new().batch_size(0), "batch.size=0"),
            (new().buffer_memory(1 << 20), "buffer.memory=1048576"),
            (new().max_request_size(9), "max.request.size=9"),
            (new().max_block(ms(1)), "max.block.ms=1"),
            (new().drop_timeout(ms(2)), "drop.timeout.ms=2"),
            (new().compression(Compression::None), "compression.type=none"),
            (new().compression_gzip_level(-1), "compression.gzip.level=-1"),
            (new().compression_lz4_level(17), "compression.lz4.level=17"),
            (new().compression_zstd_level(-7), "compression.zstd.level=-7"),
            (
                new().partitioner_adaptive_partitioning_enable(false),
                "partitioner.adaptive.partitioning.enable=false",
            ),
            (new().partitioner_availability_timeout(ms(4)), "partitioner.availability.timeout.ms=4"),
            (new().partitioner_ignore_keys(true), "partitioner.ignore.keys=true"),
            (new().partitioner_rack_aware(false), "partitioner.rack.aware=false"),
            (new().client_id("me"), "client.id=me"),
            (new().client_rack("r1"), "client.rack=r1"),
            (new().metadata_max_age(ms(5)), "metadata.max.age.ms=5"),
            (new().metadata_max_idle(ms(5000)), "metadata.max.idle.ms=5000"),
            (
                new().metadata_recovery_strategy(MetadataRecoveryStrategy::None),
                "metadata.recovery.strategy=none",
            ),
            (
                new().metadata_recovery_strategy(MetadataRecoveryStrategy::Rebootstrap),
                "metadata.recovery.strategy=rebootstrap",
            ),
            (
                new().metadata_recovery_rebootstrap_trigger(ms(6)),
                "metadata.recovery.rebootstrap.trigger.ms=6",
            ),
            (new().request_timeout(ms(7)), "request.timeout.ms=7"),
            (new().retry_backoff(ms(8)), "retry.backoff.ms=8"),
            (new().retry_backoff_max(ms(9)), "retry.backoff.max.ms=9"),
            (new().reconnect_backoff(ms(10)), "reconnect.backoff.ms=10"),
            (new().reconnect_backoff_max(ms(11)), "reconnect.backoff.max.ms=11"),
            (new().socket_connection_setup_timeout(ms(12)), "socket.connection.setup.timeout.ms=12"),
            (new().socket_connection_setup_timeout_max(ms(13)), "socket.connection.setup.timeout.max.ms=13"),
            (new().connections_max_idle(ms(14)), "connections.max.idle.ms=14"),
            (new().connections_max_idle(None), "connections.max.idle.ms=-1"),
            (new().send_buffer_bytes(15), "send.buffer.bytes=15"),
            (new().send_buffer_bytes(None), "send.buffer.bytes=-1"),
            (new().receive_buffer_bytes(16), "receive.buffer.bytes=16"),
        ] {
            assert_eq!(given(&config), want);
            assert!(config.validate().is_ok(), "{want}");
        }
    }

    #[cfg(feature = "tls")]
    #[test]
    fn a_setter_of_tls_writes_the_property() {
        let new = || ProducerConfig::new("localhost:9092");
        for (config, want) in [
            (new().ssl_enabled_protocols(&["TLSv1.2", "TLSv1.3"]), "ssl.enabled.protocols=TLSv1.2,TLSv1.3"),
            (new().ssl_protocol("TLSv1.2"), "ssl.protocol=TLSv1.2"),
            (
                new().ssl_cipher_suites(&["TLS_AES_128_GCM_SHA256"]),
                "ssl.cipher.suites=TLS_AES_128_GCM_SHA256",
            ),
            (new().ssl_endpoint_identification_algorithm(""), "ssl.endpoint.identification.algorithm="),
            (new().ssl_truststore_type("PEM"), "ssl.truststore.type=PEM"),
            (new().ssl_truststore_location("ca.pem"), "ssl.truststore.location=ca.pem"),
            (new().ssl_truststore_password(SECRET), "ssl.truststore.password=[hidden]"),
            (new().ssl_truststore_certificates(SECRET), "ssl.truststore.certificates=[hidden]"),
            (new().ssl_keystore_type("PEM"), "ssl.keystore.type=PEM"),
            (new().ssl_keystore_location("me.pem"), "ssl.keystore.location=me.pem"),
            (new().ssl_keystore_password(SECRET), "ssl.keystore.password=[hidden]"),
            (new().ssl_keystore_key(SECRET), "ssl.keystore.key=[hidden]"),
            (new().ssl_keystore_certificate_chain(SECRET), "ssl.keystore.certificate.chain=[hidden]"),
            (new().ssl_key_password(SECRET), "ssl.key.password=[hidden]"),
        ] {
            assert_eq!(given(&config), want);
        }
    }

    #[test]
    fn a_typed_value_out_of_range_is_a_problem_like_any_other() {
        let error = ProducerConfig::new("localhost:9092")
            .retries(u32::MAX)
            .request_timeout(Duration::MAX)
            .batch_size(usize::MAX)
            .max_in_flight_requests_per_connection(0)
            .validate()
            .expect_err("four wrong settings");
        let names: Vec<_> = error.problems().iter().map(|problem| problem.name.as_str()).collect();
        assert_eq!(
            names,
            ["retries", "max.in.flight.requests.per.connection", "batch.size", "request.timeout.ms"]
        );
    }

    #[test]
    fn the_later_value_wins() {
        let config = ProducerConfig::new("a:1")
            .set("linger.ms", "soon")
            .set("no.such.setting", "1")
            .linger(Duration::from_millis(7))
            .set("no.such.setting", "2")
            .set("bootstrap.servers", "b:2");
        assert_eq!(config.validate().expect_err("an unknown name").problems().len(), 1);
        assert_eq!(config.to_string(), "bootstrap.servers=b:2, linger.ms=7, no.such.setting=[hidden]");
    }

    #[test]
    fn secrets_are_never_shown() {
        let mut config = ProducerConfig::new("localhost:9092")
            .set("sasl.jaas.confg", SECRET)
            .set("sasl.password", SECRET)
            .set("linger.ms", "-1");
        let secrets: Vec<_> = keys::all().filter(|key| key.is_secret()).map(|key| key.name).collect();
        assert_eq!(secrets.len(), 9);
        for name in &secrets {
            config = config.set(name, SECRET);
        }
        let error = config.validate().expect_err("unknown names");
        for shown in
            [format!("{config:?}"), format!("{config:#?}"), config.to_string(), format!("{error} {error:?}")]
        {
            assert!(!shown.contains(SECRET), "{shown}");
            assert!(shown.contains("sasl.jaas.confg") && shown.contains(given::HIDDEN), "{shown}");
        }
        assert!(config.to_string().contains("ssl.key.password=[hidden]"));
    }

    #[test]
    fn debug_counts_hooks() {
        let config =
            ProducerConfig::new("a:1").partitioner(First).interceptor(Silent).interceptor(Silent).clone();
        let config = config.event_listener(|_| {}).clone();
        assert_eq!(
            format!("{config:?}"),
            r#"ProducerConfig { settings: {"bootstrap.servers": "a:1"}, partitioners: 1, interceptors: 2, event_listeners: 1 }"#
        );
        let settings = config.resolve().expect("settings");
        assert!(settings.partitioner.is_some());
        assert_eq!((settings.interceptors.len(), settings.event_listeners.len()), (2, 1));
    }

    #[test]
    fn only_a_producer_without_a_name_uses_up_a_number() {
        let unnamed = ProducerConfig::new("a:1");
        let number = || -> u32 {
            let id = unnamed.resolve().expect("settings").client_id;
            id.strip_prefix("producer-").expect("a default name").parse().expect("a number")
        };
        let first = number();
        unnamed.validate().expect("settings");
        assert_eq!(unnamed.clone().client_id("").resolve().expect("settings").client_id, "");
        assert_eq!(unnamed.clone().client_id(" me ").resolve().expect("settings").client_id, "me");
        // Other tests may have taken numbers in between.
        assert!(first >= 1 && number() > first);
    }

    /// Whatever the protocol, and with or without the feature.
    #[test]
    fn a_mechanism_that_does_not_exist_is_a_problem() {
        for protocol in ["PLAINTEXT", "SASL_PLAINTEXT"] {
            let config = ProducerConfig::new("a:1").set("security.protocol", protocol);
            let error = config.set("sasl.mechanism", "FOO").validate().expect_err(protocol);
            let problems: Vec<_> = error.problems().iter().filter(|p| p.name == "sasl.mechanism").collect();
            let [problem] = &problems[..] else { panic!("{error}") };
            assert_eq!(problem.value, "FOO");
            let known = "must be PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or GSSAPI";
            assert_eq!(problem.problem, known);
        }
        assert!(ProducerConfig::new("a:1").set("sasl.mechanism", "GSSAPI").validate().is_ok());
    }

    #[test]
    fn labels_for_metrics_reporters_are_taken() {
        let config = ProducerConfig::new("a:1").set("metrics.context.app", "shop");
        assert!(config.validate().is_ok());
        assert_eq!(given(&config), "metrics.context.app=shop");
    }

    #[test]
    fn variables_of_the_environment_are_settings() {
        let variable = |(name, value): (&str, &str)| (OsString::from(name), OsString::from(value));
        let variables = [
            ("KAFKA_PRODUCER_LINGER_MS", "7"),
            ("KAFKA_PRODUCER_BOOTSTRAP_SERVERS", "a:1,b:2"),
            ("KAFKA_LINGER_MS", "no prefix of ours"),
            ("PATH", "/bin"),
        ]
        .map(variable);
        let config = ProducerConfig::from_variables("KAFKA_PRODUCER_", variables.clone());
        assert_eq!(config.to_string(), "bootstrap.servers=a:1,b:2, linger.ms=7");
        assert!(config.validate().is_ok());

        let more = [("KAFKA_PRODUCER_LINGR_MS", "5"), ("KAFKA_PRODUCER_ACKS", "7")].map(variable);
        let config = ProducerConfig::from_variables("KAFKA_PRODUCER_", variables.into_iter().chain(more));
        let error = config.validate().expect_err("an unknown name and a wrong value");
        let problems: Vec<_> = error.problems().iter().map(|p| (&*p.name, &*p.problem)).collect();
        assert_eq!(problems.len(), 2, "{error}");
        assert!(error.to_string().contains("did you mean linger.ms?"), "{error}");
        assert!(keys::all().all(|key| !key.name.contains('_')), "or a variable could not name it");
    }

    #[test]
    fn files_and_pairs_give_the_same() {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(b"# ours\nbootstrap.servers = a:1,\\\n  b:2\nlinger.ms: 7\nclient.id \\u00fc\n")
            .expect("written");
        let from_file = ProducerConfig::from_file(file.path()).expect("a file of settings");
        let from_pairs = ProducerConfig::from_properties(vec![
            ("linger.ms".to_owned(), "7"),
            ("client.id".to_owned(), "\u{fc}"),
            ("bootstrap.servers".to_owned(), "a:1,b:2"),
        ]);
        assert_eq!(from_file.to_string(), from_pairs.to_string());
        assert!(from_file.validate().is_ok());
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let error = ProducerConfig::from_file("no/such/file").expect_err("no such file");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("no/such/file"), "{error}");

        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(b"a=b\nclient.id=\\uxyz\n").expect("written");
        let error = ProducerConfig::from_file(file.path()).expect_err("a bad escape");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains("line 2: \\u must be followed"), "{error}");
    }
}
