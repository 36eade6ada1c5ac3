//! Minting tokens.

use std::sync::Arc;
use std::time::Duration;

use ring::digest;

use super::{Epoch, OrgClaims, ProvenService};
use crate::address::EmailAddress;
use crate::error::Error;
use crate::keys::KeyRing;
use crate::login::{Proven, StepUp};
use crate::random::{Random, draw_alphanumerics};
use crate::step_up::{Acr, Authentication, Elevation};
use crate::timestamp::Timestamp;
use crate::token::{
    AppWire, Audience, Identity, IdentityProvider, OrgWire, SignedToken, TokenType, encode,
    signing_input,
};

/// Signs tokens in the name of one team host.
///
/// A [`Proven`] gives one org token (the session at the team host); an org token gives app tokens, one
/// for each application. All carry the same `identity_nonce`, by which
/// [`Revocations`](super::Revocations) ends them together.
#[derive(Debug, Clone)]
pub struct Issuer {
    keys: KeyRing,
    random: Arc<dyn Random>,
    origin: String,
    account_id: String,
    audience: Audience,
    session_lifetime: Duration,
}

impl Issuer {
    /// Signs with `keys` as `issuer`, the origin of the team host: `https://auth.example.jp`.
    ///
    /// # Errors
    ///
    /// Refuses an issuer that is not `https://` or `http://` and a host without path; it is compared
    /// byte for byte, so a trailing slash would make another one.
    pub fn new(
        keys: KeyRing,
        random: Arc<dyn Random>,
        issuer: impl Into<String>,
    ) -> Result<Self, Error> {
        let origin = issuer.into();
        let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        let is_host = |host: &str| {
            !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic() && !b"/?#@".contains(&b))
        };
        if origin.len() > 255 || !host.is_some_and(is_host) {
            return Err(Error::setting(
                "issuer",
                "it must be an origin such as `https://auth.host`",
            ));
        }
        let audience = Audience::for_application(&origin, "org");
        Ok(Self {
            keys,
            random,
            origin,
            account_id: String::new(),
            audience,
            session_lifetime: DAY,
        })
    }

    /// The account that org tokens name, and part of what `sub` is derived from. Default: none.
    #[must_use]
    pub fn account_id(mut self, account_id: impl Into<String>) -> Self {
        self.account_id = account_id.into();
        self
    }

    /// The life of an org token. Default 24 hours.
    ///
    /// # Errors
    ///
    /// Refuses less than 15 minutes and more than 31 days, as Access does.
    pub fn session_lifetime(mut self, lifetime: Duration) -> Result<Self, Error> {
        if !(QUARTER..=MONTH).contains(&lifetime) {
            return Err(Error::setting("session_lifetime", "it must be 15 minutes to 31 days"));
        }
        self.session_lifetime = lifetime;
        Ok(self)
    }

    /// The `iss` of all tokens.
    pub fn issuer(&self) -> &str {
        &self.origin
    }

    /// The `aud` of org tokens: derived from the issuer.
    pub fn org_audience(&self) -> &Audience {
        &self.audience
    }

    /// The keys it signs with.
    pub fn keys(&self) -> &KeyRing {
        &self.keys
    }

    /// The stable id of an address at this issuer: a UUID of version 5 (RFC 9562 section 5.5), made from
    /// the issuer, the account and the comparison form of the address.
    pub fn subject(&self, address: &EmailAddress) -> String {
        let mut namespace = uuid_v5(&NAMESPACE_URL, self.origin.as_bytes());
        if !self.account_id.is_empty() {
            namespace = uuid_v5(&namespace, self.account_id.as_bytes());
        }
        format_uuid(&uuid_v5(&namespace, address.key().as_bytes()))
    }

    /// Opens a session: the only way from a code to a token.
    ///
    /// `epoch` comes from [`Revocations::epoch`](super::Revocations::epoch): while that gives no answer,
    /// there are no new sessions.
    ///
    /// # Errors
    ///
    /// Fails when the generator does.
    pub fn org_token(
        &self,
        proven: Proven,
        epoch: Epoch,
        now: Timestamp,
    ) -> Result<OrgSession, Error> {
        let shown = Authentication::new(Acr::Mailbox, proven.authenticated_at());
        let subject = self.subject(proven.address());
        let expires = whole_secs(now.plus(self.session_lifetime));
        let email = proven.address().key().to_owned();
        let wire = OrgWire {
            kind: "org".to_owned(),
            aud: vec![self.audience.as_str().to_owned()],
            iss: self.origin.clone(),
            exp: expires.as_unix_secs(),
            iat: now.as_unix_secs(),
            nbf: now.as_unix_secs(),
            sub: subject.clone(),
            email: email.clone(),
            identity_nonce: draw_alphanumerics(&*self.random, NONCE_LENGTH)?,
            account_id: self.account_id.clone(),
            identity: Identity {
                email,
                idp: IdentityProvider::mailed_code(),
                user_uuid: subject,
                account_id: self.account_id.clone(),
                iat: proven.authenticated_at().as_unix_secs(),
                ip: Some(proven.client()),
            },
            epoch: Some(epoch.number()),
            acr: Some(shown.acr().as_str().to_owned()),
            amr: amr(shown),
            auth_time: Some(shown.at().as_unix_secs()),
        };
        // INVARIANT: the proof ends here; one proof, one session.
        drop(proven);
        let token = self.sign(&wire, expires)?;
        Ok(OrgSession { token, claims: OrgClaims::new(wire) })
    }

    /// What a code that was mailed for [`StepUp`] is worth: the person has read their mail just now. The proof
    /// is used up.
    ///
    /// A session that is stepped up by it shows this and no more, even if it showed an authenticator before:
    /// its `auth_time` is of the mailed code.
    ///
    /// ```compile_fail
    /// // A code that was mailed to sign in steps nothing up.
    /// fn lift(issuer: &otp_auth::session::Issuer, proven: otp_auth::login::Proven) {
    ///     let _ = issuer.elevation(proven);
    /// }
    /// ```
    #[expect(clippy::needless_pass_by_value, reason = "one proof, one elevation")]
    pub fn elevation(&self, proven: Proven<StepUp>) -> Elevation {
        let shown = Authentication::new(Acr::Mailbox, proven.authenticated_at());
        Elevation::of(self.subject(proven.address()), shown)
    }

    /// Makes a stronger session of one that lives: another `identity_nonce`, the same end.
    ///
    /// Revoke the old one afterwards ([`OrgClaims::revocation_key`]): privileges change, so the tokens do.
    ///
    /// # Errors
    ///
    /// Refuses, as the caller's fault, claims of another issuer or whose time is over, and a proof of
    /// another person. Fails when the generator does.
    pub fn step_up(
        &self,
        org: &OrgClaims,
        elevation: Elevation,
        epoch: Epoch,
        now: Timestamp,
    ) -> Result<OrgSession, Error> {
        self.refuse_dead(org, now)?;
        if elevation.subject() != org.subject() {
            return Err(Error::setting("elevation", "it is another person's"));
        }
        let shown = elevation.shown();
        let wire = OrgWire {
            iat: now.as_unix_secs(),
            nbf: now.as_unix_secs(),
            identity_nonce: draw_alphanumerics(&*self.random, NONCE_LENGTH)?,
            // A log-out since the old token counts, wherever it was.
            epoch: Some(org.frame().epoch.min(epoch).number()),
            acr: Some(shown.acr().as_str().to_owned()),
            amr: amr(shown),
            auth_time: Some(shown.at().as_unix_secs()),
            ..org.wire().clone()
        };
        // INVARIANT: one proof, one session.
        drop(elevation);
        let token = self.sign(&wire, org.expires())?;
        Ok(OrgSession { token, claims: OrgClaims::new(wire) })
    }

    /// Grants an application to the person of an org token.
    ///
    /// The policy's decision comes before: this signs whatever it is given.
    ///
    /// # Errors
    ///
    /// Refuses, as the caller's fault, claims of another issuer or whose time is over, and a grant whose
    /// policy or country is longer than it may be. Fails when the generator does.
    pub fn app_token(
        &self,
        org: &OrgClaims,
        grant: &AppGrant,
        now: Timestamp,
    ) -> Result<SignedToken, Error> {
        self.refuse_dead(org, now)?;
        grant.check()?;
        let expires = whole_secs(now.plus(grant.lifetime));
        let wire = AppWire {
            kind: "app".to_owned(),
            aud: vec![grant.audience.as_str().to_owned()],
            iss: self.origin.clone(),
            exp: expires.as_unix_secs(),
            iat: now.as_unix_secs(),
            nbf: Some(now.as_unix_secs()),
            sub: org.subject().to_owned(),
            email: Some(org.email().to_owned()),
            identity_nonce: Some(org.identity_nonce().to_owned()),
            common_name: None,
            country: grant.country.clone(),
            policy_id: grant.policy_id.clone(),
            epoch: org.wire().epoch,
            acr: org.wire().acr.clone(),
            amr: org.wire().amr.clone(),
            auth_time: org.wire().auth_time,
        };
        self.sign(&wire, expires)
    }

    /// Grants an application to a service that showed its token: a token with `common_name` and without a
    /// person, as Access writes it.
    ///
    /// # Errors
    ///
    /// Refuses a grant whose policy is longer than it may be. Fails when the generator does.
    pub fn service_token(
        &self,
        service: &ProvenService,
        grant: &AppGrant,
        epoch: Epoch,
        now: Timestamp,
    ) -> Result<SignedToken, Error> {
        grant.check()?;
        let expires = whole_secs(now.plus(grant.lifetime));
        let wire = AppWire {
            kind: "app".to_owned(),
            aud: vec![grant.audience.as_str().to_owned()],
            iss: self.origin.clone(),
            exp: expires.as_unix_secs(),
            iat: now.as_unix_secs(),
            nbf: None,
            sub: String::new(),
            email: None,
            identity_nonce: None,
            common_name: Some(service.client_id().to_owned()),
            country: None,
            policy_id: grant.policy_id.clone(),
            epoch: Some(epoch.number()),
            acr: None,
            amr: Vec::new(),
            auth_time: None,
        };
        self.sign(&wire, expires)
    }

    fn refuse_dead(&self, org: &OrgClaims, now: Timestamp) -> Result<(), Error> {
        if org.wire().iss != self.origin || now >= org.expires() {
            return Err(Error::setting("org token", "it is another issuer's or has expired"));
        }
        Ok(())
    }

    fn sign(&self, wire: &impl serde::Serialize, expires: Timestamp) -> Result<SignedToken, Error> {
        let payload = serde_json::to_vec(wire)
            .map_err(|e| Error::setting("claims", "they are not JSON").with_source(e))?;
        let current = self.keys.current();
        let key = current.keys.signing();
        let signed = signing_input(TokenType::Session, key.algorithm(), key.kid(), &payload);
        let signature = key.sign(signed.as_bytes())?;
        SignedToken::new(encode(signed, &signature), expires)
    }
}

