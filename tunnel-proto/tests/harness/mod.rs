//! An edge and a connector in one process, joined by in-memory pipes.

#![allow(dead_code, unreachable_pub, reason = "each test uses its own part")]

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use tokio::{
    io::DuplexStream,
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tunnel_proto::{
    ConnectionId, Credentials, Error, TunnelId, TunnelSecret,
    connector::{Builder, Connector, Dial, Event},
    edge::{Acceptor, Incoming, Refusal, Registered, Registration, Router, Tunnel},
};

pub type AnyBody = BoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

pub fn tunnel_id() -> TunnelId {
    "11111111-2222-3333-4444-555555555555".parse().unwrap()
}

pub fn secret() -> TunnelSecret {
    TunnelSecret::new([7; 32])
}

pub fn credentials() -> Credentials {
    Credentials::new("account", tunnel_id(), secret())
}

pub fn full(body: impl Into<Bytes>) -> AnyBody {
    Full::new(body.into()).map_err(|never| match never {}).boxed()
}

/// Says yes to the one secret.
pub fn authenticate(registration: &Registration) -> Result<Registered, Refusal> {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    if *registration.credentials.secret() == secret() {
        let id = ConnectionId::from_bytes([NEXT.fetch_add(1, Ordering::Relaxed); 16]);
        Ok(Registered::new(id, "test"))
    } else {
        Err(Refusal::unauthorized())
    }
}

/// An edge that can be taken away and brought back.
#[derive(Clone)]
pub struct Edge {
    pub router: Arc<Router>,
    accepted: Arc<Mutex<Option<mpsc::UnboundedSender<DuplexStream>>>>,
    pub refusals: Arc<Mutex<Vec<Error>>>,
}

impl Edge {
    pub fn start() -> Self {
        let edge = Self {
            router: Arc::new(Router::new()),
            accepted: Arc::default(),
            refusals: Arc::default(),
        };
        edge.bring_back();
        edge
    }

    pub fn bring_back(&self) {
        let (sender, mut accepted) = mpsc::unbounded_channel::<DuplexStream>();
        *self.accepted.lock().unwrap() = Some(sender);
        let (router, refusals) = (Arc::clone(&self.router), Arc::clone(&self.refusals));
        tokio::spawn(async move {
            // One test has a thousand connectors of one tunnel.
            let acceptor = Acceptor::new(authenticate).connections(2_000, 2_000);
            while let Some(io) = accepted.recv().await {
                let (acceptor, router, refusals) =
                    (acceptor.clone(), Arc::clone(&router), Arc::clone(&refusals));
                tokio::spawn(async move {
                    match acceptor.accept(io).await {
                        Ok(connection) => drop(router.attach(connection)),
                        Err(error) => refusals.lock().unwrap().push(error),
                    }
                });
            }
        });
    }

    /// Hangs up on everybody and takes no more.
    pub fn take_away(&self) {
        *self.accepted.lock().unwrap() = None;
        for connection in self.tunnel().connections() {
            connection.close();
        }
    }

    pub fn dial(&self) -> impl Fn(usize) -> std::future::Ready<io::Result<DuplexStream>> + use<> {
        let accepted = Arc::clone(&self.accepted);
        move |_| {
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            std::future::ready(match &*accepted.lock().unwrap() {
                Some(edge) => edge.send(theirs).map(|()| ours).map_err(io::Error::other),
                None => Err(io::ErrorKind::ConnectionRefused.into()),
            })
        }
    }

    pub fn tunnel(&self) -> Arc<Tunnel> {
        self.router.tunnel(tunnel_id()).expect("a connector has registered")
    }

    /// Waits until this many connections serve.
    pub async fn wait_for(&self, connections: usize) -> Arc<Tunnel> {
        let arrived = async {
            loop {
                if let Some(tunnel) = self.router.tunnel(tunnel_id())
                    && tunnel.connections().len() == connections
                {
                    return tunnel;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(300), arrived).await.expect("the connections come")
    }
}

/// A running connector.
pub struct Running {
    pub task: JoinHandle<Result<(), Error>>,
    pub events: mpsc::UnboundedReceiver<Event>,
    shutdown: Option<oneshot::Sender<()>>,
}

impl Running {
    pub fn shut_down(&mut self) {
        let _ = self.shutdown.take().expect("once").send(());
    }
}

/// Starts a connector with `connections` connections that answers with `handler`.
pub fn connect<F, Fut>(
    edge: &Edge,
    credentials: Credentials,
    connections: u8,
    handler: F,
) -> Running
where
    F: Fn(Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response<AnyBody>> + Send + 'static,
{
    let builder = Connector::builder(credentials, edge.dial()).connections(connections);
    start(builder, handler)
}

/// Starts a connector with options of one's own.
pub fn start<D, F, Fut>(builder: Builder<D>, handler: F) -> Running
where
    D: Dial,
    F: Fn(Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response<AnyBody>> + Send + 'static,
{
    let service = tower::service_fn(move |request| {
        let response = handler(request);
        async move { Ok::<_, Infallible>(response.await) }
    });
    let (hear, events) = mpsc::unbounded_channel();
    let connector = builder.on_event(move |event| drop(hear.send(event))).service(service).unwrap();
    let (shutdown, stopped) = oneshot::channel();
    let task = tokio::spawn(connector.run(async { drop(stopped.await) }));
    Running { task, events, shutdown: Some(shutdown) }
}

/// A tunnel of one connection whose connector answers with `handler`.
pub async fn tunnel<F, Fut>(handler: F) -> (Arc<Tunnel>, Running)
where
    F: Fn(Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response<AnyBody>> + Send + 'static,
{
    let edge = Edge::start();
    let running = connect(&edge, credentials(), 1, handler);
    (edge.wait_for(1).await, running)
}

pub async fn collect(body: Incoming) -> Result<Bytes, Error> {
    Ok(body.collect().await?.to_bytes())
}
