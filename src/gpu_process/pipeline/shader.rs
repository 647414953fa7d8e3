//! The way of a shader's task: its frames go from the device thread straight to an encoder thread, over a bounded channel of its own.
//!
//! There are as many of these threads as tasks, so that none waits for another's animation. Frames of a sequence, and the compression of
//! an animation's frames, are spread over the cores; files are named, told and put together in the order of the frames.

use super::{PreviewPicture, Shared, Stage, TaskKey, internal, panic_text, spawn};
use crate::device::DeviceError;
use crate::gpu_process::protocol::{Reply, RunTask, TaskEnd};
use crate::gpu_process::task;
use crate::image::animation::{self, AnimationSettings, AnimationWriter, CompressedFrame};
use crate::image::{self, EncodeError, PackedPicture};
use crate::job::shader::ShaderSpec;
use crate::job::{Failure, FailureReason, Output, Phase, Progress};
use crate::limits::*;
use crate::shader_job::run::{
    FrameMessage, LoadError, PackFormat, PackedFrame, RunError, RunEvent, ShaderInput, ShaderOrder, ShaderRun,
    ShaderStats,
};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What an encoder thread gets: a task, and where its frames come from.
pub(super) struct ShaderEncode {
    key: TaskKey,
    run: Arc<RunTask>,
    input: Arc<ShaderInput>,
    frames: Receiver<FrameMessage>,
}

/// Starts the encoder threads.
pub(super) fn start(shared: &Arc<Shared>, work: &Receiver<ShaderEncode>) {
    for index in 0..GPU_PROCESS_TASKS_MAX {
        let (shared, work) = (Arc::clone(shared), work.clone());
        spawn(&format!("shader-encoder-{index}"), LOADER_STACK_BYTES, move || {
            for encode in work {
                shared.encode_shader(&encode);
            }
        });
    }
}

/// Compiles a task's shader and reads its channels.
pub(super) fn load(shared: &Shared, run: &RunTask, spec: ShaderSpec) -> Result<ShaderInput, LoadError> {
    let asset = |wanted: &crate::job::spec::AssetRef| task::asset(run, wanted).map(Path::to_owned);
    crate::shader_job::run::input::load(spec, &run.client, &shared.adapter, asset)
}

impl Shared {
    /// Hands a compiled shader over to the device and to an encoder, unless it was cancelled meanwhile.
    pub(super) fn submit_shader(self: &Arc<Self>, key: TaskKey, run: &Arc<RunTask>, input: ShaderInput) {
        let (cancel, put_aside, work) = {
            let mut state = self.lock();
            let Some(entry) = state.tasks.get_mut(&key) else { return };
            entry.stage = Stage::Device;
            (Arc::clone(&entry.cancel), Arc::clone(&entry.put_aside), entry.work)
        };
        let (resume, note) = task::resume(run);
        if let Some(message) = note {
            let _ = self.replies.try_send(Reply::Log { task: key, message });
        }
        let input = Arc::new(input);
        let bytes = input.pack.frame_bytes(input.program.size);
        let queued = (SHADER_FRAMES_BYTES_MAX / 2 / bytes).clamp(1, SHADER_FRAMES_QUEUED_MAX as u64) as usize;
        let (frames, arriving) = bounded(queued);
        let shared = Arc::clone(self);
        let totals = Totals::of(&input);
        let order = ShaderOrder {
            input: Arc::clone(&input),
            label: format!("job {}", key.job),
            priority: run.priority,
            cancel,
            put_aside,
            resume,
            checkpoint: (run.checkpoint_ms > 0).then(|| Duration::from_millis(run.checkpoint_ms)),
            frames,
            events: Box::new(move |event| shared.on_shader_event(key, &totals, event)),
        };
        let encode = ShaderEncode { key, run: Arc::clone(run), input, frames: arriving };
        self.shader_encodes.send(encode).expect("the encoder threads live as long as the process");
        self.hand_over(key, work, Box::new(ShaderRun::new(order)));
    }

