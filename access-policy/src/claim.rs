//! What an identity provider claims of a visitor (OIDC).

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{node::Node, steps};

/// The value of an OIDC claim.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Claim {
    /// A string.
    Text(String),
    /// A boolean; it equals `true` or `false`.
    Bool(bool),
    /// A whole number; it equals its digits.
    Integer(i64),
    /// Another number; it equals its shortest decimal form without an exponent, such as `1.5`.
    Number(Box<str>),
    /// A list; it equals whatever one of its elements equals.
    List(Vec<Claim>),
    /// Null or an object, which equals nothing.
    Nothing,
}

impl Claim {
    pub(crate) fn equals(&self, wanted: &str) -> bool {
        match self {
            Self::Text(text) => text == wanted,
            Self::Bool(value) => wanted == if *value { "true" } else { "false" },
            Self::Integer(value) => wanted.parse() == Ok(*value) && is_canonical(wanted),
            Self::Number(digits) => wanted == &**digits,
            Self::List(elements) => {
                elements.iter().inspect(|_| steps::take(1)).any(|element| match element {
                    // Lists inside lists equal nothing.
                    Self::List(_) => false,
                    element => element.equals(wanted),
                })
            }
            Self::Nothing => false,
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Number(digits) => digits.len(),
            Self::List(elements) => elements.iter().map(|element| element.len() + 1).sum(),
            Self::Bool(_) | Self::Integer(_) | Self::Nothing => 8,
        }
    }
}

impl From<&str> for Claim {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl Serialize for Claim {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Integer(value) => serializer.serialize_i64(*value),
            Self::Number(digits) => match (digits.parse::<u64>(), digits.parse::<f64>()) {
                (Ok(whole), _) => serializer.serialize_u64(whole),
                (_, Ok(number)) => serializer.serialize_f64(number),
                _ => serializer.serialize_none(),
            },
            Self::List(elements) => elements.serialize(serializer),
            Self::Nothing => serializer.serialize_none(),
        }
    }
}

impl<'de> Deserialize<'de> for Claim {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Node::deserialize(deserializer).map(Self::from)
    }
}

impl From<Node<'_>> for Claim {
    fn from(node: Node<'_>) -> Self {
        match node {
            Node::String(text) => Self::Text(text.into_owned()),
            Node::Bool(value) => Self::Bool(value),
            Node::Integer(value) => Self::Integer(value),
            Node::Array(elements) => Self::List(elements.into_iter().map(Self::from).collect()),
            Node::OtherNumber(bits) => Self::Number(f64::from_bits(bits).to_string().into()),
            Node::Large(value) => Self::Number(value.to_string().into()),
            Node::Null | Node::Object(_) => Self::Nothing,
        }
    }
}

/// No plus sign and no leading zeros.
fn is_canonical(digits: &str) -> bool {
    let digits = digits.strip_prefix('-').unwrap_or(digits);
    digits == "0" || !digits.starts_with(['0', '+'])
}
