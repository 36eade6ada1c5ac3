//! An open question to one browser: "which code did we mail you?"

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::address::EmailAddress;
use crate::code::{Binding, Code, CodeInput};
use crate::error::Error;
use crate::random::Random;
use crate::secret::{Pepper, Secret, keyed_digest};
use crate::timestamp::Timestamp;

/// The public name of a challenge: the `nonce` of forms and redirects, 22 characters of base64url.
///
/// It is a commitment to the flow cookie (a truncated SHA-256), so a cookie is checked against a nonce
/// without asking the store, and knowing the nonce says nothing about the cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChallengeId([u8; 16]);

impl ChallengeId {
    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
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

impl TryFrom<String> for ChallengeId {
    type Error = MalformedFlow;

    fn try_from(text: String) -> Result<Self, MalformedFlow> {
        text.parse()
    }
}

impl From<ChallengeId> for String {
    fn from(id: ChallengeId) -> Self {
        id.to_string()
    }
}

/// The secret that ties a flow to the browser that began it: 86 characters of base64url.
///
/// Set it as a cookie with `Secure`, `HttpOnly`, `SameSite=Lax`, `Path=/` and a `__Host-` name, and read
/// it back with [`FromStr`]. It holds 32 random bytes, a keyed hash of the address, under which the
/// address' budget is counted before the challenge is touched, and a seal, so that nobody reaches the
/// store with a cookie of their own making.
#[derive(Clone, PartialEq, Eq)]
pub struct FlowCookie {
    secret: Secret,
}

impl FlowCookie {
    /// The cookie's value.
    pub fn expose(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.secret.expose())
    }

    pub(crate) fn draw(
        random: &dyn Random,
        pepper: &Pepper,
        address: &EmailAddress,
    ) -> Result<Self, Error> {
        let drawn = Secret::generate(random, FLOW_RANDOM_BYTES)?;
        let tag = address_tag(pepper, address);
        let open = Secret::new([drawn.expose(), &tag].concat());
        let seal = seal(pepper.current(), open.expose());
        Ok(Self { secret: Secret::new([open.expose(), &seal].concat()) })
    }

    /// Whether a node with this pepper wrote the cookie.
    pub(crate) fn is_sealed_by(&self, pepper: &Pepper) -> bool {
        let (open, stored) = self.secret.expose().split_at(FLOW_RANDOM_BYTES + 16);
        let matches = |key: &Secret| bool::from(seal(key, open).ct_eq(stored));
        matches(pepper.current()) | pepper.previous().is_some_and(matches)
    }

    /// The one challenge that this cookie opens.
    pub(crate) fn challenge(&self) -> ChallengeId {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"otp-auth/flow/v1");
        context.update(self.secret.expose());
        let mut id = [0; 16];
        id.copy_from_slice(&context.finish().as_ref()[..16]);
        ChallengeId(id)
    }

    /// The keyed hash of the address that began the flow.
    pub(crate) fn address_tag(&self) -> [u8; 16] {
        let mut tag = [0; 16];
        tag.copy_from_slice(&self.secret.expose()[FLOW_RANDOM_BYTES..FLOW_RANDOM_BYTES + 16]);
        tag
    }
}

impl FromStr for FlowCookie {
    type Err = MalformedFlow;

    fn from_str(text: &str) -> Result<Self, MalformedFlow> {
        let bytes: [u8; FLOW_RANDOM_BYTES + 16 + 16] = decode(text)?;
        Ok(Self { secret: Secret::new(bytes.to_vec()) })
    }
}

impl fmt::Debug for FlowCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FlowCookie(..)")
    }
}

/// A nonce or flow cookie that this crate cannot have written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("flow value is malformed")]
pub struct MalformedFlow;

/// Why a challenge is a decoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum DecoyReason {
    /// No rule admits the address.
    Denied,
    /// The address has had its share of mails.
    MailBudget,
    /// The client network has begun its share of flows.
    StartBudget,
}

impl fmt::Display for DecoyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Denied => "no rule admits it",
            Self::MailBudget => "it has had its share of mails",
            Self::StartBudget => "its network has begun too many logins",
        })
    }
}

/// What a store keeps of a challenge. The count of tries and the mark "used" are the store's own.
///
/// It holds no code: only an HMAC under a pepper that the store never sees.
#[derive(Clone, Serialize, Deserialize)]
pub struct Challenge {
    pub(crate) id: ChallengeId,
    pub(crate) purpose: String,
    pub(crate) address: EmailAddress,
    pub(crate) client: IpAddr,
    pub(crate) generation: u32,
    pub(crate) digest: [u8; 32],
    pub(crate) decoy: Option<DecoyReason>,
    pub(crate) issued: Timestamp,
    pub(crate) lifetime: Duration,
    pub(crate) tries: u32,
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

