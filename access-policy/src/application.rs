//! A web application behind the edge: where it is, and who may use it.

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::SerializeMap};

use crate::{
    destination::Destination,
    document::{Faults, Mode, Place},
    duration,
    error::{Error, Kind},
    limits,
    node::{Carried, Node},
    policy::{Action, Policy},
    rule::Rule,
    settings::Settings,
};

/// Destinations, and the policies that hold for them, in order of precedence.
///
/// ```
/// use access_policy::{Application, Policy, Rule};
///
/// let wiki = Application::new("wiki")
///     .destination("wiki.example.jp".parse()?)
///     .policy(Policy::allow("staff").include(Rule::from_allowed_mail("*@example.jp")?));
/// assert_eq!(
///     wiki.to_string(),
///     "wiki.example.jp: anyone with an address @example.jp; everyone else is refused",
/// );
/// let open = Application::new("open")
///     .destination("open.example.jp".parse()?)
///     .policy(Policy::bypass("all").include(Rule::Everyone));
/// assert_eq!(open.to_string(), "open.example.jp: everyone, without login");
/// # Ok::<(), access_policy::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct Application {
    /// The identifier, in lower case; no two applications of an engine share one.
    pub id: String,
    /// The name, for people.
    pub name: String,
    /// Which requests this application protects.
    pub destinations: Vec<Destination>,
    /// What kind of application it is. Only `self_hosted`, `ssh`, `vnc`, `rdp`, `mcp` and
    /// `mcp_portal` protect hosts; the other kinds are carried.
    pub kind: ApplicationKind,
    /// Who may pass. Bypass and service policies are asked first; within a phase the order is that
    /// of this list, and the first match decides.
    pub policies: Vec<PolicyEntry>,
    /// How long a login lasts, unless the policy says otherwise; 24 hours when absent.
    pub session_duration: Option<Duration>,
    /// What the application asks of the edge besides.
    pub settings: Option<Box<Settings>>,
}

/// A policy of an application: its own, or one that several share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyEntry {
    /// A policy of this application alone.
    Inline(Policy),
    /// The id of a reusable policy in [`Policies::policies`](crate::Policies::policies), in lower
    /// case.
    Link(Box<str>),
}

/// What an application is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ApplicationKind {
    /// A web application on hosts of one's own.
    #[default]
    SelfHosted,
    /// Another kind, by Cloudflare's name for it.
    Other(Box<str>),
}

impl Application {
    /// An application without destinations and policies. The id is the name in lower case.
    pub fn new(id: impl Into<String>) -> Self {
        let name = id.into();
        Self {
            id: name.to_ascii_lowercase(),
            name,
            destinations: Vec::new(),
            kind: ApplicationKind::SelfHosted,
            policies: Vec::new(),
            session_duration: None,
            settings: None,
        }
    }

    /// Sets the name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Adds a destination, unless it is there already.
    pub fn destination(mut self, destination: Destination) -> Self {
        if !self.destinations.contains(&destination) {
            self.destinations.push(destination);
        }
        self
    }

    /// Adds a policy after the others.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policies.push(PolicyEntry::Inline(policy));
        self
    }

    /// Adds a reusable policy after the others.
    pub fn link(mut self, policy_id: impl AsRef<str>) -> Self {
        self.policies.push(PolicyEntry::Link(policy_id.as_ref().to_ascii_lowercase().into()));
        self
    }

    /// Sets what the application asks of the edge besides.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = Some(Box::new(settings)).filter(|settings| !settings.is_empty());
        self
    }

    /// Sets how long a login lasts.
    pub fn session_duration(mut self, duration: Duration) -> Self {
        self.session_duration = Some(duration);
        self
    }

    pub(crate) fn import(place: &Place<'_>) -> Result<Self, Error> {
        let mut application = Self::new("");
        let mut settings = Settings::default();
        let (mut id, mut uid, mut name, mut legacy) = (None, None, None, Vec::new());
        let (mut domain, mut destinations) = (None, None);
        application.kind = match place.field("type")? {
            None => ApplicationKind::SelfHosted,
            Some(kind) => ApplicationKind::import(&kind)?,
        };
        let protects = application.kind.protects_hosts();
        for field in place.fields()? {
            match field.name() {
                "id" => id = field.keep(field.id()),
                "uid" => uid = field.keep(field.id()),
                "name" => name = field.keep(field.string()),
                "type" => {}
                "domain" | "destinations" | "self_hosted_domains" if !protects => {
                    settings.carried.push(field.name(), field.node());
                }
                "domain" if field.node().is_inert() => {}
                "domain" => domain = Some(field.keep(field.parse())),
                "destinations" => {
                    destinations = field.keep(import_destinations(&field, &mut settings));
                }
                "self_hosted_domains" => {
                    let patterns = field.collect(|place| place.parse_with(Destination::parse));
                    legacy = field.keep(patterns).unwrap_or_default();
                }
                "policies" => {
                    application.policies = field.keep(import_policies(&field)).unwrap_or_default();
                }
                "session_duration" if !field.node().is_inert() => {
                    application.session_duration = field.keep(field.parse_with(duration::parse));
                }
                name if IGNORED_FIELDS.contains(&name) || name == "session_duration" => {}
                _ if settings.import_field(&field) => {}
                name => {
                    field.tolerate(field.unknown_field());
                    settings.carried.push(name, field.node());
                }
            }
        }
        settings.check(place);
        let is_nowhere = domain.is_none() && destinations.is_none() && legacy.is_empty();
        let domain = domain.flatten();
        let listed = destinations.filter(|list| !list.is_empty()).unwrap_or(legacy);
        application.destinations.reserve_exact(1);
        for destination in domain.into_iter().chain(listed) {
            application = application.destination(destination);
        }
        application.destinations.shrink_to_fit();
        if is_nowhere && protects {
            return Err(place.error(Kind::MissingField("domain")));
        }
        let id = id.or(uid).map(String::from);
        application.name = name
            .map(str::to_owned)
            .or_else(|| id.clone())
            .or_else(|| application.destinations.first().map(Destination::to_string))
            .unwrap_or_default();
        application.id = id.unwrap_or_else(|| application.name.to_ascii_lowercase());
        Ok(application.settings(settings))
    }
}

