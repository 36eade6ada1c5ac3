//! A directory in a store that speaks the Redis 7 protocol.

use std::{fmt, time::Duration};

use redis::{
    Client, ErrorKind as RedisErrorKind, IntoConnectionInfo as _, Pipeline, RedisError, Script,
    ServerErrorKind,
    aio::{ConnectionManager, ConnectionManagerConfig},
    io::tcp::TcpSettings,
};

use super::{
    directory::{Directory, DirectoryError},
    node::{Holder, Node, NodeName},
};
use crate::{
    error::{Error, ErrorKind},
    id::TunnelId,
    limits,
};

/// A [`Directory`] in Redis 7, Valkey, or what else speaks their protocol.
///
/// One key for each tunnel, a hash of its nodes: `sekimori:1:tunnel:UUID`. Nothing in it is secret. Each
/// operation is one round trip on one shared connection. Leases are judged by the store's own clock,
/// in scripts; a key that nobody renews is removed by the store. A lost connection is made
/// anew in the background, with growing waits; meanwhile operations fail at once or within two seconds.
///
/// Clones share the connection.
///
/// ```no_run
/// use tunnel_proto::cluster::RedisDirectory;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), tunnel_proto::Error> {
/// let directory = RedisDirectory::new("redis://edge:password@store.internal:6379")?.namespace("staging")?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RedisDirectory {
    connection: ConnectionManager,
    prefix: String,
}

impl RedisDirectory {
    /// Uses the store at `url`: `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]` or
    /// `redis+unix:///PATH`. It is connected to when first needed.
    ///
    /// # Errors
    ///
    /// A URL that can't be used is the caller's fault. `rediss://` (TLS) is refused: put the store on a
    /// private network, or a TLS proxy before it.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn new(url: &str) -> Result<Self, Error> {
        let unusable = |error: RedisError| {
            let what = "the directory's URL can't be used; write it as redis://HOST:PORT";
            Error::from(ErrorKind::Caller(what.into())).with_source(error)
        };
        let info = url.into_connection_info().map_err(unusable)?;
        let client = Client::open(info.set_tcp_settings(tcp_settings())).map_err(unusable)?;
        let (first, longest) = limits::REDIS_RECONNECT;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(limits::REDIS_TIMEOUT))
            .set_response_timeout(Some(limits::REDIS_TIMEOUT))
            .set_min_delay(first)
            .set_max_delay(longest)
            .set_number_of_retries(limits::REDIS_RETRIES);
        let connection =
            ConnectionManager::new_lazy_with_config(client, config).map_err(unusable)?;
        Ok(Self { connection, prefix: "sekimori:1:".into() })
    }

    /// Keeps clusters apart that share a store: keys become `NAMESPACE:sekimori:1:tunnel:UUID`.
    ///
    /// # Errors
    ///
    /// Anything but 1 to 64 letters, digits, `-`, `_`, `.` and `:` is the caller's fault.
    pub fn namespace(mut self, namespace: &str) -> Result<Self, Error> {
        let is_plain = (1..=64).contains(&namespace.len())
            && namespace
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte));
        if !is_plain {
            let what = format!("`{}` is not a namespace for keys", namespace.escape_debug());
            return Err(ErrorKind::Caller(what).into());
        }
        self.prefix = format!("{namespace}:sekimori:1:");
        Ok(self)
    }

    fn key(&self, tunnel: TunnelId) -> String {
        format!("{}tunnel:{tunnel}", self.prefix)
    }
}

impl Directory for RedisDirectory {
    async fn announce(
        &self,
        node: &Node,
        holdings: &[(TunnelId, u32)],
        lease: Duration,
    ) -> Result<(), DirectoryError> {
        if holdings.is_empty() {
            return Ok(());
        }
        let script = Script::new(ANNOUNCE);
        let lease = u64::try_from(lease.min(limits::LONGEST_LEASE).as_millis()).unwrap_or(u64::MAX);
        let mut pipe = redis::pipe();
        for (tunnel, connections) in holdings {
            let mut call = script.key(self.key(*tunnel));
            call.arg(node.name().as_str());
            call.arg(format!("{connections} {}", node.address())).arg(lease);
            pipe.invoke_script(&call).ignore();
        }
        self.run(&pipe, &script).await.map_err(|error| failed("announcing a tunnel", error))
    }

    async fn withdraw(&self, node: &NodeName, tunnels: &[TunnelId]) -> Result<(), DirectoryError> {
        if tunnels.is_empty() {
            return Ok(());
        }
        let mut pipe = redis::pipe();
        for tunnel in tunnels {
            pipe.hdel(self.key(*tunnel), node.as_str()).ignore();
        }
        let done = pipe.exec_async(&mut self.connection.clone()).await;
        done.map_err(|error| failed("withdrawing a tunnel", error))
    }

