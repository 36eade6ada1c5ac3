//! Steps of authenticators in the Redis that logins share.

use std::sync::OnceLock;

use async_trait::async_trait;
use redis::Script;

use super::{Drift, FactorId, Reservation, Step, StepStore, Tries};
use crate::error::Error;
use crate::store::RedisStore;
use crate::timestamp::Timestamp;

/// Each factor is a hash under `{NAMESPACE}:f:ID`, which stays: there is one for each enrolled authenticator.
#[async_trait]
impl StepStore for RedisStore {
    async fn reserve(
        &self,
        factor: &FactorId,
        tries: &Tries,
        _now: Timestamp,
    ) -> Result<Reservation, Error> {
        let wait = u64::try_from(tries.then_one_in.as_millis()).unwrap_or(u64::MAX);
        let mut call = Scripts::shared().reserve.key(self.factor_key(factor));
        call.arg(tries.at_once).arg(tries.at_most).arg(wait);
        let drift: Option<i8> = self.invoke(&call).await?;
        Ok(drift.map_or(Reservation::Refused, |drift| Reservation::Granted {
            drift: Drift::new(drift),
        }))
    }

    async fn advance(&self, factor: &FactorId, step: Step, drift: Drift) -> Result<bool, Error> {
        let mut call = Scripts::shared().advance.key(self.factor_key(factor));
        call.arg(step.number()).arg(drift.steps());
        self.invoke(&call).await
    }

    async fn reopen(&self, factor: &FactorId) -> Result<(), Error> {
        let call = Scripts::shared().reopen.key(self.factor_key(factor));
        self.invoke(&call).await
    }
}

impl RedisStore {
    fn factor_key(&self, factor: &FactorId) -> String {
        self.key(&format!("f:{}", factor.as_str()))
    }
}

struct Scripts {
    reserve: Script,
    advance: Script,
    reopen: Script,
}

impl Scripts {
    /// Computed once: they are constants.
    fn shared() -> &'static Self {
        static SHARED: OnceLock<Scripts> = OnceLock::new();
        SHARED.get_or_init(|| Self {
            reserve: Script::new(RESERVE),
            advance: Script::new(ADVANCE),
            reopen: Script::new("redis.call('HDEL', KEYS[1], 'n', 't')"),
        })
    }
}

/// As [`Tries::allow`]. In the hash: `s` last step, `d` drift, `n` failures in a row, `t` time of the last.
const RESERVE: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = redis.call('HMGET', KEYS[1], 'n', 't', 'd')
local failures, last = tonumber(found[1] or '0'), tonumber(found[2] or '0')
local is_free = failures < tonumber(ARGV[1])
local has_waited = failures < tonumber(ARGV[2]) and (now < last or now - last >= tonumber(ARGV[3]))
if not (is_free or has_waited) then return nil end
redis.call('HSET', KEYS[1], 'n', failures + 1, 't', string.format('%.0f', now))
return tonumber(found[3] or '0')
";

const ADVANCE: &str = r"
if tonumber(ARGV[1]) <= tonumber(redis.call('HGET', KEYS[1], 's') or '0') then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 's', ARGV[1], 'd', ARGV[2])
return 1
";
