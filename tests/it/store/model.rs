//! Random operations, compared after every step with a reference: a plain list of jobs in memory that obeys `queue.md`.
//!
//! A failure prints the shortest sequence of operations that still shows it.

use super::*;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// Longer than any case runs, so that a lease ends when the model says so and not before.
const LEASE: i64 = 3_600_000;

/// Numbers choose among what is there at that moment, modulo how many there are.
#[derive(Debug, Clone, Copy)]
enum Step {
    Submit(Priority),
    SubmitAgain(usize),
    Claim,
    Heartbeat(usize),
    Commit(usize, End),
    Cancel(usize),
    Retry(usize),
    Delete(usize),
    Log(usize),
    Rescue,
    Restart,
    LeasesRunOut,
    RetriesComeDue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Succeeded,
    Cancelled,
    Released,
    Failed(FailureReason),
}

fn any_step() -> impl Strategy<Value = Step> {
    use FailureReason::*;
    let ends = [End::Succeeded, End::Cancelled, End::Released]
        .into_iter()
        .chain([InvalidScene, DeviceLost, WorkerLost, Internal].map(End::Failed));
    let end = prop::sample::select(ends.collect::<Vec<_>>());
    let priority = prop::sample::select(vec![Priority::Interactive, Priority::Normal, Priority::Batch]);
    prop_oneof![
        4 => priority.prop_map(Step::Submit),
        1 => any::<usize>().prop_map(Step::SubmitAgain),
        8 => Just(Step::Claim),
        2 => any::<usize>().prop_map(Step::Heartbeat),
        8 => (any::<usize>(), end).prop_map(|(claim, end)| Step::Commit(claim, end)),
        2 => any::<usize>().prop_map(Step::Cancel),
        2 => any::<usize>().prop_map(Step::Retry),
        1 => any::<usize>().prop_map(Step::Delete),
        1 => any::<usize>().prop_map(Step::Log),
        1 => Just(Step::Rescue),
        1 => Just(Step::Restart),
        1 => Just(Step::LeasesRunOut),
        3 => Just(Step::RetriesComeDue),
    ]
}

/// When a queued job may be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Now,
    /// After a random delay, of which the model knows only that it ends: the job may be due already.
    Later,
}

#[derive(Debug, Clone)]
struct Reference {
    id: JobId,
    spec: JobSpec,
    state: JobState,
    attempt: u32,
    attempts_max: u32,
    deaths: u32,
    fence: i64,
    cancel_requested: bool,
    reason: Option<FailureReason>,
    due: Due,
    lease_ran_out: bool,
    events: Vec<&'static str>,
    outputs: usize,
}

impl Reference {
    fn new(id: JobId, spec: JobSpec) -> Self {
        Self {
            id,
            spec,
            state: JobState::Queued,
            attempt: 0,
            attempts_max: ATTEMPTS_MAX,
            deaths: 0,
            fence: 0,
            cancel_requested: false,
            reason: None,
            due: Due::Now,
            lease_ran_out: false,
            events: vec!["queued"],
            outputs: 0,
        }
    }

    fn become_(&mut self, next: JobState) {
        assert!(self.state.may_become(next), "the reference itself goes from {:?} to {next:?}", self.state);
        self.state = next;
        self.cancel_requested = false;
        if next.is_terminal() {
            self.events.push("ended");
        }
    }

    fn fail(&mut self, reason: FailureReason) {
        self.become_(JobState::Failed);
        self.reason = Some(reason);
    }

    fn requeue(&mut self, due: Due, retrying: bool) {
        self.become_(JobState::Queued);
        self.due = due;
        if retrying {
            self.events.push("retrying");
        }
        self.events.push("queued");
    }

