//! The device thread: order, cancellation, previews, and work that goes wrong.

use super::cornell;
use super::scenes::*;
use kiln::device::{
    Abandoned, AdapterSelector, DeviceError, DeviceHandle, DeviceThread, GpuContext, SliceOutcome, SliceWork, WorkId,
};
use kiln::job::Priority;
use kiln::path_trace::{Render, RenderEvent, RenderSettings};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};

/// Starts a render that takes long enough to be interrupted.
fn start(device: &DeviceHandle, samples: u32, priority: Priority) -> (WorkId, Arc<AtomicBool>, Receiver<RenderEvent>) {
    let (scene, settings) = cornell();
    let settings = RenderSettings { samples, slice_paths: Some(4096), ..settings };
    let (sender, receiver) = channel();
    let cancel = Arc::new(AtomicBool::new(false));
    let events = Box::new(move |event| {
        let _ = sender.send(event);
    });
    let (scene, sky) = (Arc::new(scene), Arc::new(sky(0.2)));
    let render = Render::new(scene, sky, settings, "test".to_owned(), priority, Arc::clone(&cancel), events);
    let id = device.submit(Box::new(render)).expect("the device thread takes work");
    (id, cancel, receiver)
}

#[test]
fn a_cancelled_render_says_so_and_frees_its_memory() {
    if device_or_skip().is_none() {
        return;
    }
    // Its own, where nobody else's memory is counted.
    let (_thread, device) = DeviceThread::spawn(&AdapterSelector::Auto).expect("it opened before");
    let before = device.memory().bytes_by_label();
    let (_, cancel, events) = start(&device, 60_000, Priority::Interactive);
    assert!(matches!(events.recv(), Ok(RenderEvent::Progress { .. })));
    assert!(device.memory().bytes_by_label().contains_key("film"), "it works without memory");
    cancel.store(true, Ordering::Release);
    let last = events.iter().last();
    assert!(matches!(last, Some(RenderEvent::Cancelled)), "the last event was {last:?}");
    assert_eq!(device.memory().bytes_by_label(), before);
}

#[test]
fn work_that_waits_is_cancelled_without_its_turn() {
    let Some(device) = device_or_skip() else { return };
    let (_, cancel_running, running) = start(device, 60_000, Priority::Interactive);
    let (_, cancel_waiting, waiting) = start(device, 60_000, Priority::Batch);
    assert!(matches!(running.recv(), Ok(RenderEvent::Progress { .. })));
    cancel_waiting.store(true, Ordering::Release);
    let events: Vec<RenderEvent> = waiting.iter().collect();
    assert!(matches!(events[..], [RenderEvent::Cancelled]), "{events:?}");
    cancel_running.store(true, Ordering::Release);
    assert!(matches!(running.iter().last(), Some(RenderEvent::Cancelled)));
}

#[test]
fn a_preview_shows_the_samples_so_far() {
    let Some(device) = device_or_skip() else { return };
    let (id, cancel, events) = start(device, 60_000, Priority::Normal);
    let film = events.iter().find_map(|event| match event {
        RenderEvent::Progress { samples_done, .. } => {
            if samples_done > 0 {
                device.preview(id);
            }
            None
        }
        RenderEvent::Preview(film) => Some(film),
        // Other tests use the same device.
        RenderEvent::Preempted => None,
        other => panic!("before the preview came {other:?}"),
    });
    cancel.store(true, Ordering::Release);
    let film = film.expect("a preview comes before the end");
    assert!(film.samples > 0 && film.samples < 60_000);
    // The room as it will be, but for noise.
    let (scene, settings) = cornell();
    let (whole, _) = render(device, scene, sky(0.2), RenderSettings { samples: 16, ..settings });
    let (a, b) = (mean(&film), mean(&whole));
    assert!((a - b).abs() < 0.2 * b, "preview {a}, picture {b}");
}

#[test]
fn urgent_work_overtakes_at_a_slice_boundary() {
    let Some(device) = device_or_skip() else { return };
    let (_, cancel, slow) = start(device, 60_000, Priority::Batch);
    assert!(matches!(slow.recv(), Ok(RenderEvent::Progress { .. })));
    let (_, _, urgent) = start(device, 2, Priority::Interactive);
    let last = urgent.iter().last();
    assert!(matches!(last, Some(RenderEvent::Finished { .. })), "{last:?}");
    // The slow one was told, is still there, and goes on.
    assert!(slow.try_iter().any(|event| matches!(event, RenderEvent::Preempted)), "it was not told");
    let next = slow.iter().find(|event| !matches!(event, RenderEvent::Preempted));
    assert!(matches!(next, Some(RenderEvent::Progress { .. })), "{next:?}");
    cancel.store(true, Ordering::Release);
    assert!(matches!(slow.iter().last(), Some(RenderEvent::Cancelled)));
}

