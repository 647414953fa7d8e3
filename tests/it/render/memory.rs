//! What happens on the device when memory is short: renders that leave and come back, and scenes that stay.

use super::cornell;
use super::scenes::*;
use kiln::device::{AdapterSelector, DeviceHandle, DeviceThread};
use kiln::gpu_process::checkpoint::SavedState;
use kiln::image::Film;
use kiln::job::Priority;
use kiln::path_trace::{
    PackedScene, PackedSky, Render, RenderEvent, RenderOrder, RenderSettings, RenderStats, pack_scene, pack_sky,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// The room and its light under names, so that they can be kept and told from others.
fn named() -> (Arc<PackedScene>, Arc<PackedSky>) {
    let (scene, _) = cornell();
    let mut scene = pack_scene(&scene).expect("it is small");
    let mut sky = pack_sky(&sky(0.2));
    (scene.key, sky.key) = (Some("room".into()), Some("grey".into()));
    (Arc::new(scene), Arc::new(sky))
}

struct Running {
    put_aside: Arc<AtomicBool>,
    /// The most bytes on the device at any of its events.
    bytes_max: Arc<AtomicU64>,
    events: Receiver<RenderEvent>,
}

impl Running {
    /// The film, and what happened before it.
    fn finish(&self) -> (Film, RenderStats, Vec<RenderEvent>) {
        let mut before = Vec::new();
        for event in &self.events {
            match event {
                RenderEvent::Finished { film, stats, .. } => return (film, stats, before),
                RenderEvent::Failed(error) => panic!("the render failed: {error}"),
                other => before.push(other),
            }
        }
        panic!("the render ended without a film: {before:?}")
    }

    fn wait_for_progress(&self) {
        let found = self.events.iter().find(|event| matches!(event, RenderEvent::Progress { .. }));
        assert!(found.is_some(), "the render ended before its first progress");
    }
}

fn start(device: &DeviceHandle, settings: RenderSettings, priority: Priority, resume: Option<SavedState>) -> Running {
    start_of(named(), device, settings, priority, resume)
}

/// The same, of another scene.
fn start_of(
    (scene, sky): (Arc<PackedScene>, Arc<PackedSky>),
    device: &DeviceHandle,
    settings: RenderSettings,
    priority: Priority,
    resume: Option<SavedState>,
) -> Running {
    let (sender, events) = channel();
    let put_aside = Arc::new(AtomicBool::new(false));
    let (bytes_max, on_device) = (Arc::<AtomicU64>::default(), device.clone());
    let most = Arc::clone(&bytes_max);
    let order = RenderOrder {
        scene,
        sky,
        settings,
        label: format!("{priority:?}"),
        priority,
        cancel: Arc::default(),
        put_aside: Arc::clone(&put_aside),
        resume,
        checkpoint: Some(Duration::from_nanos(1)),
        keep_seconds_min: Some(0.0),
        events: Box::new(move |event| {
            most.fetch_max(on_device.gpu_bytes(), Ordering::Relaxed);
            let _ = sender.send(event);
        }),
    };
    device.submit(Box::new(Render::of(order))).expect("the device thread takes work");
    Running { put_aside, bytes_max, events }
}

fn device_of(budget_bytes: u64) -> Option<(DeviceThread, DeviceHandle)> {
    device_or_skip()?;
    Some(DeviceThread::spawn_with_budget(&AdapterSelector::Auto, Some(budget_bytes)).expect("it opened before"))
}

fn long() -> RenderSettings {
    RenderSettings { samples: 40, slice_paths: Some(1000), ..cornell().1 }
}

fn short() -> RenderSettings {
    RenderSettings { samples: 3, slice_paths: Some(1000), seed: 5, ..cornell().1 }
}

#[test]
fn a_render_that_makes_room_for_an_urgent_one_ends_with_the_same_bits() {
    let Some((thread, device)) = device_of(u64::MAX) else { return };
    let (expected_long, stats, _) = start(&device, long(), Priority::Normal, None).finish();
    let (expected_short, ..) = start(&device, short(), Priority::Normal, None).finish();
    thread.shutdown();
    // Room for one of them, and not for two.
    let budget = stats.gpu_bytes + stats.gpu_bytes / 4;
    let Some((_thread, device)) = device_of(budget) else { return };
    let slow = start(&device, long(), Priority::Batch, None);
    slow.wait_for_progress();
    let urgent = start(&device, short(), Priority::Interactive, None);
    let (film, ..) = urgent.finish();
    let most = urgent.bytes_max.load(Ordering::Relaxed).max(slow.bytes_max.load(Ordering::Relaxed));
    assert!(0 < most && most <= budget, "{most} bytes on a device of {budget}");
    assert!(film == expected_short, "the urgent render has other bits beside another one");
    let (film, interrupted, before) = slow.finish();
    assert!(before.iter().any(|event| matches!(event, RenderEvent::Preempted)), "nobody said that it was preempted");
    assert!(film == expected_long, "a render that had to leave ends with other bits");
    assert_eq!(interrupted.rays_primary, stats.rays_primary, "rays were counted twice, or not at all");
}

#[test]
fn many_renders_share_a_device_that_holds_one_and_each_ends_with_its_own_bits() {
    let Some((thread, device)) = device_of(u64::MAX) else { return };
    let seeded = |seed: u32| RenderSettings { seed, ..long() };
    let expected: Vec<Film> =
        (0..3).map(|seed| start(&device, seeded(seed), Priority::Normal, None).finish().0).collect();
    thread.shutdown();
    // Not even one fits the budget: it runs all the same, alone.
    let Some((_thread, device)) = device_of(1) else { return };
    let classes = [Priority::Batch, Priority::Normal, Priority::Interactive];
    let running: Vec<Running> = classes
        .iter()
        .enumerate()
        .map(|(seed, &class)| {
            let running = start(&device, seeded(seed as u32), class, None);
            running.wait_for_progress();
            running
        })
        .collect();
    for (seed, running) in running.iter().enumerate() {
        assert!(running.finish().0 == expected[seed], "render {seed} has other bits");
    }
}

#[test]
fn a_render_put_aside_at_many_points_ends_with_the_same_bits() {
    let Some((_thread, device)) = device_of(u64::MAX) else { return };
    let (expected, stats, _) = start(&device, long(), Priority::Normal, None).finish();
    let mut resume = None;
    let mut interruptions = 0;
    let (film, resumed) = loop {
        let running = start(&device, long(), Priority::Normal, resume.clone());
        // What is left may be done before it tells of any progress.
        let stop_at_progress = |event: &RenderEvent| {
            running.put_aside.fetch_or(matches!(event, RenderEvent::Progress { .. }), Ordering::Release);
        };
        match running.events.iter().inspect(stop_at_progress).last() {
            Some(RenderEvent::PutAside(state)) => {
                // Without a state there was nothing new, and the last one stands.
                resume = state.or(resume);
                interruptions += 1;
                assert!(interruptions < 10_000, "it does not get any further");
            }
            Some(RenderEvent::Finished { film, stats, .. }) => break (film, stats),
            other => panic!("the last event was {other:?}"),
        }
    };
    assert!(interruptions >= 3, "only {interruptions} interruptions: it was too fast to be interrupted");
    assert!(film == expected, "after {interruptions} interruptions the film has other bits");
    assert_eq!(resumed.rays_primary, stats.rays_primary);
    assert_eq!(resumed.rays_shadow, stats.rays_shadow);
}

#[test]
fn more_samples_on_a_finished_film_give_the_bits_of_all_of_them() {
    let Some((_thread, device)) = device_of(u64::MAX) else { return };
    let settings = |samples: u32| RenderSettings { samples, ..long() };
    let (expected, ..) = start(&device, settings(12), Priority::Normal, None).finish();
    let events = start(&device, settings(5), Priority::Normal, None).events;
    let Some(RenderEvent::Finished { state, .. }) = events.iter().last() else { panic!("it did not finish") };
    let state = state.expect("it was asked for");
    let (film, ..) = start(&device, settings(12), Priority::Normal, Some(state)).finish();
    assert!(film == expected, "5 and 7 samples are not 12");
}

#[test]
fn a_state_of_other_work_is_ignored_and_said_so() {
    let Some((_thread, device)) = device_of(u64::MAX) else { return };
    let (expected, ..) = start(&device, short(), Priority::Normal, None).finish();
    let state_of = |settings: RenderSettings| {
        let events = start(&device, settings, Priority::Normal, None).events;
        match events.iter().last() {
            Some(RenderEvent::Finished { state: Some(state), .. }) => state,
            other => panic!("{other:?}"),
        }
    };
    let own = state_of(short());
    let others = [
        state_of(RenderSettings { seed: 6, ..short() }),
        state_of(RenderSettings { max_bounces: 2, ..short() }),
        state_of(RenderSettings { width: 32, ..short() }),
        SavedState { payload: own.payload[..own.payload.len() - 16].to_vec(), ..own.clone() },
        SavedState { payload: vec![0xff; own.payload.len()], ..own.clone() },
        SavedState { payload: Vec::new(), ..own.clone() },
    ];
    for (at, state) in others.into_iter().enumerate() {
        let (film, _, before) = start(&device, short(), Priority::Normal, Some(state)).finish();
        let note = before.iter().find_map(|event| match event {
            RenderEvent::Note(note) => Some(note.as_str()),
            _ => None,
        });
        assert!(note.is_some_and(|note| note.contains("ignored")), "state {at}: {note:?}");
        assert!(film == expected, "state {at} changed the film");
    }
}

#[test]
fn a_scene_that_was_rendered_stays_on_the_device_and_is_the_first_to_go() {
    let Some((_thread, device)) = device_of(u64::MAX) else { return };
    let before = device.gpu_bytes();
    start(&device, short(), Priority::Normal, None).finish();
    let kept = device.memory().bytes_by_label();
    assert!(kept.contains_key("triangles") && kept.contains_key("environment_texels"), "{kept:?}");
    assert!(!kept.contains_key("film") && !kept.contains_key("path_rays"), "{kept:?}");
    assert!(device.gpu_bytes() > before);
    let (first, ..) = start(&device, short(), Priority::Normal, None).finish();
    assert_eq!(device.memory().bytes_by_label(), kept, "the scene was uploaded twice");
    let Some((_thread, device)) = device_of(1) else { return };
    let (second, ..) = start(&device, short(), Priority::Normal, None).finish();
    assert!(first == second);
    // On a device that has no room for two, the first scene leaves for the second, and their light stays.
    assert_eq!(device.memory().bytes_by_label(), kept);
    let (_, grey) = named();
    let mut other = pack_scene(&placed(vec![sphere(0.6, 48, 0)], vec![material()])).expect("it is small");
    other.key = Some("sphere".into());
    let alone = (other.triangles.len() * size_of_val(&other.triangles[0])) as u64;
    start_of((Arc::new(other), grey), &device, short(), Priority::Normal, None).finish();
    let left = device.memory().bytes_by_label();
    assert_eq!((left["triangles"], left["environment_texels"]), (alone, kept["environment_texels"]), "{left:?}");
    assert_ne!(kept["triangles"], alone);
}

#[test]
fn a_light_beyond_the_range_of_numbers_leaves_a_film_of_numbers() {
    let Some(device) = device_or_skip() else { return };
    let glow = kiln::scene::Material { emission: glam::Vec3::splat(2.0e38), ..material() };
    let settings = RenderSettings { max_bounces: 1, ..settings(16, 16, 8) };
    let (film, stats) = render(device, placed(vec![sphere(0.6, 16, 0)], vec![glow]), sky(0.0), settings);
    assert!(film.check_finite().is_ok());
    assert!(stats.nan_pixels > 0, "nobody was told that samples are missing");
}
