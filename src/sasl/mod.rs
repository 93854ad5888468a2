//! How a client proves who it is (SASL): what it answers to what a broker says.
//!
//! Knows no message of Kafka's and no broker's connection. Whatever takes time is done inside [`Step::run`], which belongs
//! on a thread of its own: hashing a password a million times, a file, an issuer of tokens, the application's code.
//! Secrets are wiped when they are let go, and stand in no text that anybody is shown.

#[cfg(feature = "oauth-http")]
pub(crate) mod issuer;
pub(crate) mod jaas;
mod oauth;
mod scram;
mod secret;
mod trouble;

use std::sync::Arc;

use zeroize::Zeroizing;

pub use self::oauth::OAuthBearerToken;
use self::oauth::Source;
pub(crate) use self::oauth::TokenCallback;
use self::{
    scram::{Final, First, Scram},
    secret::Secret,
    trouble::Trouble,
};
use crate::{
    error::guarded,
    kdf::{Sha256, Sha512},
    wire::primitives::escaped,
};

/// Who a producer is, and how it proves it: the same for all of its connections.
#[derive(Debug)]
pub(crate) enum Login {
    Plain { user: Secret, password: Secret },
    ScramSha256(Scram<Sha256>),
    ScramSha512(Scram<Sha512>),
    OAuthBearer(Source),
}

impl Login {
    pub(crate) fn plain(user: &str, password: &str) -> Self {
        Self::Plain { user: Secret::new(user), password: Secret::new(password) }
    }

    /// `by_token`: user and password are a delegation token's id and HMAC (KIP-48).
    pub(crate) fn scram_sha_256(user: &str, password: &str, by_token: bool) -> Self {
        Self::ScramSha256(Scram::new(user, password, by_token))
    }

    /// As [`scram_sha_256`](Self::scram_sha_256).
    pub(crate) fn scram_sha_512(user: &str, password: &str, by_token: bool) -> Self {
        Self::ScramSha512(Scram::new(user, password, by_token))
    }

    pub(crate) fn unsecured(options: &[(String, Secret)]) -> Result<Self, String> {
        Source::unsecured(options).map(Self::OAuthBearer)
    }

    pub(crate) fn token_file(path: &str) -> Self {
        Self::OAuthBearer(Source::File(path.to_owned()))
    }

    /// `extensions` go along with each token (KIP-342).
    #[cfg(feature = "oauth-http")]
    pub(crate) fn issuer(issuer: issuer::Issuer, extensions: Vec<(String, String)>) -> Self {
        Self::OAuthBearer(Source::Issuer { issuer: Box::new(issuer), extensions })
    }

    pub(crate) fn callback(callback: TokenCallback) -> Self {
        Self::OAuthBearer(Source::Callback(callback))
    }

    /// Its name, as in `sasl.mechanism`.
    pub(crate) fn mechanism(&self) -> &'static str {
        match self {
            Self::Plain { .. } => "PLAIN",
            Self::ScramSha256(_) => "SCRAM-SHA-256",
            Self::ScramSha512(_) => "SCRAM-SHA-512",
            Self::OAuthBearer(_) => "OAUTHBEARER",
        }
    }

    /// Whether whoever listens on the way learns what is needed to be this client.
    pub(crate) fn tells_its_secret(&self) -> bool {
        matches!(self, Self::Plain { .. } | Self::OAuthBearer(_))
    }
}

/// What comes next between a client and a broker.
pub(crate) struct Step {
    login: Arc<Login>,
    state: State,
    /// What the broker said; nothing yet at the first step.
    challenge: Vec<u8>,
}

enum State {
    Begin,
    ExpectEnd,
    /// The broker said why it refuses a token, and wants to hear that we have understood before it fails the request.
    ExpectFailure,
    Scram256First(First),
    Scram256Final(Final<Sha256>),
    Scram512First(First),
    Scram512Final(Final<Sha512>),
}

/// What became of a step.
pub(crate) enum Outcome {
    /// Send this, and come back with the answer.
    Send(Zeroizing<Vec<u8>>, Waiting),
    /// Nothing is left to say: the broker has let us in, and where the mechanism says so has proved who it is.
    Done,
    /// It cannot be. The text names the setting to look at and holds no secret.
    Failed(String),
    /// There is nothing to show the broker now. That may pass.
    Unable(String),
}

