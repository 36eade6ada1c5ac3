//! What is known about one request.

use std::{fmt, net::IpAddr};

use crate::{
    country::CountryCode, error::Error, fact::Fact, host::Host, identity::Identity, limits,
    path::RequestPath, risk::RiskLevel,
};

/// The facts on which a decision rests. What is not supplied is *unknown*, never false.
///
/// # Security
///
/// `host` must be the one that routing uses, and `path` the one that is forwarded. If `:authority`
/// and `Host` disagree, refuse the request before it comes here. The client address must be the
/// peer's, or come from a proxy you trust; this crate reads no header fields.
///
/// ```
/// use access_policy::Request;
///
/// let request = Request::new("Wiki.Example.JP:8443", "/a/../b?c")?
///     .client_ip("::ffff:192.0.2.9".parse().unwrap());
/// assert_eq!(request.host(), "wiki.example.jp");
/// assert_eq!(request.path(), "/b");
/// assert_eq!(request.client_ip_address(), Some("192.0.2.9".parse().unwrap()));
/// assert!(Request::new("user@wiki.example.jp", "/").is_err());
/// # Ok::<(), access_policy::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Request<'a> {
    host: Host<'a>,
    path: RequestPath<'a>,
    identity: Option<&'a Identity<'a>>,
    pub(crate) facts: Facts<'a>,
}

/// What the host found out besides host, path and identity.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Facts<'a> {
    pub(crate) client_ip: Fact<IpAddr>,
    pub(crate) country: Fact<CountryCode>,
    pub(crate) certificate: Fact<&'a str>,
    pub(crate) posture: Fact<&'a [&'a str]>,
    pub(crate) linked_app_tokens: Fact<&'a [&'a str]>,
    pub(crate) risk: Fact<RiskLevel>,
    pub(crate) service_token: ServiceToken<'a>,
    pub(crate) external: &'a [ExternalAnswer<'a>],
    pub(crate) preflight: Option<Preflight<'a>>,
}

/// About whom a rule is asked: what the host found out, and who has logged in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'r> {
    pub(crate) facts: &'r Facts<'r>,
    pub(crate) identity: Option<&'r Identity<'r>>,
}

/// What became of the service token that a request presented, if any.
///
/// Verifying it (secret, expiry) is the host's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ServiceToken<'a> {
    /// The request carries no `CF-Access-Client-Id` or `CF-Access-Client-Secret`.
    #[default]
    None,
    /// It carries a valid pair.
    Valid {
        /// The token's id (not the client id).
        id: &'a str,
    },
    /// It carries a pair that is not valid: unknown, expired, wrong secret.
    Invalid,
    /// Half a pair, doubled headers, or both styles at once.
    Malformed,
}

/// The answer of an external evaluation, after the host has verified signature, nonce and expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ExternalAnswer<'a> {
    /// Which evaluation was asked.
    pub evaluate_url: &'a str,
    /// `Known` is the answer; `Unavailable` says that the call failed or the answer was not valid.
    pub success: Fact<bool>,
}

/// A CORS preflight: an `OPTIONS` request with `Origin` and `Access-Control-Request-Method`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Preflight<'a> {
    /// The value of `Origin`.
    pub origin: &'a str,
    /// The value of `Access-Control-Request-Method`.
    pub method: &'a str,
    /// The value of `Access-Control-Request-Headers`; empty if there is none.
    pub headers: &'a str,
}

impl<'a> Request<'a> {
    /// Starts from the host (an authority; the port is dropped) and the path of the request target
    /// (a query is cut off). Nothing is copied if both are in normal form already.
    ///
    /// # Errors
    ///
    /// When the host is not a legal name or address or carries user information, or when the path
    /// does not start with `/`, has a fragment or exceeds 16 KiB. Answer 400.
    #[inline]
    pub fn new(host: &'a str, path: &'a str) -> Result<Self, Error> {
        Ok(Self {
            host: Host::parse(host)?,
            path: RequestPath::parse(path)?,
            identity: None,
            facts: Facts::default(),
        })
    }

    /// Supplies the address of the visitor. IPv4-mapped IPv6 counts as IPv4.
    #[inline]
    pub fn client_ip(mut self, address: IpAddr) -> Self {
        self.facts.client_ip = Fact::Known(address.to_canonical());
        self
    }

