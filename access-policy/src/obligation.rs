//! What a policy demands of a visitor besides its rules. It never changes whether a policy matches;
//! it is handed out with the decision, for the host to enforce.

use std::time::Duration;

use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{
    document::Place,
    duration,
    email::EmailAddress,
    error::{Error, Kind},
    node::{Carried, Node},
};

/// What a visitor who is allowed must do as well, or put up with.
///
/// # Security
///
/// A host that can't enforce an obligation must refuse the request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Obligations {
    /// Somebody must approve of the visit first (`approval_required`).
    pub approval_required: bool,
    /// Who can approve; each group must give as many approvals as it needs.
    pub approval_groups: Vec<ApprovalGroup>,
    /// The visitor must state a purpose (`purpose_justification_required`).
    pub purpose_justification_required: bool,
    /// The question that is put to the visitor.
    pub purpose_justification_prompt: Option<String>,
    /// The application must be shown in an isolated browser (`isolation_required`).
    pub isolation_required: bool,
    /// A second factor of the edge's own (`mfa_config`).
    pub mfa: Option<Mfa>,
    /// What is possible within an RDP or SSH session (`connection_rules`), as it came.
    pub connection_rules: Carried,
}

/// People of whom some must approve.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ApprovalGroup {
    /// How many of them.
    pub approvals_needed: u32,
    /// Their addresses.
    pub email_addresses: Vec<EmailAddress>,
    /// The id of a list with more addresses.
    pub email_list: Option<Box<str>>,
}

/// A second factor that the edge asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mfa {
    /// Which kinds will do, such as `totp`; any if empty.
    pub allowed_authenticators: Vec<String>,
    /// The second factor is switched off here, whatever holds elsewhere.
    pub disabled: bool,
    /// For how long it is not asked again; zero asks at every login.
    pub session_duration: Option<Duration>,
}

impl Obligations {
    /// Reports whether nothing is demanded.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reads one field, and reports whether it is an obligation.
    pub(crate) fn import_field(&mut self, field: &Place<'_>) -> bool {
        let keep = |result: Result<bool, Error>| field.keep(result).unwrap_or_default();
        match field.name() {
            "approval_required" => self.approval_required = keep(field.boolean()),
            "approval_groups" | "approval_group" => {
                let groups = field.keep(field.collect(ApprovalGroup::import));
                self.approval_groups = groups.unwrap_or_default();
            }
            "purpose_justification_required" => {
                self.purpose_justification_required = keep(field.boolean());
            }
            "purpose_justification_prompt" => {
                let prompt = field.keep(field.string()).filter(|prompt| !prompt.is_empty());
                self.purpose_justification_prompt = prompt.map(str::to_owned);
            }
            "isolation_required" => self.isolation_required = keep(field.boolean()),
            "mfa_config" => self.mfa = field.keep(Mfa::import(field)).flatten(),
            "connection_rules" => {
                if !field.node().is_inert() {
                    self.connection_rules.push(field.name(), field.node());
                }
            }
            _ => return false,
        }
        true
    }

    pub(crate) fn write<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        if self.approval_required {
            map.serialize_entry("approval_required", &true)?;
        }
        if !self.approval_groups.is_empty() {
            map.serialize_entry("approval_groups", &self.approval_groups)?;
        }
        if self.purpose_justification_required {
            map.serialize_entry("purpose_justification_required", &true)?;
        }
        if let Some(prompt) = &self.purpose_justification_prompt {
            map.serialize_entry("purpose_justification_prompt", prompt)?;
        }
        if self.isolation_required {
            map.serialize_entry("isolation_required", &true)?;
        }
        if let Some(mfa) = &self.mfa {
            map.serialize_entry("mfa_config", mfa)?;
        }
        self.connection_rules.write(map)
    }
}

impl ApprovalGroup {
    fn import(place: &Place<'_>) -> Result<Self, Error> {
        let mut group = Self::default();
        for field in place.fields()? {
            match field.name() {
                "approvals_needed" => {
                    let needed = field.integer()?;
                    let problem = "`approvals_needed` can't be negative";
                    group.approvals_needed = u32::try_from(needed)
                        .map_err(|_| field.error(Kind::Contradiction(problem)))?;
                }
                "email_addresses" => {
                    group.email_addresses = field.collect(read_address)?;
                }
                "email_list_uuid" => {
                    group.email_list =
                        (!field.node().is_inert()).then(|| field.id()).transpose()?;
                }
                _ => field.tolerate(field.unknown_field()),
            }
        }
        Ok(group)
    }
}

impl Serialize for ApprovalGroup {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("approvals_needed", &self.approvals_needed)?;
        if !self.email_addresses.is_empty() {
            let addresses: Vec<_> = self.email_addresses.iter().map(EmailAddress::as_str).collect();
            map.serialize_entry("email_addresses", &addresses)?;
        }
        if let Some(id) = &self.email_list {
            map.serialize_entry("email_list_uuid", id)?;
        }
        map.end()
    }
}

impl Mfa {
    pub(crate) fn import(place: &Place<'_>) -> Result<Option<Self>, Error> {
        if place.node().is_inert() {
            return Ok(None);
        }
        let mut mfa = Self::default();
        for field in place.fields()? {
            match field.name() {
                "allowed_authenticators" => {
                    mfa.allowed_authenticators =
                        field.collect(|kind| kind.string().map(str::to_owned))?;
                }
                "mfa_disabled" => mfa.disabled = field.boolean()?,
                "session_duration" => {
                    let duration = field.parse_with(duration::parse)?;
                    if duration > MAX_MFA_SESSION {
                        let problem = "an MFA session lasts at most 720h";
                        return Err(field.error(Kind::Contradiction(problem)));
                    }
                    mfa.session_duration = Some(duration);
                }
                _ => field.tolerate(field.unknown_field()),
            }
        }
        Ok(Some(mfa))
    }
}

impl Serialize for Mfa {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.allowed_authenticators.is_empty() {
            map.serialize_entry("allowed_authenticators", &self.allowed_authenticators)?;
        }
        if self.disabled {
            map.serialize_entry("mfa_disabled", &true)?;
        }
        if let Some(duration) = self.session_duration {
            map.serialize_entry(
                "session_duration",
                &Node::String(duration::format(duration).into()),
            )?;
        }
        map.end()
    }
}

fn read_address(place: &Place<'_>) -> Result<EmailAddress, Error> {
    place.parse()
}

/// Cloudflare's bound.
const MAX_MFA_SESSION: Duration = Duration::from_secs(720 * 3600);
