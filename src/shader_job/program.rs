//! What a compiled shader job is: modules that are safe to run, what to create for them, and what to dispatch in every frame.
//!
//! Whoever runs a [`Program`] needs no knowledge of dialects: every binding says what it is bound to, every uniform block gives its
//! own bytes for a frame, and the dispatches stand in order. Knows no device.

use super::uniforms::UniformBlock;
use crate::limits::SHADER_FUEL_ITERATIONS_DEFAULT;

/// A shader job, ready to create and run.
#[derive(Debug, Clone)]
pub struct Program {
    /// Width and height of the picture, in pixels.
    pub size: [u32; 2],
    /// The modules: one for WGSL, one for each pass of a shadertoy.
    pub units: Vec<Unit>,
    /// What happens in a frame, in order. Each is a compute pass of its own.
    pub dispatches: Vec<Dispatch>,
    /// Storage buffers, zeroed once, shared by all units, kept from frame to frame.
    pub storage: Vec<StorageBuffer>,
    /// Where the picture is after a frame.
    pub output: Output,
    /// Set where pass textures are used: after every dispatch all layers of `PassOut` are copied to `PassIn`.
    pub passes: Option<PassTextures>,
    /// True if a binding is [`TextureSource::Previous`]: after every frame the output is copied there.
    pub previous: bool,
    /// Buffer textures of a shadertoy, in order of their dispatches.
    pub buffers: Vec<Buffer>,
    /// What the adapter must have.
    pub requires: Requires,
    /// Bytes of GPU memory for all buffers and textures, without channels and readback.
    pub memory_bytes: u64,
    /// Loop iterations that one invocation may spend in all: the fuel of loops with a barrier and that of the others, if there are such.
    pub iterations_max: u64,
    /// Things that the user should know, and that are no errors.
    pub warnings: Vec<String>,
}

/// One shader module with its bindings.
#[derive(Debug, Clone)]
pub struct Unit {
    /// For labels and messages.
    pub name: String,
    /// The module, with loop fuel. It is valid; `info` is its validation.
    pub module: naga::Module,
    /// The validation of `module`.
    pub info: naga::valid::ModuleInfo,
    /// Every binding of the module, by rising group and number. Bindings that no dispatched entry point uses are left out.
    pub bindings: Vec<Binding>,
    /// How loops that ran out are reported.
    pub fuel: FuelReport,
    /// Loop iterations that one invocation may spend in all; 0 without loops.
    pub iterations_max: u64,
}

/// One resource of a unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Binding {
    /// Bind group.
    pub group: u32,
    /// Number in it.
    pub binding: u32,
    /// The variable's name, for labels.
    pub name: String,
    /// What is bound.
    pub kind: BindingKind,
}

/// What a binding is.
#[derive(Debug, Clone, PartialEq)]
pub enum BindingKind {
    /// A read-write or read-only storage buffer: index into [`Program::storage`].
    Storage {
        /// Index into [`Program::storage`].
        index: usize,
        /// `var<storage, read>`.
        read_only: bool,
    },
    /// A uniform buffer, whose bytes the block itself gives for every frame.
    Uniform(UniformBlock),
    /// A uniform of 4 bytes with a dynamic offset, 256 bytes apart: the index of the dispatch among those of its entry point.
    DispatchId,
    /// A sampled texture.
    Texture {
        /// What it shows.
        source: TextureSource,
        /// `texture_2d_array` instead of `texture_2d`.
        array: bool,
        /// Its sample type is filterable.
        filterable: bool,
    },
    /// A storage texture that is written.
    StorageTexture {
        /// What it is.
        target: StorageTarget,
        /// Its format.
        format: TexelFormat,
        /// `texture_storage_2d_array` instead of `texture_storage_2d`.
        array: bool,
    },
    /// A sampler.
    Sampler(SamplerKind),
    /// The storage buffer of [`FuelReport::BYTES`] bytes that takes the report on spent fuel. Zeroed once: a loop that ran out stays in it, and ends
    /// the run.
    FuelReport,
}

/// What a sampled texture shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TextureSource {
    /// A channel of the job, from 0: an asset with mipmaps, or 1×1 of zeros if the job has none.
    Channel(usize),
    /// The four layers of the passes, as they were after the last dispatch.
    PassIn,
    /// The picture of the last frame; zeros at first.
    Previous,
    /// Index into [`Program::buffers`]: what that buffer holds now, of this frame if it was drawn before this dispatch.
    Buffer(usize),
    /// 1×1 of zeros.
    Blank,
}

