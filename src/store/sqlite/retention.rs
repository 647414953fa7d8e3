//! What is forgotten: jobs, outputs, events and checkpoints that are too old or too much, and assets that nothing reads.
//!
//! Rows go first, and the blobs that nothing names any more after them, by the caller: a crash in between leaves blobs without a
//! row, which the collection of orphans finds, and never a row without its blob.

use super::read;
use super::sql::{get, sql};
use super::writer::Tx;
use crate::blob::BlobStore;
use crate::job::TimeMs;
use crate::limits::{IDEMPOTENCY_KEEP_MS, TOMBSTONES_MAX};
use crate::store::{Purged, Retention, StoreError};
use rusqlite::Connection;

/// What a purge may take at the moment ?1, where keys of before ?2 are not needed any more.
macro_rules! may_be_forgotten {
    () => {
        "ended_ms IS NOT NULL AND (idempotency_key IS NULL OR ended_ms <= ?2)
         AND NOT EXISTS (SELECT 1 FROM delivery WHERE delivery.job_seq = job.seq AND delivery.give_up_ms > ?1)"
    };
}

/// Forgets an ended job; the blobs that nothing names any more.
pub(super) fn forget_job(tx: &mut Tx, seq: i64) -> Result<Vec<String>, StoreError> {
    let blobs = sql(
        "SELECT blob FROM output WHERE job_seq = ?1
           AND NOT EXISTS (SELECT 1 FROM output AS other WHERE other.blob = output.blob AND other.job_seq <> ?1)
         UNION SELECT checkpoint FROM task WHERE job_seq = ?1 AND checkpoint IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM task AS other WHERE other.checkpoint = task.checkpoint AND other.job_seq <> ?1)",
    );
    let blobs = tx.rows(blobs.bind(seq))?;
    // Tasks, labels, events and outputs go along: their foreign keys cascade. What is still to be told of it is told.
    tx.run(sql("DELETE FROM job WHERE seq = ?1").bind(seq))?;
    blobs.iter().map(|row| get(row, "blob")).collect()
}

pub(super) fn purge(tx: &mut Tx, retention: Retention) -> Result<Purged, StoreError> {
    let mut purged = Purged::default();
    let limit = i64::from(retention.limit);
    if let Some(age_ms) = retention.jobs_age_ms {
        let old = sql(concat!(
            "SELECT seq FROM job WHERE ended_ms <= ?3 AND ",
            may_be_forgotten!(),
            " ORDER BY ended_ms LIMIT ?4"
        ));
        let now_ms = tx.now_ms;
        let old = old.bind(now_ms).bind(now_ms - IDEMPOTENCY_KEEP_MS).bind(now_ms.saturating_sub(age_ms));
        let rows = tx.rows(old.bind(limit))?;
        for row in &rows {
            purge_job(tx, get(row, "seq")?, &mut purged)?;
        }
        purged.more |= rows.len() as i64 == limit;
    }
    if let Some(bytes_max) = retention.outputs_bytes_max {
        purge_outputs(tx, bytes_max, limit, &mut purged)?;
    }
    if let Some(age_ms) = retention.events_age_ms {
        purge_events(tx, age_ms, limit, &mut purged)?;
    }
    if let Some(bytes_max) = retention.checkpoints_bytes_max {
        purge_checkpoints(tx, bytes_max, limit, &mut purged)?;
    }
    if let Some(age_ms) = retention.tombstones_age_ms {
        let now_ms = tx.now_ms;
        tx.run(sql("DELETE FROM tombstone WHERE purged_ms <= ?1").bind(now_ms.saturating_sub(age_ms)))?;
    }
    let oldest =
        sql("DELETE FROM tombstone WHERE id IN (SELECT id FROM tombstone ORDER BY purged_ms DESC LIMIT -1 OFFSET ?1)");
    tx.run(oldest.bind(TOMBSTONES_MAX))?;
    Ok(purged)
}

