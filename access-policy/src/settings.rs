//! What an application asks of the edge besides its policies.

use serde::ser::SerializeMap;

use crate::{
    cors::Cors,
    document::Place,
    error::{Error, Kind},
    node::{Carried, Node},
    obligation::Mfa,
};

/// Settings of an application that few applications have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Settings {
    /// The identity providers that the login page offers; all if empty.
    pub allowed_idps: Vec<Box<str>>,
    /// The login page is skipped; only with exactly one provider.
    pub auto_redirect_to_identity: bool,
    /// Preflight requests go to the origin unchecked.
    pub options_preflight_bypass: bool,
    /// The edge answers preflight requests itself.
    pub cors: Option<Cors>,
    /// A program that no service policy admits gets 401, not a redirect to the login.
    pub service_auth_401_redirect: bool,
    /// The one header that carries service tokens as JSON.
    pub read_service_tokens_from_header: Option<String>,
    /// Where visitors go who are refused for who they are.
    pub custom_deny_url: Option<String>,
    /// What those visitors are told.
    pub custom_deny_message: Option<String>,
    /// Where visitors go who are refused whoever they are.
    pub custom_non_identity_deny_url: Option<String>,
    /// A second factor for all policies that do not say otherwise.
    pub mfa: Option<Mfa>,
    /// Destinations that are not public hosts (private networks, workers), as they came.
    pub other_destinations: Vec<Carried>,
    /// Looks, cookies and other settings that have no bearing on a decision, as they came.
    pub carried: Carried,
}

impl Settings {
    /// Reports whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reads one field, and reports whether it is a setting.
    pub(crate) fn import_field(&mut self, field: &Place<'_>) -> bool {
        let keep = |result: Result<bool, Error>| field.keep(result).unwrap_or_default();
        let text = |field: &Place<'_>| {
            let text = field.keep(field.string()).filter(|text| !text.is_empty());
            text.map(str::to_owned)
        };
        match field.name() {
            "allowed_idps" => {
                self.allowed_idps = field.keep(field.collect(read_id)).unwrap_or_default();
            }
            "auto_redirect_to_identity" => self.auto_redirect_to_identity = keep(field.boolean()),
            "options_preflight_bypass" => self.options_preflight_bypass = keep(field.boolean()),
            "service_auth_401_redirect" => self.service_auth_401_redirect = keep(field.boolean()),
            "cors_headers" => self.import_cors(field),
            "read_service_tokens_from_header" => self.read_service_tokens_from_header = text(field),
            "custom_deny_url" => self.custom_deny_url = text(field),
            "custom_deny_message" => self.custom_deny_message = text(field),
            "custom_non_identity_deny_url" => self.custom_non_identity_deny_url = text(field),
            "mfa_config" => self.mfa = field.keep(Mfa::import(field)).flatten(),
            name if CARRIED_FIELDS.contains(&name) => {
                if !matches!(field.node(), Node::Array(elements) if elements.is_empty()) {
                    self.carried.push(name, field.node());
                }
            }
            _ => return false,
        }
        true
    }

    /// Refuses settings that exclude each other.
    pub(crate) fn check(&self, place: &Place<'_>) {
        if self.options_preflight_bypass && self.cors.is_some() {
            let problem = "`options_preflight_bypass` can't go with `cors_headers`";
            place.keep::<()>(Err(place.error(Kind::Contradiction(problem))));
        }
        if self.auto_redirect_to_identity && self.allowed_idps.len() > 1 {
            let problem = "`auto_redirect_to_identity` needs exactly one of `allowed_idps`";
            place.tolerate(place.error(Kind::Contradiction(problem)));
        }
    }

    /// Reads an object, or the array of one object that Terraform's provider 4 makes of it.
    fn import_cors(&mut self, field: &Place<'_>) {
        if field.node().is_inert() {
            return;
        }
        self.cors = if field.is_array() {
            field.keep(field.collect(Cors::import)).and_then(|list| list.into_iter().next())
        } else {
            field.keep(Cors::import(field))
        };
    }

    pub(crate) fn write<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        if !self.allowed_idps.is_empty() {
            map.serialize_entry("allowed_idps", &self.allowed_idps)?;
        }
        for (name, value) in [
            ("auto_redirect_to_identity", self.auto_redirect_to_identity),
            ("options_preflight_bypass", self.options_preflight_bypass),
            ("service_auth_401_redirect", self.service_auth_401_redirect),
        ] {
            if value {
                map.serialize_entry(name, &true)?;
            }
        }
        if let Some(cors) = &self.cors {
            map.serialize_entry("cors_headers", cors)?;
        }
        for (name, value) in [
            ("read_service_tokens_from_header", &self.read_service_tokens_from_header),
            ("custom_deny_url", &self.custom_deny_url),
            ("custom_deny_message", &self.custom_deny_message),
            ("custom_non_identity_deny_url", &self.custom_non_identity_deny_url),
        ] {
            if let Some(value) = value {
                map.serialize_entry(name, value)?;
            }
        }
        if let Some(mfa) = &self.mfa {
            map.serialize_entry("mfa_config", mfa)?;
        }
        self.carried.write(map)
    }
}

fn read_id(place: &Place<'_>) -> Result<Box<str>, Error> {
    place.id()
}

/// What the crate carries from import to export: it concerns cookies, pages and launchers.
const CARRIED_FIELDS: [&str; 24] = [
    "allow_authenticate_via_warp",
    "allow_iframe",
    "app_launcher_logo_url",
    "app_launcher_visible",
    "aud",
    "bg_color",
    "custom_pages",
    "enable_binding_cookie",
    "footer_links",
    "header_bg_color",
    "http_only_cookie_attribute",
    "landing_page_design",
    "logo_url",
    "mcp_portal_id",
    "oauth_configuration",
    "path_cookie_attribute",
    "saas_app",
    "same_site_cookie_attribute",
    "scim_config",
    "skip_app_launcher_login_page",
    "skip_interstitial",
    "tags",
    "target_criteria",
    "use_clientless_isolation_app_launcher_url",
];
