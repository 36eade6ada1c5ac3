//! How a rule stands in Cloudflare's JSON, in its present and earlier forms.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::SerializeMap};

use crate::{
    document::{Faults, Mode, Place},
    error::{Error, Kind},
    limits,
    network::Network,
    node::{Members, Node},
    remark::LintCode,
    risk::{RiskLevel, RiskLevels},
    rule::{Rule, Unsupported},
};

/// Reads an array of rules.
pub(crate) fn import_rules(place: &Place<'_>) -> Result<Vec<Rule>, Error> {
    let mut rules = Vec::new();
    if let Node::Array(elements) = place.node() {
        rules.reserve_exact(elements.len());
    }
    for element in place.elements()? {
        if let Some(read) = element.keep(import_block(&element)) {
            rules.extend(read);
        }
    }
    Ok(rules)
}

/// Reads `{"selector": {..}}`, or a block of Terraform's provider 4 with several values.
fn import_block(place: &Place<'_>) -> Result<Vec<Rule>, Error> {
    if place.is_lenient()
        && let Some(name) = place.field(FLATTENED)?
    {
        return import_flattened(place, name.string()?).map(|rule| vec![rule]);
    }
    let mut named = Vec::new();
    for selector in place.fields()? {
        if !is_empty_shell(&selector)? {
            named.push(selector);
        }
    }
    let is_of_provider_4 = named
        .iter()
        .any(|selector| selector.is_array() || matches!(selector.node(), Node::Bool(_)));
    if is_of_provider_4 {
        // A state writes every key, and an empty text for what was left out.
        named.retain(|selector| !matches!(selector.node(), Node::String(text) if text.is_empty()));
        let rules = named.iter().map(import_values).collect::<Result<Vec<_>, _>>()?;
        let rules: Vec<Rule> = rules.into_iter().flatten().collect();
        let is_rule = !rules.is_empty() || named.iter().all(|selector| selector.node().is_inert());
        return if is_rule { Ok(rules) } else { Err(place.error(Kind::RuleShape(0))) };
    }
    let [selector] = named.as_slice() else {
        return Err(place.error(Kind::RuleShape(named.len())));
    };
    import_selector(selector)
        .or_else(|error| as_unsupported(selector, error))
        .map(|rule| vec![rule])
}

/// Reads `{"_type": "selector", ..}`, as the API tells the rules that it tried on a user.
fn import_flattened(place: &Place<'_>, name: &str) -> Result<Rule, Error> {
    let fields = place.fields()?.filter(|field| field.name() != FLATTENED);
    let members = fields.map(|field| (field.name().into(), field.node().clone())).collect();
    import_detached(place, name, Node::Object(members))
}

/// In lenient reading, a selector that can't be read stays, and is never true and never false.
fn as_unsupported(selector: &Place<'_>, error: Error) -> Result<Rule, Error> {
    if !selector.is_lenient() {
        return Err(error);
    }
    selector.tolerate(error);
    let name = selector.name().into();
    Ok(Rule::Unsupported(Unsupported { name, node: Box::new(selector.node().to_owned()) }))
}

/// Reads the values of one key in a block of Terraform's provider 4: each makes a rule.
fn import_values(selector: &Place<'_>) -> Result<Vec<Rule>, Error> {
    let name = canonical_name(selector.name());
    let field = match name {
        "common_names" => "common_name",
        name => VALUE_FIELDS.iter().find(|(known, _)| *known == name).map_or("", |(_, f)| f),
    };
    match selector.node() {
        Node::Bool(false) => Ok(Vec::new()),
        Node::Bool(true) => match name {
            "everyone" => Ok(vec![Rule::Everyone]),
            "certificate" => Ok(vec![Rule::Certificate]),
            "any_valid_service_token" => Ok(vec![Rule::AnyValidServiceToken]),
            _ => Err(selector.wrong_type("an object")),
        },
        Node::String(text) => import_value(selector, name, field, text).map(|rule| vec![rule]),
        Node::Array(elements) => {
            let mut rules = Vec::new();
            for (element, node) in selector.elements()?.zip(elements) {
                match node {
                    Node::String(text) => {
                        if name == "ip" {
                            note_host_bits(&element);
                        }
                        let rule = import_value(selector, name, field, text);
                        rules.push(rule.map_err(|error| error.at(element.path()))?);
                    }
                    Node::Object(members) => {
                        rules.extend(import_objects(selector, name, members)?);
                    }
                    _ => return Err(element.wrong_type("a string or an object")),
                }
            }
            Ok(rules)
        }
        _ => import_selector(selector).map(|rule| vec![rule]),
    }
}

