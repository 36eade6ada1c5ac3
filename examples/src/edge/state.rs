//! What an edge keeps on disk: its certificate authority, its session keys, its tunnels' secrets.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use cert_manager::{DirectoryStore, Expect, Opened, Origin, PrivateCa};
use otp_auth::{
    keys::{KeyRing, KeySet, RotationSchedule, SigningKey},
    mail::DirectoryOutbox,
    random::SystemRandom,
    seal::SealingKey,
    secret::{Pepper, Secret},
    session::{FileRevocations, Forgotten, Revocations},
};
use ring::rand::SecureRandom as _;
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use tracing::{info, warn};
use tunnel_proto::{Credentials, TunnelId, TunnelSecret};

use crate::output::{chain, now};

/// One directory, mode 0700, files 0600.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    store: DirectoryStore,
}

const CA_FILE: &str = "ca.pem";
const SESSION_KEYS: &str = "sessions/keys.json";
/// The only key of a state directory that was made before keys changed by themselves.
const FIRST_KEY: &str = "sessions/signing-key.pk8";
const REVOCATIONS: &str = "sessions/revocations.txt";
const STATE_KEY: &str = "sessions/state-key.bin";
const PEPPER: &str = "sessions/code-key.bin";
/// Names that DNS has records of.
const HOSTS: &str = "dns/hosts.txt";
/// Locked by each edge that is at work.
const LOCK: &str = "edge.lock";
const OUTBOX: &str = "outbox";
/// Beside the folder that it seals: whoever copies mails has no codes.
const OUTBOX_KEY: &str = "outbox-key.bin";

