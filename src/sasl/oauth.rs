//! OAUTHBEARER (RFC 7628, KIP-255): tokens, and where they come from.

use std::{
    fmt, fs,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use zeroize::Zeroizing;

#[cfg(feature = "oauth-http")]
use super::issuer::Issuer;
use super::{secret::Secret, trouble::Trouble};
use crate::{base64, error::BoxError};

/// A token that a broker is shown (`sasl.mechanism=OAUTHBEARER`).
#[derive(Clone)]
pub struct OAuthBearerToken {
    value: Secret,
    extensions: Vec<(String, String)>,
}

impl OAuthBearerToken {
    /// A token as its issuer gave it out, usually a JWT.
    pub fn new(value: &str) -> Self {
        Self { value: Secret::new(value.trim()), extensions: Vec::new() }
    }

    /// Something to be sent along (KIP-342): `logicalCluster`, for Confluent Cloud.
    #[must_use]
    pub fn extension(mut self, key: &str, value: &str) -> Self {
        self.extensions.push((key.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn first_message(&self) -> Result<Zeroizing<Vec<u8>>, String> {
        let token = self.value.bytes();
        if token.is_empty() || !token.iter().all(u8::is_ascii_graphic) {
            return Err("the token of OAUTHBEARER is empty, or has characters that no token has".to_owned());
        }
        for (key, value) in &self.extensions {
            let key_is_good =
                !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphabetic()) && key != "auth";
            let value_is_good = |byte| matches!(byte, 0x21..=0x7e | b' ' | b'\t' | b'\r' | b'\n');
            if !key_is_good || value.is_empty() || !value.bytes().all(value_is_good) {
                return Err(format!(
                    "the extension {key:?} of OAUTHBEARER cannot be sent: its name must be letters and its value \
                     printable"
                ));
            }
        }
        let extensions: usize = self.extensions.iter().map(|(key, value)| key.len() + value.len() + 2).sum();
        let mut message = Zeroizing::new(Vec::with_capacity(token.len() + extensions + 20));
        message.extend_from_slice(b"n,,\x01auth=Bearer ");
        message.extend_from_slice(token);
        for (key, value) in &self.extensions {
            message.push(1);
            message.extend_from_slice(key.as_bytes());
            message.push(b'=');
            message.extend_from_slice(value.as_bytes());
        }
        message.extend_from_slice(b"\x01\x01");
        Ok(message)
    }
}

impl fmt::Debug for OAuthBearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuthBearerToken").field("value", &self.value).finish_non_exhaustive()
    }
}

pub(crate) type TokenCallback = Arc<dyn Fn() -> Result<OAuthBearerToken, BoxError> + Send + Sync>;

/// Where tokens come from. Asked for each authentication, so that a new one is used as soon as there is one.
pub(crate) enum Source {
    Callback(TokenCallback),
    File(String),
    #[cfg(feature = "oauth-http")]
    Issuer {
        issuer: Box<Issuer>,
        extensions: Vec<(String, String)>,
    },
    /// What the token says, but for its times.
    Unsecured {
        claims: String,
        lifetime: u64,
        extensions: Vec<(String, String)>,
    },
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Callback(_) => "Callback",
            Self::File(_) => "File",
            #[cfg(feature = "oauth-http")]
            Self::Issuer { .. } => "Issuer",
            Self::Unsecured { .. } => "Unsecured",
        })
    }
}

impl Source {
    /// Java's development-only token (KIP-255), from the options of `sasl.jaas.config`.
    pub(super) fn unsecured(options: &[(String, Secret)]) -> Result<Self, String> {
        let mut claims = Vec::new();
        let (mut lifetime, mut extensions, mut principal) = (3600, Vec::new(), "sub");
        for (name, value) in options {
            let value = value.text();
            if let Some(claim) = name.strip_prefix("unsecuredLoginStringClaim_") {
                claims.push((claim, quoted(value)));
            } else if let Some(claim) = name.strip_prefix("unsecuredLoginNumberClaim_") {
                let number: f64 = value.parse().map_err(|_| format!("{name} must be a number"))?;
                claims.push((claim, number.to_string()));
            } else if let Some(claim) = name.strip_prefix("unsecuredLoginListClaim_") {
                let mut entries =
                    value.split(value.chars().next().filter(|c| !c.is_alphanumeric()).unwrap_or(','));
                let entries: Vec<String> =
                    entries.by_ref().filter(|entry| !entry.is_empty()).map(quoted).collect();
                claims.push((claim, format!("[{}]", entries.join(","))));
            } else if let Some(key) = name.strip_prefix("unsecuredLoginExtension_") {
                extensions.push((key.to_owned(), value.to_owned()));
            } else if name == "unsecuredLoginLifetimeSeconds" {
                lifetime = value.parse().map_err(|_| format!("{name} must be a number of seconds"))?;
            } else if name == "unsecuredLoginPrincipalClaimName" {
                principal = value;
            } else {
                return Err(format!(
                    "has the option {name}, which means nothing here: unsecuredLogin..., or use \
                     ProducerConfig::sasl_oauthbearer or sasl.oauthbearer.token.endpoint.url"
                ));
            }
        }
        if !claims.iter().any(|(claim, _)| *claim == principal) {
            return Err(format!(
                "needs unsecuredLoginStringClaim_{principal}=\"...\"; tokens of an issuer come from \
                 ProducerConfig::sasl_oauthbearer or from sasl.oauthbearer.token.endpoint.url"
            ));
        }
        let claims: Vec<String> =
            claims.iter().map(|(claim, value)| format!("{}:{value}", quoted(claim))).collect();
        Ok(Self::Unsecured { claims: claims.join(","), lifetime, extensions })
    }

    pub(super) fn token(&self) -> Result<OAuthBearerToken, Trouble> {
        match self {
            Self::Callback(callback) => {
                callback().map_err(|e| Trouble::Passing(format!("there is no token for OAUTHBEARER: {e}")))
            }
            Self::File(path) => {
                let text = fs::read_to_string(path).map(Zeroizing::new).map_err(|e| {
                    Trouble::Passing(format!(
                        "the token cannot be read from {path} (sasl.oauthbearer.token.endpoint.url): {e}"
                    ))
                })?;
                Ok(OAuthBearerToken::new(&text))
            }
            #[cfg(feature = "oauth-http")]
            Self::Issuer { issuer, extensions } => {
                Ok(OAuthBearerToken { value: issuer.token()?, extensions: extensions.clone() })
            }
            Self::Unsecured { claims, lifetime, extensions } => {
                let now = seconds_since_1970();
                let claims = format!("{{{claims},\"iat\":{now},\"exp\":{}}}", now.saturating_add(*lifetime));
                let token = format!(
                    "{}.{}.",
                    base64::encode_url(br#"{"alg":"none"}"#),
                    base64::encode_url(claims.as_bytes())
                );
                Ok(OAuthBearerToken { extensions: extensions.clone(), ..OAuthBearerToken::new(&token) })
            }
        }
    }

    /// A broker did not take the last token.
    pub(super) fn forget(&self) {
        #[cfg(feature = "oauth-http")]
        if let Self::Issuer { issuer, .. } = self {
            issuer.forget();
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a token says when it was made; this runs on a thread of its own"
)]
fn seconds_since_1970() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// As JSON has it.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c < ' ' => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
