//! Random operations, compared after every step with a [`reference`] in memory, over a clock that is moved forwards and back.
//!
//! A failure prints the seed, and the shortest sequence of operations that still shows it. `KILN_MODEL_SEQUENCES` says how many
//! sequences are run (2,000 where it does not), `KILN_MODEL_SEED` which (a new one each time where it does not).

mod reference;

use super::*;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, RngSeed, TestRunner};
use reference::{CLIENTS, Model, RUNNING_MAX, WEIGHTS, output_of};

/// Longer than any case runs, so that a lease ends when the model says so and not before.
const LEASE: i64 = 3_600_000;
/// After which a job with a deadline expires.
const DEADLINE_MS: i64 = 1_800_000;

/// How near to the moment of a failure it is not clear whether its task is due: the longest delay, and what really passes beside.
const UNCLEAR_MS: i64 = RETRY_DELAY_MS_MAX + 5_000;

/// How a worker ends an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    Succeeded,
    Cancelled,
    Released,
    Preempted(Option<String>),
    Failed(FailureReason),
}

#[derive(Debug, Clone)]
struct NewStep {
    client: usize,
    priority: Priority,
    cost_seconds: u32,
    /// 1: a still.
    frames: u32,
    assembled: bool,
    content: Option<u8>,
    deadline: bool,
}

/// Numbers choose among what is there at that moment, modulo how many there are.
#[derive(Debug, Clone)]
enum Step {
    Submit(NewStep),
    SubmitAgain(usize),
    Claim(Option<Priority>),
    Heartbeat(usize, u32),
    Checkpoint(usize),
    Commit(usize, End),
    Cancel(usize),
    Retry(usize),
    Patch(usize, Priority),
    Extend(usize, u32),
    Delete(usize),
    Log(usize),
    Rescue,
    Restart,
    Expire,
    SetMode(QueueMode),
    LeasesRunOut,
    AClassWaits,
    ClockGoesBack,
    Purge,
}

fn any_priority() -> impl Strategy<Value = Priority> {
    prop::sample::select(vec![Priority::Interactive, Priority::Normal, Priority::Batch])
}

fn any_new() -> impl Strategy<Value = NewStep> {
    let content = prop_oneof![2 => Just(None), 1 => (0..2_u8).prop_map(Some)];
    let frames = prop_oneof![3 => Just(1), 1 => 2..4_u32];
    (0..CLIENTS.len(), any_priority(), 1..8_u32, frames, any::<bool>(), content, prop::bool::weighted(0.2)).prop_map(
        |(client, priority, cost_seconds, frames, assembled, content, deadline)| NewStep {
            client,
            priority,
            cost_seconds,
            frames,
            assembled,
            content,
            deadline,
        },
    )
}

