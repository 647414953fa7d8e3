//! A render as work in slices.
//!
//! A batch is some samples of some places of the work order ([`super::passes`]), one path slot each. Every path writes to its own slot only,
//! and a finished batch is added to the film one pixel at a time in the order of samples: so the film's bits depend neither on the size of
//! batches, nor on slices, nor on the order in which the GPU worked.
//!
//! Between two batches the film and how far it is are the whole state ([`super::checkpoint`]). A render reads it back now and then
//! for a checkpoint, when it has to make room on the device, and when it is put aside.

use super::checkpoint::{self, RenderState, TOTALS_WORDS};
use super::film;
use super::layout;
use super::pack::{self, PackedScene};
use super::passes::Done;
use super::resident::{self, Resident};
use super::settings::{Background, RenderSettings};
use super::sky::{self, PackedSky};
use crate::device::{Abandoned, DeviceError, GpuContext, Kernel, SliceOutcome, SliceWork};
use crate::gpu_process::checkpoint::SavedState;
use crate::image::Film;
use crate::job::Priority;
use crate::scene::Scene;
use crate::scene::environment::Environment;
use bytemuck::Zeroable;
use std::collections::VecDeque;
use std::mem::offset_of;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What a render says while it runs. Called on the device thread: it must not wait.
#[derive(Debug)]
pub enum RenderEvent {
    /// After every slice.
    Progress {
        /// Samples per pixel that every pixel has.
        samples_done: u32,
        /// [0, 1].
        fraction: f32,
        /// Seconds of slices so far, without those before an interruption.
        gpu_seconds: f64,
    },
    /// The film so far. Before the first sample of every pixel it is a mosaic of those that are there, with `samples` 0.
    Preview(Film),
    /// The state so far, to go on from after a crash; see [`RenderOrder::checkpoint`].
    Checkpoint(SavedState),
    /// A sentence for the user.
    Note(String),
    /// Work of a more urgent class took the device.
    Preempted,
    /// The last event: it is done.
    Finished {
        /// The picture.
        film: Film,
        /// What it took.
        stats: RenderStats,
        /// The state, where [`RenderOrder::keep_seconds_min`] says so.
        state: Option<SavedState>,
    },
    /// The last event: it left the device, as it was asked to, with the state to go on from; `None` where there is nothing in it, or
    /// nothing new.
    PutAside(Option<SavedState>),
    /// The last event: it was cancelled.
    Cancelled,
    /// The last event: the device failed.
    Failed(DeviceError),
}

/// What a render took. Goes into the job's report.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct RenderStats {
    /// Rays from the camera.
    pub rays_primary: u64,
    /// Rays from surfaces that found the next surface.
    pub rays_bounced: u64,
    /// Rays from surfaces to lights.
    pub rays_shadow: u64,
    /// Samples that were not a number; left out of the film. Must be 0: each one is a defect.
    pub nan_pixels: u32,
    /// Seconds of slices, the upload included; those before an interruption too.
    pub gpu_seconds: f64,
    /// Of these, seconds before the interruption.
    pub inherited_seconds: f64,
    /// Of these, seconds of the upload and of compiling kernels.
    pub upload_seconds: f64,
    /// Of these, seconds from the film on the device to the film in memory.
    pub readback_seconds: f64,
    /// Slices.
    pub slices: u64,
    /// Bytes on the device.
    pub gpu_bytes: u64,
    /// Paths in the pool.
    pub pool_paths: u32,
}

/// The events' receiver.
pub type RenderEvents = Box<dyn FnMut(RenderEvent) + Send>;

/// What a render is made of.
pub struct RenderOrder {
    /// The scene.
    pub scene: Arc<PackedScene>,
    /// The light around it.
    pub sky: Arc<PackedSky>,
    /// How to render it.
    pub settings: RenderSettings,
    /// For logs and labels.
    pub label: String,
    /// Class on the device thread.
    pub priority: Priority,
    /// Set by whoever wants it to be dropped.
    pub cancel: Arc<AtomicBool>,
    /// Set by whoever wants it to leave with its state.
    pub put_aside: Arc<AtomicBool>,
    /// A state to go on from. One that does not fit is ignored with a [`RenderEvent::Note`].
    pub resume: Option<SavedState>,
    /// Work between two checkpoints; `None` for none.
    pub checkpoint: Option<Duration>,
    /// Seconds of slices from which on a finished render's state is worth keeping, for more samples later; `None` for never.
    pub keep_seconds_min: Option<f64>,
    /// Called on the device thread.
    pub events: RenderEvents,
}

