//! How jobs end, and what that means for those that follow them.

use super::order;
use super::sql::{get, sql};
use super::submit;
use super::writer::Tx;
use super::{json, read};
use crate::job::*;
use crate::limits::OUTPUTS_MAX;
use crate::store::StoreError;

/// Ends a job that is queued or running: its tasks that have not ended, its row, its `Ended` event, its followers. What workers still
/// hold of it, they hold no more: their next heartbeat is answered with `Lost`.
pub(super) fn end_job(
    tx: &mut Tx,
    seq: i64,
    id: Option<JobId>,
    to: JobState,
    error: Option<Failure>,
) -> Result<(), StoreError> {
    assert!(to.is_terminal() && (to == JobState::Failed) == error.is_some(), "a job ends as {to:?} with {error:?}");
    // The progress that it got to stays to be seen.
    let progress = sql(
        "UPDATE job SET progress = coalesce((SELECT progress FROM task WHERE job_seq = ?1 AND progress IS NOT NULL
                                             ORDER BY state = 'running' DESC, idx DESC LIMIT 1), progress) WHERE seq = ?1",
    );
    tx.run(progress.bind(seq))?;
    correct_running(tx, seq)?;
    // Of a job that failed, the task that did says so already; the others are not wanted any more.
    let others = if to == JobState::Failed { JobState::Cancelled } else { to };
    let tasks = sql(
        "UPDATE task SET state = ?2, owner = NULL, lease_until_ms = NULL WHERE job_seq = ?1 AND state IN ('queued', 'running')",
    );
    tx.run(tasks.bind(seq).bind(others.as_str()))?;
    let job = sql("UPDATE job SET state = ?2, ended_ms = ?3, error = ?4, cancel_requested = 0, leader_seq = NULL
         WHERE seq = ?1 AND state IN ('queued', 'running')");
    let now_ms = tx.now_ms;
    let ended = job.bind(seq).bind(to.as_str()).bind(now_ms).bind(error.as_ref().map(json).transpose()?);
    if tx.run(ended)? != 1 {
        return Err(StoreError::Other(format!("job {seq} ended under the hands of what ends it")));
    }
    // Subscribers know a job by its id; without one, which is a row that went bad, there is nobody to tell.
    if let Some(id) = id {
        let reason = error.as_ref().map(|error| error.reason);
        tx.event(seq, id, EventKind::Ended { state: to, reason })?;
    }
    for_followers(tx, seq, to, error)?;
    if to != JobState::Succeeded {
        let forget = sql(
            "UPDATE task SET checkpoint = NULL, checkpoint_bytes = 0 WHERE job_seq = ?1 AND checkpoint IS NOT NULL",
        );
        tx.run(forget.bind(seq))?;
    }
    Ok(())
}

/// Tasks that a job takes from under its workers when it ends are charged for what they used, and not for what was estimated.
fn correct_running(tx: &mut Tx, seq: i64) -> Result<(), StoreError> {
    let running = sql(
        "SELECT priority, client_id, left_us, cost_us, vcost, attempt_us FROM task WHERE job_seq = ?1 AND state = 'running'",
    );
    for row in &tx.rows(running.bind(seq))? {
        let charged = order::Charged::read(row)?;
        let used_us = get(row, "attempt_us")?;
        order::correct(tx, &charged, used_us)?;
        tx.run(sql("UPDATE job SET gpu_us = gpu_us + ?2 WHERE seq = ?1").bind(seq).bind(used_us))?;
    }
    Ok(())
}

/// A success is theirs too, and so is a failure that they would only repeat: one that lies in the job, or that killed its GPU process
/// too often. Otherwise the most urgent of them goes on in the leader's place, and leads the rest.
fn for_followers(tx: &mut Tx, leader: i64, to: JobState, error: Option<Failure>) -> Result<(), StoreError> {
    let rows = sql("SELECT seq, id FROM job WHERE leader_seq = ?1 ORDER BY priority, seq").bind(leader);
    let rows = tx.rows(rows)?;
    let mut followers = Vec::with_capacity(rows.len());
    for row in &rows {
        followers.push((get::<i64>(row, "seq")?, read::id_of(row)?));
    }
    if to == JobState::Succeeded {
        for (seq, id) in followers {
            answer_from(tx, leader, seq, id)?;
        }
    } else if let Some(error) = error.filter(|error| error.reason.disposition() == Disposition::Fail) {
        for (seq, id) in followers {
            // One level deep: what follows leads nobody.
            end_job(tx, seq, Some(id), to, Some(error.clone()))?;
        }
    } else if let Some((first, id)) = followers.first().copied() {
        let rest = sql("UPDATE job SET leader_seq = ?2 WHERE leader_seq = ?1 AND seq <> ?2");
        tx.run(rest.bind(leader).bind(first))?;
        take_over(tx, leader, first, id)?;
    }
    Ok(())
}

