//! One established connection: a non-blocking socket and the requests waiting to go out on it.
//!
//! Bytes are opaque here, and so is why a connection ends. The queue owns what was handed to it until the kernel has
//! taken every byte or the connection is closed: a batch's memory must not be given back while a write can still
//! read it.

#[cfg(feature = "tls")]
use std::sync::Arc;
use std::{
    collections::VecDeque,
    io::{self, ErrorKind, IoSlice, Read, Write},
    mem,
    time::Duration,
};

use mio::{Interest, Registry, Token, net::TcpStream};
use socket2::SockRef;

use super::dial::Peer;
#[cfg(feature = "tls")]
use super::tls::TlsStream;
use crate::{config::Settings, engine::Transmit};

pub(super) struct Connection {
    stream: Stream,
    peer: Peer,
    queue: Queue,
    /// Transmits that left the queue, and of which the stream may still hold something back.
    unreported: usize,
    /// Whether the poller reports room to write. Only while bytes are left over: an idle socket always has room, and
    /// would wake the thread to say so.
    awaits_room: bool,
    /// Whether a byte was ever received.
    heard: bool,
}

impl Connection {
    /// Takes over a connected socket that is registered already, with whatever interest.
    pub(super) fn new(
        mut socket: TcpStream,
        peer: Peer,
        security: &Security,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        registry.reregister(&mut socket, token, Interest::READABLE)?;
        let stream = match security {
            Security::Plain => Stream::Plain(socket),
            #[cfg(feature = "tls")]
            Security::Tls(config) => Stream::Tls(Box::new(TlsStream::new(socket, peer.host(), config)?)),
        };
        Ok(Self { stream, peer, queue: Queue::default(), unreported: 0, awaits_room: false, heard: false })
    }

    pub(super) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Whether the other side ever said anything.
    pub(super) fn heard(&self) -> bool {
        self.heard
    }

    /// Appends to the queue. Says whether [`write`](Self::write) is to be called: it is not if others wait already, for
    /// that call or for room.
    pub(super) fn push(&mut self, transmit: Transmit) -> bool {
        let first = self.queue.is_empty();
        self.queue.push(transmit);
        first
    }

    /// Whether nothing is left to read after `n` bytes of `room` came, and what comes afterwards is reported by the poller.
    pub(super) fn is_drained_by(&self, n: usize, room: usize) -> bool {
        match self.stream {
            Stream::Plain(_) => SHORT_READS_DRAIN && n < room,
            // It gives what it has decrypted, whatever else has arrived.
            #[cfg(feature = "tls")]
            Stream::Tls(_) => false,
        }
    }

    /// Whether [`write`](Self::write) is to be called although nothing was pushed: the stream has something of its own
    /// to say, or can take now what it could not before. To be asked after every read.
    pub(super) fn wants_to_write(&self) -> bool {
        match &self.stream {
            Stream::Plain(_) => false,
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => !self.awaits_room && (!self.queue.is_empty() || !stream.is_flushed()),
        }
    }

    /// Writes as much of the queue as the kernel takes and says how many transmits have gone completely, also when
    /// it fails after them.
    ///
    /// Afterwards the poller reports room exactly if bytes are left over.
    pub(super) fn write(&mut self, registry: &Registry, token: Token) -> (usize, io::Result<()>) {
        let (written, outcome) = self.write_queue();
        let outcome = outcome.and_then(|()| self.await_room(self.needs_room(), registry, token));
        (written, outcome)
    }

    /// Reads what has arrived into `buffer`. `Ok(0)` is the end of the stream, `WouldBlock` means that the poller
    /// reports when there is more; until one of them was returned it may not.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.stream.read(buffer) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Ok(n) => {
                    self.heard |= n > 0;
                    return Ok(n);
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Closes, with a word of farewell where the protocol has one.
    pub(super) fn close(mut self) {
        match &mut self.stream {
            Stream::Plain(_) => {}
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => stream.say_farewell(),
        }
    }

