// From a pixel and random numbers to a ray.

import package::lib::types::Camera;
import package::lib::math::PI;

struct CameraRay {
    origin: vec3f,
    /// Unit.
    direction: vec3f,
}

/// Samples the tent filter of radius one pixel: the density of the offset falls linearly from the middle to ±1. `u` in [0, 1).
fn tent_sample(u: f32) -> f32 {
    let low = sqrt(2.0 * u) - 1.0;
    let high = 1.0 - sqrt(max(2.0 - 2.0 * u, 0.0));
    return select(high, low, u < 0.5);
}

/// Maps the unit square to the unit disc, area to area (Shirley and Chiu 1997, "A Low Distortion Map Between Disk and Square").
fn disc_sample(u: vec2f) -> vec2f {
    let square = 2.0 * u - 1.0;
    if square.x == 0.0 && square.y == 0.0 {
        return vec2f(0.0);
    }
    let wide = abs(square.x) > abs(square.y);
    let radius = select(square.y, square.x, wide);
    let angle = select(PI / 2.0 - (PI / 4.0) * (square.x / square.y), (PI / 4.0) * (square.y / square.x), wide);
    return radius * vec2f(cos(angle), sin(angle));
}

/// The ray through pixel `pixel` of a picture of `size` pixels. Row 0 is the top. `u_filter` chooses the place within the pixel's
/// filter, `u_lens` the place on the lens.
fn camera_ray(camera: Camera, size: vec2u, pixel: vec2u, u_filter: vec2f, u_lens: vec2f, lens: bool) -> CameraRay {
    let place = vec2f(pixel) + 0.5 + vec2f(tent_sample(u_filter.x), tent_sample(u_filter.y));
    let ndc = place / vec2f(size) * vec2f(2.0, -2.0) + vec2f(-1.0, 1.0);
    let across = camera.right * (ndc.x * camera.half_width) + camera.up * (ndc.y * camera.half_height);
    var ray: CameraRay;
    var focus: vec3f;
    if camera.orthographic == 1u {
        ray.origin = camera.position + across;
        ray.direction = camera.forward;
        focus = ray.origin + camera.forward * camera.focus_distance;
    } else {
        ray.origin = camera.position;
        ray.direction = normalize(camera.forward + across);
        focus = camera.position + (camera.forward + across) * camera.focus_distance;
    }
    if lens {
        let point = disc_sample(u_lens) * camera.aperture_radius;
        ray.origin += camera.right * point.x + camera.up * point.y;
        ray.direction = normalize(focus - ray.origin);
    }
    return ray;
}
