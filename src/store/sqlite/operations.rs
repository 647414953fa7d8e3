//! What clients and operators change: cancel, retry, patch, extend, delete, log lines, the queue's mode, clients' bounds, cost
//! models. Each runs inside the writer's transaction.

use super::ends::{self, end_job};
use super::order;
use super::read;
use super::sql::{Sql, get, sql};
use super::submit::{self, client, has_room, known};
use super::writer::Tx;
use crate::job::*;
use crate::limits::*;
use crate::store::{Cancelled, ClientLimits, Extension, JobPatch, QueueMode, StoreError};

pub(super) fn cancel(tx: &mut Tx, id: JobId) -> Result<Option<Cancelled>, StoreError> {
    let Some((seq, job)) = read::job(&tx.connection, id)? else { return Ok(None) };
    match job.state {
        JobState::Queued => {
            end_job(tx, seq, Some(id), JobState::Cancelled, None)?;
            Ok(Some(Cancelled::Now(known(tx, id)?.1)))
        }
        JobState::Running if job.cancel_requested => Ok(Some(Cancelled::Requested(job))),
        JobState::Running => {
            tx.run(sql("UPDATE job SET cancel_requested = 1 WHERE seq = ?1 AND state = 'running'").bind(seq))?;
            // What no worker holds needs no worker to let go of it.
            tx.run(sql("UPDATE task SET state = 'cancelled' WHERE job_seq = ?1 AND state = 'queued'").bind(seq))?;
            tx.event(seq, id, EventKind::Cancelling)?;
            Ok(Some(Cancelled::Requested(known(tx, id)?.1)))
        }
        JobState::Succeeded | JobState::Failed | JobState::Cancelled | JobState::Expired => {
            Ok(Some(Cancelled::AlreadyEnded(job)))
        }
    }
}

/// A person's retry: the attempts go on counting, and each task gets as many again as a new one. Its events stay, and so does what
/// has succeeded. A deadline of its start that has passed does not count any more: it is wanted all the same.
pub(super) fn retry(tx: &mut Tx, id: JobId) -> Result<Option<Result<Job, Job>>, StoreError> {
    let Some((seq, job)) = read::job(&tx.connection, id)? else { return Ok(None) };
    match job.state {
        JobState::Failed | JobState::Cancelled | JobState::Expired => {}
        JobState::Queued | JobState::Running | JobState::Succeeded => return Ok(Some(Err(job))),
    }
    let now_ms = tx.now_ms;
    let reset = sql(
        "UPDATE job SET state = 'queued', ended_ms = NULL, events_forgotten = 0, error = NULL, report = iif(tasks_succeeded > 0, report, NULL),
                progress = NULL, start_before_ms = iif(start_before_ms > ?2, start_before_ms, NULL)
         WHERE seq = ?1 AND state = ?3",
    );
    let reset = reset.bind(seq).bind(now_ms).bind(job.state.as_str());
    let tasks = "UPDATE task SET state = 'queued', priority = (SELECT priority FROM job WHERE seq = ?1), attempts_max = attempt + ?2, deaths = 0, progress = NULL, run_at_ms = 0, passed = 0,
                left_us = cost_us, blocked = (kind = 'assemble' AND EXISTS (SELECT 1 FROM task AS other
                    WHERE other.job_seq = ?1 AND other.kind = 'frames' AND other.state <> 'succeeded'))
         WHERE job_seq = ?1 AND state <> 'succeeded'";
    queue_again(tx, seq, &job, reset, tasks).map(|job| Some(Ok(job)))
}

/// Puts an ended job back into the queue with some of its tasks, behind what its client has there.
fn queue_again(tx: &mut Tx, seq: i64, job: &Job, reset_job: Sql, tasks: &'static str) -> Result<Job, StoreError> {
    submit::refuse_while_draining(tx)?;
    let client = client(tx, &job.client)?;
    has_room(tx, &client)?;
    tx.run(reset_job)?;
    tx.run(sql(tasks).bind(seq).bind(ATTEMPTS_MAX))?;
    let (rank, now_ms) = (read::priority_rank(job.priority), tx.now_ms);
    submit::place_at_end(tx, seq, client.id, rank, true)?;
    tx.ready(rank, now_ms)?;
    let position = order::position_at_most(&tx.connection, job.id)?;
    tx.event(seq, job.id, EventKind::Queued { position })?;
    Ok(known(tx, job.id)?.1)
}

