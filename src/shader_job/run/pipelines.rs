//! Layouts and pipelines of a program, by the adapter's own compiler. Device thread only.
//!
//! Kept for as long as there is room, under the [`ProgramKey`]: what one client compiled never serves another. wgpu's own pipeline cache
//! is not used. The cache that a driver keeps on disk (Mesa's, say) is keyed by the whole code, so that all it could tell is how long a
//! text took that somebody else has compiled before.

use super::input::ProgramKey;
use crate::device::{DeviceError, GpuContext};
use crate::limits::SHADER_PIPELINES_KEPT_MAX;
use crate::shader_job::{
    BindingKind, Filter, FuelReport, Program, SamplerKind, ShaderDiagnostic, Stage, StorageTarget, TexelFormat, Unit,
};
use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU64;
use std::sync::Arc;

/// What a program is compiled to.
pub struct Compiled {
    /// By unit, by group: groups that a unit does not use have no bindings.
    pub layouts: Vec<Vec<wgpu::BindGroupLayout>>,
    /// By dispatch of [`Program::dispatches`].
    pub pipelines: Vec<wgpu::ComputePipeline>,
}

/// Why a program was not compiled.
pub enum CompileError {
    /// The adapter's compiler, or wgpu's last checks, refused the text.
    Refused(ShaderDiagnostic),
    /// The device failed.
    Device(DeviceError),
}

impl From<DeviceError> for CompileError {
    fn from(error: DeviceError) -> Self {
        Self::Device(error)
    }
}

#[derive(Default)]
struct Cache {
    compiled: HashMap<ProgramKey, Arc<Compiled>>,
    /// The least recently used first.
    order: VecDeque<ProgramKey>,
}

/// Compiles a program, or finds it compiled.
pub fn get(gpu: &GpuContext<'_>, key: &ProgramKey, program: &Program) -> Result<Arc<Compiled>, CompileError> {
    let known = gpu.local(|cache: &mut Cache| {
        let found = cache.compiled.get(key).cloned()?;
        cache.order.retain(|other| other != key);
        cache.order.push_back(key.clone());
        Some(found)
    });
    if let Some(known) = known {
        return Ok(known);
    }
    let compiled = Arc::new(compile(gpu, program)?);
    gpu.local(|cache: &mut Cache| {
        cache.compiled.insert(key.clone(), Arc::clone(&compiled));
        cache.order.push_back(key.clone());
        if cache.order.len() > SHADER_PIPELINES_KEPT_MAX
            && let Some(oldest) = cache.order.pop_front()
        {
            cache.compiled.remove(&oldest);
        }
    });
    Ok(compiled)
}

fn compile(gpu: &GpuContext<'_>, program: &Program) -> Result<Compiled, CompileError> {
    let refused = |unit: &Unit, what: String| {
        let what = what.lines().collect::<Vec<_>>().join(" ");
        let message = format!("The GPU's compiler refused {}: {}", unit.name, what.trim());
        CompileError::Refused(ShaderDiagnostic::new(Stage::Compile, message))
    };
    let mut layouts = Vec::with_capacity(program.units.len());
    let mut modules = Vec::with_capacity(program.units.len());
    for unit in &program.units {
        gpu.alive();
        let made = gpu.refusable(|| {
            let groups = group_layouts(gpu.device, unit);
            let all: Vec<Option<&wgpu::BindGroupLayout>> = groups.iter().map(Some).collect();
            let layout = gpu.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(&unit.name),
                bind_group_layouts: &all,
                immediate_size: 0,
            });
            let descriptor = wgpu::ShaderModuleDescriptor {
                label: Some(&unit.name),
                source: wgpu::ShaderSource::Naga(std::borrow::Cow::Owned(unit.module.clone())),
            };
            let checks =
                wgpu::ShaderRuntimeChecks { force_loop_bounding: false, ..wgpu::ShaderRuntimeChecks::checked() };
            // SAFETY: the only check that is left out bounds loops by a counter of 64 bits. Every loop of a `Program` spends fuel
            // (`shader_job::fuel`) and is left when there is none, so that all of them end. Indices stay checked.
            let module = unsafe { gpu.device.create_shader_module_trusted(descriptor, checks) };
            (groups, layout, module)
        })?;
        let (groups, layout, module) = made.map_err(|what| refused(unit, what))?;
        layouts.push(groups);
        modules.push((layout, module));
    }
    let mut pipelines: Vec<wgpu::ComputePipeline> = Vec::with_capacity(program.dispatches.len());
    for (index, dispatch) in program.dispatches.iter().enumerate() {
        let same = program.dispatches[..index]
            .iter()
            .position(|other| other.unit == dispatch.unit && other.entry_point == dispatch.entry_point);
        if let Some(same) = same {
            pipelines.push(pipelines[same].clone());
            continue;
        }
        let (layout, module) = &modules[dispatch.unit];
        gpu.alive();
        let pipeline = gpu.refusable(|| {
            gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(&dispatch.entry_point),
                layout: Some(layout),
                module,
                entry_point: Some(&dispatch.entry_point),
                compilation_options: wgpu::PipelineCompilationOptions::default(),
                cache: None,
            })
        })?;
        gpu.alive();
        pipelines.push(pipeline.map_err(|what| refused(&program.units[dispatch.unit], what))?);
    }
    Ok(Compiled { layouts, pipelines })
}

