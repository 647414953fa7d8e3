//! When a job will start and end: a cost model that learns, the queue before the job, and a check of every promise against what came.
//!
//! One [`Estimator`] a server, behind `Arc`; every call is a short critical section. One tokio task ([`follow::run`]) learns from jobs
//! that end and writes what was learnt to the store, by adapter; another one ([`waiting::run`]) tells waiting clients how their place
//! in the queue changes. An estimate is a courtesy: without it, everything else works as well.
//!
//! The time to a job's end is the GPU seconds before it (as the store sums them, corrected by how such sums turned out), its own, and
//! what each job adds beside the GPU. Medians are summed, variances too; the sum is taken for log-normal, and calibrated.

pub mod features;
pub mod follow;
pub mod model;
pub mod waiting;

use crate::job::{Estimate, Job, JobId, JobSpec, JobState, Priority, Progress, TimeMs};
use crate::limits::{ESTIMATE_SECONDS_MAX, ESTIMATES_REMEMBERED_MAX};
use crate::store::Ahead;
use features::Features;
use model::{Model, Observation, Prediction, Spread};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Standard deviation of ln(cost) that jobs in the queue are taken to have, each for itself and all together.
const QUEUE_SIGMA: (f64, f64) = (0.35, 0.1);

/// See the module's text.
#[derive(Default)]
pub struct Estimator {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    model: Model,
    /// The model has learnt something that is not in the store.
    changed: bool,
    /// Lengths of assets, by SHA-256.
    asset_bytes: HashMap<String, u64>,
    promises: HashMap<JobId, Promise>,
    /// Ids of `promises` in the order they were made, some of them gone.
    order: VecDeque<JobId>,
    /// When the last job ended.
    last_end_ms: TimeMs,
    /// When work was last held up by something that no estimate can know of: a paused queue, a GPU that was down.
    held_up_ms: TimeMs,
}

/// What was said of a job when it was submitted.
#[derive(Debug, Clone, Copy)]
struct Promise {
    prediction: Prediction,
    /// Estimated GPU seconds that the store was told.
    cost_seconds: f64,
    /// Seconds from acceptance to the end, as they were said; `None` where nothing was said.
    given: Option<Spread>,
    /// Class in the queue.
    priority: Priority,
    /// Others kept the GPU busy when it was said.
    waits: bool,
}

/// What is known of a job that has ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// |ln(actual / estimated)| of the seconds from acceptance to the end.
    pub error: f64,
    /// It ended before its p90.
    pub within: bool,
}

impl Estimator {
    /// An estimator that has learnt nothing yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No code panics while it holds the lock, and an estimate is a courtesy.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds the lock for a look at a table only: a document may be long.
    fn features(&self, spec: &JobSpec) -> Features {
        Features::of(spec, |sha256| self.lock().asset_bytes.get(sha256).copied())
    }

    /// Remembers the length of an asset, which says something of the scene in it before it was ever rendered.
    pub fn know_asset(&self, sha256: &str, bytes: u64) {
        let mut inner = self.lock();
        if inner.asset_bytes.len() >= ESTIMATES_REMEMBERED_MAX {
            inner.asset_bytes.clear();
        }
        inner.asset_bytes.insert(sha256.to_owned(), bytes);
    }

    /// Expected GPU seconds of a job, for the order of the queue.
    pub fn cost_seconds(&self, spec: &JobSpec) -> f64 {
        let features = self.features(spec);
        self.lock().model.predict(&features).gpu.p50().clamp(1e-3, ESTIMATE_SECONDS_MAX)
    }

    /// The estimate of a job that is not running, with this before it.
    pub fn queued(&self, spec: &JobSpec, ahead: Ahead, now_ms: TimeMs) -> Estimate {
        let features = self.features(spec);
        let inner = self.lock();
        let prediction = inner.model.predict(&features);
        inner.queued(&prediction, spec.priority(), ahead, now_ms)
    }

    /// The same for a job of which a promise is remembered: no need to read its document.
    pub fn queued_by_id(&self, id: JobId, ahead: Ahead, now_ms: TimeMs) -> Option<Estimate> {
        let inner = self.lock();
        let promise = inner.promises.get(&id)?;
        Some(inner.queued(&promise.prediction, promise.priority, ahead, now_ms))
    }

