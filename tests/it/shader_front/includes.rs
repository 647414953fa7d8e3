//! The built-in includes give the numbers of the published formulas, computed here a second time in f32.

use super::gpu_run::run;
use crate::gpu::device_or_skip;
use kiln::shader_job::preprocess::{Settings, built_in, preprocess};

type V2 = [f32; 2];
type V3 = [f32; 3];
type V4 = [f32; 4];

/// Preprocesses includes and a body of `main`, which sees `words` and its index `i`.
fn kernel(head: &str, body: &str) -> String {
    let settings = Settings { size: [64, 64], expanded_bytes_max: 1 << 20, includes: &built_in };
    let source = format!(
        "{head}\n@group(0) @binding(0) var<storage, read_write> words: array<u32>;\n\
         @compute @workgroup_size(64) fn main(@builtin(local_invocation_index) i: u32) {{\n{body}\n}}"
    );
    preprocess(&source, &settings).unwrap_or_else(|errors| panic!("{errors}")).text.text
}

fn fract(x: f32) -> f32 {
    x - x.floor()
}

const SCALE: V4 = [0.1031, 0.1030, 0.0973, 0.1099];

/// The step that most of the family share: scale, fold, add the dot product with a permutation of itself.
fn stirred<const N: usize>(p: [f32; N], permutation: [usize; N]) -> [f32; N] {
    let a: [f32; N] = std::array::from_fn(|k| fract(p[k] * SCALE[k]));
    let dot: f32 = (0..N).map(|k| a[k] * (a[permutation[k]] + 33.33)).sum();
    a.map(|x| x + dot)
}

fn hash11(p: f32) -> f32 {
    let a = fract(p * 0.1031);
    let b = a * (a + 33.33);
    fract(b * (b + b))
}

fn hash12(p: V2) -> f32 {
    let a = [p[0], p[1], p[0]].map(|x| fract(x * 0.1031));
    let dot = a[0] * (a[1] + 33.33) + a[1] * (a[2] + 33.33) + a[2] * (a[0] + 33.33);
    let b = a.map(|x| x + dot);
    fract((b[0] + b[1]) * b[2])
}

fn hash13(p: V3) -> f32 {
    let a = p.map(|x| fract(x * 0.1031));
    let dot = a[0] * (a[2] + 31.32) + a[1] * (a[1] + 31.32) + a[2] * (a[0] + 31.32);
    let b = a.map(|x| x + dot);
    fract((b[0] + b[1]) * b[2])
}

fn hash23(p: V3) -> V2 {
    let b = stirred(p, [1, 2, 0]);
    [fract((b[0] + b[1]) * b[2]), fract((b[0] + b[2]) * b[1])]
}

fn hash3(p: V3, permutation: [usize; 3]) -> V3 {
    let b = stirred(p, permutation);
    [fract((b[0] + b[1]) * b[2]), fract((b[0] + b[2]) * b[1]), fract((b[1] + b[2]) * b[0])]
}

fn hash33(p: V3) -> V3 {
    let b = stirred(p, [1, 0, 2]);
    [fract((b[0] + b[1]) * b[2]), fract((b[0] + b[0]) * b[1]), fract((b[1] + b[0]) * b[0])]
}

fn hash44(p: V4) -> V4 {
    let b = stirred(p, [3, 2, 0, 1]);
    [fract((b[0] + b[1]) * b[2]), fract((b[0] + b[2]) * b[1]), fract((b[1] + b[2]) * b[3]), fract((b[2] + b[3]) * b[0])]
}

/// The largest distance between two numbers on the circle [0, 1), where 0.9999 is near 0.
#[track_caller]
fn assert_near(found: &[u32], expected: &[f32], tolerance: f32, what: &str) {
    for (index, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let found = f32::from_bits(found);
        let distance = (found - expected).abs();
        assert!(distance.min(1.0 - distance) <= tolerance, "{what}, number {index}: {found}, expected {expected}");
    }
}

