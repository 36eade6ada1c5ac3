//! Who a visitor has proved to be.

use crate::email::EmailAddress;

/// The facts that a login established about a visitor.
///
/// Build it only from a verified session: whatever stands here is believed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Identity {
    email: EmailAddress,
}

impl Identity {
    /// An identity that consists of a proven e-mail address.
    pub fn new(email: EmailAddress) -> Self {
        Self { email }
    }

    /// Returns the proven e-mail address.
    pub fn email(&self) -> &EmailAddress {
        &self.email
    }
}
