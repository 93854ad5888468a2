//! Proving to a broker who we are, when a connection is opened and again before its session ends (KIP-368).
//!
//! ```text
//!  ApiVersions answered --> SaslHandshake --> Login ... SaslAuthenticate ... Login --> Ready
//!                                 ^                                                     |
//!                                 '----------- something is to be sent, and it is late -'
//! ```
//!
//! A second proof goes on behind what is in flight, and nothing else is sent until it is given: answers come in the order
//! of requests, so nothing is lost or overtaken. What a mechanism has to say is worked out elsewhere
//! ([`Action::Login`]), since that may take long.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Action, Answered, Engine, Purpose, broken,
    broker::{ConnId, Link, Proof},
};
use crate::{
    error::ErrorCode,
    event::ProducerEvent,
    sasl::{Outcome, Step},
    wire::{
        api::ApiKey,
        primitives::Reader,
        sasl_authenticate::{self, SaslAuthenticateResponse},
        sasl_handshake::{self, SaslHandshakeResponse},
    },
};

impl Engine {
    /// What [`Action::Login`] asked for is worked out.
    pub(crate) fn handle_login(&mut self, now: Instant, conn: ConnId, outcome: Outcome) {
        self.woken(now);
        let Some(node) = self.brokers.node_of(conn) else { return };
        match outcome {
            Outcome::Send(token, next) => {
                let version = match self.usable(node, ApiKey::SaslAuthenticate) {
                    Ok(version) => version,
                    Err(reason) => return self.hang_up(now, conn, &reason),
                };
                if let Some(Proof::Underway { waiting, .. }) = self.session(conn).map(|s| &mut s.proof) {
                    *waiting = Some(next);
                }
                let (api, purpose) = (ApiKey::SaslAuthenticate, Purpose::SaslAuthenticate);
                self.request(now, node, api, version, purpose, |out| {
                    sasl_authenticate::encode(version, &token, out);
                });
            }
            Outcome::Done => self.logged_in(now, node, conn),
            Outcome::Failed(why) => self.turned_away(now, conn, &why),
            Outcome::Unable(why) => self.hang_up(now, conn, &why),
        }
    }

    /// Connections whose proof is old are let prove it again, if there is something to send on them.
    pub(super) fn renew_logins(&mut self, now: Instant) {
        let is_due = |link: &Link<Purpose>| matches!(link, Link::Ready(session) if matches!(session.proof, Proof::Given { .. }) && !session.may_send(now));
        let due: Vec<i32> = self
            .brokers
            .nodes
            .iter()
            .filter(|(_, broker)| is_due(&broker.link))
            .map(|(node, _)| *node)
            .collect();
        if due.is_empty() {
            return;
        }
        let anybody = self.metadata.next_due().is_some_and(|at| at <= now) || self.id_is_due(now);
        let ready = self.accumulator.ready_nodes(now);
        for node in due {
            let metrics =
                self.brokers.nodes.get(&node).is_some_and(|broker| self.has_metrics_for(now, &broker.link));
            if (anybody || metrics || ready.contains(&node))
                && let Err((_, reason)) = self.begin_login(now, node)
            {
                self.negotiate_anew(now, node, &reason);
            }
        }
    }

    pub(super) fn begin_login(&mut self, now: Instant, node: i32) -> Answered {
        let Some(login) = self.settings.login.clone() else { return Ok(()) };
        let usable =
            self.usable(node, ApiKey::SaslAuthenticate).and(self.usable(node, ApiKey::SaslHandshake));
        let version = usable.map_err(|reason| (Purpose::SaslHandshake, reason))?;
        let deadline = now + self.settings.setup_timeout.0;
        if let Some(session) = self.brokers.get(node).and_then(|broker| broker.session()) {
            session.proof = Proof::Underway { deadline, waiting: None, lifetime: Duration::ZERO };
        }
        self.request(now, node, ApiKey::SaslHandshake, version, Purpose::SaslHandshake, |out| {
            sasl_handshake::encode(login.mechanism(), out);
        });
        Ok(())
    }

