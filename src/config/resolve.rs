//! From what was given to what the producer works with: defaults, the rules that join several settings, and
//! [`Settings`].
//!
//! Knows what Java's producer does with settings that contradict each other, in its order; opens no file but those with
//! keys and certificates, looks up no host. Every problem is reported, not only the first: a rule is skipped if one of the values it joins is itself wrong.

use std::{sync::Arc, time::Duration};

use log::Level;

#[cfg(feature = "tls")]
use super::tls;
use super::{
    bootstrap,
    compression::Compression,
    given::{Given, HIDDEN},
    keys,
    keys::Status,
    parse::{self, Value},
};
#[cfg(feature = "oauth-http")]
use crate::sasl::issuer::{Client, Endpoint, Issuer, Patience};
#[cfg(feature = "sasl")]
use crate::sasl::{Login, jaas::Jaas};
use crate::{
    error::{ConfigError, ConfigProblem},
    event::EventListener,
    interceptor::ProducerInterceptor,
    metrics::Shape,
    partitioner::Partitioner,
};

/// Every setting that the producer works with, checked.
///
/// Durations can be added to an `Instant` without a thought: none is longer than [`CENTURY`].
#[derive(Clone)]
pub(crate) struct Settings {
    /// Hosts and ports, never empty.
    pub(crate) bootstrap: Vec<(String, u16)>,
    /// Whether a producer is built only if one of these names is known.
    pub(crate) resolve_at_start: bool,
    /// At most [`LONGEST_NAME`] bytes.
    pub(crate) client_id: String,
    pub(crate) client_rack: String,
    /// -1, 0 or 1, as on the wire; -1 if `idempotence`.
    pub(crate) acks: i16,
    pub(crate) idempotence: bool,
    pub(crate) retries: u32,
    /// At least 1; at most 5 if `idempotence`.
    pub(crate) max_in_flight: usize,
    /// At least 1.
    pub(crate) batch_size: usize,
    pub(crate) linger: Duration,
    /// Compiled in.
    pub(crate) compression: Compression,
    /// In the codec's own terms; of no meaning if it has no levels.
    pub(crate) compression_level: i32,
    pub(crate) buffer_memory: usize,
    pub(crate) max_block: Duration,
    pub(crate) max_request_size: usize,
    pub(crate) request_timeout: Duration,
    /// At least `linger` + `request_timeout`, as far as an `i32` of milliseconds goes.
    pub(crate) delivery_timeout: Duration,
    pub(crate) metrics_shape: Shape,
    /// First wait and longest wait, in this order; where both are the same, every wait is, without chance.
    pub(crate) retry_backoff: (Duration, Duration),
    /// As `retry_backoff`.
    pub(crate) reconnect_backoff: (Duration, Duration),
    /// As `retry_backoff`.
    pub(crate) setup_timeout: (Duration, Duration),
    pub(crate) metadata_max_age: Duration,
    pub(crate) metadata_max_idle: Duration,
    pub(crate) metadata_recovery_rebootstrap: bool,
    pub(crate) rebootstrap_trigger: Duration,
    /// Whether a broker is told which cluster and node it should be.
    pub(crate) cluster_check: bool,
    /// `None`: idle connections stay open.
    pub(crate) connections_max_idle: Option<Duration>,
    /// `None`: as the operating system likes.
    pub(crate) send_buffer: Option<usize>,
    /// `None`: as the operating system likes.
    pub(crate) receive_buffer: Option<usize>,
    pub(crate) partitioner_adaptive: bool,
    /// `None`: brokers are never passed over for being slow.
    pub(crate) partitioner_availability_timeout: Option<Duration>,
    pub(crate) partitioner_ignore_keys: bool,
    /// `client_rack` is not blank if so.
    pub(crate) rack_aware: bool,
    pub(crate) drop_timeout: Duration,
    /// Whether brokers that ask for metrics get them.
    pub(crate) metrics_push: bool,
    /// `idempotence` if it is set.
    pub(crate) transactional_id: Option<String>,
    /// Above zero.
    pub(crate) transaction_timeout: Duration,
    /// Of `security.protocol` SASL_PLAINTEXT and SASL_SSL.
    #[cfg(feature = "sasl")]
    pub(crate) login: Option<Arc<Login>>,
    /// Of `security.protocol` SSL and SASL_SSL.
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Arc<rustls::ClientConfig>>,
    pub(crate) partitioner: Option<Arc<dyn Partitioner>>,
    pub(crate) interceptors: Vec<Arc<dyn ProducerInterceptor>>,
    pub(crate) event_listeners: Vec<EventListener>,
}

/// The outcome of a resolution, before it has had an effect.
pub(super) struct Resolved {
    /// `client_id` is empty if `is_unnamed`.
    pub(super) settings: Settings,
    pub(super) is_unnamed: bool,
    /// What the log should say.
    pub(super) notices: Vec<(Level, String)>,
}

