//! Registering, being refused, and configurations.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tunnel_proto::{
    Credentials, TunnelSecret,
    edge::{Connection, Refusal, Registered, Registration},
};

use crate::{
    harness::{credentials, full, tunnel_id},
    rig::{
        bodies::get,
        connector::Cloudflared,
        edge::{TlsEdge, connection_id},
        origin::Origin,
    },
};

/// All connections register under one id, each with an index of its own, and each carries requests.
pub(super) async fn connections(count: u8) {
    let edge = TlsEdge::start().await;
    let mut origin = Origin::start().await;
    let _cloudflared = Cloudflared::start(&edge, origin.address, count);
    let tunnel = edge.wait_for(count.into()).await;
    let connections = tunnel.connections();
    let registrations = connections.iter().map(Connection::registration);
    let ids: BTreeSet<_> =
        registrations.clone().map(|claim| claim.connector_id.to_string()).collect();
    assert_eq!(ids.len(), 1);
    let indices: BTreeSet<_> = registrations.clone().map(|claim| claim.connection_index).collect();
    assert_eq!(indices, (0..count).collect());
    for claim in registrations {
        assert!(claim.features.iter().any(|feature| feature == "serialized_headers"));
    }
    for connection in &connections {
        let request = get("/").body(full("")).unwrap();
        let (response, ()) = tokio::join!(connection.send(request), async {
            let mut exchange = origin.next().await.unwrap();
            exchange.head("204 No Content").await.unwrap();
        });
        assert_eq!(response.unwrap().status(), 204);
        assert_eq!(connection.sent(), 1);
    }
}

/// An edge whose tunnels take their rules from it.
async fn managed() -> TlsEdge {
    TlsEdge::start_with(|_: &Registration| {
        let mut registered = Registered::new(connection_id(), "test");
        registered.is_remotely_managed = true;
        Ok(registered)
    })
    .await
}

const TEAPOT: &str = r#"{"ingress":[{"service":"http_status:418"}]}"#;

async fn status(edge: &TlsEdge) -> u16 {
    let request = get("/").body(full("")).unwrap();
    edge.tunnel().send(request).await.unwrap().status().as_u16()
}

pub(super) async fn configuration_accepted() {
    let edge = managed().await;
    let _cloudflared = Cloudflared::start_with(&edge, &credentials(), 1, &[]);
    let tunnel = edge.wait_for(1).await;
    assert_eq!(status(&edge).await, 503, "no rules yet");
    let connection = &tunnel.connections()[0];
    let applied = connection.push_configuration(0, TEAPOT).await.unwrap();
    assert_eq!((applied.version, applied.rejection), (0, None));
    assert_eq!(status(&edge).await, 418);
    // Older than what is in force.
    let other = TEAPOT.replace("418", "204");
    assert_eq!(connection.push_configuration(0, &other).await.unwrap().version, 0);
    assert_eq!(status(&edge).await, 418);
    let applied = connection.push_configuration(7, &other).await.unwrap();
    assert_eq!((applied.version, applied.rejection), (7, None));
    assert_eq!(status(&edge).await, 204);
}

pub(super) async fn configuration_rejected() {
    let edge = managed().await;
    let _cloudflared = Cloudflared::start_with(&edge, &credentials(), 1, &[]);
    let tunnel = edge.wait_for(1).await;
    let connection = &tunnel.connections()[0];
    connection.push_configuration(3, TEAPOT).await.unwrap();
    let no_last_rule = r#"{"ingress":[{"hostname":"a.example.com","service":"http_status:204"}]}"#;
    let applied = connection.push_configuration(4, no_last_rule).await.unwrap();
    assert_eq!(applied.version, 3);
    assert_eq!(applied.rejection.as_deref(), Some(""), "cloudflared does not say why");
    assert_eq!(status(&edge).await, 418, "the former stays");
}

pub(super) async fn wrong_secret() {
    let edge = TlsEdge::start().await;
    let wrong = Credentials::new("a", tunnel_id(), TunnelSecret::new([8; 32]));
    let mut cloudflared = Cloudflared::start_with(&edge, &wrong, 1, &["--hello-world"]);
    cloudflared.logs("Unauthorized: unknown tunnel or wrong secret").await;
    cloudflared.logs("Retrying connection in up to").await;
    assert!(edge.router.tunnel(tunnel_id()).is_none());
    assert!(cloudflared.child.try_wait().unwrap().is_none(), "it goes on trying");
    assert!(edge.refusals.lock().unwrap()[0].refusal().is_some());
}

pub(super) async fn refused_for_good() {
    let edge = TlsEdge::start_with(|_: &Registration| {
        Err(Refusal { cause: "this tunnel has been deleted".into(), retry_after: None })
    })
    .await;
    let mut cloudflared = Cloudflared::start_with(&edge, &credentials(), 1, &["--hello-world"]);
    let status = cloudflared.exit().await;
    assert_eq!(status.code(), Some(1));
    cloudflared.logs("this tunnel has been deleted").await;
}

pub(super) async fn duplicate() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let edge = TlsEdge::start_with(move |_: &Registration| {
        if count.fetch_add(1, Ordering::Relaxed) == 0 {
            return Err(Refusal { cause: Refusal::DUPLICATE.into(), retry_after: None });
        }
        Ok(Registered::new(connection_id(), "test"))
    })
    .await;
    let mut cloudflared = Cloudflared::start_with(&edge, &credentials(), 1, &["--hello-world"]);
    edge.wait_for(1).await;
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    assert!(cloudflared.child.try_wait().unwrap().is_none());
}
