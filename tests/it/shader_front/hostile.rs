//! Untrusted code: every text ends as a typed error or as a program with fuel, in bounded work, without a panic.
//!
//! Texts that are small stand in `tests/hostile/`; the large ones are made here.

use super::{SIZE, compiled, program, refusal};
use kiln::limits::*;
use kiln::shader_job::{Dialect, ShaderSource, Stage, compile};
use proptest::prelude::*;

const TOY: Dialect = Dialect::ComputeToys;
const KILN: Dialect = Dialect::Kiln;

fn corpus(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[track_caller]
fn corpus_text(name: &str) -> String {
    String::from_utf8(corpus(name)).expect("this one is UTF-8")
}

/// A toy whose only line of code is `body`.
fn toy(body: &str) -> String {
    format!(
        "@compute @workgroup_size(16, 16)\nfn main_image(@builtin(global_invocation_id) id: uint3) {{\n{body}\n}}\n"
    )
}

#[test]
fn endless_loops_become_programs_with_fuel() {
    for (name, line) in [("infinite_loop.wgsl", 4), ("infinite_loop_barrier.wgsl", 5)] {
        let program = program(TOY, &corpus_text(name));
        let [place] = program.units[0].fuel.loops.as_slice() else { panic!("{name} has one loop") };
        assert_eq!(place.problem.line, Some(line), "{name}");
        assert_eq!(place.problem.stage, Stage::Run);
        assert_eq!(program.iterations_max, u64::from(SHADER_FUEL_ITERATIONS_DEFAULT));
    }
}

#[test]
fn a_job_may_lower_the_fuel_and_never_raise_it_over_the_limit() {
    let source = corpus("long_loop.wgsl");
    let mut request = ShaderSource::new(TOY, &source, SIZE);
    request.allowed.driver_iterations = SHADER_DRIVER_ITERATIONS_LLVMPIPE;
    let fuel = |request: &ShaderSource<'_>| compile(request).expect("it compiles").units[0].fuel.iterations_max;
    assert_eq!(fuel(&request), 65_500);
    request.allowed.driver_iterations = u32::MAX;
    request.allowed.fuel_iterations = u32::MAX;
    assert_eq!(fuel(&request), SHADER_FUEL_ITERATIONS_MAX);
    let both = toy(
        "for (var i = 0u; i < id.x; i++) { workgroupBarrier(); }\nfor (var i = 0u; i < id.y; i++) { textureStore(screen, int2(0), float4(1.0)); }",
    );
    let mut request = ShaderSource::new(TOY, both.as_bytes(), SIZE);
    request.allowed.driver_iterations = SHADER_DRIVER_ITERATIONS_LLVMPIPE;
    assert_eq!(fuel(&request), 32_750, "two kinds of loops share what the driver can do");
    const { assert!(SHADER_FUEL_ITERATIONS_DEFAULT > 200_000, "a loop of 200,000 iterations is no attack") };
}

#[test]
fn long_expressions_and_ladders_are_refused_before_the_parser_sees_them() {
    let terms = vec!["x"; 4_000].join(" + ");
    let (stage, line, message) = refusal(TOY, &toy(&format!("let x = 1.0;\nlet y = {terms};")));
    assert_eq!((stage, line), (Stage::Limit, Some(4)), "{message}");
    let ladder: String = (0..2_000).map(|n| format!("else if id.x == {n}u {{ x = {n}u; }}\n")).collect();
    let (stage, line, message) = refusal(TOY, &toy(&format!("var x = 0u; if x == 1u {{}}\n{ladder}")));
    assert_eq!((stage, line), (Stage::Limit, Some(4 + SHADER_ELSE_IF_MAX as u32)), "{message}");
    for open in ["(", "[", "{", "-(", "array<", "vec4(", "if (true) {", "!", "~", "&", "x.", "x[0]["] {
        let text = toy(&format!("let y = {};", open.repeat(20_000)));
        let (stage, _, message) = refusal(TOY, &text);
        assert_eq!(stage, Stage::Limit, "{open}: {message}");
    }
    let data = vec!["-1.5"; 10_000].join(", ");
    let text =
        toy(&format!("var table = array<f32, 10000>({data}); textureStore(screen, int2(0), float4(table[id.x]));"));
    let stage = compiled(TOY, &text).map(drop).map_err(|errors| errors.first().clone());
    assert_eq!(stage, Ok(()), "a long table is no deep expression");
}

#[test]
fn crowds_of_functions_and_cases_are_refused_before_the_parser_sees_them() {
    let functions: String = (0..30_000).map(|n| format!("fn f{n}(){{}}")).collect::<String>();
    assert!(functions.len() > SHADER_SOURCE_BYTES_MAX, "a hundred thousand do not even fit");
    assert!(refusal(TOY, &functions).2.contains("bytes"));
    let functions: String = (0..10_000).map(|n| format!("fn f{n}(){{}}")).collect::<String>();
    assert!(refusal(TOY, &functions).2.contains("functions"));
    let cases: String = (0..5_000).map(|n| format!("case {n}: {{}}\n")).collect();
    assert!(refusal(TOY, &toy(&format!("switch 1 {{ {cases} default: {{}} }}"))).2.contains("cases"));
    let constants: String = (0..9_000).map(|n| format!("const c{n}=1;")).collect();
    assert!(refusal(TOY, &constants).2.contains("declarations"));
    assert!(refusal(TOY, &format!("const {} = 1;", "n".repeat(300))).2.contains("name of 300 bytes"));
    let list = vec!["1"; 20_000].join(",");
    assert!(refusal(TOY, &format!("const a = array({list});")).2.contains("entries"));
    let words =
        "#define W a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a\n".to_owned() + &"W\n".repeat(20_000);
    assert!(refusal(TOY, &words).2.contains("tokens"));
}

#[test]
fn a_call_tree_that_doubles_at_every_level_is_refused() {
    let mut source = String::from("fn f0(x: f32) -> f32 { return sin(x) + 1.0; }\n");
    for level in 1..=14 {
        let callee = level - 1;
        source.push_str(&format!("fn f{level}(x: f32) -> f32 {{ return f{callee}(x) + f{callee}(x + 1.0); }}\n"));
    }
    source.push_str(&toy("textureStore(screen, int2(id.xy), float4(f14(0.5)));"));
    let (stage, line, message) = refusal(TOY, &source);
    assert_eq!(stage, Stage::Limit, "{message}");
    assert!(message.contains("main_image") && line.is_some(), "{message}");
    assert!(program(TOY, &source.replace("f14(0.5)", "f9(0.5)")).memory_bytes > 0, "a tree of depth 9 is fine");
}

#[test]
fn memory_of_an_invocation_and_of_a_workgroup_is_bounded() {
    let private = "var<private> big: array<u32, 60000000>;\n".to_owned()
        + &toy("big[id.x] = 1u; textureStore(screen, int2(0), float4(f32(big[3])));");
    let (stage, line, message) = refusal(TOY, &private);
    assert_eq!((stage, line), (Stage::Limit, Some(1)), "{message}");
    assert!(message.contains("240000000 bytes of private memory"), "{message}");
    let local = "fn g(i: u32) -> u32 { var a: array<u32, 20000>; a[i] = i; return a[i + 1u]; }
        fn h(i: u32) -> u32 { var b: array<u32, 20000>; b[i] = g(i); return b[i + 1u]; }\n"
        .to_owned()
        + &toy("textureStore(screen, int2(0), float4(f32(h(id.x))));");
    assert!(refusal(TOY, &local).2.contains("private memory"), "local variables add up along the calls");
    let shared = "var<workgroup> tile: array<vec4<f32>, 10000>;\n".to_owned() + &toy("tile[id.x] = float4(1.0);");
    assert!(refusal(TOY, &shared).2.contains("160000 bytes of workgroup memory"));
    let huge = "var<private> huge: array<array<u32, 65536>, 65536>;\n".to_owned() + &toy("huge[0][0] = 1u;");
    assert!(matches!(refusal(TOY, &huge).0, Stage::Limit | Stage::Validate | Stage::Parse));
    assert!(refusal(TOY, "@compute @workgroup_size(64, 64) fn main() {}").2.contains("64 × 64 × 1"));
}

#[test]
fn values_that_are_no_variables_are_bounded_like_those() {
    let screen = |value: &str| format!("textureStore(screen, int2(id.xy), float4(float({value})));");
    let big = toy(&format!("let big = array<u32, 60000000>();\n{}", screen("big[id.x]")));
    let (stage, line, message) = refusal(TOY, &big);
    assert_eq!((stage, line), (Stage::Limit, Some(3)), "{message}");
    assert!(message.contains("240000000 bytes"), "{message}");
    let constant = format!("const big = array<u32, 60000000>();\n{}", toy(&screen("big[id.x]")));
    assert_eq!(refusal(TOY, &constant).0, Stage::Limit);
    let storage = "struct Data { data: array<u32, 1000000>, one: u32 }\n#storage a Data\n#storage b Data\n";
    for body in [format!("let c = a.data;\n{}", screen("c[id.x]")), "a.data = b.data;".into(), "a = b;".into()] {
        let (stage, line, message) = refusal(TOY, &format!("{storage}{}", toy(&body)));
        assert_eq!(stage, Stage::Limit, "{body}: {message}");
        assert!(message.contains("used as a whole") && line == Some(6), "{body}: line {line:?}, {message}");
    }
    // Every value that is indexed with a number known at run time becomes a variable, and those add up.
    let spilled = |count: usize| {
        let values: String =
            (0..count).map(|n| format!("let v{n} = array<u32, 4096>();\nsum += v{n}[id.x % 4096u];\n")).collect();
        toy(&format!("var sum = 0u;\n{values}{}", screen("sum")))
    };
    assert!(refusal(TOY, &spilled(9)).2.contains("bytes of private memory"));
    assert!(compiled(TOY, &spilled(7)).is_ok(), "7 × 16 KiB are within the bound");
    let arguments = format!(
        "fn first(a: array<u32, 5000>) -> u32 {{ return a[0]; }}\n{}",
        toy(&format!("var x: array<u32, 5000>;\n{}", screen("first(x)")))
    );
    assert!(refusal(TOY, &arguments).2.contains("20000 bytes is used as a whole"));
    // What real shaders do stays allowed.
    let usual = "struct P { pos: vec4f, trail: array<vec4f, 16> }\n#storage many array<P, 1000>\nconst table = array<f32, 4>(1, 2, 3, 4);\n";
    let body = format!("var p = many[id.x];\nmany[id.y] = p;\nlet t = table;\n{}", screen("t[id.x % 4u]"));
    assert!(compiled(TOY, &format!("{usual}{}", toy(&body))).is_ok());
}

#[test]
fn copies_of_large_values_count_as_what_compilers_make_of_them() {
    let copies = |count: usize| {
        let body = "many[id.x] = many[id.y];\n".repeat(count);
        format!("struct P {{ trail: array<vec4f, 1000> }}\n#storage many array<P, 100>\n{}", toy(&body))
    };
    assert!(compiled(TOY, &copies(50)).is_ok());
    assert!(refusal(TOY, &copies(500)).2.contains("too large for a compiler"));
}

#[test]
fn what_a_text_puts_into_warnings_and_messages_is_bounded() {
    let run = toy("textureStore(screen, int2(id.xy), float4(1.0));");
    let long = program(TOY, &format!("#workgroup_count {} 1 1 1\n{run}", "\\".repeat(100_000)));
    let [warning] = &long.warnings[..] else { panic!("{} warnings", long.warnings.len()) };
    assert!(warning.len() <= SHADER_MESSAGE_BYTES_MAX, "{} bytes", warning.len());
    let many: String = (0..1000).map(|n| format!("#workgroup_count nobody{n} 1 1 1\n")).collect();
    let many = program(TOY, &format!("{many}{run}")).warnings;
    assert_eq!(many.len(), SHADER_WARNINGS_MAX + 1);
    assert_eq!(many.last().unwrap(), "There are 984 more warnings.");
    let (.., message) = refusal(TOY, &format!("#{}\n{run}", "x".repeat(200_000)));
    assert!(message.len() <= SHADER_MESSAGE_BYTES_MAX, "{} bytes", message.len());
}

#[test]
fn numbers_of_bindings_are_bounded_up_to_the_last_one() {
    let bound = |number: u64| {
        format!(
            "@group(0) @binding({number}) var output: texture_storage_2d<rgba8unorm, write>;
            @compute @workgroup_size(1) fn main() {{ textureStore(output, vec2u(), vec4f()); }}"
        )
    };
    assert!(compiled(KILN, &bound(998)).is_ok());
    for number in [999, 1000, u64::from(u32::MAX) - 1, u64::from(u32::MAX)] {
        let (stage, line, message) = refusal(KILN, &bound(number));
        assert_eq!((stage, line), (Stage::Limit, Some(1)), "{number}: {message}");
    }
}

#[test]
fn a_directive_that_is_taken_away_leaves_every_place_where_it_was() {
    let source = "enable /* \u{fc}\u{20ac}\u{1f680} */ subgroups; fn f() { nobody(); }
        @compute @workgroup_size(1) fn main() {}";
    let mut request = ShaderSource::new(KILN, source.as_bytes(), SIZE);
    request.allowed.subgroups = true;
    let errors = compile(&request).expect_err("it calls nobody");
    let first = errors.first();
    assert_eq!((first.line, first.column), (Some(1), Some(38)), "{first:?}");
}

#[test]
fn dispatches_and_storage_are_bounded() {
    let run = toy("textureStore(screen, int2(id.xy), float4(1.0));");
    let (stage, line, message) = refusal(TOY, &corpus_text("workgroups_65535_cubed.wgsl"));
    assert_eq!((stage, line), (Stage::Limit, Some(1)), "{message}");
    assert!(refusal(TOY, &format!("#workgroup_count main_image 65536 1 1\n{run}")).2.contains("65535"));
    let (stage, line, message) = refusal(TOY, &corpus_text("dispatches_257.wgsl"));
    assert_eq!((stage, line), (Stage::Limit, Some(1)), "{message}");
    assert!(message.contains("257 dispatches"), "{message}");
    let entries: String = (0..65)
        .map(|n| format!("@compute @workgroup_size(1) fn e{n}() {{ textureStore(screen, int2(0), float4(1.0)); }}\n"))
        .collect();
    assert!(refusal(TOY, &entries).2.contains("65 entry points"));
    let (stage, _, message) = refusal(TOY, &corpus_text("storage_2_gib.wgsl"));
    assert_eq!(stage, Stage::Limit, "{message}");
    assert!(message.contains("exceeds limit of 2147483647 bytes"), "{message}");
}

#[test]
fn not_utf_8_is_refused_with_its_place() {
    let errors = compile(&ShaderSource::new(TOY, &corpus("latin1.wgsl"), SIZE)).expect_err("it is Latin-1");
    let first = errors.first();
    assert_eq!((first.stage, first.line, first.column), (Stage::Preprocess, Some(2), Some(10)), "{first:?}");
    assert!(first.message.contains("0xe9"), "{first:?}");
}

#[test]
fn crlf_and_a_byte_order_mark_change_nothing() {
    let plain = toy("for (var i = 0; i < 3; i++) { textureStore(screen, int2(i), float4(1.0)); }");
    let crlf = format!("\u{feff}{}", plain.replace('\n', "\r\n"));
    let (a, b) = (program(TOY, &plain), program(TOY, &crlf));
    assert_eq!(a.units[0].bindings, b.units[0].bindings);
    assert_eq!(a.units[0].fuel.loops[0].problem.line, b.units[0].fuel.loops[0].problem.line);
}

#[test]
fn a_megabyte_of_comments_is_too_long_and_a_quarter_is_not() {
    let comments = "// nothing to see here\n".repeat(1_048_576 / 23);
    assert_eq!(refusal(TOY, &comments).0, Stage::Limit);
    let fits = format!("{}{}", &comments[..200 * 1024 / 23 * 23], toy("textureStore(screen, int2(0), float4(1.0));"));
    assert!(program(TOY, &fits).memory_bytes > 0);
    let nested = "/*".repeat(60_000);
    assert!(compiled(TOY, &nested).is_err());
    assert!(compiled(KILN, &nested).is_err());
}

#[test]
fn recursion_is_refused() {
    let source = format!("fn a() {{ b(); }} fn b() {{ a(); }}\n{}", toy("a();"));
    assert_eq!(refusal(TOY, &source).0, Stage::Parse);
}

#[test]
fn nan_and_infinity_in_constants_are_refused_by_the_parser() {
    let (stage, line, _) = refusal(TOY, &toy("textureStore(screen, int2(0), float4(1.0 / 0.0));"));
    assert_eq!((stage, line), (Stage::Parse, Some(3)));
    assert!(
        compiled(TOY, &corpus_text("nan_and_infinity.wgsl")).is_ok(),
        "at run time they are numbers like any other"
    );
}

#[test]
fn odd_pictures_are_refused() {
    for size in [[0, 1], [1, 0], [20_000, 1], [16_384, 16_384]] {
        let errors = compile(&ShaderSource::new(KILN, b"", size)).expect_err("no such picture");
        assert_eq!(errors.first().stage, Stage::Limit);
    }
}

/// Pieces of real and broken shaders.
fn soup() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "fn",
        "f",
        "(",
        ")",
        "{",
        "}",
        "[",
        "]",
        "<",
        ">",
        ";",
        ",",
        ":",
        "=",
        "+",
        "-",
        "*",
        "/",
        "//",
        "/*",
        "*/",
        "&",
        "|",
        "@",
        "compute",
        "@compute",
        "@workgroup_size(8)",
        "var",
        "let",
        "const",
        "if",
        "else",
        "for",
        "loop",
        "while",
        "switch",
        "case",
        "default",
        "break",
        "continue",
        "continuing",
        "return",
        "x",
        "y",
        "id",
        "1",
        "1.0",
        "0x1F",
        "1e5",
        "1u",
        "vec4<f32>",
        "f32",
        "array",
        "struct",
        "S",
        "alias",
        "override",
        "enable",
        "f16",
        "subgroups",
        "screen",
        "textureStore",
        "\n",
        "\n#define A B\n",
        "\n#if 1\n",
        "\n#else\n",
        "\n#endif\n",
        "\n#include <string>\n",
        "\n#storage s S\n",
        "\n#calcdefine N 1+1\n",
        "\"",
        "\\",
        "é",
        "\r\n",
        "\n#workgroup_count f 1 2 3\n",
        "\n#dispatch_count f 3\n",
        "A",
        "->",
        "==",
        "&&",
        "_",
        "__x",
        "\u{0}",
        "workgroupBarrier()",
        "void",
        "mainImage(out vec4 c, in vec2 p)",
        "vec2",
        "uniform",
        "#version 300 es\n",
        "texture(iChannel0, p)",
        "inout",
        "++",
        "? :",
    ]);
    prop::collection::vec(piece, 0..120).prop_map(|pieces| pieces.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_compiler_panic(text in soup(), dialect in prop::sample::select(vec![TOY, KILN, Dialect::Shadertoy])) {
        if let Err(errors) = compiled(dialect, &text) {
            prop_assert!(!errors.first().message.contains("fault of its own"), "{errors}");
        }
    }

    #[test]
    fn no_mutation_of_a_shader_makes_the_compiler_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(b" (){};<>+-*/#@\"x0.\n".to_vec())), 1..8),
    ) {
        let mut bytes = corpus("ordinary.wgsl");
        for (index, byte) in edits {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        if let Err(errors) = compile(&ShaderSource::new(TOY, &bytes, SIZE)) {
            prop_assert!(!errors.first().message.contains("fault of its own"), "{errors}");
            for problem in errors.problems() {
                let lines = bytes.iter().filter(|&&byte| byte == b'\n').count() as u32 + 1;
                prop_assert!(problem.line.is_none_or(|line| (1..=lines).contains(&line)), "{problem:?}");
            }
        }
    }
}
