//! `/v1/jobs`: accept, list, show, cancel, retry and delete jobs. Follow a job from here: [`create`] → [`super::submit`] → the store.

use super::accept::Accept;
use super::admit::Quote;
use super::extract::{JobPath, Query};
use super::outputs::{self, Wish};
use super::problem::{Kind, Problem};
use super::wait::CancelOnDrop;
use super::{
    Answer, AppState, admit, find_job, idempotency, job_url, json, missing_job, prefer, shown, submit, view, wait,
};
use crate::job::{AttachedFiles, Event, Job, JobId, JobSpec, JobState, TimeMs, nearest, parse_timestamp};
use crate::limits::{LIST_JOBS_DEFAULT, LIST_JOBS_MAX};
use crate::store::{Cancelled, ListFilter, NewJob, QueueMode, StoreError, Submitted};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;

/// The client of every job, as long as there are no keys.
const CLIENT: &str = "local";
/// Kinds of jobs that there are.
const KINDS: [&str; 2] = ["scene", "shader"];
/// Seconds after which a client that got a 202 should look again, at most.
const RETRY_AFTER_SECONDS_MAX: u64 = 60;

/// `POST /v1/jobs`.
pub async fn create(State(app): State<AppState>, query: Query, headers: HeaderMap, body: Body) -> Answer {
    let key = idempotency::begin(&app, &headers)?;
    accept(&app, JobId::now_v7(), key, query, &headers, body).await
}

/// `PUT /v1/jobs/{id}`: the same with the client's own id, which makes it idempotent by itself.
pub async fn create_with_id(
    State(app): State<AppState>,
    JobPath(id): JobPath,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    accept(&app, id, None, query, &headers, body).await
}

/// Reads, validates and stores a submission; then answers at once, or waits as the client prefers.
async fn accept(
    app: &AppState,
    id: JobId,
    key: Option<idempotency::KeyInProgress>,
    mut query: Query,
    headers: &HeaderMap,
    body: Body,
) -> Answer {
    let cancel_on_disconnect = query.take_flag("cancel_on_disconnect")?;
    let wait = prefer::wait(headers, app.limits.wait_seconds_max);
    let spec = submit::read(app, headers, query, body).await?;
    let idempotency = key.as_ref().map(|key| (key.key.clone(), spec.canonical_hash()));
    // While the GPU is away there is nothing to be protected from a flood.
    if app.hub.gpu().ready {
        tokio::select! {
            () = app.pace.turn(spec.priority()) => {}
            () = app.closing.cancelled() => {}
        }
    }
    // Subscribed to before the job is there, so that nothing of it can be missed.
    let events = wait.is_some().then(|| app.hub.subscribe(id));
    let (submitted, quote) = admit(app, id, spec, idempotency).await?;
    let (job, created) = match submitted {
        Submitted::Created(job) => (job, true),
        Submitted::Existing(job) => (job, false),
        Submitted::Conflict(other) if key.is_some() => {
            let detail = format!(
                "This Idempotency-Key belongs to job {other}, which was asked for differently. Use a new key for a new job."
            );
            return Err(Problem::new(Kind::IdempotencyMismatch, detail).job(other));
        }
        Submitted::Conflict(other) => {
            let detail =
                format!("The id {other} belongs to a job that was asked for differently. Use a new id for a new job.");
            return Err(Problem::new(Kind::JobConflict, detail).job(other));
        }
    };
    // The job is on disk: others with the same key may go on.
    drop(key);
    let Some(time_max) = wait else {
        return match &quote {
            Some(quote) => Ok(accepted_as(app, &job, created, view::quoted(&job, quote))),
            None => accepted(app, &job, created).await,
        };
    };
    let guard = CancelOnDrop::new(app, job.id, cancel_on_disconnect);
    let answer = waited(app, &job, created, events.filter(|_| created), headers, time_max).await;
    guard.disarm();
    let mut response = answer.unwrap_or_else(|problem| problem.into_response());
    let applied = format!("wait={}", time_max.as_secs());
    response.headers_mut().insert("preference-applied", HeaderValue::try_from(applied).expect("digits are ASCII"));
    Ok(response)
}

