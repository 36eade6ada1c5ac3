//! The mail job of a flow, or the decoy that looks like one.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::Resend;
use crate::address::EmailAddress;
use crate::challenge::{Challenge, DecoyReason};
use crate::code::Code;
use crate::mail::{Job, Mail, MailError, MailTemplate, Mailer, Silence};
use crate::timestamp::Timestamp;

/// What is left to do about a mail: to send it, or nothing.
///
/// Give it to an outbox ([`into_job`](Self::into_job)) and answer, or answer and [`deliver`](Self::deliver)
/// in a task of its own, where a crash loses it. Whoever awaits `deliver` inside the answer tells the visitor
/// by the time it takes whether the address is admitted. For the same reason use
/// [`is_decoy`](Self::is_decoy), [`mail`](Self::mail) and [`describe`](Self::describe) for the operator's log
/// and for tests only.
#[must_use = "no mail is sent until the dispatch is delivered"]
pub struct Dispatch {
    job: Job,
    template: Arc<MailTemplate>,
    /// Written when it is first needed, which is outside the answer to the visitor.
    mail: OnceLock<Mail>,
}

impl Dispatch {
    /// Sends the mail if there is one to send.
    ///
    /// # Errors
    ///
    /// The mailer's, or that of a template whose texts cannot be a mail. The visitor has seen the same page; the operator must hear of it.
    pub async fn deliver(self, mailer: &dyn Mailer) -> Result<Delivery, MailError> {
        match self.job.silence {
            None => {
                let mail = match self.mail.get() {
                    Some(mail) => mail,
                    None => &self.job.render(&self.template)?,
                };
                mailer.send(mail).await.map(|()| Delivery::Sent)
            }
            Some(Silence::Decoy(reason)) => Ok(Delivery::Decoy(reason)),
            Some(Silence::Superseded) => Ok(Delivery::Superseded),
        }
    }

    /// What an outbox keeps.
    pub fn into_job(self) -> Job {
        self.job
    }

    /// The job's name, unique for each code: an outbox sends it once.
    pub fn id(&self) -> &str {
        self.job.id()
    }

    /// Who asked for a code.
    pub fn to(&self) -> &EmailAddress {
        self.job.to()
    }

    /// Whether nothing will be sent. For the log only.
    pub fn is_decoy(&self) -> bool {
        self.job.silence.is_some()
    }

    /// Why nothing will be sent to the address, if so. For the log only.
    pub fn decoy_reason(&self) -> Option<DecoyReason> {
        match self.job.silence {
            Some(Silence::Decoy(reason)) => Some(reason),
            Some(Silence::Superseded) | None => None,
        }
    }

    /// The mail to send, `None` for a decoy and where the template cannot write it. For tests.
    pub fn mail(&self) -> Option<&Mail> {
        if self.job.silence.is_some() {
            return None;
        }
        if self.mail.get().is_none() {
            let _written_by_another = self.mail.set(self.job.render(&self.template).ok()?);
        }
        self.mail.get()
    }

    /// One line for the operator: `no code sent to bob@evil.test: no rule admits it`.
    ///
    /// Names the address in full, so it belongs in the operator's event log and nowhere else.
    pub fn describe(&self) -> String {
        match self.job.silence {
            None => format!("code on its way to {}", self.to()),
            Some(reason) => format!("no code sent to {}: {reason}", self.to()),
        }
    }

    pub(super) fn new(
        template: &Arc<MailTemplate>,
        challenge: Challenge,
        code: Code,
        asked: &Resend,
        asked_at: Timestamp,
    ) -> Self {
        let job = Job {
            id: format!("{}-{}", challenge.id(), challenge.generation()),
            generation: challenge.generation(),
            expires: challenge.expires(),
            is_known_device: challenge.is_known_device,
            silence: challenge.decoy.map(Silence::Decoy),
            to: challenge.address,
            code,
            application: asked.application.clone(),
            asked_at,
            asked_from: asked.client,
            locale: asked.locale,
        };
        Self { job, template: Arc::clone(template), mail: OnceLock::new() }
    }

    /// Keeps a code back that the store did not take.
    pub(super) fn suppress(&mut self) {
        self.job.silence.get_or_insert(Silence::Superseded);
    }
}

impl fmt::Debug for Dispatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatch").field("job", &self.job).finish_non_exhaustive()
    }
}

/// What became of a [`Dispatch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// The mailer took the mail.
    Sent,
    /// Nothing was sent, on purpose.
    Decoy(DecoyReason),
    /// Nothing was sent, since another request for the same flow was faster.
    Superseded,
}
