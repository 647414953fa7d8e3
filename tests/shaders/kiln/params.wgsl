// Params of every type, by name; what the job does not set is 0. A disc, its colour, its place, a number of stripes, an offset.
struct Params {
    color: vec4f,
    center: vec2f,
    radius: f32,
    stripes: u32,
    shift: vec2i,
    tint: vec3f,
    angle: i32,
    mask: vec3u,
    unset: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var output: texture_storage_2d<rgba16float, write>;

@compute @workgroup_size(16, 16)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let size = textureDimensions(output);
    if id.x >= size.x || id.y >= size.y { return; }
    let p = vec2f(vec2i(id.xy) + params.shift);
    let turn = radians(f32(params.angle));
    let along = dot(p, vec2f(cos(turn), sin(turn)));
    let stripe = step(0.0, sin(along * f32(params.stripes) * 0.1));
    var color = mix(params.tint, vec3f(0.05), stripe) * vec3f(params.mask);
    let cover = smoothstep(1.0, -1.0, distance(p, params.center) - params.radius);
    color = mix(color, params.color.rgb, cover * params.color.a);
    textureStore(output, id.xy, vec4f(color + params.unset, 1.0));
}
