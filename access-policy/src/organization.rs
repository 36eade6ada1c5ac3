//! What holds for all applications.

use std::time::Duration;

use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{
    document::Place,
    domain::{Letters, to_a_labels},
    duration,
    error::{Error, Kind},
    node::Carried,
    obligation::Mfa,
};

/// Settings of the organisation that bear on decisions; the rest is carried.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Organization {
    /// `strict_service_token_auth`: a request with a service token is admitted by service and bypass
    /// policies alone; 401 if the token is not valid, 403 if no such policy matches.
    pub strict_service_token_auth: bool,
    /// How long a login lasts if neither policy nor application says otherwise.
    pub session_duration: Option<Duration>,
    /// A second factor for all applications that do not say otherwise.
    pub mfa: Option<Mfa>,
    /// Whether requests that no application covers pass without any check.
    pub unmatched: Unmatched,
    /// Settings without bearing on a decision, as they came.
    pub carried: Carried,
}

/// What becomes of requests that no application covers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Unmatched {
    /// They are refused. This is the default here, unlike at Cloudflare.
    #[default]
    Deny,
    /// They are refused, but for hosts in these zones (`deny_unmatched_requests_exempted_zone_names`),
    /// which pass.
    DenyExcept(Vec<String>),
    /// They pass. Ask for it by name: a forgotten application is then open to everyone.
    DangerPass,
}

impl Unmatched {
    /// Returns the zones whose hosts pass though no application covers them.
    pub(crate) fn exempted_zones(&self) -> &[String] {
        match self {
            Self::DenyExcept(zones) => zones,
            Self::Deny | Self::DangerPass => &[],
        }
    }

    /// Reports whether a request for a host passes.
    pub(crate) fn passes(&self, host: &str) -> bool {
        match self {
            Self::Deny => false,
            Self::DangerPass => true,
            Self::DenyExcept(zones) => zones.iter().any(|zone| {
                host.strip_suffix(zone.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }),
        }
    }
}

impl Organization {
    pub(crate) fn import(place: &Place<'_>) -> Result<Self, Error> {
        let mut organization = Self::default();
        let (mut denies, mut exempted) = (None, Vec::new());
        for field in place.fields()? {
            match field.name() {
                "strict_service_token_auth" => {
                    let is_strict = field.keep(field.boolean());
                    organization.strict_service_token_auth = is_strict.unwrap_or(true);
                }
                "session_duration" if !field.node().is_inert() => {
                    organization.session_duration = field.keep(field.parse_with(duration::parse));
                }
                "mfa_config" => organization.mfa = field.keep(Mfa::import(&field)).flatten(),
                "deny_unmatched_requests" => denies = field.keep(field.boolean()),
                "deny_unmatched_requests_exempted_zone_names" => {
                    let zones = field.collect(|zone| {
                        to_a_labels(zone.string()?, Letters::OfHosts)
                            .map(String::from)
                            .ok_or_else(|| zone.error(Kind::Domain("it is not a legal zone")))
                    });
                    exempted = field.keep(zones).unwrap_or_default();
                }
                name if CARRIED_FIELDS.contains(&name) => {
                    organization.carried.push(name, field.node());
                }
                name => {
                    field.tolerate(field.unknown_field());
                    organization.carried.push(name, field.node());
                }
            }
        }
        // DEVIATION: `deny_unmatched_requests: false` is Cloudflare's default, and the way to open
        // everything by forgetting one application; here it only counts when it is said.
        organization.unmatched = match denies {
            Some(false) => Unmatched::DangerPass,
            Some(true) | None if exempted.is_empty() => Unmatched::Deny,
            Some(true) | None => Unmatched::DenyExcept(exempted),
        };
        Ok(organization)
    }
}

impl Serialize for Organization {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if self.strict_service_token_auth {
            map.serialize_entry("strict_service_token_auth", &true)?;
        }
        if let Some(duration) = self.session_duration {
            map.serialize_entry("session_duration", &duration::format(duration))?;
        }
        if let Some(mfa) = &self.mfa {
            map.serialize_entry("mfa_config", mfa)?;
        }
        match &self.unmatched {
            Unmatched::Deny => map.serialize_entry("deny_unmatched_requests", &true)?,
            Unmatched::DangerPass => map.serialize_entry("deny_unmatched_requests", &false)?,
            Unmatched::DenyExcept(zones) => {
                map.serialize_entry("deny_unmatched_requests", &true)?;
                map.serialize_entry("deny_unmatched_requests_exempted_zone_names", zones)?;
            }
        }
        self.carried.write(&mut map)?;
        map.end()
    }
}

const CARRIED_FIELDS: [&str; 16] = [
    "allow_authenticate_via_warp",
    "auth_domain",
    "auto_redirect_to_identity",
    "created_at",
    "custom_pages",
    "is_ui_read_only",
    "login_design",
    "mfa_configuration_allowed",
    "mfa_required_for_all_apps",
    "mfa_ssh_piv_key_requirements",
    "name",
    "ui_read_only_toggle_reason",
    "updated_at",
    "user_seat_expiration_inactive_time",
    "warp_auth_session_duration",
    "account_id",
];
