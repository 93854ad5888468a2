//! Private keys behind a password (PKCS #8 with PBES2, RFC 8018): what `openssl pkcs8 -topk8` writes.

use zeroize::Zeroizing;

use super::aes::{BLOCK, decrypt_cbc};
use crate::kdf::{Sha256, Sha512, pbkdf2};

#[derive(Debug, PartialEq)]
pub(super) enum Refusal {
    WrongPassword,
    Unknown(&'static str),
}

/// The key in plain PKCS #8.
pub(super) fn decrypt(der: &[u8], password: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let sealed = Sealed::parse(der)?;
    let plain = decrypt_cbc(&sealed.key(password), &sealed.iv, sealed.data).ok_or(Refusal::WrongPassword)?;
    // A wrong password leaves a padding that looks right once in 256 times.
    let mut rest = plain.as_slice();
    let is_key =
        take(&mut rest, SEQUENCE).is_some_and(|mut key| take(&mut key, INTEGER).is_some()) && rest.is_empty();
    if is_key { Ok(plain) } else { Err(Refusal::WrongPassword) }
}

struct Sealed<'a> {
    salt: &'a [u8],
    iterations: u32,
    long_hash: bool,
    key_len: usize,
    iv: [u8; BLOCK],
    data: &'a [u8],
}

impl<'a> Sealed<'a> {
    fn parse(mut der: &'a [u8]) -> Result<Self, Refusal> {
        let mut outer = take(&mut der, SEQUENCE).ok_or(BROKEN)?;
        let mut scheme = take(&mut outer, SEQUENCE).ok_or(BROKEN)?;
        let data = take(&mut outer, OCTETS).ok_or(BROKEN)?;
        if take(&mut scheme, OBJECT).ok_or(BROKEN)? != PBES2 {
            return Err(Refusal::Unknown(OLD_SCHEME));
        }
        let mut scheme = take(&mut scheme, SEQUENCE).ok_or(BROKEN)?;
        let mut derivation = take(&mut scheme, SEQUENCE).ok_or(BROKEN)?;
        let mut cipher = take(&mut scheme, SEQUENCE).ok_or(BROKEN)?;
        if take(&mut derivation, OBJECT).ok_or(BROKEN)? != PBKDF2 {
            return Err(Refusal::Unknown("its key is not derived by PBKDF2"));
        }
        let mut derivation = take(&mut derivation, SEQUENCE).ok_or(BROKEN)?;
        let salt = take(&mut derivation, OCTETS).ok_or(BROKEN)?;
        let iterations = number(take(&mut derivation, INTEGER).ok_or(BROKEN)?).ok_or(BROKEN)?;
        if !(1..=MOST_ITERATIONS).contains(&iterations) {
            return Err(Refusal::Unknown("it asks for more than 10,000,000 iterations of PBKDF2"));
        }
        // The length of the key says nothing that the cipher does not.
        let _ = take(&mut derivation, INTEGER);
        let hash = take(&mut derivation, SEQUENCE).and_then(|mut hash| take(&mut hash, OBJECT));
        let long_hash = match hash {
            Some(HMAC_SHA256) => false,
            Some(HMAC_SHA512) => true,
            _ => return Err(Refusal::Unknown(OLD_SCHEME)),
        };
        let key_len = match take(&mut cipher, OBJECT).ok_or(BROKEN)? {
            AES128_CBC => 16,
            AES192_CBC => 24,
            AES256_CBC => 32,
            _ => return Err(Refusal::Unknown(OLD_SCHEME)),
        };
        let iv = take(&mut cipher, OCTETS).and_then(|iv| iv.try_into().ok()).ok_or(BROKEN)?;
        Ok(Self { salt, iterations, long_hash, key_len, iv, data })
    }

    fn key(&self, password: &[u8]) -> Zeroizing<Vec<u8>> {
        let derived: &[u8] = if self.long_hash {
            &*pbkdf2::<Sha512>(password, self.salt, self.iterations)
        } else {
            &*pbkdf2::<Sha256>(password, self.salt, self.iterations)
        };
        Zeroizing::new(derived[..self.key_len].to_vec())
    }
}

/// What the next element holds, if it is of this kind.
fn take<'a>(der: &mut &'a [u8], kind: u8) -> Option<&'a [u8]> {
    let [found, first, rest @ ..] = *der else { return None };
    if *found != kind {
        return None;
    }
    let (len, rest) = match usize::from(*first) {
        short @ ..0x80 => (short, rest),
        long => {
            let (len, rest) = rest.split_at_checked(long & 0x7f)?;
            (len.len() <= 4).then_some(())?;
            (len.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)), rest)
        }
    };
    let (content, rest) = rest.split_at_checked(len)?;
    *der = rest;
    Some(content)
}

fn number(bytes: &[u8]) -> Option<u32> {
    let bytes = bytes.strip_prefix(&[0]).unwrap_or(bytes);
    (bytes.len() <= 4).then(|| bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

const BROKEN: Refusal = Refusal::Unknown("it is not what PKCS #8 prescribes");
const OLD_SCHEME: &str = "it is not protected by AES with SHA-256 or SHA-512; openssl pkcs8 -topk8 -v2 aes-256-cbc \
                          -v2prf hmacWithSHA256 -in OLD -out NEW makes one that is";
/// A second or two. No tool writes more, and a file from elsewhere must not keep a program from starting.
const MOST_ITERATIONS: u32 = 10_000_000;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OBJECT: u8 = 0x06;

// 1.2.840.113549.1.5.13 and .12, 1.2.840.113549.2.9 and .11, 2.16.840.1.101.3.4.1.2, .22 and .42
const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0d];
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0c];
const HMAC_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x09];
const HMAC_SHA512: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x0b];
const AES128_CBC: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x02];
const AES192_CBC: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x16];
const AES256_CBC: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a];

