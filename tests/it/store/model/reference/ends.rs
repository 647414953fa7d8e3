//! How attempts and jobs of the reference end, and what begins again.

use super::*;

impl Model {
    fn correct(&mut self, at: usize, index: usize, used_us: i64) {
        let (class, client) = (self.jobs[at].tasks[index].class, self.jobs[at].client);
        let task = &self.jobs[at].tasks[index];
        let (charged, used, attempt_us) = (task.part(task.left_us), task.part(used_us), task.attempt_us);
        let flow = &mut self.flows[class][client];
        flow.vfinish = (flow.vfinish + used - charged).max(flow.vfinish.min(flow.vfloor));
        self.jobs[at].gpu_us += attempt_us;
    }

    /// Whether the store takes the commit.
    pub fn commit(&mut self, claim: &Claim, end: &End) -> bool {
        let Some((at, index)) = self.held(claim) else {
            let Some(at) = self.at(claim.job) else { return false };
            let task = &self.jobs[at].tasks[claim.task as usize];
            let ended = |state| (task.attempt, task.state) == (claim.attempt, state);
            let put_back = (task.attempt, task.state) == (claim.attempt - 1, JobState::Queued);
            return task.fence == claim.fence
                && match end {
                    End::Succeeded => ended(JobState::Succeeded),
                    End::Cancelled => ended(JobState::Cancelled) || put_back,
                    End::Failed(_) => ended(JobState::Failed),
                    End::Released | End::Preempted(_) => put_back,
                };
        };
        let task = &self.jobs[at].tasks[index];
        let unmeasured = *end == End::Succeeded && task.attempt_us == 0;
        let used_us = if unmeasured { task.left_us } else { task.attempt_us };
        let (attempt, attempts_max, left_deaths) = (task.attempt, task.attempts_max, task.deaths);
        let cancel_requested = self.jobs[at].cancel_requested;
        self.correct(at, index, used_us);
        match end {
            End::Succeeded => {
                self.jobs[at].tasks[index].state = JobState::Succeeded;
                let (name, blob) = output_of(claim);
                let job = &mut self.jobs[at];
                job.outputs.retain(|(other, _)| *other != name);
                job.outputs.push((name, blob));
                job.events.push("output");
                self.settle(at, index);
            }
            End::Failed(reason) if reason.disposition() == Disposition::Fail => self.fail(at, index, *reason),
            _ if cancel_requested => self.end_cancelled(at, index),
            End::Cancelled | End::Released => self.requeue(at, index, attempt - 1, used_us, None, &[]),
            End::Preempted(checkpoint) => {
                let class = self.jobs[at].tasks[index].class;
                self.requeue(at, index, attempt - 1, used_us, checkpoint.clone(), &["preempted"]);
                let since = self.jobs[at].tasks[index].waited_since_ms;
                self.note_waiting();
                if let (Some(now), Some(since)) = (&mut self.classes[class].waiting_since_ms, since) {
                    *now = since.min(*now);
                }
            }
            End::Failed(reason) => {
                let deaths = left_deaths + u32::from(*reason == FailureReason::WorkerLost);
                if deaths >= GPU_PROCESS_DEATHS_MAX {
                    self.fail(at, index, FailureReason::Quarantined);
                } else if attempt >= attempts_max {
                    self.fail(at, index, *reason);
                } else {
                    self.jobs[at].tasks[index].deaths = deaths;
                    self.requeue(at, index, attempt, used_us, None, &["retrying"]);
                }
            }
        }
        true
    }

