//! What a user has given, as text and as it is: nothing is checked here.

use std::{collections::BTreeMap, sync::Arc};

use super::keys;
use crate::{event::EventListener, interceptor::ProducerInterceptor, partitioner::Partitioner};

#[derive(Clone, Default)]
pub(super) struct Given {
    /// By place in the table.
    pub(super) values: BTreeMap<usize, Text>,
    /// Under names that are not in the table, in the order given; each name once.
    pub(super) unknown: Vec<(String, String)>,
    pub(super) partitioner: Option<Arc<dyn Partitioner>>,
    pub(super) interceptors: Vec<Arc<dyn ProducerInterceptor>>,
    pub(super) event_listeners: Vec<EventListener>,
    #[cfg(feature = "sasl")]
    pub(super) token: Option<crate::sasl::TokenCallback>,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<Arc<rustls::ClientConfig>>,
}

/// May be a secret: leaves nothing behind in memory.
#[cfg(any(feature = "tls", feature = "sasl"))]
pub(super) type Text = zeroize::Zeroizing<String>;
#[cfg(not(any(feature = "tls", feature = "sasl")))]
pub(super) type Text = String;

impl Given {
    /// The text that was given for a setting of the table.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        keys::find(name).and_then(|(place, _)| self.values.get(&place)).map(|text| text.as_str())
    }

    /// As [`text`](Self::text), fit to be seen.
    pub(super) fn shown(&self, name: &str) -> Option<String> {
        self.entries().find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
    }

    /// Everything that was given, fit to be seen.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        let known = keys::all().enumerate().filter_map(|(place, key)| {
            let value = self.values.get(&place)?;
            Some((key.name, if key.is_secret() { HIDDEN } else { value }))
        });
        let unknown = self
            .unknown
            .iter()
            .map(|(name, value)| (&**name, if keys::may_show_unknown(name) { value } else { HIDDEN }));
        known.chain(unknown)
    }
}

/// What is shown instead of a secret.
pub(super) const HIDDEN: &str = "[hidden]";
