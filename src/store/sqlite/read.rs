//! Rows → jobs, events, outputs; the order of the queue. Reads only, on any connection.

use super::sql::{Row, get, sql};
use crate::job::*;
use crate::limits::{LIST_JOBS_MAX, QUEUE_CLIENTS_MAX};
use crate::store::{ListFilter, Load, QueueOverview, StoreError};
use rusqlite::Connection;

/// A job with everything that [`Job`] holds, in one statement.
const SELECT_JOB: &str = "
    SELECT job.seq, job.id, client.name AS client, job.spec, job.priority, job.state, job.attempt, job.cancel_requested,
           job.created_ms, job.started_ms, job.ended_ms, job.error, job.report, job.cached, job.tasks, job.tasks_succeeded,
           job.frames, job.units, job.units_succeeded, job.gpu_us, job.progress,
           (SELECT leader.id FROM job AS leader WHERE leader.seq = job.leader_seq) AS follows,
           iif(job.state = 'running', (SELECT json_group_array(json_array(last_frame - first_frame + 1, kind, progress, attempt_us))
                                       FROM task WHERE task.job_seq = job.seq AND task.state = 'running'), NULL) AS running,
           (SELECT json_group_object(key, value) FROM label WHERE label.job_seq = job.seq) AS labels,
           (SELECT json_group_array(json_object('name', name, 'media_type', media_type, 'bytes', bytes, 'sha256', sha256)
                                    ORDER BY ordinal)
            FROM output WHERE output.job_seq = job.seq) AS outputs
    FROM job JOIN client ON client.id = job.client_id";

pub(super) fn priority_rank(priority: Priority) -> i64 {
    match priority {
        Priority::Interactive => 0,
        Priority::Normal => 1,
        Priority::Batch => 2,
    }
}

pub(super) fn priority_of(rank: i64) -> Result<Priority, StoreError> {
    [Priority::Interactive, Priority::Normal, Priority::Batch]
        .into_iter()
        .find(|priority| priority_rank(*priority) == rank)
        .ok_or_else(|| StoreError::Corrupt(format!("found the priority {rank}, expected 0, 1 or 2")))
}

pub(super) fn state_of(word: &str) -> Result<JobState, StoreError> {
    JobState::parse(word).ok_or_else(|| StoreError::Corrupt(format!("found the state {word:?}, which is none")))
}

pub(super) fn id_of(row: &Row) -> Result<JobId, StoreError> {
    let bytes: &[u8] = get(row, "id")?;
    JobId::from_slice(bytes)
        .map_err(|_| StoreError::Corrupt(format!("found an id of {} bytes, expected 16", bytes.len())))
}

/// JSON that this program wrote.
pub(super) fn json_of<T: serde::de::DeserializeOwned>(text: &str, what: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt(format!("the {what} of a job: {error}")))
}

fn job_of(row: &Row) -> Result<Job, StoreError> {
    let id = id_of(row)?;
    let text = |column: &str| get::<Option<&str>>(row, column);
    let read = || -> Result<Job, StoreError> {
        let spec = text("spec")?.ok_or_else(|| StoreError::Corrupt("the spec of a job is missing".into()))?;
        let follows: Option<&[u8]> = get(row, "follows")?;
        Ok(Job {
            id,
            client: get(row, "client")?,
            spec: json_of(spec, "spec")?,
            priority: priority_of(get(row, "priority")?)?,
            state: state_of(get(row, "state")?)?,
            attempt: get(row, "attempt")?,
            cancel_requested: get(row, "cancel_requested")?,
            created_ms: get(row, "created_ms")?,
            started_ms: get(row, "started_ms")?,
            ended_ms: get(row, "ended_ms")?,
            labels: json_of(text("labels")?.unwrap_or("{}"), "labels")?,
            progress: progress_of(row)?,
            outputs: json_of(text("outputs")?.unwrap_or("[]"), "outputs")?,
            error: text("error")?.map(|text| json_of(text, "error")).transpose()?,
            report: text("report")?.map(|text| json_of(text, "report")).transpose()?,
            cached: get(row, "cached")?,
            follows: follows.and_then(|bytes| JobId::from_slice(bytes).ok()),
            tasks: TaskCounts { total: get(row, "tasks")?, succeeded: get(row, "tasks_succeeded")? },
        })
    };
    read().map_err(|error| match error {
        StoreError::Corrupt(what) => StoreError::Corrupt(format!("{what} (job {id})")),
        other => other,
    })
}

