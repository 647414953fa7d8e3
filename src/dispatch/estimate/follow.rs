//! Follows jobs to their end: learns from them, counts them, and keeps what was learnt in the store, by adapter.

use super::Estimator;
use crate::dispatch::hub::Hub;
use crate::job::{EventKind, Job, JobState, Priority};
use crate::limits::MODEL_STORED_MS;
use crate::store::JobStore;
use crate::telemetry;
use metrics::{counter, histogram};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

/// Where the store keeps the name of the adapter that was used last.
const LAST_ADAPTER: &str = "adapter";

/// Runs until `shutdown`, or until the store is gone; then writes what was learnt.
pub async fn run(estimator: Arc<Estimator>, store: Arc<dyn JobStore>, hub: Arc<Hub>, shutdown: CancellationToken) {
    let mut events = store.subscribe();
    let mut keeper = Keeper { estimator, store, adapter: None };
    // Until the GPU process says who it is, the last one is the best guess.
    if let Ok(Some(adapter)) = keeper.store.model(LAST_ADAPTER).await {
        keeper.use_adapter(adapter).await;
    }
    let mut clock = tokio::time::interval(Duration::from_millis(MODEL_STORED_MS));
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            _ = clock.tick() => {
                let gpu = hub.gpu();
                if !gpu.ready {
                    keeper.estimator.held_up(keeper.store.now_ms());
                }
                if let Some(adapter) = gpu.adapter {
                    keeper.use_adapter(format!("{} {}", adapter.name, adapter.driver)).await;
                }
                keeper.keep().await;
            }
            event = events.recv() => match event {
                Ok((id, event)) if matches!(event.kind, EventKind::Ended { .. }) => {
                    // A job that cannot be read teaches nothing; whoever needs it says so.
                    if let Ok(Some(job)) = keeper.store.job(id).await {
                        ended(&keeper.estimator, &job);
                    }
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => break,
            },
        }
    }
    keeper.keep().await;
}

struct Keeper {
    estimator: Arc<Estimator>,
    store: Arc<dyn JobStore>,
    adapter: Option<String>,
}

impl Keeper {
    /// Goes on with what was learnt on this adapter.
    async fn use_adapter(&mut self, adapter: String) {
        if self.adapter.as_ref() == Some(&adapter) {
            return;
        }
        self.keep().await;
        let stored = match self.store.model(&model_key(&adapter)).await {
            Ok(stored) => stored,
            Err(error) => {
                tracing::warn!(%error, "what was learnt about this adapter cannot be read");
                return;
            }
        };
        match stored.map(|json| self.estimator.restore(&json)) {
            None | Some(Ok(())) => {}
            Some(Err(error)) => {
                tracing::warn!(%error, "what was learnt about this adapter is not understood, and is learnt anew")
            }
        }
        if let Err(error) = self.store.put_model(LAST_ADAPTER, adapter.clone()).await {
            tracing::warn!(%error, "the adapter's name cannot be stored");
        }
        self.adapter = Some(adapter);
    }

    async fn keep(&self) {
        let Some(adapter) = &self.adapter else { return };
        if let Some(json) = self.estimator.take_changed()
            && let Err(error) = self.store.put_model(&model_key(adapter), json).await
        {
            tracing::warn!(%error, "what was learnt about costs cannot be stored");
        }
    }
}

fn model_key(adapter: &str) -> String {
    format!("cost/{adapter}")
}

fn ended(estimator: &Estimator, job: &Job) {
    let kind = job.spec.kind();
    if let Some(outcome) = estimator.ended(job) {
        histogram!(telemetry::ESTIMATE_ERROR, "kind" => kind).record(outcome.error);
        counter!(telemetry::ESTIMATES, "kind" => kind, "within" => if outcome.within { "true" } else { "false" })
            .increment(1);
    }
    let reason = match &job.error {
        Some(failure) => serde_json::to_value(failure.reason).ok().and_then(|word| word.as_str().map(str::to_owned)),
        None => None,
    };
    let labels =
        [("kind", kind.to_owned()), ("state", job.state.as_str().to_owned()), ("reason", reason.unwrap_or_default())];
    counter!(telemetry::JOBS_ENDED, &labels).increment(1);
    let (Some(started_ms), Some(ended_ms)) = (job.started_ms, job.ended_ms) else { return };
    let priority = match job.priority {
        Priority::Interactive => "interactive",
        Priority::Normal => "normal",
        Priority::Batch => "batch",
    };
    let seconds = |from: i64, to: i64| (to - from).max(0) as f64 / 1000.0;
    histogram!(telemetry::JOB_WAIT_SECONDS, "kind" => kind, "priority" => priority)
        .record(seconds(job.created_ms, started_ms));
    if job.state == JobState::Succeeded {
        histogram!(telemetry::JOB_RUN_SECONDS, "kind" => kind, "priority" => priority)
            .record(seconds(started_ms, ended_ms));
    }
}
