//! Work that is interrupted goes on: checkpoints, tasks that are put aside, scenes that stay, frames; in the pipeline of the GPU process and
//! in real servers.
#![cfg(unix)]

use super::harness::*;
use kiln::device::{AdapterSelector, DeviceThread};
use kiln::gpu_process::pipeline::Pipeline;
use kiln::gpu_process::protocol::*;
use kiln::job::{JobId, TaskKind, TaskPlan};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A pipeline in this process.
struct Stage {
    folder: tempfile::TempDir,
    pipeline: Pipeline,
    replies: crossbeam_channel::Receiver<Reply>,
    /// Closes the device when the test is over.
    _device: DeviceThread,
}

/// How a task ended, and what was said on the way.
struct Ended {
    result: TaskEnd,
    logs: Vec<String>,
    checkpoints: Vec<PathBuf>,
}

impl Ended {
    /// The only output's bytes, and the report.
    fn picture(&self, run: &RunTask) -> (Vec<u8>, Value) {
        let TaskEnd::Succeeded { outputs, report_json } = &self.result else { panic!("found {:?}", self.result) };
        let bytes = std::fs::read(run.output_dir.join(&outputs[0].name)).unwrap();
        (bytes, serde_json::from_str(report_json).unwrap())
    }
}

impl Stage {
    fn new() -> Self {
        let (device_thread, device) = DeviceThread::spawn(&AdapterSelector::Auto).unwrap();
        let (sender, replies) = crossbeam_channel::bounded(4096);
        let pipeline = Pipeline::start(device, sender);
        Self { folder: tempfile::tempdir().unwrap(), pipeline, replies, _device: device_thread }
    }

    /// A task of a scene that is named by its content.
    fn task(&self, options: Value) -> RunTask {
        let scene = small_scene(1);
        let asset = format!("sha256:{}", hex::encode(Sha256::digest(&scene)));
        let path = self.folder.path().join("scene.glb");
        if !path.exists() {
            std::fs::write(&path, scene).unwrap();
        }
        let mut spec = json!({"kind": "scene", "scene": {"asset": asset}, "size": [24, 24], "samples": 400});
        spec.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        let task = TaskKey { job: JobId::now_v7(), fence: 1 };
        let output_dir = self.folder.path().join(task.job.to_string());
        std::fs::create_dir(&output_dir).unwrap();
        RunTask::still(task, spec.to_string(), vec![(asset, path)], output_dir)
    }

    fn follow(&self, task: TaskKey, mut on_checkpoint: impl FnMut(usize)) -> Ended {
        let (mut logs, mut checkpoints) = (Vec::new(), Vec::new());
        loop {
            match self.replies.recv_timeout(PATIENCE).expect("the pipeline says nothing") {
                Reply::Log { task: found, message } if found == task => logs.push(message),
                Reply::Checkpoint { task: found, path } if found == task => {
                    checkpoints.push(path);
                    on_checkpoint(checkpoints.len());
                }
                Reply::Ended { task: found, result } if found == task => return Ended { result, logs, checkpoints },
                _ => {}
            }
        }
    }

    fn run(&self, run: &RunTask) -> Ended {
        self.pipeline.run(run.clone());
        self.follow(run.task, |_| {})
    }
}

#[test]
fn a_render_killed_at_twenty_points_ends_with_the_same_bytes_and_does_nothing_twice() {
    if !gpu_or_skip() {
        return;
    }
    let stage = Stage::new();
    let long = json!({"samples": 20_000});
    let undisturbed = stage.task(long.clone());
    let (expected, _) = stage.run(&undisturbed).picture(&undisturbed);

    let mut last: Option<PathBuf> = None;
    let mut kills = 0;
    loop {
        let run = RunTask { checkpoint: last.clone(), checkpoint_ms: 1, ..stage.task(long.clone()) };
        stage.pipeline.run(run.clone());
        // What a death leaves behind is the last file that was taken over: here the first or the second one.
        let ended = stage.follow(run.task, |count| {
            if kills < 20 && count > kills % 2 {
                stage.pipeline.cancel(run.task);
            }
        });
        if last.is_some() {
            assert!(ended.logs.iter().any(|line| line.contains("goes on from a checkpoint")), "{:?}", ended.logs);
        }
        match &ended.result {
            TaskEnd::Cancelled => {
                kills += 1;
                last = ended.checkpoints.last().cloned().or(last);
            }
            TaskEnd::Succeeded { .. } => {
                let (bytes, report) = ended.picture(&run);
                assert!(bytes == expected, "after {kills} kills the picture is another one");
                assert_eq!(report["render"]["rays_primary"], 24 * 24 * 20_000, "{report:#}");
                break;
            }
            other => panic!("found {other:?}"),
        }
    }
    assert!(kills >= 10, "it was killed only {kills} times before it was done");
}