/// The address of a block is its first one. Another one in its place is read as if it were.
pub(crate) fn note_host_bits(place: &Place<'_>) {
    let network = place.string().ok().and_then(|text| Some((text, Network::parse(text).ok()?)));
    if let Some((text, network)) = network
        && !network.is_written_as(text)
    {
        let message =
            format!("`{}` has bits beyond its prefix; it means {network}", limits::excerpt(text));
        place.remark(LintCode::HostBitsSet, message);
    }
}

/// Reads a bare value as if it stood in the selector's only field.
fn import_value(at: &Place<'_>, name: &str, field: &str, text: &str) -> Result<Rule, Error> {
    let name = if name == "common_names" { "common_name" } else { name };
    let value = Node::Object(vec![(field.into(), Node::String(text.into()))]);
    import_detached(at, name, value)
}

/// Reads an object in which one field may be a list.
fn import_objects(at: &Place<'_>, name: &str, members: &Members<'_>) -> Result<Vec<Rule>, Error> {
    let list = members.iter().find_map(|(field, node)| match node {
        Node::Array(elements) if name != "user_risk_score" => Some((field, elements)),
        _ => None,
    });
    let Some((list, elements)) = list else {
        return Ok(vec![import_detached(at, name, Node::Object(members.clone()))?]);
    };
    let singular = if list == "teams" { "team" } else { list };
    let with = |element: Option<&Node<'_>>| {
        let mut members: Vec<_> =
            members.iter().filter(|(field, _)| field != list).cloned().collect();
        members.extend(element.map(|element| (singular.to_owned().into(), element.clone())));
        import_detached(at, name, Node::Object(members))
    };
    if elements.is_empty() && list == "teams" {
        return Ok(vec![with(None)?]);
    }
    elements.iter().map(|element| with(Some(element))).collect()
}

/// Reads a selector that was put together here; faults are told at the place it came from.
fn import_detached(at: &Place<'_>, name: &str, value: Node<'_>) -> Result<Rule, Error> {
    let faults = Faults::new(Mode::Strict);
    let node = Node::Object(vec![(name.into(), value)]);
    let root = Place::root(&node, &faults);
    let result = match root.fields()?.next() {
        Some(selector) => import_selector(&selector),
        None => Err(root.error(Kind::RuleShape(0))),
    };
    result.map_err(|error| error.relocate(at.path()))
}

/// Reads a selector in its present form.
fn import_selector(selector: &Place<'_>) -> Result<Rule, Error> {
    let s = selector;
    let rule = match canonical_name(s.name()) {
        "everyone" => only(s, &[]).map(|()| Rule::Everyone)?,
        "email" => Rule::Email(field(s, "email", &["email"])?.parse()?),
        "email_list" => Rule::EmailList(field(s, "id", &["id"])?.id()?),
        "email_domain" => Rule::EmailDomain(field(s, "domain", &["domain"])?.parse()?),
        "ip" => {
            let network = field(s, "ip", &["ip"])?;
            note_host_bits(&network);
            Rule::Ip(network.parse()?)
        }
        "ip_list" => Rule::IpList(field(s, "id", &["id"])?.id()?),
        "geo" => Rule::Geo(field(s, "country_code", &["country_code"])?.parse()?),
        "group" => Rule::Group(field(s, "id", &["id"])?.id()?),
        "azureAD" => {
            let id = field(s, "id", &with_provider(&["id"]))?.id()?;
            Rule::AzureAd { id, provider: provider(s)? }
        }
        "github-organization" => {
            let name = field(s, "name", &with_provider(&["name", "team"]))?.text()?;
            let team = s.field("team")?.filter(|team| !team.node().is_inert());
            let team = team.map(|team| team.text()).transpose()?;
            Rule::GithubOrganization { name, team, provider: provider(s)? }
        }
        "gsuite" => {
            let email = field(s, "email", &with_provider(&["email"]))?.parse()?;
            Rule::Gsuite { email, provider: provider(s)? }
        }
        "okta" => {
            only(s, &with_provider(&["name", "email"]))?;
            let old = s.field("email")?;
            let name = match (s.field("name")?, old) {
                (Some(name), None) | (None, Some(name)) => name.text()?,
                (Some(_), Some(old)) => return Err(old.unknown_field()),
                (None, None) => return Err(s.error(Kind::MissingField("name"))),
            };
            Rule::Okta { name, provider: provider(s)? }
        }
        "saml" => {
            only(s, &with_provider(&["attribute_name", "attribute_value"]))?;
            Rule::Saml {
                attribute: s.required("attribute_name")?.text()?,
                value: s.required("attribute_value")?.text()?,
                provider: optional_provider(s)?,
            }
        }
        "oidc" => {
            only(s, &with_provider(&["claim_name", "claim_value"]))?;
            Rule::Oidc {
                claim: s.required("claim_name")?.text()?,
                value: s.required("claim_value")?.text()?,
                provider: provider(s)?,
            }
        }
        "auth_context" => {
            only(s, &with_provider(&["id", "ac_id"]))?;
            Rule::AuthContext {
                id: s.required("id")?.id()?,
                class: s.required("ac_id")?.text()?,
                provider: provider(s)?,
            }
        }
        "auth_method" => Rule::AuthMethod(field(s, "auth_method", &["auth_method"])?.text()?),
        "login_method" => Rule::LoginMethod(field(s, "id", &["id"])?.id()?),
        "service_token" => Rule::ServiceToken(field(s, "token_id", &["token_id"])?.id()?),
        "any_valid_service_token" => only(s, &[]).map(|()| Rule::AnyValidServiceToken)?,
        "certificate" => only(s, &[]).map(|()| Rule::Certificate)?,
        "common_name" => Rule::CommonName(field(s, "common_name", &["common_name"])?.text()?),
        "device_posture" => {
            Rule::DevicePosture(field(s, "integration_uid", &["integration_uid"])?.id()?)
        }
        "external_evaluation" => {
            only(s, &["evaluate_url", "keys_url"])?;
            Rule::ExternalEvaluation {
                evaluate_url: s.required("evaluate_url")?.text()?,
                keys_url: s.required("keys_url")?.text()?,
            }
        }
        "linked_app_token" => Rule::LinkedAppToken(field(s, "app_uid", &["app_uid"])?.id()?),
        "user_risk_score" => {
            let levels = field(s, "user_risk_score", &["user_risk_score"])?;
            let levels = levels
                .elements()?
                .map(|level| level.parse_with(RiskLevel::parse))
                .collect::<Result<RiskLevels, _>>()?;
            if levels.iter().next().is_none() {
                return Err(s.error(Kind::MissingField("user_risk_score")));
            }
            Rule::UserRiskScore(levels)
        }
        "cloudflare_account_member" => {
            only(s, &["account_id"])?;
            let account = s.field("account_id")?.map(|account| account.id()).transpose()?;
            Rule::CloudflareAccountMember(account)
        }
        name => return Err(s.error(Kind::unknown_selector(name, &SELECTORS))),
    };
    Ok(rule)
}

