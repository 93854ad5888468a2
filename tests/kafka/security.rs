//! Every way into a broker, with every codec, read back by Java's consumer over another way; and what is said to those
//! who are not let in.

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use kafka_producer::{OAuthBearerToken, Producer, ProducerConfig, ProducerRecord, SendErrorKind};

use crate::{
    harness::{Case, Cluster, Spec, owned},
    logins,
    sending::{assert_all_arrived_once, at_a_steady_rate, places},
};

pub(crate) fn cases(secured: Spec) -> Vec<Case> {
    vec![
        owned(secured, "security::every_way_in_with_every_codec", every_way_in_with_every_codec),
        owned(secured, "security::sessions_are_renewed_under_way", sessions_are_renewed_under_way)
            .and_lasts(renewed() * MECHANISMS.len() as u32),
        owned(
            secured,
            "security::tokens_come_from_code_a_file_or_an_issuer",
            tokens_come_from_code_a_file_or_an_issuer,
        ),
        owned(secured, "security::who_is_not_let_in_learns_why", who_is_not_let_in_learns_why),
    ]
}

pub(crate) type Settings = Vec<(&'static str, String)>;

pub(crate) fn build(settings: &Settings) -> Producer {
    let config =
        settings.iter().fold(ProducerConfig::new(""), |config, (name, value)| config.set(name, value));
    Producer::new(config).unwrap_or_else(|error| panic!("{error}"))
}

/// What is right for a listener.
pub(crate) fn way_in(cluster: &Cluster, listener: &'static str, mechanism: &str) -> Settings {
    let keys = cluster.keys();
    let protocol = match listener {
        "SASL_SSL" => "SASL_SSL",
        "SASL_PLAINTEXT" | "PLAIN_ONLY" => "SASL_PLAINTEXT",
        _ => "SSL",
    };
    let mut settings =
        vec![("bootstrap.servers", keys.bootstrap(listener)), ("security.protocol", protocol.to_owned())];
    if protocol.ends_with("SSL") {
        settings.push(("ssl.truststore.certificates", keys.authority.certificate.clone()));
    }
    if protocol.starts_with("SASL") {
        settings.push(("sasl.mechanism", mechanism.to_owned()));
        settings.push(("sasl.jaas.config", jaas(mechanism, "alice-secret")));
    }
    if listener == "MTLS" {
        settings.extend([
            ("ssl.keystore.certificate.chain", keys.client.certificate.clone()),
            ("ssl.keystore.key", keys.client.key.clone()),
        ]);
    }
    settings
}

fn jaas(mechanism: &str, password: &str) -> String {
    let package = "org.apache.kafka.common.security";
    let user = format!("username=\"alice\" password=\"{password}\"");
    match mechanism {
        "PLAIN" => format!("{package}.plain.PlainLoginModule required {user};"),
        "OAUTHBEARER" => format!(
            "{package}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"alice\";"
        ),
        _ => format!("{package}.scram.ScramLoginModule required {user};"),
    }
}

fn every_way_in_with_every_codec(cluster: &mut Cluster) {
    let mut ways = vec![way_in(cluster, "SSL", ""), way_in(cluster, "MTLS", "")];
    for listener in ["SASL_PLAINTEXT", "SASL_SSL"] {
        ways.extend(MECHANISMS.iter().map(|mechanism| way_in(cluster, listener, mechanism)));
    }
    let mut sent = Vec::new();
    for (place, way) in ways.iter().enumerate() {
        for codec in CODECS {
            let topic = cluster.kafka().create_topic(&format!("way-{place}-{codec}"), 2, &[]);
            let mut settings = way.clone();
            settings.push(("compression.type", (*codec).to_owned()));
            let producer = build(&settings);
            let send = |n: usize| {
                let (key, value) = ((n % 100).to_string(), n.to_string());
                let record =
                    ProducerRecord::new(&topic, &value).key(&key).header("wish", &"apples ".repeat(n % 50));
                producer.send(record).unwrap_or_else(|error| panic!("{topic}: {error}"))
            };
            let places = places((0..RECORDS).map(send).collect());
            producer.close().expect("everything is acknowledged");
            sent.push((topic, *codec, places));
        }
    }
    for (topic, codec, places) in sent {
        assert_all_arrived_once(cluster.kafka(), &topic, &places);
        for batch in cluster.dump_logs(1, &topic).values().flatten() {
            assert!(batch.is_valid && batch.codec == codec, "{topic}: {batch:?}");
        }
    }
}

fn who_is_not_let_in_learns_why(cluster: &mut Cluster) {
    let topic = cluster.kafka().create_topic("refusals", 1, &[]);
    let stranger = cluster.keys().stranger.clone();
    let with = |listener, changes: &[(&'static str, &str)]| {
        let mut settings = way_in(cluster, listener, "SCRAM-SHA-256");
        settings.extend(changes.iter().map(|(name, value)| (*name, (*value).to_owned())));
        settings
    };
    let plaintext = cluster.kafka().bootstrap().to_owned();
    let wrong = |listener, mechanism| {
        let mut settings = way_in(cluster, listener, mechanism);
        settings.push(("sasl.jaas.config", jaas(mechanism, "canary-wrong")));
        settings
    };
    let credentials: &[&str] = &["sasl.jaas.config"];
    let mut cases: Vec<(&str, Settings, &[&str])> = vec![
        (
            "unknown authority",
            with("SSL", &[("ssl.truststore.certificates", &stranger.certificate)]),
            &["no authority that is trusted", "ssl.truststore.location"],
        ),
        ("expired certificate", with("EXPIRED", &[]), &["expired"]),
        (
            "wrong host name",
            with("ELSEWHERE", &[]),
            &["somebody else", "ssl.endpoint.identification.algorithm"],
        ),
        (
            "no client certificate",
            with("MTLS", &[("ssl.keystore.key", ""), ("ssl.keystore.certificate.chain", "")]),
            &["ssl.keystore.location"],
        ),
        (
            "somebody else's client certificate",
            with(
                "MTLS",
                &[
                    ("ssl.keystore.key", &stranger.key),
                    ("ssl.keystore.certificate.chain", &stranger.certificate),
                ],
            ),
            &["ssl.keystore.location"],
        ),
        (
            "TLS to a plaintext port",
            with("SSL", &[("bootstrap.servers", &plaintext)]),
            &["security.protocol"],
        ),
        (
            "plaintext to a TLS port",
            with("SSL", &[("security.protocol", "PLAINTEXT")]),
            &["TLS server", "security.protocol"],
        ),
    ];
    cases.extend([
        ("wrong password, PLAIN", wrong("SASL_SSL", "PLAIN"), credentials),
        ("wrong password, SCRAM-SHA-256", wrong("SASL_PLAINTEXT", "SCRAM-SHA-256"), credentials),
        ("wrong password, SCRAM-SHA-512", wrong("SASL_SSL", "SCRAM-SHA-512"), credentials),
        (
            "expired token",
            with("SASL_SSL", &[
                ("sasl.mechanism", "OAUTHBEARER"),
                (
                    "sasl.jaas.config",
                    "OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"a\" unsecuredLoginLifetimeSeconds=\"0\";",
                ),
            ]),
            credentials,
        ),
        (
            "mechanism that is not enabled",
            with("PLAIN_ONLY", &[]),
            &["does not take sasl.mechanism=SCRAM-SHA-256, only PLAIN"],
        ),
        (
            "no SASL to a port that wants it",
            with("SASL_PLAINTEXT", &[("security.protocol", "PLAINTEXT")]),
            &["does this port want SASL"],
        ),
        (
            "SASL to a port without",
            with("SASL_PLAINTEXT", &[("bootstrap.servers", &plaintext)]),
            &["does not ask for SASL", "security.protocol"],
        ),
    ]);
    for (what, mut settings, parts) in cases {
        // Far longer than the test may take: what ends the wait is an answer.
        settings.push(("max.block.ms", "600000".into()));
        let producer = build(&settings);
        let began = Instant::now();
        let error = producer.send(ProducerRecord::new(&topic, "v")).expect_err(what);
        let (text, elapsed) = (error.to_string(), began.elapsed());
        println!("{what}, after {} ms: {text}", elapsed.as_millis());
        assert!(matches!(error.kind(), SendErrorKind::Rejected { .. }), "{what}: {error:?}");
        assert!(elapsed < LONG && !text.contains("canary"), "{what}: {elapsed:?} {text}");
        assert!(
            parts.iter().all(|part| text.contains(part)) && text.contains("127.0.0.1:"),
            "{what}: {text}"
        );
    }
}

/// Callback and issuer fail at first, as they may; that delays what is sent and does not fail it.
fn tokens_come_from_code_a_file_or_an_issuer(cluster: &mut Cluster) {
    let topic = cluster.kafka().create_topic("tokens", 1, &[]);
    let config = way_in(cluster, "SASL_SSL", "OAUTHBEARER")
        .iter()
        .fold(ProducerConfig::new(""), |config, (name, value)| config.set(name, value));
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let by_code = config.clone().sasl_oauthbearer(move || match count.fetch_add(1, Ordering::SeqCst) {
        0 => Err("the issuer is away".into()),
        _ => Ok(OAuthBearerToken::new(TOKEN).extension("trace", "7")),
    });
    let file = tempfile::NamedTempFile::new().expect("a file can be made");
    std::fs::write(file.path(), format!("{TOKEN}\n")).expect("it can be written");
    let url = format!("file://{}", file.path().display());
    let config = config.set("sasl.jaas.config", "");
    let by_file = config.clone().set("sasl.oauthbearer.token.endpoint.url", &url);
    let by_issuer = config
        .set("sasl.oauthbearer.token.endpoint.url", &start_issuer())
        .set("sasl.oauthbearer.client.credentials.client.id", "alice")
        .set("sasl.oauthbearer.client.credentials.client.secret", "secret");
    for config in [by_code, by_file, by_issuer] {
        let producer = Producer::new(config).unwrap_or_else(|error| panic!("{error}"));
        let pending =
            producer.send(ProducerRecord::new(&topic, "v")).unwrap_or_else(|error| panic!("{error}"));
        places(vec![pending]);
        producer.close().expect("everything is acknowledged");
    }
    assert!(asked.load(Ordering::SeqCst) >= 2);
}

/// Where somebody gives the token to everybody, but for the first who asks. Ends with the process.
fn start_issuer() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback sockets can be had");
    let url = format!("http://{}/token", listener.local_addr().expect("it is bound"));
    thread::spawn(move || {
        let mut status = "503 Service Unavailable";
        for mut socket in listener.incoming().map_while(Result::ok) {
            let mut request = Vec::new();
            while !request.ends_with(b"grant_type=client_credentials") {
                let mut piece = [0; 1000];
                match socket.read(&mut piece) {
                    Ok(n @ 1..) => request.extend_from_slice(&piece[..n]),
                    _ => break,
                }
            }
            let body = format!("{{\"access_token\":\"{TOKEN}\"}}");
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            socket.write_all(answer.as_bytes()).expect("the producer waits for it");
            status = "200 OK";
        }
    });
    url
}

/// For alice, from 2023 to 2100, signed by nobody.
const TOKEN: &str = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSIsImlhdCI6MTcwMDAwMDAwMCwiZXhwIjo0MTAyNDQ0ODAwfQ.";

/// Connections whose sessions last three seconds, under a steady load for longer than several of them: they are renewed, and
/// none is opened anew.
fn sessions_are_renewed_under_way(cluster: &mut Cluster) {
    let (lasts, watch) = (renewed(), logins::watch());
    for (place, mechanism) in MECHANISMS.iter().enumerate() {
        let topic = cluster.kafka().create_topic(&format!("renewed-{place}"), 2, &[]);
        let settings = way_in(cluster, if place % 2 == 0 { "SASL_PLAINTEXT" } else { "SASL_SSL" }, mechanism);
        let producer = build(&settings);
        let mut pending = Vec::new();
        let mut send = |n: usize| {
            let (key, value) = ((n % 100).to_string(), n.to_string());
            let record = ProducerRecord::new(&topic, &value).key(&key);
            pending.push(producer.send(record).unwrap_or_else(|error| panic!("{error}")));
        };
        // Until it has found its way to the leaders.
        (0..WARM_UP).for_each(&mut send);
        producer.flush().expect("no callback, no fork");
        let (opened, renewed) = watch.counts();
        let began = Instant::now();
        at_a_steady_rate(1000, |_| began.elapsed() < lasts, |n| send(WARM_UP + n));
        let places = places(pending);
        let (opened_now, renewed_now) = watch.counts();
        producer.close().expect("everything is acknowledged");
        println!(
            "{mechanism}: {} records in {lasts:?}, {} renewals, {} new connections",
            places.len(),
            renewed_now - renewed,
            opened_now - opened
        );
        assert_eq!(opened_now, opened, "{mechanism}: a connection was lost");
        assert!(renewed_now - renewed >= 2, "{mechanism}: sessions were not renewed");
        assert_all_arrived_once(cluster.kafka(), &topic, &places);
    }
}

/// How long each mechanism is tried: several sessions of three seconds, or what `RENEWED_SECONDS` says.
fn renewed() -> Duration {
    let seconds = std::env::var("RENEWED_SECONDS").ok().filter(|value| !value.is_empty());
    Duration::from_secs(seconds.map_or(10, |value| {
        value.parse().unwrap_or_else(|_| panic!("RENEWED_SECONDS={value}: a whole number is wanted"))
    }))
}

const MECHANISMS: &[&str] = &["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"];

const WARM_UP: usize = 100;

const CODECS: &[&str] = &["none", "gzip", "snappy", "lz4", "zstd"];

const RECORDS: usize = 300;

const LONG: Duration = Duration::from_secs(60);
