//! Sessions: from the proof of an address to tokens, and back from a token to a person.

mod anonymous;
mod cache;
mod claims;
mod issuer;
mod records;
#[cfg(feature = "redis")]
mod redis;
mod revocation;
mod service;
mod state;
mod verifier;

pub use self::anonymous::{AnonymousIssuer, MetaClaims};
pub use self::claims::{AppClaims, OrgClaims};
pub use self::issuer::{AppGrant, Issuer, OrgSession};
pub use self::records::{
    MemorySessions, Session, SessionId, SessionLimits, SessionRecord, SessionReference,
    SessionRefusal, SessionScope, SessionStore, Sessions,
};
pub use self::revocation::{
    Changes, Cursor, Epoch, MemoryRevocations, Outage, RevocationKey, RevocationStore, Revocations,
};
#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub use self::revocation::{FileRevocations, Forgotten};
pub use self::service::{
    ProvenService, ServiceCredentials, ServiceRefusal, ServiceSecret, ServiceToken, ServiceTokens,
};
pub use self::state::{StateError, StateSigner};
pub use self::verifier::{AppVerifier, OrgVerifier};
