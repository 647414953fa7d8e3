//! The queue as operators see and steer it.

use super::GLB;
use crate::app::{TestApp, glb};
use kiln::http::problem::Kind;
use kiln::store::{ClaimWant, ClientLimits};

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_queue_accepts_and_hands_out_nothing() {
    let app = TestApp::start().await;
    app.set_gpu_ready(true);
    let paused = app.send(app.request("POST", "/v1/queue/pause")).await.expect(200).json();
    assert_eq!(paused["mode"], "paused");
    let id = app.submit().await;
    assert!(app.store.claim("fake", 1000, &ClaimWant::default()).await.unwrap().is_none());
    let job = app.get(&format!("/v1/jobs/{id}")).await.expect(200).json();
    assert!(job["estimate"].is_null(), "nobody can say when a paused queue goes on: {job}");
    let resumed = app.send(app.request("POST", "/v1/queue/resume")).await.expect(200).json();
    assert_eq!((&resumed["mode"], &resumed["queued"]), (&"open".into(), &1.into()));
    assert_eq!(app.claim().await.job, id);
    app.send(app.request("POST", "/v1/queue/pause?x=1")).await.problem(Kind::InvalidQuery);
    app.send(app.request("GET", "/v1/queue/pause")).await.problem(Kind::MethodNotAllowed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_server_refuses_new_jobs_and_answers_old_ones() {
    let app = TestApp::start().await;
    let path = format!("/v1/jobs/{}", kiln::job::JobId::now_v7());
    let put = async || app.send(app.request("PUT", &path).header("content-type", GLB).body(glb("x"))).await;
    put().await.expect(202);
    assert_eq!(app.send(app.request("POST", "/v1/queue/drain")).await.expect(200).json()["mode"], "draining");
    let refused = app.post("/v1/jobs", GLB, glb("y")).await;
    assert!(!refused.header("retry-after").is_empty());
    refused.problem(Kind::Draining);
    put().await.expect(200);
    app.set_gpu_ready(true);
    let problem = app.get("/readyz").await.problem(Kind::NotReady);
    assert_eq!((&problem["checks"]["queue"]["ok"], &problem["checks"]["gpu"]["ok"]), (&false.into(), &true.into()));
    app.send(app.request("POST", "/v1/queue/resume")).await.expect(200);
    app.get("/readyz").await.expect(200);
    app.post("/v1/jobs", GLB, glb("y")).await.expect(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_is_shown_by_class_and_by_client() {
    let app = TestApp::start().await;
    for (name, priority) in [("a", "interactive"), ("b", "batch"), ("c", "batch")] {
        app.post(&format!("/v1/jobs?priority={priority}"), GLB, glb(name)).await.expect(202);
    }
    app.claim().await;
    let queue = app.get("/v1/queue").await.expect(200).json();
    assert_eq!((&queue["mode"], &queue["queued"], &queue["running"]), (&"open".into(), &2.into(), &1.into()));
    let classes = &queue["classes"];
    assert_eq!(classes["interactive"]["jobs_running"], 1, "{queue}");
    assert_eq!(classes["batch"]["jobs_queued"], 2, "{queue}");
    assert_eq!(classes["normal"]["jobs_queued"], 0, "{queue}");
    assert!(classes["batch"]["gpu_seconds"].as_f64().unwrap() > 0.0, "{queue}");
    assert_eq!(queue["clients"][0]["client"], "local");
    assert_eq!(queue["clients"][0]["tasks_queued"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_over_its_quota_is_told_when_to_come_back() {
    let app = TestApp::start().await;
    let limits = ClientLimits { jobs_queued_max: Some(2), ..ClientLimits::default() };
    app.store.set_client_limits("local", limits).await.unwrap();
    app.submit().await;
    app.submit().await;
    let refused = app.post("/v1/jobs", GLB, glb("one too many")).await;
    assert!(refused.header("retry-after").parse::<u64>().unwrap() > 0);
    let problem = refused.problem(Kind::QuotaFull);
    assert!(problem["detail"].as_str().unwrap().contains('2'), "{problem}");
    app.claim().await;
    app.post("/v1/jobs", GLB, glb("now there is room")).await.expect(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_goes_on_while_the_queue_is_paused() {
    let app = TestApp::start().await;
    app.set_gpu_ready(true);
    let (runs, waits) = (app.submit().await, app.submit().await);
    assert_eq!(app.claim().await.job, runs);
    app.send(app.request("POST", "/v1/queue/pause")).await.expect(200);
    let estimate = async |id| app.get(&format!("/v1/jobs/{id}")).await.expect(200).json()["estimate"].clone();
    assert!(estimate(runs).await["end"]["p50"].is_string(), "the end of what runs can be told");
    assert!(estimate(waits).await.is_null());
}
