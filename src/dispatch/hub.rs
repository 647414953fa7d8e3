//! The event hub: what the front end may know of running work without asking the store. A courtesy (invariant 2): all of it can
//! be lost with the process.
//!
//! One `Hub` a server, behind `Arc`. Every call is a short critical section and never waits, except [`Hub::preview`] and
//! [`Hub::follow`], which are async. It knows nothing of HTTP, SQL or pipes.

use crate::gpu_process::protocol::AdapterReport;
use crate::job::{Event, EventKind, JobId, Progress, TimeMs};
use crate::limits::{HUB_EVENTS_BUFFERED_MAX, HUB_PREVIEWS_QUEUED_MAX, PREVIEW_WAIT_MS};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// State of the GPU process, for `/readyz` and `/v1/workers`.
#[derive(Debug, Clone, Default)]
pub struct GpuStatus {
    /// It is up and can take work.
    pub ready: bool,
    /// Its adapter, once known.
    pub adapter: Option<AdapterReport>,
    /// Seconds that the canary render of the living process took. Set exactly while the process is up: none is up without one.
    pub canary_seconds: Option<f64>,
    /// Processes that were replaced by fresh ones since the server's start; no deaths.
    pub replaced: u64,
    /// Deaths since the server's start.
    pub deaths: u64,
    /// Why it is not up, if it is not.
    pub problem: Option<String>,
}

/// Somebody waits for a picture: a PNG and the samples per pixel in it.
pub type PreviewRequest = oneshot::Sender<(bytes::Bytes, u32)>;

/// See the module's text. Cheap to share behind `Arc`.
#[derive(Default)]
pub struct Hub {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Jobs that this process's dispatcher holds now: at most a handful.
    running: HashMap<JobId, Running>,
    /// Channels that somebody listens to, and a bounded number of forgotten ones (see `sweep`).
    channels: HashMap<JobId, broadcast::Sender<Event>>,
    /// `channels` is swept when it grows past this.
    sweep_at: usize,
    gpu: GpuStatus,
    /// Seconds that the device worked, over all attempts since the start.
    gpu_busy_seconds: f64,
}

struct Running {
    fence: i64,
    progress: Progress,
    /// `seq` of the job's last stored event, which events that are not stored carry.
    seq: i64,
    cancel: CancellationToken,
    previews: mpsc::Sender<PreviewRequest>,
}

/// What the dispatcher holds of a running job; the hub forgets the job when it is dropped.
pub struct RunningJob {
    hub: Arc<Hub>,
    id: JobId,
    fence: i64,
    /// Cancelled by [`Hub::cancel`].
    pub cancel: CancellationToken,
    /// Requests of [`Hub::preview`].
    pub previews: mpsc::Receiver<PreviewRequest>,
}

impl Drop for RunningJob {
    fn drop(&mut self) {
        let mut inner = self.hub.lock();
        // A newer attempt of the same job may already have taken the place.
        if inner.running.get(&self.id).is_some_and(|running| running.fence == self.fence) {
            inner.running.remove(&self.id);
        }
    }
}

impl Hub {
    /// An empty hub.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// The freshest progress of a running job (fresher than the store's).
    pub fn progress(&self, id: JobId) -> Option<Progress> {
        self.lock().running.get(&id).map(|running| running.progress)
    }

    /// The jobs that this process's dispatcher holds, with their freshest progress.
    pub fn running(&self) -> Vec<(JobId, Progress)> {
        self.lock().running.iter().map(|(id, running)| (*id, running.progress)).collect()
    }

    /// Jobs whose live events somebody listens to, at most `limit` of them.
    pub fn watched(&self, limit: usize) -> Vec<JobId> {
        let inner = self.lock();
        let listened = inner.channels.iter().filter(|(_, channel)| channel.receiver_count() > 0);
        listened.map(|(id, _)| *id).take(limit).collect()
    }

