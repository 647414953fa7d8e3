//! A job as clients see it: the JSON of `api.md`, "The job, as answered". No I/O besides the position in the queue.

use super::{AppState, job_url};
use crate::job::{Event, EventKind, Job, JobSpec, JobState, Output, Progress, timestamp};
use crate::store::StoreError;
use serde_json::{Map, Value, json};

/// The whole job, with its position in the queue and its freshest progress.
pub async fn job(app: &AppState, job: &Job) -> Result<Value, StoreError> {
    let position = match job.state {
        JobState::Queued => app.store.position(job.id).await?,
        _ => 0,
    };
    Ok(with_position(app, job, Some(position)))
}

/// The job in a list. Its position is left out, since it costs the store a count for each job of the page.
pub fn listed_job(app: &AppState, job: &Job) -> Value {
    with_position(app, job, None)
}

fn with_position(app: &AppState, job: &Job, position: Option<u64>) -> Value {
    let live = if job.state == JobState::Running { app.hub.progress(job.id) } else { None };
    let progress = match live {
        Some(live) if live.fraction >= job.progress.fraction => live,
        _ => job.progress,
    };
    let url = job_url(job.id);
    json!({
        "id": job.id,
        "kind": job.spec.kind(),
        "state": job.state,
        "priority": job.priority,
        "attempt": job.attempt,
        "cached": false,
        "cancel_requested": job.cancel_requested,
        "created": timestamp(job.created_ms),
        "started": job.started_ms.map(timestamp),
        "ended": job.ended_ms.map(timestamp),
        "labels": job.labels,
        "spec": shown_spec(&job.spec),
        "queue": position.map(|position| json!({"position": position})),
        // There is no cost model, and a guess would be worse than none.
        "estimate": null,
        "progress": progress_value(&progress),
        "outputs": job.outputs.iter().map(|output| self::output(job, output)).collect::<Vec<_>>(),
        "error": job.error,
        "report": job.report,
        "links": {
            "self": url,
            "events": format!("{url}/events"),
            "image": format!("{url}/image"),
            "outputs": format!("{url}/outputs"),
            "preview": format!("{url}/preview"),
            "cancel": format!("{url}/cancel"),
            "retry": format!("{url}/retry"),
        },
    })
}

/// The job document with every field spelled out, but without its webhook's secret, which is for nobody's eyes.
fn shown_spec(spec: &JobSpec) -> Value {
    let mut shown = spec.clone();
    if let Some(webhook) = &mut shown.options_mut().webhook {
        webhook.secret = None;
    }
    json!(shown)
}

/// Progress; a fraction that is no number (which only a broken worker sends) becomes 0.
fn progress_value(progress: &Progress) -> Value {
    let fraction = if progress.fraction.is_finite() { progress.fraction.clamp(0.0, 1.0) } else { 0.0 };
    json!(Progress { fraction, ..*progress })
}

/// An output with its address.
pub fn output(job: &Job, output: &Output) -> Value {
    output_at(job.id, output)
}

fn output_at(id: crate::job::JobId, output: &Output) -> Value {
    json!({
        "name": output.name,
        "media_type": output.media_type,
        "bytes": output.bytes,
        "sha256": output.sha256,
        "url": format!("{}/outputs/{}", job_url(id), path_segment(&output.name)),
    })
}

/// Text as one segment of a path (RFC 3986: everything but unreserved characters is escaped).
pub fn path_segment(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::with_capacity(text.len()), |mut segment, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            segment.push(byte as char);
        } else {
            write!(segment, "%{byte:02X}").expect("writing to a String cannot fail");
        }
        segment
    })
}

/// What an event says beside its name and its number: the members of its kind, and the time.
pub fn event_data(id: crate::job::JobId, event: &Event) -> Value {
    let mut data = match &event.kind {
        EventKind::Output(output) => output_at(id, output),
        EventKind::Progress(progress) => progress_value(progress),
        kind => match serde_json::to_value(kind) {
            Ok(Value::Object(mut tagged)) => tagged.remove("data").unwrap_or_default(),
            _ => Value::Null,
        },
    };
    if !data.is_object() {
        data = Value::Object(Map::new());
    }
    data["time"] = timestamp(event.time_ms).into();
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_one_path_segment() {
        assert_eq!(path_segment("image.png"), "image.png");
        assert_eq!(path_segment("a/b ü"), "a%2Fb%20%C3%BC");
    }
}