/// The JSON form that Cloudflare's API takes.
impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        if let Self::Unsupported(unsupported) = self {
            map.serialize_entry(&*unsupported.name, &*unsupported.node)?;
        } else if let Self::UserRiskScore(levels) = self {
            let levels = levels.iter().map(|level| Node::String(level.as_str().into()));
            let value = Node::Array(levels.collect());
            let object = Node::Object(vec![("user_risk_score".into(), value)]);
            map.serialize_entry(self.selector(), &object)?;
        } else {
            map.serialize_entry(self.selector(), &Value(&values(self)))?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Node::deserialize(deserializer)?;
        let faults = Faults::new(Mode::Strict);
        let root = Place::root(&node, &faults);
        let rules = import_block(&root).map_err(D::Error::custom)?;
        match <[Self; 1]>::try_from(rules) {
            Ok([rule]) => Ok(rule),
            Err(rules) => Err(D::Error::custom(root.error(Kind::RuleShape(rules.len())))),
        }
    }
}

/// The fields of a selector's object, all of which are strings.
fn values(rule: &Rule) -> Vec<(&'static str, String)> {
    let with = |fields: &[(&'static str, &str)], provider: Option<&str>| {
        let provider = provider.map(|provider| ("identity_provider_id", provider));
        let fields = fields.iter().copied().chain(provider);
        fields.map(|(name, value)| (name, value.to_owned())).collect::<Vec<_>>()
    };
    match rule {
        Rule::Email(address) => vec![("email", address.to_string())],
        Rule::EmailDomain(domain) => vec![("domain", domain.to_string())],
        Rule::Ip(network) => vec![("ip", network.to_string())],
        Rule::Geo(country) => vec![("country_code", country.to_string())],
        Rule::EmailList(id) | Rule::IpList(id) | Rule::Group(id) | Rule::LoginMethod(id) => {
            with(&[("id", id)], None)
        }
        Rule::AzureAd { id, provider } => with(&[("id", id)], Some(provider)),
        Rule::GithubOrganization { name, team: None, provider } => {
            with(&[("name", name)], Some(provider))
        }
        Rule::GithubOrganization { name, team: Some(team), provider } => {
            with(&[("name", name), ("team", team)], Some(provider))
        }
        Rule::Gsuite { email, provider } => with(&[("email", email.as_str())], Some(provider)),
        Rule::Okta { name, provider } => with(&[("name", name)], Some(provider)),
        Rule::Saml { attribute, value, provider } => {
            let fields = [("attribute_name", &**attribute), ("attribute_value", &**value)];
            with(&fields, provider.as_deref())
        }
        Rule::Oidc { claim, value, provider } => {
            with(&[("claim_name", claim), ("claim_value", value)], Some(provider))
        }
        Rule::AuthContext { id, class, provider } => {
            with(&[("id", id), ("ac_id", class)], Some(provider))
        }
        Rule::AuthMethod(method) => with(&[("auth_method", method)], None),
        Rule::ServiceToken(id) => with(&[("token_id", id)], None),
        Rule::CommonName(name) => with(&[("common_name", name)], None),
        Rule::DevicePosture(id) => with(&[("integration_uid", id)], None),
        Rule::ExternalEvaluation { evaluate_url, keys_url } => {
            with(&[("evaluate_url", evaluate_url), ("keys_url", keys_url)], None)
        }
        Rule::LinkedAppToken(id) => with(&[("app_uid", id)], None),
        Rule::CloudflareAccountMember(Some(id)) => with(&[("account_id", id)], None),
        Rule::Everyone
        | Rule::AnyValidServiceToken
        | Rule::Certificate
        | Rule::CloudflareAccountMember(None)
        // Written by the caller.
        | Rule::UserRiskScore(_)
        | Rule::Unsupported(_) => Vec::new(),
    }
}

/// The object behind a selector's name.
struct Value<'a>(&'a [(&'static str, String)]);

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        self.0.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
        map.end()
    }
}

/// Terraform writes two names in another way.
fn canonical_name(name: &str) -> &str {
    match name {
        "azure_ad" | "azure" => "azureAD",
        "github_organization" | "github" => "github-organization",
        name => name,
    }
}

/// Reports whether a selector that needs a value came without one, as the API has returned them.
fn is_empty_shell(selector: &Place<'_>) -> Result<bool, Error> {
    let name = canonical_name(selector.name());
    if !SELECTORS.contains(&name) && name != "common_names" {
        return Ok(false);
    }
    if PRESENCE_SELECTORS.contains(&name) || !selector.is_object() {
        return Ok(matches!(selector.node(), Node::Array(elements) if elements.is_empty()));
    }
    Ok(selector.fields()?.next().is_none())
}

/// Refuses fields that have no meaning in a selector.
fn only(selector: &Place<'_>, names: &[&str]) -> Result<(), Error> {
    match selector.fields()?.find(|field| !names.contains(&field.name())) {
        Some(stranger) => Err(stranger.unknown_field()),
        None => Ok(()),
    }
}

/// A required field, after refusing strangers beside it.
fn field<'a>(
    selector: &'a Place<'a>,
    name: &'static str,
    names: &[&str],
) -> Result<Place<'a>, Error> {
    only(selector, names)?;
    selector.required(name)
}

