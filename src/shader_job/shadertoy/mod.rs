//! The `shadertoy` dialect: GLSL ES with `mainImage`, through naga's GLSL front end, as compute shaders.
//!
//! Every pass is a unit of its own: the buffers A to D in their order, then the picture. As in OpenGL, row 0 of a buffer or channel is
//! its lowest; only the picture is written upside down, so that its row 0 is the highest.
//!
//! Not supported, and refused with its line: derivatives, cube maps, volumes, sound, `##` in macros.

mod condition;
mod preprocess;
mod rewrite;

use super::error::{ShaderDiagnostic, ShaderErrors, Stage};
use super::front;
use super::lexer::Language;
use super::program::*;
use super::reflect;
use super::source_map::{Edit, LineOrigin, MappedText};
use super::uniforms::{FrameValue, UniformBlock};
use super::{ShaderSource, token_caps};
use crate::limits::*;
use preprocess::Placed;
use std::fmt::Write as _;

/// Invocations of a workgroup along x and y.
const WORKGROUP_SIDE: u32 = 8;
/// Channels of a pass.
const CHANNELS: usize = 4;

/// What a shadertoy has beside the text of its picture.
#[derive(Debug, Clone, Default)]
pub struct Toy<'s> {
    /// Text in front of every pass.
    pub common: Option<&'s [u8]>,
    /// The buffers, in the order in which they are drawn.
    pub buffers: Vec<ToyBuffer<'s>>,
    /// What the picture's pass sees; by default the job's channels.
    pub inputs: [ToyInput; CHANNELS],
}

/// A buffer.
#[derive(Debug, Clone)]
pub struct ToyBuffer<'s> {
    /// `A` to `D`.
    pub name: char,
    /// Its text.
    pub source: &'s [u8],
    /// What it sees.
    pub inputs: [ToyInput; CHANNELS],
}

/// What an `iChannel` shows, and how it is sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToyInput {
    /// What it shows.
    pub source: ToySource,
    /// How it is sampled.
    pub sampler: SamplerKind,
}

/// What an `iChannel` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToySource {
    /// The job's channel of the same number, or nothing if it has none.
    Default,
    /// A channel of the job.
    Channel(usize),
    /// A buffer, by its name.
    Buffer(char),
    /// Nothing: one texel of zeros.
    Nothing,
}

impl Default for ToyInput {
    fn default() -> Self {
        Self { source: ToySource::Default, sampler: SamplerKind { filter: Filter::Trilinear, repeat: true } }
    }
}

/// Compiles a text of this dialect.
pub fn compile(request: &ShaderSource<'_>, source: &str) -> Result<Program, ShaderErrors> {
    let toy = &request.toy;
    let common = toy.common.map(super::text).transpose()?.unwrap_or_default();
    let format = if request.allowed.float32_filterable { TexelFormat::Rgba32Float } else { TexelFormat::Rgba16Float };
    let mut names = String::new();
    for buffer in &toy.buffers {
        if !('A'..='D').contains(&buffer.name) || names.contains(buffer.name) {
            let what = format!("A buffer {:?}; there may be one of each of A, B, C and D.", buffer.name);
            return Err(ShaderDiagnostic::new(Stage::Validate, what).into());
        }
        names.push(buffer.name);
    }
    let mut program = Program {
        size: request.size,
        units: Vec::new(),
        dispatches: Vec::new(),
        storage: Vec::new(),
        output: Output { format: TexelFormat::Rgba16Float, color: OutputColor::Srgb },
        passes: None,
        previous: false,
        buffers: toy.buffers.iter().map(|buffer| Buffer { name: buffer.name, format }).collect(),
        requires: Requires {
            float32_filterable: !toy.buffers.is_empty() && format == TexelFormat::Rgba32Float,
            ..Requires::default()
        },
        memory_bytes: 0,
        iterations_max: 0,
        warnings: Vec::new(),
    };
    for (index, buffer) in toy.buffers.iter().enumerate() {
        let pass = Pass {
            request,
            program: &program,
            name: format!("buffer {}", buffer.name),
            buffer: Some(index),
            inputs: &buffer.inputs,
        };
        let unit = pass.compile(common, super::text(buffer.source)?)?;
        program.units.push(unit);
    }
    let pass = Pass { request, program: &program, name: "image".to_owned(), buffer: None, inputs: &toy.inputs };
    let unit = pass.compile(common, source)?;
    program.units.push(unit);
    let workgroup_size = [WORKGROUP_SIDE, WORKGROUP_SIDE, 1];
    program.dispatches = (0..program.units.len())
        .map(|unit| Dispatch {
            unit,
            entry_point: "main".to_owned(),
            workgroup_size,
            workgroups: reflect::covering(request.size, workgroup_size),
            count: 1,
            once: false,
        })
        .collect();
    reflect::check_dispatches(&program.dispatches, &request.allowed, &|_, what| {
        ShaderDiagnostic::new(Stage::Limit, what)
    })?;
    reflect::finish(program, &request.allowed)
}

