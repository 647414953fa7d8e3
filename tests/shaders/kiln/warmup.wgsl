// The picture of frame 21 after 9 frames of warm-up has index 30: a hand of a clock that goes round in 60 frames.
@group(0) @binding(0) var output: texture_storage_2d<rgba16float, write>;
struct Frame { index: u32 }
@group(0) @binding(1) var<uniform> frame: Frame;

@compute @workgroup_size(16, 16)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let size = textureDimensions(output);
    if id.x >= size.x || id.y >= size.y { return; }
    let p = vec2f(id.xy) + 0.5 - vec2f(size) * 0.5;
    let turn = f32(frame.index) / 60.0 * 6.2831853;
    let hand = vec2f(sin(turn), -cos(turn));
    let along = clamp(dot(p, hand), 0.0, 24.0);
    let cover = smoothstep(2.2, 1.2, distance(p, along * hand));
    let rim = smoothstep(1.5, 0.5, abs(length(p) - 29.0));
    textureStore(output, id.xy, vec4f(mix(vec3f(0.9), vec3f(0.1, 0.1, 0.3), max(cover, rim)), 1.0));
}
