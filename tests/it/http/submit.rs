//! Submissions in every accepted form, and what keeps one from being made twice.

use super::{GLB, hdr, sha256};
use crate::app::{TestApp, glb};
use kiln::http::problem::Kind;
use kiln::job::JobId;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread")]
async fn a_posted_file_becomes_a_job_with_the_options_of_the_address() {
    let app = TestApp::start().await;
    let file = glb("posted");
    let reply = app
        .post("/v1/jobs?width=320&height=200&samples=16&format=jpeg&label.order=4711", GLB, file.clone())
        .await
        .expect(202);
    let job = reply.json();
    let id = reply.id();
    assert_eq!(reply.header("location"), format!("/v1/jobs/{id}"));
    assert!(reply.header("retry-after").parse::<u64>().unwrap() >= 1);
    assert_eq!(job["spec"]["size"], json!([320, 200]));
    assert_eq!(job["spec"]["samples"], 16);
    assert_eq!(job["spec"]["output"]["format"], "jpeg");
    assert_eq!(job["spec"]["scene"]["asset"], format!("sha256:{}", sha256(&file)));
    assert_eq!(job["labels"], json!({"order": "4711"}));

    let mut members: Vec<&str> = job.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    let expected = [
        "attempt",
        "cached",
        "cancel_requested",
        "created",
        "ended",
        "error",
        "estimate",
        "follows",
        "id",
        "kind",
        "labels",
        "links",
        "outputs",
        "priority",
        "progress",
        "queue",
        "report",
        "spec",
        "started",
        "state",
    ];
    assert_eq!(members, expected);
    assert_eq!((&job["kind"], &job["state"], &job["priority"]), (&json!("scene"), &json!("queued"), &json!("normal")));
    assert_eq!((&job["attempt"], &job["cached"], &job["cancel_requested"]), (&json!(0), &json!(false), &json!(false)));
    assert_eq!(
        (&job["started"], &job["ended"], &job["error"], &job["outputs"]),
        (&Value::Null, &Value::Null, &Value::Null, &json!([]))
    );
    let created = job["created"].as_str().unwrap();
    assert!(created.len() == 24 && created.ends_with('Z') && created.as_bytes()[10] == b'T', "{created}");
    assert_eq!(job["links"]["events"], format!("/v1/jobs/{id}/events"));
    assert_eq!(app.get(&format!("/v1/jobs/{id}")).await.expect(200).json(), job);

    // The second job waits behind the first.
    let second = app.post("/v1/jobs", GLB, glb("second")).await.expect(202).json();
    assert_eq!(second["queue"]["position"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_accepted_type_of_file_is_accepted_and_others_are_told_so() {
    let app = TestApp::start().await;
    let gltf = json!({"asset": {"version": "2.0"}}).to_string().into_bytes();
    let zip = b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    for (media_type, body) in [
        ("model/gltf+json", gltf.clone()),
        ("Model/GLTF+JSON; charset=utf-8", gltf.clone()),
        ("application/zip", zip.clone()),
        ("application/octet-stream", gltf),
        ("application/octet-stream", zip),
        ("application/octet-stream", glb("sniffed")),
    ] {
        app.post("/v1/jobs", media_type, body).await.expect(202);
    }
    // The type that curl --data-binary sends where none is given.
    for media_type in ["application/x-www-form-urlencoded", "text/plain", "nonsense", ""] {
        let reply = app.post("/v1/jobs", media_type, glb("x")).await;
        assert!(reply.header("accept-post").contains(GLB));
        let problem = reply.problem(Kind::UnsupportedMediaType);
        assert!(problem["accepted"].as_array().unwrap().contains(&json!(GLB)), "{problem}");
    }
    app.send(app.request("POST", "/v1/jobs").body(glb("x"))).await.problem(Kind::UnsupportedMediaType);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_document_names_assets_that_must_be_there() {
    let app = TestApp::start().await;
    let file = glb("asset");
    let hash = sha256(&file);
    let zeros = "0".repeat(64);
    let job = |scene: &str, environment: Option<&str>| {
        let mut job = json!({"kind": "scene", "scene": {"asset": format!("sha256:{scene}")}, "size": [64, 48]});
        if let Some(environment) = environment {
            job["environment"] = json!({"asset": format!("sha256:{environment}")});
        }
        job
    };
    for missing in [&hash, &zeros] {
        let problem = app.post_json("/v1/jobs", &job(missing, None)).await.problem(Kind::MissingAsset);
        assert_eq!(problem["errors"][0]["pointer"], "/scene/asset");
        assert!(problem["detail"].as_str().unwrap().contains(missing.as_str()));
    }
    app.send(app.request("PUT", &format!("/v1/assets/{hash}")).body(file)).await.expect(201);
    app.post_json("/v1/jobs", &job(&hash, None)).await.expect(202);
    let problem = app.post_json("/v1/jobs", &job(&hash, Some(&zeros))).await.problem(Kind::MissingAsset);
    assert_eq!(problem["errors"][0]["pointer"], "/environment/asset");
    assert_eq!(problem["errors"].as_array().unwrap().len(), 1);
    // Options belong into the document.
    app.post_json("/v1/jobs?samples=4", &job(&hash, None)).await.problem(Kind::InvalidQuery);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_job_document_is_told_where_it_is_wrong() {
    let app = TestApp::start().await;
    let problem =
        app.post("/v1/jobs", "application/json", "{\"kind\": \"scene\",\n  oops}").await.problem(Kind::MalformedJob);
    assert!(problem["detail"].as_str().unwrap().contains("line 2 column 3"), "{problem}");
    let asset = json!({"asset": format!("sha256:{}", "a".repeat(64))});
    let problem = app
        .post_json("/v1/jobs", &json!({"kind": "scene", "scene": asset, "sampels": 4}))
        .await
        .problem(Kind::MalformedJob);
    assert_eq!(problem["errors"][0]["pointer"], "/sampels");
    assert!(problem["errors"][0]["message"].as_str().unwrap().contains("samples"), "{problem}");
    let problem = app
        .post_json(
            "/v1/jobs",
            &json!({"kind": "scene", "scene": asset, "samples": 0, "camera": {"orbit": {"elevation_deg": 90}}}),
        )
        .await
        .problem(Kind::InvalidJob);
    let pointers: Vec<&str> =
        problem["errors"].as_array().unwrap().iter().map(|error| error["pointer"].as_str().unwrap()).collect();
    assert!(
        pointers.contains(&"/samples") && pointers.iter().any(|pointer| pointer.starts_with("/camera")),
        "{problem}"
    );
    let problem = app.post("/v1/jobs?sampels=4", GLB, glb("x")).await.problem(Kind::MalformedJob);
    assert_eq!(problem["errors"][0]["parameter"], "sampels");
    assert_eq!(app.get("/v1/jobs").await.json()["jobs"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_takes_its_fields_in_any_order() {
    let app = TestApp::start().await;
    let (scene, environment) = (glb("form"), hdr());
    let document = json!({"kind": "scene", "size": [64, 48], "environment": {"intensity": 2.0}}).to_string();
    let part = |name: &str| match name {
        "job" => Part::text(document.clone()),
        "scene" => Part::bytes(scene.clone()).file_name("chair.glb"),
        _ => Part::bytes(environment.clone()).file_name("sky.hdr"),
    };
    for order in [["job", "scene", "environment"], ["scene", "environment", "job"], ["environment", "job", "scene"]] {
        let form = order.iter().fold(Form::new(), |form, name| form.part(name.to_string(), part(name)));
        let job = app.send(app.request("POST", "/v1/jobs").multipart(form)).await.expect(202).json();
        assert_eq!(job["spec"]["scene"]["asset"], format!("sha256:{}", sha256(&scene)));
        assert_eq!(job["spec"]["environment"]["asset"], format!("sha256:{}", sha256(&environment)));
        assert_eq!(job["spec"]["environment"]["intensity"], 2.0);
        assert_eq!(job["spec"]["size"], json!([64, 48]));
    }
    // Without a document the address holds the options, as for a file alone.
    let form = Form::new().part("scene", part("scene"));
    let job = app.send(app.request("POST", "/v1/jobs?samples=7").multipart(form)).await.expect(202).json();
    assert_eq!(job["spec"]["samples"], 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_form_is_refused_and_leaves_no_assets() {
    let app = TestApp::start().await;
    let scene = || Part::bytes(glb("wrong form")).file_name("a.glb");
    let send = async |form: Form| app.send(app.request("POST", "/v1/jobs").multipart(form)).await;
    let problem =
        send(Form::new().part("scene", scene()).part("enviroment", scene())).await.problem(Kind::MalformedBody);
    assert!(problem["detail"].as_str().unwrap().contains("did you mean \"environment\""), "{problem}");
    send(Form::new().part("scene", scene()).part("scene", scene())).await.problem(Kind::MalformedBody);
    send(Form::new().part("scene", scene()).part("environment", scene())).await.problem(Kind::InvalidScene);
    send(Form::new().part("scene", scene()).text("job", "{\"samples\": 0}")).await.problem(Kind::InvalidJob);
    send(Form::new().part("scene", scene()).text("job", "{")).await.problem(Kind::MalformedJob);
    send(Form::new().text("job", "{\"kind\": \"scene\"}")).await.problem(Kind::MalformedJob);
    send(Form::new().part("scene", scene()).text("job", "x".repeat(2 << 20))).await.problem(Kind::BodyTooLarge);
    app.post("/v1/jobs", "multipart/form-data", "x").await.problem(Kind::MalformedBody);
    app.post("/v1/jobs", "multipart/form-data; boundary=b", "--b\r\nnothing").await.problem(Kind::MalformedBody);
    assert_eq!(app.store.asset(&sha256(&glb("wrong form"))).await.unwrap(), None);
    assert!(app.blobs.list("assets").await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn putting_a_job_twice_makes_one() {
    let app = TestApp::start().await;
    let id = JobId::from_u128(0x8c2f_6f0e_54c5_4b1e_9a55_0123_4567_89ab);
    let put = async |samples: u32, name: &str| {
        let path = format!("/v1/jobs/{id}?samples={samples}");
        app.send(app.request("PUT", &path).header("content-type", GLB).body(glb(name))).await
    };
    assert_eq!(put(4, "a").await.expect(202).id(), id);
    assert_eq!(put(4, "a").await.expect(200).id(), id);
    assert_eq!(put(5, "a").await.problem(Kind::JobConflict)["job_id"], id.to_string());
    put(4, "b").await.problem(Kind::JobConflict);
    assert_eq!(app.get("/v1/jobs").await.json()["jobs"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_never_makes_two_jobs() {
    let app = TestApp::start().await;
    let post = async |key: &str, samples: u32| {
        let request = app.request("POST", &format!("/v1/jobs?samples={samples}")).header("idempotency-key", key);
        app.send(request.header("content-type", GLB).body(glb("same"))).await
    };
    let id = post("k1", 4).await.expect(202).id();
    assert_eq!(post("k1", 4).await.expect(200).id(), id);
    assert_eq!(post("\"k1\"", 4).await.expect(200).id(), id);
    assert_eq!(post("k1", 5).await.problem(Kind::IdempotencyMismatch)["job_id"], id.to_string());
    assert_ne!(post("k2", 4).await.expect(202).id(), id);
    post(&"k".repeat(300), 4).await.problem(Kind::InvalidHeader);
    post("", 4).await.problem(Kind::InvalidHeader);

    // A first request that is still on its way.
    let body = glb("same");
    let mut first = TcpStream::connect(app.addr).await.unwrap();
    let head = format!(
        "POST /v1/jobs?samples=4 HTTP/1.1\r\nhost: localhost\r\ncontent-type: {GLB}\r\nidempotency-key: k3\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    first.write_all(head.as_bytes()).await.unwrap();
    app.eventually("the second request is told to wait", async || post("k3", 4).await.status == 409).await;
    drop(first);
    app.eventually("the key is free again", async || post("k3", 4).await.status != 409).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_requests_with_one_key_at_once_make_one_job() {
    let app = TestApp::start().await;
    let requests = (0..20).map(|_| {
        let request = app.request("POST", "/v1/jobs").header("idempotency-key", "race").header("content-type", GLB);
        app.send(request.body(glb("race")))
    });
    let replies = futures::future::join_all(requests).await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 202).count(), 1);
    assert!(replies.iter().all(|reply| matches!(reply.status, 200 | 202 | 409)));
    assert_eq!(app.get("/v1/jobs").await.json()["jobs"].as_array().unwrap().len(), 1);
}
