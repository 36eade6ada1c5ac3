//! The way of a new machine to its first certificate, and from each to the next.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use zeroize::Zeroizing;

use super::{
    deny_list::DenyList,
    grant::{Grant, Identity},
    intermediate::{Intermediate, Signed},
    request::SigningRequest,
};
use crate::{
    certificate::{self, Serial},
    digest::sha256,
    error::{Error, Kind},
    key::default_provider,
    storage::{Key, Storage, StorageError},
};

/// Signs for machines: the first time for a token that is good once, later for the certificate that they have.
///
/// A token is used up in the storage before anything is signed, so of many that come with one token, on whatever node,
/// one gets a certificate. The storage holds tokens as hashes only.
pub struct Enrolment {
    storage: Arc<dyn Storage>,
    intermediate: Intermediate,
    /// Certificates of those that signed before.
    earlier: Vec<CertificateDer<'static>>,
    denied: DenyList,
}

impl Enrolment {
    /// Keeps tokens in this storage and signs with this intermediate.
    pub fn new(storage: Arc<dyn Storage>, intermediate: Intermediate) -> Self {
        Self { storage, intermediate, earlier: Vec::new(), denied: DenyList::new() }
    }

    /// Renews what these intermediates signed as well: those before this one, until their last leaf has ended.
    #[must_use]
    pub fn earlier(
        mut self,
        certificates: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> Self {
        self.earlier.extend(certificates);
        self
    }

    /// Renews nothing that is in this list. Give the one that [`ClientVerifier`](super::ClientVerifier) has.
    #[must_use]
    pub fn denied(mut self, denied: DenyList) -> Self {
        self.denied = denied;
        self
    }

    /// Makes a token for a new machine, good once and for `life`: a minute to 7 days.
    ///
    /// # Errors
    ///
    /// A life that is out of range, no randomness, or the storage failed.
    ///
    /// # Cancel safety
    ///
    /// A token that nobody has may stay in the storage until it ends.
    pub async fn invite(
        &self,
        grant: &Grant,
        life: Duration,
        now: SystemTime,
    ) -> Result<Token, Error> {
        if !(SHORTEST_TOKEN..=LONGEST_TOKEN).contains(&life) {
            return Err(Kind::Request("a token lives a minute to 7 days").into());
        }
        let mut secret = Zeroizing::new([0; 32]);
        let random = default_provider().secure_random;
        random.fill(&mut *secret).map_err(|_| Kind::Randomness)?;
        let token = Token(Zeroizing::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(*secret))));
        let ends = seconds(now + life);
        let value = format!("{ends}\n{}\n", grant.to_line());
        self.storage.put(&key(&token.0)?, value.as_bytes(), None).await?;
        Ok(token)
    }

    /// Signs the request of whoever has the token, and uses the token up.
    ///
    /// # Errors
    ///
    /// [`Error::is_refused_request`]: no such token, or no longer. Else the storage or the intermediate failed; the token
    /// may be used up then, so make another.
    ///
    /// # Cancel safety
    ///
    /// The token may be used up.
    pub async fn enrol(
        &self,
        token: &str,
        request: &SigningRequest,
        now: SystemTime,
    ) -> Result<Signed, Error> {
        let refused = || Error::from(Kind::Request("no such token, or it was used, or is too old"));
        let is_token = token.len() == TOKEN_BYTES && token.starts_with(PREFIX);
        if !is_token {
            return Err(refused());
        }
        let key = key(token)?;
        let entry = self.storage.get(&key).await?.ok_or_else(refused)?;
        // INVARIANT: used up before anything is signed.
        match self.storage.delete(&key, entry.version).await {
            Ok(()) => {}
            Err(StorageError::Conflict) => return Err(refused()),
            Err(error) => return Err(error.into()),
        }
        let text = std::str::from_utf8(&entry.value).ok();
        let invitation = text.and_then(|text| text.strip_suffix('\n')?.split_once('\n'));
        let (ends, grant) = invitation.ok_or_else(refused)?;
        let ends: u64 = ends.parse().map_err(|_| refused())?;
        let grant = Grant::from_line(grant).ok_or_else(refused)?;
        if ends <= seconds(now) {
            return Err(refused());
        }
        self.intermediate.sign(request, &grant, now)
    }

    /// Signs anew for whoever has a certificate: the same identity and life, with the key of the request.
    ///
    /// `peer` is the certificate that the client showed in the handshake, which
    /// [`ClientVerifier`](super::ClientVerifier) has verified: that the client has its key, and that no authority above it
    /// has ended. Here it must be signed by this intermediate, or by one of the [`earlier`](Self::earlier) ones, whatever
    /// their names are.
    ///
    /// # Errors
    ///
    /// [`Error::is_refused_request`]: it has ended, was denied, or none of these signed it.
    pub fn renew(
        &self,
        peer: &CertificateDer<'_>,
        request: &SigningRequest,
        now: SystemTime,
    ) -> Result<Signed, Error> {
        let refused = |reason| Error::from(Kind::Request(reason));
        let identity = Identity::of(peer)?;
        let parsed = certificate::parse(0, peer)?;
        let validity = parsed.validity();
        let [begins, ends] =
            [validity.not_before, validity.not_after].map(certificate::to_system_time);
        if now < begins || now > ends {
            return Err(refused("the certificate is not valid now; enrol again with a new token"));
        }
        if self.denied.is_denied(&Serial::of(parsed.raw_serial())) {
            return Err(refused("the certificate is denied"));
        }
        let mut known = self.earlier.iter().chain([self.intermediate.certificate()]);
        if !known.any(|issuer| has_signed(issuer, &parsed)) {
            return Err(refused("the certificate is of another authority"));
        }
        let life = ends.duration_since(begins).unwrap_or_default() + Duration::from_secs(1);
        self.intermediate.sign(request, &Grant::again(&identity, life)?, now)
    }

    /// Takes tokens away that have ended; how many.
    ///
    /// # Errors
    ///
    /// The storage failed.
    pub async fn sweep(&self, now: SystemTime) -> Result<usize, Error> {
        let mut gone = 0;
        for key in self.storage.list(FOLDER).await? {
            let Some(entry) = self.storage.get(&key).await? else { continue };
            let ends = std::str::from_utf8(&entry.value).ok().and_then(|text| text.lines().next());
            if ends.and_then(|ends| ends.parse().ok()).is_none_or(|ends: u64| ends <= seconds(now))
            {
                gone += usize::from(self.storage.delete(&key, entry.version).await.is_ok());
            }
        }
        Ok(gone)
    }
}