impl ApplicationKind {
    /// Returns the name in Cloudflare's JSON.
    pub fn as_str(&self) -> &str {
        match self {
            Self::SelfHosted => SELF_HOSTED,
            Self::Other(name) => name,
        }
    }

    /// Reports whether policies of such an application decide about requests for its hosts.
    pub fn protects_hosts(&self) -> bool {
        match self {
            Self::SelfHosted => true,
            Self::Other(name) => {
                matches!(&**name, "ssh" | "vnc" | "rdp" | "mcp" | "mcp_portal")
            }
        }
    }

    /// A kind that is misspelt must not silently protect nothing.
    fn import(place: &Place<'_>) -> Result<Self, Error> {
        let name = place.string()?.to_ascii_lowercase();
        if name == SELF_HOSTED {
            return Ok(Self::SelfHosted);
        }
        if !OTHER_KINDS.contains(&&*name) {
            let found = limits::excerpt(&name);
            place.tolerate(place.error(Kind::UnknownValue { found, expected: KINDS }));
        }
        Ok(Self::Other(name.into()))
    }
}

impl From<Policy> for PolicyEntry {
    fn from(policy: Policy) -> Self {
        Self::Inline(policy)
    }
}

/// Reads the policies of an application, and puts them in order of precedence.
fn import_policies(place: &Place<'_>) -> Result<Vec<PolicyEntry>, Error> {
    let mut policies = place.collect(import_entry)?;
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
    let mut policies: Vec<_> = policies.into_iter().map(|(_, policy)| policy).collect();
    policies.shrink_to_fit();
    Ok(policies)
}

/// A string, or an object without `include`, is a link to a reusable policy.
fn import_entry(place: &Place<'_>) -> Result<(Option<i64>, PolicyEntry), Error> {
    if !place.is_object() {
        return Ok((None, PolicyEntry::Link(place.id()?)));
    }
    if place.field("include")?.is_some() || place.field("decision")?.is_some() {
        let (precedence, policy) = Policy::import(place)?;
        return Ok((precedence, PolicyEntry::Inline(policy)));
    }
    let Some(id) = place.field("id")? else {
        return Err(place.error(Kind::MissingField("include")));
    };
    let precedence = place.field("precedence")?.map(|number| number.integer()).transpose()?;
    Ok((precedence, PolicyEntry::Link(id.id()?)))
}

/// Reads public destinations; the others are carried.
fn import_destinations(
    place: &Place<'_>,
    settings: &mut Settings,
) -> Result<Vec<Destination>, Error> {
    let mut destinations = Vec::new();
    for element in place.elements()? {
        let kind = element.field("type")?.map(|kind| kind.string()).transpose()?;
        if kind.is_none_or(|kind| kind.eq_ignore_ascii_case("public")) {
            destinations.extend(element.keep(import_destination(&element)));
        } else {
            let kind = kind.unwrap_or_default();
            if !OTHER_DESTINATIONS.iter().any(|known| known.eq_ignore_ascii_case(kind)) {
                let found = limits::excerpt(kind);
                let expected = "`public`, `private`, `via_mcp_server_portal`";
                element.tolerate(element.error(Kind::UnknownValue { found, expected }));
            }
            let mut carried = Carried::default();
            for field in element.fields()? {
                carried.push(field.name(), field.node());
            }
            settings.other_destinations.push(carried);
        }
    }
    Ok(destinations)
}

