//! The kernels' linked texts and their variants.

use super::pack::Features;
use crate::device::{DeviceError, GpuContext, Kernel, KernelSource};
use std::sync::Arc;
use std::sync::LazyLock;

/// A kernel of this name, as `shaders/build.rs` has linked it.
macro_rules! kernel {
    ($name:literal) => {
        KernelSource {
            name: $name,
            entry_point: $name,
            wgsl: include_str!(concat!(env!("OUT_DIR"), "/", $name, ".wgsl")),
        }
    };
}

/// Every kernel of the path tracer.
pub const KERNELS: [KernelSource; 6] = [
    kernel!("generate"),
    kernel!("extend"),
    kernel!("shade"),
    kernel!("shadow"),
    kernel!("advance"),
    kernel!("accumulate"),
];

/// The kernels of one render, compiled for what its scene uses.
pub(super) struct RenderKernels {
    pub generate: Arc<Kernel>,
    pub extend: Arc<Kernel>,
    pub shade: Arc<Kernel>,
    pub shadow: Arc<Kernel>,
    pub advance: Arc<Kernel>,
    pub accumulate: Arc<Kernel>,
}

/// What else decides on a variant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Variant {
    pub features: Features,
    pub environment: bool,
    pub texel_pools: u32,
    pub lens: bool,
}

impl RenderKernels {
    /// Compiles them, or finds them compiled.
    pub fn compile(gpu: &GpuContext<'_>, variant: Variant) -> Result<Self, DeviceError> {
        let Variant { features, environment, texel_pools, lens } = variant;
        // In the order of `shaders/lib/features.wgsl`.
        let constants = [
            (0, u32::from(features.flat)),
            (1, u32::from(features.alpha)),
            (2, u32::from(features.textures)),
            (3, u32::from(features.normal_maps)),
            (4, u32::from(features.vertex_extras)),
            (5, u32::from(environment)),
            (6, u32::from(features.emissive_triangles)),
            (7, u32::from(features.punctual_lights)),
            (8, texel_pools),
            // Barriers are dear on software adapters, and atomics cheap.
            (9, u32::from(!gpu.adapter.software)),
            (10, u32::from(lens)),
        ];
        let [generate, extend, shade, shadow, advance, accumulate] = KERNELS;
        let (extend, shadow) =
            if features.deep { (deep(&DEEP_EXTEND, extend), deep(&DEEP_SHADOW, shadow)) } else { (extend, shadow) };
        let compile = |source| gpu.kernel(source, &constants);
        Ok(Self {
            generate: compile(generate)?,
            extend: compile(extend)?,
            shade: compile(shade)?,
            shadow: compile(shadow)?,
            advance: compile(advance)?,
            accumulate: compile(accumulate)?,
        })
    }
}

/// Names of the deep variants in the cache.
const DEEP_NAMES: [&str; 2] = ["extend (deep)", "shadow (deep)"];
static DEEP_EXTEND: LazyLock<String> = LazyLock::new(|| deepen(KERNELS[1].wgsl));
static DEEP_SHADOW: LazyLock<String> = LazyLock::new(|| deepen(KERNELS[3].wgsl));

fn deep(wgsl: &'static LazyLock<String>, source: KernelSource) -> KernelSource {
    let name = DEEP_NAMES[usize::from(source.name == "shadow")];
    KernelSource { name, wgsl: wgsl.as_str(), ..source }
}

/// The text with a traversal stack for the deepest trees that a scene may have: an array's length in private memory cannot be an override.
fn deepen(wgsl: &str) -> String {
    let line = wgsl
        .lines()
        .find(|line| line.contains("const") && line.contains("STACK_ENTRIES"))
        .expect("the traversal declares the length of its stack");
    let short = format!("= {}u;", super::pack::STACK_ENTRIES);
    assert!(line.contains(&short), "the traversal's stack has the length that the host thinks it has");
    let longer = line.replace(&short, &format!("= {}u;", 3 * crate::limits::BVH_LEVELS_MAX));
    wgsl.replace(line, &longer)
}
