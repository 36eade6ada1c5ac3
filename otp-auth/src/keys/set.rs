//! A key set and the life of its keys.

use std::sync::Arc;
use std::time::Duration;

use super::{PublicKeySet, RotationSchedule, SigningKey};
use crate::error::Error;
use crate::timestamp::Timestamp;

/// Where a key is in its life. All states are published and verify; one key signs.
///
/// ```text
/// published ──promote──▶ signing ──promote of the next──▶ retired ──remove──▶ (gone)
///     └───────────revoke───────┴────────────revoke────────────┴──▶ (gone, and never taken back)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyState {
    /// Known to verifiers, not used yet. Consumers cache for up to 24 hours, so stay that long.
    Published,
    /// Signs new tokens.
    Signing,
    /// Signs no more; verifies what it has signed. Keep for 7 days and the longest token life.
    Retired,
}

/// The keys of one issuer: exactly one signs. A plain value; share it with a [`KeyRing`](super::KeyRing).
///
/// [`rotate`](Self::rotate) leads the keys through their lives by a [`RotationSchedule`]; the single
/// steps are there for programs that do it otherwise.
///
/// ```
/// use std::time::Duration;
/// use otp_auth::keys::{KeySet, KeyState, RotationSchedule, SigningKey};
/// use otp_auth::random::SystemRandom;
/// use otp_auth::timestamp::Timestamp;
///
/// let random = SystemRandom::new();
/// let day = |number: u64| Timestamp::from_unix_secs(1_790_000_000 + number * 86_400);
/// let mut keys = KeySet::new(SigningKey::generate(&random)?, day(0));
/// let first = keys.signing().kid().to_owned();
/// let schedule = RotationSchedule::default();
/// for number in 0..=43 {
///     keys.rotate(&schedule, day(number), || SigningKey::generate(&random))?;
/// }
/// assert_eq!(keys.state(&first), Some(KeyState::Retired));
/// # Ok::<(), otp_auth::error::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct KeySet {
    /// INVARIANT: exactly one is signing.
    held: Vec<Held>,
    revoked: Vec<Revoked>,
}

#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) key: Arc<SigningKey>,
    pub(super) state: KeyState,
    pub(super) since: Timestamp,
}

#[derive(Debug, Clone)]
pub(super) struct Revoked {
    pub(super) kid: String,
    pub(super) at: Timestamp,
}

/// What [`KeySet::rotate`] has done to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyEvent {
    /// A new key is in the document, and signs nothing yet.
    Published(String),
    /// A key signs from now on.
    Promoted(String),
    /// A key is gone; its last token had expired.
    Removed(String),
    /// A key's date lay in the future, because the clock was set back: it counts as from now.
    Redated(String),
}

impl KeySet {
    /// A set of one key, which signs from now on.
    pub fn new(signing: SigningKey, now: Timestamp) -> Self {
        let held = Held { key: Arc::new(signing), state: KeyState::Signing, since: now };
        Self { held: vec![held], revoked: Vec::new() }
    }

    /// Does what is due: takes out keys that retired long enough ago, publishes the next key ahead of its
    /// use, lets it sign when it was known for long enough and the old one's time is over.
    ///
    /// Call it every hour or so, and at start; each call costs a few comparisons. Keep the set
    /// [saved](Self::save) before the new document is shown: [`KeyRing::rotate`](super::KeyRing::rotate)
    /// keeps that order. A process that slept through a date is late, never early: a key is known for the
    /// whole time ahead before it signs. A clock that was set back makes the steps later; one that was set
    /// forward is believed.
    ///
    /// # Errors
    ///
    /// What `make_key` answers; everything done before it stays done, and a later call goes on.
    pub fn rotate(
        &mut self,
        schedule: &RotationSchedule,
        now: Timestamp,
        make_key: impl FnOnce() -> Result<SigningKey, Error>,
    ) -> Result<Vec<KeyEvent>, Error> {
        let mut events = self.redate(now);
        self.revoked.retain(|revoked| now.since(revoked.at) < REMEMBER_REVOKED);
        self.held.retain(|held| {
            let is_over =
                held.state == KeyState::Retired && now.since(held.since) >= schedule.overlap_time();
            if is_over {
                events.push(KeyEvent::Removed(held.key.kid().to_owned()));
            }
            !is_over
        });
        let signed_for = now.since(self.signing_entry().since);
        match self.next_published() {
            Some(next) => {
                let known_for = now.since(next.since);
                let kid = next.key.kid().to_owned();
                if known_for >= schedule.publish_ahead_time()
                    && signed_for >= schedule.signing_time()
                {
                    self.promote(&kid, now)?;
                    events.push(KeyEvent::Promoted(kid));
                }
            }
            None if signed_for + schedule.publish_ahead_time() >= schedule.signing_time() => {
                events.push(KeyEvent::Published(self.publish(make_key()?, now)?));
            }
            None => {}
        }
        Ok(events)
    }

