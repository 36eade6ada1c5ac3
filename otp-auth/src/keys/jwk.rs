//! Public keys as JSON (RFC 7517, RFC 7518 section 6.2, RFC 7638).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::VerifyingKey;
use super::verifying::Material;
use crate::token::Algorithm;

/// The keys that verify tokens of one issuer, as read from its key set document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublicKeySet {
    keys: Vec<VerifyingKey>,
}

impl PublicKeySet {
    /// Reads a key set document, `{"keys":[..]}`, at most 1 MiB and 64 keys.
    ///
    /// Keys of other types, for other uses or algorithms, and of sizes that nobody should use are passed over,
    /// however odd their members (RFC 7517 section 5). A key without `kid` is named by its thumbprint. Other
    /// members, `public_cert` for one, are ignored.
    ///
    /// # Errors
    ///
    /// Refuses what is no key set, two keys of one name, and a key that says it is one of ours (ES256,
    /// `EdDSA` or RS256, for signatures) and is broken: an issuer that publishes half a key has other trouble, and
    /// whoever reads on would refuse its tokens for want of a key.
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
        for key in document.keys {
            let Some(key) = key.into_key()? else { continue };
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
    /// A key of a type that is used here has a member that is missing or cannot be.
    #[error("key set has a broken key")]
    BrokenKey,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<FoundJwk>,
}

/// A key as it was found: of whatever type, with members of whatever kind. A member that is there twice
/// refuses the document.
#[derive(Deserialize)]
struct FoundJwk {
    kid: Option<Value>,
    kty: Option<Value>,
    crv: Option<Value>,
    alg: Option<Value>,
    #[serde(rename = "use")]
    usage: Option<Value>,
    key_ops: Option<Value>,
    x: Option<Value>,
    y: Option<Value>,
    e: Option<Value>,
    n: Option<Value>,
}

/// Members of all three types of key; those of other types are absent.
#[derive(Default, Serialize)]
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
}

impl FoundJwk {
    /// `None` for a key that is not for us.
    fn into_key(self) -> Result<Option<VerifyingKey>, PublicKeySetError> {
        let Some(kind) = self.kind() else { return Ok(None) };
        let broken = PublicKeySetError::BrokenKey;
        let Self { kid, x, y, e, n, .. } = self;
        let kid = match kid {
            Some(Value::String(kid)) => Some(kid),
            None => None,
            Some(_) => return Err(broken),
        };
        let key = match kind {
            // RFC 7518 section 6.2.1.2: the full 32 bytes, leading zeros included.
            Kind::P256 => {
                let (x, y): (Option<[u8; 32]>, Option<[u8; 32]>) =
                    (bytes(x.as_ref()).and_then(exactly), bytes(y.as_ref()).and_then(exactly));
                let (Some(x), Some(y)) = (x, y) else { return Err(broken) };
                VerifyingKey::p256(&[&[4][..], &x, &y].concat(), kid)
            }
            Kind::Ed25519 => bytes(x.as_ref()).and_then(|x| VerifyingKey::ed25519(&x, kid)),
            Kind::Rsa => {
                let (Some(n), Some(e)) = (bytes(n.as_ref()), bytes(e.as_ref())) else {
                    return Err(broken);
                };
                // RFC 7517 section 5: values out of the supported range.
                if !VerifyingKey::is_rsa_size(&n, &e) {
                    return Ok(None);
                }
                VerifyingKey::rsa(n, e, kid)
            }
        };
        key.map(Some).ok_or(broken)
    }

    /// Which of our types it says it is, and is for.
    fn kind(&self) -> Option<Kind> {
        let kind = match (text(self.kty.as_ref())?, text(self.crv.as_ref())) {
            ("EC", Some("P-256")) => Kind::P256,
            ("OKP", Some("Ed25519")) => Kind::Ed25519,
            ("RSA", None) if self.crv.is_none() => Kind::Rsa,
            _ => return None,
        };
        // RFC 7517 sections 4.2 and 4.3: a key for another use is not ours to try.
        let is_for_signatures = self.usage.as_ref().is_none_or(|usage| usage == "sig")
            && self.key_ops.as_ref().is_none_or(|ops| {
                ops.as_array().is_some_and(|ops| ops.iter().any(|op| op == "verify"))
            });
        // RFC 8725 section 3.1: the key's own type decides; a label that says otherwise is no label.
        let is_labelled_right =
            self.alg.as_ref().is_none_or(|alg| alg == kind.algorithm().as_str());
        (is_for_signatures && is_labelled_right).then_some(kind)
    }
}

