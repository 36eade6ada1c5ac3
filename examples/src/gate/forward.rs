//! Sending an admitted request down its tunnel.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, upgrade::OnUpgrade};
use tracing::warn;
use tunnel_proto::edge::{EdgeHeaders, OriginFailure, ResponseSource, Upgrade};

use super::{
    Gate, cookies,
    head::Head,
    reply::{self, Reply},
    session::Session,
};
use crate::{output::chain, pages::Problem};

const CONNECTING_IP: HeaderName = HeaderName::from_static("cf-connecting-ip");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const JUMP_DESTINATION: HeaderName = HeaderName::from_static("cf-access-jump-destination");
const RAY: HeaderName = HeaderName::from_static("cf-ray");
const ASSERTION: HeaderName = HeaderName::from_static("cf-access-jwt-assertion");
const EMAIL: HeaderName = HeaderName::from_static("cf-access-authenticated-user-email");

/// How many headers the edge states at most.
const STATED: usize = 7;

impl Gate {
    /// Asks the origin, and says whose fault it is if there is no answer.
    pub(super) async fn forward(
        self: &Arc<Self>,
        head: Head,
        body: Incoming,
        session: Option<&Session>,
    ) -> Reply {
        let tunnel = self.router.route(&head.host).and_then(|id| self.router.tunnel(id));
        let Some(tunnel) = tunnel else {
            return failed(&head, 503, Problem::ConnectorOffline, "no connector has connected yet");
        };
        let mut request = Request::new(body);
        *request.method_mut() = head.parts.method.clone();
        *request.uri_mut() = head.parts.uri.clone();
        *request.headers_mut() = head.parts.headers.clone();
        cookies::hide_from_origin(request.headers_mut());
        let mut stated = edge_headers(&head, session);
        let is_upgrade = Upgrade::is_asked_for(request.method(), request.headers());
        if is_upgrade && let Some(destination) = head.header(JUMP_DESTINATION) {
            // For a bastion behind the tunnel, whose own list says what may be reached.
            stated.extend(HeaderValue::from_str(destination).map(|it| (JUMP_DESTINATION, it)));
        }
        request.extensions_mut().insert(EdgeHeaders(stated));
        let answer = if is_upgrade {
            if let Some(on_upgrade) = head.parts.extensions.get::<OnUpgrade>() {
                request.extensions_mut().insert(on_upgrade.clone());
            }
            self.websocket(&tunnel, request.map(drop), &head, session).await
        } else {
            let response = tunnel.send(request).await;
            response.map(|response| response.map(|body| body.map_err(Into::into).boxed_unsync()))
        };
        match answer {
            Ok(response) => match response.extensions().get() {
                Some(ResponseSource::Connector(failure)) => {
                    let (status, problem) = origin_problem(response.status().as_u16(), *failure);
                    failed(&head, status, problem, "the connector got no answer from the origin")
                }
                _ => passed_on(response),
            },
            Err(error) => {
                let (status, problem) = if error.is_offline() {
                    (503, Problem::ConnectorOffline)
                } else if error.is_busy() {
                    (503, Problem::TunnelBusy)
                } else if error.is_caller_fault() {
                    (400, Problem::BadRequest)
                } else {
                    (502, Problem::TunnelBrokeOff)
                };
                failed(&head, status, problem, &chain(&error))
            }
        }
    }
}

fn failed(head: &Head, status: u16, problem: Problem, error: &str) -> Reply {
    warn!(id = head.id, host = head.host, status, problem = ?problem, error, "no answer from the origin");
    // Loading again is the next step, unless that could do something twice.
    let retry = head.is_navigation().then(|| head.parts.uri.path_and_query()).flatten();
    reply::problem(head, status, problem, retry.map(ToString::to_string))
}

/// What the edge states of a visitor, in place of what visitors state in these names.
fn edge_headers(head: &Head, session: Option<&Session>) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(STATED);
    let mut state = |name: HeaderName, value: Option<HeaderValue>| {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    };
    let text = |text: &str| HeaderValue::from_str(text).ok();
    let ip = &head.peer.ip_header;
    state(CONNECTING_IP, Some(ip.clone()));
    state(FORWARDED_FOR, Some(ip.clone()));
    state(FORWARDED_PROTO, Some(HeaderValue::from_static("https")));
    state(FORWARDED_HOST, text(&head.host));
    // There is no other request with this id: to remember it for the next ones (RFC 7541 section 6.2.3)
    // would push out what does come again.
    let mut ray = text(&head.id);
    if let Some(ray) = &mut ray {
        ray.set_sensitive(true);
    }
    state(RAY, ray);
    if let Some(session) = session {
        state(ASSERTION, text(&session.token));
        state(EMAIL, text(session.email()));
    }
    headers
}

fn passed_on(mut response: Reply) -> Reply {
    cookies::keep_origin_from_setting(response.headers_mut());
    response
}

fn origin_problem(status: u16, failure: OriginFailure) -> (u16, Problem) {
    match (failure, status) {
        // The connector's own HTTP/2 refuses what is too large for it.
        (OriginFailure::Unknown, 431) => (431, Problem::HeaderTooLarge),
        (OriginFailure::Unknown, 400) => (400, Problem::BadRequest),
        (OriginFailure::TimedOut, _) => (504, Problem::OriginTimeout),
        (OriginFailure::BrokeOff, _) => (502, Problem::OriginBrokeOff),
        _ => (502, Problem::OriginUnreachable),
    }
}
