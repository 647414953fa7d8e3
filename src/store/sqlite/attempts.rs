//! What workers change: claim, heartbeat, commit; and the rescue of what they lost. Each runs inside the writer's transaction.
//!
//! A worker holds a task by (state, attempt, fence). Every change here compares all three, so that a worker whose lease was
//! taken away can change nothing (invariant 4).

use super::ends::{self, end_job};
use super::order::{self, Candidate, virtual_part};
use super::submit::known;
use super::writer::Tx;
use super::{get, json, read};
use crate::job::*;
use crate::limits::*;
use crate::store::{AttemptEnd, Checkpointed, ClaimWant, Committed, LeaseState, NewOutput, OutputRecorded, StoreError};
use sqlx::sqlite::SqliteRow;
use std::hash::{BuildHasher, Hasher, RandomState};

/// Rows that cannot be read, failed by one claim before it gives way to the other operations that wait.
const CORRUPT_JOBS_FAILED_MAX: usize = 64;

/// A task that is held, and what the store needs to know to end its attempt.
struct Held {
    seq: i64,
    id: JobId,
    task: u32,
    kind: TaskKind,
    frames: i64,
    rank: i64,
    client_id: i64,
    attempt: u32,
    attempts_max: u32,
    deaths: u32,
    fence: i64,
    cancel_requested: bool,
    checkpoint: Option<String>,
    progress: Option<String>,
    /// See the columns of the same names.
    vcost: i64,
    cost_us: i64,
    left_us: i64,
    attempt_us: i64,
    waited_since_ms: Option<TimeMs>,
}

/// The columns that [`Held::read`] reads.
const SELECT_HELD: &str = "
    SELECT job.seq, job.id, job.cancel_requested, task.idx, task.kind, task.last_frame - task.first_frame + 1 AS frames,
           task.priority, task.client_id, task.attempt, task.attempts_max, task.deaths, task.fence, task.checkpoint, task.progress,
           task.vcost, task.cost_us, task.left_us, task.attempt_us, task.waited_since_ms
    FROM task JOIN job ON job.seq = task.job_seq WHERE task.state = 'running' ";

impl Held {
    fn read(row: &SqliteRow) -> Result<Self, StoreError> {
        Ok(Self {
            seq: get(row, "seq")?,
            id: read::id_of(row)?,
            task: get(row, "idx")?,
            kind: kind_of(row)?,
            frames: get(row, "frames")?,
            rank: get(row, "priority")?,
            client_id: get(row, "client_id")?,
            attempt: get(row, "attempt")?,
            attempts_max: get(row, "attempts_max")?,
            deaths: get(row, "deaths")?,
            fence: get(row, "fence")?,
            cancel_requested: get(row, "cancel_requested")?,
            checkpoint: get(row, "checkpoint")?,
            progress: get(row, "progress")?,
            vcost: get(row, "vcost")?,
            cost_us: get(row, "cost_us")?,
            left_us: get(row, "left_us")?,
            attempt_us: get(row, "attempt_us")?,
            waited_since_ms: get(row, "waited_since_ms")?,
        })
    }
}

fn kind_of(row: &SqliteRow) -> Result<TaskKind, StoreError> {
    let word: &str = get(row, "kind")?;
    TaskKind::parse(word).ok_or_else(|| StoreError::Corrupt(format!("found the task kind {word:?}, which is none")))
}

/// What becomes of a task at the end of an attempt.
enum Next {
    Succeed {
        outputs: Vec<NewOutput>,
        report: serde_json::Value,
    },
    Cancel,
    Fail(Failure),
    /// Back in the queue.
    Requeue {
        attempt: u32,
        attempts_max: u32,
        deaths: u32,
        delay_ms: i64,
        why: Why,
    },
}

/// Why a task goes back into the queue.
enum Why {
    /// The attempt was lost to a fault of the machine.
    Fault(FailureReason),
    /// It was put back without a fault.
    Released,
    /// It was put aside for a more urgent task.
    Preempted(Option<String>),
}

