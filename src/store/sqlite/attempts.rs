//! What workers change: claim, heartbeat, checkpoint, commit; and the rescue of what they lost. Each runs inside the writer's
//! transaction. What becomes of a task when an attempt ends is in `outcome`.
//!
//! A worker holds a task by (state, attempt, fence). Every change here compares all three, so that a worker whose lease was
//! taken away can change nothing (invariant 4).

use super::ends::{self, end_job};
use super::order::{self, Candidate, Charged, virtual_part};
use super::outcome::{after_attempt, after_loss, end_attempt, output};
use super::sql::{Row, get, sql};
use super::submit::known;
use super::writer::Tx;
use super::{json, read};
use crate::job::*;
use crate::limits::*;
use crate::store::{AttemptEnd, Checkpointed, ClaimWant, Committed, LeaseState, NewOutput, OutputRecorded, StoreError};

/// Each job has this many bits of fences of its own, so that no fence is ever given again, not even to a job that gets the id of one
/// that was forgotten: the blobs of both are told apart.
const FENCES_OF_JOB_BITS: i64 = 20;
/// Rows that cannot be read, failed by one claim before it gives way to the other operations that wait.
const CORRUPT_JOBS_FAILED_MAX: usize = 64;

/// A task that is held, and what the store needs to know to end its attempt.
pub(super) struct Held {
    pub(super) seq: i64,
    pub(super) id: JobId,
    pub(super) task: u32,
    pub(super) kind: TaskKind,
    pub(super) frames: i64,
    /// The class in which it was claimed, and the job's now: a better one where a more urgent job follows it meanwhile.
    pub(super) rank: i64,
    pub(super) job_rank: i64,
    pub(super) client_id: i64,
    pub(super) attempt: u32,
    pub(super) attempts_max: u32,
    pub(super) deaths: u32,
    pub(super) fence: i64,
    pub(super) cancel_requested: bool,
    pub(super) checkpoint: Option<String>,
    pub(super) progress: Option<String>,
    pub(super) charged: Charged,
    pub(super) vcost: i64,
    /// See the columns of the same names.
    pub(super) cost_us: i64,
    pub(super) left_us: i64,
    pub(super) attempt_us: i64,
    pub(super) waited_since_ms: Option<TimeMs>,
}

/// The columns that [`Held::read`] reads.
const SELECT_HELD: &str = "
    SELECT job.seq, job.id, job.priority AS job_rank, job.cancel_requested, task.idx, task.kind, task.last_frame - task.first_frame + 1 AS frames,
           task.priority, task.client_id, task.attempt, task.attempts_max, task.deaths, task.fence, task.checkpoint, task.progress,
           task.vcost, task.cost_us, task.left_us, task.attempt_us, task.waited_since_ms
    FROM task JOIN job ON job.seq = task.job_seq WHERE task.state = 'running' ";

impl Held {
    fn read(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            seq: get(row, "seq")?,
            id: read::id_of(row)?,
            task: get(row, "idx")?,
            kind: kind_of(row)?,
            frames: get(row, "frames")?,
            rank: get(row, "priority")?,
            job_rank: get(row, "job_rank")?,
            client_id: get(row, "client_id")?,
            attempt: get(row, "attempt")?,
            attempts_max: get(row, "attempts_max")?,
            deaths: get(row, "deaths")?,
            fence: get(row, "fence")?,
            cancel_requested: get(row, "cancel_requested")?,
            checkpoint: get(row, "checkpoint")?,
            progress: get(row, "progress")?,
            charged: Charged::read(row)?,
            vcost: get(row, "vcost")?,
            cost_us: get(row, "cost_us")?,
            left_us: get(row, "left_us")?,
            attempt_us: get(row, "attempt_us")?,
            waited_since_ms: get(row, "waited_since_ms")?,
        })
    }
}

fn kind_of(row: &Row) -> Result<TaskKind, StoreError> {
    let word: &str = get(row, "kind")?;
    TaskKind::parse(word).ok_or_else(|| StoreError::Corrupt(format!("found the task kind {word:?}, which is none")))
}

