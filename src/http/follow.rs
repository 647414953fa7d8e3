//! The events of one job in order, each stored one exactly once: first from the store, then live from the hub.
//!
//! A [`Follower`] is pulled by its reader and buffers little: a reader that is slow falls behind in the hub's channel, is told
//! so, and reads on from the store. It knows nothing of SSE.

use crate::dispatch::hub::Hub;
use crate::job::{Event, EventKind, JobId};
use crate::limits::{EVENTS_PAGE_MAX, PROGRESS_EVENT_MS_MIN};
use crate::store::{JobStore, StoreError};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Reads the events of one job from a number on.
pub struct Follower {
    store: Arc<dyn JobStore>,
    hub: Arc<Hub>,
    closing: CancellationToken,
    id: JobId,
    live: Receiver<Event>,
    /// `seq` of the last stored event that was handed out.
    last_seq: i64,
    /// Stored events that are next.
    pending: VecDeque<Event>,
    /// The store may hold events that are not in `pending`.
    behind: bool,
    /// The last stored event that was handed out was `ended`.
    ended: bool,
    /// As far as was handed out, the job is in the queue: places in it mean something.
    queued: bool,
    /// The newest progress that was not handed out yet.
    progress: Option<Event>,
    /// Progress is not handed out before this.
    progress_at: Instant,
    /// See [`Follower::set_progress_gap`].
    progress_gap: Duration,
}

impl Follower {
    /// Events with a `seq` above `after`.
    pub fn new(store: Arc<dyn JobStore>, hub: Arc<Hub>, closing: CancellationToken, id: JobId, after: i64) -> Self {
        Self {
            live: hub.subscribe(id),
            store,
            hub,
            closing,
            id,
            last_seq: after,
            pending: VecDeque::new(),
            behind: true,
            ended: false,
            queued: true,
            progress: None,
            progress_at: Instant::now(),
            progress_gap: Duration::from_millis(PROGRESS_EVENT_MS_MIN),
        }
    }

    /// Says whether the job is in the queue now, for a follower that begins after what would tell it. Where nobody says, it is.
    pub fn set_queued(&mut self, queued: bool) {
        self.queued = queued;
    }

    /// The time between two events of progress, from the next one on; [`PROGRESS_EVENT_MS_MIN`] where nobody says.
    pub fn set_progress_gap(&mut self, gap: Duration) {
        self.progress_gap = gap;
    }

    /// The next event; `None` after `ended`, when the server is told to stop, and when the job was deleted.
    pub async fn next(&mut self) -> Result<Option<Event>, StoreError> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                self.last_seq = event.seq;
                self.ended = matches!(event.kind, EventKind::Ended { .. });
                match event.kind {
                    EventKind::Queued { .. } => self.queued = true,
                    EventKind::Started { .. } | EventKind::Ended { .. } => self.queued = false,
                    _ => {}
                }
                // Progress from before a stored event would make the job seem to step back.
                self.progress = None;
                // A job that was retried goes on after its first end, which only the store can tell.
                self.behind |= self.ended;
                return Ok(Some(event));
            }
            if self.behind {
                let Some(page) = self.read_page().await? else { return Ok(None) };
                // A full page may not be the last one.
                self.behind = page.len() == EVENTS_PAGE_MAX as usize;
                self.pending.extend(page);
                continue;
            }
            if self.ended {
                return Ok(None);
            }
            if let Some(event) = self.live_event().await? {
                return Ok(Some(event));
            }
            if self.closing.is_cancelled() {
                return Ok(None);
            }
        }
    }

    /// Stored events that come next, possibly none yet; `None` where none will come, since the job has ended or was deleted.
    async fn read_page(&self) -> Result<Option<Vec<Event>>, StoreError> {
        let page = self.store.events(self.id, self.last_seq, EVENTS_PAGE_MAX).await?;
        if !page.is_empty() || self.ended {
            return Ok(Some(page));
        }
        match self.store.job(self.id).await? {
            None => Ok(None),
            Some(job) if job.state.is_terminal() => {
                // Its last events may have been written after the page was read.
                let page = self.store.events(self.id, self.last_seq, EVENTS_PAGE_MAX).await?;
                Ok((!page.is_empty()).then_some(page))
            }
            Some(_) => Ok(Some(page)),
        }
    }

    /// Waits for something to happen; an event that is not stored is handed out from here, the others go through `pending`.
    async fn live_event(&mut self) -> Result<Option<Event>, StoreError> {
        let received = tokio::select! {
            () = self.closing.cancelled() => return Ok(None),
            () = tokio::time::sleep_until(self.progress_at), if self.progress.is_some() => {
                self.progress_at = Instant::now() + self.progress_gap;
                return Ok(self.progress.take());
            }
            received = self.live.recv() => received,
        };
        match received {
            Ok(event) if !event.kind.is_stored() => match event.kind {
                EventKind::Progress(_) => self.progress = Some(event),
                // It was looked up before the job started, and is told after it.
                EventKind::Waiting { .. } if !self.queued => {}
                _ => return Ok(Some(event)),
            },
            // A stream that was resumed beyond the end of its job still has to hear of it: the store says so.
            Ok(event) if event.seq <= self.last_seq => self.behind |= matches!(event.kind, EventKind::Ended { .. }),
            Ok(event) if event.seq == self.last_seq + 1 => self.pending.push_back(event),
            Ok(_) | Err(RecvError::Lagged(_)) => self.behind = true,
            Err(RecvError::Closed) => {
                self.live = self.hub.subscribe(self.id);
                self.behind = true;
            }
        }
        Ok(None)
    }
}
