//! The state of a simulation: a run that is put aside, or has to make room, goes on as if nothing had been.

use crate::process::harness::gpu_or_skip;
use kiln::device::{AdapterSelector, DeviceHandle, DeviceThread};
use kiln::gpu_process::checkpoint::SavedState;
use kiln::job::shader::{ShaderDialect, ShaderSpec};
use kiln::job::{AttachedFiles, FailureReason, JobSpec, Priority};
use kiln::shader_job::run::{
    FrameMessage, LoadError, PackedFrame, RunEvent, ShaderInput, ShaderOrder, ShaderRun, ShaderStats, input,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Storage, pass textures in 32-bit floats, the screen that persists: everything that a state has, mixed into every pixel.
const MIXED: &str = "
#storage cells array<array<uint, SCREEN_WIDTH>, SCREEN_HEIGHT>
@compute @workgroup_size(8, 8) fn advance(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    cells[id.y][id.x] = cells[id.y][id.x] * 1664525u + id.x * 7u + id.y * 13u + time.frame + 1013904223u;
    let before = passLoad(2, int2(id.xy), 0);
    passStore(2, int2(id.xy), before * 0.75 + float4(float(cells[id.y][id.x] >> 24u), time.elapsed, 1.0, 0.5));
}
@compute @workgroup_size(8, 8) fn draw(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    let seen = passLoad(2, int2(id.xy), 0);
    textureStore(screen, int2(id.xy), float4(fract(seen.xyz * 0.01), 1.0));
}
";

fn load(device: &DeviceHandle, source: &str, frames: u32) -> Arc<ShaderInput> {
    load_frames(device, source, [frames - 1, frames - 1])
}

/// The same, with all frames from the first to the last as outputs.
fn load_frames(device: &DeviceHandle, source: &str, [start, end]: [u32; 2]) -> Arc<ShaderInput> {
    let document = serde_json::json!({"kind": "shader", "dialect": "compute_toys", "float32": true, "source": source,
        "size": [45, 30], "frames": {"start": start, "end": end}, "limits": {"gpu_seconds": 3600}});
    let Ok(JobSpec::Shader(spec)) = JobSpec::from_document(document, &AttachedFiles::default()) else {
        panic!("a valid document");
    };
    let none = |_: &_| panic!("there are no channels");
    Arc::new(input::load(spec, "tests", device.report(), none).expect("it compiles"))
}

/// What became of a run.
enum End {
    Frame(PackedFrame, Box<ShaderStats>),
    Aside(Option<SavedState>),
}

struct Running {
    put_aside: Arc<AtomicBool>,
    /// The most bytes on the device at any of its events.
    bytes_max: Arc<AtomicU64>,
    frames: crossbeam_channel::Receiver<FrameMessage>,
    events: crossbeam_channel::Receiver<RunEvent>,
}

fn start(device: &DeviceHandle, input: &Arc<ShaderInput>, resume: Option<SavedState>, priority: Priority) -> Running {
    start_queued(device, input, resume, priority, 8)
}

/// The same, with so many frames that wait for their encoder.
fn start_queued(
    device: &DeviceHandle,
    input: &Arc<ShaderInput>,
    resume: Option<SavedState>,
    priority: Priority,
    queued: usize,
) -> Running {
    let (frames, arriving) = crossbeam_channel::bounded(queued);
    let (told, events) = crossbeam_channel::unbounded();
    let put_aside = Arc::new(AtomicBool::new(false));
    let (bytes_max, on_device) = (Arc::<AtomicU64>::default(), device.clone());
    let most = Arc::clone(&bytes_max);
    let run = ShaderRun::new(ShaderOrder {
        input: Arc::clone(input),
        label: "test".into(),
        priority,
        cancel: Arc::default(),
        put_aside: Arc::clone(&put_aside),
        resume,
        checkpoint: None,
        frames,
        events: Box::new(move |event| {
            most.fetch_max(on_device.gpu_bytes(), Ordering::Relaxed);
            told.send(event).expect("the test listens");
        }),
    });
    device.submit(Box::new(run)).expect("the device takes work");
    Running { put_aside, bytes_max, frames: arriving, events }
}

impl Running {
    /// Waits for the first progress, so that there is a state.
    fn wait_for_progress(&self) {
        loop {
            match self.events.recv_timeout(Duration::from_secs(120)).expect("an event") {
                RunEvent::Progress { fraction, .. } if fraction > 0.0 => return,
                RunEvent::Failed(error) => panic!("{error:?}"),
                RunEvent::Finished => panic!("it ended before it could be stopped"),
                _ => {}
            }
        }
    }

    fn end(self) -> End {
        for event in &self.events {
            match event {
                RunEvent::PutAside(state) => return End::Aside(state),
                RunEvent::Failed(error) => panic!("{error:?}"),
                RunEvent::Finished => break,
                _ => {}
            }
        }
        let mut frame = None;
        for message in &self.frames {
            match message {
                FrameMessage::Frame(found) => frame = Some(found),
                FrameMessage::End(stats) => return End::Frame(frame.expect("one frame was asked for"), stats),
            }
        }
        panic!("the run ended without its last message");
    }
}

fn frame(end: End) -> PackedFrame {
    match end {
        End::Frame(frame, _) => frame,
        End::Aside(_) => panic!("it was put aside"),
    }
}

#[test]
fn a_run_that_was_put_aside_goes_on_to_the_same_picture() {
    if !gpu_or_skip() {
        return;
    }
    let (thread, device) = DeviceThread::spawn(&AdapterSelector::Auto).unwrap();
    let input = load(&device, MIXED, 4000);
    let expected = frame(start(&device, &input, None, Priority::Normal).end());
    assert_eq!(expected.number, 3999);

    let running = start(&device, &input, None, Priority::Normal);
    running.wait_for_progress();
    running.put_aside.store(true, Ordering::Release);
    let End::Aside(Some(state)) = running.end() else { panic!("it was not put aside, or has no state") };
    let resumed = start(&device, &input, Some(state.clone()), Priority::Normal);
    let End::Frame(found, stats) = resumed.end() else { panic!("it was put aside again") };
    assert!(stats.frames_simulated < 4000, "it began again: {stats:?}");
    assert!(0.0 < stats.inherited_seconds && stats.inherited_seconds < stats.gpu_seconds, "{stats:?}");
    assert!(found == expected, "the second half made another picture");

    // A state of another job is not taken.
    let other = load(&device, &MIXED.replace("0.75", "0.5"), 50);
    let End::Frame(_, stats) = start(&device, &other, Some(state), Priority::Normal).end() else { panic!("put aside") };
    assert_eq!(stats.frames_simulated, 50);
    thread.shutdown();
}

#[test]
fn a_run_that_makes_room_for_an_urgent_one_goes_on_to_the_same_picture() {
    if !gpu_or_skip() {
        return;
    }
    let (thread, device) = DeviceThread::spawn(&AdapterSelector::Auto).unwrap();
    let input = load(&device, MIXED, 3000);
    let running = start(&device, &input, None, Priority::Normal);
    let bytes_max = Arc::clone(&running.bytes_max);
    let expected = frame(running.end());
    let alone = bytes_max.load(Ordering::Relaxed);
    thread.shutdown();

    // Room for one of them at a time.
    let budget = alone + alone / 2;
    let (thread, device) = DeviceThread::spawn_with_budget(&AdapterSelector::Auto, Some(budget)).unwrap();
    let slow = start(&device, &input, None, Priority::Batch);
    slow.wait_for_progress();
    // As long as the other one, so that it tells of itself between slices.
    let urgent = start(&device, &load(&device, MIXED, 2999), None, Priority::Interactive);
    let most = Arc::clone(&urgent.bytes_max);
    assert_eq!(frame(urgent.end()).number, 2998);
    let most = most.load(Ordering::Relaxed);
    assert!(0 < most && most <= budget, "{most} bytes on a device of {budget}");
    let End::Frame(found, stats) = slow.end() else { panic!("it was put aside") };
    assert!(found == expected, "it made another picture");
    assert_eq!(stats.frames_simulated, 3000, "it began again");
    thread.shutdown();
}

#[test]
fn every_buffer_and_texture_is_freed_with_its_run() {
    if !gpu_or_skip() {
        return;
    }
    let (thread, device) = DeviceThread::spawn(&AdapterSelector::Auto).unwrap();
    let before = device.gpu_bytes();
    for frames in [1, 30] {
        frame(start(&device, &load(&device, MIXED, frames), None, Priority::Normal).end());
    }
    // The run is dropped after its last event.
    while device.gpu_bytes() != before {
        assert!(device.memory().bytes_by_label().len() < 100);
        std::thread::yield_now();
    }
    thread.shutdown();
}

#[test]
fn what_was_compiled_for_one_client_is_not_used_for_another() {
    if !gpu_or_skip() {
        return;
    }
    let (thread, device) = DeviceThread::spawn(&AdapterSelector::Auto).unwrap();
    let source = "@group(0) @binding(0) var output: texture_storage_2d<rgba8unorm, write>;
        @compute @workgroup_size(8, 8) fn of_two_clients(@builtin(global_invocation_id) id: vec3u) {
            textureStore(output, id.xy, vec4f(0.25));
        }";
    let spec = || ShaderSpec { size: [16, 16], ..ShaderSpec::new(ShaderDialect::Kiln, source.into()) };
    let load = |client: &str| {
        let none = |_: &_| panic!("there are no channels");
        input::load(spec(), client, device.report(), none).expect("it compiles")
    };
    let (first, again, other) = (load("alice"), load("alice"), load("bob"));
    assert_eq!([&first, &again, &other].map(|input| input.compiled_before), [false, true, false]);
    assert!(first.key == again.key && first.key != other.key);
    assert!(!Arc::ptr_eq(&first.program, &other.program));
    thread.shutdown();
}

#[test]
fn a_run_whose_encoder_is_behind_stands_in_nobodys_way() {
    if !gpu_or_skip() {
        return;
    }
    let (thread, device) = DeviceThread::spawn(&AdapterSelector::Auto).unwrap();
    let blocked = start_queued(&device, &load_frames(&device, MIXED, [0, 19]), None, Priority::Interactive, 1);
    blocked.wait_for_progress();
    // Nobody takes its frames. Work that came later, and is less urgent, has the device for itself.
    let other = start(&device, &load(&device, MIXED, 3000), None, Priority::Batch);
    let mut told = 0;
    for event in &other.events {
        match event {
            RunEvent::Finished => break,
            RunEvent::Progress { .. } => told += 1,
            RunEvent::Preempted => panic!("work that does nothing has taken the device"),
            other => panic!("{other:?}"),
        }
    }
    let busy = device.gpu_seconds();
    // Now its encoder goes on, and it comes to its end.
    let (mut numbers, mut stats) = (Vec::new(), None);
    for message in &blocked.frames {
        match message {
            FrameMessage::Frame(frame) => numbers.push(frame.number),
            FrameMessage::End(end) => stats = Some(end),
        }
    }
    assert_eq!(numbers, (0..20).collect::<Vec<u32>>());
    let stats = stats.expect("its last message");
    assert!(stats.slices <= 2 * 20 + 2, "waiting was counted as work: {} slices beside {told}", stats.slices);
    assert!(stats.gpu_seconds <= device.gpu_seconds() && busy > 0.0);
    thread.shutdown();
}

#[test]
fn a_run_that_left_while_its_encoder_was_behind_makes_room_before_it_comes_back() {
    if !gpu_or_skip() {
        return;
    }
    let (thread, device) = DeviceThread::spawn(&AdapterSelector::Auto).unwrap();
    let input = load_frames(&device, MIXED, [0, 19]);
    let alone = start_queued(&device, &input, None, Priority::Normal, 1);
    alone.wait_for_progress();
    let bytes = alone.bytes_max.load(Ordering::Relaxed);
    assert_eq!(alone.frames.iter().count(), 21);
    thread.shutdown();

    // Room for one of them at a time. Nobody takes the frames of either.
    let budget = bytes + bytes / 2;
    let (thread, device) = DeviceThread::spawn_with_budget(&AdapterSelector::Auto, Some(budget)).unwrap();
    let left = start_queued(&device, &input, None, Priority::Batch, 1);
    left.wait_for_progress();
    let urgent = start_queued(&device, &input, None, Priority::Interactive, 1);
    urgent.wait_for_progress();
    // Now the first one's encoder goes on, and then the other's.
    for running in [left, urgent] {
        let numbers = running.frames.iter().filter_map(|message| match message {
            FrameMessage::Frame(frame) => Some(frame.number),
            FrameMessage::End(_) => None,
        });
        assert_eq!(numbers.collect::<Vec<u32>>(), (0..20).collect::<Vec<u32>>());
        let most = running.bytes_max.load(Ordering::Relaxed);
        assert!(0 < most && most <= budget, "{most} bytes on a device of {budget}");
    }
    thread.shutdown();
}

/// A frame that takes several slices, so that it is interrupted in the middle.
const LONG_FRAMES: &str = "
#storage cells array<array<uint, SCREEN_WIDTH>, SCREEN_HEIGHT>
#dispatch_count advance 250
@compute @workgroup_size(8, 8) fn advance(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    for (var i = 0u; i < 40u; i++) {
        cells[id.y][id.x] = cells[id.y][id.x] * 1664525u + id.x * 7u + dispatch.id + time.frame + 1013904223u;
    }
}
@compute @workgroup_size(8, 8) fn draw(@builtin(global_invocation_id) id: uint3) {
    if (id.x >= SCREEN_WIDTH || id.y >= SCREEN_HEIGHT) { return; }
    textureStore(screen, int2(id.xy), float4(float(cells[id.y][id.x] >> 24u) / 255.0));
}
";

#[test]
fn a_run_leaves_the_device_between_two_frames_and_never_within_one() {
    if !gpu_or_skip() {
        return;
    }
    let (thread, device) = DeviceThread::spawn(&AdapterSelector::Auto).unwrap();
    let input = load(&device, LONG_FRAMES, 60);
    let expected = frame(start(&device, &input, None, Priority::Normal).end());
    // Often enough that it is asked in the middle of a frame.
    let mut state = None;
    for turn in 0..3 {
        let running = start(&device, &input, state, Priority::Normal);
        running.wait_for_progress();
        running.put_aside.store(true, Ordering::Release);
        state = match running.end() {
            End::Aside(Some(state)) => Some(state),
            End::Aside(None) => panic!("turn {turn}: what was done is lost"),
            End::Frame(found, _) => {
                assert!(found == expected && turn > 0);
                thread.shutdown();
                return;
            }
        };
    }
    assert!(frame(start(&device, &input, state, Priority::Normal).end()) == expected);
    thread.shutdown();
}

#[test]
fn a_run_that_has_emitted_frames_leaves_no_state_that_would_lose_them() {
    if !gpu_or_skip() {
        return;
    }
    let (thread, device) = DeviceThread::spawn(&AdapterSelector::Auto).unwrap();
    let running = start(&device, &load_frames(&device, MIXED, [0, 3999]), None, Priority::Normal);
    let first = running.frames.recv_timeout(Duration::from_secs(120)).expect("a frame");
    assert!(matches!(first, FrameMessage::Frame(frame) if frame.number == 0));
    running.put_aside.store(true, Ordering::Release);
    // The encoder takes what is on its way, or the run could not leave.
    let frames = running.frames.clone();
    let encoder = std::thread::spawn(move || frames.iter().count());
    assert!(matches!(running.end(), End::Aside(None)));
    encoder.join().expect("it only counts");
    thread.shutdown();
}

#[test]
fn a_shader_that_needs_more_than_the_device_has_is_refused_before_it_runs() {
    if !gpu_or_skip() {
        return;
    }
    let (thread, device) = DeviceThread::spawn_with_budget(&AdapterSelector::Auto, Some(100 << 10)).unwrap();
    let document =
        serde_json::json!({"kind": "shader", "dialect": "compute_toys", "source": MIXED, "size": [450, 300]});
    let Ok(JobSpec::Shader(spec)) = JobSpec::from_document(document, &AttachedFiles::default()) else {
        panic!("a valid document");
    };
    let none = |_: &_| panic!("there are no channels");
    let refused = input::load(spec, "tests", device.report(), none).map(drop);
    let Err(LoadError::Failed(failure)) = refused else { panic!("{refused:?}") };
    assert_eq!(failure.reason, FailureReason::LimitExceeded);
    assert!(failure.message.contains(&format!("{} are allowed", 100 << 10)), "{}", failure.message);
    thread.shutdown();
}