    /// When [`rotate`](Self::rotate) will next have something to do, at the earliest.
    pub fn next_rotation(&self, schedule: &RotationSchedule) -> Timestamp {
        let signing_ends = self.signing_entry().since.plus(schedule.signing_time());
        let next = self.next_published().map_or_else(
            || signing_ends.minus(schedule.publish_ahead_time()),
            |next| signing_ends.max(next.since.plus(schedule.publish_ahead_time())),
        );
        let retired = self.held.iter().filter(|held| held.state == KeyState::Retired);
        let gone = retired.map(|held| held.since.plus(schedule.overlap_time())).min();
        gone.map_or(next, |gone| gone.min(next))
    }

    /// Adds a key that does not sign yet; returns its name.
    ///
    /// # Errors
    ///
    /// Refuses a key that is in the set or was revoked, and more than 16 keys.
    pub fn publish(&mut self, key: SigningKey, now: Timestamp) -> Result<String, Error> {
        if self.revoked.iter().any(|revoked| revoked.kid == key.kid()) {
            return Err(Error::key("it was revoked"));
        }
        if self.state(key.kid()).is_some() {
            return Err(Error::key("it is in the set already"));
        }
        if self.held.len() >= MOST_KEYS {
            return Err(Error::key("the set has 16 keys"));
        }
        let kid = key.kid().to_owned();
        self.held.push(Held { key: Arc::new(key), state: KeyState::Published, since: now });
        Ok(kid)
    }

    /// Lets a published key sign from now on; the key that signed until now is retired.
    ///
    /// # Errors
    ///
    /// Refuses a key that is not in the state [`KeyState::Published`].
    pub fn promote(&mut self, kid: &str, now: Timestamp) -> Result<(), Error> {
        let is_published = |held: &Held| held.key.kid() == kid && held.state == KeyState::Published;
        let next = self.held.iter().position(is_published);
        let next = next.ok_or_else(|| Error::key("it is not published"))?;
        for held in self.held.iter_mut().filter(|held| held.state == KeyState::Signing) {
            (held.state, held.since) = (KeyState::Retired, now);
        }
        (self.held[next].state, self.held[next].since) = (KeyState::Signing, now);
        Ok(())
    }

    /// Takes a key out: its tokens are refused from now on.
    ///
    /// # Errors
    ///
    /// Refuses the signing key (promote another first, or [revoke](Self::revoke) it) and an unknown name.
    pub fn remove(&mut self, kid: &str) -> Result<(), Error> {
        let is_it = |held: &Held| held.key.kid() == kid && held.state != KeyState::Signing;
        let at = self.held.iter().position(is_it);
        self.held.remove(at.ok_or_else(|| Error::key("it signs, or is not in the set"))?);
        Ok(())
    }

    /// Takes a key out that leaked, whatever its state, and never takes it back.
    ///
    /// If it was the one that signs, the longest published key signs from now on, which consumers may
    /// know already; without one, `make_key` gives another.
    ///
    /// Consumers that cached the document believe the revoked key until they fetch it anew, up to 24
    /// hours later: [`Revocations`](crate::session::Revocations) reaches those that take part in it.
    ///
    /// # Errors
    ///
    /// Refuses an unknown name. Nothing is changed if `make_key` fails.
    pub fn revoke(
        &mut self,
        kid: &str,
        now: Timestamp,
        make_key: impl FnOnce() -> Result<SigningKey, Error>,
    ) -> Result<(), Error> {
        let state = self.state(kid).ok_or_else(|| Error::key("it is not in the set"))?;
        if state == KeyState::Signing {
            let next = match self.next_published() {
                Some(next) => next.key.kid().to_owned(),
                None => self.publish(make_key()?, now)?,
            };
            self.promote(&next, now)?;
        }
        self.remove(kid)?;
        self.revoked.push(Revoked { kid: kid.to_owned(), at: now });
        let excess = self.revoked.len().saturating_sub(MOST_REVOKED);
        self.revoked.drain(..excess);
        Ok(())
    }

    /// The key that signs.
    pub fn signing(&self) -> &SigningKey {
        &self.signing_entry().key
    }

    /// The state of a key, `None` if it is not in the set.
    pub fn state(&self, kid: &str) -> Option<KeyState> {
        self.held.iter().find(|held| held.key.kid() == kid).map(|held| held.state)
    }

    /// All keys with their states, and since when they are in it.
    pub fn entries(&self) -> impl Iterator<Item = (&SigningKey, KeyState, Timestamp)> {
        self.held.iter().map(|held| (&*held.key, held.state, held.since))
    }

    /// The public halves of all keys.
    pub fn public_keys(&self) -> PublicKeySet {
        PublicKeySet::new(self.entries().map(|(key, ..)| key.verifying_key().clone()).collect())
    }

    /// The key set document for `/cdn-cgi/access/certs` (RFC 7517 section 5).
    pub fn jwks(&self) -> String {
        self.public_keys().to_json()
    }