/// Checks everything. Without side effects: numbers of clients are not used up, nothing is logged.
pub(super) fn resolve(given: &Given) -> Result<Resolved, ConfigError> {
    let mut reader = Reader::read(given);
    let bootstrap = reader.bootstrap();
    reader.check_what_this_build_lacks();
    reader.note_constant_backoffs();
    let reconnect_max = reader.reconnect_backoff_max();
    let idempotence = reader.idempotence();
    reader.check_transactions(idempotence);
    reader.check_allocation_strategy();
    reader.check_rack();
    reader.check_client_id();
    let delivery_timeout = reader.delivery_timeout();
    reader.note_what_has_no_effect();
    #[cfg(feature = "tls")]
    let tls = reader.tls();
    #[cfg(feature = "sasl")]
    let login = reader.login();
    let Reader { values, problems, notices, .. } = reader;
    if !problems.is_empty() {
        return Err(ConfigError::new(problems));
    }

    let values = Checked(values);
    let (compression, compression_level) = values.compression();
    let settings = Settings {
        bootstrap,
        resolve_at_start: values.number("bootstrap.resolve.timeout.ms") == 0,
        client_id: values.text("client.id"),
        client_rack: values.text("client.rack"),
        acks: match &*values.text("acks") {
            "0" => 0,
            "1" => 1,
            _ => -1,
        },
        idempotence,
        retries: u32::try_from(values.number("retries")).unwrap_or(u32::MAX),
        max_in_flight: values.size("max.in.flight.requests.per.connection"),
        batch_size: values.size("batch.size").max(1),
        linger: millis(clamp_to_int(values.number("linger.ms"))),
        compression,
        compression_level,
        buffer_memory: values.size("buffer.memory"),
        max_block: values.duration("max.block.ms"),
        max_request_size: values.size("max.request.size").min(LARGEST_REQUEST),
        request_timeout: values.duration("request.timeout.ms"),
        delivery_timeout: millis(delivery_timeout),
        metrics_shape: Shape::new(
            values.size("metrics.num.samples"),
            values.duration("metrics.sample.window.ms"),
        ),
        retry_backoff: values.backoff("retry.backoff.ms", values.number("retry.backoff.max.ms")),
        reconnect_backoff: values.backoff("reconnect.backoff.ms", reconnect_max),
        setup_timeout: values.backoff(
            "socket.connection.setup.timeout.ms",
            values.number("socket.connection.setup.timeout.max.ms"),
        ),
        metadata_max_age: values.duration("metadata.max.age.ms"),
        metadata_max_idle: values.duration("metadata.max.idle.ms"),
        metadata_recovery_rebootstrap: values.text("metadata.recovery.strategy") == "rebootstrap",
        rebootstrap_trigger: values.duration("metadata.recovery.rebootstrap.trigger.ms"),
        cluster_check: values.bool("metadata.cluster.check.enable"),
        connections_max_idle: Some(values.number("connections.max.idle.ms"))
            .filter(|&ms| ms >= 0)
            .map(millis),
        send_buffer: values.socket_buffer("send.buffer.bytes"),
        receive_buffer: values.socket_buffer("receive.buffer.bytes"),
        partitioner_adaptive: values.bool("partitioner.adaptive.partitioning.enable"),
        partitioner_availability_timeout: Some(values.duration("partitioner.availability.timeout.ms"))
            .filter(|timeout| !timeout.is_zero()),
        partitioner_ignore_keys: values.bool("partitioner.ignore.keys"),
        rack_aware: values.bool("partitioner.rack.aware"),
        drop_timeout: values.duration("drop.timeout.ms"),
        metrics_push: values.bool("enable.metrics.push"),
        transactional_id: Some(values.text("transactional.id")).filter(|id| !id.is_empty()),
        transaction_timeout: values.duration("transaction.timeout.ms"),
        #[cfg(feature = "tls")]
        tls,
        #[cfg(feature = "sasl")]
        login,
        partitioner: given.partitioner.clone(),
        interceptors: given.interceptors.clone(),
        event_listeners: given.event_listeners.clone(),
    };
    Ok(Resolved { settings, is_unnamed: given.text("client.id").is_none(), notices })
}

/// Values on their way from what was given to [`Settings`], with what is wrong about them.
struct Reader<'a> {
    given: &'a Given,
    /// One for each key of the table: the value given, else the default. `None` if there is none, or a wrong one.
    values: Vec<Option<Value>>,
    problems: Vec<ConfigProblem>,
    notices: Vec<(Level, String)>,
}

impl<'a> Reader<'a> {
    fn read(given: &'a Given) -> Self {
        let mut reader = Self { given, values: Vec::new(), problems: Vec::new(), notices: Vec::new() };
        for (place, key) in keys::all().enumerate() {
            let value = match given.values.get(&place) {
                // Whoever needs it reads it where it is, so that there is no copy of it.
                Some(_) if key.is_secret() => {
                    if let Status::NotHere(instead) = key.status {
                        reader.refuse(key.name, instead);
                    }
                    None
                }
                Some(raw) => match parse::check(key, raw) {
                    Ok(value) => Some(reader.without_duplicates(key.name, value)),
                    Err(problem) => {
                        reader.refuse(key.name, problem);
                        None
                    }
                },
                None => key
                    .default
                    .map(|default| parse::parse(&key.kind, default).expect("defaults are legal values")),
            };
            reader.values.push(value);
        }
        for (name, value) in &given.unknown {
            if !keys::is_ignored(name) {
                let value = if keys::may_show_unknown(name) { value } else { HIDDEN };
                reader.problems.push(ConfigProblem {
                    name: name.clone(),
                    value: value.to_owned(),
                    problem: keys::unknown(name),
                });
            }
        }
        reader
    }

    fn without_duplicates(&mut self, name: &str, value: Value) -> Value {
        let Value::List(given) = value else { return value };
        let mut entries = Vec::with_capacity(given.len());
        for entry in given {
            if entries.contains(&entry) {
                self.notices.push((Level::Warn, format!("{name} names {entry} more than once")));
            } else {
                entries.push(entry);
            }
        }
        Value::List(entries)
    }

    fn bootstrap(&mut self) -> Vec<(String, u16)> {
        const NAME: &str = "bootstrap.servers";
        let entries = match self.value(NAME) {
            Some(Value::List(entries)) => entries.clone(),
            // Not given; a list that was wrong has been reported.
            None if self.given.text(NAME).is_none() => Vec::new(),
            _ => return Vec::new(),
        };
        if entries.is_empty() {
            self.refuse(NAME, "must name at least one broker, as host:port");
        }
        let protocol = self.text("security.protocol").unwrap_or("PLAINTEXT").to_owned();
        let mut addresses = Vec::with_capacity(entries.len());
        for entry in entries {
            match bootstrap::parse(&entry, &protocol) {
                Ok(address) => addresses.push(address),
                Err(problem) => self.refuse(NAME, problem),
            }
        }
        addresses
    }

    /// Values that are legal in Java and ask for something that this build does not have.
    fn check_what_this_build_lacks(&mut self) {
        for name in ["security.protocol", "compression.type"] {
            if let Some(problem) = keys::missing(self.features(name)) {
                self.refuse(name, problem);
            }
        }
        if self.number("connections.max.idle.ms") == Some(0) {
            self.refuse(
                "connections.max.idle.ms",
                "must not be 0: a connection would be closed before anything is sent on it; a negative value \
                 keeps idle connections open",
            );
        }
        if self.text("client.dns.lookup") == Some("resolve_canonical_bootstrap_servers_only") {
            self.refuse(
                "client.dns.lookup",
                "looking up hosts' canonical names serves Kerberos, which this crate does not \
                     support: use_all_dns_ips is what there is",
            );
        }
    }

