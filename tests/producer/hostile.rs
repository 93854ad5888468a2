//! Somebody at the other end who means harm, while it is not settled yet who that is: everything ends soon and with a text
//! that says why, in little memory, and no password is given away.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Instant,
};

use kafka_producer::{ProducerConfig, ProducerRecord, SecurityProtocol, SendErrorKind};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::{
    harness::{LONG, Watch, build, in_a_process_of_its_own, quick, text},
    pki::Authority,
};

const PASSWORD: &str = "canary-secret";

/// What is done when the answer to a request is due, of which `nonce` is what follows `r=`.
type Trick = fn(Api, &str) -> Answer;

enum Answer {
    /// Of this content, behind the length and the number of the request.
    Body(Vec<u8>),
    /// As it is, and then silence.
    Raw(Vec<u8>),
}

#[derive(Clone, Copy, PartialEq)]
enum Api {
    Versions,
    Handshake,
    Authenticate,
}

/// One who plays tricks, and remembers all that it was sent.
struct Hostile {
    address: String,
    heard: Arc<Mutex<Vec<u8>>>,
    _watch: Watch,
}

impl Hostile {
    fn start(trick: Trick) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hearing = Arc::clone(&heard);
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let hearing = Arc::clone(&hearing);
                thread::spawn(move || converse(socket, trick, &hearing));
            }
        });
        Self { address, heard, _watch: Watch::new() }
    }

    /// What somebody is told who tries to send a record, and whether it is final.
    fn refusal(&self, mechanism: &str) -> (String, bool) {
        let config = quick(&self.address).security_protocol(SecurityProtocol::SaslPlaintext);
        let config = match mechanism {
            "PLAIN" => config.sasl_plain("u", PASSWORD),
            _ => config.sasl_scram_sha_512("u", PASSWORD),
        };
        let told = told(config, "600");
        let heard = text(&self.heard.lock().unwrap());
        assert!(mechanism == "PLAIN" || !heard.contains("canary"), "the password was given away");
        assert!(told.0.contains(&self.address), "{told:?}");
        told
    }
}

fn told(config: ProducerConfig, limit: &str) -> (String, bool) {
    let settings = [("max.block.ms", limit), ("socket.connection.setup.timeout.ms", "200")];
    let producer = build(config, &settings);
    let began = Instant::now();
    let error = producer.send(ProducerRecord::new("t", "v")).expect_err("nobody takes it");
    assert!(began.elapsed() < LONG, "{error}");
    producer.close().unwrap();
    assert!(began.elapsed() < LONG, "a close that waits for it: {error}");
    let told = error.to_string();
    println!("after {} ms: {told}", began.elapsed().as_millis());
    assert!(!told.contains("canary"), "{told}");
    (told, matches!(error.kind(), SendErrorKind::Rejected { .. }))
}

fn converse(mut socket: TcpStream, trick: Trick, heard: &Mutex<Vec<u8>>) -> Option<()> {
    loop {
        let mut length = [0; 4];
        socket.read_exact(&mut length).ok()?;
        let mut request = vec![0; u32::from_be_bytes(length) as usize];
        socket.read_exact(&mut request).ok()?;
        heard.lock().unwrap().extend_from_slice(&request);
        let api = match i16::from_be_bytes([request[0], request[1]]) {
            18 => Api::Versions,
            17 => Api::Handshake,
            _ => Api::Authenticate,
        };
        let said = text(&request);
        let nonce = said.split_once(",r=").map_or("", |(_, nonce)| nonce).trim_end_matches('\0');
        match trick(api, nonce) {
            Answer::Raw(bytes) => socket.write_all(&bytes).ok()?,
            Answer::Body(body) => {
                let mut frame = (body.len() as u32 + 4).to_be_bytes().to_vec();
                frame.extend_from_slice(&request[4..8]);
                frame.extend_from_slice(&body);
                socket.write_all(&frame).ok()?;
            }
        }
    }
}

/// What an honest broker answers before a password is due.
fn honest(api: Api) -> Answer {
    match api {
        Api::Versions => versions(1),
        Api::Handshake => handshake(0, "SCRAM-SHA-512"),
        Api::Authenticate => challenge(b""),
    }
}

/// `authenticate`: the highest version of SaslAuthenticate, or -1 for none at all.
fn versions(authenticate: i16) -> Answer {
    let mut apis = vec![(0_i16, 3_i16, 9_i16), (3, 0, 9), (17, 0, 1), (18, 0, 3), (22, 0, 4)];
    apis.extend((authenticate >= 0).then_some((36, 0, authenticate)));
    let mut body = vec![0, 0, apis.len() as u8 + 1];
    for (key, from, to) in apis {
        for number in [key, from, to] {
            body.extend(number.to_be_bytes());
        }
        body.push(0);
    }
    body.extend([0; 5]);
    Answer::Body(body)
}

fn handshake(code: i16, mechanism: &str) -> Answer {
    let mut body = code.to_be_bytes().to_vec();
    body.extend([0, 0, 0, 1]);
    body.extend((mechanism.len() as u16).to_be_bytes());
    body.extend(mechanism.as_bytes());
    Answer::Body(body)
}

fn challenge(bytes: &[u8]) -> Answer {
    let mut body = vec![0, 0, 0xff, 0xff];
    body.extend((bytes.len() as u32).to_be_bytes());
    body.extend(bytes);
    body.extend([0; 8]);
    Answer::Body(body)
}

fn iterations(nonce: &str, count: &str) -> Answer {
    challenge(format!("r={nonce}x,s=c2FsdA==,i={count}").as_bytes())
}

