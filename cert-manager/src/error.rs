use std::{fmt, io, path::PathBuf};

use crate::version::Version;

/// What went wrong while making, reading, keeping or serving certificates.
///
/// The kind stays private so that it can grow; the predicates answer what a caller asks next.
/// No message and no source ever holds key material.
#[derive(thiserror::Error)]
#[error(transparent)]
pub struct Error(#[from] Box<Kind>);

impl Error {
    /// Says whether a name was refused. [`Error::name_error`] tells why.
    pub fn is_name(&self) -> bool {
        matches!(*self.0, Kind::Name { .. })
    }

    /// Returns the reason why a name was refused, if that is what happened.
    pub fn name_error(&self) -> Option<NameError> {
        match *self.0 {
            Kind::Name { source, .. } => Some(source),
            _ => None,
        }
    }

    /// Says whether the private key is encrypted. Decrypt it first, for example with
    /// `openssl pkey -in FILE`.
    pub fn is_encrypted_key(&self) -> bool {
        matches!(*self.0, Kind::EncryptedKey)
    }

    /// Says whether no private key was found where one was expected.
    pub fn is_missing_key(&self) -> bool {
        matches!(*self.0, Kind::MissingKey)
    }

    /// Says whether no certificate was found where one was expected.
    pub fn is_missing_certificate(&self) -> bool {
        matches!(*self.0, Kind::MissingCertificate)
    }

    /// Says whether certificate and private key do not belong together.
    pub fn is_key_mismatch(&self) -> bool {
        matches!(*self.0, Kind::KeyMismatch)
    }

    /// Says whether the input could not be read as PEM, as a certificate or as a key.
    pub fn is_malformed(&self) -> bool {
        matches!(
            *self.0,
            Kind::Pem { .. } | Kind::MalformedCertificate { .. } | Kind::UnusableKey(_)
        )
    }

    /// Says whether the certificate cannot sign others, or has no key usable for that.
    pub fn is_not_an_authority(&self) -> bool {
        matches!(*self.0, Kind::NotAnAuthority(_))
    }

    /// Says whether a request for a certificate was refused, or the token or certificate that came with it.
    pub fn is_refused_request(&self) -> bool {
        matches!(*self.0, Kind::Request(_))
    }

    /// Says whether two certificates claim the same name, so that neither may win.
    pub fn is_name_conflict(&self) -> bool {
        matches!(*self.0, Kind::NameConflict(_))
    }

    /// Returns why an issuer granted no certificate, and when to try again, if that is what happened.
    #[cfg(all(feature = "tokio", any(feature = "ring", feature = "aws-lc-rs")))]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub fn failure(&self) -> Option<&crate::failure::Failure> {
        match &*self.0 {
            Kind::Failure(failure) => Some(failure),
            _ => None,
        }
    }

    /// Says whether the store could not be read or written. The environment is at fault, and
    /// trying again later may help.
    pub fn is_store(&self) -> bool {
        matches!(*self.0, Kind::Store { .. } | Kind::Storage(_))
    }

    /// Returns what a [`Storage`](crate::storage::Storage) refused, if that is what happened.
    pub fn storage_error(&self) -> Option<&StorageError> {
        match &*self.0 {
            Kind::Storage(error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl From<Kind> for Error {
    fn from(kind: Kind) -> Self {
        Self(Box::new(kind))
    }
}

#[cfg(all(feature = "tokio", any(feature = "ring", feature = "aws-lc-rs")))]
impl From<crate::failure::Failure> for Error {
    fn from(failure: crate::failure::Failure) -> Self {
        Kind::Failure(failure).into()
    }
}

impl From<StorageError> for Error {
    fn from(error: StorageError) -> Self {
        Kind::Storage(error).into()
    }
}

/// Why a [`Storage`](crate::storage::Storage) did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// Somebody else wrote in between, or what is expected is not there. Read again, and decide anew.
    #[error("the store holds another version than expected")]
    Conflict,
    /// There is an object, and it cannot be used.
    #[error("the stored object `{key}` is damaged: {reason}")]
    Damaged {
        /// Its name.
        key: String,
        /// For [`Storage::set_aside`](crate::storage::Storage::set_aside).
        version: Version,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The object is sealed with a key that is not at hand. Nothing is wrong with it.
    #[error(
        "the stored object `{key}` is sealed with the key `{key_id}`, which is not in the ring"
    )]
    Locked {
        /// Its name.
        key: String,
        /// Which sealing key.
        key_id: String,
    },
    /// The value is larger than [`MAX_VALUE_BYTES`](crate::storage::MAX_VALUE_BYTES).
    #[error("`{key}` would have {bytes} bytes, which is more than a store takes")]
    TooLarge {
        /// The object's name.
        key: String,
        /// The value's size.
        bytes: usize,
    },
    /// The store is away, or was not understood. Whether a write happened is not known.
    #[error("the store failed")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl StorageError {
    /// The store is away, because of this.
    pub fn unavailable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unavailable(source.into())
    }

    /// Says whether somebody else wrote in between.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict)
    }
}

