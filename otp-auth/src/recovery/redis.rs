//! Recovery codes in the Redis that logins share.

use std::sync::OnceLock;

use async_trait::async_trait;
use redis::Script;

use super::{RecoveryDigest, RecoveryStore, SET_SIZE};
use crate::error::Error;
use crate::store::RedisStore;

/// A person's digests are a set under `{NAMESPACE}:r:SUBJECT`. They belong to the account: keep this server
/// on disk (`appendonly yes`), or keep the codes in the database where the accounts are.
#[async_trait]
impl RecoveryStore for RedisStore {
    async fn replace(&self, subject: &str, codes: &[RecoveryDigest]) -> Result<(), Error> {
        if codes.len() > SET_SIZE {
            return Err(Error::setting("recovery codes", "a set has at most ten"));
        }
        let mut call = Scripts::shared().replace.key(self.recovery_key(subject));
        for code in codes {
            call.arg(&code.as_bytes()[..]);
        }
        self.invoke(&call).await
    }

    async fn consume(&self, subject: &str, code: &RecoveryDigest) -> Result<Option<usize>, Error> {
        let mut call = Scripts::shared().consume.key(self.recovery_key(subject));
        call.arg(&code.as_bytes()[..]);
        self.invoke(&call).await
    }

    async fn remaining(&self, subject: &str) -> Result<usize, Error> {
        let call = Scripts::shared().remaining.key(self.recovery_key(subject));
        self.invoke(&call).await
    }
}

impl RedisStore {
    fn recovery_key(&self, subject: &str) -> String {
        self.key(&format!("r:{subject}"))
    }
}

struct Scripts {
    replace: Script,
    consume: Script,
    remaining: Script,
}

impl Scripts {
    /// Computed once: they are constants.
    fn shared() -> &'static Self {
        static SHARED: OnceLock<Scripts> = OnceLock::new();
        SHARED.get_or_init(|| Self {
            replace: Script::new(REPLACE),
            consume: Script::new(CONSUME),
            remaining: Script::new("return redis.call('SCARD', KEYS[1])"),
        })
    }
}

const REPLACE: &str = r"
redis.call('DEL', KEYS[1])
if #ARGV > 0 then redis.call('SADD', KEYS[1], unpack(ARGV)) end
";

const CONSUME: &str = r"
if redis.call('SREM', KEYS[1], ARGV[1]) == 0 then return nil end
return redis.call('SCARD', KEYS[1])
";
