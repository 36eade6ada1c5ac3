//! Sessions that a store holds, and the browser knows by a reference.

mod store;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use subtle::ConstantTimeEq;
use thiserror::Error as ThisError;
use zeroize::Zeroizing;

pub use self::store::{MemorySessions, SessionId, SessionRecord, SessionScope, SessionStore};
use super::{Epoch, OrgClaims, RevocationKey, Revocations};
use crate::error::Error;
use crate::random::Random;
use crate::step_up::{Authentication, Elevation};
use crate::timestamp::Timestamp;
use crate::token::Audience;

/// Opens, finds and ends sessions: one at the team host for a login, and one for each application that it
/// is carried to.
///
/// A session lives until it was idle for too long, until its absolute end, until it is ended, or until its
/// person is logged out everywhere. The browser's reference has 128 bits of name and 128 of secret; the
/// store has the secret's SHA-256, so who reads the store can't take a session over.
///
/// Privileges change with a new reference: [`step_up`](Self::step_up) ends the old one in the same step.
#[derive(Debug, Clone)]
pub struct Sessions {
    store: Arc<dyn SessionStore>,
    revocations: Arc<Revocations>,
    random: Arc<dyn Random>,
    global: SessionLimits,
    application: SessionLimits,
}

/// How long a session lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    idle: Duration,
    absolute: Duration,
}

impl SessionLimits {
    /// Ends after `idle` without a request, and after `absolute` in any case.
    ///
    /// # Errors
    ///
    /// Refuses idle times under a minute or over the absolute one, and absolute ones over 31 days.
    pub fn new(idle: Duration, absolute: Duration) -> Result<Self, Error> {
        if absolute > MONTH || idle > absolute || idle < MINUTE {
            return Err(Error::setting(
                "session limits",
                "idle must be a minute or more, absolute at least that and at most 31 days",
            ));
        }
        Ok(Self { idle, absolute })
    }
}

/// What a cookie holds: 43 characters of base64url. Redacted in every output; zeroed on drop.
#[derive(Clone)]
pub struct SessionReference {
    id: SessionId,
    secret: Zeroizing<[u8; SECRET_BYTES]>,
}

impl SessionReference {
    /// The text for the cookie. Set it with `Secure`, `HttpOnly`, `SameSite=Lax`, `Path=/`, under a name that
    /// begins with `__Host-`.
    pub fn expose(&self) -> Zeroizing<String> {
        let bytes = Zeroizing::new([self.id.as_bytes().as_slice(), &*self.secret].concat());
        Zeroizing::new(URL_SAFE_NO_PAD.encode(&*bytes))
    }

    fn draw(random: &dyn Random) -> Result<Self, Error> {
        let mut id = [0; 16];
        random.fill(&mut id)?;
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        random.fill(&mut *secret)?;
        Ok(Self { id: SessionId::from_bytes(id), secret })
    }

    fn digest(&self) -> [u8; 32] {
        let mut found = [0; 32];
        found.copy_from_slice(digest::digest(&digest::SHA256, &*self.secret).as_ref());
        found
    }
}

impl FromStr for SessionReference {
    type Err = SessionRefusal;

    fn from_str(text: &str) -> Result<Self, SessionRefusal> {
        let mut bytes = Zeroizing::new([0; 16 + SECRET_BYTES]);
        // Exactly this length: no padding, no stray bits, nothing behind it.
        let read = URL_SAFE_NO_PAD.decode_slice(text, &mut *bytes);
        if text.len() != 43 || read != Ok(bytes.len()) {
            return Err(SessionRefusal::Malformed);
        }
        let (id, secret) = bytes.split_at(16);
        let (Ok(id), Ok(secret)) = (id.try_into(), secret.try_into()) else {
            return Err(SessionRefusal::Malformed);
        };
        Ok(Self { id: SessionId::from_bytes(id), secret: Zeroizing::new(secret) })
    }
}

impl fmt::Debug for SessionReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionReference(..)")
    }
}

/// A session that was found alive.
#[derive(Clone)]
pub struct Session {
    record: SessionRecord,
}

impl Session {
    /// Its name: fit for logs, and for a list of devices to end.
    pub fn id(&self) -> SessionId {
        self.record.id
    }

    /// The stable id of the person.
    pub fn subject(&self) -> &str {
        &self.record.subject
    }

    /// The person's address.
    pub fn email(&self) -> &str {
        &self.record.email
    }

