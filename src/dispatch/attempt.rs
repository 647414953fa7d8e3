//! One attempt of one task, from its claim to its commit: a tokio task that owns the attempt's folder, its lease and its blobs.
//!
//! Whatever happens, it ends in exactly one of two ways: one commit under its fence, or none because somebody else has the task
//! now. What it leaves behind is named by a row of the store, or removed.

use super::Context;
use super::checkpoints::Checkpoints;
use super::hub::RunningJob;
use super::lease::Lease;
use super::previews::Previews;
use crate::blob::{BlobError, BlobStore, SpoolFolder};
use crate::gpu_process::protocol::{Command, RunTask, TaskEnd, TaskKey};
use crate::job::spec::AssetRef;
use crate::job::{Claim, Failure, FailureDetail, FailureReason, Job, JobSpec, JobState, Output, TaskKind};
use crate::limits::{ATTEMPT_LOG_LINES_MAX, COMMIT_RETRY_MS, OUTPUTS_MAX, SHUTDOWN_MS};
use crate::store::{AttemptEnd, Committed, LeaseState, NewOutput, OutputRecorded};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What the dispatcher tells an attempt.
#[derive(Debug)]
pub enum Message {
    /// The GPU process takes it now, through this channel.
    Start(mpsc::Sender<Command>),
    /// The device is done with it.
    DeviceFree,
    /// A file is written while the task goes on. Where it is not told, the end tells it.
    Output(u32, Output),
    /// A checkpoint is written.
    Checkpoint(PathBuf),
    /// More urgent work took the device; it goes on by itself.
    Preempted,
    /// Leave the GPU process, with a checkpoint; another attempt goes on.
    PutAside,
    /// A line for the user.
    Log(String),
    /// A preview is complete.
    Preview {
        /// Where.
        path: PathBuf,
        /// Samples per pixel in it.
        samples: u32,
    },
    /// The GPU process is done with it.
    Ended(TaskEnd),
    /// The GPU process died.
    Died {
        /// Why.
        message: String,
        /// This task may be to blame.
        blamed: bool,
    },
}

/// See the module's text.
pub struct Attempt {
    context: Arc<Context>,
    claim: Claim,
    key: TaskKey,
    inbox: mpsc::Receiver<Message>,
    shutdown: CancellationToken,
    live: RunningJob,
    lease: Lease,
    /// What the GPU process writes into; made when it takes the task.
    folder: Option<SpoolFolder>,
    previews: Previews,
    checkpoints: Checkpoints,
    log_lines: u32,
    /// Outputs that are stored already.
    early: Vec<NewOutput>,
}

/// How an attempt ended, before anything is committed.
enum End {
    /// To be committed as it is.
    Commit(AttemptEnd),
    /// Files to be stored, then committed.
    Files { outputs: Vec<Output>, report: serde_json::Value },
    /// The lease is gone: nothing may be committed.
    LeaseLost,
}

impl Attempt {
    /// An attempt of a task that was claimed just now. Its lease is kept alive from here on.
    pub fn new(
        context: Arc<Context>,
        claim: Claim,
        inbox: mpsc::Receiver<Message>,
        shutdown: CancellationToken,
    ) -> Self {
        let key = TaskKey { job: claim.job, fence: claim.fence };
        let live = context.hub.begin(claim.job, claim.fence, claim.spec.progress_at_start());
        let lease = Lease::keep(Arc::clone(&context), claim.clone());
        let folder = None;
        let checkpoints = Checkpoints::of(&claim);
        let (previews, log_lines, early) = (Previews::default(), 0, Vec::new());
        Self { context, claim, key, inbox, shutdown, live, lease, folder, previews, checkpoints, log_lines, early }
    }

    /// Runs it to its end.
    pub async fn run(mut self) {
        let end = self.drive().await;
        // What may still be written of a task that has gone well, and that nobody watched, is a checkpoint, whose name is its own.
        let quiet = matches!(end, End::Files { .. }) && !self.previews.were_asked_for();
        match end {
            End::Commit(end) => {
                self.commit(end).await;
            }
            End::Files { outputs, report } => self.store_and_commit(outputs, report).await,
            End::LeaseLost => {
                tracing::warn!(job.id = %self.key.job, fence = self.key.fence, "the lease is gone; nothing is committed")
            }
        }
        if let Some(folder) = self.folder
            && let Err(error) = folder.close(quiet).await
        {
            tracing::warn!(%error, "an attempt's folder could not be removed; the next start does it");
        }
    }