/// What a storage texture is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StorageTarget {
    /// The picture. Never cleared.
    Output,
    /// The four layers that are written. Never cleared.
    PassOut,
    /// Index into [`Program::buffers`]: a texture that is swapped with the one that is read after the dispatch.
    Buffer(usize),
}

/// Formats of storage textures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TexelFormat {
    /// Four half floats.
    Rgba16Float,
    /// Four floats; not filterable everywhere.
    Rgba32Float,
    /// Four bytes.
    Rgba8Unorm,
}

impl TexelFormat {
    /// Bytes of a texel.
    pub fn bytes(self) -> u64 {
        match self {
            Self::Rgba16Float => 8,
            Self::Rgba32Float => 16,
            Self::Rgba8Unorm => 4,
        }
    }

    /// Of naga's.
    pub(super) fn of(format: naga::StorageFormat) -> Option<Self> {
        match format {
            naga::StorageFormat::Rgba16Float => Some(Self::Rgba16Float),
            naga::StorageFormat::Rgba32Float => Some(Self::Rgba32Float),
            naga::StorageFormat::Rgba8Unorm => Some(Self::Rgba8Unorm),
            _ => None,
        }
    }
}

/// A sampler's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SamplerKind {
    /// Its filter.
    pub filter: Filter,
    /// Repeats outside of [0, 1], in both directions; clamps to the edge otherwise.
    pub repeat: bool,
}

impl SamplerKind {
    /// The names that shaders use: `nearest bilinear trilinear`, and the same with `_repeat`.
    pub(super) fn named(name: &str) -> Option<Self> {
        let (filter, repeat) = match name.strip_suffix("_repeat") {
            Some(filter) => (filter, true),
            None => (name, false),
        };
        let filter = match filter {
            "nearest" => Filter::Nearest,
            "bilinear" => Filter::Bilinear,
            "trilinear" => Filter::Trilinear,
            _ => return None,
        };
        Some(Self { filter, repeat })
    }
}

/// How a sampler filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Filter {
    /// The nearest texel of the nearest level. Its layout is non-filtering.
    Nearest,
    /// Four texels of the nearest level.
    Bilinear,
    /// Four texels of two levels each.
    Trilinear,
}

/// A storage buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageBuffer {
    /// Its name in the shader.
    pub name: String,
    /// Its size: a multiple of 4, never 0.
    pub bytes: u64,
}

/// The pass textures of the `compute_toys` dialect: two of the picture's size with four layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassTextures {
    /// The format of both.
    pub format: TexelFormat,
}

/// A buffer of a shadertoy: two textures of the picture's size that swap after its dispatch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buffer {
    /// `A` to `D`.
    pub name: char,
    /// The format of both textures.
    pub format: TexelFormat,
}

/// The picture after a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    /// Format of its storage texture.
    pub format: TexelFormat,
    /// How its numbers are to be read.
    pub color: OutputColor,
}

/// What the numbers of an output are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputColor {
    /// Scene-linear; an 8-bit picture needs the sRGB curve.
    Linear,
    /// Already as a display wants them; an 8-bit picture takes them as they are.
    Srgb,
}

/// A dispatch of one entry point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispatch {
    /// Index into [`Program::units`].
    pub unit: usize,
    /// The entry point's name in the module.
    pub entry_point: String,
    /// Invocations of a workgroup.
    pub workgroup_size: [u32; 3],
    /// Workgroups of one dispatch.
    pub workgroups: [u32; 3],
    /// How often in a frame, one after the other, with `DispatchId` from 0.
    pub count: u32,
    /// In frame 0 only.
    pub once: bool,
}

/// What an adapter must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Requires {
    /// Subgroup operations: the text says `enable subgroups;` or uses one.
    pub subgroups: bool,
    /// 16-bit floats: the text says `enable f16;`.
    pub shader_f16: bool,
    /// 32-bit float textures that can be filtered.
    pub float32_filterable: bool,
}

/// How the module reports loops that ran out of fuel: the binding [`BindingKind::FuelReport`] is one `atomic<u32>` that holds 0, or
/// the highest id of such a loop.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FuelReport {
    /// Loop iterations of one kind (with a barrier, without) that one invocation may spend.
    pub iterations_max: u32,
    /// All loops of the module, by rising id; empty if it has none, and then there is no report binding.
    pub loops: Vec<LoopPlace>,
}

impl FuelReport {
    /// Bytes of the report buffer.
    pub const BYTES: u64 = 4;

