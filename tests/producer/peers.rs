//! Ports on which something else listens than a broker: the error says what it looks like.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use kafka_producer::{ProducerRecord, SendErrorKind};

use crate::harness::{LONG, Watch, build, quick};

/// A server that is no broker.
struct Peer {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What it does with a connection.
#[derive(Clone, Copy)]
enum Manner {
    /// Says this once it was spoken to, and hangs up.
    Answers(&'static [u8]),
    /// Says this at once.
    Greets(&'static [u8]),
    /// Sends back what it is sent.
    Echoes,
    /// Takes everything and says nothing.
    Listens,
    HangsUp,
}

impl Peer {
    fn new(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&ended);
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    break;
                }
                let stream = stream.unwrap();
                thread::spawn(move || manner.serve(stream));
            }
        });
        Self { address, ended, thread: Some(thread) }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // A listener cannot be told to stop; it looks up once more.
        let _ = TcpStream::connect(self.address);
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Manner {
    /// Ends when the other side does.
    fn serve(self, mut stream: TcpStream) {
        let mut buffer = [0; 4096];
        match self {
            Self::HangsUp => return,
            Self::Greets(text) => drop(stream.write_all(text)),
            Self::Answers(text) => {
                let _ = stream.read(&mut buffer);
                let _ = stream.write_all(text);
                return;
            }
            Self::Echoes | Self::Listens => {}
        }
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            if matches!(self, Self::Echoes) && stream.write_all(&buffer[..count]).is_err() {
                return;
            }
        }
    }
}

#[test]
fn what_listens_there_is_named() {
    let _watch = Watch::new();
    for (manner, says) in [
        (Manner::Answers(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"), "an HTTP server"),
        (Manner::Greets(b"SSH-2.0-OpenSSH_9.6\r\n"), "not a Kafka broker"),
        (Manner::Greets(b"220 mail.example.com ESMTP\r\n"), "not a Kafka broker"),
        (Manner::Answers(b"-ERR unknown command\r\n"), "not a Kafka broker"),
        (Manner::Answers(b"E\x00\x00\x00\x8bSFATAL\x00"), "Kafka broker"),
        (Manner::Echoes, "127.0.0.1"),
        (Manner::Answers(b""), "closed the connection"),
        (Manner::HangsUp, "127.0.0.1"),
        (Manner::Listens, "socket.connection.setup.timeout.ms"),
    ] {
        let peer = Peer::new(manner);
        let settings = [("max.block.ms", "500"), ("socket.connection.setup.timeout.ms", "100")];
        let producer = build(quick(&peer.address.to_string()), &settings);
        let began = Instant::now();
        let error = producer.send(ProducerRecord::new("t", "v")).unwrap_err();
        assert!(began.elapsed() >= Duration::from_millis(500) && began.elapsed() < LONG);
        assert!(matches!(error.kind(), SendErrorKind::MetadataTimeout { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(says) && text.contains(&peer.address.to_string()), "{says}: {text}");
        assert!(error.is_retriable() && !error.is_fatal());
        producer.close().unwrap();
    }
}

#[test]
fn a_port_that_speaks_tls_is_an_answer_and_not_a_timeout() {
    let _watch = Watch::new();
    // The alert "unexpected message", and the beginning of a handshake.
    for says in [&b"\x15\x03\x03\x00\x02\x02\x0a"[..], b"\x16\x03\x01\x00\x7a\x02\x00\x00\x76"] {
        let peer = Peer::new(Manner::Answers(says));
        let producer = build(quick(&peer.address.to_string()), &[("max.block.ms", "600000")]);
        let began = Instant::now();
        let error = producer.send(ProducerRecord::new("t", "v")).unwrap_err();
        assert!(began.elapsed() < LONG);
        assert!(matches!(error.kind(), SendErrorKind::Rejected { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("a TLS server") && text.contains("security.protocol"), "{text}");
        assert!(text.contains(&peer.address.to_string()), "{text}");
    }
}
