//! What a text becomes: bindings, dispatches, sizes, and errors in the user's own lines.

use super::{SIZE, compiled, program, refusal};
use kiln::job::sidecar::Sidecar;
use kiln::job::{Failure, FailureReason};
use kiln::shader_job::{
    Allowed, BindingKind, Dialect, DispatchRequest, Filter, FrameInputs, OutputColor, ShaderSource, Stage,
    StorageTarget, TexelFormat, TextureSource, compile,
};

const TOY: Dialect = Dialect::ComputeToys;
const KILN: Dialect = Dialect::Kiln;

/// The smallest shader of each dialect.
const TOY_HELLO: &str = "@compute @workgroup_size(16, 16)\nfn main_image(@builtin(global_invocation_id) id: uint3) {\n    \
    textureStore(screen, int2(id.xy), float4(1.0));\n}\n";
const KILN_HELLO: &str = "@group(0) @binding(0) var output: texture_storage_2d<rgba16float, write>;\n\
    @compute @workgroup_size(8, 8) fn main(@builtin(global_invocation_id) id: vec3u) {\n    \
    textureStore(output, id.xy, vec4f(1.0));\n}\n";

#[test]
fn the_smallest_toy_needs_the_screen_and_nothing_else() {
    let program = program(TOY, TOY_HELLO);
    let [unit] = program.units.as_slice() else { panic!("one unit") };
    let kinds: Vec<_> = unit.bindings.iter().map(|binding| (binding.binding, &binding.kind)).collect();
    let screen =
        BindingKind::StorageTexture { target: StorageTarget::Output, format: TexelFormat::Rgba16Float, array: false };
    assert_eq!(kinds, [(7, &screen)]);
    assert_eq!(program.output.color, OutputColor::Linear);
    assert_eq!(program.memory_bytes, 64 * 48 * 8);
    assert_eq!(program.dispatches.len(), 1);
    assert_eq!(program.dispatches[0].workgroups, [4, 3, 1]);
}

#[test]
fn every_binding_of_the_site_is_described() {
    let source = "
        #storage counters array<atomic<u32>, 16>
        #storage field array<float4>
        @compute @workgroup_size(16, 16)
        fn main_image(@builtin(global_invocation_id) id: uint3) {
            atomicAdd(&counters[0], dispatch.id + time.frame);
            field[id.x] = passLoad(0, int2(id.xy), 0) + passSampleLevelBilinearRepeat(1, float2(0.5), 0.);
            passStore(2, int2(id.xy), float4(custom.speed, time.elapsed, time.delta, mouse.zoom));
            assert(0, keyDown(65u));
            let a = textureSampleLevel(channel0, trilinear_repeat, float2(0.5), 1.0);
            let b = textureSampleLevel(channel1, nearest, float2(mouse.pos) / float2(SCREEN_WIDTH, SCREEN_HEIGHT), 0.0);
            textureStore(screen, int2(id.xy), a + b);
        }";
    let mut request = ShaderSource::new(TOY, source.as_bytes(), SIZE);
    request.sliders = vec![("speed".into(), 2.5)];
    let program = compile(&request).unwrap_or_else(|errors| panic!("{errors}"));
    let bindings = &program.units[0].bindings;
    let numbers: Vec<u32> = bindings.iter().map(|binding| binding.binding).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 17]);
    assert_eq!(program.storage[0].bytes, 64);
    assert_eq!(program.storage[1].bytes, 128 << 20, "an open length gets what the site gives");
    assert_eq!(program.passes.map(|passes| passes.format), Some(TexelFormat::Rgba16Float));
    let kind = |number: u32| &bindings.iter().find(|binding| binding.binding == number).expect("it is there").kind;
    assert_eq!(*kind(6), BindingKind::DispatchId);
    assert_eq!(*kind(8), BindingKind::Texture { source: TextureSource::PassIn, array: true, filterable: true });
    assert_eq!(*kind(11), BindingKind::Texture { source: TextureSource::Channel(1), array: false, filterable: true });
    let BindingKind::Sampler(sampler) = kind(17) else { panic!("a sampler") };
    assert_eq!((sampler.filter, sampler.repeat), (Filter::Trilinear, true));
    let mut frame = FrameInputs::first(SIZE);
    (frame.index, frame.elapsed_seconds, frame.delta_seconds) = (7, 1.5, 0.25);
    let bytes = |number: u32| {
        let BindingKind::Uniform(block) = kind(number) else { panic!("a uniform") };
        block.for_frame(&frame)
    };
    let words = |number: u32| -> Vec<u32> {
        bytes(number).chunks(4).map(|word| u32::from_le_bytes(word.try_into().expect("four bytes"))).collect()
    };
    assert_eq!(words(2), [1.5_f32.to_bits(), 0.25_f32.to_bits(), 7, 0]);
    assert_eq!(words(3), [32, 24, 1.0_f32.to_bits(), 0, 0, 0, 0, 0]);
    assert_eq!(words(4), [0; 8]);
    assert_eq!(words(5)[0], 2.5_f32.to_bits());
}

