//! The `kiln` dialect: plain WGSL with one or more entry points, run in order. Bindings are found by name and type, not by number.
//!
//! | name | type | what |
//! | --- | --- | --- |
//! | `output` | `texture_storage_2d<rgba16float, rgba32float or rgba8unorm, write>` | the picture |
//! | `frame` | uniform struct of `index: u32, time: f32, delta: f32, resolution: vec2u, seed: u32`, any of them | the clock |
//! | `params` | uniform struct of scalars and vectors | set by the job, by name |
//! | `channel0` … | `texture_2d<f32>` | assets of the job |
//! | `previous` | `texture_2d<f32>` | the last frame |
//! | `nearest` `bilinear` `trilinear`, each also with `_repeat` | `sampler` | |
//! | any | storage buffer | zeros at first, kept from frame to frame |
//!
//! Everything else is refused with its line.

use super::error::{ShaderDiagnostic, ShaderErrors, Stage};
use super::lexer::Language;
use super::program::*;
use super::reflect::{self, StorageSize, Valid};
use super::source_map::MappedText;
use super::uniforms::{FrameValue, ParamType, UniformBlock};
use super::{ShaderSource, front, token_caps};
use crate::limits::*;
use naga::{AddressSpace, GlobalVariable, ImageClass, ImageDimension, ScalarKind, StorageAccess, TypeInner};

/// Compiles a text of this dialect.
pub fn compile(request: &ShaderSource<'_>, source: &str) -> Result<Program, ShaderErrors> {
    let allowed = &request.allowed;
    let mut requires = Requires::default();
    let mapped = front::take_enables(MappedText::verbatim(source), &mut requires, allowed)?;
    token_caps::check(&mapped, Language::Wgsl)?;
    let module = front::parse(&mapped)?;
    let valid = reflect::check(module, &mapped, allowed)?;
    let dispatches = dispatches(request, &mapped, &valid)?;
    let mut program = Program {
        size: request.size,
        units: Vec::new(),
        dispatches,
        storage: Vec::new(),
        // Replaced by the binding `output`, without which a shader is refused.
        output: Output { format: TexelFormat::Rgba16Float, color: OutputColor::Linear },
        passes: None,
        previous: false,
        buffers: Vec::new(),
        requires,
        memory_bytes: 0,
        iterations_max: 0,
        warnings: Vec::new(),
    };
    let bindings = Reflection { request, mapped: &mapped, valid: &valid, program: &mut program }.bindings()?;
    program.units.push(reflect::finish_unit("kiln", valid, bindings, &mapped, allowed)?);
    reflect::finish(program, allowed)
}

/// All entry points, in the order of the text.
fn dispatches(request: &ShaderSource<'_>, mapped: &MappedText, valid: &Valid) -> Result<Vec<Dispatch>, ShaderErrors> {
    let entries = &valid.module.entry_points;
    if entries.is_empty() {
        let what = "There is no entry point; expected `@compute @workgroup_size(16, 16) fn main(…)`.";
        return Err(ShaderDiagnostic::new(Stage::Validate, what).into());
    }
    if let Some(name) = request.dispatches.keys().find(|name| entries.iter().all(|entry| entry.name != **name)) {
        let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        let what = format!("The job dispatches {name:?}, which is no entry point; there are {}.", names.join(", "));
        return Err(ShaderDiagnostic::new(Stage::Validate, what).into());
    }
    let dispatches: Vec<Dispatch> = entries
        .iter()
        .map(|entry| {
            let asked = request.dispatches.get(&entry.name).copied().unwrap_or_default();
            let covering = || reflect::covering(request.size, entry.workgroup_size);
            Dispatch {
                unit: 0,
                entry_point: entry.name.clone(),
                workgroup_size: entry.workgroup_size,
                workgroups: asked.workgroups.unwrap_or_else(covering),
                count: asked.count.unwrap_or(1),
                once: asked.once,
            }
        })
        .collect();
    reflect::check_dispatches(&dispatches, &request.allowed, &|index, what| {
        let body = entries.get(index).map(|entry| &entry.function.body);
        let span = body.and_then(|body| body.span_iter().map(|(_, span)| *span).find(naga::Span::is_defined));
        mapped.problem(Stage::Limit, what, span.and_then(naga::Span::to_range).map(|range| range.start))
    })?;
    Ok(dispatches)
}