    fn requeue(
        &mut self,
        at: usize,
        index: usize,
        attempt: u32,
        used_us: i64,
        checkpoint: Option<String>,
        events: &[&'static str],
    ) {
        let (class, client) = (self.jobs[at].priority as usize, self.jobs[at].client);
        self.lift(class, client);
        if self.jobs[at].tasks[index].class != class {
            let vplace = self.place(class, client, self.jobs[at].tasks[index].vcost);
            let task = &mut self.jobs[at].tasks[index];
            (task.class, task.vplace) = (class, vplace);
        }
        let job = &mut self.jobs[at];
        job.events.extend(events);
        let task = &mut job.tasks[index];
        task.checkpoint = checkpoint.or(task.checkpoint.take());
        task.left_us = match task.checkpoint {
            Some(_) => (task.left_us - used_us).max(task.cost_us / 100).max(1),
            None => task.cost_us,
        };
        (task.state, task.attempt, task.attempt_us) = (JobState::Queued, attempt, 0);
        self.settle(at, index);
    }

    fn end_cancelled(&mut self, at: usize, index: usize) {
        self.jobs[at].tasks[index].state = JobState::Cancelled;
        self.settle(at, index);
    }

    fn fail(&mut self, at: usize, index: usize, reason: FailureReason) {
        self.jobs[at].tasks[index].state = JobState::Failed;
        self.end_job(at, JobState::Failed, Some(reason));
        self.room_again(self.jobs[at].client);
    }

    fn settle(&mut self, at: usize, _: usize) {
        self.room_again(self.jobs[at].client);
        let job = &self.jobs[at];
        let runs_on = job.tasks.iter().any(|task| task.state == JobState::Running);
        let (succeeded, total) = (job.succeeded() as usize, job.tasks.len());
        if succeeded == total {
            return self.end_job(at, JobState::Succeeded, None);
        }
        if job.cancel_requested {
            if !runs_on {
                self.end_job(at, JobState::Cancelled, None);
            }
            return;
        }
        if succeeded == total - 1 && job.tasks.iter().any(|task| task.blocked == 1 && task.state == JobState::Queued) {
            let (class, client) = (job.priority as usize, job.client);
            self.lift(class, client);
            self.jobs[at].tasks.iter_mut().for_each(|task| task.blocked = 0);
        }
        if !runs_on {
            self.jobs[at].become_(JobState::Queued);
            self.jobs[at].events.push("queued");
        }
    }

    pub fn end_job(&mut self, at: usize, to: JobState, reason: Option<FailureReason>) {
        for index in 0..self.jobs[at].tasks.len() {
            if self.jobs[at].tasks[index].state == JobState::Running {
                self.correct(at, index, self.jobs[at].tasks[index].attempt_us);
            }
        }
        let job = &mut self.jobs[at];
        job.become_(to);
        (job.reason, job.cancel_requested, job.leader) = (reason, false, None);
        job.events.push("ended");
        let others = if to == JobState::Failed { JobState::Cancelled } else { to };
        for task in &mut job.tasks {
            if !task.state.is_terminal() {
                task.state = others;
            }
        }
        let ended = job.clone();
        if to != JobState::Succeeded {
            job.tasks.iter_mut().for_each(|task| task.checkpoint = None);
        }
        // Where this was all that its class had, the class begins to wait anew with what a follower brings.
        self.note_waiting();
        let mut followers: Vec<usize> =
            (0..self.jobs.len()).filter(|at| self.jobs[*at].leader == Some(ended.seq)).collect();
        followers.sort_by_key(|at| self.jobs[*at].priority);
        if to == JobState::Succeeded {
            followers.into_iter().for_each(|follower| answer(&mut self.jobs[follower], &ended));
        } else if reason.is_some_and(|reason| reason.disposition() == Disposition::Fail) {
            followers.into_iter().for_each(|follower| self.end_job(follower, to, reason));
        } else if let Some(first) = followers.first().copied() {
            let seq = self.jobs[first].seq;
            followers.into_iter().for_each(|follower| self.jobs[follower].leader = Some(seq));
            self.take_over(first, &ended);
        }
    }

    /// The follower of a job that ended goes on with what is done of their common work.
    fn take_over(&mut self, at: usize, leader: &Reference) {
        let (class, client) = (self.jobs[at].priority as usize, self.jobs[at].client);
        self.lift(class, client);
        if leader.priority == self.jobs[at].priority {
            for (task, other) in self.jobs[at].tasks.iter_mut().zip(&leader.tasks) {
                task.vplace = other.vplace;
            }
        } else {
            self.place_all(at, class);
        }
        let job = &mut self.jobs[at];
        (job.leader, job.started) = (None, leader.started);
        for (index, (task, other)) in job.tasks.iter_mut().zip(&leader.tasks).enumerate() {
            if other.state == JobState::Succeeded {
                task.state = JobState::Succeeded;
                let name = format!("{}-{index}", other.kind.as_str());
                job.outputs.extend(leader.outputs.iter().find(|(output, _)| *output == name).cloned());
                job.events.push("output");
            }
            task.deaths = other.deaths;
            task.attempts_max = task.attempts_max.min(other.attempts_max.saturating_sub(other.attempt)).max(1);
            task.checkpoint.clone_from(&other.checkpoint);
            if other.checkpoint.is_some() {
                let left_us = (other.left_us - other.attempt_us).max(other.cost_us / 100).max(1);
                task.left_us = task.left_us.min(left_us);
            }
        }
        block_assembly(job);
        job.events.push("queued");
    }

    pub fn cancel(&mut self, at: usize) {
        let job = &mut self.jobs[at];
        match job.state {
            JobState::Queued => self.end_job(at, JobState::Cancelled, None),
            JobState::Running if !job.cancel_requested => {
                job.events.push("cancelling");
                job.cancel_requested = true;
                job.tasks
                    .iter_mut()
                    .filter(|task| task.state == JobState::Queued)
                    .for_each(|task| task.state = JobState::Cancelled);
            }
            _ => {}
        }
    }

    /// Puts an ended job back into the queue; `all`: its succeeded tasks too.
    pub fn again(&mut self, at: usize, all: bool) {
        let (class, client) = (self.jobs[at].priority as usize, self.jobs[at].client);
        self.lift(class, client);
        let wall_ms = self.wall_ms;
        let job = &mut self.jobs[at];
        job.become_(JobState::Queued);
        (job.reason, job.cached) = (None, job.cached && !all);
        job.deadline_ms = job.deadline_ms.filter(|deadline_ms| *deadline_ms > wall_ms);
        job.events.push("queued");
        for task in job.tasks.iter_mut().filter(|task| all || task.state != JobState::Succeeded) {
            (task.state, task.attempts_max, task.deaths) = (JobState::Queued, task.attempt + ATTEMPTS_MAX, 0);
            task.left_us = task.cost_us;
        }
        block_assembly(job);
        self.place_all(at, class);
    }

    /// New costs of an extension.
    pub fn set_cost(&mut self, at: usize, cost_us: i64) {
        let client = self.jobs[at].client;
        let tasks = &mut self.jobs[at].tasks;
        let frames: i64 = tasks.iter().filter(|task| task.kind == TaskKind::Frames).map(|task| task.frames).sum();
        for task in tasks {
            let assembles = task.kind == TaskKind::Assemble;
            task.cost_us = if assembles { 1 } else { (cost_us / frames * task.frames).max(1) };
            task.vcost = ((task.cost_us as f64 / WEIGHTS[client]) as i64).max(1);
        }
    }

    pub fn patch(&mut self, at: usize, priority: Priority) {
        let old = self.jobs[at].priority;
        self.jobs[at].spec.set_priority(priority);
        // Not below the best of its followers.
        let best = self.best_follower(at).map_or(priority, |best| best.min(priority));
        if old == priority || old == best {
            return;
        }
        self.move_to(at, best);
        self.jobs[at].events.push("queued");
        let leader = self.jobs[at].leader;
        if let Some(at) = leader.and_then(|seq| self.jobs.iter().position(|job| job.seq == seq)) {
            self.lift_leader(at);
        }
    }

    pub fn expire_due(&mut self) -> Vec<JobId> {
        let mut due: Vec<usize> = (0..self.jobs.len())
            .filter(|at| {
                let job = &self.jobs[*at];
                let leader = job.leader.and_then(|seq| self.jobs.iter().find(|job| job.seq == seq));
                let started = job.started || leader.is_some_and(|leader| leader.started);
                let due = job.deadline_ms.is_some_and(|deadline_ms| deadline_ms <= self.wall_ms);
                job.state == JobState::Queued && !started && due
            })
            .collect();
        due.sort_by_key(|at| self.jobs[*at].deadline_ms);
        due.iter().for_each(|at| self.end_job(*at, JobState::Expired, None));
        due.into_iter().map(|at| self.jobs[at].id).collect()
    }

    /// The jobs whose tasks were lost.
    pub fn rescue(&mut self, restart: bool) -> Vec<JobId> {
        let mut rescued: Vec<JobId> = Vec::new();
        let lost: Vec<(usize, usize)> = (0..self.jobs.len())
            .flat_map(|at| (0..self.jobs[at].tasks.len()).map(move |index| (at, index)))
            .filter(|(at, index)| {
                let task = &self.jobs[*at].tasks[*index];
                task.state == JobState::Running && (restart || task.lease_ran_out)
            })
            .collect();
        for (at, index) in lost {
            let id = self.jobs[at].id;
            let task = &mut self.jobs[at].tasks[index];
            if task.state == JobState::Running {
                task.attempts_max += u32::from(restart && task.attempt < ATTEMPTS_WITH_RESTARTS_MAX);
                let (attempt, attempts_max, used_us) = (task.attempt, task.attempts_max, task.attempt_us);
                self.correct(at, index, used_us);
                if self.jobs[at].cancel_requested {
                    self.end_cancelled(at, index);
                } else if attempt >= attempts_max {
                    self.fail(at, index, FailureReason::WorkerLost);
                } else {
                    self.requeue(at, index, attempt, used_us, None, &["retrying"]);
                }
            }
            if rescued.last() != Some(&id) {
                rescued.push(id);
            }
        }
        rescued
    }
}

/// An assembly waits for its frames.
fn block_assembly(job: &mut Reference) {
    let frames_left = job.tasks.iter().any(|task| task.kind == TaskKind::Frames && task.state != JobState::Succeeded);
    for task in &mut job.tasks {
        task.blocked = u8::from(task.kind == TaskKind::Assemble && frames_left);
    }
}

/// Lets a job succeed with the outputs of another one.
pub fn answer(job: &mut Reference, done: &Reference) {
    job.become_(JobState::Succeeded);
    job.outputs.clone_from(&done.outputs);
    (job.cached, job.leader) = (true, None);
    job.events.extend(job.outputs.iter().map(|_| "output"));
    job.events.push("ended");
    job.tasks.iter_mut().for_each(|task| task.state = JobState::Succeeded);
}
