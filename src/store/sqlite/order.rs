//! The order of claims: which task is next, and what goes before a job. See the text of [`crate::store`] for the rules.
//!
//! What costs time with a long queue is kept ready by triggers: how much each class and each flow has, and each flow's head. A claim
//! looks at a handful of flows, best first; a position is a range of an index in each flow that has something before the job.
//!
//! A flow's tasks stand in it by `vplace`, the work of those before them. The start tag of its head is `vfinish`, and that of a task
//! further back is `vfinish` plus the distance of their places: what start-time fair queueing would tag it with when the tasks
//! before it were claimed and used what they are estimated to. Ties go to the job that came first.

use super::read::{count_of, priority_rank};
use super::sql::{Row, get, sql};
use super::writer::Tx;
use crate::job::*;
use crate::limits::*;
use crate::store::{Ahead, ClaimWant, QueueMode, StoreError};
use rusqlite::Connection;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// A task that may be claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) seq: i64,
    pub(super) task: i64,
    pub(super) client_id: i64,
    /// Its class.
    pub(super) rank: i64,
    /// The class that it goes as: its own, or a better one that ageing lifts it to.
    pub(super) rank_lifted: i64,
    /// Start tag of its flow.
    pub(super) vstart: i64,
    /// The one that was best, where another one is preferred.
    pub(super) passed_over: Option<(i64, i64)>,
}

/// The best task that is due.
pub(super) fn choose(tx: &mut Tx, want: &ClaimWant) -> Result<Option<Candidate>, StoreError> {
    if mode(&tx.connection)? != QueueMode::Open {
        return Ok(None);
    }
    let better_than = want.better_than.map_or(i64::MAX, priority_rank);
    if want.better_than.is_some() && starves(tx, better_than)? {
        return Ok(None);
    }
    for (rank, rank_lifted) in classes(tx, better_than)? {
        if let Some(candidate) = choose_in_class(tx, rank, want)? {
            return Ok(Some(Candidate { rank_lifted, ..candidate }));
        }
    }
    Ok(None)
}

/// True where a task on the device, which better ones would put aside, has not got any of it for an ageing period: it goes first. What
/// is being loaded, encoded or put together asks for nothing of the device, and what a lost worker held is on none.
fn starves(tx: &mut Tx, better_than: i64) -> Result<bool, StoreError> {
    let query = sql(
        "SELECT 1 FROM task WHERE state = 'running' AND lease_until_ms > ?2 AND kind = 'frames' AND priority >= ?1
           AND advanced_ms <= ?2 - iif(priority = 2, ?3, ?4)
           AND json_extract(iif(json_valid(progress), progress, '{}'), '$.phase') IN ('rendering', 'denoising') LIMIT 1",
    );
    let now_ms = tx.now_ms;
    let found = tx.row(query.bind(better_than).bind(now_ms).bind(AGEING_BATCH_MS).bind(AGEING_NORMAL_MS))?;
    Ok(found.is_some())
}

/// The classes in the order in which they are asked, each with the class that its task goes as.
fn classes(tx: &mut Tx, better_than: i64) -> Result<Vec<(i64, i64)>, StoreError> {
    let rows = tx.rows(sql("SELECT priority, waiting_since_ms FROM class WHERE tasks_ready > 0 ORDER BY priority"))?;
    let mut waiting = Vec::with_capacity(3);
    for row in &rows {
        waiting.push((get::<i64>(row, "priority")?, get::<Option<TimeMs>>(row, "waiting_since_ms")?));
    }
    let Some((best, _)) = waiting.first().copied() else { return Ok(Vec::new()) };
    // A task that is claimed to be put in front of others needs no ageing: what it would displace has the device already.
    let overdue_ms = |rank: i64, since: Option<TimeMs>| {
        let period_ms = if rank == 2 { AGEING_BATCH_MS } else { AGEING_NORMAL_MS };
        since
            .map(|since| tx.now_ms - since - period_ms)
            .filter(|overdue_ms| *overdue_ms >= 0 && rank > best && better_than == i64::MAX)
    };
    let mut lifted: Vec<(i64, TimeMs)> =
        waiting.iter().filter_map(|(rank, since)| Some((*rank, overdue_ms(*rank, *since)?))).collect();
    lifted.sort_by_key(|(_, overdue_ms)| -overdue_ms);
    let lifted = lifted.into_iter().map(|(rank, _)| (rank, best));
    Ok(lifted.chain(waiting.iter().map(|(rank, _)| (*rank, *rank))).filter(|(rank, _)| *rank < better_than).collect())
}

