//! Tokens from their issuer over HTTP: the grant `client_credentials` of OAuth 2.0 (RFC 6749, KIP-768).
//!
//! One request, and so no more of HTTP/1.1 than it needs: no redirects, which would carry a secret elsewhere, and no
//! connection that is kept. Nothing that an issuer says is shown but its status and the names of errors that the RFC has:
//! it may say what it was sent. Waits, and belongs on a thread of its own.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};
use zeroize::Zeroizing;

use super::{secret::Secret, trouble::Trouble};
use crate::base64;

/// Where an issuer gives out tokens.
#[derive(Debug)]
pub(crate) struct Endpoint {
    is_https: bool,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
    /// For the header `Host`.
    authority: String,
    /// And the query, if there is one.
    path: String,
}

impl Endpoint {
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let (is_https, rest) = scheme(url).ok_or("must begin with https://, http:// or file:")?;
        if !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("must have printable ASCII characters alone, and others as %XX".to_owned());
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err("must not hold a user or a password".to_owned());
        }
        let (host, port) = match authority.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
            Some((host, port)) => (host, port),
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => Some(if is_https { 443 } else { 80 }),
            None => None,
            Some(port) => port.parse().ok().filter(|port| *port != 0),
        };
        let (false, Some(port)) = (host.is_empty(), port) else {
            return Err("must name a host, and a port from 1 to 65535 if there is one".to_owned());
        };
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { is_https, host: host.to_owned(), port, authority: authority.to_owned(), path })
    }

    pub(crate) fn is_https(&self) -> bool {
        self.is_https
    }
}

fn scheme(url: &str) -> Option<(bool, &str)> {
    [(true, "https://"), (false, "http://")].into_iter().find_map(|(is_https, scheme)| {
        let begin = url.get(..scheme.len())?;
        begin.eq_ignore_ascii_case(scheme).then(|| (is_https, &url[scheme.len()..]))
    })
}

/// Who asks for a token.
pub(crate) struct Client<'a> {
    pub(crate) id: &'a str,
    pub(crate) secret: &'a str,
    pub(crate) scope: Option<&'a str>,
    /// `sasl.oauthbearer.header.urlencode`
    pub(crate) is_url_encoded: bool,
}

impl Client<'_> {
    fn request(&self, to: &Endpoint) -> Zeroizing<Vec<u8>> {
        let encode = |text: &str| {
            let text = text.trim();
            Zeroizing::new(if self.is_url_encoded { url_encoded(text) } else { text.to_owned() })
        };
        let (id, secret) = (encode(self.id), encode(self.secret));
        let pair = Zeroizing::new([id.as_bytes(), b":", secret.as_bytes()].concat());
        let proof = Zeroizing::new(base64::encode(&pair));
        let scope = self.scope.map(|scope| format!("&scope={}", *encode(scope))).unwrap_or_default();
        let form = format!("grant_type=client_credentials{scope}");
        let Endpoint { authority, path, .. } = to;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {authority}\r\nAccept: application/json\r\nCache-Control: no-cache\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\nConnection: close\r\n\
             Authorization: Basic ",
            form.len()
        );
        Zeroizing::new([head.as_bytes(), proof.as_bytes(), b"\r\n\r\n", form.as_bytes()].concat())
    }
}

/// As HTML forms have it.
fn url_encoded(text: &str) -> String {
    // Three at the most for each byte, reserved once: what grows leaves copies behind.
    let mut encoded = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' => encoded.push(byte.into()),
            b' ' => encoded.push('+'),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// `sasl.login.connect.timeout.ms`
    pub(crate) connect: Duration,
    /// `sasl.login.read.timeout.ms`
    pub(crate) answer: Duration,
    /// `sasl.login.retry.backoff.ms`, doubled each time.
    pub(crate) backoff: Duration,
    /// `sasl.login.retry.backoff.max.ms`, for all waits together.
    pub(crate) budget: Duration,
}

/// One that is asked for tokens, and the last one that it gave.
pub(crate) struct Issuer {
    endpoint: Endpoint,
    request: Zeroizing<Vec<u8>>,
    /// For https.
    tls: Option<Arc<ClientConfig>>,
    patience: Patience,
    /// How often it was asked, however that ended.
    fetched: AtomicU64,
    last: Mutex<Option<Fetched>>,
}

#[derive(Clone)]
struct Fetched {
    outcome: Result<Secret, Trouble>,
    good_until: Option<Instant>,
}

impl Issuer {
    pub(crate) fn new(
        endpoint: Endpoint,
        client: &Client<'_>,
        tls: Option<Arc<ClientConfig>>,
        patience: Patience,
    ) -> Self {
        let request = client.request(&endpoint);
        Self { endpoint, request, tls, patience, fetched: AtomicU64::new(0), last: Mutex::new(None) }
    }

