//! The reference: a list of jobs in memory that obeys the rules in `kiln::store`, as plainly as it can be written. It scans where the store has
//! indexes, and counts where the store keeps counts.

mod ends;

use super::*;
use ends::answer;

pub const CLIENTS: [&str; 3] = ["plain", "heavy", "bounded"];
pub const WEIGHTS: [f64; 3] = [1.0, 2.0, 1.0];
/// Tasks that each client may have running.
pub const RUNNING_MAX: [usize; 3] = [usize::MAX, usize::MAX, 2];

#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    pub kind: TaskKind,
    frames: i64,
    /// Of the flow that it stands in, or was charged to.
    class: usize,
    pub state: JobState,
    pub attempt: u32,
    attempts_max: u32,
    pub deaths: u32,
    pub fence: i64,
    /// 1: until all frames are there; 2: as long as its job follows another one.
    blocked: u8,
    vplace: i64,
    vcost: i64,
    cost_us: i64,
    left_us: i64,
    pub attempt_us: i64,
    pub checkpoint: Option<String>,
    /// A heartbeat of this attempt said so.
    rendering: bool,
    advanced_ms: i64,
    waited_since_ms: Option<i64>,
    pub lease_ran_out: bool,
}

impl Task {
    fn ready(&self) -> bool {
        self.state == JobState::Queued && self.blocked == 0
    }

    fn part(&self, used_us: i64) -> i64 {
        (i128::from(used_us.max(0)) * i128::from(self.vcost) / i128::from(self.cost_us)).max(1) as i64
    }
}

#[derive(Debug, Clone)]
pub struct Reference {
    pub id: JobId,
    seq: u64,
    pub client: usize,
    pub priority: Priority,
    pub spec: JobSpec,
    pub state: JobState,
    fence: i64,
    pub cancel_requested: bool,
    pub reason: Option<FailureReason>,
    pub events: Vec<&'static str>,
    /// Names and blobs.
    pub outputs: Vec<(String, String)>,
    pub content: Option<[u8; 32]>,
    leader: Option<u64>,
    pub cached: bool,
    deadline_ms: Option<i64>,
    pub started: bool,
    gpu_us: i64,
    pub tasks: Vec<Task>,
}

impl Reference {
    pub fn attempt(&self) -> u32 {
        self.tasks.iter().map(|task| task.attempt).max().unwrap_or(0)
    }

    pub fn succeeded(&self) -> u32 {
        self.tasks.iter().filter(|task| task.state == JobState::Succeeded).count() as u32
    }

    pub fn gpu_us(&self) -> i64 {
        let running = self.tasks.iter().filter(|task| task.state == JobState::Running);
        self.gpu_us + running.map(|task| task.attempt_us).sum::<i64>()
    }