    /// The features that the value of this setting needs.
    fn features(&self, name: &str) -> &'static [&'static str] {
        match self.text(name) {
            Some("SSL") => &["tls"],
            Some("SASL_PLAINTEXT") => &["sasl"],
            Some("SASL_SSL") => &["tls", "sasl"],
            Some("gzip") => &["gzip"],
            Some("snappy") => &["snappy"],
            Some("lz4") => &["lz4"],
            Some("zstd") => &["zstd"],
            _ => &[],
        }
    }

    #[cfg(feature = "tls")]
    fn tls(&mut self) -> Option<Arc<rustls::ClientConfig>> {
        if !self.features("security.protocol").contains(&"tls") {
            if self.given.tls.is_some() {
                let protocol = self.text("security.protocol").unwrap_or_default();
                let text = format!(
                    "a TLS configuration was given and has no effect: security.protocol is {protocol}"
                );
                self.notices.push((Level::Info, text));
            }
            return None;
        }
        if let Some(config) = &self.given.tls {
            let given =
                |key: &&keys::Key| key.name.starts_with("ssl.") && self.given.text(key.name).is_some();
            let beside: Vec<&str> = keys::all().filter(given).map(|key| key.name).collect();
            let config = Arc::clone(config);
            for name in beside {
                self.refuse(
                    name,
                    "must not be set beside ProducerConfig::tls_config, which stands for all of ssl.*",
                );
            }
            return Some(config);
        }
        match tls::build(self) {
            Ok((config, warnings)) => {
                self.notices.extend(warnings.into_iter().map(|text| (Level::Warn, text)));
                Some(config)
            }
            Err(problems) => {
                problems.into_iter().for_each(|(name, problem)| self.refuse(name, problem));
                None
            }
        }
    }

    /// Who we are, and how we prove it.
    #[cfg(feature = "sasl")]
    fn login(&mut self) -> Option<Arc<Login>> {
        if !self.features("security.protocol").contains(&"sasl") {
            return None;
        }
        // One that does not exist has been reported.
        let mechanism = self.text("sasl.mechanism")?.to_owned();
        match self.login_by_mechanism(&mechanism) {
            Ok(login) => {
                if login.tells_its_secret() && self.text("security.protocol") == Some("SASL_PLAINTEXT") {
                    let text = format!(
                        "sasl.mechanism={} with security.protocol=SASL_PLAINTEXT shows the secret to everybody on the \
                         way; SASL_SSL does not",
                        login.mechanism()
                    );
                    self.notices.push((Level::Warn, text));
                }
                Some(Arc::new(login))
            }
            Err((name, problem)) => {
                self.refuse(name, problem);
                None
            }
        }
    }

    #[cfg(feature = "sasl")]
    fn login_by_mechanism(&mut self, mechanism: &str) -> Result<Login, (&'static str, String)> {
        let jaas = self.given.text(JAAS).filter(|text| !text.trim().is_empty());
        let jaas = jaas.map(Jaas::parse).transpose().map_err(|problem| (JAAS, problem))?;
        let expect = |module: &str| match &jaas {
            None => Err((
                JAAS,
                format!("must be set for {mechanism}: {module} required username=\"...\" password=\"...\";"),
            )),
            Some(jaas) if jaas.module != module => Err((
                JAAS,
                format!("names the login module {}, and {mechanism} goes with {module}", jaas.module),
            )),
            Some(jaas) => {
                let option = |name| {
                    jaas.option(name)
                        .ok_or_else(|| (JAAS, format!("lacks {name}=\"...\", which {mechanism} needs")))
                };
                let user = option("username")?;
                if user.contains('\0') || user.is_empty() {
                    return Err((JAAS, "has an empty username, or one with a NUL".to_owned()));
                }
                Ok((
                    user,
                    option("password")?,
                    jaas.option("tokenauth").is_some_and(|by| by.eq_ignore_ascii_case("true")),
                ))
            }
        };
        match mechanism {
            "PLAIN" => expect("PlainLoginModule").map(|(user, password, _)| Login::plain(user, password)),
            "SCRAM-SHA-256" => expect("ScramLoginModule")
                .map(|(user, password, by_token)| Login::scram_sha_256(user, password, by_token)),
            "SCRAM-SHA-512" => expect("ScramLoginModule")
                .map(|(user, password, by_token)| Login::scram_sha_512(user, password, by_token)),
            "OAUTHBEARER" => self.token_login(jaas.as_ref()),
            _ => Err((
                "sasl.mechanism",
                "GSSAPI is the default, as in Java, but Kerberos is not supported here; PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and \
                 OAUTHBEARER are"
                    .to_owned(),
            )),
        }
    }

    #[cfg(feature = "sasl")]
    fn token_login(&mut self, jaas: Option<&Jaas>) -> Result<Login, (&'static str, String)> {
        const MODULE: &str = "OAuthBearerLoginModule";
        if let Some(jaas) = jaas.filter(|jaas| jaas.module != MODULE) {
            return Err((
                JAAS,
                format!("names the login module {}, and OAUTHBEARER goes with {MODULE}", jaas.module),
            ));
        }
        if let Some(callback) = &self.given.token {
            return Ok(Login::callback(Arc::clone(callback)));
        }
        if let Some(url) = self.given.text(TOKEN_URL).map(str::trim).filter(|url| !url.is_empty()) {
            // file:/path and file:///path are the same place.
            let path = url.strip_prefix("file:").map(|path| path.strip_prefix("//").unwrap_or(path));
            return match path {
                Some(path) if path.starts_with('/') => Ok(Login::token_file(path)),
                Some(_) => Err((TOKEN_URL, "must be a file URL with a whole path".to_owned())),
                None => self.issuer(url, jaas),
            };
        }
        if self.given.text(CLIENT_ID).is_some() || self.given.text(CLIENT_SECRET).is_some() {
            return Err((TOKEN_URL, format!("must be set with {CLIENT_ID} or {CLIENT_SECRET}")));
        }
        let options = jaas.map_or(&[][..], |jaas| &jaas.options);
        Login::unsecured(options).map_err(|problem| (JAAS, problem))
    }

    #[cfg(all(feature = "sasl", not(feature = "oauth-http")))]
    fn issuer(&self, _: &str, _: Option<&Jaas>) -> Result<Login, (&'static str, String)> {
        let lacking = keys::missing(&["oauth-http"]).expect("this build is without it");
        Err((TOKEN_URL, format!("is no file URL, and another one {lacking}")))
    }

    /// Whoever gives tokens to those who know a secret. What is set in the older way, as options of the login module,
    /// stands back, as in Java.
    #[cfg(feature = "oauth-http")]
    fn issuer(&mut self, url: &str, jaas: Option<&Jaas>) -> Result<Login, (&'static str, String)> {
        let endpoint = Endpoint::parse(url).map_err(|problem| (TOKEN_URL, problem))?;
        let options: Vec<&str> =
            jaas.iter().flat_map(|jaas| &jaas.options).map(|(name, _)| &**name).collect();
        let is_known = |name: &str| {
            ["clientId", "clientSecret", "scope"].contains(&name)
                || name.starts_with("extension_")
                || keys::find(name).is_some_and(|_| name.starts_with("ssl."))
        };
        if let Some(unknown) = options.iter().find(|name| !is_known(name)) {
            let known = "clientId, clientSecret, scope, extension_... and ssl... go with an issuer of tokens";
            return Err((JAAS, format!("has the option {unknown}, which means nothing here: {known}")));
        }
        let option = |name| jaas.and_then(|jaas| jaas.option(name));
        let given = |name: &'static str, older| {
            self.given.text(name).or_else(|| option(older)).map(str::trim).filter(|text| !text.is_empty())
        };
        let needed = |name: &'static str, older| {
            given(name, older)
                .ok_or_else(|| (name, format!("must be set for an issuer of tokens ({TOKEN_URL})")))
        };
        let client = Client {
            id: needed(CLIENT_ID, "clientId")?,
            secret: needed(CLIENT_SECRET, "clientSecret")?,
            scope: given("sasl.oauthbearer.scope", "scope"),
            is_url_encoded: matches!(
                self.value("sasl.oauthbearer.header.urlencode"),
                Some(Value::Bool(true))
            ),
        };
        let timeout = |name| self.number(name).filter(|ms| *ms > 0).map_or(ISSUER_TIMEOUT, millis);
        let wait = |name| millis(self.number(name).unwrap_or_default());
        let patience = Patience {
            connect: timeout("sasl.login.connect.timeout.ms"),
            answer: timeout("sasl.login.read.timeout.ms"),
            backoff: wait("sasl.login.retry.backoff.ms"),
            budget: wait("sasl.login.retry.backoff.max.ms"),
        };
        let (tls, warnings) = if endpoint.is_https() {
            let (config, warnings) = tls::build(&OptionsOf(jaas)).map_err(|problems| {
                let problems: Vec<_> =
                    problems.iter().map(|(name, problem)| format!("the option {name} {problem}")).collect();
                (JAAS, format!("is wrong about the issuer of tokens: {}", problems.join("; ")))
            })?;
            let of_issuer = |text| format!("for the issuer of tokens ({TOKEN_URL}): {text}");
            (Some(config), warnings.into_iter().map(of_issuer).collect())
        } else {
            (None, vec![format!("{TOKEN_URL} without https shows the secret to everybody on the way")])
        };
        let extensions = options
            .iter()
            .filter_map(|name| Some((name.strip_prefix("extension_")?.to_owned(), option(name)?.to_owned())));
        let login = Login::issuer(Issuer::new(endpoint, &client, tls, patience), extensions.collect());
        self.notices.extend(warnings.into_iter().map(|text| (Level::Warn, text)));
        Ok(login)
    }

    fn note_constant_backoffs(&mut self) {
        for (base, max) in [
            ("retry.backoff.ms", "retry.backoff.max.ms"),
            ("socket.connection.setup.timeout.ms", "socket.connection.setup.timeout.max.ms"),
        ] {
            if let (Some(first), Some(longest)) = (self.number(base), self.number(max))
                && first > longest
            {
                let text =
                    format!("{base}={first} is above {max}={longest}: it does not grow, and is {longest}");
                self.notices.push((Level::Warn, text));
            }
        }
    }

    fn reconnect_backoff_max(&mut self) -> i64 {
        let (base, max) = ("reconnect.backoff.ms", "reconnect.backoff.max.ms");
        if self.given.text(base).is_some() && self.given.text(max).is_none() {
            let Some(first) = self.number(base) else { return 0 };
            let text =
                format!("{base}={first} is set and {max} is not: it does not grow, and is always {first}");
            self.notices.push((Level::Warn, text));
            return first;
        }
        self.number(max).unwrap_or(0)
    }

    /// Whether duplicates are kept out. Contradicting settings switch the default off, and are wrong beside a wish.
    fn idempotence(&mut self) -> bool {
        const NAME: &str = "enable.idempotence";
        let Some(Value::Bool(true)) = self.value(NAME) else { return false };
        let wished = self.given.text(NAME).is_some();
        let mut stays = true;
        let retries = self.number("retries").filter(|&retries| retries == 0);
        let acks = self.text("acks").filter(|acks| !matches!(*acks, "all" | "-1")).map(str::to_owned);
        for (name, value, needed) in
            [("retries", retries.map(|retries| retries.to_string()), "at least 1"), ("acks", acks, "all")]
        {
            let Some(value) = value else { continue };
            if wished {
                self.refuse(name, format!("{NAME}=true needs {name} to be {needed}"));
            } else {
                stays = false;
                let text = format!("{NAME} is off, because {name}={value}: retries may write a record twice");
                self.notices.push((Level::Info, text));
            }
        }
        // As in Java, whatever acks and retries say.
        if self.number(MAX_IN_FLIGHT).is_some_and(|in_flight| in_flight > 5) {
            let default = if wished { "" } else { " (the default)" };
            self.refuse(
                MAX_IN_FLIGHT,
                format!("must be at most 5 with {NAME}=true{default}; more needs {NAME}=false"),
            );
        }
        stays
    }

    fn check_transactions(&mut self, idempotence: bool) {
        let is_idempotence_known = self.value("enable.idempotence").is_some();
        if self.given.text("transactional.id").is_some() && !idempotence && is_idempotence_known {
            self.refuse("transactional.id", "needs enable.idempotence, which is off");
        }
        let len = self.text("transactional.id").map_or(0, str::len);
        if len > LONGEST_NAME {
            let problem = format!("must be at most {LONGEST_NAME} bytes long, and has {len}");
            self.refuse("transactional.id", problem);
        }
        if len > 0 && self.number("transaction.timeout.ms").is_some_and(|ms| ms <= 0) {
            self.refuse("transaction.timeout.ms", "must be at least 1 millisecond beside transactional.id");
        }
        let two_phase = "transaction.two.phase.commit.enable";
        if matches!(self.value(two_phase), Some(Value::Bool(true)))
            && self.given.text("transaction.timeout.ms").is_some()
        {
            self.refuse("transaction.timeout.ms", format!("must be left out with {two_phase}=true"));
        }
    }

    fn check_allocation_strategy(&mut self) {
        const NAME: &str = "buffer.memory.allocation.strategy";
        if self.text(NAME) != Some("incremental") {
            return;
        }
        if let Some(codec) = self.text("compression.type").filter(|codec| *codec != "none") {
            let problem = format!("needs compression.type=none, and it is {codec}");
            self.refuse(NAME, problem);
        }
        if let Some(batch_size) = self.number("batch.size").filter(|&size| size < 16_384) {
            let text =
                format!("{NAME}=incremental needs batch.size of at least 16384, and it is {batch_size}");
            self.notices.push((Level::Warn, text));
        }
    }

    fn check_rack(&mut self) {
        if matches!(self.value("partitioner.rack.aware"), Some(Value::Bool(true)))
            && self.text("client.rack") == Some("")
        {
            self.refuse("partitioner.rack.aware", "needs client.rack, which is not set");
        }
    }

    /// It stands in every request, behind a length of two bytes.
    fn check_client_id(&mut self) {
        let len = self.text("client.id").map_or(0, str::len);
        if len > LONGEST_NAME {
            self.refuse("client.id", format!("must be at most {LONGEST_NAME} bytes long, and has {len}"));
        }
    }

    fn delivery_timeout(&mut self) -> i64 {
        const NAME: &str = "delivery.timeout.ms";
        let (Some(given), Some(linger), Some(request)) =
            (self.number(NAME), self.number("linger.ms"), self.number("request.timeout.ms"))
        else {
            return 0;
        };
        let linger = clamp_to_int(linger);
        let needed = clamp_to_int(linger + request);
        if given >= needed {
            return given;
        }
        if self.given.text(NAME).is_some() {
            self.refuse(
                NAME,
                format!(
                    "must be at least linger.ms + request.timeout.ms, which is {linger} + {request} \
                         milliseconds"
                ),
            );
        } else {
            let text = format!(
                "{NAME} is raised from {given} to {needed}, the sum of linger.ms={linger} and \
                     request.timeout.ms={request}"
            );
            self.notices.push((Level::Warn, text));
        }
        needed
    }

    /// As Java names the settings that nothing asked for.
    fn note_what_has_no_effect(&mut self) {
        for (_, key) in keys::all().enumerate().filter(|(place, _)| self.given.values.contains_key(place)) {
            let why = match key.status {
                Status::Used | Status::NotHere(_) => continue,
                Status::NoEffect(why) => why.to_owned(),
                Status::Needs(feature) => {
                    let (by, feature) = match feature {
                        _ if key.name.starts_with("compression.") => ("compression.type", feature),
                        "oauth-http" => ("security.protocol", "sasl"),
                        _ => ("security.protocol", feature),
                    };
                    match self.text(by) {
                        Some(value) if !self.features(by).contains(&feature) => format!("{by} is {value}"),
                        _ if matches!(key.status, Status::Needs("oauth-http")) && !self.has_issuer() => {
                            format!("{TOKEN_URL} and sasl.mechanism name no issuer of tokens")
                        }
                        _ => continue,
                    }
                }
            };
            self.notices.push((Level::Info, format!("{} is set and has no effect: {why}", key.name)));
        }
    }

    /// Whether tokens are fetched.
    fn has_issuer(&self) -> bool {
        let is_issuer = |url: &str| !url.trim().is_empty() && !url.trim().starts_with("file:");
        self.text("sasl.mechanism") == Some("OAUTHBEARER") && self.text(TOKEN_URL).is_some_and(is_issuer)
    }

    fn value(&self, name: &str) -> Option<&Value> {
        self.values[place(name)].as_ref()
    }

    fn number(&self, name: &str) -> Option<i64> {
        match self.value(name) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        match self.value(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    fn refuse(&mut self, name: &str, problem: impl Into<String>) {
        let value = self.given.shown(name).unwrap_or_default();
        let problem = ConfigProblem { name: name.to_owned(), value, problem: problem.into() };
        self.problems.push(problem);
    }
}

#[cfg(feature = "tls")]
impl tls::Wishes for Reader<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        let given = keys::java_trim(self.given.text(name)?);
        // An empty location is that of no file; an empty algorithm says something.
        (!given.is_empty() || name == "ssl.endpoint.identification.algorithm").then_some(given)
    }

    fn list(&self, name: &str) -> Vec<String> {
        match self.value(name) {
            Some(Value::List(entries)) => entries.clone(),
            _ => Vec::new(),
        }
    }
}

