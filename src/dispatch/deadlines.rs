//! Ends jobs whose `start_before` has passed: one tokio task a server, which asks the store once a second.

use crate::limits::DEADLINES_TICK_MS;
use crate::store::JobStore;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Runs until `shutdown`.
pub async fn run(store: Arc<dyn JobStore>, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(Duration::from_millis(DEADLINES_TICK_MS)) => {}
        }
        match store.expire_due().await {
            Ok(expired) if expired.is_empty() => {}
            Ok(expired) => tracing::info!(jobs = expired.len(), "jobs expired before they started"),
            Err(error) => tracing::warn!(%error, "deadlines cannot be looked at; the next second tries again"),
        }
    }
}
