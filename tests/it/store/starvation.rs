//! Adversarial load through the real order of claims, in simulated time: nobody starves, and the bounds that [`kiln::store`] states
//! hold. One GPU serves clients that never run out of jobs, of all classes and lengths, with estimates that are right or wrong;
//! interactive jobs put others aside, as the dispatcher does.

use super::*;

/// A client that always has jobs queued.
#[derive(Debug, Clone)]
struct Load {
    client: String,
    priority: Priority,
    /// GPU seconds that its jobs take, and that they are said to take.
    seconds: f64,
    estimate: f64,
    weight: f64,
    /// Jobs that it has queued at any time.
    backlog: usize,
}

/// A stretch of GPU time that a task got.
#[derive(Debug, Clone)]
struct Served {
    load: usize,
    begin_ms: i64,
    seconds: f64,
    /// It was not put aside.
    to_the_end: bool,
}

struct Simulation {
    bench: Bench,
    loads: Vec<Load>,
    now_ms: i64,
    served: Vec<Served>,
    /// GPU seconds that each job still needs.
    left: std::collections::HashMap<JobId, (usize, f64)>,
}

impl Simulation {
    async fn new(loads: Vec<Load>) -> Self {
        let bench = Bench::sqlite().await;
        for load in &loads {
            let limits = ClientLimits { weight: load.weight, ..ClientLimits::default() };
            bench.store().set_client_limits(&load.client, limits).await.unwrap();
        }
        let mut simulation = Self { bench, loads, now_ms: 0, served: Vec::new(), left: Default::default() };
        for load in 0..simulation.loads.len() {
            for _ in 0..simulation.loads[load].backlog {
                simulation.submit(load).await;
            }
        }
        simulation
    }

    async fn submit(&mut self, load: usize) {
        let Load { client, priority, seconds, estimate, .. } = self.loads[load].clone();
        let new = NewJob { cost_seconds: estimate, ..job_of(&client, spec(priority)) };
        self.left.insert(new.id, (load, seconds));
        self.bench.submit_new(new).await;
    }

    fn advance(&mut self, seconds: f64) {
        let ms = (seconds * 1000.0) as i64;
        self.now_ms += ms;
        self.bench.clock.advance_ms(ms);
    }

    /// Claims and runs until this many tasks have come to their end.
    async fn run(&mut self, tasks: usize) {
        let mut ended = 0;
        // Tasks that were put aside are in the queue again; the one on the GPU is the last that was claimed.
        let mut next = None;
        while ended < tasks {
            let claim = match next.take() {
                Some(claim) => claim,
                None => self.bench.claim_next().await,
            };
            let (load, left) = self.left[&claim.job];
            let begin_ms = self.now_ms;
            // Half way through somebody looks whether there is something more urgent.
            self.advance(left / 2.0);
            let urgent = match claim.priority {
                Priority::Interactive => None,
                class => {
                    let want = ClaimWant { better_than: Some(class), ..ClaimWant::default() };
                    self.bench.store().claim("worker", LEASE_MS, &want).await.unwrap()
                }
            };
            let to_the_end = urgent.is_none();
            let seconds = if to_the_end { left } else { left / 2.0 };
            if to_the_end {
                self.advance(left / 2.0);
            }
            self.bench.use_gpu(&claim, seconds).await;
            if to_the_end {
                self.bench.end(&claim, success(claim.job)).await;
                self.left.remove(&claim.job);
                self.submit(load).await;
                ended += 1;
            } else {
                self.bench.end(&claim, AttemptEnd::Preempted { checkpoint: Some("checkpoints/x".into()) }).await;
                self.left.insert(claim.job, (load, left - seconds));
            }
            self.served.push(Served { load, begin_ms, seconds, to_the_end });
            next = urgent;
        }
    }

    fn longest(&self) -> f64 {
        self.loads.iter().map(|load| load.seconds.max(load.estimate)).fold(0.0, f64::max)
    }

    /// A class that has something queued is served undisturbed at least once in its ageing period, and the few tasks that may be in
    /// front of it then.
    fn check_classes(&self, what: &str) {
        for (class, period_ms) in [(Priority::Normal, AGEING_NORMAL_MS), (Priority::Batch, AGEING_BATCH_MS)] {
            if !self.loads.iter().any(|load| load.priority == class) {
                continue;
            }
            let bound_ms = period_ms + (3.0 * self.longest() * 1000.0) as i64;
            let mut last_ms = 0;
            let served =
                self.served.iter().filter(|served| served.to_the_end && self.loads[served.load].priority == class);
            for begin_ms in served.map(|served| served.begin_ms).chain([self.now_ms]) {
                let wait_ms = begin_ms - last_ms;
                assert!(wait_ms <= bound_ms, "{what}: {class:?} waited {wait_ms} ms, the bound is {bound_ms} ms");
                last_ms = begin_ms;
            }
        }
    }

