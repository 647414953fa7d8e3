// Next-event estimation: one connection to one light a bounce. The environment is asked with a fixed probability, else an emissive
// triangle or a punctual light, chosen by power.

import package::lib::bindings::{params, triangles, instances, materials, lights, emitters, emitter_of_triangle};
import package::lib::features::{ENVIRONMENT, EMISSIVE_TRIANGLES, PUNCTUAL_LIGHTS, ALPHA};
import package::lib::light::{triangle_sample, area_to_solid_angle_pdf, spot_attenuation, range_attenuation};
import package::lib::math::{offset_ray, safe_normalize};
import package::lib::sky::sky_sample;
import package::lib::surface::{triangle_vertices, weights, interpolate_attributes, base_color, opacity, sample_reference};
import package::lib::types::{NONE, T_INFINITE, MATERIAL_DOUBLE_SIDED};

/// A connection from a surface point to a light.
struct LightSample {
    /// Not of unit length for a light of finite distance, where `t_max` of it is the light.
    direction: vec3f,
    t_max: f32,
    /// Unit.
    wi: vec3f,
    /// Radiance that arrives if nothing is in between; for a light without extent, divided by the solid angle that it does not have.
    radiance: vec3f,
    /// Per steradian, or the probability of the choice for a light without extent. 0: no sample.
    pdf: f32,
    /// No bsdf sample could have found this light.
    delta: bool,
}

fn point_in_world(instance: u32, p: vec3f) -> vec3f {
    let r0 = instances[instance].world_from_object[0];
    let r1 = instances[instance].world_from_object[1];
    let r2 = instances[instance].world_from_object[2];
    return vec3f(dot(r0.xyz, p) + r0.w, dot(r1.xyz, p) + r1.w, dot(r2.xyz, p) + r2.w);
}

fn vector_in_world(instance: u32, v: vec3f) -> vec3f {
    let r0 = instances[instance].world_from_object[0];
    let r1 = instances[instance].world_from_object[1];
    let r2 = instances[instance].world_from_object[2];
    return vec3f(dot(r0.xyz, v), dot(r1.xyz, v), dot(r2.xyz, v));
}

/// Normals go by the inverse transpose, which also keeps the front in front under a mirroring transform. Not normalised.
fn normal_in_world(instance: u32, n: vec3f) -> vec3f {
    let r0 = instances[instance].object_from_world[0].xyz;
    let r1 = instances[instance].object_from_world[1].xyz;
    let r2 = instances[instance].object_from_world[2].xyz;
    return r0 * n.x + r1 * n.y + r2 * n.z;
}

/// Density, per steradian, with which `light_sample` connects `distance` metres to the point of a triangle that a ray has met.
/// `cos_light` as in `area_to_solid_angle_pdf`.
fn emitter_pdf(instance: u32, triangle: u32, distance: f32, cos_light: f32) -> f32 {
    let base = instances[instance].emitter_base;
    if base == NONE {
        return 0.0;
    }
    let emitter = emitter_of_triangle[base + triangle];
    if emitter == NONE {
        return 0.0;
    }
    let pdf_area = (1.0 - params.environment_probability) * emitters[emitter].probability / emitters[emitter].area;
    return area_to_solid_angle_pdf(pdf_area, distance, cos_light);
}

/// `origin`: already off its surface. `u_choice` chooses the light, `u_alias` and `u` the point on it.
fn light_sample(origin: vec3f, u_choice: f32, u_alias: f32, u: vec2f) -> LightSample {
    var s = LightSample(vec3f(0.0), T_INFINITE, vec3f(0.0, 0.0, 1.0), vec3f(0.0), 0.0, false);
    let p_environment = params.environment_probability;
    if ENVIRONMENT && u_choice < p_environment {
        let sky = sky_sample(u, u_alias);
        s.direction = sky.direction;
        s.wi = sky.direction;
        s.radiance = sky.radiance;
        s.pdf = p_environment * sky.pdf;
        return s;
    }
    if (!EMISSIVE_TRIANGLES && !PUNCTUAL_LIGHTS) || params.emitter_count == 0u {
        return s;
    }
    let place = saturate((u_choice - p_environment) / (1.0 - p_environment)) * f32(params.emitter_count);
    var index = min(u32(place), params.emitter_count - 1u);
    if u_alias >= emitters[index].alias_threshold {
        index = emitters[index].alias_index;
    }
    let emitter = emitters[index];
    let probability = (1.0 - p_environment) * emitter.probability;
    if EMISSIVE_TRIANGLES && (!PUNCTUAL_LIGHTS || emitter.instance != NONE) {
        let b = triangle_sample(u);
        let e1 = triangles[3u * emitter.index + 1u].xyz;
        let e2 = triangles[3u * emitter.index + 2u].xyz;
        let on_light = point_in_world(emitter.instance, triangles[3u * emitter.index].xyz + e1 * b.x + e2 * b.y);
        let normal = safe_normalize(normal_in_world(emitter.instance, cross(e1, e2)), vec3f(0.0));
        let toward = on_light - origin;
        let distance = length(toward);
        let wi = toward / max(distance, 1.0e-30);
        let cos_light = -dot(normal, wi);
        let material = materials[instances[emitter.instance].material];
        let sided = cos_light > 0.0 || (material.flags & MATERIAL_DOUBLE_SIDED) != 0u;
        if sided && distance > 0.0 {
            let flags = instances[emitter.instance].flags;
            let a = interpolate_attributes(triangle_vertices(emitter.index), weights(b), flags);
            s.radiance = material.emission * sample_reference(material.emission_texture, a, vec4f(1.0)).rgb;
            if ALPHA {
                s.radiance *= opacity(material, base_color(material, a).a);
            }
            s.pdf = area_to_solid_angle_pdf(probability / emitter.area, distance, cos_light);
            s.wi = wi;
            // The connection ends just before the light, so that it does not meet it.
            s.direction = offset_ray(on_light, select(-normal, normal, cos_light > 0.0)) - origin;
            s.t_max = 0.9999;
        }
    } else if PUNCTUAL_LIGHTS {
        let light = lights[emitter.index];
        s.delta = true;
        if light.kind == 2u {
            s.wi = -light.direction;
            s.direction = s.wi;
            s.radiance = light.intensity;
            s.pdf = probability;
        } else {
            let toward = light.position - origin;
            let distance = length(toward);
            s.wi = toward / max(distance, 1.0e-30);
            s.direction = toward;
            s.t_max = 0.9999;
            var fading = range_attenuation(distance, light.range);
            if light.kind == 1u {
                fading *= spot_attenuation(-dot(s.wi, light.direction), light.inner_cone, light.outer_cone);
            }
            s.radiance = light.intensity * fading;
            s.pdf = select(0.0, probability, distance > 0.0);
        }
    }
    return s;
}
