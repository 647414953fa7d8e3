//! The promises of the HTTP interface, each through a real socket. What only the GPU process can find out is tested elsewhere.

use crate::app::{SseEvent, TestApp, glb, parse_events, png};
use kiln::http::HttpLimits;
use kiln::http::follow::Follower;
use kiln::http::problem::Kind;
use kiln::job::{Event, EventKind, JobId, Phase, Progress};
use kiln::store::AttemptEnd;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const GLB: &str = "model/gltf-binary";

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The smallest Radiance HDR picture that looks like one.
fn hdr() -> Vec<u8> {
    b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 1 +X 1\n\x80\x80\x80\x81".to_vec()
}

// --- Health ---

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

// --- Addresses and methods ---

#[tokio::test(flavor = "multi_thread")]
async fn wrong_addresses_methods_and_ids_are_problems() {
    let app = TestApp::start().await;
    for path in ["/", "/v1", "/v1/nothing", "/v1/jobs/check", "/metrics", "/v1/jobs/a/b/c", "/%00", "/v1//jobs"] {
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

// --- Submissions ---

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
        "POST /v1/jobs?samples=4 HTTP/1.1\r\nhost: x\r\ncontent-type: {GLB}\r\nidempotency-key: k3\r\ncontent-length: {}\r\n\r\n",
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

// --- Uploads ---

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_stops_half_way_leaves_nothing() {
    let app = TestApp::start().await;
    let form = "--b\r\ncontent-disposition: form-data; name=\"scene\"; filename=\"a.glb\"\r\n\r\nglTF";
    for (path, media_type, start) in [
        ("/v1/jobs", GLB, &glb("half")[..]),
        ("/v1/assets", "application/octet-stream", b"half"),
        ("/v1/jobs", "multipart/form-data; boundary=b", form.as_bytes()),
    ] {
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {media_type}\r\ncontent-length: 1000000\r\n\r\n");
        let mut socket = TcpStream::connect(app.addr).await.unwrap();
        socket.write_all(&[head.as_bytes(), start].concat()).await.unwrap();
        app.eventually("the upload has begun", async || !app.spooled().is_empty()).await;
        drop(socket);
        app.eventually("the upload is gone", async || app.spooled().is_empty()).await;
    }
    assert!(app.blobs.list("assets").await.unwrap().is_empty());
    assert_eq!(app.get("/v1/jobs").await.json()["jobs"], json!([]));
    app.submit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_over_the_bound_is_refused_with_and_without_a_length() {
    let app = TestApp::with(HttpLimits { upload_bytes_max: 100_000, ..HttpLimits::default() }).await;
    let large = [glb("large"), vec![0; 200_000]].concat();
    for path in ["/v1/jobs", "/v1/assets", &format!("/v1/assets/{}", sha256(&large))] {
        let method = if path.len() > 20 { "PUT" } else { "POST" };
        let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {GLB}\r\n");
        let answer = app.raw(format!("{head}content-length: 200000\r\n\r\n").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("100000"), "{answer}");
        // A client that does not say how much it sends is stopped on the way.
        let chunks = large.chunks(10_000).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect::<Vec<_>>();
        let body = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
        let request = app.request(method, path).header("content-type", GLB).body(body);
        app.send(request).await.problem(Kind::BodyTooLarge);
    }
    assert!(app.blobs.list("assets").await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_or_a_head_that_does_not_come_is_given_up() {
    let app =
        TestApp::with(HttpLimits { body_idle_seconds_max: 1, head_seconds_max: 1, ..HttpLimits::default() }).await;
    for media_type in [GLB, "application/json", "multipart/form-data; boundary=b"] {
        let answer = app
            .raw(
                format!(
                    "POST /v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-type: {media_type}\r\ncontent-length: 100\r\n\r\n{{"
                )
                .as_bytes(),
            )
            .await;
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("/problems/slow-body"), "{answer}");
    }
    // It returns at all because the server closes the connection.
    app.raw(b"GET /livez HTTP/1.1\r\nhost: x\r\nx-slow: ").await;
    assert!(app.spooled().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_at_once_are_bounded() {
    let app = TestApp::with(HttpLimits { uploads_max: 1, ..HttpLimits::default() }).await;
    let mut first = TcpStream::connect(app.addr).await.unwrap();
    first.write_all(b"POST /v1/assets HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n12345").await.unwrap();
    app.eventually("the first is under way", async || !app.spooled().is_empty()).await;
    let reply = app.post("/v1/assets", "", "x").await;
    assert!(!reply.header("retry-after").is_empty());
    reply.problem(Kind::Overloaded);
    drop(first);
    app.eventually("there is room again", async || app.post("/v1/assets", "", "x").await.status < 300).await;
}

/// Runs alone in a process of its own, because the memory of this one belongs to all tests.
#[tokio::test(flavor = "multi_thread")]
async fn the_memory_of_the_server_stays_bounded_while_100_mb_stream_through_it() {
    const ALONE: &str = "KILN_TEST_UPLOAD_ALONE";
    if !cfg!(target_os = "linux") {
        eprintln!("SKIPPED: memory is read from /proc, which is not here");
        return;
    }
    if std::env::var_os(ALONE).is_none() {
        let this = "http::the_memory_of_the_server_stays_bounded_while_100_mb_stream_through_it";
        let child = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", this, "--nocapture"])
            .env(ALONE, "1")
            .output();
        let output = child.await.unwrap();
        assert!(
            output.status.success(),
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
        return;
    }
    let peak_kib = || -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok()).unwrap()
    };
    let app = TestApp::start().await;
    app.submit().await;
    let before_kib = peak_kib();
    let bytes: u64 = 100 << 20;
    let chunk = bytes::Bytes::from(vec![7u8; 64 << 10]);
    for form in [false, true] {
        let chunks = vec![chunk.clone(); (bytes / chunk.len() as u64) as usize];
        let body = reqwest::Body::wrap_stream(futures::stream::iter(chunks.into_iter().map(Ok::<_, std::io::Error>)));
        if form {
            // It is no scene, which its first bytes say; the client gets to know although it goes on sending.
            let part = Part::stream(body).file_name("a.glb");
            let reply = app.send(app.request("POST", "/v1/jobs").multipart(Form::new().part("scene", part))).await;
            reply.problem(Kind::InvalidScene);
        } else {
            let asset = app.send(app.request("POST", "/v1/assets").body(body)).await.expect(201).json();
            assert_eq!(asset["bytes"], bytes);
        }
    }
    let grown_kib = peak_kib() - before_kib;
    assert!(grown_kib < 40 << 10, "the peak grew by {grown_kib} KiB");
}

// --- Assets ---

#[tokio::test(flavor = "multi_thread")]
async fn assets_are_stored_once_under_their_hash() {
    let app = TestApp::start().await;
    let content = b"some file".to_vec();
    let hash = sha256(&content);
    let path = format!("/v1/assets/{hash}");
    app.get(&path).await.problem(Kind::AssetNotFound);
    app.send(app.request("HEAD", &path)).await.expect(404);
    let put = async |path: &str, body: &[u8]| app.send(app.request("PUT", path).body(body.to_vec())).await;
    let problem = put(&path, b"another file").await.problem(Kind::HashMismatch);
    assert_eq!(problem["sha256"], sha256(b"another file"));
    assert!(app.blobs.list("assets").await.unwrap().is_empty());
    let asset = put(&path, &content).await.expect(201);
    assert_eq!(asset.header("location"), path);
    assert_eq!(asset.json(), json!({"asset": format!("sha256:{hash}"), "sha256": hash, "bytes": 9, "url": path}));
    put(&path, &content).await.expect(200);
    put(&path, b"another file").await.problem(Kind::HashMismatch);
    put(&format!("/v1/assets/sha256:{}", hash.to_uppercase()), &content).await.expect(200);
    app.post("/v1/assets", "", content.clone()).await.expect(200);
    app.post("/v1/assets", "", "new").await.expect(201);
    for wrong in ["abc", &"g".repeat(64), &format!("md5:{hash}")] {
        app.get(&format!("/v1/assets/{wrong}")).await.problem(Kind::InvalidId);
    }
    let reply = app.get(&path).await.expect(200);
    assert_eq!(reply.body, content);
    assert_eq!(reply.header("etag"), format!("\"{hash}\""));
    let reply = app.send(app.request("HEAD", &path)).await.expect(200);
    assert_eq!((reply.header("content-length"), reply.body.len()), ("9", 0));
    // An empty file is a file.
    let empty = sha256(b"");
    put(&format!("/v1/assets/{empty}"), b"").await.expect(201);
    assert!(app.get(&format!("/v1/assets/{empty}")).await.expect(200).body.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_first_does_not_send_what_is_there() {
    let app = TestApp::start().await;
    let hash = sha256(b"known");
    app.send(app.request("PUT", &format!("/v1/assets/{hash}")).body("known")).await.expect(201);
    let head =
        format!("PUT /v1/assets/{hash} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n");
    let mut socket = TcpStream::connect(app.addr).await.unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

// --- Lists ---

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paged_newest_first_without_gaps() {
    let app = TestApp::start().await;
    let mut ids = Vec::new();
    for _ in 0..7 {
        ids.push(app.submit().await.to_string());
    }
    ids.reverse();
    let (mut listed, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = app.get(&format!("/v1/jobs?limit=3{cursor}")).await.expect(200).json();
        let jobs = page["jobs"].as_array().unwrap();
        assert!(jobs.len() <= 3);
        listed.extend(jobs.iter().map(|job| job["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(listed, ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_filtered_and_wrong_filters_are_named() {
    let app = TestApp::start().await;
    let labelled = app.post("/v1/jobs?label.order=47=11", GLB, glb("l")).await.expect(202).id().to_string();
    let other = app.submit().await.to_string();
    let claim = app.claim().await;
    assert_eq!(claim.job.to_string(), labelled);
    let ids = async |query: &str| -> Vec<String> {
        let page = app.get(&format!("/v1/jobs?{query}")).await.expect(200).json();
        page["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids("state=running").await, std::slice::from_ref(&labelled));
    assert_eq!(ids("state=queued&kind=scene").await, [other]);
    assert_eq!(ids("label=order=47%3D11").await, [labelled]);
    assert!(ids("label=order=5").await.is_empty());
    for (query, parameter) in [
        ("state=done", "state"),
        ("kind=scnee", "kind"),
        ("label=order", "label"),
        ("limit=0", "limit"),
        ("limit=1000", "limit"),
        ("limit=x", "limit"),
        ("cursor=abc", "cursor"),
        ("state=queued&state=running", "state"),
        ("offset=1", "offset"),
    ] {
        let problem = app.get(&format!("/v1/jobs?{query}")).await.problem(Kind::InvalidQuery);
        assert_eq!(problem["errors"][0]["parameter"], parameter, "{problem}");
    }
}

// --- Cancel, retry, delete ---

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

// --- Downloads ---

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_comes_with_its_hash_ranges_and_conditions() {
    let app = TestApp::start().await;
    let id = app.submit().await;
    let picture = png();
    app.succeed_with_png(&app.claim().await).await;
    let path = format!("/v1/jobs/{id}/outputs/image.png");
    let job = app.get(&format!("/v1/jobs/{id}")).await.json();
    let etag = format!("\"{}\"", sha256(&picture));
    assert_eq!(
        job["outputs"],
        json!([{"name": "image.png", "media_type": "image/png", "bytes": picture.len(), "sha256": sha256(&picture), "url": path}])
    );
    assert_eq!(app.get(&format!("/v1/jobs/{id}/outputs")).await.expect(200).json()["outputs"], job["outputs"]);

    let reply = app.get(&path).await.expect(200);
    assert_eq!(reply.body, picture);
    assert_eq!(reply.header("etag"), etag);
    assert_eq!(reply.header("content-type"), "image/png");
    assert_eq!(reply.header("content-length"), picture.len().to_string());
    assert_eq!(reply.header("accept-ranges"), "bytes");
    assert!(reply.header("cache-control").contains("immutable"));
    assert_eq!(reply.header("content-disposition"), "inline; filename=\"image.png\"");
    use base64::Engine;
    let digest = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(&picture));
    assert_eq!(reply.header("content-digest"), format!("sha-256=:{digest}:"));

    let head = app.send(app.request("HEAD", &path)).await.expect(200);
    assert_eq!(
        (head.header("etag"), head.header("content-length"), head.body.len()),
        (&*etag, &*picture.len().to_string(), 0)
    );

    let with = async |name: &str, value: &str| app.send(app.request("GET", &path).header(name, value)).await;
    let part = with("range", "bytes=8-15").await.expect(206);
    assert_eq!(part.body, picture[8..16]);
    assert_eq!(part.header("content-range"), format!("bytes 8-15/{}", picture.len()));
    assert_eq!((part.header("content-digest"), part.header("repr-digest")), ("", &*format!("sha-256=:{digest}:")));
    assert_eq!(with("range", "bytes=-4").await.expect(206).body, picture[picture.len() - 4..]);
    assert_eq!(with("range", "bytes=0-1,4-5").await.expect(200).body, picture);
    let outside = with("range", "bytes=1000000-").await;
    assert_eq!(outside.header("content-range"), format!("bytes */{}", picture.len()));
    outside.problem(Kind::RangeNotSatisfiable);
    let if_range = |tag: &str| app.request("GET", &path).header("range", "bytes=0-0").header("if-range", tag);
    assert_eq!(app.send(if_range(&etag)).await.expect(206).body.len(), 1);
    assert_eq!(app.send(if_range("\"old\"")).await.expect(200).body, picture);

    let same = with("if-none-match", &etag).await.expect(304);
    assert_eq!((same.body.len(), same.header("etag")), (0, &*etag));
    with("if-none-match", "\"old\"").await.expect(200);
    with("if-match", "\"old\"").await.problem(Kind::PreconditionFailed);
    with("if-match", &etag).await.expect(200);

    let problem = app.get(&format!("/v1/jobs/{id}/outputs/..%2Fkiln.db")).await.problem(Kind::OutputNotFound);
    assert!(problem["detail"].as_str().unwrap().contains("image.png"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_picture_is_converted_to_what_the_client_accepts() {
    let app = TestApp::start().await;
    let id = app.submit().await;
    app.succeed_with_png(&app.claim().await).await;
    let image = format!("/v1/jobs/{id}/image");
    let accept = async |accept: &str| app.send(app.request("GET", &image).header("accept", accept)).await;
    let is = |bytes: &[u8], format: image::ImageFormat| {
        assert_eq!(image::guess_format(bytes).unwrap(), format);
        let picture = image::load_from_memory(bytes).unwrap();
        assert_eq!((picture.width(), picture.height()), (32, 24));
    };
    for accepted in ["*/*", "image/*", "image/png", "image/avif,image/webp,image/apng,image/*,*/*;q=0.8"] {
        assert_eq!(accept(accepted).await.expect(200).body, png(), "{accepted}");
    }
    let jpeg = accept("image/jpeg").await.expect(200);
    is(&jpeg.body, image::ImageFormat::Jpeg);
    assert_eq!(jpeg.header("content-type"), "image/jpeg");
    assert_eq!(jpeg.header("vary"), "accept");
    assert_eq!(jpeg.header("etag"), format!("\"{}\"", sha256(&jpeg.body)));
    assert_eq!(jpeg.header("content-disposition"), "inline; filename=\"image.jpeg\"");
    assert_eq!(app.get(&format!("{image}?format=jpeg")).await.expect(200).body, jpeg.body);
    let small = app.get(&format!("{image}?format=jpg&quality=5")).await.expect(200).body;
    assert!(small.len() < jpeg.body.len());
    is(&app.get(&format!("{image}?format=webp")).await.expect(200).body, image::ImageFormat::WebP);
    is(&accept("image/webp, image/png;q=0.5").await.expect(200).body, image::ImageFormat::WebP);
    let again = app.request("GET", &image).header("accept", "image/jpeg").header("if-none-match", jpeg.header("etag"));
    app.send(again).await.expect(304);
    let part = app.request("GET", &image).header("accept", "image/jpeg").header("range", "bytes=0-1");
    assert_eq!(app.send(part).await.expect(206).body, jpeg.body[..2]);
    accept("text/html").await.problem(Kind::NotAcceptable);
    app.get(&format!("{image}?format=gif")).await.problem(Kind::InvalidQuery);
    app.get(&format!("{image}?format=jpeg&quality=101")).await.problem(Kind::InvalidQuery);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_float_picture_is_served_as_it_is_and_never_guessed_into_colours() {
    let app = TestApp::start().await;
    let id = app.submit().await;
    app.succeed(&app.claim().await, &[("image.exr", "image/x-exr", b"\x76\x2f\x31\x01 not really")]).await;
    let image = format!("/v1/jobs/{id}/image");
    assert_eq!(app.get(&image).await.expect(200).header("content-type"), "image/x-exr");
    app.send(app.request("GET", &image).header("accept", "image/png")).await.problem(Kind::NotAcceptable);
    app.get(&format!("{image}?format=png")).await.problem(Kind::NotAcceptable);
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_picture_before_the_end_and_none_after_a_failure() {
    let app = TestApp::start().await;
    let id = app.submit().await;
    let (image, preview) = (format!("/v1/jobs/{id}/image"), format!("/v1/jobs/{id}/preview"));
    assert_eq!(app.get(&image).await.problem(Kind::NotFinished)["state"], "queued");
    app.get(&preview).await.problem(Kind::NotFinished);
    app.get(&format!("/v1/jobs/{id}/outputs/image.png")).await.problem(Kind::OutputNotFound);

    let claim = app.claim().await;
    let mut running = app.hub.begin(id, claim.fence, Progress::default());
    let worker = tokio::spawn(async move {
        running.previews.recv().await.unwrap().send((bytes::Bytes::from_static(b"so far"), 7)).unwrap();
        running
    });
    let reply = app.get(&preview).await.expect(200);
    assert_eq!(
        (&reply.body[..], reply.header("kiln-samples"), reply.header("cache-control")),
        (&b"so far"[..], "7", "no-store")
    );
    drop(worker.await.unwrap());
    assert_eq!(app.get(&image).await.problem(Kind::NotFinished)["state"], "running");

    app.fail(&claim).await;
    let problem = app.get(&image).await.problem(Kind::NoImage);
    assert_eq!((&problem["state"], &problem["reason"]), (&json!("failed"), &json!("invalid_scene")));
    assert_eq!(problem["details"][0]["pointer"], "/accessors/3");
    app.get(&preview).await.problem(Kind::NoImage);
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_as_fresh_as_the_hub_knows_it() {
    let app = TestApp::start().await;
    let id = app.submit().await;
    let claim = app.claim().await;
    let progress = Progress {
        phase: Phase::Rendering,
        fraction: 0.5,
        samples_done: 128,
        samples_total: 256,
        frames_total: 1,
        ..Progress::default()
    };
    let running = app.hub.begin(id, claim.fence, progress);
    let job = app.get(&format!("/v1/jobs/{id}")).await.json();
    assert_eq!((&job["progress"]["phase"], &job["progress"]["samples_done"]), (&json!("rendering"), &json!(128)));
    assert_eq!((&job["state"], &job["attempt"]), (&json!("running"), &json!(1)));
    assert!(job["started"].is_string());
    drop(running);
}

// --- Events ---

fn names(events: &[SseEvent]) -> Vec<&str> {
    events.iter().map(|event| event.event.as_str()).collect()
}

fn ids(events: &[SseEvent]) -> Vec<i64> {
    events.iter().filter_map(|event| event.id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_begins_with_a_snapshot_and_ends_after_the_end() {
    let app = TestApp::start().await;
    let id = app.submit().await;
    let path = format!("/v1/jobs/{id}/events");
    let live = app.stream(&path, None);
    let work = async {
        let claim = app.claim().await;
        app.store.log(id, "hello".into()).await.unwrap();
        app.succeed_with_png(&claim).await;
    };
    let (live, ()) = futures::join!(live, work);
    assert_eq!(names(&live)[0], "snapshot");
    assert_eq!(live[0].data["id"], id.to_string());
    assert_eq!(names(&live)[1..], ["queued", "started", "log", "output", "ended"]);
    let seqs = ids(&live);
    assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seqs:?}");
    assert_eq!(live[3].data["message"], "hello");
    assert_eq!(live[4].data["url"], format!("/v1/jobs/{id}/outputs/image.png"));
    assert_eq!(live[5].data["state"], "succeeded");

    // The same events come from the store, from any of them on.
    let replayed = app.stream(&path, None).await;
    assert_eq!(replayed[1..], live[1..]);
    for (index, seq) in seqs.iter().enumerate().take(seqs.len() - 1) {
        let resumed = app.stream(&path, Some(&seq.to_string())).await;
        assert_eq!(ids(&resumed), seqs[index + 1..]);
        let resumed = app.stream(&format!("{path}?after={seq}"), None).await;
        assert_eq!(ids(&resumed), seqs[index + 1..]);
    }
    // Last-Event-ID wins over the address, which a browser cannot change.
    assert_eq!(ids(&app.stream(&format!("{path}?after=0"), Some(&seqs[2].to_string())).await), seqs[3..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_resumes_after_the_last_event_ends_at_once() {
    let app = TestApp::start().await;
    let id = app.submit().await;
    app.succeed_with_png(&app.claim().await).await;
    let last = *ids(&app.stream(&format!("/v1/jobs/{id}/events"), None).await).last().unwrap();
    assert_eq!(names(&app.stream(&format!("/v1/jobs/{id}/events"), Some(&last.to_string())).await), ["snapshot"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_a_retried_job_goes_on_after_the_first_end() {
    let app = TestApp::start().await;
    let id = app.submit().await;
    app.fail(&app.claim().await).await;
    app.send(app.request("POST", &format!("/v1/jobs/{id}/retry"))).await.expect(202);
    app.succeed_with_png(&app.claim().await).await;
    let events = app.stream(&format!("/v1/jobs/{id}/events"), None).await;
    let ends: Vec<&Value> =
        events.iter().filter(|event| event.event == "ended").map(|event| &event.data["state"]).collect();
    assert_eq!(ends, ["failed", "succeeded"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_can_be_had_as_pages_of_json() {
    let app = TestApp::start().await;
    let id = app.submit().await;
    for n in 0..5 {
        app.store.log(id, format!("line {n}")).await.unwrap();
    }
    let page = async |query: &str| {
        app.send(app.request("GET", &format!("/v1/jobs/{id}/events{query}")).header("accept", "application/json")).await
    };
    let (mut seqs, mut next) = (Vec::new(), 0);
    loop {
        let page = page(&format!("?after={next}&limit=2")).await.expect(200).json();
        let events = page["events"].as_array().unwrap();
        seqs.extend(events.iter().map(|event| event["seq"].as_i64().unwrap()));
        next = page["next"].as_i64().unwrap();
        if events.is_empty() {
            break;
        }
    }
    assert_eq!(seqs, [1, 2, 3, 4, 5, 6]);
    assert_eq!(page("?limit=2").await.json()["events"][1]["data"]["message"], "line 0");
    page("?after=-1").await.problem(Kind::InvalidQuery);
    page("?after=x").await.problem(Kind::InvalidQuery);
    let request = app.request("GET", &format!("/v1/jobs/{id}/events"));
    app.send(request.try_clone().unwrap().header("accept", "image/png")).await.problem(Kind::NotAcceptable);
    app.send(request.header("last-event-id", "abc")).await.problem(Kind::InvalidHeader);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_falls_behind_misses_nothing_and_sees_nothing_twice() {
    let app = TestApp::start().await;
    let id = app.submit().await;
    let mut follower = Follower::new(Arc::clone(&app.store), Arc::clone(&app.hub), app.state.closing.clone(), id, 0);
    assert_eq!(follower.next().await.unwrap().unwrap().seq, 1);
    // Far more than the hub buffers for one subscriber, while nobody reads.
    let logs = (0..1500).map(|n| app.store.log(id, format!("line {n}")));
    for result in futures::future::join_all(logs).await {
        result.unwrap();
    }
    app.succeed_with_png(&app.claim().await).await;
    let mut seqs = vec![1];
    while let Some(event) = follower.next().await.unwrap() {
        seqs.push(event.seq);
    }
    let last = seqs.len() as i64;
    assert!(last > 1500);
    assert_eq!(seqs, (1..=last).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_come_and_go_while_events_are_written_see_each_once() {
    let app = TestApp::start().await;
    let id = app.submit().await;
    let writer = async {
        for n in 0..200 {
            app.store.log(id, format!("line {n}")).await.unwrap();
        }
        app.succeed_with_png(&app.claim().await).await;
    };
    let reader = |after: i64| {
        let mut follower =
            Follower::new(Arc::clone(&app.store), Arc::clone(&app.hub), app.state.closing.clone(), id, after);
        async move {
            let mut seqs = Vec::new();
            while let Some(event) = follower.next().await.unwrap() {
                seqs.push(event.seq);
                tokio::task::yield_now().await;
            }
            seqs
        }
    };
    let readers = futures::future::join_all((0..20).map(|n| reader(n * 5)));
    let (read, ()) = futures::join!(readers, writer);
    for (n, seqs) in read.iter().enumerate() {
        let first = n as i64 * 5 + 1;
        assert_eq!(*seqs, (first..first + seqs.len() as i64).collect::<Vec<_>>(), "reader {n}");
        assert_eq!(seqs.last(), read[0].last());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_thinned_out_and_has_no_id_to_resume_from() {
    let app = TestApp::start().await;
    let id = app.submit().await;
    let claim = app.claim().await;
    let running = app.hub.begin(id, claim.fence, Progress::default());
    let path = format!("/v1/jobs/{id}/events");
    let stream = app.stream(&path, None);
    let work = async {
        for n in 0..=200u32 {
            let fraction = n as f32 / 200.0;
            app.hub.set_progress(
                id,
                Progress { phase: Phase::Rendering, fraction, samples_done: n, ..Progress::default() },
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // The last one is never thinned out, as long as nothing else happens.
        tokio::time::sleep(Duration::from_millis(600)).await;
        app.hub.publish(id, Event { seq: 2, time_ms: 0, kind: EventKind::Preview { url: "/p".into(), samples: 200 } });
        app.succeed_with_png(&claim).await;
    };
    let (events, ()) = futures::join!(stream, work);
    drop(running);
    let progress: Vec<&SseEvent> = events.iter().filter(|event| event.event == "progress").collect();
    assert!((1..40).contains(&progress.len()), "{} of 201", progress.len());
    assert_eq!(progress.last().unwrap().data["samples_done"], 200);
    assert!(progress.iter().all(|event| event.id.is_none()));
    assert!(names(&events).contains(&"preview"));
}

#[tokio::test(flavor = "multi_thread")]
async fn event_streams_are_bounded_and_a_closed_one_makes_room() {
    let app =
        TestApp::with(HttpLimits { event_streams_max: 1, event_comment_seconds: 1, ..HttpLimits::default() }).await;
    let id = app.submit().await;
    let path = format!("/v1/jobs/{id}/events");
    let mut first = TcpStream::connect(app.addr).await.unwrap();
    first.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
    // The comment shows that a silent stream is kept alive.
    let mut text = String::new();
    while !text.contains("\n: still here") && !text.contains("\n:still here") {
        let mut buffer = [0; 4096];
        let read = first.read(&mut buffer).await.unwrap();
        assert!(read > 0, "the stream ended: {text}");
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
    assert!(text.contains("event: snapshot"));
    let reply = app.get(&path).await;
    assert!(!reply.header("retry-after").is_empty());
    reply.problem(Kind::Overloaded);
    drop(first);
    let open = async || {
        let mut socket = TcpStream::connect(app.addr).await.unwrap();
        socket.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut status = [0; 12];
        socket.read_exact(&mut status).await.unwrap();
        &status == b"HTTP/1.1 200"
    };
    app.eventually("there is room again", open).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_ends_streams_and_waits() {
    let mut app = TestApp::start().await;
    let id = app.submit().await;
    let stream = tokio::spawn(app.request("GET", &format!("/v1/jobs/{id}/events")).send());
    let waiting =
        app.request("POST", "/v1/jobs").header("content-type", GLB).header("prefer", "wait=300").body(glb("waits"));
    let waiting = tokio::spawn(waiting.send());
    app.eventually("both jobs are there", async || app.get("/v1/queue").await.json()["queued"] == 2).await;
    let stream = stream.await.unwrap().unwrap();
    app.stop().await;
    let text = stream.text().await.unwrap();
    assert_eq!(names(&parse_events(&text)), ["snapshot", "queued"]);
    assert_eq!(waiting.await.unwrap().unwrap().status(), 202);
}

// --- Waiting ---

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
            "POST /v1/jobs?cancel_on_disconnect={flag} HTTP/1.1\r\nhost: x\r\nprefer: wait=300\r\ncontent-type: {GLB}\r\ncontent-length: {}\r\n\r\n",
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

// --- Everything else that comes over a socket ---

#[tokio::test(flavor = "multi_thread")]
async fn no_address_method_or_header_makes_a_server_error() {
    let app = TestApp::start().await;
    let id = app.submit().await;
    app.succeed_with_png(&app.claim().await).await;
    // A small linear congruential generator (Knuth's MMIX), so that every run sends the same.
    let mut state = 0x5eed_u64;
    let mut next = move |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    };
    let segments = [
        "v1",
        "jobs",
        "assets",
        "queue",
        "workers",
        "livez",
        "events",
        "image",
        "outputs",
        "preview",
        "cancel",
        "retry",
        "..",
        ".",
        "%2e%2e",
        "%00",
        "%ff",
        "%F0%9F%94%A5",
        "image.png",
        "",
        "sha256:",
        "a'b;--",
        "{id}",
        "*",
        "\\",
        "~",
        ":id",
        &id.to_string(),
        &"a".repeat(64),
        &"9".repeat(3000),
    ];
    let queries = [
        "",
        "?",
        "?=",
        "?&&",
        "?limit=",
        "?after=9223372036854775807",
        "?cursor=AAAA",
        "?format=%ff",
        "?state=%00",
        "?wait",
        "?a=b=c",
    ];
    let headers = [
        "x: y",
        "range: bytes=0-",
        "range: bytes=-",
        "if-match: *",
        "if-none-match: \u{fc}",
        "accept: ;;,,/",
        "accept: image/*;q=nan",
        "prefer: wait=-1,;=\"",
        "last-event-id: -5",
        "content-type: multipart/form-data; boundary=\"",
        "idempotency-key: \"",
        "if-range: x",
        "content-type: application/json",
        "expect: nothing",
        "content-length: 0",
        "transfer-encoding: chunked",
    ];
    let methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"];
    for _ in 0..600 {
        let path: String = (0..next(6)).map(|_| format!("/{}", segments[next(segments.len())])).collect();
        let (method, query) = (methods[next(methods.len())], queries[next(queries.len())]);
        let (first, second) = (headers[next(headers.len())], headers[next(headers.len())]);
        let path = if path.is_empty() { "/" } else { &path };
        let request = format!(
            "{method} {path}{query} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{first}\r\n{second}\r\n\r\n0\r\n\r\n"
        );
        let answer = app.raw(request.as_bytes()).await;
        let status = answer.get(9..12).unwrap_or("");
        assert!(answer.is_empty() || matches!(status.as_bytes().first(), Some(b'2'..=b'4')), "{request}\n{answer}");
        // What hyper refuses by itself has no body; everything else is ours.
        if status.starts_with('4') && method != "HEAD" && !answer.to_lowercase().contains("content-length: 0") {
            assert!(answer.contains("application/problem+json"), "{request}\n{answer}");
        }
    }
    app.get(&format!("/v1/jobs/{id}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_keys_listens_only_where_nobody_else_comes() {
    let config = |addr: &str, insecure_no_auth: bool| kiln::config::ServeConfig {
        addr: addr.into(),
        data: std::path::PathBuf::new(),
        gpu: Default::default(),
        insecure_no_auth,
        upload_bytes_max: 1,
    };
    for addr in ["0.0.0.0:0", "[::]:0"] {
        let refused = kiln::http::bind(&config(addr, false)).await.unwrap_err().to_string();
        assert!(refused.contains("--insecure-no-auth") && refused.contains("127.0.0.1"), "{refused}");
    }
    kiln::http::bind(&config("127.0.0.1:0", false)).await.unwrap();
    kiln::http::bind(&config("localhost:0", false)).await.unwrap();
    kiln::http::bind(&config("0.0.0.0:0", true)).await.unwrap();
    let wrong = kiln::http::bind(&config("nonsense", false)).await.unwrap_err().to_string();
    assert!(wrong.contains("HOST:PORT"), "{wrong}");
}