#[test]
fn hash_without_sine_gives_the_published_numbers() {
    let Some(gpu) = device_or_skip() else { return };
    let point = |i: u32| -> V4 { [i as f32 * 1.7 + 0.3, i as f32 * 0.9 - 20.0, 31.5 - i as f32, i as f32 * 2.25] };
    let make = "let p = vec4<f32>(f32(i) * 1.7 + 0.3, f32(i) * 0.9 - 20.0, 31.5 - f32(i), f32(i) * 2.25);";
    type Reference = fn(V4) -> V4;
    let pad2 = |v: V2| [v[0], v[1], 0.0, 0.0];
    let pad3 = |v: V3| [v[0], v[1], v[2], 0.0];
    let _ = (pad2, pad3);
    let cases: [(&str, Reference); 13] = [
        ("vec4(hash11(p.x), 0, 0, 0)", |p| [hash11(p[0]), 0.0, 0.0, 0.0]),
        ("vec4(hash12(p.xy), 0, 0, 0)", |p| [hash12([p[0], p[1]]), 0.0, 0.0, 0.0]),
        ("vec4(hash13(p.xyz), 0, 0, 0)", |p| [hash13([p[0], p[1], p[2]]), 0.0, 0.0, 0.0]),
        ("vec4(hash21(p.x), 0, 0)", |p| two(hash23([p[0]; 3]))),
        ("vec4(hash22(p.xy), 0, 0)", |p| two(hash23([p[0], p[1], p[0]]))),
        ("vec4(hash23(p.xyz), 0, 0)", |p| two(hash23([p[0], p[1], p[2]]))),
        ("vec4(hash31(p.x), 0)", |p| three(hash3([p[0]; 3], [1, 2, 0]))),
        ("vec4(hash32(p.xy), 0)", |p| three(hash3([p[0], p[1], p[0]], [1, 0, 2]))),
        ("vec4(hash33(p.xyz), 0)", |p| three(hash33([p[0], p[1], p[2]]))),
        ("hash41(p.x)", |p| hash44([p[0]; 4])),
        ("hash42(p.xy)", |p| hash44([p[0], p[1], p[0], p[1]])),
        ("hash43(p.xyz)", |p| hash44([p[0], p[1], p[2], p[0]])),
        ("hash44(p)", hash44),
    ];
    for (call, reference) in cases {
        let body = format!(
            "{make} let h = bitcast<vec4<u32>>({call}); for (var k = 0u; k < 4u; k++) {{ words[i * 4u + k] = h[k]; }}"
        );
        let (found, _) = run(gpu, &kernel("#include \"Dave_Hoskins/hash\"", &body), &[0; 256], None);
        let expected: Vec<f32> = (0..64).flat_map(|i| reference(point(i))).collect();
        // The sums are near 200, whose products lose about 12 bits of the fraction.
        assert_near(&found, &expected, 0.02, call);
        let spread = expected.iter().filter(|x| **x > 0.5).count();
        assert!(spread > 10, "{call} gives numbers all over [0, 1)");
    }
}

fn two(v: V2) -> V4 {
    [v[0], v[1], 0.0, 0.0]
}

fn three(v: V3) -> V4 {
    [v[0], v[1], v[2], 0.0]
}

/// A hash that f32 computes exactly, so that noise can be compared closely.
const EXACT_HASH: &str = "
fn noise_simplex_2d_hash(p: vec2<f32>) -> vec2<f32> { return fract(vec2<f32>(p.x * 0.375 + p.y * 0.125, p.x * 0.25 - p.y * 0.625)); }
fn noise_simplex_3d_hash(p: vec3<f32>) -> vec3<f32> {
    return fract(vec3<f32>(p.x * 0.375 + p.y * 0.125 + p.z * 0.25, p.x * 0.25 - p.y * 0.625, p.z * 0.75 + p.x * 0.125));
}";

fn exact_hash_2d(p: V2) -> V2 {
    [fract(p[0] * 0.375 + p[1] * 0.125), fract(p[0] * 0.25 - p[1] * 0.625)]
}

fn exact_hash_3d(p: V3) -> V3 {
    [
        fract(p[0] * 0.375 + p[1] * 0.125 + p[2] * 0.25),
        fract(p[0] * 0.25 - p[1] * 0.625),
        fract(p[2] * 0.75 + p[0] * 0.125),
    ]
}

fn dot<const N: usize>(a: [f32; N], b: [f32; N]) -> f32 {
    (0..N).map(|k| a[k] * b[k]).sum()
}

fn add<const N: usize>(a: [f32; N], b: [f32; N]) -> [f32; N] {
    std::array::from_fn(|k| a[k] + b[k])
}

fn simplex_2d(p: V2) -> f32 {
    const K1: f32 = 0.366_025_4;
    const K2: f32 = 0.211_324_86;
    let i = p.map(|x| (x + (p[0] + p[1]) * K1).floor());
    let a: V2 = std::array::from_fn(|k| p[k] - i[k] + (i[0] + i[1]) * K2);
    let o: V2 = if a[0] >= a[1] { [1.0, if a[1] >= a[0] { 1.0 } else { 0.0 }] } else { [0.0, 1.0] };
    let b: V2 = std::array::from_fn(|k| a[k] - o[k] + K2);
    let c = a.map(|x| x - 1.0 + 2.0 * K2);
    let corners = [(a, add(i, [1.0; 2])), (b, add(add(i, [1.0; 2]), o)), (c, add(i, [2.0; 2]))];
    70.0 * corners
        .map(|(from, corner)| {
            (0.5 - dot(from, from)).max(0.0).powi(4) * dot(from, exact_hash_2d(corner).map(|x| x * 2.0 - 1.0))
        })
        .iter()
        .sum::<f32>()
}

