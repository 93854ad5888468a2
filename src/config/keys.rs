//! The one table of settings. What is accepted, what a problem says, and `docs/configuration.md` all come from it.
//!
//! It knows names, kinds, ranges and meanings; rules that join several settings are in `resolve.rs`. A setting that is
//! added here also needs, unless it has no effect, a field of `Settings` there and a typed setter in `config.rs`.

/// One setting.
pub(super) struct Key {
    /// The property's name, as in Java.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// As text, in the form in which it could be given. `None`: not set, or required.
    pub(super) default: Option<&'static str>,
    /// The first Kafka release whose producer has it; `None` if it is this crate's own.
    #[cfg_attr(not(test), expect(dead_code, reason = "for docs/configuration.md, which a test makes"))]
    pub(super) since: Option<&'static str>,
    pub(super) status: Status,
    /// What it means: Markdown, whole sentences.
    #[cfg_attr(not(test), expect(dead_code, reason = "for docs/configuration.md, which a test makes"))]
    pub(super) doc: &'static str,
}

/// What a value looks like.
pub(super) enum Kind {
    Bool,
    Number {
        width: Width,
        min: Option<i64>,
        max: Option<i64>,
        /// A value outside the range that is legal all the same.
        also: Option<i64>,
        unit: &'static str,
    },
    Double {
        min: f64,
        max: f64,
    },
    Text {
        may_be_empty: bool,
    },
    /// One of these words.
    Choice {
        of: &'static [&'static str],
        any_case: bool,
    },
    List,
    /// The name of a Java class; only these names stand for something here.
    Class(&'static [&'static str]),
    /// Text that is never shown.
    Secret,
}

/// Java's integer types.
#[derive(Clone, Copy)]
pub(super) enum Width {
    Short,
    Int,
    Long,
}

/// What becomes of a setting in this crate.
pub(super) enum Status {
    /// The producer acts on it.
    Used,
    /// Checked as in Java and then not looked at, for this reason.
    NoEffect(&'static str),
    /// Checked as in Java; of use with a codec, a security protocol or an issuer of tokens that needs this feature.
    Needs(&'static str),
    /// Refused: this is what to do instead.
    NotHere(&'static str),
}

/// Settings that belong together.
pub(super) struct Group {
    #[cfg_attr(not(test), expect(dead_code, reason = "for docs/configuration.md, which a test makes"))]
    pub(super) title: &'static str,
    pub(super) keys: &'static [Key],
}

/// An optional part of this crate.
pub(super) struct Feature {
    pub(super) name: &'static str,
    /// Whether this version has code for it. Whoever writes that code turns this on.
    pub(super) written: bool,
    /// Whether this build includes it.
    pub(super) enabled: bool,
}

impl Key {
    pub(super) fn is_secret(&self) -> bool {
        matches!(self.kind, Kind::Secret)
    }

    /// The typed setter's name: Java's in Rust's case, without the unit that a `Duration` carries itself.
    #[cfg(test)]
    pub(super) fn setter(&self) -> Option<String> {
        match self.name {
            "bootstrap.servers" => return Some("new".to_owned()),
            "compression.type" => return Some("compression".to_owned()),
            "client.dns.lookup" => return None,
            name if name.starts_with("compression.") => {}
            name if name.starts_with("ssl.") && matches!(self.status, Status::Needs(_)) => {}
            _ if matches!(self.status, Status::Used) => {}
            _ => return None,
        }
        let name = self.name.replace('.', "_");
        Some(name.strip_suffix("_ms").unwrap_or(&name).to_owned())
    }

    const fn at_least(mut self, least: i64) -> Self {
        if let Kind::Number { min, .. } = &mut self.kind {
            *min = Some(least);
        }
        self
    }

    const fn within(mut self, least: i64, most: i64) -> Self {
        if let Kind::Number { min, max, .. } = &mut self.kind {
            *min = Some(least);
            *max = Some(most);
        }
        self
    }

    const fn or(mut self, value: i64) -> Self {
        if let Kind::Number { also, .. } = &mut self.kind {
            *also = Some(value);
        }
        self
    }

    const fn of(mut self, what: &'static str) -> Self {
        if let Kind::Number { unit, .. } = &mut self.kind {
            *unit = what;
        }
        self
    }

    const fn any_case(mut self) -> Self {
        if let Kind::Choice { any_case, .. } = &mut self.kind {
            *any_case = true;
        }
        self
    }

    const fn not_empty(mut self) -> Self {
        if let Kind::Text { may_be_empty } = &mut self.kind {
            *may_be_empty = false;
        }
        self
    }

    const fn no_effect(mut self, why: &'static str) -> Self {
        self.status = Status::NoEffect(why);
        self
    }

    const fn needs(mut self, feature: &'static str) -> Self {
        self.status = Status::Needs(feature);
        self
    }

    const fn not_here(mut self, instead: &'static str) -> Self {
        self.status = Status::NotHere(instead);
        self
    }
}

impl Width {
    #[cfg(test)]
    pub(super) fn java(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Int => "int",
            Self::Long => "long",
        }
    }

    pub(super) fn bounds(self) -> (i64, i64) {
        match self {
            Self::Short => (i16::MIN.into(), i16::MAX.into()),
            Self::Int => (i32::MIN.into(), i32::MAX.into()),
            Self::Long => (i64::MIN, i64::MAX),
        }
    }
}

/// Every setting, in the order of [`GROUPS`]. A setting's place in it is its identity in the rest of `config`.
pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    GROUPS.iter().flat_map(|group| group.keys)
}

/// The setting of this name, with its place in [`all`].
pub(super) fn find(name: &str) -> Option<(usize, &'static Key)> {
    all().enumerate().find(|(_, key)| key.name == name)
}

/// Whether a name that is not in the table is taken without a word: labels for metrics reporters.
pub(super) fn is_ignored(name: &str) -> bool {
    name.starts_with("metrics.context.")
}

/// What is wrong with a name that is not in the table, and which one was probably meant.
pub(super) fn unknown(name: &str) -> String {
    let folded = fold(name);
    if let Some((theirs, ours)) = FROM_LIBRDKAFKA.iter().find(|(theirs, _)| *theirs == folded) {
        return format!("unknown setting; what librdkafka calls {theirs} is {ours} here");
    }
    match nearest(&folded) {
        Some((key, _)) => format!("unknown setting; did you mean {}?", key.name),
        None => "unknown setting; docs/configuration.md lists all there are".to_owned(),
    }
}

/// Whether a value given under a name that is not in the table may be printed. Such a name may be a secret's with a
/// letter missing, so it must look like a setting that is none, and like nothing that could be.
pub(super) fn may_show_unknown(name: &str) -> bool {
    let folded = fold(name);
    is_ignored(name)
        || nearest(&folded).is_some_and(|(key, _)| !key.is_secret())
            && !["pass", "secret", "key", "jaas", "token", "credential", "cert", "sasl", "ssl"]
                .iter()
                .any(|word| folded.contains(word))
}

/// What is missing in this build to use the features named, if anything is.
pub(super) fn missing(features: &[&str]) -> Option<String> {
    let lacking = |lacks: fn(&Feature) -> bool| -> Vec<&'static str> {
        FEATURES.iter().filter(|f| features.contains(&f.name) && lacks(f)).map(|f| f.name).collect()
    };
    let name_them = |names: &[&str]| match names {
        [one] => format!("the feature `{one}` of this crate"),
        _ => format!("the features `{}` of this crate", names.join("` and `")),
    };
    let unwritten = lacking(|f| !f.written);
    if !unwritten.is_empty() {
        let verb = if unwritten.len() == 1 { "has" } else { "have" };
        return Some(format!("needs {}, which {verb} no code in this version yet", name_them(&unwritten)));
    }
    let disabled = lacking(|f| !f.enabled);
    (!disabled.is_empty()).then(|| {
        format!("needs {}, which this build was made without: name it in Cargo.toml", name_them(&disabled))
    })
}

