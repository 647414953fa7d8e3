//! What `kiln bench` and the criterion benches measure: fixed scenes on the device thread, film readback, encoders, and an empty job
//! through a real server.
//!
//! Nothing here is part of serving jobs. Times are wall-clock; on a shared machine only ratios within one run mean something.

use crate::device::{
    Abandoned, AdapterSelector, DeviceError, DeviceHandle, DeviceThread, GpuContext, SliceOutcome, SliceWork,
};
use crate::gpu_process::protocol::AdapterReport;
use crate::image::Film;
use crate::job::Priority;
use crate::job::spec::{Format, OutputSpec, Preset, ToneMap};
use crate::path_trace::{Background, Render, RenderEvent, RenderSettings, RenderStats};
use crate::sample_scenes;
use crate::scene::environment::Environment;
use crate::scene::{self, LoadOptions, Scene};
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::time::Duration;

/// A scene to measure on.
pub struct BenchScene {
    /// With its number of triangles.
    pub name: &'static str,
    sample: &'static str,
}

impl BenchScene {
    /// The scene's file.
    pub fn glb(&self) -> Vec<u8> {
        sample_scenes::by_name(self.sample).expect("every bench scene is a sample scene")
    }
}

/// Three sizes: a room of 24 triangles, one mesh of 270,000, a field of a million instanced ones.
pub const SCENES: [BenchScene; 3] = [
    BenchScene { name: "cornell box, 24 triangles", sample: "cornell-box" },
    BenchScene { name: "knot, 270 k triangles", sample: "knot" },
    BenchScene { name: "field, 1 M triangles instanced", sample: "field" },
];

/// Which rays a measurement counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RaySet {
    /// From the camera to the first surface, which shows its emission only.
    Primary,
    /// Whole paths of up to eight bounces with full shading and a shadow ray a bounce.
    Bounced,
}

impl RaySet {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Bounced => "bounced",
        }
    }
}

impl RenderStats {
    /// Seconds of slices without the upload and the readback.
    pub fn trace_seconds(&self) -> f64 {
        self.gpu_seconds - self.upload_seconds - self.readback_seconds
    }

    /// Path segments (camera rays and bounced rays, not shadow rays) a second.
    pub fn rays_per_second(&self) -> f64 {
        (self.rays_primary + self.rays_bounced) as f64 / self.trace_seconds()
    }
}

/// The device thread of this process, to measure on.
pub struct Machine {
    handle: DeviceHandle,
    thread: Option<DeviceThread>,
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.shutdown();
        }
    }
}

impl Machine {
    /// Opens the adapter that `kiln serve` would take.
    pub fn open() -> Result<Self> {
        let (thread, handle) = DeviceThread::spawn(&AdapterSelector::Auto)?;
        Ok(Self { handle, thread: Some(thread) })
    }

    /// What is measured on.
    pub fn adapter(&self) -> &AdapterReport {
        self.handle.report()
    }