    /// A token that is good for a while. Connections that ask at the same time share what one of them is told.
    pub(super) fn token(&self) -> Result<Secret, Trouble> {
        let fetched = self.fetched.load(Ordering::Acquire);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let was_told_meanwhile = self.fetched.load(Ordering::Acquire) != fetched;
        if let Some(Fetched { outcome, good_until }) = &*last
            && (was_told_meanwhile || good_until.is_some_and(|until| now() < until))
        {
            return outcome.clone();
        }
        let found = self.fetch();
        self.fetched.fetch_add(1, Ordering::Release);
        let outcome = found.outcome.clone();
        *last = Some(found);
        outcome
    }

    /// A broker did not take it, so the next one is to be a new one.
    pub(super) fn forget(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Again and again while the cause may pass. Told is the first failure, as in Java: later ones may be its consequence.
    fn fetch(&self) -> Fetched {
        let (end, mut wait, mut first) = (now() + self.patience.budget, self.patience.backoff, None);
        loop {
            let began = now();
            let why = match self.ask() {
                Ok((token, lifetime)) => {
                    let good_until = lifetime.and_then(|lifetime| began.checked_add(lifetime.mul_f64(USED)));
                    return Fetched { outcome: Ok(token), good_until };
                }
                Err(Trouble::Passing(why)) => why,
                Err(lasting) => return Fetched { outcome: Err(lasting), good_until: None },
            };
            log::debug!("{why}");
            let first = first.get_or_insert(why);
            let pause = wait.min(end.saturating_duration_since(now()));
            if pause.is_zero() {
                return Fetched { outcome: Err(Trouble::Passing(first.clone())), good_until: None };
            }
            sleep(pause);
            wait = wait.saturating_mul(2);
        }
    }

    /// The token, and for how long it is good if that was said.
    fn ask(&self) -> Result<(Secret, Option<Duration>), Trouble> {
        let whose = format!("the issuer of tokens {}:{} ({URL})", self.endpoint.host, self.endpoint.port);
        let (status, body) =
            self.exchange().map_err(|e| Trouble::Passing(format!("{whose} gives none: {e}")))?;
        match status {
            200 | 201 => token_in(&body).ok_or_else(|| {
                Trouble::Passing(format!("{whose} gives none: its answer has no access_token"))
            }),
            300..=399 => Err(Trouble::Lasting(format!(
                "{whose} sends us elsewhere with the status {status}, where no secret is sent: set the final URL"
            ))),
            // Those that Java does not try again.
            400..=407 | 409..=415 | 501 | 505 => Err(Trouble::Lasting(format!(
                "{whose} refuses us with the status {status}{}: see {ID}, {SECRET} and {SCOPE}",
                reason_in(&body).map(|reason| format!(", {reason}")).unwrap_or_default()
            ))),
            _ => Err(Trouble::Passing(format!("{whose} gives none: it answers with the status {status}"))),
        }
    }

    fn exchange(&self) -> io::Result<Answer> {
        let socket = self.connect()?;
        socket.set_nodelay(true)?;
        let socket = Timed { socket, until: now() + self.patience.answer };
        match &self.tls {
            None => self.converse(socket),
            Some(config) => {
                let name = ServerName::try_from(self.endpoint.host.clone()).map_err(io::Error::other)?;
                let session = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
                self.converse(StreamOwned::new(session, socket))
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "an issuer is no broker; this runs on a thread of its own")]
    fn connect(&self) -> io::Result<TcpStream> {
        let until = now() + self.patience.connect;
        let mut failure = io::Error::new(ErrorKind::NotFound, "its host has no address");
        for address in (&*self.endpoint.host, self.endpoint.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, left(until)?) {
                Ok(socket) => return Ok(socket),
                Err(e) => failure = e,
            }
        }
        Err(failure)
    }

    fn converse(&self, mut stream: impl Read + Write) -> io::Result<Answer> {
        stream.write_all(&self.request)?;
        stream.flush()?;
        // Reserved once: what grows leaves copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MOST));
        // Large, since what has come is looked through again with each.
        let mut piece = Zeroizing::new(vec![0; MOST_HEAD]);
        loop {
            let count = match stream.read(&mut piece) {
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                count => count?,
            };
            if bytes.len() + count > MOST {
                return Err(invalid("its answer is larger than 1 MiB"));
            }
            bytes.extend_from_slice(&piece[..count]);
            if let Some(answer) = read_answer(&bytes, count == 0).map_err(invalid)? {
                return Ok(answer);
            }
        }
    }
}

/// A status and a body.
type Answer = (u16, Zeroizing<Vec<u8>>);

/// A socket that waits for others until a moment, and no longer.
struct Timed {
    socket: TcpStream,
    until: Instant,
}

impl Timed {
    /// What the system says when the time is over is different on each.
    fn in_time<T>(outcome: io::Result<T>) -> io::Result<T> {
        outcome.map_err(|e| match e.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => too_late(),
            _ => e,
        })
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(left(self.until)?))?;
        Self::in_time(self.socket.read(buffer))
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(left(self.until)?))?;
        Self::in_time(self.socket.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

fn left(until: Instant) -> io::Result<Duration> {
    Some(until.saturating_duration_since(now())).filter(|left| !left.is_zero()).ok_or_else(too_late)
}

fn too_late() -> io::Error {
    let text = "it takes longer than sasl.login.connect.timeout.ms or sasl.login.read.timeout.ms";
    io::Error::new(ErrorKind::TimedOut, text)
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, text)
}

