//! What the operator hears of mails.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::mail::{Job, MailError, Silence};

/// Hears what becomes of mails. Called by the worker, so it may take its time; it must bound it.
pub trait OutboxObserver: fmt::Debug + Send + Sync {
    /// Something happened.
    fn observe(&self, event: &OutboxEvent);
}

/// Something that happened in an [`Outbox`](super::Outbox).
#[derive(Debug)]
#[non_exhaustive]
pub enum OutboxEvent {
    /// The mailer took the mail. The job is over.
    Handed {
        /// The job.
        job: Arc<Job>,
        /// How often it was tried, this time included.
        attempts: u32,
    },
    /// Nothing is sent, on purpose. The visitor cannot tell.
    Silent {
        /// The job.
        job: Arc<Job>,
        /// Why.
        reason: Silence,
    },
    /// The mailer did not take it now. It is tried again until the code ends.
    Delayed {
        /// The job.
        job: Arc<Job>,
        /// What the mailer said.
        error: MailError,
        /// When it is tried again, if the mailer is there.
        next_in: Duration,
    },
    /// The mail will not be sent. The visitor has to ask for another code.
    Failed {
        /// The job.
        job: Arc<Job>,
        /// Why.
        reason: Failure,
    },
    /// Strangers have asked for so many mails that the next ones wait, told once each time. Raise an alarm: the
    /// gate is being used to send mail.
    OverBudget {
        /// When the next one goes.
        next_in: Duration,
    },
    /// A job in the store was sealed with another key, or is damaged. It is taken out.
    Unreadable {
        /// Its name.
        id: String,
    },
    /// The store took nothing out. What was sent is not sent again as long as this process lives; after a
    /// restart it may be.
    StoreUnavailable {
        /// What the store said.
        error: Error,
    },
}

/// Why a mail will not be sent.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// The mailer will say no again, or the mail could not be written.
    Refused(MailError),
    /// The code ended before the mailer took the mail.
    Expired,
    /// A newer code of the same flow is on its way, and this one is void.
    Superseded,
    /// Too many mails wait, and this one had the least time left. Raise an alarm: the mailer is down, or
    /// somebody asks for very many codes.
    QueueFull,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::Expired => f.write_str("the code ended before the mail server took it"),
            Self::Superseded => f.write_str("a newer code is on its way"),
            Self::QueueFull => f.write_str("too many mails wait for the mail server"),
        }
    }
}
