//! What a visitor asks for, and what the browser gets.

use std::net::IpAddr;

use crate::address::EmailAddress;
use crate::challenge::{ChallengeId, FlowCookie};
use crate::code::CodeLength;
use crate::locale::Locale;
use crate::mail::Host;
use crate::timestamp::Timestamp;

/// What the policy says of an address: passed in, never branched on in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Some rule could admit the address.
    Admitted,
    /// No rule can. The visitor gets the same page, and no mail goes out.
    Denied,
}

/// A visitor's wish for a first code.
#[must_use]
#[derive(Debug, Clone)]
pub struct Begin {
    pub(super) address: EmailAddress,
    pub(super) admission: Admission,
    pub(super) device: Option<String>,
    pub(super) asked: Resend,
}

impl Begin {
    /// An address, what the policy says of it, where the request came from, and what it wants to enter.
    ///
    /// Behind a proxy, take `client` only from a field that the proxy sets.
    pub fn new(
        address: EmailAddress,
        admission: Admission,
        client: IpAddr,
        application: Host,
    ) -> Self {
        let asked = Resend::new(client, application);
        Self { address, admission, device: None, asked }
    }

    /// The language of the mail. Default English.
    pub fn locale(mut self, locale: Locale) -> Self {
        self.asked.locale = locale;
        self
    }

    /// The value of the browser's [`DeviceCookie`](crate::challenge::DeviceCookie), if it sent one. One
    /// that is malformed, too old or of another address makes a stranger of it, and no error.
    pub fn device(mut self, cookie: Option<impl Into<String>>) -> Self {
        self.device = cookie.map(Into::into);
        self
    }
}

/// A visitor's wish for another code. The address is that of the flow.
#[must_use]
#[derive(Debug, Clone)]
pub struct Resend {
    pub(super) client: IpAddr,
    pub(super) application: Host,
    pub(super) locale: Locale,
}

impl Resend {
    /// Where the request came from, and what the flow wants to enter.
    pub fn new(client: IpAddr, application: Host) -> Self {
        Self { client, application, locale: Locale::default() }
    }

    /// The language of the mail. Default English.
    pub fn locale(mut self, locale: Locale) -> Self {
        self.locale = locale;
        self
    }
}

/// What the browser gets when a flow has begun. The same for every address.
#[derive(Debug, Clone)]
pub struct Begun {
    /// The public name of the flow, for forms and redirects.
    pub nonce: ChallengeId,
    /// The secret that ties the flow to this browser, for a cookie.
    pub flow_cookie: FlowCookie,
    /// How many digits to ask for. It tells how the address and the deployment have been guessed at, and
    /// nothing of who is admitted.
    pub code_length: CodeLength,
    /// When the code ends: the cookie's life.
    pub expires: Timestamp,
}