    /// Whether the store takes the commit.
    fn commit(&mut self, claim: &Claim, end: End) -> bool {
        if (self.attempt, self.fence) != (claim.attempt, claim.fence) {
            return false;
        }
        if self.state != JobState::Running {
            return match end {
                End::Succeeded => self.state == JobState::Succeeded,
                End::Cancelled => self.state == JobState::Cancelled,
                End::Failed(_) => self.state == JobState::Failed,
                End::Released => false,
            };
        }
        match end {
            End::Succeeded => {
                self.outputs = 1;
                self.events.push("output");
                self.become_(JobState::Succeeded);
            }
            End::Cancelled => self.become_(JobState::Cancelled),
            End::Failed(FailureReason::InvalidScene) => self.fail(FailureReason::InvalidScene),
            End::Released | End::Failed(_) if self.cancel_requested => self.become_(JobState::Cancelled),
            End::Released => {
                self.attempt -= 1;
                self.requeue(Due::Now, false);
            }
            End::Failed(reason) => {
                self.deaths += u32::from(reason == FailureReason::WorkerLost);
                if self.deaths >= GPU_PROCESS_DEATHS_MAX {
                    self.fail(FailureReason::Quarantined);
                } else if self.attempt >= self.attempts_max {
                    self.fail(reason);
                } else {
                    self.requeue(Due::Later, true);
                }
            }
        }
        true
    }

    fn rescue(&mut self, restart: bool) {
        if restart && self.attempt < ATTEMPTS_WITH_RESTARTS_MAX {
            self.attempts_max += 1;
        }
        if self.cancel_requested {
            self.become_(JobState::Cancelled);
        } else if self.attempt >= self.attempts_max {
            self.fail(FailureReason::WorkerLost);
        } else {
            self.requeue(if restart { Due::Now } else { Due::Later }, true);
        }
    }
}

#[derive(Default)]
struct Model {
    /// In order of arrival.
    jobs: Vec<Reference>,
    /// Every claim that was ever given, the lost ones too.
    claims: Vec<Claim>,
    /// How far the clock was moved, in milliseconds. What really passes beside that is far less than any ageing period.
    now_ms: i64,
    /// Since when each class has waited without a claim.
    waiting_since_ms: [Option<i64>; 3],
}

impl Model {
    fn pick(&mut self, choice: usize) -> Option<&mut Reference> {
        let count = self.jobs.len();
        (count > 0).then(|| &mut self.jobs[choice % count])
    }

    /// Indices of the queued jobs, in the order in which they are claimed.
    fn queue(&self) -> Vec<usize> {
        let mut queue: Vec<usize> =
            (0..self.jobs.len()).filter(|at| self.jobs[*at].state == JobState::Queued).collect();
        queue.sort_by_key(|at| self.jobs[*at].spec.priority());
        queue
    }

    /// Indices of the queued jobs in the order in which they are claimed now: a lower class that was passed over for too long
    /// goes first.
    fn claim_order(&self) -> Vec<usize> {
        let mut queue = self.queue();
        let class = |at: &usize| self.jobs[*at].spec.priority() as usize;
        let Some(best) = queue.first().map(class) else { return queue };
        let overdue = |class: usize| {
            let period_ms = [i64::MAX, AGEING_NORMAL_MS, AGEING_BATCH_MS][class];
            let since = self.waiting_since_ms[class].expect("a class with a queued job waits");
            (class > best && self.now_ms - since >= period_ms).then(|| period_ms - (self.now_ms - since))
        };
        queue.sort_by_key(|at| overdue(class(at)).unwrap_or(1));
        queue
    }

    fn note_waiting(&mut self) {
        let mut waits = [false; 3];
        self.jobs
            .iter()
            .filter(|job| job.state == JobState::Queued)
            .for_each(|job| waits[job.spec.priority() as usize] = true);
        for (since, waits) in self.waiting_since_ms.iter_mut().zip(waits) {
            *since = waits.then(|| since.unwrap_or(self.now_ms));
        }
    }

    async fn step(&mut self, bench: &mut Bench, step: Step) {
        self.do_step(bench, step).await;
        self.note_waiting();
    }

