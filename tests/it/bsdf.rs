//! The surface model of `shaders/lib/bsdf.wgsl`: energy, densities, reciprocity, robustness.

use crate::gpu::{self, Gpu};
use bytemuck::{Pod, Zeroable};
use std::f64::consts::PI;

/// `metallic`, `roughness` and a grey base colour: what the tests vary.
#[derive(Clone, Copy, Debug)]
struct Grey {
    base: f32,
    metallic: f32,
    roughness: f32,
}

const BINDINGS: &str = "
    import package::lib::bsdf::{Surface, BsdfSample, bsdf_eval, bsdf_pdf, bsdf_sample, microfacet_albedo};
    struct Question { base_color: vec3f, metallic: f32, wo: vec3f, roughness: f32, wi: vec3f, index: u32 }
    @group(0) @binding(0) var<storage, read> input: array<Question>;
    fn surface_of(q: Question) -> Surface { return Surface(q.base_color, q.metallic, q.roughness, 1.0); }
";

/// Mirrors `Question`. `wi` holds the random numbers where a sample is asked for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct Question {
    base_color: [f32; 3],
    metallic: f32,
    wo: [f32; 3],
    roughness: f32,
    wi: [f32; 3],
    index: u32,
}

fn question(surface: Grey, wo: [f32; 3], wi: [f32; 3], index: u32) -> Question {
    Question { base_color: [surface.base; 3], metallic: surface.metallic, wo, roughness: surface.roughness, wi, index }
}

/// What `bsdf_eval`, `bsdf_pdf` say of each question.
fn evaluate(gpu: &Gpu, questions: &[Question]) -> Vec<[f32; 4]> {
    let kernel = format!(
        "{BINDINGS}
        @group(0) @binding(1) var<storage, read_write> output: array<vec4f>;
        @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {{
            if id.x >= arrayLength(&output) {{ return; }}
            let q = input[id.x];
            output[id.x] = vec4f(bsdf_eval(surface_of(q), q.wo, q.wi), bsdf_pdf(surface_of(q), q.wo, q.wi));
        }}"
    );
    gpu::run(gpu, &kernel, questions, questions.len())
}

/// Mirrors the kernel's answer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct Sample {
    wi: [f32; 3],
    pdf: f32,
    weight: [f32; 3],
    unused: f32,
}

/// What `bsdf_sample` answers to each question, with `wi` as the three random numbers.
fn sample(gpu: &Gpu, questions: &[Question]) -> Vec<Sample> {
    let kernel = format!(
        "{BINDINGS}
        struct Answer {{ wi: vec3f, pdf: f32, weight: vec3f, unused: f32 }}
        @group(0) @binding(1) var<storage, read_write> output: array<Answer>;
        @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {{
            if id.x >= arrayLength(&output) {{ return; }}
            let q = input[id.x];
            let s = bsdf_sample(surface_of(q), q.wo, q.wi);
            output[id.x] = Answer(s.wi, s.pdf, s.weight, 0.0);
        }}"
    );
    gpu::run(gpu, &kernel, questions, questions.len())
}

/// A direction with this cosine; `azimuth` in radians.
fn direction(cos_theta: f64, azimuth: f64) -> [f32; 3] {
    let sin_theta = (1.0 - cos_theta * cos_theta).max(0.0).sqrt();
    [(sin_theta * azimuth.cos()) as f32, (sin_theta * azimuth.sin()) as f32, cos_theta as f32]
}

/// A fixed stream of numbers in [0, 1) for test input.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 40) as f64 / f64::from(1 << 24)) as f32
    }
}

const COSINES: [f64; 12] = [1.0, 0.95, 0.8, 0.6, 0.4, 0.3, 0.2, 0.1, 0.05, 0.02, 0.005, 0.0005];
const ROUGHNESSES: [f32; 16] =
    [0.0, 0.03, 0.05, 0.08, 0.12, 0.17, 0.23, 0.3, 0.38, 0.46, 0.55, 0.64, 0.73, 0.82, 0.91, 1.0];