/// A render, to be given to [`crate::device::DeviceHandle::submit`].
pub struct Render {
    /// Or why it cannot be packed.
    packed: Result<(Arc<PackedScene>, Arc<PackedSky>), DeviceError>,
    settings: RenderSettings,
    label: String,
    priority: Priority,
    cancel: Arc<AtomicBool>,
    put_aside: Arc<AtomicBool>,
    events: RenderEvents,
    stage: Stage,
    stats: RenderStats,
    /// Finished batches.
    done: Done,
    /// The batch that is on the device.
    batch: Option<Batch>,
    /// Paths of the next batch, at most.
    batch_paths: u32,
    /// Bounces in one submission.
    bounces_per_submission: u32,
    /// A checkpoint that nobody has looked at yet.
    resume: Option<SavedState>,
    /// The state of a render that has left the device.
    evicted: Option<RenderState>,
    /// See [`checkpoint::identity`]; known once it was on the device.
    identity: Option<[u8; 32]>,
    checkpoint: Option<Duration>,
    keep_seconds_min: Option<f64>,
    /// Work since the last state that somebody else has.
    unsaved: Duration,
    /// Seconds of slices in the checkpoint that the render goes on from.
    inherited_seconds: f64,
}

enum Stage {
    /// Not on the device: not yet, or not now.
    Packed,
    Resident(Box<Resident>, Box<layout::Params>),
    Ended,
}

#[derive(Clone, Copy)]
struct Batch {
    places: u32,
    slots: u32,
    /// The bounce that comes next.
    bounce: u32,
    /// Part of the film.
    film: usize,
}

/// Paths in the pool of a software adapter: what its caches hold.
const POOL_PATHS_SOFTWARE: u32 = 64 << 10;
/// Paths in the pool of an integrated GPU.
const POOL_PATHS_INTEGRATED: u32 = 256 << 10;
/// Paths in the pool of a discrete GPU. 65,535 workgroups of 64 are the most that one dispatch may have.
const POOL_PATHS_DISCRETE: u32 = 1 << 20;
/// Paths of the first batch, before its time is known.
const POOL_PATHS_FIRST: u32 = 64 << 10;
/// Submissions that the GPU may have before the thread waits.
const SUBMISSIONS_IN_FLIGHT_MAX: usize = 2;
/// Work between two checkpoints, at least, as a multiple of the time that the device thread spends on one: about 2 % of it.
const CHECKPOINT_COST_MIN: u32 = 50;

impl Render {
    /// A render of a scene that nobody else knows, without checkpoints. Packs it, on the calling thread; what is wrong shows as
    /// [`RenderEvent::Failed`] later.
    pub fn new(
        scene: Arc<Scene>,
        environment: Arc<Environment>,
        settings: RenderSettings,
        label: String,
        priority: Priority,
        cancel: Arc<AtomicBool>,
        events: RenderEvents,
    ) -> Self {
        let packed = pack::pack(&scene).map(|packed| (Arc::new(packed), Arc::new(sky::pack(&environment))));
        Self::begin(packed, settings, label, priority, cancel, events)
    }

    /// A render of what is packed already.
    pub fn of(order: RenderOrder) -> Self {
        let RenderOrder { scene, sky, settings, label, priority, cancel, events, .. } = order;
        Self {
            put_aside: order.put_aside,
            resume: order.resume,
            checkpoint: order.checkpoint,
            keep_seconds_min: order.keep_seconds_min,
            ..Self::begin(Ok((scene, sky)), settings, label, priority, cancel, events)
        }
    }

