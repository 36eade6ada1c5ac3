//! What holds of an exchange whatever way it takes: over a tunnel of this node, or over one hop.

#![allow(dead_code, unreachable_pub, reason = "each test uses its own part")]

pub mod ends;
pub mod plain;
pub mod streams;

use std::{sync::Arc, time::Duration};

use http::{Request, Response};
use tunnel_proto::{
    Error,
    edge::{Connection, Incoming, Tunnel, Upgrade},
};

use crate::harness::{AnyBody, Running, tunnel};

/// Longer than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub const URL: &str = "https://app.example.com/";

/// A way from a visitor to a connector.
pub trait Way: Sized + Send + Sync + 'static {
    /// Leads to a connector that answers with `handler`.
    fn to<F, Fut>(handler: F) -> impl Future<Output = Self> + Send
    where
        F: Fn(Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Response<AnyBody>> + Send + 'static;

    fn send(
        &self,
        request: Request<AnyBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, Error>> + Send;

    fn upgrade(&self, request: Request<()>) -> impl Future<Output = Result<Upgrade, Error>> + Send;

    /// The connector's only connection.
    fn connection(&self) -> Connection;
}

/// Over a tunnel of this node.
pub struct Direct {
    tunnel: Arc<Tunnel>,
    _running: Running,
}

impl Way for Direct {
    async fn to<F, Fut>(handler: F) -> Self
    where
        F: Fn(Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Response<AnyBody>> + Send + 'static,
    {
        let (tunnel, running) = tunnel(handler).await;
        Self { tunnel, _running: running }
    }

    async fn send(&self, request: Request<AnyBody>) -> Result<Response<Incoming>, Error> {
        self.tunnel.send(request).await
    }

    async fn upgrade(&self, request: Request<()>) -> Result<Upgrade, Error> {
        self.tunnel.upgrade(request).await
    }

    fn connection(&self) -> Connection {
        self.tunnel.connections().pop().unwrap()
    }
}

/// Sends a request, and waits no longer than anything takes.
pub async fn send(way: &impl Way, request: Request<AnyBody>) -> Response<Incoming> {
    tokio::time::timeout(PATIENCE, way.send(request)).await.expect("in time").unwrap()
}