pub(super) fn extend(tx: &mut Tx, id: JobId, extension: Extension) -> Result<Option<Result<Job, Job>>, StoreError> {
    let Some((seq, job)) = read::job(&tx.connection, id)? else { return Ok(None) };
    let spec = match job.spec.with_more_samples(extension.samples) {
        Some(spec) if job.state == JobState::Succeeded => spec,
        _ => return Ok(Some(Err(job))),
    };
    let reset = sql(
        "UPDATE job SET state = 'queued', ended_ms = NULL, events_forgotten = 0, cached = 0, spec = ?2, content = ?3, tasks_succeeded = 0,
                units_succeeded = 0, progress = NULL, start_before_ms = iif(start_before_ms > ?4, start_before_ms, NULL)
         WHERE seq = ?1 AND state = 'succeeded'",
    );
    let now_ms = tx.now_ms;
    let reset = reset.bind(seq).bind(spec.canonical_json());
    let reset = reset.bind(extension.content.map(|hash| hash.to_vec())).bind(now_ms);
    let client = client(tx, &job.client)?;
    let frame_us = submit::cost_us(extension.cost_seconds) / submit::frames_in_all(&spec.tasks());
    // An assembly needs no device.
    let costs = sql(
        "UPDATE task SET cost_us = iif(kind = 'assemble', 1, max(?2 * (last_frame - first_frame + 1), 1)) WHERE job_seq = ?1",
    );
    tx.run(costs.bind(seq).bind(frame_us))?;
    let vcosts = sql("UPDATE task SET vcost = max(CAST(cost_us / ?2 AS INTEGER), 1) WHERE job_seq = ?1");
    tx.run(vcosts.bind(seq).bind(client.weight))?;
    let tasks = "UPDATE task SET state = 'queued', priority = (SELECT priority FROM job WHERE seq = ?1), attempts_max = attempt + ?2, deaths = 0, progress = NULL, run_at_ms = 0, passed = 0,
                left_us = cost_us, blocked = (kind = 'assemble') WHERE job_seq = ?1";
    queue_again(tx, seq, &job, reset, tasks).map(|job| Some(Ok(job)))
}

pub(super) fn patch(tx: &mut Tx, id: JobId, patch: JobPatch) -> Result<Option<Result<Job, Job>>, StoreError> {
    let Some((seq, job)) = read::job(&tx.connection, id)? else { return Ok(None) };
    if job.state != JobState::Queued || job.started_ms.is_some() {
        return Ok(Some(Err(job)));
    }
    let mut spec = job.spec.clone();
    let options = spec.options_mut();
    options.priority = patch.priority.unwrap_or(options.priority);
    options.start_before_ms = patch.start_before_ms.unwrap_or(options.start_before_ms);
    // One that a retry has lifted is not there again because something else is changed.
    let deadline_changed = patch.start_before_ms.is_some();
    options.finish_before_ms = patch.finish_before_ms.unwrap_or(options.finish_before_ms);
    let relabelled = patch.labels.is_some();
    if let Some(labels) = &patch.labels {
        labels.apply(&mut options.labels);
    }
    let options = spec.options().clone();
    if relabelled {
        tx.run(sql("DELETE FROM label WHERE job_seq = ?1").bind(seq))?;
        submit::insert_labels(tx, seq, &options.labels)?;
    }
    // The hash of the request stays, so that the same request is still known for the same.
    let update = sql(
        "UPDATE job SET spec = ?2, start_before_ms = iif(?5, ?3, start_before_ms), finish_before_ms = ?4 WHERE seq = ?1",
    );
    let update = update.bind(seq).bind(spec.canonical_json());
    tx.run(update.bind(options.start_before_ms).bind(options.finish_before_ms).bind(deadline_changed))?;
    if options.priority != job.priority {
        change_class(tx, seq, &job, options.priority)?;
    }
    Ok(Some(Ok(known(tx, id)?.1)))
}

/// Moves a queued job behind what its client has in another class; not below the best one of those that follow it.
fn change_class(tx: &mut Tx, seq: i64, job: &Job, to: Priority) -> Result<(), StoreError> {
    let query = sql(
        "SELECT client_id, leader_seq, (SELECT min(priority) FROM job AS follower WHERE follower.leader_seq = job.seq) AS best
         FROM job WHERE seq = ?1",
    );
    let row = tx.one(query.bind(seq))?;
    let best = get::<Option<i64>>(&row, "best")?.unwrap_or(i64::MAX);
    let rank = read::priority_rank(to).min(best);
    if rank == read::priority_rank(job.priority) {
        return Ok(());
    }
    submit::move_to_class(tx, seq, get(&row, "client_id")?, rank)?;
    if let Some(leader) = get(&row, "leader_seq")? {
        ends::lift(tx, leader)?;
    }
    let position = order::position_at_most(&tx.connection, job.id)?;
    tx.event(seq, job.id, EventKind::Queued { position }).map(drop)
}