    /// What the person has shown, and when.
    pub fn authentication(&self) -> Option<Authentication> {
        let acr = self.record.acr.as_deref()?.parse().ok()?;
        Some(Authentication::new(acr, self.record.authenticated_at))
    }

    /// When it ends at the latest.
    pub fn ends(&self) -> Timestamp {
        self.record.ends
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("record", &self.record).finish()
    }
}

/// Why there is no session. The answer is a login, whatever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum SessionRefusal {
    /// The cookie is no reference.
    #[error("the session cookie is malformed")]
    Malformed,
    /// No such session, or not with this secret.
    #[error("there is no such session")]
    Unknown,
    /// Of another application, or of the team host.
    #[error("the session is for another place")]
    WrongPlace,
    /// Idle for too long, or at its absolute end, or the clock is before its beginning.
    #[error("the session has ended")]
    Expired,
    /// Logged out.
    #[error("the session was ended")]
    Revoked,
}

impl Sessions {
    /// Keeps sessions in `store`; people logged out are known from `revocations`. Sessions at the team host
    /// live for 24 hours, idle or not, those at applications too.
    pub fn new(
        store: Arc<dyn SessionStore>,
        revocations: Arc<Revocations>,
        random: Arc<dyn Random>,
    ) -> Self {
        let day = SessionLimits { idle: DAY, absolute: DAY };
        Self { store, revocations, random, global: day, application: day }
    }

    /// How long sessions at the team host live.
    #[must_use]
    pub fn global_limits(mut self, limits: SessionLimits) -> Self {
        self.global = limits;
        self
    }

    /// How long sessions at applications live; never longer than the one at the team host.
    #[must_use]
    pub fn application_limits(mut self, limits: SessionLimits) -> Self {
        self.application = limits;
        self
    }

    /// Opens a session at the team host, of what [`Issuer::org_token`](super::Issuer::org_token) made of a
    /// proof. Always a new one, whatever cookie the browser brought.
    ///
    /// # Errors
    ///
    /// The store of sessions or of revocations gives no answer, or the generator fails.
    pub async fn open(
        &self,
        claims: &OrgClaims,
        now: Timestamp,
    ) -> Result<(SessionReference, Session), Error> {
        let shown = claims.authentication();
        let record = SessionRecord {
            id: SessionId::from_bytes([0; 16]),
            secret_digest: [0; 32],
            scope: SessionScope::Global,
            subject: claims.subject().to_owned(),
            email: claims.email().to_owned(),
            acr: shown.map(|it| it.acr().as_str().to_owned()),
            authenticated_at: shown.map_or(now, |it| it.at()),
            opened: now,
            seen: now,
            idle: self.global.idle,
            ends: now.plus(self.global.absolute).min(claims.expires()),
            // A log-out since the proof counts, wherever it was.
            epoch: claims.frame().epoch.min(self.revocations.epoch(now).await?),
        };
        self.insert(record, now).await
    }

    /// Carries a session at the team host to an application. The policy's decision comes before.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open). Refuses the session of another application, as the caller's fault.
    pub async fn open_application(
        &self,
        global: &Session,
        audience: &Audience,
        now: Timestamp,
    ) -> Result<(SessionReference, Session), Error> {
        if global.record.scope != SessionScope::Global {
            return Err(Error::setting("session", "it is not one of the team host"));
        }
        let record = SessionRecord {
            scope: SessionScope::Application {
                audience: audience.as_str().to_owned(),
                global: global.record.id,
            },
            opened: now,
            seen: now,
            idle: self.application.idle,
            ends: now.plus(self.application.absolute).min(global.record.ends),
            ..global.record.clone()
        };
        self.insert(record, now).await
    }

    /// Finds the session at the team host that a cookie refers to.
    ///
    /// # Errors
    ///
    /// The store gives no answer: ask for a login, and let nobody in. The inner refusal says why there is no
    /// session.
    pub async fn check(
        &self,
        cookie: &str,
        now: Timestamp,
    ) -> Result<Result<Session, SessionRefusal>, Error> {
        self.find(cookie, None, now).await
    }

    /// Finds the session at an application that a cookie refers to. It ends with the one at the team host
    /// it came from.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check).
    pub async fn check_application(
        &self,
        cookie: &str,
        audience: &Audience,
        now: Timestamp,
    ) -> Result<Result<Session, SessionRefusal>, Error> {
        self.find(cookie, Some(audience), now).await
    }

