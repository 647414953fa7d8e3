//! What tests ask a server about shader jobs.

use crate::process::harness::Server;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// A gradient over the picture that moves with the frames.
pub const GRADIENT: &str = "\
struct Frame { index: u32, time: f32, resolution: vec2u }
@group(0) @binding(0) var output: texture_storage_2d<rgba16float, write>;
@group(0) @binding(1) var<uniform> frame: Frame;
@compute @workgroup_size(16, 16)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let uv = vec2f(id.xy) / vec2f(frame.resolution);
    textureStore(output, id.xy, vec4f(uv, fract(f32(frame.index) * 0.125), 1.0));
}
";

/// Posts a body and waits for the end of its job; answers the job, or the problem.
pub async fn run(server: &Server, media_type: &str, query: &str, body: impl Into<reqwest::Body>) -> Value {
    let response = server
        .client
        .post(format!("{}/v1/jobs?{query}", server.url))
        .header("content-type", media_type)
        .header("prefer", "wait=240")
        .body(body)
        .send()
        .await
        .expect("the server answers");
    response.json().await.expect("the answer is JSON")
}

/// Runs WGSL as it is.
pub async fn wgsl(server: &Server, query: &str, source: &str) -> Value {
    run(server, "text/wgsl", query, source.to_owned()).await
}

/// Runs a job document.
pub async fn document(server: &Server, document: &Value) -> Value {
    run(server, "application/json", "", document.to_string()).await
}

/// The job, which must have succeeded.
#[track_caller]
pub fn succeeded(job: Value) -> Value {
    assert_eq!(job["state"], "succeeded", "{job:#}");
    job
}

/// The job's error, which it must have failed with.
#[track_caller]
pub fn failed(job: &Value, reason: &str) -> Value {
    assert_eq!(job["state"], "failed", "{job:#}");
    assert_eq!(job["error"]["reason"], reason, "{job:#}");
    job["error"].clone()
}

/// All outputs of a job by name, each checked against its hash.
pub async fn outputs(server: &Server, job: &Value) -> Vec<(String, Vec<u8>)> {
    let mut outputs = Vec::new();
    for output in job["outputs"].as_array().expect("a job has outputs") {
        let url = format!("{}{}", server.url, output["url"].as_str().expect("an output has an address"));
        let response = server.client.get(url).send().await.expect("the server answers");
        assert!(response.status().is_success(), "{output}: {}", response.status());
        let bytes = response.bytes().await.expect("it can be downloaded").to_vec();
        assert_eq!(Some(hex::encode(Sha256::digest(&bytes)).as_str()), output["sha256"].as_str(), "{output}");
        outputs.push((output["name"].as_str().expect("an output has a name").to_owned(), bytes));
    }
    outputs
}

/// The one output of a job.
pub async fn output(server: &Server, job: &Value) -> Vec<u8> {
    let mut all = outputs(server, job).await;
    assert_eq!(all.len(), 1, "{job:#}");
    all.remove(0).1
}

/// Pixels of a picture in any format that the `image` crate reads.
pub fn rgb(bytes: &[u8]) -> image::RgbImage {
    image::load_from_memory(bytes).expect("a picture").into_rgb8()
}
