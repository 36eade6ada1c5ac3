//! The whole of a configuration: every application with its policies.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::{
    application::Application,
    document::{Node, Place},
    error::{Error, Kind},
};

/// Every application that the edge protects. Plain data, in the shape of Cloudflare's JSON.
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
/// assert_eq!(error.location(), Some("applications[0].policies[0].include[0].emial"));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Policies {
    /// The applications, in no particular order: the most specific destination decides.
    pub applications: Vec<Application>,
}

impl Policies {
    /// Takes applications that were built in code.
    pub fn new(applications: impl IntoIterator<Item = Application>) -> Self {
        Self { applications: applications.into_iter().collect() }
    }

    /// Reads `{"applications": [..]}`, a bare array of applications, or the envelope in which
    /// Cloudflare's API returns one (`{"success": true, "result": [..]}`).
    ///
    /// Nothing is skipped: fields and selectors that are unknown, and those that this version
    /// can't honour yet, are errors. Fields that are null, false or an empty list ask for nothing
    /// and are taken. Through serde (`toml`, for instance) the same rules hold; the place of a fault
    /// is then part of the message.
    ///
    /// # Errors
    ///
    /// The first fault, with its place as a JSON path.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        Self::import(&Node::from_json(text)?.root())
    }

    fn import(root: &Place<'_>) -> Result<Self, Error> {
        if root.is_array() {
            return Ok(Self { applications: root.collect(Application::import)? });
        }
        let mut applications = None;
        for field in root.fields()? {
            match field.name() {
                "applications" | "result" if applications.is_none() => {
                    applications = Some(field.collect(Application::import)?);
                }
                "success" | "errors" | "messages" | "result_info" => {}
                _ => return Err(field.unknown_field()),
            }
        }
        let applications =
            applications.ok_or_else(|| root.error(Kind::MissingField("applications")))?;
        Ok(Self { applications })
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

impl<'de> Deserialize<'de> for Policies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Node::deserialize(deserializer)?;
        Self::import(&node.root()).map_err(D::Error::custom)
    }
}