/// Progress of the whole job. A job of one task shows that task's; one of several adds up what is finished and what runs.
fn progress_of(row: &Row) -> Result<Progress, StoreError> {
    let tasks: u32 = get(row, "tasks")?;
    let running: Option<&str> = get(row, "running")?;
    let running: Vec<(u32, TaskKind, Option<String>, i64)> = json_of(running.unwrap_or("[]"), "running tasks")?;
    let mut gpu_us: i64 = get(row, "gpu_us")?;
    let mut parts = Vec::with_capacity(running.len());
    for (frames, kind, progress, attempt_us) in &running {
        let progress = progress.as_deref().map_or(Ok(Progress::default()), |text| json_of(text, "progress"))?;
        parts.push((*frames, *kind, progress));
        gpu_us += attempt_us;
    }
    let gpu_seconds = gpu_us as f64 * 1e-6;
    let stored = get::<Option<&str>>(row, "progress")?.map(|text| json_of::<Progress>(text, "progress")).transpose()?;
    if tasks == 1 {
        let last = parts.first().map(|(_, _, progress)| *progress).or(stored).unwrap_or_default();
        return Ok(Progress { gpu_seconds, ..last });
    }
    // Each frame is a unit of work, and the assembly, which comes last, counts as one more.
    let (frames, units, succeeded): (u32, u32, u32) =
        (get(row, "frames")?, get(row, "units")?, get(row, "units_succeeded")?);
    let mut done = f64::from(succeeded);
    let mut whole = Progress {
        frames_done: succeeded.min(frames),
        frames_total: frames,
        gpu_seconds,
        ..stored.unwrap_or_default()
    };
    // The frame that is furthest is the one that is on the device.
    let furthest = parts.iter().max_by(|(_, _, a), (_, _, b)| a.fraction.total_cmp(&b.fraction));
    if let Some((_, _, progress)) = furthest {
        (whole.phase, whole.samples_done, whole.samples_total) =
            (progress.phase, progress.samples_done, progress.samples_total);
    }
    for (frames, kind, progress) in &parts {
        done += if *kind == TaskKind::Frames { f64::from(*frames) } else { 1.0 }
            * f64::from(progress.fraction.clamp(0.0, 1.0));
        whole.frames_done += if *kind == TaskKind::Frames { progress.frames_done.min(*frames) } else { 0 };
    }
    whole.fraction = (done / f64::from(units)).min(1.0) as f32;
    Ok(whole)
}

/// A job, and its `seq`.
pub(super) fn job(connection: &Connection, id: JobId) -> Result<Option<(i64, Job)>, StoreError> {
    let mut query = sql(SELECT_JOB);
    query.push(" WHERE job.id = ").push_bind(id.as_bytes().to_vec());
    match query.optional(connection)? {
        Some(row) => Ok(Some((get(&row, "seq")?, job_of(&row)?))),
        None => Ok(None),
    }
}

/// A page, newest first. A row that cannot be read is logged and left out; the page is filled up from those behind it.
pub(super) fn list(connection: &Connection, filter: &ListFilter) -> Result<Vec<Job>, StoreError> {
    let limit = filter.limit.min(LIST_JOBS_MAX) as usize;
    let mut before = filter.before;
    let mut jobs = Vec::new();
    while jobs.len() < limit {
        let wanted = limit - jobs.len();
        let rows = page(connection, filter, before, wanted)?;
        for row in &rows {
            let id: Vec<u8> = get(row, "id")?;
            // Read apart from the job, so that the walk goes on behind a row that is none.
            before = Some((get(row, "created_ms")?, JobId::from_slice(&id).unwrap_or_default()));
            match job_of(row) {
                Ok(job) => jobs.push(job),
                Err(error) => tracing::error!(%error, "a job is left out of a list"),
            }
        }
        if rows.len() < wanted {
            break;
        }
    }
    Ok(jobs)
}

fn page(
    connection: &Connection,
    filter: &ListFilter,
    before: Option<(TimeMs, JobId)>,
    limit: usize,
) -> Result<Vec<Row>, StoreError> {
    // The page is chosen by numbers alone: what a job shows is put together for those on the page, and not for all that are sorted.
    let mut query = sql(SELECT_JOB);
    query.push(" WHERE job.seq IN (SELECT job.seq FROM job WHERE TRUE");
    if let Some(client) = &filter.client {
        query.push(" AND job.client_id = (SELECT id FROM client WHERE name = ").push_bind(client.clone()).push(")");
    }
    if let Some(state) = filter.state {
        query.push(" AND job.state = ").push_bind(state.as_str());
    }
    if let Some(kind) = &filter.kind {
        query.push(" AND job.kind = ").push_bind(kind.clone());
    }
    if let Some((key, value)) = &filter.label {
        query.push(" AND job.seq IN (SELECT job_seq FROM label WHERE key = ").push_bind(key.clone());
        query.push(" AND value = ").push_bind(value.clone()).push(")");
    }
    if let Some((created_ms, id)) = before {
        query.push(" AND (job.created_ms, job.id) < (").push_bind(created_ms);
        query.push(", ").push_bind(id.as_bytes().to_vec()).push(")");
    }
    query.push(" ORDER BY job.created_ms DESC, job.id DESC LIMIT ").push_bind(limit as i64);
    query.push(") ORDER BY job.created_ms DESC, job.id DESC");
    query.all(connection)
}

/// Queued and running jobs.
pub(super) fn counts(connection: &Connection) -> Result<(u64, u64), StoreError> {
    let row = sql("SELECT sum(jobs_queued) AS queued, sum(jobs_running) AS running FROM class").one(connection)?;
    Ok((count_of(&row, "queued")?, count_of(&row, "running")?))
}

