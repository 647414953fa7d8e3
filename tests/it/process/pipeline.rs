//! The pipeline of the GPU process, in this process. A scene that is a named pipe without a writer keeps its loader busy for as
//! long as a test wants.
#![cfg(unix)]

use super::harness::*;
use kiln::device::{AdapterSelector, DeviceThread};
use kiln::gpu_process::pipeline::Pipeline;
use kiln::gpu_process::protocol::*;
use kiln::job::{FailureReason, JobId};
use kiln::limits::GPU_PROCESS_TASKS_MAX;
use std::path::PathBuf;
use std::time::Duration;

struct Stage {
    folder: tempfile::TempDir,
    pipeline: Pipeline,
    replies: crossbeam_channel::Receiver<Reply>,
    /// Closes the device when the test is over.
    _device: DeviceThread,
}

impl Stage {
    fn new() -> Self {
        let (device_thread, device) = DeviceThread::spawn(&AdapterSelector::Auto).unwrap();
        let (sender, replies) = crossbeam_channel::bounded(256);
        let pipeline = Pipeline::start(device, sender);
        Self { folder: tempfile::tempdir().unwrap(), pipeline, replies, _device: device_thread }
    }

    fn run(&self, scene: PathBuf, samples: u32) -> TaskKey {
        let task = TaskKey { job: JobId::now_v7(), fence: 1 };
        let output_dir = self.folder.path().join(task.job.to_string());
        std::fs::create_dir(&output_dir).unwrap();
        let spec = serde_json::json!({"kind": "scene", "scene": {"asset": "a"}, "size": [16, 16], "samples": samples});
        let assets = vec![("a".into(), scene)];
        self.pipeline.run(RunTask::still(task, spec.to_string(), assets, output_dir));
        task
    }

    /// A scene file that is there.
    fn scene(&self) -> PathBuf {
        let path = self.folder.path().join("scene.glb");
        std::fs::write(&path, small_scene(1)).unwrap();
        path
    }

    /// A scene file that never has anything to read.
    fn endless(&self) -> PathBuf {
        let path = self.folder.path().join("endless");
        if !path.exists() {
            assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        }
        path
    }

    /// The next reply that is not about progress.
    fn next(&self) -> Reply {
        loop {
            match self.replies.recv_timeout(PATIENCE).expect("the pipeline says nothing") {
                Reply::Progress { .. } => {}
                other => return other,
            }
        }
    }

    /// Waits until a loader has taken the task.
    fn wait_for_loader(&self, task: TaskKey) {
        loop {
            match self.replies.recv_timeout(PATIENCE).expect("no loader takes the task") {
                Reply::Progress { task: found, .. } if found == task => return,
                _ => {}
            }
        }
    }
}

#[test]
fn a_task_makes_its_file_and_its_report() {
    if !gpu_or_skip() {
        return;
    }
    let stage = Stage::new();
    let task = stage.run(stage.scene(), 4);
    let free = stage.next();
    assert!(matches!(free, Reply::DeviceFree { task: found } if found == task), "{free:?}");
    let Reply::Ended { result: TaskEnd::Succeeded { outputs, report_json }, .. } = stage.next() else {
        panic!("the task did not succeed")
    };
    let picture = std::fs::read(stage.folder.path().join(task.job.to_string()).join(&outputs[0].name)).unwrap();
    assert_eq!(picture.len() as u64, outputs[0].bytes);
    let report: serde_json::Value = serde_json::from_str(&report_json).unwrap();
    assert_eq!(report["kiln"], env!("CARGO_PKG_VERSION"));
    assert!(report["scene"]["triangles"].as_u64() > Some(0), "{report:#}");
    assert!(report["adapter"]["name"].as_str().is_some_and(|name| !name.is_empty()), "{report:#}");
    assert_eq!(report["render"]["nan_pixels"], 0, "{report:#}");
}

#[test]
fn a_cancel_in_the_loader_or_before_it_is_answered_at_once() {
    if !gpu_or_skip() {
        return;
    }
    let stage = Stage::new();
    // One after the other: either's first progress may come first, and the wait for one passes over the other's.
    let loading = [(), ()].map(|()| {
        let task = stage.run(stage.endless(), 4);
        stage.wait_for_loader(task);
        task
    });
    // Both loaders are busy for ever: this one waits for a loader.
    let waiting = stage.run(stage.scene(), 4);
    for task in [waiting, loading[0], loading[1]] {
        stage.pipeline.cancel(task);
        let ended = stage.next();
        assert!(
            matches!(&ended, Reply::Ended { task: found, result: TaskEnd::Cancelled } if *found == task),
            "{ended:?}"
        );
    }
    // A second cancel, and one of a task that never was, are nobody's business.
    stage.pipeline.cancel(waiting);
    stage.pipeline.cancel(TaskKey { job: JobId::nil(), fence: 0 });
    assert!(stage.replies.recv_timeout(Duration::from_millis(200)).is_err());
}

#[test]
fn a_scene_that_never_loads_is_ended_by_its_bound_and_named_as_the_one_at_fault() {
    if !gpu_or_skip() {
        return;
    }
    let stage = Stage::new();
    let task = stage.run(stage.endless(), 4);
    stage.wait_for_loader(task);
    assert_eq!(stage.pipeline.end_overdue(PATIENCE), None);
    let message = stage.pipeline.end_overdue(Duration::ZERO).expect("it is overdue");
    assert!(message.contains("could not be loaded within"), "{message}");
    let ended = stage.next();
    let Reply::Ended { task: found, result: TaskEnd::Failed(failure) } = ended else { panic!("found {ended:?}") };
    assert_eq!((found, failure.reason), (task, FailureReason::LimitExceeded));
}

#[test]
fn more_tasks_than_the_process_takes_are_refused_and_harm_none() {
    if !gpu_or_skip() {
        return;
    }
    let stage = Stage::new();
    let taken: Vec<TaskKey> = (0..GPU_PROCESS_TASKS_MAX).map(|_| stage.run(stage.endless(), 4)).collect();
    let refused = stage.run(stage.scene(), 4);
    let ended = stage.next();
    let Reply::Ended { task, result: TaskEnd::Failed(failure) } = ended else { panic!("found {ended:?}") };
    assert_eq!((task, failure.reason), (refused, FailureReason::Internal));
    for task in taken {
        stage.pipeline.cancel(task);
        let ended = stage.next();
        assert!(matches!(ended, Reply::Ended { task: found, result: TaskEnd::Cancelled } if found == task));
    }
}

#[test]
fn a_broken_scene_fails_its_task_with_its_place_and_the_next_one_succeeds() {
    if !gpu_or_skip() {
        return;
    }
    let stage = Stage::new();
    let path = stage.folder.path().join("broken.glb");
    std::fs::write(&path, b"{\"asset\": {\"version\": \"2.0\"}, \"scene\": 7}").unwrap();
    let broken = stage.run(path, 4);
    let ended = stage.next();
    let Reply::Ended { task, result: TaskEnd::Failed(failure) } = ended else { panic!("found {ended:?}") };
    assert_eq!((task, failure.reason), (broken, FailureReason::InvalidScene));
    assert!(failure.details[0].pointer.is_some(), "{failure:?}");
    let next = stage.run(stage.scene(), 4);
    assert!(matches!(stage.next(), Reply::DeviceFree { task } if task == next));
    assert!(matches!(stage.next(), Reply::Ended { result: TaskEnd::Succeeded { .. }, .. }));
}