fn simplex_3d(p: V3) -> f32 {
    const F3: f32 = 0.333_333_3;
    const G3: f32 = 0.166_666_7;
    let s = p.map(|x| (x + dot(p, [F3; 3])).floor());
    let x: V3 = std::array::from_fn(|k| p[k] - s[k] + dot(s, [G3; 3]));
    let e: V3 = std::array::from_fn(|k| if x[k] - x[(k + 1) % 3] >= 0.0 { 1.0 } else { 0.0 });
    let zxy = [e[2], e[0], e[1]];
    let i1: V3 = std::array::from_fn(|k| e[k] * (1.0 - zxy[k]));
    let i2: V3 = std::array::from_fn(|k| 1.0 - zxy[k] * (1.0 - e[k]));
    let from = |corner: V3, g: f32| -> V3 { std::array::from_fn(|k| x[k] - corner[k] + g) };
    let base = add(s, [1.0; 3]);
    let corners = [
        (x, base),
        (from(i1, G3), add(base, i1)),
        (from(i2, 2.0 * G3), add(base, i2)),
        (from([1.0; 3], 3.0 * G3), add(s, [2.0; 3])),
    ];
    52.0 * corners
        .map(|(from, corner)| {
            (0.6 - dot(from, from)).max(0.0).powi(4) * dot(exact_hash_3d(corner).map(|h| h - 0.5), from)
        })
        .iter()
        .sum::<f32>()
}

#[test]
fn simplex_noise_gives_the_published_numbers() {
    let Some(gpu) = device_or_skip() else { return };
    let head = format!("#include \"iq/noise_simplex_2d\"\n#include \"nikat/noise_simplex_3d\"\n{EXACT_HASH}");
    let body = "let p = vec3<f32>(f32(i) * 0.37 - 9.0, 4.0 - f32(i) * 0.21, f32(i) * 0.11);
        words[i] = bitcast<u32>(noise_simplex_2d(p.xy)); words[i + 64u] = bitcast<u32>(noise_simplex_3d(p));";
    let (found, _) = run(gpu, &kernel(&head, body), &[0; 128], None);
    let point = |i: u32| [i as f32 * 0.37 - 9.0, 4.0 - i as f32 * 0.21, i as f32 * 0.11];
    let flat: Vec<f32> = (0..64).map(|i| simplex_2d([point(i)[0], point(i)[1]])).collect();
    let solid: Vec<f32> = (0..64).map(|i| simplex_3d(point(i))).collect();
    for (found, expected) in found.iter().zip(flat.iter().chain(&solid)) {
        let found = f32::from_bits(*found);
        assert!((found - expected).abs() < 2e-4, "{found}, expected {expected}");
    }
    assert!(flat.iter().chain(&solid).any(|x| x.abs() > 0.3), "it is no flat field");
}

#[test]
fn a_scan_is_an_inclusive_prefix_sum() {
    let Some(gpu) = device_or_skip() else { return };
    let head = "#define SCAN_WORKGROUP_SIZE 64\n#define SCAN_TYPE u32\n#include \"davidar/scan\"";
    let input: Vec<u32> = (0..64).map(|i| i * i % 17 + 1).collect();
    let (found, _) = run(gpu, &kernel(head, "words[i] = scan_pass(i, words[i]);"), &input, None);
    let expected: Vec<u32> = input
        .iter()
        .scan(0, |sum, x| {
            *sum += x;
            Some(*sum)
        })
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn strings_reverse_and_numbers_become_text() {
    let Some(gpu) = device_or_skip() else { return };
    for (number, text) in
        [(0_i32, "0"), (7, "7"), (-120, "-120"), (2_147_483_647, "2147483647"), (i32::MIN, "-2147483648")]
    {
        let body = format!(
            "let s = itoa(bitcast<i32>({}u)); words[0] = s.len; words[i + 1u] = s.chars[min(i, 19u)];",
            number as u32
        );
        let (found, _) = run(gpu, &kernel("#include <string>", &body), &[0; 66], None);
        let characters: Vec<u32> = text.bytes().map(u32::from).collect();
        assert_eq!(found[0] as usize, text.len(), "{text}");
        assert_eq!(&found[1..=text.len()], characters, "{text}");
    }
    let body = "let s = strrev(\"abc\"); words[i] = s.chars[min(i, 2u)];";
    let (found, _) = run(gpu, &kernel("#include <string>", body), &[0; 64], None);
    assert_eq!(found[..3], [99, 98, 97]);
}

#[test]
fn floats_are_classified_by_their_bits() {
    let Some(gpu) = device_or_skip() else { return };
    let numbers =
        [0.0, -0.0, 1.0, f32::MIN_POSITIVE, 1e-45, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN];
    let body = "let x = bitcast<f32>(words[i]);
        words[i] = u32(isinf(x)) | u32(isnan(x)) << 1u | u32(isnormal(x)) << 2u | u32(isfinite(x)) << 3u;";
    let mut input: Vec<u32> = numbers.iter().map(|x: &f32| x.to_bits()).collect();
    input.resize(64, 0);
    let (found, _) = run(gpu, &kernel("#include <float>", body), &input, None);
    for (x, found) in numbers.iter().zip(found) {
        let expected = u32::from(x.is_infinite())
            | u32::from(x.is_nan()) << 1
            | u32::from(x.is_normal()) << 2
            | u32::from(x.is_finite()) << 3;
        // A GPU may flush subnormals to zero, which is not normal either.
        assert_eq!(found, expected, "{x}");
    }
}
