//! Connections that are made when they are needed, and anew when they broke.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Row, Statement};

use super::statements::Statements;
use crate::error::Error;

type DialFuture = Pin<Box<dyn Future<Output = Result<Client, tokio_postgres::Error>> + Send>>;

pub(super) type Dial = Arc<dyn Fn(Config) -> DialFuture + Send + Sync>;

/// A few connections with one setting of `synchronous_commit`, used in turn. Each runs one statement after
/// the other; those that wait are sent ahead.
pub(super) struct Lane {
    pub(super) config: Config,
    pub(super) dial: Dial,
    pub(super) connections: Vec<Connection>,
    next: AtomicUsize,
}

impl Lane {
    pub(super) fn new(config: &Config, dial: &Dial, synchronous_commit: &str) -> Self {
        let mut config = config.clone();
        let given = config.get_options().unwrap_or_default();
        let options = format!("{given} -c synchronous_commit={synchronous_commit}");
        config.options(options.trim()).application_name("otp-auth").connect_timeout(PATIENCE);
        let connection =
            || Connection { config: config.clone(), dial: dial.clone(), open: Mutex::default() };
        let connections = (0..CONNECTIONS).map(|_| connection()).collect();
        Self { config: config.clone(), dial: dial.clone(), connections, next: AtomicUsize::new(0) }
    }

    pub(super) async fn query(
        &self,
        statement: impl Fn(&Statements) -> &Statement + Send,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, Error> {
        let (connection, open) = self.open().await?;
        let row = open.client.query_opt(statement(&open.statements), values);
        connection.in_time(&open, row).await
    }

    pub(super) async fn execute(
        &self,
        statement: impl Fn(&Statements) -> &Statement + Send,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Error> {
        let (connection, open) = self.open().await?;
        let count = open.client.execute(statement(&open.statements), values);
        connection.in_time(&open, count).await
    }

    async fn open(&self) -> Result<(&Connection, Arc<Open>), Error> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let connection = &self.connections[turn % CONNECTIONS];
        // Who waits for somebody else's dialling waits no longer than for their own.
        let open = timeout(PATIENCE, connection.open()).await.map_err(Error::store_unavailable)?;
        Ok((connection, open?))
    }
}

pub(super) struct Connection {
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

    /// An answer that does not come is unknown, and the connection is not used again: it may be one that nobody
    /// ends and nobody serves.
    async fn in_time<T>(
        &self,
        open: &Arc<Open>,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Error> {
        match timeout(PATIENCE, work).await {
            Ok(done) => done.map_err(Error::store_unavailable),
            Err(elapsed) => {
                // Whoever holds it now is making another.
                if let Ok(mut held) = self.open.try_lock() {
                    held.take_if(|held| Arc::ptr_eq(held, open));
                }
                Err(Error::store_unavailable(elapsed))
            }
        }
    }

    /// Whether the server answers. The tables may be absent yet.
    pub(super) async fn check(&self) -> Result<(), Error> {
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

/// Of each lane. Eight backends a node.
const CONNECTIONS: usize = 4;

/// A server that has not answered by then is away.
const PATIENCE: Duration = Duration::from_secs(5);
