//! The two steps of signing in: give an address, enter the code.

use std::fmt;

use askama::Template;

use super::{CODE_FIELD, CSRF_FIELD, EMAIL_FIELD, NONCE_FIELD};
use crate::locale::{Locale, Part};

/// The first step: a visitor gives an e-mail address.
///
/// The form posts [`EMAIL_FIELD`], [`CSRF_FIELD`] and the hidden fields to `action`. The browser
/// does not check the address, because it would refuse the full-width `＠` of a Japanese keyboard.
#[derive(Clone, Template)]
#[template(path = "login.html", whitespace = "minimize")]
pub struct LoginPage {
    /// Language of the page.
    pub locale: Locale,
    /// Host of the application, as the visitor knows it.
    pub application: String,
    /// URL that the form posts to.
    pub action: String,
    /// Address to start with, as the visitor typed it last time; empty at first.
    pub address: String,
    /// What was wrong with the last try.
    pub error: Option<LoginError>,
    /// Further fields to carry along, as name and value.
    pub hidden: Vec<(String, String)>,
    /// Token against forged posts.
    pub csrf: String,
    /// URL of the same page in [`Locale::other`]; no switch if absent.
    pub language_href: Option<String>,
}

impl LoginPage {
    /// Renders the complete HTML document.
    #[must_use]
    pub fn to_html(&self) -> String {
        super::render(self)
    }

    fn title(&self) -> String {
        let title = self.locale.fill("login.title", &[("application", &self.application)]);
        title_with_error(self.locale, title, self.error.is_some())
    }
}

impl fmt::Debug for LoginPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address, the token and the hidden fields do not belong in a log.
        f.debug_struct("LoginPage")
            .field("locale", &self.locale)
            .field("application", &self.application)
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

/// Why the address has to be given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LoginError {
    /// The field was empty.
    Empty,
    /// The input is not an e-mail address.
    NotAnAddress,
    /// The token of the form was missing, wrong or too old.
    FormExpired,
}

impl LoginError {
    /// Every variant.
    pub const ALL: [Self; 3] = [Self::Empty, Self::NotAnAddress, Self::FormExpired];

    fn key(self) -> &'static str {
        match self {
            Self::Empty => "login.error.empty",
            Self::NotAnAddress => "login.error.not_an_address",
            Self::FormExpired => "login.error.form_expired",
        }
    }

    fn is_about_input(self) -> bool {
        matches!(self, Self::Empty | Self::NotAnAddress)
    }
}

/// The second step: the visitor enters the code.
///
/// The first form posts [`CODE_FIELD`], [`NONCE_FIELD`] and [`CSRF_FIELD`] to `action`, the second
/// one the same without the code to `resend_action`. Full-width digits, spaces and hyphens reach
/// the server as typed.
///
/// # Security
///
/// The page is the same for an address that gets a mail and for one that does not. Fill it in
/// without looking at that.
#[derive(Clone, Template)]
#[template(path = "code.html", whitespace = "minimize")]
pub struct CodePage {
    /// Language of the page.
    pub locale: Locale,
    /// Host of the application, as the visitor knows it.
    pub application: String,
    /// Address that the visitor gave.
    pub address: String,
    /// URL that the code is posted to.
    pub action: String,
    /// URL that a wish for another code is posted to.
    pub resend_action: String,
    /// URL of the first step, for a visitor with another address.
    pub start_over_href: String,
    /// Token against forged posts.
    pub csrf: String,
    /// Names the sign-in that the code belongs to.
    pub nonce: String,
    /// Seconds that have to pass between two mails; 0 says nothing about waiting.
    pub resend_after_secs: u32,
    /// Minutes that a code is valid.
    pub expires_minutes: u32,
    /// How many digits the code has.
    pub code_digits: usize,
    /// Whether the visitor has just asked for another code.
    pub resent: bool,
    /// What was wrong with the last try.
    pub error: Option<CodeError>,
    /// URL of the same page in [`Locale::other`]; no switch if absent.
    pub language_href: Option<String>,
}

impl CodePage {
    /// Renders the complete HTML document.
    #[must_use]
    pub fn to_html(&self) -> String {
        super::render(self)
    }

    fn title(&self) -> String {
        let title = self.locale.fill("code.title", &[("application", &self.application)]);
        title_with_error(self.locale, title, self.error.is_some())
    }

    fn lead(&self) -> Vec<Part> {
        let duration = self.locale.duration(self.expires_minutes.saturating_mul(60));
        let values = [
            ("address", self.address.as_str()),
            ("duration", &duration),
            ("digits", self.digits()),
        ];
        self.locale.sentence("code.lead", &values)
    }

    fn label(&self) -> String {
        self.locale.fill("code.label", &[("digits", self.digits())])
    }

    fn error_text(&self) -> String {
        let fill = |error: CodeError| self.locale.fill(error.key(), &[("digits", self.digits())]);
        self.error.map(fill).unwrap_or_default()
    }

    /// The number of digits as the language writes it.
    fn digits(&self) -> &'static str {
        self.locale.text(match self.code_digits {
            6 => "digits.six",
            8 => "digits.eight",
            9 => "digits.nine",
            _ => "digits.twelve",
        })
    }

    fn resend_lead(&self) -> Vec<Part> {
        if self.resend_after_secs == 0 {
            return self.locale.sentence("code.resend.lead", &[]);
        }
        let duration = self.locale.duration(self.resend_after_secs);
        self.locale.sentence("code.resend.lead_wait", &[("duration", &duration)])
    }
}

impl fmt::Debug for CodePage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address, the token and the nonce do not belong in a log.
        f.debug_struct("CodePage")
            .field("locale", &self.locale)
            .field("application", &self.application)
            .field("resent", &self.resent)
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

/// Why a code has to be entered again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CodeError {
    /// Wrong, expired, used, too many tries, or the address is not admitted: the words are the same.
    Wrong,
    /// The input is not a code. No try was spent.
    Malformed,
    /// Another code was asked for before the waiting time was over.
    TooSoon,
}

impl CodeError {
    /// Every variant.
    pub const ALL: [Self; 3] = [Self::Wrong, Self::Malformed, Self::TooSoon];

    fn key(self) -> &'static str {
        match self {
            Self::Wrong => "code.error.wrong",
            Self::Malformed => "code.error.malformed",
            Self::TooSoon => "code.error.too_soon",
        }
    }

    fn is_about_input(self) -> bool {
        matches!(self, Self::Wrong | Self::Malformed)
    }
}

/// Puts "Error:" in front, so that a screen reader says it first.
fn title_with_error(locale: Locale, title: String, has_error: bool) -> String {
    if has_error { locale.fill("page.error", &[("title", &title)]) } else { title }
}