/// The table's key whose name is nearest to `name`, if it is near enough to be a slip.
fn nearest(name: &str) -> Option<(&'static Key, usize)> {
    // So many letters must be added or removed at the least.
    let letters = name.chars().count();
    let similar = all().filter(|key| letters.abs_diff(key.name.len()) * 3 <= key.name.len());
    let (key, distance) =
        similar.map(|key| (key, edit_distance(name, key.name))).min_by_key(|&(_, distance)| distance)?;
    (distance * 3 <= key.name.len()).then_some((key, distance))
}

/// Spellings that other clients use for the same names: `linger_ms`, `Linger-Ms`.
fn fold(name: &str) -> String {
    java_trim(name).to_ascii_lowercase().replace(['_', '-'], ".")
}

/// How many letters must be added, removed, replaced or swapped with their neighbour to turn `a` into `b`.
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(MAX_NAME).collect(), b.chars().collect());
    let mut rows = [vec![0; b.len() + 1], (0..=b.len()).collect::<Vec<_>>(), vec![0; b.len() + 1]];
    for i in 1..=a.len() {
        let [before, above, here] = &mut rows;
        here[0] = i;
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            here[j] = replaced.min(above[j] + 1).min(here[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                here[j] = here[j].min(before[j - 2] + 1);
            }
        }
        rows.rotate_left(1);
    }
    rows[1][b.len()]
}

const fn key(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    since: &'static str,
    doc: &'static str,
) -> Key {
    Key { name, kind, default, since: Some(since), status: Status::Used, doc }
}

const fn number(width: Width, unit: &'static str) -> Kind {
    Kind::Number { width, min: None, max: None, also: None, unit }
}

const fn int(name: &'static str, default: &'static str, since: &'static str, doc: &'static str) -> Key {
    key(name, number(Width::Int, ""), Some(default), since, doc)
}

const fn int_ms(name: &'static str, default: &'static str, since: &'static str, doc: &'static str) -> Key {
    key(name, number(Width::Int, "milliseconds"), Some(default), since, doc)
}

const fn long_ms(name: &'static str, default: &'static str, since: &'static str, doc: &'static str) -> Key {
    key(name, number(Width::Long, "milliseconds"), Some(default), since, doc)
}

const fn seconds(
    name: &'static str,
    width: Width,
    default: &'static str,
    since: &'static str,
    doc: &'static str,
) -> Key {
    key(name, number(width, "seconds"), Some(default), since, doc)
}

const fn boolean(name: &'static str, default: &'static str, since: &'static str, doc: &'static str) -> Key {
    key(name, Kind::Bool, Some(default), since, doc)
}

const fn text(
    name: &'static str,
    default: Option<&'static str>,
    since: &'static str,
    doc: &'static str,
) -> Key {
    key(name, Kind::Text { may_be_empty: true }, default, since, doc)
}

const fn choice(
    name: &'static str,
    of: &'static [&'static str],
    default: &'static str,
    since: &'static str,
    doc: &'static str,
) -> Key {
    key(name, Kind::Choice { of, any_case: false }, Some(default), since, doc)
}

const fn list(
    name: &'static str,
    default: Option<&'static str>,
    since: &'static str,
    doc: &'static str,
) -> Key {
    key(name, Kind::List, default, since, doc)
}

const fn class(name: &'static str, since: &'static str, doc: &'static str) -> Key {
    key(name, Kind::Class(&[]), None, since, doc)
}

const fn secret(name: &'static str, since: &'static str, doc: &'static str) -> Key {
    key(name, Kind::Secret, None, since, doc)
}

/// No name of a setting is longer; cuts the work that a hopeless name can cause.
const MAX_NAME: usize = 80;

pub(super) const FEATURES: &[Feature] = &[
    Feature { name: "gzip", written: true, enabled: cfg!(feature = "gzip") },
    Feature { name: "snappy", written: true, enabled: cfg!(feature = "snappy") },
    Feature { name: "lz4", written: true, enabled: cfg!(feature = "lz4") },
    Feature { name: "zstd", written: true, enabled: cfg!(feature = "zstd") },
    Feature { name: "tls", written: true, enabled: cfg!(feature = "tls") },
    Feature { name: "sasl", written: true, enabled: cfg!(feature = "sasl") },
    Feature { name: "oauth-http", written: true, enabled: cfg!(feature = "oauth-http") },
];

/// The names under which users of librdkafka and its bindings know a setting, where no slip of the pen leads to ours.
const FROM_LIBRDKAFKA: &[(&str, &str)] = &[
    ("metadata.broker.list", "bootstrap.servers"),
    ("request.required.acks", "acks"),
    ("message.send.max.retries", "retries"),
    ("message.timeout.ms", "delivery.timeout.ms"),
    ("message.max.bytes", "max.request.size"),
    ("queue.buffering.max.ms", "linger.ms"),
    ("queue.buffering.max.kbytes", "buffer.memory"),
    ("queue.buffering.max.messages", "buffer.memory"),
    ("batch.num.messages", "batch.size"),
    ("compression.codec", "compression.type"),
    ("max.in.flight", "max.in.flight.requests.per.connection"),
    ("socket.timeout.ms", "request.timeout.ms"),
    ("sasl.mechanisms", "sasl.mechanism"),
    ("sasl.username", "part of sasl.jaas.config"),
    ("sasl.password", "part of sasl.jaas.config"),
    ("ssl.ca.location", "ssl.truststore.location"),
    ("ssl.ca.pem", "ssl.truststore.certificates"),
    ("ssl.certificate.location", "ssl.keystore.location"),
    ("ssl.certificate.pem", "ssl.keystore.certificate.chain"),
    ("ssl.key.location", "ssl.keystore.location"),
    ("ssl.key.pem", "ssl.keystore.key"),
    ("partitioner", "ProducerConfig::partitioner"),
];

const JVM: &str = "configures Java's virtual machine, which this producer does without: leave it out";
const KERBEROS: &str = "configures Kerberos (GSSAPI), which this crate does not support: leave it out, and use PLAIN, \
     SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER as sasl.mechanism";
const CALLBACK: &str = "names a Java class, which cannot be loaded here: leave it out, and give user names and passwords through \
     sasl.jaas.config, tokens through ProducerConfig::sasl_oauthbearer";
const SERIALIZER: &str = "names a Java class, which cannot be loaded here: leave it out; strings and bytes need no serializer, \
     and others are passed to Producer::with_serializers";
