//! Compiled kernels, kept for the life of the process. Used on the device thread only.
//!
//! A kernel's text says what it binds, so its layout is read from the text (by naga) instead of being written twice.

use super::{DeviceError, fault};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// A kernel's linked WGSL. Its label, its file and its entry point share one name; all its bindings are in group 0.
#[derive(Debug, Clone, Copy)]
pub struct KernelSource {
    /// Names the text in the cache: the entry point's name, or that and what is special about the text.
    pub name: &'static str,
    /// The entry point.
    pub entry_point: &'static str,
    /// Linked WGSL of the whole module.
    pub wgsl: &'static str,
}

/// Names one variant of a kernel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KernelKey {
    /// See [`KernelSource::name`].
    pub name: &'static str,
    /// Override constants by `@id`, so that what a scene does not use costs nothing.
    pub constants: Vec<(u16, u32)>,
}

/// A compiled variant. Never leaves the device thread.
#[derive(Debug)]
pub struct Kernel {
    /// See [`KernelSource::name`].
    pub name: &'static str,
    /// The pipeline.
    pub pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
    bindings: Vec<u32>,
}

impl Kernel {
    /// Makes a bind group of what the kernel mentions; `buffer_of` gives the buffer for a binding's number.
    pub fn bind<'a>(
        &self,
        device: &wgpu::Device,
        mut buffer_of: impl FnMut(u32) -> &'a wgpu::Buffer,
    ) -> wgpu::BindGroup {
        let entries: Vec<wgpu::BindGroupEntry<'_>> = self
            .bindings
            .iter()
            .map(|&binding| wgpu::BindGroupEntry { binding, resource: buffer_of(binding).as_entire_binding() })
            .collect();
        device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(self.name),
            layout: &self.layout,
            entries: &entries,
        })
    }
}

/// The cache.
#[derive(Debug, Default)]
pub struct Kernels {
    modules: RefCell<HashMap<&'static str, Arc<Module>>>,
    variants: RefCell<HashMap<KernelKey, Arc<Kernel>>>,
}

/// A text, compiled as far as it goes without constants.
#[derive(Debug)]
struct Module {
    shader: wgpu::ShaderModule,
    layout: wgpu::BindGroupLayout,
    pipeline_layout: wgpu::PipelineLayout,
    bindings: Vec<u32>,
    override_ids: Vec<u16>,
}

impl Kernels {
    /// Compiles a variant, or finds it. Constants that the text does not declare are left out.
    pub(super) fn get(
        &self,
        device: &wgpu::Device,
        source: KernelSource,
        constants: &[(u16, u32)],
    ) -> Result<Arc<Kernel>, DeviceError> {
        let module = self.module(device, source)?;
        let constants: Vec<(u16, u32)> =
            constants.iter().copied().filter(|(id, _)| module.override_ids.contains(id)).collect();
        let key = KernelKey { name: source.name, constants };
        if let Some(kernel) = self.variants.borrow().get(&key) {
            return Ok(Arc::clone(kernel));
        }
        // A kernel that the driver failed to compile must not stay in the cache, whatever kind of error that is.
        let scopes = [wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::Validation]
            .map(|filter| device.push_error_scope(filter));
        let names: Vec<String> = key.constants.iter().map(|(id, _)| id.to_string()).collect();
        let values: Vec<(&str, f64)> =
            names.iter().zip(&key.constants).map(|(name, (_, value))| (name.as_str(), f64::from(*value))).collect();
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(source.name),
            layout: Some(&module.pipeline_layout),
            module: &module.shader,
            entry_point: Some(source.entry_point),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &values,
                // Every kernel that has workgroup memory writes it before it reads it.
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        let errors = scopes.into_iter().rev().filter_map(|scope| pollster::block_on(scope.pop()));
        if let Some(error) = errors.reduce(|first, _| first) {
            return Err(fault::from_wgpu(error));
        }
        let kernel = Arc::new(Kernel {
            name: source.name,
            pipeline,
            layout: module.layout.clone(),
            bindings: module.bindings.clone(),
        });
        self.variants.borrow_mut().insert(key, Arc::clone(&kernel));
        Ok(kernel)
    }

    fn module(&self, device: &wgpu::Device, source: KernelSource) -> Result<Arc<Module>, DeviceError> {
        if let Some(module) = self.modules.borrow().get(source.name) {
            return Ok(Arc::clone(module));
        }
        let module = Arc::new(compile(device, source)?);
        self.modules.borrow_mut().insert(source.name, Arc::clone(&module));
        Ok(module)
    }
}

fn compile(device: &wgpu::Device, source: KernelSource) -> Result<Module, DeviceError> {
    let parsed = naga::front::wgsl::parse_str(source.wgsl)
        .map_err(|error| DeviceError::Validation(error.emit_to_string_with_path(source.wgsl, source.name)))?;
    let mut entries: Vec<wgpu::BindGroupLayoutEntry> = parsed
        .global_variables
        .iter()
        .filter_map(|(_, variable)| {
            let binding = variable.binding.as_ref()?.binding;
            let ty = match variable.space {
                naga::AddressSpace::Uniform => wgpu::BufferBindingType::Uniform,
                naga::AddressSpace::Storage { access } => {
                    wgpu::BufferBindingType::Storage { read_only: !access.contains(naga::StorageAccess::STORE) }
                }
                _ => return None,
            };
            Some(wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
                count: None,
            })
        })
        .collect();
    entries.sort_by_key(|entry| entry.binding);
    let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let layout = device
        .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(source.name), entries: &entries });
    let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(source.name),
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    let descriptor =
        wgpu::ShaderModuleDescriptor { label: Some(source.name), source: wgpu::ShaderSource::Wgsl(source.wgsl.into()) };
    let checks = wgpu::ShaderRuntimeChecks { force_loop_bounding: false, ..wgpu::ShaderRuntimeChecks::checked() };
    // SAFETY: the only check that is left out bounds loops, and a `KernelSource` is one of Kiln's own kernels (its text is
    // `'static`), whose loops all end. Indices stay checked.
    let shader = unsafe { device.create_shader_module_trusted(descriptor, checks) };
    if let Some(error) = pollster::block_on(scope.pop()) {
        return Err(fault::from_wgpu(error));
    }
    Ok(Module {
        shader,
        layout,
        pipeline_layout,
        bindings: entries.iter().map(|entry| entry.binding).collect(),
        override_ids: parsed.overrides.iter().filter_map(|(_, value)| value.id).collect(),
    })
}