#[test]
fn a_checkpoint_that_is_damaged_or_anothers_is_ignored_with_a_warning() {
    if !gpu_or_skip() {
        return;
    }
    let stage = Stage::new();
    // Of some slices, so that there is a checkpoint between two of them.
    let some_slices = |seed: u32| stage.task(json!({"samples": 4_000, "seed": seed}));
    let run = RunTask { checkpoint_ms: 1, ..some_slices(0) };
    let ended = stage.run(&run);
    let (expected, _) = ended.picture(&run);
    let good = std::fs::read(ended.checkpoints.first().expect("it takes long enough for a checkpoint")).unwrap();
    let other = RunTask { checkpoint_ms: 1, ..some_slices(9) };
    let others = std::fs::read(stage.run(&other).checkpoints.first().expect("as above")).unwrap();

    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("no checkpoint at all", b"not a checkpoint, but long enough to be one".repeat(100)),
        ("another version", [b"KILNCKP0", &good[8..]].concat()),
        ("cut short", good[..good.len() / 2].to_vec()),
        ("too long", [&good[..], b"more"].concat()),
        ("a flipped bit in its identity", flipped(20)),
        ("a flipped bit in its length", flipped(42)),
        ("a flipped bit in its film", flipped(good.len() / 2)),
        ("a flipped bit in its checksum", flipped(good.len() - 1)),
        ("of another job", others),
    ];
    for (what, bytes) in cases {
        let path = stage.folder.path().join("damaged");
        std::fs::write(&path, bytes).unwrap();
        let run = RunTask { checkpoint: Some(path), ..some_slices(0) };
        let ended = stage.run(&run);
        let warned = ended.logs.iter().any(|line| line.starts_with("warning: a checkpoint was ignored"));
        assert!(warned, "{what}: {:?}", ended.logs);
        assert!(ended.picture(&run).0 == expected, "{what}: it changed the picture");
    }
    let missing = RunTask { checkpoint: Some("/nonexistent/checkpoint".into()), ..some_slices(0) };
    assert!(stage.run(&missing).picture(&missing).0 == expected);
}

#[test]
fn a_task_that_is_put_aside_leaves_its_state_wherever_it_is() {
    if !gpu_or_skip() {
        return;
    }
    let stage = Stage::new();
    // On the device.
    let run = RunTask { checkpoint_ms: 3_600_000, ..stage.task(json!({"samples": 60_000})) };
    stage.pipeline.run(run.clone());
    loop {
        let reply = stage.replies.recv_timeout(PATIENCE).expect("the pipeline says nothing");
        if matches!(reply, Reply::Progress { progress, .. } if progress.samples_done > 0) {
            break;
        }
    }
    stage.pipeline.put_aside(run.task);
    let ended = stage.follow(run.task, |_| {});
    assert!(matches!(ended.result, TaskEnd::PutAside), "{:?}", ended.result);
    assert_eq!(ended.checkpoints.len(), 1, "it had done something");
    // In its loader.
    let fifo = stage.folder.path().join("endless");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let mut loading = stage.task(json!({"scene": {"asset": "a"}}));
    loading.assets = vec![("a".into(), fifo)];
    stage.pipeline.run(loading.clone());
    stage.pipeline.put_aside(loading.task);
    let ended = stage.follow(loading.task, |_| {});
    assert!(matches!(ended.result, TaskEnd::PutAside) && ended.checkpoints.is_empty());
    // Nowhere.
    stage.pipeline.put_aside(TaskKey { job: JobId::nil(), fence: 0 });
    let next = stage.task(json!({"samples": 4}));
    assert!(matches!(stage.run(&next).result, TaskEnd::Succeeded { .. }));
}

#[test]
fn a_scene_that_is_loaded_is_not_read_again_and_gives_the_same_bytes() {
    if !gpu_or_skip() {
        return;
    }
    let stage = Stage::new();
    let first = stage.task(json!({"samples": 8}));
    stage.pipeline.run(first.clone());
    let mut told = Vec::new();
    let result = loop {
        match stage.replies.recv_timeout(PATIENCE).expect("the pipeline says nothing") {
            Reply::Resident { assets } => told = assets,
            Reply::Ended { result, .. } => break result,
            _ => {}
        }
    };
    assert_eq!(told, [first.assets[0].0.clone()], "nobody was told what is loaded");
    let ended = Ended { result, logs: Vec::new(), checkpoints: Vec::new() };
    let (expected, _) = ended.picture(&first);
    let second = stage.task(json!({"samples": 8}));
    // With the file gone, only what is in memory can help.
    std::fs::remove_file(&second.assets[0].1).unwrap();
    assert!(stage.run(&second).picture(&second).0 == expected);
}

