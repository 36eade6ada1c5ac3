//! What an account keeps in the store, and under which names.

use std::sync::Arc;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    acme::{account::AccountKey, attempt::Attempt, session::Session},
    certificate::Certificate,
    error::{Error, Kind, StorageError},
    record::{Record, certificate_key, short_hash},
    storage::{Entry, Key, Storage, Version},
};

/// The part of a store that is one account's.
#[derive(Debug)]
pub(crate) struct Journal {
    store: Arc<dyn Storage>,
    directory_url: String,
}

impl Journal {
    pub(crate) fn new(store: Arc<dyn Storage>, directory_url: String) -> Self {
        Self { store, directory_url }
    }

    /// An attempt that was cut short. One that cannot be read is moved aside.
    pub(crate) async fn attempt(
        &self,
        names: &[String],
    ) -> Result<Option<(Attempt, Version)>, Error> {
        let key = self.attempt_key(names)?;
        let Some(entry) = self.get(&key).await? else { return Ok(None) };
        match serde_json::from_slice::<Attempt>(&entry.value) {
            Ok(attempt) if attempt.version == Attempt::VERSION && attempt.names == names => {
                Ok(Some((attempt, entry.version)))
            }
            _ => {
                let kept_at = self.store.set_aside(&key, entry.version).await?;
                tracing::warn!(kept_at, "the journal of an attempt cannot be read; starting over");
                Ok(None)
            }
        }
    }