    /// Supplies the country of the visitor's address.
    #[inline]
    pub fn country(mut self, country: impl Into<Fact<CountryCode>>) -> Self {
        self.facts.country = country.into();
        self
    }

    /// Supplies the common name of the valid client certificate that was presented, or
    /// [`Fact::Absent`] if none was.
    #[inline]
    pub fn certificate(mut self, common_name: impl Into<Fact<&'a str>>) -> Self {
        self.facts.certificate = common_name.into();
        self
    }

    /// Supplies the ids of the posture checks that the visitor's device passes now. More than 10,000
    /// count as unavailable.
    #[inline]
    pub fn device_posture(mut self, passed: impl Into<Fact<&'a [&'a str]>>) -> Self {
        self.facts.posture = bounded(passed.into());
        self
    }

    /// Supplies the ids of the applications for which the request carries a valid token. More than
    /// 10,000 count as unavailable.
    #[inline]
    pub fn linked_app_tokens(mut self, apps: impl Into<Fact<&'a [&'a str]>>) -> Self {
        self.facts.linked_app_tokens = bounded(apps.into());
        self
    }

    /// Supplies the visitor's level of risk.
    #[inline]
    pub fn risk_level(mut self, level: impl Into<Fact<RiskLevel>>) -> Self {
        self.facts.risk = level.into();
        self
    }

    /// Supplies what became of the service token in the request.
    #[inline]
    pub fn service_token(mut self, token: ServiceToken<'a>) -> Self {
        self.facts.service_token = token;
        self
    }

    /// Supplies the answers of external evaluations that a decision asked for. The first 10,000 count.
    #[inline]
    pub fn external_answers(mut self, answers: &'a [ExternalAnswer<'a>]) -> Self {
        self.facts.external = answers.get(..limits::MAX_IDENTITY_GROUPS).unwrap_or(answers);
        self
    }

    /// States that the request is a CORS preflight.
    #[inline]
    pub fn preflight(mut self, preflight: Preflight<'a>) -> Self {
        self.facts.preflight = Some(preflight);
        self
    }

    /// Supplies who the visitor has proved to be.
    #[inline]
    pub fn identity(mut self, identity: &'a Identity<'a>) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Takes the identity away: the same request before a login.
    #[inline]
    pub fn without_identity(mut self) -> Self {
        self.identity = None;
        self
    }

    /// Returns the normalised host.
    pub fn host(&self) -> &str {
        self.host.as_str()
    }

    /// Returns the canonical path, which is the one that chooses the application.
    pub fn path(&self) -> &str {
        self.path.canonical()
    }

    /// Returns the path as it was sent, without query.
    pub fn raw_path(&self) -> &'a str {
        self.path.raw()
    }

    /// Returns the visitor's address, if it is known.
    pub fn client_ip_address(&self) -> Option<IpAddr> {
        self.facts.client_ip.known()
    }

    /// Returns the visitor's identity, if there was a login.
    pub fn known_identity(&self) -> Option<&'a Identity<'a>> {
        self.identity
    }

    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject { facts: &self.facts, identity: self.identity }
    }

    pub(crate) fn request_path(&self) -> &RequestPath<'a> {
        &self.path
    }
}

fn bounded<'a>(ids: Fact<&'a [&'a str]>) -> Fact<&'a [&'a str]> {
    match ids {
        Fact::Known(ids) if ids.len() > limits::MAX_IDENTITY_GROUPS => Fact::Unavailable,
        ids => ids,
    }
}

/// The request in one line, for the head of an explanation.
impl fmt::Display for Request<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "host {}, path {}, ", self.host, self.path.canonical())?;
        match self.facts.client_ip {
            Fact::Known(address) => write!(formatter, "client {address}, ")?,
            Fact::Absent | Fact::Unavailable => formatter.write_str("client address unknown, ")?,
        }
        if let Fact::Known(country) = self.facts.country {
            write!(formatter, "country {country}, ")?;
        }
        match self.identity {
            Some(identity) => write!(formatter, "logged in as {}", identity.email()),
            None => formatter.write_str("not logged in"),
        }
    }
}
