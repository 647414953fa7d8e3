//! What workers change: claim, heartbeat, commit; and the rescue of what they lost. Each runs inside the writer's transaction.
//!
//! A worker holds a task by (state, attempt, fence). Every change here compares all three, so that a worker whose lease was
//! taken away can change nothing (invariant 4).

use super::failure;
use super::operations::known;
use super::read;
use super::writer::Tx;
use crate::job::*;
use crate::limits::*;
use crate::store::{AttemptEnd, Committed, LeaseState, NewOutput, StoreError};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use std::hash::{BuildHasher, Hasher, RandomState};

/// Rows that cannot be read, failed by one claim before it gives way to the other operations that wait.
const CORRUPT_JOBS_FAILED_MAX: usize = 64;

/// A task that is held, and what the store needs to know to end its attempt.
struct Held {
    seq: i64,
    id: JobId,
    task: u32,
    rank: i64,
    attempt: u32,
    attempts_max: u32,
    deaths: u32,
    fence: i64,
    cancel_requested: bool,
}

/// The columns that [`Held::read`] reads.
const SELECT_HELD: &str = "
    SELECT job.seq, job.id, task.idx, task.priority, task.attempt, task.attempts_max, task.deaths, task.fence,
           job.cancel_requested
    FROM task JOIN job ON job.seq = task.job_seq WHERE task.state = 'running' ";

impl Held {
    fn read(row: &SqliteRow) -> Result<Self, StoreError> {
        Ok(Self {
            seq: row.try_get("seq").map_err(failure)?,
            id: read::id_of(row)?,
            task: row.try_get("idx").map_err(failure)?,
            rank: row.try_get("priority").map_err(failure)?,
            attempt: row.try_get("attempt").map_err(failure)?,
            attempts_max: row.try_get("attempts_max").map_err(failure)?,
            deaths: row.try_get("deaths").map_err(failure)?,
            fence: row.try_get("fence").map_err(failure)?,
            cancel_requested: row.try_get("cancel_requested").map_err(failure)?,
        })
    }
}

/// What becomes of a task at the end of an attempt.
enum Next {
    Succeed {
        outputs: Vec<NewOutput>,
        report: serde_json::Value,
    },
    Cancel,
    Fail(Failure),
    /// Back in the queue. `reason` is absent where nothing failed.
    Requeue {
        attempt: u32,
        attempts_max: u32,
        deaths: u32,
        delay_ms: i64,
        reason: Option<FailureReason>,
    },
}

/// Decides about an attempt that a worker ended.
fn after_attempt(held: &Held, end: AttemptEnd) -> Next {
    match end {
        AttemptEnd::Succeeded { outputs, report } => Next::Succeed { outputs, report },
        AttemptEnd::Cancelled => Next::Cancel,
        AttemptEnd::Released if held.cancel_requested => Next::Cancel,
        AttemptEnd::Released => Next::Requeue {
            attempt: held.attempt.saturating_sub(1),
            attempts_max: held.attempts_max,
            deaths: held.deaths,
            delay_ms: 0,
            reason: None,
        },
        AttemptEnd::Failed(failure) => after_failure(held, failure),
    }
}

fn after_failure(held: &Held, failure: Failure) -> Next {
    let deaths = held.deaths + u32::from(failure.reason == FailureReason::WorkerLost);
    if failure.reason.disposition() == Disposition::Fail {
        Next::Fail(failure)
    } else if held.cancel_requested {
        // It would be retried, but nobody wants it any more.
        Next::Cancel
    } else if deaths >= GPU_PROCESS_DEATHS_MAX {
        let message =
            format!("the GPU process died {deaths} times while it ran this job; the last time: {}", failure.message);
        Next::Fail(Failure { reason: FailureReason::Quarantined, message, ..failure })
    } else if held.attempt >= held.attempts_max {
        Next::Fail(failure)
    } else {
        Next::Requeue {
            attempt: held.attempt,
            attempts_max: held.attempts_max,
            deaths,
            delay_ms: retry_delay_ms(held.attempt),
            reason: Some(failure.reason),
        }
    }
}

