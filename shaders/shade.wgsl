// At each end of a ray: what it sees, a connection to a light, and the next ray.

import package::lib::bindings::{
    params, triangles, vertices, instances, materials, path_rays, path_hits, path_states, shadow_rays,
    active_queue, next_queue, shadow_queue, counters
};
import package::lib::bsdf::{Surface, bsdf_eval_pdf, bsdf_sample};
import package::lib::features::{WORKGROUP_APPEND, NORMAL_MAPS, ENVIRONMENT, EMISSIVE_TRIANGLES, PUNCTUAL_LIGHTS};
import package::lib::light::power_heuristic;
import package::lib::math::{luminance, make_frame, offset_ray, safe_normalize};
import package::lib::nee::{light_sample, emitter_pdf, point_in_world, vector_in_world, normal_in_world};
import package::lib::pixels::{slot_pixel_index, slot_sample};
import package::lib::queues::{QUEUE_BINS, ray_bin, binned_place, active_place};
import package::lib::sampler::{
    sampler_new, sampler_1d, sampler_2d, bounce_dimension, DIMENSION_LIGHT_CHOICE, DIMENSION_BSDF,
    DIMENSION_RUSSIAN_ROULETTE, DIMENSION_LIGHT_ALIAS
};
import package::lib::sky::sky_lookup;
import package::lib::surface::{weights, interpolate_attributes, base_color, sample_reference};
import package::lib::types::{
    NONE, BACKGROUND_ENVIRONMENT, BACKGROUND_TRANSPARENT, INSTANCE_MIRRORED, INSTANCE_TANGENTS, PathRay, Hit, ShadowRay
};

/// The bounce from which paths may be ended by chance.
const RUSSIAN_ROULETTE_FROM: u32 = 3u;
/// Shading normals are turned until they see the viewer at least at this cosine.
const SHADING_COS_MIN: f32 = 0.001;

/// What comes of a path.
struct Outcome {
    goes_on: bool,
    connects: bool,
}

var<workgroup> group_next_counts: array<atomic<u32>, QUEUE_BINS>;
var<workgroup> group_shadow_counts: array<atomic<u32>, QUEUE_BINS>;
var<workgroup> group_next_first: array<u32, QUEUE_BINS>;
var<workgroup> group_shadow_first: array<u32, QUEUE_BINS>;

@compute @workgroup_size(64)
fn shade(@builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_index) local: u32) {
    let live = id.x < counters.active_count;
    var slot = 0u;
    var outcome = Outcome(false, false);
    if live {
        slot = active_queue[active_place(id.x)];
        let hit = path_hits[slot];
        if hit.instance == NONE {
            miss(slot);
        } else {
            outcome = surface(slot, hit);
        }
    }

    var next_bin = 0u;
    var shadow_bin = 0u;
    if outcome.goes_on {
        next_bin = ray_bin(path_rays[slot].direction);
    }
    if outcome.connects {
        shadow_bin = ray_bin(shadow_rays[slot].direction);
    }
    if WORKGROUP_APPEND {
        if local < QUEUE_BINS {
            atomicStore(&group_next_counts[local], 0u);
            atomicStore(&group_shadow_counts[local], 0u);
        }
        workgroupBarrier();
        var next_count = 0u;
        var shadow_count = 0u;
        if outcome.goes_on {
            next_count = atomicAdd(&group_next_counts[next_bin], 1u);
        }
        if outcome.connects {
            shadow_count = atomicAdd(&group_shadow_counts[shadow_bin], 1u);
        }
        workgroupBarrier();
        if local < QUEUE_BINS {
            group_next_first[local] = atomicAdd(&counters.next_counts[local], atomicLoad(&group_next_counts[local]));
            group_shadow_first[local] =
                atomicAdd(&counters.shadow_next_counts[local], atomicLoad(&group_shadow_counts[local]));
        }
        workgroupBarrier();
        if outcome.goes_on {
            next_queue[binned_place(next_bin, group_next_first[next_bin] + next_count)] = slot;
        }
        if outcome.connects {
            shadow_queue[binned_place(shadow_bin, group_shadow_first[shadow_bin] + shadow_count)] = slot;
        }
    } else {
        if outcome.goes_on {
            next_queue[binned_place(next_bin, atomicAdd(&counters.next_counts[next_bin], 1u))] = slot;
        }
        if outcome.connects {
            shadow_queue[binned_place(shadow_bin, atomicAdd(&counters.shadow_next_counts[shadow_bin], 1u))] = slot;
        }
    }
}

