//! TLS between edge and connector.
//!
//! cloudflared offers two groups for the key exchange, X25519MLKEM768 and P-256, with a key share
//! for the first only: an edge that knows neither can't be reached, and one that knows only P-256 costs
//! one more round trip. It sends no ALPN and takes TLS 1.2 and 1.3.
//!
//! ```
//! use std::sync::Arc;
//! use tokio_rustls::rustls::{RootCertStore, crypto::ring};
//! use tunnel_proto::{connector::TlsDialer, tls};
//!
//! let roots = RootCertStore::empty(); // the authority that signed the edge's certificate
//! let config = tls::client_config(Arc::new(ring::default_provider()), roots)?;
//! let dialer = TlsDialer::new(["edge.example.jp:7844"], Arc::new(config))?;
//! # Ok::<(), tunnel_proto::Error>(())
//! ```

use std::sync::Arc;

use tokio_rustls::rustls::{
    ClientConfig, NamedGroup, RootCertStore, ServerConfig, crypto::CryptoProvider,
    server::ResolvesServerCert,
};

use crate::error::{Error, ErrorKind};

/// What a connector needs to dial an edge: trust in `roots`, no ALPN, no client certificate.
///
/// # Errors
///
/// A provider without a cipher suite for TLS 1.2 or 1.3 is the caller's fault.
pub fn client_config(
    provider: Arc<CryptoProvider>,
    roots: RootCertStore,
) -> Result<ClientConfig, Error> {
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// What an edge needs to accept connectors. The certificate must be for
/// [`EDGE_SERVER_NAME`](crate::connector::EDGE_SERVER_NAME), and better for `quic.cftunnel.com` and
/// `probe.cftunnel.com` too.
///
/// # Errors
///
/// A provider without a cipher suite for TLS 1.2 or 1.3, or without a group that cloudflared
/// offers, is the caller's fault.
pub fn server_config(
    provider: Arc<CryptoProvider>,
    certificates: Arc<dyn ResolvesServerCert>,
) -> Result<ServerConfig, Error> {
    if !provider.kx_groups.iter().any(|group| CLOUDFLARED_GROUPS.contains(&group.name())) {
        let what = "a crypto provider without X25519MLKEM768 and P-256, which cloudflared needs";
        return Err(ErrorKind::Caller(what.into()).into());
    }
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?;
    Ok(config.with_no_client_auth().with_cert_resolver(certificates))
}

/// aws-lc-rs with the hybrid post-quantum group first, then P-256 and X25519
/// (draft-ietf-tls-ecdhe-mlkem). What is recorded today can't be read with a quantum computer later,
/// and cloudflared needs no second round trip.
#[cfg(feature = "aws-lc-rs")]
#[cfg_attr(docsrs, doc(cfg(feature = "aws-lc-rs")))]
pub fn post_quantum() -> CryptoProvider {
    use tokio_rustls::rustls::crypto::aws_lc_rs::{default_provider, kx_group};

    let groups = vec![kx_group::X25519MLKEM768, kx_group::SECP256R1, kx_group::X25519];
    CryptoProvider { kx_groups: groups, ..default_provider() }
}

const CLOUDFLARED_GROUPS: [NamedGroup; 2] = [NamedGroup::X25519MLKEM768, NamedGroup::secp256r1];

fn unusable(error: tokio_rustls::rustls::Error) -> Error {
    Error::from(ErrorKind::Caller("a crypto provider without TLS 1.2 and 1.3".into()))
        .with_source(error)
}
