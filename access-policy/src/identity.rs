//! Who a visitor has proved to be.

use crate::{claim::Claim, email::EmailAddress, fact::Fact, limits};

/// The facts that a login established about a visitor.
///
/// Build it only from a verified session: whatever stands here is believed. What is not supplied
/// is *unavailable*, not absent: say [`Fact::Absent`] where the login showed that there is none.
///
/// ```
/// use access_policy::{EmailAddress, Fact, Identity};
///
/// let hanako = Identity::new(EmailAddress::parse("hanako@example.jp")?)
///     .provider("5a1e8b8c-0d6e-4f0a-9f55-0e5f3c1a7b11")
///     .github_organization("acme", ["ops"])
///     .groups(Fact::Absent)
///     .auth_methods(vec!["mfa".to_owned()]);
/// assert_eq!(hanako.email().as_str(), "hanako@example.jp");
/// # Ok::<(), access_policy::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[must_use]
pub struct Identity {
    email: EmailAddress,
    provider: Fact<Box<str>>,
    groups: Fact<Vec<Group>>,
    github: Fact<Vec<Organization>>,
    saml: Fact<Vec<(String, Vec<String>)>>,
    claims: Fact<Vec<(String, Claim)>>,
    auth_methods: Fact<Vec<String>>,
    auth_contexts: Fact<Vec<String>>,
    accounts: Fact<Vec<String>>,
}

/// One of a visitor's groups.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Group {
    pub(crate) text: Box<str>,
    /// With ASCII letters in lower case, for kinds of groups whose names are compared so.
    pub(crate) folded: Box<str>,
}

/// A GitHub organisation, and the visitor's teams in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Organization {
    name: String,
    teams: Vec<String>,
}

impl Identity {
    /// An identity that consists of a proven e-mail address.
    pub fn new(email: EmailAddress) -> Self {
        Self {
            email,
            provider: Fact::Unavailable,
            groups: Fact::Unavailable,
            github: Fact::Unavailable,
            saml: Fact::Unavailable,
            claims: Fact::Unavailable,
            auth_methods: Fact::Unavailable,
            auth_contexts: Fact::Unavailable,
            accounts: Fact::Unavailable,
        }
    }

    /// Supplies the id of the identity provider through which the visitor logged in. Rules about
    /// groups, organisations, attributes and claims hold only for the provider they name.
    pub fn provider(mut self, id: impl Into<String>) -> Self {
        self.provider = Fact::Known(id.into().to_ascii_lowercase().into());
        self
    }

    /// Supplies the groups at the provider: Entra group ids, Okta group names, addresses of Google
    /// groups. More than 10,000 count as unavailable.
    pub fn groups(mut self, groups: impl Into<Fact<Vec<String>>>) -> Self {
        self.groups = bounded(groups.into(), limits::MAX_IDENTITY_GROUPS, |groups| {
            groups.into_iter().map(Group::new).collect()
        });
        self
    }

    /// Adds a GitHub organisation with the visitor's teams in it.
    pub fn github_organization<T: Into<String>>(
        mut self,
        name: impl Into<String>,
        teams: impl IntoIterator<Item = T>,
    ) -> Self {
        let teams = teams.into_iter().map(Into::into).collect();
        let organization = Organization { name: name.into(), teams };
        match &mut self.github {
            Fact::Known(known) => known.push(organization),
            unknown => *unknown = Fact::Known(vec![organization]),
        }
        self
    }

    /// States that the visitor is known to be in no GitHub organisation.
    pub fn no_github_organizations(mut self) -> Self {
        self.github = Fact::Absent;
        self
    }

    /// Supplies the attributes of the SAML assertion, each with its values. More than 1,000, or
    /// 64 KiB, count as unavailable.
    pub fn saml_attributes(
        mut self,
        attributes: impl Into<Fact<Vec<(String, Vec<String>)>>>,
    ) -> Self {
        let attributes = attributes.into();
        let size = |list: &Vec<(String, Vec<String>)>| {
            let bytes = |(name, values): &(String, Vec<String>)| {
                name.len() + values.iter().map(|value| value.len() + 1).sum::<usize>()
            };
            list.iter().map(bytes).sum::<usize>()
        };
        self.saml = within_bytes(attributes, size);
        self
    }

    /// Supplies the OIDC claims. More than 1,000, or 64 KiB, count as unavailable.
    pub fn oidc_claims(mut self, claims: impl Into<Fact<Vec<(String, Claim)>>>) -> Self {
        let size = |list: &Vec<(String, Claim)>| {
            list.iter().map(|(name, claim)| name.len() + claim.len()).sum::<usize>()
        };
        self.claims = within_bytes(claims.into(), size);
        self
    }

    /// Supplies the methods of the login (`amr`, RFC 8176), such as `mfa`.
    pub fn auth_methods(mut self, methods: impl Into<Fact<Vec<String>>>) -> Self {
        self.auth_methods = bounded(methods.into(), limits::MAX_IDENTITY_GROUPS, |list| list);
        self
    }

