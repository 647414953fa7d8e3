//! Estimates: learnt from what jobs took, promised when a job is accepted, told while it waits, and used to refuse deadlines.

use super::GLB;
use crate::app::{SseEvent, TestApp, glb, parse_events};
use kiln::dispatch::estimate::Estimator;
use kiln::http::problem::Kind;
use kiln::job::{JobId, JobSpec, parse_timestamp, timestamp};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Submits the same scene with a seed of its own, so that no job answers for another.
async fn submit(app: &TestApp, seed: u32) -> Value {
    app.post(&format!("/v1/jobs?seed={seed}"), GLB, glb("the same")).await.expect(202).json()
}

/// Lets `count` such jobs take `seconds` each.
async fn teach(app: &TestApp, count: u32, seconds: f64) {
    for seed in 0..count {
        submit(app, 1000 + seed).await;
        let claim = app.claim().await;
        app.render_for(&claim, seconds).await;
    }
    let spec = spec_of(app).await;
    app.eventually("the estimator has learnt", async || {
        (app.state.estimator.cost_seconds(&spec) / seconds).ln().abs() < 0.2
    })
    .await;
}

async fn spec_of(app: &TestApp) -> JobSpec {
    let listed = app.get("/v1/jobs?limit=1").await.expect(200).json();
    let id: JobId = listed["jobs"][0]["id"].as_str().unwrap().parse().unwrap();
    app.store.job(id).await.unwrap().unwrap().spec
}

fn seconds_until(app: &TestApp, time: &Value) -> f64 {
    (parse_timestamp(time.as_str().unwrap()).unwrap() - app.store.now_ms()) as f64 / 1000.0
}

