//! Brokers and the connections to them.
//!
//! ```text
//!         dial             connected           versions are known, and who we are
//!  Down ------> Dialing ------------> Opening -----------------------------------> Ready
//!   ^              |                     |                                           |
//!   +--------------+---- failed: back off +------------------------------------------+
//! ```
//!
//! What a request is for is a stranger here: it is a value of type `P`, kept while the request is in flight and handed
//! back in order.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

#[cfg(feature = "sasl")]
use crate::sasl::Waiting;
use crate::wire::{
    api::ApiKey, api_versions::ApiVersionsResponse, frame::FrameReader, metadata::Broker as BrokerAnswer,
};

/// One dial and the connection it leads to; never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConnId(pub(crate) u64);

pub(super) struct Brokers<P> {
    pub(super) nodes: BTreeMap<i32, Broker<P>>,
    by_conn: HashMap<ConnId, i32>,
    next_conn: u64,
    /// What the cluster has agreed on, with the epoch of the agreement.
    features: Option<(i64, Protocol)>,
    /// Whether any broker ever answered anything but what it can do and who we are.
    ever_answered: bool,
}

/// How transactions are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    First,
    /// `transaction.version` 2 (KIP-890).
    Second,
}

pub(super) struct Broker<P> {
    pub(super) host: Arc<str>,
    pub(super) port: u16,
    pub(super) rack: Option<String>,
    /// `host:port (node n)`, for errors and logs.
    pub(super) label: Arc<str>,
    pub(super) link: Link<P>,
    /// Failures in a row, for the reconnect backoff; a connection that became ready ends the row.
    failures: u32,
    setup_failures: u32,
    pub(super) retry_at: Option<Instant>,
    last_attempt: Option<Instant>,
    /// When it was last said aloud that it cannot be reached.
    reported: Option<Instant>,
    pub(super) throttled_until: Option<Instant>,
    /// The newest version of ApiVersions that it understands, as far as is known.
    pub(super) greets_in: i16,
    /// Why it does not let us in, until it does.
    pub(super) refusal: Option<Arc<str>>,
    /// How often in a row it closed a connection on which it had not answered what was asked for.
    silent_ends: u32,
    /// In the newest metadata, or a bootstrap address while those count.
    pub(super) listed: bool,
}

pub(super) enum Link<P> {
    Down,
    /// Dialing, the first answer and the proof of who we are share one time limit.
    Dialing {
        conn: ConnId,
        deadline: Instant,
    },
    Opening {
        session: Session<P>,
        deadline: Instant,
    },
    Ready(Session<P>),
}

pub(super) struct Session<P> {
    pub(super) conn: ConnId,
    pub(super) frames: FrameReader,
    pub(super) in_flight: VecDeque<InFlight<P>>,
    /// One entry for each request handed to the transport and not yet written; what expects no answer waits here.
    pub(super) unwritten: VecDeque<Unwritten<P>>,
    next_correlation: i32,
    pub(super) versions: Versions,
    last_used: Instant,
    #[cfg(feature = "sasl")]
    pub(super) proof: Proof,
}

/// That we are who we say we are.
#[cfg(feature = "sasl")]
pub(super) enum Proof {
    /// Nobody has asked for one yet.
    Absent,
    /// Nothing else is sent meanwhile.
    Underway {
        deadline: Instant,
        /// What goes on when the broker has answered.
        waiting: Option<Waiting>,
        /// What the broker's last answer said about how long it will be good for; zero for ever.
        lifetime: Duration,
    },
    /// After this time it must be given again before anything is sent.
    Given { until: Option<Instant> },
}

pub(super) struct InFlight<P> {
    pub(super) correlation: i32,
    pub(super) api: ApiKey,
    pub(super) version: i16,
    pub(super) sent: Instant,
    pub(super) deadline: Instant,
    pub(super) purpose: P,
}

/// A request that the transport has and that is not yet written.
pub(super) struct Unwritten<P> {
    deadline: Instant,
    pub(super) purpose: Option<P>,
}

/// What a broker offers of each API we use.
#[derive(Clone, Debug, Default)]
pub(super) struct Versions {
    offered: Vec<(i16, i16, i16)>,
}