/// Share of the light that comes back from a surface in a white furnace: the mean weight of 2¹⁶ quasi-random samples.
fn albedos(gpu: &Gpu, surfaces: &[(Grey, f64)]) -> Vec<f64> {
    const PARTS: usize = 128;
    let kernel = format!(
        "{BINDINGS}
        @group(0) @binding(1) var<storage, read_write> output: array<vec4f>;
        @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {{
            if id.x >= arrayLength(&output) {{ return; }}
            let q = input[id.x];
            var sum = vec3f(0.0);
            for (var n = 0u; n < 512u; n++) {{
                // Roberts 2018, The Unreasonable Effectiveness of Quasirandom Sequences: R3, in wrapping integers.
                let point = vec3u(3518319155u, 2882110345u, 2360945575u) * ((id.x % {PARTS}u) * 512u + n);
                sum += bsdf_sample(surface_of(q), q.wo, vec3f(point >> vec3u(8u)) / 16777216.0).weight;
            }}
            output[id.x] = vec4f(sum / 512.0, 0.0);
        }}"
    );
    let questions: Vec<_> = surfaces
        .iter()
        .flat_map(|&(surface, cos)| std::iter::repeat_n(question(surface, direction(cos, 0.7), [0.0; 3], 0), PARTS))
        .collect();
    gpu::run::<_, [f32; 4]>(gpu, &kernel, &questions, questions.len())
        .chunks(PARTS)
        .map(|parts| parts.iter().map(|part| f64::from(part[0])).sum::<f64>() / PARTS as f64)
        .collect()
}

/// The white furnace: a surface of base colour 1 sends back all light, at any roughness, angle and mixture of metal and dielectric.
#[test]
fn a_white_surface_in_a_white_furnace_disappears() {
    let Some(gpu) = gpu::device_or_skip() else { return };
    for metallic in [0.0, 0.5, 1.0] {
        let cases: Vec<_> = ROUGHNESSES
            .iter()
            .flat_map(|&roughness| COSINES.map(|cos| (Grey { base: 1.0, metallic, roughness }, cos)))
            .collect();
        let mut extremes = (2.0f64, 0.0f64);
        for ((surface, cos), albedo) in cases.iter().zip(albedos(gpu, &cases)) {
            // 0.003 is for the error of the fits (0.002), and that of the integration.
            assert!((0.995..=1.003).contains(&albedo), "{surface:?} at cos {cos} sends back {albedo} of the light");
            extremes = (extremes.0.min(albedo), extremes.1.max(albedo));
        }
        eprintln!("metallic {metallic}: albedo of white between {:.4} and {:.4}", extremes.0, extremes.1);
    }
}

/// A black dielectric keeps its 4 % interface, and nothing else comes back.
#[test]
fn darker_surfaces_send_back_less_and_never_more_than_they_get() {
    let Some(gpu) = gpu::device_or_skip() else { return };
    for metallic in [0.0, 0.3, 1.0] {
        let at = |base: f32| -> Vec<_> {
            ROUGHNESSES
                .iter()
                .flat_map(move |&roughness| COSINES.map(|cos| (Grey { base, metallic, roughness }, cos)))
                .collect()
        };
        let (black, grey, white) = (albedos(gpu, &at(0.0)), albedos(gpu, &at(0.5)), albedos(gpu, &at(1.0)));
        for (n, (surface, cos)) in at(0.5).iter().enumerate() {
            let message = format!("{surface:?} cos {cos}: black {} grey {} white {}", black[n], grey[n], white[n]);
            assert!(black[n] <= grey[n] + 0.001 && grey[n] <= white[n] + 0.001 && black[n] >= 0.0, "{message}");
        }
        if metallic == 0.0 {
            // Straight on and smooth, the interface reflects its F0.
            assert!((black[0] - 0.04).abs() < 0.001, "{}", black[0]);
        }
    }
}

