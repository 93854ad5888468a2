//! From a host's name to a connected socket: the look-up, one address after the other, and the time they may take.
//!
//! Knows nothing of what is spoken afterwards. Sockets never block here. A look-up does, for half a minute if it must:
//! it has a short-lived thread of its own, and its answer comes back through a channel.
//!
//! ```text
//!  dial --(a literal address)---------------------------.
//!    |                                                  v
//!    '--> ExpectAddresses --(answer)--> ExpectConnection --(ready)--> Connected
//!               |                        |           ^   |
//!      (error, time is over)   (error, its share     |   '--(no address left)--> Failed
//!               v               of the time is over) |
//!            Failed                      '--(next)---'
//! ```

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fmt, io, mem,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::Arc,
    thread,
    time::{Duration, Instant},
    vec,
};

use crossbeam_channel::{Receiver, Sender, unbounded};
use mio::{Interest, Registry, Waker, net::TcpStream};
use socket2::{SockRef, TcpKeepalive};

use super::token::token;
use crate::engine::ConnId;

/// Every connection that is being made.
///
/// After each `dial` and `handle_*`, drain [`poll_outcome`](Self::poll_outcome), then ask
/// [`poll_timeout`](Self::poll_timeout).
pub(super) struct Dialer {
    registry: Registry,
    options: SocketOptions,
    resolver: Resolver,
    dials: HashMap<ConnId, Dial>,
    outcomes: VecDeque<(ConnId, Outcome)>,
    /// The address of a host that took the last connection and never said a word on it. Tried last: a dead balancer
    /// behind a name must not hide the living one.
    mute: HashMap<(Arc<str>, u16), SocketAddr>,
}

/// What every socket is set to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SocketOptions {
    /// `send.buffer.bytes`; `None` leaves it to the system.
    pub(crate) send_buffer: Option<usize>,
    /// `receive.buffer.bytes`; `None` leaves it to the system.
    pub(crate) receive_buffer: Option<usize>,
}

/// How a dial ended.
pub(super) enum Outcome {
    /// The socket is registered under the connection's token.
    Connected(TcpStream, Peer),
    /// Names every address tried and what became of it, but not the host: who asked knows it.
    Failed(String),
}

/// Who is at the other end: the name that was asked for, and the address behind it that answered.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    host: Arc<str>,
    address: SocketAddr,
}

/// Asks for the addresses of a name; their port means nothing.
pub(super) type Lookup = fn(&str) -> io::Result<Vec<SocketAddr>>;

/// What the system says: its order of addresses is kept.
pub(super) fn system_lookup(host: &str) -> io::Result<Vec<SocketAddr>> {
    Ok((host, 0).to_socket_addrs()?.collect())
}

impl Dialer {
    pub(super) fn new(registry: Registry, waker: Arc<Waker>, options: SocketOptions, lookup: Lookup) -> Self {
        Self {
            registry,
            options,
            resolver: Resolver::new(waker, lookup),
            dials: HashMap::new(),
            outcomes: VecDeque::new(),
            mute: HashMap::new(),
        }
    }

    /// Begins to connect. The look-up and all addresses of the host share `timeout`.
    pub(super) fn dial(&mut self, now: Instant, conn: ConnId, host: Arc<str>, port: u16, timeout: Duration) {
        let literal = host.parse::<IpAddr>();
        let mut dial = Dial {
            host,
            port,
            timeout,
            deadline: now + timeout,
            untried: Vec::new().into_iter(),
            failures: Vec::new(),
            refused: false,
            state: State::ExpectAddresses,
        };
        if let Ok(ip) = literal {
            dial.untried = vec![SocketAddr::new(ip, port)].into_iter();
            self.connect_next(now, conn, dial);
        } else if let Err(e) = self.resolver.request(&dial.host) {
            dial.failures.push(format!("no thread for the look-up of its name: {e}"));
            self.fail(conn, dial);
        } else {
            self.dials.insert(conn, dial);
        }
    }

    /// Forgets a connection that is being made: no outcome will follow. Says whether there was one.
    pub(super) fn cancel(&mut self, conn: ConnId) -> bool {
        let outcomes = self.outcomes.len();
        self.outcomes.retain(|&(of, _)| of != conn);
        self.dials.remove(&conn).is_some() || self.outcomes.len() < outcomes
    }