/// Decides about a task whose worker is gone. That is no sign against the job, so it counts no death.
fn after_loss(held: &Held, restart: bool) -> Next {
    let reason = FailureReason::WorkerLost;
    // A restart of the server says even less: it gives the attempt back, but not without end, for it may be the job that
    // brings the server down.
    let attempts_max = held.attempts_max + u32::from(restart && held.attempt < ATTEMPTS_WITH_RESTARTS_MAX);
    if held.cancel_requested {
        Next::Cancel
    } else if held.attempt >= attempts_max {
        let message = format!("the worker was lost in attempt {}, which was the last one allowed", held.attempt);
        Next::Fail(Failure { reason, message, details: Vec::new() })
    } else {
        let delay_ms = if restart { 0 } else { retry_delay_ms(held.attempt) };
        Next::Requeue { attempt: held.attempt, attempts_max, deaths: held.deaths, delay_ms, reason: Some(reason) }
    }
}

/// Twice as long after each attempt, up to a bound; a random half of it, so that what failed together does not come back
/// together.
fn retry_delay_ms(attempt: u32) -> i64 {
    let longest = (RETRY_DELAY_MS_MIN << attempt.saturating_sub(1).min(16)).min(RETRY_DELAY_MS_MAX);
    let random = RandomState::new().build_hasher().finish();
    longest / 2 + (random % (longest / 2).unsigned_abs()) as i64
}

pub(super) async fn claim(tx: &mut Tx, worker: String, lease_ms: i64) -> Result<Option<Claim>, StoreError> {
    for _ in 0..CORRUPT_JOBS_FAILED_MAX {
        // A `run_at_ms` beyond the longest delay was written before the clock went backwards.
        let row = sqlx::query(
            "SELECT job.seq, job.id, job.client, job.spec, task.idx, task.priority, task.attempt, task.deaths, task.fence
             FROM task JOIN job ON job.seq = task.job_seq
             WHERE task.state = 'queued' AND (task.run_at_ms <= ?1 OR task.run_at_ms > ?2)
             ORDER BY task.priority, task.job_seq, task.idx LIMIT 1",
        )
        .bind(tx.now_ms)
        .bind(tx.now_ms + RETRY_DELAY_MS_MAX)
        .fetch_optional(&mut tx.connection)
        .await
        .map_err(failure)?;
        let Some(row) = row else { return Ok(None) };
        let seq: i64 = row.try_get("seq").map_err(failure)?;
        match claim_of(&row) {
            Ok(claim) => {
                take(tx, seq, &claim, &worker, lease_ms).await?;
                return Ok(Some(claim));
            }
            Err(StoreError::Corrupt(what)) => fail_corrupt(tx, seq, &row, what).await?,
            Err(other) => return Err(other),
        }
    }
    // The rest waits for the next claim, which this makes come soon.
    tx.claimable(tx.now_ms);
    Ok(None)
}

/// The claim as it will be, once [`take`] has made it true.
fn claim_of(row: &SqliteRow) -> Result<Claim, StoreError> {
    let text = row.try_get::<Option<&str>, _>("spec").map_err(|error| StoreError::Corrupt(error.to_string()))?;
    Ok(Claim {
        job: read::id_of(row)?,
        client: row.try_get("client").map_err(failure)?,
        task: row.try_get("idx").map_err(failure)?,
        attempt: row.try_get::<u32, _>("attempt").map_err(failure)? + 1,
        fence: row.try_get::<i64, _>("fence").map_err(failure)? + 1,
        spec: read::json_of(text.unwrap_or(""), "spec")?,
        priority: read::priority_of(row.try_get("priority").map_err(failure)?)?,
        deaths: row.try_get("deaths").map_err(failure)?,
    })
}

