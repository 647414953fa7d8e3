//! Loop fuel: with enough of it nothing changes, with too little every loop ends and says where it was.

use super::gpu_run::{run, wgsl};
use crate::gpu::device_or_skip;
use kiln::shader_job::source_map::MappedText;
use kiln::shader_job::{Allowed, FuelReport, front, fuel};
use naga::ResourceBinding;

/// A kernel around `fn f(x: u32) -> u32`: 64 invocations, each with its own x.
fn kernel(functions: &str) -> String {
    format!(
        "@group(0) @binding(0) var<storage, read_write> words: array<u32>;
         @compute @workgroup_size(64) fn main(@builtin(local_invocation_index) i: u32) {{ words[i] = f(words[i]); }}
         {functions}"
    )
}

/// The text with fuel, and its report.
fn fuelled(source: &str, iterations_max: u32) -> (String, FuelReport) {
    let mapped = MappedText::verbatim(source);
    let mut module = front::parse(&mapped).unwrap_or_else(|errors| panic!("{errors}"));
    let allowed = Allowed::default();
    front::validate(&module, &mapped, &allowed).unwrap_or_else(|errors| panic!("before: {errors}"));
    let report = fuel::add(&mut module, &mapped, iterations_max, ResourceBinding { group: 0, binding: 1 });
    let info = front::validate(&module, &mapped, &allowed).unwrap_or_else(|errors| panic!("after: {errors}"));
    (wgsl(&module, &info), report)
}

/// Loops of every shape, each with the line on which its (first) loop stands in the text of `kernel`.
const SHAPES: [(&str, &str); 11] = [
    (
        "for with break and continue",
        "fn f(x: u32) -> u32 {
        var sum = 0u;
        for (var i = 0u; i < 40u; i++) { if i == x { continue; } if i > x * 2u { break; } sum += i; }
        return sum;
    }",
    ),
    (
        "nested for",
        "fn f(x: u32) -> u32 {
        var sum = 0u;
        for (var i = 0u; i < x; i++) { for (var j = i; j < x; j++) { if j % 3u == 0u { continue; } sum += i * j; } }
        return sum;
    }",
    ),
    (
        "while",
        "fn f(x: u32) -> u32 { var n = x + 1u; var steps = 0u;
        while n != 1u { n = select(n / 2u, 3u * n + 1u, n % 2u == 1u); steps++; }
        return steps;
    }",
    ),
    (
        "loop with continuing and break if",
        "fn f(x: u32) -> u32 { var i = 0u; var sum = 0u;
        loop { if i % 2u == 0u { continue; } sum += i; continuing { i += 3u; break if i > x; } }
        return sum;
    }",
    ),
    (
        "a switch in a loop: its break is not the loop's",
        "fn f(x: u32) -> u32 { var sum = 0u;
        for (var i = 0u; i < x; i++) {
            switch i % 4u { case 0u: { break; } case 1u: { continue; } case 2u, 3u: { sum += i; } default: { } }
            sum += 1000u;
        }
        return sum;
    }",
    ),
    (
        "a return inside",
        "fn f(x: u32) -> u32 {
        for (var i = 0u; i < 100u; i++) { if i * i > x { return i; } }
        return 7u;
    }",
    ),
    (
        "a loop inside a continuing block",
        "fn f(x: u32) -> u32 { var i = 0u; var sum = 0u;
        loop { sum += 1u; continuing { for (var j = 0u; j < 3u; j++) { i += j; } break if i > x; } }
        return sum;
    }",
    ),
    (
        "loops in called functions",
        "fn g(x: u32) -> u32 { var s = 0u; for (var i = 0u; i < x % 7u; i++) { s += i; } return s; }
        fn f(x: u32) -> u32 { var s = 0u; for (var i = 0u; i < x; i++) { s += g(i) + g(s); } return s; }",
    ),
    (
        "a barrier in a loop",
        "var<workgroup> shared_words: array<u32, 64>;
        fn f(x: u32) -> u32 { var sum = x;
            for (var round = 0u; round < 5u; round++) {
                shared_words[x % 64u] = sum;
                workgroupBarrier();
                sum += shared_words[(x + (1u << round)) % 64u];
                workgroupBarrier();
            }
            return sum;
        }",
    ),
    (
        "a barrier in a loop around a divergent loop",
        "var<workgroup> shared_words: array<u32, 64>;
        fn step(x: u32) { workgroupBarrier(); shared_words[x % 64u] += x; workgroupBarrier(); }
        fn f(x: u32) -> u32 { var sum = 0u;
            for (var round = 0u; round < 4u; round++) {
                for (var i = 0u; i < x; i++) { sum += i ^ round; }
                step(x);
                sum += shared_words[(x + 1u) % 64u];
            }
            return sum;
        }",
    ),
    (
        "if ladders and blocks",
        "fn f(x: u32) -> u32 { var s = x;
        { loop { if s > 1000u { break; } else if s % 2u == 0u { s = s * 3u + 1u; } else { { s += 5u; } } } }
        return s;
    }",
    ),
];

#[test]
fn with_enough_fuel_every_loop_computes_what_it_did() {
    let Some(gpu) = device_or_skip() else { return };
    let input: Vec<u32> = (0..64).collect();
    for (name, functions) in SHAPES {
        let source = kernel(functions);
        let (with_fuel, report) = fuelled(&source, 60_000);
        assert!(!report.loops.is_empty(), "{name}");
        let (expected, _) = run(gpu, &source, &input, None);
        let (found, flag) = run(gpu, &with_fuel, &input, Some(1));
        assert_eq!(found, expected, "{name} on {}\n{with_fuel}", gpu.adapter);
        assert_eq!(flag, 0, "{name} ran out");
        assert!(expected.iter().any(|&word| word != expected[0]), "{name} computes something");
    }
}

