//! Tokens for visitors nobody knows.

use super::verifier::LEEWAY;
use crate::error::Error;
use crate::keys::{AnonymousKeys, FindKey};
use crate::timestamp::Timestamp;
use crate::token::{
    Audience, CompactJws, MatchWire, MetaWire, SignedToken, TokenError, TokenType, encode,
    signing_input,
};
use std::time::Duration;

/// Signs and reads the two tokens of Access that any visitor gets: `meta` in the redirect to the login
/// page, and `match`, which tells a program which application a host belongs to.
///
/// They carry a `typ` of their own, and are signed with keys that no application looks at.
#[derive(Debug, Clone)]
pub struct AnonymousIssuer {
    keys: AnonymousKeys,
}

/// What the login page is told about the request that was sent there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetaClaims {
    /// The application.
    pub audience: Audience,
    /// The host that was asked for.
    pub hostname: String,
    /// The path and query to go back to.
    pub redirect_url: String,
    /// The ISO 3166 code of the country the request came from.
    pub country: Option<String>,
    /// SHA-256 of the flow cookie at the application, as 64 hexadecimal digits: whose request it was.
    pub app_session_hash: String,
}

impl MetaClaims {
    /// Of a request for `redirect_url` at `hostname`, by the browser whose flow cookie has this hash.
    pub fn new(
        audience: Audience,
        hostname: impl Into<String>,
        redirect_url: impl Into<String>,
        app_session_hash: impl Into<String>,
    ) -> Self {
        Self {
            audience,
            hostname: hostname.into(),
            redirect_url: redirect_url.into(),
            country: None,
            app_session_hash: app_session_hash.into(),
        }
    }

    /// From this country.
    #[must_use]
    pub fn country(mut self, code: impl Into<String>) -> Self {
        self.country = Some(code.into());
        self
    }
}

impl AnonymousIssuer {
    /// Signs with keys that are for this alone.
    pub fn new(keys: AnonymousKeys) -> Self {
        Self { keys }
    }

    /// Signs a `meta` token, which lives for five minutes.
    ///
    /// # Errors
    ///
    /// Refuses, as the caller's fault, a `redirect_url` over 2,048 bytes, a `hostname` over 255, a hash over
    /// 64, a country over 16: send whoever asks for so long a path to the front page. Fails when the generator
    /// does.
    pub fn meta(&self, claims: &MetaClaims, now: Timestamp) -> Result<SignedToken, Error> {
        for (text, at_most, field) in [
            (&*claims.redirect_url, 2_048, "redirect_url"),
            (&*claims.hostname, 255, "hostname"),
            (&*claims.app_session_hash, 64, "app_session_hash"),
            (claims.country.as_deref().unwrap_or_default(), 16, "country"),
        ] {
            if text.len() > at_most {
                return Err(Error::setting(field, "it is longer than a token may carry"));
            }
        }
        let expires = Timestamp::from_unix_secs(now.as_unix_secs()).plus(META_LIFE);
        let wire = MetaWire {
            kind: "meta".to_owned(),
            aud: claims.audience.as_str().to_owned(),
            hostname: claims.hostname.clone(),
            redirect_url: claims.redirect_url.clone(),
            service_token_status: false,
            is_warp: false,
            is_gateway: false,
            exp: expires.as_unix_secs(),
            nbf: now.as_unix_secs(),
            iat: now.as_unix_secs(),
            auth_status: "NONE".to_owned(),
            real_country: claims.country.clone(),
            app_session_hash: claims.app_session_hash.clone(),
        };
        self.sign(TokenType::Meta, &wire, expires)
    }

    /// Signs a `match` token: it has no end of its own, and its reader takes it for a day.
    ///
    /// # Errors
    ///
    /// Refuses, as the caller's fault, names of hosts over 255 bytes. Fails when the generator does.
    pub fn match_token(
        &self,
        audience: &Audience,
        hostname: &str,
        auth_domain: &str,
        app_hostname: &str,
        now: Timestamp,
    ) -> Result<SignedToken, Error> {
        if [hostname, auth_domain, app_hostname].iter().any(|host| host.len() > 255) {
            return Err(Error::setting("hostname", "it is longer than a token may carry"));
        }
        let wire = MatchWire {
            kind: "match".to_owned(),
            aud: audience.as_str().to_owned(),
            hostname: hostname.to_owned(),
            auth_domain: auth_domain.to_owned(),
            app_hostname: app_hostname.to_owned(),
            iat: now.as_unix_secs(),
        };
        self.sign(TokenType::Match, &wire, now.plus(MATCH_LIFE))
    }

    /// Reads a `meta` token that was signed here. Nobody is signed in by it.
    ///
    /// # Errors
    ///
    /// The first reason found to refuse. Whether `app_session_hash` is that of the browser is the caller's
    /// to compare.
    pub fn verify_meta(
        &self,
        token: &str,
        audience: &Audience,
        now: Timestamp,
    ) -> Result<MetaClaims, TokenError> {
        let jws = CompactJws::parse(token, TokenType::Meta)?;
        let key = self.keys.ring().find_key(&jws.kid).ok_or(TokenError::UnknownKey)?;
        if jws.alg != key.algorithm().as_str() {
            return Err(TokenError::WrongAlgorithm);
        }
        key.verify_signature(jws.signed, &jws.signature)?;
        let claims = serde_json::Value::Object(jws.into_claims()?);
        let wire: MetaWire = serde_json::from_value(claims).map_err(|_| TokenError::BadClaims)?;
        if wire.kind != "meta" {
            return Err(TokenError::WrongType);
        }
        if wire.aud != audience.as_str() {
            return Err(TokenError::WrongAudience);
        }
        if now >= Timestamp::from_unix_secs(wire.exp).plus(LEEWAY) {
            return Err(TokenError::Expired);
        }
        if now.plus(LEEWAY) < Timestamp::from_unix_secs(wire.nbf.max(wire.iat)) {
            return Err(TokenError::NotYetValid);
        }
        Ok(MetaClaims {
            audience: audience.clone(),
            hostname: wire.hostname,
            redirect_url: wire.redirect_url,
            country: wire.real_country,
            app_session_hash: wire.app_session_hash,
        })
    }

    fn sign(
        &self,
        typ: TokenType,
        wire: &impl serde::Serialize,
        expires: Timestamp,
    ) -> Result<SignedToken, Error> {
        let payload = serde_json::to_vec(wire)
            .map_err(|e| Error::setting("claims", "they are not JSON").with_source(e))?;
        let current = self.keys.ring().current();
        let key = current.keys.signing();
        let signed = signing_input(typ, key.algorithm(), key.kid(), &payload);
        let signature = key.sign(signed.as_bytes())?;
        SignedToken::new(encode(signed, &signature), expires)
    }
}

const META_LIFE: Duration = Duration::from_secs(300);

/// What cloudflared takes.
const MATCH_LIFE: Duration = Duration::from_secs(86_400);
