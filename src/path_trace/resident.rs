//! A render's buffers on the device.

use super::kernels::{RenderKernels, Variant};
use super::layout;
use super::pack::{self, PackedImage, PackedScene};
use super::settings::RenderSettings;
use super::sky::PackedSky;
use crate::device::{BufferGroup, DeviceError, GpuBuffer, GpuContext, Kernel};
use bytemuck::Zeroable;
use std::sync::Arc;
use wgpu::BufferUsages;

/// Bins of a queue, each with room for every path; as in `shaders/lib/queues.wgsl`.
const QUEUE_BINS: usize = 8;

/// Pools that texels can lie in; as many as `shaders/lib/bindings.wgsl` has.
const TEXEL_POOLS_MAX: usize = 4;

/// Everything that kernels read and write, and the kernels with their bind groups.
pub(super) struct Resident {
    pub kernels: RenderKernels,
    pub params: GpuBuffer,
    pub counters: GpuBuffer,
    /// Arguments of the indirect dispatches: a buffer cannot be written by a kernel and read by a dispatch at once.
    pub dispatch_args: GpuBuffer,
    /// The film in parts of `film_places` places of the work order.
    pub films: Vec<GpuBuffer>,
    pub film_places: u32,
    /// Paths that fit in the pool.
    pub pool_paths: u32,
    pub generate: wgpu::BindGroup,
    /// By the parity of the bounce.
    pub extend: [wgpu::BindGroup; 2],
    /// By the parity of the bounce.
    pub shade: [wgpu::BindGroup; 2],
    pub shadow: wgpu::BindGroup,
    pub advance: wgpu::BindGroup,
    /// By the part of the film.
    pub accumulate: Vec<wgpu::BindGroup>,
    /// Bytes of all of it, the scene included.
    pub bytes: u64,
    /// Held for the bind groups: the scene, which other renders may use too; the environment; the pool.
    _scene: BufferGroup,
    _sky: BufferGroup,
    _pool: Vec<GpuBuffer>,
}

/// Bytes of the pool for one path.
const POOL_PATH_BYTES: usize = size_of::<layout::PathRay>()
    + size_of::<layout::Hit>()
    + size_of::<layout::PathState>()
    + size_of::<layout::ShadowRay>()
    + 3 * 4 * QUEUE_BINS;

/// Bytes that [`Resident::create`] will allocate: what is there already is not counted.
pub(super) fn bytes_wanted(
    gpu: &GpuContext<'_>,
    scene: &PackedScene,
    sky: &PackedSky,
    settings: &RenderSettings,
    pool_paths: u32,
) -> u64 {
    let own = u64::from(pool_paths) * POOL_PATH_BYTES as u64 + u64::from(settings.order_count()) * 16;
    let scene_bytes = if gpu.is_resident(scene.key.as_deref()) { 0 } else { scene.bytes() };
    let sky_bytes = if gpu.is_resident(sky.key.as_deref()) { 0 } else { sky.bytes() };
    own + scene_bytes + sky_bytes
}

