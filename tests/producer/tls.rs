//! TLS, from the settings to the broker and back: what arrives, and what is said when somebody is turned away.

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use kafka_producer::{
    DeliveryCause, Producer, ProducerConfig, ProducerRecord, SendErrorKind,
    testing::{Cluster, ClusterBuilder},
};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};

use crate::{
    harness::{LONG, World, arrived, build, send, send_to},
    pki::{Authority, Identity},
};

/// What a broker has: its own certificate, and the authority whose clients it lets in, if it asks.
pub(crate) fn server(identity: &Identity, clients: Option<&Authority>) -> ServerConfig {
    let builder =
        ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots(authority)), provider())
                .build()
                .unwrap(),
        ),
    };
    let chain = vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()];
    builder.with_single_cert(chain, PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap()).unwrap()
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls_graviola::default_provider())
}

fn roots(authority: &Authority) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.certificate.as_bytes()).unwrap()).unwrap();
    roots
}

fn cluster() -> ClusterBuilder {
    Cluster::builder().auto_create_topics(false).topic("t", 3)
}

/// Brokers with this certificate.
fn world(identity: &Identity, clients: Option<&Authority>) -> World {
    World::start(cluster().tls(server(identity, clients)))
}

fn trusting(world: &World, authority: &Authority) -> ProducerConfig {
    world.config().set("security.protocol", "SSL").set("ssl.truststore.certificates", &authority.certificate)
}

const LOCAL: &[&str] = &["127.0.0.1", "localhost"];

#[test]
fn records_arrive_through_tls() {
    let authority = Authority::new("a");
    let world = World::start(cluster().brokers(3).tls(server(&authority.sign(LOCAL), None)));
    for (settings, value) in [
        (&[][..], "x"),
        (&[("ssl.enabled.protocols", "TLSv1.2")], "y"),
        (
            &[("ssl.protocol", "TLSv1.2"), ("ssl.cipher.suites", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256")],
            "z",
        ),
        (&[("ssl.cipher.suites", "TLS_AES_128_GCM_SHA256"), ("acks", "0")], "u"),
        (&[("ssl.cipher.suites", "TLS_CHACHA20_POLY1305_SHA256"), ("send.buffer.bytes", "4096")], "v"),
    ] {
        let producer = build(trusting(&world, &authority), settings);
        // Larger than what is encrypted at a time.
        let large = value.repeat(200_000);
        let before = world.record_count("t");
        let handles: Vec<_> =
            (0..30).map(|i| send_to(&producer, i % 3, if i % 7 == 0 { &large } else { value })).collect();
        arrived(&handles);
        producer.close().unwrap();
        assert!(world.wait_for_records("t", before + 30, LONG), "{settings:?}");
        let whole = |text: &String| text == value || *text == large;
        assert_eq!(world.values("t").iter().filter(|text| whole(text)).count(), 30, "{settings:?}");
    }
}

/// What has been decrypted is not all that has arrived, and nobody reports the rest again.
#[test]
fn an_answer_of_many_records_is_read_to_its_end() {
    let authority = Authority::new("a");
    let many = Cluster::builder().auto_create_topics(false).topic("t", 5_000);
    let world = World::start(many.tls(server(&authority.sign(LOCAL), None)));
    let producer = build(trusting(&world, &authority), &[("max.block.ms", "20000")]);
    arrived(&[send_to(&producer, 4_999, "x")]);
}

#[test]
fn keys_and_certificates_come_as_text_or_in_files() {
    let (authority, folder) = (Authority::new("a"), tempfile::tempdir().unwrap());
    let world = world(&authority.sign(LOCAL), Some(&authority));
    let own = authority.sign(&["client"]);
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (trust, both) =
        (file("ca.pem", &authority.certificate), file("own.pem", &(own.key.clone() + &own.certificate)));
    let in_a_line = |pem: &str| pem.replace('\n', " ");
    for settings in [
        vec![
            ("ssl.keystore.key", own.key.clone()),
            ("ssl.keystore.certificate.chain", own.certificate.clone()),
        ],
        vec![
            ("ssl.keystore.type", "PEM".into()),
            ("ssl.keystore.key", in_a_line(&own.key)),
            ("ssl.keystore.certificate.chain", in_a_line(&own.certificate)),
        ],
        vec![("ssl.keystore.type", "pem".into()), ("ssl.keystore.location", both.clone())],
    ] {
        for trusts in [
            ("ssl.truststore.certificates", in_a_line(&authority.certificate)),
            ("ssl.truststore.location", trust.clone()),
        ] {
            let config = world.config().set("security.protocol", "ssl").set(trusts.0, &trusts.1);
            let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, &**value)).collect();
            let producer = build(config, &settings);
            arrived(&[send(&producer, "v")]);
            producer.close().unwrap();
        }
    }
}

