//! The surface model of `shaders/lib/bsdf.wgsl`.

use crate::gpu;

#[test]
fn every_function_runs() {
    let Some(gpu) = gpu::device_or_skip() else { return };
    let kernel = "
        import package::lib::bsdf::{Surface, BsdfSample, bsdf_eval, bsdf_pdf, bsdf_sample};
        import package::lib::sampler::{Sampler, sampler_new, sampler_1d, sampler_2d, bounce_dimension, DIMENSION_BSDF};
        import package::lib::math::{make_frame, offset_ray, is_finite3, pcg};
        import package::lib::environment::{environment_uv, environment_direction, environment_pdf_solid_angle, environment_pdf_uv};
        import package::lib::light::{triangle_sample, area_to_solid_angle_pdf, spot_attenuation, range_attenuation, power_heuristic};
        @group(0) @binding(0) var<storage, read> input: array<vec4f>;
        @group(0) @binding(1) var<storage, read_write> output: array<vec4f>;
        @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
            if id.x >= arrayLength(&output) { return; }
            var s = sampler_new(id.x, 3u, 1u, bounce_dimension(2u, DIMENSION_BSDF));
            let u = vec3f(sampler_2d(&s), sampler_1d(&s));
            let wo = environment_direction(environment_uv(normalize(input[id.x].xyz)));
            let surface = Surface(vec3f(0.5), 0.5, 0.4);
            let b = bsdf_sample(surface, wo, u);
            let t = triangle_sample(u.xy);
            let p = offset_ray(make_frame(wo) * vec3f(t, 1.0), wo);
            let x = area_to_solid_angle_pdf(1.0, 2.0, 0.5) + spot_attenuation(0.9, 0.1, 0.6) + range_attenuation(1.0, 2.0) + power_heuristic(1.0, 2.0)
                + environment_pdf_uv(environment_pdf_solid_angle(1.0, wo), wo);
            output[id.x] = vec4f(b.weight, b.pdf) + vec4f(bsdf_eval(surface, wo, b.wi), bsdf_pdf(surface, wo, b.wi)) + vec4f(p, x) + f32(is_finite3(p)) + f32(pcg(1u));
        }";
    let input: Vec<[f32; 4]> = vec![[0.3, 0.4, 0.5, 0.0]; 100];
    let out = gpu::run::<[f32; 4], [f32; 4]>(gpu, kernel, &input, 100);
    assert!(out.iter().flatten().all(|x| x.is_finite()), "{:?}", &out[..4]);
}
