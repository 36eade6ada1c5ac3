//! What is to be mailed, before it is written.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Host, Mail, MailError, MailFacts, MailTemplate};
use crate::address::EmailAddress;
use crate::challenge::DecoyReason;
use crate::code::Code;
use crate::locale::Locale;
use crate::secret::Secret;
use crate::timestamp::Timestamp;

/// One code on its way to one address, or the decoy that looks like one.
///
/// It comes out of a [`Dispatch`](crate::login::Dispatch) and holds what a mail says, not the mail: that is
/// written when it is sent, outside the answer to the visitor. `Debug` shows neither code nor address.
pub struct Job {
    pub(crate) id: String,
    pub(crate) generation: u32,
    pub(crate) to: EmailAddress,
    pub(crate) code: Code,
    pub(crate) application: Host,
    pub(crate) asked_at: Timestamp,
    pub(crate) asked_from: IpAddr,
    pub(crate) expires: Timestamp,
    pub(crate) locale: Locale,
    pub(crate) is_known_device: bool,
    pub(crate) silence: Option<Silence>,
}

/// Why no mail is sent for a [`Job`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Silence {
    /// The challenge is a decoy.
    Decoy(DecoyReason),
    /// Another request for the same flow was faster: its code counts.
    Superseded,
}

impl Job {
    /// The job's name, unique for each code: 1 to 64 ASCII letters, digits, `-` and `_`. The message id is
    /// made of it, so that a mail that was sent twice can be known as one.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The flow that the code is for; codes that were sent anew share it.
    pub fn flow(&self) -> &str {
        self.id.rsplit_once('-').map_or(&self.id, |(flow, _)| flow)
    }

    /// 0 for the first code of a flow, then how often it was sent anew.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Who asked for a code.
    pub fn to(&self) -> &EmailAddress {
        &self.to
    }

    /// When the code ends. There is no use in sending it later.
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// Whether the browser that asked had signed in to the address before.
    pub fn is_known_device(&self) -> bool {
        self.is_known_device
    }

    /// Why nothing is sent, if so. For the operator only: whoever shows it to the visitor, or takes longer
    /// for it, tells who is admitted.
    pub fn silence(&self) -> Option<Silence> {
        self.silence
    }

    /// Writes the mail, whether it is to be sent or not.
    ///
    /// # Errors
    ///
    /// The template's.
    pub fn render(&self, template: &MailTemplate) -> Result<Mail, MailError> {
        template.render(&MailFacts {
            id: &self.id,
            to: &self.to,
            code: &self.code,
            application: &self.application,
            asked_at: self.asked_at,
            asked_from: self.asked_from,
            expires: self.expires,
            locale: self.locale,
        })
    }

    /// As text, for sealing. Of one length for all that is said of it: an admitted and a denied address of
    /// the same length cannot be told apart by it.
    #[cfg_attr(not(feature = "tokio"), expect(dead_code, reason = "for the outbox"))]
    pub(super) fn to_secret(&self) -> Option<Secret> {
        let wire = Wire {
            id: self.id.clone(),
            generation: self.generation,
            to: self.to.clone(),
            code: self.code.expose().to_owned(),
            application: self.application.as_str().to_owned(),
            asked_at: self.asked_at,
            asked_from: self.asked_from,
            expires: self.expires,
            locale: Language::of(self.locale),
            is_known_device: self.is_known_device.into(),
            silence: Mark::of(self.silence),
        };
        let text = serde_json::to_vec(&wire);
        // The code's copy is not left lying about.
        drop(zeroize::Zeroizing::new(wire.code));
        text.ok().map(Secret::new)
    }

    /// From such a text; `None` if it is none.
    #[cfg_attr(not(feature = "tokio"), expect(dead_code, reason = "for the outbox"))]
    pub(super) fn from_secret(secret: &Secret) -> Option<Self> {
        let wire: Wire = serde_json::from_slice(secret.expose()).ok()?;
        let code = zeroize::Zeroizing::new(wire.code);
        Some(Self {
            id: wire.id,
            generation: wire.generation,
            to: wire.to,
            code: Code::from_text(&code)?,
            application: wire.application.parse().ok()?,
            asked_at: wire.asked_at,
            asked_from: wire.asked_from,
            expires: wire.expires,
            locale: wire.locale.locale(),
            is_known_device: wire.is_known_device != 0,
            silence: wire.silence.silence(),
        })
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("id", &self.id)
            .field("expires", &self.expires)
            .field("silence", &self.silence)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decoy(reason) => reason.fmt(f),
            Self::Superseded => f.write_str("another request was faster"),
        }
    }
}

/// A job at rest.
#[derive(Serialize, Deserialize)]
struct Wire {
    id: String,
    generation: u32,
    to: EmailAddress,
    code: String,
    application: String,
    asked_at: Timestamp,
    asked_from: IpAddr,
    expires: Timestamp,
    locale: Language,
    is_known_device: u8,
    silence: Mark,
}

#[derive(Serialize, Deserialize)]
enum Language {
    #[serde(rename = "en")]
    En,
    #[serde(rename = "ja")]
    Ja,
}

impl Language {
    fn of(locale: Locale) -> Self {
        match locale {
            Locale::En => Self::En,
            Locale::Ja => Self::Ja,
        }
    }

    fn locale(&self) -> Locale {
        match self {
            Self::En => Locale::En,
            Self::Ja => Locale::Ja,
        }
    }
}

/// One letter each, so that none is longer.
#[derive(Serialize, Deserialize)]
enum Mark {
    #[serde(rename = "-")]
    None,
    #[serde(rename = "d")]
    Denied,
    #[serde(rename = "m")]
    MailBudget,
    #[serde(rename = "s")]
    StartBudget,
    #[serde(rename = "h")]
    MailShare,
    #[serde(rename = "n")]
    NetworkMails,
    #[serde(rename = "r")]
    Superseded,
}

impl Mark {
    fn of(silence: Option<Silence>) -> Self {
        match silence {
            None => Self::None,
            Some(Silence::Decoy(DecoyReason::Denied)) => Self::Denied,
            Some(Silence::Decoy(DecoyReason::MailBudget)) => Self::MailBudget,
            Some(Silence::Decoy(DecoyReason::StartBudget)) => Self::StartBudget,
            Some(Silence::Decoy(DecoyReason::MailShare)) => Self::MailShare,
            Some(Silence::Decoy(DecoyReason::NetworkMails)) => Self::NetworkMails,
            Some(Silence::Superseded) => Self::Superseded,
        }
    }

    fn silence(&self) -> Option<Silence> {
        match self {
            Self::None => None,
            Self::Denied => Some(Silence::Decoy(DecoyReason::Denied)),
            Self::MailBudget => Some(Silence::Decoy(DecoyReason::MailBudget)),
            Self::StartBudget => Some(Silence::Decoy(DecoyReason::StartBudget)),
            Self::MailShare => Some(Silence::Decoy(DecoyReason::MailShare)),
            Self::NetworkMails => Some(Silence::Decoy(DecoyReason::NetworkMails)),
            Self::Superseded => Some(Silence::Superseded),
        }
    }
}