/// A task in the window of preference, with its start tag.
struct InWindow {
    tag: i64,
    seq: i64,
    task: i64,
    client_id: i64,
    vstart: i64,
    passed: u32,
}

fn choose_in_class(tx: &mut Tx, rank: i64, want: &ClaimWant) -> Result<Option<Candidate>, StoreError> {
    let window = if want.resident.is_empty() { 1 } else { RESIDENT_WINDOW_TASKS };
    let now_ms = tx.now_ms;
    let mut candidates: Vec<InWindow> = Vec::new();
    // Flows come in the order of their heads' tags. Once there are `window` candidates, a flow whose head comes after all of them
    // has nothing better.
    let mut last = (i64::MIN, i64::MIN);
    'flows: loop {
        let query = sql("SELECT flow.client_id, flow.vfinish, flow.head_seq,
                    client.max_running IS NULL OR client.max_running > (
                        SELECT coalesce(sum(tasks_running), 0) FROM flow AS all_classes
                        WHERE all_classes.client_id = client.id AND all_classes.priority IN (0, 1, 2)) AS may_run
             FROM flow JOIN client ON client.id = flow.client_id
             WHERE flow.priority = ?1 AND flow.tasks_ready > 0 AND (flow.vfinish, flow.head_seq) > (?2, ?3)
             ORDER BY flow.vfinish, flow.head_seq LIMIT ?4");
        let page = tx.rows(query.bind(rank).bind(last.0).bind(last.1).bind(FLOWS_PAGE))?;
        for row in &page {
            let vstart: i64 = get(row, "vfinish")?;
            last = (vstart, get(row, "head_seq")?);
            if candidates.len() >= window && candidates.iter().all(|best| (best.tag, best.seq) < last) {
                break 'flows;
            }
            if !get::<bool>(row, "may_run")? {
                continue;
            }
            candidates.extend(due_in_flow(tx, rank, get(row, "client_id")?, vstart, now_ms, window)?);
            candidates.sort_by_key(|candidate| (candidate.tag, candidate.seq, candidate.task));
            candidates.truncate(window);
        }
        if (page.len() as i64) < FLOWS_PAGE {
            break;
        }
    }
    let Some(head) = candidates.first() else { return Ok(None) };
    let preferred = preferred(tx, &candidates, want)?.unwrap_or(0);
    let chosen = &candidates[preferred];
    Ok(Some(Candidate {
        seq: chosen.seq,
        task: chosen.task,
        client_id: chosen.client_id,
        rank,
        rank_lifted: rank,
        vstart: chosen.vstart,
        passed_over: (preferred > 0).then_some((head.seq, head.task)),
    }))
}

/// Flows that are read at once.
const FLOWS_PAGE: i64 = 32;

