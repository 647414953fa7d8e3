//! From the job document to everything that the device needs: the compiled program and the channels' pictures. Loader threads only.
//!
//! Compiling runs on a thread of its own with a bound on its memory ([`crate::memory_guard`]). What was compiled is kept for the same
//! client: the same text in the same size is not compiled again.

use super::channels::{self, ChannelPicture};
use super::pack::PackFormat;
use crate::gpu_process::protocol::AdapterReport;
use crate::job::shader::{ChannelFilter, ChannelWrap, ColorSpace, ShaderChannel, ShaderDialect, ShaderSpec};
use crate::job::spec::{AssetRef, Format};
use crate::job::{Failure, FailureDetail, FailureReason};
use crate::limits::*;
use crate::memory_guard::{Bounded, Budget};
use crate::shader_job::shadertoy::{Toy, ToyBuffer, ToyInput, ToySource};
use crate::shader_job::{
    Allowed, Dialect, DispatchRequest, Filter, Program, SamplerKind, ShaderErrors, ShaderSource, compile,
};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Names what was compiled: whose it is, and a hash of everything that decides on it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProgramKey {
    /// What one client compiled never serves another.
    pub client: String,
    /// SHA-256 of the dialect, the texts, the size, the params, the channels' sizes and what is allowed.
    pub content: [u8; 32],
}

/// Everything that a shader job needs on the device.
#[derive(Debug, Clone)]
pub struct ShaderInput {
    /// What was asked for.
    pub spec: ShaderSpec,
    /// What it became.
    pub program: Arc<Program>,
    /// Names the program.
    pub key: ProgramKey,
    /// Pictures by channel; `None` where the job has none.
    pub channels: Vec<Option<Arc<ChannelPicture>>>,
    /// What the encoder wants.
    pub pack: PackFormat,
    /// Milliseconds that all this took.
    pub load_ms: u64,
    /// True where the program was there already.
    pub compiled_before: bool,
}

/// Why a job could not be loaded.
#[derive(Debug)]
pub enum LoadError {
    /// The job's own fault, or the disk's.
    Failed(Failure),
    /// The compiler was left behind at its bound of memory or of time, and keeps what it has: the process should end before long.
    Stuck(Failure),
}

impl From<Failure> for LoadError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Compiles the text and reads the channels. `asset` answers where a file is.
///
/// # Errors
/// See [`LoadError`].
pub fn load(
    spec: ShaderSpec,
    client: &str,
    adapter: &AdapterReport,
    asset: impl Fn(&AssetRef) -> Result<PathBuf, Failure>,
) -> Result<ShaderInput, LoadError> {
    let start = Instant::now();
    let plan = ChannelPlan::new(&spec);
    let bottom_up = spec.dialect == ShaderDialect::Shadertoy;
    let mut pictures = Vec::with_capacity(plan.files.len());
    let mut texels = 0;
    for file in &plan.files {
        let Some(channel) = file else {
            pictures.push(None);
            continue;
        };
        let name = channel.asset.as_ref().expect("the plan holds channels that are assets");
        let path = asset(name)?;
        let color_space = match channel.color_space {
            // As on the sites: compute.toys decodes sRGB, Shadertoy does not.
            ColorSpace::Auto if bottom_up => ColorSpace::Linear,
            ColorSpace::Auto => ColorSpace::Srgb,
            other => other,
        };
        let wrong = |message: String| failure(FailureReason::ShaderError, format!("channel {}: {message}", name.0));
        texels += channels::texels(&path).map_err(wrong)?;
        if texels > IMAGE_PIXELS_MAX {
            let message =
                format!("The channels have {texels} texels together; at most {IMAGE_PIXELS_MAX} are allowed.");
            return Err(failure(FailureReason::LimitExceeded, message).into());
        }
        let picture = channels::load(&path, color_space, bottom_up).map_err(wrong)?;
        pictures.push(Some(Arc::new(picture)));
    }
    let sizes: Vec<Option<[u32; 2]>> =
        pictures.iter().map(|picture| picture.as_ref().map(|picture| picture.size)).collect();
    let allowed = allowed(&spec, adapter);
    let key = ProgramKey { client: client.to_owned(), content: content_hash(&spec, &sizes, &allowed) };
    let known = cached(&key);
    let compiled_before = known.is_some();
    let program = match known {
        Some(program) => program,
        None => {
            let program = Arc::new(compile_bounded(&spec, &plan, sizes, allowed)?);
            keep(key.clone(), Arc::clone(&program));
            program
        }
    };
    let pack = match (spec.output.format, spec.output.bit_depth) {
        (Format::Exr, _) => PackFormat::Rgba32Float,
        (Format::Png, 16) => PackFormat::Rgb16,
        _ => PackFormat::Rgb8,
    };
    let load_ms = start.elapsed().as_millis() as u64;
    Ok(ShaderInput { spec, program, key, channels: pictures, pack, load_ms, compiled_before })
}