#[test]
fn a_configuration_of_the_applications_own() {
    let authority = Authority::new("a");
    let world = world(&authority.sign(LOCAL), None);
    let own = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots(&authority))
        .with_no_client_auth();
    let config = world.config().set("security.protocol", "SSL").tls_config(own);
    let producer = build(config.clone(), &[]);
    arrived(&[send(&producer, "v")]);
    let error = config.set("ssl.cipher.suites", "TLS_AES_128_GCM_SHA256").validate().unwrap_err();
    assert!(
        error.to_string().contains("ssl.cipher.suites") && error.to_string().contains("tls_config"),
        "{error}"
    );
}

/// Sends one record and says what it was told, at once.
fn refusal(producer: &Producer) -> String {
    let began = Instant::now();
    let error = producer.send(ProducerRecord::new("t", "v")).expect_err("nobody lets it in");
    assert!(began.elapsed() < LONG, "an answer, not a timeout: {error}");
    assert!(matches!(error.kind(), SendErrorKind::Rejected { .. }), "{error:?}");
    assert!(!error.is_retriable() && !error.is_fatal());
    error.to_string()
}

#[test]
fn who_is_turned_away_learns_at_once_why() {
    let (authority, other) = (Authority::new("a"), Authority::new("b"));
    let good = authority.sign(LOCAL);
    let own = other.sign(&["client"]);
    let stranger: &[(&str, &str)] =
        &[("ssl.keystore.key", &own.key), ("ssl.keystore.certificate.chain", &own.certificate)];
    for (identity, clients, trusted, settings, parts) in [
        (&good, None, &other, &[][..], &["no authority that is trusted", "ssl.truststore"][..]),
        (&authority.sign_expired(LOCAL), None, &authority, &[], &["expired"]),
        (
            &authority.sign(&["elsewhere"]),
            None,
            &authority,
            &[],
            &["somebody else", "ssl.endpoint.identification"],
        ),
        (&good, Some(&authority), &authority, &[], &["certificate of this client", "ssl.keystore"]),
        (
            &good,
            Some(&authority),
            &authority,
            stranger,
            &["refuses this client's certificate", "ssl.keystore"],
        ),
        (&good, Some(&authority), &authority, &[("ssl.enabled.protocols", "TLSv1.2")], &["ssl.keystore"]),
    ] {
        let world = world(identity, clients);
        // Far longer than the test may take.
        let settings = [settings, &[("max.block.ms", "600000")]].concat();
        let producer = build(trusting(&world, trusted), &settings);
        for _ in 0..2 {
            let text = refusal(&producer);
            for part in parts.iter().chain([&&*world.address(1).to_string()]) {
                assert!(text.contains(part), "{part}: {text}");
            }
        }
        producer.close().unwrap();
    }
}

#[test]
fn a_name_that_is_not_checked_leaves_the_rest_checked() {
    let (authority, other) = (Authority::new("a"), Authority::new("b"));
    let world = world(&authority.sign(&["elsewhere"]), None);
    let settings = [("ssl.endpoint.identification.algorithm", ""), ("max.block.ms", "600000")];
    let producer = build(trusting(&world, &authority), &settings);
    arrived(&[send(&producer, "v")]);
    let producer = build(trusting(&world, &other), &settings);
    assert!(refusal(&producer).contains("ssl.truststore"));
}