/// A step that lacks what the broker says.
pub(crate) struct Waiting {
    login: Arc<Login>,
    state: State,
}

impl Waiting {
    pub(crate) fn answered(self, challenge: &[u8]) -> Step {
        Step { login: self.login, state: self.state, challenge: challenge.to_vec() }
    }
}

impl Step {
    pub(crate) fn first(login: &Arc<Login>) -> Self {
        Self { login: Arc::clone(login), state: State::Begin, challenge: Vec::new() }
    }

    /// May take long.
    pub(crate) fn run(self) -> Outcome {
        let Self { login, state, challenge } = self;
        let outcome = guarded(|| next(&login, state, &challenge));
        match outcome {
            Ok(Ok(Some((token, state)))) => Outcome::Send(token, Waiting { login, state }),
            Ok(Ok(None)) => Outcome::Done,
            Ok(Err(Trouble::Lasting(why))) => Outcome::Failed(why),
            Ok(Err(Trouble::Passing(why))) => Outcome::Unable(why),
            // What a panic says may be anything, also a secret.
            Err(_) => Outcome::Unable("the code that gives tokens panicked".to_owned()),
        }
    }
}

type Next = Result<Option<(Zeroizing<Vec<u8>>, State)>, Trouble>;

fn next(login: &Login, state: State, challenge: &[u8]) -> Next {
    match (login, state) {
        (Login::Plain { user, password }, State::Begin) => {
            Ok(Some((plain(user.bytes(), password.bytes()), State::ExpectEnd)))
        }
        (Login::ScramSha256(scram), State::Begin) => {
            let (message, first) = scram.begin(nonce()?);
            Ok(Some((message, State::Scram256First(first))))
        }
        (Login::ScramSha256(scram), State::Scram256First(first)) => {
            let (message, last) = scram.prove(&first, challenge)?;
            Ok(Some((message, State::Scram256Final(last))))
        }
        (Login::ScramSha256(_), State::Scram256Final(last)) => Ok(last.check(challenge).map(|()| None)?),
        (Login::ScramSha512(scram), State::Begin) => {
            let (message, first) = scram.begin(nonce()?);
            Ok(Some((message, State::Scram512First(first))))
        }
        (Login::ScramSha512(scram), State::Scram512First(first)) => {
            let (message, last) = scram.prove(&first, challenge)?;
            Ok(Some((message, State::Scram512Final(last))))
        }
        (Login::ScramSha512(_), State::Scram512Final(last)) => Ok(last.check(challenge).map(|()| None)?),
        (Login::OAuthBearer(source), State::Begin) => {
            Ok(Some((source.token()?.first_message()?, State::ExpectEnd)))
        }
        (_, State::ExpectEnd) if challenge.is_empty() => Ok(None),
        (Login::OAuthBearer(source), State::ExpectEnd) => {
            source.forget();
            let why = escaped(&String::from_utf8_lossy(challenge));
            log::warn!("a broker refuses the token of OAUTHBEARER: {why}");
            Ok(Some((Zeroizing::new(vec![1]), State::ExpectFailure)))
        }
        (_, State::ExpectFailure) => Err("it refused the token, and then did not".to_owned().into()),
        _ => Err("it goes on where nothing is left to say (sasl.mechanism)".to_owned().into()),
    }
}

fn plain(user: &[u8], password: &[u8]) -> Zeroizing<Vec<u8>> {
    // Reserved once: what grows leaves copies behind.
    let mut message = Zeroizing::new(Vec::with_capacity(user.len() + password.len() + 2));
    message.push(0);
    message.extend_from_slice(user);
    message.push(0);
    message.extend_from_slice(password);
    message
}

fn nonce() -> Result<String, Trouble> {
    let mut random = [0; 24];
    getrandom::fill(&mut random)
        .map_err(|e| Trouble::Passing(format!("this system gives no random numbers: {e}")))?;
    Ok(crate::base64::encode_url(&random))
}

#[cfg(test)]
mod tests;
