//! The one writer: takes operations from a bounded channel and commits what has gathered in one transaction.
//!
//! SQLite has one writer at a time, and each commit costs an fsync. While one commit is on its way to the disk, further
//! operations gather; the next transaction takes all of them. Every operation runs in a savepoint of its own, so that one that
//! fails is undone alone. Nobody is told anything, neither the caller nor the subscribers, before the commit has returned.
//!
//! Runs as one tokio task, which owns the only connection that writes, and the lock on the data folder.

use super::{Clock, failure, get, outbox};
use crate::job::{Event, EventKind, JobId, TimeMs};
use crate::limits::{CLOCK_BACK_MS_MIN, CLOCK_STORED_MS, STORE_GROUP_MS, STORE_GROUP_OPERATIONS_MAX};
use crate::store::StoreError;
use crate::telemetry;
use futures::future::BoxFuture;
use sqlx::Connection;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteConnection, SqliteRow};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, broadcast, mpsc, oneshot};

/// A statement that is ready to run.
pub(super) type Statement<'q> = sqlx::query::Query<'q, Sqlite, SqliteArguments>;

/// What an operation works with: the connection, inside a transaction, and what it wants to be told after the commit.
pub(super) struct Tx {
    pub(super) connection: SqliteConnection,
    pub(super) clock: Clock,
    /// The clock at the beginning of the transaction. May go backwards between transactions, and between runs.
    pub(super) now_ms: TimeMs,
    /// What the next run will read of it.
    stored_now_ms: TimeMs,
    /// The largest `created_ms` so far; new jobs are never before it, whatever the clock does.
    pub(super) created_ms_last: TimeMs,
    events: Vec<(JobId, Event)>,
    /// When tasks that were put back become claimable; in the past: at once.
    claimable_ms: Vec<TimeMs>,
}

impl Tx {
    /// `now_ms`: what the clock said last in an earlier run.
    pub(super) fn new(connection: SqliteConnection, clock: Clock, now_ms: TimeMs, created_ms_last: TimeMs) -> Self {
        Self {
            connection,
            clock,
            now_ms,
            stored_now_ms: now_ms,
            created_ms_last,
            events: Vec::new(),
            claimable_ms: Vec::new(),
        }
    }

    /// Appends an event to a job, with the job's next `seq`; subscribers hear of it after the commit.
    pub(super) async fn event(&mut self, seq: i64, id: JobId, kind: EventKind) -> Result<Event, StoreError> {
        let text = serde_json::to_string(&kind).map_err(|error| StoreError::Other(error.to_string()))?;
        let now_ms = self.now_ms;
        let insert = sqlx::query(
            "INSERT INTO event (job_seq, seq, time_ms, kind)
             VALUES (?1, (SELECT coalesce(max(seq), 0) + 1 FROM event WHERE job_seq = ?1), ?2, ?3)
             RETURNING seq, (SELECT webhook FROM job WHERE job.seq = ?1) AS webhook",
        );
        let row = self.one(insert.bind(seq).bind(now_ms).bind(text)).await?;
        let event = Event { seq: get(&row, "seq")?, time_ms: now_ms, kind };
        if let Some(webhook) = get::<Option<&str>>(&row, "webhook")? {
            outbox::write(self, seq, webhook, &event).await?;
        }
        self.events.push((id, event.clone()));
        Ok(event)
    }

    /// Notes that tasks of a class were made ready, to be claimed from `run_at_ms` on.
    pub(super) async fn ready(&mut self, rank: i64, run_at_ms: TimeMs) -> Result<(), StoreError> {
        let waits = sqlx::query(
            "UPDATE class SET waiting_since_ms = ?2 WHERE priority = ?1 AND waiting_since_ms IS NULL AND tasks_ready > 0",
        );
        let now_ms = self.now_ms;
        self.run(waits.bind(rank).bind(now_ms)).await?;
        self.claimable(run_at_ms);
        Ok(())
    }

    /// Makes workers look at the queue from `run_at_ms` on.
    pub(super) fn claimable(&mut self, run_at_ms: TimeMs) {
        self.claimable_ms.push(run_at_ms);
    }

