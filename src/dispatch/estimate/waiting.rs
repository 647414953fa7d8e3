//! Tells clients that watch a waiting job how its place in the queue and its expected end change.
//!
//! One task for all of them: it asks the store once a tick for all jobs that somebody watches, so that a thousand streams cost what
//! one costs. These events are not stored.

use super::Estimator;
use crate::dispatch::hub::Hub;
use crate::job::{Estimate, Event, EventKind, JobId, TimeMs};
use crate::limits::{WAITING_JOBS_MAX, WAITING_TICK_MS};
use crate::store::{JobStore, QueueMode};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Runs until `shutdown`.
pub async fn run(estimator: Arc<Estimator>, store: Arc<dyn JobStore>, hub: Arc<Hub>, shutdown: CancellationToken) {
    let mut told: HashMap<JobId, (u64, TimeMs)> = HashMap::new();
    let mut clock = tokio::time::interval(Duration::from_millis(WAITING_TICK_MS));
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = clock.tick() => {}
        }
        let watched = hub.watched(WAITING_JOBS_MAX);
        if watched.is_empty() {
            told.clear();
            continue;
        }
        let held_up = !hub.gpu().ready || !matches!(store.queue_mode().await, Ok(QueueMode::Open));
        let places = match store.ahead_of_all(&watched).await {
            Ok(places) => places,
            Err(error) => {
                tracing::debug!(%error, "the places of waiting jobs cannot be read");
                continue;
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
                None => remember(&estimator, store.as_ref(), id, now_ms, ahead).await,
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
        told = still_told;
    }
}

async fn remember(
    estimator: &Estimator,
    store: &dyn JobStore,
    id: JobId,
    now_ms: TimeMs,
    ahead: crate::store::Ahead,
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
