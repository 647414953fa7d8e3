// What a triangle's vertices and its material say at a point of it.

import package::lib::bindings::{triangles, vertices};
import package::lib::features::{VERTEX_EXTRAS, TEXTURES};
import package::lib::math::{hash_u32, unit_f32};
import package::lib::texture::sample_texture;
import package::lib::types::{Material, NONE, INSTANCE_COLORS, MATERIAL_MASK, MATERIAL_BLEND};

/// Texture coordinates and colour at a point of a triangle. What the scene does not have costs nothing.
struct Attributes {
    uv0: vec2f,
    uv1: vec2f,
    /// Linear RGBA; 1 without vertex colours.
    color: vec4f,
}

/// Indices of a triangle's vertices.
fn triangle_vertices(triangle: u32) -> vec3u {
    return bitcast<vec3u>(vec3f(triangles[3u * triangle].w, triangles[3u * triangle + 1u].w, triangles[3u * triangle + 2u].w));
}

/// Weights of the three vertices.
fn weights(barycentrics: vec2f) -> vec3f {
    return vec3f(1.0 - barycentrics.x - barycentrics.y, barycentrics);
}

fn interpolate_attributes(indices: vec3u, w: vec3f, flags: u32) -> Attributes {
    var a = Attributes(vec2f(0.0), vec2f(0.0), vec4f(1.0));
    if TEXTURES {
        a.uv0 = bitcast<vec2f>(vertices[2u * indices.x].zw) * w.x
            + bitcast<vec2f>(vertices[2u * indices.y].zw) * w.y
            + bitcast<vec2f>(vertices[2u * indices.z].zw) * w.z;
    }
    if VERTEX_EXTRAS {
        let e0 = vertices[2u * indices.x + 1u];
        let e1 = vertices[2u * indices.y + 1u];
        let e2 = vertices[2u * indices.z + 1u];
        a.uv1 = bitcast<vec2f>(e0.xy) * w.x + bitcast<vec2f>(e1.xy) * w.y + bitcast<vec2f>(e2.xy) * w.z;
        let color = unpack_color(e0.zw) * w.x + unpack_color(e1.zw) * w.y + unpack_color(e2.zw) * w.z;
        a.color = select(vec4f(1.0), color, (flags & INSTANCE_COLORS) != 0u);
    }
    return a;
}

fn unpack_color(halves: vec2u) -> vec4f {
    return vec4f(unpack2x16float(halves.x), unpack2x16float(halves.y));
}

/// A texture reference of a material, sampled; `otherwise` without a texture.
fn sample_reference(reference: u32, a: Attributes, otherwise: vec4f) -> vec4f {
    if !TEXTURES || reference == NONE {
        return otherwise;
    }
    let uv = select(a.uv0, a.uv1, (reference & 0x80000000u) != 0u);
    return sample_texture(reference & 0x7fffffffu, uv);
}

/// Linear base colour with alpha: factor × texture × vertex colour (glTF 2.0, 3.9.2).
fn base_color(material: Material, a: Attributes) -> vec4f {
    return material.base_color * sample_reference(material.base_color_texture, a, vec4f(1.0)) * a.color;
}

/// The probability, in [0, 1], that a surface of this material and alpha is there (glTF 2.0, 3.9.4 "Alpha Coverage").
fn opacity(material: Material, alpha: f32) -> f32 {
    if (material.flags & MATERIAL_MASK) != 0u {
        return select(0.0, 1.0, alpha >= material.alpha_cutoff);
    }
    return select(1.0, saturate(alpha), (material.flags & MATERIAL_BLEND) != 0u);
}

/// A number in [0, 1) for one crossing of one triangle by one ray: a function of these alone, and never of the order in which
/// traversal meets the triangles.
fn crossing_number(ray_seed: u32, instance: u32, triangle: u32) -> f32 {
    return unit_f32(hash_u32(ray_seed ^ hash_u32(triangle ^ hash_u32(instance))));
}