    /// The first moment at which the challenge is dead, whatever was sent since.
    pub fn expires(&self) -> Timestamp {
        self.issued.plus(self.lifetime)
    }

    /// How many tries the challenge has in all.
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// The address that began the flow.
    pub fn address(&self) -> &EmailAddress {
        &self.address
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

    /// The same challenge with a new code: next generation, same beginning, same tries.
    pub(crate) fn renewed(
        &self,
        pepper: &Pepper,
        flow: &FlowCookie,
        code: &Code,
        decoy: Option<DecoyReason>,
    ) -> Self {
        let mut next =
            Self { generation: self.generation.saturating_add(1), decoy, ..self.clone() };
        next.digest = next.binding(flow, decoy.is_none()).digest(pepper, code);
        next
    }

    /// Fills in the digest of the first code.
    pub(crate) fn sealed(mut self, pepper: &Pepper, flow: &FlowCookie, code: &Code) -> Self {
        self.digest = self.binding(flow, self.decoy.is_none()).digest(pepper, code);
        self
    }

    /// Whether the input is the code. Call only for a reserved try.
    pub(crate) fn is_answered_by(
        &self,
        pepper: &Pepper,
        flow: &FlowCookie,
        input: &CodeInput,
    ) -> bool {
        let matches = self.binding(flow, true).matches(pepper, input, &self.digest);
        matches & self.decoy.is_none()
    }

    fn binding<'a>(&'a self, flow: &'a FlowCookie, admitted: bool) -> Binding<'a> {
        Binding {
            purpose: &self.purpose,
            challenge: &self.id.0,
            flow: &flow.secret,
            address_key: self.address.key(),
            generation: self.generation,
            admitted,
        }
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

/// The keyed hash under which an address is counted.
pub(crate) fn address_tag(pepper: &Pepper, address: &EmailAddress) -> [u8; 16] {
    let digest =
        keyed_digest(pepper.current(), &[b"otp-auth/address/v1", address.key().as_bytes()]);
    let mut tag = [0; 16];
    tag.copy_from_slice(&digest[..16]);
    tag
}

fn seal(key: &Secret, open: &[u8]) -> [u8; 16] {
    let digest = keyed_digest(key, &[b"otp-auth/cookie/v1", open]);
    let mut seal = [0; 16];
    seal.copy_from_slice(&digest[..16]);
    seal
}

fn decode<const N: usize>(text: &str) -> Result<[u8; N], MalformedFlow> {
    let mut bytes = [0; N];
    // base64 writes no more than the slice holds, and refuses padding and stray trailing bits.
    match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
        Ok(written) if written == N => Ok(bytes),
        _ => Err(MalformedFlow),
    }
}

/// 256 bits: nobody guesses a flow.
const FLOW_RANDOM_BYTES: usize = 32;

/// How far two nodes' clocks may differ, and how far one may step back, before a challenge is dead.
pub(crate) const CLOCK_TOLERANCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    #[test]
    fn a_cookie_opens_its_own_challenge_only() {
        let random = SystemRandom::new();
        let pepper = Pepper::generate(&random).unwrap();
        let address: EmailAddress = "alice@example.jp".parse().unwrap();
        let one = FlowCookie::draw(&random, &pepper, &address).unwrap();
        let two = FlowCookie::draw(&random, &pepper, &address).unwrap();
        assert_eq!(one.expose().len(), 86);
        assert_eq!(one.challenge().to_string().len(), 22);
        assert_ne!(one.challenge(), two.challenge());
        assert_eq!(one.address_tag(), two.address_tag());
        let read: FlowCookie = one.expose().parse().unwrap();
        assert_eq!(read.challenge(), one.challenge());
        assert!(read.is_sealed_by(&pepper));
        assert!(!read.is_sealed_by(&Pepper::generate(&random).unwrap()));
        assert_eq!(one.challenge().to_string().parse(), Ok(one.challenge()));
    }

    #[test]
    fn malformed_values_are_refused() {
        let long = "A".repeat(1_000_000);
        for text in ["", "A", "=", "AAAAAAAAAAAAAAAAAAAAAB", "AAAAAAAAAAAAAAAAAAAAAA==", &long] {
            assert_eq!(text.parse::<ChallengeId>(), Err(MalformedFlow));
            assert!(text.parse::<FlowCookie>().is_err());
        }
    }
}
