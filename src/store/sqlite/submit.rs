//! Submit: a new job with its tasks; the answer where the same request was here before; and jobs that another one answers for.

use super::ends;
use super::json;
use super::order;
use super::read;
use super::sql::{Sql, get, sql};
use super::writer::Tx;
use crate::job::*;
use crate::limits::*;
use crate::store::{NewJob, QueueMode, StoreError, Submitted};
use rusqlite::Connection;

pub(super) fn submit(tx: &mut Tx, new: NewJob) -> Result<Submitted, StoreError> {
    let spec_hash = new.spec.canonical_hash();
    if let Some(answer) = submitted_before(tx, &new, &spec_hash)? {
        return Ok(answer);
    }
    refuse_while_draining(tx)?;
    let client = client(tx, &new.client)?;
    let rank = read::priority_rank(new.spec.priority());
    let answers = answering_job(tx, &new, client.id)?;
    if !matches!(answers, Answers::Done(_)) {
        has_room(tx, &client)?;
    }
    // An id that was forgotten may be used again.
    tx.run(sql("DELETE FROM tombstone WHERE id = ?1").bind(new.id.as_bytes().as_slice()))?;
    tx.run(make_flow(rank, client.id))?;
    let seq = insert_job(tx, &new, &spec_hash, client.id, rank, &answers)?;
    insert_tasks(tx, &new, seq, &client, rank, &answers)?;
    insert_labels(tx, seq, new.spec.labels())?;
    for (ordinal, asset) in new.spec.assets().iter().enumerate() {
        let insert = sql("INSERT INTO job_asset (job_seq, ordinal, sha256) VALUES (?1, ?2, ?3)");
        tx.run(insert.bind(seq).bind(ordinal as i64).bind(asset.sha256()))?;
    }
    if let Answers::Follow(leader) = &answers {
        ends::lift(tx, *leader)?;
    }
    let position = order::position_at_most(&tx.connection, new.id)?;
    tx.event(seq, new.id, EventKind::Queued { position })?;
    match answers {
        Answers::Done(done) => ends::answer_from(tx, done, seq, new.id)?,
        Answers::Follow(_) => {}
        Answers::Nobody => {
            let now_ms = tx.now_ms;
            tx.ready(rank, now_ms)?;
        }
    }
    Ok(Submitted::Created(known(tx, new.id)?.1))
}

/// The answer of [`submit`] where it would not make a job.
pub(super) fn before(tx: &mut Tx, new: NewJob) -> Result<Option<Submitted>, StoreError> {
    let spec_hash = new.spec.canonical_hash();
    submitted_before(tx, &new, &spec_hash)
}

