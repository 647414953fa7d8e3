//! `Prefer: wait=N`: holds an answer until its job ends. Costs a channel and a timer, never a thread.

use super::problem::Problem;
use super::{AppState, find_job_and_blobs};
use crate::job::{Event, EventKind, Job, JobId};
use crate::store::Cancelled;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// The job once it has ended, with the blob keys of its outputs; `None` after `time_max`, or when the server is told to stop.
/// `events`: of a job that was not there when they were subscribed to.
pub async fn until_ended(
    app: &AppState,
    id: JobId,
    events: Option<Receiver<Event>>,
    time_max: Duration,
) -> Result<Option<(Job, Vec<String>)>, Problem> {
    tokio::select! {
        ended = ended(app, id, events) => ended.map(Some),
        () = tokio::time::sleep(time_max) => Ok(None),
        () = app.closing.cancelled() => Ok(None),
    }
}

async fn ended(app: &AppState, id: JobId, events: Option<Receiver<Event>>) -> Result<(Job, Vec<String>), Problem> {
    if let Some(events) = events {
        end_of(events).await;
    }
    loop {
        // Subscribing comes before reading, or the end may fall between the two.
        let events = app.hub.subscribe(id);
        let found = find_job_and_blobs(app, id).await?;
        if found.0.state.is_terminal() {
            return Ok(found);
        }
        end_of(events).await;
    }
}

/// Waits until a job ends, or so much happens to it that events are lost.
async fn end_of(mut events: Receiver<Event>) {
    loop {
        match events.recv().await {
            Ok(event) if matches!(event.kind, EventKind::Ended { .. }) => return,
            Ok(_) => {}
            Err(RecvError::Lagged(_) | RecvError::Closed) => return,
        }
    }
}

/// Cancels a job when it is dropped, unless it was disarmed: for clients that asked for it by `?cancel_on_disconnect=true`.
pub struct CancelOnDrop {
    app: AppState,
    id: Option<JobId>,
}

impl CancelOnDrop {
    /// Armed where `wanted`.
    pub fn new(app: &AppState, id: JobId, wanted: bool) -> Self {
        Self { app: app.clone(), id: wanted.then_some(id) }
    }

    /// The client is still there.
    pub fn disarm(mut self) {
        self.id = None;
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        let (Some(id), Ok(runtime)) = (self.id.take(), tokio::runtime::Handle::try_current()) else { return };
        let app = self.app.clone();
        runtime.spawn(async move {
            match app.store.cancel(id).await {
                Ok(cancelled) => {
                    // Where it does not run there is nobody to be told, and soon perhaps another attempt.
                    if matches!(cancelled, Some(Cancelled::Requested(_))) {
                        app.hub.cancel(id);
                    }
                    tracing::info!(job.id = %id, "cancelled, since its client hung up");
                }
                Err(error) => tracing::error!(job.id = %id, %error, "cannot cancel the job of a client that hung up"),
            }
        });
    }
}