#[cfg(test)]
mod tests {
    use super::{super::pem, *};

    fn key(pem: &str) -> Zeroizing<Vec<u8>> {
        pem::parse(pem.as_bytes()).unwrap().remove(0).der
    }

    #[test]
    fn what_openssl_writes_is_opened() {
        let plain = key(PLAIN);
        for (name, sealed) in [
            ("aes-128, sha-512", AES128_SHA512),
            ("aes-192, sha-256", AES192_SHA256),
            ("aes-256, sha-256", AES256_SHA256),
        ] {
            let sealed = key(sealed);
            assert!(decrypt(&sealed, b"sesame").is_ok_and(|found| *found == *plain), "{name}");
            assert_eq!(decrypt(&sealed, b"sesamE").err(), Some(Refusal::WrongPassword), "{name}");
        }
        assert_eq!(decrypt(&key(OLD), b"sesame").err(), Some(Refusal::Unknown(OLD_SCHEME)));
    }

    #[test]
    fn what_is_cut_or_bent_is_an_error() {
        let sealed = key(AES256_SHA256);
        for length in 0..sealed.len() {
            assert!(decrypt(&sealed[..length], b"sesame").is_err(), "{length}");
        }
        // As far as the salt: behind it lies the number of iterations, which can be made large.
        for at in 0..48 {
            let mut bent = sealed.to_vec();
            bent[at] ^= 0x55;
            let _ = decrypt(&bent, b"sesame");
        }
    }

    const PLAIN: &str = "-----BEGIN PRIVATE KEY-----\n\
        MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgxd8H3oBDNKuta6tG\n\
        U8epaKNKXmW9gXxfPnieUB+/oj2hRANCAASd8FGCE8r1+v3UPZLuKwW6/YF9is/R\n\
        tpLZJDiPoktsOL7jLrzABB5ZYnUMR+P7KhdjZQZY5Kv5AfSaiKTQBJ5m\n\
        -----END PRIVATE KEY-----";
    const AES128_SHA512: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----\n\
        MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAiTjV+81bu8XAICA+gw\n\
        DAYIKoZIhvcNAgsFADAdBglghkgBZQMEAQIEEPnL5g0LYsDXkj2ggUBg40wEgZAi\n\
        WdRAshKoBkHy21+BBZfGgbTF/UW0vldKIyKeq9w3Q+zGpKHubtB5hbvQYn3Gu43X\n\
        mMXYuG6CvQwAeLYw9DhPw4W88IGHYBqCQI7rqM3mYOnvNdu2pkfNZWEHjz/0YxQ7\n\
        iUlmLKc939Ms450aVbGDgcok00vfpVwDI6PiHAqB8wT8YjY/nEjZSUrIQ+D3G+c=\n\
        -----END ENCRYPTED PRIVATE KEY-----";
    const AES192_SHA256: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----\n\
        MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAghhqziQ3nSgwICA+gw\n\
        DAYIKoZIhvcNAgkFADAdBglghkgBZQMEARYEECYeWrvhC3NobD6H94QZSmcEgZBO\n\
        KUNWP5Zsl43oOyLYfHJhKFsjEcc17phO4tTZi+uyhxSbI8hzJnp6i0VOdyQq1+vs\n\
        tbiwoCvHaFxhFsgBvyQCMS8s4/Wnw2NG3CCqVPOmmXDQ+7xqaNz82aXaOFj61wOy\n\
        zFMZWpNkn89fOtJReX/qlUheFeGWdexU2oWoD5xAK1O2NHYk2D1raXEmSqeqwmA=\n\
        -----END ENCRYPTED PRIVATE KEY-----";
    const AES256_SHA256: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----\n\
        MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgEDh2ZQDXjcAICA+gw\n\
        DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEIIPzOVo2lTYsFOwJEL5t/EEgZA6\n\
        8gEqzpZQvRgQ9xRKyaqQiIgG7vKOxFRa3FoE0peKhALCdPmU61eIh/7LBJntUxa9\n\
        qUBYknYBPwqpJGrToVBHuxfnfzoKgMz7dt8KN80IZShHEL5tke34DWqfD/cMd+iS\n\
        h6cnLIzqG1Lz+V3zAxswen25w02r6KObrSM1bWoCA1se33bKdy7zuzWd2So7ZB4=\n\
        -----END ENCRYPTED PRIVATE KEY-----";
    const OLD: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----\n\
        MIGxMBwGCiqGSIb3DQEMAQMwDgQIQ+/0WgLggUICAggABIGQE+l0TZ9UR4CFPikM\n\
        pfCf1qyi4hore6pXuUs/qp2nXEWPujmNBJMViywf3LU3hwkkkFlLoq1Nd2k3pZq0\n\
        SBdmMLZ/rxWSgGn3C1H5LK/ntL+sfse0kSFptDxmnzdvjXz7dabpZG+pnnxkjrKN\n\
        E4BgE11qyGdOWt7QmENii6hzAelI9sWys2EFiMk3vlL9UyKs\n\
        -----END ENCRYPTED PRIVATE KEY-----";
}
