//! Compiled kernels, kept for the life of the process. Used on the device thread only.

use super::{DeviceError, fault};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// A kernel's linked WGSL. Its label, its file and its entry point share one name.
#[derive(Debug, Clone, Copy)]
pub struct KernelSource {
    /// Entry point and label.
    pub name: &'static str,
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

/// A compiled variant. Cheap to clone; never leaves the device thread.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// The pipeline.
    pub pipeline: wgpu::ComputePipeline,
}

/// The cache.
#[derive(Debug, Default)]
pub struct Kernels {
    modules: RefCell<HashMap<&'static str, wgpu::ShaderModule>>,
    variants: RefCell<HashMap<KernelKey, Rc<Kernel>>>,
}

impl Kernels {
    /// Compiles a variant, or finds it. `layout` must be the same for every variant of one kernel.
    pub(super) fn get(
        &self,
        device: &wgpu::Device,
        source: KernelSource,
        constants: &[(u16, u32)],
        layout: &wgpu::PipelineLayout,
    ) -> Result<Rc<Kernel>, DeviceError> {
        let key = KernelKey { name: source.name, constants: constants.to_vec() };
        if let Some(kernel) = self.variants.borrow().get(&key) {
            return Ok(Rc::clone(kernel));
        }
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let module = self.module(device, source);
        let names: Vec<String> = constants.iter().map(|(id, _)| id.to_string()).collect();
        let values: Vec<(&str, f64)> =
            names.iter().zip(constants).map(|(name, (_, value))| (name.as_str(), f64::from(*value))).collect();
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(source.name),
            layout: Some(layout),
            module: &module,
            entry_point: Some(source.name),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &values,
                // Every kernel that has workgroup memory writes it before it reads it.
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        if let Some(error) = pollster::block_on(scope.pop()) {
            return Err(fault::from_wgpu(error));
        }
        let kernel = Rc::new(Kernel { pipeline });
        self.variants.borrow_mut().insert(key, Rc::clone(&kernel));
        Ok(kernel)
    }

    fn module(&self, device: &wgpu::Device, source: KernelSource) -> wgpu::ShaderModule {
        self.modules
            .borrow_mut()
            .entry(source.name)
            .or_insert_with(|| {
                let descriptor = wgpu::ShaderModuleDescriptor {
                    label: Some(source.name),
                    source: wgpu::ShaderSource::Wgsl(source.wgsl.into()),
                };
                let checks =
                    wgpu::ShaderRuntimeChecks { force_loop_bounding: false, ..wgpu::ShaderRuntimeChecks::checked() };
                // SAFETY: the only check that is left out bounds loops, and a `KernelSource` is one of Kiln's own kernels
                // (its text is `'static`), whose loops all end. Indices stay checked.
                unsafe { device.create_shader_module_trusted(descriptor, checks) }
            })
            .clone()
    }
}
