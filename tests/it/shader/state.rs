//! The state of a simulation: a run that is put aside, or has to make room, goes on as if nothing had been.

use crate::process::harness::gpu_or_skip;
use kiln::device::{AdapterSelector, DeviceHandle, DeviceThread};
use kiln::gpu_process::checkpoint::SavedState;
use kiln::job::shader::{ShaderDialect, ShaderSpec};
use kiln::job::{AttachedFiles, JobSpec, Priority};
use kiln::shader_job::run::{
    FrameMessage, PackedFrame, RunEvent, ShaderInput, ShaderOrder, ShaderRun, ShaderStats, input,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
    let document = serde_json::json!({"kind": "shader", "dialect": "compute_toys", "float32": true, "source": source,
        "size": [45, 30], "frame": frames - 1, "limits": {"gpu_seconds": 3600}});
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
    frames: crossbeam_channel::Receiver<FrameMessage>,
    events: crossbeam_channel::Receiver<RunEvent>,
}

fn start(device: &DeviceHandle, input: &Arc<ShaderInput>, resume: Option<SavedState>, priority: Priority) -> Running {
    let (frames, arriving) = crossbeam_channel::bounded(8);
    let (told, events) = crossbeam_channel::unbounded();
    let put_aside = Arc::new(AtomicBool::new(false));
    let run = ShaderRun::new(ShaderOrder {
        input: Arc::clone(input),
        label: "test".into(),
        priority,
        cancel: Arc::default(),
        put_aside: Arc::clone(&put_aside),
        resume,
        checkpoint: None,
        frames,
        events: Box::new(move |event| told.send(event).expect("the test listens")),
    });
    device.submit(Box::new(run)).expect("the device takes work");
    Running { put_aside, frames: arriving, events }
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
    let expected = frame(start(&device, &input, None, Priority::Normal).end());
    let bytes = device.gpu_bytes();
    thread.shutdown();

    // Room for one of them at a time.
    let budget = bytes + 45 * 30 * (16 * 8 + 8 + 4 + 3) + (256 << 10);
    let (thread, device) = DeviceThread::spawn_with_budget(&AdapterSelector::Auto, Some(budget)).unwrap();
    let slow = start(&device, &input, None, Priority::Batch);
    slow.wait_for_progress();
    let urgent = start(&device, &load(&device, MIXED, 10), None, Priority::Interactive);
    assert_eq!(frame(urgent.end()).number, 9);
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