impl Versions {
    pub(super) fn new(answer: &ApiVersionsResponse) -> Self {
        // A list can be long, and is looked through for every request.
        let ours = |key| ApiKey::ALL.iter().any(|api| api.key() == key);
        Self { offered: answer.api_keys.iter().filter(|(key, ..)| ours(*key)).copied().collect() }
    }

    /// Whether a broker has this version of an API.
    #[cfg(feature = "sasl")]
    pub(super) fn offers(&self, api: ApiKey, version: i16) -> bool {
        self.offered.iter().any(|&(key, min, max)| key == api.key() && (min..=max).contains(&version))
    }

    /// The newest version both sides know, or why there is none.
    pub(super) fn usable(&self, api: ApiKey, at_most: i16) -> Result<i16, String> {
        let ours = (api.min_version(), api.max_version().min(at_most));
        let Some(&(_, min, max)) = self.offered.iter().find(|(key, ..)| *key == api.key()) else {
            return Err(format!("it does not offer {} at all", api.name()));
        };
        let version = max.min(ours.1);
        if version >= min && version >= ours.0 {
            return Ok(version);
        }
        Err(format!(
            "it offers {} in versions {min} to {max}, and {} to {} are needed",
            api.name(),
            ours.0,
            ours.1
        ))
    }
}

impl<P> Session<P> {
    fn new(conn: ConnId, now: Instant) -> Self {
        Self {
            conn,
            frames: FrameReader::new(),
            in_flight: VecDeque::new(),
            unwritten: VecDeque::new(),
            next_correlation: 0,
            versions: Versions::default(),
            last_used: now,
            #[cfg(feature = "sasl")]
            proof: Proof::Absent,
        }
    }

    /// Whether the broker takes anything but a proof of who we are.
    #[cfg(feature = "sasl")]
    pub(super) fn may_send(&self, now: Instant) -> bool {
        match self.proof {
            Proof::Absent => true,
            Proof::Underway { .. } => false,
            Proof::Given { until } => until.is_none_or(|until| until > now),
        }
    }

    #[cfg(not(feature = "sasl"))]
    fn may_send(&self, _: Instant) -> bool {
        true
    }

    /// By when the broker must be convinced.
    fn proof_deadline(&self) -> Option<Instant> {
        #[cfg(feature = "sasl")]
        if let Proof::Underway { deadline, .. } = self.proof {
            return Some(deadline);
        }
        None
    }

    pub(super) fn usable(&self, api: ApiKey, at_most: i16) -> Result<i16, String> {
        self.versions.usable(api, at_most)
    }

    pub(super) fn next_correlation(&mut self) -> i32 {
        let correlation = self.next_correlation;
        // The last eight numbers are kept for authentication, as every Kafka client does.
        self.next_correlation = if correlation >= i32::MAX - 8 { 0 } else { correlation + 1 };
        correlation
    }

    /// Notes a request that goes to the transport and expects an answer.
    pub(super) fn sent(&mut self, now: Instant, request: InFlight<P>) {
        self.last_used = now;
        self.unwritten.push_back(Unwritten { deadline: request.deadline, purpose: None });
        self.in_flight.push_back(request);
    }

    /// Notes a request that is done when it is written.
    pub(super) fn sent_without_answer(&mut self, now: Instant, deadline: Instant, purpose: P) {
        self.last_used = now;
        self.unwritten.push_back(Unwritten { deadline, purpose: Some(purpose) });
    }

    fn overdue(&self, now: Instant, max_idle: Option<Duration>) -> Option<Overdue> {
        if self.proof_deadline().is_some_and(|deadline| deadline <= now) {
            return Some(Overdue::Setup);
        }
        if let Some(oldest) = self.in_flight.front().filter(|r| r.deadline <= now) {
            return Some(Overdue::Request(oldest.api, now.saturating_duration_since(oldest.sent)));
        }
        if self.unwritten.front().is_some_and(|w| w.deadline <= now) {
            return Some(Overdue::Write);
        }
        let idle = self.in_flight.is_empty() && self.unwritten.is_empty();
        max_idle.filter(|max| idle && self.last_used + *max <= now).map(|_| Overdue::Idle)
    }

