//! Service tokens: an id and a secret that programs send instead of signing in.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use ring::digest;
use serde::{Deserialize, Serialize};
use subtle::{Choice, ConstantTimeEq};
use thiserror::Error as ThisError;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::random::Random;
use crate::timestamp::Timestamp;

/// A service token as it is kept: the secret is there as a digest only.
#[derive(Clone, Serialize, Deserialize)]
pub struct ServiceToken {
    client_id: String,
    name: String,
    current: [u8; 32],
    previous: Option<([u8; 32], Timestamp)>,
    ends: Option<Timestamp>,
    is_enabled: bool,
}

/// The secret half, once. Redacted in every output; zeroed on drop.
#[derive(Clone)]
pub struct ServiceSecret(Zeroizing<String>);

impl ServiceSecret {
    /// The text for `CF-Access-Client-Secret`. Only for the page that shows it once.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ServiceSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceSecret(..)")
    }
}

impl ServiceToken {
    /// Draws a client id (32 hexadecimal digits and `.access`) and a secret of 256 bits (64 hexadecimal
    /// digits), the form that Access gave out until August 2026. The checksum of its newer form, `cfast_`
    /// and 48 characters, is not published, so such secrets are [imported](Self::import), not drawn.
    ///
    /// # Errors
    ///
    /// Fails when the generator does.
    pub fn draw(
        name: impl Into<String>,
        random: &dyn Random,
    ) -> Result<(Self, ServiceSecret), Error> {
        let mut id = [0; 16];
        random.fill(&mut id)?;
        let secret = draw_secret(random)?;
        let client_id = format!("{}.access", hex(&id).as_str());
        Ok((Self::import(client_id, name, secret.expose())?, secret))
    }

    /// Takes over a token that exists elsewhere.
    ///
    /// # Errors
    ///
    /// Refuses an id that is not 1 to 128 visible ASCII characters, and a secret that is not 32 to 256 of
    /// them, as the caller's fault.
    pub fn import(
        client_id: impl Into<String>,
        name: impl Into<String>,
        secret: &str,
    ) -> Result<Self, Error> {
        let client_id = client_id.into();
        if !is_visible(client_id.as_bytes(), 1..=ID_BYTES) {
            return Err(Error::setting("client id", "it must be 1 to 128 visible characters"));
        }
        if !is_visible(secret.as_bytes(), 32..=SECRET_BYTES) {
            return Err(Error::setting("client secret", "it must be 32 to 256 visible characters"));
        }
        Ok(Self {
            client_id,
            name: name.into(),
            current: digest_of(secret.as_bytes()),
            previous: None,
            ends: None,
            is_enabled: true,
        })
    }

    /// Ends by itself at this moment.
    #[must_use]
    pub fn until(mut self, end: Timestamp) -> Self {
        self.ends = Some(end);
        self
    }

    /// Draws another secret; the old one is accepted a while longer, so that programs can be told.
    ///
    /// # Errors
    ///
    /// Refuses a while over 30 days, as the caller's fault. Fails when the generator does.
    pub fn rotate(
        &mut self,
        random: &dyn Random,
        keep_old_for: Duration,
        now: Timestamp,
    ) -> Result<ServiceSecret, Error> {
        if keep_old_for > LONGEST_OVERLAP {
            return Err(Error::setting("keep_old_for", "at most 30 days"));
        }
        let secret = draw_secret(random)?;
        self.previous = Some((self.current, now.plus(keep_old_for)));
        self.current = digest_of(secret.expose().as_bytes());
        Ok(secret)
    }

    /// Switches it off or on.
    pub fn set_enabled(&mut self, is_enabled: bool) {
        self.is_enabled = is_enabled;
    }

    /// The public half: `CF-Access-Client-Id`.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Both secrets are compared, whether there are two or not.
    fn accepts(&self, secret: &[u8; 32], now: Timestamp) -> Choice {
        let (previous, is_alive) = match &self.previous {
            Some((digest, until)) => (digest, now < *until),
            None => (&NO_DIGEST, false),
        };
        self.current.ct_eq(secret) | (previous.ct_eq(secret) & Choice::from(u8::from(is_alive)))
    }
}

impl fmt::Debug for ServiceToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceToken")
            .field("client_id", &self.client_id)
            .field("name", &self.name)
            .field("is_enabled", &self.is_enabled)
            .finish_non_exhaustive()
    }
}

/// What a request brought in `CF-Access-Client-Id` and `CF-Access-Client-Secret`.
#[derive(Clone)]
pub struct ServiceCredentials {
    client_id: String,
    secret: [u8; 32],
}

impl ServiceCredentials {
    /// Reads the two header fields, each as often as it occurs. `None` if neither does: then it is a
    /// person's request, or nobody's.
    ///
    /// # Errors
    ///
    /// Refuses one without the other, either one twice, and values that no token has.
    ///
    /// ```
    /// use otp_auth::session::{ServiceCredentials, ServiceRefusal};
    ///
    /// let none = ServiceCredentials::from_fields([], [])?;
    /// assert!(none.is_none());
    /// let half = ServiceCredentials::from_fields([&b"x.access"[..]], []);
    /// assert_eq!(half.unwrap_err(), ServiceRefusal::Half);
    /// # Ok::<(), ServiceRefusal>(())
    /// ```
    pub fn from_fields<'a>(
        ids: impl IntoIterator<Item = &'a [u8]>,
        secrets: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Option<Self>, ServiceRefusal> {
        let (mut ids, mut secrets) = (ids.into_iter(), secrets.into_iter());
        let (id, secret) = match (ids.next(), secrets.next()) {
            (None, None) => return Ok(None),
            (Some(id), Some(secret)) => (id, secret),
            _ => return Err(ServiceRefusal::Half),
        };
        if ids.next().is_some() || secrets.next().is_some() {
            return Err(ServiceRefusal::Repeated);
        }
        Self::from_values(id, secret).map(Some)
    }