/// The answer where the id or the idempotency key is there already.
fn submitted_before(tx: &mut Tx, new: &NewJob, spec_hash: &[u8; 32]) -> Result<Option<Submitted>, StoreError> {
    let by_id = sql("SELECT job.id, job.spec_hash = ?2 AND client.name = ?3 AS same
         FROM job JOIN client ON client.id = job.client_id WHERE job.id = ?1");
    let by_id = tx.row(by_id.bind(new.id.as_bytes().as_slice()).bind(spec_hash.as_slice()).bind(&new.client))?;
    let found = match (by_id, &new.idempotency) {
        (Some(row), _) => Some(row),
        (None, Some((key, request_hash))) => {
            let by_key =
                sql("SELECT job.id, job.request_hash = ?3 AS same FROM job JOIN client ON client.id = job.client_id
                 WHERE client.name = ?1 AND job.idempotency_key = ?2");
            tx.row(by_key.bind(&new.client).bind(key).bind(request_hash.as_slice()))?
        }
        (None, None) => None,
    };
    let Some(row) = found else { return Ok(None) };
    let id = read::id_of(&row)?;
    if get(&row, "same")? { Ok(Some(Submitted::Existing(known(tx, id)?.1))) } else { Ok(Some(Submitted::Conflict(id))) }
}

pub(super) fn refuse_while_draining(tx: &mut Tx) -> Result<(), StoreError> {
    match order::mode(&tx.connection)? {
        QueueMode::Open | QueueMode::Paused => Ok(()),
        QueueMode::Draining => Err(StoreError::Draining),
    }
}

/// A client, as a new job needs to know it.
pub(super) struct Client {
    pub(super) id: i64,
    name: String,
    pub(super) weight: f64,
    jobs_queued_max: Option<i64>,
}

impl Client {
    /// The virtual time of GPU microseconds of this client.
    pub(super) fn virtual_cost(&self, cost_us: i64) -> i64 {
        ((cost_us as f64 / self.weight) as i64).max(1)
    }
}

/// Makes the flow of a client in a class, where it is missing.
pub(super) fn make_flow(rank: i64, client_id: i64) -> Sql {
    sql("INSERT INTO flow (priority, client_id) VALUES (?1, ?2) ON CONFLICT DO NOTHING").bind(rank).bind(client_id)
}

/// The client's row; made when it is seen for the first time.
pub(super) fn client(tx: &mut Tx, name: &str) -> Result<Client, StoreError> {
    let select = "SELECT id, weight, max_queued FROM client WHERE name = ?1";
    let row = match tx.row(sql(select).bind(name))? {
        Some(row) => row,
        None => {
            let now_ms = tx.now_ms;
            tx.run(sql("INSERT INTO client (name, created_ms) VALUES (?1, ?2)").bind(name).bind(now_ms))?;
            tx.one(sql(select).bind(name))?
        }
    };
    let (id, weight) = (get(&row, "id")?, get(&row, "weight")?);
    Ok(Client { id, name: name.to_owned(), weight, jobs_queued_max: get(&row, "max_queued")? })
}

/// Whether the queue, and the client's part of it, have room for one more job.
pub(super) fn has_room(tx: &mut Tx, client: &Client) -> Result<(), StoreError> {
    let (queued, _) = read::counts(&tx.connection)?;
    if queued >= JOBS_QUEUED_MAX {
        return Err(StoreError::QueueFull(queued));
    }
    let Some(queued_max) = client.jobs_queued_max else { return Ok(()) };
    let query =
        sql("SELECT coalesce(sum(jobs_queued), 0) AS queued FROM flow WHERE client_id = ?1 AND priority IN (0, 1, 2)");
    let queued: i64 = get(&tx.one(query.bind(client.id))?, "queued")?;
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

fn answering_job(tx: &mut Tx, new: &NewJob, client_id: i64) -> Result<Answers, StoreError> {
    let Some(content) = new.content.filter(|_| new.spec.options().reuse) else { return Ok(Answers::Nobody) };
    let done = sql("SELECT seq FROM job WHERE client_id = ?1 AND content = ?2 AND state = 'succeeded'
           AND EXISTS (SELECT 1 FROM output WHERE output.job_seq = job.seq) ORDER BY seq DESC LIMIT 1");
    if let Some(row) = tx.row(done.bind(client_id).bind(content.as_slice()))? {
        return Ok(Answers::Done(get(&row, "seq")?));
    }
    // All of them are answered in the transaction in which the leader ends: so many that their rows are soon written. Those that come
    // later follow another leader, the first of them being that.
    let followers_max = (FOLLOWERS_MAX / frames_in_all(&new.spec.tasks())).max(FOLLOWERS_MIN);
    let leader = sql(
        "SELECT seq FROM job WHERE client_id = ?1 AND content = ?2 AND leader_seq IS NULL AND state IN ('queued', 'running')
           AND cancel_requested = 0 AND (SELECT count(*) FROM job AS follower WHERE follower.leader_seq = job.seq) < ?3
         ORDER BY seq LIMIT 1",
    );
    match tx.row(leader.bind(client_id).bind(content.as_slice()).bind(followers_max))? {
        Some(row) => Ok(Answers::Follow(get(&row, "seq")?)),
        None => Ok(Answers::Nobody),
    }
}

/// The outputs of the job that would be [`Answers::Done`].
pub(super) fn answers(connection: &Connection, new: &NewJob) -> Result<Vec<(String, u64)>, StoreError> {
    let Some(content) = new.content.filter(|_| new.spec.options().reuse) else { return Ok(Vec::new()) };
    let rows = sql("SELECT blob, bytes FROM output WHERE job_seq = (
            SELECT max(job.seq) FROM job JOIN client ON client.id = job.client_id
            WHERE client.name = ?1 AND content = ?2 AND state = 'succeeded'
              AND EXISTS (SELECT 1 FROM output AS any_of WHERE any_of.job_seq = job.seq)) ORDER BY ordinal");
    let rows = rows.bind(&new.client).bind(content.as_slice()).all(connection)?;
    rows.iter().map(|row| Ok((get(row, "blob")?, read::count_of(row, "bytes")?))).collect()
}

pub(super) fn answers_no_more(tx: &mut Tx, new: NewJob) -> Result<(), StoreError> {
    let Some(content) = new.content else { return Ok(()) };
    let forget = sql("UPDATE job SET content = NULL
         WHERE client_id = (SELECT id FROM client WHERE name = ?1) AND content = ?2 AND state = 'succeeded'");
    tx.run(forget.bind(new.client).bind(content.as_slice())).map(drop)
}

fn insert_job(
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
    let frames = frames_in_all(&plans);
    let assemblies = plans.iter().filter(|plan| plan.kind == TaskKind::Assemble).count() as i64;
    let (key, request_hash) = new.idempotency.clone().unzip();
    let leader = match answers {
        Answers::Follow(leader) => Some(*leader),
        Answers::Nobody | Answers::Done(_) => None,
    };
    let insert = sql(
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
    get(&tx.one(insert)?, "seq")
}

/// Frames of a job; 1 for one that has none.
pub(super) fn frames_in_all(plans: &[TaskPlan]) -> i64 {
    plans.iter().filter(|plan| plan.kind == TaskKind::Frames).map(frames_of).sum::<i64>().max(1)
}

fn frames_of(plan: &TaskPlan) -> i64 {
    i64::from(plan.last_frame) - i64::from(plan.first_frame) + 1
}

/// The tasks, at the end of the client's flow, with the job's cost shared out among them by their frames.
fn insert_tasks(
    tx: &mut Tx,
    new: &NewJob,
    seq: i64,
    client: &Client,
    rank: i64,
    answers: &Answers,
) -> Result<(), StoreError> {
    let plans = new.spec.tasks();
    let frames = frames_in_all(&plans);
    let cost_us = cost_us(new.cost_seconds);
    // The tasks of a job that is answered at once never become ready: it ends in this transaction.
    let state = if matches!(answers, Answers::Done(_)) { "cancelled" } else { "queued" };
    let costs_us: Vec<i64> = plans.iter().map(|plan| share_us(cost_us, frames, plan)).collect();
    let vcosts: Vec<i64> = costs_us.iter().map(|cost_us| client.virtual_cost(*cost_us)).collect();
    let mut vplace = match answers {
        Answers::Nobody => take_places(tx, client.id, rank, vcosts.iter().sum())?,
        // It stands in no queue.
        Answers::Done(_) | Answers::Follow(_) => 0,
    };
    for (index, plan) in plans.iter().enumerate() {
        let blocked = match answers {
            Answers::Follow(_) => BLOCKED_FOLLOWS,
            Answers::Nobody | Answers::Done(_) => blocked_alone(plan.kind),
        };
        let insert = sql(
            "INSERT INTO task (job_seq, idx, first_frame, last_frame, kind, priority, client_id, state, attempts_max, blocked,
                               vplace, vcost, cost_us, left_us)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?13)",
        );
        let insert = insert.bind(seq).bind(index as i64).bind(plan.first_frame).bind(plan.last_frame);
        let insert = insert.bind(plan.kind.as_str()).bind(rank).bind(client.id).bind(state).bind(ATTEMPTS_MAX);
        tx.run(insert.bind(blocked).bind(vplace).bind(vcosts[index]).bind(costs_us[index]))?;
        vplace = (vplace + vcosts[index]).min(VTIME_MAX);
    }
    Ok(())
}

/// What a task of a job of so many frames is estimated to need of the whole job's GPU microseconds.
pub(super) fn share_us(cost_us: i64, frames: i64, plan: &TaskPlan) -> i64 {
    match plan.kind {
        TaskKind::Frames => (cost_us / frames).saturating_mul(frames_of(plan)).max(1),
        // It needs no device.
        TaskKind::Assemble => 1,
    }
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

/// Places at the end of a flow. At the end of virtual time all places are the same, and jobs are taken in the order of their arrival.
pub(super) fn take_places(tx: &mut Tx, client_id: i64, rank: i64, vcost: i64) -> Result<i64, StoreError> {
    let tail = sql("SELECT vtail FROM flow WHERE priority = ?1 AND client_id = ?2").bind(rank).bind(client_id);
    let vplace: i64 = get(&tx.one(tail)?, "vtail")?;
    let take = sql("UPDATE flow SET vtail = ?3 WHERE priority = ?1 AND client_id = ?2").bind(rank).bind(client_id);
    tx.run(take.bind(vplace.saturating_add(vcost).min(VTIME_MAX)))?;
    Ok(vplace)
}

/// Puts what is queued of a job behind what its client has in a class: all of it, or only what is in another class.
pub(super) fn place_at_end(tx: &mut Tx, seq: i64, client_id: i64, rank: i64, all: bool) -> Result<(), StoreError> {
    let sum =
        sql("SELECT sum(vcost) AS vcost FROM task WHERE job_seq = ?1 AND state = 'queued' AND (?3 OR priority <> ?2)");
    let sum = tx.one(sum.bind(seq).bind(rank).bind(all))?;
    let Some(vcost) = get::<Option<i64>>(&sum, "vcost")? else { return Ok(()) };
    let vplace = take_places(tx, client_id, rank, vcost)?;
    let tasks = sql("UPDATE task SET priority = ?2, vplace = min(?4 + before.vcost, ?5)
         FROM (SELECT idx, sum(vcost) OVER (ORDER BY idx) - vcost AS vcost FROM task
               WHERE job_seq = ?1 AND state = 'queued' AND (?3 OR priority <> ?2)) AS before
         WHERE task.job_seq = ?1 AND task.idx = before.idx");
    tx.run(tasks.bind(seq).bind(rank).bind(all).bind(vplace).bind(VTIME_MAX)).map(drop)
}

/// Moves a job to another class, there behind what its client has. What runs of it stays where it was charged.
pub(super) fn move_to_class(tx: &mut Tx, seq: i64, client_id: i64, rank: i64) -> Result<(), StoreError> {
    tx.run(make_flow(rank, client_id))?;
    tx.run(sql("UPDATE job SET priority = ?2 WHERE seq = ?1 AND priority <> ?2").bind(seq).bind(rank))?;
    place_at_end(tx, seq, client_id, rank, false)?;
    let now_ms = tx.now_ms;
    tx.ready(rank, now_ms)
}

pub(super) fn insert_labels(
    tx: &mut Tx,
    seq: i64,
    labels: &std::collections::BTreeMap<String, String>,
) -> Result<(), StoreError> {
    for (key, value) in labels {
        let insert = sql("INSERT INTO label (job_seq, key, value) VALUES (?1, ?2, ?3)");
        tx.run(insert.bind(seq).bind(key).bind(value))?;
    }
    Ok(())
}

/// A job that must be there, because this transaction has seen it.
pub(super) fn known(tx: &mut Tx, id: JobId) -> Result<(i64, Job), StoreError> {
    let job = read::job(&tx.connection, id)?;
    job.ok_or_else(|| StoreError::Corrupt(format!("job {id} has lost its client")))
}
