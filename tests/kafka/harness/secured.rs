//! The listeners of a broker with security, and what their clients need: certificates that are made for each cluster, and
//! users with passwords.

use std::{collections::BTreeMap, fs, path::Path};

use super::cluster::free_ports;
use crate::pki::{Authority, Identity};

/// What clients need, and where to go with it.
pub(crate) struct Keys {
    pub(crate) authority: Authority,
    /// Of a client.
    pub(crate) client: Identity,
    /// Of one that no broker knows.
    pub(crate) stranger: Identity,
    files: [String; 3],
    ports: Vec<u16>,
}

impl Keys {
    pub(super) fn make(folder: &Path) -> Result<Self, String> {
        let authority = Authority::new("kafka-test-authority");
        let broker = authority.sign(&["localhost", "127.0.0.1"]);
        let elsewhere = authority.sign(&["elsewhere.example.com"]);
        let expired = authority.sign_expired(&["localhost", "127.0.0.1"]);
        let write = |name: &str, text: String| {
            let path = folder.join(name);
            fs::write(&path, text).map_err(|e| format!("cannot write {name}: {e}"))?;
            Ok::<_, String>(path.display().to_string())
        };
        write("ca.pem", authority.certificate.clone())?;
        let both = |identity: &Identity| identity.key.clone() + &identity.certificate;
        let files = [
            write("broker.pem", both(&broker))?,
            write("elsewhere.pem", both(&elsewhere))?,
            write("expired.pem", both(&expired))?,
        ];
        Ok(Self {
            client: authority.sign(&["client"]),
            stranger: Authority::new("somebody-else").sign(&["client"]),
            authority,
            files,
            ports: free_ports(LISTENERS.len())?,
        })
    }

    /// Where a listener is, for `bootstrap.servers`.
    pub(crate) fn bootstrap(&self, listener: &str) -> String {
        let place =
            LISTENERS.iter().position(|(name, _)| *name == listener).expect("there is such a listener");
        format!("127.0.0.1:{}", self.ports[place])
    }

    pub(super) fn add_to(&self, properties: &mut BTreeMap<&str, String>) {
        let urls = || {
            LISTENERS.iter().zip(&self.ports).map(|((name, _), port)| format!("{name}://127.0.0.1:{port}"))
        };
        let append = |to: &mut String, more: String| *to = format!("{to},{more}");
        let listeners: String = urls().collect::<Vec<_>>().join(",");
        append(properties.get_mut("listeners").expect("set before"), listeners.clone());
        append(properties.get_mut("advertised.listeners").expect("set before"), listeners);
        let map = LISTENERS.iter().map(|(name, protocol)| format!("{name}:{protocol}"));
        let map = map.collect::<Vec<_>>().join(",");
        append(properties.get_mut("listener.security.protocol.map").expect("set before"), map);
        let [broker, elsewhere, expired] = &self.files;
        let authority = broker.replace("broker.pem", "ca.pem");
        properties.extend([
            ("ssl.keystore.type", "PEM".into()),
            ("ssl.keystore.location", broker.clone()),
            ("ssl.truststore.type", "PEM".into()),
            ("ssl.truststore.location", authority),
            ("listener.name.mtls.ssl.client.auth", "required".into()),
            ("listener.name.elsewhere.ssl.keystore.type", "PEM".into()),
            ("listener.name.elsewhere.ssl.keystore.location", elsewhere.clone()),
            ("listener.name.expired.ssl.keystore.type", "PEM".into()),
            ("listener.name.expired.ssl.keystore.location", expired.clone()),
            ("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER".into()),
            ("listener.name.plain_only.sasl.enabled.mechanisms", "PLAIN".into()),
        ]);
        for (name, value) in JAAS {
            properties.insert(name, (*value).into());
        }
    }
}

const LISTENERS: &[(&str, &str)] = &[
    ("SSL", "SSL"),
    ("MTLS", "SSL"),
    ("ELSEWHERE", "SSL"),
    ("EXPIRED", "SSL"),
    ("SASL_PLAINTEXT", "SASL_PLAINTEXT"),
    ("SASL_SSL", "SASL_SSL"),
    ("PLAIN_ONLY", "SASL_PLAINTEXT"),
    ("REAUTH", "SASL_PLAINTEXT"),
];

/// Given to the tool that formats a disk.
pub(super) const USERS: &[&str] =
    &["SCRAM-SHA-256=[name=alice,password=alice-secret]", "SCRAM-SHA-512=[name=alice,password=alice-secret]"];

macro_rules! jaas {
    ($($listener:literal),+) => {
        &[$(
            (
                concat!("listener.name.", $listener, ".plain.sasl.jaas.config"),
                "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"admin\" \
                 password=\"admin-secret\" user_admin=\"admin-secret\" user_alice=\"alice-secret\";",
            ),
            (
                concat!("listener.name.", $listener, ".scram-sha-256.sasl.jaas.config"),
                "org.apache.kafka.common.security.scram.ScramLoginModule required;",
            ),
            (
                concat!("listener.name.", $listener, ".scram-sha-512.sasl.jaas.config"),
                "org.apache.kafka.common.security.scram.ScramLoginModule required;",
            ),
            (
                concat!("listener.name.", $listener, ".oauthbearer.sasl.jaas.config"),
                "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
                 unsecuredLoginStringClaim_sub=\"admin\";",
            ),
            (
                concat!("listener.name.", $listener, ".oauthbearer.sasl.server.callback.handler.class"),
                "org.apache.kafka.common.security.oauthbearer.internals.unsecured.\
                 OAuthBearerUnsecuredValidatorCallbackHandler",
            ),
            (concat!("listener.name.", $listener, ".plain.connections.max.reauth.ms"), REAUTH),
            (concat!("listener.name.", $listener, ".scram-sha-256.connections.max.reauth.ms"), REAUTH),
            (concat!("listener.name.", $listener, ".scram-sha-512.connections.max.reauth.ms"), REAUTH),
            (concat!("listener.name.", $listener, ".oauthbearer.connections.max.reauth.ms"), REAUTH),
        )+]
    };
}

/// So that connections live through several sessions within a test.
const REAUTH: &str = "3000";

const JAAS: &[(&str, &str)] = jaas!("sasl_plaintext", "sasl_ssl", "plain_only", "reauth");