#[test]
fn float32_changes_the_passes_and_their_sampling() {
    let source = "@compute @workgroup_size(16, 16)\nfn main_image(@builtin(global_invocation_id) id: uint3) {\n\
        passStore(0, int2(id.xy), passSampleLevelBilinearRepeat(0, float2(id.xy), 0.0));\n}";
    let mut request = ShaderSource::new(TOY, source.as_bytes(), SIZE);
    request.float32 = true;
    let program = compile(&request).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(program.passes.map(|passes| passes.format), Some(TexelFormat::Rgba32Float));
    let texture = program.units[0].bindings.iter().find(|binding| binding.binding == 8).expect("pass_in");
    assert_eq!(texture.kind, BindingKind::Texture { source: TextureSource::PassIn, array: true, filterable: false });
}

#[test]
fn entry_points_run_in_the_order_of_the_text_with_their_directives() {
    let source = "
        #dispatch_once first
        #workgroup_count first 5 6 7
        #dispatch_count second 9
        const SIDE = 4;
        // @compute @workgroup_size(1) fn commented() {}
        @compute @workgroup_size(64) fn first() { textureStore(screen, int2(0), float4(1.0)); }
        @compute @workgroup_size(SIDE, SIDE) fn second() { helper(); }
        fn helper() { textureStore(screen, int2(1), float4(1.0)); }
        @compute
        @workgroup_size(32u, /* rows */ 2)
        fn third(@builtin(global_invocation_id) id: uint3) { helper(); }";
    let program = program(TOY, source);
    let list: Vec<_> = program
        .dispatches
        .iter()
        .map(|d| (d.entry_point.as_str(), d.workgroup_size, d.workgroups, d.count, d.once))
        .collect();
    assert_eq!(
        list,
        [
            ("first", [64, 1, 1], [5, 6, 7], 1, true),
            ("second", [4, 4, 1], [64, 48, 1], 9, false),
            ("third", [32, 2, 1], [2, 24, 1], 1, false),
        ]
    );
    assert!(program.warnings.iter().any(|warning| warning.contains("\"second\"")), "{:?}", program.warnings);
}

#[test]
fn an_error_names_the_users_line_and_column_behind_the_prelude_and_macros() {
    let source = "#define WIDE float4(1.0, 1.0, 1.0, 1.0)\n\n@compute @workgroup_size(16, 16)\n\
        fn main_image(@builtin(global_invocation_id) id: uint3) {\n    let a = WIDE; textureStore(screen, oops, a);\n}";
    let errors = compiled(TOY, source).expect_err("oops is unknown");
    let first = errors.first();
    assert_eq!((first.stage, first.line, first.column), (Stage::Parse, Some(5), Some(40)), "{first:?}");
    assert_eq!(first.source_line.as_deref(), Some("    let a = WIDE; textureStore(screen, oops, a);"));
    assert!(first.message.contains("oops"), "{first:?}");
    let failure = Failure::from(errors);
    assert_eq!(failure.reason, FailureReason::ShaderError);
    assert_eq!((failure.details[0].stage.as_str(), failure.details[0].line), ("parse", Some(5)));
}

