//! What the operator hears, and the visitor does not.

use std::fmt;
use std::net::IpAddr;

use crate::address::EmailAddress;
use crate::challenge::{ChallengeId, DecoyReason};
use crate::code::CodeLength;

use super::Reason;

/// Hears what happens in a [`Login`](super::Login), true reasons included.
///
/// Called inside the answer to the visitor, for admitted and denied addresses alike: note the event and
/// return. Addresses are personal data; the library keeps them out of every `Debug`, so write them down
/// on purpose.
pub trait Observer: fmt::Debug + Send + Sync {
    /// Something happened.
    fn observe(&self, event: &Event<'_>);
}

/// Something that happened in a [`Login`](super::Login).
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A flow began, or its code was sent anew.
    Asked {
        /// The flow.
        challenge: ChallengeId,
        /// Who is to prove their mailbox.
        address: &'a EmailAddress,
        /// From where.
        client: IpAddr,
        /// 0 at the beginning, then how often it was sent anew.
        generation: u32,
        /// Why no mail goes out, if none does.
        decoy: Option<DecoyReason>,
        /// How long the code is.
        code_length: CodeLength,
        /// Whether the browser has signed in to this address before.
        is_known_device: bool,
    },
    /// A code was not accepted.
    Refused {
        /// The true reason.
        reason: Reason,
        /// The flow, if the cookie was ours.
        challenge: Option<ChallengeId>,
        /// The address, if the flow was found.
        address: Option<&'a EmailAddress>,
    },
    /// A code was accepted.
    Proven {
        /// The flow.
        challenge: ChallengeId,
        /// Whose mailbox was proven.
        address: &'a EmailAddress,
    },
    /// Strangers have failed so often that their codes are longer now: raise an alarm. Told at each flow
    /// and each try that meets it.
    UnderAttack,
}
