//! Public keys as JSON (RFC 7517, RFC 7518 section 6.2, RFC 7638).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::{POINT_BYTES, VerifyingKey};
use crate::token::sha256_hex;

/// The keys that verify tokens of one issuer, as read from its key set document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublicKeySet {
    keys: Vec<VerifyingKey>,
}

impl PublicKeySet {
    /// Reads a key set document, `{"keys":[..]}`, at most 1 MiB and 64 keys.
    ///
    /// Keys of other types, for other uses or algorithms are passed over (RFC 7517 section 5). A key
    /// without `kid` is named by its thumbprint. Other members, `public_cert` for one, are ignored.
    ///
    /// # Errors
    ///
    /// Refuses what is no key set, and two keys of one name.
    pub fn from_json(json: &str) -> Result<Self, PublicKeySetError> {
        if json.len() > KEY_SET_BYTES {
            return Err(PublicKeySetError::TooLarge);
        }
        let document: Document =
            serde_json::from_str(json).map_err(|_| PublicKeySetError::Malformed)?;
        if document.keys.len() > KEY_SET_KEYS {
            return Err(PublicKeySetError::TooLarge);
        }
        let mut keys: Vec<VerifyingKey> = Vec::new();
        for key in document.keys.into_iter().filter_map(Jwk::into_key) {
            if keys.iter().any(|other| other.kid == key.kid) {
                return Err(PublicKeySetError::RepeatedName);
            }
            keys.push(key);
        }
        Ok(Self { keys })
    }

    /// Writes the key set document.
    pub fn to_json(&self) -> String {
        let keys = self.keys.iter().map(Jwk::of).collect::<Vec<_>>();
        serde_json::json!({ "keys": keys }).to_string()
    }

    /// The key of this name.
    pub fn find(&self, kid: &str) -> Option<&VerifyingKey> {
        self.keys.iter().find(|key| key.kid == kid)
    }

    /// All keys; the order has no meaning.
    pub fn keys(&self) -> &[VerifyingKey] {
        &self.keys
    }

    pub(super) fn new(keys: Vec<VerifyingKey>) -> Self {
        Self { keys }
    }
}

/// Why a text is not a key set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublicKeySetError {
    /// Over 1 MiB or 64 keys.
    #[error("key set is too large")]
    TooLarge,
    /// Not an object with an array `keys` of objects.
    #[error("key set is malformed")]
    Malformed,
    /// Two keys of one `kid`.
    #[error("key set has two keys of one name")]
    RepeatedName,
}

impl VerifyingKey {
    /// The RFC 7638 thumbprint in hexadecimal: SHA-256 over the required members in lexical order.
    pub(super) fn thumbprint(&self) -> String {
        let (x, y) = self.coordinates();
        let input = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        sha256_hex(input.as_bytes())
    }

    fn coordinates(&self) -> (String, String) {
        let (x, y) = self.point[1..].split_at(32);
        (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y))
    }
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Jwk>,
}

#[derive(Serialize, Deserialize)]
struct Jwk {
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
    kty: String,
    crv: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Jwk {
    fn of(key: &VerifyingKey) -> Self {
        let (x, y) = key.coordinates();
        Self {
            kid: Some(key.kid.clone()),
            kty: "EC".to_owned(),
            crv: Some("P-256".to_owned()),
            alg: Some(key.algorithm().as_str().to_owned()),
            usage: Some("sig".to_owned()),
            x: Some(x),
            y: Some(y),
        }
    }

    fn into_key(self) -> Option<VerifyingKey> {
        let is_ours = self.kty == "EC"
            && self.crv.as_deref() == Some("P-256")
            && self.alg.as_deref().is_none_or(|alg| alg == "ES256")
            && self.usage.as_deref().is_none_or(|usage| usage == "sig");
        if !is_ours {
            return None;
        }
        let mut point = [0; POINT_BYTES];
        point[0] = 4;
        point[1..33].copy_from_slice(&coordinate(&self.x?)?);
        point[33..].copy_from_slice(&coordinate(&self.y?)?);
        Some(VerifyingKey::new(point, self.kid))
    }
}

/// RFC 7518 section 6.2.1.2: the full 32 bytes, leading zeros included.
fn coordinate(text: &str) -> Option<[u8; 32]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

/// What cloudflared accepts as a key set.
const KEY_SET_BYTES: usize = 1 << 20;

/// An issuer publishes two or three keys; each look-up walks the list.
const KEY_SET_KEYS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7515 appendix A.3.
    const RFC_KEY: &str = r#"{"keys":[{"kty":"EC","crv":"P-256",
        "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;

    #[test]
    fn verifies_the_example_of_rfc_7515() {
        let keys = PublicKeySet::from_json(RFC_KEY).unwrap();
        let [key] = keys.keys() else { panic!("one key") };
        let signed = "eyJhbGciOiJFUzI1NiJ9.\
            eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let signature = URL_SAFE_NO_PAD
            .decode("DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q")
            .unwrap();
        assert_eq!(key.verify_signature(signed.as_bytes(), &signature), Ok(()));

        let mut changed = signature.clone();
        changed[0] ^= 1;
        for bad in [&changed[..], &signature[..63], &[0; 64], &[]] {
            let refused = key.verify_signature(signed.as_bytes(), bad);
            assert_eq!(refused, Err(crate::token::TokenError::BadSignature));
        }
    }

    /// Recomputed with Python: `sha256(json.dumps(members, sort_keys=True, separators=(",", ":")))`.
    #[test]
    fn names_keys_by_their_thumbprint() {
        let keys = PublicKeySet::from_json(RFC_KEY).unwrap();
        assert_eq!(keys.keys()[0].kid(), THUMBPRINT);
    }

    const THUMBPRINT: &str = "a0a232c2f194a53553cb1310ddbc0821e414b9d7ebfc290b323084d7d1020fe5";

    #[test]
    fn a_document_survives_the_round_trip() {
        let keys = PublicKeySet::from_json(RFC_KEY).unwrap();
        assert_eq!(PublicKeySet::from_json(&keys.to_json()), Ok(keys));
    }

    #[test]
    fn foreign_keys_are_passed_over_and_nonsense_is_refused() {
        let foreign = r#"{"keys":[
            {"kty":"RSA","kid":"a","n":"AQAB","e":"AQAB"},
            {"kty":"EC","crv":"P-384","kid":"b","x":"AA","y":"AA"},
            {"kty":"EC","crv":"P-256","kid":"c","x":"AA","y":"AA"},
            {"kty":"oct","kid":"d","k":"AAAA"}],"public_cert":{}}"#;
        assert_eq!(PublicKeySet::from_json(foreign), Ok(PublicKeySet::default()));
        for text in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[1]}"#] {
            assert_eq!(PublicKeySet::from_json(text), Err(PublicKeySetError::Malformed));
        }
        let one = serde_json::from_str::<serde_json::Value>(RFC_KEY).unwrap()["keys"][0].clone();
        let twice = serde_json::json!({ "keys": [one, one] }).to_string();
        assert_eq!(PublicKeySet::from_json(&twice), Err(PublicKeySetError::RepeatedName));
        let large = " ".repeat(KEY_SET_BYTES + 1);
        assert_eq!(PublicKeySet::from_json(&large), Err(PublicKeySetError::TooLarge));
    }
}
