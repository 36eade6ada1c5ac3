//! Values of self-describing formats, as they came.

use std::{borrow::Cow, fmt};

use serde::{
    Serialize, Serializer,
    de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor},
    ser::{SerializeMap, SerializeSeq},
};

use crate::{
    error::{Error, Kind},
    limits,
};

/// A value of a self-describing format. Texts are borrowed from the document where they stand in it as
/// they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node<'a> {
    Null,
    Bool(bool),
    Integer(i64),
    /// A whole number beyond [`Node::Integer`].
    Large(u64),
    /// A number with a fraction, or a huge one, as the bits of a float.
    OtherNumber(u64),
    String(Cow<'a, str>),
    Array(Vec<Node<'a>>),
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
}

/// Fields that the crate carries from import to export without reading them: looks, launcher and
/// cookie settings, and what a lenient import did not understand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Carried(Vec<(String, Node<'static>)>);

impl<'a> Node<'a> {
    /// Parses a JSON text.
    pub(crate) fn from_json(text: &'a [u8]) -> Result<Self, Error> {
        Self::read_json(text, AtDepth(0))
    }

    /// Parses a JSON text with a reader of one's own.
    pub(crate) fn read_json<S: DeserializeSeed<'a>>(
        text: &'a [u8],
        seed: S,
    ) -> Result<S::Value, Error> {
        if text.len() > limits::MAX_DOCUMENT_BYTES {
            return Err(Kind::Syntax("it is longer than 1 GB".to_owned()).into());
        }
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let read = seed.deserialize(&mut deserializer);
        read.and_then(|value| deserializer.end().map(|()| value))
            .map_err(|error| Kind::Syntax(error.to_string()).into())
    }

    /// Copies what is borrowed, so that the value can be kept.
    pub(crate) fn to_owned(&self) -> Node<'static> {
        match self {
            Self::Null => Node::Null,
            Self::Bool(value) => Node::Bool(*value),
            Self::Integer(value) => Node::Integer(*value),
            Self::Large(value) => Node::Large(*value),
            Self::OtherNumber(bits) => Node::OtherNumber(*bits),
            Self::String(text) => Node::String(Cow::Owned(text.clone().into_owned())),
            Self::Array(elements) => Node::Array(elements.iter().map(Node::to_owned).collect()),
            Self::Object(members) => {
                let owned = members
                    .iter()
                    .map(|(name, node)| (Cow::Owned(name.clone().into_owned()), node.to_owned()));
                Node::Object(owned.collect())
            }
        }
    }

    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) | Self::Large(_) | Self::OtherNumber(_) => "a number",
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
            Self::Bool(true) | Self::Integer(_) | Self::Large(_) | Self::OtherNumber(_) => false,
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

    pub(crate) fn push(&mut self, name: &str, node: &Node<'_>) {
        self.0.push((name.to_owned(), node.to_owned()));
    }

    /// The object that consists of these fields.
    pub(crate) fn to_node(&self) -> Node<'_> {
        let fields = self.0.iter();
        Node::Object(fields.map(|(name, node)| (name.as_str().into(), node.clone())).collect())
    }

    /// Writes the fields into the object that carries them.
    pub(crate) fn write<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        self.0.iter().try_for_each(|(name, node)| map.serialize_entry(name, node))
    }
}

impl Serialize for Node<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Integer(value) => serializer.serialize_i64(*value),
            Self::Large(value) => serializer.serialize_u64(*value),
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

impl<'de> Deserialize<'de> for Node<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        AtDepth(0).deserialize(deserializer)
    }
}

/// Reads a value that stands this deep in the document.
#[derive(Clone, Copy)]
pub(crate) struct AtDepth(pub(crate) usize);

impl AtDepth {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        if self.0 == limits::MAX_DOCUMENT_DEPTH {
            return Err(E::custom(too_large("the depth", limits::MAX_DOCUMENT_DEPTH)));
        }
        Ok(Self(self.0 + 1))
    }
}

impl<'de> DeserializeSeed<'de> for AtDepth {
    type Value = Node<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AtDepth {
    type Value = Node<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a policy document")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node<'de>, E> {
        Ok(Node::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Node<'de>, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node<'de>, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Node<'de>, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node<'de>, E> {
        Ok(Node::Integer(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node<'de>, E> {
        Ok(i64::try_from(value).map_or(Node::Large(value), Node::Integer))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node<'de>, E> {
        Ok(Node::OtherNumber(value.to_bits()))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Node<'de>, E> {
        text(Cow::Owned(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Node<'de>, E> {
        text(Cow::Owned(value))
    }

    fn visit_borrowed_str<E: de::Error>(self, value: &'de str) -> Result<Node<'de>, E> {
        text(Cow::Borrowed(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node<'de>, A::Error> {
        let mut elements = Vec::new();
        self.each_element(&mut access, |_, element| elements.push(element))?;
        Ok(Node::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node<'de>, A::Error> {
        let mut members: Members<'de> = Vec::new();
        let deeper = self.deeper()?;
        while let Some(name) = next_name(&mut access, &members)? {
            members.push((name, access.next_value_seed(deeper)?));
        }
        Ok(Node::Object(members))
    }
}

/// The members of an object, in their order.
pub(crate) type Members<'a> = Vec<(Cow<'a, str>, Node<'a>)>;

impl AtDepth {
    /// Reads the elements of an array that stands here, one after the other.
    pub(crate) fn each_element<'de, A: SeqAccess<'de>>(
        self,
        access: &mut A,
        mut take: impl FnMut(usize, Node<'de>),
    ) -> Result<(), A::Error> {
        let deeper = self.deeper()?;
        let mut count = 0;
        while let Some(element) = access.next_element_seed(deeper)? {
            if count == limits::MAX_ARRAY_ELEMENTS {
                return Err(de::Error::custom(too_large("an array", limits::MAX_ARRAY_ELEMENTS)));
            }
            take(count, element);
            count += 1;
        }
        Ok(())
    }
}

/// The name of the next member of an object, which none of the earlier ones has.
pub(crate) fn next_name<'de, A: MapAccess<'de>>(
    access: &mut A,
    members: &Members<'de>,
) -> Result<Option<Cow<'de, str>>, A::Error> {
    let Some(name) = access.next_key_seed(Name)? else { return Ok(None) };
    if members.len() == limits::MAX_OBJECT_MEMBERS {
        return Err(de::Error::custom(too_large("an object", limits::MAX_OBJECT_MEMBERS)));
    }
    if members.iter().any(|(earlier, _)| *earlier == name) {
        let name = limits::excerpt(&name);
        return Err(de::Error::custom(format_args!("key `{name}` appears twice")));
    }
    Ok(Some(name))
}

/// The name of a member.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(value.to_owned()))
    }

    fn visit_borrowed_str<E: de::Error>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(value))
    }
}

fn text<E: de::Error>(text: Cow<'_, str>) -> Result<Node<'_>, E> {
    if text.len() > limits::MAX_STRING_BYTES {
        return Err(E::custom(too_large("a string", limits::MAX_STRING_BYTES)));
    }
    Ok(Node::String(text))
}

fn too_large(what: &str, limit: usize) -> String {
    format!("{what} exceeds the limit of {limit}")
}
