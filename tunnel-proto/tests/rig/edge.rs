//! An edge with TLS, which can be stopped and started again.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{net::TcpListener, task::AbortHandle, time::timeout};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        crypto::ring::default_provider,
        pki_types::{CertificateDer, PrivateKeyDer},
    },
};
use tunnel_proto::{
    ConnectionId, Error,
    edge::{Acceptor, Phase, Refusal, Registered, Registration, Router, Tunnel},
};

use crate::harness;

pub type Authenticate = dyn Fn(&Registration) -> Result<Registered, Refusal> + Send + Sync;

pub struct TlsEdge {
    pub router: Arc<Router>,
    pub address: SocketAddr,
    /// The certificate, which is its own authority, as a file for `--cacert`.
    pub ca: tempfile::NamedTempFile,
    pub refusals: Arc<Mutex<Vec<Error>>>,
    certificate: CertificateDer<'static>,
    tls: TlsAcceptor,
    authenticate: Arc<Authenticate>,
    accepting: Mutex<Option<AbortHandle>>,
}

impl TlsEdge {
    /// Says yes to the one secret.
    pub async fn start() -> Self {
        Self::start_with(harness::authenticate).await
    }

    pub async fn start_with(
        authenticate: impl Fn(&Registration) -> Result<Registered, Refusal> + Send + Sync + 'static,
    ) -> Self {
        let names = ["h2.cftunnel.com", "quic.cftunnel.com", "probe.cftunnel.com"];
        let issued = rcgen::generate_simple_self_signed(names.map(String::from)).unwrap();
        let ca = tempfile::Builder::new().suffix(".pem").tempfile().unwrap();
        std::fs::write(ca.path(), issued.cert.pem()).unwrap();
        let certificate = issued.cert.der().clone();
        let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let edge = Self {
            router: Arc::new(Router::new()),
            address: listener.local_addr().unwrap(),
            ca,
            refusals: Arc::default(),
            certificate,
            tls: TlsAcceptor::from(Arc::new(config)),
            authenticate: Arc::new(authenticate),
            accepting: Mutex::default(),
        };
        edge.accept(listener);
        edge
    }

    fn accept(&self, listener: TcpListener) {
        let (tls, router) = (self.tls.clone(), Arc::clone(&self.router));
        let (authenticate, refusals) = (Arc::clone(&self.authenticate), Arc::clone(&self.refusals));
        let accepting = tokio::spawn(async move {
            let acceptor = Acceptor::new(move |claim: &Registration| authenticate(claim));
            while let Ok((tcp, source)) = listener.accept().await {
                let (tls, acceptor) = (tls.clone(), acceptor.clone());
                let (router, refusals) = (Arc::clone(&router), Arc::clone(&refusals));
                tokio::spawn(async move {
                    tcp.set_nodelay(true).unwrap();
                    let Ok(tls) = tls.accept(tcp).await else { return };
                    if let Err(error) = router.accept(&acceptor, tls, Some(source)).await {
                        refusals.lock().unwrap().push(error);
                    }
                });
            }
        });
        *self.accepting.lock().unwrap() = Some(accepting.abort_handle());
    }

    /// Hangs up on everybody and listens no more.
    pub fn stop(&self) {
        if let Some(accepting) = self.accepting.lock().unwrap().take() {
            accepting.abort();
        }
        for connection in self.tunnel().connections() {
            connection.close();
        }
    }

    /// Listens again on the same port.
    pub async fn restart(&self) {
        let bound = async {
            loop {
                match TcpListener::bind(self.address).await {
                    Ok(listener) => return listener,
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        self.accept(timeout(super::PATIENCE, bound).await.expect("the port comes free"));
    }

    pub fn tunnel(&self) -> Arc<Tunnel> {
        self.router.tunnel(harness::tunnel_id()).expect("a connector has registered")
    }

    /// Waits until this many connections serve.
    pub async fn wait_for(&self, connections: usize) -> Arc<Tunnel> {
        let arrived = async {
            loop {
                if let Some(tunnel) = self.router.tunnel(harness::tunnel_id()) {
                    let phases = tunnel.connections().into_iter().map(|one| one.phase());
                    // One that has just closed may still be listed.
                    if phases.filter(|phase| *phase == Phase::Serving).count() == connections {
                        return tunnel;
                    }
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(super::PATIENCE, arrived).await.expect("the connections come")
    }

    /// What a connector needs in order to trust this edge.
    pub fn trust(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }
}

/// An id for a connection, none twice.
pub fn connection_id() -> ConnectionId {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut bytes = [9; 16];
    bytes[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    ConnectionId::from_bytes(bytes)
}
