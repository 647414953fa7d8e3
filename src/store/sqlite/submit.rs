//! Submit: a new job with its tasks; the answer where the same request was here before; and jobs that another one answers for.

use super::ends;
use super::order;
use super::read;
use super::writer::{Statement, Tx};
use super::{get, json};
use crate::job::*;
use crate::limits::{ATTEMPTS_MAX, JOB_COST_SECONDS_MAX, JOBS_QUEUED_MAX};
use crate::store::{NewJob, QueueMode, StoreError, Submitted};

pub(super) async fn submit(tx: &mut Tx, new: NewJob) -> Result<Submitted, StoreError> {
    let spec_hash = new.spec.canonical_hash();
    if let Some(answer) = submitted_before(tx, &new, &spec_hash).await? {
        return Ok(answer);
    }
    refuse_while_draining(tx).await?;
    let client = client(tx, &new.client).await?;
    let rank = read::priority_rank(new.spec.priority());
    let answers = answering_job(tx, &new, client.id, rank).await?;
    if !matches!(answers, Answers::Done(_)) {
        has_room(tx, &client).await?;
    }
    // An id that was forgotten may be used again.
    tx.run(sqlx::query("DELETE FROM tombstone WHERE id = ?1").bind(new.id.as_bytes().as_slice())).await?;
    tx.run(make_flow(rank, client.id)).await?;
    let seq = insert_job(tx, &new, &spec_hash, client.id, rank, &answers).await?;
    insert_tasks(tx, &new, seq, &client, rank, &answers).await?;
    insert_labels(tx, seq, new.spec.labels()).await?;
    for (ordinal, asset) in new.spec.assets().iter().enumerate() {
        let insert = sqlx::query("INSERT INTO job_asset (job_seq, ordinal, sha256) VALUES (?1, ?2, ?3)");
        tx.run(insert.bind(seq).bind(ordinal as i64).bind(asset.sha256())).await?;
    }
    let position = order::position(&mut tx.connection, new.id).await?;
    tx.event(seq, new.id, EventKind::Queued { position }).await?;
    match answers {
        Answers::Done(done) => ends::answer_from(tx, done, seq, new.id).await?,
        Answers::Follow(_) => {}
        Answers::Nobody => {
            let now_ms = tx.now_ms;
            tx.ready(rank, now_ms).await?;
        }
    }
    Ok(Submitted::Created(known(tx, new.id).await?.1))
}

/// The answer of [`submit`] where it would not make a job.
pub(super) async fn before(tx: &mut Tx, new: NewJob) -> Result<Option<Submitted>, StoreError> {
    let spec_hash = new.spec.canonical_hash();
    submitted_before(tx, &new, &spec_hash).await
}

/// The answer where the id or the idempotency key is there already.
async fn submitted_before(tx: &mut Tx, new: &NewJob, spec_hash: &[u8; 32]) -> Result<Option<Submitted>, StoreError> {
    let by_id = sqlx::query(
        "SELECT job.id, job.spec_hash = ?2 AND client.name = ?3 AS same
         FROM job JOIN client ON client.id = job.client_id WHERE job.id = ?1",
    );
    let by_id = tx.row(by_id.bind(new.id.as_bytes().as_slice()).bind(spec_hash.as_slice()).bind(&new.client)).await?;
    let found = match (by_id, &new.idempotency) {
        (Some(row), _) => Some(row),
        (None, Some((key, request_hash))) => {
            let by_key = sqlx::query(
                "SELECT job.id, job.request_hash = ?3 AS same FROM job JOIN client ON client.id = job.client_id
                 WHERE client.name = ?1 AND job.idempotency_key = ?2",
            );
            tx.row(by_key.bind(&new.client).bind(key).bind(request_hash.as_slice())).await?
        }
        (None, None) => None,
    };
    let Some(row) = found else { return Ok(None) };
    let id = read::id_of(&row)?;
    if get(&row, "same")? {
        Ok(Some(Submitted::Existing(known(tx, id).await?.1)))
    } else {
        Ok(Some(Submitted::Conflict(id)))
    }
}

pub(super) async fn refuse_while_draining(tx: &mut Tx) -> Result<(), StoreError> {
    match order::mode(&mut tx.connection).await? {
        QueueMode::Open | QueueMode::Paused => Ok(()),
        QueueMode::Draining => Err(StoreError::Draining),
    }
}

/// A client, as a new job needs to know it.
pub(super) struct Client {
    pub(super) id: i64,
    name: String,
    weight: f64,
    jobs_queued_max: Option<i64>,
}

impl Client {
    /// The virtual time of GPU microseconds of this client.
    pub(super) fn virtual_cost(&self, cost_us: i64) -> i64 {
        ((cost_us as f64 / self.weight) as i64).max(1)
    }
}

