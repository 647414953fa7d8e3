//! Runs a compiled shader job on the device: how a frame goes.
//!
//! 1. [`input`] (loader thread) compiles the text to a [`crate::shader_job::Program`] and reads the channels.
//! 2. [`ShaderRun`] (device thread, a [`SliceWork`]) creates pipelines (`pipelines`) and resources (`live`), then simulates frame after
//!    frame: [`clock`] says what the frame's uniforms are, the dispatches are submitted in batches that fit in a slice, two batches in
//!    flight at most. So the device always has the next batch while the host looks at the last one. Each dispatch is a submission of its
//!    own, and each has [`DEVICE_HANG_MS`] to end.
//! 3. A frame that is emitted is packed to the bytes that its encoder takes by a kernel ([`pack`]), copied to a buffer of a ring
//!    (`readback`), and handed over a bounded channel to an encoder thread as a [`PackedFrame`]. Where the encoder is behind, the next
//!    frame waits, and the device is free for other work ([`SliceOutcome::Blocked`]).
//!
//! Frames are never skipped: frame k is simulated after frame k − 1, whatever is emitted. Its bits depend on the job and the adapter alone,
//! not on batches or slices, since every dispatch is a pass of its own. The state between two frames can be read back (`Live::save`) and
//! put back, to make room on the device and, as long as no frame was emitted, to go on in another process: frames that were emitted may be
//! in an encoder still, which goes with its process.
//!
//! Knows neither files nor formats nor the protocol.

pub mod channels;
pub mod clock;
pub mod input;
mod live;
pub mod pack;
mod pipelines;
mod readback;
mod state;

pub use input::{LoadError, ProgramKey, ShaderInput};
pub use pack::PackFormat;

use crate::device::{Abandoned, DeviceError, GpuContext, SliceOutcome, SliceWork};
use crate::gpu_process::checkpoint::SavedState;
use crate::job::Priority;
use crate::limits::*;
use crate::shader_job::ShaderDiagnostic;
use clock::Clock;
use crossbeam_channel::{Sender, TrySendError};
use live::{Live, Step};
use pipelines::CompileError;
use readback::{Ring, Slot};
use state::SimulatedState;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A frame on its way to its encoder.
#[derive(Debug, Clone, PartialEq)]
pub struct PackedFrame {
    /// Its number, as the job document counts: warm-up not counted.
    pub number: u32,
    /// Pixels as [`ShaderInput::pack`] says, without padding.
    pub bytes: Vec<u8>,
}

/// What an encoder gets.
#[derive(Debug, Clone, PartialEq)]
pub enum FrameMessage {
    /// The next frame.
    Frame(PackedFrame),
    /// There are no more. Without it, the job did not come to its end.
    End(Box<ShaderStats>),
}

/// What happens to a run. All but the last are courtesies.
#[derive(Debug)]
pub enum RunEvent {
    /// After a slice.
    Progress {
        /// Frames handed to the encoder.
        frames_done: u32,
        /// [0, 1] of the simulation.
        fraction: f32,
        /// Seconds of this attempt's slices so far.
        gpu_seconds: f64,
    },
    /// The picture so far: 8-bit sRGB, three bytes a pixel, and the frame that comes next, warm-up counted.
    Preview(Vec<u8>, u32),
    /// The state so far, to go on from after a crash; see [`ShaderOrder::checkpoint`].
    Checkpoint(SavedState),
    /// A sentence for the user.
    Note(String),
    /// Work of a more urgent class took the device.
    Preempted,
    /// The device is done with it; [`FrameMessage::End`] is on its way. The last event.
    Finished,
    /// It left the device, as it was asked to, with the state to go on from if there is something in it. The last event.
    PutAside(Option<SavedState>),
    /// It was cancelled. The last event.
    Cancelled,
    /// It failed. The last event.
    Failed(RunError),
}