/// Decides about an attempt that a worker ended.
fn after_attempt(held: &Held, end: AttemptEnd) -> Next {
    match end {
        AttemptEnd::Succeeded { outputs, report } => Next::Succeed { outputs, report },
        AttemptEnd::Cancelled => Next::Cancel,
        AttemptEnd::Released | AttemptEnd::Preempted { .. } if held.cancel_requested => Next::Cancel,
        AttemptEnd::Released => put_back(held, Why::Released),
        AttemptEnd::Preempted { checkpoint } => put_back(held, Why::Preempted(checkpoint)),
        AttemptEnd::Failed(failure) => after_failure(held, failure),
    }
}

/// The attempt does not count.
fn put_back(held: &Held, why: Why) -> Next {
    Next::Requeue {
        attempt: held.attempt.saturating_sub(1),
        attempts_max: held.attempts_max,
        deaths: held.deaths,
        delay_ms: 0,
        why,
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
            why: Why::Fault(failure.reason),
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
        Next::Requeue { attempt: held.attempt, attempts_max, deaths: held.deaths, delay_ms, why: Why::Fault(reason) }
    }
}

/// Twice as long after each attempt, up to a bound; a random half of it, so that what failed together does not come back
/// together.
fn retry_delay_ms(attempt: u32) -> i64 {
    let longest = (RETRY_DELAY_MS_MIN << attempt.saturating_sub(1).min(16)).min(RETRY_DELAY_MS_MAX);
    let random = RandomState::new().build_hasher().finish();
    longest / 2 + (random % (longest / 2).unsigned_abs()) as i64
}

pub(super) async fn claim(
    tx: &mut Tx,
    worker: String,
    lease_ms: i64,
    want: ClaimWant,
) -> Result<Option<Claim>, StoreError> {
    for _ in 0..CORRUPT_JOBS_FAILED_MAX {
        let Some(chosen) = order::choose(tx, &want).await? else { return Ok(None) };
        let query = sqlx::query(
            "SELECT job.id, client.name AS client, job.spec, job.started_ms IS NULL AND job.start_before_ms <= ?3 AS too_late, job.fence AS last_fence,
                    task.idx, task.first_frame, task.last_frame, task.kind, task.attempt, task.deaths, task.fence, task.checkpoint,
                    task.vcost, task.cost_us, task.left_us
             FROM task JOIN job ON job.seq = task.job_seq JOIN client ON client.id = job.client_id
             WHERE task.job_seq = ?1 AND task.idx = ?2",
        );
        let now_ms = tx.now_ms;
        let row = tx.one(query.bind(chosen.seq).bind(chosen.task).bind(now_ms)).await?;
        if get::<Option<bool>>(&row, "too_late")?.unwrap_or(false) {
            ends::expire(tx, chosen.seq, read::id_of(&row).ok()).await?;
            continue;
        }
        match claim_of(&row, &chosen) {
            Ok(claim) => {
                take(tx, &row, &chosen, &claim, &worker, lease_ms).await?;
                return Ok(Some(claim));
            }
            Err(StoreError::Corrupt(what)) => fail_corrupt(tx, chosen.seq, &row, what).await?,
            Err(other) => return Err(other),
        }
    }
    // The rest waits for the next claim, which this makes come soon.
    let now_ms = tx.now_ms;
    tx.claimable(now_ms);
    Ok(None)
}