/// Makes the flow of a client in a class, where it is missing.
pub(super) fn make_flow<'q>(rank: i64, client_id: i64) -> Statement<'q> {
    sqlx::query("INSERT INTO flow (priority, client_id) VALUES (?1, ?2) ON CONFLICT DO NOTHING")
        .bind(rank)
        .bind(client_id)
}

/// The client's row; made when it is seen for the first time.
pub(super) async fn client(tx: &mut Tx, name: &str) -> Result<Client, StoreError> {
    let select = "SELECT id, weight, max_queued FROM client WHERE name = ?1";
    let row = match tx.row(sqlx::query(select).bind(name)).await? {
        Some(row) => row,
        None => {
            let now_ms = tx.now_ms;
            tx.run(sqlx::query("INSERT INTO client (name, created_ms) VALUES (?1, ?2)").bind(name).bind(now_ms))
                .await?;
            tx.one(sqlx::query(select).bind(name)).await?
        }
    };
    let (id, weight) = (get(&row, "id")?, get(&row, "weight")?);
    Ok(Client { id, name: name.to_owned(), weight, jobs_queued_max: get(&row, "max_queued")? })
}

/// Whether the queue, and the client's part of it, have room for one more job.
pub(super) async fn has_room(tx: &mut Tx, client: &Client) -> Result<(), StoreError> {
    let (queued, _) = read::counts(&mut tx.connection).await?;
    if queued >= JOBS_QUEUED_MAX {
        return Err(StoreError::QueueFull(queued));
    }
    let Some(queued_max) = client.jobs_queued_max else { return Ok(()) };
    let query = sqlx::query(
        "SELECT coalesce(sum(jobs_queued), 0) AS queued FROM flow WHERE client_id = ?1 AND priority IN (0, 1, 2)",
    );
    let queued: i64 = get(&tx.one(query.bind(client.id)).await?, "queued")?;
    if queued < queued_max {
        return Ok(());
    }
    let [queued, queued_max] = [queued, queued_max].map(|count| count.max(0).unsigned_abs());
    Err(StoreError::Quota { client: client.name.clone(), queued, queued_max })
}

/// Who answers for a new job.
enum Answers {
    /// It is rendered itself.
    Nobody,
    /// The finished job with this `seq`.
    Done(i64),
    /// The queued or running job with this `seq`, once it succeeds.
    Follow(i64),
}

async fn answering_job(tx: &mut Tx, new: &NewJob, client_id: i64, rank: i64) -> Result<Answers, StoreError> {
    let Some(content) = new.content.filter(|_| new.spec.options().reuse) else { return Ok(Answers::Nobody) };
    let done = sqlx::query(
        "SELECT seq FROM job WHERE client_id = ?1 AND content = ?2 AND state = 'succeeded'
           AND EXISTS (SELECT 1 FROM output WHERE output.job_seq = job.seq) ORDER BY seq DESC LIMIT 1",
    );
    if let Some(row) = tx.row(done.bind(client_id).bind(content.as_slice())).await? {
        return Ok(Answers::Done(get(&row, "seq")?));
    }
    // What waits in a lower class would make a job of a better one wait with it.
    let leader = sqlx::query(
        "SELECT seq FROM job WHERE client_id = ?1 AND content = ?2 AND leader_seq IS NULL
           AND (state = 'running' AND cancel_requested = 0 OR state = 'queued' AND priority <= ?3) ORDER BY seq LIMIT 1",
    );
    match tx.row(leader.bind(client_id).bind(content.as_slice()).bind(rank)).await? {
        Some(row) => Ok(Answers::Follow(get(&row, "seq")?)),
        None => Ok(Answers::Nobody),
    }
}

async fn insert_job(
    tx: &mut Tx,
    new: &NewJob,
    spec_hash: &[u8; 32],
    client_id: i64,
    rank: i64,
    answers: &Answers,
) -> Result<i64, StoreError> {
    tx.created_ms_last = tx.created_ms_last.max(tx.now_ms);
    let options = new.spec.options();
    let plans = new.spec.tasks();
    let frames = plans.iter().filter(|plan| plan.kind == TaskKind::Frames).map(frames_of).sum::<i64>().max(1);
    let assemblies = plans.iter().filter(|plan| plan.kind == TaskKind::Assemble).count() as i64;
    let (key, request_hash) = new.idempotency.clone().unzip();
    let leader = match answers {
        Answers::Follow(leader) => Some(*leader),
        Answers::Nobody | Answers::Done(_) => None,
    };
    let insert = sqlx::query(
        "INSERT INTO job (id, client_id, kind, priority, state, spec, spec_hash, idempotency_key, request_hash, created_ms,
                          start_before_ms, finish_before_ms, webhook, content, leader_seq, tasks, frames, units)
         VALUES (?1, ?2, ?3, ?4, 'queued', ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17) RETURNING seq",
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
    .bind(options.start_before_ms)
    .bind(options.finish_before_ms)
    .bind(options.webhook.as_ref().map(json).transpose()?)
    .bind(new.content.map(|hash| hash.to_vec()))
    .bind(leader)
    .bind(plans.len() as i64)
    .bind(frames)
    .bind(frames + assemblies);
    get(&tx.one(insert).await?, "seq")
}

