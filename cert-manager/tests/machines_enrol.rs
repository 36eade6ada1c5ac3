//! Machines get a certificate for a token, renew it over mutual TLS, and are shut out when denied.
#![cfg(feature = "ring")]
#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not their helpers")]
#![allow(clippy::disallowed_methods, reason = "handshakes live by the real clock")]

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::Engine as _;
use cert_manager::{
    PrivateCa, PrivateKey, Profile,
    ca::{
        ClientVerifier, DenyList, Enrolment, Grant, Identity, Intermediate, Signed, SigningRequest,
    },
    presets,
    rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
    storage::{Entry, Key, MemoryStore, Storage, Version, Work},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const HOUR: Duration = Duration::from_secs(3_600);
const CLIENT: &str = "spiffe://example.jp/connector/42";

fn request(key: &PrivateKey) -> SigningRequest {
    SigningRequest::parse(&SigningRequest::write(key).unwrap()).unwrap()
}

fn authority(now: SystemTime) -> (PrivateCa, Enrolment) {
    let root = PrivateCa::generate("Test root", now).unwrap();
    let intermediate = Intermediate::issue(&root, "Test 1", now).unwrap();
    (root, Enrolment::new(Arc::new(MemoryStore::new()), intermediate))
}

/// Lets everybody else read before anybody writes.
#[derive(Debug)]
struct Slow(MemoryStore);

impl Storage for Slow {
    fn get<'a>(&'a self, key: &'a Key) -> Work<'a, Option<Entry>> {
        Box::pin(async move {
            let found = self.0.get(key).await;
            tokio::task::yield_now().await;
            found
        })
    }

    fn put<'a>(
        &'a self,
        key: &'a Key,
        value: &'a [u8],
        expected: Option<Version>,
    ) -> Work<'a, Version> {
        self.0.put(key, value, expected)
    }

    fn delete<'a>(&'a self, key: &'a Key, version: Version) -> Work<'a, ()> {
        self.0.delete(key, version)
    }

    fn list<'a>(&'a self, folder: &'a str) -> Work<'a, Vec<Key>> {
        self.0.list(folder)
    }
}

#[tokio::test]
async fn of_many_that_come_with_one_token_one_is_signed() {
    let now = SystemTime::now();
    let root = PrivateCa::generate("Test root", now).unwrap();
    let intermediate = Intermediate::issue(&root, "Test 1", now).unwrap();
    let enrolment = Arc::new(Enrolment::new(Arc::new(Slow(MemoryStore::new())), intermediate));
    let grant = Grant::client(CLIENT).unwrap();
    let token = enrolment.invite(&grant, HOUR, now).await.unwrap();
    let key = PrivateKey::generate().unwrap();
    let mut tasks = Vec::new();
    for _ in 0..64 {
        let (enrolment, token, request) = (enrolment.clone(), token.clone(), request(&key));
        tasks.push(tokio::spawn(async move {
            enrolment.enrol(token.expose(), &request, now).await.map(|_| ())
        }));
    }
    let mut signed = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(()) => signed += 1,
            Err(error) => assert!(error.is_refused_request(), "{error}"),
        }
    }
    assert_eq!(signed, 1);
}

#[tokio::test]
async fn tokens_end_and_others_are_refused() {
    let now = SystemTime::now();
    let storage = Arc::new(MemoryStore::new());
    let root = PrivateCa::generate("Test root", now).unwrap();
    let intermediate = Intermediate::issue(&root, "Test 1", now).unwrap();
    let enrolment = Enrolment::new(storage.clone(), intermediate);
    let grant = Grant::client(CLIENT).unwrap();
    let request = request(&PrivateKey::generate().unwrap());
    let token = enrolment.invite(&grant, HOUR, now).await.unwrap();
    // The storage does not know it.
    for key in storage.list("").await.unwrap() {
        let entry = storage.get(&key).await.unwrap().unwrap();
        let secret = &token.expose()["enrol_".len()..];
        assert!(!key.to_string().contains(secret));
        assert!(!String::from_utf8_lossy(&entry.value).contains(secret));
    }
    assert!(!format!("{token:?} {enrolment:?}").contains(token.expose()));
    for wrong in [
        "",
        "enrol_",
        "x",
        &"a".repeat(49),
        &format!("enrol_{}", "a".repeat(43)),
        &"enrol_".repeat(100_000),
    ] {
        let error = enrolment.enrol(wrong, &request, now).await.unwrap_err();
        assert!(error.is_refused_request(), "{error}");
    }
    let error = enrolment.enrol(token.expose(), &request, now + HOUR).await.unwrap_err();
    assert!(error.is_refused_request(), "too old");
    let error = enrolment.enrol(token.expose(), &request, now).await.unwrap_err();
    assert!(error.is_refused_request(), "used up by the attempt");

    let _forgotten = enrolment.invite(&grant, HOUR, now).await.unwrap();
    assert_eq!(enrolment.sweep(now).await.unwrap(), 0);
    assert_eq!(enrolment.sweep(now + HOUR).await.unwrap(), 1);
    for life in [Duration::ZERO, Duration::from_secs(59), HOUR * 24 * 8] {
        assert!(enrolment.invite(&grant, life, now).await.is_err());
    }
}

