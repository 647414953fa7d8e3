//! The sampler of `shaders/lib/sampler.wgsl`: every number it gives, against an independent mirror and the laws of (0, m, 2)-nets.

use crate::gpu::{self, Gpu};
use sobol_burley::parts;

/// Input: pixel, sample, seed, dimension. Output: the 2D request's x and y, the 1D request's x at the same dimension, and the
/// dimension after all three.
const KERNEL: &str = "
    import package::lib::sampler::{Sampler, sampler_new, sampler_1d, sampler_2d};
    @group(0) @binding(0) var<storage, read> input: array<vec4u>;
    @group(0) @binding(1) var<storage, read_write> output: array<vec4f>;
    @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
        if id.x >= arrayLength(&output) { return; }
        let request = input[id.x];
        var one = sampler_new(request.x, request.y, request.z, request.w);
        let alone = sampler_1d(&one);
        var two = sampler_new(request.x, request.y, request.z, request.w);
        let pair = sampler_2d(&two);
        output[id.x] = vec4f(pair, alone, f32(one.dimension - request.w) * 10.0 + f32(two.dimension - request.w));
    }";

fn ask(gpu: &Gpu, requests: &[[u32; 4]]) -> Vec<[f32; 4]> {
    gpu::run(gpu, KERNEL, requests, requests.len())
}

/// The Sobol sequence's dimension 1 from its direction numbers v₀ = 2³¹, vⱼ = vⱼ₋₁ ⊕ (vⱼ₋₁ >> 1): the primitive polynomial x + 1.
fn sobol_1(index: u32) -> u32 {
    let mut direction = 1u32 << 31;
    let mut point = 0;
    for bit in 0..32 {
        if index >> bit & 1 == 1 {
            point ^= direction;
        }
        direction ^= direction >> 1;
    }
    point
}

/// The same numbers by another road: hash and Owen scramble of the crate `sobol_burley`, direction numbers in place of the butterfly.
fn mirror([pixel, sample, seed, dimension]: [u32; 4]) -> [f32; 2] {
    let path = parts::hash(pixel.wrapping_add(parts::hash(seed)));
    let key = parts::hash(path.wrapping_add(dimension.wrapping_mul(0x9e37_79b9)));
    let index = parts::owen_scramble_rev(sample.reverse_bits(), key).reverse_bits();
    let scrambled =
        |point: u32, salt| parts::owen_scramble_rev(point.reverse_bits(), parts::hash(key ^ salt)).reverse_bits();
    let unit = |bits: u32| (f64::from(bits >> 8) / f64::from(1 << 24)) as f32;
    [unit(scrambled(index.reverse_bits(), 0x912f_69ba)), unit(scrambled(sobol_1(index), 0x174f_18ab))]
}

/// A fixed stream of words for test input; nothing to do with the sampler.
fn words() -> impl Iterator<Item = u32> {
    let mut state = 0x1234_5678_9abc_def1u64;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u32
    })
}

#[test]
fn the_direction_numbers_of_the_mirror_are_those_of_sobol() {
    for index in 0..=u32::from(u16::MAX) {
        assert_eq!(sobol_1(index).reverse_bits(), parts::sobol_rev(index.reverse_bits(), 1), "point {index}");
        assert_eq!(index, parts::sobol_rev(index.reverse_bits(), 0), "point {index}");
    }
}

#[test]
fn every_number_equals_the_mirrors_bit_by_bit() {
    let Some(gpu) = gpu::device_or_skip() else { return };
    let mut words = words();
    let mut word = || words.next().unwrap();
    let mut requests: Vec<[u32; 4]> = (0..20_000).map(|_| [word(), word() >> 16, word(), word() >> 20]).collect();
    requests.extend((0..4096).map(|n| [n / 64, n % 64, 0, n / 512]));
    requests.extend([[0; 4], [u32::MAX; 4], [0, u32::MAX, 0, 0]]);
    for (request, [x, y, alone, taken]) in requests.iter().zip(ask(gpu, &requests)) {
        let expected = mirror(*request);
        assert_eq!(
            [x, y].map(f32::to_bits),
            expected.map(f32::to_bits),
            "2D at {request:?}: {x} {y}, expected {expected:?}"
        );
        assert_eq!(alone.to_bits(), expected[0].to_bits(), "1D at {request:?}");
        assert_eq!(taken, 12.0, "a 1D request takes one dimension, a 2D request two");
    }
}