/// The `ssl.*` settings that Java takes from the options of the login module, for the issuer of its tokens alone.
#[cfg(feature = "oauth-http")]
struct OptionsOf<'a>(Option<&'a Jaas>);

#[cfg(feature = "oauth-http")]
impl tls::Wishes for OptionsOf<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        let given = keys::java_trim(self.0?.option(name)?);
        (!given.is_empty() || name == "ssl.endpoint.identification.algorithm").then_some(given)
    }

    fn list(&self, name: &str) -> Vec<String> {
        let default = || keys::find(name).and_then(|(_, key)| key.default);
        let given = self.text(name).or_else(default).unwrap_or_default();
        given.split(',').map(keys::java_trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
    }
}

/// The values once nothing is wrong with any of them.
struct Checked(Vec<Option<Value>>);

impl Checked {
    fn bool(&self, name: &str) -> bool {
        matches!(self.0[place(name)], Some(Value::Bool(true)))
    }

    fn number(&self, name: &str) -> i64 {
        match self.0[place(name)] {
            Some(Value::Number(number)) => number,
            _ => unreachable!("{name} is a number with a default"),
        }
    }

    /// Empty if there is none.
    fn text(&self, name: &str) -> String {
        match &self.0[place(name)] {
            Some(Value::Text(text)) => text.clone(),
            _ => String::new(),
        }
    }