/// The claim as it will be, once [`take`] has made it true.
fn claim_of(row: &SqliteRow, chosen: &Candidate) -> Result<Claim, StoreError> {
    let spec: Option<&str> = get(row, "spec")?;
    Ok(Claim {
        job: read::id_of(row)?,
        client: get(row, "client")?,
        task: get(row, "idx")?,
        first_frame: get(row, "first_frame")?,
        last_frame: get(row, "last_frame")?,
        kind: kind_of(row)?,
        attempt: get::<u32>(row, "attempt")? + 1,
        fence: get::<i64>(row, "last_fence")? + 1,
        spec: read::json_of(spec.unwrap_or(""), "spec")?,
        priority: read::priority_of(chosen.rank_lifted)?,
        deaths: get(row, "deaths")?,
        checkpoint: get(row, "checkpoint")?,
    })
}

async fn take(
    tx: &mut Tx,
    row: &SqliteRow,
    chosen: &Candidate,
    claim: &Claim,
    worker: &str,
    lease_ms: i64,
) -> Result<(), StoreError> {
    let now_ms = tx.now_ms;
    let taken = sqlx::query(
        "UPDATE task SET state = 'running', attempt = ?3, fence = ?4, owner = ?5, lease_until_ms = ?6, progress = NULL,
                attempt_us = 0, advanced_ms = ?7, waited_since_ms = (SELECT waiting_since_ms FROM class WHERE class.priority = task.priority)
         WHERE job_seq = ?1 AND idx = ?2 AND state = 'queued' AND attempt = ?3 - 1 AND fence = ?8",
    )
    .bind(chosen.seq)
    .bind(claim.task)
    .bind(claim.attempt)
    .bind(claim.fence)
    .bind(worker)
    .bind(now_ms + lease_ms)
    .bind(now_ms)
    .bind(get::<i64>(row, "fence")?);
    if tx.run(taken).await? != 1 {
        return Err(StoreError::Other(format!("task {} of job {} changed under its claim", claim.task, claim.job)));
    }
    let job = sqlx::query(
        "UPDATE job SET state = 'running', started_ms = ?2, attempt = max(attempt, ?3), fence = ?4
         WHERE seq = ?1 AND state IN ('queued', 'running')",
    );
    tx.run(job.bind(chosen.seq).bind(now_ms).bind(claim.attempt).bind(claim.fence)).await?;
    let (left_us, cost_us, vcost) = (get(row, "left_us")?, get(row, "cost_us")?, get(row, "vcost")?);
    order::charge(tx, chosen, virtual_part(left_us, cost_us, vcost)).await?;
    seen(tx, worker).await?;
    tx.event(chosen.seq, claim.job, EventKind::Started { attempt: claim.attempt }).await.map(drop)
}

async fn seen(tx: &mut Tx, worker: &str) -> Result<(), StoreError> {
    let now_ms = tx.now_ms;
    let seen = sqlx::query(
        "INSERT INTO worker (name, first_seen_ms, last_seen_ms) VALUES (?1, ?2, ?2)
         ON CONFLICT (name) DO UPDATE SET last_seen_ms = excluded.last_seen_ms",
    );
    tx.run(seen.bind(worker).bind(now_ms)).await.map(drop)
}

/// Fails a queued job that cannot be read, so that those behind it can go on.
async fn fail_corrupt(tx: &mut Tx, seq: i64, row: &SqliteRow, what: String) -> Result<(), StoreError> {
    tracing::error!(job.seq = seq, error = what, "a job in the store cannot be read; it is failed");
    let message = format!("the stored job cannot be read ({what}); submit it again");
    let error = Failure { reason: FailureReason::Internal, message, details: Vec::new() };
    end_job(tx, seq, read::id_of(row).ok(), JobState::Failed, Some(error)).await
}