/// Directional albedos (F = 1; Schlick with F0 = 0.04) in double precision, by the definition: the mean of G2 / G1 over visible normals.
fn albedo_oracle(cos: f64, roughness: f64) -> (f64, f64) {
    let alpha = (roughness * roughness).max(0.001);
    let lambda = |cos: f64| ((1.0 + alpha * alpha * (1.0 - cos * cos) / (cos * cos)).sqrt() - 1.0) / 2.0;
    let wo = [(1.0 - cos * cos).max(0.0).sqrt(), 0.0, cos];
    let length = ((alpha * wo[0]).powi(2) + cos * cos).sqrt();
    let stretched = [alpha * wo[0] / length, cos / length];
    let points = 1 << 14;
    let (mut unit, mut dielectric) = (0.0, 0.0);
    for n in 0..points {
        // Heitz 2018, "Sampling the GGX Distribution of Visible Normals", appendix A: another road than the shader's spherical caps.
        let u = (f64::from(n) + 0.5) / f64::from(points);
        let v = f64::from((n as u32).reverse_bits()) / 4_294_967_296.0;
        let (r, phi) = (u.sqrt(), 2.0 * PI * v);
        let t1 = r * phi.cos();
        let s = 0.5 * (1.0 + stretched[1]);
        let t2 = (1.0 - s) * (1.0 - t1 * t1).sqrt() + s * r * phi.sin();
        let up = (1.0 - t1 * t1 - t2 * t2).max(0.0).sqrt();
        // Frame of the stretched direction: T1 = y, T2 = wo × T1, both for wo in the plane of x and z.
        let h = [-stretched[1] * t2 + stretched[0] * up, t1, stretched[0] * t2 + stretched[1] * up];
        let h = [alpha * h[0], alpha * h[1], h[2].max(0.0)];
        let norm = h.iter().map(|c| c * c).sum::<f64>().sqrt();
        let cos_h = (wo[0] * h[0] + wo[2] * h[2]) / norm;
        let cos_i = 2.0 * cos_h * h[2] / norm - cos;
        if cos_i > 0.0 {
            let weight = (1.0 + lambda(cos)) / (1.0 + lambda(cos) + lambda(cos_i));
            unit += weight;
            dielectric += weight * (0.04 + 0.96 * (1.0 - cos_h.clamp(0.0, 1.0)).powi(5));
        }
    }
    (unit / f64::from(points), dielectric / f64::from(points))
}

/// The error that `microfacet_albedo` states.
#[test]
fn the_fitted_albedos_have_the_error_they_state() {
    let Some(gpu) = gpu::device_or_skip() else { return };
    let kernel = format!(
        "{BINDINGS}
        @group(0) @binding(1) var<storage, read_write> output: array<vec2f>;
        @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {{
            if id.x >= arrayLength(&output) {{ return; }}
            let a = microfacet_albedo(input[id.x].wo.z, max(input[id.x].roughness, sqrt(0.001)));
            output[id.x] = vec2f(a.unit, a.dielectric);
        }}"
    );
    let cases: Vec<_> = ROUGHNESSES.iter().flat_map(|&roughness| COSINES.map(|cos| (roughness, cos))).collect();
    let questions: Vec<_> = cases
        .iter()
        .map(|&(roughness, cos)| {
            question(Grey { base: 1.0, metallic: 1.0, roughness }, direction(cos, 0.0), [0.0; 3], 0)
        })
        .collect();
    let mut worst = [0.0f64; 2];
    for ((roughness, cos), [unit, dielectric]) in
        cases.iter().zip(gpu::run::<_, [f32; 2]>(gpu, &kernel, &questions, cases.len()))
    {
        let expected = albedo_oracle(*cos, f64::from(*roughness));
        let errors = [f64::from(unit) / expected.0 - 1.0, f64::from(dielectric) - expected.1];
        assert!(
            errors[0].abs() < 0.0024 && errors[1].abs() < 0.002,
            "roughness {roughness} cos {cos}: {unit} {dielectric}, expected {expected:?}"
        );
        worst = [worst[0].max(errors[0].abs()), worst[1].max(errors[1].abs())];
    }
    eprintln!("largest errors of the fits: unit {:.4} (relative), dielectric {:.4} (absolute)", worst[0], worst[1]);
}

/// Cells around the mirror direction: rings that widen from a fraction of the lobe's width, cut into sectors.
struct Cells {
    frame: [[f64; 3]; 3],
    ring_edges: Vec<f64>,
}

const SECTORS: usize = 12;
const RINGS: usize = 18;

