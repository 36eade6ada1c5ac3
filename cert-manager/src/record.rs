//! A certificate as it lies in a store: one object, so that key, chain and what is known about them cannot come apart.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use rustls::crypto::CryptoProvider;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    certificate::Certificate,
    digest::sha256,
    error::{Error, Kind},
    lifecycle::{Leaf, RenewalInfo, RenewalWindow, salt_of_serial},
    name::Name,
    storage::Key,
};

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    v: u8,
    /// What was wanted, sorted.
    pub(crate) names: Vec<String>,
    /// Which issuer it came from.
    pub(crate) issuer: String,
    /// Hexadecimal.
    pub(crate) serial: String,
    not_before: u64,
    not_after: u64,
    /// When its authority wishes it to be renewed, in milliseconds of Unix time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    window: Option<(u64, u64)>,
    /// When to ask for that again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ask_again_at: Option<u64>,
    /// What a person wants done with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wish: Option<Wish>,
    /// PEM, leaf first.
    chain: String,
    /// PEM.
    key: String,
    /// What a later version of this library noted: it stays.
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// What a person wants done with a certificate, whichever node does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Wish {
    /// Renew it now.
    Renew,
    /// It is or will be taken back: replace it, whatever it takes.
    Replace,
}

impl Record {
    pub(crate) fn new(certificate: &Certificate, names: &[String], issuer: &str) -> Self {
        Self::of(
            (names, issuer, &certificate.serial().to_string()),
            (certificate.not_before(), certificate.not_after()),
            certificate.chain_pem(),
            certificate.key_pem().expose().to_owned(),
        )
    }

    /// From facts that are known already.
    pub(crate) fn of(
        (names, issuer, serial): (&[String], &str, &str),
        (not_before, not_after): (SystemTime, SystemTime),
        chain: String,
        key: String,
    ) -> Self {
        let (names, issuer, serial) = (names.to_vec(), issuer.to_owned(), serial.to_owned());
        let [not_before, not_after] = [not_before, not_after].map(|time| millis(time) / 1000);
        Self {
            v: 1,
            names,
            issuer,
            serial,
            not_before,
            not_after,
            window: None,
            ask_again_at: None,
            wish: None,
            chain,
            key,
            other: Map::new(),
        }
    }

    /// Reads an object. `None` if it is damaged; an error if a later version of this library wrote it, so that nothing can be
    /// made of it. What can be served is returned, whichever version wrote it.
    pub(crate) fn read(key: &Key, value: &[u8]) -> Result<Option<Self>, Error> {
        #[derive(Deserialize)]
        struct Form {
            v: u8,
        }
        match serde_json::from_slice::<Self>(value) {
            Ok(record) if record.v > 0 => Ok(Some(record)),
            _ => match serde_json::from_slice::<Form>(value) {
                Ok(form) if form.v > 1 => Err(Kind::NewerForm(key.to_string()).into()),
                _ => Ok(None),
            },
        }
    }

    /// Whether a later version of this library wrote it, which alone knows how to change it. Then it is served, and left as it is.
    pub(crate) fn is_newer(&self) -> bool {
        self.v > 1
    }

    pub(crate) fn write(&self) -> Zeroizing<Vec<u8>> {
        // Sized at once, so that no half-written copy of a key stays behind after growing.
        let mut text = Zeroizing::new(Vec::with_capacity(2 * (self.chain.len() + self.key.len())));
        // Texts and numbers always have a form.
        let _ = serde_json::to_writer(&mut *text, self);
        text
    }

    /// What a handshake needs.
    pub(crate) fn certificate(&self, provider: &CryptoProvider) -> Result<Certificate, Error> {
        Certificate::from_pem_with_provider(&self.chain, &self.key, provider)
    }

    /// Whether what it says of the leaf is what the leaf says of itself.
    pub(crate) fn check(&self, certificate: &Certificate) -> Result<(), Error> {
        let [not_before, not_after] =
            [certificate.not_before(), certificate.not_after()].map(|time| millis(time) / 1000);
        let is_same = self.serial == certificate.serial().to_string()
            && (self.not_before, self.not_after) == (not_before, not_after);
        if is_same { Ok(()) } else { Err(Kind::WrongRecord.into()) }
    }

    pub(crate) fn leaf(&self) -> Leaf {
        let bytes = (0..self.serial.len() / 2)
            .filter_map(|at| u8::from_str_radix(self.serial.get(2 * at..2 * at + 2)?, 16).ok());
        Leaf {
            not_before: from_millis(self.not_before.saturating_mul(1000)),
            not_after: from_millis(self.not_after.saturating_mul(1000)),
            salt: salt_of_serial(bytes),
        }
    }

    pub(crate) fn window(&self) -> Option<RenewalWindow> {
        let (start, end) = self.window?;
        Some(RenewalWindow { start: from_millis(start), end: from_millis(end) })
    }

    pub(crate) fn ask_again_at(&self) -> Option<SystemTime> {
        self.ask_again_at.map(from_millis)
    }

    /// Notes what the authority wishes.
    pub(crate) fn with_renewal_info(&self, info: &RenewalInfo, now: SystemTime) -> Self {
        let mut changed = self.clone();
        // An authority in trouble has not changed its mind.
        let window = info.window.map(|window| (millis(window.start), millis(window.end)));
        changed.window = window.or(changed.window);
        changed.ask_again_at = Some(millis(now + info.ask_again_after));
        changed
    }

    pub(crate) fn wish(&self) -> Option<Wish> {
        self.wish
    }

    pub(crate) fn with_wish(&self, wish: Wish) -> Self {
        let mut changed = self.clone();
        changed.wish = Some(wish);
        changed
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("names", &self.names)
            .field("issuer", &self.issuer)
            .field("serial", &self.serial)
            .finish_non_exhaustive()
    }
}

/// The texts of names, sorted, each once.
pub(crate) fn sorted(names: &[Name]) -> Result<Vec<String>, Error> {
    let mut names: Vec<_> = names.iter().map(ToString::to_string).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return Err(Kind::NoNames.into());
    }
    Ok(names)
}

/// Under which the certificate for these names lies.
pub(crate) fn certificate_key(names: &[String]) -> Result<Key, Error> {
    format!("certificates/{}.json", short_hash(&names.join(","))).parse()
}

/// 32 hexadecimal characters.
pub(crate) fn short_hash(text: &str) -> String {
    let hash = sha256(&[text.as_bytes()]);
    let nibbles = hash.iter().take(16).flat_map(|byte| [byte >> 4, byte & 15]);
    nibbles.filter_map(|nibble| char::from_digit(nibble.into(), 16)).collect()
}

pub(crate) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn from_millis(millis: u64) -> SystemTime {
    // Far beyond what X.509 can say, the system's own limit may be reached.
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_millis(millis.min(MAX_MILLIS)))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The year 9999.
const MAX_MILLIS: u64 = 253_402_300_799_000;
