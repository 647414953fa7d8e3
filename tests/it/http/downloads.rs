//! Pictures and other outputs: hashes, ranges, conversions, progress.

use super::sha256;
use crate::app::{TestApp, png};
use kiln::http::problem::Kind;
use kiln::job::{Phase, Progress};
use serde_json::json;
use sha2::{Digest, Sha256};

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
    assert_eq!(reply.header("cache-control"), "private, no-cache", "an extended job has another picture there");
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