/// A fresh session at the team host.
#[derive(Debug)]
pub struct OrgSession {
    /// The org token, for the cookie of the team host.
    pub token: SignedToken,
    /// Its claims, as if they had been verified: to grant an application in the same breath.
    pub claims: OrgClaims,
}

/// What an app token says beyond the person.
#[must_use]
#[derive(Debug, Clone)]
pub struct AppGrant {
    audience: Audience,
    lifetime: Duration,
    policy_id: Option<String>,
    country: Option<String>,
}

impl AppGrant {
    /// A grant for the application of this AUD, for 24 hours.
    pub fn new(audience: Audience) -> Self {
        Self { audience, lifetime: DAY, policy_id: None, country: None }
    }

    /// The life of the token. Default 24 hours.
    ///
    /// # Errors
    ///
    /// Refuses less than a second and more than 31 days.
    pub fn lifetime(mut self, lifetime: Duration) -> Result<Self, Error> {
        if !(Duration::from_secs(1)..=MONTH).contains(&lifetime) {
            return Err(Error::setting("lifetime", "it must be 1 second to 31 days"));
        }
        self.lifetime = lifetime;
        Ok(self)
    }

    /// The policy that admitted the person: up to 256 bytes, or signing refuses it.
    pub fn policy_id(mut self, id: impl Into<String>) -> Self {
        self.policy_id = Some(id.into());
        self
    }

