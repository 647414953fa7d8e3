//! Health, wrong addresses and methods, request ids.

use crate::app::TestApp;
use kiln::http::problem::Kind;
use kiln::job::JobId;

#[tokio::test(flavor = "multi_thread")]
async fn alive_says_nothing_of_the_gpu_and_ready_does() {
    let app = TestApp::start().await;
    assert_eq!(app.get("/livez").await.expect(200).json()["alive"], true);
    let problem = app.get("/readyz").await.problem(Kind::NotReady);
    assert_eq!(problem["checks"]["store"]["ok"], true);
    assert_eq!(problem["checks"]["blobs"]["ok"], true);
    assert_eq!(problem["checks"]["gpu"]["ok"], false);
    app.set_gpu_ready(true);
    assert_eq!(app.get("/readyz").await.expect(200).json()["ready"], true);
    let workers = app.get("/v1/workers").await.expect(200).json();
    assert_eq!(workers["workers"][0]["ready"], true);
    assert_eq!(workers["workers"][0]["deaths"], 0);
    app.submit().await;
    app.submit().await;
    app.claim().await;
    let queue = app.get("/v1/queue").await.expect(200).json();
    assert_eq!((queue["queued"].as_u64(), queue["running"].as_u64()), (Some(1), Some(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_addresses_methods_and_ids_are_problems() {
    let app = TestApp::start().await;
    for path in ["/", "/v1", "/v1/nothing", "/v1/jobs/check", "/metrics/x", "/v1/jobs/a/b/c", "/%00", "/v1//jobs"] {
        let reply = app.get(path).await;
        assert!(matches!(reply.status, 400 | 404 | 405), "{path}: {}", reply.status);
    }
    let reply = app.send(app.request("PATCH", "/v1/jobs")).await;
    assert!(
        reply.header("allow").contains("POST") && reply.header("allow").contains("GET"),
        "{}",
        reply.header("allow")
    );
    reply.problem(Kind::MethodNotAllowed);
    app.send(app.request("POST", "/livez")).await.problem(Kind::MethodNotAllowed);
    for id in ["1", "not-a-uuid", "0197a1b2c3d47e5f8a6b9c0d1e2f3a4b", "%7B%7D", "%ff%fe"] {
        app.get(&format!("/v1/jobs/{id}")).await.problem(Kind::InvalidId);
    }
    let unknown = JobId::now_v7();
    for path in ["", "/events", "/image", "/outputs", "/outputs/x", "/preview"] {
        let problem = app.get(&format!("/v1/jobs/{unknown}{path}")).await.problem(Kind::JobNotFound);
        assert_eq!(problem["job_id"], unknown.to_string());
    }
    for action in ["cancel", "retry"] {
        app.send(app.request("POST", &format!("/v1/jobs/{unknown}/{action}"))).await.problem(Kind::JobNotFound);
    }
    app.send(app.request("DELETE", &format!("/v1/jobs/{unknown}"))).await.problem(Kind::JobNotFound);
    let problem = app.get("/v1/jobs?lable=a=b").await.problem(Kind::InvalidQuery);
    assert_eq!(problem["errors"][0]["parameter"], "lable");
    assert!(problem["detail"].as_str().unwrap().contains("did you mean \"label\""), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_keeps_the_id_that_its_client_gave() {
    let app = TestApp::start().await;
    let reply = app.send(app.request("GET", "/livez").header("x-request-id", "mine-1")).await;
    assert_eq!(reply.header("x-request-id"), "mine-1");
    assert_ne!(app.get("/livez").await.header("x-request-id"), app.get("/livez").await.header("x-request-id"));
}
