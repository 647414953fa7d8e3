//! Bodies on their way in: bounds, stops, memory.

use super::{GLB, sha256};
use crate::app::{TestApp, glb};
use kiln::http::HttpLimits;
use kiln::http::problem::Kind;
use reqwest::multipart::{Form, Part};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_stops_half_way_leaves_nothing() {
    let app = TestApp::start().await;
    let form = "--b\r\ncontent-disposition: form-data; name=\"scene\"; filename=\"a.glb\"\r\n\r\nglTF";
    for (path, media_type, start) in [
        ("/v1/jobs", GLB, &glb("half")[..]),
        ("/v1/assets", "application/octet-stream", b"half"),
        ("/v1/jobs", "multipart/form-data; boundary=b", form.as_bytes()),
    ] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {media_type}\r\ncontent-length: 1000000\r\n\r\n"
        );
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
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: {GLB}\r\n");
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
                    "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: {media_type}\r\ncontent-length: 100\r\n\r\n{{"
                )
                .as_bytes(),
            )
            .await;
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("/problems/slow-body"), "{answer}");
    }
    // It returns at all because the server closes the connection.
    app.raw(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nx-slow: ").await;
    assert!(app.spooled().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_at_once_are_bounded() {
    let app = TestApp::with(HttpLimits { uploads_max: 1, ..HttpLimits::default() }).await;
    let mut first = TcpStream::connect(app.addr).await.unwrap();
    first.write_all(b"POST /v1/assets HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n12345").await.unwrap();
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
        let this = "http::uploads::the_memory_of_the_server_stays_bounded_while_100_mb_stream_through_it";
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
