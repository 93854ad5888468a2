//! Brokers with a receiver for metrics (KIP-714). All of them know the same clients and the same subscription.

use kafka_protocol::{
    ResponseError,
    messages::{
        GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse, PushTelemetryRequest,
        PushTelemetryResponse,
    },
};

use super::{
    super::{
        fault::Injection,
        telemetry::{Push, Subscription},
    },
    Asked, ClusterModel,
    discovery::uuid,
    encode, injected_error, text,
};
use crate::telemetry::ClientInstanceId;

/// What the brokers want and what they got.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) subscription: Subscription,
    /// Rises with every change of the subscription.
    pub(super) id: i32,
    pub(super) pushes: Vec<Push>,
}

impl Receiver {
    pub(super) fn new(subscription: Subscription) -> Self {
        Self { subscription, id: 1, pushes: Vec::new() }
    }
}

impl ClusterModel {
    /// What clients are asked for from now on.
    #[track_caller]
    pub(crate) fn set_subscription(&mut self, subscription: Subscription) {
        let Some(receiver) = &mut self.receiver else {
            panic!("this cluster has no receiver for metrics: ClusterBuilder::telemetry gives it one")
        };
        receiver.subscription = subscription;
        receiver.id += 1;
    }

    /// What clients have pushed.
    pub(crate) fn pushes(&self) -> &[Push] {
        self.receiver.as_ref().map_or(&[], |receiver| &receiver.pushes)
    }

    pub(super) fn telemetry_subscription(
        &mut self,
        asked: &Asked,
        request: &GetTelemetrySubscriptionsRequest,
        throttle: i32,
        injection: Option<&Injection>,
    ) -> Vec<u8> {
        let mut response = GetTelemetrySubscriptionsResponse::default().with_throttle_time_ms(throttle);
        if let Some(code) = injection.and_then(injected_error) {
            response.error_code = code;
        } else {
            let fresh = self.next_topic_id();
            let receiver = self.receiver.as_ref().expect("served only if there is a receiver");
            let wanted = &receiver.subscription;
            let is_new = request.client_instance_id.is_nil();
            response.client_instance_id = if is_new { uuid(fresh) } else { request.client_instance_id };
            response.subscription_id = receiver.id;
            response.accepted_compression_types = wanted.codecs.clone();
            response.push_interval_ms = i32::try_from(wanted.interval.as_millis()).unwrap_or(i32::MAX);
            response.telemetry_max_bytes = wanted.max_bytes;
            response.delta_temporality = wanted.is_delta;
            response.requested_metrics = wanted.metrics.iter().map(|prefix| text(prefix)).collect();
        }
        encode(asked.api, asked.version, asked.correlation_id, &response)
    }

    pub(super) fn telemetry_push(
        &mut self,
        asked: &Asked,
        request: &PushTelemetryRequest,
        throttle: i32,
        injection: Option<&Injection>,
    ) -> Vec<u8> {
        let refusal = injection.and_then(injected_error).or_else(|| self.take_push(asked.node, request));
        let response = PushTelemetryResponse::default()
            .with_throttle_time_ms(throttle)
            .with_error_code(refusal.unwrap_or(0));
        encode(asked.api, asked.version, asked.correlation_id, &response)
    }

    /// `Some`: why not.
    fn take_push(&mut self, node: i32, request: &PushTelemetryRequest) -> Option<i16> {
        let receiver = self.receiver.as_mut().expect("served only if there is a receiver");
        let wanted = &receiver.subscription;
        if request.subscription_id != receiver.id {
            return Some(ResponseError::UnknownSubscriptionId.code());
        }
        if request.metrics.len() > wanted.max_bytes.unsigned_abs() as usize {
            return Some(ResponseError::TelemetryTooLarge.code());
        }
        let push = Push {
            node,
            client_instance_id: ClientInstanceId::new(request.client_instance_id.into_bytes()),
            terminating: request.terminating,
            codec: request.compression_type,
            bytes: 0,
            resource: Default::default(),
            metrics: Vec::new(),
        };
        let is_agreed = push.codec == 0 || wanted.codecs.contains(&push.codec);
        match push.read(&request.metrics) {
            _ if !is_agreed => Some(ResponseError::UnsupportedCompressionType.code()),
            Ok(push) => {
                let asked_for = |name: &str| wanted.metrics.iter().any(|prefix| name.starts_with(&**prefix));
                if let Some(metric) = push.metrics.iter().find(|metric| !asked_for(&metric.name)) {
                    self.audit.violation(format!("nobody has asked for the metric {}", metric.name));
                }
                receiver.pushes.push(push);
                None
            }
            Err(problem) => {
                self.audit.violation(format!("a push makes no sense: {problem}"));
                Some(ResponseError::InvalidRecord.code())
            }
        }
    }
}
