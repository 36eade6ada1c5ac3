//! The store of several nodes: Redis 7, Valkey, or what else speaks their protocol.

mod scripts;

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{
    Client, ErrorKind, FromRedisValue, IntoConnectionInfo as _, RedisError, ScriptInvocation,
    ServerErrorKind, Value,
};

use self::scripts::Scripts;
use super::{Charge, ChargeKind, Guess, Inserted, Reserved, Store, Tally};
use crate::challenge::{Challenge, ChallengeId};
use crate::error::Error;
use crate::throttle::{Budget, BudgetKey, Taken};
use crate::timestamp::Timestamp;

/// Keeps challenges and budgets in Redis 7, Valkey, or what else speaks their protocol.
///
/// Each operation is one script, called by its hash, on one shared connection: a failed try is one round
/// trip with its budgets and all, an accepted one two. Time is the server's own (`TIME` in the script), so
/// the skew of a node stretches nothing. Keys are `{NAMESPACE}:c:…` for challenges and
/// `{NAMESPACE}:failures:…` and so on for budgets: one hash tag, so in a cluster they lie on one node,
/// which serves some 50,000 tries a second. Each key has an expiry as a broom; no rule relies on it.
///
/// Stored codes are HMACs under a pepper that the server never sees, and budgets of addresses stand under
/// keyed hashes; the addresses of open challenges are in the clear for eleven minutes.
///
/// Nothing but time removes a budget, so a flood of strangers grows the server by some 150 bytes for each budget
/// that it brings into use, at most 400 for each network of IPv4 (/24) and 2,500 for each site of IPv6 (/48) by the
/// default rules, more if somebody there signs in again and again. A server that reaches its `maxmemory` refuses new
/// ones, and with them logins.
///
/// # Failover
///
/// Redis copies to replicas after it has answered. A primary that is lost takes the last moments with it,
/// so a replica that takes its place may give tries back, and accept a code that was used just before. Two
/// ways out: [`wait_for_replicas`](Self::wait_for_replicas), which tells nobody of success before replicas
/// have the mark, or no automatic failover (open challenges are lost with the server; people ask for new
/// codes). A server that restarts from a snapshot gives back what happened since then, so use
/// `appendonly yes` or no persistence at all.
///
/// A lost connection is made anew in the background, and one that is silent for 2 seconds with the next call. What was under way fails as an unknown answer and is
/// never repeated.
///
/// ```no_run
/// # async fn f() -> Result<(), otp_auth::error::Error> {
/// use otp_auth::store::RedisStore;
///
/// let store = RedisStore::connect("redis://edge:password@store.internal:6379").await?;
/// let store = store.namespace("staging")?.wait_for_replicas(1);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RedisStore {
    shared: Arc<Shared>,
    prefix: String,
    replicas: u32,
    scripts: &'static Scripts,
    /// The newest epoch of revocations that this node has had from the server.
    pub(crate) newest_epoch: Arc<AtomicU64>,
}

