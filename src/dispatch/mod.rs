//! Claim → run → commit: keeps the GPU fed, keeps leases alive, commits results. Knows nothing of SQL, HTTP status codes or wgpu.
//!
//! One tokio task a GPU ([`run`]) claims tasks and routes what the GPU process says; one tokio task an [`attempt`] owns that attempt
//! from its claim to its commit; one more each keeps its [`lease`] alive, independently of the GPU.
//!
//! The GPU is kept fed: a task is claimed while another one is on the device, so that it is loaded by the time the device is free.
//!
//! **Deaths.** When the GPU process dies, nobody can tell which of the tasks in it is to blame: a picture can exhaust memory in its
//! loader as well as hang on the device. So all of them end as `worker_lost`, which counts a death, and a task with a death behind
//! it then runs *alone*: nothing else is in the GPU process meanwhile. A neighbour is thereby cleared by its next attempt, and only
//! the task that does it again is quarantined.

pub mod attempt;
mod checkpoints;
pub mod deadlines;
pub mod estimate;
pub mod hub;
pub mod lease;
mod previews;
pub mod recovery;
pub mod retention;
pub mod webhook;

pub use recovery::{recover, recover_blobs};

use crate::blob::BlobStore;
use crate::gpu_process::protocol::{Command, Reply, TaskKey};
use crate::gpu_process::supervisor::{self, DeathCause, GpuEvent};
use crate::job::{Claim, Priority, Progress};
use crate::limits::*;
use crate::store::{ClaimWant, JobStore};
use attempt::{Attempt, Message};
use hub::Hub;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What all attempts share.
pub struct Context {
    /// The queue.
    pub store: Arc<dyn JobStore>,
    /// Assets and outputs.
    pub blobs: BlobStore,
    /// What the front end may know.
    pub hub: Arc<Hub>,
    /// This worker's name in leases.
    pub worker: String,
    /// Milliseconds of work on the device between two checkpoints of a task.
    pub checkpoint_ms: u64,
    /// Tasks that one GPU process ends before a fresh one takes its place.
    pub recycle_tasks: u64,
}

/// Claims and runs tasks on one GPU until `shutdown`; then puts back what runs, and returns.
///
/// `gpu` are the events of the GPU process, which must be told to end only after this has returned.
pub async fn run(context: Arc<Context>, mut gpu: mpsc::Receiver<GpuEvent>, shutdown: CancellationToken) {
    let mut dispatcher = Dispatcher::new(context, shutdown.clone());
    let work = dispatcher.context.store.work_notify();
    // Age alone can make a task claimable, of which nobody is notified.
    let next_poll = || tokio::time::Instant::now() + Duration::from_millis(supervisor::jittered(CLAIM_POLL_MS));
    let mut poll = next_poll();
    loop {
        // Registered before the queue is looked at, so that work which arrives in between is not overlooked. A notification that came
        // together with something else is still there.
        let notified = work.notified();
        tokio::pin!(notified);
        if notified.as_mut().enable() {
            dispatcher.nothing = None;
        }
        dispatcher.rescue_if_due().await;
        dispatcher.claim_while_free().await;
        tokio::select! {
            event = gpu.recv() => match event {
                Some(event) => dispatcher.on_gpu_event(event),
                None => break,
            },
            Some(ended) = dispatcher.attempts.join_next_with_id() => dispatcher.on_attempt_ended(ended),
            () = notified => dispatcher.nothing = None,
            () = tokio::time::sleep_until(poll) => {
                dispatcher.nothing = None;
                poll = next_poll();
            }
            () = shutdown.cancelled() => break,
        }
    }
    dispatcher.drain(gpu).await;
}

struct Dispatcher {
    context: Arc<Context>,
    shutdown: CancellationToken,
    attempts: JoinSet<()>,
    held: HashMap<TaskKey, Held>,
    /// Where the living GPU process takes its commands.
    commands: Option<mpsc::Sender<Command>>,
    rescued: Instant,
    /// The last look found nothing up to this class, and nothing has become claimable since.
    nothing: Option<Priority>,
    /// Assets that the living GPU process has loaded already.
    resident: Vec<String>,
    /// Tasks that the living GPU process has ended.
    ended: u64,
    /// It is to be replaced: nothing more is claimed, and what it holds leaves.
    recycling: bool,
}

/// An attempt, as the dispatcher sees it.
struct Held {
    attempt: tokio::task::Id,
    messages: mpsc::Sender<Message>,
    /// It must be alone in the GPU process.
    alone: bool,
    /// It was told to start, and may be in the GPU process.
    started: bool,
    /// It still needs the device.
    ahead: bool,
    /// The class that it runs as.
    priority: Priority,
}

impl Dispatcher {
    fn new(context: Arc<Context>, shutdown: CancellationToken) -> Self {
        let (attempts, held) = (JoinSet::new(), HashMap::new());
        Self {
            context,
            shutdown,
            attempts,
            held,
            commands: None,
            rescued: Instant::now(),
            nothing: None,
            resident: Vec::new(),
            ended: 0,
            recycling: false,
        }
    }

