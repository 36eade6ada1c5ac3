//! With AWS-LC, clients that can get a key exchange that withstands quantum computers, and all others get in too.
#![cfg(feature = "aws-lc-rs")]
#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not their helpers")]

mod support;

use std::sync::Arc;

use cert_manager::{
    PrivateCa, Profile, Resolver, presets,
    rustls::{
        ClientConfig, NamedGroup, RootCertStore, ServerConfig,
        crypto::{CryptoProvider, aws_lc_rs},
        pki_types::UnixTime,
        time_provider::TimeProvider,
    },
};
use support::{Pair, start};

fn server() -> (PrivateCa, Arc<ServerConfig>) {
    let ca = PrivateCa::generate("Test CA", start()).unwrap();
    let resolver = Resolver::new();
    let names = ["a.example.jp".parse().unwrap()];
    resolver.insert(ca.issue(&names, Profile::server(), start()).unwrap()).unwrap();
    let provider = presets::post_quantum_provider();
    let config = presets::modern_config(provider, resolver, [b"h2"]).unwrap();
    (ca, Arc::new(config))
}

fn negotiated(client: CryptoProvider) -> Option<NamedGroup> {
    let (ca, server) = server();
    let mut roots = RootCertStore::empty();
    roots.add(ca.root_der().clone()).unwrap();
    let mut config = ClientConfig::builder_with_details(Arc::new(client), Arc::new(Fixed))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let pair = Pair::handshake(&Arc::new(config), &server, "a.example.jp").unwrap();
    Some(pair.server.negotiated_key_exchange_group()?.name())
}

#[test]
fn the_hybrid_is_negotiated_with_clients_that_send_it() {
    use aws_lc_rs::kx_group::{SECP256R1, X25519, X25519MLKEM768};

    let group =
        |kx_groups| negotiated(CryptoProvider { kx_groups, ..aws_lc_rs::default_provider() });
    assert_eq!(group(vec![X25519MLKEM768, X25519]), Some(NamedGroup::X25519MLKEM768));
    // Nobody waits a round trip longer for it.
    assert_eq!(group(vec![X25519, X25519MLKEM768]), Some(NamedGroup::X25519));
    assert_eq!(group(vec![X25519, SECP256R1]), Some(NamedGroup::X25519));
    assert_eq!(group(vec![SECP256R1]), Some(NamedGroup::secp256r1));
}

#[derive(Debug)]
struct Fixed;

impl TimeProvider for Fixed {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(start().duration_since(std::time::UNIX_EPOCH).unwrap()))
    }
}
