//! SCRAM (RFC 5802) as Kafka speaks it: names and passwords are raw UTF-8, not prepared, and nothing binds to a channel.
//!
//! ```text
//!  client                                            broker
//!  n,,n=USER,r=NONCE             ------------------>
//!                                <------------------  r=NONCE+MORE,s=SALT,i=ITERATIONS
//!  c=biws,r=NONCE+MORE,p=PROOF   ------------------>
//!                                <------------------  v=SIGNATURE
//! ```

use std::{fmt, sync::Mutex};

use zeroize::Zeroizing;

use super::secret::Secret;
use crate::{
    base64,
    kdf::{Digest, Hmac, hash, pbkdf2},
    wire::primitives::escaped,
};

pub(crate) struct Scram<D: Digest> {
    user: Secret,
    password: Secret,
    by_token: bool,
    /// What the last broker's salt and number of iterations made of the password: others have the same, and every
    /// re-authentication.
    salted: Mutex<Option<Salted<D>>>,
}

struct Salted<D: Digest> {
    salt: Vec<u8>,
    iterations: u32,
    password: Zeroizing<D::Output>,
}

/// The client has said who it is.
pub(super) struct First {
    nonce: String,
    bare: Zeroizing<String>,
}

/// The client has proved it, and wants the same of the broker.
pub(super) struct Final<D: Digest> {
    signature: Zeroizing<D::Output>,
}

impl<D: Digest> fmt::Debug for Scram<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scram")
    }
}

impl<D: Digest> Scram<D> {
    pub(super) fn new(user: &str, password: &str, by_token: bool) -> Self {
        Self { user: Secret::new(user), password: Secret::new(password), by_token, salted: Mutex::new(None) }
    }

    pub(super) fn begin(&self, nonce: String) -> (Zeroizing<Vec<u8>>, First) {
        let user = Zeroizing::new(self.user.text().replace('=', "=3D").replace(',', "=2C"));
        let extension = if self.by_token { ",tokenauth=true" } else { "" };
        let bare = Zeroizing::new(format!("n={},r={nonce}{extension}", *user));
        let message = Zeroizing::new(format!("{HEADER}{}", *bare).into_bytes());
        (message, First { nonce, bare })
    }

    pub(super) fn prove(&self, first: &First, said: &[u8]) -> Result<(Zeroizing<Vec<u8>>, Final<D>), String> {
        let offer = Offer::parse(said, &first.nonce)?;
        let salted = self.salted(&offer);
        let keyed = Hmac::<D>::new((*salted).as_ref());
        let client_key = Zeroizing::new(keyed.of(&[b"Client Key"]));
        let server_key = Zeroizing::new(keyed.of(&[b"Server Key"]));
        let stored_key = Zeroizing::new(hash::<D>((*client_key).as_ref()));
        let without_proof = format!("c={},r={}", base64::encode(HEADER.as_bytes()), offer.nonce);
        let agreed = [first.bare.as_bytes(), b",", said, b",", without_proof.as_bytes()];
        let mut proof = Zeroizing::new(Hmac::<D>::new((*stored_key).as_ref()).of(&agreed));
        (*proof).as_mut().iter_mut().zip((*client_key).as_ref()).for_each(|(proof, key)| *proof ^= key);
        let message = format!("{without_proof},p={}", base64::encode((*proof).as_ref()));
        let signature = Zeroizing::new(Hmac::<D>::new((*server_key).as_ref()).of(&agreed));
        Ok((Zeroizing::new(message.into_bytes()), Final { signature }))
    }

    fn salted(&self, offer: &Offer<'_>) -> Zeroizing<D::Output> {
        let cached = |salted: &Salted<D>| {
            (salted.salt == offer.salt && salted.iterations == offer.iterations)
                .then(|| salted.password.clone())
        };
        let lock = || self.salted.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(known) = lock().as_ref().and_then(cached) {
            return known;
        }
        // Not under the lock: two connections may as well work it out side by side.
        let password = pbkdf2::<D>(self.password.bytes(), &offer.salt, offer.iterations);
        let (salt, iterations) = (offer.salt.clone(), offer.iterations);
        *lock() = Some(Salted { salt, iterations, password: password.clone() });
        password
    }
}

impl<D: Digest> Final<D> {
    /// A broker that does not know the password cannot sign.
    pub(super) fn check(&self, said: &[u8]) -> Result<(), String> {
        let said = std::str::from_utf8(said).map_err(|_| NONSENSE)?;
        if let Some(error) = said.strip_prefix("e=") {
            return Err(format!("it refuses user or password (sasl.jaas.config): {}", escaped(error)));
        }
        let signature = said.strip_prefix("v=").and_then(|rest| rest.split(',').next()).ok_or(NONSENSE)?;
        let signature = base64::decode(signature.as_bytes()).ok_or(NONSENSE)?;
        let expected = (*self.signature).as_ref();
        // The same time for every wrong one.
        let differs = signature.iter().zip(expected).fold(0, |bits, (a, b)| bits | (a ^ b));
        if signature.len() != expected.len() || differs != 0 {
            return Err(
                "it does not know the password that it asks for: it is not who it should be".to_owned()
            );
        }
        Ok(())
    }
}

