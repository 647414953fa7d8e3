//! The `compute_toys` dialect: shaders of compute.toys, unmodified, with the behaviour of the site's own engine.
//!
//! Owns the prelude, the fixed bindings of group 0, and which entry points are dispatched how often.

use super::error::{ShaderDiagnostic, ShaderErrors, Stage};
use super::lexer::Language;
use super::preprocess::{DispatchRule, Expanded, Settings, built_in, preprocess};
use super::program::*;
use super::reflect::{self, StorageSize, Valid};
use super::source_map::{MappedText, Place};
use super::uniforms::{FrameValue, UniformBlock};
use super::{ShaderSource, front, token_caps};
use crate::limits::*;
use std::fmt::Write as _;

/// The samplers, from binding 12.
const SAMPLERS: [&str; 6] =
    ["nearest", "bilinear", "trilinear", "nearest_repeat", "bilinear_repeat", "trilinear_repeat"];

/// Compiles a text of this dialect.
pub fn compile(request: &ShaderSource<'_>, source: &str) -> Result<Program, ShaderErrors> {
    let allowed = &request.allowed;
    let prelude = prelude(request)?;
    let settings = Settings {
        size: request.size,
        expanded_bytes_max: SHADER_EXPANDED_BYTES_MAX,
        includes: &|path| built_in(path),
    };
    let expanded = preprocess(source, &settings)?;
    let mut requires = Requires::default();
    let mapped = assemble(&expanded, &prelude, &mut requires, allowed)?;
    token_caps::check(&mapped, Language::Wgsl)?;
    let module = front::parse(&mapped)?;
    let valid = reflect::check(module, &mapped, allowed)?;
    let (dispatches, warnings) = dispatches(request, &expanded, &mapped, &valid)?;
    let entries: Vec<usize> = dispatches.iter().map(|(_, entry)| *entry).collect();
    let dispatches: Vec<Dispatch> = dispatches.into_iter().map(|(dispatch, _)| dispatch).collect();
    let mut program = Program {
        size: request.size,
        units: Vec::new(),
        dispatches,
        storage: Vec::new(),
        output: Output { format: TexelFormat::Rgba16Float, color: OutputColor::Linear },
        passes: None,
        previous: false,
        buffers: Vec::new(),
        requires,
        memory_bytes: 0,
        iterations_max: 0,
        warnings,
    };
    let bindings = bindings(request, &mapped, &valid, &entries, &mut program)?;
    program.units.push(reflect::finish_unit("compute_toys", valid, bindings, &mapped, allowed)?);
    reflect::finish(program, allowed)
}

/// The text of the prelude.
fn prelude(request: &ShaderSource<'_>) -> Result<String, ShaderErrors> {
    let mut text = String::new();
    let mut line = |arguments: std::fmt::Arguments<'_>| {
        text.write_fmt(arguments).expect("a string takes any text");
        text.push('\n');
    };
    for (alias, scalar) in [("int", "i32"), ("uint", "u32"), ("float", "f32")] {
        line(format_args!("alias {alias} = {scalar};"));
    }
    for (alias, scalar) in [("int", "i32"), ("uint", "u32"), ("float", "f32"), ("bool", "bool")] {
        for n in 2..=4 {
            line(format_args!("alias {alias}{n} = vec{n}<{scalar}>;"));
        }
    }
    for columns in 2..=4 {
        for rows in 2..=4 {
            line(format_args!("alias float{columns}x{rows} = mat{columns}x{rows}<f32>;"));
        }
    }
    if request.sliders.len() > SHADER_SLIDERS_MAX {
        let what = format!("{} sliders; at most {SHADER_SLIDERS_MAX} are allowed.", request.sliders.len());
        return Err(ShaderDiagnostic::new(Stage::Limit, what).into());
    }
    let mut members = String::new();
    for (name, _) in &request.sliders {
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !plain || name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || name.starts_with("__") {
            let what = format!("The slider name {:?} is no name in WGSL.", super::error::quoted(name));
            return Err(ShaderDiagnostic::new(Stage::Preprocess, what).into());
        }
        write!(members, " {name}: float,").expect("a string takes any text");
    }
    if members.is_empty() {
        members.push_str(" _dummy: float,");
    }
    line(format_args!("struct Time {{ elapsed: float, delta: float, frame: uint }}"));
    line(format_args!("struct Mouse {{ pos: int2, zoom: float, click: int, start: int2, delta: int2 }}"));
    line(format_args!("struct DispatchInfo {{ id: uint }}"));
    line(format_args!("struct Custom {{{members} }}"));
    let format = if request.float32 { "rgba32float" } else { "rgba16float" };
    let declarations = [
        "var<uniform> time: Time".to_owned(),
        "var<uniform> mouse: Mouse".to_owned(),
        "var<uniform> _keyboard: array<vec4<u32>, 2>".to_owned(),
        "var<uniform> custom: Custom".to_owned(),
        "var<uniform> dispatch: DispatchInfo".to_owned(),
        "var screen: texture_storage_2d<rgba16float, write>".to_owned(),
        "var pass_in: texture_2d_array<f32>".to_owned(),
        format!("var pass_out: texture_storage_2d_array<{format}, write>"),
        "var channel0: texture_2d<f32>".to_owned(),
        "var channel1: texture_2d<f32>".to_owned(),
    ];
    let samplers = SAMPLERS.iter().map(|name| format!("var {name}: sampler"));
    for (index, declaration) in declarations.into_iter().chain(samplers).enumerate() {
        line(format_args!("@group(0) @binding({}) {declaration};", index + 2));
    }
    text.push_str(HELPERS);
    text.push_str(if request.float32 { BILINEAR_BY_HAND } else { BILINEAR_BY_HARDWARE });
    Ok(text)
}