#[test]
fn an_error_in_an_include_names_the_include_and_the_line_that_includes_it() {
    let source = format!("// noise without its hash\n#include \"iq/noise_simplex_2d\"\n{TOY_HELLO}");
    let errors = compiled(TOY, &source).expect_err("the hash is missing");
    let first = errors.first();
    assert_eq!((first.line, first.include.as_deref()), (Some(2), Some("iq/noise_simplex_2d")), "{first:?}");
    assert_eq!(first.source_line.as_deref(), Some("#include \"iq/noise_simplex_2d\""));
    assert!(first.message.contains("noise_simplex_2d_hash") && first.message.contains("of the include"), "{first:?}");
}

#[test]
fn a_validation_error_has_its_line_too() {
    let source = format!("{KILN_HELLO}fn f() -> f32 {{\n    let a = array<f32, 2>(1.0, 2.0);\n    return a[5];\n}}");
    let (stage, line, message) = refusal(KILN, &source);
    assert!(matches!(stage, Stage::Validate | Stage::Parse), "{message}");
    assert_eq!(line, Some(7), "{message}");
}

#[test]
fn obsolete_wgsl_is_named_with_what_to_write_today() {
    let source = "type V = vec4<f32>;\nlet PI = 3.14;\nstruct S {\n  a: f32;\n  b: f32;\n};\n\
        @stage(compute) @workgroup_size(16, 16)\nfn main_image() {\n  let inside = 1.0;\n}";
    let errors = compiled(TOY, source).expect_err("it is obsolete");
    let list: Vec<_> = errors.problems().iter().map(|problem| (problem.line, problem.message.as_str())).collect();
    let expected = [(1, "alias"), (2, "const"), (4, "`,`"), (5, "`,`"), (7, "@compute")];
    assert_eq!(list.len(), expected.len(), "{list:?}");
    for ((line, message), (expected_line, part)) in list.iter().zip(expected) {
        assert_eq!(*line, Some(expected_line), "{list:?}");
        assert!(message.contains(part), "{message} has no {part}");
    }
}

#[test]
fn enable_subgroups_is_accepted_where_the_adapter_has_them() {
    let source = "enable subgroups;\n@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: uint3) {\n\
        textureStore(screen, int2(id.xy), float4(subgroupAdd(1.0)));\n}";
    let (stage, line, message) = refusal(TOY, source);
    assert_eq!((stage, line), (Stage::Validate, Some(1)), "{message}");
    let mut request = ShaderSource::new(TOY, source.as_bytes(), SIZE);
    request.allowed.subgroups = true;
    let program = compile(&request).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(program.requires.subgroups);
    let mixed = KILN_HELLO.replacen("@group", "enable subgroups, f16 ; @group", 1);
    let mut request = ShaderSource::new(KILN, mixed.as_bytes(), SIZE);
    (request.allowed.subgroups, request.allowed.shader_f16) = (true, true);
    let program = compile(&request).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(program.requires.subgroups && program.requires.shader_f16);
}

