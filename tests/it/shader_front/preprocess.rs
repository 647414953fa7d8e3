//! Every directive and every quirk of the `compute_toys` preprocessor.

use kiln::shader_job::preprocess::{DispatchRule, Expanded, Settings, built_in, preprocess};
use kiln::shader_job::{ShaderErrors, Stage};

fn expand(source: &str) -> Result<Expanded, ShaderErrors> {
    let settings = Settings { size: [640, 360], expanded_bytes_max: 4 << 20, includes: &built_in };
    preprocess(source, &settings)
}

#[track_caller]
fn text(source: &str) -> String {
    expand(source).unwrap_or_else(|errors| panic!("{errors}\n{source}")).text.text
}

#[track_caller]
fn refused(source: &str) -> (Option<u32>, Option<u32>, String) {
    let errors = expand(source).expect_err("this text must be refused");
    let first = errors.first();
    assert_eq!(first.stage, Stage::Preprocess, "{first:?}");
    (first.line, first.column, first.message.clone())
}

#[test]
fn screen_size_and_string_length_are_predefined() {
    assert_eq!(text("a SCREEN_WIDTH*SCREEN_HEIGHT b STRING_MAX_LEN"), "a 640*360 b 20\n");
}

#[test]
fn words_are_replaced_once_and_also_in_comments() {
    assert_eq!(text("#define A B\n#define B C\nA // A\n/* B */ xA A_ A1"), "B // B\n/* C */ xA A_ A1\n");
}

#[test]
fn a_value_is_expanded_when_it_is_defined() {
    assert_eq!(text("#define N 4\n#define M N*N\nM"), "4*4\n");
    assert_eq!(text("#define M N*N\n#define N 4\nM"), "N*N\n", "replaced once, not again");
}

#[test]
fn a_word_begins_at_any_letter_even_behind_a_digit() {
    assert_eq!(text("#define e5 !\n1e5 1.0e5 x1e5"), "1! 1.0! x1e5\n");
}

#[test]
fn a_define_is_split_at_single_spaces() {
    assert_eq!(text("#define A  two\nA"), " two\n", "the second space belongs to the value");
    let (line, column, message) = refused("x\n  #define  A 1");
    assert_eq!((line, column), (Some(2), Some(3)));
    assert!(message.contains("single spaces"), "{message}");
}

#[test]
fn a_define_may_be_empty_and_loses_comments() {
    assert_eq!(text("#define A\n[A]"), "[]\n");
    assert_eq!(text("#define A 1 /* one */ + 2 // three\n[A]"), "[1  + 2]\n");
}

#[test]
fn redefining_is_an_error_but_calcdefine_may() {
    let (line, _, message) = refused("#define A 1\n\n#define A 2");
    assert_eq!(line, Some(3));
    assert!(message.contains("redefine A") && message.contains("#calcdefine"), "{message}");
    assert!(refused("#define SCREEN_WIDTH 3").2.contains("SCREEN_WIDTH"));
    assert_eq!(text("#define A 1\n#calcdefine A A+1\n#calcdefine A A*10\nA"), "20\n");
}

#[test]
fn calcdefine_computes_integers_exactly_and_floats_with_a_point() {
    for (expression, value) in [
        ("7/2", "3"),
        ("-7/2", "-3"),
        ("7%4", "3"),
        ("2^10", "1024"),
        ("2^3^2", "512"),
        ("1<<5", "32"),
        ("0x10 + 2u", "18"),
        ("(1+2)*(3+4)", "21"),
        ("max(3,4)", "4"),
        ("min(3,4)+1", "4"),
        ("abs(-5)", "5"),
        ("sign(-5)", "-1"),
        ("select(1,2,0)", "1"),
        ("select(1,2,7)", "2"),
        ("2 && 3", "3"),
        ("0 && 3", "0"),
        ("0 || 5", "5"),
        ("7.0/2", "3.5"),
        ("6.0/2", "3.0"),
        ("sqrt(16)", "4.0"),
        ("pow(2,0.5)", "1.4142135623730951"),
        ("1.0/3", "0.3333333333333333"),
        ("1e-7*1", "1e-7"),
        ("floor(2.7)", "2.0"),
        ("round(2.5)", "3.0"),
        ("clamp(5.0,0,1)", "1.0"),
        ("mix(0.0,10,0.25)", "2.5"),
        ("smoothstep(0.0,1,0.5)", "0.5"),
        ("fract(1.25)", "0.25"),
        ("SCREEN_WIDTH/SCREEN_HEIGHT", "1"),
        ("SCREEN_WIDTH*SCREEN_HEIGHT", "230400"),
    ] {
        assert_eq!(text(&format!("#calcdefine A {expression}\nA")), format!("{value}\n"), "{expression}");
    }
}

