//! Rows → jobs, events, outputs; the order of the queue. Reads only, on any connection.

use super::failure;
use crate::blob::BlobStore;
use crate::job::*;
use crate::limits::LIST_JOBS_MAX;
use crate::store::{ListFilter, StoreError};
use sqlx::sqlite::{Sqlite, SqliteConnection, SqliteRow};
use sqlx::{QueryBuilder, Row};

/// A job with everything that [`Job`] holds, in one statement.
const SELECT_JOB: &str = "
    SELECT job.seq, job.id, client.name AS client, job.spec, job.priority, job.state, task.attempt, job.cancel_requested,
           job.created_ms, job.started_ms, job.ended_ms, job.error, job.report, task.progress,
           (SELECT json_group_object(key, value) FROM label WHERE label.job_seq = job.seq) AS labels,
           (SELECT json_group_array(json_object('name', name, 'media_type', media_type, 'bytes', bytes, 'sha256', sha256)
                                    ORDER BY ordinal)
            FROM output WHERE output.job_seq = job.seq) AS outputs
    FROM job JOIN client ON client.id = job.client_id JOIN task ON task.job_seq = job.seq AND task.idx = 0";

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

pub(super) fn id_of(row: &SqliteRow) -> Result<JobId, StoreError> {
    let bytes: &[u8] = row.try_get("id").map_err(failure)?;
    JobId::from_slice(bytes)
        .map_err(|_| StoreError::Corrupt(format!("found an id of {} bytes, expected 16", bytes.len())))
}

/// JSON that this program wrote.
pub(super) fn json_of<T: serde::de::DeserializeOwned>(text: &str, what: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt(format!("the {what} of a job: {error}")))
}

fn job_of(row: &SqliteRow) -> Result<Job, StoreError> {
    let id = id_of(row)?;
    let text = |column: &str| row.try_get::<Option<&str>, _>(column).map_err(failure);
    let read = || -> Result<Job, StoreError> {
        let spec = text("spec")?.ok_or_else(|| StoreError::Corrupt("the spec of a job is missing".into()))?;
        Ok(Job {
            id,
            client: row.try_get("client").map_err(failure)?,
            spec: json_of(spec, "spec")?,
            priority: priority_of(row.try_get("priority").map_err(failure)?)?,
            state: state_of(row.try_get("state").map_err(failure)?)?,
            attempt: row.try_get("attempt").map_err(failure)?,
            cancel_requested: row.try_get("cancel_requested").map_err(failure)?,
            created_ms: row.try_get("created_ms").map_err(failure)?,
            started_ms: row.try_get("started_ms").map_err(failure)?,
            ended_ms: row.try_get("ended_ms").map_err(failure)?,
            labels: json_of(text("labels")?.unwrap_or("{}"), "labels")?,
            progress: text("progress")?.map_or(Ok(Progress::default()), |text| json_of(text, "progress"))?,
            outputs: json_of(text("outputs")?.unwrap_or("[]"), "outputs")?,
            error: text("error")?.map(|text| json_of(text, "error")).transpose()?,
            report: text("report")?.map(|text| json_of(text, "report")).transpose()?,
        })
    };
    read().map_err(|error| match error {
        StoreError::Corrupt(what) => StoreError::Corrupt(format!("{what} (job {id})")),
        other => other,
    })
}

/// A job, and its `seq`.
pub(super) async fn job(connection: &mut SqliteConnection, id: JobId) -> Result<Option<(i64, Job)>, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new(SELECT_JOB);
    query.push(" WHERE job.id = ").push_bind(id.as_bytes().to_vec());
    match query.build().fetch_optional(connection).await.map_err(failure)? {
        Some(row) => Ok(Some((row.try_get("seq").map_err(failure)?, job_of(&row)?))),
        None => Ok(None),
    }
}

