//! An origin that speaks HTTP/1.1.

use std::{
    error::Error as StdError,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Uri, uri};
use http_body::{Body, Frame, SizeHint};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tower_service::Service;

use super::{OriginError, OriginFailure};
use crate::{
    error::{Error, ErrorKind},
    net::body::Incoming,
};

/// A web server on the connector's side, such as `http://10.0.0.5:8080`.
///
/// Connections are kept and used again. The request's `Host`, method, path and headers arrive as
/// the visitor sent them; nothing is added.
#[derive(Debug, Clone)]
pub struct HttpOrigin {
    client: Client<HttpConnector, Incoming>,
    authority: uri::Authority,
}

/// A TCP connection to the origin (cloudflared's `connectTimeout`).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// An idle connection is kept this long (cloudflared's `keepAliveTimeout`).
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(90);

/// Idle connections kept. cloudflared keeps 100, which is fewer than a busy site has visitors.
const KEEP_ALIVE_CONNECTIONS: usize = 1_024;

impl HttpOrigin {
    /// Points to an origin: `http://` with a host and perhaps a port, and no path.
    ///
    /// # Errors
    ///
    /// Anything else is the caller's fault, with what would be right.
    pub fn new(url: &str) -> Result<Self, Error> {
        let uri: Uri =
            url.parse().map_err(|error| caller(url, "is not a URL").with_source(error))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some(_) => return Err(caller(url, "has a scheme other than `http`")),
            None => return Err(caller(url, "lacks `http://`")),
        }
        if uri.path_and_query().is_some_and(|path| path.as_str() != "/") {
            return Err(caller(url, "has a path, but visitors bring their own"));
        }
        let Some(authority) = uri.authority().filter(|authority| !authority.as_str().contains('@'))
        else {
            return Err(caller(url, "has no plain host"));
        };
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEEP_ALIVE_TIMEOUT)
            .pool_max_idle_per_host(KEEP_ALIVE_CONNECTIONS)
            .set_host(false)
            .build(connector);
        Ok(Self { client, authority: authority.clone() })
    }

    /// The origin's host and port as given.
    pub fn authority(&self) -> &str {
        self.authority.as_str()
    }
}

impl Service<Request<Incoming>> for HttpOrigin {
    type Response = Response<OriginBody>;
    type Error = OriginError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, OriginError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OriginError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Incoming>) -> Self::Future {
        let target = Uri::builder()
            .scheme(uri::Scheme::HTTP)
            .authority(self.authority.clone())
            .path_and_query(request.uri().path_and_query().map_or("/", |path| path.as_str()))
            .build();
        let client = self.client.clone();
        Box::pin(async move {
            *request.uri_mut() =
                target.map_err(|error| OriginError::new(OriginFailure::Unknown, error))?;
            let response = client.request(request).await.map_err(|error| {
                let failure = if error.is_connect() {
                    connect_failure(&error)
                } else {
                    OriginFailure::BrokeOff
                };
                OriginError::new(failure, error)
            })?;
            Ok(response.map(OriginBody))
        })
    }
}

/// The body of an origin's response.
#[derive(Debug)]
pub struct OriginBody(hyper::body::Incoming);

impl Body for OriginBody {
    type Data = Bytes;
    type Error = OriginError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, OriginError>>> {
        Pin::new(&mut self.0)
            .poll_frame(cx)
            .map_err(|error| OriginError::new(OriginFailure::BrokeOff, error))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

fn connect_failure(error: &(dyn StdError + 'static)) -> OriginFailure {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::TimedOut
        {
            return OriginFailure::TimedOut;
        }
        next = error.source();
    }
    OriginFailure::Unreachable
}

fn caller(url: &str, what: &str) -> Error {
    let url = url.escape_debug();
    ErrorKind::Caller(format!("the origin `{url}` {what}; write it as `http://HOST:PORT`")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_can_not_work_say_what_would() {
        for good in ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:80/"] {
            assert!(HttpOrigin::new(good).is_ok(), "{good}");
        }
        for bad in
            ["", "127.0.0.1:80", "https://a.test", "http://a.test/x", "http://u@a.test", "a b"]
        {
            let error = HttpOrigin::new(bad).unwrap_err();
            assert!(
                error.is_caller_fault() && error.to_string().contains("http://HOST:PORT"),
                "{error}"
            );
        }
    }
}