    /// Runs on the device thread, which must never wait here.
    fn on_shader_event(&self, key: TaskKey, totals: &Totals, event: RunEvent) {
        match event {
            RunEvent::Progress { frames_done, fraction, gpu_seconds } => {
                self.tell_progress(key, || totals.progress(Phase::Rendering, fraction, frames_done, gpu_seconds));
            }
            RunEvent::Preview(pixels, frame) => {
                self.show(key, PreviewPicture::Packed { pixels, size: totals.size }, frame);
            }
            RunEvent::Checkpoint(state) => self.save_checkpoint(key, state),
            RunEvent::Note(message) => {
                let _ = self.replies.try_send(Reply::Log { task: key, message });
            }
            RunEvent::Preempted => {
                let _ = self.replies.try_send(Reply::Preempted { task: key });
            }
            RunEvent::PutAside(state) => self.save_last(key, state),
            RunEvent::Finished => {
                self.leave_device(key);
                self.forward(Reply::DeviceFree { task: key });
            }
            RunEvent::Cancelled => self.end_on_device(key, TaskEnd::Cancelled),
            RunEvent::Failed(error) => self.end_on_run_error(key, error),
        }
    }

    fn end_on_run_error(&self, key: TaskKey, error: RunError) {
        let failure = match error {
            // The work that was on the device when it went counts a death, as for a process that died under it. Those that find it gone
            // afterwards do not.
            RunError::Device(error @ (DeviceError::Lost(_) | DeviceError::Timeout(_)))
                if !self.device_lost.swap(true, Ordering::Relaxed) =>
            {
                let message = format!("The GPU was lost while it ran the shader: {error}");
                let failure = task::failure(FailureReason::WorkerLost, message, "run");
                self.end_on_device(key, TaskEnd::Failed(failure));
                return self.forward(Reply::Fatal { message: error.to_string() });
            }
            RunError::Device(error) => return self.end_on_device_error(key, error),
            RunError::Shader(problem) => Failure::from(crate::shader_job::ShaderErrors::from(problem)),
            RunError::Seconds { seconds_max, frames } => {
                let message = format!(
                    "The shader has used its {seconds_max} seconds on the GPU after {frames} frames; raise limits.gpu_seconds, or ask for fewer frames or a smaller picture."
                );
                task::failure(FailureReason::LimitExceeded, message, "run")
            }
            RunError::Hung(entry_point) => {
                let message = format!(
                    "One dispatch of {entry_point:?} did not end within {} s, and was stopped; make it do less at once.",
                    DEVICE_HANG_MS / 1000
                );
                let failure = task::failure(FailureReason::LimitExceeded, message.clone(), "run");
                self.end_on_device(key, TaskEnd::Failed(failure));
                // The device never comes back from it, whoever's task it was.
                return self.forward(Reply::Fatal { message });
            }
        };
        self.end_on_device(key, TaskEnd::Failed(failure));
    }

    /// Encodes the frames of one task until there are no more. Where the device gave up, so does this.
    fn encode_shader(&self, encode: &ShaderEncode) {
        let key = encode.key;
        let made = catch_unwind(AssertUnwindSafe(|| self.encode_frames(encode)))
            .unwrap_or_else(|panic| Err(internal(format!("the encoder failed: {}", panic_text(&*panic)), "encode")));
        let cancel = self.lock().tasks.get(&key).map(|entry| Arc::clone(&entry.cancel));
        let cancelled = cancel.as_ref().is_some_and(|cancel| cancel.load(Ordering::Acquire));
        match made {
            // A cancel that came during the encoding still counts: the caller removes the files.
            Ok(Some(_)) if cancelled => self.end(key, TaskEnd::Cancelled),
            Ok(Some(end)) => self.end(key, end),
            // The device has said why.
            Ok(None) => {}
            Err(failure) => {
                // The device stops at its next frame, which nobody takes.
                if let Some(cancel) = cancel {
                    cancel.store(true, Ordering::Release);
                }
                self.end(key, TaskEnd::Failed(failure));
            }
        }
    }

