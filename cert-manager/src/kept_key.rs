//! Private keys of certificates that are served: there are many, and they are asked for rarely.

use rustls::sign::SigningKey;
use zeroize::Zeroizing;

use crate::{
    key::{PrivateKey, SecretPem},
    pem,
};

/// A key as small as it can be kept. Nearly all are of P-256 and in the form that libraries write today, 138 bytes: of these, 32
/// are the secret, and the loaded key knows the others.
pub(crate) enum KeptKey {
    Scalar(Zeroizing<[u8; SCALAR]>),
    Whole(PrivateKey),
}

impl KeptKey {
    pub(crate) fn new(key: PrivateKey, loaded: &dyn SigningKey) -> Self {
        let rest = |der: &[u8]| -> Option<Zeroizing<[u8; SCALAR]>> {
            let scalar = der.strip_prefix(HEAD)?.first_chunk()?;
            // Whatever is not byte for byte what would be written again is kept as it is.
            let is_same = *pkcs8(scalar, &public_point(loaded)?) == *der;
            is_same.then(|| Zeroizing::new(*scalar))
        };
        match key.pkcs8().and_then(rest) {
            Some(scalar) => Self::Scalar(scalar),
            None => Self::Whole(key),
        }
    }

    /// Writes the key that was put in. `loaded` is the same one.
    pub(crate) fn to_pem(&self, loaded: &dyn SigningKey) -> SecretPem {
        match self {
            Self::Whole(key) => key.to_pem(),
            Self::Scalar(scalar) => {
                // INVARIANT: it knew its point before.
                let point = public_point(loaded).unwrap_or_default();
                let text = pem::encode("PRIVATE KEY", &pkcs8(scalar, &point));
                SecretPem::from(String::clone(&text))
            }
        }
    }
}

/// What follows the head of a `SubjectPublicKeyInfo` of P-256: the uncompressed point.
fn public_point(loaded: &dyn SigningKey) -> Option<Vec<u8>> {
    let spki = loaded.public_key()?;
    let point = spki.strip_prefix(SPKI_HEAD).filter(|point| point.len() == POINT)?;
    Some(point.to_vec())
}

/// RFC 5958 around RFC 5915, with the public key.
fn pkcs8(scalar: &[u8; SCALAR], point: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut der = Zeroizing::new(Vec::with_capacity(HEAD.len() + SCALAR + BETWEEN.len() + POINT));
    for part in [HEAD, scalar, BETWEEN, point] {
        der.extend_from_slice(part);
    }
    der
}

const SCALAR: usize = 32;
const POINT: usize = 65;
/// All up to the secret: version, algorithm and curve, twice wrapped.
const HEAD: &[u8] = &[
    0x30, 0x81, 0x87, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02,
    0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x6d, 0x30, 0x6b, 0x02,
    0x01, 0x01, 0x04, 0x20,
];
/// The public key's place.
const BETWEEN: &[u8] = &[0xa1, 0x44, 0x03, 0x42, 0x00];
/// Algorithm and curve (RFC 5480).
const SPKI_HEAD: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

#[cfg(all(test, any(feature = "ring", feature = "aws-lc-rs")))]
mod tests {
    use super::*;
    use crate::key::default_provider;

    #[expect(clippy::unwrap_used, reason = "clippy knows test functions, not their helpers")]
    fn comes_back(text: &str) -> bool {
        let key = PrivateKey::from_pem(text).unwrap();
        let loaded = key.signing_key(&default_provider()).unwrap();
        let kept = KeptKey::new(key, &*loaded);
        assert_eq!(kept.to_pem(&*loaded).expose(), text);
        matches!(kept, KeptKey::Scalar(_))
    }

    #[test]
    fn a_key_comes_back_byte_for_byte_and_most_are_small() {
        for _ in 0..10 {
            assert!(comes_back(PrivateKey::generate().unwrap().to_pem().expose()));
        }
        for algorithm in [&rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
            let pair = rcgen::KeyPair::generate_for(algorithm).unwrap();
            assert!(!comes_back(&pem::encode("PRIVATE KEY", pair.serialized_der())));
        }
    }

    #[test]
    fn a_p256_key_in_another_form_is_kept_as_it_is() {
        let pem = PrivateKey::generate().unwrap();
        let der = pem.pkcs8().unwrap();
        // SEC 1 (RFC 5915), from inside the other.
        let sec1 = &der[29..];
        assert!(!comes_back(&pem::encode("EC PRIVATE KEY", sec1)));
    }
}
