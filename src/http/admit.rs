//! Before a job is accepted or changed: what it will take, when it will be done, and whether its deadlines and its webhook can be.

use super::problem::{Kind, Problem};
use super::{AppState, view};
use crate::dispatch::webhook::address;
use crate::job::{Estimate, JobSpec, SpecOptions, TimeMs, timestamp};
use crate::store::{Ahead, StoreError};
use serde_json::json;
use sha2::{Digest, Sha256};

/// What decides about a job's bytes: its content and the renderer's version. `None` where it may not be shared.
pub fn content_hash(spec: &JobSpec) -> Option<[u8; 32]> {
    let mut hash = Sha256::new();
    hash.update(concat!("kiln ", env!("CARGO_PKG_VERSION"), "\n"));
    hash.update(spec.content_json());
    spec.options().reuse.then(|| hash.finalize().into())
}

/// What a client is told of a job that waits.
#[derive(Debug, Clone)]
pub struct Quote {
    /// What goes before it.
    pub ahead: Ahead,
    /// `None` while the queue is held or the GPU is away.
    pub estimate: Option<Estimate>,
}

/// Of a job that would be submitted now.
pub async fn quote(app: &AppState, spec: &JobSpec) -> Result<Quote, StoreError> {
    let ahead = app.store.ahead_of_new(spec.priority()).await?;
    let going_on = view::work_goes_on(app).await?;
    Ok(Quote { ahead, estimate: going_on.then(|| app.estimator.queued(spec, ahead, app.store.now_ms())) })
}

/// Refuses options that make no sense at this moment or on this server.
pub fn check_options(app: &AppState, options: &SpecOptions) -> Result<(), Problem> {
    let now_ms = app.store.now_ms();
    if let Some(start_ms) = options.start_before_ms.filter(|start_ms| *start_ms <= now_ms) {
        return Err(passed("start_before", start_ms, now_ms));
    }
    if let Some(finish_ms) = options.finish_before_ms.filter(|finish_ms| *finish_ms <= now_ms) {
        return Err(passed("finish_before", finish_ms, now_ms));
    }
    let Some(webhook) = options.webhook.as_ref().filter(|_| !app.webhooks.allow_private) else { return Ok(()) };
    // Names are looked up when they are called, since what they mean may change.
    let url =
        reqwest::Url::parse(&webhook.url).map_err(|error| Problem::internal("The address of a webhook", &error))?;
    address::check_literal(&url).map_err(|refused| {
        let message = format!("{refused}, expected an address that can be reached from the internet");
        Problem::new(Kind::InvalidJob, format!("/webhook/url: {message}")).error("/webhook/url", &message)
    })
}

fn passed(field: &str, deadline_ms: TimeMs, now_ms: TimeMs) -> Problem {
    let message = format!("found {}, expected a time after now, {}", timestamp(deadline_ms), timestamp(now_ms));
    Problem::new(Kind::InvalidJob, format!("/{field}: {message}")).error(&format!("/{field}"), &message)
}

/// Refuses a deadline that is more likely missed than met. Where nothing can be estimated, the deadline stands.
pub fn check_deadline(options: &SpecOptions, estimate: Option<&Estimate>) -> Result<(), Problem> {
    let (Some(finish_ms), Some(estimate)) = (options.finish_before_ms, estimate) else { return Ok(()) };
    if estimate.end_p50_ms <= finish_ms {
        return Ok(());
    }
    // What is said now must still hold when the client comes back with it, so that it is not the moment of one half.
    let earliest = timestamp(estimate.end_p90_ms);
    let message = format!(
        "found {}, but the job would end by {} with a chance of one half, and by {earliest} with nine of ten; expected {earliest} or later",
        timestamp(finish_ms),
        timestamp(estimate.end_p50_ms)
    );
    Err(Problem::new(Kind::DeadlineTooEarly, format!("/finish_before: {message}"))
        .error("/finish_before", &message)
        .member("earliest", json!(earliest))
        .member("estimate", view::estimate(estimate)))
}
