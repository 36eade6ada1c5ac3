//! Wildcards from Pebble, which asks real BIND and Knot, which we change by RFC 2136.
#![cfg(all(feature = "acme", feature = "dns", feature = "ring"))]
#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not their helpers")]
#![allow(clippy::disallowed_methods, reason = "the authority lives by the real clock")]

#[path = "support/dns_server.rs"]
mod dns_server;
#[path = "support/pebble.rs"]
mod pebble;

use std::{sync::Arc, time::Duration};

use cert_manager::{
    Name,
    dns::{Authority, Dns01, Propagation, ServerList},
};
use dns_server::{DnsServer, KINDS, Kind, Policy};
use pebble::{Pebble, Settings};

fn names(texts: &[&str]) -> Vec<Name> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn solver(server: &DnsServer) -> Arc<Dns01> {
    let these = ServerList::These(vec![server.address()]);
    let authority = Authority::with_resolvers(vec![server.address()]).servers(these);
    Arc::new(Dns01::new(Arc::new(server.provider()), Propagation::Seen(authority)))
}

#[tokio::test]
#[ignore = "needs pebble, bind9 and knot"]
async fn a_name_and_its_wildcard_stand_side_by_side_and_nothing_is_left() {
    for kind in KINDS {
        let server = DnsServer::start(kind, Policy::TextsOnly);
        let pebble = Pebble::start(&Settings { dns: Some(server.port), ..Settings::default() });
        let acme = pebble.account().solver(solver(&server)).build().unwrap();
        for round in 0..5 {
            let name = format!("host{round}.zone.test");
            let wildcard = format!("*.{name}");
            let certificate = acme.obtain(&names(&[&wildcard, &name])).await.unwrap();
            assert_eq!(certificate.names().len(), 2, "{kind:?}");
            let left = server.dig(&format!("_acme-challenge.{name}"), "TXT");
            assert!(left.is_empty(), "{kind:?}: {left:?}");
        }
    }
}

/// The key may change the zone that the alias leads to, and not the zone of the name.
#[tokio::test]
#[ignore = "needs pebble and bind9"]
async fn an_alias_keeps_the_key_out_of_the_main_zone() {
    let server = DnsServer::start(Kind::Bind, Policy::TextsOnly);
    let pebble = Pebble::start(&Settings { dns: Some(server.port), ..Settings::default() });
    let acme = pebble.account().solver(solver(&server)).build().unwrap();
    let certificate = acme.obtain(&names(&["*.a.alias.test"])).await.unwrap();
    assert_eq!(certificate.names()[0].to_string(), "*.a.alias.test");
    assert!(server.dig("a.validation.zone.test", "TXT").is_empty());
}

#[tokio::test]
#[ignore = "needs pebble and bind9"]
async fn an_answer_that_is_not_seen_is_not_offered_to_the_authority() {
    let server = DnsServer::start(Kind::Bind, Policy::TextsOnly);
    let other = DnsServer::start(Kind::Bind, Policy::TextsOnly);
    let pebble = Pebble::start(&Settings { dns: Some(server.port), ..Settings::default() });
    let both = ServerList::These(vec![server.address(), other.address()]);
    let authority = Authority::with_resolvers(vec![server.address()]).servers(both);
    let solver = Dns01::new(Arc::new(server.provider()), Propagation::Seen(authority));
    let solver = Arc::new(solver.patience(Duration::from_secs(5)));
    let acme = pebble.account().solver(solver).build().unwrap();
    let error = acme.obtain(&names(&["a.zone.test"])).await.unwrap_err();
    let mut texts = vec![error.to_string()];
    let mut source = std::error::Error::source(&error);
    while let Some(error) = source {
        texts.push(error.to_string());
        source = error.source();
    }
    let expected = format!("is not to be seen at {}", other.address());
    assert!(texts.iter().any(|text| text.contains(&expected)), "{texts:?}");
}