    /// The poller reported something about the connection's socket.
    pub(super) fn handle_ready(&mut self, now: Instant, conn: ConnId) {
        let Some(mut dial) = self.dials.remove(&conn) else { return };
        let State::ExpectConnection(attempt) = mem::replace(&mut dial.state, State::ExpectAddresses) else {
            self.dials.insert(conn, dial);
            return;
        };
        match attempt.outcome() {
            None => {
                dial.state = State::ExpectConnection(attempt);
                self.dials.insert(conn, dial);
            }
            Some(Ok(())) => {
                let peer = Peer { host: dial.host, address: attempt.address };
                log::debug!("connected to {peer}");
                self.outcomes.push_back((conn, Outcome::Connected(attempt.stream, peer)));
            }
            Some(Err(e)) => {
                dial.blame_error(attempt.address, &e);
                self.connect_next(now, conn, dial);
            }
        }
    }

    /// Takes the answers of look-ups, and gives up what has used its time.
    ///
    /// Call it when [`poll_timeout`](Self::poll_timeout) has come and whenever the poller was woken.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        while let Some((host, answer)) = self.resolver.poll_answer() {
            for (conn, dial) in self.take_dials(|dial| dial.awaits_addresses_of(&host)) {
                self.handle_answer(now, conn, dial, &answer);
            }
        }
        for (conn, mut dial) in self.take_dials(|dial| dial.expires() <= now) {
            match &dial.state {
                State::ExpectAddresses => {
                    let limit = dial.limit();
                    dial.failures.push(format!("the look-up of its name took longer than {limit}"));
                }
                State::ExpectConnection(Attempt { address, share, .. }) => {
                    let why = format!("no answer within {share:.1?}, its share of {}", dial.limit());
                    dial.blame(*address, &why);
                }
            }
            self.connect_next(now, conn, dial);
        }
    }

    /// A connection made here has ended; `heard` says whether a byte was ever received on it.
    pub(super) fn handle_lost(&mut self, peer: &Peer, heard: bool) {
        let host = (Arc::clone(&peer.host), peer.address.port());
        if heard {
            self.mute.remove(&host);
        } else {
            self.mute.insert(host, peer.address);
        }
    }

    /// Whether [`poll_outcome`](Self::poll_outcome) has something: nothing else will report it.
    pub(super) fn has_outcome(&self) -> bool {
        !self.outcomes.is_empty()
    }

    pub(super) fn poll_outcome(&mut self) -> Option<(ConnId, Outcome)> {
        self.outcomes.pop_front()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.dials.values().map(Dial::expires).min()
    }

    fn take_dials(&mut self, which: impl Fn(&Dial) -> bool) -> Vec<(ConnId, Dial)> {
        self.dials.extract_if(|_, dial| which(dial)).collect()
    }

    fn handle_answer(
        &mut self,
        now: Instant,
        conn: ConnId,
        mut dial: Dial,
        answer: &io::Result<Vec<SocketAddr>>,
    ) {
        match answer {
            Err(e) => dial.failures.push(format!("its name cannot be resolved: {e}")),
            Ok(found) if found.is_empty() => dial.failures.push("its name has no address".into()),
            Ok(found) => {
                let mut addresses = found.clone();
                addresses.iter_mut().for_each(|address| address.set_port(dial.port));
                if let Some(mute) = self.mute.get(&(Arc::clone(&dial.host), dial.port)) {
                    addresses.sort_by_key(|address| address == mute);
                }
                dial.untried = addresses.into_iter();
            }
        }
        self.connect_next(now, conn, dial);
    }

    /// Goes on with the first address left that does not fail at once.
    fn connect_next(&mut self, now: Instant, conn: ConnId, mut dial: Dial) {
        while let Some(address) = dial.untried.next() {
            let contenders = u32::try_from(dial.untried.len() + 1).unwrap_or(u32::MAX);
            let share = dial.deadline.saturating_duration_since(now) / contenders;
            if share.is_zero() {
                let why = format!("not tried, {} were over", dial.limit());
                dial.blame(address, &why);
                continue;
            }
            match self.connect(conn, address) {
                Ok(stream) => {
                    dial.state =
                        State::ExpectConnection(Attempt { stream, address, share, until: now + share });
                    self.dials.insert(conn, dial);
                    return;
                }
                Err(e) => dial.blame_error(address, &e),
            }
        }
        self.fail(conn, dial);
    }

    fn connect(&self, conn: ConnId, address: SocketAddr) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(address)?;
        self.options.apply(&stream);
        self.registry.register(&mut stream, token(conn), Interest::WRITABLE)?;
        Ok(stream)
    }

    fn fail(&mut self, conn: ConnId, dial: Dial) {
        let question = if dial.refused { "; does a broker run there?" } else { "" };
        let text = format!("cannot connect: {}{question}", dial.failures.join("; "));
        log::debug!("{}:{}: {text}", dial.host, dial.port);
        self.outcomes.push_back((conn, Outcome::Failed(text)));
    }
}