/// One pass on its way to a unit.
struct Pass<'p> {
    request: &'p ShaderSource<'p>,
    program: &'p Program,
    name: String,
    /// Index of the buffer that it draws; the picture if `None`.
    buffer: Option<usize>,
    inputs: &'p [ToyInput; CHANNELS],
}

impl Pass<'_> {
    fn compile(&self, common: &str, source: &str) -> Result<Unit, ShaderErrors> {
        let (user, common_lines) = match common {
            "" => (source.to_owned(), 0),
            common => (format!("{common}\n{source}"), common.matches('\n').count() as u32 + 1),
        };
        if user.len() > SHADER_SOURCE_BYTES_MAX {
            let what = format!(
                "The pass {:?} has {} bytes with the common text; at most {SHADER_SOURCE_BYTES_MAX} are allowed.",
                self.name,
                user.len()
            );
            return Err(ShaderDiagnostic::new(Stage::Limit, what).into());
        }
        self.unit(&user).map_err(|errors| self.relocated(errors, common_lines))
    }

    /// Problems of the common text and of buffers say so; lines count from the start of their own text.
    fn relocated(&self, errors: ShaderErrors, common_lines: u32) -> ShaderErrors {
        let mut problems = errors.problems().to_vec();
        for problem in &mut problems {
            match problem.line {
                Some(line) if line <= common_lines => problem.include = Some("common".to_owned()),
                line => {
                    problem.line = line.map(|line| line - common_lines);
                    problem.include = self.buffer.map(|_| self.name.clone());
                }
            }
        }
        ShaderErrors::new(problems)
    }

    fn unit(&self, user: &str) -> Result<Unit, ShaderErrors> {
        let allowed = &self.request.allowed;
        let verbatim = MappedText::verbatim(user);
        let tokens = preprocess::preprocess(&verbatim)?;
        let rewritten = rewrite::rewrite(tokens).map_err(|problems| {
            let problems = problems.into_iter().map(|(stage, what, offset)| verbatim.problem(stage, what, offset));
            ShaderErrors::new(problems.collect())
        })?;
        let mapped = self.assemble(user, rewritten)?;
        token_caps::check(&mapped, Language::Glsl)?;
        let module = parse(&mapped)?;
        let valid = reflect::check(module, &mapped, allowed)?;
        let bindings = self.bindings(&valid)?;
        let unit = reflect::finish_unit(&self.name, valid, bindings, &mapped, allowed)?;
        Ok(unit)
    }

    /// The prelude, the pass, `kiln_init()` and `main()`.
    fn assemble(&self, user: &str, rewritten: rewrite::Rewritten) -> Result<MappedText, ShaderErrors> {
        let mut mapped = MappedText::new(user);
        mapped.push_own(&self.prelude());
        write_tokens(&mut mapped, rewritten.tokens)?;
        mapped.push_own("void kiln_init() {");
        write_tokens(&mut mapped, rewritten.init)?;
        mapped.push_own("}");
        let row =
            if self.buffer.is_some() { "float(kiln_pixel.y)" } else { "iResolution.y - 1.0 - float(kiln_pixel.y)" };
        mapped.push_own(&format!(
            "void main() {{
                ivec2 kiln_pixel = ivec2(gl_GlobalInvocationID.xy);
                if (kiln_pixel.x >= int(iResolution.x) || kiln_pixel.y >= int(iResolution.y)) {{ return; }}
                kiln_frag_coord = vec4(float(kiln_pixel.x) + 0.5, {row} + 0.5, 0.0, 1.0);
                iChannelTime[0] = iTime; iChannelTime[1] = iTime; iChannelTime[2] = iTime; iChannelTime[3] = iTime;
                kiln_init();
                vec4 kiln_color = vec4(0.0, 0.0, 0.0, 1.0);
                mainImage(kiln_color, kiln_frag_coord.xy);
                imageStore(kiln_output, kiln_pixel, kiln_color);
            }}"
        ));
        Ok(mapped)
    }

    fn prelude(&self) -> String {
        let mut text = format!(
            "#version 450 core
            layout(local_size_x = {WORKGROUP_SIDE}, local_size_y = {WORKGROUP_SIDE}, local_size_z = 1) in;
            layout(std140, set = 0, binding = 0) uniform KilnFrame {{
                vec3 iResolution; float iTime; float iTimeDelta; int iFrame; float iFrameRate; float iSampleRate;
                vec4 iMouse; vec4 iDate; vec3 iChannelResolution[4];
            }};
            layout(set = 0, binding = 1, {}) uniform writeonly image2D kiln_output;
            vec4 kiln_frag_coord;
            float iChannelTime[4];\n",
            match self.output_format() {
                TexelFormat::Rgba32Float => "rgba32f",
                _ => "rgba16f",
            }
        );
        for channel in 0..CHANNELS {
            writeln!(
                text,
                "layout(set = 0, binding = {}) uniform texture2D kiln_channel{channel};\n\
                 layout(set = 0, binding = {}) uniform sampler kiln_sampler{channel};",
                2 + channel,
                2 + CHANNELS + channel
            )
            .expect("a string takes any text");
        }
        text
    }

    fn output_format(&self) -> TexelFormat {
        self.buffer.map_or(self.program.output.format, |index| self.program.buffers[index].format)
    }

    /// What a channel shows, and its size in texels.
    fn channel(&self, index: usize) -> Result<(TextureSource, [u32; 2]), ShaderErrors> {
        let size_of = |channel: usize| self.request.channels.get(channel).copied().flatten();
        let missing = |what: String| Err(ShaderErrors::from(ShaderDiagnostic::new(Stage::Validate, what)));
        match self.inputs[index].source {
            ToySource::Default => Ok(match size_of(index) {
                Some(size) => (TextureSource::Channel(index), size),
                None => (TextureSource::Blank, [0, 0]),
            }),
            ToySource::Nothing => Ok((TextureSource::Blank, [0, 0])),
            ToySource::Channel(channel) => match size_of(channel) {
                Some(size) => Ok((TextureSource::Channel(channel), size)),
                None => missing(format!(
                    "iChannel{index} of {:?} shows channel {channel}, which the job does not give.",
                    self.name
                )),
            },
            ToySource::Buffer(name) => match self.program.buffers.iter().position(|buffer| buffer.name == name) {
                Some(buffer) => Ok((TextureSource::Buffer(buffer), self.request.size)),
                None => missing(format!(
                    "iChannel{index} of {:?} shows buffer {name}, which the job does not give.",
                    self.name
                )),
            },
        }
    }

    fn bindings(&self, valid: &reflect::Valid) -> Result<Vec<Binding>, ShaderErrors> {
        let mut bindings = Vec::new();
        for (handle, variable) in valid.module.global_variables.iter() {
            let Some(place) = variable.binding.filter(|_| reflect::is_used(valid, handle, &[0])) else { continue };
            let number = place.binding as usize;
            let kind = match number {
                0 => BindingKind::Uniform(self.frame(valid, variable.ty)?),
                1 => BindingKind::StorageTexture {
                    target: self.buffer.map_or(StorageTarget::Output, StorageTarget::Buffer),
                    format: self.output_format(),
                    array: false,
                },
                2..6 => {
                    let (source, _) = self.channel(number - 2)?;
                    BindingKind::Texture { source, array: false, filterable: true }
                }
                6..10 => BindingKind::Sampler(self.inputs[number - 6].sampler),
                _ => {
                    let name = variable.name.as_deref().unwrap_or_default();
                    let what = format!("{name:?} cannot be bound; a shadertoy declares no uniforms of its own.");
                    return Err(ShaderDiagnostic::new(Stage::Validate, what).into());
                }
            };
            let name = variable.name.clone().unwrap_or_else(|| "frame".to_owned());
            // A nearest sampler's layout is non-filtering, which every texture takes.
            bindings.push(Binding { group: place.group, binding: place.binding, name, kind });
        }
        Ok(bindings)
    }

    /// The uniform block, by the offsets that naga gave its members.
    fn frame(&self, valid: &reflect::Valid, ty: naga::Handle<naga::Type>) -> Result<UniformBlock, ShaderErrors> {
        let naga::TypeInner::Struct { members, span } = &valid.module.types[ty].inner else {
            return Err(ShaderDiagnostic::new(Stage::Validate, "The frame's uniform block is no struct.").into());
        };
        let size = self.request.size;
        let mut block = UniformBlock::zeros(*span, size[1]);
        let floats = |size: [u32; 2]| [(size[0] as f32).to_bits(), (size[1] as f32).to_bits(), 1.0_f32.to_bits()];
        for member in members {
            let value = match member.name.as_deref().unwrap_or_default() {
                "iTime" => FrameValue::Elapsed,
                "iTimeDelta" => FrameValue::Delta,
                "iFrame" => FrameValue::Index,
                "iFrameRate" => FrameValue::Rate,
                "iMouse" => FrameValue::ShadertoyMouse,
                "iDate" => FrameValue::Date,
                "iResolution" => {
                    block.put(member.offset, &floats(size));
                    continue;
                }
                "iSampleRate" => {
                    block.put(member.offset, &[44_100.0_f32.to_bits()]);
                    continue;
                }
                "iChannelResolution" => {
                    for channel in 0..CHANNELS {
                        let (_, size) = self.channel(channel)?;
                        block.put(member.offset + 16 * channel as u32, &floats(size));
                    }
                    continue;
                }
                _ => continue,
            };
            block.values.push((member.offset, value));
        }
        Ok(block)
    }
}

