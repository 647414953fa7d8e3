//! The dispatcher over a real store and real blobs, with a GPU process that the test plays itself.

use super::harness::{PATIENCE, files_under, wait_for};
use kiln::blob::BlobStore;
use kiln::dispatch::hub::Hub;
use kiln::dispatch::{self, Context};
use kiln::gpu_process::protocol::*;
use kiln::gpu_process::supervisor::{DeathCause, GpuEvent};
use kiln::job::{Failure, FailureReason, Job, JobId, JobSpec, JobState, Output, Progress};
use kiln::limits::{GPU_PROCESS_TASKS_AHEAD_MAX, LEASE_MS};
use kiln::store::sqlite::{Clock, SqliteOptions, SqliteStore};
use kiln::store::{Cancelled, JobStore, NewJob};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A dispatcher whose GPU process is this test.
struct Stage {
    folder: tempfile::TempDir,
    store: Arc<SqliteStore>,
    blobs: BlobStore,
    hub: Arc<Hub>,
    clock: Clock,
    events: mpsc::Sender<GpuEvent>,
    commands: mpsc::Receiver<Command>,
    shutdown: CancellationToken,
    dispatcher: tokio::task::JoinHandle<()>,
}

impl Stage {
    async fn new() -> Self {
        Self::with_recycling_after(u64::MAX).await
    }

    async fn with_recycling_after(recycle_tasks: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteOptions::default();
        let clock = options.clock.clone();
        let store = Arc::new(SqliteStore::open_with(folder.path(), options).await.unwrap());
        let blobs = BlobStore::open(folder.path()).unwrap();
        let hub = Hub::new();
        let (events, gpu) = mpsc::channel(64);
        let shutdown = CancellationToken::new();
        let context = Context {
            store: store.clone(),
            blobs: blobs.clone(),
            hub: hub.clone(),
            worker: "this test".into(),
            checkpoint_ms: 10_000,
            recycle_tasks,
        };
        let dispatcher = tokio::spawn(dispatch::run(Arc::new(context), gpu, shutdown.clone()));
        let commands = Self::up(&events).await;
        Self { folder, store, blobs, hub, clock, events, commands, shutdown, dispatcher }
    }

    async fn up(events: &mpsc::Sender<GpuEvent>) -> mpsc::Receiver<Command> {
        let (sender, commands) = mpsc::channel(64);
        let up = GpuEvent::Up { adapter: AdapterReport::default(), canary_seconds: 0.1, commands: sender };
        events.send(up).await.unwrap();
        commands
    }

    async fn die(&mut self, cause: DeathCause) {
        self.events.send(GpuEvent::Down { cause, restart_ms: 0 }).await.unwrap();
        self.commands = Self::up(&self.events).await;
    }

    /// Submits a job whose scene is an asset that is there.
    async fn submit(&self) -> JobId {
        let mut upload = self.blobs.upload().await.unwrap();
        upload.write(bytes::Bytes::from_static(b"a scene that nobody reads here")).await.unwrap();
        let (sha256, bytes) = upload.finish_as_asset().await.unwrap();
        self.store.put_asset(&sha256, bytes).await.unwrap();
        self.submit_with(&format!("sha256:{sha256}")).await
    }

    async fn submit_with(&self, asset: &str) -> JobId {
        let spec = serde_json::json!({"kind": "scene", "scene": {"asset": asset}, "samples": 8});
        let spec = JobSpec::parse(spec.to_string().as_bytes()).unwrap();
        let id = JobId::now_v7();
        let job = NewJob::new(id, "local", spec);
        self.store.submit(job).await.unwrap();
        id
    }

    async fn command(&mut self) -> Command {
        tokio::time::timeout(PATIENCE, self.commands.recv())
            .await
            .expect("no command came")
            .expect("the dispatcher is there")
    }

    /// The next task that is sent to the GPU process.
    async fn next_run(&mut self) -> RunTask {
        match self.command().await {
            Command::Run(run) => run,
            other => panic!("found {other:?}, expected a task"),
        }
    }

    async fn reply(&self, reply: Reply) {
        self.events.send(GpuEvent::Reply(reply)).await.unwrap();
    }