/// Makes an ordinary queued job of the follower of one that has just ended otherwise than by success. It gets that one's place where
/// that was in its class, and what is done of their common work: finished tasks, checkpoints, and the deaths and attempts that it cost.
fn take_over(tx: &mut Tx, leader: i64, seq: i64, id: JobId) -> Result<(), StoreError> {
    let row = sql("SELECT job.priority, job.client_id, job.priority = leader.priority AS same_class
         FROM job JOIN job AS leader ON leader.seq = ?1 WHERE job.seq = ?2");
    let row = tx.one(row.bind(leader).bind(seq))?;
    let (rank, client_id): (i64, i64) = (get(&row, "priority")?, get(&row, "client_id")?);
    if get(&row, "same_class")? {
        let places = sql("UPDATE task SET vplace = other.vplace FROM task AS other
             WHERE other.job_seq = ?1 AND other.idx = task.idx AND task.job_seq = ?2");
        tx.run(places.bind(leader).bind(seq))?;
    } else {
        submit::place_at_end(tx, seq, client_id, rank, true)?;
    }
    let done = sql("INSERT INTO output (job_seq, ordinal, name, blob, bytes, sha256, media_type)
         SELECT ?2, ordinal, name, blob, bytes, sha256, media_type FROM output
         WHERE job_seq = ?1 AND ordinal / ?3 IN (SELECT idx FROM task WHERE job_seq = ?1 AND state = 'succeeded')");
    tx.run(done.bind(leader).bind(seq).bind(OUTPUTS_MAX as i64))?;
    let tasks =
        sql("UPDATE task SET state = iif(other.state = 'succeeded', 'succeeded', task.state), deaths = other.deaths,
                attempts_max = max(1, min(task.attempts_max, other.attempts_max - other.attempt)),
                checkpoint = other.checkpoint, checkpoint_bytes = other.checkpoint_bytes,
                progress = iif(other.checkpoint IS NULL AND other.state <> 'succeeded', NULL, other.progress),
                left_us = iif(other.checkpoint IS NULL, task.left_us,
                              min(task.left_us, max(1, other.cost_us / 100, other.left_us - other.attempt_us)))
         FROM task AS other WHERE other.job_seq = ?1 AND other.idx = task.idx AND task.job_seq = ?2");
    tx.run(tasks.bind(leader).bind(seq))?;
    // What has started does not expire any more.
    let job = sql(
        "UPDATE job SET leader_seq = NULL, started_ms = leader.started_ms, tasks_succeeded = leader.tasks_succeeded,
                units_succeeded = leader.units_succeeded, report = iif(leader.tasks_succeeded > 0, leader.report, NULL),
                progress = (SELECT progress FROM task WHERE job_seq = ?2 AND progress IS NOT NULL ORDER BY idx DESC LIMIT 1)
         FROM job AS leader WHERE leader.seq = ?1 AND job.seq = ?2",
    );
    tx.run(job.bind(leader).bind(seq))?;
    let ready = sql("UPDATE task SET blocked = (kind = 'assemble' AND EXISTS (SELECT 1 FROM task AS other
                WHERE other.job_seq = ?1 AND other.kind = 'frames' AND other.state <> 'succeeded'))
         WHERE job_seq = ?1 AND state = 'queued'");
    tx.run(ready.bind(seq))?;
    for output in read::outputs(&tx.connection, seq)? {
        tx.event(seq, id, EventKind::Output(output))?;
    }
    let now_ms = tx.now_ms;
    tx.ready(rank, now_ms)?;
    let position = order::position_at_most(&tx.connection, id)?;
    tx.event(seq, id, EventKind::Queued { position }).map(drop)
}

/// Lifts what is queued of a job into the best class of those that follow it, so that none of them waits for a lower one. What runs
/// comes after it when it is put back.
pub(super) fn lift(tx: &mut Tx, leader: i64) -> Result<(), StoreError> {
    let query = sql(
        "SELECT client_id, min(priority, coalesce((SELECT min(priority) FROM job AS follower WHERE follower.leader_seq = job.seq), 2)) AS best
         FROM job WHERE seq = ?1 AND EXISTS (SELECT 1 FROM job AS follower WHERE follower.leader_seq = job.seq)",
    );
    let Some(row) = tx.row(query.bind(leader))? else { return Ok(()) };
    submit::move_to_class(tx, leader, get(&row, "client_id")?, get(&row, "best")?)
}

/// Lets a job succeed with the outputs of another one.
pub(super) fn answer_from(tx: &mut Tx, leader: i64, seq: i64, id: JobId) -> Result<(), StoreError> {
    let outputs = sql("INSERT INTO output (job_seq, ordinal, name, blob, bytes, sha256, media_type)
         SELECT ?2, ordinal, name, blob, bytes, sha256, media_type FROM output WHERE job_seq = ?1");
    tx.run(outputs.bind(leader).bind(seq))?;
    tx.run(sql("UPDATE task SET state = 'succeeded' WHERE job_seq = ?1").bind(seq))?;
    let now_ms = tx.now_ms;
    let job =
        sql("UPDATE job SET state = 'succeeded', ended_ms = ?3, cached = 1, leader_seq = NULL, report = leader.report,
                progress = leader.progress, tasks_succeeded = job.tasks, units_succeeded = job.units
         FROM job AS leader WHERE leader.seq = ?1 AND job.seq = ?2 AND job.state = 'queued'");
    tx.run(job.bind(leader).bind(seq).bind(now_ms))?;
    let copied = read::outputs(&tx.connection, seq)?;
    for output in copied {
        tx.event(seq, id, EventKind::Output(output))?;
    }
    tx.event(seq, id, EventKind::Ended { state: JobState::Succeeded, reason: None }).map(drop)
}

/// Ends a queued job whose `start_before` has passed.
pub(super) fn expire(tx: &mut Tx, seq: i64, id: Option<JobId>) -> Result<(), StoreError> {
    end_job(tx, seq, id, JobState::Expired, None)
}