    /// The estimate of a running job. `others_seconds`: what other running jobs still need the GPU for.
    pub fn running(&self, job: &Job, progress: &Progress, others_seconds: f64, now_ms: TimeMs) -> Estimate {
        let features = self.features(&job.spec);
        let inner = self.lock();
        let prediction = inner.model.predict(&features);
        let done = f64::from(progress.fraction).clamp(0.0, 1.0);
        let (mut left, mut sigma) = (prediction.gpu.mu + (1.0 - done).max(1e-3).ln(), prediction.gpu.sigma);
        if done >= 0.01 && progress.gpu_seconds > 0.0 {
            // What it did so far tells more with every step of it.
            let weight = done / (done + 0.08);
            let seen = (progress.gpu_seconds * (1.0 - done).max(1e-3) / done).ln();
            left += weight * (seen - left);
            sigma = ((1.0 - weight) * sigma).hypot(0.08);
        }
        let (_, variance) = Spread { mu: left, sigma }.moments();
        // Loading is over once there is progress; what is left beside the GPU is encoding.
        let beside = prediction.idle.0.max(0.0) * if done > 0.0 { 0.5 } else { 1.0 };
        let others = if done > 0.0 { 0.0 } else { others_seconds.max(0.0) };
        let end =
            Spread::of_median(left.exp() + beside + others, variance + prediction.idle.1 + (0.3 * others).powi(2));
        let start_ms = job.started_ms.unwrap_or(now_ms);
        Estimate {
            gpu_seconds_p50: prediction.gpu.p50(),
            gpu_seconds_p90: prediction.gpu.p90().min(ESTIMATE_SECONDS_MAX),
            start_p50_ms: start_ms,
            start_p90_ms: start_ms,
            end_p50_ms: after(now_ms, end.p50()),
            end_p90_ms: after(now_ms, end.p90()),
        }
    }

    /// GPU seconds that running jobs still need, `except` not counted.
    pub fn remainder_seconds(&self, running: &[(JobId, Progress)], except: Option<JobId>) -> f64 {
        let inner = self.lock();
        let others = running.iter().filter(|(id, _)| Some(*id) != except);
        others
            .map(|(id, progress)| {
                let done = f64::from(progress.fraction);
                let thought = inner.promises.get(id).map(|promise| promise.prediction.gpu.p50());
                match thought {
                    _ if done >= 0.05 => progress.gpu_seconds * (1.0 - done).max(0.0) / done,
                    Some(thought) => (thought - progress.gpu_seconds).max(0.0),
                    None => 0.0,
                }
            })
            .sum()
    }