#[test]
fn no_number_reaches_one() {
    let Some(gpu) = gpu::device_or_skip() else { return };
    let kernel = "
        import package::lib::math::unit_f32;
        @group(0) @binding(0) var<storage, read> input: array<u32>;
        @group(0) @binding(1) var<storage, read_write> output: array<f32>;
        @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
            if id.x < arrayLength(&output) { output[id.x] = unit_f32(input[id.x]); }
        }";
    let input = [0u32, 1, 255, 256, 0x7fff_ffff, 0x8000_0000, 0xffff_fe00, 0xffff_ff00, 0xffff_ffff];
    let output: Vec<f32> = gpu::run(gpu, kernel, &input, input.len());
    assert_eq!(output[0], 0.0);
    assert_eq!(output[5], 0.5);
    assert!(output.is_sorted() && output.iter().all(|&u| (0.0..1.0).contains(&u)), "{output:?}");
}

/// Every elementary interval of area 2⁻ᵏ holds exactly one of the first 2ᵏ samples of a pixel, whatever the pixel, seed and dimension; and so
/// for every later aligned block of 2ᵏ samples.
#[test]
fn every_aligned_block_of_samples_is_a_0_m_2_net() {
    let Some(gpu) = gpu::device_or_skip() else { return };
    for log2_samples in [1u32, 2, 5, 8, 10] {
        let samples = 1 << log2_samples;
        for (pixel, seed, dimension, block) in
            [(0, 0, 0, 0), (1, 0, 4, 0), (777, 5, 23, 0), (123_456, u32::MAX, 140, 3)]
        {
            let requests: Vec<_> = (0..samples).map(|n| [pixel, block * samples + n, seed, dimension]).collect();
            let points = ask(gpu, &requests);
            for log2_columns in 0..=log2_samples {
                let (columns, rows) = (1u32 << log2_columns, samples >> log2_columns);
                let mut count = vec![0; samples as usize];
                for [x, y, ..] in &points {
                    let (column, row) = ((x * columns as f32) as u32, (y * rows as f32) as u32);
                    count[(row * columns + column) as usize] += 1;
                }
                let what = format!("{columns} × {rows} intervals, pixel {pixel} seed {seed} dimension {dimension}");
                assert!(count.iter().all(|&n| n == 1), "{what}: {count:?}");
            }
            let mut strata: Vec<u32> = points.iter().map(|[.., alone, _]| (alone * samples as f32) as u32).collect();
            strata.sort_unstable();
            assert_eq!(strata, (0..samples).collect::<Vec<_>>(), "1D strata of pixel {pixel} dimension {dimension}");
        }
    }
}

/// Over pixels, seeds and samples the numbers are uniform: χ² over 64 × 64 cells, at a probability of 10⁻⁶ of failing by chance.
#[test]
fn numbers_are_uniform_over_the_square() {
    let Some(gpu) = gpu::device_or_skip() else { return };
    let draws = 1 << 19;
    // One sample a pixel, so that stratification does not make the test easier.
    let requests: Vec<_> = (0..draws).map(|n: u32| [n, n % 7, 42, 4 + n % 3 * 8]).collect();
    let mut count = vec![0u32; 64 * 64];
    for [x, y, ..] in ask(gpu, &requests) {
        count[(y * 64.0) as usize * 64 + (x * 64.0) as usize] += 1;
    }
    let expected = f64::from(draws) / 4096.0;
    let chi2: f64 = count.iter().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum();
    let p = crate::gpu::chi2_p_value(chi2, 4095);
    assert!(p > 1e-6 && p < 1.0 - 1e-6, "χ² {chi2} with 4095 degrees of freedom: p {p}");
}

