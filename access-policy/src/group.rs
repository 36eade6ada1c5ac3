//! Rule groups: rules under a name, for use in policies and other groups.

use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{
    document::Place,
    error::{Error, Kind},
    node::Carried,
    rule::Rule,
    selector::import_rules,
};

/// Any of `include`, all of `require`, none of `exclude`: then a [`Rule::Group`] with this id
/// matches.
///
/// ```
/// use access_policy::{Group, Rule};
///
/// let iberia = Group::new("iberia").include(Rule::geo("ES")?).include(Rule::geo("PT")?);
/// assert_eq!(iberia.include.len(), 2);
/// # Ok::<(), access_policy::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct Group {
    /// The identifier that rules name, in lower case.
    pub id: Box<str>,
    /// The name, for people.
    pub name: String,
    /// One of these must match.
    pub include: Vec<Rule>,
    /// Each of these must match as well.
    pub require: Vec<Rule>,
    /// None of these may match.
    pub exclude: Vec<Rule>,
    /// Whether new applications use the group unless told otherwise.
    pub is_default: bool,
    /// Fields that a lenient import did not understand.
    pub carried: Carried,
}

impl Group {
    /// A group without rules; it matches nobody yet. The id is also the name.
    pub fn new(id: impl Into<String>) -> Self {
        let name = id.into();
        Self {
            id: name.to_ascii_lowercase().into(),
            name,
            include: Vec::new(),
            require: Vec::new(),
            exclude: Vec::new(),
            is_default: false,
            carried: Carried::default(),
        }
    }

    /// Adds a rule of which one must match.
    pub fn include(mut self, rule: Rule) -> Self {
        self.include.push(rule);
        self
    }

    /// Adds a rule that must match as well.
    pub fn require(mut self, rule: Rule) -> Self {
        self.require.push(rule);
        self
    }

    /// Adds a rule that must not match.
    pub fn exclude(mut self, rule: Rule) -> Self {
        self.exclude.push(rule);
        self
    }

    /// Returns every rule.
    pub(crate) fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.include.iter().chain(&self.require).chain(&self.exclude)
    }

    pub(crate) fn import(place: &Place<'_>) -> Result<Self, Error> {
        let mut group = Self::new("");
        let (mut id, mut name) = (None, None);
        for field in place.fields()? {
            let rules = || field.keep(import_rules(&field)).unwrap_or_default();
            match field.name() {
                "id" => id = field.keep(field.id()),
                "name" => name = field.keep(field.string()),
                "include" => group.include = rules(),
                "require" => group.require = rules(),
                "exclude" => group.exclude = rules(),
                // Some responses carry an array here; only a boolean means something.
                "is_default" => group.is_default = field.boolean().unwrap_or_default(),
                name if IGNORED_FIELDS.contains(&name) => {}
                name => {
                    field.tolerate(field.unknown_field());
                    group.carried.push(name, field.node());
                }
            }
        }
        let include = place.required("include")?;
        if include.node().is_inert() {
            place.tolerate(place.error(Kind::EmptyInclude("a group")));
        }
        group.id = id.ok_or_else(|| place.error(Kind::MissingField("id")))?;
        name.unwrap_or(&group.id).clone_into(&mut group.name);
        Ok(group)
    }
}

/// The JSON form that Cloudflare's API takes.
impl Serialize for Group {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("include", &self.include)?;
        map.serialize_entry("require", &self.require)?;
        map.serialize_entry("exclude", &self.exclude)?;
        if self.is_default {
            map.serialize_entry("is_default", &true)?;
        }
        self.carried.write(&mut map)?;
        map.end()
    }
}

const IGNORED_FIELDS: [&str; 5] = ["account_id", "created_at", "uid", "updated_at", "zone_id"];