async fn take(tx: &mut Tx, seq: i64, claim: &Claim, worker: &str, lease_ms: i64) -> Result<(), StoreError> {
    let changed = sqlx::query(
        "UPDATE task SET state = 'running', attempt = ?3, fence = ?4, owner = ?5, lease_until_ms = ?6, progress = NULL
         WHERE job_seq = ?1 AND idx = ?2 AND state = 'queued' AND attempt = ?3 - 1 AND fence = ?4 - 1",
    )
    .bind(seq)
    .bind(claim.task)
    .bind(claim.attempt)
    .bind(claim.fence)
    .bind(worker)
    .bind(tx.now_ms + lease_ms)
    .execute(&mut tx.connection)
    .await
    .map_err(failure)?;
    if changed.rows_affected() != 1 {
        return Err(StoreError::Other(format!("task {} of job {} changed under its claim", claim.task, claim.job)));
    }
    sqlx::query("UPDATE job SET state = 'running', started_ms = ?2 WHERE seq = ?1 AND state = 'queued'")
        .bind(seq)
        .bind(tx.now_ms)
        .execute(&mut tx.connection)
        .await
        .map_err(failure)?;
    seen(tx, worker).await?;
    tx.event(seq, claim.job, EventKind::Started { attempt: claim.attempt }).await?;
    Ok(())
}

async fn seen(tx: &mut Tx, worker: &str) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO worker (name, first_seen_ms, last_seen_ms) VALUES (?1, ?2, ?2)
         ON CONFLICT (name) DO UPDATE SET last_seen_ms = excluded.last_seen_ms",
    )
    .bind(worker)
    .bind(tx.now_ms)
    .execute(&mut tx.connection)
    .await
    .map(drop)
    .map_err(failure)
}

/// Fails a queued job that cannot be read, so that those behind it can go on.
async fn fail_corrupt(tx: &mut Tx, seq: i64, row: &SqliteRow, what: String) -> Result<(), StoreError> {
    tracing::error!(job.seq = seq, error = what, "a job in the store cannot be read; it is failed");
    let message = format!("the stored job cannot be read ({what}); submit it again");
    let error = Failure { reason: FailureReason::Internal, message, details: Vec::new() };
    sqlx::query("UPDATE task SET state = 'failed' WHERE job_seq = ?1 AND state = 'queued'")
        .bind(seq)
        .execute(&mut tx.connection)
        .await
        .map_err(failure)?;
    sqlx::query("UPDATE job SET state = 'failed', ended_ms = ?2, error = ?3 WHERE seq = ?1 AND state = 'queued'")
        .bind(seq)
        .bind(tx.now_ms)
        .bind(json(&error)?)
        .execute(&mut tx.connection)
        .await
        .map_err(failure)?;
    // Subscribers know a job by its id; without one there is nobody to tell.
    if let Ok(id) = read::id_of(row) {
        let ended = EventKind::Ended { state: JobState::Failed, reason: Some(error.reason) };
        tx.event(seq, id, ended).await?;
    }
    Ok(())
}

pub(super) async fn heartbeat(
    tx: &mut Tx,
    claim: Claim,
    progress: Progress,
    lease_ms: i64,
) -> Result<LeaseState, StoreError> {
    let Some(held) = held(tx, &claim).await? else { return Ok(LeaseState::Lost) };
    let row = sqlx::query(
        "UPDATE task SET lease_until_ms = ?3, progress = ?4 WHERE job_seq = ?1 AND idx = ?2 AND state = 'running'
           AND attempt = ?5 AND fence = ?6 RETURNING owner",
    )
    .bind(held.seq)
    .bind(held.task)
    .bind(tx.now_ms + lease_ms)
    .bind(json(&progress)?)
    .bind(held.attempt)
    .bind(held.fence)
    .fetch_one(&mut tx.connection)
    .await
    .map_err(failure)?;
    let owner: String = row.try_get("owner").map_err(failure)?;
    seen(tx, &owner).await?;
    Ok(if held.cancel_requested { LeaseState::CancelRequested } else { LeaseState::Held })
}

/// The task of a claim, if the claim still holds it.
async fn held(tx: &mut Tx, claim: &Claim) -> Result<Option<Held>, StoreError> {
    let mut query = sqlx::QueryBuilder::new(SELECT_HELD);
    query.push("AND job.id = ").push_bind(claim.job.as_bytes().to_vec());
    query.push(" AND task.idx = ").push_bind(claim.task);
    query.push(" AND task.attempt = ").push_bind(claim.attempt);
    query.push(" AND task.fence = ").push_bind(claim.fence);
    let row = query.build().fetch_optional(&mut tx.connection).await.map_err(failure)?;
    row.as_ref().map(Held::read).transpose()
}

