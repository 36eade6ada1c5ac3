//! Certificates from a real authority, Pebble, by each kind of challenge.
#![cfg(all(feature = "acme", feature = "ring"))]
#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not their helpers")]
#![allow(clippy::disallowed_methods, reason = "the authority lives by the real clock")]

#[path = "support/pebble.rs"]
mod pebble;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cert_manager::{
    DirectoryStore, Name, Resolver,
    acme::{
        Builder, Challenge, ChallengeKind, ExternalAccount, FailureClass, Http01, SolveError,
        Solver, TlsAlpn01, Work,
    },
    presets,
    rustls::{ClientConfig, RootCertStore},
    storage::Storage as _,
};
use pebble::{Pebble, Settings};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

#[tokio::test]
#[ignore = "needs pebble"]
async fn http_01() {
    let pebble = Pebble::start(&Settings::default());
    let acme = by_http(&pebble).build().unwrap();
    let names = names(&["b.example", "a.example"]);
    let certificate = acme.obtain(&names).await.unwrap();
    assert_eq!(texts(certificate.names()), ["a.example", "b.example"]);
    assert!(certificate.chain().len() >= 2, "an issuer comes along");
    // It is one object in the store, and nothing of the attempt is left.
    let stored = acme.stored(&names).await.unwrap().unwrap();
    assert_eq!(stored.chain(), certificate.chain());
    assert_eq!(stored.key_pem().expose(), certificate.key_pem().expose());
    assert_eq!(pebble.folder.path().join("store/attempts").read_dir().unwrap().count(), 0);
}

#[tokio::test]
#[ignore = "needs pebble"]
async fn tls_alpn_01() {
    let pebble = Pebble::start(&Settings::default());
    let resolver = Resolver::new();
    let acme = pebble.account().solver(TlsAlpn01::new(resolver.clone())).build().unwrap();
    let config = presets::server_config(
        presets::provider(),
        resolver,
        [b"http/1.1".as_slice(), presets::ACME_TLS_ALPN],
    );
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config.unwrap()));
    let listener = TcpListener::bind(("127.0.0.1", pebble.tls)).await.unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move { acceptor.accept(stream).await.map(drop) });
        }
    });
    // An address is asked for by its reverse name (RFC 8738).
    for name in ["a.example", "127.0.0.1"] {
        let certificate = acme.obtain(&names(&[name])).await.unwrap();
        assert_eq!(texts(certificate.names()), [name]);
    }
}

#[tokio::test]
#[ignore = "needs pebble"]
async fn an_address_and_a_name_on_one_certificate_by_http_01() {
    let pebble = Pebble::start(&Settings::default());
    let acme = by_http(&pebble).build().unwrap();
    let certificate = acme.obtain(&names(&["a.example", "127.0.0.1"])).await.unwrap();
    assert_eq!(texts(certificate.names()), ["127.0.0.1", "a.example"]);
}

#[tokio::test]
#[ignore = "needs pebble"]
async fn profiles_are_asked_for_where_there_are_any() {
    let pebble = Pebble::start(&Settings::default());
    let solver = answers(&pebble);
    let account = |store| pebble.account_in(&pebble.store(store)).solver(solver.clone());
    let acme = account("known").profile("default").build().unwrap();
    acme.obtain(&names(&["a.example"])).await.unwrap();
    let acme = account("unknown").profile("none-such").build().unwrap();
    match acme.obtain(&names(&["b.example"])).await {
        // Debian's Pebble has no profiles; newer ones do.
        Ok(_) => println!("left out: this Pebble knows no profiles"),
        Err(error) => {
            let known = error.to_string();
            assert!(known.ends_with("known are: default"), "{known}");
            let acme = account("preferred").preferred_profile("none-such").build().unwrap();
            acme.obtain(&names(&["c.example"])).await.unwrap();
        }
    }
}

#[tokio::test]
#[ignore = "needs pebble"]
async fn dns_01_for_a_wildcard_and_the_name_below_it() {
    let pebble = Pebble::start(&Settings::default());
    let acme = pebble.account().solver(Arc::new(TestDns { port: pebble.dns })).build().unwrap();
    let certificate = acme.obtain(&names(&["*.a.example", "a.example"])).await.unwrap();
    assert_eq!(texts(certificate.names()), ["*.a.example", "a.example"]);
}

