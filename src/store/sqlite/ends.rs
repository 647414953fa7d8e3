//! How jobs end, and what that means for those that follow them.

use super::order;
use super::writer::Tx;
use super::{get, json, read};
use crate::job::*;
use crate::store::StoreError;

/// Ends a job that is queued or running: its tasks that have not ended, its row, its `Ended` event, its followers. What workers still
/// hold of it, they hold no more: their next heartbeat is answered with `Lost`.
pub(super) async fn end_job(
    tx: &mut Tx,
    seq: i64,
    id: Option<JobId>,
    to: JobState,
    error: Option<Failure>,
) -> Result<(), StoreError> {
    assert!(to.is_terminal() && (to == JobState::Failed) == error.is_some(), "a job ends as {to:?} with {error:?}");
    // The progress that it got to stays to be seen.
    let progress = sqlx::query(
        "UPDATE job SET progress = coalesce((SELECT progress FROM task WHERE job_seq = ?1 AND progress IS NOT NULL
                                             ORDER BY state = 'running' DESC, idx DESC LIMIT 1), progress) WHERE seq = ?1",
    );
    tx.run(progress.bind(seq)).await?;
    // Of a job that failed, the task that did says so already; the others are not wanted any more.
    let others = if to == JobState::Failed { JobState::Cancelled } else { to };
    let tasks = sqlx::query(
        "UPDATE task SET state = ?2, owner = NULL, lease_until_ms = NULL WHERE job_seq = ?1 AND state IN ('queued', 'running')",
    );
    tx.run(tasks.bind(seq).bind(others.as_str())).await?;
    if to != JobState::Succeeded {
        let forget = sqlx::query(
            "UPDATE task SET checkpoint = NULL, checkpoint_bytes = 0 WHERE job_seq = ?1 AND checkpoint IS NOT NULL",
        );
        tx.run(forget.bind(seq)).await?;
    }
    let job = sqlx::query(
        "UPDATE job SET state = ?2, ended_ms = ?3, error = ?4, cancel_requested = 0, leader_seq = NULL
         WHERE seq = ?1 AND state IN ('queued', 'running')",
    );
    let now_ms = tx.now_ms;
    let ended = job.bind(seq).bind(to.as_str()).bind(now_ms).bind(error.as_ref().map(json).transpose()?);
    if tx.run(ended).await? != 1 {
        return Err(StoreError::Other(format!("job {seq} ended under the hands of what ends it")));
    }
    // Subscribers know a job by its id; without one, which is a row that went bad, there is nobody to tell.
    if let Some(id) = id {
        tx.event(seq, id, EventKind::Ended { state: to, reason: error.map(|error| error.reason) }).await?;
    }
    for_followers(tx, seq, to).await
}

async fn for_followers(tx: &mut Tx, leader: i64, to: JobState) -> Result<(), StoreError> {
    let rows = tx.rows(sqlx::query("SELECT seq, id FROM job WHERE leader_seq = ?1 ORDER BY seq").bind(leader)).await?;
    let mut followers = Vec::with_capacity(rows.len());
    for row in &rows {
        followers.push((get::<i64>(row, "seq")?, read::id_of(row)?));
    }
    if to == JobState::Succeeded {
        for (seq, id) in followers {
            answer_from(tx, leader, seq, id).await?;
        }
    } else if let Some((first, id)) = followers.first().copied() {
        let rest = sqlx::query("UPDATE job SET leader_seq = ?2 WHERE leader_seq = ?1 AND seq <> ?2");
        tx.run(rest.bind(leader).bind(first)).await?;
        stand_alone(tx, first, id, Some(leader)).await?;
    }
    Ok(())
}

/// Makes an ordinary queued job of one that followed another. `in_place_of`: it gets that one's place, if that was in its class.
pub(super) async fn stand_alone(tx: &mut Tx, seq: i64, id: JobId, in_place_of: Option<i64>) -> Result<(), StoreError> {
    tx.run(sqlx::query("UPDATE job SET leader_seq = NULL WHERE seq = ?1").bind(seq)).await?;
    if let Some(leader) = in_place_of {
        let places = sqlx::query(
            "UPDATE task SET vplace = min(task.vplace, other.vplace) FROM task AS other
             WHERE other.job_seq = ?2 AND other.idx = task.idx AND other.priority = task.priority AND task.job_seq = ?1",
        );
        tx.run(places.bind(seq).bind(leader)).await?;
    }
    let ready = sqlx::query("UPDATE task SET blocked = (kind = 'assemble') WHERE job_seq = ?1 AND state = 'queued'");
    tx.run(ready.bind(seq)).await?;
    let row = tx.one(sqlx::query("SELECT priority FROM job WHERE seq = ?1").bind(seq)).await?;
    let now_ms = tx.now_ms;
    tx.ready(get(&row, "priority")?, now_ms).await?;
    let position = order::position(&mut tx.connection, id).await?;
    tx.event(seq, id, EventKind::Queued { position }).await.map(drop)
}

/// Lets a job succeed with the outputs of another one.
pub(super) async fn answer_from(tx: &mut Tx, leader: i64, seq: i64, id: JobId) -> Result<(), StoreError> {
    let outputs = sqlx::query(
        "INSERT INTO output (job_seq, ordinal, name, blob, bytes, sha256, media_type)
         SELECT ?2, ordinal, name, blob, bytes, sha256, media_type FROM output WHERE job_seq = ?1",
    );
    tx.run(outputs.bind(leader).bind(seq)).await?;
    tx.run(sqlx::query("UPDATE task SET state = 'succeeded' WHERE job_seq = ?1").bind(seq)).await?;
    let now_ms = tx.now_ms;
    let job = sqlx::query(
        "UPDATE job SET state = 'succeeded', ended_ms = ?3, cached = 1, leader_seq = NULL, report = leader.report,
                progress = leader.progress, tasks_succeeded = job.tasks, units_succeeded = job.units
         FROM job AS leader WHERE leader.seq = ?1 AND job.seq = ?2 AND job.state = 'queued'",
    );
    tx.run(job.bind(leader).bind(seq).bind(now_ms)).await?;
    let copied = read::outputs(&mut tx.connection, seq).await?;
    for output in copied {
        tx.event(seq, id, EventKind::Output(output)).await?;
    }
    tx.event(seq, id, EventKind::Ended { state: JobState::Succeeded, reason: None }).await.map(drop)
}

/// Ends a queued job whose `start_before` has passed.
pub(super) async fn expire(tx: &mut Tx, seq: i64, id: Option<JobId>) -> Result<(), StoreError> {
    end_job(tx, seq, id, JobState::Expired, None).await
}
