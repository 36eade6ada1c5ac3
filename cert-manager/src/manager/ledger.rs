use std::{collections::HashMap, fmt, sync::Arc, time::SystemTime};

use crate::{
    certificate::Certificate,
    error::{Error, Kind, StorageError},
    key::default_provider,
    manager::{
        stored::{FailureLog, LastFailure, note_change, read, write},
        worker::failures_key,
    },
    name::Name,
    record::{Record, Wish},
    storage::{Key, Storage, Version},
};

/// The certificates in a store, for people and tools beside a running [`Manager`](crate::Manager): what there is, and wishes,
/// which some node fulfils within a minute.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use cert_manager::{Manager, manager::{Ledger, SelfSigned}, storage::MemoryStore};
///
/// let store = Arc::new(MemoryStore::new());
/// let manager = Manager::builder().issuer(SelfSigned::new()).storage(store.clone());
/// let manager = manager.name("app.localhost").start().await?;
///
/// let ledger = Ledger::new(store);
/// manager.shutdown().await; // all that is issued is stored now
/// assert_eq!(ledger.list().await?.certificates[0].names, ["app.localhost".parse()?]);
/// assert!(ledger.renew("app.localhost").await?);
/// # Ok::<(), cert_manager::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Ledger {
    storage: Arc<dyn Storage>,
}

impl Ledger {
    /// Looks into this store.
    pub fn new(storage: impl Storage + 'static) -> Self {
        Self { storage: Arc::new(storage) }
    }

    /// Lists all certificates, sorted by their names, with what went wrong last. Those that cannot be read, and those that
    /// could not be had yet, are named apart.
    ///
    /// # Errors
    ///
    /// [`Error::is_store`] if the store cannot be read at all.
    pub async fn list(&self) -> Result<Listed, Error> {
        let mut failed = self.failed().await?;
        let mut listed = Listed::default();
        for key in self.storage.list("certificates").await? {
            match self.read(&key).await {
                Ok(Some(record)) => {
                    let mut stored = Stored::of(&record);
                    stored.failed = failed.remove(&failures_key(&key)?);
                    listed.certificates.push(stored);
                }
                Ok(None) => {}
                Err(error) => listed.unreadable.push((key.to_string(), error)),
            }
        }
        listed.missing = failed.into_values().collect();
        listed.certificates.sort_by(|one, other| one.names.cmp(&other.names));
        listed.missing.sort_by(|one, other| one.names.cmp(&other.names));
        Ok(listed)
    }

    /// What failed last, by the key where it is noted.
    async fn failed(&self) -> Result<HashMap<Key, Failed>, Error> {
        let mut all = HashMap::new();
        for key in self.storage.list("failures").await? {
            let entry = match self.storage.get(&key).await {
                Ok(entry) => entry,
                // The manager sets it aside.
                Err(StorageError::Damaged { .. }) => None,
                Err(error) => return Err(error.into()),
            };
            let log = entry.and_then(|it| serde_json::from_slice::<FailureLog>(&it.value).ok());
            if let Some((log, last)) = log.as_ref().and_then(|log| Some((log, log.last()?))) {
                all.insert(key, Failed::of(last, log.count()));
            }
        }
        Ok(all)
    }

    /// Wishes that the certificate that carries `name` be renewed now, or, if there is none because attempts for it failed, that
    /// the next one be made now. Says whether there is either. What an authority asked to wait for is waited for.
    ///
    /// # Errors
    ///
    /// If the name is refused, or the store fails.
    pub async fn renew(&self, name: &str) -> Result<bool, Error> {
        self.wish(name, Wish::Renew).await
    }

    /// Wishes that the certificate that carries `name` be replaced, because it is or will be revoked: its holder retries each
    /// minute. Says whether there is one.
    ///
    /// # Errors
    ///
    /// If the name is refused, or the store fails.
    pub async fn replace(&self, name: &str) -> Result<bool, Error> {
        self.wish(name, Wish::Replace).await
    }

    /// The certificate that carries `name`, with its key: for [`Issuer::revoke`](crate::manager::Issuer::revoke), for instance.
    ///
    /// # Errors
    ///
    /// If the name is refused, the certificate is damaged, or the store fails.
    pub async fn find(&self, name: &str) -> Result<Option<Certificate>, Error> {
        let found = self.find_record(name).await?;
        found.map(|(_, record)| record.certificate(&default_provider())).transpose()
    }

