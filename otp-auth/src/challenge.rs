//! An open question to one browser: "which code did we mail you?"

mod device;
mod flow;
mod record;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;

pub use self::device::DeviceCookie;
pub use self::flow::FlowCookie;
pub(crate) use self::flow::{FLOW_RANDOM_BYTES, Lane, OpenFlow, address_tag};
pub use self::record::MalformedRecord;
use crate::address::EmailAddress;
use crate::secret::mac;
use crate::timestamp::Timestamp;

/// The public name of a challenge: the `nonce` of forms and redirects, 22 characters of base64url.
///
/// It and the seal of the flow cookie are the two halves of one HMAC, so a cookie is checked against a
/// nonce without asking the store, and knowing the nonce says nothing about the cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChallengeId([u8; 16]);

impl ChallengeId {
    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    #[cfg(feature = "conformance")]
    pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for ChallengeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl FromStr for ChallengeId {
    type Err = MalformedFlow;

    fn from_str(text: &str) -> Result<Self, MalformedFlow> {
        decode(text).map(Self)
    }
}

/// A nonce or cookie that this crate cannot have written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("flow value is malformed")]
pub struct MalformedFlow;

/// Why a challenge is a decoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DecoyReason {
    /// No rule admits the address.
    Denied,
    /// The address has had its share of mails.
    MailBudget,
    /// The client network has had its share of the mails to the address.
    MailShare,
    /// The client network has had its share of mails to all addresses.
    NetworkMails,
    /// The client network has begun its share of flows.
    StartBudget,
}

impl fmt::Display for DecoyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Denied => "no rule admits it",
            Self::MailBudget => "it has had its share of mails",
            Self::MailShare => "its network has had its share of the mails to this address",
            Self::NetworkMails => "its network has had its share of mails",
            Self::StartBudget => "its network has begun too many logins",
        })
    }
}

/// What a store keeps of a challenge. The count of tries and the mark "used" are the store's own.
///
/// It holds no code: only an HMAC under a pepper that the store never sees. A store that does not live in
/// this process keeps it as [`to_bytes`](Self::to_bytes).
#[derive(Clone, PartialEq, Eq)]
pub struct Challenge {
    pub(crate) id: ChallengeId,
    pub(crate) address: EmailAddress,
    pub(crate) client: IpAddr,
    pub(crate) generation: u32,
    pub(crate) digest: [u8; 32],
    pub(crate) decoy: Option<DecoyReason>,
    pub(crate) issued: Timestamp,
    pub(crate) lifetime_millis: u32,
    pub(crate) tries: u8,
    pub(crate) is_known_device: bool,
}

impl Challenge {
    /// The key to store it under.
    pub fn id(&self) -> ChallengeId {
        self.id
    }

    /// How often the code was sent anew; compared by [`replace`](crate::store::Store::replace) and
    /// [`consume`](crate::store::Store::consume).
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// When the flow began. A resend does not change it.
    pub fn issued(&self) -> Timestamp {
        self.issued
    }

    /// For how long it is alive, counted from [`issued`](Self::issued).
    pub fn lifetime(&self) -> Duration {
        Duration::from_millis(self.lifetime_millis.into())
    }

    /// The first moment at which the challenge is dead, whatever was sent since.
    pub fn expires(&self) -> Timestamp {
        self.issued.plus(self.lifetime())
    }

    /// How many tries the challenge has in all.
    pub fn tries(&self) -> u32 {
        self.tries.into()
    }

    /// The address that began the flow.
    pub fn address(&self) -> &EmailAddress {
        &self.address
    }

    /// Whether the browser that began the flow had signed in to the address before.
    pub fn is_known_device(&self) -> bool {
        self.is_known_device
    }

    /// Whether a guess takes nothing from the budgets, because a budget of mails or starts was spent and no mail went
    /// out, so that none can be right. One at a denied address is charged like any other, or it would stand out.
    pub fn is_free_of_charge(&self) -> bool {
        self.decoy.is_some_and(|reason| reason != DecoyReason::Denied)
    }

    /// Where the flow was begun from.
    pub fn client(&self) -> IpAddr {
        self.client
    }

    /// Whether the moment lies outside the challenge's life: past its end, or before its beginning by
    /// more than the tolerance for clocks of several nodes.
    pub fn is_dead_at(&self, now: Timestamp) -> bool {
        now >= self.expires() || now.plus(CLOCK_TOLERANCE) < self.issued
    }

    /// This record with the beginning and the life of `first`: what a store keeps when it
    /// [replaces](crate::store::Store::replace).
    #[must_use]
    pub fn issued_with(self, first: &Self) -> Self {
        Self { issued: first.issued, lifetime_millis: first.lifetime_millis, ..self }
    }

    /// The same challenge with a new code: next generation, same beginning, same tries.
    pub(crate) fn renewed(
        &self,
        flow: &OpenFlow<'_>,
        code: &[u8],
        decoy: Option<DecoyReason>,
    ) -> Self {
        let generation = self.generation.saturating_add(1);
        Self { generation, decoy, ..self.clone() }.sealed(flow, code)
    }

    /// Fills in the digest of a code.
    pub(crate) fn sealed(mut self, flow: &OpenFlow<'_>, code: &[u8]) -> Self {
        self.digest = self.digest_of(flow, self.decoy.is_none(), code);
        self
    }

    /// Whether the input is the code, in constant time. Call only for a reserved try.
    pub(crate) fn is_answered_by(&self, flow: &OpenFlow<'_>, input: &[u8]) -> bool {
        let is_equal: bool = self.digest_of(flow, true, input).ct_eq(&self.digest).into();
        is_equal & self.decoy.is_none()
    }

    /// The keyed digest of a code, bound to its purpose, flow, address and generation: copied to another
    /// challenge it is void. A decoy's is made with `admitted: false` and verified with `true`: no guess
    /// can match it.
    fn digest_of(&self, flow: &OpenFlow<'_>, admitted: bool, code: &[u8]) -> [u8; 32] {
        mac(
            &flow.keys.code,
            &[
                flow.purpose.as_bytes(),
                // The hash of the flow's secret; its first half is the id.
                &flow.hash,
                self.address.key().as_bytes(),
                &self.generation.to_be_bytes(),
                &[u8::from(admitted)],
                code,
            ],
        )
    }
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenge")
            .field("id", &self.id)
            .field("address", &self.address)
            .field("generation", &self.generation)
            .field("decoy", &self.decoy)
            .field("issued", &self.issued)
            .finish_non_exhaustive()
    }
}

fn decode<const N: usize>(text: &str) -> Result<[u8; N], MalformedFlow> {
    let mut bytes = [0; N];
    // base64 writes no more than the slice holds, and refuses padding and stray trailing bits.
    match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
        Ok(written) if written == N => Ok(bytes),
        _ => Err(MalformedFlow),
    }
}

/// How far two nodes' clocks may differ, and how far one may step back, before a challenge is dead.
pub(crate) const CLOCK_TOLERANCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
