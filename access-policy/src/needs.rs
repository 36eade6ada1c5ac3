//! Which facts an application's policies ask for.

use std::fmt;

use crate::{catalog::Model, fact::FactName, policy::Action, rule::Rule};

/// A set of facts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FactNames(u32);

impl FactNames {
    /// Reports whether a fact is in the set.
    pub fn contains(self, fact: FactName) -> bool {
        self.0 & 1 << fact as u32 != 0
    }

    /// Reports whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl FromIterator<FactName> for FactNames {
    fn from_iter<I: IntoIterator<Item = FactName>>(facts: I) -> Self {
        Self(facts.into_iter().fold(0, |set, fact| set | 1 << fact as u32))
    }
}

impl FromIterator<Self> for FactNames {
    fn from_iter<I: IntoIterator<Item = Self>>(sets: I) -> Self {
        sets.into_iter().fold(Self::default(), Self::and)
    }
}

impl fmt::Debug for FactNames {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(ALL.iter().filter(|fact| self.contains(**fact))).finish()
    }
}

/// The facts of each application, by position.
pub(crate) fn needs(model: Model<'_>) -> Box<[FactNames]> {
    let mut groups = vec![None; model.policies.groups.len()];
    let applications = model.policies.applications.iter();
    let of_application = applications.map(|application| {
        let policies = model.in_order(application).map(|(_, policy)| {
            let login = (policy.decision == Action::Allow).then_some(FactName::Identity);
            let rules = policy.rules().map(|(_, rule)| of_rule(model, rule, &mut groups));
            login.into_iter().collect::<FactNames>().and(rules.collect())
        });
        policies.collect()
    });
    of_application.collect()
}

/// Groups are worked out once; the engine has made sure that none contains itself.
fn of_rule(model: Model<'_>, rule: &Rule, groups: &mut [Option<FactNames>]) -> FactNames {
    let Rule::Group(id) = rule else {
        return asked_by(rule).iter().copied().collect();
    };
    let Some(at) = model.catalog.group_position(id) else { return FactNames::default() };
    if let Some(&Some(known)) = groups.get(at) {
        return known;
    }
    let Some(group) = model.policies.groups.get(at) else { return FactNames::default() };
    let found = group.rules().map(|rule| of_rule(model, rule, groups)).collect();
    if let Some(slot) = groups.get_mut(at) {
        *slot = Some(found);
    }
    found
}

fn asked_by(rule: &Rule) -> &'static [FactName] {
    use FactName as F;
    match rule {
        Rule::Everyone | Rule::Group(_) | Rule::ServiceToken(_) | Rule::AnyValidServiceToken => &[],
        Rule::Email(_) | Rule::EmailList(_) | Rule::EmailDomain(_) => &[F::Identity],
        Rule::Ip(_) | Rule::IpList(_) => &[F::ClientAddress],
        Rule::Geo(_) => &[F::Country],
        Rule::AzureAd { .. } | Rule::Gsuite { .. } | Rule::Okta { .. } => {
            &[F::Identity, F::IdentityProvider, F::Groups]
        }
        Rule::GithubOrganization { .. } => {
            &[F::Identity, F::IdentityProvider, F::GithubOrganizations]
        }
        Rule::Saml { .. } => &[F::Identity, F::IdentityProvider, F::SamlAttributes],
        Rule::Oidc { .. } => &[F::Identity, F::IdentityProvider, F::OidcClaims],
        Rule::AuthContext { .. } => &[F::Identity, F::IdentityProvider, F::AuthContexts],
        Rule::AuthMethod(_) => &[F::Identity, F::AuthMethods],
        Rule::LoginMethod(_) => &[F::Identity, F::IdentityProvider],
        Rule::Certificate | Rule::CommonName(_) => &[F::Certificate],
        Rule::DevicePosture(_) => &[F::DevicePosture],
        Rule::ExternalEvaluation { .. } => &[F::Identity, F::ExternalEvaluation],
        Rule::LinkedAppToken(_) => &[F::LinkedAppTokens],
        Rule::UserRiskScore(_) => &[F::Identity, F::RiskLevel],
        Rule::CloudflareAccountMember(_) => &[F::Identity, F::AccountMemberships],
        Rule::Unsupported(_) => &[F::UnsupportedSelector],
    }
}

const ALL: [FactName; 17] = [
    FactName::Identity,
    FactName::ClientAddress,
    FactName::Country,
    FactName::Certificate,
    FactName::DevicePosture,
    FactName::LinkedAppTokens,
    FactName::RiskLevel,
    FactName::IdentityProvider,
    FactName::Groups,
    FactName::GithubOrganizations,
    FactName::SamlAttributes,
    FactName::OidcClaims,
    FactName::AuthContexts,
    FactName::AuthMethods,
    FactName::AccountMemberships,
    FactName::ExternalEvaluation,
    FactName::UnsupportedSelector,
];
