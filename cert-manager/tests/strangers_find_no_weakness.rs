//! What curl sees and what testssl.sh finds in a listener as the presets make it: the right chain, TLS 1.2 and 1.3, and
//! nothing weak.
#![cfg(all(feature = "ring", feature = "tokio"))]
#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not their helpers")]
#![allow(clippy::disallowed_methods, reason = "strangers live by the real clock")]

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Output},
    sync::Arc,
    time::{Duration, SystemTime},
};

use cert_manager::{PrivateCa, Profile, Resolver, presets};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

struct Listener {
    address: SocketAddr,
    root: PathBuf,
    folder: tempfile::TempDir,
}

/// A listener for `app.example.jp`.
async fn listen() -> Listener {
    let ca = PrivateCa::generate("Test CA", SystemTime::now()).unwrap();
    let resolver = Resolver::new();
    let names = ["app.example.jp".parse().unwrap(), "*.tenants.example.jp".parse().unwrap()];
    resolver.insert(ca.issue(&names, Profile::server(), SystemTime::now()).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root.pem");
    fs::write(&root, ca.root_pem()).unwrap();
    let config = presets::server_config(presets::provider(), resolver, [b"http/1.1"]).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let _ = stream.read(&mut [0; 4096]).await;
                let answer =
                    b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nyes";
                let _ = stream.write_all(answer).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    Listener { address, root, folder }
}

async fn run(program: &str, arguments: Vec<String>) -> Output {
    let mut command = Command::new(program);
    command.args(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs curl"]
async fn curl_trusts_the_right_name_with_tls_1_2_and_1_3() {
    let listener = listen().await;
    let port = listener.address.port();
    for (name, version, expected) in [
        ("app.example.jp", "--tlsv1.3", true),
        ("app.example.jp", "--tls-max 1.2", true),
        ("a.tenants.example.jp", "--tlsv1.3", true),
        ("a.b.tenants.example.jp", "--tlsv1.3", false),
        ("unknown.example", "--tlsv1.3", false),
        ("app.example.jp", "--tls-max 1.1", false),
    ] {
        let root = listener.root.display();
        let text = format!(
            "--silent --show-error --max-time 20 --noproxy * --cacert {root} {version} --resolve {name}:{port}:127.0.0.1 \
             https://{name}:{port}/"
        );
        let output = run("curl", text.split(' ').map(ToOwned::to_owned).collect()).await;
        assert_eq!(output.status.success(), expected, "{name} {version}: {output:?}");
        assert_eq!(output.stdout == b"yes", expected, "{name} {version}");
    }
}

/// Findings that are about a private authority with short lives, or about HTTP and DNS, and not about the listener; and what
/// testssl.sh cannot find out, and another test asks OpenSSL for: whether renegotiation is secure. Where OpenSSL has no engine for
/// GOST, it says so.
const NOT_OURS: [&str; 9] = [
    "engine_problem",
    "secure_renego",
    "cert_notAfter",
    "cert_expirationStatus",
    "cert_chain_of_trust",
    "cert_caIssuers",
    "cert_revocation",
    "OCSP_stapling",
    "DNS_CAArecord",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs testssl.sh"]
async fn testssl_finds_nothing_weak() {
    let listener = listen().await;
    let found = listener.folder.path().join("found.json");
    let text = format!(
        "--quiet --color 0 --warnings off --nodns none --ip 127.0.0.1 --connect-timeout 10 --openssl-timeout 10 \
         --protocols --standard --server-defaults --fs --vulnerable --add-ca {} --jsonfile {} app.example.jp:{}",
        listener.root.display(),
        found.display(),
        listener.address.port()
    );
    let program = std::env::var("TESTSSL").unwrap_or_else(|_| "testssl".to_owned());
    let testssl = run(&program, text.split(' ').map(ToOwned::to_owned).collect());
    let output = tokio::time::timeout(Duration::from_secs(380), testssl).await.unwrap();
    let found = fs::read(&found).unwrap_or_else(|_| panic!("{output:?}"));
    let found: Vec<serde_json::Value> = serde_json::from_slice(&found).unwrap();
    let text = |of: &serde_json::Value, field: &str| of[field].as_str().unwrap().to_owned();
    let weak: Vec<_> = found
        .iter()
        .filter(|it| !["OK", "INFO", "DEBUG"].contains(&&*text(it, "severity")))
        .filter(|it| !NOT_OURS.iter().any(|id| text(it, "id").starts_with(id)))
        // On a busy machine OpenSSL may not connect in time. What has to be found is asked for below.
        .filter(|it| text(it, "finding") != "check failed because of connect problem")
        .collect();
    assert!(weak.is_empty(), "{weak:#?}");
    let finding = |id: &str| {
        // Older ones say "perfect forward secrecy".
        let of_id = found.iter().find(|it| text(it, "id").trim_start_matches('P') == id);
        text(of_id.unwrap_or_else(|| panic!("no finding about {id}: {output:?}")), "finding")
    };
    for (id, expected) in [
        ("SSLv2", "not offered"),
        ("SSLv3", "not offered"),
        ("TLS1", "not offered"),
        ("TLS1_1", "not offered"),
        ("TLS1_2", "offered"),
        ("TLS1_3", "offered with final"),
        ("FS", "offered"),
        ("cipherlist_NULL", "not offered"),
        ("heartbleed", "not vulnerable"),
        ("ROBOT", "not vulnerable"),
        ("SWEET32", "not vulnerable"),
        ("LUCKY13", "not vulnerable"),
    ] {
        let found = finding(id);
        assert!(found.starts_with(expected), "{id}: {found}");
    }
}
