//! Over real handshakes in memory: exact name, then wildcard, then default, then refusal.
#![cfg(any(feature = "ring", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not their helpers")]

mod support;

use std::sync::Arc;

use cert_manager::{
    Certificate, Name, PrivateCa, Profile, Resolver, presets,
    rustls::{
        AlertDescription, CertificateError, ClientConnection, Error, ProtocolVersion,
        server::Acceptor,
    },
};
use support::{DAY, Failed, Pair, client, server, start};

#[test]
fn exact_before_wildcard_before_refusal() {
    let ca = PrivateCa::generate("Test CA", start()).unwrap();
    let resolver = Resolver::new();
    let exact = issue(&ca, &["app.example.jp"]);
    let wildcard = issue(&ca, &["*.example.jp"]);
    let other = issue(&ca, &["example.jp", "www.other.example"]);
    resolver.set([exact.clone(), wildcard.clone(), other.clone()]).unwrap();
    let (client, server) = (client(&ca, start()), server(&resolver));

    for (asked, expected) in [
        ("app.example.jp", Some(&exact)),
        ("APP.Example.jp", Some(&exact)),
        ("api.example.jp", Some(&wildcard)),
        ("example.jp", Some(&other)),
        ("www.other.example", Some(&other)),
        ("a.b.example.jp", None),
        ("other.example", None),
        ("jp", None),
        ("xexample.jp", None),
        ("127.0.0.1", None),
    ] {
        match (Pair::handshake(&client, &server, asked), expected) {
            (Ok(pair), Some(certificate)) => {
                assert_eq!(pair.leaf(), certificate.chain()[0], "{asked}");
                assert_eq!(pair.client.alpn_protocol(), Some(b"h2".as_slice()));
                assert_eq!(pair.client.protocol_version(), Some(ProtocolVersion::TLSv1_3));
            }
            (Err(failed), None) => {
                assert_eq!(failed.alert(), Some(AlertDescription::AccessDenied), "{asked}");
            }
            (found, _) => panic!("{asked}: {found:?}"),
        }
    }
}

#[test]
fn the_default_is_served_only_if_set() {
    let ca = PrivateCa::generate("Test CA", start()).unwrap();
    let resolver = Resolver::new();
    let address = issue(&ca, &["127.0.0.1", "::1"]);
    resolver.insert(address.clone()).unwrap();
    let (client, server) = (client(&ca, start()), server(&resolver));

    // A client that dials an address sends no name.
    assert!(Pair::handshake(&client, &server, "127.0.0.1").is_err());
    resolver.set_default(address);
    Pair::handshake(&client, &server, "127.0.0.1").unwrap();
    Pair::handshake(&client, &server, "::1").unwrap();
    let failed = Pair::handshake(&client, &server, "unknown.example").unwrap_err();
    assert!(matches!(
        failed,
        Failed::Client(Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. }))
    ));
    resolver.set_default(None);
    assert!(Pair::handshake(&client, &server, "127.0.0.1").is_err());
}

#[test]
fn looks_up_names_in_any_spelling() {
    let ca = PrivateCa::generate("Test CA", start()).unwrap();
    let resolver = Resolver::new();
    let long = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
    resolver.insert(issue(&ca, &["a.example.jp", "*.b.example.jp", &long])).unwrap();
    for (asked, known) in [
        ("a.example.jp", true),
        ("A.EXAMPLE.JP", true),
        ("a.example.jp.", true),
        ("x.b.example.jp", true),
        ("X.B.example.jp.", true),
        (long.as_str(), true),
        ("b.example.jp", false),
        ("x.y.b.example.jp", false),
        ("*.b.example.jp", false),
        (".b.example.jp", false),
        ("..b.example.jp", false),
        ("a.example.jp..", false),
        ("é.b.example.jp.x", false),
        ("aé.c.example.jp", false),
        ("", false),
        (".", false),
        ("x", false),
        ("a\0.example.jp", false),
        (&"x".repeat(100_000), false),
        (&format!("a{long}"), false),
    ] {
        assert_eq!(resolver.knows(Some(asked)), known, "{asked:?}");
    }
    assert!(!resolver.knows(None));
}