#[test]
fn kiln_finds_bindings_by_name_and_type() {
    let source = "
        struct Frame { time: f32, index: u32, resolution: vec2u, seed: u32, delta: f32 }
        struct Params { tint: vec3f, steps: u32, bias: i32 }
        struct Cell { count: atomic<u32>, items: array<vec2f> }
        @group(0) @binding(3) var<uniform> frame: Frame;
        @group(1) @binding(0) var<uniform> params: Params;
        @group(1) @binding(1) var<storage, read_write> cells: Cell;
        @group(1) @binding(2) var<storage, read> constants: array<f32, 10>;
        @group(2) @binding(5) var channel0: texture_2d<f32>;
        @group(2) @binding(6) var previous: texture_2d<f32>;
        @group(2) @binding(7) var bilinear_repeat: sampler;
        @group(2) @binding(8) var output: texture_storage_2d<rgba32float, write>;
        @compute @workgroup_size(8, 8) fn simulate(@builtin(global_invocation_id) id: vec3u) {
            atomicAdd(&cells.count, 1u);
            cells.items[0] = vec2f(frame.time, constants[3]);
        }
        @compute @workgroup_size(8, 8) fn draw(@builtin(global_invocation_id) id: vec3u) {
            let uv = vec2f(id.xy) / vec2f(frame.resolution);
            let old = textureSampleLevel(previous, bilinear_repeat, uv, 0.0);
            let fresh = textureSampleLevel(channel0, bilinear_repeat, uv, 0.0);
            textureStore(output, id.xy, old + fresh + vec4f(params.tint, f32(params.steps) + f32(params.bias)));
        }";
    let mut request = ShaderSource::new(KILN, source.as_bytes(), SIZE);
    request.channels = vec![Some([16, 16])];
    request.params = serde_json::from_str(r#"{"tint": [0.5, 1, 2], "steps": 9, "bias": -3}"#).expect("JSON");
    request
        .dispatches
        .insert("simulate".into(), DispatchRequest { workgroups: Some([1, 1, 1]), count: Some(5), once: false });
    let program = compile(&request).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(program.output.format, TexelFormat::Rgba32Float);
    assert!(program.previous);
    assert_eq!(program.storage[0].bytes, 8 + 8 * 64 * 48, "an open array gets one element a pixel");
    assert_eq!(program.storage[1].bytes, 40);
    let dispatches: Vec<_> =
        program.dispatches.iter().map(|d| (d.entry_point.as_str(), d.workgroups, d.count)).collect();
    assert_eq!(dispatches, [("simulate", [1, 1, 1], 5), ("draw", [8, 6, 1], 1)]);
    let bytes = |name: &str| {
        let binding = program.units[0].bindings.iter().find(|binding| binding.name == name).expect("it is there");
        let BindingKind::Uniform(block) = &binding.kind else { panic!("a uniform") };
        let mut frame = FrameInputs::first(SIZE);
        (frame.index, frame.elapsed_seconds, frame.seed) = (3, 0.5, 11);
        let bytes = block.for_frame(&frame);
        bytes.chunks(4).map(|word| u32::from_le_bytes(word.try_into().expect("four bytes"))).collect::<Vec<_>>()
    };
    assert_eq!(bytes("frame"), [0.5_f32.to_bits(), 3, 64, 48, 11, 0, 0, 0]);
    let [a, b, c] = [0.5_f32, 1.0, 2.0].map(f32::to_bits);
    assert_eq!(bytes("params"), [a, b, c, 9, -3_i32 as u32, 0, 0, 0]);
}

#[test]
fn kiln_refuses_what_it_does_not_understand_with_its_line() {
    let with = |line: &str| format!("{}{line}\n", KILN_HELLO);
    for (declaration, part) in [
        ("@group(0) @binding(1) var<uniform> settings: vec4f;", "settings"),
        ("struct F { age: f32 }\n@group(0) @binding(1) var<uniform> frame: F;", "age"),
        ("struct F { time: u32 }\n@group(0) @binding(1) var<uniform> frame: F;", "must be a f32"),
        ("struct P { m: mat2x2f }\n@group(0) @binding(1) var<uniform> params: P;", "mat"),
        ("@group(0) @binding(1) var wood: texture_2d<f32>;", "wood"),
        ("@group(0) @binding(1) var channel0: texture_2d<f32>;", "no such channel"),
        ("@group(0) @binding(1) var channel0: texture_3d<f32>;", "texture_2d<f32>"),
        ("@group(0) @binding(1) var smooth_sampler: sampler;", "smooth_sampler"),
        ("@group(0) @binding(1) var canvas: texture_storage_2d<rgba8unorm, write>;", "canvas"),
        ("@group(0) @binding(0) var previous: texture_2d<f32>;", "number of its own"),
        ("@group(7) @binding(0) var previous: texture_2d<f32>;", "below 4"),
    ] {
        let source = with(declaration);
        let errors = compiled(KILN, &source).expect_err(declaration);
        let first = errors.first();
        let expected = source.lines().count() as u32;
        let line_ok = first.line == Some(expected);
        assert!(line_ok && (first.message.contains(part) || part == "mat"), "{declaration}: {first:?}");
    }
    let (_, _, message) = refusal(KILN, "@compute @workgroup_size(8, 8) fn main() {}");
    assert!(message.contains("`output`"), "{message}");
    let (_, _, message) = refusal(KILN, "@group(0) @binding(0) var output: texture_storage_2d<rgba8unorm, write>;");
    assert!(message.contains("entry point"), "{message}");
    let (_, _, message) = refusal(KILN, "@fragment fn main() -> @location(0) vec4f { return vec4f(); }");
    assert!(message.contains("only compute"), "{message}");
}

#[test]
fn params_are_checked_against_the_struct() {
    let source = format!(
        "struct P {{ speed: f32, on: u32 }}\n@group(0) @binding(1) var<uniform> params: P;\n{}",
        KILN_HELLO.replace("vec4f(1.0)", "vec4f(params.speed)")
    );
    let attempt = |json: &str| {
        let mut request = ShaderSource::new(KILN, source.as_bytes(), SIZE);
        request.params = serde_json::from_str(json).expect("JSON");
        compile(&request).map(drop).map_err(|errors| errors.first().message.clone())
    };
    assert_eq!(attempt(r#"{"speed": 1, "on": true}"#), Ok(()));
    for (json, part) in [
        (r#"{"spede": 1}"#, "spede"),
        (r#"{"speed": "fast"}"#, "no f32"),
        (r#"{"speed": [1, 2]}"#, "no f32"),
        (r#"{"on": -1}"#, "no u32"),
    ] {
        let message = attempt(json).expect_err(json);
        assert!(message.contains(part), "{json}: {message}");
    }
}

#[test]
fn memory_is_added_up_and_bounded() {
    let mut request = ShaderSource::new(KILN, KILN_HELLO.as_bytes(), SIZE);
    request.allowed = Allowed { memory_bytes: 64 * 48 * 8 - 1, ..Allowed::default() };
    let errors = compile(&request).expect_err("one byte too few");
    assert_eq!(errors.first().stage, Stage::Limit);
    assert_eq!(Failure::from(errors).reason, FailureReason::LimitExceeded);
}

#[test]
fn a_sidecar_of_the_site_is_read_as_it_is() {
    let json = br#"{"uniforms":[{"name":"speed","value":0.25},{"name":"Radius","value":4}],
        "textures":[{"img":"/textures/london.jpg"},{"img":"https://example.org/blank.png"}],"float32Enabled":true,"id":7}"#;
    let sidecar = Sidecar::parse(json).expect("it is a sidecar");
    assert_eq!(sidecar.sliders, [("speed".to_owned(), 0.25), ("Radius".to_owned(), 4.0)]);
    assert_eq!(sidecar.textures, ["/textures/london.jpg", "https://example.org/blank.png"]);
    assert!(sidecar.float32);
    assert_eq!(Sidecar::parse(b"{}").expect("everything is optional"), Sidecar::default());
    assert!(Sidecar::parse(b"[1]").expect_err("no object").contains("uniforms"));
}

#[test]
fn the_last_picture_is_known_by_its_format_wherever_it_is_declared() {
    let texture = "@group(0) @binding(1) var previous: texture_2d<f32>;";
    let output = "@group(0) @binding(0) var output: texture_storage_2d<rgba32float, write>;";
    let main =
        "@compute @workgroup_size(1) fn main() { textureStore(output, vec2u(), textureLoad(previous, vec2u(), 0)); }";
    for source in [format!("{texture}\n{output}\n{main}"), format!("{output}\n{texture}\n{main}")] {
        let program = program(Dialect::Kiln, &source);
        let previous = program.units[0].bindings.iter().find(|binding| binding.name == "previous").unwrap();
        let expected = BindingKind::Texture { source: TextureSource::Previous, array: false, filterable: false };
        assert_eq!(previous.kind, expected, "{source}");
    }
}
