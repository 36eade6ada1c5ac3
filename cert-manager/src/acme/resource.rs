//! The objects of RFC 8555 section 7.1, as far as they are used. Unknown fields, states and kinds of
//! challenges are no errors.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::failure::{Identifier, Problem};

/// Where everything is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Directory {
    /// Gives nonces.
    pub new_nonce: String,
    /// Opens accounts.
    pub new_account: String,
    /// Takes orders.
    pub new_order: String,
    /// Takes certificates back.
    #[serde(default)]
    pub revoke_cert: Option<String>,
    /// Changes an account's key.
    #[serde(default)]
    pub key_change: Option<String>,
    /// Says when to renew (RFC 9773).
    #[serde(default)]
    pub renewal_info: Option<String>,
    /// About the authority.
    #[serde(default)]
    pub meta: Meta,
}

/// About an authority.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Meta {
    /// Its terms.
    pub terms_of_service: Option<String>,
    /// Whether an external account is needed.
    pub external_account_required: bool,
    /// The profiles that it knows, each with a description.
    pub profiles: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Order {
    pub(crate) status: String,
    pub(crate) expires: Option<String>,
    pub(crate) authorizations: Vec<String>,
    pub(crate) finalize: String,
    pub(crate) certificate: Option<String>,
    pub(crate) error: Option<Problem>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Authorization {
    pub(crate) identifier: Identifier,
    pub(crate) status: String,
    pub(crate) wildcard: bool,
    pub(crate) challenges: Vec<Offer>,
}

/// A challenge that can be chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Offer {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) url: String,
    pub(crate) status: String,
    pub(crate) token: String,
    pub(crate) error: Option<Problem>,
}