/// A contribution after `clamp_indirect`. `scattered`: how often its light was scattered before it reached the camera.
fn clamped(contribution: vec3f, scattered: u32) -> vec3f {
    let brightness = luminance(contribution);
    let excess = params.clamp_indirect > 0.0 && scattered >= 2u && brightness > params.clamp_indirect;
    return contribution * select(1.0, params.clamp_indirect / brightness, excess);
}

/// The ray left the scene.
fn miss(slot: u32) {
    let bounce = counters.bounce;
    if bounce == 0u && params.background_mode != BACKGROUND_ENVIRONMENT {
        if params.background_mode != BACKGROUND_TRANSPARENT {
            path_states[slot].radiance = params.background;
            path_states[slot].alpha = 1.0;
        }
        return;
    }
    if bounce == 0u {
        path_states[slot].alpha = 1.0;
    }
    if ENVIRONMENT {
        let sky = sky_lookup(path_rays[slot].direction);
        let pdf = path_rays[slot].pdf;
        let mis_weight = select(power_heuristic(pdf, params.environment_probability * sky.pdf), 1.0, bounce == 0u);
        path_states[slot].radiance += clamped(path_states[slot].throughput * sky.radiance * mis_weight, bounce);
    }
}

fn octahedral_decode(e: vec2f) -> vec3f {
    // Cigolle et al. 2014, "A Survey of Efficient Representations for Independent Unit Vectors", listing 2.
    var v = vec3f(e, 1.0 - abs(e.x) - abs(e.y));
    let fold = max(-v.z, 0.0);
    v.x += select(fold, -fold, v.x >= 0.0);
    v.y += select(fold, -fold, v.y >= 0.0);
    return normalize(v);
}

/// Tangent and handedness from 15 + 15 + 1 bits.
fn unpack_tangent(word: u32) -> vec4f {
    let e = vec2f(vec2i(vec2u(word & 0x7fffu, (word >> 15u) & 0x7fffu)) - 16383) / 16383.0;
    return vec4f(octahedral_decode(e), select(1.0, -1.0, (word >> 31u) != 0u));
}

