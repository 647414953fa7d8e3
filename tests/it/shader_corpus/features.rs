//! What the shaders of the set use, found mechanically in their texts, their documents and the programs that they become.

use super::{compiled, entries, spec};
use kiln::job::ShaderSpec;
use kiln::shader_job::{BindingKind, Dialect, Filter, Program, StorageTarget, TextureSource};
use std::collections::BTreeSet;

/// Words of the `compute_toys` dialect: its directives, includes and prelude, and all that the includes declare.
const TOY_WORDS: &[&str] = &[
    "#define",
    "#calcdefine",
    "#include",
    "#if",
    "#ifdef",
    "#ifndef",
    "#else",
    "#endif",
    "#storage",
    "#workgroup_count",
    "#dispatch_count",
    "#dispatch_once",
    "enable",
    "\"Dave_Hoskins/hash\"",
    "\"iq/noise_simplex_2d\"",
    "\"nikat/noise_simplex_3d\"",
    "\"davidar/scan\"",
    "<string>",
    "<float>",
    "hash11",
    "hash12",
    "hash13",
    "hash21",
    "hash22",
    "hash23",
    "hash31",
    "hash32",
    "hash33",
    "hash41",
    "hash42",
    "hash43",
    "hash44",
    "noise_simplex_2d",
    "noise_simplex_3d",
    "scan_pass",
    "SCAN_TYPE",
    "String",
    "strrev",
    "itoa",
    "isinf",
    "isnan",
    "isnormal",
    "isfinite",
    "FLT_MIN",
    "FLT_MAX",
    "SCREEN_WIDTH",
    "SCREEN_HEIGHT",
    "int",
    "uint",
    "float",
    "int2",
    "int3",
    "int4",
    "uint2",
    "uint3",
    "uint4",
    "float2",
    "float3",
    "float4",
    "bool2",
    "bool3",
    "bool4",
    "float2x2",
    "float2x3",
    "float2x4",
    "float3x2",
    "float3x3",
    "float3x4",
    "float4x2",
    "float4x3",
    "float4x4",
    "keyDown",
    "assert",
    "passStore",
    "passLoad",
    "passSampleLevelBilinearRepeat",
    "time.elapsed",
    "time.delta",
    "time.frame",
    "mouse.pos",
    "mouse.zoom",
    "mouse.click",
    "mouse.start",
    "mouse.delta",
    "dispatch.id",
    "custom._dummy",
    "textureNumLevels",
];

/// What programs of the `compute_toys` dialect are made of, in the words of [`of_program`] and [`of_document`].
const TOY_PARTS: &[&str] = &[
    "storage 1",
    "storage 2",
    "storage of 128 MiB",
    "uniform time",
    "uniform mouse",
    "uniform _keyboard",
    "uniform custom",
    "dispatch id",
    "pass_in",
    "pass_out Rgba16Float",
    "pass_out Rgba32Float",
    "screen",
    "channel 0",
    "channel 1",
    "channel absent",
    "sampler Nearest",
    "sampler Bilinear",
    "sampler Trilinear",
    "sampler Nearest repeat",
    "sampler Bilinear repeat",
    "sampler Trilinear repeat",
    "several entry points",
    "several dispatches",
    "once",
    "own workgroups",
    "workgroup memory",
    "barrier",
    "loop",
    "subgroups",
    "f16",
    "warning",
    "atomic Add",
    "atomic Subtract",
    "atomic And",
    "atomic InclusiveOr",
    "atomic ExclusiveOr",
    "atomic Min",
    "atomic Max",
    "atomic Exchange",
    "atomic compare",
    "/frame",
    "/frames/fps",
    "/float32",
    "/params",
    "/sidecar",
    "/textures",
    "/channels",
    "/mouse",
    "/keys",
];

/// Words of GLSL and of shadertoy.
const GLSL_WORDS: &[&str] = &[
    "#define",
    "#undef",
    "#if",
    "#ifdef",
    "#ifndef",
    "#elif",
    "#else",
    "#endif",
    "#error",
    "precision",
    "iResolution",
    "iTime",
    "iTimeDelta",
    "iFrame",
    "iFrameRate",
    "iMouse",
    "iDate",
    "iChannel0",
    "iChannel1",
    "iChannel2",
    "iChannel3",
    "iChannelResolution",
    "iChannelTime",
    "iSampleRate",
    "gl_FragCoord",
    "texture",
    "textureLod",
    "texelFetch",
    "textureSize",
    "sampler2D",
    "for",
    "while",
    "do",
    "break",
    "continue",
    "switch",
    "case",
    "default",
    "struct",
    "const",
    "in",
    "out",
    "inout",
    "mat2",
    "mat3",
    "ivec2",
    "uvec2",
    "bvec2",
    "uint",
    "transpose",
    "floatBitsToUint",
    "intBitsToFloat",
    "any",
    "all",
    "lessThan",
];

