//! Over one hop: a node without connectors, and another one that has one.

#![allow(dead_code, unreachable_pub, reason = "each test uses its own part")]

use std::sync::Arc;

use http::{Request, Response};
use tunnel_proto::{
    Error,
    cluster::MemoryDirectory,
    edge::{Connection, Incoming, Upgrade},
};

use crate::{
    exchange::Way,
    harness::AnyBody,
    nodes::{Authority, TestNode, announced, tunnel},
};

pub struct Hop {
    /// Where visitors come.
    pub a: TestNode,
    /// Where the connector is.
    pub b: TestNode,
}

impl Way for Hop {
    async fn to<F, Fut>(handler: F) -> Self
    where
        F: Fn(Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Response<AnyBody>> + Send + 'static,
    {
        let (authority, directory) = (Authority::new(), Arc::new(MemoryDirectory::new()));
        let a = TestNode::start(&authority, "a", Arc::clone(&directory)).await;
        let mut b = TestNode::start(&authority, "b", Arc::clone(&directory)).await;
        b.connect(tunnel(), handler).await;
        announced(&directory, tunnel(), 1).await;
        Self { a, b }
    }

    async fn send(&self, request: Request<AnyBody>) -> Result<Response<Incoming>, Error> {
        self.a.cluster.send(tunnel(), request).await
    }

    async fn upgrade(&self, request: Request<()>) -> Result<Upgrade, Error> {
        self.a.cluster.upgrade(tunnel(), request).await
    }

    fn connection(&self) -> Connection {
        self.b.router.tunnel(tunnel()).unwrap().connections().pop().unwrap()
    }
}