impl State {
    /// Opens or creates the directory.
    ///
    /// # Errors
    ///
    /// Names the directory and what the system said.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let store = DirectoryStore::open(path)
            .with_context(|| format!("can't use `{}` as state directory", path.display()))?;
        Ok(Self { path: path.to_owned(), store })
    }

    /// The certificate authority: the same one after every restart.
    ///
    /// # Errors
    ///
    /// An unreadable directory. A damaged authority is set aside and replaced, with a warning.
    pub fn certificate_authority(&self) -> anyhow::Result<PrivateCa> {
        let Opened { ca, origin, .. } = PrivateCa::open(&self.store, "Sekimori local CA", now())
            .context("can't open the certificate authority")?;
        if let Origin::Replaced { kept_at, reason } = origin {
            let kept_at = kept_at.display().to_string();
            warn!(kept_at, %reason, "the certificate authority was unreadable: a new one must be trusted");
        }
        Ok(ca)
    }

    /// Where certificates are kept over restarts: in this directory.
    pub fn certificates(&self) -> DirectoryStore {
        self.store.clone()
    }

    /// Writes the authority's certificate where people and connectors find it, and says where.
    ///
    /// Whoever reads the file meanwhile sees the old one or the new one, whole.
    ///
    /// # Errors
    ///
    /// An unwritable directory.
    pub fn publish(&self, ca: &PrivateCa) -> anyhow::Result<PathBuf> {
        let _replaced = self
            .store
            .keep(CA_FILE, ca.root_pem().as_bytes(), Expect::Any)
            .with_context(|| format!("can't write `{CA_FILE}` in the state directory"))?;
        Ok(self.path.join(CA_FILE))
    }

    /// The keys that sign sessions: those of before the restart, so that sessions go on.
    ///
    /// # Errors
    ///
    /// An unreadable directory or key.
    pub fn session_keys(&self) -> anyhow::Result<KeyRing> {
        let random = SystemRandom::new();
        let stored = self.get_or_create(SESSION_KEYS, || {
            let key = match self.store.load(FIRST_KEY)? {
                Some(pkcs8) => SigningKey::from_pkcs8(&Secret::new(pkcs8.to_vec()), &random)?,
                None => SigningKey::generate(&random)?,
            };
            Ok(KeySet::new(key, now().into()).save()?.expose().to_vec())
        })?;
        let keys = KeySet::load(&Secret::new(stored), &random).with_context(|| {
            format!("`{SESSION_KEYS}` is damaged; move it away, and everybody signs in anew")
        })?;
        Ok(KeyRing::new(keys))
    }

    /// Changes the session keys when it is time: a new one is published a day before it signs, and the
    /// old one verifies for a week after. Never ends.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves the keys as they are on disk.
    pub async fn rotate_session_keys(&self, keys: &KeyRing) -> Infallible {
        let mut hours = tokio::time::interval(Duration::from_secs(3_600));
        loop {
            hours.tick().await;
            let schedule = RotationSchedule::default();
            let draw = || SigningKey::generate(&SystemRandom::new());
            match keys.rotate(&schedule, now().into(), draw, |keys| self.keep(keys)) {
                Ok(events) => {
                    for event in events {
                        info!(?event, "a session key changed");
                    }
                }
                Err(error) => {
                    warn!(%error, "session keys could not be changed; the old ones go on");
                }
            }
        }
    }

    /// Who has logged out: also before the restart.
    ///
    /// Where that is not known any more, all sessions of before now are refused, with a warning.
    ///
    /// # Errors
    ///
    /// An unwritable directory: a log-out would end with the process.
    pub async fn revocations(&self) -> anyhow::Result<Arc<Revocations>> {
        let path = self.path.join(REVOCATIONS);
        let had_sessions = self.store.load(SESSION_KEYS).is_ok_and(|keys| keys.is_some());
        let store = FileRevocations::open(&path, now().into())
            .with_context(|| format!("can't write `{REVOCATIONS}` in the state directory"))?;
        match store.forgotten() {
            // The first start.
            Some(Forgotten::Absent) if !had_sessions => {}
            Some(reason) => {
                let file = path.display().to_string();
                warn!(
                    file,
                    reason = chain(reason),
                    "it is not known who has logged out: everybody signs in anew"
                );
            }
            None => {}
        }
        let revocations = Arc::new(Revocations::shared(Arc::new(store)));
        revocations.sync(now().into()).await?;
        Ok(revocations)
    }

    /// Writes log-outs that could not be written when they came, as soon as they can. Never ends.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves them unwritten.
    pub async fn keep_revocations(&self, revocations: &Revocations) -> Infallible {
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut is_behind = false;
        loop {
            seconds.tick().await;
            let synced = revocations.sync(now().into()).await;
            match &synced {
                Ok(()) if is_behind => info!("log-outs are kept again"),
                Err(error) if !is_behind => {
                    let error = chain(error);
                    warn!(error, "log-outs can't be kept; a restart would revive sessions");
                }
                Ok(()) | Err(_) => {}
            }
            is_behind = synced.is_err();
        }
    }

    fn keep(&self, keys: &Secret) -> Result<(), otp_auth::error::Error> {
        let put = self.store.keep(SESSION_KEYS, keys.expose(), Expect::Any);
        put.map(|_| ()).map_err(otp_auth::error::Error::store_unavailable)
    }

    /// The key that signs logins under way.
    ///
    /// # Errors
    ///
    /// An unreadable directory or key.
    pub fn state_key(&self) -> anyhow::Result<Secret> {
        let stored = self.get_or_create(STATE_KEY, || random_bytes(32))?;
        Ok(Secret::new(stored))
    }

    /// The key of flows, codes and known devices. Codes themselves are lost at a restart, but for how long a browser
    /// has been known is not.
    ///
    /// # Errors
    ///
    /// An unreadable directory or key.
    pub fn pepper(&self) -> anyhow::Result<Pepper> {
        let stored = Secret::new(self.get_or_create(PEPPER, || random_bytes(32))?);
        Pepper::new(stored).with_context(|| format!("`{PEPPER}` is damaged"))
    }

    /// Where mails lie until they are sent, and what seals them there.
    ///
    /// # Errors
    ///
    /// An unreadable directory or key.
    pub fn outbox(&self) -> anyhow::Result<(DirectoryOutbox, SealingKey)> {
        let key = Secret::new(self.get_or_create(OUTBOX_KEY, || random_bytes(32))?);
        let key = SealingKey::new(key).with_context(|| format!("`{OUTBOX_KEY}` is damaged"))?;
        let folder = DirectoryOutbox::open(self.path.join(OUTBOX))
            .with_context(|| format!("can't use `{OUTBOX}` in the state directory"))?;
        Ok((folder, key))
    }

    /// Hosts that were registered in DNS and not taken away since.
    ///
    /// # Errors
    ///
    /// An unreadable directory.
    pub fn noted_hosts(&self) -> anyhow::Result<BTreeSet<String>> {
        let stored = self.store.load(HOSTS).with_context(|| format!("can't read `{HOSTS}`"))?;
        let text = stored.map(|text| String::from_utf8_lossy(&text).into_owned());
        Ok(text.unwrap_or_default().lines().map(str::to_owned).collect())
    }

    /// Notes that a host is about to be registered in DNS, or was taken away.
    ///
    /// # Errors
    ///
    /// An unreadable or unwritable directory.
    pub fn note_host(&self, host: &str, is_registered: bool) -> anyhow::Result<()> {
        let mut hosts = self.noted_hosts()?;
        let is_changed =
            if is_registered { hosts.insert(host.to_owned()) } else { hosts.remove(host) };
        if is_changed {
            let text: String = hosts.iter().flat_map(|host| [host, "\n"]).collect();
            let _replaced = self
                .store
                .keep(HOSTS, text.as_bytes(), Expect::Any)
                .with_context(|| format!("can't write `{HOSTS}`"))?;
        }
        Ok(())
    }

    /// Says to other programs that an edge is at work here, until it is dropped.
    ///
    /// # Errors
    ///
    /// An unwritable directory.
    pub fn at_work(&self) -> anyhow::Result<File> {
        let file = self.lock_file()?;
        flock(&file, FlockOperation::LockShared).context("can't lock the state directory")?;
        Ok(file)
    }

    /// Whether an edge is at work here.
    ///
    /// # Errors
    ///
    /// An unwritable directory.
    pub fn has_edge_at_work(&self) -> anyhow::Result<bool> {
        match flock(&self.lock_file()?, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(false),
            Err(Errno::WOULDBLOCK) => Ok(true),
            Err(error) => Err(error).context("can't lock the state directory"),
        }
    }

    fn lock_file(&self) -> anyhow::Result<File> {
        let path = self.path.join(LOCK);
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("can't open `{}`", path.display()))
    }

    /// Draws credentials for a new tunnel and keeps them.
    ///
    /// # Errors
    ///
    /// A name that is taken or can't be a file's.
    pub fn create_tunnel(&self, name: &str) -> anyhow::Result<Credentials> {
        let key = tunnel_key(name)?;
        let id = <[u8; 16]>::try_from(random_bytes(16)?.as_slice()).unwrap_or_default();
        let secret = TunnelSecret::new(random_bytes(32)?);
        let credentials = Credentials::new("self-hosted", TunnelId::from_random_bytes(id), secret);
        match self.store.keep(&key, credentials.to_json().as_bytes(), Expect::Absent)? {
            cert_manager::Put::Stored => Ok(credentials),
            cert_manager::Put::Conflict => {
                bail!(
                    "a tunnel `{name}` exists already; `edge tunnel token {name}` prints its token"
                )
            }
        }
    }

    /// The credentials of a tunnel.
    ///
    /// # Errors
    ///
    /// No such tunnel, or a damaged file.
    pub fn tunnel(&self, name: &str) -> anyhow::Result<Credentials> {
        let key = tunnel_key(name)?;
        let Some(stored) = self.store.load(&key)? else {
            bail!("there is no tunnel `{name}` yet; create it: edge tunnel create {name}");
        };
        let text = std::str::from_utf8(&stored).unwrap_or_default();
        Credentials::from_json(text).with_context(|| format!("`{key}` in the state directory"))
    }

    fn get_or_create(
        &self,
        name: &str,
        create: impl FnOnce() -> anyhow::Result<Vec<u8>>,
    ) -> anyhow::Result<Vec<u8>> {
        let load = || self.store.load(name).with_context(|| format!("can't read `{name}`"));
        if let Some(stored) = load()? {
            return Ok(stored.to_vec());
        }
        // Another process may be faster; then its value counts.
        let _faster = self
            .store
            .keep(name, &create()?, Expect::Absent)
            .with_context(|| format!("can't write `{name}`"))?;
        load()?.map(|stored| stored.to_vec()).with_context(|| format!("`{name}` vanished"))
    }
}

