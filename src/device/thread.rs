//! The device thread itself, and the handle to it.
//!
//! One thread, `kiln-device`, opens the device and keeps it until it is told to stop. While it has no work it blocks on its
//! channel; while it has, it looks at the channel between two slices.

use super::adapter::{self, AdapterSelector, OpenDevice};
use super::context::Pulse;
use super::fault::{self, Faults, panic_text};
use super::locals::Locals;
use super::memory;
use super::resident::Residents;
use super::{Abandoned, DeviceError, GpuContext, Kernels, MemoryLedger, SliceOutcome, SliceWork};
use crate::gpu_process::protocol::AdapterReport;
use crate::limits;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Names work on the device thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkId(u64);

enum Command {
    Submit(WorkId, Box<dyn SliceWork>),
    Preview(WorkId),
    Shutdown,
}

/// What the thread tells the others without being asked.
struct Shared {
    report: AdapterReport,
    pulse: Pulse,
    memory: MemoryLedger,
    gpu_nanoseconds: AtomicU64,
    next_id: AtomicU64,
}

/// The way to the device thread. Clones share it.
#[derive(Clone)]
pub struct DeviceHandle {
    commands: Sender<Command>,
    shared: Arc<Shared>,
}

/// Owns the device thread.
pub struct DeviceThread {
    commands: Sender<Command>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl DeviceThread {
    /// Starts the thread and opens the device on it.
    ///
    /// # Errors
    /// [`DeviceError::NoAdapter`] when nothing fits `select` or it does not open.
    pub fn spawn(select: &AdapterSelector) -> Result<(Self, DeviceHandle), DeviceError> {
        Self::spawn_with_budget(select, None)
    }

    /// As [`Self::spawn`], with a bound of one's own on the bytes that works may have on the device together. `None`: a share of what the
    /// adapter has.
    ///
    /// # Errors
    /// As [`Self::spawn`].
    pub fn spawn_with_budget(
        select: &AdapterSelector,
        budget_bytes: Option<u64>,
    ) -> Result<(Self, DeviceHandle), DeviceError> {
        let (commands, inbox) = bounded(limits::DEVICE_COMMANDS_QUEUED_MAX);
        let (opened, wait_opened) = bounded(1);
        let select = select.clone();
        let thread = std::thread::Builder::new()
            .name("kiln-device".to_owned())
            // The shader compiler recurses deeply.
            .stack_size(16 << 20)
            .spawn(move || {
                let device = match catch_unwind(|| adapter::open(&select)) {
                    Ok(Ok(device)) => device,
                    Ok(Err(error)) => {
                        let _ = opened.send(Err(error));
                        return;
                    }
                    Err(panic) => {
                        let _ = opened.send(Err(DeviceError::NoAdapter(panic_text(panic.as_ref()))));
                        return;
                    }
                };
                let budget_bytes = budget_bytes.unwrap_or_else(|| memory::budget_bytes(&device.report));
                let shared = Arc::new(Shared {
                    report: AdapterReport { budget_bytes, ..device.report.clone() },
                    pulse: Pulse::new(),
                    memory: MemoryLedger::default(),
                    gpu_nanoseconds: AtomicU64::new(0),
                    next_id: AtomicU64::new(0),
                });
                if opened.send(Ok(Arc::clone(&shared))).is_ok() {
                    Runner::new(device, shared).run(&inbox);
                }
            })
            .map_err(|error| DeviceError::NoAdapter(format!("the device thread did not start: {error}")))?;
        let shared = wait_opened
            .recv()
            .unwrap_or_else(|_| Err(DeviceError::NoAdapter("the device thread ended while opening".to_owned())))?;
        let handle = DeviceHandle { commands: commands.clone(), shared };
        Ok((Self { commands, thread: Some(thread) }, handle))
    }

    /// Abandons all work, closes the device and waits for the thread.
    pub fn shutdown(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // An error here means that the thread is gone already.
            let _ = self.commands.send(Command::Shutdown);
            if thread.join().is_err() {
                tracing::error!("the device thread panicked");
            }
        }
    }
}

impl Drop for DeviceThread {
    fn drop(&mut self) {
        self.stop();
    }
}