    async fn do_step(&mut self, bench: &mut Bench, step: Step) {
        match step {
            Step::Submit(priority) => {
                let new = new_job(spec(priority));
                let answer = bench.store().submit(new.clone()).await.unwrap();
                assert!(matches!(answer, Submitted::Created(_)), "{answer:?}");
                self.jobs.push(Reference::new(new.id, new.spec));
            }
            Step::SubmitAgain(choice) => {
                let Some(job) = self.pick(choice) else { return };
                let new = NewJob { id: job.id, ..new_job(job.spec.clone()) };
                let answer = bench.store().submit(new).await.unwrap();
                assert!(matches!(&answer, Submitted::Existing(found) if found.id == job.id), "{answer:?}");
            }
            Step::Claim => self.claim(bench).await,
            Step::Heartbeat(choice) => {
                let Some(claim) = self.claims.get(choice % self.claims.len().max(1)).cloned() else { return };
                let lease = bench.store().heartbeat(&claim, Progress::default(), LEASE).await.unwrap();
                let job = self.jobs.iter_mut().find(|job| job.id == claim.job);
                let held = job.filter(|job| {
                    (job.state, job.attempt, job.fence) == (JobState::Running, claim.attempt, claim.fence)
                });
                let expected = match held {
                    None => LeaseState::Lost,
                    Some(job) => {
                        job.lease_ran_out = false;
                        if job.cancel_requested { LeaseState::CancelRequested } else { LeaseState::Held }
                    }
                };
                assert_eq!(lease, expected);
            }
            Step::Commit(choice, end) => {
                let Some(claim) = self.claims.get(choice % self.claims.len().max(1)).cloned() else { return };
                let attempt_end = match end {
                    End::Succeeded => success(claim.job),
                    End::Cancelled => AttemptEnd::Cancelled,
                    End::Released => AttemptEnd::Released,
                    End::Failed(reason) => failed(reason),
                };
                let done = matches!(bench.store().commit(&claim, attempt_end).await.unwrap(), Committed::Done(_));
                let job = self.jobs.iter_mut().find(|job| job.id == claim.job);
                assert_eq!(done, job.is_some_and(|job| job.commit(&claim, end)));
            }
            Step::Cancel(choice) => {
                let Some(job) = self.pick(choice) else { return };
                let answer = bench.store().cancel(job.id).await.unwrap().unwrap();
                match (job.state, answer) {
                    (JobState::Queued, Cancelled::Now(_)) => job.become_(JobState::Cancelled),
                    (JobState::Running, Cancelled::Requested(_)) => {
                        if !job.cancel_requested {
                            job.events.push("cancelling");
                        }
                        job.cancel_requested = true;
                    }
                    (state, Cancelled::AlreadyEnded(_)) if state.is_terminal() => {}
                    (state, answer) => panic!("a cancel in state {state:?} was answered {answer:?}"),
                }
            }
            Step::Retry(choice) => {
                let Some(job) = self.pick(choice) else { return };
                let answer = bench.store().retry(job.id).await.unwrap().unwrap();
                let may = matches!(job.state, JobState::Failed | JobState::Cancelled);
                assert_eq!(answer.is_ok(), may);
                if may {
                    job.requeue(Due::Now, false);
                    (job.deaths, job.attempts_max, job.reason) = (0, job.attempt + ATTEMPTS_MAX, None);
                }
            }
            Step::Delete(choice) => {
                let Some(job) = self.pick(choice) else { return };
                let (id, ended, outputs) = (job.id, job.state.is_terminal(), job.outputs);
                match bench.store().delete(id).await.unwrap().unwrap() {
                    Ok(blobs) => {
                        assert!(ended);
                        assert_eq!(blobs.len(), outputs);
                        self.jobs.retain(|job| job.id != id);
                    }
                    Err(_) => assert!(!ended),
                }
            }
            Step::Log(choice) => {
                let Some(job) = self.pick(choice) else { return };
                bench.store().log(job.id, "a line".into()).await.unwrap();
                job.events.push("log");
            }
            Step::Rescue => self.rescue(bench, false).await,
            Step::Restart => {
                bench.restart().await;
                self.rescue(bench, true).await;
            }
            Step::LeasesRunOut => {
                bench.clock.advance_ms(LEASE + 1);
                self.now_ms += LEASE + 1;
                for job in &mut self.jobs {
                    job.lease_ran_out = job.state == JobState::Running;
                    job.due = Due::Now;
                }
            }
            Step::RetriesComeDue => {
                bench.clock.advance_ms(RETRY_DELAY_MS_MAX);
                self.now_ms += RETRY_DELAY_MS_MAX;
                self.jobs.iter_mut().for_each(|job| job.due = Due::Now);
            }
        }
    }

