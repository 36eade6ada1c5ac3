//! The SQL: each statement is one atomic step in a transaction of its own.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, Statement};

/// All statements, prepared on one connection.
pub(super) struct Statements {
    pub(super) insert: Statement,
    pub(super) look_up: Statement,
    pub(super) reserve: Statement,
    pub(super) consume: Statement,
    pub(super) replace: Statement,
    pub(super) take: Statement,
    pub(super) look: Statement,
    pub(super) give_back: Statement,
    pub(super) sweep_challenges: Statement,
    pub(super) sweep_budgets: Statement,
}

impl Statements {
    pub(super) async fn prepare(client: &Client) -> Result<Self, Error> {
        let budget: [Type; 9] = [
            Type::TEXT,
            Type::INT8,
            Type::INT8,
            Type::INT8,
            Type::INT8,
            Type::INT8,
            Type::INT8,
            Type::INT8,
            Type::INT8,
        ];
        let settled = format!("WITH t AS MATERIALIZED ({NOW})");
        let take = format!(
            "{settled} INSERT INTO otp_auth_budgets AS b
                (key, full_1, full_2, full_3, in_a_row, last, ends)
            SELECT $1, t.now + $2, t.now + $4, t.now + $6, least($8, 1), t.now,
                t.now + greatest($2, $4, $6, least($8, 1) * $9)
            FROM t
            ON CONFLICT (key) DO UPDATE SET (full_1, full_2, full_3, in_a_row, last, ends) = (
                SELECT n.f1, n.f2, n.f3, n.in_a_row, n.last,
                    greatest(n.f1, n.f2, n.f3, least(n.in_a_row, 1) * (n.last + $9))
                FROM (
                    SELECT s.f1 + $2 AS f1, s.f2 + $4 AS f2, s.f3 + $6 AS f3,
                        s.in_a_row + least($8, 1) AS in_a_row, s.now AS last
                    FROM (SELECT {SETTLED} FROM t) AS s
                ) AS n
            )
            WHERE (SELECT {WAIT} FROM (SELECT {SETTLED} FROM t) AS s) <= 0"
        );
        let look = format!(
            "{settled} SELECT {WAIT} FROM
                (SELECT {SETTLED} FROM otp_auth_budgets AS b, t WHERE b.key = $1) AS s"
        );
        let give_back = format!(
            "{settled} UPDATE otp_auth_budgets AS b
            SET (full_1, full_2, full_3, in_a_row, last, ends) = (
                SELECT n.f1, n.f2, n.f3, n.in_a_row, n.last,
                    greatest(n.f1, n.f2, n.f3, least(n.in_a_row, 1) * (n.last + $9))
                FROM (
                    SELECT s.f1 - $2 AS f1, s.f2 - $4 AS f2, s.f3 - $6 AS f3,
                        greatest(s.in_a_row - 1, 0) AS in_a_row,
                        s.last AS last
                    FROM (SELECT {SETTLED} FROM t) AS s
                ) AS n
            )
            WHERE b.key = $1"
        );
        Ok(Self {
            insert: client.prepare(&format!("{settled} {INSERT}")).await?,
            look_up: client.prepare(&format!("{settled} {LOOK_UP}")).await?,
            reserve: client.prepare(&format!("{settled}, {RESERVE}")).await?,
            consume: client.prepare(&format!("{settled} {CONSUME}")).await?,
            replace: client.prepare(&format!("{settled} {REPLACE}")).await?,
            take: client.prepare_typed(&take, &budget).await?,
            look: client.prepare_typed(&look, &budget).await?,
            give_back: client.prepare_typed(&give_back, &budget).await?,
            sweep_challenges: client.prepare(&format!("{settled} {SWEEP_CHALLENGES}")).await?,
            sweep_budgets: client.prepare(&format!("{settled} {SWEEP_BUDGETS}")).await?,
        })
    }
}

/// Milliseconds of the server's clock, read once in each statement.
const NOW: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now";

