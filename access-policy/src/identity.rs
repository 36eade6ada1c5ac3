//! Who a visitor has proved to be.

use std::{
    borrow::Cow,
    hash::{Hash, Hasher},
};

use crate::{
    claim::Claim,
    email::{EmailAddress, domain_of_plain},
    error::Error,
    fact::Fact,
    limits, steps,
};

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
/// assert_eq!(hanako.email(), "hanako@example.jp");
/// # Ok::<(), access_policy::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[must_use]
pub struct Identity<'a> {
    /// In the form of an [`EmailAddress`].
    email: Cow<'a, str>,
    /// Where its domain begins.
    domain_at: u8,
    provider: Fact<Cow<'a, str>>,
    groups: Fact<Groups<'a>>,
    /// What few identities have.
    more: Option<Box<More>>,
}

/// Facts that few policies ask for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct More {
    /// How many organisations and teams there are at GitHub.
    memberships: usize,
    github: Fact<Vec<Organization>>,
    saml: Fact<Vec<(String, Vec<String>)>>,
    claims: Fact<Vec<(String, Claim)>>,
    auth_methods: Fact<Vec<String>>,
    auth_contexts: Fact<Vec<String>>,
    accounts: Fact<Vec<String>>,
}

/// The names of a visitor's groups.
#[derive(Debug, Clone)]
enum Groups<'a> {
    Owned(Vec<String>),
    Borrowed(&'a [&'a str]),
}

/// A GitHub organisation, and the visitor's teams in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Organization {
    name: String,
    teams: Vec<String>,
}

impl<'a> Identity<'a> {
    /// An identity that consists of a proven e-mail address.
    pub fn new(email: EmailAddress) -> Self {
        let (email, domain_at) = email.into_parts();
        Self::with_email(Cow::Owned(email), domain_at)
    }

    /// Reads and normalises a proven e-mail address like [`EmailAddress::parse`], and borrows it if it
    /// is in normal form already.
    ///
    /// ```
    /// use access_policy::Identity;
    ///
    /// let groups = ["Ops", "Dev"];
    /// let hanako = Identity::parse("hanako@example.jp")?.groups_from(&groups);
    /// assert_eq!(hanako.email(), "hanako@example.jp");
    /// assert_eq!(Identity::parse("Hanako@Example.JP")?.email(), "hanako@example.jp");
    /// # Ok::<(), access_policy::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`EmailAddress::parse`].
    #[inline]
    pub fn parse(email: &'a str) -> Result<Self, Error> {
        match domain_of_plain(email) {
            Some(domain_at) => Ok(Self::with_email(Cow::Borrowed(email), domain_at)),
            None => EmailAddress::parse(email).map(Self::new),
        }
    }

    #[inline]
    fn with_email(email: Cow<'a, str>, domain_at: u8) -> Self {
        let (provider, groups) = (Fact::Unavailable, Fact::Unavailable);
        Self { email, domain_at, provider, groups, more: None }
    }

    /// Supplies the id of the identity provider through which the visitor logged in. Rules about
    /// groups, organisations, attributes and claims hold only for the provider they name.
    #[inline]
    pub fn provider(mut self, id: impl Into<Cow<'a, str>>) -> Self {
        let mut id = id.into();
        if id.bytes().any(|byte| byte.is_ascii_uppercase()) {
            id.to_mut().make_ascii_lowercase();
        }
        self.provider = Fact::Known(id);
        self
    }

    /// Supplies the groups at the provider: Entra group ids, Okta group names, addresses of Google
    /// groups. More than 10,000 count as unavailable.
    pub fn groups(mut self, groups: impl Into<Fact<Vec<String>>>) -> Self {
        self.groups = bounded(groups.into(), limits::MAX_IDENTITY_GROUPS).map(Groups::Owned);
        self
    }

