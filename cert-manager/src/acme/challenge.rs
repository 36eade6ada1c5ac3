//! How control over a name is shown.

use std::net::IpAddr;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::digest::sha256;

/// The kinds of challenges that can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ChallengeKind {
    /// A text at `http://NAME/.well-known/acme-challenge/TOKEN` (RFC 8555 section 8.3).
    #[serde(rename = "http-01")]
    Http01,
    /// A certificate in a handshake for the protocol `acme-tls/1` (RFC 8737).
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    /// A TXT record at `_acme-challenge.NAME` (RFC 8555 section 8.4). The only one for wildcards.
    #[serde(rename = "dns-01")]
    Dns01,
}

impl ChallengeKind {
    /// The name that the standard gives it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Dns01 => "dns-01",
        }
    }
}

/// What has to be shown for one name, until the authority has seen it. Plain data, so that another
/// process can take away what one left that died.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Challenge {
    /// How.
    pub kind: ChallengeKind,
    /// The name or address, without `*.`.
    pub name: String,
    /// The authority's part.
    pub token: String,
    /// The answer: the token, a dot, and the thumbprint of the account's key.
    pub key_authorization: String,
}

impl Challenge {
    /// The path under which HTTP-01 looks for [`Challenge::key_authorization`].
    pub fn http_path(&self) -> String {
        format!("{HTTP_PREFIX}{}", self.token)
    }

    /// The value of the TXT record of DNS-01: 43 characters.
    pub fn txt_value(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.digest())
    }

    /// The name of the TXT record of DNS-01.
    pub fn txt_name(&self) -> String {
        format!("_acme-challenge.{}", self.name)
    }

    /// What the extension of TLS-ALPN-01's certificate holds: the SHA-256 of the answer.
    pub fn digest(&self) -> [u8; 32] {
        sha256(&[self.key_authorization.as_bytes()])
    }

    /// The server name that TLS-ALPN-01 asks for: for an address, its name in reverse (RFC 8738 section 6).
    pub fn server_name(&self) -> String {
        match self.name.parse() {
            Ok(IpAddr::V4(address)) => {
                let [a, b, c, d] = address.octets();
                format!("{d}.{c}.{b}.{a}.in-addr.arpa")
            }
            Ok(IpAddr::V6(address)) => {
                let mut name = String::with_capacity(72);
                for byte in address.octets().into_iter().rev() {
                    for nibble in [byte & 15, byte >> 4] {
                        name.extend(char::from_digit(nibble.into(), 16));
                        name.push('.');
                    }
                }
                name + "ip6.arpa"
            }
            Err(_) => self.name.clone(),
        }
    }
}

/// Where all answers to HTTP-01 lie.
pub const HTTP_PREFIX: &str = "/.well-known/acme-challenge/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_asked_for_by_its_name_in_reverse() {
        let name = |text: &str| {
            let (token, key_authorization) = (String::new(), String::new());
            let name = text.to_owned();
            Challenge { kind: ChallengeKind::TlsAlpn01, name, token, key_authorization }
                .server_name()
        };
        assert_eq!(name("192.0.2.1"), "1.2.0.192.in-addr.arpa");
        assert_eq!(name("a.example"), "a.example");
        let v6 = name("2001:db8::1");
        assert!(v6.starts_with("1.0.0.0.0.") && v6.ends_with(".8.b.d.0.1.0.0.2.ip6.arpa"), "{v6}");
        assert_eq!(v6.len(), 72);
    }
}
