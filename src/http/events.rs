//! `GET /v1/jobs/{id}/events`: what happened to a job, as server-sent events or as a page of JSON.
//!
//! A stream begins with `snapshot` (the job as it is), then all stored events after `Last-Event-ID` (or `?after=`), then live
//! ones. `id:` is the event's number in the job and survives restarts; `snapshot`, `progress`, `preview` and the `queued` that tells
//! of another place in the queue have none, since there is nothing to resume from. The stream ends after `ended`.

use super::accept::Accept;
use super::extract::{JobPath, Query};
use super::follow::Follower;
use super::problem::{Kind, Problem};
use super::{Answer, AppState, find_job, json, view};
use crate::job::{Event, JobId, JobState};
use crate::limits::{EVENTS_PAGE_MAX, PROGRESS_EVENT_MS_MIN, PROGRESS_EVENTS_PER_SECOND_MAX};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// See the module's text.
pub async fn events(State(app): State<AppState>, JobPath(id): JobPath, mut query: Query, headers: HeaderMap) -> Answer {
    let after = query.take_number("after", 0..=i64::MAX)?;
    let limit = query.take_number("limit", 1..=EVENTS_PAGE_MAX)?;
    query.end(&["after", "limit"])?;
    match Accept::of(&headers).best(&["text/event-stream", "application/json"]) {
        Some("application/json") => {
            let after = after.unwrap_or(0);
            check_resumed(&app, id, after, || Problem::of_parameter("after", beyond_the_end(after))).await?;
            page(&app, id, after, limit.unwrap_or(EVENTS_PAGE_MAX)).await
        }
        Some(_) => {
            let last = last_event_id(&headers)?;
            let after = last.or(after).unwrap_or(0);
            check_resumed(&app, id, after, || match last {
                Some(_) => Problem::new(Kind::InvalidHeader, format!("Last-Event-ID: {}", beyond_the_end(after))),
                None => Problem::of_parameter("after", beyond_the_end(after)),
            })
            .await?;
            stream(app, id, after).await
        }
        None => {
            Err(Problem::new(Kind::NotAcceptable, "Events can be had as text/event-stream and as application/json."))
        }
    }
}

/// A browser that resumes sends the number of the last event that it saw; it wins over the address, which it cannot change.
fn last_event_id(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let number = value.to_str().ok().and_then(|text| text.trim().parse().ok()).filter(|number| *number >= 0);
    number
        .map(Some)
        .ok_or_else(|| Problem::new(Kind::InvalidHeader, "Last-Event-ID: expected the number of an event, from 0."))
}

/// Refuses to go on after an event that there is not: such a reader has read of another job, and would wait for nothing.
async fn check_resumed(
    app: &AppState,
    id: JobId,
    after: i64,
    problem: impl FnOnce() -> Problem + Send,
) -> Result<(), Problem> {
    if after > 0 && app.store.events(id, after - 1, 1).await?.is_empty() {
        // A job that is gone says so.
        find_job(app, id).await?;
        return Err(problem().job(id));
    }
    Ok(())
}

fn beyond_the_end(after: i64) -> String {
    format!("found {after}, expected the number of an event of this job, which has fewer; begin again without it")
}

async fn page(app: &AppState, id: JobId, after: i64, limit: u32) -> Answer {
    let job = find_job(app, id).await?;
    let events = app.store.events(id, after, limit).await?;
    let next = events.last().map_or(after, |event| event.seq);
    let shown: Vec<Value> = events
        .iter()
        .map(|event| json!({"seq": event.seq, "event": event.kind.name(), "data": view::event_data(id, event)}))
        .collect();
    let url = format!("{}/events?after={next}", super::job_url(id));
    Ok(json(200, &json!({"events": shown, "next": next, "state": job.state, "links": {"next": url}})))
}

async fn stream(app: AppState, id: JobId, after: i64) -> Answer {
    let permit = Arc::clone(&app.event_streams).try_acquire_owned().map_err(|_| {
        Problem::new(
            Kind::Overloaded,
            format!(
                "{} event streams are open, which is the most. Poll instead, or try again.",
                app.limits.event_streams_max
            ),
        )
        .retry_after(5)
    })?;
    // The follower subscribes before the snapshot is read, so that nothing falls between the two.
    let mut follower = Follower::new(Arc::clone(&app.store), Arc::clone(&app.hub), app.closing.clone(), id, after);
    let job = find_job(&app, id).await?;
    follower.set_queued(job.state == JobState::Queued);
    let snapshot = view::job(&app, &job).await?;
    let comments = KeepAlive::new().interval(Duration::from_secs(app.limits.event_comment_seconds)).text("still here");
    let reader = Reader { app, follower, id, snapshot: Some(snapshot), _permit: permit };
    let stream = futures::stream::unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        Some((Ok::<_, Infallible>(event), reader))
    });
    let mut response: Response = Sse::new(stream).keep_alive(comments).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would hold events back until its buffer is full.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// Many streams share what the server spends on progress, so that those who watch a render do not slow it down.
fn progress_gap(app: &AppState) -> Duration {
    let streams = (app.limits.event_streams_max - app.event_streams.available_permits()) as u64;
    Duration::from_millis((streams * 1000 / PROGRESS_EVENTS_PER_SECOND_MAX).max(PROGRESS_EVENT_MS_MIN))
}

struct Reader {
    app: AppState,
    follower: Follower,
    id: JobId,
    snapshot: Option<Value>,
    _permit: OwnedSemaphorePermit,
}

impl Reader {
    async fn next(&mut self) -> Option<SseEvent> {
        if let Some(snapshot) = self.snapshot.take() {
            return Some(SseEvent::default().event("snapshot").data(snapshot.to_string()));
        }
        self.follower.set_progress_gap(progress_gap(&self.app));
        match self.follower.next().await {
            Ok(event) => event.map(|event| self.show(&event)),
            Err(error) => {
                // Ending the stream makes the client resume, which is all that can be done about it.
                tracing::warn!(job.id = %self.id, %error, "an event stream ends early");
                None
            }
        }
    }

    fn show(&self, event: &Event) -> SseEvent {
        let shown = SseEvent::default().event(event.kind.name()).data(view::event_data(self.id, event).to_string());
        if event.kind.is_stored() { shown.id(event.seq.to_string()) } else { shown }
    }
}
