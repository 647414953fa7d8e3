//! The event hub: what the front end may know of running work without asking the store. A courtesy (invariant 2): all of it can
//! be lost with the process.
//!
//! One `Hub` a server, behind `Arc`. Every call is a short critical section and never waits, except [`Hub::preview`] and
//! [`Hub::follow`], which are async. It knows nothing of HTTP, SQL or pipes.

use crate::gpu_process::protocol::AdapterReport;
use crate::job::{Event, EventKind, JobId, Phase, Progress, TimeMs};
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
    running: HashMap<JobId, Vec<Running>>,
    /// Channels that somebody listens to, and a bounded number of forgotten ones (see `sweep`).
    channels: HashMap<JobId, broadcast::Sender<Event>>,
    /// `channels` is swept when it grows past this.
    sweep_at: usize,
    gpu: GpuStatus,
    /// Seconds that the device worked, over all attempts since the start.
    gpu_busy_seconds: f64,
}

/// An attempt of one task of a job. A job may have several at once.
struct Running {
    fence: i64,
    /// Of the task alone.
    progress: Progress,
    /// Of how many tasks that make frames the job consists.
    parts: u32,
    /// What the job had when the attempt began, without what runs; for jobs of several parts.
    base: Progress,
    /// Samples of the last [`EventKind::Preview`].
    previewed: u32,
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
    succeeded: bool,
    /// Cancelled by [`Hub::cancel`].
    pub cancel: CancellationToken,
    /// Requests of [`Hub::preview`].
    pub previews: mpsc::Receiver<PreviewRequest>,
}

impl Drop for RunningJob {
    fn drop(&mut self) {
        let mut inner = self.hub.lock();
        let Some(attempts) = inner.running.get_mut(&self.id) else { return };
        let Some(at) = attempts.iter().position(|running| running.fence == self.fence) else { return };
        let ended = attempts.remove(at);
        for other in attempts.iter_mut().filter(|_| self.succeeded) {
            other.base.frames_done = other.base.frames_done.saturating_add(1).min(other.parts);
            other.base.gpu_seconds += ended.progress.gpu_seconds;
        }
        if attempts.is_empty() {
            inner.running.remove(&self.id);
        }
    }
}

impl RunningJob {
    /// The job consists of so many parts, and has got so far without those that run now.
    pub fn is_part_of(&self, parts: u32, base: Progress) {
        let mut inner = self.hub.lock();
        let attempts = inner.running.get_mut(&self.id).into_iter().flatten();
        if let Some(running) = attempts.into_iter().find(|running| running.fence == self.fence) {
            (running.parts, running.base) = (parts, base);
        }
    }

    /// It ended well, so that its share counts for the rest of the job.
    pub fn succeeded(&mut self) {
        self.succeeded = true;
    }
}

impl Hub {
    /// An empty hub.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// The freshest progress of a running job (fresher than the store's).
    pub fn progress(&self, id: JobId) -> Option<Progress> {
        self.lock().running.get(&id).and_then(|attempts| of_job(attempts))
    }

    /// The freshest progress of one attempt alone.
    pub fn attempt_progress(&self, id: JobId, fence: i64) -> Option<Progress> {
        let inner = self.lock();
        inner.running.get(&id)?.iter().find(|running| running.fence == fence).map(|running| running.progress)
    }