    /// Supplies the groups at the provider without copying them. More than 10,000 count as
    /// unavailable.
    #[inline]
    pub fn groups_from(mut self, groups: &'a [&'a str]) -> Self {
        self.groups = if groups.len() > limits::MAX_IDENTITY_GROUPS {
            Fact::Unavailable
        } else {
            Fact::Known(Groups::Borrowed(groups))
        };
        self
    }

    /// Copies what is borrowed, so that the identity can be kept.
    pub fn into_owned(self) -> Identity<'static> {
        Identity {
            email: Cow::Owned(self.email.into_owned()),
            domain_at: self.domain_at,
            provider: self.provider.map(|id| Cow::Owned(id.into_owned())),
            groups: self
                .groups
                .map(|groups| Groups::Owned(groups.iter().map(str::to_owned).collect())),
            more: self.more,
        }
    }

    /// Adds a GitHub organisation with the visitor's teams in it. If there are more than 10,000
    /// organisations and teams, they count as unavailable.
    pub fn github_organization<T: Into<String>>(
        mut self,
        name: impl Into<String>,
        teams: impl IntoIterator<Item = T>,
    ) -> Self {
        let teams = teams.into_iter().map(Into::into).collect();
        let organization = Organization { name: name.into(), teams };
        let more = self.more_mut();
        more.memberships += 1 + organization.teams.len();
        match &mut more.github {
            _ if more.memberships > limits::MAX_IDENTITY_GROUPS => more.github = Fact::Unavailable,
            Fact::Known(known) => known.push(organization),
            unknown => *unknown = Fact::Known(vec![organization]),
        }
        self
    }

    /// States that the visitor is known to be in no GitHub organisation.
    pub fn no_github_organizations(mut self) -> Self {
        self.more_mut().github = Fact::Absent;
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
        self.more_mut().saml = within_bytes(attributes, size);
        self
    }

    /// Supplies the OIDC claims. More than 1,000, or 64 KiB, count as unavailable.
    pub fn oidc_claims(mut self, claims: impl Into<Fact<Vec<(String, Claim)>>>) -> Self {
        let size = |list: &Vec<(String, Claim)>| {
            list.iter().map(|(name, claim)| name.len() + claim.len()).sum::<usize>()
        };
        self.more_mut().claims = within_bytes(claims.into(), size);
        self
    }

    /// Supplies the methods of the login (`amr`, RFC 8176), such as `mfa`.
    pub fn auth_methods(mut self, methods: impl Into<Fact<Vec<String>>>) -> Self {
        self.more_mut().auth_methods = bounded(methods.into(), limits::MAX_IDENTITY_GROUPS);
        self
    }

    /// Supplies the Entra authentication contexts (`acrs`) of the login, such as `c1`.
    pub fn auth_contexts(mut self, contexts: impl Into<Fact<Vec<String>>>) -> Self {
        self.more_mut().auth_contexts = bounded(contexts.into(), limits::MAX_IDENTITY_GROUPS);
        self
    }

    /// Supplies the ids of the Cloudflare accounts of which the visitor is a member.
    pub fn account_memberships(mut self, accounts: impl Into<Fact<Vec<String>>>) -> Self {
        self.more_mut().accounts = bounded(accounts.into(), limits::MAX_IDENTITY_GROUPS);
        self
    }

    /// Returns the proven e-mail address, in the form of an [`EmailAddress`].
    pub fn email(&self) -> &str {
        &self.email
    }

    /// Returns the part of the address after the `@`, in the form of a [`Domain`](crate::Domain).
    pub fn email_domain(&self) -> &str {
        self.email.get(usize::from(self.domain_at)..).unwrap_or_default()
    }

    pub(crate) fn known_provider(&self) -> Fact<&str> {
        self.provider.as_ref().map(|id| &**id)
    }

    pub(crate) fn known_groups(&self) -> Fact<impl Iterator<Item = &str>> {
        self.groups.as_ref().map(Groups::iter)
    }

    fn more(&self) -> &More {
        self.more.as_deref().unwrap_or(&More::NOTHING)
    }

    fn more_mut(&mut self) -> &mut More {
        self.more.get_or_insert_with(|| Box::new(More::NOTHING))
    }

    pub(crate) fn github_organizations(&self) -> Fact<impl Iterator<Item = (&str, &[String])>> {
        self.more().github.as_ref().map(|list| {
            list.iter().map(|organization| (organization.name.as_str(), &*organization.teams))
        })
    }

    pub(crate) fn saml_attribute_list(&self) -> Fact<&[(String, Vec<String>)]> {
        self.more().saml.as_ref().map(Vec::as_slice)
    }

    pub(crate) fn claim_list(&self) -> Fact<&[(String, Claim)]> {
        self.more().claims.as_ref().map(Vec::as_slice)
    }

    pub(crate) fn auth_method_list(&self) -> Fact<&[String]> {
        self.more().auth_methods.as_ref().map(Vec::as_slice)
    }

    pub(crate) fn auth_context_list(&self) -> Fact<&[String]> {
        self.more().auth_contexts.as_ref().map(Vec::as_slice)
    }

    pub(crate) fn account_list(&self) -> Fact<&[String]> {
        self.more().accounts.as_ref().map(Vec::as_slice)
    }

    /// Whether the visitor is in an organisation, and in the team if one is named.
    pub(crate) fn is_in_organization(&self, name: &str, team: Option<&str>) -> Fact<bool> {
        self.more().github.as_ref().map(|organizations| {
            // GitHub's names do not differ in letter case alone.
            counted(organizations).any(|organization| {
                organization.name.eq_ignore_ascii_case(name)
                    && team.is_none_or(|team| {
                        counted(&organization.teams).any(|known| known.eq_ignore_ascii_case(team))
                    })
            })
        })
    }

    pub(crate) fn has_saml_attribute(&self, name: &str, value: &str) -> Fact<bool> {
        self.more().saml.as_ref().map(|attributes| {
            let of_name = counted(attributes).filter(|(known, _)| known == name);
            of_name.flat_map(|(_, values)| counted(values)).any(|known| known == value)
        })
    }

    pub(crate) fn has_claim(&self, name: &str, value: &str) -> Fact<bool> {
        self.more().claims.as_ref().map(|claims| {
            counted(claims).any(|(known, claim)| known == name && claim.equals(value))
        })
    }

    pub(crate) fn has_auth_method(&self, method: &str) -> Fact<bool> {
        self.more()
            .auth_methods
            .as_ref()
            .map(|methods| counted(methods).any(|known| known == method))
    }

    pub(crate) fn has_auth_context(&self, context: &str) -> Fact<bool> {
        self.more()
            .auth_contexts
            .as_ref()
            .map(|contexts| counted(contexts).any(|known| known == context))
    }

    /// Whether the visitor is a member of the account, or of any if none is named.
    pub(crate) fn is_account_member(&self, account: Option<&str>) -> Fact<bool> {
        self.more().accounts.as_ref().map(|accounts| match account {
            Some(account) => counted(accounts).any(|known| known.eq_ignore_ascii_case(account)),
            None => !accounts.is_empty(),
        })
    }
}

impl More {
    const NOTHING: Self = Self {
        memberships: 0,
        github: Fact::Unavailable,
        saml: Fact::Unavailable,
        claims: Fact::Unavailable,
        auth_methods: Fact::Unavailable,
        auth_contexts: Fact::Unavailable,
        accounts: Fact::Unavailable,
    };
}

impl Groups<'_> {
    fn iter(&self) -> impl Iterator<Item = &str> {
        let (owned, borrowed): (&[String], &[&str]) = match self {
            Self::Owned(groups) => (groups, &[]),
            Self::Borrowed(groups) => (&[], groups),
        };
        owned.iter().map(String::as_str).chain(borrowed.iter().copied())
    }
}

impl PartialEq for Groups<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Groups<'_> {}

impl Hash for Groups<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.iter().for_each(|group| group.hash(state));
    }
}

/// Each look at an element is a step.
fn counted<T>(list: &[T]) -> impl Iterator<Item = &T> {
    list.iter().inspect(|_| steps::take(1))
}

fn bounded<T>(fact: Fact<Vec<T>>, limit: usize) -> Fact<Vec<T>> {
    match fact {
        Fact::Known(list) if list.len() > limit => Fact::Unavailable,
        fact => fact,
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