    fn encode_frames(&self, encode: &ShaderEncode) -> Result<Option<TaskEnd>, Failure> {
        let start = Instant::now();
        let ShaderEncode { key, run, input, frames } = encode;
        let spec = &input.spec;
        let mut outputs = Vec::new();
        let stats = if spec.is_still() || spec.is_sequence() {
            let sequence = spec.is_sequence();
            let (spec, folder) = (spec.clone(), run.output_dir.clone());
            let pack = input.pack;
            let work =
                move |frame| write_frame(&spec, pack, &folder, frame).map_err(|error| task::encode_failure(&error));
            let mut bytes = 0;
            in_order(frames, Lanes::new(self, input), work, |output: Output| {
                bytes += output.bytes;
                if bytes > OUTPUT_BYTES_MAX {
                    return Err(task::encode_failure(&EncodeError::TooLarge { bytes_max: OUTPUT_BYTES_MAX }));
                }
                if sequence {
                    // A courtesy: what is not told now is told at the end.
                    let _ = self.replies.try_send(Reply::Output {
                        task: *key,
                        index: outputs.len() as u32,
                        output: output.clone(),
                    });
                }
                outputs.push(output);
                Ok(())
            })?
        } else {
            let settings = animation_settings(spec);
            let name = animation::file_name(spec.output.format);
            let path = run.output_dir.join(name);
            let wrong = |error: EncodeError| task::encode_failure(&error);
            let mut writer = AnimationWriter::create(&path, settings).map_err(wrong)?;
            let compressor = writer.compressor();
            let work = move |frame: PackedFrame| {
                compressor.compress(frame.bytes).map_err(|error| task::encode_failure(&error))
            };
            let lanes = Lanes::new(self, input);
            let stats = in_order(frames, lanes, work, |frame: CompressedFrame| writer.push(frame).map_err(wrong))?;
            if stats.is_some() {
                let (bytes, sha256) = writer.finish().map_err(wrong)?;
                outputs.push(Output {
                    name: name.to_owned(),
                    media_type: image::media_type(spec.output.format).to_owned(),
                    bytes,
                    sha256: hex::encode(sha256),
                });
            }
            stats
        };
        let Some(stats) = stats else { return Ok(None) };
        // Not a courtesy: what a job is charged for, and what is learnt of its cost, is in it.
        let gpu_seconds = stats.gpu_seconds - stats.inherited_seconds;
        let progress = Totals::of(input).progress(Phase::Encoding, 1.0, stats.frames_emitted, gpu_seconds);
        let _ = self.replies.send(Reply::Progress { task: *key, progress });
        for message in &stats.warnings {
            let _ = self.replies.send(Reply::Log { task: *key, message: format!("warning: {message}") });
        }
        let report = serde_json::json!({
            "shader": {"load_ms": input.load_ms, "compiled_before": input.compiled_before,
                       "iterations_max": input.program.iterations_max},
            "run": stats,
            "adapter": self.adapter,
            "encode_ms": start.elapsed().as_millis() as u64,
            "kiln": env!("CARGO_PKG_VERSION"),
        });
        Ok(Some(TaskEnd::Succeeded { outputs, report_json: report.to_string() }))
    }
}

/// Bytes of the frames that are being encoded, over all tasks.
#[derive(Default)]
pub(super) struct Encoding(AtomicU64);

/// A frame that is counted in [`Encoding`] while this lives.
struct Encoded<'a>(&'a Encoding, u64);

impl Encoding {
    /// Counts a frame; `None` where there is no room for it.
    fn enter(&self, bytes: u64) -> Option<Encoded<'_>> {
        let more = |now: u64| now.checked_add(bytes).filter(|sum| *sum <= SHADER_ENCODING_BYTES_MAX);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| Encoded(self, bytes))
    }
}

impl Drop for Encoded<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

/// How many frames of a task are encoded side by side.
struct Lanes<'a> {
    at_once: usize,
    encoding: &'a Encoding,
    /// Of one frame.
    frame_bytes: u64,
}

impl<'a> Lanes<'a> {
    fn new(shared: &'a Shared, input: &ShaderInput) -> Self {
        let frame_bytes = input.pack.frame_bytes(input.program.size).max(1);
        let fit = usize::try_from(SHADER_FRAMES_BYTES_MAX / frame_bytes).unwrap_or(usize::MAX);
        let at_once = match input.spec.is_still() {
            true => 1,
            false => fit.min(rayon::current_num_threads()).clamp(1, SHADER_ENCODES_MAX),
        };
        Self { at_once, encoding: &shared.encoding, frame_bytes }
    }
}