const ENCODING: &str = "belongs to Java's string serializers: leave it out; strings are sent as the UTF-8 that they are, and \
     other encodings are a Serializer's work, passed to Producer::with_serializers";
const NO_ASSERTIONS: &str = "belongs to assertions or to looks into a token, which this crate leaves to others: leave it out, and get tokens by \
     sasl.oauthbearer.client.credentials.*, or give them through ProducerConfig::sasl_oauthbearer";
const NO_REFRESH: &str =
    "a token is asked for whenever a connection is authenticated, and again before its session ends";
const BROKER_SIDE: &str = "it is for whoever verifies a token, and that is the broker";

pub(super) static GROUPS: &[Group] = &[
    Group {
        title: "Finding the cluster",
        keys: &[
            list(
                "bootstrap.servers",
                None,
                "0.8",
                "Where to ask for the cluster's brokers first: `host:port`, several separated by commas. \
                 One that answers is enough, as it names all the others; more than one lets the producer \
                 start while a broker is down. An IPv6 address stands in brackets, `[::1]:9092`, and a \
                 prefix like `PLAINTEXT://` is ignored, unless it promises another protocol than \
                 `security.protocol`, which is an error. Required.",
            ),
            long_ms(
                "bootstrap.resolve.timeout.ms",
                "0",
                "4.4",
                "0 looks the names in `bootstrap.servers` up when the producer is built, and fails if none \
                 is known. With any other value the producer is built all the same, and names are looked \
                 up whenever a connection is about to be opened, until a record has waited for \
                 `max.block.ms`; the time itself has no meaning here, where Java gives up for good after \
                 it (KIP-909).",
            )
            .at_least(0),
            choice(
                "client.dns.lookup",
                &["use_all_dns_ips", "resolve_canonical_bootstrap_servers_only"],
                "use_all_dns_ips",
                "2.0",
                "All addresses of a name are tried, one after the other (KIP-302). Java's second value \
                 replaces the bootstrap servers by their canonical names, for the sake of Kerberos; it is \
                 refused, as Kerberos is not supported.",
            ),
            text(
                "client.id",
                None,
                "0.8",
                "A name for this producer in the brokers' logs, metrics and quotas. Not set, it is \
                 `producer-1`, `producer-2` and so on, counted per process; an empty one stays empty.",
            ),
            text(
                "client.rack",
                Some(""),
                "4.4",
                "The rack or zone in which this producer runs, in the words of the brokers' \
                 `broker.rack`. Only `partitioner.rack.aware` looks at it (KIP-1123).",
            ),
            choice(
                "security.protocol",
                &["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"],
                "PLAINTEXT",
                "0.9",
                "How to talk to the brokers. `SSL` needs the feature `tls`, `SASL_PLAINTEXT` the feature \
                 `sasl`, `SASL_SSL` both.",
            )
            .any_case(),
        ],
    },
    Group {
        title: "Guarantees",
        keys: &[
            choice(
                "acks",
                &["all", "-1", "0", "1"],
                "all",
                "0.8",
                "When a record counts as written: `all` (or `-1`) when every replica that is in sync has \
                 it, `1` when the partition's leader has it, `0` at once, without an answer, and so \
                 without an offset. `enable.idempotence` needs `all`.",
            ),
            boolean(
                "enable.idempotence",
                "true",
                "0.11",
                "Whether brokers drop the duplicates that retries can make and keep the order of a \
                 partition's records (KIP-98). It needs `acks=all`, `retries` above 0 and \
                 `max.in.flight.requests.per.connection` of at most 5. Not set, `acks` or `retries` that \
                 contradict it switch it off; set to `true`, they are refused.",
            ),
            int(
                "retries",
                "2147483647",
                "0.8",
                "How often a batch is sent again after an error that may pass. It is best left alone: \
                 `delivery.timeout.ms` bounds the time. With 0 nothing is sent twice, and idempotence is \
                 off.",
            )
            .within(0, i32::MAX as i64),
            int(
                "max.in.flight.requests.per.connection",
                "5",
                "0.8",
                "How many requests a broker may owe an answer to. More than one keeps the line busy; \
                 order is kept by `enable.idempotence`, which allows at most 5, or by setting this to 1.",
            )
            .at_least(1),
            int_ms(
                "delivery.timeout.ms",
                "120000",
                "2.1",
                "From the moment a record's batch is begun, how long until its delivery has succeeded or \
                 failed: waiting, sending and retries together (KIP-91). At least `linger.ms` + \
                 `request.timeout.ms`; not set, it is raised to that where they are longer.",
            )
            .at_least(0),
            text(
                "transactional.id",
                None,
                "0.11",
                "A name under which a producer's transactions survive its restarts (KIP-98). Set, the producer \
                 sends in transactions only. Of two producers with one name the later fences the earlier off.",
            )
            .not_empty(),
            int_ms(
                "transaction.timeout.ms",
                "60000",
                "0.11",
                "How long a transaction may stay open before the broker aborts it. At most the broker's \
                 `transaction.max.timeout.ms`, and above 0 with a `transactional.id`.",
            ),
            boolean(
                "transaction.two.phase.commit.enable",
                "false",
                "4.1",
                "Transactions that somebody else commits never expire (KIP-939). Excludes \
                 `transaction.timeout.ms`.",
            )
            .no_effect("Java's producer checks it and does not act on it either"),
        ],
    },
    Group {
        title: "Batches and memory",
        keys: &[
            long_ms(
                "linger.ms",
                "5",
                "0.8",
                "How long a batch that is not full waits for more records. Waiting in \
                 `DeliveryFuture::get` ends it for the batch that holds the record, so a loop that sends \
                 and waits does not pay it. At most 2147483647 are used.",
            )
            .at_least(0),
            int(
                "batch.size",
                "16384",
                "0.8",
                "How large a batch for one partition may become before it is sent without waiting for \
                 `linger.ms`. A record that is larger travels alone; 0 gives every record its own batch.",
            )
            .at_least(0)
            .of("bytes"),
            key(
                "buffer.memory",
                number(Width::Long, "bytes"),
                Some("33554432"),
                "0.8",
                "How much memory records may take from `send` until their acknowledgement. Once it is \
                 full, `send` waits, up to `max.block.ms`. From 4 MiB on, a sixteenth of it and 512 KiB are \
                 for the buffers that carry records to the sender thread, 4.5 MiB at most: a single record may \
                 take what is left.",
            )
            .at_least(0),
            choice(
                "buffer.memory.allocation.strategy",
                &["full", "incremental"],
                "full",
                "4.4",
                "In Java, whether a batch takes `batch.size` bytes of `buffer.memory` from the start or \
                 grows in pieces (KIP-1332). `incremental` excludes compression, and needs a `batch.size` \
                 of at least 16384.",
            )
            .any_case()
            .no_effect("records are charged for what they take, whichever is set"),
            int(
                "max.request.size",
                "1048576",
                "0.8",
                "The largest request, and with it the largest record, before compression. Brokers have a \
                 limit of their own, `message.max.bytes`, which is 1048588 unless changed.",
            )
            .at_least(0)
            .of("bytes"),
            long_ms(
                "max.block.ms",
                "60000",
                "0.9",
                "How long `send` may wait in all for a topic's metadata and for room in `buffer.memory`, \
                 and how long `partitions_for` waits. 0 never waits.",
            )
            .at_least(0),
            Key {
                since: None,
                ..long_ms(
                    "drop.timeout.ms",
                    "5000",
                    "",
                    "How long dropping the last clone of a producer waits for records that are not yet \
                     acknowledged; what is left then fails, and is reported in the log. 0 does not wait. \
                     `close` waits without this limit.",
                )
                .at_least(0)
            },
        ],
    },
    Group {
        title: "Compression",
        keys: &[
            choice(
                "compression.type",
                &["none", "gzip", "snappy", "lz4", "zstd"],
                "none",
                "0.8",
                "How batches are compressed. Each codec needs the feature of its name.",
            ),
            int(
                "compression.gzip.level",
                "-1",
                "3.8",
                "From fast (1) to small (9); -1 leaves it to zlib, which takes 6 (KIP-390).",
            )
            .within(1, 9)
            .or(-1)
            .needs("gzip"),
            int(
                "compression.lz4.level",
                "9",
                "3.8",
                "9 is, as in Java, the fast compressor; any other level is that of the slower \
                 high-compression one (KIP-390).",
            )
            .within(1, 17)
            .needs("lz4"),
            int(
                "compression.zstd.level",
                "3",
                "3.8",
                "From fast (negative) to small (22) (KIP-390). It is the sender thread that compresses: from \
                 about 10 on it may keep brokers waiting.",
            )
            .within(-131_072, 22)
            .needs("zstd"),
        ],
    },
    Group {
        title: "Choosing partitions",
        keys: &[
            boolean(
                "partitioner.adaptive.partitioning.enable",
                "true",
                "3.3",
                "Whether records without a key go more often to partitions whose brokers are quick \
                 (KIP-794); otherwise to all alike. A partitioner of your own makes it meaningless.",
            ),
            long_ms(
                "partitioner.availability.timeout.ms",
                "0",
                "3.3",
                "A broker that has taken nothing for so long although batches wait for it gets no records \
                 without a key (KIP-794); 0 switches this off. Only with adaptive partitioning.",
            )
            .at_least(0),
            boolean(
                "partitioner.ignore.keys",
                "false",
                "3.3",
                "Whether records with a key are spread like those without one (KIP-794). A partitioner of \
                 your own makes it meaningless.",
            ),
            boolean(
                "partitioner.rack.aware",
                "false",
                "4.4",
                "Whether records without a key prefer partitions whose leader is in `client.rack`, which \
                 must then be set (KIP-1123).",
            ),
            class("partitioner.class", "0.9", "Java's way to name a partitioner.").not_here(
                "names a Java class, which cannot be loaded here: leave it out, and pass a \
                     Partitioner to ProducerConfig::partitioner(..); without one, records with a key go \
                     where Java's producer puts them",
            ),
        ],
    },
    Group {
        title: "Metadata",
        keys: &[
            long_ms(
                "metadata.max.age.ms",
                "300000",
                "0.8",
                "How old the picture of topics, partitions and leaders may become before it is asked for \
                 again, even if nothing seems to have changed.",
            )
            .at_least(0),
            long_ms(
                "metadata.max.idle.ms",
                "300000",
                "2.5",
                "A topic to which nothing was sent for so long is forgotten, and asked for again when it \
                 is next used (KIP-526).",
            )
            .at_least(5000),
            choice(
                "metadata.recovery.strategy",
                &["none", "rebootstrap"],
                "rebootstrap",
                "3.8",
                "What to do when no known broker can be reached: begin again with `bootstrap.servers`, or \
                 keep trying the known ones (KIP-899).",
            )
            .any_case(),
            long_ms(
                "metadata.recovery.rebootstrap.trigger.ms",
                "300000",
                "4.0",
                "With `rebootstrap`, how long metadata may fail to arrive before the producer begins \
                 again with `bootstrap.servers` (KIP-1102).",
            )
            .at_least(0),
            boolean(
                "metadata.cluster.check.enable",
                "true",
                "4.4",
                "Whether a broker is told which cluster and node it should be, so that it can refuse when \
                 addresses were reused (KIP-1242). Brokers before 4.4 are not asked. Without \
                 `metadata.recovery.strategy=rebootstrap` nobody is.",
            ),
        ],
    },
    Group {
        title: "Connections and retries",
        keys: &[
            int_ms(
                "request.timeout.ms",
                "30000",
                "0.9",
                "How long a broker may take to answer; after that its connection is closed, and what was \
                 in flight is sent again. It is also what the broker is told to wait for replicas.",
            )
            .at_least(0),
            long_ms(
                "retry.backoff.ms",
                "100",
                "0.8",
                "How long to wait before a failed request is sent again. It doubles with each failure in \
                 a row, with 20 % of chance, up to `retry.backoff.max.ms`; above that, the maximum is \
                 always waited.",
            )
            .at_least(0),
            long_ms(
                "retry.backoff.max.ms",
                "1000",
                "3.7",
                "The longest that `retry.backoff.ms` can grow to (KIP-580).",
            )
            .at_least(0),
            long_ms(
                "reconnect.backoff.ms",
                "50",
                "0.8",
                "How long to wait before a broker is dialled again. It doubles with each failure in a \
                 row, with 20 % of chance, up to `reconnect.backoff.max.ms`.",
            )
            .at_least(0),
            long_ms(
                "reconnect.backoff.max.ms",
                "1000",
                "0.11",
                "The longest that `reconnect.backoff.ms` can grow to (KIP-144). Not set while that is \
                 set, it is the same, and every wait is as long as the first.",
            )
            .at_least(0),
            long_ms(
                "socket.connection.setup.timeout.ms",
                "10000",
                "2.7",
                "How long opening a connection may take, TLS and SASL included. It doubles with each \
                 failure in a row, with 20 % of chance, up to `socket.connection.setup.timeout.max.ms` \
                 (KIP-601). With 0 or less every attempt fails, as in Java.",
            ),
            long_ms(
                "socket.connection.setup.timeout.max.ms",
                "30000",
                "2.7",
                "The longest that `socket.connection.setup.timeout.ms` can grow to (KIP-601).",
            ),
            long_ms(
                "connections.max.idle.ms",
                "540000",
                "0.9",
                "A connection that carried nothing for so long is closed, before the broker does it after \
                 10 minutes. A negative value never closes one; 0, with which Java's producer cannot work, is an \
                 error.",
            ),
            int(
                "send.buffer.bytes",
                "131072",
                "0.8",
                "The size of the socket's send buffer (SO_SNDBUF); -1 leaves it to the operating system.",
            )
            .at_least(-1)
            .of("bytes"),
            int(
                "receive.buffer.bytes",
                "32768",
                "0.8",
                "The size of the socket's receive buffer (SO_RCVBUF); -1 leaves it to the operating \
                 system.",
            )
            .at_least(-1)
            .of("bytes"),
        ],
    },
    Group {
        title: "Metrics",
        keys: &[
            boolean(
                "enable.metrics.push",
                "true",
                "3.7",
                "Whether metrics are pushed to brokers that ask for them (KIP-714). Brokers ask if somebody \
                 has installed a receiver for metrics there and has configured what it wants.",
            ),
            int(
                "metrics.num.samples",
                "2",
                "0.8",
                "How many windows an average, a maximum or a rate is about: docs/metrics.md.",
            )
            .at_least(1),
            long_ms(
                "metrics.sample.window.ms",
                "30000",
                "0.8",
                "How long such a window lasts; 0 is taken for 1.",
            )
            .at_least(0),
            choice(
                "metrics.recording.level",
                &["INFO", "DEBUG", "TRACE"],
                "INFO",
                "0.11",
                "In Java, how many metrics are kept.",
            )
            .no_effect("all metrics are kept, whatever the level"),
            list("metric.reporters", Some(""), "0.8", "Java's way to name listeners for metrics.").not_here(
                "names Java classes, which cannot be loaded here: leave it out, and \
                     take metrics from Producer::metrics",
            ),
        ],
    },
    Group {
        title: "Code of your own",
        keys: &[
            class("key.serializer", "0.8", "Java's way to name the serializer of keys.").not_here(SERIALIZER),
            class("value.serializer", "0.8", "Java's way to name the serializer of values.")
                .not_here(SERIALIZER),
            text("serializer.encoding", None, "0.8", "In Java, the encoding of strings.").not_here(ENCODING),
            text("key.serializer.encoding", None, "0.8", "In Java, the encoding of keys that are strings.")
                .not_here(ENCODING),
            text(
                "value.serializer.encoding",
                None,
                "0.8",
                "In Java, the encoding of values that are strings.",
            )
            .not_here(ENCODING),
            list("interceptor.classes", Some(""), "0.10", "Java's way to name interceptors.").not_here(
                "names Java classes, which cannot be loaded here: leave it out, and pass each \
                     ProducerInterceptor to ProducerConfig::interceptor(..)",
            ),
            list(
                "config.providers",
                Some(""),
                "4.2",
                "In Java, plugins that replace `${...}` in other settings.",
            )
            .not_here(
                "names plugins of Java's, which cannot be loaded here: leave it out, and put values \
                     into the settings before they are handed over",
            ),
            text("security.providers", None, "2.4", "In Java, plugins with security algorithms.")
                .not_here(JVM),
        ],
    },
    Group {
        title: "TLS",
        keys: &[
            list(
                "ssl.enabled.protocols",
                Some("TLSv1.2,TLSv1.3"),
                "0.9",
                "The versions of TLS that may be spoken.",
            )
            .needs("tls"),
            text("ssl.protocol", Some("TLSv1.3"), "0.9", "The newest version of TLS that may be spoken.")
                .needs("tls"),
            list(
                "ssl.cipher.suites",
                Some(""),
                "0.9",
                "The cipher suites that may be used, by their IANA names; empty allows all that are \
                 sound.",
            )
            .needs("tls"),
            text(
                "ssl.endpoint.identification.algorithm",
                Some("https"),
                "0.9",
                "`https` demands that a broker's certificate names the host that was dialled; an empty \
                 value does not.",
            )
            .needs("tls"),
            text(
                "ssl.truststore.type",
                Some("JKS"),
                "0.9",
                "The format of the file in `ssl.truststore.location`.",
            )
            .needs("tls"),
            text(
                "ssl.truststore.location",
                None,
                "0.9",
                "A file with the certificates of the authorities that brokers' certificates are checked \
                 against. Not set, those of the operating system are taken.",
            )
            .needs("tls"),
            secret(
                "ssl.truststore.password",
                "0.9",
                "The password of the file in `ssl.truststore.location`; a PEM file has none.",
            )
            .needs("tls"),
            secret(
                "ssl.truststore.certificates",
                "2.7",
                "The same certificates as PEM text, instead of a file (KIP-651).",
            )
            .needs("tls"),
            text(
                "ssl.keystore.type",
                Some("JKS"),
                "0.9",
                "The format of the file in `ssl.keystore.location`.",
            )
            .needs("tls"),
            text(
                "ssl.keystore.location",
                None,
                "0.9",
                "A file with this client's private key and certificate chain, for brokers that ask for \
                 them.",
            )
            .needs("tls"),
            secret(
                "ssl.keystore.password",
                "0.9",
                "The password of the file in `ssl.keystore.location`; a PEM file has none.",
            )
            .needs("tls"),
            secret(
                "ssl.keystore.key",
                "2.7",
                "The private key as PEM text (PKCS#8), instead of a file (KIP-651).",
            )
            .needs("tls"),
            secret(
                "ssl.keystore.certificate.chain",
                "2.7",
                "The certificate chain as PEM text, instead of a file (KIP-651).",
            )
            .needs("tls"),
            secret("ssl.key.password", "0.9", "The password of the private key, if it is encrypted.")
                .needs("tls"),
            class("ssl.engine.factory.class", "2.6", "In Java, a factory of TLS engines.").not_here(
                "names a Java class, which cannot be loaded here: leave it out, and use the other \
                     ssl.* settings",
            ),
            text("ssl.provider", None, "0.9", "In Java, the plugin that speaks TLS.").not_here(JVM),
            text("ssl.keymanager.algorithm", None, "0.9", "In Java, the algorithm of the key manager.")
                .not_here(JVM),
            text("ssl.trustmanager.algorithm", None, "0.9", "In Java, the algorithm of the trust manager.")
                .not_here(JVM),
            text("ssl.secure.random.implementation", None, "0.10", "In Java, the source of random numbers.")
                .not_here(JVM),
        ],
    },
    Group {
        title: "SASL",
        keys: &[
            choice(
                "sasl.mechanism",
                &["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI"],
                "GSSAPI",
                "0.10",
                "How to prove who this client is. Java's default, GSSAPI (Kerberos), is not supported here, and is \
                 an error once `security.protocol` asks for SASL.",
            )
            .needs("sasl"),
            secret(
                "sasl.jaas.config",
                "0.10.2",
                "User name and password, or what a token is asked for with, in Java's JAAS format: \
                 `org.apache.kafka.common.security.plain.PlainLoginModule required username=\"...\" \
                 password=\"...\";` (KIP-85).",
            )
            .needs("sasl"),
            class("sasl.client.callback.handler.class", "2.0", "In Java, code that supplies credentials.")
                .not_here(CALLBACK),
            class("sasl.login.callback.handler.class", "2.0", "In Java, code that supplies credentials.")
                .not_here(CALLBACK),
            class("sasl.login.class", "2.0", "In Java, code that logs in.").not_here(CALLBACK),
            key(
                "sasl.login.refresh.window.factor",
                Kind::Double { min: 0.5, max: 1.0 },
                Some("0.8"),
                "2.0",
                "The part of a token's life after which a new one is fetched.",
            )
            .no_effect(NO_REFRESH),
            key(
                "sasl.login.refresh.window.jitter",
                Kind::Double { min: 0.0, max: 0.25 },
                Some("0.05"),
                "2.0",
                "The part of a token's life by which that moment is moved at random.",
            )
            .no_effect(NO_REFRESH),
            seconds(
                "sasl.login.refresh.min.period.seconds",
                Width::Short,
                "60",
                "2.0",
                "How long a token is kept at least before it is replaced.",
            )
            .within(0, 900)
            .no_effect(NO_REFRESH),
            seconds(
                "sasl.login.refresh.buffer.seconds",
                Width::Short,
                "300",
                "2.0",
                "How long before a token ends it is replaced at the latest.",
            )
            .within(0, 3600)
            .no_effect(NO_REFRESH),
            key(
                "sasl.login.connect.timeout.ms",
                number(Width::Int, "milliseconds"),
                None,
                "3.1",
                "How long connecting to the token's issuer may take (KIP-768). Not set or 0: 30 s, where Java waits \
                 for ever.",
            )
            .needs("oauth-http"),
            key(
                "sasl.login.read.timeout.ms",
                number(Width::Int, "milliseconds"),
                None,
                "3.1",
                "How long the token's issuer may take to answer, the whole of it and TLS included (KIP-768). Not \
                 set or 0: 30 s, where Java waits for ever.",
            )
            .needs("oauth-http"),
            long_ms(
                "sasl.login.retry.backoff.ms",
                "100",
                "3.1",
                "How long to wait before asking the token's issuer again; it doubles each time (KIP-768).",
            )
            .needs("oauth-http"),
            long_ms(
                "sasl.login.retry.backoff.max.ms",
                "10000",
                "3.1",
                "How long the attempts to get one token may go on, as in Java (KIP-768).",
            )
            .needs("oauth-http"),
            text(
                "sasl.oauthbearer.token.endpoint.url",
                None,
                "3.1",
                "Where tokens come from (KIP-768): the `https` or `http` URL of an issuer, which is asked with \
                 `sasl.oauthbearer.client.credentials.*` and needs the feature `oauth-http`, too; or the `file` URL of a \
                 file with the token, which is read for each authentication.",
            )
            .needs("sasl"),
            Key {
                default: Some("org.apache.kafka.common.security.oauthbearer.DefaultJwtRetriever"),
                kind: Kind::Class(&[
                    "org.apache.kafka.common.security.oauthbearer.DefaultJwtRetriever",
                    "org.apache.kafka.common.security.oauthbearer.ClientCredentialsJwtRetriever",
                    "org.apache.kafka.common.security.oauthbearer.JwtBearerJwtRetriever",
                    "org.apache.kafka.common.security.oauthbearer.FileJwtRetriever",
                ]),
                ..class(
                    "sasl.oauthbearer.jwt.retriever.class",
                    "4.1",
                    "How a token is got: Java's own ways by their names (KIP-1139).",
                )
                .no_effect(NO_REFRESH)
            },
            Key {
                default: Some("org.apache.kafka.common.security.oauthbearer.DefaultJwtValidator"),
                kind: Kind::Class(&[
                    "org.apache.kafka.common.security.oauthbearer.DefaultJwtValidator",
                    "org.apache.kafka.common.security.oauthbearer.ClientJwtValidator",
                ]),
                ..class(
                    "sasl.oauthbearer.jwt.validator.class",
                    "4.1",
                    "How a token is looked over before it is sent: Java's own ways by their names \
                     (KIP-1139).",
                )
                .no_effect(NO_REFRESH)
            },
            text(
                "sasl.oauthbearer.client.credentials.client.id",
                None,
                "4.1",
                "The client's id for the grant `client_credentials`; stands before the option `clientId` of \
                 `sasl.jaas.config` (KIP-1139).",
            )
            .needs("oauth-http"),
            secret(
                "sasl.oauthbearer.client.credentials.client.secret",
                "4.1",
                "The client's secret for the grant `client_credentials`; stands before the option `clientSecret` of \
                 `sasl.jaas.config` (KIP-1139).",
            )
            .needs("oauth-http"),
            text(
                "sasl.oauthbearer.scope",
                None,
                "4.1",
                "The scope that a token is asked for with; stands before the option `scope` of `sasl.jaas.config` \
                 (KIP-1139).",
            )
            .needs("oauth-http"),
            boolean(
                "sasl.oauthbearer.header.urlencode",
                "false",
                "3.9",
                "Whether the client's id, its secret and the scope are URL-encoded before they are sent (KIP-1025).",
            )
            .needs("oauth-http"),
            text(
                "sasl.oauthbearer.assertion.file",
                None,
                "4.1",
                "A file with a ready-made assertion (a JWT); with it, the other settings for assertions \
                 are not looked at (KIP-1139).",
            )
            .not_here(NO_ASSERTIONS),
            choice(
                "sasl.oauthbearer.assertion.algorithm",
                &["RS256", "ES256"],
                "RS256",
                "4.1",
                "How an assertion is signed (KIP-1139).",
            )
            .any_case()
            .not_here(NO_ASSERTIONS),
            text(
                "sasl.oauthbearer.assertion.private.key.file",
                None,
                "4.1",
                "A file with the private key that signs an assertion, PEM (PKCS#8) (KIP-1139).",
            )
            .not_here(NO_ASSERTIONS),
            secret(
                "sasl.oauthbearer.assertion.private.key.passphrase",
                "4.1",
                "The passphrase of that key, if it is encrypted (KIP-1139).",
            )
            .not_here(NO_ASSERTIONS),
            text(
                "sasl.oauthbearer.assertion.template.file",
                None,
                "4.1",
                "A JSON file with headers and claims for an assertion (KIP-1139).",
            )
            .not_here(NO_ASSERTIONS),
            text(
                "sasl.oauthbearer.assertion.claim.aud",
                None,
                "4.1",
                "The claim `aud` of an assertion (KIP-1139).",
            )
            .not_here(NO_ASSERTIONS),
            text(
                "sasl.oauthbearer.assertion.claim.iss",
                None,
                "4.1",
                "The claim `iss` of an assertion (KIP-1139).",
            )
            .not_here(NO_ASSERTIONS),
            text(
                "sasl.oauthbearer.assertion.claim.sub",
                None,
                "4.1",
                "The claim `sub` of an assertion (KIP-1139).",
            )
            .not_here(NO_ASSERTIONS),
            seconds(
                "sasl.oauthbearer.assertion.claim.exp.seconds",
                Width::Int,
                "300",
                "4.1",
                "How long an assertion is good for, from now (KIP-1139).",
            )
            .within(0, 86_400)
            .not_here(NO_ASSERTIONS),
            seconds(
                "sasl.oauthbearer.assertion.claim.nbf.seconds",
                Width::Int,
                "60",
                "4.1",
                "Since when an assertion is good, counted back from now (KIP-1139).",
            )
            .within(0, 3600)
            .not_here(NO_ASSERTIONS),
            boolean(
                "sasl.oauthbearer.assertion.claim.jti.include",
                "false",
                "4.1",
                "Whether an assertion carries a random id (KIP-1139).",
            )
            .not_here(NO_ASSERTIONS),
            text(
                "sasl.oauthbearer.scope.claim.name",
                Some("scope"),
                "3.1",
                "The claim of a token that holds its scope (KIP-768).",
            )
            .not_empty()
            .not_here(NO_ASSERTIONS),
            text(
                "sasl.oauthbearer.sub.claim.name",
                Some("sub"),
                "3.1",
                "The claim of a token that holds its subject (KIP-768).",
            )
            .not_empty()
            .not_here(NO_ASSERTIONS),
            text(
                "sasl.oauthbearer.jwks.endpoint.url",
                None,
                "3.1",
                "Where the keys that tokens are verified with can be fetched (KIP-768).",
            )
            .no_effect(BROKER_SIDE),
            long_ms(
                "sasl.oauthbearer.jwks.endpoint.refresh.ms",
                "3600000",
                "3.1",
                "How often those keys are fetched (KIP-768).",
            )
            .no_effect(BROKER_SIDE),
            long_ms(
                "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms",
                "100",
                "3.1",
                "How long to wait before fetching them again (KIP-768).",
            )
            .no_effect(BROKER_SIDE),
            long_ms(
                "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms",
                "10000",
                "3.1",
                "The longest that this wait can grow to (KIP-768).",
            )
            .no_effect(BROKER_SIDE),
            seconds(
                "sasl.oauthbearer.clock.skew.seconds",
                Width::Int,
                "30",
                "3.1",
                "How far the clocks of issuer and verifier may differ (KIP-768).",
            )
            .no_effect(BROKER_SIDE),
            list(
                "sasl.oauthbearer.expected.audience",
                Some(""),
                "3.1",
                "For whom a token must have been issued (KIP-768).",
            )
            .no_effect(BROKER_SIDE),
            text("sasl.oauthbearer.expected.issuer", None, "3.1", "Who must have issued a token (KIP-768).")
                .no_effect(BROKER_SIDE),
            boolean(
                "sasl.oauthbearer.allow.unverified.audience",
                "false",
                "4.4",
                "Whether tokens for anybody are accepted.",
            )
            .no_effect(BROKER_SIDE),
            boolean(
                "sasl.oauthbearer.allow.unverified.issuer",
                "false",
                "4.4",
                "Whether tokens from anybody are accepted.",
            )
            .no_effect(BROKER_SIDE),
            text("sasl.kerberos.service.name", None, "0.9", "The name under which brokers run in Kerberos.")
                .not_here(KERBEROS),
            text("sasl.kerberos.kinit.cmd", Some("/usr/bin/kinit"), "0.9", "Where Kerberos' `kinit` is.")
                .not_here(KERBEROS),
            key(
                "sasl.kerberos.ticket.renew.window.factor",
                Kind::Double { min: f64::MIN, max: f64::MAX },
                Some("0.8"),
                "0.9",
                "The part of a ticket's life after which it is renewed.",
            )
            .not_here(KERBEROS),
            key(
                "sasl.kerberos.ticket.renew.jitter",
                Kind::Double { min: f64::MIN, max: f64::MAX },
                Some("0.05"),
                "0.9",
                "The part of a ticket's life by which that moment is moved at random.",
            )
            .not_here(KERBEROS),
            long_ms(
                "sasl.kerberos.min.time.before.relogin",
                "60000",
                "0.9",
                "How long to wait between two renewals.",
            )
            .not_here(KERBEROS),
        ],
    },
];

