//! Signing keys, their life, and the public key set.

mod anonymous;
#[cfg(feature = "certificates")]
mod certificate;
mod jwk;
mod pem;
mod remote;
mod ring_of_keys;
mod saved;
mod schedule;
mod set;
mod signing;
mod verifying;

pub use self::anonymous::AnonymousKeys;
pub use self::jwk::{PublicKeySet, PublicKeySetError};
pub use self::remote::RemoteKeys;
pub use self::ring_of_keys::{FindKey, KeyRing};
pub use self::schedule::RotationSchedule;
pub use self::set::{KeyEvent, KeySet, KeyState};
pub use self::signing::SigningKey;
pub use self::verifying::VerifyingKey;