#[test]
fn an_expression_that_cannot_be_computed_says_why() {
    for (expression, part) in [
        ("1/0", "no value"),
        ("1.0/0", "no number"),
        ("foo+1", "foo"),
        ("1 < 2", "'<'"),
        ("(1", "expected `)`"),
        ("1 +", "ends"),
        ("frob(1)", "frob"),
        ("pow(2.0)", "2 arguments"),
        ("2^999999", "too large"),
        ("1<<500", "too large"),
    ] {
        let (line, _, message) = refused(&format!("\n#calcdefine A {expression}"));
        assert_eq!(line, Some(2), "{expression}");
        assert!(message.contains(part), "{expression}: {message}");
    }
    let deep = format!("#if {}1{}", "(".repeat(10_000), ")".repeat(10_000));
    assert!(refused(&deep).2.contains("nested"), "a deep expression is refused, not recursed into");
}

#[test]
fn branches_drop_text_only_and_nest() {
    let source =
        "#define YES 1\n#ifdef YES\na\n#else\nb\n#endif\n#ifndef YES\nc\n#else\nd\n#if 0\ne\n#endif\nf\n#endif\ng";
    assert_eq!(text(source), "a\nd\nf\ng\n");
    assert_eq!(text("#if 0.0\na\n#endif\n#if 2-2\nb\n#endif\n#if SCREEN_WIDTH\nc\n#endif"), "c\n");
}

#[test]
fn directives_in_a_false_branch_still_run() {
    let expanded = expand("#if 0\n#define A 1\n#storage buffer array<u32>\n#endif\nA").expect("it is valid");
    assert_eq!(expanded.text.text, "@group(0) @binding(0) var<storage, read_write> buffer: array<u32>;\n1\n");
}

#[test]
fn an_unclosed_branch_is_no_error_but_a_stray_end_is() {
    assert_eq!(text("#if 1\na"), "a\n");
    assert!(refused("#endif").2.contains("#endif"));
    assert!(refused("#else").2.contains("#else"));
    assert!(refused("#if").2.contains("#if EXPRESSION"));
    assert!(refused("#ifdef").2.contains("#ifdef NAME"));
}

#[test]
fn an_unknown_directive_is_an_error_with_its_place() {
    let (line, column, message) = refused("a\n   #pragma once");
    assert_eq!((line, column), (Some(2), Some(4)));
    assert!(message.contains("#pragma"), "{message}");
    assert!(refused("# define A 1").2.contains("Unknown"), "a space after # is none of the site's directives");
    assert!(refused("#").2.contains("Unknown"));
}

#[test]
fn storage_takes_the_bindings_in_order_and_at_most_two() {
    let expanded = expand("#storage a array<vec4<f32>,\tSCREEN_WIDTH>\n#storage b S").expect("it is valid");
    assert_eq!(
        expanded.text.text,
        "@group(0) @binding(0) var<storage, read_write> a: array<vec4<f32>, 640>;\n\
         @group(0) @binding(1) var<storage, read_write> b: S;\n"
    );
    assert!(refused("#storage a A\n#storage b B\n#storage c C").2.contains("At most 2"));
    assert!(refused("#storage a A\n#storage a B").2.contains("twice"));
    assert!(refused("#storage a").2.contains("#storage NAME TYPE"));
}

#[test]
fn workgroup_counts_are_expressions_and_the_missing_ones_are_one() {
    let count = |arguments: &str| {
        let expanded = expand(&format!("#define N 100\n#workgroup_count main {arguments}"));
        expanded.map(|expanded| expanded.workgroup_counts["main"].0)
    };
    assert_eq!(count("16 8 4").ok(), Some([16, 8, 4]));
    assert_eq!(count("16").ok(), Some([16, 1, 1]));
    assert_eq!(count("(N+15)/16 N<<1").ok(), Some([7, 200, 1]));
    assert_eq!(count("2 3 4 5").ok(), Some([2, 3, 4]), "more than three are ignored");
    assert_eq!(count("8 -2").ok(), Some([6, 1, 1]), "a sign joins two numbers");
    assert_eq!(count("1+2*3 ~0&7 6^3|8").ok(), Some([7, 7, 13]));
    assert!(count("").is_err() && count("0 1 1").is_err() && count("4/0").is_err());
    assert!(count("65535 65535 65535").is_ok(), "its bound is checked against the program, not here");
}

#[test]
fn dispatch_rules_are_kept_by_entry_point() {
    let expanded = expand("#dispatch_count a 7\n#dispatch_once b\n#dispatch_count c 0x10u\n#dispatch_count d 0");
    let rules = expanded.expect("it is valid").dispatch_rules;
    assert_eq!(rules["a"], (DispatchRule::Count(7), 1));
    assert_eq!(rules["b"], (DispatchRule::Once, 2));
    assert_eq!(rules["c"].0, DispatchRule::Count(16));
    assert_eq!(rules["d"].0, DispatchRule::Once, "the site stores once as a count of 0");
    assert!(refused("#dispatch_count a").2.contains("ENTRY N"));
    assert!(refused("#dispatch_count a b").2.contains("\"b\""));
    assert!(refused("#dispatch_once").2.contains("ENTRY"));
}

