//! Host names, tunnels and their connections.

use std::{net::SocketAddr, sync::Arc};

use papaya::HashMap;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    acceptor::{Acceptor, Authenticate},
    connection::Connection,
    event::{Event, Events, Hub},
    info::ConnectionInfo,
    tunnel::Tunnel,
};
use crate::{
    error::{Error, one_line},
    id::TunnelId,
    state::routes::Routes,
};

/// Finds the tunnel that serves a host name.
///
/// Look-ups take no lock and never wait; routes and connections may change at any time, one or a hundred
/// thousand in a row, and each change shows at once. A route says which tunnel *owns* a name, whether or not
/// a connector is there: a connection serves nothing but the names routed to its tunnel.
///
/// ```
/// use tunnel_proto::{TunnelId, edge::Router};
///
/// let router = Router::new();
/// let tunnel = TunnelId::from_bytes([7; 16]);
/// router.set_route("*.example.com", tunnel)?;
/// assert_eq!(router.route("app.example.com"), Some(tunnel));
/// assert_eq!(router.route("example.com"), None);
/// # Ok::<(), tunnel_proto::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Router {
    routes: Routes,
    tunnels: HashMap<TunnelId, Arc<Tunnel>>,
    hub: Hub,
}

impl Router {
    /// Makes a router without routes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives a name to a tunnel: `app.example.com`, or `*.example.com` for any one label.
    ///
    /// # Errors
    ///
    /// A name that no host can have is the caller's fault, and so are `management.argotunnel.com` and
    /// `management.fed.argotunnel.com`: cloudflared answers those itself, with its logs and
    /// diagnostics. No request to them passes, whatever a wildcard says.
    pub fn set_route(&self, name: &str, tunnel: TunnelId) -> Result<(), Error> {
        self.routes.set(name, tunnel)
    }

    /// Takes a name away. Returns whether it was routed.
    pub fn remove_route(&self, name: &str) -> bool {
        self.routes.remove(name)
    }

    /// Adds a registered connection to its tunnel, until it closes. If the tunnel is being
    /// [removed](Self::remove_tunnel) in the same moment, the connection is closed.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn attach(&self, connection: Connection) -> Arc<Tunnel> {
        let tunnel = self.tunnel_or_new(connection.registration().credentials.tunnel_id());
        tunnel.attach(connection);
        tunnel
    }

    /// Accepts a connector, registers it and adds its connection to its tunnel: what an accept
    /// loop does with each socket that has finished TLS. A refusal is told as an event too.
    ///
    /// # Errors
    ///
    /// As [`Acceptor::accept`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection.
    #[expect(clippy::manual_async_fn, reason = "with a closure rustc sees no `Send`, rust#102211")]
    pub fn accept<A, T>(
        &self,
        acceptor: &Acceptor<A>,
        io: T,
        source: Option<SocketAddr>,
    ) -> impl Future<Output = Result<Arc<Tunnel>, Error>> + Send
    where
        A: Authenticate,
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        async move {
            match acceptor.accept_from(io, source).await {
                Ok(connection) => Ok(self.attach(connection)),
                Err(error) => {
                    // Whoever leaves without a word was not turned away: cloudflared's probes do so.
                    if error.refusal().is_some() || error.is_peer_fault() || error.limit().is_some()
                    {
                        self.hub.tell(|| Event::Refused { source, reason: one_line(&error) });
                    }
                    Err(error)
                }
            }
        }
    }

    /// Listens to what happens to connections from now on.
    pub fn events(&self) -> Events {
        self.hub.listen()
    }

    /// Snapshots of all connections of all tunnels.
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        let tunnels = self.tunnels.pin();
        tunnels.values().flat_map(|tunnel| tunnel.connections()).map(|one| one.info()).collect()
    }

    /// Forgets a tunnel and hangs up on its connectors; requests in flight fail. Returns whether it was there.
    ///
    /// For whoever deletes tunnels, after its names have been taken away and the acceptor's
    /// [`Authenticate`] refuses it: the router itself keeps every tunnel that has ever connected, some 400
    /// bytes each, with its configuration. A connector that is let in again makes a new tunnel.
    pub fn remove_tunnel(&self, id: TunnelId) -> bool {
        let removed = self.tunnels.pin().remove(&id).cloned();
        if let Some(tunnel) = &removed {
            tunnel.close();
        }
        removed.is_some()
    }

    /// Which tunnel owns a host name. Case, a port and a trailing dot do not count.
    pub fn route(&self, host: &str) -> Option<TunnelId> {
        self.routes.find(host)
    }

    /// The tunnel with this id, if one of its connectors has ever connected and it has not been
    /// [removed](Self::remove_tunnel).
    pub fn tunnel(&self, id: TunnelId) -> Option<Arc<Tunnel>> {
        self.tunnels.pin().get(&id).cloned()
    }

    /// Every tunnel whose connectors have ever connected.
    #[cfg(feature = "cluster")]
    pub(crate) fn tunnels(&self) -> Vec<Arc<Tunnel>> {
        self.tunnels.pin().values().cloned().collect()
    }

    fn tunnel_or_new(&self, id: TunnelId) -> Arc<Tunnel> {
        let new = || Tunnel::new(id, self.hub.clone());
        Arc::clone(self.tunnels.pin().get_or_insert_with(id, new))
    }
}
