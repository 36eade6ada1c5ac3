//! The mail job of a flow, or the decoy that looks like one.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::Resend;
use crate::address::EmailAddress;
use crate::challenge::{Challenge, DecoyReason};
use crate::code::Code;
use crate::mail::{Mail, MailError, MailFacts, MailTemplate, Mailer};
use crate::timestamp::Timestamp;

/// What is left to do after the visitor has been answered: send a mail, or nothing.
///
/// Give it to a task or queue and answer at once; whoever awaits [`deliver`](Self::deliver) inside the
/// answer tells the visitor by the time it takes whether the address is admitted. For the same reason
/// use [`is_decoy`](Self::is_decoy), [`mail`](Self::mail) and [`describe`](Self::describe) for the
/// operator's log and for tests only.
#[must_use = "no mail is sent until the dispatch is delivered"]
pub struct Dispatch {
    id: String,
    challenge: Challenge,
    code: Code,
    asked: Resend,
    asked_at: Timestamp,
    template: Arc<MailTemplate>,
    /// Written when it is first needed, which is outside the answer to the visitor.
    mail: OnceLock<Mail>,
    outcome: Outcome,
}

impl Dispatch {
    /// Sends the mail if there is one to send.
    ///
    /// # Errors
    ///
    /// The mailer's, or that of a template whose texts cannot be a mail. The visitor has seen the same page; the operator must hear of it.
    pub async fn deliver(self, mailer: &dyn Mailer) -> Result<Delivery, MailError> {
        match self.outcome {
            Outcome::Send => {
                let mail = match self.mail.get() {
                    Some(mail) => mail,
                    None => &self.write()?,
                };
                mailer.send(mail).await.map(|()| Delivery::Sent)
            }
            Outcome::Decoy(reason) => Ok(Delivery::Decoy(reason)),
            Outcome::Superseded => Ok(Delivery::Superseded),
        }
    }

    /// The job's name, unique for each code: an outbox sends it once.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Who asked for a code.
    pub fn to(&self) -> &EmailAddress {
        self.challenge.address()
    }

    /// Whether nothing will be sent. For the log only.
    pub fn is_decoy(&self) -> bool {
        !matches!(self.outcome, Outcome::Send)
    }

    /// Why nothing will be sent to the address, if so. For the log only.
    pub fn decoy_reason(&self) -> Option<DecoyReason> {
        match self.outcome {
            Outcome::Decoy(reason) => Some(reason),
            Outcome::Send | Outcome::Superseded => None,
        }
    }

    /// The mail to send, `None` for a decoy and where the template cannot write it. For an outbox and for
    /// tests.
    pub fn mail(&self) -> Option<&Mail> {
        if !matches!(self.outcome, Outcome::Send) {
            return None;
        }
        if self.mail.get().is_none() {
            let _written_by_another = self.mail.set(self.write().ok()?);
        }
        self.mail.get()
    }

    /// One line for the operator: `no code sent to bob@evil.test: no rule admits it`.
    ///
    /// Names the address in full, so it belongs in the operator's event log and nowhere else.
    pub fn describe(&self) -> String {
        match self.outcome {
            Outcome::Send => format!("code on its way to {}", self.to()),
            Outcome::Decoy(reason) => format!("no code sent to {}: {reason}", self.to()),
            Outcome::Superseded => {
                format!("no code sent to {}: another request was faster", self.to())
            }
        }
    }

    pub(super) fn new(
        template: &Arc<MailTemplate>,
        challenge: Challenge,
        code: Code,
        asked: &Resend,
        asked_at: Timestamp,
    ) -> Self {
        Self {
            id: format!("{}-{}", challenge.id(), challenge.generation()),
            outcome: challenge.decoy.map_or(Outcome::Send, Outcome::Decoy),
            challenge,
            code,
            asked: asked.clone(),
            asked_at,
            template: Arc::clone(template),
            mail: OnceLock::new(),
        }
    }

    fn write(&self) -> Result<Mail, MailError> {
        self.template.render(&MailFacts {
            id: &self.id,
            to: self.challenge.address(),
            code: &self.code,
            application: &self.asked.application,
            asked_at: self.asked_at,
            asked_from: self.asked.client,
            expires: self.challenge.expires(),
            locale: self.asked.locale,
        })
    }

    /// Keeps a code back that the store did not take.
    pub(super) fn suppress(&mut self) {
        if matches!(self.outcome, Outcome::Send) {
            self.outcome = Outcome::Superseded;
        }
    }
}

impl fmt::Debug for Dispatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatch")
            .field("id", &self.id)
            .field("challenge", &self.challenge)
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
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

#[derive(Debug)]
enum Outcome {
    Send,
    Decoy(DecoyReason),
    Superseded,
}