pub(super) fn count_of(row: &Row, column: &str) -> Result<u64, StoreError> {
    let count: i64 = get(row, column)?;
    u64::try_from(count).map_err(|_| StoreError::Corrupt(format!("found the count {count}")))
}

pub(super) fn events(connection: &Connection, id: JobId, after: i64, limit: u32) -> Result<Vec<Event>, StoreError> {
    let rows = sql("SELECT event.seq, event.time_ms, event.kind FROM event JOIN job ON job.seq = event.job_seq
         WHERE job.id = ?1 AND event.seq > ?2 ORDER BY event.seq LIMIT ?3")
    .bind(id.as_bytes().as_slice())
    .bind(after)
    .bind(limit)
    .all(connection)?;
    let event = |row: &Row| {
        Ok(Event { seq: get(row, "seq")?, time_ms: get(row, "time_ms")?, kind: json_of(get(row, "kind")?, "event")? })
    };
    rows.iter().map(event).collect()
}

pub(super) fn job_and_blobs(connection: &Connection, id: JobId) -> Result<Option<(Job, Vec<String>)>, StoreError> {
    let Some((seq, job)) = job(connection, id)? else { return Ok(None) };
    let rows = sql("SELECT blob FROM output WHERE job_seq = ?1 ORDER BY ordinal").bind(seq).all(connection)?;
    let blobs = rows.iter().map(|row| get(row, "blob")).collect::<Result<_, _>>()?;
    Ok(Some((job, blobs)))
}

pub(super) fn output_blob(
    connection: &Connection,
    id: JobId,
    name: &str,
) -> Result<Option<(Output, String)>, StoreError> {
    let row = sql("SELECT name, media_type, bytes, sha256, blob FROM output JOIN job ON job.seq = output.job_seq
         WHERE job.id = ?1 AND output.name = ?2")
    .bind(id.as_bytes().as_slice())
    .bind(name)
    .optional(connection)?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some((output_of(&row)?, get(&row, "blob")?)))
}

pub(super) fn asset(connection: &Connection, sha256: &str) -> Result<Option<u64>, StoreError> {
    let row = sql("SELECT bytes FROM asset WHERE sha256 = ?1").bind(sha256).optional(connection)?;
    row.map(|row| count_of(&row, "bytes")).transpose()
}

/// Outputs of a job, in order.
pub(super) fn outputs(connection: &Connection, seq: i64) -> Result<Vec<Output>, StoreError> {
    let rows = sql("SELECT name, media_type, bytes, sha256 FROM output WHERE job_seq = ?1 ORDER BY ordinal")
        .bind(seq)
        .all(connection)?;
    rows.iter().map(output_of).collect()
}

fn output_of(row: &Row) -> Result<Output, StoreError> {
    Ok(Output {
        name: get(row, "name")?,
        media_type: get(row, "media_type")?,
        bytes: count_of(row, "bytes")?,
        sha256: get(row, "sha256")?,
    })
}

/// The queue by class and by client.
pub(super) fn queue(connection: &Connection) -> Result<QueueOverview, StoreError> {
    let mode = super::order::mode(connection)?;
    let rows = sql(
        "SELECT priority, jobs_queued, jobs_running, tasks_ready, tasks_running, left_us FROM class ORDER BY priority",
    )
    .all(connection)?;
    let class = |row: &Row| Ok((priority_of(get(row, "priority")?)?, load_of(row)?));
    let classes = rows.iter().map(class).collect::<Result<Vec<_>, StoreError>>()?;
    let rows = sql("SELECT client.name, sum(jobs_queued) AS jobs_queued, sum(jobs_running) AS jobs_running,
                sum(tasks_ready) AS tasks_ready, sum(tasks_running) AS tasks_running, sum(left_us) AS left_us
         FROM flow JOIN client ON client.id = flow.client_id WHERE jobs_queued > 0 OR jobs_running > 0
         GROUP BY client_id ORDER BY 6 DESC, client_id LIMIT ?1")
    .bind(QUEUE_CLIENTS_MAX)
    .all(connection)?;
    let client = |row: &Row| Ok((get(row, "name")?, load_of(row)?));
    let clients = rows.iter().map(client).collect::<Result<Vec<_>, StoreError>>()?;
    Ok(QueueOverview { mode, classes, clients })
}

fn load_of(row: &Row) -> Result<Load, StoreError> {
    Ok(Load {
        jobs_queued: count_of(row, "jobs_queued")?,
        jobs_running: count_of(row, "jobs_running")?,
        tasks_queued: count_of(row, "tasks_ready")?,
        tasks_running: count_of(row, "tasks_running")?,
        gpu_seconds: count_of(row, "left_us")? as f64 * 1e-6,
    })
}

/// What is remembered under a name.
pub(super) fn model(connection: &Connection, name: &str) -> Result<Option<String>, StoreError> {
    let row = sql("SELECT json FROM model WHERE name = ?1").bind(name).optional(connection)?;
    row.map(|row| get(&row, "json")).transpose()
}
