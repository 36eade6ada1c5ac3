//! rustls configurations for the two kinds of listeners.

use std::sync::Arc;

use rustls::{
    ServerConfig, SupportedProtocolVersion, crypto::CryptoProvider, server::ResolvesServerCert,
};

use crate::{
    error::{Error, Kind},
    name::Name,
};

/// Configures a listener for visitors: TLS 1.2 and 1.3, no client certificates.
///
/// `alpn` lists protocols by preference, for instance `[b"h2", b"http/1.1"]`. With a list, clients
/// that offer only other protocols are refused; with none, the extension is ignored.
///
/// One session ticket is sent per handshake instead of two: with P-256, resumption under TLS 1.3
/// saves the server nothing, and clients rarely use a second.
///
/// # Errors
///
/// If the provider supports neither TLS 1.2 nor 1.3.
///
/// ```
/// use cert_manager::{Resolver, presets};
///
/// # fn main() -> Result<(), cert_manager::Error> {
/// let alpn = [b"h2".as_slice(), b"http/1.1"];
/// let config = presets::server_config(presets::provider(), Resolver::new(), alpn)?;
/// assert_eq!(config.alpn_protocols[0], b"h2");
/// # Ok(())
/// # }
/// ```
pub fn server_config(
    provider: Arc<CryptoProvider>,
    resolver: Arc<dyn ResolvesServerCert>,
    alpn: impl IntoIterator<Item = impl AsRef<[u8]>>,
) -> Result<ServerConfig, Error> {
    configure(provider, rustls::DEFAULT_VERSIONS, resolver, alpn)
}

fn configure(
    provider: Arc<CryptoProvider>,
    versions: &[&'static SupportedProtocolVersion],
    resolver: Arc<dyn ResolvesServerCert>,
    alpn: impl IntoIterator<Item = impl AsRef<[u8]>>,
) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(Kind::Provider)?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    let alpn = alpn.into_iter();
    config.alpn_protocols = alpn.map(|protocol| protocol.as_ref().to_vec()).collect();
    config.send_tls13_tickets = 1;
    Ok(config)
}

/// Configures a listener for connectors: as [`server_config`], without ALPN.
///
/// cloudflared offers no protocol when it dials over TCP, and needs a certificate for
/// [`tunnel_names`].
///
/// # Errors
///
/// As [`server_config`].
pub fn tunnel_config(
    provider: Arc<CryptoProvider>,
    resolver: Arc<dyn ResolvesServerCert>,
) -> Result<ServerConfig, Error> {
    server_config(provider, resolver, [] as [&[u8]; 0])
}

/// Returns the cryptography provider that features selected, *ring* if both are on.
///
/// A value like any other: nothing is installed for the process.
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
#[cfg_attr(docsrs, doc(cfg(any(feature = "ring", feature = "aws-lc-rs"))))]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(crate::key::default_provider())
}

/// As [`provider`] with AWS-LC, for key exchanges that a quantum computer of the future cannot undo: X25519MLKEM768 with clients
/// that send it, as browsers do, and X25519, P-256 and P-384 with others. Give it to [`server_config`].
///
/// The hybrid costs a server some 15 microseconds a handshake, and a kilobyte on the wire each way. Certificates and their
/// keys stay as they are, and may be of another provider.
#[cfg(feature = "aws-lc-rs")]
#[cfg_attr(docsrs, doc(cfg(feature = "aws-lc-rs")))]
pub fn post_quantum_provider() -> Arc<CryptoProvider> {
    use rustls::crypto::aws_lc_rs::{
        default_provider,
        kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768},
    };

    let kx_groups = vec![X25519MLKEM768, X25519, SECP256R1, SECP384R1];
    Arc::new(CryptoProvider { kx_groups, ..default_provider() })
}

/// Configures a listener for visitors with TLS 1.3 only, else as [`server_config`]: for services whose clients are known.
///
/// # Errors
///
/// If the provider does not support TLS 1.3.
pub fn modern_config(
    provider: Arc<CryptoProvider>,
    resolver: Arc<dyn ResolvesServerCert>,
    alpn: impl IntoIterator<Item = impl AsRef<[u8]>>,
) -> Result<ServerConfig, Error> {
    configure(provider, &[&rustls::version::TLS13], resolver, alpn)
}

/// Returns the names that cloudflared asks an edge for: over HTTP/2, over QUIC, and as a probe.
pub fn tunnel_names() -> Vec<Name> {
    // INVARIANT: a test parses them.
    TUNNEL_NAMES.iter().filter_map(|name| name.parse().ok()).collect()
}

/// The protocol by which authorities validate names in handshakes (RFC 8737 section 6.2). List it last in a
/// listener's ALPN for [`TlsAlpn01`](crate::acme::TlsAlpn01), and close connections that chose it.
#[cfg(all(feature = "acme", any(feature = "ring", feature = "aws-lc-rs")))]
#[cfg_attr(docsrs, doc(cfg(feature = "acme")))]
pub const ACME_TLS_ALPN: &[u8] = b"acme-tls/1";

/// A whole TLS record: the fatal alert `unrecognized_name` (RFC 6066 section 3).
///
/// rustls 0.23 answers with `access_denied` if a resolver finds nothing. An acceptor that reads
/// the hello first can ask [`Resolver::knows`](crate::Resolver::knows), write these bytes and
/// close, so that clients report the right reason.
pub const UNRECOGNIZED_NAME_ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

const TUNNEL_NAMES: [&str; 3] = ["h2.cftunnel.com", "quic.cftunnel.com", "probe.cftunnel.com"];