    /// Loads a scene.
    pub fn load(&self, glb: Vec<u8>) -> Result<Arc<Scene>> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), glb)?;
        Ok(Arc::new(scene::load(file.path(), &LoadOptions::default())?))
    }

    /// Renders a scene once, 512 × 384 pixels on a software adapter and 1024 × 768 on others.
    pub fn trace(&self, scene: &Arc<Scene>, rays: RaySet) -> Result<RenderStats> {
        let software = self.adapter().software;
        let (width, height) = if software { (512, 384) } else { (1024, 768) };
        let samples = match (rays, software) {
            (RaySet::Primary, true) => 8,
            (RaySet::Bounced, true) => 4,
            (RaySet::Primary, false) => 256,
            (RaySet::Bounced, false) => 64,
        };
        let max_bounces = if rays == RaySet::Primary { 0 } else { 8 };
        let settings = settings(scene, width, height, samples, max_bounces)?;
        let (_, stats) = self.render(scene, scene::environment::preset(Preset::Studio), settings)?;
        Ok(stats)
    }

    /// Renders a scene and waits for its film.
    pub fn render(
        &self,
        scene: &Arc<Scene>,
        environment: Environment,
        settings: RenderSettings,
    ) -> Result<(Film, RenderStats)> {
        let (sender, receiver) = mpsc::channel();
        self.handle.submit(Box::new(Render::new(
            Arc::clone(scene),
            Arc::new(environment),
            settings,
            "bench".into(),
            Priority::Normal,
            Arc::new(AtomicBool::new(false)),
            Box::new(move |event| {
                // Nobody listens any more only when the measurement was given up.
                let _ = sender.send(event);
            }),
        )))?;
        for event in receiver {
            match event {
                RenderEvent::Finished { film, stats, .. } => return Ok((film, stats)),
                RenderEvent::Failed(error) => return Err(error.into()),
                RenderEvent::Cancelled | RenderEvent::PutAside(_) => bail!("the render was cancelled"),
                RenderEvent::Progress { .. }
                | RenderEvent::Preview(_)
                | RenderEvent::Checkpoint(_)
                | RenderEvent::Note(_)
                | RenderEvent::Preempted => {}
            }
        }
        bail!("the device thread dropped the render")
    }

    /// Runs work of `slices` slices that do nothing: what the device thread costs by itself.
    pub fn empty_slices(&self, slices: u32) -> Result<()> {
        self.run(move |left| Box::new(EmptyWork { left: slices, ended: left }))
    }

    /// Renders a film of one sample with an empty scene `count` times and returns the time of the last part of each: from the film on
    /// the device to its pixels in memory.
    pub fn readbacks(&self, width: u32, height: u32, count: u64) -> Result<Duration> {
        let scene = Arc::new(Scene::default());
        let mut total = Duration::ZERO;
        for _ in 0..count {
            let settings = settings(&scene, width, height, 1, 0)?;
            let (_, stats) = self.render(&scene, scene::environment::preset(Preset::Black), settings)?;
            total += Duration::from_secs_f64(stats.readback_seconds);
        }
        Ok(total)
    }

    fn run(&self, work: impl FnOnce(mpsc::Sender<Result<(), DeviceError>>) -> Box<dyn SliceWork>) -> Result<()> {
        let (sender, receiver) = mpsc::channel();
        self.handle.submit(work(sender))?;
        receiver.recv().context("the device thread dropped the work")??;
        Ok(())
    }
}

/// Settings for the scene's own camera.
pub fn settings(scene: &Scene, width: u32, height: u32, samples: u32, max_bounces: u32) -> Result<RenderSettings> {
    Ok(RenderSettings {
        width,
        height,
        samples,
        max_bounces,
        seed: 0,
        clamp_indirect: 0.0,
        camera: scene::camera::resolve(scene, None, width as f32 / height as f32)?,
        background: Background::Environment,
        environment_intensity: 1.0,
        environment_rotation_rad: 0.0,
        slice_paths: None,
    })
}

struct EmptyWork {
    left: u32,
    ended: mpsc::Sender<Result<(), DeviceError>>,
}

impl SliceWork for EmptyWork {
    fn label(&self) -> &str {
        "empty slices"
    }
    fn priority(&self) -> Priority {
        Priority::Normal
    }
    fn slice(&mut self, gpu: &GpuContext<'_>) -> Result<SliceOutcome, DeviceError> {
        gpu.queue.submit([]);
        self.left = self.left.saturating_sub(1);
        if self.left > 0 {
            return Ok(SliceOutcome::More);
        }
        let _ = self.ended.send(Ok(()));
        Ok(SliceOutcome::Done)
    }
    fn abandon(&mut self, why: Abandoned) {
        if let Abandoned::Failed(error) = why {
            let _ = self.ended.send(Err(error));
        }
    }
}

/// A film with noise and structure, as a compressor would meet it.
pub fn film(width: u32, height: u32) -> Film {
    let pixel = |index: u32| {
        let (x, y) = ((index % width) as f32 / width as f32, (index / width) as f32 / height as f32);
        let noise = (index.wrapping_mul(747_796_405).wrapping_add(2_891_336_453) >> 16) as f32 / 65_536.0;
        let wave = 0.5 + 0.5 * (x * 40.0).sin() * (y * 30.0).cos();
        [x + 0.02 * noise, wave, y + 0.02 * noise, 1.0]
    };
    Film { width, height, rgba: (0..width * height).map(pixel).collect(), samples: 1 }
}

