//! A task's way through the GPU process: loader thread → device thread → encoder thread.
//!
//! While one task is on the device the next one is being loaded and the last one is being encoded, so that the device thread waits
//! for neither. [`Pipeline`] admits at most `GPU_PROCESS_TASKS_MAX` tasks, which bounds every queue in it. The child drives it from
//! the pipe ([`super::child`]); `kiln render` drives the very same thing within its own process.
//!
//! A scene that was loaded stays in memory for the next task that uses it ([`super::resident`]). A task that is on the device tells its
//! state now and then; a thread of its own writes it as a checkpoint. A task that is put aside tells it once more, and ends.
//!
//! It knows nothing of the store, of leases or of attempts: a task is a [`TaskKey`], and its last message is [`Reply::Ended`].

mod shader;

use super::assemble::assemble;
use super::checkpoint::{self, SavedState};
use super::protocol::{AdapterReport, Reply, RunTask, TaskEnd, TaskKey};
use super::resident::ResidentScenes;
use super::task::{self, LoadedTask, RenderInput};
use crate::device::{DeviceError, DeviceHandle, SliceWork, WorkId, system_memory_bytes};
use crate::image::{Film, PackedPicture};
use crate::job::{Failure, FailureReason, JobSpec, Phase, Priority, Progress, TaskKind};
use crate::limits::*;
use crate::path_trace::{Render, RenderEvent, RenderOrder, RenderStats};
use crate::shader_job::run::{LoadError, ShaderInput};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// See the module's text. Its threads live as long as the process.
#[derive(Clone)]
pub struct Pipeline {
    shared: Arc<Shared>,
}

struct Shared {
    device: DeviceHandle,
    adapter: AdapterReport,
    replies: Sender<Reply>,
    state: Mutex<State>,
    /// Notified when `State::waiting` gets longer: who takes any frames, who takes urgent ones, who puts frames together.
    frames_waiting: Condvar,
    urgent_waiting: Condvar,
    assembling_waiting: Condvar,
    encodes: Sender<Encode>,
    previews: Sender<Preview>,
    saves: Sender<Save>,
    shader_encodes: Sender<shader::ShaderEncode>,
    scenes: ResidentScenes,
    /// Frames of shaders that are being encoded.
    encoding: shader::Encoding,
    /// The device is lost, and whoever lost it was told so.
    device_lost: AtomicBool,
    /// The assets that the front end was told of.
    told: Mutex<Vec<String>>,
}

#[derive(Default)]
struct State {
    tasks: HashMap<TaskKey, Entry>,
    /// Admitted, and not yet taken by a loader thread; in order of arrival.
    waiting: VecDeque<TaskKey>,
    /// In a loader thread since then; also those that have ended meanwhile, since a thread cannot be stopped.
    loading: HashMap<TaskKey, Instant>,
    /// Compilers that were left behind at their bounds; what they hold is given back by the end of the process only.
    compilers_stuck: u32,
}

struct Entry {
    run: Arc<RunTask>,
    /// Its place on the device, by arrival: a task that loads faster does not get ahead.
    work: WorkId,
    cancel: Arc<AtomicBool>,
    put_aside: Arc<AtomicBool>,
    stage: Stage,
    /// A checkpoint of it is being written.
    saving: bool,
    /// Where the next preview goes, while one is asked for.
    preview: Option<PathBuf>,
    progress_sent: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Waiting,
    /// In a loader thread.
    Loading,
    /// Handed to the device thread.
    Device,
    Encoding,
}

/// The class that has a loader of its own.
const URGENT: Priority = Priority::Interactive;

/// Which tasks a thread takes.
#[derive(Clone, Copy, PartialEq)]
enum Takes {
    /// Those that make frames and are at least of this class.
    Frames(Priority),
    /// Those that put frames together.
    Assembling,
}

impl Takes {
    fn fits(self, run: &RunTask) -> bool {
        match self {
            Self::Frames(lowest) => run.plan.kind == TaskKind::Frames && run.priority <= lowest,
            Self::Assembling => run.plan.kind == TaskKind::Assemble,
        }
    }
}

