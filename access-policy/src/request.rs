//! What is known about one request.

use std::{fmt, net::IpAddr};

use crate::{error::Error, host::Host, identity::Identity, path::RequestPath};

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
    host: Host,
    path: RequestPath<'a>,
    client_ip: Option<IpAddr>,
    identity: Option<&'a Identity>,
}

impl<'a> Request<'a> {
    /// Starts from the host (an authority; the port is dropped) and the path of the request target
    /// (a query is cut off).
    ///
    /// # Errors
    ///
    /// When the host is not a legal name or address or carries user information, or when the path
    /// does not start with `/`, has a fragment or exceeds 16 KiB. Answer 400.
    pub fn new(host: &str, path: &'a str) -> Result<Self, Error> {
        Ok(Self {
            host: Host::parse(host)?,
            path: RequestPath::parse(path)?,
            client_ip: None,
            identity: None,
        })
    }

    /// Supplies the address of the visitor. IPv4-mapped IPv6 counts as IPv4.
    pub fn client_ip(mut self, address: IpAddr) -> Self {
        self.client_ip = Some(address.to_canonical());
        self
    }

    /// Supplies who the visitor has proved to be.
    pub fn identity(mut self, identity: &'a Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Takes the identity away: the same request before a login.
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
        self.client_ip
    }

    /// Returns the visitor's identity, if there was a login.
    pub fn known_identity(&self) -> Option<&'a Identity> {
        self.identity
    }

    pub(crate) fn request_path(&self) -> &RequestPath<'a> {
        &self.path
    }
}

/// The request in one line, for the head of an explanation.
impl fmt::Display for Request<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "host {}, path {}, ", self.host, self.path.canonical())?;
        match self.client_ip {
            Some(address) => write!(formatter, "client {address}, ")?,
            None => formatter.write_str("client address unknown, ")?,
        }
        match self.identity {
            Some(identity) => write!(formatter, "logged in as {}", identity.email()),
            None => formatter.write_str("not logged in"),
        }
    }
}
