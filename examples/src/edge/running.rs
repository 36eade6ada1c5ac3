//! Starting and stopping an edge.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use cert_manager::acme::{HTTP_PREFIX, Http01};
use http::{StatusCode, header};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::timeout,
};
use tracing::{debug, warn};
use tunnel_proto::{
    ConnectionId, Credentials, Error, TunnelId, TunnelSecret,
    edge::{
        Acceptor, Admission, Authenticate, Connection, Permit, Phase, Refusal, Registered,
        Registration, Router,
    },
};

use super::certificates::Certificates;
use crate::{
    gate::{Gate, reply},
    listener::{self, Accepted, GRACE_PERIOD, Peer, Tls},
    output::{Event, Reporter, chain},
    shutdown::Shutdown,
};

/// What an edge is made of.
#[derive(Debug)]
pub struct Settings {
    /// Where visitors come over HTTPS, and connectors too if they have no socket of their own.
    pub https: TcpListener,
    /// Where visitors come over plain HTTP, to be sent to HTTPS.
    pub http: Option<TcpListener>,
    /// Where connectors dial.
    pub tunnel: Option<TcpListener>,
    /// Which certificates there shall be, and who issues them.
    pub certificates: Certificates,
    /// Who may register, by name.
    pub tunnels: Vec<(String, Credentials)>,
    /// Where this edge stands, for operators of connectors: a short code.
    pub location: String,
    /// Routes to the tunnels; the gate has the same.
    pub router: Arc<Router>,
    /// The gate.
    pub gate: Arc<Gate>,
    /// Whom to tell.
    pub reporter: Reporter,
}

/// An edge at work.
#[derive(Debug)]
pub struct Running {
    tasks: JoinSet<()>,
    graceful: Arc<GracefulShutdown>,
    shutdown: Shutdown,
    certificates: watch::Sender<Vec<Vec<String>>>,
}

/// Starts an edge. Its sockets answer when this returns, with certificates: where a public authority issues them, once
/// each is there or has failed for the first time.
///
/// # Errors
///
/// Names that can't have a certificate, or a crypto provider without TLS.
pub async fn start(settings: Settings, shutdown: Shutdown) -> anyhow::Result<Running> {
    let certificates = settings.certificates;
    let own = certificates.start_own().await.context("can't issue the certificates")?;

    let tls = Tls::new(certificates.resolver())?.challenges(certificates.tls_challenges());
    let door = Arc::new(Door {
        tls,
        admission: Admission::default(),
        refusals: Mutex::default(),
        acceptor: Acceptor::new(Registry::new(settings.tunnels.clone(), settings.location)),
        names: settings.tunnels.into_iter().map(|(name, it)| (it.tunnel_id(), name)).collect(),
        router: settings.router,
        gate: settings.gate,
        reporter: settings.reporter,
    });
    let graceful = Arc::new(GracefulShutdown::new());
    let mut tasks = JoinSet::new();
    let sockets = match settings.tunnel {
        Some(tunnel) => vec![(settings.https, Role::Visitors), (tunnel, Role::Connectors)],
        None => vec![(settings.https, Role::Both)],
    };
    for (listener, role) in sockets {
        let (door, shutdown) = (Arc::clone(&door), shutdown.clone());
        let graceful = Arc::clone(&graceful);
        tasks.spawn(async move {
            let serve = |tcp, peer| Arc::clone(&door).greet(tcp, peer, role, graceful.watcher());
            listener::accept_loop(listener, shutdown, serve).await;
        });
    }
    if let Some(listener) = settings.http {
        let plain =
            Plain { gate: Arc::clone(&door.gate), challenges: certificates.http_challenges() };
        let (plain, shutdown) = (Arc::new(plain), shutdown.clone());
        let graceful = Arc::clone(&graceful);
        tasks.spawn(async move {
            let serve = |tcp, _| Arc::clone(&plain).greet(tcp, graceful.watcher());
            listener::accept_loop(listener, shutdown, serve).await;
        });
    }
    let public = certificates.start_public(door.reporter.clone()).await;
    let public = public.context("can't look after the certificates")?;
    let (wanted, mut changes) = watch::channel(certificates.wanted().to_vec());
    let mut managers = certificates.managers(own, public);
    let told = shutdown.clone().told();
    tasks.spawn(async move {
        let mut told = std::pin::pin!(told);
        loop {
            tokio::select! {
                () = &mut told => break,
                Ok(()) = changes.changed() => managers.want(&changes.borrow_and_update()),
            }
        }
        managers.shutdown().await;
    });
    Ok(Running { tasks, graceful, shutdown, certificates: wanted })
}