/// See [`TOY_PARTS`].
const GLSL_PARTS: &[&str] = &[
    "buffer A",
    "buffer B",
    "buffer C",
    "buffer D",
    "channel 0",
    "channel 1",
    "channel 2",
    "channel 3",
    "channel absent",
    "loop",
    "sampler Nearest",
    "sampler Bilinear",
    "sampler Trilinear repeat",
    "sampler Nearest repeat",
    "/frame",
    "/frames/fps",
    "/common",
    "/buffers",
    "/channels",
    "/mouse",
];

/// Words of the `kiln` dialect.
const KILN_WORDS: &[&str] = &[
    "output",
    "previous",
    "frame.index",
    "frame.time",
    "frame.delta",
    "frame.resolution",
    "frame.seed",
    "params",
    "channel0",
    "channel1",
    "channel2",
    "enable",
    "const_assert",
    "continuing",
    "arrayLength",
];

/// See [`TOY_PARTS`].
const KILN_PARTS: &[&str] = &[
    "output Rgba16Float",
    "output Rgba32Float",
    "output Rgba8Unorm",
    "previous",
    "storage 1",
    "storage 2",
    "group 1",
    "group 2",
    "group 3",
    "uniform frame",
    "uniform params",
    "channel 0",
    "channel 1",
    "channel 2",
    "sampler Nearest",
    "sampler Bilinear",
    "sampler Trilinear",
    "sampler Nearest repeat",
    "sampler Bilinear repeat",
    "sampler Trilinear repeat",
    "several entry points",
    "several dispatches",
    "once",
    "own workgroups",
    "workgroup memory",
    "barrier",
    "loop",
    "subgroups",
    "f16",
    "atomic Add",
    "atomic Exchange",
    "/frame",
    "/frames/fps",
    "/warmup",
    "/params",
    "/channels",
    "/storage",
    "/dispatches",
    "/seed",
];

#[test]
fn the_set_is_as_large_as_it_should_be() {
    let entries = entries();
    let count = |dialect| entries.iter().filter(|entry| entry.dialect == dialect).count();
    assert!(count(Dialect::ComputeToys) >= 40);
    assert!(count(Dialect::Shadertoy) >= 20);
    assert!(count(Dialect::Kiln) >= 20);
}

#[test]
fn together_the_shaders_use_every_feature_of_their_dialect() {
    for (dialect, words_wanted, parts_wanted) in [
        (Dialect::ComputeToys, TOY_WORDS, TOY_PARTS),
        (Dialect::Shadertoy, GLSL_WORDS, GLSL_PARTS),
        (Dialect::Kiln, KILN_WORDS, KILN_PARTS),
    ] {
        let mut words = BTreeSet::new();
        let mut parts = BTreeSet::new();
        for entry in entries().iter().filter(|entry| entry.dialect == dialect) {
            of_document(&entry.document, "", &mut parts);
            texts(&entry.document).iter().for_each(|text| words.extend(self::words(text)));
            let program = compiled(entry).unwrap_or_else(|errors| panic!("{}: {errors}", entry.name));
            of_program(&spec(entry), &program, &mut parts);
        }
        let missing = |wanted: &[&str], found: &BTreeSet<String>| {
            wanted.iter().filter(|word| !found.contains(**word)).map(|word| (*word).to_owned()).collect::<Vec<_>>()
        };
        let missing = [missing(words_wanted, &words), missing(parts_wanted, &parts)].concat();
        assert!(missing.is_empty(), "no shader of {dialect:?} uses {missing:?}");
    }
}

/// The shader texts of a document.
fn texts(document: &serde_json::Value) -> Vec<&str> {
    let buffers = document["buffers"].as_object().into_iter().flat_map(|buffers| buffers.values());
    let sources = buffers.map(|buffer| &buffer["source"]).chain([&document["source"], &document["common"]]);
    sources.filter_map(serde_json::Value::as_str).collect()
}

/// Every word of a text outside of line comments, also with the word behind a point (`time.frame`) and with a directive's `#`; and what
/// an `#include` names.
fn words(text: &str) -> BTreeSet<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut words = BTreeSet::new();
    for line in text.lines().map(|line| line.split("//").next().unwrap_or_default()) {
        if let Some(path) = line.strip_prefix("#include ") {
            words.insert(path.trim().to_owned());
        }
        if let Some(directive) = line.strip_prefix('#') {
            words.insert(format!("#{}", directive.trim_start().split(' ').next().unwrap_or_default()));
        }
        for chain in line.split(|c| !is_word(c) && c != '.').filter(|chain| !chain.is_empty()) {
            let parts: Vec<&str> = chain.split('.').collect();
            words.extend(parts.iter().map(|part| (*part).to_owned()));
            words.extend(parts.windows(2).map(|pair| pair.join(".")));
        }
    }
    words
}

