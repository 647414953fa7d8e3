//! `Prefer: wait=N`.

use super::GLB;
use crate::app::{TestApp, glb, png};
use kiln::http::HttpLimits;
use kiln::http::problem::Kind;
use kiln::store::AttemptEnd;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_gets_its_picture_or_its_job() {
    let app = TestApp::start().await;
    let post = |accept: &'static str| {
        let request =
            app.request("POST", "/v1/jobs").header("prefer", "respond-async, wait=250").header("accept", accept);
        app.send(request.header("content-type", GLB).body(glb(accept)))
    };
    let work = async || app.succeed_with_png(&app.claim().await).await;
    let (reply, ()) = futures::join!(post("image/png"), work());
    assert_eq!(reply.header("preference-applied"), "wait=250");
    assert!(reply.header("location").starts_with("/v1/jobs/"));
    assert_eq!(reply.expect(200).body, png());
    let (reply, ()) = futures::join!(post("image/jpeg"), work());
    assert_eq!(image::guess_format(&reply.expect(200).body).unwrap(), image::ImageFormat::Jpeg);
    let (reply, ()) = futures::join!(post("*/*"), work());
    let job = reply.expect(200).json();
    assert_eq!((&job["state"], &job["outputs"][0]["name"]), (&json!("succeeded"), &json!("image.png")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_is_over_answers_as_if_there_had_been_none() {
    let app = TestApp::with(HttpLimits { wait_seconds_max: 1, ..HttpLimits::default() }).await;
    let post = async |prefer: &str, accept: &str| {
        let request = app
            .request("POST", "/v1/jobs")
            .header("prefer", prefer)
            .header("accept", accept)
            .header("content-type", GLB);
        app.send(request.body(glb(prefer))).await
    };
    let reply = post("wait=0", "image/png").await.expect(202);
    assert_eq!((reply.header("preference-applied"), reply.json()["state"].as_str()), ("wait=0", Some("queued")));
    let reply = post("wait=99999", "*/*").await.expect(202);
    assert_eq!(reply.header("preference-applied"), "wait=1");
    assert!(!reply.header("retry-after").is_empty());
    assert_eq!(post("wait=soon", "*/*").await.expect(202).header("preference-applied"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_while_its_client_waits_is_a_problem_only_to_who_wants_a_picture() {
    let app = TestApp::start().await;
    let post = |accept: &'static str| {
        let request = app.request("POST", "/v1/jobs").header("prefer", "wait=250").header("accept", accept);
        app.send(request.header("content-type", GLB).body(glb(accept)))
    };
    let (reply, ()) = futures::join!(post("application/json"), async { app.fail(&app.claim().await).await });
    let job = reply.expect(200).json();
    assert_eq!((&job["state"], &job["error"]["reason"]), (&json!("failed"), &json!("invalid_scene")));
    let (reply, ()) = futures::join!(post("image/png"), async { app.fail(&app.claim().await).await });
    assert_eq!(reply.header("preference-applied"), "wait=250");
    let problem = reply.problem(Kind::JobFailed);
    assert_eq!(problem["details"][0]["pointer"], "/accessors/3");
    assert!(problem["job_id"].is_string());
    let (reply, ()) = futures::join!(post("image/png"), async {
        let claim = app.claim().await;
        app.send(app.request("POST", &format!("/v1/jobs/{}/cancel", claim.job))).await.expect(202);
        app.commit(&claim, AttemptEnd::Cancelled).await;
    });
    assert_eq!(reply.problem(Kind::NoImage)["state"], "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn hanging_up_cancels_only_where_the_client_said_so() {
    let app = TestApp::start().await;
    let mut claims = Vec::new();
    for flag in ["false", "true"] {
        let body = glb(flag);
        let head = format!(
            "POST /v1/jobs?cancel_on_disconnect={flag} HTTP/1.1\r\nhost: localhost\r\nprefer: wait=300\r\ncontent-type: {GLB}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut socket = TcpStream::connect(app.addr).await.unwrap();
        socket.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
        claims.push(app.claim().await);
        drop(socket);
    }
    let requested = async |index: usize| app.store.job(claims[index].job).await.unwrap().unwrap().cancel_requested;
    app.eventually("the second job is told to stop", async || requested(1).await).await;
    assert!(!requested(0).await);
    app.post("/v1/jobs?cancel_on_disconnect=maybe", GLB, glb("x")).await.problem(Kind::InvalidQuery);
}