#[test]
fn a_port_that_speaks_otherwise_is_named() {
    let authority = Authority::new("a");
    let tls = world(&authority.sign(LOCAL), None);
    let plain = World::start(cluster()).expect_lies();
    let patient = [("max.block.ms", "600000")];
    let text = refusal(&build(tls.config(), &patient));
    assert!(text.contains("TLS server") && text.contains("security.protocol"), "{text}");
    let text = refusal(&build(trusting(&plain, &authority), &patient));
    assert!(text.contains("does this port speak TLS (security.protocol)?"), "{text}");
}

#[test]
fn a_broker_that_loses_its_good_name_fails_what_only_it_could_take() {
    let (authority, other) = (Authority::new("a"), Authority::new("b"));
    // Two clusters of which the second takes the place of the first, behind one address.
    let world = world(&authority.sign(LOCAL), None);
    let impostor = self::world(&other.sign(LOCAL), None);
    let front = Front::new(world.address(1));
    let producer = build(
        trusting(&world, &authority)
            .set("bootstrap.servers", &front.address())
            .set("delivery.timeout.ms", "600000")
            .set("linger.ms", "0"),
        &[],
    );
    arrived(&[send(&producer, "v")]);
    // The node's own address is known by now, and it is gone.
    world.stop(1);
    Front::listen(world.address(1), impostor.address(1), 4096, None);
    let error = send(&producer, "w").get().unwrap_err();
    assert!(matches!(error.cause(), DeliveryCause::Rejected { .. }), "{error:?}");
    assert!(error.to_string().contains("ssl.truststore") && !error.may_have_been_written(), "{error}");
    assert!(!error.is_retriable() && !error.is_fatal());
}

#[test]
fn a_stream_in_single_bytes_or_cut_anywhere_is_a_stream() {
    let authority = Authority::new("a");
    let world = world(&authority.sign(LOCAL), None);
    for (most, cut) in
        [(1, None), (7, None), (4096, Some(1)), (4096, Some(6)), (100, Some(300)), (4096, Some(1100))]
    {
        let front = Front::new_with(world.address(1), most, cut);
        let producer = build(trusting(&world, &authority).set("bootstrap.servers", &front.address()), &[]);
        arrived(&[send(&producer, "v")]);
        producer.close().unwrap();
    }
}

/// The handshake is over, a request is sent, and of the record that comes then half arrives: nothing is said of its bytes, and it
/// is as good as no answer.
#[test]
fn a_connection_that_ends_in_the_middle_of_a_later_record_is_a_lost_one() {
    let authority = Authority::new("a");
    let world = world(&authority.sign(LOCAL), None);
    // With TLS 1.3 the end of a client's handshake looks like data.
    for (version, handshake) in [("TLSv1.2", 0), ("TLSv1.3", 1)] {
        let config =
            trusting(&world, &authority).set("ssl.enabled.protocols", version).set("ssl.protocol", version);
        let (address, cut) = halve_records(world.address(1), handshake, 2);
        let producer = build(config.clone().set("bootstrap.servers", &address), &[]);
        arrived(&[send(&producer, "v")]);
        producer.close().unwrap();
        assert_eq!(cut.load(Ordering::SeqCst), 2, "{version}");

        let (address, cut) = halve_records(world.address(1), handshake, usize::MAX);
        let producer = build(config.set("bootstrap.servers", &address), &[("max.block.ms", "600")]);
        let error = producer.send(ProducerRecord::new("t", "v")).unwrap_err();
        assert!(error.is_retriable() && error.to_string().contains(&address), "{version}: {error}");
        assert!(cut.load(Ordering::SeqCst) > 1, "{version}");
    }
}