pub(super) async fn commit(tx: &mut Tx, claim: Claim, end: AttemptEnd) -> Result<Committed, StoreError> {
    match held(tx, &claim).await? {
        Some(held) => {
            let next = after_attempt(&held, end);
            end_attempt(tx, &held, next).await?;
            Ok(Committed::Done(known(tx, claim.job).await?.1))
        }
        None => committed_before(tx, &claim, &end).await,
    }
}

/// The same commit again is answered as the first time: a worker whose answer was lost must not believe that its outputs are
/// not wanted, and delete them.
async fn committed_before(tx: &mut Tx, claim: &Claim, end: &AttemptEnd) -> Result<Committed, StoreError> {
    let state = match end {
        AttemptEnd::Succeeded { .. } => JobState::Succeeded,
        AttemptEnd::Cancelled => JobState::Cancelled,
        AttemptEnd::Failed(_) => JobState::Failed,
        AttemptEnd::Released => return Ok(Committed::Stale),
    };
    let row = sqlx::query(
        "SELECT 1 FROM task JOIN job ON job.seq = task.job_seq
         WHERE job.id = ?1 AND task.idx = ?2 AND task.attempt = ?3 AND task.fence = ?4 AND task.state = ?5",
    )
    .bind(claim.job.as_bytes().as_slice())
    .bind(claim.task)
    .bind(claim.attempt)
    .bind(claim.fence)
    .bind(state.as_str())
    .fetch_optional(&mut tx.connection)
    .await
    .map_err(failure)?;
    match row {
        Some(_) => Ok(Committed::Done(known(tx, claim.job).await?.1)),
        None => Ok(Committed::Stale),
    }
}

pub(super) async fn rescue(tx: &mut Tx, all: bool) -> Result<Vec<JobId>, StoreError> {
    let mut query = sqlx::QueryBuilder::new(SELECT_HELD);
    // Without an ORDER BY, which would make SQLite walk all tasks that ever were instead of the index of leases.
    query.push("AND task.lease_until_ms <= ").push_bind(if all { TimeMs::MAX } else { tx.now_ms });
    let rows = query.build().fetch_all(&mut tx.connection).await.map_err(failure)?;
    let mut lost = rows.iter().map(Held::read).collect::<Result<Vec<_>, _>>()?;
    lost.sort_by_key(|held| (held.seq, held.task));
    let mut rescued = Vec::with_capacity(lost.len());
    for held in lost {
        let next = after_loss(&held, all);
        end_attempt(tx, &held, next).await?;
        rescued.push(held.id);
    }
    Ok(rescued)
}

/// Writes what was decided: task, job, outputs and events.
async fn end_attempt(tx: &mut Tx, held: &Held, next: Next) -> Result<(), StoreError> {
    match next {
        Next::Succeed { outputs, report } => {
            let progress = finished_progress(tx, held).await?;
            end_task(tx, held, JobState::Succeeded, progress).await?;
            for (ordinal, new) in outputs.iter().enumerate() {
                output(tx, held, ordinal, new).await?;
            }
            end_job(tx, held, JobState::Succeeded, None, Some(report.to_string())).await?;
            for new in outputs {
                tx.event(held.seq, held.id, EventKind::Output(new.output)).await?;
            }
            ended(tx, held, JobState::Succeeded, None).await
        }
        Next::Cancel => {
            end_task(tx, held, JobState::Cancelled, None).await?;
            end_job(tx, held, JobState::Cancelled, None, None).await?;
            ended(tx, held, JobState::Cancelled, None).await
        }
        Next::Fail(error) => {
            end_task(tx, held, JobState::Failed, None).await?;
            end_job(tx, held, JobState::Failed, Some(json(&error)?), None).await?;
            ended(tx, held, JobState::Failed, Some(error.reason)).await
        }
        Next::Requeue { attempt, attempts_max, deaths, delay_ms, reason } => {
            let run_at_ms = tx.now_ms + delay_ms;
            sqlx::query(
                "UPDATE task SET state = 'queued', owner = NULL, lease_until_ms = NULL, progress = NULL, attempt = ?3,
                        attempts_max = ?4, deaths = ?5, run_at_ms = ?6
                 WHERE job_seq = ?1 AND idx = ?2 AND state = 'running'",
            )
            .bind(held.seq)
            .bind(held.task)
            .bind(attempt)
            .bind(attempts_max)
            .bind(deaths)
            .bind(run_at_ms)
            .execute(&mut tx.connection)
            .await
            .map_err(failure)?;
            sqlx::query("UPDATE job SET state = 'queued' WHERE seq = ?1 AND state = 'running'")
                .bind(held.seq)
                .execute(&mut tx.connection)
                .await
                .map_err(failure)?;
            if let Some(reason) = reason {
                tx.event(held.seq, held.id, EventKind::Retrying { reason, attempt: attempt + 1 }).await?;
            }
            let position = read::tasks_before(&mut tx.connection, held.rank, held.seq).await?;
            tx.event(held.seq, held.id, EventKind::Queued { position }).await?;
            tx.claimable(run_at_ms);
            Ok(())
        }
    }
}

