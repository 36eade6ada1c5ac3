//! Lists of addresses, for the selectors `email_list` and `ip_list`.

use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{
    document::Place,
    email::EmailAddress,
    error::{Error, Kind},
    network::Network,
    node::{Carried, Node},
    selector::note_host_bits,
};

/// A list of e-mail addresses or of networks, under a name.
///
/// ```
/// use access_policy::{List, ListItems};
///
/// let contractors = List::new("contractors", ListItems::Emails(vec!["a@example.jp".parse()?]));
/// assert_eq!(&*contractors.id, "contractors");
/// # Ok::<(), access_policy::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct List {
    /// The identifier that rules name, in lower case.
    pub id: Box<str>,
    /// The name, for people.
    pub name: String,
    /// What is on the list.
    pub items: ListItems,
    /// The description of each item that has one, by its position.
    pub descriptions: Vec<(usize, String)>,
    /// What the list is for, and fields that a lenient import did not understand.
    pub carried: Carried,
}

/// What is on a list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListItems {
    /// Type `EMAIL`.
    Emails(Vec<EmailAddress>),
    /// Type `IP`.
    Networks(Vec<Network>),
    /// Another type, which no selector can name.
    Other {
        /// The type.
        kind: String,
        /// The items, as they came.
        values: Vec<String>,
    },
}

impl List {
    /// A list; the id is also the name.
    pub fn new(id: impl Into<String>, items: ListItems) -> Self {
        let name = id.into();
        Self {
            id: name.to_ascii_lowercase().into(),
            name,
            items,
            descriptions: Vec::new(),
            carried: Carried::default(),
        }
    }

    pub(crate) fn import(place: &Place<'_>) -> Result<Self, Error> {
        let kind = place.required("type")?.string()?;
        let items = match kind.to_ascii_uppercase().as_str() {
            "EMAIL" => ListItems::Emails(Vec::new()),
            "IP" => ListItems::Networks(Vec::new()),
            _ => ListItems::Other { kind: kind.to_owned(), values: Vec::new() },
        };
        let mut list = Self::new("", items);
        let (mut id, mut name) = (None, None);
        for field in place.fields()? {
            match field.name() {
                "id" => id = field.keep(field.id()),
                "name" => name = field.keep(field.string()),
                "type" => {}
                "items" | "items_with_description" => list.import_items(&field)?,
                "description" => list.carried.push("description", field.node()),
                name if IGNORED_FIELDS.contains(&name) => {}
                name => {
                    field.tolerate(field.unknown_field());
                    list.carried.push(name, field.node());
                }
            }
        }
        list.id = id.ok_or_else(|| place.error(Kind::MissingField("id")))?;
        name.unwrap_or(&list.id).clone_into(&mut list.name);
        Ok(list)
    }

    /// Reads items that are strings or `{"value", "description"}`.
    fn import_items(&mut self, field: &Place<'_>) -> Result<(), Error> {
        for element in field.elements()? {
            let is_bare = matches!(element.node(), Node::String(_));
            let value = if is_bare { Ok(element) } else { element.required("value") };
            let Some(value) = element.keep(value) else { continue };
            if element.keep(self.items.push(&value)).is_none() || is_bare {
                continue;
            }
            if let Some(Ok(text)) = element.field("description")?.map(|text| text.string())
                && !text.is_empty()
            {
                self.descriptions.push((self.items.len() - 1, text.to_owned()));
            }
        }
        Ok(())
    }
}

impl ListItems {
    /// Returns how many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Emails(items) => items.len(),
            Self::Networks(items) => items.len(),
            Self::Other { values, .. } => values.len(),
        }
    }

    /// Reports whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn push(&mut self, value: &Place<'_>) -> Result<(), Error> {
        match self {
            Self::Emails(items) => items.push(value.parse()?),
            Self::Networks(items) => {
                note_host_bits(value);
                items.push(value.parse()?);
            }
            Self::Other { values, .. } => values.push(value.string()?.to_owned()),
        }
        Ok(())
    }

    fn kind(&self) -> &str {
        match self {
            Self::Emails(_) => "EMAIL",
            Self::Networks(_) => "IP",
            Self::Other { kind, .. } => kind,
        }
    }

    fn texts(&self) -> Vec<String> {
        match self {
            Self::Emails(items) => items.iter().map(ToString::to_string).collect(),
            Self::Networks(items) => items.iter().map(ToString::to_string).collect(),
            Self::Other { values, .. } => values.clone(),
        }
    }
}

/// The JSON form that Cloudflare's API takes.
impl Serialize for List {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("type", self.items.kind())?;
        let mut descriptions = self.descriptions.iter().peekable();
        let items = self.items.texts().into_iter().enumerate().map(|(at, value)| {
            let description = descriptions.next_if(|(of, _)| *of == at).map(|(_, text)| text);
            let mut members = vec![("value".into(), Node::String(value.into()))];
            members.extend(
                description.map(|text| ("description".into(), Node::String(text.as_str().into()))),
            );
            Node::Object(members)
        });
        map.serialize_entry("items", &items.collect::<Vec<_>>())?;
        self.carried.write(&mut map)?;
        map.end()
    }
}

const IGNORED_FIELDS: [&str; 7] =
    ["account_id", "count", "created_at", "list_count", "settings_count", "uid", "updated_at"];