/// Why a name was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing is left once a trailing dot is taken away.
    #[error("the name is empty")]
    Empty,
    /// Two dots stand side by side, or one stands in front.
    #[error("a label is empty")]
    EmptyLabel,
    /// A label is longer than 63 bytes (RFC 1035 section 2.3.4).
    #[error("a label is longer than 63 bytes")]
    LabelTooLong,
    /// The whole name is longer than 253 bytes, the wildcard label included.
    #[error("the name is longer than 253 bytes")]
    TooLong,
    /// A label begins or ends with a hyphen (RFC 1123 section 2.1).
    #[error("a label begins or ends with a hyphen")]
    Hyphen,
    /// Public authorities may not put underscores into certificates, so we refuse them everywhere.
    #[error("underscores are not allowed in names of certificates")]
    Underscore,
    /// Something other than letters, digits and hyphens.
    #[error("character {0:?} is not allowed in a name")]
    Character(char),
    /// A star stands elsewhere than alone in the left-most label.
    #[error("a wildcard is a single `*.` at the front")]
    WildcardPlacement,
    /// Clients ignore a wildcard that is followed by a single label, such as `*.localhost`.
    #[error("a wildcard needs at least two labels after it")]
    WildcardTooWide,
    /// The name looks like an address but is none, such as `1.2.3`.
    #[error("the last label is a number, and the whole is no address")]
    NumericEnd,
    /// The name is not valid under UTS #46 with the strict rules.
    #[error("the name is not a valid internationalized domain name")]
    Idna,
    /// The name is not ASCII, and this build has not the feature `idna`, which would turn it into A-labels.
    #[error(
        "the name is not ASCII: write it with A-labels (`xn--`), or build with the feature `idna`"
    )]
    NotAscii,
}

#[derive(Debug, thiserror::Error)]
#[cfg_attr(
    not(all(feature = "tokio", any(feature = "ring", feature = "aws-lc-rs"))),
    expect(dead_code, reason = "some kinds come from issuers only")
)]
pub(crate) enum Kind {
    #[error("refused name `{input}`")]
    Name { input: String, source: NameError },
    #[error("no names were given")]
    NoNames,
    #[error("two certificates claim `{0}`")]
    NameConflict(String),
    #[error("what is stored beside the certificate is not what it says of itself")]
    WrongRecord,
    #[error("no certificate is wanted for the default name `{0}`")]
    NotManaged(String),
    #[error("the private key is encrypted: decrypt it first, for example with `openssl pkey`")]
    EncryptedKey,
    #[error("found no private key in the PEM text")]
    MissingKey,
    #[error("found more than one private key in the PEM text")]
    SeveralKeys,
    #[error("found no certificate in the PEM text")]
    MissingCertificate,
    #[error("PEM text is damaged: {0}")]
    Pem(&'static str),
    #[error("PEM text is larger than {0} bytes")]
    PemTooLarge(usize),
    #[error("certificate {position} of the chain is malformed: {reason}")]
    MalformedCertificate { position: usize, reason: String },
    #[error("the private key cannot be used")]
    UnusableKey(#[source] rustls::Error),
    #[error("no certificate of the chain belongs to the private key")]
    KeyMismatch,
    #[error("the certificate cannot be used as an authority: {0}")]
    NotAnAuthority(&'static str),
    #[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
    #[error("failed to {doing}")]
    Issue { doing: &'static str, source: rcgen::Error },
    #[error("refused: {0}")]
    Request(&'static str),
    #[error("a life of {0} seconds is outside of what the authority can sign")]
    Life(u64),
    #[error("the source of randomness failed")]
    Randomness,
    #[error("the cryptography provider does not support TLS 1.2 and 1.3")]
    Provider(#[source] rustls::Error),
    #[cfg(all(feature = "acme", any(feature = "ring", feature = "aws-lc-rs")))]
    #[error("an account key must be a P-256 key")]
    AccountKey,
    #[cfg(all(feature = "acme", any(feature = "ring", feature = "aws-lc-rs")))]
    #[error("the MAC key of an external account is base64url text")]
    ExternalAccount,
    #[cfg(all(feature = "acme", any(feature = "ring", feature = "aws-lc-rs")))]
    #[error(
        "the account `{0}` in the store cannot be read; restore it, or move it away to open a new one"
    )]
    StoredAccount(String),
    #[cfg(all(feature = "acme", any(feature = "ring", feature = "aws-lc-rs")))]
    #[error("{0}")]
    Acme(&'static str),
    #[cfg(all(feature = "tokio", any(feature = "ring", feature = "aws-lc-rs")))]
    #[error("the stored object `{0}` was written by a newer version")]
    NewerForm(String),
    #[cfg(all(feature = "tokio", any(feature = "ring", feature = "aws-lc-rs")))]
    #[error("the certificate in the file has ended, and the one that is served has not")]
    EndedPair,
    #[cfg(all(feature = "tokio", any(feature = "ring", feature = "aws-lc-rs")))]
    #[error("the manager is given no issuer and no files")]
    NoIssuer,
    #[cfg(all(feature = "tokio", any(feature = "ring", feature = "aws-lc-rs")))]
    #[error("no certificate serves: {0}")]
    NothingServes(String),
    #[cfg(all(feature = "tokio", any(feature = "ring", feature = "aws-lc-rs")))]
    #[error(transparent)]
    Failure(crate::failure::Failure),
    #[error("the chain does not hold together")]
    Chain(#[source] rustls::Error),
    #[error("a sealing key needs a plain id that no other has")]
    #[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
    SealingKey,
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("object name `{0}` is not allowed in a store")]
    ObjectName(String),
    #[error("failed to {doing} `{}`", path.display())]
    Store { doing: &'static str, path: PathBuf, source: io::Error },
}
