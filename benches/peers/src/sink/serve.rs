//! The sink's sockets: a thread for each connection, or one thread that never sleeps for all of them.

use std::{
    io::{self, ErrorKind, Read, Write},
    mem,
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    ledger::Ledger,
    protocol::Conversation,
    tls::{self, TlsStream},
};

/// How the sink waits.
#[derive(Clone, Copy, Debug)]
pub enum Service {
    /// Threads sleep until something arrives, as a broker's do; each answer is held back for so long.
    Sleeping { delay: Duration },
    /// One thread asks its sockets over and over, so that no answer waits for a sleeping thread.
    Spinning,
    /// Threads sleep, and speak TLS.
    Tls,
}

/// Listens on a port of the loopback, starts the threads, and returns the port. They end with the process.
///
/// # Errors
/// The port is taken.
pub fn serve(port: u16, service: Service, ledger: &Arc<Mutex<Ledger>>) -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let port = listener.local_addr()?.port();
    let ledger = Arc::clone(ledger);
    thread::spawn(move || match service {
        Service::Sleeping { delay } => accept(&listener, |stream| {
            let ledger = Arc::clone(&ledger);
            thread::spawn(move || sleeping(stream, port, delay, &ledger));
        }),
        Service::Tls => {
            let config = tls::config();
            accept(&listener, |socket| {
                let Some(stream) = tls::accept(socket, &config) else { return };
                let ledger = Arc::clone(&ledger);
                thread::spawn(move || encrypted(stream, port, &ledger));
            });
        }
        Service::Spinning => {
            let (send, streams) = mpsc::channel();
            let ledger = Arc::clone(&ledger);
            thread::spawn(move || spinning(&streams, port, &ledger));
            accept(&listener, |stream| {
                stream.set_nonblocking(true).expect("a connected socket can be told not to block");
                send.send(stream).expect("the spinning thread never ends");
            });
        }
    });
    Ok(port)
}

fn accept(listener: &TcpListener, mut take: impl FnMut(TcpStream)) {
    for stream in listener.incoming().flatten() {
        // An answer is one small write: nothing is won by waiting for more.
        if stream.set_nodelay(true).is_ok() {
            take(stream);
        }
    }
}

fn sleeping(mut stream: TcpStream, port: u16, delay: Duration, ledger: &Mutex<Ledger>) {
    let mut conversation = Conversation::new(port);
    let mut answers = Answers::new(&stream, delay);
    let mut out = Vec::new();
    lock(ledger).on_connection();
    loop {
        let Ok(bytes @ 1..) = stream.read(conversation.room()) else { return };
        let received = conversation.received(bytes, &mut lock(ledger), &mut out);
        if let Err(reason) = received {
            lock(ledger).on_refused(reason);
            return;
        }
        if !out.is_empty() && answers.take(&mut out).is_err() {
            return;
        }
    }
}

fn encrypted(mut stream: TlsStream, port: u16, ledger: &Mutex<Ledger>) {
    let mut conversation = Conversation::new(port);
    let mut out = Vec::new();
    lock(ledger).on_connection();
    loop {
        let Ok(bytes @ 1..) = stream.read(conversation.room()) else { return };
        if let Err(reason) = conversation.received(bytes, &mut lock(ledger), &mut out) {
            lock(ledger).on_refused(reason);
            return;
        }
        if !out.is_empty() && stream.write_all(&out).and_then(|()| stream.flush()).is_err() {
            return;
        }
        out.clear();
    }
}

/// What becomes of an answer.
enum Answers {
    AtOnce(TcpStream),
    /// A thread writes it, which sleeps until its time has come.
    Later {
        delay: Duration,
        queue: Sender<(Instant, Vec<u8>)>,
    },
}

impl Answers {
    fn new(stream: &TcpStream, delay: Duration) -> Self {
        let mut stream = stream.try_clone().expect("a connected socket can be cloned");
        if delay.is_zero() {
            return Self::AtOnce(stream);
        }
        let (queue, answers) = mpsc::channel::<(Instant, Vec<u8>)>();
        thread::spawn(move || {
            for (due, answer) in answers {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                if stream.write_all(&answer).is_err() {
                    return;
                }
            }
        });
        Self::Later { delay, queue }
    }

    /// Takes what is in `out`, and leaves it empty.
    fn take(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::AtOnce(stream) => {
                stream.write_all(out)?;
                out.clear();
                Ok(())
            }
            Self::Later { delay, queue } => {
                let answer = (Instant::now() + *delay, mem::take(out));
                queue.send(answer).map_err(|_| ErrorKind::BrokenPipe.into())
            }
        }
    }
}

fn spinning(streams: &Receiver<TcpStream>, port: u16, ledger: &Mutex<Ledger>) {
    let mut connections: Vec<(TcpStream, Conversation)> = Vec::new();
    let mut out = Vec::new();
    loop {
        if let Ok(stream) = streams.try_recv() {
            lock(ledger).on_connection();
            connections.push((stream, Conversation::new(port)));
        }
        connections.retain_mut(|(stream, conversation)| {
            let bytes = match stream.read(conversation.room()) {
                Ok(0) => return false,
                Ok(bytes) => bytes,
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            };
            let mut ledger = lock(ledger);
            if let Err(reason) = conversation.received(bytes, &mut ledger, &mut out) {
                ledger.on_refused(reason);
                return false;
            }
            drop(ledger);
            let written = write_spinning(stream, &out);
            out.clear();
            written.is_ok()
        });
    }
}

fn write_spinning(stream: &mut TcpStream, mut out: &[u8]) -> io::Result<()> {
    while !out.is_empty() {
        match stream.write(out) {
            Ok(bytes) => out = &out[bytes..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}