impl SocketOptions {
    /// A setting that the system refuses costs speed, not correctness: it is worth a line in the log, not a connection.
    ///
    /// They are made after the connection was begun, which is early enough: an option that must precede it, the
    /// receive buffer's effect on the window scale, only matters to who receives more than a producer does.
    fn apply(&self, stream: &TcpStream) {
        let socket = SockRef::from(stream);
        let refused = |setting: &str, outcome: io::Result<()>| {
            if let Err(e) = outcome {
                log::warn!("the system refuses {setting} for a socket: {e}");
            }
        };
        refused("TCP_NODELAY", socket.set_tcp_nodelay(true));
        refused("SO_KEEPALIVE", socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_TIME)));
        if let Some(bytes) = self.send_buffer {
            refused(&format!("send.buffer.bytes={bytes}"), socket.set_send_buffer_size(bytes));
        }
        if let Some(bytes) = self.receive_buffer {
            refused(&format!("receive.buffer.bytes={bytes}"), socket.set_recv_buffer_size(bytes));
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.parse::<IpAddr>().is_ok() {
            return write!(f, "{}", self.address);
        }
        write!(f, "{}:{} ({})", self.host, self.address.port(), self.address)
    }
}

impl Peer {
    /// The name that was asked for.
    #[cfg(feature = "tls")]
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    #[cfg(test)]
    pub(super) fn literal(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string().into(), address }
    }
}

struct Dial {
    host: Arc<str>,
    port: u16,
    timeout: Duration,
    /// `timeout` after the dial began.
    deadline: Instant,
    /// Empty before the look-up was answered.
    untried: vec::IntoIter<SocketAddr>,
    /// What went wrong so far, in order.
    failures: Vec<String>,
    /// Whether a machine answered that nothing listens at the port.
    refused: bool,
    state: State,
}

enum State {
    ExpectAddresses,
    ExpectConnection(Attempt),
}

struct Attempt {
    stream: TcpStream,
    address: SocketAddr,
    /// What this address gets of the time that was left when its turn came.
    share: Duration,
    until: Instant,
}

impl Dial {
    /// Notes what went wrong with an address, and which one it was, unless the host is that address.
    fn blame(&mut self, address: SocketAddr, why: &dyn fmt::Display) {
        self.failures.push(match self.host.parse::<IpAddr>() {
            Ok(_) => why.to_string(),
            Err(_) => format!("{address}: {why}"),
        });
    }

    fn blame_error(&mut self, address: SocketAddr, error: &io::Error) {
        self.refused |= error.kind() == io::ErrorKind::ConnectionRefused;
        self.blame(address, error);
    }

    fn awaits_addresses_of(&self, host: &str) -> bool {
        matches!(self.state, State::ExpectAddresses) && *self.host == *host
    }

    fn expires(&self) -> Instant {
        match &self.state {
            State::ExpectAddresses => self.deadline,
            State::ExpectConnection(attempt) => attempt.until,
        }
    }

    fn limit(&self) -> String {
        format!("{:?} (socket.connection.setup.timeout.ms)", self.timeout)
    }
}

impl Attempt {
    /// `None`: not decided yet. A poller may report a socket for no reason.
    fn outcome(&self) -> Option<io::Result<()>> {
        match self.stream.take_error() {
            Ok(None) => {}
            Ok(Some(e)) | Err(e) => return Some(Err(e)),
        }
        let peer = self.stream.peer_addr().ok()?;
        // With nobody listening on a local port of the ephemeral range, the kernel may give that very port to the
        // socket that connects, which then finds itself: requests would come back as responses.
        if self.stream.local_addr().is_ok_and(|local| local == peer) {
            return Some(Err(io::Error::new(io::ErrorKind::ConnectionRefused, "nobody listens there")));
        }
        Some(Ok(()))
    }
}

/// Look-ups of names, each on a thread of its own; never two of one name at a time, so a name server that does not
/// answer holds one thread per host and not one per attempt.
struct Resolver {
    pending: HashSet<Arc<str>>,
    answers: Receiver<(Arc<str>, io::Result<Vec<SocketAddr>>)>,
    answer: Sender<(Arc<str>, io::Result<Vec<SocketAddr>>)>,
    waker: Arc<Waker>,
    lookup: Lookup,
}

