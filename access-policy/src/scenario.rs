//! A request with all its facts as plain data, to be written down and asked again.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use serde::{Deserialize, Serialize};

use crate::{
    claim::Claim,
    country::CountryCode,
    email::EmailAddress,
    error::{Error, Kind},
    fact::{Fact, FactName},
    identity::Identity,
    request::{ExternalAnswer, Preflight, Request, ServiceToken},
    risk::RiskLevel,
};

/// What is known about a request, in words that go into files: expectations, audit records,
/// witnesses.
///
/// A fact that is left out is unavailable; one that is listed in `absent` is known not to be there.
///
/// ```
/// use access_policy::Scenario;
///
/// let scenario: Scenario = serde_json::from_str(
///     r#"{"host": "wiki.example.jp", "path": "/", "email": "hanako@example.jp", "country": "JP"}"#,
/// )?;
/// let host = scenario.ask(|request| request.host().to_owned())?;
/// assert_eq!(host, "wiki.example.jp");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Scenario {
    /// The host, as in a URL.
    pub host: String,
    /// The path; `/` if empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The address of the visitor who has logged in; absent for a visitor who has not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The network address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// The country.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// The common name of the client certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// The device posture checks that pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_posture: Option<Vec<String>>,
    /// The service token: its id, or one of `invalid` and `malformed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_token: Option<String>,
    /// The applications for which there is a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linked_app_tokens: Option<Vec<String>>,
    /// The level of risk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub risk: Option<RiskLevel>,
    /// Answers of external evaluations, by URL; null for a call that failed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub external: BTreeMap<String, Option<bool>>,
    /// The request is a CORS preflight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preflight: Option<ScenarioPreflight>,
    /// The identity provider of the login.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Groups at the provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    /// GitHub organisations, each with teams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub github: Option<BTreeMap<String, Vec<String>>>,
    /// SAML attributes, each with values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saml: Option<BTreeMap<String, Vec<String>>>,
    /// OIDC claims.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claims: Option<BTreeMap<String, Claim>>,
    /// Methods of the login.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_methods: Option<Vec<String>>,
    /// Authentication contexts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_contexts: Option<Vec<String>>,
    /// Cloudflare accounts of which the visitor is a member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accounts: Option<Vec<String>>,
    /// Facts that are known not to be there.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub absent: BTreeSet<FactName>,
}

/// A CORS preflight in a [`Scenario`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ScenarioPreflight {
    /// The value of `Origin`.
    pub origin: String,
    /// The value of `Access-Control-Request-Method`.
    pub method: String,
    /// The value of `Access-Control-Request-Headers`.
    pub headers: String,
}

impl Scenario {
    /// A scenario in which nothing but host and path is known.
    pub fn new(host: impl Into<String>, path: impl Into<String>) -> Self {
        Self { host: host.into(), path: path.into(), ..Self::default() }
    }

    /// Writes down a request.
    pub fn of(request: &Request<'_>) -> Self {
        let facts = &request.facts;
        let mut scenario = Self::new(request.host(), request.raw_path());
        let mut absent = BTreeSet::new();
        scenario.ip = facts.client_ip.known();
        scenario.country =
            note(FactName::Country, facts.country, &mut absent).map(|country| country.to_string());
        scenario.certificate =
            note(FactName::Certificate, facts.certificate, &mut absent).map(str::to_owned);
        scenario.device_posture =
            note(FactName::DevicePosture, facts.posture, &mut absent).map(owned);
        scenario.linked_app_tokens =
            note(FactName::LinkedAppTokens, facts.linked_app_tokens, &mut absent).map(owned);
        scenario.risk = note(FactName::RiskLevel, facts.risk, &mut absent);
        scenario.service_token = match facts.service_token {
            ServiceToken::None => None,
            ServiceToken::Valid { id } => Some(id.to_owned()),
            ServiceToken::Invalid => Some(INVALID.to_owned()),
            ServiceToken::Malformed => Some(MALFORMED.to_owned()),
        };
        let external = facts.external.iter();
        scenario.external = external
            .map(|answer| (answer.evaluate_url.to_owned(), answer.success.known()))
            .collect();
        scenario.preflight = facts.preflight.map(|preflight| ScenarioPreflight {
            origin: preflight.origin.to_owned(),
            method: preflight.method.to_owned(),
            headers: preflight.headers.to_owned(),
        });
        if let Some(identity) = request.known_identity() {
            identity.write_to(&mut scenario, &mut absent);
        }
        scenario.absent = absent;
        scenario
    }

