use std::time::{Duration, SystemTime};

use crate::{
    error::StorageError,
    storage::{Key, Storage, Version},
};

/// The right to do one piece of work alone for a while, among all who share a [`Storage`].
///
/// Time is the callers' wall clocks, which may differ by [`Lease::SKEW`]: the holder stops at the end of its lease, others
/// take it over only so much later. A clock that differs by more breaks no data, because of the token: the version of the
/// lease's object, which grows with each holder and each renewal. Whoever takes over work writes its object anew first; what
/// a late holder then writes expects an older version, and is refused.
///
/// A lease that ends further in the future than any may, counts as ended: no wrong clock of another machine blocks work.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use std::time::{Duration, SystemTime};
/// use cert_manager::storage::{Lease, MemoryStore, Taken};
///
/// let store = MemoryStore::new();
/// let (key, life) = ("leases/example".parse()?, Duration::from_secs(60));
/// let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
///
/// let Taken::Held(mut lease) = Lease::take(&store, &key, "node-1", life, now).await? else { panic!() };
/// assert!(matches!(Lease::take(&store, &key, "node-2", life, now).await?, Taken::Busy { .. }));
/// let later = now + life + Lease::SKEW + Duration::from_secs(1);
/// assert!(!lease.is_held(later));
/// assert!(matches!(Lease::take(&store, &key, "node-2", life, later).await?, Taken::Held(_)));
/// assert!(lease.renew(&store, life, later).await.unwrap_err().is_conflict());
/// # Ok::<(), cert_manager::Error>(()) }).unwrap();
/// ```
#[derive(Debug)]
#[must_use = "a lease that is not released blocks the work until it ends"]
pub struct Lease {
    key: Key,
    holder: String,
    version: Version,
    until: SystemTime,
}

/// Whether a lease was to be had.
#[derive(Debug)]
#[must_use]
pub enum Taken {
    /// It is the caller's.
    Held(Lease),
    /// Somebody else has it.
    Busy {
        /// Who.
        holder: String,
        /// When to try again: then it has ended, unless it was renewed.
        until: SystemTime,
    },
}

impl Lease {
    /// How far the clocks of those who share a store may differ: 5 seconds.
    pub const SKEW: Duration = Duration::from_secs(5);

    /// The longest life: one hour.
    pub const LONGEST: Duration = Duration::from_secs(3600);

    /// Takes a lease for `life`, at most [`Lease::LONGEST`], if nobody has it. `holder` is a word for logs, of up to 64 visible
    /// characters; it need not be unique.
    ///
    /// # Errors
    ///
    /// What the storage says, other than a conflict: that is [`Taken::Busy`].
    pub async fn take(
        storage: &(impl Storage + ?Sized),
        key: &Key,
        holder: &str,
        life: Duration,
        now: SystemTime,
    ) -> Result<Taken, StorageError> {
        let holder: String = holder.chars().filter(char::is_ascii_graphic).take(64).collect();
        let until = now + life.min(Self::LONGEST);
        let found = match storage.get(key).await {
            Ok(found) => found,
            Err(StorageError::Damaged { version, .. }) => {
                storage.set_aside(key, version).await?;
                None
            }
            Err(error) => return Err(error),
        };
        // What cannot be read binds nobody.
        if let Some((other, ends)) = found.as_ref().and_then(|entry| read(&entry.value))
            && now <= ends + Self::SKEW
            && ends <= now + Self::LONGEST + Self::SKEW
        {
            return Ok(Taken::Busy { holder: other, until: ends + Self::SKEW });
        }
        let expected = found.map(|entry| entry.version);
        match storage.put(key, write(&holder, until).as_bytes(), expected).await {
            Ok(version) => Ok(Taken::Held(Self { key: key.clone(), holder, version, until })),
            // Another was faster, and has not said for how long.
            Err(StorageError::Conflict) => {
                Ok(Taken::Busy { holder: "another".to_owned(), until: now + Self::SKEW })
            }
            Err(error) => Err(error),
        }
    }

    /// The fencing token: greater than that of each earlier holder.
    pub fn token(&self) -> Version {
        self.version
    }

    /// When it ends.
    pub fn until(&self) -> SystemTime {
        self.until
    }

    /// Whether the holder may still act.
    pub fn is_held(&self, now: SystemTime) -> bool {
        now < self.until
    }

    /// Makes it last for `life` from now on.
    ///
    /// # Errors
    ///
    /// [`StorageError::Conflict`] if another has taken it over: stop the work. After other errors it is held until its end.
    pub async fn renew(
        &mut self,
        storage: &(impl Storage + ?Sized),
        life: Duration,
        now: SystemTime,
    ) -> Result<(), StorageError> {
        let until = now + life.min(Self::LONGEST);
        let value = write(&self.holder, until);
        self.version = storage.put(&self.key, value.as_bytes(), Some(self.version)).await?;
        self.until = until;
        Ok(())
    }

    /// Gives it back before it ends. That it is another's already is no error.
    ///
    /// # Errors
    ///
    /// What the storage says; then it ends by itself.
    pub async fn release(self, storage: &(impl Storage + ?Sized)) -> Result<(), StorageError> {
        match storage.delete(&self.key, self.version).await {
            Err(StorageError::Conflict) => Ok(()),
            done => done,
        }
    }
}

/// `1 MILLISECONDS HOLDER`: a form, an end in Unix time, a word.
fn write(holder: &str, until: SystemTime) -> String {
    let millis = until.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    format!("1 {millis} {holder}")
}

fn read(value: &[u8]) -> Option<(String, SystemTime)> {
    let mut words = str::from_utf8(value).ok()?.split(' ');
    let ("1", millis, holder) = (words.next()?, words.next()?, words.next()?) else {
        return None;
    };
    let until = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis.parse().ok()?))?;
    Some((holder.to_owned(), until))
}