/// Judges a submission's options and stores it. With a new job that waits comes what goes before it and what is promised of it.
async fn admit(
    app: &AppState,
    id: JobId,
    spec: JobSpec,
    idempotency: Option<(String, [u8; 32])>,
) -> Result<(Submitted, Option<Quote>), Problem> {
    let priority = spec.priority();
    let (cost_seconds, content) = (app.estimator.cost_seconds(&spec), admit::content_hash(&spec));
    let new = NewJob { id, client: CLIENT.to_owned(), spec, idempotency, cost_seconds, content };
    let _deadlines = match new.spec.options().finish_before_ms {
        Some(_) => Some(app.deadlines.lock().await),
        None => None,
    };
    let answered = answered_at_once(app, &new).await?;
    if let Err(problem) = judge(app, &new.spec, answered).await {
        // A request that is repeated is answered as it was, although a deadline has passed meanwhile.
        return app.store.submitted_before(new).await?.map(|submitted| (submitted, None)).ok_or(problem);
    }
    // From here to the row that names them, no asset of the job may be forgotten.
    let gate = app.blobs.keep_assets().await;
    submit::check_assets(app, &new.spec, &AttachedFiles::default()).await?;
    let submitted = app.store.submit(new).await?;
    drop(gate);
    let mut quote = None;
    if let Submitted::Created(job) = &submitted
        && job.state == JobState::Queued
        && job.follows.is_none()
    {
        // A worker that was idle may have claimed it already, and then there is nothing before it.
        let (ahead, mode) = app.store.standing(job.id).await?;
        let ahead = ahead.unwrap_or_default();
        app.pace.found(priority, ahead.tasks);
        let goes_on = mode == QueueMode::Open && app.hub.gpu().ready;
        let estimate = goes_on.then(|| app.estimator.queued(&job.spec, ahead, app.store.now_ms()));
        app.estimator.promise(job.id, &job.spec, cost_seconds, estimate.as_ref(), job.created_ms);
        quote = Some(Quote { ahead, estimate });
    }
    Ok((submitted, quote))
}

/// Whether a finished job answers for this one. None does whose bytes are lost: it is rendered again.
async fn answered_at_once(app: &AppState, new: &NewJob) -> Result<bool, Problem> {
    let outputs = app.store.answers(new).await?;
    for (blob, bytes) in &outputs {
        if app.blobs.bytes(blob).await.ok().flatten() != Some(*bytes) {
            tracing::error!(blob, "the bytes of a finished job are not there; the same work is done again");
            app.store.answers_no_more(new).await?;
            return Ok(false);
        }
    }
    Ok(!outputs.is_empty())
}

/// Whether this server would take such a job at this moment. `answered`: it ends as soon as it is accepted.
async fn judge(app: &AppState, spec: &JobSpec, answered: bool) -> Result<(), Problem> {
    admit::check_options(app, spec.options())?;
    if answered || spec.options().finish_before_ms.is_none() {
        return Ok(());
    }
    let Quote { estimate, .. } = admit::quote(app, spec).await?;
    admit::check_deadline(spec.options(), estimate.as_ref())
}

/// `POST /v1/jobs/check`: what a submission would take and when it would be done. Enqueues nothing; files that come along stay as
/// assets, so that the job itself need not bring them again.
pub async fn check(State(app): State<AppState>, query: Query, headers: HeaderMap, body: Body) -> Answer {
    let spec = submit::read(&app, &headers, query, body).await?;
    admit::check_options(&app, spec.options())?;
    let Quote { ahead, estimate } = admit::quote(&app, &spec).await?;
    admit::check_deadline(spec.options(), estimate.as_ref())?;
    let shown = json!({
        "kind": spec.kind(),
        "spec": view::spec(&spec),
        "tasks": spec.tasks().len(),
        "queue": {"position": ahead.tasks},
        "gpu_seconds": view::gpu_seconds(&app, &spec),
        "estimate": estimate.as_ref().map(view::estimate),
    });
    Ok(json(200, &shown))
}

/// 202 for a new job, 200 for one that was there.
pub(super) async fn accepted(app: &AppState, job: &Job, created: bool) -> Answer {
    Ok(accepted_as(app, job, created, view::job(app, job).await?))
}

/// With the job as it is to be shown.
fn accepted_as(app: &AppState, job: &Job, created: bool, shown: serde_json::Value) -> Response {
    let mut response = json(if created { 202 } else { 200 }, &shown);
    let fields = response.headers_mut();
    fields.insert(header::LOCATION, HeaderValue::try_from(job_url(job.id)).expect("a UUID is ASCII"));
    if !job.state.is_terminal() {
        fields.insert(header::RETRY_AFTER, HeaderValue::from(retry_after_seconds(app, &shown)));
    }
    response
}

