//! The one writer: takes operations from a bounded channel and commits what has gathered in one transaction.
//!
//! SQLite has one writer at a time, and each commit costs an fsync. While one commit is on its way to the disk, further
//! operations gather; the next transaction takes all of them. Every operation runs in a savepoint of its own, so that one that
//! fails is undone alone. Nobody is told anything, neither the caller nor the subscribers, before the commit has returned.
//!
//! Runs on a thread of its own, since SQLite blocks; it owns the only connection that writes, and the lock on the data folder.

use super::sql::{Row, Sql, get, sql};
use super::{Clock, outbox};
use crate::job::{Event, EventKind, JobId, TimeMs};
use crate::limits::{CLOCK_BACK_MS_MIN, CLOCK_STORED_MS, STORE_GROUP_MS, STORE_GROUP_OPERATIONS_MAX};
use crate::store::StoreError;
use crate::telemetry;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, select_biased};
use rusqlite::Connection;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, broadcast, oneshot};

/// What an operation works with: the connection, inside a transaction, and what it wants to be told after the commit.
pub(super) struct Tx {
    pub(super) connection: Connection,
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
    pub(super) fn new(connection: Connection, clock: Clock, now_ms: TimeMs, created_ms_last: TimeMs) -> Self {
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
    pub(super) fn event(&mut self, seq: i64, id: JobId, kind: EventKind) -> Result<Event, StoreError> {
        let text = serde_json::to_string(&kind).map_err(|error| StoreError::Other(error.to_string()))?;
        let now_ms = self.now_ms;
        let insert = sql("INSERT INTO event (job_seq, seq, time_ms, kind)
             VALUES (?1, (SELECT coalesce(max(seq), 0) + 1 FROM event WHERE job_seq = ?1), ?2, ?3)
             RETURNING seq, (SELECT webhook FROM job WHERE job.seq = ?1) AS webhook");
        let row = self.one(insert.bind(seq).bind(now_ms).bind(text))?;
        let event = Event { seq: get(&row, "seq")?, time_ms: now_ms, kind };
        if let Some(webhook) = get::<Option<&str>>(&row, "webhook")? {
            outbox::write(self, seq, webhook, &event)?;
        }
        self.events.push((id, event.clone()));
        Ok(event)
    }

    /// Notes that tasks of a class were made ready, to be claimed from `run_at_ms` on.
    pub(super) fn ready(&mut self, rank: i64, run_at_ms: TimeMs) -> Result<(), StoreError> {
        let waits = sql(
            "UPDATE class SET waiting_since_ms = ?2 WHERE priority = ?1 AND waiting_since_ms IS NULL AND tasks_ready > 0",
        );
        let now_ms = self.now_ms;
        self.run(waits.bind(rank).bind(now_ms))?;
        self.claimable(run_at_ms);
        Ok(())
    }

    /// Makes workers look at the queue from `run_at_ms` on.
    pub(super) fn claimable(&mut self, run_at_ms: TimeMs) {
        self.claimable_ms.push(run_at_ms);
    }

    /// Runs a statement; how many rows it changed.
    pub(super) fn run(&mut self, statement: Sql) -> Result<u64, StoreError> {
        statement.run(&self.connection)
    }

    /// The first row of a statement that may have none.
    pub(super) fn row(&mut self, statement: Sql) -> Result<Option<Row>, StoreError> {
        statement.optional(&self.connection)
    }

    /// The row of a statement that has one.
    pub(super) fn one(&mut self, statement: Sql) -> Result<Row, StoreError> {
        statement.one(&self.connection)
    }

    /// All rows of a statement, of which there must be a bounded number.
    pub(super) fn rows(&mut self, statement: Sql) -> Result<Vec<Row>, StoreError> {
        statement.all(&self.connection)
    }

    /// Reads the clock. Where it has gone back, what is measured from a moment that lies in the future now is moved along: no lease
    /// becomes eternal, and no class waits for the hour to pass again.
    fn read_clock(&mut self) -> Result<(), StoreError> {
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
                self.run(sql(move_back).bind(back_ms))?;
            }
        }
        self.now_ms = now_ms;
        if back_ms >= CLOCK_BACK_MS_MIN || (now_ms - self.stored_now_ms).abs() >= CLOCK_STORED_MS {
            let store = "INSERT INTO setting (name, value) VALUES ('clock_ms', ?1)
                         ON CONFLICT (name) DO UPDATE SET value = excluded.value";
            self.run(sql(store).bind(now_ms.to_string()))?;
            self.stored_now_ms = now_ms;
        }
        Ok(())
    }

    /// A statement without parameters.
    fn execute(&mut self, text: &'static str) -> Result<(), StoreError> {
        self.run(sql(text)).map(drop)
    }
}