    fn next_deadline(&self, max_idle: Option<Duration>) -> Option<Instant> {
        let answer = self.in_flight.front().map(|r| r.deadline);
        let write = self.unwritten.front().map(|w| w.deadline);
        match (answer, write, self.proof_deadline()) {
            (None, None, None) => max_idle.map(|idle| self.last_used + idle),
            (answer, write, proof) => answer.into_iter().chain(write).chain(proof).min(),
        }
    }
}

impl<P> Broker<P> {
    fn new(host: Arc<str>, port: u16, node: i32, rack: Option<String>) -> Self {
        // As in bootstrap.servers: an IPv6 address has brackets.
        let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let label = if node < 0 {
            format!("{address} (bootstrap.servers)").into()
        } else {
            format!("{address} (node {node})").into()
        };
        Self {
            host,
            port,
            rack,
            label,
            link: Link::Down,
            failures: 0,
            setup_failures: 0,
            retry_at: None,
            last_attempt: None,
            reported: None,
            throttled_until: None,
            greets_in: ApiKey::ApiVersions.max_version(),
            refusal: None,
            silent_ends: 0,
            listed: true,
        }
    }

    pub(super) fn session(&mut self) -> Option<&mut Session<P>> {
        match &mut self.link {
            Link::Ready(session) | Link::Opening { session, .. } => Some(session),
            _ => None,
        }
    }

    pub(super) fn peek(&self) -> Option<&Session<P>> {
        match &self.link {
            Link::Ready(session) | Link::Opening { session, .. } => Some(session),
            _ => None,
        }
    }

    pub(super) fn conn(&self) -> Option<ConnId> {
        match &self.link {
            Link::Down => None,
            Link::Dialing { conn, .. } => Some(*conn),
            Link::Opening { session, .. } | Link::Ready(session) => Some(session.conn),
        }
    }

    pub(super) fn is_throttled(&self, now: Instant) -> bool {
        self.throttled_until.is_some_and(|until| until > now)
    }

    /// Ready, not throttled, and with room for another request.
    pub(super) fn can_take(&mut self, now: Instant, max_in_flight: usize) -> Option<&mut Session<P>> {
        if self.is_throttled(now) {
            return None;
        }
        match &mut self.link {
            Link::Ready(session)
                if session.may_send(now)
                    && session.in_flight.len() + waiting_writes(session) < max_in_flight =>
            {
                Some(session)
            }
            _ => None,
        }
    }

    pub(super) fn may_dial(&self, now: Instant) -> bool {
        matches!(self.link, Link::Down) && self.retry_at.is_none_or(|at| at <= now)
    }

    /// The broker asked for a pause (KIP-219). What is in flight gets that much longer to be answered.
    pub(super) fn throttle(&mut self, now: Instant, pause: Duration) {
        let until = now + pause;
        if self.throttled_until.is_none_or(|t| t < until) {
            self.throttled_until = Some(until);
        }
        if let Some(session) = self.session() {
            for request in &mut session.in_flight {
                request.deadline += pause;
            }
        }
    }
}

/// Requests without an answer are in flight until they are written.
fn waiting_writes<P>(session: &Session<P>) -> usize {
    session.unwritten.iter().filter(|w| w.purpose.is_some()).count()
}

impl<P> Brokers<P> {
    pub(super) fn new(bootstrap: &[(String, u16)]) -> Self {
        let mut brokers = Self {
            nodes: BTreeMap::new(),
            by_conn: HashMap::new(),
            next_conn: 0,
            features: None,
            ever_answered: false,
        };
        for (i, (host, port)) in bootstrap.iter().enumerate() {
            let node = -1 - i as i32;
            brokers.nodes.insert(node, Broker::new(host.as_str().into(), *port, node, None));
        }
        brokers
    }

