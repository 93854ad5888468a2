//! From the `ssl.*` settings to a configuration of `rustls`.
//!
//! Reads the files that they name; opens no connection. What a file or a text holds never stands in a problem, only what
//! is wrong with it. One configuration serves all connections of a producer, and so they share what lets them resume.

mod aes;
mod pem;
mod pkcs8;

use std::{fmt, fs, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
    version::{TLS12, TLS13},
};
use zeroize::Zeroizing;

use self::pem::Entry;

/// The `ssl.*` settings, each by its name, as far as they were given.
pub(super) trait Wishes {
    fn text(&self, name: &str) -> Option<&str>;
    fn list(&self, name: &str) -> Vec<String>;
}

/// What is wrong, and in which setting.
pub(super) type Problem = (&'static str, String);

/// Builds what all connections of a producer share. The second half says what the log should warn of.
pub(super) fn build(wishes: &impl Wishes) -> Result<(Arc<ClientConfig>, Vec<String>), Vec<Problem>> {
    let mut problems = Vec::new();
    let mut warnings = Vec::new();
    let mut note = |outcome: Result<(), Problem>| problems.extend(outcome.err());
    let mut provider = None;
    note(provider_for(&wishes.list(SUITES)).map(|found| provider = Some(found)));
    let mut versions = Vec::new();
    note(versions_for(wishes).map(|found| versions = found));
    let mut roots = RootCertStore::empty();
    note(trusted(wishes, &mut warnings).map(|found| roots = found));
    let mut identity = None;
    note(own_identity(wishes).map(|found| identity = found));
    let mut checks_name = true;
    note(name_check(wishes).map(|checks| checks_name = checks));
    let (Some(provider), true) = (provider, problems.is_empty()) else { return Err(problems) };

    let provider = Arc::new(provider);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .map_err(|e| vec![(SUITES, format!("goes with no version in {PROTOCOLS}: {e}"))])?;
    let builder = if checks_name {
        builder.with_root_certificates(roots)
    } else {
        warnings.push(format!(
            "{ENDPOINT} is empty: any certificate of a trusted authority is taken for any broker's"
        ));
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|e| vec![(TRUST_LOCATION, e.to_string())])?;
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyName(verifier)))
    };
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some(Identity { chain, key, setting }) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|e| vec![(setting, format!("holds a key and certificates that cannot be used: {e}"))])?,
    };
    Ok((Arc::new(config), warnings))
}

/// The provider that the application installed for the whole process, else ours.
fn provider_for(suites: &[String]) -> Result<CryptoProvider, Problem> {
    let provider = CryptoProvider::get_default().map(|installed| (**installed).clone());
    let mut provider = provider.or_else(built_in).ok_or((
        "security.protocol",
        "needs cryptography that the built-in provider does not have for this processor: install another one with \
         rustls::crypto::CryptoProvider::install_default before the producer is built"
            .to_owned(),
    ))?;
    if suites.is_empty() {
        return Ok(provider);
    }
    let iana = |suite: rustls::SupportedCipherSuite| format!("{:?}", suite.suite()).replace("TLS13_", "TLS_");
    let known: Vec<String> = provider.cipher_suites.iter().map(|suite| iana(*suite)).collect();
    if let Some(unknown) = suites.iter().find(|suite| !known.contains(suite)) {
        return Err((SUITES, format!("names {unknown}, and there are only {}", known.join(", "))));
    }
    let place = |suite| suites.iter().position(|wanted| *wanted == iana(suite));
    provider.cipher_suites.retain(|suite| place(*suite).is_some());
    provider.cipher_suites.sort_by_key(|suite| place(*suite));
    Ok(provider)
}

#[cfg(target_arch = "x86_64")]
fn built_in() -> Option<CryptoProvider> {
    // It would panic for lack of any of these, which processors have had since about 2015.
    let complete = is_x86_feature_detected!("aes")
        && is_x86_feature_detected!("pclmulqdq")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("adx")
        && is_x86_feature_detected!("avx")
        && is_x86_feature_detected!("avx2");
    complete.then(rustls_graviola::default_provider)
}

#[cfg(target_arch = "aarch64")]
fn built_in() -> Option<CryptoProvider> {
    use std::arch::is_aarch64_feature_detected;
    let complete = is_aarch64_feature_detected!("neon")
        && is_aarch64_feature_detected!("aes")
        && is_aarch64_feature_detected!("pmull")
        && is_aarch64_feature_detected!("sha2");
    complete.then(rustls_graviola::default_provider)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn built_in() -> Option<CryptoProvider> {
    None
}

fn versions_for(wishes: &impl Wishes) -> Result<Vec<&'static SupportedProtocolVersion>, Problem> {
    let mut versions = Vec::new();
    for name in wishes.list(PROTOCOLS) {
        versions.push(match &*name {
            "TLSv1.2" => &TLS12,
            "TLSv1.3" => &TLS13,
            _ => {
                return Err((
                    PROTOCOLS,
                    format!("names {name}, and only TLSv1.2 and TLSv1.3 are spoken here"),
                ));
            }
        });
    }
    match wishes.text(NEWEST) {
        None | Some("TLSv1.3" | "TLS") => {}
        Some("TLSv1.2") => versions.retain(|version| version.version == TLS12.version),
        Some(_) => return Err((NEWEST, "must be TLSv1.3 or TLSv1.2".to_owned())),
    }
    if versions.is_empty() {
        return Err((PROTOCOLS, format!("leaves no version of TLS, with {NEWEST} beside it")));
    }
    Ok(versions)
}