    /// Runs a statement; how many rows it changed.
    pub(super) async fn run(&mut self, statement: Statement<'_>) -> Result<u64, StoreError> {
        statement.execute(&mut self.connection).await.map(|done| done.rows_affected()).map_err(failure)
    }

    /// The first row of a statement that may have none.
    pub(super) async fn row(&mut self, statement: Statement<'_>) -> Result<Option<SqliteRow>, StoreError> {
        statement.fetch_optional(&mut self.connection).await.map_err(failure)
    }

    /// The row of a statement that has one.
    pub(super) async fn one(&mut self, statement: Statement<'_>) -> Result<SqliteRow, StoreError> {
        statement.fetch_one(&mut self.connection).await.map_err(failure)
    }

    /// All rows of a statement, of which there must be a bounded number.
    pub(super) async fn rows(&mut self, statement: Statement<'_>) -> Result<Vec<SqliteRow>, StoreError> {
        statement.fetch_all(&mut self.connection).await.map_err(failure)
    }

    /// Reads the clock. Where it has gone back, what is measured from a moment that lies in the future now is moved along: no lease
    /// becomes eternal, and no class waits for the hour to pass again.
    async fn read_clock(&mut self) -> Result<(), StoreError> {
        let now_ms = self.clock.wall_ms();
        let back_ms = self.now_ms - now_ms;
        if back_ms >= CLOCK_BACK_MS_MIN {
            tracing::warn!(back_ms, "the clock went back; leases and deadlines of retries go with it");
            for move_back in [
                "UPDATE task SET lease_until_ms = lease_until_ms - ?1, advanced_ms = advanced_ms - ?1,
                        waited_since_ms = waited_since_ms - ?1 WHERE state = 'running'",
                "UPDATE class SET waiting_since_ms = waiting_since_ms - ?1 WHERE waiting_since_ms IS NOT NULL",
                "UPDATE delivery SET run_at_ms = run_at_ms - ?1, give_up_ms = give_up_ms - ?1",
            ] {
                self.run(sqlx::query(move_back).bind(back_ms)).await?;
            }
        }
        self.now_ms = now_ms;
        if back_ms >= CLOCK_BACK_MS_MIN || (now_ms - self.stored_now_ms).abs() >= CLOCK_STORED_MS {
            let store = "INSERT INTO setting (name, value) VALUES ('clock_ms', ?1)
                         ON CONFLICT (name) DO UPDATE SET value = excluded.value";
            self.run(sqlx::query(store).bind(now_ms.to_string())).await?;
            self.stored_now_ms = now_ms;
        }
        Ok(())
    }

    /// Statements without parameters, all of them on one way to SQLite's thread.
    async fn execute(&mut self, sql: &'static str) -> Result<(), StoreError> {
        sqlx::raw_sql(sql).execute(&mut self.connection).await.map(drop).map_err(failure)
    }
}

/// One change, from the moment it is asked for to the answer.
trait Operation: Send {
    fn run<'t>(&'t mut self, tx: &'t mut Tx) -> BoxFuture<'t, Result<(), StoreError>>;
    /// Answers with what `run` found, or with the error.
    fn answer(self: Box<Self>, result: Result<(), StoreError>);
}

struct Pending<T, W> {
    work: Option<W>,
    value: Option<T>,
    sender: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, W> Operation for Pending<T, W>
where
    T: Send + 'static,
    W: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, StoreError>> + Send + 'static,
{
    fn run<'t>(&'t mut self, tx: &'t mut Tx) -> BoxFuture<'t, Result<(), StoreError>> {
        Box::pin(async move {
            let work = self.work.take().expect("the writer runs an operation once");
            self.value = Some(work(tx).await?);
            Ok(())
        })
    }

    fn answer(self: Box<Self>, result: Result<(), StoreError>) {
        let Self { value, sender, .. } = *self;
        let value = result.map(|()| value.expect("run returned Ok only after it had set the value"));
        // Nobody listens when the caller was dropped meanwhile; the change stands all the same.
        let _ = sender.send(value);
    }
}

/// Who asks, and with it what to do when the channel is full. Workers have a channel of their own, which goes first: a lease must not
/// run out because clients are many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WhenFull {
    /// Refuse: a client can come again.
    Refuse,
    /// Wait for room: a worker's finished work must not be thrown away because clients are many.
    Wait,
}

