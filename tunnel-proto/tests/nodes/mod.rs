//! Edge nodes on loopback with certificates of one authority, and connectors beside them.

#![allow(dead_code, unreachable_pub, reason = "each test uses its own part")]

use std::{
    convert::Infallible,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Request, Response};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::PrivateKeyDer;
use tokio::{
    net::TcpListener,
    sync::oneshot,
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore, ServerConfig, crypto::ring, server::WebPkiClientVerifier,
};
use tunnel_proto::{
    ConnectionId, Credentials, TunnelId,
    cluster::{
        Announcer, Cluster, Directory, Forwarder, MemoryDirectory, Node, NodeName, Receiver,
    },
    connector::{Connector, HttpService},
    edge::{Acceptor, Incoming, Registered, Registration, Router},
    origin::PrivateNetwork,
};

pub type AnyBody =
    http_body_util::combinators::BoxBody<bytes::Bytes, Box<dyn std::error::Error + Send + Sync>>;

pub const PATIENCE: Duration = Duration::from_secs(30);

/// Signs the nodes' certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub roots: Arc<RootCertStore>,
}

/// A node's certificate, as both sides of a connection use it.
pub struct Identity {
    pub client: ClientConfig,
    pub server: ServerConfig,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let mut roots = RootCertStore::empty();
        roots.add(params.self_signed(&key).unwrap().der().clone()).unwrap();
        Self { issuer: Issuer::new(params, key), roots: Arc::new(roots) }
    }

    pub fn identity(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let chain = vec![params.signed_by(&key, &self.issuer).unwrap().der().clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(self.roots.clone(), provider.clone());
        let client = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .unwrap();
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(chain, key)
            .unwrap();
        Identity { client, server }
    }
}

pub fn name(name: &str) -> NodeName {
    format!("{name}.node.test").parse().unwrap()
}

pub fn is_node(name: &NodeName) -> bool {
    name.as_str().ends_with(".node.test")
}

/// An edge node: receiver, announcer and façade around one router.
pub struct TestNode<D: Directory + Clone = Arc<MemoryDirectory>> {
    pub node: Node,
    pub router: Arc<Router>,
    pub cluster: Arc<Cluster<D>>,
    receiving: JoinHandle<()>,
    announcing: JoinHandle<()>,
    /// Stops the announcer, then the receiver.
    shutdown: [Option<oneshot::Sender<()>>; 2],
    connectors: JoinSet<()>,
}

impl<D: Directory + Clone> TestNode<D> {
    pub async fn start(authority: &Authority, label: &str, directory: D) -> Self {
        Self::start_at(authority, label, directory, "127.0.0.1:0").await
    }

    pub async fn start_at(authority: &Authority, label: &str, directory: D, address: &str) -> Self {
        let identity = authority.identity(name(label).as_str());
        let router = Arc::new(Router::new());
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let node = Node::new(name(label), &address).unwrap();
        let (stop_announcer, announcer_stopped) = oneshot::channel::<()>();
        let (stop_receiver, receiver_stopped) = oneshot::channel::<()>();
        let receiver = Receiver::new(Arc::clone(&router), &identity.server, is_node);
        let receiving =
            tokio::spawn(receiver.run(listener, async { drop(receiver_stopped.await) }));
        let announcer = Announcer::new(directory.clone(), Arc::clone(&router), node.clone());
        let announcing = tokio::spawn(announcer.run(async { drop(announcer_stopped.await) }));
        let forwarder = Forwarder::new(&identity.client);
        let cluster = Cluster::new(name(label), Arc::clone(&router), directory, forwarder);
        Self {
            node,
            router,
            cluster: Arc::new(cluster),
            receiving,
            announcing,
            shutdown: [Some(stop_announcer), Some(stop_receiver)],
            connectors: JoinSet::new(),
        }
    }

    /// Lets a connector of `tunnel` register here, with one connection.
    pub async fn connect<F, Fut>(&mut self, tunnel: TunnelId, handler: F)
    where
        F: Fn(Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Response<AnyBody>> + Send + 'static,
    {
        let service = tower::service_fn(move |request| {
            let response = handler(request);
            async move { Ok::<_, Infallible>(response.await) }
        });
        self.connect_service(tunnel, service).await;
    }

    /// The same with a tower service, which may fail.
    pub async fn connect_service(&mut self, tunnel: TunnelId, service: impl HttpService) {
        let (edge, io) = tokio::io::duplex(64 * 1024);
        let io = Mutex::new(Some(io));
        let dial = move |_| {
            let io = io.lock().unwrap().take();
            std::future::ready(io.ok_or(io::Error::from(io::ErrorKind::NotConnected)))
        };
        let secret = tunnel_proto::TunnelSecret::new([7; 32]);
        // Nobody is asked but who the test allows: addresses of this machine.
        let network = PrivateNetwork::new().allow("127.0.0.1", 1..=u16::MAX).unwrap();
        let connector = Connector::builder(Credentials::new("account", tunnel, secret), dial)
            .connections(1)
            .private_network(network)
            .service(service)
            .unwrap();
        self.connectors.spawn(async move { drop(connector.run(std::future::pending()).await) });
        let acceptor = Acceptor::new(|_: &Registration| {
            Ok(Registered::new(ConnectionId::from_bytes([9; 16]), "test"))
        });
        self.router.attach(acceptor.accept(edge).await.unwrap());
    }

    /// Hangs up on the connectors.
    pub async fn disconnect(&mut self) {
        self.connectors.shutdown().await;
    }

    /// As if the process were killed: nothing is withdrawn, every connection breaks.
    pub async fn kill(mut self) {
        self.announcing.abort();
        self.receiving.abort();
        let _ = (&mut self.announcing).await;
        let _ = (&mut self.receiving).await;
        self.connectors.shutdown().await;
    }

    pub async fn stop_announcing(&mut self) {
        let _ = self.shutdown[0].take().unwrap().send(());
        (&mut self.announcing).await.unwrap();
    }

    /// Stops taking requests of other nodes; waits for those in flight.
    pub async fn stop_receiving(&mut self) {
        let _ = self.shutdown[1].take().unwrap().send(());
        (&mut self.receiving).await.unwrap();
    }
}

/// Waits until the directory names so many nodes for a tunnel.
pub async fn announced(directory: &impl Directory, tunnel: TunnelId, nodes: usize) {
    let arrived = async {
        while directory.find(tunnel).await.unwrap().len() != nodes {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, arrived).await.expect("the directory is told");
}

pub fn tunnel() -> TunnelId {
    TunnelId::from_bytes([0x11; 16])
}