fn trusted(wishes: &impl Wishes, warnings: &mut Vec<String>) -> Result<RootCertStore, Problem> {
    let (inline, location) = (wishes.text(TRUST_INLINE), wishes.text(TRUST_LOCATION));
    if wishes.text(TRUST_PASSWORD).is_some() {
        let problem = match location {
            None => format!("needs {TRUST_LOCATION}, which is not set"),
            Some(_) => "must not be set: PEM files of certificates have no password".to_owned(),
        };
        check_type(wishes, TRUST_TYPE, location, &TRUST_HELP)?;
        return Err((TRUST_PASSWORD, problem));
    }
    if inline.is_some() && location.is_some() {
        return Err((TRUST_INLINE, format!("must not be set beside {TRUST_LOCATION}")));
    }
    check_type(wishes, TRUST_TYPE, location, &TRUST_HELP)?;
    let (setting, bytes) = match (inline, location) {
        (Some(text), _) => (TRUST_INLINE, Zeroizing::new(text.as_bytes().to_vec())),
        (None, Some(path)) => (TRUST_LOCATION, read(TRUST_LOCATION, path, &TRUST_HELP)?),
        (None, None) => return of_the_system(warnings),
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(setting, &bytes)? {
        roots
            .add(certificate)
            .map_err(|e| (setting, format!("holds a certificate that cannot be trusted: {e}")))?;
    }
    Ok(roots)
}

fn of_the_system(warnings: &mut Vec<String>) -> Result<RootCertStore, Problem> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (_, unusable) = roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map(|e| format!(": {e}")).unwrap_or_default();
        return Err((
            TRUST_LOCATION,
            format!("must be set: this system has no list of trusted authorities{why}"),
        ));
    }
    if unusable > 0 {
        warnings.push(format!("{unusable} certificates of the system's trusted authorities cannot be used"));
    }
    Ok(roots)
}

struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    setting: &'static str,
}

fn own_identity(wishes: &impl Wishes) -> Result<Option<Identity>, Problem> {
    let (key, chain) = (wishes.text(KEY_INLINE), wishes.text(CHAIN_INLINE));
    let location = wishes.text(KEY_LOCATION);
    if location.is_some() && (key.is_some() || chain.is_some()) {
        let setting = if key.is_some() { KEY_INLINE } else { CHAIN_INLINE };
        return Err((setting, format!("must not be set beside {KEY_LOCATION}")));
    }
    check_type(wishes, KEY_TYPE, location, &KEY_HELP)?;
    if wishes.text(KEY_STORE_PASSWORD).is_some() {
        let problem = match location {
            None => format!("needs {KEY_LOCATION}, which is not set"),
            Some(_) => format!("must not be set with PEM; an encrypted key is opened by {KEY_PASSWORD}"),
        };
        return Err((KEY_STORE_PASSWORD, problem));
    }
    let password = wishes.text(KEY_PASSWORD);
    match (key, chain, location) {
        (Some(key), Some(chain), _) => Ok(Some(Identity {
            chain: certificates(CHAIN_INLINE, chain.as_bytes())?,
            key: private_key(KEY_INLINE, key.as_bytes(), password)?,
            setting: KEY_INLINE,
        })),
        (Some(_), None, _) => Err((KEY_INLINE, format!("needs {CHAIN_INLINE}, which is not set"))),
        (None, Some(_), _) => Err((CHAIN_INLINE, format!("needs {KEY_INLINE}, which is not set"))),
        (None, None, Some(path)) => {
            let bytes = read(KEY_LOCATION, path, &KEY_HELP)?;
            Ok(Some(Identity {
                chain: certificates(KEY_LOCATION, &bytes)?,
                key: private_key(KEY_LOCATION, &bytes, password)?,
                setting: KEY_LOCATION,
            }))
        }
        (None, None, None) => Ok(None),
    }
}

fn name_check(wishes: &impl Wishes) -> Result<bool, Problem> {
    match wishes.text(ENDPOINT) {
        None => Ok(true),
        Some("") => Ok(false),
        Some(name) if name.eq_ignore_ascii_case("https") => Ok(true),
        Some(_) => Err((ENDPOINT, "must be https, or empty to take a certificate for any host".to_owned())),
    }
}

/// How to get from Java's own formats to PEM.
struct Help {
    what: &'static str,
    conversion: fn(&str) -> String,
}

const TRUST_HELP: Help = Help {
    what: "truststore",
    conversion: |path| format!("keytool -list -rfc -keystore {path} > truststore.pem"),
};

const KEY_HELP: Help = Help {
    what: "keystore",
    conversion: |path| {
        format!(
            "keytool -importkeystore -srckeystore {path} -destkeystore keystore.p12 -deststoretype PKCS12 && openssl \
             pkcs12 -in keystore.p12 -out keystore.pem"
        )
    },
};