impl Resident {
    /// Makes room for `pool_paths` paths, and uploads the scene and the environment where they are not there already.
    pub fn create(
        gpu: &GpuContext<'_>,
        scene: &PackedScene,
        sky: &PackedSky,
        settings: &RenderSettings,
        pool_paths: u32,
    ) -> Result<Self, DeviceError> {
        let texel_pools = texel_pools(gpu, scene)?;
        let scene_group = gpu.resident(scene.key.as_deref(), || upload_scene(gpu, scene))?;
        let sky_group = gpu.resident(sky.key.as_deref(), || {
            Ok(vec![gpu.storage("environment_texels", &sky.texels)?, gpu.storage("environment_alias", &sky.alias)?])
        })?;
        let variant = Variant {
            features: scene.features,
            environment: sky.weight_sum > 0.0,
            texel_pools,
            lens: settings.camera.aperture_radius > 0.0,
        };
        let kernels = RenderKernels::compile(gpu, variant)?;

        let read_write = BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
        let pool = |label, bytes_each: usize| gpu.buffer(label, u64::from(pool_paths) * bytes_each as u64, read_write);
        let params =
            gpu.buffer("params", size_of::<layout::Params>() as u64, BufferUsages::UNIFORM | BufferUsages::COPY_DST)?;
        let counters = gpu.storage("counters", &[layout::Counters::zeroed()])?;
        let dispatch_args = gpu.buffer("dispatch_args", 32, BufferUsages::INDIRECT | BufferUsages::COPY_DST)?;

        // A part of the film must fit a binding and start at a whole tile.
        let order_count = settings.order_count();
        let places_max = gpu.limits.max_storage_buffer_binding_size.min(gpu.limits.max_buffer_size) / 16 / 64 * 64;
        let film_places = u32::try_from(places_max).unwrap_or(u32::MAX / 64 * 64).min(order_count);
        let mut films = Vec::new();
        for first in (0..order_count).step_by(film_places as usize) {
            let places = film_places.min(order_count - first);
            films.push(gpu.buffer("film", u64::from(places) * 16, read_write)?);
        }

        let pool = vec![
            pool("path_rays", size_of::<layout::PathRay>())?,
            pool("path_hits", size_of::<layout::Hit>())?,
            pool("path_states", size_of::<layout::PathState>())?,
            pool("shadow_rays", size_of::<layout::ShadowRay>())?,
            pool("queue 0", 4 * QUEUE_BINS)?,
            pool("queue 1", 4 * QUEUE_BINS)?,
            pool("shadow_queue", 4 * QUEUE_BINS)?,
        ];
        // In the order of the bindings, from 1.
        let others: Vec<&GpuBuffer> = scene_group.iter().chain(sky_group.iter()).chain(&pool).collect();

        let bind = |kernel: &Kernel, parity: usize, film: usize| {
            kernel.bind(gpu.device, |binding| match binding {
                0 => &params,
                20 => others[19 + parity],
                21 => others[20 - parity],
                23 => &counters,
                24 => &films[film],
                binding => others[binding as usize - 1],
            })
        };
        let rest = films.iter().chain([&params, &counters, &dispatch_args]);
        let bytes = others.iter().copied().chain(rest).map(|buffer| buffer.size()).sum();
        Ok(Self {
            // `generate` fills the queue that bounce 0 reads: the one that an odd bounce would append to.
            generate: bind(&kernels.generate, 1, 0),
            extend: [bind(&kernels.extend, 0, 0), bind(&kernels.extend, 1, 0)],
            shade: [bind(&kernels.shade, 0, 0), bind(&kernels.shade, 1, 0)],
            shadow: bind(&kernels.shadow, 0, 0),
            advance: bind(&kernels.advance, 0, 0),
            accumulate: (0..films.len()).map(|film| bind(&kernels.accumulate, 0, film)).collect(),
            kernels,
            params,
            counters,
            dispatch_args,
            films,
            film_places,
            pool_paths,
            bytes,
            _scene: Arc::clone(&scene_group),
            _sky: Arc::clone(&sky_group),
            _pool: pool,
        })
    }
}

/// Uploads a scene: the buffers of bindings 1 to 13 in the order of `shaders/lib/bindings.wgsl`.
fn upload_scene(gpu: &GpuContext<'_>, scene: &PackedScene) -> Result<Vec<GpuBuffer>, DeviceError> {
    let mut buffers = upload_geometry(gpu, scene)?;
    buffers.extend([
        gpu.storage("lights", &or_one(&scene.lights.lights))?,
        gpu.storage("emitters", &or_one(&scene.lights.emitters))?,
        gpu.storage("emitter_of_triangle", &scene.lights.emitter_of_triangle)?,
    ]);
    Ok(buffers)
}

