//! Values that a fact can have in an analysis, and how they stand in a request.

use std::{collections::BTreeSet, net::IpAddr};

use crate::{
    claim::Claim,
    fact::FactName,
    risk::RiskLevel,
    rule::Rule,
    scenario::{Scenario, ScenarioPreflight},
};

/// A value of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Setting {
    NotLoggedIn,
    Email(String),
    Ip(IpAddr),
    Country(String),
    Provider(Option<String>),
    Certificate(Option<String>),
    Token(Token),
    Risk(RiskLevel),
    Preflight(bool),
    /// Whether a rule about one of many memberships, claims or checks holds.
    Holds(Rule, bool),
}

/// What a request can carry as service token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    None,
    Invalid,
    Valid(String),
}

impl Setting {
    /// Puts the value into a request.
    pub(crate) fn apply(&self, scenario: &mut Scenario) {
        match self {
            Self::NotLoggedIn => scenario.email = None,
            Self::Email(email) => scenario.email = Some(email.clone()),
            Self::Ip(address) => scenario.ip = Some(*address),
            Self::Country(country) => scenario.country = Some(country.clone()),
            Self::Provider(provider) => scenario.provider.clone_from(provider),
            Self::Certificate(name) => {
                scenario.certificate.clone_from(name);
                if name.is_none() {
                    scenario.absent.insert(FactName::Certificate);
                }
            }
            Self::Token(token) => {
                scenario.service_token = match token {
                    Token::None => None,
                    Token::Invalid => Some("invalid".to_owned()),
                    Token::Valid(id) => Some(id.clone()),
                }
            }
            Self::Risk(level) => scenario.risk = Some(*level),
            Self::Preflight(is_one) => {
                scenario.preflight = is_one.then(|| {
                    let (origin, method) = ("https://elsewhere.invalid".into(), "GET".into());
                    ScenarioPreflight { origin, method, headers: String::new() }
                });
            }
            Self::Holds(rule, holds) => apply_rule(rule, *holds, scenario),
        }
    }

    /// What the value says, in words.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::NotLoggedIn => "nobody has logged in".to_owned(),
            Self::Email(email) => format!("e-mail is {email}"),
            Self::Ip(address) => format!("client address is {address}"),
            Self::Country(country) => format!("country is {country}"),
            Self::Provider(None) => "identity provider is none".to_owned(),
            Self::Provider(Some(id)) => format!("login came through provider `{id}`"),
            Self::Certificate(None) => "there is no client certificate".to_owned(),
            Self::Certificate(Some(name)) => format!("client certificate has common name `{name}`"),
            Self::Token(Token::None) => "there is no service token".to_owned(),
            Self::Token(Token::Invalid) => "service token is not valid".to_owned(),
            Self::Token(Token::Valid(id)) => format!("service token is `{id}`"),
            Self::Risk(level) => format!("risk is {}", level.as_str()),
            Self::Preflight(true) => "request is a CORS preflight".to_owned(),
            Self::Preflight(false) => "request is no CORS preflight".to_owned(),
            Self::Holds(rule, true) => rule.condition().to_string(),
            Self::Holds(rule, false) => format!("not: {}", rule.condition()),
        }
    }

    /// A later place for what must not be taken away again: what is absent goes first, then names that
    /// must be spelled exactly, then the others.
    pub(crate) fn turn(&self) -> u8 {
        match self {
            Self::Holds(_, false) => 0,
            Self::Holds(Rule::AzureAd { .. }, true) => 2,
            _ => 1,
        }
    }
}

/// The fact behind a rule about one of many things, apart from the provider of the login: rules with
/// the same fact hold together or not at all. `None` for rules about other facts.
pub(crate) fn fact_behind(rule: &Rule) -> Option<Rule> {
    let nothing = || Box::<str>::default();
    Some(match rule {
        // Entra's and Google's groups are compared without regard to letter case.
        Rule::AzureAd { id, .. } => {
            Rule::AzureAd { id: id.to_ascii_lowercase().into(), provider: nothing() }
        }
        Rule::Gsuite { email, .. } => {
            Rule::AzureAd { id: email.as_str().into(), provider: nothing() }
        }
        Rule::Okta { name, .. } => Rule::Okta { name: name.clone(), provider: nothing() },
        Rule::GithubOrganization { name, team, .. } => Rule::GithubOrganization {
            name: name.to_ascii_lowercase().into(),
            team: team.as_ref().map(|team| team.to_ascii_lowercase().into()),
            provider: nothing(),
        },
        Rule::Saml { attribute, value, .. } => {
            Rule::Saml { attribute: attribute.clone(), value: value.clone(), provider: None }
        }
        Rule::Oidc { claim, value, .. } => {
            Rule::Oidc { claim: claim.clone(), value: value.clone(), provider: nothing() }
        }
        Rule::AuthContext { class, .. } => {
            Rule::AuthContext { id: nothing(), class: class.clone(), provider: nothing() }
        }
        Rule::ExternalEvaluation { evaluate_url, .. } => {
            Rule::ExternalEvaluation { evaluate_url: evaluate_url.clone(), keys_url: nothing() }
        }
        Rule::AuthMethod(_)
        | Rule::DevicePosture(_)
        | Rule::LinkedAppToken(_)
        | Rule::CloudflareAccountMember(_) => rule.clone(),
        _ => return None,
    })
}