impl RedisStore {
    /// Connects to `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]` or `redis+unix:///PATH`.
    ///
    /// # Errors
    ///
    /// A URL that cannot be used, and a server that may evict what is alive (`maxmemory-policy` other than
    /// `noeviction`), are the caller's fault; else the server is away. `rediss://` (TLS) is refused: put
    /// the store on a private network, or a TLS proxy before it.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        let unusable = |error: RedisError| {
            Error::setting("redis", "the URL cannot be used; write it as redis://HOST:PORT")
                .with_source(error)
        };
        let client = Client::open(url.into_connection_info().map_err(unusable)?);
        let client = client.map_err(unusable)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE))
            .set_min_delay(Duration::from_millis(50))
            .set_max_delay(Duration::from_secs(2))
            .set_number_of_retries(3);
        let connection = ConnectionManager::new_with_config(client.clone(), config.clone());
        let mut connection = connection.await.map_err(Error::store_unavailable)?;
        let memory: String = redis::cmd("INFO")
            .arg("memory")
            .query_async(&mut connection)
            .await
            .map_err(Error::store_unavailable)?;
        let policy = memory.lines().find_map(|line| line.strip_prefix("maxmemory_policy:"));
        if policy.map(str::trim) != Some("noeviction") {
            let problem = "its maxmemory-policy must be noeviction, or live challenges get lost";
            return Err(Error::setting("redis", problem));
        }
        let scripts = Scripts::shared();
        let shared = Arc::new(Shared { client, config, current: Mutex::new((0, connection)) });
        let newest_epoch = Arc::default();
        Ok(Self { shared, prefix: "{sekimori-otp}:".into(), replicas: 0, scripts, newest_epoch })
    }

    /// Keeps logins apart that share a server: keys begin with `{NAMESPACE}:`. Default `sekimori-otp`.
    ///
    /// # Errors
    ///
    /// Anything but 1 to 64 letters, digits, `-`, `_`, `.` and `:` is the caller's fault.
    pub fn namespace(mut self, namespace: &str) -> Result<Self, Error> {
        let is_plain = (1..=64).contains(&namespace.len())
            && namespace.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b));
        if !is_plain {
            return Err(Error::setting("namespace", "it has 1 to 64 plain characters"));
        }
        self.prefix = format!("{{{namespace}}}:");
        // It has a clock of its own.
        self.newest_epoch = Arc::default();
        Ok(self)
    }

    /// Believes that a code is used up only when so many replicas know it (`WAIT`); if they do not within
    /// 2 seconds, the code is spent and the visitor refused. Default 0.
    ///
    /// It costs each success the way to the replicas, and holds up the shared connection for so long. It covers
    /// challenges alone: what else keeps its things in this store (log-outs, authenticators, recovery codes) answers
    /// when the server has them.
    #[must_use]
    pub fn wait_for_replicas(mut self, count: u32) -> Self {
        self.replicas = count;
        self
    }

    /// A key of ours: other modules keep their things beside the challenges.
    pub(crate) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn challenge_key(&self, id: ChallengeId) -> String {
        format!("{}c:{id}", self.prefix)
    }

    fn budget_key(&self, key: &BudgetKey) -> String {
        format!("{}{key}", self.prefix)
    }

    /// One round trip; one more, once, for a server that does not know the script.
    pub(crate) async fn invoke<T: FromRedisValue>(
        &self,
        call: &ScriptInvocation<'_>,
    ) -> Result<T, Error> {
        let (number, mut connection) = self.shared.connection();
        let answer = call.invoke_async(&mut connection).await;
        answer.map_err(|error| self.shared.unavailable(number, error))
    }

    /// The same, and the answer is believed when enough replicas have it too.
    async fn invoke_durably(&self, call: &ScriptInvocation<'_>) -> Result<bool, Error> {
        if self.replicas == 0 {
            return self.invoke(call).await;
        }
        let (number, mut connection) = self.shared.connection();
        let unavailable = |error| self.shared.unavailable(number, error);
        let mut pipe = redis::pipe();
        pipe.invoke_script(call);
        pipe.cmd("WAIT").arg(self.replicas).arg(WAIT_MILLIS);
        let answer: Result<(bool, u32), RedisError> = pipe.query_async(&mut connection).await;
        let answer = match answer {
            Err(error) if error.kind() == NO_SCRIPT => {
                call.load_async(&mut connection).await.map_err(unavailable)?;
                pipe.query_async(&mut connection).await
            }
            answer => answer,
        };
        let (is_done, acknowledged) = answer.map_err(unavailable)?;
        if is_done && acknowledged < self.replicas {
            return Err(Error::store_unavailable("too few replicas know it"));
        }
        Ok(is_done)
    }

    async fn tally_one(
        &self,
        key: &BudgetKey,
        budget: &Budget,
        kind: ChargeKind,
    ) -> Result<Taken, Error> {
        let mut call = self.scripts.tally.key(self.budget_key(key));
        call.arg(rules(budget)).arg(u8::from(kind == ChargeKind::Take));
        let waits: Vec<u64> = self.invoke(&call).await?;
        Ok(taken(waits.first().copied().unwrap_or(u64::MAX)))
    }
}

