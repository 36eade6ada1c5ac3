//! The manager with a real authority: short lives under load, and nonces that are refused.
#![cfg(all(feature = "acme", feature = "ring"))]
#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not their helpers")]
#![allow(clippy::disallowed_methods, reason = "the authority lives by the real clock")]

#[path = "support/pebble.rs"]
mod pebble;

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use cert_manager::{
    Manager,
    acme::{Acme, TlsAlpn01},
    presets,
    rustls::{
        ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
        client::{
            Resumption,
            danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        },
        crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
        pki_types::{CertificateDer, ServerName, UnixTime},
    },
};
use futures_util::{SinkExt as _, StreamExt as _};
use pebble::{Pebble, Settings};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

/// Ten renewals while clients come all the time, and one stays with a WebSocket on which something is said all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs pebble"]
async fn certificates_of_some_seconds_are_renewed_ten_times_under_load() {
    let pebble = Pebble::start(&Settings { life: life(), ..Settings::default() });
    let resolver = cert_manager::Resolver::new();
    let acme = pebble.account().solver(TlsAlpn01::new(resolver.clone())).build().unwrap();
    let port = serve(&resolver, pebble.tls).await;
    let manager = Manager::builder()
        .issuer(acme)
        .storage(pebble.store("manager"))
        .resolver(resolver.clone())
        .name("a.example")
        .start()
        .await
        .unwrap();

    let verifier = Arc::new(SelfMade(presets::provider()));
    let web_sockets = serve_web_sockets(&resolver).await;
    let stream = connect(web_sockets, &verifier).await.unwrap();
    let (socket, _) = tokio_tungstenite::client_async("wss://a.example/", stream).await.unwrap();
    let (hang_up, hung_up) = watch::channel(false);
    let talk = tokio::spawn(talk(socket, hung_up));
    let mut serials = HashSet::new();
    // Ten renewals take five lives.
    let deadline = Duration::from_secs(60) + Duration::from_secs(15) * life();
    let (start, mut handshakes) = (Instant::now(), 0_u32);
    while serials.len() <= 10 {
        assert!(start.elapsed() < deadline, "{:?}", manager.snapshot());
        let mut stream = connect(port, &verifier).await.unwrap();
        echo(&mut stream).await;
        let leaf = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
        serials.insert(leaf.to_vec());
        handshakes += 1;
        assert!(!talk.is_finished(), "the WebSocket has ended");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    hang_up.send_replace(true);
    let said = talk.await.unwrap();
    assert!(said > 100, "{said}");
    let counters = manager.snapshot().counters;
    assert!(handshakes > 500, "{handshakes}");
    assert!(counters.failed.is_empty(), "{counters:?}");
    println!(
        "{handshakes} handshakes, none failed; {said} messages and their echoes on one WebSocket; {:?}, {counters:?}",
        start.elapsed()
    );
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs pebble"]
async fn a_thousand_names_with_half_of_the_nonces_refused() {
    let pebble = Pebble::start(&Settings { refused_nonces: 50, ..Settings::default() });
    let resolver = cert_manager::Resolver::new();
    let acme: Acme = pebble.account().solver(TlsAlpn01::new(resolver.clone())).build().unwrap();
    serve(&resolver, pebble.tls).await;
    let builder = Manager::builder().issuer(acme).resolver(resolver).orders_in_flight(16);
    let builder = (0..1000).fold(builder, |it, at| it.name(format!("n{at}.example")));
    let manager = builder.start().await.unwrap();
    let start = Instant::now();
    while manager.resolver().names().len() < 1000 {
        assert!(start.elapsed() < Duration::from_secs(350), "{:?}", manager.snapshot().counters);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let counters = manager.snapshot().counters;
    println!("{:?}, {counters:?}", start.elapsed());
    assert_eq!(counters.issued.values().sum::<u64>(), 1000, "0 lost, 0 twice");
    assert!(counters.failed.is_empty(), "{counters:?}");
}

/// Serves visitors and the authority, at the port where it looks.
async fn serve(resolver: &Arc<cert_manager::Resolver>, port: u16) -> u16 {
    let alpn = [b"http/1.1".as_slice(), presets::ACME_TLS_ALPN];
    let config = presets::server_config(presets::provider(), resolver.clone(), alpn).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let (mut reader, mut writer) = tokio::io::split(stream);
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
            });
        }
    });
    port
}

/// Echoes WebSockets, at a port of their own.
async fn serve_web_sockets(resolver: &Arc<cert_manager::Resolver>) -> u16 {
    let alpn = [b"http/1.1"];
    let config = presets::server_config(presets::provider(), resolver.clone(), alpn).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let stream = acceptor.accept(stream).await.unwrap();
                let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_text() {
                        socket.send(message).await.unwrap();
                    }
                }
            });
        }
    });
    port
}

/// Says something each 20 ms and hears it, until it shall hang up; how often.
async fn talk(
    mut socket: WebSocketStream<TlsStream<TcpStream>>,
    hung_up: watch::Receiver<bool>,
) -> u32 {
    let mut said = 0;
    while !*hung_up.borrow() {
        let text = format!("message {said}");
        socket.send(Message::text(&*text)).await.unwrap();
        let heard = socket.next().await.unwrap().unwrap();
        assert_eq!(heard.to_text().unwrap(), text);
        said += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    socket.close(None).await.unwrap();
    said
}

async fn connect(port: u16, verifier: &Arc<SelfMade>) -> std::io::Result<TlsStream<TcpStream>> {
    let mut config = ClientConfig::builder_with_provider(presets::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.dangerous().set_certificate_verifier(verifier.clone());
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    TlsConnector::from(Arc::new(config)).connect("a.example".try_into().unwrap(), stream).await
}

async fn echo(stream: &mut TlsStream<TcpStream>) {
    stream.write_all(b"ping").await.unwrap();
    let mut text = [0; 4];
    stream.read_exact(&mut text).await.unwrap();
    assert_eq!(&text, b"ping");
}

/// Checks name, life and the handshake's signature; Pebble's root is new at each start.
#[derive(Debug)]
struct SelfMade(Arc<CryptoProvider>);

impl ServerCertVerifier for SelfMade {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let (_, parsed) = x509_parser::parse_x509_certificate(leaf).unwrap();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let now = i64::try_from(now).unwrap();
        let (from, to) = (parsed.validity().not_before, parsed.validity().not_after);
        if !(from.timestamp()..=to.timestamp()).contains(&now) {
            return Err(Error::General(format!("{now} is not within {from} and {to}")));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, leaf, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, leaf, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Seconds; renewal begins at half.
fn life() -> u32 {
    std::env::var("CERT_MANAGER_LIFE").map_or(12, |text| text.parse().unwrap())
}