impl DeviceHandle {
    /// What the adapter is.
    pub fn report(&self) -> &AdapterReport {
        &self.shared.report
    }

    /// Hands work to the device thread. Blocks while [`limits::DEVICE_COMMANDS_QUEUED_MAX`] commands wait.
    ///
    /// # Errors
    /// [`DeviceError::Stopped`] when the thread has ended, [`DeviceError::Timeout`] when it takes no commands.
    pub fn submit(&self, work: Box<dyn SliceWork>) -> Result<WorkId, DeviceError> {
        let id = self.reserve();
        self.submit_as(id, work)?;
        Ok(id)
    }

    /// Takes a place in the order of its class for work that is not ready yet. A place that is never used costs nothing.
    pub fn reserve(&self) -> WorkId {
        WorkId(self.shared.next_id.fetch_add(1, Ordering::Relaxed))
    }

    /// As [`Self::submit`], in a place that was reserved before: at the next slice boundary it overtakes work of its class that came later
    /// and was ready sooner.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn submit_as(&self, id: WorkId, work: Box<dyn SliceWork>) -> Result<(), DeviceError> {
        let patience = Duration::from_millis(limits::DEVICE_HANG_MS);
        self.commands.send_timeout(Command::Submit(id, work), patience).map_err(|error| match error {
            crossbeam_channel::SendTimeoutError::Timeout(_) => DeviceError::Timeout(limits::DEVICE_HANG_MS),
            crossbeam_channel::SendTimeoutError::Disconnected(_) => {
                DeviceError::Stopped("the device thread has ended".to_owned())
            }
        })
    }

    /// Asks for a look at the work so far; a courtesy, so it is dropped when the thread is too busy to take it.
    pub fn preview(&self, id: WorkId) {
        if let Err(TrySendError::Full(_)) = self.commands.try_send(Command::Preview(id)) {
            tracing::debug!("a preview was dropped: the device thread's channel is full");
        }
    }

    /// Milliseconds since the device thread last showed life; 0 while it idles.
    pub fn silent_ms(&self) -> u64 {
        self.shared.pulse.silent_ms()
    }

    /// Seconds of slices since the start.
    pub fn gpu_seconds(&self) -> f64 {
        self.shared.gpu_nanoseconds.load(Ordering::Relaxed) as f64 * 1e-9
    }

    /// Bytes on the device by the ledger.
    pub fn gpu_bytes(&self) -> u64 {
        self.shared.memory.total_bytes()
    }

    /// Bytes on the device by label.
    pub fn memory(&self) -> &MemoryLedger {
        &self.shared.memory
    }
}

struct Entry {
    id: WorkId,
    work: Box<dyn SliceWork>,
    preview_wanted: bool,
    /// Its last slice did nothing, and no other work has had one since.
    blocked: bool,
    /// It ran out of memory once, and everything else has made room for it since.
    alone: bool,
}

/// What works are lent.
struct Machine {
    device: wgpu::Device,
    queue: wgpu::Queue,
    limits: wgpu::Limits,
    kernels: Kernels,
    residents: Residents,
    locals: Locals,
    shared: Arc<Shared>,
    slice_budget: Duration,
}

impl Machine {
    fn context(&self) -> GpuContext<'_> {
        GpuContext {
            device: &self.device,
            queue: &self.queue,
            adapter: &self.shared.report,
            limits: &self.limits,
            slice_budget: self.slice_budget,
            memory: &self.shared.memory,
            kernels: &self.kernels,
            residents: &self.residents,
            locals: &self.locals,
            pulse: &self.shared.pulse,
        }
    }

    /// Runs a piece of somebody's work, with every fault of it typed: mistakes inside of it belong to it, what arrives outside of a scope is
    /// caught by [`Faults`].
    fn guarded<T>(&self, body: impl FnOnce(&GpuContext<'_>) -> Result<T, DeviceError>) -> Result<T, DeviceError> {
        catch_unwind(AssertUnwindSafe(|| {
            let scopes = [wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Validation]
                .map(|filter| self.device.push_error_scope(filter));
            let outcome = body(&self.context());
            let mut fault = None;
            for scope in scopes.into_iter().rev() {
                let error = pollster::block_on(scope.pop());
                fault = fault.or(error.map(fault::from_wgpu));
            }
            match fault {
                Some(fault) => Err(fault),
                None => outcome,
            }
        }))
        .unwrap_or_else(|panic| Err(DeviceError::Stopped(panic_text(panic.as_ref()))))
    }
}

