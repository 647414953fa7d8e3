//! Changes of a job that is there: patch and extend; and the check that comes before a job.

use super::GLB;
use crate::app::{Reply, TestApp, glb};
use kiln::http::problem::Kind;
use kiln::job::JobId;
use serde_json::{Value, json};

async fn patch(app: &TestApp, id: JobId, body: &Value) -> Reply {
    let request =
        app.request("PATCH", &format!("/v1/jobs/{id}")).header("content-type", "application/merge-patch+json");
    app.send(request.body(body.to_string())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_job_can_change_its_class_deadline_and_labels() {
    let app = TestApp::start().await;
    let (first, second) = (app.submit().await, app.submit().await);
    assert_eq!(app.get(&format!("/v1/jobs/{second}")).await.json()["queue"]["position"], 1);
    let changes =
        json!({"priority": "interactive", "start_before": "2999-01-01T00:00:00Z", "labels": {"order": "4711"}});
    let job = patch(&app, second, &changes).await.expect(200).json();
    assert_eq!((&job["priority"], &job["queue"]["position"]), (&"interactive".into(), &0.into()));
    assert_eq!(job["labels"], json!({"order": "4711"}));
    assert_eq!(job["spec"]["start_before"], "2999-01-01T00:00:00.000Z");
    let job = patch(&app, second, &json!({"start_before": null})).await.expect(200).json();
    assert!(job["spec"]["start_before"].is_null() && job["labels"]["order"] == "4711", "{job}");
    assert_eq!(app.claim().await.job, second);
    assert_eq!(app.claim().await.job, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_are_merged() {
    let app = TestApp::start().await;
    let id = app.post("/v1/jobs?label.a=1&label.b=2", GLB, glb("labels")).await.expect(202).id();
    let job = patch(&app, id, &json!({"labels": {"b": null, "c": "3", "none": null}})).await.expect(200).json();
    assert_eq!(job["labels"], json!({"a": "1", "c": "3"}));
    assert_eq!(app.get("/v1/jobs?label=b=2").await.json()["jobs"], json!([]));
    assert_eq!(patch(&app, id, &json!({"priority": "batch"})).await.expect(200).json()["labels"], job["labels"]);
    let job = patch(&app, id, &json!({"labels": null})).await.expect(200).json();
    assert_eq!(job["labels"], json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_makes_no_sense_names_its_field_and_changes_nothing() {
    let app = TestApp::start().await;
    let id = app.submit().await;
    for (body, kind, pointer) in [
        (json!({"priority": "now"}), Kind::InvalidJob, "/priority"),
        (json!({"samples": 5}), Kind::MalformedJob, "/samples"),
        (json!({"labels": {"a": 5}}), Kind::MalformedJob, "/labels/a"),
        (json!({"start_before": "yesterday"}), Kind::InvalidJob, "/start_before"),
        (json!({"start_before": "2001-01-01T00:00:00Z"}), Kind::InvalidJob, "/start_before"),
        (json!({"finish_before": "2001-01-01T00:00:00Z"}), Kind::InvalidJob, "/finish_before"),
        (json!([]), Kind::MalformedJob, ""),
    ] {
        let problem = patch(&app, id, &body).await.problem(kind);
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}: {problem}");
    }
    let request = app.request("PATCH", &format!("/v1/jobs/{id}")).header("content-type", "text/plain").body("{}");
    app.send(request).await.problem(Kind::UnsupportedMediaType);
    patch(&app, JobId::now_v7(), &json!({"priority": "batch"})).await.problem(Kind::JobNotFound);
    assert_eq!(app.get(&format!("/v1/jobs/{id}")).await.json()["priority"], "normal");
    app.claim().await;
    let problem = patch(&app, id, &json!({"priority": "batch"})).await.problem(Kind::JobStarted);
    assert_eq!(problem["state"], "running");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_has_not_started_in_time_expires() {
    let app = TestApp::start().await;
    let start_before = kiln::job::timestamp(app.store.now_ms() + 60_000);
    let path = format!("/v1/jobs?start_before={start_before}");
    let id = app.post(&path, GLB, glb("late")).await.expect(202).id();
    app.clock.advance_ms(61_000);
    assert_eq!(app.store.expire_due().await.unwrap(), [id]);
    assert_eq!(app.get(&format!("/v1/jobs/{id}")).await.json()["state"], "expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_scene_can_have_more_samples() {
    let app = TestApp::start().await;
    let id = app.post("/v1/jobs?samples=16", GLB, glb("more")).await.expect(202).id();
    let path = format!("/v1/jobs/{id}/extend");
    let extend = async |body: Value| app.post_json(&path, &body).await;
    extend(json!({"samples": 32})).await.problem(Kind::JobNotEnded);
    app.succeed_with_png(&app.claim().await).await;
    for (body, kind, pointer) in [
        (json!({"samples": 16}), Kind::InvalidJob, "/samples"),
        (json!({"samples": 0}), Kind::InvalidJob, "/samples"),
        (json!({"samples": "many"}), Kind::InvalidJob, "/samples"),
        (json!({"size": [1, 1]}), Kind::MalformedJob, "/size"),
        (json!({}), Kind::InvalidJob, "/samples"),
    ] {
        assert_eq!(extend(body.clone()).await.problem(kind)["errors"][0]["pointer"], pointer, "{body}");
    }
    let job = extend(json!({"samples": 32})).await.expect(202).json();
    assert_eq!((&job["state"], &job["spec"]["samples"]), (&"queued".into(), &32.into()));
    let claim = app.claim().await;
    assert_eq!(claim.job, id);
    app.succeed_with_png(&claim).await;
    app.send(app.request("POST", &format!("{path}?samples=64"))).await.expect(202);
    app.send(app.request("POST", &format!("/v1/jobs/{}/extend?samples=2", JobId::now_v7())))
        .await
        .problem(Kind::JobNotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_tells_what_a_job_would_take_and_enqueues_nothing() {
    let app = TestApp::start().await;
    app.set_gpu_ready(true);
    app.submit().await;
    let quote = app.post("/v1/jobs/check?samples=64", GLB, glb("quote")).await.expect(200).json();
    assert_eq!((&quote["kind"], &quote["spec"]["samples"], &quote["tasks"]), (&"scene".into(), &64.into(), &1.into()));
    assert_eq!(quote["queue"]["position"], 1);
    let seconds = &quote["gpu_seconds"];
    assert!(0.0 < seconds["p50"].as_f64().unwrap() && seconds["p50"].as_f64() < seconds["p90"].as_f64(), "{quote}");
    assert!(quote["estimate"]["end"]["p50"].as_str() < quote["estimate"]["end"]["p90"].as_str(), "{quote}");
    assert_eq!(app.get("/v1/queue").await.json()["queued"], 1, "a check enqueued something");
    // The file stays, so that the document alone is enough afterwards.
    app.post_json("/v1/jobs/check", &quote["spec"]).await.expect(200);
    app.post_json("/v1/jobs", &quote["spec"]).await.expect(202);
    let problem =
        app.post_json("/v1/jobs/check", &json!({"kind": "scene", "samples": 0})).await.problem(Kind::MalformedJob);
    assert_eq!(problem["errors"][0]["pointer"], "/scene");
}
