//! Those who answer challenges.

use std::{
    collections::HashMap,
    error, fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rcgen::{CertificateParams, CustomExtension, DistinguishedName};
use rustls::{
    ServerConfig,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::{
    acme::{
        challenge::{Challenge, ChallengeKind, HTTP_PREFIX},
        shared::SharedAnswers,
    },
    certificate::Certificate,
    error::{Error, Kind},
    key::{PrivateKey, default_provider},
    key_pair::{KeyPair, san},
    presets,
    resolver::Resolver,
    storage::Storage,
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

/// Answers HTTP-01. Give [`Http01::answer`] the path of each request to port 80; with several nodes, [`Http01::find`].
#[derive(Debug, Default)]
pub struct Http01 {
    answers: Mutex<HashMap<String, String>>,
    shared: Option<SharedAnswers>,
}

impl Http01 {
    /// Knows no answers yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Keeps its answers in this store as well, for nodes that did not order themselves: an authority may ask any of them.
    pub fn shared(storage: impl Storage + 'static) -> Arc<Self> {
        let shared = SharedAnswers::new(Arc::new(storage), ChallengeKind::Http01);
        Arc::new(Self { answers: Mutex::default(), shared: Some(shared) })
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

    /// The same, from whichever node the answer is: after [`Http01::shared`] it looks into the store if this node has none.
    /// Eight look at once, others wait; after 5 seconds there is no answer.
    ///
    /// # Cancel safety
    ///
    /// It only looks.
    pub async fn find(&self, path: &str) -> Option<String> {
        if let Some(own) = self.answer(path) {
            return Some(own);
        }
        let token = path.strip_prefix(HTTP_PREFIX).filter(|token| is_token(token))?;
        let challenge = self.shared.as_ref()?.find(token).await?;
        (challenge.token == token).then_some(challenge.key_authorization)
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
        Box::pin(async {
            let Some(shared) = &self.shared else { return Ok(()) };
            shared.keep(&challenge.token, challenge).await.map_err(SolveError::new)
        })
    }

    fn withdraw<'a>(&'a self, challenge: &'a Challenge) -> Work<'a> {
        self.answers().remove(&challenge.token);
        Box::pin(async {
            let Some(shared) = &self.shared else { return Ok(()) };
            shared.forget(&challenge.token, challenge).await.map_err(SolveError::new)
        })
    }
}

/// Answers TLS-ALPN-01 through the [`Resolver`] that serves everything else. The listener has to offer the protocol
/// [`crate::presets::ACME_TLS_ALPN`], and to end such connections after the handshake. With several nodes, acceptors that
/// look at the hello first ask [`TlsAlpn01::find`].
#[derive(Debug)]
pub struct TlsAlpn01 {
    resolver: Arc<Resolver>,
    shared: Option<SharedAnswers>,
}

impl TlsAlpn01 {
    /// Answers through this resolver.
    pub fn new(resolver: Arc<Resolver>) -> Arc<Self> {
        Arc::new(Self { resolver, shared: None })
    }

    /// Keeps its answers in this store as well, for nodes that did not order themselves: an authority may ask any of them.
    pub fn shared(resolver: Arc<Resolver>, storage: impl Storage + 'static) -> Arc<Self> {
        let shared = SharedAnswers::new(Arc::new(storage), ChallengeKind::TlsAlpn01);
        Arc::new(Self { resolver, shared: Some(shared) })
    }

    /// For a client that offers `acme-tls/1` alone and asks for this name: the configuration of the one handshake that
    /// answers it, from whichever node the answer is. Bounded as [`Http01::find`].
    ///
    /// # Cancel safety
    ///
    /// It only looks.
    pub async fn find(&self, server_name: &str) -> Option<ServerConfig> {
        let server_name = server_name.to_ascii_lowercase();
        let other = match &self.shared {
            Some(shared) => shared.find(&server_name).await,
            None => None,
        };
        let other = other.filter(|it| it.server_name() == server_name);
        // The store knows best: another node may have taken an order over.
        let shown = match other {
            Some(challenge) => certificate(&challenge).ok()?,
            None => self.resolver.challenge(&server_name)?,
        };
        let only = Arc::new(Only(shown.certified_key()));
        presets::server_config(presets::provider(), only, [presets::ACME_TLS_ALPN]).ok()
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
        Box::pin(async {
            shown.map_err(SolveError::new)?;
            let Some(shared) = &self.shared else { return Ok(()) };
            shared.keep(&challenge.server_name(), challenge).await.map_err(SolveError::new)
        })
    }

    fn withdraw<'a>(&'a self, challenge: &'a Challenge) -> Work<'a> {
        self.resolver.set_challenge(&challenge.server_name(), None);
        Box::pin(async {
            let Some(shared) = &self.shared else { return Ok(()) };
            shared.forget(&challenge.server_name(), challenge).await.map_err(SolveError::new)
        })
    }
}

/// One certificate for whoever asks.
#[derive(Debug)]
struct Only(Arc<CertifiedKey>);

impl ResolvesServerCert for Only {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// RFC 8555 section 8.3: base64url, at least 128 bits. Nothing else is worth a look into a store.
fn is_token(text: &str) -> bool {
    let is_url_safe = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (16..=256).contains(&text.len()) && text.bytes().all(is_url_safe)
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
    let key = (key, signer.into_signing_key());
    Certificate::issued(certificate.der().clone(), key, |_| Ok(()))
}
