//! Values of self-describing formats, as they came.

use std::fmt;

use serde::{
    Serialize, Serializer,
    de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor},
    ser::{SerializeMap, SerializeSeq},
};

use crate::{
    error::{Error, Kind},
    limits,
};

/// A value of a self-describing format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Integer(i64),
    /// A number that no field of ours can hold, as the bits of a float.
    OtherNumber(u64),
    String(String),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

/// Fields that the crate carries from import to export without reading them: looks, launcher and
/// cookie settings, and what a lenient import did not understand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Carried(Vec<(String, Node)>);

impl Node {
    /// Parses a JSON text.
    pub(crate) fn from_json(text: &[u8]) -> Result<Self, Error> {
        if text.len() > limits::MAX_DOCUMENT_BYTES {
            return Err(Kind::Syntax("it is longer than 1 GB".to_owned()).into());
        }
        serde_json::from_slice(text).map_err(|error| Kind::Syntax(error.to_string()).into())
    }

    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) | Self::OtherNumber(_) => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }

    /// Reports whether the value asks for nothing: null, false, or empty.
    pub(crate) fn is_inert(&self) -> bool {
        match self {
            Self::Null | Self::Bool(false) => true,
            Self::Array(elements) => elements.is_empty(),
            Self::Object(members) => members.iter().all(|(_, node)| node.is_inert()),
            Self::String(text) => text.is_empty(),
            Self::Bool(true) | Self::Integer(_) | Self::OtherNumber(_) => false,
        }
    }
}

impl Carried {
    /// Returns the names of the fields, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Reports whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the value of a field as JSON text.
    pub fn to_json(&self, name: &str) -> Option<String> {
        let (_, node) = self.0.iter().find(|(known, _)| known == name)?;
        serde_json::to_string(node).ok()
    }

    pub(crate) fn push(&mut self, name: &str, node: &Node) {
        self.0.push((name.to_owned(), node.clone()));
    }

    /// The object that consists of these fields.
    pub(crate) fn to_node(&self) -> Node {
        Node::Object(self.0.clone())
    }

    /// Writes the fields into the object that carries them.
    pub(crate) fn write<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        self.0.iter().try_for_each(|(name, node)| map.serialize_entry(name, node))
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Integer(value) => serializer.serialize_i64(*value),
            Self::OtherNumber(bits) => serializer.serialize_f64(f64::from_bits(*bits)),
            Self::String(text) => serializer.serialize_str(text),
            Self::Array(elements) => {
                let mut seq = serializer.serialize_seq(Some(elements.len()))?;
                elements.iter().try_for_each(|element| seq.serialize_element(element))?;
                seq.end()
            }
            Self::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                members.iter().try_for_each(|(name, node)| map.serialize_entry(name, node))?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        AtDepth(0).deserialize(deserializer)
    }
}

/// Reads a value that stands this deep in the document.
#[derive(Clone, Copy)]
struct AtDepth(usize);

impl AtDepth {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        if self.0 == limits::MAX_DOCUMENT_DEPTH {
            return Err(E::custom(too_large("the depth", limits::MAX_DOCUMENT_DEPTH)));
        }
        Ok(Self(self.0 + 1))
    }
}

impl<'de> DeserializeSeed<'de> for AtDepth {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AtDepth {
    type Value = Node;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a policy document")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Integer(value))
    }

    #[expect(clippy::cast_precision_loss, reason = "no field of ours can hold such a number")]
    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        let other = || Node::OtherNumber((value as f64).to_bits());
        Ok(i64::try_from(value).map_or_else(|_| other(), Node::Integer))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        Ok(Node::OtherNumber(value.to_bits()))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Node, E> {
        self.visit_string(value.to_owned())
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Node, E> {
        if value.len() > limits::MAX_STRING_BYTES {
            return Err(E::custom(too_large("a string", limits::MAX_STRING_BYTES)));
        }
        Ok(Node::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut elements = Vec::new();
        let deeper = self.deeper()?;
        while let Some(element) = access.next_element_seed(deeper)? {
            if elements.len() == limits::MAX_ARRAY_ELEMENTS {
                return Err(de::Error::custom(too_large("an array", limits::MAX_ARRAY_ELEMENTS)));
            }
            elements.push(element);
        }
        Ok(Node::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut members: Vec<(String, Node)> = Vec::new();
        let deeper = self.deeper()?;
        while let Some(name) = access.next_key::<String>()? {
            if members.len() == limits::MAX_OBJECT_MEMBERS {
                return Err(de::Error::custom(too_large("an object", limits::MAX_OBJECT_MEMBERS)));
            }
            if members.iter().any(|(earlier, _)| *earlier == name) {
                let name = limits::excerpt(&name);
                return Err(de::Error::custom(format_args!("key `{name}` appears twice")));
            }
            members.push((name, access.next_value_seed(deeper)?));
        }
        Ok(Node::Object(members))
    }
}

fn too_large(what: &str, limit: usize) -> String {
    format!("{what} exceeds the limit of {limit}")
}