/// Numbers of different dimensions, pixels and seeds have nothing to do with each other: their correlation over many draws
/// stays within five standard errors.
#[test]
fn dimensions_pixels_and_seeds_are_uncorrelated() {
    let Some(gpu) = gpu::device_or_skip() else { return };
    let draws = 1 << 14;
    let base = |n: u32| [n / 4, n % 4, 9, 12];
    type Other = fn([u32; 4]) -> [u32; 4];
    let others: [(&str, Other); 6] = [
        ("next dimension", |[p, s, e, d]| [p, s, e, d + 1]),
        ("next request", |[p, s, e, d]| [p, s, e, d + 2]),
        ("next bounce", |[p, s, e, d]| [p, s, e, d + 8]),
        ("next pixel", |[p, s, e, d]| [p + 1, s, e, d]),
        ("pixel below", |[p, s, e, d]| [p + 1024, s, e, d]),
        ("next seed", |[p, s, e, d]| [p, s, e + 1, d]),
    ];
    let here = ask(gpu, &(0..draws).map(base).collect::<Vec<_>>());
    let bound = 5.0 / f64::from(draws).sqrt();
    // Uniform numbers have the variance 1/12.
    let correlation = |pairs: &mut dyn Iterator<Item = (f32, f32)>| {
        pairs.map(|(a, b)| (f64::from(a) - 0.5) * (f64::from(b) - 0.5)).sum::<f64>() * 12.0 / f64::from(draws)
    };
    let within = correlation(&mut here.iter().map(|[x, y, ..]| (*x, *y)));
    assert!(within.abs() < bound, "x and y of a request: {within}");
    for (name, other) in others {
        let there = ask(gpu, &(0..draws).map(|n| other(base(n))).collect::<Vec<_>>());
        for (axis_here, axis_there) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let r = correlation(&mut here.iter().zip(&there).map(|(a, b)| (a[axis_here], b[axis_there])));
            assert!(r.abs() < bound, "{name}, axes {axis_here} and {axis_there}: {r}, bound {bound}");
        }
    }
}

/// A smooth integral over four padded dimensions converges far faster than with independent numbers.
#[test]
fn padded_dimensions_integrate_better_than_independent_ones() {
    let Some(gpu) = gpu::device_or_skip() else { return };
    let samples = 256;
    let pixels = 64;
    let ask_at = |dimension| {
        let requests: Vec<_> = (0..pixels * samples).map(|n| [n / samples, n % samples, 1, dimension]).collect();
        ask(gpu, &requests)
    };
    let (first, second) = (ask_at(4), ask_at(6));
    // ∫ Σ (each − 1/2)² = 4/12, plus a product term of integral 0.
    let value = |a: [f32; 4], b: [f32; 4]| {
        let c = [a[0], a[1], b[0], b[1]].map(|u| f64::from(u) - 0.5);
        c.iter().map(|c| c * c).sum::<f64>() + c[0] * c[1]
    };
    let errors = (0..pixels as usize).map(|pixel| {
        let range = pixel * samples as usize..(pixel + 1) * samples as usize;
        let sum: f64 = range.map(|n| value(first[n], second[n])).sum();
        (sum / f64::from(samples) - 4.0 / 12.0).powi(2)
    });
    let rms = (errors.sum::<f64>() / f64::from(pixels)).sqrt();
    // Variance of the integrand: 4 · (1/80 − 1/144) + 1/144.
    let independent = ((4.0 * (1.0 / 80.0 - 1.0 / 144.0) + 1.0 / 144.0) / f64::from(samples)).sqrt();
    assert!(rms < independent / 10.0, "rms error {rms}, independent numbers would have {independent}");
}