/// Where the application is and whom it lets in, in one line.
impl fmt::Display for Application {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.kind.protects_hosts() {
            return write!(
                formatter,
                "`{}` of kind {}: carried, protects no host here",
                self.name,
                self.kind.as_str()
            );
        }
        for (index, destination) in self.destinations.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(formatter, "{separator}{destination}")?;
        }
        formatter.write_str(": ")?;
        for phase in [true, false] {
            for entry in &self.policies {
                let PolicyEntry::Inline(policy) = entry else {
                    if let (PolicyEntry::Link(id), false) = (entry, phase) {
                        write!(formatter, "by reusable policy `{id}`; ")?;
                    }
                    continue;
                };
                if policy.include.is_empty() || policy.decision.is_first_phase() != phase {
                    continue;
                }
                match policy.decision {
                    Action::Allow if is_everyone(policy) => {
                        formatter.write_str("anyone who logs in")?;
                    }
                    Action::Allow => policy.fmt(formatter)?,
                    Action::Deny => write!(formatter, "never {policy}")?,
                    // Nobody else is left.
                    Action::Bypass if is_everyone(policy) => {
                        return formatter.write_str("everyone, without login");
                    }
                    Action::Bypass => write!(formatter, "without login {policy}")?,
                    Action::NonIdentity => write!(formatter, "as a service {policy}")?,
                }
                formatter.write_str("; ")?;
            }
        }
        formatter.write_str("everyone else is refused")
    }
}

/// The JSON form that Cloudflare's API takes.
impl Serialize for Application {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("type", self.kind.as_str())?;
        if let Some(domain) = self.destinations.first() {
            map.serialize_entry("domain", &domain.to_string())?;
        }
        if self.kind.protects_hosts() {
            map.serialize_entry("destinations", &Destinations(self))?;
        }
        map.serialize_entry("policies", &self.policies)?;
        if let Some(duration) = self.session_duration {
            map.serialize_entry("session_duration", &duration::format(duration))?;
        }
        if let Some(settings) = &self.settings {
            settings.write(&mut map)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Application {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Node::deserialize(deserializer)?;
        let faults = Faults::new(Mode::Strict);
        let result = Self::import(&Place::root(&node, &faults));
        faults.finish(result).map(|(application, _)| application).map_err(D::Error::custom)
    }
}

impl Serialize for PolicyEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Inline(policy) => policy.serialize(serializer),
            Self::Link(id) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("id", id)?;
                map.end()
            }
        }
    }
}

/// All destinations, public ones first.
struct Destinations<'a>(&'a Application);

impl Serialize for Destinations<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let public = self.0.destinations.iter().map(|destination| {
            let member =
                |name: &'static str, value: String| (name.into(), Node::String(value.into()));
            Node::Object(vec![
                member("type", "public".to_owned()),
                member("uri", destination.to_string()),
            ])
        });
        let others = self.0.settings.iter().flat_map(|settings| &settings.other_destinations);
        serializer.collect_seq(public.chain(others.map(Carried::to_node)))
    }
}

fn is_everyone(policy: &Policy) -> bool {
    policy.include.contains(&Rule::Everyone)
        && policy.require.is_empty()
        && policy.exclude.is_empty()
}

/// Reads `{"type": "public", "uri": ".."}`. Without a type, a `uri` means public.
fn import_destination(place: &Place<'_>) -> Result<Destination, Error> {
    let mut destination = None;
    for field in place.fields()? {
        match field.name() {
            "type" => {}
            "uri" => destination = Some(field.parse()?),
            _ => return Err(field.unknown_field()),
        }
    }
    destination.ok_or_else(|| place.error(Kind::MissingField("uri")))
}

const SELF_HOSTED: &str = "self_hosted";

/// Kinds besides [`SELF_HOSTED`] that the API knows.
const OTHER_KINDS: [&str; 14] = [
    "app_launcher",
    "biso",
    "bookmark",
    "browser_isolation",
    "dash_sso",
    "infrastructure",
    "mcp",
    "mcp_portal",
    "proxy_endpoint",
    "rdp",
    "saas",
    "ssh",
    "vnc",
    "warp",
];
const KINDS: &str = "`self_hosted`, `saas`, `ssh`, `vnc`, `rdp`, `mcp`, `mcp_portal`, `infrastructure`, \
                     `app_launcher`, `warp`, `biso`, `bookmark`, `dash_sso`, `proxy_endpoint`";

/// Destinations besides public ones, which are carried.
const OTHER_DESTINATIONS: [&str; 2] = ["private", "via_mcp_server_portal"];

/// What the API and Terraform return about an application without bearing on anything.
const IGNORED_FIELDS: [&str; 4] = ["account_id", "created_at", "updated_at", "zone_id"];