/// One change, from the moment it is asked for to the answer.
trait Operation: Send {
    fn run(&mut self, tx: &mut Tx) -> Result<(), StoreError>;
    /// Answers with what `run` found, or with the error.
    fn answer(self: Box<Self>, result: Result<(), StoreError>);
}

struct Pending<T, W> {
    work: Option<W>,
    value: Option<T>,
    sender: oneshot::Sender<Result<T, StoreError>>,
    /// A worker's place in its channel.
    _room: Option<OwnedSemaphorePermit>,
}

impl<T, W> Operation for Pending<T, W>
where
    T: Send + 'static,
    W: FnOnce(&mut Tx) -> Result<T, StoreError> + Send + 'static,
{
    fn run(&mut self, tx: &mut Tx) -> Result<(), StoreError> {
        let work = self.work.take().expect("the writer runs an operation once");
        self.value = Some(work(tx)?);
        Ok(())
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
struct Lanes<T> {
    workers: T,
    clients: T,
}

type Senders = Lanes<Sender<Box<dyn Operation>>>;
type Receivers = Lanes<Receiver<Box<dyn Operation>>>;

impl Receivers {
    /// The next operation, workers' first. [`RecvTimeoutError::Disconnected`]: both are closed and empty.
    fn recv(&self, until: Option<Instant>) -> Result<Box<dyn Operation>, RecvTimeoutError> {
        let timer = until.map_or_else(crossbeam_channel::never, crossbeam_channel::at);
        // Both are closed at once, and what is in them is still taken.
        let closed = |_| RecvTimeoutError::Disconnected;
        select_biased! {
            recv(self.workers) -> operation => operation.or_else(|_| self.clients.recv()).map_err(closed),
            recv(self.clients) -> operation => operation.or_else(|_| self.workers.recv()).map_err(closed),
            recv(timer) -> _ => Err(RecvTimeoutError::Timeout),
        }
    }

    /// What has gathered, workers' first; with `clients` false theirs only.
    fn gathered(&self, clients: bool) -> Option<Box<dyn Operation>> {
        self.workers.try_recv().ok().or_else(|| clients.then(|| self.clients.try_recv().ok())?)
    }
}

/// The callers' end of the writer.
pub(super) struct Writer {
    /// `None` once closed, or when the thread has died.
    operations: Arc<Mutex<Option<Senders>>>,
    /// Places in the workers' channel.
    room: Arc<Semaphore>,
    thread: tokio::sync::Mutex<Option<JoinHandle<()>>>,
    pub(super) events: broadcast::Sender<(JobId, Event)>,
    pub(super) work: Arc<Notify>,
}

impl Writer {
    /// Starts the thread. `claimable_ms` are the moments at which tasks that wait after a failure become claimable.
    pub(super) fn start(
        tx: Tx,
        lock: File,
        claimable_ms: Vec<TimeMs>,
        queued_max: usize,
        events_max: usize,
    ) -> Result<Self, StoreError> {
        let (workers, from_workers) = crossbeam_channel::bounded(queued_max);
        let (clients, from_clients) = crossbeam_channel::bounded(queued_max);
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
        let operations = Arc::new(Mutex::new(Some(operations)));
        let closing = Closing(Arc::downgrade(&operations));
        let thread = std::thread::Builder::new().name("kiln-store".into()).spawn(move || {
            let _closing = closing;
            group.serve(&receivers);
            // Released only now, when the connection is closed: the next server may open the folder.
            drop(lock);
        });
        let thread =
            thread.map_err(|error| StoreError::Other(format!("the store's thread could not start: {error}")))?;
        let room = Arc::new(Semaphore::new(queued_max));
        Ok(Self { operations, room, thread: Some(thread).into(), events, work })
    }

    /// Runs an operation in the next transaction, and returns when that is on disk.
    pub(super) async fn write<T, W>(&self, when_full: WhenFull, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: FnOnce(&mut Tx) -> Result<T, StoreError> + Send + 'static,
    {
        let room = match when_full {
            WhenFull::Wait => Some(Arc::clone(&self.room).acquire_owned().await.map_err(|_| stopped())?),
            WhenFull::Refuse => None,
        };
        let (sender, receiver) = oneshot::channel();
        let operation = Box::new(Pending { work: Some(work), value: None, sender, _room: room });
        self.send(when_full, operation)?;
        receiver.await.map_err(|_| stopped())?
    }

    fn send(&self, when_full: WhenFull, operation: Box<dyn Operation>) -> Result<(), StoreError> {
        let operations = self.operations.lock().unwrap_or_else(PoisonError::into_inner);
        let operations = operations.as_ref().ok_or_else(stopped)?;
        let lane = match when_full {
            WhenFull::Wait => &operations.workers,
            WhenFull::Refuse => &operations.clients,
        };
        lane.try_send(operation).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Overloaded(lane.capacity().unwrap_or(0)),
            TrySendError::Disconnected(_) => stopped(),
        })
    }

    /// Takes no more operations, and returns when those that were taken are on disk and the lock is released.
    pub(super) async fn close(&self) {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut thread = self.thread.lock().await;
        if let Some(thread) = thread.take()
            && !matches!(tokio::task::spawn_blocking(|| thread.join()).await, Ok(Ok(())))
        {
            tracing::error!("the store's writer died");
        }
    }
}

/// Closes the channels when it is dropped, also by a panic of the thread: what waits in them is dropped with the last sender, and whoever
/// waits for it is told.
struct Closing(Weak<Mutex<Option<Senders>>>);

impl Drop for Closing {
    fn drop(&mut self) {
        if let Some(operations) = self.0.upgrade() {
            operations.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
    }
}

fn stopped() -> StoreError {
    StoreError::Other("the store's writer has stopped; restart kiln".into())
}

/// The state of the writer's thread.
struct Group {
    tx: Tx,
    events: broadcast::Sender<(JobId, Event)>,
    work: Arc<Notify>,
    /// Soonest first.
    claimable_ms: BinaryHeap<Reverse<TimeMs>>,
}

impl Group {
    fn serve(mut self, receivers: &Receivers) {
        loop {
            // A moment longer, so that the claim which this makes happen does not come a rounded millisecond too early.
            let wait_ms = self.claimable_ms.peek().map(|Reverse(at)| at + 2 - self.tx.clock.wall_ms());
            if wait_ms.is_some_and(|wait_ms| wait_ms <= 0) {
                self.claimable_ms.pop();
                self.notify();
                continue;
            }
            let wait = wait_ms.map(|wait_ms| Duration::from_millis(wait_ms.unsigned_abs()));
            match receivers.recv(wait.and_then(|wait| Instant::now().checked_add(wait))) {
                Ok(operation) => self.commit(operation, receivers),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if let Err((_, error)) = self.tx.connection.close() {
            tracing::warn!(%error, "closing the store");
        }
    }

    /// One transaction for a group: this operation, and what gathers meanwhile. Answers and events only after it is on disk.
    fn commit(&mut self, first: Box<dyn Operation>, receivers: &Receivers) {
        let start = Instant::now();
        let clock_before = (self.tx.now_ms, self.tx.stored_now_ms);
        let mut group = vec![first];
        let committed = match self.run(&mut group, receivers) {
            Ok(results) => self.tx.execute("COMMIT").map(|()| results),
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
                let _ = self.tx.execute("ROLLBACK");
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
    fn run(
        &mut self,
        group: &mut Vec<Box<dyn Operation>>,
        receivers: &Receivers,
    ) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        let begun = Instant::now();
        self.tx.execute("BEGIN IMMEDIATE")?;
        self.tx.read_clock()?;
        // An operation that fails is undone to here, and what the clock moved stays.
        self.tx.execute("SAVEPOINT operation")?;
        let mut results = Vec::new();
        while let Some(operation) = group.get_mut(results.len()) {
            let (events, claimable) = (self.tx.events.len(), self.tx.claimable_ms.len());
            let result = operation.run(&mut self.tx);
            if let Err(error) = &result {
                // On a full disk SQLite may have rolled back everything; then this fails, and with it the whole group.
                self.tx.execute("ROLLBACK TO operation").map_err(|_| error.clone())?;
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
                self.tx.execute("RELEASE operation")?;
                self.tx.execute("SAVEPOINT operation")?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::{SqliteOptions, open};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whoever_waits_is_told_when_an_operation_panics() {
        let dir = tempfile::tempdir().unwrap();
        let (writer, _readers) = open::open(dir.path(), SqliteOptions::default()).unwrap();
        let (began, go) = (Arc::new(Notify::new()), crossbeam_channel::bounded(0));
        let (told, wait) = (began.clone(), go.1);
        let dies = writer.write(WhenFull::Wait, move |_| -> Result<(), StoreError> {
            told.notify_one();
            wait.recv().unwrap();
            panic!("on purpose");
        });
        let others = async {
            began.notified().await;
            let waiting = [WhenFull::Wait, WhenFull::Refuse].map(|when| writer.write(when, |_| Ok(())));
            tokio::join!(futures::future::join_all(waiting), async {
                // Both are in their channels by now, or on their way to be refused.
                tokio::task::yield_now().await;
                go.0.send(()).unwrap();
            })
        };
        let (died, (waited, ())) = tokio::join!(dies, others);
        assert!(died.is_err() && waited.iter().all(Result::is_err), "{waited:?}");
        assert!(writer.write(WhenFull::Wait, |_| Ok(())).await.is_err());
        writer.close().await;
    }
}