    pub(super) fn held(&self) -> &[Held] {
        &self.held
    }

    pub(super) fn revoked(&self) -> &[Revoked] {
        &self.revoked
    }

    /// A set as it was kept; `None` unless exactly one key signs and none is there twice.
    pub(super) fn restored(held: Vec<Held>, revoked: Vec<Revoked>) -> Option<Self> {
        let signing = held.iter().filter(|held| held.state == KeyState::Signing).count();
        let is_unique = |held_one: &Held| {
            held.iter().filter(|other| other.key.kid() == held_one.key.kid()).count() == 1
        };
        let fits = signing == 1 && held.len() <= MOST_KEYS && held.iter().all(is_unique);
        fits.then_some(Self { held, revoked })
    }

    fn signing_entry(&self) -> &Held {
        let found = self.held.iter().find(|held| held.state == KeyState::Signing);
        found.expect("one key signs")
    }

    /// The published key that has been so for the longest.
    fn next_published(&self) -> Option<&Held> {
        let published = self.held.iter().filter(|held| held.state == KeyState::Published);
        published.min_by_key(|held| held.since)
    }

    /// A date from before the clock was set back would hold a key for as long as the clock went back.
    fn redate(&mut self, now: Timestamp) -> Vec<KeyEvent> {
        let mut events = Vec::new();
        for held in self.held.iter_mut().filter(|held| held.since > now.plus(CLOCK_SKEW)) {
            held.since = now;
            events.push(KeyEvent::Redated(held.key.kid().to_owned()));
        }
        for revoked in self.revoked.iter_mut().filter(|revoked| revoked.at > now) {
            revoked.at = now;
        }
        events
    }
}

/// A rotation every six weeks with a month of tokens needs three; sixteen leaves room for emergencies.
const MOST_KEYS: usize = 16;

/// Revoked keys are remembered so that an old file does not bring one back.
const MOST_REVOKED: usize = 64;
const REMEMBER_REVOKED: Duration = Duration::from_secs(2 * 366 * 86_400);

/// What nodes that share a set may differ by.
const CLOCK_SKEW: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    fn key() -> SigningKey {
        SigningKey::generate(&SystemRandom::new()).unwrap()
    }

    fn make_key() -> Result<SigningKey, Error> {
        SigningKey::generate(&SystemRandom::new())
    }

    fn day(number: u64) -> Timestamp {
        Timestamp::from_unix_secs(1_790_000_000 + number * 86_400)
    }

    #[test]
    fn only_a_published_key_is_promoted() {
        let mut keys = KeySet::new(key(), day(0));
        let first = keys.signing().kid().to_owned();
        let next = keys.publish(key(), day(0)).unwrap();
        assert!(keys.promote(&first, day(1)).is_err());
        assert!(keys.promote("unknown", day(1)).is_err());
        keys.promote(&next, day(1)).unwrap();
        assert_eq!(keys.signing().kid(), next);
        assert!(keys.promote(&first, day(1)).is_err(), "a retired key never signs again");
        assert!(keys.remove(&next).is_err(), "the signing key stays");
        keys.remove(&first).unwrap();
        assert!(keys.remove(&first).is_err());
        assert_eq!(keys.public_keys().keys().len(), 1);
    }

    #[test]
    fn the_set_is_bounded_and_has_no_twins() {
        let mut keys = KeySet::new(key(), day(0));
        let twin = keys.signing().to_pkcs8();
        let twin = SigningKey::from_pkcs8(&twin, &SystemRandom::new()).unwrap();
        assert!(keys.publish(twin, day(0)).is_err());
        for _ in 0..15 {
            keys.publish(key(), day(0)).unwrap();
        }
        assert!(keys.publish(key(), day(0)).is_err());
    }

    #[test]
    fn a_revoked_key_is_gone_at_once_and_for_good() {
        let mut keys = KeySet::new(key(), day(0));
        let first = keys.signing().kid().to_owned();
        let pkcs8 = keys.signing().to_pkcs8();
        let standby = keys.publish(key(), day(0)).unwrap();
        keys.revoke(&first, day(1), || unreachable!("there is a key in waiting")).unwrap();
        assert_eq!(keys.signing().kid(), standby);
        assert_eq!(keys.state(&first), None);
        let again = SigningKey::from_pkcs8(&pkcs8, &SystemRandom::new()).unwrap();
        assert!(keys.publish(again, day(2)).is_err());

        keys.revoke(&standby, day(2), make_key).unwrap();
        assert_ne!(keys.signing().kid(), standby);
        assert_eq!(keys.public_keys().keys().len(), 1);
        let signing = keys.signing().kid().to_owned();
        let failed = keys.revoke(&signing, day(2), || Err(Error::randomness()));
        assert!(failed.unwrap_err().is_randomness());
        assert_eq!(keys.signing().kid(), signing, "without a new key the old one stays");
        assert!(keys.revoke("unknown", day(2), make_key).is_err());
    }
}
