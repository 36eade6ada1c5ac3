//! Who is let in by a certificate.

use std::{fmt, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use super::deny_list::DenyList;
use crate::{
    certificate::{self, Serial},
    error::{Error, Kind},
};

/// Verifies clients for a rustls server: their chain leads to a root, they may be clients, and nobody denied them.
///
/// The list is looked at after the signatures, so a long one costs nothing; revocation lists (CRLs) of webpki would be
/// hashed anew in each handshake.
pub struct ClientVerifier {
    webpki: Arc<dyn ClientCertVerifier>,
    denied: DenyList,
}

impl ClientVerifier {
    /// Trusts these roots: all that are in use while one follows the other.
    ///
    /// # Errors
    ///
    /// No roots, or one that cannot be used.
    pub fn new(
        roots: &[CertificateDer<'static>],
        denied: DenyList,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<Self>, Error> {
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(root.clone()).map_err(Kind::Chain)?;
        }
        let webpki = WebPkiClientVerifier::builder_with_provider(store.into(), provider).build();
        let webpki = webpki.map_err(|_| Kind::NotAnAuthority("a verifier needs roots"))?;
        Ok(Arc::new(Self { webpki, denied }))
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.webpki.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.webpki.verify_client_cert(leaf, intermediates, now)?;
        let parsed = certificate::parse(0, leaf).map_err(|_| CertificateError::BadEncoding)?;
        if self.denied.is_denied(&Serial::of(parsed.raw_serial())) {
            return Err(CertificateError::Revoked.into());
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls12_signature(message, leaf, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls13_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

impl fmt::Debug for ClientVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientVerifier").field("denied", &self.denied).finish_non_exhaustive()
    }
}
