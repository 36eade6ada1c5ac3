//! Signing keys, their life, and the public key set.

mod jwk;
mod pem;
mod ring_of_keys;
mod set;
mod signing;
mod verifying;

pub use self::jwk::{PublicKeySet, PublicKeySetError};
pub use self::ring_of_keys::{FindKey, KeyRing};
pub use self::set::{KeySet, KeyState};
pub use self::signing::SigningKey;
pub use self::verifying::VerifyingKey;