/// Work that does one thing wrong.
struct Faulty {
    fault: fn(&GpuContext<'_>),
    sender: std::sync::mpsc::Sender<Abandoned>,
}

impl SliceWork for Faulty {
    fn label(&self) -> &str {
        "faulty"
    }
    fn priority(&self) -> Priority {
        Priority::Interactive
    }
    fn slice(&mut self, gpu: &GpuContext<'_>) -> Result<SliceOutcome, DeviceError> {
        (self.fault)(gpu);
        Ok(SliceOutcome::Done)
    }
    fn abandon(&mut self, why: Abandoned) {
        let _ = self.sender.send(why);
    }
}

#[test]
fn faults_of_work_are_typed_and_leave_the_thread_alive() {
    let Some(device) = device_or_skip() else { return };
    let run = |fault: fn(&GpuContext<'_>)| {
        let (sender, receiver) = channel();
        device.submit(Box::new(Faulty { fault, sender })).expect("the device thread takes work");
        match receiver.recv() {
            Ok(Abandoned::Failed(error)) => error,
            other => panic!("{other:?}"),
        }
    };
    let panicked = run(|_| panic!("on purpose"));
    assert!(matches!(&panicked, DeviceError::Stopped(why) if why.contains("on purpose")), "{panicked}");
    let invalid = run(|gpu| {
        let _ = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("invalid on purpose"),
            size: 16,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::STORAGE,
            mapped_at_creation: false,
        });
    });
    assert!(matches!(invalid, DeviceError::Validation(_)), "{invalid}");
    let settings = RenderSettings { samples: 1, ..cornell().1 };
    render(device, cornell().0, sky(1.0), settings);
}

#[test]
fn a_buffer_larger_than_the_adapter_binds_is_refused_with_both_sizes() {
    let Some(device) = device_or_skip() else { return };
    let (sender, receiver) = channel();
    let fault = |gpu: &GpuContext<'_>| {
        let bytes = gpu.limits.max_storage_buffer_binding_size + 16;
        let error = gpu.buffer("too large", bytes, wgpu::BufferUsages::STORAGE).expect_err("it exceeds the limit");
        assert!(matches!(error, DeviceError::Limit(_)));
        panic!("{error}");
    };
    device.submit(Box::new(Faulty { fault, sender })).expect("the device thread takes work");
    let Ok(Abandoned::Failed(error)) = receiver.recv() else { panic!("no answer") };
    let limit = device.report().storage_binding_bytes_max.to_string();
    assert!(error.to_string().contains("too large") && error.to_string().contains(&limit), "{error}");
}

/// Work whose look at itself goes wrong.
struct Shy {
    sender: std::sync::mpsc::Sender<&'static str>,
    fault: fn(&GpuContext<'_>) -> Result<(), DeviceError>,
    looked_at: bool,
}

impl SliceWork for Shy {
    fn label(&self) -> &str {
        "shy"
    }
    fn priority(&self) -> Priority {
        Priority::Interactive
    }
    fn slice(&mut self, _gpu: &GpuContext<'_>) -> Result<SliceOutcome, DeviceError> {
        let _ = self.sender.send(if self.looked_at { "slice after the preview" } else { "slice" });
        Ok(if self.looked_at { SliceOutcome::Done } else { SliceOutcome::More })
    }
    fn preview(&mut self, gpu: &GpuContext<'_>) -> Result<bool, DeviceError> {
        self.looked_at = true;
        (self.fault)(gpu).map(|()| true)
    }
    fn abandon(&mut self, _why: Abandoned) {
        let _ = self.sender.send("abandoned");
    }
}

#[test]
fn a_preview_that_fails_does_not_fail_the_work() {
    let Some(device) = device_or_skip() else { return };
    type Fault = fn(&GpuContext<'_>) -> Result<(), DeviceError>;
    let faults: [Fault; 3] = [
        |_| Err(DeviceError::OutOfMemory("on purpose".into())),
        |gpu| gpu.buffer("too large", u64::MAX - 32, wgpu::BufferUsages::COPY_DST).map(drop),
        |gpu| {
            // Outside of every scope but the thread's own.
            let _ = gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("invalid on purpose"),
                size: 16,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::STORAGE,
                mapped_at_creation: false,
            });
            Ok(())
        },
    ];
    for fault in faults {
        let (sender, receiver) = channel();
        let id = device.submit(Box::new(Shy { sender, fault, looked_at: false })).expect("the thread takes work");
        assert_eq!(receiver.recv(), Ok("slice"));
        device.preview(id);
        assert_eq!(receiver.iter().find(|told| *told != "slice"), Some("slice after the preview"));
        assert_eq!(receiver.iter().last(), None, "it was abandoned");
    }
}

