//! One selector: the smallest question a policy asks.
//!
//! To add a selector: a variant of [`Rule`], its row in [`SELECTORS`], its reading in `import` and
//! its writing in `Serialize`, its truth in `evaluate`, its words in `Display` and `condition`, and
//! cases in `tests/data`. The compiler names each place.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::SerializeMap};

use crate::{
    document::{Node, Place},
    domain::Domain,
    email::EmailAddress,
    error::{Error, Kind},
    identity::Identity,
    limits,
    network::Network,
    request::Request,
    truth::{Fact, Gap, Truth},
};

/// One selector with its value, as in `{"email_domain": {"domain": "example.jp"}}`.
///
/// `Display` says who is meant, in words: "anyone with an address @example.jp".
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// `everyone`: always matches.
    Everyone,
    /// `email`: the visitor's address is this one.
    Email(EmailAddress),
    /// `email_domain`: the visitor's address has exactly this domain; sub-domains do not match.
    EmailDomain(Domain),
    /// `ip`: the visitor's network address lies in this block.
    Ip(Network),
}

impl Rule {
    /// Reads an entry of a list of allowed mail addresses, as command lines and TOML files carry
    /// it: `*@example.jp`, `hanako@example.jp`, or `*` for everyone who can log in.
    ///
    /// ```
    /// use access_policy::Rule;
    ///
    /// let rule = Rule::from_allowed_mail("*@example.jp")?;
    /// assert_eq!(rule.to_string(), "anyone with an address @example.jp");
    ///
    /// let error = Rule::from_allowed_mail("@example.jp").unwrap_err();
    /// assert!(error.to_string().contains("put `*` before the `@`"));
    /// # Ok::<(), access_policy::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When the entry is none of the three; the message says how to write it.
    pub fn from_allowed_mail(text: &str) -> Result<Self, Error> {
        let problem =
            |problem| Error::from(Kind::AllowedMail { text: limits::excerpt(text), problem });
        if text == "*" {
            return Ok(Self::Everyone);
        }
        let Some((local, domain)) = text.split_once('@') else {
            return Err(problem("write `*@example.jp`, `name@example.jp`, or `*`"));
        };
        match local {
            "" => Err(problem("put `*` before the `@` to mean everyone at that domain")),
            "*" if domain.contains('*') => {
                Err(problem("sub-domains can't be covered by a wildcard; list each domain"))
            }
            "*" if domain.contains('@') => Err(problem("more than one `@`")),
            "*" => Domain::parse(domain)
                .map(Self::EmailDomain)
                .map_err(|_| problem("what follows the `@` is not a legal domain")),
            _ if local.contains('*') || domain.contains('*') => {
                Err(problem("a `*` can only stand for the whole part before the `@`"))
            }
            // The address is not repeated in full: errors end up in logs.
            _ => EmailAddress::parse(text).map(Self::Email),
        }
    }

    /// Returns the selector's name in Cloudflare's JSON.
    pub fn selector(&self) -> &'static str {
        match self {
            Self::Everyone => "everyone",
            Self::Email(_) => "email",
            Self::EmailDomain(_) => "email_domain",
            Self::Ip(_) => "ip",
        }
    }

    /// Reports whether only a login can answer this rule.
    pub fn needs_identity(&self) -> bool {
        match self {
            Self::Email(_) | Self::EmailDomain(_) => true,
            Self::Everyone | Self::Ip(_) => false,
        }
    }

    /// Answers the rule for a request.
    pub(crate) fn evaluate(&self, request: &Request<'_>) -> Truth {
        let email = || request.known_identity().map(Identity::email);
        match self {
            Self::Everyone => Truth::True,
            Self::Email(listed) => by_login(email().map(|email| email == listed)),
            Self::EmailDomain(listed) => by_login(email().map(|email| email.domain() == listed)),
            Self::Ip(network) => by_fact(
                Fact::ClientAddress,
                request.client_ip_address().map(|address| network.contains(address)),
            ),
        }
    }

    /// The rule as a condition: "e-mail ends in @example.jp".
    pub(crate) fn condition(&self) -> impl fmt::Display + '_ {
        Condition(self)
    }

    /// Reads `{"selector": {..}}`.
    pub(crate) fn import(place: &Place<'_>) -> Result<Self, Error> {
        let mut named = Vec::new();
        for selector in place.fields()? {
            check_known(&selector)?;
            if !is_empty_shell(&selector)? {
                named.push(selector);
            }
        }
        let [selector] = named.as_slice() else {
            return Err(place.error(Kind::RuleShape(named.len())));
        };
        match selector.name() {
            "everyone" => read_nothing(selector).map(|()| Self::Everyone),
            "email" => read_one(selector, "email").map(Self::Email),
            "email_domain" => read_one(selector, "domain").map(Self::EmailDomain),
            "ip" => read_one(selector, "ip").map(Self::Ip),
            name => Err(selector.error(Kind::Unsupported(format!("selector `{name}`")))),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everyone => formatter.write_str("everyone"),
            Self::Email(address) => write!(formatter, "{address}"),
            Self::EmailDomain(domain) => write!(formatter, "anyone with an address @{domain}"),
            Self::Ip(network) => write!(formatter, "anyone at network address {network}"),
        }
    }
}

