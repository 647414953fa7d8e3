//! Opening the store: the folder, its lock, the schema, the connections.

use super::readers::Readers;
use super::sql::{get, sql};
use super::writer::{Tx, Writer};
use super::{SqliteOptions, failure};
use crate::blob::durable;
use crate::job::TimeMs;
use crate::limits::*;
use crate::store::StoreError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

/// What makes each version of the schema of the one before it. The file's `user_version` counts those that it has had.
const MIGRATIONS: [&str; 3] = [
    include_str!("../migrations/sqlite/0001_queue.sql"),
    include_str!("../migrations/sqlite/0002_order.sql"),
    include_str!("../migrations/sqlite/0003_outbox.sql"),
];

/// Milliseconds that a new server waits for the folder: one that is just stopping needs a moment to let go of it.
const LOCK_WAIT_MS: u64 = 2_000;
/// Milliseconds between two tries.
const LOCK_RETRY_MS: u64 = 50;
/// Milliseconds that a statement waits for another program that reads the file with a lock, a backup for example.
const BUSY_MS: u64 = 5_000;
/// Statements that a connection keeps prepared; more than there are.
const STATEMENTS_MAX: usize = 512;
/// Bytes of a database page; SQLite's default.
const PAGE_BYTES: u64 = 4096;

pub(super) fn open(data_dir: &Path, options: SqliteOptions) -> Result<(Writer, Readers), StoreError> {
    let name = data_dir.display().to_string();
    durable::create_dirs(data_dir).map_err(|error| io_failure(&name, &error))?;
    let lock = lock(data_dir, &name)?;
    let file = data_dir.join("kiln.sqlite");
    let mut connection = connect(&file, &options, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)
        .map_err(|error| opening(&name, error))?;
    let found = version(&connection).map_err(|error| opening(&name, error))?;
    let known = MIGRATIONS.len() as i64;
    // Looks before anything is written: an old version must not touch a newer one's file.
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    prepare(&connection).map_err(|error| opening(&name, error))?;
    migrate(&mut connection, found).map_err(|error| opening(&name, error))?;
    if let Some(bytes_max) = options.bytes_max {
        let pages = i64::try_from(bytes_max / PAGE_BYTES).unwrap_or(i64::MAX);
        connection.pragma_update(None, "max_page_count", pages).map_err(failure)?;
    }
    durable::sync_dir(data_dir).map_err(|error| io_failure(&name, &error))?;
    let memories = memories(&connection)?;
    let readers = (0..STORE_READERS_MAX).map(|_| connect(&file, &options, OpenFlags::SQLITE_OPEN_READ_ONLY));
    let readers = readers.collect::<Result<_, _>>().map_err(|error| opening(&name, error))?;
    let tx = Tx::new(connection, options.clock, memories.now_ms, memories.created_ms_last);
    let writer = Writer::start(tx, lock, memories.claimable_ms, STORE_OPERATIONS_QUEUED_MAX, STORE_EVENTS_BUFFERED_MAX);
    Ok((writer?, Readers::new(readers)))
}

fn connect(file: &Path, options: &SqliteOptions, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match options.vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(file, flags, vfs)?,
        None => Connection::open_with_flags(file, flags)?,
    };
    connection.busy_timeout(Duration::from_millis(options.busy_ms.unwrap_or(BUSY_MS)))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // Without it SQLite looks at the values of parameters when it plans, and so plans a kept statement again for all new values.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // What SQLite keeps for undoing one statement, and for sorting, is small: in memory, not in files that every statement makes.
    connection.pragma_update(None, "temp_store", "memory")?;
    Ok(connection)
}

/// What the connection that writes needs.
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "PRAGMA journal_mode = wal;
         PRAGMA synchronous = full;
         PRAGMA foreign_keys = on;
         -- On macOS a plain fsync stops at the drive's own cache; elsewhere these change nothing.
         PRAGMA fullfsync = on;
         PRAGMA checkpoint_fullfsync = on;
         -- Keeps the log from staying as large as its largest transaction ever was.
         PRAGMA journal_size_limit = 16777216;",
    )
}

/// The lock goes away with the file handle, and so with the process, however it ends.
fn lock(data_dir: &Path, name: &str) -> Result<File, StoreError> {
    let path = data_dir.join("kiln.lock");
    let file = File::options().create(true).truncate(false).write(true).open(path);
    let file = file.map_err(|error| io_failure(name, &error))?;
    for _ in 0..LOCK_WAIT_MS / LOCK_RETRY_MS {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(LOCK_RETRY_MS)),
            Err(TryLockError::Error(error)) => return Err(io_failure(name, &error)),
        }
    }
    Err(StoreError::InUse(name.to_owned()))
}

/// Migrations that the file has had.
fn version(connection: &Connection) -> rusqlite::Result<i64> {
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    match number("PRAGMA user_version")? {
        // Before there was a release they were counted in a table.
        0 if number("SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'")? > 0 => {
            number("SELECT coalesce(max(version), 0) FROM _sqlx_migrations")
        }
        version => Ok(version),
    }
}

fn migrate(connection: &mut Connection, found: i64) -> rusqlite::Result<()> {
    for (version, migration) in (1_i64..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
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

fn memories(connection: &Connection) -> Result<Memories, StoreError> {
    let row = sql("SELECT coalesce(max(created_ms), 0) AS created_ms,
                coalesce((SELECT CAST(value AS INTEGER) FROM setting WHERE name = 'clock_ms'), 0) AS now_ms FROM job")
    .one(connection)?;
    let waiting =
        sql("SELECT run_at_ms FROM task WHERE state = 'queued' AND blocked = 0 AND run_at_ms > 0").all(connection)?;
    Ok(Memories {
        now_ms: get(&row, "now_ms")?,
        created_ms_last: get(&row, "created_ms")?,
        claimable_ms: waiting.iter().map(|row| get(row, "run_at_ms")).collect::<Result<_, _>>()?,
    })
}

fn opening(name: &str, error: rusqlite::Error) -> StoreError {
    let cannot_open = error.sqlite_error_code() == Some(ErrorCode::CannotOpen);
    match failure(error) {
        StoreError::ReadOnly(_) => StoreError::ReadOnly(name.to_owned()),
        StoreError::Other(_) if cannot_open => StoreError::ReadOnly(name.to_owned()),
        StoreError::Corrupt(what) => StoreError::Corrupt(format!("{name}/kiln.sqlite: {what}")),
        other => other,
    }
}

pub(super) fn io_failure(what: &str, error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly(what.to_owned()),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full(what.to_owned()),
        _ => StoreError::Other(format!("{what}: {error}")),
    }
}
