//! `kiln render`: a picture without a server.
//!
//! The job document, its rules and the way through loader, device and encoder are the service's own ([`Pipeline`]), run within this
//! process: there is one task, whose crash is this command's anyway, so a second process would protect nobody.

use super::input::{self, WorkFolder};
use super::options::{SpecOptions, flag};
use super::progress::Display;
use super::shader::{self, ShaderArgs};
use super::{Exit, complain};
use crate::device::{AdapterSelector, DeviceThread};
use crate::gpu_process::pipeline::Pipeline;
use crate::gpu_process::protocol::{Reply, RunTask, TaskEnd, TaskKey};
use crate::job::spec::{AssetRef, Preset};
use crate::job::{
    AttachedFiles, Failure, JobId, JobSpec, Output, Progress, SpecError, SpecProblem, TaskKind, TaskPlan,
    document_from_options, option_of,
};
use crate::limits::PIPE_FRAMES_QUEUED_MAX;
use anyhow::Context;
use crossbeam_channel::{Receiver, Sender, bounded, select};
use std::io::Write;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::time::Instant;

const EXAMPLES: &str = "\
Examples:
  kiln render chair.glb -o chair.png
  kiln render chair.glb -o chair.jpg --width 1920 --height 1080 --samples 512
  kiln render room.gltf -o room.exr --environment sky.hdr --position 3,2,4 --target 0,1,0
  cat chair.glb | kiln render - -o - >chair.png
  kiln render waves.wgsl -o waves.png --param zoom=0.4
  kiln render toy.wgsl --dialect compute_toys -o toy.mp4 --end 119 --fps 60 --width 1280 --height 720

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 cancelled.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// A scene (.glb, .gltf with its files packed along, .zip) or a shader (.wgsl, .glsl); - for stdin, a shader with --dialect
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The picture: .png, .jpg, .webp or .exr; of several frames also .apng, .gif or .mp4; - for stdout
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// Adapter to render on: auto, a number or a part of a name
    #[arg(long, env = "KILN_GPU", default_value = "auto", value_name = "auto|INDEX|NAME")]
    gpu: AdapterSelector,
    /// Print the job's report as JSON on stdout
    #[arg(long)]
    json: bool,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    options: SpecOptions,
    #[command(flatten)]
    shader: ShaderArgs,
}

/// Why there is no picture.
pub(super) enum Stop {
    Usage(String),
    Failed(Failure),
    Error(anyhow::Error),
    Cancelled,
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        Self::Error(error)
    }
}

pub(super) fn run(args: Args) -> Exit {
    super::init_logs("warn,wgpu_core=error,wgpu_hal=error,naga=error");
    let json = args.json;
    match render(args) {
        Ok(()) => Exit::Done,
        Err(Stop::Usage(message)) => {
            complain(message);
            Exit::Usage
        }
        Err(Stop::Failed(failure)) => {
            if json {
                super::say(serde_json::json!({"state": "failed", "error": failure}));
            }
            complain(readable(&failure));
            Exit::Failed
        }
        Err(Stop::Error(error)) => {
            complain(super::told(&error));
            Exit::Failed
        }
        Err(Stop::Cancelled) => {
            eprintln!("cancelled");
            Exit::Cancelled
        }
    }
}