    /// The loop that a report names: the value that was read from the report buffer.
    pub fn ran_out(&self, report: u32) -> Option<&LoopPlace> {
        self.loops.get((report as usize).checked_sub(1)?)
    }
}

/// A loop in the user's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoopPlace {
    /// The function that it is in.
    pub function: String,
    /// The problem that it is when it ran out: stage `run`, with its line.
    pub problem: super::ShaderDiagnostic,
}

/// What the job and the machine allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// Loop iterations of one kind (with a barrier, without) that one invocation may spend.
    pub fuel_iterations: u32,
    /// Loop iterations of one invocation, over all kinds, that the driver runs rightly: `u32::MAX` for a real GPU,
    /// [`crate::limits::SHADER_DRIVER_ITERATIONS_LLVMPIPE`] for that one. A shader that needs more is reported, never silently wrong.
    pub driver_iterations: u32,
    /// Bytes of GPU memory.
    pub memory_bytes: u64,
    /// Dispatches of one frame.
    pub dispatches_per_frame: u32,
    /// Entry points.
    pub dispatch_entries: usize,
    /// Bytes of one storage buffer.
    pub storage_buffer_bytes: u64,
    /// Bytes of workgroup memory of one entry point.
    pub workgroup_bytes: u64,
    /// Bytes of private memory of one invocation.
    pub private_bytes: u64,
    /// Invocations of one workgroup.
    pub workgroup_invocations: u32,
    /// Invocations of one workgroup along each axis.
    pub workgroup_size: [u32; 3],
    /// Invocations of one dispatch.
    pub dispatch_invocations: u64,
    /// Subgroup operations work on this adapter.
    pub subgroups: bool,
    /// 16-bit floats work on this adapter.
    pub shader_f16: bool,
    /// 32-bit float textures can be filtered on this adapter.
    pub float32_filterable: bool,
}

impl Default for Allowed {
    /// The bounds of [`crate::limits`], on an adapter with nothing but WebGPU's guaranteed features.
    fn default() -> Self {
        use crate::limits as l;
        Self {
            fuel_iterations: SHADER_FUEL_ITERATIONS_DEFAULT,
            driver_iterations: u32::MAX,
            memory_bytes: l::SHADER_MEMORY_BYTES_MAX,
            dispatches_per_frame: l::SHADER_DISPATCHES_PER_FRAME_MAX,
            dispatch_entries: l::SHADER_DISPATCH_ENTRIES_MAX,
            storage_buffer_bytes: l::SHADER_STORAGE_BUFFER_BYTES_MAX,
            workgroup_bytes: l::SHADER_WORKGROUP_BYTES_MAX,
            private_bytes: l::SHADER_PRIVATE_BYTES_MAX,
            workgroup_invocations: l::SHADER_WORKGROUP_INVOCATIONS_MAX,
            workgroup_size: [l::SHADER_WORKGROUP_INVOCATIONS_MAX; 3],
            dispatch_invocations: l::SHADER_INVOCATIONS_PER_DISPATCH_MAX,
            subgroups: false,
            shader_f16: false,
            float32_filterable: false,
        }
    }
}

impl Allowed {
    /// The same, with every number lowered to `other`'s and every feature that only one has taken away.
    #[must_use]
    pub fn lowered_to(&self, other: &Self) -> Self {
        let axis = |i: usize| self.workgroup_size[i].min(other.workgroup_size[i]);
        Self {
            fuel_iterations: self.fuel_iterations.min(other.fuel_iterations),
            driver_iterations: self.driver_iterations.min(other.driver_iterations),
            memory_bytes: self.memory_bytes.min(other.memory_bytes),
            dispatches_per_frame: self.dispatches_per_frame.min(other.dispatches_per_frame),
            dispatch_entries: self.dispatch_entries.min(other.dispatch_entries),
            storage_buffer_bytes: self.storage_buffer_bytes.min(other.storage_buffer_bytes),
            workgroup_bytes: self.workgroup_bytes.min(other.workgroup_bytes),
            private_bytes: self.private_bytes.min(other.private_bytes),
            workgroup_invocations: self.workgroup_invocations.min(other.workgroup_invocations),
            workgroup_size: [axis(0), axis(1), axis(2)],
            dispatch_invocations: self.dispatch_invocations.min(other.dispatch_invocations),
            subgroups: self.subgroups && other.subgroups,
            shader_f16: self.shader_f16 && other.shader_f16,
            float32_filterable: self.float32_filterable && other.float32_filterable,
        }
    }
}
