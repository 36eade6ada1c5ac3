//! The mail job of a flow, or the decoy that looks like one.

use crate::address::EmailAddress;
use crate::challenge::DecoyReason;
use crate::mail::{Mail, MailError, Mailer};

/// What is left to do after the visitor has been answered: send a mail, or nothing.
///
/// Give it to a task or queue and answer at once; whoever awaits [`deliver`](Self::deliver) inside the
/// answer tells the visitor by the time it takes whether the address is admitted. For the same reason
/// use [`is_decoy`](Self::is_decoy), [`mail`](Self::mail) and [`describe`](Self::describe) for the
/// operator's log and for tests only.
#[must_use = "no mail is sent until the dispatch is delivered"]
#[derive(Debug)]
pub struct Dispatch {
    mail: Mail,
    outcome: Outcome,
}

impl Dispatch {
    /// Sends the mail if there is one to send.
    ///
    /// # Errors
    ///
    /// The mailer's. The visitor has seen the same page; the operator must hear of it.
    pub async fn deliver(self, mailer: &dyn Mailer) -> Result<Delivery, MailError> {
        match self.outcome {
            Outcome::Send => mailer.send(&self.mail).await.map(|()| Delivery::Sent),
            Outcome::Decoy(reason) => Ok(Delivery::Decoy(reason)),
            Outcome::Superseded => Ok(Delivery::Superseded),
        }
    }

    /// The job's name, unique for each code: an outbox sends it once.
    pub fn id(&self) -> &str {
        self.mail.id()
    }

    /// Who asked for a code.
    pub fn to(&self) -> &EmailAddress {
        self.mail.to()
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

    /// The mail to send, `None` for a decoy. For an outbox and for tests.
    pub fn mail(&self) -> Option<&Mail> {
        matches!(self.outcome, Outcome::Send).then_some(&self.mail)
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

    pub(super) fn new(mail: Mail, decoy: Option<DecoyReason>) -> Self {
        Self { mail, outcome: decoy.map_or(Outcome::Send, Outcome::Decoy) }
    }

    /// Keeps a code back that the store did not take.
    pub(super) fn suppress(&mut self) {
        if matches!(self.outcome, Outcome::Send) {
            self.outcome = Outcome::Superseded;
        }
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
