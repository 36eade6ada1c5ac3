//! Tokens that verified, so that the signature is computed once.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::AppClaims;
use crate::keys::VerifyingKey;

/// A bounded map from a token to what it says.
///
/// Found by its last 32 characters, which are 192 bits of the signature, and then compared whole. SHA-256 of
/// the token would do as well, and alone costs what a hit may cost in all.
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

type Map = HashMap<Tail, Arc<Cached>, BuildHasherDefault<FirstBytes>>;

/// Who does not hold the token can't find it by trying, and tokens that verified don't share it.
type Tail = [u8; 32];

/// What was verified, and when its revocation was last looked at.
pub(super) struct Cached {
    token: Box<str>,
    pub(super) claims: AppClaims,
    pub(super) key: VerifyingKey,
    keys_checked: AtomicU64,
    revocations_checked: AtomicU64,
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

    pub(super) fn get(&self, token: &str) -> Option<Arc<Cached>> {
        let tail = tail(token)?;
        let mut shard = self.shard(tail);
        let found = if let Some(found) = shard.young.get(tail) {
            Arc::clone(found)
        } else {
            let found = shard.old.remove(tail)?;
            shard.insert(*tail, Arc::clone(&found));
            found
        };
        (*found.token == *token).then_some(found)
    }

    pub(super) fn insert(
        &self,
        token: &str,
        claims: AppClaims,
        key: VerifyingKey,
        at: Generations,
    ) {
        let Some(tail) = tail(token) else { return };
        let cached = Cached {
            token: token.into(),
            claims,
            key,
            keys_checked: AtomicU64::new(at.keys),
            revocations_checked: AtomicU64::new(at.revocations),
        };
        self.shard(tail).insert(*tail, Arc::new(cached));
    }

    pub(super) fn remove(&self, token: &str) {
        let Some(tail) = tail(token) else { return };
        let mut shard = self.shard(tail);
        shard.young.remove(tail);
        shard.old.remove(tail);
    }

    fn shard(&self, tail: &Tail) -> std::sync::MutexGuard<'_, Shard> {
        let index = usize::from(tail[31]) % SHARDS;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn insert(&mut self, tail: Tail, cached: Arc<Cached>) {
        if self.room == 0 {
            return;
        }
        if self.young.len() >= self.room {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(tail, cached);
    }
}

impl Cached {
    /// Whether the keys have changed since its own was last seen among them.
    pub(super) fn is_key_checked(&self, keys: u64) -> bool {
        self.keys_checked.load(Ordering::Acquire) == keys
    }

    pub(super) fn set_key_checked(&self, keys: u64) {
        self.keys_checked.store(keys, Ordering::Release);
    }

    /// Whether revocations have changed since this token was last found good.
    pub(super) fn is_checked(&self, revocations: u64) -> bool {
        self.revocations_checked.load(Ordering::Acquire) == revocations
    }

    pub(super) fn set_checked(&self, revocations: u64) {
        self.revocations_checked.store(revocations, Ordering::Release);
    }
}

/// What keys and revocations were when a token was looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Generations {
    pub(super) keys: u64,
    pub(super) revocations: u64,
}

/// Longer tokens are verified each time, so that few of them can't fill the memory.
fn tail(token: &str) -> Option<&Tail> {
    if token.len() > CACHED_BYTES { None } else { token.as_bytes().last_chunk() }
}

/// Part of a signature is as good as a hash, once its 48 bits are spread. Only tokens that verified are put
/// in, so nobody chooses them.
#[derive(Default)]
struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            let spread = u64::from_ne_bytes(*first).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            self.0 = spread ^ spread >> 32;
        }
    }
}

const CACHED_BYTES: usize = 4_096;

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
        let at = Generations { keys: 0, revocations: 0 };
        let insert = |token: &str| {
            cache.insert(token, AppClaims::for_tests(), key.verifying_key().clone(), at);
        };
        let token =
            |number: u32| format!("{number}.{}", crate::token::sha256_hex(&number.to_be_bytes()));
        insert(&token(0));
        for number in 1..10_000 {
            insert(&token(number));
            assert!(cache.get(&token(0)).is_some(), "{number}");
        }
        assert!(cache.get(&format!("x{}", token(0))).is_none(), "the same end is not enough");
        assert!(cache.get("short").is_none());
        let held: usize = cache
            .shards
            .iter()
            .map(|shard| {
                let shard = shard.lock().unwrap();
                assert!(shard.young.capacity() < 16 && shard.old.capacity() < 16);
                shard.young.len() + shard.old.len()
            })
            .sum();
        assert!((16..=64).contains(&held), "{held}");
        cache.remove(&token(0));
        assert!(cache.get(&token(0)).is_none());

        let none = TokenCache::new(0);
        none.insert(&token(0), AppClaims::for_tests(), key.verifying_key().clone(), at);
        assert!(none.get(&token(0)).is_none());
        let long = format!("{}{}", "a".repeat(4_096), token(1));
        insert(&long);
        assert!(cache.get(&long).is_none());
    }
}