/// Uploads what traversal and surfaces need: the buffers of bindings 1 to 10.
pub(super) fn upload_geometry(gpu: &GpuContext<'_>, scene: &PackedScene) -> Result<Vec<GpuBuffer>, DeviceError> {
    let places = TexelPlaces::of(gpu, &scene.images)?;
    let textures = places.textures(&scene.textures, &scene.images);
    let mut buffers = vec![
        gpu.storage("nodes", &scene.nodes)?,
        gpu.storage("triangles", &scene.triangles)?,
        gpu.storage("vertices", &scene.vertices)?,
        gpu.storage("instances", &or_one(&scene.instances))?,
        gpu.storage("materials", &or_one(&scene.materials))?,
        gpu.storage("textures", &or_one(&textures))?,
    ];
    let pools = places.upload(gpu, &scene.images)?;
    let missing = TEXEL_POOLS_MAX - pools.len();
    buffers.extend(pools);
    for _ in 0..missing {
        buffers.push(gpu.storage("texels (none)", &[0_u32; 4])?);
    }
    Ok(buffers)
}

/// How many pools hold the texels of a scene, from 1.
pub(super) fn texel_pools(gpu: &GpuContext<'_>, scene: &PackedScene) -> Result<u32, DeviceError> {
    Ok(TexelPlaces::of(gpu, &scene.images)?.pool_bytes.len() as u32)
}

/// A binding of structures holds at least one.
fn or_one<T: Zeroable + Copy>(values: &[T]) -> Vec<T> {
    if values.is_empty() { vec![T::zeroed()] } else { values.to_vec() }
}

/// Where pictures lie: in as few pools as bindings allow, each picture in one of them.
struct TexelPlaces {
    /// At least one pool.
    pool_bytes: Vec<u64>,
    /// Pool and offset in bytes of each picture.
    places: Vec<(usize, u64)>,
}

impl TexelPlaces {
    fn of(gpu: &GpuContext<'_>, images: &[PackedImage]) -> Result<Self, DeviceError> {
        let pool_bytes_max = gpu.limits.max_storage_buffer_binding_size.min(gpu.limits.max_buffer_size);
        let mut pool_bytes = vec![0_u64];
        let mut places = Vec::with_capacity(images.len());
        for image in images {
            let bytes = image.rgba8.len() as u64;
            let room = |used: &u64| used + bytes <= pool_bytes_max;
            let pool = match pool_bytes.iter().position(room) {
                Some(pool) => pool,
                None if pool_bytes.len() < TEXEL_POOLS_MAX && bytes <= pool_bytes_max => {
                    pool_bytes.push(0);
                    pool_bytes.len() - 1
                }
                None => {
                    let total: u64 = images.iter().map(|image| image.rgba8.len() as u64).sum();
                    return Err(DeviceError::Limit(format!(
                        "the textures need {total} bytes, and this adapter can bind {TEXEL_POOLS_MAX} times \
                         {pool_bytes_max}; use smaller textures"
                    )));
                }
            };
            places.push((pool, pool_bytes[pool]));
            pool_bytes[pool] += bytes;
        }
        Ok(Self { pool_bytes, places })
    }

    fn upload(&self, gpu: &GpuContext<'_>, images: &[PackedImage]) -> Result<Vec<GpuBuffer>, DeviceError> {
        let mut pools = Vec::new();
        for &bytes in &self.pool_bytes {
            pools.push(gpu.buffer("texels", bytes, BufferUsages::STORAGE | BufferUsages::COPY_DST)?);
        }
        for (image, &(pool, offset)) in images.iter().zip(&self.places) {
            gpu.upload(&pools[pool], offset, &image.rgba8)?;
        }
        Ok(pools)
    }

    fn textures(&self, textures: &[crate::scene::Texture], images: &[PackedImage]) -> Vec<layout::Texture> {
        let placed = |texture: &crate::scene::Texture| {
            let image = &images[texture.image as usize];
            let (pool, offset) = self.places[texture.image as usize];
            layout::Texture {
                offset: (offset / 4) as u32,
                size: (image.width - 1) | (image.height - 1) << 16,
                flags: pack::texture_flags(texture) | (pool as u32) << 8,
                pad: 0,
            }
        };
        textures.iter().map(placed).collect()
    }
}
