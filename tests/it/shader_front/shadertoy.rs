//! GLSL with `mainImage`: what is rewritten, what is refused, and where errors are.

use super::{SIZE, compiled, program, refusal};
use kiln::shader_job::shadertoy::{Toy, ToyBuffer, ToyInput, ToySource};
use kiln::shader_job::{
    BindingKind, Dialect, Filter, FrameInputs, OutputColor, Program, SamplerKind, ShaderSource, Stage, StorageTarget,
    TextureSource, compile,
};

const GLSL: Dialect = Dialect::Shadertoy;

fn shader(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shaders/shadertoy").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A toy whose picture's body is `body`, which begins on line 2.
fn toy(body: &str) -> String {
    format!("void mainImage(out vec4 color, in vec2 position) {{\n{body}\n}}\n")
}

#[test]
fn ordinary_shadertoys_compile() {
    let mut failed = Vec::new();
    for name in ["hello", "raymarch", "textures", "language", "mouse", "noise", "golf"] {
        if let Err(errors) = compiled(GLSL, &shader(&format!("{name}.glsl"))) {
            failed.push(format!("{name}: {errors}"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn the_driver_takes_every_ordinary_shader() {
    let Some(gpu) = crate::gpu::device_or_skip() else { return };
    // Without `language`: naga writes no switch with a fall-through as WGSL, which this test goes through.
    for name in ["hello", "raymarch", "textures", "mouse", "noise", "golf"] {
        let program = program(GLSL, &shader(&format!("{name}.glsl")));
        super::gpu_run::create_pipelines(gpu, &program)
            .unwrap_or_else(|error| panic!("{name} on {}: {error}", gpu.adapter));
    }
    let toy = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile/ordinary.wgsl");
    let toy = std::fs::read_to_string(toy).expect("it is there");
    let program = program(Dialect::ComputeToys, &toy);
    super::gpu_run::create_pipelines(gpu, &program).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn the_smallest_shadertoy_has_a_clock_and_a_picture() {
    let program = program(GLSL, &shader("hello.glsl"));
    assert_eq!(program.output.color, OutputColor::Srgb);
    assert_eq!(program.dispatches[0].workgroups, [8, 6, 1]);
    let [unit] = program.units.as_slice() else { panic!("one unit") };
    let numbers: Vec<u32> = unit.bindings.iter().map(|binding| binding.binding).collect();
    assert_eq!(numbers, [0, 1]);
    let mut frame = FrameInputs::first(SIZE);
    (frame.elapsed_seconds, frame.index) = (2.5, 9);
    let words = clock(&program, 0, &frame);
    assert_eq!(words[..4], [64.0, 48.0, 1.0, 2.5].map(f32::to_bits));
    assert_eq!(words[5], 9);
}

fn clock(program: &Program, unit: usize, frame: &FrameInputs) -> Vec<u32> {
    let BindingKind::Uniform(block) = &program.units[unit].bindings[0].kind else { panic!("a uniform") };
    let bytes = block.for_frame(frame);
    bytes.chunks(4).map(|word| u32::from_le_bytes(word.try_into().expect("four bytes"))).collect()
}

#[test]
fn the_mouse_counts_from_below_and_its_signs_say_when_it_was_pressed() {
    let program = program(GLSL, &shader("mouse.glsl"));
    let mut frame = FrameInputs::first(SIZE);
    let mouse = |frame: &FrameInputs| {
        clock(&program, 0, frame)[8..12].iter().map(|word| f32::from_bits(*word)).collect::<Vec<_>>()
    };
    assert_eq!(mouse(&frame), [0.0; 4], "nobody touched it");
    frame.mouse.touched = true;
    (frame.mouse.held, frame.mouse.start, frame.mouse.down, frame.mouse.pressed) = ([10, 8], [4, 3], true, true);
    assert_eq!(mouse(&frame), [10.0, 40.0, 4.0, 45.0]);
    frame.mouse.pressed = false;
    assert_eq!(mouse(&frame), [10.0, 40.0, 4.0, -45.0]);
    frame.mouse.down = false;
    assert_eq!(mouse(&frame), [10.0, 40.0, -4.0, -45.0]);
}

#[test]
fn buffers_are_drawn_in_order_and_read_each_other() {
    let (common, buffer, image) = (shader("life_common.glsl"), shader("life_buffer.glsl"), shader("life_image.glsl"));
    let nearest = SamplerKind { filter: Filter::Nearest, repeat: false };
    let mut inputs = [ToyInput::default(); 4];
    inputs[0] = ToyInput { source: ToySource::Buffer('A'), sampler: nearest };
    let mut request = ShaderSource::new(GLSL, image.as_bytes(), SIZE);
    let buffers = vec![ToyBuffer { name: 'A', source: buffer.as_bytes(), inputs }];
    request.toy = Toy { common: Some(common.as_bytes()), buffers, inputs };
    let program = compile(&request).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(program.units.iter().map(|unit| unit.name.as_str()).collect::<Vec<_>>(), ["buffer A", "image"]);
    assert_eq!(program.dispatches.iter().map(|dispatch| dispatch.unit).collect::<Vec<_>>(), [0, 1]);
    let kind = |unit: usize, number: u32| {
        let bindings = &program.units[unit].bindings;
        bindings.iter().find(|binding| binding.binding == number).map(|binding| binding.kind.clone())
    };
    let texture = BindingKind::Texture { source: TextureSource::Buffer(0), array: false, filterable: true };
    assert_eq!(kind(0, 2), Some(texture.clone()));
    assert_eq!(kind(1, 2), Some(texture));
    assert_eq!(kind(1, 6), Some(BindingKind::Sampler(nearest)));
    assert!(matches!(kind(0, 1), Some(BindingKind::StorageTexture { target: StorageTarget::Buffer(0), .. })));
    assert!(matches!(kind(1, 1), Some(BindingKind::StorageTexture { target: StorageTarget::Output, .. })));
    let mut request = request.clone();
    request.toy.buffers.clear();
    let errors = compile(&request).expect_err("the buffer is missing");
    assert!(errors.first().message.contains("buffer A"), "{errors}");
}

#[test]
fn an_error_in_the_common_text_or_a_buffer_says_so() {
    let image = toy("color = vec4(helper());");
    let mut request = ShaderSource::new(GLSL, image.as_bytes(), SIZE);
    request.toy.common = Some(b"// helpers\nfloat helper() {\n    return nowhere;\n}");
    let first = compile(&request).expect_err("nowhere is unknown").first().clone();
    assert_eq!((first.line, first.column, first.include.as_deref()), (Some(3), Some(12), Some("common")), "{first:?}");
    let broken = toy("color = vec4(missing);");
    request.toy.common = Some(b"float helper() { return 1.0; }\n");
    request.toy.buffers = vec![ToyBuffer { name: 'B', source: broken.as_bytes(), inputs: [ToyInput::default(); 4] }];
    let first = compile(&request).expect_err("missing is unknown").first().clone();
    assert_eq!(
        (first.line, first.column, first.include.as_deref()),
        (Some(2), Some(14), Some("buffer B")),
        "{first:?}"
    );
}

#[test]
fn an_error_has_its_place_through_macros() {
    let source = "#define TWICE(x) ((x) + (x))\n#define WHITE vec4(1.0)\n".to_owned()
        + &toy("    color = WHITE * TWICE(oops); // here");
    let first = compiled(GLSL, &source).expect_err("oops is unknown").first().clone();
    assert_eq!((first.stage, first.line, first.column), (Stage::Parse, Some(4), Some(27)), "{first:?}");
    assert_eq!(first.source_line.as_deref(), Some("    color = WHITE * TWICE(oops); // here"));
}

#[test]
fn what_a_compute_shader_cannot_do_is_refused_with_its_line() {
    for (body, part) in [
        ("color = vec4(fwidth(position.x));", "derivatives"),
        ("color = vec4(dFdx(position.x));", "derivatives"),
        ("if (position.x < 3.0) discard;", "discard"),
    ] {
        let (stage, line, message) = refusal(GLSL, &toy(body));
        assert_eq!((stage, line), (Stage::Validate, Some(2)), "{message}");
        assert!(message.contains(part), "{message}");
    }
    assert!(refusal(GLSL, "vec4 f(samplerCube s) { return vec4(0); }").2.contains("two-dimensional"));
    assert!(refusal(GLSL, "void main() {}").2.contains("mainImage"));
    assert!(refusal(GLSL, "#define A a##b\n").2.contains("##"));
    let (_, line, message) = refusal(GLSL, "\n#error not today\n");
    assert_eq!(line, Some(2));
    assert!(message.contains("not today"), "{message}");
    let own = format!("float fwidth(float x) {{ return x; }}\n{}", toy("color = vec4(fwidth(position.x));"));
    assert!(compiled(GLSL, &own).is_ok(), "a function of the user's own is no derivative");
}

#[test]
fn macros_that_grow_without_bound_are_refused() {
    let mut source = String::from("#define A0 1.0 + 1.0\n");
    for n in 1..50 {
        source.push_str(&format!("#define A{n} A{m} + A{m}\n", m = n - 1));
    }
    let (stage, _, message) = refusal(GLSL, &(source + &toy("color = vec4(A49);")));
    assert_eq!(stage, Stage::Limit, "{message}");
    let mut source = String::from("#define F0(x) x x\n");
    for n in 1..50 {
        source.push_str(&format!("#define F{n}(x) F{m}(x x)\n", m = n - 1));
    }
    let (stage, _, message) = refusal(GLSL, &(source + &toy("color = vec4(F49(1.0));")));
    assert_eq!(stage, Stage::Limit, "{message}");
    let deep =
        format!("#define F(x) x\n{}", toy(&format!("color = vec4({}1.0{});", "F(".repeat(5_000), ")".repeat(5_000))));
    assert_eq!(refusal(GLSL, &deep).0, Stage::Limit);
    let itself = format!(
        "#define color color\n#define G(x) G(x)\nfloat G(float x) {{ return x; }}\n{}",
        toy("color = vec4(G(1.0));")
    );
    assert!(compiled(GLSL, &itself).is_ok(), "a macro is not expanded inside of itself");
}

#[test]
fn nested_statements_without_brackets_cannot_overflow_the_parser() {
    for piece in ["if (true) ", "for (;;) ", "while (true) ", "do "] {
        let (stage, _, message) = refusal(GLSL, &toy(&format!("{};", piece.repeat(5_000))));
        assert_eq!(stage, Stage::Limit, "{piece}: {message}");
    }
    assert_eq!(refusal(GLSL, &toy(&format!("color = vec4({}1.0);", "1.0 ? 2.0 : ".repeat(3_000)))).0, Stage::Limit);
}

#[test]
fn a_macro_that_is_defined_makes_its_branch_true() {
    let branch = |condition: &str| {
        format!("#define THERE 0\n#if {condition}\nconst float A = 1.0;\n#else\n#error the other branch\n#endif\n")
            + &toy("color = vec4(A);")
    };
    for condition in ["defined(THERE)", "defined THERE", "!defined(NOWHERE) && defined(THERE) && THERE == 0"] {
        program(GLSL, &branch(condition));
    }
    for condition in ["defined(NOWHERE)", "!defined THERE"] {
        let (stage, line, message) = refusal(GLSL, &branch(condition));
        assert_eq!((stage, line), (Stage::Preprocess, Some(5)), "{message}");
    }
}