impl fmt::Debug for Enrolment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enrolment")
            .field("intermediate", &self.intermediate)
            .field("denied", &self.denied)
            .finish_non_exhaustive()
    }
}

/// What a new machine shows, once: 49 characters. Redacted in every output.
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// The text, for the one who sets the machine up.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

fn has_signed(issuer: &CertificateDer<'_>, leaf: &X509Certificate<'_>) -> bool {
    certificate::parse(0, issuer).is_ok_and(|issuer| {
        issuer.subject() == leaf.issuer()
            && leaf.verify_signature(Some(issuer.public_key())).is_ok()
    })
}

/// A hash names it, so that neither the storage nor the time that looking takes tells anything of tokens.
fn key(token: &str) -> Result<Key, Error> {
    use std::fmt::Write as _;

    let mut name = format!("{FOLDER}/");
    for byte in sha256(&[token.as_bytes()]) {
        let _infallible = write!(name, "{byte:02x}");
    }
    name.parse()
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

const FOLDER: &str = "enrolment";
const PREFIX: &str = "enrol_";
const TOKEN_BYTES: usize = PREFIX.len() + 43;
const SHORTEST_TOKEN: Duration = Duration::from_secs(60);
const LONGEST_TOKEN: Duration = Duration::from_secs(7 * 86_400);
