//! Lights, environment directions and the small mathematics of `shaders/lib`.

use crate::gpu::{self, Gpu};
use std::f64::consts::PI;

/// Runs `expression` (a vec4f of `q`, a vec4f) for every input.
fn map(gpu: &Gpu, imports: &str, expression: &str, input: &[[f32; 4]]) -> Vec<[f32; 4]> {
    let kernel = format!(
        "{imports}
        @group(0) @binding(0) var<storage, read> input: array<vec4f>;
        @group(0) @binding(1) var<storage, read_write> output: array<vec4f>;
        @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {{
            if id.x >= arrayLength(&output) {{ return; }}
            let q = input[id.x];
            output[id.x] = {expression};
        }}"
    );
    gpu::run(gpu, &kernel, input, input.len())
}

/// Numbers in [0, 1) for test input.
fn numbers() -> impl FnMut() -> f32 {
    let mut state = 0x0dd0_ba11_cafe_f00du64;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 40) as f64 / f64::from(1 << 24)) as f32
    }
}

/// Uniform unit directions, and the axes.
fn directions(count: usize) -> Vec<[f32; 4]> {
    let mut number = numbers();
    let mut all: Vec<[f32; 4]> = (0..count)
        .map(|_| {
            let (z, azimuth) = (2.0 * f64::from(number()) - 1.0, 2.0 * PI * f64::from(number()));
            let r = (1.0 - z * z).sqrt();
            [(r * azimuth.cos()) as f32, (r * azimuth.sin()) as f32, z as f32, 0.0]
        })
        .collect();
    for axis in 0..3 {
        for sign in [1.0, -1.0] {
            let mut d = [0.0; 4];
            d[axis] = sign;
            all.push(d);
        }
    }
    // Beside the poles of `make_frame` (−Z) and of the environment (±Y).
    for small in [1.0e-3f32, 1.0e-5, 1.0e-7] {
        all.push([small, 0.0, -(1.0 - small * small).sqrt(), 0.0]);
        all.push([small, (1.0 - small * small).sqrt(), -small, 0.0]);
        all.push([-small, -(1.0 - small * small).sqrt(), small, 0.0]);
    }
    all
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

#[test]
fn frames_are_orthonormal_and_right_handed_around_every_normal() {
    let Some(gpu) = gpu::device_or_skip() else { return };
    let normals = directions(10_000);
    let import = "import package::lib::math::make_frame;";
    let column = |n: usize| map(gpu, import, &format!("vec4f(make_frame(q.xyz)[{n}], 0.0)"), &normals);
    for (((normal, t), b), n) in normals.iter().zip(column(0)).zip(column(1)).zip(column(2)) {
        let what = format!("normal {normal:?}: {t:?} {b:?} {n:?}");
        assert_eq!(normal[..3], n[..3], "{what}");
        for (x, y, expected) in [(&t, &t, 1.0), (&b, &b, 1.0), (&t, &b, 0.0), (&t, &n, 0.0), (&b, &n, 0.0)] {
            assert!((dot(x, y) - expected).abs() < 1e-5, "{what}");
        }
        let cross = [t[1] * b[2] - t[2] * b[1], t[2] * b[0] - t[0] * b[2], t[0] * b[1] - t[1] * b[0]];
        assert!(dot(&cross, &n[..3]) > 0.999, "{what}");
    }
}

/// The new origin lies on the normal's side, and no farther than some thousand units in the last place.
#[test]
fn offset_rays_leave_the_surface_by_a_little() {
    let Some(gpu) = gpu::device_or_skip() else { return };
    for scale in [0.0f32, 1e-4, 1.0, 1000.0] {
        let normals = directions(1000);
        let position = [0.3 * scale, -0.7 * scale, 0.9 * scale];
        let expression =
            format!("vec4f(offset_ray(vec3f({:?}, {:?}, {:?}), q.xyz), 0.0)", position[0], position[1], position[2]);
        let moved = map(gpu, "import package::lib::math::offset_ray;", &expression, &normals);
        for (normal, moved) in normals.iter().zip(moved) {
            let step = [moved[0] - position[0], moved[1] - position[1], moved[2] - position[2]];
            let along = dot(&step, &normal[..3]);
            let bound = f64::from((scale * 1e-4).max(2e-5));
            assert!(
                along > 0.0 && dot(&step, &step).sqrt() < bound,
                "at {position:?} along {normal:?}: moved by {step:?}"
            );
        }
    }
}

#[test]
fn bit_tests_tell_numbers_from_infinities_and_nan() {
    let Some(gpu) = gpu::device_or_skip() else { return };
    let input = [
        [0.0, 1.0, f32::MIN, 1.0],
        [f32::INFINITY, 0.0, 0.0, 0.0],
        [0.0, f32::NEG_INFINITY, 0.0, 0.0],
        [0.0, 0.0, f32::NAN, 0.0],
        [f32::MAX, f32::MIN_POSITIVE, 0.0, 1.0],
    ];
    let imports = "import package::lib::math::{is_finite, is_finite3};";
    let output = map(gpu, imports, "vec4f(f32(is_finite3(q.xyz)), f32(is_finite(q.x)), 0.0, 0.0)", &input);
    assert_eq!(output.iter().map(|o| o[0]).collect::<Vec<_>>(), [1.0, 0.0, 0.0, 0.0, 1.0]);
    assert_eq!(output.iter().map(|o| o[1]).collect::<Vec<_>>(), [1.0, 0.0, 1.0, 1.0, 1.0]);
}

#[test]
fn what_has_no_direction_normalizes_to_the_fallback() {
    let Some(gpu) = gpu::device_or_skip() else { return };
    let none = [
        [0.0; 4],
        [1e-30, 0.0, 0.0, 0.0],
        [1e30, 0.0, 0.0, 0.0],
        [f32::NAN, 0.0, 1.0, 0.0],
        [f32::INFINITY, 0.0, 0.0, 0.0],
    ];
    let call = "vec4f(safe_normalize(q.xyz, vec3f(0.0, 0.0, 1.0)), 0.0)";
    let import = "import package::lib::math::safe_normalize;";
    for (v, n) in none.iter().zip(map(gpu, import, call, &none)) {
        assert_eq!(n[..3], [0.0, 0.0, 1.0], "{v:?}");
    }
    let some = [[3.0, 0.0, -4.0, 0.0], [1e-10, 0.0, 0.0, 0.0], [0.0, 1e15, 0.0, 0.0]];
    for (v, n) in some.iter().zip(map(gpu, import, call, &some)) {
        assert!((dot(&n, &n) - 1.0).abs() < 1e-5 && dot(&n, v) > 0.0, "{v:?} → {n:?}");
    }
}

/// The convention, at the places where it can be read off: the middle of the picture is −Z, a quarter to the right +X, the top +Y.
#[test]
fn the_environment_is_laid_out_as_documented() {
    let Some(gpu) = gpu::device_or_skip() else { return };
    let import = "import package::lib::environment::environment_uv;";
    let axes = [
        ([0.0, 0.0, -1.0, 0.0], [0.5, 0.5]),
        ([1.0, 0.0, 0.0, 0.0], [0.75, 0.5]),
        ([-1.0, 0.0, 0.0, 0.0], [0.25, 0.5]),
        ([0.0, 1.0, 0.0, 0.0], [0.5, 0.0]),
        ([0.0, -1.0, 0.0, 0.0], [0.5, 1.0]),
        ([0.6, 0.8, 0.0, 0.0], [0.75, 0.204_832_76]),
    ];
    let found = map(gpu, import, "vec4f(environment_uv(q.xyz), 0.0, 0.0)", &axes.map(|(d, _)| d));
    for ((d, expected), uv) in axes.iter().zip(found) {
        assert!(
            (uv[0] - expected[0]).abs() < 1e-6 && (uv[1] - expected[1]).abs() < 1e-6,
            "{d:?}: {uv:?}, expected {expected:?}"
        );
    }
    // +Z is the seam: both ends of the row.
    let seam =
        map(gpu, import, "vec4f(environment_uv(q.xyz), 0.0, 0.0)", &[[0.0, 0.0, 1.0, 0.0], [-1e-8, 0.0, 1.0, 0.0]]);
    assert!(seam.iter().all(|uv| uv[0] < 1e-6 || uv[0] > 1.0 - 1e-6), "{seam:?}");
}

#[test]
fn environment_places_and_directions_are_inverse_to_each_other() {
    let Some(gpu) = gpu::device_or_skip() else { return };
    let imports = "import package::lib::environment::{environment_uv, environment_direction};";
    let all = directions(100_000);
    let uv = map(gpu, imports, "vec4f(environment_uv(q.xyz), 0.0, 0.0)", &all);
    let back = map(gpu, imports, "vec4f(environment_direction(environment_uv(q.xyz)), 0.0)", &all);
    for ((d, uv), back) in all.iter().zip(uv).zip(back) {
        assert!((0.0..1.0).contains(&uv[0]) && (0.0..=1.0).contains(&uv[1]), "{d:?} lies at {uv:?}");
        let distance = (0..3).map(|c| (d[c] - back[c]).powi(2)).sum::<f32>().sqrt();
        // Drivers differ in their sines and arc tangents; this is a tenth of a texel of the largest environment.
        assert!(distance < 4e-5, "{d:?} → {uv:?} → {back:?}");
    }
}

/// Uniform (u, v) weighted by the solid-angle density integrates 1 to 4π, and the cosine over a half space to π: the irradiance of
/// a Lambert surface under a constant environment.
#[test]
fn a_constant_environment_gives_a_surface_the_irradiance_pi() {
    let Some(gpu) = gpu::device_or_skip() else { return };
    let side = 512;
    let grid: Vec<[f32; 4]> = (0..side * side)
        .map(|n| [((n % side) as f32 + 0.5) / side as f32, ((n / side) as f32 + 0.5) / side as f32, 0.0, 0.0])
        .collect();
    let imports = "import package::lib::environment::{environment_direction, environment_pdf_solid_angle};";
    let call = "vec4f(environment_direction(q.xy), environment_pdf_solid_angle(1.0, environment_direction(q.xy)))";
    let samples = map(gpu, imports, call, &grid);
    let count = samples.len() as f64;
    let whole: f64 = samples.iter().map(|s| 1.0 / f64::from(s[3])).sum::<f64>() / count;
    assert!((whole - 4.0 * PI).abs() < 1e-3, "the sphere has {whole}");
    for normal in [[0.0, 1.0, 0.0], [0.6, -0.64, 0.48], [0.0, 0.0, 1.0f32]] {
        let irradiance: f64 =
            samples.iter().map(|s| dot(&s[..3], &normal).max(0.0) / f64::from(s[3])).sum::<f64>() / count;
        assert!((irradiance - PI).abs() < 1e-3, "normal {normal:?} receives {irradiance}");
    }
}

#[test]
fn environment_densities_convert_forth_and_back_and_vanish_at_the_poles() {
    let Some(gpu) = gpu::device_or_skip() else { return };
    let imports = "import package::lib::environment::{environment_pdf_solid_angle, environment_pdf_uv};";
    let call = "vec4f(environment_pdf_uv(environment_pdf_solid_angle(3.0, q.xyz), q.xyz), environment_pdf_solid_angle(3.0, q.xyz), 0.0, 0.0)";
    for (d, [there_and_back, density, ..]) in directions(1000).iter().zip(map(gpu, imports, call, &directions(1000))) {
        assert!(density.is_finite() && density >= 0.0, "{d:?}: {density}");
        let at_pole = d[0] == 0.0 && d[2] == 0.0;
        assert!((there_and_back - if at_pole { 0.0 } else { 3.0 }).abs() < 1e-4, "{d:?}: {there_and_back}");
    }
}

/// χ² over the 64 congruent triangles of three subdivisions; independent numbers in.
#[test]
fn points_of_a_triangle_are_uniform() {
    let Some(gpu) = gpu::device_or_skip() else { return };
    let mut number = numbers();
    let draws = 1 << 18;
    let mut input: Vec<[f32; 4]> = (0..draws).map(|_| [number(), number(), 0.0, 0.0]).collect();
    let last = 1.0 - f32::EPSILON / 2.0;
    input.extend([[0.0; 4], [last, last, 0.0, 0.0], [0.0, last, 0.0, 0.0], [last, 0.0, 0.0, 0.0]]);
    let points =
        map(gpu, "import package::lib::light::triangle_sample;", "vec4f(triangle_sample(q.xy), 0.0, 0.0)", &input);
    let mut count = vec![0.0; 64];
    for ([u, v, ..], [b1, b2, ..]) in input.iter().zip(&points) {
        assert!(*b1 >= 0.0 && *b2 >= 0.0 && b1 + b2 <= 1.0, "({u}, {v}) → {b1}, {b2}");
    }
    for [b1, b2, ..] in &points[..draws] {
        // Eight strips a side: cell (i, j) is cut by its diagonal into a lower and an upper triangle.
        let (i, j) = ((b1 * 8.0) as usize, (b2 * 8.0) as usize);
        let upper = b1 * 8.0 - i as f32 + b2 * 8.0 - j as f32 > 1.0;
        let strip_start = i * 16 - i * i;
        count[strip_start + 2 * j + usize::from(upper)] += 1.0;
    }
    let expected = f64::from(draws as u32) / 64.0;
    let chi2: f64 = count.iter().map(|n| (n - expected) * (n - expected) / expected).sum();
    let p = gpu::chi2_p_value(chi2, 63);
    assert!(p > 0.001, "χ² {chi2} with 63 degrees of freedom, p {p}: {count:?}");
}

#[test]
fn area_densities_become_solid_angle_densities() {
    let Some(gpu) = gpu::device_or_skip() else { return };
    let import = "import package::lib::light::area_to_solid_angle_pdf;";
    let input = [[0.5, 2.0, 0.25, 0.0], [0.5, 2.0, -0.25, 0.0], [1.0, 3.0, 1.0, 0.0], [1.0, 3.0, 0.0, 0.0]];
    let found = map(gpu, import, "vec4f(area_to_solid_angle_pdf(q.x, q.y, q.z))", &input);
    assert_eq!(found.map_first(), [8.0, 8.0, 9.0, 0.0]);
}

/// The first components.
trait MapFirst {
    fn map_first(&self) -> Vec<f32>;
}

impl MapFirst for Vec<[f32; 4]> {
    fn map_first(&self) -> Vec<f32> {
        self.iter().map(|v| v[0]).collect()
    }
}

/// The extension's reference code, in double precision.
#[test]
fn spot_cones_fade_as_the_extension_says() {
    let Some(gpu) = gpu::device_or_skip() else { return };
    let mut input = Vec::new();
    for (inner, outer) in [(0.0, PI / 4.0), (0.2, 0.5), (0.3, 0.300_01), (0.0, PI / 2.0)] {
        for n in 0..=200 {
            input.push([(f64::from(n) / 100.0 - 1.0) as f32, inner as f32, outer as f32, 0.0]);
        }
        input.push([(inner as f32).cos(), inner as f32, outer as f32, 0.0]);
    }
    let found =
        map(gpu, "import package::lib::light::spot_attenuation;", "vec4f(spot_attenuation(q.x, q.y, q.z))", &input);
    for (q, found) in input.iter().zip(found.map_first()) {
        let [cos_angle, inner, outer] = [q[0], q[1], q[2]].map(f64::from);
        let scale = 1.0 / (inner.cos() - outer.cos()).max(0.001);
        let expected = ((cos_angle - outer.cos()) * scale).clamp(0.0, 1.0).powi(2);
        // One part in ten million of the cosine, over the narrowest cone there is.
        assert!((f64::from(found) - expected).abs() < 1e-3, "{q:?}: {found}, expected {expected}");
        assert!(cos_angle > outer.cos() - 1e-6 || found == 0.0, "{q:?}: {found} outside of the cone");
    }
}

#[test]
fn light_falls_off_by_the_inverse_square_and_ends_at_its_range() {
    let Some(gpu) = gpu::device_or_skip() else { return };
    let input: Vec<[f32; 4]> = [0.01, 0.5, 1.0, 2.0, 3.9, 4.0, 4.1, 100.0]
        .into_iter()
        .flat_map(|distance| [0.0, 4.0].map(|range| [distance, range, 0.0, 0.0]))
        .chain([[0.0, 4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
        .collect();
    let found =
        map(gpu, "import package::lib::light::range_attenuation;", "vec4f(range_attenuation(q.x, q.y))", &input);
    for (q, found) in input.iter().zip(found.map_first()) {
        let [distance, range] = [q[0], q[1]].map(f64::from);
        let window = if range > 0.0 { (1.0 - (distance / range).powi(4)).clamp(0.0, 1.0) } else { 1.0 };
        let expected = if distance > 0.0 { window / (distance * distance) } else { 0.0 };
        assert!(
            (f64::from(found) - expected).abs() <= 1e-5 * expected.max(1e-3),
            "{q:?}: {found}, expected {expected}"
        );
    }
}

/// Of two techniques each weighs its sample so that both weights of one direction sum to 1, whatever the densities' size.
#[test]
fn mis_weights_of_two_techniques_sum_to_one() {
    let Some(gpu) = gpu::device_or_skip() else { return };
    let import = "import package::lib::light::power_heuristic;";
    let densities = [1e-12f32, 1e-3, 0.5, 1.0, 7.0, 1e6, 1e15, 1e30];
    let input: Vec<[f32; 4]> = densities.into_iter().flat_map(|a| densities.map(|b| [a, b, 0.0, 0.0])).collect();
    for (q, [a, b, ..]) in input.iter().zip(map(
        gpu,
        import,
        "vec4f(power_heuristic(q.x, q.y), power_heuristic(q.y, q.x), 0.0, 0.0)",
        &input,
    )) {
        assert!((a + b - 1.0).abs() < 1e-6 && a >= 0.0 && b >= 0.0, "{q:?}: {a} and {b}");
        let (x, y) = (f64::from(q[0]), f64::from(q[1]));
        assert!((f64::from(a) - x * x / (x * x + y * y)).abs() < 1e-6, "{q:?}: {a}");
    }
    let edges = [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]];
    assert_eq!(map(gpu, import, "vec4f(power_heuristic(q.x, q.y))", &edges).map_first(), [0.0, 0.0, 1.0]);
}