/// Why a run failed.
#[derive(Debug)]
pub enum RunError {
    /// The text: the adapter's compiler refused it, or a loop ran out of fuel.
    Shader(ShaderDiagnostic),
    /// It took more seconds on the device than it may.
    Seconds {
        /// The bound.
        seconds_max: f32,
        /// Frames that were simulated by then.
        frames: u32,
    },
    /// One batch did not end; the process has to. The names of its entry points.
    Hung(String),
    /// The device.
    Device(DeviceError),
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize)]
pub struct ShaderStats {
    /// Seconds of slices; those before an interruption too.
    pub gpu_seconds: f64,
    /// Of these, the seconds of earlier attempts, which are in the checkpoint that it went on from.
    pub inherited_seconds: f64,
    /// Of these, seconds until the first dispatch: compiling, creating.
    pub setup_seconds: f64,
    /// Frames simulated in this attempt.
    pub frames_simulated: u32,
    /// Frames emitted, over all attempts.
    pub frames_emitted: u32,
    /// Slices.
    pub slices: u32,
    /// Pixels of emitted frames that were infinite or not a number, counted once a frame.
    pub not_finite_pixels: u32,
    /// Bytes on the device, without channels and readback.
    pub gpu_bytes: u64,
    /// Things that the user should know.
    pub warnings: Vec<String>,
}

/// The events' receiver; called on the device thread, which must never wait there.
pub type RunEvents = Box<dyn FnMut(RunEvent) + Send>;

/// What a run is made of.
pub struct ShaderOrder {
    /// What to run.
    pub input: Arc<ShaderInput>,
    /// For logs and labels.
    pub label: String,
    /// Class on the device thread.
    pub priority: Priority,
    /// Set by whoever wants it to be dropped.
    pub cancel: Arc<AtomicBool>,
    /// Set by whoever wants it to leave with its state.
    pub put_aside: Arc<AtomicBool>,
    /// A state to go on from. One that does not fit is ignored with a [`RunEvent::Note`].
    pub resume: Option<SavedState>,
    /// Work between two checkpoints; `None` for none.
    pub checkpoint: Option<Duration>,
    /// Where frames go.
    pub frames: Sender<FrameMessage>,
    /// See [`RunEvents`].
    pub events: RunEvents,
}

/// A run, to be given to [`crate::device::DeviceHandle::submit`].
pub struct ShaderRun {
    order: ShaderOrder,
    stats: ShaderStats,
    clock: Clock,
    /// The frame that is simulated next, warm-up counted, and the steps of it that were submitted.
    frame: u32,
    steps_done: usize,
    live: Option<Box<OnDevice>>,
    /// The state of a run that has left the device.
    evicted: Option<SimulatedState>,
    /// Frames that the encoder has had no room for.
    waiting: VecDeque<FrameMessage>,
    batch_steps: usize,
    /// Work since the last state that somebody else has.
    unsaved: Duration,
    /// All frames are simulated, and the device holds nothing of it any more; [`FrameMessage::End`] waits or is sent.
    over: bool,
    ended: bool,
}

/// What exists while the run is on the device.
struct OnDevice {
    live: Live,
    ring: Ring,
    in_flight: VecDeque<Batch>,
    /// For the reports, where a batch emits nothing.
    reports: Ring,
}

/// Dispatches that were submitted together.
struct Batch {
    /// In order, each with the index of its dispatch for the message of a hang.
    submissions: Vec<(wgpu::SubmissionIndex, usize)>,
    submitted: Instant,
    steps: usize,
    /// The frame that it ends with, its buffer, and the number that it is emitted under.
    emitted: Option<(Slot, u32)>,
    /// Reports alone.
    reports: Option<Slot>,
}

/// Batches that the device may have before the thread waits.
const BATCHES_IN_FLIGHT_MAX: usize = 2;
/// A checkpoint costs its read-back at most this part of the time that it saves.
const CHECKPOINT_COST_MIN: u32 = 50;

/// Why a slice ended before its time.
enum Stop {
    Device(DeviceError),
    Run(RunError),
}

impl From<DeviceError> for Stop {
    fn from(error: DeviceError) -> Self {
        Self::Device(error)
    }
}