fn purge_job(tx: &mut Tx, seq: i64, purged: &mut Purged) -> Result<u64, StoreError> {
    let query = sql(
        "SELECT id, (SELECT coalesce(sum(bytes), 0) FROM output WHERE job_seq = job.seq AND NOT EXISTS (
                        SELECT 1 FROM output AS other WHERE other.blob = output.blob AND other.job_seq <> job.seq)) AS bytes
         FROM job WHERE seq = ?1",
    );
    let row = tx.one(query.bind(seq))?;
    let bytes = read::count_of(&row, "bytes")?;
    let now_ms = tx.now_ms;
    let id: Vec<u8> = get(&row, "id")?;
    tx.run(sql("INSERT OR REPLACE INTO tombstone (id, purged_ms) VALUES (?1, ?2)").bind(id).bind(now_ms))?;
    purged.blobs.extend(forget_job(tx, seq)?);
    // A row whose id went bad is forgotten all the same.
    purged.jobs.extend(read::id_of(&row).ok());
    Ok(bytes)
}

/// Each blob counts once, however many jobs name it. What jobs have finished that have not ended counts nothing: no purge could make
/// room of it, and what has ended would pay for it.
fn purge_outputs(tx: &mut Tx, bytes_max: u64, limit: i64, purged: &mut Purged) -> Result<(), StoreError> {
    let sum = sql(
        "SELECT max(outputs_bytes - (SELECT coalesce(sum(output.bytes), 0)
                                     FROM job INDEXED BY job_begun CROSS JOIN output ON output.job_seq = job.seq
                                     WHERE job.state IN ('queued', 'running') AND job.started_ms IS NOT NULL), 0) AS bytes
         FROM total",
    );
    let mut bytes = read::count_of(&tx.one(sum)?, "bytes")?;
    if bytes <= bytes_max {
        return Ok(());
    }
    let oldest = sql(concat!(
        "SELECT seq FROM job WHERE EXISTS (SELECT 1 FROM output WHERE job_seq = job.seq) AND ",
        may_be_forgotten!(),
        " ORDER BY ended_ms LIMIT ?3"
    ));
    let now_ms = tx.now_ms;
    let rows = tx.rows(oldest.bind(now_ms).bind(now_ms - IDEMPOTENCY_KEEP_MS).bind(limit))?;
    for row in &rows {
        if bytes <= bytes_max {
            break;
        }
        bytes = bytes.saturating_sub(purge_job(tx, get(row, "seq")?, purged)?);
    }
    purged.more |= bytes > bytes_max && rows.len() as i64 == limit;
    Ok(())
}

