//! Files: stills and sequences, as they are while the job goes on and when it has ended; previews, cancel, progress.

use super::service::*;
use crate::process::harness::{Server, gpu_or_skip, wait_for};
use serde_json::json;

/// Work for some seconds, in frames of their own.
const SLOW: &str = "\
struct Frame { index: u32, resolution: vec2u }
@group(0) @binding(0) var output: texture_storage_2d<rgba16float, write>;
@group(0) @binding(1) var<uniform> frame: Frame;
@group(0) @binding(2) var<storage, read_write> sums: array<f32>;
@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let at = id.y * frame.resolution.x + id.x;
    var x = sums[at] + f32(at) * 0.001;
    for (var i = 0u; i < 4000u; i++) { x = fract(sin(x) * 43758.5453 + f32(i)); }
    sums[at] = x;
    textureStore(output, id.xy, vec4f(x, f32(frame.index % 7u) / 7.0, 0.5, 1.0));
}
";

#[tokio::test]
async fn stills_of_every_format_hold_the_same_picture() {
    if !gpu_or_skip() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), "auto");
    let still = async |options: &str| {
        let query = format!("width=37&height=21&frame=2&{options}");
        output(&server, &succeeded(wgsl(&server, &query, GRADIENT).await)).await
    };
    let png = rgb(&still("format=png").await);
    assert_eq!(rgb(&still("format=webp").await), png);
    let jpeg = rgb(&still("format=jpeg&quality=95").await);
    assert!(
        jpeg.pixels().zip(png.pixels()).all(|(a, b)| (0..3).all(|channel| a.0[channel].abs_diff(b.0[channel]) < 16))
    );
    let deep = image::load_from_memory(&still("format=png&bit_depth=16").await).unwrap();
    assert_eq!(deep.color(), image::ColorType::Rgb16);
    for (deep, flat) in deep.into_rgb16().pixels().zip(png.pixels()) {
        assert!((0..3).all(|channel| (deep.0[channel] as f32 / 257.0 - f32::from(flat.0[channel])).abs() <= 0.51));
    }
    let exr = image::load_from_memory(&still("format=exr").await).unwrap().into_rgba32f();
    for (x, y, pixel) in exr.enumerate_pixels() {
        let expected = [x as f32 / 37.0, y as f32 / 21.0, 0.25, 1.0];
        assert!((0..4).all(|channel| (pixel.0[channel] - expected[channel]).abs() < 1e-3), "{x}, {y}: {pixel:?}");
    }
}

/// Progress is told from time to time; what a job is charged for, and what is learnt of its cost, must not depend on that.
#[tokio::test]
async fn a_still_counts_what_it_used_of_the_device() {
    if !gpu_or_skip() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), "auto");
    let job = succeeded(wgsl(&server, "width=96&height=96&reuse=false", SLOW).await);
    let used = job["report"]["run"]["gpu_seconds"].as_f64().expect("the report says what was used");
    let counted = job["progress"]["gpu_seconds"].as_f64().expect("progress says what was used");
    assert!(used > 0.002, "{job:#}");
    assert!((counted - used).abs() < 0.001, "counted {counted}, used {used}");
    assert_eq!(job["progress"]["frames_done"], 1, "{job:#}");
}

#[tokio::test]
async fn frames_of_a_sequence_can_be_downloaded_while_the_job_goes_on() {
    if !gpu_or_skip() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), "auto");
    let job =
        json!({"kind": "shader", "source": SLOW, "size": [96, 96], "frames": {"start": 2, "end": 400, "step": 2}});
    let response = server.client.post(format!("{}/v1/jobs", server.url)).json(&job).send().await.unwrap();
    let id = response.json::<serde_json::Value>().await.unwrap()["id"].as_str().unwrap().to_owned();
    let early = wait_for("two frames of a job that runs", async || {
        let job = server.job(&id).await;
        let count = job["outputs"].as_array().unwrap().len();
        assert!(job["error"].is_null() && (job["state"] != "succeeded"), "it ended before it was looked at: {job:#}");
        (count >= 2).then_some(job)
    })
    .await;
    let frames = outputs(&server, &early).await;
    assert_eq!((frames[0].0.as_str(), frames[1].0.as_str()), ("frame-0002.png", "frame-0004.png"));
    assert_eq!(early["progress"]["frames_total"], 200);
    // The picture so far.
    wait_for("a preview", async || {
        let response = server.client.get(format!("{}/v1/jobs/{id}/preview", server.url)).send().await.unwrap();
        if !response.status().is_success() {
            return None;
        }
        assert_eq!(rgb(&response.bytes().await.unwrap()).dimensions(), (96, 96));
        Some(())
    })
    .await;
    server.cancel(&id).await;
    let cancelled = server.wait_for_state(&id, "cancelled").await;
    assert!(!cancelled["outputs"].as_array().unwrap().is_empty(), "what was finished stays: {cancelled:#}");
    // The same frames, from a job that keeps them all and one that keeps few.
    let few = json!({"kind": "shader", "source": SLOW, "size": [96, 96], "frames": {"start": 2, "end": 6, "step": 2}, "reuse": false});
    let few = outputs(&server, &succeeded(document(&server, &few).await)).await;
    assert_eq!(
        few.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["frame-0002.png", "frame-0004.png", "frame-0006.png"]
    );
    assert_eq!(few[..2], frames[..2]);
    assert!(few[0].1 != few[1].1, "the frames are all the same");
}

#[tokio::test]
async fn a_job_that_takes_longer_than_it_may_ends_by_its_bound() {
    if !gpu_or_skip() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), "auto");
    let job = wgsl(&server, "width=64&height=64&start=0&end=99999&step=99999&gpu_seconds=0.5", SLOW).await;
    let error = failed(&job, "limit_exceeded");
    assert!(error["message"].as_str().unwrap().contains("gpu_seconds"), "{error:#}");
}
