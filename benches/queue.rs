//! What the queue costs with ten thousand jobs in it: `cargo bench --bench queue`.
//!
//! Prints the median and the 99th percentile of every call that a client or a worker waits for, on the disk that the system's
//! temporary folder is on, beside what the design allows. Eight clients submit at once, as a server sees them; the rest is asked one
//! by one.

use futures::stream::{FuturesUnordered, StreamExt};
use kiln::job::spec::AssetRef;
use kiln::job::{JobId, JobSpec, JobState, Priority, SceneSpec};
use kiln::limits::LEASE_MS;
use kiln::store::sqlite::SqliteStore;
use kiln::store::{AttemptEnd, ClaimWant, JobStore, ListFilter, NewJob, Submitted};
use std::time::{Duration, Instant};

/// Queued jobs.
const JOBS: usize = 10_000;
/// Clients that they are of.
const CLIENTS: usize = 40;
/// Times that each call is measured.
const ROUNDS: usize = 1_000;
/// Submits that are on their way at once.
const SUBMITTERS: usize = 8;

fn new_job(number: usize) -> NewJob {
    let mut scene = SceneSpec::new(AssetRef::from_sha256(&format!("{:064x}", number % 50)));
    scene.options.priority = [Priority::Interactive, Priority::Normal, Priority::Normal, Priority::Batch][number % 4];
    let new = NewJob::new(JobId::now_v7(), format!("client {}", number * 7 % CLIENTS), JobSpec::Scene(scene));
    NewJob { cost_seconds: 0.5 + (number % 13) as f64, ..new }
}

/// Submits jobs, a number of them at a time; how long each took.
async fn submit(store: &SqliteStore, numbers: std::ops::Range<usize>, at_once: usize) -> (Vec<Duration>, Vec<JobId>) {
    let one = async |number| {
        let begin = Instant::now();
        match store.submit(new_job(number)).await.expect("the store takes it") {
            Submitted::Created(job) => (begin.elapsed(), job.id),
            other => panic!("{other:?}"),
        }
    };
    let mut numbers = numbers;
    let mut running: FuturesUnordered<_> = numbers.by_ref().take(at_once).map(one).collect();
    let (mut times, mut ids) = (Vec::new(), Vec::new());
    while let Some((time, id)) = running.next().await {
        times.push(time);
        ids.push(id);
        running.extend(numbers.next().map(one));
    }
    (times, ids)
}

/// Prints one line of the table.
fn report(what: &str, allowed: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    println!("{what:<44} {:>9.2} ms {:>9.2} ms   {allowed}", at(0.5), at(0.99));
}

async fn measure<T>(rounds: usize, mut call: impl AsyncFnMut(usize) -> T) -> Vec<Duration> {
    let mut times = Vec::with_capacity(rounds);
    for round in 0..rounds {
        let begin = Instant::now();
        call(round).await;
        times.push(begin.elapsed());
    }
    times
}

/// Resident memory of this process in megabytes; 0 where the system does not say.
fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    // `cargo test` runs benches too, to see that they still work; that is no time to measure.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let dir = tempfile::tempdir().expect("there is a temporary folder");
    let store = SqliteStore::open(dir.path()).await.expect("the store opens");
    let begin = Instant::now();
    let (_, ids) = submit(&store, 0..JOBS, 64).await;
    let rate = JOBS as f64 / begin.elapsed().as_secs_f64();
    println!("{JOBS} jobs of {CLIENTS} clients in the queue; 64 submits at once: {rate:.0} a second\n");
    println!("{:<44} {:>12} {:>12}   allowed", "", "median", "99 %");

    let (times, _) = submit(&store, JOBS..JOBS + 2 * ROUNDS, SUBMITTERS).await;
    report("submit, 8 at once", "20 ms", times);
    let pick = |round: usize| ids[(round * 7_919) % ids.len()];
    let want = ClaimWant::default();
    let mut claims = Vec::new();
    let times = measure(ROUNDS, async |_| {
        claims.push(store.claim("bench", LEASE_MS, &want).await.expect("the store answers").expect("much is queued"));
    });
    report("claim", "5 ms", times.await);
    let times = measure(ROUNDS, async |round| {
        store.commit(&claims[round], AttemptEnd::Released, None).await.expect("the store answers");
    });
    report("put back", "", times.await);
    let scene = claims[0].spec.assets()[0].0.clone();
    let resident = ClaimWant { resident: vec![scene], better_than: None };
    let times = measure(ROUNDS, async |_| store.claim("bench", LEASE_MS, &resident).await.expect("the store answers"));
    report("claim, with a scene preferred", "5 ms", times.await);
    report("position", "20 ms", measure(ROUNDS, async |round| store.position(pick(round)).await.unwrap()).await);
    report(
        "position and GPU seconds ahead",
        "20 ms",
        measure(ROUNDS, async |round| store.ahead(pick(round)).await.unwrap()).await,
    );
    let page = ListFilter { limit: 50, state: Some(JobState::Queued), ..ListFilter::default() };
    report("list of 50", "20 ms", measure(ROUNDS / 4, async |_| store.list(page.clone()).await.unwrap()).await);
    report(
        "positions of 50",
        "20 ms",
        measure(ROUNDS / 4, async |_| store.ahead_of_all(&ids[..50]).await.unwrap()).await,
    );
    report("job", "", measure(ROUNDS, async |round| store.job(pick(round)).await.unwrap()).await);
    report("overview", "", measure(ROUNDS / 4, async |_| store.queue().await.unwrap()).await);
    println!("\nmemory {} MB (200 MB allowed for the whole server)", resident_mb());

    store.close().await;
    let begin = Instant::now();
    let store = SqliteStore::open(dir.path()).await.expect("the store opens again");
    let opened = begin.elapsed();
    let rescued = store.rescue(true).await.expect("the store answers").len();
    let open = format!(
        "open {:.0} ms, rescue of {rescued} running tasks {:.0} ms",
        opened.as_secs_f64() * 1e3,
        (begin.elapsed() - opened).as_secs_f64() * 1e3
    );
    println!("{open} (2,000 ms allowed)");
}
