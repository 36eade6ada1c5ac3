//! The message that carries a code, and the ways to send it.

mod cause;
mod host;
mod job;
#[cfg(feature = "tokio")]
mod outbox;
#[cfg(feature = "smtp")]
mod smtp;
mod template;
mod terminal;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error as ThisError;

pub use self::cause::MailCause;
pub use self::host::Host;
pub use self::job::{Job, Silence};
#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub use self::outbox::{
    DirectoryOutbox, Failure, MemoryOutbox, Outbox, OutboxBuilder, OutboxEvent, OutboxObserver,
    OutboxStore,
};
#[cfg(feature = "smtp")]
#[cfg_attr(docsrs, doc(cfg(feature = "smtp")))]
pub use self::smtp::{Security, SmtpMailer, SmtpMailerBuilder};
pub use self::template::{MailFacts, MailPart, MailTemplate, MailTexts, TemplateError};
pub use self::terminal::TerminalMailer;
use crate::address::EmailAddress;
use crate::code::Code;
use crate::locale::Locale;

/// A rendered message. It contains the code, so its `Debug` shows neither subject nor body.
///
/// Made by [`MailTemplate::render`] only, which has refused control characters in every part.
#[derive(Clone)]
pub struct Mail {
    pub(super) id: String,
    pub(super) to: EmailAddress,
    pub(super) subject: String,
    pub(super) text: String,
    pub(super) html: String,
    pub(super) code: Code,
    pub(super) valid_for: Duration,
    pub(super) locale: Locale,
}

impl Mail {
    /// The message id without angle brackets, unique for each code: also the idempotency key of an outbox.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The only recipient.
    pub fn to(&self) -> &EmailAddress {
        &self.to
    }

    /// The subject, which holds the code.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The plain text part; lines end in `\n`.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The HTML part, without links and images.
    pub fn html(&self) -> &str {
        &self.html
    }

    /// The code.
    pub fn code(&self) -> &Code {
        &self.code
    }

    /// For how long the code is valid from now.
    pub fn valid_for(&self) -> Duration {
        self.valid_for
    }

    /// The language of the texts.
    pub fn locale(&self) -> Locale {
        self.locale
    }
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail").field("id", &self.id).field("to", &self.to).finish_non_exhaustive()
    }
}

/// Sends mails.
///
/// Always called outside the answer to a visitor, so an implementation may take its time; it must
/// bound it.
///
/// # Cancel safety
///
/// A dropped future may or may not have sent the mail.
#[async_trait]
pub trait Mailer: fmt::Debug + Send + Sync {
    /// Hands the mail to the next system on its way.
    async fn send(&self, mail: &Mail) -> Result<(), MailError>;
}

/// Why a mail could not be made or sent.
///
/// No variant can hold the code, nor anything else that came from the mail or over the network: servers like
/// to quote the subject when they refuse a mail. See [`MailCause`].
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum MailError {
    /// A text for the mail has control characters or is not of its kind: the caller's fault.
    #[error("mail text `{field}` is refused")]
    UnsafeText {
        /// Which text.
        field: &'static str,
    },
    /// A setting of the mailer can never work: the operator's fault.
    #[error("mailer setting `{setting}` is refused: {problem}")]
    Setting {
        /// Which setting.
        setting: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The message could not be composed.
    #[error("mail could not be composed")]
    Compose(#[source] MailCause),
    /// The server did not answer in time.
    #[error("mail server did not answer in time")]
    Timeout(#[source] MailCause),
    /// The secure channel could not be set up.
    #[error("no secure channel to the mail server")]
    Tls(#[source] MailCause),
    /// The server refused the user name or password.
    #[error("mail server refused the credentials, status {status}")]
    Authentication {
        /// The SMTP status: 530, 534, 535 or 538.
        status: u16,
    },
    /// The server said "later" (4xx).
    #[error("mail server is busy, status {status}")]
    Busy {
        /// The SMTP status, 400 to 499. The server's words are in its own log.
        status: u16,
    },
    /// The server said "never" (5xx), for instance to the recipient.
    #[error("mail server refused the mail, status {status}")]
    Refused {
        /// The SMTP status, 500 to 599. The server's words are in its own log.
        status: u16,
    },
    /// The server could not be reached, or broke the connection.
    #[error("mail server could not be reached")]
    Connection(#[source] MailCause),
    /// The terminal or file could not be written.
    #[error("mail could not be written")]
    Output(#[source] MailCause),
}

impl MailError {
    /// Whether the same mail may get through later.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Timeout(_)
                | Self::Tls(_)
                | Self::Busy { .. }
                | Self::Connection(_)
                | Self::Output(_)
        )
    }

    /// Whether the server was there and spoke about this mail, so that others may get through meanwhile.
    /// 421 closes the connection, whatever the mail (RFC 5321 section 3.8).
    pub fn is_about_one_mail(&self) -> bool {
        match self {
            Self::Busy { status } | Self::Refused { status } => *status != 421,
            _ => false,
        }
    }

    /// Whether program or configuration must change before any mail gets through.
    pub fn is_caller_fault(&self) -> bool {
        matches!(self, Self::UnsafeText { .. } | Self::Setting { .. } | Self::Authentication { .. })
    }
}