    fn begin(
        packed: Result<(Arc<PackedScene>, Arc<PackedSky>), DeviceError>,
        settings: RenderSettings,
        label: String,
        priority: Priority,
        cancel: Arc<AtomicBool>,
        events: RenderEvents,
    ) -> Self {
        assert!(settings.width > 0 && settings.height > 0 && settings.samples > 0, "a spec is validated at the edge");
        Self {
            packed,
            settings,
            label,
            priority,
            cancel,
            put_aside: Arc::default(),
            events,
            stage: Stage::Packed,
            stats: RenderStats::default(),
            done: Done::default(),
            batch: None,
            batch_paths: 0,
            bounces_per_submission: 1,
            resume: None,
            evicted: None,
            identity: None,
            checkpoint: None,
            keep_seconds_min: None,
            unsaved: Duration::ZERO,
            inherited_seconds: 0.0,
        }
    }

    /// Samples of all places: those that are done, and those that there will be.
    fn items(&self) -> (u64, u64) {
        let order_count = self.settings.order_count();
        (self.done.items(order_count), u64::from(order_count) * u64::from(self.settings.samples))
    }

    /// Paths in the pool on this adapter.
    fn pool_paths(&self, gpu: &GpuContext<'_>) -> u32 {
        let pool_max = match gpu.adapter.device_type.as_str() {
            "cpu" => POOL_PATHS_SOFTWARE,
            "discrete" => POOL_PATHS_DISCRETE,
            _ => POOL_PATHS_INTEGRATED,
        };
        let pool_paths = self.settings.slice_paths.unwrap_or(pool_max).clamp(1, POOL_PATHS_DISCRETE);
        u32::try_from(self.items().1).map_or(pool_paths, |items| items.min(pool_paths))
    }

    /// Gets the scene on the device, and the film that there is already. Where it fails it can be tried again.
    fn upload(&mut self, gpu: &GpuContext<'_>) -> Result<(), DeviceError> {
        if !matches!(self.stage, Stage::Packed) {
            return Ok(());
        }
        let start = Instant::now();
        let (scene, sky) = self.packed.clone()?;
        let pool_paths = self.pool_paths(gpu);
        let resident = Resident::create(gpu, &scene, &sky, &self.settings, pool_paths)?;
        let params = self.params(&scene, &sky);
        self.identity = checkpoint::identity(&scene, &sky, &params, gpu.adapter);
        if self.evicted.is_none() {
            self.evicted = self.resumed(pool_paths);
            self.inherited_seconds = self.evicted.as_ref().map_or(0.0, |state| state.gpu_seconds);
        }
        if let Some(state) = &self.evicted {
            for (sums, film) in state.sums.chunks(resident.film_places as usize).zip(&resident.films) {
                gpu.upload(film, 0, bytemuck::cast_slice(sums))?;
            }
            let totals = offset_of!(layout::Counters, nan_count) as u64;
            gpu.write(&resident.counters, totals, bytemuck::cast_slice(&state.totals));
            (self.done, self.stats.slices, self.stats.gpu_seconds) = (state.done, state.slices, state.gpu_seconds);
            self.evicted = None;
        }
        if self.batch_paths == 0 {
            self.batch_paths =
                if self.settings.slice_paths.is_some() { pool_paths } else { pool_paths.min(POOL_PATHS_FIRST) };
        }
        self.stats.pool_paths = pool_paths;
        self.stats.gpu_bytes = resident.bytes;
        self.stage = Stage::Resident(Box::new(resident), Box::new(params));
        self.stats.upload_seconds += start.elapsed().as_secs_f64();
        Ok(())
    }

    /// The state of the checkpoint that the render was given, if it fits; a word about it to the user in any case.
    fn resumed(&mut self, pool_paths: u32) -> Option<RenderState> {
        let saved = self.resume.take()?;
        let state = match self.identity {
            Some(identity) => {
                RenderState::restore(&saved, identity, self.settings.order_count(), self.settings.samples, pool_paths)
            }
            None => Err("the scene or the environment has no name"),
        };
        let (state, note) = match state {
            Ok(state) => {
                let samples = state.done.samples;
                (Some(state), format!("goes on from a checkpoint with {samples} samples per pixel"))
            }
            Err(why) => (None, format!("warning: a checkpoint was ignored and the work begins again: {why}")),
        };
        (self.events)(RenderEvent::Note(note));
        state
    }

