//! WebSocket: a visitor's handshake goes down the tunnel, and then bytes go both ways.

use std::{sync::Arc, time::Duration};

use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::upgrade::{self, OnUpgrade};
use hyper_util::rt::TokioIo;
use otp_auth::token::Audience;
use tokio::time::sleep;
use tracing::{debug, info};
use tunnel_proto::{Error, TunnelIo, edge, edge::Tunnel, relay};

use super::{
    Gate,
    head::Head,
    reply,
    session::{Session, timestamp},
};

/// How often an open WebSocket's session is looked at again: it may have ended or been revoked.
const SESSION_CHECK: Duration = Duration::from_secs(5);

/// The session that a WebSocket was opened with.
struct Pass {
    token: String,
    audience: Audience,
}

impl Gate {
    /// Asks the origin for a WebSocket. The answer is `101`, or whatever else the origin said.
    pub(super) async fn websocket(
        self: &Arc<Self>,
        tunnel: &Tunnel,
        mut request: Request<()>,
        head: &Head,
        session: Option<&Session>,
    ) -> Result<Response<reply::Body>, Error> {
        let visitor = upgrade::on(&mut request);
        match tunnel.upgrade(request).await? {
            edge::Upgrade::Declined(response) => {
                Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
            }
            edge::Upgrade::Accepted(response, origin) => {
                let pass = session.map(|session| Pass {
                    token: session.token.clone(),
                    audience: session.audience.clone(),
                });
                tokio::spawn(Arc::clone(self).carry(head.id.clone(), visitor, origin, pass));
                Ok(response.map(|()| reply::full("")))
            }
        }
    }

    /// Joins visitor and origin until one of them, or the session, comes to an end.
    async fn carry(
        self: Arc<Self>,
        id: String,
        visitor: OnUpgrade,
        origin: TunnelIo,
        pass: Option<Pass>,
    ) {
        let visitor = match visitor.await {
            Ok(visitor) => TokioIo::new(visitor),
            Err(error) => return debug!(id, %error, "a visitor did not take the WebSocket"),
        };
        tokio::select! {
            joined = relay(visitor, origin) => match joined {
                Ok((sent, received)) => info!(id, sent, received, "a WebSocket ended"),
                Err(error) => debug!(id, %error, "a WebSocket broke off"),
            },
            () = self.end_of(pass) => info!(id, "a WebSocket was closed: its session has ended"),
        }
    }

    /// Returns once the session is no longer good. An open application has no session to end.
    async fn end_of(&self, pass: Option<Pass>) {
        let Some(Pass { token, audience }) = pass else {
            return std::future::pending().await;
        };
        loop {
            sleep(SESSION_CHECK).await;
            if self.app_verifier.verify(&token, &audience, timestamp()).is_err() {
                return;
            }
        }
    }
}