impl ShaderRun {
    /// A run that has not begun.
    pub fn new(order: ShaderOrder) -> Self {
        let clock = Clock::new(&order.input.spec);
        let gpu_bytes = order.input.program.memory_bytes;
        let warnings = order.input.program.warnings.clone();
        Self {
            stats: ShaderStats { gpu_bytes, warnings, ..ShaderStats::default() },
            clock,
            frame: 0,
            steps_done: 0,
            live: None,
            evicted: None,
            waiting: VecDeque::new(),
            batch_steps: 0,
            unsaved: Duration::ZERO,
            over: false,
            ended: false,
            order,
        }
    }

    fn frames_total(&self) -> u32 {
        self.order.input.spec.frames_simulated()
    }

    /// The number under which a frame is emitted; `None` where it is only simulated.
    fn number_of(&self, frame: u32) -> Option<u32> {
        let spec = &self.order.input.spec;
        frame.checked_sub(spec.warmup).filter(|number| spec.frames.emits(*number))
    }

    /// Bytes of one frame on its way to the host.
    fn slot_bytes(&self) -> u64 {
        let input = &self.order.input;
        input.pack.frame_bytes(input.program.size) + 4 * (input.program.units.len() as u64 + 1)
    }

    fn slots(&self) -> usize {
        let emitted = self.order.input.spec.frames.count() as usize;
        let fit = (SHADER_FRAMES_BYTES_MAX / 2 / self.slot_bytes()) as usize;
        fit.clamp(1, SHADER_READBACKS_MAX).min(emitted).max(1)
    }

    /// Gets everything on the device, and the state that there is already.
    fn set_up(&mut self, gpu: &GpuContext<'_>) -> Result<(), Stop> {
        if self.live.is_some() {
            return Ok(());
        }
        let start = Instant::now();
        let input = Arc::clone(&self.order.input);
        let wanted = self.device_bytes();
        let most = SHADER_MEMORY_BYTES_MAX.min(gpu.adapter.budget_bytes);
        if wanted > most {
            return Err(Stop::Device(DeviceError::Limit(format!(
                "with its channels and the frames on their way back it needs {wanted} bytes of GPU memory, and {most} are allowed"
            ))));
        }
        let compiled = pipelines::get(gpu, &input.key, &input.program).map_err(|error| match error {
            CompileError::Refused(problem) => Stop::Run(RunError::Shader(problem)),
            CompileError::Device(error) => Stop::Device(error),
        })?;
        let live = Live::new(gpu, &input, compiled)?;
        let ring = Ring::new(gpu, self.slots(), self.slot_bytes())?;
        let reports = Ring::new(gpu, BATCHES_IN_FLIGHT_MAX, live.report_bytes())?;
        if self.evicted.is_none()
            && let Some(saved) = self.order.resume.take()
        {
            let (state, note) = match SimulatedState::of_saved(&saved, &input, gpu.adapter) {
                Ok(state) => {
                    let note = format!("goes on from a checkpoint at frame {}", state.frame);
                    (Some(state), note)
                }
                Err(why) => (None, format!("warning: a checkpoint was ignored and the work begins again: {why}")),
            };
            self.evicted = state;
            (self.order.events)(RunEvent::Note(note));
        }
        if let Some(state) = self.evicted.take() {
            if live.restore(gpu, &state.parts)? {
                self.frame = state.frame;
                self.clock = Clock::at(&input.spec, state.frame);
                self.stats.frames_emitted = state.frames_emitted;
                // Of an eviction it has them already.
                let more_seconds = (state.gpu_seconds - self.stats.gpu_seconds).max(0.0);
                self.stats.gpu_seconds += more_seconds;
                self.stats.inherited_seconds += more_seconds;
            } else {
                let note = "warning: a checkpoint was ignored and the work begins again: it is of another size";
                (self.order.events)(RunEvent::Note(note.to_owned()));
            }
        }
        self.live = Some(Box::new(OnDevice { live, ring, in_flight: VecDeque::new(), reports }));
        self.stats.setup_seconds += start.elapsed().as_secs_f64();
        Ok(())
    }

