//! `access`: who may pass a rule, told by the token that the edge adds.

mod fetch;
mod guard;
mod keys;
mod settings;
#[cfg(test)]
mod tests;
mod token;

pub use self::keys::{Fetch, KeySource};
pub(super) use self::{
    fetch::HttpKeySource,
    guard::{Denied, Guard},
    keys::Keyring,
    settings::{AccessRule, Issuer},
};
