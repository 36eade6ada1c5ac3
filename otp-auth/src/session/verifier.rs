//! Believing tokens.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Revocations;
use crate::keys::{FindKey, VerifyingKey};
use crate::timestamp::Timestamp;
use crate::token::{AppWire, Audience, CompactJws, Identity, OrgWire, TokenError};

/// Verifies app tokens of one issuer.
///
/// The checks of RFC 8725: the key is found by `kid` in our set only and decides the algorithm; `crit`
/// is refused, embedded keys and URLs are ignored; names are unique, numbers are integers; `type`,
/// `iss`, `aud`, `exp`, `nbf` and `iat` must be there and fit, with 30 seconds of leeway.
///
/// Tokens that verified are remembered, 10,000 of them, so that the signature is computed once; time,
/// audience, key and revocation are checked anew at each call.
pub struct AppVerifier {
    checks: Checks,
    cache: Mutex<HashMap<Tail, Cached>>,
}

impl AppVerifier {
    /// Believes tokens that `issuer` signed with a key in `keys`.
    pub fn new(keys: Arc<dyn FindKey>, issuer: impl Into<String>) -> Self {
        Self { checks: Checks::new(keys, issuer.into()), cache: Mutex::default() }
    }

    /// Also refuses tokens that were revoked.
    #[must_use]
    pub fn revocations(mut self, revocations: Arc<Revocations>) -> Self {
        self.checks.revocations = Some(revocations);
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
        if let Some(claims) = self.remembered(token) {
            self.checks.check(&claims.frame(), audience, now)?;
            return Ok(claims);
        }
        let (key, jws) = self.checks.open(token)?;
        let claims = AppClaims { wire: Arc::new(AppWire::from_claims(jws.into_claims()?)?) };
        self.checks.check(&claims.frame(), audience, now)?;
        self.remember(token, key, claims.clone());
        Ok(claims)
    }

    fn remembered(&self, token: &str) -> Option<AppClaims> {
        let tail = tail(token)?;
        let (key, claims) = {
            let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            let cached = cache.get(tail).filter(|cached| *cached.token == *token)?;
            (Arc::clone(&cached.key), cached.claims.clone())
        };
        // A key that was taken out of the set takes its tokens along.
        let known = self.checks.keys.find_key(key.kid())?;
        (known == *key).then_some(claims)
    }

    fn remember(&self, token: &str, key: VerifyingKey, claims: AppClaims) {
        let Some(tail) = tail(token) else { return };
        let cached = Cached { token: token.into(), key: Arc::new(key), claims };
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= CACHED_TOKENS {
            cache.clear();
        }
        cache.insert(*tail, cached);
    }
}

impl fmt::Debug for AppVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppVerifier").field("issuer", &self.checks.issuer).finish_non_exhaustive()
    }
}

/// Verifies org tokens of one issuer, with the checks of [`AppVerifier`].
pub struct OrgVerifier {
    checks: Checks,
    audience: Audience,
}

impl OrgVerifier {
    /// Believes tokens that `issuer` signed with a key in `keys` for its own host, see
    /// [`Issuer::org_audience`](super::Issuer::org_audience).
    pub fn new(keys: Arc<dyn FindKey>, issuer: impl Into<String>, audience: Audience) -> Self {
        Self { checks: Checks::new(keys, issuer.into()), audience }
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
        self.checks.check(&claims.frame(), &self.audience, now)?;
        Ok(claims)
    }
}

impl fmt::Debug for OrgVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrgVerifier").field("issuer", &self.checks.issuer).finish_non_exhaustive()
    }
}

/// Verified claims of an app token. Cheap to clone.
#[derive(Clone)]
pub struct AppClaims {
    wire: Arc<AppWire>,
}

impl AppClaims {
    /// The stable id of the person.
    pub fn subject(&self) -> &str {
        &self.wire.sub
    }

    /// The person's address, in its comparison form.
    pub fn email(&self) -> &str {
        &self.wire.email
    }

    /// The name that all tokens of one login share, for [`Revocations`].
    pub fn identity_nonce(&self) -> &str {
        &self.wire.identity_nonce
    }

    /// The first moment at which the token is too old.
    pub fn expires(&self) -> Timestamp {
        Timestamp::from_unix_secs(self.wire.exp)
    }

    /// When the token was signed.
    pub fn issued(&self) -> Timestamp {
        Timestamp::from_unix_secs(self.wire.iat)
    }

