//! The front end: router, one file a resource, problem documents. The only module that knows status codes; it knows neither wgpu
//! nor SQL.
//!
//! Handlers run on tokio's threads and read and write the store, the blobs and the event hub, nothing else. None of them waits
//! for the GPU, and none does blocking work on those threads (converting a picture goes to the blocking pool).
//!
//! To read a request from its arrival: [`server`] (connections) → [`trace`] (request id, log line) → a resource ([`jobs`],
//! [`events`], [`outputs`], [`assets`], [`health`]) → [`problem`] where it goes wrong.

use crate::blob::BlobStore;
use crate::dispatch::estimate::Estimator;
use crate::dispatch::hub::Hub;
use crate::dispatch::webhook::WebhookConfig;
use crate::job::{Job, JobId};
use crate::limits;
use crate::store::JobStore;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, Method, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use problem::{Kind, Problem};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub mod accept;
pub mod admit;
pub mod assets;
pub mod change;
pub mod conditional;
pub mod download;
pub mod events;
pub mod extract;
pub mod follow;
pub mod health;
pub mod idempotency;
pub mod jobs;
pub mod metrics;
pub mod origin;
pub mod outputs;
pub mod pace;
pub mod prefer;
pub mod problem;
pub mod queue;
pub mod server;
pub mod sniff;
pub mod submit;
pub mod trace;
pub mod upload;
pub mod view;
pub mod wait;

pub use server::{ServeError, bind, serve, serve_on};

/// What a handler answers.
pub type Answer = Result<Response, Problem>;

/// The bounds of the front end that a configuration (or a test) may lower. Defaults: `limits.rs`.
#[derive(Debug, Clone, Copy)]
pub struct HttpLimits {
    /// See [`limits::UPLOAD_BYTES_MAX`].
    pub upload_bytes_max: u64,
    /// See [`limits::UPLOADS_MAX`].
    pub uploads_max: usize,
    /// See [`limits::EVENT_STREAMS_MAX`].
    pub event_streams_max: usize,
    /// See [`limits::EVENT_COMMENT_SECONDS`].
    pub event_comment_seconds: u64,
    /// See [`limits::WAIT_SECONDS_MAX`].
    pub wait_seconds_max: u64,
    /// See [`limits::BODY_IDLE_SECONDS_MAX`].
    pub body_idle_seconds_max: u64,
    /// See [`limits::HEAD_SECONDS_MAX`].
    pub head_seconds_max: u64,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            upload_bytes_max: limits::UPLOAD_BYTES_MAX,
            uploads_max: limits::UPLOADS_MAX,
            event_streams_max: limits::EVENT_STREAMS_MAX,
            event_comment_seconds: limits::EVENT_COMMENT_SECONDS,
            wait_seconds_max: limits::WAIT_SECONDS_MAX,
            body_idle_seconds_max: limits::BODY_IDLE_SECONDS_MAX,
            head_seconds_max: limits::HEAD_SECONDS_MAX,
        }
    }
}

/// What every handler shares. Cheap to clone.
#[derive(Clone)]
pub struct AppState {
    /// The durable queue.
    pub store: Arc<dyn JobStore>,
    /// Assets and outputs.
    pub blobs: BlobStore,
    /// Live events, progress and previews.
    pub hub: Arc<Hub>,
    /// Says when jobs will start and end.
    pub estimator: Arc<Estimator>,
    /// Where webhooks may go.
    pub webhooks: WebhookConfig,
    /// See [`HttpLimits`].
    pub limits: HttpLimits,
    /// See [`origin::HostRule`]; its `loopback` is set by [`serve_on`].
    pub hosts: origin::HostRule,
    /// Cancelled when the server is told to stop: event streams end, and waits are answered.
    pub closing: CancellationToken,
    uploads: Arc<Semaphore>,
    event_streams: Arc<Semaphore>,
    conversions: Arc<Semaphore>,
    keys_in_progress: Arc<Mutex<HashSet<String>>>,
    /// Held from the judgement of a deadline to the row of its job: two jobs that fit one at a time must not both be let in.
    deadlines: Arc<tokio::sync::Mutex<()>>,
    pace: Arc<pace::Pace>,
}

