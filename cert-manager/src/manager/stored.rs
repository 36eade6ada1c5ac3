//! What nodes tell each other through the store, beside certificates: failures, holds and changes.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    error::{Error, StorageError},
    lifecycle::{Failures, is_to_be_waited_for},
    record::{from_millis, millis},
    storage::{Entry, Key, Storage, Version},
};

/// How attempts for one certificate failed, by issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FailureLog {
    issuers: BTreeMap<String, Failed>,
    /// For people: what failed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<LastFailure>,
}

/// What failed last, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastFailure {
    pub(crate) names: Vec<String>,
    pub(crate) issuer: String,
    pub(crate) text: String,
    at: u64,
    retry_at: u64,
}

impl LastFailure {
    pub(crate) fn at(&self) -> SystemTime {
        from_millis(self.at)
    }

    pub(crate) fn retry_at(&self) -> SystemTime {
        from_millis(self.retry_at)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Failed {
    count: u32,
    last: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_before: Option<u64>,
    #[serde(default)]
    is_certain: bool,
}

impl FailureLog {
    pub(crate) fn of(&self, issuer: &str) -> Failures {
        self.issuers.get(issuer).map_or_else(Failures::default, |failed| Failures {
            count: failed.count,
            last: Some(from_millis(failed.last)),
            not_before: failed.not_before.map(from_millis),
            is_certain: failed.is_certain,
        })
    }

    pub(crate) fn set(&mut self, issuer: &str, failures: Failures) {
        let failed = Failed {
            count: failures.count,
            last: failures.last.map_or(0, millis),
            not_before: failures.not_before.map(millis),
            is_certain: failures.is_certain,
        };
        self.issuers.insert(issuer.to_owned(), failed);
    }

    pub(crate) fn count(&self) -> u32 {
        self.issuers.values().map(|failed| failed.count).sum()
    }

    /// Somebody has changed something: pauses of our own begin anew. What authorities asked for stays.
    pub(crate) fn forgive(&mut self) {
        for failed in self.issuers.values_mut() {
            *failed = Failed { not_before: failed.not_before, ..Failed::default() };
        }
    }

    /// Notes in words what failed, and when it is tried again.
    pub(crate) fn note(
        &mut self,
        names: &[String],
        issuer: &str,
        text: &str,
        (at, retry_at): (SystemTime, SystemTime),
    ) {
        self.last = Some(LastFailure {
            names: names.to_vec(),
            issuer: issuer.to_owned(),
            text: text.chars().take(LONGEST_TEXT).collect(),
            at: millis(at),
            retry_at: millis(retry_at),
        });
    }

    pub(crate) fn last(&self) -> Option<&LastFailure> {
        self.last.as_ref()
    }
}

/// An issuer that nobody is to ask for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hold {
    until: u64,
    since: u64,
    count: u32,
}

impl Hold {
    /// One more failure that is not about a certificate. `not_before` is what the issuer asked for; else the pause doubles from
    /// one second to five minutes.
    pub(crate) fn after(
        before: Option<Self>,
        now: SystemTime,
        not_before: Option<SystemTime>,
    ) -> Self {
        // One that ended long ago has nothing to do with this failure; one that a wrong clock noted never did.
        let before = before.filter(|hold| {
            let until = from_millis(hold.until);
            until + FORGOTTEN > now && (until <= now || is_to_be_waited_for(until, now))
        });
        let count = before.map_or(0, |hold| hold.count).saturating_add(1);
        let pause = FIRST_PAUSE * 2_u32.saturating_pow(count.min(16) - 1);
        let own = now + pause.min(LONGEST_PAUSE);
        let until = not_before.map_or(own, |asked| asked.max(own));
        // What another node was told holds as well.
        let until = before.map_or(until, |hold| until.max(from_millis(hold.until)));
        Self { until: millis(until), since: before.map_or(millis(now), |hold| hold.since), count }
    }

    pub(crate) fn until(&self) -> SystemTime {
        from_millis(self.until)
    }

    pub(crate) fn since(&self) -> SystemTime {
        from_millis(self.since)
    }
}

/// Which certificates were written last, so that nodes need not read all of them to see what others did.
///
/// As text: how many there were in all, then one line for each of the last, newest at the end: its key and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Changes(String);

impl Changes {
    fn none() -> Self {
        Self("0\n".to_owned())
    }

    /// Reads a stored value; what makes no sense is as if there had been none.
    pub(crate) fn of(value: &[u8]) -> Self {
        let text = str::from_utf8(value).ok().map(|text| Self(text.to_owned()));
        text.filter(|it| it.0.split('\n').next().is_some_and(|it| it.parse::<u64>().is_ok()))
            .unwrap_or_else(Self::none)
    }

    /// How many there were.
    pub(crate) fn count(&self) -> u64 {
        self.0.split('\n').next().and_then(|count| count.parse().ok()).unwrap_or_default()
    }

    fn and(&self, key: &Key, version: Version) -> Self {
        let (_, mut last) = self.0.split_once('\n').unwrap_or_default();
        if last.bytes().filter(|byte| *byte == b'\n').count() >= REMEMBERED {
            last = last.split_once('\n').unwrap_or_default().1;
        }
        Self(format!("{}\n{last}{key} {version}\n", self.count() + 1))
    }

