//! A web application behind the edge: where it is, and who may use it.

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::SerializeMap};

use crate::{
    destination::Destination,
    document::{Node, Place},
    duration,
    error::{Error, Kind},
    limits,
    policy::{Action, Policy},
    rule::Rule,
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
    /// The identifier; no two applications of an engine share one.
    pub id: String,
    /// The name, for people.
    pub name: String,
    /// Which requests this application protects.
    pub destinations: Vec<Destination>,
    /// Who may pass. Bypass policies are asked first; within a phase the order is that of this
    /// list, and the first match decides.
    pub policies: Vec<Policy>,
    /// How long a login lasts, unless the policy says otherwise; 24 hours when absent.
    pub session_duration: Option<Duration>,
}

impl Application {
    /// An application without destinations and policies. The name is the id.
    pub fn new(id: impl Into<String>) -> Self {
        let id = id.into();
        Self {
            name: id.clone(),
            id,
            destinations: Vec::new(),
            policies: Vec::new(),
            session_duration: None,
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
        self.policies.push(policy);
        self
    }

    /// Sets how long a login lasts.
    pub fn session_duration(mut self, duration: Duration) -> Self {
        self.session_duration = Some(duration);
        self
    }

    /// The policies in the order in which they are asked: bypass first, then allow and deny.
    pub(crate) fn policies_in_order(&self) -> impl Iterator<Item = &Policy> {
        let of_phase =
            |first| self.policies.iter().filter(move |p| p.decision.is_first_phase() == first);
        of_phase(true).chain(of_phase(false))
    }

    pub(crate) fn import(place: &Place<'_>) -> Result<Self, Error> {
        let mut application = Self::new("");
        let (mut id, mut name, mut domain, mut legacy) = (None, None, None, Vec::new());
        let mut destinations = None;
        for field in place.fields()? {
            match field.name() {
                "id" => id = Some(field.string()?.to_owned()),
                "name" => name = Some(field.string()?.to_owned()),
                "type" => check_type(&field)?,
                "domain" => domain = Some(field.parse()?),
                "destinations" => destinations = Some(field.collect(import_destination)?),
                "self_hosted_domains" => {
                    legacy = field.collect(|place| place.parse_with(Destination::parse))?;
                }
                "policies" => application.policies = Policy::import_all(&field)?,
                "session_duration" => {
                    application.session_duration = Some(field.parse_with(duration::parse)?);
                }
                name if INFORMATIVE_FIELDS.contains(&name) => {}
                name if LATER_FIELDS.contains(&name) => field.refuse_unless_inert()?,
                _ => return Err(field.unknown_field()),
            }
        }
        for destination in domain.into_iter().chain(destinations.unwrap_or(legacy)) {
            application = application.destination(destination);
        }
        if application.destinations.is_empty() {
            return Err(place.error(Kind::MissingField("domain")));
        }
        application.name = name
            .or_else(|| id.clone())
            .or_else(|| application.destinations.first().map(Destination::to_string))
            .unwrap_or_default();
        application.id = id.unwrap_or_else(|| application.name.clone());
        Ok(application)
    }
}

/// Where the application is and whom it lets in, in one line.
impl fmt::Display for Application {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, destination) in self.destinations.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(formatter, "{separator}{destination}")?;
        }
        formatter.write_str(": ")?;
        for policy in self.policies_in_order().filter(|policy| !policy.include.is_empty()) {
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
        formatter.write_str("everyone else is refused")
    }
}

/// The JSON form that Cloudflare's API takes.
impl Serialize for Application {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("type", SELF_HOSTED)?;
        if let Some(domain) = self.destinations.first() {
            map.serialize_entry("domain", &domain.to_string())?;
        }
        let destinations: Vec<_> = self.destinations.iter().map(PublicDestination::from).collect();
        map.serialize_entry("destinations", &destinations)?;
        map.serialize_entry("policies", &self.policies)?;
        if let Some(duration) = self.session_duration {
            map.serialize_entry("session_duration", &duration::format(duration))?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Application {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Node::deserialize(deserializer)?;
        Self::import(&node.root()).map_err(D::Error::custom)
    }
}

#[derive(Serialize)]
struct PublicDestination {
    r#type: &'static str,
    uri: String,
}

impl From<&Destination> for PublicDestination {
    fn from(destination: &Destination) -> Self {
        Self { r#type: "public", uri: destination.to_string() }
    }
}

fn is_everyone(policy: &Policy) -> bool {
    policy.include.contains(&Rule::Everyone)
        && policy.require.is_empty()
        && policy.exclude.is_empty()
}

fn check_type(field: &Place<'_>) -> Result<(), Error> {
    match field.string()? {
        SELF_HOSTED => Ok(()),
        other => {
            let other = limits::excerpt(other);
            Err(field.error(Kind::Unsupported(format!("application type `{other}`"))))
        }
    }
}

/// Reads `{"type": "public", "uri": ".."}`. Without a type, a `uri` means public.
fn import_destination(place: &Place<'_>) -> Result<Destination, Error> {
    if let Some(kind) = place.field("type")?
        && kind.string()? != "public"
    {
        return Err(kind.error(Kind::Unsupported("a destination that is not public".to_owned())));
    }
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

/// What the API returns about an application without bearing on a decision.
const INFORMATIVE_FIELDS: [&str; 6] =
    ["app_launcher_visible", "aud", "created_at", "tags", "uid", "updated_at"];

/// What an application can ask of the edge besides its policies. This version does not carry it,
/// and to drop it silently would break what the author relies on.
const LATER_FIELDS: [&str; 25] = [
    "allow_authenticate_via_warp",
    "allow_iframe",
    "allowed_idps",
    "auto_redirect_to_identity",
    "cors_headers",
    "custom_deny_message",
    "custom_deny_url",
    "custom_non_identity_deny_url",
    "custom_pages",
    "enable_binding_cookie",
    "http_only_cookie_attribute",
    "logo_url",
    "mfa_config",
    "oauth_configuration",
    "options_preflight_bypass",
    "path_cookie_attribute",
    "read_service_tokens_from_header",
    "saas_app",
    "same_site_cookie_attribute",
    "scim_config",
    "service_auth_401_redirect",
    "skip_app_launcher_login_page",
    "skip_interstitial",
    "target_criteria",
    "use_clientless_isolation_app_launcher_url",
];