    /// Where an attempt is kept from now on.
    pub(crate) fn keeping(
        &self,
        names: &[String],
        version: Option<Version>,
    ) -> Result<Kept<'_>, Error> {
        Ok(Kept { store: &*self.store, key: self.attempt_key(names)?, version })
    }

    pub(crate) async fn forget_attempt(&self, names: &[String]) -> Result<(), Error> {
        let key = self.attempt_key(names)?;
        let Some(entry) = self.get(&key).await? else { return Ok(()) };
        Kept { store: &*self.store, key, version: Some(entry.version) }.remove().await
    }

    pub(crate) async fn account(&self) -> Result<Option<StoredAccount>, Error> {
        let key = self.account_key()?;
        // Nothing takes its place by itself: it may be bound to a customer, and it alone may revoke.
        let Some(entry) = self.store.get(&key).await? else { return Ok(None) };
        match read::<StoredAccount>(&entry) {
            Some(account) if account.v > 1 => Err(Kind::NewerForm(key.to_string()).into()),
            Some(account) => Ok(Some(account)),
            None => Err(Kind::StoredAccount(key.to_string()).into()),
        }
    }

    /// Keeps a new account, unless there is one: then that is returned.
    pub(crate) async fn keep_first_account(
        &self,
        new: StoredAccount,
    ) -> Result<StoredAccount, Error> {
        match self.store.put(&self.account_key()?, &text(&new), None).await {
            Ok(_) => Ok(new),
            Err(StorageError::Conflict) => {
                self.account().await?.ok_or_else(|| StorageError::Conflict.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Replaces what is known of the account.
    pub(crate) async fn keep_account(&self, mut account: StoredAccount) -> Result<(), Error> {
        if let Some(mut old) = self.account().await? {
            account.other = std::mem::take(&mut old.other);
        }
        self.replace(&self.account_key()?, &text(&account)).await
    }

    pub(crate) async fn keep_certificate(
        &self,
        certificate: &Certificate,
        names: &[String],
        issuer: &str,
    ) -> Result<(), Error> {
        let record = Record::new(certificate, names, issuer);
        self.replace(&certificate_key(names)?, &record.write()).await
    }

    pub(crate) async fn certificate(&self, names: &[String]) -> Result<Option<Record>, Error> {
        let key = certificate_key(names)?;
        let Some(entry) = self.store.get(&key).await? else { return Ok(None) };
        let (version, reason) = (entry.version, "it is no certificate");
        let damaged = || StorageError::Damaged { key: key.to_string(), version, reason };
        Ok(Some(Record::read(&key, &entry.value)?.ok_or_else(damaged)?))
    }

    async fn replace(&self, key: &Key, value: &[u8]) -> Result<(), Error> {
        for _ in 0..REPLACE_ATTEMPTS {
            let version = self.get(key).await?.map(|entry| entry.version);
            match self.store.put(key, value, version).await {
                Err(StorageError::Conflict) => {}
                done => return Ok(done.map(drop)?),
            }
        }
        Err(StorageError::Conflict.into())
    }

    /// What is there; what is damaged is moved aside.
    async fn get(&self, key: &Key) -> Result<Option<Entry>, Error> {
        match self.store.get(key).await {
            Err(StorageError::Damaged { version, reason, .. }) => {
                let kept_at = self.store.set_aside(key, version).await?;
                tracing::warn!(%key, reason, kept_at, "a stored object cannot be used");
                Ok(None)
            }
            found => Ok(found?),
        }
    }

    fn attempt_key(&self, names: &[String]) -> Result<Key, Error> {
        let hash = short_hash(&format!("{} {}", self.directory_url, names.join(",")));
        format!("attempts/{hash}.json").parse()
    }

    fn account_key(&self) -> Result<Key, Error> {
        format!("accounts/{}.json", short_hash(&self.directory_url)).parse()
    }
}

/// One attempt in the store. Each write is refused if another node has written in between.
#[derive(Debug)]
pub(crate) struct Kept<'a> {
    store: &'a dyn Storage,
    key: Key,
    version: Option<Version>,
}

impl Kept<'_> {
    /// Whether somebody, perhaps this process, wrote it before.
    pub(crate) fn is_taken_over(&self) -> bool {
        self.version.is_some()
    }

    pub(crate) async fn put(&mut self, attempt: &Attempt) -> Result<(), Error> {
        self.version = Some(self.store.put(&self.key, &text(attempt), self.version).await?);
        Ok(())
    }

    /// Takes it away; that another took it over, or away, is fine.
    pub(crate) async fn remove(self) -> Result<(), Error> {
        let Some(version) = self.version else { return Ok(()) };
        match self.store.delete(&self.key, version).await {
            Err(StorageError::Conflict) => Ok(()),
            done => Ok(done?),
        }
    }
}

/// An account as it lies in the store.
#[derive(Serialize, Deserialize)]
pub(crate) struct StoredAccount {
    pub(crate) v: u8,
    pub(crate) key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    /// A key that may have taken the place of the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next_key: Option<String>,
    /// What a later version of this library noted: it stays.
    #[serde(flatten)]
    other: Map<String, Value>,
}

impl StoredAccount {
    /// A new key, and no account yet.
    pub(crate) fn new() -> Result<Self, Error> {
        let key = AccountKey::generate()?.to_pem().expose().to_owned();
        Ok(Self { v: 1, key, url: None, next_key: None, other: Map::new() })
    }

    pub(crate) fn of(session: &Session) -> Self {
        let pem = |key: &AccountKey| key.to_pem().expose().to_owned();
        let (key, next_key) = (pem(session.key()), session.spare().map(pem));
        let url = session.account().map(ToOwned::to_owned);
        Self { v: 1, key, url, next_key, other: Map::new() }
    }
}

impl Drop for StoredAccount {
    fn drop(&mut self) {
        self.key.zeroize();
        self.next_key.zeroize();
    }
}

/// The host, and a hash: two directories of one authority are two issuers.
pub(crate) fn issuer_id(directory_url: &str) -> String {
    let host = directory_url.split("://").nth(1).unwrap_or(directory_url);
    let host = host.split(['/', ':']).next().unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-.".contains(c) { c } else { '-' };
    let host: String = host.chars().map(plain).take(100).collect();
    format!("acme-{}-{}", host.to_ascii_lowercase(), &short_hash(directory_url)[..8])
}

fn text(object: &impl Serialize) -> Zeroizing<Vec<u8>> {
    // Texts and numbers always have a form.
    Zeroizing::new(serde_json::to_vec(object).unwrap_or_default())
}

fn read<T: DeserializeOwned>(entry: &Entry) -> Option<T> {
    serde_json::from_slice(&entry.value).ok()
}

const REPLACE_ATTEMPTS: u32 = 8;
