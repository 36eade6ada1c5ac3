//! What a configuration file says to the program itself.

use std::{collections::BTreeMap, fmt};

use serde_json::{Map as JsonMap, Value as Json};

/// Keys of the program, each with its values: one, or a list's.
///
/// `Debug` shows the values that cloudflared tells the edge too, and of all others (`token` among them) that
/// they are there.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Settings(BTreeMap<String, Vec<String>>);

impl Settings {
    /// A key's first value.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.first().map(String::as_str)
    }

    /// A key's values.
    pub fn all(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// Goes through the keys that are set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.iter().map(|(key, values)| (key.as_str(), values.as_slice()))
    }

    /// Sets a key.
    pub fn insert(&mut self, key: impl Into<String>, values: Vec<String>) {
        self.0.insert(key.into(), values);
    }

    /// Those that cloudflared tells the edge: none of them is secret.
    pub(super) fn to_json(&self) -> Json {
        let told = self.0.iter().filter(|(key, _)| HARMLESS.contains(&key.as_str()));
        let map: JsonMap<_, _> =
            told.map(|(key, values)| (key.clone(), values.join(",").into())).collect();
        Json::Object(map)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.iter().map(|(key, values)| {
            let is_harmless = HARMLESS.contains(&key.as_str());
            (key, if is_harmless { values.join(",") } else { "..".into() })
        });
        f.debug_map().entries(shown).finish()
    }
}

/// Keys whose values anybody may see: cloudflared reports them to the edge.
const HARMLESS: [&str; 11] = [
    "autoupdate-freq",
    "edge-bind-address",
    "edge-ip-version",
    "loglevel",
    "max-active-flows",
    "metrics",
    "metrics-update-freq",
    "no-autoupdate",
    "protocol",
    "retries",
    "transport-loglevel",
];