/// What a loader thread makes of a task.
enum Loaded {
    Scene(Box<(LoadedTask, RenderInput)>),
    Shader(Box<ShaderInput>),
}

/// What the encoder thread gets. At most two of these a task are alive.
enum Encode {
    /// A finished film, and its state where that is worth keeping.
    Film { key: TaskKey, film: Film, stats: Box<RenderStats>, state: Option<SavedState>, loaded: Arc<LoadedTask> },
    /// A reply that the device thread could not get rid of without waiting.
    Forward(Reply),
}

/// What the checkpoint thread gets. At most two of these a task are alive: one that is due, and the last one.
struct Save {
    key: TaskKey,
    /// `None`: there is nothing to go on from.
    state: Option<SavedState>,
    /// The task ends with it.
    last: bool,
}

struct Preview {
    key: TaskKey,
    path: PathBuf,
    picture: PreviewPicture,
    /// Samples per pixel in it; of a shader, the number of the frame that comes next.
    samples: u32,
}

/// What a preview is made of.
enum PreviewPicture {
    Film(Film, Arc<LoadedTask>),
    /// 8-bit sRGB, three bytes a pixel.
    Packed {
        pixels: Vec<u8>,
        size: [u32; 2],
    },
}

impl Pipeline {
    /// Starts the loader and encoder threads around an open device. Answers go to `replies`, whose receiver must be drained.
    pub fn start(device: DeviceHandle, replies: Sender<Reply>) -> Self {
        let (encodes, encode_work) = bounded(2 * GPU_PROCESS_TASKS_MAX);
        let (previews, preview_work) = bounded(PREVIEWS_QUEUED_MAX);
        let (saves, save_work) = bounded(2 * GPU_PROCESS_TASKS_MAX);
        let (shader_encodes, shader_work) = bounded(GPU_PROCESS_TASKS_MAX);
        let scene_bytes_max = system_memory_bytes().unwrap_or(GPU_MEMORY_BYTES_UNKNOWN) / 100 * SCENES_RESIDENT_PERCENT;
        let adapter = device.report().clone();
        let shared = Arc::new(Shared {
            device,
            adapter,
            replies,
            state: Mutex::default(),
            frames_waiting: Condvar::new(),
            urgent_waiting: Condvar::new(),
            assembling_waiting: Condvar::new(),
            encodes,
            previews,
            saves,
            shader_encodes,
            scenes: ResidentScenes::new(scene_bytes_max),
            encoding: shader::Encoding::default(),
            device_lost: AtomicBool::new(false),
            told: Mutex::default(),
        });
        for index in 0..LOADER_THREADS {
            let shared = Arc::clone(&shared);
            spawn(&format!("loader-{index}"), LOADER_STACK_BYTES, move || {
                shared.load_forever(Takes::Frames(Priority::Batch))
            });
        }
        // One more, which large scenes of lower classes never keep busy.
        let urgent = Arc::clone(&shared);
        spawn("loader-urgent", LOADER_STACK_BYTES, move || urgent.load_forever(Takes::Frames(URGENT)));
        let assembler = Arc::clone(&shared);
        spawn("assembler", LOADER_STACK_BYTES, move || assembler.assemble_forever());
        shader::start(&shared, &shader_work);
        let saver = Arc::clone(&shared);
        spawn("checkpoint", LOADER_STACK_BYTES, move || saver.save_forever(&save_work));
        let encoder = Arc::clone(&shared);
        spawn("encoder", LOADER_STACK_BYTES, move || encoder.encode_forever(&encode_work));
        let previewer = Arc::clone(&shared);
        spawn("preview", LOADER_STACK_BYTES, move || previewer.preview_forever(&preview_work));
        Self { shared }
    }