#[test]
fn of_a_request_only_the_key_is_taken() {
    let now = SystemTime::now();
    let root = PrivateCa::generate("Test root", now).unwrap();
    let intermediate = Intermediate::issue(&root, "Test 1", now).unwrap();
    let text = |name: &str| {
        let path = format!("{}/tests/data/requests/{name}.pem", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    };
    // It asks to be an authority for `CN=admin`, `evil.example` and a URI.
    let wishes = SigningRequest::parse(&text("wishes")).unwrap();
    let signed = intermediate.sign(&wishes, &Grant::client(CLIENT).unwrap(), now).unwrap();
    let der = signed.chain[0].as_ref();
    for wish in ["admin", "evil.example", "spiffe://evil"] {
        assert!(!der.windows(wish.len()).any(|it| it == wish.as_bytes()), "{wish}");
    }
    assert_eq!(Identity::of(&signed.chain[0]).unwrap(), Identity::Client(CLIENT.into()));
    for good in ["p384", "ed25519", "rsa2048"] {
        let request = SigningRequest::parse(&text(good)).unwrap_or_else(|e| panic!("{good}: {e}"));
        intermediate.sign(&request, &Grant::client(CLIENT).unwrap(), now).unwrap();
    }
    for (bad, reason) in
        [("p521", "none of P-256"), ("rsa1024", "none of P-256"), ("tampered", "signature")]
    {
        let error = SigningRequest::parse(&text(bad)).unwrap_err();
        assert!(error.is_refused_request() && error.to_string().contains(reason), "{bad}: {error}");
    }
    for bad in [
        "",
        "x",
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        &"x".repeat(20_000),
    ] {
        assert!(SigningRequest::parse(bad).unwrap_err().is_refused_request());
    }
}

#[test]
fn an_intermediate_is_kept_due_at_half_its_life_and_never_a_root() {
    let now = SystemTime::now();
    let root = PrivateCa::generate("Test root", now).unwrap();
    let intermediate = Intermediate::issue(&root, "Test 1", now).unwrap();
    let same = Intermediate::from_pem(intermediate.to_pem().expose()).unwrap();
    assert_eq!(same.certificate(), intermediate.certificate());
    assert!(!same.is_due(now + HOUR * 24 * 181) && same.is_due(now + HOUR * 24 * 183));
    assert!(!format!("{same:?}").contains("PRIVATE"));
    let grant = Grant::client(CLIENT).unwrap();
    let request = request(&PrivateKey::generate().unwrap());
    // A leaf does not outlive it, and it signs nothing after its end.
    let late = same.not_after() - HOUR;
    assert_eq!(same.sign(&request, &grant, late).unwrap().not_after, same.not_after());
    assert!(same.sign(&request, &grant, same.not_after()).is_err());
    let root_text = format!("{}{}", root.root_pem(), root.key_pem().expose());
    assert!(Intermediate::from_pem(root_text).unwrap_err().is_not_an_authority());
    // An intermediate signs no authority, and is no root.
    assert!(PrivateCa::from_pem(same.to_pem().expose(), same.to_pem().expose()).is_err());
}

fn client(root: &PrivateCa, signed: &Signed, key: &PrivateKey) -> tokio_rustls::TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(root.root_der().clone()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.to_pem().expose().as_bytes()).unwrap();
    let config = ClientConfig::builder_with_provider(presets::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(signed.chain.clone(), key)
        .unwrap();
    Arc::new(config).into()
}

fn server(root: &PrivateCa, verifier: Arc<ClientVerifier>) -> tokio_rustls::TlsAcceptor {
    let names = ["localhost".parse().unwrap()];
    let own = root.issue(&names, Profile::server(), SystemTime::now()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(own.key_pem().expose().as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(presets::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(own.chain().to_vec(), key)
        .unwrap();
    Arc::new(config).into()
}

/// Sends a request over mutual TLS; the answer is what the authority signed for the peer, or nothing.
async fn renew_over_tls(
    connector: &tokio_rustls::TlsConnector,
    acceptor: &tokio_rustls::TlsAcceptor,
    enrolment: &Enrolment,
    key: &PrivateKey,
) -> Option<Signed> {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let serve = async {
        let mut stream = acceptor.accept(theirs).await.ok()?;
        let peer: CertificateDer<'static> = stream.get_ref().1.peer_certificates()?[0].clone();
        let mut pem = vec![0; usize::from(stream.read_u16().await.ok()?)];
        stream.read_exact(&mut pem).await.ok()?;
        let request = SigningRequest::parse(std::str::from_utf8(&pem).ok()?).ok()?;
        let signed = enrolment.renew(&peer, &request, SystemTime::now()).ok();
        let _closed = stream.shutdown().await;
        signed
    };
    let ask = async {
        let mut stream = connector.connect("localhost".try_into().unwrap(), ours).await.ok()?;
        let request = SigningRequest::write(key).unwrap();
        stream.write_u16(u16::try_from(request.len()).unwrap()).await.ok()?;
        stream.write_all(request.as_bytes()).await.ok()?;
        stream.read_to_end(&mut Vec::new()).await.ok()
    };
    tokio::join!(serve, ask).0
}

#[tokio::test]
async fn a_machine_renews_over_mutual_tls_until_it_is_denied() {
    let now = SystemTime::now();
    let (root, enrolment) = authority(now);
    let denied = DenyList::new();
    let enrolment = enrolment.denied(denied.clone());
    let roots = [root.root_der().clone()];
    let verifier = ClientVerifier::new(&roots, denied.clone(), presets::provider()).unwrap();
    let acceptor = server(&root, verifier);

    let token = enrolment.invite(&Grant::client(CLIENT).unwrap(), HOUR, now).await.unwrap();
    let key = PrivateKey::generate().unwrap();
    let first = enrolment.enrol(token.expose(), &request(&key), now).await.unwrap();
    let next_key = PrivateKey::generate().unwrap();
    let connector = client(&root, &first, &key);
    let second = renew_over_tls(&connector, &acceptor, &enrolment, &next_key).await.unwrap();
    assert_ne!(second.serial, first.serial);
    assert_eq!(Identity::of(&second.chain[0]).unwrap(), Identity::Client(CLIENT.into()));
    let life = second.not_after.duration_since(now).unwrap();
    assert!(life <= HOUR * 24 && life > HOUR * 23, "{life:?}");

    denied.deny(&first.serial, first.not_after);
    assert!(renew_over_tls(&connector, &acceptor, &enrolment, &next_key).await.is_none());
    let connector = client(&root, &second, &next_key);
    assert!(renew_over_tls(&connector, &acceptor, &enrolment, &key).await.is_some());

    // A server's certificate opens nothing, nor does another authority's.
    let grant = Grant::server(&["a.example".parse().unwrap()]).unwrap();
    let token = enrolment.invite(&grant, HOUR, now);
    let of_server =
        enrolment.enrol(token.await.unwrap().expose(), &request(&key), now).await.unwrap();
    let connector = client(&root, &of_server, &key);
    assert!(renew_over_tls(&connector, &acceptor, &enrolment, &key).await.is_none());
    let (_, stranger) = authority(now);
    let token = stranger.invite(&Grant::client(CLIENT).unwrap(), HOUR, now).await.unwrap();
    let foreign = stranger.enrol(token.expose(), &request(&key), now).await.unwrap();
    let connector = client(&root, &foreign, &key);
    assert!(renew_over_tls(&connector, &acceptor, &enrolment, &key).await.is_none());
}

#[tokio::test]
async fn renewal_ends_with_the_certificate() {
    let now = SystemTime::now();
    let (_, enrolment) = authority(now);
    let grant = Grant::client(CLIENT).unwrap().life(HOUR).unwrap();
    let token = enrolment.invite(&grant, HOUR, now).await.unwrap();
    let request = request(&PrivateKey::generate().unwrap());
    let signed = enrolment.enrol(token.expose(), &request, now).await.unwrap();
    assert!(enrolment.renew(&signed.chain[0], &request, now + HOUR / 2).is_ok());
    let error = enrolment.renew(&signed.chain[0], &request, now + HOUR).unwrap_err();
    assert!(error.is_refused_request(), "{error}");
    // The intermediate itself names nobody.
    assert!(enrolment.renew(&signed.chain[1], &request, now).is_err());
}

/// The next intermediate is in use while leaves of the old one are.
#[tokio::test]
async fn machines_of_the_old_intermediate_are_renewed_by_the_new_one_that_knows_it() {
    let now = SystemTime::now();
    let root = PrivateCa::generate("Test root", now).unwrap();
    let roots = [root.root_der().clone()];
    let verifier = ClientVerifier::new(&roots, DenyList::new(), presets::provider()).unwrap();
    let acceptor = server(&root, verifier);
    // A name says nothing: that of a stranger may be the same.
    for (old_name, new_name) in [("Example 2026", "Example 2027"), ("Example", "Example")] {
        let issue = |name| Intermediate::issue(&root, name, now).unwrap();
        let (old, new, stranger) = (issue(old_name), issue(new_name), issue(new_name));
        let enrolment = Enrolment::new(Arc::new(MemoryStore::new()), new);
        let enrolment = enrolment.earlier([old.certificate().clone()]);
        for (signer, is_renewed) in [(&old, true), (&stranger, false)] {
            let key = PrivateKey::generate().unwrap();
            let signed = signer.sign(&request(&key), &Grant::client(CLIENT).unwrap(), now).unwrap();
            let connector = client(&root, &signed, &key);
            let renewed = renew_over_tls(&connector, &acceptor, &enrolment, &key).await;
            assert_eq!(renewed.is_some(), is_renewed, "{old_name}");
            // What follows is of the new one.
            let Some(renewed) = renewed else { continue };
            let connector = client(&root, &renewed, &key);
            assert!(renew_over_tls(&connector, &acceptor, &enrolment, &key).await.is_some());
            assert_ne!(renewed.chain[1], signed.chain[1]);
        }
    }
}

#[test]
fn a_deny_list_is_kept_and_forgets_what_has_ended() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let (root, list) = (PrivateCa::generate("Test root", now).unwrap(), DenyList::new());
    let intermediate = Intermediate::issue(&root, "Test 1", now).unwrap();
    let request = request(&PrivateKey::generate().unwrap());
    let mut serials = Vec::new();
    for hours in [1, 2] {
        let grant = Grant::client(CLIENT).unwrap().life(HOUR * hours).unwrap();
        let signed = intermediate.sign(&request, &grant, now).unwrap();
        list.deny(&signed.serial, signed.not_after);
        serials.push(signed.serial);
    }
    let other = DenyList::new();
    let saved = list.save();
    for end in 0..saved.len() {
        assert!(other.load(&saved[..end]).is_err(), "cut after {end}: {saved}");
        assert!(other.is_empty());
    }
    assert!(other.load(&saved.replacen('2', "3", 1)).is_err(), "one is missing");
    other.load(&saved).unwrap();
    assert!(serials.iter().all(|serial| other.is_denied(serial)) && other.len() == 2);
    assert_eq!(other.forget(now + HOUR), 1);
    assert!(!other.is_denied(&serials[0]) && other.is_denied(&serials[1]));
    for damaged in ["x", "00", "zz 5", "00 x", "0 5", "00 5 6"] {
        assert!(other.load(damaged).is_err(), "{damaged}");
    }
    assert!(other.is_denied(&serials[1]), "a damaged list changes nothing");
}

#[test]
fn of_two_intermediates_of_one_name_the_one_that_signed_stands_in_the_chain() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let root = PrivateCa::generate("Test root", now).unwrap();
    let both = [(); 2].map(|()| Intermediate::issue(&root, "Test", now).unwrap());
    let (key, grant) = (PrivateKey::generate().unwrap(), Grant::client(CLIENT).unwrap());
    let signed = both.each_ref().map(|it| it.sign(&request(&key), &grant, now).unwrap());
    let text = |der: &[u8]| {
        let body = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
    };
    for (leaf, first, second) in [(0, 0, 1), (0, 1, 0), (1, 0, 1), (1, 1, 0)] {
        let [leaf_der, own] = [0, 1].map(|at| &signed[leaf].chain[at]);
        let others = [first, second].map(|at| text(&signed[at].chain[1]));
        let chain = text(leaf_der) + &others.concat();
        let read = cert_manager::Certificate::from_pem(chain, key.to_pem().expose()).unwrap();
        assert_eq!(&read.chain()[1], own, "{leaf} {first}");
    }
}
