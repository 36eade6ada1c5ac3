//! Public keys as JSON (RFC 7517, RFC 7518 section 6.2, RFC 7638).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::VerifyingKey;
use super::verifying::Material;

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
            if keys.iter().any(|other| other.kid() == key.kid()) {
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
        self.keys.iter().find(|key| key.kid() == kid)
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

#[derive(Deserialize)]
struct Document {
    keys: Vec<Jwk>,
}

/// Members of all three types of key; those of other types are absent.
#[derive(Default, Serialize, Deserialize)]
struct Jwk {
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
    kty: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    crv: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alg: Option<String>,
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    usage: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_ops: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<String>,
}

impl Jwk {
    fn of(key: &VerifyingKey) -> Self {
        let text = |bytes: &[u8]| Some(URL_SAFE_NO_PAD.encode(bytes));
        let named = Self {
            kid: Some(key.kid().to_owned()),
            alg: Some(key.algorithm().as_str().to_owned()),
            usage: Some("sig".to_owned()),
            ..Self::default()
        };
        match key.material() {
            Material::P256(point) => Self {
                kty: "EC".to_owned(),
                crv: Some("P-256".to_owned()),
                x: text(&point[1..33]),
                y: text(&point[33..]),
                ..named
            },
            Material::Ed25519(point) => Self {
                kty: "OKP".to_owned(),
                crv: Some("Ed25519".to_owned()),
                x: text(point),
                ..named
            },
            Material::Rsa { modulus, exponent } => {
                Self { kty: "RSA".to_owned(), e: text(exponent), n: text(modulus), ..named }
            }
        }
    }

    fn into_key(self) -> Option<VerifyingKey> {
        let Self { kid, kty, crv, alg, usage, key_ops, x, y, e, n } = self;
        // RFC 7517 sections 4.2 and 4.3: a key for another use is not ours to try.
        let is_for_signatures = usage.as_deref().is_none_or(|usage| usage == "sig")
            && key_ops.is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !is_for_signatures {
            return None;
        }
        let key = match (kty.as_str(), crv.as_deref()) {
            ("EC", Some("P-256")) => {
                // RFC 7518 section 6.2.1.2: the full 32 bytes, leading zeros included.
                let (x, y): ([u8; 32], [u8; 32]) =
                    (bytes(x)?.try_into().ok()?, bytes(y)?.try_into().ok()?);
                VerifyingKey::p256(&[&[4][..], &x, &y].concat(), kid)
            }
            ("OKP", Some("Ed25519")) => VerifyingKey::ed25519(&bytes(x)?, kid),
            ("RSA", None) => VerifyingKey::rsa(bytes(n)?, bytes(e)?, kid),
            _ => None,
        }?;
        // RFC 8725 section 3.1: the key's own type decides; a label that says otherwise is no label.
        let is_labelled_right = alg.is_none_or(|alg| alg == key.algorithm().as_str());
        is_labelled_right.then_some(key)
    }
}

fn bytes(text: Option<String>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text?).ok()
}

/// What cloudflared accepts as a key set.
const KEY_SET_BYTES: usize = 1 << 20;

/// An issuer publishes two or three keys; each look-up walks the list.
const KEY_SET_KEYS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = r#"{"keys":[{"kty":"EC","crv":"P-256",
        "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;

    #[test]
    fn a_document_survives_the_round_trip() {
        let keys = PublicKeySet::from_json(KEY).unwrap();
        assert_eq!(keys.keys().len(), 1);
        assert_eq!(PublicKeySet::from_json(&keys.to_json()), Ok(keys));
    }

    #[test]
    fn foreign_keys_are_passed_over_and_nonsense_is_refused() {
        let foreign = r#"{"keys":[
            {"kty":"RSA","kid":"a","n":"AQAB","e":"AQAB"},
            {"kty":"EC","crv":"P-384","kid":"b","x":"AA","y":"AA"},
            {"kty":"EC","crv":"P-256","kid":"c","x":"AA","y":"AA"},
            {"kty":"OKP","crv":"X25519","kid":"e","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
            {"kty":"oct","kid":"d","k":"AAAA"}],"public_cert":{}}"#;
        assert_eq!(PublicKeySet::from_json(foreign), Ok(PublicKeySet::default()));
        for text in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[1]}"#] {
            assert_eq!(PublicKeySet::from_json(text), Err(PublicKeySetError::Malformed));
        }
        let one = serde_json::from_str::<serde_json::Value>(KEY).unwrap()["keys"][0].clone();
        let twice = serde_json::json!({ "keys": [one, one] }).to_string();
        assert_eq!(PublicKeySet::from_json(&twice), Err(PublicKeySetError::RepeatedName));
        let large = " ".repeat(KEY_SET_BYTES + 1);
        assert_eq!(PublicKeySet::from_json(&large), Err(PublicKeySetError::TooLarge));
    }

    #[test]
    fn a_key_labelled_for_something_else_is_passed_over() {
        let one = serde_json::from_str::<serde_json::Value>(KEY).unwrap()["keys"][0].clone();
        for (name, value) in [
            ("alg", serde_json::json!("HS256")),
            ("alg", serde_json::json!("RS256")),
            ("use", serde_json::json!("enc")),
            ("key_ops", serde_json::json!(["sign"])),
        ] {
            let mut key = one.clone();
            key[name] = value;
            let document = serde_json::json!({ "keys": [key] }).to_string();
            assert_eq!(PublicKeySet::from_json(&document), Ok(PublicKeySet::default()), "{name}");
        }
    }
}