/// One of something for workers and one for clients.
#[derive(Clone)]
struct Lanes<T> {
    workers: T,
    clients: T,
}

type Senders = Lanes<mpsc::Sender<Box<dyn Operation>>>;
type Receivers = Lanes<mpsc::Receiver<Box<dyn Operation>>>;

impl Receivers {
    /// `None`: both are closed and empty.
    async fn recv(&mut self) -> Option<Box<dyn Operation>> {
        tokio::select! {
            biased;
            Some(operation) = self.workers.recv() => Some(operation),
            Some(operation) = self.clients.recv() => Some(operation),
            else => None,
        }
    }

    /// What has gathered, workers' first; with `clients` false theirs only.
    fn gathered(&mut self, clients: bool) -> Option<Box<dyn Operation>> {
        let clients = clients.then_some(&mut self.clients);
        self.workers.try_recv().ok().or_else(|| clients?.try_recv().ok())
    }
}

/// The callers' end of the writer.
pub(super) struct Writer {
    /// `None` once closed.
    operations: std::sync::Mutex<Option<Senders>>,
    task: tokio::sync::Mutex<Option<tokio::task::JoinHandle<()>>>,
    pub(super) events: broadcast::Sender<(JobId, Event)>,
    pub(super) work: Arc<Notify>,
}

impl Writer {
    /// Starts the task. `claimable_ms` are the moments at which tasks that wait after a failure become claimable.
    pub(super) fn start(tx: Tx, lock: File, claimable_ms: Vec<TimeMs>, queued_max: usize, events_max: usize) -> Self {
        let (workers, from_workers) = mpsc::channel(queued_max);
        let (clients, from_clients) = mpsc::channel(queued_max);
        let operations = Lanes { workers, clients };
        let receivers = Lanes { workers: from_workers, clients: from_clients };
        let (events, _) = broadcast::channel(events_max);
        let work = Arc::new(Notify::new());
        let group = Group {
            tx,
            events: events.clone(),
            work: work.clone(),
            claimable_ms: claimable_ms.into_iter().map(Reverse).collect(),
        };
        let task = tokio::spawn(async move {
            group.serve(receivers).await;
            // Released only now, when the connection is closed: the next server may open the folder.
            drop(lock);
        });
        Self { operations: std::sync::Mutex::new(Some(operations)), task: Some(task).into(), events, work }
    }

    /// Runs an operation in the next transaction, and returns when that is on disk.
    pub(super) async fn write<T, W>(&self, when_full: WhenFull, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, StoreError>> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let operation: Box<dyn Operation> = Box::new(Pending { work: Some(work), value: None, sender });
        let operations = self.operations.lock().expect("nothing panics while it holds the lock").clone();
        let operations = operations.ok_or_else(stopped)?;
        match when_full {
            WhenFull::Wait => operations.workers.send(operation).await.map_err(|_| stopped())?,
            WhenFull::Refuse => operations.clients.try_send(operation).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => StoreError::Overloaded(operations.clients.max_capacity()),
                mpsc::error::TrySendError::Closed(_) => stopped(),
            })?,
        }
        // Closing must not wait for callers that wait for their answer.
        drop(operations);
        receiver.await.map_err(|_| stopped())?
    }

    /// Takes no more operations, and returns when those that were taken are on disk and the lock is released.
    pub(super) async fn close(&self) {
        self.operations.lock().expect("nothing panics while it holds the lock").take();
        if let Some(task) = self.task.lock().await.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the store's writer died");
        }
    }
}

fn stopped() -> StoreError {
    StoreError::Other("the store's writer has stopped; restart kiln".into())
}

/// The state of the writer task.
struct Group {
    tx: Tx,
    events: broadcast::Sender<(JobId, Event)>,
    work: Arc<Notify>,
    /// Soonest first.
    claimable_ms: BinaryHeap<Reverse<TimeMs>>,
}

