//! How fast the front end answers while a long render holds the GPU, and how soon a cancel takes hold.
//!
//! `cargo bench --bench front_end` starts a real `kiln serve`, gives it a render of many minutes, and sends requests at a fixed
//! rate (open loop: latency counts from the moment a request was due, so that a stall is not hidden). Prints percentiles.

mod server;

use anyhow::{Context, Result, ensure};
use server::Server;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const REQUESTS_PER_SECOND: u64 = 200;
const SECONDS: u64 = 15;

/// Sends requests at the fixed rate and prints percentiles of their latency.
async fn measure<F>(name: &str, request: impl Fn(u64) -> F) -> Result<()>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let results = Arc::new(Mutex::new((Vec::new(), Vec::new())));
    let start = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for index in 0..REQUESTS_PER_SECOND * SECONDS {
        let due = start + Duration::from_micros(index * 1_000_000 / REQUESTS_PER_SECOND);
        tokio::time::sleep_until(due.into()).await;
        let (future, results) = (request(index), results.clone());
        running.spawn(async move {
            let outcome = future.await;
            let mut results = results.lock().expect("no holder of the lock panics");
            match outcome {
                Ok(()) => results.0.push(due.elapsed()),
                Err(error) => results.1.push(error),
            }
        });
    }
    while running.join_next().await.is_some() {}
    let mut results = results.lock().expect("no holder of the lock panics");
    let (latencies, failures) = &mut *results;
    ensure!(failures.is_empty(), "{} of {name} failed, the first: {:#}", failures.len(), failures[0]);
    latencies.sort();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "{name:<7} {} requests at {REQUESTS_PER_SECOND}/s: p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
        latencies.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
    Ok(())
}

async fn run() -> Result<()> {
    let server = Server::start().await?;
    let url = &server.url;
    let client = reqwest::Client::builder().pool_max_idle_per_host(64).build()?;
    let large = server.upload(&client, kiln::sample_scenes::knot(270_000)).await?;
    let small = server.upload(&client, kiln::sample_scenes::cornell_box()).await?;
    let job = server.submit(&client, &server::endless(&large)).await?;
    let long_id = job["id"].as_str().context("a job has an id")?;
    let long_url = format!("{url}/v1/jobs/{long_id}");
    let status = || server.job(&client, long_id);
    while status().await?["progress"]["fraction"].as_f64() <= Some(0.0) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    measure("/livez", |_| {
        let request = client.get(format!("{url}/livez"));
        async move { Ok(request.send().await?.error_for_status()?.bytes().await.map(drop)?) }
    })
    .await?;
    measure("submit", |index| {
        let document = serde_json::json!({"kind": "scene", "scene": {"asset": small}, "size": [16, 16], "samples": 1,
            "priority": "batch", "seed": index});
        let request = client.post(format!("{url}/v1/jobs")).json(&document);
        async move {
            let answer = request.send().await?;
            ensure!(answer.status() == 202, "found status {}, expected 202", answer.status());
            Ok(answer.bytes().await.map(drop)?)
        }
    })
    .await?;

    ensure!(status().await?["state"] == "running", "the long render ended before the measurement");
    let asked = Instant::now();
    client.post(format!("{long_url}/cancel")).send().await?.error_for_status()?;
    while status().await?["state"] != "cancelled" {
        ensure!(asked.elapsed() < Duration::from_secs(30), "the cancel did not take hold within 30 s");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("cancel  took hold after {:.0} ms", asked.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

fn main() -> Result<()> {
    // `cargo test --benches` runs this binary too: measuring is only for `cargo bench`.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run())
}
