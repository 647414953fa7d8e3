//! `GET /metrics`: well-formed, and about what happened.

use super::GLB;
use crate::app::{TestApp, glb};

/// The value of the first sample whose name and labels contain all of these words.
fn value(page: &str, words: &[&str]) -> Option<f64> {
    let line = page.lines().find(|line| !line.starts_with('#') && words.iter().all(|word| line.contains(word)))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_counts_jobs_waits_commits_and_requests() {
    let app = TestApp::start().await;
    kiln::telemetry::install();
    app.set_gpu_ready(true);
    app.learn();
    app.post("/v1/jobs?priority=batch", GLB, glb("waits")).await.expect(202);
    app.submit().await;
    app.render_for(&app.claim().await, 2.0).await;
    let page = async || String::from_utf8(app.get("/metrics").await.expect(200).body.to_vec()).unwrap();
    app.eventually("the end is counted", async || {
        value(&page().await, &["kiln_jobs_ended_total{", "succeeded"]).is_some()
    })
    .await;
    let reply = app.get("/metrics").await.expect(200);
    assert!(reply.header("content-type").starts_with("text/plain; version=0.0.4"));
    let text = page().await;
    assert_eq!(value(&text, &["kiln_jobs{", "batch", "queued"]), Some(1.0), "{text}");
    assert_eq!(value(&text, &["kiln_queue_mode{", "open"]), Some(1.0));
    assert_eq!(value(&text, &["kiln_gpu_ready"]), Some(1.0));
    for name in [
        "kiln_job_wait_seconds_bucket{",
        "kiln_job_run_seconds_count{",
        "kiln_store_commit_seconds_sum",
        "kiln_http_requests_total{",
        "kiln_gpu_busy_seconds_total",
        "kiln_gpu_process_deaths_total",
        "kiln_queue_gpu_seconds{",
        "kiln_event_streams",
    ] {
        assert!(value(&text, &[name]).is_some(), "{name} is missing in {text}");
    }
    // Every sample has a type before it, and a number at its end.
    let mut types = std::collections::HashSet::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            assert!(types.insert(rest.split(' ').next().unwrap().to_owned()), "twice: {line}");
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            assert!(types.contains(name) || types.contains(family), "no type: {line}");
            assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "no number: {line}");
        }
    }
}
