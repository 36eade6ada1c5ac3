//! An edge and a connector that serves ingress rules, and servers for them to lead to.

#![allow(dead_code, unreachable_pub, reason = "each test uses its own part")]

use std::{convert::Infallible, fmt::Write as _, future::pending, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming as Body;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{RootCertStore, ServerConfig, crypto::CryptoProvider, crypto::ring},
};
use tunnel_proto::{
    connector::Connector,
    edge::{Incoming, ResponseSource, Tunnel},
    ingress::{Environment, Ingress},
};

use super::harness::{Edge, credentials};

/// A connector that serves `ingress`.
pub async fn serve(ingress: &Ingress) -> (Arc<Tunnel>, JoinHandle<()>) {
    let edge = Edge::start();
    let connector = Connector::builder(credentials(), edge.dial())
        .connections(1)
        .service(ingress.clone())
        .unwrap();
    let running = tokio::spawn(async move {
        let _ = connector.run(pending()).await;
    });
    (edge.wait_for(1).await, running)
}

pub fn environment() -> Environment {
    Environment::new().tls(provider(), RootCertStore::empty())
}

pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// One answer: status, who made it, body.
pub async fn get(tunnel: &Tunnel, url: &str) -> (u16, Option<ResponseSource>, String) {
    ask(tunnel, Request::get(url).body(Full::default()).unwrap()).await
}

pub async fn ask(
    tunnel: &Tunnel,
    request: Request<Full<Bytes>>,
) -> (u16, Option<ResponseSource>, String) {
    let response = tunnel.send(request).await.unwrap();
    let source = response.extensions().get().copied();
    (response.status().as_u16(), source, text(response).await)
}

pub async fn text(response: Response<Incoming>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

/// Tells what it saw: version, host and target, one a line, then the named headers, then the body.
pub async fn mirror(request: Request<Body>) -> Result<Response<Full<Bytes>>, Infallible> {
    let host = request.headers().get("host").map(|host| host.to_str().unwrap().to_owned());
    let host = host.or_else(|| request.uri().authority().map(ToString::to_string));
    let mut told = format!(
        "{:?} {} {}\n",
        request.version(),
        host.unwrap_or_default(),
        request.uri().path_and_query().unwrap()
    );
    for (name, value) in request.headers() {
        let name = name.as_str();
        let told_of = ["accept-encoding", "content-length", "transfer-encoding"];
        if name.starts_with("x-") || told_of.contains(&name) {
            writeln!(told, "{name}: {}", value.to_str().unwrap()).unwrap();
        }
    }
    let body = request.into_body().collect().await.unwrap().to_bytes();
    told.push_str(std::str::from_utf8(&body).unwrap());
    Ok(Response::new(Full::from(told)))
}

pub async fn serve_connection(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
    let service = hyper::service::service_fn(mirror);
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection_with_upgrades(TokioIo::new(io), service)
        .await;
}

/// A mirror on the loopback; counts its connections.
pub async fn http_mirror() -> (u16, Arc<std::sync::atomic::AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tokio::spawn(serve_connection(io));
        }
    });
    (port, count)
}

/// An authority, and certificates of it.
pub struct Authority {
    pub pem: String,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { pem: issuer.pem(), issuer }
    }

    /// What a server for one name needs.
    pub fn server(&self, name: &str, alpn: &[&str]) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// A mirror with TLS on the loopback.
pub async fn https_mirror(tls: TlsAcceptor) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                if let Ok(io) = tls.accept(io).await {
                    serve_connection(io).await;
                }
            });
        }
    });
    port
}