pub(super) fn claim(tx: &mut Tx, worker: String, lease_ms: i64, want: ClaimWant) -> Result<Option<Claim>, StoreError> {
    for _ in 0..CORRUPT_JOBS_FAILED_MAX {
        let Some(chosen) = order::choose(tx, &want)? else { return Ok(None) };
        let query = sql(
            "SELECT job.id, client.name AS client, job.spec, job.started_ms IS NULL AND job.start_before_ms <= ?3 AS too_late, max(job.fence, job.seq << ?4) AS last_fence,
                    task.idx, task.first_frame, task.last_frame, task.kind, task.attempt, task.deaths, task.fence, task.checkpoint,
                    task.vcost, task.cost_us, task.left_us
             FROM task JOIN job ON job.seq = task.job_seq JOIN client ON client.id = job.client_id
             WHERE task.job_seq = ?1 AND task.idx = ?2",
        );
        let now_ms = tx.now_ms;
        let row = tx.one(query.bind(chosen.seq).bind(chosen.task).bind(now_ms).bind(FENCES_OF_JOB_BITS))?;
        if get::<Option<bool>>(&row, "too_late")?.unwrap_or(false) {
            ends::expire(tx, chosen.seq, read::id_of(&row).ok())?;
            continue;
        }
        match claim_of(&row, &chosen) {
            Ok(claim) => {
                take(tx, &row, &chosen, &claim, &worker, lease_ms)?;
                return Ok(Some(claim));
            }
            Err(StoreError::Corrupt(what)) => fail_corrupt(tx, chosen.seq, read::id_of(&row).ok(), what)?,
            Err(other) => return Err(other),
        }
    }
    // The rest waits for the next claim, which this makes come soon.
    let now_ms = tx.now_ms;
    tx.claimable(now_ms);
    Ok(None)
}