/// Which files the channels are, and which of them each pass sees.
struct ChannelPlan {
    /// Those of the picture's pass first, by their numbers; then what the buffers have beside them.
    files: Vec<Option<ShaderChannel>>,
    /// What the passes of a shadertoy see: the picture's, then each buffer's.
    inputs: Vec<[ToyInput; 4]>,
}

impl ChannelPlan {
    fn new(spec: &ShaderSpec) -> Self {
        let is_file = |channel: &Option<ShaderChannel>| channel.clone().filter(|channel| channel.asset.is_some());
        let mut files: Vec<Option<ShaderChannel>> = spec.channels.iter().map(is_file).collect();
        if spec.dialect != ShaderDialect::Shadertoy {
            return Self { files, inputs: Vec::new() };
        }
        // A pass whose channel is empty sees the file of the same number otherwise: these places stay empty.
        let own_files = files.len().max(4);
        files.resize(own_files, None);
        let mut input = |index: usize, channel: Option<&ShaderChannel>, own: bool| {
            let Some(channel) = channel else {
                // Of a buffer that shows nothing here: a number that no file has.
                let source = if own { ToySource::Default } else { ToySource::Nothing };
                return ToyInput { source, ..ToyInput::default() };
            };
            let source = match channel.buffer {
                Some(buffer) => ToySource::Buffer(buffer.as_str().chars().next().unwrap_or('A')),
                None if own => ToySource::Channel(index),
                None => {
                    let same = |file: &Option<ShaderChannel>| {
                        file.as_ref()
                            .is_some_and(|file| file.asset == channel.asset && file.color_space == channel.color_space)
                    };
                    ToySource::Channel(files.iter().position(same).unwrap_or_else(|| {
                        files.push(Some(channel.clone()));
                        files.len() - 1
                    }))
                }
            };
            let filter = match channel.filter {
                ChannelFilter::Nearest => Filter::Nearest,
                ChannelFilter::Linear => Filter::Bilinear,
                ChannelFilter::Mipmap => Filter::Trilinear,
            };
            ToyInput { source, sampler: SamplerKind { filter, repeat: channel.wrap == ChannelWrap::Repeat } }
        };
        let mut pass = |channels: &[Option<ShaderChannel>], own| {
            std::array::from_fn(|index| input(index, channels.get(index).and_then(Option::as_ref), own))
        };
        let mut inputs = vec![pass(&spec.channels, true)];
        inputs.extend(spec.buffers.values().map(|buffer| pass(&buffer.channels, false)));
        Self { files, inputs }
    }
}

/// What the machine, the server and the job allow, whichever is least.
fn allowed(spec: &ShaderSpec, adapter: &AdapterReport) -> Allowed {
    let compute = &adapter.compute;
    let defaults = Allowed::default();
    let machine = Allowed {
        driver_iterations: if adapter.name.contains("llvmpipe") { SHADER_DRIVER_ITERATIONS_LLVMPIPE } else { u32::MAX },
        memory_bytes: adapter.budget_bytes,
        storage_buffer_bytes: adapter.storage_binding_bytes_max.min(adapter.buffer_bytes_max),
        workgroup_bytes: u64::from(compute.workgroup_bytes),
        workgroup_invocations: compute.workgroup_invocations,
        workgroup_size: compute.workgroup_size,
        fuel_iterations: u32::MAX,
        subgroups: compute.subgroups,
        shader_f16: compute.shader_f16,
        float32_filterable: compute.float32_filterable,
        ..defaults.clone()
    };
    let server = Allowed {
        fuel_iterations: spec.limits.loop_fuel.unwrap_or(defaults.fuel_iterations),
        subgroups: true,
        shader_f16: true,
        float32_filterable: true,
        ..defaults
    };
    server.lowered_to(&machine)
}

/// See [`ProgramKey::content`].
fn content_hash(spec: &ShaderSpec, sizes: &[Option<[u32; 2]>], allowed: &Allowed) -> [u8; 32] {
    // Only what the compiler sees; the rest is set to what every job has.
    let seen = ShaderSpec {
        frames: Default::default(),
        warmup: 0,
        mouse: Vec::new(),
        keys: Vec::new(),
        seed: 0,
        limits: Default::default(),
        output: Default::default(),
        options: Default::default(),
        ..spec.clone()
    };
    let text = serde_json::to_string(&seen).expect("a spec has string keys only and finite numbers");
    Sha256::digest(format!("{text}\n{sizes:?}\n{allowed:?}")).into()
}

/// What was compiled last, by client.
static PROGRAMS: LazyLock<Mutex<Programs>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Programs {
    programs: HashMap<ProgramKey, Arc<Program>>,
    /// The least recently used first.
    order: VecDeque<ProgramKey>,
}

fn cached(key: &ProgramKey) -> Option<Arc<Program>> {
    let mut programs = PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner);
    let found = programs.programs.get(key).cloned()?;
    programs.order.retain(|other| other != key);
    programs.order.push_back(key.clone());
    Some(found)
}