impl Resolver {
    fn new(waker: Arc<Waker>, lookup: Lookup) -> Self {
        let (answer, answers) = unbounded();
        Self { pending: HashSet::new(), answers, answer, waker, lookup }
    }

    /// An answer will follow; the poller is woken for it.
    fn request(&mut self, host: &Arc<str>) -> io::Result<()> {
        if self.pending.contains(host) {
            return Ok(());
        }
        let (name, lookup) = (Arc::clone(host), self.lookup);
        let (answer, waker) = (self.answer.clone(), Arc::clone(&self.waker));
        thread::Builder::new().name("kafka-producer-resolver".into()).spawn(move || {
            let addresses = lookup(&name);
            // Nobody may be left to hear it: the producer can be closed while a name server keeps silent.
            if answer.send((name, addresses)).is_ok()
                && let Err(e) = waker.wake()
            {
                log::error!("the sender thread cannot be woken for a look-up's answer: {e}");
            }
        })?;
        self.pending.insert(Arc::clone(host));
        Ok(())
    }

    fn poll_answer(&mut self) -> Option<(Arc<str>, io::Result<Vec<SocketAddr>>)> {
        let (host, addresses) = self.answers.try_recv().ok()?;
        self.pending.remove(&host);
        Some((host, addresses))
    }
}

