//! Single rays through the path tracer's own traversal: for self-tests, and for asking what is where.

use super::kernels::{RenderKernels, Variant};
use super::layout;
use super::pack::{self, PackedScene};
use super::resident::{texel_pools, upload_geometry};
use crate::device::{Abandoned, DeviceError, GpuContext, SliceOutcome, SliceWork};
use crate::job::Priority;
use crate::scene::Scene;
use bytemuck::Zeroable;

/// A ray in world space.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProbeRay {
    /// Metres.
    pub origin: [f32; 3],
    /// Need not be of unit length.
    pub direction: [f32; 3],
}

/// What a ray met first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProbeHit {
    /// Index into [`Scene::instances`].
    pub instance: u32,
    /// Index into the mesh's triangles.
    pub triangle: u32,
    /// Weights of the second and third vertex.
    pub barycentrics: [f32; 2],
}

/// The answer's receiver: one entry a ray.
pub type ProbeDone = Box<dyn FnOnce(Result<Vec<Option<ProbeHit>>, DeviceError>) + Send>;

/// Traces rays with the kernel `extend`, as work for the device thread.
pub struct Probe {
    scene: Result<PackedScene, DeviceError>,
    /// First triangle of each instance's mesh among all triangles.
    first_triangles: Vec<u32>,
    rays: Vec<ProbeRay>,
    done: Option<ProbeDone>,
}

impl Probe {
    /// At most 65,535 × 64 rays.
    pub fn new(scene: &Scene, rays: Vec<ProbeRay>, done: ProbeDone) -> Self {
        let mut starts = Vec::with_capacity(scene.meshes.len());
        let mut total = 0;
        for mesh in &scene.meshes {
            starts.push(total);
            total += mesh.triangles.len() as u32;
        }
        let first_triangles = scene.instances.iter().map(|instance| starts[instance.mesh as usize]).collect();
        Self { scene: pack::pack(scene), first_triangles, rays, done: Some(done) }
    }

    fn trace(&self, gpu: &GpuContext<'_>) -> Result<Vec<Option<ProbeHit>>, DeviceError> {
        let scene = self.scene.as_ref().map_err(Clone::clone)?;
        let count = self.rays.len();
        let geometry = upload_geometry(gpu, scene)?;
        let texel_pools = texel_pools(gpu, scene)?;
        let variant = Variant { features: scene.features, environment: false, texel_pools, lens: false };
        let extend = RenderKernels::compile(gpu, variant)?.extend;
        let rays: Vec<layout::PathRay> = self
            .rays
            .iter()
            .map(|ray| layout::PathRay { origin: ray.origin, pdf: 0.0, direction: ray.direction, pad: 0 })
            .collect();
        let mut params = layout::Params::zeroed();
        params.root_node = scene.root_node;
        params.slot_count = count as u32;
        params.size = [1, 1];
        params.tiles = [1, 1];
        params.tile_stride = 1;
        params.film_tiles = 1;
        params.batch_samples = 1;
        let mut counters = layout::Counters::zeroed();
        counters.active_count = count as u32;
        counters.active_counts[0] = count as u32;
        let uniform = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let params_buffer = gpu.buffer("params", size_of::<layout::Params>() as u64, uniform)?;
        gpu.write(&params_buffer, 0, bytemuck::bytes_of(&params));
        let counters = gpu.storage("counters", &[counters])?;
        let path_rays = gpu.storage("path_rays", &rays)?;
        let path_hits = gpu.storage("path_hits", &vec![layout::Hit::zeroed(); count])?;
        let queue = gpu.storage("active_queue", &(0..count as u32).collect::<Vec<_>>())?;
        let bind_group = extend.bind(gpu.device, |binding| match binding {
            0 => &params_buffer,
            16 => &path_rays,
            17 => &path_hits,
            20 => &queue,
            23 => &counters,
            binding => &geometry[binding as usize - 1],
        });
        let descriptor = wgpu::CommandEncoderDescriptor { label: Some("probe") };
        let mut encoder = gpu.device.create_command_encoder(&descriptor);
        let mut pass =
            encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some("probe"), timestamp_writes: None });
        pass.set_pipeline(&extend.pipeline);
        pass.set_bind_group(0, &bind_group, &[]);
        pass.dispatch_workgroups(count.div_ceil(64) as u32, 1, 1);
        drop(pass);
        let submission = gpu.queue.submit([encoder.finish()]);
        gpu.wait(submission)?;
        let hits: Vec<layout::Hit> = gpu.read(&path_hits, count)?;
        let found = |hit: layout::Hit| {
            (hit.instance != layout::NONE).then(|| ProbeHit {
                instance: hit.instance,
                triangle: hit.triangle - self.first_triangles[hit.instance as usize],
                barycentrics: hit.barycentrics,
            })
        };
        Ok(hits.into_iter().map(found).collect())
    }

    fn answer(&mut self, answer: Result<Vec<Option<ProbeHit>>, DeviceError>) {
        if let Some(done) = self.done.take() {
            done(answer);
        }
    }
}

impl SliceWork for Probe {
    fn label(&self) -> &str {
        "probe"
    }

    fn priority(&self) -> Priority {
        Priority::Interactive
    }

    fn slice(&mut self, gpu: &GpuContext<'_>) -> Result<SliceOutcome, DeviceError> {
        let hits = self.trace(gpu)?;
        self.answer(Ok(hits));
        Ok(SliceOutcome::Done)
    }

    fn abandon(&mut self, why: Abandoned) {
        self.answer(Err(match why {
            Abandoned::Failed(error) => error,
            Abandoned::Cancelled => DeviceError::Stopped("the device thread was shut down".to_owned()),
        }));
    }
}
