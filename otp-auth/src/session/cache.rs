//! Tokens that verified, so that the signature is computed once.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ring::digest;

use super::AppClaims;
use crate::keys::VerifyingKey;

/// A bounded map from the SHA-256 of a token to what it says.
///
/// Two generations: what is asked for moves to the younger, and when that is full the older is dropped. A
/// hit allocates nothing, because both have their room from the start.
pub(super) struct TokenCache {
    shards: Box<[Mutex<Shard>]>,
}

struct Shard {
    young: Map,
    old: Map,
    room: usize,
}

type Map = HashMap<Digest, Arc<Cached>, BuildHasherDefault<FirstBytes>>;

/// SHA-256: nobody finds a second token for it.
type Digest = [u8; 32];

/// What was verified, and when its revocation was last looked at.
pub(super) struct Cached {
    pub(super) claims: AppClaims,
    pub(super) key: VerifyingKey,
    checked: AtomicU64,
}

impl TokenCache {
    /// Room for about `tokens`; none at all for zero.
    pub(super) fn new(tokens: usize) -> Self {
        let room = tokens.div_ceil(2 * SHARDS);
        let shard = || {
            let map = || Map::with_capacity_and_hasher(room, BuildHasherDefault::default());
            Mutex::new(Shard { young: map(), old: map(), room })
        };
        Self { shards: (0..SHARDS).map(|_| shard()).collect() }
    }

    pub(super) fn get(&self, digest: &Digest) -> Option<Arc<Cached>> {
        let mut shard = self.shard(digest);
        if let Some(found) = shard.young.get(digest) {
            return Some(Arc::clone(found));
        }
        let found = shard.old.remove(digest)?;
        shard.insert(*digest, Arc::clone(&found));
        Some(found)
    }

    pub(super) fn insert(
        &self,
        digest: Digest,
        claims: AppClaims,
        key: VerifyingKey,
        generation: u64,
    ) {
        let cached = Cached { claims, key, checked: AtomicU64::new(generation) };
        self.shard(&digest).insert(digest, Arc::new(cached));
    }

    pub(super) fn remove(&self, digest: &Digest) {
        let mut shard = self.shard(digest);
        shard.young.remove(digest);
        shard.old.remove(digest);
    }

    fn shard(&self, digest: &Digest) -> std::sync::MutexGuard<'_, Shard> {
        let index = usize::from(digest[31]) % SHARDS;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn insert(&mut self, digest: Digest, cached: Arc<Cached>) {
        if self.room == 0 {
            return;
        }
        if self.young.len() >= self.room {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(digest, cached);
    }
}

impl Cached {
    /// Whether revocations have changed since this token was last found good.
    pub(super) fn is_checked(&self, generation: u64) -> bool {
        self.checked.load(Ordering::Acquire) == generation
    }

    pub(super) fn set_checked(&self, generation: u64) {
        self.checked.store(generation, Ordering::Release);
    }
}

pub(super) fn digest_of(token: &str) -> Digest {
    let mut found = [0; 32];
    found.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    found
}

/// A digest is its own hash.
#[derive(Default)]
struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_ne_bytes(*first);
        }
    }
}

const SHARDS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SigningKey;
    use crate::random::SystemRandom;

    #[test]
    fn what_is_asked_for_stays_and_the_bound_holds() {
        let cache = TokenCache::new(64);
        let key = SigningKey::generate(&SystemRandom::new()).unwrap();
        let insert = |digest| {
            cache.insert(digest, AppClaims::for_tests(), key.verifying_key().clone(), 1);
        };
        let digest = |number: u32| digest_of(&number.to_string());
        insert(digest(0));
        for number in 1..10_000 {
            insert(digest(number));
            assert!(cache.get(&digest(0)).is_some(), "{number}");
        }
        let held: usize = cache
            .shards
            .iter()
            .map(|shard| {
                let shard = shard.lock().unwrap();
                assert!(shard.young.capacity() < 16 && shard.old.capacity() < 16);
                shard.young.len() + shard.old.len()
            })
            .sum();
        assert!((32..=64).contains(&held), "{held}");
        cache.remove(&digest(0));
        assert!(cache.get(&digest(0)).is_none());

        let none = TokenCache::new(0);
        none.insert(digest(0), AppClaims::for_tests(), key.verifying_key().clone(), 1);
        assert!(none.get(&digest(0)).is_none());
    }
}
