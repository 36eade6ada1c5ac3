//! A key set on disk or in a store.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::set::{Held, Revoked};
use super::{KeySet, KeyState, SigningKey};
use crate::error::Error;
use crate::random::SystemRandom;
use crate::seal::SealingKey;
use crate::secret::Secret;
use crate::timestamp::Timestamp;

impl KeySet {
    /// The set with its private keys as JSON, for a file that only the program can read. For a store that
    /// others can read, [`seal`](Self::seal) it.
    ///
    /// # Errors
    ///
    /// Refuses nothing that a set can hold.
    pub fn save(&self) -> Result<Secret, Error> {
        let keys = self.held().iter().map(SavedKey::of).collect();
        let revoked = self.revoked().iter().map(SavedRevoked::of).collect();
        let bytes = serde_json::to_vec(&Saved { version: VERSION, keys, revoked });
        bytes.map(Secret::new).map_err(|e| Error::key("the set is not JSON").with_source(e))
    }

    /// Reads what [`save`](Self::save) wrote.
    ///
    /// # Errors
    ///
    /// Refuses a damaged set, as the caller's fault. There is no set with a part of the keys.
    pub fn load(saved: &Secret, random: &SystemRandom) -> Result<Self, Error> {
        // A message of the parser could quote what it read.
        let saved: Saved = serde_json::from_slice(saved.expose()).map_err(|_| damaged())?;
        if saved.version != VERSION {
            return Err(Error::key("the set was saved by another version"));
        }
        let held = saved.keys.into_iter().map(|key| key.into_held(random));
        let held = held.collect::<Result<Vec<_>, _>>()?;
        let revoked = saved.revoked.into_iter().map(SavedRevoked::into_revoked).collect();
        Self::restored(held, revoked).ok_or_else(damaged)
    }

    /// The set, sealed: for a store or a backup that others can read.
    ///
    /// # Errors
    ///
    /// Fails when the generator does.
    pub fn seal(&self, key: &SealingKey, random: &SystemRandom) -> Result<String, Error> {
        key.seal(CONTEXT, &self.save()?, random)
    }

    /// Opens what [`seal`](Self::seal) sealed.
    ///
    /// # Errors
    ///
    /// Refuses what was sealed with another key or has been changed, as the caller's fault.
    pub fn open(sealed: &str, key: &SealingKey, random: &SystemRandom) -> Result<Self, Error> {
        let refused = |e| Error::key("the set does not open").with_source(e);
        Self::load(&key.open(CONTEXT, sealed).map_err(refused)?, random)
    }
}

#[derive(Serialize, Deserialize)]
struct Saved {
    version: u32,
    keys: Vec<SavedKey>,
    #[serde(default)]
    revoked: Vec<SavedRevoked>,
}

#[derive(Serialize, Deserialize)]
struct SavedKey {
    state: SavedState,
    /// Milliseconds since the Unix epoch.
    since: Timestamp,
    pkcs8: Zeroizing<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SavedState {
    Published,
    Signing,
    Retired,
}

#[derive(Serialize, Deserialize)]
struct SavedRevoked {
    kid: String,
    at: Timestamp,
}

impl SavedKey {
    fn of(held: &Held) -> Self {
        let state = match held.state {
            KeyState::Published => SavedState::Published,
            KeyState::Signing => SavedState::Signing,
            KeyState::Retired => SavedState::Retired,
        };
        let pkcs8 = Zeroizing::new(STANDARD.encode(held.key.to_pkcs8().expose()));
        Self { state, since: held.since, pkcs8 }
    }

    fn into_held(self, random: &SystemRandom) -> Result<Held, Error> {
        let state = match self.state {
            SavedState::Published => KeyState::Published,
            SavedState::Signing => KeyState::Signing,
            SavedState::Retired => KeyState::Retired,
        };
        let pkcs8 = Secret::new(STANDARD.decode(&*self.pkcs8).map_err(|_| damaged())?);
        let key = Arc::new(SigningKey::from_pkcs8(&pkcs8, random)?);
        Ok(Held { key, state, since: self.since })
    }
}

impl SavedRevoked {
    fn of(revoked: &Revoked) -> Self {
        Self { kid: revoked.kid.clone(), at: revoked.at }
    }

    fn into_revoked(self) -> Revoked {
        Revoked { kid: self.kid, at: self.at }
    }
}

fn damaged() -> Error {
    Error::key("the saved set is damaged")
}

const VERSION: u32 = 1;

/// A sealed set of keys for anonymous tokens has another one, so neither opens as the other.
const CONTEXT: &str = "otp-auth/keys/application/v1";
