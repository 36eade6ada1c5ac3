//! Believing tokens.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::cache::{Cached, Generations, TokenCache};
use super::claims::Frame;
use super::{AppClaims, OrgClaims, Revocations};
use crate::keys::{FindKey, VerifyingKey};
use crate::timestamp::Timestamp;
use crate::token::{AppWire, Audience, CompactJws, OrgWire, TokenError, TokenType};

/// Verifies app tokens of one issuer.
///
/// The checks of RFC 8725: the key is found by `kid` in our set only and decides the algorithm; `crit`
/// is refused, embedded keys and URLs are ignored; names are unique, numbers are integers; `type`,
/// `iss`, `aud`, `exp`, `iat` and, for people, `nbf` must be there and fit, with 30 seconds of leeway.
///
/// Tokens that verified are remembered, 10,000 of them unless set otherwise, so that the signature is
/// computed once; time, audience, key and revocation are checked anew at each call. Such a call allocates
/// nothing.
pub struct AppVerifier {
    checks: Checks,
    cache: TokenCache,
}

impl AppVerifier {
    /// Believes tokens that `issuer` signed with a key in `keys`.
    pub fn new(keys: Arc<dyn FindKey>, issuer: impl Into<String>) -> Self {
        let checks = Checks::new(keys, issuer.into(), "app");
        Self { checks, cache: TokenCache::new(CACHED_TOKENS) }
    }

    /// Also refuses tokens that were revoked.
    #[must_use]
    pub fn revocations(mut self, revocations: Arc<Revocations>) -> Self {
        self.checks.revocations = Some(revocations);
        self
    }

    /// Remembers this many tokens, of one to four kilobytes each, as a rule. Default 10,000; zero computes
    /// every signature anew.
    #[must_use]
    pub fn remember(mut self, tokens: usize) -> Self {
        self.cache = TokenCache::new(tokens);
        self
    }

    /// Verifies a token for the application of this AUD.
    ///
    /// # Errors
    ///
    /// The first reason found to refuse. Nothing of a refused token may be believed.
    pub fn verify(
        &self,
        token: &str,
        audience: &Audience,
        now: Timestamp,
    ) -> Result<AppClaims, TokenError> {
        if let Some(cached) = self.cache.get(token) {
            if self.checks.has_key(&cached) {
                self.checks.check_again(&cached, audience, now)?;
                return Ok(cached.claims.clone());
            }
            self.cache.remove(token);
        }
        let (claims, key, at) = self.verify_anew(token, audience, now)?;
        self.cache.insert(token, claims.clone(), key, at);
        Ok(claims)
    }

    fn verify_anew(
        &self,
        token: &str,
        audience: &Audience,
        now: Timestamp,
    ) -> Result<(AppClaims, VerifyingKey, Generations), TokenError> {
        // Read before the look-ups: what changes in between is looked at again at the next call.
        let at = self.checks.generations();
        let (key, jws) = self.checks.open(token)?;
        let claims = AppClaims::new(AppWire::from_claims(jws.into_claims()?)?)?;
        let frame = claims.frame();
        self.checks.check(&frame, audience, now)?;
        self.checks.check_revocation(&frame)?;
        Ok((claims, key, at))
    }
}

impl fmt::Debug for AppVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppVerifier").field("issuer", &self.checks.issuer).finish_non_exhaustive()
    }
}

/// Verifies org tokens of one issuer, with the checks of [`AppVerifier`] and without its memory.
pub struct OrgVerifier {
    checks: Checks,
    audience: Audience,
}

impl OrgVerifier {
    /// Believes tokens that `issuer` signed with a key in `keys` for its own host, see
    /// [`Issuer::org_audience`](super::Issuer::org_audience).
    pub fn new(keys: Arc<dyn FindKey>, issuer: impl Into<String>, audience: Audience) -> Self {
        Self { checks: Checks::new(keys, issuer.into(), "org"), audience }
    }

    /// Also refuses tokens that were revoked.
    #[must_use]
    pub fn revocations(mut self, revocations: Arc<Revocations>) -> Self {
        self.checks.revocations = Some(revocations);
        self
    }

