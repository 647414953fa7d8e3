//! How a job is cut into tasks: the units that are claimed, tried again and checkpointed one by one.

use super::spec::{JobSpec, SceneSpec};
use serde::{Deserialize, Serialize};

/// What a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// Makes the frames from `first_frame` to `last_frame`.
    #[default]
    Frames,
    /// Makes one file of the frames of all other tasks. Claimable only when all of them have succeeded. Needs no device.
    Assemble,
}

impl TaskKind {
    /// The word used in SQL and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Frames => "frames",
            Self::Assemble => "assemble",
        }
    }

    /// The inverse of `as_str`.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Frames, Self::Assemble].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A task of a job that is about to be inserted. Its index in the job is its place in [`JobSpec::tasks`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskPlan {
    /// The first frame that it makes, as the job document counts them; 0 for a still.
    pub first_frame: u32,
    /// The last one, itself included; at least `first_frame`.
    pub last_frame: u32,
    /// See [`TaskKind`].
    pub kind: TaskKind,
}

impl JobSpec {
    /// The job's tasks, at least one. An [`TaskKind::Assemble`] task, where there is one, comes last and spans all frames.
    pub fn tasks(&self) -> Vec<TaskPlan> {
        match self {
            Self::Scene(spec) => scene_tasks(spec),
            // Frame k needs what the frames before it left behind, so that one task makes them all.
            Self::Shader(spec) => {
                vec![TaskPlan { first_frame: spec.frames.start, last_frame: spec.frames.end, kind: TaskKind::Frames }]
            }
        }
    }
}

/// One task a frame, so that each is downloadable, tried again and preempted by itself; and one that assembles an animation.
fn scene_tasks(spec: &SceneSpec) -> Vec<TaskPlan> {
    let Some(frames) = &spec.frames else {
        return vec![TaskPlan { first_frame: 0, last_frame: 0, kind: TaskKind::Frames }];
    };
    let (first, last) = frames.range();
    let frame = |frame| TaskPlan { first_frame: frame, last_frame: frame, kind: TaskKind::Frames };
    let mut tasks: Vec<TaskPlan> = (first..=last).map(frame).collect();
    if spec.output.format.is_animation() {
        tasks.push(TaskPlan { first_frame: first, last_frame: last, kind: TaskKind::Assemble });
    }
    tasks
}
