use std::{fmt, str::FromStr, sync::Arc};

use crate::{
    error::{Error, Kind},
    storage::Version,
};

/// The name of an object: components of `[a-z0-9._-]` that `/` separates, each up to 255 bytes and without a dot in front,
/// 512 bytes in all. Safe as a file name, as a Redis key and in a log.
///
/// ```
/// use cert_manager::storage::Key;
///
/// let key: Key = "certificates/5f1d".parse()?;
/// assert_eq!(key.as_str(), "certificates/5f1d");
/// assert!("certificates/../ca".parse::<Key>().is_err());
/// # Ok::<(), cert_manager::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the object lies in a folder or below it; everything lies below the empty one.
    pub fn is_below(&self, folder: &str) -> bool {
        let rest = self.0.strip_prefix(folder);
        folder.is_empty() || rest.is_some_and(|rest| rest.starts_with('/'))
    }

    /// Where it lies once it is set aside.
    pub(crate) fn set_aside(&self, version: Version) -> Self {
        Self(format!("{QUARANTINE}/{}.{version}", self.0.replace('/', "__")).into())
    }

    pub(crate) fn is_set_aside(&self) -> bool {
        self.is_below(QUARANTINE)
    }
}

impl FromStr for Key {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let is_component = |component: &str| {
            (1..=255).contains(&component.len())
                && !component.starts_with('.')
                && component
                    .bytes()
                    .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
        };
        if text.len() > MAX_KEY_BYTES || !text.split('/').all(is_component) {
            return Err(Kind::ObjectName(text.to_owned()).into());
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The folder of what cannot be used.
pub(crate) const QUARANTINE: &str = "quarantine";
const MAX_KEY_BYTES: usize = 512;