    /// Those since a count, newest first; nothing if they are too many to tell.
    pub(crate) fn since(&self, count: u64) -> Option<Vec<(Key, Version)>> {
        let new = usize::try_from(self.count().checked_sub(count)?).ok()?;
        let (_, last) = self.0.split_once('\n')?;
        let mut changes = Vec::new();
        for line in last.lines().rev().take(new) {
            let (key, version) = line.split_once(' ')?;
            changes.push((key.parse().ok()?, Version::new(version.parse().ok()?)));
        }
        (changes.len() == new).then_some(changes)
    }
}

/// Reads which certificates were written last.
pub(crate) async fn read_changes(
    storage: &(impl Storage + ?Sized),
) -> Result<(Changes, Option<Version>), Error> {
    let key = changes_key()?;
    match storage.get(&key).await {
        Ok(None) => Ok((Changes::none(), None)),
        Ok(Some(entry)) => Ok((Changes::of(&entry.value), Some(entry.version))),
        Err(StorageError::Damaged { version, .. }) => {
            storage.set_aside(&key, version).await?;
            Ok((Changes::none(), None))
        }
        Err(error) => Err(error.into()),
    }
}

/// Reads an object. One that cannot be read is moved aside: none of those here is worth more than a repeated request.
pub(crate) async fn read<T: DeserializeOwned>(
    storage: &(impl Storage + ?Sized),
    key: &Key,
) -> Result<Option<(T, Version)>, Error> {
    let damaged = match storage.get(key).await {
        Ok(None) => return Ok(None),
        Ok(Some(Entry { value, version })) => match serde_json::from_slice(&value) {
            Ok(object) => return Ok(Some((object, version))),
            Err(_) => version,
        },
        Err(StorageError::Damaged { version, .. }) => version,
        Err(error) => return Err(error.into()),
    };
    let kept_at = storage.set_aside(key, damaged).await?;
    tracing::warn!(%key, kept_at, "a stored object cannot be used");
    Ok(None)
}

pub(crate) async fn write(
    storage: &(impl Storage + ?Sized),
    key: &Key,
    object: &impl Serialize,
    expected: Option<Version>,
) -> Result<Version, StorageError> {
    // Texts and numbers always have a form.
    let text = serde_json::to_vec(object).unwrap_or_default();
    storage.put(key, &text, expected).await
}

/// Tells other nodes that a certificate was written. They find out later all the same.
pub(crate) async fn note_change(
    storage: &(impl Storage + ?Sized),
    key: &Key,
    written: Version,
) -> Result<(), Error> {
    for _ in 0..NOTE_ATTEMPTS {
        let (changes, version) = read_changes(storage).await?;
        let changes = changes.and(key, written).0;
        match storage.put(&changes_key()?, changes.as_bytes(), version).await {
            Err(StorageError::Conflict) => {}
            done => return Ok(done.map(drop)?),
        }
    }
    Ok(())
}

fn changes_key() -> Result<Key, Error> {
    "changes".parse()
}

/// Certificates that were written last.
const REMEMBERED: usize = 128;
/// Authorities may say much: in characters.
const LONGEST_TEXT: usize = 1000;
const NOTE_ATTEMPTS: u32 = 16;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// A hold counts as one with the next if they are no further apart.
const FORGOTTEN: Duration = Duration::from_secs(1800);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_five_minutes_and_never_undercut_what_was_asked() {
        let now = from_millis(1_800_000_000_000);
        let seconds = |hold: Hold| hold.until().duration_since(now).unwrap().as_secs();
        let mut hold = None;
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let next = Hold::after(hold, now, None);
            pauses.push(seconds(next));
            hold = Some(next);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!(hold.unwrap().since(), now);
        let asked = Hold::after(None, now, Some(now + Duration::from_secs(7200)));
        assert_eq!(seconds(asked), 7200);
        let after = Hold::after(Some(asked), now, None);
        assert_eq!(seconds(after), 7200, "a shorter pause does not undo a longer one");
        let much_later = now + Duration::from_secs(86_400);
        let anew = Hold::after(Some(asked), much_later, None);
        assert_eq!((anew.since(), anew.count), (much_later, 1));
    }

    #[test]
    fn changes_are_told_as_far_as_they_are_remembered() {
        let key = |number: u64| format!("certificates/{number}").parse::<Key>().unwrap();
        let changes =
            (0..300).fold(Changes::none(), |changes, at| changes.and(&key(at), Version::new(at)));
        assert_eq!(changes.count(), 300);
        assert_eq!(changes.since(300), Some(Vec::new()));
        let last = [299, 298].map(|at| (key(at), Version::new(at)));
        assert_eq!(changes.since(298), Some(last.to_vec()));
        assert_eq!(changes.since(172).unwrap().len(), 128);
        assert_eq!(changes.since(171), None, "too many: read all");
        assert_eq!(changes.since(301), None, "another store");
        for broken in ["", "many\n", "\u{0}"] {
            assert_eq!(Changes::of(broken.as_bytes()), Changes::none(), "{broken:?}");
        }
        assert_eq!(Changes::of(b"1\nno version\n").since(0), None, "read all");
    }
}
