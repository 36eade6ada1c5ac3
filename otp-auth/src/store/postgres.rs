//! The store of several nodes: Postgres 12 or later.

mod statements;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls, Row, Socket, Statement};

use self::statements::Statements;
use super::{Inserted, Reserved, Store};
use crate::challenge::{Challenge, ChallengeId};
use crate::error::Error;
use crate::throttle::{Budget, BudgetKey, Refund, Rule, Taken};
use crate::timestamp::Timestamp;

/// Keeps challenges and budgets in Postgres 12 or later, in the two tables of [`SCHEMA`](Self::SCHEMA).
///
/// Each step is one statement in a transaction of its own, never in the caller's: a rollback elsewhere gives
/// no try back. Time is the server's own. A code is used up with a synchronous commit, before anybody hears
/// of it; everything else commits asynchronously, so a server that crashes may forget the last moment
/// (three times `wal_writer_delay`, 0.6 seconds) and give a few tries back, and never a used code.
///
/// Each statement waits on one of a few connections, which are made when they are needed, and anew when
/// they broke; what was under way then is an unknown answer and is never repeated. Leave the isolation
/// level at `read committed`.
///
/// Nothing is removed by itself: call [`sweep`](Self::sweep) each minute.
pub struct PostgresStore {
    /// For steps that may be forgotten in a crash.
    quick: Lane,
    /// For those that must not.
    durable: Lane,
}

impl PostgresStore {
    /// The tables. Apply them with your migrations, or with [`create_tables`](Self::create_tables).
    pub const SCHEMA: &'static str = include_str!("postgres.sql");

    /// Opens `postgres://USER:PASSWORD@HOST/DATABASE`, or `host=/PATH user=… dbname=…`, without TLS: for a
    /// socket or a private network.
    ///
    /// # Errors
    ///
    /// Settings that cannot be read are the caller's fault; else the server is away.
    pub async fn connect(settings: &str) -> Result<Self, Error> {
        Self::connect_tls(settings, NoTls).await
    }

    /// The same with TLS, by a connector of the ecosystem of `tokio-postgres` 0.7.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub async fn connect_tls<T>(settings: &str, tls: T) -> Result<Self, Error>
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send + Sync,
        T::TlsConnect: Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        let config: Config = settings.parse().map_err(|error: tokio_postgres::Error| {
            Error::setting("postgres", "the settings cannot be read").with_source(error)
        })?;
        let dial: Dial = Arc::new(move |config: Config| {
            let tls = tls.clone();
            Box::pin(async move {
                let (client, connection) = config.connect(tls).await?;
                // Ends with the client, which is what says that something broke.
                tokio::spawn(async move {
                    let _broke = connection.await;
                });
                Ok(client)
            })
        });
        let store = Self {
            quick: Lane::new(&config, &dial, "off"),
            durable: Lane::new(&config, &dial, "on"),
        };
        store.quick.connections[0].check().await?;
        Ok(store)
    }

    /// Creates the tables where they are absent.
    ///
    /// # Errors
    ///
    /// The server is away, or the user may not.
    pub async fn create_tables(&self) -> Result<(), Error> {
        let client = (self.quick.dial)(self.quick.config.clone());
        let client = client.await.map_err(Error::store_unavailable)?;
        client.batch_execute(Self::SCHEMA).await.map_err(Error::store_unavailable)
    }

    /// Removes what ended, 10,000 of each kind at most, and says how many. Nothing depends on it but the size
    /// of the tables.
    ///
    /// # Errors
    ///
    /// The server is away.
    pub async fn sweep(&self) -> Result<u64, Error> {
        let challenges = self.quick.execute(|it| &it.sweep_challenges, &[]).await?;
        Ok(challenges + self.quick.execute(|it| &it.sweep_budgets, &[]).await?)
    }
}