/// What a variable turned out to be, or why not: the stage and the sentence.
type Found = Result<BindingKind, (Stage, String)>;

struct Reflection<'r> {
    request: &'r ShaderSource<'r>,
    mapped: &'r MappedText,
    valid: &'r Valid,
    program: &'r mut Program,
}

impl Reflection<'_> {
    fn bindings(mut self) -> Result<Vec<Binding>, ShaderErrors> {
        let valid = self.valid;
        let variables = &valid.module.global_variables;
        let entries: Vec<usize> = (0..valid.module.entry_points.len()).collect();
        let mut bindings: Vec<Binding> = Vec::new();
        let mut problems = Vec::new();
        let mut names = Vec::new();
        let mut places = std::collections::HashMap::new();
        let (mut output, mut textures) = (false, 0);
        // Before `previous`, wherever it stands: it has the same format.
        if let Some((_, variable)) = variables.iter().find(|(_, variable)| variable.name.as_deref() == Some("output"))
            && let TypeInner::Image { class: ImageClass::Storage { format, .. }, .. } =
                valid.module.types[variable.ty].inner
            && let Some(format) = TexelFormat::of(format)
        {
            self.program.output.format = format;
        }
        for (handle, variable) in variables.iter() {
            let Some(place) = variable.binding else { continue };
            let name = variable.name.clone().unwrap_or_default();
            let offset = variables.get_span(handle).to_range().map(|range| range.start);
            let mut refuse = |stage, what: String| problems.push(self.mapped.problem(stage, what, offset));
            if let Some(other) = places.insert((place.group, place.binding), name.clone()) {
                let what = format!(
                    "{name:?} and {other:?} are both bound to group {} and number {}; give each a number of its own.",
                    place.group, place.binding
                );
                refuse(Stage::Validate, what);
                continue;
            }
            if place.group >= SHADER_BIND_GROUPS_MAX || place.binding >= SHADER_BINDINGS_PER_GROUP_MAX - 1 {
                let what = format!(
                    "{name:?} is bound to group {} and number {}; groups below {SHADER_BIND_GROUPS_MAX} and numbers below {} are allowed.",
                    place.group,
                    place.binding,
                    SHADER_BINDINGS_PER_GROUP_MAX - 1
                );
                refuse(Stage::Limit, what);
                continue;
            }
            let kind = match self.kind(&name, variable) {
                Ok(kind) => kind,
                Err((stage, what)) => {
                    refuse(stage, what);
                    continue;
                }
            };
            output |= matches!(kind, BindingKind::StorageTexture { .. });
            textures += usize::from(matches!(kind, BindingKind::Texture { .. }));
            if textures > SHADER_TEXTURES_MAX {
                refuse(Stage::Limit, format!("More than {SHADER_TEXTURES_MAX} textures."));
            }
            names.push(name.clone());
            if reflect::is_used(valid, handle, &entries) {
                self.program.previous |= name == "previous";
                bindings.push(Binding { group: place.group, binding: place.binding, name, kind });
            }
        }
        if !output && problems.is_empty() {
            let what = "There is no `output`; declare `@group(0) @binding(0) var output: texture_storage_2d<rgba16float, write>;`.";
            problems.push(ShaderDiagnostic::new(Stage::Validate, what));
        }
        let missing = |name: &str| !names.iter().any(|known| known == name);
        if !self.request.params.is_empty() && missing("params") {
            let what = "The job sets params, but the shader has no uniform struct `params`.";
            problems.push(ShaderDiagnostic::new(Stage::Validate, what));
        }
        for name in self.request.storage_bytes.keys().filter(|name| missing(name)) {
            let what = format!("The job sets the size of the storage buffer {name:?}, which the shader does not have.");
            problems.push(ShaderDiagnostic::new(Stage::Validate, what));
        }
        if problems.is_empty() { Ok(bindings) } else { Err(ShaderErrors::new(problems)) }
    }

    /// What a variable is, by its address space, type and name.
    fn kind(&mut self, name: &str, variable: &GlobalVariable) -> Found {
        let inner = &self.valid.module.types[variable.ty].inner;
        let refused = |what: String| Err((Stage::Validate, what));
        match (variable.space, inner) {
            (AddressSpace::Storage { access }, _) => self.storage(name, variable, access),
            (AddressSpace::Uniform, TypeInner::Struct { members, span }) => match name {
                "frame" => self.frame(members, *span),
                "params" => self.params(members, *span),
                _ => refused(format!("The uniform {name:?} is unknown; there are `frame` and `params`.")),
            },
            (AddressSpace::Uniform, _) => {
                refused(format!("The uniform {name:?} is no struct; there are the structs `frame` and `params`."))
            }
            (_, TypeInner::Image { dim, arrayed, class }) => {
                let flat = *dim == ImageDimension::D2 && !arrayed;
                match *class {
                    ImageClass::Storage { format, access } => match (TexelFormat::of(format), name) {
                        (Some(format), "output") if flat && access == StorageAccess::STORE => {
                            self.program.output.format = format;
                            Ok(BindingKind::StorageTexture { target: StorageTarget::Output, format, array: false })
                        }
                        _ => refused(format!(
                            "The storage texture {name:?} is unknown; there is `output`, a \
                             texture_storage_2d<rgba16float, write> (or rgba32float, or rgba8unorm)."
                        )),
                    },
                    ImageClass::Sampled { kind: ScalarKind::Float, multi: false } if flat => self.texture(name),
                    _ => refused(format!("The texture {name:?} has an unknown type; textures are texture_2d<f32>.")),
                }
            }
            (_, TypeInner::Sampler { comparison: false }) => match SamplerKind::named(name) {
                Some(kind) => Ok(BindingKind::Sampler(kind)),
                None => refused(format!(
                    "The sampler {name:?} is unknown; there are nearest, bilinear and trilinear, and the same with `_repeat`."
                )),
            },
            _ => refused(format!("{name:?} has a type that cannot be bound.")),
        }
    }

    fn texture(&self, name: &str) -> Found {
        let channel = name.strip_prefix("channel").filter(|digits| digits.len() <= 2);
        let channel =
            channel.and_then(|digits| digits.parse::<usize>().ok()).filter(|index| *index < SHADER_TEXTURES_MAX);
        let texture = |source, filterable| BindingKind::Texture { source, array: false, filterable };
        if name == "previous" {
            let filterable =
                self.program.output.format != TexelFormat::Rgba32Float || self.request.allowed.float32_filterable;
            return Ok(texture(TextureSource::Previous, filterable));
        }
        let Some(index) = channel else {
            let what = format!("The texture {name:?} is unknown; there are `channel0`, `channel1`, … and `previous`.");
            return Err((Stage::Validate, what));
        };
        if self.request.channels.get(index).is_none_or(Option::is_none) {
            return Err((Stage::Validate, format!("The shader samples {name:?}, but the job gives no such channel.")));
        }
        Ok(texture(TextureSource::Channel(index), true))
    }

    fn storage(&mut self, name: &str, variable: &GlobalVariable, access: StorageAccess) -> Found {
        let asked = self.request.storage_bytes.get(name).copied();
        let pixels = u64::from(self.request.size[0]) * u64::from(self.request.size[1]);
        let bytes = match (reflect::storage_size(&self.valid.module, variable.ty), asked) {
            (StorageSize::Fixed(bytes), None) => bytes,
            (StorageSize::Fixed(bytes), Some(_)) => {
                let what = format!("The job sets the size of {name:?}, whose type has {bytes} bytes.");
                return Err((Stage::Validate, what));
            }
            (StorageSize::Open { head_bytes, stride_bytes }, None) => head_bytes + stride_bytes * pixels,
            (StorageSize::Open { head_bytes, stride_bytes }, Some(bytes)) => bytes.max(head_bytes + stride_bytes),
        };
        let bytes = bytes.checked_next_multiple_of(4).unwrap_or(u64::MAX).max(4);
        if bytes > self.request.allowed.storage_buffer_bytes {
            let what = format!(
                "The storage buffer {name:?} needs {bytes} bytes; {} are allowed.",
                self.request.allowed.storage_buffer_bytes
            );
            return Err((Stage::Limit, what));
        }
        if self.program.storage.len() >= SHADER_STORAGE_BUFFERS_MAX {
            return Err((Stage::Limit, format!("More than {SHADER_STORAGE_BUFFERS_MAX} storage buffers.")));
        }
        self.program.storage.push(StorageBuffer { name: name.to_owned(), bytes });
        let index = self.program.storage.len() - 1;
        Ok(BindingKind::Storage { index, read_only: !access.contains(StorageAccess::STORE) })
    }

    /// The struct `frame`: any of its members, each of its own type.
    fn frame(&self, members: &[naga::StructMember], span: u32) -> Found {
        let mut block = UniformBlock::zeros(span, self.request.size[1]);
        for member in members {
            let name = member.name.as_deref().unwrap_or_default();
            let (value, expected) = match name {
                "index" => (Some(FrameValue::Index), "u32"),
                "time" => (Some(FrameValue::Elapsed), "f32"),
                "delta" => (Some(FrameValue::Delta), "f32"),
                "seed" => (Some(FrameValue::Seed), "u32"),
                "resolution" => (None, "vec2<u32>"),
                _ => {
                    let what = format!(
                        "`frame` has no member {name:?}; there are index: u32, time: f32, delta: f32, resolution: vec2u and seed: u32."
                    );
                    return Err((Stage::Validate, what));
                }
            };
            let found = ParamType::of(&self.valid.module.types[member.ty].inner).map(ParamType::name);
            if found.as_deref() != Some(expected) {
                return Err((Stage::Validate, format!("The member {name:?} of `frame` must be a {expected}.")));
            }
            match value {
                Some(value) => block.values.push((member.offset, value)),
                None => block.put(member.offset, &self.request.size),
            }
        }
        Ok(BindingKind::Uniform(block))
    }

    /// The struct `params`, with the job's values; what the job does not set is 0.
    fn params(&self, members: &[naga::StructMember], span: u32) -> Found {
        if u64::from(span) > SHADER_UNIFORM_BYTES_MAX {
            let what = format!("`params` has {span} bytes; at most {SHADER_UNIFORM_BYTES_MAX} are allowed.");
            return Err((Stage::Limit, what));
        }
        let mut block = UniformBlock::zeros(span, self.request.size[1]);
        let mut known = Vec::new();
        for member in members {
            let name = member.name.as_deref().unwrap_or_default();
            known.push(name);
            let Some(ty) = ParamType::of(&self.valid.module.types[member.ty].inner) else {
                let what = format!(
                    "The member {name:?} of `params` has an unknown type; there are f32, i32, u32 and vectors of them."
                );
                return Err((Stage::Validate, what));
            };
            if let Some(value) = self.request.params.get(name) {
                let words = ty.words(value);
                let words = words.map_err(|what| (Stage::Validate, format!("The job sets params.{name}: {what}.")))?;
                block.put(member.offset, &words);
            }
        }
        if let Some(name) = self.request.params.keys().find(|name| !known.contains(&name.as_str())) {
            let what = format!("The job sets params.{name}, but the shader has only {}.", known.join(", "));
            return Err((Stage::Validate, what));
        }
        Ok(BindingKind::Uniform(block))
    }
}