/// The pointers of all objects' members in a job document, as far as the job's own fields go.
fn of_document(document: &serde_json::Value, at: &str, parts: &mut BTreeSet<String>) {
    for (name, value) in document.as_object().into_iter().flatten() {
        let at = format!("{at}/{name}");
        of_document(value, &at, parts);
        parts.insert(at);
    }
}

fn of_program(spec: &ShaderSpec, program: &Program, parts: &mut BTreeSet<String>) {
    let mut add = |part: String| {
        parts.insert(part);
    };
    if !program.warnings.is_empty() {
        add("warning".to_owned());
    }
    if program.dispatches.len() > program.units.len() {
        add("several entry points".to_owned());
    }
    (1..=program.storage.len()).for_each(|count| add(format!("storage {count}")));
    if program.storage.iter().any(|buffer| buffer.bytes == 128 << 20) {
        add("storage of 128 MiB".to_owned());
    }
    for (needed, name) in [(program.requires.subgroups, "subgroups"), (program.requires.shader_f16, "f16")] {
        if needed {
            add(name.to_owned());
        }
    }
    for dispatch in &program.dispatches {
        let covering = |axis: usize| program.size[axis].div_ceil(dispatch.workgroup_size[axis]);
        for (used, name) in [
            (dispatch.once, "once"),
            (dispatch.count > 1, "several dispatches"),
            (dispatch.workgroups != [covering(0), covering(1), 1], "own workgroups"),
        ] {
            if used {
                add(name.to_owned());
            }
        }
    }
    for unit in &program.units {
        for binding in &unit.bindings {
            add(format!("group {}", binding.group));
            match &binding.kind {
                BindingKind::Uniform(_) => add(format!("uniform {}", binding.name)),
                BindingKind::DispatchId => add("dispatch id".to_owned()),
                BindingKind::Texture { source, .. } => match source {
                    TextureSource::Channel(index) if spec.channels.get(*index).is_none_or(Option::is_none) => {
                        add("channel absent".to_owned());
                    }
                    TextureSource::Channel(index) => add(format!("channel {index}")),
                    TextureSource::PassIn => add("pass_in".to_owned()),
                    TextureSource::Previous => add("previous".to_owned()),
                    TextureSource::Buffer(_) => {}
                    TextureSource::Blank => add("channel absent".to_owned()),
                },
                BindingKind::StorageTexture { target, format, .. } => match target {
                    StorageTarget::Output => {
                        add("screen".to_owned());
                        add(format!("output {format:?}"));
                    }
                    StorageTarget::PassOut => add(format!("pass_out {format:?}")),
                    StorageTarget::Buffer(index) => add(format!("buffer {}", program.buffers[*index].name)),
                },
                BindingKind::Sampler(kind) => {
                    let filter: Filter = kind.filter;
                    add(format!("sampler {filter:?}{}", if kind.repeat { " repeat" } else { "" }));
                }
                BindingKind::Storage { .. } | BindingKind::FuelReport => {}
            }
        }
        if !unit.fuel.loops.is_empty() {
            add("loop".to_owned());
        }
        let module = &unit.module;
        if module.global_variables.iter().any(|(_, variable)| variable.space == naga::AddressSpace::WorkGroup) {
            add("workgroup memory".to_owned());
        }
        let functions = module.functions.iter().map(|(_, function)| function);
        for function in functions.chain(module.entry_points.iter().map(|entry| &entry.function)) {
            of_block(&function.body, &mut add);
        }
    }
}

fn of_block(block: &naga::Block, add: &mut dyn FnMut(String)) {
    use naga::{AtomicFunction, Statement};
    for statement in block.iter() {
        match statement {
            Statement::ControlBarrier(_) => add("barrier".to_owned()),
            Statement::Atomic { fun: AtomicFunction::Exchange { compare: Some(_) }, .. } => {
                add("atomic compare".to_owned())
            }
            Statement::Atomic { fun: AtomicFunction::Exchange { compare: None }, .. } => {
                add("atomic Exchange".to_owned())
            }
            Statement::Atomic { fun, .. } => add(format!("atomic {fun:?}")),
            Statement::Block(inner) => of_block(inner, add),
            Statement::If { accept, reject, .. } => [accept, reject].into_iter().for_each(|block| of_block(block, add)),
            Statement::Switch { cases, .. } => cases.iter().for_each(|case| of_block(&case.body, add)),
            Statement::Loop { body, continuing, .. } => {
                [body, continuing].into_iter().for_each(|block| of_block(block, add))
            }
            _ => {}
        }
    }
}