impl Running {
    /// Takes which certificates there shall be for visitors, by the names of each.
    pub fn certificates(&self) -> watch::Sender<Vec<Vec<String>>> {
        self.certificates.clone()
    }

    /// Waits until the program is told to stop and the requests in flight are done, or the grace
    /// period is over.
    pub async fn finished(mut self) {
        self.shutdown.told().await;
        while self.tasks.join_next().await.is_some() {}
        // The accept loops are gone, so nobody else holds it.
        if let Some(graceful) = Arc::into_inner(self.graceful)
            && timeout(GRACE_PERIOD, graceful.shutdown()).await.is_err()
        {
            warn!("some requests did not finish in time");
        }
    }
}

/// Whom a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Both,
    Visitors,
    Connectors,
}

impl Role {
    fn takes_visitors(self) -> bool {
        self != Self::Connectors
    }

    fn takes_connectors(self) -> bool {
        self != Self::Visitors
    }
}

/// Who may register, and the answer to those who may not.
#[derive(Debug)]
struct Registry {
    secrets: HashMap<TunnelId, TunnelSecret>,
    /// Compared against when a tunnel is unknown, so that both refusals cost the same.
    decoy: TunnelSecret,
    location: String,
    random: SystemRandom,
}

impl Registry {
    fn new(tunnels: Vec<(String, Credentials)>, location: String) -> Self {
        Self {
            secrets: tunnels
                .into_iter()
                .map(|(_, credentials)| (credentials.tunnel_id(), credentials.secret().clone()))
                .collect(),
            decoy: TunnelSecret::new([0; 32]),
            location,
            random: SystemRandom::new(),
        }
    }
}

impl Authenticate for Registry {
    async fn authenticate(&self, registration: &Registration) -> Result<Registered, Refusal> {
        let claimed = &registration.credentials;
        let known = self.secrets.get(&claimed.tunnel_id());
        let is_right = claimed.secret() == known.unwrap_or(&self.decoy);
        if !is_right || known.is_none() {
            return Err(Refusal::unauthorized());
        }
        let mut id = [0; 16];
        self.random
            .fill(&mut id)
            .map_err(|_| Refusal::retry("the edge has no randomness", Duration::from_secs(10)))?;
        Ok(Registered::new(ConnectionId::from_random_bytes(id), self.location.clone()))
    }
}

/// What every accepted connection passes.
struct Door {
    tls: Tls,
    admission: Admission,
    refusals: Mutex<Refusals>,
    acceptor: Acceptor<Registry>,
    names: HashMap<TunnelId, String>,
    router: Arc<Router>,
    gate: Arc<Gate>,
    reporter: Reporter,
}

impl Door {
    async fn greet(
        self: Arc<Self>,
        tcp: TcpStream,
        peer: SocketAddr,
        role: Role,
        watcher: Watcher,
    ) {
        let mut permit = None;
        if !role.takes_visitors() {
            // Nothing but connectors comes here, so one that comes too often costs no handshake.
            permit = self.admit(peer);
            if permit.is_none() {
                return;
            }
        }
        // Each step is boxed: a connection that is open for hours keeps no room for the handshake's.
        let accepted = Box::pin(self.tls.accept(tcp)).await;
        match accepted {
            Ok(Accepted::Visitor(io)) if role.takes_visitors() => {
                let peer = Peer::new(peer, io.get_ref().1.server_name());
                let gate = Arc::clone(&self.gate);
                let served = listener::serve_http(io, watcher, move |request| {
                    Arc::clone(&gate).answer(request, Arc::clone(&peer))
                });
                Box::pin(served).await;
            }
            Ok(Accepted::Connector(io)) if role.takes_connectors() => {
                // A tunnel lives as long as its connector: stopping must not wait for it.
                drop(watcher);
                if let Some(permit) = permit.or_else(|| self.admit(peer)) {
                    Box::pin(self.register(io, peer, permit)).await;
                }
            }
            Ok(Accepted::Authority) => debug!(%peer, "an authority validated a name"),
            Ok(Accepted::Visitor(_) | Accepted::Connector(_)) => {
                debug!(%peer, "a client came to a socket that is not for it");
            }
            Err(error) => debug!(%peer, %error, "a TLS handshake failed"),
        }
    }