#[tokio::test(flavor = "multi_thread")]
async fn what_jobs_took_tells_when_the_next_one_ends() {
    let app = TestApp::start().await;
    app.set_gpu_ready(true);
    app.learn();
    teach(&app, 8, 20.0).await;
    let first = submit(&app, 1).await;
    let end = &first["estimate"]["end"];
    let (p50, p90) = (seconds_until(&app, &end["p50"]), seconds_until(&app, &end["p90"]));
    assert!((10.0..40.0).contains(&p50) && p90 > p50 && p90 < 100.0, "{first}");
    let reply = app.post("/v1/jobs?seed=2", GLB, glb("the same")).await.expect(202);
    let again: u64 = reply.header("retry-after").parse().unwrap();
    assert!((20..=60).contains(&again), "two jobs of 20 s are before the end, not {again} s");
    let second = reply.json();
    assert_eq!(second["queue"]["position"], 1);
    assert!(seconds_until(&app, &second["estimate"]["end"]["p50"]) > p50 + 10.0, "{second}");
    assert!(seconds_until(&app, &second["estimate"]["start"]["p50"]) > 5.0, "{second}");
    // Lists tell the same.
    let listed = app.get("/v1/jobs?state=queued").await.expect(200).json();
    assert_eq!(listed["jobs"][0]["queue"]["position"], 1);
    assert!(listed["jobs"][0]["estimate"]["end"]["p50"].is_string(), "{listed}");
    app.set_gpu_ready(false);
    let held = app.get(&format!("/v1/jobs/{}", second["id"].as_str().unwrap())).await.json();
    assert!(held["estimate"].is_null(), "without a GPU nobody can say: {held}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_cannot_be_met_is_refused_with_the_earliest_that_can() {
    let app = TestApp::start().await;
    app.set_gpu_ready(true);
    app.learn();
    teach(&app, 8, 20.0).await;
    let until = |seconds: i64| timestamp(app.store.now_ms() + seconds * 1000);
    let path = |seed: u32, deadline: &str| format!("/v1/jobs?seed={seed}&finish_before={deadline}");
    let problem = app.post(&path(1, &until(3)), GLB, glb("the same")).await.problem(Kind::DeadlineTooEarly);
    assert_eq!(
        problem["errors"][0]["parameter"].as_str().or(problem["errors"][0]["pointer"].as_str()),
        Some("/finish_before")
    );
    let earliest = problem["earliest"].as_str().unwrap().to_owned();
    assert!(seconds_until(&app, &json!(earliest)) > 5.0, "{problem}");
    app.post(&path(1, &earliest.replace('Z', "%2B00:00")), GLB, glb("the same")).await.expect(202);
    // In the past it is a mistake, whatever can be estimated.
    let past = app.post(&path(2, &until(-3)), GLB, glb("the same")).await.problem(Kind::InvalidJob);
    assert_eq!(past["errors"][0]["pointer"], "/finish_before");
    let check = app.post(&format!("/v1/jobs/check?finish_before={}", until(3)), GLB, glb("the same")).await;
    check.problem(Kind::DeadlineTooEarly);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_repeated_after_its_deadline_finds_its_job() {
    let app = TestApp::start().await;
    let deadline = timestamp(app.store.now_ms() + 60_000);
    let path = format!("/v1/jobs?start_before={deadline}");
    let post = async || {
        app.send(app.request("POST", &path).header("content-type", GLB).header("idempotency-key", "k").body(glb("x")))
            .await
    };
    let id = post().await.expect(202).id();
    app.clock.advance_ms(120_000);
    assert_eq!(post().await.expect(200).id(), id);
    app.post(&path, GLB, glb("y")).await.problem(Kind::InvalidJob);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_is_estimated_by_what_it_did_so_far() {
    let app = TestApp::start().await;
    app.set_gpu_ready(true);
    let id = submit(&app, 1).await["id"].as_str().unwrap().to_owned();
    let claim = app.claim().await;
    let running = app.hub.begin(claim.job, claim.fence, Default::default());
    let progress = kiln::job::Progress { fraction: 0.5, gpu_seconds: 100.0, ..Default::default() };
    app.hub.set_progress(claim.job, claim.fence, progress);
    let job = app.get(&format!("/v1/jobs/{id}")).await.expect(200).json();
    let left = seconds_until(&app, &job["estimate"]["end"]["p50"]);
    assert!((40.0..160.0).contains(&left), "half of it took 100 s, and {left} s are said to be left");
    assert_eq!(job["estimate"]["start"]["p50"], job["started"]);
    drop(running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_tells_of_every_new_place_in_the_queue() {
    let app = TestApp::start().await;
    app.set_gpu_ready(true);
    app.learn();
    submit(&app, 1).await;
    let id = submit(&app, 2).await["id"].as_str().unwrap().to_owned();
    let mut socket = TcpStream::connect(app.addr).await.unwrap();
    let head = format!("GET /v1/jobs/{id}/events HTTP/1.1\r\nhost: localhost\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut text = String::new();
    let mut chunk = [0; 4096];
    let waiting = |text: &str| -> Vec<SseEvent> {
        let events = text.split("\r\n").filter(|line| line.contains("event:")).collect::<String>();
        parse_events(&events).into_iter().filter(|event| event.event == "queued" && event.id.is_none()).collect()
    };
    while waiting(&text).is_empty() {
        let bytes = socket.read(&mut chunk).await.unwrap();
        text.push_str(std::str::from_utf8(&chunk[..bytes]).unwrap());
    }
    assert_eq!(waiting(&text)[0].data["position"], 1, "{text}");
    assert!(waiting(&text)[0].data["eta"]["end"]["p50"].is_string(), "{text}");
    app.claim().await;
    while !waiting(&text).iter().any(|event| event.data["position"] == 0) {
        let bytes = socket.read(&mut chunk).await.unwrap();
        text.push_str(std::str::from_utf8(&chunk[..bytes]).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_learnt_survives_a_restart() {
    let app = TestApp::start().await;
    app.set_gpu_ready(true);
    let (stop, learning) = app.learn();
    teach(&app, 6, 30.0).await;
    let spec = spec_of(&app).await;
    stop.cancel();
    learning.await.unwrap();
    let fresh = Estimator::new();
    assert!((fresh.cost_seconds(&spec) / 30.0).ln().abs() > 0.5, "the guess of one that knows nothing is as good");
    let stop = tokio_util::sync::CancellationToken::new();
    let state = &app.state;
    tokio::spawn(kiln::dispatch::estimate::follow::run(
        Arc::clone(&fresh),
        Arc::clone(&state.store),
        Arc::clone(&state.hub),
        stop.clone(),
    ));
    app.eventually("the model is read again", async || (fresh.cost_seconds(&spec) / 30.0).ln().abs() < 0.2).await;
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_work_is_done_once() {
    let app = TestApp::start().await;
    let post =
        async |query: &str| app.post(&format!("/v1/jobs?seed=7{query}"), GLB, glb("again")).await.expect(202).json();
    let first = post("").await;
    let claim = app.claim().await;
    let follower = post("&label.order=2").await;
    assert_eq!(follower["follows"], first["id"], "{follower}");
    app.succeed_with_png(&claim).await;
    let shown = app.get(&format!("/v1/jobs/{}", follower["id"].as_str().unwrap())).await.json();
    assert_eq!((&shown["state"], &shown["cached"]), (&"succeeded".into(), &true.into()));
    let again = post("").await;
    assert_eq!((&again["state"], &again["cached"]), (&"succeeded".into(), &true.into()), "{again}");
    assert_eq!(again["outputs"][0]["sha256"], shown["outputs"][0]["sha256"]);
    app.get(&format!("/v1/jobs/{}/image", again["id"].as_str().unwrap())).await.expect(200);
    let apart = post("&reuse=false").await;
    assert_eq!((&apart["state"], &apart["cached"], &apart["follows"]), (&"queued".into(), &false.into(), &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_be_put_aside_for_a_job_is_not_before_it() {
    let app = TestApp::start().await;
    app.set_gpu_ready(true);
    app.learn();
    teach(&app, 8, 100.0).await;
    app.post("/v1/jobs?seed=1&priority=batch", GLB, glb("the same")).await.expect(202);
    let claim = app.claim().await;
    let _running = app.hub.begin(claim.job, claim.fence, Default::default());
    let end_of = async |class: &str| {
        let path = format!("/v1/jobs/check?seed=2&priority={class}");
        let quote = app.post(&path, GLB, glb("the same")).await.expect(200).json();
        seconds_until(&app, &quote["estimate"]["end"]["p50"])
    };
    let (interactive, batch) = (end_of("interactive").await, end_of("batch").await);
    assert!((50.0..150.0).contains(&interactive), "a batch job of 100 s that runs makes it {interactive} s");
    assert!(batch > interactive + 50.0, "interactive {interactive} s, batch {batch} s");
    let deadline = timestamp(app.store.now_ms() + 150_000);
    let path = |class: &str| format!("/v1/jobs?seed=3&priority={class}&finish_before={deadline}");
    app.post(&path("batch"), GLB, glb("the same")).await.problem(Kind::DeadlineTooEarly);
    app.post(&path("interactive"), GLB, glb("the same")).await.expect(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_goes_back_teaches_nothing_wrong() {
    let app = TestApp::start().await;
    app.set_gpu_ready(true);
    app.learn();
    teach(&app, 8, 20.0).await;
    app.clock.advance_ms(-3_600_000);
    for seed in 0..8 {
        submit(&app, 2000 + seed).await;
        let claim = app.claim().await;
        app.render_for(&claim, 20.0).await;
    }
    let (first, second) = (submit(&app, 1).await, submit(&app, 2).await);
    let seconds = |job: &Value| seconds_until(&app, &job["estimate"]["end"]["p50"]);
    assert!((10.0..40.0).contains(&seconds(&first)), "{first}");
    assert!((25.0..80.0).contains(&seconds(&second)), "{second}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_jobs_that_only_fit_one_at_a_time_one_is_let_in() {
    let app = TestApp::start().await;
    app.set_gpu_ready(true);
    app.learn();
    teach(&app, 8, 20.0).await;
    let deadline = timestamp(app.store.now_ms() + 30_000);
    let posts = (0..6).map(|seed| {
        let path = format!("/v1/jobs?seed={seed}&finish_before={deadline}");
        let app = &app;
        async move { app.post(&path, GLB, glb("the same")).await.status }
    });
    let mut answers = futures::future::join_all(posts).await;
    answers.sort_unstable();
    assert_eq!(answers, [202, 422, 422, 422, 422, 422]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_ends_when_the_one_that_it_follows_does() {
    let app = TestApp::start().await;
    app.set_gpu_ready(true);
    app.learn();
    teach(&app, 8, 100.0).await;
    submit(&app, 1).await;
    let claim = app.claim().await;
    let _running = app.hub.begin(claim.job, claim.fence, Default::default());
    let progress = kiln::job::Progress { fraction: 0.9, gpu_seconds: 90.0, ..Default::default() };
    app.hub.set_progress(claim.job, claim.fence, progress);
    let path = "/v1/jobs?seed=1&label.order=2";
    let follower = app.post(path, GLB, glb("the same")).await.expect(202).json();
    assert!(follower["follows"].is_string(), "{follower}");
    let left = seconds_until(&app, &follower["estimate"]["end"]["p50"]);
    assert!((0.0..40.0).contains(&left), "the leader needs 10 s more, and {left} s are said of its follower");
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_was_done_before_meets_every_deadline() {
    let app = TestApp::start().await;
    app.set_gpu_ready(true);
    app.learn();
    teach(&app, 8, 20.0).await;
    let deadline = timestamp(app.store.now_ms() + 3_000);
    let post = async |seed: u32| {
        app.post(&format!("/v1/jobs?seed={seed}&finish_before={deadline}"), GLB, glb("the same")).await
    };
    post(1).await.problem(Kind::DeadlineTooEarly);
    let cached = post(1000).await.expect(202).json();
    assert_eq!((&cached["state"], &cached["cached"]), (&"succeeded".into(), &true.into()));
}
