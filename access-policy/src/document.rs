//! A parsed document that knows the place of each of its values, so that errors can name it.
//!
//! `serde_json::Value` would do, but it keeps the last of two equal keys, and a rule that
//! silently replaces another is how doors open.

use std::{
    fmt::{self, Write as _},
    str::FromStr,
};

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::{
    error::{Error, Kind},
    limits,
};

/// A value of a self-describing format.
#[derive(Debug)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Integer(i64),
    /// A number that no field of ours can hold.
    OtherNumber,
    String(String),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Node {
    /// Parses a JSON text.
    pub(crate) fn from_json(text: &str) -> Result<Self, Error> {
        serde_json::from_str(text).map_err(|error| Kind::Syntax(error.to_string()).into())
    }

    /// The root of the document, from which places are counted.
    pub(crate) fn root(&self) -> Place<'_> {
        Place { node: self, parent: None, step: Step::Root }
    }

    fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) | Self::OtherNumber => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

/// A value together with the way that leads to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    node: &'a Node,
    parent: Option<&'a Place<'a>>,
    step: Step<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Root,
    Field(&'a str),
    Element(usize),
}

impl<'a> Place<'a> {
    /// The field name that led here; empty for the root and for elements.
    pub(crate) fn name(&self) -> &'a str {
        match self.step {
            Step::Field(name) => name,
            Step::Root | Step::Element(_) => "",
        }
    }

    /// The place in the notation `applications[0].policies[1]`.
    pub(crate) fn path(&self) -> String {
        let mut path = self.parent.map(Place::path).unwrap_or_default();
        match self.step {
            Step::Root => {}
            Step::Field(name) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(&limits::excerpt(name));
            }
            Step::Element(index) => {
                // Writing to a string can't fail.
                let _ = write!(path, "[{index}]");
            }
        }
        path
    }

    /// An error at this place.
    pub(crate) fn error(&self, kind: Kind) -> Error {
        let path = self.path();
        Error::from(kind).at(if path.is_empty() { "document root".to_owned() } else { path })
    }

    /// The error for a field that has no meaning here.
    pub(crate) fn unknown_field(&self) -> Error {
        self.error(Kind::UnknownField(limits::excerpt(self.name())))
    }

    /// Accepts a field that this version can't honour only where it asks for nothing.
    pub(crate) fn refuse_unless_inert(&self) -> Result<(), Error> {
        match self.node {
            Node::Null | Node::Bool(false) => Ok(()),
            Node::Array(elements) if elements.is_empty() => Ok(()),
            _ => Err(self.error(Kind::Unsupported(format!("field `{}`", self.name())))),
        }
    }

    pub(crate) fn is_array(&self) -> bool {
        matches!(self.node, Node::Array(_))
    }

    pub(crate) fn is_object(&self) -> bool {
        matches!(self.node, Node::Object(_))
    }

    /// The members of an object. Null counts as absent: state dumps of Terraform carry every
    /// possible key, most of them null.
    pub(crate) fn fields(&'a self) -> Result<impl Iterator<Item = Place<'a>> + Clone, Error> {
        let Node::Object(members) = self.node else {
            return Err(self.wrong_type("an object"));
        };
        Ok(members
            .iter()
            .filter(|(_, node)| !matches!(node, Node::Null))
            .map(|(name, node)| Place { node, parent: Some(self), step: Step::Field(name) }))
    }

    /// The member called `name`, if it is there and not null.
    pub(crate) fn field(&'a self, name: &str) -> Result<Option<Place<'a>>, Error> {
        Ok(self.fields()?.find(|field| field.name() == name))
    }

    /// The elements of an array.
    pub(crate) fn elements(&'a self) -> Result<impl Iterator<Item = Place<'a>>, Error> {
        let Node::Array(elements) = self.node else {
            return Err(self.wrong_type("an array"));
        };
        Ok(elements.iter().enumerate().map(|(index, node)| Place {
            node,
            parent: Some(self),
            step: Step::Element(index),
        }))
    }

    /// Reads each element of an array with `read`.
    pub(crate) fn collect<T>(
        &self,
        read: impl Fn(&Place<'_>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        self.elements()?.map(|element| read(&element)).collect()
    }

    pub(crate) fn string(&self) -> Result<&'a str, Error> {
        match self.node {
            Node::String(text) => Ok(text),
            _ => Err(self.wrong_type("a string")),
        }
    }

    pub(crate) fn integer(&self) -> Result<i64, Error> {
        match self.node {
            Node::Integer(value) => Ok(*value),
            _ => Err(self.wrong_type("a whole number")),
        }
    }

    /// Reads a string as a type with rules.
    pub(crate) fn parse<T: FromStr<Err = Error>>(&self) -> Result<T, Error> {
        self.parse_with(str::parse)
    }

    /// Reads a string with `parse`.
    pub(crate) fn parse_with<T>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, Error>,
    ) -> Result<T, Error> {
        parse(self.string()?).map_err(|error| error.at(self.path()))
    }

    fn wrong_type(&self, expected: &'static str) -> Error {
        self.error(Kind::WrongType { expected, found: self.node.type_name() })
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
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
        Node::deserialize(deserializer)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Integer(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        Ok(i64::try_from(value).map_or(Node::OtherNumber, Node::Integer))
    }

    fn visit_f64<E: de::Error>(self, _value: f64) -> Result<Node, E> {
        Ok(Node::OtherNumber)
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
        while let Some(element) = access.next_element()? {
            if elements.len() == limits::MAX_ARRAY_ELEMENTS {
                return Err(de::Error::custom(too_large("an array", limits::MAX_ARRAY_ELEMENTS)));
            }
            elements.push(element);
        }
        Ok(Node::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut members: Vec<(String, Node)> = Vec::new();
        while let Some((name, node)) = access.next_entry::<String, Node>()? {
            if members.len() == MAX_OBJECT_MEMBERS {
                return Err(de::Error::custom(too_large("an object", MAX_OBJECT_MEMBERS)));
            }
            if members.iter().any(|(earlier, _)| *earlier == name) {
                let name = limits::excerpt(&name);
                return Err(de::Error::custom(format_args!("key `{name}` appears twice")));
            }
            members.push((name, node));
        }
        Ok(Node::Object(members))
    }
}

fn too_large(what: &str, limit: usize) -> String {
    format!("{what} exceeds the limit of {limit}")
}

/// More members than any object of Cloudflare's API has, and few enough to look through each.
const MAX_OBJECT_MEMBERS: usize = 256;
