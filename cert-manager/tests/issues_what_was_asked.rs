//! What the authority writes into certificates, and what it refuses to sign.
#![cfg(any(feature = "ring", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not their helpers")]

use std::{
    collections::HashSet,
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use cert_manager::{Certificate, Error, Manager, Name, PrivateCa, PrivateKey, Profile, Resolver};
use x509_parser::{
    certificate::X509Certificate, extensions::ParsedExtension, prelude::parse_x509_certificate,
};

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn a_leaf_serves_tls_and_nothing_else() {
    let ca = PrivateCa::generate("Test CA", now()).unwrap();
    let names = names(&["a.jp", "*.a.jp", "192.0.2.1", "2001:db8::1"]);
    let issued = ca.issue(&names, Profile::server(), now()).unwrap();
    assert_eq!(issued.names(), names);
    assert_eq!(issued.not_before(), now() - Duration::from_secs(60));
    assert_eq!(issued.not_after() + Duration::from_secs(1), issued.not_before() + 7 * DAY);

    let (_, leaf) = parse_x509_certificate(&issued.chain()[0]).unwrap();
    let (_, root) = parse_x509_certificate(ca.root_der()).unwrap();
    assert_eq!(leaf.subject().iter().count(), 0);
    assert_eq!(leaf.issuer().as_raw(), root.subject().as_raw());
    assert!(!leaf.is_ca());
    let usage = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && !usage.client_auth && !usage.any);
    let usage = leaf.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && !usage.key_cert_sign());
    let key_id = |certificate: &X509Certificate<'_>, authority: bool| {
        certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) if !authority => Some(id.0.to_vec()),
            ParsedExtension::AuthorityKeyIdentifier(id) if authority => {
                Some(id.key_identifier.as_ref()?.0.to_vec())
            }
            _ => None,
        })
    };
    assert_eq!(key_id(&leaf, true), key_id(&root, false));
    assert!(key_id(&leaf, false).is_some_and(|id| Some(id) != key_id(&root, false)));
    assert!(leaf.subject_alternative_name().unwrap().unwrap().critical);

    assert!(root.is_ca());
    let constraints = root.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && constraints.value.path_len_constraint == Some(1));
    root.verify_signature(None).unwrap();
    leaf.verify_signature(Some(root.public_key())).unwrap();
}

#[test]
fn serial_numbers_and_keys_are_new_each_time() {
    let ca = PrivateCa::generate("Test CA", now()).unwrap();
    let issue = || ca.issue(&names(&["a.jp"]), Profile::server(), now()).unwrap();
    let issued = (0..200).map(|_| issue()).collect::<Vec<_>>();
    let serials = issued.iter().map(Certificate::serial).collect::<HashSet<_>>();
    let keys = issued.iter().map(|one| one.key_pem().expose().to_owned());
    assert_eq!(serials.len(), 200);
    assert_eq!(keys.collect::<HashSet<_>>().len(), 200);
    // 128 bits, and a zero in front where the first bit would make it negative.
    let lengths = serials.iter().map(|serial| serial.as_bytes().len());
    assert!(lengths.clone().all(|length| length <= 17));
    assert!(lengths.filter(|length| *length >= 16).count() > 190);
}

#[test]
fn lives_are_bounded_by_the_root_and_by_x509() {
    let ca = PrivateCa::generate("Test CA", now()).unwrap();
    let issue = |life, at| ca.issue(&names(&["a.jp"]), Profile::server().life(life), at);
    let short = issue(Duration::from_secs(120), now()).unwrap();
    assert_eq!(short.not_after(), now() + Duration::from_secs(59));
    let long = issue(4000 * DAY, now()).unwrap();
    assert_eq!(long.not_after(), ca.not_after());
    for life in [Duration::ZERO, Duration::from_secs(61), Duration::MAX, 10_000_000 * DAY] {
        assert!(issue(life, now()).is_err(), "{life:?}");
    }
    let not_now = [now() - DAY, ca.not_after(), ca.not_after() + DAY, SystemTime::UNIX_EPOCH];
    for at in not_now {
        let error = issue(DAY, at).unwrap_err();
        assert!(error.is_not_an_authority(), "{at:?}");
    }
    assert!(ca.issue(&[], Profile::server(), now()).is_err());
}

#[tokio::test]
async fn keys_are_never_shown() {
    let ca = PrivateCa::generate("Test CA", now()).unwrap();
    let leaf = ca.issue(&names(&["a.jp"]), Profile::server(), now()).unwrap();
    let key = PrivateKey::from_pem(leaf.key_pem().expose()).unwrap();
    let resolver = Resolver::new();
    resolver.insert(leaf.clone()).unwrap();
    let secrets = [leaf.key_pem(), key.to_pem(), ca.key_pem()];
    let mut shown = format!("{leaf:?} {leaf:#?} {key:?} {resolver:?} {ca:#?} {ca:?} {secrets:?}");
    let builder = Manager::builder().private_ca(ca).resolver(resolver).name("a.jp");
    shown = format!("{shown} {builder:?}");
    let manager = builder.clock(now).start().await.unwrap();
    shown = format!("{shown} {manager:?} {:?}", manager.snapshot());
    assert!(!shown.contains("PRIVATE KEY"));
    for secret in secrets {
        let body = secret.expose().lines().filter(|line| !line.starts_with('-'));
        assert!(body.clone().all(|line| !shown.contains(line)));
        // Numbers, as a derived `Debug` prints bytes, would be the other way to leak.
        let der = STANDARD.decode(body.collect::<String>()).unwrap();
        let numbers = format!("{:?}", &der[36..44]);
        assert!(!shown.contains(numbers.trim_matches(['[', ']'])));
    }
    let error = Certificate::from_pem(leaf.chain_pem(), "-----BEGIN PRIVATE KEY-----\nSECRET\n");
    assert!(!format!("{:?}", error.unwrap_err()).contains("SECRET"));
}

#[test]
fn everything_can_be_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Certificate>();
    shared::<Error>();
    shared::<Manager>();
    shared::<Name>();
    shared::<PrivateCa>();
    shared::<PrivateKey>();
    shared::<Resolver>();
}

fn names(names: &[&str]) -> Vec<Name> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}