    /// Supplies the Entra authentication contexts (`acrs`) of the login, such as `c1`.
    pub fn auth_contexts(mut self, contexts: impl Into<Fact<Vec<String>>>) -> Self {
        self.auth_contexts = bounded(contexts.into(), limits::MAX_IDENTITY_GROUPS, |list| list);
        self
    }

    /// Supplies the ids of the Cloudflare accounts of which the visitor is a member.
    pub fn account_memberships(mut self, accounts: impl Into<Fact<Vec<String>>>) -> Self {
        self.accounts = bounded(accounts.into(), limits::MAX_IDENTITY_GROUPS, |list| list);
        self
    }

    /// Returns the proven e-mail address.
    pub fn email(&self) -> &EmailAddress {
        &self.email
    }

    pub(crate) fn known_provider(&self) -> Fact<&str> {
        self.provider.as_ref().map(|id| &**id)
    }

    pub(crate) fn known_groups(&self) -> Fact<&[Group]> {
        self.groups.as_ref().map(Vec::as_slice)
    }

    pub(crate) fn github_organizations(&self) -> Fact<impl Iterator<Item = (&str, &[String])>> {
        self.github.as_ref().map(|list| {
            list.iter().map(|organization| (organization.name.as_str(), &*organization.teams))
        })
    }

    pub(crate) fn saml_attribute_list(&self) -> Fact<&[(String, Vec<String>)]> {
        self.saml.as_ref().map(Vec::as_slice)
    }

    pub(crate) fn claim_list(&self) -> Fact<&[(String, Claim)]> {
        self.claims.as_ref().map(Vec::as_slice)
    }

    pub(crate) fn auth_method_list(&self) -> Fact<&[String]> {
        self.auth_methods.as_ref().map(Vec::as_slice)
    }

    pub(crate) fn auth_context_list(&self) -> Fact<&[String]> {
        self.auth_contexts.as_ref().map(Vec::as_slice)
    }

    pub(crate) fn account_list(&self) -> Fact<&[String]> {
        self.accounts.as_ref().map(Vec::as_slice)
    }

    /// Whether the visitor is in an organisation, and in the team if one is named.
    pub(crate) fn is_in_organization(&self, name: &str, team: Option<&str>) -> Fact<bool> {
        self.github.as_ref().map(|organizations| {
            // GitHub's names do not differ in letter case alone.
            organizations.iter().any(|organization| {
                organization.name.eq_ignore_ascii_case(name)
                    && team.is_none_or(|team| {
                        organization.teams.iter().any(|known| known.eq_ignore_ascii_case(team))
                    })
            })
        })
    }

    pub(crate) fn has_saml_attribute(&self, name: &str, value: &str) -> Fact<bool> {
        self.saml.as_ref().map(|attributes| {
            let of_name = attributes.iter().filter(|(known, _)| known == name);
            of_name.flat_map(|(_, values)| values).any(|known| known == value)
        })
    }

    pub(crate) fn has_claim(&self, name: &str, value: &str) -> Fact<bool> {
        self.claims
            .as_ref()
            .map(|claims| claims.iter().any(|(known, claim)| known == name && claim.equals(value)))
    }

    pub(crate) fn has_auth_method(&self, method: &str) -> Fact<bool> {
        self.auth_methods.as_ref().map(|methods| methods.iter().any(|known| known == method))
    }

    pub(crate) fn has_auth_context(&self, context: &str) -> Fact<bool> {
        self.auth_contexts.as_ref().map(|contexts| contexts.iter().any(|known| known == context))
    }

    /// Whether the visitor is a member of the account, or of any if none is named.
    pub(crate) fn is_account_member(&self, account: Option<&str>) -> Fact<bool> {
        self.accounts.as_ref().map(|accounts| match account {
            Some(account) => accounts.iter().any(|known| known.eq_ignore_ascii_case(account)),
            None => !accounts.is_empty(),
        })
    }
}

impl Group {
    fn new(text: String) -> Self {
        Self { folded: text.to_ascii_lowercase().into(), text: text.into() }
    }
}

fn bounded<T, U>(
    fact: Fact<Vec<T>>,
    limit: usize,
    read: impl FnOnce(Vec<T>) -> Vec<U>,
) -> Fact<Vec<U>> {
    match fact {
        Fact::Known(list) if list.len() > limit => Fact::Unavailable,
        fact => fact.map(read),
    }
}

fn within_bytes<T>(fact: Fact<Vec<T>>, size: impl Fn(&Vec<T>) -> usize) -> Fact<Vec<T>> {
    match fact {
        Fact::Known(list)
            if list.len() > limits::MAX_IDENTITY_CLAIMS
                || size(&list) > limits::MAX_IDENTITY_CLAIM_BYTES =>
        {
            Fact::Unavailable
        }
        fact => fact,
    }
}
