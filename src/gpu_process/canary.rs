//! A picture so small that it takes no time, whose light is known: shows that the adapter renders, and renders right.
//!
//! A grey ball in a white furnace (radiance 1 from everywhere): what misses it is 1, what hits it is its albedo, whatever its
//! normal. The GPU process renders it before it says `Ready`; `kiln doctor` does with a clock beside it.

use super::protocol::{RunTask, TaskKey};
use super::resident::ResidentScenes;
use super::task;
use crate::device::DeviceHandle;
use crate::image::Film;
use crate::job::{JobId, JobSpec, Priority};
use crate::limits::CANARY_MS;
use crate::path_trace::{Render, RenderEvent, RenderOrder};
use crate::sample_scenes::{GlbBuilder, Shape};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Pixels on a side.
const SIDE: u32 = 16;

/// Renders the canary and checks its light. Answers the seconds it took, from the scene file to the film.
///
/// # Errors
/// A sentence for the operator.
pub fn run(device: &DeviceHandle) -> Result<f64, String> {
    let start = Instant::now();
    // Loaders read files, so the canary is one, for a moment.
    let path = std::env::temp_dir().join(format!("kiln-canary-{}-{}.glb", std::process::id(), JobId::now_v7()));
    let written = std::fs::write(&path, ball());
    let film = written.map_err(|error| error.to_string()).and_then(|()| render(device, &path));
    let _ = std::fs::remove_file(&path);
    film.and_then(|film| check(&film)).map_err(|error| format!("the canary render failed: {error}"))?;
    Ok(start.elapsed().as_secs_f64())
}

fn ball() -> Vec<u8> {
    let mut glb = GlbBuilder::new();
    let material = glb.material(serde_json::json!({"pbrMetallicRoughness": {
        "baseColorFactor": [0.5, 0.5, 0.5, 1.0], "metallicFactor": 0.0, "roughnessFactor": 1.0}}));
    let mesh = glb.mesh("ball", &Shape::sphere(16), material);
    glb.place(mesh, glam::Mat4::IDENTITY);
    glb.finish()
}

fn render(device: &DeviceHandle, path: &std::path::Path) -> Result<Film, String> {
    let asset = "sha256:canary";
    let spec = serde_json::json!({"kind": "scene", "scene": {"asset": asset}, "environment": {"preset": "white"},
        "size": [SIDE, SIDE], "samples": 16});
    let run = RunTask::still(
        TaskKey { job: JobId::nil(), fence: 0 },
        spec.to_string(),
        vec![(asset.into(), path.to_owned())],
        std::env::temp_dir(),
    );
    let JobSpec::Scene(spec) = task::document(&run).map_err(|failure| failure.message)? else {
        return Err("its job document is of no scene".to_owned());
    };
    let (_, input) = task::load(&run, spec, &ResidentScenes::new(0)).map_err(|failure| failure.message)?;
    let (sender, receiver) = crossbeam_channel::bounded(1);
    let events = Box::new(move |event| {
        let end = match event {
            RenderEvent::Finished { film, .. } => Ok(film),
            RenderEvent::Failed(error) => Err(error.to_string()),
            RenderEvent::Cancelled => Err("it was cancelled".to_owned()),
            RenderEvent::PutAside(_) => Err("it was put aside".to_owned()),
            RenderEvent::Progress { .. }
            | RenderEvent::Preview(_)
            | RenderEvent::Checkpoint(_)
            | RenderEvent::Note(_)
            | RenderEvent::Preempted => return,
        };
        // One end, and room for one: this never waits.
        let _ = sender.send(end);
    });
    let work = Render::of(RenderOrder {
        scene: input.scene,
        sky: input.sky,
        settings: input.settings,
        label: "canary".to_owned(),
        priority: Priority::Interactive,
        cancel: Arc::default(),
        put_aside: Arc::default(),
        resume: None,
        checkpoint: None,
        keep_seconds_min: None,
        events,
    });
    device.submit(Box::new(work)).map_err(|error| error.to_string())?;
    receiver
        .recv_timeout(Duration::from_millis(CANARY_MS))
        .unwrap_or_else(|_| Err(format!("it did not end within {CANARY_MS} ms")))
}

fn check(film: &Film) -> Result<(), String> {
    let pixel = |x: u32, y: u32| film.rgba[(y * film.width + x) as usize];
    let near = |found: [f32; 4], low: f32, high: f32| found[..3].iter().all(|channel| (low..=high).contains(channel));
    let (corner, middle) = (pixel(0, 0), pixel(SIDE / 2, SIDE / 2));
    if !near(corner, 0.99, 1.01) {
        return Err(format!("the light around the ball is {corner:?}, expected 1"));
    }
    // Its albedo of 0.5, and the few percent that a dielectric reflects above it.
    if !near(middle, 0.4, 0.7) {
        return Err(format!("the light from the ball is {middle:?}, expected between 0.4 and 0.7"));
    }
    Ok(())
}
