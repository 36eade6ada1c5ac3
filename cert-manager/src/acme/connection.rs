//! The way to an authority: HTTPS, one warm connection, every wait bounded.

use std::{fmt, sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Bytes, header};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{ClientConfig, RootCertStore, crypto::CryptoProvider};

use crate::{
    acme::http::{Method, Request, Response},
    error::{Error, Kind},
    failure::{Failure, FailureClass},
};

#[derive(Clone)]
pub(crate) struct Connection {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    timeout: Duration,
}

impl Connection {
    pub(crate) fn new(
        roots: RootCertStore,
        provider: Arc<CryptoProvider>,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(Kind::Provider)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        // Without it each request waits 40 ms for an acknowledgement.
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let https = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new()).pool_idle_timeout(IDLE).build(https);
        Ok(Self { client, timeout })
    }

    /// Sends a request, and reads the whole answer.
    pub(crate) async fn send(&self, request: Request) -> Result<Response, Failure> {
        let lost =
            |detail: String| Failure::because(FailureClass::Network, "reach the authority", detail);
        let method = match request.method {
            Method::Get => hyper::Method::GET,
            Method::Head => hyper::Method::HEAD,
            Method::Post => hyper::Method::POST,
        };
        let url = request.url;
        let mut message = hyper::Request::builder()
            .method(&method)
            .uri(&url)
            .header(header::USER_AGENT, USER_AGENT);
        if method == hyper::Method::POST {
            message = message.header(header::CONTENT_TYPE, "application/jose+json");
        }
        let message = message
            .body(Full::new(Bytes::from(request.body)))
            .map_err(|error| lost(format!("`{url}`: {error}")))?;
        let exchange = async {
            let answer = self
                .client
                .request(message)
                .await
                .map_err(|error| lost(format!("{url}: {}", causes(&error))))?;
            read(answer).await.map_err(|error| lost(format!("{url}: {error}")))
        };
        tokio::time::timeout(self.timeout, exchange).await.unwrap_or_else(|_| {
            Err(lost(format!("{url}: no answer within {} seconds", self.timeout.as_secs())))
        })
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection(..)")
    }
}

async fn read(answer: hyper::Response<hyper::body::Incoming>) -> Result<Response, String> {
    let (head, body) = answer.into_parts();
    let text = |name: header::HeaderName| {
        head.headers.get(name).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned)
    };
    let links = head.headers.get_all(header::LINK).iter();
    let body =
        Limited::new(body, MAX_BODY_BYTES).collect().await.map_err(|error| error.to_string())?;
    Ok(Response {
        status: head.status.as_u16(),
        replay_nonce: text(header::HeaderName::from_static("replay-nonce")),
        location: text(header::LOCATION),
        retry_after: text(header::RETRY_AFTER),
        date: text(header::DATE),
        links: links.filter_map(|value| value.to_str().ok()).map(ToOwned::to_owned).collect(),
        body: body.to_bytes().to_vec(),
    })
}

/// An error with what lies behind it; the outermost alone says little.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

const USER_AGENT: &str = concat!("sekimori-cert-manager/", env!("CARGO_PKG_VERSION"));
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(60);
const MAX_BODY_BYTES: usize = 1024 * 1024;
