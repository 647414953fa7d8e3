//! Bad input at the door: each is a problem that says what and where, leaves nothing behind, and does not harm the next job.
//! What is only found while loading is tested with the scene loader and with the GPU process.

use crate::app::{Reply, TestApp, glb};
use kiln::http::problem::Kind;
use serde_json::{Value, json};

const GLB: &str = "model/gltf-binary";

/// Nothing of a refused request stays, and the next job is accepted and finished.
async fn expect_unharmed(app: &TestApp) {
    assert_eq!(app.get("/v1/jobs").await.expect(200).json()["jobs"], json!([]));
    assert!(app.blobs.list("assets").await.unwrap().is_empty());
    assert!(app.spooled().is_empty());
    let id = app.submit().await;
    app.succeed_with_png(&app.claim().await).await;
    app.get(&format!("/v1/jobs/{id}/image")).await.expect(200);
}

fn detail(reply: Reply, kind: Kind) -> String {
    reply.problem(kind)["detail"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_gltf_is_refused_by_its_first_bytes() {
    let app = TestApp::start().await;
    let stl = b"solid cube\nfacet normal 0 0 1\n".repeat(100);
    let found = detail(app.post("/v1/jobs", GLB, stl.clone()).await, Kind::InvalidScene);
    assert!(found.contains("solid cube") && found.contains("GLB"), "{found}");
    let found = detail(app.post("/v1/jobs", "application/octet-stream", stl).await, Kind::InvalidScene);
    assert!(found.contains("GLB") && found.contains("JSON") && found.contains("ZIP"), "{found}");
    let found = detail(app.post("/v1/jobs", "application/zip", glb("x")).await, Kind::InvalidScene);
    assert!(found.contains("ZIP") && found.contains("content type"), "{found}");
    let found = detail(app.post("/v1/jobs", "model/gltf+json", vec![0xff, 0xd8, 0xff, 0xe0]).await, Kind::InvalidScene);
    assert!(found.contains("ffd8ffe0"), "{found}");
    let found = detail(app.post("/v1/jobs", GLB, "").await, Kind::InvalidScene);
    assert!(found.contains("empty"), "{found}");
    expect_unharmed(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_glb_that_is_shorter_than_it_says_or_of_another_version_is_refused() {
    let app = TestApp::start().await;
    let whole = glb("truncated");
    for bytes in 1..whole.len() {
        let reply = app.post("/v1/jobs", GLB, whole[..bytes].to_vec()).await;
        reply.problem(Kind::InvalidScene);
    }
    let found = detail(app.post("/v1/jobs", GLB, whole[..whole.len() - 1].to_vec()).await, Kind::InvalidScene);
    assert!(found.contains(&whole.len().to_string()) && found.contains(&(whole.len() - 1).to_string()), "{found}");
    let mut old = whole.clone();
    old[4] = 1;
    assert!(detail(app.post("/v1/jobs", GLB, old).await, Kind::InvalidScene).contains("version 1"));
    expect_unharmed(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn impossible_numbers_are_refused_before_the_file_is_read() {
    let app = TestApp::start().await;
    for (query, parameter) in [
        ("samples=0", "samples"),
        ("samples=1000000000", "samples"),
        ("width=100000&height=100000", "width"),
        ("width=0", "width"),
        ("max_bounces=1000", "max_bounces"),
    ] {
        let reply = app.post(&format!("/v1/jobs?{query}"), GLB, glb("x")).await;
        let problem = reply.problem(Kind::InvalidJob);
        let named = problem["errors"].to_string();
        assert!(named.contains(parameter) || named.contains("size"), "{query}: {problem}");
    }
    for query in [
        "samples=-1",
        "samples=1e3",
        "samples=many",
        "exposure_ev=NaN",
        "exposure_ev=inf",
        "samples=99999999999999999999",
    ] {
        let reply = app.post(&format!("/v1/jobs?{query}"), GLB, glb("x")).await;
        assert!(matches!(reply.status, 400 | 422), "{query}: {}", reply.status);
        assert!(reply.json()["errors"][0]["parameter"].is_string(), "{query}");
    }
    expect_unharmed(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn impossible_documents_are_refused_with_the_place() {
    let app = TestApp::start().await;
    let scene = json!({"asset": format!("sha256:{}", "a".repeat(64))});
    let with = |field: &str, value: Value| {
        let mut job = json!({"kind": "scene", "scene": scene});
        job[field] = value;
        job
    };
    let look_at = |position: Value, up: Value| json!({"position": position, "target": [0, 0, 0], "up": up});
    for (field, value) in [
        ("samples", json!(0)),
        ("samples", json!(1_000_000_000)),
        ("samples", json!("many")),
        ("size", json!([100_000, 100_000])),
        ("size", json!([0, 10])),
        ("size", json!([10])),
        ("size", json!([-1, 10])),
        ("camera", look_at(json!([0, 0, 0]), json!([0, 1, 0]))),
        ("camera", look_at(json!([0, 0, 4]), json!([0, 0, 1]))),
        ("camera", look_at(json!([0, 0, 4]), json!([0, 0, 0]))),
        ("camera", look_at(json!([null, 0, 4]), json!([0, 1, 0]))),
        ("camera", json!({"position": [1, 2, 3], "target": [0, 0, 0], "fov_y_deg": 0})),
        ("camera", json!({"orbit": {"zoom": 0}})),
        ("background", json!("#12345")),
        ("environment", json!({"preset": "moon"})),
        ("tone_map", json!("film")),
        ("output", json!({"format": "bmp"})),
        ("output", json!({"quality": 0})),
        ("output", json!({"bit_depth": 7})),
        ("priority", json!("now")),
        ("labels", json!({"k": 5})),
        ("frames", json!({"turntable": -36})),
        ("frames", json!({"start": 9, "end": 3})),
        ("scene", json!({"asset": "sha256:short"})),
        ("scene", json!("chair.glb")),
        ("kind", json!("movie")),
    ] {
        let reply = app.post_json("/v1/jobs", &with(field, value.clone())).await;
        assert!(matches!(reply.status, 400 | 422), "{field} {value}: {}", reply.status);
        let problem = reply.json();
        let pointer = problem["errors"][0]["pointer"].as_str().unwrap_or_else(|| panic!("{field} {value}: {problem}"));
        assert!(pointer.starts_with(&format!("/{field}")), "{field} {value}: {problem}");
    }
    for text in [
        "",
        "null",
        "[]",
        "5",
        "\"x\"",
        "{",
        "{}",
        "{\"samples\": NaN}",
        "{\"seed\": 1e999}",
        "\u{0}",
        "{\"kind\": \"scene\"} x",
    ] {
        let reply = app.post("/v1/jobs", "application/json", text).await;
        assert!(matches!(reply.status, 400 | 422), "{text}: {}", reply.status);
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    app.post("/v1/jobs", "application/json", deep).await.problem(Kind::MalformedJob);
    let long = format!("{{\"kind\": \"{}\"}}", "x".repeat(2 << 20));
    app.post("/v1/jobs", "application/json", long).await.problem(Kind::BodyTooLarge);
    app.post("/v1/jobs", "application/json", vec![0xff, 0xfe, 0x00]).await.problem(Kind::MalformedJob);
    expect_unharmed(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_environment_is_refused() {
    let app = TestApp::start().await;
    let part = |bytes: Vec<u8>| reqwest::multipart::Part::bytes(bytes).file_name("a");
    let form = reqwest::multipart::Form::new()
        .part("scene", part(glb("x")))
        .part("environment", part(b"\x89PNG\r\n\x1a\n".to_vec()));
    let problem = app.send(app.request("POST", "/v1/jobs").multipart(form)).await.problem(Kind::InvalidScene);
    assert_eq!(problem["file"], "environment");
    assert!(problem["detail"].as_str().unwrap().contains("Radiance HDR"), "{problem}");
    expect_unharmed(&app).await;
}