pub(super) async fn heartbeat(
    tx: &mut Tx,
    claim: Claim,
    progress: Progress,
    lease_ms: i64,
) -> Result<LeaseState, StoreError> {
    let Some(held) = held(tx, &claim).await? else { return Ok(LeaseState::Lost) };
    let now_ms = tx.now_ms;
    let renewed = sqlx::query(
        "UPDATE task SET lease_until_ms = ?3, progress = ?4, attempt_us = max(attempt_us, ?7),
                advanced_ms = iif(?7 > attempt_us, ?8, advanced_ms)
         WHERE job_seq = ?1 AND idx = ?2 AND state = 'running' AND attempt = ?5 AND fence = ?6 RETURNING owner",
    )
    .bind(held.seq)
    .bind(held.task)
    .bind(now_ms + lease_ms)
    .bind(json(&progress)?)
    .bind(held.attempt)
    .bind(held.fence)
    .bind(microseconds(progress.gpu_seconds))
    .bind(now_ms);
    let owner: String = get(&tx.one(renewed).await?, "owner")?;
    seen(tx, &owner).await?;
    Ok(if held.cancel_requested { LeaseState::CancelRequested } else { LeaseState::Held })
}

/// What a worker says that it used, which may be any number.
fn microseconds(seconds: f64) -> i64 {
    if seconds.is_finite() { (seconds.clamp(0.0, JOB_COST_SECONDS_MAX) * 1e6) as i64 } else { 0 }
}

pub(super) async fn checkpoint(tx: &mut Tx, claim: Claim, key: String, bytes: u64) -> Result<Checkpointed, StoreError> {
    let Some(held) = held(tx, &claim).await? else { return Ok(Checkpointed::Stale) };
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    let record = sqlx::query("UPDATE task SET checkpoint = ?3, checkpoint_bytes = ?4 WHERE job_seq = ?1 AND idx = ?2");
    tx.run(record.bind(held.seq).bind(held.task).bind(&key).bind(bytes)).await?;
    Ok(Checkpointed::Recorded { replaced: held.checkpoint.filter(|replaced| *replaced != key) })
}

pub(super) async fn early_output(
    tx: &mut Tx,
    claim: Claim,
    index: u32,
    new: NewOutput,
) -> Result<OutputRecorded, StoreError> {
    let Some(held) = held(tx, &claim).await? else { return Ok(OutputRecorded::Stale) };
    let replaced = output(tx, &held, index as usize, &new).await?;
    Ok(OutputRecorded::Done { replaced: replaced.unwrap_or_default() })
}

pub(super) async fn preempted(tx: &mut Tx, claim: Claim) -> Result<(), StoreError> {
    if let Some(held) = held(tx, &claim).await? {
        tx.event(held.seq, claim.job, EventKind::Preempted).await?;
    }
    Ok(())
}

/// The task of a claim, if the claim still holds it.
async fn held(tx: &mut Tx, claim: &Claim) -> Result<Option<Held>, StoreError> {
    let mut query = sqlx::QueryBuilder::new(SELECT_HELD);
    query.push("AND job.id = ").push_bind(claim.job.as_bytes().to_vec());
    query.push(" AND task.idx = ").push_bind(claim.task);
    query.push(" AND task.attempt = ").push_bind(claim.attempt);
    query.push(" AND task.fence = ").push_bind(claim.fence);
    tx.row(query.build()).await?.as_ref().map(Held::read).transpose()
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
        AttemptEnd::Released | AttemptEnd::Preempted { .. } => return Ok(Committed::Stale),
    };
    let query = sqlx::query(
        "SELECT 1 FROM task JOIN job ON job.seq = task.job_seq
         WHERE job.id = ?1 AND task.idx = ?2 AND task.attempt = ?3 AND task.fence = ?4 AND task.state = ?5",
    );
    let query = query.bind(claim.job.as_bytes().as_slice()).bind(claim.task).bind(claim.attempt);
    match tx.row(query.bind(claim.fence).bind(state.as_str())).await? {
        Some(_) => Ok(Committed::Done(known(tx, claim.job).await?.1)),
        None => Ok(Committed::Stale),
    }
}