    /// Admits a task. Its last message is [`Reply::Ended`], whatever happens. Never waits for the GPU.
    pub fn run(&self, run: RunTask) {
        let key = run.task;
        let mut state = self.shared.lock();
        if state.tasks.contains_key(&key) {
            tracing::error!(job.id = %key.job, fence = key.fence, "the task is here already; the second request is ignored");
            return;
        }
        if state.tasks.len() >= GPU_PROCESS_TASKS_MAX {
            drop(state);
            let message =
                format!("the GPU process was given more than the {GPU_PROCESS_TASKS_MAX} tasks that it takes");
            self.shared.send_end(key, TaskEnd::Failed(internal(message, "load")));
            return;
        }
        let (kind, priority) = (run.plan.kind, run.priority);
        let entry = Entry {
            run: Arc::new(run),
            work: self.shared.device.reserve(),
            cancel: Arc::default(),
            put_aside: Arc::default(),
            stage: Stage::Waiting,
            saving: false,
            preview: None,
            progress_sent: None,
        };
        state.tasks.insert(key, entry);
        state.waiting.push_back(key);
        // A thread that works looks again before it waits, so one that waits is enough.
        match kind {
            TaskKind::Frames => {
                self.shared.frames_waiting.notify_one();
                if priority <= URGENT {
                    self.shared.urgent_waiting.notify_one();
                }
            }
            TaskKind::Assemble => self.shared.assembling_waiting.notify_one(),
        }
    }

    /// Stops a task. On the device it stops at the next slice boundary; before it, at once; while it is encoded the GPU is free of
    /// it already and the encoder drops the result. Unknown tasks have ended already and are ignored.
    pub fn cancel(&self, key: TaskKey) {
        let mut state = self.shared.lock();
        let Some(entry) = state.tasks.get(&key) else { return };
        entry.cancel.store(true, Ordering::Release);
        match entry.stage {
            // A loader thread that works on it finds it gone afterwards.
            Stage::Waiting | Stage::Loading => {
                state.tasks.remove(&key);
                state.waiting.retain(|waiting| *waiting != key);
                drop(state);
                self.shared.send_end(key, TaskEnd::Cancelled);
            }
            Stage::Device | Stage::Encoding => {}
        }
    }

    /// Takes a task off the device, or keeps it from getting there; it ends as put aside, after its checkpoint if there is something in
    /// it. What is being encoded is finished instead, and what cannot leave the device goes on.
    pub fn put_aside(&self, key: TaskKey) {
        let mut state = self.shared.lock();
        let Some(entry) = state.tasks.get(&key) else { return };
        match entry.stage {
            Stage::Waiting | Stage::Loading => {
                state.tasks.remove(&key);
                state.waiting.retain(|waiting| *waiting != key);
                drop(state);
                self.shared.send_end(key, TaskEnd::PutAside);
            }
            Stage::Device => entry.put_aside.store(true, Ordering::Release),
            Stage::Encoding => {}
        }
    }

    /// Asks for a preview, which comes as soon as there is something to see; not answered at all when it is too late for one.
    pub fn preview(&self, key: TaskKey, path: PathBuf) {
        let work = {
            let mut state = self.shared.lock();
            let Some(entry) = state.tasks.get_mut(&key) else { return };
            entry.preview = Some(path);
            if entry.stage != Stage::Device {
                return;
            }
            entry.work
        };
        self.shared.device.preview(work);
    }

    /// Ends the tasks whose loading takes longer than `limit`, and says so. Their threads cannot be stopped, so a process in which
    /// there was one has to end; the tasks that it names by then are at fault, and no others. A task that was cancelled meanwhile keeps
    /// its thread busy all the same.
    pub fn end_overdue(&self, limit: Duration) -> Option<String> {
        let state = self.shared.lock();
        let overdue: Vec<TaskKey> =
            state.loading.iter().filter(|(_, since)| since.elapsed() > limit).map(|(key, _)| *key).collect();
        drop(state);
        let message = format!("the scene could not be loaded within {} s", limit.as_secs());
        for key in &overdue {
            let failure = task::failure(FailureReason::LimitExceeded, message.clone(), "load");
            self.shared.end(*key, TaskEnd::Failed(failure));
        }
        (!overdue.is_empty()).then_some(message)
    }