struct Runner {
    machine: Machine,
    faults: Faults,
    works: Vec<Entry>,
    /// Whose slice was the last one.
    last: Option<WorkId>,
}

impl Runner {
    fn new(open: OpenDevice, shared: Arc<Shared>) -> Self {
        let slice_ms = if open.report.software { limits::SLICE_MS_SOFTWARE } else { limits::SLICE_MS_GPU };
        Self {
            faults: Faults::install(&open.device),
            machine: Machine {
                limits: open.device.limits(),
                device: open.device,
                queue: open.queue,
                kernels: Kernels::default(),
                residents: Residents::default(),
                locals: Locals::default(),
                shared,
                slice_budget: Duration::from_millis(slice_ms),
            },
            works: Vec::new(),
            last: None,
        }
    }

    fn run(&mut self, inbox: &Receiver<Command>) {
        let shared = Arc::clone(&self.machine.shared);
        loop {
            if self.works.is_empty() {
                shared.pulse.idle();
                match inbox.recv() {
                    Ok(Command::Shutdown) | Err(_) => break,
                    Ok(command) => self.take(command),
                }
            }
            shared.pulse.beat();
            let mut stop = false;
            while let Ok(command) = inbox.try_recv() {
                match command {
                    Command::Shutdown => stop = true,
                    command => self.take(command),
                }
            }
            if stop {
                break;
            }
            self.drop_unwanted();
            if !self.run_most_urgent() && !self.works.is_empty() {
                match inbox.recv_timeout(Duration::from_millis(limits::DEVICE_BLOCKED_MS)) {
                    Ok(Command::Shutdown) | Err(RecvTimeoutError::Disconnected) => break,
                    Ok(command) => self.take(command),
                    Err(RecvTimeoutError::Timeout) => {}
                }
                self.works.iter_mut().for_each(|entry| entry.blocked = false);
            }
        }
        for mut entry in std::mem::take(&mut self.works) {
            abandon(entry.work.as_mut(), Abandoned::Cancelled);
        }
        shared.pulse.idle();
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Submit(id, work) => {
                self.works.push(Entry { id, work, preview_wanted: false, blocked: false, alone: false })
            }
            Command::Preview(id) => {
                if let Some(entry) = self.works.iter_mut().find(|entry| entry.id == id) {
                    entry.preview_wanted = true;
                }
            }
            Command::Shutdown => {}
        }
    }

    /// Work that waits is dropped or put aside as soon as somebody wants it to be, not when its turn comes.
    fn drop_unwanted(&mut self) {
        let mut i = 0;
        while i < self.works.len() {
            if self.works[i].work.cancelled() {
                let mut entry = self.works.remove(i);
                abandon(entry.work.as_mut(), Abandoned::Cancelled);
            } else if self.works[i].work.put_aside_wanted() {
                let mut entry = self.works.remove(i);
                if let Err(error) = self.machine.guarded(|gpu| entry.work.put_aside(gpu)) {
                    self.fail(&mut entry, error);
                }
            } else {
                i += 1;
            }
        }
    }

    /// Runs a slice of the most urgent work that is not blocked. False where there is none.
    fn run_most_urgent(&mut self) -> bool {
        let able = (0..self.works.len()).filter(|&i| !self.works[i].blocked);
        let Some(urgent) = able.min_by_key(|&i| (self.works[i].work.priority(), self.works[i].id)) else {
            return false;
        };
        let mut entry = self.works.swap_remove(urgent);
        let start = Instant::now();
        self.make_room(&entry);
        let outcome = self.preview_if_wanted(&mut entry);
        let outcome = outcome.and_then(|()| self.machine.guarded(|gpu| entry.work.slice(gpu)));
        let outcome = match self.faults.take() {
            Some(fault) => Err(fault),
            None => outcome,
        };
        if matches!(outcome, Ok(SliceOutcome::Blocked)) {
            entry.blocked = true;
            self.works.push(entry);
            return true;
        }
        let elapsed = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.machine.shared.gpu_nanoseconds.fetch_add(elapsed, Ordering::Relaxed);
        // Whoever was blocked may be able to go on by now.
        self.works.iter_mut().for_each(|entry| entry.blocked = false);
        self.tell_preempted(&entry);
        match outcome {
            Ok(SliceOutcome::More | SliceOutcome::Blocked) => self.works.push(entry),
            Ok(SliceOutcome::Done) => {}
            // The ledger does not know everything: the driver and other programs use memory too. Where something else can leave and the
            // work has not begun, it gets a second chance.
            Err(DeviceError::OutOfMemory(why)) if !entry.alone && self.may_begin_again(&entry) => {
                tracing::warn!(work = entry.work.label(), why, "the device is full; everything else makes room");
                entry.alone = true;
                self.works.push(entry);
            }
            Err(error) => self.fail(&mut entry, error),
        }
        true
    }

    /// Shows the work so far, where somebody asked for it. Only a device that is gone is a reason not to go on.
    fn preview_if_wanted(&self, entry: &mut Entry) -> Result<(), DeviceError> {
        if !entry.preview_wanted {
            return Ok(());
        }
        let shown = self.machine.guarded(|gpu| entry.work.preview(gpu));
        entry.preview_wanted = matches!(shown, Ok(false));
        match self.faults.take().map_or(shown, Err) {
            Err(error @ (DeviceError::Lost(_) | DeviceError::Timeout(_))) => Err(error),
            Err(error) => {
                tracing::warn!(work = entry.work.label(), %error, "a preview could not be made");
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }

    fn fail(&self, entry: &mut Entry, error: DeviceError) {
        tracing::warn!(work = entry.work.label(), %error, "work on the device thread failed");
        abandon(entry.work.as_mut(), Abandoned::Failed(error));
    }

    /// Tells the work that had the device when work of a better class has taken it.
    fn tell_preempted(&mut self, next: &Entry) {
        let last = self.last.replace(next.id);
        let Some(entry) = self.works.iter_mut().find(|entry| Some(entry.id) == last) else { return };
        if next.work.priority() < entry.work.priority()
            && catch_unwind(AssertUnwindSafe(|| entry.work.preempted())).is_err()
        {
            tracing::error!(work = entry.work.label(), "a callback panicked while its work was preempted");
        }
    }

    /// Frees memory until `next` fits into the budget: contents that nobody uses first, then works that are less urgent than all others.
    fn make_room(&mut self, next: &Entry) {
        // What `next` finds on the device counts as used later than this, and stays: it does not want the bytes of it.
        let before = self.machine.residents.now();
        let wanted = next.work.bytes_wanted(&self.machine.context());
        if wanted == 0 {
            return;
        }
        let budget = if next.alone { 0 } else { self.machine.shared.report.budget_bytes };
        let mut asked = Vec::new();
        while self.machine.shared.memory.total_bytes().saturating_add(wanted) > budget {
            if self.machine.residents.drop_oldest(before) {
                continue;
            }
            let candidates = (0..self.works.len()).filter(|&i| !asked.contains(&self.works[i].id));
            let Some(victim) = candidates.max_by_key(|&i| (self.works[i].work.priority(), self.works[i].id)) else {
                return;
            };
            asked.push(self.works[victim].id);
            let entry = &mut self.works[victim];
            match self.machine.guarded(|gpu| entry.work.evict(gpu)) {
                Ok(evicted) => {
                    tracing::debug!(work = entry.work.label(), evicted, "asked to make room on the device");
                }
                Err(error) => {
                    let mut entry = self.works.swap_remove(victim);
                    self.fail(&mut entry, error);
                }
            }
        }
    }

    /// True where the work holds nothing yet, and something else does.
    fn may_begin_again(&self, entry: &Entry) -> bool {
        entry.work.bytes_wanted(&self.machine.context()) > 0 && self.machine.shared.memory.total_bytes() > 0
    }
}

/// Tells the work; a panic in its callback must not take the thread with it.
fn abandon(work: &mut dyn SliceWork, why: Abandoned) {
    if catch_unwind(AssertUnwindSafe(|| work.abandon(why))).is_err() {
        tracing::error!("a callback panicked while its work was abandoned");
    }
}
