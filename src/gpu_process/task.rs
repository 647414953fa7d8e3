//! The work on a task that does not need the device: [`load`] on a loader thread before it, [`finish`] on an encoder thread after it.
//!
//! Plain functions of their arguments and of files; they know nothing of threads or pipes. The service's GPU process and
//! `kiln render` share them.

use super::checkpoint::{self, SavedState};
use super::protocol::{AdapterReport, RunTask, TaskEnd};
use super::resident::{self, Loaded, LoadedScene, ResidentScenes};
use crate::device::DeviceError;
use crate::image::{self, EncodeError, Film};
use crate::job::spec::{AnimationSpec, AssetRef, CameraSpec, EnvironmentSpec, SceneFrames};
use crate::job::{Failure, FailureDetail, FailureReason, JobSpec, Progress, SceneSpec};
use crate::limits::CHECKPOINT_BYTES_MAX;
use crate::path_trace::{self, PackedScene, PackedSky, RenderSettings, RenderStats};
use crate::scene::environment;
use crate::scene::{self, Camera, LoadOptions, SceneReport};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// What is kept of a task once the device has its scene.
pub struct LoadedTask {
    /// What is to be rendered.
    pub spec: SceneSpec,
    /// Which frame of it; 0 for a still.
    pub frame: u32,
    /// What became of the scene's file.
    pub report: SceneReport,
    /// Milliseconds that the loading took.
    pub load_ms: u64,
}

/// Everything that the path tracer needs of a task.
pub struct RenderInput {
    /// The scene.
    pub scene: Arc<PackedScene>,
    /// The light around it.
    pub sky: Arc<PackedSky>,
    /// How to render it.
    pub settings: RenderSettings,
    /// The state that an earlier attempt left.
    pub resume: Option<SavedState>,
    /// Sentences for the user.
    pub notes: Vec<String>,
}

/// Reads and builds everything that a task needs on the device, but for what is in `scenes` already.
///
/// # Errors
/// What is wrong with the user's files, with its place; or `out_of_memory`, before the machine runs out of it.
pub fn load(run: &RunTask, spec: SceneSpec, scenes: &ResidentScenes) -> Result<(LoadedTask, RenderInput), Failure> {
    let start = Instant::now();
    let frame = run.plan.first_frame;
    let scene = load_scene(run, &spec, frame, scenes)?;
    let sky = load_sky(run, &spec, scenes)?;
    let camera = camera(run, &spec, &scene, scenes)?;
    let settings = RenderSettings::new(&spec, camera);
    let (resume, note) = resume(run);
    let mut notes: Vec<String> = note.into_iter().collect();
    if is_first(&spec, frame) {
        notes.extend(sky.notes.iter().map(|note| format!("warning: {note}")));
    }
    let report = scene.view.report.clone();
    let input = RenderInput { scene: Arc::clone(&scene.packed), sky, settings, resume, notes };
    Ok((LoadedTask { spec, frame, report, load_ms: start.elapsed().as_millis() as u64 }, input))
}

/// The state that an earlier attempt left, and a sentence for the user where it cannot be used.
pub(super) fn resume(run: &RunTask) -> (Option<SavedState>, Option<String>) {
    match run.checkpoint.as_deref().map(|path| checkpoint::read(path, CHECKPOINT_BYTES_MAX)) {
        None => (None, None),
        Some(Ok(state)) => (Some(state), None),
        Some(Err(error)) => {
            let note = format!("warning: a checkpoint was ignored and the work begins again: {error}");
            (None, Some(note))
        }
    }
}

/// The job document of a task.
pub(super) fn document(run: &RunTask) -> Result<JobSpec, Failure> {
    serde_json::from_str(&run.spec_json)
        .map_err(|error| failure(FailureReason::Internal, format!("the job document cannot be read: {error}"), "load"))
}

/// True for a still, and for the frame of an animation that tells what holds for all of them.
fn is_first(spec: &SceneSpec, frame: u32) -> bool {
    spec.frames.as_ref().is_none_or(|frames| frames.range().0 == frame)
}

