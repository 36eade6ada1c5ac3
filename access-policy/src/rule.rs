//! One selector: the smallest question a policy asks.
//!
//! To add a selector: a variant of [`Rule`], its row in `selector`, its answer in `answer`, its
//! words here, and cases in `tests/data`. The compiler names each place.

use std::fmt;

use crate::{
    country::CountryCode,
    domain::Domain,
    email::EmailAddress,
    error::{Error, Kind},
    limits,
    network::Network,
    node::Node,
    risk::RiskLevels,
};

/// One selector with its value, as in `{"email_domain": {"domain": "example.jp"}}`.
///
/// `Display` says who is meant, in words: "anyone with an address @example.jp". Ids are in lower
/// case: letter case does not count in UUIDs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// `everyone`: always matches.
    Everyone,
    /// `email`: the visitor's address is this one.
    Email(EmailAddress),
    /// `email_list`: the visitor's address is on the list with this id.
    EmailList(Box<str>),
    /// `email_domain`: the visitor's address has exactly this domain; sub-domains do not match.
    EmailDomain(Domain),
    /// `ip`: the visitor's network address lies in this block.
    Ip(Network),
    /// `ip_list`: the visitor's network address lies in a block of the list with this id.
    IpList(Box<str>),
    /// `geo`: the visitor's network address belongs to this country.
    Geo(CountryCode),
    /// `group`: the rule group with this id matches.
    Group(Box<str>),
    /// `azureAD`: the visitor has this Entra group.
    AzureAd {
        /// The id of the group.
        id: Box<str>,
        /// The provider of the login.
        provider: Box<str>,
    },
    /// `github-organization`: the visitor is in the organisation, and in the team if one is named.
    GithubOrganization {
        /// The organisation's name.
        name: Box<str>,
        /// The team's slug.
        team: Option<Box<str>>,
        /// The provider of the login.
        provider: Box<str>,
    },
    /// `gsuite`: the visitor is in this Google group.
    Gsuite {
        /// The address of the group.
        email: EmailAddress,
        /// The provider of the login.
        provider: Box<str>,
    },
    /// `okta`: the visitor is in this Okta group.
    Okta {
        /// The group's name; letter case counts.
        name: Box<str>,
        /// The provider of the login.
        provider: Box<str>,
    },
    /// `saml`: the assertion has this attribute with this value.
    Saml {
        /// The attribute's name.
        attribute: Box<str>,
        /// One of its values.
        value: Box<str>,
        /// The provider of the login; any if absent (an older form of the API).
        provider: Option<Box<str>>,
    },
    /// `oidc`: the claim has this value, or is a list with it.
    Oidc {
        /// The claim's name.
        claim: Box<str>,
        /// Its value.
        value: Box<str>,
        /// The provider of the login.
        provider: Box<str>,
    },
    /// `auth_context`: the Entra login carries this authentication context.
    AuthContext {
        /// The id of the context at Cloudflare.
        id: Box<str>,
        /// The class, such as `c1`.
        class: Box<str>,
        /// The provider of the login.
        provider: Box<str>,
    },
    /// `auth_method`: the login used this method (RFC 8176), such as `mfa`.
    AuthMethod(Box<str>),
    /// `login_method`: the visitor logged in through the provider with this id.
    LoginMethod(Box<str>),
    /// `service_token`: the request presented the valid token with this id.
    ServiceToken(Box<str>),
    /// `any_valid_service_token`: the request presented a valid token.
    AnyValidServiceToken,
    /// `certificate`: a valid client certificate was presented.
    Certificate,
    /// `common_name`: a valid client certificate with this common name was presented.
    CommonName(Box<str>),
    /// `device_posture`: the visitor's device passes the check with this id.
    DevicePosture(Box<str>),
    /// `external_evaluation`: a service of the author's says yes.
    ExternalEvaluation {
        /// Whom to ask.
        evaluate_url: Box<str>,
        /// Where the keys are that its answers are signed with.
        keys_url: Box<str>,
    },
    /// `linked_app_token`: the request carries a valid token for the application with this id.
    LinkedAppToken(Box<str>),
    /// `user_risk_score`: the visitor's level of risk is one of these.
    UserRiskScore(RiskLevels),
    /// `cloudflare_account_member`: the visitor is a member of this account, or of any.
    CloudflareAccountMember(Option<Box<str>>),
    /// A selector that this crate does not know. It is never true and never false.
    Unsupported(Unsupported),
}

