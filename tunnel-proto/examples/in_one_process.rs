//! An edge and a connector joined by TCP on this machine, without TLS and without a login.
//!
//! Run it and open the printed address:
//!
//! ```console
//! $ cargo run -p sekimori-tunnel-proto --example in_one_process
//! ```
//!
//! You should see a page that says how it came to you. Everything between the two halves is
//! cloudflared's own protocol.

use std::{convert::Infallible, error::Error, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tunnel_proto::{
    ConnectionId, Credentials, TunnelId, TunnelSecret,
    connector::Connector,
    edge::{Acceptor, Incoming, Refusal, Registered, Registration, Router, Tunnel},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let tunnel_listener = TcpListener::bind("127.0.0.1:0").await?;
    let visitors = TcpListener::bind("127.0.0.1:0").await?;
    let secret = TunnelSecret::new([7; 32]);
    let credentials = Credentials::new("account", TunnelId::from_bytes([1; 16]), secret.clone());
    tokio::spawn(connect(credentials, tunnel_listener.local_addr()?));
    let tunnel = accept(tunnel_listener, secret).await?;
    #[expect(clippy::print_stdout, reason = "the address to try is what this program is for")]
    {
        println!("open http://{}/", visitors.local_addr()?);
    }
    loop {
        let (tcp, _) = visitors.accept().await?;
        let tunnel = Arc::clone(&tunnel);
        let forward = service_fn(move |request: Request<hyper::body::Incoming>| {
            let tunnel = Arc::clone(&tunnel);
            async move { tunnel.send(request).await }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(tcp), forward));
    }
}

/// The edge's half: wait for one connector with the right secret.
async fn accept(
    listener: TcpListener,
    secret: TunnelSecret,
) -> Result<Arc<Tunnel>, Box<dyn Error>> {
    let acceptor = Acceptor::new(move |claim: &Registration| {
        if *claim.credentials.secret() != secret {
            return Err(Refusal::unauthorized());
        }
        Ok(Registered::new(ConnectionId::from_bytes([2; 16]), "here"))
    });
    let (tcp, _) = listener.accept().await?;
    Ok(Router::new().attach(acceptor.accept(tcp).await?))
}

/// The connector's half: answer in this process, without any port.
async fn connect(credentials: Credentials, edge: SocketAddr) -> Result<(), tunnel_proto::Error> {
    let hello = tower::service_fn(async |request: Request<Incoming>| {
        let page = format!("{} came down the tunnel\n", request.uri());
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(page)))
    });
    let connector = Connector::builder(credentials, move |_| TcpStream::connect(edge));
    connector.connections(1).service(hello)?.run(std::future::pending()).await
}
