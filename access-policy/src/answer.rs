//! The answer to one rule that speaks for itself: any but lists and groups, which name others.

use crate::{
    country::CountryCode,
    fact::{Fact, FactName},
    identity::Identity,
    request::{ServiceToken, Subject},
    rule::Rule,
    steps,
    truth::Truth,
};

/// The truth of a rule, and which fact is missing if one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) truth: Truth,
    pub(crate) missing: Option<FactName>,
}

impl Answer {
    pub(crate) const TRUE: Self = Self { truth: Truth::TRUE, missing: None };
    pub(crate) const FALSE: Self = Self { truth: Truth::FALSE, missing: None };
    pub(crate) const ASKABLE: Self = Self { truth: Truth::ASKABLE, missing: None };

    pub(crate) fn missing(fact: FactName) -> Self {
        Self { truth: Truth::MISSING, missing: Some(fact) }
    }

    fn from_fact(name: FactName, fact: Fact<bool>) -> Self {
        match fact {
            Fact::Known(value) => value.into(),
            Fact::Absent => Self::FALSE,
            Fact::Unavailable => Self::missing(name),
        }
    }
}

impl From<bool> for Answer {
    fn from(value: bool) -> Self {
        if value { Self::TRUE } else { Self::FALSE }
    }
}

/// Answers a rule for a request. Rules that name lists or groups are unknown here.
pub(crate) fn answer(rule: &Rule, subject: Subject<'_>) -> Answer {
    let facts = subject.facts;
    match rule {
        Rule::Everyone => Answer::TRUE,
        Rule::Ip(network) => Answer::from_fact(
            FactName::ClientAddress,
            facts.client_ip.map(|address| network.contains(address)),
        ),
        Rule::Geo(country) => country_is(facts.country, *country),
        Rule::ServiceToken(id) => {
            matches!(facts.service_token, ServiceToken::Valid { id: known } if known.eq_ignore_ascii_case(id)).into()
        }
        Rule::AnyValidServiceToken => {
            matches!(facts.service_token, ServiceToken::Valid { .. }).into()
        }
        Rule::Certificate => {
            Answer::from_fact(FactName::Certificate, facts.certificate.map(|_| true))
        }
        Rule::CommonName(name) => {
            Answer::from_fact(FactName::Certificate, facts.certificate.map(|known| known == &**name))
        }
        Rule::DevicePosture(id) => Answer::from_fact(
            FactName::DevicePosture,
            facts.posture.map(|passed| has_id(passed, id)),
        ),
        Rule::LinkedAppToken(id) => Answer::from_fact(
            FactName::LinkedAppTokens,
            facts.linked_app_tokens.map(|apps| has_id(apps, id)),
        ),
        Rule::EmailList(_) | Rule::IpList(_) | Rule::Group(_) | Rule::Unsupported(_) => {
            Answer::missing(FactName::UnsupportedSelector)
        }
        _ => match subject.identity {
            None => Answer::ASKABLE,
            Some(identity) => of_identity(rule, identity, subject),
        },
    }
}

/// Answers a rule about a visitor who has logged in.
fn of_identity(rule: &Rule, identity: &Identity<'_>, subject: Subject<'_>) -> Answer {
    let at = |provider: &str, name: FactName, fact: Fact<bool>| {
        through(identity, provider).unwrap_or_else(|| Answer::from_fact(name, fact))
    };
    match rule {
        Rule::Email(listed) => (identity.email() == listed.as_str()).into(),
        Rule::EmailDomain(listed) => (identity.email_domain() == listed.as_str()).into(),
        Rule::AzureAd { id, provider } => {
            at(provider, FactName::Groups, is_in(identity, |group| group.eq_ignore_ascii_case(id)))
        }
        Rule::Gsuite { email, provider } => {
            let is_it = is_in(identity, |group| group.eq_ignore_ascii_case(email.as_str()));
            at(provider, FactName::Groups, is_it)
        }
        Rule::Okta { name, provider } => {
            at(provider, FactName::Groups, is_in(identity, |group| group == &**name))
        }
        Rule::GithubOrganization { name, team, provider } => {
            let is_member = identity.is_in_organization(name, team.as_deref());
            at(provider, FactName::GithubOrganizations, is_member)
        }
        Rule::Saml { attribute, value, provider } => {
            let has = identity.has_saml_attribute(attribute, value);
            match provider {
                Some(provider) => at(provider, FactName::SamlAttributes, has),
                None => Answer::from_fact(FactName::SamlAttributes, has),
            }
        }
        Rule::Oidc { claim, value, provider } => {
            at(provider, FactName::OidcClaims, identity.has_claim(claim, value))
        }
        Rule::AuthContext { class, provider, .. } => {
            at(provider, FactName::AuthContexts, identity.has_auth_context(class))
        }
        Rule::AuthMethod(method) => {
            Answer::from_fact(FactName::AuthMethods, identity.has_auth_method(method))
        }
        Rule::LoginMethod(id) => through(identity, id).unwrap_or(Answer::TRUE),
        Rule::UserRiskScore(levels) => Answer::from_fact(
            FactName::RiskLevel,
            subject.facts.risk.map(|level| levels.contains(level)),
        ),
        Rule::CloudflareAccountMember(account) => Answer::from_fact(
            FactName::AccountMemberships,
            identity.is_account_member(account.as_deref()),
        ),
        Rule::ExternalEvaluation { evaluate_url, .. } => {
            let mut answers = subject.facts.external.iter().inspect(|_| steps::take(1));
            match answers.find(|known| known.evaluate_url == &**evaluate_url) {
                None => Answer::ASKABLE,
                Some(known) => Answer::from_fact(FactName::ExternalEvaluation, known.success),
            }
        }
        // INVARIANT: the caller has answered all others.
        _ => Answer::missing(FactName::UnsupportedSelector),
    }
}

/// What is already decided by the provider of the login: nothing if it is the one asked for.
fn through(identity: &Identity<'_>, provider: &str) -> Option<Answer> {
    match identity.known_provider() {
        Fact::Known(known) if known == provider => None,
        Fact::Known(_) | Fact::Absent => Some(Answer::FALSE),
        Fact::Unavailable => Some(Answer::missing(FactName::IdentityProvider)),
    }
}

fn is_in(identity: &Identity<'_>, is_it: impl Fn(&str) -> bool) -> Fact<bool> {
    identity.known_groups().map(|mut groups| groups.any(is_it))
}

fn has_id(ids: &[&str], wanted: &str) -> bool {
    ids.iter().inspect(|_| steps::take(1)).any(|known| known.eq_ignore_ascii_case(wanted))
}

/// `XX` says that the country could not be found out, which is not the same as another country.
pub(crate) fn country_is(known: Fact<CountryCode>, wanted: CountryCode) -> Answer {
    match known {
        Fact::Known(country) if country == wanted => Answer::TRUE,
        Fact::Known(country) if country.as_str() == "XX" => Answer::missing(FactName::Country),
        fact => Answer::from_fact(FactName::Country, fact.map(|_| false)),
    }
}
