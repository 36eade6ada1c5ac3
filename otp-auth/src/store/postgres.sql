-- Tables of otp-auth's Postgres store, version 1. All moments are milliseconds since 1970 by the server's
-- clock, but for `issued`, which is a node's. Run as the owner; the login itself needs SELECT, INSERT,
-- UPDATE and DELETE on both tables.

CREATE TABLE IF NOT EXISTS otp_auth_challenges (
    id         bytea    PRIMARY KEY,
    record     bytea    NOT NULL,
    generation bigint   NOT NULL,
    tries      smallint NOT NULL,
    spent      smallint NOT NULL DEFAULT 0,
    issued     bigint   NOT NULL,
    lifetime   bigint   NOT NULL,
    made       bigint   NOT NULL,
    ends       bigint   NOT NULL,
    used       boolean  NOT NULL DEFAULT false
) WITH (fillfactor = 70);

CREATE INDEX IF NOT EXISTS otp_auth_challenges_ends ON otp_auth_challenges (ends);

-- No index on what changes at each try: updates stay on their page.
CREATE TABLE IF NOT EXISTS otp_auth_budgets (
    key      text   PRIMARY KEY COLLATE "C",
    full_1   bigint NOT NULL,
    full_2   bigint NOT NULL,
    full_3   bigint NOT NULL,
    in_a_row bigint NOT NULL,
    last     bigint NOT NULL,
    ends     bigint NOT NULL
) WITH (fillfactor = 50);