    /// Seconds that the device worked on tasks, since the start of this process.
    pub fn gpu_busy_seconds(&self) -> f64 {
        self.lock().gpu_busy_seconds
    }

    /// Live events of one job, stored ones and others. A subscriber that gets `Lagged` or `Closed` reads on from the store after
    /// the last `seq` it has seen, and subscribes again. Subscribe first and read the store second, or an event may fall between.
    pub fn subscribe(&self, id: JobId) -> broadcast::Receiver<Event> {
        let mut inner = self.lock();
        inner.sweep();
        inner.channels.entry(id).or_insert_with(|| broadcast::Sender::new(HUB_EVENTS_BUFFERED_MAX)).subscribe()
    }

    /// Hands an event to the job's live subscribers. Stored events arrive by themselves (see [`Hub::follow`]); only events that
    /// are not stored need this call. A subscriber that sees a stored `seq` twice keeps the first.
    pub fn publish(&self, id: JobId, event: Event) {
        let mut inner = self.lock();
        if event.kind.is_stored()
            && let Some(running) = inner.running.get_mut(&id)
        {
            running.seq = running.seq.max(event.seq);
        }
        if let Some(channel) = inner.channels.get(&id)
            && channel.send(event).is_err()
        {
            inner.channels.remove(&id);
        }
    }