pub(super) fn expire_due(tx: &mut Tx) -> Result<Vec<JobId>, StoreError> {
    let now_ms = tx.now_ms;
    // By its own index: the planner takes that of states, which holds the whole queue. What is done for a job that follows has
    // started when its leader has.
    let due = sql(
        "SELECT seq, id FROM job INDEXED BY job_start_before
         WHERE state = 'queued' AND start_before_ms IS NOT NULL AND start_before_ms <= ?1 AND started_ms IS NULL
           AND NOT EXISTS (SELECT 1 FROM job AS leader WHERE leader.seq = job.leader_seq AND leader.started_ms IS NOT NULL)
         ORDER BY start_before_ms LIMIT ?2",
    );
    let mut expired = Vec::new();
    for row in &tx.rows(due.bind(now_ms).bind(EXPIRED_MAX))? {
        let id = read::id_of(row)?;
        ends::expire(tx, get(row, "seq")?, Some(id))?;
        expired.push(id);
    }
    Ok(expired)
}

/// Jobs that one call expires; the next call goes on.
const EXPIRED_MAX: i64 = 256;

pub(super) fn delete(tx: &mut Tx, id: JobId) -> Result<Option<Result<Vec<String>, Job>>, StoreError> {
    // Does not read the whole job: one whose spec cannot be read can still be deleted.
    let row = tx.row(sql("SELECT seq, state FROM job WHERE id = ?1").bind(id.as_bytes().as_slice()))?;
    let Some(row) = row else { return Ok(None) };
    if !read::state_of(get(&row, "state")?)?.is_terminal() {
        return Ok(Some(Err(known(tx, id)?.1)));
    }
    super::retention::forget_job(tx, get(&row, "seq")?).map(|blobs| Some(Ok(blobs)))
}

pub(super) fn log(tx: &mut Tx, id: JobId, mut message: String) -> Result<Event, StoreError> {
    let row = sql("SELECT seq, (SELECT coalesce(max(event.seq), 0) FROM event WHERE event.job_seq = job.seq) AS events
         FROM job WHERE id = ?1")
    .bind(id.as_bytes().as_slice())
    .optional(&tx.connection)?;
    let row = row.ok_or(StoreError::NoJob(id))?;
    let events: i64 = get(&row, "events")?;
    if events >= JOB_EVENTS_MAX {
        return Err(StoreError::Other(format!("job {id} has {events} events; further log lines are dropped")));
    }
    if message.len() > LOG_MESSAGE_BYTES_MAX {
        let end = (0..=LOG_MESSAGE_BYTES_MAX).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
        message.truncate(end);
        message.push('…');
    }
    tx.event(get(&row, "seq")?, id, EventKind::Log { message })
}

pub(super) fn set_queue_mode(tx: &mut Tx, mode: QueueMode) -> Result<(), StoreError> {
    let set = sql(
        "INSERT INTO setting (name, value) VALUES ('queue_mode', ?1) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    );
    tx.run(set.bind(mode.as_str()))?;
    let now_ms = tx.now_ms;
    // Nothing was passed over while nothing was handed out.
    let waits = sql("UPDATE class SET waiting_since_ms = ?1 WHERE waiting_since_ms IS NOT NULL");
    tx.run(waits.bind(now_ms))?;
    tx.claimable(now_ms);
    Ok(())
}

pub(super) fn set_client_limits(tx: &mut Tx, name: String, limits: ClientLimits) -> Result<(), StoreError> {
    if !(CLIENT_WEIGHT_MIN..=CLIENT_WEIGHT_MAX).contains(&limits.weight) {
        return Err(StoreError::Other(format!(
            "found the weight {} for {name:?}, expected a number from {CLIENT_WEIGHT_MIN} to {CLIENT_WEIGHT_MAX}",
            limits.weight
        )));
    }
    let client = client(tx, &name)?;
    let set = sql("UPDATE client SET weight = ?2, max_running = ?3, max_queued = ?4 WHERE id = ?1");
    let queued_max = limits.jobs_queued_max.map(|max| i64::try_from(max).unwrap_or(i64::MAX));
    tx.run(set.bind(client.id).bind(limits.weight).bind(limits.tasks_running_max).bind(queued_max))?;
    order::forget_credit(tx, client.id)?;
    let now_ms = tx.now_ms;
    tx.claimable(now_ms);
    Ok(())
}

pub(super) fn put_model(tx: &mut Tx, name: String, json: String) -> Result<(), StoreError> {
    let now_ms = tx.now_ms;
    let put = sql("INSERT INTO model (name, json, updated_ms) VALUES (?1, ?2, ?3)
         ON CONFLICT (name) DO UPDATE SET json = excluded.json, updated_ms = excluded.updated_ms");
    tx.run(put.bind(name).bind(json).bind(now_ms)).map(drop)
}
