//! Sessions: from the proof of an address to tokens, and back from a token to a person.

mod issuer;
mod revocation;
mod state;
mod verifier;

pub use self::issuer::{AppGrant, Issuer, OrgSession};
pub use self::revocation::Revocations;
pub use self::state::{StateError, StateSigner};
pub use self::verifier::{AppClaims, AppVerifier, OrgClaims, OrgVerifier};