impl Cells {
    fn around_mirror_of(wo: [f32; 3], roughness: f32) -> Self {
        let axis = [-f64::from(wo[0]), -f64::from(wo[1]), f64::from(wo[2])];
        let normalize = |v: [f64; 3]| {
            let length = v.iter().map(|c| c * c).sum::<f64>().sqrt();
            v.map(|c| c / length)
        };
        let helper = if axis[2].abs() < 0.9 { [0.0, 0.0, 1.0] } else { [1.0, 0.0, 0.0] };
        let cross = |a: [f64; 3], b: [f64; 3]| {
            [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
        };
        let axis = normalize(axis);
        let x = normalize(cross(helper, axis));
        let y = cross(axis, x);
        let narrow = f64::from(roughness * roughness).max(0.001) * 0.3;
        let ring_edges = (0..=RINGS)
            .map(|n| if n == 0 { 0.0 } else { narrow * (PI / narrow).powf((n - 1) as f64 / (RINGS - 1) as f64) })
            .collect();
        Self { frame: [x, y, axis], ring_edges }
    }

    fn cell_of(&self, d: [f32; 3]) -> usize {
        let d = d.map(f64::from);
        let [x, y, z] = self.frame.map(|axis| axis[0] * d[0] + axis[1] * d[1] + axis[2] * d[2]);
        let angle = (x * x + y * y).sqrt().atan2(z);
        let ring = self.ring_edges[1..].iter().position(|&edge| angle < edge).unwrap_or(RINGS - 1);
        let sector = ((y.atan2(x) / (2.0 * PI) + 0.5) * SECTORS as f64) as usize;
        ring * SECTORS + sector.min(SECTORS - 1)
    }

    /// Points of a midpoint rule with `side`² points a cell, and the solid angle of each.
    fn quadrature(&self, side: usize) -> Vec<([f32; 3], f64)> {
        let mut points = Vec::new();
        for ring in self.ring_edges.windows(2) {
            for sector in 0..SECTORS {
                for n in 0..side * side {
                    let at = |n: usize| (n as f64 + 0.5) / side as f64;
                    let width = (ring[1] - ring[0]) / side as f64;
                    let angle = ring[0] + (ring[1] - ring[0]) * at(n % side);
                    let azimuth = ((sector as f64 + at(n / side)) / SECTORS as f64 - 0.5) * 2.0 * PI;
                    let local = [angle.sin() * azimuth.cos(), angle.sin() * azimuth.sin(), angle.cos()];
                    let d = [0, 1, 2].map(|c| (0..3).map(|axis| self.frame[axis][c] * local[axis]).sum::<f64>() as f32);
                    points.push((d, angle.sin() * width * 2.0 * PI / (SECTORS * side) as f64));
                }
            }
        }
        points
    }
}

/// χ² of `bsdf_sample` against `bsdf_pdf`, absorption included: what is missing from the density's integral is what is absorbed. Šidák's
/// correction keeps the whole test's probability of failing by chance at 1 %.
#[test]
fn directions_are_drawn_with_the_density_that_pdf_says() {
    let Some(gpu) = gpu::device_or_skip() else { return };
    let draws = 1 << 18;
    let mut cases = Vec::new();
    for roughness in [0.0, 0.1, 0.3, 0.6, 1.0] {
        for cos in [1.0, 0.7, 0.25, 0.05] {
            for (base, metallic) in [(1.0, 1.0), (0.8, 0.0)] {
                cases.push((Grey { base, metallic, roughness }, cos));
            }
        }
    }
    let p_bound = 1.0 - 0.99f64.powf(1.0 / cases.len() as f64);
    for (n, &(surface, cos)) in cases.iter().enumerate() {
        let wo = direction(cos, 0.4);
        let cells = Cells::around_mirror_of(wo, surface.roughness);
        let side = 20;
        let quadrature = cells.quadrature(side);
        let questions: Vec<_> = quadrature.iter().map(|(wi, _)| question(surface, wo, *wi, 0)).collect();
        let mut expected = vec![0.0; RINGS * SECTORS];
        for (point, ((_, solid_angle), [.., pdf])) in quadrature.iter().zip(evaluate(gpu, &questions)).enumerate() {
            expected[point / (side * side)] += solid_angle * f64::from(pdf) * f64::from(draws);
        }
        let integral = expected.iter().sum::<f64>() / f64::from(draws);
        assert!(integral < 1.003, "{surface:?} cos {cos}: the density's integral is {integral}");

        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15 + n as u64);
        let questions: Vec<_> =
            (0..draws).map(|_| question(surface, wo, [numbers.next(), numbers.next(), numbers.next()], 0)).collect();
        let mut observed = vec![0.0; RINGS * SECTORS];
        let mut absorbed = 0.0;
        for drawn in sample(gpu, &questions) {
            if drawn.pdf > 0.0 { observed[cells.cell_of(drawn.wi)] += 1.0 } else { absorbed += 1.0 }
        }
        let absorbed_share = absorbed / f64::from(draws);
        assert!(
            (1.0 - integral - absorbed_share).abs() < 0.004,
            "{surface:?} cos {cos}: integral {integral}, absorbed {absorbed_share}"
        );

        // Cells with few expected hits are pooled, as χ² needs.
        let (mut chi2, mut degrees) = (0.0, 0u32);
        let (mut rest_expected, mut rest_observed) = (0.0, 0.0);
        for (&expected, &observed) in expected.iter().zip(&observed) {
            if expected < 20.0 {
                rest_expected += expected;
                rest_observed += observed;
            } else {
                chi2 += (observed - expected) * (observed - expected) / expected;
                degrees += 1;
            }
        }
        if rest_expected > 5.0 {
            chi2 += (rest_observed - rest_expected) * (rest_observed - rest_expected) / rest_expected;
            degrees += 1;
        } else {
            // Slivers of cells above the horizon may lie between the points of the quadrature.
            assert!(
                rest_observed < 5e-4 * f64::from(draws),
                "{surface:?} cos {cos}: {rest_observed} draws where {rest_expected} were expected"
            );
        }
        let p = gpu::chi2_p_value(chi2, degrees - 1);
        assert!(p > p_bound, "{surface:?} cos {cos}: χ² {chi2} with {} degrees of freedom, p {p}", degrees - 1);
    }
}

