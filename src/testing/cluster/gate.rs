//! Who is let in: SASL with PLAIN or OAUTHBEARER, as a broker asks for it before it takes anything else.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::{
    ResponseError,
    messages::{
        ApiKey, RequestHeader, ResponseHeader, SaslAuthenticateRequest, SaslAuthenticateResponse,
        SaslHandshakeRequest, SaslHandshakeResponse,
    },
    protocol::{Decodable, Encodable, StrBytes},
};

/// The only user there is.
#[derive(Clone)]
pub(super) struct User {
    mechanism: &'static str,
    /// All that has to be said.
    proof: Vec<u8>,
    /// After which the proof has to be given again.
    session: Option<Duration>,
}

impl User {
    pub(super) fn with_password(name: &str, password: &str, session: Option<Duration>) -> Self {
        Self { mechanism: "PLAIN", proof: format!("\0{name}\0{password}").into_bytes(), session }
    }

    pub(super) fn with_token(token: &str, session: Option<Duration>) -> Self {
        let proof = format!("n,,\x01auth=Bearer {token}\x01\x01").into_bytes();
        Self { mechanism: "OAUTHBEARER", proof, session }
    }
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User")
            .field("mechanism", &self.mechanism)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

/// What stands before a connection.
#[derive(Default)]
pub(super) struct Gate {
    expects_proof: bool,
    /// Let in, since then.
    since: Option<Duration>,
    /// How often a proof was good.
    pub(super) proofs: u64,
}

/// What is to be done with a request.
pub(super) enum Verdict {
    Pass,
    Reply(Vec<u8>),
    ReplyThenClose(Vec<u8>),
    /// Nobody who was not let in, or whose session is over, is answered.
    Close,
}

impl Gate {
    pub(super) fn judge(&mut self, user: &User, mut frame: &[u8], now: Duration) -> Verdict {
        let Some((api, version)) = frame
            .first_chunk::<4>()
            .map(|[a, b, c, d]| (i16::from_be_bytes([*a, *b]), i16::from_be_bytes([*c, *d])))
        else {
            return Verdict::Close;
        };
        let Ok(key) = ApiKey::try_from(api) else { return Verdict::Pass };
        let is_login = matches!(key, ApiKey::SaslHandshake | ApiKey::SaslAuthenticate);
        if !is_login {
            let over = |since| user.session.is_some_and(|session| now >= since + session);
            let is_in = self.since.is_some_and(|since| !over(since)) || key == ApiKey::ApiVersions;
            return if is_in && !self.expects_proof { Verdict::Pass } else { Verdict::Close };
        }
        let Ok(header) = RequestHeader::decode(&mut frame, key.request_header_version(version)) else {
            return Verdict::Close;
        };
        let correlation = header.correlation_id;
        if key == ApiKey::SaslHandshake {
            let Ok(request) = SaslHandshakeRequest::decode(&mut frame, version) else {
                return Verdict::Close;
            };
            self.expects_proof = &*request.mechanism == user.mechanism;
            let error = if self.expects_proof { 0 } else { ResponseError::UnsupportedSaslMechanism.code() };
            let response = SaslHandshakeResponse::default()
                .with_error_code(error)
                .with_mechanisms(vec![StrBytes::from_static_str(user.mechanism)]);
            let bytes = encode(key, version, correlation, &response);
            return if error == 0 { Verdict::Reply(bytes) } else { Verdict::ReplyThenClose(bytes) };
        }
        let Ok(request) = SaslAuthenticateRequest::decode(&mut frame, version) else { return Verdict::Close };
        let is_good = self.expects_proof && *request.auth_bytes == *user.proof;
        // Why a token is refused is said first, and is to be confirmed (RFC 7628).
        if !is_good && user.mechanism == "OAUTHBEARER" && *request.auth_bytes != *b"\x01" {
            let response = SaslAuthenticateResponse::default()
                .with_auth_bytes(Bytes::from_static(br#"{"status":"invalid_token"}"#));
            return Verdict::Reply(encode(key, version, correlation, &response));
        }
        if !is_good {
            let response = SaslAuthenticateResponse::default()
                .with_error_code(ResponseError::SaslAuthenticationFailed.code())
                .with_error_message(Some(StrBytes::from_static_str("Invalid username or password")));
            return Verdict::ReplyThenClose(encode(key, version, correlation, &response));
        }
        self.expects_proof = false;
        self.since = Some(now);
        self.proofs += 1;
        let mut response = SaslAuthenticateResponse::default();
        if let Some(session) = user.session.filter(|_| version >= 1) {
            response.session_lifetime_ms = i64::try_from(session.as_millis()).unwrap_or(i64::MAX);
        }
        Verdict::Reply(encode(key, version, correlation, &response))
    }
}

fn encode(key: ApiKey, version: i16, correlation_id: i32, message: &impl Encodable) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    bytes.put_i32(0);
    let header = ResponseHeader::default().with_correlation_id(correlation_id);
    header.encode(&mut bytes, key.response_header_version(version)).expect("a header can be encoded");
    message.encode(&mut bytes, version).expect("an answer can be encoded");
    let length = i32::try_from(bytes.len() - 4).expect("an answer is short");
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    bytes.to_vec()
}
