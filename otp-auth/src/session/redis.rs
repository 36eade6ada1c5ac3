//! Revocations and sessions in the Redis that logins share.

use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use redis::{Script, ScriptInvocation};

use super::{
    Changes, Cursor, Epoch, RevocationKey, RevocationStore, SessionId, SessionRecord, SessionStore,
};
use crate::error::Error;
use crate::store::RedisStore;
use crate::timestamp::Timestamp;

/// The clock and the log lie under `{NAMESPACE}:rev:…`. Time is the server's. The log keeps 32 days; a
/// server that has lost it begins a new one, and tokens from before that are refused. Where its clock is behind that of the
/// server before it, it begins no earlier than what the first node to ask has seen.
#[async_trait]
impl RevocationStore for RedisStore {
    async fn epoch(&self, _now: Timestamp) -> Result<Epoch, Error> {
        let call = self.on_clock(&Scripts::shared().epoch);
        self.invoke(&call).await.map(|epoch| self.saw(epoch))
    }

    async fn revoke(&self, key: &RevocationKey, _now: Timestamp) -> Result<Epoch, Error> {
        let mut call = self.on_clock(&Scripts::shared().revoke);
        call.key(self.key("rev:log")).arg(key.to_text());
        self.invoke(&call).await.map(|epoch| self.saw(epoch))
    }

    async fn changes(&self, after: &Cursor, _now: Timestamp) -> Result<Changes, Error> {
        let after: u64 = after.0.parse().unwrap_or(0);
        let mut call = self.on_clock(&Scripts::shared().changes);
        call.key(self.key("rev:log")).arg(after).arg(AT_ONCE);
        let (born, entries): (u64, Vec<(u64, String)>) = self.invoke(&call).await?;
        let is_last = entries.len() < AT_ONCE;
        let cursor = Cursor(entries.last().map_or(after, |(epoch, _)| *epoch).to_string());
        let read = |(epoch, key): (u64, String)| {
            let key = RevocationKey::from_text(&key);
            let key = key.ok_or_else(|| Error::store_unavailable("an answer out of place"))?;
            Ok((key, self.saw(epoch)))
        };
        let revoked = entries.into_iter().map(read).collect::<Result<_, Error>>()?;
        Ok(Changes { revoked, cursor, floor: self.saw(born), is_last })
    }
}

/// Each session is a hash under `{NAMESPACE}:s:ID`, with an expiry as a broom.
#[async_trait]
impl SessionStore for RedisStore {
    async fn insert(&self, record: &SessionRecord, now: Timestamp) -> Result<bool, Error> {
        let mut call = Scripts::shared().insert.key(self.session_key(record.id));
        call.arg(json(record)?).arg(record.seen.as_unix_millis()).arg(life(record, now));
        self.invoke(&call).await
    }

    async fn load(&self, id: SessionId, _now: Timestamp) -> Result<Option<SessionRecord>, Error> {
        let call = Scripts::shared().load.key(self.session_key(id));
        let found: Option<(String, u64)> = self.invoke(&call).await?;
        let read = |(json, seen): (String, u64)| {
            let record: SessionRecord =
                serde_json::from_str(&json).map_err(Error::store_unavailable)?;
            Ok(SessionRecord { seen: Timestamp::from_unix_millis(seen), ..record })
        };
        found.map(read).transpose()
    }

    async fn touch(&self, id: SessionId, now: Timestamp) -> Result<(), Error> {
        let mut call = Scripts::shared().touch.key(self.session_key(id));
        call.arg(now.as_unix_millis());
        self.invoke(&call).await
    }

    async fn replace(
        &self,
        old: SessionId,
        record: &SessionRecord,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let mut call = Scripts::shared().replace.key(self.session_key(old));
        call.key(self.session_key(record.id))
            .arg(json(record)?)
            .arg(record.seen.as_unix_millis())
            .arg(life(record, now));
        self.invoke(&call).await
    }

