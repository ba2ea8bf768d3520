//! The tables, and how they come to be what this program knows.

use super::{
    link::{BEGIN, COMMIT, Session},
    problem::Problem,
};
use crate::store::StoreError;
use tokio_postgres::{Client, error::SqlState};

/// What this program makes and knows: so many steps.
const VERSION: i32 = 3;
const STEPS: [&str; 3] = [TABLES, VAULT, SNAPSHOTS];

/// Who makes tables waits for others who do: before the transaction begins, since within one it would go on by what it knew of the
/// catalog before it waited. The lock goes with the connection, too.
const TURN: &str = "SET lock_timeout = 0; SELECT pg_advisory_lock(7597125, 0)";
const DONE: &str = "COMMIT; SELECT pg_advisory_unlock(7597125, 0)";

/// One row says where the journal ends; each segment has a table of frames of its own, which goes with it.
const TABLES: &str = "
    CREATE SCHEMA IF NOT EXISTS tollgate;
    CREATE TABLE tollgate.version(id int PRIMARY KEY CHECK (id = 1), version int NOT NULL);
    CREATE TABLE tollgate.head(
        id int PRIMARY KEY CHECK (id = 1), journal bytea NOT NULL, segment bigint NOT NULL, at bigint NOT NULL,
        seq bigint NOT NULL, hash bytea NOT NULL, frame bytea NOT NULL, orders bigint NOT NULL
    ) WITH (fillfactor = 10);
    CREATE TABLE tollgate.segments(
        first bigint PRIMARY KEY, hash bytea NOT NULL, frame bytea NOT NULL, after_damage boolean NOT NULL
    );
    CREATE TABLE tollgate.frames(
        segment bigint NOT NULL, at bigint NOT NULL, body bytea NOT NULL, PRIMARY KEY (segment, at)
    ) PARTITION BY LIST (segment);
    ALTER TABLE tollgate.frames ALTER COLUMN body SET STORAGE EXTERNAL;
    CREATE TABLE tollgate.keys(name text PRIMARY KEY, value bytea NOT NULL);
    CREATE TABLE tollgate.replicas(owner text PRIMARY KEY, beat bigint NOT NULL, seen timestamptz NOT NULL);";

/// One row has the keys of the vault, encrypted, and is what those who write wait for; `until`: when it goes by itself.
const VAULT: &str = "
    CREATE TABLE tollgate.vault_ring(
        id int PRIMARY KEY CHECK (id = 1), current bigint NOT NULL, keys text NOT NULL, versions bigint NOT NULL
    ) WITH (fillfactor = 10);
    CREATE TABLE tollgate.vault_values(
        placeholder text COLLATE \"C\" PRIMARY KEY, scope text COLLATE \"C\" NOT NULL, rule text NOT NULL, detector text NOT NULL,
        json boolean NOT NULL, key bigint NOT NULL, sealed bytea NOT NULL, bytes bigint NOT NULL, used bigint NOT NULL
    );
    CREATE INDEX vault_values_by_scope ON tollgate.vault_values(scope, used);
    CREATE INDEX vault_values_by_use ON tollgate.vault_values(used);
    ALTER TABLE tollgate.vault_values ALTER COLUMN sealed SET STORAGE EXTERNAL;
    CREATE TABLE tollgate.vault_credentials(
        name text COLLATE \"C\" PRIMARY KEY, version bigint NOT NULL, key bigint NOT NULL, sealed bytea NOT NULL, until bigint
    );";

/// By which snapshot each replica decides.
const SNAPSHOTS: &str = "
    ALTER TABLE tollgate.replicas ADD COLUMN snapshot text;";

/// The table of the frames of a segment.
fn table_of(segment: i64) -> String {
    format!("tollgate.frames_{segment:020}")
}

/// Begins a segment: says what it follows, and makes its table.
pub(super) fn begin_segment(segment: i64, hash: &[u8], frame: &[u8]) -> String {
    format!(
        "INSERT INTO tollgate.segments(first, hash, frame, after_damage)
             VALUES ({segment}, '\\x{}', '\\x{}', false); {}",
        hex::encode(hash),
        hex::encode(frame),
        make_table(segment)
    )
}