const HELPERS: &str = "
fn keyDown(keycode: uint) -> bool {
    return (_keyboard[keycode / 128u][keycode % 128u / 32u] >> keycode % 32u & 1u) == 1u;
}
fn assert(index: int, success: bool) {}
fn passStore(pass_index: int, coord: int2, value: float4) {
    textureStore(pass_out, coord, pass_index, value);
}
fn passLoad(pass_index: int, coord: int2, lod: int) -> float4 {
    return textureLoad(pass_in, coord, pass_index, lod);
}
";

const BILINEAR_BY_HARDWARE: &str = "
fn passSampleLevelBilinearRepeat(pass_index: int, uv: float2, lod: float) -> float4 {
    return textureSampleLevel(pass_in, bilinear, fract(uv), pass_index, lod);
}
";

/// Textures of 32-bit floats cannot be filtered everywhere: the four nearest texels are blended by hand.
const BILINEAR_BY_HAND: &str = "
fn passTapRepeat(pass_index: int, texel: float2, size: float2, lod: float) -> float4 {
    return textureSampleLevel(pass_in, nearest, fract((texel + 0.5) / size), pass_index, lod);
}
fn passSampleLevelBilinearRepeat(pass_index: int, uv: float2, lod: float) -> float4 {
    let size = float2(textureDimensions(pass_in));
    let position = uv * size - 0.5;
    let texel = floor(position);
    let blend = fract(position);
    let upper_left = passTapRepeat(pass_index, texel, size, lod);
    let upper_right = passTapRepeat(pass_index, texel + float2(1.0, 0.0), size, lod);
    let lower_left = passTapRepeat(pass_index, texel + float2(0.0, 1.0), size, lod);
    let lower_right = passTapRepeat(pass_index, texel + float2(1.0, 1.0), size, lod);
    return mix(mix(upper_left, upper_right, blend.x), mix(lower_left, lower_right, blend.x), blend.y);
}
";

/// `enable` lines, the prelude, the text.
fn assemble(
    expanded: &Expanded,
    prelude: &str,
    requires: &mut Requires,
    allowed: &Allowed,
) -> Result<MappedText, ShaderErrors> {
    let enables = front::take_enables(expanded.enables.clone(), requires, allowed)?;
    let mut mapped = MappedText::new(expanded.text.user_text());
    mapped.append(&enables);
    mapped.push_own(prelude);
    mapped.append(&expanded.text);
    Ok(mapped)
}

/// The entry points in the order of the text, as the site finds them: `@compute`, then `@workgroup_size(…)`, then `fn NAME`, with no
/// other `@` between them. The size is read from literal digits only; anything else counts as 1.
fn entry_points(text: &str) -> Vec<(String, [u32; 3])> {
    let text = without_comments(text);
    let mut found = Vec::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find("@compute") {
        rest = &rest[at + "@compute".len()..];
        let attributes = rest.find('@').map(|at| &rest[at..]).and_then(|rest| rest.strip_prefix("@workgroup_size("));
        let Some((size, behind)) = attributes.and_then(|rest| rest.split_once(')')) else { continue };
        // The name stands before the next `@`, which is a built-in's or the next entry point's.
        let before_next = &behind[..behind.find('@').unwrap_or(behind.len())];
        let name = before_next.match_indices("fn").find_map(|(at, _)| {
            let name = before_next[at + 2..].strip_prefix(char::is_whitespace)?.trim_start();
            let end = name.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(name.len());
            Some(&name[..end]).filter(|name| !name.is_empty())
        });
        if let Some(name) = name {
            let mut sides = size.split(',').map(leading_digits);
            let mut side = || sides.next().flatten().filter(|&side| side > 0).unwrap_or(1);
            found.push((name.to_owned(), [side(), side(), side()]));
            rest = behind;
        }
    }
    found
}

