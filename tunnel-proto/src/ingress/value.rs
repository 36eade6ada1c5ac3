//! A configuration before anything is known about its keys: YAML and JSON alike, with lines.

use std::{collections::HashSet, fmt};

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::error::Category;

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
    let mut values = 0;
    let mut reader = serde_json::Deserializer::from_slice(json);
    let value = Seed(&mut values).deserialize(&mut reader);
    value.and_then(|value| reader.end().map(|()| value)).map_err(|error| {
        // What is said here has its place in the text, but is no matter of JSON.
        let what = match error.classify() {
            Category::Data => error.to_string(),
            _ => format!("not JSON: {error}"),
        };
        Problems::whole(Some(error.line()), what)
    })
}

/// Reads one value of JSON, and counts it. `serde_json` itself bounds the depth, at 128.
struct Seed<'a>(&'a mut usize);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        *self.0 += 1;
        if *self.0 > limits::CONFIGURATION_VALUES {
            return Err(D::Error::custom(too_many()));
        }
        let kind = reader.deserialize_any(self)?;
        Ok(Value { kind, line: None })
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of JSON")
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Kind, E> {
        Ok(Kind::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Kind, E> {
        Ok(Kind::Number(
            serde_json::Number::from_f64(value).map_or_else(String::new, |it| it.to_string()),
        ))
    }

    fn visit_str<E>(self, value: &str) -> Result<Kind, E> {
        Ok(Kind::Text(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Kind, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Seed(&mut *self.0))? {
            list.push(item);
        }
        Ok(Kind::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Kind, A::Error> {
        let mut map = Vec::new();
        let mut seen = HashSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            // Keys are compared without case, and of two one would be ignored.
            if !seen.insert(key.to_ascii_lowercase()) {
                let what = format!("the key {} stands here twice", quote(&key));
                return Err(A::Error::custom(what));
            }
            let value = entries.next_value_seed(Seed(&mut *self.0))?;
            map.push(Entry { key, line: None, value });
        }
        Ok(Kind::Map(map))
    }
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
