// The environment as a light: radiance, density, and sampling by Walker's alias table over luminance × sinθ of the texels.

import package::lib::bindings::{params, environment_texels, environment_alias};
import package::lib::camera::tent_sample;
import package::lib::environment::{environment_uv, environment_direction, environment_pdf_solid_angle};
import package::lib::math::{luminance, PI};

/// A direction towards the environment, in world space.
struct SkySample {
    direction: vec3f,
    radiance: vec3f,
    /// Per steradian; 0: no sample.
    pdf: f32,
}

struct SkyLookup {
    radiance: vec3f,
    /// With which `sky_sample` chooses this direction, per steradian.
    pdf: f32,
}

/// Radiance of a texel: three 16-bit mantissas, and in the high half of the second word the exponent field of the f32 that scales them.
fn sky_texel(x: u32, y: u32) -> vec3f {
    let words = environment_texels[y * params.environment.size.x + x];
    let mantissas = vec3u(words.x & 0xffffu, words.x >> 16u, words.y & 0xffffu);
    return vec3f(vec3i(mantissas)) * bitcast<f32>((words.y >> 16u) << 23u);
}

/// Turns a world-space direction into the picture's frame: by −rotation about +Y.
fn sky_from_world(d: vec3f) -> vec3f {
    let c = params.environment.rotation.x;
    let s = params.environment.rotation.y;
    return vec3f(c * d.x - s * d.z, d.y, s * d.x + c * d.z);
}

/// The inverse of `sky_from_world`.
fn world_from_sky(d: vec3f) -> vec3f {
    let c = params.environment.rotation.x;
    let s = params.environment.rotation.y;
    return vec3f(c * d.x + s * d.z, d.y, c * d.z - s * d.x);
}

/// Bilinear radiance at a place of the picture, and in w the density over the unit square there.
fn sky_at(uv: vec2f) -> vec4f {
    let size = params.environment.size;
    let place = uv * vec2f(size) - 0.5;
    let corner = floor(place);
    let fraction = place - corner;
    // Columns wrap around, rows end at the poles.
    let x0 = u32(i32(corner.x) + i32(size.x)) % size.x;
    let x1 = select(x0 + 1u, 0u, x0 + 1u == size.x);
    let y0 = u32(clamp(i32(corner.y), 0, i32(size.y) - 1));
    let y1 = u32(clamp(i32(corner.y) + 1, 0, i32(size.y) - 1));
    let t00 = sky_texel(x0, y0);
    let t10 = sky_texel(x1, y0);
    let t01 = sky_texel(x0, y1);
    let t11 = sky_texel(x1, y1);
    let radiance = mix(mix(t00, t10, fraction.x), mix(t01, t11, fraction.x), fraction.y);
    // The density is interpolated like the radiance: see `sky_sample`.
    let above = luminance(mix(t00, t10, fraction.x)) * sin(PI * (f32(y0) + 0.5) / f32(size.y));
    let below = luminance(mix(t01, t11, fraction.x)) * sin(PI * (f32(y1) + 0.5) / f32(size.y));
    let pdf_uv = mix(above, below, fraction.y) * f32(size.x * size.y) / params.environment.weight_sum;
    return vec4f(radiance * params.environment.intensity, pdf_uv);
}

/// Radiance from a direction in world space, and the density with which `sky_sample` would have chosen it.
fn sky_lookup(direction: vec3f) -> SkyLookup {
    let d = sky_from_world(direction);
    let found = sky_at(environment_uv(d));
    return SkyLookup(found.xyz, environment_pdf_solid_angle(found.w, d));
}

/// Chooses a direction. `u` chooses a cell of the alias table and the place around the texel, `u_alias` between the cell's two texels.
///
/// The place follows a tent of twice a texel's width around its middle, the kernel of the bilinear filter: so the density is the
/// filtered weight, and light that the filter spreads over black neighbours is found too. At the poles the tent is folded back, as
/// the filter repeats the last row there.
fn sky_sample(u: vec2f, u_alias: f32) -> SkySample {
    let size = params.environment.size;
    let scaled = u * vec2f(size);
    let cell = min(vec2u(scaled), size - 1u);
    let index = cell.y * size.x + cell.x;
    let entry = environment_alias[index];
    let texel = select(entry.y, index, u_alias < bitcast<f32>(entry.x));
    let fraction = saturate(scaled - vec2f(cell));
    let around = vec2f(tent_sample(fraction.x), tent_sample(fraction.y)) + 0.5;
    let place = (vec2f(vec2u(texel % size.x, texel / size.x)) + around) / vec2f(size);
    let uv = vec2f(fract(place.x), 1.0 - abs(1.0 - abs(place.y)));
    let d = environment_direction(uv);
    let found = sky_at(uv);
    return SkySample(world_from_sky(d), found.xyz, environment_pdf_solid_angle(found.w, d));
}
