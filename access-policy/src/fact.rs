//! Facts, and the three ways in which one can stand.

use std::fmt;

/// A fact about a request or a visitor.
///
/// `Absent` and `Unavailable` must not be confused: a visitor known to have no client certificate
/// fails a rule that asks for one, while a visitor of whom nobody could find out makes the rule
/// *unknown*, which never opens a door and never lets anybody slip past a deny rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Fact<T> {
    /// The fact is known.
    Known(T),
    /// It is known that there is none.
    Absent,
    /// Nobody could find out; or the caller did not say.
    #[default]
    Unavailable,
}

impl<T> Fact<T> {
    /// Borrows the value.
    pub fn as_ref(&self) -> Fact<&T> {
        match self {
            Self::Known(value) => Fact::Known(value),
            Self::Absent => Fact::Absent,
            Self::Unavailable => Fact::Unavailable,
        }
    }

    /// Applies `change` to a value that is known.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Fact<U> {
        match self {
            Self::Known(value) => Fact::Known(change(value)),
            Self::Absent => Fact::Absent,
            Self::Unavailable => Fact::Unavailable,
        }
    }

    /// Returns the value, if it is known.
    pub fn known(self) -> Option<T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Absent | Self::Unavailable => None,
        }
    }
}

impl<T> From<T> for Fact<T> {
    fn from(value: T) -> Self {
        Self::Known(value)
    }
}

/// Names a fact that the caller may leave unknown.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FactName {
    /// Who the visitor is.
    Identity,
    /// The address of the visitor's end of the connection.
    ClientAddress,
    /// The country of that address.
    Country,
    /// The client certificate.
    Certificate,
    /// The results of device posture checks.
    DevicePosture,
    /// Tokens of linked applications.
    LinkedAppTokens,
    /// The visitor's level of risk.
    RiskLevel,
    /// The identity provider of the login.
    IdentityProvider,
    /// The visitor's groups at the identity provider.
    Groups,
    /// The visitor's GitHub organisations and teams.
    GithubOrganizations,
    /// The attributes of the SAML assertion.
    SamlAttributes,
    /// The OIDC claims.
    OidcClaims,
    /// The authentication contexts of the login.
    AuthContexts,
    /// The methods of the login.
    AuthMethods,
    /// The Cloudflare accounts of which the visitor is a member.
    AccountMemberships,
    /// The answer of an external evaluation.
    ExternalEvaluation,
    /// A selector that this crate can't answer.
    UnsupportedSelector,
}

impl fmt::Display for FactName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Identity => "the identity",
            Self::ClientAddress => "the client address",
            Self::Country => "the country",
            Self::Certificate => "the client certificate",
            Self::DevicePosture => "the device posture",
            Self::LinkedAppTokens => "the tokens of linked applications",
            Self::RiskLevel => "the level of risk",
            Self::IdentityProvider => "the identity provider",
            Self::Groups => "the list of groups",
            Self::GithubOrganizations => "the list of GitHub organisations",
            Self::SamlAttributes => "the SAML assertion",
            Self::OidcClaims => "the list of OIDC claims",
            Self::AuthContexts => "the list of authentication contexts",
            Self::AuthMethods => "the list of login methods",
            Self::AccountMemberships => "the list of account memberships",
            Self::ExternalEvaluation => "the external evaluation",
            Self::UnsupportedSelector => "an unsupported selector",
        })
    }
}
