//! Those who answer challenges.

use std::{
    collections::HashMap,
    error, fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rcgen::{CertificateParams, CustomExtension, DistinguishedName};

use crate::{
    acme::challenge::{Challenge, ChallengeKind, HTTP_PREFIX},
    certificate::Certificate,
    error::{Error, Kind},
    key::{PrivateKey, default_provider},
    key_pair::{KeyPair, san},
    resolver::Resolver,
};

/// Shows control over names by one kind of challenge.
///
/// All calls are idempotent: after a crash they are made again. An error of [`Solver::withdraw`] is logged and nothing
/// more.
pub trait Solver: fmt::Debug + Send + Sync {
    /// The kind that this solves.
    fn kind(&self) -> ChallengeKind;

    /// Shows a challenge's answer. When this returns, the authority may look.
    fn present<'a>(&'a self, challenge: &'a Challenge) -> Work<'a>;

    /// Takes the answer away.
    fn withdraw<'a>(&'a self, challenge: &'a Challenge) -> Work<'a>;
}

/// What a [`Solver`] does.
pub type Work<'a> = Pin<Box<dyn Future<Output = Result<(), SolveError>> + Send + 'a>>;

/// Why an answer could not be shown.
#[derive(Debug)]
pub struct SolveError(Box<dyn error::Error + Send + Sync>);

impl SolveError {
    /// Wraps a reason.
    pub fn new(reason: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for SolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl error::Error for SolveError {}

/// Answers HTTP-01. Give [`Http01::answer`] the path of each request to port 80.
#[derive(Debug, Default)]
pub struct Http01 {
    answers: Mutex<HashMap<String, String>>,
}

impl Http01 {
    /// Knows no answers yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The body to answer a request for this path with, as `text/plain` and status 200; `None` if it is none of ours.
    ///
    /// ```
    /// use cert_manager::acme::Http01;
    ///
    /// let solver = Http01::new();
    /// assert_eq!(solver.answer("/.well-known/acme-challenge/unknown"), None);
    /// assert_eq!(solver.answer("/"), None);
    /// ```
    pub fn answer(&self, path: &str) -> Option<String> {
        let token = path.strip_prefix(HTTP_PREFIX)?;
        self.answers().get(token).cloned()
    }

    fn answers(&self) -> MutexGuard<'_, HashMap<String, String>> {
        // Entries are put in and taken out whole.
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Solver for Http01 {
    fn kind(&self) -> ChallengeKind {
        ChallengeKind::Http01
    }

    fn present<'a>(&'a self, challenge: &'a Challenge) -> Work<'a> {
        self.answers().insert(challenge.token.clone(), challenge.key_authorization.clone());
        Box::pin(async { Ok(()) })
    }

    fn withdraw<'a>(&'a self, challenge: &'a Challenge) -> Work<'a> {
        self.answers().remove(&challenge.token);
        Box::pin(async { Ok(()) })
    }
}

/// Answers TLS-ALPN-01 through the [`Resolver`] that serves everything else. The listener has to offer the protocol
/// [`crate::presets::ACME_TLS_ALPN`], and to end such connections after the handshake.
#[derive(Debug)]
pub struct TlsAlpn01 {
    resolver: Arc<Resolver>,
}

impl TlsAlpn01 {
    /// Answers through this resolver.
    pub fn new(resolver: Arc<Resolver>) -> Arc<Self> {
        Arc::new(Self { resolver })
    }
}

impl Solver for TlsAlpn01 {
    fn kind(&self) -> ChallengeKind {
        ChallengeKind::TlsAlpn01
    }

    fn present<'a>(&'a self, challenge: &'a Challenge) -> Work<'a> {
        let shown = certificate(challenge).map(|certificate| {
            self.resolver.set_challenge(&challenge.server_name(), Some(&certificate));
        });
        Box::pin(async { shown.map_err(SolveError::new) })
    }

    fn withdraw<'a>(&'a self, challenge: &'a Challenge) -> Work<'a> {
        self.resolver.set_challenge(&challenge.server_name(), None);
        Box::pin(async { Ok(()) })
    }
}

/// RFC 8737 section 3: one name, and the digest in a critical extension.
fn certificate(challenge: &Challenge) -> Result<Certificate, Error> {
    let provider = default_provider();
    let key = PrivateKey::generate()?;
    let signer = KeyPair::new(&key, &provider)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![san(&challenge.name.parse()?)?];
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(&challenge.digest())];
    let certificate = params
        .self_signed(&signer)
        .map_err(|source| Kind::Issue { doing: "sign the answer to a challenge", source })?;
    Certificate::new(vec![certificate.der().clone()], key, &provider)
}
