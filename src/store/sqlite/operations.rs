//! What clients change: submit, cancel, retry, delete, log lines, assets. Each runs inside the writer's transaction.

use super::failure;
use super::read;
use super::writer::Tx;
use crate::job::*;
use crate::limits::{ATTEMPTS_MAX, JOB_EVENTS_MAX, JOBS_QUEUED_MAX, LOG_MESSAGE_BYTES_MAX};
use crate::store::{Cancelled, NewJob, StoreError, Submitted};
use sqlx::Row;

pub(super) async fn submit(tx: &mut Tx, new: NewJob) -> Result<Submitted, StoreError> {
    let spec_hash = new.spec.canonical_hash();
    if let Some(answer) = submitted_before(tx, &new, &spec_hash).await? {
        return Ok(answer);
    }
    let queued = queued_with_room(tx).await?;
    let client_id = client(tx, &new.client).await?;
    let rank = read::priority_rank(new.spec.priority());
    let position = if queued == 0 { 0 } else { read::depth(&mut tx.connection, rank).await? };
    tx.created_ms_last = tx.created_ms_last.max(tx.now_ms);
    let (key, request_hash) = new.idempotency.unzip();
    let row = sqlx::query(
        "INSERT INTO job (id, client_id, kind, priority, state, spec, spec_hash, idempotency_key, request_hash, created_ms)
         VALUES (?1, ?2, ?3, ?4, 'queued', ?5, ?6, ?7, ?8, ?9) RETURNING seq",
    )
    .bind(new.id.as_bytes().as_slice())
    .bind(client_id)
    .bind(new.spec.kind())
    .bind(rank)
    .bind(new.spec.canonical_json())
    .bind(spec_hash.as_slice())
    .bind(key)
    .bind(request_hash.map(|hash| hash.to_vec()))
    .bind(tx.created_ms_last)
    .fetch_one(&mut tx.connection)
    .await
    .map_err(failure)?;
    let seq: i64 = row.try_get("seq").map_err(failure)?;
    for (key, value) in new.spec.labels() {
        sqlx::query("INSERT INTO label (job_seq, key, value) VALUES (?1, ?2, ?3)")
            .bind(seq)
            .bind(key)
            .bind(value)
            .execute(&mut tx.connection)
            .await
            .map_err(failure)?;
    }
    sqlx::query("INSERT INTO task (job_seq, idx, priority, state, attempts_max) VALUES (?1, 0, ?2, 'queued', ?3)")
        .bind(seq)
        .bind(rank)
        .bind(ATTEMPTS_MAX)
        .execute(&mut tx.connection)
        .await
        .map_err(failure)?;
    tx.event(seq, new.id, EventKind::Queued { position }).await?;
    tx.claimable(tx.now_ms);
    Ok(Submitted::Created(known(tx, new.id).await?.1))
}

/// The answer where the id or the idempotency key is there already.
async fn submitted_before(tx: &mut Tx, new: &NewJob, spec_hash: &[u8; 32]) -> Result<Option<Submitted>, StoreError> {
    let by_id = sqlx::query(
        "SELECT job.id, job.spec_hash = ?2 AND client.name = ?3 AS same
         FROM job JOIN client ON client.id = job.client_id WHERE job.id = ?1",
    )
    .bind(new.id.as_bytes().as_slice())
    .bind(spec_hash.as_slice())
    .bind(&new.client)
    .fetch_optional(&mut tx.connection)
    .await
    .map_err(failure)?;
    let found = match (by_id, &new.idempotency) {
        (Some(row), _) => Some(row),
        (None, Some((key, request_hash))) => sqlx::query(
            "SELECT job.id, job.request_hash = ?3 AS same FROM job JOIN client ON client.id = job.client_id
             WHERE client.name = ?1 AND job.idempotency_key = ?2",
        )
        .bind(&new.client)
        .bind(key)
        .bind(request_hash.as_slice())
        .fetch_optional(&mut tx.connection)
        .await
        .map_err(failure)?,
        (None, None) => None,
    };
    let Some(row) = found else { return Ok(None) };
    let id = read::id_of(&row)?;
    if row.try_get("same").map_err(failure)? {
        Ok(Some(Submitted::Existing(known(tx, id).await?.1)))
    } else {
        Ok(Some(Submitted::Conflict(id)))
    }
}