    fn device_bytes(&self) -> u64 {
        Live::device_bytes(&self.order.input) + self.slots() as u64 * self.slot_bytes()
    }

    /// The steps of the frame that is simulated now.
    fn steps(&self) -> Vec<Step> {
        let dispatches = self.order.input.program.dispatches.iter().enumerate();
        dispatches
            .filter(|(_, dispatch)| self.frame == 0 || !dispatch.once)
            .flat_map(|(index, dispatch)| (0..dispatch.count).map(move |id| Step { dispatch: index, id }))
            .collect()
    }

    /// How many steps to submit before it is known how long they take: those that cannot take long.
    fn first_batch(&self, steps: &[Step]) -> usize {
        let invocations = |step: &Step| {
            let dispatch = &self.order.input.program.dispatches[step.dispatch];
            let product = |sides: [u32; 3]| sides.into_iter().map(u64::from).product::<u64>();
            product(dispatch.workgroup_size).saturating_mul(product(dispatch.workgroups))
        };
        let mut sum = 0_u64;
        let fitting = steps.iter().take_while(|step| {
            sum = sum.saturating_add(invocations(step));
            sum <= SHADER_FIRST_BATCH_INVOCATIONS_MAX
        });
        fitting.count().clamp(1, SHADER_BATCH_STEPS_MAX)
    }

    /// Submits the next batch; false where there is nothing to submit, or no buffer for it.
    fn submit(&mut self, gpu: &GpuContext<'_>) -> bool {
        if self.frame >= self.frames_total() {
            return false;
        }
        let steps = self.steps();
        if self.batch_steps == 0 {
            self.batch_steps = self.first_batch(&steps);
        }
        let end = (self.steps_done + self.batch_steps).min(steps.len());
        let ends_frame = end == steps.len();
        let number = self.number_of(self.frame).filter(|_| ends_frame);
        let on_device = self.live.as_mut().expect("submitted after the set-up only");
        let emitted = match number {
            None => None,
            Some(number) => match on_device.ring.take() {
                Some(slot) => Some((slot, number)),
                None => return false,
            },
        };
        if self.steps_done == 0 {
            let inputs = self.clock.advance(&self.order.input.spec);
            on_device.live.write_uniforms(gpu, inputs);
        }
        let label = wgpu::CommandEncoderDescriptor { label: Some("shader frame") };
        let batch = &steps[self.steps_done..end];
        let mut reports = None;
        let mut submissions = Vec::with_capacity(batch.len());
        // A frame without a dispatch of its own still has an end.
        for at in 0..batch.len().max(1) {
            let mut encoder = gpu.device.create_command_encoder(&label);
            if let Some(step) = batch.get(at) {
                on_device.live.record_step(&mut encoder, self.frame, *step);
            }
            if at + 1 >= batch.len() {
                if ends_frame {
                    on_device.live.record_end(&mut encoder);
                }
                if let Some((slot, _)) = &emitted {
                    let packed = self.order.input.pack.frame_bytes(self.order.input.program.size);
                    on_device.live.record_pack(&mut encoder, slot.buffer());
                    on_device.live.record_reports(&mut encoder, slot.buffer(), packed);
                } else {
                    reports = on_device.reports.take();
                    if let Some(slot) = &reports {
                        on_device.live.record_reports(&mut encoder, slot.buffer(), 0);
                    }
                }
            }
            submissions.push((gpu.queue.submit([encoder.finish()]), batch.get(at).map_or(0, |step| step.dispatch)));
        }
        emitted.iter().map(|(slot, _)| slot).chain(&reports).for_each(Slot::map);
        let steps = batch.len();
        on_device.in_flight.push_back(Batch { submissions, submitted: Instant::now(), steps, emitted, reports });
        self.steps_done = end;
        if ends_frame {
            self.steps_done = 0;
            self.frame += 1;
            self.stats.frames_simulated += 1;
        }
        true
    }