pub(super) async fn rescue(tx: &mut Tx, all: bool) -> Result<Vec<JobId>, StoreError> {
    let mut query = sqlx::QueryBuilder::new(SELECT_HELD);
    // Without an ORDER BY, which would make SQLite walk all tasks that ever were instead of the index of leases.
    query.push("AND task.lease_until_ms <= ").push_bind(if all { TimeMs::MAX } else { tx.now_ms });
    let rows = tx.rows(query.build()).await?;
    let mut lost = rows.iter().map(Held::read).collect::<Result<Vec<_>, _>>()?;
    lost.sort_by_key(|held| (held.seq, held.task));
    let mut rescued: Vec<JobId> = Vec::with_capacity(lost.len());
    for held in lost {
        // Another task of the same job may have ended it just now.
        let running = sqlx::query("SELECT 1 FROM task WHERE job_seq = ?1 AND idx = ?2 AND state = 'running'");
        if tx.row(running.bind(held.seq).bind(held.task)).await?.is_some() {
            let next = after_loss(&held, all);
            end_attempt(tx, &held, next).await?;
        }
        if rescued.last() != Some(&held.id) {
            rescued.push(held.id);
        }
    }
    Ok(rescued)
}

/// Writes what was decided: task, job, outputs and events.
async fn end_attempt(tx: &mut Tx, held: &Held, next: Next) -> Result<(), StoreError> {
    let used_us = match &next {
        // A worker that does not measure is taken at the estimate.
        Next::Succeed { .. } if held.attempt_us == 0 => held.left_us,
        Next::Succeed { .. } | Next::Cancel | Next::Fail(_) | Next::Requeue { .. } => held.attempt_us,
    };
    correct(tx, held, used_us).await?;
    match next {
        Next::Succeed { outputs, report } => succeed(tx, held, outputs, report).await,
        Next::Cancel => {
            end_task(tx, held, JobState::Cancelled, None).await?;
            settle(tx, held, true).await
        }
        Next::Fail(error) => {
            end_task(tx, held, JobState::Failed, None).await?;
            end_job(tx, held.seq, Some(held.id), JobState::Failed, Some(error)).await
        }
        Next::Requeue { attempt, attempts_max, deaths, delay_ms, why } => {
            let run_at_ms = tx.now_ms + delay_ms;
            let checkpoint = match &why {
                Why::Preempted(Some(key)) => Some(key.clone()),
                Why::Fault(_) | Why::Released | Why::Preempted(None) => held.checkpoint.clone(),
            };
            requeue(tx, held, [attempt, attempts_max, deaths], run_at_ms, checkpoint, used_us).await?;
            match &why {
                Why::Fault(reason) => {
                    let retrying = EventKind::Retrying { reason: *reason, attempt: attempt + 1 };
                    tx.event(held.seq, held.id, retrying).await?;
                }
                Why::Preempted(_) => {
                    tx.event(held.seq, held.id, EventKind::Preempted).await?;
                }
                Why::Released => {}
            }
            tx.ready(held.rank, run_at_ms).await?;
            if let (Why::Preempted(_), Some(since)) = (&why, held.waited_since_ms) {
                // It was claimed, but did not get to its end: its class goes on waiting.
                let waits =
                    sqlx::query("UPDATE class SET waiting_since_ms = min(waiting_since_ms, ?2) WHERE priority = ?1");
                tx.run(waits.bind(held.rank).bind(since)).await?;
            }
            settle(tx, held, false).await
        }
    }
}

/// Replaces the estimate that the client was charged by what the attempt used, and adds that to the job.
async fn correct(tx: &mut Tx, held: &Held, used_us: i64) -> Result<(), StoreError> {
    let charged = virtual_part(held.left_us, held.cost_us, held.vcost);
    let used = virtual_part(used_us, held.cost_us, held.vcost);
    let flow = sqlx::query(
        "UPDATE flow SET vfinish = max(vfinish + ?3, min(vfinish, vfloor)) WHERE priority = ?1 AND client_id = ?2",
    );
    tx.run(flow.bind(held.rank).bind(held.client_id).bind(used - charged)).await?;
    let job = sqlx::query("UPDATE job SET gpu_us = gpu_us + ?2 WHERE seq = ?1");
    tx.run(job.bind(held.seq).bind(held.attempt_us)).await.map(drop)
}