/// The pose of a frame.
fn pose(spec: &SceneSpec, frame: u32) -> Option<AnimationSpec> {
    match &spec.frames {
        None | Some(SceneFrames::Turntable(_)) => spec.animation.clone(),
        Some(SceneFrames::Range(frames)) => {
            let base = spec.animation.clone().unwrap_or(AnimationSpec { clip: None, time_s: 0.0 });
            let time_s = f64::from(base.time_s) + f64::from(frame) / f64::from(frames.fps);
            Some(AnimationSpec { time_s: time_s as f32, ..base })
        }
    }
}

fn load_scene(
    run: &RunTask,
    spec: &SceneSpec,
    frame: u32,
    scenes: &ResidentScenes,
) -> Result<Arc<LoadedScene>, Failure> {
    let animation = pose(spec, frame);
    let key = resident::key(&spec.scene.asset.0, animation.as_ref());
    let loaded = scenes.get(key.as_deref(), || {
        let path = asset(run, &spec.scene.asset)?;
        check_memory(path)?;
        let mut view = scene::load(path, &LoadOptions { animation }).map_err(|error| error.failure())?;
        let mut packed = path_trace::pack_scene(&view).map_err(|error| device_failure(&error))?;
        packed.key = key.clone();
        // Large, and packed now.
        (view.meshes, view.images, view.instances, view.tlas, view.emissive_triangles) = Default::default();
        Ok(Loaded::Scene(Arc::new(LoadedScene { view, packed: Arc::new(packed) })))
    })?;
    match loaded {
        Loaded::Scene(scene) => Ok(scene),
        Loaded::Sky(_) => unreachable!("the keys of environments are others"),
    }
}

fn load_sky(run: &RunTask, spec: &SceneSpec, scenes: &ResidentScenes) -> Result<Arc<PackedSky>, Failure> {
    let key = match &spec.environment {
        EnvironmentSpec::Preset(preset) => Some(format!("preset {:?}", preset.preset)),
        EnvironmentSpec::Asset(file) => resident::key(&file.asset.0, None).map(|key| format!("{key} environment")),
    };
    let loaded = scenes.get(key.as_deref(), || {
        let environment = match &spec.environment {
            EnvironmentSpec::Preset(preset) => environment::preset(preset.preset),
            EnvironmentSpec::Asset(file) => {
                environment::load(asset(run, &file.asset)?).map_err(|error| error.failure())?
            }
        };
        let mut sky = path_trace::pack_sky(&environment);
        sky.key = key.clone();
        Ok(Loaded::Sky(Arc::new(sky)))
    })?;
    match loaded {
        Loaded::Sky(sky) => Ok(sky),
        Loaded::Scene(_) => unreachable!("the keys of scenes are others"),
    }
}

/// The camera of the task's frame. One that is placed by the scene's bounds is placed by those of the first frame for all of them, since a
/// picture that breathes with its subject is no film.
fn camera(run: &RunTask, spec: &SceneSpec, scene: &LoadedScene, scenes: &ResidentScenes) -> Result<Camera, Failure> {
    let aspect = spec.size[0] as f32 / spec.size[1] as f32;
    let frame = run.plan.first_frame;
    let resolve = |scene: &LoadedScene| {
        scene::camera::resolve(&scene.view, spec.camera.as_ref(), aspect).map_err(|error| error.failure())
    };
    match &spec.frames {
        None => resolve(scene),
        Some(SceneFrames::Turntable(frames)) => {
            let turn = f64::from(frame) / f64::from(frames.turntable.max(1));
            Ok(scene::camera::turned(resolve(scene)?, &scene.view, turn))
        }
        Some(SceneFrames::Range(frames)) => {
            let framed = match &spec.camera {
                None => scene.view.cameras.is_empty(),
                Some(CameraSpec::Orbit { .. }) => true,
                Some(CameraSpec::Gltf { .. } | CameraSpec::LookAt(_)) => false,
            };
            if framed && frame != frames.start {
                resolve(&*load_scene(run, spec, frames.start, scenes)?)
            } else {
                resolve(scene)
            }
        }
    }
}

