//! Opening the store: the folder, its lock, the schema, the connections.

use super::writer::{Tx, Writer};
use super::{SqliteOptions, failure};
use crate::blob::durable;
use crate::job::TimeMs;
use crate::limits::*;
use crate::store::StoreError;
use sqlx::migrate::{Migrate, MigrateError, Migrator};
use sqlx::sqlite::*;
use sqlx::{ConnectOptions, Row};
use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

static MIGRATIONS: Migrator = sqlx::migrate!("src/store/migrations/sqlite");

/// Milliseconds that a new server waits for the folder: one that is just stopping needs a moment to let go of it.
const LOCK_WAIT_MS: u64 = 2_000;
/// Milliseconds between two tries.
const LOCK_RETRY_MS: u64 = 50;
/// Milliseconds that a statement waits for another program that reads the file with a lock, a backup for example.
const BUSY_MS: u64 = 5_000;
/// Bytes of a database page; SQLite's default.
const PAGE_BYTES: u64 = 4096;

pub(super) async fn open(data_dir: &Path, options: SqliteOptions) -> Result<(Writer, SqlitePool), StoreError> {
    let name = data_dir.display().to_string();
    durable::create_dirs(data_dir).map_err(|error| io_failure(&name, &error))?;
    let lock = lock(data_dir, &name).await?;
    let file = data_dir.join("kiln.sqlite");
    let mut connect = SqliteConnectOptions::new()
        .filename(&file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_millis(options.busy_ms.unwrap_or(BUSY_MS)))
        // On macOS a plain fsync stops at the drive's own cache; elsewhere these change nothing.
        .pragma("fullfsync", "1")
        .pragma("checkpoint_fullfsync", "1")
        // Keeps the log from staying as large as its largest transaction ever was.
        .pragma("journal_size_limit", "16777216")
        // What SQLite keeps for undoing one statement, and for sorting, is small: in memory, not in files that every statement makes.
        .pragma("temp_store", "2")
        .thread_name(|_| "kiln-store".into())
        .disable_statement_logging();
    if let Some(vfs) = options.vfs {
        connect = connect.vfs(vfs);
    }
    let mut connection = connect.connect().await.map_err(|error| opening(&name, error))?;
    check_version(&mut connection).await?;
    MIGRATIONS.run_direct(None, &mut connection, false).await.map_err(|error| migrating(&name, error))?;
    if let Some(bytes_max) = options.bytes_max {
        let pages = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {}", bytes_max / PAGE_BYTES));
        sqlx::query(pages).execute(&mut connection).await.map_err(failure)?;
    }
    sync_dir(data_dir).map_err(|error| io_failure(&name, &error))?;
    let memories = memories(&mut connection).await?;
    let readers = SqlitePoolOptions::new()
        .max_connections(STORE_READERS_MAX)
        // Connections to a local file need no renewal, and no task that looks after it.
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_with(connect.create_if_missing(false).read_only(true))
        .await
        .map_err(|error| opening(&name, error))?;
    let tx = Tx::new(connection, options.clock, memories.now_ms, memories.created_ms_last);
    let writer = Writer::start(tx, lock, memories.claimable_ms, STORE_OPERATIONS_QUEUED_MAX, STORE_EVENTS_BUFFERED_MAX);
    Ok((writer, readers))
}

/// The lock goes away with the file handle, and so with the process, however it ends.
async fn lock(data_dir: &Path, name: &str) -> Result<File, StoreError> {
    let path = data_dir.join("kiln.lock");
    let file = File::options().create(true).truncate(false).write(true).open(path);
    let file = file.map_err(|error| io_failure(name, &error))?;
    for _ in 0..LOCK_WAIT_MS / LOCK_RETRY_MS {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(LOCK_RETRY_MS)).await,
            Err(TryLockError::Error(error)) => return Err(io_failure(name, &error)),
        }
    }
    Err(StoreError::InUse(name.to_owned()))
}

/// Looks before anything is written: an old version must not touch a newer one's file.
async fn check_version(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    connection.ensure_migrations_table("_sqlx_migrations").await.map_err(|error| migrating("", error))?;
    let row = sqlx::query("SELECT coalesce(max(version), 0) AS version FROM _sqlx_migrations")
        .fetch_one(connection)
        .await
        .map_err(failure)?;
    let found: i64 = row.try_get("version").map_err(failure)?;
    let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
    if found > known { Err(StoreError::Newer { found, known }) } else { Ok(()) }
}

/// What the writer must remember of earlier runs.
struct Memories {
    /// What the clock said last.
    now_ms: TimeMs,
    /// The newest `created_ms`.
    created_ms_last: TimeMs,
    /// When tasks that wait become claimable.
    claimable_ms: Vec<TimeMs>,
}

async fn memories(connection: &mut SqliteConnection) -> Result<Memories, StoreError> {
    let row = sqlx::query(
        "SELECT coalesce(max(created_ms), 0) AS created_ms,
                coalesce((SELECT CAST(value AS INTEGER) FROM setting WHERE name = 'clock_ms'), 0) AS now_ms FROM job",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(failure)?;
    let waiting = sqlx::query("SELECT run_at_ms FROM task WHERE state = 'queued' AND blocked = 0 AND run_at_ms > 0")
        .fetch_all(connection)
        .await
        .map_err(failure)?;
    let claimable: Result<Vec<TimeMs>, StoreError> =
        waiting.iter().map(|row| row.try_get("run_at_ms").map_err(failure)).collect();
    Ok(Memories {
        now_ms: row.try_get("now_ms").map_err(failure)?,
        created_ms_last: row.try_get("created_ms").map_err(failure)?,
        claimable_ms: claimable?,
    })
}

fn opening(name: &str, error: sqlx::Error) -> StoreError {
    let cannot_open = matches!(&error, sqlx::Error::Database(database) if database.code().as_deref() == Some("14"));
    match failure(error) {
        StoreError::ReadOnly(_) => StoreError::ReadOnly(name.to_owned()),
        StoreError::Other(_) if cannot_open => StoreError::ReadOnly(name.to_owned()),
        StoreError::Corrupt(what) => StoreError::Corrupt(format!("{name}/kiln.sqlite: {what}")),
        other => other,
    }
}

fn migrating(name: &str, error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => opening(name, error),
        other => StoreError::Other(format!("the store's schema: {other}")),
    }
}

pub(super) fn io_failure(what: &str, error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly(what.to_owned()),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full(what.to_owned()),
        _ => StoreError::Other(format!("{what}: {error}")),
    }
}

/// Makes the names of the new files durable; on Windows the file system's journal does.
fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}