    /// Closes and lets the kernel forget what it has not sent yet, instead of delivering it in the background.
    ///
    /// Otherwise a request that was given up can reach the broker after its retry has, over another connection: the
    /// victim is the order of a producer without idempotence.
    pub(super) fn abort(self) {
        if let Err(e) = SockRef::from(self.stream.socket()).set_linger(Some(Duration::ZERO)) {
            log::debug!("the connection to {} is closed without discarding its bytes: {e}", self.peer);
        }
    }

    fn write_queue(&mut self) -> (usize, io::Result<()>) {
        let outcome = loop {
            if self.queue.is_empty() {
                break self.stream.flush();
            }
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let count = self.queue.fill(&mut slices);
            // Transmits without a byte are complete as they are, and would look like a socket that takes none.
            let outcome = if count == 0 { Ok(0) } else { self.stream.write_vectored(&slices[..count]) };
            match outcome {
                Ok(0) if count > 0 => break Err(ErrorKind::WriteZero.into()),
                Ok(n) => self.unreported += self.queue.advance(n),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break Ok(()),
                Err(e) => break Err(e),
            }
        };
        // Of what a stream holds back nobody knows to which transmit it belongs.
        let written = if self.stream.is_flushed() { mem::take(&mut self.unreported) } else { 0 };
        (written, outcome)
    }

    /// Whether only room is missing. What waits for the end of a handshake waits for the other side's words.
    fn needs_room(&self) -> bool {
        match &self.stream {
            Stream::Plain(_) => !self.queue.is_empty(),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => !stream.is_flushed(),
        }
    }

    fn await_room(&mut self, wanted: bool, registry: &Registry, token: Token) -> io::Result<()> {
        // Registering again also re-arms: a socket that got room between the last write and now is still reported.
        if wanted != self.awaits_room {
            let interest = if wanted { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
            registry.reregister(self.stream.socket_mut(), token, interest)?;
            self.awaits_room = wanted;
        }
        Ok(())
    }
}

/// What is spoken on every connection of a producer.
#[derive(Clone)]
pub(super) enum Security {
    Plain,
    #[cfg(feature = "tls")]
    Tls(Arc<rustls::ClientConfig>),
}

impl Security {
    pub(super) fn of(settings: &Settings) -> Self {
        #[cfg(feature = "tls")]
        if let Some(config) = &settings.tls {
            return Self::Tls(Arc::clone(config));
        }
        let _ = settings;
        Self::Plain
    }
}

/// What carries the bytes.
enum Stream {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<TlsStream>),
}

impl Stream {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.socket(),
        }
    }

    fn socket_mut(&mut self) -> &mut TcpStream {
        match self {
            Self::Plain(socket) => socket,
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.socket_mut(),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.read(buffer),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write_vectored(slices),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.write_vectored(slices),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.flush(),
        }
    }

    /// Whether the kernel has everything that was taken.
    fn is_flushed(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.is_flushed(),
        }
    }
}

