// Points on emitters, what becomes of their densities, and how punctual lights fade. Pure functions, no bindings.

/// Uniform barycentric coordinates (b1, b2) of a point of a triangle, b0 = 1 − b1 − b2, from a point of the unit square. Measure: density
/// 2 over the unit triangle, 1 / area over the triangle itself. The map keeps neighbours together better than the usual square root.
/// Source: Heitz 2019, "A Low-Distortion Map Between Triangle and Square".
fn triangle_sample(u: vec2f) -> vec2f {
    let above = u.y > u.x;
    let half_x = 0.5 * u.x;
    let half_y = 0.5 * u.y;
    return select(vec2f(u.x - half_y, half_y), vec2f(half_x, u.y - half_x), above);
}

/// Density per steradian, seen from a point at `distance` (metres), of a point on a surface whose density per square metre is `pdf_area`;
/// `cos_light` is the cosine between the surface's normal and the direction to the viewer, of either sign. 0 where the surface
/// is seen edge-on, which has no density: take no sample there.
/// Source: Pharr, Jakob & Humphreys 2023, "Physically Based Rendering", 4th edition, section 4.2.3: dω = |cos θ| dA / r².
fn area_to_solid_angle_pdf(pdf_area: f32, distance: f32, cos_light: f32) -> f32 {
    let cos_abs = abs(cos_light);
    return select(0.0, pdf_area * distance * distance / cos_abs, cos_abs > 1.0e-7);
}

/// What a spot light's cone leaves of its intensity, in [0, 1]. `cos_angle` is the cosine between the light's axis and the direction from the
/// light to the point; `inner_cone` and `outer_cone` are angles from the axis in radians, 0 ≤ inner < outer ≤ π/2.
/// Source: Khronos, KHR_lights_punctual, "Inner and Outer Cone Angles" (the reference code, its 0.001 included).
fn spot_attenuation(cos_angle: f32, inner_cone: f32, outer_cone: f32) -> f32 {
    let cos_outer = cos(outer_cone);
    let scale = 1.0 / max(0.001, cos(inner_cone) - cos_outer);
    let angular = saturate((cos_angle - cos_outer) * scale);
    return angular * angular;
}

/// What distance leaves of a point or spot light's intensity, in 1/m²: the inverse square, and a window that ends at `range` (metres; 0 =
/// unlimited). 0 at distance 0, where the formula has no value.
/// Source: Khronos, KHR_lights_punctual, "Range Property".
fn range_attenuation(distance: f32, range: f32) -> f32 {
    let ratio = distance / select(1.0, range, range > 0.0);
    let ratio2 = ratio * ratio;
    let window = select(1.0, saturate(1.0 - ratio2 * ratio2), range > 0.0);
    return select(0.0, window / (distance * distance), distance > 0.0);
}

/// The weight, in [0, 1], of a sample drawn with density `a` where another technique would have drawn it with density `b`; one sample
/// each, exponent 2. 0 where `a` is 0. Both densities must be of one measure.
/// Source: Veach 1997, "Robust Monte Carlo Methods for Light Transport Simulation", chapter 9.
fn power_heuristic(a: f32, b: f32) -> f32 {
    // The ratio keeps the squares from overflowing: densities of mirrors reach 10¹² and more.
    let ratio = b / a;
    return select(0.0, 1.0 / (1.0 + ratio * ratio), a > 0.0);
}
