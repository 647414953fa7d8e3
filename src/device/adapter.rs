//! Finds an adapter and opens a device on it. Called on the device thread, and by `kiln doctor` for the list.

use super::DeviceError;
use crate::gpu_process::protocol::{AdapterReport, ComputeReport};
use std::str::FromStr;

/// Which adapter to open.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AdapterSelector {
    /// The best there is: discrete before integrated before virtual before software.
    #[default]
    Auto,
    /// By its place in [`adapters`].
    Index(usize),
    /// The first whose name contains this, ignoring case.
    Name(String),
}

impl FromStr for AdapterSelector {
    type Err = std::convert::Infallible;

    /// `auto`, a number, or a part of the name.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        Ok(if text.is_empty() || text.eq_ignore_ascii_case("auto") {
            Self::Auto
        } else if let Ok(index) = text.parse() {
            Self::Index(index)
        } else {
            Self::Name(text.to_owned())
        })
    }
}

impl std::fmt::Display for AdapterSelector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Index(index) => write!(f, "{index}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Every adapter of this machine, in the order that [`AdapterSelector::Index`] counts.
pub fn adapters() -> Vec<AdapterReport> {
    enumerate(&instance()).iter().map(report).collect()
}

/// A device, its queue, and what it is.
pub(super) struct OpenDevice {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub report: AdapterReport,
}

/// Storage buffers that the largest kernel (`shade`) binds.
const STORAGE_BUFFERS_MIN: u32 = 22;

/// What shader jobs may use where the adapter has it.
const SHADER_FEATURES: wgpu::Features =
    wgpu::Features::SUBGROUP.union(wgpu::Features::SHADER_F16).union(wgpu::Features::FLOAT32_FILTERABLE);

/// Opens the selected adapter with every limit it offers.
pub(super) fn open(select: &AdapterSelector) -> Result<OpenDevice, DeviceError> {
    let instance = instance();
    let found = enumerate(&instance);
    let names = || {
        let names: Vec<String> =
            found.iter().enumerate().map(|(i, adapter)| format!("{i}: {}", adapter.get_info().name)).collect();
        if names.is_empty() { "none at all; install a Vulkan driver".to_owned() } else { names.join(", ") }
    };
    let adapter = match select {
        // An adapter that cannot bind what the kernels need is no candidate, however fast it is.
        AdapterSelector::Auto => found
            .iter()
            .filter(|adapter| adapter.limits().max_storage_buffers_per_shader_stage >= STORAGE_BUFFERS_MIN)
            .min_by_key(|adapter| rank(adapter.get_info().device_type)),
        AdapterSelector::Index(index) => found.get(*index),
        AdapterSelector::Name(name) => {
            let wanted = name.to_lowercase();
            found.iter().find(|adapter| adapter.get_info().name.to_lowercase().contains(&wanted))
        }
    }
    .ok_or_else(|| DeviceError::NoAdapter(format!("asked for `{select}`, and there is: {}", names())))?;

    let report = report(adapter);
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
        label: Some("kiln"),
        required_features: adapter.features() & SHADER_FEATURES,
        required_limits: adapter.limits(),
        experimental_features: wgpu::ExperimentalFeatures::disabled(),
        memory_hints: wgpu::MemoryHints::MemoryUsage,
        trace: wgpu::Trace::Off,
    }))
    .map_err(|error| DeviceError::NoAdapter(format!("`{}` did not open: {error}", report.name)))?;
    Ok(OpenDevice { device, queue, report })
}

fn instance() -> wgpu::Instance {
    // Indirect arguments are written by our own kernels only, so the per-dispatch check that wgpu would add is waste.
    // The validation layers of debug builds cost more than they show, since wgpu itself validates every call.
    let flags = wgpu::InstanceFlags::empty().with_env();
    wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: wgpu::Backends::PRIMARY,
        flags,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    })
}

/// Adapters that can run storage-buffer compute, which is all that Kiln needs.
fn enumerate(instance: &wgpu::Instance) -> Vec<wgpu::Adapter> {
    pollster::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY))
        .into_iter()
        .filter(|adapter| adapter.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS))
        .collect()
}

fn rank(device_type: wgpu::DeviceType) -> u32 {
    match device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    }
}

fn report(adapter: &wgpu::Adapter) -> AdapterReport {
    let info = adapter.get_info();
    let (limits, features) = (adapter.limits(), adapter.features());
    AdapterReport {
        name: info.name,
        backend: info.backend.to_str().to_owned(),
        driver: [info.driver, info.driver_info].join(" ").trim().to_owned(),
        device_type: match info.device_type {
            wgpu::DeviceType::DiscreteGpu => "discrete",
            wgpu::DeviceType::IntegratedGpu => "integrated",
            wgpu::DeviceType::VirtualGpu => "virtual",
            wgpu::DeviceType::Cpu => "cpu",
            wgpu::DeviceType::Other => "other",
        }
        .to_owned(),
        software: info.device_type == wgpu::DeviceType::Cpu,
        storage_binding_bytes_max: limits.max_storage_buffer_binding_size,
        buffer_bytes_max: limits.max_buffer_size,
        compute: ComputeReport {
            workgroup_bytes: limits.max_compute_workgroup_storage_size,
            workgroup_invocations: limits.max_compute_invocations_per_workgroup,
            workgroup_size: [
                limits.max_compute_workgroup_size_x,
                limits.max_compute_workgroup_size_y,
                limits.max_compute_workgroup_size_z,
            ],
            texture_side_texels: limits.max_texture_dimension_2d,
            subgroups: features.contains(wgpu::Features::SUBGROUP),
            shader_f16: features.contains(wgpu::Features::SHADER_F16),
            float32_filterable: features.contains(wgpu::Features::FLOAT32_FILTERABLE),
        },
        memory_bytes: memory_bytes(adapter),
        budget_bytes: 0,
    }
}

/// Bytes of the adapter's largest heap of its own, where Vulkan says; `None` for other backends and for software.
fn memory_bytes(adapter: &wgpu::Adapter) -> Option<u64> {
    if adapter.get_info().device_type == wgpu::DeviceType::Cpu {
        return None;
    }
    #[cfg(not(target_vendor = "apple"))]
    {
        // SAFETY: the handles are used within this function only, while `adapter` is borrowed, and none of them is destroyed or kept.
        let heaps = unsafe {
            let vulkan = adapter.as_hal::<wgpu::hal::api::Vulkan>()?;
            let instance = vulkan.shared_instance().raw_instance();
            instance.get_physical_device_memory_properties(vulkan.raw_physical_device())
        };
        // Bit 0 of a heap's flags: local to the device (VK_MEMORY_HEAP_DEVICE_LOCAL_BIT).
        let heaps = heaps.memory_heaps[..heaps.memory_heap_count as usize].iter();
        heaps.filter(|heap| heap.flags.as_raw() & 1 != 0).map(|heap| heap.size).max()
    }
    #[cfg(target_vendor = "apple")]
    None
}