    /// The ISO 3166 code of the country the person came from: up to 16 bytes, or signing refuses it.
    pub fn country(mut self, code: impl Into<String>) -> Self {
        self.country = Some(code.into());
        self
    }

    /// A token must fit into a cookie, and verifiers read no more than 8 KiB.
    fn check(&self) -> Result<(), Error> {
        let is_over = |text: &Option<String>, bytes| {
            text.as_ref().is_some_and(|text: &String| text.len() > bytes)
        };
        if is_over(&self.policy_id, 256) {
            return Err(Error::setting("policy_id", "it is longer than 256 bytes"));
        }
        if is_over(&self.country, 16) {
            return Err(Error::setting("country", "it is longer than 16 bytes"));
        }
        Ok(())
    }
}

/// RFC 9562 section 5.5: SHA-1 over namespace and name, cut to 16 bytes, version and variant set.
fn uuid_v5(namespace: &[u8; 16], name: &[u8]) -> [u8; 16] {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(namespace);
    context.update(name);
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&context.finish().as_ref()[..16]);
    uuid[6] = uuid[6] & 0x0f | 0x50;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}

fn format_uuid(uuid: &[u8; 16]) -> String {
    let hex = format!("{:032x}", u128::from_be_bytes(*uuid));
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

fn amr(shown: Authentication) -> Vec<String> {
    shown.acr().amr().iter().map(|method| (*method).to_owned()).collect()
}

fn whole_secs(time: Timestamp) -> Timestamp {
    Timestamp::from_unix_secs(time.as_unix_secs())
}

/// RFC 9562 section 6.6: the name space of URLs.
const NAMESPACE_URL: [u8; 16] = 0x6ba7_b811_9dad_11d1_80b4_00c0_4fd4_30c8_u128.to_be_bytes();

/// 16 of 62 characters: 95 bits.
const NONCE_LENGTH: usize = 16;

const QUARTER: Duration = Duration::from_secs(15 * 60);
const DAY: Duration = Duration::from_secs(86_400);
const MONTH: Duration = Duration::from_secs(31 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{KeySet, SigningKey};
    use crate::random::SystemRandom;

    fn issuer(name: &str) -> Result<Issuer, Error> {
        let random = SystemRandom::new();
        let keys = KeyRing::new(KeySet::new(
            SigningKey::generate(&random)?,
            Timestamp::from_unix_secs(1_790_000_000),
        ));
        Issuer::new(keys, Arc::new(random), name)
    }

    /// Python: `uuid5(uuid5(NAMESPACE_URL, "https://auth.example.jp"), "alice@example.jp")`.
    #[test]
    fn subjects_are_version_five_uuids() {
        let issuer = issuer("https://auth.example.jp").unwrap();
        let subject = |a: &str| issuer.subject(&a.parse().unwrap());
        assert_eq!(subject("Alice@Example.JP"), "c680f83c-fe7e-5dd2-b4d1-9967b1f753f6");
        assert_ne!(subject("bob@example.jp"), subject("alice@example.jp"));
        let other = issuer.clone().account_id("account-2");
        assert_ne!(
            other.subject(&"alice@example.jp".parse().unwrap()),
            subject("alice@example.jp")
        );
    }

    #[test]
    fn an_issuer_is_an_origin() {
        for name in ["", "auth.example.jp", "https://", "https://a/", "https://a b", "ftp://a"] {
            assert!(issuer(name).unwrap_err().is_caller_fault(), "{name}");
        }
        assert!(issuer("http://localhost:8080").is_ok());
    }

    #[test]
    fn what_verifiers_would_not_read_is_not_signed() {
        let grant = || AppGrant::new("a".parse().unwrap());
        assert!(grant().policy_id("p".repeat(256)).country("JP").check().is_ok());
        let error = grant().policy_id("p".repeat(257)).check().unwrap_err();
        assert!(error.is_caller_fault() && error.to_string().contains("`policy_id`"), "{error}");
        let error = grant().country("J".repeat(17)).check().unwrap_err();
        assert!(error.to_string().contains("`country`"), "{error}");
        // Whatever else makes a token too long: an account of the operator's.
        let issuer = issuer("https://a").unwrap();
        let wire = |bytes: usize| serde_json::json!({ "x": "x".repeat(bytes) });
        let now = Timestamp::from_unix_secs(1_790_000_000);
        assert!(issuer.sign(&wire(5_000), now).is_ok());
        let error = issuer.sign(&wire(6_200), now).unwrap_err();
        assert!(error.to_string().contains("longer than verifiers read"), "{error}");
    }

    #[test]
    fn lives_have_limits() {
        let issuer = issuer("https://a").unwrap();
        assert!(issuer.clone().session_lifetime(Duration::from_secs(899)).is_err());
        assert!(issuer.session_lifetime(MONTH + Duration::from_secs(1)).is_err());
        let grant = AppGrant::new("a".parse().unwrap());
        assert!(grant.clone().lifetime(Duration::ZERO).is_err());
        assert!(grant.lifetime(MONTH).is_ok());
    }
}