    async fn end(&self, task: TaskKey, result: TaskEnd) {
        self.reply(Reply::Ended { task, result }).await;
    }

    async fn job(&self, id: JobId) -> Job {
        self.store.job(id).await.unwrap().unwrap()
    }

    async fn wait_for(&self, id: JobId, state: JobState) -> Job {
        wait_for(&format!("{state:?}"), async || Some(self.job(id).await).filter(|job| job.state == state)).await
    }

    fn files(&self, folder: &str) -> Vec<std::path::PathBuf> {
        files_under(&self.folder.path().join(folder))
    }

    async fn no_files_in_the_spool(&self) {
        wait_for("an empty spool", async || self.files("spool").is_empty().then_some(())).await;
    }

    /// Moves the clock past every backoff, and has the next claim find what is due.
    async fn let_backoffs_pass(&self) {
        self.clock.advance_ms(3_600_000);
        self.store.work_notify().notify_one();
    }
}

/// Writes a picture as the GPU process would.
fn write_picture(run: &RunTask) -> TaskEnd {
    let bytes = format!("picture of {}", run.task.job);
    std::fs::write(run.output_dir.join("image.png"), &bytes).unwrap();
    let output = Output {
        name: "image.png".into(),
        media_type: "image/png".into(),
        bytes: bytes.len() as u64,
        sha256: hex::encode(Sha256::digest(&bytes)),
    };
    TaskEnd::Succeeded { outputs: vec![output], report_json: r#"{"kiln":"test"}"#.into() }
}

fn exited() -> DeathCause {
    DeathCause::Exited("signal 9".into())
}

#[tokio::test]
async fn a_task_goes_from_the_queue_to_its_blob_and_its_row() {
    let mut stage = Stage::new().await;
    let id = stage.submit().await;
    let run = stage.next_run().await;
    assert_eq!(run.task.job, id);
    assert!(run.assets[0].1.is_file(), "{:?}", run.assets);
    let progress =
        Progress { fraction: 0.5, samples_done: 4, samples_total: 8, gpu_seconds: 2.5, ..Progress::default() };
    stage.reply(Reply::Progress { task: run.task, progress }).await;
    wait_for("progress", async || (stage.hub.progress(id)? == progress).then_some(())).await;
    stage.end(run.task, write_picture(&run)).await;
    let job = stage.wait_for(id, JobState::Succeeded).await;
    assert_eq!((job.attempt, job.outputs.len()), (1, 1));
    assert_eq!(job.report, Some(serde_json::json!({"kiln": "test"})));
    assert_eq!(job.progress.gpu_seconds, 2.5, "the last progress was not stored");
    let (output, blob) = stage.store.output_blob(id, "image.png").await.unwrap().unwrap();
    let bytes = stage.blobs.read_all(&blob).await.unwrap();
    assert_eq!(hex::encode(Sha256::digest(&bytes)), output.sha256);
    stage.no_files_in_the_spool().await;
    assert_eq!(stage.hub.progress(id), None);
}

#[tokio::test]
async fn the_device_is_fed_ahead_and_never_more_than_that() {
    let mut stage = Stage::new().await;
    for _ in 0..6 {
        stage.submit().await;
    }
    let first = stage.next_run().await;
    let mut waiting = std::collections::VecDeque::new();
    for _ in 1..GPU_PROCESS_TASKS_AHEAD_MAX {
        waiting.push_back(stage.next_run().await);
    }
    // The claims are the store's to count: what is not claimed is still queued.
    assert_eq!(
        stage.store.counts().await.unwrap(),
        (6 - GPU_PROCESS_TASKS_AHEAD_MAX as u64, GPU_PROCESS_TASKS_AHEAD_MAX as u64)
    );
    // The device is free of the first: another one is wanted, although the first has not ended.
    stage.reply(Reply::DeviceFree { task: first.task }).await;
    waiting.push_back(stage.next_run().await);
    assert_eq!(stage.job(first.task.job).await.state, JobState::Running);
    stage.end(first.task, write_picture(&first)).await;
    stage.wait_for(first.task.job, JobState::Succeeded).await;
}

#[tokio::test]
async fn after_a_death_each_task_that_was_there_runs_alone_and_only_the_culprit_is_quarantined() {
    let mut stage = Stage::new().await;
    let culprit = stage.submit().await;
    let neighbour = stage.submit().await;
    let (first, second) = (stage.next_run().await, stage.next_run().await);
    assert_eq!((first.task.job, second.task.job), (culprit, neighbour));
    let bystander = stage.submit().await;
    stage.die(exited()).await;
    stage.let_backoffs_pass().await;
    // Whatever order they come in: while one of the two is in the GPU process, nothing else is.
    let mut ended = 0;
    let mut alone = 0;
    while ended < 3 {
        stage.let_backoffs_pass().await;
        let run = stage.next_run().await;
        let job = run.task.job;
        if job == bystander {
            stage.end(run.task, write_picture(&run)).await;
            stage.wait_for(job, JobState::Succeeded).await;
            ended += 1;
            continue;
        }
        alone += 1;
        let crowd = tokio::time::timeout(std::time::Duration::from_millis(300), stage.commands.recv()).await;
        assert!(crowd.is_err(), "{crowd:?} was sent beside a task with a death behind it");
        if job == culprit {
            stage.die(exited()).await;
            let job = stage.wait_for(culprit, JobState::Failed).await;
            assert_eq!(job.error.unwrap().reason, FailureReason::Quarantined);
        } else {
            stage.end(run.task, write_picture(&run)).await;
            stage.wait_for(neighbour, JobState::Succeeded).await;
        }
        ended += 1;
    }
    assert_eq!(alone, 2);
}

#[tokio::test]
async fn a_process_that_gave_up_by_itself_costs_its_other_tasks_nothing() {
    let mut stage = Stage::new().await;
    let culprit = stage.submit().await;
    let other = stage.submit().await;
    let (first, _second) = (stage.next_run().await, stage.next_run().await);
    let failure = Failure { reason: FailureReason::DeviceLost, message: "lost".into(), details: Vec::new() };
    stage.end(first.task, TaskEnd::Failed(failure)).await;
    stage.die(DeathCause::GaveUp("the driver lost the GPU device".into())).await;
    let run = stage.next_run().await;
    assert_eq!(run.task.job, other);
    assert_eq!(stage.job(other).await.attempt, 1, "an innocent attempt counted");
    stage.end(run.task, write_picture(&run)).await;
    stage.wait_for(other, JobState::Succeeded).await;
    stage.let_backoffs_pass().await;
    let run = stage.next_run().await;
    assert_eq!(run.task.job, culprit);
    assert_eq!(stage.job(culprit).await.attempt, 2);
}

#[tokio::test]
async fn a_missing_asset_fails_its_own_job_only() {
    let mut stage = Stage::new().await;
    let missing = stage.submit_with(&format!("sha256:{}", "ab".repeat(32))).await;
    let fine = stage.submit().await;
    let job = stage.wait_for(missing, JobState::Failed).await;
    let error = job.error.unwrap();
    assert_eq!(error.reason, FailureReason::InvalidScene);
    assert!(error.message.contains("upload it"), "{}", error.message);
    assert_eq!(error.details[0].pointer.as_deref(), Some("/scene/asset"));
    let run = stage.next_run().await;
    assert_eq!(run.task.job, fine);
    stage.end(run.task, write_picture(&run)).await;
    stage.wait_for(fine, JobState::Succeeded).await;
}

/// What a GPU process that is not to be trusted does with its task.
type Lie = Box<dyn Fn(&RunTask) -> TaskEnd>;

#[tokio::test]
async fn what_the_gpu_process_says_of_its_files_is_checked() {
    let mut stage = Stage::new().await;
    let secret = stage.folder.path().join("secret");
    std::fs::write(&secret, b"the server's own").unwrap();
    let lies: Vec<Lie> = vec![
        // Another hash than the file's.
        Box::new(|run| {
            let end = write_picture(run);
            std::fs::write(run.output_dir.join("image.png"), b"changed afterwards").unwrap();
            end
        }),
        // A way out of the folder.
        Box::new(|run| {
            let TaskEnd::Succeeded { mut outputs, report_json } = write_picture(run) else { unreachable!() };
            outputs[0].name = "../../../secret".into();
            TaskEnd::Succeeded { outputs, report_json }
        }),
        // A link to somewhere else.
        #[cfg(unix)]
        Box::new(move |run| {
            let end = write_picture(run);
            std::fs::remove_file(run.output_dir.join("image.png")).unwrap();
            std::os::unix::fs::symlink(&secret, run.output_dir.join("image.png")).unwrap();
            end
        }),
        // No file at all.
        Box::new(|run| {
            let end = write_picture(run);
            std::fs::remove_file(run.output_dir.join("image.png")).unwrap();
            end
        }),
        // A report that is none.
        Box::new(|run| match write_picture(run) {
            TaskEnd::Succeeded { outputs, .. } => TaskEnd::Succeeded { outputs, report_json: "{".into() },
            other => other,
        }),
    ];
    for lie in lies {
        let id = stage.submit().await;
        let run = stage.next_run().await;
        stage.end(run.task, lie(&run)).await;
        stage.wait_for(id, JobState::Queued).await;
        assert!(stage.files("blobs/outputs").is_empty(), "{:?}", stage.files("blobs/outputs"));
        // Nobody needs the retry.
        assert!(matches!(stage.store.cancel(id).await.unwrap(), Some(Cancelled::Now(_))));
    }
    assert!(stage.folder.path().join("secret").is_file(), "the server's own file was taken away");
    stage.no_files_in_the_spool().await;
}

#[tokio::test]
async fn a_cancel_reaches_the_gpu_process_at_once_and_is_committed_when_the_gpu_is_free() {
    let mut stage = Stage::new().await;
    let id = stage.submit().await;
    let run = stage.next_run().await;
    assert!(matches!(stage.store.cancel(id).await.unwrap(), Some(Cancelled::Requested(_))));
    stage.hub.cancel(id);
    assert!(matches!(stage.command().await, Command::Cancel(task) if task == run.task));
    let job = stage.job(id).await;
    assert_eq!((job.state, job.cancel_requested), (JobState::Running, true), "cancelled before the GPU was free of it");
    stage.end(run.task, TaskEnd::Cancelled).await;
    stage.wait_for(id, JobState::Cancelled).await;
    stage.no_files_in_the_spool().await;
}

#[tokio::test]
async fn a_cancelled_job_whose_gpu_process_dies_is_cancelled_and_not_tried_again() {
    let mut stage = Stage::new().await;
    let id = stage.submit().await;
    stage.next_run().await;
    stage.store.cancel(id).await.unwrap();
    stage.hub.cancel(id);
    assert!(matches!(stage.command().await, Command::Cancel(_)));
    stage.die(exited()).await;
    stage.wait_for(id, JobState::Cancelled).await;
}

#[tokio::test]
async fn an_attempt_whose_task_was_taken_away_commits_nothing_and_leaves_no_blob() {
    let mut stage = Stage::new().await;
    let id = stage.submit().await;
    let stale = stage.next_run().await;
    // Its lease runs out behind its back, and the task is claimed again, by the same dispatcher here.
    wait_for("the end of the lease", async || {
        // A heartbeat may come between the two.
        stage.clock.advance_ms(LEASE_MS + 1);
        (stage.store.rescue(false).await.unwrap() == [id]).then_some(())
    })
    .await;
    stage.let_backoffs_pass().await;
    let fresh = stage.next_run().await;
    assert!(fresh.task.fence > stale.task.fence);
    stage.end(stale.task, write_picture(&stale)).await;
    stage.end(fresh.task, write_picture(&fresh)).await;
    let job = stage.wait_for(id, JobState::Succeeded).await;
    assert_eq!(job.attempt, 2);
    wait_for("one blob", async || (stage.files("blobs/outputs").len() == 1).then_some(())).await;
    let (_, blob) = stage.store.output_blob(id, "image.png").await.unwrap().unwrap();
    assert_eq!(blob, BlobStore::output_key(id, fresh.task.fence, "image.png"));
    assert!(stage.blobs.bytes(&blob).await.unwrap().is_some());
}

#[tokio::test]
async fn a_preview_makes_the_round_trip() {
    let mut stage = Stage::new().await;
    let id = stage.submit().await;
    let run = stage.next_run().await;
    let hub = stage.hub.clone();
    let preview = tokio::spawn(async move { hub.preview(id).await });
    let Command::Preview { task, path } = stage.command().await else { panic!("expected a preview's request") };
    assert_eq!(task, run.task);
    std::fs::write(&path, b"a picture so far").unwrap();
    stage.reply(Reply::Preview { task, path, samples: 3 }).await;
    assert_eq!(preview.await.unwrap(), Some((bytes::Bytes::from_static(b"a picture so far"), 3)));
}

#[tokio::test]
async fn a_shutdown_puts_running_tasks_back_and_waits_for_what_is_being_encoded() {
    let mut stage = Stage::new().await;
    let encoding = stage.submit().await;
    let rendering = stage.submit().await;
    let (first, second) = (stage.next_run().await, stage.next_run().await);
    assert_eq!((first.task.job, second.task.job), (encoding, rendering));
    stage.reply(Reply::DeviceFree { task: first.task }).await;
    // Its arrival shows in a third task being wanted, so there has to be one.
    let waiting = stage.submit().await;
    let third = stage.next_run().await;
    assert_eq!(third.task.job, waiting);
    stage.shutdown.cancel();
    // Both leave, one of them with something in its film.
    for _ in 0..2 {
        let Command::PutAside(task) = stage.command().await else { panic!("expected that a task is put aside") };
        let run = if task == second.task { &second } else { &third };
        if task == second.task {
            let path = run.output_dir.join("checkpoint-0");
            std::fs::write(&path, b"a film so far").unwrap();
            stage.reply(Reply::Checkpoint { task, path }).await;
        }
        stage.end(task, TaskEnd::PutAside).await;
    }
    stage.wait_for(rendering, JobState::Queued).await;
    stage.wait_for(waiting, JobState::Queued).await;
    assert_eq!(stage.files("blobs/checkpoints").len(), 1, "the checkpoint was not kept");
    assert_eq!(stage.job(encoding).await.state, JobState::Running);
    stage.end(first.task, write_picture(&first)).await;
    stage.wait_for(encoding, JobState::Succeeded).await;
    (&mut stage.dispatcher).await.unwrap();
    assert_eq!(stage.job(rendering).await.attempt, 0, "an attempt that was put back counted");
}

#[tokio::test]
async fn recovery_requeues_what_ran_and_removes_blobs_without_rows_only() {
    let mut stage = Stage::new().await;
    let done = stage.submit().await;
    let run = stage.next_run().await;
    stage.end(run.task, write_picture(&run)).await;
    stage.wait_for(done, JobState::Succeeded).await;
    let running = stage.submit().await;
    stage.next_run().await;
    // As after a kill: the dispatcher is gone without a word.
    stage.dispatcher.abort();
    let _ = (&mut stage.dispatcher).await;
    let orphan = stage.blobs.spool_dir().join("orphan");
    std::fs::write(&orphan, b"nobody's").unwrap();
    let key = BlobStore::output_key(running, 1, "image.png");
    stage.blobs.put_file(&key, &orphan).await.unwrap();
    let recovered = dispatch::recover(stage.store.as_ref(), &stage.blobs).await.unwrap();
    assert_eq!((recovered.jobs, recovered.orphan_blobs), (1, 1));
    assert_eq!(stage.blobs.bytes(&key).await.unwrap(), None);
    assert_eq!(stage.job(running).await.state, JobState::Queued);
    let (_, kept) = stage.store.output_blob(done, "image.png").await.unwrap().unwrap();
    assert!(stage.blobs.bytes(&kept).await.unwrap().is_some());
}

/// Has the GPU process write a checkpoint with these contents.
async fn write_checkpoint(stage: &Stage, run: &RunTask, name: &str, contents: &str) {
    let path = run.output_dir.join(name);
    std::fs::write(&path, contents).unwrap();
    stage.reply(Reply::Checkpoint { task: run.task, path }).await;
}

#[tokio::test]
async fn the_next_attempt_goes_on_from_the_last_checkpoint_and_nothing_is_left_in_the_end() {
    let mut stage = Stage::new().await;
    let id = stage.submit().await;
    let run = stage.next_run().await;
    assert_eq!(run.checkpoint, None);
    write_checkpoint(&stage, &run, "checkpoint-0", "first").await;
    write_checkpoint(&stage, &run, "checkpoint-1", "second").await;
    wait_for("the second checkpoint alone", async || {
        let files = stage.files("blobs/checkpoints");
        let last = files.first().filter(|_| files.len() == 1)?;
        let contents = std::fs::read(stage.folder.path().join("blobs/checkpoints").join(last)).ok()?;
        (contents == b"second").then_some(())
    })
    .await;
    stage.die(exited()).await;
    stage.let_backoffs_pass().await;
    let run = stage.next_run().await;
    assert_eq!(std::fs::read(run.checkpoint.as_ref().expect("a checkpoint is there")).unwrap(), b"second");
    // What is named is no orphan.
    dispatch::recover_blobs(stage.store.as_ref(), &stage.blobs).await.unwrap();
    assert_eq!(stage.files("blobs/checkpoints").len(), 1);
    assert!(matches!(stage.store.cancel(id).await.unwrap(), Some(Cancelled::Requested(_))));
    stage.hub.cancel(id);
    assert!(matches!(stage.command().await, Command::Cancel(_)));
    stage.end(run.task, TaskEnd::Cancelled).await;
    stage.wait_for(id, JobState::Cancelled).await;
    wait_for("no checkpoint", async || stage.files("blobs/checkpoints").is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_checkpoint_that_is_none_of_the_tasks_files_is_not_taken() {
    let mut stage = Stage::new().await;
    stage.submit().await;
    let run = stage.next_run().await;
    let secret = stage.folder.path().join("checkpoint-secret");
    std::fs::write(&secret, b"the server's own").unwrap();
    stage.reply(Reply::Checkpoint { task: run.task, path: secret.clone() }).await;
    #[cfg(unix)]
    {
        let link = run.output_dir.join("checkpoint-7");
        std::os::unix::fs::symlink(&secret, &link).unwrap();
        stage.reply(Reply::Checkpoint { task: run.task, path: link }).await;
    }
    stage.end(run.task, write_picture(&run)).await;
    stage.wait_for(run.task.job, JobState::Succeeded).await;
    assert!(secret.is_file(), "the server's own file was taken away");
    assert!(stage.files("blobs/checkpoints").is_empty(), "{:?}", stage.files("blobs/checkpoints"));
}

#[tokio::test]
async fn a_gpu_process_is_replaced_between_tasks_and_costs_none_an_attempt() {
    let mut stage = Stage::with_recycling_after(1).await;
    let (first, second) = (stage.submit().await, stage.submit().await);
    let (run, next) = (stage.next_run().await, stage.next_run().await);
    stage.end(run.task, write_picture(&run)).await;
    stage.wait_for(first, JobState::Succeeded).await;
    // The other one leaves before the process does.
    assert!(matches!(stage.command().await, Command::PutAside(task) if task == next.task));
    stage.end(next.task, TaskEnd::PutAside).await;
    assert!(matches!(stage.command().await, Command::Shutdown));
    stage.wait_for(second, JobState::Queued).await;
    stage.die(DeathCause::Replaced).await;
    let run = stage.next_run().await;
    stage.end(run.task, write_picture(&run)).await;
    let job = stage.wait_for(second, JobState::Succeeded).await;
    assert_eq!(job.attempt, 1, "an attempt was lost");
    let status = stage.hub.gpu();
    assert_eq!((status.deaths, status.replaced), (0, 1));
}

#[tokio::test]
async fn a_job_whose_device_was_taken_is_told_so_and_runs_on() {
    let mut stage = Stage::new().await;
    let id = stage.submit().await;
    let run = stage.next_run().await;
    stage.reply(Reply::Preempted { task: run.task }).await;
    wait_for("the event", async || {
        let events = stage.store.events(id, 0, 100).await.unwrap();
        events.iter().any(|event| event.kind == kiln::job::EventKind::Preempted).then_some(())
    })
    .await;
    assert_eq!(stage.job(id).await.state, JobState::Running);
    stage.end(run.task, write_picture(&run)).await;
    stage.wait_for(id, JobState::Succeeded).await;
}
