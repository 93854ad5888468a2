//! PEM (RFC 7468), as Java's producer reads it: entries are found by their BEGIN and END, whatever stands around them,
//! and white space among the Base64 means nothing, so that a whole chain may stand on one line of a properties file.

use zeroize::Zeroizing;

use crate::base64;

pub(super) struct Entry {
    pub(super) label: String,
    pub(super) der: Zeroizing<Vec<u8>>,
}

impl Entry {
    pub(super) fn is_certificate(&self) -> bool {
        matches!(&*self.label, "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE")
    }

    pub(super) fn is_private_key(&self) -> bool {
        self.label.contains("PRIVATE KEY")
    }
}

/// All entries, in order. What is wrong is said without a word of the text.
pub(super) fn parse(text: &[u8]) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = split(rest, BEGIN) {
        let (label, after) = split(after, DASHES).ok_or("holds a PEM entry whose first line does not end")?;
        let label = String::from_utf8_lossy(label).trim().to_owned();
        let number = entries.len() + 1;
        let (body, after) = split(after, END)
            .ok_or_else(|| format!("holds a PEM entry (the {number}.) without its -----END line"))?;
        // A key in the old format of OpenSSL has lines with colons before its Base64.
        if body.contains(&b':') {
            return Err(
                "holds a private key in OpenSSL's old encrypted format; openssl pkcs8 -topk8 -in OLD -out NEW makes \
                 one that can be read"
                    .to_owned(),
            );
        }
        let digits: Zeroizing<Vec<u8>> =
            Zeroizing::new(body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect());
        let der = base64::decode(&digits)
            .ok_or_else(|| format!("holds a PEM entry (the {number}.) that is not valid Base64"))?;
        entries.push(Entry { label, der: Zeroizing::new(der) });
        rest = after;
    }
    Ok(entries)
}

fn split<'a>(text: &'a [u8], at: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let place = text.windows(at.len()).position(|window| window == at)?;
    Some((&text[..place], &text[place + at.len()..]))
}

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_whatever_stands_around_them() {
        let text = "Bag Attributes\n  friendlyName: x\n-----BEGIN CERTIFICATE-----\nZm9v\nYmFy\n-----END \
                    CERTIFICATE-----\nsubject=/CN=x\n-----BEGIN PRIVATE KEY----- Zm8= -----END PRIVATE KEY-----";
        let entries = parse(text.as_bytes()).unwrap();
        let seen: Vec<_> = entries.iter().map(|entry| (&*entry.label, &**entry.der)).collect();
        assert_eq!(seen, [("CERTIFICATE", &b"foobar"[..]), ("PRIVATE KEY", b"fo")]);
        assert!(entries[0].is_certificate() && entries[1].is_private_key());
        assert!(parse(b"").unwrap().is_empty());
    }

    #[test]
    fn what_is_broken_is_named_and_not_quoted() {
        for (text, want) in [
            ("-----BEGIN CERTIFICATE-----\nZm9v", "without its -----END line"),
            ("-----BEGIN CERTIFICATE", "first line does not end"),
            ("-----BEGIN CERTIFICATE-----\nZm9\n-----END CERTIFICATE-----", "not valid Base64"),
            ("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n-----END RSA", "openssl pkcs8"),
        ] {
            let problem = parse(text.as_bytes()).err().expect(text);
            assert!(problem.contains(want) && !problem.contains("Zm9"), "{problem}");
        }
    }
}