/// When to look again: at the expected end. Without an estimate, a second for each job before it is the best that can be said.
fn retry_after_seconds(app: &AppState, shown: &serde_json::Value) -> u64 {
    let seconds = match shown["estimate"]["end"]["p50"].as_str().and_then(parse_timestamp) {
        Some(end_ms) => u64::try_from(end_ms - app.store.now_ms()).unwrap_or(0).div_ceil(1000),
        None => shown["queue"]["position"].as_u64().unwrap_or(0) + 1,
    };
    seconds.clamp(1, RETRY_AFTER_SECONDS_MAX)
}

/// The job's end, as a picture where the client likes pictures better than JSON.
async fn waited(
    app: &AppState,
    job: &Job,
    created: bool,
    events: Option<Receiver<Event>>,
    headers: &HeaderMap,
    time_max: Duration,
) -> Answer {
    let Some((ended, blobs)) = wait::until_ended(app, job.id, events, time_max).await? else {
        let job = find_job(app, job.id).await?;
        let mut response = accepted(app, &job, created).await?;
        *response.status_mut() = StatusCode::ACCEPTED;
        return Ok(response);
    };
    if !Accept::of(headers).prefers_image() {
        return accepted(app, &ended, false).await;
    }
    if let Some(failure) = &ended.error {
        return Err(Problem::of_failure(ended.id, failure));
    }
    let location = HeaderValue::try_from(job_url(ended.id)).expect("a UUID is ASCII");
    // Conditions and ranges are about the picture's own address, not about this answer.
    let mut accept_only = HeaderMap::new();
    for value in headers.get_all(header::ACCEPT) {
        accept_only.append(header::ACCEPT, value.clone());
    }
    let mut response = outputs::image_of(app, &Method::GET, &accept_only, &ended, &blobs, Wish::ACCEPTED).await?;
    response.headers_mut().insert(header::LOCATION, location);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// `GET /v1/jobs/{id}`.
pub async fn show(State(app): State<AppState>, JobPath(id): JobPath, query: Query) -> Answer {
    query.end(&[])?;
    let job = find_job(&app, id).await?;
    Ok(json(200, &view::job(&app, &job).await?))
}

/// `GET /v1/jobs`: newest first, a page at a time.
pub async fn list(State(app): State<AppState>, mut query: Query) -> Answer {
    let state = match query.take("state")? {
        None => None,
        Some(text) => Some(JobState::parse(&text).ok_or_else(|| {
            let expected = "expected queued, running, succeeded, failed, cancelled or expired";
            Problem::of_parameter("state", format!("found \"{}\", {expected}", shown(&text)))
        })?),
    };
    let kind = query.take("kind")?;
    if let Some(text) = kind.as_deref().filter(|text| !KINDS.contains(text)) {
        let hint = nearest(text, &KINDS).map_or(String::new(), |near| format!("; did you mean \"{near}\"?"));
        let message = format!("found \"{}\", expected one of {}{hint}", shown(text), KINDS.join(", "));
        return Err(Problem::of_parameter("kind", message));
    }
    let label = match query.take("label")? {
        None => None,
        Some(text) => {
            Some(text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())).ok_or_else(|| {
                Problem::of_parameter("label", format!("found \"{}\", expected KEY=VALUE", shown(&text)))
            })?)
        }
    };
    let limit = query.take_number("limit", 1..=LIST_JOBS_MAX)?.unwrap_or(LIST_JOBS_DEFAULT);
    let before = match query.take("cursor")? {
        None => None,
        Some(text) => Some(parse_cursor(&text).ok_or_else(|| {
            Problem::of_parameter(
                "cursor",
                "is not one that this service gave out; take it from next of the page before",
            )
        })?),
    };
    query.end(&["state", "kind", "label", "limit", "cursor"])?;
    let jobs = app.store.list(ListFilter { client: None, state, kind, label, before, limit }).await?;
    // A full page may be the last one; then the next one is empty, which costs less than counting.
    let next = jobs.last().filter(|_| jobs.len() == limit as usize).map(|last| cursor(last.created_ms, last.id));
    let mut shown = view::jobs(&app, &jobs).await?;
    shown.iter_mut().for_each(view::shorten);
    Ok(json(200, &json!({"jobs": shown, "next": next})))
}

