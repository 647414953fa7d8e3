//! The work on a task that does not need the device: [`load`] on a loader thread before it, [`finish`] on an encoder thread after it.
//!
//! Plain functions of their arguments and of files; they know nothing of threads or pipes. The service's GPU process and
//! `kiln render` share them.

use super::protocol::{AdapterReport, RunTask, TaskEnd};
use crate::device::DeviceError;
use crate::image::{self, EncodeError, Film};
use crate::job::spec::{AssetRef, EnvironmentSpec};
use crate::job::{Failure, FailureDetail, FailureReason, JobSpec, Progress, SceneSpec};
use crate::path_trace::{RenderSettings, RenderStats};
use crate::scene::environment::{self, Environment};
use crate::scene::{self, LoadOptions, Scene, SceneReport};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// What is kept of a task once the device has its scene.
pub struct LoadedTask {
    /// What is to be rendered.
    pub spec: SceneSpec,
    /// What became of the scene's file.
    pub report: SceneReport,
    /// Milliseconds that the loading took.
    pub load_ms: u64,
}

/// Everything that the path tracer needs of a task. Large: to be dropped as soon as it is packed for the device.
pub struct RenderInput {
    /// The scene.
    pub scene: Arc<Scene>,
    /// The light around it.
    pub environment: Arc<Environment>,
    /// How to render it.
    pub settings: RenderSettings,
}

/// Reads and builds everything that a task needs on the device.
///
/// # Errors
/// What is wrong with the user's files, with its place; or `out_of_memory`, before the machine runs out of it.
pub fn load(run: &RunTask) -> Result<(LoadedTask, RenderInput), Failure> {
    let start = Instant::now();
    let spec: JobSpec = serde_json::from_str(&run.spec_json).map_err(|error| {
        failure(FailureReason::Internal, format!("the job document cannot be read: {error}"), "load")
    })?;
    let JobSpec::Scene(spec) = spec else {
        return Err(failure(FailureReason::Internal, "this GPU process runs no shaders".to_owned(), "load"));
    };
    let path = asset(run, &spec.scene.asset)?;
    check_memory(path)?;
    let options = LoadOptions { animation: spec.animation.clone() };
    let scene = scene::load(path, &options).map_err(|error| error.failure())?;
    let aspect = spec.size[0] as f32 / spec.size[1] as f32;
    let camera = scene::camera::resolve(&scene, spec.camera.as_ref(), aspect).map_err(|error| error.failure())?;
    let environment = match &spec.environment {
        EnvironmentSpec::Preset(preset) => environment::preset(preset.preset),
        EnvironmentSpec::Asset(file) => environment::load(asset(run, &file.asset)?).map_err(|error| error.failure())?,
    };
    let settings = RenderSettings::new(&spec, camera);
    let report = scene.report.clone();
    let input = RenderInput { scene: Arc::new(scene), environment: Arc::new(environment), settings };
    Ok((LoadedTask { spec, report, load_ms: start.elapsed().as_millis() as u64 }, input))
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
    let output = image::encode(film, &spec.output, spec.tone_map, spec.exposure_ev, spec.background, &run.output_dir)
        .map_err(|error| {
        // The folder is this server's own business.
        let message = match &error {
            EncodeError::Io { source, .. } => format!("the picture could not be written: {source}"),
            other => other.to_string(),
        };
        failure(error.reason(), message, "encode")
    })?;
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

/// Writes a film as it is now as a PNG to `path`, which appears there only when it is complete.
///
/// # Errors
/// A sentence for the log.
pub fn write_preview(loaded: &LoadedTask, film: &Film, path: &Path) -> Result<(), String> {
    let spec = &loaded.spec;
    let png = image::preview_png(film, spec.tone_map, spec.exposure_ev, spec.background)
        .map_err(|error| error.to_string())?;
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

fn asset<'a>(run: &'a RunTask, wanted: &AssetRef) -> Result<&'a Path, Failure> {
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