fn keep(key: ProgramKey, program: Arc<Program>) {
    let mut programs = PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner);
    if programs.programs.insert(key.clone(), program).is_none() {
        programs.order.push_back(key);
    }
    if programs.order.len() > SHADER_PROGRAMS_KEPT_MAX
        && let Some(oldest) = programs.order.pop_front()
    {
        programs.programs.remove(&oldest);
    }
}

/// [`compile_spec`], within the bounds of [`bounded`].
fn compile_bounded(
    spec: &ShaderSpec,
    plan: &ChannelPlan,
    channels: Vec<Option<[u32; 2]>>,
    allowed: Allowed,
) -> Result<Program, LoadError> {
    let (spec, inputs) = (spec.clone(), plan.inputs.clone());
    let most = Duration::from_millis(SHADER_COMPILE_MS_MAX);
    bounded(most, move || compile_spec(&spec, &inputs, channels, allowed))
}

/// Compiles on a thread that is left behind where it needs more memory or time than it may.
fn bounded(
    most: Duration,
    work: impl FnOnce() -> Result<Program, ShaderErrors> + Send + 'static,
) -> Result<Program, LoadError> {
    let budget = Budget::new(SHADER_COMPILE_BYTES_MAX);
    let (sender, compiled) = std::sync::mpsc::channel();
    let bound = Arc::clone(&budget);
    let work = move || {
        let result = {
            let _bound = Bounded::enter(bound);
            work()
        };
        // Nobody waits any more only where this thread never comes here.
        let _ = sender.send(result);
    };
    std::thread::Builder::new().name("shader compiler".into()).spawn(work).map_err(|error| {
        failure(FailureReason::Internal, format!("no thread could be started to compile the shader: {error}"))
    })?;
    let start = Instant::now();
    loop {
        match compiled.recv_timeout(Duration::from_millis(SHADER_COMPILE_LOOK_MS)) {
            Ok(result) => return result.map_err(|errors| LoadError::Failed(Failure::from(errors))),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) if budget.is_exceeded() => {
                let message = format!(
                    "Compiling the shader takes more than {} MiB of memory, which is the most that is allowed; look for large arrays in constant expressions.",
                    SHADER_COMPILE_BYTES_MAX >> 20
                );
                return Err(LoadError::Stuck(failure(FailureReason::LimitExceeded, message)));
            }
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) if start.elapsed() > most => {
                let message = format!(
                    "Compiling the shader takes more than {} s, which is the most that is allowed; make it shorter.",
                    most.as_secs_f64()
                );
                return Err(LoadError::Stuck(failure(FailureReason::LimitExceeded, message)));
            }
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                return Err(failure(FailureReason::Internal, "the shader compiler stopped".to_owned()).into());
            }
        }
    }
}

fn compile_spec(
    spec: &ShaderSpec,
    inputs: &[[ToyInput; 4]],
    channels: Vec<Option<[u32; 2]>>,
    allowed: Allowed,
) -> Result<Program, ShaderErrors> {
    let dialect = match spec.dialect {
        ShaderDialect::Kiln => Dialect::Kiln,
        ShaderDialect::ComputeToys => Dialect::ComputeToys,
        ShaderDialect::Shadertoy => Dialect::Shadertoy,
    };
    let toys = dialect == Dialect::ComputeToys;
    let sliders = if toys { spec.slider_values() } else { Vec::new() };
    let dispatches = spec.dispatches.iter().map(|(name, asked)| {
        (name.clone(), DispatchRequest { workgroups: asked.workgroups, count: asked.count, once: asked.once })
    });
    let buffers = spec.buffers.iter().zip(inputs.iter().skip(1)).map(|((name, buffer), inputs)| ToyBuffer {
        name: name.as_str().chars().next().unwrap_or('A'),
        source: buffer.source.as_bytes(),
        inputs: *inputs,
    });
    let toy = Toy {
        common: spec.common.as_ref().map(String::as_bytes),
        buffers: buffers.collect(),
        inputs: inputs.first().copied().unwrap_or_default(),
    };
    compile(&ShaderSource {
        float32: spec.float32,
        sliders,
        params: if toys { serde_json::Map::new() } else { spec.params.clone() },
        storage_bytes: spec.storage.clone(),
        dispatches: dispatches.collect(),
        channels,
        toy,
        allowed,
        ..ShaderSource::new(dialect, spec.source.as_bytes(), spec.size)
    })
}

/// A failure of the loading.
fn failure(reason: FailureReason, message: String) -> Failure {
    let detail = FailureDetail { stage: "load".into(), message: message.clone(), ..FailureDetail::default() };
    Failure { reason, message, details: vec![detail] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compiler_that_does_not_end_is_left_behind() {
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let endless = move || {
            // Until the test is over.
            let _ = wait.recv();
            Err(ShaderErrors::from(crate::shader_job::ShaderDiagnostic::new(crate::shader_job::Stage::Parse, "")))
        };
        match bounded(Duration::from_millis(50), endless) {
            Err(LoadError::Stuck(failure)) => assert_eq!(failure.reason, FailureReason::LimitExceeded),
            other => panic!("{other:?}"),
        }
        drop(release);
    }
}
