// Directions and places in an equirectangular environment. World space, +Y up; the middle of the picture is −Z. Pure functions, no bindings.

import package::lib::math::{PI, TWO_PI};

/// Where the unit direction `d` (world space) lies in the picture: u in [0, 1), to the right; v in [0, 1], 0 at +Y.
/// u = 1/2 + atan2(d.x, −d.z) / 2π, v = acos(d.y) / π. The pole's u is 1/2.
/// The angle from the pole is taken from both components, since acos alone loses half of the digits of f32 near the poles.
fn environment_uv(d: vec3f) -> vec2f {
    let horizontal = length(d.xz);
    // atan2(0, 0) is undefined in WGSL.
    let at_pole = horizontal == 0.0;
    let u = 0.5 + atan2(d.x, select(-d.z, 1.0, at_pole)) / TWO_PI;
    let v = clamp(atan2(horizontal, d.y) / PI, 0.0, 1.0);
    // Both edges of the picture are the same meridian.
    return vec2f(select(u, 0.0, u >= 1.0 || u < 0.0), v);
}

/// The unit direction (world space) of a place in the picture; the inverse of `environment_uv`. Any u (it is periodic), v in [0, 1].
fn environment_direction(uv: vec2f) -> vec3f {
    let phi = (uv.x - 0.5) * TWO_PI;
    let theta = uv.y * PI;
    let sin_theta = sin(theta);
    return vec3f(sin_theta * sin(phi), cos(theta), -sin_theta * cos(phi));
}

/// The density per steradian of a direction whose density over the unit square of (u, v) is `pdf_uv`. 0 at the poles, where
/// there is none.
/// Source: Pharr, Jakob & Humphreys 2023, "Physically Based Rendering", 4th edition, section 12.5.2: dω = 2π² sin θ du dv.
fn environment_pdf_solid_angle(pdf_uv: f32, d: vec3f) -> f32 {
    let sin_theta = length(d.xz);
    return select(0.0, pdf_uv / (TWO_PI * PI * sin_theta), sin_theta > 0.0);
}

/// The inverse of `environment_pdf_solid_angle`: density over the unit square from density per steradian, at the unit direction `d`.
fn environment_pdf_uv(pdf_solid_angle: f32, d: vec3f) -> f32 {
    return pdf_solid_angle * TWO_PI * PI * length(d.xz);
}