/// The JSON form that Cloudflare's API takes.
impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = match self {
            Self::Everyone => Value(None),
            Self::Email(address) => Value(Some(("email", address.to_string()))),
            Self::EmailDomain(domain) => Value(Some(("domain", domain.to_string()))),
            Self::Ip(network) => Value(Some(("ip", network.to_string()))),
        };
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.selector(), &value)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Node::deserialize(deserializer)?;
        Self::import(&node.root()).map_err(D::Error::custom)
    }
}

/// The object behind a selector's name: empty, or one field.
struct Value(Option<(&'static str, String)>);

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(usize::from(self.0.is_some())))?;
        if let Some((name, value)) = &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

struct Condition<'a>(&'a Rule);

impl fmt::Display for Condition<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Rule::Everyone => formatter.write_str("everyone"),
            Rule::Email(address) => write!(formatter, "e-mail is {address}"),
            Rule::EmailDomain(domain) => write!(formatter, "e-mail ends in @{domain}"),
            Rule::Ip(network) => write!(formatter, "client address is in {network}"),
        }
    }
}

fn by_login(answer: Option<bool>) -> Truth {
    answer.map_or(Truth::Unknown(Gap::NeedsIdentity), Truth::from)
}

fn by_fact(fact: Fact, answer: Option<bool>) -> Truth {
    answer.map_or(Truth::Unknown(Gap::Missing(fact)), Truth::from)
}

/// Refuses a selector that not even Cloudflare has.
fn check_known(selector: &Place<'_>) -> Result<(), Error> {
    let name = selector.name();
    if SELECTORS.contains(&name) || LATER_SELECTORS.contains(&name) {
        return Ok(());
    }
    Err(selector.error(Kind::unknown_selector(name, &SELECTORS)))
}

/// Reports whether a selector that needs a value came without one, as the API has returned them.
fn is_empty_shell(selector: &Place<'_>) -> Result<bool, Error> {
    if PRESENCE_SELECTORS.contains(&selector.name()) || !selector.is_object() {
        return Ok(false);
    }
    Ok(selector.fields()?.next().is_none())
}

fn read_nothing(selector: &Place<'_>) -> Result<(), Error> {
    match selector.fields()?.next() {
        Some(stranger) => Err(stranger.unknown_field()),
        None => Ok(()),
    }
}

fn read_one<T: FromStr<Err = Error>>(selector: &Place<'_>, name: &'static str) -> Result<T, Error> {
    if let Some(stranger) = selector.fields()?.find(|field| field.name() != name) {
        return Err(stranger.unknown_field());
    }
    match selector.field(name)? {
        Some(field) => field.parse(),
        None => Err(selector.error(Kind::MissingField(name))),
    }
}

/// What this version evaluates.
const SELECTORS: [&str; 4] = ["email", "email_domain", "everyone", "ip"];

/// What Cloudflare has besides. To skip one could open a door, so it is an error to use it.
const LATER_SELECTORS: [&str; 22] = [
    "any_valid_service_token",
    "auth_context",
    "auth_method",
    "azureAD",
    "certificate",
    "cloudflare_account_member",
    "common_name",
    "device_posture",
    "email_list",
    "external_evaluation",
    "geo",
    "github-organization",
    "group",
    "gsuite",
    "ip_list",
    "linked_app_token",
    "login_method",
    "oidc",
    "okta",
    "saml",
    "service_token",
    "user_risk_score",
];

/// Selectors whose empty object is their value.
const PRESENCE_SELECTORS: [&str; 4] =
    ["any_valid_service_token", "certificate", "cloudflare_account_member", "everyone"];