struct Offer<'a> {
    nonce: &'a str,
    salt: Vec<u8>,
    iterations: u32,
}

impl<'a> Offer<'a> {
    fn parse(said: &'a [u8], ours: &str) -> Result<Self, String> {
        let said = std::str::from_utf8(said).map_err(|_| NONSENSE)?;
        if let Some(error) = said.strip_prefix("e=") {
            return Err(format!("it refuses user or password (sasl.jaas.config): {}", escaped(error)));
        }
        let mut parts = said.split(',');
        let mut take = |name: &str| parts.next().and_then(|part| part.strip_prefix(name)).ok_or(NONSENSE);
        // `m=`, an extension that must be understood, would stand first.
        let (nonce, salt, iterations) = (take("r=")?, take("s=")?, take("i=")?);
        let added = nonce.strip_prefix(ours).filter(|added| !added.is_empty());
        if added.is_none()
            || nonce.len() > LONGEST_NONCE
            || !nonce.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err("its nonce does not go on where ours ends: somebody else's answer".to_owned());
        }
        let salt = base64::decode(salt.as_bytes()).filter(|salt| !salt.is_empty()).ok_or(NONSENSE)?;
        let iterations = iterations.parse::<u32>().map_err(|_| NONSENSE)?;
        if !(FEWEST_ITERATIONS..=MOST_ITERATIONS).contains(&iterations) {
            return Err(format!(
                "it asks for {iterations} iterations of SCRAM, and {FEWEST_ITERATIONS} to {MOST_ITERATIONS} are \
                 accepted: fewer make the password easy to guess, more are an attack"
            ));
        }
        Ok(Self { nonce, salt, iterations })
    }
}

const HEADER: &str = "n,,";
const NONSENSE: &str = "it does not speak SCRAM as it should";

/// As RFC 7677 wants it, and as Kafka does.
const FEWEST_ITERATIONS: u32 = 4096;
/// A second's work. Brokers do not store credentials with more than 16384.
const MOST_ITERATIONS: u32 = 1_000_000;
const LONGEST_NONCE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kdf::{Sha256, Sha512};

    /// The example of RFC 7677.
    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const OFFER: &[u8] =
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    #[test]
    fn the_example_of_the_rfc() {
        let scram = Scram::<Sha256>::new("user", "pencil", false);
        for _ in 0..2 {
            let (message, first) = scram.begin(NONCE.to_owned());
            assert_eq!(&**message, b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
            let (message, last) = scram.prove(&first, OFFER).unwrap();
            assert_eq!(
                String::from_utf8_lossy(&message),
                "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                 p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
            );
            last.check(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap();
            last.check(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=,x=y").unwrap();
            for wrong in ["v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95H4=", "v=", "v=AAAA", "", "x", "v=6rri"]
            {
                assert!(last.check(wrong.as_bytes()).is_err(), "{wrong}");
            }
            let why = last.check(b"e=invalid-proof\x1b[31m").unwrap_err();
            assert!(why.contains("invalid-proof") && !why.contains('\x1b'), "{why}");
        }
    }

    #[test]
    fn names_are_escaped_and_tokens_say_so() {
        let scram = Scram::<Sha512>::new("a=b,c", "x", true);
        let (message, _) = scram.begin("N".to_owned());
        assert_eq!(&**message, b"n,,n=a=3Db=2Cc,r=N,tokenauth=true");
    }

    #[test]
    fn offers_that_are_refused() {
        let scram = Scram::<Sha256>::new("user", "canary", false);
        let (_, first) = scram.begin("abc".to_owned());
        for (offer, says) in [
            ("r=abcd,s=c2FsdA==,i=4095", "4095 iterations"),
            ("r=abcd,s=c2FsdA==,i=1000001", "1000001 iterations"),
            ("r=abcd,s=c2FsdA==,i=2147483648", "2147483648 iterations"),
            ("r=abcd,s=c2FsdA==,i=99999999999", NONSENSE),
            ("r=abcd,s=c2FsdA==,i=-1", NONSENSE),
            ("r=abc,s=c2FsdA==,i=4096", "nonce"),
            ("r=abx,s=c2FsdA==,i=4096", "nonce"),
            ("r=xabcd,s=c2FsdA==,i=4096", "nonce"),
            ("r=abc\u{e9},s=c2FsdA==,i=4096", "nonce"),
            ("r=abcd,s=,i=4096", NONSENSE),
            ("r=abcd,s=!,i=4096", NONSENSE),
            ("m=x,r=abcd,s=c2FsdA==,i=4096", NONSENSE),
            ("e=unknown-user", "unknown-user"),
            ("", NONSENSE),
        ] {
            let why = scram.prove(&first, offer.as_bytes()).err().expect(offer);
            assert!(why.contains(says) && !why.contains("canary"), "{offer}: {why}");
        }
        let long = format!("r=abc{},s=c2FsdA==,i=4096", "d".repeat(2000));
        assert!(scram.prove(&first, long.as_bytes()).is_err());
    }
}
