//! Changes of a job that is there: `PATCH /v1/jobs/{id}` before it starts, `POST /v1/jobs/{id}/extend` after it has succeeded.

use super::extract::{JobPath, Query};
use super::problem::{Kind, Problem};
use super::upload::BoundedBody;
use super::{Answer, AppState, admit, jobs, json, missing_job, shown, submit, view};
use crate::job::{Job, JobSpec, JobState, OptionsPatch, SpecError, SpecProblemKind};
use crate::limits::{PATCH_BYTES_MAX, SAMPLES_MAX};
use crate::store::{Extension, JobPatch};
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use serde_json::json;

/// `PATCH /v1/jobs/{id}`: a merge patch (RFC 7396) of `priority`, `start_before`, `finish_before` and `labels`.
pub async fn patch(
    State(app): State<AppState>,
    JobPath(id): JobPath,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    query.end(&[])?;
    let patch =
        OptionsPatch::parse(&small_json(&app, &headers, body).await?).map_err(|error| Problem::of_spec(&error))?;
    let Some(job) = app.store.job(id).await? else { return Err(missing_job(&app, id).await) };
    let mut wanted = job.spec.clone();
    patch.apply(wanted.options_mut());
    wanted.validate().map_err(|error| Problem::of_spec(&error))?;
    let mut changed = wanted.options().clone();
    // Deadlines that stay as they are were judged when they were set.
    changed.start_before_ms = patch.start_before_ms.flatten();
    changed.finish_before_ms = patch.finish_before_ms.flatten();
    changed.webhook = None;
    admit::check_options(&app, &changed)?;
    if changed.finish_before_ms.is_some() && view::work_goes_on(&app).await? {
        let ahead = match app.store.ahead(id).await? {
            // In another class it goes behind what is there.
            Some(ahead) if wanted.priority() == job.priority => ahead,
            _ => app.store.ahead_of_new(wanted.priority()).await?,
        };
        admit::check_deadline(&changed, Some(&app.estimator.queued(&wanted, ahead, app.store.now_ms())))?;
    }
    let OptionsPatch { priority, start_before_ms, finish_before_ms, labels } = patch;
    match app.store.patch(id, JobPatch { priority, start_before_ms, finish_before_ms, labels }).await? {
        None => Err(missing_job(&app, id).await),
        Some(Ok(changed)) => {
            if changed.priority != job.priority {
                app.estimator.moved(id, changed.priority);
            }
            Ok(json(200, &view::job(&app, &changed).await?))
        }
        Some(Err(job)) => {
            let why = if job.state.is_terminal() { "has ended" } else { "has started" };
            let detail = format!("The job {why}; only a job that has never started can be changed.");
            Err(Problem::new(Kind::JobStarted, detail).job(id).member("state", json!(job.state)))
        }
    }
}

/// `POST /v1/jobs/{id}/extend`: `{"samples": N}`, or `?samples=N`.
pub async fn extend(
    State(app): State<AppState>,
    JobPath(id): JobPath,
    mut query: Query,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let asked = query.take_number("samples", 1..=SAMPLES_MAX)?;
    query.end(&["samples"])?;
    let samples = match asked {
        Some(samples) => samples,
        None => read_samples(&small_json(&app, &headers, body).await?).map_err(|error| Problem::of_spec(&error))?,
    };
    let Some(job) = app.store.job(id).await? else { return Err(missing_job(&app, id).await) };
    check_extension(&job, samples)?;
    let JobSpec::Scene(scene) = &job.spec else { return Err(no_extension(&job)) };
    let mut extended = scene.clone();
    extended.samples = samples - scene.samples;
    let cost_seconds = app.estimator.cost_seconds(&JobSpec::Scene(extended.clone()));
    extended.samples = samples;
    let content = admit::content_hash(&JobSpec::Scene(extended));
    match app.store.extend(id, Extension { samples, cost_seconds, content }).await? {
        None => Err(missing_job(&app, id).await),
        Some(Ok(job)) => jobs::accepted(&app, &job, true).await,
        Some(Err(job)) => {
            // It changed between the two looks.
            check_extension(&job, samples)?;
            Err(no_extension(&job))
        }
    }
}

fn check_extension(job: &Job, samples: u32) -> Result<(), Problem> {
    let JobSpec::Scene(scene) = &job.spec else { return Err(no_extension(job)) };
    if job.state != JobState::Succeeded {
        let detail = format!("The job is {}; only a job that has succeeded can be extended.", job.state.as_str());
        let kind = if job.state.is_terminal() { Kind::JobEnded } else { Kind::JobNotEnded };
        return Err(Problem::new(kind, detail).job(job.id).member("state", json!(job.state)));
    }
    if samples <= scene.samples {
        let message = format!("found {samples}, expected more than the {} samples that the job has", scene.samples);
        return Err(Problem::new(Kind::InvalidJob, format!("/samples: {message}"))
            .error("/samples", &message)
            .job(job.id));
    }
    Ok(())
}

fn no_extension(job: &Job) -> Problem {
    let detail = format!("The job is a {} job; only a scene has samples that can be added to.", job.spec.kind());
    Problem::new(Kind::JobConflict, detail).job(job.id)
}

fn read_samples(json: &[u8]) -> Result<u32, SpecError> {
    let expected = format!("{{\"samples\": N}}, with N up to {SAMPLES_MAX}");
    let document: serde_json::Value = serde_json::from_slice(json).map_err(|error| {
        SpecError::new(SpecProblemKind::Malformed, "", format!("this is not JSON: {error}; expected {expected}"))
    })?;
    if let Some(key) = document.as_object().and_then(|fields| fields.keys().find(|key| *key != "samples")) {
        let message = format!("the field \"{}\" is unknown, expected {expected}", shown(key));
        return Err(SpecError::new(SpecProblemKind::Malformed, format!("/{}", shown(key)), message));
    }
    let samples = document.get("samples").and_then(serde_json::Value::as_u64).and_then(|n| u32::try_from(n).ok());
    let samples = samples.filter(|samples| (1..=SAMPLES_MAX).contains(samples));
    samples.ok_or_else(|| SpecError::new(SpecProblemKind::Invalid, "/samples", format!("expected {expected}")))
}

/// A small JSON body.
async fn small_json(app: &AppState, headers: &HeaderMap, body: Body) -> Result<Vec<u8>, Problem> {
    let media_type = submit::media_type(headers);
    if !matches!(media_type.as_str(), "application/json" | "application/merge-patch+json") {
        let found = if media_type.is_empty() {
            "no Content-Type".to_owned()
        } else {
            format!("Content-Type {}", shown(&media_type))
        };
        let detail = format!("Found {found}, expected application/json.");
        return Err(Problem::new(Kind::UnsupportedMediaType, detail));
    }
    Ok(BoundedBody::new(body, headers, PATCH_BYTES_MAX, app.limits.body_idle_seconds_max)?.to_memory().await?)
}