fn any_end() -> impl Strategy<Value = End> {
    use FailureReason::*;
    prop_oneof![
        5 => Just(End::Succeeded),
        1 => Just(End::Cancelled),
        1 => Just(End::Released),
        1 => prop::option::of(Just("checkpoints/preempted".to_owned())).prop_map(End::Preempted),
        3 => prop::sample::select(vec![InvalidScene, DeviceLost, WorkerLost]).prop_map(End::Failed),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    let mode = prop::sample::select(vec![QueueMode::Open, QueueMode::Open, QueueMode::Paused, QueueMode::Draining]);
    prop_oneof![
        8 => any_new().prop_map(Step::Submit),
        1 => any::<usize>().prop_map(Step::SubmitAgain),
        10 => prop::option::weighted(0.2, any_priority()).prop_map(Step::Claim),
        3 => (any::<usize>(), 0..6_u32).prop_map(|(claim, seconds)| Step::Heartbeat(claim, seconds)),
        1 => any::<usize>().prop_map(Step::Checkpoint),
        10 => (any::<usize>(), any_end()).prop_map(|(claim, end)| Step::Commit(claim, end)),
        2 => any::<usize>().prop_map(Step::Cancel),
        2 => any::<usize>().prop_map(Step::Retry),
        2 => (any::<usize>(), any_priority()).prop_map(|(job, priority)| Step::Patch(job, priority)),
        1 => (any::<usize>(), 1..9_u32).prop_map(|(job, cost)| Step::Extend(job, cost)),
        1 => any::<usize>().prop_map(Step::Delete),
        1 => any::<usize>().prop_map(Step::Log),
        1 => Just(Step::Rescue),
        1 => Just(Step::Restart),
        1 => Just(Step::Expire),
        1 => mode.prop_map(Step::SetMode),
        1 => Just(Step::LeasesRunOut),
        2 => Just(Step::AClassWaits),
        1 => Just(Step::ClockGoesBack),
        1 => Just(Step::Purge),
    ]
}

fn attempt_end(claim: &Claim, end: &End) -> AttemptEnd {
    match end {
        End::Succeeded => {
            let (name, blob) = output_of(claim);
            AttemptEnd::Succeeded { outputs: vec![output(&name, &blob)], report: serde_json::Value::Null }
        }
        End::Cancelled => AttemptEnd::Cancelled,
        End::Released => AttemptEnd::Released,
        End::Preempted(checkpoint) => AttemptEnd::Preempted { checkpoint: checkpoint.clone() },
        End::Failed(reason) => failed(*reason),
    }
}

impl Model {
    fn pick(&self, choice: usize) -> Option<usize> {
        (!self.jobs.is_empty()).then(|| choice % self.jobs.len())
    }

    fn pick_claim(&self, choice: usize) -> Option<Claim> {
        self.claims.get(choice % self.claims.len().max(1)).cloned()
    }

    /// Moves the clock on, and has the store look at it.
    async fn advance(&mut self, bench: &Bench, mut ms: i64) {
        // Where the clock comes back to a moment at which a task that waits after a failure may be due or not, it goes on past it.
        let unclear =
            |wall_ms: i64| self.delays_began_ms.iter().any(|began_ms| (wall_ms - began_ms).abs() <= UNCLEAR_MS);
        while unclear(self.wall_ms + ms) {
            ms += UNCLEAR_MS;
        }
        bench.clock.advance_ms(ms);
        self.now_ms += ms.max(0);
        self.wall_ms += ms;
        bench.store().put_model("model", "{}".into()).await.unwrap();
    }

    /// What was put back just now becomes due.
    async fn wait_for_retries(&mut self, bench: &Bench) {
        self.delays_began_ms.push(self.wall_ms);
        self.advance(bench, RETRY_DELAY_MS_MAX).await;
    }

    async fn step(&mut self, bench: &mut Bench, step: Step) {
        self.do_step(bench, step).await;
        self.note_waiting();
    }

    async fn do_step(&mut self, bench: &mut Bench, step: Step) {
        match step {
            Step::Submit(step) => self.submit_step(bench, step).await,
            Step::SubmitAgain(choice) => {
                let Some(at) = self.pick(choice) else { return };
                let job = &self.jobs[at];
                // A job that was changed or extended is still known by what was asked for first, which the model does not keep.
                let new = NewJob { id: job.id, ..job_of(CLIENTS[job.client], job.spec.clone()) };
                let answer = bench.store().submit(new).await.unwrap();
                let found = matches!(&answer, Submitted::Existing(found) if found.id == job.id);
                assert!(found || matches!(&answer, Submitted::Conflict(id) if *id == job.id), "{answer:?}");
            }
            Step::Claim(better_than) => self.claim_step(bench, better_than).await,
            Step::Heartbeat(choice, seconds) => {
                let Some(claim) = self.pick_claim(choice) else { return };
                let progress =
                    Progress { phase: Phase::Rendering, gpu_seconds: f64::from(seconds), ..Progress::default() };
                let lease = bench.store().heartbeat(&claim, progress, LEASE).await.unwrap();
                let expected = match self.held(&claim) {
                    None => LeaseState::Lost,
                    Some((at, index)) => {
                        self.heartbeat(at, index, i64::from(seconds) * 1_000_000);
                        if self.jobs[at].cancel_requested { LeaseState::CancelRequested } else { LeaseState::Held }
                    }
                };
                assert_eq!(lease, expected);
            }
            Step::Checkpoint(choice) => {
                let Some(claim) = self.pick_claim(choice) else { return };
                let key = format!("checkpoints/{}/{}", claim.job, claim.fence);
                let answer = bench.store().checkpoint(&claim, &key, 10).await.unwrap();
                let expected = match self.held(&claim) {
                    None => Checkpointed::Stale,
                    Some((at, index)) => {
                        let replaced = self.jobs[at].tasks[index].checkpoint.replace(key.clone());
                        Checkpointed::Recorded { replaced: replaced.filter(|replaced| *replaced != key) }
                    }
                };
                assert_eq!(answer, expected);
            }
            Step::Commit(choice, end) => {
                let Some(claim) = self.pick_claim(choice) else { return };
                let committed = bench.store().commit(&claim, attempt_end(&claim, &end), None).await.unwrap();
                assert_eq!(matches!(committed, Committed::Done(_)), self.commit(&claim, &end), "{claim:?}");
                // Lets the delay of a retry pass, of which the model knows only the bound.
                if matches!(end, End::Failed(_)) {
                    self.note_waiting();
                    self.wait_for_retries(bench).await;
                }
            }
            Step::Cancel(choice) => {
                let Some(at) = self.pick(choice) else { return };
                let answer = bench.store().cancel(self.jobs[at].id).await.unwrap().unwrap();
                match (self.jobs[at].state, answer) {
                    (JobState::Queued, Cancelled::Now(_)) | (JobState::Running, Cancelled::Requested(_)) => {
                        self.cancel(at)
                    }
                    (state, Cancelled::AlreadyEnded(_)) if state.is_terminal() => {}
                    (state, answer) => panic!("a cancel in state {state:?} was answered {answer:?}"),
                }
            }
            Step::Retry(choice) => {
                let Some(at) = self.pick(choice) else { return };
                let answer = bench.store().retry(self.jobs[at].id).await;
                let may = matches!(self.jobs[at].state, JobState::Failed | JobState::Cancelled | JobState::Expired);
                match answer {
                    Err(StoreError::Draining) => assert!(may && self.mode == QueueMode::Draining),
                    answer => {
                        assert_eq!(answer.unwrap().unwrap().is_ok(), may);
                        if may {
                            self.again(at, false);
                        }
                    }
                }
            }
            Step::Patch(choice, priority) => {
                let Some(at) = self.pick(choice) else { return };
                let patch = JobPatch { priority: Some(priority), ..JobPatch::default() };
                let answer = bench.store().patch(self.jobs[at].id, patch).await.unwrap().unwrap();
                let may = self.jobs[at].state == JobState::Queued && !self.jobs[at].started;
                assert_eq!(answer.is_ok(), may);
                if may {
                    self.patch(at, priority);
                }
            }
            Step::Extend(choice, cost_seconds) => self.extend_step(bench, choice, cost_seconds).await,
            Step::Delete(choice) => {
                let Some(at) = self.pick(choice) else { return };
                let job = self.jobs[at].clone();
                match bench.store().delete(job.id).await.unwrap().unwrap() {
                    Ok(mut blobs) => {
                        assert!(job.state.is_terminal());
                        let mut own = self.blobs_of_alone(at);
                        blobs.sort();
                        own.sort();
                        assert_eq!(blobs, own);
                        self.jobs.remove(at);
                    }
                    Err(_) => assert!(!job.state.is_terminal()),
                }
            }
            Step::Log(choice) => {
                let Some(at) = self.pick(choice) else { return };
                bench.store().log(self.jobs[at].id, "a line".into()).await.unwrap();
                self.jobs[at].events.push("log");
            }
            Step::Rescue => self.rescue_step(bench, false).await,
            Step::Restart => {
                bench.restart().await;
                self.rescue_step(bench, true).await;
            }
            Step::Expire => assert_eq!(bench.store().expire_due().await.unwrap(), self.expire_due()),
            Step::SetMode(mode) => {
                bench.store().set_queue_mode(mode).await.unwrap();
                self.set_mode(mode);
            }
            Step::LeasesRunOut => {
                self.advance(bench, LEASE + 1).await;
                let tasks = self.jobs.iter_mut().flat_map(|job| &mut job.tasks);
                tasks.for_each(|task| task.lease_ran_out = task.state == JobState::Running);
            }
            Step::AClassWaits => self.advance(bench, AGEING_NORMAL_MS / 2 + 1).await,
            Step::ClockGoesBack => self.advance(bench, -3_600_000).await,
            Step::Purge => {
                let retention = Retention { jobs_age_ms: Some(-LEASE), ..Retention::default() };
                let mut purged = bench.store().purge(&retention).await.unwrap().jobs;
                let mut ended: Vec<JobId> =
                    self.jobs.iter().filter(|job| job.state.is_terminal()).map(|job| job.id).collect();
                purged.sort_unstable();
                ended.sort_unstable();
                // What ended before the clock went back lies further in the future than this looks.
                assert!(purged.iter().all(|id| ended.contains(id)), "only what has ended is forgotten");
                for id in purged {
                    assert!(bench.store().purged(id).await.unwrap());
                    self.jobs.retain(|job| job.id != id);
                }
            }
        }
    }

    async fn submit_step(&mut self, bench: &Bench, step: NewStep) {
        let mut new = if step.frames == 1 {
            new_job(spec(step.priority))
        } else {
            let mut new = new_job(turntable(step.frames, step.assembled));
            new.spec.set_priority(step.priority);
            new
        };
        new.client = CLIENTS[step.client].into();
        new.cost_seconds = f64::from(step.cost_seconds);
        // Jobs of one content are alike in their frames too.
        new.content =
            step.content.map(|content| [content | (step.frames as u8) << 4 | u8::from(step.assembled) << 7; 32]);
        if step.deadline {
            new.spec.options_mut().start_before_ms = Some(bench.store().now_ms() + DEADLINE_MS);
        }
        match bench.store().submit(new.clone()).await {
            Ok(Submitted::Created(_)) => self.submit(&new),
            Err(StoreError::Draining) => assert_eq!(self.mode, QueueMode::Draining),
            other => panic!("{other:?}"),
        }
    }

    async fn claim_step(&mut self, bench: &Bench, better_than: Option<Priority>) {
        let want = ClaimWant { better_than, ..ClaimWant::default() };
        let claim = bench.store().claim("worker", LEASE, &want).await.unwrap();
        let expected = self.next_claim(better_than);
        let Some(claim) = claim else {
            assert_eq!(expected, None, "nothing was claimed");
            return;
        };
        let (at, index, as_class) = expected.unwrap_or_else(|| panic!("nothing should be claimed, and {claim:?} was"));
        assert_eq!((claim.job, claim.task as usize), (self.jobs[at].id, index), "the best task is claimed");
        self.take((at, index, as_class));
        let (job, task) = (&self.jobs[at], &self.jobs[at].tasks[index]);
        let found = (claim.attempt, claim.fence, claim.deaths, claim.kind, claim.priority as usize, &claim.checkpoint);
        assert_eq!(found, (task.attempt, task.fence, task.deaths, task.kind, as_class, &task.checkpoint));
        assert_eq!((&claim.spec, claim.client.as_str()), (&job.spec, CLIENTS[job.client]));
        self.claims.push(claim);
    }

    async fn extend_step(&mut self, bench: &Bench, choice: usize, cost_seconds: u32) {
        let Some(at) = self.pick(choice) else { return };
        let job = &self.jobs[at];
        let JobSpec::Scene(scene) = &job.spec else { panic!("the model knows scenes only") };
        let extension = Extension { samples: scene.samples + 1, cost_seconds: f64::from(cost_seconds), content: None };
        let may = job.state == JobState::Succeeded;
        match bench.store().extend(job.id, extension.clone()).await {
            Err(StoreError::Draining) => assert!(may && self.mode == QueueMode::Draining),
            answer => {
                assert_eq!(answer.unwrap().unwrap().is_ok(), may);
                if may {
                    self.jobs[at].spec = job.spec.with_more_samples(extension.samples).unwrap();
                    self.jobs[at].content = None;
                    self.set_cost(at, i64::from(cost_seconds) * 1_000_000);
                    self.again(at, true);
                }
            }
        }
    }

    async fn rescue_step(&mut self, bench: &Bench, restart: bool) {
        let rescued = bench.store().rescue(restart).await.unwrap();
        assert_eq!(rescued, self.rescue(restart));
        self.note_waiting();
        self.wait_for_retries(bench).await;
    }

    /// Blobs that only this job names.
    fn blobs_of_alone(&self, at: usize) -> Vec<String> {
        let named = |job: &reference::Reference| -> Vec<String> {
            let outputs = job.outputs.iter().map(|(_, blob)| blob.clone());
            outputs.chain(job.tasks.iter().filter_map(|task| task.checkpoint.clone())).collect()
        };
        let mut own = named(&self.jobs[at]);
        own.sort();
        own.dedup();
        let others = self.jobs.iter().enumerate().filter(|(other, _)| *other != at);
        let others: Vec<String> = others.flat_map(|(_, job)| named(job)).collect();
        own.retain(|blob| !others.contains(blob));
        own
    }

    /// What a list shows, after every step.
    async fn compare(&self, bench: &Bench) {
        let list = bench.store().list(ListFilter { limit: 200, ..ListFilter::default() }).await.unwrap();
        assert_eq!(list.len(), self.jobs.len());
        for found in list {
            let at = self.at(found.id).expect("only what was submitted is there");
            let job = &self.jobs[at];
            let seen =
                (found.state, found.attempt, found.cancel_requested, found.outputs.len(), found.cached, found.priority);
            assert_eq!(
                seen,
                (job.state, job.attempt(), job.cancel_requested, job.outputs.len(), job.cached, job.priority)
            );
            assert_eq!(found.error.map(|error| error.reason), job.reason);
            assert_eq!(found.ended_ms.is_some(), job.state.is_terminal());
            assert_eq!(found.follows, self.follows(at));
            assert_eq!((found.tasks.total as usize, found.tasks.succeeded), (job.tasks.len(), job.succeeded()));
            assert_eq!((found.progress.gpu_seconds * 1e6).round() as i64, job.gpu_us());
        }
        let count = |state| self.jobs.iter().filter(|job| job.state == state).count() as u64;
        assert_eq!(bench.store().counts().await.unwrap(), (count(JobState::Queued), count(JobState::Running)));
    }

    /// Everything else that can be seen from outside; sequences end anywhere, so that it is seen in every state.
    async fn compare_whole(&self, bench: &Bench) {
        let ids: Vec<JobId> = self.jobs.iter().map(|job| job.id).collect();
        let ahead = bench.store().ahead_of_all(&ids).await.unwrap();
        for (at, job) in self.jobs.iter().enumerate() {
            assert_eq!(bench.events(job.id).await, job.events);
            let position = self.position(at);
            assert_eq!(bench.store().position(job.id).await.unwrap(), position, "the position of {:?}", job.id);
            assert_eq!(ahead[at], bench.store().ahead(job.id).await.unwrap());
            assert_eq!(ahead[at].map(|ahead| ahead.tasks), (job.state == JobState::Queued).then_some(position));
        }
    }

    /// Leaves the store empty for the next case: opening one costs more than a case.
    async fn clear(&mut self, bench: &mut Bench) {
        for choice in 0..self.jobs.len() {
            self.step(bench, Step::Cancel(choice)).await;
        }
        self.rescue_step(bench, true).await;
        while !self.jobs.is_empty() {
            self.step(bench, Step::Cancel(0)).await;
            self.step(bench, Step::Delete(0)).await;
        }
        self.step(bench, Step::SetMode(QueueMode::Open)).await;
        self.claims.clear();
        self.delays_began_ms.clear();
        assert_eq!(bench.store().counts().await.unwrap(), (0, 0));
        assert!(bench.store().blob_keys().await.unwrap().is_empty());
    }
}

async fn bench_of_clients() -> Bench {
    // What is not waited for in a model are fsyncs.
    let memory = std::path::Path::new("/dev/shm");
    let bench = if memory.is_dir() { Bench::sqlite_in(memory).await } else { Bench::sqlite().await };
    for (client, name) in CLIENTS.iter().enumerate() {
        let tasks_running_max = (RUNNING_MAX[client] < usize::MAX).then_some(RUNNING_MAX[client] as u32);
        let limits = ClientLimits { weight: WEIGHTS[client], tasks_running_max, jobs_queued_max: None };
        bench.store().set_client_limits(name, limits).await.unwrap();
    }
    bench
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

#[test]
fn random_operations_agree_with_the_reference() {
    let cases = setting("KILN_MODEL_SEQUENCES").unwrap_or(2_000) as u32;
    let seed = setting("KILN_MODEL_SEED").unwrap_or_else(|| JobId::now_v7().as_u128() as u64);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let kept = std::cell::RefCell::new(None);
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        rng_algorithm: RngAlgorithm::ChaCha,
        rng_seed: RngSeed::Fixed(seed),
        ..Config::default()
    });
    let steps = prop::collection::vec(any_step(), 1..40);
    let result = runner.run(&steps, |steps| {
        runtime.block_on(async {
            // Taken out, so that a store that a failed case leaves in disorder is not used again.
            let taken = kept.borrow_mut().take();
            let (mut bench, mut model) = match taken {
                Some(kept) => kept,
                None => (bench_of_clients().await, Model::default()),
            };
            for step in steps {
                model.step(&mut bench, step).await;
                model.compare(&bench).await;
            }
            model.compare_whole(&bench).await;
            model.clear(&mut bench).await;
            *kept.borrow_mut() = Some((bench, model));
        });
        Ok(())
    });
    if let Err(error) = result {
        panic!("KILN_MODEL_SEED={seed}: {error}");
    }
}