    /// Waits for the oldest batch and takes what it brought.
    fn collect(&mut self, gpu: &GpuContext<'_>) -> Result<(), Stop> {
        let on_device = self.live.as_mut().expect("collected after the set-up only");
        let Some(batch) = on_device.in_flight.pop_front() else { return Ok(()) };
        for (submission, dispatch) in batch.submissions {
            gpu.wait(submission).map_err(|error| match error {
                DeviceError::Timeout(_) => {
                    let dispatch = &self.order.input.program.dispatches[dispatch];
                    Stop::Run(RunError::Hung(dispatch.entry_point.clone()))
                }
                other => Stop::Device(other),
            })?;
        }
        // What a slice may take, shared by two batches and what the measurement misses.
        let seconds = batch.submitted.elapsed().as_secs_f64().max(1e-6);
        let target = gpu.slice_budget.as_secs_f64() / 3.0;
        let fitting = (batch.steps as f64 * target / seconds) as usize;
        let most = self.batch_steps.max(batch.steps).saturating_mul(4).min(SHADER_BATCH_STEPS_MAX);
        self.batch_steps = fitting.clamp(1, most);
        let program = &self.order.input.program;
        let mut ran_out = None;
        if let Some((slot, number)) = batch.emitted {
            let packed = self.order.input.pack.frame_bytes(program.size) as usize;
            let pixels = program.size[0] as usize * program.size[1] as usize;
            let live = &on_device.live;
            let reports_end = packed + live.report_bytes() as usize;
            let (bytes, found, not_finite) = slot.take(|mapped| {
                let (found, not_finite) = live.read_reports(&mapped[packed..reports_end]);
                let bytes = mapped[..pixels * self.order.input.pack.pixel_bytes() as usize].to_vec();
                (bytes, found.cloned(), not_finite)
            })?;
            on_device.ring.give_back(slot);
            self.stats.not_finite_pixels = not_finite;
            ran_out = found;
            if ran_out.is_none() {
                self.stats.frames_emitted += 1;
                self.waiting.push_back(FrameMessage::Frame(PackedFrame { number, bytes }));
            }
        }
        if let Some(slot) = batch.reports {
            let live = &on_device.live;
            let found = slot.take(|mapped| live.read_reports(mapped).0.cloned())?;
            on_device.reports.give_back(slot);
            ran_out = ran_out.or(found);
        }
        match ran_out {
            Some(place) => Err(Stop::Run(RunError::Shader(place.problem))),
            None => Ok(()),
        }
    }

    /// Hands frames to the encoder, as far as it has room.
    fn hand_over(&mut self) -> Result<(), DeviceError> {
        while let Some(message) = self.waiting.pop_front() {
            match self.order.frames.try_send(message) {
                Ok(()) => {}
                Err(TrySendError::Full(message)) => {
                    self.waiting.push_front(message);
                    break;
                }
                Err(TrySendError::Disconnected(_)) => {
                    return Err(DeviceError::Stopped("its encoder has ended".to_owned()));
                }
            }
        }
        Ok(())
    }

    fn run_slice(&mut self, gpu: &GpuContext<'_>) -> Result<(), Stop> {
        let start = Instant::now();
        let seconds_max = self.order.input.spec.limits.gpu_seconds;
        self.set_up(gpu)?;
        let before = self.stats.gpu_seconds;
        loop {
            let submitted = self.waiting.is_empty() && self.submit(gpu);
            let in_flight = self.in_flight();
            if in_flight >= BATCHES_IN_FLIGHT_MAX || (!submitted && in_flight > 0) {
                self.collect(gpu)?;
                self.hand_over()?;
            }
            let spent = start.elapsed();
            if before + spent.as_secs_f64() > f64::from(seconds_max) && self.frame < self.frames_total() {
                return Err(Stop::Run(RunError::Seconds { seconds_max, frames: self.frame }));
            }
            let idle = !submitted && in_flight == 0;
            let cancelled = self.order.cancel.load(Ordering::Relaxed);
            if idle || spent >= gpu.slice_budget || cancelled || self.leaves_between_frames() {
                break;
            }
        }
        // The device is free of it when the slice ends.
        while self.in_flight() > 0 {
            self.collect(gpu)?;
        }
        Ok(())
    }