/// What clones of a store share.
struct Shared {
    client: Client,
    config: ConnectionManagerConfig,
    /// The connection, and how many there were before it.
    current: Mutex<(u64, ConnectionManager)>,
}

impl Shared {
    fn connection(&self) -> (u64, ConnectionManager) {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes an answer that did not come. A connection that broke is made anew by its manager, one that is silent is
    /// not: nobody ends it, and nobody serves it.
    fn unavailable(&self, number: u64, error: RedisError) -> Error {
        if error.is_timeout() {
            let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
            let next =
                ConnectionManager::new_lazy_with_config(self.client.clone(), self.config.clone());
            if let (true, Ok(next)) = (current.0 == number, next) {
                *current = (number + 1, next);
            }
        }
        Error::store_unavailable(error)
    }
}

impl fmt::Debug for RedisStore {
    /// The URL may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for RedisStore {
    async fn insert(&self, challenge: &Challenge, _now: Timestamp) -> Result<Inserted, Error> {
        let mut call = self.scripts.insert.key(self.challenge_key(challenge.id()));
        call.arg(challenge.tries())
            .arg(challenge.issued().as_unix_millis())
            .arg(challenge.lifetime_millis)
            .arg(challenge.generation())
            .arg(challenge.to_bytes());
        let is_new: bool = self.invoke(&call).await?;
        Ok(if is_new { Inserted::Inserted } else { Inserted::Exists })
    }

    async fn look_up(&self, id: ChallengeId, _now: Timestamp) -> Result<Option<Challenge>, Error> {
        let call = self.scripts.look_up.key(self.challenge_key(id));
        let found: Option<Found> = self.invoke(&call).await?;
        found.map(|found| read(id, &found)).transpose()
    }

    async fn reserve(&self, id: ChallengeId, now: Timestamp) -> Result<Reserved, Error> {
        match self.guess(&[], id, now).await? {
            Guess::Reserved(reserved) => Ok(reserved),
            Guess::OverBudget { .. } => Err(Error::store_unavailable("an answer out of place")),
        }
    }

    async fn consume(
        &self,
        id: ChallengeId,
        generation: u32,
        now: Timestamp,
    ) -> Result<bool, Error> {
        self.accept(&[], id, generation, now).await
    }

    async fn replace(
        &self,
        generation: u32,
        challenge: &Challenge,
        _now: Timestamp,
    ) -> Result<bool, Error> {
        let mut call = self.scripts.replace.key(self.challenge_key(challenge.id()));
        call.arg(generation).arg(challenge.generation()).arg(challenge.to_bytes());
        self.invoke(&call).await
    }

    async fn take(
        &self,
        key: &BudgetKey,
        budget: &Budget,
        _now: Timestamp,
    ) -> Result<Taken, Error> {
        self.tally_one(key, budget, ChargeKind::Take).await
    }

    async fn look(
        &self,
        key: &BudgetKey,
        budget: &Budget,
        _now: Timestamp,
    ) -> Result<Taken, Error> {
        self.tally_one(key, budget, ChargeKind::Look).await
    }

    async fn give_back(
        &self,
        key: &BudgetKey,
        budget: &Budget,
        _now: Timestamp,
    ) -> Result<(), Error> {
        let mut call = self.scripts.give_back.key(self.budget_key(key));
        call.arg(rules(budget));
        self.invoke(&call).await
    }