/// What is still to be written.
#[derive(Default)]
struct Queue {
    transmits: VecDeque<Transmit>,
    /// Where the next byte lies in the first transmit. Kept as a piece and an offset in it, so that a peer that takes a
    /// byte at a time does not make every write search the transmit from its start.
    piece: usize,
    /// `0 <= offset <= length of the piece`
    offset: usize,
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.transmits.is_empty()
    }

    fn push(&mut self, transmit: Transmit) {
        debug_assert!(transmit.bodies.is_sorted_by_key(|&(position, _)| position), "bodies lie in order");
        self.transmits.push_back(transmit);
    }

    /// Points `slices` at the bytes to write next, across transmits, and says how many slices are used.
    fn fill<'q>(&'q self, slices: &mut [IoSlice<'q>]) -> usize {
        let mut count = 0;
        let (mut first, mut offset) = (self.piece, self.offset);
        for transmit in &self.transmits {
            for bytes in (first..).map_while(|index| piece(transmit, index)) {
                let Some(slice) = slices.get_mut(count) else { return count };
                if offset < bytes.len() {
                    *slice = IoSlice::new(&bytes[offset..]);
                    count += 1;
                }
                offset = 0;
            }
            first = 0;
        }
        count
    }

    /// Moves past `n` written bytes, lets go of the transmits that are complete then, and says how many there were.
    fn advance(&mut self, mut n: usize) -> usize {
        let mut completed = 0;
        while let Some(transmit) = self.transmits.front() {
            while let Some(bytes) = piece(transmit, self.piece) {
                let left = bytes.len() - self.offset;
                if n < left {
                    self.offset += n;
                    return completed;
                }
                n -= left;
                (self.piece, self.offset) = (self.piece + 1, 0);
            }
            self.transmits.pop_front();
            (self.piece, self.offset) = (0, 0);
            completed += 1;
        }
        debug_assert_eq!(n, 0, "nobody takes more bytes than there are");
        completed
    }
}

/// A transmit is its head, cut where its bodies go: even pieces are parts of the head, odd ones are bodies.
fn piece(transmit: &Transmit, index: usize) -> Option<&[u8]> {
    let body = index / 2;
    if index % 2 == 1 {
        return transmit.bodies.get(body).map(|(_, bytes)| bytes.as_slice());
    }
    let from = match body.checked_sub(1) {
        Some(before) => transmit.bodies.get(before)?.0,
        None => 0,
    };
    let to = transmit.bodies.get(body).map_or(transmit.head.len(), |&(position, _)| position);
    Some(&transmit.head[from..to])
}

/// A request has two pieces a partition. More slices gain nothing: with batches of 16 KiB a socket's buffer is full long
/// before they run out.
const MAX_SLICES: usize = 64;

/// Whether a socket that gave less than was asked for had no more, and what comes afterwards is reported: so with
/// epoll and kqueue, whose reports are edges. Elsewhere the poller reports again only once a read came to nothing.
#[allow(unexpected_cfgs, reason = "it is mio's, for whoever has it go by poll(2)")]
const SHORT_READS_DRAIN: bool = cfg!(all(
    any(target_os = "linux", target_os = "android", target_vendor = "apple", target_os = "freebsd"),
    not(mio_unsupported_force_poll_poll)
));

#[cfg(test)]
mod tests {
    use std::{net, sync::Arc, thread};

    use mio::{Events, Poll};

    use super::*;

    const TOKEN: Token = Token(7);
    const LONG: Duration = Duration::from_secs(30);

    /// A connection and the other end of it.
    struct Pair {
        poll: Poll,
        connection: Connection,
        far: net::TcpStream,
    }

