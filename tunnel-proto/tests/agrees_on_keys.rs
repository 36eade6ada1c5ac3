//! The key exchange between edge and connector, with each crypto provider.

#![cfg(feature = "tls")]
#![expect(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;

use rustls_pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::{
    TlsAcceptor, TlsConnector,
    rustls::{
        NamedGroup, ProtocolVersion, RootCertStore,
        crypto::{CryptoProvider, ring},
        server::ResolvesServerCertUsingSni,
        sign::CertifiedKey,
    },
};
use tunnel_proto::{connector::EDGE_SERVER_NAME, tls};

/// The group that an edge with one provider and a connector with another agree on.
async fn agree(edge: CryptoProvider, connector: CryptoProvider) -> NamedGroup {
    let issued = rcgen::generate_simple_self_signed([EDGE_SERVER_NAME.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
    let certified = CertifiedKey::from_der(vec![issued.cert.der().clone()], key, &edge).unwrap();
    let mut certificates = ResolvesServerCertUsingSni::new();
    certificates.add(EDGE_SERVER_NAME, certified).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(issued.cert.der().clone()).unwrap();

    let edge = tls::server_config(Arc::new(edge), Arc::new(certificates)).unwrap();
    let connector = tls::client_config(Arc::new(connector), roots).unwrap();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let name = ServerName::try_from(EDGE_SERVER_NAME).unwrap();
    let (accepted, connected) = tokio::join!(
        TlsAcceptor::from(Arc::new(edge)).accept(near),
        TlsConnector::from(Arc::new(connector)).connect(name, far),
    );
    let (accepted, connected) = (accepted.unwrap(), connected.unwrap());
    let session = accepted.get_ref().1;
    assert_eq!(session.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(session.alpn_protocol(), None);
    assert_eq!(connected.get_ref().1.alpn_protocol(), None);
    session.negotiated_key_exchange_group().unwrap().name()
}

#[tokio::test]
async fn ring_reaches_p_256_with_what_cloudflared_offers() {
    let only_p_256 =
        CryptoProvider { kx_groups: vec![ring::kx_group::SECP256R1], ..ring::default_provider() };
    assert_eq!(agree(ring::default_provider(), only_p_256).await, NamedGroup::secp256r1);
}

#[test]
fn an_edge_that_cloudflared_can_not_reach_is_refused() {
    let only_x25519 =
        CryptoProvider { kx_groups: vec![ring::kx_group::X25519], ..ring::default_provider() };
    let certificates = Arc::new(ResolvesServerCertUsingSni::new());
    let error = tls::server_config(Arc::new(only_x25519), certificates).unwrap_err();
    assert!(error.is_caller_fault() && error.to_string().contains("P-256"), "{error}");
}

#[cfg(feature = "aws-lc-rs")]
#[tokio::test]
async fn aws_lc_rs_agrees_on_the_hybrid_group_and_still_serves_others() {
    let hybrid = agree(tls::post_quantum(), tls::post_quantum()).await;
    assert_eq!(hybrid, NamedGroup::X25519MLKEM768);
    let mixed = agree(tls::post_quantum(), ring::default_provider()).await;
    assert_ne!(mixed, NamedGroup::X25519MLKEM768);
}