    async fn drive(&mut self) -> End {
        let Some(commands) = self.wait_for_start().await else { return self.end_unstarted() };
        let run = match self.prepare().await {
            Ok(run) => run,
            Err(failure) => return End::Commit(AttemptEnd::Failed(failure)),
        };
        // Where this fails the process is dead, and `Died` is on its way.
        let _ = commands.send(Command::Run(run)).await;
        self.follow(&commands).await
    }

    /// `None`: it ended before it began.
    async fn wait_for_start(&mut self) -> Option<mpsc::Sender<Command>> {
        loop {
            tokio::select! {
                message = self.inbox.recv() => match message {
                    Some(Message::Start(commands)) => return Some(commands),
                    Some(Message::PutAside) => return None,
                    Some(_) => {}
                    None => return None,
                },
                () = self.live.cancel.cancelled() => return None,
                _ = self.lease.troubled() => return None,
                () = self.shutdown.cancelled() => return None,
            }
        }
    }

    fn end_unstarted(&self) -> End {
        match self.lease.state() {
            LeaseState::Lost => End::LeaseLost,
            LeaseState::CancelRequested => End::Commit(AttemptEnd::Cancelled),
            LeaseState::Held if self.live.cancel.is_cancelled() => End::Commit(AttemptEnd::Cancelled),
            LeaseState::Held => End::Commit(AttemptEnd::Released),
        }
    }

    /// Finds the task's files and makes its folder.
    async fn prepare(&mut self) -> Result<RunTask, Failure> {
        let mut assets = Vec::new();
        for (pointer, asset) in self.claim.spec.asset_places() {
            assets.push((asset.0.clone(), self.asset_path(&pointer, asset).await?));
        }
        let parts = self.claim.spec.tasks().iter().filter(|task| task.kind == TaskKind::Frames).count();
        if parts > 1 {
            let job = self.context.store.job(self.key.job).await.ok().flatten();
            self.live
                .is_part_of(u32::try_from(parts).unwrap_or(u32::MAX), job.map(|job| job.progress).unwrap_or_default());
        }
        let folder = self.context.blobs.spool_folder().await.map_err(|error| {
            tracing::error!(job.id = %self.key.job, %error, "an attempt has no folder");
            internal("the folder for this attempt's outputs could not be made".to_owned(), "load")
        })?;
        let output_dir = folder.path().to_owned();
        self.folder = Some(folder);
        // Without the options, which the GPU process has no use for, and among which there may be a secret.
        let spec_json = self.claim.spec.content_json();
        Ok(RunTask {
            client: self.claim.client.clone(),
            priority: self.claim.priority,
            plan: self.claim.plan(),
            frames: self.frames().await?,
            checkpoint: self.checkpoints.file(&self.context.blobs, &self.claim).await,
            checkpoint_ms: self.context.checkpoint_ms,
            ..RunTask::still(self.key, spec_json, assets, output_dir)
        })
    }

    /// The frames that an assembling task puts together.
    async fn frames(&self) -> Result<Vec<PathBuf>, Failure> {
        let mut paths = Vec::new();
        let JobSpec::Scene(spec) = &self.claim.spec else { return Ok(paths) };
        if self.claim.kind != TaskKind::Assemble {
            return Ok(paths);
        }
        for frame in self.claim.first_frame..=self.claim.last_frame {
            let name = spec.frame_name(frame);
            let found = self.context.store.output_blob(self.key.job, &name).await.map_err(|error| {
                tracing::warn!(job.id = %self.key.job, %error, "the frames of a job could not be found");
                internal("the store did not answer".to_owned(), "load")
            })?;
            let path = found.and_then(|(_, blob)| self.context.blobs.local_path(&blob));
            paths.push(path.ok_or_else(|| internal(format!("the frame {name} is not there"), "load"))?);
        }
        Ok(paths)
    }