async fn end_task(tx: &mut Tx, held: &Held, to: JobState, progress: Option<String>) -> Result<(), StoreError> {
    assert!(JobState::Running.may_become(to), "a running task does not become {to:?}");
    sqlx::query(
        "UPDATE task SET state = ?3, owner = NULL, lease_until_ms = NULL, progress = coalesce(?4, progress)
         WHERE job_seq = ?1 AND idx = ?2 AND state = 'running'",
    )
    .bind(held.seq)
    .bind(held.task)
    .bind(to.as_str())
    .bind(progress)
    .execute(&mut tx.connection)
    .await
    .map(drop)
    .map_err(failure)
}

async fn end_job(
    tx: &mut Tx,
    held: &Held,
    to: JobState,
    error: Option<String>,
    report: Option<String>,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE job SET state = ?2, ended_ms = ?3, error = ?4, report = ?5, cancel_requested = 0
         WHERE seq = ?1 AND state = 'running'",
    )
    .bind(held.seq)
    .bind(to.as_str())
    .bind(tx.now_ms)
    .bind(error)
    .bind(report)
    .execute(&mut tx.connection)
    .await
    .map(drop)
    .map_err(failure)
}

async fn ended(tx: &mut Tx, held: &Held, state: JobState, reason: Option<FailureReason>) -> Result<(), StoreError> {
    tx.event(held.seq, held.id, EventKind::Ended { state, reason }).await.map(drop)
}

/// The last progress, brought to its end: the last heartbeat before a success may be seconds old.
async fn finished_progress(tx: &mut Tx, held: &Held) -> Result<Option<String>, StoreError> {
    let row = sqlx::query("SELECT progress FROM task WHERE job_seq = ?1 AND idx = ?2")
        .bind(held.seq)
        .bind(held.task)
        .fetch_one(&mut tx.connection)
        .await
        .map_err(failure)?;
    let text: Option<&str> = row.try_get("progress").map_err(failure)?;
    let last: Progress = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let finished = Progress {
        phase: Phase::Encoding,
        fraction: 1.0,
        samples_done: last.samples_total,
        frames_done: last.frames_total,
        ..last
    };
    Ok(Some(json(&finished)?))
}

async fn output(tx: &mut Tx, held: &Held, ordinal: usize, new: &NewOutput) -> Result<(), StoreError> {
    let Output { name, media_type, bytes, sha256 } = &new.output;
    sqlx::query(
        "INSERT INTO output (job_seq, ordinal, name, blob, bytes, sha256, media_type) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )
    .bind(held.seq)
    .bind(ordinal as i64)
    .bind(name)
    .bind(&new.blob)
    .bind(*bytes as i64)
    .bind(sha256)
    .bind(media_type)
    .execute(&mut tx.connection)
    .await
    .map(drop)
    .map_err(failure)
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Other(error.to_string()))
}