#[expect(
    clippy::disallowed_methods,
    reason = "this runs on a thread of its own, and waits for somebody else"
)]
fn now() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "this runs on a thread of its own, and waits for somebody else"
)]
fn sleep(pause: Duration) {
    thread::sleep(pause);
}

/// The answer, once all of it is there. `ended`: nothing will follow.
fn read_answer(bytes: &[u8], ended: bool) -> Result<Option<Answer>, &'static str> {
    const BEGIN: &[u8] = b"HTTP/1.";
    if bytes.iter().zip(BEGIN).any(|(found, wanted)| found != wanted) {
        return Err("what it answers is not HTTP/1.1");
    }
    let cut = if ended { Err("it closes the connection in the middle of an answer") } else { Ok(None) };
    let Some(end) = position(&bytes[..bytes.len().min(MOST_HEAD)], b"\r\n\r\n") else {
        return if bytes.len() < MOST_HEAD { cut } else { Err("its headers are larger than 64 KiB") };
    };
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let status = status.filter(|status| (100..600).contains(status)).ok_or("its answer has no status")?;
    let (mut is_chunked, mut length) = (false, None);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("transfer-encoding") {
            is_chunked = value.eq_ignore_ascii_case("chunked");
            if !is_chunked {
                return Err("it encodes its answer in a way that nobody asked for");
            }
        } else if name.eq_ignore_ascii_case("content-length") {
            let value = value.parse::<usize>().map_err(|_| "the length of its answer is no number")?;
            if value > MOST {
                return Err("its answer is larger than 1 MiB");
            }
            length = Some(value);
        }
    }
    let rest = &bytes[end + 4..];
    let body = match length {
        _ if is_chunked => joined(rest)?,
        Some(length) => rest.get(..length).map(|body| Zeroizing::new(body.to_vec())),
        None => ended.then(|| Zeroizing::new(rest.to_vec())),
    };
    body.map_or(cut, |body| Ok(Some((status, body))))
}

/// What comes in chunks, once the last one is there.
fn joined(mut rest: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, &'static str> {
    let mut body = Zeroizing::new(Vec::with_capacity(rest.len()));
    while let Some(end) = position(rest, b"\r\n") {
        let size = str::from_utf8(&rest[..end]).ok().and_then(|line| line.split(';').next());
        let size = size.and_then(|size| usize::from_str_radix(size.trim(), 16).ok());
        let size = size.filter(|size| *size <= MOST).ok_or("the size of a piece of its answer cannot be")?;
        if size == 0 {
            return Ok(Some(body));
        }
        let begin = end + 2;
        let Some(piece) = rest.get(begin..begin + size) else { break };
        body.extend_from_slice(piece);
        match rest.get(begin + size..begin + size + 2) {
            None => break,
            Some(b"\r\n") => rest = &rest[begin + size + 2..],
            Some(_) => return Err("a piece of its answer does not end where it should"),
        }
    }
    Ok(None)
}

fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn token_in(body: &[u8]) -> Option<(Secret, Option<Duration>)> {
    let mut answer: serde_json::Value = serde_json::from_slice(body).ok()?;
    let lifetime = answer.get("expires_in").and_then(serde_json::Value::as_u64).map(Duration::from_secs);
    let token =
        ["access_token", "id_token"].into_iter().find_map(|name| match answer.get_mut(name)?.take() {
            serde_json::Value::String(token) => Some(Zeroizing::new(token)),
            _ => None,
        })?;
    let token = token.trim();
    (!token.is_empty()).then(|| (Secret::new(token), lifetime))
}

/// Why a token is refused, if it is one of the reasons in RFC 6749, 5.2.
fn reason_in(body: &[u8]) -> Option<&'static str> {
    const KNOWN: [&str; 6] = [
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    ];
    let answer: serde_json::Value = serde_json::from_slice(body).ok()?;
    let reason = answer.get("error")?.as_str()?;
    KNOWN.into_iter().find(|known| *known == reason)
}

/// Bytes of an answer, with its headers.
const MOST: usize = 1 << 20;

/// Bytes of its headers.
const MOST_HEAD: usize = 1 << 16;

/// The part of a token's life in which it is shown to brokers, which is Java's default for
/// `sasl.login.refresh.window.factor`.
const USED: f64 = 0.8;

const URL: &str = "sasl.oauthbearer.token.endpoint.url";
const ID: &str = "sasl.oauthbearer.client.credentials.client.id";
const SECRET: &str = "sasl.oauthbearer.client.credentials.client.secret";
const SCOPE: &str = "sasl.oauthbearer.scope";

#[cfg(test)]
mod tests;
