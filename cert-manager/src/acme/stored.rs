//! What lies in the store, and under which names.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    acme::session::Session,
    certificate::Certificate,
    error::{Error, Kind},
    name::Name,
};

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
}

impl StoredAccount {
    pub(crate) fn of(session: &Session) -> Self {
        let key = session.key().to_pem().expose().to_owned();
        Self { v: 1, key, url: session.account().map(ToOwned::to_owned), next_key: None }
    }
}

impl Drop for StoredAccount {
    fn drop(&mut self) {
        self.key.zeroize();
        self.next_key.zeroize();
    }
}

pub(crate) fn sorted(names: &[Name]) -> Result<Vec<String>, Error> {
    let mut names: Vec<_> = names.iter().map(ToString::to_string).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return Err(Kind::NoNames.into());
    }
    Ok(names)
}

/// One object: it cannot come apart.
pub(crate) fn object(certificate: &Certificate) -> Zeroizing<String> {
    let (chain, key) = (certificate.chain_pem(), certificate.key_pem());
    let mut text = Zeroizing::new(String::with_capacity(chain.len() + key.expose().len()));
    text.push_str(&chain);
    text.push_str(key.expose());
    text
}

pub(crate) fn certificate_id(names: &[String]) -> String {
    short_hash(&names.join(","))
}

pub(crate) fn certificate_name(id: &str) -> String {
    format!("certificates/{id}.pem")
}

pub(crate) fn attempt_name(id: &str) -> String {
    format!("attempts/{id}.json")
}

pub(crate) fn account_name(directory_url: &str) -> String {
    format!("accounts/{}.json", short_hash(directory_url))
}

fn short_hash(text: &str) -> String {
    let hash = Sha256::digest(text);
    let nibbles = hash.iter().take(16).flat_map(|byte| [byte >> 4, byte & 15]);
    nibbles.filter_map(|nibble| char::from_digit(nibble.into(), 16)).collect()
}