impl fmt::Debug for PostgresStore {
    /// The settings may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn insert(&self, challenge: &Challenge, _now: Timestamp) -> Result<Inserted, Error> {
        let id = challenge.id();
        let record = challenge.to_bytes();
        let generation = i64::from(challenge.generation());
        let tries = i16::from(challenge.tries);
        let issued = to_i64(challenge.issued().as_unix_millis());
        let lifetime = i64::from(challenge.lifetime_millis);
        let values: [&(dyn ToSql + Sync); 6] =
            [&&id.as_bytes()[..], &record, &generation, &tries, &issued, &lifetime];
        let created = self.quick.execute(|it| &it.insert, &values).await?;
        Ok(if created == 1 { Inserted::Inserted } else { Inserted::Exists })
    }

    async fn look_up(&self, id: ChallengeId, _now: Timestamp) -> Result<Option<Challenge>, Error> {
        let row = self.quick.query(|it| &it.look_up, &[&&id.as_bytes()[..]]).await?;
        row.map(|row| read(id, &row, 0)).transpose()
    }

    async fn reserve(&self, id: ChallengeId, _now: Timestamp) -> Result<Reserved, Error> {
        let row = self.quick.query(|it| &it.reserve, &[&&id.as_bytes()[..]]).await?;
        let Some(row) = row else { return Ok(Reserved::Unknown) };
        Ok(match column::<i32>(&row, 0)? {
            0 => {
                let number = u32::try_from(column::<i16>(&row, 1)?).unwrap_or(u32::MAX);
                Reserved::Granted { challenge: read(id, &row, 2)?, number }
            }
            1 => Reserved::Exhausted,
            2 => Reserved::Used,
            _ => Reserved::Expired,
        })
    }

    async fn consume(
        &self,
        id: ChallengeId,
        generation: u32,
        _now: Timestamp,
    ) -> Result<bool, Error> {
        let generation = i64::from(generation);
        let values: [&(dyn ToSql + Sync); 2] = [&&id.as_bytes()[..], &generation];
        Ok(self.durable.execute(|it| &it.consume, &values).await? == 1)
    }

    async fn replace(
        &self,
        generation: u32,
        challenge: &Challenge,
        _now: Timestamp,
    ) -> Result<bool, Error> {
        let id = challenge.id();
        let (old, new) = (i64::from(generation), i64::from(challenge.generation()));
        let record = challenge.to_bytes();
        let values: [&(dyn ToSql + Sync); 4] = [&&id.as_bytes()[..], &old, &record, &new];
        Ok(self.quick.execute(|it| &it.replace, &values).await? == 1)
    }

    async fn take(&self, key: &BudgetKey, budget: &Budget, now: Timestamp) -> Result<Taken, Error> {
        let numbers = Numbers::of(key, budget);
        if self.quick.execute(|it| &it.take, &numbers.values()).await? == 1 {
            return Ok(Taken::Taken);
        }
        // How long to wait is no part of the step. By now it may be over.
        match self.look(key, budget, now).await? {
            Taken::Taken => Ok(Taken::RetryAfter(Duration::from_millis(1))),
            refused @ Taken::RetryAfter(_) => Ok(refused),
        }
    }

    async fn look(
        &self,
        key: &BudgetKey,
        budget: &Budget,
        _now: Timestamp,
    ) -> Result<Taken, Error> {
        let numbers = Numbers::of(key, budget);
        let row = self.quick.query(|it| &it.look, &numbers.values()).await?;
        let wait: i64 = row.map_or(Ok(0), |row| column(&row, 0))?;
        Ok(match u64::try_from(wait).unwrap_or_default() {
            0 => Taken::Taken,
            wait => Taken::RetryAfter(Duration::from_millis(wait)),
        })
    }

    async fn give_back(
        &self,
        key: &BudgetKey,
        budget: &Budget,
        refund: Refund,
        _now: Timestamp,
    ) -> Result<(), Error> {
        let (numbers, succeeded) = (Numbers::of(key, budget), refund == Refund::Succeeded);
        let values: Vec<&(dyn ToSql + Sync)> =
            numbers.values().into_iter().chain([&succeeded as &(dyn ToSql + Sync)]).collect();
        self.quick.execute(|it| &it.give_back, &values).await.map(|_| ())
    }
}

/// A budget as the statements take it.
struct Numbers {
    key: String,
    /// Interval and capacity of three rules, then limit and pause of a row.
    numbers: [i64; 8],
}

impl Numbers {
    fn of(key: &BudgetKey, budget: &Budget) -> Self {
        let mut numbers = [0; 8];
        for (pair, rule) in numbers.chunks_exact_mut(2).zip(budget.rules()) {
            pair.copy_from_slice(&[millis(Rule::interval(rule)), millis(rule.capacity())]);
        }
        if let Some(row) = budget.row() {
            numbers[6] = i64::from(row.limit());
            numbers[7] = millis(row.pause());
        }
        Self { key: key.to_string(), numbers }
    }

