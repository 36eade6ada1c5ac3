//! Reads whole configurations: from Cloudflare's API and from Terraform.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
};

use crate::{
    application::Application,
    document::{Faults, Mode, Place},
    error::{Error, Kind},
    group::Group,
    list::List,
    node::{AtDepth, Members, Node, next_name},
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
        let faults = Faults::new(mode);
        let is_in_parts = matches!(text.trim_ascii_start().first(), Some(b'[' | b'{'));
        let (applications, rest) = if is_in_parts {
            Node::read_json(text, InParts { faults: &faults })?
        } else {
            (None, Node::from_json(text)?)
        };
        let result = Self::import_root(&Place::root(&rest, &faults), applications);
        let lints = faults.take_lints();
        faults.finish(result).map(|(policies, warnings)| Import { policies, warnings, lints })
    }

    /// Reads what was not read in parts.
    fn import_root(
        root: &Place<'_>,
        applications: Option<Vec<Application>>,
    ) -> Result<Self, Error> {
        let mut policies = Self::default();
        let mut has_applications = applications.is_some();
        policies.applications = applications.unwrap_or_default();
        if root.is_array() {
            if !has_applications {
                policies.applications = root.collect(Application::import)?;
            }
            return Ok(policies);
        }
        if terraform::is_state(root)? {
            terraform::import(root, &mut policies)?;
            return Ok(policies);
        }
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
                    check_envelope(&field, None);
                    let organization = Organization::import(inner.as_ref().unwrap_or(&field));
                    policies.organization = field.keep(organization).unwrap_or_default();
                }
                // Looked at together, below.
                "success" | "errors" | "messages" | "result_info" => {}
                _ => field.tolerate(field.unknown_field()),
            }
        }
        if !has_applications {
            return Err(root.error(Kind::MissingField("applications")));
        }
        check_envelope(root, Some(policies.applications.len()));
        Ok(policies)
    }
}

impl<'de> Deserialize<'de> for Policies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Node::deserialize(deserializer)?;
        let faults = Faults::new(Mode::Strict);
        let result = Self::import_root(&Place::root(&node, &faults), None);
        faults.finish(result).map(|(policies, _)| policies).map_err(D::Error::custom)
    }
}

/// Reads applications one by one, so that a large document is never all in memory: those of an array
/// at the root, or of the first member that holds them. The rest is read as it stands.
struct InParts<'f> {
    faults: &'f Faults,
}

type Parts<'de> = (Option<Vec<Application>>, Node<'de>);

/// Reads the elements of an array of applications, one by one.
fn applications<'de, A: SeqAccess<'de>>(
    parent: &Place<'_>,
    depth: AtDepth,
    access: &mut A,
) -> Result<Vec<Application>, A::Error> {
    let mut applications = Vec::new();
    depth.each_element(access, |at, node| {
        let place = parent.element(at, &node);
        applications.extend(place.keep(Application::import(&place)));
    })?;
    applications.shrink_to_fit();
    Ok(applications)
}

impl<'de> DeserializeSeed<'de> for InParts<'_> {
    type Value = Parts<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Parts<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for InParts<'_> {
    type Value = Parts<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a policy document")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Parts<'de>, A::Error> {
        let root = Place::root(&Node::Null, self.faults);
        let applications = applications(&root, AtDepth(0), &mut access)?;
        Ok((Some(applications), Node::Array(Vec::new())))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Parts<'de>, A::Error> {
        let mut members = Members::new();
        let mut applications = None;
        while let Some(name) = next_name(&mut access, &members)? {
            let value = if applications.is_none() && matches!(&*name, "applications" | "result") {
                let (read, node) = access.next_value_seed(Member { parts: &self, name: &name })?;
                applications = read;
                node
            } else {
                access.next_value_seed(AtDepth(1))?
            };
            members.push((name, value));
        }
        Ok((applications, Node::Object(members)))
    }
}

/// The member that holds the applications. In an envelope, they are read as they stand.
struct Member<'m> {
    parts: &'m InParts<'m>,
    name: &'m str,
}

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = Parts<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Parts<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Member<'_> {
    type Value = Parts<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("applications")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Parts<'de>, A::Error> {
        let root = Place::root(&Node::Null, self.parts.faults);
        let place = root.member(self.name, &Node::Null);
        let applications = applications(&place, AtDepth(1), &mut access)?;
        // Nothing is left to read here.
        Ok((Some(applications), Node::Null))
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Parts<'de>, A::Error> {
        AtDepth(1).visit_map(access).map(|node| (None, node))
    }

    // What else may stand here is refused later, with its place.

    fn visit_unit<E: de::Error>(self) -> Result<Parts<'de>, E> {
        Ok((None, Node::Null))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Parts<'de>, E> {
        Ok((None, Node::Bool(value)))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Parts<'de>, E> {
        Ok((None, Node::Integer(value)))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Parts<'de>, E> {
        AtDepth(1).visit_u64(value).map(|node| (None, node))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Parts<'de>, E> {
        AtDepth(1).visit_f64(value).map(|node| (None, node))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Parts<'de>, E> {
        AtDepth(1).visit_str(value).map(|node| (None, node))
    }
}

/// Reads an array, bare or in the API's envelope.
fn collect<T>(field: &Place<'_>, read: impl Fn(&Place<'_>) -> Result<T, Error>) -> Vec<T> {
    let is_envelope = is_envelope(field);
    let list = if is_envelope {
        field.required("result").and_then(|result| result.collect(read))
    } else {
        field.collect(read)
    };
    let list = field.keep(list).unwrap_or_default();
    if is_envelope {
        check_envelope(field, Some(list.len()));
    }
    list
}

/// An answer that tells of a failure, or of pages that are not here, is not the whole configuration.
fn check_envelope(field: &Place<'_>, count: Option<usize>) {
    let Ok(Some(success)) = field.field("success") else { return };
    if success.keep(success.boolean()) == Some(false) {
        let problem = "the API reports a failure; fetch it again";
        field.keep(Err::<(), _>(success.error(Kind::Incomplete(problem))));
    }
    let (Ok(Some(info)), Some(count)) = (field.field("result_info"), count) else { return };
    let number = |name| {
        let found = info.field(name).ok().flatten();
        found
            .and_then(|number| number.integer().ok())
            .and_then(|number| usize::try_from(number).ok())
    };
    let is_paged = number("total_pages").is_some_and(|pages| pages > 1)
        || number("total_count").is_some_and(|total| total > count);
    if is_paged {
        let problem = "there are more pages; put the results of all into one list";
        info.tolerate(info.error(Kind::Incomplete(problem)));
    }
}

fn is_envelope(field: &Place<'_>) -> bool {
    field.is_object() && matches!(field.field("success"), Ok(Some(_)))
}