    /// Why a fresh process should take the place of this one, if it should: a compiler that was left behind holds its memory. The first one
    /// costs nobody else anything, since it waits until no task is here; with one more, the others are put aside.
    pub fn wants_to_leave(&self) -> Option<String> {
        let state = self.shared.lock();
        let stuck = state.compilers_stuck;
        let leaves = stuck >= COMPILERS_STUCK_MAX || (stuck > 0 && state.tasks.is_empty());
        leaves.then(|| format!("{stuck} shader compilers were left behind at their bounds"))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock: what is behind it is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The most urgent waiting task that a thread takes; blocks until there is one.
    fn next_waiting(&self, takes: Takes) -> (TaskKey, Arc<RunTask>) {
        let mut state = self.lock();
        loop {
            let waiting = state.waiting.iter().copied().filter(|key| takes.fits(&state.tasks[key].run));
            // `min_by_key` takes the first of equals, so that a class stays first in, first out.
            if let Some(key) = waiting.min_by_key(|key| state.tasks[key].run.priority) {
                state.waiting.retain(|waiting| *waiting != key);
                if takes != Takes::Assembling {
                    state.loading.insert(key, Instant::now());
                }
                let entry =
                    state.tasks.get_mut(&key).expect("a waiting task has an entry: both are removed under one lock");
                entry.stage = if takes == Takes::Assembling { Stage::Encoding } else { Stage::Loading };
                return (key, Arc::clone(&entry.run));
            }
            let waiting = match takes {
                Takes::Frames(lowest) if lowest <= URGENT => &self.urgent_waiting,
                Takes::Frames(_) => &self.frames_waiting,
                Takes::Assembling => &self.assembling_waiting,
            };
            state = waiting.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn load_forever(self: &Arc<Self>, takes: Takes) {
        loop {
            let (key, run) = self.next_waiting(takes);
            let _ = self.replies.try_send(Reply::Progress { task: key, progress: task::progress_at_start(&run) });
            let loaded = catch_unwind(AssertUnwindSafe(|| self.load(&run))).unwrap_or_else(|panic| {
                Err(LoadError::Failed(internal(format!("the loader failed: {}", panic_text(&*panic)), "load")))
            });
            self.lock().loading.remove(&key);
            self.tell_residents();
            match loaded {
                Ok(Loaded::Scene(scene)) => self.submit(key, &run, scene.0, scene.1),
                Ok(Loaded::Shader(input)) => self.submit_shader(key, &run, *input),
                Err(LoadError::Failed(failure)) => self.end(key, TaskEnd::Failed(failure)),
                Err(LoadError::Stuck(failure)) => {
                    self.lock().compilers_stuck += 1;
                    self.end(key, TaskEnd::Failed(failure));
                }
            }
        }
    }

    fn load(&self, run: &RunTask) -> Result<Loaded, LoadError> {
        match task::document(run)? {
            JobSpec::Scene(spec) => Ok(Loaded::Scene(Box::new(task::load(run, spec, &self.scenes)?))),
            JobSpec::Shader(spec) => Ok(Loaded::Shader(Box::new(shader::load(self, run, spec)?))),
        }
    }

    fn assemble_forever(&self) {
        loop {
            let (key, run) = self.next_waiting(Takes::Assembling);
            let Some(cancel) = self.lock().tasks.get(&key).map(|entry| Arc::clone(&entry.cancel)) else { continue };
            let _ = self.replies.send(Reply::DeviceFree { task: key });
            let going_on = |fraction: f32| {
                let progress = Progress { phase: Phase::Encoding, fraction, frames_total: 1, ..Progress::default() };
                let _ = self.replies.try_send(Reply::Progress { task: key, progress });
                !cancel.load(Ordering::Acquire)
            };
            let assembled = catch_unwind(AssertUnwindSafe(|| match task::document(&run)? {
                JobSpec::Scene(spec) => assemble(&run, &spec, going_on),
                JobSpec::Shader(_) => Err(internal("a shader's frames need no assembling".to_owned(), "encode")),
            }));
            let assembled = assembled.unwrap_or_else(|panic| {
                Err(internal(format!("the frames could not be put together: {}", panic_text(&*panic)), "encode"))
            });
            let result = if cancel.load(Ordering::Acquire) { Ok(TaskEnd::Cancelled) } else { assembled };
            self.end(key, result.unwrap_or_else(TaskEnd::Failed));
        }
    }

    /// Says what stays in memory, if that has changed.
    fn tell_residents(&self) {
        let assets = self.scenes.assets();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if *told != assets {
            told.clone_from(&assets);
            // A courtesy: the next change tells all of it again.
            let _ = self.replies.try_send(Reply::Resident { assets });
        }
    }

    /// Hands a loaded task over to the device, unless it was cancelled meanwhile.
    fn submit(self: &Arc<Self>, key: TaskKey, run: &RunTask, loaded: LoadedTask, input: RenderInput) {
        let (cancel, put_aside, work) = {
            let mut state = self.lock();
            let Some(entry) = state.tasks.get_mut(&key) else { return };
            entry.stage = Stage::Device;
            (Arc::clone(&entry.cancel), Arc::clone(&entry.put_aside), entry.work)
        };
        for message in input.notes {
            let _ = self.replies.try_send(Reply::Log { task: key, message });
        }
        let shared = Arc::clone(self);
        let still = loaded.spec.frames.is_none();
        let loaded = Arc::new(loaded);
        let film_bytes = u64::from(input.settings.width) * u64::from(input.settings.height) * 16;
        let checkpointed = film_bytes < CHECKPOINT_BYTES_MAX && run.checkpoint_ms > 0;
        let render = Render::of(RenderOrder {
            scene: input.scene,
            sky: input.sky,
            settings: input.settings,
            label: format!("job {}", key.job),
            priority: run.priority,
            cancel,
            put_aside,
            resume: input.resume,
            checkpoint: checkpointed.then(|| Duration::from_millis(run.checkpoint_ms)),
            keep_seconds_min: (checkpointed && still).then_some(EXTENDABLE_GPU_SECONDS_MIN),
            events: Box::new(move |event| shared.on_render_event(key, &loaded, event)),
        });
        self.hand_over(key, work, Box::new(render));
    }

    /// Not under the lock: the device thread takes the lock in its callbacks, and its channel may be full.
    fn hand_over(&self, key: TaskKey, id: WorkId, work: Box<dyn SliceWork>) {
        if let Err(error) = self.device.submit_as(id, work) {
            self.end_on_device_error(key, error);
            return;
        }
        // Somebody may have asked for a look at it before.
        if self.lock().tasks.get(&key).is_some_and(|entry| entry.preview.is_some()) {
            self.device.preview(id);
        }
    }

    /// Runs on the device thread, which must never wait here.
    fn on_render_event(&self, key: TaskKey, loaded: &Arc<LoadedTask>, event: RenderEvent) {
        match event {
            RenderEvent::Progress { samples_done, fraction, gpu_seconds } => {
                self.tell_progress(key, || loaded.progress(Phase::Rendering, fraction, samples_done, gpu_seconds));
            }
            RenderEvent::Preview(film) => {
                let samples = film.samples;
                self.show(key, PreviewPicture::Film(film, Arc::clone(loaded)), samples);
            }
            RenderEvent::Checkpoint(state) => self.save_checkpoint(key, state),
            RenderEvent::Note(message) => {
                let _ = self.replies.try_send(Reply::Log { task: key, message });
            }
            RenderEvent::Preempted => {
                let _ = self.replies.try_send(Reply::Preempted { task: key });
            }
            RenderEvent::PutAside(state) => self.save_last(key, state),
            RenderEvent::Finished { film, stats, state } => {
                self.leave_device(key);
                self.forward(Reply::DeviceFree { task: key });
                let stats = Box::new(stats);
                let encode = Encode::Film { key, film, stats, state, loaded: Arc::clone(loaded) };
                self.encodes.send(encode).expect("the encoder thread lives as long as the process");
            }
            RenderEvent::Cancelled => self.end_on_device(key, TaskEnd::Cancelled),
            RenderEvent::Failed(error) => self.end_on_device_error(key, error),
        }
    }

    /// Tells the progress that `progress` makes, at most every `PROGRESS_MS` a task.
    fn tell_progress(&self, key: TaskKey, progress: impl FnOnce() -> Progress) {
        let mut state = self.lock();
        let Some(entry) = state.tasks.get_mut(&key) else { return };
        if entry.progress_sent.is_some_and(|sent| sent.elapsed() < Duration::from_millis(PROGRESS_MS)) {
            return;
        }
        entry.progress_sent = Some(Instant::now());
        drop(state);
        // Progress is a courtesy: where the pipe is full, the next one will do.
        let _ = self.replies.try_send(Reply::Progress { task: key, progress: progress() });
    }

    /// Hands a picture to the preview thread, where somebody asked for it.
    fn show(&self, key: TaskKey, picture: PreviewPicture, samples: u32) {
        let path = self.lock().tasks.get_mut(&key).and_then(|entry| entry.preview.take());
        if let Some(path) = path {
            let _ = self.previews.try_send(Preview { key, path, picture, samples });
        }
    }

    /// Hands a state to the checkpoint thread, unless it still has the last one.
    fn save_checkpoint(&self, key: TaskKey, state: SavedState) {
        let mut tasks = self.lock();
        let Some(entry) = tasks.tasks.get_mut(&key).filter(|entry| !entry.saving) else { return };
        entry.saving = true;
        drop(tasks);
        self.save_later(Save { key, state: Some(state), last: false });
    }

    /// The same for a task that was put aside, and ends with it.
    fn save_last(&self, key: TaskKey, state: Option<SavedState>) {
        self.leave_device(key);
        self.save_later(Save { key, state, last: true });
    }

    fn save_later(&self, save: Save) {
        self.saves.send(save).expect("the checkpoint thread lives as long as the process");
    }

    fn leave_device(&self, key: TaskKey) {
        if let Some(entry) = self.lock().tasks.get_mut(&key) {
            entry.stage = Stage::Encoding;
        }
    }

    /// [`Self::end`] for the device thread, which must not wait for the pipe.
    fn end_on_device(&self, key: TaskKey, result: TaskEnd) {
        if self.lock().tasks.remove(&key).is_some() {
            self.forward(Reply::Ended { task: key, result });
        }
    }

    /// Ends a task whose device failed, and the process with it where no other task could use the device either.
    fn end_on_device_error(&self, key: TaskKey, error: DeviceError) {
        if self.lock().tasks.remove(&key).is_none() {
            return;
        }
        let fatal = matches!(error, DeviceError::Lost(_) | DeviceError::Timeout(_)).then(|| error.to_string());
        self.device_lost.fetch_or(fatal.is_some(), Ordering::Relaxed);
        self.forward(Reply::Ended { task: key, result: TaskEnd::Failed(task::device_failure(&error)) });
        if let Some(message) = fatal {
            self.forward(Reply::Fatal { message });
        }
    }

    /// A reply from the device thread: straight to the pipe, or by way of the encoder thread while the pipe is full.
    fn forward(&self, reply: Reply) {
        if let Err(error) = self.replies.try_send(reply)
            && let crossbeam_channel::TrySendError::Full(reply) = error
        {
            // Bounded by the tasks that were admitted, so there is room.
            let _ = self.encodes.send(Encode::Forward(reply));
        }
    }

    fn encode_forever(&self, work: &Receiver<Encode>) {
        for encode in work {
            let (key, film, stats, state, loaded) = match encode {
                Encode::Film { key, film, stats, state, loaded } => (key, film, stats, state, loaded),
                Encode::Forward(reply) => {
                    let _ = self.replies.send(reply);
                    continue;
                }
            };
            let Some((run, cancel)) =
                self.lock().tasks.get(&key).map(|entry| (Arc::clone(&entry.run), Arc::clone(&entry.cancel)))
            else {
                continue;
            };
            let progress =
                loaded.progress(Phase::Encoding, 1.0, film.samples, stats.gpu_seconds - stats.inherited_seconds);
            // Not a courtesy: what a job is charged for, and what is learnt of its cost, is in it.
            let _ = self.replies.send(Reply::Progress { task: key, progress });
            let result = if cancel.load(Ordering::Acquire) {
                TaskEnd::Cancelled
            } else {
                self.save(key, &run, state);
                catch_unwind(AssertUnwindSafe(|| task::finish(&run, &loaded, &film, &stats, &self.adapter)))
                    .unwrap_or_else(|panic| {
                        Err(internal(format!("the encoder failed: {}", panic_text(&*panic)), "encode"))
                    })
                    .unwrap_or_else(TaskEnd::Failed)
            };
            // A cancel that came during the encoding still counts: the caller removes the files.
            let result = if cancel.load(Ordering::Acquire) { TaskEnd::Cancelled } else { result };
            drop((film, loaded));
            self.end(key, result);
        }
    }

    fn save_forever(&self, work: &Receiver<Save>) {
        for Save { key, state, last } in work {
            let run = self.lock().tasks.get(&key).map(|entry| Arc::clone(&entry.run));
            if let Some(run) = run {
                self.save(key, &run, state);
            }
            if last {
                self.end(key, TaskEnd::PutAside);
            } else if let Some(entry) = self.lock().tasks.get_mut(&key) {
                entry.saving = false;
            }
        }
    }

    /// Writes a checkpoint and says where. One that cannot be written is only logged: it saves time, and is not what was asked for.
    fn save(&self, key: TaskKey, run: &RunTask, state: Option<SavedState>) {
        let Some(state) = state else { return };
        static WRITTEN: AtomicU64 = AtomicU64::new(0);
        let path = run.output_dir.join(format!("checkpoint-{}", WRITTEN.fetch_add(1, Ordering::Relaxed)));
        match catch_unwind(AssertUnwindSafe(|| checkpoint::write(&path, &state))) {
            Ok(Ok(())) => {
                let _ = self.replies.send(Reply::Checkpoint { task: key, path });
            }
            Ok(Err(error)) => tracing::warn!(job.id = %key.job, %error, "a checkpoint could not be written"),
            Err(panic) => {
                tracing::error!(job.id = %key.job, message = panic_text(&*panic), "the checkpoint thread failed")
            }
        }
    }

    fn preview_forever(&self, work: &Receiver<Preview>) {
        for Preview { key, path, picture, samples } in work {
            let written = catch_unwind(AssertUnwindSafe(|| {
                let png = match &picture {
                    PreviewPicture::Film(film, loaded) => task::preview_png(loaded, film)?,
                    PreviewPicture::Packed { pixels, size } => {
                        let picture = PackedPicture { size: *size, deep: false, bytes: pixels };
                        picture.png().map_err(|error| error.to_string())?
                    }
                };
                task::write_preview(&png, &path)
            }));
            match written {
                Ok(Ok(())) => {
                    let _ = self.replies.send(Reply::Preview { task: key, path, samples });
                }
                Ok(Err(message)) => tracing::warn!(job.id = %key.job, message, "a preview could not be written"),
                Err(panic) => {
                    tracing::error!(job.id = %key.job, message = panic_text(&*panic), "the preview encoder failed")
                }
            }
        }
    }

    /// Forgets a task and says how it ended, unless it has ended already.
    fn end(&self, key: TaskKey, result: TaskEnd) {
        if self.lock().tasks.remove(&key).is_some() {
            self.send_end(key, result);
        }
    }

    fn send_end(&self, key: TaskKey, result: TaskEnd) {
        // The receiver is gone only when the process is about to end.
        let _ = self.replies.send(Reply::Ended { task: key, result });
    }
}

fn spawn(name: &str, stack_bytes: usize, body: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new()
        .name(name.to_owned())
        .stack_size(stack_bytes)
        .spawn(body)
        .expect("a process that cannot start a thread at its start cannot work");
}

fn internal(message: String, stage: &str) -> Failure {
    task::failure(FailureReason::Internal, message, stage)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
}

impl LoadedTask {
    fn progress(&self, phase: Phase, fraction: f32, samples_done: u32, gpu_seconds: f64) -> Progress {
        Progress {
            phase,
            fraction: fraction.clamp(0.0, 1.0),
            samples_done,
            samples_total: self.spec.samples,
            frames_done: 0,
            frames_total: 1,
            gpu_seconds,
        }
    }
}
