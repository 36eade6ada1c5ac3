//! Reads whole configurations: from Cloudflare's API and from Terraform.

use serde::{Deserialize, Deserializer, de::Error as _};

use crate::{
    application::Application,
    document::{Faults, Mode, Place},
    error::{Error, Kind},
    group::Group,
    list::List,
    node::Node,
    organization::Organization,
    policies::Policies,
    policy::Policy,
    remark::Lint,
    terraform,
};

/// What a lenient reading gave.
#[derive(Debug)]
#[non_exhaustive]
pub struct Import {
    /// What was read.
    pub policies: Policies,
    /// What was carried without being understood, each with its JSON pointer.
    pub warnings: Vec<Error>,
    /// What only the text shows, and the model does not: host bits in networks. The other remarks are
    /// those of [`Engine::lint`](crate::Engine::lint).
    pub lints: Vec<Lint>,
}

impl Policies {
    /// Reads strictly what [`import`](Self::import) reads: nothing is skipped, and fields and
    /// selectors that are unknown are errors. Through serde (`toml`, for instance) the same holds;
    /// the place of a fault is then part of the message.
    ///
    /// # Errors
    ///
    /// Every fault, with its place as a JSON pointer.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        Self::import(text.as_bytes(), Mode::Strict).map(|import| import.policies)
    }

    /// Reads one of these:
    ///
    /// - `{"applications", "policies", "groups", "lists", "organization"}`, each as the API of
    ///   Cloudflare returns it, bare or in its envelope (`{"success": true, "result": ..}`);
    /// - a bare or enveloped array of applications;
    /// - the state of Terraform (`terraform show -json` or `terraform.tfstate`), written by version
    ///   4 or 5 of Cloudflare's provider.
    ///
    /// Values that are null, and empty shells of selectors, count as absent.
    ///
    /// # Errors
    ///
    /// Every fault, with its place as a JSON pointer; no bytes whatever make it panic.
    pub fn import(text: &[u8], mode: Mode) -> Result<Import, Error> {
        let node = Node::from_json(text)?;
        Self::import_node(&node, mode)
    }

    fn import_node(node: &Node, mode: Mode) -> Result<Import, Error> {
        let faults = Faults::new(mode);
        let result = Self::import_root(&Place::root(node, &faults));
        let lints = faults.take_lints();
        faults.finish(result).map(|(policies, warnings)| Import { policies, warnings, lints })
    }

    fn import_root(root: &Place<'_>) -> Result<Self, Error> {
        let mut policies = Self::default();
        if root.is_array() {
            policies.applications = root.collect(Application::import)?;
            return Ok(policies);
        }
        if terraform::is_state(root)? {
            terraform::import(root, &mut policies)?;
            return Ok(policies);
        }
        let mut has_applications = false;
        for field in root.fields()? {
            match field.name() {
                "applications" | "result" if !has_applications => {
                    policies.applications = collect(&field, Application::import);
                    has_applications = true;
                }
                "policies" => {
                    policies.policies =
                        collect(&field, |place| Policy::import(place).map(|(_, policy)| policy));
                }
                "groups" => policies.groups = collect(&field, Group::import),
                "lists" => policies.lists = collect(&field, List::import),
                "organization" => {
                    let inner = if is_envelope(&field) { field.field("result")? } else { None };
                    let organization = Organization::import(inner.as_ref().unwrap_or(&field));
                    policies.organization = field.keep(organization).unwrap_or_default();
                }
                "success" | "errors" | "messages" | "result_info" => {}
                _ => field.tolerate(field.unknown_field()),
            }
        }
        if !has_applications {
            return Err(root.error(Kind::MissingField("applications")));
        }
        Ok(policies)
    }
}

impl<'de> Deserialize<'de> for Policies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Node::deserialize(deserializer)?;
        let import = Self::import_node(&node, Mode::Strict).map_err(D::Error::custom)?;
        Ok(import.policies)
    }
}

/// Reads an array, bare or in the API's envelope.
fn collect<T>(field: &Place<'_>, read: impl Fn(&Place<'_>) -> Result<T, Error>) -> Vec<T> {
    let list = if is_envelope(field) {
        field.required("result").and_then(|result| result.collect(read))
    } else {
        field.collect(read)
    };
    field.keep(list).unwrap_or_default()
}

fn is_envelope(field: &Place<'_>) -> bool {
    field.is_object() && matches!(field.field("success"), Ok(Some(_)))
}