    /// Verifies an org token.
    ///
    /// # Errors
    ///
    /// The first reason found to refuse. Nothing of a refused token may be believed.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<OrgClaims, TokenError> {
        let (_, jws) = self.checks.open(token)?;
        let claims = jws.into_claims()?;
        // An app token lacks the identity; say "wrong type", not "malformed".
        if claims.get("type").is_some_and(|kind| kind != "org") {
            return Err(TokenError::WrongType);
        }
        let claims = OrgClaims::new(OrgWire::from_claims(claims)?);
        let frame = claims.frame();
        self.checks.check(&frame, &self.audience, now)?;
        self.checks.check_revocation(&frame)?;
        Ok(claims)
    }
}

impl fmt::Debug for OrgVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrgVerifier").field("issuer", &self.checks.issuer).finish_non_exhaustive()
    }
}

struct Checks {
    keys: Arc<dyn FindKey>,
    issuer: String,
    /// The claim `type` of the only tokens that are believed.
    kind: &'static str,
    revocations: Option<Arc<Revocations>>,
}

impl Checks {
    fn new(keys: Arc<dyn FindKey>, issuer: String, kind: &'static str) -> Self {
        Self { keys, issuer, kind, revocations: None }
    }

    /// Takes the token apart and verifies its signature.
    fn open<'a>(&self, token: &'a str) -> Result<(VerifyingKey, CompactJws<'a>), TokenError> {
        let jws = CompactJws::parse(token, TokenType::Session)?;
        let key = self.keys.find_key(&jws.kid).ok_or(TokenError::UnknownKey)?;
        // RFC 8725 section 3.1: the key has one algorithm, and the header must name it.
        if jws.alg != key.algorithm().as_str() {
            return Err(TokenError::WrongAlgorithm);
        }
        key.verify_signature(jws.signed, &jws.signature)?;
        Ok((key, jws))
    }

    /// Everything but revocation.
    fn check(
        &self,
        frame: &Frame<'_>,
        audience: &Audience,
        now: Timestamp,
    ) -> Result<(), TokenError> {
        if frame.kind != self.kind {
            return Err(TokenError::WrongType);
        }
        if frame.iss != self.issuer {
            return Err(TokenError::WrongIssuer);
        }
        if !frame.aud.iter().any(|aud| aud == audience.as_str()) {
            return Err(TokenError::WrongAudience);
        }
        let [expires, issued, not_before] = frame.times.map(Timestamp::from_unix_secs);
        if now >= expires.plus(LEEWAY) {
            return Err(TokenError::Expired);
        }
        if now.plus(LEEWAY) < not_before || now.plus(LEEWAY) < issued {
            return Err(TokenError::NotYetValid);
        }
        self.revocations.as_ref().map_or(Ok(()), |list| list.check_freshness(now))
    }

    fn check_revocation(&self, frame: &Frame<'_>) -> Result<(), TokenError> {
        let is_revoked =
            |list: &Arc<Revocations>| list.is_revoked(frame.subject, frame.nonce, frame.epoch);
        if self.revocations.as_ref().is_some_and(is_revoked) {
            return Err(TokenError::Revoked);
        }
        Ok(())
    }

    /// All that can have changed since the token was first verified.
    fn check_again(
        &self,
        cached: &Cached,
        audience: &Audience,
        now: Timestamp,
    ) -> Result<(), TokenError> {
        let frame = cached.claims.frame();
        self.check(&frame, audience, now)?;
        let revocations = self.generations().revocations;
        if !cached.is_checked(revocations) {
            self.check_revocation(&frame)?;
            cached.set_checked(revocations);
        }
        Ok(())
    }

    /// A key that was taken out of the set takes its tokens along.
    fn has_key(&self, cached: &Cached) -> bool {
        let generation = self.keys.generation();
        if generation.is_some_and(|generation| cached.is_key_checked(generation)) {
            return true;
        }
        let is_there = self.keys.find_key(cached.key.kid()).is_some_and(|key| key == cached.key);
        if let (true, Some(generation)) = (is_there, generation) {
            cached.set_key_checked(generation);
        }
        is_there
    }

    fn generations(&self) -> Generations {
        Generations {
            keys: self.keys.generation().unwrap_or(u64::MAX),
            revocations: self.revocations.as_ref().map_or(0, |list| list.generation()),
        }
    }
}

/// How far the clocks of issuer and verifier may differ.
pub(super) const LEEWAY: Duration = Duration::from_secs(30);

/// Two kilobytes each, as a rule: 20 MB.
const CACHED_TOKENS: usize = 10_000;
