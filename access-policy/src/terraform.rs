//! Reads the state of Terraform: resources of Cloudflare's provider, in its versions 4 and 5.

use crate::{
    application::{Application, PolicyEntry},
    document::Place,
    error::{Error, Kind},
    group::Group,
    limits,
    list::List,
    organization::Organization,
    policies::Policies,
    policy::Policy,
};

/// Reports whether a document is a state.
pub(crate) fn is_state(root: &Place<'_>) -> Result<bool, Error> {
    Ok(root.field("terraform_version")?.is_some())
}

/// Reads every resource that concerns access; the others are none of our business.
pub(crate) fn import(root: &Place<'_>, policies: &mut Policies) -> Result<(), Error> {
    let mut attached = Vec::new();
    if let Some(resources) = root.field("resources")? {
        for resource in resources.elements()? {
            if is_data_source(&resource)? {
                continue;
            }
            let kind = resource.required("type")?.string()?;
            let Some(instances) = resource.field("instances")? else { continue };
            for instance in instances.elements()? {
                let Some(attributes) = instance.field("attributes")? else { continue };
                attributes.keep(read(kind, &attributes, policies, &mut attached));
            }
        }
    }
    if let Some(values) = root.field("values")?
        && let Some(module) = values.field("root_module")?
    {
        import_module(&module, policies, &mut attached)?;
    }
    attach(attached, root, policies);
    Ok(())
}

/// Data sources only repeat what some resource holds.
fn is_data_source(resource: &Place<'_>) -> Result<bool, Error> {
    let mode = resource.field("mode")?.map(|mode| mode.string()).transpose()?;
    Ok(mode.is_some_and(|mode| mode != "managed"))
}

/// A policy of provider 4 that names its application.
type Attached = (Box<str>, Option<i64>, Policy);

/// Reads a module of `terraform show -json`, and those inside it.
fn import_module(
    module: &Place<'_>,
    policies: &mut Policies,
    attached: &mut Vec<Attached>,
) -> Result<(), Error> {
    if let Some(resources) = module.field("resources")? {
        for resource in resources.elements()? {
            if is_data_source(&resource)? {
                continue;
            }
            let kind = resource.required("type")?.string()?;
            if let Some(values) = resource.field("values")? {
                values.keep(read(kind, &values, policies, attached));
            }
        }
    }
    if let Some(children) = module.field("child_modules")? {
        for child in children.elements()? {
            import_module(&child, policies, attached)?;
        }
    }
    Ok(())
}

fn read(
    kind: &str,
    attributes: &Place<'_>,
    policies: &mut Policies,
    attached: &mut Vec<Attached>,
) -> Result<(), Error> {
    match kind.strip_prefix("cloudflare_").unwrap_or_default() {
        "zero_trust_access_application" | "access_application" => {
            policies.applications.push(Application::import(attributes)?);
        }
        "zero_trust_access_policy" | "access_policy" => {
            let (precedence, policy) = Policy::import(attributes)?;
            let owner = attributes.field("application_id")?.map(|id| id.id()).transpose()?;
            match owner {
                Some(owner) => attached.push((owner, precedence, policy)),
                None => policies.policies.push(policy),
            }
        }
        "zero_trust_access_group" | "access_group" => {
            policies.groups.push(Group::import(attributes)?);
        }
        "zero_trust_list" | "teams_list" => policies.lists.push(List::import(attributes)?),
        "zero_trust_access_organization" | "zero_trust_organization" | "access_organization" => {
            policies.organization = Organization::import(attributes)?;
        }
        _ => {}
    }
    Ok(())
}

/// Gives policies to the applications they name, in order of precedence.
fn attach(mut attached: Vec<Attached>, root: &Place<'_>, policies: &mut Policies) {
    attached.sort_by_key(|(_, precedence, _)| *precedence);
    for (owner, _, policy) in attached {
        let mut owners = policies.applications.iter_mut();
        if let Some(application) = owners.find(|app| *app.id == *owner) {
            application.policies.push(PolicyEntry::Inline(policy));
        } else {
            let id = limits::excerpt(&owner);
            let error = root.error(Kind::UnresolvedReference { what: "application", id });
            root.keep(Err::<(), _>(error));
        }
    }
}