/// The claim as it will be, once [`take`] has made it true.
fn claim_of(row: &Row, chosen: &Candidate) -> Result<Claim, StoreError> {
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

fn take(
    tx: &mut Tx,
    row: &Row,
    chosen: &Candidate,
    claim: &Claim,
    worker: &str,
    lease_ms: i64,
) -> Result<(), StoreError> {
    let now_ms = tx.now_ms;
    let taken = sql(
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
    if tx.run(taken)? != 1 {
        return Err(StoreError::Other(format!("task {} of job {} changed under its claim", claim.task, claim.job)));
    }
    let job = sql("UPDATE job SET state = 'running', started_ms = ?2, attempt = max(attempt, ?3), fence = ?4
         WHERE seq = ?1 AND state IN ('queued', 'running')");
    tx.run(job.bind(chosen.seq).bind(now_ms).bind(claim.attempt).bind(claim.fence))?;
    let (left_us, cost_us, vcost) = (get(row, "left_us")?, get(row, "cost_us")?, get(row, "vcost")?);
    order::charge(tx, chosen, virtual_part(left_us, cost_us, vcost))?;
    tx.event(chosen.seq, claim.job, EventKind::Started { attempt: claim.attempt }).map(drop)
}

/// Fails a job that cannot be read, so that those behind it can go on.
fn fail_corrupt(tx: &mut Tx, seq: i64, id: Option<JobId>, what: String) -> Result<(), StoreError> {
    tracing::error!(job.seq = seq, error = what, "a job in the store cannot be read; it is failed");
    let message = "the stored job cannot be read; submit it again".to_owned();
    let error = Failure { reason: FailureReason::Internal, message, details: Vec::new() };
    end_job(tx, seq, id, JobState::Failed, Some(error))
}

pub(super) fn heartbeat(
    tx: &mut Tx,
    claim: Claim,
    progress: Progress,
    lease_ms: i64,
) -> Result<LeaseState, StoreError> {
    let Some(held) = held(tx, &claim)? else { return Ok(LeaseState::Lost) };
    let now_ms = tx.now_ms;
    let renewed = sql("UPDATE task SET lease_until_ms = ?3, progress = ?4, attempt_us = max(attempt_us, ?7),
                advanced_ms = iif(?7 > attempt_us, ?8, advanced_ms)
         WHERE job_seq = ?1 AND idx = ?2 AND state = 'running' AND attempt = ?5 AND fence = ?6")
    .bind(held.seq)
    .bind(held.task)
    .bind(now_ms + lease_ms)
    .bind(json(&progress)?)
    .bind(held.attempt)
    .bind(held.fence)
    .bind(microseconds(progress.gpu_seconds))
    .bind(now_ms);
    tx.run(renewed)?;
    Ok(if held.cancel_requested { LeaseState::CancelRequested } else { LeaseState::Held })
}

/// What a worker says that it used, which may be any number.
fn microseconds(seconds: f64) -> i64 {
    if seconds.is_finite() { (seconds.clamp(0.0, JOB_COST_SECONDS_MAX) * 1e6) as i64 } else { 0 }
}

pub(super) fn checkpoint(tx: &mut Tx, claim: Claim, key: String, bytes: u64) -> Result<Checkpointed, StoreError> {
    let Some(held) = held(tx, &claim)? else { return Ok(Checkpointed::Stale) };
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    let record = sql("UPDATE task SET checkpoint = ?3, checkpoint_bytes = ?4 WHERE job_seq = ?1 AND idx = ?2");
    tx.run(record.bind(held.seq).bind(held.task).bind(&key).bind(bytes))?;
    Ok(Checkpointed::Recorded { replaced: held.checkpoint.filter(|replaced| *replaced != key) })
}

pub(super) fn early_output(
    tx: &mut Tx,
    claim: Claim,
    index: u32,
    new: NewOutput,
) -> Result<OutputRecorded, StoreError> {
    let Some(held) = held(tx, &claim)? else { return Ok(OutputRecorded::Stale) };
    let replaced = output(tx, &held, index as usize, &new)?;
    Ok(OutputRecorded::Done { replaced: replaced.unwrap_or_default() })
}

pub(super) fn preempted(tx: &mut Tx, claim: Claim) -> Result<(), StoreError> {
    if let Some(held) = held(tx, &claim)? {
        tx.event(held.seq, claim.job, EventKind::Preempted)?;
    }
    Ok(())
}

/// The task of a claim, if the claim still holds it.
fn held(tx: &mut Tx, claim: &Claim) -> Result<Option<Held>, StoreError> {
    let mut query = sql(SELECT_HELD);
    query.push("AND job.id = ").push_bind(claim.job.as_bytes().to_vec());
    query.push(" AND task.idx = ").push_bind(claim.task);
    query.push(" AND task.attempt = ").push_bind(claim.attempt);
    query.push(" AND task.fence = ").push_bind(claim.fence);
    tx.row(query)?.as_ref().map(Held::read).transpose()
}

pub(super) fn commit(
    tx: &mut Tx,
    claim: Claim,
    end: AttemptEnd,
    progress: Option<Progress>,
) -> Result<Committed, StoreError> {
    match held(tx, &claim)? {
        Some(mut held) => {
            if let Some(progress) = &progress {
                held.attempt_us = held.attempt_us.max(microseconds(progress.gpu_seconds));
                held.progress = Some(json(progress)?);
                let told = sql("UPDATE task SET progress = ?3 WHERE job_seq = ?1 AND idx = ?2");
                tx.run(told.bind(held.seq).bind(held.task).bind(&held.progress))?;
            }
            // A row that went bad would only make the worker try for ever. Its job ends here.
            if let Err(StoreError::Corrupt(what)) = read::job(&tx.connection, claim.job) {
                fail_corrupt(tx, held.seq, Some(claim.job), what)?;
                return Ok(Committed::Stale);
            }
            let next = after_attempt(&held, end);
            end_attempt(tx, &held, next)?;
            Ok(Committed::Done(known(tx, claim.job)?.1))
        }
        None => committed_before(tx, &claim, &end),
    }
}

/// The same commit again is answered as the first time: a worker whose answer was lost must not believe that its outputs are
/// not wanted, and delete them.
fn committed_before(tx: &mut Tx, claim: &Claim, end: &AttemptEnd) -> Result<Committed, StoreError> {
    // What was put back has the fence still, and one attempt less.
    let (ended, put_back) = match end {
        AttemptEnd::Succeeded { .. } => (Some(JobState::Succeeded), false),
        AttemptEnd::Cancelled => (Some(JobState::Cancelled), true),
        AttemptEnd::Failed(_) => (Some(JobState::Failed), false),
        AttemptEnd::Released | AttemptEnd::Preempted { .. } => (None, true),
    };
    let query = sql("SELECT 1 FROM task JOIN job ON job.seq = task.job_seq
         WHERE job.id = ?1 AND task.idx = ?2 AND task.fence = ?4
           AND (task.state = ?5 AND task.attempt = ?3 OR ?6 AND task.state = 'queued' AND task.attempt = ?3 - 1)");
    let query = query.bind(claim.job.as_bytes().as_slice()).bind(claim.task).bind(claim.attempt).bind(claim.fence);
    match tx.row(query.bind(ended.map(JobState::as_str)).bind(put_back))? {
        Some(_) => Ok(Committed::Done(known(tx, claim.job)?.1)),
        None => Ok(Committed::Stale),
    }
}

pub(super) fn rescue(tx: &mut Tx, all: bool) -> Result<Vec<JobId>, StoreError> {
    let mut query = sql(SELECT_HELD);
    // Without an ORDER BY, which would make SQLite walk all tasks that ever were instead of the index of leases.
    query.push("AND task.lease_until_ms <= ").push_bind(if all { TimeMs::MAX } else { tx.now_ms });
    let rows = tx.rows(query)?;
    let mut lost = rows.iter().map(Held::read).collect::<Result<Vec<_>, _>>()?;
    lost.sort_by_key(|held| (held.seq, held.task));
    let mut rescued: Vec<JobId> = Vec::with_capacity(lost.len());
    for held in lost {
        // Another task of the same job may have ended it just now.
        let running = sql("SELECT 1 FROM task WHERE job_seq = ?1 AND idx = ?2 AND state = 'running'");
        if tx.row(running.bind(held.seq).bind(held.task))?.is_some() {
            let next = after_loss(&held, all);
            end_attempt(tx, &held, next)?;
        }
        if rescued.last() != Some(&held.id) {
            rescued.push(held.id);
        }
    }
    Ok(rescued)
}