fn tunnel_key(name: &str) -> anyhow::Result<String> {
    let is_plain = (1..=63).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !is_plain {
        let name = name.escape_debug();
        bail!("`{name}` is not a tunnel name; use up to 63 of a-z, 0-9 and `-`");
    }
    Ok(format!("tunnels/{name}.json"))
}

fn random_bytes(count: usize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    ring::rand::SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| anyhow::anyhow!("the system has no randomness to give"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use otp_auth::timestamp::Timestamp;

    use super::*;

    #[test]
    fn a_restart_finds_what_was_there() {
        let directory = tempfile::tempdir().unwrap();
        let open = || State::open(directory.path()).unwrap();
        let tunnel = open().create_tunnel("home").unwrap();
        assert_eq!(open().tunnel("home").unwrap(), tunnel);
        assert!(open().create_tunnel("home").unwrap_err().to_string().contains("exists already"));
        assert!(open().tunnel("away").unwrap_err().to_string().contains("edge tunnel create away"));
        assert!(open().create_tunnel("../x").is_err());
        let keys = open().session_keys().unwrap();
        assert_eq!(keys.jwks(), open().session_keys().unwrap().jwks());
        let day = |number: u64| Timestamp::from(now()).plus(Duration::from_secs(number * 86_400));
        let draw = || SigningKey::generate(&SystemRandom::new());
        let schedule = RotationSchedule::default();
        let events = keys.rotate(&schedule, day(41), draw, |keys| open().keep(keys)).unwrap();
        assert_eq!(events.len(), 1, "the next key is published");
        assert_eq!(keys.jwks(), open().session_keys().unwrap().jwks());
        assert_eq!(
            open().certificate_authority().unwrap().root_pem(),
            open().certificate_authority().unwrap().root_pem()
        );
    }
}