    /// Reads the form for clients that can send one field only: a JSON object with both names.
    ///
    /// # Errors
    ///
    /// Refuses anything else.
    pub fn from_single_field(value: &[u8]) -> Result<Self, ServiceRefusal> {
        #[derive(Deserialize)]
        struct Both<'a> {
            #[serde(rename = "cf-access-client-id", borrow)]
            id: &'a str,
            #[serde(rename = "cf-access-client-secret", borrow)]
            secret: &'a str,
        }
        if value.len() > 1_024 {
            return Err(ServiceRefusal::Malformed);
        }
        let both: Both<'_> =
            serde_json::from_slice(value).map_err(|_| ServiceRefusal::Malformed)?;
        Self::from_values(both.id.as_bytes(), both.secret.as_bytes())
    }

    fn from_values(id: &[u8], secret: &[u8]) -> Result<Self, ServiceRefusal> {
        if !is_visible(id, 1..=ID_BYTES) || !is_visible(secret, 1..=SECRET_BYTES) {
            return Err(ServiceRefusal::Malformed);
        }
        let client_id = String::from_utf8(id.to_vec()).map_err(|_| ServiceRefusal::Malformed)?;
        Ok(Self { client_id, secret: digest_of(secret) })
    }
}

impl fmt::Debug for ServiceCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceCredentials(..)")
    }
}

/// Why a service is not let in. The answer is 401 in every case, with no way to a person's login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum ServiceRefusal {
    /// Only one of the two fields.
    #[error("a service token needs both client id and client secret")]
    Half,
    /// A field occurs more than once.
    #[error("a field of the service token is repeated")]
    Repeated,
    /// A value that no token has.
    #[error("the service token is malformed")]
    Malformed,
    /// No such client id. Not worth a log line: anybody can send one.
    #[error("no such service token")]
    Unknown,
    /// A client id that exists, and another secret. Worth a log line.
    #[error("the service token's secret is wrong")]
    WrongSecret,
    /// Its time is over, or it is switched off.
    #[error("the service token has ended")]
    Ended,
}

impl ServiceRefusal {
    /// Whether somebody who runs the service should hear of it.
    pub fn is_worth_logging(self) -> bool {
        matches!(self, Self::WrongSecret | Self::Ended)
    }
}

/// The proof that a request brought a service token that lives. Comes out of [`ServiceTokens::check`]
/// alone.
#[must_use]
#[derive(Debug)]
pub struct ProvenService {
    client_id: String,
    name: String,
}

impl ProvenService {
    /// Which token: the `common_name` of tokens that are signed for it.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// All service tokens of a deployment. A plain value: build it anew when one changes.
#[derive(Debug, Clone, Default)]
pub struct ServiceTokens {
    tokens: HashMap<String, ServiceToken>,
}

impl ServiceTokens {
    /// Takes tokens; of two with one client id the later counts.
    pub fn new(tokens: impl IntoIterator<Item = ServiceToken>) -> Self {
        Self { tokens: tokens.into_iter().map(|it| (it.client_id.clone(), it)).collect() }
    }

    /// Whether what a request brought is one of them. The comparison takes the same time for a wrong secret
    /// as for an unknown id.
    ///
    /// # Errors
    ///
    /// Why not. The client is told "401" and no more.
    pub fn check(
        &self,
        credentials: &ServiceCredentials,
        now: Timestamp,
    ) -> Result<ProvenService, ServiceRefusal> {
        let found = self.tokens.get(&credentials.client_id);
        let Some(token) = found else {
            let _same_work = NO_DIGEST.ct_eq(&credentials.secret) | NO_DIGEST.ct_eq(&NO_DIGEST);
            return Err(ServiceRefusal::Unknown);
        };
        if !bool::from(token.accepts(&credentials.secret, now)) {
            return Err(ServiceRefusal::WrongSecret);
        }
        if !token.is_enabled || token.ends.is_some_and(|end| now >= end) {
            return Err(ServiceRefusal::Ended);
        }
        Ok(ProvenService { client_id: token.client_id.clone(), name: token.name.clone() })
    }
}

fn draw_secret(random: &dyn Random) -> Result<ServiceSecret, Error> {
    let mut bytes = Zeroizing::new([0; 32]);
    random.fill(&mut *bytes)?;
    Ok(ServiceSecret(hex(&*bytes)))
}

fn hex(bytes: &[u8]) -> Zeroizing<String> {
    let halves = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    Zeroizing::new(halves.filter_map(|half| char::from_digit(u32::from(half), 16)).collect())
}

fn digest_of(secret: &[u8]) -> [u8; 32] {
    let mut found = [0; 32];
    found.copy_from_slice(digest::digest(&digest::SHA256, secret).as_ref());
    found
}

fn is_visible(text: &[u8], length: std::ops::RangeInclusive<usize>) -> bool {
    length.contains(&text.len()) && text.iter().all(u8::is_ascii_graphic)
}

/// No secret has this digest that anybody could find.
const NO_DIGEST: [u8; 32] = [0; 32];

const ID_BYTES: usize = 128;
const SECRET_BYTES: usize = 256;

/// What Access allows.
const LONGEST_OVERLAP: Duration = Duration::from_secs(30 * 86_400);