    /// Remembers what was said of a job when it was accepted.
    pub fn promise(&self, id: JobId, spec: &JobSpec, cost_seconds: f64, given: Option<&Estimate>, created_ms: TimeMs) {
        let features = self.features(spec);
        let mut inner = self.lock();
        let waits = given.is_some_and(|estimate| estimate.start_p50_ms > created_ms + 5);
        let given = given.map(|estimate| {
            let seconds = |ms: TimeMs| (ms.saturating_sub(created_ms) as f64 / 1000.0).max(1e-3);
            let (p50, p90) = (seconds(estimate.end_p50_ms), seconds(estimate.end_p90_ms));
            Spread { mu: p50.ln(), sigma: ((p90 / p50).ln() / model::Z90).max(0.01) }
        });
        let (prediction, priority) = (inner.model.predict(&features), spec.priority());
        if inner.promises.insert(id, Promise { prediction, cost_seconds, given, priority, waits }).is_none() {
            inner.order.push_back(id);
        }
        while inner.order.len() > ESTIMATES_REMEMBERED_MAX
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.promises.remove(&oldest);
        }
    }

    /// The job was moved to another class than the one of which something was said: that is not judged any more.
    pub fn moved(&self, id: JobId, priority: Priority) {
        if let Some(promise) = self.lock().promises.get_mut(&id) {
            (promise.given, promise.priority) = (None, priority);
        }
    }

    /// Something keeps work from going on, or did until now.
    pub fn held_up(&self, now_ms: TimeMs) {
        let mut inner = self.lock();
        inner.held_up_ms = inner.held_up_ms.max(now_ms);
    }

    /// Learns from a job that has ended. What became of its estimate, if it had one that can be judged.
    pub fn ended(&self, job: &Job) -> Option<Outcome> {
        let ended_ms = job.ended_ms?;
        let features = (job.state == JobState::Succeeded && !job.cached).then(|| self.features(&job.spec));
        let mut inner = self.lock();
        let (previous_end_ms, promise) = (inner.last_end_ms, inner.promises.remove(&job.id));
        inner.last_end_ms = ended_ms;
        // Jobs are heard of in the order in which they end. One that ended before the last one did so after the clock went back, and
        // moments from before that say nothing of it.
        let clock_went_back = ended_ms < previous_end_ms;
        // What nobody rendered for it says nothing of what it costs.
        let features = features?;
        let gpu_seconds = job.progress.gpu_seconds;
        if job.attempt == 1 {
            let overhead = job.started_ms.filter(|started_ms| !clock_went_back && *started_ms <= ended_ms).and_then(
                |started_ms| {
                    let busy = previous_end_ms > started_ms;
                    let wall_seconds = (ended_ms - started_ms.max(previous_end_ms)) as f64 / 1000.0;
                    // More on the GPU than has passed: it was put aside and went on, so that its start tells nothing.
                    (busy || wall_seconds + 0.05 >= gpu_seconds).then_some((wall_seconds - gpu_seconds, busy))
                },
            );
            inner.model.observe(&features, Observation { gpu_seconds, overhead });
            inner.changed = true;
        }
        let promise = promise?;
        inner.model.observe_cost(promise.cost_seconds, gpu_seconds);
        let measurable = !clock_went_back && job.created_ms <= ended_ms && inner.held_up_ms < job.created_ms;
        let given = promise.given.filter(|_| measurable)?;
        let actual_seconds = ((ended_ms - job.created_ms) as f64 / 1000.0).max(1e-3);
        inner.model.calibrate(promise.priority, promise.waits, given, actual_seconds);
        Some(Outcome { error: (actual_seconds.ln() - given.mu).abs(), within: actual_seconds <= given.p90() })
    }

    /// What was learnt, as JSON, if there is more of it than at the last call.
    fn take_changed(&self) -> Option<String> {
        let mut inner = self.lock();
        std::mem::take(&mut inner.changed)
            .then(|| serde_json::to_string(&inner.model).expect("a model has string keys and finite numbers only"))
    }

    /// Goes on with what was learnt before.
    fn restore(&self, json: &str) -> Result<(), serde_json::Error> {
        let model = serde_json::from_str(json)?;
        self.lock().model = model;
        Ok(())
    }
}

impl Inner {
    fn queued(&self, prediction: &Prediction, priority: Priority, ahead: Ahead, now_ms: TimeMs) -> Estimate {
        let tasks = ahead.tasks as f64;
        let before = ahead.gpu_seconds.max(0.0) * self.model.cost_factor();
        let (each, each_variance) = self.model.overhead_each();
        let wait = before + tasks * each;
        let (own_sigma, common_sigma) = QUEUE_SIGMA;
        let wait_variance = before * before * (own_sigma * own_sigma / (tasks + 1.0) + common_sigma * common_sigma)
            + tasks * each_variance;
        let busy = ahead.tasks > 0 || before > 0.01;
        let beside = if busy { prediction.busy } else { prediction.idle };
        let (_, gpu_variance) = prediction.gpu.moments();
        let total = wait + (prediction.gpu.p50() + beside.0).max(1e-3);
        let calibration = self.model.calibration(priority, busy);
        let end = calibration.apply(Spread::of_median(total, wait_variance + gpu_variance + beside.1));
        let (start_p50, start_p90) = if wait > 0.0 {
            let start = calibration.apply(Spread::of_median(wait, wait_variance));
            // A job starts before it ends, whatever the calibration of its end says.
            (start.p50().min(end.p50()), start.p90().min(end.p90()))
        } else {
            (0.0, 0.0)
        };
        Estimate {
            gpu_seconds_p50: prediction.gpu.p50(),
            gpu_seconds_p90: prediction.gpu.p90().min(ESTIMATE_SECONDS_MAX),
            start_p50_ms: after(now_ms, start_p50),
            start_p90_ms: after(now_ms, start_p90),
            end_p50_ms: after(now_ms, end.p50()),
            end_p90_ms: after(now_ms, end.p90()),
        }
    }
}

/// So many seconds after a moment, within bounds that can be written.
fn after(now_ms: TimeMs, seconds: f64) -> TimeMs {
    let seconds = if seconds.is_finite() { seconds.clamp(0.0, ESTIMATE_SECONDS_MAX) } else { ESTIMATE_SECONDS_MAX };
    now_ms.saturating_add((seconds * 1000.0).round() as TimeMs)
}