    fn params(&self, scene: &PackedScene, sky: &PackedSky) -> layout::Params {
        let settings = &self.settings;
        let (background_mode, background) = match settings.background {
            Background::Environment => (0, [0.0; 3]),
            Background::Transparent => (1, [0.0; 3]),
            Background::Color(color) => (2, color),
        };
        let sky_power = sky.power(scene.lights.scene_radius) * f64::from(settings.environment_intensity.max(0.0));
        let environment_probability = if scene.lights.emitters.is_empty() {
            1.0
        } else if sky.weight_sum <= 0.0 || sky_power <= 0.0 {
            0.0
        } else {
            // Half by power, half evenly: the power of either says little about what arrives at one point.
            (0.25 + 0.5 * sky_power / (sky_power + scene.lights.power)) as f32
        };
        let (sin, cos) = settings.environment_rotation_rad.sin_cos();
        layout::Params {
            camera: settings.camera_params(),
            background,
            background_mode,
            size: [settings.width, settings.height],
            tiles: settings.tiles(),
            seed: settings.seed,
            max_bounces: settings.max_bounces,
            clamp_indirect: settings.clamp_indirect,
            environment_probability,
            emitter_count: scene.lights.emitters.len() as u32,
            root_node: scene.root_node,
            environment: layout::EnvironmentParams {
                size: [sky.width, sky.height],
                intensity: settings.environment_intensity,
                weight_sum: sky.weight_sum,
                rotation: [cos, sin],
                pad: [0.0; 2],
            },
            ..layout::Params::zeroed()
        }
    }