/// The last event stays, so that numbers go on where they were; so does one that a webhook has still to be told of.
fn purge_events(tx: &mut Tx, age_ms: i64, limit: i64, purged: &mut Purged) -> Result<(), StoreError> {
    let now_ms = tx.now_ms;
    let jobs = sql("SELECT seq FROM job WHERE ended_ms IS NOT NULL AND events_forgotten = 0 AND ended_ms <= ?1
           AND NOT EXISTS (SELECT 1 FROM delivery WHERE delivery.job_seq = job.seq)
         ORDER BY ended_ms LIMIT ?2");
    let rows = tx.rows(jobs.bind(now_ms.saturating_sub(age_ms)).bind(limit))?;
    for row in &rows {
        let delete =
            sql("DELETE FROM event WHERE job_seq = ?1 AND seq < (SELECT max(seq) FROM event WHERE job_seq = ?1)");
        let seq: i64 = get(row, "seq")?;
        purged.events += tx.run(delete.bind(seq))?;
        tx.run(sql("UPDATE job SET events_forgotten = 1 WHERE seq = ?1").bind(seq))?;
    }
    purged.more |= rows.len() as i64 == limit;
    Ok(())
}

fn purge_checkpoints(tx: &mut Tx, bytes_max: u64, limit: i64, purged: &mut Purged) -> Result<(), StoreError> {
    let query = sql(
        "SELECT task.job_seq, task.idx, task.checkpoint, task.checkpoint_bytes FROM task JOIN job ON job.seq = task.job_seq
         WHERE task.checkpoint IS NOT NULL AND job.ended_ms IS NOT NULL ORDER BY job.ended_ms DESC, task.idx DESC",
    );
    let rows = tx.rows(query)?;
    let (mut bytes, mut forgotten) = (0_u64, 0);
    for row in &rows {
        bytes = bytes.saturating_add(read::count_of(row, "checkpoint_bytes")?);
        if bytes <= bytes_max {
            continue;
        }
        if forgotten == limit {
            purged.more = true;
            break;
        }
        let forget = sql("UPDATE task SET checkpoint = NULL, checkpoint_bytes = 0 WHERE job_seq = ?1 AND idx = ?2");
        tx.run(forget.bind(get::<i64>(row, "job_seq")?).bind(get::<i64>(row, "idx")?))?;
        purged.blobs.push(get(row, "checkpoint")?);
        forgotten += 1;
    }
    Ok(())
}

pub(super) fn put_asset(tx: &mut Tx, sha256: String, bytes: u64) -> Result<(), StoreError> {
    let length = i64::try_from(bytes).map_err(|_| StoreError::Other(format!("an asset of {bytes} bytes")))?;
    let now_ms = tx.now_ms;
    let put = sql("INSERT INTO asset (sha256, bytes, created_ms, used_ms) VALUES (?1, ?2, ?3, ?3)
         ON CONFLICT (sha256) DO UPDATE SET used_ms = excluded.used_ms");
    tx.run(put.bind(sha256).bind(length).bind(now_ms)).map(drop)
}

pub(super) fn unreferenced_assets(
    connection: &Connection,
    now_ms: TimeMs,
    unused_ms: i64,
    limit: u32,
) -> Result<Vec<(String, u64)>, StoreError> {
    let rows = sql("SELECT sha256, bytes FROM asset WHERE used_ms <= ?1
           AND NOT EXISTS (SELECT 1 FROM job_asset WHERE job_asset.sha256 = asset.sha256) ORDER BY used_ms LIMIT ?2")
    .bind(now_ms.saturating_sub(unused_ms))
    .bind(limit)
    .all(connection)?;
    rows.iter().map(|row| Ok((get(row, "sha256")?, read::count_of(row, "bytes")?))).collect()
}

pub(super) fn delete_asset(tx: &mut Tx, sha256: String, unused_ms: i64) -> Result<bool, StoreError> {
    let now_ms = tx.now_ms;
    let delete = sql("DELETE FROM asset WHERE sha256 = ?1 AND used_ms <= ?2
           AND NOT EXISTS (SELECT 1 FROM job_asset WHERE job_asset.sha256 = asset.sha256)");
    Ok(tx.run(delete.bind(sha256).bind(now_ms.saturating_sub(unused_ms)))? > 0)
}

pub(super) fn purged(connection: &Connection, id: crate::job::JobId) -> Result<bool, StoreError> {
    let row = sql("SELECT 1 FROM tombstone WHERE id = ?1").bind(id.as_bytes().as_slice()).optional(connection)?;
    Ok(row.is_some())
}

pub(super) fn unnamed(connection: &Connection, keys: &[String]) -> Result<Vec<String>, StoreError> {
    let mut unnamed = Vec::new();
    for key in keys {
        let named =
            sql("SELECT 1 FROM output WHERE blob = ?1 UNION ALL SELECT 1 FROM task WHERE checkpoint = ?1 LIMIT 1");
        if named.bind(key).optional(connection)?.is_none() {
            unnamed.push(key.clone());
        }
    }
    Ok(unnamed)
}

pub(super) fn blob_keys(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let mut keys = Vec::new();
    for (query, asset) in [
        ("SELECT DISTINCT blob AS name FROM output", false),
        ("SELECT DISTINCT checkpoint AS name FROM task WHERE checkpoint IS NOT NULL", false),
        ("SELECT sha256 AS name FROM asset", true),
    ] {
        for row in &sql(query).all(connection)? {
            let name: String = get(row, "name")?;
            keys.push(if asset { BlobStore::asset_key(&name) } else { name });
        }
    }
    Ok(keys)
}