    async fn claim(&mut self, bench: &Bench) {
        let claim = bench.store().claim("worker", LEASE, &ClaimWant::default()).await.unwrap();
        let queue = self.claim_order();
        // Up to the first that is due for certain, any may be the one.
        let certain = queue.iter().position(|at| self.jobs[*at].due == Due::Now);
        let candidates = &queue[..certain.map_or(queue.len(), |place| place + 1)];
        let Some(claim) = claim else {
            assert_eq!(certain, None, "a job was due, and none was claimed");
            return;
        };
        let at = candidates.iter().find(|at| self.jobs[**at].id == claim.job);
        let job = &mut self.jobs[*at.expect("the claimed job is the best one that is due")];
        job.become_(JobState::Running);
        (job.attempt, job.fence, job.lease_ran_out) = (job.attempt + 1, job.fence + 1, false);
        job.events.push("started");
        assert_eq!((claim.attempt, claim.fence, claim.deaths), (job.attempt, job.fence, job.deaths));
        assert_eq!(claim.spec, job.spec);
        self.waiting_since_ms[job.spec.priority() as usize] = Some(self.now_ms);
        self.claims.push(claim);
    }

    async fn rescue(&mut self, bench: &Bench, restart: bool) {
        let rescued = bench.store().rescue(restart).await.unwrap();
        let mut expected = Vec::new();
        for job in self.jobs.iter_mut().filter(|job| job.state == JobState::Running && (restart || job.lease_ran_out)) {
            job.rescue(restart);
            expected.push(job.id);
        }
        assert_eq!(rescued, expected);
    }

    /// Everything that can be seen from outside.
    async fn compare(&self, bench: &Bench) {
        for job in &self.jobs {
            let found = bench.job(job.id).await;
            assert_eq!(
                (found.state, found.attempt, found.cancel_requested, found.outputs.len()),
                (job.state, job.attempt, job.cancel_requested, job.outputs)
            );
            assert_eq!(found.error.map(|error| error.reason), job.reason);
            assert_eq!(found.ended_ms.is_some(), job.state.is_terminal());
            assert_eq!(bench.events(job.id).await, job.events);
        }
        let queue = self.queue();
        for (position, at) in queue.iter().enumerate() {
            assert_eq!(bench.store().position(self.jobs[*at].id).await.unwrap(), position as u64);
        }
        let running = self.jobs.iter().filter(|job| job.state == JobState::Running).count();
        assert_eq!(bench.store().counts().await.unwrap(), (queue.len() as u64, running as u64));
        let list = bench.store().list(ListFilter { limit: 200, ..ListFilter::default() }).await.unwrap();
        assert_eq!(list.len(), self.jobs.len());
    }

    /// Leaves the store empty for the next case: opening one costs more than a case.
    async fn clear(self, bench: &Bench) {
        for job in &self.jobs {
            bench.store().cancel(job.id).await.unwrap();
        }
        bench.store().rescue(true).await.unwrap();
        for job in &self.jobs {
            bench.store().delete(job.id).await.unwrap().unwrap().expect("every job has ended");
        }
        assert_eq!(bench.store().counts().await.unwrap(), (0, 0));
        assert!(bench.store().blob_keys().await.unwrap().is_empty());
    }
}

#[test]
fn random_operations_agree_with_the_reference() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bench = std::cell::RefCell::new(None);
    let mut runner = TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
    let steps = prop::collection::vec(any_step(), 1..32);
    let result = runner.run(&steps, |steps| {
        runtime.block_on(async {
            // Taken out, so that a store that a failed case leaves in disorder is not used again.
            let taken = bench.borrow_mut().take();
            let mut store = match taken {
                Some(store) => store,
                None => Bench::sqlite().await,
            };
            let mut model = Model::default();
            for step in steps {
                model.step(&mut store, step).await;
                model.compare(&store).await;
            }
            model.clear(&store).await;
            *bench.borrow_mut() = Some(store);
        });
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