    /// Queues the next few bounces. Returns what to wait for.
    fn submit(&mut self, gpu: &GpuContext<'_>) -> wgpu::SubmissionIndex {
        let Stage::Resident(resident, params) = &mut self.stage else { unreachable!("slices follow the upload") };
        let mut encoder =
            gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some(&self.label) });
        let mut batch = match self.batch {
            Some(batch) => batch,
            None => {
                let batch = start_batch(gpu, resident, params, &self.settings, &mut self.done, self.batch_paths);
                let mut pass = begin(&mut encoder);
                run(&mut pass, &resident.kernels.generate, &resident.generate, batch.slots.div_ceil(64));
                run(&mut pass, &resident.kernels.advance, &resident.advance, 1);
                drop(pass);
                copy_arguments(&mut encoder, resident);
                batch
            }
        };
        let max_bounces = self.settings.max_bounces;
        for _ in 0..self.bounces_per_submission {
            if batch.bounce > max_bounces {
                break;
            }
            let parity = (batch.bounce % 2) as usize;
            let mut pass = begin(&mut encoder);
            run_indirect(&mut pass, &resident.kernels.extend, &resident.extend[parity], &resident.dispatch_args, 0);
            run_indirect(&mut pass, &resident.kernels.shade, &resident.shade[parity], &resident.dispatch_args, 0);
            run(&mut pass, &resident.kernels.advance, &resident.advance, 1);
            drop(pass);
            copy_arguments(&mut encoder, resident);
            if batch.bounce < max_bounces {
                let mut pass = begin(&mut encoder);
                run_indirect(&mut pass, &resident.kernels.shadow, &resident.shadow, &resident.dispatch_args, 16);
            }
            batch.bounce += 1;
        }
        if batch.bounce > max_bounces {
            let mut pass = begin(&mut encoder);
            run(&mut pass, &resident.kernels.accumulate, &resident.accumulate[batch.film], batch.places.div_ceil(64));
            drop(pass);
            self.done.add(batch.places, self.settings.order_count());
            self.batch = None;
        } else {
            self.batch = Some(batch);
        }
        gpu.queue.submit([encoder.finish()])
    }

    /// Fits submissions and batches to the time that one submission took.
    fn adapt(&mut self, took: Duration, budget: Duration) {
        let Stage::Resident(resident, _) = &self.stage else { return };
        if took * 8 < budget {
            let all_bounces = self.settings.max_bounces + 1;
            if self.bounces_per_submission < all_bounces {
                self.bounces_per_submission = (2 * self.bounces_per_submission).min(all_bounces);
            } else if self.settings.slice_paths.is_none() {
                self.batch_paths = self.batch_paths.saturating_mul(2).min(resident.pool_paths);
            }
        } else if took > budget / 2 {
            if self.bounces_per_submission > 1 {
                self.bounces_per_submission /= 2;
            } else if self.settings.slice_paths.is_none() {
                self.batch_paths = (self.batch_paths / 2).max(1024).min(resident.pool_paths);
            }
        }
    }

    /// The sums as far as batches are finished, one a place of the work order, and how many places a part of the film has.
    fn sums(&self, gpu: &GpuContext<'_>) -> Result<(Vec<[f32; 4]>, u32), DeviceError> {
        let Stage::Resident(resident, _) = &self.stage else { unreachable!("asked for after the upload only") };
        let order_count = self.settings.order_count() as usize;
        let mut sums: Vec<[f32; 4]> = Vec::with_capacity(order_count);
        for film in &resident.films {
            gpu.alive();
            let places = (order_count - sums.len()).min(resident.film_places as usize);
            let part: Vec<[f32; 4]> = gpu.read(film, places)?;
            if sums.is_empty() {
                sums = part;
            } else {
                sums.extend(part);
            }
        }
        Ok((sums, resident.film_places))
    }

    /// See [`TOTALS_WORDS`].
    fn totals(&self, gpu: &GpuContext<'_>) -> Result<[u32; TOTALS_WORDS], DeviceError> {
        let Stage::Resident(resident, _) = &self.stage else { unreachable!("asked for after the upload only") };
        let counters: layout::Counters = gpu.read(&resident.counters, 1)?[0];
        let (primary, bounced, shadow) = (counters.rays_primary, counters.rays_bounced, counters.rays_shadow);
        Ok([counters.nan_count, primary[0], primary[1], bounced[0], bounced[1], shadow[0], shadow[1]])
    }

    /// Runs the batch that is on the device to its end.
    fn settle(&mut self, gpu: &GpuContext<'_>) -> Result<(), DeviceError> {
        while self.batch.is_some() {
            let submission = self.submit(gpu);
            gpu.wait(submission)?;
        }
        Ok(())
    }

    /// The whole state. The batch that is on the device is finished first.
    fn state(&mut self, gpu: &GpuContext<'_>) -> Result<RenderState, DeviceError> {
        self.settle(gpu)?;
        Ok(RenderState {
            done: self.done,
            slices: self.stats.slices,
            gpu_seconds: self.stats.gpu_seconds,
            totals: self.totals(gpu)?,
            sums: self.sums(gpu)?.0,
        })
    }

    /// Tells the state, when enough work has been done since the last time.
    fn save_if_due(&mut self, gpu: &GpuContext<'_>) -> Result<(), DeviceError> {
        let (Some(interval), Some(identity)) = (self.checkpoint, self.identity) else { return Ok(()) };
        if self.unsaved < interval {
            return Ok(());
        }
        let start = Instant::now();
        let state = self.state(gpu)?.save(identity);
        // A film that takes long to read is read less often.
        self.checkpoint = Some(interval.max(start.elapsed() * CHECKPOINT_COST_MIN));
        self.unsaved = Duration::ZERO;
        (self.events)(RenderEvent::Checkpoint(state));
        Ok(())
    }

    fn finish(&mut self, gpu: &GpuContext<'_>, start: Instant) -> Result<(), DeviceError> {
        let readback = Instant::now();
        let (sums, part_places) = self.sums(gpu)?;
        // Host work that takes its time for a large picture.
        gpu.alive();
        let (film, not_finite) = film::picture(&self.settings, &sums, part_places, self.done);
        gpu.alive();
        self.stats.readback_seconds += readback.elapsed().as_secs_f64();
        let totals = self.totals(gpu)?;
        let word = |at: usize| u64::from(totals[at]) | u64::from(totals[at + 1]) << 32;
        self.stats.nan_pixels = totals[0].saturating_add(not_finite);
        (self.stats.rays_primary, self.stats.rays_bounced, self.stats.rays_shadow) = (word(1), word(3), word(5));
        self.stats.gpu_seconds += start.elapsed().as_secs_f64();
        self.stats.inherited_seconds = self.inherited_seconds;
        self.stage = Stage::Ended;
        let stats = self.stats.clone();
        let worth_keeping = self.keep_seconds_min.is_some_and(|seconds| stats.gpu_seconds >= seconds);
        let state = self.identity.filter(|_| worth_keeping).map(|identity| {
            let (done, slices, gpu_seconds) = (self.done, stats.slices, stats.gpu_seconds);
            RenderState { done, slices, gpu_seconds, totals, sums }.save(identity)
        });
        (self.events)(RenderEvent::Finished { film, stats, state });
        Ok(())
    }
}

