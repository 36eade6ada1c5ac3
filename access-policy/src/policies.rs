//! The whole of a configuration: every application with its policies, groups and lists.

use std::fmt;

use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{
    application::Application, group::Group, list::List, organization::Organization, policy::Policy,
};

/// Everything that decides who may open what. Plain data, in the shape of Cloudflare's JSON.
///
/// `Display` says in words who may use what, one line an application.
///
/// ```
/// use access_policy::Policies;
///
/// let json = r#"{"applications": [{"domain": "wiki.example.jp", "policies": [
///     {"name": "staff", "decision": "allow", "include": [{"emial": {"email": "a@example.jp"}}]}
/// ]}]}"#;
/// let error = Policies::from_json(json).unwrap_err();
/// assert_eq!(error.location(), Some("/applications/0/policies/0/include/0/emial"));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policies {
    /// The applications, in no particular order: the most specific destination decides.
    pub applications: Vec<Application>,
    /// Reusable policies, which applications link to.
    pub policies: Vec<Policy>,
    /// Rule groups, which rules name.
    pub groups: Vec<Group>,
    /// Lists, which rules name.
    pub lists: Vec<List>,
    /// What holds for all applications.
    pub organization: Organization,
}

impl Policies {
    /// Takes applications that were built in code.
    pub fn new(applications: impl IntoIterator<Item = Application>) -> Self {
        Self { applications: applications.into_iter().collect(), ..Self::default() }
    }

    /// Adds a reusable policy.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policies.push(policy);
        self
    }

    /// Adds a rule group.
    #[must_use]
    pub fn group(mut self, group: Group) -> Self {
        self.groups.push(group);
        self
    }

    /// Adds a list.
    #[must_use]
    pub fn list(mut self, list: List) -> Self {
        self.lists.push(list);
        self
    }
}

impl fmt::Display for Policies {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.applications.is_empty() {
            return formatter.write_str("no application; everyone is refused");
        }
        for (index, application) in self.applications.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(formatter, "{separator}{application}")?;
        }
        Ok(())
    }
}

/// The JSON form that [`Policies::import`] reads.
impl Serialize for Policies {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("applications", &self.applications)?;
        if !self.policies.is_empty() {
            map.serialize_entry("policies", &self.policies)?;
        }
        if !self.groups.is_empty() {
            map.serialize_entry("groups", &self.groups)?;
        }
        if !self.lists.is_empty() {
            map.serialize_entry("lists", &self.lists)?;
        }
        if self.organization != Organization::default() {
            map.serialize_entry("organization", &self.organization)?;
        }
        map.end()
    }
}
