//! Certificates for machines of one's own: short leaves from an intermediate, enrolled once by a token and renewed over
//! mutual TLS, and refused at once when denied.
//!
//! The root ([`PrivateCa`](crate::PrivateCa)) signs an [`Intermediate`] once a year and can lie offline in between.
//! [`Enrolment`] hands out tokens that are good once, signs the requests that come with them, and renews what was
//! signed. [`ClientVerifier`] lets in who has such a certificate, unless its serial number is in the [`DenyList`].
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! use std::{sync::Arc, time::{Duration, SystemTime}};
//! use cert_manager::{PrivateCa, PrivateKey, ca::{Enrolment, Grant, Identity, Intermediate, SigningRequest}};
//! use cert_manager::storage::MemoryStore;
//!
//! let now = SystemTime::now();
//! let root = PrivateCa::generate("Example root", now)?;
//! let intermediate = Intermediate::issue(&root, "Example 2026", now)?;
//! let enrolment = Enrolment::new(Arc::new(MemoryStore::new()), intermediate);
//!
//! // The operator, for a new machine:
//! let grant = Grant::client("spiffe://example.jp/connector/42")?;
//! let token = enrolment.invite(&grant, Duration::from_secs(3_600), now).await?;
//! // The machine, once:
//! let key = PrivateKey::generate()?;
//! let request = SigningRequest::write(&key)?;
//! // The authority:
//! let signed = enrolment.enrol(token.expose(), &SigningRequest::parse(&request)?, now).await?;
//! assert_eq!(Identity::of(&signed.chain[0])?, *grant.identity());
//! assert!(enrolment.enrol(token.expose(), &SigningRequest::parse(&request)?, now).await.is_err());
//! # Ok::<(), cert_manager::Error>(()) }).unwrap();
//! ```

mod deny_list;
mod enrolment;
mod grant;
mod intermediate;
mod request;
mod verifier;

pub use self::{
    deny_list::DenyList,
    enrolment::{Enrolment, Token},
    grant::{Grant, Identity},
    intermediate::{Intermediate, Signed},
    request::SigningRequest,
    verifier::ClientVerifier,
};