    /// What a broker says that the cluster has agreed on: whoever has heard of the latest agreement is right.
    pub(super) fn note_features(&mut self, answer: &ApiVersionsResponse) {
        let epoch = answer.finalized_features_epoch;
        if epoch >= 0 && self.features.is_none_or(|(known, _)| known < epoch) {
            let level = answer.finalized_features.iter().find(|(name, ..)| name == TRANSACTION_VERSION);
            let second = level.is_some_and(|(_, level, _)| *level >= 2);
            self.features = Some((epoch, if second { Protocol::Second } else { Protocol::First }));
        }
    }

    /// Whether the cluster has agreed on the second protocol of transactions.
    pub(super) fn have_second_protocol(&self) -> bool {
        matches!(self.features, Some((_, Protocol::Second)))
    }

    pub(super) fn node_of(&self, conn: ConnId) -> Option<i32> {
        self.by_conn.get(&conn).copied()
    }

    pub(super) fn get(&mut self, node: i32) -> Option<&mut Broker<P>> {
        self.nodes.get_mut(&node)
    }

    pub(super) fn in_rack(&self, node: Option<i32>, rack: &str) -> bool {
        node.and_then(|n| self.nodes.get(&n)).is_some_and(|b| b.rack.as_deref() == Some(rack))
    }

    /// Takes over brokers from an answer; `complete`: those not in it are gone. Entries that make no sense are left
    /// out. Nodes that moved while connected are returned: [`replace`](Self::replace) them once they have hung up.
    pub(super) fn update(&mut self, answer: &[BrokerAnswer], complete: bool) -> Vec<BrokerAnswer> {
        let mut moved = Vec::new();
        if complete {
            for broker in self.nodes.values_mut() {
                broker.listed = false;
            }
        }
        if complete && self.nodes.len() > MOST_BROKERS {
            self.nodes.retain(|node, broker| *node < 0 || !matches!(broker.link, Link::Down));
        }
        for broker in answer.iter().take(MOST_BROKERS) {
            if !makes_sense(broker) {
                log::warn!(
                    "ignoring broker {} at {:?}:{}: not an address",
                    broker.node_id,
                    broker.host,
                    broker.port
                );
                continue;
            }
            match self.nodes.get_mut(&broker.node_id) {
                Some(known) if *known.host == *broker.host && i32::from(known.port) == broker.port => {
                    known.listed = true;
                    known.rack.clone_from(&broker.rack);
                }
                Some(known) if known.conn().is_some() => {
                    known.listed = true;
                    moved.push(broker.clone());
                }
                _ => self.replace(broker),
            }
        }
        if complete && !self.nodes.iter().any(|(node, b)| *node >= 0 && b.listed) {
            self.use_bootstrap();
        }
        moved
    }

    /// Puts a node at its new address, with nothing known of it.
    pub(super) fn replace(&mut self, broker: &BrokerAnswer) {
        let port = broker.port as u16;
        let fresh = Broker::new(broker.host.as_str().into(), port, broker.node_id, broker.rack.clone());
        self.nodes.insert(broker.node_id, fresh);
    }

    /// Falls back to the addresses that the user gave.
    pub(super) fn use_bootstrap(&mut self) {
        for (node, broker) in &mut self.nodes {
            broker.listed |= *node < 0;
        }
    }

    /// Nobody but the addresses that the user gave counts, until metadata says otherwise.
    pub(super) fn use_bootstrap_alone(&mut self) {
        for (node, broker) in &mut self.nodes {
            broker.listed = *node < 0;
        }
    }

