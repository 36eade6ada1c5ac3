//! Who a visitor has proved to be.

use access_policy::{Application, Identity};
use http::HeaderName;
use otp_auth::{
    session::{AppClaims, OrgClaims, RevocationKey},
    timestamp::Timestamp,
    token::Audience,
};
use tracing::{debug, warn};

use super::{Gate, cookies, head::Head};
use crate::{
    output::{chain, now},
    rules::Rules,
};

/// Where programs put their app token. It counts before the cookie.
const TOKEN_HEADER: HeaderName = HeaderName::from_static("cf-access-token");

/// A verified app token.
pub(super) struct Session {
    pub claims: AppClaims,
    /// The application it is for.
    pub audience: Audience,
    /// As it goes to the origin.
    pub token: String,
    pub identity: Identity<'static>,
}

impl Session {
    /// The person's address. A service token's claims make no session here.
    pub(super) fn email(&self) -> &str {
        self.claims.email().unwrap_or_default()
    }
}

impl Gate {
    /// The visitor's session at an application. Whatever is wrong with it, the answer is a login.
    pub(super) fn session(
        &self,
        head: &Head,
        rules: &Rules,
        application: &Application,
    ) -> Option<Session> {
        let token = head.header(TOKEN_HEADER).or_else(|| head.cookie(cookies::AUTHORIZATION))?;
        let audience = self.audience(application);
        match self.app_verifier.verify(token, &audience, timestamp()) {
            Ok(claims) => {
                let identity = rules.identity(claims.email()?)?;
                Some(Session { claims, audience, token: token.to_owned(), identity })
            }
            Err(error) => {
                debug!(id = head.id, %error, "a token was not accepted");
                None
            }
        }
    }

    /// The visitor's session at the team host.
    pub(super) fn org_session(&self, head: &Head) -> Option<OrgClaims> {
        let token = head.cookie(cookies::AUTHORIZATION)?;
        match self.org_verifier.verify(token, timestamp()) {
            Ok(claims) => Some(claims),
            Err(error) => {
                debug!(id = head.id, %error, "a token was not accepted");
                None
            }
        }
    }

    /// Ends a login: here at once, whatever the store of revocations answers. Says whether a restart will
    /// remember it.
    pub(super) async fn revoke(&self, head: &Head, key: &RevocationKey) -> bool {
        let revoked = self.revocations.revoke(key, timestamp()).await;
        if let Err(error) = &revoked {
            warn!(id = head.id, error = chain(error), "a log-out was not kept");
        }
        revoked.is_ok()
    }

    /// The AUD of an application: the same on every node and after every restart.
    pub(super) fn audience(&self, application: &Application) -> Audience {
        let known = self.audiences.get(&application.id).cloned();
        known.unwrap_or_else(|| Audience::for_application(self.issuer.issuer(), &application.id))
    }
}

/// The wall clock as tokens have it.
pub(super) fn timestamp() -> Timestamp {
    now().into()
}
