//! Tokens that are fetched from their issuer, from the settings to the broker. What an issuer may answer otherwise is
//! tried where the code is.

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use kafka_producer::{ProducerConfig, ProducerRecord, SecurityProtocol, SendErrorKind, testing::Cluster};

use crate::{
    harness::{World, arrived, build, quick, send, text, until},
    pki::Authority,
    tls::server,
};

const TOKEN: &str = "canary-token";
const SECRET: &str = "canary-secret";

/// Somebody who gives this answer to all who speak TLS and know the secret.
struct Issuer {
    port: u16,
    asked: Arc<AtomicUsize>,
}

impl Issuer {
    fn start(authority: &Authority, token: &'static str) -> Self {
        let config = Arc::new(server(&authority.sign(&["127.0.0.1"]), None));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = rustls::StreamOwned::new(session, socket);
                let (mut heard, mut piece) = (Vec::new(), [0; 1000]);
                while !text(&heard).contains("grant_type=client_credentials&scope=kafka") {
                    match stream.read(&mut piece) {
                        Ok(n @ 1..) => heard.extend_from_slice(&piece[..n]),
                        // One that does not trust us.
                        _ => break,
                    }
                }
                // Of "producer:canary-secret".
                let (status, body) = match text(&heard).contains("Basic cHJvZHVjZXI6Y2FuYXJ5LXNlY3JldA==") {
                    true => ("200 OK", format!(r#"{{"access_token":"{token}","expires_in":3600}}"#)),
                    false => ("401 Unauthorized", r#"{"error":"invalid_client"}"#.to_owned()),
                };
                count.fetch_add(1, Ordering::SeqCst);
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                let _ = stream.write_all(answer.as_bytes());
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        });
        Self { port, asked }
    }

    fn config(&self, config: ProducerConfig, secret: &str, authority: &Authority) -> ProducerConfig {
        let truststore = authority.certificate.replace('\n', "\\n");
        config
            .security_protocol(SecurityProtocol::SaslPlaintext)
            .set("sasl.mechanism", "OAUTHBEARER")
            .set("sasl.oauthbearer.token.endpoint.url", &format!("https://127.0.0.1:{}/token", self.port))
            .set("sasl.oauthbearer.client.credentials.client.id", "producer")
            .set("sasl.oauthbearer.client.credentials.client.secret", secret)
            .set("sasl.oauthbearer.scope", "kafka")
            .set("sasl.login.retry.backoff.max.ms", "0")
            .set("max.block.ms", "600000")
            .set(
                "sasl.jaas.config",
                &format!("OAuthBearerLoginModule required ssl.truststore.certificates=\"{truststore}\";"),
            )
    }
}

fn world(session: Option<Duration>) -> World {
    World::start(
        Cluster::builder()
            .auto_create_topics(false)
            .topic("t", 1)
            .brokers(3)
            .sasl_oauthbearer(TOKEN, session),
    )
}

#[test]
fn a_token_is_fetched_once_and_shown_to_all_brokers() {
    let (authority, world) = (Authority::new("a"), world(Some(Duration::from_millis(1500))));
    let issuer = Issuer::start(&authority, TOKEN);
    let producer = build(issuer.config(world.config(), SECRET, &authority), &[("linger.ms", "0")]);
    until("sessions are renewed", || {
        arrived(&[send(&producer, "v")]);
        world.authentication_count() > world.connection_count()
    });
    producer.close().unwrap();
    assert_eq!(issuer.asked.load(Ordering::SeqCst), 1);
}

#[test]
fn who_gets_no_token_learns_why() {
    let (authority, world) = (Authority::new("a"), world(None));
    let issuer = Issuer::start(&authority, TOKEN);
    let config = issuer.config(world.config(), "canary-wrong", &authority);
    let error = build(config, &[]).send(ProducerRecord::new("t", "v")).unwrap_err();
    let told = format!("{error} {error:?}");
    assert!(matches!(error.kind(), SendErrorKind::Rejected { .. }), "{told}");
    for part in [&*issuer.port.to_string(), "401, invalid_client", "client.secret"] {
        assert!(told.contains(part) && !told.contains("canary"), "{told}");
    }
    // Not the issuer that it should be: that may pass, and so it is told when the time is over.
    let config = issuer.config(world.config(), SECRET, &Authority::new("b")).set("max.block.ms", "600");
    let error = build(config, &[]).send(ProducerRecord::new("t", "v")).unwrap_err();
    let told = format!("{error} {error:?}");
    assert!(
        error.is_retriable() && told.contains("token.endpoint.url") && !told.contains("canary"),
        "{told}"
    );
}

/// What a broker does not take is not kept.
#[test]
fn a_token_that_is_refused_is_fetched_anew() {
    let (authority, world) = (Authority::new("a"), world(None));
    let issuer = Issuer::start(&authority, "canary-other");
    let producer = build(issuer.config(world.config(), SECRET, &authority), &[]);
    for _ in 0..2 {
        let error = producer.send(ProducerRecord::new("t", "v")).unwrap_err();
        assert!(matches!(error.kind(), SendErrorKind::Rejected { .. }), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
    }
    assert!(issuer.asked.load(Ordering::SeqCst) >= 2);
}

#[test]
fn settings_of_an_issuer_that_do_not_go_together_are_named() {
    let good = Issuer { port: 1, asked: Arc::default() }.config(quick("a:1"), SECRET, &Authority::new("a"));
    good.validate().unwrap();
    let jaas = |options: &str| format!("OAuthBearerLoginModule required {options};");
    let url = "sasl.oauthbearer.token.endpoint.url";
    for (name, value, says) in [
        (url, "", "must be set with sasl.oauthbearer.client"),
        (url, "https://", "host"),
        (url, "file:x", "whole path"),
        (url, "ldap://x", "https://"),
        ("sasl.oauthbearer.client.credentials.client.id", "", "must be set for an issuer"),
        ("sasl.oauthbearer.client.credentials.client.secret", " ", "must be set for an issuer"),
        ("sasl.oauthbearer.header.urlencode", "maybe", "true"),
        ("sasl.jaas.config", &jaas("client=\"canary\""), "the option client"),
        (
            "sasl.jaas.config",
            &jaas("ssl.truststore.location=\"/nowhere\""),
            "the option ssl.truststore.location",
        ),
        ("sasl.jaas.config", &jaas("ssl.canary=\"x\""), "the option ssl."),
    ] {
        let config = good.clone().set(name, value);
        let error = config.validate().expect_err(value);
        let told = format!("{error} {error:?} {config:?}");
        assert!(told.contains(says), "{name}={value}: {told}");
        assert!(!told.replace("ssl.canary", "").contains("canary"), "{name}={value}: {told}");
    }
    // The older way is enough.
    let older = quick("a:1")
        .security_protocol(SecurityProtocol::SaslPlaintext)
        .set("sasl.mechanism", "OAUTHBEARER")
        .set(url, "http://127.0.0.1:1")
        .set(
            "sasl.jaas.config",
            &jaas("clientId=\"i\" clientSecret=\"s\" scope=\"x\" extension_logicalCluster=\"l\""),
        );
    older.validate().unwrap();
}
