//! A job as clients see it, as JSON. No I/O besides the job's place in the queue.

use super::admit::Quote;
use super::{AppState, job_url};
use crate::job::{Estimate, Event, EventKind, Job, JobId, JobSpec, JobState, Output, Progress, timestamp};
use crate::limits::LISTED_TEXT_CHARACTERS_MAX;
use crate::store::{Ahead, QueueMode, StoreError};
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// The whole job, with its place in the queue, its estimate and its freshest progress.
pub async fn job(app: &AppState, job: &Job) -> Result<Value, StoreError> {
    let shown = jobs(app, std::slice::from_ref(job)).await?.pop();
    Ok(shown.expect("one job in, one job out"))
}

/// A job that was accepted just now, with what was promised of it.
pub fn quoted(job: &Job, quote: &Quote) -> Value {
    one_job(job, Some(quote.ahead), quote.estimate.as_ref(), &job.progress)
}

/// A page of jobs, in their order. Places in the queue are asked for at once, which costs far less than one by one.
pub async fn jobs(app: &AppState, jobs: &[Job]) -> Result<Vec<Value>, StoreError> {
    let queued: Vec<_> = jobs.iter().filter(|job| job.state == JobState::Queued).map(|job| job.id).collect();
    let places = match &queued[..] {
        [] => Vec::new(),
        [id] => vec![app.store.ahead(*id).await?],
        ids => app.store.ahead_of_all(ids).await?,
    };
    let gpu_ready = app.hub.gpu().ready;
    let going_on = jobs.iter().any(|job| !job.state.is_terminal()) && work_goes_on(app).await?;
    let running = if gpu_ready { app.hub.running() } else { Vec::new() };
    let leaders = if going_on { running_leaders(app, jobs).await? } else { HashMap::new() };
    let mut places = places.into_iter();
    let shown = jobs.iter().map(|job| {
        // A job that was claimed since it was read has nothing before it any more.
        let ahead = (job.state == JobState::Queued).then(|| places.next().flatten().unwrap_or_default());
        let progress = freshest_progress(app, job);
        let running_now = |job: &Job| {
            let others_seconds = app.estimator.remainder_seconds(&running, Some(job.id));
            app.estimator.running(job, &freshest_progress(app, job), others_seconds, app.store.now_ms())
        };
        let leader = job.follows.and_then(|id| leaders.get(&id)).map(running_now);
        let estimate = match (job.state, ahead) {
            // It ends together with the one that it follows.
            (JobState::Queued, _) if leader.is_some() => leader,
            (JobState::Queued, Some(ahead)) if going_on => {
                Some(app.estimator.queued(&job.spec, ahead, app.store.now_ms()))
            }
            // A task that runs goes on, also while the queue is held; the others of its job do not.
            (JobState::Running, _) if going_on || (gpu_ready && job.tasks.total == 1) => Some(running_now(job)),
            _ => None,
        };
        one_job(job, ahead, estimate.as_ref(), &progress)
    });
    Ok(shown.collect())
}

/// Cuts a shader's texts in a job that is shown in a list: a page of whole texts would be tens of megabytes. The job by itself has all of it.
pub fn shorten(job: &mut Value) {
    fn cut(text: Option<&mut Value>) {
        if let Some(Value::String(text)) = text
            && let Some((end, _)) = text.char_indices().nth(LISTED_TEXT_CHARACTERS_MAX)
        {
            text.truncate(end);
            text.push('…');
        }
    }
    let Some(spec) = job.get_mut("spec") else { return };
    for name in ["source", "common"] {
        cut(spec.get_mut(name));
    }
    if let Some(Value::Object(buffers)) = spec.get_mut("buffers") {
        buffers.values_mut().for_each(|buffer| cut(buffer.get_mut("source")));
    }
}