    /// True where it is to leave the device, and stands between two frames.
    fn leaves_between_frames(&self) -> bool {
        self.order.put_aside.load(Ordering::Acquire) && self.steps_done == 0
    }

    /// Simulates the rest of a frame that was begun, since within a frame there is no state to go on from.
    fn finish_frame(&mut self, gpu: &GpuContext<'_>) -> Result<(), Stop> {
        let start = Instant::now();
        while self.steps_done > 0 {
            let submitted = self.submit(gpu);
            if self.in_flight() == 0 {
                break;
            }
            if !submitted || self.in_flight() >= BATCHES_IN_FLIGHT_MAX {
                self.collect(gpu)?;
            }
        }
        while self.in_flight() > 0 {
            self.collect(gpu)?;
        }
        self.stats.gpu_seconds += start.elapsed().as_secs_f64();
        Ok(())
    }

    /// After the last frame: the device is free of it, and the encoder is told.
    fn conclude(&mut self) {
        let mut stats = Box::new(self.stats.clone());
        if stats.not_finite_pixels > 0 {
            let count = stats.not_finite_pixels;
            stats.warnings.push(format!(
                "{count} pixels were infinite or not a number; they became 65504, -65504 or 0 before the picture was written"
            ));
        }
        self.waiting.push_back(FrameMessage::End(stats));
        self.over = true;
        self.live = None;
    }

    fn in_flight(&self) -> usize {
        self.live.as_ref().map_or(0, |on_device| on_device.in_flight.len())
    }

    fn state(&self, gpu: &GpuContext<'_>) -> Result<Option<SimulatedState>, DeviceError> {
        let Some(on_device) = &self.live else { return Ok(None) };
        if self.steps_done > 0 {
            return Ok(None);
        }
        Ok(Some(SimulatedState {
            frame: self.frame,
            frames_emitted: self.stats.frames_emitted,
            gpu_seconds: self.stats.gpu_seconds,
            parts: on_device.live.save(gpu)?,
        }))
    }

    /// True where a state may be gone on from in another process: nothing was emitted, and so nothing is in an encoder.
    fn resumable_elsewhere(&self) -> bool {
        self.stats.frames_emitted == 0
    }

    fn checkpoint_if_due(&mut self, gpu: &GpuContext<'_>, slice: Duration) -> Result<(), DeviceError> {
        self.unsaved += slice;
        let Some(interval) = self.order.checkpoint else { return Ok(()) };
        let fits = self.order.input.program.memory_bytes <= CHECKPOINT_BYTES_MAX;
        if self.unsaved < interval || !fits || !self.resumable_elsewhere() {
            return Ok(());
        }
        let start = Instant::now();
        let Some(state) = self.state(gpu)? else { return Ok(()) };
        let cost = start.elapsed() * CHECKPOINT_COST_MIN;
        if cost > interval {
            self.order.checkpoint = Some(cost);
        }
        self.unsaved = Duration::ZERO;
        let saved = state.save(&self.order.input, gpu.adapter);
        (self.order.events)(RunEvent::Checkpoint(saved));
        Ok(())
    }

    fn end(&mut self, event: RunEvent) {
        let hung = matches!(event, RunEvent::Failed(RunError::Hung(_)));
        if !std::mem::replace(&mut self.ended, true) {
            (self.order.events)(event);
        }
        let live = self.live.take();
        if hung {
            // A driver that hangs would hang here too; the process ends soon.
            std::mem::forget(live);
        }
    }
}

impl SliceWork for ShaderRun {
    fn label(&self) -> &str {
        &self.order.label
    }

    fn priority(&self) -> Priority {
        self.order.priority
    }