impl SliceWork for Render {
    fn label(&self) -> &str {
        &self.label
    }

    fn priority(&self) -> Priority {
        self.priority
    }

    fn slice(&mut self, gpu: &GpuContext<'_>) -> Result<SliceOutcome, DeviceError> {
        let start = Instant::now();
        self.stats.slices += 1;
        self.upload(gpu)?;
        let mut in_flight: VecDeque<wgpu::SubmissionIndex> = VecDeque::new();
        let mut last_done = Instant::now();
        // A slice ends when another submission would exceed its budget.
        let mut longest = Duration::ZERO;
        while self.done.samples < self.settings.samples && start.elapsed() + longest <= gpu.slice_budget.max(longest) {
            in_flight.push_back(self.submit(gpu));
            if in_flight.len() >= SUBMISSIONS_IN_FLIGHT_MAX
                && let Some(oldest) = in_flight.pop_front()
            {
                gpu.wait(oldest)?;
                let took = last_done.elapsed();
                last_done = Instant::now();
                longest = longest.max(took);
                self.adapt(took, gpu.slice_budget);
            }
        }
        for submission in in_flight {
            gpu.wait(submission)?;
        }
        if self.done.samples >= self.settings.samples {
            self.finish(gpu, start)?;
            return Ok(SliceOutcome::Done);
        }
        self.unsaved += start.elapsed();
        self.stats.gpu_seconds += start.elapsed().as_secs_f64();
        self.save_if_due(gpu)?;
        let (items_done, items_total) = self.items();
        let fraction = (items_done as f64 / items_total as f64) as f32;
        let (samples_done, gpu_seconds) = (self.done.samples, self.stats.gpu_seconds - self.inherited_seconds);
        (self.events)(RenderEvent::Progress { samples_done, fraction, gpu_seconds });
        Ok(SliceOutcome::More)
    }

    fn preview(&mut self, gpu: &GpuContext<'_>) -> Result<bool, DeviceError> {
        let too_early = self.items().0 * film::MOSAIC_PART < u64::from(self.settings.order_count());
        if too_early || !matches!(self.stage, Stage::Resident(..)) {
            return Ok(false);
        }
        let (sums, part_places) = self.sums(gpu)?;
        gpu.alive();
        let (film, _) = film::picture(&self.settings, &sums, part_places, self.done);
        gpu.alive();
        (self.events)(RenderEvent::Preview(film));
        Ok(true)
    }

    fn bytes_wanted(&self, gpu: &GpuContext<'_>) -> u64 {
        match (&self.stage, &self.packed) {
            (Stage::Packed, Ok((scene, sky))) => {
                resident::bytes_wanted(gpu, scene, sky, &self.settings, self.pool_paths(gpu))
            }
            _ => 0,
        }
    }

    fn evict(&mut self, gpu: &GpuContext<'_>) -> Result<bool, DeviceError> {
        if !matches!(self.stage, Stage::Resident(..)) {
            return Ok(false);
        }
        self.evicted = Some(self.state(gpu)?);
        self.stage = Stage::Packed;
        Ok(true)
    }