    fn size(&self, name: &str) -> usize {
        usize::try_from(self.number(name)).unwrap_or(usize::MAX)
    }

    fn socket_buffer(&self, name: &str) -> Option<usize> {
        usize::try_from(self.number(name)).ok()
    }

    fn duration(&self, name: &str) -> Duration {
        millis(self.number(name))
    }

    /// The codec and its level.
    fn compression(&self) -> (Compression, i32) {
        let level = |name| i32::try_from(self.number(name)).expect("levels have narrow ranges");
        match &*self.text("compression.type") {
            "gzip" => (Compression::Gzip, level("compression.gzip.level")),
            "snappy" => (Compression::Snappy, 0),
            "lz4" => (Compression::Lz4, level("compression.lz4.level")),
            "zstd" => (Compression::Zstd, level("compression.zstd.level")),
            _ => (Compression::None, 0),
        }
    }

    fn backoff(&self, base: &str, max: i64) -> (Duration, Duration) {
        let max = millis(max);
        (self.duration(base).min(max), max)
    }
}

fn place(name: &str) -> usize {
    let (place, _) = keys::find(name).expect("settings that the code names are in the table");
    place
}

/// Java adds up timeouts in an `int`.
fn clamp_to_int(ms: i64) -> i64 {
    ms.min(i32::MAX.into())
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0)).min(CENTURY)
}