/// A place in the list, as text that means nothing to clients.
fn cursor(created_ms: TimeMs, id: JobId) -> String {
    let mut bytes = created_ms.to_be_bytes().to_vec();
    bytes.extend_from_slice(id.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

fn parse_cursor(text: &str) -> Option<(TimeMs, JobId)> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (created, id) = bytes.split_first_chunk::<8>()?;
    let created_ms = TimeMs::from_be_bytes(*created);
    (created_ms >= 0).then_some((created_ms, JobId::from_slice(id).ok()?))
}

/// `POST /v1/jobs/{id}/cancel`: 202 while it is being stopped, 200 when it is, 409 when it had ended otherwise.
pub async fn cancel(State(app): State<AppState>, JobPath(id): JobPath, query: Query) -> Answer {
    query.end(&[])?;
    let Some(cancelled) = app.store.cancel(id).await? else { return Err(missing_job(&app, id).await) };
    match cancelled {
        Cancelled::Now(job) => Ok(json(200, &view::job(&app, &job).await?)),
        Cancelled::Requested(job) => {
            app.hub.cancel(id);
            let mut response = json(202, &view::job(&app, &job).await?);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(1));
            Ok(response)
        }
        Cancelled::AlreadyEnded(job) if job.state == JobState::Cancelled => {
            Ok(json(200, &view::job(&app, &job).await?))
        }
        Cancelled::AlreadyEnded(job) => {
            let detail = format!("The job has {} already; there is nothing to cancel.", job.state.as_str());
            Err(Problem::new(Kind::JobEnded, detail).job(id).member("state", json!(job.state)))
        }
    }
}

/// `POST /v1/jobs/{id}/retry`: failed, cancelled or expired → queued, with the same id.
pub async fn retry(State(app): State<AppState>, JobPath(id): JobPath, query: Query) -> Answer {
    query.end(&[])?;
    let Some(retried) = app.store.retry(id).await? else { return Err(missing_job(&app, id).await) };
    match retried {
        Ok(job) => accepted(&app, &job, true).await,
        Err(job) => {
            let (kind, why) = match job.state {
                JobState::Succeeded => (Kind::JobEnded, "has succeeded; submit it again for another picture"),
                _ => (Kind::JobNotEnded, "has not ended; cancel it first"),
            };
            Err(Problem::new(kind, format!("The job {why}.")).job(id).member("state", json!(job.state)))
        }
    }
}

/// `DELETE /v1/jobs/{id}`: forgets a job that has ended, and its outputs.
pub async fn delete(State(app): State<AppState>, JobPath(id): JobPath, query: Query) -> Answer {
    query.end(&[])?;
    // A task of its own, which goes on when the client hangs up between the row and the blobs.
    let task = app.clone();
    let forget = tokio::spawn(async move {
        let app = task;
        let deleted = app.store.delete(id).await;
        if let Ok(Some(Ok(keys))) = &deleted {
            // Row first, blobs second: a blob that stays is an orphan, and orphans are collected.
            if let Err(error) = app.blobs.delete(keys).await {
                tracing::warn!(job.id = %id, %error, blobs = keys.len(), "cannot delete the blobs of a deleted job");
            }
        }
        deleted
    });
    let forgotten = forget.await.map_err(|error| StoreError::Other(error.to_string()))?;
    let Some(forgotten) = forgotten? else { return Err(missing_job(&app, id).await) };
    match forgotten {
        Ok(_) => Ok(deleted()),
        Err(job) => {
            let detail = format!("The job is {}. Cancel it and wait for its end, then delete it.", job.state.as_str());
            Err(Problem::new(Kind::JobNotEnded, detail).job(id).member("state", json!(job.state)))
        }
    }
}

fn deleted() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back_as_they_went_and_nonsense_is_refused() {
        let id = JobId::now_v7();
        assert_eq!(parse_cursor(&cursor(1_795_082_400_007, id)), Some((1_795_082_400_007, id)));
        for text in ["", "abc", "!!!!", &cursor(-1, id), &format!("{}AAAA", cursor(1, id))] {
            assert_eq!(parse_cursor(text), None, "{text}");
        }
    }
}
