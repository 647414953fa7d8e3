//! What a thousand watching clients cost the render that they watch.
//!
//! `cargo bench --bench event_streams` starts a real `kiln serve` and a long render, and looks at windows of a few seconds: alone, and with
//! 1,000 event streams on it plus 20 polls of its state a second, in turns. A render on a software adapter takes all the processor time that is
//! left, so that it loses what the server and its clients, which run on the same cores, take more of it when they watch: that share is
//! measured, from `/proc`, and so is how fast the render gets on, over many windows, since on a shared machine that changes by more than the cost
//! from one to the next. It fails where either is more than [`COST_MAX`].

mod server;

use anyhow::{Context, Result, ensure};
use server::Server;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const STREAMS: usize = 1_000;
const POLLS_PER_SECOND: u64 = 20;
const WINDOW: Duration = Duration::from_secs(8);
/// Share of the processor time, and so of its speed, that the render may lose to those who watch it.
const COST_MAX: f64 = 0.05;
/// Windows of each kind.
const ROUNDS: usize = 14;

/// Work done, as GPU seconds do not tell it: a share of the whole render.
async fn fraction(server: &Server, client: &reqwest::Client, id: &str) -> Result<f64> {
    let job = server.job(client, id).await?;
    ensure!(job["state"] == "running", "the long render ended before the measurement");
    job["progress"]["fraction"].as_f64().context("a running job has progress")
}

/// Seconds of processor time that a process has taken.
fn processor_seconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("this bench needs /proc")?;
    // Fields 14 and 15 of proc_pid_stat(5); the second one may hold spaces.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(ticks as f64 / 100.0)
}

/// One window: how much of the render is done per second, and the share of all processors that the server and that its clients took.
async fn window(server: &Server, client: &reqwest::Client, id: &str, polls: bool) -> Result<[f64; 3]> {
    let pids = [server.pid(), std::process::id()];
    let took = [processor_seconds(pids[0])?, processor_seconds(pids[1])?];
    let (start, before) = (Instant::now(), fraction(server, client, id).await?);
    let mut clock = tokio::time::interval(Duration::from_millis(1000 / POLLS_PER_SECOND));
    while start.elapsed() < WINDOW {
        clock.tick().await;
        if polls {
            server.job(client, id).await?;
        }
    }
    let elapsed = start.elapsed().as_secs_f64();
    let all = elapsed * std::thread::available_parallelism()?.get() as f64;
    let share = |i: usize| Ok::<_, anyhow::Error>((processor_seconds(pids[i])? - took[i]) / all);
    Ok([(fraction(server, client, id).await? - before) / elapsed, share(0)?, share(1)?])
}

/// Opens the streams; they are read until the set is dropped.
async fn watch(server: &Server, id: &str, events: &Arc<AtomicU64>) -> Result<JoinSet<()>> {
    let addr = server.url.trim_start_matches("http://").to_owned();
    let mut streams = JoinSet::new();
    for _ in 0..STREAMS {
        let mut socket = TcpStream::connect(&addr).await?;
        let head = format!("GET /v1/jobs/{id}/events HTTP/1.1\r\nhost: {addr}\r\n\r\n");
        socket.write_all(head.as_bytes()).await?;
        let events = Arc::clone(events);
        streams.spawn(async move {
            let mut chunk = vec![0; 16 << 10];
            while let Ok(bytes) = socket.read(&mut chunk).await
                && bytes > 0
            {
                events.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    // The snapshots and the events so far are not part of the measurement.
    tokio::time::sleep(Duration::from_secs(2)).await;
    Ok(streams)
}

async fn run() -> Result<()> {
    let server = Server::start().await?;
    let client = reqwest::Client::new();
    let asset = server.upload(&client, kiln::sample_scenes::knot(270_000)).await?;
    let job = server.submit(&client, &server::endless(&asset)).await?;
    let id = job["id"].as_str().context("a job has an id")?;
    while server.job(&client, id).await?["progress"]["fraction"].as_f64() <= Some(0.0) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let events = Arc::new(AtomicU64::new(0));
    let (mut alone, mut watched) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        alone.push(window(&server, &client, id, false).await?);
        let streams = watch(&server, id, &events).await?;
        let before = events.load(Ordering::Relaxed);
        watched.push(window(&server, &client, id, true).await?);
        let rate = (events.load(Ordering::Relaxed) - before) as f64 / WINDOW.as_secs_f64();
        ensure!(streams.len() == STREAMS, "a stream ended early");
        println!(
            "alone {:.3e}/s, watched {:.3e}/s; {rate:.0} events a second",
            alone[alone.len() - 1][0],
            watched[watched.len() - 1][0]
        );
        drop(streams);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let mean =
        |windows: &[[f64; 3]], i: usize| windows.iter().map(|window| window[i]).sum::<f64>() / windows.len() as f64;
    let [server_share, clients_share] = [1, 2].map(|i| mean(&watched, i) - mean(&alone, i));
    let slower = 1.0 - mean(&watched, 0) / mean(&alone, 0);
    println!(
        "{STREAMS} event streams and {POLLS_PER_SECOND} polls a second took {:.1} % of the processors in the server and {:.1} % in the clients; the render was {:.1} % slower",
        server_share * 100.0,
        clients_share * 100.0,
        slower * 100.0
    );
    let cost = (server_share + clients_share).max(slower);
    ensure!(cost < COST_MAX, "that is more than the {:.0} % that they may cost", COST_MAX * 100.0);
    Ok(())
}

/// Each stream takes a file descriptor here, too.
fn raise_open_files() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        let current = maximum.map_or(Some(4096), |hard| Some(hard.min(4096)));
        // Where that fails, connecting does, and says so.
        let _ = setrlimit(Resource::Nofile, Rlimit { current, maximum });
    }
}

fn main() -> Result<()> {
    // `cargo test --benches` runs this binary too: measuring is only for `cargo bench`.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    raise_open_files();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run())
}