    async fn remove(&self, id: SessionId) -> Result<(), Error> {
        let call = Scripts::shared().remove.key(self.session_key(id));
        self.invoke(&call).await
    }
}

impl RedisStore {
    /// A call that begins with [`CLOCK`].
    fn on_clock<'a>(&self, script: &'a Script) -> ScriptInvocation<'a> {
        let mut call = script.key(self.key("rev:clock"));
        call.key(self.key("rev:born")).arg(self.newest_epoch.load(Ordering::Relaxed));
        call
    }

    fn saw(&self, epoch: u64) -> Epoch {
        self.newest_epoch.fetch_max(epoch, Ordering::Relaxed);
        Epoch::new(epoch)
    }

    fn session_key(&self, id: SessionId) -> String {
        self.key(&format!("s:{id}"))
    }
}

fn json(record: &SessionRecord) -> Result<String, Error> {
    serde_json::to_string(record).map_err(Error::store_unavailable)
}

/// A minute more than it lives, for clocks that differ: the broom, not the rule.
fn life(record: &SessionRecord, now: Timestamp) -> u64 {
    let millis = record.ends.since(now).as_millis();
    u64::try_from(millis).unwrap_or(u64::MAX).saturating_add(60_000)
}

struct Scripts {
    epoch: Script,
    revoke: Script,
    changes: Script,
    insert: Script,
    load: Script,
    touch: Script,
    replace: Script,
    remove: Script,
}

impl Scripts {
    /// Computed once: they are constants.
    fn shared() -> &'static Self {
        static SHARED: OnceLock<Scripts> = OnceLock::new();
        SHARED.get_or_init(|| Self {
            epoch: Script::new(&[CLOCK, "return clock"].concat()),
            revoke: Script::new(&[CLOCK, REVOKE].concat()),
            changes: Script::new(&[CLOCK, CHANGES].concat()),
            insert: Script::new(INSERT),
            load: Script::new(LOAD),
            touch: Script::new(TOUCH),
            replace: Script::new(REPLACE),
            remove: Script::new("redis.call('DEL', KEYS[1])"),
        })
    }
}

/// A clock in milliseconds that never goes back, not even behind what a node has seen of it, and when this store began.
const CLOCK: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local seen = tonumber(ARGV[1])
local clock = math.max(now, seen, tonumber(redis.call('GET', KEYS[1]) or seen + 1))
local function text(number) return string.format('%.0f', number) end
redis.call('SET', KEYS[1], text(clock))
redis.call('SET', KEYS[2], text(clock), 'NX')
";

/// The entry's id is its epoch. What is older than any token is dropped.
const REVOKE: &str = r"
clock = clock + 1
redis.call('SET', KEYS[1], text(clock))
redis.call('XADD', KEYS[3], 'MINID', '~', text(clock - 2764800000), text(clock) .. '-0', 'k', ARGV[2])
return clock
";

const CHANGES: &str = r"
local entries = redis.call('XRANGE', KEYS[3], '(' .. ARGV[2] .. '-0', '+', 'COUNT', ARGV[3])
local found = {}
for index, entry in ipairs(entries) do
    found[index] = {tonumber(string.match(entry[1], '^%d+')), entry[2][2]}
end
return {tonumber(redis.call('GET', KEYS[2])), found}
";

/// In the hash: `r` record, `s` seen.
const INSERT: &str = r"
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], 'r', ARGV[1], 's', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
";

const LOAD: &str = r"
local found = redis.call('HMGET', KEYS[1], 'r', 's')
if not found[1] then return nil end
return {found[1], tonumber(found[2])}
";

const TOUCH: &str = r"
local seen = redis.call('HGET', KEYS[1], 's')
if seen and tonumber(seen) < tonumber(ARGV[1]) then redis.call('HSET', KEYS[1], 's', ARGV[1]) end
";

const REPLACE: &str = r"
if redis.call('DEL', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[2], 'r', ARGV[1], 's', ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return 1
";

const AT_ONCE: usize = 1_000;