async fn requeue(
    tx: &mut Tx,
    held: &Held,
    [attempt, attempts_max, deaths]: [u32; 3],
    run_at_ms: TimeMs,
    checkpoint: Option<String>,
    used_us: i64,
) -> Result<(), StoreError> {
    // With a checkpoint the rest is to be done, of which something is always left; without one, all of it.
    let left_us = match &checkpoint {
        Some(_) => (held.left_us - used_us).max(held.cost_us / 100).max(1),
        None => held.cost_us,
    };
    let kept = checkpoint.as_ref().and(held.progress.as_ref());
    let task = sqlx::query(
        "UPDATE task SET state = 'queued', owner = NULL, lease_until_ms = NULL, progress = ?9, attempt = ?3, attempts_max = ?4,
                deaths = ?5, run_at_ms = ?6, left_us = ?7, checkpoint = ?8, attempt_us = 0
         WHERE job_seq = ?1 AND idx = ?2 AND state = 'running'",
    )
    .bind(held.seq)
    .bind(held.task)
    .bind(attempt)
    .bind(attempts_max)
    .bind(deaths)
    .bind(run_at_ms)
    .bind(left_us)
    .bind(&checkpoint)
    .bind(kept);
    tx.run(task).await?;
    let job = sqlx::query(
        "UPDATE job SET attempt = (SELECT max(attempt) FROM task WHERE job_seq = ?1), progress = ?2 WHERE seq = ?1",
    );
    tx.run(job.bind(held.seq).bind(kept)).await.map(drop)
}

async fn succeed(
    tx: &mut Tx,
    held: &Held,
    outputs: Vec<NewOutput>,
    report: serde_json::Value,
) -> Result<(), StoreError> {
    let progress = finished_progress(held)?;
    end_task(tx, held, JobState::Succeeded, Some(&progress)).await?;
    let units = match held.kind {
        TaskKind::Frames => held.frames,
        TaskKind::Assemble => 1,
    };
    // A job of several tasks shows the report of its first one.
    let job = sqlx::query(
        "UPDATE job SET tasks_succeeded = tasks_succeeded + 1, units_succeeded = min(units_succeeded + ?2, units), progress = ?3,
                report = iif(report IS NULL OR ?4 = 0, ?5, report) WHERE seq = ?1",
    );
    tx.run(job.bind(held.seq).bind(units).bind(progress).bind(held.task).bind(report.to_string())).await?;
    for (ordinal, new) in outputs.iter().enumerate() {
        output(tx, held, ordinal, new).await?;
    }
    settle(tx, held, false).await
}

async fn end_task(tx: &mut Tx, held: &Held, to: JobState, progress: Option<&str>) -> Result<(), StoreError> {
    assert!(JobState::Running.may_become(to), "a running task does not become {to:?}");
    let end = sqlx::query(
        "UPDATE task SET state = ?3, owner = NULL, lease_until_ms = NULL, progress = coalesce(?4, progress)
         WHERE job_seq = ?1 AND idx = ?2 AND state = 'running'",
    );
    tx.run(end.bind(held.seq).bind(held.task).bind(to.as_str()).bind(progress)).await.map(drop)
}

