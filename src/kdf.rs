//! From a password to a key: HMAC (RFC 2104) and PBKDF2 (RFC 8018), over SHA-256 and SHA-512.
//!
//! One block of the hash's length, which is all that SCRAM and password-protected key files ask for.

use zeroize::{Zeroize, Zeroizing};

/// A hash that can be copied in the middle of its work.
pub(crate) trait Digest: Copy {
    type Output: AsRef<[u8]> + AsMut<[u8]> + Copy + Zeroize;
    const BLOCK: usize;

    fn new() -> Self;
    fn update(&mut self, bytes: &[u8]);
    fn finalize(self) -> Self::Output;
}

macro_rules! digest {
    ($name:ident, $krate:ident, $len:literal, $block:literal) => {
        #[derive(Clone, Copy)]
        pub(crate) struct $name($krate::Hash);

        impl Digest for $name {
            type Output = [u8; $len];
            const BLOCK: usize = $block;

            fn new() -> Self {
                Self($krate::Hash::new())
            }

            fn update(&mut self, bytes: &[u8]) {
                self.0.update(bytes);
            }

            fn finalize(self) -> Self::Output {
                self.0.finalize()
            }
        }
    };
}

digest!(Sha256, hmac_sha256, 32, 64);
digest!(Sha512, hmac_sha512, 64, 128);

/// An HMAC whose key has gone in already: half the work of one that begins with its key.
#[derive(Clone, Copy)]
pub(crate) struct Hmac<D> {
    inner: D,
    outer: D,
}

impl<D: Digest> Hmac<D> {
    pub(crate) fn new(key: &[u8]) -> Self {
        let mut block = Zeroizing::new(vec![0; D::BLOCK]);
        if key.len() > D::BLOCK {
            let hash = hash::<D>(key);
            block[..hash.as_ref().len()].copy_from_slice(hash.as_ref());
        } else {
            block[..key.len()].copy_from_slice(key);
        }
        let [inner, outer] = [0x36, 0x5c].map(|pad| {
            let padded: Zeroizing<Vec<u8>> = Zeroizing::new(block.iter().map(|byte| byte ^ pad).collect());
            let mut digest = D::new();
            digest.update(&padded);
            digest
        });
        Self { inner, outer }
    }

    /// Of the parts, one after the other.
    pub(crate) fn of(mut self, parts: &[&[u8]]) -> D::Output {
        parts.iter().for_each(|part| self.inner.update(part));
        self.outer.update(self.inner.finalize().as_ref());
        self.outer.finalize()
    }
}

pub(crate) fn hash<D: Digest>(bytes: &[u8]) -> D::Output {
    let mut digest = D::new();
    digest.update(bytes);
    digest.finalize()
}

pub(crate) fn pbkdf2<D: Digest>(password: &[u8], salt: &[u8], iterations: u32) -> Zeroizing<D::Output> {
    let keyed = Hmac::<D>::new(password);
    let mut last = Zeroizing::new(keyed.of(&[salt, &1u32.to_be_bytes()]));
    let mut sum = last.clone();
    for _ in 1..iterations {
        *last = keyed.of(&[(*last).as_ref()]);
        (*sum).as_mut().iter_mut().zip((*last).as_ref()).for_each(|(sum, byte)| *sum ^= byte);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn known_answers() {
        for (iterations, want) in [
            (1, "120fb6cffcf8b32c43e7225256c4f837a86548c92ccc35480805987cb70be17b"),
            (2, "ae4d0c95af6b46d32d0adff928f06dd02a303f8ef3c251dfd6e2d85a95474c43"),
            (4096, "c5e478d59288c841aa530db6845c4c8d962893a001ce4e11a4963873aa98134a"),
        ] {
            assert_eq!(hex(&*pbkdf2::<Sha256>(b"password", b"salt", iterations)), want);
        }
        assert_eq!(
            hex(&*pbkdf2::<Sha512>(b"password", b"salt", 4096)),
            "d197b1b33db0143e018b12f3d1d1479e6cdebdcc97c5c0f87f6902e072f457b5143f30602641b3d55cd335988cb36b84376060ecd53\
             2e039b742a239434af2d5"
        );
    }
}