    /// What may be claimed now; `None`: nothing.
    ///
    /// Each class sees the tasks of its own and of better ones before the device, and not those of lower ones, which it puts aside:
    /// an interactive task does not wait because two batch tasks are here already.
    fn wanted(&self) -> Option<ClaimWant> {
        if self.commands.is_none()
            || self.recycling
            || self.held.len() >= GPU_PROCESS_TASKS_MAX
            || self.held.values().any(|held| held.alone)
        {
            return None;
        }
        let full_for = |class: Priority| {
            let ahead = self.held.values().filter(|held| held.ahead && held.priority <= class).count();
            ahead >= GPU_PROCESS_TASKS_AHEAD_MAX
        };
        let better_than = match () {
            () if !full_for(Priority::Batch) => None,
            () if !full_for(Priority::Normal) => Some(Priority::Batch),
            () if !full_for(Priority::Interactive) => Some(Priority::Normal),
            () => return None,
        };
        Some(ClaimWant { better_than, resident: self.resident.clone() })
    }

    async fn claim_while_free(&mut self) {
        while let Some(want) = self.wanted() {
            let lowest = match want.better_than {
                None => Priority::Batch,
                Some(Priority::Batch) => Priority::Normal,
                Some(_) => Priority::Interactive,
            };
            if self.nothing.is_some_and(|nothing| nothing >= lowest) {
                return;
            }
            match self.context.store.claim(&self.context.worker, LEASE_MS, &want).await {
                Ok(Some(claim)) => self.begin(claim),
                Ok(None) => self.nothing = Some(lowest),
                Err(error) => {
                    // The next poll tries again.
                    tracing::warn!(%error, "no task could be claimed");
                    self.nothing = Some(lowest);
                }
            }
        }
    }

    /// Tasks whose worker's lease ran out go back to the queue: ours never do while this process lives, unless the store hung.
    async fn rescue_if_due(&mut self) {
        if self.rescued.elapsed() < Duration::from_millis(LEASE_MS as u64) {
            return;
        }
        self.rescued = Instant::now();
        match self.context.store.rescue(false).await {
            Ok(jobs) if jobs.is_empty() => {}
            Ok(jobs) => tracing::warn!(jobs = jobs.len(), "put tasks back whose lease had run out"),
            Err(error) => tracing::warn!(%error, "expired leases could not be looked for"),
        }
    }

    fn begin(&mut self, claim: Claim) {
        let key = TaskKey { job: claim.job, fence: claim.fence };
        let (messages, inbox) = mpsc::channel(ATTEMPT_MESSAGES_QUEUED_MAX);
        let alone = claim.deaths > 0;
        let Claim { job, attempt, fence, deaths, priority, .. } = &claim;
        let priority = *priority;
        tracing::info!(job.id = %job, attempt, fence, deaths, "claimed a task");
        let attempt = Attempt::new(Arc::clone(&self.context), claim, inbox, self.shutdown.clone());
        let attempt = self.attempts.spawn(attempt.run()).id();
        self.held.insert(key, Held { attempt, messages, alone, started: false, ahead: true, priority });
        self.start_what_may();
    }

    /// Tells attempts to start, once a GPU process is there and, for those that must be alone, empty.
    fn start_what_may(&mut self) {
        let Some(commands) = &self.commands else { return };
        let mut started = self.held.values().filter(|held| held.started).count();
        let mut alone_runs = self.held.values().any(|held| held.alone && held.started);
        for held in self.held.values_mut().filter(|held| !held.started) {
            if alone_runs || (held.alone && started > 0) {
                continue;
            }
            held.started = held.messages.try_send(Message::Start(commands.clone())).is_ok();
            started += usize::from(held.started);
            alone_runs |= held.alone && held.started;
        }
    }

    fn on_gpu_event(&mut self, event: GpuEvent) {
        let hub = &self.context.hub;
        match event {
            GpuEvent::Up { adapter, canary_seconds, commands } => {
                let mut status = hub.gpu();
                (status.ready, status.adapter, status.problem) = (true, Some(adapter), None);
                status.canary_seconds = Some(canary_seconds);
                hub.set_gpu(status);
                self.commands = Some(commands);
                (self.resident, self.ended, self.recycling) = (Vec::new(), 0, false);
                self.start_what_may();
            }
            GpuEvent::Down { cause, restart_ms } => {
                let mut status = hub.gpu();
                status.ready = false;
                status.canary_seconds = None;
                match cause {
                    DeathCause::Replaced => status.replaced += 1,
                    _ => status.deaths += 1,
                }
                status.problem = Some(format!("{cause}; it is started again in {} s", restart_ms.div_ceil(1000)));
                hub.set_gpu(status);
                self.commands = None;
                let (message, blamed) = (cause.to_string(), cause.blames_tasks());
                for held in self.held.values_mut().filter(|held| held.started) {
                    held.ahead = false;
                    // Full or closed: the attempt has ended, or is about to.
                    let _ = held.messages.try_send(Message::Died { message: message.clone(), blamed });
                }
            }
            GpuEvent::Reply(reply) => self.on_reply(reply),
        }
    }

