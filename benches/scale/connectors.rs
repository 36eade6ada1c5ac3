//! The connectors' process.

use std::{
    convert::Infallible, net::SocketAddr, ops::Range, path::Path, sync::Arc, time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use cert_manager::presets;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Empty;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tokio::task::JoinSet;
use tunnel_proto::{
    Credentials, TunnelId, TunnelSecret,
    connector::{Connector, Incoming, OnUpgrade, TlsDialer},
};

/// Dials with a connector for each number and serves until the process is ended.
pub(crate) async fn run(
    edge: SocketAddr,
    root: &Path,
    numbers: Range<u32>,
    connections: u8,
) -> anyhow::Result<()> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(root).context("can't read the authority")?)?;
    let config = ClientConfig::builder_with_provider(presets::provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let dialer = TlsDialer::new([edge.to_string()], Arc::new(config))?;
    let mut running = JoinSet::new();
    for number in numbers {
        let credentials = Credentials::new("scale", tunnel_id(number), secret());
        let connector = Connector::builder(credentials, dialer.clone())
            .connections(connections)
            .service(Agree)?;
        running.spawn(connector.run(std::future::pending()));
        if number % 50 == 49 {
            // The edge's queue of the system holds no more than a few thousand.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(())
}

/// The tunnel of this number.
pub(crate) fn tunnel_id(number: u32) -> TunnelId {
    let mut id = [0x5e; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    TunnelId::from_bytes(id)
}

/// The secret of every tunnel here.
pub(crate) fn secret() -> TunnelSecret {
    TunnelSecret::new([7; 32])
}

/// Agrees to each WebSocket and then says nothing.
#[derive(Debug, Clone, Copy)]
struct Agree;

impl tower::Service<Request<Incoming>> for Agree {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Incoming>) -> Self::Future {
        let mut response = Response::new(Empty::new());
        if let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() {
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            for (name, value) in [
                (header::CONNECTION, "Upgrade"),
                (header::UPGRADE, "websocket"),
                // RFC 6455 section 1.3: to the key that the edge's side sends.
                (header::SEC_WEBSOCKET_ACCEPT, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            ] {
                response.headers_mut().insert(name, HeaderValue::from_static(value));
            }
            tokio::spawn(async move {
                let io = upgrade.await;
                // Idle until the visitor leaves.
                std::future::pending::<()>().await;
                drop(io);
            });
        }
        std::future::ready(Ok(response))
    }
}