/// Whether one fact can't be without another: a team without its organisation, for instance.
pub(crate) fn implies(a: &Rule, b: &Rule) -> bool {
    match (a, b) {
        (
            Rule::GithubOrganization { name: a, team: Some(_), .. },
            Rule::GithubOrganization { name: b, team: None, .. },
        ) => a == b,
        (Rule::CloudflareAccountMember(Some(_)), Rule::CloudflareAccountMember(None)) => true,
        (Rule::Okta { name, .. }, Rule::AzureAd { id, .. }) => name.eq_ignore_ascii_case(id),
        // A name without letters has one spelling.
        (Rule::AzureAd { id, .. }, Rule::Okta { name, .. }) => {
            id == name && !name.bytes().any(|byte| byte.is_ascii_alphabetic())
        }
        _ => false,
    }
}

/// Groups that must not be there as they are spelled get another spelling, which counts as the same
/// where letter case does not matter.
pub(crate) fn respell_groups(scenario: &mut Scenario, forbidden: &BTreeSet<&str>) {
    for group in scenario.groups.iter_mut().flatten() {
        if !forbidden.contains(group.as_str()) {
            continue;
        }
        let letters = (0..group.len())
            .filter(|at| group.as_bytes().get(*at).is_some_and(u8::is_ascii_alphabetic));
        let toggled = letters.map(|at| {
            let (before, rest) = group.split_at(at);
            let (letter, after) = rest.split_at(1);
            let letter = if letter.bytes().all(|byte| byte.is_ascii_lowercase()) {
                letter.to_ascii_uppercase()
            } else {
                letter.to_ascii_lowercase()
            };
            format!("{before}{letter}{after}")
        });
        let mut spellings = std::iter::once(group.to_ascii_uppercase()).chain(toggled);
        if let Some(other) = spellings.find(|other| !forbidden.contains(other.as_str())) {
            *group = other;
        }
    }
}

/// Makes a rule about one of many things hold, or takes that thing away.
fn apply_rule(rule: &Rule, holds: bool, scenario: &mut Scenario) {
    let list = |list: &mut Option<Vec<String>>, text: &str| {
        let known = list.get_or_insert_with(Vec::new);
        known.retain(|one| !one.eq_ignore_ascii_case(text) || (holds && one != text));
        if holds {
            known.push(text.to_owned());
        }
    };
    match rule {
        Rule::AzureAd { id, .. } => folded(&mut scenario.groups, id, holds),
        Rule::Gsuite { email, .. } => folded(&mut scenario.groups, email.as_str(), holds),
        Rule::Okta { name, .. } => {
            let known = scenario.groups.get_or_insert_with(Vec::new);
            known.retain(|one| **one != **name);
            if holds {
                known.push(name.to_string());
            }
        }
        Rule::AuthContext { class, .. } => exact(&mut scenario.auth_contexts, class, holds),
        Rule::AuthMethod(method) => exact(&mut scenario.auth_methods, method, holds),
        Rule::DevicePosture(id) => list(&mut scenario.device_posture, id),
        Rule::LinkedAppToken(id) => list(&mut scenario.linked_app_tokens, id),
        Rule::CloudflareAccountMember(Some(id)) => list(&mut scenario.accounts, id),
        Rule::CloudflareAccountMember(None) => {
            let known = scenario.accounts.get_or_insert_with(Vec::new);
            if !holds {
                known.clear();
            } else if known.is_empty() {
                known.push("some-account".to_owned());
            }
        }
        Rule::GithubOrganization { name, team, .. } => {
            github(scenario, name, team.as_deref(), holds);
        }
        Rule::Saml { attribute, value, .. } => {
            let known = scenario.saml.get_or_insert_with(Default::default);
            let values = known.entry(attribute.to_string()).or_default();
            values.retain(|one| one != &**value);
            if holds {
                values.push(value.to_string());
            }
        }
        Rule::Oidc { claim, value, .. } => oidc(scenario, claim, value, holds),
        Rule::ExternalEvaluation { evaluate_url, .. } => {
            scenario.external.insert(evaluate_url.to_string(), Some(holds));
        }
        _ => {}
    }
}

fn exact(list: &mut Option<Vec<String>>, text: &str, holds: bool) {
    let known = list.get_or_insert_with(Vec::new);
    known.retain(|one| one != text);
    if holds {
        known.push(text.to_owned());
    }
}

fn folded(list: &mut Option<Vec<String>>, text: &str, holds: bool) {
    let known = list.get_or_insert_with(Vec::new);
    if !holds {
        known.retain(|one| !one.eq_ignore_ascii_case(text));
    } else if !known.iter().any(|one| one.eq_ignore_ascii_case(text)) {
        known.push(text.to_owned());
    }
}

fn github(scenario: &mut Scenario, name: &str, team: Option<&str>, holds: bool) {
    let known = scenario.github.get_or_insert_with(Default::default);
    let spelled = known.keys().find(|known| known.eq_ignore_ascii_case(name)).cloned();
    let name = spelled.unwrap_or_else(|| name.to_owned());
    match (holds, team) {
        (true, None) => drop(known.entry(name).or_default()),
        (true, Some(team)) => {
            let teams = known.entry(name).or_default();
            if !teams.iter().any(|one| one.eq_ignore_ascii_case(team)) {
                teams.push(team.to_owned());
            }
        }
        (false, None) => drop(known.remove(&name)),
        (false, Some(team)) => {
            if let Some(teams) = known.get_mut(&name) {
                teams.retain(|one| !one.eq_ignore_ascii_case(team));
            }
        }
    }
}

fn oidc(scenario: &mut Scenario, claim: &str, value: &str, holds: bool) {
    let known = scenario.claims.get_or_insert_with(Default::default);
    let mut values = match known.remove(claim) {
        Some(Claim::List(values)) => values,
        Some(value) => vec![value],
        None => Vec::new(),
    };
    values.retain(|one| !one.equals(value));
    if holds {
        values.push(Claim::from(value));
    }
    known.insert(claim.to_owned(), Claim::List(values));
}
