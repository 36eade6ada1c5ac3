//! What stands before a tunnel: HTTP/1.1 for visitors, WebSockets included.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};
use tunnel_proto::{
    edge::{Tunnel, Upgrade},
    relay,
};

use crate::harness::AnyBody;

/// Listens on loopback and sends everything down one tunnel.
#[derive(Debug)]
pub struct Front {
    pub address: SocketAddr,
}

impl Front {
    pub async fn start(tunnel: Arc<Tunnel>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tcp.set_nodelay(true).unwrap();
                let tunnel = Arc::clone(&tunnel);
                let service = service_fn(move |request| serve(Arc::clone(&tunnel), request));
                let serving = http1::Builder::new()
                    .half_close(true)
                    .serve_connection(TokioIo::new(tcp), service)
                    .with_upgrades();
                tokio::spawn(serving);
            }
        });
        Self { address }
    }

    pub async fn dial(&self) -> io::Result<Visitor> {
        Visitor::dial(self.address).await
    }
}

async fn serve(
    tunnel: Arc<Tunnel>,
    mut request: Request<Incoming>,
) -> Result<Response<AnyBody>, Infallible> {
    let empty = || Empty::<Bytes>::new().map_err(|never| match never {}).boxed();
    let answered = if request.headers().contains_key("upgrade") {
        let upgraded = hyper::upgrade::on(&mut request);
        match tunnel.upgrade(request).await {
            Ok(Upgrade::Accepted(response, io)) => {
                tokio::spawn(async move {
                    if let Ok(visitor) = upgraded.await {
                        let _ = relay(TokioIo::new(visitor), io).await;
                    }
                });
                return Ok(response.map(|()| empty()));
            }
            Ok(Upgrade::Declined(response)) => Ok(response),
            Err(error) => Err(error),
        }
    } else {
        tunnel.send(request).await
    };
    let Ok(response) = answered else {
        let mut response = Response::new(empty());
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        return Ok(response);
    };
    Ok(response.map(|body| body.map_err(Into::into).boxed()))
}

/// A visitor who writes and reads plain bytes.
#[derive(Debug)]
pub struct Visitor {
    pub io: BufReader<TcpStream>,
}

impl Visitor {
    pub async fn dial(address: SocketAddr) -> io::Result<Self> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        Ok(Self { io: BufReader::new(tcp) })
    }

    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.io.write_all(bytes.as_ref()).await
    }

    pub async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.io.read_line(&mut line).await?;
        Ok(line)
    }

    /// Reads up to the empty line.
    pub async fn head(&mut self) -> io::Result<String> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let line = self.line().await?;
            if line.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            head += &line;
        }
        Ok(head)
    }

    pub async fn read_exactly(&mut self, bytes: usize) -> io::Result<Vec<u8>> {
        let mut data = vec![0; bytes];
        self.io.read_exact(&mut data).await?;
        Ok(data)
    }
}