    fn on_reply(&mut self, reply: Reply) {
        let (task, message) = match reply {
            Reply::Checkpoint { task, path } => (task, Message::Checkpoint(path)),
            Reply::Preempted { task } => (task, Message::Preempted),
            Reply::Resident { assets } => {
                self.resident = assets;
                return;
            }
            Reply::Recycle { why } => {
                self.recycle(&why);
                return;
            }
            Reply::Progress { task, progress } => {
                // A stale attempt's progress is nobody's business.
                if self.held.contains_key(&task) {
                    self.context.hub.set_progress(task.job, task.fence, sane(progress));
                }
                return;
            }
            Reply::DeviceFree { task } => (task, Message::DeviceFree),
            Reply::Output { task, index, output } => (task, Message::Output(index, output)),
            Reply::Log { task, message } => (task, Message::Log(message)),
            Reply::Preview { task, path, samples } => (task, Message::Preview { path, samples }),
            Reply::Ended { task, result } => (task, Message::Ended(result)),
            Reply::Ready { .. } | Reply::Fatal { .. } | Reply::Heartbeat { .. } | Reply::Leaving => return,
        };
        let Some(held) = self.held.get_mut(&task) else { return };
        // A checkpoint is one too: the next one has more in it, and the last one before an end finds room.
        let courtesy = matches!(
            message,
            Message::Output(..)
                | Message::Log(_)
                | Message::Preview { .. }
                | Message::Preempted
                | Message::Checkpoint(_)
        );
        if matches!(message, Message::DeviceFree | Message::Ended(_)) {
            held.ahead = false;
        }
        // Room is kept for the messages that count, of which an attempt gets at most four.
        if !courtesy || held.messages.capacity() > 8 {
            let _ = held.messages.try_send(message);
        }
    }

    fn on_attempt_ended(&mut self, ended: Result<(tokio::task::Id, ()), tokio::task::JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        let key = self.held.iter().find(|(_, held)| held.attempt == id).map(|(key, _)| *key);
        let Some(key) = key else { return };
        self.held.remove(&key);
        if let Err(error) = ended {
            tracing::error!(job.id = %key.job, %error, "an attempt panicked; its lease runs out and the task is tried again");
            if let Some(commands) = &self.commands {
                let _ = commands.try_send(Command::Cancel(key));
            }
        }
        self.ended += 1;
        if self.ended >= self.context.recycle_tasks {
            self.recycle(&format!("it has ended {} tasks", self.ended));
        }
        self.start_what_may();
        self.replace_if_empty();
    }

    /// Begins to replace the GPU process by a fresh one, without anybody losing anything: what runs leaves its state and goes back to the
    /// queue, and what is being encoded is waited for.
    fn recycle(&mut self, why: &str) {
        if self.recycling || self.commands.is_none() {
            return;
        }
        tracing::info!(why, ended = self.ended, "the GPU process is replaced by a fresh one");
        self.recycling = true;
        for held in self.held.values() {
            let _ = held.messages.try_send(Message::PutAside);
        }
        self.replace_if_empty();
    }

    /// Ends the GPU process that is to be replaced, once it holds nothing; its supervisor starts the next one.
    fn replace_if_empty(&mut self) {
        if self.recycling
            && self.held.is_empty()
            && let Some(commands) = self.commands.take()
        {
            let _ = commands.try_send(Command::Shutdown);
        }
    }

    /// Lets the attempts end, which they do by themselves once `shutdown` is cancelled, and routes to them what they wait for.
    async fn drain(mut self, mut gpu: mpsc::Receiver<GpuEvent>) {
        let end = tokio::time::sleep(Duration::from_millis(SHUTDOWN_MS));
        tokio::pin!(end);
        let mut gpu_lives = true;
        while !self.attempts.is_empty() {
            tokio::select! {
                Some(ended) = self.attempts.join_next_with_id() => self.on_attempt_ended(ended),
                event = gpu.recv(), if gpu_lives => match event {
                    Some(event) => self.on_gpu_event(event),
                    None => gpu_lives = false,
                },
                () = &mut end => {
                    tracing::warn!(attempts = self.attempts.len(), "attempts did not end in time; a restart takes them up again");
                    return;
                }
            }
        }
    }
}

/// The child is not trusted: what it says goes to clients as numbers in their ranges.
fn sane(mut progress: Progress) -> Progress {
    progress.fraction = if progress.fraction.is_finite() { progress.fraction.clamp(0.0, 1.0) } else { 0.0 };
    progress.gpu_seconds = if progress.gpu_seconds.is_finite() { progress.gpu_seconds.max(0.0) } else { 0.0 };
    progress
}