/// The running jobs that queued ones of these follow.
async fn running_leaders(app: &AppState, jobs: &[Job]) -> Result<HashMap<JobId, Job>, StoreError> {
    let mut leaders = HashMap::new();
    for id in jobs.iter().filter(|job| job.state == JobState::Queued).filter_map(|job| job.follows) {
        if !leaders.contains_key(&id)
            && let Some(leader) = app.store.job(id).await?.filter(|leader| leader.state == JobState::Running)
        {
            leaders.insert(id, leader);
        }
    }
    Ok(leaders)
}

/// False while nobody can say when anything in the queue will be done: it is held, or there is no GPU.
pub async fn work_goes_on(app: &AppState) -> Result<bool, StoreError> {
    Ok(app.hub.gpu().ready && app.store.queue_mode().await? == QueueMode::Open)
}

fn freshest_progress(app: &AppState, job: &Job) -> Progress {
    let live = if job.state == JobState::Running { app.hub.progress(job.id) } else { None };
    let stored = job.progress;
    // Of a job with several tasks the hub knows the one that runs, and only the store adds them up.
    let of_whole_job = |live: &Progress| stored.frames_total == 0 || live.frames_total == stored.frames_total;
    match live {
        Some(live) if of_whole_job(&live) && live.fraction >= stored.fraction => live,
        _ => stored,
    }
}

fn one_job(job: &Job, ahead: Option<Ahead>, estimate: Option<&Estimate>, progress: &Progress) -> Value {
    let url = job_url(job.id);
    json!({
        "id": job.id,
        "kind": job.spec.kind(),
        "state": job.state,
        "priority": job.priority,
        "attempt": job.attempt,
        "cached": job.cached,
        "follows": job.follows,
        "cancel_requested": job.cancel_requested,
        "created": timestamp(job.created_ms),
        "started": job.started_ms.map(timestamp),
        "ended": job.ended_ms.map(timestamp),
        "labels": job.labels,
        "spec": spec(&job.spec),
        "queue": {"position": ahead.map_or(0, |ahead| ahead.tasks)},
        "estimate": estimate.map(self::estimate),
        "progress": progress_value(progress),
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

/// The GPU seconds that a job is expected to take, whatever the queue.
pub fn gpu_seconds(app: &AppState, spec: &JobSpec) -> Value {
    let estimate = app.estimator.queued(spec, Ahead::default(), 0);
    json!({"p50": rounded(estimate.gpu_seconds_p50), "p90": rounded(estimate.gpu_seconds_p90)})
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

/// When it starts and ends, and what it takes of the GPU.
pub fn estimate(estimate: &Estimate) -> Value {
    json!({
        "start": {"p50": timestamp(estimate.start_p50_ms), "p90": timestamp(estimate.start_p90_ms)},
        "end": {"p50": timestamp(estimate.end_p50_ms), "p90": timestamp(estimate.end_p90_ms)},
        "gpu_seconds": {"p50": rounded(estimate.gpu_seconds_p50), "p90": rounded(estimate.gpu_seconds_p90)},
    })
}

/// The job document with every field spelled out, but without its webhook's secret, which is for nobody's eyes.
pub fn spec(spec: &JobSpec) -> Value {
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
        EventKind::Preview { samples } => json!({"url": format!("{}/preview", job_url(id)), "samples": samples}),
        EventKind::Waiting { position, estimate } => {
            json!({"position": position, "eta": estimate.as_ref().map(self::estimate)})
        }
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

    #[test]
    fn long_texts_are_cut_in_lists_and_short_ones_are_not() {
        let long = "ä".repeat(LISTED_TEXT_CHARACTERS_MAX + 1);
        let mut job = json!({"spec": {"source": long, "common": "short", "buffers": {"A": {"source": long}}}});
        shorten(&mut job);
        let cut = format!("{}…", "ä".repeat(LISTED_TEXT_CHARACTERS_MAX));
        assert_eq!(job, json!({"spec": {"source": cut, "common": "short", "buffers": {"A": {"source": cut}}}}));
    }
}