/// Queued tasks, if there is room for one more.
async fn queued_with_room(tx: &mut Tx) -> Result<u64, StoreError> {
    let (queued, _) = read::counts(&mut tx.connection).await?;
    if queued >= JOBS_QUEUED_MAX { Err(StoreError::QueueFull(queued)) } else { Ok(queued) }
}

/// The client's row; made when it is seen for the first time.
async fn client(tx: &mut Tx, name: &str) -> Result<i64, StoreError> {
    let found = sqlx::query("SELECT id FROM client WHERE name = ?1")
        .bind(name)
        .fetch_optional(&mut tx.connection)
        .await
        .map_err(failure)?;
    let row = match found {
        Some(row) => row,
        None => sqlx::query("INSERT INTO client (name, created_ms) VALUES (?1, ?2) RETURNING id")
            .bind(name)
            .bind(tx.now_ms)
            .fetch_one(&mut tx.connection)
            .await
            .map_err(failure)?,
    };
    row.try_get("id").map_err(failure)
}

/// A job that must be there, because this transaction has seen it.
pub(super) async fn known(tx: &mut Tx, id: JobId) -> Result<(i64, Job), StoreError> {
    let job = read::job(&mut tx.connection, id).await?;
    job.ok_or_else(|| StoreError::Corrupt(format!("job {id} has lost its client or its task")))
}

pub(super) async fn cancel(tx: &mut Tx, id: JobId) -> Result<Option<Cancelled>, StoreError> {
    let Some((seq, job)) = read::job(&mut tx.connection, id).await? else { return Ok(None) };
    match job.state {
        JobState::Queued => {
            change_queued(tx, seq, job.state, JobState::Cancelled).await?;
            let ended = EventKind::Ended { state: JobState::Cancelled, reason: None };
            tx.event(seq, id, ended).await?;
            Ok(Some(Cancelled::Now(known(tx, id).await?.1)))
        }
        JobState::Running if job.cancel_requested => Ok(Some(Cancelled::Requested(job))),
        JobState::Running => {
            sqlx::query("UPDATE job SET cancel_requested = 1 WHERE seq = ?1 AND state = 'running'")
                .bind(seq)
                .execute(&mut tx.connection)
                .await
                .map_err(failure)?;
            tx.event(seq, id, EventKind::Cancelling).await?;
            Ok(Some(Cancelled::Requested(known(tx, id).await?.1)))
        }
        JobState::Succeeded | JobState::Failed | JobState::Cancelled | JobState::Expired => {
            Ok(Some(Cancelled::AlreadyEnded(job)))
        }
    }
}

/// Ends a job that no worker holds.
async fn change_queued(tx: &mut Tx, seq: i64, from: JobState, to: JobState) -> Result<(), StoreError> {
    assert!(from.may_become(to) && to.is_terminal(), "{from:?} → {to:?} is no transition of a job that ends");
    sqlx::query("UPDATE task SET state = ?3 WHERE job_seq = ?1 AND state = ?2")
        .bind(seq)
        .bind(from.as_str())
        .bind(to.as_str())
        .execute(&mut tx.connection)
        .await
        .map_err(failure)?;
    sqlx::query("UPDATE job SET state = ?3, ended_ms = ?4 WHERE seq = ?1 AND state = ?2")
        .bind(seq)
        .bind(from.as_str())
        .bind(to.as_str())
        .bind(tx.now_ms)
        .execute(&mut tx.connection)
        .await
        .map_err(failure)?;
    Ok(())
}

