//! What is wrong with `ssl.*` settings is said when the producer is built, all of it, and without a word of a secret.

use std::fs;

use crate::ProducerConfig;

fn config(settings: &[(&str, &str)]) -> ProducerConfig {
    settings.iter().fold(
        ProducerConfig::new("localhost:9092").set("security.protocol", "SSL"),
        |config, (name, value)| config.set(name, value),
    )
}

fn problems(settings: &[(&str, &str)]) -> Vec<(String, String)> {
    let error = config(settings).validate().expect_err("something is wrong");
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("canary"), "a secret is shown: {shown}");
    error.problems().iter().map(|p| (p.name.clone(), p.problem.clone())).collect()
}

/// A certificate and a key, and another key.
fn pki() -> (String, String, String) {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = rcgen::KeyPair::generate().unwrap();
    (certified.cert.pem(), certified.signing_key.serialize_pem(), other.serialize_pem())
}

#[test]
fn each_mistake_is_told_by_its_setting() {
    let (cert, key, other) = pki();
    let sealed = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----";
    let trust = ("ssl.truststore.certificates", &*cert);
    for (settings, name, says) in [
        (
            vec![("ssl.truststore.certificates", "canary")],
            "ssl.truststore.certificates",
            "no certificate in PEM",
        ),
        (vec![trust, ("ssl.truststore.location", "/x")], "ssl.truststore.certificates", "beside"),
        (vec![("ssl.truststore.location", "/no/such/file")], "ssl.truststore.location", "cannot be read"),
        (
            vec![trust, ("ssl.truststore.password", "canary")],
            "ssl.truststore.password",
            "ssl.truststore.location",
        ),
        (
            vec![
                ("ssl.truststore.location", "/x.jks"),
                ("ssl.truststore.type", "JKS"),
                ("ssl.truststore.password", "canary"),
            ],
            "ssl.truststore.type",
            "keytool -list -rfc -keystore /x.jks",
        ),
        (vec![("ssl.truststore.type", "WINDOWS-ROOT"), trust], "ssl.truststore.type", "must be PEM"),
        (
            vec![trust, ("ssl.keystore.type", "PKCS12"), ("ssl.keystore.location", "/x.p12")],
            "ssl.keystore.type",
            "keytool -importkeystore -srckeystore /x.p12",
        ),
        (vec![trust, ("ssl.keystore.key", &key)], "ssl.keystore.key", "needs ssl.keystore.certificate.chain"),
        (
            vec![trust, ("ssl.keystore.certificate.chain", &cert)],
            "ssl.keystore.certificate.chain",
            "needs ssl.keystore.key",
        ),
        (
            vec![trust, ("ssl.keystore.key", &key), ("ssl.keystore.location", "/x")],
            "ssl.keystore.key",
            "beside ssl.keystore.location",
        ),
        (
            vec![trust, ("ssl.keystore.key", &other), ("ssl.keystore.certificate.chain", &cert)],
            "ssl.keystore.key",
            "cannot be used",
        ),
        (
            vec![trust, ("ssl.keystore.key", sealed), ("ssl.keystore.certificate.chain", &cert)],
            "ssl.keystore.key",
            "ssl.key.password is not set",
        ),
        (
            vec![
                trust,
                ("ssl.keystore.key", sealed),
                ("ssl.keystore.certificate.chain", &cert),
                ("ssl.key.password", "canary"),
            ],
            "ssl.keystore.key",
            "not what PKCS #8 prescribes",
        ),
        (
            vec![trust, ("ssl.keystore.key", "canary"), ("ssl.keystore.certificate.chain", &cert)],
            "ssl.keystore.key",
            "exactly one private key",
        ),
        (
            vec![trust, ("ssl.enabled.protocols", "TLSv1.1")],
            "ssl.enabled.protocols",
            "only TLSv1.2 and TLSv1.3",
        ),
        (
            vec![trust, ("ssl.enabled.protocols", "TLSv1.3"), ("ssl.protocol", "TLSv1.2")],
            "ssl.enabled.protocols",
            "leaves no version",
        ),
        (vec![trust, ("ssl.protocol", "SSLv3")], "ssl.protocol", "must be TLSv1.3 or TLSv1.2"),
        (
            vec![trust, ("ssl.cipher.suites", "TLS_RSA_WITH_RC4_128_MD5")],
            "ssl.cipher.suites",
            "there are only TLS_AES_128_GCM_SHA256",
        ),
        (
            vec![trust, ("ssl.endpoint.identification.algorithm", "LDAPS")],
            "ssl.endpoint.identification.algorithm",
            "must be https, or empty",
        ),
    ] {
        let found = problems(&settings);
        assert!(
            matches!(&*found, [(found, problem)] if found == name && problem.contains(says)),
            "{name}: {says}: {found:?}"
        );
    }
}

#[test]
fn several_mistakes_are_told_together() {
    let found = problems(&[
        ("ssl.truststore.location", "/no/such/file"),
        ("ssl.keystore.location", "/no/such/file"),
        ("ssl.protocol", "SSL"),
        ("linger.ms", "-1"),
    ]);
    assert_eq!(found.len(), 4, "{found:?}");
}

#[test]
fn javas_own_formats_are_known_by_their_content() {
    let folder = tempfile::tempdir().unwrap();
    for (bytes, format) in [(&[0xfe, 0xed, 0xfe, 0xed, 0][..], "JKS"), (&[0x30, 0x82, 1, 2], "PKCS12")] {
        let path = folder.path().join("store");
        fs::write(&path, bytes).unwrap();
        let path = path.to_str().unwrap();
        for (name, tool) in
            [("ssl.truststore.location", "-list -rfc"), ("ssl.keystore.location", "-importkeystore")]
        {
            let found = problems(
                &[(name, path), ("ssl.truststore.certificates", &pki().0)]
                    [..if name.contains("key") { 2 } else { 1 }],
            );
            assert!(
                found[0].0 == name && found[0].1.contains(format) && found[0].1.contains(tool),
                "{found:?}"
            );
        }
    }
}

#[test]
fn what_is_right_is_taken() {
    let (cert, key, _) = pki();
    let trust = ("ssl.truststore.certificates", &*cert);
    for settings in [
        vec![trust],
        vec![trust, ("ssl.truststore.type", "PEM"), ("ssl.keystore.type", "pem")],
        vec![trust, ("ssl.keystore.location", ""), ("ssl.endpoint.identification.algorithm", "")],
        vec![trust, ("ssl.keystore.key", &key), ("ssl.keystore.certificate.chain", &cert)],
        vec![trust, ("ssl.enabled.protocols", "TLSv1.2"), ("ssl.endpoint.identification.algorithm", "HTTPS")],
        vec![trust, ("ssl.cipher.suites", "TLS_AES_256_GCM_SHA384,TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")],
    ] {
        config(&settings).validate().unwrap_or_else(|error| panic!("{settings:?}: {error}"));
    }
}