#[test]
fn a_cancelled_load_that_never_ends_stays_in_the_watchdogs_sight() {
    if !gpu_or_skip() {
        return;
    }
    let stage = Stage::new();
    let fifo = stage.folder.path().join("endless");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let mut loading = stage.task(json!({"scene": {"asset": "a"}}));
    loading.assets = vec![("a".into(), fifo)];
    stage.pipeline.run(loading.clone());
    loop {
        let reply = stage.replies.recv_timeout(PATIENCE).expect("no loader takes the task");
        if matches!(reply, Reply::Progress { task, .. } if task == loading.task) {
            break;
        }
    }
    stage.pipeline.cancel(loading.task);
    assert!(matches!(stage.follow(loading.task, |_| {}).result, TaskEnd::Cancelled));
    assert!(stage.pipeline.end_overdue(PATIENCE).is_none());
    assert!(stage.pipeline.end_overdue(Duration::ZERO).is_some(), "a loader is busy for ever, and nobody notices");
}

/// A picture's pixels.
fn pixels(png: &[u8]) -> Vec<u8> {
    image::load_from_memory(png).expect("it is a PNG").into_rgb8().into_raw()
}

#[test]
fn the_frames_of_a_turntable_are_pictures_from_cameras_around_the_scene() {
    if !gpu_or_skip() {
        return;
    }
    let stage = Stage::new();
    let options = json!({"samples": 16, "size": [32, 32], "environment": {"preset": "sky"}});
    let camera = |position: [f32; 3]| json!({"position": position, "target": [0.0, 0.0, 0.0]});
    let with = |more: Value| {
        let mut all = options.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    // Counter-clockwise seen from above: from +Z over +X.
    let places = [[0.0, 1.0, 4.0], [4.0, 1.0, 0.0], [0.0, 1.0, -4.0], [-4.0, 1.0, 0.0]];
    let mut pictures = Vec::new();
    for (frame, place) in (0_u32..).zip(places) {
        let still = stage.task(with(json!({"camera": camera(place)})));
        let (still_bytes, _) = stage.run(&still).picture(&still);
        let plan = TaskPlan { first_frame: frame, last_frame: frame, kind: TaskKind::Frames };
        let turning = with(json!({"camera": camera(places[0]), "frames": {"turntable": 4}}));
        let run = RunTask { plan, ..stage.task(turning) };
        let ended = stage.run(&run);
        let TaskEnd::Succeeded { outputs, .. } = &ended.result else { panic!("found {:?}", ended.result) };
        assert_eq!(outputs[0].name, format!("frame-{frame:04}.png"));
        let (bytes, _) = ended.picture(&run);
        if frame == 0 {
            assert!(bytes == still_bytes, "the first frame is the still");
        }
        let (a, b) = (pixels(&still_bytes), pixels(&bytes));
        let far = a.iter().zip(&b).filter(|(a, b)| a.abs_diff(**b) > 24).count();
        assert!(far < a.len() / 50, "frame {frame}: {far} of {} values are far from the still's", a.len());
        pictures.push(b);
    }
    assert!(pictures.iter().skip(1).all(|picture| *picture != pictures[0]), "the camera does not move");
}

/// Log lines and other events of a job.
async fn events(server: &Server, id: &str) -> Vec<Value> {
    let url = format!("{}/v1/jobs/{id}/events?after=0", server.url);
    let response = server.client.get(url).header("accept", "application/json").send().await.unwrap();
    let page: Value = response.json().await.unwrap();
    page["events"].as_array().cloned().unwrap_or_default()
}

fn start(data: &Path) -> Server {
    Server::start_with(data, "auto", &["--checkpoint-ms", "300"])
}

/// Waits until a task has a checkpoint, and not only the file of one: the row is written when the next file appears.
async fn wait_for_checkpoint(data: &Path) {
    let folder = data.join("blobs/checkpoints");
    let first = wait_for("a checkpoint", async || files_under(&folder).pop()).await;
    wait_for("another checkpoint", async || files_under(&folder).into_iter().find(|file| *file != first)).await;
}

#[tokio::test]
async fn a_render_goes_on_after_its_server_was_killed_and_after_it_was_told_to_stop() {
    if !gpu_or_skip() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let query = seconds().to_owned();
    let server = start(data.path());
    let undisturbed = server.submit(small_scene(1), &query).await;
    let expected = server.picture(&server.wait_for_state(&undisturbed, "succeeded").await).await;
    for file in files_under(&data.path().join("blobs/checkpoints")) {
        std::fs::remove_file(data.path().join("blobs/checkpoints").join(file)).unwrap();
    }

    let id = server.submit(small_scene(1), &query).await;
    wait_for_checkpoint(data.path()).await;
    server.kill();
    let server = start(data.path());
    server.wait_for_samples(&id, 2).await;
    assert_eq!(server.terminate(), Some(0));
    let server = start(data.path());
    let job = server.wait_for_state(&id, "succeeded").await;
    assert!(server.picture(&job).await == expected, "the interrupted render has other bytes");
    let events = events(&server, &id).await;
    let resumed = events.iter().filter(|event| event.to_string().contains("goes on from a checkpoint")).count();
    assert!(resumed >= 2, "{events:#?}");
}

#[tokio::test]
async fn an_interactive_job_gets_the_device_while_a_long_one_runs_and_changes_none_of_its_bytes() {
    if !gpu_or_skip() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let query = seconds().to_owned();
    let server = start(data.path());
    let undisturbed = server.submit(small_scene(1), &query).await;
    let expected = server.picture(&server.wait_for_state(&undisturbed, "succeeded").await).await;

    let long = server.submit(small_scene(1), &query).await;
    let behind = server.submit(small_scene(2), &query).await;
    server.wait_for_samples(&long, 1).await;
    let urgent = server.submit(small_scene(3), &format!("{MOMENT}&priority=interactive")).await;
    server.wait_for_state(&urgent, "succeeded").await;
    assert_eq!(server.job(&long).await["state"], "running", "the urgent job waited for the long one");
    let told = async || events(&server, &long).await.iter().any(|event| event["event"] == "preempted").then_some(());
    wait_for("the event", told).await;
    let job = server.wait_for_state(&long, "succeeded").await;
    assert_eq!(job["attempt"], 1);
    assert!(server.picture(&job).await == expected, "the long render has other bytes");
    server.cancel(&behind).await;
}

#[tokio::test]
async fn a_gpu_process_that_is_replaced_again_and_again_loses_nothing() {
    if !gpu_or_skip() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_with(data.path(), "auto", &["--recycle-tasks", "2"]);
    // Two at a time, so that some are there while a process is replaced.
    for pair in 0..4 {
        let ids =
            [server.submit(small_scene(pair), MOMENT).await, server.submit(small_scene(pair + 100), MOMENT).await];
        for id in &ids {
            let job = server.wait_for_state(id, "succeeded").await;
            assert_eq!(job["attempt"], 1, "{job:#}");
            server.picture(&job).await;
        }
    }
    wait_for("processes that were replaced", async || {
        let worker = server.get("/v1/workers").await["workers"][0].clone();
        assert_eq!(worker["deaths"], 0, "{worker:#}");
        (worker["replaced"].as_u64() >= Some(2)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_turntable_is_made_frame_by_frame_and_put_together_in_the_end() {
    if !gpu_or_skip() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    let query = "width=32&height=32&samples=4&turntable=5&fps=10&format=gif";
    let id = server.submit(small_scene(1), query).await;
    let job = server.wait_for_state(&id, "succeeded").await;
    let names: Vec<&str> = job["outputs"].as_array().unwrap().iter().filter_map(|o| o["name"].as_str()).collect();
    let frames = (0..5).map(|frame| format!("frame-{frame:04}.png"));
    assert_eq!(names, frames.chain(["animation.gif".to_owned()]).collect::<Vec<_>>(), "{job:#}");
    assert_eq!(job["progress"]["frames_done"], 5, "{job:#}");
    let response = server.client.get(format!("{}/v1/jobs/{id}/image", server.url)).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "image/gif");
    let bytes = response.bytes().await.unwrap();
    let mut decoder = gif::DecodeOptions::new().read_info(&bytes[..]).unwrap();
    let mut delays = Vec::new();
    while let Some(frame) = decoder.read_next_frame().unwrap() {
        delays.push(frame.delay);
    }
    assert_eq!(delays, [10; 5], "hundredths of a second");

    let sequence = server.submit(small_scene(1), "width=32&height=32&samples=4&turntable=3&format=exr").await;
    let job = server.wait_for_state(&sequence, "succeeded").await;
    assert_eq!(job["outputs"].as_array().map(Vec::len), Some(3), "{job:#}");
    assert_eq!(job["outputs"][2]["name"], "frame-0002.exr");
}