    async fn asset_path(&self, pointer: &str, asset: &AssetRef) -> Result<PathBuf, Failure> {
        let missing = || Failure {
            reason: FailureReason::InvalidScene,
            message: format!(
                "the file {} that the job names is not here (any more); upload it and submit the job again",
                asset.0
            ),
            details: vec![FailureDetail {
                stage: "load".into(),
                message: format!("found no file {}", asset.0),
                pointer: Some(pointer.into()),
                ..FailureDetail::default()
            }],
        };
        let sha256 = asset.0.strip_prefix("sha256:").unwrap_or(&asset.0);
        let path = self.context.blobs.local_path(&BlobStore::asset_key(sha256)).ok_or_else(missing)?;
        match tokio::fs::metadata(&path).await {
            Ok(metadata) if metadata.is_file() => Ok(path),
            _ => Err(missing()),
        }
    }

    /// From the start in the GPU process to its last word on it.
    async fn follow(&mut self, commands: &mpsc::Sender<Command>) -> End {
        let mut stopping = false;
        let mut leaving = false;
        let mut device_done = false;
        loop {
            tokio::select! {
                message = self.inbox.recv() => match message {
                    Some(Message::Ended(result)) => return self.on_ended(result, stopping),
                    Some(Message::Died { message, blamed }) => return self.on_died(message, blamed, stopping),
                    Some(Message::DeviceFree) => device_done = true,
                    Some(Message::Output(index, output)) => self.store_early(index, output).await,
                    Some(Message::Checkpoint(path)) => self.record(&path).await,
                    Some(Message::Preempted) => self.note_preempted().await,
                    Some(Message::PutAside) if device_done || stopping || leaving => {}
                    Some(Message::PutAside) => {
                        leaving = true;
                        let _ = commands.try_send(Command::PutAside(self.key));
                    }
                    Some(Message::Log(message)) => self.log(message).await,
                    Some(Message::Preview { path, samples }) => self.previews.answer(&path, samples).await,
                    Some(Message::Start(_)) => {}
                    None => return End::Commit(AttemptEnd::Released),
                },
                () = self.live.cancel.cancelled(), if !stopping => stopping = true,
                _ = self.lease.troubled(), if !stopping => stopping = true,
                Some(request) = self.live.previews.recv() => {
                    if let Some(folder) = &self.folder {
                        self.previews.ask(request, self.key, folder.path(), commands);
                    }
                    continue;
                }
                // What is being encoded is worth waiting for; what is not leaves its state, and goes back to the queue.
                () = self.shutdown.cancelled(), if !device_done && !stopping && !leaving => {
                    leaving = true;
                    let _ = commands.try_send(Command::PutAside(self.key));
                }
                () = past(&self.shutdown), if device_done || stopping || leaving => {
                    let _ = commands.try_send(Command::Cancel(self.key));
                    return End::Commit(AttemptEnd::Released);
                }
            }
            if stopping && commands.try_send(Command::Cancel(self.key)).is_err() {
                tracing::debug!(job.id = %self.key.job, "the GPU process takes no commands; its death will end the task");
            }
        }
    }

    fn on_ended(&self, result: TaskEnd, stopping: bool) -> End {
        if self.lease.state() == LeaseState::Lost {
            return End::LeaseLost;
        }
        match result {
            // It was ready before the cancel reached it; the store decides whether the success still counts.
            TaskEnd::Succeeded { outputs, report_json } => match serde_json::from_str(&report_json) {
                Ok(report) => End::Files { outputs, report },
                Err(error) => {
                    End::Commit(AttemptEnd::Failed(internal(format!("the report is not JSON: {error}"), "encode")))
                }
            },
            _ if stopping => End::Commit(AttemptEnd::Cancelled),
            TaskEnd::Cancelled | TaskEnd::PutAside => End::Commit(AttemptEnd::Released),
            TaskEnd::Failed(failure) => End::Commit(AttemptEnd::Failed(failure)),
        }
    }