impl Help {
    fn convert(&self, format: &str, path: &str) -> String {
        format!(
            "{format} cannot be read here, only PEM; this makes a PEM file of the {}: {}",
            self.what,
            (self.conversion)(path)
        )
    }
}

fn check_type(
    wishes: &impl Wishes,
    setting: &'static str,
    location: Option<&str>,
    help: &Help,
) -> Result<(), Problem> {
    match wishes.text(setting) {
        None => Ok(()),
        Some(kind) if kind.eq_ignore_ascii_case("PEM") => Ok(()),
        Some(kind)
            if ["JKS", "PKCS12", "P12", "PFX", "BCFKS"]
                .iter()
                .any(|known| kind.eq_ignore_ascii_case(known)) =>
        {
            Err((setting, help.convert(kind, location.unwrap_or("FILE"))))
        }
        Some(_) => Err((setting, "must be PEM".to_owned())),
    }
}

fn read(setting: &'static str, path: &str, help: &Help) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let bytes = fs::read(path).map_err(|e| (setting, format!("cannot be read: {e}")))?;
    let bytes = Zeroizing::new(bytes);
    let format = match *bytes.as_slice() {
        [0xfe, 0xed, 0xfe, 0xed, ..] => "a file in the format JKS",
        [0xce, 0xce, 0xce, 0xce, ..] => "a file in the format JCEKS",
        [0x30, 0x80..=0xff, ..] => "a file in the format PKCS12",
        _ => return Ok(bytes),
    };
    Err((setting, help.convert(format, path)))
}

fn certificates(setting: &'static str, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let entries = pem::parse(bytes).map_err(|problem| (setting, problem))?;
    let found: Vec<_> = entries
        .into_iter()
        .filter(Entry::is_certificate)
        .map(|entry| CertificateDer::from(entry.der.to_vec()))
        .collect();
    if found.is_empty() {
        return Err((setting, "holds no certificate in PEM: -----BEGIN CERTIFICATE-----".to_owned()));
    }
    Ok(found)
}

fn private_key(
    setting: &'static str,
    bytes: &[u8],
    password: Option<&str>,
) -> Result<PrivateKeyDer<'static>, Problem> {
    let entries = pem::parse(bytes).map_err(|problem| (setting, problem))?;
    let mut keys = entries.into_iter().filter(Entry::is_private_key);
    let (Some(key), None) = (keys.next(), keys.next()) else {
        return Err((
            setting,
            "must hold exactly one private key in PEM: -----BEGIN PRIVATE KEY-----".to_owned(),
        ));
    };
    match (&*key.label, password) {
        ("PRIVATE KEY", _) => Ok(PrivateKeyDer::Pkcs8(key.der.to_vec().into())),
        ("RSA PRIVATE KEY", _) => Ok(PrivateKeyDer::Pkcs1(key.der.to_vec().into())),
        ("EC PRIVATE KEY", _) => Ok(PrivateKeyDer::Sec1(key.der.to_vec().into())),
        ("ENCRYPTED PRIVATE KEY", Some(password)) => {
            let plain = pkcs8::decrypt(&key.der, password.as_bytes()).map_err(|e| match e {
                pkcs8::Refusal::WrongPassword => {
                    (KEY_PASSWORD, format!("does not open the private key in {setting}"))
                }
                pkcs8::Refusal::Unknown(what) => {
                    (setting, format!("holds an encrypted private key that cannot be read: {what}"))
                }
            })?;
            Ok(PrivateKeyDer::Pkcs8(plain.to_vec().into()))
        }
        ("ENCRYPTED PRIVATE KEY", None) => {
            Err((setting, format!("holds an encrypted private key, and {KEY_PASSWORD} is not set")))
        }
        (label, _) => Err((setting, format!("holds a key of a kind that is not known here: {label}"))),
    }
}

/// Takes a good certificate for whomever it names.
struct AnyName(Arc<WebPkiServerVerifier>);

impl fmt::Debug for AnyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyName")
    }
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        match self.0.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // The name is looked at last, when everything else was found to be good.
            Err(TlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

const PROTOCOLS: &str = "ssl.enabled.protocols";
const NEWEST: &str = "ssl.protocol";
const SUITES: &str = "ssl.cipher.suites";
const ENDPOINT: &str = "ssl.endpoint.identification.algorithm";
const TRUST_TYPE: &str = "ssl.truststore.type";
const TRUST_LOCATION: &str = "ssl.truststore.location";
const TRUST_PASSWORD: &str = "ssl.truststore.password";
const TRUST_INLINE: &str = "ssl.truststore.certificates";
const KEY_TYPE: &str = "ssl.keystore.type";
const KEY_LOCATION: &str = "ssl.keystore.location";
const KEY_STORE_PASSWORD: &str = "ssl.keystore.password";
const KEY_INLINE: &str = "ssl.keystore.key";
const CHAIN_INLINE: &str = "ssl.keystore.certificate.chain";
const KEY_PASSWORD: &str = "ssl.key.password";

#[cfg(test)]
mod tests;