/// Parses GLSL; naga may report several errors.
fn parse(mapped: &MappedText) -> Result<naga::Module, ShaderErrors> {
    let options = naga::front::glsl::Options::from(naga::ShaderStage::Compute);
    naga::front::glsl::Frontend::default().parse(&options, &mapped.text).map_err(|errors| {
        let problems: Vec<ShaderDiagnostic> = errors
            .errors
            .iter()
            .take(SHADER_PROBLEMS_MAX)
            .map(|error| front::at_first_place(mapped, Stage::Parse, error.kind.to_string(), &[error.meta]))
            .collect();
        if problems.is_empty() {
            return ShaderDiagnostic::new(Stage::Parse, "The shader cannot be parsed.").into();
        }
        ShaderErrors::new(problems)
    })
}

/// Writes tokens, a line for each line that they come from, with the place of each.
fn write_tokens(mapped: &mut MappedText, tokens: Vec<Placed>) -> Result<(), ShaderErrors> {
    let user: std::sync::Arc<str> = mapped.user_text().into();
    let starts: Vec<usize> = std::iter::once(0).chain(user.match_indices('\n').map(|(at, _)| at + 1)).collect();
    let line_of = |offset: usize| starts.partition_point(|start| *start <= offset);
    let mut line = String::new();
    let mut origin = LineOrigin::default();
    for token in tokens {
        let number = token.offset.map_or(origin.line, |offset| line_of(offset) as u32);
        if number != origin.line {
            mapped.push(&line, std::mem::take(&mut origin));
            line.clear();
            origin.line = number;
        }
        if token.spaced && !line.is_empty() {
            line.push(' ');
        }
        if let Some(offset) = token.offset {
            let in_start = (offset - starts[number as usize - 1]) as u32;
            let (out_start, out_bytes) = (line.len() as u32, token.text.len() as u32);
            origin.edits.push(Edit { out_start, out_bytes, in_start, in_bytes: 1 });
        }
        line.push_str(&token.text);
        if mapped.text.len() + line.len() > SHADER_EXPANDED_BYTES_MAX {
            let what = format!("The shader is longer than {SHADER_EXPANDED_BYTES_MAX} bytes after macros.");
            return Err(ShaderDiagnostic::new(Stage::Limit, what).into());
        }
    }
    mapped.push(&line, origin);
    Ok(())
}