#[test]
fn a_compiler_that_panics_refuses_the_text_and_fails_nothing() {
    let Some(device) = device_or_skip() else { return };
    let (sender, receiver) = channel();
    let fault = |gpu: &GpuContext<'_>| {
        let refused = gpu.refusable(|| -> () { panic!("a fault of the compiler") });
        assert!(matches!(&refused, Ok(Err(why)) if why.contains("a fault of the compiler")), "{refused:?}");
        let refused = gpu.refusable(|| {
            gpu.device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: None,
                source: wgpu::ShaderSource::Wgsl("nonsense".into()),
            })
        });
        assert!(matches!(refused, Ok(Err(_))), "{refused:?}");
        assert_eq!(gpu.refusable(|| 5), Ok(Ok(5)));
        panic!("the end");
    };
    device.submit(Box::new(Faulty { fault, sender })).expect("the device thread takes work");
    let Ok(Abandoned::Failed(DeviceError::Stopped(why))) = receiver.recv() else { panic!("no answer") };
    assert!(why.contains("the end"), "{why}");
}

/// Work that keeps contents by their keys, and wants so many bytes beside those that are not there.
struct Keeper {
    keys: &'static [&'static str],
    bytes: u64,
    /// Gets which keys were there when its turn came.
    sender: std::sync::mpsc::Sender<Vec<bool>>,
}

/// Bytes under one key of a [`Keeper`].
const KEPT_BYTES: u64 = 1 << 20;

impl SliceWork for Keeper {
    fn label(&self) -> &str {
        "keeper"
    }
    fn priority(&self) -> Priority {
        Priority::Interactive
    }
    fn bytes_wanted(&self, gpu: &GpuContext<'_>) -> u64 {
        let absent = self.keys.iter().filter(|key| !gpu.is_resident(Some(key))).count();
        self.bytes + absent as u64 * KEPT_BYTES
    }
    fn slice(&mut self, gpu: &GpuContext<'_>) -> Result<SliceOutcome, DeviceError> {
        let mut found = Vec::new();
        for key in self.keys {
            let mut was_there = true;
            gpu.resident(Some(key), || {
                was_there = false;
                Ok(vec![gpu.buffer(key, KEPT_BYTES, wgpu::BufferUsages::STORAGE)?])
            })?;
            found.push(was_there);
        }
        let _ = self.sender.send(found);
        Ok(SliceOutcome::Done)
    }
    fn abandon(&mut self, why: Abandoned) {
        panic!("{why:?}");
    }
}

#[test]
fn room_is_not_made_of_what_the_next_work_finds_on_the_device() {
    if device_or_skip().is_none() {
        return;
    }
    let budget = 3 * KEPT_BYTES;
    let (_thread, device) =
        DeviceThread::spawn_with_budget(&AdapterSelector::Auto, Some(budget)).expect("it opened before");
    let run = |keys: &'static [&'static str], bytes: u64| {
        let (sender, receiver) = channel();
        device.submit(Box::new(Keeper { keys, bytes, sender })).expect("the device thread takes work");
        receiver.recv().expect("it has its turn")
    };
    assert_eq!(run(&["a", "b"], 0), [false, false]);
    assert_eq!(run(&["c"], 0), [false]);
    // Room for none of them beside it: what it uses stays all the same, and the rest goes.
    assert_eq!(run(&["a"], budget), [true]);
    assert!(device.gpu_bytes() < 2 * KEPT_BYTES, "{:?}", device.memory().bytes_by_label());
    assert_eq!(run(&["b", "c", "a"], 0), [false, false, true]);
}