    /// Says what contradicts itself, and so would be asked about in a way that nobody meant.
    pub(crate) fn contradiction(&self) -> Option<&'static str> {
        let given = [
            (FactName::Country, self.country.is_some()),
            (FactName::Certificate, self.certificate.is_some()),
            (FactName::DevicePosture, self.device_posture.is_some()),
            (FactName::LinkedAppTokens, self.linked_app_tokens.is_some()),
            (FactName::RiskLevel, self.risk.is_some()),
            (FactName::IdentityProvider, self.provider.is_some()),
            (FactName::Groups, self.groups.is_some()),
        ];
        let is_both = |(name, is_given): &(FactName, bool)| *is_given && self.absent.contains(name);
        if given.iter().any(is_both) {
            return Some("a fact is given, and listed in `absent`; leave out one of them");
        }
        let is_of_login = self.provider.is_some() || self.groups.is_some();
        (is_of_login && self.email.is_none())
            .then_some("`provider` and `groups` are facts of a login; add `email`")
    }

    /// Builds the request, and asks about it.
    ///
    /// # Errors
    ///
    /// When host, path, e-mail address or country can't be read.
    pub fn ask<T>(&self, ask: impl FnOnce(&Request<'_>) -> T) -> Result<T, Error> {
        let identity = self.identity()?;
        let path = if self.path.is_empty() { "/" } else { &self.path };
        let mut request = Request::new(&self.host, path)?;
        if let Some(ip) = self.ip {
            request = request.client_ip(ip);
        }
        let country = self.country.as_deref().map(CountryCode::parse).transpose()?;
        let posture = self.device_posture.as_deref().map(borrowed);
        let linked = self.linked_app_tokens.as_deref().map(borrowed);
        let external: Vec<_> = self
            .external
            .iter()
            .map(|(url, answer)| ExternalAnswer {
                evaluate_url: url,
                success: answer.map_or(Fact::Unavailable, Fact::Known),
            })
            .collect();
        let token = match self.service_token.as_deref() {
            None => ServiceToken::None,
            Some(INVALID) => ServiceToken::Invalid,
            Some(MALFORMED) => ServiceToken::Malformed,
            Some(id) => ServiceToken::Valid { id },
        };
        request = request
            .country(self.fact(FactName::Country, country))
            .certificate(self.fact(FactName::Certificate, self.certificate.as_deref()))
            .device_posture(self.fact(FactName::DevicePosture, posture.as_deref()))
            .linked_app_tokens(self.fact(FactName::LinkedAppTokens, linked.as_deref()))
            .risk_level(self.fact(FactName::RiskLevel, self.risk))
            .service_token(token)
            .external_answers(&external);
        if let Some(preflight) = &self.preflight {
            request = request.preflight(Preflight {
                origin: &preflight.origin,
                method: &preflight.method,
                headers: &preflight.headers,
            });
        }
        if let Some(identity) = &identity {
            request = request.identity(identity);
        }
        Ok(ask(&request))
    }

    fn identity(&self) -> Result<Option<Identity<'_>>, Error> {
        let Some(email) = &self.email else {
            return Ok(None);
        };
        let mut identity = Identity::new(EmailAddress::parse(email)?)
            .groups(self.fact(FactName::Groups, self.groups.clone()))
            .saml_attributes(self.fact(FactName::SamlAttributes, self.saml.clone().map(pairs)))
            .oidc_claims(self.fact(FactName::OidcClaims, self.claims.clone().map(pairs)))
            .auth_methods(self.fact(FactName::AuthMethods, self.auth_methods.clone()))
            .auth_contexts(self.fact(FactName::AuthContexts, self.auth_contexts.clone()))
            .account_memberships(self.fact(FactName::AccountMemberships, self.accounts.clone()));
        if let Some(provider) = &self.provider {
            identity = identity.provider(provider.as_str());
        }
        match &self.github {
            Some(organizations) if organizations.is_empty() => {
                identity = identity.no_github_organizations();
            }
            Some(organizations) => {
                for (name, teams) in organizations {
                    identity = identity.github_organization(name.as_str(), teams.clone());
                }
            }
            None if self.absent.contains(&FactName::GithubOrganizations) => {
                identity = identity.no_github_organizations();
            }
            None => {}
        }
        Ok(Some(identity))
    }

    fn fact<T>(&self, name: FactName, value: Option<T>) -> Fact<T> {
        match value {
            Some(value) => Fact::Known(value),
            None if self.absent.contains(&name) => Fact::Absent,
            None => Fact::Unavailable,
        }
    }
}

impl Identity<'_> {
    fn write_to(&self, scenario: &mut Scenario, absent: &mut BTreeSet<FactName>) {
        scenario.email = Some(self.email().to_string());
        scenario.provider = self.known_provider().known().map(str::to_owned);
        let groups = note(FactName::Groups, self.known_groups(), absent);
        scenario.groups = groups.map(|groups| groups.map(str::to_owned).collect());
        scenario.github = note(FactName::GithubOrganizations, self.github_organizations(), absent)
            .map(|organizations| {
                let pairs = organizations.map(|(name, teams)| (name.to_owned(), teams.to_vec()));
                pairs.collect()
            });
        scenario.saml = note(FactName::SamlAttributes, self.saml_attribute_list(), absent)
            .map(|list| list.iter().cloned().collect());
        scenario.claims = note(FactName::OidcClaims, self.claim_list(), absent)
            .map(|list| list.iter().cloned().collect());
        scenario.auth_methods =
            note(FactName::AuthMethods, self.auth_method_list(), absent).map(<[_]>::to_vec);
        scenario.auth_contexts =
            note(FactName::AuthContexts, self.auth_context_list(), absent).map(<[_]>::to_vec);
        scenario.accounts =
            note(FactName::AccountMemberships, self.account_list(), absent).map(<[_]>::to_vec);
    }
}

impl From<&Scenario> for String {
    /// The scenario as one line of JSON.
    fn from(scenario: &Scenario) -> Self {
        serde_json::to_string(scenario).unwrap_or_else(|error| {
            // INVARIANT: all keys are strings and all values are plain.
            Kind::Syntax(error.to_string()).to_string()
        })
    }
}

/// The value of a fact; one that is known not to be there is noted.
fn note<T>(name: FactName, fact: Fact<T>, absent: &mut BTreeSet<FactName>) -> Option<T> {
    if matches!(fact, Fact::Absent) {
        absent.insert(name);
    }
    fact.known()
}

fn owned(list: &[&str]) -> Vec<String> {
    list.iter().map(|&text| text.to_owned()).collect()
}

fn borrowed(list: &[String]) -> Vec<&str> {
    list.iter().map(String::as_str).collect()
}

fn pairs<T>(map: BTreeMap<String, T>) -> Vec<(String, T)> {
    map.into_iter().collect()
}

const INVALID: &str = "invalid";
const MALFORMED: &str = "malformed";