    /// Forwards the store's events to the subscribers until the store is gone. One such task runs for the life of the server.
    ///
    /// When it lags behind the store, every subscriber's channel is closed, so that each of them reads on from the store.
    pub async fn follow(self: Arc<Self>, mut events: broadcast::Receiver<(JobId, Event)>) {
        loop {
            match events.recv().await {
                Ok((id, event)) => self.publish(id, event),
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "the event hub lagged behind the store; subscribers resume from the store");
                    self.lock().channels.clear();
                }
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    /// Tells the dispatcher at once that a running job is to be cancelled (the store knows already).
    pub fn cancel(&self, id: JobId) {
        if let Some(running) = self.lock().running.get(&id) {
            running.cancel.cancel();
        }
    }

    /// A PNG of the film as it is now and its samples per pixel; `None` when the job is not on the device or it is too early.
    /// Takes at most about 2 s.
    pub async fn preview(&self, id: JobId) -> Option<(bytes::Bytes, u32)> {
        let previews = self.lock().running.get(&id).map(|running| running.previews.clone())?;
        let (sender, receiver) = oneshot::channel();
        previews.try_send(sender).ok()?;
        tokio::time::timeout(Duration::from_millis(PREVIEW_WAIT_MS), receiver).await.ok()?.ok()
    }

    /// See [`GpuStatus`].
    pub fn gpu(&self) -> GpuStatus {
        self.lock().gpu.clone()
    }

    /// Called by the dispatcher when it learns something of the GPU process.
    pub fn set_gpu(&self, status: GpuStatus) {
        self.lock().gpu = status;
    }

    /// Called by the dispatcher when it has claimed a job.
    pub fn begin(self: &Arc<Self>, id: JobId, fence: i64, progress: Progress) -> RunningJob {
        let cancel = CancellationToken::new();
        let (sender, previews) = mpsc::channel(HUB_PREVIEWS_QUEUED_MAX);
        let running = Running { fence, progress, seq: 0, cancel: cancel.clone(), previews: sender };
        self.lock().running.insert(id, running);
        RunningJob { hub: Arc::clone(self), id, fence, cancel, previews }
    }

    /// Called by the dispatcher when a running job got further: remembers it and tells the live subscribers.
    pub fn set_progress(&self, id: JobId, progress: Progress) {
        let mut inner = self.lock();
        let Some(running) = inner.running.get_mut(&id) else { return };
        // An attempt's seconds only grow; a step back is the beginning of another frame or attempt.
        let step = progress.gpu_seconds - running.progress.gpu_seconds;
        let worked = if step >= 0.0 { step } else { progress.gpu_seconds };
        running.progress = progress;
        let event = Event { seq: running.seq, time_ms: now_ms(), kind: EventKind::Progress(progress) };
        inner.gpu_busy_seconds += worked;
        if let Some(channel) = inner.channels.get(&id)
            && channel.send(event).is_err()
        {
            inner.channels.remove(&id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No code panics while it holds the lock, and a hub is only a courtesy: what is in it may be used in any case.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Drops channels without a listener once there are twice as many channels as were alive after the last sweep: the map stays
    /// within a factor of the live subscribers, at constant cost a subscription.
    fn sweep(&mut self) {
        if self.channels.len() >= self.sweep_at {
            self.channels.retain(|_, channel| channel.receiver_count() > 0);
            self.sweep_at = (self.channels.len() * 2).max(64);
        }
    }
}

/// Now by this machine's clock: only for events that are not stored.
fn now_ms() -> TimeMs {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as TimeMs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> JobId {
        JobId::from_u128(n)
    }

    #[test]
    fn channels_do_not_pile_up_over_many_jobs() {
        let hub = Hub::new();
        let _kept = hub.subscribe(id(0));
        for n in 1..100_000 {
            drop(hub.subscribe(id(n)));
        }
        let channels = hub.lock().channels.len();
        assert!(channels <= 128, "{channels} channels are alive for one subscriber");
        assert_eq!(hub.lock().channels[&id(0)].receiver_count(), 1);
    }

    #[tokio::test]
    async fn progress_reaches_subscribers_and_carries_the_last_stored_seq() {
        let hub = Hub::new();
        let mut events = hub.subscribe(id(1));
        let running = hub.begin(id(1), 7, Progress::default());
        let started = Event { seq: 2, time_ms: 5, kind: EventKind::Started { attempt: 1 } };
        hub.publish(id(1), started.clone());
        let progress = Progress { fraction: 0.5, ..Progress::default() };
        hub.set_progress(id(1), progress);
        assert_eq!(events.recv().await.unwrap(), started);
        let second = events.recv().await.unwrap();
        assert_eq!((second.seq, second.kind), (2, EventKind::Progress(progress)));
        assert_eq!(hub.progress(id(1)), Some(progress));
        drop(running);
        assert_eq!(hub.progress(id(1)), None);
    }

    #[tokio::test]
    async fn a_stale_attempt_does_not_remove_the_newer_one() {
        let hub = Hub::new();
        let old = hub.begin(id(1), 1, Progress::default());
        let new = hub.begin(id(1), 2, Progress::default());
        drop(old);
        hub.cancel(id(1));
        assert!(new.cancel.is_cancelled());
    }

    #[tokio::test]
    async fn previews_make_the_round_trip_and_unknown_jobs_have_none() {
        let hub = Hub::new();
        assert!(hub.preview(id(9)).await.is_none());
        let mut running = hub.begin(id(1), 1, Progress::default());
        let answer = tokio::spawn(async move {
            let request = running.previews.recv().await.unwrap();
            request.send((bytes::Bytes::from_static(b"png"), 3)).unwrap();
            running
        });
        assert_eq!(hub.preview(id(1)).await, Some((bytes::Bytes::from_static(b"png"), 3)));
        drop(answer.await.unwrap());
    }

    #[tokio::test]
    async fn a_lagging_bridge_sends_every_subscriber_back_to_the_store() {
        let hub = Hub::new();
        let mut events = hub.subscribe(id(1));
        let store = broadcast::Sender::new(2);
        let receiver = store.subscribe();
        for seq in 0..10 {
            store.send((id(1), Event { seq, time_ms: 0, kind: EventKind::Cancelling })).unwrap();
        }
        drop(store);
        Arc::clone(&hub).follow(receiver).await;
        assert!(matches!(events.recv().await, Err(broadcast::error::RecvError::Closed)));
    }
}
