//! A render's buffers on the device.

use super::kernels::{RenderKernels, Variant};
use super::layout;
use super::pack::{self, PackedImage, PackedScene};
use super::settings::RenderSettings;
use super::sky::PackedSky;
use crate::device::{DeviceError, GpuBuffer, GpuContext, Kernel};
use bytemuck::Zeroable;
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
    /// Bytes of all of it.
    pub bytes: u64,
    /// Held for the bind groups.
    _others: Vec<GpuBuffer>,
}

impl Resident {
    /// Uploads a scene and makes room for `pool_paths` paths.
    pub fn create(
        gpu: &GpuContext<'_>,
        scene: &PackedScene,
        sky: &PackedSky,
        settings: &RenderSettings,
        pool_paths: u32,
    ) -> Result<Self, DeviceError> {
        let (mut others, texel_pools) = upload_geometry(gpu, scene)?;
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

        // On in the order of the bindings, from 11.
        others.extend([
            gpu.storage("lights", &or_one(&scene.lights.lights))?,
            gpu.storage("emitters", &or_one(&scene.lights.emitters))?,
            gpu.storage("emitter_of_triangle", &scene.lights.emitter_of_triangle)?,
            gpu.storage("environment_texels", &sky.texels)?,
            gpu.storage("environment_alias", &sky.alias)?,
            pool("path_rays", size_of::<layout::PathRay>())?,
            pool("path_hits", size_of::<layout::Hit>())?,
            pool("path_states", size_of::<layout::PathState>())?,
            pool("shadow_rays", size_of::<layout::ShadowRay>())?,
            pool("queue 0", 4 * QUEUE_BINS)?,
            pool("queue 1", 4 * QUEUE_BINS)?,
            pool("shadow_queue", 4 * QUEUE_BINS)?,
        ]);

        let bind = |kernel: &Kernel, parity: usize, film: usize| {
            kernel.bind(gpu.device, |binding| match binding {
                0 => &params,
                20 => &others[19 + parity],
                21 => &others[20 - parity],
                23 => &counters,
                24 => &films[film],
                binding => &others[binding as usize - 1],
            })
        };
        let bytes = others.iter().chain(&films).chain([&params, &counters, &dispatch_args]).map(|b| b.size()).sum();
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
            _others: others,
        })
    }
}

/// Uploads what traversal and surfaces need: the buffers of bindings 1 to 10 in the order of `shaders/lib/bindings.wgsl`, and how
/// many pools hold texels.
pub(super) fn upload_geometry(gpu: &GpuContext<'_>, scene: &PackedScene) -> Result<(Vec<GpuBuffer>, u32), DeviceError> {
    let (texel_pools, textures) = upload_textures(gpu, &scene.textures, &scene.images)?;
    let mut buffers = vec![
        gpu.storage("nodes", &scene.nodes)?,
        gpu.storage("triangles", &scene.triangles)?,
        gpu.storage("vertices", &scene.vertices)?,
        gpu.storage("instances", &or_one(&scene.instances))?,
        gpu.storage("materials", &or_one(&scene.materials))?,
        gpu.storage("textures", &or_one(&textures))?,
    ];
    let pools = texel_pools.len();
    buffers.extend(texel_pools);
    for _ in pools..TEXEL_POOLS_MAX {
        buffers.push(gpu.storage("texels (none)", &[0_u32; 4])?);
    }
    Ok((buffers, pools.max(1) as u32))
}

/// A binding of structures holds at least one.
fn or_one<T: Zeroable + Copy>(values: &[T]) -> Vec<T> {
    if values.is_empty() { vec![T::zeroed()] } else { values.to_vec() }
}

/// Puts pictures into as few pools as bindings allow, each picture in one of them.
fn upload_textures(
    gpu: &GpuContext<'_>,
    textures: &[crate::scene::Texture],
    images: &[PackedImage],
) -> Result<(Vec<GpuBuffer>, Vec<layout::Texture>), DeviceError> {
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
                    "the textures need {total} bytes, and this adapter can bind {TEXEL_POOLS_MAX} times {pool_bytes_max}; \
                     use smaller textures"
                )));
            }
        };
        places.push((pool, pool_bytes[pool]));
        pool_bytes[pool] += bytes;
    }
    let mut pools = Vec::new();
    for &bytes in &pool_bytes {
        pools.push(gpu.buffer("texels", bytes, BufferUsages::STORAGE | BufferUsages::COPY_DST)?);
    }
    for (image, &(pool, offset)) in images.iter().zip(&places) {
        gpu.upload(&pools[pool], offset, &image.rgba8)?;
    }
    let textures = textures
        .iter()
        .map(|texture| {
            let image = &images[texture.image as usize];
            let (pool, offset) = places[texture.image as usize];
            layout::Texture {
                offset: (offset / 4) as u32,
                size: (image.width - 1) | (image.height - 1) << 16,
                flags: pack::texture_flags(texture) | (pool as u32) << 8,
                pad: 0,
            }
        })
        .collect();
    Ok((pools, textures))
}
