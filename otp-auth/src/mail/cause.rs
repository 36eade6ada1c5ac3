//! Why a mail was not sent, in words that cannot hold the code.

use std::fmt;
use std::io;

/// The cause of a [`MailError`](super::MailError): by its type without a word of the mail.
///
/// A mail server may quote the subject in its refusal, and the subject holds the code. So a cause is made of
/// fixed words, of a system error's number or of the name of its kind, and never of what came over the
/// network.
///
/// ```
/// use otp_auth::mail::{MailCause, MailError};
///
/// let quoting = std::io::Error::other("554 I don't like `493817 is your code`");
/// let error = MailError::Connection(quoting.into());
/// let cause = std::error::Error::source(&error).expect("a cause");
/// assert_eq!(cause.to_string(), "other error");
/// let fixed = MailError::Connection(MailCause::new("the queue is closed"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct MailCause(Cause);

#[derive(Clone, PartialEq, Eq)]
enum Cause {
    Words(&'static str),
    Kind(io::ErrorKind),
    System(i32),
    #[cfg(feature = "smtp")]
    Handshake(Box<str>),
}

impl MailCause {
    /// Fixed words.
    pub const fn new(words: &'static str) -> Self {
        Self(Cause::Words(words))
    }

    /// What the TLS library has against a certificate, before the mail goes anywhere.
    #[cfg(feature = "smtp")]
    pub(super) fn handshake(error: &dyn fmt::Display) -> Self {
        Self(Cause::Handshake(error.to_string().into()))
    }
}

/// Keeps the number or the kind, not the text.
impl From<io::Error> for MailCause {
    fn from(error: io::Error) -> Self {
        Self::from(&error)
    }
}

impl From<&io::Error> for MailCause {
    fn from(error: &io::Error) -> Self {
        Self(error.raw_os_error().map_or(Cause::Kind(error.kind()), Cause::System))
    }
}

impl fmt::Display for MailCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Cause::Words(words) => f.write_str(words),
            Cause::Kind(kind) => kind.fmt(f),
            Cause::System(number) => io::Error::from_raw_os_error(*number).fmt(f),
            #[cfg(feature = "smtp")]
            Cause::Handshake(words) => f.write_str(words),
        }
    }
}

impl fmt::Debug for MailCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MailCause({self})")
    }
}

impl std::error::Error for MailCause {}