    /// The jobs that this process's dispatcher holds, with their freshest progress.
    pub fn running(&self) -> Vec<(JobId, Progress)> {
        self.lock().running.iter().filter_map(|(id, attempts)| Some((*id, of_job(attempts)?))).collect()
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
            && let Some(attempts) = inner.running.get_mut(&id)
        {
            attempts.iter_mut().for_each(|running| running.seq = running.seq.max(event.seq));
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
        for running in self.lock().running.get(&id).into_iter().flatten() {
            running.cancel.cancel();
        }
    }

    /// A PNG of the film as it is now and its samples per pixel; `None` when the job is not on the device or it is too early.
    /// Takes at most about 2 s.
    pub async fn preview(&self, id: JobId) -> Option<(bytes::Bytes, u32)> {
        let previews = {
            let inner = self.lock();
            let attempts = inner.running.get(&id)?;
            // The one that is on the device, and not the one that is loaded behind it.
            let shown = attempts.iter().find(|running| running.progress.fraction > 0.0).or(attempts.first())?;
            shown.previews.clone()
        };
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
        let (parts, base, cancelled) = (1, Progress::default(), cancel.clone());
        let running =
            Running { fence, progress, parts, base, previewed: 0, seq: 0, cancel: cancelled, previews: sender };
        self.lock().running.entry(id).or_default().push(running);
        RunningJob { hub: Arc::clone(self), id, fence, succeeded: false, cancel, previews }
    }

    /// Called by the dispatcher when an attempt got further: remembers it and tells the live subscribers of the job.
    pub fn set_progress(&self, id: JobId, fence: i64, progress: Progress) {
        let mut inner = self.lock();
        let Some(attempts) = inner.running.get_mut(&id) else { return };
        let Some(running) = attempts.iter_mut().find(|running| running.fence == fence) else { return };
        // An attempt's seconds only grow; a step back is the beginning of another frame or attempt.
        let step = progress.gpu_seconds - running.progress.gpu_seconds;
        let worked = if step >= 0.0 { step } else { progress.gpu_seconds };
        running.progress = progress;
        let seq = running.seq;
        let samples = progress.samples_done.max(progress.frames_done);
        let worth_a_look = progress.phase == Phase::Rendering && samples >= (2 * running.previewed).max(1);
        if worth_a_look {
            running.previewed = samples;
        }
        let Some(progress) = of_job(attempts) else { return };
        let preview = worth_a_look.then_some(EventKind::Preview { samples });
        inner.gpu_busy_seconds += worked;
        let Some(channel) = inner.channels.get(&id) else { return };
        for kind in std::iter::once(EventKind::Progress(progress)).chain(preview) {
            if channel.send(Event { seq, time_ms: now_ms(), kind }).is_err() {
                inner.channels.remove(&id);
                return;
            }
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

/// The progress of a job by its attempts. A job of one part is as far as its newest attempt; a job of several adds up.
fn of_job(attempts: &[Running]) -> Option<Progress> {
    let newest = attempts.last()?;
    if newest.parts <= 1 {
        return Some(newest.progress);
    }
    // The one that is on the device says what is going on.
    let shown = attempts.iter().find(|running| running.progress.fraction > 0.0).unwrap_or(newest);
    let frames_done = attempts.iter().map(|running| running.base.frames_done).max().unwrap_or(0).min(newest.parts);
    let seconds = attempts.iter().map(|running| running.base.gpu_seconds).fold(0.0, f64::max);
    let fractions: f32 = attempts.iter().map(|running| running.progress.fraction).sum();
    Some(Progress {
        fraction: ((frames_done as f32 + fractions) / newest.parts as f32).min(1.0),
        frames_done,
        frames_total: newest.parts,
        gpu_seconds: seconds + attempts.iter().map(|running| running.progress.gpu_seconds).sum::<f64>(),
        ..shown.progress
    })
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
        hub.set_progress(id(1), 7, progress);
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
    async fn the_parts_of_a_job_add_up_and_are_cancelled_together() {
        let hub = Hub::new();
        let base = Progress { frames_done: 2, gpu_seconds: 5.0, ..Progress::default() };
        let mut first = hub.begin(id(1), 1, Progress::default());
        let second = hub.begin(id(1), 2, Progress::default());
        for part in [&first, &second] {
            part.is_part_of(4, base);
        }
        hub.set_progress(id(1), 1, Progress { fraction: 0.5, gpu_seconds: 1.0, ..Progress::default() });
        let progress = hub.progress(id(1)).unwrap();
        assert_eq!((progress.frames_done, progress.frames_total), (2, 4));
        assert_eq!((progress.fraction, progress.gpu_seconds), (2.5 / 4.0, 6.0));
        assert_eq!(hub.attempt_progress(id(1), 2), Some(Progress::default()));
        first.succeeded();
        drop(first);
        let progress = hub.progress(id(1)).unwrap();
        assert_eq!((progress.frames_done, progress.fraction, progress.gpu_seconds), (3, 0.75, 6.0));
        hub.cancel(id(1));
        assert!(second.cancel.is_cancelled());
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