    fn values(&self) -> [&(dyn ToSql + Sync); 9] {
        let [first, second, third, row] =
            [0, 2, 4, 6].map(|at| (&self.numbers[at], &self.numbers[at + 1]));
        [&self.key, first.0, first.1, second.0, second.1, third.0, third.1, row.0, row.1]
    }
}

type DialFuture = Pin<Box<dyn Future<Output = Result<Client, tokio_postgres::Error>> + Send>>;

type Dial = Arc<dyn Fn(Config) -> DialFuture + Send + Sync>;

/// A few connections with one setting of `synchronous_commit`, used in turn. Each runs one statement after
/// the other; those that wait are sent ahead.
struct Lane {
    config: Config,
    dial: Dial,
    connections: Vec<Connection>,
    next: AtomicUsize,
}

impl Lane {
    fn new(config: &Config, dial: &Dial, synchronous_commit: &str) -> Self {
        let mut config = config.clone();
        let given = config.get_options().unwrap_or_default();
        let options = format!("{given} -c synchronous_commit={synchronous_commit}");
        config.options(options.trim()).application_name("otp-auth").connect_timeout(PATIENCE);
        let connection =
            || Connection { config: config.clone(), dial: dial.clone(), open: Mutex::default() };
        let connections = (0..CONNECTIONS).map(|_| connection()).collect();
        Self { config: config.clone(), dial: dial.clone(), connections, next: AtomicUsize::new(0) }
    }

    async fn query(
        &self,
        statement: impl Fn(&Statements) -> &Statement + Send,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, Error> {
        let open = self.open().await?;
        let row = open.client.query_opt(statement(&open.statements), values);
        in_time(row).await
    }

    async fn execute(
        &self,
        statement: impl Fn(&Statements) -> &Statement + Send,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Error> {
        let open = self.open().await?;
        let count = open.client.execute(statement(&open.statements), values);
        in_time(count).await
    }

    async fn open(&self) -> Result<Arc<Open>, Error> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.connections[turn % CONNECTIONS].open().await
    }
}

struct Connection {
    config: Config,
    dial: Dial,
    open: Mutex<Option<Arc<Open>>>,
}

struct Open {
    client: Client,
    statements: Statements,
}

impl Connection {
    /// The connection, made anew if it broke.
    async fn open(&self) -> Result<Arc<Open>, Error> {
        let mut open = self.open.lock().await;
        if let Some(open) = open.as_ref().filter(|open| !open.client.is_closed()) {
            return Ok(Arc::clone(open));
        }
        let made = async {
            let client = (self.dial)(self.config.clone()).await?;
            let statements = Statements::prepare(&client).await?;
            Ok(Arc::new(Open { client, statements }))
        };
        let made = in_time(made).await?;
        *open = Some(Arc::clone(&made));
        Ok(made)
    }

    /// Whether the server answers. The tables may be absent yet.
    async fn check(&self) -> Result<(), Error> {
        in_time((self.dial)(self.config.clone())).await.map(|_| ())
    }
}

async fn in_time<T>(
    work: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Error> {
    match timeout(PATIENCE, work).await {
        Ok(done) => done.map_err(Error::store_unavailable),
        Err(elapsed) => Err(Error::store_unavailable(elapsed)),
    }
}

/// Record, issued and lifetime, from the column `first` on.
fn read(id: ChallengeId, row: &Row, first: usize) -> Result<Challenge, Error> {
    let record: &[u8] = column(row, first)?;
    let challenge = Challenge::from_bytes(id, record).map_err(Error::store_unavailable)?;
    let issued = u64::try_from(column::<i64>(row, first + 1)?).unwrap_or_default();
    let lifetime = u32::try_from(column::<i64>(row, first + 2)?).unwrap_or_default();
    // A replaced record keeps the beginning of the first.
    let issued = Timestamp::from_unix_millis(issued);
    Ok(Challenge { issued, lifetime_millis: lifetime, ..challenge })
}

fn column<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a Row,
    index: usize,
) -> Result<T, Error> {
    row.try_get(index).map_err(Error::store_unavailable)
}

fn millis(duration: Duration) -> i64 {
    to_i64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Of each lane. Eight backends a node.
const CONNECTIONS: usize = 4;

/// A server that has not answered by then is away.
const PATIENCE: Duration = Duration::from_secs(5);
