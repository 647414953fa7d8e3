//! Tells clients that watch a waiting job how its place in the queue and its expected end change.
//!
//! One task for all of them: it asks the store once a tick for all waiting jobs that somebody watches, so that a thousand streams cost
//! little more than one. It takes a twentieth of the time at most, however long the queue. These events are not stored.

use super::Estimator;
use crate::dispatch::hub::Hub;
use crate::job::{Estimate, Event, EventKind, JobId, TimeMs};
use crate::limits::{WAITING_JOBS_MAX, WAITING_JOBS_ONE_BY_ONE_MAX, WAITING_ROUND_SHARE, WAITING_TICK_MS};
use crate::store::{Ahead, JobStore, QueueMode, StoreError};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Runs until `shutdown`.
pub async fn run(estimator: Arc<Estimator>, store: Arc<dyn JobStore>, hub: Arc<Hub>, shutdown: CancellationToken) {
    let mut told: HashMap<JobId, (u64, TimeMs)> = HashMap::new();
    let mut pause = Duration::ZERO;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let begun = Instant::now();
        round(&estimator, store.as_ref(), &hub, &mut told).await;
        pause = Duration::from_millis(WAITING_TICK_MS).max(WAITING_ROUND_SHARE * begun.elapsed());
    }
}

/// Tells of every place that is another one than what was `told`.
async fn round(estimator: &Estimator, store: &dyn JobStore, hub: &Hub, told: &mut HashMap<JobId, (u64, TimeMs)>) {
    let running: HashSet<JobId> = hub.running().into_iter().map(|(id, _)| id).collect();
    let mut watched = hub.watched(WAITING_JOBS_MAX);
    watched.retain(|id| !running.contains(id));
    if watched.is_empty() {
        told.clear();
        return;
    }
    let held_up = !hub.gpu().ready || !matches!(store.queue_mode().await, Ok(QueueMode::Open));
    let places = match places(store, &watched).await {
        Ok(places) => places,
        Err(error) => {
            tracing::debug!(%error, "the places of waiting jobs cannot be read");
            return;
        }
    };
    let now_ms = store.now_ms();
    let mut still_told = HashMap::new();
    for (id, ahead) in watched.into_iter().zip(places) {
        let Some(ahead) = ahead else { continue };
        let estimate = match estimator.queued_by_id(id, ahead, now_ms) {
            _ if held_up => None,
            Some(estimate) => Some(estimate),
            // After a restart nothing is remembered of it yet.
            None => remember(estimator, store, id, now_ms, ahead).await,
        };
        let end_ms = estimate.map_or(0, |estimate| estimate.end_p50_ms);
        let before = told.get(&id).copied();
        if before.is_none_or(|before| is_news(before, (ahead.tasks, end_ms), now_ms)) {
            let kind = EventKind::Waiting { position: ahead.tasks, estimate };
            hub.publish(id, Event { seq: 0, time_ms: now_ms, kind });
            still_told.insert(id, (ahead.tasks, end_ms));
        } else if let Some(before) = before {
            still_told.insert(id, before);
        }
    }
    *told = still_told;
}

/// A few are counted one by one, which reads what is before them; for many the whole class is put in order once.
async fn places(store: &dyn JobStore, ids: &[JobId]) -> Result<Vec<Option<Ahead>>, StoreError> {
    if ids.len() > WAITING_JOBS_ONE_BY_ONE_MAX {
        return store.ahead_of_all(ids).await;
    }
    let mut places = Vec::with_capacity(ids.len());
    for id in ids {
        places.push(store.ahead(*id).await?);
    }
    Ok(places)
}

async fn remember(
    estimator: &Estimator,
    store: &dyn JobStore,
    id: JobId,
    now_ms: TimeMs,
    ahead: Ahead,
) -> Option<Estimate> {
    let job = store.job(id).await.ok()??;
    estimator.promise(id, &job.spec, estimator.cost_seconds(&job.spec), None, job.created_ms);
    Some(estimator.queued(&job.spec, ahead, now_ms))
}

/// Another place, or an end that moved by a second and by a tenth of the time to it.
fn is_news(before: (u64, TimeMs), now: (u64, TimeMs), now_ms: TimeMs) -> bool {
    let moved_ms = (before.1 - now.1).abs();
    before.0 != now.0 || (moved_ms > 1000 && moved_ms > (now.1 - now_ms) / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_told() {
        assert!(is_news((3, 10_000), (2, 10_000), 0));
        assert!(is_news((3, 10_000), (3, 12_000), 0));
        assert!(!is_news((3, 10_000), (3, 10_900), 0));
        assert!(!is_news((3, 100_000), (3, 105_000), 0));
    }
}
