//! Who a visitor has proved to be.

use access_policy::{Application, Identity};
use http::HeaderName;
use otp_auth::{
    session::{AppClaims, OrgClaims},
    timestamp::Timestamp,
    token::Audience,
};
use tracing::debug;

use super::{Gate, cookies, head::Head};
use crate::{output::now, rules::Rules};

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
                let identity = rules.identity(claims.email())?;
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