    async fn tally(&self, charges: &[Charge<'_>], _now: Timestamp) -> Result<Tally, Error> {
        let mut call = self.scripts.tally.prepare_invoke();
        for charge in charges {
            call.key(self.budget_key(&charge.key)).arg(rules(charge.budget));
        }
        let kinds = charges.iter().map(|charge| match charge.kind {
            ChargeKind::Look => b'0',
            ChargeKind::Take => b'1',
            ChargeKind::TakeTogether => b'2',
        });
        call.arg(kinds.collect::<Vec<u8>>());
        let waits: Vec<u64> = self.invoke(&call).await?;
        let mut tally = Tally::default();
        for (charge, wait) in charges.iter().zip(waits) {
            tally.push(charge.kind, taken(wait));
        }
        Ok(tally)
    }

    async fn guess(
        &self,
        charges: &[Charge<'_>],
        id: ChallengeId,
        _now: Timestamp,
    ) -> Result<Guess, Error> {
        let script = if charges.is_empty() { &self.scripts.reserve } else { &self.scripts.guess };
        let mut call = script.prepare_invoke();
        for charge in charges {
            call.key(self.budget_key(&charge.key)).arg(rules(charge.budget));
        }
        call.key(self.challenge_key(id));
        match self.invoke::<Value>(&call).await? {
            Value::Array(granted) => {
                let granted: (u32, Vec<u8>, u64, u32) =
                    FromRedisValue::from_redis_value(Value::Array(granted))
                        .map_err(|error| Error::store_unavailable(RedisError::from(error)))?;
                let (number, record, issued, lifetime) = granted;
                let challenge = read(id, &(record, issued, lifetime))?;
                Ok(Guess::Reserved(Reserved::Granted { challenge, number }))
            }
            Value::Int(-1) => Ok(Guess::Reserved(Reserved::Exhausted)),
            Value::Int(-2) => Ok(Guess::Reserved(Reserved::Used)),
            Value::Int(-3) => Ok(Guess::Reserved(Reserved::Expired)),
            Value::Int(-4) => Ok(Guess::Reserved(Reserved::Unknown)),
            Value::Int(index) => match usize::try_from(index) {
                Ok(index) if index < charges.len() => Ok(Guess::OverBudget { index }),
                _ => Err(Error::store_unavailable("an answer out of place")),
            },
            _ => Err(Error::store_unavailable("an answer out of place")),
        }
    }

    async fn accept(
        &self,
        charges: &[Charge<'_>],
        id: ChallengeId,
        generation: u32,
        _now: Timestamp,
    ) -> Result<bool, Error> {
        let mut call = self.scripts.accept.prepare_invoke();
        for charge in charges {
            call.key(self.budget_key(&charge.key)).arg(rules(charge.budget));
        }
        call.key(self.challenge_key(id)).arg(generation);
        self.invoke_durably(&call).await
    }
}

/// Record, issued in milliseconds, lifetime in milliseconds.
type Found = (Vec<u8>, u64, u32);

fn read(id: ChallengeId, (record, issued, lifetime): &Found) -> Result<Challenge, Error> {
    let challenge = Challenge::from_bytes(id, record).map_err(Error::store_unavailable)?;
    // A replaced record keeps the beginning of the first.
    let issued = Timestamp::from_unix_millis(*issued);
    Ok(Challenge { issued, lifetime_millis: *lifetime, ..challenge })
}

/// Interval and capacity of three rules, then limit and pause of a row, as doubles: milliseconds are exact up
/// to 2^53.
fn rules(budget: &Budget) -> Vec<u8> {
    let mut numbers = [0.0; 8];
    for (pair, rule) in numbers.chunks_exact_mut(2).zip(budget.rules()) {
        pair.copy_from_slice(&[millis(rule.interval()), millis(rule.capacity())]);
    }
    if let Some(row) = budget.row() {
        numbers[6] = f64::from(row.limit());
        numbers[7] = millis(row.pause());
    }
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

fn taken(wait_millis: u64) -> Taken {
    match wait_millis {
        0 => Taken::Taken,
        wait => Taken::RetryAfter(Duration::from_millis(wait)),
    }
}

/// No rule is longer than 366 days, so this is exact.
fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000.0).round()
}

/// A server that has not answered by then is away.
const PATIENCE: Duration = Duration::from_secs(2);

/// Less than the patience, so that the answer still comes.
const WAIT_MILLIS: u64 = 1_500;

const NO_SCRIPT: ErrorKind = ErrorKind::Server(ServerErrorKind::NoScript);
