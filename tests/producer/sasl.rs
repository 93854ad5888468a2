//! Who is let in by SASL, and what becomes of records meanwhile. The mechanisms themselves are tried against real Kafka.

use std::{
    env,
    process::Command,
    time::{Duration, Instant},
};

use kafka_producer::{Producer, ProducerRecord, SecurityProtocol, SendErrorKind, testing::Cluster};

use crate::harness::{LONG, World, arrived, build, quick, send, send_to, text};

const USER: &str = "canary-alice";
const PASSWORD: &str = "canary=s,e\"c\\ret";

fn world(session: Option<Duration>) -> World {
    World::start(
        Cluster::builder().auto_create_topics(false).topic("t", 3).sasl_plain(USER, PASSWORD, session),
    )
}

fn producer(world: &World, password: &str, settings: &[(&str, &str)]) -> Producer {
    let config = world.config().security_protocol(SecurityProtocol::SaslPlaintext).sasl_plain(USER, password);
    build(config, settings)
}

#[test]
fn who_knows_the_password_is_let_in() {
    let world = world(None);
    for settings in [&[][..], &[("acks", "0")], &[("linger.ms", "0")]] {
        let producer = producer(&world, PASSWORD, settings);
        let handles: Vec<_> = (0..100).map(|i| send_to(&producer, i % 3, "v")).collect();
        arrived(&handles);
        producer.close().unwrap();
    }
    assert!(world.wait_for_records("t", 300, LONG));
}

#[test]
fn sessions_are_renewed_and_no_connection_is_lost() {
    let world = world(Some(Duration::from_millis(1500)));
    let producer = producer(&world, PASSWORD, &[("linger.ms", "0")]);
    arrived(&[send(&producer, "first")]);
    let connections = world.connection_count();
    let (began, mut handles) = (Instant::now(), Vec::new());
    // As long as three sessions, and as many as that are renewed at least on the connection that is used.
    while world.authentication_count() < connections + 3 {
        assert!(began.elapsed() < LONG, "no session is renewed");
        handles.push(send(&producer, &handles.len().to_string()));
        if handles.len() % 100 == 0 {
            arrived(&handles[handles.len() - 1..]);
        }
    }
    arrived(&handles);
    assert_eq!(world.connection_count(), connections, "a connection was lost");
    producer.close().unwrap();
    let values = world.values("t");
    assert_eq!(values.len(), handles.len() + 1);
    assert!(values[1..].iter().enumerate().all(|(i, value)| *value == i.to_string()), "out of order");
}

#[test]
fn who_is_refused_learns_it_at_once_and_is_let_in_when_that_is_mended() {
    let world = world(None);
    let producer = producer(&world, "canary-wrong", &[("max.block.ms", "600000")]);
    for _ in 0..2 {
        let began = Instant::now();
        let error = producer.send(ProducerRecord::new("t", "v")).unwrap_err();
        assert!(
            began.elapsed() < LONG && matches!(error.kind(), SendErrorKind::Rejected { .. }),
            "{error:?}"
        );
        let text = format!("{error} {error:?}");
        assert!(text.contains("sasl.jaas.config") && text.contains(&world.address(1).to_string()), "{text}");
        assert!(text.contains("Invalid username or password") && !text.contains("canary"), "{text}");
    }
    let scram =
        world.config().security_protocol(SecurityProtocol::SaslPlaintext).sasl_scram_sha_256(USER, PASSWORD);
    let error = build(scram, &[("max.block.ms", "600000")]).send(ProducerRecord::new("t", "v")).unwrap_err();
    assert!(error.to_string().contains("does not take sasl.mechanism=SCRAM-SHA-256, only PLAIN"), "{error}");
    let other = crate::sasl::producer(&world, PASSWORD, &[]);
    arrived(&[send(&other, "v")]);
}

#[test]
fn a_port_that_wants_a_password_is_named() {
    let world = world(None);
    let error =
        build(world.config(), &[("max.block.ms", "600000")]).send(ProducerRecord::new("t", "v")).unwrap_err();
    assert!(matches!(error.kind(), SendErrorKind::Rejected { .. }), "{error:?}");
    assert!(error.to_string().contains("does this port want SASL (security.protocol)?"), "{error}");
}

#[test]
fn settings_that_do_not_go_together_are_named() {
    let config = quick("localhost:1").security_protocol(SecurityProtocol::SaslPlaintext);
    for (name, value, says) in [
        ("sasl.mechanism", "GSSAPI", "Kerberos is not supported"),
        ("sasl.mechanism", "DIGEST-MD5", "must be PLAIN"),
        ("sasl.mechanism", "", "must be PLAIN"),
        ("sasl.jaas.config", "canary", "required"),
        (
            "sasl.jaas.config",
            "ScramLoginModule required username=\"u\" password=\"canary\";",
            "PlainLoginModule",
        ),
        ("sasl.jaas.config", "PlainLoginModule required username=\"u\";", "lacks password"),
        (
            "sasl.jaas.config",
            "PlainLoginModule required username=\"\" password=\"canary\";",
            "empty username",
        ),
        ("sasl.oauthbearer.assertion.private.key.passphrase", "canary", "sasl_oauthbearer"),
    ] {
        let config = config.clone().sasl_plain("u", "canary").set(name, value);
        let error = config.validate().expect_err(name);
        let text = format!("{error} {error:?} {config} {config:?} {config:#?}");
        assert!(text.contains(says) && !text.contains("canary"), "{name}={value}: {text}");
    }
    let config = config.set("sasl.mechanism", "OAUTHBEARER");
    for (name, value, says) in [
        ("sasl.oauthbearer.token.endpoint.url", "https://issuer.example.com/token", "for an issuer"),
        (
            "sasl.jaas.config",
            "OAuthBearerLoginModule required clientId=\"x\" clientSecret=\"canary\";",
            "clientId",
        ),
        ("sasl.jaas.config", "PlainLoginModule required;", "OAuthBearerLoginModule"),
        ("linger.ms", "1", "unsecuredLoginStringClaim_sub"),
    ] {
        let error = config.clone().set(name, value).validate().expect_err(name).to_string();
        assert!(error.contains(says) && !error.contains("canary"), "{name}={value}: {error}");
    }
}

/// All that the tests with secrets print and log, at the most verbose level: passwords, tokens, what clients of an issuer know, and
/// private keys.
#[test]
fn no_log_and_no_panic_shows_a_secret() {
    let output = Command::new(env::current_exe().unwrap())
        .args(["sasl::", "issuer::", "hostile::", "tls::", "--nocapture"])
        // They run again in processes of their own: this one, and one that says nothing that the others do not.
        .args(["--skip", "no_log_and_no_panic", "--skip", "cost_little_memory"])
        .env("RUST_LOG", "trace")
        .output()
        .unwrap();
    let all = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{all}");
    for logged in ["a broker cannot be used", "authenticated again", "DEBUG", "the issuer of tokens"] {
        assert!(all.contains(logged), "nothing of {logged:?}: {all}");
    }
    // As they are, and as they look in Base64 with what stands before them; the last is how keys of these tests begin.
    for secret in ["canary", "Y2FuYXJ5", "NhbmFye", "jYW5hcnk", "MIGHAgEAMBMG"] {
        let shown: Vec<&str> = all.lines().filter(|line| line.contains(secret)).collect();
        assert_eq!(shown, [""; 0], "{secret}");
    }
    println!("{} lines, and no secret in them", all.lines().count());
}
