//! What is known about people besides the address that they proved: their GitHub organisations and
//! teams, groups and claims, from a file.
//!
//! ```toml
//! provider = "5a1e8b8c-0d6e-4f0a-9f55-0e5f3c1a7b11"   # what policies call identity_provider_id
//!
//! [[person]]
//! email = "hanako@example.jp"
//! github = { acme = ["ops"] }
//! groups = ["staff"]
//! ```

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
};

use access_policy::{Claim, EmailAddress, Identity};
use anyhow::{Context as _, bail};
use serde::Deserialize;

/// Identities by address.
#[derive(Debug, Default)]
pub struct People(HashMap<String, Identity<'static>>);

/// A whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// The provider of everybody who names no other.
    provider: Option<String>,
    #[serde(default)]
    person: Vec<Person>,
}

/// One person. What is left out is not known; an empty list says that there is none.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Person {
    email: String,
    provider: Option<String>,
    github: Option<BTreeMap<String, Vec<String>>>,
    groups: Option<Vec<String>>,
    claims: Option<BTreeMap<String, Claim>>,
    saml: Option<BTreeMap<String, Vec<String>>>,
    auth_methods: Option<Vec<String>>,
    auth_contexts: Option<Vec<String>>,
    accounts: Option<Vec<String>>,
}

impl People {
    /// Reads a file: TOML as above, or, if its name ends in `.json`, an array of documents as Access
    /// serves them at `/cdn-cgi/access/get-identity`.
    ///
    /// # Errors
    ///
    /// Names the file and the person, by position, and what is wrong.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("can't read the identities `{}`", path.display()))?;
        let is_json = path.extension().is_some_and(|extension| extension == "json");
        let people = if is_json { Self::from_json(&text) } else { Self::from_toml(&text) };
        people.with_context(|| format!("in `{}`", path.display()))
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is known about the holder of an address.
    pub fn find(&self, email: &EmailAddress) -> Option<Identity<'static>> {
        self.0.get(email.as_str()).cloned()
    }

    fn from_toml(text: &str) -> anyhow::Result<Self> {
        let file: File = toml::from_str(text).map_err(|error| {
            let before = text.get(..error.span().map_or(0, |span| span.start));
            let line = before.unwrap_or_default().bytes().filter(|byte| *byte == b'\n').count() + 1;
            anyhow::anyhow!("line {line}: {}", error.message())
        })?;
        let default = file.provider.as_deref();
        Self::collect(file.person.into_iter().map(|person| person.identity(default)))
    }

    fn from_json(text: &str) -> anyhow::Result<Self> {
        let documents: Vec<serde_json::Value> =
            serde_json::from_str(text).context("an array of identity documents is meant")?;
        Self::collect(
            documents.iter().map(|document| {
                Ok(Identity::from_get_identity_json(document.to_string().as_bytes())?)
            }),
        )
    }

    fn collect(
        identities: impl Iterator<Item = anyhow::Result<Identity<'static>>>,
    ) -> anyhow::Result<Self> {
        let mut people = HashMap::new();
        for (at, identity) in (1..).zip(identities) {
            let identity = identity.with_context(|| format!("person {at}"))?;
            if people.insert(identity.email().to_owned(), identity).is_some() {
                bail!("person {at}: somebody before has the same address");
            }
        }
        Ok(Self(people))
    }
}

impl Person {
    fn identity(self, default: Option<&str>) -> anyhow::Result<Identity<'static>> {
        let mut identity = Identity::new(EmailAddress::parse(&self.email)?);
        if let Some(provider) = self.provider.as_deref().or(default) {
            identity = identity.provider(provider.to_owned());
        }
        match self.github {
            Some(organizations) if organizations.is_empty() => {
                identity = identity.no_github_organizations();
            }
            Some(organizations) => {
                for (name, teams) in organizations {
                    identity = identity.github_organization(name, teams);
                }
            }
            None => {}
        }
        if let Some(groups) = self.groups {
            identity = identity.groups(groups);
        }
        if let Some(claims) = self.claims {
            identity = identity.oidc_claims(claims.into_iter().collect::<Vec<_>>());
        }
        if let Some(attributes) = self.saml {
            identity = identity.saml_attributes(attributes.into_iter().collect::<Vec<_>>());
        }
        if let Some(methods) = self.auth_methods {
            identity = identity.auth_methods(methods);
        }
        if let Some(contexts) = self.auth_contexts {
            identity = identity.auth_contexts(contexts);
        }
        if let Some(accounts) = self.accounts {
            identity = identity.account_memberships(accounts);
        }
        Ok(identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_come_with_what_the_file_says() {
        let people = People::from_toml(
            r#"
            provider = "gh"
            [[person]]
            email = "Hanako@example.jp"
            github = { acme = ["ops"] }
            [[person]]
            email = "taro@example.jp"
            provider = "okta"
            github = {}
            claims = { level = 3, roles = ["a", "b"] }
            "#,
        )
        .unwrap();
        let find = |email: &str| people.find(&email.parse().unwrap());
        let hanako = Identity::new("hanako@example.jp".parse().unwrap());
        let hanako = hanako.provider("gh").github_organization("acme", ["ops"]);
        assert_eq!(find("hanako@example.jp"), Some(hanako));
        let taro = Identity::new("taro@example.jp".parse().unwrap()).provider("okta");
        let roles = Claim::List(vec!["a".into(), "b".into()]);
        let claims = vec![("level".to_owned(), Claim::Integer(3)), ("roles".to_owned(), roles)];
        let taro = taro.no_github_organizations().oidc_claims(claims);
        assert_eq!(find("taro@example.jp"), Some(taro));
        assert_eq!(find("jiro@example.jp"), None);
    }

    #[test]
    fn documents_of_access_are_read_too() {
        let people = People::from_json(
            r#"[{"email": "hanako@example.jp", "idp": {"id": "gh", "type": "github"},
                 "organizations": ["acme"], "iat": 1}]"#,
        );
        let hanako = people.unwrap().find(&"hanako@example.jp".parse().unwrap()).unwrap();
        let expected = Identity::new("hanako@example.jp".parse().unwrap()).provider("gh");
        assert_eq!(hanako, expected.github_organization("acme", <[String; 0]>::default()));
    }

    #[test]
    fn mistakes_name_the_person_and_not_the_address() {
        for (text, expected) in [
            ("[[person]]\nemail = \"hanako\"", "person 1: not an e-mail address"),
            (
                "[[person]]\nemail = \"a@b.jp\"\n[[person]]\nemail = \"A@B.jp\"",
                "person 2: somebody before has the same address",
            ),
            ("[[person]]\nemail = \"a@b.jp\"\nteam = 1", "line 3: unknown field `team`"),
            ("[[person]]\ngroups = []", "missing field `email`"),
        ] {
            let error = format!("{:#}", People::from_toml(text).unwrap_err());
            assert!(error.contains(expected) && !error.contains("hanako"), "{error}");
        }
    }
}