/// A person's retry: the attempts go on counting, and the job gets as many again as a new one. Its events stay.
pub(super) async fn retry(tx: &mut Tx, id: JobId) -> Result<Option<Result<Job, Job>>, StoreError> {
    let Some((seq, job)) = read::job(&mut tx.connection, id).await? else { return Ok(None) };
    if !job.state.is_terminal() || !job.state.may_become(JobState::Queued) {
        return Ok(Some(Err(job)));
    }
    queued_with_room(tx).await?;
    sqlx::query(
        "UPDATE task SET state = 'queued', attempts_max = attempt + ?3, deaths = 0, progress = NULL, run_at_ms = 0
         WHERE job_seq = ?1 AND state = ?2",
    )
    .bind(seq)
    .bind(job.state.as_str())
    .bind(ATTEMPTS_MAX)
    .execute(&mut tx.connection)
    .await
    .map_err(failure)?;
    sqlx::query(
        "UPDATE job SET state = 'queued', ended_ms = NULL, error = NULL, report = NULL WHERE seq = ?1 AND state = ?2",
    )
    .bind(seq)
    .bind(job.state.as_str())
    .execute(&mut tx.connection)
    .await
    .map_err(failure)?;
    let position = read::tasks_before(&mut tx.connection, read::priority_rank(job.priority), seq).await?;
    tx.event(seq, id, EventKind::Queued { position }).await?;
    tx.claimable(tx.now_ms);
    Ok(Some(Ok(known(tx, id).await?.1)))
}

pub(super) async fn delete(tx: &mut Tx, id: JobId) -> Result<Option<Result<Vec<String>, Job>>, StoreError> {
    // Does not read the whole job: one whose spec cannot be read can still be deleted.
    let row = sqlx::query("SELECT seq, state FROM job WHERE id = ?1")
        .bind(id.as_bytes().as_slice())
        .fetch_optional(&mut tx.connection)
        .await
        .map_err(failure)?;
    let Some(row) = row else { return Ok(None) };
    let seq: i64 = row.try_get("seq").map_err(failure)?;
    if !read::state_of(row.try_get("state").map_err(failure)?)?.is_terminal() {
        return Ok(Some(Err(known(tx, id).await?.1)));
    }
    let blobs = sqlx::query(
        "SELECT blob FROM output WHERE job_seq = ?1
           AND NOT EXISTS (SELECT 1 FROM output AS other WHERE other.blob = output.blob AND other.job_seq <> ?1)",
    )
    .bind(seq)
    .fetch_all(&mut tx.connection)
    .await
    .map_err(failure)?;
    // Tasks, labels, events, outputs and deliveries go along: their foreign keys cascade.
    sqlx::query("DELETE FROM job WHERE seq = ?1").bind(seq).execute(&mut tx.connection).await.map_err(failure)?;
    let keys: Result<Vec<String>, StoreError> = blobs.iter().map(|row| row.try_get("blob").map_err(failure)).collect();
    Ok(Some(Ok(keys?)))
}

pub(super) async fn log(tx: &mut Tx, id: JobId, mut message: String) -> Result<Event, StoreError> {
    let row = sqlx::query(
        "SELECT seq, (SELECT coalesce(max(event.seq), 0) FROM event WHERE event.job_seq = job.seq) AS events
         FROM job WHERE id = ?1",
    )
    .bind(id.as_bytes().as_slice())
    .fetch_optional(&mut tx.connection)
    .await
    .map_err(failure)?;
    let row = row.ok_or(StoreError::NoJob(id))?;
    let events: i64 = row.try_get("events").map_err(failure)?;
    if events >= JOB_EVENTS_MAX {
        return Err(StoreError::Other(format!("job {id} has {events} events; further log lines are dropped")));
    }
    if message.len() > LOG_MESSAGE_BYTES_MAX {
        let end = (0..=LOG_MESSAGE_BYTES_MAX).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
        message.truncate(end);
        message.push('…');
    }
    tx.event(row.try_get("seq").map_err(failure)?, id, EventKind::Log { message }).await
}

pub(super) async fn put_asset(tx: &mut Tx, sha256: String, bytes: u64) -> Result<(), StoreError> {
    let length = i64::try_from(bytes).map_err(|_| StoreError::Other(format!("an asset of {bytes} bytes")))?;
    sqlx::query("INSERT INTO asset (sha256, bytes, created_ms) VALUES (?1, ?2, ?3) ON CONFLICT (sha256) DO NOTHING")
        .bind(sha256)
        .bind(length)
        .bind(tx.now_ms)
        .execute(&mut tx.connection)
        .await
        .map(drop)
        .map_err(failure)
}
