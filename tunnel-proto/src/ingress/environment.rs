//! What rules need of the process around them.

use std::{fmt, path::Path, sync::Arc};

use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::CryptoProvider};

use super::access::{HttpKeySource, KeySource};
use crate::origin;

/// What rules need of the process around them, each for rules that use it.
///
/// ```
/// use tunnel_proto::ingress::{Environment, Ingress};
///
/// let ingress = Ingress::from_yaml("ingress: [{service: hello_world}]", Environment::new())?;
/// # Ok::<(), tunnel_proto::Error>(())
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct Environment {
    tls: Option<Tls>,
    keys: Option<Arc<dyn KeySource>>,
}

#[derive(Clone)]
struct Tls {
    provider: Arc<CryptoProvider>,
    roots: RootCertStore,
}

impl Environment {
    /// Nothing: rules for plain HTTP, TCP and pages made here can be used.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets rules use TLS. A rule's `caPool` is trusted beside `roots`.
    pub fn tls(mut self, provider: Arc<CryptoProvider>, roots: RootCertStore) -> Self {
        self.tls = Some(Tls { provider, roots });
        self
    }

    /// Fetches the keys for `access` this way, instead of over HTTPS.
    pub fn key_source(mut self, source: impl KeySource) -> Self {
        self.keys = Some(Arc::new(source));
        self
    }

    /// What to trust in an origin.
    ///
    /// # Errors
    ///
    /// Why it can't be said.
    pub(super) fn trust(&self, ca_pool: Option<&Path>) -> Result<ClientConfig, String> {
        let Tls { provider, roots } = self.provider()?;
        let mut roots = roots.clone();
        if let Some(file) = ca_pool {
            add(&mut roots, file)?;
        }
        let config = ClientConfig::builder_with_provider(Arc::clone(provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        Ok(config.with_root_certificates(roots).with_no_client_auth())
    }

    /// Trust in whoever answers.
    pub(super) fn danger_trust_anybody(&self) -> Result<ClientConfig, String> {
        let provider = Arc::clone(&self.provider()?.provider);
        origin::danger_accept_any_certificate(provider).map_err(|error| error.to_string())
    }

    /// Where keys come from.
    pub(super) fn keys(&self) -> Arc<dyn KeySource> {
        match &self.keys {
            Some(source) => Arc::clone(source),
            None => Arc::new(HttpKeySource::new(self.trust(None).ok().map(Arc::new))),
        }
    }

    fn provider(&self) -> Result<&Tls, String> {
        self.tls.as_ref().ok_or_else(|| "needs TLS, which this program does not offer".into())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("tls", &self.tls.is_some())
            .field("keys", &self.keys.is_some())
            .finish()
    }
}

fn add(roots: &mut RootCertStore, file: &Path) -> Result<(), String> {
    let name = file.display().to_string();
    let name = name.escape_debug();
    let certificates = CertificateDer::pem_file_iter(file)
        .map_err(|error| format!("names `{name}`, which can't be read: {error}"))?;
    let mut any = false;
    for certificate in certificates {
        let certificate =
            certificate.map_err(|error| format!("names `{name}`, which is not PEM: {error}"))?;
        roots.add(certificate).map_err(|error| {
            format!("names `{name}`, which holds a certificate that can't be trusted: {error}")
        })?;
        any = true;
    }
    if any { Ok(()) } else { Err(format!("names `{name}`, which holds no certificate")) }
}
