//! How good the estimates are: a mixed run of 200 jobs, after 30 from which a server that knows nothing at its start learns.
//!
//! `cargo bench --bench estimates` starts a real `kiln serve`, and submits scenes and shaders of very different sizes at random moments,
//! so that the queue is now empty and now long. What counts is the estimate in the answer to the submit: how many jobs ended before
//! its p90, and how far the time to their end was from its p50. It fails where those are worse than [`WITHIN_MIN`] and [`ERROR_MAX`].

mod server;

use anyhow::{Context, Result, ensure};
use kiln::job::parse_timestamp;
use serde_json::{Value, json};
use server::Server;
use std::time::Duration;

/// Jobs that the cost model gets to learn from before its estimates are counted apart.
const WARM_UP: usize = 30;
const JOBS: usize = WARM_UP + 200;
/// Share of the jobs that end before their p90.
const WITHIN_MIN: f64 = 0.8;
/// Median of |estimated / actual - 1| of the time to the end.
const ERROR_MAX: f64 = 0.3;
/// Share of the time that the device is busy, about.
const LOAD: f64 = 0.8;
const SHADER: &str = "@group(0) @binding(0) var output: texture_storage_2d<rgba16float, write>;
@compute @workgroup_size(8, 8) fn main(@builtin(global_invocation_id) id: vec3u) {
    var value = 0.0;
    for (var i = 0; i < 200; i++) { value = sin(value + f32(id.x) * 0.01 + f32(i)); }
    textureStore(output, id.xy, vec4f(value, 0.5, 0.5, 1.0));
}";

/// A small linear congruential generator (Knuth's MMIX), so that every run submits the same jobs.
struct Random(u64);

impl Random {
    /// Uniform in [0, 1).
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[(self.next() * list.len() as f64) as usize]
    }
}

/// A job of any kind and size, different from all others by its seed.
fn document(random: &mut Random, assets: &[String], shaders: bool, seed: usize) -> Value {
    let priority = random.pick(&["interactive", "normal", "normal", "normal", "batch"]);
    let side = *random.pick(&[32, 64, 96, 128, 192]);
    let mut document = if shaders && random.next() < 0.3 {
        json!({"kind": "shader", "dialect": "kiln", "source": SHADER, "size": [side * 2, side * 2]})
    } else {
        let samples = random.pick(&[1, 4, 8, 16, 32]);
        let bounces = random.pick(&[1, 4, 8]);
        json!({"kind": "scene", "scene": {"asset": random.pick(assets)}, "size": [side, side], "samples": samples, "max_bounces": bounces})
    };
    document["seed"] = json!(seed);
    document["priority"] = json!(priority);
    document
}

/// Milliseconds since the epoch at a place of a job.
fn time_ms(job: &Value, pointer: &str) -> Option<f64> {
    job.pointer(pointer)?.as_str().and_then(parse_timestamp).map(|ms| ms as f64)
}

/// Whether such a job succeeds.
async fn runs(server: &Server, client: &reqwest::Client, probe: &Value) -> bool {
    let Ok(job) = server.submit(client, probe).await else { return false };
    let id = job["id"].as_str().unwrap_or_default();
    loop {
        match server.job(client, id).await {
            Ok(job) if job["state"] == "succeeded" => return true,
            Ok(job) if job["ended"].is_null() => tokio::time::sleep(Duration::from_millis(50)).await,
            _ => return false,
        }
    }
}

async fn run() -> Result<()> {
    let server = Server::start().await?;
    let client = reqwest::Client::new();
    let mut assets = Vec::new();
    let scenes = [
        kiln::sample_scenes::cornell_box(),
        kiln::sample_scenes::still_life(),
        kiln::sample_scenes::knot(20_000),
        kiln::sample_scenes::knot(150_000),
    ];
    for scene in scenes {
        assets.push(server.upload(&client, scene).await?);
    }
    let probe = json!({"kind": "shader", "dialect": "kiln", "source": SHADER, "size": [16, 16]});
    let shaders = runs(&server, &client, &probe).await;
    println!("{}", if shaders { "scenes and shaders" } else { "scenes only: this server runs no shaders" });

    let mut random = Random(7);
    let mut accepted = Vec::new();
    let mut seconds_each = 0.5;
    for seed in 0..JOBS {
        let job = server.submit(&client, &document(&mut random, &assets, shaders, seed)).await?;
        let id = job["id"].as_str().context("a job has an id")?.to_owned();
        if let Some(seconds) = job.pointer("/estimate/gpu_seconds/p50").and_then(Value::as_f64) {
            seconds_each += (seconds.min(10.0) - seconds_each) * 0.1;
        }
        accepted.push((id, job));
        // Exponential gaps (a Poisson process), sized so that the device is busy for most of the time.
        let gap = -(1.0 - random.next()).ln() * (seconds_each + 0.15) / LOAD;
        tokio::time::sleep(Duration::from_secs_f64(gap.min(10.0))).await;
    }

    let mut judged = Vec::new();
    for (id, job) in &accepted {
        let ended = loop {
            let now = server.job(&client, id).await?;
            if now["state"] == "succeeded" {
                break now;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        let (Some(p50), Some(p90)) = (time_ms(job, "/estimate/end/p50"), time_ms(job, "/estimate/end/p90")) else {
            continue;
        };
        let created = time_ms(job, "/created").context("a job has a time of acceptance")?;
        let end = time_ms(&ended, "/ended").context("an ended job has an end")?;
        let actual = (end - created).max(1.0);
        if std::env::var_os("KILN_BENCH_JOBS").is_some() {
            let gpu = |job: &Value, at: &str| job.pointer(at).and_then(Value::as_f64).unwrap_or(f64::NAN);
            println!(
                "{:6.2} s, p50 {:6.2}, p90 {:6.2}; gpu {:.3} for {:.3}; position {}; waited {:.2}; {} {}",
                actual / 1e3,
                (p50 - created) / 1e3,
                (p90 - created) / 1e3,
                gpu(&ended, "/progress/gpu_seconds"),
                gpu(job, "/estimate/gpu_seconds/p50"),
                job["queue"]["position"],
                (time_ms(&ended, "/started").unwrap_or(f64::NAN) - created) / 1e3,
                job["priority"],
                job["kind"],
            );
        }
        judged.push((end <= p90, ((p50 - created) / actual - 1.0).abs(), actual / 1000.0));
    }
    ensure!(judged.len() > JOBS / 2, "only {} of {JOBS} jobs had an estimate", judged.len());
    report("all", &judged);
    let (within, error) = report("after the warm-up", &judged[WARM_UP.min(judged.len())..]);
    ensure!(
        within >= WITHIN_MIN && error < ERROR_MAX,
        "expected {WITHIN_MIN} at least, and an error below {ERROR_MAX}"
    );
    Ok(())
}

fn report(name: &str, judged: &[(bool, f64, f64)]) -> (f64, f64) {
    let within = judged.iter().filter(|(within, ..)| *within).count() as f64 / judged.len() as f64;
    let middle = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let error = middle(judged.iter().map(|(_, error, _)| *error).collect());
    let seconds = middle(judged.iter().map(|(.., seconds)| *seconds).collect());
    println!(
        "{name}: {} jobs, median {seconds:.2} s from submit to end; {:.0} % ended before their p90, median relative error {:.0} %",
        judged.len(),
        within * 100.0,
        error * 100.0
    );
    (within, error)
}

fn main() -> Result<()> {
    // `cargo test --benches` runs this binary too: measuring is only for `cargo bench`.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run())
}
