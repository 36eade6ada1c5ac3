//! What is kept of an attempt to get a certificate, so that a crash loses nothing.

use serde::{Deserialize, Serialize};

use crate::acme::challenge::Challenge;

/// The journal of one attempt: what whoever comes after a crash cannot learn from the authority. It is stored before each act
/// that needs it, and whoever reads it goes on from there: the same key, the same order, which then says how far it is.
///
/// # Security
///
/// It holds the certificate's private key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Attempt {
    /// The version of this form.
    #[serde(rename = "v")]
    pub version: u8,
    /// The names, `*.` included.
    pub names: Vec<String>,
    /// The authority's directory.
    pub directory_url: String,
    /// The profile that is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The certificate that is replaced (RFC 9773 section 5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// The private key, PEM.
    pub key: String,
    /// The signing request, DER in base64url.
    pub csr: String,
    /// Where the order is, once the authority has taken it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_url: Option<String>,
    /// What was shown, or was about to be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub challenges: Vec<Challenge>,
}

impl Attempt {
    pub(crate) const VERSION: u8 = 1;
}

impl std::fmt::Debug for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attempt")
            .field("names", &self.names)
            .field("order_url", &self.order_url)
            .finish_non_exhaustive()
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.key);
    }
}