#[test]
fn names_can_come_and_go() {
    let ca = PrivateCa::generate("Test CA", start()).unwrap();
    let resolver = Resolver::new();
    assert!(resolver.names().is_empty());
    resolver.insert(issue(&ca, &["b.jp", "a.jp"])).unwrap();
    resolver.insert(issue(&ca, &["c.jp"])).unwrap();
    let text = |names: Vec<Name>| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(text(resolver.names()), ["a.jp", "b.jp", "c.jp"]);
    resolver.remove(&["a.jp".parse().unwrap()]);
    assert_eq!(text(resolver.names()), ["b.jp", "c.jp"]);
    resolver.set([issue(&ca, &["d.jp"])]).unwrap();
    assert_eq!(text(resolver.names()), ["d.jp"]);

    let twice = [issue(&ca, &["e.jp"]), issue(&ca, &["f.jp", "e.jp"])];
    assert!(resolver.set(twice).unwrap_err().is_name_conflict());
    assert_eq!(text(resolver.names()), ["d.jp"], "unchanged after an error");
}

#[test]
fn clients_refuse_other_authorities_and_expired_certificates() {
    let ca = PrivateCa::generate("Test CA", start()).unwrap();
    let stranger = PrivateCa::generate("Test CA", start()).unwrap();
    let resolver = Resolver::new();
    resolver.insert(issue(&ca, &["a.jp"])).unwrap();
    let server = server(&resolver);
    for (config, expected) in [
        (client(&stranger, start()), "UnknownIssuer"),
        (client(&ca, start() + 8 * DAY), "Expired"),
        (client(&ca, start() - DAY), "NotValidYet"),
    ] {
        let failed = Pair::handshake(&config, &server, "a.jp").unwrap_err();
        let text = format!("{failed:?}");
        assert!(text.contains(expected) || text.contains("BadSignature"), "{text}");
    }
    // A clock that is half a minute late is fine.
    let late = client(&ca, start() - std::time::Duration::from_secs(30));
    Pair::handshake(&late, &server, "a.jp").unwrap();
}

#[test]
fn the_tunnel_listener_has_its_names_and_no_alpn() {
    let ca = PrivateCa::generate("Test CA", start()).unwrap();
    let names = presets::tunnel_names();
    assert_eq!(names.len(), 3);
    let resolver = Resolver::new();
    resolver.insert(ca.issue(&names, Profile::server(), start()).unwrap()).unwrap();
    let config = presets::tunnel_config(presets::provider(), resolver).unwrap();
    assert!(config.alpn_protocols.is_empty());
    assert_eq!(config.send_tls13_tickets, 1);
    let (client, server) = (client(&ca, start()), Arc::new(config));
    for name in ["h2.cftunnel.com", "quic.cftunnel.com", "probe.cftunnel.com"] {
        Pair::handshake(&client, &server, name).unwrap();
    }
}

#[test]
fn an_acceptor_can_send_the_right_alert() {
    let ca = PrivateCa::generate("Test CA", start()).unwrap();
    let resolver = Resolver::new();
    let name = "unknown.example".try_into().unwrap();
    let mut client = ClientConnection::new(client(&ca, start()), name).unwrap();
    let mut wire = Vec::new();
    client.write_tls(&mut wire).unwrap();
    let mut acceptor = Acceptor::default();
    acceptor.read_tls(&mut wire.as_slice()).unwrap();
    let accepted = acceptor.accept().unwrap().unwrap();
    assert!(!resolver.knows(accepted.client_hello().server_name()));

    client.read_tls(&mut presets::UNRECOGNIZED_NAME_ALERT.as_slice()).unwrap();
    assert_eq!(
        client.process_new_packets().unwrap_err(),
        Error::AlertReceived(AlertDescription::UnrecognisedName)
    );
}

fn issue(ca: &PrivateCa, names: &[&str]) -> Certificate {
    let names = names.iter().map(|name| name.parse().unwrap());
    ca.issue(&names.collect::<Vec<_>>(), Profile::server(), start()).unwrap()
}
