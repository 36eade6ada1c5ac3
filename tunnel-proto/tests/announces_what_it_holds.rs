//! The directory knows which node holds which tunnel: soon, while it lasts, and no longer.

#![cfg(feature = "cluster")]
#![expect(clippy::unwrap_used, reason = "a test")]

mod harness;
mod nodes;

use std::{sync::Arc, time::Duration};

use harness::full;
use http::{Request, Response};
use nodes::{Authority, TestNode, announced, tunnel};
use tokio::time::{Instant, sleep};
use tunnel_proto::{
    TunnelId,
    cluster::{Directory as _, MemoryDirectory, conformance},
    edge::Incoming,
};

async fn hello(_: Request<Incoming>) -> Response<harness::AnyBody> {
    Response::new(full("hello"))
}

#[tokio::test(start_paused = true)]
async fn memory_keeps_the_contract() {
    conformance::check(Arc::new(MemoryDirectory::new()), Duration::from_secs(15)).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_tunnel_is_announced_at_once_and_withdrawn_with_its_last_connection() {
    let directory = Arc::new(MemoryDirectory::new());
    let mut a = TestNode::start(&Authority::new(), "a", Arc::clone(&directory)).await;
    #[expect(clippy::disallowed_methods, reason = "a test measures")]
    let before = Instant::now();
    a.connect(tunnel(), hello).await;
    announced(&directory, tunnel(), 1).await;
    assert!(before.elapsed() < Duration::from_millis(100), "{:?}", before.elapsed());
    let holder = directory.find(tunnel()).await.unwrap().remove(0);
    assert_eq!((&holder.node, holder.connections), (&a.node, 1));

    a.connect(TunnelId::from_bytes([0x22; 16]), hello).await;
    announced(&directory, TunnelId::from_bytes([0x22; 16]), 1).await;

    #[expect(clippy::disallowed_methods, reason = "a test measures")]
    let before = Instant::now();
    a.disconnect().await;
    announced(&directory, tunnel(), 0).await;
    announced(&directory, TunnelId::from_bytes([0x22; 16]), 0).await;
    assert!(before.elapsed() < Duration::from_millis(100), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_that_stays_is_renewed() {
    let directory = Arc::new(MemoryDirectory::new());
    let mut a = TestNode::start(&Authority::new(), "a", Arc::clone(&directory)).await;
    a.connect(tunnel(), hello).await;
    announced(&directory, tunnel(), 1).await;
    // Eight leases. (Signs of life are counted in real time, so hours would look like a flood.)
    for _ in 0..120 {
        sleep(Duration::from_secs(1)).await;
        assert_eq!(directory.find(tunnel()).await.unwrap().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_killed_nodes_leases_run_out() {
    let directory = Arc::new(MemoryDirectory::new());
    let mut a = TestNode::start(&Authority::new(), "a", Arc::clone(&directory)).await;
    a.connect(tunnel(), hello).await;
    announced(&directory, tunnel(), 1).await;
    a.kill().await;
    assert_eq!(directory.find(tunnel()).await.unwrap().len(), 1, "nothing was withdrawn");
    sleep(Duration::from_secs(15)).await;
    assert!(directory.find(tunnel()).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn shutting_down_withdraws_everything() {
    let directory = Arc::new(MemoryDirectory::new());
    let mut a = TestNode::start(&Authority::new(), "a", Arc::clone(&directory)).await;
    a.connect(tunnel(), hello).await;
    announced(&directory, tunnel(), 1).await;
    a.stop_announcing().await;
    assert!(directory.find(tunnel()).await.unwrap().is_empty());
    assert!(a.router.tunnel(tunnel()).unwrap().is_online(), "what serves goes on");
}