/// A selector that only a lenient import takes, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported {
    pub(crate) node: Box<Node<'static>>,
    pub(crate) name: Box<str>,
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

    /// The rule group with this id.
    pub fn group(id: impl AsRef<str>) -> Self {
        Self::Group(id.as_ref().to_ascii_lowercase().into())
    }

    /// The country with these two letters.
    ///
    /// # Errors
    ///
    /// When they are not two letters.
    pub fn geo(code: &str) -> Result<Self, Error> {
        CountryCode::parse(code).map(Self::Geo)
    }

    /// Returns the selector's name in Cloudflare's JSON.
    pub fn selector(&self) -> &str {
        match self {
            Self::Everyone => "everyone",
            Self::Email(_) => "email",
            Self::EmailList(_) => "email_list",
            Self::EmailDomain(_) => "email_domain",
            Self::Ip(_) => "ip",
            Self::IpList(_) => "ip_list",
            Self::Geo(_) => "geo",
            Self::Group(_) => "group",
            Self::AzureAd { .. } => "azureAD",
            Self::GithubOrganization { .. } => "github-organization",
            Self::Gsuite { .. } => "gsuite",
            Self::Okta { .. } => "okta",
            Self::Saml { .. } => "saml",
            Self::Oidc { .. } => "oidc",
            Self::AuthContext { .. } => "auth_context",
            Self::AuthMethod(_) => "auth_method",
            Self::LoginMethod(_) => "login_method",
            Self::ServiceToken(_) => "service_token",
            Self::AnyValidServiceToken => "any_valid_service_token",
            Self::Certificate => "certificate",
            Self::CommonName(_) => "common_name",
            Self::DevicePosture(_) => "device_posture",
            Self::ExternalEvaluation { .. } => "external_evaluation",
            Self::LinkedAppToken(_) => "linked_app_token",
            Self::UserRiskScore(_) => "user_risk_score",
            Self::CloudflareAccountMember(_) => "cloudflare_account_member",
            Self::Unsupported(unsupported) => &unsupported.name,
        }
    }

    /// Reports whether only a login can answer this rule. For a [`Rule::Group`] it depends on what
    /// the group holds, and the answer here is no.
    pub fn needs_identity(&self) -> bool {
        match self {
            Self::Email(_)
            | Self::EmailList(_)
            | Self::EmailDomain(_)
            | Self::AzureAd { .. }
            | Self::GithubOrganization { .. }
            | Self::Gsuite { .. }
            | Self::Okta { .. }
            | Self::Saml { .. }
            | Self::Oidc { .. }
            | Self::AuthContext { .. }
            | Self::AuthMethod(_)
            | Self::LoginMethod(_)
            | Self::ExternalEvaluation { .. }
            | Self::UserRiskScore(_)
            | Self::CloudflareAccountMember(_) => true,
            Self::Everyone
            | Self::Ip(_)
            | Self::IpList(_)
            | Self::Geo(_)
            | Self::Group(_)
            | Self::ServiceToken(_)
            | Self::AnyValidServiceToken
            | Self::Certificate
            | Self::CommonName(_)
            | Self::DevicePosture(_)
            | Self::LinkedAppToken(_)
            | Self::Unsupported(_) => false,
        }
    }

    /// Reports whether a text that is to be compared is empty. What is not there must not equal what was left out.
    pub(crate) fn has_empty_text(&self) -> bool {
        let is_empty = |texts: &[&str]| texts.iter().any(|text| text.is_empty());
        match self {
            Self::EmailList(text)
            | Self::IpList(text)
            | Self::Group(text)
            | Self::AuthMethod(text)
            | Self::LoginMethod(text)
            | Self::ServiceToken(text)
            | Self::CommonName(text)
            | Self::DevicePosture(text)
            | Self::LinkedAppToken(text) => is_empty(&[text]),
            Self::AzureAd { id, provider } => is_empty(&[id, provider]),
            Self::GithubOrganization { name, team, provider } => {
                is_empty(&[name, provider]) || team.as_deref() == Some("")
            }
            Self::Gsuite { provider, .. } => is_empty(&[provider]),
            Self::Okta { name, provider } => is_empty(&[name, provider]),
            Self::Saml { attribute, value, provider } => {
                is_empty(&[attribute, value]) || provider.as_deref() == Some("")
            }
            Self::Oidc { claim, value, provider } => is_empty(&[claim, value, provider]),
            Self::AuthContext { id, class, provider } => is_empty(&[id, class, provider]),
            Self::ExternalEvaluation { evaluate_url, keys_url } => {
                is_empty(&[evaluate_url, keys_url])
            }
            Self::CloudflareAccountMember(account) => account.as_deref() == Some(""),
            Self::Everyone
            | Self::Email(_)
            | Self::EmailDomain(_)
            | Self::Ip(_)
            | Self::Geo(_)
            | Self::AnyValidServiceToken
            | Self::Certificate
            | Self::UserRiskScore(_)
            | Self::Unsupported(_) => false,
        }
    }

    /// Reports whether the rule is about a token of a program rather than a person.
    pub fn is_token(&self) -> bool {
        matches!(self, Self::ServiceToken(_) | Self::AnyValidServiceToken | Self::LinkedAppToken(_))
    }

    /// Returns the identity provider that the rule names, if it names one.
    pub fn provider(&self) -> Option<&str> {
        match self {
            Self::AzureAd { provider, .. }
            | Self::GithubOrganization { provider, .. }
            | Self::Gsuite { provider, .. }
            | Self::Okta { provider, .. }
            | Self::Oidc { provider, .. }
            | Self::AuthContext { provider, .. }
            | Self::LoginMethod(provider) => Some(provider),
            Self::Saml { provider, .. } => provider.as_deref(),
            _ => None,
        }
    }

    /// The rule as a condition: "e-mail ends in @example.jp".
    pub(crate) fn condition(&self) -> impl fmt::Display + '_ {
        Condition(self)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everyone => formatter.write_str("everyone"),
            Self::Email(address) => write!(formatter, "{address}"),
            Self::EmailDomain(domain) => write!(formatter, "anyone with an address @{domain}"),
            Self::Ip(network) => write!(formatter, "anyone at network address {network}"),
            Self::Geo(country) => write!(formatter, "anyone in {country}"),
            Self::GithubOrganization { name, team: None, .. } => {
                write!(formatter, "anyone of GitHub organisation `{name}`")
            }
            Self::GithubOrganization { name, team: Some(team), .. } => {
                write!(formatter, "anyone of GitHub team `{name}/{team}`")
            }
            other => write!(formatter, "anyone whose {}", other.condition()),
        }
    }
}