    impl Pair {
        #[expect(
            clippy::disallowed_types,
            clippy::disallowed_methods,
            reason = "both ends of a socket are needed"
        )]
        fn new() -> Self {
            let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let near = net::TcpStream::connect(address).unwrap();
            near.set_nonblocking(true).unwrap();
            SockRef::from(&near).set_send_buffer_size(30_000).unwrap();
            let (far, _) = listener.accept().unwrap();
            far.set_read_timeout(Some(LONG)).unwrap();
            let poll = Poll::new().unwrap();
            let mut near = TcpStream::from_std(near);
            poll.registry().register(&mut near, TOKEN, Interest::WRITABLE).unwrap();
            let connection =
                Connection::new(near, Peer::literal(address), &Security::Plain, poll.registry(), TOKEN)
                    .unwrap();
            Self { poll, connection, far }
        }

        fn write(&mut self) -> (usize, io::Result<()>) {
            self.connection.write(self.poll.registry(), TOKEN)
        }

        /// Waits for an event and says whether it reports room to write.
        fn poll(&mut self) -> bool {
            let mut events = Events::with_capacity(8);
            self.poll.poll(&mut events, Some(LONG)).unwrap();
            assert!(!events.is_empty(), "nothing happened within {LONG:?}");
            events.iter().any(|event| event.is_writable())
        }

        fn read_to_end(&mut self) -> (Vec<u8>, io::Result<()>) {
            let (mut all, mut buffer) = (Vec::new(), [0; 10]);
            loop {
                match self.connection.read(&mut buffer) {
                    Ok(0) => return (all, Ok(())),
                    Ok(n) => all.extend_from_slice(&buffer[..n]),
                    Err(e) if e.kind() == ErrorKind::WouldBlock => _ = self.poll(),
                    Err(e) => return (all, Err(e)),
                }
            }
        }
    }

    /// Xorshift: the tests only need numbers that look unlike each other.
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 % limit as u64).unwrap()
        }

        fn bytes(&mut self, below: usize) -> Vec<u8> {
            (0..self.below(below)).map(|_| self.below(256) as u8).collect()
        }

        /// Any shape there is: no head, no bodies, several bodies at one place, empty ones.
        fn transmit(&mut self, below: usize) -> Transmit {
            let head = self.bytes(below);
            let mut positions: Vec<_> = (0..self.below(5)).map(|_| self.below(head.len() + 1)).collect();
            positions.sort_unstable();
            let bodies = positions.into_iter().map(|at| (at, Arc::new(self.bytes(below)))).collect();
            Transmit { head, bodies }
        }
    }

    /// What a transmit says, spelled out in the simplest way.
    fn spell(transmit: &Transmit) -> Vec<u8> {
        let mut bytes = transmit.head.clone();
        for (position, body) in transmit.bodies.iter().rev() {
            bytes.splice(position..position, body.iter().copied());
        }
        bytes
    }

    #[test]
    fn bodies_go_where_the_head_says() {
        let body = |text: &str| Arc::new(text.as_bytes().to_vec());
        for (head, bodies, want) in [
            ("", vec![], ""),
            ("head", vec![], "head"),
            ("head", vec![(4, body("tail"))], "headtail"),
            ("head", vec![(0, body("be")), (2, body("-")), (2, body("+")), (4, body(""))], "behe-+ad"),
            ("", vec![(0, body("a")), (0, body("b"))], "ab"),
        ] {
            let transmit = Transmit { head: head.into(), bodies };
            let pieces: Vec<u8> = (0..).map_while(|i| piece(&transmit, i)).flatten().copied().collect();
            assert_eq!(String::from_utf8(pieces).unwrap(), want);
            assert_eq!(spell(&transmit), want.as_bytes());
        }
    }

    #[test]
    fn whatever_a_write_takes_the_next_goes_on_behind_it() {
        for seed in 1..200 {
            let mut random = Random(seed);
            let mut queue = Queue::default();
            let (mut want, mut got, mut completed) = (Vec::new(), Vec::new(), 0);
            let count = 1 + random.below(6);
            for _ in 0..count {
                let transmit = random.transmit(20);
                want.extend(spell(&transmit));
                queue.push(transmit);
            }
            let most = 1 + random.below(50);
            while !queue.is_empty() {
                let mut slices = [IoSlice::new(&[]); 3];
                let used = queue.fill(&mut slices);
                assert!(slices[..used].iter().all(|slice| !slice.is_empty()), "seed {seed}");
                let offered: Vec<u8> =
                    slices[..used].iter().flat_map(|slice| slice.iter().copied()).collect();
                let taken = offered.len().min(1 + random.below(most));
                got.extend_from_slice(&offered[..taken]);
                completed += queue.advance(taken);
            }
            assert_eq!(got, want, "seed {seed}");
            assert_eq!(completed, count, "seed {seed}");
        }
    }

    #[test]
    fn a_slow_reader_gets_every_byte_in_order_and_memory_is_held_until_then() {
        let mut pair = Pair::new();
        let mut random = Random(0x5eed);
        let (mut want, mut bodies) = (Vec::new(), Vec::new());
        for i in 0..200 {
            let mut transmit = random.transmit(1000);
            transmit.bodies.push((transmit.head.len(), Arc::new(random.bytes(100_000))));
            want.extend(spell(&transmit));
            bodies.extend(transmit.bodies.iter().map(|(_, body)| Arc::clone(body)));
            assert_eq!(pair.connection.push(transmit), i == 0, "only the first has to be written by hand");
        }
        let (mut written, outcome) = pair.write();
        outcome.unwrap();
        assert!(written < 200, "the socket's buffer was meant to be too small");
        assert_eq!(Arc::strong_count(bodies.last().unwrap()), 2, "what is not written is held");

        let mut far = pair.far.try_clone().unwrap();
        let total = want.len();
        let reader = thread::Builder::new().spawn(move || {
            let (mut got, mut buffer) = (Vec::new(), [0; 4000]);
            while got.len() < total {
                let n = far.read(&mut buffer[..1 + random.below(4000)]).unwrap();
                assert_ne!(n, 0, "the connection ended early");
                got.extend_from_slice(&buffer[..n]);
            }
            got
        });
        while written < 200 {
            assert!(pair.poll(), "room is what is waited for");
            let (more, outcome) = pair.write();
            outcome.unwrap();
            written += more;
        }
        assert!(reader.unwrap().join().unwrap() == want, "bytes were lost, doubled or swapped");
        assert!(bodies.iter().all(|body| Arc::strong_count(body) == 1), "what is written is let go");

        // The socket has room now. If that were still of interest, it would be reported before the reply.
        pair.far.write_all(b"reply").unwrap();
        let mut buffer = [0; 10];
        while !matches!(pair.connection.read(&mut buffer), Ok(5)) {
            assert!(!pair.poll(), "room is reported although nothing is left over");
        }
    }

    #[test]
    fn a_transmit_without_a_byte_is_written_at_once() {
        let mut pair = Pair::new();
        for _ in 0..3 {
            pair.connection.push(Transmit { head: Vec::new(), bodies: vec![(0, Arc::default())] });
        }
        let (written, outcome) = pair.write();
        outcome.unwrap();
        assert_eq!(written, 3);
    }

    #[test]
    fn bytes_that_come_one_by_one_and_the_end_after_them_are_read() {
        let mut pair = Pair::new();
        assert!(!pair.connection.heard());
        let mut far = pair.far.try_clone().unwrap();
        far.set_nodelay(true).unwrap();
        let writer = thread::Builder::new().spawn(move || {
            for byte in 0..100 {
                far.write_all(&[byte]).unwrap();
            }
            far.shutdown(net::Shutdown::Write).unwrap();
        });
        let (got, outcome) = pair.read_to_end();
        outcome.unwrap();
        writer.unwrap().join().unwrap();
        assert_eq!(got, (0..100).collect::<Vec<u8>>());
        assert!(pair.connection.heard());
    }

    #[test]
    fn a_peer_that_went_away_is_an_error_and_what_it_said_before_is_not_lost() {
        let mut pair = Pair::new();
        pair.far.write_all(b"the last word").unwrap();
        pair.far.shutdown(net::Shutdown::Both).unwrap();
        let outcome = loop {
            pair.connection.push(Transmit { head: vec![0; 100_000], bodies: Vec::new() });
            match pair.write() {
                (_, Ok(())) if pair.connection.awaits_room => _ = pair.poll(),
                (_, Ok(())) => {}
                (_, Err(e)) => break e,
            }
        };
        assert!(matches!(outcome.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{outcome}");
        let (heard, _) = pair.read_to_end();
        assert_eq!(heard, b"the last word");
    }

    #[test]
    fn aborting_discards_what_the_kernel_still_holds() {
        let mut pair = Pair::new();
        pair.connection.push(Transmit { head: vec![0; 10_000_000], bodies: Vec::new() });
        pair.write().1.unwrap();
        pair.connection.abort();
        let error = io::copy(&mut pair.far, &mut io::sink()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}