#[test]
fn enable_lines_go_in_front_and_lose_comments() {
    let expanded = expand("a\n  enable f16; // half\nenabled = 1;").expect("it is valid");
    assert_eq!(expanded.text.text, "a\nenabled = 1;\n");
    assert_eq!(expanded.enables.text, "  enable f16; \n");
}

#[test]
fn string_literals_become_codes_after_the_string_include() {
    assert_eq!(text("let s = \"hi\";"), "let s = \"hi\";\n", "without the include they stay");
    let source = "#include <string>\nlet s = \"h\\u00e9\\n\"; // \"x\"";
    let last = text(source).lines().last().expect("there are lines").to_owned();
    let zeros = ", 0x0000".repeat(17);
    let x = format!("String(1, array<u32,20>(0x0078{}))", ", 0x0000".repeat(19));
    assert_eq!(last, format!("let s = String(3, array<u32,20>(0x0068, 0x00e9, 0x000a{zeros})); // {x}"));
    let (line, _, message) = refused("#include <string>\n\"123456789012345678901\"");
    assert_eq!(line, Some(2));
    assert!(message.contains("21 characters"), "{message}");
}

#[test]
fn an_include_is_found_by_quotes_or_chevrons() {
    assert!(text("#include \"Dave_Hoskins/hash\"").contains("fn hash33("));
    assert!(text("#include <float>\nFLT_MAX").contains("3.40282346638528859812e+38"));
    assert!(text("#include \"std/float\"").contains("fn isnan("));
    let (line, _, message) = refused("\n#include \"nobody/nothing\"");
    assert_eq!(line, Some(2));
    assert!(message.contains("nobody/nothing") && message.contains("iq/noise_simplex_2d"), "{message}");
    assert!(refused("#include hash").2.contains("#include <name>"));
    assert!(refused("#include \"a b\"").2.contains("#include"), "a path holds no space");
}

#[test]
fn an_include_that_includes_itself_ends_at_the_depth_cap() {
    let settings = Settings {
        size: [1, 1],
        expanded_bytes_max: 4 << 20,
        includes: &|_| Some("a\n#include \"again\"\n#include \"again\""),
    };
    let errors = preprocess("\n#include \"again\"", &settings).expect_err("it never ends by itself");
    let first = errors.first();
    assert_eq!((first.stage, first.line, first.include.as_deref()), (Stage::Limit, Some(2), Some("again")));
}

#[test]
fn expansion_ends_at_its_cap() {
    let mut source = String::from("#define A0 xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n");
    for n in 1..60 {
        source.push_str(&format!("#define A{n} A{m} A{m}\n", m = n - 1));
    }
    let first = expand(&source).expect_err("it doubles sixty times").first().clone();
    assert!(first.message.contains("4194304 bytes"), "{first:?}");
    let many = "#include \"Dave_Hoskins/hash\"\n".repeat(9_000);
    let first = expand(&many).expect_err("it is longer than the cap").first().clone();
    assert_eq!(first.stage, Stage::Limit, "{first:?}");
}

#[test]
fn every_column_leads_back_through_macros_to_the_users_text() {
    let source = "#define LONG something_longer\n#define E\nab LONG cd E ef LONG;\n\tü LONG x";
    let expanded = expand(source).expect("it is valid").text;
    let place = |needle: &str, nth: usize| {
        let at = expanded.text.match_indices(needle).nth(nth).expect("it is there").0;
        let place = expanded.place(at).expect("it is the user's");
        (place.line, place.column)
    };
    assert_eq!(place("ab", 0), (3, 1));
    assert_eq!(place("something", 0), (3, 4));
    assert_eq!(place("longer", 0), (3, 4), "inside a macro: the macro's name");
    assert_eq!(place("cd", 0), (3, 9));
    assert_eq!(place("ef", 0), (3, 14));
    assert_eq!(place(";", 0), (3, 21));
    assert_eq!(place("x\n", 0), (4, 9), "columns count characters");
}

#[test]
fn crlf_is_a_line_end_like_any_other() {
    let expanded = expand("#define A 1\r\n#storage b B\r\n#workgroup_count m 2 3\r\nA\r\n").expect("it is valid");
    assert!(expanded.text.text.contains("b: B;"), "{}", expanded.text.text);
    assert!(expanded.text.text.contains("\n1\r\n"));
    assert_eq!(expanded.workgroup_counts["m"].0, [2, 3, 1]);
}