fn group_layouts(device: &wgpu::Device, unit: &Unit) -> Vec<wgpu::BindGroupLayout> {
    let groups = unit.bindings.iter().map(|binding| binding.group + 1).max().unwrap_or(0);
    (0..groups)
        .map(|group| {
            let entries: Vec<wgpu::BindGroupLayoutEntry> = unit
                .bindings
                .iter()
                .filter(|binding| binding.group == group)
                .map(|binding| wgpu::BindGroupLayoutEntry {
                    binding: binding.binding,
                    visibility: wgpu::ShaderStages::COMPUTE,
                    ty: binding_type(&binding.kind),
                    count: None,
                })
                .collect();
            device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: Some(&unit.name),
                entries: &entries,
            })
        })
        .collect()
}

fn binding_type(kind: &BindingKind) -> wgpu::BindingType {
    let buffer = |ty, dynamic, bytes| wgpu::BindingType::Buffer {
        ty,
        has_dynamic_offset: dynamic,
        min_binding_size: NonZeroU64::new(bytes),
    };
    let dimension = |array: bool| match array {
        true => wgpu::TextureViewDimension::D2Array,
        false => wgpu::TextureViewDimension::D2,
    };
    match kind {
        BindingKind::Storage { read_only, .. } => {
            buffer(wgpu::BufferBindingType::Storage { read_only: *read_only }, false, 0)
        }
        BindingKind::Uniform(_) => buffer(wgpu::BufferBindingType::Uniform, false, 0),
        BindingKind::DispatchId => buffer(wgpu::BufferBindingType::Uniform, true, 4),
        BindingKind::FuelReport => {
            buffer(wgpu::BufferBindingType::Storage { read_only: false }, false, FuelReport::BYTES)
        }
        BindingKind::Texture { array, filterable, .. } => wgpu::BindingType::Texture {
            sample_type: wgpu::TextureSampleType::Float { filterable: *filterable },
            view_dimension: dimension(*array),
            multisampled: false,
        },
        BindingKind::StorageTexture { format, array, target } => {
            debug_assert!(*array == (*target == StorageTarget::PassOut), "only pass_out has layers");
            wgpu::BindingType::StorageTexture {
                access: wgpu::StorageTextureAccess::WriteOnly,
                format: texture_format(*format),
                view_dimension: dimension(*array),
            }
        }
        BindingKind::Sampler(kind) => wgpu::BindingType::Sampler(match kind.filter {
            Filter::Nearest => wgpu::SamplerBindingType::NonFiltering,
            Filter::Bilinear | Filter::Trilinear => wgpu::SamplerBindingType::Filtering,
        }),
    }
}

/// wgpu's name of a format.
pub(super) fn texture_format(format: TexelFormat) -> wgpu::TextureFormat {
    match format {
        TexelFormat::Rgba16Float => wgpu::TextureFormat::Rgba16Float,
        TexelFormat::Rgba32Float => wgpu::TextureFormat::Rgba32Float,
        TexelFormat::Rgba8Unorm => wgpu::TextureFormat::Rgba8Unorm,
    }
}

/// The samplers of a device, made as they are asked for.
#[derive(Default)]
pub(super) struct Samplers(HashMap<SamplerKind, wgpu::Sampler>);

impl Samplers {
    /// The sampler of a kind.
    pub(super) fn get(&mut self, device: &wgpu::Device, kind: SamplerKind) -> wgpu::Sampler {
        let make = || {
            let address = if kind.repeat { wgpu::AddressMode::Repeat } else { wgpu::AddressMode::ClampToEdge };
            let (filter, mipmap_filter) = match kind.filter {
                Filter::Nearest => (wgpu::FilterMode::Nearest, wgpu::MipmapFilterMode::Nearest),
                Filter::Bilinear => (wgpu::FilterMode::Linear, wgpu::MipmapFilterMode::Nearest),
                Filter::Trilinear => (wgpu::FilterMode::Linear, wgpu::MipmapFilterMode::Linear),
            };
            device.create_sampler(&wgpu::SamplerDescriptor {
                label: Some("shader"),
                address_mode_u: address,
                address_mode_v: address,
                address_mode_w: address,
                mag_filter: filter,
                min_filter: filter,
                mipmap_filter,
                ..wgpu::SamplerDescriptor::default()
            })
        };
        self.0.entry(kind).or_insert_with(make).clone()
    }
}
