//! `/livez`, `/readyz`, `/v1/workers`: is it alive, can it work, and on what.

use super::problem::{Kind, Problem};
use super::{Answer, AppState, json};
use crate::store::QueueMode;
use axum::extract::State;
use axum::response::Response;
use serde_json::json;

/// Alive: the process answers. Touches neither the store nor the GPU, so that a slow disk never gets the server killed.
pub async fn livez() -> Response {
    json(200, &json!({"alive": true}))
}

/// Ready: the store answers, blobs can be written, the GPU process is up, and work is accepted.
pub async fn readyz(State(app): State<AppState>) -> Answer {
    let store = app.store.ping().await.map_err(|error| {
        tracing::warn!(%error, "the store does not answer");
        "the store does not answer".to_owned()
    });
    let blobs = probe_blobs(&app).await.map_err(|error| {
        tracing::warn!(%error, "blobs cannot be written");
        "blobs cannot be written".to_owned()
    });
    let status = app.hub.gpu();
    let gpu = if status.ready {
        Ok(())
    } else {
        Err(status.problem.unwrap_or_else(|| "the GPU process is not up".to_owned()))
    };
    let queue = match app.store.queue_mode().await {
        Ok(QueueMode::Draining) => Err("the service is draining and takes no more work".to_owned()),
        // A store that does not answer has been told of.
        Ok(QueueMode::Open | QueueMode::Paused) | Err(_) => Ok(()),
    };
    let ready = store.is_ok() && blobs.is_ok() && gpu.is_ok() && queue.is_ok();
    let show = |check: Result<(), String>| match check {
        Ok(()) => json!({"ok": true}),
        Err(problem) => json!({"ok": false, "problem": problem}),
    };
    let checks = json!({"store": show(store), "blobs": show(blobs), "gpu": show(gpu), "queue": show(queue)});
    if ready {
        return Ok(json(200, &json!({"ready": true, "checks": checks})));
    }
    let detail = "A check failed; see checks. Jobs are accepted as long as the store and the blobs answer, and wait for the GPU.";
    Err(Problem::new(Kind::NotReady, detail).member("ready", json!(false)).member("checks", checks).retry_after(2))
}

/// Writes one byte to the spool and drops it, which removes the file.
async fn probe_blobs(app: &AppState) -> Result<(), crate::blob::BlobError> {
    let mut upload = app.blobs.upload().await?;
    upload.write(bytes::Bytes::from_static(b"?")).await?;
    upload.flush().await
}

/// The adapters, what became of their processes, and what they do.
pub async fn workers(State(app): State<AppState>) -> Response {
    let gpu = app.hub.gpu();
    let running: Vec<_> = app
        .hub
        .running()
        .into_iter()
        .map(|(id, progress)| json!({"id": id, "phase": progress.phase, "fraction": progress.fraction}))
        .collect();
    json(
        200,
        &json!({"workers": [{"ready": gpu.ready, "adapter": gpu.adapter, "deaths": gpu.deaths, "replaced": gpu.replaced,
            "canary_seconds": gpu.canary_seconds, "problem": gpu.problem,
            "gpu_busy_seconds": app.hub.gpu_busy_seconds(), "jobs": running}]}),
    )
}