impl AppState {
    /// State over a store, blobs and a hub. Somebody must run [`Hub::follow`] on the store's events, or nothing is live.
    pub fn new(store: Arc<dyn JobStore>, blobs: BlobStore, hub: Arc<Hub>, limits: HttpLimits) -> Self {
        Self {
            store,
            blobs,
            hub,
            estimator: Estimator::new(),
            webhooks: WebhookConfig::default(),
            hosts: origin::HostRule::default(),
            closing: CancellationToken::new(),
            uploads: Arc::new(Semaphore::new(limits.uploads_max)),
            event_streams: Arc::new(Semaphore::new(limits.event_streams_max)),
            conversions: Arc::new(Semaphore::new(limits::CONVERSIONS_MAX)),
            keys_in_progress: Arc::default(),
            deadlines: Arc::default(),
            pace: Arc::default(),
            limits,
        }
    }
}

/// The whole service as one tower service.
pub fn router(state: AppState) -> Router {
    Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/v1/workers", get(health::workers))
        .route("/metrics", get(metrics::metrics))
        .route("/v1/queue", get(queue::show))
        .route("/v1/queue/pause", post(queue::pause))
        .route("/v1/queue/resume", post(queue::resume))
        .route("/v1/queue/drain", post(queue::drain))
        .route("/v1/jobs/check", post(jobs::check))
        .route("/v1/jobs", post(jobs::create).get(jobs::list))
        .route("/v1/jobs/{id}", get(jobs::show).put(jobs::create_with_id).patch(change::patch).delete(jobs::delete))
        .route("/v1/jobs/{id}/events", get(events::events))
        .route("/v1/jobs/{id}/cancel", post(jobs::cancel))
        .route("/v1/jobs/{id}/retry", post(jobs::retry))
        .route("/v1/jobs/{id}/extend", post(change::extend))
        .route("/v1/jobs/{id}/image", get(outputs::image))
        .route("/v1/jobs/{id}/outputs", get(outputs::list))
        .route("/v1/jobs/{id}/outputs/{name}", get(outputs::output))
        .route("/v1/jobs/{id}/preview", get(outputs::preview))
        .route("/v1/assets", post(assets::create))
        .route("/v1/assets/{sha256}", put(assets::put).get(assets::get))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        // Bodies are bounded where they are read, because uploads and documents have different bounds.
        .layer(DefaultBodyLimit::disable())
        .layer(axum::middleware::from_fn_with_state(state.clone(), origin::guard))
        .layer(tower_http::catch_panic::CatchPanicLayer::custom(trace::panicked))
        .layer(axum::middleware::from_fn(trace::trace))
        .with_state(state)
}

async fn no_route(uri: Uri) -> Problem {
    Problem::new(Kind::NotFound, format!("There is nothing at {}. The service answers under /v1.", shown(uri.path())))
}

async fn no_method(method: Method, uri: Uri) -> Problem {
    Problem::new(Kind::MethodNotAllowed, format!("{} does not answer {}.", shown(uri.path()), shown(method.as_str())))
}

/// Text of the client's, short enough to be said back to it.
pub(crate) fn shown(text: &str) -> String {
    match text.char_indices().nth(100) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The job that an address names.
pub(crate) async fn find_job(app: &AppState, id: JobId) -> Result<Job, Problem> {
    match app.store.job(id).await? {
        Some(job) => Ok(job),
        None => Err(missing_job(app, id).await),
    }
}

/// The same, with the blob keys of its outputs in their order.
pub(crate) async fn find_job_and_blobs(app: &AppState, id: JobId) -> Result<(Job, Vec<String>), Problem> {
    match app.store.job_and_blobs(id).await? {
        Some(found) => Ok(found),
        None => Err(missing_job(app, id).await),
    }
}

/// Why there is no such job: it was purged, or never was.
pub(crate) async fn missing_job(app: &AppState, id: JobId) -> Problem {
    match app.store.purged(id).await {
        Ok(true) => Problem::purged(id),
        Ok(false) => Problem::no_job(id),
        Err(error) => error.into(),
    }
}

/// Where a job is.
pub(crate) fn job_url(id: JobId) -> String {
    format!("/v1/jobs/{id}")
}

/// A JSON answer that nobody may keep.
pub(crate) fn json(status: u16, value: &serde_json::Value) -> Response {
    let mut response = value.to_string().into_response();
    *response.status_mut() = axum::http::StatusCode::from_u16(status).expect("handlers name valid codes");
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