    /// The policy that admitted the person.
    pub fn policy_id(&self) -> Option<&str> {
        self.wire.policy_id.as_deref()
    }

    /// The country the person came from.
    pub fn country(&self) -> Option<&str> {
        self.wire.country.as_deref()
    }

    fn frame(&self) -> Frame<'_> {
        let wire = &*self.wire;
        Frame {
            expected_kind: "app",
            kind: &wire.kind,
            aud: &wire.aud,
            iss: &wire.iss,
            times: [wire.exp, wire.iat, wire.nbf],
            nonce: &wire.identity_nonce,
        }
    }
}

impl fmt::Debug for AppClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppClaims").field("sub", &self.wire.sub).finish_non_exhaustive()
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

    /// The name that all tokens of one login share, for [`Revocations`].
    pub fn identity_nonce(&self) -> &str {
        &self.wire.identity_nonce
    }

    /// The first moment at which the token is too old.
    pub fn expires(&self) -> Timestamp {
        Timestamp::from_unix_secs(self.wire.exp)
    }

    /// When the token was signed.
    pub fn issued(&self) -> Timestamp {
        Timestamp::from_unix_secs(self.wire.iat)
    }

    /// What `get-identity` answers.
    pub fn identity(&self) -> &Identity {
        &self.wire.identity
    }

    pub(super) fn new(wire: OrgWire) -> Self {
        Self { wire: Arc::new(wire) }
    }

    pub(super) fn wire(&self) -> &OrgWire {
        &self.wire
    }

    fn frame(&self) -> Frame<'_> {
        let wire = &*self.wire;
        Frame {
            expected_kind: "org",
            kind: &wire.kind,
            aud: &wire.aud,
            iss: &wire.iss,
            times: [wire.exp, wire.iat, wire.nbf],
            nonce: &wire.identity_nonce,
        }
    }
}

impl fmt::Debug for OrgClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrgClaims").field("sub", &self.wire.sub).finish_non_exhaustive()
    }
}

struct Cached {
    token: Box<str>,
    key: Arc<VerifyingKey>,
    claims: AppClaims,
}

/// The claims that both kinds of token are judged by.
struct Frame<'a> {
    expected_kind: &'static str,
    kind: &'a str,
    aud: &'a [String],
    iss: &'a str,
    times: [u64; 3],
    nonce: &'a str,
}

struct Checks {
    keys: Arc<dyn FindKey>,
    issuer: String,
    revocations: Option<Arc<Revocations>>,
}

impl Checks {
    fn new(keys: Arc<dyn FindKey>, issuer: String) -> Self {
        Self { keys, issuer, revocations: None }
    }

    /// Takes the token apart and verifies its signature.
    fn open<'a>(&self, token: &'a str) -> Result<(VerifyingKey, CompactJws<'a>), TokenError> {
        let jws = CompactJws::parse(token)?;
        let key = self.keys.find_key(&jws.kid).ok_or(TokenError::UnknownKey)?;
        // RFC 8725 section 3.1: the key has one algorithm, and the header must name it.
        if jws.alg != key.algorithm().as_str() {
            return Err(TokenError::WrongAlgorithm);
        }
        key.verify_signature(jws.signed, &jws.signature)?;
        Ok((key, jws))
    }

    fn check(
        &self,
        frame: &Frame<'_>,
        audience: &Audience,
        now: Timestamp,
    ) -> Result<(), TokenError> {
        if frame.kind != frame.expected_kind {
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
        let is_revoked = |list: &Arc<Revocations>| list.is_revoked(frame.nonce, issued);
        if self.revocations.as_ref().is_some_and(is_revoked) {
            return Err(TokenError::Revoked);
        }
        Ok(())
    }
}

/// The end of a token, which is part of its signature: no two tokens that verified share it, and who
/// does not hold the token can't find it by trying.
type Tail = [u8; 32];

fn tail(token: &str) -> Option<&Tail> {
    if token.len() > CACHED_BYTES { None } else { token.as_bytes().last_chunk() }
}

/// How far the clocks of issuer and verifier may differ.
const LEEWAY: Duration = Duration::from_secs(30);

/// Two kilobytes each, as a rule: 20 MB. When full, all are forgotten and verified anew.
const CACHED_TOKENS: usize = 10_000;

/// Longer tokens are verified each time, so that few of them can't fill the memory.
const CACHED_BYTES: usize = 4_096;
