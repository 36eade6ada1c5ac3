//! Origins without a server.

use std::{
    future::{Ready, ready},
    task::{Context, Poll},
};

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use tower_service::Service;

use super::{OriginError, body::OriginBody};
use crate::net::body::Incoming;

/// Answers every request with one status and nothing else (cloudflared's `http_status:N`).
#[derive(Debug, Clone)]
pub struct StatusOrigin(StatusCode);

impl StatusOrigin {
    /// Answers with this status.
    pub fn new(status: StatusCode) -> Self {
        Self(status)
    }
}

impl Service<Request<Incoming>> for StatusOrigin {
    type Response = Response<OriginBody>;
    type Error = OriginError;
    type Future = Ready<Result<Self::Response, OriginError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OriginError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Incoming>) -> Self::Future {
        ready(Ok(status(self.0)))
    }
}

/// Answers with a page that says that the tunnel works (cloudflared's `hello_world`).
#[derive(Debug, Clone, Default)]
pub struct HelloOrigin(());

impl HelloOrigin {
    /// The page.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Service<Request<Incoming>> for HelloOrigin {
    type Response = Response<OriginBody>;
    type Error = OriginError;
    type Future = Ready<Result<Self::Response, OriginError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OriginError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = status(StatusCode::METHOD_NOT_ALLOWED);
            let allow = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(header::ALLOW, allow);
            return ready(Ok(response));
        }
        let page = include_str!("hello.html");
        let body = if request.method() == Method::HEAD {
            OriginBody::empty()
        } else {
            OriginBody::whole(page)
        };
        let mut response = Response::new(body);
        for (name, value) in [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CACHE_CONTROL, "no-store"),
            (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
        ] {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response.headers_mut().insert(header::CONTENT_LENGTH, page.len().into());
        ready(Ok(response))
    }
}

/// A status and nothing else.
pub(crate) fn status(status: StatusCode) -> Response<OriginBody> {
    let mut response = Response::new(OriginBody::empty());
    *response.status_mut() = status;
    response
}
