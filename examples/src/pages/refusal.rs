//! The ends of a session: not admitted, and signed out.

use std::fmt;

use askama::Template;

use super::CSRF_FIELD;
use crate::locale::{Locale, Part};

/// Tells a visitor that the application does not admit them.
///
/// It names no rule. The request id leads whoever runs the gate to the decision in the log.
#[derive(Clone, Template)]
#[template(path = "refusal.html", whitespace = "minimize")]
pub struct RefusalPage {
    /// Language of the page.
    pub locale: Locale,
    /// Host of the application, as the visitor knows it.
    pub application: String,
    /// Address that the visitor is signed in with, if any.
    pub address: Option<String>,
    /// URL that signing out is posted to. The button is there only for a visitor with an address.
    pub sign_out_action: String,
    /// Token against forged posts; the field is left out if absent.
    pub csrf: Option<String>,
    /// How to reach whoever runs the application, in their own words.
    pub contact: Option<String>,
    /// Id of the request, for asking about it.
    pub request_id: String,
    /// Why, as far as a visitor may know.
    pub reason: RefusalReason,
    /// URL of the same page in [`Locale::other`]; no switch if absent.
    pub language_href: Option<String>,
}

impl RefusalPage {
    /// Renders the complete HTML document.
    #[must_use]
    pub fn to_html(&self) -> String {
        super::render(self)
    }

    fn title(&self) -> String {
        self.locale.fill("refusal.title", &[("application", &self.application)])
    }

    /// Returns one of the reason's texts that need no value: `headline` or `next`.
    fn text(&self, part: &str) -> &'static str {
        self.locale.text(&self.reason.key(part))
    }

    fn explanation(&self) -> Vec<Part> {
        match &self.address {
            Some(address) => {
                self.locale.sentence(&self.reason.key("signed_in"), &[("address", address)])
            }
            None => self.locale.sentence(&self.reason.key("anonymous"), &[]),
        }
    }
}

impl fmt::Debug for RefusalPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address and the token do not belong in a log.
        f.debug_struct("RefusalPage")
            .field("locale", &self.locale)
            .field("application", &self.application)
            .field("request_id", &self.request_id)
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

/// Why a visitor is refused, without saying what the rules are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusalReason {
    /// No rule admits this visitor, or one blocks them.
    NotAdmitted,
    /// The application is not open to the visitor's network.
    Network,
    /// No application is set up at this host.
    NoApplication,
}

impl RefusalReason {
    /// Every variant.
    pub const ALL: [Self; 3] = [Self::NotAdmitted, Self::Network, Self::NoApplication];

    /// Returns one of this reason's keys in the catalogue.
    fn key(self, part: &str) -> String {
        let name = match self {
            Self::NotAdmitted => "not_admitted",
            Self::Network => "network",
            Self::NoApplication => "no_application",
        };
        format!("refusal.{name}.{part}")
    }
}

/// Tells a visitor that the session is over.
#[derive(Debug, Clone, Template)]
#[template(path = "signed_out.html", whitespace = "minimize")]
pub struct SignedOutPage {
    /// Language of the page.
    pub locale: Locale,
    /// Host of the application, if the visitor signed out of one.
    pub application: Option<String>,
    /// URL to sign in again; no link if absent.
    pub sign_in_href: Option<String>,
    /// URL of the same page in [`Locale::other`]; no switch if absent.
    pub language_href: Option<String>,
}

impl SignedOutPage {
    /// Renders the complete HTML document.
    #[must_use]
    pub fn to_html(&self) -> String {
        super::render(self)
    }

    fn title(&self) -> &'static str {
        self.locale.text("signed_out.title")
    }
}
