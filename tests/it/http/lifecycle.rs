//! Cancel, retry and delete.

use crate::app::TestApp;
use kiln::http::problem::Kind;
use kiln::job::JobId;
use kiln::store::AttemptEnd;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_says_whether_it_has_taken_hold() {
    let app = TestApp::start().await;
    let post = async |id: JobId, action: &str| app.send(app.request("POST", &format!("/v1/jobs/{id}/{action}"))).await;
    let id = app.submit().await;
    assert_eq!(post(id, "cancel").await.expect(200).json()["state"], "cancelled");
    assert_eq!(post(id, "cancel").await.expect(200).json()["state"], "cancelled");

    let id = app.submit().await;
    let claim = app.claim().await;
    let job = post(id, "cancel").await.expect(202).json();
    assert_eq!((&job["state"], &job["cancel_requested"]), (&json!("running"), &json!(true)));
    post(id, "cancel").await.expect(202);
    app.commit(&claim, AttemptEnd::Cancelled).await;
    assert_eq!(post(id, "cancel").await.expect(200).json()["state"], "cancelled");

    let id = app.submit().await;
    app.succeed_with_png(&app.claim().await).await;
    let problem = post(id, "cancel").await.problem(Kind::JobEnded);
    assert_eq!((&problem["state"], &problem["job_id"]), (&json!("succeeded"), &json!(id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_keeps_the_id_and_needs_an_end_without_success() {
    let app = TestApp::start().await;
    let post = async |id: JobId, action: &str| app.send(app.request("POST", &format!("/v1/jobs/{id}/{action}"))).await;
    let id = app.submit().await;
    post(id, "retry").await.problem(Kind::JobNotEnded);
    app.fail(&app.claim().await).await;
    let job = app.get(&format!("/v1/jobs/{id}")).await.expect(200).json();
    assert_eq!((&job["state"], &job["error"]["reason"]), (&json!("failed"), &json!("invalid_scene")));
    assert_eq!(job["error"]["details"][0]["pointer"], "/accessors/3");
    assert!(job["ended"].is_string());
    let job = post(id, "retry").await.expect(202).json();
    assert_eq!(
        (&job["id"], &job["state"], &job["error"], &job["ended"]),
        (&json!(id), &json!("queued"), &Value::Null, &Value::Null)
    );
    app.succeed_with_png(&app.claim().await).await;
    post(id, "retry").await.problem(Kind::JobEnded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_job_is_gone_with_its_blobs() {
    let app = TestApp::start().await;
    let id = app.submit().await;
    let delete = async || app.send(app.request("DELETE", &format!("/v1/jobs/{id}"))).await;
    delete().await.problem(Kind::JobNotEnded);
    let claim = app.claim().await;
    delete().await.problem(Kind::JobNotEnded);
    app.succeed_with_png(&claim).await;
    assert_eq!(app.blobs.list("outputs").await.unwrap().len(), 1);
    assert!(delete().await.expect(204).body.is_empty());
    assert!(app.blobs.list("outputs").await.unwrap().is_empty());
    delete().await.problem(Kind::JobNotFound);
    app.get(&format!("/v1/jobs/{id}/image")).await.problem(Kind::JobNotFound);
}