/// Alive: not used, not after its end, and not long before its beginning, which is where a clock that was
/// set back would be.
const INSERT: &str = "
    INSERT INTO otp_auth_challenges (id, record, generation, tries, issued, lifetime, made, ends)
    SELECT $1::bytea, $2::bytea, $3::bigint, $4::smallint, $5::bigint, $6::bigint, t.now, t.now + $6 FROM t
    ON CONFLICT (id) DO NOTHING";

const LOOK_UP: &str = "
    SELECT c.record, c.issued, c.lifetime FROM otp_auth_challenges AS c, t
    WHERE c.id = $1::bytea AND NOT c.used AND c.spent < c.tries
        AND t.now < c.ends AND t.now + 5000 >= c.made";

/// Code 0 granted, 1 exhausted, 2 used, 3 expired; no row for unknown. A waiting update looks at the row
/// again once the one before it is done (read committed), so the count is exact; the reason of a refusal is
/// read from before, and falls back to exhausted.
const RESERVE: &str = "
    granted AS (
        UPDATE otp_auth_challenges AS c SET spent = c.spent + 1 FROM t
        WHERE c.id = $1::bytea AND NOT c.used AND c.spent < c.tries
            AND t.now < c.ends AND t.now + 5000 >= c.made
        RETURNING c.spent, c.record, c.issued, c.lifetime
    )
    SELECT 0 AS code, g.spent, g.record, g.issued, g.lifetime FROM granted AS g
    UNION ALL
    SELECT CASE
            WHEN c.used THEN 2
            WHEN t.now >= c.ends OR t.now + 5000 < c.made THEN 3
            ELSE 1
        END, 0::smallint, ''::bytea, 0, 0
    FROM otp_auth_challenges AS c, t
    WHERE c.id = $1::bytea AND NOT EXISTS (SELECT FROM granted)";

const CONSUME: &str = "
    UPDATE otp_auth_challenges AS c SET used = true FROM t
    WHERE c.id = $1::bytea AND c.generation = $2::bigint AND NOT c.used
        AND t.now < c.ends AND t.now + 5000 >= c.made";

const REPLACE: &str = "
    UPDATE otp_auth_challenges AS c SET record = $3::bytea, generation = $4::bigint FROM t
    WHERE c.id = $1::bytea AND c.generation = $2::bigint AND NOT c.used
        AND t.now < c.ends AND t.now + 5000 >= c.made";

const SWEEP_CHALLENGES: &str = "
    DELETE FROM otp_auth_challenges WHERE id IN (
        SELECT c.id FROM otp_auth_challenges AS c, t
        WHERE c.ends < t.now - 60000 LIMIT 10000 FOR UPDATE OF c SKIP LOCKED)";

const SWEEP_BUDGETS: &str = "
    DELETE FROM otp_auth_budgets WHERE key IN (
        SELECT b.key FROM otp_auth_budgets AS b, t
        WHERE b.ends < t.now LIMIT 10000 FOR UPDATE OF b SKIP LOCKED)";

/// The state of budget `b` as an honest clock would have left it; `throttle/state.rs` says why. `$1` key, then
/// interval and capacity of three rules (zeros for those that are not there), limit and pause of a row.
const SETTLED: &str = "
    least(greatest(b.full_1, t.now), t.now + $3) AS f1,
    least(greatest(b.full_2, t.now), t.now + $5) AS f2,
    least(greatest(b.full_3, t.now), t.now + $7) AS f3,
    CASE WHEN $8 = 0 OR least(b.last, t.now) + $9 <= t.now THEN 0 ELSE b.in_a_row END AS in_a_row,
    least(b.last, t.now) AS last,
    t.now AS now";

/// How long state `s` has nothing to take.
const WAIT: &str = "
    greatest(
        0,
        s.f1 + $2 - s.now - $3,
        s.f2 + $4 - s.now - $5,
        s.f3 + $6 - s.now - $7,
        CASE WHEN $8 > 0 AND s.in_a_row >= $8 THEN s.last + $9 - s.now ELSE 0 END
    )";
