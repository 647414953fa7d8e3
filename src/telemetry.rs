//! The names of Kiln's metrics, what they mean, and the recorder that keeps them. `GET /metrics` shows them (`http/metrics.rs`).
//!
//! Whoever knows a number says it with the macros of the `metrics` crate, under a name from here; without a recorder that costs
//! nothing. Numbers that the store can answer for (the queue's depth) are read when they are asked for, and not kept here.

use crate::limits::TELEMETRY_UPKEEP_MS;
use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::sync::OnceLock;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Jobs that have ended, by `kind`, `state` and `reason`.
pub const JOBS_ENDED: &str = "kiln_jobs_ended_total";
/// Seconds from a job's acceptance to its start, by `kind` and `priority`.
pub const JOB_WAIT_SECONDS: &str = "kiln_job_wait_seconds";
/// Seconds from a job's last start to its end, by `kind` and `priority`.
pub const JOB_RUN_SECONDS: &str = "kiln_job_run_seconds";
/// |ln(actual / estimated)| of the seconds from a job's acceptance to its end, by `kind`.
pub const ESTIMATE_ERROR: &str = "kiln_estimate_error_log";
/// Jobs that had an estimate and succeeded, by `kind` and by whether they ended before its p90 (`within`).
pub const ESTIMATES: &str = "kiln_estimates_total";
/// Tries of webhooks, by `result` (delivered, retried, stopped, given_up).
pub const WEBHOOKS: &str = "kiln_webhooks_total";
/// Seconds that one group commit of the store takes, fsync included.
pub const STORE_COMMIT_SECONDS: &str = "kiln_store_commit_seconds";
/// Operations in one group commit.
pub const STORE_COMMIT_OPERATIONS: &str = "kiln_store_commit_operations";
/// Requests answered, by `route`, `method` and `status`.
pub const HTTP_REQUESTS: &str = "kiln_http_requests_total";
/// Seconds from a request's arrival to the head of its answer, by `route`.
pub const HTTP_SECONDS: &str = "kiln_http_request_seconds";
/// Bytes on the device, by the ledger of the GPU process.
pub const GPU_BYTES: &str = "kiln_gpu_bytes";
/// Bytes of the GPU process that are in memory.
pub const GPU_PROCESS_BYTES: &str = "kiln_gpu_process_bytes";
/// Jobs forgotten by the retention rules.
pub const PURGED_JOBS: &str = "kiln_purged_jobs_total";
/// Blobs deleted by the retention rules.
pub const PURGED_BLOBS: &str = "kiln_purged_blobs_total";

/// Installs the process's recorder, once, and answers what renders it.
pub fn install() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let seconds = |from: i32, to: i32| -> Vec<f64> { (from..=to).map(|power| 2f64.powi(power)).collect() };
            let buckets = [
                (JOB_WAIT_SECONDS, seconds(-4, 13)),
                (JOB_RUN_SECONDS, seconds(-4, 13)),
                (STORE_COMMIT_SECONDS, seconds(-12, 2)),
                (STORE_COMMIT_OPERATIONS, seconds(0, 8)),
                (HTTP_SECONDS, seconds(-12, 9)),
                (ESTIMATE_ERROR, vec![0.05, 0.1, 0.2, 0.262, 0.4, 0.7, 1.0, 1.5, 2.3, 4.6]),
            ];
            let builder = buckets.into_iter().fold(PrometheusBuilder::new(), |builder, (name, buckets)| {
                builder
                    .set_buckets_for_metric(Matcher::Full(name.to_owned()), &buckets)
                    .expect("every list of buckets has an entry")
            });
            let recorder = builder.build_recorder();
            let handle = recorder.handle();
            // An error means that a program which embeds Kiln has its own recorder; then this one stays empty.
            let _ = metrics::set_global_recorder(recorder);
            describe();
            handle
        })
        .clone()
}

/// Sorts what was recorded into the histograms' buckets until `shutdown`. Until then every observation is kept by itself, and where nobody
/// asks for the metrics nothing else would do it.
pub async fn run(handle: PrometheusHandle, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(Duration::from_millis(TELEMETRY_UPKEEP_MS)) => handle.run_upkeep(),
        }
    }
}

fn describe() {
    describe_counter!(JOBS_ENDED, "Jobs that have ended, by kind, state and reason");
    describe_histogram!(JOB_WAIT_SECONDS, Unit::Seconds, "From a job's acceptance to its start");
    describe_histogram!(JOB_RUN_SECONDS, Unit::Seconds, "From a job's last start to its end");
    describe_histogram!(ESTIMATE_ERROR, "|ln(actual / estimated)| of the seconds from acceptance to end");
    describe_counter!(ESTIMATES, "Jobs with an estimate that succeeded, by whether they ended before its p90");
    describe_counter!(WEBHOOKS, "Tries of webhooks, by result");
    describe_histogram!(STORE_COMMIT_SECONDS, Unit::Seconds, "One group commit of the store, fsync included");
    describe_histogram!(STORE_COMMIT_OPERATIONS, "Operations in one group commit");
    describe_counter!(HTTP_REQUESTS, "Requests answered, by route, method and status");
    describe_histogram!(HTTP_SECONDS, Unit::Seconds, "From a request's arrival to the head of its answer");
    describe_gauge!(GPU_BYTES, Unit::Bytes, "On the device, by the ledger of the GPU process");
    describe_gauge!(GPU_PROCESS_BYTES, Unit::Bytes, "Of the GPU process, in memory");
    describe_counter!(PURGED_JOBS, "Jobs forgotten by the retention rules");
    describe_counter!(PURGED_BLOBS, "Blobs deleted by the retention rules");
}