/// The first tasks of a flow whose time has come. A `run_at_ms` beyond the longest delay was written before the clock went back.
fn due_in_flow(
    tx: &mut Tx,
    rank: i64,
    client_id: i64,
    vstart: i64,
    now_ms: TimeMs,
    limit: usize,
) -> Result<Vec<InWindow>, StoreError> {
    let query = sql("SELECT job_seq, idx, vplace FROM task
         WHERE state = 'queued' AND blocked = 0 AND priority = ?1 AND client_id = ?2
           AND (run_at_ms <= ?3 OR run_at_ms > ?4)
         ORDER BY vplace, job_seq, idx LIMIT ?5");
    let query = query.bind(rank).bind(client_id).bind(now_ms).bind(now_ms + RETRY_DELAY_MS_MAX).bind(limit as i64);
    let rows = tx.rows(query)?;
    let mut due: Vec<InWindow> = Vec::with_capacity(rows.len());
    let mut first_vplace = None;
    for row in &rows {
        let vplace: i64 = get(row, "vplace")?;
        let distance = vplace - *first_vplace.get_or_insert(vplace);
        due.push(InWindow {
            tag: vstart.saturating_add(distance),
            seq: get(row, "job_seq")?,
            task: get(row, "idx")?,
            client_id,
            vstart,
            passed: 0,
        });
    }
    if let Some(head) = due.first_mut() {
        let passed = sql("SELECT passed FROM task WHERE job_seq = ?1 AND idx = ?2").bind(head.seq).bind(head.task);
        head.passed = get(&tx.one(passed)?, "passed")?;
    }
    Ok(due)
}

/// Which of the candidates has its scene on the GPU already; `None`: the head goes, for it has it too, or was passed over enough.
fn preferred(tx: &mut Tx, candidates: &[InWindow], want: &ClaimWant) -> Result<Option<usize>, StoreError> {
    if want.resident.is_empty() || candidates.first().is_none_or(|head| head.passed >= RESIDENT_PASSES_MAX) {
        return Ok(None);
    }
    for (place, candidate) in candidates.iter().enumerate() {
        let query = sql("SELECT sha256 FROM job_asset WHERE job_seq = ?1 AND ordinal = 0").bind(candidate.seq);
        let Some(row) = tx.row(query)? else { continue };
        let scene: &str = get(&row, "sha256")?;
        if want.resident.iter().any(|asset| asset.strip_prefix("sha256:").unwrap_or(asset) == scene) {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

/// Moves the flow on by what the task is estimated to use, and the class's virtual time to where the flow was.
pub(super) fn charge(tx: &mut Tx, chosen: &Candidate, vcharge: i64) -> Result<(), StoreError> {
    let flow = sql("UPDATE flow SET vfinish = min(vfinish + ?3, ?4) WHERE priority = ?1 AND client_id = ?2");
    tx.run(flow.bind(chosen.rank).bind(chosen.client_id).bind(vcharge).bind(VTIME_MAX))?;
    let class = sql(
        "UPDATE class SET vtime = max(vtime, ?2), waiting_since_ms = iif(tasks_ready > 0, ?3, NULL) WHERE priority = ?1",
    );
    let now_ms = tx.now_ms;
    tx.run(class.bind(chosen.rank).bind(chosen.vstart).bind(now_ms))?;
    if let Some((seq, task)) = chosen.passed_over {
        let passed = sql("UPDATE task SET passed = passed + 1 WHERE job_seq = ?1 AND idx = ?2");
        tx.run(passed.bind(seq).bind(task))?;
    }
    Ok(())
}

/// What a claim charged a flow for.
pub(super) struct Charged {
    rank: i64,
    client_id: i64,
    /// See the columns of the same names.
    left_us: i64,
    cost_us: i64,
    vcost: i64,
}

impl Charged {
    /// Of a task's row, before it is changed.
    pub(super) fn read(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            rank: get(row, "priority")?,
            client_id: get(row, "client_id")?,
            left_us: get(row, "left_us")?,
            cost_us: get(row, "cost_us")?,
            vcost: get(row, "vcost")?,
        })
    }
}

/// Replaces what a claim charged a flow for by what the attempt used.
pub(super) fn correct(tx: &mut Tx, charged: &Charged, used_us: i64) -> Result<(), StoreError> {
    let Charged { rank, client_id, left_us, cost_us, vcost } = *charged;
    let more = virtual_part(used_us, cost_us, vcost) - virtual_part(left_us, cost_us, vcost);
    let flow = sql(
        "UPDATE flow SET vfinish = max(min(vfinish + ?3, ?4), min(vfinish, vfloor)) WHERE priority = ?1 AND client_id = ?2",
    );
    tx.run(flow.bind(rank).bind(client_id).bind(more).bind(VTIME_MAX)).map(drop)
}

/// Brings a client's flows up to where their classes are: what it was not allowed to use while it was held back is not its credit.
pub(super) fn forget_credit(tx: &mut Tx, client_id: i64) -> Result<(), StoreError> {
    let flows = sql("UPDATE flow SET vfinish = max(vfinish, vtime), vfloor = max(vfloor, vtime) FROM class
         WHERE class.priority = flow.priority AND flow.client_id = ?1 AND flow.priority IN (0, 1, 2)");
    tx.run(flows.bind(client_id)).map(drop)
}

/// What part of a task's virtual cost this many of its GPU microseconds are; at least 1, so that a flow always moves on.
pub(super) fn virtual_part(used_us: i64, cost_us: i64, vcost: i64) -> i64 {
    let part = i128::from(used_us.max(0)) * i128::from(vcost) / i128::from(cost_us.max(1));
    i64::try_from(part).unwrap_or(VTIME_MAX).clamp(1, VTIME_MAX)
}

pub(super) fn mode(connection: &Connection) -> Result<QueueMode, StoreError> {
    let row = sql("SELECT value FROM setting WHERE name = 'queue_mode'").optional(connection)?;
    let Some(row) = row else { return Ok(QueueMode::Open) };
    let word: &str = get(&row, "value")?;
    QueueMode::parse(word).ok_or_else(|| {
        StoreError::Corrupt(format!("found the queue's mode {word:?}, expected open, paused or draining"))
    })
}

/// The first task that a queued job waits to have claimed, or that the job which it follows does.
struct First {
    rank: i64,
    /// `None`: the leader runs already, so that nothing is before it.
    place: Option<Place>,
}

/// A place in the order of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    tag: i64,
    seq: i64,
    task: i64,
}

fn first_of(connection: &Connection, id: JobId) -> Result<Option<First>, StoreError> {
    let row = sql("SELECT coalesce(leader.seq, job.seq) AS seq, coalesce(leader.priority, job.priority) AS priority
         FROM job LEFT JOIN job AS leader ON leader.seq = job.leader_seq WHERE job.id = ?1 AND job.state = 'queued'")
    .bind(id.as_bytes().as_slice())
    .optional(connection)?;
    let Some(row) = row else { return Ok(None) };
    let (seq, rank): (i64, i64) = (get(&row, "seq")?, get(&row, "priority")?);
    let row = sql(
        "SELECT task.idx, flow.vfinish + task.vplace - flow.head_vplace AS tag
         FROM task JOIN flow ON flow.priority = task.priority AND flow.client_id = task.client_id
         WHERE task.job_seq = ?1 AND task.state = 'queued' AND task.blocked = 0 ORDER BY task.vplace, task.idx LIMIT 1",
    )
    .bind(seq)
    .optional(connection)?;
    let place = |row: Row| Ok::<_, StoreError>(Place { tag: get(&row, "tag")?, seq, task: get(&row, "idx")? });
    Ok(Some(First { rank, place: row.map(place).transpose()? }))
}

/// Ready tasks of better classes and their estimated GPU microseconds.
fn better_classes(connection: &Connection, rank: i64) -> Result<(u64, u64), StoreError> {
    let row = sql(
        "SELECT coalesce(sum(tasks_ready), 0) AS tasks, coalesce(sum(left_us), 0) AS left_us FROM class WHERE priority < ?1",
    )
    .bind(rank)
    .one(connection)?;
    Ok((count_of(&row, "tasks")?, count_of(&row, "left_us")?))
}

/// Tasks before a place in its class, and their estimated GPU microseconds. Reads indexes alone.
fn before_in_class(connection: &Connection, rank: i64, place: Place) -> Result<(u64, u64), StoreError> {
    let row = sql("SELECT count(*) AS tasks, coalesce(sum(task.left_us), 0) AS left_us
         FROM flow CROSS JOIN task ON task.state = 'queued' AND task.blocked = 0
              AND task.priority = flow.priority AND task.client_id = flow.client_id
              AND (task.vplace, task.job_seq, task.idx) < (flow.head_vplace + (?2 - flow.vfinish), ?3, ?4)
         WHERE flow.priority = ?1 AND flow.tasks_ready > 0 AND flow.vfinish <= ?2")
    .bind(rank)
    .bind(place.tag)
    .bind(place.seq)
    .bind(place.task)
    .one(connection)?;
    Ok((count_of(&row, "tasks")?, count_of(&row, "left_us")?))
}

/// What the running tasks of a class and of better ones are estimated to need still, in GPU microseconds.
fn running_left_us(connection: &Connection, rank: i64) -> Result<u64, StoreError> {
    let row = sql("SELECT coalesce(sum(max(left_us - attempt_us, 0)), 0) AS left_us FROM task
         WHERE state = 'running' AND lease_until_ms > 0 AND priority <= ?1")
    .bind(rank)
    .one(connection)?;
    count_of(&row, "left_us")
}

/// The position for an event, which is counted inside of the writer: at most `EVENT_POSITION_MAX`, where counting stops.
pub(super) fn position_at_most(connection: &Connection, id: JobId) -> Result<u64, StoreError> {
    let Some(First { rank, place: Some(place) }) = first_of(connection, id)? else { return Ok(0) };
    let (better, _) = better_classes(connection, rank)?;
    if better >= EVENT_POSITION_MAX {
        return Ok(EVENT_POSITION_MAX);
    }
    let row = sql("SELECT count(*) AS tasks FROM (SELECT 1
             FROM flow CROSS JOIN task ON task.state = 'queued' AND task.blocked = 0
                  AND task.priority = flow.priority AND task.client_id = flow.client_id
                  AND (task.vplace, task.job_seq, task.idx) < (flow.head_vplace + (?2 - flow.vfinish), ?3, ?4)
             WHERE flow.priority = ?1 AND flow.tasks_ready > 0 AND flow.vfinish <= ?2 LIMIT ?5)")
    .bind(rank)
    .bind(place.tag)
    .bind(place.seq)
    .bind(place.task)
    .bind((EVENT_POSITION_MAX - better) as i64)
    .one(connection)?;
    Ok(better + count_of(&row, "tasks")?)
}

pub(super) fn position(connection: &Connection, id: JobId) -> Result<u64, StoreError> {
    let Some(First { rank, place: Some(place) }) = first_of(connection, id)? else { return Ok(0) };
    let (better, _) = better_classes(connection, rank)?;
    Ok(better + before_in_class(connection, rank, place)?.0)
}

pub(super) fn ahead(connection: &Connection, id: JobId) -> Result<Option<Ahead>, StoreError> {
    let Some(First { rank, place }) = first_of(connection, id)? else { return Ok(None) };
    let Some(place) = place else { return Ok(Some(Ahead::default())) };
    let (better_tasks, better_us) = better_classes(connection, rank)?;
    let (tasks, left_us) = before_in_class(connection, rank, place)?;
    let running_us = running_left_us(connection, rank)?;
    let gpu_seconds = (better_us + left_us + running_us) as f64 * 1e-6;
    Ok(Some(Ahead { tasks: better_tasks + tasks, gpu_seconds }))
}

/// Everything ready in the class and in better ones, and what runs of them: what a worse class has on the device is put aside.
pub(super) fn ahead_of_new(connection: &Connection, priority: Priority) -> Result<Ahead, StoreError> {
    let rank = priority_rank(priority);
    let (tasks, left_us) = better_classes(connection, rank + 1)?;
    let running_us = running_left_us(connection, rank)?;
    Ok(Ahead { tasks, gpu_seconds: (left_us + running_us) as f64 * 1e-6 })
}

/// For a page of jobs: each class that they are in is put in order once.
pub(super) fn ahead_of_all(connection: &Connection, ids: &[JobId]) -> Result<Vec<Option<Ahead>>, StoreError> {
    let queued = sql("SELECT sum(tasks_ready) AS tasks FROM class").one(connection)?;
    if count_of(&queued, "tasks")? > ORDERED_TASKS_MAX {
        // Rather many small questions than all of such a queue in memory.
        let mut answers = Vec::with_capacity(ids.len());
        for id in ids {
            answers.push(ahead(connection, *id)?);
        }
        return Ok(answers);
    }
    let mut firsts = Vec::with_capacity(ids.len());
    for id in ids {
        firsts.push(first_of(connection, *id)?);
    }
    let mut orders: HashMap<i64, Order> = HashMap::new();
    let mut answers = Vec::with_capacity(ids.len());
    for first in firsts {
        let answer = match first {
            None => None,
            Some(First { place: None, .. }) => Some(Ahead::default()),
            Some(First { rank, place: Some(place) }) => {
                if let Entry::Vacant(entry) = orders.entry(rank) {
                    entry.insert(Order::read(connection, rank)?);
                }
                Some(orders[&rank].ahead(place))
            }
        };
        answers.push(answer);
    }
    Ok(answers)
}

/// A class in the order of claims.
struct Order {
    /// Sorted; each with the GPU microseconds of those before it.
    places: Vec<(Place, u64)>,
    /// Tasks and GPU microseconds of better classes and of what runs.
    before: (u64, u64),
}

impl Order {
    fn read(connection: &Connection, rank: i64) -> Result<Self, StoreError> {
        let rows =
            sql("SELECT flow.vfinish + task.vplace - flow.head_vplace AS tag, task.job_seq, task.idx, task.left_us
             FROM flow CROSS JOIN task ON task.state = 'queued' AND task.blocked = 0
                  AND task.priority = flow.priority AND task.client_id = flow.client_id
             WHERE flow.priority = ?1 AND flow.tasks_ready > 0")
            .bind(rank)
            .all(connection)?;
        let mut places = Vec::with_capacity(rows.len());
        for row in &rows {
            let place = Place { tag: get(row, "tag")?, seq: get(row, "job_seq")?, task: get(row, "idx")? };
            places.push((place, get::<i64>(row, "left_us")?.max(0).unsigned_abs()));
        }
        places.sort_unstable();
        let mut before_us = 0;
        for (_, left_us) in &mut places {
            before_us += std::mem::replace(left_us, before_us);
        }
        let (tasks, better_us) = better_classes(connection, rank)?;
        Ok(Self { places, before: (tasks, better_us + running_left_us(connection, rank)?) })
    }

    /// A place that is not there any more, because the job was claimed meanwhile, is answered as the one after it.
    fn ahead(&self, place: Place) -> Ahead {
        let index = self.places.partition_point(|(other, _)| *other < place);
        let before_us = self.places.get(index).map_or(0, |(_, before_us)| *before_us);
        Ahead { tasks: self.before.0 + index as u64, gpu_seconds: (self.before.1 + before_us) as f64 * 1e-6 }
    }
}
