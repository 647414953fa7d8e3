//! The connections that read, which WAL lets run beside the writer: a few, each used by one reading at a time, on tokio's blocking
//! threads. All statements of a reading see the same state.

use super::sql::sql;
use crate::limits::{STORE_READ_WAIT_MS, STORE_READERS_MAX};
use crate::store::StoreError;
use rusqlite::Connection;
use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;

/// See the module's text.
pub(super) struct Readers {
    idle: Arc<Mutex<Vec<Connection>>>,
    /// As many as there are connections.
    free: Arc<Semaphore>,
    count: u32,
}

impl Readers {
    /// Over these connections.
    pub(super) fn new(connections: Vec<Connection>) -> Self {
        let count = u32::try_from(connections.len()).expect("there are a few");
        Self { free: Arc::new(Semaphore::new(connections.len())), idle: Arc::new(connections.into()), count }
    }

    /// Reads, as soon as a connection is free.
    ///
    /// # Errors
    /// [`StoreError::Overloaded`] where none becomes free for long, and what `work` says.
    pub(super) async fn read<T, W>(&self, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let free = Arc::clone(&self.free).acquire_owned();
        let permit = match tokio::time::timeout(Duration::from_millis(STORE_READ_WAIT_MS), free).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(StoreError::Other("the store is closed".into())),
            Err(_) => return Err(StoreError::Overloaded(STORE_READERS_MAX)),
        };
        let idle = Arc::clone(&self.idle);
        let reading = tokio::task::spawn_blocking(move || {
            // In this order, so that the connection is back before the permit is.
            let _permit = permit;
            let lent = Lent::take(idle)?;
            let _snapshot = Snapshot::begin(&lent)?;
            work(&lent)
        });
        reading.await.map_err(|error| StoreError::Other(format!("a reading of the store died: {error}")))?
    }

    /// Waits for the readings that go on, and closes the connections. Later readings fail.
    pub(super) async fn close(&self) {
        let all = self.free.acquire_many(self.count).await;
        self.free.close();
        drop(all);
        self.idle.lock().expect("nothing panics while it holds the lock").clear();
    }
}

/// A transaction that only reads. It also spares every statement after the first its own lock, and the pages that it has seen already.
struct Snapshot<'c>(&'c Connection);

impl<'c> Snapshot<'c> {
    fn begin(connection: &'c Connection) -> Result<Self, StoreError> {
        sql("BEGIN").run(connection)?;
        Ok(Self(connection))
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        // There is nothing to be lost. Where it fails, the next `BEGIN` on this connection says so.
        if let Err(error) = sql("ROLLBACK").run(self.0) {
            tracing::error!(%error, "a reading of the store does not end");
        }
    }
}

/// A connection that goes back to the others, also where the reading panics.
struct Lent {
    connection: Option<Connection>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Lent {
    fn take(idle: Arc<Mutex<Vec<Connection>>>) -> Result<Self, StoreError> {
        let connection = idle.lock().expect("nothing panics while it holds the lock").pop();
        if connection.is_none() {
            return Err(StoreError::Other("the store is closed".into()));
        }
        Ok(Self { connection, idle })
    }
}

impl Deref for Lent {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("it is here until the drop")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.idle.lock().expect("nothing panics while it holds the lock").extend(self.connection.take());
    }
}