/// A page, newest first. A row that cannot be read is logged and left out; the page is filled up from those behind it.
pub(super) async fn list(connection: &mut SqliteConnection, filter: &ListFilter) -> Result<Vec<Job>, StoreError> {
    let limit = filter.limit.min(LIST_JOBS_MAX) as usize;
    let mut before = filter.before;
    let mut jobs = Vec::new();
    while jobs.len() < limit {
        let wanted = limit - jobs.len();
        let rows = page(connection, filter, before, wanted).await?;
        for row in &rows {
            let id: Vec<u8> = row.try_get("id").map_err(failure)?;
            // Read apart from the job, so that the walk goes on behind a row that is none.
            before = Some((row.try_get("created_ms").map_err(failure)?, JobId::from_slice(&id).unwrap_or_default()));
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

async fn page(
    connection: &mut SqliteConnection,
    filter: &ListFilter,
    before: Option<(TimeMs, JobId)>,
    limit: usize,
) -> Result<Vec<SqliteRow>, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new(SELECT_JOB);
    query.push(" WHERE TRUE");
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
    query.build().fetch_all(connection).await.map_err(failure)
}

/// Queued tasks before the job with this `seq` in its class, and those of better classes. Counts an index.
pub(super) async fn tasks_before(connection: &mut SqliteConnection, rank: i64, seq: i64) -> Result<u64, StoreError> {
    let row = sqlx::query(
        "SELECT (SELECT coalesce(sum(tasks), 0) FROM queue_depth WHERE state = 'queued' AND priority < ?1)
              + (SELECT count(*) FROM task WHERE state = 'queued' AND priority = ?1 AND job_seq < ?2) AS tasks",
    )
    .bind(rank)
    .bind(seq)
    .fetch_one(connection)
    .await
    .map_err(failure)?;
    count_of(&row, "tasks")
}

pub(super) async fn position(connection: &mut SqliteConnection, id: JobId) -> Result<u64, StoreError> {
    let row = sqlx::query("SELECT seq, priority FROM job WHERE id = ?1 AND state = 'queued'")
        .bind(id.as_bytes().as_slice())
        .fetch_optional(&mut *connection)
        .await
        .map_err(failure)?;
    match row {
        Some(row) => {
            tasks_before(connection, row.try_get("priority").map_err(failure)?, row.try_get("seq").map_err(failure)?)
                .await
        }
        None => Ok(0),
    }
}

/// Queued tasks of this class and better ones: what goes before a new job.
pub(super) async fn depth(connection: &mut SqliteConnection, rank: i64) -> Result<u64, StoreError> {
    let row = sqlx::query("SELECT sum(tasks) AS tasks FROM queue_depth WHERE state = 'queued' AND priority <= ?1")
        .bind(rank)
        .fetch_one(connection)
        .await
        .map_err(failure)?;
    count_of(&row, "tasks")
}

/// Queued and running tasks.
pub(super) async fn counts(connection: &mut SqliteConnection) -> Result<(u64, u64), StoreError> {
    let row = sqlx::query(
        "SELECT sum(tasks) FILTER (WHERE state = 'queued') AS queued,
                sum(tasks) FILTER (WHERE state = 'running') AS running FROM queue_depth",
    )
    .fetch_one(connection)
    .await
    .map_err(failure)?;
    Ok((count_of(&row, "queued")?, count_of(&row, "running")?))
}

fn count_of(row: &SqliteRow, column: &str) -> Result<u64, StoreError> {
    let count: i64 = row.try_get(column).map_err(failure)?;
    u64::try_from(count).map_err(|_| StoreError::Corrupt(format!("found the count {count}")))
}

pub(super) async fn events(
    connection: &mut SqliteConnection,
    id: JobId,
    after: i64,
    limit: u32,
) -> Result<Vec<Event>, StoreError> {
    let rows = sqlx::query(
        "SELECT event.seq, event.time_ms, event.kind FROM event JOIN job ON job.seq = event.job_seq
         WHERE job.id = ?1 AND event.seq > ?2 ORDER BY event.seq LIMIT ?3",
    )
    .bind(id.as_bytes().as_slice())
    .bind(after)
    .bind(limit)
    .fetch_all(connection)
    .await
    .map_err(failure)?;
    let event = |row: &SqliteRow| {
        Ok(Event {
            seq: row.try_get("seq").map_err(failure)?,
            time_ms: row.try_get("time_ms").map_err(failure)?,
            kind: json_of(row.try_get("kind").map_err(failure)?, "event")?,
        })
    };
    rows.iter().map(event).collect()
}

pub(super) async fn output_blob(
    connection: &mut SqliteConnection,
    id: JobId,
    name: &str,
) -> Result<Option<(Output, String)>, StoreError> {
    let row = sqlx::query(
        "SELECT name, media_type, bytes, sha256, blob FROM output JOIN job ON job.seq = output.job_seq
         WHERE job.id = ?1 AND output.name = ?2",
    )
    .bind(id.as_bytes().as_slice())
    .bind(name)
    .fetch_optional(connection)
    .await
    .map_err(failure)?;
    let Some(row) = row else { return Ok(None) };
    let output = Output {
        name: row.try_get("name").map_err(failure)?,
        media_type: row.try_get("media_type").map_err(failure)?,
        bytes: count_of(&row, "bytes")?,
        sha256: row.try_get("sha256").map_err(failure)?,
    };
    Ok(Some((output, row.try_get("blob").map_err(failure)?)))
}

pub(super) async fn asset(connection: &mut SqliteConnection, sha256: &str) -> Result<Option<u64>, StoreError> {
    let row = sqlx::query("SELECT bytes FROM asset WHERE sha256 = ?1")
        .bind(sha256)
        .fetch_optional(connection)
        .await
        .map_err(failure)?;
    row.map(|row| count_of(&row, "bytes")).transpose()
}

pub(super) async fn blob_keys(connection: &mut SqliteConnection) -> Result<Vec<String>, StoreError> {
    let outputs = sqlx::query("SELECT DISTINCT blob FROM output").fetch_all(&mut *connection).await.map_err(failure)?;
    let assets = sqlx::query("SELECT sha256 FROM asset").fetch_all(connection).await.map_err(failure)?;
    let mut keys = Vec::with_capacity(outputs.len() + assets.len());
    for row in &outputs {
        keys.push(row.try_get("blob").map_err(failure)?);
    }
    for row in &assets {
        keys.push(BlobStore::asset_key(row.try_get("sha256").map_err(failure)?));
    }
    Ok(keys)
}
