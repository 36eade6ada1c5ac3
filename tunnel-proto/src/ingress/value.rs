//! A configuration before anything is known about its keys: YAML and JSON alike, with lines.

use serde_json::Value as Json;

use super::problem::Problems;
use crate::limits;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Value {
    pub(super) kind: Kind,
    /// From 1; none in JSON.
    pub(super) line: Option<usize>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    /// JSON's number as it was written.
    Number(String),
    /// A quoted text.
    Text(String),
    /// YAML without quotes: its reader decides whether `5` is a number or a text.
    Plain(String),
    List(Vec<Value>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) line: Option<usize>,
    pub(super) value: Value,
}

impl Value {
    pub(super) const fn null() -> Self {
        Self { kind: Kind::Null, line: None }
    }

    /// What it is, for a message.
    pub(super) fn describe(&self) -> String {
        match &self.kind {
            Kind::Null => "nothing".into(),
            Kind::Bool(value) => format!("`{value}`"),
            Kind::Number(text) | Kind::Text(text) | Kind::Plain(text) => quote(text),
            Kind::List(_) => "a list".into(),
            Kind::Map(_) => "a map".into(),
        }
    }

    pub(super) fn is_null(&self) -> bool {
        match &self.kind {
            Kind::Null => true,
            Kind::Plain(text) => matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"),
            _ => false,
        }
    }
}

/// Reads a pushed configuration.
pub(super) fn from_json(json: &[u8]) -> Result<Value, Problems> {
    if json.len() > limits::CONFIGURATION_BYTES {
        return Err(Problems::whole(None, too_long()));
    }
    let json: Json = serde_json::from_slice(json)
        .map_err(|error| Problems::whole(Some(error.line()), format!("not JSON: {error}")))?;
    let mut values = 0;
    convert(json, &mut values).ok_or_else(|| Problems::whole(None, too_many()))
}

/// `serde_json` itself bounds the depth, at 128.
fn convert(json: Json, values: &mut usize) -> Option<Value> {
    *values += 1;
    if *values > limits::CONFIGURATION_VALUES {
        return None;
    }
    let kind = match json {
        Json::Null => Kind::Null,
        Json::Bool(value) => Kind::Bool(value),
        Json::Number(number) => Kind::Number(number.to_string()),
        Json::String(text) => Kind::Text(text),
        Json::Array(items) => {
            Kind::List(items.into_iter().map(|item| convert(item, values)).collect::<Option<_>>()?)
        }
        Json::Object(entries) => {
            let entry =
                |(key, value)| Some(Entry { key, line: None, value: convert(value, values)? });
            Kind::Map(entries.into_iter().map(entry).collect::<Option<_>>()?)
        }
    };
    Some(Value { kind, line: None })
}

pub(super) fn too_long() -> String {
    format!("longer than {} bytes (CONFIGURATION_BYTES)", limits::CONFIGURATION_BYTES)
}

pub(super) fn too_many() -> String {
    format!("more than {} values (CONFIGURATION_VALUES)", limits::CONFIGURATION_VALUES)
}

/// Somebody's text inside a message, shortened.
pub(super) fn quote(text: &str) -> String {
    let mut shown: String = text.chars().take(limits::QUOTED_CHARS).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("`{}`", shown.escape_debug())
}
