//! A policy: an action, and the rules that say whom it concerns.

use std::{fmt, iter, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{
    document::{Node, Place},
    duration,
    error::{Error, Kind},
    limits,
    request::Request,
    rule::Rule,
    truth::Truth,
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
#[must_use]
pub struct Policy {
    /// The identifier, for logs and links.
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
    #[serde(serialize_with = "write_duration", skip_serializing_if = "Option::is_none")]
    pub session_duration: Option<Duration>,
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
    /// `non_identity`, called Service Auth in the dashboard. It can be read and written, but
    /// [`Engine::compile`](crate::Engine::compile) refuses it in this version.
    NonIdentity,
}

impl Policy {
    /// An allow policy without rules; it matches nobody yet. The id is the name.
    pub fn allow(name: impl Into<String>) -> Self {
        Self::new(name, Action::Allow)
    }

    /// A deny policy without rules; it matches nobody yet. The id is the name.
    pub fn deny(name: impl Into<String>) -> Self {
        Self::new(name, Action::Deny)
    }

    /// A bypass policy without rules; it matches nobody yet. The id is the name.
    pub fn bypass(name: impl Into<String>) -> Self {
        Self::new(name, Action::Bypass)
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

    /// Answers whether the policy matches: any include, all requires, no exclude.
    ///
    /// If that is unknown for several reasons, the one that counts is whether a login alone could
    /// bring the good turn: that an allow policy matches, or that a deny policy does not.
    pub(crate) fn evaluate(&self, request: &Request<'_>) -> Truth {
        let holds = |rule: &Rule| rule.evaluate(request);
        let fails = |rule: &Rule| rule.evaluate(request).negate();
        let (include, require, exclude) =
            (self.include.iter(), self.require.iter(), self.exclude.iter());
        if self.decision == Action::Deny {
            // The same by De Morgan, so that `any` and `all` weigh unknowns for the negation.
            let not_included = iter::once_with(|| Truth::all(include.map(fails)));
            Truth::any(not_included.chain(require.map(fails)).chain(exclude.map(holds))).negate()
        } else {
            let included = iter::once_with(|| Truth::any(include.map(holds)));
            Truth::all(included.chain(require.map(holds)).chain(exclude.map(fails)))
        }
    }

    /// The rule that speaks for a match.
    pub(crate) fn matching_rule(&self, request: &Request<'_>) -> Option<&Rule> {
        self.include.iter().find(|rule| rule.evaluate(request) == Truth::True)
    }

    /// Reads the policies of an application, and puts them in order of precedence.
    pub(crate) fn import_all(place: &Place<'_>) -> Result<Vec<Self>, Error> {
        let mut policies = place.collect(import_with_precedence)?;
        let numbered = policies.iter().filter(|(precedence, _)| precedence.is_some()).count();
        if numbered != 0 && numbered != policies.len() {
            let problem = "either all policies of an application carry `precedence`, or none";
            return Err(place.error(Kind::Precedence(problem)));
        }
        policies.sort_by_key(|(precedence, _)| *precedence);
        if numbered != 0 && policies.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            let problem = "two policies of an application carry the same `precedence`";
            return Err(place.error(Kind::Precedence(problem)));
        }
        Ok(policies.into_iter().map(|(_, policy)| policy).collect())
    }

    fn new(name: impl Into<String>, decision: Action) -> Self {
        let name = name.into();
        Self {
            id: name.clone(),
            name,
            decision,
            include: Vec::new(),
            require: Vec::new(),
            exclude: Vec::new(),
            session_duration: None,
        }
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

impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Node::deserialize(deserializer)?;
        import_with_precedence(&node.root()).map(|(_, policy)| policy).map_err(D::Error::custom)
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

/// Writes a duration as Cloudflare's API takes it.
#[expect(clippy::ref_option, reason = "serde's `serialize_with` passes the field by reference")]
pub(crate) fn write_duration<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => serializer.serialize_str(&duration::format(*duration)),
        None => serializer.serialize_none(),
    }
}

fn import_with_precedence(place: &Place<'_>) -> Result<(Option<i64>, Policy), Error> {
    if !place.is_object() || place.field("include")?.is_none() {
        return import_link(place);
    }
    let mut policy = Policy::new("", Action::Deny);
    let (mut id, mut name, mut decision, mut precedence) = (None, None, None, None);
    for field in place.fields()? {
        match field.name() {
            "id" => id = Some(field.string()?.to_owned()),
            "name" => name = Some(field.string()?.to_owned()),
            "decision" => decision = Some(field.parse_with(Action::parse)?),
            "precedence" => precedence = Some(field.integer()?),
            "include" => policy.include = field.collect(Rule::import)?,
            "require" => policy.require = field.collect(Rule::import)?,
            "exclude" => policy.exclude = field.collect(Rule::import)?,
            "session_duration" => {
                policy.session_duration = Some(field.parse_with(duration::parse)?);
            }
            name if INFORMATIVE_FIELDS.contains(&name) => {}
            name if LATER_FIELDS.contains(&name) => field.refuse_unless_inert()?,
            _ => return Err(field.unknown_field()),
        }
    }
    policy.decision = decision.ok_or_else(|| place.error(Kind::MissingField("decision")))?;
    policy.name =
        name.or_else(|| id.clone()).ok_or_else(|| place.error(Kind::MissingField("name")))?;
    policy.id = id.unwrap_or_else(|| policy.name.clone());
    Ok((precedence, policy))
}

/// A string, or an object without `include`, is Cloudflare's link to a reusable policy.
fn import_link(place: &Place<'_>) -> Result<(Option<i64>, Policy), Error> {
    if place.is_object() && place.field("decision")?.is_some() {
        return Err(place.error(Kind::MissingField("include")));
    }
    if place.is_object() && place.field("id")?.is_none() {
        return Err(place.error(Kind::MissingField("include")));
    }
    if !place.is_object() {
        place.string()?;
    }
    Err(place.error(Kind::Unsupported("a link to a reusable policy".to_owned())))
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

/// What the API returns about a policy without bearing on a decision.
const INFORMATIVE_FIELDS: [&str; 5] = ["app_count", "created_at", "reusable", "uid", "updated_at"];

/// What a policy can demand of a visitor besides its rules. To drop a demand would open a door.
const LATER_FIELDS: [&str; 8] = [
    "approval_groups",
    "approval_required",
    "connection_rules",
    "isolation_required",
    "mfa_config",
    "mfa_required",
    "purpose_justification_prompt",
    "purpose_justification_required",
];