    pub(super) fn handshake_answered(&mut self, now: Instant, conn: ConnId, body: &[u8]) -> Answered {
        let answer = SaslHandshakeResponse::decode(&mut Reader::new(body))
            .map_err(|e| (Purpose::SaslHandshake, broken(ApiKey::SaslHandshake, &e)))?;
        let Some(login) = self.settings.login.clone() else { return Ok(()) };
        match answer.error {
            ErrorCode::NONE => self.actions.push_back(Action::Login { conn, step: Step::first(&login) }),
            ErrorCode::UNSUPPORTED_SASL_MECHANISM => {
                let offered: Vec<&str> =
                    answer.mechanisms.iter().take(MOST_NAMED).map(|name| name.as_str()).collect();
                let why = format!(
                    "it does not take sasl.mechanism={}, only {}",
                    login.mechanism(),
                    if offered.is_empty() { "others".to_owned() } else { offered.join(", ") }
                );
                self.turned_away(now, conn, &why);
            }
            ErrorCode::ILLEGAL_SASL_STATE => self.turned_away(
                now,
                conn,
                "it does not ask for SASL on this port: is security.protocol=PLAINTEXT or SSL needed?",
            ),
            code => return Err((Purpose::SaslHandshake, format!("it refused SaslHandshake: {code}"))),
        }
        Ok(())
    }

    pub(super) fn proof_answered(
        &mut self,
        now: Instant,
        conn: ConnId,
        version: i16,
        body: &[u8],
    ) -> Answered {
        let mut reader = Reader::new(body);
        let answer = SaslAuthenticateResponse::decode(version, &mut reader)
            .map_err(|e| (Purpose::SaslAuthenticate, broken(ApiKey::SaslAuthenticate, &e)))?;
        if answer.error != ErrorCode::NONE {
            let said = answer.error_message.unwrap_or_else(|| answer.error.to_string());
            let why = match answer.error {
                ErrorCode::SASL_AUTHENTICATION_FAILED => {
                    format!("it does not accept who we say we are (sasl.jaas.config, sasl.mechanism): {said}")
                }
                _ => format!("it refused to authenticate this client (sasl.*): {said}"),
            };
            self.turned_away(now, conn, &why);
            return Ok(());
        }
        let session = self.session(conn).map(|session| &mut session.proof);
        if let Some(Proof::Underway { waiting, lifetime, .. }) = session
            && let Some(waiting) = waiting.take()
        {
            *lifetime = Duration::from_millis(answer.session_lifetime_ms.try_into().unwrap_or(0))
                .min(LONGEST_SESSION);
            self.actions.push_back(Action::Login { conn, step: waiting.answered(answer.token) });
        }
        Ok(())
    }

    fn logged_in(&mut self, now: Instant, node: i32, conn: ConnId) {
        let share = 0.85 + 0.1 * (self.random.next() as f64 / u64::MAX as f64);
        let Some(broker) = self.brokers.get(node) else { return };
        let (is_open, label) = (matches!(broker.link, Link::Ready(_)), Arc::clone(&broker.label));
        let Some(session) = broker.session() else { return };
        let Proof::Underway { lifetime, deadline, .. } = session.proof else { return };
        let until = (!lifetime.is_zero()).then(|| now + lifetime.mul_f64(share).max(SHORTEST_SESSION));
        let took = now.saturating_duration_since(deadline - self.settings.setup_timeout.0);
        session.proof = Proof::Given { until };
        let versions = session.versions.clone();
        let at = self.numbers.at(now);
        if is_open {
            self.numbers.renewals.add(at, 1);
            self.numbers.renewal_latency.record(at, took.as_secs_f64() * 1000.0);
            log::debug!("authenticated again with {label}");
        } else {
            self.numbers.logins.add(at, 1);
            self.numbers.logins_for_ever += u64::from(until.is_none());
        }
        self.tell_of(node, |node, broker| ProducerEvent::Authenticated { node, broker, again: is_open });
        if !is_open && self.checks_cluster(node) {
            self.ask_versions(now, node);
        } else if !is_open {
            log::info!("authenticated with {label}");
            self.opened(now, node, versions);
        }
        debug_assert_eq!(self.brokers.node_of(conn), Some(node));
    }

    fn turned_away(&mut self, now: Instant, conn: ConnId, why: &str) {
        let node = self.brokers.node_of(conn).and_then(|node| self.brokers.get(node));
        let is_open = node.is_some_and(|broker| matches!(broker.link, Link::Ready(_)));
        let at = self.numbers.at(now);
        let failed =
            if is_open { &mut self.numbers.failed_renewals } else { &mut self.numbers.failed_logins };
        failed.add(at, 1);
        self.actions.push_back(Action::HangUp { conn });
        self.refused(now, conn, why);
    }
}

/// A broker does not believe that a session is renewed which is younger than a second, and turns the client away.
const SHORTEST_SESSION: Duration = Duration::from_millis(1050);

/// Far from the end of every platform's `Instant`.
const LONGEST_SESSION: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A list of mechanisms is a stranger's, and ends in an error's text.
const MOST_NAMED: usize = 16;