fn frames_of(plan: &TaskPlan) -> i64 {
    i64::from(plan.last_frame) - i64::from(plan.first_frame) + 1
}

/// The tasks, at the end of the client's flow, with the job's cost shared out among them by their frames.
async fn insert_tasks(
    tx: &mut Tx,
    new: &NewJob,
    seq: i64,
    client: &Client,
    rank: i64,
    answers: &Answers,
) -> Result<(), StoreError> {
    let plans = new.spec.tasks();
    let frames = plans.iter().filter(|plan| plan.kind == TaskKind::Frames).map(frames_of).sum::<i64>().max(1);
    let cost_us = cost_us(new.cost_seconds);
    // The tasks of a job that is answered at once never become ready: it ends in this transaction.
    let state = if matches!(answers, Answers::Done(_)) { "cancelled" } else { "queued" };
    let costs_us: Vec<i64> = plans
        .iter()
        .map(|plan| match plan.kind {
            TaskKind::Frames => (cost_us / frames).saturating_mul(frames_of(plan)).max(1),
            // It needs no device.
            TaskKind::Assemble => 1,
        })
        .collect();
    let vcosts: Vec<i64> = costs_us.iter().map(|cost_us| client.virtual_cost(*cost_us)).collect();
    let mut vplace = take_places(tx, client.id, rank, vcosts.iter().sum()).await?;
    for (index, plan) in plans.iter().enumerate() {
        let blocked = match answers {
            Answers::Follow(_) => BLOCKED_FOLLOWS,
            Answers::Nobody | Answers::Done(_) => blocked_alone(plan.kind),
        };
        let insert = sqlx::query(
            "INSERT INTO task (job_seq, idx, first_frame, last_frame, kind, priority, client_id, state, attempts_max, blocked,
                               vplace, vcost, cost_us, left_us)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?13)",
        );
        let insert = insert.bind(seq).bind(index as i64).bind(plan.first_frame).bind(plan.last_frame);
        let insert = insert.bind(plan.kind.as_str()).bind(rank).bind(client.id).bind(state).bind(ATTEMPTS_MAX);
        tx.run(insert.bind(blocked).bind(vplace).bind(vcosts[index]).bind(costs_us[index])).await?;
        vplace += vcosts[index];
    }
    Ok(())
}

/// `task.blocked` of a job that follows another one.
const BLOCKED_FOLLOWS: i64 = 2;

/// `task.blocked` of a task of a job that follows none.
fn blocked_alone(kind: TaskKind) -> i64 {
    match kind {
        TaskKind::Frames => 0,
        TaskKind::Assemble => 1,
    }
}

/// GPU microseconds of an estimate, which may be any number.
pub(super) fn cost_us(cost_seconds: f64) -> i64 {
    let seconds = if cost_seconds.is_nan() { 1.0 } else { cost_seconds };
    ((seconds.clamp(0.0, JOB_COST_SECONDS_MAX) * 1e6) as i64).max(1)
}

/// Places at the end of a flow.
pub(super) async fn take_places(tx: &mut Tx, client_id: i64, rank: i64, vcost: i64) -> Result<i64, StoreError> {
    let take = sqlx::query(
        "UPDATE flow SET vtail = vtail + ?3 WHERE priority = ?1 AND client_id = ?2 RETURNING vtail - ?3 AS vplace",
    );
    get(&tx.one(take.bind(rank).bind(client_id).bind(vcost)).await?, "vplace")
}

pub(super) async fn insert_labels(
    tx: &mut Tx,
    seq: i64,
    labels: &std::collections::BTreeMap<String, String>,
) -> Result<(), StoreError> {
    for (key, value) in labels {
        let insert = sqlx::query("INSERT INTO label (job_seq, key, value) VALUES (?1, ?2, ?3)");
        tx.run(insert.bind(seq).bind(key).bind(value)).await?;
    }
    Ok(())
}

/// A job that must be there, because this transaction has seen it.
pub(super) async fn known(tx: &mut Tx, id: JobId) -> Result<(i64, Job), StoreError> {
    let job = read::job(&mut tx.connection, id).await?;
    job.ok_or_else(|| StoreError::Corrupt(format!("job {id} has lost its client")))
}