/// The formats that are measured.
pub fn output_formats() -> [(&'static str, OutputSpec); 5] {
    let of = |format, bit_depth| OutputSpec { format, bit_depth, quality: 90 };
    [
        ("png 8 bit", of(Format::Png, 8)),
        ("png 16 bit", of(Format::Png, 16)),
        ("jpeg", of(Format::Jpeg, 8)),
        ("webp", of(Format::Webp, 8)),
        ("exr", of(Format::Exr, 8)),
    ]
}

/// Encodes a film into a temporary folder; returns the file's length in bytes.
pub fn encode(film: &Film, output: &OutputSpec) -> Result<u64> {
    let folder = tempfile::tempdir()?;
    Ok(crate::image::encode(
        film,
        output,
        ToneMap::Neutral,
        0.0,
        crate::job::spec::Background::Environment,
        folder.path(),
    )?
    .bytes)
}

/// A real `kiln serve` in a process of its own, on a free port, with a temporary data folder.
pub struct Service {
    child: Child,
    address: String,
    scene: Vec<u8>,
    runtime: tokio::runtime::Runtime,
    _data: tempfile::TempDir,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Service {
    /// Starts the server with this binary and waits until it is ready, at most a minute.
    pub fn start(kiln: &Path) -> Result<Self> {
        let data = tempfile::tempdir()?;
        let stdout = data.path().join("stdout");
        let child = Command::new(kiln)
            .args(["serve", "--addr", "127.0.0.1:0", "--data"])
            .arg(data.path().join("data"))
            .stdout(std::fs::File::create(&stdout)?)
            .stderr(Stdio::null())
            .spawn()
            .context("kiln serve does not start")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let scene = sample_scenes::cornell_box();
        let mut service = Self { child, address: String::new(), scene, runtime, _data: data };
        for _ in 0..600 {
            std::thread::sleep(Duration::from_millis(100));
            ensure!(service.child.try_wait()?.is_none(), "kiln serve ended early");
            let text = std::fs::read_to_string(&stdout)?;
            let Some((_, rest)) = text.split_once("http://") else { continue };
            service.address = rest.split(|c: char| c == '/' || c.is_whitespace()).next().unwrap_or_default().to_owned();
            if service.request(http::Request::get("/readyz"), Vec::new()).is_ok_and(|status| status == 200) {
                return Ok(service);
            }
        }
        bail!("kiln serve was not ready within a minute")
    }

    /// The smallest job, from its submission to its picture: one pixel, one sample.
    pub fn empty_job(&self) -> Result<()> {
        let request =
            http::Request::post("/v1/jobs?width=1&height=1&samples=1&reuse=false").header("prefer", "wait=60");
        let status = self.request(request.header("accept", "image/png"), self.scene.clone())?;
        ensure!(status == 200, "found status {status}, expected 200");
        Ok(())
    }

    /// Submits a small job without waiting for it; returns when it is on disk.
    pub fn submit(&self) -> Result<()> {
        let request = http::Request::post("/v1/jobs?width=16&height=16&samples=1&priority=batch&reuse=false");
        let status = self.request(request, self.scene.clone())?;
        ensure!(status == 202, "found status {status}, expected 202");
        Ok(())
    }

    /// One request on a connection of its own, its body (if any) a GLB; returns the status.
    fn request(&self, request: http::request::Builder, body: Vec<u8>) -> Result<u16> {
        self.runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(&self.address).await?;
            stream.set_nodelay(true)?;
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            let connection = tokio::spawn(connection);
            let request = request
                .header("host", &self.address)
                .header("content-type", "model/gltf-binary")
                .body(Full::new(Bytes::from(body)))?;
            let answer = sender.send_request(request).await?;
            let status = answer.status().as_u16();
            answer.into_body().collect().await?;
            drop(sender);
            connection.await??;
            Ok(status)
        })
    }
}