/// Passes connections on, and ends `most` of them in the middle of the first record that comes after a request, which is what
/// follows the `handshake` records of data that are none. Says where, and how many it has ended.
fn halve_records(to: SocketAddr, handshake: usize, most: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, cut) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&cut);
    thread::spawn(move || {
        for mut near in listener.incoming().map_while(Result::ok) {
            let mut far = TcpStream::connect(to).unwrap();
            let (mut request, mut answer) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            let asked = Arc::new(AtomicBool::new(false));
            let (asking, count) = (Arc::clone(&asked), Arc::clone(&count));
            thread::spawn(move || {
                let mut data = 0;
                while let Some(record) = read_record(&mut request) {
                    data += usize::from(record[0] == DATA);
                    asking.store(data > handshake, Ordering::SeqCst);
                    if far.write_all(&record).is_err() {
                        break;
                    }
                }
            });
            thread::spawn(move || {
                while let Some(record) = read_record(&mut answer) {
                    let is_cut = asked.load(Ordering::SeqCst) && count.load(Ordering::SeqCst) < most;
                    let end = if is_cut { record.len() / 2 } else { record.len() };
                    if near.write_all(&record[..end]).is_err() || is_cut {
                        count.fetch_add(usize::from(is_cut), Ordering::SeqCst);
                        break;
                    }
                }
                let _ = near.shutdown(Shutdown::Both);
                let _ = answer.shutdown(Shutdown::Both);
            });
        }
    });
    (address.to_string(), cut)
}

/// With its header.
fn read_record(from: &mut TcpStream) -> Option<Vec<u8>> {
    let mut record = vec![0; 5];
    from.read_exact(&mut record).ok()?;
    let length = usize::from(u16::from_be_bytes([record[3], record[4]]));
    record.resize(5 + length, 0);
    from.read_exact(&mut record[5..]).ok()?;
    Some(record)
}

/// The type of a record.
const DATA: u8 = 23;

/// Passes connections on to whoever it is told.
struct Front(SocketAddr);

impl Front {
    fn new(to: SocketAddr) -> Self {
        Self::new_with(to, 4096, None)
    }

    /// `most`: bytes that pass at a time. `cut`: bytes of the first answer that pass, before all is over.
    fn new_with(to: SocketAddr, most: usize, cut: Option<usize>) -> Self {
        Self(Self::listen(([127, 0, 0, 1], 0).into(), to, most, cut))
    }

    fn address(&self) -> String {
        self.0.to_string()
    }

    /// Ends with the process.
    fn listen(at: SocketAddr, to: SocketAddr, most: usize, mut cut: Option<usize>) -> SocketAddr {
        let listener = TcpListener::bind(at).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect(to) else { continue };
                near.set_nodelay(true).unwrap();
                let other = (near.try_clone().unwrap(), far.try_clone().unwrap());
                let limit = cut.take().unwrap_or(usize::MAX);
                thread::spawn(move || pass(other.0, other.1, most, usize::MAX));
                thread::spawn(move || pass(far, near, most, limit));
            }
        });
        address
    }
}

fn pass(mut from: TcpStream, mut into: TcpStream, most: usize, limit: usize) {
    let (mut buffer, mut left) = (vec![0; most], limit);
    while left > 0 {
        let room = most.min(left);
        let Ok(count @ 1..) = from.read(&mut buffer[..room]) else { break };
        if into.write_all(&buffer[..count]).is_err() {
            break;
        }
        left -= count;
    }
    let _ = into.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

#[test]
fn a_slow_handshake_ends_with_the_time_for_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = [("max.block.ms", "400"), ("socket.connection.setup.timeout.ms", "100")];
    let config =
        crate::harness::quick(&listener.local_addr().unwrap().to_string()).set("security.protocol", "SSL");
    let config = config.set("ssl.truststore.certificates", &Authority::new("a").certificate);
    let error = build(config, &settings).send(ProducerRecord::new("t", "v")).unwrap_err();
    assert!(error.to_string().contains("socket.connection.setup.timeout.ms"), "{error}");
    assert!(error.is_retriable());
}