impl Group {
    async fn serve(mut self, mut receivers: Receivers) {
        loop {
            // A moment longer, so that the claim which this makes happen does not come a rounded millisecond too early.
            let wait_ms =
                self.claimable_ms.peek().map(|Reverse(at)| (at - self.tx.clock.wall_ms()).max(0).unsigned_abs() + 2);
            let ripe = async move {
                match wait_ms {
                    Some(wait_ms) => tokio::time::sleep(Duration::from_millis(wait_ms)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                operation = receivers.recv() => {
                    let Some(operation) = operation else { break };
                    self.commit(operation, &mut receivers).await;
                }
                () = ripe => {
                    self.claimable_ms.pop();
                    self.notify();
                }
            }
        }
        if let Err(error) = self.tx.connection.close().await {
            tracing::warn!(%error, "closing the store");
        }
    }

    /// One transaction for a group: this operation, and what gathers meanwhile. Answers and events only after it is on disk.
    async fn commit(&mut self, first: Box<dyn Operation>, receivers: &mut Receivers) {
        let start = Instant::now();
        let clock_before = (self.tx.now_ms, self.tx.stored_now_ms);
        let mut group = vec![first];
        let committed = match self.run(&mut group, receivers).await {
            Ok(results) => self.tx.execute("COMMIT").await.map(|()| results),
            Err(error) => Err(error),
        };
        metrics::histogram!(telemetry::STORE_COMMIT_SECONDS).record(start.elapsed().as_secs_f64());
        metrics::histogram!(telemetry::STORE_COMMIT_OPERATIONS).record(group.len() as f64);
        match committed {
            Ok(results) => {
                for (id, event) in self.tx.events.drain(..) {
                    // Without subscribers there is nobody to tell.
                    let _ = self.events.send((id, event));
                }
                for (operation, result) in group.into_iter().zip(results) {
                    operation.answer(result);
                }
                let claimable = std::mem::take(&mut self.tx.claimable_ms);
                let (now, later): (Vec<_>, Vec<_>) = claimable.into_iter().partition(|at| *at <= self.tx.now_ms);
                self.claimable_ms.extend(later.into_iter().map(Reverse));
                if !now.is_empty() {
                    self.notify();
                }
            }
            Err(error) => {
                tracing::error!(%error, operations = group.len(), "the store could not commit");
                // Fails where SQLite has rolled back by itself already, which is as good.
                let _ = self.tx.execute("ROLLBACK").await;
                self.tx.events.clear();
                self.tx.claimable_ms.clear();
                // What was moved along with the clock was not, and is so the next time.
                (self.tx.now_ms, self.tx.stored_now_ms) = clock_before;
                for operation in group {
                    operation.answer(Err(error.clone()));
                }
            }
        }
    }

    /// Runs each operation in its savepoint, and adds to the group what comes meanwhile. An error of the whole means that the transaction
    /// cannot be saved.
    async fn run(
        &mut self,
        group: &mut Vec<Box<dyn Operation>>,
        receivers: &mut Receivers,
    ) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        let begun = Instant::now();
        self.tx.execute("BEGIN IMMEDIATE").await?;
        self.tx.read_clock().await?;
        // An operation that fails is undone to here, and what the clock moved stays.
        self.tx.execute("SAVEPOINT operation").await?;
        let mut results = Vec::new();
        while let Some(operation) = group.get_mut(results.len()) {
            let (events, claimable) = (self.tx.events.len(), self.tx.claimable_ms.len());
            let result = operation.run(&mut self.tx).await;
            if let Err(error) = &result {
                // On a full disk SQLite may have rolled back everything; then this fails, and with it the whole group.
                self.tx.execute("ROLLBACK TO operation").await.map_err(|_| error.clone())?;
                self.tx.events.truncate(events);
                self.tx.claimable_ms.truncate(claimable);
            }
            results.push(result);
            let clients = begun.elapsed() < Duration::from_millis(STORE_GROUP_MS);
            if group.len() < STORE_GROUP_OPERATIONS_MAX
                && let Some(operation) = receivers.gathered(clients)
            {
                group.push(operation);
            }
            // The commit releases the last one.
            if results.len() < group.len() {
                self.tx.execute("RELEASE operation; SAVEPOINT operation").await?;
            }
        }
        Ok(results)
    }

    /// Wakes every worker that waits, and leaves a permit for one that is just about to.
    fn notify(&self) {
        self.work.notify_waiters();
        self.work.notify_one();
    }
}