/// What becomes of the job now that one of its tasks is no longer held. `cancelled`: the worker let go of it for a cancel.
async fn settle(tx: &mut Tx, held: &Held, cancelled: bool) -> Result<(), StoreError> {
    let query = sqlx::query(
        "SELECT tasks, tasks_succeeded, cancel_requested,
                tasks > 1 AND EXISTS (SELECT 1 FROM task WHERE job_seq = ?1 AND state = 'running') AS runs_on
         FROM job WHERE seq = ?1",
    );
    let row = tx.one(query.bind(held.seq)).await?;
    let (tasks, succeeded): (i64, i64) = (get(&row, "tasks")?, get(&row, "tasks_succeeded")?);
    let cancelled = cancelled || get(&row, "cancel_requested")?;
    let runs_on: bool = get(&row, "runs_on")?;
    room_again(tx, held).await?;
    if succeeded == tasks {
        return end_job(tx, held.seq, Some(held.id), JobState::Succeeded, None).await;
    }
    if cancelled {
        // The job ends when the GPU is free of all of it.
        return match runs_on {
            true => Ok(()),
            false => end_job(tx, held.seq, Some(held.id), JobState::Cancelled, None).await,
        };
    }
    if succeeded == tasks - 1 {
        let unblock =
            sqlx::query("UPDATE task SET blocked = 0 WHERE job_seq = ?1 AND state = 'queued' AND blocked = 1");
        if tx.run(unblock.bind(held.seq)).await? > 0 {
            let now_ms = tx.now_ms;
            tx.ready(held.rank, now_ms).await?;
        }
    }
    if runs_on {
        return Ok(());
    }
    tx.run(sqlx::query("UPDATE job SET state = 'queued' WHERE seq = ?1 AND state = 'running'").bind(held.seq)).await?;
    let position = order::position(&mut tx.connection, held.id).await?;
    tx.event(held.seq, held.id, EventKind::Queued { position }).await.map(drop)
}

/// A client that was at its bound has room for another task now.
async fn room_again(tx: &mut Tx, held: &Held) -> Result<(), StoreError> {
    let bounded = sqlx::query("SELECT 1 FROM client WHERE id = ?1 AND max_running IS NOT NULL").bind(held.client_id);
    if tx.row(bounded).await?.is_some() {
        let now_ms = tx.now_ms;
        tx.claimable(now_ms);
    }
    Ok(())
}

/// The last progress, brought to its end: the last heartbeat before a success may be seconds old.
fn finished_progress(held: &Held) -> Result<String, StoreError> {
    let last: Progress = held.progress.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let finished = Progress {
        phase: Phase::Encoding,
        fraction: 1.0,
        samples_done: last.samples_total,
        frames_done: last.frames_total,
        ..last
    };
    json(&finished)
}

/// Outputs are shown in the order of their tasks, whichever was ready first. The blobs that the new one replaces; `None` where it is
/// there already.
async fn output(tx: &mut Tx, held: &Held, ordinal: usize, new: &NewOutput) -> Result<Option<Vec<String>>, StoreError> {
    let Output { name, media_type, bytes, sha256 } = &new.output;
    let ordinal = i64::from(held.task) * OUTPUTS_MAX as i64 + ordinal as i64;
    // An extended job has one of this name already, and so has one whose earlier attempt came as far.
    let old = sqlx::query(
        "DELETE FROM output WHERE job_seq = ?1 AND (name = ?2 OR ordinal = ?3) RETURNING name, ordinal, blob",
    );
    let old = tx.rows(old.bind(held.seq).bind(name).bind(ordinal)).await?;
    let mut replaced = Vec::new();
    let mut same = false;
    for row in &old {
        let blob: String = get(row, "blob")?;
        same |= blob == new.blob && get::<i64>(row, "ordinal")? == ordinal;
        replaced.push(blob);
    }
    replaced.retain(|blob| *blob != new.blob);
    let insert = sqlx::query(
        "INSERT INTO output (job_seq, ordinal, name, blob, bytes, sha256, media_type) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    );
    let insert = insert.bind(held.seq).bind(ordinal).bind(name).bind(&new.blob).bind(*bytes as i64);
    tx.run(insert.bind(sha256).bind(media_type)).await?;
    if same {
        return Ok(None);
    }
    tx.event(held.seq, held.id, EventKind::Output(new.output.clone())).await?;
    Ok(Some(replaced))
}