    /// Puts a stronger session in the place of one at the team host, under a new reference. The old
    /// reference is refused from then on, and so are the applications' sessions that came from it.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open). Refuses the proof of another person and a session that has ended meanwhile,
    /// as the caller's fault.
    pub async fn step_up(
        &self,
        session: &Session,
        elevation: Elevation,
        now: Timestamp,
    ) -> Result<(SessionReference, Session), Error> {
        if elevation.subject() != session.subject() {
            return Err(Error::setting("elevation", "it is another person's"));
        }
        let shown = elevation.shown();
        let reference = SessionReference::draw(&*self.random)?;
        let record = SessionRecord {
            id: reference.id,
            secret_digest: reference.digest(),
            acr: Some(shown.acr().as_str().to_owned()),
            authenticated_at: shown.at(),
            seen: now,
            // Its epoch stays: a log-out that this node has not heard of ends the stronger session too.
            ..session.record.clone()
        };
        // INVARIANT: one proof, one session.
        drop(elevation);
        if !self.store.replace(session.record.id, &record, now).await? {
            return Err(Error::setting("session", "it has ended"));
        }
        Ok((reference, Session { record }))
    }

    /// Ends one session. Those at applications end with the one at the team host.
    ///
    /// # Errors
    ///
    /// The store gives no answer.
    pub async fn end(&self, session: &Session) -> Result<(), Error> {
        self.store.remove(session.record.id).await
    }

    /// Ends all sessions and tokens of a person, on all nodes.
    ///
    /// # Errors
    ///
    /// The store of revocations gives no answer; see [`Revocations::revoke`].
    pub async fn end_everywhere(&self, subject: &str, now: Timestamp) -> Result<(), Error> {
        self.revocations.revoke(&RevocationKey::subject(subject), now).await
    }

    async fn insert(
        &self,
        record: SessionRecord,
        now: Timestamp,
    ) -> Result<(SessionReference, Session), Error> {
        let reference = SessionReference::draw(&*self.random)?;
        let record =
            SessionRecord { id: reference.id, secret_digest: reference.digest(), ..record };
        if !self.store.insert(&record, now).await? {
            // 128 bits that are there already: the generator is stuck.
            return Err(Error::randomness());
        }
        Ok((reference, Session { record }))
    }

    async fn find(
        &self,
        cookie: &str,
        audience: Option<&Audience>,
        now: Timestamp,
    ) -> Result<Result<Session, SessionRefusal>, Error> {
        let reference: SessionReference = match cookie.parse() {
            Ok(reference) => reference,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let Some(record) = self.store.load(reference.id, now).await? else {
            return Ok(Err(SessionRefusal::Unknown));
        };
        if !bool::from(record.secret_digest.ct_eq(&reference.digest())) {
            return Ok(Err(SessionRefusal::Unknown));
        }
        let is_here = match (&record.scope, audience) {
            (SessionScope::Global, None) => true,
            (SessionScope::Application { audience, .. }, Some(here)) => audience == here.as_str(),
            _ => false,
        };
        if !is_here {
            return Ok(Err(SessionRefusal::WrongPlace));
        }
        if let Err(refusal) = self.judge(&record, now) {
            return Ok(Err(refusal));
        }
        if let SessionScope::Application { global, .. } = record.scope {
            let parent = self.store.load(global, now).await?;
            let is_alive = parent.is_some_and(|it| {
                // Whoever uses an application is not idle at the team host.
                now < it.ends && it.subject == record.subject
            });
            if !is_alive {
                return Ok(Err(SessionRefusal::Revoked));
            }
        }
        if now.since(record.seen) >= TOUCH_EVERY {
            self.store.touch(record.id, now).await?;
        }
        Ok(Ok(Session { record: SessionRecord { seen: record.seen.max(now), ..record } }))
    }

    fn judge(&self, record: &SessionRecord, now: Timestamp) -> Result<(), SessionRefusal> {
        let is_before = now.plus(LEEWAY) < record.opened;
        if is_before || now >= record.ends || now.since(record.seen) >= record.idle {
            return Err(SessionRefusal::Expired);
        }
        let is_stale = self.revocations.check_freshness(now).is_err();
        if is_stale || self.revocations.is_revoked(&record.subject, "", record.epoch) {
            return Err(SessionRefusal::Revoked);
        }
        Ok(())
    }
}

const SECRET_BYTES: usize = 16;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
const MONTH: Duration = Duration::from_secs(31 * 86_400);

/// A write for each request would make a store of sessions a store of clicks.
const TOUCH_EVERY: Duration = Duration::from_secs(30);

/// What nodes may differ by.
const LEEWAY: Duration = Duration::from_secs(30);
