//! Claims that have been verified.

use std::fmt;
use std::sync::Arc;

use super::{Epoch, RevocationKey};
use crate::step_up::Authentication;
use crate::timestamp::Timestamp;
use crate::token::{AppWire, Identity, OrgWire, Principal, TokenError};

/// Verified claims of an app token: of a person or a service. Cheap to clone.
#[derive(Clone)]
pub struct AppClaims {
    wire: Arc<AppWire>,
}

impl AppClaims {
    /// The stable id of the person; empty for a service.
    pub fn subject(&self) -> &str {
        &self.wire.sub
    }

    /// The person's address, in its comparison form; `None` for a service.
    pub fn email(&self) -> Option<&str> {
        self.wire.email.as_deref()
    }

    /// The client id of the service token; `None` for a person.
    pub fn common_name(&self) -> Option<&str> {
        self.wire.common_name.as_deref()
    }

    /// The name that all tokens of one login share; `None` for a service.
    pub fn identity_nonce(&self) -> Option<&str> {
        self.wire.identity_nonce.as_deref()
    }

    /// What ends the tokens of this login alone; for a service, all of its tokens.
    pub fn revocation_key(&self) -> RevocationKey {
        match self.wire.principal() {
            Ok(Principal::Person { identity_nonce, .. }) => RevocationKey::login(identity_nonce),
            Ok(Principal::Service { common_name }) => RevocationKey::subject(common_name),
            Err(_) => RevocationKey::subject(&self.wire.sub),
        }
    }

    /// The first moment at which the token is too old.
    pub fn expires(&self) -> Timestamp {
        Timestamp::from_unix_secs(self.wire.exp)
    }

    /// When the token was signed.
    pub fn issued(&self) -> Timestamp {
        Timestamp::from_unix_secs(self.wire.iat)
    }

    /// What the person has shown, and when; `None` for a service and for issuers that do not say.
    pub fn authentication(&self) -> Option<Authentication> {
        authentication(self.wire.acr.as_deref(), self.wire.auth_time)
    }

    /// The policy that admitted the person.
    pub fn policy_id(&self) -> Option<&str> {
        self.wire.policy_id.as_deref()
    }

    /// The country the person came from.
    pub fn country(&self) -> Option<&str> {
        self.wire.country.as_deref()
    }

    /// Takes claims whose signature verified.
    pub(super) fn new(wire: AppWire) -> Result<Self, TokenError> {
        wire.principal()?;
        Ok(Self { wire: Arc::new(wire) })
    }

    pub(super) fn frame(&self) -> Frame<'_> {
        let wire = &*self.wire;
        Frame {
            kind: &wire.kind,
            aud: &wire.aud,
            iss: &wire.iss,
            times: [wire.exp, wire.iat, wire.nbf.unwrap_or(0)],
            subject: wire.common_name.as_deref().unwrap_or(&wire.sub),
            nonce: wire.identity_nonce.as_deref().unwrap_or_default(),
            epoch: epoch(wire.epoch, wire.iat),
        }
    }

    #[cfg(test)]
    pub(super) fn for_tests() -> Self {
        let text = r#"{"type":"app","aud":[],"iss":"","exp":0,"iat":0,"sub":"","common_name":"a"}"#;
        let wire: AppWire = serde_json::from_str(text).unwrap();
        Self { wire: Arc::new(wire) }
    }
}

impl fmt::Debug for AppClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppClaims")
            .field("sub", &self.wire.sub)
            .field("common_name", &self.wire.common_name)
            .finish_non_exhaustive()
    }
}

/// Verified claims of an org token. There is no other way to make them than to verify or issue one.
#[derive(Clone)]
pub struct OrgClaims {
    wire: Arc<OrgWire>,
}

impl OrgClaims {
    /// The stable id of the person.
    pub fn subject(&self) -> &str {
        &self.wire.sub
    }

    /// The person's address, in its comparison form.
    pub fn email(&self) -> &str {
        &self.wire.email
    }

    /// The name that all tokens of one login share.
    pub fn identity_nonce(&self) -> &str {
        &self.wire.identity_nonce
    }

    /// What ends the tokens of this login alone.
    pub fn revocation_key(&self) -> RevocationKey {
        RevocationKey::login(&self.wire.identity_nonce)
    }

    /// The first moment at which the token is too old.
    pub fn expires(&self) -> Timestamp {
        Timestamp::from_unix_secs(self.wire.exp)
    }

    /// When the token was signed.
    pub fn issued(&self) -> Timestamp {
        Timestamp::from_unix_secs(self.wire.iat)
    }

    /// What the person has shown, and when.
    pub fn authentication(&self) -> Option<Authentication> {
        authentication(self.wire.acr.as_deref(), self.wire.auth_time)
    }

    /// Who signed in and how.
    pub fn identity(&self) -> &Identity {
        &self.wire.identity
    }

    /// What `get-identity` answers: a JSON object with all members that Access has. What this crate knows
    /// nothing of (devices, gateways) is empty or false.
    ///
    /// `country` is the ISO 3166 code of where the request comes from.
    pub fn identity_document(&self, country: Option<&str>) -> String {
        let identity = &self.wire.identity;
        serde_json::json!({
            "email": identity.email,
            "idp": { "id": "", "type": identity.idp.kind },
            "geo": { "country": country },
            "user_uuid": identity.user_uuid,
            "account_id": identity.account_id,
            "iat": identity.iat,
            "ip": identity.ip,
            "amr": self.wire.amr,
            "auth_status": "NONE",
            "common_name": "",
            "service_token_id": "",
            "service_token_status": false,
            "is_warp": false,
            "is_gateway": false,
            "device_id": "",
            "devicePosture": {},
            "device_sessions": {},
            "version": 2,
        })
        .to_string()
    }

    pub(super) fn new(wire: OrgWire) -> Self {
        Self { wire: Arc::new(wire) }
    }

    pub(super) fn wire(&self) -> &OrgWire {
        &self.wire
    }

    pub(super) fn frame(&self) -> Frame<'_> {
        let wire = &*self.wire;
        Frame {
            kind: &wire.kind,
            aud: &wire.aud,
            iss: &wire.iss,
            times: [wire.exp, wire.iat, wire.nbf],
            subject: &wire.sub,
            nonce: &wire.identity_nonce,
            epoch: epoch(wire.epoch, wire.iat),
        }
    }
}

impl fmt::Debug for OrgClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrgClaims").field("sub", &self.wire.sub).finish_non_exhaustive()
    }
}

/// The claims that both kinds of token are judged by.
pub(super) struct Frame<'a> {
    pub(super) kind: &'a str,
    pub(super) aud: &'a [String],
    pub(super) iss: &'a str,
    /// `exp`, `iat`, `nbf`.
    pub(super) times: [u64; 3],
    pub(super) subject: &'a str,
    pub(super) nonce: &'a str,
    pub(super) epoch: Epoch,
}

/// Tokens of issuers that know no epochs are as old as they say.
fn epoch(claim: Option<u64>, issued: u64) -> Epoch {
    claim.map_or_else(|| Epoch::at(Timestamp::from_unix_secs(issued)), Epoch::new)
}

/// Another issuer's `acr` says nothing here.
fn authentication(acr: Option<&str>, auth_time: Option<u64>) -> Option<Authentication> {
    Some(Authentication::new(acr?.parse().ok()?, Timestamp::from_unix_secs(auth_time?)))
}
