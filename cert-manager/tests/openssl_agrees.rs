//! OpenSSL accepts what we issue and serve. Needs the `openssl` program.
#![cfg(any(feature = "ring", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not their helpers")]

use std::{
    fs,
    io::Write,
    net::TcpListener,
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::SystemTime,
};

use cert_manager::{
    PrivateCa, Profile, Resolver, presets,
    rustls::{ServerConnection, Stream},
};

#[test]
#[ignore = "needs openssl"]
fn verifies_the_chain_strictly() {
    let folder = tempfile::tempdir().unwrap();
    let (ca, leaf) = issue();
    let (root, chain) = (folder.path().join("root.pem"), folder.path().join("leaf.pem"));
    fs::write(&root, ca.root_pem()).unwrap();
    fs::write(&chain, leaf.chain_pem()).unwrap();
    for host in ["app.example.jp", "x.example.jp"] {
        let output = Command::new("openssl")
            .args(["verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", host])
            .arg("-CAfile")
            .args([&root, &chain])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let output = Command::new("openssl")
        .args(["verify", "-x509_strict", "-verify_ip", "127.0.0.1", "-CAfile"])
        .args([&root, &chain])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
#[ignore = "needs openssl"]
fn shakes_hands() {
    let folder = tempfile::tempdir().unwrap();
    let (ca, leaf) = issue();
    let root = folder.path().join("root.pem");
    fs::write(&root, ca.root_pem()).unwrap();
    let resolver = Resolver::new();
    resolver.insert(leaf).unwrap();
    let config = presets::server_config(presets::provider(), resolver, [b"h2"]).unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let cases = [
        ("app.example.jp", "-tls1_3", true),
        ("app.example.jp", "-tls1_2", true),
        ("app.example.jp", "-tls1_1", false),
        ("unknown.example", "-tls1_3", false),
    ];
    let server = thread::spawn(move || {
        for _ in cases {
            let (mut socket, _) = listener.accept().unwrap();
            let mut connection = ServerConnection::new(config.clone()).unwrap();
            let mut tls = Stream::new(&mut connection, &mut socket);
            // Refused handshakes fail here, and that is what the client checks.
            let _ = tls.write_all(b"hello\n");
            tls.conn.send_close_notify();
            let _ = tls.flush();
        }
    });
    for (name, version, expected) in cases {
        let output = Command::new("openssl")
            .args(["s_client", "-connect", &address, "-servername", name, version])
            .args(["-verify_return_error", "-verify_hostname", name, "-alpn", "h2", "-CAfile"])
            .arg(&root)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let is_good = output.status.success() && text.contains("Verify return code: 0 (ok)");
        assert_eq!(is_good, expected, "{name} {version}: {output:?}");
        if is_good && version == "-tls1_2" {
            assert!(text.contains("Secure Renegotiation IS supported"), "{text}");
        }
    }
    server.join().unwrap();
}

#[expect(clippy::disallowed_methods, reason = "openssl reads the clock, so we must")]
fn issue() -> (PrivateCa, cert_manager::Certificate) {
    let now = SystemTime::now();
    let ca = PrivateCa::generate("OpenSSL test CA", now).unwrap();
    let names = ["app.example.jp", "*.example.jp", "127.0.0.1"];
    let names = names.map(|name| name.parse().unwrap());
    let leaf = ca.issue(&names, Profile::server(), now).unwrap();
    (ca, leaf)
}