    /// A node to ask something that any broker can answer: the ready one with the least to do. One that has owed an answer
    /// for as long as `patience` comes last, or not at all if it is to be done `promptly`. `Err`: the best one to dial,
    /// if any may be dialed now and none is being dialed.
    pub(super) fn least_loaded(
        &mut self,
        now: Instant,
        max_in_flight: usize,
        patience: Duration,
        promptly: bool,
        random: u64,
    ) -> Result<i32, Option<i32>> {
        let mut best: Option<((bool, usize), i32)> = None;
        let mut dialing = false;
        let mut dialable: Option<(Option<Instant>, i32)> = None;
        let start = (random % self.nodes.len().max(1) as u64) as usize;
        let nodes: Vec<i32> = self.nodes.keys().copied().collect();
        for node in nodes[start..].iter().chain(&nodes[..start]).copied() {
            let broker = self.nodes.get_mut(&node).expect("listed above");
            if !broker.listed {
                continue;
            }
            let last_attempt = broker.last_attempt;
            match &broker.link {
                Link::Dialing { .. } | Link::Opening { .. } => dialing = true,
                Link::Down if broker.may_dial(now) => {
                    if dialable.is_none_or(|(at, _)| last_attempt < at) {
                        dialable = Some((last_attempt, node));
                    }
                }
                _ => {
                    if let Some(session) = broker.can_take(now, max_in_flight) {
                        let owes =
                            session.in_flight.front().is_some_and(|oldest| oldest.sent + patience <= now);
                        let load = (owes, session.in_flight.len());
                        if promptly && owes {
                            continue;
                        }
                        if best.is_none_or(|(least, _)| load < least) {
                            best = Some((load, node));
                        }
                    }
                }
            }
        }
        match best {
            Some((_, node)) => Ok(node),
            None if dialing => Err(None),
            None => Err(dialable.map(|(_, node)| node)),
        }
    }

    pub(super) fn any_ready(&self) -> bool {
        self.nodes.values().any(|b| matches!(b.link, Link::Ready(_)))
    }

    pub(super) fn any_connecting(&self) -> bool {
        self.nodes.values().any(|b| matches!(b.link, Link::Dialing { .. } | Link::Opening { .. }))
    }

    /// Starts a dial; returns the connection's name and how long it may take, which depends on the failures in a row.
    pub(super) fn dial(
        &mut self,
        now: Instant,
        node: i32,
        timeout: impl FnOnce(u32) -> Duration,
    ) -> (ConnId, Duration) {
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        self.by_conn.insert(conn, node);
        let broker = self.nodes.get_mut(&node).expect("a node that is dialed is known");
        let timeout = timeout(broker.setup_failures);
        broker.last_attempt = Some(now);
        broker.link = Link::Dialing { conn, deadline: now + timeout };
        (conn, timeout)
    }

    /// The dialed connection stands.
    pub(super) fn connected(&mut self, now: Instant, node: i32) -> Option<&mut Session<P>> {
        let broker = self.nodes.get_mut(&node)?;
        let Link::Dialing { conn, deadline } = broker.link else { return None };
        broker.link = Link::Opening { session: Session::new(conn, now), deadline };
        broker.session()
    }

    /// The broker said what it can do.
    pub(super) fn negotiated(&mut self, now: Instant, node: i32, versions: Versions) {
        let Some(broker) = self.nodes.get_mut(&node) else { return };
        broker.failures = 0;
        broker.setup_failures = 0;
        broker.retry_at = None;
        broker.refusal = None;
        broker.link = match std::mem::replace(&mut broker.link, Link::Down) {
            Link::Opening { mut session, .. } => {
                session.versions = versions;
                session.last_used = now;
                Link::Ready(session)
            }
            other => other,
        };
    }

    /// The connection is gone; the next dial waits for a `pause` that depends on the failures in a row. Returns what was
    /// in flight, oldest first.
    pub(super) fn lost(
        &mut self,
        now: Instant,
        conn: ConnId,
        pause: impl FnOnce(u32) -> Duration,
    ) -> Option<Lost<P>> {
        let node = self.by_conn.remove(&conn)?;
        let broker = self.nodes.get_mut(&node)?;
        let was_ready = matches!(broker.link, Link::Ready(_));
        broker.retry_at = Some(now + pause(broker.failures));
        broker.failures = broker.failures.saturating_add(1);
        broker.last_attempt = Some(now);
        if !was_ready {
            broker.setup_failures = broker.setup_failures.saturating_add(1);
        }
        let is_news = !was_ready && broker.reported.is_none_or(|at| at + REPORTED_EVERY <= now);
        if is_news {
            broker.reported = Some(now);
        }
        let mut requests = Vec::new();
        match std::mem::replace(&mut broker.link, Link::Down) {
            Link::Opening { session, .. } | Link::Ready(session) => {
                requests.extend(session.in_flight.into_iter().map(|r| r.purpose));
                requests.extend(session.unwritten.into_iter().filter_map(|w| w.purpose));
            }
            Link::Down | Link::Dialing { .. } => {}
        }
        let label = Arc::clone(&broker.label);
        Some(Lost { node, requests, label, was_ready, is_unreachable: is_news })
    }