    /// Clients of one class get GPU seconds in the ratio of their weights, but for one task of each (Goyal et al. 1996, theorem 1),
    /// whose length counts as the larger of what it took and what it was said to.
    fn check_clients(&self, what: &str) {
        let mut used = vec![0.0; self.loads.len()];
        for served in &self.served {
            used[served.load] += served.seconds / self.loads[served.load].weight;
            for (a, load_a) in self.loads.iter().enumerate() {
                for (b, load_b) in self.loads.iter().enumerate().skip(a + 1) {
                    if load_a.priority != load_b.priority {
                        continue;
                    }
                    let task = |load: &Load| (load.seconds + load.estimate) / load.weight;
                    let (apart, bound) = (f64::abs(used[a] - used[b]), task(load_a) + task(load_b));
                    assert!(
                        apart <= bound,
                        "{what}: {} and {} are {apart} s apart, the bound is {bound} s",
                        load_a.client,
                        load_b.client
                    );
                }
            }
        }
    }
}

/// A client with right estimates.
fn honest(client: &str, priority: Priority, seconds: f64) -> Load {
    Load { client: client.into(), priority, seconds, estimate: seconds, weight: 1.0, backlog: 3 }
}

#[tokio::test]
async fn an_endless_stream_of_interactive_jobs_starves_nobody() {
    let loads = vec![
        honest("urgent", Priority::Interactive, 20.0),
        honest("more urgent", Priority::Interactive, 5.0),
        honest("plain", Priority::Normal, 45.0),
        honest("patient", Priority::Batch, 60.0),
    ];
    let mut simulation = Simulation::new(loads).await;
    simulation.run(160).await;
    simulation.check_classes("a flood");
    simulation.check_clients("a flood");
    for (load, Load { client, .. }) in simulation.loads.iter().enumerate() {
        assert!(
            simulation.served.iter().any(|served| served.load == load && served.to_the_end),
            "{client} never got a task done"
        );
    }
}

#[tokio::test]
async fn a_client_with_a_thousand_jobs_does_not_keep_a_client_with_one_waiting() {
    let mut simulation = Simulation::new(vec![Load { backlog: 400, ..honest("many", Priority::Normal, 10.0) }]).await;
    simulation.run(3).await;
    simulation.loads.push(honest("one", Priority::Normal, 30.0));
    simulation.submit(1).await;
    simulation.run(3).await;
    assert!(simulation.served[3..].iter().any(|served| served.load == 1), "{:?}", &simulation.served[3..]);
}

#[tokio::test]
async fn a_class_that_comes_late_is_let_in_within_the_bound() {
    let mut simulation = Simulation::new(vec![honest("urgent", Priority::Interactive, 7.0)]).await;
    simulation.run(100).await;
    simulation.loads.push(honest("late", Priority::Batch, 30.0));
    let came_ms = simulation.now_ms;
    simulation.submit(1).await;
    simulation.run(60).await;
    let first = simulation.served.iter().find(|served| served.load == 1).expect("it got its turn");
    let bound_ms = AGEING_BATCH_MS + 30_000;
    assert!(first.begin_ms - came_ms <= bound_ms, "it waited {} ms", first.begin_ms - came_ms);
}

#[tokio::test]
async fn random_mixes_keep_the_bounds() {
    let seed = std::env::var("KILN_MIX_SEED")
        .ok()
        .map_or_else(|| JobId::now_v7().as_u128() as u64 | 1, |text| text.parse().unwrap());
    let mut random = random(seed);
    for mix in 0..6 {
        let count = 2 + random() % 5;
        let loads: Vec<Load> = (0..count)
            .map(|client| {
                let priority = [Priority::Interactive, Priority::Normal, Priority::Batch][(random() % 3) as usize];
                // From a tenth of a second to two minutes, mostly short.
                let seconds = (0.1 * 1.5_f64.powi((random() % 18) as i32)).min(120.0);
                // Right, or wrong by up to four times in either direction.
                let wrong = [1.0, 1.0, 4.0, 0.25][(random() % 4) as usize];
                let weight = [1.0, 1.0, 2.0, 0.5][(random() % 4) as usize];
                let backlog = 1 + (random() % 12) as usize;
                Load {
                    client: format!("client {client}"),
                    priority,
                    seconds,
                    estimate: seconds * wrong,
                    weight,
                    backlog,
                }
            })
            .collect();
        let what = format!("KILN_MIX_SEED={seed}, mix {mix}, {loads:?}");
        let mut simulation = Simulation::new(loads).await;
        simulation.run(120).await;
        simulation.check_classes(&what);
        simulation.check_clients(&what);
    }
}