/// Makes it. Frames are compressed where the server can do so fast: a commit waits for as many bytes fewer. `CREATE TABLE … PARTITION
/// OF` would wait for whoever reads frames, a dump for as long as it takes; attaching a table does not.
pub(super) fn make_table(segment: i64) -> String {
    let table = table_of(segment);
    format!(
        "CREATE TABLE {table} (LIKE tollgate.frames INCLUDING ALL);
         DO $do$ BEGIN
             ALTER TABLE {table} ALTER COLUMN body SET COMPRESSION lz4, ALTER COLUMN body SET STORAGE EXTENDED;
         EXCEPTION WHEN feature_not_supported THEN
             ALTER TABLE {table} ALTER COLUMN body SET STORAGE EXTERNAL;
         END $do$;
         ALTER TABLE tollgate.frames ATTACH PARTITION {table} FOR VALUES IN ({segment});"
    )
}

/// Tables of segments that are no more.
const LEFT: &str = "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'tollgate.frames'::regclass
        AND c.relname::text COLLATE \"C\" < 'frames_' || lpad((SELECT min(first) FROM tollgate.segments)::text, 20, '0')
    ORDER BY 1";

/// Removes the tables of segments that are no more, in the transaction that is open. `false`: some are left, for somebody reads
/// frames, as a dump does. Dropping waits for that, and everybody else for dropping, so it is not waited for.
pub(super) async fn drop_tables(client: &Client) -> Result<bool, tokio_postgres::Error> {
    client.batch_execute("SET LOCAL lock_timeout = '200ms'").await?;
    let mut all = true;
    for row in client.query(LEFT, &[]).await? {
        let table: &str = row.get(0);
        let drop = format!("SAVEPOINT dropping; DROP TABLE IF EXISTS tollgate.{table}; RELEASE dropping");
        match client.batch_execute(&drop).await {
            Ok(()) => {}
            Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
                client.batch_execute("ROLLBACK TO dropping").await?;
                all = false;
                break;
            }
            Err(error) => return Err(error),
        }
    }
    client.batch_execute("SET LOCAL lock_timeout = '4s'").await?;
    Ok(all)
}

/// Tries again what [`drop_tables`] has left, in a transaction of its own.
pub(super) async fn drop_left(session: &Session) -> Result<bool, tokio_postgres::Error> {
    session.client.batch_execute(BEGIN).await?;
    let all = drop_tables(&session.client).await?;
    session.client.batch_execute(COMMIT).await?;
    Ok(all)
}

/// Has the tables there that this program knows.
pub(super) async fn migrate(session: &Session, problem: &Problem) -> Result<(), StoreError> {
    let client = &session.client;
    let failed = |error: tokio_postgres::Error| problem.of(&error);
    if version(session, problem).await? == Some(VERSION) {
        return Ok(());
    }
    client.batch_execute(TURN).await.map_err(failed)?;
    client.batch_execute("BEGIN").await.map_err(failed)?;
    // Whoever was first may have made them meanwhile.
    let there = version(session, problem).await?.unwrap_or(0);
    match STEPS.get(usize::try_from(there).unwrap_or(usize::MAX)..) {
        Some([]) => {}
        Some(steps) => {
            let written = format!(
                "INSERT INTO tollgate.version VALUES (1, {VERSION}) ON CONFLICT (id) DO UPDATE SET version = {VERSION}"
            );
            client.batch_execute(&format!("{}; {written}", steps.join(""))).await.map_err(failed)?;
        }
        None => {
            return Err(problem.says(&format!(
                "its tables are of version {there}, and this Tollgate knows {VERSION}: use the Tollgate that made them, or a newer one"
            )));
        }
    }
    client.batch_execute(DONE).await.map_err(failed)
}

async fn version(session: &Session, problem: &Problem) -> Result<Option<i32>, StoreError> {
    let client = &session.client;
    let there = "SELECT to_regclass('tollgate.version') IS NOT NULL";
    let there: bool = client.query_one(there, &[]).await.map_err(|error| problem.of(&error))?.get(0);
    if !there {
        return Ok(None);
    }
    let version = "SELECT version FROM tollgate.version";
    let row = client.query_opt(version, &[]).await.map_err(|error| problem.of(&error))?;
    Ok(row.map(|row| row.get(0)))
}
