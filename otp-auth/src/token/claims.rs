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

/// The claims of an application token on the wire: of a person or of a service.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct AppWire {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(deserialize_with = "one_or_many")]
    pub(crate) aud: Vec<String>,
    pub(crate) iss: String,
    pub(crate) exp: u64,
    pub(crate) iat: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) nbf: Option<u64>,
    pub(crate) sub: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) identity_nonce: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) common_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) country: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) policy_id: Option<String>,
    /// When revocations last counted for this login; the store's clock.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) epoch: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) acr: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(crate) amr: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) auth_time: Option<u64>,
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
    /// When revocations last counted for this login; the store's clock.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) epoch: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) acr: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(crate) amr: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) auth_time: Option<u64>,
}

/// The claims of a token for a visitor nobody knows, in the redirect to the login page.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct MetaWire {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) aud: String,
    pub(crate) hostname: String,
    pub(crate) redirect_url: String,
    pub(crate) service_token_status: bool,
    pub(crate) is_warp: bool,
    pub(crate) is_gateway: bool,
    pub(crate) exp: u64,
    pub(crate) nbf: u64,
    pub(crate) iat: u64,
    pub(crate) auth_status: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) real_country: Option<String>,
    pub(crate) app_session_hash: String,
}

/// The claims of a token that tells a program which application a host is.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct MatchWire {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) aud: String,
    pub(crate) hostname: String,
    pub(crate) auth_domain: String,
    pub(crate) app_hostname: String,
    pub(crate) iat: u64,
}

/// Who an application token is for.
pub(crate) enum Principal<'a> {
    Person { identity_nonce: &'a str },
    Service { common_name: &'a str },
}

impl AppWire {
    pub(crate) fn from_claims(claims: Map<String, Value>) -> Result<Self, TokenError> {
        serde_json::from_value(Value::Object(claims)).map_err(|_| TokenError::BadClaims)
    }

    /// A person or a service, never something of both.
    pub(crate) fn principal(&self) -> Result<Principal<'_>, TokenError> {
        match (&self.common_name, &self.email, &self.identity_nonce, self.nbf) {
            (None, Some(_), Some(identity_nonce), Some(_)) if !self.sub.is_empty() => {
                Ok(Principal::Person { identity_nonce })
            }
            (Some(common_name), None, None, _)
                if self.sub.is_empty() && !common_name.is_empty() =>
            {
                Ok(Principal::Service { common_name })
            }
            _ => Err(TokenError::BadClaims),
        }
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
