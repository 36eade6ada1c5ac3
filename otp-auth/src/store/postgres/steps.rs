//! One statement each.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::lane::Lane;
use crate::challenge::{Challenge, ChallengeId};
use crate::error::Error;
use crate::store::{Inserted, Reserved, Store};
use crate::throttle::{Budget, BudgetKey, Rule, Taken};
use crate::timestamp::Timestamp;

/// Every step of a store that is one statement; what joins steps is not for this one.
#[derive(Clone)]
pub(super) struct Steps {
    /// For steps that may be forgotten in a crash.
    pub(super) quick: Arc<Lane>,
    /// For those that must not.
    pub(super) durable: Arc<Lane>,
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steps").finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for Steps {
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
        _now: Timestamp,
    ) -> Result<(), Error> {
        let numbers = Numbers::of(key, budget);
        self.quick.execute(|it| &it.give_back, &numbers.values()).await.map(|_| ())
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