    fn on_died(&self, message: String, blamed: bool, stopping: bool) -> End {
        if self.lease.state() == LeaseState::Lost {
            End::LeaseLost
        } else if stopping {
            // Nothing is freer of it than a GPU whose process is dead.
            End::Commit(AttemptEnd::Cancelled)
        // An orderly stop reaches the child too (a service manager signals the whole group), and is nobody's fault.
        } else if blamed && !self.shutdown.is_cancelled() {
            let detail = FailureDetail { stage: "render".into(), message: message.clone(), ..FailureDetail::default() };
            End::Commit(AttemptEnd::Failed(Failure {
                reason: FailureReason::WorkerLost,
                message,
                details: vec![detail],
            }))
        } else {
            End::Commit(AttemptEnd::Released)
        }
    }

    async fn record(&mut self, path: &Path) {
        let Context { store, blobs, .. } = &*self.context;
        let Some(folder) = &self.folder else { return };
        self.checkpoints.record(&self.claim, path, folder.path(), store.as_ref(), blobs).await;
    }

    async fn note_preempted(&mut self) {
        self.log_lines += 1;
        if self.log_lines <= ATTEMPT_LOG_LINES_MAX
            && let Err(error) = self.context.store.preempted(&self.claim).await
        {
            tracing::warn!(job.id = %self.key.job, %error, "it could not be stored that a job was preempted");
        }
    }

    async fn log(&mut self, message: String) {
        self.log_lines += 1;
        if self.log_lines <= ATTEMPT_LOG_LINES_MAX
            && let Err(error) = self.context.store.log(self.key.job, message).await
        {
            tracing::warn!(job.id = %self.key.job, %error, "a log line of a job could not be stored");
        }
    }

    /// Makes an output downloadable while the task goes on. What fails here is tried again at the end.
    async fn store_early(&mut self, index: u32, output: Output) {
        let mut stored = Vec::new();
        if let Err(failure) = self.store_outputs(vec![output], &mut stored).await {
            tracing::warn!(job.id = %self.key.job, message = failure.message, "an output could not be stored early");
            return;
        }
        for new in stored {
            let unnamed = match self.context.store.output(&self.claim, index, new.clone()).await {
                Ok(OutputRecorded::Done { replaced }) => {
                    self.early.push(new);
                    replaced
                }
                // Somebody else has the task, and writes its own.
                Ok(OutputRecorded::Stale) => vec![new.blob],
                Err(error) => {
                    tracing::warn!(job.id = %self.key.job, %error, "an output could not be recorded early");
                    self.early.push(new);
                    continue;
                }
            };
            if let Err(error) = self.context.blobs.delete(&unnamed).await {
                tracing::warn!(%error, "blobs of no job could not be removed; the next start does it");
            }
        }
    }

    /// Blobs first, rows second.
    async fn store_and_commit(&mut self, outputs: Vec<Output>, report: serde_json::Value) {
        let mut stored = Vec::new();
        let end = match self.store_outputs(outputs, &mut stored).await {
            Ok(()) => AttemptEnd::Succeeded { outputs: stored.clone(), report },
            Err(failure) => AttemptEnd::Failed(failure),
        };
        let succeeded = matches!(end, AttemptEnd::Succeeded { .. });
        if succeeded {
            self.live.succeeded();
        }
        let job = self.commit(end).await;
        if succeeded && job.is_some_and(|job| job.state == JobState::Succeeded) {
            return;
        }
        let unnamed = self.unnamed(&stored).await;
        if !unnamed.is_empty()
            && let Err(error) = self.context.blobs.delete(&unnamed).await
        {
            tracing::warn!(%error, blobs = unnamed.len(), "blobs of no job could not be removed; the next start does it");
        }
    }