/// The ray met a surface: emission, next-event estimation, scattering.
fn surface(slot: u32, hit: Hit) -> Outcome {
    var outcome = Outcome(false, false);
    let bounce = counters.bounce;
    let instance = hit.instance;
    let flags = instances[instance].flags;
    let material = materials[instances[instance].material];
    let ray_direction = path_rays[slot].direction;
    let wo = -ray_direction;

    // Position and both normals, in world space.
    let v0 = triangles[3u * hit.triangle];
    let e1 = triangles[3u * hit.triangle + 1u];
    let e2 = triangles[3u * hit.triangle + 2u];
    let indices = bitcast<vec3u>(vec3f(v0.w, e1.w, e2.w));
    let w = weights(hit.barycentrics);
    let position = point_in_world(instance, v0.xyz + e1.xyz * w.y + e2.xyz * w.z);
    let face_normal = safe_normalize(normal_in_world(instance, cross(e1.xyz, e2.xyz)), wo);
    let front = dot(face_normal, wo) >= 0.0;
    let geometric_normal = select(-face_normal, face_normal, front);

    let word_0 = vertices[2u * indices.x].xy;
    let word_1 = vertices[2u * indices.y].xy;
    let word_2 = vertices[2u * indices.z].xy;
    let normal_object = octahedral_decode(unpack2x16snorm(word_0.x)) * w.x
        + octahedral_decode(unpack2x16snorm(word_1.x)) * w.y
        + octahedral_decode(unpack2x16snorm(word_2.x)) * w.z;
    var shading_normal = safe_normalize(normal_in_world(instance, normal_object), face_normal);

    let a = interpolate_attributes(indices, w, flags);
    if NORMAL_MAPS {
        if material.normal_texture != NONE && (flags & INSTANCE_TANGENTS) != 0u {
            let t0 = unpack_tangent(word_0.y);
            let t1 = unpack_tangent(word_1.y);
            let t2 = unpack_tangent(word_2.y);
            let tangent_object = t0.xyz * w.x + t1.xyz * w.y + t2.xyz * w.z;
            let tangent_world = vector_in_world(instance, tangent_object);
            let across = tangent_world - shading_normal * dot(shading_normal, tangent_world);
            let tangent = safe_normalize(across, make_frame(shading_normal)[0]);
            let mirrored = (flags & INSTANCE_MIRRORED) != 0u;
            let bitangent = cross(shading_normal, tangent) * (t0.w * select(1.0, -1.0, mirrored));
            let sampled = sample_reference(material.normal_texture, a, vec4f(0.5, 0.5, 1.0, 1.0)).xyz * 2.0 - 1.0;
            let scaled = vec3f(sampled.xy * material.normal_scale, sampled.z);
            let mapped = tangent * scaled.x + bitangent * scaled.y + shading_normal * scaled.z;
            shading_normal = safe_normalize(mapped, shading_normal);
        }
    }
    shading_normal = select(-shading_normal, shading_normal, front);
    // Interpolation and normal maps can turn the normal away from the viewer, where no reflection is defined.
    let cos_view = dot(shading_normal, wo);
    if cos_view < SHADING_COS_MIN {
        shading_normal = safe_normalize(shading_normal + wo * (SHADING_COS_MIN - cos_view), geometric_normal);
    }

    let throughput = path_states[slot].throughput;
    if bounce == 0u {
        path_states[slot].alpha = 1.0;
    }
    if EMISSIVE_TRIANGLES {
        let emission = material.emission * sample_reference(material.emission_texture, a, vec4f(1.0)).rgb;
        var mis_weight = 1.0;
        if bounce > 0u {
            let distance = length(position - path_rays[slot].origin);
            let light_pdf = emitter_pdf(instance, hit.triangle, distance, dot(face_normal, wo));
            mis_weight = power_heuristic(path_rays[slot].pdf, light_pdf);
        }
        path_states[slot].radiance += clamped(throughput * emission * mis_weight, bounce);
    }
    if bounce >= params.max_bounces {
        return outcome;
    }

    let color = base_color(material, a);
    let metallic_roughness = sample_reference(material.metallic_roughness_texture, a, vec4f(1.0));
    let s = Surface(
        saturate(color.rgb),
        saturate(material.metallic * metallic_roughness.b),
        saturate(material.roughness * metallic_roughness.g),
        material.specular,
    );
    let frame = make_frame(shading_normal);
    let wo_local = wo * frame;
    let origin = offset_ray(position, geometric_normal);
    var sampler = sampler_new(slot_pixel_index(slot), slot_sample(slot), params.seed, bounce_dimension(bounce, DIMENSION_LIGHT_CHOICE));

    if ENVIRONMENT || EMISSIVE_TRIANGLES || PUNCTUAL_LIGHTS {
        let u_choice = sampler_1d(&sampler);
        let u_point = sampler_2d(&sampler);
        sampler.dimension = bounce_dimension(bounce, DIMENSION_LIGHT_ALIAS);
        let u_alias = sampler_1d(&sampler);
        let light = light_sample(origin, u_choice, u_alias, u_point);
        if light.pdf > 0.0 && dot(light.wi, geometric_normal) > 0.0 {
            let value_pdf = bsdf_eval_pdf(s, wo_local, light.wi * frame);
            let mis_weight = select(power_heuristic(light.pdf, value_pdf.w), 1.0, light.delta);
            let contribution = clamped(throughput * value_pdf.xyz * light.radiance * (mis_weight / light.pdf), bounce + 1u);
            outcome.connects = any(contribution != vec3f(0.0));
            shadow_rays[slot] = ShadowRay(origin, light.t_max, light.direction, 0u, contribution, 0u);
        }
    }

    sampler.dimension = bounce_dimension(bounce, DIMENSION_BSDF);
    let u_direction = sampler_2d(&sampler);
    let u_lobe = sampler_1d(&sampler);
    let sampled = bsdf_sample(s, wo_local, vec3f(u_direction, u_lobe));
    let wi = frame * sampled.wi;
    var carried = throughput * sampled.weight;
    // A direction on the shading normal's side that lies beneath the real surface is absorbed.
    var goes_on = sampled.pdf > 0.0 && dot(wi, geometric_normal) > 0.0 && any(carried != vec3f(0.0));
    if bounce >= RUSSIAN_ROULETTE_FROM {
        sampler.dimension = bounce_dimension(bounce, DIMENSION_RUSSIAN_ROULETTE);
        let survival = min(max(carried.x, max(carried.y, carried.z)), 0.95);
        goes_on = goes_on && sampler_1d(&sampler) < survival;
        carried /= max(survival, 1.0e-30);
    }
    if goes_on {
        path_states[slot].throughput = carried;
        path_rays[slot] = PathRay(origin, sampled.pdf, normalize(wi), 0u);
    }
    outcome.goes_on = goes_on;
    return outcome;
}