fn render(mut args: Args) -> Result<(), Stop> {
    let start = Instant::now();
    let to_stdout = args.output.as_os_str() == "-";
    if to_stdout && args.json {
        return Err(Stop::Usage("--json and -o - both want stdout; write the picture to a file".into()));
    }
    choose_format(&mut args.options, &args.output, to_stdout)?;
    let folder = match args.output.parent().filter(|_| !to_stdout) {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        Some(_) => PathBuf::from("."),
        None => std::env::temp_dir(),
    };
    // Beside the picture, so that it can be moved to its place in one step.
    let work = WorkFolder::new(&folder)
        .map_err(|error| Stop::Usage(format!("nothing can be written in {}: {error}", folder.display())))?;
    let (spec, assets) = job(&mut args, work.path())?;
    let assembled = spec.tasks().iter().any(|task| task.kind == TaskKind::Assemble);
    if to_stdout && !assembled && files_of(&spec) > 1 {
        return Err(too_many_for_stdout(files_of(&spec)));
    }
    let spec_json = serde_json::to_string(&spec).context("the job document cannot be written")?;
    let task = TaskKey { job: JobId::now_v7(), fence: 1 };
    let run = RunTask::still(task, spec_json, assets, work.path().to_owned());
    let (mut outputs, report) = run_tasks(&args, tasks(&spec, &run))?;
    if assembled {
        // Of an animation nobody asked for the frames.
        outputs.drain(..outputs.len().saturating_sub(1));
    }
    let output = outputs.first().context("the renderer made no picture")?;
    match &outputs[..] {
        [output] => deliver(output, work.path(), &args.output, to_stdout)?,
        frames if to_stdout => return Err(too_many_for_stdout(frames.len())),
        frames => {
            for frame in frames {
                deliver(frame, work.path(), &beside(&args.output, &frame.name), false)?;
            }
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    if args.json {
        let report: serde_json::Value = serde_json::from_str(&report).context("the report is not JSON")?;
        let result = serde_json::json!({"state": "succeeded", "output": args.output, "bytes": output.bytes,
            "sha256": output.sha256, "media_type": output.media_type, "seconds": seconds, "spec": spec, "report": report});
        super::say(result);
    } else if !to_stdout {
        let what = match &spec {
            JobSpec::Scene(spec) => {
                let frames = spec.frames.as_ref().map(|frames| format!("{} frames, ", frames.count()));
                let [width, height] = spec.size;
                format!("{width} x {height}, {}{} samples", frames.unwrap_or_default(), spec.samples)
            }
            JobSpec::Shader(spec) => format!("{} x {}, {} frames", spec.size[0], spec.size[1], spec.frames.count()),
        };
        super::say(format_args!("{}  {what}, {seconds:.1} s", args.output.display()));
    }
    Ok(())
}

/// Pictures that come of a job whose frames nobody puts together.
fn files_of(spec: &JobSpec) -> usize {
    match spec {
        JobSpec::Scene(scene) => scene.frames.as_ref().map_or(1, |frames| frames.count() as usize),
        JobSpec::Shader(shader) if shader.is_sequence() => shader.frames.count() as usize,
        JobSpec::Shader(_) => 1,
    }
}

fn too_many_for_stdout(files: usize) -> Stop {
    Stop::Usage(format!("{files} files do not fit in stdout; name a file with -o"))
}

/// The format is named by OUT, unless `--format` names it.
fn choose_format(options: &mut SpecOptions, output: &Path, to_stdout: bool) -> Result<(), Stop> {
    if options.get("format").is_some() || to_stdout {
        return Ok(());
    }
    let extension =
        output.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_ascii_lowercase();
    let format = match extension.as_str() {
        "png" => "png",
        "jpg" | "jpeg" => "jpeg",
        "webp" => "webp",
        "exr" => "exr",
        "apng" => "apng",
        "gif" => "gif",
        "mp4" => "mp4",
        other => {
            let found = if other.is_empty() { "no extension".to_owned() } else { format!("the extension .{other}") };
            let name = output.display();
            return Err(Stop::Usage(format!(
                "{name} has {found}, expected .png, .jpg, .webp, .exr, .apng, .gif or .mp4 (or say --format)"
            )));
        }
    };
    options.set("format", format.into());
    Ok(())
}

type Assets = Vec<(String, PathBuf)>;

/// The job document, by the service's rules, and the files that it names.
fn job(args: &mut Args, work: &Path) -> Result<(JobSpec, Assets), Stop> {
    let dialect = shader::dialect_of(&args.file);
    if dialect.is_some() || args.options.get("dialect").is_some() {
        return shader_job(args, dialect);
    }
    if let Some(flag) = args.shader.given() {
        return Err(Stop::Usage(format!("{flag} is for shaders, and {} is a scene", args.file.display())));
    }
    let environment = environment_file(&mut args.options)?;
    // Without the scene at first: a wrong flag should be said before a large file is read.
    let mut files = AttachedFiles::of_scene(AssetRef(format!("sha256:{}", "0".repeat(64))));
    let mut assets = Vec::new();
    if let Some(path) = &environment {
        let asset = input::asset_ref(path)?;
        assets.push((asset.0.clone(), std::path::absolute(path).context("the current folder is gone")?));
        files.environment = Some(asset);
    }
    let parse = |files: &AttachedFiles| {
        let document = document_from_options(args.options.0.iter().map(|(name, value)| (*name, value)), files)?;
        JobSpec::from_document(document, files)
    };
    parse(&files).map_err(|error| Stop::Usage(wrong_options(&error)))?;
    let path = input::scene_file(&args.file, work)?;
    let asset = input::asset_ref(&path)?;
    assets.push((asset.0.clone(), path));
    files.scene = Some(asset);
    let spec = parse(&files).map_err(|error| Stop::Usage(wrong_options(&error)))?;
    Ok((spec, assets))
}

/// The same for a shader.
fn shader_job(args: &mut Args, dialect: Option<&'static str>) -> Result<(JobSpec, Assets), Stop> {
    if let Some(dialect) = dialect
        && args.options.get("dialect").is_none()
    {
        // A sidecar is compute.toys' own.
        let sidecar = dialect == "kiln" && args.shader.has_sidecar();
        args.options.set("dialect", if sidecar { "compute_toys" } else { dialect }.into());
    }
    let mut assets = Vec::new();
    let files = shader::attached(&args.file, &args.shader, &mut assets)?;
    let own = args.options.0.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    let pairs: Vec<(String, String)> = own.chain(args.shader.options()?).collect();
    let spec = JobSpec::from_options(pairs, &files).map_err(|error| Stop::Usage(wrong_options(&error)))?;
    Ok((spec, assets))
}

/// Where one of several files goes: `waves.png` and `frame-0012.png` are `waves-0012.png`.
fn beside(target: &Path, name: &str) -> PathBuf {
    let number = name.trim_start_matches("frame-");
    let stem = target.file_stem().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!("{stem}-{number}"))
}

/// `--environment FILE`: taken out of the options, unless it names a preset.
fn environment_file(options: &mut SpecOptions) -> Result<Option<PathBuf>, Stop> {
    let Some(value) = options.get("environment") else { return Ok(None) };
    if serde_json::from_value::<Preset>(value.into()).is_ok() {
        return Ok(None);
    }
    let path = PathBuf::from(value);
    if !path.is_file() {
        let message = format!("--environment: {value:?} is neither a preset (studio, sky, white, black) nor a file");
        return Err(Stop::Usage(message));
    }
    options.remove("environment");
    Ok(Some(path))
}

/// What is wrong with the options, each by its flag.
fn wrong_options(error: &SpecError) -> String {
    let line = |problem: &SpecProblem| {
        let place =
            if problem.pointer.starts_with('?') { problem.pointer.clone() } else { option_of(&problem.pointer) };
        match place.strip_prefix('?') {
            Some(name) => format!("--{}: {}", flag(name), problem.message),
            None => format!("{place}: {}", problem.message),
        }
    };
    error.problems.iter().map(line).collect::<Vec<_>>().join("\n       ")
}

/// Runs tasks to their ends, one after the other; Ctrl-C cancels them. Answers the outputs of all, and the last one's report.
fn run_tasks(args: &Args, runs: Vec<RunTask>) -> Result<(Vec<Output>, String), Stop> {
    let mut display = Display::new(args.quiet);
    let (_keeps_it_open, interrupts) = interrupts();
    let (device_thread, device) = DeviceThread::spawn(&args.gpu)
        .map_err(|error| Stop::Error(anyhow::anyhow!("{error}\nkiln doctor says more about this machine's GPU")))?;
    let (sender, replies) = bounded(PIPE_FRAMES_QUEUED_MAX);
    let pipeline = Pipeline::start(device, sender);
    // Where a driver hangs it would hang in the shutdown too, which only a good end waits for: the end of this process ends both.
    let device_thread = ManuallyDrop::new(device_thread);
    let count = runs.len();
    let (mut outputs, mut report) = (Vec::new(), String::new());
    for (index, run) in runs.into_iter().enumerate() {
        let of_all =
            |progress: Progress| Progress { fraction: (index as f32 + progress.fraction) / count as f32, ..progress };
        match run_task(&pipeline, run, &replies, &interrupts, |progress| display.show(&of_all(progress)))? {
            TaskEnd::Succeeded { outputs: made, report_json } => {
                outputs.extend(made);
                report = report_json;
            }
            TaskEnd::Cancelled | TaskEnd::PutAside => return Err(Stop::Cancelled),
            TaskEnd::Failed(failure) => {
                display.end();
                return Err(Stop::Failed(failure));
            }
        }
    }
    display.end();
    ManuallyDrop::into_inner(device_thread).shutdown();
    Ok((outputs, report))
}

/// The tasks of a job, made of the one for all of it.
fn tasks(spec: &JobSpec, run: &RunTask) -> Vec<RunTask> {
    let JobSpec::Scene(scene) = spec else { return vec![run.clone()] };
    let frame_path = |frame: u32| run.output_dir.join(scene.frame_name(frame));
    let task = |(index, plan): (usize, TaskPlan)| RunTask {
        task: TaskKey { fence: index as i64 + 1, ..run.task },
        frames: match plan.kind {
            TaskKind::Frames => Vec::new(),
            TaskKind::Assemble => (plan.first_frame..=plan.last_frame).map(frame_path).collect(),
        },
        plan,
        ..run.clone()
    };
    spec.tasks().into_iter().enumerate().map(task).collect()
}

/// One task, to its last message.
fn run_task(
    pipeline: &Pipeline,
    run: RunTask,
    replies: &Receiver<Reply>,
    interrupts: &Receiver<()>,
    mut show: impl FnMut(Progress),
) -> Result<TaskEnd, Stop> {
    let key = run.task;
    pipeline.run(run);
    loop {
        let reply = select! {
            recv(replies) -> reply => reply.context("the renderer's threads ended")?,
            recv(interrupts) -> _ => {
                pipeline.cancel(key);
                continue;
            }
        };
        match reply {
            Reply::Progress { progress, .. } => show(progress),
            Reply::Ended { result, .. } => return Ok(result),
            Reply::Log { message, .. } => eprintln!("{message}"),
            Reply::Fatal { message } => return Err(Stop::Error(anyhow::anyhow!(message))),
            Reply::Ready { .. }
            | Reply::Recycle { .. }
            | Reply::Leaving
            | Reply::Heartbeat { .. }
            | Reply::DeviceFree { .. }
            | Reply::Output { .. }
            | Reply::Preview { .. }
            | Reply::Checkpoint { .. }
            | Reply::Preempted { .. }
            | Reply::Resident { .. } => {}
        }
    }
}

/// One message a Ctrl-C. The second one ends the process at once, whatever the driver does.
fn interrupts() -> (Sender<()>, Receiver<()>) {
    let (sender, receiver) = bounded(1);
    let to_render = sender.clone();
    let spawned = std::thread::Builder::new().name("ctrl-c".into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        runtime.block_on(async {
            tokio::signal::ctrl_c().await?;
            let _ = to_render.try_send(());
            tokio::signal::ctrl_c().await?;
            std::process::exit(3)
        })
    });
    let _: std::io::Result<std::thread::JoinHandle<std::io::Result<()>>> = spawned;
    (sender, receiver)
}

/// Puts the picture in its place.
fn deliver(output: &Output, work: &Path, target: &Path, to_stdout: bool) -> anyhow::Result<()> {
    let made = work.join(&output.name);
    if to_stdout {
        let mut picture = std::fs::File::open(&made).context("the picture cannot be read")?;
        let mut stdout = std::io::stdout().lock();
        std::io::copy(&mut picture, &mut stdout).context("stdout cannot be written")?;
        return stdout.flush().context("stdout cannot be written");
    }
    std::fs::rename(&made, target).with_context(|| format!("{} cannot be written", target.display()))
}

/// A failure with its places, for people.
fn readable(failure: &Failure) -> String {
    let mut text = failure.message.clone();
    for detail in &failure.details {
        if let Some(placed) = shader::placed(detail) {
            text.push_str(&format!("\n{placed}"));
        } else if let Some(pointer) = &detail.pointer {
            text.push_str(&format!("\n  at {pointer}: {}", detail.message));
        } else if detail.message != failure.message {
            text.push_str(&format!("\n  {}: {}", detail.stage, detail.message));
        }
    }
    text
}