    async fn store_outputs(&self, outputs: Vec<Output>, stored: &mut Vec<NewOutput>) -> Result<(), Failure> {
        if outputs.len() > OUTPUTS_MAX {
            return Err(internal(format!("found {} outputs, expected at most {OUTPUTS_MAX}", outputs.len()), "encode"));
        }
        for output in outputs {
            if let Some(early) = self.early.iter().find(|early| early.output == output) {
                // What was stored and could not be recorded may have been collected meanwhile.
                if self.context.blobs.bytes(&early.blob).await.ok().flatten() != Some(output.bytes) {
                    return Err(internal(format!("the output {} is not there any more", output.name), "encode"));
                }
                stored.push(early.clone());
                continue;
            }
            let name = &output.name;
            let Some(folder) = &self.folder else { return Err(internal("nothing was written".to_owned(), "encode")) };
            let path = folder.path().join(name);
            // The GPU process is not trusted: a name with a path in it, or a link, could reach any file of the server's user.
            let plain = Path::new(name).file_name().is_some_and(|file| file == name.as_str());
            if !plain {
                return Err(not_plain(name));
            }
            let blob = BlobStore::output_key(self.key.job, self.key.fence, name);
            let (bytes, sha256) = self.context.blobs.put_file(&blob, &path).await.map_err(|error| {
                tracing::error!(job.id = %self.key.job, %error, "an output could not be stored");
                match error {
                    BlobError::NotAFile(_) => not_plain(name),
                    _ => internal(format!("the output {name} could not be stored"), "encode"),
                }
            })?;
            let matches = bytes == output.bytes && sha256 == output.sha256;
            stored.push(NewOutput { output, blob });
            if !matches {
                let name = &stored.last().expect("pushed just now").output.name;
                return Err(internal(
                    format!("the output {name} changed between its encoding and its storing"),
                    "encode",
                ));
            }
        }
        Ok(())
    }

    /// The blobs that no row names after the commit.
    async fn unnamed(&self, stored: &[NewOutput]) -> Vec<String> {
        let keys: Vec<String> = stored.iter().map(|output| output.blob.clone()).collect();
        // Asked of the store instead of concluded from the commit's answer, since a commit whose answer was lost may have happened, and
        // another job may name the blob by now. A blob that might be named stays.
        self.context.store.unnamed(&keys).await.unwrap_or_default()
    }

    /// Commits under the fence; tries again while the lease lasts. The job as it is then, if the commit counted.
    async fn commit(&mut self, end: AttemptEnd) -> Option<Job> {
        let what = match &end {
            AttemptEnd::Succeeded { .. } => "succeeded",
            AttemptEnd::Cancelled => "cancelled",
            AttemptEnd::Failed(_) => "failed",
            AttemptEnd::Released => "released",
            AttemptEnd::Preempted { .. } => "preempted",
        };
        // The last heartbeat may be seconds old, or never have been.
        let progress = self.context.hub.attempt_progress(self.key.job, self.key.fence);
        let mut wait_ms = COMMIT_RETRY_MS.0;
        loop {
            match self.context.store.commit(&self.claim, end.clone(), progress).await {
                Ok(Committed::Done(job)) => {
                    let over = matches!(job.state, JobState::Failed | JobState::Cancelled | JobState::Expired);
                    if over && !matches!(end, AttemptEnd::Succeeded { .. }) {
                        self.checkpoints.forget(self.context.store.as_ref(), &self.context.blobs).await;
                    }
                    tracing::info!(job.id = %job.id, attempt = self.claim.attempt, end = what, state = job.state.as_str(), "an attempt ended");
                    return Some(job);
                }
                Ok(Committed::Stale) => {
                    tracing::warn!(job.id = %self.key.job, fence = self.key.fence, end = what, "a stale attempt was not committed");
                    return None;
                }
                Err(error) => {
                    tracing::warn!(job.id = %self.key.job, %error, wait_ms, "a commit failed and is tried again")
                }
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(wait_ms)) => wait_ms = (wait_ms * 2).min(COMMIT_RETRY_MS.1),
                () = self.lease.lost() => {
                    tracing::error!(job.id = %self.key.job, end = what, "the lease ran out before the attempt could be committed");
                    return None;
                }
            }
        }
    }
}

/// Waits until a shutdown has lasted for most of its bound.
async fn past(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(Duration::from_millis(SHUTDOWN_MS / 2)).await;
}

fn not_plain(name: &str) -> Failure {
    internal(format!("the output {name:?} is not a plain file in the attempt's folder"), "encode")
}

fn internal(message: String, stage: &str) -> Failure {
    let detail = FailureDetail { stage: stage.into(), message: message.clone(), ..FailureDetail::default() };
    Failure { reason: FailureReason::Internal, message, details: vec![detail] }
}
