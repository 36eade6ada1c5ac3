//! A policy: an action, and the rules that say whom it concerns.

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::SerializeMap};

use crate::{
    document::{Faults, Mode, Place},
    duration,
    error::{Error, Kind},
    limits,
    node::{Carried, Node},
    obligation::Obligations,
    rule::Rule,
    selector::import_rules,
};

/// Any of `include`, all of `require`, none of `exclude`: then `decision` applies.
///
/// A policy without `include` never matches.
///
/// ```
/// use access_policy::{Policy, Rule};
///
/// let staff = Policy::allow("staff")
///     .include(Rule::from_allowed_mail("*@example.jp")?)
///     .exclude(Rule::from_allowed_mail("intern@example.jp")?);
/// assert_eq!(staff.to_string(), "anyone with an address @example.jp, except intern@example.jp");
/// # Ok::<(), access_policy::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct Policy {
    /// The identifier, for logs and links, in lower case.
    pub id: String,
    /// The name, for people.
    pub name: String,
    /// What happens to a request that matches.
    pub decision: Action,
    /// One of these must match.
    pub include: Vec<Rule>,
    /// Each of these must match as well.
    pub require: Vec<Rule>,
    /// None of these may match.
    pub exclude: Vec<Rule>,
    /// How long a login through this policy lasts; the application's duration when absent.
    pub session_duration: Option<Duration>,
    /// What the policy demands of those whom it allows, besides its rules.
    pub obligations: Option<Box<Obligations>>,
    /// Fields that a lenient import did not understand.
    pub carried: Carried,
}

/// What a policy does to a request that it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// `allow`: passes after a login.
    Allow,
    /// `deny`, called Block in Cloudflare's dashboard: refused.
    Deny,
    /// `bypass`: passes without a login.
    Bypass,
    /// `non_identity`, called Service Auth in the dashboard: passes without a login, for programs
    /// with a service token or a certificate.
    NonIdentity,
}

impl Policy {
    /// An allow policy without rules; it matches nobody yet. The id is the name in lower case.
    pub fn allow(name: impl Into<String>) -> Self {
        Self::new(name, Action::Allow)
    }

    /// A deny policy without rules; it matches nobody yet. The id is the name in lower case.
    pub fn deny(name: impl Into<String>) -> Self {
        Self::new(name, Action::Deny)
    }

    /// A bypass policy without rules; it matches nobody yet. The id is the name in lower case.
    pub fn bypass(name: impl Into<String>) -> Self {
        Self::new(name, Action::Bypass)
    }

    /// A service policy without rules; it matches nobody yet. The id is the name in lower case.
    pub fn non_identity(name: impl Into<String>) -> Self {
        Self::new(name, Action::NonIdentity)
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

    /// Sets how long a login through this policy lasts.
    pub fn session_duration(mut self, duration: Duration) -> Self {
        self.session_duration = Some(duration);
        self
    }

    /// Returns each rule with the part it plays, in the order of evaluation.
    pub(crate) fn rules(&self) -> impl Iterator<Item = (Part, &Rule)> {
        let included = self.include.iter().map(|rule| (Part::Include, rule));
        let required = self.require.iter().map(|rule| (Part::Require, rule));
        let excluded = self.exclude.iter().map(|rule| (Part::Exclude, rule));
        included.chain(required).chain(excluded)
    }

    /// Returns what the policy demands besides its rules.
    pub fn obligations(&self) -> Option<&Obligations> {
        self.obligations.as_deref()
    }

    fn new(name: impl Into<String>, decision: Action) -> Self {
        let name = name.into();
        Self {
            id: name.to_ascii_lowercase(),
            name,
            decision,
            include: Vec::new(),
            require: Vec::new(),
            exclude: Vec::new(),
            session_duration: None,
            obligations: None,
            carried: Carried::default(),
        }
    }

    /// Reads a policy, with its precedence if it has one.
    pub(crate) fn import(place: &Place<'_>) -> Result<(Option<i64>, Self), Error> {
        let mut policy = Self::new("", Action::Deny);
        let (mut id, mut name, mut decision, mut precedence) = (None, None, None, None);
        let mut obligations = Obligations::default();
        for field in place.fields()? {
            match field.name() {
                "id" => id = field.keep(field.id()),
                "name" => name = field.keep(field.string()),
                "decision" => decision = field.keep(field.parse_with(Action::parse)),
                "precedence" => precedence = field.keep(field.integer()),
                "include" => policy.include = field.keep(import_rules(&field)).unwrap_or_default(),
                "require" => policy.require = field.keep(import_rules(&field)).unwrap_or_default(),
                "exclude" => policy.exclude = field.keep(import_rules(&field)).unwrap_or_default(),
                "session_duration" if !field.node().is_inert() => {
                    policy.session_duration = field.keep(field.parse_with(duration::parse));
                }
                "session_duration" => {}
                name if IGNORED_FIELDS.contains(&name) => {}
                _ if obligations.import_field(&field) => {}
                name => {
                    field.tolerate(field.unknown_field());
                    policy.carried.push(name, field.node());
                }
            }
        }
        if !obligations.is_empty() {
            policy.obligations = Some(Box::new(obligations));
        }
        if place.field("include")?.is_none() {
            return Err(place.error(Kind::MissingField("include")));
        }
        let is_empty = place.field("include")?.is_some_and(|rules| is_without_rules(rules.node()));
        if is_empty {
            place.tolerate(place.error(Kind::EmptyInclude("a policy")));
        }
        if place.field("decision")?.is_none() {
            return Err(place.error(Kind::MissingField("decision")));
        }
        policy.decision = decision.unwrap_or(Action::Deny);
        policy.name = name
            .map(str::to_owned)
            .or_else(|| id.as_deref().map(str::to_owned))
            .ok_or_else(|| place.error(Kind::MissingField("name")))?;
        policy.id = id.map_or_else(|| policy.name.to_ascii_lowercase(), Into::into);
        Ok((precedence, policy))
    }
}

/// Whom the policy concerns, in words.
impl fmt::Display for Policy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.include.is_empty() {
            return formatter.write_str("nobody");
        }
        write_list(formatter, &self.include, " or ", Rule::fmt)?;
        if !self.require.is_empty() {
            formatter.write_str(", only if ")?;
            write_list(formatter, &self.require, " and ", |rule, f| rule.condition().fmt(f))?;
        }
        if !self.exclude.is_empty() {
            formatter.write_str(", except ")?;
            write_list(formatter, &self.exclude, " and ", Rule::fmt)?;
        }
        Ok(())
    }
}