/// The types of key that are used here.
#[derive(Clone, Copy)]
enum Kind {
    P256,
    Ed25519,
    Rsa,
}

impl Kind {
    fn algorithm(self) -> Algorithm {
        match self {
            Self::P256 => Algorithm::Es256,
            Self::Ed25519 => Algorithm::EdDsa,
            Self::Rsa => Algorithm::Rs256,
        }
    }
}

fn text(member: Option<&Value>) -> Option<&str> {
    member.and_then(Value::as_str)
}

fn bytes(member: Option<&Value>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text(member)?).ok()
}

fn exactly<const N: usize>(bytes: Vec<u8>) -> Option<[u8; N]> {
    bytes.try_into().ok()
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
            {"kty":"EC","crv":"P-256","kid":"c","x":"AA","y":"AA","use":"enc"},
            {"kty":"RSA","kid":"f","alg":"PS256","n":7},
            {"kty":"EC","crv":["P-256"],"kid":{},"x":null},
            {"kty":"AKP","alg":"ML-DSA-65","pub":"AA","kid":9,"x":[1],"use":7,"key_ops":"verify"},
            {"kty":9}, {}, {"kid":"g","x5c":["AA"]},
            {"kty":"RSA","crv":1,"kid":"h"},
            {"kty":"OKP","crv":"X25519","kid":"e","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
            {"kty":"oct","kid":"d","k":"AAAA"}],"public_cert":{}}"#;
        assert_eq!(PublicKeySet::from_json(foreign), Ok(PublicKeySet::default()));
        for text in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[1]}"#] {
            assert_eq!(PublicKeySet::from_json(text), Err(PublicKeySetError::Malformed));
        }
        let one = serde_json::from_str::<Value>(KEY).unwrap()["keys"][0].clone();
        let twice = serde_json::json!({ "keys": [one, one] }).to_string();
        assert_eq!(PublicKeySet::from_json(&twice), Err(PublicKeySetError::RepeatedName));
        let large = " ".repeat(KEY_SET_BYTES + 1);
        assert_eq!(PublicKeySet::from_json(&large), Err(PublicKeySetError::TooLarge));
    }

    #[test]
    fn a_foreign_key_hides_none_of_ours_and_a_broken_one_of_ours_is_told() {
        let one = serde_json::from_str::<Value>(KEY).unwrap()["keys"][0].clone();
        let odd = serde_json::json!({"kty": "AKP", "kid": 9, "x": [1], "n": {}});
        let both = serde_json::json!({ "keys": [odd, one] }).to_string();
        assert_eq!(PublicKeySet::from_json(&both).unwrap().keys().len(), 1);

        let rsa =
            serde_json::json!({"kty": "RSA", "e": "AQAB", "n": URL_SAFE_NO_PAD.encode([255; 256])});
        let ed = serde_json::json!({
            "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
        });
        for good in [&one, &rsa, &ed] {
            let document = serde_json::json!({ "keys": [good] }).to_string();
            assert_eq!(PublicKeySet::from_json(&document).unwrap().keys().len(), 1);
        }
        for (key, name, value) in [
            (&one, "x", Value::Null),
            (&one, "x", serde_json::json!("AA")),
            (&one, "y", serde_json::json!(1)),
            (&one, "y", serde_json::json!("not base64!")),
            (&one, "kid", serde_json::json!(7)),
            (&ed, "x", serde_json::json!("AA")),
            (&ed, "x", Value::Null),
            (&rsa, "n", Value::Null),
            (&rsa, "n", serde_json::json!(URL_SAFE_NO_PAD.encode([254; 256]))),
            (&rsa, "e", serde_json::json!("AQ==")),
        ] {
            let mut broken = key.clone();
            broken[name] = value.clone();
            let document = serde_json::json!({ "keys": [broken, one] }).to_string();
            let read = PublicKeySet::from_json(&document);
            assert_eq!(read, Err(PublicKeySetError::BrokenKey), "{name} {value}");
        }
    }

    #[test]
    fn a_key_labelled_for_something_else_is_passed_over() {
        let one = serde_json::from_str::<Value>(KEY).unwrap()["keys"][0].clone();
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