/// What Java's `String.trim` leaves: blanks and control characters of ASCII go, other white space stays.
pub(super) fn java_trim(text: &str) -> &str {
    text.trim_matches(|c| c <= ' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_not_too_long() {
        let mut names: Vec<_> = all().map(|key| key.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(names.iter().all(|name| name.len() <= MAX_NAME));
    }

    #[test]
    fn every_key_of_javas_producer_is_known() {
        assert_eq!(JAVA_4_4.len(), 120);
        for name in JAVA_4_4 {
            assert!(find(name).is_some_and(|(_, key)| key.since.is_some()), "{name}");
        }
        // Read outside Java's definition of its settings, or this crate's own.
        let beside = [
            "drop.timeout.ms",
            "serializer.encoding",
            "key.serializer.encoding",
            "value.serializer.encoding",
        ];
        for key in all().filter(|key| !JAVA_4_4.contains(&key.name)) {
            assert!(beside.contains(&key.name), "{}", key.name);
        }
    }

    /// What is not refused is accepted: nothing of Java's goes by without a word.
    #[test]
    fn javas_keys_are_refused_with_a_sentence_or_accepted() {
        let is_refused = |key: &Key| matches!(key.status, Status::NotHere(_));
        let mut refused: Vec<_> = JAVA_4_4.to_vec();
        refused.retain(|name| find(name).is_some_and(|(_, key)| is_refused(key)));
        let mut listed: Vec<_> = REFUSED.iter().flat_map(|(names, _)| *names).copied().collect();
        listed.sort_unstable();
        assert_eq!(refused, listed);
        for (names, sentence) in REFUSED {
            for name in *names {
                let (place, key) = find(name).expect("one of Java's");
                let mut given = crate::config::given::Given::default();
                given.values.insert(find("bootstrap.servers").expect("a setting").0, "a:1".to_owned().into());
                given
                    .values
                    .insert(place, key.default.filter(|d| !d.is_empty()).unwrap_or("x").to_owned().into());
                let error = crate::config::resolve::resolve(&given).err().expect("it is refused");
                let [problem] = error.problems() else { panic!("{name}: {error}") };
                assert_eq!(problem.name, *name);
                assert!(problem.problem.contains(sentence), "{name}: {}", problem.problem);
                assert!(problem.problem.contains("leave it out"), "{name}: {}", problem.problem);
            }
        }
        for key in all().filter(|key| !is_refused(key)) {
            let Some(default) = key.default else { continue };
            assert!(crate::config::parse::check(key, default).is_ok(), "{}", key.name);
        }
    }

    #[test]
    fn an_unknown_name_leads_to_the_nearest() {
        for (name, want) in [
            ("lingr.ms", "did you mean linger.ms?"),
            ("linger_ms", "did you mean linger.ms?"),
            ("Linger.Ms", "did you mean linger.ms?"),
            ("linger.sm", "did you mean linger.ms?"),
            ("linger", "did you mean linger.ms?"),
            ("ack", "did you mean acks?"),
            ("retires", "did you mean retries?"),
            ("bootstrap_servers", "did you mean bootstrap.servers?"),
            ("bootstrap.server", "did you mean bootstrap.servers?"),
            ("max.in.flight.request.per.connection", "did you mean max.in.flight.requests.per.connection?"),
            ("compression", "did you mean compression.type?"),
            ("queue.buffering.max.ms", "is linger.ms here"),
            ("sasl_password", "is part of sasl.jaas.config here"),
            ("group.id", "docs/configuration.md"),
            ("", "docs/configuration.md"),
            ("\u{1f600}", "docs/configuration.md"),
        ] {
            let problem = unknown(name);
            assert!(problem.starts_with("unknown setting; ") && problem.contains(want), "{name}: {problem}");
        }
        assert!(!unknown(&"x".repeat(1 << 20)).is_empty());
    }

    #[test]
    fn distances() {
        for (a, b, want) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "abc", 0),
            ("abc", "acb", 1),
            ("kitten", "sitting", 3),
            ("ab", "ba", 1),
        ] {
            assert_eq!(edit_distance(a, b), want, "{a} {b}");
            assert_eq!(edit_distance(b, a), want, "{b} {a}");
        }
    }

    #[test]
    fn values_under_unknown_names_are_hidden_if_they_could_be_secret() {
        for name in [
            "sasl.jaas.confg",
            "ssl.key.pasword",
            "sasl_password",
            "my.secret",
            "x",
            "jaas",
            "ssl.keystore.kye",
        ] {
            assert!(!may_show_unknown(name), "{name}");
        }
        for name in ["lingr.ms", "metrics.context.app"] {
            assert!(may_show_unknown(name), "{name}");
        }
    }

    /// Names, and part of the sentence that answers them.
    const REFUSED: &[(&[&str], &str)] = &[
        (&["key.serializer", "value.serializer"], "Producer::with_serializers"),
        (&["partitioner.class"], "ProducerConfig::partitioner(..)"),
        (&["interceptor.classes"], "ProducerConfig::interceptor(..)"),
        (&["metric.reporters"], "names Java classes"),
        (&["config.providers"], "put values into the settings"),
        (
            &[
                "security.providers",
                "ssl.keymanager.algorithm",
                "ssl.provider",
                "ssl.secure.random.implementation",
                "ssl.trustmanager.algorithm",
            ],
            "Java's virtual machine",
        ),
        (&["ssl.engine.factory.class"], "use the other ssl.* settings"),
        (
            &["sasl.client.callback.handler.class", "sasl.login.callback.handler.class", "sasl.login.class"],
            "ProducerConfig::sasl_oauthbearer",
        ),
        (
            &[
                "sasl.kerberos.kinit.cmd",
                "sasl.kerberos.min.time.before.relogin",
                "sasl.kerberos.service.name",
                "sasl.kerberos.ticket.renew.jitter",
                "sasl.kerberos.ticket.renew.window.factor",
            ],
            "does not support",
        ),
        (
            &[
                "sasl.oauthbearer.assertion.algorithm",
                "sasl.oauthbearer.assertion.claim.aud",
                "sasl.oauthbearer.assertion.claim.exp.seconds",
                "sasl.oauthbearer.assertion.claim.iss",
                "sasl.oauthbearer.assertion.claim.jti.include",
                "sasl.oauthbearer.assertion.claim.nbf.seconds",
                "sasl.oauthbearer.assertion.claim.sub",
                "sasl.oauthbearer.assertion.file",
                "sasl.oauthbearer.assertion.private.key.file",
                "sasl.oauthbearer.assertion.private.key.passphrase",
                "sasl.oauthbearer.assertion.template.file",
                "sasl.oauthbearer.scope.claim.name",
                "sasl.oauthbearer.sub.claim.name",
            ],
            "sasl.oauthbearer.client.credentials.*",
        ),
    ];

    const JAVA_4_4: &[&str] = &[
        "acks",
        "batch.size",
        "bootstrap.resolve.timeout.ms",
        "bootstrap.servers",
        "buffer.memory",
        "buffer.memory.allocation.strategy",
        "client.dns.lookup",
        "client.id",
        "client.rack",
        "compression.gzip.level",
        "compression.lz4.level",
        "compression.type",
        "compression.zstd.level",
        "config.providers",
        "connections.max.idle.ms",
        "delivery.timeout.ms",
        "enable.idempotence",
        "enable.metrics.push",
        "interceptor.classes",
        "key.serializer",
        "linger.ms",
        "max.block.ms",
        "max.in.flight.requests.per.connection",
        "max.request.size",
        "metadata.cluster.check.enable",
        "metadata.max.age.ms",
        "metadata.max.idle.ms",
        "metadata.recovery.rebootstrap.trigger.ms",
        "metadata.recovery.strategy",
        "metric.reporters",
        "metrics.num.samples",
        "metrics.recording.level",
        "metrics.sample.window.ms",
        "partitioner.adaptive.partitioning.enable",
        "partitioner.availability.timeout.ms",
        "partitioner.class",
        "partitioner.ignore.keys",
        "partitioner.rack.aware",
        "receive.buffer.bytes",
        "reconnect.backoff.max.ms",
        "reconnect.backoff.ms",
        "request.timeout.ms",
        "retries",
        "retry.backoff.max.ms",
        "retry.backoff.ms",
        "sasl.client.callback.handler.class",
        "sasl.jaas.config",
        "sasl.kerberos.kinit.cmd",
        "sasl.kerberos.min.time.before.relogin",
        "sasl.kerberos.service.name",
        "sasl.kerberos.ticket.renew.jitter",
        "sasl.kerberos.ticket.renew.window.factor",
        "sasl.login.callback.handler.class",
        "sasl.login.class",
        "sasl.login.connect.timeout.ms",
        "sasl.login.read.timeout.ms",
        "sasl.login.refresh.buffer.seconds",
        "sasl.login.refresh.min.period.seconds",
        "sasl.login.refresh.window.factor",
        "sasl.login.refresh.window.jitter",
        "sasl.login.retry.backoff.max.ms",
        "sasl.login.retry.backoff.ms",
        "sasl.mechanism",
        "sasl.oauthbearer.allow.unverified.audience",
        "sasl.oauthbearer.allow.unverified.issuer",
        "sasl.oauthbearer.assertion.algorithm",
        "sasl.oauthbearer.assertion.claim.aud",
        "sasl.oauthbearer.assertion.claim.exp.seconds",
        "sasl.oauthbearer.assertion.claim.iss",
        "sasl.oauthbearer.assertion.claim.jti.include",
        "sasl.oauthbearer.assertion.claim.nbf.seconds",
        "sasl.oauthbearer.assertion.claim.sub",
        "sasl.oauthbearer.assertion.file",
        "sasl.oauthbearer.assertion.private.key.file",
        "sasl.oauthbearer.assertion.private.key.passphrase",
        "sasl.oauthbearer.assertion.template.file",
        "sasl.oauthbearer.client.credentials.client.id",
        "sasl.oauthbearer.client.credentials.client.secret",
        "sasl.oauthbearer.clock.skew.seconds",
        "sasl.oauthbearer.expected.audience",
        "sasl.oauthbearer.expected.issuer",
        "sasl.oauthbearer.header.urlencode",
        "sasl.oauthbearer.jwks.endpoint.refresh.ms",
        "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms",
        "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms",
        "sasl.oauthbearer.jwks.endpoint.url",
        "sasl.oauthbearer.jwt.retriever.class",
        "sasl.oauthbearer.jwt.validator.class",
        "sasl.oauthbearer.scope",
        "sasl.oauthbearer.scope.claim.name",
        "sasl.oauthbearer.sub.claim.name",
        "sasl.oauthbearer.token.endpoint.url",
        "security.protocol",
        "security.providers",
        "send.buffer.bytes",
        "socket.connection.setup.timeout.max.ms",
        "socket.connection.setup.timeout.ms",
        "ssl.cipher.suites",
        "ssl.enabled.protocols",
        "ssl.endpoint.identification.algorithm",
        "ssl.engine.factory.class",
        "ssl.key.password",
        "ssl.keymanager.algorithm",
        "ssl.keystore.certificate.chain",
        "ssl.keystore.key",
        "ssl.keystore.location",
        "ssl.keystore.password",
        "ssl.keystore.type",
        "ssl.protocol",
        "ssl.provider",
        "ssl.secure.random.implementation",
        "ssl.trustmanager.algorithm",
        "ssl.truststore.certificates",
        "ssl.truststore.location",
        "ssl.truststore.password",
        "ssl.truststore.type",
        "transaction.timeout.ms",
        "transaction.two.phase.commit.enable",
        "transactional.id",
        "value.serializer",
    ];
}