    async fn find(&self, tunnel: TunnelId) -> Result<Vec<Holder>, DirectoryError> {
        let script = Script::new(FIND);
        let found: Result<Vec<(String, String)>, _> =
            script.key(self.key(tunnel)).invoke_async(&mut self.connection.clone()).await;
        let found = found.map_err(|error| failed("looking for a tunnel", error))?;
        // What can't be read was not written by us.
        Ok(found.iter().filter_map(|(name, entry)| holder(name, entry)).collect())
    }
}

impl RedisDirectory {
    /// Runs calls of a script, which the store may have to learn first.
    async fn run(&self, pipe: &Pipeline, script: &Script) -> Result<(), RedisError> {
        let mut connection = self.connection.clone();
        match pipe.exec_async(&mut connection).await {
            Err(error) if error.kind() == NO_SCRIPT => {
                script.load_async(&mut connection).await?;
                pipe.exec_async(&mut connection).await
            }
            done => done,
        }
    }
}

impl fmt::Debug for RedisDirectory {
    /// The URL may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisDirectory").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// `CONNECTIONS ADDRESS`, as `announce` writes it.
fn holder(name: &str, entry: &str) -> Option<Holder> {
    let (connections, address) = entry.split_once(' ')?;
    let node = Node::new(name.parse().ok()?, address).ok()?;
    Some(Holder::new(node, connections.parse().ok()?))
}

fn failed(what: &str, error: RedisError) -> DirectoryError {
    DirectoryError::new(format!("the store failed while {what}")).with_source(error)
}

/// A store that vanished without a word is given up when nothing arrives there any more.
fn tcp_settings() -> TcpSettings {
    let settings = TcpSettings::default().set_nodelay(true);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(limits::REDIS_TIMEOUT);
    settings
}

const NO_SCRIPT: RedisErrorKind = RedisErrorKind::Server(ServerErrorKind::NoScript);

/// Writes one entry as `END CONNECTIONS ADDRESS`, END in milliseconds of the store's clock. Removes
/// what has run out, and lets the key live as long as its longest lease.
///
/// `KEYS[1]` the tunnel; `ARGV` the node, the rest of the entry, the lease in milliseconds.
const ANNOUNCE: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local all = redis.call('HGETALL', KEYS[1])
local last = now + ARGV[3]
for at = 1, #all, 2 do
    local ends = tonumber(string.match(all[at + 1], '^%d+') or '0')
    if ends <= now then
        redis.call('HDEL', KEYS[1], all[at])
    elseif all[at] ~= ARGV[1] and ends > last then
        last = ends
    end
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f %s', now + ARGV[3], ARGV[2]))
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', last))
";

/// The entries of a tunnel that have not run out: node, `CONNECTIONS ADDRESS`, node, and so on.
const FIND: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local all = redis.call('HGETALL', KEYS[1])
local found = {}
for at = 1, #all, 2 do
    local ends, entry = string.match(all[at + 1], '^(%d+) (.*)$')
    if ends and tonumber(ends) > now then
        found[#found + 1] = all[at]
        found[#found + 1] = entry
    end
end
return found
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_that_nobody_wrote_are_left_out() {
        assert!(holder("a.node.test", "4 192.0.2.1:443").is_some());
        for (name, entry) in [
            ("a node", "4 192.0.2.1:443"),
            ("a.node.test", "4"),
            ("a.node.test", "x 192.0.2.1:443"),
            ("a.node.test", "-1 192.0.2.1:443"),
            ("a.node.test", "4 192.0.2.1"),
            ("a.node.test", ""),
        ] {
            assert!(holder(name, entry).is_none(), "{name} {entry}");
        }
    }

    #[tokio::test]
    async fn a_password_is_not_shown() {
        let directory = RedisDirectory::new("redis://edge:hunter2@127.0.0.1:1").unwrap();
        assert!(!format!("{directory:?}").contains("hunter2"));
        for url in ["", "store", "http://store", "rediss://edge:hunter2@store", "redis://"] {
            match RedisDirectory::new(url) {
                Err(error) => {
                    assert!(error.is_caller_fault(), "{url}");
                    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
                }
                Ok(_) => assert_eq!(url, "redis://"),
            }
        }
        assert!(directory.clone().namespace("a b").unwrap_err().is_caller_fault());
        assert!(directory.namespace("staging").is_ok());
    }
}
