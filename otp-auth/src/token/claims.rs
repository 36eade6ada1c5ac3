//! Claims as Access writes them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{TokenError, sha256_hex};
use crate::error::Error;

/// The AUD of an application: which tokens it takes.
///
/// 1 to 255 printable ASCII characters without spaces, compared exactly. Access uses 64 hexadecimal
/// digits, which [`for_application`](Self::for_application) makes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Audience(String);

impl Audience {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Derives a stable AUD of 64 hexadecimal digits from the issuer and a name that is unique there.
    pub fn for_application(issuer: &str, name: &str) -> Self {
        let input = format!("otp-auth/aud/v1\0{issuer}\0{name}");
        Self(sha256_hex(input.as_bytes()))
    }
}

impl FromStr for Audience {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if (1..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::setting("audience", "it must be 1 to 255 printable ASCII characters"))
        }
    }
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who signed in and how: what `get-identity` answers and the org token carries.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Identity {
    /// The address, in its comparison form.
    pub email: String,
    /// How the person signed in.
    pub idp: IdentityProvider,
    /// The stable id of the person at this issuer: the `sub` of all tokens.
    pub user_uuid: String,
    /// The account, empty if the issuer has none.
    pub account_id: String,
    /// When the person signed in, in seconds since the Unix epoch.
    pub iat: u64,
    /// From where the flow was begun.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ip: Option<IpAddr>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("user_uuid", &self.user_uuid).finish_non_exhaustive()
    }
}

/// The source of an identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct IdentityProvider {
    /// The kind: `onetimepin` for mailed codes.
    #[serde(rename = "type")]
    pub kind: String,
}

impl IdentityProvider {
    pub(crate) fn mailed_code() -> Self {
        Self { kind: "onetimepin".to_owned() }
    }
}

/// The claims of an application token on the wire.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct AppWire {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(deserialize_with = "one_or_many")]
    pub(crate) aud: Vec<String>,
    pub(crate) iss: String,
    pub(crate) exp: u64,
    pub(crate) iat: u64,
    pub(crate) nbf: u64,
    pub(crate) sub: String,
    pub(crate) email: String,
    pub(crate) identity_nonce: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) country: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) policy_id: Option<String>,
}

/// The claims of an org token on the wire.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct OrgWire {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(deserialize_with = "one_or_many")]
    pub(crate) aud: Vec<String>,
    pub(crate) iss: String,
    pub(crate) exp: u64,
    pub(crate) iat: u64,
    pub(crate) nbf: u64,
    pub(crate) sub: String,
    pub(crate) email: String,
    pub(crate) identity_nonce: String,
    pub(crate) account_id: String,
    pub(crate) identity: Identity,
}

impl AppWire {
    pub(crate) fn from_claims(claims: Map<String, Value>) -> Result<Self, TokenError> {
        serde_json::from_value(Value::Object(claims)).map_err(|_| TokenError::BadClaims)
    }
}

impl OrgWire {
    pub(crate) fn from_claims(claims: Map<String, Value>) -> Result<Self, TokenError> {
        serde_json::from_value(Value::Object(claims)).map_err(|_| TokenError::BadClaims)
    }
}

/// RFC 7519 section 4.1.3: `aud` is a string or an array of strings.
fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    })
}