/// Each trick, with what is said of it and whether that is final: what may be a fault of the network is tried again.
const TRICKS: &[(&str, &str, Trick, &str, bool)] = &[
    (
        "a message of 100 MB",
        "SCRAM",
        |api, _| match api {
            Api::Authenticate => Answer::Raw(100_000_000_u32.to_be_bytes().to_vec()),
            _ => honest(api),
        },
        "SaslAuthenticate",
        false,
    ),
    (
        "a list of mechanisms of 100 MB",
        "SCRAM",
        |api, _| match api {
            Api::Handshake => Answer::Raw(100_000_000_u32.to_be_bytes().to_vec()),
            _ => honest(api),
        },
        "SaslHandshake",
        false,
    ),
    (
        "a message without end",
        "SCRAM",
        |api, _| match api {
            Api::Authenticate => Answer::Raw([&1_000_000_u32.to_be_bytes()[..], &[0; 1000]].concat()),
            _ => honest(api),
        },
        "socket.connection.setup.timeout.ms",
        false,
    ),
    (
        "challenges without end, PLAIN",
        "PLAIN",
        |api, _| match api {
            Api::Authenticate => challenge(b"and?"),
            Api::Handshake => handshake(0, "PLAIN"),
            _ => honest(api),
        },
        "goes on where nothing is left to say",
        true,
    ),
    (
        "challenges without end, SCRAM",
        "SCRAM",
        |api, _| match api {
            Api::Authenticate => challenge(b"and?"),
            _ => honest(api),
        },
        "does not speak SCRAM",
        true,
    ),
    (
        "2^31 iterations",
        "SCRAM",
        |api, nonce| match api {
            Api::Authenticate => iterations(nonce, "2147483648"),
            _ => honest(api),
        },
        "2147483648 iterations",
        true,
    ),
    (
        "one iteration",
        "SCRAM",
        |api, nonce| match api {
            Api::Authenticate => iterations(nonce, "1"),
            _ => honest(api),
        },
        "1 iterations",
        true,
    ),
    ("let in without a proof", "SCRAM", |api, _| honest(api), "does not speak SCRAM", true),
    (
        "a weaker mechanism",
        "SCRAM",
        |api, _| match api {
            Api::Handshake => handshake(33, "PLAIN"),
            _ => honest(api),
        },
        "does not take sasl.mechanism=SCRAM-SHA-512, only PLAIN",
        true,
    ),
    (
        "no SaslAuthenticate, as brokers before 1.0",
        "SCRAM",
        |api, _| match api {
            Api::Versions => versions(-1),
            _ => honest(api),
        },
        "SaslAuthenticate",
        false,
    ),
];

#[test]
fn tricks_with_sasl_end_soon_and_say_why() {
    for (what, mechanism, trick, says, is_final) in TRICKS {
        println!("{what}");
        let (told, rejected) = Hostile::start(*trick).refusal(mechanism);
        assert!(told.contains(says) && rejected == *is_final, "{what}: {told}");
    }
}

/// A chain of certificates of a megabyte, as often as a producer connects.
fn long_chain(authority: &Authority) -> String {
    let identity = authority.sign(&["127.0.0.1"]);
    let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap();
    let chain = vec![certificate.clone(); (1 << 20) / certificate.len()];
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls_graviola::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").unwrap());
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let mut session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            // It fails, and that is what is wanted.
            let _ = session.complete_io(&mut socket);
        }
    });
    address
}

#[test]
fn a_chain_of_a_megabyte_is_refused() {
    let (authority, _watch) = (Authority::new("a"), Watch::new());
    let (told, rejected) = told(trusting(&long_chain(&authority), &authority), "600000");
    assert!(rejected && told.contains("larger than 64 KiB"), "{told}");
}

/// The header of a record of 16 KiB and some of it, and then nobody is there any more.
#[test]
fn a_stream_that_ends_in_the_middle_of_a_record_is_given_up() {
    let (authority, _watch) = (Authority::new("a"), Watch::new());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            // A client that is gone already is none of this test's business.
            let _ = socket.read(&mut [0; 4096]);
            let _ = socket.write_all(&[&[22, 3, 3, 0x40, 0][..], &[2; 1000]].concat());
        }
    });
    let (told, _) = told(trusting(&address, &authority), "600");
    assert!(told.contains("during the TLS handshake") && told.contains(&address), "{told}");
}

fn trusting(address: &str, authority: &Authority) -> ProducerConfig {
    quick(address).set("security.protocol", "SSL").set("ssl.truststore.certificates", &authority.certificate)
}

/// Every trick again and again, in a process that does nothing else.
#[test]
fn hostile_brokers_cost_little_memory() {
    let test = "hostile::hostile_brokers_cost_little_memory";
    let Some(output) = in_a_process_of_its_own(test) else {
        let authority = Authority::new("a");
        let chain = long_chain(&authority);
        // What every producer and every server costs.
        told(trusting(&chain, &authority), "600000");
        let before = peak_memory();
        for _ in 0..3 {
            for (_, mechanism, trick, ..) in TRICKS {
                Hostile::start(*trick).refusal(mechanism);
            }
            told(trusting(&chain, &authority), "600000");
        }
        if let (Some(before), Some(after)) = (before, peak_memory()) {
            println!("grown by {} KiB", after - before);
            assert!(after - before < 16 * 1024, "from {before} to {after} KiB");
        }
        return;
    };
    println!("{}", text(&output.stdout));
}

/// In KiB, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?.parse().ok()
}