    async fn wish(&self, name: &str, wish: Wish) -> Result<bool, Error> {
        for _ in 0..ATTEMPTS {
            let Some((key, _)) = self.find_record(name).await? else {
                return self.forgive_missing(name).await;
            };
            let Some(entry) = self.storage.get(&key).await? else { continue };
            let Some(record) = Record::read(&key, &entry.value)? else { continue };
            if record.is_newer() {
                return Err(Kind::NewerForm(key.to_string()).into());
            }
            let value = record.with_wish(wish).write();
            match self.storage.put(&key, &value, Some(entry.version)).await {
                Err(StorageError::Conflict) => {}
                Err(error) => return Err(error.into()),
                Ok(version) => {
                    self.forgive(&failures_key(&key)?).await?;
                    return note_change(&*self.storage, &key, version).await.map(|()| true);
                }
            }
        }
        Err(StorageError::Conflict.into())
    }

    /// Has the pauses after failures begin anew.
    async fn forgive(&self, key: &Key) -> Result<(), Error> {
        let Some((mut log, version)) = read::<FailureLog>(&*self.storage, key).await? else {
            return Ok(());
        };
        log.forgive();
        match write(&*self.storage, key, &log, Some(version)).await {
            // Another one failed meanwhile, or none is left.
            Ok(_) | Err(StorageError::Conflict) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The same where there is no certificate.
    async fn forgive_missing(&self, name: &str) -> Result<bool, Error> {
        let name = name.parse::<Name>()?;
        let failed = self.failed().await?;
        let Some((key, _)) = failed.into_iter().find(|(_, it)| it.names.contains(&name)) else {
            return Ok(false);
        };
        self.forgive(&key).await?;
        let (_, object) = key.as_str().split_once('/').unwrap_or_default();
        let certificate = format!("certificates/{object}").parse()?;
        note_change(&*self.storage, &certificate, Version::new(0)).await.map(|()| true)
    }

    async fn find_record(&self, name: &str) -> Result<Option<(Key, Record)>, Error> {
        let name = name.parse::<Name>()?.to_string();
        for key in self.storage.list("certificates").await? {
            // Another one that cannot be read is no reason not to find this one.
            if let Ok(Some(record)) = self.read(&key).await
                && record.names.contains(&name)
            {
                return Ok(Some((key, record)));
            }
        }
        Ok(None)
    }

    async fn read(&self, key: &Key) -> Result<Option<Record>, Error> {
        let Some(entry) = self.storage.get(key).await? else { return Ok(None) };
        match Record::read(key, &entry.value)? {
            Some(record) => Ok(Some(record)),
            None => Err(Kind::Storage(StorageError::Damaged {
                key: key.to_string(),
                version: entry.version,
                reason: "it is no certificate",
            })
            .into()),
        }
    }
}

/// What [`Ledger::list`] found.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Listed {
    /// Those that can be read.
    pub certificates: Vec<Stored>,
    /// Those that were ordered in vain and never had. One that nobody wants any more stays among them.
    pub missing: Vec<Failed>,
    /// Those that cannot, by their names in the store, and why.
    pub unreadable: Vec<(String, Error)>,
}

/// A certificate in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stored {
    /// What it carries.
    pub names: Vec<Name>,
    /// Where it came from.
    pub issuer: String,
    /// In hexadecimal digits.
    pub serial: String,
    /// First second of its life.
    pub not_before: SystemTime,
    /// Last second of its life.
    pub not_after: SystemTime,
    /// When its renewal begins.
    pub renew_at: Option<SystemTime>,
    /// Whether a wish waits to be fulfilled.
    pub is_wished: bool,
    /// What went wrong last, until it goes right.
    pub failed: Option<Failed>,
}

/// An attempt that failed, on whichever node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failed {
    /// What the certificate was to carry.
    pub names: Vec<Name>,
    /// Which issuer failed.
    pub issuer: String,
    /// Why, with causes: up to 1,000 characters, partly the authority's own.
    pub error: String,
    /// When.
    pub at: SystemTime,
    /// When it is tried again, as it was planned then.
    pub retry_at: SystemTime,
    /// How many failed that were about this certificate, since the last success.
    pub failures: u32,
}

impl Failed {
    fn of(last: &LastFailure, failures: u32) -> Self {
        Self {
            names: last.names.iter().filter_map(|name| name.parse().ok()).collect(),
            issuer: last.issuer.clone(),
            error: last.text.clone(),
            at: last.at(),
            retry_at: last.retry_at(),
            failures,
        }
    }
}

impl Stored {
    fn of(record: &Record) -> Self {
        let leaf = record.leaf();
        Self {
            names: record.names.iter().filter_map(|name| name.parse().ok()).collect(),
            issuer: record.issuer.clone(),
            serial: record.serial.clone(),
            not_before: leaf.not_before,
            not_after: leaf.not_after,
            renew_at: crate::lifecycle::renew_at(leaf, record.window()),
            is_wished: record.wish().is_some(),
            failed: None,
        }
    }
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.names.iter().map(ToString::to_string).collect();
        write!(f, "{} from {}", names.join(", "), self.issuer)
    }
}

const ATTEMPTS: u32 = 8;