    /// Counts a connection that the other side closed without an answer, and says what that tells if it happens again and
    /// again: a plaintext port has no other answer to the beginning of TLS, and one that wants SASL none to a request.
    /// Once any broker answered, it is rather one that is being restarted.
    pub(super) fn closed_without_answer(&mut self, conn: ConnId, in_handshake: bool) -> Option<&'static str> {
        let broker = self.by_conn.get(&conn).and_then(|node| self.nodes.get_mut(node))?;
        let telling = match &broker.link {
            Link::Opening { .. } if in_handshake => "does this port speak TLS (security.protocol)?",
            Link::Ready(session) if !session.in_flight.is_empty() => {
                "it takes no request; does this port want SASL (security.protocol)?"
            }
            _ => return None,
        };
        broker.silent_ends = broker.silent_ends.saturating_add(1);
        (broker.silent_ends >= TELLING_SILENCES && !self.ever_answered).then_some(telling)
    }

    /// A broker answered what was asked for.
    pub(super) fn answered(&mut self, node: i32) {
        self.ever_answered = true;
        if let Some(broker) = self.nodes.get_mut(&node) {
            broker.silent_ends = 0;
        }
    }

    /// Why nobody can be asked anything, if all there are were tried in vain and at least one does not let us in.
    pub(super) fn refusal_of_all(&self) -> Option<Arc<str>> {
        let mut listed = self.nodes.values().filter(|broker| broker.listed);
        let mut refusal = None;
        let in_vain = listed.all(|broker| {
            refusal = refusal.take().or_else(|| broker.refusal.clone());
            matches!(broker.link, Link::Down) && broker.failures > 0
        });
        refusal.filter(|_| in_vain)
    }

    /// Connections whose time for dialing, for answering or for being idle is over, and why.
    pub(super) fn overdue(&self, now: Instant, max_idle: Option<Duration>) -> Vec<(ConnId, Overdue)> {
        self.nodes
            .values()
            .filter_map(|broker| match &broker.link {
                Link::Dialing { conn, deadline } if *deadline <= now => Some((*conn, Overdue::Setup)),
                Link::Opening { session, deadline } if *deadline <= now => {
                    Some((session.conn, Overdue::Setup))
                }
                Link::Ready(session) => session.overdue(now, max_idle).map(|overdue| (session.conn, overdue)),
                _ => None,
            })
            .collect()
    }

    /// When [`overdue`](Self::overdue) has something next.
    pub(super) fn next_deadline(&self, max_idle: Option<Duration>) -> Option<Instant> {
        self.nodes
            .values()
            .filter_map(|broker| match &broker.link {
                Link::Dialing { deadline, .. } | Link::Opening { deadline, .. } => Some(*deadline),
                Link::Ready(session) => session.next_deadline(max_idle),
                Link::Down => None,
            })
            .min()
    }
}

fn makes_sense(broker: &BrokerAnswer) -> bool {
    broker.node_id >= 0
        && (1..=i32::from(u16::MAX)).contains(&broker.port)
        && (1..=255).contains(&broker.host.len())
        && !broker.host.contains('\0')
}

/// More than any cluster has: what answers may make us keep. Nodes that are gone are kept up to here, for their backoff.
const MOST_BROKERS: usize = 10_000;

/// Somebody should look at a broker that cannot be reached, but need not be told with every attempt.
const REPORTED_EVERY: Duration = Duration::from_secs(60);
const TRANSACTION_VERSION: &str = "transaction.version";

/// So often a broker that is just being started would not be met in a row.
const TELLING_SILENCES: u32 = 3;

