//! What interruptions do to a long render: how soon an urgent job shows something, and how much work is lost to a kill.
//!
//! `cargo bench --bench interruptions` starts a real `kiln serve`. First it submits interactive jobs while a render of many minutes runs,
//! and measures the time from the submit to the first preview. Then it kills the server, and the GPU process with it, at seeded moments of
//! two renders, and compares the work that was done at the kill with what the render goes on from. It fails where one of the bounds is
//! broken, or where a picture differs from that of a render that nobody disturbed.

mod server;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use server::Server;
use std::time::{Duration, Instant};

const URGENT_JOBS: usize = 10;
const FIRST_PREVIEW_MAX: Duration = Duration::from_secs(1);
/// A task that a restart cuts short too often is failed, so that the kills are shared out among several.
const RENDERS: usize = 2;
const KILLS_EACH: usize = 10;
/// GPU seconds.
const WORK_LOST_MAX: f64 = 15.0;

fn still(asset: &str, seed: usize, samples: u32, priority: &str) -> Value {
    json!({"kind": "scene", "scene": {"asset": asset}, "size": [640, 480], "samples": samples, "seed": seed, "reuse": false, "priority": priority})
}

async fn wait_until(
    server: &Server,
    client: &reqwest::Client,
    id: &str,
    reached: impl Fn(&Value) -> bool,
) -> Result<Value> {
    loop {
        let job = server.job(client, id).await?;
        if reached(&job) {
            return Ok(job);
        }
        ensure!(job["ended"].is_null(), "the job ended early, in the state {}", job["state"]);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn renders(job: &Value) -> bool {
    job["progress"]["fraction"].as_f64() > Some(0.0)
}

fn id_of(job: &Value) -> Result<String> {
    Ok(job["id"].as_str().context("a job has an id")?.to_owned())
}

async fn post(server: &Server, client: &reqwest::Client, id: &str, what: &str) -> Result<()> {
    client.post(format!("{}/v1/jobs/{id}/{what}", server.url)).send().await?.error_for_status()?;
    Ok(())
}

/// The time to the first preview of jobs that are in a hurry.
async fn previews(server: &Server, client: &reqwest::Client, scenes: [&str; 2]) -> Result<()> {
    // What serves for the first time has its shaders compiled.
    for (seed, scene) in scenes.iter().enumerate() {
        let warm = id_of(&server.submit(client, &still(scene, seed, 1, "normal")).await?)?;
        wait_until(server, client, &warm, |job| job["state"] == "succeeded").await?;
    }
    let long = id_of(&server.submit(client, &server::endless(scenes[0])).await?)?;
    wait_until(server, client, &long, renders).await?;
    let mut times = Vec::new();
    for urgent in 0..URGENT_JOBS {
        let start = Instant::now();
        let job = still(scenes[urgent % 2], 100 + urgent, 4096, "interactive");
        let id = id_of(&server.submit(client, &job).await?)?;
        let url = format!("{}/v1/jobs/{id}/preview", server.url);
        loop {
            let answer = client.get(&url).send().await?;
            if answer.status().is_success() {
                ensure!(answer.bytes().await?.starts_with(b"\x89PNG"), "a preview is a PNG");
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        times.push(start.elapsed());
        post(server, client, &id, "cancel").await?;
        // The long render goes on, and shows it.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    post(server, client, &long, "cancel").await?;
    times.sort();
    let [middle, last] = [times[times.len() / 2], times[times.len() - 1]];
    println!(
        "first preview of an interactive job beside a long render: median {middle:.2?}, longest {last:.2?} of {URGENT_JOBS}"
    );
    ensure!(last <= FIRST_PREVIEW_MAX, "expected {FIRST_PREVIEW_MAX:?} at most");
    Ok(())
}

async fn picture(server: &Server, client: &reqwest::Client, id: &str) -> Result<String> {
    let job = wait_until(server, client, id, |job| job["state"] == "succeeded").await?;
    Ok(job["outputs"][0]["sha256"].as_str().context("an output has a hash")?.to_owned())
}

/// The work that kills cost.
async fn kills(mut server: Server, client: &reqwest::Client, scene: &str) -> Result<()> {
    const SAMPLES: u32 = 100;
    let undisturbed = id_of(&server.submit(client, &still(scene, 7, SAMPLES, "normal")).await?)?;
    let expected = picture(&server, client, &undisturbed).await?;
    let whole =
        server.job(client, &undisturbed).await?["progress"]["gpu_seconds"].as_f64().context("it used the GPU")?;
    let mut lost = Vec::new();
    // Knuth's MMIX generator: every run kills at the same moments of its renders.
    let mut random = 7_u64;
    for _ in 0..RENDERS {
        let id = id_of(&server.submit(client, &still(scene, 7, SAMPLES, "normal")).await?)?;
        wait_until(&server, client, &id, renders).await?;
        for _ in 0..KILLS_EACH {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            tokio::time::sleep(Duration::from_millis(1_000 + (random >> 33) % 13_000)).await;
            let before = server.job(client, &id).await?;
            if before["state"] == "succeeded" {
                break;
            }
            server = server.kill_and_restart().await?;
            let after =
                wait_until(&server, client, &id, |job| job["attempt"] != before["attempt"] || renders(job)).await?;
            let after = if renders(&after) { after } else { wait_until(&server, client, &id, renders).await? };
            let [before, after] = [before, after].map(|job| job["progress"]["fraction"].as_f64().unwrap_or(0.0));
            lost.push((before - after).max(0.0) * whole);
        }
        ensure!(picture(&server, client, &id).await? == expected, "the render that was killed has another picture");
    }
    lost.sort_by(f64::total_cmp);
    let [middle, most] = [lost[lost.len() / 2], lost[lost.len() - 1]];
    println!(
        "{} kills of a render of {whole:.0} GPU seconds lost {middle:.1} of them in the median, {most:.1} at most; the pictures are the same",
        lost.len()
    );
    ensure!(most <= WORK_LOST_MAX, "expected {WORK_LOST_MAX} at most");
    Ok(())
}

async fn run() -> Result<()> {
    let server = Server::start().await?;
    let client = reqwest::Client::new();
    let large = server.upload(&client, kiln::sample_scenes::knot(270_000)).await?;
    let small = server.upload(&client, kiln::sample_scenes::cornell_box()).await?;
    previews(&server, &client, [&large, &small]).await?;
    kills(server, &client, &large).await
}

fn main() -> Result<()> {
    // `cargo test --benches` runs this binary too: measuring is only for `cargo bench`.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run())
}
