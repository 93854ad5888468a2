//! Pushing metrics: this brings [`telemetry`](super::telemetry), brokers and requests together.
//!
//! Any broker that offers it will do, and the same one is asked again as long as it takes requests. Where none offers it,
//! nothing is asked and no timer runs: an idle producer stays idle.

use std::time::Instant;

use super::{
    Action, Answered, Engine, Purpose, broken,
    broker::Link,
    telemetry::{Push, Step, Telemetry},
};
use crate::{
    telemetry::Reading,
    wire::{
        api::ApiKey,
        get_telemetry_subscriptions::{GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse},
        primitives::Reader,
        push_telemetry::{PushTelemetryRequest, PushTelemetryResponse},
    },
};

impl Engine {
    /// A caller waits to hear what brokers call this client.
    pub(crate) fn handle_instance_wish(&mut self, now: Instant) {
        self.woken(now);
        if let Some(telemetry) = &mut self.telemetry {
            telemetry.wish();
        }
    }

    /// What [`Action::ReadMetrics`] asked for.
    pub(crate) fn handle_reading(&mut self, now: Instant, reading: Reading) {
        self.woken(now);
        let Some(node) = self.taker_of_metrics(now, ApiKey::PushTelemetry) else {
            if let Some(telemetry) = &mut self.telemetry {
                telemetry.postpone(now);
            }
            return;
        };
        let settings = &self.settings;
        let rack = Some(("client_rack", &*settings.client_rack)).filter(|(_, rack)| !rack.is_empty());
        let transactional = settings.transactional_id.as_deref().map(|id| ("transactional_id", id));
        let resource: Vec<_> = rack.into_iter().chain(transactional).collect();
        let push = self.telemetry.as_mut().and_then(|telemetry| telemetry.read(reading, &resource));
        let Some(Push { instance, subscription, is_last, compression, metrics }) = push else { return };
        log::debug!("pushing {} bytes of metrics", metrics.len());
        let request = PushTelemetryRequest {
            client_instance_id: instance,
            subscription_id: subscription,
            terminating: is_last,
            compression_type: compression,
            metrics: &metrics,
        };
        let (api, version) = (ApiKey::PushTelemetry, ApiKey::PushTelemetry.max_version());
        self.request(now, node, api, version, Purpose::Push, |out| request.encode(version, out));
    }

    /// Asks for a subscription, or has the metrics read, if it is time and somebody takes them.
    pub(super) fn push_metrics(&mut self, now: Instant) {
        let is_drained = self.is_drained();
        let Some(telemetry) = &mut self.telemetry else { return };
        if is_drained {
            telemetry.say_farewell(now);
        }
        let Some(step) = telemetry.step(now) else { return };
        let (may_dial, client_instance_id) = (telemetry.may_dial(step), telemetry.instance());
        let Some(node) = self.taker_of_metrics(now, api_of(step)) else {
            if self.brokers.any_ready() {
                self.telemetry.iter_mut().for_each(|telemetry| telemetry.in_vain());
            } else if may_dial {
                // Whoever that is, the connection will tell whether it takes them.
                let _ = self.any_broker(now, false);
            }
            if is_drained {
                self.telemetry.iter_mut().for_each(|telemetry| telemetry.end());
            }
            return;
        };
        let Some(telemetry) = &mut self.telemetry else { return };
        match step {
            Step::Subscribe => {
                telemetry.subscribing(node);
                let request = GetTelemetrySubscriptionsRequest { client_instance_id };
                let api = ApiKey::GetTelemetrySubscriptions;
                let version = api.max_version();
                self.request(now, node, api, version, Purpose::Subscribe, |out| request.encode(version, out));
            }
            Step::Push => {
                telemetry.reading(node);
                self.actions.push_back(Action::ReadMetrics);
            }
        }
    }

    /// A broker that takes such a request now: the same one as before if it can, else the one with the least to do. A bootstrap
    /// address is left for the node behind it as soon as that is known.
    fn taker_of_metrics(&mut self, now: Instant, api: ApiKey) -> Option<i32> {
        let max = self.settings.max_in_flight;
        let before = self.telemetry.as_ref().and_then(|telemetry| telemetry.node);
        let takers = self.brokers.nodes.iter_mut().filter(|(_, broker)| broker.listed);
        let takers = takers.filter_map(|(node, broker)| {
            let session = broker.can_take(now, max)?;
            session.usable(api, i16::MAX).ok()?;
            Some((Some(*node) != before, *node < 0, session.in_flight.len(), *node))
        });
        takers.min().map(|(.., node)| node)
    }

    /// Whether a connection is wanted for metrics alone.
    pub(super) fn metrics_want_a_broker(&self, now: Instant) -> bool {
        let wanted = |telemetry: &Telemetry| telemetry.step(now).is_some_and(|step| telemetry.may_dial(step));
        !self.brokers.any_ready() && self.telemetry.as_ref().is_some_and(wanted)
    }

    /// Whether something is due that the broker at the other end would take if it took requests now.
    pub(super) fn has_metrics_for(&self, now: Instant, link: &Link<Purpose>) -> bool {
        let Link::Ready(session) = link else { return false };
        let step = self.telemetry.as_ref().and_then(|telemetry| telemetry.step(now));
        step.is_some_and(|step| session.usable(api_of(step), i16::MAX).is_ok())
    }

    pub(super) fn subscription_answered(&mut self, now: Instant, version: i16, body: &[u8]) -> Answered {
        let answer = GetTelemetrySubscriptionsResponse::decode(version, &mut Reader::new(body))
            .map_err(|e| (Purpose::Subscribe, broken(ApiKey::GetTelemetrySubscriptions, &e)))?;
        log::debug!("subscription for metrics: {answer:?}");
        let Some(telemetry) = &mut self.telemetry else { return Ok(()) };
        // Only a subscription needs chance: nights without one are not touched by it.
        if let Some(id) = telemetry.subscribed(now, answer, self.random.next()) {
            self.actions.push_back(Action::Introduce(id));
        }
        Ok(())
    }

    pub(super) fn push_answered(&mut self, now: Instant, version: i16, body: &[u8]) -> Answered {
        let answer = PushTelemetryResponse::decode(version, &mut Reader::new(body))
            .map_err(|e| (Purpose::Push, broken(ApiKey::PushTelemetry, &e)))?;
        if let Some(telemetry) = &mut self.telemetry {
            telemetry.pushed(now, answer.error);
        }
        Ok(())
    }

    pub(super) fn metrics_lost(&mut self, now: Instant) {
        if let Some(telemetry) = &mut self.telemetry {
            telemetry.lost(now);
        }
    }
}

fn api_of(step: Step) -> ApiKey {
    match step {
        Step::Subscribe => ApiKey::GetTelemetrySubscriptions,
        Step::Push => ApiKey::PushTelemetry,
    }
}
