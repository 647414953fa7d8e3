//! What becomes of a task, and of its job, when an attempt ends: first the decision, then the rows.

use super::attempts::Held;
use super::ends::end_job;
use super::json;
use super::order;
use super::sql::{get, sql};
use super::submit;
use super::writer::Tx;
use crate::job::*;
use crate::limits::*;
use crate::store::{AttemptEnd, NewOutput, StoreError};
use std::hash::{BuildHasher, Hasher, RandomState};

/// What becomes of a task at the end of an attempt.
pub(super) enum Next {
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
pub(super) enum Why {
    /// The attempt was lost to a fault of the machine.
    Fault(FailureReason),
    /// It was put back without a fault.
    Released,
    /// It was put aside for a more urgent task.
    Preempted(Option<String>),
}

/// Decides about an attempt that a worker ended.
pub(super) fn after_attempt(held: &Held, end: AttemptEnd) -> Next {
    match end {
        AttemptEnd::Succeeded { outputs, report } => Next::Succeed { outputs, report },
        AttemptEnd::Cancelled | AttemptEnd::Released | AttemptEnd::Preempted { .. } if held.cancel_requested => {
            Next::Cancel
        }
        // A cancel that nobody asked for, or that was meant for an earlier attempt, puts the task back.
        AttemptEnd::Cancelled | AttemptEnd::Released => put_back(held, Why::Released),
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
pub(super) fn after_loss(held: &Held, restart: bool) -> Next {
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

/// Writes what was decided: task, job, outputs and events.
pub(super) fn end_attempt(tx: &mut Tx, held: &Held, next: Next) -> Result<(), StoreError> {
    let used_us = match &next {
        // A worker that does not measure is taken at the estimate.
        Next::Succeed { .. } if held.attempt_us == 0 => held.left_us,
        Next::Succeed { .. } | Next::Cancel | Next::Fail(_) | Next::Requeue { .. } => held.attempt_us,
    };
    order::correct(tx, &held.charged, used_us)?;
    tx.run(sql("UPDATE job SET gpu_us = gpu_us + ?2 WHERE seq = ?1").bind(held.seq).bind(held.attempt_us))?;
    match next {
        Next::Succeed { outputs, report } => succeed(tx, held, outputs, report),
        Next::Cancel => {
            end_task(tx, held, JobState::Cancelled, None)?;
            settle(tx, held)
        }
        Next::Fail(error) => {
            end_task(tx, held, JobState::Failed, None)?;
            end_job(tx, held.seq, Some(held.id), JobState::Failed, Some(error))?;
            room_again(tx, held)
        }
        Next::Requeue { attempt, attempts_max, deaths, delay_ms, why } => {
            let run_at_ms = tx.now_ms + delay_ms;
            let checkpoint = match &why {
                Why::Preempted(Some(key)) => Some(key.clone()),
                Why::Fault(_) | Why::Released | Why::Preempted(None) => held.checkpoint.clone(),
            };
            requeue(tx, held, [attempt, attempts_max, deaths], run_at_ms, checkpoint, used_us)?;
            match &why {
                Why::Fault(reason) => {
                    let retrying = EventKind::Retrying { reason: *reason, attempt: attempt + 1 };
                    tx.event(held.seq, held.id, retrying)?;
                }
                Why::Preempted(_) => {
                    tx.event(held.seq, held.id, EventKind::Preempted)?;
                }
                Why::Released => {}
            }
            tx.ready(held.job_rank, run_at_ms)?;
            if let (Why::Preempted(_), Some(since)) = (&why, held.waited_since_ms) {
                // It was claimed, but did not get to its end: its class goes on waiting.
                let waits = sql("UPDATE class SET waiting_since_ms = min(waiting_since_ms, ?2) WHERE priority = ?1");
                tx.run(waits.bind(held.rank).bind(since))?;
            }
            settle(tx, held)
        }
    }
}

fn requeue(
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
    if held.job_rank != held.rank {
        let vplace = submit::take_places(tx, held.client_id, held.job_rank, held.vcost)?;
        let place = sql("UPDATE task SET priority = ?3, vplace = ?4 WHERE job_seq = ?1 AND idx = ?2");
        tx.run(place.bind(held.seq).bind(held.task).bind(held.job_rank).bind(vplace))?;
    }
    let task = sql(
        "UPDATE task SET state = 'queued', owner = NULL, lease_until_ms = NULL, progress = ?9, attempt = ?3, attempts_max = ?4,
                deaths = ?5, run_at_ms = ?6, left_us = ?7, checkpoint = ?8,
                checkpoint_bytes = iif(checkpoint IS ?8, checkpoint_bytes, 0), attempt_us = 0
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
    tx.run(task)?;
    let job = sql(
        "UPDATE job SET attempt = (SELECT max(attempt) FROM task WHERE job_seq = ?1), progress = ?2 WHERE seq = ?1",
    );
    tx.run(job.bind(held.seq).bind(kept)).map(drop)
}

fn succeed(tx: &mut Tx, held: &Held, outputs: Vec<NewOutput>, report: serde_json::Value) -> Result<(), StoreError> {
    let progress = finished_progress(held)?;
    end_task(tx, held, JobState::Succeeded, Some(&progress))?;
    let units = match held.kind {
        TaskKind::Frames => held.frames,
        TaskKind::Assemble => 1,
    };
    // A job of several tasks shows the report of its first one.
    let job = sql(
        "UPDATE job SET tasks_succeeded = tasks_succeeded + 1, units_succeeded = min(units_succeeded + ?2, units), progress = ?3,
                report = iif(report IS NULL OR ?4 = 0, ?5, report) WHERE seq = ?1",
    );
    tx.run(job.bind(held.seq).bind(units).bind(progress).bind(held.task).bind(report.to_string()))?;
    for (ordinal, new) in outputs.iter().enumerate() {
        output(tx, held, ordinal, new)?;
    }
    settle(tx, held)
}

fn end_task(tx: &mut Tx, held: &Held, to: JobState, progress: Option<&str>) -> Result<(), StoreError> {
    assert!(JobState::Running.may_become(to), "a running task does not become {to:?}");
    let end = sql("UPDATE task SET state = ?3, owner = NULL, lease_until_ms = NULL, progress = coalesce(?4, progress)
         WHERE job_seq = ?1 AND idx = ?2 AND state = 'running'");
    tx.run(end.bind(held.seq).bind(held.task).bind(to.as_str()).bind(progress)).map(drop)
}

/// What becomes of the job now that one of its tasks is no longer held.
fn settle(tx: &mut Tx, held: &Held) -> Result<(), StoreError> {
    let query = sql("SELECT tasks, tasks_succeeded, cancel_requested,
                tasks > 1 AND EXISTS (SELECT 1 FROM task WHERE job_seq = ?1 AND state = 'running') AS runs_on
         FROM job WHERE seq = ?1");
    let row = tx.one(query.bind(held.seq))?;
    let (tasks, succeeded): (i64, i64) = (get(&row, "tasks")?, get(&row, "tasks_succeeded")?);
    let cancelled: bool = get(&row, "cancel_requested")?;
    let runs_on: bool = get(&row, "runs_on")?;
    room_again(tx, held)?;
    if succeeded == tasks {
        return end_job(tx, held.seq, Some(held.id), JobState::Succeeded, None);
    }
    if cancelled {
        // The job ends when the GPU is free of all of it.
        return match runs_on {
            true => Ok(()),
            false => end_job(tx, held.seq, Some(held.id), JobState::Cancelled, None),
        };
    }
    if succeeded == tasks - 1 {
        let unblock = sql("UPDATE task SET blocked = 0 WHERE job_seq = ?1 AND state = 'queued' AND blocked = 1");
        if tx.run(unblock.bind(held.seq))? > 0 {
            let now_ms = tx.now_ms;
            tx.ready(held.job_rank, now_ms)?;
        }
    }
    if runs_on {
        return Ok(());
    }
    tx.run(sql("UPDATE job SET state = 'queued' WHERE seq = ?1 AND state = 'running'").bind(held.seq))?;
    let position = order::position_at_most(&tx.connection, held.id)?;
    tx.event(held.seq, held.id, EventKind::Queued { position }).map(drop)
}

/// A client that was at its bound has room for another task now.
fn room_again(tx: &mut Tx, held: &Held) -> Result<(), StoreError> {
    let bounded = sql("SELECT max_running <= 1 + (SELECT coalesce(sum(tasks_running), 0) FROM flow
                                    WHERE flow.client_id = client.id AND priority IN (0, 1, 2)) AS was_full
         FROM client WHERE id = ?1 AND max_running IS NOT NULL");
    if let Some(row) = tx.row(bounded.bind(held.client_id))? {
        if get(&row, "was_full")? {
            order::forget_credit(tx, held.client_id)?;
        }
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
pub(super) fn output(
    tx: &mut Tx,
    held: &Held,
    ordinal: usize,
    new: &NewOutput,
) -> Result<Option<Vec<String>>, StoreError> {
    let Output { name, media_type, bytes, sha256 } = &new.output;
    let ordinal = i64::from(held.task) * OUTPUTS_MAX as i64 + ordinal as i64;
    // An extended job has one of this name already, and so has one whose earlier attempt came as far.
    let old =
        sql("DELETE FROM output WHERE job_seq = ?1 AND (name = ?2 OR ordinal = ?3) RETURNING name, ordinal, blob");
    let old = tx.rows(old.bind(held.seq).bind(name).bind(ordinal))?;
    let mut replaced = Vec::new();
    let mut same = false;
    for row in &old {
        let blob: String = get(row, "blob")?;
        same |= blob == new.blob && get::<i64>(row, "ordinal")? == ordinal;
        replaced.push(blob);
    }
    replaced.retain(|blob| *blob != new.blob);
    let insert = sql(
        "INSERT INTO output (job_seq, ordinal, name, blob, bytes, sha256, media_type) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    );
    let insert = insert.bind(held.seq).bind(ordinal).bind(name).bind(&new.blob).bind(*bytes as i64);
    tx.run(insert.bind(sha256).bind(media_type))?;
    if same {
        return Ok(None);
    }
    tx.event(held.seq, held.id, EventKind::Output(new.output.clone()))?;
    Ok(Some(replaced))
}