/// Decimal digits at the start of a text, as a number.
fn leading_digits(text: &str) -> Option<u32> {
    let text = text.trim_start();
    text[..text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len())].parse().ok()
}

/// The text without comments, as the site strips them: block comments do not nest.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('/') {
        let tail = &rest[at..];
        let comment = if tail.starts_with("//") {
            Some(tail.find('\n').unwrap_or(tail.len()))
        } else {
            tail.strip_prefix("/*").and_then(|inner| inner.find("*/")).map(|end| end + 4)
        };
        out.push_str(&rest[..at + usize::from(comment.is_none())]);
        rest = &tail[comment.unwrap_or(1)..];
    }
    out.push_str(rest);
    out
}

/// What is dispatched, with the index of its entry point, and warnings.
#[expect(clippy::type_complexity, reason = "the pair is taken apart by its only caller")]
fn dispatches(
    request: &ShaderSource<'_>,
    expanded: &Expanded,
    mapped: &MappedText,
    valid: &Valid,
) -> Result<(Vec<(Dispatch, usize)>, Vec<String>), ShaderErrors> {
    let mut dispatches = Vec::new();
    let mut warnings = Vec::new();
    let mut lines = Vec::new();
    for (name, digits) in entry_points(&mapped.text) {
        let index = valid.module.entry_points.iter().position(|entry| entry.name == name);
        let Some(index) = index else {
            let name = super::error::quoted(&name);
            let what = format!("The entry point {name:?} is found in the text, but not in the program.");
            return Err(ShaderDiagnostic::new(Stage::Validate, what).into());
        };
        let counted = expanded.workgroup_counts.get(&name);
        let rule = expanded.dispatch_rules.get(&name);
        let workgroup_size = valid.module.entry_points[index].workgroup_size;
        if counted.is_none() && digits != workgroup_size {
            warnings.push(format!(
                "The workgroup size of {:?} is not written in digits; as on compute.toys it counts as {digits:?} for the number of workgroups.",
                super::error::quoted(&name)
            ));
        }
        let (count, once) = match rule {
            None => (1, false),
            Some((DispatchRule::Once, _)) => (1, true),
            Some((DispatchRule::Count(count), _)) => (*count, false),
        };
        let workgroups = counted.map_or_else(|| reflect::covering(request.size, digits), |(counts, _)| *counts);
        lines.push([counted.map(|(_, line)| *line), rule.map(|(_, line)| *line)]);
        let dispatch = Dispatch { unit: 0, entry_point: name, workgroup_size, workgroups, count, once };
        dispatches.push((dispatch, index));
    }
    if dispatches.is_empty() {
        let what = "There is no entry point; expected `@compute @workgroup_size(16, 16) fn main_image(…)`.";
        return Err(ShaderDiagnostic::new(Stage::Validate, what).into());
    }
    let unknown = expanded.workgroup_counts.keys().chain(expanded.dispatch_rules.keys());
    let mut unknown: Vec<&String> =
        unknown.filter(|name| !dispatches.iter().any(|(dispatch, _)| dispatch.entry_point == **name)).collect();
    unknown.sort();
    unknown.dedup();
    warnings.extend(
        unknown
            .iter()
            .map(|name| format!("A directive names {:?}, which is no entry point.", super::error::quoted(name))),
    );
    let list: Vec<Dispatch> = dispatches.iter().map(|(dispatch, _)| dispatch.clone()).collect();
    reflect::check_dispatches(&list, &request.allowed, &|index, what| {
        let lines = lines.get(index).copied().unwrap_or_default();
        // Too many dispatches come from the second directive, everything else from the first.
        let line = if what.contains("a frame") { lines[1] } else { lines[0] };
        let place = line.map(|line| Place { line, column: 1, include: None });
        mapped.problem_at(Stage::Limit, what, place)
    })?;
    Ok((dispatches, warnings))
}