#[test]
fn with_too_little_fuel_every_loop_ends_and_is_named() {
    let Some(gpu) = device_or_skip() else { return };
    let input: Vec<u32> = (0..64).map(|i| i + 30).collect();
    for (name, functions) in SHAPES {
        let source = kernel(functions);
        let (with_fuel, report) = fuelled(&source, 2);
        let (_, flag) = run(gpu, &with_fuel, &input, Some(1));
        let place = report.ran_out(flag).unwrap_or_else(|| panic!("{name} did not run out"));
        let line = place.problem.line.unwrap_or_else(|| panic!("{name} has no line"));
        let text = source.lines().nth(line as usize - 1).expect("the line is in the text");
        assert!(["for", "while", "loop"].iter().any(|word| text.contains(word)), "{name}: line {line} is {text:?}");
    }
}

#[test]
fn fuel_is_spent_to_the_last_unit_and_no_further() {
    let Some(gpu) = device_or_skip() else { return };
    // The end must depend on x: Mesa 22.3 takes `n == 0u` for true in the first round of such a loop.
    let source = kernel("fn f(x: u32) -> u32 { var n = 0u; loop { n++; if n + x == 4u { break; } } return n; }");
    for iterations in [50_000, 1000, 40, 3, 2, 1] {
        let (with_fuel, _) = fuelled(&source, iterations);
        let (found, flag) = run(gpu, &with_fuel, &[5; 64], Some(1));
        assert_eq!((found, flag), (vec![iterations; 64], 1), "{iterations} on {}", gpu.adapter);
    }
}

#[test]
fn an_endless_loop_with_a_barrier_ends_for_the_whole_workgroup() {
    let Some(gpu) = device_or_skip() else { return };
    let source = kernel(
        "var<workgroup> shared_words: array<u32, 64>;
         fn f(x: u32) -> u32 {
             for (var i = 0u; i < x * 3u; i++) { if i == 1u << 31u { return 0u; } }
             var rounds = 0u;
             loop {
                 shared_words[x] = rounds;
                 workgroupBarrier();
                 rounds = max(rounds, shared_words[(x + 1u) % 64u]) + 1u;
                 workgroupBarrier();
                 if rounds == 0u { break; }
             }
             return rounds;
         }",
    );
    let (with_fuel, report) = fuelled(&source, 100);
    let input: Vec<u32> = (0..64).collect();
    let (found, flag) = run(gpu, &with_fuel, &input, Some(1));
    assert_eq!(found, vec![100; 64], "all leave in the same round, whatever they spent before");
    let place = report.ran_out(flag).expect("it ran out");
    assert_eq!(place.function, "f");
}

#[test]
fn a_function_that_leaves_its_loop_by_return_only_still_compiles() {
    let Some(gpu) = device_or_skip() else { return };
    let source = kernel("fn f(x: u32) -> u32 { var n = x; loop { n += 3u; if n > 100u { return n; } } }");
    let mapped = MappedText::verbatim(&source);
    if front::parse(&mapped).is_ok_and(|module| front::validate(&module, &mapped, &Allowed::default()).is_ok()) {
        let (with_fuel, _) = fuelled(&source, 1000);
        let (found, flag) = run(gpu, &with_fuel, &[7; 64], Some(1));
        assert_eq!((found, flag), (vec![103; 64], 0));
        let (with_fuel, _) = fuelled(&source, 5);
        assert_eq!(run(gpu, &with_fuel, &[7; 64], Some(1)), (vec![0; 64], 1), "out of fuel it returns zero");
    } else {
        panic!("a loop that is left by return only is valid WGSL");
    }
}

/// Two loops after each other, of `rounds` iterations each, and how many of them ran.
fn two_loops(rounds: u32) -> String {
    kernel(&format!(
        "fn f(x: u32) -> u32 {{ var n = 0u; var m = x;
             for (var i = 0u; i < {rounds}u + x; i++) {{ n++; m = m * 1664525u + 1013904223u; if m == 77u {{ n += 1u; }} }}
             for (var i = 0u; i < {rounds}u + x; i++) {{ n++; m = m * 1664525u + 1013904223u; if m == 77u {{ n += 1u; }} }}
             return n + select(0u, 1u, m == 123u);
         }}"
    ))
}

#[test]
fn with_the_drivers_own_bound_as_fuel_no_loop_ends_in_silence() {
    let Some(gpu) = device_or_skip() else { return };
    let bound = kiln::limits::SHADER_DRIVER_ITERATIONS_LLVMPIPE;
    for rounds in [1_000, 30_000, 32_000, 40_000, 60_000, 100_000] {
        let source = two_loops(rounds);
        let (with_fuel, _) = fuelled(&source, bound);
        let (found, flag) = run(gpu, &with_fuel, &[0; 64], Some(1));
        let right = found.iter().all(|&n| n == 2 * rounds);
        let (plain, _) = run(gpu, &source, &[0; 64], None);
        let plain_right = plain.iter().all(|&n| n == 2 * rounds);
        eprintln!(
            "{rounds} rounds twice on {}: {} without fuel, {} and flag {flag} with it",
            gpu.adapter, plain[0], found[0]
        );
        assert!(right || flag != 0, "{rounds} rounds on {}: {} without a report", gpu.adapter, found[0]);
        assert!(!right || plain_right, "with fuel it is right, without it is not");
        assert_eq!(flag != 0, 2 * (rounds + 1) > bound, "{rounds} rounds");
    }
}