struct Condition<'a>(&'a Rule);

impl fmt::Display for Condition<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Rule::Everyone => f.write_str("everyone"),
            Rule::Email(address) => write!(f, "e-mail is {address}"),
            Rule::EmailList(id) => write!(f, "e-mail is on list `{id}`"),
            Rule::EmailDomain(domain) => write!(f, "e-mail ends in @{domain}"),
            Rule::Ip(network) => write!(f, "client address is in {network}"),
            Rule::IpList(id) => write!(f, "client address is on list `{id}`"),
            Rule::Geo(country) => write!(f, "country is {country}"),
            Rule::Group(id) => write!(f, "request matches group `{id}`"),
            Rule::AzureAd { id, .. } => write!(f, "Entra group is `{id}`"),
            Rule::GithubOrganization { name, team: None, .. } => {
                write!(f, "GitHub organisation is `{name}`")
            }
            Rule::GithubOrganization { name, team: Some(team), .. } => {
                write!(f, "GitHub team is `{name}/{team}`")
            }
            Rule::Gsuite { email, .. } => write!(f, "Google group is {email}"),
            Rule::Okta { name, .. } => write!(f, "Okta group is `{name}`"),
            Rule::Saml { attribute, value, .. } => {
                write!(f, "SAML attribute `{attribute}` is `{value}`")
            }
            Rule::Oidc { claim, value, .. } => write!(f, "OIDC claim `{claim}` is `{value}`"),
            Rule::AuthContext { class, .. } => write!(f, "authentication context is `{class}`"),
            Rule::AuthMethod(method) => write!(f, "login used method `{method}`"),
            Rule::LoginMethod(id) => write!(f, "login came through provider `{id}`"),
            Rule::ServiceToken(id) => write!(f, "service token is `{id}`"),
            Rule::AnyValidServiceToken => f.write_str("service token is valid"),
            Rule::Certificate => f.write_str("client certificate is valid"),
            Rule::CommonName(name) => write!(f, "client certificate has common name `{name}`"),
            Rule::DevicePosture(id) => write!(f, "device passes check `{id}`"),
            Rule::ExternalEvaluation { evaluate_url, .. } => {
                write!(f, "external evaluation `{evaluate_url}` says yes")
            }
            Rule::LinkedAppToken(id) => write!(f, "request has a token of application `{id}`"),
            Rule::UserRiskScore(levels) => write!(f, "risk is {levels}"),
            Rule::CloudflareAccountMember(None) => f.write_str("account is a Cloudflare account"),
            Rule::CloudflareAccountMember(Some(id)) => write!(f, "account is `{id}`"),
            Rule::Unsupported(unsupported) => {
                write!(f, "unsupported selector `{}` holds", unsupported.name)
            }
        }
    }
}