/// Below the four minutes after which the widespread load balancers and address translators forget a silent connection.
/// The system's two hours would come long after `connections.max.idle.ms`.
const KEEPALIVE_TIME: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::{
        net::Ipv4Addr,
        sync::{
            Condvar, Mutex,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use mio::{Events, Poll};
    use socket2::{Domain, Socket, Type};

    use super::{
        super::{read_clock, token::WAKER},
        *,
    };

    const LONG: Duration = Duration::from_secs(30);
    const CONN: ConnId = ConnId(3);

    /// A dialer, and time that stands still unless a test moves it.
    struct Rig {
        poll: Poll,
        dialer: Dialer,
        now: Instant,
    }

    impl Rig {
        fn new(lookup: Lookup) -> Self {
            let poll = Poll::new().unwrap();
            let waker = Arc::new(Waker::new(poll.registry(), WAKER).unwrap());
            let registry = poll.registry().try_clone().unwrap();
            let options = SocketOptions { send_buffer: Some(100_000), receive_buffer: Some(50_000) };
            Self { dialer: Dialer::new(registry, waker, options, lookup), poll, now: read_clock() }
        }

        fn dial(&mut self, conn: ConnId, host: &str, port: u16) {
            self.dialer.dial(self.now, conn, host.into(), port, Duration::from_secs(10));
        }

        /// Lets time pass up to when the dialer wants to be called.
        fn skip(&mut self) {
            self.now = self.dialer.poll_timeout().expect("something is being waited for");
            self.dialer.handle_timeout(self.now);
        }

        fn poll(&mut self) {
            let mut events = Events::with_capacity(8);
            self.poll.poll(&mut events, Some(LONG)).unwrap();
            assert!(!events.is_empty(), "nothing happened within {LONG:?}");
            for event in events.iter().filter(|event| event.token() != WAKER) {
                self.dialer.handle_ready(self.now, ConnId(event.token().0 as u64));
            }
            self.dialer.handle_timeout(self.now);
        }

        fn outcome(&mut self) -> (ConnId, Result<(TcpStream, Peer), String>) {
            loop {
                match self.dialer.poll_outcome() {
                    Some((conn, Outcome::Connected(stream, peer))) => return (conn, Ok((stream, peer))),
                    Some((conn, Outcome::Failed(text))) => return (conn, Err(text)),
                    None => self.poll(),
                }
            }
        }

        fn connected(&mut self) -> (TcpStream, Peer) {
            self.outcome().1.expect("the dial succeeds")
        }

        fn failure(&mut self) -> String {
            self.outcome().1.expect_err("the dial fails")
        }
    }

    fn listen(ip: impl Into<IpAddr>, port: u16, backlog: i32) -> io::Result<(Socket, u16)> {
        let address = SocketAddr::new(ip.into(), port);
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.bind(&address.into())?;
        socket.listen(backlog)?;
        let port = socket.local_addr()?.as_socket().expect("an internet socket").port();
        Ok((socket, port))
    }

    /// A port that somebody holds and nobody listens on.
    fn refusing() -> (Socket, u16) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let port = socket.local_addr().unwrap().as_socket().unwrap().port();
        (socket, port)
    }

    fn addresses(of: &[&str]) -> io::Result<Vec<SocketAddr>> {
        Ok(of.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect())
    }

    #[test]
    fn a_literal_address_is_not_looked_up() {
        let mut rig = Rig::new(|host| panic!("{host} was looked up"));
        let (_listener, port) = listen(Ipv4Addr::LOCALHOST, 0, 5).unwrap();
        rig.dial(CONN, "127.0.0.1", port);
        let (stream, peer) = rig.connected();
        assert_eq!(peer.to_string(), format!("127.0.0.1:{port}"));
        let socket = SockRef::from(&stream);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert!(socket.send_buffer_size().unwrap() >= 100_000);
        assert_eq!(rig.dialer.poll_timeout(), None);
    }

    #[test]
    fn a_name_whose_first_address_refuses_is_reached_by_its_second() {
        let mut rig = Rig::new(|_| addresses(&["::1", "127.0.0.1"]));
        let (_listener, port) = listen(Ipv4Addr::LOCALHOST, 0, 5).unwrap();
        rig.dial(CONN, "broker", port);
        let (_, peer) = rig.connected();
        assert_eq!(peer.to_string(), format!("broker:{port} (127.0.0.1:{port})"));
    }

    #[test]
    fn localhost_reaches_a_broker_that_listens_on_one_family_only() {
        for ip in ["127.0.0.1", "::1"] {
            // Not every machine has both families.
            let Ok((_listener, port)) = listen(ip.parse::<IpAddr>().unwrap(), 0, 5) else { continue };
            let Ok(known) = system_lookup("localhost") else { continue };
            if !known.iter().any(|address| address.ip().to_string() == ip) {
                continue;
            }
            let mut rig = Rig::new(system_lookup);
            rig.dial(CONN, "localhost", port);
            assert_eq!(rig.connected().1.address, SocketAddr::new(ip.parse().unwrap(), port));
        }
    }

    #[test]
    fn a_failure_names_every_address_and_its_reason() {
        let mut rig = Rig::new(|_| addresses(&["127.0.0.1", "255.255.255.255"]));
        let (_holder, port) = refusing();
        rig.dial(CONN, "broker", port);
        let text = rig.failure();
        for part in [
            format!("cannot connect: 127.0.0.1:{port}: "),
            "refused".into(),
            format!("; 255.255.255.255:{port}: "),
        ] {
            assert!(text.contains(&part), "{part:?} is missing: {text}");
        }
        rig.dial(ConnId(4), "127.0.0.1", port);
        let text = rig.failure();
        assert!(text.starts_with("cannot connect: ") && !text.contains("127.0.0.1"), "{text}");
        assert!(text.ends_with("; does a broker run there?"), "{text}");
    }

    #[test]
    fn a_name_without_an_address_fails_with_the_resolvers_words() {
        let mut rig = Rig::new(|_| Err(io::Error::other("no such host")));
        rig.dial(CONN, "nowhere", 9092);
        assert_eq!(rig.failure(), "cannot connect: its name cannot be resolved: no such host");
        let mut rig = Rig::new(|_| Ok(Vec::new()));
        rig.dial(CONN, "nowhere", 9092);
        assert_eq!(rig.failure(), "cannot connect: its name has no address");
    }

    /// A port whose listener is full: what knocks gets no answer.
    fn silent() -> (impl Sized, u16) {
        let (listener, port) = listen(Ipv4Addr::LOCALHOST, 0, 0).unwrap();
        let knocking: Vec<_> = (0..4)
            .map(|_| {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
                socket.set_nonblocking(true).unwrap();
                let _ = socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into());
                socket
            })
            .collect();
        ((listener, knocking), port)
    }

    #[test]
    fn an_address_that_keeps_silent_gets_its_share_of_the_time_and_no_more() {
        let mut rig = Rig::new(|_| addresses(&["127.0.0.1", "::1", "127.0.0.1"]));
        let (_silent, port) = silent();
        rig.dial(CONN, "broker", port);
        let start = rig.now;
        while rig.dialer.poll_timeout() == Some(start + Duration::from_secs(10)) {
            rig.poll();
        }
        let mut turns = 0;
        while !rig.dialer.has_outcome() && turns < 4 {
            rig.skip();
            turns += 1;
        }
        assert!(rig.now <= start + Duration::from_secs(10), "the limit is for all addresses together");
        let text = rig.failure();
        let share = "no answer within 3.3s, its share of 10s (socket.connection.setup.timeout.ms)";
        assert!(text.contains(&format!("127.0.0.1:{port}: {share}")), "{text}");
        assert_eq!(text.matches("127.0.0.1:").count(), 2, "{text}");
        assert_eq!(text.matches("[::1]:").count(), 1, "{text}");
    }

    #[test]
    fn a_resolver_that_keeps_silent_costs_the_limit_and_one_thread() {
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        static GATE: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());
        let mut rig = Rig::new(|_| {
            CALLS.fetch_add(1, Ordering::SeqCst);
            let open = GATE.1.wait_timeout_while(GATE.0.lock().unwrap(), LONG, |open| !*open).unwrap();
            assert!(*open.0, "the test never let the look-up end");
            addresses(&["127.0.0.1"])
        });
        let (_listener, port) = listen(Ipv4Addr::LOCALHOST, 0, 5).unwrap();
        rig.dial(CONN, "broker", port);
        rig.skip();
        let text = rig.failure();
        let reason = "the look-up of its name took longer than 10s (socket.connection.setup.timeout.ms)";
        assert_eq!(text, format!("cannot connect: {reason}"));

        rig.dial(ConnId(4), "broker", port);
        rig.dial(ConnId(5), "broker", port);
        *GATE.0.lock().unwrap() = true;
        GATE.1.notify_all();
        let mut connected = [rig.outcome(), rig.outcome()].map(|(conn, outcome)| (conn.0, outcome.is_ok()));
        connected.sort_unstable();
        assert_eq!(connected, [(4, true), (5, true)]);
        assert_eq!(CALLS.load(Ordering::SeqCst), 1, "three dials of one name, one look-up");
    }

    #[test]
    fn a_cancelled_dial_has_no_outcome() {
        let mut rig = Rig::new(|_| addresses(&["127.0.0.1"]));
        let (_silent, silent) = silent();
        let (_holder, refused) = refusing();
        let (_listener, port) = listen(Ipv4Addr::LOCALHOST, 0, 5).unwrap();
        // One in its look-up, one in its connect, and one whose outcome nobody has asked for.
        rig.dial(ConnId(0), "broker", port);
        assert!(rig.dialer.cancel(ConnId(0)));
        rig.dial(ConnId(1), "127.0.0.1", silent);
        assert!(rig.dialer.cancel(ConnId(1)));
        rig.dial(ConnId(2), "127.0.0.1", refused);
        while !rig.dialer.has_outcome() {
            rig.poll();
        }
        assert!(rig.dialer.cancel(ConnId(2)));
        assert!(!rig.dialer.cancel(ConnId(2)));
        assert_eq!(rig.dialer.poll_timeout(), None);
        rig.dial(CONN, "broker", port);
        assert_eq!(rig.outcome().0, CONN, "the only one that was not cancelled");
        assert!(!rig.dialer.has_outcome());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_address_that_never_said_a_word_is_tried_last() {
        let mut rig = Rig::new(|_| addresses(&["127.0.0.1", "127.0.0.2"]));
        let (_mute, port) = listen([127, 0, 0, 1], 0, 5).unwrap();
        let Ok(_talking) = listen([127, 0, 0, 2], port, 5) else { return };
        let reached = |rig: &mut Rig| {
            rig.dial(CONN, "broker", port);
            rig.connected().1
        };
        let peer = reached(&mut rig);
        assert_eq!(peer.address.ip(), Ipv4Addr::new(127, 0, 0, 1));
        rig.dialer.handle_lost(&peer, false);
        let peer = reached(&mut rig);
        assert_eq!(peer.address.ip(), Ipv4Addr::new(127, 0, 0, 2));
        rig.dialer.handle_lost(&peer, true);
        let peer = reached(&mut rig);
        assert_eq!(
            peer.address.ip(),
            Ipv4Addr::new(127, 0, 0, 1),
            "the resolver's order, once one has answered"
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_socket_connected_to_itself_is_not_a_broker() {
        let (socket, port) = refusing();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        socket.connect(&address.into()).unwrap();
        socket.set_nonblocking(true).unwrap();
        let stream = TcpStream::from_std(socket.into());
        let attempt = Attempt { stream, address, share: LONG, until: read_clock() + LONG };
        let error = attempt.outcome().expect("it is decided").expect_err("and refused");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