#[tokio::test]
#[ignore = "needs pebble"]
async fn a_wildcard_needs_dns() {
    let pebble = Pebble::start(&Settings::default());
    let acme = by_http(&pebble).build().unwrap();
    let error = acme.obtain(&names(&["*.a.example"])).await.unwrap_err();
    assert_eq!(error.failure().unwrap().class, FailureClass::Rejected);
    // Newer ones offer more kinds, in any order.
    let error = error.to_string();
    let (_, offered) = error.split_once("`*.a.example` can be validated by ").unwrap();
    assert!(offered.contains("dns-01"), "{error}");
}

#[tokio::test]
#[ignore = "needs pebble"]
async fn no_order_is_lost_to_refused_nonces() {
    let pebble = Pebble::start(&Settings { refused_nonces: 50, ..Settings::default() });
    let acme = Arc::new(by_http(&pebble).build().unwrap());
    let mut orders = tokio::task::JoinSet::new();
    for batch in 0..16 {
        let acme = Arc::clone(&acme);
        orders.spawn(async move {
            for at in 0..12 {
                acme.obtain(&names(&[&format!("n{batch}-{at}.example")])).await.unwrap();
            }
        });
    }
    while let Some(done) = orders.join_next().await {
        done.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs pebble"]
async fn an_external_account_binds_and_a_wrong_key_does_not() {
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let pebble =
        Pebble::start(&Settings { external_account: Some(("kid-1", key)), ..Settings::default() });
    let account = by_http(&pebble);
    let acme =
        account.external_account(ExternalAccount::new("kid-1", key).unwrap()).build().unwrap();
    acme.obtain(&names(&["a.example"])).await.unwrap();

    let stranger = pebble.account_in(&pebble.store("stranger")).solver(Http01::new());
    let wrong = ExternalAccount::new("kid-1", "AAAA").unwrap();
    let error =
        stranger.external_account(wrong).build().unwrap().obtain(&names(&["a.example"])).await;
    assert!(error.unwrap_err().failure().is_some());
    let none = pebble.account_in(&pebble.store("none")).solver(Http01::new()).build().unwrap();
    let error = none.obtain(&names(&["a.example"])).await.unwrap_err();
    assert_eq!(error.failure().unwrap().class, FailureClass::Account);
    assert!(error.to_string().contains("external account"), "{error}");
}

#[tokio::test]
#[ignore = "needs pebble"]
async fn the_preferred_of_several_chains() {
    let pebble = Pebble::start(&Settings { alternates: 2, ..Settings::default() });
    let answers = answers(&pebble);
    let mut roots = Vec::new();
    for at in 0..3 {
        roots.push(root_name(&pebble, at).await);
    }
    for (at, root) in roots.iter().enumerate() {
        let account =
            pebble.account_in(&pebble.store(&format!("store-{at}"))).solver(answers.clone());
        let acme = account.preferred_root(root).build().unwrap();
        let certificate = acme.obtain(&names(&[&format!("chain-{at}.example")])).await.unwrap();
        let top = certificate.chain().last().unwrap();
        let (_, top) = x509_parser::parse_x509_certificate(top).unwrap();
        assert_eq!(&top.issuer().to_string(), &format!("CN={root}"));
    }
}

#[tokio::test]
#[ignore = "needs pebble"]
async fn a_revoked_certificate_is_revoked_and_again_is_no_error() {
    let pebble = Pebble::start(&Settings::default());
    let acme = by_http(&pebble).build().unwrap();
    let certificate = acme.obtain(&names(&["a.example"])).await.unwrap();
    acme.revoke(&certificate, 4).await.unwrap();
    let (_, leaf) = x509_parser::parse_x509_certificate(&certificate.chain()[0]).unwrap();
    let serial = leaf.raw_serial_as_string().replace(':', "");
    let status = manage(&pebble, &format!("/cert-status-by-serial/{serial}")).await;
    assert!(status.contains("Revoked"), "{status}");
    acme.revoke(&certificate, 4).await.unwrap();
}

#[tokio::test]
#[ignore = "needs pebble"]
async fn an_account_outlives_a_restart_and_a_change_of_its_key() {
    let pebble = Pebble::start(&Settings::default());
    let certificate = {
        let acme = by_http(&pebble).build().unwrap();
        let certificate = acme.obtain(&names(&["a.example"])).await.unwrap();
        acme.change_key().await.unwrap();
        certificate
    };
    // Only the account that it was issued to may revoke it in this way.
    let again = pebble.account().solver(Http01::new()).build().unwrap();
    again.revoke(&certificate, 1).await.unwrap();
}

#[tokio::test]
#[ignore = "needs pebble"]
async fn a_node_that_has_the_account_open_follows_a_change_of_its_key_by_another() {
    let pebble = Pebble::start(&Settings::default());
    let solver = answers(&pebble);
    let [one, two] = [0, 1].map(|_| pebble.account().solver(solver.clone()).build().unwrap());
    one.obtain(&names(&["a.example"])).await.unwrap();
    two.obtain(&names(&["b.example"])).await.unwrap();
    for name in ["c.example", "d.example"] {
        one.change_key().await.unwrap();
        let certificate = two.obtain(&names(&[name])).await.unwrap();
        one.change_key().await.unwrap();
        two.revoke(&certificate, 4).await.unwrap();
    }
}

/// The authority has the new key, and nobody wrote down that it has.
#[tokio::test]
#[ignore = "needs pebble"]
async fn a_crash_in_the_change_of_the_key_costs_no_account() {
    let pebble = Pebble::start(&Settings::default());
    let acme = by_http(&pebble).build().unwrap();
    let certificate = acme.obtain(&names(&["a.example"])).await.unwrap();
    let store = pebble.store("store");
    let key = &store.list("accounts").await.unwrap()[0];
    let read = async || {
        let entry = store.get(key).await.unwrap().unwrap();
        let value: serde_json::Value = serde_json::from_slice(&entry.value).unwrap();
        (value, entry.version)
    };
    let (mut before, _) = read().await;
    acme.change_key().await.unwrap();
    let (after, version) = read().await;
    assert_ne!(after["key"], before["key"]);
    before["next_key"] = after["key"].clone();
    store.put(key, before.to_string().as_bytes(), Some(version)).await.unwrap();
    let restarted = pebble.account().solver(Http01::new()).build().unwrap();
    restarted.revoke(&certificate, 1).await.unwrap();
    let (kept, _) = read().await;
    assert_eq!(kept, after, "it is certain now");
}

#[tokio::test]
#[ignore = "needs pebble"]
async fn a_name_that_is_refused_is_named() {
    let pebble = Pebble::start(&Settings::default());
    let acme = by_http(&pebble).build().unwrap();
    let error = acme.obtain(&names(&["blocked.example"])).await.unwrap_err();
    assert_eq!(error.failure().unwrap().class, FailureClass::Rejected);
    // Nobody answers for this one.
    let deaf = pebble.account_in(&pebble.store("deaf")).solver(Http01::new()).build().unwrap();
    let error = deaf.obtain(&names(&["deaf.example"])).await.unwrap_err();
    assert_eq!(error.failure().unwrap().class, FailureClass::Validation);
    assert!(error.to_string().contains("deaf.example"), "{error}");
}

/// While the authority may still look, an answer that is taken away is a failed validation.
#[tokio::test]
#[ignore = "needs pebble"]
async fn an_answer_stays_while_the_authority_may_still_look() {
    let pebble = Pebble::start(&Settings { refused_nonces: 0, ..Settings::default() });
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(DirectoryStore::open(folder.path().join("store")).unwrap());
    let account = pebble.account_in(&store);
    let solver =
        Arc::new(Outage { pebble: Mutex::new(Some(pebble)), withdrawn: AtomicUsize::new(0) });
    let acme = account.solver(solver.clone()).build().unwrap();
    let error = acme.obtain(&names(&["a.example"])).await.unwrap_err();
    assert_eq!(error.failure().unwrap().class, FailureClass::Network);
    assert_eq!(solver.withdrawn.load(Ordering::Relaxed), 0);
    assert_eq!(folder.path().join("store/attempts").read_dir().unwrap().count(), 1);
}

/// The authority is gone as soon as an answer is shown.
#[derive(Debug)]
struct Outage {
    pebble: Mutex<Option<Pebble>>,
    withdrawn: AtomicUsize,
}

impl Solver for Outage {
    fn kind(&self) -> ChallengeKind {
        ChallengeKind::Http01
    }

    fn present<'a>(&'a self, _: &'a Challenge) -> Work<'a> {
        drop(self.pebble.lock().unwrap().take());
        Box::pin(async { Ok(()) })
    }

    fn withdraw<'a>(&'a self, _: &'a Challenge) -> Work<'a> {
        self.withdrawn.fetch_add(1, Ordering::Relaxed);
        Box::pin(async { Ok(()) })
    }
}

/// Debian's Pebble has no wishes; newer ones do.
#[tokio::test]
#[ignore = "needs pebble"]
async fn a_certificate_is_renewed_where_the_authority_has_no_wishes() {
    let pebble = Pebble::start(&Settings::default());
    let acme = by_http(&pebble).build().unwrap();
    let old = acme.obtain(&names(&["a.example"])).await.unwrap();
    if let Some(info) = acme.renewal_info(&old).await.unwrap() {
        let window = info.window.unwrap();
        assert!(window.start > old.not_before() && window.end < old.not_after());
    }
    let new = acme.renew(&old).await.unwrap();
    assert_ne!(new.serial(), old.serial());
    assert_eq!(new.names(), old.names());
    assert_ne!(new.key_pem().expose(), old.key_pem().expose(), "a new key each time");
}

#[tokio::test]
#[ignore = "needs pebble"]
async fn terms_are_agreed_to_by_people() {
    let pebble = Pebble::start(&Settings::default());
    let acme = by_http(&pebble).agree_to_terms(false).build().unwrap();
    let error = acme.obtain(&names(&["a.example"])).await.unwrap_err();
    assert!(error.to_string().contains("terms to agree to first"), "{error}");
}

fn by_http(pebble: &Pebble) -> Builder {
    pebble.account().solver(answers(pebble))
}

/// Answers HTTP-01 where Pebble looks.
fn answers(pebble: &Pebble) -> Arc<Http01> {
    let answers = Http01::new();
    let solver = answers.clone();
    let listener = std::net::TcpListener::bind(("127.0.0.1", pebble.http)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answers = answers.clone();
            tokio::spawn(async move {
                let mut request = vec![0; 4096];
                let len = stream.read(&mut request).await.unwrap_or(0);
                let request = String::from_utf8_lossy(&request[..len]).into_owned();
                let path = request.split(' ').nth(1).unwrap_or_default();
                let answer = match answers.answer(path) {
                    Some(text) => format!(
                        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
                        text.len()
                    ),
                    None => {
                        "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                            .to_owned()
                    }
                };
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    solver
}

/// Puts TXT records where Pebble looks for them.
#[derive(Debug)]
struct TestDns {
    port: u16,
}

impl TestDns {
    async fn post(&self, path: &str, body: String) -> Result<(), SolveError> {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", self.port))
            .await
            .map_err(SolveError::new)?;
        let request = format!(
            "POST {path} HTTP/1.0\r\nhost: dns\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.map_err(SolveError::new)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.map_err(SolveError::new)?;
        if answer.contains(" 200 ") { Ok(()) } else { Err(SolveError::new(answer)) }
    }
}

impl Solver for TestDns {
    fn kind(&self) -> ChallengeKind {
        ChallengeKind::Dns01
    }

    fn present<'a>(&'a self, challenge: &'a Challenge) -> Work<'a> {
        let body = format!(
            r#"{{"host":"{}.","value":"{}"}}"#,
            challenge.txt_name(),
            challenge.txt_value()
        );
        Box::pin(self.post("/set-txt", body))
    }

    fn withdraw<'a>(&'a self, challenge: &'a Challenge) -> Work<'a> {
        Box::pin(self.post("/clear-txt", format!(r#"{{"host":"{}."}}"#, challenge.txt_name())))
    }
}

/// The common name of one of Pebble's roots.
async fn root_name(pebble: &Pebble, at: u32) -> String {
    let pem = manage(pebble, &format!("/roots/{at}")).await;
    let pem = &pem[pem.find("-----BEGIN").unwrap()..];
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
    let root = pem.parse_x509().unwrap();
    root.subject().iter_common_name().next().unwrap().as_str().unwrap().to_owned()
}

/// Asks Pebble's management.
async fn manage(pebble: &Pebble, path: &str) -> String {
    let mut roots = RootCertStore::empty();
    let (_, pem) = x509_parser::pem::parse_x509_pem(pebble.roots.as_bytes()).unwrap();
    roots.add(pem.contents.into()).unwrap();
    let config = ClientConfig::builder_with_provider(presets::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", pebble.management)).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
    let request = format!("GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    // Some servers end without saying so.
    let _ = tokio::time::timeout(Duration::from_secs(30), read).await.unwrap();
    String::from_utf8(answer).unwrap()
}

fn names(texts: &[&str]) -> Vec<Name> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn texts(names: &[Name]) -> Vec<String> {
    let mut texts: Vec<_> = names.iter().map(ToString::to_string).collect();
    texts.sort();
    texts
}
