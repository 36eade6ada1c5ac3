//! The store of several nodes: Postgres 12 or later.

mod lane;
mod statements;
mod steps;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Config, NoTls, Socket};

use self::lane::{Dial, Lane};
use self::steps::Steps;
use super::{
    Charge, ChargeKind, Guess, Inserted, Reserved, Store, Tally, accept_in_steps, guess_in_steps,
    tally_in_steps,
};
use crate::challenge::{Challenge, ChallengeId};
use crate::error::Error;
use crate::throttle::{Budget, BudgetKey, Taken};
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
/// What takes several statements (a beginning, a try, a success) goes on to its end when its future is dropped,
/// so that nobody who hangs up leaves a budget taken.
///
/// Nothing is removed by itself: call [`sweep`](Self::sweep) each minute.
pub struct PostgresStore {
    steps: Steps,
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
        let steps = Steps {
            quick: Arc::new(Lane::new(&config, &dial, "off")),
            durable: Arc::new(Lane::new(&config, &dial, "on")),
        };
        steps.quick.connections[0].check().await?;
        Ok(Self { steps })
    }

    /// Creates the tables where they are absent.
    ///
    /// # Errors
    ///
    /// The server is away, or the user may not.
    pub async fn create_tables(&self) -> Result<(), Error> {
        let quick = &self.steps.quick;
        let client = (quick.dial)(quick.config.clone());
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
        let quick = &self.steps.quick;
        let challenges = quick.execute(|it| &it.sweep_challenges, &[]).await?;
        Ok(challenges + quick.execute(|it| &it.sweep_budgets, &[]).await?)
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
    async fn insert(&self, challenge: &Challenge, now: Timestamp) -> Result<Inserted, Error> {
        self.steps.insert(challenge, now).await
    }

    async fn look_up(&self, id: ChallengeId, now: Timestamp) -> Result<Option<Challenge>, Error> {
        self.steps.look_up(id, now).await
    }

    async fn reserve(&self, id: ChallengeId, now: Timestamp) -> Result<Reserved, Error> {
        self.steps.reserve(id, now).await
    }

    async fn consume(
        &self,
        id: ChallengeId,
        generation: u32,
        now: Timestamp,
    ) -> Result<bool, Error> {
        self.steps.consume(id, generation, now).await
    }

    async fn replace(
        &self,
        generation: u32,
        challenge: &Challenge,
        now: Timestamp,
    ) -> Result<bool, Error> {
        self.steps.replace(generation, challenge, now).await
    }

    async fn take(&self, key: &BudgetKey, budget: &Budget, now: Timestamp) -> Result<Taken, Error> {
        self.steps.take(key, budget, now).await
    }

    async fn look(&self, key: &BudgetKey, budget: &Budget, now: Timestamp) -> Result<Taken, Error> {
        self.steps.look(key, budget, now).await
    }

    async fn give_back(
        &self,
        key: &BudgetKey,
        budget: &Budget,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.steps.give_back(key, budget, now).await
    }

    async fn tally(&self, charges: &[Charge<'_>], now: Timestamp) -> Result<Tally, Error> {
        let (steps, charges) = (self.steps.clone(), Owned::of(charges));
        to_the_end(async move { tally_in_steps(&steps, &charges.lent(), now).await }).await
    }

    async fn guess(
        &self,
        charges: &[Charge<'_>],
        id: ChallengeId,
        now: Timestamp,
    ) -> Result<Guess, Error> {
        let (steps, charges) = (self.steps.clone(), Owned::of(charges));
        to_the_end(async move { guess_in_steps(&steps, &charges.lent(), id, now).await }).await
    }

    async fn accept(
        &self,
        charges: &[Charge<'_>],
        id: ChallengeId,
        generation: u32,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let (steps, charges) = (self.steps.clone(), Owned::of(charges));
        let work =
            async move { accept_in_steps(&steps, &charges.lent(), id, generation, now).await };
        to_the_end(work).await
    }
}

/// Goes on when nobody waits for it any more.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    tokio::spawn(work).await.map_err(Error::store_unavailable)?
}

/// Charges that outlive their caller.
struct Owned(Vec<(BudgetKey, Budget, ChargeKind)>);

impl Owned {
    fn of(charges: &[Charge<'_>]) -> Self {
        Self(charges.iter().map(|it| (it.key, it.budget.clone(), it.kind)).collect())
    }

    fn lent(&self) -> Vec<Charge<'_>> {
        let charges = self.0.iter();
        charges.map(|(key, budget, kind)| Charge { key: *key, budget, kind: *kind }).collect()
    }
}
