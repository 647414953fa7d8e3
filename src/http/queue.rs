//! `/v1/queue`: how much waits and runs, and for whom; and what an operator can do about it.

use super::extract::Query;
use super::{Answer, AppState, json};
use crate::store::{Load, QueueMode, QueueOverview};
use axum::extract::State;
use serde_json::{Value, json};

/// `GET /v1/queue`: by class and by client.
pub async fn show(State(app): State<AppState>, query: Query) -> Answer {
    query.end(&[])?;
    overview(&app).await
}

/// `POST /v1/queue/pause`: jobs are accepted and wait; what runs goes on.
pub async fn pause(State(app): State<AppState>, query: Query) -> Answer {
    set(&app, &query, QueueMode::Paused).await
}

/// `POST /v1/queue/drain`: nothing is accepted and nothing new begins; what runs goes on, and what waits stays for the next server.
pub async fn drain(State(app): State<AppState>, query: Query) -> Answer {
    set(&app, &query, QueueMode::Draining).await
}

/// `POST /v1/queue/resume`: the end of both.
pub async fn resume(State(app): State<AppState>, query: Query) -> Answer {
    set(&app, &query, QueueMode::Open).await
}

async fn set(app: &AppState, query: &Query, mode: QueueMode) -> Answer {
    query.end(&[])?;
    let before = app.store.queue_mode().await?;
    app.store.set_queue_mode(mode).await?;
    if before != QueueMode::Open || mode != QueueMode::Open {
        // Jobs that wait now wait for the operator, which no estimate could know.
        app.estimator.held_up(app.store.now_ms());
    }
    tracing::info!(mode = mode.as_str(), "the queue's mode was set");
    overview(app).await
}

async fn overview(app: &AppState) -> Answer {
    let QueueOverview { mode, classes, clients } = app.store.queue().await?;
    let sum = |count: fn(&Load) -> u64| classes.iter().map(|(_, load)| count(load)).sum::<u64>();
    let by_class: serde_json::Map<String, Value> = classes
        .iter()
        .filter_map(|(priority, load)| Some((json!(priority).as_str()?.to_owned(), shown(load))))
        .collect();
    let by_client: Vec<Value> = clients
        .iter()
        .map(|(name, load)| {
            let mut client = shown(load);
            client["client"] = json!(name);
            client
        })
        .collect();
    Ok(json(
        200,
        &json!({
            "mode": mode.as_str(),
            "queued": sum(|load| load.jobs_queued),
            "running": sum(|load| load.jobs_running),
            "queued_max": crate::limits::JOBS_QUEUED_MAX,
            "classes": by_class,
            "clients": by_client,
        }),
    ))
}

fn shown(load: &Load) -> Value {
    let Load { jobs_queued, jobs_running, tasks_queued, tasks_running, gpu_seconds } = *load;
    json!({
        "jobs_queued": jobs_queued,
        "jobs_running": jobs_running,
        "tasks_queued": tasks_queued,
        "tasks_running": tasks_running,
        "gpu_seconds": (gpu_seconds * 1000.0).round() / 1000.0,
    })
}
