//! Who gets a certificate, and for how long.

use std::{fmt, time::Duration};

use rcgen::{ExtendedKeyUsagePurpose, SanType};
use x509_parser::extensions::GeneralName;

use crate::{
    certificate,
    error::{Error, Kind},
    key_pair::san,
    name::Name,
};

/// Who a certificate is for: a client by a URI, or a server by its names.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Identity {
    /// A client, by one URI of at most 2,048 bytes, such as `spiffe://example.jp/connector/42`.
    Client(String),
    /// A server, by 1 to 100 names.
    Server(Vec<Name>),
}

impl Identity {
    /// Reads the identity of a certificate. It is true only where the certificate has been verified, as
    /// [`ClientVerifier`](super::ClientVerifier) does.
    ///
    /// # Errors
    ///
    /// The certificate is malformed, or has neither one URI nor names.
    pub fn of(leaf: &rustls::pki_types::CertificateDer<'_>) -> Result<Self, Error> {
        let leaf = certificate::parse(0, leaf)?;
        let names = leaf.subject_alternative_name().ok().flatten();
        let names = names.map(|extension| &extension.value.general_names);
        let uris: Vec<&str> = names.iter().copied().flatten().filter_map(uri).collect();
        match uris[..] {
            [uri] => Ok(Self::Client(uri.to_owned())),
            [] => match certificate::names(&leaf) {
                names if names.is_empty() => {
                    Err(Kind::Request("the certificate names nobody").into())
                }
                names => Ok(Self::Server(names.into_vec())),
            },
            _ => Err(Kind::Request("the certificate has several identities").into()),
        }
    }

    pub(super) fn alternative_names(&self) -> Result<Vec<SanType>, Error> {
        match self {
            Self::Client(uri) => {
                let uri = uri.as_str().try_into();
                let uri =
                    uri.map_err(|source| Kind::Issue { doing: "encode an identity", source })?;
                Ok(vec![SanType::URI(uri)])
            }
            Self::Server(names) => names.iter().map(san).collect(),
        }
    }

    pub(super) fn usage(&self) -> ExtendedKeyUsagePurpose {
        match self {
            Self::Client(_) => ExtendedKeyUsagePurpose::ClientAuth,
            Self::Server(_) => ExtendedKeyUsagePurpose::ServerAuth,
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(uri) => f.write_str(uri),
            Self::Server(names) => {
                for (at, name) in names.iter().enumerate() {
                    write!(f, "{}{name}", if at > 0 { " " } else { "" })?;
                }
                Ok(())
            }
        }
    }
}

/// What may be signed: for whom, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Grant {
    identity: Identity,
    life: Duration,
}

impl Grant {
    /// For a client, by a URI of 1 to 2,048 bytes of ASCII without blanks, with a scheme.
    ///
    /// # Errors
    ///
    /// Another text.
    pub fn client(uri: &str) -> Result<Self, Error> {
        let is_plain = uri.bytes().all(|b| b.is_ascii_graphic());
        let has_scheme = uri.split_once(':').is_some_and(|(scheme, rest)| {
            let is_scheme = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.bytes().all(is_scheme)
                && !rest.is_empty()
        });
        if uri.len() > MAX_URI_BYTES || !is_plain || !has_scheme {
            return Err(Kind::Request("a client is a URI of at most 2,048 bytes").into());
        }
        Ok(Self { identity: Identity::Client(uri.to_owned()), life: DEFAULT_LIFE })
    }

    /// For a server, by 1 to 100 names. Such a certificate opens no mutual TLS as a client, so it is not renewed over
    /// it: the machine enrols again.
    ///
    /// # Errors
    ///
    /// No names, or more.
    pub fn server(names: &[Name]) -> Result<Self, Error> {
        if names.is_empty() {
            return Err(Kind::NoNames.into());
        }
        if names.len() > MAX_NAMES {
            return Err(Kind::Request("a server has at most 100 names").into());
        }
        Ok(Self { identity: Identity::Server(names.to_vec()), life: DEFAULT_LIFE })
    }

    /// How long certificates live. Default 24 hours; renew at half of it.
    ///
    /// # Errors
    ///
    /// Less than 5 minutes or more than 90 days.
    pub fn life(mut self, life: Duration) -> Result<Self, Error> {
        if !(SHORTEST_LIFE..=LONGEST_LIFE).contains(&life) {
            return Err(Kind::Life(life.as_secs()).into());
        }
        self.life = life;
        Ok(self)
    }

    /// For whom.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(super) fn lifetime(&self) -> Duration {
        self.life
    }

    /// One line: `client SECONDS URI` or `server SECONDS NAME NAME …`.
    pub(super) fn to_line(&self) -> String {
        let kind = match self.identity {
            Identity::Client(_) => "client",
            Identity::Server(_) => "server",
        };
        format!("{kind} {} {}", self.life.as_secs(), self.identity)
    }

    pub(super) fn from_line(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let (kind, life) = (words.next()?, words.next()?.parse().ok()?);
        let grant = match kind {
            "client" => Self::client(words.next()?).ok()?,
            "server" => {
                let names = words.by_ref().map(|name| name.parse().ok());
                Self::server(&names.collect::<Option<Vec<_>>>()?).ok()?
            }
            _ => return None,
        };
        match words.next() {
            Some(_) => None,
            None => grant.life(Duration::from_secs(life)).ok(),
        }
    }

    /// What a certificate was granted.
    pub(super) fn again(identity: &Identity, life: Duration) -> Result<Self, Error> {
        let grant = match identity {
            Identity::Client(uri) => Self::client(uri)?,
            Identity::Server(names) => Self::server(names)?,
        };
        grant.life(life)
    }
}

fn uri<'a>(name: &GeneralName<'a>) -> Option<&'a str> {
    match name {
        GeneralName::URI(uri) => Some(uri),
        _ => None,
    }
}

const MAX_URI_BYTES: usize = 2_048;
const MAX_NAMES: usize = 100;
const DEFAULT_LIFE: Duration = Duration::from_secs(86_400);
const SHORTEST_LIFE: Duration = Duration::from_secs(300);
const LONGEST_LIFE: Duration = Duration::from_secs(90 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_read_as_it_was_written() {
        let names = ["a.example".parse().unwrap(), "*.b.example".parse().unwrap()];
        for grant in [
            Grant::client("spiffe://example.jp/a?b=c").unwrap(),
            Grant::server(&names).unwrap().life(Duration::from_secs(600)).unwrap(),
        ] {
            assert_eq!(Grant::from_line(&grant.to_line()), Some(grant));
        }
        for line in [
            "",
            "client 600",
            "client x spiffe://a",
            "client 600 spiffe://a b",
            "root 600 a",
            "server 600",
            "server 1 a.b",
        ] {
            assert_eq!(Grant::from_line(line), None, "{line}");
        }
    }

    #[test]
    fn identities_of_another_form_are_refused() {
        let long = format!("spiffe://{}", "a".repeat(2_048));
        for uri in
            ["", "a", ":", "a:", "1a:b", "a b:c", "spiffe://a b", "spiffe://é", "a:\n", &long]
        {
            assert!(Grant::client(uri).is_err(), "{uri}");
        }
        let names: Vec<Name> = (0..101).map(|n| format!("n{n}.example").parse().unwrap()).collect();
        assert!(Grant::server(&names).is_err());
        assert!(Grant::server(&[]).is_err());
        assert!(Grant::server(&names[..100]).is_ok());
    }
}