    fn put_aside_wanted(&self) -> bool {
        self.put_aside.load(Ordering::Acquire)
    }

    fn put_aside(&mut self, gpu: &GpuContext<'_>) -> Result<(), DeviceError> {
        let unsaved = self.unsaved > Duration::ZERO;
        let state = match (&self.stage, self.evicted.take()) {
            (Stage::Resident(..), _) if unsaved => Some(self.state(gpu)?),
            (_, evicted) => evicted.filter(|_| unsaved),
        };
        // The buffers go first, so that whoever hears of it finds them free.
        self.stage = Stage::Ended;
        let state = state.filter(|state| state.done != Done::default()).zip(self.identity);
        let state = state.map(|(state, identity)| state.save(identity));
        (self.events)(RenderEvent::PutAside(state));
        Ok(())
    }

    fn preempted(&mut self) {
        if self.done != Done::default() || self.batch.is_some() {
            (self.events)(RenderEvent::Preempted);
        }
    }

    fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Acquire)
    }

    fn abandon(&mut self, why: Abandoned) {
        // The buffers go first, so that whoever hears of it finds them free.
        self.stage = Stage::Ended;
        (self.events)(match why {
            Abandoned::Cancelled => RenderEvent::Cancelled,
            Abandoned::Failed(error) => RenderEvent::Failed(error),
        });
    }
}

/// Writes a batch's parameters and resets the queues. Both reach the device before the next submission's commands.
fn start_batch(
    gpu: &GpuContext<'_>,
    resident: &Resident,
    params: &mut layout::Params,
    settings: &RenderSettings,
    done: &mut Done,
    paths: u32,
) -> Batch {
    let order_count = settings.order_count();
    let places = done.next_batch(order_count, settings.samples, paths.min(resident.pool_paths));
    // A batch stays within one part of the film.
    let film = (done.pass_places / resident.film_places) as usize;
    params.film_first = film as u32 * resident.film_places;
    let places = places.min(params.film_first.saturating_add(resident.film_places) - done.pass_places);
    params.film_tiles = (order_count - params.film_first).min(resident.film_places) / 64;
    params.tile_stride = done.tile_stride(params.film_tiles);
    params.first_turn = done.pass_places;
    params.first_sample = done.samples;
    params.batch_samples = done.pass_samples;
    params.slot_count = places * done.pass_samples;
    gpu.write(&resident.params, 0, bytemuck::bytes_of(params));
    // Lengths and the bounce, which `advance` takes from NONE to 0; the totals behind them stay.
    let mut reset = [0_u32; offset_of!(layout::Counters, bounce) / 4 + 1];
    reset[offset_of!(layout::Counters, bounce) / 4] = layout::NONE;
    gpu.write(&resident.counters, 0, bytemuck::bytes_of(&reset));
    Batch { places, slots: params.slot_count, bounce: 0, film }
}

fn begin(encoder: &mut wgpu::CommandEncoder) -> wgpu::ComputePass<'_> {
    encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some("path_trace"), timestamp_writes: None })
}

fn run(pass: &mut wgpu::ComputePass<'_>, kernel: &Kernel, bind_group: &wgpu::BindGroup, workgroups: u32) {
    pass.set_pipeline(&kernel.pipeline);
    pass.set_bind_group(0, bind_group, &[]);
    pass.dispatch_workgroups(workgroups, 1, 1);
}

fn run_indirect(
    pass: &mut wgpu::ComputePass<'_>,
    kernel: &Kernel,
    bind_group: &wgpu::BindGroup,
    arguments: &wgpu::Buffer,
    offset: u64,
) {
    pass.set_pipeline(&kernel.pipeline);
    pass.set_bind_group(0, bind_group, &[]);
    pass.dispatch_workgroups_indirect(arguments, offset);
}

/// Copies what `advance` has written to where dispatches read it.
fn copy_arguments(encoder: &mut wgpu::CommandEncoder, resident: &Resident) {
    let from = offset_of!(layout::Counters, active_workgroups) as u64;
    encoder.copy_buffer_to_buffer(&resident.counters, from, &resident.dispatch_args, 0, 32);
}