    fn slice(&mut self, gpu: &GpuContext<'_>) -> Result<SliceOutcome, DeviceError> {
        if self.ended {
            return Ok(SliceOutcome::Done);
        }
        let waited = !self.waiting.is_empty();
        self.hand_over()?;
        if !self.waiting.is_empty() {
            return Ok(SliceOutcome::Blocked);
        }
        // Nobody was asked to make room for what waited for its encoder: from now on it says what it wants.
        if waited && self.live.is_none() && !self.over {
            return Ok(SliceOutcome::More);
        }
        // Everything is handed over: now it may leave.
        if self.leaves_between_frames() && !self.over {
            return Ok(SliceOutcome::More);
        }
        let start = Instant::now();
        if !self.over {
            match self.run_slice(gpu) {
                Ok(()) => {}
                Err(Stop::Device(error)) => return Err(error),
                Err(Stop::Run(error)) => {
                    self.end(RunEvent::Failed(error));
                    return Ok(SliceOutcome::Done);
                }
            }
        }
        let slice = start.elapsed();
        self.stats.gpu_seconds += slice.as_secs_f64();
        self.stats.slices += 1;
        if self.frame >= self.frames_total() {
            if !self.over {
                self.conclude();
            }
            self.hand_over()?;
            if self.waiting.is_empty() {
                self.end(RunEvent::Finished);
                return Ok(SliceOutcome::Done);
            }
        } else {
            self.hand_over()?;
            self.checkpoint_if_due(gpu, slice)?;
        }
        let event = RunEvent::Progress {
            frames_done: self.stats.frames_emitted,
            fraction: self.frame as f32 / self.frames_total() as f32,
            gpu_seconds: self.stats.gpu_seconds - self.stats.inherited_seconds,
        };
        (self.order.events)(event);
        Ok(SliceOutcome::More)
    }

    fn preview(&mut self, gpu: &GpuContext<'_>) -> Result<bool, DeviceError> {
        let Some(on_device) = &self.live else { return Ok(false) };
        if self.frame == 0 && self.steps_done == 0 {
            return Ok(false);
        }
        let pixels = on_device.live.look(gpu)?;
        (self.order.events)(RunEvent::Preview(pixels, self.frame));
        Ok(true)
    }

    fn cancelled(&self) -> bool {
        self.order.cancel.load(Ordering::Acquire)
    }

    fn abandon(&mut self, why: Abandoned) {
        self.end(match why {
            Abandoned::Cancelled => RunEvent::Cancelled,
            Abandoned::Failed(error) => RunEvent::Failed(RunError::Device(error)),
        });
    }

    fn bytes_wanted(&self, _gpu: &GpuContext<'_>) -> u64 {
        // What waits for its encoder does not begin again before it is rid of its frames; what has ended as it made room never does.
        let needs_none = self.live.is_some() || self.over || self.ended || !self.waiting.is_empty();
        if needs_none { 0 } else { self.device_bytes() }
    }

    fn evict(&mut self, gpu: &GpuContext<'_>) -> Result<bool, DeviceError> {
        if self.live.is_none() {
            return Ok(false);
        }
        match self.finish_frame(gpu) {
            Ok(()) => {}
            Err(Stop::Device(error)) => return Err(error),
            // It makes room by ending.
            Err(Stop::Run(error)) => {
                self.end(RunEvent::Failed(error));
                return Ok(true);
            }
        }
        let Some(state) = self.state(gpu)? else { return Ok(false) };
        self.evicted = Some(state);
        self.live = None;
        Ok(true)
    }

    fn put_aside_wanted(&self) -> bool {
        // Its frame is finished first, and what it has emitted is handed over; what is over is finished instead.
        !self.over && self.waiting.is_empty() && self.leaves_between_frames()
    }

    fn put_aside(&mut self, gpu: &GpuContext<'_>) -> Result<(), DeviceError> {
        let state = match self.evicted.take() {
            Some(state) => Some(state),
            None => self.state(gpu)?,
        };
        let fits = self.order.input.program.memory_bytes <= CHECKPOINT_BYTES_MAX && self.resumable_elsewhere();
        let saved =
            state.filter(|state| fits && state.frame > 0).map(|state| state.save(&self.order.input, gpu.adapter));
        self.end(RunEvent::PutAside(saved));
        Ok(())
    }

    fn preempted(&mut self) {
        (self.order.events)(RunEvent::Preempted);
    }
}