/// The bindings that entry points use; everything outside of the site's own is refused.
fn bindings(
    request: &ShaderSource<'_>,
    mapped: &MappedText,
    valid: &Valid,
    entries: &[usize],
    program: &mut Program,
) -> Result<Vec<Binding>, ShaderErrors> {
    let height = request.size[1];
    let module = &valid.module;
    let pass_format = if request.float32 { TexelFormat::Rgba32Float } else { TexelFormat::Rgba16Float };
    let mut bindings = Vec::new();
    let mut problems = Vec::new();
    for (handle, variable) in module.global_variables.iter() {
        let Some(place) = variable.binding else { continue };
        let name = variable.name.clone().unwrap_or_default();
        let offset = module.global_variables.get_span(handle).to_range().map(|range| range.start);
        if place.group != 0 || place.binding >= 18 {
            let what = format!(
                "{name:?} is bound to group {} and number {}; compute.toys has group 0 and the numbers 0 to 17, and `#storage` for buffers.",
                place.group, place.binding
            );
            problems.push(mapped.problem(Stage::Validate, what, offset));
            continue;
        }
        if !reflect::is_used(valid, handle, entries) {
            continue;
        }
        let mut block = UniformBlock::zeros(0, height);
        let kind = match place.binding {
            0 | 1 => match storage(module, variable, &request.allowed) {
                Ok((bytes, read_only)) => {
                    program.storage.push(StorageBuffer { name: name.clone(), bytes });
                    BindingKind::Storage { index: program.storage.len() - 1, read_only }
                }
                Err(what) => {
                    problems.push(mapped.problem(Stage::Limit, what, offset));
                    continue;
                }
            },
            2 => {
                block.values = vec![(0, FrameValue::Elapsed), (4, FrameValue::Delta), (8, FrameValue::Index)];
                BindingKind::Uniform(block)
            }
            3 => {
                block = UniformBlock::zeros(32, height);
                block.values = vec![
                    (0, FrameValue::MousePosition),
                    (8, FrameValue::MouseZoom),
                    (12, FrameValue::MouseDown),
                    (16, FrameValue::MouseStart),
                    (24, FrameValue::MouseDelta),
                ];
                BindingKind::Uniform(block)
            }
            4 => {
                block = UniformBlock::zeros(32, height);
                block.values = vec![(0, FrameValue::Keys)];
                BindingKind::Uniform(block)
            }
            5 => {
                block = UniformBlock::zeros(4 * request.sliders.len() as u32, height);
                for (index, (_, value)) in request.sliders.iter().enumerate() {
                    block.put(4 * index as u32, &[value.to_bits()]);
                }
                BindingKind::Uniform(block)
            }
            6 => BindingKind::DispatchId,
            7 => BindingKind::StorageTexture {
                target: StorageTarget::Output,
                format: TexelFormat::Rgba16Float,
                array: false,
            },
            8 => {
                program.passes = Some(PassTextures { format: pass_format });
                BindingKind::Texture { source: TextureSource::PassIn, array: true, filterable: !request.float32 }
            }
            9 => {
                program.passes = Some(PassTextures { format: pass_format });
                BindingKind::StorageTexture { target: StorageTarget::PassOut, format: pass_format, array: true }
            }
            10 | 11 => {
                let source = TextureSource::Channel(place.binding as usize - 10);
                BindingKind::Texture { source, array: false, filterable: true }
            }
            number => {
                let name = SAMPLERS[number as usize - 12];
                BindingKind::Sampler(SamplerKind::named(name).expect("the table holds sampler names"))
            }
        };
        bindings.push(Binding { group: 0, binding: place.binding, name, kind });
    }
    if problems.is_empty() { Ok(bindings) } else { Err(ShaderErrors::new(problems)) }
}

/// Bytes of a storage buffer: of its type, or as much as the site gives where its length is open. And whether it is read-only.
fn storage(module: &naga::Module, variable: &naga::GlobalVariable, allowed: &Allowed) -> Result<(u64, bool), String> {
    let naga::AddressSpace::Storage { access } = variable.space else {
        return Err("Bindings 0 and 1 are storage buffers on compute.toys; use `#storage`.".into());
    };
    let bytes = match reflect::storage_size(module, variable.ty) {
        StorageSize::Fixed(bytes) => bytes.next_multiple_of(4).max(4),
        StorageSize::Open { .. } => SHADER_STORAGE_BUFFER_BYTES_MAX,
    };
    if bytes > allowed.storage_buffer_bytes {
        return Err(format!(
            "The storage buffer {:?} needs {bytes} bytes; {} are allowed.",
            variable.name.as_deref().unwrap_or_default(),
            allowed.storage_buffer_bytes
        ));
    }
    Ok((bytes, !access.contains(naga::StorageAccess::STORE)))
}