    /// Asks whether a connector may begin. Refusals are told once in ten seconds: who is refused
    /// comes thousands of times.
    fn admit(&self, peer: SocketAddr) -> Option<Permit> {
        let now = instant();
        let error = match self.admission.admit(peer.ip(), now) {
            Ok(permit) => return Some(permit),
            Err(error) => error,
        };
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.count += 1;
        if refusals.told.is_none_or(|told| now.saturating_duration_since(told) >= TELL_EVERY) {
            warn!(%peer, refused = refusals.count, error = chain(&error), "a connector comes too often");
            *refusals = Refusals { count: 0, told: Some(now) };
        }
        None
    }

    async fn register<T>(&self, io: T, peer: SocketAddr, permit: Permit)
    where
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    {
        match self.acceptor.accept(io).await {
            Ok(connection) => {
                permit.registered();
                self.router.attach(connection.clone());
                self.watch(connection).await;
            }
            Err(error) => {
                if error.refusal().is_some() || error.is_peer_fault() {
                    permit.failed(instant());
                }
                self.turn_away(peer, &error);
            }
        }
    }

    /// Tells of a connection's beginning and end.
    async fn watch(&self, connection: Connection) {
        let registration = connection.registration();
        let tunnel = self.name(registration.credentials.tunnel_id());
        let connector = registration.connector_id.to_string();
        let (index, version) = (registration.connection_index, registration.version.clone());
        self.reporter.tell(&Event::ConnectorConnected {
            tunnel: tunnel.clone(),
            connector: connector.clone(),
            index,
            version: version.escape_debug().to_string(),
        });
        connection.reached(Phase::Closed).await;
        self.reporter.tell(&match connection.loss() {
            Some(reason) => Event::ConnectorLost { tunnel, connector, index, reason },
            None => Event::ConnectorLeft { tunnel, connector, index },
        });
    }

    fn turn_away(&self, peer: SocketAddr, error: &Error) {
        let reason = match error.refusal() {
            Some(cause) => cause.to_owned(),
            // cloudflared's own pre-flight check connects and leaves without a word.
            None if error.is_retryable() => {
                debug!(%peer, error = chain(error), "a connector left before it registered");
                return;
            }
            None => chain(error),
        };
        self.reporter.tell(&Event::ConnectorRefused { peer: peer.to_string(), reason });
    }

    fn name(&self, id: TunnelId) -> String {
        self.names.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }
}

/// Connectors turned away for coming too often, since the last line about them.
#[derive(Debug, Default)]
struct Refusals {
    count: u64,
    told: Option<Instant>,
}

const TELL_EVERY: Duration = Duration::from_secs(10);

fn instant() -> Instant {
    Instant::now()
}

/// What comes over plain HTTP.
#[derive(Debug)]
struct Plain {
    gate: Arc<Gate>,
    challenges: Option<Arc<Http01>>,
}

impl Plain {
    async fn greet(self: Arc<Self>, tcp: TcpStream, watcher: Watcher) {
        listener::serve_http(tcp, watcher, move |request| {
            let plain = Arc::clone(&self);
            async move {
                let target = request.uri().path_and_query().map_or("/", |path| path.as_str());
                if request.uri().path().starts_with(HTTP_PREFIX) {
                    return plain.answer_authority(request.uri().path()).await;
                }
                let host = request.headers().get(header::HOST);
                plain.send_to_https(host.and_then(|host| host.to_str().ok()), target)
            }
        })
        .await;
    }

    /// An authority that is sent on would come over HTTPS, where no certificate may be yet.
    async fn answer_authority(&self, path: &str) -> reply::Reply {
        let answer = match &self.challenges {
            Some(challenges) => challenges.find(path).await,
            None => None,
        };
        match answer {
            Some(answer) => reply::text(200, answer),
            None => reply::json(404, &serde_json::json!({"error": "no such challenge here"})),
        }
    }

    /// All else has one answer: the same over HTTPS.
    fn send_to_https(&self, host: Option<&str>, target: &str) -> reply::Reply {
        let host = host
            .and_then(|host| access_policy::Request::new(host, "/").ok())
            .map(|request| request.host().to_owned())
            .filter(|host| self.gate.knows(host));
        match host {
            Some(host) => {
                let location = format!("{}{target}", self.gate.origin_of(&host));
                reply::redirect(StatusCode::PERMANENT_REDIRECT, &location)
            }
            None => reply::json(404, &serde_json::json!({"error": "no such host here"})),
        }
    }
}
