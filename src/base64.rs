//! Base64 (RFC 4648): PEM, SCRAM and tokens speak it.

/// The standard alphabet, padded.
#[cfg(feature = "sasl")]
pub(crate) fn encode(bytes: &[u8]) -> String {
    encode_with(bytes, STANDARD, true)
}

/// The alphabet of URLs, without padding, as in a JWT.
#[cfg(feature = "sasl")]
pub(crate) fn encode_url(bytes: &[u8]) -> String {
    encode_with(bytes, URL, false)
}

/// Reads the standard alphabet. `None`: this is not Base64 with its padding.
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let digits = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    if !text.len().is_multiple_of(4) || digits.contains(&b'=') {
        return None;
    }
    decode_with(digits, STANDARD)
}

/// Reads the alphabet of URLs without padding.
#[cfg(test)]
pub(crate) fn decode_url(text: &[u8]) -> Option<Vec<u8>> {
    decode_with(text, URL)
}

#[cfg(feature = "sasl")]
fn encode_with(bytes: &[u8], alphabet: &[u8; 64], padded: bool) -> String {
    // Reserved once: what grows leaves copies behind, and this may be a secret.
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            if place <= group.len() {
                text.push(char::from(alphabet[(bits >> (18 - 6 * place)) as usize & 63]));
            } else if padded {
                text.push('=');
            }
        }
    }
    text
}

fn decode_with(digits: &[u8], alphabet: &[u8; 64]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for group in digits.chunks(4) {
        if group.len() == 1 {
            return None;
        }
        let mut bits = 0;
        for digit in group {
            bits = bits << 6 | alphabet.iter().position(|known| known == digit)? as u32;
        }
        let [_, three @ ..] = (bits << (6 * (4 - group.len()))).to_be_bytes();
        bytes.extend_from_slice(&three[..group.len() - 1]);
    }
    Some(bytes)
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
#[cfg(any(feature = "sasl", test))]
const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_as_the_rfc_has_it() {
        for (plain, padded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(plain.as_bytes()), padded);
            assert_eq!(encode_url(plain.as_bytes()), padded.trim_end_matches('='));
            assert_eq!(decode(padded.as_bytes()).unwrap(), plain.as_bytes());
            assert_eq!(decode_url(padded.trim_end_matches('=').as_bytes()).unwrap(), plain.as_bytes());
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(encode(&all).as_bytes()).unwrap(), all);
        assert_eq!(decode_url(encode_url(&all).as_bytes()).unwrap(), all);
        assert!(encode(&all).contains(['+', '/']) && encode_url(&all).contains(['-', '_']));
    }

    #[test]
    fn what_is_not_base64_is_refused() {
        for text in ["A", "AB", "AB=", "AB=C", "ABC!", "AB C", "ABCDE===", "====", "A===", "Zm9v\n"] {
            assert_eq!(decode(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(decode_url(b"AAAAA"), None);
    }
}