fn with_provider(names: &[&'static str]) -> Vec<&'static str> {
    names.iter().copied().chain(PROVIDER_FIELDS).collect()
}

fn provider(selector: &Place<'_>) -> Result<Box<str>, Error> {
    optional_provider(selector)?
        .ok_or_else(|| selector.error(Kind::MissingField("identity_provider_id")))
}

fn optional_provider(selector: &Place<'_>) -> Result<Option<Box<str>>, Error> {
    let [new, old] = PROVIDER_FIELDS;
    match (selector.field(new)?, selector.field(old)?) {
        (None, None) => Ok(None),
        (Some(provider), None) | (None, Some(provider)) => provider.id().map(Some),
        (Some(_), Some(old)) => Err(old.unknown_field()),
    }
}

/// The field that names the selector in the results of Cloudflare's policy tests.
const FLATTENED: &str = "_type";

/// The field that names the provider, in today's API and in that of 2024.
const PROVIDER_FIELDS: [&str; 2] = ["identity_provider_id", "connection_id"];

/// Every selector of Cloudflare's.
pub(crate) const SELECTORS: [&str; 26] = [
    "any_valid_service_token",
    "auth_context",
    "auth_method",
    "azureAD",
    "certificate",
    "cloudflare_account_member",
    "common_name",
    "device_posture",
    "email",
    "email_domain",
    "email_list",
    "everyone",
    "external_evaluation",
    "geo",
    "github-organization",
    "group",
    "gsuite",
    "ip",
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

/// The field of selectors with one value, for forms in which the value stands bare.
const VALUE_FIELDS: [(&str, &str); 13] = [
    ("auth_method", "auth_method"),
    ("common_name", "common_name"),
    ("device_posture", "integration_uid"),
    ("email", "email"),
    ("email_domain", "domain"),
    ("email_list", "id"),
    ("geo", "country_code"),
    ("group", "id"),
    ("ip", "ip"),
    ("ip_list", "id"),
    ("linked_app_token", "app_uid"),
    ("login_method", "id"),
    ("service_token", "token_id"),
];