/// Runs `work` on every frame, several at once, and `take` on what it gives, one after the other in the order of the frames. `None` where
/// the frames ended before their end.
fn in_order<T: Send + 'static>(
    frames: &Receiver<FrameMessage>,
    lanes: Lanes<'_>,
    work: impl Fn(PackedFrame) -> Result<T, Failure> + Clone + Send + 'static,
    mut take: impl FnMut(T) -> Result<(), Failure>,
) -> Result<Option<Box<ShaderStats>>, Failure> {
    type Running<'a, T> = VecDeque<(Receiver<Result<T, Failure>>, Option<Encoded<'a>>)>;
    let mut running: Running<'_, T> = VecDeque::new();
    let mut next = |running: &mut Running<'_, T>| match running.pop_front() {
        Some((done, _room)) => {
            take(done.recv().unwrap_or_else(|_| Err(internal("an encoder ended early".into(), "encode")))?)
        }
        None => Ok(()),
    };
    loop {
        let frame = match frames.recv() {
            Ok(FrameMessage::Frame(frame)) => frame,
            Ok(FrameMessage::End(stats)) => {
                while !running.is_empty() {
                    next(&mut running)?;
                }
                return Ok(Some(stats));
            }
            Err(_) => return Ok(None),
        };
        // Where other tasks have taken all the room, this one still has one frame at a time, so that all of them get on.
        let room = loop {
            match lanes.encoding.enter(lanes.frame_bytes) {
                None if !running.is_empty() => next(&mut running)?,
                room => break room,
            }
        };
        let (sender, done) = bounded(1);
        if lanes.at_once == 1 {
            run_one(&work, frame, &sender);
        } else {
            let work = work.clone();
            rayon::spawn(move || run_one(&work, frame, &sender));
        }
        running.push_back((done, room));
        while running.len() >= lanes.at_once || running.front().is_some_and(|(done, _)| !done.is_empty()) {
            next(&mut running)?;
        }
    }
}

fn run_one<T>(
    work: &impl Fn(PackedFrame) -> Result<T, Failure>,
    frame: PackedFrame,
    sender: &Sender<Result<T, Failure>>,
) {
    let result = catch_unwind(AssertUnwindSafe(|| work(frame)))
        .unwrap_or_else(|panic| Err(internal(format!("the encoder failed: {}", panic_text(&*panic)), "encode")));
    // Nobody waits any more where another frame failed.
    let _ = sender.send(result);
}

fn write_frame(spec: &ShaderSpec, pack: PackFormat, folder: &Path, frame: PackedFrame) -> Result<Output, EncodeError> {
    let still = image::file_name(spec.output.format);
    let name = match spec.is_sequence() {
        true => format!("frame-{:04}.{}", frame.number, still.rsplit('.').next().unwrap_or_default()),
        false => still.to_owned(),
    };
    let path: PathBuf = folder.join(&name);
    let picture = PackedPicture { size: spec.size, deep: pack == PackFormat::Rgb16, bytes: &frame.bytes };
    let (bytes, sha256) = picture.write(&spec.output, &path)?;
    let media_type = image::media_type(spec.output.format).to_owned();
    Ok(Output { name, media_type, bytes, sha256: hex::encode(sha256) })
}

fn animation_settings(spec: &ShaderSpec) -> AnimationSettings {
    AnimationSettings {
        format: spec.output.format,
        size: spec.size,
        frame_rate: f64::from(spec.frames.fps) / f64::from(spec.frames.step),
        alpha: false,
        quality: spec.output.quality,
    }
}

/// What progress is measured by.
struct Totals {
    frames: u32,
    size: [u32; 2],
}

impl Totals {
    fn of(input: &ShaderInput) -> Self {
        Self { frames: input.spec.frames.count(), size: input.spec.size }
    }

    fn progress(&self, phase: Phase, fraction: f32, frames_done: u32, gpu_seconds: f64) -> Progress {
        let fraction = fraction.clamp(0.0, 1.0);
        Progress { phase, fraction, frames_done, frames_total: self.frames, gpu_seconds, ..Progress::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_all_tasks_share_one_bound_and_every_task_has_one_frame() {
        let encoding = Encoding::default();
        let frame_bytes = SHADER_ENCODING_BYTES_MAX / 2 + 1;
        let taken = encoding.enter(frame_bytes);
        assert!(taken.is_some() && encoding.enter(frame_bytes).is_none());
        // The room is another task's: frames still go through, one by one and in their order.
        let (sender, frames) = bounded(20);
        for number in 0..10 {
            sender.send(FrameMessage::Frame(PackedFrame { number, bytes: Vec::new() })).unwrap();
        }
        sender.send(FrameMessage::End(Box::default())).unwrap();
        let at_once = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&at_once);
        let work = move |frame: PackedFrame| {
            assert_eq!(counted.fetch_add(1, Ordering::SeqCst), 0, "two at once");
            std::thread::yield_now();
            counted.fetch_sub(1, Ordering::SeqCst);
            Ok(frame.number)
        };
        let mut seen = Vec::new();
        let lanes = Lanes { at_once: 8, encoding: &encoding, frame_bytes };
        let stats = in_order(&frames, lanes, work, |number| {
            seen.push(number);
            Ok(())
        });
        assert!(matches!(stats, Ok(Some(_))));
        assert_eq!(seen, (0..10).collect::<Vec<u32>>());
        drop(taken);
        assert!(encoding.enter(frame_bytes).is_some(), "the room is free again");
    }
}
