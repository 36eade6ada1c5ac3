use std::{fmt, time::Duration};

use redis::{
    Client, IntoConnectionInfo as _, RedisError, Script, Value,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use zeroize::Zeroizing;

use crate::{
    error::{Error, Kind, StorageError},
    storage::{Entry, Found, Key, Storage, Version, Work, check_size},
};

/// Keeps objects in Redis 7, Valkey, or what else speaks their protocol, for nodes on several machines.
///
/// Each object is a hash with the fields `v` (value) and `n` (version) under `NAMESPACE:KEY`, and each write is one script on
/// that one key. The version is the server's own time in microseconds, or one more than the last, whichever is greater.
///
/// Wrap it in [`Sealed`](crate::storage::Sealed): the server then learns no private key.
///
/// # Failover
///
/// Redis copies to replicas after it has answered. A primary that is lost takes the last moments with it: an order may be
/// made twice then, or a certificate be renewed again. Use `appendonly yes`, or losing the server loses accounts.
///
/// ```no_run
/// # async fn run() -> Result<(), cert_manager::Error> {
/// use cert_manager::storage::RedisStore;
///
/// let store = RedisStore::connect("redis://edge:password@store.internal:6379").await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RedisStore {
    connection: ConnectionManager,
    namespace: String,
    put: Script,
    delete: Script,
}

impl RedisStore {
    /// Connects to `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`.
    ///
    /// # Errors
    ///
    /// [`Error::is_store`] if the URL cannot be used, or the server is away. `rediss://` (TLS) is not built in: put the store on
    /// a private network, or a TLS proxy before it.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        let failed = |error: RedisError| Kind::Storage(StorageError::unavailable(error));
        let client = Client::open(url.into_connection_info().map_err(failed)?).map_err(failed)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE))
            .set_min_delay(Duration::from_millis(50))
            .set_max_delay(Duration::from_secs(2))
            .set_number_of_retries(3);
        let connection =
            ConnectionManager::new_with_config(client, config).await.map_err(failed)?;
        let (put, delete) = (Script::new(PUT), Script::new(DELETE));
        Ok(Self { connection, namespace: "sekimori-certificates".to_owned(), put, delete })
    }

    /// Keeps those apart that share a server: keys begin with `NAMESPACE:`. Default `sekimori-certificates`.
    ///
    /// # Errors
    ///
    /// Anything but 1 to 64 letters, digits, `-` and `_` is refused.
    pub fn namespace(mut self, namespace: &str) -> Result<Self, Error> {
        let is_plain = (1..=64).contains(&namespace.len())
            && namespace.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if !is_plain {
            return Err(Kind::ObjectName(namespace.to_owned()).into());
        }
        namespace.clone_into(&mut self.namespace);
        Ok(self)
    }

    fn read(&self, key: &Key) -> redis::Cmd {
        let mut command = redis::cmd("HMGET");
        command.arg(self.name(key)).arg("v").arg("n");
        command
    }

    fn name(&self, key: &Key) -> String {
        format!("{}:{key}", self.namespace)
    }
}

impl Storage for RedisStore {
    fn get<'a>(&'a self, key: &'a Key) -> Work<'a, Option<Entry>> {
        Box::pin(async move {
            let read = self.read(key).query_async(&mut self.connection.clone()).await;
            found(key, read.map_err(StorageError::unavailable)?)
        })
    }

    fn get_many<'a>(&'a self, keys: &'a [Key]) -> Work<'a, Vec<Found>> {
        Box::pin(async move {
            let mut all = Vec::with_capacity(keys.len());
            // Each answer comes within `PATIENCE`, so they are not too large.
            for keys in keys.chunks(AT_ONCE) {
                let mut pipeline = redis::pipe();
                for key in keys {
                    pipeline.add_command(self.read(key));
                }
                let read: Vec<_> = pipeline
                    .query_async(&mut self.connection.clone())
                    .await
                    .map_err(StorageError::unavailable)?;
                all.extend(keys.iter().zip(read).map(|(key, read)| found(key, read)));
            }
            Ok(all)
        })
    }

    fn put<'a>(
        &'a self,
        key: &'a Key,
        value: &'a [u8],
        expected: Option<Version>,
    ) -> Work<'a, Version> {
        Box::pin(async move {
            check_size(key, value)?;
            let expected = expected.map_or_else(String::new, |version| version.to_string());
            let mut call = self.put.key(self.name(key));
            call.arg(value).arg(expected);
            let version: Option<u64> = call
                .invoke_async(&mut self.connection.clone())
                .await
                .map_err(StorageError::unavailable)?;
            version.map(Version::new).ok_or(StorageError::Conflict)
        })
    }

    fn delete<'a>(&'a self, key: &'a Key, version: Version) -> Work<'a, ()> {
        Box::pin(async move {
            let mut call = self.delete.key(self.name(key));
            call.arg(version.to_string());
            let is_done: bool = call
                .invoke_async(&mut self.connection.clone())
                .await
                .map_err(StorageError::unavailable)?;
            if is_done { Ok(()) } else { Err(StorageError::Conflict) }
        })
    }

    fn list<'a>(&'a self, folder: &'a str) -> Work<'a, Vec<Key>> {
        Box::pin(async move {
            let mut connection = self.connection.clone();
            let prefix = format!("{}:", self.namespace);
            let pattern = format!("{prefix}{folder}*");
            let mut keys = Vec::new();
            let mut cursor = 0_u64;
            loop {
                let (next, names): (u64, Vec<String>) = redis::cmd("SCAN")
                    .arg(cursor)
                    .arg("MATCH")
                    .arg(&pattern)
                    .arg("COUNT")
                    .arg(1000)
                    .query_async(&mut connection)
                    .await
                    .map_err(StorageError::unavailable)?;
                let found = names.iter().filter_map(|name| name.strip_prefix(&prefix));
                let found = found.filter_map(|name| name.parse().ok());
                keys.extend(found.filter(|key: &Key| key.is_below(folder) && !key.is_set_aside()));
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
            // A scan may name a key twice.
            keys.sort_unstable();
            keys.dedup();
            Ok(keys)
        })
    }
}

fn found(key: &Key, read: (Value, Value)) -> Found {
    match read {
        (Value::Nil, Value::Nil) => Ok(None),
        (Value::BulkString(value), Value::BulkString(version)) => {
            let value = Zeroizing::new(value);
            let version = str::from_utf8(&version).ok().and_then(|text| text.parse().ok());
            let version = Version::new(version.unwrap_or_default());
            Ok(Some(Entry { value, version }))
        }
        _ => Err(StorageError::unavailable(format!("`{key}` is another program's"))),
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

/// An absent field is `false`, and so is an empty text for "none expected".
const PUT: &str = r"
local found = redis.call('HGET', KEYS[1], 'n') or ''
if found ~= ARGV[2] then return false end
local time = redis.call('TIME')
local version = time[1] * 1000000 + time[2]
if found ~= '' and tonumber(found) >= version then version = tonumber(found) + 1 end
redis.call('HSET', KEYS[1], 'v', ARGV[1], 'n', string.format('%.0f', version))
return version";
const DELETE: &str = r"
if redis.call('HGET', KEYS[1], 'n') ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])";
/// Objects read by one pipeline.
const AT_ONCE: usize = 64;
const PATIENCE: Duration = Duration::from_secs(5);