/// The JSON form that Cloudflare's API takes.
impl Serialize for Policy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("decision", &self.decision)?;
        map.serialize_entry("include", &self.include)?;
        map.serialize_entry("require", &self.require)?;
        map.serialize_entry("exclude", &self.exclude)?;
        if let Some(duration) = self.session_duration {
            map.serialize_entry("session_duration", &duration::format(duration))?;
        }
        if let Some(obligations) = &self.obligations {
            obligations.write(&mut map)?;
        }
        self.carried.write(&mut map)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Node::deserialize(deserializer)?;
        let faults = Faults::new(Mode::Strict);
        let result = Self::import(&Place::root(&node, &faults)).map(|(_, policy)| policy);
        faults.finish(result).map(|(policy, _)| policy).map_err(D::Error::custom)
    }
}

impl Action {
    /// Returns the name in Cloudflare's JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Bypass => "bypass",
            Self::NonIdentity => "non_identity",
        }
    }

    /// Reports whether policies of this action are asked first, before any login.
    pub(crate) fn is_first_phase(self) -> bool {
        matches!(self, Self::Bypass | Self::NonIdentity)
    }

    fn parse(text: &str) -> Result<Self, Error> {
        // Terraform compares without regard to case, so dumps come in either.
        [Self::Allow, Self::Deny, Self::Bypass, Self::NonIdentity]
            .into_iter()
            .find(|action| action.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| {
                let expected = "`allow`, `deny`, `bypass`, `non_identity`";
                Kind::UnknownValue { found: limits::excerpt(text), expected }.into()
            })
    }
}

/// No rules, or only blocks of Terraform's in which every selector is switched off.
fn is_without_rules(node: &Node<'_>) -> bool {
    let Node::Array(blocks) = node else { return node.is_inert() };
    blocks.iter().all(|block| match block {
        Node::Object(selectors) if !selectors.is_empty() => {
            selectors.iter().all(|(_, value)| !matches!(value, Node::Object(_)) && value.is_inert())
        }
        _ => false,
    })
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Serialize for Action {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The part a rule plays in its policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Include,
    Require,
    Exclude,
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Include => "include",
            Self::Require => "require",
            Self::Exclude => "exclude",
        })
    }
}

/// Writes rules with separators, cutting long lists short.
fn write_list(
    formatter: &mut fmt::Formatter<'_>,
    rules: &[Rule],
    separator: &str,
    write: impl Fn(&Rule, &mut fmt::Formatter<'_>) -> fmt::Result,
) -> fmt::Result {
    for (index, rule) in rules.iter().take(MAX_LISTED_RULES).enumerate() {
        if index > 0 {
            formatter.write_str(separator)?;
        }
        write(rule, formatter)?;
    }
    match rules.len().saturating_sub(MAX_LISTED_RULES) {
        0 => Ok(()),
        more => write!(formatter, "{separator}{more} more"),
    }
}

/// Enough for a start-up banner; a longer list hides more than it says.
const MAX_LISTED_RULES: usize = 8;

/// What the API and Terraform return about a policy without bearing on a decision.
const IGNORED_FIELDS: [&str; 8] = [
    "account_id",
    "app_count",
    "application_id",
    "created_at",
    "reusable",
    "uid",
    "updated_at",
    "zone_id",
];