/// What a lost connection leaves behind.
pub(super) struct Lost<P> {
    pub(super) node: i32,
    pub(super) requests: Vec<P>,
    pub(super) label: Arc<str>,
    /// Requests were taken on it.
    pub(super) was_ready: bool,
    /// It could not be reached, and that was not said for a while.
    pub(super) is_unreachable: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Overdue {
    Setup,
    Request(ApiKey, Duration),
    Write,
    Idle,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    fn offering(api_keys: &[(i16, i16, i16)]) -> Versions {
        Versions::new(&ApiVersionsResponse {
            error: ErrorCode::NONE,
            api_keys: api_keys.to_vec(),
            throttle_time_ms: 0,
            finalized_features: Vec::new(),
            finalized_features_epoch: -1,
        })
    }

    #[test]
    fn what_a_broker_offers_is_not_believed_blindly() {
        let enormous: Vec<_> = (1..=i16::MAX).map(|key| (key, 0, 9)).collect();
        for (offered, says) in [
            (&[][..], "does not offer Produce at all"),
            (&enormous[..], "does not offer Produce at all"),
            (&[(0, 9, 3)], "versions 9 to 3"),
            (&[(0, i16::MIN, -1)], "versions -32768 to -1"),
            (&[(0, 0, 2)], "versions 0 to 2"),
            (&[(0, 30, i16::MAX)], "versions 30 to 32767"),
            // Of two ranges the first counts.
            (&[(0, 0, 1), (0, 3, 12)], "versions 0 to 1"),
        ] {
            let reason = offering(offered).usable(ApiKey::Produce, i16::MAX).unwrap_err();
            assert!(reason.contains(says), "{says}: {reason}");
        }
        for (offered, at_most, version) in [
            ((0, 0, i16::MAX), i16::MAX, ApiKey::Produce.max_version()),
            ((0, i16::MIN, 5), i16::MAX, 5),
            ((0, 3, 13), 12, 12),
        ] {
            assert_eq!(offering(&[offered]).usable(ApiKey::Produce, at_most), Ok(version));
        }
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "an `Instant` to begin with comes from nowhere else")]
    fn that_a_broker_cannot_be_reached_is_news_once_a_minute() {
        let mut brokers = Brokers::<()>::new(&[("::1".into(), 9092), ("b".into(), 9092)]);
        let begun = Instant::now();
        let mut fails = |node, second| {
            let now = begun + Duration::from_secs(second);
            let (conn, _) = brokers.dial(now, node, |_| Duration::ZERO);
            let lost = brokers.lost(now, conn, |_| Duration::ZERO).expect("it was dialed");
            (lost.label.to_string(), lost.is_unreachable)
        };
        for (node, second, is_news) in
            [(-1, 0, true), (-1, 1, false), (-2, 1, true), (-1, 59, false), (-1, 60, true), (-1, 100, false)]
        {
            let label =
                if node == -1 { "[::1]:9092 (bootstrap.servers)" } else { "b:9092 (bootstrap.servers)" };
            assert_eq!(fails(node, second), (label.to_owned(), is_news), "{second} s");
        }
    }

    #[test]
    fn brokers_without_end_are_not_kept() {
        let mut brokers = Brokers::<()>::new(&[("boot".into(), 9092)]);
        for round in 0..5 {
            let answer: Vec<BrokerAnswer> = (0..12_000)
                .map(|i| BrokerAnswer {
                    node_id: round * 20_000 + i,
                    host: "h".into(),
                    port: 9092,
                    rack: None,
                })
                .collect();
            brokers.update(&answer, true);
            assert!(brokers.nodes.len() <= 2 * MOST_BROKERS + 1, "{}", brokers.nodes.len());
            assert!(brokers.nodes.contains_key(&-1) && brokers.nodes.contains_key(&(round * 20_000)));
        }
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "an `Instant` to begin with comes from nowhere else")]
    fn correlation_ids_begin_again_before_they_run_out() {
        let mut session = Session::<()>::new(ConnId(0), Instant::now());
        session.next_correlation = i32::MAX - 9;
        let ids: Vec<i32> = (0..4).map(|_| session.next_correlation()).collect();
        assert_eq!(ids, [i32::MAX - 9, i32::MAX - 8, 0, 1]);
    }
}