#[cfg(feature = "sasl")]
const JAAS: &str = "sasl.jaas.config";
const TOKEN_URL: &str = "sasl.oauthbearer.token.endpoint.url";
#[cfg(feature = "sasl")]
const CLIENT_ID: &str = "sasl.oauthbearer.client.credentials.client.id";
#[cfg(feature = "sasl")]
const CLIENT_SECRET: &str = "sasl.oauthbearer.client.credentials.client.secret";

/// Java waits for ever if it is not told otherwise. By default no connection is set up for longer than this.
#[cfg(feature = "oauth-http")]
const ISSUER_TIMEOUT: Duration = Duration::from_secs(30);

const MAX_IN_FLIGHT: &str = "max.in.flight.requests.per.connection";

/// Longer than any producer lives, and far from the end of every platform's `Instant`.
const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The length of a request is an `i32`, and its head comes on top of what `max.request.size` counts.
const LARGEST_REQUEST: usize = i32::MAX as usize - (1 << 24);

/// What the length of a string on the wire can count.
const LONGEST_NAME: usize = 32_767;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ProducerConfig;

    fn config(pairs: &[(&str, &str)]) -> ProducerConfig {
        pairs
            .iter()
            .fold(ProducerConfig::new("localhost:9092"), |config, (name, value)| config.set(name, value))
    }

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        resolve(&config(pairs).given).unwrap_or_else(|error| panic!("{pairs:?}: {error}")).settings
    }

    fn problems(pairs: &[(&str, &str)]) -> Vec<String> {
        let error = resolve(&config(pairs).given).err().unwrap_or_else(|| panic!("{pairs:?} is accepted"));
        error.problems().iter().map(|p| format!("{}={}: {}", p.name, p.value, p.problem)).collect()
    }

    fn notices(pairs: &[(&str, &str)]) -> Vec<String> {
        let resolved = resolve(&config(pairs).given).unwrap_or_else(|error| panic!("{pairs:?}: {error}"));
        resolved.notices.into_iter().map(|(level, text)| format!("{level} {text}")).collect()
    }

    #[test]
    fn a_name_that_no_request_can_carry_is_refused() {
        let longest = "x".repeat(LONGEST_NAME);
        assert_eq!(settings(&[("client.id", &longest)]).client_id, longest);
        let problem = &problems(&[("client.id", &format!("{longest}x"))])[0];
        assert!(
            problem.ends_with("must be at most 32767 bytes long, and has 32768"),
            "{}",
            &problem[40_000..]
        );
    }

    #[test]
    fn defaults_are_javas() {
        let ms = Duration::from_millis;
        let s = settings(&[]);
        assert_eq!(s.bootstrap, [("localhost".to_owned(), 9092)]);
        assert_eq!(s.client_rack, "");
        assert_eq!(s.acks, -1);
        assert!(s.idempotence);
        assert_eq!(s.retries, 2_147_483_647);
        assert_eq!(s.max_in_flight, 5);
        assert_eq!(s.batch_size, 16_384);
        assert_eq!(s.linger, ms(5));
        assert_eq!(s.buffer_memory, 32 << 20);
        assert_eq!(s.max_block, ms(60_000));
        assert_eq!(s.max_request_size, 1 << 20);
        assert_eq!(s.request_timeout, ms(30_000));
        assert_eq!(s.delivery_timeout, ms(120_000));
        assert_eq!(s.retry_backoff, (ms(100), ms(1000)));
        assert_eq!(s.reconnect_backoff, (ms(50), ms(1000)));
        assert_eq!(s.setup_timeout, (ms(10_000), ms(30_000)));
        assert_eq!(s.metadata_max_age, ms(300_000));
        assert_eq!(s.metadata_max_idle, ms(300_000));
        assert!(s.metadata_recovery_rebootstrap);
        assert_eq!(s.rebootstrap_trigger, ms(300_000));
        assert_eq!(s.connections_max_idle, Some(ms(540_000)));
        assert_eq!(s.send_buffer, Some(131_072));
        assert_eq!(s.receive_buffer, Some(32_768));
        assert!(s.partitioner_adaptive);
        assert_eq!(s.partitioner_availability_timeout, None);
        assert!(!s.partitioner_ignore_keys);
        assert!(!s.rack_aware);
        assert_eq!(s.drop_timeout, ms(5000));
        assert!(s.partitioner.is_none() && s.interceptors.is_empty());
        assert_eq!(notices(&[]), [""; 0]);
    }

    #[test]
    fn values_arrive_where_they_belong() {
        let ms = Duration::from_millis;
        let s = settings(&[
            ("acks", "1"),
            ("batch.size", "0"),
            ("linger.ms", "9223372036854775807"),
            ("max.block.ms", "9223372036854775807"),
            ("connections.max.idle.ms", "-5"),
            ("send.buffer.bytes", "-1"),
            ("receive.buffer.bytes", "0"),
            ("socket.connection.setup.timeout.ms", "-5"),
            ("metadata.recovery.strategy", "NONE"),
            ("partitioner.availability.timeout.ms", "7"),
            ("partitioner.rack.aware", "true"),
            ("client.rack", "r1"),
            ("client.id", ""),
        ]);
        assert_eq!(s.acks, 1);
        assert!(!s.idempotence);
        assert_eq!(s.batch_size, 1);
        assert_eq!(s.linger, ms(2_147_483_647));
        assert_eq!(s.delivery_timeout, ms(2_147_483_647));
        assert_eq!(s.max_block, CENTURY);
        assert_eq!(s.connections_max_idle, None);
        assert_eq!(s.send_buffer, None);
        assert_eq!(s.receive_buffer, Some(0));
        assert_eq!(s.setup_timeout.0, Duration::ZERO);
        assert!(!s.metadata_recovery_rebootstrap);
        assert_eq!(s.partitioner_availability_timeout, Some(ms(7)));
        assert!(s.rack_aware);
        assert_eq!(s.client_rack, "r1");
        assert_eq!(settings(&[("acks", "0")]).acks, 0);
        assert_eq!(settings(&[("acks", "-1")]).acks, -1);
    }

    #[test]
    fn a_problem_names_setting_value_and_limit() {
        for (name, value) in [
            ("acks", "7"),
            ("linger.ms", "-1"),
            ("linger.ms", "soon"),
            ("batch.size", "-5"),
            ("max.in.flight.requests.per.connection", "0"),
            ("max.in.flight.requests.per.connection", "6"),
            ("compression.type", "brotli"),
            ("compression.gzip.level", "11"),
            ("compression.lz4.level", "18"),
            ("buffer.memory", "-1"),
            ("security.protocol", "FOO"),
            ("retries", "-1"),
            ("max.request.size", "-1"),
            ("delivery.timeout.ms", "-1"),
            ("metadata.max.idle.ms", "10"),
            ("connections.max.idle.ms", "0"),
            ("metadata.recovery.strategy", "perhaps"),
            ("client.dns.lookup", "all"),
            ("client.dns.lookup", "resolve_canonical_bootstrap_servers_only"),
            ("transactional.id", ""),
        ] {
            let found = problems(&[(name, value)]);
            assert!(found.len() == 1 && found[0].starts_with(&format!("{name}={value}: ")), "{found:?}");
        }
    }

    #[test]
    fn rules_that_join_settings() {
        for (pairs, want) in [
            (
                &[("enable.idempotence", "true"), ("acks", "1")][..],
                &["acks=1: enable.idempotence=true needs acks to be all"][..],
            ),
            (
                &[("enable.idempotence", "true"), ("retries", "0"), ("acks", "0")],
                &[
                    "retries=0: enable.idempotence=true needs retries to be at least 1",
                    "acks=0: enable.idempotence=true needs acks to be all",
                ],
            ),
            (
                &[("max.in.flight.requests.per.connection", "6")],
                &["max.in.flight.requests.per.connection=6: must be at most 5 with enable.idempotence=true \
                   (the default); more needs enable.idempotence=false"],
            ),
            // Java checks this one even if acks has switched the default off.
            (
                &[("max.in.flight.requests.per.connection", "6"), ("acks", "1")],
                &["max.in.flight.requests.per.connection=6: must be at most 5 with enable.idempotence=true \
                   (the default); more needs enable.idempotence=false"],
            ),
            (
                &[("transactional.id", "x"), ("enable.idempotence", "false")],
                &["transactional.id=x: needs enable.idempotence, which is off"],
            ),
            (
                &[("transactional.id", "x"), ("transaction.timeout.ms", "0")],
                &["transaction.timeout.ms=0: must be at least 1 millisecond beside transactional.id"],
            ),
            (
                &[("transaction.two.phase.commit.enable", "true"), ("transaction.timeout.ms", "60000")],
                &["transaction.timeout.ms=60000: must be left out with \
                         transaction.two.phase.commit.enable=true"],
            ),
            (
                &[("delivery.timeout.ms", "1000"), ("linger.ms", "5"), ("request.timeout.ms", "30000")],
                &["delivery.timeout.ms=1000: must be at least linger.ms + request.timeout.ms, which is \
                   5 + 30000 milliseconds"],
            ),
            (
                &[("delivery.timeout.ms", "30004")],
                &["delivery.timeout.ms=30004: must be at least linger.ms + request.timeout.ms, which is \
                   5 + 30000 milliseconds"],
            ),
            (
                &[("partitioner.rack.aware", "true")],
                &["partitioner.rack.aware=true: needs client.rack, which is not set"],
            ),
            (
                &[("partitioner.rack.aware", "true"), ("client.rack", "  ")],
                &["partitioner.rack.aware=true: needs client.rack, which is not set"],
            ),
            // A wrong value is reported once, not again by the rules that it takes part in.
            (
                &[("linger.ms", "soon"), ("delivery.timeout.ms", "1")],
                &["linger.ms=soon: must be a whole number of milliseconds, at least 0"],
            ),
            (
                &[("enable.idempotence", "perhaps"), ("acks", "1"), ("retries", "0")],
                &["enable.idempotence=perhaps: must be true or false"],
            ),
        ] {
            assert_eq!(problems(pairs), want, "{pairs:?}");
        }
    }

    #[test]
    fn what_gives_way_says_so_in_the_log() {
        for (pairs, want) in [
            (
                &[("acks", "1"), ("retries", "0")][..],
                &[
                    "INFO enable.idempotence is off, because retries=0: retries may write a record twice",
                    "INFO enable.idempotence is off, because acks=1: retries may write a record twice",
                ][..],
            ),
            (
                &[("reconnect.backoff.ms", "70")],
                &[
                    "WARN reconnect.backoff.ms=70 is set and reconnect.backoff.max.ms is not: it does not grow, and is \
                   always 70",
                ],
            ),
            (
                &[("retry.backoff.ms", "5000")],
                &["WARN retry.backoff.ms=5000 is above retry.backoff.max.ms=1000: it does not grow, \
                         and is 1000"],
            ),
            (
                &[("socket.connection.setup.timeout.max.ms", "1")],
                &["WARN socket.connection.setup.timeout.ms=10000 is above \
                   socket.connection.setup.timeout.max.ms=1: it does not grow, and is 1"],
            ),
            (
                &[("request.timeout.ms", "130000")],
                &["WARN delivery.timeout.ms is raised from 120000 to 130005, the sum of linger.ms=5 and \
                   request.timeout.ms=130000"],
            ),
            (
                &[("buffer.memory.allocation.strategy", "Incremental"), ("batch.size", "100")],
                &[
                    "WARN buffer.memory.allocation.strategy=incremental needs batch.size of at least 16384, and it is \
                     100",
                    "INFO buffer.memory.allocation.strategy is set and has no effect: records are charged for what \
                     they take, whichever is set",
                ],
            ),
            (
                &[("ssl.key.password", "hunter2"), ("compression.lz4.level", "3")],
                &[
                    "INFO compression.lz4.level is set and has no effect: compression.type is none",
                    "INFO ssl.key.password is set and has no effect: security.protocol is PLAINTEXT",
                ],
            ),
            (
                &[
                    ("security.protocol", "SASL_PLAINTEXT"),
                    ("sasl.mechanism", "PLAIN"),
                    ("sasl.jaas.config", "PlainLoginModule required username=\"a\" password=\"b\";"),
                ],
                &[
                    "WARN sasl.mechanism=PLAIN with security.protocol=SASL_PLAINTEXT shows the secret to everybody on the \
                  way; SASL_SSL does not",
                ],
            ),
            (&[("bootstrap.servers", "a:1,b:2,a:1")], &["WARN bootstrap.servers names a:1 more than once"]),
            (&[("enable.idempotence", "true"), ("max.in.flight.requests.per.connection", "1")], &[]),
            (
                &[
                    ("enable.idempotence", "false"),
                    ("max.in.flight.requests.per.connection", "50"),
                    ("acks", "0"),
                ],
                &[],
            ),
        ] {
            assert_eq!(notices(pairs), want, "{pairs:?}");
        }
        let ms = Duration::from_millis;
        assert!(!settings(&[("retries", "0")]).idempotence);
        assert!(settings(&[("enable.idempotence", "TRUE")]).idempotence);
        assert_eq!(settings(&[("reconnect.backoff.ms", "70")]).reconnect_backoff, (ms(70), ms(70)));
        assert_eq!(settings(&[("retry.backoff.ms", "5000")]).retry_backoff, (ms(1000), ms(1000)));
        assert_eq!(settings(&[("request.timeout.ms", "130000")]).delivery_timeout, ms(130_005));
        assert_eq!(settings(&[("bootstrap.servers", "a:1,b:2,a:1")]).bootstrap.len(), 2);
    }

    #[test]
    fn a_feature_that_is_lacking_is_named() {
        for (name, value, features) in [
            ("compression.type", "gzip", &["gzip"][..]),
            ("compression.type", "snappy", &["snappy"]),
            ("compression.type", "lz4", &["lz4"]),
            ("compression.type", "zstd", &["zstd"]),
            ("security.protocol", "ssl", &["tls"]),
            ("security.protocol", "SASL_PLAINTEXT", &["sasl"]),
            ("security.protocol", "SASL_SSL", &["tls", "sasl"]),
        ] {
            let lacking =
                keys::FEATURES.iter().any(|f| features.contains(&f.name) && !(f.written && f.enabled));
            if !lacking {
                let config = config(&[(name, value)])
                    .set("sasl.mechanism", "PLAIN")
                    .set("sasl.jaas.config", "PlainLoginModule required username=\"u\" password=\"p\";");
                assert!(config.validate().is_ok(), "{name}={value}");
                continue;
            }
            let found = problems(&[(name, value)]);
            assert!(found[0].starts_with(&format!("{name}={value}: needs the feature")), "{found:?}");
            let is_here =
                |name: &str| keys::FEATURES.iter().any(|f| f.name == name && f.written && f.enabled);
            let named = |feature: &&str| is_here(feature) || found[0].contains(&format!("`{feature}`"));
            assert!(features.iter().all(named), "{found:?}");
        }
        let found =
            problems(&[("buffer.memory.allocation.strategy", "incremental"), ("compression.type", "lz4")]);
        assert!(
            found.contains(
                &"buffer.memory.allocation.strategy=incremental: needs compression.type=none, and it is lz4"
                    .to_owned()
            ),
            "{found:?}"
        );
    }

    #[test]
    fn bootstrap_servers_must_name_somebody() {
        for (servers, want) in [
            ("", "must name at least one broker, as host:port"),
            (" \t", "must name at least one broker, as host:port"),
            ("a:1,,b:2", "must not have an empty entry: entries are separated by single commas"),
            ("a:1,", "must not have an empty entry: entries are separated by single commas"),
        ] {
            assert_eq!(
                problems(&[("bootstrap.servers", servers)]),
                [format!("bootstrap.servers={servers}: {want}")]
            );
        }
        let error = ProducerConfig::default().validate().expect_err("no brokers");
        assert_eq!(error.to_string(), "bootstrap.servers=: must name at least one broker, as host:port");
        assert_eq!(problems(&[("bootstrap.servers", "a, :9092 ,c:0,d:4")]).len(), 3);
        assert_eq!(
            settings(&[("bootstrap.servers", " a:1 , [::1]:2 ")]).bootstrap,
            [("a".to_owned(), 1), ("::1".to_owned(), 2),]
        );
    }

    #[test]
    fn all_problems_come_at_once() {
        let found = problems(&[
            ("batch.size", "-5"),
            ("lingr.ms", "5"),
            ("linger.ms", "-1"),
            ("partitioner.rack.aware", "true"),
        ]);
        assert_eq!(
            found,
            [
                "linger.ms=-1: must be at least 0 milliseconds",
                "batch.size=-5: must be at least 0 bytes",
                "lingr.ms=5: unknown setting; did you mean linger.ms?",
                "partitioner.rack.aware=true: needs client.rack, which is not set",
            ]
        );
    }
}