/// Random surfaces and directions with the nasty values over-represented.
fn hostile_questions(count: usize) -> Vec<Question> {
    let mut numbers = Numbers(7);
    let mut pick = |nasty: &[f32]| {
        let which = (numbers.next() * 2.0 * nasty.len() as f32) as usize;
        nasty.get(which).copied().unwrap_or_else(|| numbers.next())
    };
    (0..count)
        .map(|n| {
            let nasty = [0.0, 1.0, 1.0e-4, 0.999_999];
            let mut unit = |scale: f32| {
                let cos =
                    f64::from(pick(&[0.0, 1.0, 1.0e-7, 1.0e-6, 1.1e-6, 1.0e-5, 1.0e-3, 0.999_999_9, 1.0e-20]) * scale);
                direction(cos, f64::from(pick(&[0.0])) * 2.0 * PI)
            };
            let (wo, mut wi) = (unit(1.0), unit(1.0));
            if n % 5 == 0 {
                // Mirror directions, where the density is highest.
                wi = [-wo[0], -wo[1], wo[2]];
            }
            if n % 7 == 0 {
                wi = [-wo[0], -wo[1], -wo[2]];
            }
            Question {
                base_color: [pick(&nasty), pick(&nasty), pick(&nasty)],
                metallic: pick(&nasty),
                wo,
                roughness: pick(&[0.0, 1.0, 1.0e-4, 0.031, 0.032]),
                wi,
                index: 0,
            }
        })
        .collect()
}

#[test]
fn nothing_but_finite_non_negative_numbers_comes_out_of_hostile_input() {
    let Some(gpu) = gpu::device_or_skip() else { return };
    let questions = hostile_questions(200_000);
    let mut seen = 0;
    for (question, [r, g, b, pdf]) in questions.iter().zip(evaluate(gpu, &questions)) {
        let inside = question.wo[2] >= 1.0e-6 && question.wi[2] >= 1.0e-6;
        assert!([r, g, b, pdf].iter().all(|c| c.is_finite() && *c >= 0.0), "{question:?}: {r} {g} {b} pdf {pdf}");
        assert!(inside || [r, g, b, pdf] == [0.0; 4], "{question:?}: {r} {g} {b} pdf {pdf} below the horizon");
        assert!(pdf > 0.0 || [r, g, b] == [0.0; 3], "{question:?}: {r} {g} {b} where nothing is ever drawn");
        seen += usize::from(inside);
    }
    assert!(seen > 50_000, "only {seen} questions lie in the domain");
}