    fn become_(&mut self, next: JobState) {
        if self.state != next {
            assert!(self.state.may_become(next), "the reference itself goes from {:?} to {next:?}", self.state);
        }
        self.state = next;
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Flow {
    vfinish: i64,
    vfloor: i64,
    vtail: i64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Class {
    vtime: i64,
    waiting_since_ms: Option<i64>,
}

/// What outlives a case: the store is used for the next one.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// In order of arrival.
    pub jobs: Vec<Reference>,
    /// Every claim that was ever given, the lost ones too.
    pub claims: Vec<Claim>,
    pub mode: QueueMode,
    /// How far time went forward, in milliseconds; and the clock, which may go back. What really passes beside that is far less
    /// than any period.
    pub now_ms: i64,
    pub wall_ms: i64,
    /// By the clock, when tasks were put back that wait for a while.
    pub delays_began_ms: Vec<i64>,
    next_seq: u64,
    flows: [[Flow; 3]; 3],
    classes: [Class; 3],
}

impl Model {
    pub fn at(&self, id: JobId) -> Option<usize> {
        self.jobs.iter().position(|job| job.id == id)
    }

    fn ready_in(&self, class: usize, client: usize) -> impl Iterator<Item = (usize, usize)> {
        let jobs = self.jobs.iter().enumerate().filter(move |(_, job)| job.client == client);
        let mut ready: Vec<(i64, usize, usize)> = jobs
            .flat_map(|(at, job)| {
                let ready = job.tasks.iter().enumerate().filter(move |(_, task)| task.ready() && task.class == class);
                ready.map(move |(index, task)| (task.vplace, at, index))
            })
            .collect();
        ready.sort_unstable();
        ready.into_iter().map(|(_, at, index)| (at, index))
    }

    fn any_ready(&self, class: usize) -> bool {
        self.jobs.iter().flat_map(|job| &job.tasks).any(|task| task.class == class && task.ready())
    }

    pub fn set_mode(&mut self, mode: QueueMode) {
        self.mode = mode;
        // Nothing was passed over while nothing was handed out.
        let now_ms = self.now_ms;
        self.classes.iter_mut().filter_map(|class| class.waiting_since_ms.as_mut()).for_each(|since| *since = now_ms);
    }

    /// Called before a task of the flow becomes ready.
    fn lift(&mut self, class: usize, client: usize) {
        if self.ready_in(class, client).next().is_none() {
            let vtime = self.classes[class].vtime;
            let flow = &mut self.flows[class][client];
            (flow.vfloor, flow.vfinish) = (vtime, flow.vfinish.max(vtime));
        }
    }

    /// Classes that have nothing ready do not wait; the others do since they began to.
    pub fn note_waiting(&mut self) {
        for class in 0..3 {
            let ready = self.any_ready(class);
            let since = &mut self.classes[class].waiting_since_ms;
            *since = ready.then(|| since.unwrap_or(self.now_ms));
        }
    }

    /// All that is ready in a class, in the order of claims.
    fn order_in(&self, class: usize) -> Vec<(i64, usize, usize)> {
        let mut order = Vec::new();
        for client in 0..CLIENTS.len() {
            let mut head = None;
            for (at, index) in self.ready_in(class, client) {
                let vplace = self.jobs[at].tasks[index].vplace;
                let tag = self.flows[class][client].vfinish + vplace - *head.get_or_insert(vplace);
                order.push((tag, at, index));
            }
        }
        order.sort_unstable();
        order
    }

    /// Tasks before the first one of a queued job.
    pub fn position(&self, at: usize) -> u64 {
        if self.jobs[at].state != JobState::Queued {
            return 0;
        }
        let leader = self.jobs[at].leader.and_then(|seq| self.jobs.iter().position(|job| job.seq == seq));
        let at = leader.unwrap_or(at);
        let class = self.jobs[at].priority as usize;
        let order = self.order_in(class);
        let Some(place) = order.iter().position(|(_, job, _)| *job == at) else { return 0 };
        (0..class).map(|better| self.order_in(better).len()).sum::<usize>() as u64 + place as u64
    }

    pub fn follows(&self, at: usize) -> Option<JobId> {
        let leader = self.jobs[at].leader?;
        self.jobs.iter().find(|job| job.seq == leader).map(|job| job.id)
    }

    fn running_of(&self, client: usize) -> usize {
        let jobs = self.jobs.iter().filter(|job| job.client == client);
        jobs.flat_map(|job| &job.tasks).filter(|task| task.state == JobState::Running).count()
    }

    /// What a submit makes.
    pub fn submit(&mut self, new: &NewJob) {
        let client = CLIENTS.iter().position(|name| *name == new.client).unwrap();
        let priority = new.spec.priority();
        let class = priority as usize;
        let same = |job: &&Reference| job.client == client && new.content.is_some() && job.content == new.content;
        let done = self
            .jobs
            .iter()
            .filter(same)
            .rfind(|job| job.state == JobState::Succeeded && !job.outputs.is_empty())
            .cloned();
        let leader = self.jobs.iter().filter(same).find(|job| {
            let goes_on = matches!(job.state, JobState::Queued | JobState::Running) && !job.cancel_requested;
            job.leader.is_none() && goes_on
        });
        let leader = leader.map(|job| job.seq).filter(|_| done.is_none());
        let plans = new.spec.tasks();
        let frames_of = |plan: &TaskPlan| i64::from(plan.last_frame - plan.first_frame) + 1;
        let frames: i64 = plans.iter().filter(|plan| plan.kind == TaskKind::Frames).map(frames_of).sum();
        let cost_us = (new.cost_seconds * 1e6) as i64;
        let mut job = Reference {
            id: new.id,
            seq: self.next_seq,
            client,
            priority,
            spec: new.spec.clone(),
            state: JobState::Queued,
            // Each job has fences of its own.
            fence: (self.next_seq as i64 + 1) << 20,
            cancel_requested: false,
            reason: None,
            events: vec!["queued"],
            outputs: Vec::new(),
            content: new.content,
            leader,
            cached: false,
            deadline_ms: new.spec.options().start_before_ms.map(|_| self.wall_ms + DEADLINE_MS),
            started: false,
            gpu_us: 0,
            tasks: Vec::new(),
        };
        self.next_seq += 1;
        for plan in &plans {
            let assembles = plan.kind == TaskKind::Assemble;
            let cost_us = if assembles { 1 } else { cost_us / frames * frames_of(plan) };
            let vcost = ((cost_us as f64 / WEIGHTS[client]) as i64).max(1);
            let vplace = match (&done, leader) {
                (None, None) => self.place(class, client, vcost),
                _ => 0,
            };
            job.tasks.push(Task {
                kind: plan.kind,
                frames: frames_of(plan),
                class,
                state: JobState::Queued,
                attempt: 0,
                attempts_max: ATTEMPTS_MAX,
                deaths: 0,
                fence: 0,
                blocked: if leader.is_some() { 2 } else { u8::from(assembles) },
                vplace,
                vcost,
                cost_us,
                left_us: cost_us,
                attempt_us: 0,
                checkpoint: None,
                rendering: false,
                advanced_ms: 0,
                waited_since_ms: None,
                lease_ran_out: false,
            });
        }
        if let Some(done) = done {
            answer(&mut job, &done);
        } else if leader.is_none() {
            self.lift(class, client);
        }
        self.jobs.push(job);
        if let Some(at) = leader.and_then(|seq| self.jobs.iter().position(|job| job.seq == seq)) {
            self.lift_leader(at);
        }
    }

    /// A place at the end of a flow.
    fn place(&mut self, class: usize, client: usize, vcost: i64) -> i64 {
        let vtail = &mut self.flows[class][client].vtail;
        let vplace = *vtail;
        *vtail += vcost;
        vplace
    }

    /// Puts the queued tasks of a job at the end of a flow.
    fn place_all(&mut self, at: usize, class: usize) {
        let client = self.jobs[at].client;
        for index in 0..self.jobs[at].tasks.len() {
            if self.jobs[at].tasks[index].state == JobState::Queued {
                let vplace = self.place(class, client, self.jobs[at].tasks[index].vcost);
                let task = &mut self.jobs[at].tasks[index];
                (task.class, task.vplace) = (class, vplace);
            }
        }
    }

    fn best_follower(&self, at: usize) -> Option<Priority> {
        let followers = self.jobs.iter().filter(|job| job.leader == Some(self.jobs[at].seq));
        followers.map(|job| job.priority).min()
    }

    /// A leader goes as the most urgent of its followers.
    fn lift_leader(&mut self, at: usize) {
        if let Some(best) = self.best_follower(at).filter(|best| *best < self.jobs[at].priority) {
            self.move_to(at, best);
        }
    }

    fn move_to(&mut self, at: usize, priority: Priority) {
        if self.jobs[at].tasks.iter().any(Task::ready) {
            self.lift(priority as usize, self.jobs[at].client);
        }
        self.jobs[at].priority = priority;
        self.place_all(at, priority as usize);
    }

    /// What a client at its bound could not use is not its credit.
    fn room_again(&mut self, client: usize) {
        if RUNNING_MAX[client] <= 1 + self.running_of(client) {
            for class in 0..3 {
                let vtime = self.classes[class].vtime;
                let flow = &mut self.flows[class][client];
                (flow.vfinish, flow.vfloor) = (flow.vfinish.max(vtime), flow.vfloor.max(vtime));
            }
        }
    }

    /// The task that the next claim takes, and the class that it goes as.
    pub fn next_claim(&mut self, better_than: Option<Priority>) -> Option<(usize, usize, usize)> {
        if self.mode != QueueMode::Open {
            return None;
        }
        let limit = better_than.map_or(3, |class| class as usize);
        let period_ms = [i64::MAX, AGEING_NORMAL_MS, AGEING_BATCH_MS];
        let starves = self.jobs.iter().flat_map(|job| &job.tasks).any(|task| {
            let period_ms = if task.class == 2 { AGEING_BATCH_MS } else { AGEING_NORMAL_MS };
            let wants_device = task.kind == TaskKind::Frames && task.rendering && !task.lease_ran_out;
            let runs = task.state == JobState::Running && task.class >= limit && wants_device;
            better_than.is_some() && runs && self.now_ms - task.advanced_ms >= period_ms
        });
        if starves {
            return None;
        }
        loop {
            let waiting: Vec<usize> = (0..3).filter(|class| self.any_ready(*class)).collect();
            let best = *waiting.first()?;
            let overdue = |class: usize| {
                let since = self.classes[class].waiting_since_ms.unwrap();
                (class > best && better_than.is_none() && self.now_ms - since >= period_ms[class])
                    .then(|| self.now_ms - since - period_ms[class])
            };
            let mut lifted: Vec<usize> = waiting.iter().copied().filter(|class| overdue(*class).is_some()).collect();
            lifted.sort_by_key(|class| -overdue(*class).unwrap());
            let asked =
                lifted.into_iter().map(|class| (class, best)).chain(waiting.iter().map(|class| (*class, *class)));
            let asked: Vec<(usize, usize)> = asked.filter(|(class, _)| *class < limit).collect();
            let chosen = asked.into_iter().find_map(|(class, as_class)| {
                let order = self.order_in(class);
                let allowed = |at: usize| self.running_of(self.jobs[at].client) < RUNNING_MAX[self.jobs[at].client];
                order.into_iter().find(|(_, at, _)| allowed(*at)).map(|(_, at, index)| (at, index, as_class))
            })?;
            let job = &self.jobs[chosen.0];
            if !job.started && job.deadline_ms.is_some_and(|deadline_ms| deadline_ms <= self.wall_ms) {
                self.end_job(chosen.0, JobState::Expired, None);
                self.note_waiting();
                continue;
            }
            return Some(chosen);
        }
    }

    pub fn take(&mut self, (at, index, _): (usize, usize, usize)) {
        let now_ms = self.now_ms;
        let (class, client) = (self.jobs[at].tasks[index].class, self.jobs[at].client);
        let waited_since_ms = self.classes[class].waiting_since_ms;
        let job = &mut self.jobs[at];
        job.fence += 1;
        (job.started, job.state) = (true, JobState::Running);
        job.events.push("started");
        let fence = job.fence;
        let task = &mut job.tasks[index];
        (task.state, task.attempt, task.fence, task.lease_ran_out) =
            (JobState::Running, task.attempt + 1, fence, false);
        (task.attempt_us, task.advanced_ms, task.waited_since_ms) = (0, now_ms, waited_since_ms);
        task.rendering = false;
        let charge = task.part(task.left_us);
        let vstart = self.flows[class][client].vfinish;
        self.flows[class][client].vfinish += charge;
        let ready = self.any_ready(class);
        let class = &mut self.classes[class];
        (class.vtime, class.waiting_since_ms) = (class.vtime.max(vstart), ready.then_some(now_ms));
    }

    /// The task that a claim still holds.
    pub fn held(&mut self, claim: &Claim) -> Option<(usize, usize)> {
        let at = self.at(claim.job)?;
        let task = &self.jobs[at].tasks[claim.task as usize];
        let held = task.state == JobState::Running && (task.attempt, task.fence) == (claim.attempt, claim.fence);
        held.then_some((at, claim.task as usize))
    }

    pub fn heartbeat(&mut self, at: usize, index: usize, used_us: i64) {
        let now_ms = self.now_ms;
        let task = &mut self.jobs[at].tasks[index];
        if used_us > task.attempt_us {
            (task.attempt_us, task.advanced_ms) = (used_us, now_ms);
        }
        (task.lease_ran_out, task.rendering) = (false, true);
    }
}

/// The one output of a task of the model.
pub fn output_of(claim: &Claim) -> (String, String) {
    let name = format!("{}-{}", claim.kind.as_str(), claim.task);
    let blob = format!("outputs/{}/{}/{name}", claim.job, claim.fence);
    (name, blob)
}