/// Makes files of a finished film, and the report.
///
/// # Errors
/// `internal` where a file cannot be written.
pub fn finish(
    run: &RunTask,
    loaded: &LoadedTask,
    film: &Film,
    stats: &RenderStats,
    adapter: &AdapterReport,
) -> Result<TaskEnd, Failure> {
    let start = Instant::now();
    let spec = &loaded.spec;
    let output = spec.frame_output();
    let name = match &spec.frames {
        None => image::file_name(output.format).to_owned(),
        Some(_) => spec.frame_name(loaded.frame),
    };
    let path = run.output_dir.join(name);
    let output = image::encode_as(film, &output, spec.tone_map, spec.exposure_ev, spec.background, &path)
        .map_err(|error| encode_failure(&error))?;
    let report = serde_json::json!({
        "scene": loaded.report,
        "render": stats,
        "adapter": adapter,
        "load_ms": loaded.load_ms,
        "encode_ms": start.elapsed().as_millis() as u64,
        "kiln": env!("CARGO_PKG_VERSION"),
    });
    Ok(TaskEnd::Succeeded { outputs: vec![output], report_json: report.to_string() })
}

/// What a picture that cannot be written means for its task.
pub fn encode_failure(error: &EncodeError) -> Failure {
    // The folder is this server's own business.
    let message = match error {
        EncodeError::Io { source, .. } => format!("the picture could not be written: {source}"),
        other => other.to_string(),
    };
    failure(error.reason(), message, "encode")
}

/// The film as it is now as a PNG in memory.
///
/// # Errors
/// A sentence for the log.
pub fn preview_png(loaded: &LoadedTask, film: &Film) -> Result<Vec<u8>, String> {
    let spec = &loaded.spec;
    image::preview_png(film, spec.tone_map, spec.exposure_ev, spec.background).map_err(|error| error.to_string())
}

/// Writes a preview to `path`, which appears there only when it is complete.
///
/// # Errors
/// A sentence for the log.
pub fn write_preview(png: &[u8], path: &Path) -> Result<(), String> {
    let unfinished = path.with_extension("part");
    std::fs::write(&unfinished, png)
        .and_then(|()| std::fs::rename(&unfinished, path))
        .map_err(|error| error.to_string())
}

/// A failure with one detail.
pub fn failure(reason: FailureReason, message: String, stage: &str) -> Failure {
    let detail = FailureDetail { stage: stage.into(), message: message.clone(), ..FailureDetail::default() };
    Failure { reason, message, details: vec![detail] }
}

/// What a fault of the device means for the task that was on it.
pub fn device_failure(error: &DeviceError) -> Failure {
    let reason = match error {
        DeviceError::Limit(_) => FailureReason::LimitExceeded,
        DeviceError::OutOfMemory(_) => FailureReason::OutOfMemory,
        DeviceError::Lost(_) => FailureReason::DeviceLost,
        DeviceError::Timeout(_) => FailureReason::GpuTimeout,
        DeviceError::NoAdapter(_) | DeviceError::Validation(_) | DeviceError::Stopped(_) => FailureReason::Internal,
    };
    failure(reason, error.to_string(), "render")
}

/// What is shown of a task before its loader knows more.
pub(super) fn progress_at_start(run: &RunTask) -> Progress {
    serde_json::from_str(&run.spec_json).map_or_else(|_| Progress::default(), |spec: JobSpec| spec.progress_at_start())
}

pub(super) fn asset<'a>(run: &'a RunTask, wanted: &AssetRef) -> Result<&'a Path, Failure> {
    run.assets.iter().find(|(name, _)| *name == wanted.0).map(|(_, path)| path.as_path()).ok_or_else(|| {
        failure(FailureReason::Internal, format!("the file {} did not come with the task", wanted.0), "load")
    })
}

/// Refuses a file that is larger than the memory that is left: what it unpacks to would be larger still. Best effort; the scene's
/// own bounds and, past them, the system's out-of-memory killer come after it.
fn check_memory(path: &Path) -> Result<(), Failure> {
    let Some(available) = memory_available_bytes() else { return Ok(()) };
    let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    if bytes <= available {
        return Ok(());
    }
    let message =
        format!("the scene's file has {bytes} bytes, and {available} bytes of memory are left on this machine");
    Err(failure(FailureReason::OutOfMemory, message, "load"))
}

/// `MemAvailable` of Linux; `None` elsewhere.
fn memory_available_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}