#[test]
fn a_sample_is_what_eval_and_pdf_say_of_its_direction() {
    let Some(gpu) = gpu::device_or_skip() else { return };
    let mut numbers = Numbers(99);
    let mut random = || match (numbers.next() * 12.0) as u32 {
        0 => 0.0,
        1 => 1.0 - f32::EPSILON / 2.0,
        _ => numbers.next(),
    };
    let mut questions = hostile_questions(200_000);
    for question in &mut questions {
        question.wi = [random(), random(), random()];
    }
    let samples = sample(gpu, &questions);
    let again: Vec<_> = questions.iter().zip(&samples).map(|(q, s)| Question { wi: s.wi, ..*q }).collect();
    let mut drawn = 0;
    for ((question, sample), [r, g, b, pdf]) in questions.iter().zip(&samples).zip(evaluate(gpu, &again)) {
        let what = format!("{question:?}: {sample:?}, eval {r} {g} {b}, pdf {pdf}");
        assert!(sample.weight.iter().chain(&[sample.pdf]).all(|c| c.is_finite() && *c >= 0.0), "{what}");
        if sample.pdf == 0.0 {
            assert_eq!(sample.weight, [0.0; 3], "{what}");
            continue;
        }
        drawn += 1;
        let length2: f32 = sample.wi.iter().map(|c| c * c).sum();
        assert!((length2 - 1.0).abs() < 1e-5 && sample.wi[2] > 0.0, "{what}");
        assert!((pdf - sample.pdf).abs() <= sample.pdf * 1e-3, "{what}");
        for (weight, value) in sample.weight.iter().zip([r, g, b]) {
            assert!((weight * sample.pdf - value).abs() <= value * 1e-3 + 1e-30, "{what}");
            // The mixture follows the lobes: no sample may count for many. It is most where Fresnel's term is 1 in a lobe whose mean is 1/12.
            assert!(*weight < 12.0, "{what}");
        }
    }
    assert!(drawn > 50_000, "only {drawn} samples were not absorbed");
}

/// f(wo, wi) = f(wi, wo) for dielectrics and for uncompensated metal; Turquin's factor is all that breaks it for metals, and only by
/// what its own directional albedo says.
#[test]
fn reflection_is_reciprocal_up_to_the_metals_compensation() {
    let Some(gpu) = gpu::device_or_skip() else { return };
    let mut numbers = Numbers(5);
    let mut forth = Vec::new();
    for n in 0..20_000 {
        let mut unit = || direction(0.002 + 0.998 * f64::from(numbers.next()), f64::from(numbers.next()) * 2.0 * PI);
        let (wo, wi) = (unit(), unit());
        let (base, metallic) = [(0.8, 0.0), (0.0, 1.0), (0.9, 1.0)][n % 3];
        forth.push(question(Grey { base, metallic, roughness: numbers.next() }, wo, wi, 0));
    }
    let back: Vec<_> = forth.iter().map(|q| Question { wo: q.wi, wi: q.wo, ..*q }).collect();
    let kernel = format!(
        "{BINDINGS}
        @group(0) @binding(1) var<storage, read_write> output: array<vec2f>;
        @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {{
            if id.x >= arrayLength(&output) {{ return; }}
            let q = input[id.x];
            let roughness = max(q.roughness, sqrt(0.001));
            let o = microfacet_albedo(q.wo.z, roughness).unit;
            let i = microfacet_albedo(q.wi.z, roughness).unit;
            output[id.x] = 1.0 + q.base_color.x * q.metallic * vec2f((1.0 - o) / o, (1.0 - i) / i);
        }}"
    );
    let factors: Vec<[f32; 2]> = gpu::run(gpu, &kernel, &forth, forth.len());
    for (((question, forth), back), [at_wo, at_wi]) in
        forth.iter().zip(evaluate(gpu, &forth)).zip(evaluate(gpu, &back)).zip(factors)
    {
        let (f, b) = (forth[0] / question.wi[2] / at_wo, back[0] / question.wo[2] / at_wi);
        assert!((f - b).abs() <= 2e-3 * f.max(b) + 1e-6, "{question:?}: {f} forth, {b} back");
    }
}

/// Straight on, the model is a formula: (F0 · D(0) / 4) plus the diffuse part.
#[test]
fn a_metal_seen_straight_on_reflects_what_the_formula_says() {
    let Some(gpu) = gpu::device_or_skip() else { return };
    for roughness in [0.2f32, 0.5, 0.9] {
        let up = [0.0, 0.0, 1.0];
        let q = question(Grey { base: 0.5, metallic: 1.0, roughness }, up, up, 0);
        let [value, .., pdf] = evaluate(gpu, &[q])[0];
        let alpha = f64::from(roughness).powi(2);
        let peak = 1.0 / (PI * alpha * alpha) / 4.0;
        let albedo = albedo_oracle(1.0, f64::from(roughness)).0;
        let expected = 0.5 * peak * (1.0 + 0.5 * (1.0 - albedo) / albedo);
        assert!(
            (f64::from(value) / expected - 1.0).abs() < 0.005,
            "roughness {roughness}: {value}, expected {expected}"
        );
        assert!(
            f64::from(pdf) <= peak * 1.0001 && pdf > 0.0,
            "roughness {roughness}: pdf {pdf}, the GGX lobe's alone is {peak}"
        );
    }
}
